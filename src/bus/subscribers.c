/*
 * Listeners and routes of one bus, and calling them.
 *
 * The truth is two tries under a lock. What a publish uses is a `held` match: the answer of the
 * tries for one type, kept in a table of the publishing thread and good for as long as the
 * generation of these subscribers has not moved. Generations are never used twice within a handle,
 * so a generation also says whose match it is, and one that is stale cannot become current again.
 *
 * A call iterates over a held match while its listeners publish, which may want the same place of
 * the table. So a held match counts its users: one that is replaced while in use leaves the table,
 * lives on until its last user is done, and then waits among the spare ones for its next content.
 *
 * A listener is unlinked from the trie first and retired then (callers.h). Calls that found it
 * before look at its state once more before they call it.
 */
#include "bus/subscribers_inline.h"
#include "event/event.h"
#include <inttypes.h>
#include <stdlib.h>

/* ---- the table of a thread ---- */

static void table_free(void *local)
{
    struct table *table = local;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        free(table->places[i]);
    while (table->spare != NULL) {
        struct held *held = table->spare;
        table->spare = held->next;
        free(held);
    }
    free(table);
}

static void held_spare(struct table *table, struct held *held)
{
    held->next = table->spare;
    table->spare = held;
}

/* A held match for this place, with room, its content undefined. NULL: no memory, and the place is
 * empty. */
static struct held *table_place(struct table *table, struct held **place, size_t room)
{
    struct held *held = *place;
    *place = NULL;
    table->recent = NULL;
    if (held != NULL && held->users > 0) {
        held->in_table = false; /* its last user puts it among the spare ones */
        held = NULL;
    }
    if (held == NULL && table->spare != NULL) {
        held = table->spare;
        table->spare = held->next;
    }
    if (held == NULL || held->room < room) {
        room = (room + 63) / 64 * 64;
        free(held);
        held = malloc(sizeof *held + room);
        if (held == NULL)
            return NULL;
        held->room = room;
    }
    held->users = 0;
    held->in_table = true;
    *place = held;
    return held;
}

void subscribers_spare(struct caller *self, struct held *held)
{
    held_spare(self->local, held);
}

static struct table *table_of(struct caller *self)
{
    if (self->local == NULL) {
        self->local = calloc(1, sizeof(struct table));
        self->local_release = table_free;
    }
    return self->local;
}

/* ---- matching ---- */

static int by_sequence(const void *a, const void *b)
{
    const struct beck_listener *x = *(struct beck_listener *const *)a;
    const struct beck_listener *y = *(struct beck_listener *const *)b;
    return (x->sequence > y->sequence) - (x->sequence < y->sequence);
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (void *const *)a;
    uintptr_t y = (uintptr_t) * (void *const *)b;
    return (x > y) - (x < y);
}

static void keep_each_once(struct trie_matches *m)
{
    size_t kept = 0;
    qsort(m->values, m->count, sizeof *m->values, by_address);
    for (size_t i = 0; i < m->count; i++)
        if (kept == 0 || m->values[kept - 1] != m->values[i])
            m->values[kept++] = m->values[i];
    m->count = kept;
}

/* Asks the tries; the answers are in found_listeners and found_routes. */
static beck_status search(struct subscribers *s, beck_bytes type)
{
    assert(mutex_held(&s->lock));
    beck_status status = trie_match(s->listeners, type, &s->found_listeners);
    if (status == BECK_OK)
        status = trie_match(s->routes, type, &s->found_routes);
    if (status != BECK_OK)
        return status;
    if (s->found_listeners.count > 1)
        qsort(s->found_listeners.values, s->found_listeners.count, sizeof(void *), by_sequence);
    if (s->found_routes.count > 1)
        keep_each_once(&s->found_routes);
    return BECK_OK;
}

static void held_fill(struct held *held, struct subscribers *s, beck_bytes type, size_t type_room)
{
    assert(mutex_held(&s->lock));
    size_t listeners = s->found_listeners.count, routes = s->found_routes.count;
    held->type_len = (uint32_t)type.len;
    memcpy(held->type, type.data, type.len);
    void **array = (void **)(void *)(held->type + type_room);
    if (listeners > 0)
        memcpy(array, s->found_listeners.values, listeners * sizeof(void *));
    if (routes > 0)
        memcpy(array + listeners, s->found_routes.values, routes * sizeof(void *));
    held->match = (struct match){
        .listeners = (struct beck_listener **)array,
        .listener_count = listeners,
        .routes = array + listeners,
        .route_count = routes,
        .generation = subscribers_generation(s),
        .published = s->counter ? s->counter(s->counter_ctx, type) : NULL,
    };
    held->tally = NULL;
    held->plain = (beck_event){.type = bytes_of(held->type, type.len), .id = beck_str("")};
}

static __attribute__((noinline)) const struct match *match_anew(struct subscribers *s,
                                                                struct caller *self,
                                                                beck_bytes type)
{
    assert(type.len > 0 && type.len <= EVENT_TYPE_MAX);
    struct table *table = table_of(self);
    if (table == NULL)
        return NULL;
    struct held *held = NULL;
    mutex_lock(&s->lock);
    if (search(s, type) == BECK_OK) {
        size_t type_room = (type.len + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
        size_t pointers = s->found_listeners.count + s->found_routes.count;
        held = table_place(table, &table->places[table_index(s, type)],
                           type_room + pointers * sizeof(void *));
        if (held != NULL)
            held_fill(held, s, type, type_room);
    }
    mutex_unlock(&s->lock);
    return held == NULL ? NULL : &held->match;
}

const struct match *subscribers_match(struct subscribers *s, struct caller *self, beck_bytes type)
{
    const struct match *match = subscribers_find(s, self, type);
    return __builtin_expect(match != NULL, true) ? match : match_anew(s, self, type);
}

/* Every match made before is stale from now on. */
static void move_generation(struct subscribers *s)
{
    assert(mutex_held(&s->lock));
    atomic_store_explicit(&s->generation, callers_generation(s->callers), memory_order_seq_cst);
}

/* ---- calling ---- */

void listener_report(struct subscribers *s, const struct beck_listener *l, const beck_event *event,
                     int result)
{
    if (s->report == NULL)
        return;
    beck_error error;
    int id_len = event->id.len < 64 ? (int)event->id.len : 64;
    error_set(&error, result < 0 && result >= BECK_EDENIED ? result : BECK_EIO,
              "listener of '%.*s' on bus '%s' returned %d for event '%.*s' with id '%.*s%s': the "
              "event went on to the others; see to the cause in the listener",
              (int)l->pattern_len, (const char *)l->pattern, s->bus_name, result,
              (int)event->type.len, (const char *)event->type.data, id_len,
              id_len == 0 ? "" : (const char *)event->id.data,
              event->id.len > (size_t)id_len ? "..." : "");
    s->report(s->report_ctx, &error);
}

/* Takes it out of the trie; false: it was out already. */
static bool unlink_listener(struct subscribers *s, struct beck_listener *l)
{
    assert(mutex_held(&s->lock));
    if (atomic_load_explicit(&l->state, memory_order_relaxed) == LISTENER_ENDED)
        return false;
    atomic_store_explicit(&l->state, LISTENER_ENDED, memory_order_release);
    bool found = trie_remove(s->listeners, bytes_of(l->pattern, l->pattern_len), l);
    assert(found);
    (void)found;
    atomic_fetch_sub_explicit(&s->listener_count, 1, memory_order_relaxed);
    move_generation(s);
    return true;
}

static void listener_drop(void *listener)
{
    struct beck_listener *l = listener;
    if (!atomic_exchange_explicit(&l->released, true, memory_order_acq_rel) && l->release != NULL)
        l->release(l->ctx);
    if (atomic_fetch_sub_explicit(&l->uses, 1, memory_order_acq_rel) == 1)
        free(l);
}

/* The last call that events_max allows has returned. */
static void listener_expire(struct subscribers *s, struct beck_listener *l)
{
    mutex_lock(&s->lock);
    bool expired = unlink_listener(s, l);
    if (expired)
        atomic_fetch_add_explicit(&l->uses, 1, memory_order_relaxed);
    mutex_unlock(&s->lock);
    if (expired)
        callers_retire_in(s->callers, &l->expired, l, listener_drop, false);
}

int listener_call_limited(struct subscribers *s, struct beck_listener *l, const beck_event *event)
{
    uint64_t call = atomic_fetch_add_explicit(&l->calls, 1, memory_order_relaxed) + 1;
    if (call > l->calls_max)
        return 0;
    int result = l->fn(l->ctx, event);
    if (call == l->calls_max)
        listener_expire(s, l);
    return result;
}

uint32_t subscribers_call(struct subscribers *s, struct caller *self, const beck_event *event)
{
    uint32_t failed = SUBSCRIBERS_NO_MEMORY;
    caller_enter(self);
    const struct match *match = subscribers_match(s, self, event->type);
    if (__builtin_expect(match != NULL, true))
        failed = subscribers_run(s, self, match, event);
    caller_leave(self);
    return failed;
}

bool subscribers_have_listeners(const struct subscribers *s)
{
    return atomic_load_explicit(&s->listener_count, memory_order_relaxed) > 0;
}

uint32_t subscribers_count(struct subscribers *s)
{
    return atomic_load_explicit(&s->listener_count, memory_order_relaxed);
}

/* ---- counting ---- */

void subscribers_count_by(struct subscribers *s,
                          struct counter *(*counter)(void *ctx, beck_bytes type), void *ctx)
{
    s->counter = counter;
    s->counter_ctx = ctx;
}

struct tally *subscribers_tally(struct subscribers *s, struct caller *self, struct counter *counter)
{
    mutex_lock(&s->lock);
    struct tally *t = s->tallies;
    while (t != NULL && (t->caller != self || t->counter != counter))
        t = t->next;
    if (t == NULL && (t = aligned_alloc(_Alignof(struct tally), sizeof *t)) != NULL) {
        *t = (struct tally){.caller = self, .counter = counter, .next = s->tallies};
        s->tallies = t;
    }
    mutex_unlock(&s->lock);
    return t;
}

void subscribers_sum_up(struct subscribers *s)
{
    mutex_lock(&s->lock);
    for (struct tally *t = s->tallies; t != NULL; t = t->next) {
        uint64_t published = atomic_load_explicit(&t->published, memory_order_relaxed);
        counter_add(t->counter, published - t->taken);
        t->taken = published;
    }
    mutex_unlock(&s->lock);
}

/* ---- changing ---- */

beck_status subscribers_new(struct callers *callers, const char *bus_name, beck_error_fn report,
                            void *report_ctx, struct subscribers **out)
{
    struct subscribers *s = aligned_alloc(_Alignof(struct subscribers), sizeof *s);
    if (s == NULL)
        return BECK_ENOMEM;
    memset(s, 0, sizeof *s);
    s->bus_name = strdup(bus_name);
    s->listeners = trie_new();
    s->routes = trie_new();
    if (s->bus_name == NULL || s->listeners == NULL || s->routes == NULL) {
        trie_free(s->listeners);
        trie_free(s->routes);
        free(s->bus_name);
        free(s);
        return BECK_ENOMEM;
    }
    s->callers = callers;
    s->report = report;
    s->report_ctx = report_ctx;
    mutex_init(&s->lock);
    atomic_init(&s->generation, callers_generation(callers));
    *out = s;
    return BECK_OK;
}

void subscribers_free(struct subscribers *s)
{
    if (s == NULL)
        return;
    while (s->first != NULL) {
        struct beck_listener *l = s->first;
        s->first = l->next;
        listener_drop(l);
    }
    while (s->tallies != NULL) {
        struct tally *t = s->tallies;
        s->tallies = t->next;
        free(t);
    }
    trie_free(s->listeners);
    trie_free(s->routes);
    trie_matches_release(&s->found_listeners);
    trie_matches_release(&s->found_routes);
    mutex_release(&s->lock);
    free(s->bus_name);
    free(s);
}

static struct beck_listener *listener_new(struct subscribers *s, beck_bytes pattern,
                                          beck_listener_fn fn, void *ctx,
                                          const beck_listener_options *options)
{
    struct beck_listener *l = calloc(1, sizeof *l + pattern.len);
    if (l == NULL)
        return NULL;
    l->fn = fn;
    l->ctx = ctx;
    l->subscribers = s;
    l->pattern_len = pattern.len;
    memcpy(l->pattern, pattern.data, pattern.len);
    if (options != NULL) {
        l->calls_max = options->events_max;
        l->release = options->release;
    }
    atomic_init(&l->state, l->calls_max > 0 ? LISTENER_LIMITED : LISTENER_PLAIN);
    atomic_init(&l->uses, 1);
    return l;
}

static void list_append(struct subscribers *s, struct beck_listener *l)
{
    assert(mutex_held(&s->lock));
    l->previous = s->last;
    *(s->last == NULL ? &s->first : &s->last->next) = l;
    s->last = l;
}

static void list_remove(struct subscribers *s, struct beck_listener *l)
{
    assert(mutex_held(&s->lock));
    *(l->previous == NULL ? &s->first : &l->previous->next) = l->next;
    *(l->next == NULL ? &s->last : &l->next->previous) = l->previous;
}

beck_status subscribers_add(struct subscribers *s, beck_bytes pattern, beck_listener_fn fn,
                            void *ctx, const beck_listener_options *options, beck_listener **out,
                            beck_error *err)
{
    if (fn == NULL)
        return error_set(err, BECK_EINVAL, "no function to call: give one to the subscription");
    beck_status status = pattern_check(pattern, err);
    if (status != BECK_OK)
        return status;
    struct beck_listener *l = listener_new(s, pattern, fn, ctx, options);
    if (l == NULL)
        return error_set(err, BECK_ENOMEM, "no memory for a listener");
    mutex_lock(&s->lock);
    status = trie_add(s->listeners, pattern, l, err);
    if (status == BECK_OK) {
        l->sequence = ++s->sequence;
        list_append(s, l);
        atomic_fetch_add_explicit(&s->listener_count, 1, memory_order_relaxed);
        move_generation(s);
        if (out != NULL)
            *out = l;
    }
    mutex_unlock(&s->lock);
    if (status != BECK_OK)
        free(l);
    return status;
}

void subscribers_remove(beck_listener *l)
{
    struct subscribers *s = l->subscribers;
    struct caller *self = callers_self(s->callers);
    mutex_lock(&s->lock);
    unlink_listener(s, l);
    list_remove(s, l);
    mutex_unlock(&s->lock);
    bool inside = self != NULL && caller_in_section(self);
    callers_retire_in(s->callers, &l->removed, l, listener_drop, !inside);
}

beck_status subscribers_add_route(struct subscribers *s, beck_bytes pattern, void *route,
                                  beck_error *err)
{
    beck_status status = pattern_check(pattern, err);
    if (status != BECK_OK)
        return status;
    mutex_lock(&s->lock);
    status = trie_add(s->routes, pattern, route, err);
    if (status == BECK_OK)
        move_generation(s);
    mutex_unlock(&s->lock);
    return status;
}

bool subscribers_remove_route(struct subscribers *s, beck_bytes pattern, void *route)
{
    mutex_lock(&s->lock);
    bool found = trie_remove(s->routes, pattern, route);
    if (found)
        move_generation(s);
    mutex_unlock(&s->lock);
    return found;
}
