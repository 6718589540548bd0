/*
 * TLS as a filter: see tls.h.
 *
 * OpenSSL reads and writes through a BIO of ours that has no socket behind it: what it reads is the
 * slice that was just received, what it writes goes into a rope. So encrypted connections are
 * flushed as all others are, once per turn.
 */
#include "net/tls.h"

#include "base/thread.h"

#include <openssl/err.h>

#include <stdio.h>
#include <stdlib.h>

struct net_tls {
    char *certificate, *key;
    char *authorities; /* of clients' certificates; NULL: they are asked for none */
    bool required;
    BIO_METHOD *bio;
    struct mutex lock; /* a leaf; for the pointer */
    SSL_CTX *context;
};

/* ---- the BIO ---- */

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls_filter *f = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if (!rope_append(&f->wire, f->pieces, data, (size_t)len)) {
        f->no_memory = true;
        return -1;
    }
    return len;
}

static int bio_read(BIO *bio, char *out, int size)
{
    struct tls_filter *f = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (f->in.len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t len = f->in.len < (size_t)size ? f->in.len : (size_t)size;
    memcpy(out, f->in.data, len);
    f->in = bytes_of((const uint8_t *)f->in.data + len, f->in.len - len);
    return (int)len;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *new_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "beck");
    if (m && BIO_meth_set_write(m, bio_write) && BIO_meth_set_read(m, bio_read) &&
        BIO_meth_set_ctrl(m, bio_control) && BIO_meth_set_create(m, bio_create))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* ---- contexts ---- */

/* What OpenSSL says went wrong first. */
static beck_status refuse(const char *what, const char *path, beck_error *err)
{
    char why[160];
    unsigned long code = ERR_get_error();
    const char *reason = ERR_reason_error_string(code);
    if (reason)
        snprintf(why, sizeof why, "%s", reason);
    else
        ERR_error_string_n(code, why, sizeof why);
    ERR_clear_error();
    return error_set(err, BECK_EINVAL, "%s \"%.200s\" cannot be used: %s", what, path, why);
}

static beck_status ask_clients(const struct net_tls *t, SSL_CTX *context, beck_error *err)
{
    static const unsigned char session[] = "beck";
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(t->authorities);
    if (!names || SSL_CTX_load_verify_locations(context, t->authorities, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return refuse("authorities' certificate", t->authorities, err);
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context,
                       SSL_VERIFY_PEER | (t->required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    /* Else who comes again with a session of before is refused. */
    SSL_CTX_set_session_id_context(context, session, sizeof session - 1);
    return BECK_OK;
}

static beck_status fill_context(const struct net_tls *t, SSL_CTX *context, beck_error *err)
{
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* Buffers only while they are used: most connections are idle. */
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context, t->certificate) != 1)
        return refuse("certificate", t->certificate, err);
    if (SSL_CTX_use_PrivateKey_file(context, t->key, SSL_FILETYPE_PEM) != 1)
        return refuse("key", t->key, err);
    if (SSL_CTX_check_private_key(context) != 1)
        return refuse("key", t->key, err);
    return t->authorities ? ask_clients(t, context, err) : BECK_OK;
}

beck_status net_tls_reload(struct net_tls *t, beck_error *err)
{
    SSL_CTX *fresh = SSL_CTX_new(TLS_server_method());
    if (!fresh)
        return error_set(err, BECK_ENOMEM, "no memory for TLS");
    beck_status status = fill_context(t, fresh, err);
    if (!status) {
        mutex_lock(&t->lock);
        SSL_CTX *old = t->context;
        t->context = fresh;
        mutex_unlock(&t->lock);
        fresh = old;
    }
    SSL_CTX_free(fresh);
    return status;
}

beck_status net_tls_new(const char *certificate, const char *key, struct net_tls **out,
                        beck_error *err)
{
    struct net_tls *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, BECK_ENOMEM, "no memory for TLS");
    mutex_init(&t->lock);
    t->certificate = strdup(certificate);
    t->key = strdup(key);
    t->bio = new_method();
    beck_status status = t->certificate && t->key && t->bio
                             ? net_tls_reload(t, err)
                             : error_set(err, BECK_ENOMEM, "no memory for TLS");
    if (status)
        net_tls_free(t);
    else
        *out = t;
    return status;
}

beck_status net_tls_ask_clients(struct net_tls *t, const char *authorities, bool required,
                                beck_error *err)
{
    free(t->authorities);
    t->authorities = strdup(authorities);
    t->required = required;
    return t->authorities ? net_tls_reload(t, err)
                          : error_set(err, BECK_ENOMEM, "no memory for TLS");
}

void net_tls_free(struct net_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->context);
    BIO_meth_free(t->bio);
    mutex_release(&t->lock);
    free(t->certificate);
    free(t->key);
    free(t->authorities);
    free(t);
}

/* ---- the filter ---- */

struct tls_filter *tls_filter_new(struct net_tls *t, struct piece_cache *pieces)
{
    struct tls_filter *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->pieces = pieces;
    mutex_lock(&t->lock);
    f->ssl = SSL_new(t->context);
    mutex_unlock(&t->lock);
    BIO *bio = f->ssl ? BIO_new(t->bio) : NULL;
    if (!bio) {
        tls_filter_free(f);
        return NULL;
    }
    BIO_set_data(bio, f);
    SSL_set_bio(f->ssl, bio, bio);
    SSL_set_accept_state(f->ssl);
    return f;
}

void tls_filter_free(struct tls_filter *f)
{
    if (!f)
        return;
    SSL_free(f->ssl);
    rope_release(&f->wire, f->pieces);
    free(f);
}

/* What a call of OpenSSL came to. */
static enum tls_result result_of(struct tls_filter *f, int returned)
{
    int error = SSL_get_error(f->ssl, returned);
    ERR_clear_error();
    if (f->no_memory)
        return TLS_NO_MEMORY;
    if (error == SSL_ERROR_WANT_READ)
        return TLS_MORE;
    return error == SSL_ERROR_ZERO_RETURN ? TLS_ENDED : TLS_FAILED;
}

enum tls_result tls_receive(struct tls_filter *f, beck_bytes cipher, struct buf *plain)
{
    f->in = cipher;
    if (!f->greeted) {
        int done = SSL_do_handshake(f->ssl);
        if (done != 1)
            return result_of(f, done);
        f->greeted = true;
    }
    for (;;) {
        if (buf_reserve(plain, TLS_RECORD))
            return TLS_NO_MEMORY;
        int got = SSL_read(f->ssl, plain->data + plain->len, TLS_RECORD);
        if (got <= 0)
            return result_of(f, got);
        plain->len += (size_t)got;
    }
}

bool tls_send(struct tls_filter *f, beck_bytes plain)
{
    int sent = SSL_write(f->ssl, plain.data, (int)plain.len);
    ERR_clear_error();
    return sent == (int)plain.len;
}

/* The text of an entry, if it fits and has no NUL in it. */
static bool text_of(const X509_NAME_ENTRY *entry, char *out, size_t size)
{
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry));
    bool fits = len > 0 && (size_t)len < size && !memchr(text, 0, (size_t)len);
    if (fits) {
        memcpy(out, text, (size_t)len);
        out[len] = 0;
    }
    OPENSSL_free(text);
    return fits;
}

bool tls_peer_name(const struct tls_filter *f, char *out, size_t size)
{
    X509 *x = SSL_get1_peer_certificate(f->ssl);
    bool named = false;
    if (x && SSL_get_verify_mode(f->ssl) & SSL_VERIFY_PEER &&
        SSL_get_verify_result(f->ssl) == X509_V_OK) {
        const X509_NAME *subject = X509_get_subject_name(x);
        int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
        named = at >= 0 && text_of(X509_NAME_get_entry(subject, at), out, size);
    }
    X509_free(x);
    ERR_clear_error();
    return named;
}

void tls_finish(struct tls_filter *f)
{
    if (f->greeted)
        SSL_shutdown(f->ssl);
    ERR_clear_error();
}
