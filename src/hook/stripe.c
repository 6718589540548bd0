/*
 * Stripe. Stripe-Signature: "t=<seconds>,v1=<hex>", several v1 while a secret is being changed;
 * other schemes (v0) are not looked at. Signed: "<seconds>.<body>" with HMAC-SHA256, whose key is
 * the secret as it stands, "whsec_" included. A time stamp may be old by the tolerance; one in the
 * future is good, as in Stripe's own libraries.
 *
 *   type     com.stripe.<type>
 *   id       id
 *   source   https://stripe.com, of a connected account https://stripe.com/<account>
 *   subject  data.object.id, else related_object.id
 *   time     created
 */
#include "hook/hook_impl.h"

static beck_status prepare(struct hook *h, beck_error *err)
{
    return hook_prepare_macs(h, HOOK_SHA256, err);
}

struct header {
    beck_bytes stamp;
    size_t stamps;
    bool has_scheme; /* any signature at all, of whichever scheme */
    beck_bytes given[HOOK_SIGNATURES_MAX];
    size_t count;
};

static void read_header(const char *text, struct header *out)
{
    *out = (struct header){.stamps = 0};
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        if (len >= 2 && memcmp(p, "t=", 2) == 0) {
            out->stamp = bytes_of(p + 2, len - 2);
            out->stamps++;
        } else if (len >= 3 && p[0] == 'v' && memchr(p, '=', len)) {
            out->has_scheme = true;
            if (memcmp(p, "v1=", 3) == 0 && out->count < HOOK_SIGNATURES_MAX)
                out->given[out->count++] = bytes_of(p + 3, len - 3);
        }
        p += len;
        if (!*p)
            return;
    }
}

static enum hook_reason verify(const struct hook *h, const struct hook_request *r)
{
    const char *text;
    struct header header;
    enum hook_reason reason = request_header(r, "Stripe-Signature", &text);
    if (reason || !text[0])
        return reason ? reason : HOOK_MISSING_HEADER;
    read_header(text, &header);
    if (header.stamps != 1 || !header.has_scheme)
        return HOOK_BAD_HEADER;
    enum hook_reason age =
        stamp_check(h, header.stamp.data, header.stamp.len, r->now_ns, true, NULL);
    if (age == HOOK_BAD_HEADER)
        return age;
    const beck_bytes parts[] = {header.stamp, bytes_of(".", 1), r->body};
    if (!signature_matches(h, parts, 3, HOOK_HEX, header.given, header.count))
        return HOOK_BAD_SIGNATURE;
    return age;
}

static void describe(const struct hook *h, struct hook_result *out)
{
    enum { TYPE, ID, CREATED, ACCOUNT, OBJECT, RELATED, VERSION, LIVE, REQUEST, FIELDS };
    struct field f[FIELDS] = {
        [TYPE] = field_of("type", NULL, NULL),
        [ID] = field_of("id", NULL, NULL),
        [CREATED] = field_of("created", NULL, NULL),
        [ACCOUNT] = field_of("account", NULL, NULL),
        [OBJECT] = field_of("data", "object", "id"),
        [RELATED] = field_of("related_object", "id", NULL),
        [VERSION] = field_of("api_version", NULL, NULL),
        [LIVE] = field_of("livemode", NULL, NULL),
        [REQUEST] = field_of("request", "id", NULL),
    };
    fields_find(out->event.data, f, FIELDS);
    beck_event *e = &out->event;
    draft_type(h, out, result_text(out, &f[TYPE]), bytes_of(NULL, 0), "event");
    e->id = result_text(out, &f[ID]);
    e->subject = result_text(out, f[OBJECT].found ? &f[OBJECT] : &f[RELATED]);
    e->time_ns = moment_of(result_text(out, &f[CREATED]));
    beck_bytes account = result_text(out, &f[ACCOUNT]);
    if (!h->settings.source)
        draft_source(out, result_url(out, "https://stripe.com", account));
    draft_extension(out, "stripeapiversion", result_text(out, &f[VERSION]));
    draft_extension(out, "stripelivemode", result_text(out, &f[LIVE]));
    draft_extension(out, "striperequest", result_text(out, &f[REQUEST]));
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    enum hook_reason reason = verify(h, r);
    if (reason)
        return refuse(out, reason);
    draft_begin(h, r, out);
    describe(h, out);
    return draft_end(out);
}

const struct provider provider_stripe = {
    .name = "stripe",
    .type_prefix = "com.stripe",
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
};
