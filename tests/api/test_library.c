/* Handles and buses through the public functions, on a real disk. */
#include "common.h"

#include <ctype.h>
#include <malloc.h>
#include <sys/wait.h>

/* ---- names and options ---- */

static void a_bus_is_made_once_and_found_again(void **state)
{
    (void)state;
    beck *b = open_memory();
    beck_bus *first = make_bus(b, "shop", NULL), *second = make_bus(b, "shop", NULL), *got = NULL;
    must(beck_bus_get(b, "shop", &got, &err));
    assert_ptr_equal(first, second);
    assert_ptr_equal(first, got);
    assert_string_equal(beck_bus_name(got), "shop");
    must(beck_bus_create(b, "shop", NULL, NULL, &err));
    beck_close(b);
}

static void a_bus_that_exists_with_other_options_is_refused(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    make_bus(b, "shop", &(beck_bus_options){.partitions = 2});
    beck_bus *out = (beck_bus *)&p;
    refused(beck_bus_create(b, "shop", NULL, &out, &err), BECK_EEXIST, "\"shop\"");
    assert_ptr_equal(out, &p);
    /* A default that is spelt out is the same. */
    make_bus(b, "shop", &(beck_bus_options){.partitions = 2, .level = BECK_LEVEL_SYNCED});
    beck_close(b);
    b = open_place(&p);
    refused(beck_bus_create(b, "shop", NULL, NULL, &err), BECK_EEXIST, "other options");
    make_bus(b, "shop", &(beck_bus_options){.partitions = 2});
    beck_close(b);
    place_remove(&p);
}

static void names_that_are_none_are_refused_with_the_rule(void **state)
{
    (void)state;
    beck *b = open_memory();
    char longest[251];
    memset(longest, 'x', 250);
    longest[250] = 0;
    const char *const bad[] = {"", ".", "..", "a b", "a/b", "caf\xc3\xa9", "a\nb", longest};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refused(beck_bus_create(b, bad[i], NULL, NULL, &err), BECK_EINVAL, "1 to 249");
        refused(beck_queue_create(b, bad[i], NULL, &err), BECK_EINVAL, "1 to 249");
    }
    refused(beck_bus_create(b, NULL, NULL, NULL, &err), BECK_EINVAL, "1 to 249");
    refused(beck_bus_create(b, "__topology", NULL, NULL, &err), BECK_EINVAL, "kept for beck");
    refused(beck_queue_create(b, "__queues", NULL, &err), BECK_EINVAL, "kept for beck");
    longest[249] = 0;
    make_bus(b, longest, NULL);
    make_bus(b, "A.b_c-9", NULL);
    make_bus(b, "_one", NULL);
    beck_bus *got;
    refused(beck_bus_get(b, "none", &got, &err), BECK_ENOENT, "\"none\"");
    refused(beck_bus_get(b, NULL, &got, &err), BECK_ENOENT, "no bus");
    refused(beck_bus_delete(b, "none", &err), BECK_ENOENT, "\"none\"");
    refused(beck_bus_delete(b, "__dead_letters", &err), BECK_EINVAL, "kept for beck");
    beck_close(b);
}

static void what_is_left_out_is_refused(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct place p;
        place_make(&p);
        beck *b = memory ? open_memory() : open_place(&p);
        beck_bus *bus = make_bus(b, "b", NULL);
        beck_consumer *c;
        char *text;
        must(beck_queue_create(b, "q", NULL, &err));
        must(beck_consumer_open(b, "q", 0, &c, &err));
        refused(beck_publish(bus, NULL, &err), BECK_EINVAL, "no event");
        refused(beck_publish_many(bus, NULL, 1, NULL, NULL, &err), BECK_EINVAL, "no events");
        refused(beck_bus_alter(bus, NULL, &err), BECK_EINVAL, "there are none");
        refused(beck_bus_list(b, NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_subscribe(bus, "#", NULL, NULL, NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_queue_alter(b, "q", NULL, &err), BECK_EINVAL, "there are none");
        refused(beck_queue_bind(b, "q", NULL, &err), BECK_EINVAL, "there is none");
        refused(beck_queue_bind(b, "q", &(beck_binding){0}, &err), BECK_ENOENT, "no bus");
        refused(beck_queue_list(b, NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_queue_bindings(b, "q", NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_queue_peek(b, "q", 1, NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_settle(c, NULL, 1, &err), BECK_EINVAL, "no tags");
        refused(beck_workers_start(b, "q", NULL, NULL, NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_dead_list(b, "q", 0, NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_trace(b, "id", 0, NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_metrics(b, NULL, NULL, &err), BECK_EINVAL, "function");
        refused(beck_format(NULL, BECK_FORM_CLOUDEVENTS, &text, NULL, &err), BECK_EINVAL,
                "no event");
        must(beck_publish_many(bus, NULL, 0, NULL, NULL, &err));
        must(beck_settle(c, NULL, 0, &err));
        beck_consumer_close(c);
        beck_close(b);
        place_remove(&p);
    }
}

static int no_bus(void *ctx, beck_bus *bus)
{
    (void)ctx, (void)bus;
    return 0;
}

static int no_name(void *ctx, const char *name)
{
    (void)ctx, (void)name;
    return 0;
}

static int no_step(void *ctx, const beck_trace_step *step)
{
    (void)ctx, (void)step;
    return 0;
}

static void no_text(void *ctx, const char *text, size_t len)
{
    (void)ctx, (void)text, (void)len;
}

static int no_event(void *ctx, const beck_event *event)
{
    (void)ctx, (void)event;
    return 0;
}

static int no_binding(void *ctx, const beck_binding *binding)
{
    (void)ctx, (void)binding;
    return 0;
}

static int no_dead(void *ctx, const beck_dead *dead)
{
    (void)ctx, (void)dead;
    return 0;
}

static int no_work(void *ctx, const beck_delivery *delivery, char *why)
{
    (void)ctx, (void)delivery, (void)why;
    return BECK_SETTLE;
}

static void a_handle_that_is_null_is_refused_everywhere(void **state)
{
    (void)state;
    const char *none = "no handle";
    beck_bus *bus;
    beck_queue_info info;
    beck_consumer *c;
    beck_workers *w;
    beck_binding binding = {.bus = "b"};
    refused(beck_metrics(NULL, no_text, NULL, &err), BECK_EINVAL, none);
    refused(beck_bus_create(NULL, "b", NULL, &bus, &err), BECK_EINVAL, none);
    refused(beck_bus_get(NULL, "b", &bus, &err), BECK_EINVAL, none);
    refused(beck_bus_delete(NULL, "b", &err), BECK_EINVAL, none);
    refused(beck_bus_list(NULL, no_bus, NULL, &err), BECK_EINVAL, none);
    refused(beck_sync(NULL, &err), BECK_EINVAL, none);
    refused(beck_queue_create(NULL, "q", NULL, &err), BECK_EINVAL, none);
    refused(beck_queue_alter(NULL, "q", &(beck_queue_options){0}, &err), BECK_EINVAL, none);
    refused(beck_queue_delete(NULL, "q", &err), BECK_EINVAL, none);
    refused(beck_queue_bind(NULL, "q", &binding, &err), BECK_EINVAL, none);
    refused(beck_queue_unbind(NULL, "q", "b", "#", &err), BECK_EINVAL, none);
    refused(beck_queue_info_get(NULL, "q", &info, &err), BECK_EINVAL, none);
    refused(beck_queue_list(NULL, no_name, NULL, &err), BECK_EINVAL, none);
    refused(beck_queue_bindings(NULL, "q", no_binding, NULL, &err), BECK_EINVAL, none);
    refused(beck_queue_pause(NULL, "q", true, &err), BECK_EINVAL, none);
    refused(beck_queue_purge(NULL, "q", NULL, &err), BECK_EINVAL, none);
    refused(beck_queue_rewind(NULL, "q", NULL, &err), BECK_EINVAL, none);
    refused(beck_queue_peek(NULL, "q", 1, no_event, NULL, &err), BECK_EINVAL, none);
    refused(beck_consumer_open(NULL, "q", 0, &c, &err), BECK_EINVAL, none);
    refused(beck_workers_start(NULL, "q", no_work, NULL, NULL, &w, &err), BECK_EINVAL, none);
    refused(beck_dead_list(NULL, "q", 0, no_dead, NULL, &err), BECK_EINVAL, none);
    refused(beck_dead_redrive(NULL, "q", -1, NULL, &err), BECK_EINVAL, none);
    refused(beck_dead_purge(NULL, "q", -1, NULL, &err), BECK_EINVAL, none);
    refused(beck_trace(NULL, "id", 0, no_step, NULL, &err), BECK_EINVAL, none);
    refused(beck_kafka_export(NULL, "b", "/tmp", NULL, &err), BECK_EINVAL, none);
    refused(beck_kafka_import(NULL, "/tmp", "t", "b", NULL, NULL, &err), BECK_EINVAL, none);
    assert_false(beck_is_connected(NULL));
    assert_null(beck_current(NULL));
    beck_close(NULL);
}

static void a_bus_reader_or_consumer_that_is_null_is_refused_everywhere(void **state)
{
    (void)state;
    beck_event e = {.type = beck_str("t.x")};
    const beck_event *next;
    beck_bus_info info;
    beck_partition_info partition;
    beck_listener *listener;
    beck_reader *reader;
    beck_delivery d;
    uint64_t tag = 1;
    size_t count;
    refused(beck_publish(NULL, &e, &err), BECK_EINVAL, "no bus");
    refused(beck_publish(NULL, NULL, &err), BECK_EINVAL, "no bus");
    refused(beck_publish_many(NULL, &e, 1, NULL, NULL, &err), BECK_EINVAL, "no bus");
    refused(beck_bus_alter(NULL, &(beck_bus_options){0}, &err), BECK_EINVAL, "no bus");
    refused(beck_bus_info_get(NULL, &info, &err), BECK_EINVAL, "no bus");
    refused(beck_partition_info_get(NULL, 0, &partition, &err), BECK_EINVAL, "no bus");
    refused(beck_bus_purge(NULL, &err), BECK_EINVAL, "no bus");
    refused(beck_subscribe(NULL, "#", no_event, NULL, NULL, &listener, &err), BECK_EINVAL,
            "no bus");
    refused(beck_reader_open(NULL, NULL, &reader, &err), BECK_EINVAL, "no bus");
    refused(beck_reader_next(NULL, 0, &next, &err), BECK_EINVAL, "no reader");
    refused(beck_take(NULL, &d, 1, 0, &count, &err), BECK_EINVAL, "no consumer");
    refused(beck_settle(NULL, &tag, 1, &err), BECK_EINVAL, "no consumer");
    refused(beck_retry(NULL, tag, -1, NULL, &err), BECK_EINVAL, "no consumer");
    refused(beck_return(NULL, tag, &err), BECK_EINVAL, "no consumer");
    refused(beck_reject(NULL, tag, NULL, &err), BECK_EINVAL, "no consumer");
    refused(beck_extend(NULL, tag, &err), BECK_EINVAL, "no consumer");
    assert_null(beck_bus_name(NULL));
    assert_int_equal(beck_document_count(NULL), 0);
    assert_null(beck_document_event(NULL, 0));
    beck_consumer_wake(NULL);
    beck_consumer_close(NULL);
    beck_reader_close(NULL);
    beck_unsubscribe(NULL);
    beck_workers_stop(NULL);
    beck_document_free(NULL);
}

static void options_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    const struct {
        beck_bus_options options;
        const char *words;
    } bad[] = {
        {{.partitions = 10001}, "partitions = 10001"},
        {{.segment_bytes = 4095}, "segment_bytes = 4095"},
        {{.segment_bytes = 1LL << 31}, "segment_bytes"},
        {{.segment_ms = -1}, "segment_ms"},
        {{.delete_retention_ms = -1}, "delete_retention_ms"},
        {{.retention_ms = -1}, "retention_ms"},
        {{.retention_bytes = -1}, "retention_bytes"},
        {{.dedup_window_ms = -1}, "dedup_window_ms"},
        {{.event_bytes_max = (64u << 20) + 1}, "event_bytes_max"},
        {{.codec = (beck_codec)5}, "codec = 5"},
        {{.level = (beck_level)4}, "level = 4"},
        {{.storage = BECK_STORAGE_MEMORY, .partitions = 2}, "one partition"},
        {{.storage = (beck_storage)3}, "storage = 3"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(beck_bus_create(b, "x", &bad[i].options, NULL, &err), BECK_EINVAL, bad[i].words);
    beck_bus *got;
    refused(beck_bus_get(b, "x", &got, &err), BECK_ENOENT, "x");
    beck_close(b);
    place_remove(&p);
    b = open_memory();
    refused(beck_bus_create(b, "x", &(beck_bus_options){.storage = BECK_STORAGE_DISK}, NULL, &err),
            BECK_EINVAL, "data directory");
    beck_close(b);
}

/* ---- looking ---- */

static int note_name(void *ctx, beck_bus *bus)
{
    char *names = ctx;
    strcat(strcat(names, beck_bus_name(bus)), " ");
    return strcmp(beck_bus_name(bus), "stop") == 0;
}

static void buses_are_listed_by_name_and_the_librarys_own_last(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    make_bus(b, "b", NULL);
    make_bus(b, "a", NULL);
    make_bus(b, "z", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    make_bus(b, "Z", NULL);
    char names[200] = "";
    must(beck_bus_list(b, note_name, names, &err));
    assert_string_equal(names, "Z a b z __dead_letters __queue_state __topology ");
    make_bus(b, "stop", NULL);
    names[0] = 0;
    must(beck_bus_list(b, note_name, names, &err));
    assert_string_equal(names, "Z a b stop ");
    beck_close(b);
    /* What was in memory is gone. */
    b = open_place(&p);
    must(beck_bus_delete(b, "stop", &err));
    names[0] = 0;
    must(beck_bus_list(b, note_name, names, &err));
    assert_string_equal(names, "Z a b __dead_letters __queue_state __topology ");
    beck_close(b);
    place_remove(&p);
}

static int ignore(void *ctx, const beck_event *event)
{
    (void)ctx;
    (void)event;
    return 0;
}

static void info_shows_options_in_force_and_what_is_stored(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.partitions = 2});
    beck_bus_info info;
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.options.storage, BECK_STORAGE_DISK);
    assert_int_equal(info.options.level, BECK_LEVEL_SYNCED);
    assert_int_equal(info.options.segment_bytes, 1 << 30);
    assert_int_equal(info.options.segment_ms, 7 * 86400000LL);
    assert_int_equal(info.options.delete_retention_ms, 86400000);
    assert_int_equal(info.options.event_bytes_max, 1048588);
    assert_int_equal(info.events, 0);
    beck_partition_info part;
    must(beck_partition_info_get(bus, 1, &part, &err));
    assert_int_equal(part.oldest_ms, -1);
    assert_int_equal(part.newest_ms, -1);
    assert_int_equal(part.segments, 1);
    beck_listener *l;
    must(beck_subscribe(bus, "#", ignore, NULL, NULL, &l, &err));
    for (int i = 0; i < 5; i++) {
        beck_event e = event_of("t.x", NULL, "1");
        e.time_ns = (1000 + i) * 1000000LL;
        must(beck_publish_many(bus, &e, 1, &(beck_publish_options){.partition_plus_1 = 2}, NULL,
                               &err));
    }
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.events, 5);
    assert_true(info.bytes > 5 * 60);
    assert_int_equal(info.listeners, 1);
    must(beck_partition_info_get(bus, 1, &part, &err));
    assert_int_equal(part.first_offset, 0);
    assert_int_equal(part.next_offset, 5);
    assert_int_equal(part.written_offset, 5);
    assert_int_equal(part.synced_offset, 5);
    assert_int_equal(part.oldest_ms, 1000);
    assert_int_equal(part.newest_ms, 1004);
    refused(beck_partition_info_get(bus, 2, &part, &err), BECK_ENOENT, "0 to 1");
    must(beck_bus_purge(bus, &err));
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.events, 0);
    must(beck_partition_info_get(bus, 1, &part, &err));
    assert_int_equal(part.first_offset, 5);
    assert_int_equal(part.next_offset, 5);
    assert_int_equal(part.oldest_ms, -1);
    assert_int_equal(part.newest_ms, -1);
    beck_unsubscribe(l);
    beck_close(b);
    place_remove(&p);
}

/* ---- deleting ---- */

static int count_files(const char *dir, const char *prefix)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

static void the_bytes_of_a_purged_bus_are_gone_at_once(void **state)
{
    (void)state;
    struct place p;
    char dir[256];
    beck_bus_info info;
    place_make(&p);
    snprintf(dir, sizeof dir, "%s/shop-0", p.data);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.segment_bytes = 4096});
    for (int i = 0; i < 100; i++)
        publish(bus, "t.x", "s", "0123456789");
    must(beck_bus_purge(bus, &err));
    assert_int_equal(count_files(dir, "0000000000000000000"), 0);
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.events, 0);
    assert_int_equal(info.bytes, 0);
    publish(bus, "t.x", "s", "0123456789");
    beck_close(b);
    b = open_place(&p);
    must(beck_bus_get(b, "shop", &bus, &err));
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.events, 1);
    beck_close(b);
    place_remove(&p);
}

static void retention_is_applied_also_by_those_who_are_not_open_for_long(void **state)
{
    (void)state;
    struct place p;
    char dir[256];
    beck_bus_info info;
    place_make(&p);
    snprintf(dir, sizeof dir, "%s/shop-0", p.data);
    beck *b = open_place(&p);
    beck_bus *bus =
        make_bus(b, "shop", &(beck_bus_options){.segment_bytes = 4096, .retention_bytes = 8192});
    for (int i = 0; i < 500; i++)
        publish(bus, "t.x", "s", "0123456789");
    must(beck_bus_info_get(bus, &info, &err));
    assert_true(info.bytes > 30000);
    beck_close(b);
    b = open_place(&p);
    must(beck_bus_get(b, "shop", &bus, &err));
    must(beck_bus_info_get(bus, &info, &err));
    assert_in_range(info.bytes, 8192, 8192 + 4096);
    assert_int_equal(count_files(dir, "00000000000000000000.log"), 0);
    beck_close(b);
    place_remove(&p);
}

static void a_deleted_bus_is_gone_with_its_files_and_says_so(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", &(beck_bus_options){.partitions = 3});
    beck_bus *other = make_bus(b, "shop-2", NULL), *got;
    publish(bus, "t.x", "s", "1");
    publish(other, "t.x", "s", "1");
    beck_reader *r;
    const beck_event *e;
    must(beck_reader_open(bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST}, &r, &err));
    assert_int_equal(count_files(p.data, "shop-"), 2); /* those that were written to */
    must(beck_bus_delete(b, "shop", &err));
    assert_int_equal(count_files(p.data, "shop-"), 1);
    refused(beck_bus_get(b, "shop", &got, &err), BECK_ENOENT, "shop");
    beck_event x = event_of("t.x", NULL, NULL);
    beck_bus_info info;
    beck_partition_info part;
    beck_listener *l;
    beck_reader *r2;
    refused(beck_publish(bus, &x, &err), BECK_ECLOSED, "deleted");
    refused(beck_bus_info_get(bus, &info, &err), BECK_ECLOSED, "deleted");
    refused(beck_partition_info_get(bus, 0, &part, &err), BECK_ECLOSED, "deleted");
    refused(beck_subscribe(bus, "#", ignore, NULL, NULL, &l, &err), BECK_ECLOSED, "deleted");
    refused(beck_reader_open(bus, NULL, &r2, &err), BECK_ECLOSED, "deleted");
    refused(beck_reader_next(r, 0, &e, &err), BECK_ECLOSED, "deleted");
    refused(beck_bus_purge(bus, &err), BECK_ECLOSED, "deleted");
    assert_string_equal(beck_bus_name(bus), "shop");
    beck_reader_close(r);
    /* A new one of the name begins anew, also after opening again. */
    bus = make_bus(b, "shop", NULL);
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.events, 0);
    must(beck_bus_delete(b, "shop", &err));
    beck_close(b);
    b = open_place(&p);
    refused(beck_bus_get(b, "shop", &got, &err), BECK_ENOENT, "shop");
    must(beck_bus_get(b, "shop-2", &got, &err));
    must(beck_bus_info_get(got, &info, &err));
    assert_int_equal(info.events, 1);
    beck_close(b);
    place_remove(&p);
}

static void a_bus_that_a_queue_is_bound_to_is_not_deleted(void **state)
{
    (void)state;
    beck *b = open_memory();
    make_bus(b, "shop", NULL);
    must(beck_queue_create(b, "work", NULL, &err));
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "shop"}, &err));
    refused(beck_bus_delete(b, "shop", &err), BECK_EBUSY, "\"work\"");
    must(beck_queue_unbind(b, "work", "shop", NULL, &err));
    must(beck_bus_delete(b, "shop", &err));
    beck_close(b);
}

static void files_that_a_deleted_bus_left_do_not_come_back(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", NULL);
    publish(bus, "t.x", "s", "old");
    beck_close(b);
    char command[1000];
    snprintf(command, sizeof command, "cp -r %s/shop-0 %s/kept && cp %s/recovery* %s", p.data,
             p.dir, p.data, p.dir);
    assert_int_equal(system(command), 0);
    char put_back[1000];
    snprintf(put_back, sizeof put_back, "cp -r %s/kept %s/shop-0 && cp %s/recovery* %s", p.dir,
             p.data, p.dir, p.data);
    b = open_place(&p);
    must(beck_bus_delete(b, "shop", &err));
    beck_close(b);
    /* As if the process had ended between the deletion and the removal of files. */
    assert_int_equal(system(put_back), 0);
    b = open_place(&p);
    assert_int_equal(count_files(p.data, "shop-"), 0);
    /* As if the disk had refused to remove them. */
    assert_int_equal(system(put_back), 0);
    bus = make_bus(b, "shop", NULL);
    beck_bus_info info;
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.events, 0);
    beck_close(b);
    b = open_place(&p);
    must(beck_bus_get(b, "shop", &bus, &err));
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.events, 0);
    beck_close(b);
    place_remove(&p);
}

static void the_librarys_own_buses_can_only_be_read(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *topology;
    must(beck_bus_get(b, "__topology", &topology, &err));
    beck_event e = event_of("t.x", "bus/shop", "{}");
    refused(beck_publish(topology, &e, &err), BECK_EINVAL, "only be read");
    refused(beck_publish_many(topology, &e, 1, NULL, NULL, &err), BECK_EINVAL, "only be read");
    refused(beck_bus_purge(topology, &err), BECK_EINVAL, "only be read");
    must(beck_queue_create(b, "work", NULL, &err));
    refused(beck_queue_bind(b, "work", &(beck_binding){.bus = "__dead_letters"}, &err), BECK_EINVAL,
            "beck itself");
    make_bus(b, "shop", NULL);
    beck_reader *r;
    const beck_event *read;
    must(beck_reader_open(topology, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST}, &r,
                          &err));
    must(beck_reader_next(r, 0, &read, &err));
    assert_bytes(read->subject, "queue/work");
    beck_reader_close(r);
    beck_close(b);
    place_remove(&p);
}

/* ---- handles ---- */

static void a_second_handle_on_a_directory_is_refused_and_names_the_process(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p), *second = NULL;
    char pid[32];
    snprintf(pid, sizeof pid, "process %d (", (int)getpid());
    refused(beck_open(&second, &(beck_options){.data_dir = p.data}, &err), BECK_EBUSY, pid);
    assert_null(second);
    char slash[160];
    snprintf(slash, sizeof slash, "%s//", p.data);
    refused(beck_open(&second, &(beck_options){.data_dir = slash}, &err), BECK_EBUSY, pid);
    beck_verify_info info;
    refused(beck_verify(p.data, NULL, NULL, &info, &err), BECK_EBUSY, pid);
    beck_close(b);
    must(beck_open(&second, &(beck_options){.data_dir = slash}, &err));
    publish(make_bus(second, "shop", NULL), "t.x", "s", "1");
    beck_close(second);
    assert_int_equal(count_files(p.data, "shop-0"), 1);
    must(beck_verify(p.data, NULL, NULL, &info, &err));
    assert_int_equal(info.faults, 0);
    place_remove(&p);
}

static bool is_fork(const char *what, beck_status status, const beck_error *err)
{
    bool is = status == BECK_EINVAL && strstr(err->text, "fork of the one that opened");
    if (!is)
        print_error("%s: %s %s\n", what, beck_status_name(status), err->text);
    return is;
}

/* In the child. */
static bool changes_are_refused(beck *b, beck_bus *bus)
{
    beck_error err = {0};
    beck_bus *made;
    beck_from from = {.kind = BECK_FROM_EARLIEST};
    beck_bus_options o = {.retention_ms = 5};
    bool good = is_fork("bus purge", beck_bus_purge(bus, &err), &err);
    good &= is_fork("bus alter", beck_bus_alter(bus, &o, &err), &err);
    good &= is_fork("bus delete", beck_bus_delete(b, "unused", &err), &err);
    good &= is_fork("bus create", beck_bus_create(b, "new", NULL, &made, &err), &err);
    good &= is_fork("queue create", beck_queue_create(b, "new", NULL, &err), &err);
    good &= is_fork("queue purge", beck_queue_purge(b, "q", NULL, &err), &err);
    good &= is_fork("queue rewind", beck_queue_rewind(b, "q", &from, &err), &err);
    good &= is_fork("queue unbind", beck_queue_unbind(b, "q", "shop", "#", &err), &err);
    good &= is_fork("queue pause", beck_queue_pause(b, "q", true, &err), &err);
    good &= is_fork("queue delete", beck_queue_delete(b, "q", &err), &err);
    return good;
}

static void a_child_of_a_fork_changes_nothing_of_its_parents(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    beck_bus *bus = make_bus(b, "shop", NULL), *unused = make_bus(b, "unused", NULL);
    must(beck_queue_create(b, "q", NULL, &err));
    must(beck_queue_bind(b, "q", &(beck_binding){.bus = "shop"}, &err));
    publish(bus, "t.x", "s", "1");
    pid_t child = fork();
    if (child == 0) {
        beck_error err = {0};
        beck_event e = {.type = beck_str("t.child")};
        bool was_refused = beck_publish(bus, &e, &err) == BECK_EINVAL &&
                           beck_publish(bus, &e, &err) == BECK_EINVAL &&
                           beck_publish(unused, &e, NULL) == BECK_EINVAL &&
                           strstr(err.text, "fork of the one that opened") != NULL &&
                           changes_are_refused(b, bus);
        beck_close(b);
        _exit(was_refused ? 0 : 1);
    }
    int ended;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    publish(bus, "t.x", "s", "2");
    beck_bus_info info;
    must(beck_bus_info_get(bus, &info, &err));
    assert_int_equal(info.events, 2);
    beck_close(b);
    beck_verify_info verified;
    must(beck_verify(p.data, NULL, NULL, &verified, &err));
    place_remove(&p);
}

static void a_directory_is_read_while_another_handle_writes(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p), *reading = NULL;
    beck_options read_only = {.data_dir = p.data, .read_only = true};
    beck_bus *bus = make_bus(b, "shop", NULL), *seen, *made;
    publish(bus, "t.x", "s", "1");
    must(beck_queue_create(b, "work", NULL, &err));
    must(beck_open(&reading, &read_only, &err));
    must(beck_bus_get(reading, "shop", &seen, &err));
    beck_reader *r;
    const beck_event *e;
    must(beck_reader_open(seen, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST}, &r, &err));
    must(beck_reader_next(r, 0, &e, &err));
    assert_bytes(e->data, "1");
    beck_reader_close(r);
    beck_event x = event_of("t.x", NULL, NULL);
    beck_queue_info info;
    refused(beck_publish(seen, &x, &err), BECK_EINVAL, "reading only");
    refused(beck_bus_create(reading, "new", NULL, &made, &err), BECK_EINVAL, "reading only");
    refused(beck_bus_delete(reading, "shop", &err), BECK_EINVAL, "reading only");
    refused(beck_bus_purge(seen, &err), BECK_EINVAL, "reading only");
    refused(beck_queue_info_get(reading, "work", &info, &err), BECK_EUNSUPPORTED, "reading only");
    must(beck_sync(reading, &err));
    publish(bus, "t.x", "s", "2");
    beck_close(reading);
    beck_close(b);
    /* Nobody has it. */
    must(beck_open(&reading, &read_only, &err));
    beck_close(reading);
    place_remove(&p);
}

static void directories_that_cannot_be_had_are_named(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = NULL;
    char path[5000];
    snprintf(path, sizeof path, "%s/missing/data", p.dir);
    refused(beck_open(&b, &(beck_options){.data_dir = path}, &err), BECK_ENOENT, path);
    refused(beck_open(&b, &(beck_options){.data_dir = path, .read_only = true}, &err), BECK_ENOENT,
            "no data directory");
    snprintf(path, sizeof path, "%s/file", p.dir);
    fclose(fopen(path, "w"));
    refused(beck_open(&b, &(beck_options){.data_dir = path}, &err), BECK_EIO, path);
    refused(beck_open(&b, &(beck_options){.data_dir = ""}, &err), BECK_EINVAL, "empty");
    memset(path, 'x', 4000);
    path[0] = '/';
    path[4000] = 0;
    refused(beck_open(&b, &(beck_options){.data_dir = path}, &err), BECK_EINVAL, "too long");
    refused(beck_open(&b, &(beck_options){.data_dir = path, .read_only = true}, &err), BECK_EINVAL,
            "too long");
    assert_null(b);
    place_remove(&p);
}

static int count_calls(void *ctx, const beck_event *event)
{
    (void)event;
    ++*(int *)ctx;
    return 0;
}

static void two_handles_do_not_meet(void **state)
{
    (void)state;
    beck *one = open_memory(), *two = open_memory();
    beck_bus *a = make_bus(one, "shop", NULL), *b = make_bus(two, "shop", NULL);
    int calls_a = 0, calls_b = 0;
    must(beck_subscribe(a, "#", count_calls, &calls_a, NULL, NULL, &err));
    must(beck_subscribe(b, "#", count_calls, &calls_b, NULL, NULL, &err));
    publish(a, "t.x", NULL, NULL);
    assert_int_equal(calls_a, 1);
    assert_int_equal(calls_b, 0);
    assert_null(beck_current(one));
    beck_close(one);
    publish(b, "t.x", NULL, NULL);
    assert_int_equal(calls_b, 1);
    beck_close(two);
    beck_close(NULL);
}

static int count_threads(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void a_memory_handle_has_no_thread_and_is_small(void **state)
{
    (void)state;
    int threads = count_threads();
    beck_close(open_memory()); /* what the C library keeps for good */
    struct mallinfo2 before = mallinfo2();
    beck *b = open_memory();
    beck_bus *bus = make_bus(b, "shop", NULL);
    int calls = 0;
    must(beck_subscribe(bus, "#", count_calls, &calls, NULL, NULL, &err));
    publish(bus, "t.x", NULL, NULL);
    struct mallinfo2 after = mallinfo2();
    assert_int_equal(count_threads(), threads);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(after.uordblks - before.uordblks < 100 * 1024);
#else
    (void)before;
    (void)after;
#endif
    beck_close(b);
}

struct text {
    char *data;
    size_t len;
};

static void take_text(void *ctx, const char *text, size_t len)
{
    struct text *t = ctx;
    t->data = realloc(t->data, t->len + len + 1);
    memcpy(t->data + t->len, text, len);
    t->len += len;
    t->data[t->len] = 0;
}

/* Text format 0.0.4: comments, or a name, labels in braces, a number. */
static void check_line(const char *line)
{
    if (strncmp(line, "# HELP ", 7) == 0 || strncmp(line, "# TYPE ", 7) == 0)
        return;
    const char *at = line;
    assert_true(isalpha((unsigned char)*at));
    while (isalnum((unsigned char)*at) || *at == '_')
        at++;
    if (*at == '{') {
        at = strchr(at, '}');
        assert_non_null(at);
        at++;
    }
    assert_int_equal(*at, ' ');
    char *end;
    strtod(at + 1, &end);
    if (*end != 0 || end == at + 1)
        fail_msg("no number: %s", line);
}

static void metrics_are_prometheus_text_with_what_there_is(void **state)
{
    (void)state;
    beck *b = open_memory();
    beck_bus *bus = make_bus(b, "shop", NULL);
    must(beck_queue_create(b, "work", NULL, &err));
    publish(bus, "t.x", NULL, NULL);
    publish(bus, "t.x", NULL, NULL);
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "shop"}, &err));
    publish(bus, "t.x", NULL, NULL);
    struct text t = {0};
    must(beck_metrics(b, take_text, &t, &err));
    assert_non_null(strstr(t.data, "beck_events_published_total{bus=\"shop\",type=\"t.x\"} 3\n"));
    assert_non_null(strstr(t.data, "beck_queue_ready{queue=\"work\"} 1\n"));
    assert_int_equal(t.data[t.len - 1], '\n');
    char *rest = NULL;
    for (char *line = strtok_r(t.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        check_line(line);
    free(t.data);
    beck_close(b);
}

/* What is published is counted by type, whichever way it goes; types beyond a hundred together. */
static void published_events_are_counted_by_type(void **state)
{
    (void)state;
    beck *b = open_memory();
    beck_bus *plain = make_bus(b, "plain", NULL), *stored = make_bus(b, "stored", NULL);
    must(beck_queue_create(b, "work", NULL, &err));
    must(beck_queue_bind(b, "work", &(beck_binding){.bus = "stored"}, &err));
    for (int i = 0; i < 150; i++) {
        char type[16];
        snprintf(type, sizeof type, "t.n%d", i);
        publish(plain, type, NULL, NULL);
        publish(stored, type, NULL, NULL);
        publish(stored, type, NULL, NULL);
    }
    const beck_event mixed[] = {event_of("t.n1", NULL, ""), event_of("t.n1", NULL, ""),
                                event_of("t.n2", NULL, ""), event_of("t.n1", NULL, "")};
    must(beck_publish_many(stored, mixed, 4, NULL, NULL, &err));
    must(beck_publish_many(plain, mixed, 4, NULL, NULL, &err));
    struct text t = {0};
    must(beck_metrics(b, take_text, &t, &err));
    static const char *const lines[] = {
        "{bus=\"plain\",type=\"t.n0\"} 1\n",    "{bus=\"plain\",type=\"t.n1\"} 4\n",
        "{bus=\"plain\",type=\"other\"} 50\n",  "{bus=\"stored\",type=\"t.n99\"} 2\n",
        "{bus=\"stored\",type=\"t.n1\"} 5\n",   "{bus=\"stored\",type=\"t.n2\"} 3\n",
        "{bus=\"stored\",type=\"other\"} 100\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_non_null(strstr(t.data, lines[i]));
    assert_null(strstr(t.data, "type=\"t.n100\""));
    free(t.data);
    beck_close(b);
}

static void what_was_deleted_leaves_the_metrics(void **state)
{
    (void)state;
    beck *b = open_memory();
    for (int round = 0; round < 3; round++) {
        beck_bus *bus = make_bus(b, "shop", NULL);
        must(beck_queue_create(b, "work", NULL, &err));
        must(beck_queue_bind(b, "work", &(beck_binding){.bus = "shop"}, &err));
        publish(bus, "t.x", NULL, NULL);
        beck_consumer *c;
        beck_delivery d;
        size_t count;
        must(beck_consumer_open(b, "work", 0, &c, &err));
        must(beck_take(c, &d, 1, 0, &count, &err));
        struct text t = {0};
        must(beck_metrics(b, take_text, &t, &err));
        assert_non_null(
            strstr(t.data, "beck_events_published_total{bus=\"shop\",type=\"t.x\"} 1\n"));
        assert_non_null(strstr(t.data, "beck_queue_delivered_total{queue=\"work\"} 1\n"));
        assert_non_null(strstr(t.data, "beck_queue_in_flight{queue=\"work\"} 1\n"));
        must(beck_queue_delete(b, "work", &err));
        must(beck_bus_delete(b, "shop", &err));
        t.len = 0;
        must(beck_metrics(b, take_text, &t, &err));
        assert_null(strstr(t.data, "shop"));
        assert_null(strstr(t.data, "work"));
        free(t.data);
        /* Who still holds them counts into nothing. */
        assert_int_equal(beck_settle(c, &d.tag, 1, NULL), BECK_ESTALE);
        refused(beck_publish(bus, &(beck_event){.type = beck_str("t.x")}, &err), BECK_ECLOSED,
                "deleted");
        beck_consumer_close(c);
    }
    beck_close(b);
}

static void everything_is_there_after_closing_and_opening(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    const beck_bus_options options = {.partitions = 3,
                                      .level = BECK_LEVEL_WRITTEN,
                                      .read_synced = true,
                                      .codec = BECK_CODEC_ZSTD,
                                      .retention_ms = 86400000,
                                      .retention_bytes = 1 << 20,
                                      .compact = true,
                                      .segment_bytes = 4096,
                                      .segment_ms = 60000,
                                      .delete_retention_ms = 1234,
                                      .dedup_window_ms = 5000,
                                      .event_bytes_max = 999};
    beck_bus *bus = make_bus(b, "all", &options);
    for (int i = 0; i < 100; i++) {
        char subject[8];
        snprintf(subject, sizeof subject, "s%d", i);
        publish(bus, "t.x", subject, "x");
    }
    beck_bus_info before, after;
    must(beck_bus_info_get(bus, &before, &err));
    beck_close(b);
    b = open_place(&p);
    must(beck_bus_get(b, "all", &bus, &err));
    must(beck_bus_info_get(bus, &after, &err));
    assert_int_equal(after.events, 100);
    assert_int_equal(before.events, after.events);
    assert_int_equal(before.bytes, after.bytes);
    make_bus(b, "all", &options);
    for (uint32_t i = 0; i < 3; i++) {
        beck_partition_info part;
        must(beck_partition_info_get(bus, i, &part, &err));
        assert_int_equal(part.synced_offset, part.next_offset);
    }
    beck_close(b);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bus_is_made_once_and_found_again),
        cmocka_unit_test(a_bus_that_exists_with_other_options_is_refused),
        cmocka_unit_test(names_that_are_none_are_refused_with_the_rule),
        cmocka_unit_test(what_is_left_out_is_refused),
        cmocka_unit_test(a_handle_that_is_null_is_refused_everywhere),
        cmocka_unit_test(a_bus_reader_or_consumer_that_is_null_is_refused_everywhere),
        cmocka_unit_test(options_out_of_range_are_refused_by_name),
        cmocka_unit_test(buses_are_listed_by_name_and_the_librarys_own_last),
        cmocka_unit_test(info_shows_options_in_force_and_what_is_stored),
        cmocka_unit_test(the_bytes_of_a_purged_bus_are_gone_at_once),
        cmocka_unit_test(retention_is_applied_also_by_those_who_are_not_open_for_long),
        cmocka_unit_test(a_deleted_bus_is_gone_with_its_files_and_says_so),
        cmocka_unit_test(a_bus_that_a_queue_is_bound_to_is_not_deleted),
        cmocka_unit_test(files_that_a_deleted_bus_left_do_not_come_back),
        cmocka_unit_test(the_librarys_own_buses_can_only_be_read),
        cmocka_unit_test(a_second_handle_on_a_directory_is_refused_and_names_the_process),
        cmocka_unit_test(a_child_of_a_fork_changes_nothing_of_its_parents),
        cmocka_unit_test(a_directory_is_read_while_another_handle_writes),
        cmocka_unit_test(directories_that_cannot_be_had_are_named),
        cmocka_unit_test(two_handles_do_not_meet),
        cmocka_unit_test(a_memory_handle_has_no_thread_and_is_small),
        cmocka_unit_test(metrics_are_prometheus_text_with_what_there_is),
        cmocka_unit_test(published_events_are_counted_by_type),
        cmocka_unit_test(what_was_deleted_leaves_the_metrics),
        cmocka_unit_test(everything_is_there_after_closing_and_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
