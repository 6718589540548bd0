/*
 * The mechanisms. Of SCRAM a user that there is not is asked on with a salt that is always the same for
 * that name, so that nobody learns who there is.
 */
#include "wire/kafka/sasl.h"

#include "access/secret.h"
#include "base/error.h"
#include "event/json.h"
#include "kafka/scram.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#define NONCE_BYTES 18
#define MESSAGE_MAX 8192

const char *const sasl_mechanisms[SASL_MECHANISMS] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};

struct sasl {
    struct kafka *kafka;
    struct access *access;
    struct access_peer peer;
    char address[64];
    int mechanism; /* index of sasl_mechanisms; of SCRAM its number */
    bool begun;    /* SCRAM: the client's first message was answered */
    bool nobody;
    struct scram_credential credential;
    struct buf user, exchange; /* exchange: AuthMessage, as far as it is known */
    struct buf nonce;
};

struct sasl *sasl_new(struct kafka *k, struct access *access, const struct access_peer *peer,
                      beck_bytes mechanism, bool *known)
{
    int which = 0;
    while (which < SASL_MECHANISMS && !bytes_equal_text(mechanism, sasl_mechanisms[which]))
        which++;
    *known = which < SASL_MECHANISMS;
    struct sasl *s = *known ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return NULL;
    s->kafka = k;
    s->access = access;
    s->peer = *peer;
    strncpy(s->address, peer->address, sizeof s->address - 1);
    s->peer.address = s->address;
    s->mechanism = which;
    buf_init(&s->user, SCRAM_USER_MAX);
    buf_init(&s->exchange, 4 * MESSAGE_MAX);
    buf_init(&s->nonce, 2 * MESSAGE_MAX);
    return s;
}

void sasl_free(struct sasl *s)
{
    if (!s)
        return;
    buf_release(&s->user);
    buf_release(&s->exchange);
    buf_release(&s->nonce);
    free(s);
}

static enum sasl_step refuse(beck_error *err)
{
    error_set(err, BECK_EDENIED, "Authentication failed: Invalid username or password");
    return SASL_REFUSED;
}

static enum sasl_step malformed(beck_error *err)
{
    error_set(err, BECK_EINVAL, "Authentication failed: the message is malformed");
    return SASL_REFUSED;
}

/* While there is no user, whoever may do everything without a name may give any. */
static bool needs_no_name(struct sasl *s, struct identity **who)
{
    return access_anonymous(s->access, &s->peer, who, NULL) == BECK_OK;
}

/* ---- PLAIN: [authzid] NUL user NUL password ---- */

static enum sasl_step plain(struct sasl *s, beck_bytes m, struct identity **who, beck_error *err)
{
    const char *at = m.data, *end = at + m.len;
    const char *user = m.len ? memchr(at, 0, m.len) : NULL;
    const char *password = user ? memchr(user + 1, 0, (size_t)(end - user - 1)) : NULL;
    if (!password || password == user + 1)
        return malformed(err);
    beck_bytes name = bytes_of(user + 1, (size_t)(password - user - 1));
    if (user > at && !bytes_equal(bytes_of(at, (size_t)(user - at)), name))
        return refuse(err); /* nobody acts for another */
    if (needs_no_name(s, who))
        return SASL_DONE;
    beck_bytes secret = bytes_of(password + 1, (size_t)(end - password - 1));
    return access_password(s->access, &s->peer, name, secret, who, NULL, NULL) ? refuse(err)
                                                                               : SASL_DONE;
}

/* ---- SCRAM ---- */

static const EVP_MD *digest_of(const struct sasl *s)
{
    return s->mechanism == SCRAM_SHA_256 ? EVP_sha256() : EVP_sha512();
}

/* The value of `letter=` up to the next comma, at the beginning of *rest; *rest goes behind it. */
static bool take(beck_bytes *rest, char letter, beck_bytes *value)
{
    const char *p = rest->data;
    if (rest->len < 2 || p[0] != letter || p[1] != '=')
        return false;
    const char *comma = memchr(p, ',', rest->len);
    size_t len = comma ? (size_t)(comma - p) : rest->len;
    *value = bytes_of(p + 2, len - 2);
    size_t used = comma ? len + 1 : len;
    *rest = bytes_of(p + used, rest->len - used);
    return true;
}

/* "=2C" is a comma, "=3D" an equals sign. */
static bool read_name(beck_bytes text, struct buf *out)
{
    const char *p = text.data;
    buf_clear(out);
    for (size_t i = 0; i < text.len; i++) {
        char c = p[i];
        if (c == '=') {
            if (text.len - i < 3 || (memcmp(p + i, "=2C", 3) != 0 && memcmp(p + i, "=3D", 3) != 0))
                return false;
            c = p[i + 1] == '2' ? ',' : '=';
            i += 2;
        }
        if (!c || buf_append_byte(out, (uint8_t)c))
            return false;
    }
    return out->len > 0;
}

/* What Kafka's tools made for the user, or else what their password gives. */
static bool find_credential(struct sasl *s)
{
    struct access_scram keys;
    enum scram_mechanism mechanism = (enum scram_mechanism)s->mechanism;
    struct scram_credential *c = &s->credential;
    if (scram_find(s->kafka, buf_bytes(&s->user), mechanism, c))
        return true;
    if (!access_scram(s->access, buf_bytes(&s->user),
                      mechanism == SCRAM_SHA_256 ? SCRAM_HASH_256 : SCRAM_HASH_512, &keys))
        return false;
    *c = (struct scram_credential){.mechanism = mechanism,
                                   .iterations = (int32_t)keys.iterations,
                                   .salt_len = sizeof keys.salt};
    memcpy(c->salt, keys.salt, sizeof keys.salt);
    memcpy(c->stored_key, keys.stored_key, scram_key_len(mechanism));
    memcpy(c->server_key, keys.server_key, scram_key_len(mechanism));
    return true;
}

static beck_status make_up(struct sasl *s)
{
    static const char label[] = "beck: nobody's salt";
    uint8_t salt[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const uint8_t *secret = kafka_cluster_id(s->kafka);
    struct buf text;
    buf_init(&text, sizeof label + SCRAM_USER_MAX);
    beck_status status = buf_append(&text, label, sizeof label);
    if (!status)
        status = buf_append(&text, s->user.data, s->user.len);
    if (!status && !HMAC(EVP_sha256(), secret, 16, text.data, text.len, salt, &len))
        status = BECK_ENOMEM;
    buf_release(&text);
    s->nobody = true;
    s->credential =
        (struct scram_credential){.iterations = ACCESS_SCRAM_ITERATIONS, .salt_len = 16};
    memcpy(s->credential.salt, salt, len >= 16 ? 16 : 0);
    return status;
}

static beck_status put_server_first(struct sasl *s, beck_bytes client_nonce, struct buf *out)
{
    uint8_t random[NONCE_BYTES];
    size_t start = out->len;
    beck_status status = secret_random(random, sizeof random, NULL);
    if (!status)
        status = buf_append(&s->nonce, client_nonce.data, client_nonce.len);
    if (!status)
        status = base64_write(&s->nonce, bytes_of(random, sizeof random));
    if (!status)
        status = buf_append_text(out, "r=");
    if (!status)
        status = buf_append(out, s->nonce.data, s->nonce.len);
    if (!status)
        status = buf_append_text(out, ",s=");
    if (!status)
        status = base64_write(out, bytes_of(s->credential.salt, s->credential.salt_len));
    if (!status)
        status = buf_printf(out, ",i=%d", (int)s->credential.iterations);
    if (!status)
        status = buf_append(&s->exchange, out->data + start, out->len - start);
    return status ? status : buf_append_text(&s->exchange, ",");
}

static enum sasl_step scram_first(struct sasl *s, beck_bytes m, struct buf *out, beck_error *err)
{
    beck_bytes rest = m, name, nonce, authzid;
    const char *p = m.data;
    if (m.len < 3 || (p[0] != 'n' && p[0] != 'y') || p[1] != ',')
        return malformed(err);
    rest = bytes_of(p + 2, m.len - 2);
    if (p[2] == ',')
        rest = bytes_of(p + 3, m.len - 3);
    else if (!take(&rest, 'a', &authzid))
        return malformed(err);
    beck_bytes bare = rest;
    if (!take(&rest, 'n', &name) || !take(&rest, 'r', &nonce) || nonce.len == 0 ||
        !read_name(name, &s->user))
        return malformed(err);
    beck_status status = BECK_OK;
    if (!find_credential(s))
        status = make_up(s);
    if (!status)
        status = buf_append(&s->exchange, bare.data, bare.len);
    if (!status)
        status = buf_append_text(&s->exchange, ",");
    if (!status)
        status = put_server_first(s, nonce, out);
    if (status) {
        error_set(err, status, "Authentication failed: there is no memory for it");
        return SASL_REFUSED;
    }
    s->begun = true;
    return SASL_MORE;
}

static bool hmac(const struct sasl *s, const uint8_t *key, uint8_t out[EVP_MAX_MD_SIZE])
{
    unsigned len;
    return HMAC(digest_of(s), key, (int)scram_key_len((enum scram_mechanism)s->mechanism),
                s->exchange.data, s->exchange.len, out, &len) != NULL;
}

/* ClientKey = proof XOR HMAC(StoredKey, AuthMessage); its hash is StoredKey. */
static bool proves(const struct sasl *s, const uint8_t *proof, size_t len)
{
    uint8_t signature[EVP_MAX_MD_SIZE], hash[EVP_MAX_MD_SIZE], differs = 0;
    size_t key = scram_key_len((enum scram_mechanism)s->mechanism);
    if (len != key || s->nobody || !hmac(s, s->credential.stored_key, signature))
        return false;
    for (size_t i = 0; i < key; i++)
        signature[i] ^= proof[i];
    if (!EVP_Digest(signature, key, hash, NULL, digest_of(s), NULL))
        return false;
    for (size_t i = 0; i < key; i++)
        differs |= hash[i] ^ s->credential.stored_key[i];
    return differs == 0;
}

static enum sasl_step say_signature(struct sasl *s, struct buf *out, struct identity **who,
                                    beck_error *err)
{
    uint8_t signature[EVP_MAX_MD_SIZE];
    size_t key = scram_key_len((enum scram_mechanism)s->mechanism);
    *who = access_named(s->access, buf_bytes(&s->user));
    if (!*who && !needs_no_name(s, who))
        return refuse(err);
    if (hmac(s, s->credential.server_key, signature) && !buf_append_text(out, "v=") &&
        !base64_write(out, bytes_of(signature, key)))
        return SASL_DONE;
    identity_release(*who);
    *who = NULL;
    error_set(err, BECK_ENOMEM, "Authentication failed: there is no memory for it");
    return SASL_REFUSED;
}

static enum sasl_step scram_final(struct sasl *s, beck_bytes m, struct buf *out,
                                  struct identity **who, beck_error *err)
{
    beck_bytes rest = m, binding, nonce, proof;
    uint8_t bytes[128];
    size_t len = 0;
    if (!take(&rest, 'c', &binding) || !take(&rest, 'r', &nonce) ||
        !bytes_equal(nonce, buf_bytes(&s->nonce)))
        return malformed(err);
    size_t without_proof = (size_t)((const char *)rest.data - (const char *)m.data);
    if (!take(&rest, 'p', &proof) || proof.len > 128 || !base64_read_to(proof, bytes, &len))
        return malformed(err);
    if (buf_append(&s->exchange, m.data, without_proof - 1))
        return malformed(err);
    if (!proves(s, bytes, len)) {
        access_failed(s->access, &s->peer);
        return refuse(err);
    }
    return say_signature(s, out, who, err);
}

enum sasl_step sasl_step(struct sasl *s, beck_bytes message, struct buf *out, struct identity **who,
                         beck_error *err)
{
    if (message.len > MESSAGE_MAX)
        return malformed(err);
    if (s->mechanism == 0)
        return plain(s, message, who, err);
    if (access_may_try(s->access, &s->peer, err))
        return SASL_REFUSED;
    return s->begun ? scram_final(s, message, out, who, err) : scram_first(s, message, out, err);
}
