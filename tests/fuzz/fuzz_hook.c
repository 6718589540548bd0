/*
 * Requests of webhook providers. Input: the provider, whether to sign ('s') or not, headers a line
 * each, an empty line, the body. Nothing that is not signed becomes an event; what does may be
 * published; the same request gives the same result.
 */
#include "fuzz.h"

#include "event/cloudevents.h"
#include "event/json.h"
#include "hook/hook.h"
#include "hook/mac.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define HEADERS_MAX 60
#define TEXT_MAX (1 << 20)
#define NOW_S "1773480413"
#define SECRET "c2VjcmV0LXNlY3JldC1zZWNyZXQ="

static struct hook *hooks[HOOK_PROVIDERS];
static EVP_PKEY *paypal_key;

/* A certificate of this run's own, since PayPal alone can sign as PayPal. */
static void make_certificate(char path[64])
{
    X509 *x = X509_new();
    paypal_key = EVP_RSA_gen(2048);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, paypal_key);
    X509_sign(x, paypal_key, EVP_sha256());
    strcpy(path, "/tmp/beck-fuzz-XXXXXX");
    FILE *file = fdopen(mkstemp(path), "w");
    REQUIRE(file && PEM_write_X509(file, x) == 1);
    fclose(file);
    X509_free(x);
}

static void make_hooks(void)
{
    static const char *const secrets[] = {"another-secret-altogether===", SECRET};
    static const char *const standard[] = {"whpk_+CtB21xbG0uT+5XyFqeVRCTMDSUgKlh1OXSOEHvlU7o=",
                                           SECRET};
    static const char *const lists[] = {"https://example.org/feed", "*"};
    char path[64];
    make_certificate(path);
    for (int i = 0; i < HOOK_PROVIDERS; i++) {
        struct hook_source s = {.name = "fuzz",
                                .provider = (enum hook_provider)i,
                                .bus = "b",
                                .secrets = i == HOOK_STANDARD ? standard : secrets,
                                .secret_count = 2,
                                .header = "X-Signature",
                                .prefix = "sig=",
                                .type_from = i == HOOK_HMAC ? "header:X-Type" : "/a/type",
                                .id_from = "/a/b/c/id",
                                .subject_from = "/a",
                                .time_from = "/at",
                                .svix = true,
                                .webhook_id = "W",
                                .certificate = path,
                                .allow_origins = lists,
                                .allow_origin_count = 2,
                                .topics = lists,
                                .topic_count = 1};
        beck_error err;
        if (hook_new(&s, NULL, &hooks[i], &err)) {
            fprintf(stderr, "%s\n", err.text);
            abort();
        }
    }
    unlink(path);
}

/* ---- requests ---- */

struct input {
    struct hook_header headers[HEADERS_MAX + 5];
    size_t count;
    beck_bytes body;
    char *text;      /* behind the headers' names and values */
    struct buf made; /* a body that was made of the input's */
    char signature[3000];
};

static const char *cut(char **at, size_t *left)
{
    char *start = *at, *end = memchr(start, '\n', *left);
    size_t len = end ? (size_t)(end - start) : *left;
    *left -= len + (end != NULL);
    *at = start + len + (end != NULL);
    start[len] = 0;
    return start;
}

static void read_input(struct input *in, const uint8_t *data, size_t size)
{
    in->count = 0;
    in->text = malloc(size + 1);
    memcpy(in->text, data, size);
    char *at = in->text;
    size_t left = size;
    while (left > 0 && in->count < HEADERS_MAX) {
        char *line = (char *)(uintptr_t)cut(&at, &left);
        char *colon = strstr(line, ": ");
        if (!*line)
            break;
        if (colon)
            *colon = 0;
        in->headers[in->count++] = (struct hook_header){line, colon ? colon + 2 : ""};
    }
    in->body = bytes_of(data + (size - left), left);
    buf_init(&in->made, TEXT_MAX);
}

static void put(struct input *in, const char *name, const char *value)
{
    in->headers[in->count++] = (struct hook_header){name, value};
}

static const char *mac_of(struct input *in, const char *before, const char *key,
                          const beck_bytes *parts, size_t count, enum hook_encoding encoding)
{
    struct mac mac;
    uint8_t value[MAC_SIZE_MAX];
    REQUIRE(mac_init(&mac, HOOK_SHA256, beck_str(key), NULL) == BECK_OK);
    size_t len = mac_run(&mac, parts, count, value), at = strlen(before);
    memcpy(in->signature, before, at + 1);
    mac_text(value, len, encoding, in->signature + at);
    mac_release(&mac);
    return in->signature;
}

static void sign_liqpay(struct input *in)
{
    struct buf data;
    uint8_t digest[MAC_SIZE_MAX];
    char text[MAC_TEXT_MAX];
    buf_init(&data, TEXT_MAX);
    base64_write(&data, in->body);
    const beck_bytes parts[] = {beck_str(SECRET), buf_bytes(&data), beck_str(SECRET)};
    mac_text(digest, digest_run(HOOK_SHA1, parts, 3, digest), HOOK_BASE64, text);
    buf_append_text(&in->made, "signature=");
    for (const char *c = text; *c; c++)
        buf_printf(&in->made, "%%%02x", (unsigned char)*c);
    buf_append_text(&in->made, "&data=");
    for (size_t i = 0; i < data.len; i++)
        buf_printf(&in->made, data.data[i] == '+' ? "%%2B" : "%c", data.data[i]);
    in->body = buf_bytes(&in->made);
    buf_release(&data);
}

static void sign_paypal(struct input *in)
{
    char content[100];
    uint8_t signature[512];
    size_t size = sizeof signature;
    int len =
        snprintf(content, sizeof content, "T|now|W|%lu", crc32_z(0, in->body.data, in->body.len));
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, paypal_key);
    REQUIRE(EVP_DigestSign(ctx, signature, &size, (const uint8_t *)content, (size_t)len) == 1);
    EVP_MD_CTX_free(ctx);
    EVP_EncodeBlock((unsigned char *)in->signature, signature, (int)size);
    put(in, "PAYPAL-TRANSMISSION-ID", "T");
    put(in, "PAYPAL-TRANSMISSION-TIME", "now");
    put(in, "PAYPAL-TRANSMISSION-SIG", in->signature);
    put(in, "PAYPAL-CERT-URL", "https://api.paypal.com/c");
    put(in, "PAYPAL-AUTH-ALGO", "SHA256withRSA");
}

static void sign_standard(struct input *in)
{
    const beck_bytes parts[] = {beck_str("m." NOW_S "."), in->body};
    put(in, "svix-id", "m");
    put(in, "svix-timestamp", NOW_S);
    put(in, "svix-signature", mac_of(in, "v1,", "secret-secret-secret", parts, 2, HOOK_BASE64));
}

static void sign(struct input *in, enum hook_provider provider)
{
    const beck_bytes stripe[] = {beck_str(NOW_S "."), in->body};
    const beck_bytes slack[] = {beck_str("v0:" NOW_S ":"), in->body};
    switch (provider) {
    case HOOK_GITHUB:
        put(in, "X-Hub-Signature-256", mac_of(in, "sha256=", SECRET, &in->body, 1, HOOK_HEX));
        break;
    case HOOK_STRIPE:
        put(in, "Stripe-Signature", mac_of(in, "t=" NOW_S ",v1=", SECRET, stripe, 2, HOOK_HEX));
        break;
    case HOOK_PAYPAL:
        sign_paypal(in);
        break;
    case HOOK_LIQPAY:
        sign_liqpay(in);
        break;
    case HOOK_SLACK:
        put(in, "X-Slack-Request-Timestamp", NOW_S);
        put(in, "X-Slack-Signature", mac_of(in, "v0=", SECRET, slack, 2, HOOK_HEX));
        break;
    case HOOK_SHOPIFY:
        put(in, "X-Shopify-Hmac-Sha256", mac_of(in, "", SECRET, &in->body, 1, HOOK_BASE64));
        break;
    case HOOK_STANDARD:
        sign_standard(in);
        break;
    case HOOK_HMAC:
        put(in, "X-Signature", mac_of(in, "sig=", SECRET, &in->body, 1, HOOK_HEX));
        break;
    case HOOK_CLOUDEVENTS:
        put(in, "Authorization", "Bearer " SECRET);
        break;
    case HOOK_WEBSUB:
        put(in, "X-Hub-Signature", mac_of(in, "sha256=", SECRET, &in->body, 1, HOOK_HEX));
        break;
    case HOOK_NONE:
    case HOOK_PROVIDERS:
        break;
    }
}

/* What the query says is in headers, too: "?name: value". */
static const char *query_of(void *ctx, const char *name)
{
    const struct input *in = ctx;
    for (size_t i = 0; i < in->count; i++)
        if (in->headers[i].name[0] == '?' && strcmp(in->headers[i].name + 1, name) == 0)
            return in->headers[i].value;
    return NULL;
}

/* ---- properties ---- */

static void check(const struct hook_result *result, enum hook_outcome outcome, struct buf *out)
{
    buf_printf(out, "%d %d %d ", (int)outcome, (int)result->reason, result->status);
    REQUIRE((outcome == HOOK_REFUSED) == (result->reason != HOOK_FINE));
    REQUIRE(outcome != HOOK_REFUSED || result->status >= 400);
    REQUIRE(outcome != HOOK_ANSWERED || result->status < 500);
    for (size_t i = 0; i < result->header_count; i++)
        REQUIRE(!strpbrk(result->headers[i].value, "\r\n"));
    if (outcome != HOOK_EVENTS)
        return;
    REQUIRE(result->event_count > 0);
    for (size_t i = 0; i < result->event_count; i++) {
        REQUIRE(event_check(&result->events[i], NULL) == BECK_OK);
        beck_status status =
            cloudevents_write(&result->events[i], BECK_FORM_CLOUDEVENTS, out, NULL);
        REQUIRE(status == BECK_OK || status == BECK_ELIMIT || status == BECK_EINVAL);
    }
}

static void receive(const struct hook *h, struct input *in, const char *method, bool is_signed,
                    struct buf *out)
{
    struct hook_request r = {.method = method,
                             .headers = in->headers,
                             .header_count = in->count,
                             .query = query_of,
                             .query_ctx = in,
                             .body = in->body,
                             .now_ns = 1773480413000000000};
    struct hook_result *result = malloc(sizeof *result);
    memset(result->memory, 0xA5, sizeof result->memory);
    enum hook_outcome outcome = hook_receive(h, &r, result);
    REQUIRE(outcome != HOOK_EVENTS || is_signed);
    check(result, outcome, out);
    hook_result_release(result);
    free(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const methods[] = {"POST", "GET", "OPTIONS"};
    if (size < 2) {
        return 0;
    }
    if (!hooks[0]) {
        make_hooks();
    }
    enum hook_provider provider = (enum hook_provider)(data[0] % HOOK_PROVIDERS);
    bool is_signed = data[1] == 's';
    struct input in;
    struct buf first, second;
    read_input(&in, data + 2, size - 2);
    if (is_signed) {
        sign(&in, provider);
    }
    buf_init(&first, 8 * TEXT_MAX);
    buf_init(&second, 8 * TEXT_MAX);
    for (size_t i = 0; i < 3; i++) {
        receive(hooks[provider], &in, methods[i], is_signed || provider == HOOK_NONE, &first);
        receive(hooks[provider], &in, methods[i], is_signed || provider == HOOK_NONE, &second);
    }
    REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_release(&first);
    buf_release(&second);
    buf_release(&in.made);
    free(in.text);
    return 0;
}
