/* Writing one JSON object member by member. The first failure is kept, and what follows does
 * nothing: check `status` once at the end. */
#ifndef BECK_EVENT_WRITER_H
#define BECK_EVENT_WRITER_H

#include "event/json.h"

struct writer {
    struct buf *out;
    size_t start; /* length of `out` before */
    bool any;
    beck_status status;
};

void writer_begin(struct writer *w, struct buf *out);
void writer_end(struct writer *w);
/* An object as the value of a member: begin it, write its members, end it. */
void writer_nest(struct writer *w, const char *name);
void writer_unnest(struct writer *w);

void writer_text(struct writer *w, const char *name, beck_bytes text);
/* Nothing when the text is empty. */
void writer_attribute(struct writer *w, const char *name, beck_bytes text);
void writer_member_text(struct writer *w, beck_bytes name, beck_bytes text);
/* A value that is JSON already; line breaks between its tokens become spaces, so that the whole
 * stays one line. */
void writer_raw(struct writer *w, beck_bytes name, beck_bytes json);
/* Timestamps; nothing for 0. */
void writer_ns(struct writer *w, const char *name, int64_t ns);
void writer_ms(struct writer *w, const char *name, int64_t ms);
void writer_number(struct writer *w, const char *name, int64_t number);
/* `data` or `data_base64`: JSON as it is when the content type says JSON and it is; text as a
 * string when the content type says otherwise and it is UTF-8; else base64. Nothing when data is
 * absent. exact: JSON that would lose white space is base64, too. */
void writer_data(struct writer *w, const beck_event *e, bool exact);

/* Success, or the failure explained, with `out` as it was before. */
beck_status writer_result(struct writer *w, beck_error *err);

/* time_ns 0 means "none", so the first instant of 1970 is read as one nanosecond later, and written
 * as what it was. */
#define EPOCH_NS 1

#endif
