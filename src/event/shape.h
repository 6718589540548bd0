/*
 * Shapes: a JSON object and a C structure, told by one table. From the table come the reading
 * (strict: unknown members, members given twice, wrong types and values out of range are refused),
 * the writing, and the JSON Schema that describes both.
 *
 *   kind           in the structure               in JSON
 *   SHAPE_BOOL     bool                           true, false
 *   SHAPE_U32      uint32_t                       a number of min..max
 *   SHAPE_I64      int64_t                        a number of min..max
 *   SHAPE_U64      uint64_t                       its digits as a string: other readers of JSON keep
 *                                                 only 53 bits of a number
 *   SHAPE_CHOICE   an enum                        a string; choices[value] names it, "" one that is
 *                                                 never written and cannot be asked for
 *   SHAPE_SET      uint32_t of bits               an array of strings; choices[i] names bit i
 *   SHAPE_TEXT     const char *, NULL: absent     a string of min..max bytes without U+0000
 *   SHAPE_FROM     beck_from                      "now", "earliest", an offset, or RFC 3339
 *   SHAPE_RAW      beck_bytes, no data: absent    any value, as it stands
 *   SHAPE_OBJECT   a structure of shape `of`      an object
 *   SHAPE_LIST     void *, NULL: absent; and a    an array of at most max `item`s
 *                  size_t at count_at
 *   SHAPE_ARRAY    an array of max items, and a   the same
 *                  uint32_t at count_at
 *
 * Tables nest only as deep as they are written, so what is read cannot make the reader recurse.
 */
#ifndef BECK_EVENT_SHAPE_H
#define BECK_EVENT_SHAPE_H

#include "event/json.h"

enum shape_kind {
    SHAPE_BOOL,
    SHAPE_U32,
    SHAPE_I64,
    SHAPE_U64,
    SHAPE_CHOICE,
    SHAPE_SET,
    SHAPE_TEXT,
    SHAPE_FROM,
    SHAPE_RAW,
    SHAPE_OBJECT,
    SHAPE_LIST,
    SHAPE_ARRAY
};

#define SHAPE_FIELDS_MAX 64

struct shape;

struct shape_field {
    const char *name;
    enum shape_kind kind;
    bool required; /* must be there when read, is there when written */
    size_t at;     /* of the value within the structure */
    int64_t min, max;
    int64_t preset;             /* of a SHAPE_U32 or SHAPE_I64 that is not there */
    const char *const *choices; /* end with NULL */
    const struct shape *of; /* SHAPE_OBJECT; SHAPE_RAW: of what it holds, for the schema, or NULL */
    const struct shape_field *item; /* of a list; its name is not used, it stands at 0 */
    size_t item_size, count_at;
    const char *help;
};

struct shape {
    const char *name, *help;
    const struct shape_field *fields; /* end with a NULL name; at most SHAPE_FIELDS_MAX */
    size_t size;                      /* of the structure */
    const char *schema;               /* instead of fields: JSON Schema of what is read elsewhere */
};

/* Where what is read stays: texts and lists. NULL from it: no memory. */
struct shape_memory {
    void *(*alloc)(void *ctx, size_t size);
    void *ctx;
};

/* Fills `out`, all of it: what is not there is zero or its preset. SHAPE_RAW points into `json`. On
 * an error `out` holds nothing to use: BECK_EINVAL (the member, the byte, what came, what is
 * expected), BECK_ELIMIT (nesting), BECK_ENOMEM. */
beck_status shape_read(const struct shape *s, beck_bytes json, const struct shape_memory *memory,
                       void *out, beck_error *err);
/* Appends the object. BECK_ELIMIT, BECK_ENOMEM: `out` holds a part of it. */
beck_status shape_write(const struct shape *s, const void *object, struct buf *out);
/* Appends the JSON Schema (draft 2020-12) of the shape; other shapes in it are references to
 * `refs` followed by their names. */
beck_status shape_describe(const struct shape *s, const char *refs, struct buf *out);

#endif
