/* Deliveries: who gets what and in which order, and how each ends. */
#include "queue/world.h"

#include "queue/consumer.h"

static void consumers_compete_and_hold_no_more_than_their_prefetch(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    for (int i = 0; i < 5; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_consumer *one = world_consumer(&w, "q", 2), *two = world_consumer(&w, "q", 64);
    beck_delivery d[8], e[8];
    size_t count;
    check_ok(beck_take(one, d, 8, 0, &count, err));
    assert_int_equal(count, 2);
    assert_int_equal(beck_take(one, e, 8, 0, &count, NULL), BECK_ELIMIT);
    check_ok(beck_take(two, e, 8, 0, &count, err));
    assert_int_equal(count, 3);
    assert_true(text_is(d[0].event->data, "0") && text_is(e[0].event->data, "2"));
    check_counts(&w, "q", 0, 5, 0, 0);
    assert_int_equal(info_of(&w, "q").consumers, 2);
    settle(one, d[0]);
    take_nothing(one);
    put(bus, "t", "5");
    settle(one, take(one, "5"));
    check_counts(&w, "q", 0, 4, 0, 0);
    beck_consumer_close(one);
    check_counts(&w, "q", 1, 3, 0, 0);
    beck_consumer_close(two);
    check_counts(&w, "q", 4, 0, 0, 0);
    beck_consumer *none = NULL;
    assert_int_equal(beck_consumer_open(w.b, "q", 65537, &none, NULL), BECK_EINVAL);
    assert_int_equal(beck_consumer_open(w.b, "x", 1, &none, NULL), BECK_ENOENT);
    world_end(&w);
}

static void what_a_closed_consumer_held_is_ready_at_its_place_and_the_attempt_counts(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 2});
    put(bus, "t", "0");
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0");
    assert_int_equal(d.attempt, 1);
    assert_false(d.redelivered);
    beck_consumer_close(c);
    c = world_consumer(&w, "q", 0);
    d = take(c, "0");
    assert_int_equal(d.attempt, 2);
    assert_true(d.redelivered);
    take(c, "1");
    beck_consumer_close(c);
    check_counts(&w, "q", 1, 0, 0, 1);
    struct letters all;
    assert_string_equal(dead_letters(&w, "q", &all)->list[0].reason, "attempts");
    assert_int_equal(all.list[0].attempts, 2);
    world_end(&w);
}

static void a_redelivery_comes_at_its_original_place(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    for (int i = 0; i < 6; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d0 = take(c, "0"), d1 = take(c, "1"), d2 = take(c, "2"), d3 = take(c, "3");
    check_ok(beck_return(c, d3.tag, err));
    check_ok(beck_retry(c, d1.tag, 0, "again", err));
    check_ok(beck_retry(c, d0.tag, 100, "later", err));
    check_counts(&w, "q", 4, 1, 1, 0);
    settle(c, take(c, "1"));
    world_advance(&w, 99);
    check_counts(&w, "q", 3, 1, 1, 0);
    world_advance(&w, 1);
    settle(c, d2);
    drain(c, "0 3 4 5");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_returned_delivery_counts_no_attempt_but_says_that_it_was_delivered(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 20; i++) {
        beck_delivery d = take(c, "0");
        assert_int_equal(d.attempt, 1);
        assert_true(d.redelivered == (i > 0));
        check_ok(beck_return(c, d.tag, err));
        check_counts(&w, "q", 1, 0, 0, 0);
    }
    beck_consumer_close(c);
    world_reopen(&w);
    c = world_consumer(&w, "q", 0);
    assert_true(take(c, "0").redelivered);
    beck_consumer_close(c);
    world_end(&w);
}

static void priorities_come_first_and_keep_their_order(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.priority_max = 3});
    const struct {
        const char *text;
        uint32_t priority;
    } events[] = {{"a0", 0}, {"b2", 2}, {"c3", 3}, {"d0", 0}, {"e2", 2}, {"f9", 9}};
    for (size_t i = 0; i < 6; i++) {
        beck_event e = {.type = beck_str("t"),
                        .data = beck_str(events[i].text),
                        .priority = events[i].priority};
        check_ok(beck_publish(bus, &e, err));
    }
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery first = take(c, "c3"), second = take(c, "f9"), third = take(c, "b2");
    check_ok(beck_return(c, third.tag, err));
    check_ok(beck_return(c, second.tag, err));
    check_ok(beck_retry(c, first.tag, 10, NULL, err));
    settle(c, take(c, "f9"));
    world_advance(&w, 10);
    drain(c, "c3 b2 e2 a0 d0");
    beck_consumer_close(c);
    world_end(&w);
}

static void priorities_survive_a_kill(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.priority_max = 255});
    for (int i = 0; i < 6; i++) {
        char text[2] = {(char)('0' + i), 0};
        beck_event e = {
            .type = beck_str("t"), .data = beck_str(text), .priority = (uint32_t)(i % 3) * 100};
        check_ok(beck_publish(bus, &e, err));
    }
    world_kill(&w);
    beck_consumer *c = world_consumer(&w, "q", 0);
    settle(c, take(c, "2"));
    settle(c, take(c, "5"));
    settle(c, take(c, "1"));
    beck_consumer_close(c);
    world_reopen(&w);
    c = world_consumer(&w, "q", 0);
    drain(c, "4 0 3");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_tag_is_good_once(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put(bus, "t", "0");
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0), *other = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0"), e = take(c, "1");
    assert_int_equal(beck_settle(other, &d.tag, 1, NULL), BECK_ESTALE);
    /* The good ones of a list are settled all the same. */
    uint64_t tags[] = {d.tag, d.tag, e.tag, 12345};
    assert_int_equal(beck_settle(c, tags, 4, NULL), BECK_ESTALE);
    check_counts(&w, "q", 0, 0, 0, 0);
    assert_int_equal(beck_settle(c, &d.tag, 1, NULL), BECK_ESTALE);
    assert_int_equal(beck_retry(c, d.tag, 0, NULL, NULL), BECK_ESTALE);
    assert_int_equal(beck_return(c, d.tag, NULL), BECK_ESTALE);
    assert_int_equal(beck_reject(c, d.tag, NULL, NULL), BECK_ESTALE);
    assert_int_equal(beck_extend(c, d.tag, NULL), BECK_ESTALE);
    beck_consumer_close(c);
    beck_consumer_close(other);
    world_end(&w);
}

static void tags_are_unique_within_the_handle(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    world_queue(&w, "r", NULL);
    world_bind(&w, "r", "b", "#", BECK_FROM_NOW);
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0), *d = world_consumer(&w, "r", 0);
    uint64_t one = take(c, "0").tag, two = take(d, "0").tag;
    assert_true(one != two);
    assert_int_equal(beck_settle(c, &two, 1, NULL), BECK_ESTALE);
    beck_consumer_close(c);
    beck_consumer_close(d);
    world_end(&w);
}

static void a_delivery_that_passes_its_deadline_is_tried_again(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(
        &w, &(beck_queue_options){.deadline_ms = 1000,
                                  .backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 500}});
    put(bus, "t", "0");
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0"), e = take(c, "1");
    world_advance(&w, 600);
    check_ok(beck_extend(c, e.tag, err));
    world_advance(&w, 399);
    check_counts(&w, "q", 0, 2, 0, 0);
    world_advance(&w, 1);
    check_counts(&w, "q", 0, 1, 1, 0);
    assert_true(text_is(d.event->data, "0")); /* the memory stays until it is answered */
    assert_int_equal(beck_settle(c, &d.tag, 1, NULL), BECK_ESTALE);
    world_advance(&w, 500);
    d = take(c, "0");
    assert_int_equal(d.attempt, 2);
    assert_true(d.redelivered);
    settle(c, e);
    settle(c, d);
    check_counts(&w, "q", 0, 0, 0, 0);
    beck_consumer_close(c);
    world_end(&w);
}

/* A consumer that stands for many never hears of those that went away. */
static void what_is_late_can_be_forgotten_by_its_consumer(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.deadline_ms = 100, .attempts_max = 9});
    beck_consumer *c = world_consumer(&w, "q", 3);
    for (int i = 0; i < 3; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_delivery d[3];
    size_t count;
    check_ok(beck_take(c, d, 3, 0, &count, err));
    assert_int_equal(count, 3);
    uint64_t tags[4] = {d[2].tag, d[0].tag, 77, d[0].tag};
    bool stale[4];
    check_ok(consumer_settle_each(c, tags, 4, stale, err));
    assert_false(stale[0] || stale[1]);
    assert_true(stale[2] && stale[3]);
    assert_int_equal(consumer_forget_stale(c), 1);
    world_advance(&w, 100);
    check_counts(&w, "q", 0, 0, 1, 0);
    assert_int_equal(consumer_forget_stale(c), 0);
    check_ok(consumer_settle_each(c, &d[1].tag, 1, stale, err));
    assert_true(stale[0]);
    beck_consumer_close(c);
    world_end(&w);
}

static void no_more_is_taken_than_the_bytes_that_were_asked_for(void **state)
{
    struct world w;
    beck_delivery d[8];
    size_t count;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    for (int i = 0; i < 5; i++)
        put(bus, "t", "12345");
    beck_consumer *c = world_consumer(&w, "q", 0);
    consumer_limit_bytes(c, 6);
    check_ok(beck_take(c, d, 8, 0, &count, err));
    assert_int_equal(count, 2);
    check_counts(&w, "q", 3, 2, 0, 0);
    assert_int_equal(info_of(&w, "q").delivered, 2);
    consumer_limit_bytes(c, 1);
    check_ok(beck_take(c, d, 8, 0, &count, err));
    assert_int_equal(count, 1);
    assert_false(d[0].redelivered);
    consumer_limit_bytes(c, 100);
    check_ok(beck_take(c, d, 8, 0, &count, err));
    assert_int_equal(count, 2);
    beck_consumer_close(c);
    world_end(&w);
}

static void a_queue_without_a_deadline_waits_for_ever(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.deadline_ms = -1});
    world_queue(&w, "r", &(beck_queue_options){.deadline_ms = INT64_MAX});
    world_bind(&w, "r", "b", "#", BECK_FROM_NOW);
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0), *e = world_consumer(&w, "r", 0);
    beck_delivery d = take(c, "0"), f = take(e, "0");
    world_advance(&w, 50 * 365 * DAY);
    check_counts(&w, "q", 0, 1, 0, 0);
    settle(c, d);
    settle(e, f);
    beck_consumer_close(c);
    beck_consumer_close(e);
    world_end(&w);
}

/* The waits that a queue makes between attempts, by looking when the event is ready again. */
static int64_t wait_after_failure(struct world *w, beck_consumer *c)
{
    beck_delivery d = take(c, NULL);
    check_ok(beck_retry(c, d.tag, -1, NULL, err));
    int64_t waited = 0;
    for (; !info_of(w, "q").ready; waited++) {
        assert_true(waited < 100000);
        world_advance(w, 1);
    }
    return waited;
}

static void back_off_is_as_each_kind_says(void **state)
{
    const struct {
        beck_backoff backoff;
        int64_t waits[5];
    } cases[] = {
        {{.kind = BECK_BACKOFF_NONE, .first_ms = 7}, {0, 0, 0, 0, 0}},
        {{.kind = BECK_BACKOFF_FIXED, .first_ms = 7}, {7, 7, 7, 7, 7}},
        {{.kind = BECK_BACKOFF_EXPONENTIAL, .first_ms = 5, .max_ms = 30, .jitter_percent = 101},
         {5, 10, 20, 30, 30}},
        {{.kind = BECK_BACKOFF_LIST, .list_count = 3, .list_ms = {3, 0, 9}}, {3, 0, 9, 9, 9}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, &(beck_queue_options){.backoff = cases[i].backoff});
        put(bus, "t", "0");
        beck_consumer *c = world_consumer(&w, "q", 0);
        for (int n = 0; n < 5; n++)
            assert_int_equal(wait_after_failure(&w, c), cases[i].waits[n]);
        beck_consumer_close(c);
        world_end(&w);
    }
}

static void jitter_stays_within_its_percentage_and_spreads(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(
        &w, &(beck_queue_options){
                .attempts_max = 1000,
                .backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 100, .jitter_percent = 30}});
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0);
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < 200; i++) {
        int64_t wait = wait_after_failure(&w, c);
        assert_in_range(wait, 70, 130);
        least = wait < least ? wait : least;
        most = wait > most ? wait : most;
    }
    assert_true(least < 80 && most > 120);
    beck_consumer_close(c);
    /* By default: exponential from a second on, 20 percent. */
    world_queue(&w, "p", NULL);
    beck_queue_options o = info_of(&w, "p").options;
    assert_int_equal(o.backoff.kind, BECK_BACKOFF_EXPONENTIAL);
    assert_int_equal(o.backoff.first_ms, 1000);
    assert_int_equal(o.backoff.max_ms, HOUR);
    assert_int_equal(o.backoff.jitter_percent, 20);
    assert_int_equal(o.attempts_max, 10);
    world_end(&w);
}

static void the_longest_delays_are_taken_as_they_are(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.backoff = {.kind = BECK_BACKOFF_FIXED,
                                                                     .first_ms = INT64_MAX,
                                                                     .jitter_percent = 100},
                                                         .ttl_ms = INT64_MAX});
    put(bus, "t", "0");
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    check_ok(beck_retry(c, take(c, "0").tag, INT64_MAX, NULL, err));
    check_ok(beck_retry(c, take(c, "1").tag, -1, NULL, err));
    check_counts(&w, "q", 0, 0, 2, 0);
    world_kill(&w);
    check_counts(&w, "q", 0, 0, 2, 0);
    world_end(&w);
}

static void a_paused_queue_gives_nothing_and_goes_on_filling_also_after_a_restart(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put(bus, "t", "0");
    check_ok(beck_queue_pause(w.b, "q", true, err));
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    take_nothing(c);
    check_counts(&w, "q", 2, 0, 0, 0);
    beck_consumer_close(c);
    world_crash(&w);
    assert_true(info_of(&w, "q").paused);
    c = world_consumer(&w, "q", 0);
    take_nothing(c);
    check_ok(beck_queue_pause(w.b, "q", false, err));
    drain(c, "0 1");
    beck_consumer_close(c);
    world_reopen(&w);
    assert_false(info_of(&w, "q").paused);
    world_end(&w);
}

static void waking_a_consumer_ends_its_wait_once(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_consumer_wake(c);
    beck_delivery d;
    size_t count;
    assert_int_equal(beck_take(c, &d, 1, -1, &count, NULL), BECK_ECLOSED);
    settle(c, take(c, "0"));
    beck_consumer_close(c);
    world_end(&w);
}

static int note_texts(void *ctx, const beck_event *e)
{
    char *text = ctx;
    snprintf(text + strlen(text), 256 - strlen(text), "%.*s ", (int)e->data.len,
             (const char *)e->data.data);
    return 0;
}

static void peeking_shows_the_order_of_delivery_and_takes_nothing(void **state)
{
    struct world w;
    char text[256] = "";
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.priority_max = 1});
    for (int i = 0; i < 6; i++) {
        char name[2] = {(char)('0' + i), 0};
        beck_event e = {
            .type = beck_str("t"), .data = beck_str(name), .priority = (uint32_t)(i % 2)};
        check_ok(beck_publish(bus, &e, err));
    }
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d1 = take(c, "1"), d3 = take(c, "3");
    check_ok(beck_return(c, d3.tag, err));
    (void)d1;
    check_ok(beck_queue_peek(w.b, "q", 4, note_texts, text, err));
    assert_string_equal(text, "3 5 0 2 ");
    text[0] = 0;
    check_ok(beck_queue_peek(w.b, "q", 100, note_texts, text, err));
    assert_string_equal(text, "3 5 0 2 4 ");
    check_counts(&w, "q", 5, 1, 0, 0);
    assert_int_equal(info_of(&w, "q").oldest_ms, START_MS);
    beck_consumer_close(c);
    world_end(&w);
}

static void purging_drops_what_is_ready_or_delayed_and_nothing_else(void **state)
{
    struct world w;
    int64_t purged = -1;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    for (int i = 0; i < 5; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_event later = {.type = beck_str("t"), .deliver_at_ms = START_MS + HOUR};
    check_ok(beck_publish(bus, &later, err));
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d0 = take(c, "0"), d1 = take(c, "1"), d2 = take(c, "2");
    check_ok(beck_retry(c, d1.tag, 1000, "x", err));
    check_ok(beck_reject(c, d2.tag, "x", err));
    check_counts(&w, "q", 2, 1, 2, 1);
    check_ok(beck_queue_purge(w.b, "q", &purged, err));
    assert_int_equal(purged, 4);
    check_counts(&w, "q", 0, 1, 0, 1);
    check_ok(beck_return(c, d0.tag, err));
    beck_consumer_close(c);
    world_kill(&w);
    world_advance(&w, DAY);
    check_counts(&w, "q", 1, 0, 0, 1);
    c = world_consumer(&w, "q", 0);
    drain(c, "0");
    beck_consumer_close(c);
    world_end(&w);
}

static void what_was_settled_stays_away_after_a_kill_and_the_rest_comes_again(void **state)
{
    struct world w;
    (void)state;
    for (int checkpointed = 0; checkpointed < 2; checkpointed++) {
        world_start(&w, 1);
        beck_bus *bus = world_pair(
            &w, &(beck_queue_options){.backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 50}});
        for (int i = 0; i < 6; i++)
            put(bus, "t", (char[]){(char)('0' + i), 0});
        beck_consumer *c = world_consumer(&w, "q", 0);
        beck_delivery d0 = take(c, "0"), d1 = take(c, "1"), d2 = take(c, "2"), d3 = take(c, "3");
        if (checkpointed)
            check_ok(upkeep_checkpoint(w.b, err));
        settle(c, d1);
        settle(c, d2);
        check_ok(beck_retry(c, d0.tag, -1, "no", err));
        (void)d3;
        vfs_sim_kill(w.vfs);
        beck_consumer_close(c);
        beck_abandon(w.b);
        world_open(&w);
        check_counts(&w, "q", 3, 0, 1, 0);
        world_advance(&w, 50);
        c = world_consumer(&w, "q", 0);
        beck_delivery d = take(c, "0");
        assert_int_equal(d.attempt, 2);
        assert_true(d.redelivered);
        settle(c, d);
        d = take(c, "3");
        assert_int_equal(d.attempt, 1);
        assert_true(d.redelivered);
        settle(c, d);
        drain(c, "4 5");
        beck_consumer_close(c);
        world_reopen(&w);
        bus = world_get(&w, "b");
        put(bus, "t", "6");
        c = world_consumer(&w, "q", 0);
        assert_false(take(c, "6").redelivered);
        beck_consumer_close(c);
        world_end(&w);
    }
}

static void what_was_given_back_and_counts_is_known_after_a_kill(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 3});
    for (int i = 0; i < 4; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_consumer *c = world_consumer(&w, "q", 0);
    uint64_t tags[4];
    for (int i = 0; i < 4; i++)
        tags[i] = take(c, NULL).tag;
    check_ok(consumer_return_many(c, tags, 2, true, err));
    struct return_delay delay = {.min_ms = MINUTE};
    check_ok(consumer_return_later(c, &tags[2], 1, true, &delay, err));
    check_ok(consumer_return_many(c, &tags[3], 1, false, err));
    world_kill(&w);
    check_counts(&w, "q", 3, 0, 1, 0);
    c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0");
    assert_int_equal(d.attempt, 2);
    assert_true(d.redelivered);
    check_ok(consumer_return_many(c, &d.tag, 1, true, err));
    world_kill(&w);
    c = world_consumer(&w, "q", 0);
    d = take(c, "0");
    assert_int_equal(d.attempt, 3);
    check_ok(consumer_return_many(c, &d.tag, 1, true, err));
    assert_int_equal(dead_letters(&w, "q", &all)->count, 1);
    assert_string_equal(all.list[0].reason, "delivery_limit");
    d = take(c, "1");
    assert_int_equal(d.attempt, 2);
    settle(c, d);
    assert_int_equal(take(c, "3").attempt, 1);
    world_kill(&w);
    check_counts(&w, "q", 1, 0, 1, 1);
    world_advance(&w, MINUTE);
    c = world_consumer(&w, "q", 0);
    assert_int_equal(take(c, "2").attempt, 2);
    world_end(&w);
}

static void consumers_that_are_left_end_with_the_handle(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    world_queue(&w, "gone", NULL);
    world_consumer(&w, "gone", 0);
    check_ok(beck_queue_delete(w.b, "gone", err));
    put(bus, "t", "0");
    take(world_consumer(&w, "q", 0), "0");
    world_reopen(&w);
    beck_consumer *c = world_consumer(&w, "q", 0);
    assert_int_equal(take(c, "0").attempt, 2);
    world_end(&w);
}

/* ---- lists of what waits ---- */

struct waits {
    int count, unread;
    char texts[256];
    int64_t due_ms[16], since_ms[16];
    uint32_t attempts[16];
};

static int note_waiting(void *ctx, const beck_waiting *w)
{
    struct waits *all = ctx;
    if (all->count < 16) {
        all->due_ms[all->count] = w->due_ms;
        all->since_ms[all->count] = w->since_ms;
        all->attempts[all->count] = w->attempt;
        size_t at = strlen(all->texts);
        snprintf(all->texts + at, sizeof all->texts - at, "%.*s ",
                 w->event ? (int)w->event->data.len : 0,
                 w->event ? (const char *)w->event->data.data : "");
    }
    all->count++;
    all->unread += !w->event;
    return 0;
}

static struct waits waiting(struct world *w, beck_waiting_kind kind, size_t from, size_t max)
{
    struct waits all = {0};
    check_ok(beck_queue_waiting(w->b, "q", kind, from, max, note_waiting, &all, err));
    return all;
}

static void what_consumers_hold_is_listed_with_its_attempt_and_deadline(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 71);
    beck_bus *bus = world_pair(
        &w, &(beck_queue_options){.deadline_ms = MINUTE,
                                  .backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = HOUR}});
    put(bus, "t.x", "a");
    put(bus, "t.x", "b");
    beck_consumer *c = world_consumer(&w, "q", 2);
    beck_delivery a = take(c, "a");
    world_advance(&w, SECOND);
    take(c, "b");
    world_advance(&w, SECOND);
    struct waits held = waiting(&w, BECK_WAITING_IN_FLIGHT, 0, 9);
    assert_string_equal(held.texts, "a b ");
    assert_int_equal(held.since_ms[0], world_now_ms(&w) - 2 * SECOND);
    assert_int_equal(held.due_ms[0], world_now_ms(&w) - 2 * SECOND + MINUTE);
    assert_int_equal(held.attempts[0], 1);
    assert_string_equal(waiting(&w, BECK_WAITING_IN_FLIGHT, 1, 9).texts, "b ");
    assert_int_equal(waiting(&w, BECK_WAITING_DELAYED, 0, 9).count, 0);
    check_ok(beck_retry(c, a.tag, -1, "later", err));
    struct waits later = waiting(&w, BECK_WAITING_DELAYED, 0, 9);
    assert_string_equal(later.texts, "a ");
    assert_int_equal(later.attempts[0], 2);
    assert_int_equal(later.since_ms[0], -1);
    assert_true(later.due_ms[0] > world_now_ms(&w) + MINUTE);
    assert_string_equal(waiting(&w, BECK_WAITING_IN_FLIGHT, 0, 9).texts, "b ");
    beck_error err = {0};
    assert_int_equal(
        beck_queue_waiting(w.b, "q", BECK_WAITING_DELAYED, 9000, 1001, note_waiting, &later, &err),
        BECK_EINVAL);
    assert_int_equal(
        beck_queue_waiting(w.b, "q", (beck_waiting_kind)2, 0, 1, note_waiting, &later, NULL),
        BECK_EINVAL);
    beck_consumer_close(c);
    world_end(&w);
}

/* More than the heap holds, so that most are in files; each page goes on where the one before ended. */
static void pages_of_many_delayed_ones_are_in_order_and_complete(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 72);
    beck_bus *bus = world_pair(&w, NULL);
    enum { COUNT = 70000, AT_ONCE = 1000 };
    static beck_event events[AT_ONCE];
    for (int i = 0; i < COUNT; i += AT_ONCE) {
        for (int n = 0; n < AT_ONCE; n++)
            events[n] = (beck_event){.type = beck_str("t.x"),
                                     .deliver_at_ms = START_MS + HOUR + (i + n) * 7919LL % COUNT};
        check_ok(beck_publish_many(bus, events, AT_ONCE, NULL, NULL, err));
    }
    check_counts(&w, "q", 0, 0, COUNT, 0);
    for (size_t from = 0; from < 10000; from += 2500)
        assert_int_equal(waiting(&w, BECK_WAITING_DELAYED, from, 2500).count, 2500);
    struct waits first = waiting(&w, BECK_WAITING_DELAYED, 0, 16);
    struct waits last = waiting(&w, BECK_WAITING_DELAYED, 9990, 10);
    for (int i = 0; i < 16; i++)
        assert_int_equal(first.due_ms[i], START_MS + HOUR + i);
    for (int i = 0; i < 10; i++)
        assert_int_equal(last.due_ms[i], START_MS + HOUR + 9990 + i);
    assert_int_equal(first.unread + last.unread, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(consumers_compete_and_hold_no_more_than_their_prefetch),
        cmocka_unit_test(what_a_closed_consumer_held_is_ready_at_its_place_and_the_attempt_counts),
        cmocka_unit_test(a_redelivery_comes_at_its_original_place),
        cmocka_unit_test(a_returned_delivery_counts_no_attempt_but_says_that_it_was_delivered),
        cmocka_unit_test(priorities_come_first_and_keep_their_order),
        cmocka_unit_test(priorities_survive_a_kill),
        cmocka_unit_test(a_tag_is_good_once),
        cmocka_unit_test(tags_are_unique_within_the_handle),
        cmocka_unit_test(a_delivery_that_passes_its_deadline_is_tried_again),
        cmocka_unit_test(what_is_late_can_be_forgotten_by_its_consumer),
        cmocka_unit_test(no_more_is_taken_than_the_bytes_that_were_asked_for),
        cmocka_unit_test(a_queue_without_a_deadline_waits_for_ever),
        cmocka_unit_test(back_off_is_as_each_kind_says),
        cmocka_unit_test(jitter_stays_within_its_percentage_and_spreads),
        cmocka_unit_test(the_longest_delays_are_taken_as_they_are),
        cmocka_unit_test(a_paused_queue_gives_nothing_and_goes_on_filling_also_after_a_restart),
        cmocka_unit_test(waking_a_consumer_ends_its_wait_once),
        cmocka_unit_test(peeking_shows_the_order_of_delivery_and_takes_nothing),
        cmocka_unit_test(purging_drops_what_is_ready_or_delayed_and_nothing_else),
        cmocka_unit_test(what_was_settled_stays_away_after_a_kill_and_the_rest_comes_again),
        cmocka_unit_test(what_was_given_back_and_counts_is_known_after_a_kill),
        cmocka_unit_test(consumers_that_are_left_end_with_the_handle),
        cmocka_unit_test(what_consumers_hold_is_listed_with_its_attempt_and_deadline),
        cmocka_unit_test(pages_of_many_delayed_ones_are_in_order_and_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
