/*
 * Passwords and tokens: see secret.h.
 *
 * A password is a thing that people choose, so trying one must be slow: scrypt. A token is 256 random
 * bits, so there is nothing to try: SHA-256 is enough, and it takes a microsecond.
 */
#include "access/secret.h"

#include "event/json.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <assert.h>
#include <sys/random.h>

static_assert(ACCESS_SCRAM_KEY_MAX == EVP_MAX_MD_SIZE, "the longest hash fits");

#define BLOCK_SIZE 8 /* r */
#define PARALLEL 1   /* p */
#define QUICK_SALT 4 /* bytes of password.salt */
#define TOKEN_PREFIX "beck_tk_"
#define TOKEN_BYTES 32

static beck_status derive_quick(const struct password *p, beck_bytes text,
                                uint8_t out[SECRET_DIGEST], beck_error *err)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(md, p->salt, QUICK_SALT) == 1 &&
              EVP_DigestUpdate(md, text.len ? text.data : "", text.len) == 1 &&
              EVP_DigestFinal_ex(md, out, NULL) == 1;
    EVP_MD_CTX_free(md);
    return ok ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory to hash a password");
}

static beck_status derive(const struct password *p, beck_bytes text, uint8_t out[SECRET_DIGEST],
                          beck_error *err)
{
    if (p->quick)
        return derive_quick(p, text, out, err);
    uint64_t n = UINT64_C(1) << p->log_n;
    uint64_t memory = 128 * BLOCK_SIZE * (n + PARALLEL + 2) + (1 << 20);
    if (EVP_PBE_scrypt(text.data ? text.data : "", text.len, p->salt, sizeof p->salt, n, BLOCK_SIZE,
                       PARALLEL, memory, out, SECRET_DIGEST) != 1)
        return error_set(err, BECK_ENOMEM, "no memory to hash a password; it takes %llu MiB",
                         (unsigned long long)(memory >> 20));
    return BECK_OK;
}

beck_status secret_random(void *out, size_t size, beck_error *err)
{
    /* Not OpenSSL's: it would have to be set up first, which takes 2 MiB of a server that nobody logs
     * in to. Up to 256 bytes come whole. */
    assert(size <= 256);
    if (getrandom(out, size, 0) != (ssize_t)size)
        return error_set(err, BECK_EIO, "the system gives no random numbers");
    return BECK_OK;
}

bool secret_equal(const uint8_t a[SECRET_DIGEST], const uint8_t b[SECRET_DIGEST])
{
    return CRYPTO_memcmp(a, b, SECRET_DIGEST) == 0;
}

/* ---- SCRAM ---- */

static const EVP_MD *scram_digest(enum scram_hash hash)
{
    return hash == SCRAM_HASH_256 ? EVP_sha256() : EVP_sha512();
}

static size_t scram_key_len(enum scram_hash hash)
{
    return hash == SCRAM_HASH_256 ? 32 : 64;
}

bool scram_derive(enum scram_hash hash, beck_bytes salted, struct access_scram *out)
{
    const EVP_MD *md = scram_digest(hash);
    uint8_t client[EVP_MAX_MD_SIZE];
    int key = (int)salted.len;
    bool ok = HMAC(md, salted.data, key, (const uint8_t *)"Client Key", 10, client, NULL) &&
              EVP_Digest(client, scram_key_len(hash), out->stored_key, NULL, md, NULL) == 1 &&
              HMAC(md, salted.data, key, (const uint8_t *)"Server Key", 10, out->server_key, NULL);
    OPENSSL_cleanse(client, sizeof client);
    return ok;
}

static beck_status make_scram(beck_bytes text, enum scram_hash hash, struct access_scram *out,
                              beck_error *err)
{
    uint8_t salted[EVP_MAX_MD_SIZE];
    out->iterations = ACCESS_SCRAM_ITERATIONS;
    beck_status status = secret_random(out->salt, sizeof out->salt, err);
    if (status)
        return status;
    bool ok = PKCS5_PBKDF2_HMAC(text.data, (int)text.len, out->salt, sizeof out->salt,
                                ACCESS_SCRAM_ITERATIONS, scram_digest(hash),
                                (int)scram_key_len(hash), salted) == 1 &&
              scram_derive(hash, (beck_bytes){salted, scram_key_len(hash)}, out);
    OPENSSL_cleanse(salted, sizeof salted);
    return ok ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory to hash a password");
}

beck_status scram_write(const struct access_scram *s, enum scram_hash hash, struct buf *out)
{
    size_t len = scram_key_len(hash);
    beck_status status = buf_printf(out, "%u:", s->iterations);
    if (!status)
        status = base64_write(out, bytes_of(s->salt, sizeof s->salt));
    if (!status)
        status = buf_append_byte(out, ':');
    if (!status)
        status = base64_write(out, bytes_of(s->stored_key, len));
    if (!status)
        status = buf_append_byte(out, ':');
    return status ? status : base64_write(out, bytes_of(s->server_key, len));
}

/* ---- passwords ---- */

beck_status password_make(beck_bytes text, uint32_t log_n, struct password *out, beck_error *err)
{
    assert(log_n >= SECRET_LOG_N_MIN && log_n <= SECRET_LOG_N_MAX);
    out->quick = false;
    out->has_scram = true;
    out->log_n = log_n;
    beck_status status = secret_random(out->salt, sizeof out->salt, err);
    if (!status)
        status = derive(out, text, out->hash, err);
    for (int i = 0; i < SCRAM_HASHES && !status; i++)
        status = make_scram(text, (enum scram_hash)i, &out->scram[i], err);
    return status;
}

beck_status password_check(const struct password *p, beck_bytes text, bool *right, beck_error *err)
{
    uint8_t hash[SECRET_DIGEST];
    beck_status status = derive(p, text, hash, err);
    if (!status)
        *right = secret_equal(hash, p->hash);
    OPENSSL_cleanse(hash, sizeof hash);
    return status;
}

static beck_status write_quick(const struct password *p, struct buf *out)
{
    uint8_t both[QUICK_SALT + SECRET_DIGEST];
    memcpy(both, p->salt, QUICK_SALT);
    memcpy(both + QUICK_SALT, p->hash, SECRET_DIGEST);
    beck_status status = buf_append_text(out, "sha256:");
    return status ? status : base64_write(out, bytes_of(both, sizeof both));
}

beck_status password_write(const struct password *p, struct buf *out)
{
    if (p->quick)
        return write_quick(p, out);
    beck_status status = buf_printf(out, "scrypt:%u:", p->log_n);
    if (!status)
        status = base64_write(out, bytes_of(p->salt, sizeof p->salt));
    if (!status)
        status = buf_append_byte(out, ':');
    return status ? status : base64_write(out, bytes_of(p->hash, sizeof p->hash));
}

/* What stands before the next colon, or all that is left. */
static beck_bytes next_field(beck_bytes *text)
{
    const uint8_t *colon = text->len ? memchr(text->data, ':', text->len) : NULL;
    beck_bytes field = {text->data,
                        colon ? (size_t)(colon - (const uint8_t *)text->data) : text->len};
    size_t step = field.len + (colon ? 1 : 0);
    *text = bytes_of((const uint8_t *)text->data + step, text->len - step);
    return field;
}

static bool read_base64(beck_bytes text, uint8_t *out, size_t size)
{
    uint8_t decoded[100];
    size_t len;
    if (text.len > sizeof decoded || !base64_read_to(text, decoded, &len) || len != size)
        return false;
    memcpy(out, decoded, size);
    return true;
}

bool scram_read(beck_bytes text, enum scram_hash hash, struct access_scram *out)
{
    uint64_t iterations;
    size_t len = scram_key_len(hash);
    if (!bytes_to_u64(next_field(&text), &iterations) || iterations == 0 || iterations > INT32_MAX)
        return false;
    out->iterations = (uint32_t)iterations;
    return read_base64(next_field(&text), out->salt, sizeof out->salt) &&
           read_base64(next_field(&text), out->stored_key, len) &&
           read_base64(text, out->server_key, len);
}

static bool read_quick(beck_bytes text, struct password *out)
{
    uint8_t both[QUICK_SALT + SECRET_DIGEST];
    if (!read_base64(text, both, sizeof both))
        return false;
    *out = (struct password){.quick = true};
    memcpy(out->salt, both, QUICK_SALT);
    memcpy(out->hash, both + QUICK_SALT, SECRET_DIGEST);
    return true;
}

bool password_read(beck_bytes text, struct password *out)
{
    uint64_t log_n;
    beck_bytes kind = next_field(&text);
    if (bytes_equal_text(kind, "sha256"))
        return read_quick(text, out);
    out->quick = out->has_scram = false;
    if (!bytes_equal_text(kind, "scrypt") || !bytes_to_u64(next_field(&text), &log_n) ||
        log_n < SECRET_LOG_N_MIN || log_n > SECRET_LOG_N_MAX)
        return false;
    out->log_n = (uint32_t)log_n;
    return read_base64(next_field(&text), out->salt, sizeof out->salt) &&
           read_base64(text, out->hash, sizeof out->hash);
}

beck_status token_make(char out[ACCESS_TOKEN_SIZE], uint8_t digest[SECRET_DIGEST], beck_error *err)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    static_assert(ACCESS_TOKEN_SIZE == sizeof TOKEN_PREFIX + (TOKEN_BYTES * 8 + 5) / 6, "its text");
    uint8_t random[TOKEN_BYTES + 1] = {0}; /* the last letter takes bits from behind the end */
    beck_status status = secret_random(random, TOKEN_BYTES, err);
    if (status)
        return status;
    size_t at = sizeof TOKEN_PREFIX - 1;
    memcpy(out, TOKEN_PREFIX, at);
    for (size_t bit = 0; bit < (size_t)TOKEN_BYTES * 8; bit += 6)
        out[at++] = letters[(get_u16(random + bit / 8) >> (10 - bit % 8)) & 63];
    out[at] = 0;
    assert(at == ACCESS_TOKEN_SIZE - 1);
    OPENSSL_cleanse(random, sizeof random);
    token_digest(beck_str(out), digest);
    return BECK_OK;
}

void token_digest(beck_bytes text, uint8_t digest[SECRET_DIGEST])
{
    SHA256(text.len ? text.data : (const void *)"", text.len, digest);
}
