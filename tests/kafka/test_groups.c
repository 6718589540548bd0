/* The classic protocol of groups: joining, syncing, heartbeats, leaving, static members, restarts. */
#include "groups_world.h"

static struct gworld x;

static int setup(void **state)
{
    (void)state;
    gworld_start(&x, 1);
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

/* Two members, stable in one generation; a leads. */
static void pair(struct joined *a, struct joined *b)
{
    struct synced s, t;
    join_alone(&x, (struct join){0}, a);
    char id[160];
    snprintf(id, sizeof id, "%s", a->member);
    join_new(&x, (struct join){0}, b);
    assert_false(b->came);
    assert_int_equal(heartbeat(&x, id, a->generation), KAFKA_REBALANCE_IN_PROGRESS);
    join(&x, (struct join){.member = id}, a);
    assert_true(a->came && b->came);
    assert_int_equal(a->generation, b->generation);
    const char *assignments[] = {a->member, "first", b->member, "second", NULL};
    sync_as(&x, "g", b->member, NULL, b->generation, NULL, &t);
    assert_false(t.came);
    sync_as(&x, "g", a->member, NULL, a->generation, assignments, &s);
    assert_true(s.came && t.came);
    assert_string_equal(s.assignment, "first");
    assert_string_equal(t.assignment, "second");
    assert_string_equal(state_of(&x, "g"), "Stable");
}

static void a_member_is_given_an_id_and_joins_with_it(void **state)
{
    struct joined a;
    (void)state;
    join(&x, (struct join){0}, &a);
    assert_int_equal(a.error, KAFKA_MEMBER_ID_REQUIRED);
    assert_true(strncmp(a.member, "client-", 7) == 0);
    char id[160];
    snprintf(id, sizeof id, "%s", a.member);
    join(&x, (struct join){.member = id}, &a);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.generation, 1);
    assert_string_equal(a.leader, id);
    assert_string_equal(a.protocol, "range");
    assert_int_equal(a.member_count, 1);
}

static void older_clients_join_at_once(void **state)
{
    struct joined a;
    (void)state;
    join(&x, (struct join){.version = 3}, &a);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.member_count, 1);
}

static void an_id_that_nobody_joins_with_is_forgotten(void **state)
{
    struct joined a, b;
    (void)state;
    join(&x, (struct join){0}, &a);
    pass(&x, 11 * SECOND);
    join(&x, (struct join){.member = a.member}, &b);
    assert_int_equal(b.error, KAFKA_UNKNOWN_MEMBER_ID);
}

static void what_cannot_be_is_refused(void **state)
{
    struct joined a;
    (void)state;
    join(&x, (struct join){.group = ""}, &a);
    assert_int_equal(a.error, KAFKA_INVALID_GROUP_ID);
    join(&x, (struct join){.session_ms = 1000}, &a);
    assert_int_equal(a.error, KAFKA_INVALID_SESSION_TIMEOUT);
    join(&x, (struct join){.session_ms = 2000000}, &a);
    assert_int_equal(a.error, KAFKA_INVALID_SESSION_TIMEOUT);
    join(&x, (struct join){.member = "nobody"}, &a);
    assert_int_equal(a.error, KAFKA_UNKNOWN_MEMBER_ID);
    join(&x, (struct join){.type = ""}, &a);
    assert_int_equal(a.error, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    assert_int_equal(heartbeat(&x, "nobody", 1), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(leave(&x, "g", "nobody", NULL, 3), KAFKA_UNKNOWN_MEMBER_ID);
    assert_string_equal(state_of(&x, "g"), "");
}

static void members_need_a_protocol_in_common(void **state)
{
    struct joined a, b;
    (void)state;
    join_alone(&x, (struct join){.protocols = "range,sticky"}, &a);
    join(&x, (struct join){.protocols = "other"}, &b);
    assert_int_equal(b.error, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    join(&x, (struct join){.type = "connect"}, &b);
    assert_int_equal(b.error, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    join_new(&x, (struct join){.protocols = "sticky"}, &b);
    join(&x, (struct join){.member = a.member, .protocols = "range,sticky"}, &a);
    assert_string_equal(b.protocol, "sticky");
}

static void two_members_share_a_generation(void **state)
{
    struct joined a, b;
    (void)state;
    pair(&a, &b);
    assert_int_equal(a.generation, 2);
    assert_int_equal(a.member_count, 2);
    assert_int_equal(b.member_count, 0);
    assert_int_equal(heartbeat(&x, a.member, 2), 0);
    assert_int_equal(heartbeat(&x, b.member, 1), KAFKA_ILLEGAL_GENERATION);
}

static void who_leaves_makes_the_others_join_again(void **state)
{
    struct joined a, b;
    (void)state;
    pair(&a, &b);
    assert_int_equal(leave(&x, "g", a.member, NULL, 1), 0);
    assert_int_equal(heartbeat(&x, b.member, 2), KAFKA_REBALANCE_IN_PROGRESS);
    char id[160];
    snprintf(id, sizeof id, "%s", b.member);
    join(&x, (struct join){.member = id}, &b);
    assert_int_equal(b.generation, 3);
    assert_string_equal(b.leader, id);
    assert_int_equal(leave(&x, "g", id, NULL, 3), 0);
    assert_string_equal(state_of(&x, "g"), "Empty");
}

static void a_session_that_ends_takes_its_member(void **state)
{
    struct joined a, b;
    (void)state;
    pair(&a, &b);
    pass(&x, 6 * SECOND);
    assert_int_equal(heartbeat(&x, a.member, 2), 0);
    pass(&x, 6 * SECOND);
    assert_int_equal(heartbeat(&x, b.member, 2), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(heartbeat(&x, a.member, 2), KAFKA_REBALANCE_IN_PROGRESS);
}

static void who_does_not_join_again_in_time_is_out(void **state)
{
    struct joined a, b, c;
    (void)state;
    pair(&a, &b);
    join_new(&x, (struct join){0}, &c);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(heartbeat(&x, b.member, 2), KAFKA_REBALANCE_IN_PROGRESS);
        assert_int_equal(heartbeat(&x, a.member, 2), KAFKA_REBALANCE_IN_PROGRESS);
        if (i == 4) {
            char id[160];
            snprintf(id, sizeof id, "%s", a.member);
            join(&x, (struct join){.member = id}, &a);
            snprintf(a.member, sizeof a.member, "%s", id);
        }
        pass(&x, 7 * SECOND);
    }
    assert_true(a.came && c.came);
    assert_int_equal(a.generation, 3);
    assert_int_equal(heartbeat(&x, b.member, 2), KAFKA_UNKNOWN_MEMBER_ID);
}

static void who_does_not_sync_in_time_is_out(void **state)
{
    struct joined a, b;
    struct synced s;
    (void)state;
    pair(&a, &b);
    char first[160], second[160];
    snprintf(first, sizeof first, "%s", a.member);
    snprintf(second, sizeof second, "%s", b.member);
    join(&x, (struct join){.member = first}, &a);
    join(&x, (struct join){.member = second}, &b);
    assert_true(a.came && b.came);
    sync_as(&x, "g", second, NULL, 3, NULL, &s);
    for (int i = 0; i < 9; i++) {
        heartbeat(&x, first, 3);
        heartbeat(&x, second, 3);
        pass(&x, 7 * SECOND);
    }
    assert_true(s.came);
    assert_int_equal(s.error, KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(heartbeat(&x, first, 3), KAFKA_UNKNOWN_MEMBER_ID);
}

static void a_join_again_with_other_topics_begins_a_generation(void **state)
{
    struct joined a, b;
    (void)state;
    pair(&a, &b);
    char id[160];
    snprintf(id, sizeof id, "%s", b.member);
    join(&x, (struct join){.member = id}, &b);
    assert_true(b.came);
    assert_int_equal(b.generation, 2);
    join(&x, (struct join){.member = id, .metadata = "other"}, &b);
    assert_false(b.came);
    join(&x, (struct join){.member = a.member}, &a);
    assert_true(b.came);
    assert_int_equal(b.generation, 3);
}

static void the_first_members_of_a_group_wait_for_each_other(void **state)
{
    struct joined a, b;
    (void)state;
    groups_close(x.g);
    x.settings.initial_rebalance_delay_ms = 3000;
    gworld_begin(&x);
    join_new(&x, (struct join){0}, &a);
    assert_false(a.came);
    pass(&x, 2 * SECOND);
    join_new(&x, (struct join){0}, &b);
    pass(&x, 2 * SECOND);
    assert_false(a.came);
    pass(&x, 4 * SECOND);
    assert_true(a.came && b.came);
    assert_int_equal(a.generation, 1);
    assert_int_equal(b.generation, 1);
}

static void a_static_member_comes_back_without_a_rebalance(void **state)
{
    struct joined a, b;
    struct synced s;
    (void)state;
    struct join one = {.instance = "one", .subscription = subscription("t")};
    join(&x, one, &a);
    assert_int_equal(a.error, 0);
    const char *assignments[] = {a.member, "all", NULL};
    sync_as(&x, "g", a.member, "one", 1, assignments, &s);
    join(&x, one, &b);
    assert_int_equal(b.error, 0);
    assert_int_equal(b.generation, 1);
    assert_true(b.skip);
    assert_string_not_equal(a.member, b.member);
    assert_int_equal(heartbeat_as(&x, "g", a.member, "one", 1), KAFKA_FENCED_INSTANCE_ID);
    sync_as(&x, "g", b.member, "one", 1, NULL, &s);
    assert_string_equal(s.assignment, "all");
    one.subscription = subscription("t,u");
    join(&x, one, &a);
    assert_int_equal(a.generation, 2);
    assert_int_equal(leave(&x, "g", "", "one", 3), 0);
    assert_string_equal(state_of(&x, "g"), "Empty");
}

static void a_static_leader_of_an_older_client_is_told_of_another(void **state)
{
    struct joined a, b;
    struct synced s;
    (void)state;
    struct join one = {.instance = "one", .version = 7};
    join(&x, one, &a);
    const char *assignments[] = {a.member, "all", NULL};
    sync_as(&x, "g", a.member, "one", 1, assignments, &s);
    join(&x, one, &b);
    assert_int_equal(b.generation, 1);
    assert_string_equal(b.leader, a.member);
    assert_false(b.skip);
}

static void groups_are_there_again_after_a_restart(void **state)
{
    struct joined a, b;
    struct synced s;
    (void)state;
    pair(&a, &b);
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            gworld_reopen(&x);
        else
            gworld_kill(&x);
        assert_string_equal(state_of(&x, "g"), "Stable");
        assert_int_equal(heartbeat(&x, a.member, 2), 0);
        assert_int_equal(heartbeat(&x, b.member, 2), 0);
        sync_as(&x, "g", b.member, NULL, 2, NULL, &s);
        assert_string_equal(s.assignment, "second");
    }
    pass(&x, 6 * SECOND);
    assert_int_equal(heartbeat(&x, a.member, 2), 0);
    pass(&x, 6 * SECOND);
    assert_int_equal(heartbeat(&x, b.member, 2), KAFKA_UNKNOWN_MEMBER_ID);
}

static void a_member_whose_connection_ends_while_it_joins_may_come_back(void **state)
{
    struct joined a, b;
    (void)state;
    join_alone(&x, (struct join){0}, &a);
    char id[160];
    join(&x, (struct join){0}, &b);
    snprintf(id, sizeof id, "%s", b.member);
    join(&x, (struct join){.member = id}, &b);
    assert_false(b.came);
    groups_forget(x.g, beck_str("g"), &b);
    settled(&x);
    assert_true(b.came);
    pass(&x, 5 * SECOND);
    join(&x, (struct join){.member = id}, &b);
    join(&x, (struct join){.member = a.member}, &a);
    assert_true(a.came && b.came);
    assert_int_equal(b.error, 0);
    assert_int_equal(a.generation, 2);
}

static void a_nameless_member_whose_connection_ends_is_out(void **state)
{
    struct joined a, b;
    (void)state;
    join_alone(&x, (struct join){0}, &a);
    join(&x, (struct join){.version = 3}, &b);
    assert_false(b.came);
    groups_forget(x.g, beck_str("g"), &b);
    settled(&x);
    assert_true(b.came);
    join(&x, (struct join){.member = a.member}, &a);
    assert_true(a.came);
    assert_int_equal(a.member_count, 1);
}

static void groups_are_listed_and_deleted(void **state)
{
    struct joined a;
    struct kafka_arena arena;
    struct kafka_list_groups_response list;
    struct kafka_list_groups_request request;
    beck_bytes stable = beck_str("stable"), id = beck_str("g");
    (void)state;
    join_alone(&x, (struct join){0}, &a);
    kafka_arena_init(&arena, 1 << 20);
    kafka_list_groups_request_init(&request);
    assert_false(groups_list(x.g, &request, &arena, &list));
    assert_int_equal(list.groups.count, 1);
    request.states_filter = (struct kafka_strings){.at = &stable, .count = 1};
    assert_false(groups_list(x.g, &request, &arena, &list));
    assert_int_equal(list.groups.count, 1);
    request.types_filter = (struct kafka_strings){.at = &stable, .count = 1};
    assert_false(groups_list(x.g, &request, &arena, &list));
    assert_int_equal(list.groups.count, 0);
    kafka_arena_release(&arena);
    assert_true(groups_has(x.g, id));
    int error = -100;
    groups_delete(x.g, &id, 1, note_deleted, &error);
    settled(&x);
    assert_int_equal(error, KAFKA_NON_EMPTY_GROUP);
    leave(&x, "g", a.member, NULL, 3);
    groups_delete(x.g, &id, 1, note_deleted, &error);
    settled(&x);
    assert_int_equal(error, 0);
    gworld_reopen(&x);
    assert_false(groups_has(x.g, id));
}

/* The disk is full while a group becomes stable: nobody is told that it is. */
static void what_cannot_be_written_is_not_promised(void **state)
{
    struct joined a;
    struct synced s;
    (void)state;
    join_alone(&x, (struct join){.group = "other"}, &a);
    join_new(&x, (struct join){0}, &a);
    const char *assignments[] = {a.member, "all", NULL};
    vfs_sim_fail(x.w.vfs, VFS_OP_WRITE, 1, true, BECK_EFULL);
    sync_as(&x, "g", a.member, NULL, 1, assignments, &s);
    assert_true(s.came);
    assert_int_equal(s.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
    vfs_sim_fail(x.w.vfs, VFS_OP_WRITE, 0, false, BECK_OK);
    sync_as(&x, "g", a.member, NULL, 1, NULL, &s);
    assert_int_equal(s.error, 0);
    assert_string_equal(s.assignment, "all");
    gworld_reopen(&x);
    assert_int_equal(heartbeat(&x, a.member, 1), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_member_is_given_an_id_and_joins_with_it),
        TEST(older_clients_join_at_once),
        TEST(an_id_that_nobody_joins_with_is_forgotten),
        TEST(what_cannot_be_is_refused),
        TEST(members_need_a_protocol_in_common),
        TEST(two_members_share_a_generation),
        TEST(who_leaves_makes_the_others_join_again),
        TEST(a_session_that_ends_takes_its_member),
        TEST(who_does_not_join_again_in_time_is_out),
        TEST(who_does_not_sync_in_time_is_out),
        TEST(a_join_again_with_other_topics_begins_a_generation),
        TEST(the_first_members_of_a_group_wait_for_each_other),
        TEST(a_static_member_comes_back_without_a_rebalance),
        TEST(a_static_leader_of_an_older_client_is_told_of_another),
        TEST(groups_are_there_again_after_a_restart),
        TEST(a_member_whose_connection_ends_while_it_joins_may_come_back),
        TEST(a_nameless_member_whose_connection_ends_is_out),
        TEST(groups_are_listed_and_deleted),
        TEST(what_cannot_be_written_is_not_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
