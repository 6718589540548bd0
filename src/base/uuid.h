/* UUIDs: version 7 (RFC 9562 section 5.7), ordered by time of making. */
#ifndef BECK_BASE_UUID_H
#define BECK_BASE_UUID_H

#include "base/clock.h"
#include "base/rng.h"
#include <stddef.h>

#define UUID_TEXT_LEN 36

/* In order when made 250 ns apart or more; unique in any case. */
void uuid_v7(struct clock *clock, struct rng *rng, uint8_t out[16]);
void uuid_text(const uint8_t uuid[16], char out[UUID_TEXT_LEN + 1]);
/* Kafka's form: 22 characters of URL-safe base64 without padding. */
void uuid_base64(const uint8_t uuid[16], char out[23]);

#endif
