/*
 * Settings: one row of a table describes one, and from the rows come the readers of all sources, the
 * help, the manual and what is printed.
 *
 * A row's value lies in a record (struct settings, or that of one bus, queue ...) at the row's
 * offset. Texts and arrays belong to an arena and live as long as it does.
 */
#ifndef BECK_SERVER_SETTING_H
#define BECK_SERVER_SETTING_H

#include "base/bytes.h"

enum setting_kind {
    SETTING_BOOL = 1, /* bool */
    SETTING_NUMBER,   /* uint32_t or int64_t */
    SETTING_DURATION, /* the same, milliseconds */
    SETTING_SIZE,     /* the same, bytes */
    SETTING_CHOICE,   /* an enumeration or an int: `first` + the index in `choices` */
    SETTING_TEXT,     /* const char *; NULL: none */
    SETTING_LIST,     /* struct texts */
    SETTING_BACKOFF,  /* beck_backoff */
    SETTING_FROM,     /* beck_from */
    SETTING_RECORDS   /* struct records: a list of mappings, each a record of `table` */
};

struct texts {
    const char *const *at;
    size_t count;
};

struct records {
    void *at;
    size_t count;
};

struct setting_table;

struct setting {
    const char *name;
    enum setting_kind kind;
    uint32_t offset, size; /* in its record */
    int64_t min, max;      /* both 0: 0 to the most that fits */
    const char *preset;    /* the default as text, a list's with commas; NULL: zero, or none */
    const char *value;     /* what people read for the value; NULL: after the kind */
    const char *const *choices;
    int first;
    bool reloadable;                   /* SIGHUP puts a new value in force */
    bool secret;                       /* never shown; "file:PATH" takes the content of a file */
    bool needed;                       /* a record without it is refused */
    const struct setting_table *table; /* RECORDS */
    const char *help;                  /* one line, lower case, no full stop */
};

/* The rows of one kind of record; they end with a NULL name. At most 64. A record begins with a
 * struct record. */
struct setting_table {
    const struct setting *rows;
    size_t size;
};

struct record {
    const char *name;   /* of a named one: buses.NAME; NULL in a list */
    uint64_t given;     /* bit i: row i was given */
    const char *source; /* "beck.yaml:12:3" */
};

/* ---- arena ---- */

struct arena {
    struct arena_block *blocks;
};

/* Zeroed; NULL: no memory. Not for threads at the same time. */
void *arena_alloc(struct arena *a, size_t size);
const char *arena_text(struct arena *a, const char *text, size_t len);
void arena_release(struct arena *a);

/* ---- one setting ---- */

const struct setting *setting_find(const struct setting *rows, const char *name);

/* What is expected, for messages and manuals: "a duration such as 10ms, 5s ...", "true or false". */
const char *setting_expects(const struct setting *s, char *out, size_t size);
/* What the manual calls the value: "DURATION", "text|json". */
const char *setting_value_name(const struct setting *s, char *out, size_t size);

/* Reads the text into the record. Lists: items with commas between them. On failure the record is as
 * it was, and the text of the error follows a name: "'5' cannot be read: give ...". RECORDS are not
 * for this function. */
beck_status setting_read(const struct setting *s, void *record, const char *text, struct arena *a,
                         beck_error *err);
/* A list, item by item. */
beck_status setting_read_list(const struct setting *s, void *record, const char *const *items,
                              size_t count, struct arena *a, beck_error *err);
/* Puts the default in the record. */
beck_status setting_reset(const struct setting *s, void *record, struct arena *a, beck_error *err);

/* Appends the value as YAML: what the readers read, a secret as "***". */
beck_status setting_print(const struct setting *s, const void *record, struct buf *out);
/* A text as YAML, in quotes when it needs them. */
beck_status setting_print_text(const char *text, struct buf *out);
bool setting_same(const struct setting *s, const void *a, const void *b);

#endif
