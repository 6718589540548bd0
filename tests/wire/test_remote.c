/* The functions of beck.h through a server: everything is done twice, with the engine itself and by
 * way of HTTP, and must be the same to the letter. */
#include "wire/world.h"

#include "api/handle.h"
#include "base/clock.h"
#include "event/event.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct world w;
static beck *r; /* the handle that works through the server */

#define must(call)                                                                                 \
    do {                                                                                           \
        beck_error err = {0};                                                                      \
        beck_status must_status = (call);                                                          \
        if (must_status)                                                                           \
            fail_msg("%s: %s: %s", #call, beck_status_name(must_status), err.text);                \
    } while (0)

/* Opens the remote handle, by the name that the socket has in a data directory. */
static void reach(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/beck.sock", w.dir);
    assert_int_equal(symlink("test.sock", path), 0);
    beck_options o = {.data_dir = w.dir, .connect = true};
    must(beck_open(&r, &o, &err));
    assert_true(beck_is_connected(r));
}

static int setup(void **state)
{
    (void)state;
    world_open(&w);
    world_serve(&w);
    reach();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    beck_close(r);
    world_close(&w);
    return 0;
}

static beck_bus *bus_of(beck *b, const char *name)
{
    beck_bus *bus = NULL;
    must(beck_bus_get(b, name, &bus, &err));
    return bus;
}

static void publish(beck *b, const char *bus, const char *type, const char *subject,
                    const char *data)
{
    beck_event e = {.type = beck_str(type), .subject = beck_str(subject), .data = beck_str(data)};
    must(beck_publish(bus_of(b, bus), &e, &err));
}

static void make_queue(const char *name, const char *bus, const beck_queue_options *o)
{
    beck_binding binding = {.bus = bus};
    must(beck_queue_create(r, name, o, &err));
    must(beck_queue_bind(r, name, &binding, &err));
}

static void assert_same_event(const beck_event *a, const beck_event *b)
{
    assert_true(bytes_equal(a->type, b->type) && bytes_equal(a->subject, b->subject));
    assert_true(bytes_equal(a->source, b->source) && bytes_equal(a->id, b->id));
    assert_true(bytes_equal(a->data, b->data) && (!a->data.data) == (!b->data.data));
    assert_true(bytes_equal(a->datacontenttype, b->datacontenttype));
    assert_true(bytes_equal(a->dataschema, b->dataschema) && bytes_equal(a->bus, b->bus));
    assert_true(bytes_equal(a->correlationid, b->correlationid));
    assert_true(bytes_equal(a->causationid, b->causationid));
    assert_int_equal(a->time_ns, b->time_ns);
    assert_int_equal(a->deliver_at_ms, b->deliver_at_ms);
    assert_int_equal(a->expires_at_ms, b->expires_at_ms);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->position.partition, b->position.partition);
    assert_int_equal(a->position.offset, b->position.offset);
    assert_int_equal(a->extension_count, b->extension_count);
    for (size_t i = 0; i < a->extension_count; i++) {
        assert_true(bytes_equal(a->extensions[i].name, b->extensions[i].name));
        assert_true(bytes_equal(a->extensions[i].value, b->extensions[i].value));
    }
}

/* ---- errors ---- */

static beck_bus *any_bus(beck *b)
{
    return bus_of(b, "orders");
}

static beck_status create_bus(beck *b, const char *name, beck_bus_options o, beck_error *err)
{
    return beck_bus_create(b, name, &o, NULL, err);
}

static beck_status create_queue(beck *b, const char *name, beck_queue_options o, beck_error *err)
{
    return beck_queue_create(b, name, &o, err);
}

static beck_status publish_with(beck *b, beck_event e, beck_publish_options o, beck_error *err)
{
    return beck_publish_many(any_bus(b), &e, 1, &o, NULL, err);
}

static beck_status bind(beck *b, const char *queue, beck_binding binding, beck_error *err)
{
    return beck_queue_bind(b, queue, &binding, err);
}

static beck_status open_reader(beck *b, const char *bus, beck_read_options o, beck_error *err)
{
    beck_reader *reader;
    return beck_reader_open(bus_of(b, bus), &o, &reader, err);
}

static beck_status open_consumer(beck *b, const char *queue, uint32_t prefetch, beck_error *err)
{
    beck_consumer *c;
    return beck_consumer_open(b, queue, prefetch, &c, err);
}

static int never(void *ctx, const beck_dead *dead)
{
    (void)ctx;
    (void)dead;
    return 1;
}

/* The i-th thing that fails; BECK_OK: there is none any more. */
static beck_status fail_at(int i, beck *b, beck_error *err)
{
    beck_partition_info partition;
    beck_queue_info queue;
    beck_bus *bus;
    const beck_from behind = {.kind = BECK_FROM_OFFSET, .offset = 1000};
    switch (i) {
    case 0:
        return beck_bus_get(b, "none", &bus, err);
    case 1:
        return beck_bus_get(b, "", &bus, err);
    case 2:
        return create_bus(b, "a/b", (beck_bus_options){0}, err);
    case 3:
        return create_bus(b, "__users", (beck_bus_options){0}, err);
    case 4:
        return create_bus(b, "orders", (beck_bus_options){.partitions = 7}, err);
    case 5:
        return create_bus(b, "big", (beck_bus_options){.partitions = 10001}, err);
    case 6:
        return beck_bus_delete(b, "none", err);
    case 7:
        return beck_bus_delete(b, "bound", err);
    case 8:
        return beck_partition_info_get(any_bus(b), 9, &partition, err);
    case 9:
        return publish_with(b, (beck_event){.type = beck_str("a..b")}, (beck_publish_options){0},
                            err);
    case 10:
        return publish_with(b, (beck_event){.type = beck_str("a"), .id = beck_str("a\nb")},
                            (beck_publish_options){0}, err);
    case 11:
        return publish_with(b, (beck_event){.type = beck_str("a")},
                            (beck_publish_options){.partition_plus_1 = 5}, err);
    case 12:
        return publish_with(b, (beck_event){.type = beck_str("a")},
                            (beck_publish_options){.level = 9}, err);
    case 13:
        return create_queue(b, "q", (beck_queue_options){.attempts_max = 3}, err);
    case 14:
        return create_queue(b, "x", (beck_queue_options){.priority_max = 300}, err);
    case 15:
        return beck_queue_delete(b, "none", err);
    case 16:
        return bind(b, "q", (beck_binding){.bus = "none"}, err);
    case 17:
        return bind(b, "q", (beck_binding){.bus = "orders", .pattern = "a..b"}, err);
    case 18:
        return bind(b, "q", (beck_binding){.bus = "orders", .pattern = "x", .from = behind}, err);
    case 19:
        return bind(b, "none", (beck_binding){.bus = "orders"}, err);
    case 20:
        return beck_queue_unbind(b, "q", "orders", "never.bound", err);
    case 21:
        return beck_queue_info_get(b, "none", &queue, err);
    case 22:
        return beck_queue_info_get(b, "", &queue, err);
    case 23:
        return beck_queue_rewind(b, "q", &behind, err);
    case 24:
        return open_reader(b, "orders", (beck_read_options){.from = behind}, err);
    case 25:
        return open_reader(b, "orders", (beck_read_options){.pattern = "a..b"}, err);
    case 26:
        return open_reader(b, "orders", (beck_read_options){.partition_plus_1 = 4}, err);
    case 27:
        return beck_queue_peek(b, "none", 1, NULL, NULL, err);
    case 28:
        return open_consumer(b, "none", 0, err);
    case 29:
        return open_consumer(b, "q", 70000, err);
    case 30:
        return beck_dead_redrive(b, "q", 99, NULL, err);
    case 31:
        return beck_dead_purge(b, "q", 99, NULL, err);
    case 32:
        return beck_dead_list(b, "none", 0, never, NULL, err);
    case 33:
        return beck_bus_purge(bus_of(b, "memory"), err);
    case 34:
        return beck_bus_purge(bus_of(b, "__topology"), err);
    case 35:
        return publish_with(b, (beck_event){.type = beck_str("full")}, (beck_publish_options){0},
                            err);
    case 36:
        return beck_workers_start(b, "none", NULL, NULL, NULL, NULL, err);
    case 37:
        return beck_bus_alter(bus_of(b, "orders"), &(beck_bus_options){.read_synced = true}, err);
    case 38:
        return beck_bus_alter(bus_of(b, "__topology"), &(beck_bus_options){0}, err);
    case 39:
        return beck_bus_alter(bus_of(b, "orders"), NULL, err);
    case 40:
        return beck_queue_alter(b, "q", &(beck_queue_options){.priority_max = 2}, err);
    case 41:
        return beck_queue_alter(b, "none", &(beck_queue_options){0}, err);
    case 42:
        return beck_queue_alter(b, "q", NULL, err);
    default:
        return BECK_OK;
    }
}

static void errors_keep_code_and_text(void **state)
{
    (void)state;
    beck_queue_options full = {.length_max = 1, .overflow = BECK_OVERFLOW_REFUSE};
    beck_binding only = {.bus = "orders", .pattern = "full"};
    must(beck_bus_create(r, "memory", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY}, NULL,
                         &err));
    must(beck_bus_create(r, "bound", NULL, NULL, &err));
    make_queue("q", "bound", NULL);
    must(beck_queue_create(r, "full", &full, &err));
    must(beck_queue_bind(r, "full", &only, &err));
    publish(r, "orders", "full", NULL, "1");
    int i = 0;
    for (;; i++) {
        beck_error here = {0}, there = {0};
        beck_status ours = fail_at(i, w.b, &here), theirs = fail_at(i, r, &there);
        if (ours == BECK_OK && theirs == BECK_OK)
            break;
        if (ours != theirs || here.code != there.code || strcmp(here.text, there.text) != 0)
            fail_msg("failure %d:\n%s: %s\n%s: %s", i, beck_status_name(ours), here.text,
                     beck_status_name(theirs), there.text);
    }
    assert_int_equal(i, 43);
}

/* ---- buses and queues ---- */

static int count_bus(void *ctx, beck_bus *bus)
{
    char(*names)[400] = ctx;
    strcat(*names, beck_bus_name(bus));
    strcat(*names, " ");
    return 0;
}

static void buses_are_made_shown_and_deleted(void **state)
{
    (void)state;
    beck_bus_options o = {.partitions = 3,
                          .level = BECK_LEVEL_WRITTEN,
                          .read_synced = true,
                          .codec = BECK_CODEC_ZSTD,
                          .retention_ms = 86400000,
                          .retention_bytes = 1 << 20,
                          .compact = true,
                          .segment_bytes = 65536,
                          .segment_ms = 3600000,
                          .delete_retention_ms = 1000,
                          .dedup_window_ms = 60000,
                          .event_bytes_max = 5000};
    beck_bus *bus = NULL, *again = NULL;
    beck_bus_info here, there;
    must(beck_bus_create(r, "wide", &o, &bus, &err));
    assert_string_equal(beck_bus_name(bus), "wide");
    must(beck_bus_create(r, "wide", &o, &again, &err));
    assert_ptr_equal(bus, again);
    publish(r, "wide", "a", "s", "1");
    must(beck_sync(r, &err));
    must(beck_bus_info_get(bus, &there, &err));
    must(beck_bus_info_get(bus_of(w.b, "wide"), &here, &err));
    assert_string_equal(here.name, there.name);
    assert_memory_equal(&here.options, &there.options, sizeof here.options);
    assert_int_equal(there.options.event_bytes_max, 5000);
    assert_int_equal(here.events, there.events);
    assert_int_equal(there.events, 1);
    assert_int_equal(here.bytes, there.bytes);
    for (uint32_t i = 0; i < 3; i++) {
        beck_partition_info a, b;
        must(beck_partition_info_get(bus_of(w.b, "wide"), i, &a, &err));
        must(beck_partition_info_get(bus, i, &b, &err));
        assert_int_equal(a.first_offset, b.first_offset);
        assert_int_equal(a.next_offset, b.next_offset);
        assert_int_equal(a.written_offset, b.written_offset);
        assert_int_equal(a.synced_offset, b.synced_offset);
        assert_int_equal(a.bytes, b.bytes);
        assert_int_equal(a.segments, b.segments);
        assert_int_equal(a.oldest_ms, b.oldest_ms);
        assert_int_equal(a.newest_ms, b.newest_ms);
    }
    o = there.options;
    o.partitions = 5;
    o.retention_ms = 7;
    must(beck_bus_alter(bus, &o, &err));
    must(beck_bus_info_get(bus, &there, &err));
    must(beck_bus_info_get(bus_of(w.b, "wide"), &here, &err));
    assert_memory_equal(&here.options, &there.options, sizeof here.options);
    assert_int_equal(there.options.partitions, 5);
    assert_int_equal(there.options.retention_ms, 7);
    char ours[400] = "", theirs[400] = "";
    must(beck_bus_list(w.b, count_bus, &ours, &err));
    must(beck_bus_list(r, count_bus, &theirs, &err));
    assert_string_equal(ours, theirs);
    must(beck_bus_purge(bus, &err));
    must(beck_bus_info_get(bus, &there, &err));
    assert_int_equal(there.events, 0);
    must(beck_bus_delete(r, "wide", &err));
    assert_int_equal(beck_bus_info_get(bus, &there, NULL), BECK_ECLOSED);
    beck_event e = {.type = beck_str("a")};
    assert_int_equal(beck_publish(bus, &e, NULL), BECK_ECLOSED);
}

static int note_binding(void *ctx, const beck_binding *binding)
{
    char(*text)[400] = ctx;
    snprintf(*text + strlen(*text), sizeof *text - strlen(*text), "%s %s,", binding->bus,
             binding->pattern);
    return 0;
}

static int note_name(void *ctx, const char *name)
{
    char(*text)[400] = ctx;
    snprintf(*text + strlen(*text), sizeof *text - strlen(*text), "%s,", name);
    return 0;
}

static void queues_are_made_shown_steered_and_deleted(void **state)
{
    (void)state;
    beck_queue_options o = {.attempts_max = 4,
                            .backoff = {.kind = BECK_BACKOFF_LIST,
                                        .list_count = 3,
                                        .list_ms = {100, 200, 300},
                                        .jitter_percent = 101},
                            .deadline_ms = -1,
                            .ttl_ms = 3600000,
                            .length_max = 1000,
                            .overflow = BECK_OVERFLOW_REFUSE,
                            .priority_max = 3,
                            .no_dead_letters = true};
    beck_queue_info here, there;
    must(beck_queue_create(r, "q", &o, &err));
    must(beck_queue_create(r, "q", &o, &err));
    for (int i = 0; i < 3; i++)
        publish(r, "orders", i == 1 ? "b" : "a.x", NULL, "1");
    beck_binding history = {
        .bus = "orders", .pattern = "a.#", .from = {.kind = BECK_FROM_EARLIEST}};
    must(beck_queue_bind(r, "q", &history, &err));
    must(beck_queue_bind(r, "q", &(beck_binding){.bus = "orders", .pattern = "c"}, &err));
    must(beck_queue_pause(r, "q", true, &err));
    must(beck_queue_info_get(w.b, "q", &here, &err));
    must(beck_queue_info_get(r, "q", &there, &err));
    assert_memory_equal(&here.options, &there.options, sizeof here.options);
    assert_string_equal(here.name, there.name);
    assert_int_equal(here.ready, there.ready);
    assert_int_equal(here.oldest_ms, there.oldest_ms);
    assert_int_equal(here.bindings, there.bindings);
    assert_true(there.paused && there.ready == 2 && there.bindings == 2);
    char ours[400] = "", theirs[400] = "";
    must(beck_queue_bindings(w.b, "q", note_binding, &ours, &err));
    must(beck_queue_bindings(r, "q", note_binding, &theirs, &err));
    assert_string_equal(ours, theirs);
    theirs[0] = 0;
    must(beck_queue_list(r, note_name, &theirs, &err));
    assert_string_equal(theirs, "q,");
    must(beck_queue_pause(r, "q", false, &err));
    must(beck_queue_unbind(r, "q", "orders", "c", &err));
    int64_t purged = 0;
    must(beck_queue_purge(r, "q", &purged, &err));
    assert_int_equal(purged, 2);
    beck_from from = {.kind = BECK_FROM_OFFSET, .offset = 2};
    must(beck_queue_rewind(r, "q", &from, &err));
    must(beck_queue_info_get(r, "q", &there, &err));
    assert_int_equal(there.ready, 1);
    o.attempts_max = 9;
    o.length_max = 0;
    must(beck_queue_alter(r, "q", &o, &err));
    must(beck_queue_info_get(w.b, "q", &here, &err));
    must(beck_queue_info_get(r, "q", &there, &err));
    assert_memory_equal(&here.options, &there.options, sizeof here.options);
    assert_true(there.options.attempts_max == 9 && there.options.length_max == 0);
    must(beck_queue_delete(r, "q", &err));
    assert_int_equal(beck_queue_info_get(r, "q", &there, NULL), BECK_ENOENT);
}

/* ---- publishing and reading ---- */

static void only_the_call_that_made_a_queue_is_told_so(void **state)
{
    (void)state;
    beck *const handles[] = {w.b, r};
    for (int i = 0; i < 2; i++) {
        const beck_queue_options other = {.attempts_max = 3};
        const char *name = i ? "through" : "here";
        beck_error said;
        bool made = false;
        must(handle_make_queue(handles[i], name, NULL, &made, &err));
        assert_true(made);
        must(handle_make_queue(handles[i], name, NULL, &made, &err));
        assert_false(made);
        made = true;
        assert_int_equal(handle_make_queue(handles[i], name, &other, &made, &said), BECK_EEXIST);
        assert_false(made);
    }
}

static void what_is_published_is_stored_as_given(void **state)
{
    (void)state;
    static const char *const data[] = {NULL, "", " {\"a\": 1}\n", "[1,\n2]", "no JSON", "\"x\""};
    beck_attribute extensions[] = {{beck_str("region"), beck_str("eu")},
                                   {beck_str("empty"), beck_str("")}};
    beck_event e = {.type = beck_str("a.b"),
                    .subject = beck_str("s"),
                    .source = beck_str("/shop"),
                    .id = beck_str("1"),
                    .time_ns = 1700000000123456789,
                    .dataschema = beck_str("/schema"),
                    .correlationid = beck_str("c"),
                    .causationid = beck_str("d"),
                    .deliver_at_ms = 1700000000001,
                    .expires_at_ms = 4000000000001,
                    .priority = 7,
                    .extensions = extensions,
                    .extension_count = 2};
    beck_bus *two[2] = {any_bus(w.b), any_bus(r)};
    size_t count = 0;
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        for (int type = 0; type < 2; type++)
            for (int side = 0; side < 2; side++, count++) {
                beck_published out;
                e.data = beck_str(data[i]);
                e.datacontenttype = beck_str(type ? "text/plain" : NULL);
                must(beck_publish_many(two[side], &e, 1, NULL, &out, &err));
                assert_int_equal(out.position.offset, count);
            }
    beck_reader *ours, *theirs;
    beck_read_options o = {.from = {.kind = BECK_FROM_EARLIEST}};
    must(beck_reader_open(two[0], &o, &ours, &err));
    must(beck_reader_open(two[1], &o, &theirs, &err));
    beck_event first = {0};
    for (size_t i = 0; i < count; i++) {
        const beck_event *a, *b;
        must(beck_reader_next(ours, 0, &a, &err));
        must(beck_reader_next(theirs, 0, &b, &err));
        assert_same_event(a, b);
        /* One was published by the engine, the next in the same words through the server. */
        beck_event bare = *b;
        bare.position = (beck_position){0};
        if (i % 2)
            assert_true(bytes_equal(bare.data, first.data));
        first = *a;
    }
    const beck_event *end;
    assert_int_equal(beck_reader_next(theirs, 0, &end, NULL), BECK_END);
    beck_reader_close(ours);
    beck_reader_close(theirs);
}

struct written {
    _Atomic(int) count;
    int64_t last;
    bool in_order;
    sem_t all;
    int wanted;
};

static void note_done(void *ctx, beck_status status, const beck_published *published)
{
    struct written *d = ctx;
    d->in_order = d->in_order && !status && published->position.offset > d->last;
    d->last = published->position.offset;
    if (atomic_fetch_add(&d->count, 1) + 1 == d->wanted)
        sem_post(&d->all);
}

static void completions_come_in_order_and_before_what_is_published_next(void **state)
{
    (void)state;
    struct written d = {.last = -1, .in_order = true, .wanted = 200};
    sem_init(&d.all, 0, 0);
    beck_publish_options o = {.done = note_done, .done_ctx = &d};
    beck_event e = {.type = beck_str("a"), .data = beck_str("1")};
    beck_bus *bus = any_bus(r);
    beck_published out;
    for (int i = 0; i < d.wanted; i++)
        must(beck_publish_many(bus, &e, 1, &o, NULL, &err));
    must(beck_publish_many(bus, &e, 1, NULL, &out, &err));
    assert_int_equal(out.position.offset, d.wanted);
    sem_wait(&d.all);
    assert_true(d.in_order);
    must(beck_sync(r, &err));
    must(beck_bus_delete(r, "orders", &err));
    d = (struct written){.last = -1, .wanted = 1};
    sem_init(&d.all, 0, 0);
    must(beck_publish_many(bus, &e, 1, &o, NULL, &err));
    sem_wait(&d.all);
    assert_false(d.in_order); /* it failed */
}

/* One of many publishes whose completions are waited for together. */
struct one {
    struct many *all;
    beck_status status;
    beck_published published;
    int times;
};
struct many {
    struct one list[300];
    _Atomic(int) left;
    sem_t none_left;
};

static void note_one(void *ctx, beck_status status, const beck_published *published)
{
    struct one *o = ctx;
    o->status = status;
    o->published = *published;
    o->times++;
    if (atomic_fetch_sub(&o->all->left, 1) == 1)
        sem_post(&o->all->none_left);
}

static void completions_end_each_by_itself_and_keep_the_order_of_subjects(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    static struct many all;
    int64_t last[5] = {-1, -1, -1, -1, -1};
    char large[600];
    beck_bus *wide;
    beck_binding only = {.bus = "wide", .pattern = "full"};
    beck_queue_options full = {.length_max = 1, .overflow = BECK_OVERFLOW_REFUSE};
    memset(large, 'x', sizeof large);
    must(beck_bus_create(r, "wide", &(beck_bus_options){.partitions = 4, .event_bytes_max = 500},
                         &wide, &err));
    must(beck_queue_create(r, "full", &full, &err));
    must(beck_queue_bind(r, "full", &only, &err));
    publish(r, "wide", "full", NULL, "1");
    all.left = COUNT;
    sem_init(&all.none_left, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        char subject[2] = {(char)('a' + i % 5), 0};
        beck_event e = {.type = beck_str(i % 50 == 7 ? "full" : "a"), .subject = beck_str(subject)};
        beck_event two[2] = {e, e};
        if (i % 50 == 9)
            two[1].data = bytes_of(large, sizeof large);
        beck_publish_options o = {.level = i % 100 < 50 ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN,
                                  .done = note_one,
                                  .done_ctx = &all.list[i]};
        all.list[i] = (struct one){.all = &all};
        must(beck_publish_many(wide, two, 2, &o, NULL, &err));
    }
    sem_wait(&all.none_left);
    for (int i = 0; i < COUNT; i++) {
        const struct one *o = &all.list[i];
        bool bad = i % 50 == 7 || i % 50 == 9;
        assert_int_equal(o->times, 1);
        assert_int_equal(o->status, bad ? BECK_ELIMIT : BECK_OK);
        if (bad)
            continue;
        assert_true(o->published.position.offset > last[i % 5]);
        last[i % 5] = o->published.position.offset + 1;
    }
}

/* Reads both with the same options, to the end, and compares. */
static int64_t compare_readings(const char *bus, const beck_read_options *o)
{
    beck_reader *ours, *theirs;
    must(beck_reader_open(bus_of(w.b, bus), o, &ours, &err));
    must(beck_reader_open(bus_of(r, bus), o, &theirs, &err));
    for (int64_t n = 0;; n++) {
        const beck_event *a, *b;
        beck_status here = beck_reader_next(ours, 0, &a, NULL);
        beck_status there = beck_reader_next(theirs, 0, &b, NULL);
        assert_int_equal(here, there);
        if (here) {
            assert_int_equal(here, BECK_END);
            beck_reader_close(ours);
            beck_reader_close(theirs);
            return n;
        }
        assert_same_event(a, b);
    }
}

static void readers_give_the_same_in_the_same_order(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    beck_bus *bus;
    beck_event events[100];
    char subjects[100][8];
    must(beck_bus_create(r, "wide", &(beck_bus_options){.partitions = 4}, &bus, &err));
    for (int i = 0; i < COUNT; i += 100) {
        for (int k = 0; k < 100; k++) {
            snprintf(subjects[k], sizeof subjects[k], "s%d", k % 17);
            events[k] = (beck_event){.type = beck_str(k % 3 ? "a.x" : "b"),
                                     .subject = beck_str(subjects[k]),
                                     .time_ns = 1700000000000000000 + (i + k) * 1000000LL,
                                     .data = beck_str("{\"some\":\"data\"}")};
        }
        must(beck_publish_many(bus, events, 100, NULL, NULL, &err));
    }
    beck_read_options o = {.from = {.kind = BECK_FROM_EARLIEST}};
    assert_int_equal(compare_readings("wide", &o), COUNT);
    o.pattern = "a.*";
    assert_int_equal(compare_readings("wide", &o), COUNT / 100 * 66);
    o.subject = beck_str("s3");
    assert_true(compare_readings("wide", &o) > 100);
    o = (beck_read_options){.from = {.kind = BECK_FROM_OFFSET, .offset = 500},
                            .partition_plus_1 = 2};
    assert_true(compare_readings("wide", &o) > 100);
    o = (beck_read_options){.from = {.kind = BECK_FROM_TIME, .time_ms = 1700000002000},
                            .until_time_ms = 1700000003000};
    assert_int_equal(compare_readings("wide", &o), 1000);
    o = (beck_read_options){.from = {.kind = BECK_FROM_TIME, .time_ms = INT64_MAX}};
    assert_int_equal(compare_readings("wide", &o), 0);
    assert_int_equal(compare_readings("wide", &(beck_read_options){0}), 0);
}

static void a_bounded_reader_ends_where_the_bus_ended_when_it_was_opened(void **state)
{
    (void)state;
    beck_reader *reader;
    const beck_event *e;
    beck_read_options o = {.from = {.kind = BECK_FROM_EARLIEST}};
    for (int i = 0; i < 100; i++)
        publish(r, "orders", "a", NULL, "1");
    must(beck_reader_open(any_bus(r), &o, &reader, &err));
    for (int i = 0; i < 100; i++) {
        publish(r, "orders", "b", NULL, "1");
        must(beck_reader_next(reader, 0, &e, &err));
        assert_int_equal(e->position.offset, i);
    }
    assert_int_equal(beck_reader_next(reader, 0, &e, NULL), BECK_END);
    beck_reader_close(reader);
}

static void following_waits_for_what_comes(void **state)
{
    (void)state;
    beck_reader *reader;
    const beck_event *e;
    publish(r, "orders", "old", NULL, "1");
    must(beck_reader_open(any_bus(r), &(beck_read_options){.follow = true}, &reader, &err));
    assert_int_equal(beck_reader_next(reader, 0, &e, NULL), BECK_ETIMEDOUT);
    assert_int_equal(beck_reader_next(reader, 20, &e, NULL), BECK_ETIMEDOUT);
    for (int i = 0; i < 20; i++) {
        publish(i % 2 ? w.b : r, "orders", "new", NULL, "1");
        must(beck_reader_next(reader, -1, &e, &err));
        assert_int_equal(e->position.offset, 1 + i);
    }
    must(beck_bus_delete(r, "orders", &err));
    assert_int_equal(beck_reader_next(reader, -1, &e, NULL), BECK_ECLOSED);
    beck_reader_close(reader);
    /* Nothing that comes before a time that is over. */
    must(beck_bus_create(r, "orders", NULL, NULL, &err));
    beck_read_options o = {.follow = true, .until_time_ms = clock_wall_ms(clock_system()) + 30};
    must(beck_reader_open(any_bus(r), &o, &reader, &err));
    assert_int_equal(beck_reader_next(reader, -1, &e, NULL), BECK_END);
    beck_reader_close(reader);
}

/* Ends engine and server in order, has a byte of the log changed, and begins anew. */
static void damage(const char *bus, long at)
{
    char path[160];
    http_stop(w.h);
    access_close(w.access);
    beck_close(w.b);
    close(w.listen_fd);
    close(w.unix_fd);
    snprintf(path, sizeof path, "%s/%s-0/00000000000000000000.log", w.dir, bus);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    assert_int_equal(fclose(file), 0);
    must(beck_open(&w.b, &(beck_options){.data_dir = w.dir}, &err));
    must(access_open(w.b, &(struct access_settings){.anonymous_loopback = true}, &w.access, &err));
    w.context.b = w.b;
    w.context.access = w.access;
    world_serve(&w);
}

static void readers_tell_damage_and_go_on_behind_it(void **state)
{
    (void)state;
    beck_reader *reader;
    const beck_event *e;
    beck_error texts[2];
    beck_read_options o = {.from = {.kind = BECK_FROM_EARLIEST}};
    int64_t damaged = -1;
    bool seen[2][100] = {0};
    beck_bus_info info;
    must(beck_bus_create(r, "shop", &(beck_bus_options){.segment_bytes = 4096}, NULL, &err));
    for (int i = 0; i < 100; i++)
        publish(r, "shop", "a", NULL, "{\"some\":\"data\"}");
    must(beck_bus_info_get(bus_of(r, "shop"), &info, &err));
    assert_int_equal(info.bytes % 100, 0);
    /* In the first segment, of several: the record of the batch of the eleventh event. */
    damage("shop", (long)(info.bytes / 100 * 10 + 70));
    for (int side = 0; side < 2; side++) {
        int told = 0;
        int64_t next = 0;
        must(beck_reader_open(bus_of(side ? r : w.b, "shop"), &o, &reader, &err));
        for (beck_status status = BECK_OK; status != BECK_END;) {
            beck_error why;
            status = beck_reader_next(reader, 0, &e, &why);
            if (status == BECK_ECORRUPT) {
                told++;
                damaged = next;
                texts[side] = why;
            } else if (!status) {
                seen[side][e->position.offset] = true;
                next = e->position.offset + 1;
            }
        }
        assert_int_equal(told, 1);
        assert_int_equal(next, 100);
        beck_reader_close(reader);
    }
    assert_string_equal(texts[0].text, texts[1].text);
    assert_memory_equal(seen[0], seen[1], sizeof seen[0]);
    /* Also when it is the first thing that there is. */
    o.from = (beck_from){.kind = BECK_FROM_OFFSET, .offset = damaged};
    must(beck_reader_open(bus_of(r, "shop"), &o, &reader, &err));
    assert_int_equal(beck_reader_next(reader, 0, &e, NULL), BECK_ECORRUPT);
    must(beck_reader_next(reader, 0, &e, &err));
    assert_true(e->position.offset > damaged && seen[0][e->position.offset]);
    beck_reader_close(reader);
}

/* ---- consuming ---- */

static beck_delivery take_one(beck_consumer *c)
{
    beck_delivery d;
    size_t count;
    must(beck_take(c, &d, 1, -1, &count, &err));
    return d;
}

static void deliveries_are_settled_retried_returned_and_rejected(void **state)
{
    (void)state;
    beck_consumer *c;
    beck_delivery d[3], one;
    size_t count;
    beck_queue_info info;
    make_queue("q", "orders", &(beck_queue_options){.backoff.kind = BECK_BACKOFF_NONE});
    for (int i = 0; i < 4; i++)
        publish(r, "orders", "a", NULL, "{ \"some\":\n \"data\" }");
    must(beck_consumer_open(r, "q", 3, &c, &err));
    must(beck_queue_info_get(r, "q", &info, &err));
    assert_int_equal(info.consumers, 1);
    must(beck_take(c, d, 3, 0, &count, &err));
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(d[i].event->position.offset, i);
        assert_int_equal(d[i].attempt, 1);
        assert_true(bytes_equal_text(d[i].event->data, "{ \"some\":\n \"data\" }"));
    }
    beck_error said;
    assert_int_equal(beck_take(c, &one, 1, 0, &count, &said), BECK_ELIMIT);
    assert_non_null(strstr(said.text, "holds 3 deliveries"));
    must(beck_extend(c, d[1].tag, &err));
    must(beck_settle(c, &d[0].tag, 1, &err));
    assert_int_equal(beck_settle(c, &d[0].tag, 1, &said), BECK_ESTALE);
    assert_int_equal(beck_retry(c, d[1].tag, -2, NULL, &said), BECK_EINVAL);
    must(beck_retry(c, d[1].tag, -1, "not \"yet\"\n", &err));
    one = take_one(c);
    assert_int_equal(one.event->position.offset, 1);
    assert_int_equal(one.attempt, 2);
    must(beck_return(c, one.tag, &err));
    one = take_one(c);
    assert_int_equal(one.attempt, 2); /* a return does not count */
    assert_true(one.redelivered);
    must(beck_reject(c, one.tag, "no use", &err));
    must(beck_queue_info_get(r, "q", &info, &err));
    assert_int_equal(info.dead, 1);
    assert_int_equal(info.in_flight, 1);
    /* What is held comes again, and counts. */
    beck_consumer_close(c);
    must(beck_queue_info_get(r, "q", &info, &err));
    assert_int_equal(info.in_flight, 0);
    must(beck_consumer_open(r, "q", 3, &c, &err));
    one = take_one(c);
    assert_int_equal(one.event->position.offset, 2);
    assert_int_equal(one.attempt, 2);
    must(beck_take(c, d, 3, 0, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(beck_take(c, d, 3, 10, &count, &said), BECK_ETIMEDOUT);
    assert_string_equal(said.text, "nothing came to queue \"q\" in time");
    must(beck_queue_delete(r, "q", &err));
    assert_int_equal(beck_take(c, d, 3, -1, &count, &said), BECK_ECLOSED);
    beck_consumer_close(c);
}

static void what_a_silent_consumer_holds_stays_its_own(void **state)
{
    (void)state;
    beck_consumer *c;
    int64_t idle_ns = 1500000000;
    beck_close(r);
    world_close(&w);
    world_open(&w);
    w.settings = (struct http_settings){.idle_timeout_ms = 1000, .request_timeout_ms = 100};
    world_serve(&w);
    reach();
    make_queue("q", "orders", NULL);
    publish(r, "orders", "a", NULL, "1");
    must(beck_consumer_open(r, "q", 0, &c, &err));
    beck_delivery d = take_one(c);
    /* Others come and go meanwhile: a connection that holds nothing does not last. */
    int fd = dial_unix(&w);
    char byte;
    int64_t since = clock_mono_ns(clock_system());
    assert_int_equal(read(fd, &byte, 1), 0);
    close(fd);
    while (clock_mono_ns(clock_system()) < since + idle_ns)
        publish(r, "orders", "b", NULL, "1");
    must(beck_settle(c, &d.tag, 1, &err));
    beck_consumer_close(c);
}

static void late_deliveries_are_stale(void **state)
{
    (void)state;
    beck_consumer *c;
    make_queue("q", "orders", &(beck_queue_options){.deadline_ms = 20});
    publish(r, "orders", "a", NULL, "1");
    must(beck_consumer_open(r, "q", 0, &c, &err));
    beck_delivery d = take_one(c);
    beck_queue_info info = {.in_flight = 1};
    while (info.in_flight > 0)
        must(beck_queue_info_get(r, "q", &info, &err));
    assert_int_equal(beck_settle(c, &d.tag, 1, NULL), BECK_ESTALE);
    beck_consumer_close(c);
}

struct waking {
    beck_consumer *consumer;
    sem_t begun;
    beck_status status;
};

static void *wait_for_delivery(void *arg)
{
    struct waking *k = arg;
    beck_delivery d;
    size_t count;
    sem_post(&k->begun);
    k->status = beck_take(k->consumer, &d, 1, -1, &count, NULL);
    return NULL;
}

static void a_waiting_consumer_is_woken(void **state)
{
    (void)state;
    make_queue("q", "orders", &(beck_queue_options){.attempts_max = 1});
    for (int i = 0; i < 20; i++) {
        struct waking k;
        pthread_t thread;
        sem_init(&k.begun, 0, 0);
        must(beck_consumer_open(r, "q", 0, &k.consumer, &err));
        assert_int_equal(pthread_create(&thread, NULL, wait_for_delivery, &k), 0);
        sem_wait(&k.begun);
        beck_consumer_wake(k.consumer);
        pthread_join(thread, NULL);
        assert_int_equal(k.status, BECK_ECLOSED);
        /* What the server gave to the request that still waits was not delivered. */
        publish(r, "orders", "a", NULL, "1");
        beck_consumer_close(k.consumer);
        beck_queue_info info;
        must(beck_queue_info_get(r, "q", &info, &err));
        assert_int_equal(info.ready, 1);
        assert_int_equal(info.dead, 0);
        must(beck_queue_purge(r, "q", NULL, &err));
    }
    /* The next take, when none waits; and one wake ends one take. */
    beck_consumer *c;
    beck_delivery d;
    size_t count;
    publish(r, "orders", "a", NULL, "1");
    must(beck_consumer_open(r, "q", 0, &c, &err));
    beck_consumer_wake(c);
    assert_int_equal(beck_take(c, &d, 1, -1, &count, NULL), BECK_ECLOSED);
    d = take_one(c);
    assert_int_equal(d.attempt, 1);
    beck_consumer_close(c);
}

struct job {
    _Atomic(int) handled;
    sem_t all;
    int wanted;
};

static int handle(void *ctx, const beck_delivery *d, char *why)
{
    struct job *job = ctx;
    if (d->attempt == 1 && d->event->position.offset % 7 == 0) {
        snprintf(why, 256, "later");
        return BECK_RETRY;
    }
    assert_ptr_equal(beck_current(r), d->event);
    beck_event effect = {.type = beck_str("effect"), .data = d->event->data};
    must(beck_publish(bus_of(r, "effects"), &effect, &err));
    if (atomic_fetch_add(&job->handled, 1) + 1 == job->wanted)
        sem_post(&job->all);
    return BECK_SETTLE;
}

static void workers_handle_each_once_and_their_effects_name_the_cause(void **state)
{
    (void)state;
    struct job job = {.wanted = 300};
    beck_workers *workers;
    sem_init(&job.all, 0, 0);
    must(beck_bus_create(r, "effects", NULL, NULL, &err));
    make_queue("q", "orders", &(beck_queue_options){.backoff.kind = BECK_BACKOFF_NONE});
    for (int i = 0; i < job.wanted; i++)
        publish(r, "orders", "a", NULL, "1");
    must(beck_workers_start(r, "q", handle, &job, &(beck_worker_options){.threads = 3}, &workers,
                            &err));
    sem_wait(&job.all);
    beck_workers_stop(workers);
    beck_queue_info info;
    must(beck_queue_info_get(r, "q", &info, &err));
    assert_int_equal(info.ready + info.in_flight + info.delayed + info.dead, 0);
    assert_int_equal(info.settled, job.wanted);
    beck_reader *reader;
    const beck_event *e;
    beck_read_options o = {.from = {.kind = BECK_FROM_EARLIEST}};
    must(beck_reader_open(bus_of(r, "effects"), &o, &reader, &err));
    for (int i = 0; i < job.wanted; i++) {
        must(beck_reader_next(reader, 0, &e, &err));
        assert_memory_equal(e->causationid.data, "orders/0/", 9);
        assert_true(bytes_equal(e->causationid, e->correlationid));
    }
    assert_int_equal(beck_reader_next(reader, 0, &e, NULL), BECK_END);
    beck_reader_close(reader);
}

/* ---- dead letters, peeking, metrics ---- */

struct letters {
    int count;
    int64_t offsets[500];
};

static int note_letter(void *ctx, const beck_dead *dead)
{
    struct letters *l = ctx;
    assert_string_equal(dead->reason, "rejected");
    assert_int_equal(dead->attempts, 1);
    assert_true(dead->died_ms > 0);
    assert_int_equal(dead->origin.offset, l->count);
    assert_true(bytes_equal_text(dead->event->bus, "orders"));
    assert_non_null(strstr(dead->history, "\"why\":\"no \\\"good\\\"\""));
    l->offsets[l->count++] = dead->event->position.offset;
    return 0;
}

static int count_event(void *ctx, const beck_event *event)
{
    int *count = ctx;
    assert_int_equal(event->position.offset, *count);
    ++*count;
    return 0;
}

static void note_text(void *ctx, const char *text, size_t len)
{
    struct buf *out = ctx;
    assert_int_equal(buf_append(out, text, len), BECK_OK);
}

static void dead_letters_are_listed_put_back_and_removed(void **state)
{
    (void)state;
    enum { COUNT = 450 }; /* more than one page */
    static struct letters ours, theirs;
    beck_consumer *c;
    int peeked = 0;
    ours = theirs = (struct letters){0};
    make_queue("q", "orders", NULL);
    for (int i = 0; i < COUNT; i++)
        publish(w.b, "orders", "a", NULL, "1");
    must(beck_queue_peek(r, "q", 7, count_event, &peeked, &err));
    assert_int_equal(peeked, 7);
    peeked = 0;
    must(beck_queue_peek(r, "q", 1000000, count_event, &peeked, &err));
    assert_int_equal(peeked, COUNT);
    must(beck_consumer_open(r, "q", 1, &c, &err));
    for (int i = 0; i < COUNT; i++)
        must(beck_reject(c, take_one(c).tag, "no \"good\"", &err));
    beck_consumer_close(c);
    must(beck_dead_list(w.b, "q", 0, note_letter, &ours, &err));
    must(beck_dead_list(r, "q", 0, note_letter, &theirs, &err));
    assert_int_equal(theirs.count, COUNT);
    assert_memory_equal(&ours, &theirs, sizeof ours);
    theirs = (struct letters){0};
    must(beck_dead_list(r, "q", 3, note_letter, &theirs, &err));
    assert_int_equal(theirs.count, 3);
    int64_t count = 0;
    must(beck_dead_redrive(r, "q", theirs.offsets[1], &count, &err));
    assert_int_equal(count, 1);
    must(beck_dead_purge(r, "q", theirs.offsets[0], &count, &err));
    assert_int_equal(count, 1);
    must(beck_dead_redrive(r, "q", -1, &count, &err));
    assert_int_equal(count, COUNT - 2);
    struct buf text;
    buf_init(&text, 1 << 22);
    must(beck_metrics(r, note_text, &text, &err));
    must(buf_terminate(&text));
    assert_non_null(strstr((char *)text.data, "beck_queue_ready{queue=\"q\"} 449\n"));
    buf_release(&text);
}

/* ---- the server goes away ---- */

static void a_server_that_was_started_again_is_found_and_what_was_held_is_stale(void **state)
{
    (void)state;
    beck_consumer *c;
    beck_error said;
    make_queue("q", "orders", NULL);
    publish(r, "orders", "a", NULL, "1");
    must(beck_consumer_open(r, "q", 0, &c, &err));
    beck_delivery d = take_one(c);
    beck_bus *bus = any_bus(r);
    world_reopen(&w);
    assert_int_equal(beck_settle(c, &d.tag, 1, &said), BECK_ESTALE);
    beck_delivery again = take_one(c);
    assert_int_equal(again.event->position.offset, 0);
    must(beck_settle(c, &again.tag, 1, &err));
    beck_event e = {.type = beck_str("a")};
    beck_published out;
    must(beck_publish_many(bus, &e, 1, NULL, &out, &err));
    assert_int_equal(out.position.offset, 1);
    beck_consumer_close(c);
}

static void what_cannot_be_done_through_a_server_says_so(void **state)
{
    (void)state;
    beck_error said;
    beck *alone;
    beck_listener *listener;
    beck_options o = {.data_dir = w.dir};
    assert_int_equal(beck_open(&alone, &o, &said), BECK_EBUSY);
    assert_int_equal(beck_subscribe(any_bus(r), "#", (beck_listener_fn)(void (*)(void))abort, NULL,
                                    NULL, &listener, &said),
                     BECK_EUNSUPPORTED);
    assert_non_null(strstr(said.text, "follow"));
    assert_int_equal(beck_verify(w.dir, NULL, NULL, NULL, &said), BECK_EBUSY);
    assert_non_null(strstr(said.text, "a server is running"));
    /* For inspection: what reads works, nothing else does. */
    o.connect = o.read_only = true;
    must(beck_open(&alone, &o, &err));
    assert_true(beck_is_connected(alone));
    publish(r, "orders", "a", NULL, "1");
    beck_bus_info info;
    must(beck_bus_info_get(any_bus(alone), &info, &err));
    assert_int_equal(info.events, 1);
    beck_event e = {.type = beck_str("a")};
    assert_int_equal(beck_publish(any_bus(alone), &e, &said), BECK_EINVAL);
    assert_int_equal(beck_bus_create(alone, "x", NULL, NULL, &said), BECK_EINVAL);
    assert_int_equal(beck_queue_create(alone, "x", NULL, &said), BECK_EUNSUPPORTED);
    beck_close(alone);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(errors_keep_code_and_text),
        TEST(buses_are_made_shown_and_deleted),
        TEST(queues_are_made_shown_steered_and_deleted),
        TEST(only_the_call_that_made_a_queue_is_told_so),
        TEST(what_is_published_is_stored_as_given),
        TEST(completions_come_in_order_and_before_what_is_published_next),
        TEST(completions_end_each_by_itself_and_keep_the_order_of_subjects),
        TEST(readers_give_the_same_in_the_same_order),
        TEST(a_bounded_reader_ends_where_the_bus_ended_when_it_was_opened),
        TEST(following_waits_for_what_comes),
        TEST(readers_tell_damage_and_go_on_behind_it),
        TEST(deliveries_are_settled_retried_returned_and_rejected),
        TEST(what_a_silent_consumer_holds_stays_its_own),
        TEST(late_deliveries_are_stale),
        TEST(a_waiting_consumer_is_woken),
        TEST(workers_handle_each_once_and_their_effects_name_the_cause),
        TEST(dead_letters_are_listed_put_back_and_removed),
        TEST(a_server_that_was_started_again_is_found_and_what_was_held_is_stale),
        TEST(what_cannot_be_done_through_a_server_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
