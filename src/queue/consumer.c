/*
 * Consumers: taking deliveries and saying how they went.
 *
 * A consumer has slots, one for each delivery that it may hold. An entry is moved from the queue
 * into a slot with the lock held; its event is read afterwards without it, with the consumer's own
 * cursors, so consumers read in parallel. The event points into a block of the log that the slot
 * keeps; nothing is copied but its id.
 *
 * Saying how it went is an operation: the slot becomes BUSY, the operation is written to the state
 * log without the lock, then the entry leaves (or goes back). So what has been answered survives
 * the end of the process, and an answer that could not be written leaves the delivery held.
 */
#include "queue/consumer_impl.h"

#include <assert.h>
#include <stdlib.h>

#define PREFETCH_DEFAULT 64
#define FORGOTTEN_CAP 1024 /* memory of a slot whose event is not needed any more */
#define REFS_AT_ONCE 64
#define TAKE_MAX 256 /* entries taken with the lock held once */

/* ---- slots ---- */

static beck_status more_slots(beck_consumer *c)
{
    uint32_t chunk = c->slot_count / SLOTS_AT_ONCE;
    struct slot *slots = calloc(SLOTS_AT_ONCE, sizeof *slots);
    if (!slots)
        return BECK_ENOMEM;
    c->chunks[chunk] = slots;
    for (uint32_t i = 0; i < SLOTS_AT_ONCE && c->slot_count < c->prefetch; i++) {
        slots[i].consumer = c;
        slots[i].index = (uint16_t)c->slot_count++;
        buf_init(&slots[i].memory, 256u << 20);
    }
    /* The lowest index is taken first. */
    for (uint32_t i = c->slot_count; i-- > chunk * SLOTS_AT_ONCE;)
        c->free_slots[c->free_count++] = (uint16_t)i;
    return BECK_OK;
}

/* Neighbours point into one block. Its count is shared with the publisher and other consumers, so
 * references are had and given back many at once. */
static void share(beck_consumer *c, struct block *b)
{
    if (c->shared && c->spare_refs > 0)
        block_release_many(c->shared, c->spare_refs);
    c->shared = b;
    c->spare_refs = 0;
}

static struct block *hold_block(beck_consumer *c, struct block *b)
{
    if (b != c->shared)
        share(c, b);
    if (c->spare_refs == 0) {
        block_retain_many(b, REFS_AT_ONCE);
        c->spare_refs = REFS_AT_ONCE;
    }
    c->spare_refs--;
    return b;
}

static void drop_block(beck_consumer *c, struct block *b)
{
    if (b && b == c->shared)
        c->spare_refs++;
    else
        block_release(b);
}

static void free_slot(beck_consumer *c, struct slot *s)
{
    drop_block(c, s->block);
    s->block = NULL;
    if (s->memory.cap > 65536)
        buf_release(&s->memory);
    s->state = SLOT_FREE;
    s->generation++;
    c->free_slots[c->free_count++] = s->index;
    c->held--;
}

/* ---- opening and closing ---- */

beck_status consumer_open(struct queue *q, uint32_t prefetch, beck_consumer **out, beck_error *err)
{
    if (prefetch == 0)
        prefetch = PREFETCH_DEFAULT;
    if (prefetch > QUEUE_PREFETCH_MAX)
        return error_set(err, BECK_EINVAL, "prefetch = %u is out of range; use 1 to %d", prefetch,
                         QUEUE_PREFETCH_MAX);
    beck_consumer *c = calloc(1, sizeof *c);
    uint32_t chunks = (prefetch + SLOTS_AT_ONCE - 1) / SLOTS_AT_ONCE;
    if (c) {
        c->chunks = calloc(chunks, sizeof *c->chunks);
        c->free_slots = calloc(prefetch, sizeof *c->free_slots);
    }
    if (!c || !c->chunks || !c->free_slots) {
        if (c) {
            free(c->chunks);
            free(c->free_slots);
        }
        free(c);
        return error_set(err, BECK_ENOMEM, "no memory for a consumer");
    }
    c->prefetch = prefetch;
    c->take_bytes = SIZE_MAX;
    c->queue = queue_retain(q);
    mutex_lock(&q->lock);
    q->consumers++;
    q->held = false;
    mutex_unlock(&q->lock);
    struct queue_home *home = q->home;
    mutex_lock(&home->lock);
    c->number = ++home->consumers_made & 0xffffff;
    c->next = home->consumers;
    if (c->next)
        c->next->previous = c;
    home->consumers = c;
    mutex_unlock(&home->lock);
    *out = c;
    return BECK_OK;
}

static void leave_home(beck_consumer *c)
{
    struct queue_home *home = c->queue->home;
    mutex_lock(&home->lock);
    if (c->previous)
        c->previous->next = c->next;
    else
        home->consumers = c->next;
    if (c->next)
        c->next->previous = c->previous;
    mutex_unlock(&home->lock);
}

void consumers_close(struct queue_home *home, bool write)
{
    /* Nobody uses them any more. */
    while (home->consumers) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): closing takes it out of the list */
        struct queue *q = home->consumers->queue;
        mutex_lock(&q->lock);
        if (!write)
            queue_take_away(q);
        mutex_unlock(&q->lock);
        consumer_close(home->consumers);
    }
}

static void close_cursors(beck_consumer *c)
{
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        cursor_close(c->cursors[i]);
        c->cursors[i] = NULL;
    }
}

void consumer_close(beck_consumer *c)
{
    if (!c)
        return;
    struct queue *q = c->queue;
    leave_home(c);
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct slot *s = consumer_slot(c, i);
        if (s->state == SLOT_HELD) {
            queue_count_failed(q, s);
            slot_unlink(q, s);
            struct entry e = s->entry;
            uint32_t attempts = entry_attempts(&e) + 1;
            int64_t size = s->counted ? -1 : slot_bytes(s);
            bool last = q->rules.attempts_max && attempts >= q->rules.attempts_max;
            /* A consumer that goes away with the last attempt must not make it endless. */
            if (!last ||
                queue_add_limbo(q, &e, NULL, "the consumer closed without settling it", 0, size)) {
                if (!last)
                    e.meta = entry_meta(entry_expires_ms(&e), attempts);
                queue_push_return(q, &e);
                q->ready_bytes += size > 0 ? size : 0;
            }
            q->in_flight--;
            q->dirty = true;
        }
        block_release(s->block);
        buf_release(&s->memory);
    }
    q->consumers--;
    queue_wake(q, 2);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
    close_cursors(c);
    share(c, NULL);
    for (uint32_t i = 0; i * SLOTS_AT_ONCE < c->slot_count; i++)
        free(c->chunks[i]);
    free(c->chunks);
    free(c->free_slots);
    free(c->cursors);
    free(c->source_is_dead);
    free(c->parts);
    free(c);
    queue_release(q);
}

void consumer_wake(beck_consumer *c)
{
    mutex_lock(&c->queue->lock);
    atomic_store(&c->woken, true);
    cond_broadcast(&c->queue->ready);
    mutex_unlock(&c->queue->lock);
}

/* ---- reading the events ---- */

beck_status consumer_cursor(beck_consumer *c, uint32_t source, struct cursor **out, beck_error *err)
{
    uint32_t deletions = atomic_load(&c->queue->deletions);
    if (deletions != c->deletions) { /* those of deleted buses are of no use any more */
        close_cursors(c);
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

static beck_status read_event(beck_consumer *c, struct slot *s, beck_error *err)
{
    uint32_t source = entry_source(&s->entry);
    bool known = source < c->cursor_count && c->deletions == atomic_load(&c->queue->deletions);
    struct cursor *cursor = known ? c->cursors[source] : NULL;
    const struct record_view *view;
    beck_status status = cursor ? BECK_OK : consumer_cursor(c, source, &cursor, err);
    if (!status)
        status = cursor_read(cursor, entry_offset(&s->entry), true, &view, NULL, err);
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
        status = copy_view(s, &c->parts->event, view);
    } else {
        status = keep_view(s, cursor, view);
    }
    return status ? error_set(err, status, "no memory for a delivery") : BECK_OK;
}

/* An event that cannot be had any more leaves the queue; said aloud when it is damage. */
void consumer_drop_lost(beck_consumer *c, struct slot *s, beck_status status, const beck_error *why)
{
    struct queue *q = c->queue;
    if (status != BECK_END && status != BECK_ENOENT)
        env_report(q->home->env, status, "queue \"%s\" drops an event that cannot be read: %s",
                   q->name, why->text);
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
    free_slot(c, s);
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
    free_slot(c, s);
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
    while (c->free_count < max && c->slot_count < c->prefetch && !more_slots(c))
        continue;
    size_t limbo = queue_limbo_room(q);
    max = max < c->free_count ? max : c->free_count;
    max = max < limbo ? max : limbo;
    return max == 0 || queue_reserve_returns(q, passes + max) ? 0 : max;
}

/* With the lock. */
static struct slot *move_one(beck_consumer *c, const struct entry *e, int64_t now_ns,
                             int64_t deadline_ns)
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
    atomic_store_explicit(&s->shown, false, memory_order_relaxed);
    slot_link(q, s, deadline_ns);
    q->in_flight++;
    return s;
}

size_t consumer_move_in(beck_consumer *c, size_t max, int64_t now_ms, int64_t now_ns,
                        const struct acquire *which, struct slot **taken, beck_error *err)
{
    struct queue *q = c->queue;
    struct entry passed[ACQUIRE_PASSED_MAX], run[TAKE_MAX];
    size_t n = 0, passes = 0, room, i = 0, count = 0;
    int64_t deadline_ns = queue_deadline_ns(q, now_ns);
    while (n < max && i == count && (room = room_for(c, which ? 1 : max - n, passes)) > 0) {
        count = queue_pop_some(q, run, room < TAKE_MAX ? room : TAKE_MAX, err);
        if (count == 0)
            break;
        for (i = 0; i < count; i++) {
            int64_t expires = entry_expires_ms(&run[i]);
            if (expires && expires <= now_ms) {
                if (queue_expire(q, &run[i]))
                    break;
            } else if (is_wanted(q, which, &run[i])) {
                taken[n++] = move_one(c, &run[i], now_ns, deadline_ns);
            } else if (passes < which->passed_max && passes < ACQUIRE_PASSED_MAX) {
                passed[passes++] = run[i];
            } else {
                break;
            }
        }
    }
    for (; i < count; i++)
        queue_push_return(q, &run[i]);
    for (i = 0; i < passes; i++)
        queue_push_return(q, &passed[i]);
    q->dirty |= n > 0;
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
        error_clear(&why);
        if (!q->paused)
            *count = consumer_move_in(c, max, now_ms, now_ns, NULL, taken, &why);
        if (*count > 0)
            break;
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
            cond_wait_until(&q->ready, &q->lock, clock, until);
            q->watchers--;
        }
        q->takers--;
    }
    q->delivered += (int64_t)*count;
    if (*count > 0 && !q->m_processing)
        queue_make_processing(q);
    /* More than this one can take: another may. And without a timer somebody has to watch the
     * clock. */
    bool unwatched = q->watchers == 0 && (q->first_deadline || q->next_due_ms != INT64_MAX);
    if (q->takers > 0 && ((*count > 0 && queue_ready(q) > 0) || unwatched))
        cond_signal(&q->ready);
    if (*count > 0 && q->first_watch && queue_ready(q) > 0)
        queue_call_watches(q, 1);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
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
        size_t n, delivered = 0, bytes = 0;
        beck_status status = wait_and_take(c, max, timeout_ms, taken, &n, err);
        if (status)
            return status;
        for (size_t i = 0; i < n; i++) {
            struct slot *s = taken[i];
            beck_error why;
            if (bytes >= c->take_bytes) {
                put_back_rest(c, taken + i, n - i);
                n = i;
                break;
            }
            error_clear(&why);
            status = read_event(c, s, &why);
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
                                               .redelivered = entry_delivered(&s->entry)};
        }
        if (n > 0)
            count_taken(c->queue, taken, n);
        if (delivered > 0) {
            if (c->queue->m_delivered)
                counter_add(c->queue->m_delivered, delivered);
            *count = delivered;
            return BECK_OK;
        }
    }
}

/* ---- saying how it went ---- */

static beck_status say_stale(beck_error *err)
{
    return error_set(err, BECK_ESTALE,
                     "the delivery is no longer held: it was settled before, or its deadline "
                     "passed; raise deadline_ms or extend it");
}

/* Makes the slot of a held delivery BUSY. A stale one is freed. With the lock. */
static struct slot *begin(beck_consumer *c, uint64_t tag)
{
    struct slot *s = consumer_find(c, tag);
    if (!s)
        return NULL;
    if (s->state == SLOT_STALE) {
        free_slot(c, s);
        return NULL;
    }
    if (s->state != SLOT_HELD)
        return NULL;
    s->state = SLOT_BUSY;
    c->queue->operations++;
    return s;
}

static void end_operations(struct queue *q, size_t count)
{
    q->operations -= (uint32_t)count;
    if (count > 0 && q->operations == 0)
        cond_broadcast(&q->quiet);
}

static void end_operation(struct queue *q)
{
    end_operations(q, 1);
}

static void leave(struct queue *q, beck_consumer *c, struct slot *s)
{
    slot_unlink(q, s);
    q->in_flight--;
    free_slot(c, s);
}

#define SETTLE_AT_ONCE 256

static beck_status settle_some(beck_consumer *c, const uint64_t *tags, size_t count, bool *stale,
                               beck_error *err)
{
    struct queue *q = c->queue;
    struct slot *slots[SETTLE_AT_ONCE];
    struct entry entries[SETTLE_AT_ONCE];
    int64_t taken_ns[SETTLE_AT_ONCE];
    size_t n = 0;
    int64_t bytes = 0;
    bool memory = false;
    mutex_lock(&q->lock);
    for (size_t i = 0; i < count; i++) {
        struct slot *s = begin(c, tags[i]);
        stale[i] = s == NULL;
        if (!s)
            continue;
        slots[n] = s;
        if (q->durable)
            bytes += slot_bytes(s);
        taken_ns[n] = s->taken_ns;
        if (n == 0 || entry_source(&s->entry) != entry_source(&entries[n - 1])) {
            struct partition *p = q->sources[entry_source(&s->entry)].partition;
            memory |= p && partition_is_memory(p);
        }
        entries[n++] = s->entry;
    }
    beck_status status = BECK_OK;
    if (n > 0 && q->durable) {
        mutex_unlock(&q->lock);
        status = state_settled(q, entries, n, bytes, err);
        mutex_lock(&q->lock);
    }
    end_operations(q, n);
    for (size_t i = 0; i < n && status; i++)
        slots[i]->state = SLOT_HELD;
    for (size_t i = 0; i < n && !status; i++) {
        if (q->histories.count)
            histories_remove(&q->histories, entries[i].where);
        leave(q, c, slots[i]);
    }
    q->settled += status ? 0 : (int64_t)n;
    queue_tidy_bytes(q);
    q->dirty = true;
    mutex_unlock(&q->lock);
    if (memory && !status)
        queue_disown(q, entries, n);
    if (!status && q->m_settled)
        counter_add(q->m_settled, n);
    if (!status && n > 0)
        queue_record_processing(q, taken_ns, n);
    return status;
}

beck_status consumer_settle_each(beck_consumer *c, const uint64_t *tags, size_t count, bool *stale,
                                 beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t at = 0; at < count && !status; at += SETTLE_AT_ONCE) {
        size_t n = count - at < SETTLE_AT_ONCE ? count - at : SETTLE_AT_ONCE;
        status = settle_some(c, tags + at, n, stale + at, err);
    }
    return status;
}

beck_status consumer_settle(beck_consumer *c, const uint64_t *tags, size_t count, beck_error *err)
{
    bool any = false;
    for (size_t at = 0; at < count; at += SETTLE_AT_ONCE) {
        bool stale[SETTLE_AT_ONCE];
        size_t n = count - at < SETTLE_AT_ONCE ? count - at : SETTLE_AT_ONCE;
        beck_status status = settle_some(c, tags + at, n, stale, err);
        if (status)
            return status;
        for (size_t i = 0; i < n; i++)
            any |= stale[i];
    }
    return any ? say_stale(err) : BECK_OK;
}

void consumer_limit_bytes(beck_consumer *c, size_t bytes)
{
    c->take_bytes = bytes;
}

uint32_t consumer_forget_stale(beck_consumer *c)
{
    mutex_lock(&c->queue->lock);
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct slot *s = consumer_slot(c, i);
        if (s->state == SLOT_STALE)
            free_slot(c, s);
    }
    uint32_t held = c->held;
    mutex_unlock(&c->queue->lock);
    return held;
}

/* Another try, or a dead letter: written before the delivery is let go of. */
static beck_status fail(beck_consumer *c, uint64_t tag, const char *reason, const char *why,
                        int64_t delay_ms, beck_error *err)
{
    struct queue *q = c->queue;
    struct limbo l;
    mutex_lock(&q->lock);
    struct slot *s = begin(c, tag);
    if (s)
        limbo_init(&l, &s->entry, reason, why, delay_ms, slot_bytes(s));
    mutex_unlock(&q->lock);
    if (!s)
        return say_stale(err);
    beck_status status = queue_put_away(q, &l, err);
    mutex_lock(&q->lock);
    end_operation(q);
    int64_t taken_ns = s->taken_ns;
    if (status) {
        s->state = SLOT_HELD;
    } else {
        queue_count_failed(q, s);
        leave(q, c, s);
        q->rejected += reason != NULL;
    }
    mutex_unlock(&q->lock);
    if (!status)
        queue_record_processing(q, &taken_ns, 1);
    return status;
}

beck_status consumer_retry(beck_consumer *c, uint64_t tag, int64_t delay_ms, const char *why,
                           beck_error *err)
{
    if (delay_ms < -1)
        return error_set(err, BECK_EINVAL, "delay_ms = %lld is negative; -1 means the back-off",
                         (long long)delay_ms);
    return fail(c, tag, NULL, why, delay_ms, err);
}

beck_status consumer_reject(beck_consumer *c, uint64_t tag, const char *why, beck_error *err)
{
    return fail(c, tag, "rejected", why, -1, err);
}

/* When one that has come back so often is ready again; 0: at once. */
static int64_t due_of(const struct queue *q, const struct return_delay *delay, uint32_t attempts)
{
    if (delay->min_ms <= 0)
        return 0;
    int64_t most = delay->max_ms > delay->min_ms ? delay->max_ms : delay->min_ms;
    int64_t ms = attempts <= most / delay->min_ms ? delay->min_ms * (int64_t)attempts : most;
    int64_t now_ms = clock_wall_ms(q->home->env->clock);
    ms = ms < delay->min_ms ? delay->min_ms : ms;
    return ms < INT64_MAX / 2 - now_ms ? now_ms + ms : INT64_MAX / 2;
}

/* To its place. After an error it is held as before. With the lock. */
static beck_status give_back(beck_consumer *c, struct slot *s, bool counts,
                             const struct return_delay *delay)
{
    struct queue *q = c->queue;
    struct entry e = s->entry;
    int64_t size = slot_bytes(s);
    uint32_t attempts = entry_attempts(&e) + (counts ? 1 : 0);
    bool last = counts && q->rules.attempts_max && attempts >= q->rules.attempts_max;
    if (counts)
        e.meta = entry_meta(entry_expires_ms(&e), attempts);
    e.meta |= ENTRY_DELIVERED;
    if (last && queue_add_limbo(q, &e, "delivery_limit", "it was given back too often", -1, size)) {
        s->state = SLOT_HELD;
        return BECK_ENOMEM;
    }
    leave(q, c, s);
    q->dirty = true;
    if (!last) {
        int64_t due_ms = due_of(q, delay, attempts);
        if (due_ms == 0 || queue_push_delayed(q, &e, due_ms))
            queue_push_return(q, &e);
        q->ready_bytes += size;
    }
    return BECK_OK;
}

static const struct return_delay at_once;

beck_status consumer_return(beck_consumer *c, uint64_t tag, beck_error *err)
{
    struct queue *q = c->queue;
    mutex_lock(&q->lock);
    struct slot *s = begin(c, tag);
    if (s) {
        end_operation(q);
        give_back(c, s, false, &at_once);
        queue_wake(q, 1);
    }
    mutex_unlock(&q->lock);
    return s ? BECK_OK : say_stale(err);
}

beck_status consumer_return_later(beck_consumer *c, const uint64_t *tags, size_t count, bool counts,
                                  const struct return_delay *delay, beck_error *err)
{
    struct queue *q = c->queue;
    size_t returned = 0;
    beck_status status = BECK_OK;
    mutex_lock(&q->lock);
    for (size_t i = 0; i < count && !status; i++) {
        struct slot *s = begin(c, tags[i]);
        if (!s)
            continue;
        end_operation(q);
        status = give_back(c, s, counts, delay);
        returned += !status;
    }
    queue_wake(q, returned);
    queue_keep_limits(q);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_work_limbo(q);
    return status ? error_set(err, status, "no memory to give deliveries back") : BECK_OK;
}

beck_status consumer_return_many(beck_consumer *c, const uint64_t *tags, size_t count, bool counts,
                                 beck_error *err)
{
    return consumer_return_later(c, tags, count, counts, &at_once, err);
}

beck_status consumer_reject_many(beck_consumer *c, const uint64_t *tags, size_t count,
                                 const char *why, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count && !status; i++) {
        beck_error stale = {0};
        status = fail(c, tags[i], "rejected", why, -1, &stale);
        if (status == BECK_ESTALE)
            status = BECK_OK;
        else if (status)
            error_set(err, status, "%s", stale.text);
    }
    return status;
}

beck_status consumer_extend(beck_consumer *c, uint64_t tag, beck_error *err)
{
    struct queue *q = c->queue;
    mutex_lock(&q->lock);
    struct slot *s = consumer_find(c, tag);
    bool held = s && s->state == SLOT_HELD;
    if (held) {
        slot_unlink(q, s);
        slot_link(q, s, queue_deadline_ns(q, clock_mono_ns(q->home->env->clock)));
    }
    mutex_unlock(&q->lock);
    return held ? BECK_OK : say_stale(err);
}

/* Of a delivery that was shown; others change its state meanwhile, but not that. */
static const struct slot *shown_slot(const beck_consumer *c, uint64_t tag)
{
    uint32_t index = (uint32_t)(tag & 0xffff);
    if (tag >> 40 != c->number || index >= c->slot_count)
        return NULL;
    const struct slot *s = consumer_slot(c, index);
    return slot_tag(s) == tag && atomic_load_explicit(&s->shown, memory_order_acquire) ? s : NULL;
}

beck_bytes consumer_carried(beck_consumer *c, uint64_t tag)
{
    const struct slot *s = shown_slot(c, tag);
    return s ? s->content : (beck_bytes){0};
}

struct block *consumer_block(beck_consumer *c, uint64_t tag)
{
    const struct slot *s = shown_slot(c, tag);
    return s ? s->block : NULL;
}

/* What is counted of it stays: its type, and the size of its data. */
static void forget(struct slot *s)
{
    uint8_t type[EVENT_TYPE_MAX];
    beck_bytes of = s->event.type;
    if ((!s->block && s->memory.cap <= FORGOTTEN_CAP) || of.len > sizeof type)
        return;
    memcpy(type, of.data, of.len);
    if (s->memory.cap > FORGOTTEN_CAP)
        buf_release(&s->memory);
    buf_clear(&s->memory);
    if (buf_append(&s->memory, type, of.len))
        buf_clear(&s->memory); /* it has none then */
    s->event = (beck_event){.type = buf_bytes(&s->memory), .data.len = s->event.data.len};
    s->content = (beck_bytes){0};
    drop_block(s->consumer, s->block);
    s->block = NULL;
}

void consumer_forget(beck_consumer *c, const uint64_t *tags, size_t count)
{
    mutex_lock(&c->queue->lock);
    for (size_t i = 0; i < count; i++) {
        struct slot *s = consumer_find(c, tags[i]);
        if (s && atomic_load_explicit(&s->shown, memory_order_relaxed))
            forget(s);
    }
    mutex_unlock(&c->queue->lock);
}
