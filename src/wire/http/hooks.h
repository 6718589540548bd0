/*
 * Webhooks behind HTTP: the sources that are configured, and what became of their requests.
 *
 * A request is verified on the network thread (a large body, or a certificate that has to be
 * fetched: on the pool), published, and answered once it is stored at its source's level. What is
 * refused gets 401 without detail, is counted by reason, and is kept for inspection in the bus
 * `__refused_hooks` (bounded by size) while its address has not been refused too often.
 *
 * Threads: any; a request goes on with the sources that were there when it came.
 */
#ifndef BECK_WIRE_HTTP_HOOKS_H
#define BECK_WIRE_HTTP_HOOKS_H

#include "hook/certificates.h"
#include "hook/hook.h"

struct hooks;

struct hooks_options {
    uint32_t refused_max; /* requests of one address that are kept within a minute, beyond them 429;
                             default 60 */
    const struct certificates_options *certificates; /* NULL: PayPal's, over https */
};

/* No source yet, and no bus `__refused_hooks` before the first one. The handle outlives it. */
beck_status hooks_new(beck *b, const struct hooks_options *options, struct hooks **out,
                      beck_error *err);
/* Instead of those before; makes buses that are missing. On an error nothing has changed. */
beck_status hooks_set(struct hooks *h, const struct hook_source *sources, size_t count,
                      beck_error *err);
void hooks_free(struct hooks *h); /* no request is running; NULL allowed */

#endif
