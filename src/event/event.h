/*
 * Events as values: checking, copying and looking up attributes. See beck_event in beck.h for what
 * the attributes mean. An event is a set of slices: whoever hands one out says how long the memory
 * behind it lives.
 *
 * An attribute of length 0 is absent. Only for data and for the values of extensions do absent
 * (data NULL) and empty differ.
 */
#ifndef BECK_EVENT_EVENT_H
#define BECK_EVENT_EVENT_H

#include "base/bytes.h"

#define EVENT_TYPE_MAX 255
#define EVENT_ATTRIBUTE_MAX                                                                        \
    1024 /* subject, source, id, datacontenttype, dataschema, correlationid, causationid */
#define EVENT_EXTENSIONS_MAX 64
#define EVENT_EXTENSION_NAME_MAX 64
#define EVENT_EXTENSION_VALUE_MAX 65536
#define EVENT_PRIORITY_MAX 255
/* Of deliver_at_ms and expires_at_ms: the last millisecond that a timestamp can say (year 2261). */
#define EVENT_MS_MAX 9214646399999LL

/* Whether the event may be published. The text of the error names the attribute, the byte and the
 * rule. */
beck_status event_check(const beck_event *e, beck_error *err);
/* The same where the type is known to be good. */
beck_status event_check_rest(const beck_event *e, beck_error *err);

/* Whether text may be the value of an attribute (CloudEvents 1.0 section 3, String): at most `max`
 * bytes of UTF-8 without control characters and noncharacters. The error is the end of a sentence
 * that begins with what is wrong: `holds a control character (U+0007) at its byte 3; ...`. */
beck_status event_check_text(beck_bytes text, size_t max, beck_error *err);
/* The same for a type: its length, its words, no wildcards. */
beck_status event_check_type_text(beck_bytes type, beck_error *err);
/* 1-64 of [a-z0-9]. */
bool event_name_is_legal(beck_bytes name);
/* Whether no extension may have the name: an attribute of CloudEvents 1.0, or a field of beck_event
 * of its own (correlationid, priority ...). */
bool event_name_is_taken(beck_bytes name);

/* Copies the event with all that it refers to into `memory` (cleared first): `out` stays valid
 * until `memory` changes. */
beck_status event_copy(const beck_event *e, struct buf *memory, beck_event *out);

/* The value of an extension, or absent bytes. */
beck_bytes event_extension(const beck_event *e, const char *name);

/* Whether data is JSON by its content type: absent, application/json, text/json, or anything ending
 * in +json; parameters are ignored. */
bool event_data_is_json(const beck_event *e);
bool event_content_type_is_json(beck_bytes datacontenttype);

/* Text for a message: the bytes in double quotes, long ones cut with "...", what cannot be shown as
 * "?". Returns out. */
#define EVENT_QUOTE_MAX 72
const char *event_quote(beck_bytes text, char out[EVENT_QUOTE_MAX]);

#endif
