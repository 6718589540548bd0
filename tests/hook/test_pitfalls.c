/* What receivers of webhooks get wrong: headers, time stamps, encodings, secrets, limits. */
#include "common.h"

static const char *const secret = "s3cr3t";
static const char body[] = "{\"type\":\"order.paid\",\"data\":{\"id\":42}}";

static struct hook_source source_of(enum hook_provider provider)
{
    return (struct hook_source){.name = "shop",
                                .provider = provider,
                                .bus = "hooks",
                                .secrets = &secret,
                                .secret_count = 1};
}

/* Receives and lets go of what came of it. */
static enum hook_reason reason_of(const struct hook *h, struct post *p)
{
    struct hook_result result;
    enum hook_outcome outcome = hook_receive(h, &p->request, &result);
    assert_int_equal(outcome == HOOK_REFUSED, result.reason != HOOK_FINE);
    hook_result_release(&result);
    return result.reason;
}

/* ---- headers ---- */

static void test_header_names_have_no_case(void **state)
{
    (void)state;
    static const char *const names[] = {"X-Hub-Signature-256", "x-hub-signature-256",
                                        "X-HUB-SIGNATURE-256"};
    struct hook_source source = source_of(HOOK_GITHUB);
    struct hook *h = make_hook(&source);
    for (size_t i = 0; i < COUNT(names); i++) {
        struct post p;
        char signature[256];
        post_init(&p, body);
        post_header(&p, names[i],
                    sign(secret, HOOK_SHA256, HOOK_HEX, "sha256=", p.request.body, signature));
        assert_int_equal(reason_of(h, &p), HOOK_FINE);
    }
    hook_free(h);
}

/* Neither the first nor the last of two is the one: proxies and servers disagree about it. */
static void test_headers_that_come_twice(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_GITHUB);
    struct hook *h = make_hook(&source);
    char signature[256];
    for (int i = 0; i < 2; i++) {
        struct post p;
        post_init(&p, body);
        sign(secret, HOOK_SHA256, HOOK_HEX, "sha256=", p.request.body, signature);
        post_header(&p, "X-Hub-Signature-256", i == 0 ? signature : "sha256=00");
        post_header(&p, "x-hub-signature-256", i == 0 ? "sha256=00" : signature);
        assert_int_equal(reason_of(h, &p), HOOK_BAD_HEADER);
    }
    /* Two in one header, as some proxies fold them. */
    struct post p;
    char folded[600];
    post_init(&p, body);
    snprintf(folded, sizeof folded, "%s, %s", signature, signature);
    post_header(&p, "X-Hub-Signature-256", folded);
    assert_int_equal(reason_of(h, &p), HOOK_BAD_SIGNATURE);
    hook_free(h);
}

static void test_missing_is_not_wrong(void **state)
{
    (void)state;
    static const struct {
        enum hook_provider provider;
        const char *header;
    } rows[] = {{HOOK_GITHUB, "X-Hub-Signature-256"},
                {HOOK_STRIPE, "Stripe-Signature"},
                {HOOK_SHOPIFY, "X-Shopify-Hmac-Sha256"},
                {HOOK_WEBSUB, "X-Hub-Signature"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct hook_source source = source_of(rows[i].provider);
        struct hook *h = make_hook(&source);
        struct post p;
        post_init(&p, body);
        assert_int_equal(reason_of(h, &p), HOOK_MISSING_HEADER);
        post_header(&p, rows[i].header, "");
        assert_int_equal(reason_of(h, &p), HOOK_MISSING_HEADER);
        p.headers[0].value = "x";
        enum hook_reason reason = reason_of(h, &p);
        assert_true(reason == HOOK_BAD_SIGNATURE || reason == HOOK_BAD_HEADER ||
                    reason == HOOK_BAD_ALGORITHM);
        hook_free(h);
    }
}

/* ---- bytes ---- */

/* Any one byte of the body or the signature that is another. */
static void test_every_byte_counts(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_GITHUB);
    struct hook *h = make_hook(&source);
    struct post p;
    char signature[256], changed[sizeof body];
    post_init(&p, changed);
    sign(secret, HOOK_SHA256, HOOK_HEX, "sha256=", beck_str(body), signature);
    post_header(&p, "X-Hub-Signature-256", signature);
    for (size_t i = 0; i < sizeof body - 1; i++) {
        memcpy(changed, body, sizeof body);
        changed[i] ^= 1;
        p.request.body = bytes_of(changed, sizeof body - 1);
        assert_int_equal(reason_of(h, &p), HOOK_BAD_SIGNATURE);
    }
    memcpy(changed, body, sizeof body);
    for (size_t i = 0; signature[i]; i++) {
        signature[i] ^= 1;
        assert_int_equal(reason_of(h, &p), HOOK_BAD_SIGNATURE);
        signature[i] ^= 1;
    }
    assert_int_equal(reason_of(h, &p), HOOK_FINE);
    /* The body is not text: NULs and invalid UTF-8 are signed as they are. */
    static const char binary[] = "\0\xff\xfe{}\0";
    p.request.body = bytes_of(binary, sizeof binary);
    sign(secret, HOOK_SHA256, HOOK_HEX, "sha256=", p.request.body, signature);
    assert_int_equal(reason_of(h, &p), HOOK_FINE);
    hook_free(h);
}

static void test_hmac_encodings(void **state)
{
    (void)state;
    static const enum hook_digest digests[] = {HOOK_SHA1, HOOK_SHA256, HOOK_SHA384, HOOK_SHA512,
                                               HOOK_SHA3_256};
    for (size_t d = 0; d < COUNT(digests); d++) {
        for (int base64 = 0; base64 < 2; base64++) {
            struct hook_source source = source_of(HOOK_HMAC);
            enum hook_encoding encoding = base64 ? HOOK_BASE64 : HOOK_HEX;
            source.header = "X-Signature";
            source.prefix = "sig:";
            source.digest = digests[d];
            source.encoding = encoding;
            struct hook *h = make_hook(&source);
            struct post p;
            char signature[256], other[256];
            post_init(&p, body);
            post_header(&p, "X-Signature",
                        sign(secret, digests[d], encoding, "sig:", p.request.body, signature));
            assert_int_equal(reason_of(h, &p), HOOK_FINE);
            snprintf(other, sizeof other, "%s", signature);
            size_t len = strlen(other);
            while (base64 && other[len - 1] == '=')
                other[--len] = 0;
            for (char *c = other + 4; *c && !base64; c++)
                *c = (char)(*c >= 'a' && *c <= 'f' ? *c & ~0x20 : *c);
            p.headers[0].value = other; /* without padding; in capitals */
            assert_int_equal(reason_of(h, &p), HOOK_FINE);
            p.headers[0].value = signature + 4; /* without the prefix */
            assert_int_equal(reason_of(h, &p), HOOK_BAD_SIGNATURE);
            other[len - 1] = 0;
            p.headers[0].value = other; /* too short */
            assert_int_equal(reason_of(h, &p), HOOK_BAD_SIGNATURE);
            char longer[1024];
            snprintf(longer, sizeof longer, "%s%s%s", signature, signature + 4, signature + 4);
            p.headers[0].value = longer;
            assert_int_equal(reason_of(h, &p), HOOK_BAD_SIGNATURE);
            hook_free(h);
        }
    }
}

/* A key that is longer than the digest's block is hashed first (RFC 2104; RFC 4231 case 6). */
static void test_long_keys(void **state)
{
    (void)state;
    char key[132];
    struct mac mac;
    uint8_t value[MAC_SIZE_MAX];
    char text[MAC_TEXT_MAX];
    memset(key, 0xAA, 131);
    beck_bytes data = beck_str("Test Using Larger Than Block-Size Key - Hash Key First");
    assert_int_equal(mac_init(&mac, HOOK_SHA256, bytes_of(key, 131), NULL), BECK_OK);
    size_t len = mac_run(&mac, &data, 1, value);
    mac_text(value, len, HOOK_HEX, text);
    assert_string_equal(text, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    mac_release(&mac);
}

/* ---- time stamps ---- */

static const char *stripe_header(const char *stamp, char out[512])
{
    char content[256], signature[256];
    snprintf(content, sizeof content, "%s.%s", stamp, body);
    sign(secret, HOOK_SHA256, HOOK_HEX, "", beck_str(content), signature);
    snprintf(out, 512, "t=%s,v1=%s", stamp, signature);
    return out;
}

/* Signed correctly, all of them: the stamp alone is what is wrong. */
static void test_time_stamps(void **state)
{
    (void)state;
    static const struct {
        const char *stamp;
        enum hook_reason reason, slack;
    } rows[] = {{"1773480413", HOOK_FINE, HOOK_FINE},
                {"1773480113", HOOK_FINE, HOOK_FINE},
                {"1773480112", HOOK_TOO_OLD, HOOK_TOO_OLD},
                {"1773480714", HOOK_FINE, HOOK_TOO_NEW}, /* Stripe has no limit ahead */
                {"0", HOOK_TOO_OLD, HOOK_TOO_OLD},
                {"-1", HOOK_TOO_OLD, HOOK_TOO_OLD},
                {"-9223372036854775808", HOOK_TOO_OLD, HOOK_TOO_OLD},
                {"9223372036854775807", HOOK_TOO_NEW, HOOK_TOO_NEW},
                {"9223372036854775808", HOOK_TOO_NEW, HOOK_TOO_NEW},
                {"99999999999999999999999999999999", HOOK_TOO_NEW, HOOK_TOO_NEW},
                {"", HOOK_BAD_HEADER, HOOK_BAD_HEADER},
                {"-", HOOK_BAD_HEADER, HOOK_BAD_HEADER},
                {" 1773480413", HOOK_BAD_HEADER, HOOK_BAD_HEADER},
                {"1773480413 ", HOOK_BAD_HEADER, HOOK_BAD_HEADER},
                {"+1773480413", HOOK_BAD_HEADER, HOOK_BAD_HEADER},
                {"1773480413.0", HOOK_BAD_HEADER, HOOK_BAD_HEADER},
                {"0x69b55c5d", HOOK_BAD_HEADER, HOOK_BAD_HEADER},
                {"1e9", HOOK_BAD_HEADER, HOOK_BAD_HEADER}};
    struct hook_source stripe = source_of(HOOK_STRIPE), slack = source_of(HOOK_SLACK);
    struct hook *a = make_hook(&stripe), *b = make_hook(&slack);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct post p;
        char header[512], content[256];
        post_init(&p, body);
        post_header(&p, "Stripe-Signature", stripe_header(rows[i].stamp, header));
        enum hook_reason reason = reason_of(a, &p);
        if (reason != rows[i].reason)
            fail_msg("stripe \"%s\": %s", rows[i].stamp, hook_reason_name(reason));
        post_init(&p, body);
        snprintf(content, sizeof content, "v0:%s:%s", rows[i].stamp, body);
        post_header(&p, "X-Slack-Request-Timestamp", rows[i].stamp);
        post_header(&p, "X-Slack-Signature",
                    sign(secret, HOOK_SHA256, HOOK_HEX, "v0=", beck_str(content), header));
        reason = reason_of(b, &p);
        if (reason != rows[i].slack)
            fail_msg("slack \"%s\": %s", rows[i].stamp, hook_reason_name(reason));
    }
    hook_free(a);
    hook_free(b);
}

static void test_tolerance_is_a_setting(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_STRIPE);
    struct post p;
    char header[512];
    post_init(&p, body);
    post_header(&p, "Stripe-Signature", stripe_header("1773480413", header));
    source.tolerance_ms = 1000;
    struct hook *h = make_hook(&source);
    p.request.now_ns = NOW_NS + 1999999999; /* whole seconds count */
    assert_int_equal(reason_of(h, &p), HOOK_FINE);
    p.request.now_ns = NOW_NS + 2000000000;
    assert_int_equal(reason_of(h, &p), HOOK_TOO_OLD);
    hook_free(h);
    source.tolerance_ms = -1;
    h = make_hook(&source);
    p.request.now_ns = 4 * NOW_NS;
    assert_int_equal(reason_of(h, &p), HOOK_FINE);
    hook_free(h);
}

static void test_stripe_headers(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_STRIPE);
    struct hook *h = make_hook(&source);
    char good[512], header[2048];
    stripe_header("1773480413", good);
    const char *v1 = strstr(good, "v1=");
    const struct {
        const char *before, *after;
        enum hook_reason reason;
    } rows[] = {{"t=1773480413,", "", HOOK_FINE},
                {"t=1773480413,v1=00,", "", HOOK_FINE},
                {"", ",t=1773480413", HOOK_FINE},
                {"t=1773480413,,v0=1,x,=,v1=,", ",", HOOK_FINE},
                {"t=1773480413,t=1773480413,", "", HOOK_BAD_HEADER},
                {"", "", HOOK_BAD_HEADER},
                {"t=1773480413,", "0", HOOK_BAD_SIGNATURE},
                {"t=1773480413;", "", HOOK_BAD_HEADER}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct post p;
        post_init(&p, body);
        snprintf(header, sizeof header, "%s%s%s", rows[i].before, v1, rows[i].after);
        post_header(&p, "Stripe-Signature", header);
        enum hook_reason reason = reason_of(h, &p);
        if (reason != rows[i].reason)
            fail_msg("\"%s\": %s", header, hook_reason_name(reason));
    }
    hook_free(h);
}

/* ---- secrets ---- */

static void test_rotation(void **state)
{
    (void)state;
    const char *const secrets[] = {"new", "old", "older"};
    struct hook_source source = source_of(HOOK_GITHUB);
    source.secrets = secrets;
    source.secret_count = 3;
    struct hook *h = make_hook(&source);
    assert_int_equal(hook_settings(h)->secret_count, 3);
    assert_null(hook_settings(h)->secrets);
    for (size_t i = 0; i < 4; i++) {
        struct post p;
        char signature[256];
        const char *key = i < 3 ? secrets[i] : "oldest";
        post_init(&p, body);
        post_header(&p, "X-Hub-Signature-256",
                    sign(key, HOOK_SHA256, HOOK_HEX, "sha256=", p.request.body, signature));
        assert_int_equal(reason_of(h, &p), i < 3 ? HOOK_FINE : HOOK_BAD_SIGNATURE);
    }
    hook_free(h);
}

/* Each of these is refused with a message that names the hook, and no secret. */
static void test_settings_that_are_wrong(void **state)
{
    (void)state;
    const char *const none[] = {""}, *const bad[] = {"whsec_%%%"},
                      *const short_key[] = {"whpk_AAAA"};
    const struct {
        struct hook_source source;
        const char *says;
    } rows[] = {
        {{.name = "a/b", .provider = HOOK_NONE, .bus = "b"}, "no name for a hook"},
        {{.name = "..", .provider = HOOK_NONE, .bus = "b"}, "no name for a hook"},
        {{.name = "", .provider = HOOK_NONE, .bus = "b"}, "no name for a hook"},
        {{.provider = HOOK_NONE, .bus = "b"}, "no name for a hook"},
        {{.name = "x", .provider = HOOK_PROVIDERS, .bus = "b"}, "provider"},
        {{.name = "x", .provider = HOOK_NONE}, "has no bus"},
        {{.name = "x", .provider = HOOK_GITHUB, .bus = "b"}, "has no secret"},
        {{.name = "x", .provider = HOOK_CLOUDEVENTS, .bus = "b"}, "has no secret"},
        {{.name = "x", .provider = HOOK_GITHUB, .bus = "b", .secrets = none, .secret_count = 1},
         "is empty"},
        {{.name = "x", .provider = HOOK_STANDARD, .bus = "b", .secrets = bad, .secret_count = 1},
         "not of Standard Webhooks"},
        {{.name = "x",
          .provider = HOOK_STANDARD,
          .bus = "b",
          .secrets = short_key,
          .secret_count = 1},
         "not of Standard Webhooks"},
        {{.name = "x", .provider = HOOK_HMAC, .bus = "b", .secrets = bad, .secret_count = 1},
         "has no header"},
        {{.name = "x",
          .provider = HOOK_LIQPAY,
          .bus = "b",
          .secrets = bad,
          .secret_count = 1,
          .digest = HOOK_SHA512},
         "sha1 and sha3-256"},
        {{.name = "x", .provider = HOOK_PAYPAL, .bus = "b"}, "webhook_id"},
        {{.name = "x",
          .provider = HOOK_PAYPAL,
          .bus = "b",
          .webhook_id = "W",
          .certificate = "/no"},
         "cannot be opened"},
        {{.name = "x", .provider = HOOK_NONE, .bus = "b", .type_prefix = "a..b"}, "type_prefix"},
        {{.name = "x", .provider = HOOK_NONE, .bus = "b", .source = ""}, "source"},
        {{.name = "x", .provider = HOOK_NONE, .bus = "b", .type_from = "data.id"}, "type_from"},
        {{.name = "x", .provider = HOOK_NONE, .bus = "b", .id_from = "/a/b/c/d/e"}, "id_from"},
        {{.name = "x", .provider = HOOK_NONE, .bus = "b", .tolerance_ms = -2}, "tolerance_ms"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct hook *h = NULL;
        beck_error err = {0};
        beck_status status = hook_new(&rows[i].source, NULL, &h, &err);
        if (!status || !strstr(err.text, rows[i].says) || strstr(err.text, "%%%"))
            fail_msg("row %zu: \"%s\"", i, err.text);
        assert_null(h);
    }
}

/* ---- limits and methods ---- */

static void test_body_limit(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_NONE);
    source.body_max = 10;
    struct hook *h = make_hook(&source);
    struct post p;
    post_init(&p, "0123456789");
    assert_int_equal(reason_of(h, &p), HOOK_FINE);
    post_init(&p, "0123456789a");
    assert_int_equal(reason_of(h, &p), HOOK_TOO_LARGE);
    hook_free(h);
    source.body_max = 0;
    h = make_hook(&source);
    assert_int_equal(hook_settings(h)->body_max, 1 << 20);
    hook_free(h);
    source = source_of(HOOK_GITHUB);
    h = make_hook(&source);
    assert_int_equal(hook_settings(h)->body_max, 25 << 20);
    hook_free(h);
}

static void test_methods(void **state)
{
    (void)state;
    struct hook_source source = source_of(HOOK_GITHUB);
    struct hook *h = make_hook(&source);
    static const struct {
        const char *method;
        enum hook_outcome outcome;
        int status;
    } rows[] = {{"HEAD", HOOK_ANSWERED, 200},   {"GET", HOOK_REFUSED, 405},
                {"OPTIONS", HOOK_REFUSED, 405}, {"PUT", HOOK_REFUSED, 405},
                {"DELETE", HOOK_REFUSED, 405},  {"post", HOOK_REFUSED, 405},
                {"POST", HOOK_REFUSED, 401}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct post p;
        struct hook_result result;
        post_init(&p, "");
        p.request.method = rows[i].method;
        assert_int_equal(hook_receive(h, &p.request, &result), rows[i].outcome);
        assert_int_equal(result.status, rows[i].status);
        hook_result_release(&result);
    }
    hook_free(h);
}

/* ---- handshakes ---- */

static void test_slack_challenge(void **state)
{
    (void)state;
    static const char text[] = "{\"token\":\"x\",\"challenge\":\"3eZbrw1aB\\/R\","
                               "\"type\":\"url_verification\"}";
    struct hook_source source = source_of(HOOK_SLACK);
    struct hook *h = make_hook(&source);
    struct post p;
    struct hook_result result;
    char content[256], signature[256];
    snprintf(content, sizeof content, "v0:%d:%s", NOW_S, text);
    post_init(&p, text);
    post_header(&p, "X-Slack-Request-Timestamp", "1773480413");
    post_header(&p, "X-Slack-Signature",
                sign(secret, HOOK_SHA256, HOOK_HEX, "v0=", beck_str(content), signature));
    assert_int_equal(hook_receive(h, &p.request, &result), HOOK_ANSWERED);
    assert_int_equal(result.status, 200);
    assert_bytes(result.body, "3eZbrw1aB/R");
    hook_result_release(&result);
    /* Not without a signature: the answer would say that a hook of that name is there. */
    p.headers[1].value = "v0=00";
    assert_int_equal(reason_of(h, &p), HOOK_BAD_SIGNATURE);
    hook_free(h);
}

static const char *query_of(void *ctx, const char *name)
{
    const char *const *pairs = ctx;
    for (; *pairs; pairs += 2)
        if (strcmp(*pairs, name) == 0)
            return pairs[1];
    return NULL;
}

static void test_websub_confirms_what_is_wanted(void **state)
{
    (void)state;
    const char *const topics[] = {"https://example.org/feed"};
    struct hook_source source = source_of(HOOK_WEBSUB);
    source.topics = topics;
    source.topic_count = 1;
    struct hook *h = make_hook(&source);
    const struct {
        const char *query[9];
        int status;
    } rows[] = {
        {{"hub.mode", "subscribe", "hub.topic", "https://example.org/feed", "hub.challenge", "abc"},
         200},
        {{"hub.mode", "subscribe", "hub.topic", "https://example.org/other", "hub.challenge",
          "abc"},
         404},
        {{"hub.mode", "unsubscribe", "hub.topic", "https://example.org/feed", "hub.challenge",
          "abc"},
         404},
        {{"hub.mode", "unsubscribe", "hub.topic", "https://example.org/old", "hub.challenge",
          "abc"},
         200},
        {{"hub.mode", "subscribe", "hub.topic", "https://example.org/feed"}, 404},
        {{"hub.mode", "denied", "hub.topic", "https://example.org/feed"}, 200},
        {{NULL}, 404}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct post p;
        struct hook_result result;
        post_init(&p, "");
        p.request.method = "GET";
        p.request.query = query_of;
        p.request.query_ctx = (void *)(uintptr_t)rows[i].query;
        assert_int_equal(hook_receive(h, &p.request, &result), HOOK_ANSWERED);
        assert_int_equal(result.status, rows[i].status);
        assert_bytes(result.body, result.status == 200 && i != 5 ? "abc" : "");
        hook_result_release(&result);
    }
    hook_free(h);
}

/* An answer without WebHook-Allowed-Origin is no consent. */
static void test_consent_is_given_to_those_who_are_named(void **state)
{
    (void)state;
    const char *const origins[] = {"events.example.com"}, *const all[] = {"*"};
    static const struct {
        bool all;
        const char *origin, *asked;
        uint32_t most;
        const char *granted, *rate;
    } rows[] = {{false, "events.example.com", NULL, 0, "events.example.com", NULL},
                {false, "EVENTS.example.com", "120", 0, "EVENTS.example.com", "120"},
                {false, "events.example.com", "120", 100, "events.example.com", "100"},
                {false, "events.example.com", "50", 100, "events.example.com", "50"},
                {false, "events.example.com", NULL, 100, "events.example.com", "100"},
                {false, "events.example.com", "none", 0, "events.example.com", "*"},
                {false, "other.example.com", "120", 0, NULL, NULL},
                {false, "", "120", 0, NULL, NULL},
                {false, NULL, "120", 0, NULL, NULL},
                {true, "other.example.com", NULL, 0, "other.example.com", NULL}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct hook_source source = source_of(HOOK_CLOUDEVENTS);
        source.allow_origins = rows[i].all ? all : origins;
        source.allow_origin_count = 1;
        source.rate_per_minute = rows[i].most;
        struct hook *h = make_hook(&source);
        struct post p;
        struct hook_result result;
        const char *granted = NULL, *rate = NULL;
        post_init(&p, "");
        p.request.method = "OPTIONS";
        if (rows[i].origin)
            post_header(&p, "WebHook-Request-Origin", rows[i].origin);
        if (rows[i].asked)
            post_header(&p, "WebHook-Request-Rate", rows[i].asked);
        assert_int_equal(hook_receive(h, &p.request, &result), HOOK_ANSWERED);
        for (size_t n = 0; n < result.header_count; n++) {
            if (strcmp(result.headers[n].name, "WebHook-Allowed-Origin") == 0)
                granted = result.headers[n].value;
            if (strcmp(result.headers[n].name, "WebHook-Allowed-Rate") == 0)
                rate = result.headers[n].value;
        }
        assert_string_equal(granted ? granted : "-", rows[i].granted ? rows[i].granted : "-");
        assert_string_equal(rate ? rate : "-", rows[i].rate ? rows[i].rate : "-");
        hook_result_release(&result);
        hook_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_names_have_no_case),
        cmocka_unit_test(test_headers_that_come_twice),
        cmocka_unit_test(test_missing_is_not_wrong),
        cmocka_unit_test(test_every_byte_counts),
        cmocka_unit_test(test_hmac_encodings),
        cmocka_unit_test(test_long_keys),
        cmocka_unit_test(test_time_stamps),
        cmocka_unit_test(test_tolerance_is_a_setting),
        cmocka_unit_test(test_stripe_headers),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_settings_that_are_wrong),
        cmocka_unit_test(test_body_limit),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_slack_challenge),
        cmocka_unit_test(test_websub_confirms_what_is_wanted),
        cmocka_unit_test(test_consent_is_given_to_those_who_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
