/*
 * Who gets the events of one bus: listeners (functions called inline) and routes (queues fed by
 * bindings; opaque here), found by type pattern.
 *
 * The match of a type is computed once per thread and kept in that thread's cache (direct-mapped by
 * hash, bounded, valid for one generation). The generation moves with every change, so a publish
 * takes no lock and allocates nothing in steady state. Lock: bus.lock (inside) guards the tries and
 * the lists. It is never held while a listener runs.
 */
#ifndef BECK_BUS_SUBSCRIBERS_H
#define BECK_BUS_SUBSCRIBERS_H

#include "base/metrics.h"
#include "bus/callers.h"

struct subscribers;

struct match {
    struct beck_listener **listeners; /* in order of subscription; one that has been unsubscribed is
                                         skipped when called */
    size_t listener_count;
    void **routes; /* each once */
    size_t route_count;
    uint64_t generation;
    struct counter *published; /* of events of the type; NULL: nobody counts */
};

/* report is called (no lock held, inside of the section) for every listener that fails, with
 * pattern, type and id of the event in the text. The code is what the listener returned when that
 * is a beck_status, else BECK_EIO. report may be NULL. */
beck_status subscribers_new(struct callers *callers, const char *bus_name, beck_error_fn report,
                            void *report_ctx, struct subscribers **out);
/* Before the first match: gives the counter of a type, for match.published. Called with bus.lock. */
void subscribers_count_by(struct subscribers *s,
                          struct counter *(*counter)(void *ctx, beck_bytes type), void *ctx);
/* Nobody is in a section; remaining listeners are released. NULL is allowed. */
void subscribers_free(struct subscribers *s);

/* Inside a section of `self`: the match stays valid until the section is left or this thread asks
 * for another match of the same handle (a listener that publishes does): callers that need it
 * longer copy it. The type has been checked (event_check). NULL: no memory. */
const struct match *subscribers_match(struct subscribers *s, struct caller *self, beck_bytes type);
/* Finding a match that was made before, and calling its listeners: subscribers_inline.h. */

/* Enters a section, matches, runs, leaves. Returns how many failed, or SUBSCRIBERS_NO_MEMORY: no
 * listener was called. */
#define SUBSCRIBERS_NO_MEMORY UINT32_MAX
uint32_t subscribers_call(struct subscribers *s, struct caller *self, const beck_event *event);
bool subscribers_have_listeners(const struct subscribers *s); /* cheap: one load */

/* The functions behind beck_subscribe and beck_unsubscribe; semantics in beck.h. A call "begins"
 * when the listener is found not to be unsubscribed. `release` is not called when adding fails.
 * `out` may be NULL: the listener then stays until subscribers_free. */
beck_status subscribers_add(struct subscribers *s, beck_bytes pattern, beck_listener_fn fn,
                            void *ctx, const beck_listener_options *options, beck_listener **out,
                            beck_error *err);
void subscribers_remove(beck_listener *listener);
/* Adds to the counters what threads have counted by themselves (subscribers_count_event). */
void subscribers_sum_up(struct subscribers *s);
/* Listeners that can still be called. */
uint32_t subscribers_count(struct subscribers *s);

/* Routes. The same route may stand under several patterns; a match holds it once. After remove
 * returns no new match holds it; sections that began before may still use it: the caller retires it
 * (callers_retire). */
beck_status subscribers_add_route(struct subscribers *s, beck_bytes pattern, void *route,
                                  beck_error *err);
/* False: the route does not stand under that pattern. */
bool subscribers_remove_route(struct subscribers *s, beck_bytes pattern, void *route);

#endif
