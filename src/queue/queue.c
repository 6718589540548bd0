/* A queue's entries and where they are: see queue.h. Bindings are in queue_bind.c, what lasts in
 * queue_state.c, consumers in consumer.c. */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- life ---- */

static beck_status make_directory(struct queue *q, beck_error *err)
{
    struct vfs *v = q->home->env->vfs;
    char parent[4096], path[4400];
    snprintf(parent, sizeof parent, "%s/__queues", q->home->data_dir);
    snprintf(path, sizeof path, "%s/%s", parent, q->name);
    q->dir = strdup(path);
    if (!q->dir)
        return error_set(err, BECK_ENOMEM, "no memory for queue \"%s\"", q->name);
    beck_status status = vfs_mkdir(v, parent, err);
    if (status && status != BECK_EEXIST)
        return status;
    status = vfs_mkdir(v, path, err);
    if (status && status != BECK_EEXIST)
        return status;
    return BECK_OK;
}

beck_status queue_new(struct queue_home *home, const char *name, const beck_queue_options *options,
                      struct queue **out, beck_error *err)
{
    struct queue *q = calloc(1, sizeof *q);
    if (!q)
        return error_set(err, BECK_ENOMEM, "no memory for queue \"%s\"", name);
    q->home = home;
    q->options = *options;
    q->rules = (struct queue_rules){.ttl_ms = options->ttl_ms ? options->ttl_ms : -1,
                                    .length_max = options->length_max,
                                    .overflow = options->overflow,
                                    .attempts_max = options->attempts_max,
                                    .deadline_ms = options->deadline_ms};
    atomic_init(&q->refuses, queue_rules_refuse(&q->rules));
    q->durable = options->storage == BECK_STORAGE_DISK;
    q->next_due_ms = INT64_MAX;
    atomic_init(&q->refs, 1);
    mutex_init(&q->lock);
    cond_init(&q->ready);
    cond_init(&q->quiet);
    rng_seed_system(&q->rng);
    q->number = rng_below(&q->rng, INT64_MAX - 1) + 1;
    q->name = strdup(name);
    q->levels = calloc(options->priority_max + 1, sizeof(struct fifo *));
    q->saved_heads = calloc(options->priority_max + 1, sizeof *q->saved_heads);
    beck_status status = BECK_OK;
    if (!q->name || !q->levels || !q->saved_heads)
        status = error_set(err, BECK_ENOMEM, "no memory for queue \"%s\"", name);
    if (!status && q->durable)
        status = make_directory(q, err);
    if (!status)
        status = schedule_new(q->durable ? home->env->vfs : NULL, q->dir, &q->delayed, err);
    uint32_t index;
    if (!status && home->dead)
        status = queue_add_source(q, home->dead->name, 0, home->dead, &index, err);
    if (status) {
        queue_release(q);
        return status;
    }
    queue_make_metrics(q);
    *out = q;
    return BECK_OK;
}

struct queue *queue_retain(struct queue *q)
{
    atomic_fetch_add_explicit(&q->refs, 1, memory_order_relaxed);
    return q;
}

void queue_release_many(struct queue *q, uint32_t count)
{
    uint32_t before = atomic_fetch_sub_explicit(&q->refs, count, memory_order_acq_rel);
    assert(before >= count);
    if (before != count)
        return;
    queue_free_metrics(q);
    for (uint32_t i = 0; q->levels && i <= q->options.priority_max; i++)
        fifo_free(q->levels[i]);
    schedule_free(q->delayed);
    cursor_close(q->grave);
    for (uint32_t i = 0; i < q->source_count; i++) {
        free(q->sources[i].bus_name);
        free(q->sources[i].held);
    }
    for (uint32_t i = 0; i < q->binding_count; i++) {
        free(q->bindings[i].pattern);
        free(q->bindings[i].first);
    }
    histories_release(&q->histories);
    free(q->levels);
    free(q->saved_heads);
    free(q->returns);
    free(q->limbo);
    free(q->dead);
    free(q->sources);
    free(q->bindings);
    cond_release(&q->ready);
    cond_release(&q->quiet);
    mutex_release(&q->lock);
    free(q->dir);
    free(q->name);
    free(q);
}

void queue_release(struct queue *q)
{
    queue_release_many(q, 1);
}

const char *queue_name(const struct queue *q)
{
    return q->name;
}

uint64_t queue_number(const struct queue *q)
{
    return q->number;
}

uint64_t queue_route_number(const void *route)
{
    const struct queue *q = route;
    return q->number;
}

void queue_route_release(void *route)
{
    queue_release(route);
}

void queue_set_number(struct queue *q, uint64_t number)
{
    q->number = number;
    q->number_kept = true;
}

bool queue_number_is_kept(struct queue *q)
{
    return q->number_kept;
}

void queue_keep_number(struct queue *q)
{
    q->number_kept = true;
}

/* ---- entries ---- */

static bool before(const struct entry *a, const struct entry *b)
{
    return a->seq != b->seq ? a->seq < b->seq : a->where < b->where;
}

beck_status queue_reserve_returns(struct queue *q, size_t more)
{
    /* Whatever is in flight or in limbo may come back. */
    size_t need = q->return_count + (size_t)q->in_flight + q->limbo_count + more;
    if (need <= q->return_cap)
        return BECK_OK;
    size_t cap = q->return_cap ? q->return_cap : 64;
    while (cap < need)
        cap *= 2;
    struct entry *grown = realloc(q->returns, cap * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    q->returns = grown;
    q->return_cap = cap;
    return BECK_OK;
}

beck_status queue_push_return(struct queue *q, const struct entry *e)
{
    if (q->return_count == q->return_cap && queue_reserve_returns(q, 1))
        return BECK_ENOMEM;
    size_t i = q->return_count++;
    for (; i > 0 && before(e, &q->returns[(i - 1) / 2]); i = (i - 1) / 2)
        q->returns[i] = q->returns[(i - 1) / 2];
    q->returns[i] = *e;
    return BECK_OK;
}

static void pop_return(struct queue *q, struct entry *out)
{
    *out = q->returns[0];
    struct entry last = q->returns[--q->return_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->return_count)
            break;
        if (child + 1 < q->return_count && before(&q->returns[child + 1], &q->returns[child]))
            child++;
        if (!before(&q->returns[child], &last))
            break;
        q->returns[i] = q->returns[child];
        i = child;
    }
    if (q->return_count > 0)
        q->returns[i] = last;
}

int64_t queue_ready(const struct queue *q)
{
    int64_t n = (int64_t)q->return_count;
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        n += q->levels[i] ? (int64_t)fifo_count(q->levels[i]) : 0;
    return n;
}

static struct fifo *first_level(const struct queue *q)
{
    for (uint32_t i = q->options.priority_max + 1; i-- > 0;)
        if (q->levels[i] && fifo_count(q->levels[i]) > 0)
            return q->levels[i];
    return NULL;
}

/* A damaged or unreadable fifo file: the log knows what was in it. */
static void fifo_failed(struct queue *q, const beck_error *why)
{
    if (!q->rebuild)
        env_report(q->home->env, why->code, "queue \"%s\": %s; its list is made again from the log",
                   q->name, why->text);
    q->rebuild = true;
    queue_rebuild(q);
}

void queue_note_popped(struct queue *q, const struct entry *e)
{
    struct source *s = &q->sources[entry_source(e)];
    if (q->options.priority_max == 0 && !s->mixed && entry_offset(e) >= s->popped)
        s->popped = entry_offset(e) + 1;
}

size_t queue_pop_some(struct queue *q, struct entry *out, size_t max, beck_error *err)
{
    struct fifo *f = first_level(q);
    struct entry head;
    beck_error why;
    error_clear(&why);
    if (q->return_count > 0) {
        if (f && fifo_peek(f, &head, &why)) {
            fifo_failed(q, &why);
            f = NULL;
        }
        if (!f || before(&q->returns[0], &head)) {
            pop_return(q, out);
            return 1;
        }
        max = 1; /* the next one may be one that came back */
    }
    size_t count;
    if (!f)
        return 0;
    if (fifo_pop_run(f, out, max, &count, &why)) {
        fifo_failed(q, &why);
        error_set(err, why.code, "%s", why.text);
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        queue_note_popped(q, &out[i]);
    return count;
}

beck_status queue_push_delayed(struct queue *q, const struct entry *e, int64_t due_ms)
{
    struct scheduled item = {due_ms, *e};
    beck_status status = schedule_push(q->delayed, &item, NULL);
    if (!status && due_ms < q->next_due_ms) {
        q->next_due_ms = due_ms;
        queue_announce_due(q);
    }
    return status;
}

static void look_at_schedule(struct queue *q)
{
    struct scheduled next;
    beck_error why;
    error_clear(&why);
    beck_status status = schedule_peek(q->delayed, &next, &why);
    q->next_due_ms = status ? INT64_MAX : next.due_ms;
    if (status && status != BECK_END)
        env_report(
            q->home->env, status,
            "queue \"%s\": its delayed events cannot be read: %s; close, remove the file and "
            "open again: they are read from the log",
            q->name, why.text);
}

void queue_wake(struct queue *q, size_t count)
{
    queue_call_watches(q, count);
    if (q->takers == 0 || count == 0)
        return;
    if (count == 1 || q->takers == 1)
        cond_signal(&q->ready);
    else
        cond_broadcast(&q->ready);
}

#define DISOWN_AT_ONCE 256

void queue_disown(struct queue *q, const struct entry *entries, size_t count)
{
    int64_t offsets[DISOWN_AT_ONCE];
    for (size_t i = 0; i < count;) {
        uint32_t source = entry_source(&entries[i]);
        size_t n = 0;
        for (; i < count && n < DISOWN_AT_ONCE && entry_source(&entries[i]) == source; i++)
            offsets[n++] = entry_offset(&entries[i]);
        mutex_lock(&q->lock);
        struct partition *p = q->sources[source].partition;
        mutex_unlock(&q->lock);
        if (p && partition_is_memory(p))
            partition_disown(p, offsets, n);
    }
}

beck_status queue_open_cursor(struct queue *q, uint32_t source, struct cursor **out,
                              beck_error *err)
{
    /* With the lock, because the bus may be deleted meanwhile: a cursor keeps its partition. */
    mutex_lock(&q->lock);
    struct partition *p = q->sources[source].partition;
    beck_status status = p ? cursor_open(p, out, err)
                           : error_set(err, BECK_ENOENT, "the bus \"%s\" has been deleted",
                                       q->sources[source].bus_name);
    mutex_unlock(&q->lock);
    return status;
}

bool queue_source_is_dead(struct queue *q, uint32_t source)
{
    mutex_lock(&q->lock);
    bool dead = q->home->dead && q->sources[source].partition == bus_partition(q->home->dead, 0);
    mutex_unlock(&q->lock);
    return dead;
}

#define BACKOFF_MAX_MS (INT64_C(1) << 53) /* far beyond anybody's life, and safe to add to */

int64_t backoff_delay(struct queue *q, uint32_t attempts)
{
    const beck_backoff *b = &q->options.backoff;
    int64_t delay = b->first_ms;
    if (b->kind == BECK_BACKOFF_NONE)
        return 0;
    if (b->kind == BECK_BACKOFF_LIST)
        delay = b->list_ms[attempts <= b->list_count ? attempts - 1 : b->list_count - 1];
    if (b->kind == BECK_BACKOFF_EXPONENTIAL) {
        for (uint32_t i = 1; i < attempts && delay < b->max_ms; i++)
            delay = delay > b->max_ms / 2 ? b->max_ms : delay * 2;
        if (delay > b->max_ms)
            delay = b->max_ms;
    }
    if (delay > BACKOFF_MAX_MS)
        delay = BACKOFF_MAX_MS;
    int64_t spread = b->jitter_percent <= 100
                         ? delay / 100 * b->jitter_percent + delay % 100 * b->jitter_percent / 100
                         : 0;
    if (spread > 0)
        delay += (int64_t)rng_below(&q->rng, (uint64_t)spread * 2 + 1) - spread;
    return delay;
}

/* ---- routing ---- */

uint32_t queue_level(const struct queue *q, uint32_t priority)
{
    return priority < q->options.priority_max ? priority : q->options.priority_max;
}

uint32_t queue_find_source(const struct queue *q, const struct partition *p)
{
    for (uint32_t i = 0; i < q->source_count; i++)
        if (q->sources[i].partition == p)
            return i;
    return UINT32_MAX;
}

static beck_status level_fifo(struct queue *q, uint32_t level, struct fifo **out, beck_error *err)
{
    beck_status status = BECK_OK;
    if (!q->levels[level])
        status = fifo_new(q->durable ? q->home->env->vfs : NULL, q->dir, level, 0,
                          &q->levels[level], err);
    *out = q->levels[level];
    return status;
}

/* The place in the heap of the least of a level; SIZE_MAX: none. */
static size_t first_return(const struct queue *q, uint32_t level)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < q->return_count; i++) {
        if (entry_level(&q->returns[i]) != level)
            continue;
        if (found == SIZE_MAX || before(&q->returns[i], &q->returns[found]))
            found = i;
        if (i == 0)
            break; /* nothing is before the top */
    }
    return found;
}

/* Takes out of the heap what stands at i. */
static void remove_return(struct queue *q, size_t i)
{
    /* It rises to the top as one that is before all others. */
    for (; i > 0; i = (i - 1) / 2)
        q->returns[i] = q->returns[(i - 1) / 2];
    struct entry e;
    pop_return(q, &e);
}

/* Lets the oldest of the lowest level go. False: nothing there, or no memory to put it. */
static bool drop_one(struct queue *q)
{
    for (uint32_t level = 0; level <= q->options.priority_max; level++) {
        struct fifo *f = q->levels[level];
        struct entry e, head;
        beck_error why = {0};
        size_t at = q->return_count > 0 ? first_return(q, level) : SIZE_MAX;
        bool listed = f && fifo_count(f) > 0;
        if (!listed && at == SIZE_MAX)
            continue;
        if (listed && fifo_peek(f, &head, &why)) {
            fifo_failed(q, &why);
            return false;
        }
        bool from_list = listed && (at == SIZE_MAX || before(&head, &q->returns[at]));
        e = from_list ? head : q->returns[at];
        if (queue_add_limbo(q, &e, "maxlen", "the queue was longer than its limit", -1, -1))
            return false;
        if (!from_list)
            remove_return(q, at);
        else if (!fifo_pop(f, &e, NULL))
            queue_note_popped(q, &e);
        q->dropped++;
        return true;
    }
    return false;
}

/* What is dropped for the bytes is measured before the next one goes. */
static bool is_over(const struct queue *q)
{
    const struct queue_rules *r = &q->rules;
    return (r->length_max && queue_ready(q) > r->length_max) ||
           (r->bytes_max && q->ready_bytes > r->bytes_max && q->limbo_counted == 0);
}

void queue_keep_limits(struct queue *q)
{
    while (!q->recovering && !q->held && queue_limbo_has_room(q) &&
           q->rules.overflow == BECK_OVERFLOW_DROP_OLDEST && is_over(q) && drop_one(q))
        continue;
}

int64_t slot_bytes(const struct slot *s)
{
    bool known = !s->counted && entry_source(&s->entry) != DEAD_SOURCE &&
                 atomic_load_explicit(&s->shown, memory_order_acquire);
    return known ? (int64_t)s->event.data.len : 0;
}

void queue_tidy_bytes(struct queue *q)
{
    if (q->ready_bytes != 0 && q->in_flight == 0 && q->limbo_count == 0 && queue_ready(q) == 0 &&
        schedule_count(q->delayed) == 0)
        q->ready_bytes = 0;
}

#define GRACE_MS 100 /* for what expires on arrival, while somebody is about to take it */

static int64_t expiry(const struct queue *q, int64_t now_ms, int64_t deliver_at_ms,
                      int64_t expires_at_ms)
{
    int64_t expires = expires_at_ms > 0 ? expires_at_ms : 0, ttl = q->rules.ttl_ms;
    if (ttl >= 0) {
        int64_t from = deliver_at_ms > now_ms ? deliver_at_ms : now_ms;
        int64_t end = ttl < INT64_MAX - from ? from + ttl : INT64_MAX;
        if (!expires || end < expires)
            expires = end;
    }
    bool waiting = q->takers > 0 || q->first_watch ||
                   atomic_load_explicit(&q->expecting, memory_order_relaxed);
    if (expires && expires <= now_ms && q->ruled && waiting)
        expires = now_ms + GRACE_MS;
    return expires;
}

beck_status queue_route_run(struct queue *q, uint32_t source, const struct routed *run,
                            int64_t now_ms, uint32_t *routed, beck_error *err)
{
    assert(mutex_held(&q->lock));
    uint32_t level = queue_level(q, run->priority);
    int64_t expires = expiry(q, now_ms, run->deliver_at_ms, run->expires_at_ms);
    struct fifo *f;
    *routed = 0;
    beck_status status = level_fifo(q, level, &f, err);
    if (status)
        return status;
    struct entry e = {.where = entry_where(source, run->offset), .meta = entry_meta(expires, 0)};
    for (; *routed < run->count && !status; *routed += !status, e.where++) {
        if (run->deliver_at_ms > now_ms) {
            e.seq = entry_seq(level, fifo_tail(f));
            status = queue_push_delayed(q, &e, run->deliver_at_ms);
        } else {
            status = fifo_push(f, &e, err);
        }
    }
    if (*routed > 0) {
        q->dirty = true;
        q->ready_bytes += (int64_t)(run->bytes / run->count * *routed);
        if (*routed == run->count)
            q->ready_bytes += (int64_t)(run->bytes % run->count);
        queue_keep_limits(q);
    }
    return status;
}

beck_status queue_route(struct queue *q, uint32_t source, int64_t offset, int64_t now_ms,
                        int64_t deliver_at_ms, int64_t expires_at_ms, uint32_t priority,
                        size_t size, beck_error *err)
{
    struct routed one = {.offset = offset,
                         .deliver_at_ms = deliver_at_ms,
                         .expires_at_ms = expires_at_ms,
                         .bytes = size,
                         .count = 1,
                         .priority = (uint16_t)priority};
    uint32_t routed;
    return queue_route_run(q, source, &one, now_ms, &routed, err);
}

/* ---- deadlines ---- */

int64_t queue_deadline_ns(const struct queue *q, int64_t now_ns)
{
    int64_t ms = q->rules.deadline_ms;
    bool never = ms < 0 || ms > (INT64_MAX - now_ns) / 1000000;
    return never ? INT64_MAX : now_ns + ms * 1000000;
}

void slot_link(struct queue *q, struct slot *s, int64_t deadline_ns)
{
    s->deadline_ns = deadline_ns;
    /* Mostly every delivery has the same time, and stays at the end. */
    struct slot *before = q->last_deadline;
    while (before && before->deadline_ns > s->deadline_ns)
        before = before->previous;
    s->previous = before;
    s->next = before ? before->next : q->first_deadline;
    if (before)
        before->next = s;
    else
        q->first_deadline = s;
    if (s->next)
        s->next->previous = s;
    else
        q->last_deadline = s;
}

void slot_unlink(struct queue *q, struct slot *s)
{
    if (s->previous)
        s->previous->next = s->next;
    else
        q->first_deadline = s->next;
    if (s->next)
        s->next->previous = s->previous;
    else
        q->last_deadline = s->previous;
    s->previous = s->next = NULL;
}

static void expire_deadlines(struct queue *q, int64_t now_ns)
{
    struct slot *s = q->first_deadline;
    while (s && s->deadline_ns <= now_ns) {
        struct slot *next = s->next;
        /* A slot that is being settled right now is left to finish. */
        if (s->state == SLOT_HELD) {
            if (queue_add_limbo(q, &s->entry, NULL, "the deadline passed before it was settled", -1,
                                s->counted ? -1 : slot_bytes(s)))
                return;
            s->counted = false;
            queue_count_failed(q, s);
            slot_unlink(q, s);
            s->state = SLOT_STALE;
            q->in_flight--;
        }
        s = next;
    }
}

/* ---- what time brings ---- */

#define STEPS 1000 /* at once, so that the lock is not held for long */

beck_status queue_expire(struct queue *q, const struct entry *e)
{
    beck_status status = queue_add_limbo(q, e, "expired", "its time to live ended", -1, -1);
    q->expired += status == BECK_OK;
    return status;
}

static void expire_ready(struct queue *q, int64_t now_ms)
{
    if (q->held)
        return;
    for (int step = 0; step < STEPS; step++) {
        struct entry e;
        bool from_fifo = false;
        struct fifo *f = NULL;
        for (uint32_t i = 0; i <= q->options.priority_max && !from_fifo; i++) {
            f = q->levels[i];
            if (!f || fifo_peek(f, &e, NULL))
                continue;
            from_fifo = entry_expires_ms(&e) && entry_expires_ms(&e) <= now_ms;
        }
        if (!from_fifo) {
            if (q->return_count == 0)
                return;
            e = q->returns[0];
            if (!entry_expires_ms(&e) || entry_expires_ms(&e) > now_ms)
                return;
        }
        if (!queue_limbo_has_room(q) || queue_expire(q, &e))
            return;
        if (!from_fifo)
            pop_return(q, &e);
        else if (!fifo_pop(f, &e, NULL))
            queue_note_popped(q, &e);
    }
    q->more = true;
}

static void release_due(struct queue *q, int64_t now_ms)
{
    size_t released = 0;
    while (q->next_due_ms <= now_ms && released < STEPS) {
        struct scheduled item;
        if (queue_reserve_returns(q, 1))
            break;
        if (schedule_pop(q->delayed, &item, NULL) == BECK_OK) {
            queue_push_return(q, &item.entry);
            released++;
            q->dirty = true;
        }
        look_at_schedule(q);
    }
    q->more |= released == STEPS;
    queue_wake(q, released);
}

bool queue_advance(struct queue *q, int64_t now_ms, int64_t now_ns)
{
    assert(mutex_held(&q->lock));
    q->more = false;
    if (q->first_deadline && q->first_deadline->deadline_ns <= now_ns)
        expire_deadlines(q, now_ns);
    if (q->next_due_ms <= now_ms)
        release_due(q, now_ms);
    expire_ready(q, now_ms);
    queue_keep_limits(q); /* what came back counts too */
    return queue_limbo_has_work(q);
}

int64_t queue_next_event_ns(const struct queue *q, int64_t now_ms, int64_t now_ns)
{
    int64_t next = q->first_deadline ? q->first_deadline->deadline_ns : INT64_MAX;
    if (q->next_due_ms != INT64_MAX) {
        int64_t wait_ms = q->next_due_ms - now_ms;
        /* Far away is far enough: whoever waits looks again then. */
        if (wait_ms > 3600000)
            wait_ms = 3600000;
        if (wait_ms < 0)
            wait_ms = 0;
        if (now_ns + wait_ms * 1000000 < next)
            next = now_ns + wait_ms * 1000000;
    }
    return next;
}

void queue_tick(struct queue *q)
{
    struct clock *clock = q->home->env->clock;
    bool more, lagging;
    do {
        mutex_lock(&q->lock);
        bool limbo = queue_advance(q, clock_wall_ms(clock), clock_mono_ns(clock));
        more = q->more;
        lagging = q->rebuild;
        for (uint32_t i = 0; i < q->source_count && !lagging; i++)
            lagging =
                !q->sources[i].live && q->sources[i].bus && queue_is_bound_to(q, q->sources[i].bus);
        mutex_unlock(&q->lock);
        if (limbo)
            queue_finish_limbo(q);
        mutex_lock(&q->lock);
        more &= !queue_limbo_has_work(q); /* else it could not be put away now */
        if (!more)
            queue_announce_due(q);
        mutex_unlock(&q->lock);
    } while (more);
    if (lagging)
        queue_catch_up(q);
    dead_rest(q);
}

/* ---- all of it ---- */

/* Nothing that is still held counts as ready any more. */
static void forget_bytes(struct queue *q)
{
    for (struct slot *s = q->first_deadline; s; s = s->next)
        s->counted = false;
    for (size_t i = 0; i < q->limbo_count; i++)
        if (queue_limbo(q, i)->size < 0)
            queue_limbo(q, i)->size = 0;
    q->limbo_counted = 0;
    q->ready_bytes = 0;
}

void queue_forget_all(struct queue *q)
{
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        if (q->levels[i])
            fifo_clear(q->levels[i]);
    for (uint32_t i = 0; i < q->source_count; i++) {
        free(q->sources[i].held);
        q->sources[i].held = NULL;
        q->sources[i].mixed = false;
    }
    q->return_count = 0;
    schedule_clear(q->delayed);
    q->next_due_ms = INT64_MAX;
    forget_bytes(q);
    q->dirty = true;
}

void queue_take_away(struct queue *q)
{
    while (q->first_deadline) {
        struct slot *s = q->first_deadline;
        slot_unlink(q, s);
        s->state = SLOT_STALE;
        s->counted = false;
    }
    q->in_flight = 0;
    q->limbo_first = q->limbo_count = q->limbo_counted = q->limbo_waiting = 0;
    q->waiting_bytes = 0;
}

void queue_delete(struct queue *q)
{
    mutex_lock(&q->lock);
    q->deleted = true;
    queue_remove_metrics(q);
    q->limbo_heirs++;
    while (q->operations > 0 || q->limbo_working)
        cond_wait(&q->quiet, &q->lock);
    q->limbo_heirs--;
    cond_broadcast(&q->ready);
    queue_call_watches(q, SIZE_MAX);
    queue_forget_all(q);
    /* What consumers hold is theirs no more: an answer must not reach a later queue of this name.
     */
    size_t count = 0;
    struct entry *held = malloc(((size_t)q->in_flight + q->limbo_count + 1) * sizeof *held);
    for (const struct slot *s = q->first_deadline; s && held; s = s->next)
        held[count++] = s->entry;
    for (size_t i = 0; i < q->limbo_count && held; i++)
        held[count++] = queue_limbo(q, i)->entry;
    queue_take_away(q);
    mutex_unlock(&q->lock);
    queue_disown(q, held, count);
    free(held);
    if (!q->dir)
        return;
    fifo_remove_files(q->home->env->vfs, q->dir, NULL);
    schedule_trim(q->delayed);
    vfs_rmdir(q->home->env->vfs, q->dir, NULL);
}

int64_t queue_ready_count(struct queue *q)
{
    mutex_lock(&q->lock);
    if (!q->recovering)
        expire_ready(q, clock_wall_ms(q->home->env->clock));
    int64_t count = queue_ready(q);
    bool limbo = queue_limbo_has_work(q);
    mutex_unlock(&q->lock);
    if (limbo)
        queue_note_limbo(q);
    return count;
}

int64_t queue_ready_bytes(struct queue *q)
{
    mutex_lock(&q->lock);
    int64_t bytes = q->ready_bytes;
    mutex_unlock(&q->lock);
    return bytes > 0 ? bytes : 0;
}

static int take_time(void *ctx, const beck_event *event)
{
    *(int64_t *)ctx = event->time_ns / 1000000;
    return 1;
}

static uint32_t count_patterns(const struct queue *q)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->binding_count; i++)
        n += q->bindings[i].pattern[0] != 0;
    return n;
}

void queue_info(struct queue *q, beck_queue_info *out)
{
    queue_tick(q);
    mutex_lock(&q->lock);
    *out = (beck_queue_info){.name = q->name,
                             .options = q->options,
                             .ready = queue_ready(q),
                             .in_flight = q->in_flight + (int64_t)q->limbo_count,
                             .delayed = (int64_t)schedule_count(q->delayed),
                             .dead = (int64_t)q->dead_count,
                             .consumers = q->consumers,
                             .paused = q->paused,
                             .bindings = count_patterns(q),
                             .oldest_ms = -1,
                             .delivered = q->delivered,
                             .settled = q->settled,
                             .retried = q->retried,
                             .rejected = q->rejected,
                             .expired = q->expired,
                             .dropped = q->dropped};
    mutex_unlock(&q->lock);
    if (out->ready > 0)
        queue_peek(q, 1, take_time, &out->oldest_ms, NULL);
}

void queue_pause(struct queue *q, bool paused)
{
    mutex_lock(&q->lock);
    q->paused = paused;
    cond_broadcast(&q->ready);
    queue_call_watches(q, SIZE_MAX);
    mutex_unlock(&q->lock);
}

/* ---- peeking ---- */

/* Up to max entries in order of delivery. */
static beck_status peek_entries(struct queue *q, struct entry *out, size_t max, size_t *count,
                                beck_error *err)
{
    size_t n = 0, cap = q->return_count;
    struct entry *heap = malloc((cap ? cap : 1) * sizeof *heap);
    if (!heap)
        return error_set(err, BECK_ENOMEM, "no memory to look at queue \"%s\"", q->name);
    if (cap > 0)
        memcpy(heap, q->returns, cap * sizeof *heap);
    /* Only a copy of the queue's heap is taken apart. */
    struct queue copy = {.returns = heap, .return_count = cap, .return_cap = cap};
    beck_status status = BECK_OK;
    for (uint32_t level = q->options.priority_max + 1; level-- > 0 && n < max && !status;) {
        if (!q->levels[level])
            continue;
        struct fifo_walk walk;
        struct entry e;
        fifo_walk_begin(&walk, q->levels[level]);
        while (n < max && (status = fifo_walk_next(&walk, &e, err)) == BECK_OK) {
            while (n < max && copy.return_count > 0 && before(&copy.returns[0], &e))
                pop_return(&copy, &out[n++]);
            if (n < max)
                out[n++] = e;
        }
        fifo_walk_end(&walk);
        status = status == BECK_END ? BECK_OK : status;
    }
    while (n < max && copy.return_count > 0)
        pop_return(&copy, &out[n++]);
    free(heap);
    *count = n;
    return status;
}

beck_status queue_peek(struct queue *q, size_t max, int (*each)(void *ctx, const beck_event *event),
                       void *ctx, beck_error *err)
{
    mutex_lock(&q->lock);
    size_t ready = (size_t)queue_ready(q), count = 0;
    if (max > ready)
        max = ready;
    struct entry *entries = malloc((max ? max : 1) * sizeof *entries);
    beck_status status = entries ? peek_entries(q, entries, max, &count, err)
                                 : error_set(err, BECK_ENOMEM, "no memory to look at a queue");
    mutex_unlock(&q->lock);
    struct cursor *cursor = NULL;
    uint32_t open = UINT32_MAX;
    struct dead_parts *parts = malloc(sizeof *parts);
    if (!parts && !status)
        status = error_set(err, BECK_ENOMEM, "no memory to look at a queue");
    for (size_t i = 0; i < count && !status; i++) {
        const struct record_view *view;
        uint32_t source = entry_source(&entries[i]);
        if (source != open) {
            cursor_close(cursor);
            cursor = NULL;
            open = source;
            queue_open_cursor(q, source, &cursor, NULL);
        }
        if (!cursor || cursor_read(cursor, entry_offset(&entries[i]), true, &view, NULL, NULL) ||
            view->offset != entry_offset(&entries[i]))
            continue;
        bool dead = queue_source_is_dead(q, source) && dead_open(&view->event, parts);
        if (each(ctx, dead ? &parts->event : &view->event))
            break;
    }
    free(parts);
    cursor_close(cursor);
    free(entries);
    return status;
}
