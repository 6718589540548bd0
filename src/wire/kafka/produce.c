/*
 * Produce (0). A batch goes from the input of the connection to the log as it came, while its handler
 * runs, so what a connection sends is appended in order. Its records are counted, as Kafka's brokers do,
 * also those of compressed batches: whoever reads relies on it. They are looked at when the topic's rules
 * ask for keys or times of records.
 *
 * What takes long (a large compressed batch, one that gets another codec, a new segment of the log) goes to the pool
 * with all that is behind it; the connection starts nothing more meanwhile. There a batch that is large once it is
 * decompressed is read while no other such one is.
 *
 * Where the answer has to wait for a sync, each batch takes one of `left`, which its completion gives
 * back from whichever thread; whoever gives back the last one answers.
 */
#include "kafka/message/produce.h"

#include "kafka/transactions.h"
#include "log/batch.h"
#include "log/committer.h"
#include "log/partition.h"
#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

#include <stdio.h>

#define FIRST_VERSION 3 /* earlier ones are only told to clients that look for them */
#define ZSTD_VERSION 7
#define IDS_VERSION 13
#define IMPLICIT_VERSION 12 /* from here on producing adds a partition to a transaction */
/* In the header of a batch. */
#define LENGTH_AT 8
#define MAGIC_AT 16
#define ATTRIBUTES_AT 21
#define MAGIC 2
#define DECOMPRESSED_MAX (256u << 20)
#define AT_ONCE_MAX (1u << 20)             /* bytes of a batch that are looked at on the loop */
#define COMPRESSED_AT_ONCE_MAX (16u << 10) /* of a compressed one */
/* Bytes and records of a batch, decompressed, that threads read at the same time; larger ones are read one
 * after the other. */
#define TOGETHER_MAX (16u << 20)
#define RECORDS_TOGETHER_MAX 65536
#define LATER (-1000)           /* beside Kafka's codes: on the pool */
#define ALONE (-1001)           /* while no other request reads a large one */
#define RECORD_ERRORS_MAX 100   /* that are told of one batch */
#define RECORD_ERRORS_ALL 10000 /* of one request */
#define RECORD_ERRORS_SHOWN 3

struct producing {
    struct kafka_request *r;
    struct kafka_produce_response answer;
    beck_level level;
    bool by_interval; /* nobody waits for syncs */
    int16_t acks;
    size_t told;             /* errors of records */
    int refused;             /* all of it, with this code */
    size_t topic, partition; /* the next */
    bool on_pool;
    bool alone;             /* between request_begin_large and its end */
    bool on_loop;           /* all of it, as memory is short; with on_pool */
    _Atomic(uint32_t) left; /* batches without a result, and the handler */
    _Atomic(bool) failed;
};

/* One batch on its way. */
struct sent {
    struct producing *s;
    struct kafka_produce_response_partition *out;
};

/* ---- answering ---- */

static void give_back(struct producing *s)
{
    if (atomic_fetch_sub_explicit(&s->left, 1, memory_order_acq_rel) > 1)
        return;
    if (s->acks != 0)
        request_answer(s->r, &s->answer);
    else if (atomic_load(&s->failed))
        request_fail(s->r, "what was produced without a wish for an answer was refused");
    else
        request_answer(s->r, NULL);
}

static void refuse(struct producing *s, struct kafka_produce_response_partition *out, int code,
                   const char *why)
{
    out->error_code = (int16_t)code;
    out->base_offset = -1;
    if (why && *why)
        out->error_message = kafka_text(request_arena(s->r), why);
    atomic_store(&s->failed, true);
}

static int code_of(beck_status status)
{
    switch (status) {
    case BECK_EINVAL:
        return KAFKA_INVALID_RECORD;
    case BECK_ELIMIT: /* a queue that takes no more */
        return KAFKA_POLICY_VIOLATION;
    case BECK_ETXN_STATE:
        return KAFKA_INVALID_TXN_STATE;
    default:
        return kafka_error_of(status);
    }
}

static void done(void *ctx, beck_status status, int64_t first_offset)
{
    struct sent *sent = ctx;
    if (!status || status == BECK_EDUPLICATE)
        sent->out->base_offset = first_offset;
    else
        refuse(sent->s, sent->out, code_of(status), NULL);
    give_back(sent->s);
}

/* ---- what records must be ---- */

/* One look at all records of a batch. */
struct look {
    struct kafka_arena *arena;
    struct kafka_produce_response_partition *out;
    struct topic *topic;
    int32_t partition;
    int64_t now_ms, earliest_ms, latest_ms;
    size_t room;       /* for errors that are told */
    size_t count, bad; /* records */
    char texts[RECORD_ERRORS_SHOWN][160];
};

static bool in_time(const struct look *l, int64_t timestamp_ms)
{
    return timestamp_ms == -1 || (timestamp_ms >= l->earliest_ms && timestamp_ms <= l->latest_ms);
}

static void note_bad(struct look *l, int32_t index, const char *text)
{
    size_t n = l->bad++, room = l->count < l->room ? l->count : l->room;
    if (n < RECORD_ERRORS_SHOWN)
        snprintf(l->texts[n], sizeof l->texts[n], "%s", text);
    if (n == 0 && !kafka_array(l->arena, &l->out->record_errors, room))
        l->out->record_errors.count = 0; /* then they are told in words only */
    if (n >= room || !l->out->record_errors.at)
        return;
    l->out->record_errors.at[n] = (struct kafka_produce_response_record_error){
        .batch_index = index, .batch_index_error_message = kafka_text(l->arena, text)};
    l->out->record_errors.count = n + 1;
}

static int look_at(struct look *l, int32_t index, beck_bytes key, int64_t timestamp_ms)
{
    char text[160];
    if (!key.data && atomic_load(&l->topic->compact)) {
        snprintf(text, sizeof text,
                 "Compacted topic cannot accept message without key in topic partition %.60s-%d.",
                 (const char *)l->topic->name.data, l->partition);
        note_bad(l, index, text);
        return KAFKA_INVALID_RECORD;
    }
    if (in_time(l, timestamp_ms) || atomic_load(&l->topic->append_time))
        return KAFKA_NONE;
    snprintf(text, sizeof text,
             "Timestamp %lld of message with offset %d is out of range. The timestamp should be "
             "within [%lld, %lld]",
             (long long)timestamp_ms, index, (long long)l->earliest_ms, (long long)l->latest_ms);
    note_bad(l, index, text);
    return KAFKA_INVALID_TIMESTAMP;
}

static int look_at_all(struct look *l, struct batch_records *records, beck_error *err)
{
    int code = KAFKA_NONE;
    l->count = (size_t)records->header.count;
    for (int32_t i = 0; i < records->header.count; i++) {
        int64_t offset, timestamp_ms;
        beck_bytes key;
        bool is_null;
        if (record_peek(records->records, &records->at, 0, records->header.base_timestamp_ms,
                        &offset, &timestamp_ms, &key, &is_null, NULL, err))
            return KAFKA_INVALID_RECORD;
        int bad = look_at(l, i, key, timestamp_ms);
        if (bad && !code)
            code = bad;
    }
    return code;
}

/* In words, as Kafka has it. */
static void tell_bad(const struct look *l, beck_error *err)
{
    size_t shown = l->bad < RECORD_ERRORS_SHOWN ? l->bad : RECORD_ERRORS_SHOWN;
    int n =
        snprintf(err->text, sizeof err->text,
                 "One or more records have been rejected due to %zu record errors in total, and "
                 "only showing the first three errors at most: [",
                 l->bad);
    for (size_t i = 0; i < shown && n < (int)sizeof err->text; i++)
        n += snprintf(err->text + n, sizeof err->text - (size_t)n, "%s%s", i > 0 ? ", " : "",
                      l->texts[i]);
    if (n < (int)sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, "]");
}

static int check_records(struct look *l, beck_bytes batch, beck_error *err)
{
    struct codec codec;
    struct buf memory;
    struct batch_records records;
    codec_init(&codec);
    buf_init(&memory, DECOMPRESSED_MAX);
    beck_status status = batch_records_open(&records, batch, &codec, &memory, err);
    int code = status ? KAFKA_CORRUPT_MESSAGE : look_at_all(l, &records, err);
    if (l->bad > 0)
        tell_bad(l, err);
    buf_release(&memory);
    codec_release(&codec);
    return code;
}

/* Whether records must be looked at, by what the header says. */
static bool needs_look(const struct look *l, const struct batch_header *h)
{
    if (atomic_load(&l->topic->compact))
        return true;
    if (atomic_load(&l->topic->append_time))
        return false;
    return l->earliest_ms > INT64_MIN || !in_time(l, h->max_timestamp_ms);
}

/* ---- what a batch must be ---- */

static int refuse_batch(beck_error *err, int code, const char *text)
{
    snprintf(err->text, sizeof err->text, "%s", text);
    return code;
}

static int check_shape(beck_bytes batch, int16_t version, beck_error *err)
{
    const uint8_t *p = batch.data;
    if (batch.len == 0)
        return refuse_batch(err, KAFKA_INVALID_RECORD,
                            "Produce requests must have at least one record batch per partition");
    if (batch.len < BATCH_HEADER)
        return refuse_batch(err, KAFKA_CORRUPT_MESSAGE, "the record batch is cut off");
    if (p[MAGIC_AT] != MAGIC)
        return refuse_batch(
            err, KAFKA_INVALID_RECORD,
            "Produce requests are only allowed to contain record batches with magic "
            "version 2");
    if ((uint64_t)get_u32(p + LENGTH_AT) + BATCH_LENGTH_PREFIX < batch.len)
        return refuse_batch(err, KAFKA_INVALID_RECORD,
                            "Produce requests are only allowed to contain exactly one record batch "
                            "per partition");
    unsigned codec = get_u16(p + ATTRIBUTES_AT) & BATCH_CODEC_MASK;
    if (codec > BECK_CODEC_ZSTD)
        return refuse_batch(err, KAFKA_UNSUPPORTED_COMPRESSION_TYPE, "there is no such codec");
    if (codec == BECK_CODEC_ZSTD && version < ZSTD_VERSION)
        return refuse_batch(err, KAFKA_UNSUPPORTED_COMPRESSION_TYPE,
                            "Produce requests before version 7 are not allowed to use ZStandard "
                            "compression");
    return KAFKA_NONE;
}

static bool is_compressed(beck_bytes batch)
{
    return (get_u16((const uint8_t *)batch.data + ATTRIBUTES_AT) & BATCH_CODEC_MASK) !=
           BECK_CODEC_NONE;
}

static int check_batch(struct look *l, beck_bytes batch, const struct producing *s,
                       struct batch_header *h, beck_error *err)
{
    struct codec codec;
    struct buf memory;
    size_t most = atomic_load(&l->topic->batch_bytes_max);
    int code = check_shape(batch, request_version(s->r), err);
    if (code)
        return code;
    bool packed = is_compressed(batch);
    if (!s->on_pool && batch.len <= most &&
        batch.len > (packed ? COMPRESSED_AT_ONCE_MAX : AT_ONCE_MAX))
        return LATER;
    codec_init(&codec);
    buf_init(&memory, s->alone ? DECOMPRESSED_MAX : s->on_pool ? TOGETHER_MAX : AT_ONCE_MAX);
    beck_status status = batch_check_produced(batch, most, packed, &codec, &memory, h, err);
    buf_release(&memory);
    codec_release(&codec);
    if (status == BECK_ELIMIT && packed && !s->alone && batch.len <= most)
        return s->on_pool ? ALONE : LATER;
    if (!status && packed && s->on_pool && !s->alone && h->count > RECORDS_TOGETHER_MAX)
        return ALONE;
    switch (status) {
    case BECK_OK:
        batch_correct_time((uint8_t *)(uintptr_t)batch.data, batch.len, h);
        return needs_look(l, h) ? check_records(l, batch, err) : KAFKA_NONE;
    case BECK_ELIMIT:
        return KAFKA_MESSAGE_TOO_LARGE;
    case BECK_ECORRUPT: /* on its way: then clients send it again */
        if (batch.len < BATCH_HEADER || !batch_crc_fits(batch.data, batch.len))
            return KAFKA_CORRUPT_MESSAGE;
        return KAFKA_INVALID_RECORD;
    case BECK_EINVAL:
        return KAFKA_INVALID_RECORD;
    default:
        return KAFKA_UNKNOWN_SERVER_ERROR;
    }
}

/* *entered: to be left; NULL: none. */
static int enter_transaction(const struct producing *s, const struct look *l,
                             const struct batch_header *h, struct transaction **entered)
{
    const struct kafka_produce_request *q = request_body(s->r);
    struct transaction_producer producer = {q->transactional_id, h->producer_id, h->producer_epoch,
                                            NULL};
    struct transaction_partition where = {l->topic->name, l->partition};
    if (!(h->attributes & BATCH_TRANSACTIONAL))
        return KAFKA_NONE;
    if (!q->transactional_id.data)
        return KAFKA_INVALID_PRODUCER_ID_MAPPING;
    int code = transactions_check(request_kafka(s->r), &producer, &where,
                                  request_version(s->r) >= IMPLICIT_VERSION, entered);
    /* As Kafka's: producers try that again. */
    return code == KAFKA_CONCURRENT_TRANSACTIONS ? KAFKA_NOT_ENOUGH_REPLICAS : code;
}

/* ---- storing ---- */

static beck_level level_of(const struct producing *s, const struct topic *t)
{
    return atomic_load(&t->flush) && !s->by_interval ? BECK_LEVEL_SYNCED : s->level;
}

static void store(struct producing *s, const struct look *l, beck_bytes batch)
{
    struct kafka_produce_response_partition *out = l->out;
    beck_error err = {0};
    struct produce what = {.batch = (uint8_t *)(uintptr_t)batch.data,
                           .size = batch.len,
                           .level = level_of(s, l->topic),
                           .append_time = atomic_load(&l->topic->append_time)};
    bool waits = what.level == BECK_LEVEL_SYNCED;
    if (waits) {
        struct sent *sent = request_alloc(s->r, sizeof *sent);
        if (!sent) {
            refuse(s, out, KAFKA_UNKNOWN_SERVER_ERROR, "memory is short");
            return;
        }
        *sent = (struct sent){s, out};
        what.done = done;
        what.done_ctx = sent;
        atomic_fetch_add(&s->left, 1);
    }
    beck_status status = bus_produce(l->topic->bus, (uint32_t)l->partition, &what, &err);
    out->log_append_time_ms = what.append_time ? what.append_time_ms : -1;
    out->log_start_offset = what.log_start;
    if (!status && waits)
        return;
    if (!status || status == BECK_EDUPLICATE)
        out->base_offset = what.first_offset;
    else
        refuse(s, out, code_of(status), err.text);
    if (waits)
        give_back(s);
}

/* Whether the topic wants batches with another codec than this one has. */
static bool has_other_codec(const struct look *l, const struct batch_header *h)
{
    int wanted = atomic_load(&l->topic->codec);
    return wanted >= 0 && wanted != (h->attributes & BATCH_CODEC_MASK);
}

/* As Kafka's: offsets, times and producer stay, the size counts as it is then. */
static int recompress(const struct look *l, beck_bytes batch, const struct batch_header *h,
                      struct buf *out, beck_error *err)
{
    struct codec codec;
    struct buf memory;
    struct batch_records records;
    struct batch_header fresh = *h;
    codec_init(&codec);
    buf_init(&memory, DECOMPRESSED_MAX);
    fresh.attributes &= (uint16_t)~BATCH_CODEC_MASK;
    fresh.attributes |= (uint16_t)atomic_load(&l->topic->codec);
    beck_status status = batch_records_open(&records, batch, &codec, &memory, err);
    if (!status)
        status =
            batch_rewrite(&fresh, records.records, h->count, h->max_timestamp_ms, &codec, out, err);
    buf_release(&memory);
    codec_release(&codec);
    if (status)
        return status == BECK_ELIMIT ? KAFKA_MESSAGE_TOO_LARGE : KAFKA_UNKNOWN_SERVER_ERROR;
    if (out->len <= atomic_load(&l->topic->batch_bytes_max))
        return KAFKA_NONE;
    return refuse_batch(err, KAFKA_MESSAGE_TOO_LARGE,
                        "the batch is too large with the codec of the topic (compression.type)");
}

/* Whether the loop would wait for the disk. */
static bool waits(const struct producing *s, const struct look *l, const struct batch_header *h)
{
    return !s->on_pool && level_of(s, l->topic) != BECK_LEVEL_SYNCED &&
           partition_waits_to_produce(topic_partition(l->topic, l->partition), h);
}

/* LATER, ALONE: nothing was done. */
static int produce(struct producing *s, struct topic *t,
                   const struct kafka_produce_request_partition *q,
                   struct kafka_produce_response_partition *out)
{
    beck_error err = {0};
    struct batch_header h;
    int64_t before = atomic_load(&t->before_max_ms), after = atomic_load(&t->after_max_ms);
    struct look l = {.arena = request_arena(s->r),
                     .out = out,
                     .topic = t,
                     .partition = q->index,
                     .now_ms = clock_wall_ms(request_engine(s->r)->env.clock)};
    l.room = RECORD_ERRORS_ALL - s->told < RECORD_ERRORS_MAX ? RECORD_ERRORS_ALL - s->told
                                                             : RECORD_ERRORS_MAX;
    l.earliest_ms = before == INT64_MAX ? INT64_MIN : l.now_ms - before;
    l.latest_ms = after > INT64_MAX - l.now_ms ? INT64_MAX : l.now_ms + after;
    const struct partition *p = topic_is_gone(t) ? NULL : topic_partition(t, q->index);
    int code = !p                                ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
               : partition_check_damage(p, &err) ? KAFKA_KAFKA_STORAGE_ERROR
                                                 : check_batch(&l, q->records.bytes, s, &h, &err);
    bool changes = !code && has_other_codec(&l, &h);
    if (code == LATER || (!s->on_pool && changes) || (!code && waits(s, &l, &h)))
        return LATER;
    if (code == ALONE && !s->on_loop)
        return ALONE;
    if (code == ALONE)
        code = refuse_batch(&err, KAFKA_UNKNOWN_SERVER_ERROR, "memory is short");
    s->told += out->record_errors.count;
    struct transaction *entered = NULL;
    if (!code)
        code = enter_transaction(s, &l, &h, &entered);
    struct buf changed;
    buf_init(&changed, DECOMPRESSED_MAX);
    if (!code && changes)
        code = recompress(&l, q->records.bytes, &h, &changed, &err);
    if (code)
        refuse(s, out, code, err.text);
    else
        store(s, &l, changes ? buf_bytes(&changed) : q->records.bytes);
    if (entered)
        transactions_leave(request_kafka(s->r), entered);
    buf_release(&changed);
    return KAFKA_NONE;
}

/* False: it is for the pool. */
static bool produce_in_turn(struct producing *s, struct topic *t,
                            const struct kafka_produce_request_partition *q,
                            struct kafka_produce_response_partition *out)
{
    int end = produce(s, t, q, out);
    if (end == ALONE) {
        request_begin_large(s->r);
        s->alone = true;
        end = produce(s, t, q, out);
        s->alone = false;
        request_end_large(s->r);
    }
    return end != LATER;
}

/* ---- the request ---- */

/* What keeps all of it from being taken. */
static int check_request(const struct producing *s)
{
    const struct kafka_produce_request *q = request_body(s->r);
    if (request_version(s->r) < FIRST_VERSION)
        return KAFKA_UNSUPPORTED_VERSION;
    if (q->acks < -1 || q->acks > 1)
        return KAFKA_INVALID_REQUIRED_ACKS;
    if (q->transactional_id.data &&
        !request_may(s->r, KAFKA_RESOURCE_TRANSACTIONAL_ID, KAFKA_OP_WRITE, q->transactional_id))
        return KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    return KAFKA_NONE;
}

static int find_topic(const struct producing *s, const struct kafka_produce_request_topic *q,
                      struct topic **out)
{
    bool by_id = request_version(s->r) >= IDS_VERSION;
    struct topic *t = by_id ? topics_find_id(request_kafka(s->r), q->topic_id)
                            : topics_find(request_kafka(s->r), q->name);
    *out = t;
    if (by_id && !t)
        return KAFKA_UNKNOWN_TOPIC_ID;
    if (!request_may(s->r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_WRITE, t ? t->name : q->name))
        return KAFKA_TOPIC_AUTHORIZATION_FAILED;
    if (!t)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    return t->internal ? KAFKA_INVALID_TOPIC_EXCEPTION : KAFKA_NONE;
}

/* False: no memory. */
static bool begin_topic(const struct producing *s, const struct kafka_produce_request_topic *q,
                        const struct topic *t, struct kafka_produce_response_topic *out)
{
    struct kafka_arena *arena = request_arena(s->r);
    if (out->partition_responses.at)
        return true; /* on the loop */
    out->name = t ? t->name : kafka_copy(arena, q->name);
    memcpy(out->topic_id, q->topic_id, TOPIC_ID);
    return kafka_array(arena, &out->partition_responses, q->partition_data.count);
}

/* False: the rest is for the pool. */
static bool produce_topic(struct producing *s, const struct kafka_produce_request_topic *q,
                          struct kafka_produce_response_topic *out)
{
    struct topic *t = NULL;
    int code = s->refused ? s->refused : find_topic(s, q, &t);
    if (!begin_topic(s, q, t, out)) {
        out->partition_responses.count = 0;
        return true;
    }
    for (; s->partition < q->partition_data.count; s->partition++) {
        struct kafka_produce_response_partition *p = &out->partition_responses.at[s->partition];
        kafka_produce_response_partition_init(p);
        p->index = q->partition_data.at[s->partition].index;
        if (code)
            refuse(s, p, code, NULL);
        else if (!produce_in_turn(s, t, &q->partition_data.at[s->partition], p))
            return false;
    }
    return true;
}

static bool produce_all(struct producing *s)
{
    const struct kafka_produce_request *q = request_body(s->r);
    for (; s->topic < q->topic_data.count; s->topic++, s->partition = 0)
        if (!produce_topic(s, &q->topic_data.at[s->topic], &s->answer.responses.at[s->topic]))
            return false;
    return true;
}

static void end_on_loop(struct kafka_request *r)
{
    request_lets_go_on(r);
    give_back(request_state(r));
}

static void produce_on_pool(struct kafka_request *r)
{
    produce_all(request_state(r));
    request_post(r, end_on_loop);
}

void handle_produce(struct kafka_request *r)
{
    const struct kafka_produce_request *q = request_body(r);
    struct producing *s = request_alloc(r, sizeof *s);
    if (!s || !kafka_array(request_arena(r), &s->answer.responses, q->topic_data.count)) {
        request_fail(r, "there is no memory for an answer");
        return;
    }
    s->r = r;
    s->acks = q->acks;
    s->level = kafka_level(request_kafka(r), q->acks);
    s->by_interval = committer_by_interval(request_engine(r)->env.committer);
    if (s->level == BECK_LEVEL_SYNCED && s->by_interval)
        s->level = BECK_LEVEL_WRITTEN;
    atomic_init(&s->left, 1);
    s->refused = check_request(s);
    request_set_state(r, s);
    if (!produce_all(s)) {
        s->on_pool = true;
        if (request_keep(r)) {
            request_defer(r, produce_on_pool);
            return;
        }
        s->on_loop = true;
        produce_all(s); /* without memory it has to be here */
    }
    give_back(s);
}
