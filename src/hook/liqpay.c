/*
 * LiqPay. A form with the fields data (base64 of JSON) and signature: base64 of SHA-1 (or another
 * digest, by setting) over private key, data, private key. There is no time stamp; a repeated
 * callback is known by its id.
 *
 * The event's data is the JSON inside of `data`; the form as it came when there is none.
 *
 *   type     com.liqpay.<action>.<status>
 *   id       <order_id>/<payment_id>/<status>, without what is absent
 *   source   https://www.liqpay.ua/<public_key>
 *   subject  order_id
 *   time     end_date, else create_date
 */
#include "hook/hook_impl.h"

#include "base/error.h"
#include "hook/form.h"

#include <stdlib.h>

static beck_status prepare(struct hook *h, beck_error *err)
{
    if (h->settings.digest == HOOK_DIGEST_DEFAULT)
        h->settings.digest = HOOK_SHA1;
    if (h->settings.digest != HOOK_SHA1 && h->settings.digest != HOOK_SHA3_256)
        return error_set(err, BECK_EINVAL,
                         "digest of hook \"%s\" is \"%s\"; liqpay has sha1 and sha3-256",
                         h->settings.name, hook_digest_name(h->settings.digest));
    return BECK_OK;
}

static bool matches(const struct hook *h, beck_bytes data, beck_bytes given)
{
    bool good = false;
    for (size_t i = 0; i < h->secret_count && !good; i++) {
        uint8_t digest[MAC_SIZE_MAX];
        char text[MAC_TEXT_MAX];
        beck_bytes key = beck_str(h->secrets[i]);
        const beck_bytes parts[] = {key, data, key};
        size_t len = digest_run(h->settings.digest, parts, 3, digest);
        if (len > 0)
            good = same_secret(given, bytes_of(text, mac_text(digest, len, HOOK_BASE64, text)));
    }
    return good;
}

static enum hook_reason verify(const struct hook *h, beck_bytes body)
{
    size_t data_len = 0, given_len = 0;
    if (body.len == 0)
        return HOOK_MISSING_FIELD;
    uint8_t *data = malloc(2 * body.len);
    if (!data)
        return HOOK_NO_MEMORY;
    uint8_t *given = data + body.len;
    enum hook_reason reason = HOOK_FINE;
    if (form_field(body, "data", data, &data_len) != 1 ||
        form_field(body, "signature", given, &given_len) != 1 || data_len == 0 || given_len == 0)
        reason = HOOK_MISSING_FIELD;
    else if (!matches(h, bytes_of(data, data_len), bytes_of(given, given_len)))
        reason = HOOK_BAD_SIGNATURE;
    free(data);
    return reason;
}

/* What there is of the three, with "/" between. */
static beck_bytes identity(struct hook_result *out, beck_bytes order, beck_bytes payment,
                           beck_bytes status)
{
    const beck_bytes parts[] = {order, payment, status};
    char text[3 * EVENT_ATTRIBUTE_MAX + 3];
    size_t len = 0;
    for (int i = 0; i < 3; i++) {
        if (parts[i].len && len > 0)
            text[len++] = '/';
        if (parts[i].len)
            memcpy(text + len, parts[i].data, parts[i].len);
        len += parts[i].len;
    }
    return result_keep(out, "%.*s", (int)len, text);
}

static void describe(const struct hook *h, struct hook_result *out)
{
    enum { ACTION, STATUS, ORDER, PAYMENT, KEY, END, CREATED, FIELDS };
    struct field f[FIELDS] = {
        [ACTION] = field_of("action", NULL, NULL),
        [STATUS] = field_of("status", NULL, NULL),
        [ORDER] = field_of("order_id", NULL, NULL),
        [PAYMENT] = field_of("payment_id", NULL, NULL),
        [KEY] = field_of("public_key", NULL, NULL),
        [END] = field_of("end_date", NULL, NULL),
        [CREATED] = field_of("create_date", NULL, NULL),
    };
    fields_find(out->event.data, f, FIELDS);
    beck_event *e = &out->event;
    beck_bytes status = result_text(out, &f[STATUS]), order = result_text(out, &f[ORDER]);
    beck_bytes payment = result_text(out, &f[PAYMENT]), key = result_text(out, &f[KEY]);
    draft_type(h, out, result_text(out, &f[ACTION]), status, "event");
    e->subject = order;
    if (order.len || payment.len)
        e->id = identity(out, order, payment, status);
    e->time_ns = moment_of(result_text(out, &f[f[END].found ? END : CREATED]));
    if (!h->settings.source)
        draft_source(out, result_url(out, "https://www.liqpay.ua", key));
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    enum hook_reason reason = verify(h, r->body);
    if (reason)
        return refuse(out, reason);
    draft_begin(h, r, out);
    draft_unwrap_form(out, "data", true);
    describe(h, out);
    return draft_end(out);
}

const struct provider provider_liqpay = {
    .name = "liqpay",
    .type_prefix = "com.liqpay",
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
};
