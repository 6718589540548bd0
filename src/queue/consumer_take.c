/*
 * Taking deliveries: entries move into slots with the lock held, and their events are read without
 * it, with the consumer's own cursors, so consumers read in parallel.
 */
#include "queue/consumer_impl.h"

#include <stdlib.h>

#define TAKE_MAX 256
/* Entries of damaged partitions that are put aside with the lock held once. */
#define ASIDE_MAX 1000
#define REFS_AT_ONCE 64

/* ---- reading the events ---- */

beck_status consumer_cursor(beck_consumer *c, uint32_t source, struct cursor **out, beck_error *err)
{
    uint32_t deletions = atomic_load(&c->queue->deletions);
    if (deletions != c->deletions) { /* those of deleted buses are of no use any more */
        consumer_close_cursors(c);
        c->deletions = deletions;
    }
    if (source >= c->cursor_count) {
        uint32_t count = source + 1;
        struct cursor **grown = realloc(c->cursors, count * sizeof(struct cursor *));
        if (grown)
            c->cursors = grown;
        bool *dead = grown ? realloc(c->source_is_dead, count * sizeof *dead) : NULL;
        if (dead)
            c->source_is_dead = dead;
        if (!dead)
            return error_set(err, BECK_ENOMEM, "no memory for a cursor");
        for (; c->cursor_count < count; c->cursor_count++)
            c->cursors[c->cursor_count] = NULL;
    }
    if (!c->cursors[source]) {
        beck_status status = queue_open_cursor(c->queue, source, &c->cursors[source], err);
        if (status)
            return status;
        c->source_is_dead[source] = queue_source_is_dead(c->queue, source);
    }
    *out = c->cursors[source];
    return BECK_OK;
}

static struct block *hold_block(beck_consumer *c, struct block *b)
{
    if (b != c->shared)
        consumer_share(c, b);
    if (c->spare_refs == 0) {
        block_retain_many(b, REFS_AT_ONCE);
        c->spare_refs = REFS_AT_ONCE;
    }
    c->spare_refs--;
    return b;
}

static beck_status copy_view(struct slot *s, const beck_event *event, const struct record_view *v)
{
    beck_bytes content = v->carried.content;
    beck_status status = event_copy(event, &s->memory, &s->event);
    if (status || content.len == 0) {
        s->content = (beck_bytes){0};
        return status;
    }
    /* Behind the event, which may move with it. */
    size_t at = s->memory.len;
    status = buf_reserve(&s->memory, at + content.len);
    if (!status)
        status = event_copy(event, &s->memory, &s->event);
    if (!status)
        status = buf_append(&s->memory, content.data, content.len);
    s->content = bytes_of(s->memory.data + at, content.len);
    return status;
}

/* Makes the slot's event what the view shows, keeping the block that it points into. */
static beck_status keep_view(struct slot *s, struct cursor *cursor, const struct record_view *v)
{
    struct block *block = cursor_block(cursor);
    buf_clear(&s->memory);
    s->block = NULL;
    if (!block)
        return copy_view(s, &v->event, v);
    s->event = v->event;
    s->content = v->carried.content;
    size_t extensions = v->event.extension_count * sizeof *v->extensions;
    bool own_id = v->event.id.data == v->id;
    size_t need = extensions + (own_id ? v->event.id.len : 0);
    if (need > s->memory.cap && buf_reserve(&s->memory, need))
        return BECK_ENOMEM;
    if (extensions) {
        memcpy(s->memory.data, v->extensions, extensions);
        s->event.extensions = (const beck_attribute *)s->memory.data;
    }
    if (own_id) {
        memcpy(s->memory.data + extensions, v->id, v->event.id.len);
        s->event.id.data = s->memory.data + extensions;
    }
    s->block = hold_block(s->consumer, block);
    return BECK_OK;
}

beck_bus *consumer_origin(beck_consumer *c, uint32_t *source)
{
    struct queue *q = c->queue;
    beck_bus *bus = NULL;
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->source_count && !bus; i++) {
        if (q->sources[i].number == c->parts->origin.partition &&
            bytes_equal_text(c->parts->origin_bus, q->sources[i].bus_name))
            bus = q->sources[i].bus;
        *source = i;
    }
    mutex_unlock(&q->lock);
    return bus;
}

/* A dead letter that was put back, and stands for an event that could not be read. */
static beck_status read_again(beck_consumer *c, struct slot *s, beck_error *err)
{
    uint32_t source;
    int64_t offset = c->parts->origin.offset;
    struct cursor *cursor;
    const struct record_view *view;
    if (!consumer_origin(c, &source))
        return BECK_END;
    beck_status status = consumer_cursor(c, source, &cursor, err);
    if (!status)
        status = cursor_read(cursor, offset, true, &view, NULL, err);
    if (!status && view->offset != offset)
        status = BECK_END;
    return status ? status : copy_view(s, &view->event, view);
}

static beck_status read_event(beck_consumer *c, struct slot *s, int64_t *skip_to, beck_error *err)
{
    uint32_t source = entry_source(&s->entry);
    bool known = source < c->cursor_count && c->deletions == atomic_load(&c->queue->deletions);
    struct cursor *cursor = known ? c->cursors[source] : NULL;
    const struct record_view *view;
    beck_status status = cursor ? BECK_OK : consumer_cursor(c, source, &cursor, err);
    if (!status)
        status = cursor_read(cursor, entry_offset(&s->entry), true, &view, skip_to, err);
    if (cursor && status == BECK_ENOENT) /* not the bus is gone, but a file of it */
        return BECK_ECORRUPT;
    if (!status && view->offset != entry_offset(&s->entry))
        status = BECK_END;
    if (status)
        return status;
    if (c->source_is_dead[source]) {
        if (!c->parts && !(c->parts = malloc(sizeof *c->parts)))
            return error_set(err, BECK_ENOMEM, "no memory for a delivery");
        if (!dead_open(&view->event, c->parts))
            return BECK_END;
        if (bytes_equal_text(c->parts->reason, "unreadable"))
            return read_again(c, s, err);
        status = copy_view(s, &c->parts->event, view);
    } else {
        status = keep_view(s, cursor, view);
    }
    return status ? error_set(err, status, "no memory for a delivery") : BECK_OK;
}

void queue_report_damage(struct queue *q, const struct entry *e, int64_t end, const beck_error *why)
{
    uint32_t source = entry_source(e);
    int64_t offset = entry_offset(e);
    mutex_lock(&q->lock);
    bool said = source == q->damaged_source && offset >= q->damaged_from && offset < q->damaged_end;
    if (!said) {
        q->damaged_source = source;
        q->damaged_from = offset;
        q->damaged_end = end;
    }
    mutex_unlock(&q->lock);
    if (!said)
        env_report(q->home->env, BECK_ECORRUPT,
                   "queue \"%s\": events cannot be read, and become dead letters that stand for "
                   "them: %s",
                   q->name, why->text);
}

/* One that is damaged is not settled: a dead letter says where it was. False: there is no memory for that. */
static bool give_up(beck_consumer *c, struct slot *s, const beck_error *why)
{
    struct queue *q = c->queue;
    mutex_lock(&q->lock);
    bool done = s->state != SLOT_HELD ||
                !queue_add_limbo(q, &s->entry, "unreadable", why->text, -1, s->counted ? -1 : 0);
    if (done && s->state == SLOT_HELD) {
        slot_unlink(q, s);
        q->in_flight--;
    }
    if (done)
        consumer_free_slot(c, s);
    mutex_unlock(&q->lock);
    return done;
}

/* An event that cannot be had any more leaves the queue. */
void consumer_drop_lost(beck_consumer *c, struct slot *s, beck_status status, const beck_error *why)
{
    struct queue *q = c->queue;
    if (status == BECK_ECORRUPT) {
        if (!give_up(c, s, why))
            consumer_put_back(c, s);
        return;
    }
    state_settled(q, &s->entry, 1, 0, NULL);
    queue_disown(q, &s->entry, 1);
    mutex_lock(&q->lock);
    if (s->state == SLOT_HELD) {
        slot_unlink(q, s);
        q->in_flight--;
    }
    histories_remove(&q->histories, s->entry.where);
    q->dropped++;
    q->dirty = true;
    consumer_free_slot(c, s);
    mutex_unlock(&q->lock);
}

/* Puts a slot's entry back to its place: nothing was delivered. Others may have begun to wait while
 * it was away. */
void consumer_put_back(beck_consumer *c, struct slot *s)
{
    struct queue *q = c->queue;
    mutex_lock(&q->lock);
    if (s->state == SLOT_HELD) {
        slot_unlink(q, s);
        queue_push_return(q, &s->entry);
        q->in_flight--;
        queue_wake(q, 1);
    }
    consumer_free_slot(c, s);
    mutex_unlock(&q->lock);
}

/* The same for many, that were not read. */
static void put_back_rest(beck_consumer *c, struct slot *const *slots, size_t count)
{
    struct queue *q = c->queue;
    mutex_lock(&q->lock);
    q->delivered -= (int64_t)count;
    mutex_unlock(&q->lock);
    for (size_t i = 0; i < count; i++)
        consumer_put_back(c, slots[i]);
}

/* ---- taking ---- */

static bool is_wanted(const struct queue *q, const struct acquire *which, const struct entry *e)
{
    const struct source *s = &q->sources[entry_source(e)];
    /* What cannot be had any more is taken, so that it goes. */
    return !which || !which->wanted || entry_source(e) == DEAD_SOURCE || !s->bus ||
           which->wanted(which->ctx, s->bus, s->number, entry_offset(e));
}

/* How many entries may leave the queue now: there is a slot for each, and room where they go when
 * they have expired or come back. With the lock. */
static size_t room_for(beck_consumer *c, size_t max, size_t passes)
{
    struct queue *q = c->queue;
    while (c->free_count < max && c->slot_count < c->prefetch && !consumer_more_slots(c))
        continue;
    size_t limbo = queue_limbo_room(q);
    max = max < c->free_count ? max : c->free_count;
    max = max < limbo ? max : limbo;
    return max == 0 || queue_reserve_returns(q, passes + max) ? 0 : max;
}

static uint32_t hold_of(int64_t now_ns, int64_t deadline_ns)
{
    int64_t ms = (deadline_ns - now_ns) / 1000000;
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

/* -1: never. */
static int64_t deadline_ms_of(const struct slot *s)
{
    return s->deadline_ns == INT64_MAX ? -1 : (s->deadline_ns - s->taken_ns) / 1000000;
}

/* It is to be linked. With the lock. */
static struct slot *move_one(beck_consumer *c, const struct entry *e, int64_t now_ns,
                             uint32_t hold_ms)
{
    struct queue *q = c->queue;
    struct slot *s = consumer_slot(c, c->free_slots[--c->free_count]);
    s->entry = *e;
    if (entry_offset(e) < q->sources[entry_source(e)].suspect)
        s->entry.meta |= ENTRY_DELIVERED;
    c->held++;
    s->state = SLOT_HELD;
    s->counted = entry_source(e) != DEAD_SOURCE;
    s->taken_ns = now_ns;
    s->hold_ms = hold_ms;
    atomic_store_explicit(&s->shown, false, memory_order_relaxed);
    q->in_flight++;
    return s;
}

size_t consumer_move_in(beck_consumer *c, size_t max, int64_t now_ms, int64_t now_ns,
                        const struct acquire *which, struct slot **taken, bool *again,
                        beck_error *err)
{
    struct queue *q = c->queue;
    struct entry passed[ACQUIRE_PASSED_MAX], run[TAKE_MAX];
    size_t n = 0, passes = 0, aside = 0, room, i = 0, count = 0;
    int64_t deadline_ns = queue_deadline_ns(q, now_ns);
    uint32_t hold_ms = hold_of(now_ns, deadline_ns);
    while (n < max && aside < ASIDE_MAX && i == count &&
           (room = room_for(c, which ? 1 : max - n, passes)) > 0) {
        count = queue_pop_some(q, run, room < TAKE_MAX ? room : TAKE_MAX, err);
        if (count == 0)
            break;
        size_t before = n;
        for (i = 0; i < count; i++) {
            int64_t expires = entry_expires_ms(&run[i]);
            if (expires && expires <= now_ms) {
                if (queue_expire(q, &run[i]))
                    break;
            } else if (queue_entry_waits(q, &run[i])) {
                if (queue_set_aside(q, &run[i], now_ms))
                    break;
                aside++;
            } else if (is_wanted(q, which, &run[i])) {
                taken[n++] = move_one(c, &run[i], now_ns, hold_ms);
            } else if (passes < which->passed_max && passes < ACQUIRE_PASSED_MAX) {
                passed[passes++] = run[i];
            } else {
                break;
            }
        }
        slots_link(q, taken + before, n - before, deadline_ns);
    }
    for (; i < count; i++)
        queue_push_return(q, &run[i]);
    for (i = 0; i < passes; i++)
        queue_push_return(q, &passed[i]);
    q->dirty |= n > 0;
    *again = n < max && aside >= ASIDE_MAX;
    return n;
}

/* Waits for a moment, without the lock, whether events come: where publishers keep a consumer busy
 * it is not put to sleep and woken for each of them. With the lock on entry and return. */
static void linger(struct queue *q)
{
    uint32_t seen = atomic_load_explicit(&q->arrivals, memory_order_relaxed);
    mutex_unlock(&q->lock);
    thread_spin_while(&q->arrivals, seen);
    mutex_lock(&q->lock);
}

/* What others have to know of it. With the lock, which is free afterwards. */
static void end_take(struct queue *q, size_t count)
{
    bool more = count > 0 && queue_ready(q) > 0;
    q->delivered += (int64_t)count;
    if (count > 0 && !q->m_processing)
        queue_make_processing(q);
    /* More than this one can take: another may. And without a timer somebody has to watch the
     * clock. */
    bool unwatched = q->watchers == 0 && (q->first_deadline || q->next_due_ms != INT64_MAX);
    if (q->takers > 0 && (more || unwatched))
        cond_signal(&q->ready);
    if (more && q->first_watch)
        queue_call_watches(q, 1);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
}

/* Until something comes, time brings something, or the deadline is there. With the lock. */
static void wait_for_more(struct queue *q, int64_t now_ms, int64_t now_ns, int64_t deadline_ns)
{
    int64_t until = queue_next_event_ns(q, now_ms, now_ns);
    if (deadline_ns < until)
        until = deadline_ns;
    if (q->rebuild && now_ns + 100000000 < until)
        until = now_ns + 100000000;
    q->takers++;
    if (until == INT64_MAX) {
        cond_wait(&q->ready, &q->lock);
    } else {
        q->watchers++;
        cond_wait_until(&q->ready, &q->lock, q->home->env->clock, until);
        q->watchers--;
    }
    q->takers--;
}

/* Waits until entries can be taken, and takes them. */
static beck_status wait_and_take(beck_consumer *c, size_t max, int64_t timeout_ms,
                                 struct slot **taken, size_t *count, beck_error *err)
{
    struct queue *q = c->queue;
    struct clock *clock = q->home->env->clock;
    int64_t deadline_ns = INT64_MAX;
    beck_status status = BECK_OK;
    bool lingered = false;
    *count = 0;
    mutex_lock(&q->lock);
    for (;;) {
        int64_t now_ns = clock_mono_ns(clock), now_ms = clock_wall_ms(clock);
        if (timeout_ms >= 0 && deadline_ns == INT64_MAX)
            deadline_ns =
                timeout_ms > INT64_MAX / 2000000 ? INT64_MAX - 1 : now_ns + timeout_ms * 1000000;
        if (atomic_exchange(&c->woken, false) || q->deleted) {
            status = error_set(err, BECK_ECLOSED, "queue \"%s\" %s", q->name,
                               q->deleted ? "has been deleted" : "has no more for this consumer");
            break;
        }
        bool work = queue_advance(q, now_ms, now_ns) || q->rebuild;
        if (work) {
            bool rebuild = q->rebuild;
            mutex_unlock(&q->lock);
            queue_finish_limbo(q);
            if (rebuild)
                queue_catch_up(q);
            mutex_lock(&q->lock);
            if (!q->rebuild && !queue_limbo_has_work(q))
                continue;
        }
        beck_error why;
        bool again = false;
        error_clear(&why);
        if (!q->paused)
            *count = consumer_move_in(c, max, now_ms, now_ns, NULL, taken, &again, &why);
        if (*count > 0)
            break;
        if (again) { /* when others had their turn */
            mutex_unlock(&q->lock);
            mutex_lock(&q->lock);
            continue;
        }
        if (why.code == BECK_ENOMEM) {
            status = error_set(err, BECK_ENOMEM, "%s", why.text);
            break;
        }
        if (queue_limbo_has_work(q) && !work)
            continue; /* some had expired: they are put away, and others looked for */
        if (now_ns >= deadline_ns) {
            status =
                error_set(err, BECK_ETIMEDOUT, "nothing came to queue \"%s\" in time", q->name);
            break;
        }
        if (!lingered) {
            lingered = true;
            linger(q);
            continue;
        }
        wait_for_more(q, now_ms, now_ns, deadline_ns);
    }
    end_take(q, *count);
    return status;
}

/* What was read is not ready any more, by its bytes. */
static void count_taken(struct queue *q, struct slot *const *taken, size_t count)
{
    mutex_lock(&q->lock);
    for (size_t i = 0; i < count; i++) {
        struct slot *s = taken[i];
        /* Time may have taken it away since. */
        if (!s->counted || !atomic_load_explicit(&s->shown, memory_order_relaxed))
            continue;
        s->counted = false;
        q->ready_bytes -= (int64_t)s->event.data.len;
    }
    queue_tidy_bytes(q);
    mutex_unlock(&q->lock);
}

beck_status consumer_take(beck_consumer *c, beck_delivery *out, size_t max, int64_t timeout_ms,
                          size_t *count, beck_error *err)
{
    struct slot *taken[TAKE_MAX];
    if (max == 0)
        return error_set(err, BECK_EINVAL, "nothing to take: max is 0");
    if (max > TAKE_MAX)
        max = TAKE_MAX;
    for (;;) {
        if (c->held >= c->prefetch)
            return error_set(err, BECK_ELIMIT,
                             "this consumer holds %u deliveries, its prefetch; settle some first",
                             c->held);
        size_t n, delivered = 0, bytes = 0, damaged = 0;
        beck_status status = wait_and_take(c, max, timeout_ms, taken, &n, err);
        if (status)
            return status;
        int64_t deadline_ms = deadline_ms_of(taken[0]);
        for (size_t i = 0; i < n; i++) {
            struct slot *s = taken[i];
            beck_error why;
            if (bytes >= c->take_bytes) {
                put_back_rest(c, taken + i, n - i);
                n = i;
                break;
            }
            error_clear(&why);
            int64_t skip_to = entry_offset(&s->entry) + 1;
            status = read_event(c, s, &skip_to, &why);
            if (status == BECK_ECORRUPT) {
                queue_report_damage(c->queue, &s->entry, skip_to, &why);
                damaged++;
            }
            bool lost = status == BECK_END || status == BECK_ENOENT || status == BECK_ECORRUPT;
            if (status && !lost) {
                consumer_put_back(c, s);
                if (i + 1 == n && delivered == 0)
                    return error_set(err, status, "%s", why.text);
                continue;
            }
            if (status) {
                consumer_drop_lost(c, s, status, &why);
                continue;
            }
            atomic_store_explicit(&s->shown, true, memory_order_release);
            bytes += s->event.data.len;
            out[delivered++] = (beck_delivery){.event = &s->event,
                                               .tag = slot_tag(s),
                                               .attempt = entry_attempts(&s->entry) + 1,
                                               .redelivered = entry_delivered(&s->entry),
                                               .deadline_ms = deadline_ms};
        }
        if (n > 0)
            count_taken(c->queue, taken, n);
        if (damaged > 0)
            queue_work_limbo(c->queue);
        if (delivered > 0) {
            if (c->queue->m_delivered)
                counter_add(c->queue->m_delivered, delivered);
            *count = delivered;
            return BECK_OK;
        }
    }
}
