/*
 * TLS as a filter: what the socket gives goes in, what the protocol reads comes out, and back. The
 * socket itself is not its business.
 */
#ifndef BECK_NET_TLS_H
#define BECK_NET_TLS_H

#include "net/net.h"
#include "net/rope.h"

#include <openssl/ssl.h>

#define TLS_RECORD 16384 /* what one record holds */

struct tls_filter {
    SSL *ssl;
    beck_bytes in;    /* from the socket, not yet taken */
    struct rope wire; /* for the socket */
    struct piece_cache *pieces;
    bool greeted;   /* the handshake is done */
    bool no_memory; /* a piece for the wire could not be had */
};

/* For a new connection, with the certificate as read last. NULL: no memory. */
struct tls_filter *tls_filter_new(struct net_tls *t, struct piece_cache *pieces);
void tls_filter_free(struct tls_filter *f); /* NULL allowed */

enum tls_result {
    TLS_MORE,   /* all that came was taken; plain bytes were appended, perhaps none */
    TLS_ENDED,  /* the peer said that nothing more comes */
    TLS_FAILED, /* it is no TLS, or not one that we speak */
    TLS_NO_MEMORY
};
/* Takes all of `cipher`; what it holds for the protocol is appended to `plain`. */
enum tls_result tls_receive(struct tls_filter *f, beck_bytes cipher, struct buf *plain);
/* At most TLS_RECORD bytes, which go to the wire. */
bool tls_send(struct tls_filter *f, beck_bytes plain);
/* See connection_peer_name. */
bool tls_peer_name(const struct tls_filter *f, char *out, size_t size);
/* Tells the peer that nothing more comes. */
void tls_finish(struct tls_filter *f);

#endif
