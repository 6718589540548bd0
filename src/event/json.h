/*
 * JSON, strict (RFC 8259), read in one pass over a slice and written into a buffer.
 *
 * The reader gives tokens; it allocates nothing. Strings come as the raw slice between the quotes;
 * json_unescape makes text of it. Duplicate member names are the caller's to refuse. Nesting is
 * bounded by JSON_DEPTH_MAX. The text must be UTF-8, without a byte order mark. An escape for half of a
 * surrogate pair is refused wherever it stands, unless `halves` is set: RFC 8259 section 8.2 leaves open what it means, I-JSON
 * (RFC 7493 section 2.1) forbids it, and readers stop at it. In errors bytes count from 0, lines and
 * columns (in bytes) from 1.
 */
#ifndef BECK_EVENT_JSON_H
#define BECK_EVENT_JSON_H

#include "base/bytes.h"

#define JSON_DEPTH_MAX 128

enum json_kind {
    JSON_END, /* of the text */
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_NAME, /* of a member; its value follows */
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL
};

struct json_reader {
    beck_bytes text;
    size_t at; /* next byte */
    uint32_t depth;
    uint8_t state; /* what may come next */
    bool halves;   /* to be set after json_reader_init: half of a pair is taken, as U+FFFD */
    uint8_t stack[JSON_DEPTH_MAX / 8];
};

struct json_token {
    enum json_kind kind;
    beck_bytes raw; /* of names and strings without the quotes, of numbers their digits */
    bool escaped;   /* the string holds a backslash */
    size_t at;      /* byte where the token begins */
};

void json_reader_init(struct json_reader *r, beck_bytes text);
/* The next token; JSON_END once the one value is complete. Errors name the byte, line and column,
 * and what was expected: BECK_EINVAL, or BECK_ELIMIT for the nesting. The reader is not to be used
 * after one. */
beck_status json_next(struct json_reader *r, struct json_token *out, beck_error *err);
/* After JSON_NAME (or at the start): steps over its value, whatever it is, and gives it as a raw
 * slice (checked to be valid JSON). */
beck_status json_skip_value(struct json_reader *r, beck_bytes *raw, beck_error *err);
/* Checks that the text is one JSON value. */
beck_status json_check(beck_bytes text, beck_error *err);
/* Appends the text of a string token. BECK_ELIMIT, BECK_ENOMEM: of the buffer. */
beck_status json_unescape(const struct json_token *token, struct buf *out, beck_error *err);
/* The same into memory of at least raw.len bytes, which may be that of the raw slice itself: the
 * text is never longer. Returns its length. `token` is one that a reader gave. */
size_t json_unescape_to(const struct json_token *token, uint8_t *out);

/* Writing: `"text"` with the escapes that RFC 8259 section 7 needs. Invalid UTF-8 becomes U+FFFD.
 */
beck_status json_write_string(struct buf *out, beck_bytes text);
/* base64 with padding (RFC 4648 section 4), and back; false: not base64. */
beck_status base64_write(struct buf *out, beck_bytes data);
bool base64_read(beck_bytes text, struct buf *out);
/* The same into memory of at least text.len bytes, which may be that of the text itself. */
bool base64_read_to(beck_bytes text, uint8_t *out, size_t *len);

#endif
