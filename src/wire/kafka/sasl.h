/*
 * Authentication, apart from requests: PLAIN (RFC 4616) and SCRAM-SHA-256 and -512 (RFC 5802, 7677).
 *
 * Threads: one at a time; of an exchange that is a pool's, as passwords are hashed.
 */
#ifndef BECK_WIRE_KAFKA_SASL_H
#define BECK_WIRE_KAFKA_SASL_H

#include "access/access.h"
#include "kafka/kafka.h"

#define SASL_MECHANISMS 3
extern const char *const sasl_mechanisms[SASL_MECHANISMS];

struct sasl;

/* NULL: no memory, or there is no such mechanism (*known). */
struct sasl *sasl_new(struct kafka *k, struct access *access, const struct access_peer *peer,
                      beck_bytes mechanism, bool *known);
void sasl_free(struct sasl *s); /* NULL allowed */

enum sasl_step { SASL_MORE, SASL_DONE, SASL_REFUSED };

/* (slow) What the client says; what it is answered is added to `out`. SASL_DONE: *who is set, with a
 * reference. SASL_REFUSED: `err` says why, without saying whether there is such a user. */
enum sasl_step sasl_step(struct sasl *s, beck_bytes message, struct buf *out, struct identity **who,
                         beck_error *err);

#endif
