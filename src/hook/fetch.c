/* A file over https, with OpenSSL's own client: see certificates_fetch_https. */
#include "base/error.h"
#include "hook/certificates.h"

#include <openssl/err.h>
#include <openssl/http.h>
#include <openssl/ssl.h>

#define TIMEOUT_S 10

struct peer {
    SSL_CTX *tls;
    const char *host;
};

/* Called when connected: puts TLS between. */
static BIO *begin_tls(BIO *bio, void *arg, int connect, int detail)
{
    const struct peer *peer = arg;
    (void)detail;
    if (!connect)
        return bio;
    SSL *ssl = SSL_new(peer->tls);
    if (!ssl)
        return NULL;
    BIO *layer =
        SSL_set_tlsext_host_name(ssl, peer->host) == 1 && SSL_set1_host(ssl, peer->host) == 1
            ? BIO_new(BIO_f_ssl())
            : NULL;
    if (!layer) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    BIO_set_ssl(layer, ssl, BIO_CLOSE);
    return BIO_push(layer, bio);
}

static SSL_CTX *make_tls(void)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (!tls)
        return NULL;
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 &&
        SSL_CTX_set_default_verify_paths(tls) == 1)
        return tls;
    SSL_CTX_free(tls);
    return NULL;
}

static beck_status exchange(const struct peer *peer, const char *port, const char *path, size_t max,
                            struct buf *pem, beck_error *err)
{
    beck_status status = BECK_EIO;
    /* Redirects would lead away from the address that was checked: they count as failures. */
    OSSL_HTTP_REQ_CTX *request = OSSL_HTTP_open(peer->host, port, NULL, NULL, 1, NULL, NULL,
                                                begin_tls, (void *)(uintptr_t)peer, 0, TIMEOUT_S);
    BIO *response = NULL;
    if (request &&
        OSSL_HTTP_set1_request(request, path, NULL, NULL, NULL, NULL, 0, max, TIMEOUT_S, 0) == 1)
        response = OSSL_HTTP_exchange(request, NULL);
    if (response) {
        char piece[4096];
        int got;
        status = BECK_OK;
        while (!status && (got = BIO_read(response, piece, sizeof piece)) > 0)
            status =
                pem->len + (size_t)got > max ? BECK_ELIMIT : buf_append(pem, piece, (size_t)got);
    }
    if (status) {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());
        error_set(err, status, "\"https://%.200s\" cannot be fetched: %s", peer->host,
                  why ? why : "too large, or no answer");
    }
    BIO_free_all(response);
    OSSL_HTTP_close(request, 1);
    return status;
}

beck_status certificates_fetch_https(void *ctx, const char *url, size_t max, struct buf *pem,
                                     beck_error *err)
{
    (void)ctx;
    char *host = NULL, *port = NULL, *path = NULL;
    int is_tls = 0;
    struct peer peer = {.tls = make_tls()};
    beck_status status = BECK_OK;
    ERR_clear_error();
    if (OSSL_HTTP_parse_url(url, &is_tls, NULL, &host, &port, NULL, &path, NULL, NULL) != 1 ||
        !is_tls)
        status = error_set(err, BECK_EINVAL, "\"%.200s\" is no https address", url);
    else if (!peer.tls)
        status = error_set(err, BECK_ENOMEM, "no memory for TLS");
    peer.host = host;
    if (!status)
        status = exchange(&peer, port, path, max, pem, err);
    OPENSSL_free(host);
    OPENSSL_free(port);
    OPENSSL_free(path);
    SSL_CTX_free(peer.tls);
    ERR_clear_error();
    return status;
}
