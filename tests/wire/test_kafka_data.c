/* Records over Kafka's protocol: produced, fetched and looked up, in all versions that are told. */
#include "kafka_world.h"

#include "base/clock.h"
#include "kafka/message/fetch.h"
#include "kafka/message/groups.h"
#include "kafka/message/list_offsets.h"
#include "kafka/message/produce.h"
#include "kafka/message/share.h"
#include "kafka/message/transactions.h"
#include "kafka/topics.h"
#include "kafka/transactions_impl.h"
#include "wire/kafka/wire_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MINUTE_MS 60000

struct data_test {
    struct kafka_world w;
    struct kafka_peer c;
    struct buf batch;
};

static int begin(void **state)
{
    struct data_test *d = calloc(1, sizeof *d);
    kafka_world_open(&d->w);
    kafka_dial(&d->w, &d->c);
    buf_init(&d->batch, 64 << 20);
    *state = d;
    return 0;
}

static int end(void **state)
{
    struct data_test *d = *state;
    kafka_hang_up(&d->c);
    kafka_world_close(&d->w);
    buf_release(&d->batch);
    free(d);
    return 0;
}

static struct topic *make_topic(struct data_test *d, const char *name, int32_t partitions,
                                const char *key, const char *value)
{
    char text[KAFKA_TEXT] = "";
    struct config_change change = {beck_str(key), CONFIG_SET, beck_str(value)};
    struct topic_made made = {0};
    struct topic_new what = {.name = beck_str(name),
                             .partitions = partitions,
                             .replication_factor = 1,
                             .configs = &change,
                             .config_count = key != NULL};
    if (topics_create(d->w.kafka, &what, &made, text))
        fail_msg("%s", text);
    return made.topic;
}

/* ---- producing ---- */

struct produce_question {
    struct kafka_produce_request q;
    struct kafka_produce_request_topic topic;
    struct kafka_produce_request_partition partition;
};

static void question(struct produce_question *x, const struct topic *t, const char *name,
                     int32_t partition, int16_t acks, beck_bytes records)
{
    memset(x, 0, sizeof *x);
    kafka_produce_request_init(&x->q);
    x->topic.name = beck_str(name);
    if (t)
        memcpy(x->topic.topic_id, t->id, TOPIC_ID);
    x->partition.index = partition;
    x->partition.records.bytes = records;
    x->topic.partition_data.at = &x->partition;
    x->topic.partition_data.count = 1;
    x->q.topic_data.at = &x->topic;
    x->q.topic_data.count = 1;
    x->q.acks = acks;
    x->q.timeout_ms = MINUTE_MS;
}

static struct kafka_produce_response_partition hear_produced(struct data_test *d, int16_t version)
{
    struct kafka_produce_response a;
    kafka_hear(&d->c, kafka_produce_response_table(), version, &a);
    assert_int_equal(a.responses.count, 1);
    assert_int_equal(a.responses.at[0].partition_responses.count, 1);
    return a.responses.at[0].partition_responses.at[0];
}

static struct kafka_produce_response_partition produce(struct data_test *d, const struct topic *t,
                                                       int16_t version, int16_t acks)
{
    struct produce_question x;
    question(&x, t, (const char *)t->name.data, 0, acks, buf_bytes(&d->batch));
    kafka_say(&d->c, kafka_produce_request_table(), version, &x.q);
    return hear_produced(d, version);
}

static int64_t produce_records(struct data_test *d, const struct topic *t, const char *value,
                               int32_t count)
{
    kafka_make_batch(&d->batch, value, count, &(struct kafka_made){0});
    struct kafka_produce_response_partition p = produce(d, t, 9, -1);
    assert_int_equal(p.error_code, KAFKA_NONE);
    return p.base_offset;
}

static void check_refused(struct data_test *d, const struct topic *t, int16_t version, int code,
                          const char *words)
{
    struct kafka_produce_response_partition p = produce(d, t, version, 1);
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int)p.error_message.len,
             (const char *)p.error_message.data);
    if (p.error_code != code || !strstr(text, words) || p.base_offset != -1)
        fail_msg("%s \"%s\", not %s \"%s\"", kafka_error_name(p.error_code), text,
                 kafka_error_name(code), words);
}

/* Three records that say they are `count`. */
static void make_lying_batch(struct data_test *d, beck_codec codec, int32_t count)
{
    kafka_make_batch(&d->batch, "value value value value", 3, &(struct kafka_made){.codec = codec});
    put_u32(d->batch.data + 23, (uint32_t)(count - 1));
    put_u32(d->batch.data + 57, (uint32_t)count);
    batch_seal(d->batch.data, d->batch.len);
}

/* ---- fetching ---- */

struct fetch_question {
    struct kafka_fetch_request q;
    struct kafka_fetch_request_topic topic;
    struct kafka_fetch_request_partition partition;
    struct kafka_fetch_request_forgotten_topic forgotten;
};

static void fetch_of(struct fetch_question *x, const struct topic *t, int64_t offset)
{
    memset(x, 0, sizeof *x);
    kafka_fetch_request_init(&x->q);
    kafka_fetch_request_partition_init(&x->partition);
    x->topic.topic = t->name;
    memcpy(x->topic.topic_id, t->id, TOPIC_ID);
    x->partition.fetch_offset = offset;
    x->partition.partition_max_bytes = 1 << 20;
    x->topic.partitions.at = &x->partition;
    x->topic.partitions.count = 1;
    x->q.topics.at = &x->topic;
    x->q.topics.count = 1;
    x->q.max_bytes = 10 << 20;
    x->q.min_bytes = 1;
    x->q.rack_id = beck_str("");
}

static struct kafka_fetch_response_partition hear_fetched(struct data_test *d, int16_t version)
{
    struct kafka_fetch_response a;
    kafka_hear(&d->c, kafka_fetch_response_table(), version, &a);
    assert_int_equal(a.error_code, KAFKA_NONE);
    assert_int_equal(a.responses.count, 1);
    assert_int_equal(a.responses.at[0].partitions.count, 1);
    return a.responses.at[0].partitions.at[0];
}

static struct kafka_fetch_response_partition fetch(struct data_test *d, const struct topic *t,
                                                   int16_t version, int64_t offset)
{
    struct fetch_question x;
    fetch_of(&x, t, offset);
    kafka_say(&d->c, kafka_fetch_request_table(), version, &x.q);
    return hear_fetched(d, version);
}

/* The first batch that was fetched. */
static struct batch_header first_batch(const struct kafka_fetch_response_partition *p)
{
    struct batch_header h;
    assert_int_equal(p->error_code, KAFKA_NONE);
    assert_true(p->records.bytes.len >= BATCH_HEADER);
    assert_int_equal(batch_header_read(p->records.bytes.data, &h, NULL), BECK_OK);
    return h;
}

/* ---- tests ---- */

static void batches_come_back_as_they_were_sent(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    for (int codec = 0; codec <= BECK_CODEC_ZSTD; codec++) {
        int64_t offset = codec * 3;
        kafka_make_batch(&d->batch, "value value value value", 3,
                         &(struct kafka_made){.codec = (beck_codec)codec});
        struct kafka_produce_response_partition p = produce(d, t, 13, 1);
        assert_int_equal(p.error_code, KAFKA_NONE);
        assert_int_equal(p.base_offset, offset);
        struct kafka_fetch_response_partition f = fetch(d, t, 18, offset);
        assert_int_equal(f.records.bytes.len, d->batch.len);
        batch_place(d->batch.data, offset, 0);
        assert_memory_equal(f.records.bytes.data, d->batch.data, d->batch.len);
        assert_int_equal(f.high_watermark, offset + 3);
        assert_int_equal(f.last_stable_offset, offset + 3);
        assert_int_equal(f.log_start_offset, 0);
    }
}

static void same_records(beck_bytes a, beck_bytes b)
{
    struct codec codec;
    struct buf memory[2];
    struct batch_records r[2];
    codec_init(&codec);
    for (int i = 0; i < 2; i++) {
        buf_init(&memory[i], 1 << 20);
        assert_int_equal(batch_records_open(&r[i], i ? b : a, &codec, &memory[i], NULL), BECK_OK);
    }
    assert_int_equal(r[0].records.len, r[1].records.len);
    assert_memory_equal(r[0].records.data, r[1].records.data, r[0].records.len);
    for (int i = 0; i < 2; i++)
        buf_release(&memory[i]);
    codec_release(&codec);
}

static void batches_get_the_codec_of_their_topic(void **state)
{
    static const char *const names[] = {"uncompressed", "gzip", "snappy", "lz4", "zstd"};
    struct data_test *d = *state;
    for (int wanted = 0; wanted <= BECK_CODEC_ZSTD; wanted++) {
        struct topic *t = make_topic(d, names[wanted], 1, "compression.type", names[wanted]);
        for (int codec = 0; codec <= BECK_CODEC_ZSTD; codec++) {
            struct batch_header sent, stored;
            int64_t offset = codec * 3;
            kafka_make_batch(&d->batch, "value value value value", 3,
                             &(struct kafka_made){
                                 .codec = (beck_codec)codec, .producer_id = 7 + codec, .epoch = 2});
            struct kafka_produce_response_partition p = produce(d, t, 13, -1);
            assert_int_equal(p.error_code, KAFKA_NONE);
            assert_int_equal(p.base_offset, offset);
            /* Sent again it is known. */
            assert_int_equal(produce(d, t, 13, -1).base_offset, offset);
            struct kafka_fetch_response_partition f = fetch(d, t, 18, offset);
            stored = first_batch(&f);
            assert_int_equal(batch_header_read(d->batch.data, &sent, NULL), BECK_OK);
            assert_int_equal(f.high_watermark, offset + 3);
            assert_int_equal(stored.attributes & BATCH_CODEC_MASK, wanted);
            assert_int_equal(stored.base_offset, offset);
            assert_int_equal(stored.count, 3);
            assert_int_equal(stored.base_timestamp_ms, sent.base_timestamp_ms);
            assert_int_equal(stored.max_timestamp_ms, sent.max_timestamp_ms);
            assert_int_equal(stored.producer_id, 7 + codec);
            assert_int_equal(stored.producer_epoch, 2);
            assert_int_equal(stored.base_sequence, sent.base_sequence);
            assert_true(batch_crc_fits(f.records.bytes.data, f.records.bytes.len));
            same_records(f.records.bytes, buf_bytes(&d->batch));
            batch_place(d->batch.data, offset, 0);
            if (wanted == codec)
                assert_memory_equal(f.records.bytes.data, d->batch.data, d->batch.len);
        }
    }
}

static void a_batch_that_is_too_large_with_the_codec_of_its_topic_is_refused(void **state)
{
    enum { LONG = 100000 };
    struct data_test *d = *state;
    char *value = calloc(1, LONG);
    struct config_change change[] = {
        {beck_str("compression.type"), CONFIG_SET, beck_str("uncompressed")},
        {beck_str("max.message.bytes"), CONFIG_SET, beck_str("50000")}};
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    char text[KAFKA_TEXT] = "";
    memset(value, 'v', LONG - 1);
    kafka_make_batch(&d->batch, value, 1, &(struct kafka_made){.codec = BECK_CODEC_GZIP});
    assert_int_equal(produce(d, t, 9, 1).error_code, KAFKA_NONE);
    assert_int_equal(
        configs_alter(d->w.kafka, CONFIG_TOPIC, beck_str("t"), change, 2, false, false, text),
        KAFKA_NONE);
    check_refused(d, t, 9, KAFKA_MESSAGE_TOO_LARGE, "compression.type");
    free(value);
}

static void all_versions_say_the_same(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    int64_t offset = 0;
    for (int16_t v = 3; v <= 13; v++) {
        for (int16_t acks = -1; acks <= 1; acks += 2) {
            kafka_make_batch(&d->batch, "v", 2, &(struct kafka_made){0});
            struct kafka_produce_response_partition p = produce(d, t, v, acks);
            assert_int_equal(p.error_code, KAFKA_NONE);
            assert_int_equal(p.base_offset, offset);
            assert_int_equal(p.log_append_time_ms, -1);
            offset += 2;
        }
    }
    for (int16_t v = 4; v <= 18; v++) {
        struct kafka_fetch_response_partition f = fetch(d, t, v, 2);
        assert_int_equal(first_batch(&f).base_offset, 2);
        assert_int_equal(f.high_watermark, offset);
    }
}

static void versions_without_batches_are_told_but_refused(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    kafka_make_batch(&d->batch, "v", 1, &(struct kafka_made){0});
    for (int16_t v = 0; v < 3; v++)
        assert_int_equal(produce(d, t, v, 1).error_code, KAFKA_UNSUPPORTED_VERSION);
}

static void what_no_producer_may_send_is_refused(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, "max.message.bytes", "2000");
    const struct kafka_made plain = {0};
    kafka_make_batch(&d->batch, "v", 1, &plain);
    assert_int_equal(produce(d, t, 9, 2).error_code, KAFKA_INVALID_REQUIRED_ACKS);
    d->batch.data[d->batch.len - 1] ^= 1;
    check_refused(d, t, 9, KAFKA_CORRUPT_MESSAGE, "checksum");
    kafka_make_batch(&d->batch, "v", 1, &plain);
    d->batch.data[16] = 1;
    check_refused(d, t, 9, KAFKA_INVALID_RECORD, "magic");
    kafka_make_batch(&d->batch, "v", 1, &plain);
    size_t len = d->batch.len;
    buf_reserve(&d->batch, len);
    memcpy(d->batch.data + len, d->batch.data, len);
    d->batch.len = 2 * len;
    check_refused(d, t, 9, KAFKA_INVALID_RECORD, "exactly one");
    d->batch.len = len - 1;
    check_refused(d, t, 9, KAFKA_CORRUPT_MESSAGE, "");
    d->batch.len = 30;
    check_refused(d, t, 9, KAFKA_CORRUPT_MESSAGE, "");
    d->batch.len = 0;
    check_refused(d, t, 9, KAFKA_INVALID_RECORD, "at least one");
    kafka_make_batch(&d->batch,
                     "a value of more than eighty bytes in thirty records is larger than "
                     "what this topic may have",
                     30, &plain);
    check_refused(d, t, 9, KAFKA_MESSAGE_TOO_LARGE, "larger");
    kafka_make_batch(&d->batch, "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv", 9,
                     &(struct kafka_made){.codec = BECK_CODEC_ZSTD});
    assert_int_equal(produce(d, t, 6, 1).error_code, KAFKA_UNSUPPORTED_COMPRESSION_TYPE);
    assert_int_equal(produce(d, t, 7, 1).error_code, KAFKA_NONE);
    assert_int_equal(partition_high(topic_partition(t, 0)), 9);
}

static void what_goes_nowhere_is_refused(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL), unknown = *t;
    struct produce_question x;
    kafka_make_batch(&d->batch, "v", 1, &(struct kafka_made){0});
    question(&x, t, "t", 1, 1, buf_bytes(&d->batch));
    kafka_say(&d->c, kafka_produce_request_table(), 9, &x.q);
    assert_int_equal(hear_produced(d, 9).error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    question(&x, t, "none", 0, 1, buf_bytes(&d->batch));
    kafka_say(&d->c, kafka_produce_request_table(), 9, &x.q);
    assert_int_equal(hear_produced(d, 9).error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    unknown.id[3] ^= 1;
    assert_int_equal(produce(d, &unknown, 13, 1).error_code, KAFKA_UNKNOWN_TOPIC_ID);
    assert_int_equal(fetch(d, &unknown, 13, 0).error_code, KAFKA_UNKNOWN_TOPIC_ID);
}

static void compacted_topics_need_keys(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, "cleanup.policy", "compact");
    for (int codec = 0; codec <= BECK_CODEC_ZSTD; codec++) {
        kafka_make_batch(&d->batch, "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv", 3,
                         &(struct kafka_made){.codec = (beck_codec)codec, .no_keys = true});
        struct kafka_produce_response_partition p = produce(d, t, 8, 1);
        assert_int_equal(p.error_code, KAFKA_INVALID_RECORD);
        assert_int_equal(p.record_errors.count, 3);
        assert_int_equal(p.record_errors.at[2].batch_index, 2);
        assert_non_null(memmem(p.error_message.data, p.error_message.len, "3 record errors", 15));
    }
    assert_int_equal(produce_records(d, t, "v", 2), 0);
}

static void records_of_another_time_are_refused(void **state)
{
    struct data_test *d = *state;
    int64_t now_ms = clock_wall_ms(clock_system());
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    struct topic *old = make_topic(d, "old", 1, "message.timestamp.before.max.ms", "1000");
    struct topic *stored = make_topic(d, "stored", 1, "message.timestamp.type", "LogAppendTime");
    kafka_make_batch(&d->batch, "v", 2,
                     &(struct kafka_made){.timestamp_ms = now_ms + 120 * MINUTE_MS});
    struct kafka_produce_response_partition p = produce(d, t, 8, 1);
    assert_int_equal(p.error_code, KAFKA_INVALID_TIMESTAMP);
    assert_int_equal(p.record_errors.count, 2);
    p = produce(d, stored, 8, 1);
    assert_int_equal(p.error_code, KAFKA_NONE);
    assert_true(p.log_append_time_ms >= now_ms);
    struct kafka_fetch_response_partition f = fetch(d, stored, 11, 0);
    struct batch_header h = first_batch(&f);
    assert_true(h.attributes & BATCH_LOG_APPEND_TIME);
    assert_int_equal(h.max_timestamp_ms, p.log_append_time_ms);
    assert_true(batch_crc_fits(f.records.bytes.data, f.records.bytes.len));
    kafka_make_batch(&d->batch, "v", 2, &(struct kafka_made){.timestamp_ms = now_ms - MINUTE_MS});
    assert_int_equal(produce(d, old, 8, 1).error_code, KAFKA_INVALID_TIMESTAMP);
    assert_int_equal(produce(d, t, 8, 1).error_code, KAFKA_NONE);
}

/* Far more than there is memory for in one answer. */
static void what_is_told_of_bad_records_has_an_end(void **state)
{
    enum { PARTITIONS = 40000 };
    struct data_test *d = *state;
    struct produce_question x;
    struct kafka_produce_response a;
    struct topic *t = make_topic(d, "t", 1, "cleanup.policy", "compact");
    struct kafka_produce_request_partition *many = calloc(PARTITIONS, sizeof *many);
    assert_non_null(many);
    kafka_make_batch(&d->batch, "v", 100,
                     &(struct kafka_made){.codec = BECK_CODEC_ZSTD, .no_keys = true});
    question(&x, t, "t", 0, 1, buf_bytes(&d->batch));
    for (size_t i = 0; i < PARTITIONS; i++)
        many[i] = x.partition;
    x.topic.partition_data.at = many;
    x.topic.partition_data.count = PARTITIONS;
    kafka_say(&d->c, kafka_produce_request_table(), 8, &x.q);
    kafka_hear(&d->c, kafka_produce_response_table(), 8, &a);
    assert_int_equal(a.responses.at[0].partition_responses.count, PARTITIONS);
    size_t told = 0;
    for (size_t i = 0; i < PARTITIONS; i++) {
        assert_int_equal(a.responses.at[0].partition_responses.at[i].error_code,
                         KAFKA_INVALID_RECORD);
        told += a.responses.at[0].partition_responses.at[i].record_errors.count;
    }
    assert_int_equal(told, 10000);
    free(many);
}

static void without_acks_there_is_no_answer(void **state)
{
    struct data_test *d = *state;
    struct produce_question x;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    kafka_make_batch(&d->batch, "v", 1, &(struct kafka_made){0});
    for (int i = 0; i < 5; i++) {
        question(&x, t, "t", 0, 0, buf_bytes(&d->batch));
        kafka_say(&d->c, kafka_produce_request_table(), 9, &x.q);
        d->c.heard++;
    }
    assert_int_equal(produce_records(d, t, "w", 1), 5);
    question(&x, t, "none", 0, 0, buf_bytes(&d->batch));
    kafka_say(&d->c, kafka_produce_request_table(), 9, &x.q);
    assert_true(kafka_hears_end(&d->c));
}

static void pipelined_batches_are_appended_and_answered_in_order(void **state)
{
    struct data_test *d = *state;
    struct produce_question x;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    for (int i = 0; i < 200; i++) {
        kafka_make_batch(&d->batch, "v", 2,
                         &(struct kafka_made){.producer_id = 7, .sequence = 2 * i});
        question(&x, t, "t", 0, (int16_t)(i % 3 ? -1 : 1), buf_bytes(&d->batch));
        kafka_say(&d->c, kafka_produce_request_table(), 9, &x.q);
    }
    for (int i = 0; i < 200; i++) {
        struct kafka_produce_response_partition p = hear_produced(d, 9);
        assert_int_equal(p.error_code, KAFKA_NONE);
        assert_int_equal(p.base_offset, 2 * i);
    }
}

static void a_batch_sent_again_is_stored_once(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        kafka_make_batch(&d->batch, "v", 2,
                         &(struct kafka_made){.producer_id = 7, .sequence = 2 * i});
        assert_int_equal(produce(d, t, 9, -1).base_offset, 2 * i);
    }
    for (int16_t acks = -1; acks <= 1; acks += 2) {
        kafka_make_batch(&d->batch, "v", 2, &(struct kafka_made){.producer_id = 7, .sequence = 2});
        struct kafka_produce_response_partition p = produce(d, t, 9, acks);
        assert_int_equal(p.error_code, KAFKA_NONE);
        assert_int_equal(p.base_offset, 2);
    }
    kafka_make_batch(&d->batch, "v", 2, &(struct kafka_made){.producer_id = 7, .sequence = 8});
    assert_int_equal(produce(d, t, 9, -1).error_code, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
    kafka_make_batch(&d->batch, "v", 2,
                     &(struct kafka_made){.producer_id = 7, .epoch = 1, .sequence = 0});
    assert_int_equal(produce(d, t, 9, -1).error_code, KAFKA_NONE);
    kafka_make_batch(&d->batch, "v", 2, &(struct kafka_made){.producer_id = 7, .sequence = 6});
    assert_int_equal(produce(d, t, 9, -1).error_code, KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(partition_high(topic_partition(t, 0)), 8);
}

static void an_offset_within_a_batch_gives_the_whole_batch(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    struct fetch_question x;
    for (int i = 0; i < 5; i++)
        produce_records(d, t, "some value that is not short", 10);
    struct kafka_fetch_response_partition f = fetch(d, t, 12, 25);
    assert_int_equal(first_batch(&f).base_offset, 20);
    /* One batch comes however little is wanted, and nothing behind it. */
    fetch_of(&x, t, 13);
    x.partition.partition_max_bytes = 1;
    kafka_say(&d->c, kafka_fetch_request_table(), 12, &x.q);
    f = hear_fetched(d, 12);
    struct batch_header h = first_batch(&f);
    assert_int_equal(h.base_offset, 10);
    assert_int_equal(batch_size(&h), f.records.bytes.len);
    assert_int_equal(fetch(d, t, 12, 51).error_code, KAFKA_OFFSET_OUT_OF_RANGE);
    assert_int_equal(fetch(d, t, 12, -1).error_code, KAFKA_OFFSET_OUT_OF_RANGE);
    fetch_of(&x, t, 0);
    x.partition.current_leader_epoch = 3;
    kafka_say(&d->c, kafka_fetch_request_table(), 12, &x.q);
    assert_int_equal(hear_fetched(d, 12).error_code, KAFKA_UNKNOWN_LEADER_EPOCH);
}

static void what_was_written_long_ago_comes_from_files(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    char value[1001];
    int64_t next = 0;
    memset(value, 'v', 1000);
    value[1000] = 0;
    for (int i = 0; i < 100; i++)
        produce_records(d, t, value, 50);
    while (next < 5000) {
        struct kafka_fetch_response_partition f = fetch(d, t, 12, next);
        struct batch_header h;
        size_t at = 0;
        while (f.records.bytes.len - at >= BATCH_HEADER) {
            uint8_t *p = (uint8_t *)(uintptr_t)f.records.bytes.data + at;
            assert_int_equal(batch_header_read(p, &h, NULL), BECK_OK);
            if (batch_size(&h) > f.records.bytes.len - at)
                break;
            assert_true(batch_crc_fits(p, batch_size(&h)));
            assert_int_equal(h.base_offset, next);
            next = batch_last_offset(&h) + 1;
            at += batch_size(&h);
        }
        assert_true(at > 0);
    }
}

static void clients_that_do_not_know_zstd_are_told_so(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    produce_records(d, t, "plain", 1);
    kafka_make_batch(&d->batch, "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv", 9,
                     &(struct kafka_made){.codec = BECK_CODEC_ZSTD});
    assert_int_equal(produce(d, t, 9, 1).base_offset, 1);
    struct kafka_fetch_response_partition f = fetch(d, t, 9, 0);
    struct batch_header h = first_batch(&f);
    assert_int_equal(batch_size(&h), f.records.bytes.len);
    assert_int_equal(fetch(d, t, 9, 1).error_code, KAFKA_UNSUPPORTED_COMPRESSION_TYPE);
    assert_int_equal(fetch(d, t, 10, 1).error_code, KAFKA_NONE);
}

static void who_says_that_it_is_a_replica_is_told_that_it_is_none(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    produce_records(d, t, "v", 1);
    for (int16_t version = 4; version <= 18; version += 7) {
        struct fetch_question x;
        fetch_of(&x, t, 0);
        x.q.replica_id = version < 15 ? 1 : -1;
        x.q.replica_state.replica_id = version < 15 ? -1 : 1;
        kafka_say(&d->c, kafka_fetch_request_table(), version, &x.q);
        assert_int_equal(hear_fetched(d, version).error_code, KAFKA_NOT_LEADER_OR_FOLLOWER);
    }
}

static void a_topic_may_want_each_append_synced(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, "flush.messages", "1");
    struct topic *other = make_topic(d, "other", 1, NULL, NULL);
    kafka_make_batch(&d->batch, "v", 3, &(struct kafka_made){0});
    assert_int_equal(produce(d, t, 9, 1).error_code, KAFKA_NONE);
    assert_int_equal(partition_synced(topic_partition(t, 0)), 3);
    kafka_make_batch(&d->batch, "v", 3, &(struct kafka_made){0});
    assert_int_equal(produce(d, other, 9, 1).error_code, KAFKA_NONE);
    assert_int_equal(partition_high(topic_partition(other, 0)), 3);
}

static void a_fetch_waits_for_records(void **state)
{
    struct data_test *d = *state;
    struct kafka_peer other;
    struct fetch_question x;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    kafka_dial(&d->w, &other);
    for (int i = 0; i < 20; i++) {
        fetch_of(&x, t, i);
        x.q.max_wait_ms = MINUTE_MS;
        x.q.isolation_level = (int8_t)(i % 2);
        kafka_say(&other, kafka_fetch_request_table(), 12, &x.q);
        assert_int_equal(produce_records(d, t, "v", 1), i);
        struct kafka_fetch_response a;
        kafka_hear(&other, kafka_fetch_response_table(), 12, &a);
        struct kafka_fetch_response_partition *p = &a.responses.at[0].partitions.at[0];
        assert_int_equal(first_batch(p).base_offset, i);
        assert_int_equal(p->aborted_transactions.is_null, i % 2 == 0);
    }
    kafka_hang_up(&other);
}

static void a_fetch_waits_for_as_much_as_it_wants(void **state)
{
    struct data_test *d = *state;
    struct kafka_peer other;
    struct fetch_question x;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    kafka_make_batch(&d->batch, "v", 1, &(struct kafka_made){0});
    kafka_dial(&d->w, &other);
    fetch_of(&x, t, 0);
    x.q.max_wait_ms = MINUTE_MS;
    x.q.min_bytes = (int32_t)(3 * d->batch.len);
    kafka_say(&other, kafka_fetch_request_table(), 12, &x.q);
    for (int i = 0; i < 3; i++)
        produce_records(d, t, "v", 1);
    struct kafka_fetch_response a;
    kafka_hear(&other, kafka_fetch_response_table(), 12, &a);
    assert_int_equal(a.responses.at[0].partitions.at[0].records.bytes.len, 3 * d->batch.len);
    /* What is there comes when the time is up. */
    fetch_of(&x, t, 2);
    x.q.max_wait_ms = 20;
    x.q.min_bytes = 1 << 20;
    kafka_say(&other, kafka_fetch_request_table(), 12, &x.q);
    kafka_hear(&other, kafka_fetch_response_table(), 12, &a);
    assert_int_equal(a.responses.at[0].partitions.at[0].records.bytes.len, d->batch.len);
    kafka_hang_up(&other);
}

static void a_fetch_that_waits_ends_with_its_topic_its_connection_and_the_server(void **state)
{
    struct data_test *d = *state;
    struct kafka_peer other;
    struct fetch_question x;
    char text[KAFKA_TEXT];
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    struct topic *u = make_topic(d, "u", 1, NULL, NULL);
    fetch_of(&x, t, 0);
    x.q.max_wait_ms = 60 * MINUTE_MS;
    kafka_say(&d->c, kafka_fetch_request_table(), 12, &x.q);
    assert_int_equal(topics_delete(d->w.kafka, t, text), KAFKA_NONE);
    assert_int_equal(hear_fetched(d, 12).error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    fetch_of(&x, u, 0);
    x.q.max_wait_ms = 60 * MINUTE_MS;
    for (int i = 0; i < 3; i++) {
        kafka_dial(&d->w, &other);
        kafka_say(&other, kafka_fetch_request_table(), 12, &x.q);
        kafka_hang_up(&other);
    }
    kafka_say(&d->c, kafka_fetch_request_table(), 12, &x.q);
}

/* ---- sessions ---- */

static void ask_in_session(struct data_test *d, struct fetch_question *x, int16_t version,
                           struct kafka_fetch_response *a)
{
    kafka_say(&d->c, kafka_fetch_request_table(), version, &x->q);
    kafka_hear(&d->c, kafka_fetch_response_table(), version, a);
}

static void sessions_tell_only_what_is_new(void **state)
{
    struct data_test *d = *state;
    struct fetch_question x;
    struct kafka_fetch_response a;
    struct topic *t = make_topic(d, "t", 3, NULL, NULL);
    struct kafka_fetch_request_partition all[3];
    for (int16_t version = 7; version <= 18; version += 11) {
        int64_t offset = partition_high(topic_partition(t, 0));
        fetch_of(&x, t, 0);
        for (int i = 0; i < 3; i++) {
            all[i] = x.partition;
            all[i].partition = i;
            all[i].fetch_offset = i == 0 ? offset : 0;
        }
        x.topic.partitions.at = all;
        x.topic.partitions.count = 3;
        x.q.session_epoch = 0;
        ask_in_session(d, &x, version, &a);
        int32_t id = a.session_id;
        assert_true(id != 0);
        assert_int_equal(a.responses.at[0].partitions.count, 3);
        /* Nothing is new. */
        x.q.topics.count = 0;
        x.q.session_id = id;
        x.q.session_epoch = 1;
        ask_in_session(d, &x, version, &a);
        assert_int_equal(a.error_code, KAFKA_NONE);
        assert_int_equal(a.session_id, id);
        assert_int_equal(a.responses.count, 0);
        assert_int_equal(produce_records(d, t, "v", 1), offset);
        x.q.session_epoch = 2;
        ask_in_session(d, &x, version, &a);
        assert_int_equal(a.responses.count, 1);
        assert_int_equal(a.responses.at[0].partitions.count, 1);
        assert_int_equal(first_batch(&a.responses.at[0].partitions.at[0]).base_offset, offset);
        /* The epoch that is behind, another kind of naming, and no such session. */
        ask_in_session(d, &x, version, &a);
        assert_int_equal(a.error_code, KAFKA_INVALID_FETCH_SESSION_EPOCH);
        x.q.session_epoch = 3;
        ask_in_session(d, &x, version == 7 ? 18 : 7, &a);
        assert_int_equal(a.error_code, KAFKA_FETCH_SESSION_TOPIC_ID_ERROR);
        x.q.session_id = id ^ 1;
        ask_in_session(d, &x, version, &a);
        assert_int_equal(a.error_code, KAFKA_FETCH_SESSION_ID_NOT_FOUND);
        /* Forgotten parts are told no more; with the last one the session ends. */
        int32_t numbers[] = {0, 1, 2};
        x.q.session_id = id;
        x.forgotten.topic = t->name;
        memcpy(x.forgotten.topic_id, t->id, TOPIC_ID);
        x.forgotten.partitions.at = numbers;
        x.forgotten.partitions.count = 1;
        x.q.forgotten_topics_data.at = &x.forgotten;
        x.q.forgotten_topics_data.count = 1;
        ask_in_session(d, &x, version, &a);
        assert_int_equal(a.session_id, id);
        assert_int_equal(a.responses.count, 0);
        x.forgotten.partitions.count = 3;
        x.q.session_epoch = 4;
        ask_in_session(d, &x, version, &a);
        assert_int_equal(a.session_id, 0);
    }
}

/* A session keeps a copy of the name for each partition. */
static void names_that_no_topic_can_have_are_in_no_session(void **state)
{
    struct data_test *d = *state;
    char name[4096];
    const size_t lengths[] = {TOPIC_NAME_MAX + 1, sizeof name};
    memset(name, 'n', sizeof name);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct fetch_question x;
        struct kafka_fetch_response a;
        struct topic none = {.name = bytes_of(name, lengths[i])};
        fetch_of(&x, &none, 0);
        x.q.session_epoch = 0;
        kafka_say(&d->c, kafka_fetch_request_table(), 12, &x.q);
        kafka_hear(&d->c, kafka_fetch_response_table(), 12, &a);
        assert_int_equal(a.error_code, KAFKA_NONE);
        assert_int_equal(a.session_id, 0);
        assert_int_equal(a.responses.at[0].partitions.at[0].error_code,
                         KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    }
}

/* ---- offsets ---- */

static struct kafka_list_offsets_response_partition list(struct data_test *d, const struct topic *t,
                                                         int16_t version, int64_t timestamp)
{
    struct kafka_list_offsets_request q;
    struct kafka_list_offsets_request_topic topic = {.name = t->name};
    struct kafka_list_offsets_request_partition partition;
    struct kafka_list_offsets_response a;
    kafka_list_offsets_request_init(&q);
    kafka_list_offsets_request_partition_init(&partition);
    partition.timestamp = timestamp;
    topic.partitions.at = &partition;
    topic.partitions.count = 1;
    q.replica_id = -1;
    q.topics.at = &topic;
    q.topics.count = 1;
    kafka_ask(&d->c, list_offsets, version, &q, &a);
    return a.topics.at[0].partitions.at[0];
}

static void offsets_are_found_by_time(void **state)
{
    struct data_test *d = *state;
    int64_t base_ms = clock_wall_ms(clock_system()) - 10 * MINUTE_MS;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    assert_int_equal(list(d, t, 5, 0).offset, -1);
    for (int i = 0; i < 10; i++) {
        kafka_make_batch(&d->batch, "v", 2,
                         &(struct kafka_made){.timestamp_ms = base_ms + 1000 * (i == 5 ? 50 : i)});
        produce(d, t, 9, 1);
    }
    for (int16_t v = 1; v <= 11; v++) {
        assert_int_equal(list(d, t, v, -1).offset, 20);
        assert_int_equal(list(d, t, v, -2).offset, 0);
        struct kafka_list_offsets_response_partition p = list(d, t, v, base_ms + 2001);
        assert_int_equal(p.offset, 5);
        assert_int_equal(p.timestamp, base_ms + 2001);
        assert_int_equal(p.leader_epoch, v >= 4 ? 0 : -1);
        assert_int_equal(list(d, t, v, base_ms + 60000).offset, -1);
    }
    assert_int_equal(list(d, t, 6, -3).error_code, KAFKA_UNSUPPORTED_VERSION);
    assert_int_equal(list(d, t, 7, -3).offset, 11);
    assert_int_equal(list(d, t, 8, -4).offset, 0);
    assert_int_equal(list(d, t, 9, -5).offset, -1);
    struct kafka_list_offsets_response_partition old = list(d, t, 0, -1);
    assert_int_equal(old.old_style_offsets.count, 1);
    assert_int_equal(old.old_style_offsets.at[0], 20);
}

static void records_are_counted_whatever_the_codec(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    for (int codec = 0; codec <= BECK_CODEC_ZSTD; codec++) {
        make_lying_batch(d, (beck_codec)codec, 2);
        check_refused(d, t, 9, KAFKA_INVALID_RECORD, "");
        make_lying_batch(d, (beck_codec)codec, 4);
        check_refused(d, t, 9, KAFKA_INVALID_RECORD, "");
        make_lying_batch(d, (beck_codec)codec, 3);
        assert_int_equal(produce(d, t, 9, 1).error_code, KAFKA_NONE);
    }
}

/* Large ones are looked at elsewhere. */
static void pipelined_batches_are_stored_in_order(void **state)
{
    enum { BATCHES = 20, LONG = 200000 };
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    struct produce_question x;
    char *value = calloc(1, LONG);
    uint32_t seed = 1;
    for (int i = 0; i < LONG - 1; i++)
        value[i] = (char)('a' + ((seed = seed * 1664525 + 1013904223) >> 24) % 26);
    for (int i = 0; i < BATCHES; i++) {
        kafka_make_batch(&d->batch, i % 3 ? "short" : value, 1,
                         &(struct kafka_made){.codec = BECK_CODEC_GZIP});
        assert_true(i % 3 || d->batch.len > 100000);
        question(&x, t, "t", 0, i % 2 ? 1 : -1, buf_bytes(&d->batch));
        kafka_say(&d->c, kafka_produce_request_table(), 9, &x.q);
    }
    for (int i = 0; i < BATCHES; i++) {
        struct kafka_produce_response_partition p = hear_produced(d, 9);
        assert_int_equal(p.error_code, KAFKA_NONE);
        assert_int_equal(p.base_offset, i);
    }
    kafka_make_batch(&d->batch, value, 3, &(struct kafka_made){.codec = BECK_CODEC_LZ4});
    put_u32(d->batch.data + 23, 3);
    put_u32(d->batch.data + 57, 4);
    batch_seal(d->batch.data, d->batch.len);
    check_refused(d, t, 9, KAFKA_INVALID_RECORD, "");
    free(value);
}

/* 20 MiB of records, or many of them. */
static void large_batches_are_read_one_after_the_other_and_hold_up_nothing_else(void **state)
{
    enum { LONG = 64 << 10 };
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    struct kafka_wire *w = d->w.wire;
    struct kafka_peer c[2];
    struct produce_question x;
    char *value = calloc(1, LONG);
    memset(value, 'v', LONG - 1);
    /* Somebody else has the turn. */
    mutex_lock(&w->large_lock);
    w->large = true;
    mutex_unlock(&w->large_lock);
    for (int i = 0; i < 2; i++) {
        kafka_dial(&d->w, &c[i]);
        kafka_make_batch(&d->batch, i ? "v" : value, i ? 100000 : 320,
                         &(struct kafka_made){.codec = BECK_CODEC_ZSTD});
        question(&x, t, "t", 0, 1, buf_bytes(&d->batch));
        kafka_say(&c[i], kafka_produce_request_table(), 9, &x.q);
    }
    for (int i = 0; i < 20; i++) {
        kafka_make_batch(&d->batch, value, 2, &(struct kafka_made){.codec = BECK_CODEC_ZSTD});
        assert_int_equal(produce(d, t, 9, 1).base_offset, 2 * i);
    }
    mutex_lock(&w->large_lock);
    w->large = false;
    cond_signal(&w->large_ended);
    mutex_unlock(&w->large_lock);
    for (int i = 0; i < 2; i++) {
        struct kafka_produce_response a;
        kafka_hear(&c[i], kafka_produce_response_table(), 9, &a);
        assert_int_equal(a.responses.at[0].partition_responses.at[0].error_code, KAFKA_NONE);
        kafka_hang_up(&c[i]);
    }
    assert_false(w->large);
    assert_int_equal(partition_high(topic_partition(t, 0)), 40 + 320 + 100000);
    free(value);
}

static void blocks_count_until_they_are_sent(void **state)
{
    enum { LONG = 100000, FETCHES = 100, LOOKS = 100 };
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    struct kafka_peer c;
    struct fetch_question x;
    char *value = calloc(1, LONG);
    memset(value, 'v', LONG - 1);
    for (int i = 0; i < 8; i++)
        produce_records(d, t, value, 1);
    kafka_dial(&d->w, &c);
    fetch_of(&x, t, 7);               /* the last: it is in memory */
    for (int i = 0; i < FETCHES; i++) /* more than sockets keep */
        kafka_say(&c, kafka_fetch_request_table(), 12, &x.q);
    for (int seen = 0; seen < LOOKS;) {
        fetch(d, t, 12, 7);
        seen = atomic_load(&d->w.wire->blocks) > 0 ? seen + 1 : 0;
    }
    kafka_hang_up(&c);
    while (atomic_load(&d->w.wire->blocks) > 0)
        fetch(d, t, 12, 7);
    free(value);
}

/* More of them than there are threads: they take turns. */
static void long_requests_of_many_clients_are_answered_whole(void **state)
{
    enum { CLIENTS = 8, PARTITIONS = 2000 };
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    struct kafka_peer c[CLIENTS];
    struct kafka_list_offsets_request q;
    struct kafka_list_offsets_request_topic topic = {.name = t->name};
    struct kafka_list_offsets_request_partition *p = calloc(PARTITIONS, sizeof *p);
    produce_records(d, t, "v", 3);
    kafka_list_offsets_request_init(&q);
    for (int i = 0; i < PARTITIONS; i++)
        kafka_list_offsets_request_partition_init(&p[i]);
    topic.partitions.at = p;
    topic.partitions.count = PARTITIONS;
    q.topics.at = &topic;
    q.topics.count = 1;
    for (int i = 0; i < CLIENTS; i++) {
        kafka_dial(&d->w, &c[i]);
        kafka_say(&c[i], kafka_list_offsets_request_table(), 5, &q);
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct kafka_list_offsets_response a;
        kafka_hear(&c[i], kafka_list_offsets_response_table(), 5, &a);
        assert_int_equal(a.topics.count, 1);
        assert_int_equal(a.topics.at[0].partitions.count, PARTITIONS);
        for (int n = 0; n < PARTITIONS; n++) {
            assert_int_equal(a.topics.at[0].partitions.at[n].error_code, KAFKA_NONE);
            assert_int_equal(a.topics.at[0].partitions.at[n].offset, 0);
        }
        kafka_hang_up(&c[i]);
    }
    free(p);
}

static void there_has_been_one_leader_epoch(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    produce_records(d, t, "v", 3);
    for (int16_t v = 0; v <= 4; v++) {
        struct kafka_offset_for_leader_epoch_request q;
        struct kafka_offset_for_leader_epoch_request_topic topic = {.topic = t->name};
        struct kafka_offset_for_leader_epoch_request_partition partitions[2];
        struct kafka_offset_for_leader_epoch_response a;
        kafka_offset_for_leader_epoch_request_init(&q);
        for (int i = 0; i < 2; i++) {
            kafka_offset_for_leader_epoch_request_partition_init(&partitions[i]);
            partitions[i].leader_epoch = i;
        }
        topic.partitions.at = partitions;
        topic.partitions.count = 2;
        q.topics.at = &topic;
        q.topics.count = 1;
        kafka_ask(&d->c, offset_for_leader_epoch, v, &q, &a);
        assert_int_equal(a.topics.at[0].partitions.at[0].end_offset, 3);
        assert_int_equal(a.topics.at[0].partitions.at[1].end_offset, -1);
    }
}

/* How often the two records of `t` were delivered that a member gets; waits for them. */
static int share_fetch(struct kafka_peer *c, const struct topic *t, const char *member)
{
    struct kafka_share_group_heartbeat_request h;
    struct kafka_share_group_heartbeat_response joined;
    struct kafka_share_fetch_request q;
    struct kafka_share_fetch_response a;
    struct kafka_share_fetch_request_partition partition = {0};
    struct kafka_share_fetch_request_topic topic = {.partitions = {.at = &partition, .count = 1}};
    beck_bytes name = t->name;
    kafka_share_group_heartbeat_request_init(&h);
    h.group_id = beck_str("g");
    h.member_id = beck_str(member);
    h.subscribed_topic_names.at = &name;
    h.subscribed_topic_names.count = 1;
    h.subscribed_topic_names.is_null = false;
    kafka_ask(c, share_group_heartbeat, 1, &h, &joined);
    assert_int_equal(joined.error_code, KAFKA_NONE);
    kafka_share_fetch_request_init(&q);
    q.group_id = beck_str("g");
    q.member_id = beck_str(member);
    q.max_wait_ms = MINUTE_MS;
    q.max_bytes = 1 << 20;
    q.max_records = 100;
    memcpy(topic.topic_id, t->id, TOPIC_ID);
    q.topics.at = &topic;
    q.topics.count = 1;
    kafka_ask(c, share_fetch, 1, &q, &a);
    assert_int_equal(a.error_code, KAFKA_NONE);
    assert_int_equal(a.responses.count, 1);
    assert_int_equal(a.responses.at[0].partitions.at[0].acquired_records.count, 1);
    return a.responses.at[0].partitions.at[0].acquired_records.at[0].delivery_count;
}

static void records_of_a_share_member_that_hangs_up_go_to_another(void **state)
{
    struct data_test *d = *state;
    struct topic *t = make_topic(d, "t", 1, NULL, NULL);
    struct config_change changes[] = {
        {beck_str("share.auto.offset.reset"), CONFIG_SET, beck_str("earliest")},
        {beck_str("share.record.lock.duration.ms"), CONFIG_SET, beck_str("60000")}};
    char text[KAFKA_TEXT] = "";
    struct kafka_peer other;
    assert_int_equal(
        configs_alter(d->w.kafka, CONFIG_GROUP, beck_str("g"), changes, 2, false, false, text), 0);
    produce_records(d, t, "v", 2);
    kafka_dial(&d->w, &other);
    assert_int_equal(share_fetch(&other, t, "m1"), 1);
    kafka_hang_up(&other);
    assert_int_equal(share_fetch(&d->c, t, "m2"), 2);
}

static int count_connections(struct data_test *d)
{
    struct buf text;
    int count = -1;
    buf_init(&text, 1 << 20);
    assert_int_equal(metrics_write(d->w.metrics, &text), 0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    const char *at = strstr((const char *)text.data, "beck_connections{protocol=\"kafka\"} ");
    if (at)
        count = atoi(strchr(at, ' '));
    buf_release(&text);
    return count;
}

/* Waits until so many requests are with threads of the pool, and none is to come there. */
static void await_running(struct data_test *d, uint32_t count)
{
    struct pool *pool = &d->w.wire->pool;
    for (bool so = false; !so; sched_yield()) {
        mutex_lock(&pool->lock);
        so = pool->waiting == 0 && pool->count - pool->idle == count;
        mutex_unlock(&pool->lock);
    }
}

static int end_of_transaction(struct kafka_peer *c, const struct kafka_end_txn_request *q)
{
    struct kafka_end_txn_response a;
    kafka_ask(c, end_txn, 3, q, &a);
    return a.error_code;
}

/* A client gives a request up, hangs up and sends it again elsewhere; the first one may not end its next transaction. */
static void a_transaction_is_not_ended_for_a_connection_that_has_ended(void **state)
{
    struct data_test *d = *state;
    struct transactions *ts = d->w.kafka->transactions;
    struct transaction_producer x = {.id = beck_str("x"), .producer_id = -1, .epoch = -1};
    struct transaction_partition where = {beck_str("t"), 0};
    struct kafka_peer late;
    make_topic(d, "t", 1, NULL, NULL);
    assert_int_equal(transactions_init(d->w.kafka, &x, MINUTE_MS), KAFKA_NONE);
    assert_int_equal(transactions_add(d->w.kafka, &x, &where, 1), KAFKA_NONE);
    struct kafka_end_txn_request q;
    kafka_end_txn_request_init(&q);
    q.transactional_id = x.id;
    q.producer_id = x.producer_id;
    q.producer_epoch = x.epoch;
    q.committed = false;

    kafka_dial(&d->w, &late);
    mutex_lock(&ts->lock);
    struct transaction *t = transaction_find(ts, x.id);
    t->busy = t->adding = true; /* others wait */
    mutex_unlock(&ts->lock);
    kafka_say(&late, kafka_end_txn_request_table(), 3, &q);
    await_running(d, 1);
    kafka_hang_up(&late);
    while (count_connections(d) > 1)
        sched_yield();
    mutex_lock(&ts->lock);
    t->busy = t->adding = false;
    cond_broadcast(&ts->added);
    mutex_unlock(&ts->lock);
    await_running(d, 0);

    q.committed = true;
    assert_int_equal(end_of_transaction(&d->c, &q), KAFKA_NONE);
}

static void a_damaged_partition_says_so_and_others_go_on(void **state)
{
    struct data_test *d = *state;
    struct topic *bad = make_topic(d, "bad", 1, NULL, NULL);
    struct topic *good = make_topic(d, "good", 1, NULL, NULL);
    char path[128];
    struct stat file;
    for (int i = 0; i < 2; i++) {
        produce_records(d, bad, "value", 3);
        produce_records(d, good, "value", 3);
    }
    kafka_hang_up(&d->c);
    kafka_world_stop(&d->w);
    snprintf(path, sizeof path, "%s/bad-0/00000000000000000000.log", d->w.dir);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(truncate(path, file.st_size - 9), 0);
    kafka_world_open(&d->w);
    kafka_dial(&d->w, &d->c);
    bad = topics_find(d->w.kafka, beck_str("bad"));
    good = topics_find(d->w.kafka, beck_str("good"));
    check_refused(d, bad, 9, KAFKA_KAFKA_STORAGE_ERROR, "beck verify --repair");
    assert_int_equal(fetch(d, bad, 11, 0).error_code, KAFKA_KAFKA_STORAGE_ERROR);
    for (int64_t timestamp = -2; timestamp < 1; timestamp++)
        assert_int_equal(list(d, bad, 5, timestamp).error_code, KAFKA_KAFKA_STORAGE_ERROR);
    assert_int_equal(produce_records(d, good, "value", 3), 6);
    struct kafka_fetch_response_partition p = fetch(d, good, 11, 0);
    first_batch(&p);
    assert_int_equal(list(d, good, 5, -1).offset, 9);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(batches_come_back_as_they_were_sent),
        TEST(all_versions_say_the_same),
        TEST(versions_without_batches_are_told_but_refused),
        TEST(what_no_producer_may_send_is_refused),
        TEST(what_goes_nowhere_is_refused),
        TEST(compacted_topics_need_keys),
        TEST(records_of_another_time_are_refused),
        TEST(what_is_told_of_bad_records_has_an_end),
        TEST(without_acks_there_is_no_answer),
        TEST(pipelined_batches_are_appended_and_answered_in_order),
        TEST(a_batch_sent_again_is_stored_once),
        TEST(an_offset_within_a_batch_gives_the_whole_batch),
        TEST(what_was_written_long_ago_comes_from_files),
        TEST(clients_that_do_not_know_zstd_are_told_so),
        TEST(who_says_that_it_is_a_replica_is_told_that_it_is_none),
        TEST(a_topic_may_want_each_append_synced),
        TEST(a_fetch_waits_for_records),
        TEST(a_fetch_waits_for_as_much_as_it_wants),
        TEST(a_fetch_that_waits_ends_with_its_topic_its_connection_and_the_server),
        TEST(sessions_tell_only_what_is_new),
        TEST(names_that_no_topic_can_have_are_in_no_session),
        TEST(offsets_are_found_by_time),
        TEST(records_are_counted_whatever_the_codec),
        TEST(batches_get_the_codec_of_their_topic),
        TEST(a_batch_that_is_too_large_with_the_codec_of_its_topic_is_refused),
        TEST(large_batches_are_read_one_after_the_other_and_hold_up_nothing_else),
        TEST(pipelined_batches_are_stored_in_order),
        TEST(blocks_count_until_they_are_sent),
        TEST(long_requests_of_many_clients_are_answered_whole),
        TEST(there_has_been_one_leader_epoch),
        TEST(records_of_a_share_member_that_hangs_up_go_to_another),
        TEST(a_transaction_is_not_ended_for_a_connection_that_has_ended),
        TEST(a_damaged_partition_says_so_and_others_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
