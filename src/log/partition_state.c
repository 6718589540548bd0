/* What a partition says of itself, and waiting for it: see partition.h. */
#include "log/partition_impl.h"

#include <assert.h>

uint32_t partition_number(const struct partition *p)
{
    return p->context.partition;
}

const struct record_context *partition_context(const struct partition *p)
{
    return &p->context;
}

bool partition_is_memory(const struct partition *p)
{
    return p->options.memory;
}

void partition_info(struct partition *p, beck_partition_info *out)
{
    *out = (beck_partition_info){.oldest_ms = -1, .newest_ms = -1};
    mutex_lock(&p->lock);
    out->first_offset = p->first;
    out->next_offset = p->next;
    out->written_offset = p->written;
    out->synced_offset = p->synced;
    out->segments = (uint32_t)p->segment_count;
    out->bytes = p->options.memory ? p->memory_bytes : 0;
    for (size_t i = 0; i < p->segment_count; i++) {
        int64_t ms;
        struct segment *s = p->segments[i];
        if (segment_use(s, NULL))
            continue;
        out->bytes += atomic_load(&s->size);
        if (p->first < p->written) {
            if (out->oldest_ms < 0 && !segment_created(s, &ms, NULL))
                out->oldest_ms = ms;
            if (!segment_max_timestamp(s, &ms, NULL) && ms > out->newest_ms)
                out->newest_ms = ms;
        }
        segment_unuse(s);
    }
    mutex_unlock(&p->lock);
}

int64_t partition_next(struct partition *p)
{
    mutex_lock(&p->lock);
    int64_t next = p->next;
    mutex_unlock(&p->lock);
    return next;
}

int64_t partition_visible(struct partition *p)
{
    return atomic_load_explicit(&p->visible, memory_order_acquire);
}

int64_t partition_first(struct partition *p)
{
    return atomic_load_explicit(&p->first_seen, memory_order_acquire);
}

int64_t partition_kept(struct partition *p)
{
    mutex_lock(&p->lock);
    int64_t kept = p->segment_count > 0 ? p->segments[0]->base_offset : p->first;
    mutex_unlock(&p->lock);
    return kept;
}

int64_t partition_synced(struct partition *p)
{
    mutex_lock(&p->lock);
    int64_t synced = p->synced;
    mutex_unlock(&p->lock);
    return synced;
}

bool partition_wait(struct partition *p, int64_t offset, int64_t deadline_ns,
                    const _Atomic(bool) *stop)
{
    bool in_time = true;
    mutex_lock(&p->lock);
    p->watchers++;
    while (partition_visible(p) <= offset && in_time && !(stop && atomic_load(stop))) {
        if (deadline_ns == INT64_MAX)
            cond_wait(&p->changed, &p->lock);
        else
            in_time = cond_wait_until(&p->changed, &p->lock, p->env->clock, deadline_ns);
    }
    bool there = partition_visible(p) > offset;
    p->watchers--;
    mutex_unlock(&p->lock);
    return there;
}

static void unlink_watch(struct partition *p, struct partition_watch *w)
{
    if (w->previous)
        w->previous->next = w->next;
    else
        p->watches = w->next;
    if (w->next)
        w->next->previous = w->previous;
    w->on = false;
}

bool partition_watch(struct partition *p, struct partition_watch *w)
{
    mutex_lock(&p->lock);
    assert(!w->on);
    bool wait = !p->condemned && partition_visible(p) <= w->offset;
    if (wait) {
        w->previous = NULL;
        w->next = p->watches;
        if (w->next)
            w->next->previous = w;
        p->watches = w;
        w->on = true;
    }
    mutex_unlock(&p->lock);
    return wait;
}

void partition_unwatch(struct partition *p, struct partition_watch *w)
{
    mutex_lock(&p->lock);
    if (w->on)
        unlink_watch(p, w);
    mutex_unlock(&p->lock);
}

void partition_call_watches(struct partition *p, bool all)
{
    assert(mutex_held(&p->lock));
    for (struct partition_watch *w = p->watches, *next; w; w = next) {
        next = w->next;
        if (all || partition_visible(p) > w->offset) {
            unlink_watch(p, w);
            w->fn(w->ctx);
        }
    }
}

void partition_pause(struct partition *p)
{
    mutex_lock(&p->lock);
    p->pausing++;
    while (p->writing || p->gather->builder.count > 0) {
        /* Without memory the writer of the gather will try again. */
        if (p->writing || partition_write_until(p, NULL, NULL))
            cond_wait(&p->changed, &p->lock);
    }
    p->pausing--;
    assert(p->next == p->written);
}

void partition_resume(struct partition *p)
{
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
}

void partition_condemn(struct partition *p)
{
    mutex_lock(&p->lock);
    p->poisoned = p->condemned = true;
    cond_broadcast(&p->changed);
    partition_call_watches(p, true);
    while (p->writing || p->syncing)
        cond_wait(&p->changed, &p->lock);
    mutex_unlock(&p->lock);
}

int64_t partition_paused_end(const struct partition *p)
{
    assert(p->next == p->written);
    return p->next;
}
