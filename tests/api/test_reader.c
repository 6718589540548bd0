/* Readers: where they begin and end, what they leave out, and how they wait. */
#include "common.h"

#include "api/handle.h"
#include "base/vfs.h"

/* Data of what a reader gives until it ends, separated by blanks. */
static void read_all(beck_bus *bus, const beck_read_options *o, const char *expected)
{
    char text[4000] = "";
    beck_reader *r;
    const beck_event *e;
    must(beck_reader_open(bus, o, &r, &err));
    beck_status status;
    while ((status = beck_reader_next(r, 0, &e, NULL)) == BECK_OK) {
        if (text[0])
            strcat(text, " ");
        strncat(text, e->data.data, e->data.len);
    }
    assert_int_equal(status, BECK_END);
    /* And it stays there. */
    refused(beck_reader_next(r, 1000, &e, &err), BECK_END, "no more");
    beck_reader_close(r);
    assert_string_equal(text, expected);
}

static void put(beck_bus *bus, int32_t partition, int64_t time_ms, const char *type,
                const char *subject, const char *data)
{
    beck_event e = event_of(type, subject, data);
    e.time_ns = time_ms * 1000000;
    must(beck_publish_many(bus, &e, 1, &(beck_publish_options){.partition_plus_1 = partition + 1},
                           NULL, &err));
}

static void partitions_are_merged_by_time(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.partitions = 3});
    put(bus, 2, 1000, "t.x", "s", "a");
    put(bus, 0, 2000, "t.x", "s", "b");
    put(bus, 1, 3000, "t.x", "s", "c");
    put(bus, 2, 4000, "t.x", "s", "d");
    put(bus, 0, 5000, "t.x", "s", "e");
    put(bus, 0, 1500, "t.x", "s", "late"); /* within a partition the order is that of the log */
    put(bus, 1, 5500, "t.x", "s", "f");
    read_all(bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST}, "a b c d e late f");
    read_all(bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST, .partition_plus_1 = 3},
             "a d");
    read_all(bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST, .until_time_ms = 4000},
             "a b late c");
    beck_reader *r;
    refused(beck_reader_open(bus, &(beck_read_options){.partition_plus_1 = 4}, &r, &err),
            BECK_ENOENT, "0 to 2");
    refused(beck_reader_open(bus, &(beck_read_options){.partition_plus_1 = -1}, &r, &err),
            BECK_ENOENT, "0 to 2");
    beck_close(b);
    place_remove(&p);
}

static void patterns_and_subjects_choose(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", NULL);
    put(bus, 0, 1, "order.created", "o1", "1");
    put(bus, 0, 2, "order.paid", "o2", "2");
    put(bus, 0, 3, "user.created", "o1", "3");
    put(bus, 0, 4, "order.paid.late", "o1", "4");
    const beck_from from = {.kind = BECK_FROM_EARLIEST};
    read_all(bus, &(beck_read_options){.from = from, .pattern = "order.*"}, "1 2");
    read_all(bus, &(beck_read_options){.from = from, .pattern = "order.#"}, "1 2 4");
    read_all(bus, &(beck_read_options){.from = from, .pattern = "#"}, "1 2 3 4");
    read_all(bus, &(beck_read_options){.from = from, .subject = beck_str("o1")}, "1 3 4");
    read_all(bus,
             &(beck_read_options){.from = from, .pattern = "*.created", .subject = beck_str("o1")},
             "1 3");
    read_all(bus, &(beck_read_options){.from = from, .subject = beck_str("o")}, "");
    read_all(bus, &(beck_read_options){.from = from, .pattern = "none"}, "");
    beck_reader *r;
    refused(beck_reader_open(bus, &(beck_read_options){.pattern = "a..b"}, &r, &err), BECK_EINVAL,
            "a..b");
    beck_close(b);
    place_remove(&p);
}

static void a_reader_begins_where_it_is_told_and_ends_where_the_log_ended(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", NULL);
    beck_bus *memory = make_bus(b, "memory", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    const char *const data[] = {"0", "1", "2", "3", "4"};
    for (int i = 0; i < 5; i++)
        put(bus, 0, 1000 + i * 100, "t.x", NULL, data[i]);
    read_all(bus, NULL, "");
    read_all(bus, &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 3}}, "3 4");
    read_all(bus, &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 5}}, "");
    read_all(bus, &(beck_read_options){.from = {.kind = BECK_FROM_TIME, .time_ms = 1200}}, "2 3 4");
    read_all(bus, &(beck_read_options){.from = {.kind = BECK_FROM_TIME, .time_ms = 1201}}, "3 4");
    read_all(bus, &(beck_read_options){.from = {.kind = BECK_FROM_TIME, .time_ms = 1}},
             "0 1 2 3 4");
    read_all(bus, &(beck_read_options){.from = {.kind = BECK_FROM_TIME, .time_ms = 9999}}, "");
    beck_reader *r;
    const beck_event *e;
    refused(beck_reader_open(bus,
                             &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 6}},
                             &r, &err),
            BECK_ERANGE, "0 to 5");
    refused(beck_reader_open(bus,
                             &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = -1}},
                             &r, &err),
            BECK_ERANGE, "offset -1");
    refused(beck_reader_open(bus, &(beck_read_options){.from.kind = (beck_from_kind)9}, &r, &err),
            BECK_EINVAL, "9");
    /* Partitions that end before begin at their end, unless all do. */
    beck_bus *wide = make_bus(b, "wide", &(beck_bus_options){.partitions = 3});
    for (int i = 0; i < 5; i++)
        put(wide, i > 2, 1000 + i * 100, "t.x", NULL, data[i]);
    read_all(wide, &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 1}}, "1 2 4");
    read_all(wide, &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 3}}, "");
    refused(beck_reader_open(wide,
                             &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 4}},
                             &r, &err),
            BECK_ERANGE, "0 to 3");
    refused(beck_reader_open(wide,
                             &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 3},
                                                  .partition_plus_1 = 2},
                             &r, &err),
            BECK_ERANGE, "partition 1");
    refused(beck_reader_open(memory, NULL, &r, &err), BECK_EUNSUPPORTED, "in memory");
    /* What comes after the opening is not for a bounded reader. */
    must(beck_reader_open(
        bus, &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 4}}, &r, &err));
    put(bus, 0, 2000, "t.x", NULL, "5");
    must(beck_reader_next(r, 0, &e, &err));
    assert_bytes(e->data, "4");
    refused(beck_reader_next(r, 0, &e, &err), BECK_END, "no more");
    beck_reader_close(r);
    beck_reader_close(NULL);
    /* Before the first that is kept: from the first. */
    must(beck_bus_purge(bus, &err));
    put(bus, 0, 3000, "t.x", NULL, "6");
    read_all(bus, &(beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 1}}, "6");
    read_all(bus, &(beck_read_options){.from = {.kind = BECK_FROM_TIME, .time_ms = 1}}, "6");
    beck_close(b);
    place_remove(&p);
}

static void history_over_many_segments_and_codecs_is_whole(void **state)
{
    (void)state;
    for (int codec = BECK_CODEC_NONE; codec <= BECK_CODEC_ZSTD; codec++) {
        struct place p;
        place_make(&p);
        beck *b = open_place(&p);
        beck_bus *bus = make_bus(b, "shop",
                                 &(beck_bus_options){.level = BECK_LEVEL_WRITTEN,
                                                     .segment_bytes = 4096,
                                                     .partitions = 2,
                                                     .codec = (beck_codec)codec});
        enum { COUNT = 2000 };
        for (int i = 0; i < COUNT; i += 5) {
            char text[5][16];
            beck_event e[5];
            for (int k = 0; k < 5; k++) {
                snprintf(text[k], sizeof text[k], "%d", i + k);
                e[k] = event_of("t.x", text[k], text[k]);
                e[k].time_ns = (1000000 + i + k) * 1000000LL;
            }
            must(beck_publish_many(bus, e, 5, NULL, NULL, &err));
        }
        for (int reopened = 0; reopened < 2; reopened++) {
            for (int from = 0; from < COUNT; from += 333) {
                beck_reader *r;
                const beck_event *e;
                beck_read_options o = {.from = {.kind = BECK_FROM_TIME, .time_ms = 1000000 + from}};
                must(beck_reader_open(bus, &o, &r, &err));
                for (int i = from; i < COUNT; i++) {
                    char expected[16];
                    snprintf(expected, sizeof expected, "%d", i);
                    must(beck_reader_next(r, 0, &e, &err));
                    assert_bytes(e->data, expected);
                    assert_bytes(e->subject, expected);
                    assert_bytes(e->source, "/shop");
                }
                refused(beck_reader_next(r, 0, &e, &err), BECK_END, "");
                beck_reader_close(r);
            }
            beck_close(b);
            b = open_place(&p);
            must(beck_bus_get(b, "shop", &bus, &err));
        }
        beck_close(b);
        place_remove(&p);
    }
}

/* ---- following ---- */

static void *publish_hundred(void *arg)
{
    for (int i = 0; i < 100; i++) {
        char text[8];
        snprintf(text, sizeof text, "%d", i);
        publish(arg, "t.x", text, text);
    }
    return NULL;
}

static void a_follower_is_woken_by_what_another_thread_publishes(void **state)
{
    (void)state;
    for (uint32_t partitions = 1; partitions <= 3; partitions += 2) {
        struct place p;
        place_make(&p);
        beck *b = open_place(&p);
        beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.partitions = partitions});
        publish(bus, "t.x", NULL, "before");
        beck_reader *r;
        const beck_event *e;
        must(beck_reader_open(bus, &(beck_read_options){.follow = true}, &r, &err));
        refused(beck_reader_next(r, 0, &e, &err), BECK_ETIMEDOUT, "in time");
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, publish_hundred, bus), 0);
        bool seen[100] = {false};
        for (int i = 0; i < 100; i++) {
            char text[8] = "";
            must(beck_reader_next(r, -1, &e, &err));
            memcpy(text, e->data.data, e->data.len);
            assert_false(seen[atoi(text)]);
            seen[atoi(text)] = true;
        }
        pthread_join(thread, NULL);
        refused(beck_reader_next(r, 1, &e, &err), BECK_ETIMEDOUT, "in time");
        beck_reader_close(r);
        beck_close(b);
        place_remove(&p);
    }
}

struct deletion {
    beck *b;
    pthread_barrier_t begin;
};

static void *delete_shop(void *arg)
{
    struct deletion *d = arg;
    pthread_barrier_wait(&d->begin);
    must(beck_bus_delete(d->b, "shop", &err));
    return NULL;
}

static void a_follower_ends_when_the_bus_is_deleted(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    struct deletion d = {.b = open_place(&p)};
    pthread_barrier_init(&d.begin, NULL, 2);
    beck_bus *bus = make_bus(d.b, "shop", NULL);
    beck_reader *r;
    const beck_event *e;
    pthread_t thread;
    must(beck_reader_open(bus, &(beck_read_options){.follow = true}, &r, &err));
    assert_int_equal(pthread_create(&thread, NULL, delete_shop, &d), 0);
    pthread_barrier_wait(&d.begin);
    refused(beck_reader_next(r, -1, &e, &err), BECK_ECLOSED, "deleted");
    pthread_join(thread, NULL);
    beck_reader_close(r);
    beck_close(d.b);
    place_remove(&p);
}

static void *add_partitions(void *arg)
{
    beck_bus_info info;
    must(beck_bus_info_get(arg, &info, &err));
    info.options.partitions = 3;
    must(beck_bus_alter(arg, &info.options, &err));
    put(arg, 2, 0, "t.x", NULL, "added");
    put(arg, 0, 0, "t.x", NULL, "old");
    return NULL;
}

static void a_follower_reads_partitions_that_are_added(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", NULL);
    beck_reader *all, *first;
    const beck_event *e;
    pthread_t thread;
    must(beck_reader_open(bus, &(beck_read_options){.follow = true}, &all, &err));
    must(beck_reader_open(bus, &(beck_read_options){.follow = true, .partition_plus_1 = 1}, &first,
                          &err));
    assert_int_equal(pthread_create(&thread, NULL, add_partitions, bus), 0);
    bool added = false, old = false;
    while (!added || !old) {
        must(beck_reader_next(all, -1, &e, &err));
        added |= bytes_equal_text(e->data, "added");
        old |= bytes_equal_text(e->data, "old");
    }
    must(beck_reader_next(first, -1, &e, &err));
    assert_bytes(e->data, "old");
    pthread_join(thread, NULL);
    refused(beck_reader_next(all, 0, &e, &err), BECK_ETIMEDOUT, "in time");
    refused(beck_reader_next(first, 0, &e, &err), BECK_ETIMEDOUT, "in time");
    beck_reader_close(first);
    beck_reader_close(all);
    beck_close(b);
    place_remove(&p);
}

static void a_follower_with_a_last_time_ends_when_it_has_come(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    struct clock *clock = clock_virtual_new(1700000000000000000);
    beck *b = NULL;
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock, &err));
    beck_bus *bus = make_bus(b, "shop", NULL);
    beck_reader *r;
    const beck_event *e;
    const int64_t until = 1700000001000;
    must(beck_reader_open(bus, &(beck_read_options){.follow = true, .until_time_ms = until}, &r,
                          &err));
    publish(bus, "t.x", NULL, "1");
    put(bus, 0, until, "t.x", NULL, "too late");
    must(beck_reader_next(r, 0, &e, &err));
    assert_bytes(e->data, "1");
    refused(beck_reader_next(r, 0, &e, &err), BECK_ETIMEDOUT, "");
    clock_virtual_advance(clock, 1000000000);
    refused(beck_reader_next(r, -1, &e, &err), BECK_END, "");
    beck_reader_close(r);
    beck_close(b);
    clock_virtual_free(clock);
    vfs_sim_free(v);
}

/* ---- damage ---- */

static void damage_is_named_once_and_passed_over(void **state)
{
    (void)state;
    struct vfs *v = vfs_sim_new(1);
    struct clock *clock = clock_virtual_new(1700000000000000000);
    beck *b = NULL;
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock, &err));
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.segment_bytes = 4096});
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        publish(bus, "t.x", text, text);
    }
    beck_close(b);
    /* In the first segment, of several. */
    vfs_sim_flip(v, "data/shop-0/00000000000000000000.log", 1500, 3);
    must(beck_open_env(&b, &(beck_options){.data_dir = "data"}, v, clock, &err));
    must(beck_bus_get(b, "shop", &bus, &err));
    beck_reader *r;
    const beck_event *e;
    must(beck_reader_open(bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST}, &r, &err));
    int64_t next = 0;
    int faults = 0, count = 0;
    for (;;) {
        beck_error why = {0};
        beck_status status = beck_reader_next(r, 0, &e, &why);
        if (status == BECK_END)
            break;
        if (status) {
            assert_int_equal(status, BECK_ECORRUPT);
            assert_non_null(strstr(why.text, "data/shop-0/00000000000000000000.log"));
            assert_non_null(strstr(why.text, "backup"));
            faults++;
            continue;
        }
        assert_true(e->position.offset >= next);
        next = e->position.offset + 1;
        count++;
    }
    assert_int_equal(faults, 1);
    assert_int_equal(next, 100);
    assert_true(count > 50 && count < 100);
    beck_reader_close(r);
    beck_close(b);
    clock_virtual_free(clock);
    vfs_sim_free(v);
}

static int open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void what_is_still_open_is_freed_with_the_handle(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    int before = open_files();
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", NULL);
    must(beck_queue_create(b, "q", NULL, &err));
    must(beck_queue_bind(b, "q", &(beck_binding){.bus = "shop"}, &err));
    publish(bus, "t.x", "s", "1");
    beck_read_options o = {.from.kind = BECK_FROM_EARLIEST, .pattern = "t.*"};
    beck_reader *readers[3];
    const beck_event *e;
    for (int i = 0; i < 3; i++)
        must(beck_reader_open(bus, &o, &readers[i], &err));
    must(beck_reader_next(readers[0], 0, &e, &err));
    must(beck_reader_next(readers[2], 0, &e, &err));
    beck_reader_close(readers[1]);
    beck_consumer *consumer;
    beck_delivery d;
    size_t count;
    must(beck_consumer_open(b, "q", 0, &consumer, &err));
    must(beck_take(consumer, &d, 1, 0, &count, &err));
    beck_close(b);
    assert_int_equal(open_files(), before);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_are_merged_by_time),
        cmocka_unit_test(patterns_and_subjects_choose),
        cmocka_unit_test(a_reader_begins_where_it_is_told_and_ends_where_the_log_ended),
        cmocka_unit_test(history_over_many_segments_and_codecs_is_whole),
        cmocka_unit_test(a_follower_is_woken_by_what_another_thread_publishes),
        cmocka_unit_test(a_follower_ends_when_the_bus_is_deleted),
        cmocka_unit_test(a_follower_reads_partitions_that_are_added),
        cmocka_unit_test(a_follower_with_a_last_time_ends_when_it_has_come),
        cmocka_unit_test(damage_is_named_once_and_passed_over),
        cmocka_unit_test(what_is_still_open_is_freed_with_the_handle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
