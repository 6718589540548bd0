/* Dead-letter topics of share groups: what is written there, when the origin is given up, and that a crash
 * loses neither. */
#include "kafka/held_disk.h"
#include "kafka/share_impl.h"
#include "kafka/share_world.h"
#include "log/cursor.h"

#include <sched.h>

enum { GAP, ACCEPT, RELEASE, REJECT };

static void topic_config(struct share_world *s, const char *topic, const char *value)
{
    char text[KAFKA_TEXT] = "";
    struct config_change change = {beck_str("errors.deadletterqueue.group.enable"), CONFIG_SET,
                                   beck_str(value)};
    if (configs_alter(s->k, CONFIG_TOPIC, beck_str(topic), &change, 1, false, false, text))
        fail_msg("%s", text);
}

/* Topic "t" of two partitions, and a group "g" with a dead-letter topic of three. */
static beck_bus *begin(struct share_world *s, uint64_t seed)
{
    share_start(s, seed);
    beck_bus *bus = make_topic(s, "t", 2);
    make_topic(s, "dlq.g", 3);
    topic_config(s, "dlq.g", "true");
    group_config(s, "g", "share.auto.offset.reset", "earliest");
    group_config(s, "g", "errors.deadletterqueue.topic.name", "dlq.g");
    return bus;
}

static void put_record(beck_bus *bus, int partition, const char *key, const char *value)
{
    beck_event e = {.type = beck_str("t"), .subject = beck_str(key), .data = beck_str(value)};
    beck_publish_options o = {.level = BECK_LEVEL_SYNCED, .partition_plus_1 = partition + 1};
    check_ok(beck_publish_many(bus, &e, 1, &o, NULL, err));
}

/* Until everything below `offset` is done with. */
static void wait_until_gone(struct share_world *s, int32_t partition, int64_t offset)
{
    struct share_position p = {.partition = partition};
    while (p.offset < offset) {
        sched_yield();
        assert_int_equal(share_positions(s->k, beck_str("g"), share_topic(s, "t"), &p, 1), 0);
    }
    assert_int_equal(p.lag, 0);
}

/* Whether the record has a header of that name and value. */
static bool has_header(const struct record_view *v, const char *name, const char *value)
{
    struct buf wanted;
    uint8_t number[10];
    buf_init(&wanted, 1024);
    buf_append(&wanted, number, varint_write(number, (int64_t)strlen(name)));
    buf_append(&wanted, name, strlen(name));
    buf_append(&wanted, number, varint_write(number, (int64_t)strlen(value)));
    buf_append(&wanted, value, strlen(value));
    bool found = memmem(v->headers.data, v->headers.len, wanted.data, wanted.len) != NULL;
    buf_release(&wanted);
    return found;
}

struct expected {
    const char *partition, *offset, *count, *message, *key, *value; /* NULL: null */
};

static void check_letter(struct share_world *s, int32_t partition, int64_t offset,
                         const struct expected *x)
{
    struct cursor *c;
    const struct record_view *v;
    check_ok(cursor_open(topic_partition(share_topic(s, "dlq.g"), partition), &c, err));
    check_ok(cursor_read(c, offset, false, &v, NULL, err));
    assert_int_equal(v->offset, offset);
    assert_true(has_header(v, "__dlq.errors.topic", "t"));
    assert_true(has_header(v, "__dlq.errors.partition", x->partition));
    assert_true(has_header(v, "__dlq.errors.offset", x->offset));
    assert_true(has_header(v, "__dlq.errors.group", "g"));
    assert_true(has_header(v, "__dlq.errors.delivery.count", x->count));
    assert_true(has_header(v, "__dlq.errors.message", x->message));
    assert_true(x->key ? text_is(v->key, x->key) : v->key.data == NULL);
    assert_true(x->value ? text_is(v->event.data, x->value) : v->value_is_null);
    cursor_close(c);
}

static void check_delivery_count(struct share_world *s, int64_t offset, const char *count)
{
    struct cursor *c;
    const struct record_view *v;
    check_ok(cursor_open(topic_partition(share_topic(s, "dlq.g"), 0), &c, err));
    check_ok(cursor_read(c, offset, false, &v, NULL, err));
    assert_true(has_header(v, "__dlq.errors.delivery.count", count));
    cursor_close(c);
}

static int64_t letters_in(struct share_world *s, int32_t partition)
{
    return partition_high(topic_partition(share_topic(s, "dlq.g"), partition));
}

static void what_is_rejected_is_told_in_the_topic(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1);
    put_record(bus, 0, "k", "v");
    put_record(bus, 1, "k", "v");
    put_record(bus, 1, "k", "v");
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-0*1 1:0-1*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, ACCEPT), 0);
    assert_int_equal(answer(&s, "m", 2, 1, 0, 1, REJECT), 0);
    wait_until_gone(&s, 1, 2);
    assert_int_equal(letters_in(&s, 0), 0);
    assert_int_equal(letters_in(&s, 1), 2);
    check_letter(&s, 1, 0,
                 &(struct expected){"1", "0", "1", "Offset rejected by client.", NULL, NULL});
    check_letter(&s, 1, 1,
                 &(struct expected){"1", "1", "1", "Offset rejected by client.", NULL, NULL});
    check_counts(&s.w, "share.g.t", 0, 0, 0, 0);
    share_end(&s);
}

static void what_is_delivered_too_often_is_copied_if_that_is_wanted(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1);
    group_config(&s, "g", "errors.deadletterqueue.copy.record.enable", "true");
    group_config(&s, "g", "share.delivery.count.limit", "2");
    put_record(bus, 0, "k", "v");
    put_record(bus, 0, "", "");
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-1*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, 1, RELEASE), 0);
    check_got(fetch_from(&s, "m", 2, "t", 100), "0:0-1*2");
    world_advance(&s.w, 31 * SECOND); /* nobody answers */
    check_got(fetch_from(&s, "m", 3, "t", 100), "");
    wait_until_gone(&s, 0, 2);
    const char *why = "Offset delivery count exceeded the threshold.";
    check_letter(&s, 0, 0, &(struct expected){"0", "0", "2", why, "k", "v"});
    check_letter(&s, 0, 1, &(struct expected){"0", "1", "2", why, NULL, ""});
    check_counts(&s.w, "share.g.t", 0, 0, 0, 0);
    share_end(&s);
}

static void a_topic_that_does_not_allow_it_gets_none(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1);
    topic_config(&s, "dlq.g", "false");
    for (int i = 0; i < 3; i++)
        put_record(bus, 0, "k", "v");
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-2*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, REJECT), 0);
    check_counts(&s.w, "share.g.t", 0, 2, 0, 1);
    topic_config(&s, "dlq.g", "true"); /* from the next fetch on */
    check_got(fetch_from(&s, "m", 2, "t", 100), "");
    assert_int_equal(answer(&s, "m", 3, 0, 1, 1, REJECT), 0);
    while (letters_in(&s, 0) < 1)
        sched_yield();
    group_config(&s, "g", "errors.deadletterqueue.topic.name", "dlq.unknown");
    check_got(fetch_from(&s, "m", 4, "t", 100), "");
    assert_int_equal(answer(&s, "m", 5, 0, 2, 2, REJECT), 0);
    wait_until_gone(&s, 0, 3);
    assert_int_equal(letters_in(&s, 0), 1);
    assert_in_range(info_of(&s.w, "share.g.t").dead, 2, 3); /* with what waited meanwhile */
    share_end(&s);
}

static void what_waits_when_the_topic_changes_is_written_to_the_other(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1);
    make_topic(&s, "dlq.other", 1);
    topic_config(&s, "dlq.other", "true");
    for (int i = 0; i < 50; i++)
        put_record(bus, 0, "k", "v");
    join(&s, "m", "t");
    int64_t *written = (int64_t[]){0, 0};
    int32_t epoch = 0;
    fetch_from(&s, "m", epoch++, "t", 100);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(answer(&s, "m", epoch++, 0, i, i, REJECT), 0);
        group_config(&s, "g", "errors.deadletterqueue.topic.name", i % 2 ? "dlq.g" : "dlq.other");
        fetch_from(&s, "m", epoch++, "t", 100);
    }
    wait_until_gone(&s, 0, 50);
    written[0] = letters_in(&s, 0);
    written[1] = partition_high(topic_partition(share_topic(&s, "dlq.other"), 0));
    assert_true(written[0] > 0 && written[1] > 0 && written[0] + written[1] >= 50);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 0);
    share_end(&s);
}

static void a_restart_goes_on_with_the_topic(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1);
    put_record(bus, 0, "k", "v");
    put_record(bus, 0, "k", "v");
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-1*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, REJECT), 0);
    share_reopen(&s);
    assert_int_equal(letters_in(&s, 0), 1);
    check_counts(&s.w, "share.g.t", 1, 0, 0, 0);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:1-1*2");
    assert_int_equal(answer(&s, "m", 1, 0, 1, 1, REJECT), 0);
    wait_until_gone(&s, 0, 2);
    assert_int_equal(letters_in(&s, 0), 2);
    share_end(&s);
}

/* A queue that is full and refuses is a topic that cannot be written. */
static void what_cannot_be_written_holds_up_no_others_and_is_tried_again(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1);
    group_config(&s, "g", "share.delivery.count.limit", "2");
    world_queue(&s.w, "full",
                &(beck_queue_options){.length_max = 1, .overflow = BECK_OVERFLOW_REFUSE});
    world_bind(&s.w, "full", "dlq.g", "#", BECK_FROM_NOW);
    put_record(share_topic(&s, "dlq.g")->bus, 2, "k", "v");
    put_record(bus, 0, "k", "v");
    put_record(bus, 0, "k", "v");
    put_record(bus, 0, "k", "v");
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 1), "0:0-0*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, RELEASE), 0);
    check_got(fetch_from(&s, "m", 2, "t", 100), "0:0-0*2 0:1-2*1");
    world_advance(&s.w, 31 * SECOND); /* nobody answers */
    check_got(fetch_from(&s, "m", 3, "t", 100), "0:1-2*2");
    assert_int_equal(answer(&s, "m", 4, 0, 1, 1, REJECT), 0);
    assert_int_equal(letters_in(&s, 0), 0);
    check_ok(beck_queue_delete(s.w.b, "full", err));
    while (letters_in(&s, 0) < 2)
        sched_yield();
    assert_int_equal(letters_in(&s, 0), 2);
    share_end(&s);
}

static bool is_poisoned(struct share_world *s, int32_t partition)
{
    struct partition_counts counts;
    partition_counts(topic_partition(share_topic(s, "dlq.g"), partition), &counts);
    return counts.poisoned;
}

/* More of them than are under way at a time. */
static void letters_of_a_broken_partition_hold_up_no_others(void **state)
{
    enum { BROKEN = 100, GOOD = 50 };
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1), *letters = share_topic(&s, "dlq.g")->bus;
    put_record(letters, 0, "k", "v");
    vfs_sim_fail(s.w.vfs, VFS_OP_SYNC, 1, false, BECK_EIO);
    beck_event e = {.type = beck_str("t")};
    beck_publish_options o = {.level = BECK_LEVEL_SYNCED, .partition_plus_1 = 1};
    assert_int_not_equal(beck_publish_many(letters, &e, 1, &o, NULL, NULL), BECK_OK);
    assert_true(is_poisoned(&s, 0));
    put_records(bus, 0, BROKEN);
    put_records(bus, 1, GOOD);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 1000), "0:0-99*1 1:0-49*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, BROKEN - 1, REJECT), 0);
    assert_int_equal(answer(&s, "m", 2, 1, 0, GOOD - 1, REJECT), 0);
    wait_until_gone(&s, 1, GOOD);
    assert_int_equal(letters_in(&s, 1), GOOD);
    share_reopen(&s);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "");
    wait_until_gone(&s, 0, BROKEN);
    assert_true(letters_in(&s, 0) >= BROKEN);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 0);
    share_end(&s);
}

static void letters_that_could_not_be_synced_hold_up_no_others(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1), *letters = share_topic(&s, "dlq.g")->bus;
    held_begin(s.w.vfs, "dlq.g-0/");
    put_record(letters, 0, "k", "v");
    put_record(letters, 1, "k", "v");
    put_records(bus, 0, 1);
    put_records(bus, 1, 1);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-0*1 1:0-0*1");
    held_fail_syncs(true);
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, REJECT), 0);
    while (!is_poisoned(&s, 0))
        sched_yield();
    assert_int_equal(answer(&s, "m", 2, 1, 0, 0, REJECT), 0);
    wait_until_gone(&s, 1, 1);
    struct share_position p = {.partition = 0};
    assert_int_equal(share_positions(s.k, beck_str("g"), share_topic(&s, "t"), &p, 1), 0);
    assert_int_equal(p.offset, 0);
    held_fail_syncs(false);
    share_reopen(&s);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "");
    wait_until_gone(&s, 0, 1);
    assert_true(letters_in(&s, 0) >= 2);
    share_end(&s);
}

/* As long as nobody has said where it goes it stays. */
static void what_ends_before_share_groups_are_open_goes_to_the_topic(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1);
    beck_event e = {.type = beck_str("t"), .expires_at_ms = clock_wall_ms(s.w.clock) + SECOND};
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "");
    check_ok(beck_publish_many(bus, &e, 1, NULL, NULL, err));
    kafka_close(s.k);
    world_reopen(&s.w);
    world_advance(&s.w, 2 * SECOND);
    check_counts(&s.w, "share.g.t", 1, 0, 0, 0);
    share_begin(&s);
    info_of(&s.w, "share.g.t");
    wait_until_gone(&s, 0, 1);
    assert_int_equal(letters_in(&s, 0), 1);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 0);
    share_end(&s);
}

static void what_was_held_is_not_once_the_topic_is_gone(void **state)
{
    struct share_world s;
    (void)state;
    beck_bus *bus = begin(&s, 1);
    beck_event e = {.type = beck_str("t"), .expires_at_ms = clock_wall_ms(s.w.clock) + SECOND};
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "");
    check_ok(beck_publish_many(bus, &e, 1, NULL, NULL, err));
    kafka_close(s.k);
    world_reopen(&s.w);
    check_ok(beck_bus_delete(s.w.b, "dlq.g", err));
    share_begin(&s);
    world_advance(&s.w, 2 * SECOND);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 1);
    share_end(&s);
}

/* More than are under way at a time. */
static void what_was_rejected_and_answered_does_not_come_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct share_world s;
        beck_bus *bus = begin(&s, seed);
        put_records(bus, 0, 100);
        join(&s, "m", "t");
        check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-99*1");
        assert_int_equal(answer(&s, "m", 1, 0, 0, 99, REJECT), 0);
        share_kill(&s);
        join(&s, "m", "t");
        check_got(fetch_from(&s, "m", 0, "t", 100), "");
        wait_until_gone(&s, 0, 100);
        assert_true(letters_in(&s, 0) >= 100);
        for (int64_t at = 0; at < letters_in(&s, 0); at++)
            check_delivery_count(&s, at, "1");
        assert_int_equal(partition_high(bus_partition(s.w.b->home.dead, 0)), 0);
        share_end(&s);
    }
}

#define CRASH_RECORDS 8

/* Whenever the power goes, no record that was rejected comes again, and each has its dead letter. */
static void a_loss_of_power_loses_no_letter_and_brings_no_record_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct share_world s;
        beck_bus *bus = begin(&s, seed);
        bool there[CRASH_RECORDS] = {false};
        for (int i = 0; i < CRASH_RECORDS; i++)
            put_record(bus, 0, "k", "v");
        join(&s, "m", "t");
        check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-7*1");
        assert_int_equal(answer(&s, "m", 1, 0, 0, CRASH_RECORDS - 1, REJECT), 0);
        if (seed % 2)
            wait_until_gone(&s, 0, CRASH_RECORDS);
        share_wait_synced(&s); /* as it is answered */
        share_crash(&s);
        join(&s, "m", "t");
        check_got(fetch_from(&s, "m", 0, "t", 100), "");
        wait_until_gone(&s, 0, CRASH_RECORDS);
        for (int64_t at = 0; at < letters_in(&s, 0); at++) {
            struct cursor *c;
            const struct record_view *v;
            check_ok(cursor_open(topic_partition(share_topic(&s, "dlq.g"), 0), &c, err));
            check_ok(cursor_read(c, at, false, &v, NULL, err));
            for (int i = 0; i < CRASH_RECORDS; i++) {
                char offset[2] = {(char)('0' + i), 0};
                there[i] |= has_header(v, "__dlq.errors.offset", offset);
            }
            cursor_close(c);
        }
        for (int i = 0; i < CRASH_RECORDS; i++)
            assert_true(there[i]);
        share_end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_rejected_is_told_in_the_topic),
        cmocka_unit_test(what_is_delivered_too_often_is_copied_if_that_is_wanted),
        cmocka_unit_test(a_topic_that_does_not_allow_it_gets_none),
        cmocka_unit_test(what_waits_when_the_topic_changes_is_written_to_the_other),
        cmocka_unit_test(a_restart_goes_on_with_the_topic),
        cmocka_unit_test(what_cannot_be_written_holds_up_no_others_and_is_tried_again),
        cmocka_unit_test(letters_of_a_broken_partition_hold_up_no_others),
        cmocka_unit_test(letters_that_could_not_be_synced_hold_up_no_others),
        cmocka_unit_test(what_ends_before_share_groups_are_open_goes_to_the_topic),
        cmocka_unit_test(what_was_held_is_not_once_the_topic_is_gone),
        cmocka_unit_test(what_was_rejected_and_answered_does_not_come_again),
        cmocka_unit_test(a_loss_of_power_loses_no_letter_and_brings_no_record_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
