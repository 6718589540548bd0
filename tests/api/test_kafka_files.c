/* Buses become directories of Kafka and come back from them with every offset. */
#include "common.h"

#include "api/handle.h"

static void fill(beck_bus *bus, int from, int to)
{
    char data[64], subject[16];
    for (int i = from; i < to; i++) {
        snprintf(subject, sizeof subject, "S-%d", i % 7);
        snprintf(data, sizeof data, "{\"number\": %d, \"padding\": \"aaaaaaaaaaaaaaaaaaaa\"}", i);
        publish(bus, "order.created", subject, data);
    }
}

/* Everything of both is the same. */
static void check_same(beck_bus *a, beck_bus *b, int expected)
{
    beck_read_options all = {.from = {.kind = BECK_FROM_EARLIEST}};
    beck_reader *left, *right;
    int n = 0;
    must(beck_reader_open(a, &all, &left, &err));
    must(beck_reader_open(b, &all, &right, &err));
    for (;; n++) {
        const beck_event *e, *f;
        beck_error err;
        beck_status end = beck_reader_next(left, 0, &e, &err);
        assert_int_equal(beck_reader_next(right, 0, &f, &err), end);
        if (end)
            break;
        assert_int_equal(e->position.partition, f->position.partition);
        assert_int_equal(e->position.offset, f->position.offset);
        assert_int_equal(e->time_ns, f->time_ns);
        assert_int_equal(e->type.len, f->type.len);
        assert_int_equal(e->subject.len, f->subject.len);
        assert_memory_equal(e->subject.data, f->subject.data, e->subject.len);
        assert_int_equal(e->data.len, f->data.len);
        assert_memory_equal(e->data.data, f->data.data, e->data.len);
    }
    assert_int_equal(n, expected);
    beck_reader_close(left);
    beck_reader_close(right);
}

static void what_was_exported_is_imported_with_its_offsets(void **state)
{
    struct place p, q;
    char to[128];
    beck_kafka_files out, in;
    (void)state;
    place_make(&p);
    place_make(&q);
    snprintf(to, sizeof to, "%s/kafka", p.dir);
    beck *b = open_place(&p), *c = open_place(&q);
    beck_bus_options o = {.partitions = 3, .codec = BECK_CODEC_ZSTD, .segment_bytes = 4096};
    beck_bus *shop = make_bus(b, "shop", &o), *again;
    fill(shop, 0, 300);
    must(partition_truncate_before(bus_partition(shop, 1), 20, &err));
    must(beck_kafka_export(b, "shop", to, &out, &err));
    assert_int_equal(out.partitions, 3);
    refused(beck_kafka_export(b, "shop", to, NULL, &err), BECK_EEXIST, "shop-0");
    must(beck_kafka_import(c, to, "shop", "store", NULL, &in, &err));
    assert_int_equal(in.batches, out.batches);
    assert_int_equal(in.bytes, out.bytes);
    must(beck_bus_get(c, "store", &again, &err));
    /* The first batch that is kept is exported whole. */
    must(partition_truncate_before(bus_partition(again, 1), 20, &err));
    check_same(shop, again, 300 - 20);
    beck_close(c);
    c = open_place(&q);
    must(beck_bus_get(c, "store", &again, &err));
    check_same(shop, again, 300 - 20);
    fill(again, 0, 10);
    check_same(again, again, 300 - 20 + 10);
    refused(beck_kafka_import(c, to, "shop", "store", NULL, &in, &err), BECK_EEXIST, "store");
    refused(beck_kafka_import(c, to, "nothing", "new", NULL, &in, &err), BECK_ENOENT, "nothing-0");
    beck_close(b);
    beck_close(c);
    place_remove(&p);
    place_remove(&q);
}

static void an_empty_partition_keeps_where_it_ends(void **state)
{
    struct place p, q;
    char to[128];
    beck_partition_info before, after;
    (void)state;
    place_make(&p);
    place_make(&q);
    snprintf(to, sizeof to, "%s/kafka", p.dir);
    beck *b = open_place(&p), *c = open_place(&q);
    beck_bus *shop = make_bus(b, "shop", NULL), *again;
    must(beck_kafka_export(b, "shop", to, NULL, &err));
    must(beck_kafka_import(c, to, "shop", "shop", NULL, NULL, &err));
    must(beck_bus_get(c, "shop", &again, &err));
    partition_info(bus_partition(shop, 0), &before);
    partition_info(bus_partition(again, 0), &after);
    assert_int_equal(after.next_offset, before.next_offset);
    beck_close(b);
    beck_close(c);
    place_remove(&p);
    place_remove(&q);
}

static void damage_is_named_and_nothing_is_imported(void **state)
{
    struct place p, q;
    char to[128], path[256];
    beck_bus *none;
    (void)state;
    place_make(&p);
    place_make(&q);
    snprintf(to, sizeof to, "%s/kafka", p.dir);
    beck *b = open_place(&p), *c = open_place(&q);
    fill(make_bus(b, "shop", NULL), 0, 50);
    must(beck_kafka_export(b, "shop", to, NULL, &err));
    snprintf(path, sizeof path, "%s/shop-0/%020d.log", to, 0);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, 1000, SEEK_SET);
    int was = fgetc(f);
    fseek(f, 1000, SEEK_SET);
    fputc(was ^ 1, f);
    fclose(f);
    refused(beck_kafka_import(c, to, "shop", "shop", NULL, NULL, &err), BECK_ECORRUPT,
            "is damaged at byte");
    refused(beck_bus_get(c, "shop", &none, &err), BECK_ENOENT, "shop");
    beck_close(b);
    beck_close(c);
    place_remove(&p);
    place_remove(&q);
}

/* One batch of one event, as a producer sends it. */
static void produce(beck_bus *bus, const char *text, int64_t producer, int32_t sequence)
{
    struct batch_builder builder;
    struct buf scratch;
    struct codec codec;
    beck_bytes batch;
    beck_event e = event_of("order.created", "S-1", text);
    struct batch_header h = {.producer_id = producer,
                             .base_sequence = sequence,
                             .attributes = producer >= 0 ? BATCH_TRANSACTIONAL : 0};
    batch_builder_init(&builder, 1 << 20);
    buf_init(&scratch, 1 << 20);
    codec_init(&codec);
    must(batch_builder_add(&builder, &e, beck_str(bus->name), 1700000000000));
    must(batch_builder_finish(&builder, &codec, BECK_CODEC_NONE, 0, producer >= 0 ? &h : NULL,
                              &scratch, &batch, &err));
    struct produce what = {
        .batch = (uint8_t *)(uintptr_t)batch.data, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
    must(bus_produce(bus, 0, &what, &err));
    batch_builder_release(&builder);
    buf_release(&scratch);
    codec_release(&codec);
}

static void a_transaction_that_is_open_is_not_exported_and_aborted_when_imported(void **state)
{
    struct place p, q;
    char to[128];
    beck_kafka_files out;
    beck_bus *again;
    (void)state;
    place_make(&p);
    place_make(&q);
    snprintf(to, sizeof to, "%s/kafka", p.dir);
    beck *b = open_place(&p), *c = open_place(&q);
    beck_bus *shop = make_bus(b, "shop", NULL);
    produce(shop, "a", -1, -1);
    produce(shop, "b", 7, 0);
    produce(shop, "c", -1, -1);
    must(beck_kafka_export(b, "shop", to, &out, &err));
    assert_int_equal(out.batches, 1);
    beck_close(b);
    must(beck_kafka_import(c, p.data, "shop", "shop", NULL, &out, &err));
    assert_int_equal(out.batches, 3);
    must(beck_bus_get(c, "shop", &again, &err));
    assert_int_equal(partition_stable(bus_partition(again, 0)),
                     4); /* and the end of the transaction */
    check_same(again, again, 2);
    beck_close(c);
    place_remove(&p);
    place_remove(&q);
}

static void offsets_may_begin_anywhere(void **state)
{
    struct place p, q;
    char to[128], command[512];
    beck_bus *again;
    (void)state;
    place_make(&p);
    place_make(&q);
    snprintf(to, sizeof to, "%s/kafka", p.dir);
    beck *b = open_place(&p), *c = open_place(&q);
    fill(make_bus(b, "shop", NULL), 0, 1);
    must(beck_kafka_export(b, "shop", to, NULL, &err));
    beck_close(b);
    /* Base offsets are outside of the checksum: 5,000,000,000 instead of 0. */
    snprintf(
        command, sizeof command,
        "cd %s/shop-0 && printf '\\0\\0\\0\\001\\052\\005\\362\\0' | dd of=%020d.log conv=notrunc "
        "status=none && mv %020d.log 00000000005000000000.log",
        to, 0, 0);
    assert_int_equal(system(command), 0);
    must(beck_kafka_import(c, to, "shop", "shop", NULL, NULL, &err));
    for (int round = 0; round < 2; round++) {
        must(beck_bus_get(c, "shop", &again, &err));
        assert_int_equal(partition_first(bus_partition(again, 0)), 5000000000);
        assert_int_equal(partition_next(bus_partition(again, 0)), 5000000001 + round);
        fill(again, 0, 1);
        check_same(again, again, 2 + round);
        beck_close(c);
        c = open_place(&q);
    }
    beck_close(c);
    place_remove(&p);
    place_remove(&q);
}

static int count_events(beck_bus *bus)
{
    beck_read_options all = {.from = {.kind = BECK_FROM_EARLIEST}};
    const beck_event *e;
    beck_reader *r;
    beck_error ended;
    int n = 0;
    must(beck_reader_open(bus, &all, &r, &err));
    while (!beck_reader_next(r, 0, &e, &ended))
        n++;
    assert_int_equal(ended.code, BECK_END);
    beck_reader_close(r);
    return n;
}

static void what_compaction_took_before_an_import_is_not_missing(void **state)
{
    struct place p, q;
    char to[128], command[512];
    beck_bus_options o = {.segment_bytes = 4096};
    beck_bus *shop;
    (void)state;
    place_make(&p);
    place_make(&q);
    snprintf(to, sizeof to, "%s/kafka", p.dir);
    beck *b = open_place(&p), *c = open_place(&q);
    fill(make_bus(b, "shop", &o), 0, 300);
    must(beck_kafka_export(b, "shop", to, NULL, &err));
    beck_close(b);
    snprintf(command, sizeof command, "cd %s/shop-0 && rm $(ls *.log | sed -n 2p)", to);
    assert_int_equal(system(command), 0);
    must(beck_kafka_import(c, to, "shop", "shop", NULL, NULL, &err));
    must(beck_bus_get(c, "shop", &shop, &err));
    int left = count_events(shop);
    assert_in_range(left, 1, 299);
    /* As if the process had been killed: nothing was noted of it but that it is there. */
    beck_abandon(c);
    assert_int_equal(beck_verify(q.data, NULL, NULL, NULL, NULL), BECK_OK);
    for (int i = 0; i < 2; i++) {
        c = open_place(&q);
        must(beck_bus_get(c, "shop", &shop, &err));
        assert_int_equal(count_events(shop), left);
        beck_close(c);
    }
    place_remove(&p);
    place_remove(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_exported_is_imported_with_its_offsets),
        cmocka_unit_test(an_empty_partition_keeps_where_it_ends),
        cmocka_unit_test(damage_is_named_and_nothing_is_imported),
        cmocka_unit_test(a_transaction_that_is_open_is_not_exported_and_aborted_when_imported),
        cmocka_unit_test(offsets_may_begin_anywhere),
        cmocka_unit_test(what_compaction_took_before_an_import_is_not_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
