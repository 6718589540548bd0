/*
 * Fetch (1). Ranges of the log, in memory or in files, go to the socket as they are stored.
 *
 * What the tail of a partition has, or the operating system has in memory of open files, is answered on the loop of the
 * connection. Where a file has to be opened or the disk to be read, to find a place or headers, or many files are asked for,
 * all of it is done on the pool, which also has the operating system read what is to be sent, so that the loop waits for no
 * disk. A request for which there is too little yet arms a watch in each partition, and a timer; the first of them that has
 * something to say posts the request back to the loop, where everything is looked at again. So it holds memory while it
 * waits, and nothing else: a few words for each of its partitions, which it answers with when others need that memory.
 *
 * Blocks of the tail that unread answers hold have a limit (BLOCKS_MAX); beyond it answers come from files.
 */
#include "kafka/message/fetch.h"

#include "wire/kafka/fetch_session.h"
#include "wire/kafka/topic_names.h"
#include "wire/kafka/wire_impl.h"

#include <stdlib.h>
#include <unistd.h>

#define IDS_VERSION 13
#define SESSIONS_VERSION 7
#define ZSTD_VERSION 10
#define LEADER_EPOCH 0
#define READ_COMMITTED 1
#define BYTES_MAX (55 << 20) /* of one answer, as Kafka's fetch.max.bytes */
#define BLOCKS_MAX (256u << 20)
#define FILES_AT_ONCE 16 /* ranges of files that are found on the loop */
#define FINAL_EPOCH (-1)
#define FIRST_EPOCH 0

static const char no_memory[] = "there is no memory for an answer";

/* What one partition gives now. */
struct found {
    int code;
    struct partition *p; /* NULL: there is an error for good */
    struct partition_watch watch;
    int64_t seen; /* where what was looked at ended, or before */
    int64_t high, stable, first;
    struct partition_range range;
    bool held; /* there is a range */
    struct aborted *aborted;
    size_t aborted_count;
    struct kafka_wire *wire; /* while it holds a block that is counted */
};

enum collected {
    TOO_LITTLE,
    ENOUGH,
    COLD,     /* it must be done on the pool */
    GIVES_WAY /* there, to others: the rest follows */
};

struct fetching {
    struct kafka_request *r;
    const struct kafka_fetch_request *q; /* while the handler runs */
    struct fetch_session *session;       /* taken; NULL: none */
    bool incremental;                    /* only what is new is answered */
    struct fetch_part *parts;            /* the session's, or the request's own */
    struct found *found;                 /* one for each */
    size_t count, next;                  /* next: where it begins */
    bool committed, by_id, replica;      /* replica: it says that it is one, and there is none */
    bool on_pool;                        /* files may be read */
    enum collected collected;            /* there */
    int64_t bytes_min, bytes_max;
    int64_t until_ns;
    size_t files;  /* of which ranges were found on the loop */
    size_t looked; /* parts that were looked at, with so many bytes found */
    int64_t bytes;
    bool failed; /* one of them */
    struct timer timer;
    struct timers *timers;
    _Atomic(bool) woken;
};

static struct fetch_sessions *sessions_of(const struct fetching *f)
{
    return f->r->wire->fetch_sessions;
}

/* ---- which partitions ---- */

static void set_part(struct fetch_part *p, const struct kafka_fetch_request_partition *q)
{
    p->offset = q->fetch_offset;
    p->bytes_max = q->partition_max_bytes;
    p->leader_epoch = q->current_leader_epoch;
    p->forgotten = false;
}

static size_t count_parts(const struct kafka_fetch_request *q)
{
    size_t n = 0;
    for (size_t i = 0; i < q->topics.count; i++)
        n += q->topics.at[i].partitions.count;
    return n;
}

static bool read_parts(struct fetching *f)
{
    struct kafka_arena *arena = request_arena(f->r);
    f->parts = kafka_alloc_many(arena, count_parts(f->q), sizeof *f->parts);
    for (size_t i = 0; f->parts && i < f->q->topics.count; i++) {
        const struct kafka_fetch_request_topic *t = &f->q->topics.at[i];
        char *name = f->by_id ? NULL : kafka_alloc(arena, t->topic.len + 1);
        if (name && t->topic.len > 0)
            memcpy(name, t->topic.data, t->topic.len);
        if (!name && !f->by_id)
            return false;
        for (size_t j = 0; j < t->partitions.count; j++) {
            struct fetch_part *p = &f->parts[f->count++];
            p->name = name;
            memcpy(p->id, t->topic_id, TOPIC_ID);
            p->partition = t->partitions.at[j].partition;
            set_part(p, &t->partitions.at[j]);
        }
    }
    return f->parts != NULL;
}

/* False: no memory, or no room. */
static bool read_into_session(struct fetching *f)
{
    struct fetch_session *s = f->session;
    for (size_t i = 0; i < f->q->topics.count; i++) {
        const struct kafka_fetch_request_topic *t = &f->q->topics.at[i];
        for (size_t j = 0; j < t->partitions.count; j++) {
            int32_t n = t->partitions.at[j].partition;
            struct fetch_part *p = fetch_session_find(s, t->topic, t->topic_id, n);
            if (!p)
                p = fetch_session_add(sessions_of(f), s, t->topic, t->topic_id, n);
            if (!p)
                return false;
            set_part(p, &t->partitions.at[j]);
        }
    }
    return true;
}

static void forget_parts(struct fetching *f)
{
    struct fetch_session *s = f->session;
    for (size_t i = 0; i < f->q->forgotten_topics_data.count; i++) {
        const struct kafka_fetch_request_forgotten_topic *t = &f->q->forgotten_topics_data.at[i];
        for (size_t j = 0; j < t->partitions.count; j++) {
            struct fetch_part *p =
                fetch_session_find(s, t->topic, t->topic_id, t->partitions.at[j]);
            if (p)
                p->forgotten = true;
        }
    }
}

static void drop_session(struct fetching *f)
{
    struct fetch_session *s = f->session;
    f->session = NULL;
    fetch_session_drop(sessions_of(f), s->id);
    fetch_session_give(sessions_of(f), s, 0);
}

/* A full request: with a session from now on if the client wants one and there is room. */
static bool begin_full(struct fetching *f)
{
    const struct kafka_fetch_request *q = f->q;
    if (q->session_id != 0)
        fetch_session_drop(sessions_of(f), q->session_id);
    if (q->session_epoch == FIRST_EPOCH && request_version(f->r) >= SESSIONS_VERSION)
        f->session = fetch_session_make(sessions_of(f), f->by_id, count_parts(q),
                                        clock_mono_ns(clock_system()));
    if (f->session && !read_into_session(f))
        drop_session(f);
    return f->session || read_parts(f);
}

/* An error code for the whole. */
static int begin(struct fetching *f)
{
    const struct kafka_fetch_request *q = f->q;
    if (q->session_epoch == FINAL_EPOCH || q->session_epoch == FIRST_EPOCH) {
        if (!begin_full(f))
            return KAFKA_UNKNOWN_SERVER_ERROR;
    } else {
        int code = fetch_session_take(sessions_of(f), q->session_id, q->session_epoch, f->by_id,
                                      &f->session);
        if (code)
            return code;
        f->incremental = true;
        forget_parts(f);
        if (!read_into_session(f)) {
            drop_session(f);
            return KAFKA_FETCH_SESSION_ID_NOT_FOUND;
        }
        fetch_session_forget(sessions_of(f), f->session);
    }
    if (f->session) {
        f->parts = f->session->parts;
        f->count = f->session->count;
        f->next = f->session->next < f->count ? f->session->next : 0;
    }
    f->found = kafka_alloc_many(request_arena(f->r), f->count, sizeof *f->found);
    return f->found ? KAFKA_NONE : KAFKA_UNKNOWN_SERVER_ERROR;
}

/* ---- what is there ---- */

static int resolve(struct fetching *f, struct fetch_part *part, struct partition **out)
{
    struct kafka *k = request_kafka(f->r);
    if (!part->topic || topic_is_gone(part->topic))
        part->topic = f->by_id ? topics_find_id(k, part->id) : topics_find(k, beck_str(part->name));
    if (!part->topic && f->by_id)
        return KAFKA_UNKNOWN_TOPIC_ID;
    beck_bytes name = part->topic ? part->topic->name : beck_str(part->name);
    if (!request_may(f->r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_READ, name))
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    struct partition *p = part->topic ? topic_partition(part->topic, part->partition) : NULL;
    if (!p)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (part->leader_epoch > LEADER_EPOCH)
        return KAFKA_UNKNOWN_LEADER_EPOCH;
    if (f->replica)
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (partition_damage(p))
        return KAFKA_KAFKA_STORAGE_ERROR;
    *out = p;
    return KAFKA_NONE;
}

static void release_range(void *ctx)
{
    struct found *found = ctx;
    if (found->wire)
        atomic_fetch_sub(&found->wire->blocks, found->range.block->cap);
    partition_range_release(&found->range);
}

static void let_go(struct found *found)
{
    if (found->held)
        partition_range_release(&found->range);
    free(found->aborted);
    found->held = false;
    found->aborted = NULL;
    found->aborted_count = 0;
}

/* The header of the batch that begins at `at` of the range; false: it is not whole. */
static bool header_at(const struct partition_range *range, size_t at, struct batch_header *out)
{
    uint8_t copy[BATCH_HEADER];
    const uint8_t *p = range->block ? (const uint8_t *)range->bytes.data + at : copy;
    if (range->len - at < BATCH_HEADER)
        return false;
    if (!range->block &&
        pread(range->fd, copy, sizeof copy, range->position + (int64_t)at) != (ssize_t)sizeof copy)
        return false;
    return batch_header_read(p, out, NULL) == BECK_OK && batch_size(out) <= range->len - at;
}

/* Clients before version 10 do not know zstd: what is before the first such batch is theirs. */
static int cut_before_zstd(struct partition_range *range)
{
    struct batch_header h;
    size_t at = 0;
    while (header_at(range, at, &h)) {
        if ((h.attributes & BATCH_CODEC_MASK) == BECK_CODEC_ZSTD)
            break;
        at += batch_size(&h);
        if (at == range->len)
            return KAFKA_NONE;
    }
    if (at == 0)
        return KAFKA_UNSUPPORTED_COMPRESSION_TYPE;
    range->len = at;
    if (range->block)
        range->bytes.len = at;
    return KAFKA_NONE;
}

/* The offset behind the last whole batch of the range. */
static int64_t end_of(const struct partition_range *range, int64_t from)
{
    struct batch_header h;
    for (size_t at = 0; header_at(range, at, &h); at += batch_size(&h))
        from = batch_last_offset(&h) + 1;
    return from;
}

static beck_status find_aborted(struct fetching *f, const struct fetch_part *part,
                                struct found *found)
{
    if (!f->committed || !found->held)
        return BECK_OK;
    beck_status status = partition_aborted(found->p, part->offset, found->stable, &found->aborted,
                                           &found->aborted_count, NULL);
    if (status || found->aborted_count == 0)
        return status;
    if (!f->on_pool && !found->range.block)
        return PARTITION_COLD;
    int64_t end = end_of(&found->range, part->offset);
    size_t kept = 0;
    for (size_t i = 0; i < found->aborted_count; i++)
        if (found->aborted[i].first_offset < end)
            found->aborted[kept++] = found->aborted[i];
    found->aborted_count = kept;
    return BECK_OK;
}

static int code_of(beck_status status)
{
    return status == BECK_ERANGE    ? KAFKA_OFFSET_OUT_OF_RANGE
           : status == BECK_ECLOSED ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                                    : kafka_error_of(status);
}

/* A range of a file that the disk would have to read, or one of many. */
static bool is_for_pool(struct fetching *f, const struct partition_range *range)
{
    return !f->on_pool && !range->block &&
           (++f->files > FILES_AT_ONCE || !partition_range_is_warm(range));
}

static unsigned how_to_fetch(const struct fetching *f)
{
    bool full = atomic_load(&f->r->wire->blocks) > BLOCKS_MAX;
    return (f->bytes == 0 ? PARTITION_ONE_AT_LEAST : 0) | (f->committed ? PARTITION_COMMITTED : 0) |
           (f->on_pool ? 0 : PARTITION_WARM_ONLY) | (full ? PARTITION_NO_BLOCK : 0);
}

/* False: it is COLD. */
static bool look(struct fetching *f, struct fetch_part *part, struct found *found)
{
    int64_t left = f->bytes_max - f->bytes;
    found->p = NULL;
    found->code = resolve(f, part, &found->p);
    if (found->code)
        return true;
    found->seen = f->committed ? partition_stable(found->p) : partition_high(found->p);
    found->first = partition_first(found->p);
    int64_t max = part->bytes_max < left ? part->bytes_max : left;
    beck_status status = partition_fetch(found->p, part->offset, max > 0 ? (size_t)max : 0,
                                         how_to_fetch(f), &found->range, NULL);
    /* Read behind that: what was fetched may reach further than all that was there before, and a transaction
     * in it may have been aborted since. */
    found->high = partition_high(found->p);
    found->stable = partition_stable(found->p);
    found->held = !status && found->range.len > 0;
    if (found->held && is_for_pool(f, &found->range))
        status = PARTITION_COLD;
    if (!status && found->held && request_version(f->r) < ZSTD_VERSION) {
        if (f->on_pool || found->range.block)
            found->code = cut_before_zstd(&found->range);
        else
            status = PARTITION_COLD;
    }
    if (!status && !found->code)
        status = find_aborted(f, part, found);
    if (status && status != PARTITION_COLD)
        found->code = code_of(status);
    if (found->code || status) {
        let_go(found);
        found->p = NULL;
    }
    return status != PARTITION_COLD;
}

static void let_go_of_all(struct fetching *f)
{
    for (size_t i = 0; f->found && i < f->count; i++)
        let_go(&f->found[i]);
}

static enum collected collect(struct fetching *f)
{
    for (; f->looked < f->count; f->looked++) {
        size_t i = (f->next + f->looked) % f->count;
        struct found *found = &f->found[i];
        if (f->on_pool && request_gives_way(f->r))
            return GIVES_WAY;
        if (!look(f, &f->parts[i], found)) {
            let_go_of_all(f);
            return COLD;
        }
        if (found->held)
            f->bytes += (int64_t)found->range.len;
        if (found->held && f->on_pool)
            partition_range_warm(&found->range);
        f->failed = f->failed || found->code;
    }
    return f->failed || f->count == 0 || f->bytes >= f->bytes_min ? ENOUGH : TOO_LITTLE;
}

static void begin_to_collect(struct fetching *f)
{
    f->looked = f->files = 0;
    f->bytes = 0;
    f->failed = false;
}

/* ---- answering ---- */

static bool is_news(const struct fetching *f, const struct fetch_part *part,
                    const struct found *found)
{
    return !f->incremental || !part->told || found->code || found->held ||
           part->high != found->high || part->log_start != found->first;
}

static bool put_aborted(struct fetching *f, const struct found *found,
                        struct kafka_fetch_response_partition *out)
{
    if (!f->committed) {
        out->aborted_transactions.is_null = true;
        return true;
    }
    if (!kafka_array(request_arena(f->r), &out->aborted_transactions, found->aborted_count))
        return false;
    for (size_t i = 0; i < found->aborted_count; i++)
        out->aborted_transactions.at[i] = (struct kafka_fetch_response_aborted_transaction){
            found->aborted[i].producer_id, found->aborted[i].first_offset};
    return true;
}

/* The range goes to the answer. */
static void put_records(struct kafka_wire *w, struct found *found, struct kafka_records *out)
{
    struct partition_range *range = &found->range;
    out->bytes = bytes_of("", 0);
    found->wire = NULL;
    if (!found->held)
        return;
    *out = (struct kafka_records){.release = release_range, .ctx = found};
    if (range->block) {
        atomic_fetch_add(&w->blocks, range->block->cap);
        found->wire = w;
        out->block = range->block;
        out->bytes = range->bytes;
    } else {
        out->fd = range->fd;
        out->position = range->position;
        out->file_size = range->len;
    }
    found->held = false;
}

static bool put_partition(struct fetching *f, struct fetch_part *part, struct found *found,
                          struct kafka_fetch_response_partition *out)
{
    kafka_fetch_response_partition_init(out);
    out->partition_index = part->partition;
    out->error_code = (int16_t)found->code;
    out->high_watermark = found->code ? -1 : found->high;
    out->last_stable_offset = found->code ? -1 : found->stable;
    out->log_start_offset = found->code ? -1 : found->first;
    part->high = found->code ? -1 : found->high;
    part->log_start = found->code ? -1 : found->first;
    part->told = true;
    bool good = put_aborted(f, found, out);
    put_records(f->r->wire, found, &out->records);
    return good;
}

static bool same_topic(const struct fetching *f, const struct fetch_part *a,
                       const struct fetch_part *b)
{
    return f->by_id ? memcmp(a->id, b->id, TOPIC_ID) == 0
                    : a->name == b->name || strcmp(a->name, b->name) == 0;
}

/* Parts of one topic that follow each other are told together. */
static bool put_parts(struct fetching *f, struct kafka_fetch_response *a)
{
    struct kafka_arena *arena = request_arena(f->r);
    const struct fetch_part *previous = NULL;
    struct kafka_fetch_response_partition *out = kafka_alloc_many(arena, f->count, sizeof *out);
    struct kafka_fetch_response_topic *topic = NULL;
    size_t last = f->count;
    bool good = kafka_array(arena, &a->responses, f->count) && out;
    a->responses.count = 0;
    for (size_t n = 0; n < f->count && good; n++) {
        size_t i = (f->next + n) % f->count;
        struct fetch_part *part = &f->parts[i];
        if (!is_news(f, part, &f->found[i]))
            continue;
        if (!previous || !same_topic(f, previous, part)) {
            topic = &a->responses.at[a->responses.count++];
            topic->topic = f->by_id ? (beck_bytes){0} : kafka_text(arena, part->name);
            memcpy(topic->topic_id, part->id, TOPIC_ID);
            topic->partitions.at = out;
        }
        if (f->found[i].held)
            last = i;
        previous = part;
        topic->partitions.count++;
        good = put_partition(f, part, &f->found[i], out++);
    }
    if (f->session && last < f->count)
        f->session->next = last + 1;
    return good;
}

static void end_session(struct fetching *f)
{
    if (f->session)
        fetch_session_give(sessions_of(f), f->session, clock_mono_ns(clock_system()));
    f->session = NULL;
}

static void answer(struct fetching *f)
{
    struct kafka_fetch_response a;
    kafka_fetch_response_init(&a);
    a.session_id = f->session ? f->session->id : 0;
    if (f->session && f->count == 0) {
        a.session_id = 0;
        drop_session(f);
    }
    bool good = put_parts(f, &a);
    end_session(f);
    if (good) {
        for (size_t i = 0; i < f->count; i++)
            let_go(&f->found[i]); /* lists of what was aborted */
        request_answer(f->r, &a);
        return;
    }
    for (size_t i = 0; i < a.responses.count; i++)
        for (size_t j = 0; j < a.responses.at[i].partitions.count; j++)
            if (a.responses.at[i].partitions.at[j].records.release)
                release_range(a.responses.at[i].partitions.at[j].records.ctx);
    let_go_of_all(f);
    request_fail(f->r, no_memory);
}

static void answer_error(struct fetching *f, int code)
{
    struct kafka_fetch_response a;
    kafka_fetch_response_init(&a);
    a.error_code = (int16_t)code;
    end_session(f);
    if (kafka_array(request_arena(f->r), &a.responses, 0))
        request_answer(f->r, &a);
    else
        request_fail(f->r, no_memory);
}

/* ---- waiting ---- */

static void resume(struct kafka_request *r);

/* Any thread, with locks. */
static void wake(struct fetching *f)
{
    if (!atomic_exchange(&f->woken, true))
        request_post(f->r, resume);
}

static void came(void *ctx)
{
    wake(ctx);
}

static void time_is_up(struct timer *t)
{
    wake((struct fetching *)(void *)((char *)t - offsetof(struct fetching, timer)));
}

static void arm(struct fetching *f)
{
    let_go_of_all(f);
    request_waits(f->r);
    atomic_store(&f->woken, false);
    timers_set(f->timers, &f->timer, f->until_ns);
    for (size_t i = 0; i < f->count; i++) {
        struct found *found = &f->found[i];
        if (!found->p)
            continue;
        /* Behind what is there now and is not enough. */
        found->watch = (struct partition_watch){
            .fn = came, .ctx = f, .offset = found->seen, .uncommitted = !f->committed};
        if (found->watch.offset < f->parts[i].offset)
            found->watch.offset = f->parts[i].offset;
        if (!partition_watch(found->p, &found->watch))
            wake(f);
    }
}

static void disarm(struct fetching *f)
{
    timers_cancel(f->timers, &f->timer);
    for (size_t i = 0; i < f->count; i++)
        if (f->found[i].p)
            partition_unwatch(f->found[i].p, &f->found[i].watch);
}

/* On the loop, with what was collected. */
static void decide(struct kafka_request *r)
{
    struct fetching *f = request_state(r);
    bool late = f->until_ns <= clock_mono_ns(clock_system());
    f->on_pool = false;
    if (f->collected == ENOUGH || late)
        answer(f);
    else
        arm(f);
}

static void collect_on_pool(struct kafka_request *r)
{
    struct fetching *f = request_state(r);
    if (!f->on_pool)
        begin_to_collect(f);
    f->on_pool = true;
    f->collected = collect(f);
    if (f->collected == GIVES_WAY)
        request_defer(r, collect_on_pool);
    else
        request_post(r, decide);
}

static void go_on(struct fetching *f)
{
    begin_to_collect(f);
    f->collected = collect(f);
    if (f->collected == COLD)
        request_defer(f->r, collect_on_pool);
    else
        decide(f->r);
}

static void resume(struct kafka_request *r)
{
    struct fetching *f = request_state(r);
    disarm(f);
    go_on(f);
}

/* With whatever is there. */
static void hurry(struct kafka_request *r)
{
    struct fetching *f = request_state(r);
    f->until_ns = INT64_MIN;
    if (!atomic_exchange(&f->woken, true))
        resume(r);
}

void handle_fetch(struct kafka_request *r)
{
    const struct kafka_fetch_request *q = request_body(r);
    struct fetching *f = request_alloc(r, sizeof *f);
    if (!f) {
        request_fail(r, no_memory);
        return;
    }
    *f = (struct fetching){.r = r,
                           .q = q,
                           .committed = q->isolation_level == READ_COMMITTED,
                           .by_id = request_version(r) >= IDS_VERSION,
                           .replica = q->replica_id >= 0 || q->replica_state.replica_id >= 0,
                           .bytes_max = q->max_bytes < BYTES_MAX ? q->max_bytes : BYTES_MAX,
                           .timers = kafka_timers(request_kafka(r)),
                           .timer.due = time_is_up};
    f->bytes_min = q->min_bytes < f->bytes_max ? q->min_bytes : f->bytes_max;
    f->until_ns = clock_mono_ns(clock_system()) + (int64_t)q->max_wait_ms * 1000000;
    int code = begin(f);
    f->q = NULL;
    if (code) {
        answer_error(f, code);
    } else {
        atomic_init(&f->woken, true); /* nobody else has it before it is armed */
        request_set_state(r, f);
        request_on_close(r, hurry);
        request_on_short(r, hurry);
        go_on(f);
    }
}
