/* Kafka's messages: every one of them, in every version, there and back; and bytes that are known. */
#include "kafka/message/acls.h"
#include "kafka/message/api_versions.h"
#include "kafka/message/cluster.h"
#include "kafka/message/configs.h"
#include "kafka/message/consumer_groups.h"
#include "kafka/message/consumer_protocol.h"
#include "kafka/message/fetch.h"
#include "kafka/message/group_records.h"
#include "kafka/message/groups.h"
#include "kafka/message/list_offsets.h"
#include "kafka/message/log_dirs.h"
#include "kafka/message/metadata.h"
#include "kafka/message/offsets.h"
#include "kafka/message/produce.h"
#include "kafka/message/producers.h"
#include "kafka/message/quotas.h"
#include "kafka/message/sasl.h"
#include "kafka/message/scram.h"
#include "kafka/message/share.h"
#include "kafka/message/share_offsets.h"
#include "kafka/message/share_records.h"
#include "kafka/message/topics.h"
#include "kafka/message/transaction_records.h"
#include "kafka/message/transactions.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define ARENA (4 << 20)
#define ROUNDS 20

typedef const struct kafka_table *(*table_fn)(void);

#define BOTH(name) kafka_##name##_request_table, kafka_##name##_response_table
#define RECORD(name) kafka_##name##_key_table, kafka_##name##_value_table

static const table_fn tables[] = {
    BOTH(produce),
    BOTH(fetch),
    BOTH(list_offsets),
    BOTH(offset_for_leader_epoch),
    BOTH(metadata),
    BOTH(describe_cluster),
    BOTH(describe_topic_partitions),
    BOTH(api_versions),
    BOTH(find_coordinator),
    BOTH(join_group),
    BOTH(heartbeat),
    BOTH(leave_group),
    BOTH(sync_group),
    BOTH(describe_groups),
    BOTH(list_groups),
    BOTH(delete_groups),
    BOTH(offset_commit),
    BOTH(offset_fetch),
    BOTH(offset_delete),
    BOTH(consumer_group_heartbeat),
    BOTH(consumer_group_describe),
    BOTH(sasl_handshake),
    BOTH(sasl_authenticate),
    BOTH(describe_user_scram_credentials),
    BOTH(alter_user_scram_credentials),
    BOTH(describe_acls),
    BOTH(create_acls),
    BOTH(delete_acls),
    BOTH(describe_client_quotas),
    BOTH(alter_client_quotas),
    BOTH(create_topics),
    BOTH(delete_topics),
    BOTH(delete_records),
    BOTH(create_partitions),
    BOTH(describe_configs),
    BOTH(alter_configs),
    BOTH(incremental_alter_configs),
    BOTH(list_config_resources),
    BOTH(describe_log_dirs),
    BOTH(alter_replica_log_dirs),
    BOTH(update_features),
    BOTH(unregister_broker),
    BOTH(init_producer_id),
    BOTH(describe_producers),
    BOTH(write_txn_markers),
    BOTH(add_partitions_to_txn),
    BOTH(add_offsets_to_txn),
    BOTH(end_txn),
    BOTH(txn_offset_commit),
    BOTH(describe_transactions),
    BOTH(list_transactions),
    BOTH(share_group_heartbeat),
    BOTH(share_group_describe),
    BOTH(share_fetch),
    BOTH(share_acknowledge),
    BOTH(describe_share_group_offsets),
    BOTH(alter_share_group_offsets),
    BOTH(delete_share_group_offsets),
    kafka_consumer_protocol_subscription_table,
    kafka_consumer_protocol_assignment_table,
    RECORD(offset_commit),
    RECORD(group_metadata),
    RECORD(consumer_group_metadata),
    RECORD(consumer_group_member_metadata),
    RECORD(consumer_group_target_assignment_metadata),
    RECORD(consumer_group_target_assignment_member),
    RECORD(consumer_group_current_member_assignment),
    RECORD(consumer_group_regular_expression),
    RECORD(transaction_log),
    RECORD(share_group_metadata),
    RECORD(share_group_member_metadata),
    RECORD(share_group_target_assignment_metadata),
    RECORD(share_group_target_assignment_member),
    RECORD(share_group_current_member_assignment),
    RECORD(share_group_state_partition_metadata),
    RECORD(share_snapshot),
    RECORD(share_update),
};

/* ---- random messages ---- */

struct world {
    struct rng rng;
    struct kafka_arena arena;
    int16_t version;
};

static beck_bytes random_bytes(struct world *w)
{
    static const size_t lengths[] = {0, 1, 5, 126, 127, 300};
    size_t len = lengths[rng_below(&w->rng, 6)];
    uint8_t *p = kafka_alloc(&w->arena, len);
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)rng_next(&w->rng);
    return bytes_of(p, len);
}

static void fill_struct(struct world *w, const struct kafka_table *t, uint8_t *at);

static size_t size_of_element(const struct kafka_field *f)
{
    switch (f->kind) {
    case KAFKA_INT8S:
        return 1;
    case KAFKA_INT16S:
        return 2;
    case KAFKA_INT32S:
        return 4;
    case KAFKA_INT64S:
        return 8;
    case KAFKA_STRINGS:
    case KAFKA_UUIDS:
        return 16;
    default:
        return f->of()->size;
    }
}

static void fill_array(struct world *w, const struct kafka_field *f, uint8_t *at, bool is_null)
{
    struct kafka_int8s array = {.is_null = is_null, .count = is_null ? 0 : rng_below(&w->rng, 4)};
    size_t size = size_of_element(f);
    uint8_t *p = kafka_alloc_many(&w->arena, array.count, size);
    array.at = (int8_t *)p;
    for (size_t i = 0; i < array.count; i++, p += size) {
        if (f->kind == KAFKA_STRINGS)
            *(beck_bytes *)(void *)p = random_bytes(w);
        else if (f->kind == KAFKA_ARRAY)
            fill_struct(w, f->of(), p);
        else
            for (size_t n = 0; n < size; n++)
                p[n] = (uint8_t)rng_next(&w->rng);
    }
    memcpy(at, &array, sizeof array);
}

static void fill_field(struct world *w, const struct kafka_field *f, uint8_t *at)
{
    static const uint8_t sizes[] = {
        [KAFKA_INT8] = 1,   [KAFKA_INT16] = 2, [KAFKA_UINT16] = 2, [KAFKA_INT32] = 4,
        [KAFKA_UINT32] = 4, [KAFKA_INT64] = 8, [KAFKA_FLOAT64] = 8};
    bool is_null = f->nullable && w->version >= f->nullable_since && rng_below(&w->rng, 3) == 0;
    void *p = at;
    switch (f->kind) {
    case KAFKA_BOOL:
        *(bool *)p = rng_below(&w->rng, 2);
        break;
    case KAFKA_STRING:
    case KAFKA_BYTES:
        *(beck_bytes *)p = is_null ? (beck_bytes){NULL, 0} : random_bytes(w);
        break;
    case KAFKA_RECORDS:
        ((struct kafka_records *)p)->bytes = is_null ? (beck_bytes){NULL, 0} : random_bytes(w);
        break;
    case KAFKA_UUID:
        for (int i = 0; i < 16; i++)
            at[i] = (uint8_t)rng_next(&w->rng);
        break;
    case KAFKA_NESTED:
        fill_struct(w, f->of(), p);
        break;
    case KAFKA_OPTIONAL:
        if (rng_below(&w->rng, 2)) {
            uint8_t *inner = kafka_alloc(&w->arena, f->of()->size);
            fill_struct(w, f->of(), inner);
            memcpy(at, &inner, sizeof inner);
        }
        break;
    default:
        if (f->kind < KAFKA_STRING)
            for (size_t i = 0; i < sizes[f->kind]; i++)
                at[i] = (uint8_t)rng_next(&w->rng);
        else
            fill_array(w, f, at, is_null);
    }
}

static void fill_struct(struct world *w, const struct kafka_table *t, uint8_t *at)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct kafka_field *f = &t->fields[i];
        if (w->version >= f->since && w->version <= f->until)
            fill_field(w, f, at + f->offset);
    }
}

/* ---- there and back ---- */

static void encode(const struct kafka_table *t, int16_t version, const void *message,
                   struct buf *out)
{
    buf_init(out, 16 << 20);
    assert_int_equal(kafka_encode_bytes(t, version, message, out), BECK_OK);
}

/* A copy of just these bytes, so that a sanitizer sees what is read behind them. */
static beck_status decode_alone(const struct kafka_table *t, int16_t version, beck_bytes in,
                                struct kafka_arena *a, void *out, size_t *used)
{
    uint8_t *copy = malloc(in.len ? in.len : 1);
    if (in.len)
        memcpy(copy, in.data, in.len);
    beck_status status = kafka_decode(t, version, bytes_of(copy, in.len), a, out, used, NULL);
    free(copy);
    return status;
}

static void there_and_back(struct world *w, const struct kafka_table *t)
{
    struct buf first, second;
    size_t used;
    beck_error err;
    void *message = kafka_alloc(&w->arena, t->size), *back = kafka_alloc(&w->arena, t->size);
    fill_struct(w, t, message);
    encode(t, w->version, message, &first);
    beck_status status =
        kafka_decode(t, w->version, buf_bytes(&first), &w->arena, back, &used, &err);
    if (status)
        fail_msg("%s", err.text);
    assert_int_equal(used, first.len);
    encode(t, w->version, back, &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    size_t step = first.len / 50 + 1;
    for (size_t len = 0; len < first.len; len += step)
        assert_int_equal(
            decode_alone(t, w->version, bytes_of(first.data, len), &w->arena, back, NULL),
            BECK_EINVAL);
    buf_release(&first);
    buf_release(&second);
}

static void test_every_message_survives_the_way_there_and_back(void **state)
{
    (void)state;
    struct world w;
    rng_seed(&w.rng, 20);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const struct kafka_table *t = tables[i]();
        for (w.version = t->first; w.version <= t->last; w.version++)
            for (int round = 0; round < ROUNDS; round++) {
                kafka_arena_init(&w.arena, 256 << 20);
                there_and_back(&w, t);
                kafka_arena_release(&w.arena);
            }
    }
}

static void test_what_is_damaged_is_refused_or_read_within_its_bounds(void **state)
{
    (void)state;
    struct world w;
    struct buf b;
    rng_seed(&w.rng, 21);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const struct kafka_table *t = tables[i]();
        for (int round = 0; round < 4 * ROUNDS; round++) {
            kafka_arena_init(&w.arena, ARENA);
            w.version = (int16_t)(t->first +
                                  (int16_t)rng_below(&w.rng, (uint64_t)(t->last - t->first + 1)));
            void *message = kafka_alloc(&w.arena, t->size);
            fill_struct(&w, t, message);
            encode(t, w.version, message, &b);
            for (int n = 0; n < 3 && b.len > 0; n++)
                b.data[rng_below(&w.rng, b.len)] = (uint8_t)rng_next(&w.rng);
            decode_alone(t, w.version, buf_bytes(&b), &w.arena, message, NULL);
            buf_release(&b);
            kafka_arena_release(&w.arena);
        }
    }
}

static void check_defaults(const struct kafka_table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct kafka_field *f = &t->fields[i];
        assert_true(f->since <= f->until);
        if (f->tagged && i > 0 && t->fields[i - 1].tagged)
            assert_true(t->fields[i - 1].tag < f->tag);
        if (i > 0 && t->fields[i - 1].tagged)
            assert_true(f->tagged);
        if (f->of)
            check_defaults(f->of());
    }
}

static void test_tagged_fields_are_the_last_and_in_ascending_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        check_defaults(tables[i]());
}

/* ---- known bytes ---- */

static void bytes_are(const struct kafka_table *t, int16_t version, const void *message,
                      const char *expected, size_t len)
{
    struct buf b;
    encode(t, version, message, &b);
    assert_int_equal(b.len, len);
    assert_memory_equal(b.data, expected, len);
    buf_release(&b);
}

#define BYTES(text) text, sizeof(text) - 1

static void test_a_fetch_request_of_version_4_is_the_known_bytes(void **state)
{
    (void)state;
    struct kafka_fetch_request_partition p;
    struct kafka_fetch_request_topic topic = {.topic = beck_str("ab")};
    struct kafka_fetch_request q;
    kafka_fetch_request_init(&q);
    kafka_fetch_request_partition_init(&p);
    assert_int_equal(q.replica_id, -1);
    assert_int_equal(q.max_bytes, INT32_MAX);
    assert_int_equal(p.current_leader_epoch, -1);
    q.max_wait_ms = 500;
    q.min_bytes = 1;
    q.max_bytes = 0x100000;
    p.partition = 3;
    p.fetch_offset = 0x1122334455;
    p.partition_max_bytes = 0x10000;
    topic.partitions.at = &p;
    topic.partitions.count = 1;
    q.topics.at = &topic;
    q.topics.count = 1;
    bytes_are(kafka_fetch_request_table(), 4, &q,
              BYTES("\xff\xff\xff\xff\0\0\1\xf4\0\0\0\1\0\x10\0\0\0\0\0\0\1\0\2ab\0\0\0\1"
                    "\0\0\0\3\0\0\0\x11\x22\x33\x44\x55\0\1\0\0"));
}

static void test_an_api_versions_request_of_version_3_is_read(void **state)
{
    (void)state;
    static const char bytes[] = "\x0blibrdkafka\x06"
                                "2.0.2\0"
                                "rest";
    struct kafka_api_versions_request q;
    struct kafka_arena a;
    size_t used;
    kafka_arena_init(&a, ARENA);
    assert_int_equal(kafka_decode(kafka_api_versions_request_table(), 3,
                                  bytes_of(bytes, sizeof bytes - 1), &a, &q, &used, NULL),
                     BECK_OK);
    assert_true(bytes_equal_text(q.client_software_name, "librdkafka"));
    assert_true(bytes_equal_text(q.client_software_version, "2.0.2"));
    assert_int_equal(used, sizeof bytes - 1 - 4);
    kafka_arena_release(&a);
}

static void test_null_and_empty_are_not_the_same(void **state)
{
    (void)state;
    struct kafka_metadata_request q;
    kafka_metadata_request_init(&q);
    q.topics.is_null = true;
    bytes_are(kafka_metadata_request_table(), 1, &q, BYTES("\xff\xff\xff\xff"));
    bytes_are(kafka_metadata_request_table(), 9, &q, BYTES("\0\1\0\0\0"));
    bytes_are(kafka_metadata_request_table(), 0, &q, BYTES("\0\0\0\0"));
    q.topics.is_null = false;
    bytes_are(kafka_metadata_request_table(), 1, &q, BYTES("\0\0\0\0"));
    bytes_are(kafka_metadata_request_table(), 9, &q, BYTES("\1\1\0\0\0"));
}

static void test_tagged_fields_are_left_out_where_they_have_their_default(void **state)
{
    (void)state;
    struct kafka_produce_response_partition p;
    struct kafka_produce_response_topic topic = {.name = beck_str("t")};
    struct kafka_produce_response a;
    kafka_produce_response_init(&a);
    kafka_produce_response_partition_init(&p);
    topic.partition_responses.at = &p;
    topic.partition_responses.count = 1;
    a.responses.at = &topic;
    a.responses.count = 1;
    p.base_offset = 7;
    p.log_start_offset = 0;
#define PARTITION                                                                                  \
    "\2\2t\2\0\0\0\0\0\0\0\0\0\0\0\0\0\7\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\1\0"
    bytes_are(kafka_produce_response_table(), 10, &a, BYTES(PARTITION "\0\0\0\0\0\0\0"));
    p.current_leader.leader_id = 1;
    p.current_leader.leader_epoch = 2;
    bytes_are(kafka_produce_response_table(), 10, &a,
              BYTES(PARTITION "\1\0\x9\0\0\0\1\0\0\0\2\0\0\0\0\0\0\0"));
}

static void test_unknown_tags_are_skipped(void **state)
{
    (void)state;
    /* ListGroups 3: the request is nothing but tags. */
    static const char tags[] = "\2\5\3abc\x90\1\0";
    static const char backwards[] = "\2\5\3abc\3\0", too_long[] = "\1\5\4abc";
    struct kafka_list_groups_request q;
    struct kafka_arena a;
    size_t used;
    kafka_arena_init(&a, ARENA);
    const struct kafka_table *t = kafka_list_groups_request_table();
    assert_int_equal(kafka_decode(t, 3, bytes_of(tags, sizeof tags - 1), &a, &q, &used, NULL),
                     BECK_OK);
    assert_int_equal(used, sizeof tags - 1);
    assert_int_equal(
        kafka_decode(t, 3, bytes_of(backwards, sizeof backwards - 1), &a, &q, NULL, NULL),
        BECK_EINVAL);
    assert_int_equal(
        kafka_decode(t, 3, bytes_of(too_long, sizeof too_long - 1), &a, &q, NULL, NULL),
        BECK_EINVAL);
    kafka_arena_release(&a);
}

static void test_a_length_takes_no_memory_that_its_bytes_do_not_account_for(void **state)
{
    (void)state;
    static const char many[] = "\x7f\xff\xff\xff\0\2ab", negative[] = "\xff\xff\xff\xfe";
    struct kafka_metadata_request q;
    struct kafka_arena a;
    kafka_arena_init(&a, ARENA);
    assert_int_equal(kafka_decode(kafka_metadata_request_table(), 1,
                                  bytes_of(many, sizeof many - 1), &a, &q, NULL, NULL),
                     BECK_EINVAL);
    assert_int_equal(kafka_decode(kafka_metadata_request_table(), 1,
                                  bytes_of(negative, sizeof negative - 1), &a, &q, NULL, NULL),
                     BECK_EINVAL);
    assert_int_equal(a.taken, 0);
    uint8_t *all = calloc(1, 1 << 20);
    put_u32(all, (1 << 19) - 8);
    assert_int_equal(
        kafka_decode(kafka_metadata_request_table(), 1, bytes_of(all, 1 << 20), &a, &q, NULL, NULL),
        BECK_ELIMIT);
    free(all);
    kafka_arena_release(&a);
}

/* ---- records ---- */

static void count_release(void *ctx)
{
    ++*(int *)ctx;
}

static void fill_fetch(struct kafka_arena *a, struct kafka_fetch_response *m, int *released)
{
    kafka_fetch_response_init(m);
    assert_true(kafka_array(a, &m->responses, 1));
    assert_true(kafka_array(a, &m->responses.at[0].partitions, 3));
    for (int i = 0; i < 3; i++)
        kafka_fetch_response_partition_init(&m->responses.at[0].partitions.at[i]);
    m->responses.at[0].topic = beck_str("t");
    m->responses.at[0].partitions.at[0].records = (struct kafka_records){
        .bytes = beck_str("four"), .release = count_release, .ctx = released};
    m->responses.at[0].partitions.at[1].records =
        (struct kafka_records){.file_size = 1000, .release = count_release, .ctx = released};
    m->responses.at[0].partitions.at[2].records.bytes = beck_str("copied");
}

static void test_records_that_are_not_copied_are_cuts(void **state)
{
    (void)state;
    int released = 0;
    struct kafka_arena a;
    struct kafka_writer w;
    struct kafka_fetch_response m;
    kafka_arena_init(&a, ARENA);
    fill_fetch(&a, &m, &released);
    kafka_writer_init(&w, ARENA);
    kafka_encode(kafka_fetch_response_table(), 11, &m, &w);
    assert_int_equal(w.status, BECK_OK);
    assert_int_equal(w.cut_count, 2);
    assert_int_equal(w.cut_bytes, 1004);
    assert_int_equal(get_u32(w.out.data + w.cuts[0].at - 4), 4);
    assert_int_equal(get_u32(w.out.data + w.cuts[1].at - 4), 1000);
    assert_memory_equal(w.out.data + w.out.len - 6, "copied", 6);
    assert_int_equal(released, 0);
    kafka_writer_release(&w);
    assert_int_equal(released, 2);
    kafka_arena_release(&a);
}

static void test_records_are_released_when_the_answer_cannot_be_encoded(void **state)
{
    (void)state;
    for (size_t max = 1; max < 300; max += 20) {
        int released = 0;
        struct kafka_arena a;
        struct kafka_writer w;
        struct kafka_fetch_response m;
        kafka_arena_init(&a, ARENA);
        fill_fetch(&a, &m, &released);
        kafka_writer_init(&w, max);
        kafka_encode(kafka_fetch_response_table(), 11, &m, &w);
        kafka_writer_release(&w);
        assert_int_equal(released, 2);
        kafka_arena_release(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_survives_the_way_there_and_back),
        cmocka_unit_test(test_what_is_damaged_is_refused_or_read_within_its_bounds),
        cmocka_unit_test(test_tagged_fields_are_the_last_and_in_ascending_order),
        cmocka_unit_test(test_a_fetch_request_of_version_4_is_the_known_bytes),
        cmocka_unit_test(test_an_api_versions_request_of_version_3_is_read),
        cmocka_unit_test(test_null_and_empty_are_not_the_same),
        cmocka_unit_test(test_tagged_fields_are_left_out_where_they_have_their_default),
        cmocka_unit_test(test_unknown_tags_are_skipped),
        cmocka_unit_test(test_a_length_takes_no_memory_that_its_bytes_do_not_account_for),
        cmocka_unit_test(test_records_that_are_not_copied_are_cuts),
        cmocka_unit_test(test_records_are_released_when_the_answer_cannot_be_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
