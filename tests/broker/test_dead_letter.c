/* What leaves a queue without being acknowledged, and messages that are held back. */
#include "broker/channel.h"
#include "broker/dispatch.h"
#include "broker/tables.h"

#include <sched.h>

struct arguments {
    struct buf table;
};

static struct buf *args(struct arguments *a, const char *exchange_name, const char *key)
{
    buf_init(&a->table, 4096);
    if (exchange_name)
        table_put_text(&a->table, "x-dead-letter-exchange", beck_str(exchange_name));
    if (key)
        table_put_text(&a->table, "x-dead-letter-routing-key", beck_str(key));
    return &a->table;
}

/* The first entry of x-death. */
static void check_death(struct channel *c, const char *queue_name, const char *reason, int count)
{
    struct properties p = properties_of(c);
    struct table_value deaths, first, v;
    size_t at = 0;
    assert_true(table_find(p.headers, "x-death", &deaths) && deaths.kind == TABLE_ARRAY);
    assert_true(array_next(deaths.bytes, &at, &first) && first.kind == TABLE_TABLE);
    assert_true(table_find(first.bytes, "queue", &v) && text_is(v.bytes, queue_name));
    assert_true(table_find(first.bytes, "reason", &v) && text_is(v.bytes, reason));
    assert_true(table_find(first.bytes, "count", &v) && v.integer == count);
}

static void what_is_rejected_goes_to_the_dead_letter_exchange(void **state)
{
    struct place p;
    struct channel c, dead;
    struct arguments a;
    char shown[256];
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    channel_begin(&dead, p.s);
    accepted(queue_as(p.s, "q", "d", args(&a, "amq.topic", NULL), NULL, text));
    accepted(queue(p.s, "dead", "d", text));
    accepted(bind_to(p.s, "amq.topic", "dead", "#", text));
    consume(&c, "q");
    consume(&dead, "dead");
    for (int i = 0; i < 3; i++)
        send(&c, "", "q", i == 0 ? "one" : i == 1 ? "two" : "three", mode(2));
    pump(&c);
    broker_settle(c.queue, c.tags, &c.consumer, 1, SETTLE_REJECT);
    broker_settle(c.queue, c.tags + 1, &c.consumer, 1, SETTLE_ACK);
    broker_settle(c.queue, c.tags + 2, &c.consumer, 1, SETTLE_REJECT);
    await(&dead, 2);
    check_texts(&dead, "one three");
    assert_string_equal(dead.exchange, "amq.topic");
    assert_string_equal(dead.key, "q");
    check_death(&dead, "q", "rejected", 1);
    assert_string_equal(header_of(&dead, "x-first-death-queue", shown), "q");
    assert_string_equal(header_of(&dead, "x-first-death-reason", shown), "rejected");
    while (info_of(&p.w, "q").in_flight > 0) /* the helper lets go of it */
        sched_yield();
    buf_release(&a.table);
    channel_end(&dead);
    channel_end(&c);
    place_end(&p);
}

/* The queue is fed by another thread. */
static void wait_for_ready(struct place *p, const char *name)
{
    while (info_of(&p->w, name).ready == 0)
        sched_yield();
}

static void a_retry_ladder_counts_and_a_plain_cycle_ends(void **state)
{
    struct place p;
    struct channel c;
    struct arguments a, b;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    args(&b, "", "work");
    table_put_int(&b.table, "x-message-ttl", 1000);
    accepted(queue_as(p.s, "work", "d", args(&a, "", "wait"), NULL, text));
    accepted(queue_as(p.s, "wait", "d", &b.table, NULL, text));
    consume(&c, "work");
    send(&c, "", "work", "x", mode(2));
    for (int round = 1; round <= 3; round++) {
        await(&c, 1);
        check_texts(&c, "x");
        if (round > 1)
            check_death(&c, "wait", "expired", round - 1);
        settle_all(&c, SETTLE_REJECT);
        wait_for_ready(&p, "wait"); /* the helper may have to join it */
        world_advance(&p.w, 1001);
        info_of(&p.w, "wait"); /* as the timer would look at it */
        wait_for_ready(&p, "work");
    }
    buf_release(&a.table);
    buf_release(&b.table);
    channel_end(&c);
    place_end(&p);
}

static void what_has_nowhere_to_go_is_dropped(void **state)
{
    struct place p;
    struct channel c;
    struct arguments a, b;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue_as(p.s, "plain", "d", NULL, NULL, text));
    accepted(queue_as(p.s, "lost", "d", args(&a, "none", NULL), NULL, text));
    args(&b, "", "round");
    table_put_int(&b.table, "x-message-ttl", 10);
    accepted(queue_as(p.s, "round", "d", &b.table, NULL, text)); /* its own dead letters */
    send(&c, "", "round", "x", mode(2));
    world_advance(&p.w, 11);
    check_counts(&p.w, "round", 0, 0, 0, 0); /* round for ever: dropped */
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "plain" : "lost";
        send(&c, "", name, "x", mode(2));
        consume(&c, name);
        check_texts(&c, "x");
        settle_all(&c, SETTLE_REJECT);
        check_counts(&p.w, name, 0, 0, 0, 0);
        subscriber_close(c.consumer);
        broker_queue_release(c.queue);
        c.consumer = NULL;
        c.queue = NULL;
    }
    buf_release(&a.table);
    buf_release(&b.table);
    channel_end(&c);
    place_end(&p);
}

static struct properties delayed_by(struct buf *headers, int64_t ms)
{
    buf_init(headers, 4096);
    table_put_long(headers, "x-delay", ms);
    return with_headers(mode(2), headers);
}

static void a_delayed_message_comes_when_it_is_due(void **state)
{
    struct place p;
    struct channel c;
    struct arguments a;
    struct buf first, second, third;
    char shown[256];
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    buf_init(&a.table, 4096);
    table_put_text(&a.table, "x-delayed-type", beck_str("direct"));
    accepted(exchange(p.s, "later", "x-delayed-message", "d", &a.table, text));
    accepted(queue(p.s, "q", "d", text));
    accepted(bind_to(p.s, "later", "q", "k", text));
    consume(&c, "q");
    send_confirmed(&c, "later", "k", "soon", delayed_by(&first, 2000));
    send_confirmed(&c, "later", "k", "years", delayed_by(&second, 40 * 365 * DAY));
    send_confirmed(&c, "later", "k", "first", delayed_by(&third, 1000));
    send(&c, "later", "k", "now", mode(1));
    wait_for_confirms(&c, 3);
    check_texts(&c, "now");
    world_advance(&p.w, 1000);
    info_of(&p.w, "amq.delayed");
    await(&c, 2);
    check_texts(&c, "first");
    assert_string_equal(header_of(&c, "x-delay", shown), "-1000");
    c.texts[0] = '\0';
    settle_all(&c, SETTLE_ACK);
    channel_end(&c);
    place_reopen(&p);
    world_advance(&p.w, 1000);
    info_of(&p.w, "amq.delayed");
    channel_begin(&c, p.s);
    consume(&c, "q");
    await(&c, 1);
    check_texts(&c, "soon");
    world_advance(&p.w, 40 * 365 * DAY);
    info_of(&p.w, "amq.delayed");
    await(&c, 2);
    check_texts(&c, "years");
    assert_string_equal(c.exchange, "later");
    buf_release(&first);
    buf_release(&second);
    buf_release(&third);
    buf_release(&a.table);
    channel_end(&c);
    place_end(&p);
}

static void what_ends_before_the_broker_is_open_is_dead_lettered(void **state)
{
    struct place p;
    struct channel c;
    struct arguments a;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    accepted(queue(p.s, "dead", "d", text));
    args(&a, "", "dead");
    table_put_long(&a.table, "x-message-ttl", 1000);
    accepted(queue_as(p.s, "q", "d", &a.table, NULL, text));
    send_confirmed(&c, "", "q", "one", mode(2));
    send_confirmed(&c, "", "q", "two", mode(2));
    wait_for_confirms(&c, 2);
    channel_end(&c);
    place_finish(&p);
    world_reopen(&p.w);
    world_advance(&p.w, 2000);
    assert_int_equal(info_of(&p.w, "q").ready, 2);
    place_begin(&p);
    info_of(&p.w, "q");
    channel_begin(&c, p.s);
    consume(&c, "dead");
    await(&c, 2);
    check_texts(&c, "one two");
    check_death(&c, "q", "expired", 1);
    assert_int_equal(info_of(&p.w, "q").ready, 0);
    channel_end(&c);
    buf_release(&a.table);
    place_end(&p);
}

static void lose_and_end(struct place *p, bool killed)
{
    place_lose(p, killed);
    /* Also when others open the directory in between. */
    world_reopen(&p->w);
    place_begin(p);
    struct channel c;
    channel_begin(&c, p->s);
    consume(&c, "dead");
    check_counts(&p->w, "q", 2, 0, 0, 0);
    world_advance(&p->w, 2000);
    assert_int_equal(info_of(&p->w, "q").ready, 0);
    await(&c, 2);
    check_texts(&c, "one two");
    check_death(&c, "q", "expired", 1);
    settle_all(&c, SETTLE_ACK);
    channel_end(&c);
    check_counts(&p->w, "q", 0, 0, 0, 0);
}

static void publish_one_two(struct place *p)
{
    struct channel c;
    channel_begin(&c, p->s);
    send_confirmed(&c, "", "q", "one", mode(2));
    send_confirmed(&c, "", "q", "two", mode(2));
    wait_for_confirms(&c, 2);
    channel_end(&c);
}

static void messages_of_a_queue_with_a_lifetime_end_also_after_a_crash(void **state)
{
    struct place p;
    struct arguments a;
    (void)state;
    place_start(&p, 1);
    accepted(queue(p.s, "dead", "d", text));
    args(&a, "", "dead");
    table_put_long(&a.table, "x-message-ttl", 1000);
    accepted(queue_as(p.s, "q", "d", &a.table, NULL, text));
    for (int killed = 0; killed < 2; killed++) {
        publish_one_two(&p);
        lose_and_end(&p, killed);
    }
    buf_release(&a.table);
    place_end(&p);
}

static void messages_of_a_queue_with_a_lifetime_by_policy_end_also_after_a_crash(void **state)
{
    struct place p;
    struct arguments a;
    (void)state;
    place_start(&p, 1);
    accepted(queue(p.s, "dead", "d", text));
    args(&a, "", "dead");
    accepted(queue_as(p.s, "q", "d", &a.table, NULL, text));
    publish_one_two(&p);
    place_crash(&p);
    world_advance(&p.w, 2000);
    check_counts(&p.w, "q", 2, 0, 0, 0); /* it has none yet */
    uint32_t messages;
    accepted(session_purge_queue(p.s, beck_str("q"), &messages, text));
    struct policy_view v = {.vhost = beck_str("/"),
                            .name = beck_str("ttl"),
                            .pattern = beck_str("^q$"),
                            .definition = beck_str("{\"message-ttl\":1000}"),
                            .apply_to = beck_str("queues")};
    check_ok(broker_put_policy(p.broker, true, &v, err));
    publish_one_two(&p);
    lose_and_end(&p, true);
    buf_release(&a.table);
    place_end(&p);
}

/* ---- at least once ---- */

/* A quorum queue "q" whose dead letters go to the exchange. */
static void source_queue(struct place *p, const char *dead_letter_exchange, int64_t length_max)
{
    struct arguments a;
    args(&a, dead_letter_exchange, NULL);
    table_put_text(&a.table, "x-queue-type", beck_str("quorum"));
    table_put_text(&a.table, "x-dead-letter-strategy", beck_str("at-least-once"));
    table_put_text(&a.table, "x-overflow", beck_str("reject-publish"));
    if (length_max)
        table_put_long(&a.table, "x-max-length", length_max);
    accepted(queue_as(p->s, "q", "d", &a.table, NULL, text));
    buf_release(&a.table);
}

static void publish_many(struct channel *c, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        send_confirmed(c, "", "q", texts[i], mode(2));
    wait_for_confirms(c, count);
}

static const char *const three[] = {"one", "two", "three"};

static void what_has_no_target_stays_until_there_is_one(void **state)
{
    struct place p;
    struct channel c, dead;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    channel_begin(&dead, p.s);
    source_queue(&p, "dlx", 4);
    consume(&c, "q");
    publish_many(&c, three, 3);
    await(&c, 3);
    check_texts(&c, "one two three");
    settle_all(&c, SETTLE_REJECT);
    check_counts(&p.w, "q", 0, 3, 0, 0);
    assert_int_equal(dispatcher_unacked(c.queue->dispatcher), 0);
    /* Others are delivered meanwhile; those that wait count for its length. */
    send_confirmed(&c, "", "q", "four", mode(2));
    send_confirmed(&c, "", "q", "five", mode(2));
    wait_for_confirms(&c, 5);
    assert_int_equal(c.refused, 1);
    await(&c, 1);
    check_texts(&c, "four");
    settle_all(&c, SETTLE_ACK);

    accepted(exchange(p.s, "dlx", "topic", "d", NULL, text));
    accepted(queue(p.s, "dead", "d", text));
    accepted(bind_to(p.s, "dlx", "dead", "#", text));
    consume(&dead, "dead");
    while (dead.count < 3) {
        world_advance(&p.w, 1000);
        pump(&dead);
        sched_yield();
    }
    check_texts(&dead, "one two three");
    check_death(&dead, "q", "rejected", 1);
    while (info_of(&p.w, "q").in_flight > 0)
        sched_yield();
    channel_end(&dead);
    channel_end(&c);
    place_end(&p);
}

static void a_target_that_refuses_is_tried_again_alone(void **state)
{
    struct place p;
    struct channel c, wide, narrow;
    struct arguments a;
    bool seen[3] = {false};
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    channel_begin(&wide, p.s);
    channel_begin(&narrow, p.s);
    source_queue(&p, "amq.fanout", 0);
    args(&a, NULL, NULL);
    table_put_text(&a.table, "x-overflow", beck_str("reject-publish"));
    table_put_long(&a.table, "x-max-length", 1);
    accepted(queue_as(p.s, "narrow", "d", &a.table, NULL, text));
    accepted(queue(p.s, "wide", "d", text));
    accepted(bind_to(p.s, "amq.fanout", "narrow", "", text));
    accepted(bind_to(p.s, "amq.fanout", "wide", "", text));
    consume(&c, "q");
    publish_many(&c, three, 3);
    await(&c, 3);
    settle_all(&c, SETTLE_REJECT);
    while (info_of(&p.w, "wide").ready < 3)
        sched_yield();
    while (info_of(&p.w, "q").in_flight > 2)
        sched_yield();
    assert_int_equal(info_of(&p.w, "narrow").ready, 1);
    consume_with(&narrow, "narrow", (struct subscriber_options){.prefetch = 1});
    for (size_t i = 0; i < 3; i++) {
        while (narrow.count == 0) {
            world_advance(&p.w, 1000);
            pump(&narrow);
            sched_yield();
        }
        /* Whichever is tried first when there is room. */
        size_t which = 0;
        while (which < 3 && strcmp(narrow.texts, three[which]) != 0)
            which++;
        assert_true(which < 3 && !seen[which]);
        seen[which] = true;
        narrow.texts[0] = 0;
        settle_all(&narrow, SETTLE_ACK);
    }
    while (info_of(&p.w, "q").in_flight > 0)
        sched_yield();
    consume(&wide, "wide");
    check_texts(&wide, "one two three");
    check_counts(&p.w, "narrow", 0, 0, 0, 0);
    buf_release(&a.table);
    channel_end(&narrow);
    channel_end(&wide);
    channel_end(&c);
    place_end(&p);
}

static void what_has_no_target_is_not_taken_for_another(void **state)
{
    struct place p;
    struct channel c, dead;
    (void)state;
    place_start(&p, 1);
    channel_begin(&c, p.s);
    channel_begin(&dead, p.s);
    source_queue(&p, "dlx", 0);
    accepted(exchange(p.s, "dlx", "topic", "d", NULL, text));
    accepted(queue(p.s, "dead", "d", text));
    accepted(bind_to(p.s, "dlx", "dead", "to", text));
    for (int i = 0; i < 2; i++) /* their keys lead to a queue, or to none */
        accepted(bind_to(p.s, "amq.topic", "q", i ? "to" : "nowhere", text));
    consume(&c, "q");
    consume(&dead, "dead");
    send_confirmed(&c, "amq.topic", "nowhere", "lost", mode(2));
    send_confirmed(&c, "amq.topic", "to", "one", mode(2));
    wait_for_confirms(&c, 2);
    await(&c, 2);
    settle_all(&c, SETTLE_REJECT);
    await(&dead, 1);
    while (info_of(&p.w, "q").in_flight > 1)
        sched_yield();
    for (int i = 0; i < 5; i++)
        world_advance(&p.w, 1000);
    check_counts(&p.w, "q", 0, 1, 0, 0);
    check_texts(&dead, "one");
    accepted(bind_to(p.s, "dlx", "dead", "nowhere", text));
    while (dead.count < 2) {
        world_advance(&p.w, 1000);
        pump(&dead);
        sched_yield();
    }
    check_texts(&dead, "lost");
    channel_end(&dead);
    channel_end(&c);
    place_end(&p);
}

#define MANY 100

static void a_loss_of_power_loses_no_dead_letter(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct place p;
        struct channel c;
        place_start(&p, seed);
        channel_begin(&c, p.s);
        source_queue(&p, "amq.topic", 0);
        bool stream = seed % 2 == 0;
        struct arguments a;
        args(&a, NULL, NULL);
        if (stream)
            table_put_text(&a.table, "x-queue-type", beck_str("stream"));
        accepted(queue_as(p.s, "dead", "d", &a.table, NULL, text));
        buf_release(&a.table);
        accepted(bind_to(p.s, "amq.topic", "dead", "#", text));
        consume(&c, "q");
        for (int i = 0; i < MANY; i++)
            send_confirmed(&c, "", "q", "x", mode(2));
        wait_for_confirms(&c, MANY);
        await(&c, MANY);
        c.texts[0] = '\0';
        settle_all(&c, SETTLE_REJECT);
        int64_t left = (int64_t)(seed % 4) * MANY / 4; /* in the middle, or at the end */
        while (info_of(&p.w, "q").in_flight > left)
            sched_yield();
        channel_end(&c);
        place_crash(&p);
        struct queue_declared there;
        accepted(queue_as(p.s, "dead", "p", NULL, &there, text));
        int64_t dead = there.messages, source = info_of(&p.w, "q").ready;
        assert_true(dead >= MANY - left && dead + source >= MANY);
        place_end(&p);
    }
}

/* ---- delayed retry ---- */

static void what_comes_back_comes_later_each_time(void **state)
{
    struct place p;
    struct channel c;
    struct arguments a;
    (void)state;
    for (int type = 0; type < 3; type++) {
        static const char *const types[] = {"all", "failed", "returned"};
        place_start(&p, 1);
        channel_begin(&c, p.s);
        args(&a, NULL, NULL);
        table_put_text(&a.table, "x-queue-type", beck_str("quorum"));
        table_put_text(&a.table, "x-delayed-retry-type", beck_str(types[type]));
        table_put_long(&a.table, "x-delayed-retry-min", 1000);
        table_put_long(&a.table, "x-delayed-retry-max", 2500);
        accepted(queue_as(p.s, "q", "d", &a.table, NULL, text));
        consume(&c, "q");
        send(&c, "", "q", "x", mode(2));
        await(&c, 1);
        check_texts(&c, "x");
        enum settlement how = type == 1 ? SETTLE_FAIL : SETTLE_REQUEUE;
        for (int64_t round = 1; round <= 4; round++) {
            int64_t ms = round < 3 ? 1000 * round : 2500;
            settle_all(&c, how);
            check_counts(&p.w, "q", 0, 0, 1, 0);
            world_advance(&p.w, ms - 1);
            check_counts(&p.w, "q", 0, 0, 1, 0);
            world_advance(&p.w, 1);
            info_of(&p.w, "q"); /* as the timer would look at it */
            await(&c, 1);
            check_texts(&c, "!x");
        }
        how = type == 0 ? SETTLE_FAIL : type == 1 ? SETTLE_REQUEUE : SETTLE_FAIL;
        settle_all(&c, how);
        check_counts(&p.w, "q", type == 0 ? 0 : 1, 0, type == 0, 0);
        buf_release(&a.table);
        channel_end(&c);
        place_end(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_rejected_goes_to_the_dead_letter_exchange),
        cmocka_unit_test(a_retry_ladder_counts_and_a_plain_cycle_ends),
        cmocka_unit_test(what_has_nowhere_to_go_is_dropped),
        cmocka_unit_test(a_delayed_message_comes_when_it_is_due),
        cmocka_unit_test(what_ends_before_the_broker_is_open_is_dead_lettered),
        cmocka_unit_test(messages_of_a_queue_with_a_lifetime_end_also_after_a_crash),
        cmocka_unit_test(messages_of_a_queue_with_a_lifetime_by_policy_end_also_after_a_crash),
        cmocka_unit_test(what_has_no_target_stays_until_there_is_one),
        cmocka_unit_test(a_target_that_refuses_is_tried_again_alone),
        cmocka_unit_test(what_has_no_target_is_not_taken_for_another),
        cmocka_unit_test(a_loss_of_power_loses_no_dead_letter),
        cmocka_unit_test(what_comes_back_comes_later_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
