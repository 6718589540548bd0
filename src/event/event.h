/*
 * Events as values: checking, copying and looking up attributes. See beck_event in beck.h for what
 * the attributes mean. An event is a set of slices: whoever hands one out says how long the memory
 * behind it lives.
 */
#ifndef BECK_EVENT_EVENT_H
#define BECK_EVENT_EVENT_H

#include "base/bytes.h"

#define EVENT_TYPE_MAX 255
#define EVENT_ATTRIBUTE_MAX                                                                        \
    1024 /* subject, source, id, datacontenttype, dataschema, correlationid, causationid */
#define EVENT_EXTENSIONS_MAX 64
#define EVENT_EXTENSION_VALUE_MAX 65536

/* Whether the event may be published. The text of the error names the attribute, the byte and the
 * rule. */
beck_status event_check(const beck_event *e, beck_error *err);
beck_status event_check_type(beck_bytes type, beck_error *err);

/* Copies the event with all that it refers to into `memory` (cleared first): `out` stays valid
 * until `memory` changes. */
beck_status event_copy(const beck_event *e, struct buf *memory, beck_event *out);

/* The value of an extension, or absent bytes. */
beck_bytes event_extension(const beck_event *e, const char *name);

/* Whether data is JSON by its content type: absent, application/json, text/json, or anything ending
 * in +json; parameters are ignored. */
bool event_data_is_json(const beck_event *e);

#endif
