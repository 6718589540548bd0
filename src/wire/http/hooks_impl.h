/* What hooks.c (requests), hook_endpoints.c (sources) and hook_refused.c share. */
#ifndef BECK_WIRE_HTTP_HOOKS_IMPL_H
#define BECK_WIRE_HTTP_HOOKS_IMPL_H

#include "access/limiter.h"
#include "base/thread.h"
#include "bus/bus.h"
#include "hook/seen.h"
#include "wire/http/document.h"
#include "wire/http/hooks.h"

#define REFUSED_LIMIT_MAX 1000
#define REFUSED_WINDOW_MS 60000 /* in which those of an address, and those kept, are counted */
#define FAILURE_TEXT_MAX 256

/* A source as it is configured. Does not change, save for the bus when that was deleted, the last failure and
 * counters. */
struct endpoint {
    _Atomic(uint32_t) references;
    struct hook *hook;
    _Atomic(beck_bus *) bus;
    struct seen *seen; /* NULL: the bus does it, or nobody. The hooks' */
    struct counter *stored, *duplicates, *handshakes, *failed, *limited;
    struct counter *refused[HOOK_REASONS];
    struct mutex lock; /* of what follows */
    int64_t failed_ms; /* 0: never */
    char failure[FAILURE_TEXT_MAX];
};

/* A window of deliveries seen. It outlives a change of the settings. */
struct window {
    char name[HOOK_NAME_MAX + 1];
    int64_t window_ms;
    struct seen *seen;
    struct window *next;
};

struct hooks {
    beck *b;
    struct certificates *certificates;
    struct metric_family *requests;
    struct mutex lock; /* of the lists, and the number kept */
    struct endpoint **endpoints;
    size_t count;
    struct window *windows;
    _Atomic(beck_bus *) refused; /* NULL: there was no source yet, or memory only */
    struct limiter *limiter;     /* of addresses that are refused */
    int64_t kept_until_ns;       /* monotonic: end of the minute in which `kept` counts */
    uint32_t kept;
};

/* ---- hook_endpoints.c ---- */

/* With a reference, or NULL. */
struct endpoint *endpoint_get(struct hooks *h, const char *name);
void endpoint_release(struct endpoint *e);
/* Its bus has been deleted since: endpoint_renew has to find it again. */
bool endpoint_is_old(const struct endpoint *e);
/* Finds the bus by its name, or makes it anew. On the pool, for a request that was verified. */
void endpoint_renew(struct hooks *h, struct endpoint *e);
void endpoint_note_failure(struct endpoint *e, beck_status status, const char *why);
void endpoints_list(struct hooks *h, struct document_list *out);

/* ---- hook_refused.c ---- */

beck_status refused_open(struct hooks *h, beck_error *err); /* unless it is open */
/* Keeps the request, unless there were too many. False: too many of that address. */
bool refused_keep(struct hooks *h, const char *name, enum hook_reason reason,
                  const struct access_peer *peer, const struct hook_request *r);
/* Newest first. */
void refused_list(struct hooks *h, const char *name, size_t limit, struct document_list *out);

#endif
