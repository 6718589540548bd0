/*
 * Field tables of AMQP 0-9-1, which are headers and arguments, as RabbitMQ reads them (letters of types: RabbitMQ's errata
 * to the standard, `s` is 16 bits, `l` and `L` are signed 64 bits).
 *
 * Nothing is decoded that nobody asks for: a table is the bytes between its length and its end. It is kept and given back
 * byte for byte; what is read out of it are slices.
 */
#ifndef BECK_BROKER_TABLE_H
#define BECK_BROKER_TABLE_H

#include "base/bytes.h"

#define TABLE_DEPTH_MAX 32 /* tables and arrays within each other */

enum table_kind {
    TABLE_BOOL,    /* t */
    TABLE_INTEGER, /* b B s u I i l L: compare by value */
    TABLE_FLOAT,   /* f d */
    TABLE_DECIMAL, /* D: bytes are its scale and value */
    TABLE_TEXT,    /* S */
    TABLE_BYTES,   /* x */
    TABLE_TIME,    /* T: seconds */
    TABLE_ARRAY,   /* A: bytes are its content */
    TABLE_TABLE,   /* F: bytes are its content */
    TABLE_VOID     /* V */
};

struct table_value {
    enum table_kind kind;
    char letter;     /* as it came */
    int64_t integer; /* bool, integer, time (an unsigned one as its bits) */
    double number;
    beck_bytes bytes; /* text, bytes, array, table, decimal */
};

/* Well-formed to the last byte, nested at most TABLE_DEPTH_MAX. BECK_EINVAL. All below are for tables that
 * passed. */
beck_status table_check(beck_bytes table, beck_error *err);
/* The entry at *at, which is moved behind it; false: the end. */
bool table_next(beck_bytes table, size_t *at, beck_bytes *name, struct table_value *value);
bool table_find(beck_bytes table, const char *name, struct table_value *out); /* the first */
/* The same of an array's content. */
bool array_next(beck_bytes array, size_t *at, struct table_value *value);
/* RabbitMQ's name of the type, as it stands in its errors: "longstr", "signedint" ... */
const char *table_type_name(const struct table_value *value);
/* The value as it stands there: a number, true, the text; cut to size with its NUL. */
void table_value_print(const struct table_value *value, char *out, size_t size);
/* By value: integers of different widths are equal, tables in any order of names (up to 1,024 of them). */
bool table_value_equal(const struct table_value *a, const struct table_value *b);

/* Writing, into a buffer whose ceiling bounds it. A failed write makes the buffer's later ones fail too
 * when the caller goes on (BECK_ELIMIT): it takes nothing more until it was released and given a new
 * ceiling (buf_init). Each returns BECK_OK or BECK_ENOMEM / BECK_ELIMIT, BECK_EINVAL for a name of more
 * than 255 bytes or a letter that is none. */
beck_status table_put(struct buf *out, beck_bytes name,
                      const struct table_value *value);                         /* exact letter */
beck_status table_put_text(struct buf *out, const char *name, beck_bytes text); /* S */
beck_status table_put_long(struct buf *out, const char *name, int64_t value);   /* l */
beck_status table_put_bool(struct buf *out, const char *name, bool value);      /* t */
beck_status table_put_time(struct buf *out, const char *name, int64_t seconds); /* T */
/* A nested table or array: what is put between begin and end is its content. */
size_t table_begin(struct buf *out, const char *name,
                   char letter); /* F or A; SIZE_MAX: no memory */
void table_end(struct buf *out, size_t begun);
beck_status array_put(struct buf *out, const struct table_value *value);
size_t array_begin_table(struct buf *out); /* ends with table_end */
/* All entries of `from` but those named. */
beck_status table_copy_without(struct buf *out, beck_bytes from, const char *const *names,
                               size_t count);
/* A short string, as names are and texts of properties: at most 255 bytes. */
beck_status table_put_short(struct buf *out, beck_bytes text);
/* After a write that failed: what is behind it would be taken for something else, so the buffer takes no more. Returns
 * the status. */
beck_status table_put_failed(struct buf *out, beck_status status);

#endif
