/* Which events requests become: type, id, source, subject, time, data and extensions. */
#include "common.h"

static const char *const secret = "s3cr3t";

static struct hook_source source_of(enum hook_provider provider)
{
    return (struct hook_source){.name = "shop",
                                .provider = provider,
                                .bus = "hooks",
                                .secrets = &secret,
                                .secret_count = 1};
}

static void receive(const struct hook *h, struct post *p, struct hook_result *result)
{
    assert_outcome(hook_receive(h, &p->request, result), result, HOOK_FINE);
}

static void post_slack(struct post *p, const char *body, char signature[256])
{
    char content[4096];
    post_init(p, body);
    snprintf(content, sizeof content, "v0:%d:%s", NOW_S, body);
    post_header(p, "X-Slack-Request-Timestamp", "1773480413");
    post_header(p, "X-Slack-Signature",
                sign(secret, HOOK_SHA256, HOOK_HEX, "v0=", beck_str(content), signature));
}

static void assert_event(const beck_event *e, const char *type, const char *id, const char *source,
                         const char *subject)
{
    assert_bytes(e->type, type);
    assert_bytes(e->id, id);
    assert_bytes(e->source, source);
    assert_bytes(e->subject, subject);
    assert_bytes(event_extension(e, "hook"), "shop");
}

static void test_slack(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_SLACK);
    struct hook *h = make_hook(&source);
    static const struct {
        const char *body, *type, *id, *subject;
        bool form;
    } rows[] = {
        {"{\"team_id\":\"T1\",\"event\":{\"type\":\"message\",\"channel\":\"C1\",\"user\":\"U1\"},"
         "\"type\":\"event_callback\",\"event_id\":\"Ev1\"}",
         "com.slack.message", "Ev1", "C1", false},
        {"{\"team_id\":\"T1\",\"event\":{\"type\":\"channel_created\",\"channel\":{\"id\":\"C2\"}},"
         "\"event_id\":\"Ev2\"}",
         "com.slack.channel_created", "Ev2", "C2", false},
        {"{\"team_id\":\"T1\",\"event\":{\"type\":\"reaction_added\",\"user\":\"U1\","
         "\"item\":{\"type\":\"message\",\"channel\":\"C3\"}},\"event_id\":\"Ev3\"}",
         "com.slack.reaction_added", "Ev3", "C3", false},
        {"{\"team_id\":\"T1\",\"type\":\"app_rate_limited\"}", "com.slack.app_rate_limited", "", "",
         false},
        {"team_id=T1&channel_id=C4&command=%2Fdeploy&trigger_id=1.2&text=a+b", "com.slack.command",
         "1.2", "C4", true},
        {"payload=%7B%22type%22%3A%22block_actions%22%2C%22team%22%3A%7B%22id%22%3A%22T1%22%7D%2C"
         "%22trigger_id%22%3A%223.4%22%2C%22channel%22%3A%7B%22id%22%3A%22C5%22%7D%7D",
         "com.slack.block_actions", "3.4", "C5", true}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct post p;
        struct hook_result result;
        char signature[256];
        post_slack(&p, rows[i].body, signature);
        if (rows[i].form)
            post_header(&p, "Content-Type", "application/x-www-form-urlencoded");
        receive(h, &p, &result);
        assert_event(result.events, rows[i].type, rows[i].id, "https://slack.com/T1",
                     rows[i].subject);
        if (i == 4) {
            assert_bytes(result.events->data, rows[i].body);
            assert_bytes(event_extension(result.events, "slackcommand"), "/deploy");
        }
        if (i == 5) {
            assert_bytes(result.events->datacontenttype, "application/json");
            assert_memory_equal(result.events->data.data, "{\"type\":\"block_actions\"", 23);
        }
        hook_result_release(&result);
    }
    hook_free(h);
}

/* Senders cut texts in the middle of a character: the bytes are kept, and the event is what it says. */
static void half_of_a_surrogate_pair_changes_neither_type_nor_subject(void **state)
{
    (void)state;
    static const char body[] =
        "{\"text\":\"\\ud83d\",\"type\":\"order.paid\",\"who\":\"a\\ud83dz\"}";
    struct hook_source source = source_of(HOOK_NONE);
    source.type_from = "/type";
    source.subject_from = "/who";
    struct hook *h = make_hook(&source);
    struct post p;
    struct hook_result result;
    post_init(&p, body);
    receive(h, &p, &result);
    assert_bytes(result.events->type, "order.paid");
    assert_bytes(result.events->subject, "a\xef\xbf\xbdz");
    assert_bytes(result.events->data, body);
    hook_result_release(&result);
    hook_free(h);
}

static void test_shopify(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_SHOPIFY);
    struct hook *h = make_hook(&source);
    struct post p;
    struct hook_result result;
    char signature[256];
    post_init(&p, "{\"id\":820982911946154508,\"email\":\"jon@example.com\"}");
    post_header(&p, "X-Shopify-Hmac-Sha256",
                sign(secret, HOOK_SHA256, HOOK_BASE64, "", p.request.body, signature));
    post_header(&p, "X-Shopify-Topic", "orders/create");
    post_header(&p, "X-Shopify-Webhook-Id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043");
    post_header(&p, "X-Shopify-Event-Id", "98880550-7158-44d4-b7cd-2c97c8a091b5");
    post_header(&p, "X-Shopify-Shop-Domain", "johns-apparel.myshopify.com");
    post_header(&p, "X-Shopify-Triggered-At", "2026-03-14T09:26:53Z");
    receive(h, &p, &result);
    assert_event(result.events, "com.shopify.orders.create", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
                 "https://johns-apparel.myshopify.com", "820982911946154508");
    assert_int_equal(result.events->time_ns, NOW_NS);
    assert_bytes(event_extension(result.events, "shopifyeventid"),
                 "98880550-7158-44d4-b7cd-2c97c8a091b5");
    hook_result_release(&result);
    hook_free(h);
}

static const char *liqpay_form(const char *data, char out[512])
{
    char digest[MAC_TEXT_MAX];
    uint8_t value[MAC_SIZE_MAX];
    const beck_bytes parts[] = {beck_str(secret), beck_str(data), beck_str(secret)};
    mac_text(value, digest_run(HOOK_SHA1, parts, 3, value), HOOK_BASE64, digest);
    char *to = out + sprintf(out, "data=%s&signature=", data);
    for (const char *c = digest; *c; c++)
        to += sprintf(to, *c == '+' || *c == '/' || *c == '=' ? "%%%02X" : "%c", *c);
    return out;
}

static void test_liqpay(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_LIQPAY);
    struct hook *h = make_hook(&source);
    struct post p;
    struct hook_result result;
    char form[512];
    /* {"action":"pay","status":"success","order_id":"o1","payment_id":7,
     *  "end_date":1773480413113,"public_key":"i1"} */
    post_init(&p,
              liqpay_form("eyJhY3Rpb24iOiJwYXkiLCJzdGF0dXMiOiJzdWNjZXNzIiwib3JkZXJfaWQiOiJvMSIsI"
                          "nBheW1lbnRfaWQiOjcsImVuZF9kYXRlIjoxNzczNDgwNDEzMTEzLCJwdWJsaWNfa2V5Ij"
                          "oiaTEifQ==",
                          form));
    receive(h, &p, &result);
    assert_event(result.events, "com.liqpay.pay.success", "o1/7/success",
                 "https://www.liqpay.ua/i1", "o1");
    assert_int_equal(result.events->time_ns, 1773480413113000000);
    assert_memory_equal(result.events->data.data, "{\"action\":\"pay\"", 15);
    assert_bytes(result.events->datacontenttype, "application/json");
    hook_result_release(&result);
    /* Signed, but no JSON inside: the form as it came. */
    post_init(&p, liqpay_form("AAAA", form));
    post_header(&p, "Content-Type", "application/x-www-form-urlencoded");
    receive(h, &p, &result);
    assert_event(result.events, "com.liqpay.event", "", "https://www.liqpay.ua", "");
    assert_bytes(result.events->data, form);
    hook_result_release(&result);
    hook_free(h);
}

static void test_attributes_by_setting(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_HMAC);
    source.header = "X-Sig";
    source.type_prefix = "acme";
    source.type_from = "/event/name";
    source.id_from = "header:X-Delivery";
    source.subject_from = "/data/id";
    source.time_from = "/at";
    struct hook *h = make_hook(&source);
    struct post p;
    struct hook_result result;
    char signature[256];
    post_init(&p, "{\"event\":{\"name\":\"Order/Paid \\u00fc*#\"},\"data\":{\"id\":12},"
                  "\"at\":1773480413}");
    post_header(&p, "X-Sig", sign(secret, HOOK_SHA256, HOOK_HEX, "", p.request.body, signature));
    post_header(&p, "x-delivery", "d1");
    receive(h, &p, &result);
    assert_event(result.events, "acme.order.paid_____", "d1", "/hooks/shop", "12");
    assert_int_equal(result.events->time_ns, NOW_NS);
    hook_result_release(&result);
    hook_free(h);
    /* Nothing to be found: what can be said without. */
    source = source_of(HOOK_NONE);
    source.type_from = "/nowhere";
    source.source = "urn:acme";
    h = make_hook(&source);
    post_init(&p, "not JSON");
    receive(h, &p, &result);
    assert_event(result.events, "webhook", "", "urn:acme", "");
    assert_bytes(result.events->datacontenttype, "application/octet-stream");
    hook_result_release(&result);
    post_init(&p, "[1]");
    receive(h, &p, &result);
    assert_int_equal(result.events->datacontenttype.len, 0);
    hook_result_release(&result);
    hook_free(h);
}

/* Values that no attribute can have are left out; the data has them anyway. */
static void test_values_that_cannot_be_attributes(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_GITHUB);
    struct hook *h = make_hook(&source);
    char body[12000], signature[256], name[5000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    static const char *const values[] = {"\\u0001", "\\ud83d\\ude80", "", "a\\u0000b", NULL};
    for (size_t i = 0; i < COUNT(values); i++) {
        struct post p;
        struct hook_result result;
        snprintf(body, sizeof body, "{\"action\":\"%s\",\"repository\":{\"full_name\":\"%s\"}}",
                 values[i] ? values[i] : name, values[i] ? values[i] : name);
        post_init(&p, body);
        post_header(&p, "X-Hub-Signature-256",
                    sign(secret, HOOK_SHA256, HOOK_HEX, "sha256=", p.request.body, signature));
        post_header(&p, "X-GitHub-Event", "..push..");
        post_header(&p, "X-GitHub-Delivery", i == 0 ? "a\tb" : name);
        post_header(&p, "X-GitHub-Hook-ID", "\xff");
        receive(h, &p, &result);
        assert_event(result.events, i == 1 ? "com.github.push.____" : "com.github.push", "",
                     "https://github.com", i == 1 ? "\xf0\x9f\x9a\x80" : "");
        assert_int_equal(result.events->extension_count, 1);
        hook_result_release(&result);
    }
    hook_free(h);
}

/* ---- WebSub, CloudEvents ---- */

static void test_websub(void **state)
{
    (void)state;
    static const struct {
        enum hook_digest digest;
        const char *prefix;
        enum hook_reason reason;
    } rows[] = {{HOOK_SHA256, "sha256=", HOOK_FINE},
                {HOOK_SHA384, "sha384=", HOOK_FINE},
                {HOOK_SHA512, "sha512=", HOOK_FINE},
                {HOOK_SHA256, "sha512=", HOOK_BAD_SIGNATURE},
                {HOOK_SHA1, "sha1=", HOOK_BAD_ALGORITHM}};
    struct hook_source source = source_of(HOOK_WEBSUB);
    struct hook *h = make_hook(&source);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct post p;
        struct hook_result result;
        char signature[256];
        post_init(&p, "<feed/>");
        post_header(&p, "Content-Type", "application/atom+xml");
        post_header(&p, "Link",
                    "<https://hub.example.org/>; rel=\"hub\", <https://example.org/feed>; "
                    "rel=\"self\"");
        post_header(
            &p, "X-Hub-Signature",
            sign(secret, rows[i].digest, HOOK_HEX, rows[i].prefix, p.request.body, signature));
        assert_outcome(hook_receive(h, &p.request, &result), &result, rows[i].reason);
        if (!rows[i].reason)
            assert_event(result.events, "websub.content", "", "https://example.org/feed", "");
        hook_result_release(&result);
    }
    hook_free(h);
}

static void test_cloudevents_binary(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_CLOUDEVENTS);
    struct hook *h = make_hook(&source);
    struct post p;
    struct hook_result result;
    post_init(&p, "<order/>");
    post_header(&p, "Authorization", "bearer s3cr3t");
    post_header(&p, "Content-Type", "text/xml");
    post_header(&p, "CE-SpecVersion", "1.0");
    post_header(&p, "ce-type", "order.paid");
    post_header(&p, "ce-source", "/caf%C3%A9%2520");
    post_header(&p, "ce-id", "1%");
    post_header(&p, "ce-time", "2026-03-14T09:26:53Z");
    post_header(&p, "ce-expirytime", "2026-03-14T09:26:53.0001Z");
    post_header(&p, "ce-priority", "7");
    post_header(&p, "ce-Region", "eu%20%22west%22");
    receive(h, &p, &result);
    const beck_event *e = result.events;
    assert_bytes(e->type, "order.paid");
    assert_bytes(e->source, "/caf\xc3\xa9%20"); /* decoded once */
    assert_bytes(e->id, "1%");
    assert_int_equal(e->time_ns, NOW_NS);
    assert_int_equal(e->expires_at_ms, NOW_S * 1000LL + 1);
    assert_int_equal(e->priority, 7);
    assert_bytes(event_extension(e, "region"), "eu \"west\"");
    assert_bytes(e->datacontenttype, "text/xml");
    assert_bytes(e->data, "<order/>");
    hook_result_release(&result);
    hook_free(h);
}

static void test_cloudevents_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *headers[12];
        const char *body;
        enum hook_reason reason;
        int status;
    } rows[] = {
        {{"ce-specversion", "1.0", "ce-type", "a", "ce-source", "/"}, "", HOOK_BAD_BODY, 400},
        {{"ce-specversion", "0.3", "ce-type", "a", "ce-source", "/", "ce-id", "1"},
         "",
         HOOK_BAD_BODY,
         400},
        {{"ce-type", "a", "ce-source", "/", "ce-id", "1"}, "", HOOK_BAD_BODY, 400},
        {{"ce-specversion", "1.0", "ce-type", "a", "ce-source", "/", "ce-id", "1", "ce-type", "b"},
         "",
         HOOK_BAD_BODY,
         400},
        {{"ce-specversion", "1.0", "ce-type", "a", "ce-source", "%ff", "ce-id", "1"},
         "",
         HOOK_BAD_BODY,
         400},
        {{"Content-Type", "application/cloudevents+json"}, "", HOOK_BAD_BODY, 400},
        {{"Content-Type", "application/cloudevents+json"}, "[]", HOOK_BAD_BODY, 400},
        {{"Content-Type", "application/cloudevents-batch+json"}, "{}", HOOK_BAD_BODY, 400},
        {{"Content-Type", "application/cloudevents+xml"}, "<x/>", HOOK_BAD_BODY, 415},
        {{"Content-Type", "application/json"}, "{}", HOOK_BAD_BODY, 400}};
    struct hook_source source = source_of(HOOK_CLOUDEVENTS);
    struct hook *h = make_hook(&source);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct post p;
        struct hook_result result;
        post_init(&p, rows[i].body);
        post_header(&p, "Authorization", "Bearer s3cr3t");
        for (const char *const *at = rows[i].headers; *at; at += 2)
            post_header(&p, at[0], at[1]);
        assert_outcome(hook_receive(h, &p.request, &result), &result, rows[i].reason);
        assert_int_equal(result.status, rows[i].status);
        hook_result_release(&result);
    }
    hook_free(h);
}

static const char *query_of(void *ctx, const char *name)
{
    return strcmp(name, "access_token") == 0 ? ctx : NULL;
}

static void test_cloudevents_json_and_tokens(void **state)
{
    (void)state;
    static const char one[] = "{\"specversion\":\"1.0\",\"type\":\"a.b\",\"source\":\"/s\","
                              "\"id\":\"1\",\"data\":{\"x\":1}}";
    char batch[1024];
    snprintf(batch, sizeof batch, " [%s,%s]", one, one);
    struct hook_source source = source_of(HOOK_CLOUDEVENTS);
    struct hook *h = make_hook(&source);
    struct post p;
    struct hook_result result;
    post_init(&p, one);
    post_header(&p, "Content-Type", "application/cloudevents+json; charset=utf-8");
    assert_outcome(hook_receive(h, &p.request, &result), &result, HOOK_BAD_TOKEN);
    assert_int_equal(result.status, 401);
    hook_result_release(&result);
    p.request.query = query_of;
    p.request.query_ctx = (void *)(uintptr_t) "s3cr3";
    assert_outcome(hook_receive(h, &p.request, &result), &result, HOOK_BAD_TOKEN);
    hook_result_release(&result);
    p.request.query_ctx = (void *)(uintptr_t)secret;
    receive(h, &p, &result);
    assert_int_equal(result.event_count, 1);
    assert_bytes(result.events->data, "{\"x\":1}");
    hook_result_release(&result);
    p.request.body = beck_str(batch);
    p.headers[0].value = "application/cloudevents-batch+json";
    receive(h, &p, &result);
    assert_int_equal(result.event_count, 2);
    assert_bytes(result.events[1].type, "a.b");
    hook_result_release(&result);
    p.request.body = beck_str("[]");
    assert_int_equal(hook_receive(h, &p.request, &result), HOOK_ANSWERED);
    hook_result_release(&result);
    hook_free(h);
    /* A source that verifies nothing takes them too. */
    source.provider = HOOK_NONE;
    h = make_hook(&source);
    p.request.body = beck_str(batch);
    receive(h, &p, &result);
    assert_int_equal(result.event_count, 2);
    hook_result_release(&result);
    hook_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slack),
        cmocka_unit_test(test_shopify),
        cmocka_unit_test(half_of_a_surrogate_pair_changes_neither_type_nor_subject),
        cmocka_unit_test(test_liqpay),
        cmocka_unit_test(test_attributes_by_setting),
        cmocka_unit_test(test_values_that_cannot_be_attributes),
        cmocka_unit_test(test_websub),
        cmocka_unit_test(test_cloudevents_binary),
        cmocka_unit_test(test_cloudevents_that_are_none),
        cmocka_unit_test(test_cloudevents_json_and_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
