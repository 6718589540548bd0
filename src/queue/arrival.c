/*
 * What publishers bring: whether there is room for it, and the hook of partitions that lists it.
 *
 * Where each event goes to several queues, the hook is given their items in turns. They are sorted
 * by queue, some hundred at once, so that a queue's lock is taken for many.
 */
#include "queue/queue_impl.h"

/* With so many more. Dead letters that nobody has taken yet count too. */
static int64_t length_with(const struct queue *q, size_t count)
{
    return queue_ready(q) + (int64_t)q->limbo_waiting + atomic_load(&q->admitted) + (int64_t)count;
}

static beck_status refuse_full(const struct queue *q, size_t count, beck_error *err)
{
    const struct queue_rules *r = &q->rules;
    if (r->bytes_max && (!r->length_max || length_with(q, count) <= r->length_max))
        return error_set(err, BECK_ELIMIT,
                         "queue \"%s\" is full: %lld bytes of data are its bytes_max; add "
                         "consumers or raise it",
                         q->name, (long long)r->bytes_max);
    return error_set(err, BECK_ELIMIT,
                     "queue \"%s\" is full: %lld events are its length_max; add consumers, or "
                     "raise it (beck queue alter)",
                     q->name, (long long)r->length_max);
}

static bool has_room(const struct queue *q, size_t count, size_t bytes)
{
    const struct queue_rules *r = &q->rules;
    int64_t events = length_with(q, count);
    int64_t data =
        q->ready_bytes + q->waiting_bytes + atomic_load(&q->admitted_bytes) + (int64_t)bytes;
    return r->overflow != BECK_OVERFLOW_REFUSE ||
           ((!r->length_max || events <= r->length_max) && (!r->bytes_max || data <= r->bytes_max));
}

beck_status queue_admit(void *route, size_t count, size_t bytes, beck_error *err)
{
    struct queue *q = route;
    beck_status status = BECK_OK;
    bool refuses = atomic_load_explicit(&q->refuses, memory_order_relaxed);
    bool limbo = false;
    if (refuses) {
        mutex_lock(&q->lock);
        if (!has_room(q, count, bytes)) {
            queue_expire_behind(q, clock_wall_ms(q->home->env->clock));
            limbo = queue_limbo_has_work(q);
        }
        if (!has_room(q, count, bytes))
            status = refuse_full(q, count, err);
    }
    if (!status) {
        atomic_fetch_add_explicit(&q->admitted, (int64_t)count, memory_order_relaxed);
        atomic_fetch_add_explicit(&q->admitted_bytes, (int64_t)bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&q->refs, (uint32_t)count, memory_order_relaxed);
    }
    if (refuses)
        mutex_unlock(&q->lock);
    if (limbo && q->home->due)
        q->home->due(q->home->due_ctx, &q->due, clock_mono_ns(q->home->env->clock));
    return status;
}

/* Events that the hook brings, of this source. With the lock. Returns how many, from the first on, are
 * kept: the others were brought before, or are read from the log later (*behind: soon). */
static uint32_t arrive(struct queue *q, uint32_t source, const struct routed *item, int64_t now_ms,
                       bool *behind)
{
    if (source == UINT32_MAX || q->deleted)
        return 0;
    struct source *s = &q->sources[source];
    if (item->offset == ROUTED_LATER && s->live) {
        s->live = false;
        s->waits = true;
    }
    if (item->offset < 0)
        return 0;
    *behind |= s->waits;
    if (!s->live)
        return 0;
    if (item->addressed && (!s->joined || item->offset < s->routed)) /* named twice */
        return 0;
    beck_error why;
    error_clear(&why);
    uint32_t kept;
    if (queue_route_run(q, source, item, now_ms, &kept, &why)) {
        env_report(q->home->env, why.code,
                   "queue \"%s\" cannot list an event now (%s); it is read again from the log",
                   q->name, why.text);
        s->live = false;
    }
    if (kept > 0)
        s->routed = item->offset + kept;
    return kept;
}

/* Dead letters that the hook brings; returns how many are kept. With the lock. */
static uint32_t arrive_dead(struct queue *q, const struct routed *item)
{
    uint32_t kept = 0;
    while (item->offset >= 0 && kept < item->count && !dead_add(q, item->offset + kept))
        kept++;
    return kept;
}

/* What one publish brings to one queue. */
struct arrival {
    struct queue_home *home;
    struct partition *partition;
    const struct routed *items;
    const uint16_t *next; /* of each item, the next one of its queue; NULL: they are neighbours */
    int64_t now_ms;
    bool dead; /* they are dead letters */
};

#define DROPPED_AT_ONCE 32

static void bring(const struct arrival *a, size_t first, size_t count)
{
    struct partition *p = a->partition;
    struct queue *q = a->items[first].route;
    int64_t dropped[DROPPED_AT_ONCE];
    int64_t bytes = 0;
    size_t events = 0, kept = 0, drops = 0;
    bool behind = false;
    mutex_lock(&q->lock);
    uint32_t source = queue_find_source(q, p);
    for (size_t n = 0, i = first; n < count; n++, i = a->next ? a->next[i] : i + 1) {
        const struct routed *item = &a->items[i];
        uint32_t keep =
            a->dead ? arrive_dead(q, item) : arrive(q, source, item, a->now_ms, &behind);
        kept += keep;
        events += item->count;
        bytes += (int64_t)item->bytes;
        if (item->offset < 0 || !partition_is_memory(p))
            continue;
        for (; keep < item->count; keep++) {
            dropped[drops++] = item->offset + keep;
            if (drops < DROPPED_AT_ONCE)
                continue;
            mutex_unlock(&q->lock);
            partition_disown(p, dropped, drops);
            drops = 0;
            mutex_lock(&q->lock);
            source = queue_find_source(q, p);
        }
    }
    if (!a->dead) {
        atomic_fetch_sub_explicit(&q->admitted, (int64_t)events, memory_order_relaxed);
        atomic_fetch_sub_explicit(&q->admitted_bytes, bytes, memory_order_relaxed);
    }
    uint32_t takers = a->dead || kept == 0 ? 0 : q->takers;
    atomic_fetch_add_explicit(&q->arrivals, 1, memory_order_relaxed);
    if (!a->dead)
        queue_call_watches(q, kept);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    /* Without the lock: who wakes up wants it first of all. */
    if (takers > 0 && (kept == 1 || takers == 1))
        cond_signal(&q->ready);
    else if (takers > 0)
        cond_broadcast(&q->ready);
    if (drops > 0)
        partition_disown(p, dropped, drops);
    if (limbo)
        queue_note_limbo(q);
    if (behind && a->home->due)
        a->home->due(a->home->due_ctx, &q->due, clock_mono_ns(a->home->env->clock));
    queue_release_many(q, (uint32_t)events);
}

#define GROUP_ITEMS 512
#define GROUP_QUEUES 64 /* a power of two */

/* Items of one queue, in order. */
struct group {
    struct queue *q;
    uint16_t first, last, count;
};

static struct group *group_of(struct group *groups, const struct queue *q)
{
    size_t at = (size_t)(((uintptr_t)q >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    for (size_t n = 0; n < GROUP_QUEUES; n++, at++) {
        struct group *g = &groups[at & (GROUP_QUEUES - 1)];
        if (!g->q || g->q == q)
            return g;
    }
    return NULL;
}

/* Where each event goes to several queues, each of them is locked once for many. Returns how many
 * items were brought. */
static size_t bring_grouped(struct arrival a, const struct routed *items, size_t count)
{
    struct group groups[GROUP_QUEUES] = {0};
    uint16_t next[GROUP_ITEMS];
    size_t n = 0;
    for (; n < count && n < GROUP_ITEMS; n++) {
        struct group *g = group_of(groups, items[n].route);
        if (!g)
            break;
        if (g->q)
            next[g->last] = (uint16_t)n;
        else
            *g = (struct group){.q = items[n].route, .first = (uint16_t)n};
        g->last = next[n] = (uint16_t)n;
        g->count++;
    }
    a.items = items;
    a.next = next;
    for (size_t i = 0; i < GROUP_QUEUES; i++)
        if (groups[i].q)
            bring(&a, groups[i].first, groups[i].count);
    return n;
}

#define RUN_IS_LONG 16 /* items, each of which may be of many events */

void queue_routed(void *ctx, struct partition *p, const struct routed *items, size_t count)
{
    struct queue_home *home = ctx;
    struct arrival a = {.home = home,
                        .partition = p,
                        .now_ms = clock_wall_ms(home->env->clock),
                        .dead = home->dead && p == bus_partition(home->dead, 0)};
    for (size_t i = 0; i < count;) {
        size_t n = 1;
        while (i + n < count && items[i + n].route == items[i].route)
            n++;
        if (n < RUN_IS_LONG && i + n < count) {
            i += bring_grouped(a, items + i, count - i);
            continue;
        }
        a.items = items + i;
        a.next = NULL;
        bring(&a, 0, n);
        i += n;
    }
}
