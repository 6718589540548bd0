/*
 * Consumers: slots, one for each delivery that they may hold, and what lies in them.
 *
 * An entry is moved from the queue into a slot with the lock held; its event is read afterwards
 * without it (consumer_take.c), and how it went is said in the end (consumer_settle.c). The event
 * points into a block of the log that the slot keeps; nothing is copied but its id.
 */
#include "queue/consumer_impl.h"

#include <assert.h>
#include <stdlib.h>

#define PREFETCH_DEFAULT 64
#define FORGOTTEN_CAP 1024 /* memory of a slot whose event is not needed any more */

/* ---- slots ---- */

beck_status consumer_more_slots(beck_consumer *c)
{
    uint32_t chunk = c->slot_count / SLOTS_AT_ONCE;
    struct slot *slots = aligned_alloc(_Alignof(struct slot), SLOTS_AT_ONCE * sizeof *slots);
    if (!slots)
        return BECK_ENOMEM;
    memset(slots, 0, SLOTS_AT_ONCE * sizeof *slots);
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

void consumer_share(beck_consumer *c, struct block *b)
{
    if (c->shared && c->spare_refs > 0)
        block_release_many(c->shared, c->spare_refs);
    c->shared = b;
    c->spare_refs = 0;
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

void consumer_close_cursors(beck_consumer *c)
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
    consumer_close_cursors(c);
    consumer_share(c, NULL);
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

/* ---- what it holds ---- */

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
            consumer_free_slot(c, s);
    }
    uint32_t held = c->held;
    mutex_unlock(&c->queue->lock);
    return held;
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
    consumer_drop_block(s->consumer, s->block);
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
