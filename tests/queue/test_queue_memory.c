/* Queues of a handle without a data directory, and memory queues beside disk buses. */
#include "queue/world.h"

#include "log/block.h"
#include "queue/queue_impl.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>

static int count_threads(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void everything_works_without_a_disk_and_without_a_thread(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    int before = count_threads();
    world_start_in_memory(&w);
    beck_bus *bus = world_pair(
        &w, &(beck_queue_options){.attempts_max = 2,
                                  .backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 100}});
    assert_int_equal(count_threads(), before);
    for (int i = 0; i < 4; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_event later = {
        .type = beck_str("t"), .data = beck_str("later"), .deliver_at_ms = START_MS + HOUR};
    check_ok(beck_publish(bus, &later, err));
    beck_event soon = {
        .type = beck_str("t"), .data = beck_str("soon"), .expires_at_ms = START_MS + 50};
    check_ok(beck_publish(bus, &soon, err));
    check_counts(&w, "q", 5, 0, 1, 0);
    beck_consumer *c = world_consumer(&w, "q", 0);
    settle(c, take(c, "0"));
    check_ok(beck_reject(c, take(c, "1").tag, "no", err));
    check_ok(beck_retry(c, take(c, "2").tag, -1, "wait", err));
    check_ok(beck_return(c, take(c, "3").tag, err));
    check_counts(&w, "q", 2, 0, 2, 1);
    world_advance(&w, 100);
    drain(c, "2 3");
    check_counts(&w, "q", 0, 0, 1, 2);
    check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
    check_ok(beck_reject(c, take(c, "1").tag, "again", err));
    settle(c, take(c, "soon"));
    assert_int_equal(count_text(dead_letters(&w, "q", &all)->list[0].history, "\"attempt\""), 2);
    check_ok(beck_dead_purge(w.b, "q", -1, NULL, err));
    world_advance(&w, HOUR);
    drain(c, "later");
    check_counts(&w, "q", 0, 0, 0, 0);
    assert_int_equal(count_threads(), before);
    beck_consumer_close(c);
    world_end(&w);
}

static size_t used(void)
{
    return mallinfo2().uordblks;
}

static void a_handle_with_a_queue_is_small(void **state)
{
    struct world w;
    (void)state;
    size_t before = used();
    world_start_in_memory(&w);
    beck_bus *bus = world_pair(&w, NULL);
    beck_consumer *c = world_consumer(&w, "q", 0);
    put(bus, "t", "0");
    settle(c, take(c, "0"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (used() - before >= 100 * 1024)
        print_error("%zu bytes\n", used() - before);
    assert_true(used() - before < 100 * 1024);
#endif
    (void)before;
    beck_consumer_close(c);
    world_end(&w);
}

static void fill(beck_bus *bus, int count)
{
    char text[1000];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < count; i++) {
        beck_event e = {.type = beck_str("t"), .data = {text, sizeof text}};
        if (i % 3 == 0)
            e.deliver_at_ms = START_MS + DAY;
        check_ok(beck_publish(bus, &e, err));
    }
}

/* Memory of events goes with the last queue that needs them, by whichever way they leave. */
static void events_that_left_all_queues_take_no_memory(void **state)
{
    struct world w;
    enum { COUNT = 3000 };
    (void)state;
    world_start_in_memory(&w);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 1000});
    beck_consumer *c = world_consumer(&w, "q", 1000);
    fill(bus, 100);
    check_ok(beck_queue_purge(w.b, "q", NULL, err));
    size_t before = used();
    for (int way = 0; way < 5; way++) {
        int64_t n = 0;
        world_queue(&w, "r", NULL);
        world_bind(&w, "r", "b", "#", BECK_FROM_NOW);
        fill(bus, COUNT);
        beck_delivery d[256];
        size_t count = 0;
        check_ok(beck_take(c, d, 256, 0, &count, err));
        if (way == 0)
            check_ok(beck_queue_delete(w.b, "r", err));
        for (size_t i = 0; i < count; i++) {
            if (way == 1)
                check_ok(beck_reject(c, d[i].tag, NULL, err));
            else
                settle(c, d[i]);
        }
        check_ok(beck_queue_purge(w.b, "q", &n, err));
        assert_int_equal(n + (int64_t)count, COUNT);
        check_ok(beck_dead_purge(w.b, "q", -1, NULL, err));
        if (way == 2) {
            beck_consumer *held = world_consumer(&w, "r", 100);
            check_ok(beck_take(held, d, 100, 0, &count, err));
            check_ok(beck_queue_delete(w.b, "r", err));
            beck_consumer_close(held);
        } else if (way != 0) {
            check_ok(beck_queue_delete(w.b, "r", err));
        }
        check_counts(&w, "q", 0, 0, 0, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        size_t most = before + BLOCK_SPARE_BYTES + 300 * 1024;
        if (used() > most)
            print_error("way %d: %zu bytes more\n", way, used() - before);
        assert_true(used() < most);
#endif
    }
    (void)before;
    beck_consumer_close(c);
    world_end(&w);
}

/* Published by a few or by hundreds, small or larger than a block, and with some publishes refused in their middle:
 * what was said to be published comes, whole and in order. */
static void batches_of_any_size_come_whole(void **state)
{
    struct world w;
    enum { EVENTS = 300, ROUNDS = 400, LARGEST = 100000 };
    static beck_event events[EVENTS];
    static char data[LARGEST + 1];
    struct rng rng;
    uint64_t published = 0, taken = 0;
    (void)state;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 31 + i / 251);
    world_start_in_memory(&w);
    beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.event_bytes_max = LARGEST});
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
    beck_consumer *c = world_consumer(&w, "q", EVENTS);
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = 1 + rng_below(&rng, rng_below(&rng, 4) ? 8 : EVENTS);
        size_t most = rng_below(&rng, 8) ? 300 : 20000;
        bool too_large = rng_below(&rng, 5) == 0;
        char numbers[EVENTS][24];
        beck_error why = {0};
        for (size_t i = 0; i < count; i++) {
            snprintf(numbers[i], sizeof numbers[i], "%llu", (unsigned long long)(published + i));
            events[i] = (beck_event){.type = beck_str(rng_below(&rng, 9) ? "t" : "other.type"),
                                     .subject = beck_str(numbers[i]),
                                     .data = {data + rng_below(&rng, 50), rng_below(&rng, most)}};
        }
        if (too_large)
            events[rng_below(&rng, count)].data = (beck_bytes){data, LARGEST + 1};
        beck_status status = beck_publish_many(bus, events, count, NULL, NULL, &why);
        assert_int_equal(status, too_large ? BECK_ELIMIT : BECK_OK);
        published += too_large ? 0 : count;
        for (size_t got; !too_large && taken < published; taken += got) {
            beck_delivery d[EVENTS];
            check_ok(beck_take(c, d, EVENTS, 0, &got, err));
            for (size_t i = 0; i < got; i++) {
                const beck_event *e = d[i].event, *was = &events[count - (published - taken) + i];
                assert_true(bytes_equal(e->subject, was->subject));
                assert_true(bytes_equal(e->type, was->type));
                assert_true(bytes_equal(e->data, was->data));
                settle(c, d[i]);
            }
        }
    }
    assert_true(published > EVENTS && taken == published);
    check_counts(&w, "q", 0, 0, 0, 0);
    beck_consumer_close(c);
    world_end(&w);
}

static void what_does_not_go_together_is_refused(void **state)
{
    struct world w;
    (void)state;
    world_start_in_memory(&w);
    assert_int_equal(
        beck_queue_create(w.b, "q", &(beck_queue_options){.storage = BECK_STORAGE_DISK}, NULL),
        BECK_EINVAL);
    beck_bus *bus = world_bus(&w, "b", NULL);
    put(bus, "t", "lost");
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "#", BECK_FROM_EARLIEST); /* there is no history */
    put(bus, "t", "0");
    assert_int_equal(beck_queue_rewind(w.b, "q", NULL, NULL), BECK_EUNSUPPORTED);
    assert_int_equal(beck_bus_purge(bus, NULL), BECK_EUNSUPPORTED);
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0");
    beck_consumer_close(c);
    world_end(&w);
    world_start(&w, 1);
    world_bus(&w, "m", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    world_queue(&w, "q", NULL);
    assert_int_equal(beck_queue_bind(w.b, "q", &(beck_binding){.bus = "m"}, NULL), BECK_EINVAL);
    world_end(&w);
}

static void a_memory_queue_takes_from_memory_and_disk_buses_and_goes_with_the_handle(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *disk = world_bus(&w, "disk", NULL);
    beck_bus *memory = world_bus(&w, "memory", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    put(disk, "t", "0");
    world_queue(&w, "q", &(beck_queue_options){.storage = BECK_STORAGE_MEMORY});
    world_bind(&w, "q", "disk", "#", BECK_FROM_EARLIEST);
    world_bind(&w, "q", "memory", "#", BECK_FROM_NOW);
    put(memory, "t", "1");
    put(disk, "t", "2");
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "0 1 2");
    check_ok(beck_queue_unbind(w.b, "q", "memory", "#", err));
    check_ok(beck_queue_rewind(w.b, "q", &(beck_from){.kind = BECK_FROM_EARLIEST}, err));
    drain(c, "0 2");
    check_ok(upkeep_checkpoint(w.b, err));
    beck_consumer_close(c);
    world_reopen(&w);
    assert_int_equal(beck_queue_info_get(w.b, "q", &(beck_queue_info){0}, NULL), BECK_ENOENT);
    check_ok(beck_bus_delete(w.b, "disk", err));
    world_end(&w);
}

/* ---- waiting, with nobody but the waiters to watch the clock ---- */

struct waiter {
    beck_consumer *consumer;
    beck_status status;
    char text[16];
    uint32_t attempt;
};

static void *wait_for_one(void *arg)
{
    struct waiter *waiter = arg;
    beck_delivery d;
    size_t count;
    waiter->status = beck_take(waiter->consumer, &d, 1, -1, &count, NULL);
    if (!waiter->status) {
        snprintf(waiter->text, sizeof waiter->text, "%.*s", (int)d.event->data.len,
                 (const char *)d.event->data.data);
        waiter->attempt = d.attempt;
    }
    return NULL;
}

/* Until so many threads wait in take; nothing else moves the queue meanwhile. */
static void until_waiting(struct world *w, uint32_t takers)
{
    struct queue *q = handle_find_queue(w->b, "q");
    uint32_t n = 0;
    while (n < takers) {
        sched_yield();
        mutex_lock(&q->lock);
        n = q->takers;
        mutex_unlock(&q->lock);
    }
}

static void a_waiter_gets_what_a_silent_consumer_let_expire(void **state)
{
    struct world w;
    (void)state;
    for (int idle = 0; idle < 2; idle++) {
        world_start_in_memory(&w);
        beck_bus *bus = world_pair(
            &w, &(beck_queue_options){.deadline_ms = 1000, .backoff = {.kind = BECK_BACKOFF_NONE}});
        struct waiter waiters[2] = {{.consumer = world_consumer(&w, "q", 0)},
                                    {.consumer = world_consumer(&w, "q", 0)}};
        pthread_t threads[2];
        beck_consumer *silent = world_consumer(&w, "q", 0);
        if (!idle)
            put(bus, "t", "0");
        if (!idle)
            take(silent, "0");
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, wait_for_one, &waiters[i]), 0);
        until_waiting(&w, 2);
        if (idle) {
            /* One of the waiters takes it and falls silent; the other waits without knowing. */
            put(bus, "t", "0");
            until_waiting(&w, 1);
            while (info_of(&w, "q").in_flight == 0)
                sched_yield();
        }
        until_waiting(&w, idle ? 1 : 2);
        for (int i = 0; i < 3; i++)
            world_advance(&w, 500);
        if (!idle)
            put(bus, "t", "1"); /* for the one that did not get the first */
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(waiters[0].status, BECK_OK);
        assert_int_equal(waiters[1].status, BECK_OK);
        assert_true(waiters[0].attempt + waiters[1].attempt == 3);
        beck_consumer_close(silent);
        for (int i = 0; i < 2; i++)
            beck_consumer_close(waiters[i].consumer);
        world_end(&w);
    }
}

static void the_last_waiter_gets_a_delayed_event_when_its_time_comes(void **state)
{
    struct world w;
    (void)state;
    world_start_in_memory(&w);
    beck_bus *bus = world_pair(&w, NULL);
    struct waiter waiters[2] = {{.consumer = world_consumer(&w, "q", 0)},
                                {.consumer = world_consumer(&w, "q", 0)}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_one, &waiters[i]), 0);
    until_waiting(&w, 2);
    beck_event later = {
        .type = beck_str("t"), .data = beck_str("later"), .deliver_at_ms = START_MS + 1000};
    check_ok(beck_publish(bus, &later, err));
    put(bus, "t", "now");
    while (info_of(&w, "q").in_flight == 0)
        sched_yield();
    until_waiting(&w, 1);
    world_advance(&w, 1000);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(strcmp(waiters[0].text, "now") == 0, strcmp(waiters[1].text, "later") == 0);
    for (int i = 0; i < 2; i++)
        beck_consumer_close(waiters[i].consumer);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_works_without_a_disk_and_without_a_thread),
        cmocka_unit_test(a_handle_with_a_queue_is_small),
        cmocka_unit_test(events_that_left_all_queues_take_no_memory),
        cmocka_unit_test(batches_of_any_size_come_whole),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(a_memory_queue_takes_from_memory_and_disk_buses_and_goes_with_the_handle),
        cmocka_unit_test(a_waiter_gets_what_a_silent_consumer_let_expire),
        cmocka_unit_test(the_last_waiter_gets_a_delayed_event_when_its_time_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
