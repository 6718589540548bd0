/*
 * What a message says about its deaths, as RabbitMQ writes it: the header x-death (an array of tables, newest
 * first, one per queue and reason, with a count), x-first-death-queue, -reason and -exchange, which never change,
 * and x-last-death-*, which always do. `expiration` is taken away, and kept in the entry.
 *
 * Threads: none of it shares anything.
 */
#ifndef BECK_BROKER_DEAD_LETTER_HEADERS_H
#define BECK_BROKER_DEAD_LETTER_HEADERS_H

#include "broker/properties.h"

struct death {
    beck_bytes queue;   /* it died in */
    const char *reason; /* rejected, expired, maxlen, delivery_limit */
    beck_bytes exchange,
        routing_key; /* it was published with (the keys of CC are added from its headers) */
    int64_t time_s;
    /* Its x-death is of this broker. Otherwise a client wrote it, and it is written anew. */
    bool died_before;
    /* It gets a routing key of the queue's (x-dead-letter-routing-key): CC and BCC go. */
    bool new_key;
};

/* Appends to out the properties that it goes on with. raw: flags and list. BECK_EINVAL (raw), BECK_ENOMEM,
 * BECK_ELIMIT. */
beck_status death_write(struct buf *out, beck_bytes raw, const struct death *d, beck_error *err);

/* Whether a message that died with that reason (properties: as death_write made them) must not go to this
 * queue: it died there before, and was not rejected since nor then, so it would go round for ever. */
bool death_is_cycle(const struct properties *p, const char *reason, beck_bytes queue);

#endif
