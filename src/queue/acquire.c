/*
 * Taking deliveries without reading their events: for those who send on what lies in the log as it
 * is, and know events by where they are.
 *
 * A slot that was taken so is like one whose event was read and forgotten: it has a size, the
 * average of what is ready, so that the bytes of the queue stay about right.
 */
#include "queue/consumer_impl.h"

#include <stdlib.h>

static int64_t average_bytes(const struct queue *q)
{
    int64_t events = queue_ready(q) + (int64_t)schedule_count(q->delayed);
    return events > 0 && q->ready_bytes > 0 ? q->ready_bytes / events : 0;
}

/* With the lock. */
static void pass_for_read(struct queue *q, struct slot *s, int64_t bytes)
{
    buf_clear(&s->memory);
    s->block = NULL;
    s->content = (beck_bytes){0};
    s->event = (beck_event){.type = beck_str("other")};
    if (s->counted) {
        s->event.data.len = (size_t)bytes;
        q->ready_bytes -= bytes;
        s->counted = false;
    }
    atomic_store_explicit(&s->shown, true, memory_order_release);
}

/* What time brings, and files that are damaged. */
static void put_in_order(struct queue *q)
{
    struct clock *clock = q->home->env->clock;
    mutex_lock(&q->lock);
    bool rebuild = q->rebuild;
    bool work = queue_advance(q, clock_wall_ms(clock), clock_mono_ns(clock));
    mutex_unlock(&q->lock);
    if (work)
        queue_finish_limbo(q);
    if (rebuild)
        queue_catch_up(q);
}

/* Where a delivery's event was published. BECK_END: nobody can tell any more. */
static beck_status find_origin(beck_consumer *c, const struct slot *s, struct acquired *out,
                               beck_error *err)
{
    uint32_t source = entry_source(&s->entry);
    struct cursor *cursor;
    const struct record_view *view;
    beck_status status = consumer_cursor(c, source, &cursor, err);
    if (!status)
        status = cursor_read(cursor, entry_offset(&s->entry), true, &view, NULL, err);
    if (status)
        return status;
    if (!c->parts && !(c->parts = malloc(sizeof *c->parts)))
        return error_set(err, BECK_ENOMEM, "no memory for a delivery");
    if (view->offset != entry_offset(&s->entry) || !dead_open(&view->event, c->parts))
        return BECK_END;
    out->bus = consumer_origin(c, &source);
    out->partition = c->parts->origin.partition;
    out->offset = c->parts->origin.offset;
    return out->bus ? BECK_OK : BECK_END;
}

/* Dead letters that were put back; whoever wants others gets them not. */
static bool settle_origin(beck_consumer *c, const struct acquire *what, struct slot *s,
                          struct acquired *out)
{
    beck_error why = {0};
    beck_status status = find_origin(c, s, out, &why);
    if (status == BECK_END || status == BECK_ENOENT || status == BECK_ECORRUPT) {
        consumer_drop_lost(c, s, status, &why);
        return false;
    }
    mutex_lock(&c->queue->lock);
    bool keep = !status &&
                (!what->wanted || what->wanted(what->ctx, out->bus, out->partition, out->offset));
    mutex_unlock(&c->queue->lock);
    if (!keep)
        consumer_put_back(c, s);
    return keep;
}

#define AT_ONCE 256

static size_t acquire_some(beck_consumer *c, const struct acquire *what, size_t max,
                           struct acquired *out, size_t *moved, bool *again, beck_error *err)
{
    struct queue *q = c->queue;
    struct clock *clock = q->home->env->clock;
    struct slot *slots[AT_ONCE];
    size_t kept = 0, n = 0;
    *again = false;
    mutex_lock(&q->lock);
    int64_t room = what->in_flight_max - q->in_flight;
    if (room < (int64_t)max)
        max = room > 0 ? (size_t)room : 0;
    int64_t bytes = average_bytes(q);
    if (!q->paused && !q->deleted)
        n = consumer_move_in(c, max, clock_wall_ms(clock), clock_mono_ns(clock), what, slots, again,
                             err);
    for (size_t i = 0; i < n; i++) {
        const struct source *s = &q->sources[entry_source(&slots[i]->entry)];
        pass_for_read(q, slots[i], bytes);
        out[i] = (struct acquired){.bus = s->bus,
                                   .partition = s->number,
                                   .offset = entry_offset(&slots[i]->entry),
                                   .tag = slot_tag(slots[i]),
                                   .attempt = entry_attempts(&slots[i]->entry) + 1};
    }
    q->delivered += (int64_t)n;
    if (n > 0 && !q->m_processing)
        queue_make_processing(q);
    queue_tidy_bytes(q);
    mutex_unlock(&q->lock);
    for (size_t i = 0; i < n; i++) {
        struct acquired a = out[i];
        /* Their sources were looked at when they came; a bus may have been deleted since. */
        if (entry_source(&slots[i]->entry) == DEAD_SOURCE && !settle_origin(c, what, slots[i], &a))
            continue;
        if (!a.bus) {
            consumer_drop_lost(c, slots[i], BECK_ENOENT, NULL);
            continue;
        }
        out[kept++] = a;
    }
    *moved = n;
    return kept;
}

beck_status consumer_acquire(beck_consumer *c, const struct acquire *what, struct acquired *out,
                             size_t *count, beck_error *err)
{
    struct queue *q = c->queue;
    beck_error why = {0};
    *count = 0;
    put_in_order(q);
    for (;;) {
        size_t max = what->max - *count, moved;
        bool again;
        if (max > c->prefetch - c->held)
            max = c->prefetch - c->held;
        if (max > AT_ONCE)
            max = AT_ONCE;
        if (max == 0)
            break;
        *count += acquire_some(c, what, max, out + *count, &moved, &again, &why);
        if (moved < max && !again)
            break;
    }
    mutex_lock(&q->lock);
    if (*count > 0 && queue_ready(q) > 0)
        queue_wake(q, 1);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
    if (*count > 0 && q->m_delivered)
        counter_add(q->m_delivered, *count);
    return *count == 0 && why.code == BECK_ENOMEM ? error_set(err, why.code, "%s", why.text)
                                                  : BECK_OK;
}

void consumer_holds(beck_consumer *c, const uint64_t *tags, size_t count, bool *held)
{
    int64_t now_ns = clock_mono_ns(c->queue->home->env->clock);
    mutex_lock(&c->queue->lock);
    for (size_t i = 0; i < count; i++) {
        const struct slot *s = consumer_find(c, tags[i]);
        held[i] =
            s && ((s->state == SLOT_HELD && s->deadline_ns > now_ns) || s->state == SLOT_BUSY);
    }
    mutex_unlock(&c->queue->lock);
}
