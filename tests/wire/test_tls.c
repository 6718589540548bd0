/* HTTP over TLS: served, and with another certificate once that was read anew. */
#include "wire/world.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct files {
    char certificate[128], key[128];
};

/* A certificate of its own authority for `name`. */
static void make_certificate(const struct files *f, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    assert_true(key && x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *out = fopen(f->certificate, "w");
    assert_true(out && PEM_write_X509(out, x));
    fclose(out);
    out = fopen(f->key, "w");
    assert_true(out && PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL));
    fclose(out);
    X509_free(x);
    EVP_PKEY_free(key);
}

/* One request; the name in the server's certificate. */
static void ask_tls(const struct world *w, char name[64])
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    int fd = dial(w);
    SSL_set_fd(ssl, fd);
    assert_int_equal(SSL_connect(ssl), 1);
    X509 *x = SSL_get1_peer_certificate(ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, 64);
    X509_free(x);
    static const char request[] =
        "POST /v1/buses/orders/events?level=synced HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: 17\r\nConnection: close\r\n\r\n"
        "{\"eventType\":\"a\"}";
    char answer[4096];
    int len = 0, got;
    assert_int_equal(SSL_write(ssl, request, sizeof request - 1), sizeof request - 1);
    while (len < (int)sizeof answer - 1 &&
           (got = SSL_read(ssl, answer + len, (int)sizeof answer - 1 - len)) > 0)
        len += got;
    answer[len] = 0;
    assert_memory_equal(answer, "HTTP/1.1 200 OK", 15);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
}

static void certificates_can_be_changed(void **state)
{
    struct world w;
    struct files f;
    char name[64];
    beck_error err;
    (void)state;
    world_open(&w);
    snprintf(f.certificate, sizeof f.certificate, "%s/certificate.pem", w.dir);
    snprintf(f.key, sizeof f.key, "%s/key.pem", w.dir);
    make_certificate(&f, "first");
    w.settings.tls_certificate = f.certificate;
    w.settings.tls_key = f.key;
    world_serve_tls(&w);
    ask_tls(&w, name);
    assert_string_equal(name, "first");
    make_certificate(&f, "second");
    assert_int_equal(http_reload(w.h, &err), BECK_OK);
    ask_tls(&w, name);
    assert_string_equal(name, "second");
    /* What cannot be used changes nothing. */
    struct files other = f;
    snprintf(other.certificate, sizeof other.certificate, "%s/other.pem", w.dir);
    make_certificate(&other, "third");
    assert_int_equal(http_reload(w.h, &err), BECK_EINVAL);
    ask_tls(&w, name);
    assert_string_equal(name, "second");
    assert_int_equal(unlink(f.key), 0);
    assert_int_equal(http_reload(w.h, &err), BECK_EIO);
    ask_tls(&w, name);
    assert_int_equal(stored(&w, "orders"), 4);
    world_close(&w);
}

/* Whether a client that speaks that version alone gets a connection. */
static bool connects_with(const struct world *w, int version)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context, 0); /* or OpenSSL itself would refuse old versions */
    SSL_CTX_set_cipher_list(context, "ALL");
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    SSL *ssl = SSL_new(context);
    int fd = dial(w);
    SSL_set_fd(ssl, fd);
    bool connected = SSL_connect(ssl) == 1;
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    return connected;
}

static void versions_that_are_broken_are_refused(void **state)
{
    struct world w;
    struct files f;
    (void)state;
    world_open(&w);
    snprintf(f.certificate, sizeof f.certificate, "%s/certificate.pem", w.dir);
    snprintf(f.key, sizeof f.key, "%s/key.pem", w.dir);
    make_certificate(&f, "any");
    w.settings.tls_certificate = f.certificate;
    w.settings.tls_key = f.key;
    world_serve_tls(&w);
    assert_false(connects_with(&w, TLS1_VERSION));
    assert_false(connects_with(&w, TLS1_1_VERSION));
    assert_true(connects_with(&w, TLS1_2_VERSION));
    assert_true(connects_with(&w, TLS1_3_VERSION));
    world_close(&w);
}

static void without_a_certificate_it_does_not_start(void **state)
{
    struct world w;
    beck_error err;
    struct http *h;
    (void)state;
    world_open(&w);
    struct http_listener listener = {.fd = 0, .tls = true};
    assert_int_equal(http_start(&w.settings, &w.context, &listener, 1, &h, &err), BECK_EINVAL);
    w.settings.tls_certificate = w.settings.tls_key = "/nothing";
    assert_int_equal(http_start(&w.settings, &w.context, &listener, 1, &h, &err), BECK_EIO);
    assert_non_null(strstr(err.text, "/nothing"));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_can_be_changed),
        cmocka_unit_test(versions_that_are_broken_are_refused),
        cmocka_unit_test(without_a_certificate_it_does_not_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
