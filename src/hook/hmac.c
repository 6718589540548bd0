/*
 * Any sender whose signature is an HMAC of the body in one header: header, what stands before the
 * signature, digest and encoding are settings. Hex is good in either case, base64 with and without
 * padding. And the sources that verify nothing.
 *
 *   type     type_from, else "webhook"
 *   id       id_from
 *   source   /hooks/<name>
 *   subject  subject_from
 *   time     time_from
 */
#include "base/error.h"
#include "hook/hook_impl.h"

static beck_status prepare(struct hook *h, beck_error *err)
{
    const char *header = h->settings.header;
    if (!header || !header[0])
        return error_set(err, BECK_EINVAL,
                         "hook \"%s\" has no header; give the name of the one that holds the "
                         "signature",
                         h->settings.name);
    if (!h->settings.prefix)
        h->settings.prefix = "";
    if (h->settings.digest == HOOK_DIGEST_DEFAULT)
        h->settings.digest = HOOK_SHA256;
    beck_status status = hook_prepare_origins(h, err);
    return status ? status : hook_prepare_macs(h, h->settings.digest, err);
}

/* As mac_text writes it; 0: too long to be one. */
static size_t normalise(const char *given, enum hook_encoding encoding, char out[MAC_TEXT_MAX])
{
    size_t len = strlen(given);
    if (len + 3 > MAC_TEXT_MAX - 1 && !(encoding == HOOK_HEX && len < MAC_TEXT_MAX))
        return 0;
    for (size_t i = 0; i < len; i++)
        out[i] = encoding == HOOK_HEX && given[i] >= 'A' && given[i] <= 'F'
                     ? (char)(given[i] | 0x20)
                     : given[i];
    while (encoding == HOOK_BASE64 && len % 4 != 0)
        out[len++] = '=';
    return len;
}

static enum hook_reason verify(const struct hook *h, const struct hook_request *r)
{
    const char *header;
    char text[MAC_TEXT_MAX];
    enum hook_reason reason = request_header(r, h->settings.header, &header);
    if (reason || !header[0])
        return reason ? reason : HOOK_MISSING_HEADER;
    size_t prefix = strlen(h->settings.prefix);
    if (strncmp(header, h->settings.prefix, prefix) != 0)
        return HOOK_BAD_SIGNATURE;
    beck_bytes given = bytes_of(text, normalise(header + prefix, h->settings.encoding, text));
    return signature_matches(h, &r->body, 1, h->settings.encoding, &given, 1) ? HOOK_FINE
                                                                              : HOOK_BAD_SIGNATURE;
}

static enum hook_outcome make_event(const struct hook *h, const struct hook_request *r,
                                    struct hook_result *out)
{
    draft_begin(h, r, out);
    draft_type(h, out, bytes_of(NULL, 0), bytes_of(NULL, 0), "webhook");
    draft_origins(h, r, out);
    return draft_end(out);
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    enum hook_reason reason = verify(h, r);
    return reason ? refuse(out, reason) : make_event(h, r, out);
}

const struct provider provider_hmac = {
    .name = "hmac",
    .type_prefix = "",
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
};

/* ---- none: CloudEvents are taken as what they are ---- */

static enum hook_outcome receive_any(const struct hook *h, const struct hook_request *r,
                                     struct hook_result *out)
{
    return cloudevents_is(r) ? cloudevents_read(r, out) : make_event(h, r, out);
}

const struct provider provider_none = {
    .name = "none",
    .type_prefix = "",
    .prepare = hook_prepare_origins,
    .receive = receive_any,
    .handshake = consent,
};
