/*
 * What was routed, on its way to the hook. It is handed on once its events are visible, in order of
 * offsets: at once, or held until the sync or the end of the transaction that they wait for. What
 * belongs to a transaction that was aborted is given back.
 *
 * Holding has a limit while a transaction is open, which may be long: behind it routes are given back
 * with ROUTED_LATER, and whoever they are for reads the log.
 */
#include "log/partition_impl.h"

#include <assert.h>
#include <stdlib.h>

#define HELD_MAX 262144
#define AT_ONCE 256

static bool is_waiting(const struct partition *p)
{
    return p->held_begin < p->held_end || p->releasing;
}

/* Room for `count` more behind held_end. */
static beck_status reserve_held(struct partition *p, size_t count)
{
    if (p->held_begin > 0 && p->held_begin >= p->held_end - p->held_begin) {
        memmove(p->held, p->held + p->held_begin, (p->held_end - p->held_begin) * sizeof *p->held);
        p->held_end -= p->held_begin;
        p->held_begin = 0;
    }
    if (p->held_end + count <= p->held_cap)
        return BECK_OK;
    size_t cap = (p->held_end + count) * 2;
    struct routed *grown = realloc(p->held, cap * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    p->held = grown;
    p->held_cap = cap;
    return BECK_OK;
}

static beck_status add_held_batch(struct partition *p, const struct batch_header *h)
{
    if (p->held_batch_count == p->held_batch_cap) {
        size_t cap = p->held_batch_cap ? p->held_batch_cap * 2 : 16;
        struct held_batch *grown = realloc(p->held_batches, cap * sizeof *grown);
        if (!grown)
            return BECK_ENOMEM;
        p->held_batches = grown;
        p->held_batch_cap = cap;
    }
    p->held_batches[p->held_batch_count++] =
        (struct held_batch){h->base_offset, batch_last_offset(h), h->producer_id};
    return BECK_OK;
}

/* Notes the batches that transactions decide on. */
static beck_status hold_batches(struct partition *p, beck_bytes batches)
{
    struct batch_header h;
    for (size_t at = 0; at < batches.len; at += batch_size(&h)) {
        beck_status status = batch_header_read((const uint8_t *)batches.data + at, &h, NULL);
        if (!status && (h.attributes & BATCH_TRANSACTIONAL))
            status = add_held_batch(p, &h);
        if (status)
            return status;
    }
    return BECK_OK;
}

static beck_status hold(struct partition *p, const struct routed *routes, size_t count,
                        beck_bytes batches)
{
    size_t batches_before = p->held_batch_count;
    bool open = producers_oldest(p->producers) != INT64_MAX;
    if (open && p->held_end - p->held_begin + count > HELD_MAX)
        return BECK_ELIMIT;
    beck_status status = reserve_held(p, count);
    if (!status)
        status = hold_batches(p, batches);
    if (status) {
        p->held_batch_count = batches_before;
        return status;
    }
    memcpy(p->held + p->held_end, routes, count * sizeof *routes);
    p->held_end += count;
    return BECK_OK;
}

static void give_back(struct partition *p, struct routed *routes, size_t count, int64_t why)
{
    for (size_t i = 0; i < count; i++)
        routes[i].offset = why;
    p->options.routed(p->options.routed_ctx, p, routes, count);
}

void partition_hand_on(struct partition *p, struct routed *routes, size_t count, beck_bytes batches)
{
    assert(mutex_held(&p->lock));
    if (count == 0)
        return;
    /* Before anybody can settle one. All of a batch lies in the newest block. */
    size_t owed = 0;
    for (size_t i = 0; p->options.memory && i < count; i++)
        owed += routes[i].count;
    if (owed > 0)
        tail_own(&p->tail, owed);
    bool visible = routes[count - 1].offset < partition_visible(p);
    if (visible && !is_waiting(p)) {
        mutex_unlock(&p->lock);
        p->options.routed(p->options.routed_ctx, p, routes, count);
        mutex_lock(&p->lock);
        return;
    }
    if (hold(p, routes, count, batches)) {
        mutex_unlock(&p->lock);
        give_back(p, routes, count, ROUTED_LATER);
        mutex_lock(&p->lock);
    }
    /* Whoever releases goes on until nothing is ready. */
    if (!p->releasing)
        partition_release_held(p);
}

static bool is_ready(struct partition *p)
{
    return p->held_begin < p->held_end && p->held[p->held_begin].offset < partition_visible(p);
}

void partition_release_held(struct partition *p)
{
    /* The hook is to see offsets in order, also where others release. */
    while (p->releasing)
        cond_wait(&p->changed, &p->lock);
    if (!is_ready(p))
        return;
    p->releasing = true;
    while (is_ready(p)) {
        struct routed some[AT_ONCE];
        size_t count = 0;
        while (count < AT_ONCE && is_ready(p)) {
            some[count] = p->held[p->held_begin++];
            if (some[count].aborted)
                some[count].offset = -1;
            count++;
        }
        mutex_unlock(&p->lock);
        p->options.routed(p->options.routed_ctx, p, some, count);
        mutex_lock(&p->lock);
    }
    p->releasing = false;
    cond_broadcast(&p->changed);
}

/* Of the first held at or behind the offset. */
static size_t find_held(const struct partition *p, int64_t offset)
{
    size_t low = p->held_begin, high = p->held_end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->held[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void partition_settle_held(struct partition *p, int64_t producer_id, bool aborted)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->held_batch_count; i++) {
        struct held_batch b = p->held_batches[i];
        if (b.producer_id != producer_id) {
            p->held_batches[kept++] = b;
            continue;
        }
        for (size_t n = aborted ? find_held(p, b.first) : p->held_end;
             n < p->held_end && p->held[n].offset <= b.last; n++)
            p->held[n].aborted = true;
    }
    p->held_batch_count = kept;
}

void partition_give_back_held(struct partition *p)
{
    if (p->held_begin < p->held_end)
        give_back(p, p->held + p->held_begin, p->held_end - p->held_begin, -1);
    p->held_begin = p->held_end = 0;
}

void partition_disown(struct partition *p, const int64_t *offsets, size_t count)
{
    if (p->options.memory)
        tail_disown(&p->tail, offsets, count);
}
