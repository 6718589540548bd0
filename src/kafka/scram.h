/*
 * What users prove their passwords with by SCRAM (RFC 5802), in the bus `__kafka`: kind "scram", key
 * "<mechanism>:<user>", data:
 *
 *   0  1  format, 1         5  1  bytes of the salt, then the salt,
 *   1  4  iterations           then the stored key and the server key
 *
 * A record says nothing of what the user may do; see src/access. Threads: any; all of it is (slow).
 */
#ifndef BECK_KAFKA_SCRAM_H
#define BECK_KAFKA_SCRAM_H

#include "kafka/kafka.h"

enum scram_mechanism { SCRAM_SHA_256 = 1, SCRAM_SHA_512 = 2 }; /* Kafka's numbers */

#define SCRAM_SALT_MAX 128
#define SCRAM_KEY_MAX 64
#define SCRAM_USER_MAX 255
#define SCRAM_CREDENTIALS_MAX 20000

struct scram_credential {
    enum scram_mechanism mechanism;
    int32_t iterations;
    size_t salt_len;
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t stored_key[SCRAM_KEY_MAX], server_key[SCRAM_KEY_MAX];
};

size_t scram_key_len(enum scram_mechanism mechanism);

beck_status scrams_open(struct kafka *k, beck_error *err);
void scrams_close(struct kafka *k);

bool scram_find(struct kafka *k, beck_bytes user, enum scram_mechanism mechanism,
                struct scram_credential *out);
/* Durable when it returns. BECK_ELIMIT, BECK_ENOMEM, and those of store_put. */
beck_status scram_put(struct kafka *k, beck_bytes user, const struct scram_credential *c,
                      beck_error *err);
/* BECK_ENOENT: there is none. */
beck_status scram_delete(struct kafka *k, beck_bytes user, enum scram_mechanism mechanism,
                         beck_error *err);
/* The oldest first; the call must be short, and not call anything of this. */
void scram_each(struct kafka *k,
                void (*each)(void *ctx, beck_bytes user, const struct scram_credential *c),
                void *ctx);

#endif
