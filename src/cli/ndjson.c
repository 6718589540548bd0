/* Cutting a window into lines. A line that is longer than the window is given up to there, as a
 * malformed record, and the rest of it is stepped over. */
#include "cli/ndjson.h"
#include "base/error.h"
#include <errno.h>

void ndjson_init(struct ndjson *n, struct input *input)
{
    *n = (struct ndjson){.input = input};
}

static bool is_blank(beck_bytes line)
{
    const uint8_t *p = line.data;
    for (size_t i = 0; i < line.len; i++) {
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* The window holds the beginning of a line and is full: `raw` is what of it can be shown. */
static enum record_result too_long(struct ndjson *n, struct ingest_record *out, beck_error *err)
{
    out->raw = input_window(n->input);
    error_set(err, BECK_ELIMIT,
              "the line is longer than %zu bytes: raise --record-max, or split it",
              n->input->text.max);
    return RECORD_BAD;
}

/* Steps over the rest of a line that was too long. False: the input failed. */
static bool skip_rest(struct ndjson *n)
{
    for (;;) {
        beck_bytes window = input_window(n->input);
        const uint8_t *end = memchr(window.data, '\n', window.len);
        if (end) {
            input_consume(n->input, (size_t)(end - (const uint8_t *)window.data) + 1);
            return true;
        }
        input_consume(n->input, window.len);
        enum input_result result = input_fill(n->input);
        if (result != INPUT_MORE) {
            return result != INPUT_FAILED;
        }
    }
}

static enum record_result failed(beck_error *err)
{
    error_errno(err, errno, "the input cannot be read");
    return RECORD_FAILED;
}

/* The next line without its newline; RECORD_GOOD, _BAD when too long, _END, _FAILED. */
static enum record_result next_line(struct ndjson *n, struct ingest_record *out, beck_error *err)
{
    if (n->rest && !skip_rest(n)) {
        return failed(err);
    }
    n->rest = false;
    size_t searched = 0;
    for (;;) {
        beck_bytes window = input_window(n->input);
        const uint8_t *text = window.data;
        const uint8_t *end = memchr(text + searched, '\n', window.len - searched);
        enum input_result result = INPUT_MORE;
        if (!end) {
            searched = window.len;
            result = input_fill(n->input);
            if (result == INPUT_MORE) {
                continue;
            }
        }
        if (result == INPUT_FAILED) {
            return failed(err);
        }
        window = input_window(n->input); /* filling may have moved it */
        if (result == INPUT_END && (n->input->stopped || window.len == 0)) {
            return RECORD_END;
        }
        n->line++;
        *out =
            (struct ingest_record){.number = n->line, .line = n->line, .byte = n->input->position};
        if (result == INPUT_FULL) {
            n->rest = true;
            return too_long(n, out, err);
        }
        out->raw = bytes_of(window.data, end ? (size_t)(end - text) : window.len);
        input_consume(n->input, out->raw.len + (end != NULL));
        return RECORD_GOOD;
    }
}

enum record_result ndjson_next(struct ndjson *n, struct ingest_record *out, beck_error *err)
{
    for (;;) {
        enum record_result result = next_line(n, out, err);
        if (result == RECORD_GOOD && is_blank(out->raw)) {
            continue;
        }
        if (result == RECORD_GOOD || result == RECORD_BAD) {
            size_t len = out->raw.len;
            len -= len > 0 && ((const uint8_t *)out->raw.data)[len - 1] == '\r';
            out->raw.len = len;
            out->json = result == RECORD_GOOD ? out->raw : (beck_bytes){0};
            return out->number <= n->skip ? RECORD_SKIPPED : result;
        }
        return result;
    }
}
