/*
 * Recovery of queues: the last snapshot of each, the operations since, and what the buses got since.
 * The form of both is in queue_state.c.
 *
 * The lists of a snapshot may hold what was settled, retried or buried after it, so first it is found
 * out what the operations say of which entry, and then the lists are gone through once.
 */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdlib.h>

/* ---- reading numbers ---- */

/* Once something is missing, everything after reads as zero and `bad` stays set. */
struct input {
    const uint8_t *at, *end;
    bool bad;
};

static const uint8_t *take(struct input *in, size_t n)
{
    static const uint8_t zeros[8];
    if (in->bad || (size_t)(in->end - in->at) < n) {
        in->bad = true;
        return zeros;
    }
    in->at += n;
    return in->at - n;
}

static uint64_t take_u64(struct input *in)
{
    return get_u64(take(in, 8));
}

static uint32_t take_u32(struct input *in)
{
    return get_u32(take(in, 4));
}

static beck_bytes take_bytes(struct input *in, size_t n)
{
    const uint8_t *p = take(in, n);
    return in->bad ? (beck_bytes){0} : bytes_of(p, n);
}

static beck_bytes take_text(struct input *in)
{
    return take_bytes(in, get_u16(take(in, 2)));
}

/* ---- what operations say ---- */

/* What operations after the snapshot say of an entry. */
struct change {
    uint64_t where; /* UINT64_MAX: free */
    bool retried, seen;
    bool dead; /* the last word on it, whatever was tried before */
    int64_t due_ms;
    struct entry entry;
};

struct recovery {
    struct queue *q;
    int64_t snapshot_offset, replay_from;
    struct change *changes; /* by where, open addressing */
    size_t change_count, change_cap;
    int64_t *redriven; /* offsets */
    size_t redriven_count;
    uint8_t *levels; /* of them; NULL: all 0 */
    bool *binding_known;
    bool closed;           /* the last snapshot was taken when the handle was closed */
    bool delayed_lost;     /* files of the schedule are damaged */
    int64_t bytes_gone;    /* of the data of what left the queue after the snapshot */
    uint64_t lost, listed; /* entries in damaged lists, and in all */
};

static struct change *change_slot(struct recovery *r, uint64_t where)
{
    size_t slot = (size_t)((where * 0x9e3779b97f4a7c15ull) >> 32) & (r->change_cap - 1);
    while (r->changes[slot].where != UINT64_MAX && r->changes[slot].where != where)
        slot = (slot + 1) & (r->change_cap - 1);
    return &r->changes[slot];
}

static struct change *find_change(struct recovery *r, uint64_t where)
{
    struct change *c = r->change_cap ? change_slot(r, where) : NULL;
    return c && c->where == where ? c : NULL;
}

static beck_status note_change(struct recovery *r, const struct change *change)
{
    if (r->change_count * 2 >= r->change_cap) {
        struct recovery bigger = {.change_cap = r->change_cap ? r->change_cap * 2 : 1024};
        bigger.changes = malloc(bigger.change_cap * sizeof *bigger.changes);
        if (!bigger.changes)
            return BECK_ENOMEM;
        for (size_t i = 0; i < bigger.change_cap; i++)
            bigger.changes[i].where = UINT64_MAX;
        for (size_t i = 0; i < r->change_cap; i++)
            if (r->changes[i].where != UINT64_MAX)
                *change_slot(&bigger, r->changes[i].where) = r->changes[i];
        free(r->changes);
        r->changes = bigger.changes;
        r->change_cap = bigger.change_cap;
    }
    struct change *c = change_slot(r, change->where);
    r->change_count += c->where == UINT64_MAX;
    *c = *change;
    return BECK_OK;
}

static beck_status note_gone(struct recovery *r, uint64_t where)
{
    histories_remove(&r->q->histories, where);
    return note_change(r, &(struct change){.where = where});
}

static beck_status note_dead_entry(struct recovery *r, uint64_t where)
{
    histories_remove(&r->q->histories, where);
    return note_change(r, &(struct change){.where = where, .dead = true});
}

/* false: the last word on it is another. */
static bool take_retried(struct recovery *r, struct input *in, struct change *c)
{
    *c = (struct change){.retried = true};
    c->where = c->entry.where = take_u64(in);
    c->entry.meta = take_u64(in);
    c->entry.seq = take_u64(in);
    c->due_ms = (int64_t)take_u64(in);
    const struct change *known = find_change(r, c->where);
    return !in->bad && !(known && known->dead);
}

static beck_status replay_retried(struct recovery *r, struct input *in)
{
    struct change c;
    if (!take_retried(r, in, &c))
        return BECK_OK;
    histories_add(&r->q->histories, c.where, bytes_of(in->at, (size_t)(in->end - in->at)));
    return note_change(r, &c);
}

static beck_status replay_given_back(struct recovery *r, struct input *in)
{
    uint32_t count = take_u32(in);
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < count && !in->bad && !status; i++) {
        struct change c;
        if (take_retried(r, in, &c))
            status = note_change(r, &c);
    }
    return status;
}

static beck_status replay_operation(struct recovery *r, beck_bytes data)
{
    struct input in = {data.data, (const uint8_t *)data.data + data.len, false};
    uint8_t op = *take(&in, 1);
    beck_status status = BECK_OK;
    if (op == OP_RETRIED)
        return replay_retried(r, &in);
    if (op == OP_GIVEN_BACK)
        return replay_given_back(r, &in);
    uint32_t count = take_u32(&in);
    for (uint32_t i = 0; i < count && !in.bad && !status; i++) {
        uint64_t value = take_u64(&in);
        if (in.bad)
            break;
        if (op == OP_SETTLED) {
            status = note_gone(r, value);
        } else if (op == OP_DEAD_PURGED || op == OP_REDRIVEN) {
            bool had = dead_remove(r->q, (int64_t)value);
            if (op == OP_DEAD_PURGED || !had)
                continue;
            int64_t *grown = realloc(r->redriven, (r->redriven_count + 1) * sizeof *grown);
            if (!grown)
                return BECK_ENOMEM;
            r->redriven = grown;
            r->redriven[r->redriven_count++] = (int64_t)value;
        }
    }
    if (op == OP_SETTLED && in.end - in.at >= 8)
        r->bytes_gone += (int64_t)take_u64(&in);
    return status;
}

static beck_status load_sources(struct recovery *r, struct input *in,
                                beck_bus *(*bus)(void *, const char *), void *ctx, beck_error *err)
{
    struct queue *q = r->q;
    uint32_t count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad; i++) {
        beck_bytes name = take_text(in);
        char text[256] = "";
        if (in->bad || name.len >= sizeof text)
            break;
        memcpy(text, name.data, name.len);
        uint32_t number = take_u32(in), index;
        uint8_t flags = *take(in, 1);
        int64_t routed = (int64_t)take_u64(in), popped = (int64_t)take_u64(in);
        int64_t suspect = (int64_t)take_u64(in);
        beck_bus *b = bus(ctx, text);
        if (b && number >= b->partition_count)
            b = NULL;
        bool gone = !b || flags & SOURCE_GONE;
        /* Entries name sources by their place: it must be the same as when the snapshot was taken.
         */
        beck_status status = gone ? queue_append_source(q, text, number, NULL, &index, err)
                                  : queue_add_source(q, text, number, b, &index, err);
        if (status)
            return status;
        struct source loaded = q->sources[index];
        q->sources[index] = q->sources[i];
        loaded.routed = loaded.saved = routed;
        loaded.popped = popped;
        loaded.suspect = suspect;
        loaded.gone = gone;
        loaded.mixed = flags & SOURCE_MIXED;
        q->sources[i] = loaded;
    }
    return BECK_OK;
}

static void load_bindings(struct recovery *r, struct input *in)
{
    uint32_t count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad; i++) {
        beck_bytes bus = take_text(in), pattern = take_text(in);
        uint32_t partitions = take_u32(in);
        beck_bytes first = take_bytes(in, (size_t)partitions * 8);
        for (uint32_t b = 0; b < r->q->binding_count; b++) {
            struct binding *known = &r->q->bindings[b];
            if (!bytes_equal_text(bus, known->bus->name) ||
                !bytes_equal_text(pattern, known->pattern))
                continue;
            r->binding_known[b] = true;
            /* A rewind has moved it since it was made. */
            for (uint32_t n = 0; n < partitions && n < known->bus->partition_count && !in->bad; n++)
                known->first[n] = (int64_t)get_u64((const uint8_t *)first.data + 8 * (size_t)n);
        }
    }
}

/* Files that are damaged or missing are made again: the entries are routed from where the fifo had
 * been taken to. */
static beck_status load_levels(struct recovery *r, struct input *in, bool *lost, beck_error *err)
{
    struct queue *q = r->q;
    *lost = false;
    uint32_t count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad; i++) {
        uint32_t level = take_u32(in);
        uint64_t head = take_u64(in), tail = take_u64(in);
        beck_error why = {0};
        if (in->bad || level > q->options.priority_max || head > tail)
            continue;
        r->listed += tail - head;
        beck_status status =
            fifo_open(q->home->env->vfs, q->dir, level, head, tail, &q->levels[level], &why);
        if (status == BECK_ECORRUPT || status == BECK_ENOENT) {
            env_report(q->home->env, status,
                       "queue \"%s\": %s; its list is made again from the log", q->name, why.text);
            *lost = true;
            r->lost += tail - head;
            status = fifo_new(q->home->env->vfs, q->dir, level, tail, &q->levels[level], err);
        } else if (status) {
            error_set(err, status, "%s", why.text);
        }
        if (status)
            return status;
    }
    return BECK_OK;
}

static beck_status load_schedule(struct recovery *r, beck_bytes description, beck_error *err)
{
    struct queue *q = r->q;
    size_t used;
    beck_error why = {0};
    beck_status status = schedule_load(q->delayed, description, &used, &why);
    r->delayed_lost = status == BECK_ECORRUPT;
    if (r->delayed_lost)
        env_report(q->home->env, status,
                   "queue \"%s\": %s; its delayed events are read from the log again, and those "
                   "that waited for another try are ready now",
                   q->name, why.text);
    else if (status)
        error_set(err, status, "%s", why.text);
    return r->delayed_lost ? BECK_OK : status;
}

static beck_status load_rest(struct recovery *r, struct input *in, bool with_bytes, beck_error *err)
{
    struct queue *q = r->q;
    uint32_t count = take_u32(in);
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < count && !in->bad && !status; i++) {
        struct entry e = {take_u64(in), take_u64(in), take_u64(in)};
        if (!in->bad && entry_source(&e) < q->source_count)
            status = queue_push_return(q, &e);
    }
    beck_bytes description = take_bytes(in, take_u32(in));
    if (!status && !in->bad)
        status = load_schedule(r, description, err);
    count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad && !status; i++) {
        int64_t offset = (int64_t)take_u64(in);
        if (!in->bad)
            status = dead_add(q, offset);
    }
    q->dead_next = (int64_t)take_u64(in);
    count = take_u32(in);
    for (uint32_t i = 0; i < count && !in->bad && !status; i++) {
        uint64_t where = take_u64(in);
        beck_bytes failure = take_bytes(in, take_u32(in));
        if (!in->bad)
            histories_add(&q->histories, where, failure);
    }
    int64_t bytes = with_bytes ? (int64_t)take_u64(in) : 0;
    /* What a damaged list held is counted when it is listed again. */
    uint64_t all = r->listed + q->return_count + schedule_count(q->delayed);
    q->ready_bytes =
        r->lost ? (int64_t)((double)bytes * (double)(all - r->lost) / (double)all) : bytes;
    uint8_t end = *take(in, 1);
    r->closed = !(end & SNAPSHOT_CLOSED);
    q->held |= !(end & SNAPSHOT_BURIES);
    return status;
}

static beck_status load_snapshot(struct recovery *r, beck_bytes data,
                                 beck_bus *(*bus)(void *, const char *), void *ctx, beck_error *err)
{
    struct input in = {data.data, (const uint8_t *)data.data + data.len, false};
    uint8_t version = *take(&in, 1);
    if (version != SNAPSHOT_VERSION && version != SNAPSHOT_WITHOUT_BYTES)
        return error_set(err, BECK_ECORRUPT,
                         "the snapshot of queue \"%s\" is of a version that this beck does not "
                         "know; use the one that wrote it",
                         r->q->name);
    take_u64(&in);
    beck_status status = load_sources(r, &in, bus, ctx, err);
    if (status)
        return status;
    load_bindings(r, &in);
    bool lost;
    status = load_levels(r, &in, &lost, err);
    if (!status)
        status = load_rest(r, &in, version != SNAPSHOT_WITHOUT_BYTES, err);
    if (!status && lost) {
        int64_t bytes = r->q->ready_bytes;
        mutex_lock(&r->q->lock);
        queue_rebuild(r->q);
        r->q->ready_bytes = bytes;
        mutex_unlock(&r->q->lock);
    }
    if (!status && in.bad)
        status =
            error_set(err, BECK_ECORRUPT, "the snapshot of queue \"%s\" ends early", r->q->name);
    return status;
}

/* ---- applying the changes ---- */

static bool keep_scheduled(void *ctx, const struct scheduled *item)
{
    struct recovery *r = ctx;
    struct change *c = find_change(r, item->entry.where);
    if (c)
        c->seen = true;
    return c == NULL;
}

static void filter_returns(struct recovery *r)
{
    struct queue *q = r->q;
    size_t count = q->return_count;
    struct entry *entries = q->returns;
    /* Written behind the place read from: pushing never overtakes. */
    q->return_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct entry e = entries[i];
        struct change *c = find_change(r, e.where);
        if (c)
            c->seen = true;
        else
            queue_push_return(q, &e);
    }
}

/* Entries in the fifo up to the last that has changed leave it: changed ones for good, the others
 * are ready again. */
static beck_status filter_fifo(struct recovery *r, struct fifo *f, beck_error *err)
{
    struct fifo_walk walk;
    struct entry e;
    uint64_t number = fifo_head(f), behind_last = number;
    beck_status status = BECK_OK;
    size_t unseen = 0;
    for (size_t i = 0; i < r->change_cap; i++)
        unseen += r->changes[i].where != UINT64_MAX && !r->changes[i].seen;
    fifo_walk_begin(&walk, f);
    for (; unseen > 0 && (status = fifo_walk_next(&walk, &e, err)) == BECK_OK; number++) {
        struct change *c = find_change(r, e.where);
        if (!c || c->seen)
            continue;
        c->seen = true;
        c->entry.seq = e.seq; /* routed again, it may stand elsewhere than when it failed */
        unseen--;
        behind_last = number + 1;
    }
    fifo_walk_end(&walk);
    if (status == BECK_END)
        status = BECK_OK;
    while (!status && fifo_head(f) < behind_last) {
        status = fifo_pop(f, &e, err);
        if (status)
            break;
        queue_note_popped(r->q, &e);
        if (!find_change(r, e.where))
            status = queue_push_return(r->q, &e);
    }
    return status;
}

static beck_status apply_changes(struct recovery *r, beck_error *err)
{
    struct queue *q = r->q;
    beck_status status = BECK_OK;
    if (r->redriven_count > 0) {
        for (size_t i = 0; i < r->redriven_count && !status; i++) {
            struct entry e = dead_entry(q, r->redriven[i], r->levels ? r->levels[i] : 0);
            status = queue_push_return(q, &e);
        }
    }
    if (!status && r->change_count > 0) {
        status = schedule_filter(q->delayed, keep_scheduled, r, err);
        if (!status)
            filter_returns(r);
        for (uint32_t i = 0; i <= q->options.priority_max && !status; i++)
            if (q->levels[i])
                status = filter_fifo(r, q->levels[i], err);
    }
    for (size_t i = 0; i < r->change_cap && !status; i++) {
        struct change *c = &r->changes[i];
        if (c->where == UINT64_MAX || !c->retried || !c->seen)
            continue;
        status = c->due_ms > 0 ? queue_push_delayed(q, &c->entry, c->due_ms)
                               : queue_push_return(q, &c->entry);
    }
    struct scheduled first;
    q->next_due_ms = schedule_peek(q->delayed, &first, NULL) ? INT64_MAX : first.due_ms;
    return status;
}

/* What was rejected and waited for whoever buries does so again. With the lock. */
static beck_status put_rejected_back(struct queue *q)
{
    size_t count = q->return_count;
    beck_status status = BECK_OK;
    q->return_count = 0; /* as in filter_returns */
    for (size_t i = 0; i < count && !status; i++) {
        struct entry e = q->returns[i];
        status = entry_rejected(&e) ? queue_add_limbo(q, &e, "rejected", "rejected", -1, -1)
                                    : queue_push_return(q, &e);
    }
    q->held |= q->limbo_count > 0;
    return status;
}

/* ---- the whole ---- */

struct recover_all {
    struct queue_home *home;
    struct recovery *all;
    size_t count;
    struct queue *(*find)(void *ctx, beck_bytes name);
    beck_bus *(*bus)(void *ctx, const char *name);
    void *ctx;
};

static struct recovery *recovery_of(struct recover_all *a, beck_bytes name)
{
    const struct queue *q = a->find(a->ctx, name);
    return q ? q->recovery : NULL;
}

typedef beck_status (*record_fn)(struct recover_all *a, const struct record_view *v,
                                 beck_error *err);

static beck_status scan(struct recover_all *a, struct partition *p, int64_t from, record_fn each,
                        beck_error *err)
{
    struct cursor *c;
    beck_status status = cursor_open(p, &c, err);
    if (status)
        return status;
    for (int64_t offset = from; !status;) {
        const struct record_view *v;
        status = cursor_read(c, offset, false, &v, NULL, err);
        if (status)
            break;
        offset = v->offset + 1;
        status = each(a, v, err);
        if (status == BECK_ENOMEM)
            error_set(err, status, "no memory to recover the queues");
    }
    cursor_close(c);
    return status == BECK_END ? BECK_OK : status;
}

static beck_status find_snapshot(struct recover_all *a, const struct record_view *v,
                                 beck_error *err)
{
    (void)err;
    struct recovery *r = recovery_of(a, v->event.subject);
    if (!r || !bytes_equal_text(v->event.type, "snapshot") || v->event.data.len < 9)
        return BECK_OK;
    r->snapshot_offset = v->offset;
    r->replay_from = (int64_t)get_u64((const uint8_t *)v->event.data.data + 1);
    return BECK_OK;
}

static beck_status load_if_last(struct recover_all *a, const struct record_view *v, beck_error *err)
{
    struct recovery *r = recovery_of(a, v->event.subject);
    if (!r || r->snapshot_offset != v->offset)
        return BECK_OK;
    r->q->keep_from = r->replay_from;
    beck_status status = load_snapshot(r, v->event.data, a->bus, a->ctx, err);
    r->q->dead_keep_from = r->q->dead_next;
    return status;
}

static beck_status replay_if_newer(struct recover_all *a, const struct record_view *v,
                                   beck_error *err)
{
    (void)err;
    struct recovery *r = recovery_of(a, v->event.subject);
    if (!r || v->offset < r->replay_from || bytes_equal_text(v->event.type, "snapshot"))
        return BECK_OK;
    return replay_operation(r, v->event.data);
}

/* A dead letter that the snapshot does not know: it is on the list, and its entry has left the
 * queue. */
static beck_status note_dead(struct recover_all *a, const struct record_view *v, beck_error *err)
{
    (void)err;
    struct dead_parts *parts = malloc(sizeof *parts);
    if (!parts)
        return BECK_ENOMEM;
    beck_status status = BECK_OK;
    struct recovery *r = dead_open(&v->event, parts) ? recovery_of(a, parts->queue) : NULL;
    if (r && v->offset >= r->q->dead_next) {
        status = dead_add(r->q, v->offset);
        char name[256] = "";
        if (parts->entry_bus.len < sizeof name)
            memcpy(name, parts->entry_bus.data, parts->entry_bus.len);
        /* It had been put back: the earlier letter is no more, also where that was not written. */
        if (strcmp(name, a->home->dead->name) == 0)
            dead_remove(r->q, parts->entry.offset);
        else
            r->bytes_gone += (int64_t)v->event.data.len;
        for (uint32_t i = 0; i < r->q->source_count && !status; i++)
            if (!r->q->sources[i].gone && r->q->sources[i].number == parts->entry.partition &&
                strcmp(r->q->sources[i].bus_name, name) == 0)
                status = note_dead_entry(r, entry_where(i, parts->entry.offset));
    }
    free(parts);
    return status;
}

/* Sources that no snapshot knows begin where their bindings do; bindings that none knows have their
 * history read. */
static beck_status begin_sources(struct recovery *r, beck_error *err)
{
    struct queue *q = r->q;
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct source *s = &q->sources[i];
        if (s->routed >= 0)
            continue;
        for (uint32_t b = 0; b < q->binding_count; b++) {
            int64_t first = q->bindings[b].bus == s->bus ? q->bindings[b].first[s->number] : -1;
            if (first >= 0 && (s->routed < 0 || first < s->routed))
                s->routed = s->popped = first;
        }
        if (s->routed < 0)
            s->routed = s->popped = 0;
    }
    for (uint32_t b = 0; b < q->binding_count && r->snapshot_offset >= 0 && !status; b++)
        if (!r->binding_known[b])
            status = queue_read_history(q, b, err);
    return status;
}

/* The process ended without saying what it had delivered last. */
static void suspect_everything(struct queue *q)
{
    for (uint32_t i = 0; i < q->source_count; i++)
        q->sources[i].suspect = q->sources[i].routed;
}

static beck_status catch_up_together(struct recover_all *a, beck_error *err)
{
    struct queue **queues = calloc(a->count + 1, sizeof(struct queue *));
    if (!queues)
        return error_set(err, BECK_ENOMEM, "no memory to recover the queues");
    for (size_t i = 0; i < a->count; i++)
        queues[i] = a->all[i].q;
    queues_catch_up(queues, a->count);
    free(queues);
    return BECK_OK;
}

static beck_status finish_queue(struct recovery *r, beck_error *err)
{
    struct queue *q = r->q;
    beck_status status = BECK_OK;
    queue_catch_up(q);
    if (r->delayed_lost && q->damaged)
        status =
            error_set(err, BECK_ECORRUPT,
                      "the delayed events of queue \"%s\" are to be read again from the log of a "
                      "bus that is damaged; put the bus right: " PARTITION_REMEDY,
                      q->name);
    else if (r->delayed_lost)
        status = queue_rebuild_delayed(q, err);
    if (!status && q->options.priority_max && r->redriven_count &&
        !partition_damage(bus_partition(q->home->dead, 0)))
        status = dead_levels(q, r->redriven, r->redriven_count, &r->levels, err);
    if (status)
        return status;
    mutex_lock(&q->lock);
    status = apply_changes(r, err);
    if (!status)
        status = put_rejected_back(q);
    if (!status && !r->closed)
        suspect_everything(q);
    q->ready_bytes -= r->bytes_gone;
    q->dirty = true;
    q->recovering = false;
    mutex_unlock(&q->lock);
    return status;
}

static beck_status recover_queues(struct recover_all *a, beck_error *err)
{
    struct partition *state = bus_partition(a->home->state, 0);
    struct partition *dead = bus_partition(a->home->dead, 0);
    int64_t dead_from = INT64_MAX;
    beck_status status = scan(a, state, 0, find_snapshot, err);
    if (!status)
        status = scan(a, state, 0, load_if_last, err);
    if (!status)
        for (size_t i = 0; i < a->count; i++)
            if (a->all[i].q->dead_next < dead_from)
                dead_from = a->all[i].q->dead_next;
    if (!status && a->count > 0 && !partition_damage(dead))
        status = scan(a, dead, dead_from, note_dead, err);
    if (!status)
        status = scan(a, state, 0, replay_if_newer, err);
    for (size_t i = 0; i < a->count && !status; i++)
        status = begin_sources(&a->all[i], err);
    if (!status)
        status = catch_up_together(a, err);
    for (size_t i = 0; i < a->count && !status; i++)
        status = finish_queue(&a->all[i], err);
    return status;
}

beck_status queues_recover(struct queue_home *home,
                           struct queue *(*find)(void *ctx, beck_bytes name),
                           beck_bus *(*bus)(void *ctx, const char *name), void *ctx,
                           struct queue *const *queues, size_t count, beck_error *err)
{
    struct recover_all a = {home, calloc(count ? count : 1, sizeof(struct recovery)), 0, find, bus,
                            ctx};
    if (!a.all)
        return error_set(err, BECK_ENOMEM, "no memory to recover the queues");
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count; i++) {
        if (!queues[i]->durable)
            continue;
        struct recovery *r = &a.all[a.count];
        r->q = queues[i];
        r->q->recovering = true;
        r->q->recovery = r;
        r->snapshot_offset = -1;
        r->binding_known = calloc(queues[i]->binding_count + 1, sizeof *r->binding_known);
        if (!r->binding_known)
            status = error_set(err, BECK_ENOMEM, "no memory to recover the queues");
        a.count++;
    }
    if (!status)
        status = recover_queues(&a, err);
    for (size_t i = 0; i < a.count; i++) {
        a.all[i].q->recovery = NULL;
        free(a.all[i].changes);
        free(a.all[i].redriven);
        free(a.all[i].levels);
        free(a.all[i].binding_known);
    }
    free(a.all);
    return status;
}
