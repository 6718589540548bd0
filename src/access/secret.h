/*
 * Passwords and tokens, as what is kept of them. Threads: any, nothing is shared.
 */
#ifndef BECK_ACCESS_SECRET_H
#define BECK_ACCESS_SECRET_H

#include "access/access.h"
#include "base/error.h"

#define SECRET_LOG_N_MIN 10
#define SECRET_LOG_N_MAX 20
#define SECRET_DIGEST 32

/* scrypt (RFC 7914) with r = 8 and p = 1; or, of users that came from RabbitMQ with a hash instead of a
 * password, SHA-256 of 4 bytes of salt and the password, which is quick to try. And what SCRAM needs of
 * it, which no hash can become. */
struct password {
    bool quick;     /* SHA-256 */
    bool has_scram; /* it was made here from a text */
    uint32_t log_n; /* of scrypt */
    uint8_t salt[16];
    uint8_t hash[SECRET_DIGEST];
    struct access_scram scram[SCRAM_HASHES];
};

/* BECK_ENOMEM, BECK_EIO (no random numbers). */
beck_status password_make(beck_bytes text, uint32_t log_n, struct password *out, beck_error *err);
beck_status password_check(const struct password *p, beck_bytes text, bool *right, beck_error *err);
/* "scrypt:<log_n>:<salt>:<hash>" or "sha256:<salt and hash>", with base64; nothing of SCRAM. */
#define PASSWORD_TEXT_MAX 128
beck_status password_write(const struct password *p, struct buf *out);
bool password_read(beck_bytes text, struct password *out);

/* Of one hash of SCRAM: "<iterations>:<salt>:<stored key>:<server key>", with base64. */
beck_status scram_write(const struct access_scram *s, enum scram_hash hash, struct buf *out);
bool scram_read(beck_bytes text, enum scram_hash hash, struct access_scram *out);
/* RFC 5802, from SaltedPassword, at least a byte; of a password it has as many as the hash. False: no memory. */
bool scram_derive(enum scram_hash hash, beck_bytes salted, struct access_scram *out);

/* A new token and what is kept of it. */
beck_status token_make(char out[ACCESS_TOKEN_SIZE], uint8_t digest[SECRET_DIGEST], beck_error *err);
void token_digest(beck_bytes text, uint8_t digest[SECRET_DIGEST]);

/* In time that does not depend on where they differ. */
bool secret_equal(const uint8_t a[SECRET_DIGEST], const uint8_t b[SECRET_DIGEST]);
beck_status secret_random(void *out, size_t size, beck_error *err);

#endif
