/* Documents that describe the API. */
#include "wire/http/describe.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

#define PIECE_MAX 1024

void describe_begin(struct description *d)
{
    buf_init(&d->out, DOCUMENT_ANSWER_MAX);
    d->status = BECK_OK;
}

void describe_put(struct description *d, const char *json)
{
    if (!d->status)
        d->status = buf_append_text(&d->out, json);
}

void describe_format(struct description *d, const char *format, ...)
{
    char piece[PIECE_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    if (!d->status)
        d->status = len < PIECE_MAX ? buf_append_text(&d->out, piece) : BECK_ELIMIT;
}

void describe_text(struct description *d, beck_bytes text)
{
    if (!d->status)
        d->status = json_write_string(&d->out, text);
}

void describe_shape(struct description *d, const struct shape *s, const char *refs)
{
    if (!d->status)
        d->status = shape_describe(s, refs, &d->out);
}

void describe_answer(struct description *d, struct http_request *r)
{
    if (d->status) {
        beck_error err;
        error_set(&err, d->status, "the description cannot be made: %s",
                  d->status == BECK_ELIMIT ? "it is too large" : "there is no memory");
        http_fail(r, d->status, &err);
    } else {
        http_answer(r, 200, "application/json", &d->out);
    }
    buf_release(&d->out);
}
