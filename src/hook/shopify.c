/*
 * Shopify. X-Shopify-Hmac-Sha256: the HMAC-SHA256 of the body, base64 with padding.
 *
 *   type     com.shopify.<X-Shopify-Topic>: orders/create is com.shopify.orders.create
 *   id       X-Shopify-Webhook-Id, which stays the same when a delivery is repeated
 *   source   https://<X-Shopify-Shop-Domain>
 *   subject  id of the body
 *   time     X-Shopify-Triggered-At
 */
#include "hook/hook_impl.h"

static beck_status prepare(struct hook *h, beck_error *err)
{
    return hook_prepare_macs(h, HOOK_SHA256, err);
}

static enum hook_outcome receive(const struct hook *h, const struct hook_request *r,
                                 struct hook_result *out)
{
    const char *header;
    enum hook_reason reason = request_header(r, "X-Shopify-Hmac-Sha256", &header);
    if (reason || !header[0])
        return refuse(out, reason ? reason : HOOK_MISSING_HEADER);
    beck_bytes given = beck_str(header);
    if (!signature_matches(h, &r->body, 1, HOOK_BASE64, &given, 1))
        return refuse(out, HOOK_BAD_SIGNATURE);
    draft_begin(h, r, out);
    struct field id = field_of("id", NULL, NULL);
    fields_find(out->event.data, &id, 1);
    beck_event *e = &out->event;
    draft_type(h, out, attribute_of(request_find(r, "X-Shopify-Topic")), bytes_of(NULL, 0),
               "event");
    e->id = attribute_of(request_find(r, "X-Shopify-Webhook-Id"));
    e->subject = result_text(out, &id);
    e->time_ns = moment_of(attribute_of(request_find(r, "X-Shopify-Triggered-At")));
    beck_bytes shop = attribute_of(request_find(r, "X-Shopify-Shop-Domain"));
    if (shop.len && !h->settings.source)
        draft_source(out, result_url(out, "https:/", shop));
    draft_extension(out, "shopifyeventid", beck_str(request_find(r, "X-Shopify-Event-Id")));
    draft_extension(out, "shopifyapiversion", beck_str(request_find(r, "X-Shopify-API-Version")));
    return draft_end(out);
}

const struct provider provider_shopify = {
    .name = "shopify",
    .type_prefix = "com.shopify",
    .needs_secret = true,
    .prepare = prepare,
    .receive = receive,
};
