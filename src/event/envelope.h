/*
 * The plain envelope: {"eventId", "eventType", "version", "timestamp", "source", "data",
 * "metadata": {"correlationId", "causationId", ...}}. Only eventType is needed. The mapping to
 * attributes:
 *
 *   eventId, eventType, source   id, type, source
 *   version                      extension dataversion: text or number
 *   timestamp                    time
 *   subject, else aggregateId    subject: text or number
 *   metadata.correlationId, .causationId, .datacontenttype, .dataschema, .deliverytime,
 *            .expirytime, .priority   the fields of these names
 *   metadata.<name>              extension, when the name is legal for one and the value is text, a
 *                                number or a boolean
 *
 * What an event cannot hold exactly stays, as JSON, in two extensions: `envelopemetadata` (members
 * of metadata: other names, nested values, the type of numbers and booleans) and `envelopemembers`
 * (members beside it: unknown ones, aggregateId, a version that is text but looks like a number).
 * Writing puts them back, unless the attribute that they belong to was changed meanwhile. So
 * envelope -> event -> envelope is the identity, where
 *   - a member that is null counts as absent, absent data as null, and absent metadata as {};
 *   - timestamps are equal when the instant is (deliverytime and expirytime: the millisecond);
 *   - members have no order, and strings no preferred escapes, outside of data.
 * Not legal: a member named specversion, which makes it a CloudEvent. Not legal, and refused:
 * eventId, eventType, source, version or timestamp of another type than said here, metadata that is
 * no object, double names, more members or longer text than an event may have.
 */
#ifndef BECK_EVENT_ENVELOPE_H
#define BECK_EVENT_ENVELOPE_H

#include "event/document.h"
#include "event/member.h"

/* Fills an event that is all zero from the members of the object at byte `at`. */
beck_status envelope_read(beck_document *d, const struct members *m, size_t at, beck_event *e,
                          beck_error *err);
beck_status envelope_write(const beck_event *e, struct buf *out, beck_error *err);

#endif
