/*
 * CSV (RFC 4180) as records: fields may be quoted, and then hold delimiters, line ends and doubled
 * quotes. Lines end with LF or CRLF. A blank line is no record.
 *
 * Malformed are: a quote inside of a field that does not begin with one, text behind a closing
 * quote, a quote that is never closed, another number of fields than the header has, and bytes that
 * are no UTF-8. A record whose quoting is wrong ends with its first line, and reading goes on with
 * the next: a stray quote does not swallow what follows it.
 *
 * Every field becomes a string. Names come from the header, or are "1", "2" ... without one.
 */
#ifndef BECK_CLI_CSV_H
#define BECK_CLI_CSV_H

#include "cli/input.h"
#include "cli/ingest_record.h"

#define CSV_COLUMNS_MAX 4096

struct csv_field {
    uint32_t at, len; /* in the raw record, without quotes */
    bool doubled;     /* holds doubled quotes */
};

struct csv {
    struct input *input; /* borrowed; its window_max is the longest record */
    uint8_t delimiter;
    int quote; /* -1: none */
    bool header;
    int64_t skip;          /* records up to this number are stepped over */
    int64_t number, line;  /* of the last record; line ends seen */
    uint8_t classes[256];  /* which bytes end a plain field */
    struct buf names;      /* `{"first":`, `,"second":` ... */
    uint32_t *name_ends;   /* in names */
    uint32_t column_count; /* 0: not known yet */
    struct csv_field *fields;
    uint32_t field_count;
    bool broken; /* the rest of the last record's line is still there: it was too long */
    struct buf json, text;
};

/* quote: -1 for none. BECK_EINVAL: the delimiter and the quote do not go together. */
beck_status csv_init(struct csv *c, struct input *input, int delimiter, int quote, bool header,
                     beck_error *err);
void csv_release(struct csv *c);
/* The header is read with the first record; RECORD_FAILED also when it is no header. */
enum record_result csv_next(struct csv *c, struct ingest_record *out, beck_error *err);

#endif
