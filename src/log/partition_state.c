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

void partition_bus_options(struct partition *p, beck_bus_options *out)
{
    mutex_lock(&p->lock);
    *out = p->options.bus;
    mutex_unlock(&p->lock);
}

beck_status partition_alter(struct partition *p, const beck_bus_options *bus, beck_error *err)
{
    struct dedup *fresh = bus->dedup_window_ms > 0 ? dedup_new(bus->dedup_window_ms) : NULL;
    if (bus->dedup_window_ms > 0 && !fresh)
        return error_set(err, BECK_ENOMEM, "no memory for the ids of events");
    partition_pause(p);
    assert(p->options.bus.storage == bus->storage &&
           p->options.bus.read_synced == bus->read_synced);
    p->options.bus = *bus;
    if (fresh && p->dedup) {
        dedup_set_window(p->dedup, bus->dedup_window_ms);
    } else {
        struct dedup *old = p->dedup;
        p->dedup = fresh;
        fresh = old;
    }
    partition_resume(p);
    dedup_free(fresh);
    return BECK_OK;
}

const char *partition_damage(const struct partition *p)
{
    return p->damage;
}

beck_status partition_check_damage(const struct partition *p, beck_error *err)
{
    return p->damage ? error_set(err, BECK_ECORRUPT, "%s", p->damage) : BECK_OK;
}

void partition_set_rules(struct partition *p, const struct partition_rules *rules)
{
    mutex_lock(&p->lock);
    p->rules = *rules;
    mutex_unlock(&p->lock);
}

/* ---- what is stored ---- */

static bool is_known(const struct segment *s)
{
    return atomic_load(&s->size) > 0 && s->created_ms >= 0 && s->max_timestamp_ms >= 0;
}

/* The first sealed segment behind `after` of which the numbers are not known; NULL: none. */
static struct segment *next_unknown(const struct partition *p, int64_t after)
{
    for (size_t i = 0; i + 1 < p->segment_count; i++)
        if (p->segments[i]->base_offset > after && !is_known(p->segments[i]))
            return p->segments[i];
    return NULL;
}

/* Reads the numbers of a sealed segment from its files, as a segment that nobody else has. Without
 * the lock. */
static beck_status look_at_files(const struct partition *p, int64_t base_offset,
                                 struct segment *out, beck_error *err)
{
    struct env env = *p->env;
    struct segment *s;
    env.read_only = true;
    beck_status status = segment_know(&env, p->dir, base_offset, &s, err);
    if (status)
        return status;
    int64_t ms;
    status = segment_use(s, err);
    if (!status) {
        status = segment_created(s, &ms, err);
        if (!status)
            status = segment_max_timestamp(s, &ms, err);
        /* Damage hides the times; the size is known all the same. */
        if (status == BECK_ECORRUPT)
            status = BECK_OK;
        *out = (struct segment){.created_ms = s->created_ms,
                                .max_timestamp_ms = s->max_timestamp_ms,
                                .max_timestamp_offset = s->max_timestamp_offset};
        atomic_init(&out->size, atomic_load(&s->size));
        segment_unuse(s);
    }
    segment_free(s);
    return status;
}

beck_status partition_know_sealed(struct partition *p, beck_error *err)
{
    assert(mutex_held(&p->lock));
    beck_status status = BECK_OK;
    struct segment *s;
    if (p->sealed_known)
        return BECK_OK;
    for (int64_t at = -1; (s = next_unknown(p, at));) {
        struct segment seen;
        at = s->base_offset;
        mutex_unlock(&p->lock);
        beck_error why = {0};
        beck_status looked = look_at_files(p, at, &seen, &why);
        mutex_lock(&p->lock);
        s = next_unknown(p, at - 1);
        if (!s || s->base_offset != at)
            continue;
        if (looked && !status)
            status = error_set(err, looked, "%s", why.text);
        if (looked)
            continue;
        if (atomic_load(&s->size) == 0)
            atomic_store(&s->size, atomic_load(&seen.size));
        s->created_ms = seen.created_ms;
        s->max_timestamp_ms = seen.max_timestamp_ms;
        s->max_timestamp_offset = seen.max_timestamp_offset;
    }
    p->sealed_bytes = 0;
    p->sealed_oldest_ms = p->sealed_newest_ms = -1;
    for (size_t i = 0; i + 1 < p->segment_count; i++) {
        s = p->segments[i];
        p->sealed_bytes += atomic_load(&s->size);
        if (p->sealed_oldest_ms < 0)
            p->sealed_oldest_ms = s->created_ms;
        if (s->max_timestamp_ms > p->sealed_newest_ms)
            p->sealed_newest_ms = s->max_timestamp_ms;
    }
    p->sealed_known = !status;
    return status;
}

void partition_info(struct partition *p, beck_partition_info *out)
{
    mutex_lock(&p->lock);
    if (!p->options.memory)
        partition_know_sealed(p, NULL);
    *out =
        (beck_partition_info){.first_offset = p->first,
                              .next_offset = p->next,
                              .written_offset = p->written,
                              .synced_offset = p->synced,
                              .segments = (uint32_t)p->segment_count,
                              .bytes = p->options.memory ? tail_bytes(&p->tail) : p->sealed_bytes,
                              .oldest_ms = -1,
                              .newest_ms = -1,
                              .damaged = p->damage != NULL};
    if (p->segment_count > 0) {
        struct segment *active = p->segments[p->segment_count - 1];
        int64_t oldest = -1, newest = -1;
        out->bytes += atomic_load(&active->size);
        if (p->first < p->written && !p->damage) {
            segment_created(active, &oldest, NULL);
            segment_max_timestamp(active, &newest, NULL);
            out->oldest_ms = p->sealed_oldest_ms >= 0 ? p->sealed_oldest_ms : oldest;
            out->newest_ms = newest > p->sealed_newest_ms ? newest : p->sealed_newest_ms;
        }
    }
    mutex_unlock(&p->lock);
}

void partition_counts(struct partition *p, struct partition_counts *out)
{
    mutex_lock(&p->lock);
    *out = (struct partition_counts){.batches = p->written_batches,
                                     .bytes = p->written_bytes,
                                     .poisoned = p->poisoned && !p->condemned && !p->damage,
                                     .damaged = p->damage != NULL};
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

int64_t partition_stable(struct partition *p)
{
    int64_t visible = partition_visible(p), first = partition_first(p);
    return visible > first ? visible : first;
}

int64_t partition_high(struct partition *p)
{
    return atomic_load_explicit(&p->high, memory_order_acquire);
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

static bool is_there(struct partition *p, const struct partition_watch *w)
{
    return (w->uncommitted ? partition_high(p) : partition_visible(p)) > w->offset;
}

bool partition_watch(struct partition *p, struct partition_watch *w)
{
    mutex_lock(&p->lock);
    assert(!w->on);
    bool wait = !p->condemned && !is_there(p, w);
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
        if (all || is_there(p, w)) {
            unlink_watch(p, w);
            w->fn(w->ctx);
        }
    }
}

void partition_wake(struct partition *p)
{
    mutex_lock(&p->lock);
    partition_call_watches(p, true);
    mutex_unlock(&p->lock);
}

void partition_pause(struct partition *p)
{
    mutex_lock(&p->lock);
    p->pausing++;
    while (p->writing || !gather_is_empty(p->gather)) {
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
