/* Offsets of groups: who may commit, what is kept, what goes, transactions. */
#include "groups_world.h"

#include "kafka/offsets_impl.h"

static struct gworld x;

static int setup(void **state)
{
    (void)state;
    gworld_start(&x, 2);
    topic(&x, "t", 4);
    topic(&x, "u", 4);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gworld_end(&x);
    return 0;
}

static void what_is_committed_is_fetched(void **state)
{
    (void)state;
    assert_int_equal(fetch(&x, 0).offset, -1);
    assert_int_equal(commit(&x, (struct commit){.offset = 42, .metadata = "note"}), 0);
    for (int i = 0; i < 3; i++) {
        struct fetched f = fetch(&x, 0);
        assert_int_equal(f.error, 0);
        assert_int_equal(f.offset, 42);
        assert_int_equal(f.leader_epoch, 3);
        assert_string_equal(f.metadata, "note");
        assert_int_equal(fetch(&x, 1).offset, -1);
        if (i == 0)
            gworld_reopen(&x);
        else
            gworld_kill(&x);
    }
    assert_int_equal(commit(&x, (struct commit){.offset = 43}), 0);
    assert_int_equal(fetch(&x, 0).offset, 43);
    assert_string_equal(fetch(&x, 0).metadata, "");
}

static void synced_commits_survive_a_loss_of_power(void **state)
{
    (void)state;
    groups_close(x.g);
    x.settings.level = BECK_LEVEL_SYNCED;
    gworld_begin(&x);
    for (int i = 0; i < 20; i++)
        assert_int_equal(commit(&x, (struct commit){.offset = i, .partition = i % 4}), 0);
    vfs_sim_crash(x.w.vfs);
    groups_close(x.g);
    beck_abandon(x.w.b);
    world_open(&x.w);
    gworld_begin(&x);
    for (int i = 0; i < 4; i++)
        assert_int_equal(fetch(&x, i).offset, 16 + i);
}

static void what_cannot_be_is_refused(void **state)
{
    char large[5000];
    (void)state;
    memset(large, 'x', sizeof large);
    large[4097] = 0;
    assert_int_equal(commit(&x, (struct commit){.topic = "none"}),
                     KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(commit(&x, (struct commit){.partition = 4}), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(commit(&x, (struct commit){.partition = -1}),
                     KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(commit(&x, (struct commit){.metadata = large}),
                     KAFKA_OFFSET_METADATA_TOO_LARGE);
    assert_int_equal(commit(&x, (struct commit){.member = "nobody", .generation = 1}),
                     KAFKA_ILLEGAL_GENERATION);
    assert_string_equal(state_of(&x, "g"), "");
}

static void members_commit_in_their_generation(void **state)
{
    struct joined a;
    (void)state;
    join_alone(&x, (struct join){0}, &a);
    struct commit c = {.member = a.member, .generation = 1, .offset = 7};
    assert_int_equal(commit(&x, c), 0);
    c.generation = 2;
    assert_int_equal(commit(&x, c), KAFKA_ILLEGAL_GENERATION);
    c.member = "nobody";
    assert_int_equal(commit(&x, c), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(commit(&x, (struct commit){.offset = 8}), KAFKA_UNKNOWN_MEMBER_ID);
    char id[160];
    snprintf(id, sizeof id, "%s", a.member);
    join(&x, (struct join){.member = id, .metadata = "other"}, &a);
    assert_int_equal(a.generation, 2);
    assert_int_equal(commit(&x, (struct commit){.member = id, .generation = 2}),
                     KAFKA_REBALANCE_IN_PROGRESS);
    leave(&x, "g", id, NULL, 3);
    assert_int_equal(commit(&x, (struct commit){.offset = 9}), 0);
    assert_int_equal(fetch(&x, 0).offset, 9);
}

static void commits_keep_a_session_alive(void **state)
{
    struct joined a;
    (void)state;
    join_alone(&x, (struct join){0}, &a);
    for (int i = 0; i < 4; i++) {
        pass(&x, 8 * SECOND);
        assert_int_equal(commit(&x, (struct commit){.member = a.member, .generation = 1}), 0);
    }
}

static int commit_pending(int64_t producer, int32_t partition, int64_t offset);

static void all_offsets_of_a_group_are_fetched(void **state)
{
    struct kafka_arena arena;
    struct kafka_offset_fetch_request_group r = {
        .group_id = beck_str("g"), .member_epoch = -1, .topics = {.is_null = true}};
    struct kafka_offset_fetch_response_group a;
    (void)state;
    for (int32_t p = 0; p < 4; p++) {
        commit(&x, (struct commit){.topic = "u", .partition = 3 - p, .offset = p});
        if (p < 3)
            commit(&x, (struct commit){.topic = "t", .partition = p, .offset = p});
    }
    kafka_arena_init(&arena, 1 << 20);
    assert_int_equal(commit_pending(1000, 3, 10), 0); /* of which nothing is said */
    assert_false(offsets_fetch(x.g, &r, 10, false, &arena, &a));
    assert_int_equal(a.topics.count, 2);
    assert_true(bytes_equal_text(a.topics.at[0].name, "t"));
    assert_int_equal(a.topics.at[0].partitions.count, 3);
    assert_memory_equal(a.topics.at[0].topic_id, x.topics[0].id, 16);
    assert_int_equal(a.topics.at[1].partitions.count, 4);
    for (int32_t p = 0; p < 4; p++) {
        assert_int_equal(a.topics.at[1].partitions.at[p].partition_index, p);
        assert_int_equal(a.topics.at[1].partitions.at[p].committed_offset, 3 - p);
    }
    kafka_arena_release(&arena);
}

static void offsets_of_an_empty_group_die_after_a_week(void **state)
{
    struct joined a;
    (void)state;
    join_alone(&x, (struct join){.subscription = subscription("t")}, &a);
    struct commit c = {.member = a.member, .generation = 1, .offset = 5};
    commit(&x, c);
    c.topic = "u";
    commit(&x, c);
    for (int day = 0; day < 8; day++) {
        gworld_reopen(&x); /* begins the session anew */
        pass(&x, 9 * SECOND);
        assert_int_equal(heartbeat(&x, a.member, 1), 0);
        world_advance(&x.w, DAY - 9 * SECOND);
    }
    gworld_reopen(&x);
    assert_int_equal(heartbeat(&x, a.member, 1), 0);
    world_advance(&x.w, 11 * MINUTE);
    heartbeat(&x, a.member, 1);
    pass(&x, 0);
    assert_int_equal(fetch_as(&x, "g", "t", 0, false).offset, 5);
    assert_int_equal(fetch_as(&x, "g", "u", 0, false).offset, -1);
    leave(&x, "g", a.member, NULL, 3);
    pass(&x, 6 * DAY);
    assert_int_equal(fetch(&x, 0).offset, 5);
    pass(&x, 2 * DAY);
    assert_int_equal(fetch(&x, 0).offset, -1);
    pass(&x, DAY);
    assert_string_equal(state_of(&x, "g"), "");
    gworld_reopen(&x);
    assert_string_equal(state_of(&x, "g"), "");
}

static void a_commit_may_have_a_time_of_its_own(void **state)
{
    (void)state;
    commit(&x, (struct commit){.offset = 5, .retention_ms = HOUR, .version = 4});
    pass(&x, 50 * MINUTE);
    assert_int_equal(fetch(&x, 0).offset, 5);
    gworld_reopen(&x);
    pass(&x, 20 * MINUTE);
    assert_int_equal(fetch(&x, 0).offset, -1);
}

static void wait_for_offset(int64_t offset)
{
    while (fetch(&x, 0).offset != offset)
        sched_yield();
}

static void a_topic_that_goes_takes_its_offsets(void **state)
{
    (void)state;
    commit(&x, (struct commit){.offset = 5});
    commit(&x, (struct commit){.offset = 6, .topic = "u"});
    x.gone[0] = true;
    groups_topics_changed(x.g);
    wait_for_offset(-1);
    assert_int_equal(fetch_as(&x, "g", "u", 0, false).offset, 6);
    x.gone[0] = false;
    gworld_reopen(&x);
    assert_int_equal(fetch(&x, 0).offset, -1);
}

static void a_topic_made_again_while_nobody_looked_has_no_offsets(void **state)
{
    (void)state;
    commit(&x, (struct commit){.offset = 5});
    groups_close(x.g);
    x.topics[0].id[3] = 77;
    gworld_begin(&x);
    wait_for_offset(-1);
}

static void note_offset_deleted(void *ctx, const void *answer)
{
    const struct kafka_offset_delete_response *a = answer;
    *(int *)ctx = a->error_code         ? a->error_code
                  : a->topics.count > 0 ? a->topics.at[0].partitions.at[0].error_code
                                        : 0;
}

static int delete_offset(const char *name)
{
    struct kafka_offset_delete_request_partition p = {0};
    struct kafka_offset_delete_request_topic t = {.name = beck_str(name),
                                                  .partitions = {.at = &p, .count = 1}};
    struct kafka_offset_delete_request r = {.group_id = beck_str("g"),
                                            .topics = {.at = &t, .count = 1}};
    int error = -100;
    offsets_delete(x.g, &r, note_offset_deleted, &error);
    settled(&x);
    return error;
}

static void offsets_are_deleted_unless_subscribed(void **state)
{
    struct joined a;
    (void)state;
    assert_int_equal(delete_offset("t"), KAFKA_GROUP_ID_NOT_FOUND);
    commit(&x, (struct commit){.offset = 5});
    commit(&x, (struct commit){.offset = 5, .topic = "u"});
    join_alone(&x, (struct join){.subscription = subscription("t")}, &a);
    assert_int_equal(delete_offset("t"), KAFKA_GROUP_SUBSCRIBED_TO_TOPIC);
    assert_int_equal(delete_offset("u"), 0);
    assert_int_equal(fetch_as(&x, "g", "u", 0, false).offset, -1);
    leave(&x, "g", a.member, NULL, 3);
    assert_int_equal(delete_offset("t"), 0);
    gworld_reopen(&x);
    assert_int_equal(fetch(&x, 0).offset, -1);
}

static void long_names_are_kept(void **state)
{
    char group[3001], member[2001];
    (void)state;
    memset(group, 'g', sizeof group);
    group[3000] = 0;
    memset(member, 'm', sizeof member);
    member[2000] = 0;
    assert_int_equal(commit(&x, (struct commit){.group = group, .offset = 7, .metadata = member}),
                     0);
    gworld_kill(&x);
    assert_int_equal(fetch_as(&x, group, "t", 0, false).offset, 7);
}

static void *commit_many(void *arg)
{
    int32_t partition = *(int32_t *)arg;
    for (int i = 1; i <= 50; i++)
        if (commit(&x, (struct commit){.partition = partition, .offset = i}) != 0)
            return arg;
    return NULL;
}

static void many_threads_commit_at_once(void **state)
{
    pthread_t threads[4];
    int32_t numbers[4] = {0, 1, 2, 3};
    (void)state;
    groups_close(x.g);
    x.settings.level = BECK_LEVEL_SYNCED;
    gworld_begin(&x);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, commit_many, &numbers[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    for (int round = 0; round < 2; round++) {
        for (int32_t p = 0; p < 4; p++)
            assert_int_equal(fetch(&x, p).offset, 50);
        gworld_kill(&x);
    }
}

/* ---- groups that go ---- */

static int delete_now(const char *id)
{
    beck_bytes name = beck_str(id);
    int error = -100;
    groups_delete(x.g, &name, 1, note_deleted, &error);
    settled(&x);
    return error;
}

static void a_group_whose_offsets_were_deleted_can_be_deleted(void **state)
{
    (void)state;
    commit(&x, (struct commit){.offset = 5});
    assert_int_equal(delete_offset("t"), 0);
    assert_int_equal(delete_now("g"), 0);
    assert_int_equal(delete_now("g"), KAFKA_GROUP_ID_NOT_FOUND);
    assert_int_equal(commit(&x, (struct commit){.offset = 6}), 0);
    assert_int_equal(fetch(&x, 0).offset, 6);
    assert_int_equal(delete_now("g"), 0);
    assert_int_equal(delete_now("g"), KAFKA_GROUP_ID_NOT_FOUND);
}

struct asked {
    bool deletes;
    int32_t partition;
    int64_t offset;
    int error;
};

static void ask(struct asked *a)
{
    beck_bytes id = beck_str("g");
    struct kafka_offset_commit_request_partition p = {.partition_index = a->partition,
                                                      .committed_offset = a->offset};
    struct kafka_offset_commit_request_topic t = {.name = beck_str("t"),
                                                  .partitions = {.at = &p, .count = 1}};
    struct kafka_offset_commit_request r;
    kafka_offset_commit_request_init(&r);
    r.group_id = id;
    r.topics.at = &t;
    r.topics.count = 1;
    a->error = -100;
    if (a->deletes)
        groups_delete(x.g, &id, 1, note_deleted, &a->error);
    else
        offsets_commit(x.g, &r, 8, note_commit, &a->error);
}

/* Commits and deletions that nobody waits for: what was committed before a deletion that succeeded is
 * gone, also after a restart. */
static void deleted_groups_stay_deleted(void **state)
{
    enum { ASKED = 12, PARTITIONS = 4 };
    struct rng rng;
    (void)state;
    rng_seed(&rng, 11);
    groups_close(x.g);
    x.settings.level = BECK_LEVEL_SYNCED;
    gworld_begin(&x);
    int64_t model[PARTITIONS] = {-1, -1, -1, -1};
    for (int round = 0; round < 200; round++) {
        struct asked asked[ASKED];
        for (int i = 0; i < ASKED; i++) {
            asked[i] = (struct asked){.deletes = rng_below(&rng, 4) == 0,
                                      .partition = (int32_t)rng_below(&rng, PARTITIONS),
                                      .offset = round * ASKED + i};
            ask(&asked[i]);
        }
        settled(&x);
        for (int i = 0; i < ASKED; i++) {
            if (asked[i].deletes && asked[i].error == 0)
                memset(model, 0xff, sizeof model);
            else if (!asked[i].deletes)
                model[asked[i].partition] = asked[i].offset;
            assert_true(asked[i].error == 0 ||
                        (asked[i].deletes && asked[i].error == KAFKA_GROUP_ID_NOT_FOUND));
        }
        if (rng_below(&rng, 10) == 0)
            gworld_kill(&x);
        bool any = false;
        for (int32_t p = 0; p < PARTITIONS; p++) {
            assert_int_equal(fetch(&x, p).offset, model[p]);
            any = any || model[p] >= 0;
        }
        assert_int_equal(groups_has(x.g, beck_str("g")), any);
    }
}

#define MANY 10000

static void commit_for_many(const char *topic_name)
{
    static struct kafka_offset_commit_request_partition p[MANY];
    struct kafka_offset_commit_request_topic t = {.name = beck_str(topic_name),
                                                  .partitions = {.at = p, .count = MANY}};
    struct kafka_offset_commit_request r;
    int error = -100;
    for (int32_t i = 0; i < MANY; i++)
        p[i] = (struct kafka_offset_commit_request_partition){.partition_index = i,
                                                              .committed_offset = i};
    kafka_offset_commit_request_init(&r);
    r.group_id = beck_str("g");
    r.topics.at = &t;
    r.topics.count = 1;
    offsets_commit(x.g, &r, 8, note_commit, &error);
    settled(&x);
    assert_int_equal(error, 0);
}

static void a_huge_group_expires_in_slices(void **state)
{
    static const char *const names[] = {"large-1", "large-2", "large-3"};
    int slices = 0;
    (void)state;
    for (int i = 0; i < 3; i++) {
        topic(&x, names[i], MANY);
        commit_for_many(names[i]);
    }
    world_advance(&x.w, 8 * 86400 * SECOND);
    for (bool more = true; more; slices++) {
        groups_lock(x.g);
        if (slices == 0)
            offsets_begin_sweep(x.g, true);
        more = offsets_sweep(x.g);
        struct round *written = group_log_round(x.g);
        assert_true(written->count <= SLICE_GONE + 20);
        groups_unlock(x.g);
        settled(&x);
        /* What comes back in the middle stays. */
        if (slices == 2)
            assert_int_equal(commit(&x, (struct commit){.topic = names[0], .offset = 77}), 0);
    }
    assert_true(slices >= 3 * MANY / SLICE_GONE);
    assert_int_equal(fetch_as(&x, "g", names[0], 0, false).offset, 77);
    for (int32_t i = 1; i < MANY; i += 100)
        assert_int_equal(fetch_as(&x, "g", names[i % 3], i, false).offset, -1);
    world_advance(&x.w, 8 * 86400 * SECOND);
    pass(&x, 600 * SECOND);
    assert_false(groups_has(x.g, beck_str("g")));
}

/* ---- transactions ---- */

static void note_pending(void *ctx, const void *answer)
{
    *(int *)ctx = ((const struct kafka_txn_offset_commit_response *)answer)
                      ->topics.at[0]
                      .partitions.at[0]
                      .error_code;
}

static int commit_pending(int64_t producer, int32_t partition, int64_t offset)
{
    struct kafka_txn_offset_commit_request_partition p = {
        .partition_index = partition, .committed_offset = offset, .committed_leader_epoch = -1};
    struct kafka_txn_offset_commit_request_topic t = {.name = beck_str("t"),
                                                      .partitions = {.at = &p, .count = 1}};
    struct kafka_txn_offset_commit_request r;
    int error = -100;
    kafka_txn_offset_commit_request_init(&r);
    r.group_id = beck_str("g");
    r.producer_id = producer;
    r.topics.at = &t;
    r.topics.count = 1;
    offsets_commit_pending(x.g, &r, 3, note_pending, &error);
    settled(&x);
    return error;
}

static void end(int64_t producer, bool commits)
{
    struct transaction_end e = {
        .producer_id = producer, .commit = commits, .level = BECK_LEVEL_WRITTEN};
    check_ok(partition_end_transaction(group_log_partition(x.g), &e, err));
    offsets_end_transaction(x.g, producer, commits);
}

static void offsets_of_a_transaction_count_when_it_is_committed(void **state)
{
    (void)state;
    commit(&x, (struct commit){.offset = 1});
    assert_int_equal(commit_pending(1000, 0, 10), 0);
    assert_int_equal(commit_pending(1001, 1, 11), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fetch(&x, 0).offset, 1);
        assert_int_equal(fetch_as(&x, "g", "t", 0, true).error, KAFKA_UNSTABLE_OFFSET_COMMIT);
        assert_int_equal(fetch_as(&x, "g", "t", 1, true).error, KAFKA_UNSTABLE_OFFSET_COMMIT);
        assert_int_equal(fetch_as(&x, "g", "t", 2, true).error, 0);
        gworld_kill(&x);
    }
    end(1001, false);
    assert_int_equal(fetch_as(&x, "g", "t", 1, true).error, 0);
    assert_int_equal(fetch(&x, 1).offset, -1);
    gworld_kill(&x);
    assert_int_equal(fetch(&x, 1).offset, -1);
    assert_int_equal(fetch_as(&x, "g", "t", 1, true).error, 0);
    end(1000, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fetch_as(&x, "g", "t", 0, true).offset, 10);
        assert_int_equal(fetch(&x, 1).offset, -1);
        gworld_reopen(&x);
    }
}

static void of_two_commits_the_later_record_stands(void **state)
{
    (void)state;
    commit_pending(1000, 0, 10);
    commit(&x, (struct commit){.offset = 20});
    assert_int_equal(fetch(&x, 0).offset, 20);
    end(1000, true);
    assert_int_equal(fetch(&x, 0).offset, 20);
    gworld_reopen(&x);
    assert_int_equal(fetch(&x, 0).offset, 20);
}

static void a_transaction_does_not_bring_a_deleted_group_back(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        commit(&x, (struct commit){.offset = 1, .partition = 1});
        assert_int_equal(commit_pending(1000 + again, 0, 10), 0);
        assert_int_equal(delete_now("g"), 0);
        assert_int_equal(delete_now("g"), KAFKA_GROUP_ID_NOT_FOUND);
        if (again)
            gworld_kill(&x);
        end(1000 + again, true);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(fetch(&x, 0).offset, -1);
            assert_int_equal(fetch(&x, 1).offset, -1);
            assert_false(groups_has(x.g, beck_str("g")));
            gworld_kill(&x);
        }
    }
}

/* Its decision is in another log, and would count without them. */
static void offsets_of_a_transaction_survive_a_loss_of_power(void **state)
{
    (void)state;
    assert_int_equal(commit_pending(1000, 0, 10), 0);
    vfs_sim_crash(x.w.vfs);
    groups_close(x.g);
    beck_abandon(x.w.b);
    world_open(&x.w);
    gworld_begin(&x);
    assert_int_equal(fetch_as(&x, "g", "t", 0, true).error, KAFKA_UNSTABLE_OFFSET_COMMIT);
    end(1000, true);
    assert_int_equal(fetch(&x, 0).offset, 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_committed_is_fetched),
        TEST(synced_commits_survive_a_loss_of_power),
        TEST(offsets_of_a_transaction_survive_a_loss_of_power),
        TEST(what_cannot_be_is_refused),
        TEST(members_commit_in_their_generation),
        TEST(commits_keep_a_session_alive),
        TEST(all_offsets_of_a_group_are_fetched),
        TEST(offsets_of_an_empty_group_die_after_a_week),
        TEST(a_commit_may_have_a_time_of_its_own),
        TEST(a_topic_that_goes_takes_its_offsets),
        TEST(a_topic_made_again_while_nobody_looked_has_no_offsets),
        TEST(offsets_are_deleted_unless_subscribed),
        TEST(long_names_are_kept),
        TEST(many_threads_commit_at_once),
        TEST(a_group_whose_offsets_were_deleted_can_be_deleted),
        TEST(deleted_groups_stay_deleted),
        TEST(a_huge_group_expires_in_slices),
        TEST(a_transaction_does_not_bring_a_deleted_group_back),
        TEST(offsets_of_a_transaction_count_when_it_is_committed),
        TEST(of_two_commits_the_later_record_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
