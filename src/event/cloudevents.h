/*
 * Events as JSON: the CloudEvents 1.0 JSON format (single and batch) and the plain envelope.
 * Extensions `expirytime`, `deliverytime` (RFC 3339) and `priority` (integer) are the fields of
 * beck_event; numbers and booleans of extensions become their text, and are written as strings.
 *
 * Envelope <-> CloudEvents: eventId=id, eventType=type, version=extension dataversion (text;
 * written as a JSON number when it is one), timestamp=time, source, data, metadata.correlationId,
 * metadata.causationId; other metadata members become extensions when the name is legal, else the
 * JSON extension `envelopemetadata` holds them; a top-level subject/aggregateId is `subject`.
 * Envelope -> event -> envelope is the identity for every legal envelope.
 */
#ifndef BECK_EVENT_CLOUDEVENTS_H
#define BECK_EVENT_CLOUDEVENTS_H

#include "event/event.h"

/* The functions behind beck_parse, beck_format of beck.h. */
beck_status cloudevents_parse(beck_bytes json, beck_document **out, beck_error *err);
beck_status cloudevents_write(const beck_event *e, beck_form form, struct buf *out,
                              beck_error *err);

#endif
