/*
 * Catching up of many queues at once, when a handle is opened: a partition that feeds them is read
 * one time, not by each of them. Numbers that records carry lead to queues directly; only queues
 * with patterns are asked about every event.
 *
 * What is left, for whatever reason, is read by each queue for itself (queue_catch_up).
 */
#include "queue/queue_impl.h"

#include <stdlib.h>

/* One queue, as it is fed by one partition. */
struct reader {
    struct partition *partition;
    struct queue *q;
    uint32_t source;
    int64_t routed; /* events below have been looked at */
    bool patterns, joined;
    bool stopped; /* it could not list an event */
};

struct readers {
    struct reader *list;
    size_t count, cap;
};

/* Of one partition, while it is read. */
struct reading {
    struct reader *list;
    size_t count;
    struct reader **patterns; /* those with patterns */
    size_t pattern_count;
    struct reader **table; /* those that have joined, by number: open addressing */
    size_t table_size;
};

static beck_status add_reader(struct readers *all, const struct reader *r)
{
    if (all->count == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 64;
        struct reader *grown = realloc(all->list, cap * sizeof *grown);
        if (!grown)
            return BECK_ENOMEM;
        all->list = grown;
        all->cap = cap;
    }
    all->list[all->count++] = *r;
    return BECK_OK;
}

/* Sources of damaged lists have more to look at than this does. */
static beck_status collect(struct readers *all, struct queue *q)
{
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < q->source_count && !status; i++) {
        const struct source *s = &q->sources[i];
        if (s->live || s->damaged || !s->bus || s->held || s->routed < 0 ||
            partition_is_memory(s->partition))
            continue;
        struct reader r = {.partition = s->partition, .q = q, .source = i, .routed = s->routed};
        for (uint32_t b = 0; b < q->binding_count; b++) {
            bool same = q->bindings[b].bus == s->bus;
            r.joined |= same && !q->bindings[b].pattern[0];
            r.patterns |= same && q->bindings[b].pattern[0];
        }
        if (r.joined || r.patterns)
            status = add_reader(all, &r);
    }
    return status;
}

static int by_partition(const void *a, const void *b)
{
    const struct reader *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->partition, q = (uintptr_t)y->partition;
    return (p > q) - (p < q);
}

/* ---- one partition ---- */

static struct reader **place_of(const struct reading *r, uint64_t number)
{
    size_t at = (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (r->table_size - 1);
    while (r->table[at] && r->table[at]->q->number != number)
        at = (at + 1) & (r->table_size - 1);
    return &r->table[at];
}

static beck_status reading_init(struct reading *r, struct reader *list, size_t count)
{
    *r = (struct reading){.list = list, .count = count, .table_size = 16};
    while (r->table_size < 2 * count)
        r->table_size *= 2;
    r->table = calloc(r->table_size, sizeof(struct reader *));
    r->patterns = calloc(count, sizeof(struct reader *));
    if (!r->table || !r->patterns)
        return BECK_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (list[i].patterns)
            r->patterns[r->pattern_count++] = &list[i];
        if (list[i].joined)
            *place_of(r, list[i].q->number) = &list[i];
    }
    return BECK_OK;
}

static void reading_release(struct reading *r)
{
    free(r->table);
    free(r->patterns);
}

static void offer(struct reader *r, const struct record_view *v, int64_t now_ms)
{
    struct queue *q = r->q;
    const beck_event *e = &v->event;
    if (r->stopped || v->offset < r->routed)
        return;
    mutex_lock(&q->lock);
    if (queue_wants(q, &q->sources[r->source], v))
        r->stopped = queue_route(q, r->source, v->offset, now_ms, e->deliver_at_ms,
                                 e->expires_at_ms, e->priority, e->data.len, NULL) != BECK_OK;
    mutex_unlock(&q->lock);
    r->routed = v->offset + !r->stopped;
}

static void offer_to_all(const struct reading *r, const struct record_view *v, int64_t now_ms)
{
    const uint8_t *numbers = v->carried.queues.data;
    for (size_t at = 0; at + 8 <= v->carried.queues.len; at += 8) {
        struct reader *named = *place_of(r, get_u64(numbers + at));
        if (named)
            offer(named, v, now_ms);
    }
    for (size_t i = 0; i < r->pattern_count; i++)
        offer(r->patterns[i], v, now_ms);
}

/* Everything below *end has been offered then. What is damaged is passed over. */
static beck_status read_all(struct reading *r, const struct env *env, int64_t *end, beck_error *err)
{
    struct partition *p = r->list->partition;
    int64_t now_ms = clock_wall_ms(env->clock), from = INT64_MAX;
    for (size_t i = 0; i < r->count; i++)
        if (r->list[i].routed < from)
            from = r->list[i].routed;
    *end = from;
    struct cursor *c = NULL;
    beck_status status = partition_sync(p, err);
    int64_t to = partition_visible(p);
    if (!status || status == BECK_EPOISONED)
        status = from < to ? cursor_open(p, &c, err) : BECK_OK;
    while (*end < to && !status) {
        const struct record_view *v;
        int64_t skip_to = to;
        beck_error why = {0};
        status = cursor_read(c, *end, true, &v, &skip_to, &why);
        if (status == BECK_ECORRUPT)
            env_report(env, status, "queues pass over damaged events: %s", why.text);
        else if (status && status != BECK_END)
            error_set(err, status, "%s", why.text);
        if (status == BECK_ECORRUPT || status == BECK_END) {
            *end = status == BECK_END ? to : skip_to;
            status = BECK_OK;
        } else if (!status) {
            offer_to_all(r, v, now_ms);
            *end = v->offset + 1;
        }
    }
    cursor_close(c);
    return status;
}

static void note_routed(const struct reader *r, int64_t end)
{
    mutex_lock(&r->q->lock);
    struct source *s = &r->q->sources[r->source];
    int64_t routed = r->stopped || r->routed > end ? r->routed : end;
    if (routed > s->routed)
        s->routed = routed;
    mutex_unlock(&r->q->lock);
}

static beck_status catch_up_partition(struct reader *list, size_t count, const struct env *env,
                                      beck_error *err)
{
    struct reading r;
    int64_t end;
    beck_status status = reading_init(&r, list, count);
    if (status) {
        error_set(err, status, "no memory to read for %zu queues", count);
    } else {
        status = read_all(&r, env, &end, err);
        for (size_t i = 0; i < count; i++)
            note_routed(&list[i], end);
    }
    reading_release(&r);
    return status;
}

void queues_catch_up(struct queue *const *queues, size_t count)
{
    struct readers all = {0};
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = collect(&all, queues[i]);
    if (all.count > 0)
        qsort(all.list, all.count, sizeof *all.list, by_partition);
    for (size_t first = 0, n; first < all.count && !status; first += n) {
        beck_error why = {0};
        const struct env *env = all.list[first].q->home->env;
        for (n = 1; first + n < all.count; n++)
            if (all.list[first + n].partition != all.list[first].partition)
                break;
        if (n > 1 && catch_up_partition(all.list + first, n, env, &why))
            env_report(env, why.code, "queues are behind their bus: %s", why.text);
    }
    free(all.list);
}
