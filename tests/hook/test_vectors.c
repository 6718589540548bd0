/*
 * Requests of providers, from tests/data/webhooks: each is verified as its line says. Payloads as
 * the providers send them are signed, received, and become events. The folder is the argument.
 */
#include "common.h"

#include <jansson.h>

static const char *folder;

/* ---- lines ---- */

static FILE *open_data(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("%s cannot be opened", path);
    return file;
}

static json_t *next_line(FILE *file)
{
    char *line = NULL;
    size_t cap = 0;
    json_error_t error;
    json_t *value = NULL;
    if (getline(&line, &cap, file) > 0) {
        value = json_loads(line, 0, &error);
        if (!value)
            fail_msg("%s", error.text);
    }
    free(line);
    return value;
}

static const char *text(const json_t *line, const char *name)
{
    return json_string_value(json_object_get(line, name));
}

/* What the server's settings would be, from "secrets", "secret" or "private_key". */
static size_t read_secrets(const json_t *line, bool liqpay, const char **out)
{
    const json_t *list = json_object_get(line, "secrets");
    size_t count = json_array_size(list);
    assert_true(count <= HOOK_SECRETS_MAX);
    for (size_t i = 0; i < count; i++)
        out[i] = json_string_value(json_array_get(list, i));
    out[count] = text(line, liqpay ? "private_key" : "secret");
    return count + (out[count] != NULL);
}

static enum hook_reason expected(const json_t *line)
{
    const char *name = text(line, "expect");
    for (int i = 0; i < HOOK_REASONS; i++)
        if (strcmp(hook_reason_name((enum hook_reason)i), name) == 0)
            return (enum hook_reason)i;
    assert_string_equal(name, "ok");
    return HOOK_FINE;
}

static enum hook_digest digest_of(const char *name)
{
    enum hook_digest digest = HOOK_SHA1;
    while (hook_digest_name(digest) && strcmp(hook_digest_name(digest), name) != 0)
        digest++;
    assert_non_null(hook_digest_name(digest));
    return digest;
}

static void check_line(enum hook_provider provider, const json_t *line,
                       struct certificates *certificates)
{
    const char *secrets[HOOK_SECRETS_MAX + 1];
    struct hook_source source = {.name = "test", .provider = provider, .bus = "hooks"};
    source.secrets = secrets;
    source.secret_count = read_secrets(line, provider == HOOK_LIQPAY, secrets);
    source.webhook_id = text(line, "webhook_id");
    source.svix = strncmp(text(line, "id"), "sw-svix", 7) == 0;
    if (text(line, "algorithm"))
        source.digest = digest_of(text(line, "algorithm"));
    struct hook *h = NULL;
    beck_error err = {0};
    if (hook_new(&source, certificates, &h, &err))
        fail_msg("%s: %s", text(line, "id"), err.text);
    struct post p;
    post_init(&p, text(line, "body"));
    p.request.body.len = json_string_length(json_object_get(line, "body"));
    p.request.may_block = true;
    p.request.now_ns = json_integer_value(json_object_get(line, "now")) * 1000000000;
    if (p.request.now_ns == 0)
        p.request.now_ns = 1795500000000000000; /* when the test certificate is good */
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(line, "headers"), name, value)
    {
        post_header(&p, name, json_string_value(value));
    }
    struct hook_result result;
    enum hook_outcome outcome = hook_receive(h, &p.request, &result);
    if (result.reason != expected(line))
        fail_msg("%s: %s, expected %s", text(line, "id"), hook_reason_name(result.reason),
                 text(line, "expect"));
    bool url_verification = strncmp(text(line, "id"), "sl-url", 6) == 0;
    assert_int_equal(outcome, result.reason      ? HOOK_REFUSED
                              : url_verification ? HOOK_ANSWERED
                                                 : HOOK_EVENTS);
    assert_int_equal(result.status, outcome == HOOK_REFUSED  ? 401
                                    : outcome == HOOK_EVENTS ? 0
                                                             : 200);
    hook_result_release(&result);
    hook_free(h);
}

static void check_file(enum hook_provider provider, const char *name, size_t least,
                       struct certificates *certificates)
{
    size_t count = 0;
    FILE *file = open_data(name);
    for (json_t *line; (line = next_line(file)) != NULL; count++) {
        check_line(provider, line, certificates);
        json_decref(line);
    }
    fclose(file);
    assert_true(count >= least);
}

static void test_schemes(void **state)
{
    (void)state;
    check_file(HOOK_STANDARD, "standard-webhooks.jsonl", 32, NULL);
    check_file(HOOK_GITHUB, "github.jsonl", 10, NULL);
    check_file(HOOK_STRIPE, "stripe.jsonl", 12, NULL);
    check_file(HOOK_SLACK, "slack.jsonl", 8, NULL);
    check_file(HOOK_SHOPIFY, "shopify.jsonl", 6, NULL);
    check_file(HOOK_LIQPAY, "liqpay.jsonl", 10, NULL);
}

/* Stands for the network: gives the test certificate. */
static beck_status fetch_test(void *ctx, const char *url, size_t max, struct buf *pem,
                              beck_error *err)
{
    (void)ctx;
    (void)url;
    (void)err;
    char piece[4096];
    FILE *file = open_data("paypal-test-cert.pem");
    size_t len = fread(piece, 1, sizeof piece, file);
    fclose(file);
    assert_true(len <= max);
    return buf_append(pem, piece, len);
}

static void test_paypal(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/paypal-test-cert.pem", folder);
    struct certificates *c;
    struct certificates_options options = {
        .fetch = fetch_test, .owner = "paypal.test", .trust_file = path};
    assert_int_equal(certificates_new(&options, &c, NULL), BECK_OK);
    check_file(HOOK_PAYPAL, "paypal.jsonl", 14, c);
    certificates_free(c);
}

/* ---- payloads ---- */

static void test_github_payloads(void **state)
{
    (void)state;
    const char *secret = "It's a Secret to Everybody";
    struct hook *h = make_hook(&(struct hook_source){.name = "gh",
                                                     .provider = HOOK_GITHUB,
                                                     .secrets = &secret,
                                                     .secret_count = 1,
                                                     .bus = "hooks"});
    FILE *file = open_data("github-payloads.jsonl");
    size_t count = 0;
    for (json_t *line; (line = next_line(file)) != NULL; count++) {
        const json_t *payload = json_object_get(line, "payload");
        char *body = json_dumps(payload, JSON_COMPACT), signature[256], type[256];
        const char *action = text(payload, "action");
        const char *repository = text(json_object_get(payload, "repository"), "full_name");
        const char *url = text(json_object_get(payload, "repository"), "html_url");
        struct post p;
        post_init(&p, body);
        post_header(&p, "content-type", "application/json");
        post_header(&p, "x-github-event", text(line, "event"));
        post_header(&p, "x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958");
        post_header(&p, "x-hub-signature-256",
                    sign(secret, HOOK_SHA256, HOOK_HEX, "sha256=", p.request.body, signature));
        struct hook_result result;
        assert_outcome(hook_receive(h, &p.request, &result), &result, HOOK_FINE);
        assert_int_equal(result.event_count, 1);
        const beck_event *e = result.events;
        snprintf(type, sizeof type, "com.github.%s%s%s", text(line, "event"), action ? "." : "",
                 action ? action : "");
        for (char *c = type; *c; c++)
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
        assert_bytes(e->type, type);
        if (repository) {
            assert_bytes(e->subject, repository);
            assert_bytes(e->source, url);
        } else {
            assert_true(e->subject.len > 0 || !json_object_get(payload, "sender"));
            assert_memory_equal(e->source.data, "https://github.com", 18);
        }
        assert_bytes(e->id, "72d3162e-cc78-11e3-81ab-4c9367dc0958");
        assert_ptr_equal(e->data.data, body);
        assert_int_equal(e->data.len, strlen(body));
        hook_result_release(&result);
        free(body);
        json_decref(line);
    }
    fclose(file);
    hook_free(h);
    assert_true(count >= 39);
}

static void test_stripe_events(void **state)
{
    (void)state;
    const char *secret = "whsec_test";
    struct hook *h = make_hook(&(struct hook_source){.name = "st",
                                                     .provider = HOOK_STRIPE,
                                                     .secrets = &secret,
                                                     .secret_count = 1,
                                                     .bus = "hooks"});
    FILE *file = open_data("stripe-events.jsonl");
    size_t count = 0;
    for (json_t *line; (line = next_line(file)) != NULL; count++) {
        char *body = json_dumps(line, JSON_COMPACT), header[300], signature[256], type[256];
        struct buf content;
        buf_init(&content, 1 << 20);
        buf_printf(&content, "%d.%s", NOW_S, body);
        sign(secret, HOOK_SHA256, HOOK_HEX, "", buf_bytes(&content), signature);
        snprintf(header, sizeof header, "t=%d,v1=%s", NOW_S, signature);
        struct post p;
        post_init(&p, body);
        post_header(&p, "Stripe-Signature", header);
        struct hook_result result;
        assert_outcome(hook_receive(h, &p.request, &result), &result, HOOK_FINE);
        const beck_event *e = result.events;
        snprintf(type, sizeof type, "com.stripe.%s", text(line, "type"));
        assert_bytes(e->type, type);
        assert_bytes(e->id, text(line, "id"));
        assert_bytes(e->source, "https://stripe.com");
        const char *subject = text(json_object_get(json_object_get(line, "data"), "object"), "id");
        assert_bytes(e->subject, subject ? subject : "");
        assert_int_equal(e->time_ns,
                         json_integer_value(json_object_get(line, "created")) * 1000000000);
        hook_result_release(&result);
        buf_release(&content);
        free(body);
        json_decref(line);
    }
    fclose(file);
    hook_free(h);
    assert_true(count >= 16);
}

/* ---- the handshake of CloudEvents ---- */

static void test_consent(void **state)
{
    (void)state;
    FILE *file = open_data("cloudevents-webhook.jsonl");
    size_t count = 0;
    for (json_t *line; (line = next_line(file)) != NULL; json_decref(line)) {
        if (strcmp(text(line, "role"), "receiver") != 0)
            continue;
        const json_t *config = json_object_get(line, "config");
        const json_t *request = json_object_get(line, "request");
        const json_t *list = json_object_get(config, "allow_origins");
        const char *origins[HOOK_LIST_MAX], *secret = "token";
        for (size_t i = 0; i < json_array_size(list); i++)
            origins[i] = json_string_value(json_array_get(list, i));
        struct hook *h =
            make_hook(&(struct hook_source){.name = "ce",
                                            .provider = HOOK_CLOUDEVENTS,
                                            .secrets = &secret,
                                            .secret_count = 1,
                                            .bus = "hooks",
                                            .allow_origins = origins,
                                            .allow_origin_count = json_array_size(list),
                                            .rate_per_minute = (uint32_t)json_integer_value(
                                                json_object_get(config, "rate_per_minute"))});
        struct post p;
        post_init(&p, "");
        p.request.method = text(request, "method");
        const char *name;
        json_t *value;
        json_object_foreach(json_object_get(request, "headers"), name, value)
        {
            post_header(&p, name, json_string_value(value));
        }
        struct hook_result result;
        assert_int_equal(hook_receive(h, &p.request, &result), HOOK_ANSWERED);
        assert_int_equal(result.status, 200);
        json_t *expect = json_object_get(json_object_get(line, "expect_response"), "headers");
        assert_int_equal(result.header_count, json_object_size(expect));
        for (size_t i = 0; i < result.header_count; i++)
            assert_string_equal(result.headers[i].value, text(expect, result.headers[i].name));
        hook_result_release(&result);
        hook_free(h);
        count++;
    }
    fclose(file);
    assert_true(count >= 1);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: test_hook_vectors FOLDER\n");
        return 2;
    }
    folder = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schemes),         cmocka_unit_test(test_paypal),
        cmocka_unit_test(test_github_payloads), cmocka_unit_test(test_stripe_events),
        cmocka_unit_test(test_consent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
