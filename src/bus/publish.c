/*
 * Publishing to a bus: events are checked, put into partitions, routed, appended, and given to
 * listeners; or given to listeners only, where nothing is routed from a bus in memory.
 */
#include "bus/publish_impl.h"
#include "bus/subscribers_inline.h"
#include "event/plain.h"
#include "log/committer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static beck_status publish_begin(struct publish *u, const beck_event *events, beck_error *err)
{
    size_t count = u->count;
    /* Listeners see the event with its position; what is published while another event is
     * handled gets its ids. */
    bool copy = subscribers_have_listeners(u->bus->subscribers) ||
                (caller_current(u->self) && !u->options->no_context);
    u->given = events;
    u->events = copy ? u->stack_events : NULL;
    u->memory = NULL;
    u->list = u->stack_list;
    u->partition = u->stack_partition;
    u->stored = u->stack_stored;
    u->routes = u->stack_routes;
    u->route_cap = PUBLISH_ON_STACK;
    u->route_count = 0;
    if (count <= PUBLISH_ON_STACK)
        return BECK_OK;
    size_t each =
        sizeof *u->list + sizeof *u->stored + sizeof *u->partition + (copy ? sizeof *u->events : 0);
    u->memory = malloc(count * each);
    if (!u->memory)
        return error_set(err, BECK_ENOMEM, "no memory to publish %zu events", count);
    u->list = (const beck_event **)u->memory;
    u->stored = (struct stored *)(u->list + count);
    if (copy)
        u->events = (beck_event *)(u->stored + count);
    u->partition = copy ? (uint32_t *)(u->events + count) : (uint32_t *)(u->stored + count);
    return BECK_OK;
}

void publish_end(struct publish *u)
{
    free(u->memory);
    if (u->routes != u->stack_routes)
        free(u->routes);
}

/* Correlation and causation follow from the event that this thread is handling. */
static void add_context(const beck_bus *b, struct caller *self, beck_event *e)
{
    const beck_event *cause = caller_current(self);
    if (!cause)
        return;
    if (!e->causationid.len)
        e->causationid = caller_current_id(self, b->env->clock);
    if (!e->correlationid.len)
        e->correlationid = cause->correlationid.len ? cause->correlationid
                                                    : caller_current_id(self, b->env->clock);
}

void bus_add_context(const beck_bus *b, struct caller *self, beck_event *e)
{
    add_context(b, self, e);
}

static inline uint32_t count_partitions(const beck_bus *b)
{
    return atomic_load_explicit(&b->partition_count, memory_order_acquire);
}

static void choose_partition(struct publish *u, size_t i, uint32_t turn)
{
    beck_bus *b = u->bus;
    uint32_t count = count_partitions(b);
    assert(count > 0);
    if (u->options->partition_plus_1 > 0)
        u->partition[i] = (uint32_t)u->options->partition_plus_1 - 1;
    else if (count == 1)
        u->partition[i] = 0;
    else if (u->given[i].subject.len)
        u->partition[i] = bus_partition_of(u->given[i].subject, count);
    else
        u->partition[i] = turn % count;
    if (u->events)
        u->events[i].position.partition = u->partition[i];
}

static beck_status reserve_routes(struct publish *u, size_t more, beck_error *err)
{
    size_t need = u->route_count + more, cap = u->route_cap;
    if (need <= cap)
        return BECK_OK;
    while (cap < need)
        cap *= 2;
    bool on_stack = u->routes == u->stack_routes;
    struct routed *grown = realloc(on_stack ? NULL : u->routes, cap * sizeof *grown);
    if (!grown)
        return error_set(err, BECK_ENOMEM, "no memory to route events");
    if (on_stack)
        memcpy(grown, u->stack_routes, sizeof u->stack_routes);
    u->routes = grown;
    u->route_cap = cap;
    return BECK_OK;
}

void publish_drop_routes(struct publish *u, struct partition *p)
{
    for (size_t i = 0; i < u->route_count; i++)
        u->routes[i].offset = -1;
    if (u->route_count > 0)
        u->bus->routing.routed(u->bus->routing.ctx, p, u->routes, u->route_count);
    u->route_count = 0;
}

/* What deduplication found was not handed on again. */
static void drop_known(struct publish *u, struct partition *p, const struct stored *stored)
{
    size_t known = 0;
    for (size_t i = 0; i < u->route_count; i++)
        if (stored[u->routes[i].offset].known)
            u->routes[known++] = u->routes[i];
    u->route_count = known;
    publish_drop_routes(u, p);
}

static bool same_slice(beck_bytes a, beck_bytes b)
{
    return a.data == b.data && a.len == b.len;
}

/* Routes events [first, end), which have one type and go to the same queues: each route, of
 * which the first `matched` are by patterns, admits them together, and gets them as one where each
 * is like the others. Those that are known (NULL: none) are left out. */
static beck_status route_run(struct publish *u, void *const *routes, size_t route_count,
                             size_t matched, size_t first, size_t end, const struct stored *known,
                             beck_error *err)
{
    size_t admitted = 0, count = 0, bytes = 0;
    uint64_t differ = u->one_by_one;
    for (size_t i = first; i < end; i++) {
        const beck_event *e = u->list[i];
        bool skip = known && known[i].known;
        count += !skip;
        bytes += skip ? 0 : e->data.len;
        differ |= (uint64_t)e->deliver_at_ms | (uint64_t)e->expires_at_ms | e->priority | skip;
    }
    if (count == 0)
        return BECK_OK;
    beck_status status = reserve_routes(u, route_count * (differ ? count : 1), err);
    while (!status && admitted < route_count) {
        status = u->bus->routing.admit(routes[admitted], count, bytes, err);
        admitted += !status;
    }
    for (size_t i = first; i < (differ ? end : first + 1); i++) {
        const beck_event *e = u->list[i];
        if (known && known[i].known)
            continue;
        for (size_t r = 0; r < admitted; r++)
            u->routes[u->route_count++] = (struct routed){.route = routes[r],
                                                          .offset = (int64_t)i,
                                                          .deliver_at_ms = e->deliver_at_ms,
                                                          .expires_at_ms = e->expires_at_ms,
                                                          .bytes = differ ? e->data.len : bytes,
                                                          .count = differ ? 1 : (uint32_t)count,
                                                          .priority = (uint16_t)e->priority,
                                                          .addressed = r >= matched};
    }
    return status;
}

static bool same_way(const struct publish *u, size_t a, size_t b)
{
    return same_slice(u->list[a]->type, u->list[b]->type) &&
           (!u->to || addressing_same(&u->to[a], &u->to[b]));
}

beck_status publish_route(struct publish *u, size_t count, const struct stored *known,
                          beck_error *err)
{
    beck_status status = BECK_OK;
    struct subscribers *s = u->bus->subscribers;
    bool matched = atomic_load_explicit(&u->bus->route_count, memory_order_acquire) > 0;
    caller_enter(u->self);
    for (size_t first = 0, end; first < count && !status; first = end) {
        end = u->one_type && !u->to ? count : first + 1;
        while (end < count && same_way(u, end, first))
            end++;
        const struct match *m =
            matched ? subscribers_match(s, u->self, u->list[first]->type) : NULL;
        void *const *routes;
        size_t n;
        if ((matched && !m) ||
            addressing_routes(&u->addressing, m, u->to ? &u->to[first] : NULL, &routes, &n))
            status = error_set(err, BECK_ENOMEM, "no memory to route an event");
        else if (n > 0)
            status = route_run(u, routes, n, m ? m->route_count : 0, first, end, known, err);
    }
    caller_leave(u->self);
    return status;
}

/* What is stored already needs no room in a queue: it gets its answer also when one is full. */
static beck_status route_unknown(struct publish *u, struct partition *p, size_t count,
                                 struct stored *stored, beck_error *err)
{
    beck_error why = {0};
    for (size_t i = 0; i < count; i++)
        stored[i].known = false;
    beck_status status = publish_route(u, count, NULL, &why);
    if (status == BECK_ELIMIT) {
        publish_drop_routes(u, p);
        partition_find_known(p, u->list, count, stored);
        return publish_route(u, count, stored, err);
    }
    return status ? error_set(err, status, "%s", why.text) : BECK_OK;
}

/* Appends the first `count` of u->list to a partition. */
static beck_status append_list(struct publish *u, uint32_t partition, size_t count,
                               struct append *a, beck_error *err)
{
    beck_bus *b = u->bus;
    struct partition *p = bus_partition(b, partition);
    for (;;) {
        beck_status status = BECK_OK;
        a->generation = atomic_load_explicit(&b->topology, memory_order_acquire);
        u->one_by_one = atomic_load_explicit(&b->dedup_window_ms, memory_order_relaxed) > 0;
        if (u->one_by_one)
            status = route_unknown(u, p, count, a->stored, err);
        else if (u->to || atomic_load_explicit(&b->route_count, memory_order_acquire) > 0)
            status = publish_route(u, count, NULL, err);
        if (status) {
            publish_drop_routes(u, p);
            return status;
        }
        a->events = u->list;
        a->carried = u->carried;
        a->look_at_known = u->one_by_one;
        a->count = count;
        a->routes = u->routes;
        a->route_count = u->route_count;
        a->level = u->level;
        status = partition_append(p, a, err);
        if (status == BECK_OK) {
            bus_note_published(b);
            if (a->duplicates > 0)
                drop_known(u, p, a->stored);
            u->route_count = 0;
            return BECK_OK;
        }
        /* Routes of events that were gathered went to the gather and come back from there. */
        if (a->first_offset < 0)
            publish_drop_routes(u, p);
        u->route_count = 0;
        if (status != PARTITION_STALE)
            return status;
    }
}

/* The completion of a publish that went to several partitions. */
struct join {
    _Atomic(uint32_t) left;
    _Atomic(int) status;
    beck_published published;
    beck_done_fn done;
    void *ctx;
    struct callers *callers;
};

static void join_part(void *ctx, beck_status status, int64_t first_offset)
{
    struct join *j = ctx;
    (void)first_offset;
    int ok = BECK_OK;
    if (status)
        atomic_compare_exchange_strong(&j->status, &ok, status);
    if (atomic_fetch_sub(&j->left, 1) != 1)
        return;
    if (j->done)
        j->done(j->ctx, atomic_load(&j->status), &j->published);
    free(j);
}

/* From whoever led the round: what that thread is handling has nothing to do with it. */
static void join_part_synced(void *ctx, beck_status status, int64_t first_offset)
{
    struct join *j = ctx;
    struct caller *self = callers_self(j->callers);
    struct caller_frame nothing;
    if (self)
        caller_push(self, &nothing, NULL);
    join_part(ctx, status, first_offset);
    if (self)
        caller_pop(self, &nothing);
}

static inline const beck_event *listed(const struct publish *u, size_t i)
{
    return u->events ? &u->events[i] : &u->given[i];
}

/* Appends the first `n` of the list, which are those with these indices (NULL: all), to a partition. */
static beck_status append_part(struct publish *u, uint32_t partition, const size_t *index, size_t n,
                               struct stored *stored, struct join *join, beck_published *out,
                               beck_error *err)
{
    beck_status status = addressing_part(&u->addressing, index, n, &u->to, &u->carried, err);
    if (status)
        return status;
    struct append a = {.stored = stored, .first_offset = -1};
    if (join) {
        a.done = join_part_synced;
        a.done_ctx = join;
        if (u->level == BECK_LEVEL_SYNCED)
            atomic_fetch_add(&join->left, 1);
    }
    status = append_list(u, partition, n, &a, err);
    if (status && a.done && u->level == BECK_LEVEL_SYNCED)
        atomic_fetch_sub(&join->left, 1);
    if (!status && (!index || index[0] == 0))
        out->position = (beck_position){partition, a.first_offset};
    out->duplicates += a.duplicates;
    return status;
}

static beck_status append_by_partition(struct publish *u, struct join *join, beck_published *out,
                                       beck_error *err)
{
    if (!u->several)
        return append_part(u, u->partition[0], NULL, u->count, u->stored, join, out, err);
    beck_status status = BECK_OK;
    size_t *index = malloc(u->count * sizeof *index);
    struct stored *part = malloc(u->count * sizeof *part);
    if (!index || !part)
        status = error_set(err, BECK_ENOMEM, "no memory to publish %zu events", u->count);
    for (size_t first = 0; first < u->count && !status; first++) {
        uint32_t partition = u->partition[first];
        if (partition == UINT32_MAX)
            continue;
        size_t n = 0;
        for (size_t i = first; i < u->count; i++) {
            if (u->partition[i] != partition)
                continue;
            u->list[n] = listed(u, i);
            u->partition[i] = UINT32_MAX;
            index[n++] = i;
        }
        status = append_part(u, partition, index, n, part, join, out, err);
        for (size_t i = 0; i < n && !status; i++)
            u->stored[index[i]] = part[i];
    }
    free(index);
    free(part);
    return status;
}

/* Without memory for a match they are not counted. */
static void count_stored(struct publish *u, bool some_known)
{
    beck_bus *b = u->bus;
    caller_enter(u->self);
    for (size_t first = 0, end; first < u->count; first = end) {
        end = u->one_type ? u->count : first + 1;
        while (end < u->count && same_slice(u->given[end].type, u->given[first].type))
            end++;
        uint64_t stored = end - first;
        for (size_t i = first; i < end && some_known; i++)
            stored -= u->stored[i].known;
        const struct match *m = subscribers_match(b->subscribers, u->self, u->given[first].type);
        if (m && m->published && stored > 0)
            counter_add(m->published, stored);
    }
    caller_leave(u->self);
}

uint32_t publish_call_stored(beck_bus *b, struct caller *self, const beck_event *e)
{
    uint32_t failed = subscribers_call(b->subscribers, self, e);
    if (failed != SUBSCRIBERS_NO_MEMORY)
        return failed;
    env_report(b->env, BECK_ENOMEM,
               "no memory to find the listeners of event \"%.*s\" of bus \"%s\": it is "
               "stored, and none of them was called",
               (int)e->id.len, (const char *)e->id.data, b->name);
    return 1;
}

static void call_listeners(struct publish *u, beck_published *out)
{
    beck_bus *b = u->bus;
    /* Without copies there was no listener when this began. */
    if (!u->events || !subscribers_have_listeners(b->subscribers))
        return;
    for (size_t i = 0; i < u->count; i++) {
        beck_event *e = &u->events[i];
        if (u->stored[i].known)
            continue;
        e->position.offset = u->stored[i].offset;
        if (!e->source.len)
            e->source = bytes_of(b->source, b->name_len + 1);
        if (!e->id.len && e->position.offset >= 0) {
            int n = snprintf(u->id, sizeof u->id, "%s/%u/%lld", b->name, e->position.partition,
                             (long long)e->position.offset);
            e->id = bytes_of(u->id, (size_t)n);
        }
        out->listeners_failed += publish_call_stored(b, u->self, e);
    }
    if (out->listeners_failed && b->listener_failures)
        counter_add(b->listener_failures, out->listeners_failed);
}

static void copy_event(struct publish *u, const beck_event *event, int64_t *now_ns, beck_event *e)
{
    beck_bus *b = u->bus;
    *e = *event;
    if (!u->options->no_context)
        add_context(b, u->self, e);
    if (!e->time_ns) {
        *now_ns = *now_ns ? *now_ns : clock_wall_ns(b->env->clock) / 1000000 * 1000000;
        e->time_ns = *now_ns;
    }
    e->bus = bytes_of(b->name, b->name_len);
    e->position = (beck_position){0, -1};
}

static beck_status prepare(struct publish *u, beck_error *err)
{
    uint32_t turn = 0;
    int64_t now_ns = 0;
    if (count_partitions(u->bus) > 1)
        turn = atomic_fetch_add_explicit(&u->bus->turn, 1, memory_order_relaxed);
    u->one_type = true;
    u->several = false;
    for (size_t i = 0; i < u->count; i++) {
        const beck_event *e = &u->given[i];
        bool known_type = i > 0 && same_slice(e->type, e[-1].type), plain = plain_event(e);
        if (!known_type || !plain) {
            beck_status status = known_type ? event_check_rest(e, err) : event_check(e, err);
            if (status)
                return status;
            u->one_type &= known_type || i == 0;
        }
        if (u->events)
            copy_event(u, e, &now_ns, &u->events[i]);
        choose_partition(u, i, turn);
        u->several |= u->partition[i] != u->partition[0];
        u->list[i] = listed(u, i);
    }
    return BECK_OK;
}

/* The match of the event's type, whose first use checks it. Inside of a section. */
static beck_status match_checked(beck_bus *b, struct caller *self, const beck_event *event,
                                 const struct match **m, beck_error *err)
{
    beck_status status = *m ? event_check_rest(event, err) : event_check(event, err);
    if (status || *m)
        return status;
    *m = subscribers_match(b->subscribers, self, event->type);
    return *m ? BECK_OK
              : error_set(err, BECK_ENOMEM, "no memory to find the listeners of an event");
}

/* What listeners see of a plain event: with subject, data and time only, the rest is the same each time. */
static inline __attribute__((always_inline)) const beck_event *show_plain(beck_bus *b,
                                                                          const struct match *m,
                                                                          const beck_event *event)
{
    beck_event *e = subscribers_plain(m);
    if (__builtin_expect(e->id.data != NULL, false)) {
        e->id = (beck_bytes){0};
        e->source = bytes_of(b->source, b->name_len + 1);
        e->bus = bytes_of(b->name, b->name_len);
        e->position = (beck_position){0, -1};
    }
    e->subject = event->subject;
    e->data = event->data;
    e->time_ns = event->time_ns;
    return e;
}

static __attribute__((noinline)) uint32_t call_copy(beck_bus *b, struct caller *self,
                                                    const struct match *m, const beck_event *event,
                                                    bool no_context)
{
    beck_event e = *event;
    if (!no_context && caller_current(self))
        add_context(b, self, &e);
    if (!event->source.len)
        e.source = bytes_of(b->source, b->name_len + 1);
    e.bus = bytes_of(b->name, b->name_len);
    e.position = (beck_position){0, -1};
    return subscribers_run(b->subscribers, self, m, &e);
}

/* One event to the listeners, not stored. In steady state: no lock, no allocation, no atomic
 * addition, and the type is not even looked at again. */
static beck_status call_inline(beck_bus *b, struct caller *self, const beck_event *event,
                               bool no_context, uint32_t *failed, beck_error *err)
{
    beck_status status = BECK_OK;
    caller_enter(self);
    const struct match *m = subscribers_find(b->subscribers, self, event->type);
    bool plain = plain_event(event);
    if (__builtin_expect(!m || !plain, false))
        status = match_checked(b, self, event, &m, err);
    if (!status) {
        subscribers_count_event(b->subscribers, self, m);
        plain = plain && (no_context || !caller_current(self)) && !subscribers_busy(m);
        if (m->listener_count > 0)
            *failed += plain ? subscribers_run(b->subscribers, self, m, show_plain(b, m, event))
                             : call_copy(b, self, m, event, no_context);
    }
    caller_leave(self);
    return status;
}

/* A memory bus that nothing is routed from. */
static inline bool is_inline(const beck_bus *b)
{
    return atomic_load_explicit(&b->detours, memory_order_acquire) == 0;
}

static beck_status publish_inline(beck_bus *b, struct caller *self, const beck_event *events,
                                  size_t count, bool no_context, beck_published *out,
                                  beck_error *err)
{
    beck_status status = BECK_OK;
    /* All or none: with one event the check and the call are one. */
    for (size_t i = 0; i < count && count > 1 && !status; i++)
        status = event_check(&events[i], err);
    for (size_t i = 0; i < count && !status; i++)
        status = call_inline(b, self, &events[i], no_context, &out->listeners_failed, err);
    if (out->listeners_failed && b->listener_failures)
        counter_add(b->listener_failures, out->listeners_failed);
    return status;
}

static beck_status publish_check(beck_bus *b, size_t count, const beck_publish_options *o,
                                 beck_error *err)
{
    if (atomic_load_explicit(&b->closed, memory_order_acquire))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", b->name);
    if (count > PUBLISH_EVENTS_MAX)
        return error_set(err, BECK_ELIMIT, "%zu events in one publish; at most %d", count,
                         PUBLISH_EVENTS_MAX);
    if (o->partition_plus_1 < 0 || (uint32_t)o->partition_plus_1 > count_partitions(b))
        return error_set(err, BECK_EINVAL, "bus \"%s\" has no partition %d; it has 0 to %u",
                         b->name, o->partition_plus_1 - 1, count_partitions(b) - 1);
    if (o->level > BECK_LEVEL_SYNCED)
        return error_set(err, BECK_EINVAL, "there is no level %d", (int)o->level);
    if (b->env->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    return BECK_OK;
}

static beck_status publish_stored(struct publish *u, const beck_event *events,
                                  const struct bus_addressed *to, beck_published *out,
                                  beck_error *err)
{
    struct join *join = NULL;
    beck_status status = publish_begin(u, events, err);
    if (status)
        return status;
    u->addressing = (struct addressing){.to = NULL};
    status = prepare(u, err);
    if (!status)
        status = addressing_init(&u->addressing, u->bus, u->self, u->given, to, u->count, err);
    if (!status && u->options->done) {
        join = calloc(1, sizeof *join);
        if (!join) {
            status = error_set(err, BECK_ENOMEM, "no memory for a completion");
        } else {
            join->done = u->options->done;
            join->ctx = u->options->done_ctx;
            join->callers = u->bus->callers;
            atomic_store(&join->left, 1);
        }
    }
    if (!status)
        status = append_by_partition(u, join, out, err);
    if (!status) {
        count_stored(u, out->duplicates > 0);
        call_listeners(u, out);
    }
    if (join && status) {
        /* Refused here: done is not called for what this call reports itself. Parts that were
         * accepted end silently. */
        join->done = NULL;
    }
    if (join) {
        join->published = *out;
        if (join->done) {
            join_part(join, BECK_OK, 0);
        } else if (atomic_fetch_sub(&join->left, 1) == 1) {
            free(join);
        }
    }
    addressing_release(&u->addressing, u->bus);
    publish_end(u);
    return status;
}

static __attribute__((noinline)) beck_status refuse_nested(const beck_bus *b, beck_error *err)
{
    return error_set(
        err, BECK_ELIMIT,
        "listeners that publish are %d deep, at bus \"%s\": do they call each other in a circle? "
        "Let one of them take from a queue instead",
        CALLERS_NESTED_MAX, b->name);
}

static inline bool too_deep(const struct caller *self)
{
    return __builtin_expect(self->depth >= CALLERS_NESTED_MAX, false);
}

beck_status bus_publish(beck_bus *b, const beck_event *events, size_t count,
                        const beck_publish_options *options, beck_published *out, beck_error *err)
{
    return bus_publish_addressed(b, events, NULL, count, options, out, err);
}

beck_status bus_publish_addressed(beck_bus *b, const beck_event *events,
                                  const struct bus_addressed *to, size_t count,
                                  const beck_publish_options *options, beck_published *out,
                                  beck_error *err)
{
    static const beck_publish_options defaults;
    const beck_publish_options *o = options ? options : &defaults;
    beck_status status = publish_check(b, count, o, err);
    if (status || count == 0)
        return status;
    struct caller *self = callers_self(b->callers);
    if (!self)
        return error_set(err, BECK_ENOMEM, "no memory for this thread");
    if (too_deep(self))
        return refuse_nested(b, err);
    beck_published published = {.position = {0, -1}};
    if (to || !is_inline(b)) {
        struct publish u;
        u.bus = b;
        u.options = o;
        u.count = count;
        u.level =
            o->level ? o->level : (beck_level)atomic_load_explicit(&b->level, memory_order_relaxed);
        /* There is no sync to wait for in memory, nor when syncs run by the clock. */
        if (u.level == BECK_LEVEL_SYNCED &&
            (b->options.storage == BECK_STORAGE_MEMORY || committer_by_interval(b->env->committer)))
            u.level = BECK_LEVEL_WRITTEN;
        u.self = self;
        status = publish_stored(&u, events, to, &published, err);
    } else {
        status = publish_inline(b, self, events, count, o->no_context, &published, err);
        if (!status && o->done)
            o->done(o->done_ctx, BECK_OK, &published);
    }
    if (!status && out)
        *out = published;
    return status;
}

static __attribute__((noinline)) beck_status publish_one(beck_bus *b, struct caller *self,
                                                         const beck_event *event, beck_error *err)
{
    if (!self)
        return error_set(err, BECK_ENOMEM, "no memory for this thread");
    if (too_deep(self))
        return refuse_nested(b, err);
    uint32_t failed = 0;
    beck_status status = call_inline(b, self, event, false, &failed, err);
    if (failed > 0 && b->listener_failures)
        counter_add(b->listener_failures, failed);
    return status;
}

static __attribute__((noinline)) uint32_t run_several(const beck_bus *b, struct caller *self,
                                                      const struct match *m,
                                                      const beck_event *event)
{
    return subscribers_run_current(b->subscribers, self, m, event);
}

/* What most publishes in memory are is done here, in as few steps as can be: a plain event of a type that this
 * thread has published before, by a thread that handles nothing. */
beck_status bus_publish_one(beck_bus *b, const beck_event *event, beck_error *err)
{
    if (__builtin_expect(!is_inline(b), false))
        return bus_publish(b, event, 1, NULL, NULL, err);
    struct caller *self = callers_self(b->callers);
    if (__builtin_expect(!self || !caller_is_idle(self), false))
        return publish_one(b, self, event, err);
    struct caller_frame frame;
    caller_begin(self, &frame);
    const struct match *m = subscribers_find(b->subscribers, self, event->type);
    if (__builtin_expect(!m || !plain_event(event), false)) {
        caller_end(self);
        return publish_one(b, self, event, err);
    }
    subscribers_count_event(b->subscribers, self, m);
    frame.event = show_plain(b, m, event);
    uint32_t failed = __builtin_expect(subscribers_is_one(m), true)
                          ? subscribers_run_only(b->subscribers, self, m, frame.event)
                          : run_several(b, self, m, frame.event);
    caller_end(self);
    if (__builtin_expect(failed > 0, false) && b->listener_failures)
        counter_add(b->listener_failures, failed);
    return BECK_OK;
}

void bus_count_published(beck_bus *b)
{
    subscribers_sum_up(b->subscribers);
}
