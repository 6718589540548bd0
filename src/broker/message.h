/*
 * How an AMQP message is an event, and an event an AMQP message.
 *
 * What is carried beside the event (struct carried), byte for byte:
 *
 *   exchange       1 byte of length, text
 *   routing key    1 byte of length, text
 *   properties     flags and list as they came, but for marks in the flags
 *
 * The event has what it can have of it: type (routing key), id (message-id), source (app-id), time (timestamp),
 * datacontenttype, correlationid, subject (header ce_subject), priority, expiry, and the body as data. What
 * would be illegal there is left out of it. An event that carries nothing was published by other means; its
 * message is made of its attributes.
 */
#ifndef BECK_BROKER_MESSAGE_H
#define BECK_BROKER_MESSAGE_H

#include "broker/broker.h"

/* In the flags, where properties have no use for them. */
#define CARRIED_BCC 0x0002  /* there is a header BCC, which nobody is shown */
#define CARRIED_DIED 0x0001 /* its x-death is of this broker */
#define CARRIED_MARKS 0x0003

/* Everything points into what was given. */
void message_to_event(beck_bytes exchange, beck_bytes routing_key, const struct properties *p,
                      beck_bytes body, beck_event *out);
/* Appends to out. */
beck_status message_carry(struct buf *out, beck_bytes exchange, beck_bytes routing_key,
                          beck_bytes properties, uint16_t marks);
/* The parts of what was carried. False: it is none. */
bool message_carried(beck_bytes content, beck_bytes *exchange, beck_bytes *routing_key,
                     beck_bytes *properties, uint16_t *marks);
/* Exchange, routing key, properties, body and block of what a consumer is shown; some of them in `scratch`,
 * which is cleared. attempts: failed ones, for the header x-delivery-count; 0: none. persistent: the delivery mode
 * of an event that carries nothing. */
void message_show(const beck_event *e, beck_bytes content, struct block *block, uint32_t attempts,
                  bool persistent, struct buf *scratch, struct handed *out);
/* Appends the properties to out without their marks, with a header of that name and number (NULL: none), and
 * without BCC if they are marked so. */
beck_status message_with_number(beck_bytes properties, uint16_t marks, const char *name,
                                int64_t number, struct buf *out);
/* Appends the properties as published, but for BCC. False: they have none, or no memory; then nothing. */
bool message_hide_bcc(beck_bytes properties, struct buf *out);
/* Properties of an event that carries nothing. */
beck_status message_of_event(const beck_event *e, bool persistent, struct buf *out);

#endif
