/*
 * Standard Webhooks. webhook-signature: entries "<version>,<base64>" with blanks between them; one
 * that is right is enough, unknown versions are not looked at. Signed:
 * "<webhook-id>.<webhook-timestamp>.<body>".
 *
 *   v1   HMAC-SHA256; the key is the base64 behind "whsec_" (the prefix may be missing)
 *   v1a  Ed25519; the public key is the base64 behind "whpk_"
 *
 * The time stamp may be off by the tolerance to either side.
 *
 *   type     type of the body, else "webhook"; or type_from
 *   id       webhook-id; or id_from
 *   source   /hooks/<name>
 *   time     timestamp of the body, else webhook-timestamp
 */
#include "hook/hook_impl.h"

#include "base/error.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_MAX 1024
#define ED25519_SIZE 32
#define ED25519_SIGNATURE 64

/* Padding may be missing. */
static bool read_key(const char *text, uint8_t out[KEY_MAX + 4], size_t *len)
{
    size_t given = strlen(text);
    if (given == 0 || given > KEY_MAX)
        return false;
    memcpy(out, text, given);
    while (given % 4 != 0)
        out[given++] = '=';
    return base64_read_to(bytes_of(out, given), out, len) && *len > 0;
}

static beck_status add_key(struct hook *h, const char *secret, beck_error *err)
{
    uint8_t key[KEY_MAX + 4];
    size_t len = 0;
    beck_status status = BECK_OK;
    bool public = strncmp(secret, "whpk_", 5) == 0;
    const char *text = public                              ? secret + 5
                       : strncmp(secret, "whsec_", 6) == 0 ? secret + 6
                                                           : secret;
    bool good = read_key(text, key, &len) && (!public || len == ED25519_SIZE);
    if (!good) {
        /* The secret itself is in no message. */
        status =
            error_set(err, BECK_EINVAL,
                      "a secret of hook \"%s\" is not of Standard Webhooks; give \"whsec_\" or "
                      "\"whpk_\" (a public key) and base64",
                      h->settings.name);
    } else if (public) {
        h->keys[h->key_count] = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, len);
        if (!h->keys[h->key_count])
            status = error_set(err, BECK_ENOMEM, "no memory for the key of a hook");
        h->key_count += !status;
    } else {
        status = mac_init(&h->macs[h->mac_count], HOOK_SHA256, bytes_of(key, len), err);
        h->mac_count += !status;
    }
    OPENSSL_cleanse(key, sizeof key);
    return status;
}

static beck_status prepare(struct hook *h, beck_error *err)
{
    beck_status status = hook_prepare_origins(h, err);
    for (size_t i = 0; i < h->secret_count && !status; i++)
        status = add_key(h, h->secrets[i], err);
    return status;
}

struct headers {
    const char *id, *stamp, *signature;
};

static enum hook_reason find_headers(const struct hook_request *r, const char *prefix,
                                     struct headers *out)
{
    const char *const ends[] = {"id", "timestamp", "signature"};
    const char **values[] = {&out->id, &out->stamp, &out->signature};
    enum hook_reason reason = HOOK_FINE;
    for (int i = 0; i < 3 && !reason; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s-%s", prefix, ends[i]);
        reason = request_header(r, name, values[i]);
    }
    if (!reason && (!out->id[0] || !out->signature[0]))
        return HOOK_MISSING_HEADER;
    return reason;
}

struct signatures {
    beck_bytes v1[HOOK_SIGNATURES_MAX], v1a[HOOK_SIGNATURES_MAX];
    size_t v1_count, v1a_count;
};

static void read_signatures(const char *text, struct signatures *out)
{
    out->v1_count = out->v1a_count = 0;
    for (const char *p = text; *p;) {
        size_t len = strcspn(p, " ");
        if (len > 3 && memcmp(p, "v1,", 3) == 0 && out->v1_count < HOOK_SIGNATURES_MAX)
            out->v1[out->v1_count++] = bytes_of(p + 3, len - 3);
        if (len > 4 && memcmp(p, "v1a,", 4) == 0 && out->v1a_count < HOOK_SIGNATURES_MAX)
            out->v1a[out->v1a_count++] = bytes_of(p + 4, len - 4);
        p += len;
        p += *p == ' ';
    }
}

/* Ed25519 hashes what is signed twice, so it is needed in one piece. */
static bool verify_public(const struct hook *h, const beck_bytes parts[5],
                          const struct signatures *given)
{
    struct buf content;
    bool good = false;
    size_t len = 0;
    if (h->key_count == 0 || given->v1a_count == 0)
        return false;
    for (int i = 0; i < 5; i++)
        len += parts[i].len;
    buf_init(&content, len);
    for (int i = 0; i < 5; i++)
        if (buf_append(&content, parts[i].data, parts[i].len))
            goto out;
    for (size_t i = 0; i < given->v1a_count * h->key_count && !good; i++) {
        beck_bytes text = given->v1a[i / h->key_count];
        uint8_t signature[ED25519_SIGNATURE + 24];
        size_t size;
        if (text.len > sizeof signature || !base64_read_to(text, signature, &size) ||
            size != ED25519_SIGNATURE)
            continue;
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        good = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, h->keys[i % h->key_count]) == 1 &&
               EVP_DigestVerify(ctx, signature, size, content.data, content.len) == 1;
        EVP_MD_CTX_free(ctx);
    }
out:
    buf_release(&content);
    return good;
}

static enum hook_reason verify(const struct hook *h, const struct hook_request *r,
                               struct headers *headers, int64_t *seconds)
{
    enum hook_reason reason = find_headers(r, "webhook", headers);
    if (reason == HOOK_MISSING_HEADER && h->settings.svix)
        reason = find_headers(r, "svix", headers);
    if (!reason)
        reason = stamp_check(h, headers->stamp, strlen(headers->stamp), r->now_ns, false, seconds);
    if (reason)
        return reason;
    struct signatures given;
    read_signatures(headers->signature, &given);
    const beck_bytes parts[] = {beck_str(headers->id), bytes_of(".", 1), beck_str(headers->stamp),
                                bytes_of(".", 1), r->body};
    if (given.v1_count > 0 && signature_matches(h, parts, 5, HOOK_BASE64, given.v1, given.v1_count))
        return HOOK_FINE;
    return verify_public(h, parts, &given) ? HOOK_FINE : HOOK_BAD_SIGNATURE;
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    struct headers headers;
    int64_t seconds = 0;
    enum hook_reason reason = verify(h, r, &headers, &seconds);
    if (reason)
        return refuse(out, reason);
    draft_begin(h, r, out);
    enum { TYPE, TIME, FIELDS };
    struct field f[FIELDS] = {
        [TYPE] = field_of("type", NULL, NULL), [TIME] = field_of("timestamp", NULL, NULL)};
    fields_find(out->event.data, f, FIELDS);
    draft_type(h, out, result_text(out, &f[TYPE]), bytes_of(NULL, 0), "webhook");
    out->event.id = attribute_of(headers.id);
    out->event.time_ns = moment_of(result_text(out, &f[TIME]));
    if (!out->event.time_ns)
        out->event.time_ns = moment_of(beck_str(headers.stamp));
    draft_origins(h, r, out);
    return draft_end(out);
}

const struct provider provider_standard = {
    .name = "standard",
    .type_prefix = "",
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
};
