/*
 * Writing: rounds wait in a list, and whoever finds nobody writing takes all of them as one append,
 * again and again while there are more. See group_log.h.
 */
#include "kafka/group_log.h"

#include "base/error.h"
#include "bus/own_bus.h"
#include "kafka/offsets_impl.h"
#include "log/cursor.h"

#include <assert.h>
#include <stdlib.h>

#define ROUND_BYTES_MAX (64u << 20)
#define APPEND_BYTES (16u << 20) /* of rounds that are written at once; one alone may have more */
#define NO_VALUE UINT32_MAX
#define SEGMENT_BYTES (16 << 20)

struct group_log {
    struct groups *g;
    struct round *first, *last; /* that wait */
    bool writing;
    size_t unsynced; /* rounds that are answered once they are synced */
    /* Nobody writes any more, and none is unsynced; or one of a transaction is concluded. */
    struct cond idle;
    _Atomic(beck_bus *) bus;
    struct job make;     /* the bus */
    struct round *taken; /* by whoever writes; NULL: concluded */
    beck_status status;  /* of what was taken */
    /* Whether the call that appended has returned, and whether `appended` was called: the second of
     * the two goes on. */
    _Atomic(bool) half;
};

static void go_on(struct groups *g);

/* ---- rounds ---- */

static struct round *round_new(struct groups *g)
{
    struct round *r = calloc(1, sizeof *r);
    if (r) {
        r->g = g;
        buf_init(&r->bytes, ROUND_BYTES_MAX);
        r->producer_id = -1;
        r->producer_epoch = -1;
    }
    return r;
}

struct round *group_log_round(struct groups *g)
{
    if (!g->round && !(g->round = round_new(g)))
        g->failures++;
    return g->round;
}

static void round_free(struct round *r)
{
    for (struct offset_change *c = r->changes, *next; c; c = next) {
        next = c->next;
        offset_change_free(c);
    }
    buf_release(&r->bytes);
    free(r);
}

static beck_status append_part(const struct kafka_table *t, int16_t version, const void *message,
                               int16_t first, struct buf *out, size_t *length_at)
{
    uint8_t head[2];
    put_u16(head, (uint16_t)first);
    size_t began = out->len;
    beck_status status = buf_append(out, head, sizeof head);
    struct buf part;
    buf_init(&part, GROUP_RECORD_MAX);
    if (!status)
        status = kafka_encode_bytes(t, version, message, &part);
    if (!status)
        status = buf_append(out, part.data, part.len);
    buf_release(&part);
    if (!status)
        put_u32(out->data + *length_at, (uint32_t)(out->len - began));
    return status;
}

void group_log_put(struct groups *g, const struct kafka_table *key_table, const void *key,
                   const struct kafka_table *value_table, int16_t value_version, const void *value)
{
    struct round *r = group_log_round(g);
    if (!r || r->failed)
        return;
    uint8_t lengths[8];
    put_u32(lengths + 4, NO_VALUE);
    size_t key_at = r->bytes.len, value_at = key_at + 4;
    beck_status status = buf_append(&r->bytes, lengths, sizeof lengths);
    if (!status)
        status = append_part(key_table, 0, key, key_table->id, &r->bytes, &key_at);
    if (!status && value)
        status =
            append_part(value_table, value_version, value, value_version, &r->bytes, &value_at);
    r->count += !status;
    r->failed = status != BECK_OK;
}

void offset_change_free(struct offset_change *c)
{
    group_text_free(&c->value.metadata);
    free(c);
}

bool group_log_change(struct groups *g, enum change_kind kind, beck_bytes group, beck_bytes topic,
                      int32_t partition, const struct offset_value *value)
{
    struct round *r = group_log_round(g);
    struct offset_change *c = r ? malloc(sizeof *c + group.len + topic.len) : NULL;
    if (!c) {
        if (r)
            r->failed = true;
        return false;
    }
    char *text = (char *)(c + 1);
    *c = (struct offset_change){.kind = kind,
                                .group = bytes_of(text, group.len),
                                .topic = bytes_of(text + group.len, topic.len),
                                .partition = partition};
    memcpy(text, group.data, group.len);
    memcpy(text + group.len, topic.data, topic.len);
    if (value) {
        c->value = *value;
        c->value.metadata = group_copy(value->metadata);
        if (!c->value.metadata.data) {
            free(c);
            r->failed = true;
            return false;
        }
    }
    if (r->changes)
        r->last_change->next = c;
    else
        r->changes = c;
    r->last_change = c;
    return true;
}

static void each_commit(const struct round *rounds, beck_bytes group,
                        void (*fn)(void *ctx, const struct offset_change *c), void *ctx)
{
    for (const struct round *r = rounds; r; r = r->next)
        for (const struct offset_change *c = r->changes; c; c = c->next)
            if (c->kind != CHANGE_REMOVE && bytes_equal(c->group, group))
                fn(ctx, c);
}

void group_log_each_commit(struct groups *g, beck_bytes group,
                           void (*fn)(void *ctx, const struct offset_change *c), void *ctx)
{
    each_commit(g->log->taken, group, fn, ctx);
    each_commit(g->log->first, group, fn, ctx);
}

/* ---- appending ---- */

/* The events of `count` records of the rounds; NULL: no memory. */
static beck_event *make_events(const struct round *rounds, size_t count)
{
    beck_event *events = calloc(count, sizeof *events + sizeof(beck_event *));
    size_t n = 0;
    for (const struct round *r = rounds; r && events; r = r->next) {
        for (const uint8_t *at = r->bytes.data, *end = at + r->bytes.len; !r->failed && at < end;) {
            uint32_t key = get_u32(at), value = get_u32(at + 4);
            beck_event *e = &events[n++];
            e->type = beck_str(OWN_CONSUMER_OFFSETS);
            e->subject = bytes_of(at + 8, key);
            if (value != NO_VALUE)
                e->data = bytes_of(at + 8 + key, value);
            at += 8 + key + (value == NO_VALUE ? 0 : value);
        }
    }
    return events;
}

static size_t count_records(const struct round *rounds)
{
    size_t count = 0;
    for (const struct round *r = rounds; r; r = r->next)
        count += r->failed ? 0 : r->count;
    return count;
}

/* The second of appended and its caller goes on with what is left to do. */
static bool is_second(struct group_log *log)
{
    return atomic_exchange(&log->half, true);
}

static void conclude(struct groups *g, struct round *taken, bool failed);

static void appended(void *ctx, beck_status status, int64_t first_offset)
{
    struct groups *g = ctx;
    (void)first_offset;
    g->log->status = status;
    if (!is_second(g->log))
        return;
    conclude(g, g->log->taken, status != BECK_OK);
    go_on(g);
}

static beck_status append_events(struct groups *g, beck_event *events, size_t count,
                                 beck_error *err)
{
    beck_bus *bus = atomic_load(&g->log->bus);
    const beck_event **list = (const beck_event **)(void *)(events + count);
    beck_status status;
    for (size_t i = 0; i < count; i++)
        list[i] = &events[i];
    do {
        struct append a = {.events = list,
                           .count = count,
                           .generation = atomic_load(&bus->topology),
                           .level = g->settings.level};
        if (a.level == BECK_LEVEL_SYNCED) {
            a.done = appended;
            a.done_ctx = g;
        }
        status = partition_append(bus_partition(bus, 0), &a, err);
    } while (status == PARTITION_STALE);
    return status;
}

static beck_status append_transactional(struct groups *g, beck_event *events, size_t count,
                                        const struct round *r, beck_error *err)
{
    beck_bus *bus = atomic_load(&g->log->bus);
    struct batch_header producer = {.producer_id = r->producer_id,
                                    .producer_epoch = r->producer_epoch,
                                    .base_sequence = -1,
                                    .attributes = BATCH_TRANSACTIONAL};
    struct batch_builder builder;
    struct codec codec;
    struct buf scratch;
    beck_bytes batch = {0};
    beck_status status = BECK_OK;
    int64_t now_ms = clock_wall_ms(g->clock);
    batch_builder_init(&builder, ROUND_BYTES_MAX);
    codec_init(&codec);
    buf_init(&scratch, ROUND_BYTES_MAX);
    for (size_t i = 0; i < count && !status; i++)
        status = batch_builder_add(&builder, &events[i], beck_str(OWN_CONSUMER_OFFSETS), now_ms);
    if (!status)
        status = batch_builder_finish(&builder, &codec, BECK_CODEC_NONE, 0, &producer, &scratch,
                                      &batch, err);
    while (!status) {
        struct produce p = {.batch = (uint8_t *)(uintptr_t)batch.data,
                            .size = batch.len,
                            .generation = atomic_load(&bus->topology),
                            .level = BECK_LEVEL_WRITTEN};
        status = partition_produce(bus_partition(bus, 0), &p, err);
        if (status != PARTITION_STALE)
            break;
        status = BECK_OK;
    }
    batch_builder_release(&builder);
    codec_release(&codec);
    buf_release(&scratch);
    return status;
}

static void report(struct groups *g, const beck_error *err)
{
    g->engine->env.report(g->engine->env.report_ctx, err);
}

/* Whether `taken` is settled, with log->status; else `appended` goes on. */
static bool append(struct groups *g)
{
    struct group_log *log = g->log;
    const struct round *taken = log->taken;
    size_t count = count_records(taken);
    beck_error err = {0};
    log->status = BECK_OK;
    if (count == 0)
        return true;
    beck_status status = BECK_OK;
    beck_event *events = make_events(taken, count);
    atomic_store(&log->half, false);
    if (!events)
        status = error_set(&err, BECK_ENOMEM, "no memory to write down groups");
    else if (taken->transactional)
        status = append_transactional(g, events, count, taken, &err);
    else
        status = append_events(g, events, count, &err);
    free(events);
    if (status && status != BECK_EFENCED && status != BECK_ETXN_STATE)
        report(g, &err);
    if (status)
        log->status = status; /* `appended` is not called */
    return status || taken->transactional || g->settings.level != BECK_LEVEL_SYNCED ||
           is_second(log);
}

/* ---- what follows ---- */

/* Gives the answers, and frees the rounds. */
static void answer(struct round *rounds)
{
    for (struct round *next; rounds; rounds = next) {
        next = rounds->next;
        for (struct reply *reply = rounds->replies, *behind; reply; reply = behind) {
            behind = reply->next;
            reply_run(reply, rounds->failed);
        }
        round_free(rounds);
    }
}

static void answer_synced(struct completion *c)
{
    struct round *r = (struct round *)((char *)c - offsetof(struct round, synced));
    struct groups *g = r->g;
    struct partition_counts counts;
    partition_counts(group_log_partition(g), &counts);
    r->failed = counts.poisoned;
    answer(r);
    mutex_lock(&g->lock);
    if (--g->log->unsynced == 0)
        cond_broadcast(&g->log->idle);
    mutex_unlock(&g->lock);
}

static void conclude(struct groups *g, struct round *taken, bool failed)
{
    struct committer *committer = g->engine->env.committer;
    mutex_lock(&g->lock);
    for (struct round *r = taken; r; r = r->next) {
        r->failed = r->failed || failed;
        if (r->failed && !r->transactional)
            g->failures++;
        for (struct offset_change *c = r->changes; c && !r->failed; c = c->next)
            r->failed = !offsets_apply(g, c, r->producer_id);
    }
    if (g->log->taken == taken)
        g->log->taken = NULL;
    if (taken && taken->transactional)
        cond_broadcast(&g->log->idle);
    bool waits = taken && taken->transactional && !taken->failed && taken->count > 0 &&
                 !committer_by_interval(committer);
    g->log->unsynced += waits;
    mutex_unlock(&g->lock);
    if (!waits) {
        answer(taken);
        return;
    }
    taken->synced.run = answer_synced;
    committer_queue(committer, group_log_partition(g), &taken->synced);
}

/* Those that wait, as far as they fit into an append and up to a transaction's, which goes alone. */
static struct round *take(struct group_log *log)
{
    struct round *first = log->first, *last = first;
    size_t bytes = first ? first->bytes.len : 0;
    while (last && !first->transactional && last->next && !last->next->transactional &&
           (bytes += last->next->bytes.len) <= APPEND_BYTES)
        last = last->next;
    if (!last)
        return NULL;
    log->first = last->next;
    last->next = NULL;
    return first;
}

/* By whoever has set `writing`. */
static void go_on(struct groups *g)
{
    struct group_log *log = g->log;
    for (;;) {
        mutex_lock(&g->lock);
        if (!atomic_load(&log->bus) && log->first) {
            pool_push(&g->pool, &log->make);
            mutex_unlock(&g->lock);
            return;
        }
        bool more = (log->taken = take(log)) != NULL;
        log->writing = more;
        if (!more)
            cond_broadcast(&log->idle);
        mutex_unlock(&g->lock);
        if (!more)
            return; /* it may be closed from here on */
        if (!append(g))
            return;
        conclude(g, log->taken, log->status != BECK_OK);
    }
}

static beck_status own_bus(struct groups *g, beck_error *err)
{
    beck_bus_options options = {
        .partitions = 1, .segment_bytes = SEGMENT_BYTES, .event_bytes_max = GROUP_RECORD_MAX};
    beck_bus *bus;
    beck_status status = handle_own_bus(g->engine, OWN_CONSUMER_OFFSETS, &options, &bus, err);
    if (!status)
        atomic_store(&g->log->bus, bus);
    return status;
}

/* Making a bus waits for the disk, so it is a job. */
static void make_bus(struct job *job)
{
    struct group_log *log = (struct group_log *)((char *)job - offsetof(struct group_log, make));
    struct groups *g = log->g;
    beck_error err;
    if (own_bus(g, &err)) {
        report(g, &err);
        mutex_lock(&g->lock);
        struct round *all = log->first;
        log->first = NULL;
        mutex_unlock(&g->lock);
        conclude(g, all, true);
    }
    go_on(g);
}

void group_log_unlock(struct groups *g)
{
    struct group_log *log = g->log;
    struct round *r = g->round;
    g->round = NULL;
    struct round *local = NULL;
    if (r && r->count == 0 && !r->changes) {
        local = r;
        g->failures += r->failed;
    } else if (r) {
        if (log->first)
            log->last->next = r;
        else
            log->first = r;
        log->last = r;
    }
    bool mine = log->first && !log->writing;
    log->writing = log->writing || mine;
    mutex_unlock(&g->lock);
    if (local)
        answer(local);
    if (mine)
        go_on(g);
}

static bool is_of(const struct round *r, int64_t producer_id)
{
    return r && r->transactional && r->producer_id == producer_id;
}

void group_log_end_rounds(struct groups *g, int64_t producer_id)
{
    struct group_log *log = g->log;
    assert(mutex_held(&g->lock));
    for (struct round *r = log->first; r; r = r->next)
        r->failed = r->failed || is_of(r, producer_id);
    while (is_of(log->taken, producer_id))
        cond_wait(&log->idle, &g->lock);
}

struct partition *group_log_partition(struct groups *g)
{
    beck_bus *bus = atomic_load(&g->log->bus);
    return bus ? bus_partition(bus, 0) : NULL;
}

/* ---- opening ---- */

struct loading {
    struct groups *g;
    struct partition *p;
    uint32_t passed_over;
};

static void load_record(struct loading *l, const struct record_view *view, int64_t producer_id)
{
    beck_bytes value = view->value_is_null ? (beck_bytes){0} : view->event.data;
    l->passed_over += !group_load_record(l->g, view->key, value, producer_id);
}

/* What is below the last stable offset: committed, or gone. */
static beck_status load_stable(struct loading *l, beck_error *err)
{
    struct cursor *cursor;
    const struct record_view *view;
    int64_t end = partition_stable(l->p);
    beck_status status = cursor_open(l->p, &cursor, err);
    if (status)
        return status;
    for (int64_t at = partition_first(l->p); at < end;) {
        status = cursor_read(cursor, at, false, &view, NULL, err);
        if (status)
            break;
        load_record(l, view, -1);
        at = view->offset + 1;
    }
    cursor_close(cursor);
    return status == BECK_END ? BECK_OK : status;
}

/* Where transactions are open, records of theirs and of others, and the ends of other transactions. */
static beck_status load_batch(void *ctx, const struct batch_header *h, beck_bytes batch,
                              beck_error *err)
{
    struct loading *l = ctx;
    struct batch_records records;
    struct record_view view;
    struct codec codec;
    struct buf memory;
    if (h->attributes & BATCH_CONTROL) {
        bool commit;
        int32_t epoch;
        if (batch_control_read(h, batch.data, &commit, &epoch))
            offsets_end_locked(l->g, h->producer_id, commit);
        return BECK_OK;
    }
    codec_init(&codec);
    buf_init(&memory, ROUND_BYTES_MAX);
    beck_status status = batch_records_open(&records, batch, &codec, &memory, err);
    while (!status && !(status = batch_records_next(&records, partition_context(l->p), &view, err)))
        load_record(l, &view, h->attributes & BATCH_TRANSACTIONAL ? h->producer_id : -1);
    codec_release(&codec);
    buf_release(&memory);
    return status == BECK_END ? BECK_OK : status;
}

static beck_status load(struct groups *g, beck_error *err)
{
    struct loading l = {.g = g, .p = group_log_partition(g)};
    beck_status status = load_stable(&l, err);
    if (!status)
        status = partition_each_batch(l.p, partition_stable(l.p), partition_high(l.p), load_batch,
                                      &l, err);
    if (l.passed_over)
        env_report(&g->engine->env, BECK_ECORRUPT,
                   "%u records of " OWN_CONSUMER_OFFSETS " cannot be read, and are passed over",
                   l.passed_over);
    return status;
}

beck_status group_log_open(struct groups *g, beck_error *err)
{
    struct group_log *log = calloc(1, sizeof *log);
    if (!log)
        return error_set(err, BECK_ENOMEM, "no memory for the log of groups");
    *log = (struct group_log){.g = g, .make.run = make_bus};
    cond_init(&log->idle);
    g->log = log;
    mutex_lock(&g->engine->admin_lock);
    beck_bus *bus = handle_find_bus(g->engine, OWN_CONSUMER_OFFSETS);
    mutex_unlock(&g->engine->admin_lock);
    if (!bus)
        return BECK_OK;
    atomic_store(&log->bus, bus);
    return load(g, err);
}

void group_log_wait(struct groups *g)
{
    mutex_lock(&g->lock);
    while (g->log && (g->log->writing || g->log->unsynced > 0))
        cond_wait(&g->log->idle, &g->lock);
    mutex_unlock(&g->lock);
}

void group_log_close(struct groups *g)
{
    struct group_log *log = g->log;
    if (!log)
        return;
    group_log_wait(g);
    cond_release(&log->idle);
    free(log);
    g->log = NULL;
}
