/*
 * Who gets the events of one bus: listeners (functions called inline) and routes (queues fed by
 * bindings; opaque here), found by type pattern.
 *
 * The match of a type is computed once per thread and kept in that thread's cache (direct-mapped by
 * hash, bounded, valid for one generation). The generation moves with every change, so a publish
 * takes no lock and allocates nothing in steady state. Lock: bus.lock (inside) guards the trie and
 * the lists. It is never held while a listener runs.
 */
#ifndef BECK_BUS_SUBSCRIBERS_H
#define BECK_BUS_SUBSCRIBERS_H

#include "bus/callers.h"
#include <stdatomic.h>

struct subscribers;

struct match {
    struct beck_listener **listeners; /* in order of subscription; one that has been unsubscribed is
                                         skipped when called */
    size_t listener_count;
    void **routes; /* each once */
    size_t route_count;
    uint64_t generation;
};

/* report is called (no lock held) for every listener that fails: BECK_EINVAL-free text with
 * pattern, type and id of the event. */
beck_status subscribers_new(struct callers *callers, const char *bus_name, beck_error_fn report,
                            void *report_ctx, struct subscribers **out);
void subscribers_free(
    struct subscribers *s); /* nobody is in a section; remaining listeners are released */

/* Inside a section of `self`: the match stays valid until the section is left or this thread asks
 * for another match of the same handle (a listener that publishes does): callers that need it
 * longer copy it. NULL: no memory. */
const struct match *subscribers_match(struct subscribers *s, struct caller *self, beck_bytes type);
/* The generation that a match must have to be current. */
uint64_t subscribers_generation(const struct subscribers *s);

/* Enters a section, matches, calls every listener with the event as this thread's current one,
 * leaves. Returns how many failed. The fast path of a memory bus; safe against nested publishes
 * from listeners (which may change the cache), subscribing and unsubscribing inside of calls. */
uint32_t subscribers_call(struct subscribers *s, struct caller *self, const beck_event *event);
bool subscribers_have_listeners(const struct subscribers *s); /* cheap: one load */

/* The functions behind beck_subscribe and beck_unsubscribe; semantics in beck.h. */
beck_status subscribers_add(struct subscribers *s, beck_bytes pattern, beck_listener_fn fn,
                            void *ctx, const beck_listener_options *options, beck_listener **out,
                            beck_error *err);
void subscribers_remove(beck_listener *listener);
uint32_t subscribers_count(struct subscribers *s); /* listeners */

/* Routes. The same route may stand under several patterns; a match holds it once. After remove
 * returns no new match holds it; sections that began before may still use it: the caller retires it
 * (callers_retire). */
beck_status subscribers_add_route(struct subscribers *s, beck_bytes pattern, void *route,
                                  beck_error *err);
bool subscribers_remove_route(struct subscribers *s, beck_bytes pattern, void *route);

#endif
