/*
 * What of subscribers.c a publish runs, so that it is inlined there: the way from a type to its held
 * match, and calling the listeners. Included by subscribers.c and publish.c only; only they touch what is
 * visible here.
 */
#ifndef BECK_BUS_SUBSCRIBERS_INLINE_H
#define BECK_BUS_SUBSCRIBERS_INLINE_H

#include "base/bytes.h"
#include "base/thread.h"
#include "bus/subscribers.h"
#include "event/pattern.h"

#define TABLE_SIZE 256 /* a power of two */

enum listener_state {
    LISTENER_ENDED,
    LISTENER_PLAIN,
    LISTENER_LIMITED /* by events_max */
};

struct beck_listener {
    _Atomic(uint32_t) state; /* set under the lock, read without */
    beck_listener_fn fn;
    void *ctx;
    uint64_t sequence; /* of subscription */
    uint64_t calls_max;
    _Atomic(uint64_t) calls; /* begun; counted only when limited */
    struct subscribers *subscribers;
    struct beck_listener *previous, *next; /* all that were not unsubscribed; lock */

    /* Who may still use this: the owner of the handle, and after events_max the sections that were
     * running then. `ctx` is released by whichever goes first, the memory by the last. */
    void (*release)(void *ctx);
    _Atomic(bool) released;
    _Atomic(uint32_t) uses;
    struct retired expired, removed;

    size_t pattern_len;
    uint8_t pattern[];
};

/* What one thread has published of one type to one bus, outside of the log: it alone counts. */
struct tally {
    _Alignas(64) _Atomic(uint64_t) published;
    const struct caller *caller; /* also the next thread's that gets this slot */
    struct counter *counter;     /* several types may share one */
    uint64_t taken;              /* is in the counter; with the lock */
    struct tally *next;
};

struct subscribers {
    /* Read by every publish. */
    _Alignas(64) _Atomic(uint64_t) generation;
    _Atomic(uint32_t) listener_count; /* that have not ended */
    struct callers *callers;
    beck_error_fn report;
    void *report_ctx;
    char *bus_name;

    _Alignas(64) struct mutex lock;
    struct trie *listeners, *routes;
    struct beck_listener *first, *last;
    uint64_t sequence;
    struct trie_matches found_listeners, found_routes; /* kept for their memory */
    struct tally *tallies;
    struct counter *(*counter)(void *ctx, beck_bytes type); /* NULL: nobody counts */
    void *counter_ctx;
};

/* ---- the table of a thread ---- */

struct held {
    struct match match;  /* its arrays lie behind the type */
    struct tally *tally; /* of this thread, these subscribers and the type's counter; NULL: not
                            looked for yet */
    /* What listeners are given of an event that has subject, data and time only: all the rest is
     * there already. In use while `users` is not 0. With an id, also an empty one, the rest is to be
     * made anew: it was never made, or a listener's publish gave it that id (caller_current_id). */
    beck_event plain;
    uint32_t users; /* calls that iterate over it */
    uint32_t type_len;
    bool in_table;
    size_t room;       /* bytes behind this structure */
    struct held *next; /* among the spare ones */
    uint8_t type[];
};

struct table {
    struct held *recent; /* the one found last, in its place: publishers come in runs of one type */
    struct held *spare;
    struct held *places[TABLE_SIZE];
};

static inline size_t table_index(const struct subscribers *s, beck_bytes type)
{
    return bytes_hash(type.data, type.len, (uintptr_t)s) & (TABLE_SIZE - 1);
}

static inline bool held_is(const struct held *held, uint64_t generation, beck_bytes type)
{
    return held != NULL && held->match.generation == generation && held->type_len == type.len &&
           bytes_same(held->type, type.data, type.len);
}

static inline uint64_t subscribers_generation(const struct subscribers *s)
{
    return atomic_load_explicit(&s->generation, memory_order_seq_cst);
}

/* A match without work: NULL when this thread has no current one of the type. A type that it has one
 * of was given to subscribers_match before, so it needs no check again. */
static inline __attribute__((always_inline)) const struct match *subscribers_find(
    struct subscribers *s, struct caller *self, beck_bytes type)
{
    struct table *table = self->local;
    if (__builtin_expect(table == NULL, false))
        return NULL;
    uint64_t generation = subscribers_generation(s);
    if (__builtin_expect(held_is(table->recent, generation, type), true))
        return &table->recent->match;
    struct held *held = table->places[table_index(s, type)];
    if (!held_is(held, generation, type))
        return NULL;
    table->recent = held;
    return &held->match;
}

/* ---- calling ---- */

int listener_call_limited(struct subscribers *s, struct beck_listener *l, const beck_event *event);
void listener_report(struct subscribers *s, const struct beck_listener *l, const beck_event *event,
                     int result);
void subscribers_spare(struct caller *self, struct held *held);

/* Whether a call iterates over the match: then its plain event is being looked at. */
static inline bool subscribers_busy(const struct match *match)
{
    return ((const struct held *)match)->users > 0;
}

/* The plain event of a match that is not busy, to be filled in for subscribers_run. */
static inline beck_event *subscribers_plain(const struct match *match)
{
    return &((struct held *)match)->plain;
}

static inline uint32_t subscribers_call_each(struct subscribers *s, const struct match *match,
                                             const beck_event *event)
{
    uint32_t failed = 0;
    struct beck_listener **end = match->listeners + match->listener_count;
    for (struct beck_listener **each = match->listeners; each < end; each++) {
        struct beck_listener *l = *each;
        uint32_t state = atomic_load_explicit(&l->state, memory_order_acquire);
        int result;
        if (__builtin_expect(state == LISTENER_PLAIN, true))
            result = l->fn(l->ctx, event);
        else if (state == LISTENER_LIMITED)
            result = listener_call_limited(s, l, event);
        else
            continue;
        if (__builtin_expect(result != 0, false)) {
            failed++;
            listener_report(s, l, event, result);
        }
    }
    return failed;
}

/* Inside a section of `self`, whose current event this is: calls every listener of a valid match. Returns how many
 * failed. Nested publishes, subscribing and unsubscribing inside of calls leave the match valid until this
 * returns. */
static inline uint32_t subscribers_run_current(struct subscribers *s, struct caller *self,
                                               const struct match *match, const beck_event *event)
{
    struct held *held = (struct held *)match; /* its first member */
    held->users++;
    uint32_t failed = subscribers_call_each(s, match, event);
    if (__builtin_expect(--held->users == 0 && !held->in_table, false))
        subscribers_spare(self, held);
    return failed;
}

/* Whether a match has one listener only, for which no limit is counted. */
static inline bool subscribers_is_one(const struct match *match)
{
    return match->listener_count == 1 &&
           atomic_load_explicit(&match->listeners[0]->state, memory_order_acquire) ==
               LISTENER_PLAIN;
}

/* subscribers_run_current for that one; the match is not busy. */
static inline uint32_t subscribers_run_only(struct subscribers *s, struct caller *self,
                                            const struct match *match, const beck_event *event)
{
    struct held *held = (struct held *)match; /* its first member */
    const struct beck_listener *l = match->listeners[0];
    held->users = 1;
    int result = l->fn(l->ctx, event);
    if (__builtin_expect(result != 0, false))
        listener_report(s, match->listeners[0], event, result);
    held->users = 0;
    if (__builtin_expect(!held->in_table, false))
        subscribers_spare(self, held);
    return result != 0;
}

/* The same, with the event as this thread's current one meanwhile. */
static inline uint32_t subscribers_run(struct subscribers *s, struct caller *self,
                                       const struct match *match, const beck_event *event)
{
    if (match->listener_count == 0)
        return 0;
    struct caller_frame frame;
    caller_push(self, &frame, event);
    uint32_t failed = subscribers_run_current(s, self, match, event);
    caller_pop(self, &frame);
    return failed;
}

/* ---- counting ---- */

/* This thread's tally for that counter, made when there is none; NULL: no memory. */
struct tally *subscribers_tally(struct subscribers *s, struct caller *self,
                                struct counter *counter);

/* Counts one event of a valid match. Nobody else counts there, so it is no atomic addition, which
 * would cost as much as the rest of finding the listeners. */
static inline void subscribers_count_event(struct subscribers *s, struct caller *self,
                                           const struct match *match)
{
    struct held *held = (struct held *)match; /* its first member */
    if (__builtin_expect(held->tally == NULL, false)) {
        if (match->published == NULL)
            return;
        held->tally = subscribers_tally(s, self, match->published);
        if (held->tally == NULL) {
            counter_add(match->published, 1);
            return;
        }
    }
    uint64_t n = atomic_load_explicit(&held->tally->published, memory_order_relaxed);
    atomic_store_explicit(&held->tally->published, n + 1, memory_order_relaxed);
}

#endif
