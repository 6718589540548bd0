/* KIP-848: members, assignments, reconciliation, regular expressions, fencing; 1,000 members. */
#include "groups_world.h"

#include "kafka/assignor.h"

static struct gworld x;

#define HELD 4096

/* A member as a client has it. */
struct client {
    char id[40];
    const char *instance, *topics, *regex, *assignor;
    int32_t epoch;
    uint32_t held[HELD]; /* topic number << 16 | partition */
    size_t held_count;
    bool confirm;     /* says what it has with the next heartbeat */
    const char *user; /* sees topics that begin with its first letter, and "t"; NULL: all */
    int error, interval_ms;
    char message[200];
};

static int topic_number(const uint8_t id[16])
{
    return id[15] - 1;
}

static void note_beat(void *ctx, const void *answer)
{
    const struct kafka_consumer_group_heartbeat_response *a = answer;
    struct client *c = ctx;
    c->error = a->error_code;
    text_of(c->message, sizeof c->message, a->error_message);
    if (c->error)
        return;
    c->epoch = a->member_epoch;
    c->interval_ms = a->heartbeat_interval_ms;
    text_of(c->id, sizeof c->id, a->member_id);
    if (!a->assignment)
        return;
    c->held_count = 0;
    c->confirm = true;
    for (size_t t = 0; t < a->assignment->topic_partitions.count; t++) {
        const struct kafka_consumer_group_heartbeat_response_topic_partition *from =
            &a->assignment->topic_partitions.at[t];
        for (size_t p = 0; p < from->partitions.count && c->held_count < HELD; p++)
            c->held[c->held_count++] =
                (uint32_t)topic_number(from->topic_id) << 16 | (uint32_t)from->partitions.at[p];
    }
}

static size_t split(char *text, beck_bytes *out)
{
    size_t n = 0;
    for (char *rest = text, *name; (name = strtok_r(rest, ",", &rest));)
        out[n++] = beck_str(name);
    return n;
}

static bool may_see(void *ctx, beck_bytes name)
{
    const struct client *c = ctx;
    char first = *(const char *)name.data;
    return first == c->user[0] || first == 't';
}

/* A heartbeat; with everything when it joins, and with what it holds where that is to be said. */
static int beat_as(const char *group, struct client *c)
{
    static struct kafka_consumer_group_heartbeat_request_topic_partition held[TOPICS];
    static int32_t partitions[TOPICS][HELD];
    struct kafka_consumer_group_heartbeat_request r;
    struct group_client client = {.id = beck_str("client"),
                                  .host = beck_str("/127.0.0.1"),
                                  .version = 1,
                                  .user = beck_str(c->user ? c->user : ""),
                                  .may_see = c->user ? may_see : NULL,
                                  .ctx = c};
    char names[200];
    beck_bytes topics[TOPICS];
    bool joins = c->epoch == 0;
    kafka_consumer_group_heartbeat_request_init(&r);
    r.group_id = beck_str(group);
    r.member_id = beck_str(c->id);
    r.member_epoch = c->epoch;
    r.instance_id = nullable(c->instance);
    if (joins || c->confirm) {
        for (size_t t = 0; t < TOPICS; t++) {
            held[t] = (struct kafka_consumer_group_heartbeat_request_topic_partition){
                .partitions = {.at = partitions[t]}};
            memcpy(held[t].topic_id, x.topics[t].id, 16);
        }
        for (size_t i = 0; !joins && i < c->held_count; i++) {
            struct kafka_int32s *to = &held[c->held[i] >> 16].partitions;
            to->at[to->count++] = (int32_t)(c->held[i] & 0xffff);
        }
        r.topic_partitions.at = held;
        r.topic_partitions.is_null = false;
        r.topic_partitions.count = joins ? 0 : TOPICS;
        c->confirm = false;
    }
    if (joins) {
        snprintf(names, sizeof names, "%s", c->topics ? c->topics : "");
        r.rebalance_timeout_ms = 60000;
        r.subscribed_topic_names =
            (struct kafka_strings){.at = topics, .count = split(names, topics)};
        r.subscribed_topic_regex = nullable(c->regex);
        r.server_assignor = nullable(c->assignor);
    }
    groups_consumer_heartbeat(x.g, &r, &client, note_beat, c);
    settled(&x);
    return c->error;
}
#define beat(c) beat_as("g", c)

static struct client client(const char *id, const char *topics)
{
    struct client c = {.topics = topics};
    snprintf(c.id, sizeof c.id, "%s", id);
    return c;
}

/* Heartbeats of all until nothing changes any more; how many rounds. */
static int converge(struct client **all, size_t count)
{
    for (int round = 1; round < 50; round++) {
        bool changed = false;
        for (size_t i = 0; i < count; i++) {
            int32_t epoch = all[i]->epoch;
            assert_int_equal(beat(all[i]), 0);
            changed = changed || epoch != all[i]->epoch || all[i]->confirm;
        }
        if (!changed)
            return round;
    }
    fail_msg("the group does not come to rest");
    return 0;
}

static const char *consumer_state(const char *group)
{
    static char state[32];
    struct kafka_arena arena;
    struct kafka_consumer_group_describe_response_group d;
    kafka_arena_init(&arena, 4 << 20);
    assert_false(groups_consumer_describe(x.g, beck_str(group), &arena, &d));
    text_of(state, sizeof state, d.error_code ? beck_str("") : d.group_state);
    kafka_arena_release(&arena);
    return state;
}

static int setup(void **state)
{
    (void)state;
    gworld_start(&x, 3);
    topic(&x, "t", 6);
    topic(&x, "u", 3);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gworld_end(&x);
    return 0;
}

static void a_member_gets_everything_with_its_first_heartbeat(void **state)
{
    struct client a = client("a", "t,u");
    (void)state;
    assert_int_equal(beat(&a), 0);
    assert_int_equal(a.epoch, 1);
    assert_int_equal(a.held_count, 9);
    assert_string_equal(consumer_state("g"), "Stable");
    assert_int_equal(beat(&a), 0);
    assert_int_equal(a.epoch, 1);
}

static void partitions_move_when_they_were_given_up(void **state)
{
    struct client a = client("a", "t"), b = client("b", "t");
    (void)state;
    beat(&a);
    assert_int_equal(beat(&b), 0);
    assert_int_equal(b.epoch, 2);
    assert_int_equal(b.held_count, 0);
    assert_string_equal(consumer_state("g"), "Reconciling");
    assert_int_equal(beat(&a), 0); /* confirms the six, and is told to give up three */
    assert_int_equal(a.epoch, 1);
    assert_int_equal(a.held_count, 3);
    beat(&b);
    assert_int_equal(b.held_count, 0);
    beat(&a); /* it has given them up */
    assert_int_equal(a.epoch, 2);
    beat(&b);
    assert_int_equal(b.held_count, 3);
    assert_string_equal(consumer_state("g"), "Stable");
}

static void who_does_not_give_up_in_time_is_out(void **state)
{
    struct client a = client("a", "t"), b = client("b", "t");
    (void)state;
    beat(&a);
    beat(&b);
    a.confirm = false;
    beat(&a);
    assert_int_equal(a.held_count, 3);
    a.confirm = false;
    pass(&x, 40 * SECOND);
    beat(&a);
    beat(&b);
    pass(&x, 21 * SECOND);
    assert_int_equal(beat(&a), KAFKA_UNKNOWN_MEMBER_ID);
    beat(&b);
    assert_int_equal(b.held_count, 6);
}

static void sessions_end_and_members_leave(void **state)
{
    struct client a = client("a", "t"), b = client("b", "t"), *both[] = {&a, &b};
    (void)state;
    beat(&a);
    beat(&b);
    converge(both, 2);
    pass(&x, 30 * SECOND);
    beat(&a);
    pass(&x, 20 * SECOND);
    assert_int_equal(beat(&b), KAFKA_UNKNOWN_MEMBER_ID);
    beat(&a);
    assert_int_equal(a.held_count, 6);
    a.epoch = -1;
    assert_int_equal(beat(&a), 0);
    assert_string_equal(consumer_state("g"), "Empty");
}

static void epochs_are_fenced(void **state)
{
    struct client a = client("a", "t"), b = client("b", "t");
    (void)state;
    b.epoch = 5;
    assert_int_equal(beat(&b), KAFKA_GROUP_ID_NOT_FOUND);
    beat(&a);
    assert_int_equal(beat(&b), KAFKA_UNKNOWN_MEMBER_ID);
    struct client late = a;
    a.epoch = 7;
    assert_int_equal(beat(&a), KAFKA_FENCED_MEMBER_EPOCH);
    b.epoch = 0;
    beat(&b);
    a = late;
    beat(&a);
    beat(&a);
    assert_int_equal(a.epoch, 2);
    late.confirm = false;
    assert_int_equal(beat(&late), KAFKA_FENCED_MEMBER_EPOCH);
    late = a; /* the last answer was lost: it asks again with the epoch before, and what it has */
    late.epoch = 1;
    late.confirm = true;
    assert_int_equal(beat(&late), 0);
    assert_int_equal(late.epoch, 2);
}

static void requests_that_make_no_sense_are_refused(void **state)
{
    struct client a = client("", "t");
    (void)state;
    assert_int_equal(beat(&a), KAFKA_INVALID_REQUEST);
    a = client("a", "");
    assert_int_equal(beat(&a), KAFKA_INVALID_REQUEST);
    a = client("a", "t");
    a.assignor = "magic";
    assert_int_equal(beat(&a), KAFKA_UNSUPPORTED_ASSIGNOR);
    a = client("a", "t");
    a.epoch = -3;
    assert_int_equal(beat(&a), KAFKA_INVALID_REQUEST);
    a.epoch = -2;
    assert_int_equal(beat(&a), KAFKA_INVALID_REQUEST);
    a = client("a", "t");
    assert_int_equal(beat_as("", &a), KAFKA_INVALID_REQUEST);
    assert_false(groups_has(x.g, beck_str("g")));
}

static void a_static_member_comes_back_to_what_it_had(void **state)
{
    struct client a = client("a", "t"), b = client("b", "t"), c = client("c", "t");
    struct client *both[] = {&a, &b};
    (void)state;
    a.instance = "one";
    c.instance = "one";
    beat(&a);
    beat(&b);
    converge(both, 2);
    assert_int_equal(beat(&c), KAFKA_UNRELEASED_INSTANCE_ID);
    int32_t epoch = a.epoch;
    a.epoch = -2;
    assert_int_equal(beat(&a), 0);
    beat(&b);
    assert_int_equal(b.epoch, epoch);
    assert_int_equal(beat(&c), 0);
    assert_int_equal(c.epoch, epoch);
    assert_int_equal(c.held_count, 3);
    a.epoch = epoch;
    assert_int_equal(beat(&a), KAFKA_FENCED_INSTANCE_ID);
    beat(&b);
    assert_int_equal(b.epoch, epoch);
    gworld_reopen(&x);
    assert_int_equal(beat(&c), 0);
    c.epoch = -2;
    beat(&c);
    pass(&x, 46 * SECOND);
    assert_int_equal(beat(&b), KAFKA_UNKNOWN_MEMBER_ID);
}

static void topics_that_grow_and_come_are_noticed(void **state)
{
    struct client a = client("a", NULL);
    (void)state;
    a.regex = "[tv].*";
    assert_int_equal(beat(&a), 0);
    assert_int_equal(a.held_count, 6);
    x.topics[0].partitions = 8;
    x.generation++;
    beat(&a);
    assert_int_equal(a.epoch, 2);
    assert_int_equal(a.held_count, 8);
    topic(&x, "vain", 2);
    beat(&a);
    assert_int_equal(a.held_count, 10);
    x.gone[0] = true;
    x.generation++;
    beat(&a);
    assert_int_equal(a.held_count, 2);
    gworld_reopen(&x);
    assert_int_equal(beat(&a), 0);
    topic(&x, "very", 1);
    beat(&a);
    beat(&a);
    assert_int_equal(a.held_count, 3);
}

static void regular_expressions_are_those_of_re2(void **state)
{
    static const char *const bad[] = {"(", "a(?=b)", "(a)\\1", "a(?<!b)", "a++", "a)(b", "(?>a)"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct client a = client("a", NULL);
        a.regex = bad[i];
        if (beat(&a) != KAFKA_INVALID_REGULAR_EXPRESSION)
            fail_msg("%s: %d", bad[i], a.error);
    }
    static const char *const good[] = {"t", "t|u", "(?i)T", "(?P<x>t)", "[^u]", "\\pL", "t{1}"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct client a = client("a", NULL);
        a.regex = good[i];
        if (beat(&a) || a.held_count < 6)
            fail_msg("%s: %d %s", good[i], a.error, a.message);
        a.epoch = -1;
        beat(&a);
    }
}

static void regular_expressions_show_what_the_user_may_see(void **state)
{
    struct client v = client("v", NULL), u = client("u", NULL), *both[] = {&v, &u};
    (void)state;
    topic(&x, "v", 4);
    topic(&x, "w", 2);
    v.regex = u.regex = ".*";
    v.user = "v";
    u.user = "u";
    beat(&v);
    assert_int_equal(v.held_count, 10); /* t and v */
    gworld_kill(&x);
    beat(&v);
    assert_int_equal(v.epoch, 1);
    beat(&u);
    for (int again = 0; again < 2; again++) {
        converge(both, 2);
        assert_int_equal(v.held_count + u.held_count, 13); /* t, u and v */
        for (size_t i = 0; i < v.held_count; i++)
            assert_true(v.held[i] >> 16 == 0 || v.held[i] >> 16 == 2);
        for (size_t i = 0; i < u.held_count; i++)
            assert_true(u.held[i] >> 16 == 0 || u.held[i] >> 16 == 1);
        gworld_reopen(&x);
    }
    /* Rights change without that topics do. */
    v.user = "w";
    pass(&x, 20 * SECOND);
    converge(both, 2);
    assert_int_equal(v.held_count + u.held_count, 11); /* t, u and w */
}

static void groups_are_there_again_after_a_restart(void **state)
{
    struct client a = client("a", "t,u"), b = client("b", "t"), *both[] = {&a, &b};
    (void)state;
    beat(&a);
    beat(&b);
    beat(&a);
    for (int i = 0; i < 4; i++) { /* in the middle of what moves, too */
        gworld_kill(&x);
        assert_int_equal(beat(i % 2 ? &b : &a), 0);
    }
    converge(both, 2);
    assert_int_equal(a.held_count + b.held_count, 9);
    int32_t epoch = a.epoch;
    gworld_reopen(&x);
    beat(&a);
    beat(&b);
    assert_int_equal(a.epoch, epoch);
    assert_int_equal(b.epoch, epoch);
    pass(&x, 46 * SECOND);
    assert_string_equal(consumer_state("g"), "Empty");
}

/* As where a record failed to be written, and the next one did not. */
static void a_partition_that_two_have_is_given_to_one(void **state)
{
    struct client a = client("a", "t"), b = client("b", "t"), *both[] = {&a, &b};
    (void)state;
    beat(&a);
    beat(&b);
    converge(both, 2);
    size_t all = a.held_count + b.held_count;
    groups_lock(x.g);
    struct group *group = group_find(x.g, beck_str("g"));
    struct member *m = member_find(group, beck_str("b"));
    struct partition_set had = m->assigned;
    m->assigned = member_find(group, beck_str("a"))->assigned;
    group_put_current(m);
    m->assigned = had;
    groups_unlock(x.g);
    settled(&x);
    gworld_kill(&x);
    int errors = (beat(&a) != 0) + (beat(&b) != 0);
    assert_int_equal(errors, 1);
    struct client *out = a.error ? &a : &b;
    assert_int_equal(out->error, KAFKA_UNKNOWN_MEMBER_ID);
    *out = client(out->id, "t");
    beat(out);
    converge(both, 2);
    assert_int_equal(a.held_count + b.held_count, all);
}

static void commits_need_the_epoch(void **state)
{
    struct client a = client("a", "t");
    (void)state;
    beat(&a);
    struct commit c = {.member = "a", .generation = 1, .offset = 3};
    assert_int_equal(commit(&x, c), 0);
    c.generation = 0;
    assert_int_equal(commit(&x, c), KAFKA_STALE_MEMBER_EPOCH);
    c.generation = 2;
    assert_int_equal(commit(&x, c), KAFKA_STALE_MEMBER_EPOCH);
    c.member = "b";
    assert_int_equal(commit(&x, c), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(fetch(&x, 0).offset, 3);
}

/* KIP-1251: of partitions that it has had since then. */
static void an_older_epoch_commits_what_the_member_still_has(void **state)
{
    struct client a = client("a", "t"), b = client("b", "t"), *both[] = {&a, &b};
    (void)state;
    beat(&a);
    beat(&b);
    converge(both, 2);
    assert_int_equal(a.epoch, 2);
    for (int again = 0; again < 2; again++) {
        for (int32_t p = 0; p < 6; p++) {
            bool has = false;
            for (size_t i = 0; i < a.held_count; i++)
                has = has || a.held[i] == (uint32_t)p;
            struct commit c = {.member = "a", .generation = 1, .offset = 3, .partition = p};
            assert_int_equal(commit(&x, c), has ? 0 : KAFKA_STALE_MEMBER_EPOCH);
            c.member = "b"; /* it got its partitions with the second epoch */
            assert_int_equal(commit(&x, c), KAFKA_STALE_MEMBER_EPOCH);
            c.generation = 2;
            assert_int_equal(commit(&x, c), 0);
        }
        gworld_kill(&x);
    }
}

static int64_t configured(void *ctx, beck_bytes group, const char *key)
{
    assert_ptr_equal(ctx, &x);
    bool mine = bytes_equal_text(group, "g");
    if (strcmp(key, "consumer.session.timeout.ms") == 0)
        return mine ? 10000 : 45000;
    assert_string_equal(key, "consumer.heartbeat.interval.ms");
    return mine ? 700 : 5000;
}

static void groups_have_configurations_of_their_own(void **state)
{
    struct client a = client("a", "t"), b = client("b", "t");
    (void)state;
    groups_close(x.g);
    x.settings.configured = configured;
    x.settings.configured_ctx = &x;
    gworld_begin(&x);
    beat(&a);
    beat_as("h", &b);
    assert_int_equal(a.interval_ms, 700);
    assert_int_equal(b.interval_ms, 5000);
    pass(&x, 11 * SECOND);
    assert_int_equal(beat(&a), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(beat_as("h", &b), 0);
}

static void a_group_without_members_takes_the_other_protocol(void **state)
{
    struct client a = client("a", "t");
    struct joined j;
    (void)state;
    join_alone(&x, (struct join){0}, &j);
    assert_int_equal(commit(&x, (struct commit){.member = j.member, .generation = 1, .offset = 4}),
                     0);
    assert_int_equal(beat(&a), KAFKA_GROUP_ID_NOT_FOUND);
    leave(&x, "g", j.member, NULL, 3);
    assert_int_equal(beat(&a), 0);
    assert_int_equal(fetch(&x, 0).offset, 4);
    gworld_reopen(&x);
    assert_int_equal(beat(&a), 0);
    join(&x, (struct join){0}, &j);
    assert_int_equal(j.error, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    a.epoch = -1;
    beat(&a);
    join_alone(&x, (struct join){0}, &j);
    gworld_reopen(&x);
    assert_int_equal(heartbeat(&x, j.member, 1), 0);
    assert_int_equal(fetch(&x, 0).offset, 4);
}

/* ---- assignors ---- */

static void check_owners(const struct assignment *a, bool even)
{
    uint32_t has[64] = {0}, least = UINT32_MAX, most = 0;
    for (uint32_t t = 0; t < a->topic_count; t++) {
        for (uint32_t p = 0; p < a->topics[t].partitions; p++) {
            int32_t owner = a->owner[a->topics[t].first + p];
            bool subscribed = false;
            for (size_t i = 0; owner >= 0 && i < a->members[owner].topic_count; i++)
                subscribed = subscribed || a->members[owner].topics[i] == t;
            assert_true(subscribed);
            has[owner]++;
        }
    }
    for (size_t m = 0; m < a->member_count; m++) {
        least = has[m] < least ? has[m] : least;
        most = has[m] > most ? has[m] : most;
    }
    if (even)
        assert_true(most - least <= 1);
}

static void assignments_are_even_and_stay(void **state)
{
    struct rng rng;
    (void)state;
    rng_seed(&rng, 5);
    for (int round = 0; round < 500; round++) {
        struct assign_topic topics[5];
        struct assign_member members[12];
        uint32_t all[5] = {0, 1, 2, 3, 4}, some[12][5], count = 0, kept = 0;
        int32_t owner[200], before[200];
        size_t member_count = 1 + rng_below(&rng, 11);
        bool alike = rng_below(&rng, 2);
        for (int t = 0; t < 5; t++) {
            topics[t] = (struct assign_topic){(uint32_t)rng_below(&rng, 30), count};
            count += topics[t].partitions;
        }
        for (size_t m = 0; m < member_count; m++) {
            size_t n = 0;
            for (uint32_t t = 0; t < 5; t++)
                if (m == 0 || rng_below(&rng, 2))
                    some[m][n++] = t;
            members[m] =
                alike ? (struct assign_member){all, 5} : (struct assign_member){some[m], n};
        }
        for (uint32_t p = 0; p < count; p++)
            owner[p] = (int32_t)rng_below(&rng, member_count + 1) - 1;
        struct assignment a = {topics, 5, members, member_count, count, owner};
        assert_int_equal(assign_uniform(&a), BECK_OK);
        check_owners(&a, alike);
        memcpy(before, owner, sizeof owner);
        assert_int_equal(assign_uniform(&a), BECK_OK);
        for (uint32_t p = 0; p < count; p++)
            kept += owner[p] == before[p];
        assert_int_equal(kept, count);
        assert_int_equal(assign_range(&a), BECK_OK);
        check_owners(&a, false);
    }
}

/* ---- many members ---- */

static double seconds(void)
{
    return (double)clock_mono_ns(clock_system()) / 1e9;
}

static void a_thousand_members_rebalance(void **state)
{
    enum { MEMBERS = 1000 };
    static struct client all[MEMBERS];
    struct client *list[MEMBERS];
    (void)state;
    topic(&x, "large", 2000);
    double began = seconds();
    for (int i = 0; i < MEMBERS; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%d", i);
        all[i] = client(id, "large");
        list[i] = &all[i];
        assert_int_equal(beat(&all[i]), 0);
    }
    converge(list, MEMBERS);
    double joined = seconds();
    all[MEMBERS - 1].epoch = -1;
    beat(&all[MEMBERS - 1]);
    int rounds = converge(list, MEMBERS - 1);
    double ended = seconds();
    print_message(
        "1,000 members: joined and at rest in %.0f ms; one left: at rest again in %.1f ms, "
        "%d heartbeats each\n",
        (joined - began) * 1e3, (ended - joined) * 1e3, rounds);
    size_t held = 0;
    for (int i = 0; i < MEMBERS - 1; i++)
        held += all[i].held_count;
    assert_int_equal(held, 2000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_member_gets_everything_with_its_first_heartbeat),
        TEST(partitions_move_when_they_were_given_up),
        TEST(who_does_not_give_up_in_time_is_out),
        TEST(sessions_end_and_members_leave),
        TEST(epochs_are_fenced),
        TEST(requests_that_make_no_sense_are_refused),
        TEST(a_static_member_comes_back_to_what_it_had),
        TEST(topics_that_grow_and_come_are_noticed),
        TEST(regular_expressions_are_those_of_re2),
        TEST(regular_expressions_show_what_the_user_may_see),
        TEST(groups_are_there_again_after_a_restart),
        TEST(a_partition_that_two_have_is_given_to_one),
        TEST(commits_need_the_epoch),
        TEST(an_older_epoch_commits_what_the_member_still_has),
        TEST(groups_have_configurations_of_their_own),
        TEST(a_group_without_members_takes_the_other_protocol),
        cmocka_unit_test(assignments_are_even_and_stay),
        TEST(a_thousand_members_rebalance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
