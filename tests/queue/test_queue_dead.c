/* Dead letters: why events die, what is kept of them, and putting them back. */
#include "queue/world.h"

#include "event/event.h"

#define QUICK                                                                                      \
    {                                                                                              \
        .kind = BECK_BACKOFF_NONE                                                                  \
    }

static void fail_once(beck_consumer *c, const char *text, const char *why)
{
    check_ok(beck_retry(c, take(c, text).tag, 0, why, err));
}

static void the_last_attempt_makes_a_dead_letter_with_its_history(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 3});
    put(bus, "t", "0");
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    settle(c, take(c, "0"));
    fail_once(c, "1", "first \"quoted\"");
    world_advance(&w, 1000);
    fail_once(c, "1", NULL);
    fail_once(c, "1", "third");
    take_nothing(c);
    check_counts(&w, "q", 0, 0, 0, 1);
    struct letter *l = dead_letters(&w, "q", &all)->list;
    assert_int_equal(all.count, 1);
    assert_string_equal(l->text, "1");
    assert_string_equal(l->reason, "attempts");
    assert_string_equal(l->bus, "b");
    assert_int_equal(l->attempts, 3);
    assert_int_equal(l->died_ms, START_MS + 1000);
    assert_int_equal(l->origin.partition, 0);
    assert_int_equal(l->origin.offset, 1);
    assert_string_equal(
        l->history,
        "[{\"attempt\":1,\"time\":\"2023-11-14T22:13:20Z\",\"why\":\"first \\\"quoted\\\"\"},"
        "{\"attempt\":2,\"time\":\"2023-11-14T22:13:21Z\",\"why\":\"\"},"
        "{\"attempt\":3,\"time\":\"2023-11-14T22:13:21Z\",\"why\":\"third\"}]");
    beck_consumer_close(c);
    world_kill(&w);
    check_counts(&w, "q", 0, 0, 0, 1);
    world_end(&w);
}

static void a_rejected_event_dies_at_once(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0);
    check_ok(beck_reject(c, take(c, "0").tag, "useless", err));
    check_counts(&w, "q", 0, 0, 0, 1);
    struct letter *l = dead_letters(&w, "q", &all)->list;
    assert_string_equal(l->reason, "rejected");
    assert_int_equal(l->attempts, 1);
    assert_int_equal(count_text(l->history, "useless"), 1);
    beck_consumer_close(c);
    world_crash(&w);
    beck_queue_info i = info_of(&w, "q");
    assert_int_equal(i.ready + i.dead, 1);
    world_end(&w);
}

static int keep_event(void *ctx, const beck_dead *d)
{
    struct buf *memory = ((void **)ctx)[0];
    return event_copy(d->event, memory, ((void **)ctx)[1]) != BECK_OK;
}

static const beck_attribute colour = {{"colour", 6}, {"blue", 4}};

static void check_as_published(const beck_event *e)
{
    assert_true(text_is(e->type, "order.made") && text_is(e->subject, "O-1"));
    assert_true(text_is(e->source, "/shop") && text_is(e->id, "id-7"));
    assert_true(text_is(e->datacontenttype, "text/plain") && text_is(e->dataschema, "x:y"));
    assert_true(text_is(e->data, "body") && text_is(e->correlationid, "corr"));
    assert_true(text_is(e->causationid, "cause"));
    assert_int_equal(e->time_ns, 1234000000);
    assert_int_equal(e->priority, 3);
    assert_int_equal(e->expires_at_ms, START_MS + HOUR);
    assert_int_equal(e->extension_count, 1);
    assert_true(text_is(e->extensions[0].name, "colour") &&
                text_is(e->extensions[0].value, "blue"));
    assert_true(text_is(e->bus, "b"));
}

static void a_dead_letter_is_the_event_as_it_was_published_and_so_is_one_put_back(void **state)
{
    struct world w;
    struct buf memory;
    beck_event copy = {0};
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_event e = {.type = beck_str("order.made"),
                    .subject = beck_str("O-1"),
                    .source = beck_str("/shop"),
                    .id = beck_str("id-7"),
                    .time_ns = 1234000000,
                    .datacontenttype = beck_str("text/plain"),
                    .dataschema = beck_str("x:y"),
                    .data = beck_str("body"),
                    .correlationid = beck_str("corr"),
                    .causationid = beck_str("cause"),
                    .expires_at_ms = START_MS + HOUR,
                    .priority = 3,
                    .extensions = &colour,
                    .extension_count = 1};
    check_ok(beck_publish(bus, &e, err));
    beck_consumer *c = world_consumer(&w, "q", 0);
    check_ok(beck_reject(c, take(c, "body").tag, NULL, err));
    buf_init(&memory, 1 << 20);
    void *ctx[] = {&memory, &copy};
    check_ok(beck_dead_list(w.b, "q", 0, keep_event, ctx, err));
    check_as_published(&copy);
    buf_release(&memory);
    check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
    beck_delivery d = take(c, "body");
    check_as_published(d.event);
    assert_int_equal(d.event->position.offset, 0);
    assert_int_equal(d.attempt, 1);
    assert_true(d.redelivered);
    settle(c, d);
    check_counts(&w, "q", 0, 0, 0, 0);
    beck_consumer_close(c);
    world_end(&w);
}

static void an_event_without_an_id_keeps_the_one_it_had_in_its_bus(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0");
    assert_true(text_is(d.event->id, "b/0/0") && text_is(d.event->source, "/b"));
    check_ok(beck_reject(c, d.tag, NULL, err));
    check_ok(beck_dead_redrive(w.b, "q", 0, NULL, err));
    d = take(c, "0");
    assert_true(text_is(d.event->id, "b/0/0") && text_is(d.event->source, "/b"));
    beck_consumer_close(c);
    world_end(&w);
}

static void one_or_all_are_put_back_with_attempts_anew(void **state)
{
    struct world w;
    struct letters all;
    int64_t n = -1;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 2, .backoff = QUICK});
    for (int i = 0; i < 4; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 8; i++)
        fail_once(c, (char[]){(char)('0' + i / 2), 0}, "x");
    check_counts(&w, "q", 0, 0, 0, 4);
    dead_letters(&w, "q", &all);
    check_ok(beck_dead_redrive(w.b, "q", all.list[2].offset, &n, err));
    assert_int_equal(n, 1);
    check_counts(&w, "q", 1, 0, 0, 3);
    assert_int_equal(beck_dead_redrive(w.b, "q", all.list[2].offset, &n, NULL), BECK_ENOENT);
    beck_delivery d = take(c, "2");
    assert_int_equal(d.attempt, 1);
    settle(c, d);
    check_ok(beck_dead_redrive(w.b, "q", -1, &n, err));
    assert_int_equal(n, 3);
    check_counts(&w, "q", 3, 0, 0, 0);
    put(bus, "t", "4");
    drain(c, "0 1 3 4");
    check_ok(beck_dead_redrive(w.b, "q", -1, &n, err));
    assert_int_equal(n, 0);
    beck_consumer_close(c);
    world_end(&w);
}

static void what_was_put_back_survives_a_kill_in_every_state(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    for (int checkpoints = 0; checkpoints < 4; checkpoints++) {
        world_start(&w, 1);
        beck_bus *bus = world_pair(
            &w, &(beck_queue_options){.backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 100}});
        for (int i = 0; i < 6; i++)
            put(bus, "t", (char[]){(char)('0' + i), 0});
        beck_consumer *c = world_consumer(&w, "q", 0);
        for (int i = 0; i < 5; i++)
            check_ok(beck_reject(c, take(c, NULL).tag, "x", err));
        if (checkpoints & 1)
            check_ok(upkeep_checkpoint(w.b, err));
        check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
        if (checkpoints & 2)
            check_ok(upkeep_checkpoint(w.b, err));
        settle(c, take(c, "5"));
        settle(c, take(c, "0"));
        check_ok(beck_retry(c, take(c, "1").tag, -1, "y", err));
        check_ok(beck_reject(c, take(c, "2").tag, "z", err));
        take(c, "3");
        check_counts(&w, "q", 1, 1, 1, 1);
        vfs_sim_kill(w.vfs);
        beck_consumer_close(c);
        beck_abandon(w.b);
        world_open(&w);
        check_counts(&w, "q", 2, 0, 1, 1);
        assert_string_equal(dead_letters(&w, "q", &all)->list[0].text, "2");
        assert_int_equal(count_text(all.list[0].history, "\"x\""), 1);
        assert_int_equal(count_text(all.list[0].history, "\"z\""), 1);
        /* Buses bound after that must not be taken for the dead letters, or the other way round. */
        bus = world_bus(&w, "c", NULL);
        world_bind(&w, "q", "c", "#", BECK_FROM_NOW);
        put(bus, "t", "c0");
        world_advance(&w, 100);
        c = world_consumer(&w, "q", 0);
        settle(c, take(c, "1"));
        vfs_sim_kill(w.vfs);
        beck_consumer_close(c);
        beck_abandon(w.b);
        world_open(&w);
        check_counts(&w, "q", 3, 0, 0, 1);
        world_end(&w);
    }
}

static void a_bus_bound_after_events_were_put_back_keeps_its_own_events(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL), *other = world_bus(&w, "other", NULL);
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 3; i++) {
        put(bus, "t", "x");
        check_ok(beck_reject(c, take(c, "x").tag, NULL, err));
    }
    check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
    world_bind(&w, "q", "other", "#", BECK_FROM_NOW);
    for (int i = 0; i < 3; i++)
        put(other, "t", "y");
    for (int i = 0; i < 3; i++)
        settle(c, take(c, "x"));
    check_counts(&w, "q", 3, 0, 0, 0);
    beck_consumer_close(c);
    world_kill(&w);
    check_counts(&w, "q", 3, 0, 0, 0);
    c = world_consumer(&w, "q", 0);
    drain(c, "y y y");
    beck_consumer_close(c);
    world_end(&w);
}

static void the_history_goes_on_over_deaths_and_keeps_the_last_sixteen(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 6, .backoff = QUICK});
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int death = 0; death < 5; death++) {
        for (int i = 0; i < 6; i++) {
            char why[32];
            snprintf(why, sizeof why, "d%d,{a%d}]\\\"", death, i);
            fail_once(c, "0", why);
            if (i == 3) {
                vfs_sim_kill(w.vfs);
                beck_consumer_close(c);
                beck_abandon(w.b);
                world_open(&w);
                c = world_consumer(&w, "q", 0);
            }
        }
        struct letter *l = dead_letters(&w, "q", &all)->list;
        assert_int_equal(all.count, 1);
        int expected = (death + 1) * 6 < 16 ? (death + 1) * 6 : 16;
        assert_int_equal(count_text(l->history, "\"attempt\":"), expected);
        for (int n = 0; n < expected; n++) {
            char needle[32];
            int k = (death + 1) * 6 - 1 - n;
            snprintf(needle, sizeof needle, "\"d%d,{a%d}]\\\\\\\"\"", k / 6, k % 6);
            assert_int_equal(count_text(l->history, needle), 1);
        }
        assert_int_equal(l->attempts, 6);
        assert_int_equal(l->origin.offset, 0);
        assert_string_equal(l->bus, "b");
        check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
    }
    beck_consumer_close(c);
    world_end(&w);
}

/* Walks the objects of a history: whoever reads it as JSON must not stumble. */
static size_t check_history(const char *history)
{
    static char text[65536];
    beck_document *d = NULL;
    snprintf(text, sizeof text,
             "{\"type\":\"t\",\"source\":\"s\",\"id\":\"1\",\"specversion\":"
             "\"1.0\",\"data\":%s}",
             history);
    check_ok(beck_parse(beck_str(text), &d, err));
    beck_document_free(d);
    return count_text(history, "\"attempt\":");
}

static void any_text_is_good_for_a_history(void **state)
{
    struct world w;
    struct letters all;
    char ctrl[300], wide[600] = "", bad[300];
    (void)state;
    memset(ctrl, 1, sizeof ctrl - 1);
    ctrl[sizeof ctrl - 1] = 0;
    memset(bad, 0xff, sizeof bad - 1);
    bad[sizeof bad - 1] = 0;
    for (int i = 0; i < 254; i++)
        strcat(wide, i ? "\xc3\xa9" : "x");
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 20, .backoff = QUICK});
    put(bus, "t", "0");
    beck_consumer *c = world_consumer(&w, "q", 0);
    const char *const texts[] = {ctrl, wide, bad, "\xc3", "plain"};
    for (int i = 0; i < 20; i++)
        fail_once(c, "0", texts[i % 5]);
    dead_letters(&w, "q", &all);
    assert_int_equal(all.count, 1);
    beck_consumer_close(c);
    world_end(&w);
    assert_int_equal(check_history(all.list[0].history), 16);
}

static void dead_letters_are_purged_one_or_all_and_stay_away(void **state)
{
    struct world w;
    struct letters all;
    int64_t n = -1;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 4; i++) {
        put(bus, "t", (char[]){(char)('0' + i), 0});
        check_ok(beck_reject(c, take(c, NULL).tag, NULL, err));
    }
    beck_consumer_close(c);
    dead_letters(&w, "q", &all);
    check_ok(beck_dead_purge(w.b, "q", all.list[1].offset, &n, err));
    assert_int_equal(n, 1);
    world_kill(&w);
    assert_int_equal(dead_letters(&w, "q", &all)->count, 3);
    assert_string_equal(all.list[1].text, "2");
    check_ok(beck_dead_purge(w.b, "q", -1, &n, err));
    assert_int_equal(n, 3);
    world_kill(&w);
    check_counts(&w, "q", 0, 0, 0, 0);
    assert_int_equal(beck_dead_purge(w.b, "q", 1, &n, NULL), BECK_ENOENT);
    world_end(&w);
}

static void a_queue_that_keeps_none_drops_them(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus =
        world_pair(&w, &(beck_queue_options){.no_dead_letters = true, .attempts_max = 1});
    put(bus, "t", "0");
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    check_ok(beck_reject(c, take(c, "0").tag, NULL, err));
    check_ok(beck_retry(c, take(c, "1").tag, -1, NULL, err));
    check_counts(&w, "q", 0, 0, 0, 0);
    beck_consumer_close(c);
    world_kill(&w);
    check_counts(&w, "q", 0, 0, 0, 0);
    world_end(&w);
}

static void an_event_put_back_keeps_its_priority(void **state)
{
    struct world w;
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, &(beck_queue_options){.priority_max = 5});
        beck_event high = {.type = beck_str("t"), .data = beck_str("high"), .priority = 4};
        check_ok(beck_publish(bus, &high, err));
        beck_consumer *c = world_consumer(&w, "q", 0);
        check_ok(beck_reject(c, take(c, "high").tag, NULL, err));
        put(bus, "t", "low");
        check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
        beck_consumer_close(c);
        if (killed)
            world_kill(&w);
        c = world_consumer(&w, "q", 0);
        drain(c, "high low");
        beck_consumer_close(c);
        world_end(&w);
    }
}

static void an_event_with_the_most_extensions_keeps_them(void **state)
{
    struct world w;
    beck_attribute many[64];
    char names[64][8];
    (void)state;
    for (int i = 0; i < 64; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        many[i] = (beck_attribute){beck_str(names[i]), beck_str("v")};
    }
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    size_t count = 64;
    beck_event e = {.type = beck_str("t"), .data = beck_str("0"), .extensions = many};
    e.extension_count = count;
    check_ok(beck_publish(bus, &e, err));
    beck_consumer *c = world_consumer(&w, "q", 0);
    check_ok(beck_reject(c, take(c, "0").tag, NULL, err));
    check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
    assert_int_equal(take(c, "0").event->extension_count, count);
    beck_consumer_close(c);
    world_end(&w);
}

static void extensions_named_like_the_librarys_own_change_nothing(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    const beck_attribute evil[] = {{beck_str("beckqueue"), beck_str("other")},
                                   {beck_str("beckattempts"), beck_str("many")}};
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_event e = {.type = beck_str("t"), .data = beck_str("0"), .extensions = evil};
    e.extension_count = 2;
    check_ok(beck_publish(bus, &e, err));
    beck_consumer *c = world_consumer(&w, "q", 0);
    check_ok(beck_reject(c, take(c, "0").tag, NULL, err));
    beck_consumer_close(c);
    world_kill(&w);
    check_counts(&w, "q", 0, 0, 0, 1);
    assert_int_equal(dead_letters(&w, "q", &all)->list[0].attempts, 1);
    world_end(&w);
}

static void letters_of_several_queues_do_not_meet(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    world_queue(&w, "r", &(beck_queue_options){.storage = BECK_STORAGE_MEMORY});
    world_bind(&w, "r", "b", "#", BECK_FROM_NOW);
    put(bus, "t", "0");
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0), *d = world_consumer(&w, "r", 0);
    check_ok(beck_reject(c, take(c, "0").tag, "of q", err));
    check_ok(beck_reject(d, take(d, "0").tag, "of r", err));
    check_ok(beck_reject(c, take(c, "1").tag, "of q", err));
    check_counts(&w, "q", 0, 0, 0, 2);
    check_counts(&w, "r", 1, 0, 0, 1);
    assert_int_equal(count_text(dead_letters(&w, "r", &all)->list[0].history, "of r"), 1);
    check_ok(beck_dead_redrive(w.b, "r", -1, NULL, err));
    drain(d, "1 0");
    check_counts(&w, "q", 0, 0, 0, 2);
    beck_consumer_close(c);
    beck_consumer_close(d);
    check_ok(beck_queue_delete(w.b, "q", err));
    world_kill(&w);
    world_queue(&w, "q", NULL);
    check_counts(&w, "q", 0, 0, 0, 0);
    world_queue(&w, "r", NULL);
    check_counts(&w, "r", 0, 0, 0, 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_attempt_makes_a_dead_letter_with_its_history),
        cmocka_unit_test(a_rejected_event_dies_at_once),
        cmocka_unit_test(a_dead_letter_is_the_event_as_it_was_published_and_so_is_one_put_back),
        cmocka_unit_test(an_event_without_an_id_keeps_the_one_it_had_in_its_bus),
        cmocka_unit_test(one_or_all_are_put_back_with_attempts_anew),
        cmocka_unit_test(what_was_put_back_survives_a_kill_in_every_state),
        cmocka_unit_test(a_bus_bound_after_events_were_put_back_keeps_its_own_events),
        cmocka_unit_test(the_history_goes_on_over_deaths_and_keeps_the_last_sixteen),
        cmocka_unit_test(any_text_is_good_for_a_history),
        cmocka_unit_test(dead_letters_are_purged_one_or_all_and_stay_away),
        cmocka_unit_test(a_queue_that_keeps_none_drops_them),
        cmocka_unit_test(an_event_put_back_keeps_its_priority),
        cmocka_unit_test(an_event_with_the_most_extensions_keeps_them),
        cmocka_unit_test(extensions_named_like_the_librarys_own_change_nothing),
        cmocka_unit_test(letters_of_several_queues_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
