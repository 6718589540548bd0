/* TLS between socket and protocol: what works without it works with it, and what is no TLS ends. */
#include "net/common.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <sched.h>
#include <signal.h>

/* ---- certificates ---- */

struct files {
    char dir[64], certificate[128], key[128];
};

static void files_make(struct files *f)
{
    snprintf(f->dir, sizeof f->dir, "/tmp/beck-test-net-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->certificate, sizeof f->certificate, "%s/certificate.pem", f->dir);
    snprintf(f->key, sizeof f->key, "%s/key.pem", f->dir);
}

static void files_remove(const struct files *f)
{
    unlink(f->certificate);
    unlink(f->key);
    rmdir(f->dir);
}

static void make_authority(X509 *x)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* A self-signed certificate with that serial number. */
static void write_certificate(const struct files *f, long serial)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    make_authority(x);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *file = fopen(f->certificate, "w");
    assert_int_equal(PEM_write_X509(file, x), 1);
    fclose(file);
    file = fopen(f->key, "w");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(x);
    EVP_PKEY_free(key);
}

struct secure {
    struct files files;
    struct net_tls *tls;
    struct server s;
    SSL_CTX *context; /* of clients */
};

static void secure_start(struct secure *w)
{
    files_make(&w->files);
    write_certificate(&w->files, 1);
    must(net_tls_new(w->files.certificate, w->files.key, &w->tls, &err));
    w->s.listener.tls = w->tls;
    server_start(&w->s);
    w->context = SSL_CTX_new(TLS_client_method());
}

static void secure_stop(struct secure *w)
{
    server_stop(&w->s);
    net_tls_free(w->tls);
    SSL_CTX_free(w->context);
    files_remove(&w->files);
}

/* ---- clients ---- */

static SSL *greet(const struct secure *w)
{
    SSL *ssl = SSL_new(w->context);
    SSL_set_fd(ssl, connect_to(&w->s));
    assert_int_equal(SSL_connect(ssl), 1);
    return ssl;
}

static void leave(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

static void say_tls(SSL *ssl, const void *data, size_t len)
{
    while (len > 0) {
        int n = SSL_write(ssl, data, len > 100000 ? 100000 : (int)len);
        assert_true(n > 0);
        data = (const char *)data + n;
        len -= (size_t)n;
    }
}

static void hear_tls(SSL *ssl, const void *expected, size_t len)
{
    static uint8_t buffer[65536];
    const uint8_t *at = expected;
    while (len > 0) {
        int n = SSL_read(ssl, buffer, (int)(len < sizeof buffer ? len : sizeof buffer));
        assert_true(n > 0);
        assert_memory_equal(buffer, at, (size_t)n);
        at += n;
        len -= (size_t)n;
    }
}

static void say_text(SSL *ssl, const char *text)
{
    say_tls(ssl, text, strlen(text));
}

static void hear_text(SSL *ssl, const char *text)
{
    hear_tls(ssl, text, strlen(text));
}

static void hear_tls_zeros(SSL *ssl, size_t n)
{
    for (; n > 0; n -= n < sizeof zeros ? n : sizeof zeros)
        hear_tls(ssl, zeros, n < sizeof zeros ? n : sizeof zeros);
    hear_text(ssl, "\n");
}

static long serial_of(SSL *ssl)
{
    X509 *x = SSL_get1_peer_certificate(ssl);
    long serial = ASN1_INTEGER_get(X509_get_serialNumber(x));
    X509_free(x);
    return serial;
}

/* ---- clients' certificates ---- */

/* A certificate of that name, signed by the one of the files (which is its own authority), for the client. */
static void show_certificate(const struct secure *w, const struct files *by, const char *name)
{
    FILE *file = fopen(by->certificate, "r");
    X509 *authority = PEM_read_X509(file, NULL, NULL, NULL), *x = X509_new();
    fclose(file);
    file = fopen(by->key, "r");
    EVP_PKEY *signer = PEM_read_PrivateKey(file, NULL, NULL, NULL), *key = EVP_EC_gen("P-256");
    fclose(file);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "O", MBSTRING_ASC,
                               (const unsigned char *)"beck", -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(authority));
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, signer, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(w->context, x), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(w->context, key), 1);
    X509_free(x);
    X509_free(authority);
    EVP_PKEY_free(signer);
    EVP_PKEY_free(key);
}

static void hear_name(const struct secure *w, const char *expected)
{
    SSL *ssl = greet(w);
    say_text(ssl, "name\n");
    hear_text(ssl, expected);
    leave(ssl);
}

/* Whether an exchange comes about: with TLS 1.3 a client is told only after its handshake. */
static bool is_let_in(const struct secure *w)
{
    char answer[16];
    SSL *ssl = SSL_new(w->context);
    SSL_set_fd(ssl, connect_to(&w->s));
    bool in = SSL_connect(ssl) == 1 && SSL_write(ssl, "name\n", 5) == 5 &&
              SSL_read(ssl, answer, sizeof answer) > 0;
    int fd = SSL_get_fd(ssl);
    SSL_free(ssl);
    close(fd);
    ERR_clear_error();
    return in;
}

static void the_name_in_a_certificate_of_a_client_is_told(void **state)
{
    (void)state;
    struct secure w = {0};
    secure_start(&w);
    hear_name(&w, "-\n");
    show_certificate(&w, &w.files, "ann");
    hear_name(&w, "-\n"); /* nobody has asked for it */
    must(net_tls_ask_clients(w.tls, w.files.certificate, false, &err));
    hear_name(&w, "ann\n");
    hear_name(&w, "ann\n"); /* also with the session of before */
    show_certificate(&w, &w.files,
                     "a-name-that-is-much-longer-than-the-place-that-there-is-for-it..");
    hear_name(&w, "-\n");
    secure_stop(&w);
}

static void whoever_is_not_certified_by_the_authority_stays_out(void **state)
{
    (void)state;
    struct secure w = {0};
    struct files others;
    files_make(&others);
    write_certificate(&others, 2);
    secure_start(&w);
    refused(net_tls_ask_clients(w.tls, w.files.key, false, &err), BECK_EINVAL, "cannot be used");
    must(net_tls_ask_clients(w.tls, w.files.certificate, true, &err));
    assert_false(is_let_in(&w)); /* without one */
    show_certificate(&w, &others, "ann");
    assert_false(is_let_in(&w));
    show_certificate(&w, &w.files, "ann");
    assert_true(is_let_in(&w));
    must(net_tls_ask_clients(w.tls, w.files.certificate, false, &err));
    show_certificate(&w, &others, "ann");
    assert_false(is_let_in(&w));
    secure_stop(&w);
    files_remove(&others);
}

/* ---- what works ---- */

static void lines_are_answered(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct secure w = {0};
    secure_start(&w);
    for (int i = 0; i < 2; i++) {
        SSL_CTX_set_min_proto_version(w.context, versions[i]);
        SSL_CTX_set_max_proto_version(w.context, versions[i]);
        SSL *ssl = greet(&w);
        assert_int_equal(SSL_version(ssl), versions[i]);
        for (int n = 0; n < 100; n++) {
            say_text(ssl, "echo hello\necho you");
            say_text(ssl, " there\n");
            hear_text(ssl, "echo hello\necho you there\n");
        }
        leave(ssl);
    }
    wait_until(&w.s, w.s.closed == 2);
    assert_int_equal(w.s.failed, 0);
    secure_stop(&w);
}

static void much_is_sent_and_received(void **state)
{
    (void)state;
    static const char *const kinds[] = {"block", "memory", "file", "zeros"};
    struct secure w = {.s.listener = {.input_max = 4 << 20, .output_max = 65536}};
    secure_start(&w);
    SSL *ssl = greet(&w);
    for (size_t n = 1; n < sizeof zeros; n = n * 7 + 1) {
        for (int k = 0; k < 4; k++) {
            char line[64];
            snprintf(line, sizeof line, "%s %zu\necho after\n", kinds[k], n);
            say_text(ssl, line);
            hear_tls_zeros(ssl, n);
            hear_text(ssl, "echo after\n");
        }
        char line[64];
        snprintf(line, sizeof line, "frame %zu\n", n);
        say_text(ssl, line);
        say_tls(ssl, zeros, n);
        hear_text(ssl, "frame\n");
    }
    say_text(ssl, "zeros 20000000\necho end\n");
    hear_tls_zeros(ssl, 20000000);
    hear_text(ssl, "echo end\n");
    leave(ssl);
    secure_stop(&w);
}

static void who_does_not_read_is_not_read_from(void **state)
{
    (void)state;
    enum { OUTPUT = 65536, EACH = 1000 };
    struct secure w = {.s.listener.output_max = OUTPUT};
    secure_start(&w);
    SSL *ssl = greet(&w);
    char line[EACH];
    memset(line, 'x', sizeof line);
    memcpy(line, "echo ", 5);
    line[sizeof line - 1] = '\n';
    SSL_set_mode(ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    fcntl(SSL_get_fd(ssl), F_SETFL, O_NONBLOCK);
    int whole = 0;
    while (SSL_write(ssl, line, sizeof line) == (int)sizeof line)
        assert_true(++whole < 100000);
    fcntl(SSL_get_fd(ssl), F_SETFL, 0);
    /* The one that did not fit goes on where it was, once we read. */
    for (int i = 0; i < whole; i++) {
        if (i == whole / 2)
            say_tls(ssl, line, sizeof line);
        hear_tls(ssl, line, sizeof line);
    }
    hear_tls(ssl, line, sizeof line);
    assert_in_range(output_seen(&w.s), 1, OUTPUT + 2 * EACH);
    leave(ssl);
    secure_stop(&w);
}

/* ---- the end ---- */

static void finishing_says_so(void **state)
{
    (void)state;
    struct secure w = {0};
    secure_start(&w);
    SSL *ssl = greet(&w);
    char byte;
    say_text(ssl, "file 1000000\nquit\n");
    hear_tls_zeros(ssl, 1000000);
    hear_text(ssl, "bye\n");
    int n = SSL_read(ssl, &byte, 1);
    assert_int_equal(SSL_get_error(ssl, n), SSL_ERROR_ZERO_RETURN);
    leave(ssl);
    wait_until(&w.s, w.s.closed == 1);
    assert_int_equal(w.s.failed, 0);
    secure_stop(&w);
}

static void who_says_all_and_goes_on_reading_gets_all_answers(void **state)
{
    (void)state;
    struct secure w = {0};
    secure_start(&w);
    SSL *ssl = greet(&w);
    /* All in one piece, the end as well. */
    int on = 1, off = 0;
    setsockopt(SSL_get_fd(ssl), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    say_text(ssl, "zeros 3000000\necho two\n");
    SSL_shutdown(ssl);
    setsockopt(SSL_get_fd(ssl), IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    hear_tls_zeros(ssl, 3000000);
    hear_text(ssl, "echo two\n");
    leave(ssl);
    secure_stop(&w);
}

static void draining_lets_everybody_finish(void **state)
{
    (void)state;
    struct secure w = {0};
    secure_start(&w);
    SSL *ssl = greet(&w);
    int half = connect_to(&w.s); /* its handshake is not done */
    say_text(ssl, "echo x\n");
    hear_text(ssl, "echo x\n");
    while (connections_of(&w.s) < 2)
        sched_yield();
    assert_false(net_drain(w.s.net, 0));
    hear_text(ssl, "stops\n");
    leave(ssl);
    hear_end(half);
    assert_true(net_drain(w.s.net, INT64_MAX));
    secure_stop(&w);
}

static void a_reset_at_any_byte_closes_once(void **state)
{
    (void)state;
    struct secure w = {.s.listener.handshake_timeout_ms = 3600000};
    secure_start(&w);
    /* A whole conversation of a client, recorded through memory. */
    SSL *ssl = SSL_new(w.context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    char *hello;
    long size = BIO_get_mem_data(out, &hello);
    assert_true(size > 100);
    for (long n = 0; n <= size; n += n < 20 ? 1 : 37) {
        int fd = connect_to(&w.s);
        say_bytes(fd, hello, (size_t)n);
        reset(fd);
    }
    SSL_free(ssl);
    for (int i = 0; i < 20; i++) {
        ssl = greet(&w);
        int fd = SSL_get_fd(ssl);
        say_text(ssl, i % 2 ? "zeros 3000000\n" : "echo x\n");
        reset(fd);
        SSL_free(ssl);
    }
    assert_true(net_drain(w.s.net, INT64_MAX));
    secure_stop(&w);
}

/* ---- what is refused ---- */

static void what_is_no_tls_ends(void **state)
{
    (void)state;
    static const char *const texts[] = {"GET / HTTP/1.1\r\n\r\n", "AMQP\0\0\11\1",
                                        "\x16\x03\x01\xff\xff", "\x16\x03\x01\x00\x02xx"};
    struct secure w = {.s.listener.handshake_timeout_ms = 100};
    secure_start(&w);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int fd = connect_to(&w.s);
        char buffer[100];
        /* The end may have come before this is said. */
        (void)!send(fd, texts[i], strlen(texts[i]), MSG_NOSIGNAL);
        (void)!send(fd, "what follows is no better", 25, MSG_NOSIGNAL);
        /* Perhaps an alert; then the end. */
        while (recv(fd, buffer, sizeof buffer, 0) > 0)
            ;
        close(fd);
    }
    assert_int_equal(w.s.opened, 0);
    secure_stop(&w);
}

static void old_versions_are_refused(void **state)
{
    (void)state;
    struct secure w = {0};
    secure_start(&w);
    SSL_CTX_set_security_level(w.context, 0);
    SSL_CTX_set_min_proto_version(w.context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(w.context, TLS1_1_VERSION);
    SSL *ssl = SSL_new(w.context);
    int fd = connect_to(&w.s);
    SSL_set_fd(ssl, fd);
    assert_int_not_equal(SSL_connect(ssl), 1);
    ERR_clear_error();
    SSL_free(ssl);
    close(fd);
    assert_int_equal(w.s.opened, 0);
    secure_stop(&w);
}

static void a_handshake_has_its_time(void **state)
{
    (void)state;
    struct secure w = {.s.listener.handshake_timeout_ms = 20};
    secure_start(&w);
    hear_end(connect_to(&w.s));
    assert_int_equal(w.s.opened, 0);
    secure_stop(&w);
}

/* ---- certificates ---- */

static void a_new_certificate_is_for_new_connections(void **state)
{
    (void)state;
    struct secure w = {0};
    secure_start(&w);
    SSL *old = greet(&w);
    assert_int_equal(serial_of(old), 1);
    write_certificate(&w.files, 2);
    must(net_tls_reload(w.tls, &err));
    SSL *fresh = greet(&w);
    assert_int_equal(serial_of(fresh), 2);
    say_text(old, "echo x\n");
    hear_text(old, "echo x\n");
    leave(old);
    leave(fresh);
    secure_stop(&w);
}

static void a_certificate_that_is_none_changes_nothing(void **state)
{
    (void)state;
    struct secure w = {0};
    struct files other;
    secure_start(&w);
    files_make(&other);
    write_certificate(&other, 3);
    /* The key of another one. */
    assert_int_equal(rename(other.key, w.files.key), 0);
    refused(net_tls_reload(w.tls, &err), BECK_EINVAL, w.files.key);
    FILE *file = fopen(w.files.certificate, "w");
    fputs("nothing of the kind\n", file);
    fclose(file);
    refused(net_tls_reload(w.tls, &err), BECK_EINVAL, w.files.certificate);
    unlink(w.files.certificate);
    refused(net_tls_reload(w.tls, &err), BECK_EINVAL, w.files.certificate);
    struct net_tls *none;
    refused(net_tls_new(w.files.certificate, w.files.key, &none, &err), BECK_EINVAL,
            "cannot be used");
    SSL *ssl = greet(&w);
    assert_int_equal(serial_of(ssl), 1);
    leave(ssl);
    files_remove(&other);
    secure_stop(&w);
}

static void *reload_often(void *arg)
{
    struct secure *w = arg;
    for (int i = 0; i < 200; i++)
        must(net_tls_reload(w->tls, &err));
    return NULL;
}

static void certificates_change_while_others_connect(void **state)
{
    (void)state;
    struct secure w = {0};
    pthread_t thread;
    secure_start(&w);
    assert_int_equal(pthread_create(&thread, NULL, reload_often, &w), 0);
    for (int i = 0; i < 50; i++) {
        SSL *ssl = greet(&w);
        say_text(ssl, "echo x\n");
        hear_text(ssl, "echo x\n");
        leave(ssl);
    }
    pthread_join(thread, NULL);
    secure_stop(&w);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* clients of OpenSSL */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_in_a_certificate_of_a_client_is_told),
        cmocka_unit_test(whoever_is_not_certified_by_the_authority_stays_out),
        cmocka_unit_test(lines_are_answered),
        cmocka_unit_test(much_is_sent_and_received),
        cmocka_unit_test(who_does_not_read_is_not_read_from),
        cmocka_unit_test(finishing_says_so),
        cmocka_unit_test(who_says_all_and_goes_on_reading_gets_all_answers),
        cmocka_unit_test(draining_lets_everybody_finish),
        cmocka_unit_test(a_reset_at_any_byte_closes_once),
        cmocka_unit_test(what_is_no_tls_ends),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(a_handshake_has_its_time),
        cmocka_unit_test(a_new_certificate_is_for_new_connections),
        cmocka_unit_test(a_certificate_that_is_none_changes_nothing),
        cmocka_unit_test(certificates_change_while_others_connect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
