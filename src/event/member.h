/*
 * The members of one JSON object, read into a table and then asked for by name. An event has few
 * members, so the table has a fixed size and is searched from one end to the other.
 */
#ifndef BECK_EVENT_MEMBER_H
#define BECK_EVENT_MEMBER_H

#include "event/json.h"

/* 64 extensions, and every attribute that has a name of its own. */
#define MEMBERS_MAX 96

struct member {
    beck_bytes name;     /* text, in the copy */
    beck_bytes raw;      /* the value as it stands in the text */
    size_t at;           /* byte of the value */
    enum json_kind kind; /* JSON_OBJECT, JSON_ARRAY: the whole of it */
};

struct members {
    struct member list[MEMBERS_MAX];
    size_t count;
};

/* Reads up to the end of the object whose JSON_OBJECT token the reader gave last. `copy` is a copy
 * of the reader's text that may be changed; it must live as long as the names are used. `where`
 * names the object in errors ("the event", "metadata"). Refuses members of the same name; members
 * that are null are left out. */
beck_status members_read(struct members *m, struct json_reader *r, uint8_t *copy, const char *where,
                         beck_error *err);

/* NULL: there is none. */
const struct member *members_find(const struct members *m, const char *name);

/* The text of a string member, unescaped in the copy; `base` is the text that the copy is of. */
beck_status member_text(const struct member *m, const uint8_t *base, uint8_t *copy, beck_bytes *out,
                        beck_error *err);

/* Fills err with: member "<name>" at byte <at> <reason>. */
beck_status member_refuse(const struct member *m, beck_status status, beck_error *err,
                          const char *reason, ...) __attribute__((format(printf, 4, 5)));

/* The value for a message, at most a few words of it. */
const char *member_quote(const struct member *m, char *out);

#endif
