/* Certificates behind addresses: which addresses are good, what is trusted, what is kept. The folder
 * of the test certificate is the argument. */
#include "common.h"
#include "base/error.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define URL "https://api.paypal.com/v1/notifications/certs/CERT-360caa42"
#define CERTIFICATE_NS 1795500000000000000 /* when the test certificate is good */
#define DAY_NS (24 * 3600 * 1000000000LL)

static char pem_path[1024];

/* Stands for the network. */
struct network {
    const char *path; /* of what is there; NULL: nothing answers */
    int fetched;
};

static beck_status fetch(void *ctx, const char *url, size_t max, struct buf *pem, beck_error *err)
{
    struct network *n = ctx;
    char content[8192];
    n->fetched++;
    assert_true(certificates_url_is_allowed(beck_str(url), "paypal.com"));
    if (!n->path)
        return error_set(err, BECK_EIO, "nobody there");
    FILE *file = fopen(n->path, "r");
    assert_non_null(file);
    size_t len = fread(content, 1, sizeof content, file);
    fclose(file);
    assert_true(len <= max);
    return buf_append(pem, content, len);
}

static struct certificates *make(struct network *n, const char *owner, const char *trust)
{
    struct certificates *c = NULL;
    struct certificates_options options = {
        .fetch = fetch, .fetch_ctx = n, .owner = owner, .trust_file = trust};
    assert_int_equal(certificates_new(&options, &c, NULL), BECK_OK);
    return c;
}

static beck_status get(struct certificates *c, const char *url, int64_t now_ns, bool may_block)
{
    EVP_PKEY *key = NULL;
    beck_status status = certificates_get(c, url, now_ns, may_block, &key);
    assert_int_equal(status == BECK_OK, key != NULL);
    EVP_PKEY_free(key);
    return status;
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {URL, "https://paypal.com/x", "https://API.PayPal.COM/x",
                                       "https://a.b.c.sandbox.paypal.com/x.pem"};
    static const char *const bad[] = {
        "",
        "https://",
        "https://paypal.com",
        "http://api.paypal.com/x",
        "HTTPS://api.paypal.com/x",
        "ftp://api.paypal.com/x",
        "//api.paypal.com/x",
        " https://api.paypal.com/x",
        "https://api.paypal.com.evil.example/x",
        "https://evilpaypal.com/x",
        "https://paypal.com.evil.example/x",
        "https://evil.example/api.paypal.com/x",
        "https://evil.example/?https://api.paypal.com/x",
        "https://evil.example#.paypal.com/x",
        "https://api.paypal.com@evil.example/x",
        "https://user:pass@api.paypal.com/x",
        "https://api.paypal.com:443/x",
        "https://api.paypal.com:8443/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/x",
        "https://evil.example\\.paypal.com/x",
        "https://evil.example%2f.paypal.com/x",
        "https://evil.example\t.paypal.com/x",
        "https://.paypal.com/x",
        "https://..paypal.com/x",
        "https://api..paypal.com/x",
        "https://api.paypal.com./x",
        "https:///api.paypal.com/x",
        "https://xn--pypal-4ve.com/x",
        "https://api.p\xc3\xa0ypal.com/x",
        "https://api.paypal.com/x?y=1",
        "https://api.paypal.com/x\r\nHost: evil.example",
    };
    for (size_t i = 0; i < COUNT(good); i++)
        if (!certificates_url_is_allowed(beck_str(good[i]), "paypal.com"))
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (certificates_url_is_allowed(beck_str(bad[i]), "paypal.com"))
            fail_msg("%s is allowed", bad[i]);
    assert_false(
        certificates_url_is_allowed(bytes_of("https://api.paypal.com\0/x", 25), "paypal.com"));
    char longest[700] = "https://api.paypal.com/";
    memset(longest + 23, 'a', 600);
    assert_false(certificates_url_is_allowed(beck_str(longest), "paypal.com"));
}

static void test_fetched_once_a_day(void **state)
{
    (void)state;
    struct network n = {.path = pem_path};
    struct certificates *c = make(&n, "paypal.test", pem_path);
    assert_int_equal(get(c, URL, CERTIFICATE_NS, false), BECK_ETIMEDOUT);
    assert_int_equal(n.fetched, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(get(c, URL, CERTIFICATE_NS + i, true), BECK_OK);
    assert_int_equal(get(c, URL, CERTIFICATE_NS + DAY_NS - 1, false), BECK_OK);
    assert_int_equal(n.fetched, 1);
    assert_int_equal(get(c, URL, CERTIFICATE_NS + DAY_NS, false), BECK_ETIMEDOUT);
    assert_int_equal(get(c, URL, CERTIFICATE_NS + DAY_NS, true), BECK_OK);
    assert_int_equal(n.fetched, 2);
    certificates_free(c);
}

static void test_failures_are_remembered_for_a_minute(void **state)
{
    (void)state;
    struct network n = {.path = NULL};
    struct certificates *c = make(&n, "paypal.test", pem_path);
    assert_int_equal(get(c, URL, CERTIFICATE_NS, true), BECK_EIO);
    assert_int_equal(get(c, URL, CERTIFICATE_NS + 59000000000, true), BECK_EIO);
    assert_int_equal(n.fetched, 1);
    n.path = pem_path;
    assert_int_equal(get(c, URL, CERTIFICATE_NS + 60000000000, true), BECK_OK);
    certificates_free(c);
}

/* A fetch during which somebody asks for another address. */
struct crossing {
    struct certificates *c;
    int fetched;
    beck_status other;
};

static beck_status fetch_crossing(void *ctx, const char *url, size_t max, struct buf *pem,
                                  beck_error *err)
{
    struct crossing *x = ctx;
    (void)url;
    (void)max;
    (void)pem;
    if (x->fetched++ == 0)
        x->other = get(x->c, "https://api.paypal.com/other", CERTIFICATE_NS, true);
    return error_set(err, BECK_EIO, "nobody there");
}

/* Anybody can name addresses, and a fetch occupies a thread for seconds: only one at a time. */
static void test_one_fetch_at_a_time(void **state)
{
    (void)state;
    struct crossing x = {0};
    struct certificates_options options = {.fetch = fetch_crossing, .fetch_ctx = &x};
    assert_int_equal(certificates_new(&options, &x.c, NULL), BECK_OK);
    assert_int_equal(get(x.c, URL, CERTIFICATE_NS, true), BECK_EIO);
    assert_int_equal(x.fetched, 1);
    assert_int_equal(x.other, BECK_EBUSY);
    /* It was not tried, so nothing is remembered of it. */
    assert_int_equal(get(x.c, "https://api.paypal.com/other", CERTIFICATE_NS, true), BECK_EIO);
    assert_int_equal(x.fetched, 2);
    certificates_free(x.c);
}

/* Whoever asks for many addresses does not make it forget a certificate that is in use. */
static void test_table_is_bounded(void **state)
{
    (void)state;
    struct network n = {.path = pem_path};
    struct certificates *c = make(&n, "paypal.test", pem_path);
    assert_int_equal(get(c, URL, CERTIFICATE_NS, true), BECK_OK);
    n.path = NULL;
    for (int i = 0; i < 100; i++) {
        char url[64];
        snprintf(url, sizeof url, "https://www.paypal.com/%d", i);
        assert_int_equal(get(c, url, CERTIFICATE_NS + 1 + i, true), BECK_EIO);
    }
    assert_int_equal(get(c, URL, CERTIFICATE_NS + 200, false), BECK_OK);
    certificates_free(c);
}

/* ---- trust ---- */

static EVP_PKEY *make_key(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    assert_non_null(key);
    return key;
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    X509_add_ext(certificate, e, -1);
    X509_EXTENSION_free(e);
}

static X509 *make_certificate(EVP_PKEY *key, const char *name, bool is_ca, X509 *issuer,
                              EVP_PKEY *issuer_key)
{
    static long serial = 1;
    X509 *x = X509_new();
    X509_NAME *subject = X509_get_subject_name(x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    ASN1_TIME_set(X509_getm_notBefore(x), 1795000000);
    ASN1_TIME_set(X509_getm_notAfter(x), 1796000000);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : subject);
    X509_set_pubkey(x, key);
    add_extension(x, issuer ? issuer : x, NID_basic_constraints,
                  is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    assert_true(X509_sign(x, issuer_key, EVP_sha256()) > 0);
    return x;
}

/* The certificates one behind the other, in a new file under /tmp; remove it. */
static void write_pem(char path[64], X509 *const *list, size_t count)
{
    strcpy(path, "/tmp/beck-test-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    for (size_t i = 0; i < count; i++)
        PEM_write_X509(file, list[i]);
    fclose(file);
}

/* A root, an authority below it, and what that signed for somebody. */
static void test_chains(void **state)
{
    (void)state;
    EVP_PKEY *root_key = make_key(), *middle_key = make_key(), *leaf_key = make_key();
    X509 *root = make_certificate(root_key, "root", true, NULL, root_key);
    X509 *middle = make_certificate(middle_key, "authority", true, root, root_key);
    X509 *leaf = make_certificate(leaf_key, "messages.paypal.com", false, middle, middle_key);
    X509 *alien = make_certificate(leaf_key, "messages.evil.example", false, middle, middle_key);
    X509 *own = make_certificate(leaf_key, "messages.paypal.com", false, NULL, leaf_key);
    X509 *below = make_certificate(leaf_key, "messages.paypal.com", false, leaf, leaf_key);
    const struct {
        X509 *list[4];
        size_t count;
        int64_t now_s;
        beck_status status;
    } rows[] = {{{leaf, middle}, 2, 1795500000, BECK_OK},
                {{leaf, root, middle}, 3, 1795500000, BECK_OK},
                {{leaf}, 1, 1795500000, BECK_EDENIED},                /* who signed it is missing */
                {{alien, middle}, 2, 1795500000, BECK_EDENIED},       /* somebody else's */
                {{own}, 1, 1795500000, BECK_EDENIED},                 /* by itself */
                {{below, leaf, middle}, 3, 1795500000, BECK_EDENIED}, /* by no authority */
                {{leaf, middle}, 2, 1794999999, BECK_EDENIED},
                {{leaf, middle}, 2, 1796000001, BECK_EDENIED},
                {{NULL}, 0, 1795500000, BECK_EDENIED}};
    char trust[64], path[64];
    write_pem(trust, &root, 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        write_pem(path, rows[i].list, rows[i].count);
        struct network n = {.path = path};
        struct certificates *c = make(&n, NULL, trust);
        beck_status status = get(c, URL, rows[i].now_s * 1000000000, true);
        if (status != rows[i].status)
            fail_msg("row %zu: %s", i, beck_status_name(status));
        certificates_free(c);
        remove(path);
    }
    remove(trust);
    X509 *const all[] = {root, middle, leaf, alien, own, below};
    for (size_t i = 0; i < COUNT(all); i++)
        X509_free(all[i]);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(middle_key);
    EVP_PKEY_free(leaf_key);
}

static void test_what_cannot_be_had(void **state)
{
    (void)state;
    struct network n = {.path = pem_path};
    /* Made out to somebody else; no root that is known; no roots at all. */
    struct certificates *c = make(&n, "paypal.com", pem_path);
    assert_int_equal(get(c, URL, CERTIFICATE_NS, true), BECK_EDENIED);
    assert_int_equal(get(c, URL, CERTIFICATE_NS, false), BECK_EDENIED);
    certificates_free(c);
    c = make(&n, "paypal.test", NULL);
    assert_int_equal(get(c, URL, CERTIFICATE_NS, true), BECK_EDENIED);
    certificates_free(c);
    c = make(&n, "paypal.test", "/nowhere");
    assert_int_equal(get(c, URL, CERTIFICATE_NS, true), BECK_EIO);
    certificates_free(c);
    /* Over the network, from nobody. */
    struct buf pem;
    beck_error err = {0};
    buf_init(&pem, 4096);
    assert_int_equal(certificates_fetch_https(NULL, "https://localhost:1/x", 4096, &pem, &err),
                     BECK_EIO);
    assert_non_null(strstr(err.text, "localhost"));
    assert_int_equal(certificates_fetch_https(NULL, "http://localhost:1/x", 4096, &pem, &err),
                     BECK_EINVAL);
    buf_release(&pem);
}

/* A hook says that it would have to wait, and what was wrong with what it got. */
static void test_a_hook_that_must_fetch(void **state)
{
    (void)state;
    struct network n = {.path = NULL};
    struct certificates *c = make(&n, "paypal.test", pem_path);
    struct hook *h = NULL;
    struct hook_source source = {
        .name = "pp", .provider = HOOK_PAYPAL, .bus = "hooks", .webhook_id = "W"};
    assert_int_equal(hook_new(&source, c, &h, NULL), BECK_OK);
    struct post p;
    struct hook_result result;
    post_init(&p, "{}");
    post_header(&p, "PAYPAL-TRANSMISSION-ID", "t");
    post_header(&p, "PAYPAL-TRANSMISSION-TIME", "2026-03-14T09:26:53Z");
    post_header(&p, "PAYPAL-TRANSMISSION-SIG", "AAAA");
    post_header(&p, "PAYPAL-CERT-URL", URL);
    post_header(&p, "PAYPAL-AUTH-ALGO", "SHA256withRSA");
    p.request.now_ns = CERTIFICATE_NS;
    assert_int_equal(hook_receive(h, &p.request, &result), HOOK_BLOCKS);
    assert_int_equal(n.fetched, 0);
    hook_result_release(&result);
    p.request.may_block = true;
    assert_outcome(hook_receive(h, &p.request, &result), &result, HOOK_NO_CERT);
    assert_int_equal(result.status, 503); /* so that the provider comes again */
    hook_result_release(&result);
    n.path = pem_path;
    p.request.now_ns += 61000000000;
    assert_outcome(hook_receive(h, &p.request, &result), &result, HOOK_BAD_SIGNATURE);
    assert_int_equal(result.status, 401);
    hook_result_release(&result);
    hook_free(h);
    /* With the certificate as a setting nothing is fetched. */
    n.fetched = 0;
    source.certificate = pem_path;
    assert_int_equal(hook_new(&source, NULL, &h, NULL), BECK_OK);
    p.request.may_block = false;
    assert_outcome(hook_receive(h, &p.request, &result), &result, HOOK_BAD_SIGNATURE);
    assert_int_equal(n.fetched, 0);
    hook_result_release(&result);
    hook_free(h);
    certificates_free(c);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: test_hook_certificates FOLDER\n");
        return 2;
    }
    snprintf(pem_path, sizeof pem_path, "%s/paypal-test-cert.pem", argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_fetched_once_a_day),
        cmocka_unit_test(test_failures_are_remembered_for_a_minute),
        cmocka_unit_test(test_one_fetch_at_a_time),
        cmocka_unit_test(test_table_is_bounded),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_what_cannot_be_had),
        cmocka_unit_test(test_a_hook_that_must_fetch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
