/*
 * A few fields of a JSON object, found in one pass without a tree: the pass steps over what is not
 * asked for, and ends with the last field that is.
 */
#ifndef BECK_HOOK_FIELDS_H
#define BECK_HOOK_FIELDS_H

#include "event/json.h"

#define FIELD_DEPTH_MAX 4
#define FIELDS_MAX 16

struct field {
    beck_bytes
        path[FIELD_DEPTH_MAX + 1]; /* names of members, outermost first; ends with an empty */
    bool found;
    struct json_token token; /* a string, number or boolean */
};

/* A field of these names; those behind the last are NULL. */
struct field field_of(const char *a, const char *b, const char *c);
/* From a JSON pointer (RFC 6901) of members, "/data/id", which must live as long as the field.
 * False: it is none, is deeper than FIELD_DEPTH_MAX, or holds "~". */
bool field_from_pointer(const char *pointer, struct field *out);

/* Of members of the same name the first counts. False: the text is not a JSON object, as far as it
 * was read; nothing is found then. */
bool fields_find(beck_bytes json, struct field *fields, size_t count);

#endif
