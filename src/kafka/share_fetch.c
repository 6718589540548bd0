/*
 * Share fetches: acknowledgements that came with one, then records, or waiting for some.
 *
 * First the next records are acquired from the queues, in their order; then the batches that hold them
 * are read; what finds no room is given back, uncounted. Unless the client wants a limit in records,
 * the rest of the last batch is acquired as well, so that no batch is sent to two members without need.
 *
 * A fetch that finds nothing watches the queues of its topics. Who is woken passes on what it does not
 * take. Where a queue cannot say when it has something for this member (it holds as much as it may,
 * or others hold the locks), the fetch looks again now and then.
 */
#include "kafka/share_impl.h"
#include "kafka/share_records.h"

#include <stdlib.h>

#define AGAIN_NS 100000000 /* when a queue cannot say when it has something */

/* A partition of the answer. */
struct share_part {
    struct share_part *next;
    const uint8_t *id;
    int32_t partition;
    int error, acknowledge_error;
    const char *text, *acknowledge_text;
    struct kafka_records records;
    struct kafka_share_fetch_response_acquired *acquired;
    size_t acquired_count;
};

struct share_watch {
    struct queue_watch watch;
    struct share_queue *from; /* a reference */
};

/* ---- parts ---- */

/* NULL: no memory. */
static struct share_part *part_of(struct share_fetch *f, const uint8_t id[TOPIC_ID],
                                  int32_t partition)
{
    if (!f->last_part)
        f->last_part = &f->parts;
    for (struct share_part *p = f->parts; p; p = p->next)
        if (p->partition == partition && memcmp(p->id, id, TOPIC_ID) == 0)
            return p;
    struct share_part *p = kafka_alloc(f->arena, sizeof *p);
    uint8_t *copy = kafka_alloc(f->arena, TOPIC_ID);
    if (!p || !copy)
        return NULL;
    memcpy(copy, id, TOPIC_ID);
    p->id = copy;
    p->partition = partition;
    *f->last_part = p;
    f->last_part = &p->next;
    return p;
}

static void put_error(struct share_fetch *f, const uint8_t id[TOPIC_ID], int32_t partition,
                      int error, const char *text)
{
    struct share_part *p = part_of(f, id, partition);
    if (p) {
        p->error = error;
        p->text = text;
    }
}

static void put_answer(struct share_fetch *f, const uint8_t id[TOPIC_ID], int32_t partition,
                       int error, const char *text)
{
    struct share_part *p = part_of(f, id, partition);
    if (p) {
        p->acknowledge_error = error;
        p->acknowledge_text = text;
    }
}

/* Of how many neighbours in the list the topic is the same, after those of a topic were brought
 * together. */
static size_t topics_in(struct share_part **list, size_t count)
{
    size_t topics = 0;
    for (size_t i = 0; i < count; i++) {
        size_t to = i;
        while (to > 0 && memcmp(list[to - 1]->id, list[i]->id, TOPIC_ID) != 0)
            to--;
        if (to == 0) {
            topics++;
            continue;
        }
        struct share_part *p = list[i];
        memmove(list + to + 1, list + to, (i - to) * sizeof *list);
        list[to] = p;
    }
    return topics;
}

static void fill_part(const struct share_part *p, struct kafka_share_fetch_response_partition *out)
{
    kafka_share_fetch_response_partition_init(out);
    out->partition_index = p->partition;
    out->error_code = (int16_t)p->error;
    out->error_message = p->error && p->text ? beck_str(p->text) : (beck_bytes){0};
    out->acknowledge_error_code = (int16_t)p->acknowledge_error;
    if (p->acknowledge_error && p->acknowledge_text)
        out->acknowledge_error_message = beck_str(p->acknowledge_text);
    out->records = p->records;
    if (!out->records.bytes.data)
        out->records.bytes = beck_str("");
    out->acquired_records.at = p->acquired;
    out->acquired_records.count = p->acquired_count;
}

static bool fill_response(struct share_fetch *f)
{
    size_t count = 0, topics, at = 0;
    for (struct share_part *p = f->parts; p; p = p->next)
        count++;
    struct share_part **list = kafka_alloc_many(f->arena, count, sizeof *list);
    if (!list)
        return false;
    count = 0;
    for (struct share_part *p = f->parts; p; p = p->next)
        list[count++] = p;
    topics = topics_in(list, count);
    if (!kafka_array(f->arena, &f->response->responses, topics))
        return false;
    for (size_t t = 0; t < topics; t++) {
        struct kafka_share_fetch_response_topic *topic = &f->response->responses.at[t];
        size_t n = 0;
        while (at + n < count && memcmp(list[at + n]->id, list[at]->id, TOPIC_ID) == 0)
            n++;
        memcpy(topic->topic_id, list[at]->id, TOPIC_ID);
        if (!kafka_array(f->arena, &topic->partitions, n)) {
            f->response->responses.count = t;
            return false;
        }
        for (size_t i = 0; i < n; i++)
            fill_part(list[at + i], &topic->partitions.at[i]);
        at += n;
    }
    return true;
}

/* ---- what the request says ---- */

typedef struct kafka_share_fetch_request request;

static const char *what_is_wrong(const request *r)
{
    if (r->is_renew_ack && (r->max_wait_ms || r->min_bytes || r->max_bytes || r->max_records))
        return "With IsRenewAck, MaxWaitMs, MinBytes, MaxBytes and MaxRecords must be 0.";
    if (r->share_acquire_mode < 0 || r->share_acquire_mode > 1)
        return "There is no such ShareAcquireMode.";
    if (r->max_bytes < 0 || r->max_records < 0)
        return "MaxBytes and MaxRecords cannot be negative.";
    return NULL;
}

static bool has_answers(const request *r)
{
    for (size_t i = 0; i < r->topics.count; i++)
        for (size_t n = 0; n < r->topics.at[i].partitions.count; n++)
            if (r->topics.at[i].partitions.at[n].acknowledgement_batches.count > 0)
                return true;
    return false;
}

static void forget_partitions(struct share_fetch *f)
{
    for (size_t i = 0; i < f->request->forgotten_topics_data.count; i++) {
        const struct kafka_share_fetch_request_forgotten_topic *ft =
            &f->request->forgotten_topics_data.at[i];
        struct topic *t = topics_find_id(f->k, ft->topic_id);
        struct share_session_topic *st = t ? share_session_topic(f->session, t, false) : NULL;
        for (size_t n = 0; n < ft->partitions.count && st; n++)
            if ((uint32_t)ft->partitions.at[n] < st->partitions)
                st->wanted[ft->partitions.at[n]] = false;
    }
}

/* The answers that came with a partition. */
static void answer_partition(struct share_fetch *f, struct share_session_topic *st,
                             const uint8_t *id, const struct kafka_share_fetch_request_partition *p)
{
    size_t count = p->acknowledgement_batches.count;
    struct share_batch *batches = kafka_alloc_many(f->arena, count, sizeof *batches);
    const char *text = NULL;
    for (size_t i = 0; i < count && batches; i++) {
        const struct kafka_share_fetch_request_acknowledgement_batche *b =
            &p->acknowledgement_batches.at[i];
        batches[i] = (struct share_batch){b->first_offset, b->last_offset, b->acknowledge_types.at,
                                          b->acknowledge_types.count};
    }
    int code = batches ? share_answer(st, (uint32_t)p->partition_index, batches, count,
                                      f->request->is_renew_ack,
                                      f->request->share_session_epoch == -1, &f->settled, &text)
                       : KAFKA_KAFKA_STORAGE_ERROR;
    put_answer(f, id, p->partition_index, code, text);
}

static void take_partition(struct share_fetch *f, struct topic *t, const uint8_t *id,
                           const struct kafka_share_fetch_request_partition *p)
{
    bool answers = p->acknowledgement_batches.count > 0;
    int code =
        !t                                                    ? KAFKA_UNKNOWN_TOPIC_ID
        : topic_is_gone(t)                                    ? KAFKA_UNKNOWN_TOPIC_ID
        : !f->may(f, t)                                       ? KAFKA_TOPIC_AUTHORIZATION_FAILED
        : (uint32_t)p->partition_index >= topic_partitions(t) ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
        : partition_damage(topic_partition(t, p->partition_index)) ? KAFKA_KAFKA_STORAGE_ERROR
                                                                   : KAFKA_NONE;
    bool final = f->request->share_session_epoch == -1;
    struct share_session_topic *st = code ? NULL : share_session_topic(f->session, t, !final);
    if (!code && !st && !final)
        code = KAFKA_KAFKA_STORAGE_ERROR;
    if (code) {
        put_error(f, id, p->partition_index, code, NULL);
        if (answers)
            put_answer(f, id, p->partition_index, code, NULL);
        return;
    }
    if (!final)
        st->wanted[p->partition_index] = true;
    if (answers)
        answer_partition(f, st, id, p);
}

static bool begin(struct share_fetch *f, int *code, const char **text)
{
    const request *r = f->request;
    bool final;
    f->acknowledges = has_answers(r);
    struct share_request sr = {.group = r->group_id,
                               .member = r->member_id,
                               .connection = f->connection,
                               .epoch = r->share_session_epoch,
                               .fetches = true,
                               .acknowledges = f->acknowledges};
    *text = what_is_wrong(r);
    *code = *text ? KAFKA_INVALID_REQUEST
                  : share_session_begin(f->k->shares, &sr, &f->session, &final, text);
    if (*code)
        return false;
    forget_partitions(f);
    for (size_t i = 0; i < r->topics.count; i++) {
        struct topic *t = topics_find_id(f->k, r->topics.at[i].topic_id);
        for (size_t n = 0; n < r->topics.at[i].partitions.count; n++)
            take_partition(f, t, r->topics.at[i].topic_id, &r->topics.at[i].partitions.at[n]);
    }
    mutex_unlock(&f->session->lock);
    if (final)
        share_session_end(f->k->shares, f->session);
    return !final && r->max_bytes > 0 && r->max_records > 0;
}

/* ---- taking records ---- */

/* One topic's turn. */
struct turn {
    struct share_fetch *f;
    struct share_session_topic *st;
    struct acquired *list; /* in order of partition and offset */
    size_t count, cap;
    size_t records_max, bytes_max;
    bool one_at_least;
    size_t bytes, records; /* that were put into the answer */
    /* The rest of a batch: of that partition, behind that offset, up to that one. */
    uint32_t partition;
    int64_t after, last;
};

static bool is_wanted(void *ctx, const beck_bus *bus, uint32_t partition, int64_t offset)
{
    const struct turn *t = ctx;
    (void)offset;
    return bus == t->st->topic->bus && partition < t->st->partitions && t->st->wanted[partition];
}

static bool is_of_batch(void *ctx, const beck_bus *bus, uint32_t partition, int64_t offset)
{
    const struct turn *t = ctx;
    return bus == t->st->topic->bus && partition == t->partition && offset > t->after &&
           offset <= t->last;
}

static int by_place(const void *a, const void *b)
{
    const struct acquired *x = a, *y = b;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* False: no memory, or nothing. */
static bool acquire(struct turn *t, struct acquire *what)
{
    beck_error why = {0};
    size_t got = 0, max = what->max;
    what->ctx = t;
    what->in_flight_max = atomic_load(&t->st->from->locks_max);
    if (t->count + max > t->cap) {
        struct acquired *grown = realloc(t->list, (t->count + max) * sizeof *grown);
        if (!grown)
            return false;
        t->list = grown;
        t->cap = t->count + max;
    }
    if (consumer_acquire(t->st->consumer, what, t->list + t->count, &got, &why))
        return false;
    t->count += got;
    return got > 0;
}

static void give_back(struct turn *t, const uint64_t *tags, size_t count)
{
    beck_error why = {0};
    if (count > 0)
        consumer_return_many(t->st->consumer, tags, count, false, &why);
}

static void settle_lost(struct turn *t, const uint64_t *tags, size_t count)
{
    beck_error why = {0};
    if (count > 0)
        consumer_settle(t->st->consumer, tags, count, &why);
}

static void release_bytes(void *ctx)
{
    buf_release(ctx);
}

/* The ranges of neighbours that were delivered equally often. False: no memory. */
static bool put_acquired(struct share_fetch *f, struct share_part *part,
                         const struct acquired *list, size_t count)
{
    struct kafka_share_fetch_response_acquired *out =
        kafka_alloc_many(f->arena, count, sizeof *out);
    size_t n = 0;
    if (!out)
        return false;
    for (size_t i = 0; i < count; i++) {
        int16_t times = (int16_t)(list[i].attempt < INT16_MAX ? list[i].attempt : INT16_MAX);
        bool next = n > 0 && out[n - 1].last_offset + 1 == list[i].offset &&
                    out[n - 1].delivery_count == times;
        if (next) {
            out[n - 1].last_offset = list[i].offset;
            continue;
        }
        kafka_share_fetch_response_acquired_init(&out[n]);
        out[n].first_offset = out[n].last_offset = list[i].offset;
        out[n++].delivery_count = times;
    }
    part->acquired = out;
    part->acquired_count = n;
    return true;
}

/* What is delivered of one partition. */
struct piece {
    uint32_t partition;
    struct acquired *list; /* those whose records are there; ascending */
    size_t count, cap;
    uint64_t *later, *lost; /* tags; parts of one piece of memory */
    size_t later_count, lost_count;
    struct share_records records;
    beck_status status;
    beck_error why;
};

static void piece_release(struct piece *p)
{
    free(p->list);
    free(p->later);
    buf_release(&p->records.bytes);
}

/* Sorts what was acquired of a partition by whether its records are there. False: no memory; nothing
 * is known then. */
static bool piece_read(struct turn *t, const struct acquired *a, size_t count, struct piece *out)
{
    *out = (struct piece){.partition = a->partition, .cap = count, .records.last = -1};
    buf_init(&out->records.bytes, SIZE_MAX);
    struct partition *p = topic_partition(t->st->topic, (int32_t)a->partition);
    int64_t *offsets = malloc(count * sizeof *offsets);
    enum share_found *found = malloc(count * sizeof *found);
    out->list = malloc(count * sizeof *out->list);
    out->later = malloc(2 * count * sizeof *out->later);
    bool good = p && offsets && found && out->list && out->later;
    if (good) {
        out->lost = out->later + count;
        for (size_t i = 0; i < count; i++)
            offsets[i] = a[i].offset;
        out->status =
            share_records_read(p, offsets, count, t->bytes_max - t->bytes,
                               t->one_at_least && t->bytes == 0, &out->records, found, &out->why);
    }
    for (size_t i = 0; i < count && good; i++) {
        if (out->status || found[i] == SHARE_LATER)
            out->later[out->later_count++] = a[i].tag;
        else if (found[i] == SHARE_LOST)
            out->lost[out->lost_count++] = a[i].tag;
        else
            out->list[out->count++] = a[i];
    }
    free(offsets);
    free(found);
    return good;
}

/* The rest of the last batch, as far as it is next in the queue. */
static void piece_extend(struct turn *t, struct piece *p)
{
    int64_t highest = p->list[p->count - 1].offset, more = p->records.last - highest;
    if (more <= 0)
        return;
    t->partition = p->partition;
    t->after = highest;
    t->last = p->records.last;
    size_t before = t->count;
    struct acquire what = {.max = more < SHARE_FETCH_RECORDS_MAX ? (size_t)more
                                                                 : SHARE_FETCH_RECORDS_MAX,
                           .wanted = is_of_batch};
    if (!acquire(t, &what))
        return;
    size_t got = t->count - before;
    struct acquired *grown = realloc(p->list, (p->count + got) * sizeof *grown);
    if (grown) {
        p->list = grown;
        memcpy(grown + p->count, t->list + before, got * sizeof *grown);
        p->count += got;
        qsort(p->list, p->count, sizeof *p->list, by_place);
    } else {
        for (size_t i = before; i < t->count; i++)
            give_back(t, &t->list[i].tag, 1);
    }
    t->count = before;
}

/* Into the answer, and into the session. False: no memory. */
static bool piece_deliver(struct turn *t, struct piece *p)
{
    struct share_fetch *f = t->f;
    struct share_part *part = part_of(f, t->st->topic->id, (int32_t)p->partition);
    struct buf *bytes = kafka_alloc(f->arena, sizeof *bytes);
    if (!part || !bytes || !share_session_reserve(t->st, p->count) ||
        !put_acquired(f, part, p->list, p->count))
        return false;
    *bytes = p->records.bytes;
    buf_init(&p->records.bytes, 0);
    part->records =
        (struct kafka_records){.bytes = buf_bytes(bytes), .release = release_bytes, .ctx = bytes};
    for (size_t i = 0; i < p->count; i++)
        share_session_hold(t->st, &(struct share_held){p->partition, p->list[i].attempt,
                                                       p->list[i].offset, p->list[i].tag});
    t->bytes += bytes->len;
    t->records += p->count;
    return true;
}

static void put_partition(struct turn *t, const struct acquired *a, size_t count, bool whole)
{
    struct piece p;
    if (!piece_read(t, a, count, &p)) {
        for (size_t i = 0; i < count; i++)
            give_back(t, &a[i].tag, 1);
        piece_release(&p);
        return;
    }
    if (whole && p.count > 0 && !p.later_count)
        piece_extend(t, &p);
    if (p.status)
        put_error(t->f, t->st->topic->id, (int32_t)p.partition, kafka_error_of(p.status),
                  "The records cannot be read.");
    else if (p.count > 0 && !piece_deliver(t, &p))
        for (size_t i = 0; i < p.count; i++)
            give_back(t, &p.list[i].tag, 1);
    give_back(t, p.later, p.later_count);
    settle_lost(t, p.lost, p.lost_count);
    piece_release(&p);
}

static void take_turn(struct turn *t)
{
    struct acquire what = {
        .max = t->records_max, .wanted = is_wanted, .passed_max = ACQUIRE_PASSED_MAX};
    share_session_forget_late(t->st);
    if (!acquire(t, &what))
        return;
    size_t count = t->count;
    uint32_t last = t->list[count - 1].partition;
    bool whole = t->f->request->share_acquire_mode == 0;
    struct acquired *list = malloc(count * sizeof *list);
    if (!list) {
        for (size_t i = 0; i < count; i++)
            give_back(t, &t->list[i].tag, 1);
        return;
    }
    memcpy(list, t->list, count * sizeof *list);
    qsort(list, count, sizeof *list, by_place);
    t->count = 0;
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && list[i + n].partition == list[i].partition; n++)
            continue;
        put_partition(t, list + i, n, whole && list[i].partition == last);
    }
    free(list);
    share_session_sort(t->st);
}

/* Everything that can be given now; with the session's lock. */
static void take_records(struct share_fetch *f)
{
    struct share_session *session = f->session;
    size_t bytes_max = (size_t)f->request->max_bytes, records_max = (size_t)f->request->max_records;
    if (bytes_max > SHARE_FETCH_BYTES_MAX)
        bytes_max = SHARE_FETCH_BYTES_MAX;
    if (records_max > SHARE_FETCH_RECORDS_MAX)
        records_max = SHARE_FETCH_RECORDS_MAX;
    size_t bytes = 0, records = 0;
    for (size_t i = 0; i < session->topic_count && records < records_max && bytes < bytes_max;
         i++) {
        struct share_session_topic *st =
            &session->topics[(session->turn + i) % session->topic_count];
        if (topic_is_gone(st->topic) || !share_session_open_topic(f->k->shares, session, st))
            continue;
        share_queue_configure(f->k->shares, session->group, st->from);
        struct turn t = {.f = f,
                         .st = st,
                         .records_max = records_max - records,
                         .bytes_max = bytes_max - bytes,
                         .one_at_least = bytes == 0};
        take_turn(&t);
        free(t.list);
        bytes += t.bytes;
        records += t.records;
        if (t.records > 0)
            f->response->acquisition_lock_timeout_ms = (int32_t)atomic_load(&st->from->lock_ms);
    }
    session->turn++;
}

/* ---- waiting ---- */

enum note { NOTE_NONE, NOTE_WAITS, NOTE_GIVEN };

static void note(struct share_fetch *f)
{
    if (atomic_exchange(&f->noted, NOTE_GIVEN) == NOTE_WAITS)
        f->again(f);
}

static void on_watch(void *ctx)
{
    note(ctx);
}

static void on_timer(struct timer *t)
{
    note((struct share_fetch *)(void *)((char *)t - offsetof(struct share_fetch, timer)));
}

static void unwatch(struct share_fetch *f)
{
    for (size_t i = 0; i < f->watch_count; i++) {
        queue_unwatch(f->watches[i].from->queue, &f->watches[i].watch);
        queue_pass_on(f->watches[i].from->queue);
        share_queue_release(f->watches[i].from);
    }
    f->watch_count = 0;
    timers_cancel(&f->k->timers, &f->timer);
}

/* With the session's lock. How long to wait at most; 0: something is there. */
static int64_t watch(struct share_fetch *f, int64_t wait_ns)
{
    struct share_session *session = f->session;
    f->watches = kafka_alloc_many(f->arena, session->topic_count, sizeof *f->watches);
    bool look_again = !f->watches;
    for (size_t i = 0; i < session->topic_count && f->watches; i++) {
        struct share_session_topic *st = &session->topics[i];
        if (!st->from || !st->consumer) {
            look_again = true;
            continue;
        }
        struct share_watch *w = &f->watches[f->watch_count];
        *w = (struct share_watch){.watch = {.fn = on_watch, .ctx = f}, .from = st->from};
        /* Something is there, but nothing for this one. */
        if (!queue_watch(st->from->queue, &w->watch)) {
            look_again = true;
            continue;
        }
        atomic_fetch_add(&st->from->refs, 1);
        f->watch_count++;
    }
    return look_again && wait_ns > AGAIN_NS ? AGAIN_NS : wait_ns;
}

/* With the session's lock. False: nothing is to be waited for. */
static bool prepare_to_wait(struct share_fetch *f)
{
    int64_t left = f->deadline_ns - clock_mono_ns(f->k->engine->env.clock);
    if (left <= 0)
        return false;
    atomic_store(&f->noted, NOTE_NONE);
    if (atomic_load(&f->cancelled) || atomic_load(&f->hurried)) /* what comes later is noted */
        return false;
    int64_t wait_ns = watch(f, left);
    f->timer = (struct timer){.due = on_timer};
    timers_set(&f->k->timers, &f->timer, clock_mono_ns(clock_system()) + wait_ns);
    return true;
}

/* True: `again` will be called, or was; the fetch must not be touched any more. */
static bool wait_now(struct share_fetch *f)
{
    int seen = NOTE_NONE;
    return atomic_compare_exchange_strong(&f->noted, &seen, NOTE_WAITS);
}

void share_fetch_cancel(struct share_fetch *f)
{
    atomic_store(&f->cancelled, true);
    note(f);
}

void share_fetch_hurry(struct share_fetch *f)
{
    atomic_store(&f->hurried, true);
    note(f);
}

/* ---- running ---- */

static bool end(struct share_fetch *f, int code, const char *text)
{
    f->response->error_code = (int16_t)code;
    f->response->error_message = code && text ? beck_str(text) : (beck_bytes){0};
    if (!code && !fill_response(f))
        f->response->error_code = KAFKA_KAFKA_STORAGE_ERROR;
    if (f->session)
        share_session_release(f->session);
    f->session = NULL;
    return true;
}

static bool has_news(const struct share_fetch *f)
{
    for (const struct share_part *p = f->parts; p; p = p->next)
        if (p->acquired_count > 0 || p->error)
            return true;
    return false;
}

bool share_fetch_run(struct share_fetch *f)
{
    int code = KAFKA_NONE;
    const char *text = NULL;
    if (!f->begun) {
        f->begun = true;
        f->deadline_ns =
            clock_mono_ns(f->k->engine->env.clock) +
            (f->request->max_wait_ms > 0 ? f->request->max_wait_ms : 0) * INT64_C(1000000);
        if (!begin(f, &code, &text))
            return end(f, code, text);
    }
    for (;;) {
        unwatch(f);
        if (atomic_load(&f->cancelled)) {
            share_session_end_by(f->k->shares, f->session, f->connection);
            break;
        }
        mutex_lock(&f->session->lock);
        bool closed = f->session->closed || f->session->connection != f->connection;
        if (!closed)
            take_records(f);
        bool done = closed || has_news(f) || !prepare_to_wait(f);
        mutex_unlock(&f->session->lock);
        if (!done && wait_now(f))
            return false;
        if (done && !atomic_load(&f->cancelled))
            break;
    }
    return end(f, KAFKA_NONE, NULL);
}
