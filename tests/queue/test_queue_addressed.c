/* Events that are addressed to queues when they are published, and what other protocols keep beside
 * them. */
#include "queue/world.h"

#include "log/partition_impl.h"
#include "queue/queue_impl.h"

#include <pthread.h>

#define QUEUES_MAX 100

static struct queue *queue_of(struct world *w, const char *name)
{
    struct queue *q = handle_find_queue(w->b, name);
    assert_non_null(q);
    return q;
}

static void join(struct world *w, const char *queue, beck_bus *bus)
{
    check_ok(handle_join(w->b, queue_of(w, queue), bus, err));
}

/* To the queues with these names, separated by spaces. */
static beck_status send_with(struct world *w, beck_bus *bus, const char *type, const char *text,
                             const char *names, const char *content, beck_error *err)
{
    struct queue *queues[QUEUES_MAX];
    char copy[1024], *rest = copy, *name;
    struct bus_addressed to = {.queues = queues, .content = beck_str(content)};
    snprintf(copy, sizeof copy, "%s", names);
    while ((name = strtok_r(rest, " ", &rest)))
        queues[to.queue_count++] = queue_of(w, name);
    beck_event e = {.type = beck_str(type), .data = beck_str(text)};
    return bus_publish_addressed(bus, &e, &to, 1, NULL, NULL, err);
}

static void send(struct world *w, beck_bus *bus, const char *text, const char *names)
{
    check_ok(send_with(w, bus, "t", text, names, "", err));
}

static void drain_queue(struct world *w, const char *queue, const char *texts)
{
    beck_consumer *c = world_consumer(w, queue, 0);
    drain(c, texts);
    beck_consumer_close(c);
}

/* A handle on disk; bus "b", queues "q" and "r" that joined it. */
static beck_bus *start_joined(struct world *w, const beck_queue_options *options)
{
    world_start(w, 1);
    beck_bus *bus = world_bus(w, "b", &(beck_bus_options){.segment_bytes = 4096});
    world_queue(w, "q", options);
    world_queue(w, "r", options);
    join(w, "q", bus);
    join(w, "r", bus);
    return bus;
}

/* ---- who gets what ---- */

static void an_addressed_event_goes_to_its_queues_only(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        if (memory)
            world_start_in_memory(&w);
        else
            world_start(&w, 1);
        beck_bus *bus = world_bus(&w, "b", NULL);
        world_queue(&w, "q", NULL);
        world_queue(&w, "r", NULL);
        world_queue(&w, "s", NULL);
        join(&w, "q", bus);
        join(&w, "r", bus);
        send(&w, bus, "1", "q");
        send(&w, bus, "2", "q r");
        send(&w, bus, "3", "");
        send(&w, bus, "4", "r");
        send(&w, bus, "5", "r s"); /* which has not joined */
        put(bus, "t", "6");
        drain_queue(&w, "q", "1 2");
        drain_queue(&w, "r", "2 4 5");
        check_counts(&w, "s", 0, 0, 0, 0);
        world_end(&w);
    }
}

static void a_queue_that_is_matched_and_addressed_gets_it_once(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        if (memory)
            world_start_in_memory(&w);
        else
            world_start(&w, 1);
        beck_bus *bus = world_pair(&w, NULL);
        world_queue(&w, "r", NULL);
        join(&w, "q", bus);
        join(&w, "r", bus);
        send(&w, bus, "1", "q r");
        send(&w, bus, "2", "r q q r"); /* named twice */
        put(bus, "t", "3");
        if (!memory) {
            check_ok(beck_queue_rewind(w.b, "q", &(beck_from){.kind = BECK_FROM_EARLIEST}, err));
            world_kill(&w);
        }
        drain_queue(&w, "q", "1 2 3");
        drain_queue(&w, "r", "1 2");
        world_end(&w);
    }
}

static void many_queues_get_each_event_in_order(void **state)
{
    enum { EVENTS = 700 };
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        struct queue *queues[QUEUES_MAX];
        static beck_event events[EVENTS];
        static char texts[EVENTS][8];
        static struct bus_addressed to[EVENTS];
        world_start(&w, 1);
        beck_storage storage = memory ? BECK_STORAGE_MEMORY : BECK_STORAGE_DISK;
        beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.storage = storage});
        for (int i = 0; i < QUEUES_MAX; i++) {
            char name[8];
            snprintf(name, sizeof name, "q%d", i);
            world_queue(&w, name, &(beck_queue_options){.storage = storage});
            join(&w, name, bus);
            queues[i] = queue_of(&w, name);
        }
        /* Those of event i: from i % 90 on, i % 11 of them. */
        for (int i = 0; i < EVENTS; i++) {
            snprintf(texts[i], sizeof texts[i], "%d", i);
            events[i] = (beck_event){.type = beck_str("t"), .data = beck_str(texts[i])};
            to[i] =
                (struct bus_addressed){.queues = queues + i % 90, .queue_count = (size_t)(i % 11)};
        }
        check_ok(bus_publish_addressed(bus, events, to, EVENTS, NULL, NULL, err));
        for (int k = 0; k < QUEUES_MAX; k++) {
            beck_consumer *c = world_consumer(&w, queue_name(queues[k]), 0);
            for (int i = 0; i < EVENTS; i++)
                if (k >= i % 90 && k < i % 90 + i % 11)
                    settle(c, take(c, texts[i]));
            take_nothing(c);
            beck_consumer_close(c);
        }
        if (memory)
            assert_int_equal(bus_partition(bus, 0)->tail.blocks[0]->owed, 0);
        world_end(&w);
    }
}

static void partitions_keep_their_events_addresses(void **state)
{
    enum { EVENTS = 60 };
    struct world w;
    struct queue *queues[2];
    beck_event events[EVENTS];
    struct bus_addressed to[EVENTS];
    char texts[EVENTS][8], subjects[EVENTS][8];
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.partitions = 4});
    for (int i = 0; i < 2; i++) {
        world_queue(&w, i ? "r" : "q", NULL);
        join(&w, i ? "r" : "q", bus);
        queues[i] = queue_of(&w, i ? "r" : "q");
    }
    for (int i = 0; i < EVENTS; i++) {
        snprintf(texts[i], sizeof texts[i], "%d", i);
        snprintf(subjects[i], sizeof subjects[i], "s%d", i % 7);
        events[i] = (beck_event){
            .type = beck_str("t"), .subject = beck_str(subjects[i]), .data = beck_str(texts[i])};
        to[i] = (struct bus_addressed){
            .queues = queues + i % 2, .queue_count = 1, .content = beck_str(texts[i])};
    }
    check_ok(bus_publish_addressed(bus, events, to, EVENTS, NULL, NULL, err));
    world_kill(&w);
    for (int k = 0; k < 2; k++) {
        beck_consumer *c = world_consumer(&w, k ? "r" : "q", 0);
        for (int n = 0; n < EVENTS / 2; n++) {
            beck_delivery d = take(c, NULL);
            assert_int_equal(atoi(d.event->data.data) % 2, k);
            assert_true(bytes_equal(consumer_carried(c, d.tag), d.event->data));
            settle(c, d);
        }
        take_nothing(c);
        beck_consumer_close(c);
    }
    world_end(&w);
}

static void what_is_deduplicated_is_not_given_again(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.dedup_window_ms = 60000});
    world_queue(&w, "q", NULL);
    join(&w, "q", bus);
    struct queue *q = queue_of(&w, "q");
    struct bus_addressed to[2] = {{.queues = &q, .queue_count = 1},
                                  {.queues = &q, .queue_count = 1}};
    beck_event e[2] = {{.type = beck_str("t"), .id = beck_str("1"), .data = beck_str("a")},
                       {.type = beck_str("t"), .id = beck_str("1"), .data = beck_str("b")}};
    beck_published out;
    check_ok(bus_publish_addressed(bus, e, to, 2, NULL, &out, err));
    assert_int_equal(out.duplicates, 1);
    check_ok(bus_publish_addressed(bus, e, to, 1, NULL, &out, err));
    assert_int_equal(out.duplicates, 1);
    drain_queue(&w, "q", "a");
    assert_int_equal(atomic_load(&q->admitted), 0);
    assert_int_equal(atomic_load(&q->admitted_bytes), 0);
    world_end(&w);
}

static void a_queue_that_was_deleted_meanwhile_keeps_nothing(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        if (memory)
            world_start_in_memory(&w);
        else
            world_start(&w, 1);
        beck_bus *bus = world_bus(&w, "b", NULL);
        world_queue(&w, "q", NULL);
        world_queue(&w, "r", NULL);
        join(&w, "q", bus);
        join(&w, "r", bus);
        struct queue *queues[] = {queue_retain(queue_of(&w, "q")), queue_of(&w, "r")};
        check_ok(beck_queue_delete(w.b, "q", err));
        world_queue(&w, "q", NULL);
        join(&w, "q", bus);
        assert_true(queue_number(queue_of(&w, "q")) != queue_number(queues[0]));
        struct bus_addressed to = {.queues = queues, .queue_count = 2};
        beck_event e = {.type = beck_str("t"), .data = beck_str("1")};
        check_ok(bus_publish_addressed(bus, &e, &to, 1, NULL, NULL, err));
        queue_release(queues[0]);
        if (!memory)
            world_kill(&w);
        check_counts(&w, "q", 0, 0, 0, 0);
        drain_queue(&w, "r", "1");
        if (memory)
            assert_int_equal(bus_partition(bus, 0)->tail.blocks[0]->owed, 0);
        world_end(&w);
    }
}

static void one_that_refuses_refuses_all(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    world_queue(&w, "q", &(beck_queue_options){.length_max = 1, .overflow = BECK_OVERFLOW_REFUSE});
    world_queue(&w, "r", NULL);
    join(&w, "q", bus);
    join(&w, "r", bus);
    send(&w, bus, "1", "r q");
    assert_int_equal(send_with(&w, bus, "t", "2", "r q", "", NULL), BECK_ELIMIT);
    send(&w, bus, "3", "r");
    assert_int_equal(atomic_load(&queue_of(&w, "r")->admitted), 0);
    drain_queue(&w, "q", "1");
    drain_queue(&w, "r", "1 3");
    world_end(&w);
}

/* ---- what is kept beside an event ---- */

static void content_comes_back_and_is_no_attribute(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        if (memory)
            world_start_in_memory(&w);
        else
            world_start(&w, 1);
        beck_bus *bus =
            world_bus(&w, "b", &(beck_bus_options){.codec = memory ? 0 : BECK_CODEC_ZSTD});
        world_queue(&w, "q", &(beck_queue_options){.attempts_max = 1});
        join(&w, "q", bus);
        check_ok(send_with(&w, bus, "t", "1", "q", "kept byte for byte", err));
        send(&w, bus, "2", "q");
        beck_consumer *c = world_consumer(&w, "q", 0);
        beck_delivery d = take(c, "1");
        assert_int_equal(d.event->extension_count, 0);
        assert_true(text_is(consumer_carried(c, d.tag), "kept byte for byte"));
        if (memory)
            assert_non_null(consumer_block(c, d.tag));
        beck_delivery plain = take(c, "2");
        assert_int_equal(consumer_carried(c, plain.tag).len, 0);
        settle(c, plain);
        assert_int_equal(consumer_carried(c, plain.tag).len, 0);
        /* Its memory is not needed for what follows; it is in the dead letter nevertheless. */
        consumer_forget(c, &d.tag, 1);
        assert_null(consumer_block(c, d.tag));
        /* Also of a dead letter that is put back. */
        check_ok(beck_reject(c, d.tag, "no", err));
        check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
        d = take(c, "1");
        assert_true(text_is(consumer_carried(c, d.tag), "kept byte for byte"));
        settle(c, d);
        beck_consumer_close(c);
        world_end(&w);
    }
}

static void too_much_is_refused(void **state)
{
    struct world w;
    static char content[CARRIED_CONTENT_MAX + 1];
    (void)state;
    beck_bus *bus = start_joined(&w, NULL);
    struct queue *q = queue_of(&w, "q");
    struct queue **queues = calloc(CARRIED_QUEUES_MAX + 1, sizeof(struct queue *));
    for (int i = 0; i <= CARRIED_QUEUES_MAX; i++)
        queues[i] = q;
    struct bus_addressed to = {.queues = queues, .queue_count = CARRIED_QUEUES_MAX + 1};
    beck_event e = {.type = beck_str("t")};
    assert_int_equal(bus_publish_addressed(bus, &e, &to, 1, NULL, NULL, NULL), BECK_ELIMIT);
    to = (struct bus_addressed){
        .queues = queues, .queue_count = 1, .content = {content, sizeof content}};
    assert_int_equal(bus_publish_addressed(bus, &e, &to, 1, NULL, NULL, NULL), BECK_ELIMIT);
    to.content.len--;
    check_ok(bus_publish_addressed(bus, &e, &to, 1, NULL, NULL, err));
    check_counts(&w, "q", 1, 0, 0, 0);
    free(queues);
    world_end(&w);
}

/* ---- what lasts ---- */

static void addressed_events_outlast_every_end(void **state)
{
    (void)state;
    for (int how = 0; how < 6; how++) {
        struct world w;
        beck_bus *bus = start_joined(&w, NULL);
        uint64_t number = queue_number(queue_of(&w, "q"));
        send(&w, bus, "1", "q");
        if (how >= 3)
            check_ok(upkeep_checkpoint(w.b, err));
        send(&w, bus, "2", "r");
        send(&w, bus, "3", "q r");
        beck_consumer *c = world_consumer(&w, "q", 0);
        settle(c, take(c, "1"));
        beck_consumer_close(c);
        if (how % 3 == 2)
            check_ok(beck_sync(w.b, err));
        if (how % 3 == 0)
            world_reopen(&w);
        else if (how % 3 == 1)
            world_kill(&w);
        else
            world_crash(&w);
        assert_int_equal(queue_number(queue_of(&w, "q")), number);
        bus = world_get(&w, "b");
        send(&w, bus, "4", "q");
        drain_queue(&w, "q", "3 4");
        drain_queue(&w, "r", "2 3");
        world_end(&w);
    }
}

/* What each of many queues waits for is read once for all of them. */
static void many_queues_catch_up_with_what_is_theirs(void **state)
{
    enum { QUEUES = 40, EVENTS = 300 };
    static char expected[QUEUES][EVENTS];
    struct world w;
    struct rng rng;
    (void)state;
    rng_seed(&rng, 7);
    memset(expected, 0, sizeof expected);
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.segment_bytes = 4096});
    for (int k = 0; k < QUEUES; k++) {
        char name[8];
        snprintf(name, sizeof name, "q%d", k);
        world_queue(&w, name, NULL);
        if (k % 3 < 2)
            join(&w, name, bus);
        if (k % 3 > 0)
            world_bind(&w, name, "b", k % 2 ? "odd" : "even", BECK_FROM_NOW);
    }
    for (int i = 0; i < EVENTS; i++) {
        struct queue *queues[QUEUES];
        struct bus_addressed to = {.queues = queues};
        char text[8], name[8];
        snprintf(text, sizeof text, "%d", i);
        for (int k = 0; k < QUEUES; k++) {
            snprintf(name, sizeof name, "q%d", k);
            bool addressed = rng_below(&rng, 8) == 0;
            if (addressed)
                queues[to.queue_count++] = queue_of(&w, name);
            expected[k][i] = (addressed && k % 3 < 2) || (k % 3 > 0 && k % 2 == i % 2);
        }
        beck_event e = {.type = beck_str(i % 2 ? "odd" : "even"), .data = beck_str(text)};
        check_ok(bus_publish_addressed(bus, &e, &to, 1, NULL, NULL, err));
        if (i == 50)
            check_ok(upkeep_checkpoint(w.b, err));
        if (i == 100)
            check_ok(queue_snapshot(queue_of(&w, "q5"), err));
    }
    world_kill(&w);
    for (int k = 0; k < QUEUES; k++) {
        char name[8], text[8];
        snprintf(name, sizeof name, "q%d", k);
        beck_consumer *c = world_consumer(&w, name, 0);
        for (int i = 0; i < EVENTS; i++) {
            snprintf(text, sizeof text, "%d", i);
            if (expected[k][i])
                settle(c, take(c, text));
        }
        take_nothing(c);
        beck_consumer_close(c);
    }
    world_end(&w);
}

static void a_rewind_gives_what_was_addressed(void **state)
{
    struct world w;
    (void)state;
    beck_bus *bus = start_joined(&w, NULL);
    send(&w, bus, "1", "q");
    send(&w, bus, "2", "r");
    send(&w, bus, "3", "q r");
    drain_queue(&w, "q", "1 3");
    check_ok(beck_queue_rewind(w.b, "q", &(beck_from){.kind = BECK_FROM_EARLIEST}, err));
    world_kill(&w);
    bus = world_get(&w, "b");
    send(&w, bus, "4", "q");
    drain_queue(&w, "q", "1 3 4");
    drain_queue(&w, "r", "2 3");
    world_end(&w);
}

static int remember_name(void *ctx, const char *name, bool is_dir)
{
    char *out = ctx;
    if (!is_dir && strstr(name, ".fifo"))
        snprintf(out, 256, "data/__queues/q/%s", name);
    return 0;
}

static void a_damaged_list_is_made_again_from_the_addresses(void **state)
{
    struct world w;
    char path[256] = "";
    (void)state;
    beck_bus *bus = start_joined(&w, NULL);
    send(&w, bus, "1", "q");
    send(&w, bus, "2", "r");
    send(&w, bus, "333", "q r");
    check_ok(upkeep_checkpoint(w.b, err));
    check_ok(vfs_list(w.vfs, "data/__queues/q", remember_name, path, err));
    beck_close(w.b);
    check_ok(vfs_unlink(w.vfs, path, err));
    world_open(&w);
    assert_int_equal(queue_ready_bytes(queue_of(&w, "q")), 4);
    drain_queue(&w, "q", "1 333");
    drain_queue(&w, "r", "2 333");
    world_end(&w);
}

static void what_is_addressed_outlives_retention(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_bus(&w, "b", &(beck_bus_options){.segment_bytes = 4096, .retention_ms = 1});
    world_queue(&w, "q", NULL);
    join(&w, "q", bus);
    char text[64];
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "%d", i);
        send(&w, bus, text, i % 100 == 7 ? "q" : "");
        world_advance(&w, 10);
    }
    for (int i = 0; i < 3; i++) {
        world_advance(&w, HOUR);
        check_ok(upkeep_checkpoint(w.b, err));
        check_ok(upkeep_maintain(w.b, err));
    }
    assert_true(partition_first(bus_partition(bus, 0)) > 400);
    world_kill(&w);
    drain_queue(&w, "q", "7 107 207 307 407");
    world_end(&w);
}

static void an_older_queue_gets_a_number_when_it_joins(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    world_queue(&w, "q", NULL);
    beck_queue_options options = info_of(&w, "q").options;
    check_ok(
        topology_put_queue(w.b, "q", &options, false, 0, -1, err)); /* as it was written once */
    world_reopen(&w);
    bus = world_get(&w, "b");
    assert_false(queue_number_is_kept(queue_of(&w, "q")));
    join(&w, "q", bus);
    uint64_t number = queue_number(queue_of(&w, "q"));
    send(&w, bus, "1", "q");
    world_kill(&w);
    assert_int_equal(queue_number(queue_of(&w, "q")), number);
    assert_true(queue_number_is_kept(queue_of(&w, "q")));
    check_ok(beck_queue_pause(w.b, "q", true, err));
    check_ok(beck_queue_pause(w.b, "q", false, err));
    world_reopen(&w);
    assert_int_equal(queue_number(queue_of(&w, "q")), number);
    drain_queue(&w, "q", "1");
    world_end(&w);
}

/* ---- joining ---- */

static void a_memory_queue_joins_buses_of_both_kinds(void **state)
{
    struct world w;
    beck_bus *own;
    (void)state;
    world_start(&w, 1);
    beck_bus *disk = world_bus(&w, "b", NULL);
    check_ok(handle_own_bus(w.b, "__beck_own", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY},
                            &own, err));
    assert_int_equal(own->options.storage, BECK_STORAGE_MEMORY);
    world_queue(&w, "q", &(beck_queue_options){.storage = BECK_STORAGE_MEMORY});
    world_queue(&w, "durable", NULL);
    join(&w, "q", disk);
    join(&w, "q", own);
    join(&w, "durable", disk);
    assert_int_equal(handle_join(w.b, queue_of(&w, "durable"), own, NULL), BECK_EINVAL);
    send(&w, disk, "1", "q durable");
    send(&w, own, "2", "q");
    send(&w, disk, "3", "q");
    drain_queue(&w, "q", "1 2 3");
    world_reopen(&w);
    drain_queue(&w, "durable", "1");
    beck_bus *gone;
    assert_int_equal(beck_bus_get(w.b, "__beck_own", &gone, NULL), BECK_ENOENT);
    world_end(&w);
}

static int count_binding(void *ctx, const beck_binding *binding)
{
    (void)binding;
    ++*(int *)ctx;
    return 0;
}

static void joining_is_no_binding_that_others_see(void **state)
{
    struct world w;
    int seen = 0;
    (void)state;
    beck_bus *bus = start_joined(&w, NULL);
    join(&w, "q", bus); /* again */
    assert_int_equal(info_of(&w, "q").bindings, 0);
    check_ok(beck_queue_bindings(w.b, "q", count_binding, &seen, err));
    assert_int_equal(seen, 0);
    assert_int_equal(beck_queue_unbind(w.b, "q", "b", "", NULL), BECK_EINVAL);
    assert_int_equal(beck_bus_delete(w.b, "b", NULL), BECK_EBUSY);
    send(&w, bus, "1", "q");
    world_end(&w);
}

static void what_has_parted_gets_no_more_and_keeps_what_it_has(void **state)
{
    struct world w;
    (void)state;
    beck_bus *bus = start_joined(&w, NULL);
    send(&w, bus, "1", "q r");
    check_ok(handle_part(w.b, queue_of(&w, "q"), bus, err));
    check_ok(handle_part(w.b, queue_of(&w, "q"), bus, err));
    send(&w, bus, "2", "q r");
    check_counts(&w, "q", 1, 0, 0, 0);
    world_kill(&w);
    bus = world_get(&w, "b");
    send(&w, bus, "3", "q r");
    check_counts(&w, "q", 1, 0, 0, 0);
    join(&w, "q", bus);
    send(&w, bus, "4", "q");
    world_kill(&w);
    drain_queue(&w, "q", "1 4");
    check_ok(handle_part(w.b, queue_of(&w, "q"), world_get(&w, "b"), err));
    check_ok(handle_part(w.b, queue_of(&w, "r"), world_get(&w, "b"), err));
    check_ok(beck_bus_delete(w.b, "b", err));
    world_end(&w);
}

static void what_is_gone_is_not_joined(void **state)
{
    struct world w;
    (void)state;
    beck_bus *bus = start_joined(&w, NULL), *other = world_bus(&w, "other", NULL);
    struct queue *q = queue_retain(queue_of(&w, "q"));
    check_ok(beck_queue_delete(w.b, "q", err));
    assert_int_equal(handle_join(w.b, q, bus, NULL), BECK_ENOENT);
    queue_release(q);
    check_ok(beck_bus_delete(w.b, "other", err));
    assert_int_equal(handle_join(w.b, queue_of(&w, "r"), other, NULL), BECK_ECLOSED);
    world_end(&w);
}

/* ---- routers ---- */

struct plan {
    struct world *w;
    int asked;
    beck_status status;
};

/* Type "a" goes to q, "b" to r, "ab" to both. */
static beck_status route_by_letters(void *ctx, beck_bus *b, const beck_event *e,
                                    struct bus_router_out *out, beck_error *err)
{
    struct plan *p = ctx;
    (void)b;
    p->asked++;
    if (p->status)
        return error_set(err, p->status, "not now");
    beck_status status = BECK_OK;
    if (memchr(e->type.data, 'a', e->type.len))
        status = bus_router_add(out, queue_retain(queue_of(p->w, "q")));
    if (!status && memchr(e->type.data, 'b', e->type.len))
        status = bus_router_add(out, queue_retain(queue_of(p->w, "r")));
    return status;
}

static void a_router_addresses_what_others_publish(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        struct plan plan = {.w = &w};
        if (memory)
            world_start_in_memory(&w);
        else
            world_start(&w, 1);
        beck_bus *bus = world_bus(&w, "b", NULL);
        world_queue(&w, "q", NULL);
        world_queue(&w, "r", NULL);
        join(&w, "q", bus);
        join(&w, "r", bus);
        check_ok(bus_set_router(bus, route_by_letters, &plan, err));
        put(bus, "a", "1");
        put(bus, "b", "2");
        put(bus, "c", "3");
        beck_event many[30];
        for (int i = 0; i < 30; i++)
            many[i] = (beck_event){.type = beck_str(i % 3 ? "c" : "ab"), .data = beck_str("4")};
        check_ok(beck_publish_many(bus, many, 30, NULL, NULL, err));
        send(&w, bus, "5", "r"); /* knows itself where to */
        assert_int_equal(plan.asked, 33);
        plan.status = BECK_EDENIED;
        assert_int_equal(beck_publish(bus, &many[0], NULL), BECK_EDENIED);
        check_ok(bus_set_router(bus, NULL, NULL, err));
        put(bus, "a", "6");
        if (!memory)
            world_kill(&w);
        drain_queue(&w, "q", "1 4 4 4 4 4 4 4 4 4 4");
        drain_queue(&w, "r", "2 4 4 4 4 4 4 4 4 4 4 5");
        world_end(&w);
    }
}

/* ---- many threads ---- */

enum { PUBLISHERS = 3, EACH = 2000, LASTING = 3 };

struct publishing {
    beck_bus *bus;
    struct queue *queues[LASTING + 1]; /* the last is one that goes */
    int first;
};

static void *publish_to_all(void *arg)
{
    const struct publishing *p = arg;
    for (int i = 0; i < EACH; i += 4) {
        char texts[4][8];
        beck_event e[4];
        struct bus_addressed to[4];
        for (int n = 0; n < 4; n++) {
            snprintf(texts[n], sizeof texts[n], "%d", p->first + i + n);
            e[n] = (beck_event){.type = beck_str("t"), .data = beck_str(texts[n])};
            to[n] = (struct bus_addressed){
                .queues = p->queues, .queue_count = LASTING + 1, .content = beck_str(texts[n])};
        }
        beck_publish_options o = {.level = (beck_level)(1 + i / 4 % 2)};
        if (bus_publish_addressed(p->bus, e, to, 4, &o, NULL, NULL))
            abort();
    }
    return NULL;
}

static beck_status route_nowhere(void *ctx, beck_bus *b, const beck_event *e,
                                 struct bus_router_out *out, beck_error *err)
{
    (void)b, (void)out, (void)err, (void)e;
    atomic_fetch_add((_Atomic(int) *)ctx, 1);
    return BECK_OK;
}

static void *settle_all(void *arg)
{
    char *seen = calloc(1, (size_t)PUBLISHERS * EACH);
    struct queue *q = arg;
    int last[PUBLISHERS] = {-1, -1, -1};
    beck_consumer *c;
    if (!seen || consumer_open(q, 200, &c, NULL))
        abort();
    for (int left = PUBLISHERS * EACH; left > 0;) {
        beck_delivery d[64];
        uint64_t tags[64];
        size_t n = 0;
        if (consumer_take(c, d, 64, -1, &n, NULL))
            abort();
        for (size_t i = 0; i < n; i++) {
            int number = atoi(d[i].event->data.data), by = number / EACH;
            if (!bytes_equal(consumer_carried(c, d[i].tag), d[i].event->data) || seen[number]++ ||
                number <= last[by])
                abort();
            last[by] = number;
            tags[i] = d[i].tag;
        }
        if (consumer_settle(c, tags, n, NULL))
            abort();
        left -= (int)n;
    }
    consumer_close(c);
    free(seen);
    return NULL;
}

static void publishers_consumers_and_changes_at_once(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        pthread_t publishers[PUBLISHERS], consumers[LASTING];
        struct publishing p[PUBLISHERS];
        _Atomic(int) asked = 0;
        beck_storage storage = memory ? BECK_STORAGE_MEMORY : BECK_STORAGE_DISK;
        world_start(&w, 1);
        beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.storage = storage});
        struct publishing one = {.bus = bus};
        for (int i = 0; i <= LASTING; i++) {
            char name[8];
            snprintf(name, sizeof name, "q%d", i);
            world_queue(&w, name, &(beck_queue_options){.storage = storage, .deadline_ms = -1});
            join(&w, name, bus);
            one.queues[i] = queue_retain(queue_of(&w, name));
        }
        for (int i = 0; i < PUBLISHERS; i++) {
            p[i] = one;
            p[i].first = i * EACH;
            assert_int_equal(pthread_create(&publishers[i], NULL, publish_to_all, &p[i]), 0);
        }
        for (int i = 0; i < LASTING; i++)
            assert_int_equal(pthread_create(&consumers[i], NULL, settle_all, one.queues[i]), 0);
        for (int i = 0; i < 20; i++) {
            world_queue(&w, "x", &(beck_queue_options){.storage = storage});
            join(&w, "x", bus);
            check_ok(bus_set_router(bus, i % 2 ? route_nowhere : NULL, &asked, err));
            put(bus, "other", "x");
            check_ok(beck_queue_delete(w.b, i == 10 ? "q3" : "x", err));
            if (i == 10)
                check_ok(beck_queue_delete(w.b, "x", err));
        }
        for (int i = 0; i < PUBLISHERS; i++)
            pthread_join(publishers[i], NULL);
        for (int i = 0; i < LASTING; i++)
            pthread_join(consumers[i], NULL);
        assert_int_equal(asked, 10);
        for (int i = 0; i < LASTING; i++) {
            char name[8];
            snprintf(name, sizeof name, "q%d", i);
            check_counts(&w, name, 0, 0, 0, 0);
            assert_int_equal(queue_ready_bytes(one.queues[i]), 0);
        }
        for (int i = 0; i <= LASTING; i++)
            queue_release(one.queues[i]);
        if (memory)
            assert_int_equal(
                bus_partition(bus, 0)->tail.blocks[bus_partition(bus, 0)->tail.count - 1]->owed, 0);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_addressed_event_goes_to_its_queues_only),
        cmocka_unit_test(a_queue_that_is_matched_and_addressed_gets_it_once),
        cmocka_unit_test(many_queues_get_each_event_in_order),
        cmocka_unit_test(partitions_keep_their_events_addresses),
        cmocka_unit_test(what_is_deduplicated_is_not_given_again),
        cmocka_unit_test(a_queue_that_was_deleted_meanwhile_keeps_nothing),
        cmocka_unit_test(one_that_refuses_refuses_all),
        cmocka_unit_test(content_comes_back_and_is_no_attribute),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(addressed_events_outlast_every_end),
        cmocka_unit_test(many_queues_catch_up_with_what_is_theirs),
        cmocka_unit_test(a_rewind_gives_what_was_addressed),
        cmocka_unit_test(a_damaged_list_is_made_again_from_the_addresses),
        cmocka_unit_test(what_is_addressed_outlives_retention),
        cmocka_unit_test(an_older_queue_gets_a_number_when_it_joins),
        cmocka_unit_test(a_memory_queue_joins_buses_of_both_kinds),
        cmocka_unit_test(joining_is_no_binding_that_others_see),
        cmocka_unit_test(what_has_parted_gets_no_more_and_keeps_what_it_has),
        cmocka_unit_test(what_is_gone_is_not_joined),
        cmocka_unit_test(a_router_addresses_what_others_publish),
        cmocka_unit_test(publishers_consumers_and_changes_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
