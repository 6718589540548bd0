/*
 * PayPal. PAYPAL-TRANSMISSION-SIG: base64 of an RSA signature (SHA-256) over
 * "<PAYPAL-TRANSMISSION-ID>|<PAYPAL-TRANSMISSION-TIME>|<webhook id>|<CRC-32 of the body, decimal>".
 * The certificate is at PAYPAL-CERT-URL (certificates.h), or is a setting.
 *
 *   type     com.paypal.<event_type>, lower case
 *   id       id, else PAYPAL-TRANSMISSION-ID
 *   source   https://www.paypal.com
 *   subject  resource.id
 *   time     create_time
 */
#include "base/error.h"
#include "hook/certificates.h"
#include "hook/hook_impl.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <zlib.h>

#define SIGNATURE_MAX 1024
#define CONTENT_MAX 1024

static beck_status prepare(struct hook *h, beck_error *err)
{
    const struct hook_source *s = &h->settings;
    if (!s->webhook_id || !s->webhook_id[0] || strlen(s->webhook_id) > 100)
        return error_set(err, BECK_EINVAL,
                         "hook \"%s\" has no webhook_id; give the one that PayPal's dashboard "
                         "shows",
                         s->name);
    if (!s->certificate)
        return BECK_OK;
    beck_status status = certificates_read_file(s->certificate, &h->keys[0], err);
    h->key_count += !status;
    return status;
}

enum { ID, TIME, SIGNATURE, URL, ALGORITHM, HEADERS };

static bool signature_is_right(EVP_PKEY *key, const struct hook *h, const char *const *header,
                               beck_bytes body)
{
    char content[CONTENT_MAX];
    uint8_t signature[SIGNATURE_MAX];
    beck_bytes text = beck_str(header[SIGNATURE]);
    size_t size;
    unsigned long crc = crc32_z(0, body.data, body.len);
    int len = snprintf(content, sizeof content, "%s|%s|%s|%lu", header[ID], header[TIME],
                       h->settings.webhook_id, crc);
    if (len >= CONTENT_MAX || text.len > sizeof signature ||
        !base64_read_to(text, signature, &size))
        return false;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA &&
                EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(ctx, signature, size, (const uint8_t *)content, (size_t)len) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

/* Sets *wait when a certificate has to be fetched first. */
static enum hook_reason verify(const struct hook *h, const struct hook_request *r,
                               const char **header, bool *wait)
{
    static const char *const names[HEADERS] = {"PAYPAL-TRANSMISSION-ID", "PAYPAL-TRANSMISSION-TIME",
                                               "PAYPAL-TRANSMISSION-SIG", "PAYPAL-CERT-URL",
                                               "PAYPAL-AUTH-ALGO"};
    for (int i = 0; i < HEADERS; i++) {
        enum hook_reason reason = request_header(r, names[i], &header[i]);
        if (reason || !header[i][0])
            return reason ? reason : HOOK_MISSING_HEADER;
    }
    if (strcmp(header[ALGORITHM], "SHA256withRSA") != 0)
        return HOOK_BAD_ALGORITHM;
    if (!certificates_url_is_allowed(beck_str(header[URL]), "paypal.com"))
        return HOOK_BAD_CERT_URL;
    EVP_PKEY *key = h->keys[0];
    if (key) {
        EVP_PKEY_up_ref(key);
    } else if (!h->certificates) {
        return HOOK_NO_CERT;
    } else {
        beck_status status =
            certificates_get(h->certificates, header[URL], r->now_ns, r->may_block, &key);
        *wait = status == BECK_ETIMEDOUT;
        if (status)
            return status == BECK_EDENIED ? HOOK_BAD_CERT : HOOK_NO_CERT;
    }
    bool good = signature_is_right(key, h, header, r->body);
    EVP_PKEY_free(key);
    return good ? HOOK_FINE : HOOK_BAD_SIGNATURE;
}

static void describe(const struct hook *h, struct hook_result *out, const char *const *header)
{
    enum { TYPE, BODY_ID, CREATED, RESOURCE, FIELDS };
    struct field f[FIELDS] = {
        [TYPE] = field_of("event_type", NULL, NULL),
        [BODY_ID] = field_of("id", NULL, NULL),
        [CREATED] = field_of("create_time", NULL, NULL),
        [RESOURCE] = field_of("resource", "id", NULL),
    };
    fields_find(out->event.data, f, FIELDS);
    beck_event *e = &out->event;
    draft_type(h, out, result_text(out, &f[TYPE]), bytes_of(NULL, 0), "event");
    e->id = result_text(out, &f[BODY_ID]);
    if (!e->id.len)
        e->id = attribute_of(header[ID]);
    e->subject = result_text(out, &f[RESOURCE]);
    e->time_ns = moment_of(result_text(out, &f[CREATED]));
    if (!h->settings.source)
        draft_source(out, beck_str("https://www.paypal.com"));
    draft_extension(out, "paypaltransmission", beck_str(header[ID]));
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    const char *header[HEADERS];
    bool wait = false;
    enum hook_reason reason = verify(h, r, header, &wait);
    if (wait)
        return HOOK_BLOCKS;
    if (reason)
        return refuse(out, reason);
    draft_begin(h, r, out);
    describe(h, out, header);
    return draft_end(out);
}

const struct provider provider_paypal = {
    .name = "paypal",
    .type_prefix = "com.paypal",
    .prepare = prepare,
    .receive = receive,
};
