/*
 * WebSub (W3C), as a subscriber. A hub asks with GET whether a subscription is wanted (hub.mode,
 * hub.topic, hub.challenge): it is for the topics of the settings, and the challenge is answered.
 * An end that the settings do not want is not confirmed. Deliveries carry X-Hub-Signature:
 * "<method>=<hex>", an HMAC of the body with sha256, sha384 or sha512; sha1 is refused.
 *
 *   type     websub.content
 *   source   the topic, from the Link header with rel="self"; else /hooks/<name>
 */
#include "base/error.h"
#include "hook/hook_impl.h"

#include <strings.h>

static beck_status prepare(struct hook *h, beck_error *err)
{
    (void)err;
    (void)h;
    return BECK_OK;
}

static bool is_wanted(const struct hook *h, const char *topic)
{
    for (size_t i = 0; i < h->settings.topic_count; i++)
        if (strcmp(h->settings.topics[i], topic) == 0)
            return true;
    return false;
}

static enum hook_outcome confirm(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    if (strcmp(r->method, "GET") != 0 || !r->query) {
        answer_header(out, "Allow", "POST, GET, HEAD");
        return refuse(out, HOOK_BAD_METHOD);
    }
    const char *mode = r->query(r->query_ctx, "hub.mode");
    const char *topic = r->query(r->query_ctx, "hub.topic");
    const char *challenge = r->query(r->query_ctx, "hub.challenge");
    bool begins = mode && strcmp(mode, "subscribe") == 0;
    bool ends = mode && strcmp(mode, "unsubscribe") == 0;
    /* The hub says that it has refused; it wants no more than an answer. */
    if (mode && strcmp(mode, "denied") == 0)
        return answer(out, 200, bytes_of(NULL, 0));
    if ((!begins && !ends) || !topic || !challenge || is_wanted(h, topic) != begins)
        return answer(out, 404, bytes_of(NULL, 0));
    return answer(out, 200, beck_str(challenge));
}

static bool matches(const struct hook *h, enum hook_digest digest, beck_bytes body,
                    beck_bytes given)
{
    bool good = false;
    for (size_t i = 0; i < h->secret_count && !good; i++) {
        struct mac mac;
        uint8_t value[MAC_SIZE_MAX];
        char text[MAC_TEXT_MAX];
        if (mac_init(&mac, digest, beck_str(h->secrets[i]), NULL))
            return false;
        size_t len = mac_run(&mac, &body, 1, value);
        if (len > 0)
            good = same_secret(given, bytes_of(text, mac_text(value, len, HOOK_HEX, text)));
        mac_release(&mac);
    }
    return good;
}

static enum hook_reason verify(const struct hook *h, const struct hook_request *r)
{
    const char *header;
    enum hook_reason reason = request_header(r, "X-Hub-Signature", &header);
    if (reason || !header[0])
        return reason ? reason : HOOK_MISSING_HEADER;
    static const enum hook_digest digests[] = {HOOK_SHA256, HOOK_SHA384, HOOK_SHA512};
    for (int i = 0; i < 3; i++) {
        const char *method = hook_digest_name(digests[i]);
        size_t len = strlen(method);
        if (strncmp(header, method, len) == 0 && header[len] == '=')
            return matches(h, digests[i], r->body, beck_str(header + len + 1)) ? HOOK_FINE
                                                                               : HOOK_BAD_SIGNATURE;
    }
    return HOOK_BAD_ALGORITHM;
}

/* The address of the link whose rel is "self": `<address>; rel="self"`, among others. */
static beck_bytes self_link(const struct hook_request *r)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, "Link") != 0)
            continue;
        for (const char *p = r->headers[i].value; (p = strchr(p, '<')) != NULL;) {
            const char *end = strchr(++p, '>');
            if (!end)
                break;
            size_t rest = strcspn(end, ",<");
            const char *rel = memmem(end, rest, "rel=", 4);
            if (rel && (strncmp(rel + 4, "\"self\"", 6) == 0 || strncmp(rel + 4, "self", 4) == 0))
                return attribute_or_none(bytes_of(p, (size_t)(end - p)));
            p = end;
        }
    }
    return bytes_of(NULL, 0);
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    enum hook_reason reason = verify(h, r);
    if (reason)
        return refuse(out, reason);
    draft_begin(h, r, out);
    draft_type(h, out, bytes_of(NULL, 0), bytes_of(NULL, 0), "content");
    if (!h->settings.source)
        draft_source(out, self_link(r));
    return draft_end(out);
}

const struct provider provider_websub = {
    .name = "websub",
    .type_prefix = "websub",
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
    .handshake = confirm,
};
