/*
 * Certificates that a provider signs with, named by an address in each request (PayPal).
 *
 * An address is used only when it is https, on the owner's domain or below it, without user, port
 * or anything else that parsers disagree about. What it gives is checked as a chain up to a trusted
 * root at the time of the request, must be made out to the owner, and is kept for a day (16
 * addresses at most). A fetch that failed is not tried again for a minute.
 *
 * Threads: any. Anybody can name an address in a request, before anything of it is verified, and a fetch
 * occupies a thread for seconds: so one at a time is fetched, and who wants another one meanwhile is
 * sent away (providers try again).
 */
#ifndef BECK_HOOK_CERTIFICATES_H
#define BECK_HOOK_CERTIFICATES_H

#include "base/bytes.h"

struct certificates;
struct evp_pkey_st;

/* Appends what the address gives to `pem`, at most `max` bytes of it; waits for the network. */
typedef beck_status (*certificates_fetch_fn)(void *ctx, const char *url, size_t max,
                                             struct buf *pem, beck_error *err);

struct certificates_options {
    certificates_fetch_fn fetch; /* NULL: over https, as certificates_fetch_https */
    void *fetch_ctx;
    const char *owner;      /* whose certificates are good; NULL: "paypal.com" */
    const char *trust_file; /* PEM of trusted roots; NULL: the system's */
};

/* Nothing is read or fetched before the first use. */
beck_status certificates_new(const struct certificates_options *options, struct certificates **out,
                             beck_error *err);
void certificates_free(struct certificates *c); /* NULL allowed */

/* Whether the address may be used: the parsed host is `domain` or ends in ".<domain>". */
bool certificates_url_is_allowed(beck_bytes url, const char *domain);

/* The public key behind an allowed address, with a reference of the caller's (EVP_PKEY_free).
 * BECK_ETIMEDOUT: it has to be fetched and may_block is false. BECK_EDENIED: it was fetched and is
 * not good. BECK_EBUSY: a fetch is under way. Other errors: it could not be had. */
beck_status certificates_get(struct certificates *c, const char *url, int64_t now_ns,
                             bool may_block, struct evp_pkey_st **out);

/* The key of the first certificate of a file, trusted as it is. */
beck_status certificates_read_file(const char *path, struct evp_pkey_st **out, beck_error *err);

/* GET over https: TLS 1.2 or later, the host's name and chain checked, no redirects, 10 s in all. */
beck_status certificates_fetch_https(void *ctx, const char *url, size_t max, struct buf *pem,
                                     beck_error *err);

#endif
