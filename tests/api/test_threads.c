/*
 * Everything at once: publishers, listeners, readers, followers, workers, consumers, bindings, buses
 * and queues that come and go, checkpoints and maintenance, on one handle. Work is counted, not
 * timed. Most of what this shows, it shows under ThreadSanitizer.
 */
#include "common.h"

#include "api/handle.h"

#include <stdatomic.h>

#define PUBLISHERS 3
#define EACH 300
#define EVENTS (PUBLISHERS * EACH)

struct world {
    beck *b;
    beck_bus *shop, *hub;
    _Atomic(int) handled[EVENTS]; /* by the workers */
    _Atomic(int) done_calls, heard, reports;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int left; /* events that the workers have not handled yet */
    _Atomic(bool) over;
};

/* cmocka's checks end the test, which only the first thread may do. */
static void need(bool good, const char *what, const beck_error *err)
{
    if (good)
        return;
    fprintf(stderr, "failed: %s: %s\n", what, err ? err->text : "");
    abort();
}

#define NEED(call)                                                                                 \
    do {                                                                                           \
        beck_error err = {0};                                                                      \
        need((call) == BECK_OK, #call, &err);                                                      \
    } while (0)

static void on_report(void *ctx, const beck_error *error)
{
    struct world *w = ctx;
    fprintf(stderr, "reported: %s\n", error->text);
    atomic_fetch_add(&w->reports, 1);
}

/* ---- publishing and listening ---- */

static void on_done(void *ctx, beck_status status, const beck_published *published)
{
    struct world *w = ctx;
    (void)published;
    need(status == BECK_OK, "done", NULL);
    atomic_fetch_add(&w->done_calls, 1);
}

struct publisher {
    struct world *w;
    int number;
};

static void *publish_all(void *arg)
{
    const struct publisher *p = arg;
    for (int i = 0; i < EACH; i++) {
        char data[32], subject[16];
        snprintf(data, sizeof data, "%d", p->number * EACH + i);
        snprintf(subject, sizeof subject, "s%d", i % 11);
        beck_event e = event_of(i % 2 ? "t.odd" : "t.even", subject, data);
        beck_publish_options o = {.level = (beck_level)(1 + i % 3)};
        if (i % 10 == 0) {
            o.done = on_done;
            o.done_ctx = p->w;
        }
        /* A third by way of a listener of the memory bus. */
        if (i % 3 == 0)
            NEED(beck_publish(p->w->hub, &e, &err));
        else
            NEED(beck_publish_many(p->w->shop, &e, 1, &o, NULL, &err));
    }
    return NULL;
}

static int pass_on(void *ctx, const beck_event *e)
{
    struct world *w = ctx;
    beck_event copy = *e;
    copy.source = (beck_bytes){0};
    NEED(beck_publish(w->shop, &copy, &err));
    return 0;
}

static int hear(void *ctx, const beck_event *e)
{
    struct world *w = ctx;
    need(beck_current(w->b) == e, "current", NULL);
    atomic_fetch_add(&w->heard, 1);
    return 0;
}

static void *come_and_go(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 100; i++) {
        beck_listener *l;
        const beck_listener_options o = {.events_max = (uint64_t)(i % 4)};
        NEED(beck_subscribe(i % 2 ? w->shop : w->hub, i % 3 ? "t.*" : "#", hear, w, &o, &l, &err));
        sched_yield();
        beck_unsubscribe(l);
    }
    return NULL;
}

/* ---- reading ---- */

static void *follow(void *arg)
{
    struct world *w = arg;
    beck_reader *r;
    const beck_event *e;
    const beck_read_options o = {.from.kind = BECK_FROM_EARLIEST, .follow = true};
    NEED(beck_reader_open(w->shop, &o, &r, &err));
    for (int i = 0; i < EVENTS; i++)
        NEED(beck_reader_next(r, -1, &e, &err));
    beck_reader_close(r);
    return NULL;
}

static void *read_again(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 10; i++) {
        beck_reader *r;
        const beck_event *e;
        const beck_read_options o = {.from.kind = BECK_FROM_EARLIEST, .pattern = "t.odd"};
        NEED(beck_reader_open(w->shop, &o, &r, &err));
        beck_status status;
        while ((status = beck_reader_next(r, 0, &e, NULL)) == BECK_OK)
            need(is(e->type, "t.odd"), "type", NULL);
        need(status == BECK_END, "end", NULL);
        beck_reader_close(r);
    }
    return NULL;
}

/* ---- queues ---- */

static int work(void *ctx, const beck_delivery *d, char *why)
{
    struct world *w = ctx;
    char text[32] = "";
    need(d->event->data.len < sizeof text, "data", NULL);
    memcpy(text, d->event->data.data, d->event->data.len);
    int number = atoi(text);
    if (number % 7 == 0 && d->attempt == 1) {
        strcpy(why, "once more");
        return BECK_RETRY;
    }
    if (atomic_fetch_add(&w->handled[number], 1) == 0) {
        pthread_mutex_lock(&w->lock);
        w->left--;
        pthread_cond_signal(&w->moved);
        pthread_mutex_unlock(&w->lock);
    }
    return BECK_SETTLE;
}

static void *consume(void *arg)
{
    struct world *w = arg;
    beck_consumer *c;
    NEED(beck_consumer_open(w->b, "side", 8, &c, &err));
    for (int i = 0; i < 200 && !atomic_load(&w->over); i++) {
        beck_delivery d[8];
        size_t count;
        if (beck_take(c, d, 8, 1, &count, NULL))
            continue;
        for (size_t k = 0; k < count; k++) {
            if (k % 4 == 0)
                NEED(beck_return(c, d[k].tag, &err));
            else if (k % 4 == 1)
                NEED(beck_reject(c, d[k].tag, "no", &err));
            else
                NEED(beck_settle(c, &d[k].tag, 1, &err));
        }
    }
    beck_consumer_close(c);
    return NULL;
}

static void *bind_and_unbind(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 15; i++) {
        const beck_binding binding = {.bus = "shop",
                                      .pattern = i % 2 ? "t.odd" : "#",
                                      .from.kind = i % 3 ? BECK_FROM_NOW : BECK_FROM_EARLIEST};
        NEED(beck_queue_bind(w->b, "side", &binding, &err));
        sched_yield();
        NEED(beck_queue_unbind(w->b, "side", "shop", binding.pattern, &err));
    }
    return NULL;
}

static void *make_and_delete(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 12; i++) {
        beck_bus *bus;
        const beck_bus_options o = {.storage = i % 3 ? BECK_STORAGE_DISK : BECK_STORAGE_MEMORY,
                                    .level = BECK_LEVEL_WRITTEN};
        const beck_queue_options q = {.storage = BECK_STORAGE_MEMORY};
        beck_event e = event_of("t.x", "s", "0");
        NEED(beck_bus_create(w->b, "brief", &o, &bus, &err));
        NEED(beck_queue_create(w->b, "briefly", &q, &err));
        NEED(beck_queue_bind(w->b, "briefly", &(beck_binding){.bus = "brief"}, &err));
        NEED(beck_publish(bus, &e, &err));
        need(beck_bus_delete(w->b, "brief", NULL) == BECK_EBUSY, "bound", NULL);
        NEED(beck_queue_delete(w->b, "briefly", &err));
        NEED(beck_bus_delete(w->b, "brief", &err));
        need(beck_publish(bus, &e, NULL) == BECK_ECLOSED, "deleted", NULL);
    }
    return NULL;
}

/* ---- upkeep and looking ---- */

static void swallow(void *ctx, const char *text, size_t len)
{
    (void)ctx;
    (void)text;
    need(len > 0, "metrics", NULL);
}

static int look_at(void *ctx, beck_bus *bus)
{
    beck_bus_info info;
    (void)ctx;
    beck_bus_info_get(bus, &info, NULL);
    return 0;
}

static void *look_after(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 15; i++) {
        beck_queue_info info;
        NEED(upkeep_checkpoint(w->b, &err));
        NEED(upkeep_maintain(w->b, &err));
        NEED(beck_sync(w->b, &err));
        NEED(beck_metrics(w->b, swallow, NULL, &err));
        NEED(beck_bus_list(w->b, look_at, NULL, &err));
        NEED(beck_queue_info_get(w->b, "work", &info, &err));
        NEED(beck_queue_pause(w->b, "side", i % 2, &err));
        NEED(beck_queue_purge(w->b, "side", NULL, &err));
    }
    return NULL;
}

static void run_everything(bool read_synced, uint32_t sync_interval_ms)
{
    struct place p;
    place_make(&p);
    static struct world w;
    memset(&w, 0, sizeof w);
    w.left = EVENTS;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.moved, NULL);
    must(beck_open(&w.b,
                   &(beck_options){.data_dir = p.data,
                                   .checkpoint_ms = 10,
                                   .sync_interval_ms = sync_interval_ms,
                                   .on_error = on_report,
                                   .on_error_ctx = &w},
                   &err));
    w.shop = make_bus(w.b, "shop",
                      &(beck_bus_options){.partitions = 2,
                                          .segment_bytes = 8192,
                                          .codec = BECK_CODEC_LZ4,
                                          .read_synced = read_synced});
    w.hub = make_bus(w.b, "hub", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    const beck_queue_options quick = {.backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 1}};
    must(beck_queue_create(w.b, "work", &quick, &err));
    must(beck_queue_create(w.b, "side", &quick, &err));
    must(beck_queue_bind(w.b, "work", &(beck_binding){.bus = "shop"}, &err));
    must(beck_subscribe(w.hub, "#", pass_on, &w, NULL, NULL, &err));
    beck_workers *workers;
    must(beck_workers_start(w.b, "work", work, &w, &(beck_worker_options){.threads = 2}, &workers,
                            &err));
    struct publisher publishers[PUBLISHERS];
    void *(*const mains[])(void *) = {come_and_go,     follow,     read_again,     consume,
                                      bind_and_unbind, look_after, make_and_delete};
    enum { OTHERS = sizeof mains / sizeof *mains };
    pthread_t threads[PUBLISHERS + OTHERS];
    for (int i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){&w, i};
        assert_int_equal(pthread_create(&threads[i], NULL, publish_all, &publishers[i]), 0);
    }
    for (int i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_create(&threads[PUBLISHERS + i], NULL, mains[i], &w), 0);
    for (int i = 0; i < PUBLISHERS + OTHERS; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_lock(&w.lock);
    while (w.left > 0)
        pthread_cond_wait(&w.moved, &w.lock);
    pthread_mutex_unlock(&w.lock);
    beck_workers_stop(workers);
    for (int i = 0; i < EVENTS; i++)
        assert_int_equal(w.handled[i], 1);
    beck_queue_info info;
    must(beck_queue_info_get(w.b, "work", &info, &err));
    assert_int_equal(info.ready + info.in_flight + info.delayed + info.dead, 0);
    assert_int_equal(info.settled, EVENTS);
    must(beck_sync(w.b, &err));
    beck_close(w.b);
    int told = 0; /* of those that went straight to the shop */
    for (int i = 0; i < EACH; i++)
        told += i % 10 == 0 && i % 3 != 0;
    assert_int_equal(atomic_load(&w.done_calls), told * PUBLISHERS);
    assert_int_equal(atomic_load(&w.reports), 0);
    beck_verify_info faults;
    must(beck_verify(p.data, NULL, NULL, &faults, &err));
    place_remove(&p);
}

static void everything_at_once(void **state)
{
    (void)state;
    run_everything(false, 0);
}

static void everything_at_once_seen_when_synced(void **state)
{
    (void)state;
    run_everything(true, 0);
}

static void everything_at_once_synced_by_the_clock(void **state)
{
    (void)state;
    run_everything(true, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(everything_at_once_seen_when_synced),
        cmocka_unit_test(everything_at_once_synced_by_the_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
