/* Share groups: members, records, answers, positions, and what is left after a restart. */
#include "kafka/share_impl.h"
#include "kafka/share_world.h"
#include "log/produced.h"

enum { GAP, ACCEPT, RELEASE, REJECT, RENEW };

/* ---- members ---- */

static void the_first_member_makes_the_queue_of_its_topic(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 3);
    put_records(bus, 0, 2);
    assert_false(share_exists(s.k, beck_str("g")));
    struct beat b = beat_at(&s, "g", "m1", 0, "t", "unknown");
    assert_int_equal(b.error, 0);
    assert_int_equal(b.epoch, 1);
    assert_true(b.assigned);
    assert_int_equal(b.topics, 1);
    assert_int_equal(b.partitions, 3);
    assert_true(share_exists(s.k, beck_str("g")));
    beck_queue_info info = info_of(&s.w, "share.g.t");
    assert_int_equal(info.options.attempts_max, 5);
    assert_int_equal(info.options.deadline_ms, 30000);
    assert_int_equal(info.ready, 0); /* from the latest on */
    put_records(bus, 1, 2);
    check_counts(&s.w, "share.g.t", 2, 0, 0, 0);
    share_end(&s);
}

static void epochs_move_with_members_subscriptions_and_topics(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "t", 1);
    assert_int_equal(beat_at(&s, "g", "m1", 0, "t", NULL).epoch, 1);
    struct beat b = beat_at(&s, "g", "m1", 1, NULL, NULL);
    assert_int_equal(b.epoch, 1);
    assert_false(b.assigned);
    assert_int_equal(beat_at(&s, "g", "m2", 0, "t", NULL).epoch, 2);
    b = beat_at(&s, "g", "m1", 1, NULL, NULL);
    assert_int_equal(b.epoch, 2);
    assert_true(b.assigned);
    b = beat_at(&s, "g", "m1", 1, NULL, NULL); /* the answer got lost */
    assert_int_equal(b.epoch, 2);
    assert_true(b.assigned);
    assert_int_equal(beat_at(&s, "g", "m1", 7, NULL, NULL).error, KAFKA_FENCED_MEMBER_EPOCH);
    make_topic(&s, "other", 2);
    b = beat_at(&s, "g", "m1", 2, "t", "other");
    assert_int_equal(b.epoch, 3);
    assert_int_equal(b.topics, 2);
    assert_int_equal(b.partitions, 3);
    assert_int_equal(beat_at(&s, "g", "m2", -1, NULL, NULL).epoch, -1);
    assert_int_equal(beat_at(&s, "g", "m2", 3, NULL, NULL).error, KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(beat_at(&s, "g", "m1", 3, NULL, NULL).epoch, 4);
    share_end(&s);
}

static void a_silent_member_is_gone_after_its_session(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "t", 1);
    join(&s, "m1", "t");
    join(&s, "m2", "t");
    world_advance(&s.w, 40 * SECOND);
    assert_int_equal(beat_at(&s, "g", "m2", 2, NULL, NULL).error, 0);
    world_advance(&s.w, 10 * SECOND);
    assert_int_equal(beat_at(&s, "g", "m1", 1, NULL, NULL).error, KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(beat_at(&s, "g", "m2", 2, NULL, NULL).epoch, 3);
    share_end(&s);
}

static void heartbeats_that_say_nothing_sensible_are_refused(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "t", 1);
    assert_int_equal(beat_at(&s, "", "m", 0, "t", NULL).error, KAFKA_INVALID_REQUEST);
    assert_int_equal(beat_at(&s, "g", "", 0, "t", NULL).error, KAFKA_INVALID_REQUEST);
    assert_int_equal(beat_at(&s, "g", "m", 0, NULL, NULL).error, KAFKA_INVALID_REQUEST);
    assert_int_equal(beat_at(&s, "g", "m", -2, NULL, NULL).error, KAFKA_INVALID_REQUEST);
    assert_int_equal(beat_at(&s, "a\nb", "m", 0, "t", NULL).error, KAFKA_INVALID_REQUEST);
    assert_int_equal(beat_at(&s, "g", "m", 3, NULL, NULL).error, KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(beat_at(&s, "g", "m", -1, NULL, NULL).error, KAFKA_UNKNOWN_MEMBER_ID);
    assert_false(share_exists(s.k, beck_str("g")));
    for (int i = 0; i < SHARE_GROUP_MEMBERS_MAX; i++) {
        char member[16];
        snprintf(member, sizeof member, "m%d", i);
        assert_int_equal(beat_at(&s, "g", member, 0, "t", NULL).error, 0);
    }
    assert_int_equal(beat_at(&s, "g", "one more", 0, "t", NULL).error,
                     KAFKA_GROUP_MAX_SIZE_REACHED);
    share_end(&s);
}

static void a_group_is_described(void **state)
{
    struct share_world s;
    struct kafka_arena arena;
    struct kafka_share_group_describe_response_group d;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "t", 2);
    kafka_arena_init(&arena, 1 << 20);
    kafka_share_group_describe_response_group_init(&d);
    assert_true(share_describe(s.k, beck_str("g"), &arena, &d));
    assert_int_equal(d.error_code, KAFKA_GROUP_ID_NOT_FOUND);
    join(&s, "m1", "t");
    kafka_share_group_describe_response_group_init(&d);
    assert_true(share_describe(s.k, beck_str("g"), &arena, &d));
    assert_true(text_is(d.group_state, "Stable"));
    assert_true(text_is(d.assignor_name, "simple"));
    assert_int_equal(d.members.count, 1);
    assert_true(text_is(d.members.at[0].client_host, "/127.0.0.1"));
    assert_int_equal(d.members.at[0].assignment.topic_partitions.at[0].partitions.count, 2);
    beat_at(&s, "g", "m1", -1, NULL, NULL);
    kafka_share_group_describe_response_group_init(&d);
    assert_true(share_describe(s.k, beck_str("g"), &arena, &d));
    assert_true(text_is(d.group_state, "Empty"));
    kafka_arena_release(&arena);
    share_end(&s);
}

/* ---- records ---- */

static void records_are_acquired_with_the_batches_that_hold_them(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 2);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "");
    put_records(bus, 0, 5);
    put_records(bus, 1, 3);
    put_records(bus, 0, 2);
    struct got g = fetch_from(&s, "m", 1, "t", 6);
    check_got(g, "0:0-4*1 1:0-0*1");
    assert_int_equal(g.batches, 2);
    g = fetch_from(&s, "m", 2, "t", 100);
    check_got(g, "0:5-6*1 1:1-2*1");
    assert_int_equal(g.batches, 2); /* the first batch of partition 0 is not needed */
    check_counts(&s.w, "share.g.t", 0, 10, 0, 0);
    share_end(&s);
}

static void without_a_limit_in_records_a_batch_is_acquired_whole(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 10);
    put_records(bus, 0, 10);
    fetching_init(&s, &f, "m", 0, "t", 3);
    f.r.share_acquire_mode = 0;
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "0:0-9*1");
    fetching_release(&f);
    share_end(&s);
}

static void answers_do_what_they_say(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 8);
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-7*1");
    int8_t types[] = {ACCEPT, RELEASE, REJECT, GAP};
    assert_int_equal(answer_types(&s, "m", 1, "t", 0, 0, 3, types, 4), 0);
    check_counts(&s.w, "share.g.t", 1, 4, 0, 1);
    assert_int_equal(answer(&s, "m", 2, 0, 0, 0, ACCEPT), KAFKA_INVALID_RECORD_STATE);
    assert_int_equal(answer(&s, "m", 3, 0, 3, 5, ACCEPT), KAFKA_INVALID_RECORD_STATE);
    check_counts(&s.w, "share.g.t", 1, 4, 0, 1); /* all of it or nothing */
    assert_int_equal(answer(&s, "m", 4, 0, 4, 7, ACCEPT), 0);
    check_got(fetch_from(&s, "m", 5, "t", 100), "0:1-1*2");
    assert_int_equal(answer(&s, "m", 6, 0, 1, 1, ACCEPT), 0);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 1);
    share_end(&s);
}

static void answers_come_with_the_next_fetch(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    int8_t accept = ACCEPT, release = RELEASE;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 2);
    join(&s, "m", "t");
    put_records(bus, 0, 4);
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-3*1");
    fetching_init(&s, &f, "m", 1, "t", 100);
    fetching_answer(&f, 0, 0, 1, &accept, 1);
    fetching_answer(&f, 0, 2, 3, &release, 1);
    fetching_answer(&f, 1, 0, 0, &accept, 1);
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "0:2-3*2");
    assert_int_equal(g.answer_error, KAFKA_INVALID_RECORD_STATE); /* of partition 1 */
    fetching_release(&f);
    share_end(&s);
}

static void answers_that_make_no_sense_are_refused(void **state)
{
    struct share_world s;
    int8_t types[] = {ACCEPT, ACCEPT, ACCEPT};
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 4);
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-3*1");
    assert_int_equal(answer(&s, "m", 1, 0, 3, 2, ACCEPT), KAFKA_INVALID_REQUEST);
    assert_int_equal(answer(&s, "m", 2, 0, 0, 0, 5), KAFKA_INVALID_REQUEST);
    assert_int_equal(answer_types(&s, "m", 3, "t", 0, 0, 3, types, 3), KAFKA_INVALID_REQUEST);
    assert_int_equal(answer(&s, "m", 4, 0, 0, INT64_MAX, ACCEPT), KAFKA_INVALID_RECORD_STATE);
    assert_int_equal(answer(&s, "m", 5, 9, 0, 0, ACCEPT), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    check_counts(&s.w, "share.g.t", 0, 4, 0, 0);
    share_end(&s);
}

static void a_lock_ends_in_time_and_can_be_renewed(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    group_config(&s, "g", "share.record.lock.duration.ms", "20000");
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 2);
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-1*1");
    world_advance(&s.w, 15 * SECOND);
    assert_int_equal(answer(&s, "m", 1, 0, 1, 1, RENEW), 0);
    world_advance(&s.w, 15 * SECOND);
    assert_int_equal(answer(&s, "m", 2, 0, 0, 0, ACCEPT), KAFKA_INVALID_RECORD_STATE);
    assert_int_equal(answer(&s, "m", 3, 0, 1, 1, ACCEPT), 0);
    check_got(fetch_from(&s, "m", 4, "t", 100), "0:0-0*2");
    group_config(&s, "g", "share.record.lock.duration.ms", "60000");
    world_advance(&s.w, 21 * SECOND);
    check_got(fetch_from(&s, "m", 5, "t", 100), "0:0-0*3");
    world_advance(&s.w, 50 * SECOND);
    assert_int_equal(answer(&s, "m", 6, 0, 0, 0, ACCEPT), 0);
    share_end(&s);
}

static void what_is_delivered_too_often_is_a_dead_letter(void **state)
{
    struct share_world s;
    struct letters letters;
    (void)state;
    share_start(&s, 1);
    group_config(&s, "g", "share.delivery.count.limit", "3");
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 1);
    for (int32_t i = 0; i < 3; i++) {
        struct got g = fetch_from(&s, "m", 2 * i, "t", 100);
        assert_int_equal(g.list[0].times, i + 1);
        assert_int_equal(answer(&s, "m", 2 * i + 1, 0, 0, 0, RELEASE), 0);
    }
    check_got(fetch_from(&s, "m", 6, "t", 100), "");
    dead_letters(&s.w, "share.g.t", &letters);
    assert_int_equal(letters.count, 1);
    assert_int_equal(letters.list[0].origin.offset, 0);
    /* Put back, it comes where it was published. */
    int64_t redriven = 0;
    check_ok(beck_dead_redrive(s.w.b, "share.g.t", -1, &redriven, err));
    check_got(fetch_from(&s, "m", 7, "t", 100), "0:0-0*1");
    assert_int_equal(answer(&s, "m", 8, 0, 0, 0, ACCEPT), 0);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 0);
    share_end(&s);
}

static void members_share_the_records_of_all_partitions(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 2);
    join(&s, "m1", "t");
    join(&s, "m2", "t");
    put_records(bus, 0, 4);
    put_records(bus, 1, 4);
    check_got(fetch_from(&s, "m1", 0, "t", 3), "0:0-2*1");
    check_got(fetch_from(&s, "m2", 0, "t", 3), "0:3-3*1 1:0-1*1");
    assert_int_equal(answer(&s, "m2", 1, 0, 0, 0, ACCEPT), KAFKA_INVALID_RECORD_STATE);
    /* What a member has when its session ends is the other's. */
    assert_int_equal(leave_session(&s, "m1"), 0);
    check_got(fetch_from(&s, "m2", 2, "t", 100), "0:0-2*2 1:2-3*1");
    share_end(&s);
}

static void no_more_is_locked_than_the_group_allows(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    group_config(&s, "g", "share.partition.max.record.locks", "100");
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m1", "t");
    join(&s, "m2", "t");
    put_records(bus, 0, 80);
    put_records(bus, 0, 80);
    check_got(fetch_from(&s, "m1", 0, "t", 90), "0:0-89*1");
    check_got(fetch_from(&s, "m2", 0, "t", 90), "0:90-99*1");
    check_got(fetch_from(&s, "m2", 1, "t", 90), "");
    assert_int_equal(answer(&s, "m1", 1, 0, 0, 49, ACCEPT), 0);
    check_got(fetch_from(&s, "m2", 2, "t", 90), "0:100-149*1");
    share_end(&s);
}

static void produce_in_transaction(beck_bus *bus, int64_t producer, int32_t sequence)
{
    struct buf batch;
    beck_event e = {.type = beck_str("t"), .data = beck_str("x")};
    struct batch_header header = {
        .producer_id = producer, .base_sequence = sequence, .attributes = BATCH_TRANSACTIONAL};
    buf_init(&batch, 1 << 20);
    assert_int_equal(make_batch(&batch, &e, 1, START_MS, BECK_CODEC_GZIP, &header), BECK_OK);
    struct produce what = {.batch = batch.data, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
    check_ok(bus_produce(bus, 0, &what, err));
    buf_release(&batch);
}

static void end_transaction(beck_bus *bus, int64_t producer, bool commit)
{
    struct transaction_end end = {
        .producer_id = producer, .commit = commit, .level = BECK_LEVEL_WRITTEN};
    check_ok(partition_end_transaction(bus_partition(bus, 0), &end, err));
}

static void records_of_transactions_come_once_they_are_committed(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    produce_in_transaction(bus, 5, 0);
    produce_in_transaction(bus, 6, 0);
    produce_in_transaction(bus, 5, 1);
    check_got(fetch_from(&s, "m", 0, "t", 100), "");
    end_transaction(bus, 6, false);
    check_got(fetch_from(&s, "m", 1, "t", 100), "");
    end_transaction(bus, 5, true);
    struct got g = fetch_from(&s, "m", 2, "t", 100);
    check_got(g, "0:0-0*1 0:2-2*1");
    assert_int_equal(g.batches, 2); /* neither the aborted one nor what ended them */
    assert_int_equal(answer(&s, "m", 3, 0, 0, 0, ACCEPT), 0);
    int8_t types[] = {ACCEPT, GAP, ACCEPT}; /* what was not there is a gap */
    assert_int_equal(answer_types(&s, "m", 4, "t", 0, 0, 2, types, 3), KAFKA_INVALID_RECORD_STATE);
    int8_t rest[] = {GAP, ACCEPT};
    assert_int_equal(answer_types(&s, "m", 5, "t", 0, 1, 2, rest, 2), 0);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 0);
    share_end(&s);
}

static void what_retention_has_taken_is_done_with(void **state)
{
    struct share_world s;
    char text[KAFKA_TEXT] = "";
    int64_t low = -1;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 3);
    put_records(bus, 0, 3);
    check_got(fetch_from(&s, "m", 0, "t", 2), "0:0-1*1");
    assert_int_equal(topics_delete_records(share_topic(&s, "t"), 0, 4, &low, text), 0);
    assert_int_equal(low, 4);
    check_got(fetch_from(&s, "m", 1, "t", 100), "0:4-5*1");
    world_advance(&s.w, 31 * SECOND);
    check_got(fetch_from(&s, "m", 2, "t", 100), "0:4-5*2"); /* 0 and 1 were late, and are gone */
    share_end(&s);
}

static void an_answer_is_bounded_in_bytes(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    for (int i = 0; i < 4; i++)
        put_records(bus, 0, 10);
    fetching_init(&s, &f, "m", 0, "t", 100);
    f.r.max_bytes = 1;
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "0:0-9*1"); /* one batch however large */
    fetching_release(&f);
    check_counts(&s.w, "share.g.t", 30, 10, 0, 0);
    check_got(fetch_from(&s, "m", 1, "t", 100), "0:10-39*1"); /* not counted as a delivery */
    share_end(&s);
}

/* ---- sessions ---- */

static void requests_of_a_session_are_counted(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 4);
    assert_int_equal(fetch_from(&s, "m", 1, "t", 1).error, KAFKA_SHARE_SESSION_NOT_FOUND);
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, ACCEPT), KAFKA_SHARE_SESSION_NOT_FOUND);
    assert_int_equal(answer(&s, "m", 0, 0, 0, 0, ACCEPT), KAFKA_INVALID_SHARE_SESSION_EPOCH);
    assert_int_equal(leave_session(&s, "m"), KAFKA_SHARE_SESSION_NOT_FOUND);
    check_got(fetch_from(&s, "m", 0, "t", 1), "0:0-0*1");
    assert_int_equal(fetch_from(&s, "m", 2, "t", 1).error, KAFKA_INVALID_SHARE_SESSION_EPOCH);
    check_got(fetch_from(&s, "m", 1, "t", 1), "0:1-1*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, ACCEPT), KAFKA_INVALID_SHARE_SESSION_EPOCH);
    assert_int_equal(answer(&s, "m", 2, 0, 0, 0, ACCEPT), 0);
    /* Begun anew it still holds what it held. */
    check_got(fetch_from(&s, "m", 0, "t", 1), "0:2-2*1");
    assert_int_equal(answer(&s, "m", 1, 0, 1, 2, ACCEPT), 0);
    assert_int_equal(leave_session(&s, "m"), 0);
    assert_int_equal(leave_session(&s, "m"), KAFKA_SHARE_SESSION_NOT_FOUND);
    share_end(&s);
}

/* A client that is killed between two fetches says nothing. */
static void sessions_of_clients_that_are_gone_make_room(void **state)
{
    struct share_world s;
    char member[16];
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 1);
    check_got(fetch_from(&s, "gone", 0, "t", 1), "0:0-0*1");
    world_advance(&s.w, 60 * SECOND);
    for (int i = 1; i < SHARE_SESSIONS_MAX; i++) {
        snprintf(member, sizeof member, "m%d", i);
        assert_int_equal(fetch_from(&s, member, 0, "none", 1).error, 0);
    }
    assert_int_equal(fetch_from(&s, "m", 0, "t", 1).error, KAFKA_SHARE_SESSION_LIMIT_REACHED);
    world_advance(&s.w, 60 * SECOND);
    check_got(fetch_from(&s, "m", 0, "t", 1), "0:0-0*2");
    assert_int_equal(fetch_from(&s, "gone", 1, "t", 1).error, KAFKA_SHARE_SESSION_NOT_FOUND);
    assert_int_equal(fetch_from(&s, "m1", 1, "t", 0).error, 0);
    assert_int_equal(fetch_from(&s, "next", 0, "t", 1).error, KAFKA_SHARE_SESSION_LIMIT_REACHED);
    share_end(&s);
}

static void a_session_remembers_its_partitions(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 2);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "");
    put_records(bus, 0, 2);
    put_records(bus, 1, 2);
    fetching_init(&s, &f, "m", 1, "t", 100);
    struct kafka_share_fetch_request_forgotten_topic gone = {0};
    int32_t zero = 0;
    memcpy(gone.topic_id, f.topic.topic_id, TOPIC_ID);
    gone.partitions.at = &zero;
    gone.partitions.count = 1;
    f.r.topics.count = 0;
    f.r.forgotten_topics_data.at = &gone;
    f.r.forgotten_topics_data.count = 1;
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "1:0-1*1");
    fetching_release(&f);
    check_got(fetch_from(&s, "m", 2, "t", 100), "0:0-1*1");
    share_end(&s);
}

static void unknown_topics_and_partitions_are_said(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "t", 1);
    join(&s, "m", "t");
    fetching_init(&s, &f, "m", 0, "t", 100);
    f.topic.topic_id[0] ^= 1;
    f.r.max_wait_ms = 10000;
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    assert_int_equal(g.partition_errors, KAFKA_UNKNOWN_TOPIC_ID);
    fetching_release(&f);
    fetching_init(&s, &f, "m", 1, "t", 100);
    f.partitions[0].partition_index = 5;
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    assert_int_equal(g.partition_errors, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    fetching_release(&f);
    share_end(&s);
}

/* ---- waiting ---- */

static void wait_for_again(struct fetching *f)
{
    mutex_lock(&f->lock);
    while (f->again == 0)
        cond_wait(&f->changed, &f->lock);
    f->again = 0;
    mutex_unlock(&f->lock);
}

static void a_fetch_waits_for_records(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    fetching_init(&s, &f, "m", 0, "t", 100);
    f.r.max_wait_ms = 1000000;
    assert_false(share_fetch_run(&f.f));
    put_records(bus, 0, 3);
    wait_for_again(&f);
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "0:0-2*1");
    fetching_release(&f);
    share_end(&s);
}

static void a_fetch_waits_no_longer_than_it_says(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "t", 1);
    join(&s, "m", "t");
    fetching_init(&s, &f, "m", 0, "t", 100);
    f.r.max_wait_ms = 20; /* of the system's clock for the timer, of the virtual one for the end */
    assert_false(share_fetch_run(&f.f));
    wait_for_again(&f);
    world_advance(&s.w, 20);
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "");
    fetching_release(&f);
    share_end(&s);
}

static void a_fetch_whose_client_is_gone_ends_its_session(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m1", "t");
    join(&s, "m2", "t");
    put_records(bus, 0, 2);
    check_got(fetch_from(&s, "m1", 0, "t", 100), "0:0-1*1");
    fetching_init(&s, &f, "m1", 1, "t", 100);
    f.r.max_wait_ms = 1000000;
    assert_false(share_fetch_run(&f.f));
    share_fetch_cancel(&f.f);
    wait_for_again(&f);
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "");
    fetching_release(&f);
    check_got(fetch_from(&s, "m2", 0, "t", 100), "0:0-1*2");
    share_end(&s);
}

static void fetch_by(struct share_world *s, const void *connection, const char *member,
                     int32_t epoch, const char *expected)
{
    struct fetching f;
    struct got g;
    fetching_init(s, &f, member, epoch, "t", 100);
    f.f.connection = connection;
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, expected);
    fetching_release(&f);
}

static void what_a_client_held_is_free_when_its_connection_ends(void **state)
{
    struct share_world s;
    int first, second;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m1", "t");
    join(&s, "m2", "t");
    join(&s, "m3", "t");
    put_records(bus, 0, 2);
    fetch_by(&s, &first, "m1", 0, "0:0-1*1");
    put_records(bus, 0, 2);
    fetch_by(&s, &first, "m2", 0, "0:2-3*1");
    fetch_by(&s, &second, "m2", 1, ""); /* which goes on by another connection */
    share_disconnected(s.k, &first);
    fetch_by(&s, &second, "m3", 0, "0:0-1*2");
    assert_int_equal(answer(&s, "m2", 2, 0, 2, 3, ACCEPT), 0);
    share_disconnected(s.k, &second);
    assert_int_equal(answer(&s, "m3", 1, 0, 0, 1, ACCEPT), KAFKA_SHARE_SESSION_NOT_FOUND);
    check_counts(&s.w, "share.g.t", 2, 0, 0, 0);
    share_end(&s);
}

static void a_session_that_goes_on_elsewhere_does_not_end_with_a_fetch_whose_client_is_gone(
    void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    int first, second;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m1", "t");
    fetching_init(&s, &f, "m1", 0, "t", 100);
    f.f.connection = &first;
    f.r.max_wait_ms = 1000000;
    assert_false(share_fetch_run(&f.f));
    fetch_by(&s, &second, "m1", 0, "");
    put_records(bus, 0, 2);
    wait_for_again(&f);
    assert_true(share_fetch_run(&f.f)); /* it takes nothing that its client would not get */
    fetching_result(&f, &g);
    check_got(g, "");
    fetching_release(&f);
    fetch_by(&s, &second, "m1", 1, "0:0-1*1");

    fetching_init(&s, &f, "m1", 2, "t", 100);
    f.f.connection = &second;
    f.r.max_wait_ms = 1000000;
    assert_false(share_fetch_run(&f.f));
    fetch_by(&s, &first, "m1", 0, "");
    share_fetch_cancel(&f.f);
    wait_for_again(&f);
    assert_true(share_fetch_run(&f.f));
    fetching_release(&f);
    assert_int_equal(answer(&s, "m1", 1, 0, 0, 1, ACCEPT), 0);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 0);
    share_end(&s);
}

struct disconnecting {
    struct kafka *k;
    const void *connection;
};

static void *disconnect(void *ctx)
{
    struct disconnecting *d = ctx;
    share_disconnected(d->k, d->connection);
    return NULL;
}

static void a_session_is_begun_again_while_its_connection_ends(void **state)
{
    struct share_world s;
    int first, second;
    pthread_t thread;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m1", "t");
    put_records(bus, 0, 2);
    fetch_by(&s, &first, "m1", 0, "0:0-1*1");
    /* The next request of the member has the session, by another connection. */
    struct shares *shares = s.k->shares;
    struct share_request r = {.group = beck_str("g"),
                              .member = beck_str("m1"),
                              .connection = &first,
                              .epoch = 1,
                              .fetches = true};
    struct share_session *session;
    bool final;
    const char *text;
    assert_int_equal(share_session_begin(shares, &r, &session, &final, &text), 0);
    struct disconnecting d = {s.k, &first};
    pthread_create(&thread, NULL, disconnect, &d);
    while (atomic_load(&session->refs) < 3)
        sched_yield();
    mutex_lock(&shares->lock);
    session->connection = &second;
    mutex_unlock(&shares->lock);
    share_session_leave(session);
    pthread_join(thread, NULL);
    assert_int_equal(answer(&s, "m1", 2, 0, 0, 1, ACCEPT), 0);
    share_disconnected(s.k, &second);
    assert_int_equal(answer(&s, "m1", 3, 0, 0, 1, ACCEPT), KAFKA_SHARE_SESSION_NOT_FOUND);
    share_end(&s);
}

static void who_waits_gets_what_another_gives_back(void **state)
{
    struct share_world s;
    struct fetching f;
    struct got g;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m1", "t");
    join(&s, "m2", "t");
    put_records(bus, 0, 2);
    check_got(fetch_from(&s, "m1", 0, "t", 100), "0:0-1*1");
    fetching_init(&s, &f, "m2", 0, "t", 100);
    f.r.max_wait_ms = 1000000;
    assert_false(share_fetch_run(&f.f));
    assert_int_equal(answer(&s, "m1", 1, 0, 1, 1, RELEASE), 0);
    wait_for_again(&f);
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "0:1-1*2");
    fetching_release(&f);
    share_end(&s);
}

/* ---- positions ---- */

static void check_position(struct share_world *s, int32_t partition, int64_t offset, int64_t lag)
{
    struct share_position p = {.partition = partition};
    assert_int_equal(share_positions(s->k, beck_str("g"), share_topic(s, "t"), &p, 1), 0);
    assert_int_equal(p.error, 0);
    assert_int_equal(p.offset, offset);
    assert_int_equal(p.lag, lag);
}

static int move_to(struct share_world *s, int32_t partition, int64_t offset)
{
    struct share_position p = {.partition = partition, .offset = offset};
    int code = share_move(s->k, beck_str("g"), share_topic(s, "t"), &p, 1);
    return code ? code : p.error;
}

static void positions_are_told_and_moved(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 2);
    put_records(bus, 0, 4);
    join(&s, "m", "t");
    put_records(bus, 0, 6);
    check_position(&s, 0, 4, 6);
    check_position(&s, 1, 0, 0);
    check_got(fetch_from(&s, "m", 0, "t", 3), "0:4-6*1");
    assert_int_equal(answer(&s, "m", 1, 0, 4, 5, ACCEPT), 0);
    check_position(&s, 0, 6, 4);
    assert_int_equal(move_to(&s, 0, 1), KAFKA_NON_EMPTY_GROUP);
    beat_at(&s, "g", "m", -1, NULL, NULL);
    assert_int_equal(move_to(&s, 0, 1), 0);
    check_position(&s, 0, 1, 9);
    assert_int_equal(move_to(&s, 5, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    share_kill(&s);
    check_position(&s, 0, 1, 9);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:1-9*1");
    share_end(&s);
}

static void a_group_is_made_with_its_positions(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 2);
    put_records(bus, 0, 4);
    assert_int_equal(move_to(&s, 7, 1), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_false(share_exists(s.k, beck_str("g")));
    assert_int_equal(move_to(&s, 0, 1), 0);
    check_position(&s, 0, 1, 3);
    share_kill(&s);
    assert_true(share_exists(s.k, beck_str("g")));
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:1-3*1");
    struct share_position p = {.partition = 0};
    assert_int_equal(share_move(s.k, beck_str(""), share_topic(&s, "t"), &p, 1),
                     KAFKA_INVALID_GROUP_ID);
    share_end(&s);
}

static void a_group_begins_where_its_configuration_says(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    put_records(bus, 0, 2);
    world_advance(&s.w, 2 * HOUR);
    put_records(bus, 0, 2);
    world_advance(&s.w, HOUR);
    group_config(&s, "early", "share.auto.offset.reset", "earliest");
    group_config(&s, "since", "share.auto.offset.reset", "by_duration:PT1H30M");
    assert_int_equal(beat_at(&s, "early", "m", 0, "t", NULL).error, 0);
    assert_int_equal(beat_at(&s, "since", "m", 0, "t", NULL).error, 0);
    assert_int_equal(info_of(&s.w, "share.early.t").ready, 4);
    assert_int_equal(info_of(&s.w, "share.since.t").ready, 2);
    share_end(&s);
}

static void a_group_and_its_topics_can_be_forgotten(void **state)
{
    struct share_world s;
    const char *text = NULL;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "t", 1);
    make_topic(&s, "other", 1);
    assert_int_equal(share_delete(s.k, beck_str("g"), &text), KAFKA_GROUP_ID_NOT_FOUND);
    beat_at(&s, "g", "m", 0, "t", "other");
    assert_int_equal(share_delete(s.k, beck_str("g"), &text), KAFKA_NON_EMPTY_GROUP);
    assert_int_equal(share_forget(s.k, beck_str("g"), share_topic(&s, "t")), KAFKA_NON_EMPTY_GROUP);
    beat_at(&s, "g", "m", -1, NULL, NULL);
    assert_int_equal(share_forget(s.k, beck_str("g"), share_topic(&s, "t")), 0);
    beck_queue_info info;
    assert_int_equal(beck_queue_info_get(s.w.b, "share.g.t", &info, NULL), BECK_ENOENT);
    beat_at(&s, "g", "m", 0, "t", "other");
    beat_at(&s, "g", "m", -1, NULL, NULL);
    assert_int_equal(share_delete(s.k, beck_str("g"), &text), 0);
    assert_int_equal(beck_queue_info_get(s.w.b, "share.g.other", &info, NULL), BECK_ENOENT);
    assert_false(share_exists(s.k, beck_str("g")));
    share_reopen(&s);
    assert_false(share_exists(s.k, beck_str("g")));
    share_end(&s);
}

static void silent_members_do_not_keep_a_group_from_being_forgotten(void **state)
{
    struct share_world s;
    const char *text = NULL;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "t", 1);
    beat_at(&s, "g", "m", 0, "t", NULL);
    world_advance(&s.w, 40 * SECOND);
    assert_int_equal(share_forget(s.k, beck_str("g"), share_topic(&s, "t")), KAFKA_NON_EMPTY_GROUP);
    world_advance(&s.w, 10 * SECOND);
    assert_int_equal(share_forget(s.k, beck_str("g"), share_topic(&s, "t")), 0);
    beat_at(&s, "g", "m", 0, "t", NULL);
    assert_int_equal(share_delete(s.k, beck_str("g"), &text), KAFKA_NON_EMPTY_GROUP);
    world_advance(&s.w, 50 * SECOND);
    assert_int_equal(share_delete(s.k, beck_str("g"), &text), 0);
    assert_false(share_exists(s.k, beck_str("g")));
    share_end(&s);
}

static void a_topic_that_is_deleted_leaves_its_groups(void **state)
{
    struct share_world s;
    char text[KAFKA_TEXT] = "";
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 2);
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-1*1");
    assert_int_equal(topics_delete(s.k, share_topic(&s, "t"), text), 0);
    beck_queue_info info;
    assert_int_equal(beck_queue_info_get(s.w.b, "share.g.t", &info, NULL), BECK_ENOENT);
    struct beat b = beat_at(&s, "g", "m", 1, NULL, NULL);
    assert_true(b.assigned);
    assert_int_equal(b.topics, 0);
    bus = make_topic(&s, "t", 1);
    assert_int_equal(beat_at(&s, "g", "m", b.epoch, NULL, NULL).topics, 1);
    put_records(bus, 0, 1);
    check_got(fetch_from(&s, "m", 1, "t", 100), "0:0-0*1");
    share_end(&s);
}

static void names_of_queues_are_sensible_and_their_own(void **state)
{
    struct share_world s;
    beck_queue_info info;
    (void)state;
    share_start(&s, 1);
    make_topic(&s, "c", 1);
    make_topic(&s, "b.c", 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    assert_int_equal(beat_at(&s, "a.b", "m", 0, "c", NULL).error, 0);
    assert_int_equal(beat_at(&s, "a", "m", 0, "b.c", NULL).error, 0);
    assert_int_equal(beat_at(&s, "päck chen", "m", 0, "c", NULL).error, 0);
    check_ok(beck_queue_info_get(s.w.b, "share.a.b.c", &info, err));
    check_ok(beck_queue_info_get(s.w.b, "share.a.b.c.2", &info, err));
    check_ok(beck_queue_info_get(s.w.b, "share.p__ck_chen.c", &info, err));

    /* One that a user made, with rules of its own. */
    world_queue(
        &s.w, "share.g.t",
        &(beck_queue_options){
            .attempts_max = 2,
            .deadline_ms = 7000,
            .backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 5000, .jitter_percent = 101}});
    join(&s, "m", "t");
    share_reopen(&s);
    bus = world_get(&s.w, "t");
    join(&s, "m", "t");
    put_records(bus, 0, 1);
    check_got(fetch_from(&s, "m", 0, "t", 1), "0:0-0*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, RELEASE), 0);
    check_got(fetch_from(&s, "m", 2, "t", 1), "");
    world_advance(&s.w, 5000);
    check_got(fetch_from(&s, "m", 3, "t", 1), "0:0-0*2");
    world_advance(&s.w, 7000);
    check_got(fetch_from(&s, "m", 4, "t", 1), "");
    check_counts(&s.w, "share.g.t", 0, 0, 0, 1);
    share_end(&s);
}

static void partitions_that_are_added_are_shared_too(void **state)
{
    struct share_world s;
    char text[KAFKA_TEXT] = "";
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 1);
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-0*1");
    assert_int_equal(topics_grow(s.k, share_topic(&s, "t"), 3, NULL, 0, false, text), 0);
    put_records(bus, 2, 2);
    put_records(bus, 0, 1);
    struct fetching f; /* that does not know of them yet */
    struct got g;
    fetching_init(&s, &f, "m", 1, "t", 100);
    f.topic.partitions.count = 1;
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    check_got(g, "0:1-1*1");
    fetching_release(&f);
    struct beat b = beat_at(&s, "g", "m", 1, NULL, NULL);
    assert_int_equal(b.epoch, 2);
    assert_int_equal(b.partitions, 3);
    check_got(fetch_from(&s, "m", 2, "t", 100), "2:0-1*1");
    check_position(&s, 2, 0, 2);
    share_end(&s);
}

/* ---- restarts ---- */

static void after_a_restart_answers_count_and_the_rest_comes_again(void **state)
{
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    group_config(&s, "g", "share.delivery.count.limit", "7");
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 4);
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-3*1");
    int8_t types[] = {ACCEPT, RELEASE, REJECT};
    assert_int_equal(answer_types(&s, "m", 1, "t", 0, 0, 2, types, 3), 0);
    share_kill(&s);
    assert_true(share_exists(s.k, beck_str("g")));
    assert_int_equal(beat_at(&s, "g", "m", 1, NULL, NULL).error, KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(fetch_from(&s, "m", 2, "t", 100).error, KAFKA_SHARE_SESSION_NOT_FOUND);
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:1-1*2 0:3-3*1");
    check_counts(&s.w, "share.g.t", 0, 2, 0, 1);
    share_end(&s);
}

static void a_group_is_there_again_once_the_state_of_queues_is_put_right(void **state)
{
    static const char log[] = "data/__queue_state-0/00000000000000000000.log";
    struct share_world s;
    (void)state;
    share_start(&s, 1);
    beck_bus *bus = make_topic(&s, "t", 1);
    join(&s, "m", "t");
    put_records(bus, 0, 1);
    kafka_close(s.k);
    beck_close(s.w.b);
    vfs_sim_flip(s.w.vfs, log, 70, 5);
    world_open(&s.w);
    share_begin(&s);
    assert_int_equal(beat_at(&s, "g", "m", 0, "t", NULL).topics, 0); /* until then */
    kafka_close(s.k);
    beck_close(s.w.b);
    vfs_sim_flip(s.w.vfs, log, 70, 5);
    world_open(&s.w);
    share_begin(&s);
    assert_true(share_exists(s.k, beck_str("g")));
    /* The queue is still the group's own. */
    group_config(&s, "g", "share.delivery.count.limit", "2");
    join(&s, "m", "t");
    check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-0*1");
    assert_int_equal(answer(&s, "m", 1, 0, 0, 0, RELEASE), 0);
    check_got(fetch_from(&s, "m", 2, "t", 100), "0:0-0*2");
    assert_int_equal(answer(&s, "m", 3, 0, 0, 0, RELEASE), 0);
    check_counts(&s.w, "share.g.t", 0, 0, 0, 1);
    share_end(&s);
}

static void what_was_acknowledged_survives_a_loss_of_power(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct share_world s;
        share_start(&s, seed);
        beck_publish_options synced = {.level = BECK_LEVEL_SYNCED, .partition_plus_1 = 1};
        beck_event e = {.type = beck_str("t"), .data = beck_str("x")};
        beck_bus *bus = make_topic(&s, "t", 1);
        group_config(&s, "g", "share.auto.offset.reset", "earliest");
        for (int i = 0; i < 4; i++)
            check_ok(beck_publish_many(bus, &e, 1, &synced, NULL, err));
        join(&s, "m", "t");
        check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-3*1");
        int8_t types[] = {ACCEPT, REJECT};
        assert_int_equal(answer_types(&s, "m", 1, "t", 0, 1, 2, types, 2), 0);
        share_crash(&s);
        join(&s, "m", "t");
        check_got(fetch_from(&s, "m", 0, "t", 100), "0:0-0*1 0:3-3*1");
        check_counts(&s.w, "share.g.t", 0, 2, 0, 1);
        share_end(&s);
    }
}

/* ---- a model ---- */

#define MODEL_PARTITIONS 3
#define MODEL_OFFSETS 300
#define MODEL_MEMBERS 3

struct model {
    /* -2: not there, -1: ready, -3: done with; else the member that holds it. */
    int owner[MODEL_PARTITIONS][MODEL_OFFSETS];
    int times[MODEL_PARTITIONS][MODEL_OFFSETS]; /* delivered */
    int64_t next[MODEL_PARTITIONS];
    int32_t epoch[MODEL_MEMBERS];
};
enum { ABSENT = -2, READY = -1, DONE = -3 };

static const char *const members[MODEL_MEMBERS] = {"m0", "m1", "m2"};

static void model_fetch(struct share_world *s, struct model *m, struct rng *rng, int member)
{
    struct fetching f;
    struct got g;
    fetching_init(s, &f, members[member], m->epoch[member]++, "t", 1 + (int32_t)rng_below(rng, 12));
    f.r.share_acquire_mode = (int8_t)rng_below(rng, 2);
    assert_true(share_fetch_run(&f.f));
    fetching_result(&f, &g);
    fetching_release(&f);
    assert_int_equal(g.error, 0);
    for (size_t i = 0; i < g.count; i++)
        for (int64_t o = g.list[i].first; o <= g.list[i].last; o++) {
            assert_int_equal(m->owner[g.list[i].partition][o], READY);
            m->owner[g.list[i].partition][o] = member;
            assert_int_equal(g.list[i].times, ++m->times[g.list[i].partition][o]);
        }
}

static void model_fail(struct model *m, int p, int64_t o)
{
    m->owner[p][o] = m->times[p][o] >= 5 ? DONE : READY;
}

static void model_answer(struct share_world *s, struct model *m, struct rng *rng, int member)
{
    int p = (int)rng_below(rng, MODEL_PARTITIONS);
    if (m->next[p] == 0)
        return;
    int64_t first = (int64_t)rng_below(rng, (uint64_t)m->next[p]), last = first;
    while (last + 1 < m->next[p] && m->owner[p][last + 1] == member && rng_below(rng, 4))
        last++;
    int8_t types[MODEL_OFFSETS];
    bool all = true;
    for (int64_t o = first; o <= last; o++) {
        types[o - first] = (int8_t)(1 + rng_below(rng, 3));
        all &= m->owner[p][o] == member;
    }
    int code = answer_types(s, members[member], m->epoch[member]++, "t", p, first, last, types,
                            (size_t)(last - first + 1));
    assert_int_equal(code, all ? 0 : KAFKA_INVALID_RECORD_STATE);
    for (int64_t o = first; o <= last && all; o++) {
        if (types[o - first] == RELEASE)
            model_fail(m, p, o);
        else
            m->owner[p][o] = DONE;
    }
}

static void model_lose(struct model *m, int member, bool counts)
{
    for (int p = 0; p < MODEL_PARTITIONS; p++)
        for (int64_t o = 0; o < m->next[p]; o++) {
            if (m->owner[p][o] < 0 || (member >= 0 && m->owner[p][o] != member))
                continue;
            if (counts) {
                model_fail(m, p, o);
            } else {
                m->owner[p][o] = READY;
                m->times[p][o]--;
            }
        }
}

static void model_join_all(struct share_world *s, struct model *m)
{
    for (int i = 0; i < MODEL_MEMBERS; i++) {
        join(s, members[i], "t");
        m->epoch[i] = 0;
    }
}

static void model_step(struct share_world *s, struct model *m, struct rng *rng, beck_bus **bus)
{
    uint64_t what = rng_below(rng, 100);
    int member = (int)rng_below(rng, MODEL_MEMBERS);
    if (what < 20) {
        int p = (int)rng_below(rng, MODEL_PARTITIONS);
        size_t count = 1 + rng_below(rng, 5);
        if (m->next[p] + (int64_t)count >= MODEL_OFFSETS)
            return;
        put_records(*bus, p, count);
        for (size_t i = 0; i < count; i++)
            m->owner[p][m->next[p]++] = READY;
    } else if (what < 50 || m->epoch[member] == 0) {
        model_fetch(s, m, rng, member);
    } else if (what < 92) {
        model_answer(s, m, rng, member);
    } else if (what < 94) {
        world_advance(&s->w, 31 * SECOND);
        info_of(&s->w, "share.g.t");
        model_lose(m, -1, true);
        for (int i = 0; i < MODEL_MEMBERS; i++) /* the sessions of members go on */
            assert_int_equal(beat_at(s, "g", members[i], 0, "t", NULL).error, 0);
    } else if (what < 96) {
        assert_int_equal(leave_session(s, members[member]), 0);
        m->epoch[member] = 0;
        model_lose(m, member, true);
    } else if (what < 98) {
        kafka_close(s->k); /* gives everything back */
        model_lose(m, -1, true);
        world_reopen(&s->w);
        share_begin(s);
        *bus = world_get(&s->w, "t");
        model_join_all(s, m);
    } else {
        /* What sessions gave back at their end, and how often, is known from here on. */
        check_ok(upkeep_checkpoint(s->w.b, err));
        vfs_sim_kill(s->w.vfs);
        kafka_close(s->k);
        beck_abandon(s->w.b);
        world_open(&s->w);
        share_begin(s);
        model_lose(m, -1, false);
        *bus = world_get(&s->w, "t");
        model_join_all(s, m);
    }
}

/* At the end everything that is not done with is delivered, and nothing else. */
static void model_drain(struct share_world *s, struct model *m)
{
    for (int i = 0; i < MODEL_MEMBERS; i++)
        if (m->epoch[i] > 0)
            assert_int_equal(leave_session(s, members[i]), 0);
    model_lose(m, -1, true);
    bool wanted[MODEL_PARTITIONS][MODEL_OFFSETS] = {{false}};
    for (int p = 0; p < MODEL_PARTITIONS; p++)
        for (int64_t o = 0; o < m->next[p]; o++)
            wanted[p][o] = m->owner[p][o] == READY;
    struct got g = fetch_from(s, "m0", 0, "t", 2000);
    for (size_t i = 0; i < g.count; i++)
        for (int64_t o = g.list[i].first; o <= g.list[i].last; o++) {
            assert_true(wanted[g.list[i].partition][o]);
            wanted[g.list[i].partition][o] = false;
        }
    for (int p = 0; p < MODEL_PARTITIONS; p++)
        for (int64_t o = 0; o < m->next[p]; o++)
            assert_false(wanted[p][o]);
}

static void random_members_agree_with_a_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct share_world s;
        struct rng rng;
        struct model *m = calloc(1, sizeof *m);
        for (int p = 0; p < MODEL_PARTITIONS; p++)
            for (int o = 0; o < MODEL_OFFSETS; o++)
                m->owner[p][o] = ABSENT;
        rng_seed(&rng, seed);
        share_start(&s, seed);
        beck_bus *bus = make_topic(&s, "t", MODEL_PARTITIONS);
        model_join_all(&s, m);
        for (int step = 0; step < 400; step++)
            model_step(&s, m, &rng, &bus);
        model_drain(&s, m);
        share_end(&s);
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_member_makes_the_queue_of_its_topic),
        cmocka_unit_test(epochs_move_with_members_subscriptions_and_topics),
        cmocka_unit_test(a_silent_member_is_gone_after_its_session),
        cmocka_unit_test(heartbeats_that_say_nothing_sensible_are_refused),
        cmocka_unit_test(a_group_is_described),
        cmocka_unit_test(records_are_acquired_with_the_batches_that_hold_them),
        cmocka_unit_test(without_a_limit_in_records_a_batch_is_acquired_whole),
        cmocka_unit_test(answers_do_what_they_say),
        cmocka_unit_test(answers_come_with_the_next_fetch),
        cmocka_unit_test(answers_that_make_no_sense_are_refused),
        cmocka_unit_test(a_lock_ends_in_time_and_can_be_renewed),
        cmocka_unit_test(what_is_delivered_too_often_is_a_dead_letter),
        cmocka_unit_test(members_share_the_records_of_all_partitions),
        cmocka_unit_test(no_more_is_locked_than_the_group_allows),
        cmocka_unit_test(records_of_transactions_come_once_they_are_committed),
        cmocka_unit_test(what_retention_has_taken_is_done_with),
        cmocka_unit_test(an_answer_is_bounded_in_bytes),
        cmocka_unit_test(requests_of_a_session_are_counted),
        cmocka_unit_test(sessions_of_clients_that_are_gone_make_room),
        cmocka_unit_test(a_session_remembers_its_partitions),
        cmocka_unit_test(unknown_topics_and_partitions_are_said),
        cmocka_unit_test(a_fetch_waits_for_records),
        cmocka_unit_test(a_fetch_waits_no_longer_than_it_says),
        cmocka_unit_test(a_fetch_whose_client_is_gone_ends_its_session),
        cmocka_unit_test(what_a_client_held_is_free_when_its_connection_ends),
        cmocka_unit_test(
            a_session_that_goes_on_elsewhere_does_not_end_with_a_fetch_whose_client_is_gone),
        cmocka_unit_test(a_session_is_begun_again_while_its_connection_ends),
        cmocka_unit_test(who_waits_gets_what_another_gives_back),
        cmocka_unit_test(positions_are_told_and_moved),
        cmocka_unit_test(a_group_is_made_with_its_positions),
        cmocka_unit_test(a_group_begins_where_its_configuration_says),
        cmocka_unit_test(a_group_and_its_topics_can_be_forgotten),
        cmocka_unit_test(silent_members_do_not_keep_a_group_from_being_forgotten),
        cmocka_unit_test(a_topic_that_is_deleted_leaves_its_groups),
        cmocka_unit_test(partitions_that_are_added_are_shared_too),
        cmocka_unit_test(names_of_queues_are_sensible_and_their_own),
        cmocka_unit_test(after_a_restart_answers_count_and_the_rest_comes_again),
        cmocka_unit_test(a_group_is_there_again_once_the_state_of_queues_is_put_right),
        cmocka_unit_test(what_was_acknowledged_survives_a_loss_of_power),
        cmocka_unit_test(random_members_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
