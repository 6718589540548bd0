/*
 * Certificates that can be changed while connections are served.
 *
 * MHD asks for certificate and key with each handshake; it gets copies of what was read last, which
 * GnuTLS frees. So what an earlier handshake was given stays good, whatever is read meanwhile.
 */
#include "wire/http/http_impl.h"

#include "base/error.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>

#define CHAIN_MAX 16

struct http_tls {
    char *certificate_path, *key_path;
    struct mutex lock;               /* a leaf: the texts below */
    gnutls_datum_t certificate, key; /* PEM */
};

static beck_status read_file(const char *path, const char *what, gnutls_datum_t *out,
                             beck_error *err)
{
    int failed = gnutls_load_file(path, out);
    if (failed)
        return error_set(err, BECK_EIO, "the %s \"%s\" cannot be read: %s", what, path,
                         gnutls_strerror(failed));
    return BECK_OK;
}

/* What one handshake gets; freed by GnuTLS, with gnutls_free. */
static int make_pair(const gnutls_datum_t *certificate, const gnutls_datum_t *key,
                     gnutls_pcert_st **chain, unsigned *count, gnutls_privkey_t *private_key)
{
    *count = CHAIN_MAX;
    *chain = gnutls_calloc(CHAIN_MAX, sizeof **chain);
    if (!*chain)
        return GNUTLS_E_MEMORY_ERROR;
    int failed =
        gnutls_pcert_list_import_x509_raw(*chain, count, certificate, GNUTLS_X509_FMT_PEM, 0);
    if (failed < 0) {
        gnutls_free(*chain);
        return failed;
    }
    failed = gnutls_privkey_init(private_key);
    if (!failed) {
        failed = gnutls_privkey_import_x509_raw(*private_key, key, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (failed)
            gnutls_privkey_deinit(*private_key);
    }
    if (failed) {
        for (unsigned i = 0; i < *count; i++)
            gnutls_pcert_deinit(&(*chain)[i]);
        gnutls_free(*chain);
    }
    return failed;
}

/* Whether the two belong together. */
static int check_pair(const gnutls_datum_t *certificate, const gnutls_datum_t *key)
{
    gnutls_certificate_credentials_t credentials;
    int failed = gnutls_certificate_allocate_credentials(&credentials);
    if (failed)
        return failed;
    failed =
        gnutls_certificate_set_x509_key_mem(credentials, certificate, key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    return failed < 0 ? failed : 0;
}

beck_status http_tls_reload(struct http_tls *t, beck_error *err)
{
    gnutls_datum_t certificate = {0}, key = {0};
    beck_status status = read_file(t->certificate_path, "certificate", &certificate, err);
    if (!status)
        status = read_file(t->key_path, "key", &key, err);
    int failed = status ? 0 : check_pair(&certificate, &key);
    if (failed)
        status = error_set(err, BECK_EINVAL,
                           "certificate \"%s\" and key \"%s\" are of no use: %s; both must be PEM, "
                           "and belong together",
                           t->certificate_path, t->key_path, gnutls_strerror(failed));
    if (!status) {
        mutex_lock(&t->lock);
        gnutls_datum_t old_certificate = t->certificate, old_key = t->key;
        t->certificate = certificate;
        t->key = key;
        mutex_unlock(&t->lock);
        certificate = old_certificate;
        key = old_key;
    }
    gnutls_free(certificate.data);
    if (key.data)
        explicit_bzero(key.data, key.size);
    gnutls_free(key.data);
    return status;
}

beck_status http_tls_new(const char *certificate, const char *key, struct http_tls **out,
                         beck_error *err)
{
    if (!certificate || !key)
        return error_set(
            err, BECK_EINVAL,
            "a listener with TLS needs a certificate and a key; give the paths of both");
    struct http_tls *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, BECK_ENOMEM, "no memory for TLS");
    mutex_init(&t->lock);
    t->certificate_path = strdup(certificate);
    t->key_path = strdup(key);
    beck_status status = t->certificate_path && t->key_path
                             ? http_tls_reload(t, err)
                             : error_set(err, BECK_ENOMEM, "no memory for TLS");
    if (status)
        http_tls_free(t);
    else
        *out = t;
    return status;
}

void http_tls_free(struct http_tls *t)
{
    if (!t)
        return;
    gnutls_free(t->certificate.data);
    if (t->key.data)
        explicit_bzero(t->key.data, t->key.size);
    gnutls_free(t->key.data);
    mutex_release(&t->lock);
    free(t->certificate_path);
    free(t->key_path);
    free(t);
}

/* MHD notes its connection with the session. */
static int give_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
                            gnutls_pcert_st **chain, unsigned *count, gnutls_ocsp_data_st **ocsp,
                            unsigned *ocsp_count, gnutls_privkey_t *key, unsigned *flags)
{
    (void)info;
    struct MHD_Connection *mhd = gnutls_session_get_ptr(session);
    const union MHD_ConnectionInfo *socket =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = socket ? socket->socket_context : NULL;
    if (!c)
        return -1;
    struct http_tls *t = c->http->tls;
    mutex_lock(&t->lock);
    int failed = make_pair(&t->certificate, &t->key, chain, count, key);
    mutex_unlock(&t->lock);
    *ocsp = NULL;
    *ocsp_count = 0;
    *flags = GNUTLS_CERT_RETR_DEINIT_ALL;
    return failed ? -1 : 0;
}

void *http_tls_callback(void)
{
    return (void *)(uintptr_t)give_certificate;
}
