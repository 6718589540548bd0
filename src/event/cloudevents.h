/*
 * Events as JSON: the CloudEvents 1.0 JSON format (single and batch) and the plain envelope, which
 * has a page of its own (envelope.h). An object with a member specversion is a CloudEvent, one with
 * eventType or eventId and without specversion is an envelope.
 *
 * CloudEvents are read strictly: specversion "1.0", id, source and type must be there, names are
 * lower-case letters and digits, no member comes twice, a member that is null counts as absent (and
 * so does data). Extensions are strings, booleans or 32-bit integers; the last two become their
 * text, and are written as strings. The extensions correlationid, causationid, deliverytime and
 * expirytime (RFC 3339, rounded up to milliseconds) and priority (an integer 0-255) are the fields
 * of beck_event. Times are within the years 1678 to 2261.
 *
 *   content type     member           data of the event
 *   JSON or absent   data             the JSON as it stands, byte for byte
 *   another          data: a string   its text
 *   another          data: no string  the JSON as it stands
 *   any              data_base64      the bytes
 *
 * Writing: JSON data as it is (on one line) when the content type says JSON and it is valid; a
 * string when the content type says otherwise and data is UTF-8; else data_base64. What the event
 * does not have is not written, also when CloudEvents requires it: fill in id and source before.
 */
#ifndef BECK_EVENT_CLOUDEVENTS_H
#define BECK_EVENT_CLOUDEVENTS_H

#include "event/event.h"

/* The functions behind beck_parse, beck_format of beck.h. Every error of parsing names the member
 * and the byte; `*out` is set on success only. Writing appends to `out`, and leaves it as it was on
 * an error: BECK_ELIMIT (the ceiling of `out`), BECK_EINVAL (the form, or a time out of range),
 * BECK_ENOMEM. */
beck_status cloudevents_parse(beck_bytes json, beck_document **out, beck_error *err);
beck_status cloudevents_write(const beck_event *e, beck_form form, struct buf *out,
                              beck_error *err);

/* The form in which a server and beck's own clients give each other events. It is CloudEvents, and
 * loses nothing: data whose bytes `data` would change (white space around or between its tokens) is
 * data_base64, and where an event is stored are the members beckbus, beckpartition and beckoffset,
 * which become `bus` and `position`; extensions of these names are left out when writing. id and
 * source may be missing. */
beck_status cloudevents_parse_exact(beck_bytes json, beck_document **out, beck_error *err);
beck_status cloudevents_write_exact(const beck_event *e, struct buf *out, beck_error *err);

#endif
