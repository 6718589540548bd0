/*
 * What attributes of an event are taken from a record: a member by its name ("type", "@id"), or a
 * place deeper in it by a JSON Pointer (RFC 6901: "/customer/id"), through objects only. Text,
 * numbers and booleans become text; a member that is missing or null gives nothing.
 */
#ifndef BECK_CLI_FIELDS_H
#define BECK_CLI_FIELDS_H

#include "base/bytes.h"

enum field { FIELD_TYPE, FIELD_SUBJECT, FIELD_ID, FIELD_TIME, FIELDS };

struct fields {
    const char *paths[FIELDS]; /* NULL: not wanted */
    bool any;                  /* whether one is */
    /* Of the last record: */
    beck_bytes values[FIELDS]; /* absent: missing or null */
    bool is_event;             /* has the member specversion, or eventType or eventId */
    struct buf text;           /* that values with escapes point into */
};

void fields_init(struct fields *f, const char *const paths[FIELDS], size_t record_max);
void fields_release(struct fields *f);
/* Reads a record that must be a JSON object, and nothing else. Values are valid until the next
 * call, and as long as the record. Errors: BECK_EINVAL (no JSON, no object, or a value is an object
 * or an array), BECK_ELIMIT (nesting), BECK_ENOMEM. */
beck_status fields_read(struct fields *f, beck_bytes json, beck_error *err);

#endif
