/* Message authentication: HMAC with a prepared key, and texts compared in constant time. */
#ifndef BECK_HOOK_MAC_H
#define BECK_HOOK_MAC_H

#include "hook/hook.h"

#define MAC_SIZE_MAX 64
#define MAC_TEXT_MAX (2 * MAC_SIZE_MAX + 1)

struct evp_md_ctx_st;

/* The digest's state behind the inner and behind the outer pad: a MAC copies them, so that the key
 * is hashed once and not for each request. Does not change: any number of threads may use it. */
struct mac {
    struct evp_md_ctx_st *inner, *outer;
};

beck_status mac_init(struct mac *m, enum hook_digest digest, beck_bytes key, beck_error *err);
void mac_release(struct mac *m);
/* The HMAC of the parts, one behind the other. Returns its length; 0: no memory. */
size_t mac_run(const struct mac *m, const beck_bytes *parts, size_t count,
               uint8_t out[MAC_SIZE_MAX]);
/* The digest alone, without a key. */
size_t digest_run(enum hook_digest digest, const beck_bytes *parts, size_t count,
                  uint8_t out[MAC_SIZE_MAX]);

/* Hex in lower case, or base64 with padding. Returns the length. */
size_t mac_text(const uint8_t *mac, size_t len, enum hook_encoding encoding,
                char out[MAC_TEXT_MAX]);
/* Takes as long for any two texts of one length. */
bool same_secret(beck_bytes a, beck_bytes b);

#endif
