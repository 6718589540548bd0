/* Rules of queues that change while they live, and a function in the place of the dead letters. */
#include "queue/world.h"

#include "log/partition_impl.h"
#include "queue/queue_impl.h"

static const struct queue_rules none = {.ttl_ms = -1, .deadline_ms = -1};

static struct queue *queue_of(struct world *w)
{
    return handle_find_queue(w->b, "q");
}

static void check_bytes(struct world *w, int64_t bytes)
{
    assert_int_equal(queue_ready_bytes(queue_of(w)), bytes);
}

/* ---- limits ---- */

static void a_limit_holds_for_what_is_there_already(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    for (int i = 0; i < 6; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    struct queue_rules r = none;
    r.length_max = 2;
    queue_set_rules(queue_of(&w), &r);
    assert_int_equal(queue_ready_count(queue_of(&w)), 2);
    assert_int_equal(dead_letters(&w, "q", &all)->count, 4);
    assert_string_equal(all.list[0].reason, "maxlen");
    put(bus, "t", "6");
    queue_get_rules(queue_of(&w), &r);
    assert_int_equal(r.length_max, 2);
    queue_set_rules(queue_of(&w), &none);
    put(bus, "t", "7");
    beck_consumer *c = world_consumer(&w, "q", 0);
    drain(c, "5 6 7");
    beck_consumer_close(c);
    world_end(&w);
}

static void the_oldest_go_until_the_bytes_fit(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        if (memory)
            world_start_in_memory(&w);
        else
            world_start(&w, 1);
        beck_bus *bus = world_pair(&w, &(beck_queue_options){.no_dead_letters = memory});
        struct queue_rules r = none;
        r.bytes_max = 10;
        queue_set_rules(queue_of(&w), &r);
        put(bus, "t", "1234");
        put(bus, "t", "5");
        put(bus, "t", "67890");
        check_bytes(&w, 10);
        put(bus, "t", "abc"); /* one that is longer is enough */
        check_bytes(&w, 9);
        put(bus, "t", "de"); /* two go for the place of one */
        check_bytes(&w, 10);
        put(bus, "t", "0123456789");
        check_bytes(&w, 10);
        assert_int_equal(queue_ready_count(queue_of(&w)), 1);
        put(bus, "t", "more than there is room for");
        check_bytes(&w, 0);
        assert_int_equal(info_of(&w, "q").dropped, 7);
        world_end(&w);
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    struct world w;
    beck_error why;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    struct queue_rules r = none;
    r.bytes_max = 10;
    r.overflow = BECK_OVERFLOW_REFUSE;
    queue_set_rules(queue_of(&w), &r);
    beck_event e[] = {{.type = beck_str("t"), .data = beck_str("12345")},
                      {.type = beck_str("t"), .data = beck_str("67890")},
                      {.type = beck_str("t"), .data = beck_str("")},
                      {.type = beck_str("t"), .data = beck_str("x")}};
    assert_int_equal(beck_publish_many(bus, e, 4, NULL, NULL, &why), BECK_ELIMIT);
    assert_non_null(strstr(why.text, "bytes_max"));
    check_bytes(&w, 0);
    check_ok(beck_publish_many(bus, e, 3, NULL, NULL, err));
    assert_int_equal(beck_publish(bus, &e[3], &why), BECK_ELIMIT);
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "12345");
    check_ok(beck_publish(bus, &e[3], err));
    settle(c, d);
    settle(c, take(c, "67890"));
    settle(c, take(c, ""));
    drain(c, "x");
    beck_consumer_close(c);
    r.length_max = 1;
    queue_set_rules(queue_of(&w), &r);
    assert_int_equal(beck_publish_many(bus, e + 2, 2, NULL, NULL, &why), BECK_ELIMIT);
    assert_non_null(strstr(why.text, "length_max"));
    check_ok(beck_publish(bus, &e[3], err));
    assert_int_equal(beck_publish(bus, &e[3], &why), BECK_ELIMIT);
    assert_non_null(strstr(why.text, "length_max"));
    queue_set_rules(queue_of(&w), &none);
    check_ok(beck_publish_many(bus, e, 4, NULL, NULL, err));
    assert_int_equal(atomic_load(&queue_of(&w)->admitted), 0);
    world_end(&w);
}

static void bytes_are_counted_through_every_end(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct world w;
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 2});
        put(bus, "t", "1");
        put(bus, "t", "22");
        put(bus, "t", "333");
        put(bus, "t", "4444");
        put(bus, "t", "55555");
        beck_event later = {.type = beck_str("t"),
                            .data = beck_str("at a later time"),
                            .deliver_at_ms = START_MS + HOUR};
        check_ok(beck_publish(bus, &later, err));
        if (how >= 2)
            check_ok(upkeep_checkpoint(w.b, err));
        beck_consumer *c = world_consumer(&w, "q", 0);
        settle(c, take(c, "1"));
        check_ok(beck_reject(c, take(c, "22").tag, "no", err));
        beck_delivery back = take(c, "333");
        check_bytes(&w, 9 + 15);
        check_ok(beck_return(c, back.tag, err));
        check_bytes(&w, 12 + 15);
        check_ok(beck_retry(c, take(c, "333").tag, MINUTE, "later", err));
        check_bytes(&w, 12 + 15);
        take(c, "4444");
        check_bytes(&w, 8 + 15);
        beck_consumer_close(c);
        check_bytes(&w, 12 + 15);
        if (how % 2)
            world_kill(&w);
        else
            world_reopen(&w);
        check_bytes(&w, 12 + 15);
        world_advance(&w, 2 * HOUR);
        c = world_consumer(&w, "q", 0);
        settle(c, take(c, "333"));
        settle(c, take(c, "4444"));
        settle(c, take(c, "55555"));
        settle(c, take(c, "at a later time"));
        check_bytes(&w, 0);
        check_ok(beck_dead_redrive(w.b, "q", -1, NULL, err));
        drain(c, "22");
        check_bytes(&w, 0);
        put(world_get(&w, "b"), "t", "6");
        check_ok(beck_queue_purge(w.b, "q", NULL, err));
        check_bytes(&w, 0);
        beck_consumer_close(c);
        world_end(&w);
    }
}

/* ---- times ---- */

static void a_deadline_holds_for_what_is_taken_from_then_on(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.deadline_ms = HOUR});
    for (int i = 0; i < 4; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery first = take(c, "0");
    struct queue_rules r = none;
    r.deadline_ms = MINUTE;
    queue_set_rules(queue_of(&w), &r);
    beck_delivery second = take(c, "1");
    queue_set_rules(queue_of(&w), &none);
    beck_delivery third = take(c, "2");
    world_advance(&w, MINUTE);
    check_counts(&w, "q", 1, 2, 1, 0);
    assert_int_equal(beck_settle(c, &second.tag, 1, NULL), BECK_ESTALE);
    world_advance(&w, HOUR);
    check_counts(&w, "q", 2, 1, 1, 0);
    assert_int_equal(beck_settle(c, &first.tag, 1, NULL), BECK_ESTALE);
    world_advance(&w, 365 * DAY);
    settle(c, third);
    beck_consumer_close(c);
    world_end(&w);
}

static void without_a_limit_there_is_always_another_try(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 1});
    queue_set_rules(queue_of(&w), &none);
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (uint32_t i = 1; i < 30; i++) {
        beck_delivery d = take(c, "1");
        assert_int_equal(d.attempt, i);
        check_ok(beck_retry(c, d.tag, 0, "no", err));
    }
    beck_consumer_close(c);
    c = world_consumer(&w, "q", 0);
    take(c, "1");
    beck_consumer_close(c);
    check_counts(&w, "q", 1, 0, 0, 0);
    world_end(&w);
}

static void ignore(void *ctx)
{
    (void)ctx;
}

static void what_expires_at_once_is_kept_for_who_waits(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    struct queue *q = queue_of(&w);
    struct queue_rules r = none;
    r.ttl_ms = 0;
    queue_set_rules(q, &r);
    beck_consumer *c = world_consumer(&w, "q", 0);
    put(bus, "t", "nobody waits");
    take_nothing(c);
    struct queue_watch watch = {.fn = ignore};
    assert_true(queue_watch(q, &watch));
    put(bus, "t", "1");
    world_advance(&w, 5);
    settle(c, take(c, "1"));
    queue_expect(q, true);
    put(bus, "t", "2");
    world_advance(&w, 5);
    settle(c, take(c, "2"));
    put(bus, "t", "and was not taken");
    world_advance(&w, SECOND);
    take_nothing(c);
    queue_expect(q, false);
    put(bus, "t", "nobody waits");
    check_counts(&w, "q", 0, 0, 0, 3);
    queue_set_rules(q, &none);
    put(bus, "t", "3");
    world_advance(&w, DAY);
    drain(c, "3");
    beck_consumer_close(c);
    world_end(&w);
}

/* ---- giving back and rejecting many ---- */

static void many_go_back_to_their_places(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    for (int i = 0; i < 5; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_consumer *c = world_consumer(&w, "q", 0);
    uint64_t tags[4];
    for (int i = 0; i < 4; i++)
        tags[i] = take(c, NULL).tag;
    check_ok(beck_settle(c, &tags[1], 1, err));
    check_ok(consumer_return_many(c, tags, 4, false, err));
    check_bytes(&w, 4);
    beck_delivery d = take(c, "0");
    assert_true(d.redelivered);
    assert_int_equal(d.attempt, 1);
    check_ok(consumer_return_many(c, &d.tag, 1, true, err));
    d = take(c, "0");
    assert_true(d.redelivered);
    assert_int_equal(d.attempt, 2);
    settle(c, d);
    d = take(c, "2");
    assert_true(d.redelivered);
    settle(c, d);
    drain(c, "3 4");
    beck_consumer_close(c);
    world_end(&w);
}

static void what_is_given_back_too_often_dies(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    struct queue_rules r = none;
    r.attempts_max = 3;
    queue_set_rules(queue_of(&w), &r);
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 5; i++) {
        beck_delivery d = take(c, "1");
        check_ok(consumer_return_many(c, &d.tag, 1, false, err));
    }
    for (int i = 0; i < 3; i++) {
        beck_delivery d = take(c, "1");
        check_ok(consumer_return_many(c, &d.tag, 1, true, err));
    }
    take_nothing(c);
    assert_int_equal(dead_letters(&w, "q", &all)->count, 1);
    assert_string_equal(all.list[0].reason, "delivery_limit");
    assert_int_equal(all.list[0].attempts, 3);
    check_bytes(&w, 0);
    beck_consumer_close(c);
    world_end(&w);
}

static void many_are_rejected_and_stale_ones_passed_over(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    uint64_t tags[3];
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 3; i++) {
        put(bus, "t", "1");
        tags[i] = take(c, "1").tag;
    }
    check_ok(beck_settle(c, &tags[0], 1, err));
    check_ok(consumer_reject_many(c, tags, 3, "no", err));
    check_counts(&w, "q", 0, 0, 0, 2);
    assert_int_equal(info_of(&w, "q").rejected, 2);
    beck_consumer_close(c);
    world_end(&w);
}

/* ---- instead of dead letters ---- */

struct grave {
    beck_bus *bus; /* published to, when there is one */
    struct queue *queue;
    char log[512];
    beck_status status;
};

static beck_status bury(void *ctx, struct queue *q, const beck_event *e, const struct carried *c,
                        const char *reason, uint32_t attempts, uint64_t *note, beck_error *err)
{
    struct grave *g = ctx;
    (void)note;
    assert_ptr_equal(q, g->queue);
    assert_false(mutex_held(&q->lock));
    if (g->status)
        return error_set(err, g->status, "not now");
    size_t len = strlen(g->log);
    snprintf(g->log + len, sizeof g->log - len, "%.*s:%s:%u:%.*s ", (int)e->data.len,
             (const char *)e->data.data, reason, attempts, (int)c->content.len,
             (const char *)c->content.data);
    beck_event again = {.type = beck_str("dead"), .data = e->data};
    return g->bus ? beck_publish(g->bus, &again, err) : BECK_OK;
}

static void send(struct world *w, beck_bus *bus, const char *text, const char *content)
{
    struct queue *q = queue_of(w);
    struct bus_addressed to = {.queues = &q, .queue_count = 1, .content = beck_str(content)};
    beck_event e = {.type = beck_str("t"), .data = beck_str(text)};
    check_ok(bus_publish_addressed(bus, &e, &to, 1, NULL, NULL, err));
}

static void a_function_takes_the_place_of_the_dead_letters(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        struct world w;
        struct grave g = {0};
        if (memory)
            world_start_in_memory(&w);
        else
            world_start(&w, 1);
        beck_bus *bus = world_bus(&w, "b", NULL);
        world_queue(&w, "q", &(beck_queue_options){.attempts_max = 2});
        g.queue = queue_of(&w);
        check_ok(handle_join(w.b, g.queue, bus, err));
        queue_set_bury(g.queue, bury, &g);
        struct queue_rules r = none;
        r.attempts_max = 2;
        r.length_max = 3;
        r.ttl_ms = 1000;
        queue_set_rules(g.queue, &r);
        send(&w, bus, "1", "c1");
        send(&w, bus, "2", "");
        beck_consumer *c = world_consumer(&w, "q", 0);
        check_ok(beck_reject(c, take(c, "1").tag, "no", err));
        beck_delivery d = take(c, "2");
        check_ok(consumer_return_many(c, &d.tag, 1, true, err));
        d = take(c, "2");
        check_ok(consumer_return_many(c, &d.tag, 1, true, err));
        send(&w, bus, "3", "");
        check_ok(beck_retry(c, take(c, "3").tag, 0, "no", err));
        check_ok(beck_retry(c, take(c, "3").tag, 0, "no", err));
        for (int i = 4; i < 8; i++)
            send(&w, bus, (char[]){(char)('0' + i), 0}, "c");
        queue_tick(g.queue);
        world_advance(&w, 1001);
        take_nothing(c);
        assert_string_equal(g.log, "1:rejected:1:c1 2:delivery_limit:2: 3:attempts:2: 4:maxlen:0:c "
                                   "5:expired:0:c 6:expired:0:c 7:expired:0:c ");
        check_counts(&w, "q", 0, 0, 0, 0);
        beck_consumer_close(c);
        if (memory) {
            assert_int_equal(bus_partition(bus, 0)->tail.blocks[0]->owed, 0);
        } else {
            world_kill(&w);
            check_counts(&w, "q", 0, 0, 0, 0);
            check_bytes(&w, 0);
        }
        world_end(&w);
    }
}

static void what_cannot_be_put_away_stays(void **state)
{
    struct world w;
    struct grave g = {.status = BECK_EFULL};
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    g.queue = queue_of(&w);
    queue_set_bury(g.queue, bury, &g);
    put(bus, "t", "1");
    put(bus, "t", "2");
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "1");
    assert_int_equal(beck_reject(c, d.tag, "no", NULL), BECK_EFULL);
    check_counts(&w, "q", 1, 1, 0, 0);
    struct queue_rules r = none;
    r.length_max = 1;
    queue_set_rules(g.queue, &r);
    put(bus, "t", "3");
    check_counts(&w, "q", 1, 2, 0, 0); /* in limbo */
    beck_consumer_close(c);
    world_kill(&w);
    check_counts(&w, "q", 3, 0, 0, 0);
    g = (struct grave){.queue = queue_of(&w)};
    queue_set_bury(g.queue, bury, &g);
    queue_set_rules(g.queue, &r);
    assert_string_equal(g.log, "1:maxlen:0: 2:maxlen:0: ");
    queue_set_bury(g.queue, NULL, NULL);
    put(world_get(&w, "b"), "t", "4");
    check_counts(&w, "q", 1, 0, 0, 1);
    world_end(&w);
}

/* It is given again when somebody says so or looks, and nothing is said of it. */
static void what_has_nowhere_to_go_yet_stays_and_is_not_told(void **state)
{
    struct world w;
    struct grave g = {.status = BECK_EBUSY};
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.ttl_ms = 10});
    g.queue = queue_of(&w);
    queue_set_bury(g.queue, bury, &g);
    put(bus, "t", "1");
    put(bus, "t", "2");
    world_advance(&w, 10);
    queue_tick(g.queue);
    check_counts(&w, "q", 0, 2, 0, 0);
    assert_int_equal(w.reports, 0);
    g.status = BECK_OK;
    queue_tick(g.queue);
    assert_string_equal(g.log, "1:expired:0: 2:expired:0: ");
    queue_set_bury(g.queue, NULL, NULL);
    world_end(&w);
}

/* What was rejected waits, anything else fails. */
static beck_status bury_rejected_later(void *ctx, struct queue *q, const beck_event *e,
                                       const struct carried *c, const char *reason,
                                       uint32_t attempts, uint64_t *note, beck_error *err)
{
    bool rejected = strcmp(reason, "rejected") == 0;
    (void)ctx;
    (void)q;
    (void)e;
    (void)c;
    (void)attempts;
    *note = rejected ? 7 : 0;
    return error_set(err, rejected ? BECK_EBUSY : BECK_EFULL, "not now");
}

static beck_status log_notes(void *ctx, struct queue *q, const beck_event *e,
                             const struct carried *c, const char *reason, uint32_t attempts,
                             uint64_t *note, beck_error *err)
{
    char *log = ctx;
    (void)q;
    (void)c;
    (void)reason;
    (void)attempts;
    (void)err;
    snprintf(log + strlen(log), 64 - strlen(log), "%.*s:%d ", (int)e->data.len,
             (const char *)e->data.data, (int)*note);
    return BECK_OK;
}

static void another_function_begins_anew_also_behind_what_failed(void **state)
{
    struct world w;
    struct queue_rules r = none;
    char log[64] = "";
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    queue_set_bury(queue_of(&w), bury_rejected_later, NULL);
    put(bus, "t", "1");
    put(bus, "t", "2");
    r.length_max = 1;
    queue_set_rules(queue_of(&w), &r);
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "2");
    check_ok(beck_reject(c, d.tag, "no", err));
    beck_consumer_close(c);
    queue_set_bury(queue_of(&w), log_notes, log);
    assert_string_equal(log, "1:0 2:0 ");
    world_end(&w);
}

/* The hook of a bus must not publish to it; so others do what it would have had to. */
static void what_is_too_much_may_be_published_to_its_own_bus(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    world_queue(&w, "q", NULL);
    world_queue(&w, "dead", NULL);
    world_bind(&w, "q", "b", "t", BECK_FROM_NOW);
    world_bind(&w, "dead", "b", "dead", BECK_FROM_NOW);
    struct grave g = {.bus = bus, .queue = queue_of(&w)};
    queue_set_bury(g.queue, bury, &g);
    struct queue_rules r = none;
    r.bytes_max = 4;
    queue_set_rules(g.queue, &r);
    put(bus, "t", "11");
    put(bus, "t", "22");
    put(bus, "t", "3");
    check_bytes(&w, 3);
    put(bus, "t", "4444");
    check_bytes(&w, 4);
    assert_string_equal(g.log, "");
    queue_tick(g.queue);
    assert_string_equal(g.log, "11:maxlen:0: 22:maxlen:0: 3:maxlen:0: ");
    beck_consumer *c = world_consumer(&w, "dead", 0);
    drain(c, "11 22 3");
    beck_consumer_close(c);
    c = world_consumer(&w, "q", 0);
    drain(c, "4444");
    beck_consumer_close(c);
    world_end(&w);
}

/* The handle's thread does it soon, without anybody asking. */
static void the_timer_puts_away_what_the_hook_could_not(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_close(w.b);
    clock_virtual_free(w.clock);
    w.clock = NULL;
    w.timer = true;
    check_ok(beck_open_env(&w.b, &w.options, w.vfs, clock_system(), err));
    beck_bus *bus = world_bus(&w, "b", NULL);
    world_queue(&w, "q", NULL);
    world_queue(&w, "dead", NULL);
    world_bind(&w, "q", "b", "t", BECK_FROM_NOW);
    world_bind(&w, "dead", "b", "dead", BECK_FROM_NOW);
    struct grave g = {.bus = bus, .queue = queue_of(&w)};
    queue_set_bury(g.queue, bury, &g);
    struct queue_rules r = none;
    r.length_max = 1;
    queue_set_rules(g.queue, &r);
    put(bus, "t", "1");
    put(bus, "t", "2");
    beck_consumer *c = world_consumer(&w, "dead", 0);
    beck_delivery d;
    size_t count = 0;
    check_ok(beck_take(c, &d, 1, 60000, &count, err));
    assert_true(text_is(d.event->data, "1"));
    beck_consumer_close(c);
    queue_set_bury(g.queue, NULL, NULL);
    beck_close(w.b);
    vfs_sim_free(w.vfs);
}

/* ---- options that are changed: beck_queue_alter ---- */

static void alter(struct world *w, const beck_queue_options *o)
{
    check_ok(beck_queue_alter(w->b, "q", o, err));
    beck_queue_options now = info_of(w, "q").options;
    assert_true(queue_options_equal(&now, o));
}

static void what_is_held_is_extended_by_the_deadline_that_it_was_taken_under(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.deadline_ms = 1000});
    put(bus, "t", "0");
    put(bus, "t", "1");
    beck_consumer *c = world_consumer(&w, "q", 0);
    beck_delivery d = take(c, "0");
    assert_int_equal(d.deadline_ms, 1000);
    beck_queue_options o = info_of(&w, "q").options;
    o.deadline_ms = 200;
    alter(&w, &o);
    assert_int_equal(take(c, "1").deadline_ms, 200);
    world_advance(&w, 199);
    check_counts(&w, "q", 0, 2, 0, 0);
    world_advance(&w, 1);
    check_counts(&w, "q", 0, 1, 1, 0);
    check_ok(beck_queue_purge(w.b, "q", NULL, err));
    world_advance(&w, 300);
    check_ok(beck_extend(c, d.tag, err));
    world_advance(&w, 999);
    o.deadline_ms = 5000;
    alter(&w, &o);
    check_ok(beck_extend(c, d.tag, err));
    world_advance(&w, 4999);
    settle(c, d);
    o.deadline_ms = -1;
    alter(&w, &o);
    put(bus, "t", "2");
    d = take(c, "2");
    assert_int_equal(d.deadline_ms, -1);
    o.deadline_ms = 1;
    alter(&w, &o);
    check_ok(beck_extend(c, d.tag, err));
    world_advance(&w, HOUR);
    settle(c, d);
    beck_consumer_close(c);
    world_end(&w);
}

static void changed_options_are_in_force_at_once_and_lose_nothing(void **state)
{
    struct world w;
    struct letters all;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 1});
    for (int i = 0; i < 5; i++)
        put(bus, "t", (char[]){(char)('0' + i), 0});
    beck_consumer *c = world_consumer(&w, "q", 0);
    check_ok(beck_retry(c, take(c, "0").tag, 0, NULL, err));
    beck_queue_options o = info_of(&w, "q").options;
    o.attempts_max = 3;
    o.backoff = (beck_backoff){BECK_BACKOFF_FIXED, .first_ms = MINUTE, 1, 101, 0, {0}};
    o.deadline_ms = HOUR;
    alter(&w, &o);
    check_counts(&w, "q", 4, 0, 0, 1);
    beck_delivery d = take(c, "1");
    world_advance(&w, 59 * MINUTE);
    check_ok(beck_retry(c, d.tag, -1, NULL, err));
    check_counts(&w, "q", 3, 0, 1, 1);
    world_advance(&w, MINUTE);
    assert_int_equal(take(c, "1").attempt, 2);
    o.length_max = 2;
    alter(&w, &o);
    dead_letters(&w, "q", &all);
    assert_int_equal(all.count, 2);
    assert_string_equal(all.list[1].reason, "maxlen");
    o.overflow = BECK_OVERFLOW_REFUSE;
    alter(&w, &o);
    beck_event e = {.type = beck_str("t"), .data = beck_str("5")};
    beck_error why;
    assert_int_equal(beck_publish(bus, &e, &why), BECK_ELIMIT);
    assert_non_null(strstr(why.text, "beck queue alter"));
    o.length_max = 0;
    o.overflow = BECK_OVERFLOW_DROP_OLDEST;
    o.no_dead_letters = true;
    o.ttl_ms = MINUTE;
    alter(&w, &o);
    check_ok(beck_publish(bus, &e, err));
    world_advance(&w, MINUTE);
    /* What came before has no time to live, what dies now no letter. */
    drain(c, "3 4");
    check_counts(&w, "q", 0, 1, 0, 2);
    assert_int_equal(info_of(&w, "q").expired, 1);
    beck_consumer_close(c);
    world_end(&w);
}

static void changed_options_are_kept(void **state)
{
    (void)state;
    for (int power = 0; power < 2; power++) {
        struct world w;
        world_start(&w, 1);
        beck_bus *bus = world_pair(&w, NULL);
        put(bus, "t", "0");
        beck_queue_options o = info_of(&w, "q").options;
        o.attempts_max = 7;
        o.length_max = 100;
        o.backoff = (beck_backoff){BECK_BACKOFF_LIST, 1, 1, 101, 2, {5, 6}};
        check_ok(beck_queue_pause(w.b, "q", true, err));
        alter(&w, &o);
        if (power)
            world_crash(&w);
        else
            world_kill(&w);
        beck_queue_info info = info_of(&w, "q");
        assert_true(queue_options_equal(&info.options, &o));
        assert_true(info.paused && info.ready == 1);
        world_queue(&w, "q", &o);
        world_end(&w);
    }
}

static void what_cannot_be_changed_is_refused(void **state)
{
    struct world w;
    beck_error why;
    (void)state;
    world_start(&w, 1);
    world_pair(&w, NULL);
    const beck_queue_options before = info_of(&w, "q").options;
    beck_queue_options o = before;
    o.priority_max = 3;
    assert_int_equal(beck_queue_alter(w.b, "q", &o, &why), BECK_EINVAL);
    assert_non_null(strstr(why.text, "priority_max of queue \"q\" stays"));
    o = before;
    o.storage = BECK_STORAGE_MEMORY;
    assert_int_equal(beck_queue_alter(w.b, "q", &o, &why), BECK_EINVAL);
    assert_non_null(strstr(why.text, "the storage"));
    o = before;
    o.ttl_ms = -1;
    assert_int_equal(beck_queue_alter(w.b, "q", &o, &why), BECK_EINVAL);
    assert_int_equal(beck_queue_alter(w.b, "q", NULL, &why), BECK_EINVAL);
    assert_int_equal(beck_queue_alter(w.b, "none", &before, &why), BECK_ENOENT);
    assert_int_equal(beck_queue_alter(w.b, NULL, &before, &why), BECK_ENOENT);
    assert_int_equal(beck_queue_create(w.b, "q", &o, &why), BECK_EINVAL);
    o.ttl_ms = 1;
    assert_int_equal(beck_queue_create(w.b, "q", &o, &why), BECK_EEXIST);
    assert_non_null(strstr(why.text, "beck queue alter"));
    beck_queue_options now = info_of(&w, "q").options;
    assert_true(queue_options_equal(&now, &before));
    world_end(&w);
}

/* While rules are set, nothing that they rule; afterwards as before. */
static void options_that_are_ruled_are_refused(void **state)
{
    struct world w;
    beck_error why;
    (void)state;
    world_start(&w, 1);
    world_pair(&w, &(beck_queue_options){.attempts_max = 2});
    struct queue_rules r = none;
    r.attempts_max = 5;
    queue_set_rules(queue_of(&w), &r);
    beck_queue_options o = info_of(&w, "q").options;
    o.backoff.first_ms = 7;
    alter(&w, &o);
    o.attempts_max = 3;
    assert_int_equal(beck_queue_alter(w.b, "q", &o, &why), BECK_EINVAL);
    assert_non_null(strstr(why.text, "policy"));
    queue_get_rules(queue_of(&w), &r);
    assert_int_equal(r.attempts_max, 5);
    queue_reset_rules(queue_of(&w));
    queue_get_rules(queue_of(&w), &r);
    assert_int_equal(r.attempts_max, 2);
    alter(&w, &o);
    queue_get_rules(queue_of(&w), &r);
    assert_int_equal(r.attempts_max, 3);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_holds_for_what_is_there_already),
        cmocka_unit_test(the_oldest_go_until_the_bytes_fit),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(bytes_are_counted_through_every_end),
        cmocka_unit_test(a_deadline_holds_for_what_is_taken_from_then_on),
        cmocka_unit_test(without_a_limit_there_is_always_another_try),
        cmocka_unit_test(what_expires_at_once_is_kept_for_who_waits),
        cmocka_unit_test(many_go_back_to_their_places),
        cmocka_unit_test(what_is_given_back_too_often_dies),
        cmocka_unit_test(many_are_rejected_and_stale_ones_passed_over),
        cmocka_unit_test(a_function_takes_the_place_of_the_dead_letters),
        cmocka_unit_test(what_cannot_be_put_away_stays),
        cmocka_unit_test(what_has_nowhere_to_go_yet_stays_and_is_not_told),
        cmocka_unit_test(another_function_begins_anew_also_behind_what_failed),
        cmocka_unit_test(what_is_too_much_may_be_published_to_its_own_bus),
        cmocka_unit_test(the_timer_puts_away_what_the_hook_could_not),
        cmocka_unit_test(what_is_held_is_extended_by_the_deadline_that_it_was_taken_under),
        cmocka_unit_test(changed_options_are_in_force_at_once_and_lose_nothing),
        cmocka_unit_test(changed_options_are_kept),
        cmocka_unit_test(what_cannot_be_changed_is_refused),
        cmocka_unit_test(options_that_are_ruled_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
