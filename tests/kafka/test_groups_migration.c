/*
 * KIP-848's online migration: classic members and new ones in one group, from the one protocol to the
 * other and back, over restarts; with random members no partition belongs to two.
 */
#include "groups_world.h"

static struct gworld x;

#define TOPIC_A 5
#define TOPIC_B 2
#define ALL ((1u << (TOPIC_A + TOPIC_B)) - 1) /* partitions of both as bits, those of "a" first */
#define PEERS 6

enum stage { OUT, JOINING, JOINED, SYNCING, IN };

struct peer {
    bool on, modern, confirm;
    enum stage stage; /* of a classic one */
    char id[160];
    const char *instance, *protocols, *topics;
    int32_t epoch; /* or generation */
    uint32_t held;
    int error;
    struct joined joined;
    bool synced, stays; /* it keeps what it has while it joins: a cooperative one */
    uint32_t given;
};

/* ---- what classic consumers say ---- */

static uint8_t *put_text(uint8_t *at, const char *text)
{
    put_u16(at, (uint16_t)strlen(text));
    memcpy(at + 2, text, strlen(text));
    return at + 2 + strlen(text);
}

static uint8_t *put_partitions(uint8_t *at, uint32_t bits)
{
    static const char *const names[] = {"a", "b"};
    uint8_t *count_at = at;
    uint32_t topics = 0;
    at += 4;
    for (int t = 0; t < 2; t++) {
        uint32_t first = t ? TOPIC_A : 0, count = t ? TOPIC_B : TOPIC_A, n = 0;
        if (!(bits >> first & ((1u << count) - 1)))
            continue;
        topics++;
        at = put_text(at, names[t]);
        uint8_t *n_at = at;
        at += 4;
        for (uint32_t p = 0; p < count; p++) {
            if (!(bits & 1u << (first + p)))
                continue;
            put_u32(at, p);
            at += 4;
            n++;
        }
        put_u32(n_at, n);
    }
    put_u32(count_at, topics);
    return at;
}

static beck_bytes subscribe(uint32_t owned)
{
    static uint8_t bytes[256];
    uint8_t *at = bytes + 6;
    put_u16(bytes, 1);
    put_u32(bytes + 2, 2);
    at = put_text(put_text(at, "a"), "b");
    put_u32(at, UINT32_MAX);
    at = put_partitions(at + 4, owned);
    return bytes_of(bytes, (size_t)(at - bytes));
}

static beck_bytes assignment(uint8_t *bytes, uint32_t bits, const char *user_data)
{
    put_u16(bytes, 1);
    uint8_t *at = put_partitions(bytes + 2, bits);
    put_u32(at, user_data ? (uint32_t)strlen(user_data) : UINT32_MAX);
    if (user_data)
        memcpy(at + 4, user_data, strlen(user_data));
    return bytes_of(bytes, (size_t)(at + 4 - bytes) + (user_data ? strlen(user_data) : 0));
}

static uint32_t read_assignment(beck_bytes from)
{
    struct kafka_consumer_protocol_assignment a;
    struct kafka_arena arena;
    uint32_t bits = 0;
    kafka_arena_init(&arena, 1 << 20);
    if (from.len > 2)
        assert_false(kafka_decode(
            kafka_consumer_protocol_assignment_table(), (int16_t)get_u16(from.data),
            bytes_of((const uint8_t *)from.data + 2, from.len - 2), &arena, &a, NULL, NULL));
    for (size_t t = 0; from.len > 2 && t < a.assigned_partitions.count; t++)
        for (size_t p = 0; p < a.assigned_partitions.at[t].partitions.count; p++)
            bits |=
                1u << (a.assigned_partitions.at[t].partitions.at[p] +
                       (bytes_equal_text(a.assigned_partitions.at[t].topic, "b") ? TOPIC_A : 0));
    kafka_arena_release(&arena);
    return bits;
}

/* ---- classic members ---- */

static void note_classic_sync(void *ctx, const void *answer)
{
    const struct kafka_sync_group_response *a = answer;
    struct peer *p = ctx;
    p->synced = true;
    p->error = a->error_code;
    p->given = a->error_code ? 0 : read_assignment(a->assignment);
}

/* What the leader gives out: each partition to the next member. */
static void sync_peer_with(struct peer *p, const char *user_data)
{
    static uint8_t bytes[PEERS][256];
    struct kafka_sync_group_request r;
    struct kafka_sync_group_request_assignment list[PEERS];
    struct group_client client = {.host = beck_str("/127.0.0.1"), .version = 5};
    uint32_t parts[PEERS] = {0};
    kafka_sync_group_request_init(&r);
    r.group_id = beck_str("g");
    r.member_id = beck_str(p->id);
    r.group_instance_id = nullable(p->instance);
    r.generation_id = p->epoch;
    r.assignments.at = list;
    r.assignments.count = p->joined.member_count;
    for (uint32_t i = 0; i < TOPIC_A + TOPIC_B && p->joined.member_count; i++)
        parts[i % p->joined.member_count] |= 1u << i;
    for (size_t i = 0; i < p->joined.member_count; i++)
        list[i] = (struct kafka_sync_group_request_assignment){
            beck_str(p->joined.members[i]), assignment(bytes[i], parts[i], user_data)};
    p->synced = false;
    groups_sync(x.g, &r, &client, note_classic_sync, p);
    settled(&x);
}

static void join_peer(struct peer *p)
{
    struct join j = {.member = p->id,
                     .instance = p->instance,
                     .protocols = p->protocols,
                     .subscription = subscribe(p->stays ? p->held : 0),
                     .session_ms = 30000,
                     .rebalance_ms = 60000};
    join(&x, j, &p->joined);
    if (p->joined.came && p->joined.error == KAFKA_MEMBER_ID_REQUIRED) {
        memcpy(p->id, p->joined.member, sizeof p->id);
        join(&x,
             j = (struct join){.member = p->id,
                               .protocols = p->protocols,
                               .subscription = j.subscription,
                               .session_ms = 30000,
                               .rebalance_ms = 60000},
             &p->joined);
    }
}

/* Joins and syncs where nobody else is waited for; an error code. */
static int enter_with(struct peer *p, const char *user_data)
{
    join_peer(p);
    assert_true(p->joined.came);
    if (p->joined.error)
        return p->joined.error;
    memcpy(p->id, p->joined.member, sizeof p->id);
    p->epoch = p->joined.generation;
    sync_peer_with(p, user_data);
    assert_true(p->synced);
    p->held = p->given;
    return p->error;
}
#define enter(p) enter_with(p, NULL)

static int beat_classic(const struct peer *p)
{
    return heartbeat_as(&x, "g", p->id, p->instance, p->epoch);
}

/* ---- new members ---- */

static void note_modern(void *ctx, const void *answer)
{
    const struct kafka_consumer_group_heartbeat_response *a = answer;
    struct peer *c = ctx;
    c->error = a->error_code;
    if (c->error)
        return;
    c->epoch = a->member_epoch;
    if (!a->assignment)
        return;
    c->held = 0;
    c->confirm = true;
    for (size_t t = 0; t < a->assignment->topic_partitions.count; t++) {
        const struct kafka_consumer_group_heartbeat_response_topic_partition *from =
            &a->assignment->topic_partitions.at[t];
        for (size_t p = 0; p < from->partitions.count; p++)
            c->held |= 1u << (from->partitions.at[p] + (from->topic_id[15] == 2 ? TOPIC_A : 0));
    }
}

static int beat_modern_at(struct peer *c, int32_t epoch)
{
    static struct kafka_consumer_group_heartbeat_request_topic_partition held[2];
    static int32_t numbers[2][8];
    struct kafka_consumer_group_heartbeat_request r;
    struct group_client client = {
        .id = beck_str("client"), .host = beck_str("/127.0.0.1"), .version = 1};
    beck_bytes names[2] = {beck_str("a"), beck_str("b")};
    kafka_consumer_group_heartbeat_request_init(&r);
    r.group_id = beck_str("g");
    r.member_id = beck_str(c->id);
    r.member_epoch = epoch;
    r.instance_id = nullable(c->instance);
    if (epoch == 0 || c->confirm) {
        r.topic_partitions.at = held;
        r.topic_partitions.is_null = false;
        r.topic_partitions.count = epoch ? 2 : 0;
        for (int t = 0; t < 2; t++) {
            held[t].partitions.at = numbers[t];
            held[t].partitions.count = 0;
            memcpy(held[t].topic_id, x.topics[t].id, 16);
            for (int32_t p = 0; p < (t ? TOPIC_B : TOPIC_A); p++)
                if (c->held & 1u << (p + (t ? TOPIC_A : 0)))
                    numbers[t][held[t].partitions.count++] = p;
        }
        c->confirm = false;
    }
    if (epoch == 0) {
        r.rebalance_timeout_ms = 60000;
        r.subscribed_topic_names.at = names;
        r.subscribed_topic_names.count = 2;
        r.subscribed_topic_names.is_null = false;
    }
    if (c->topics)
        r.subscribed_topic_regex = beck_str(c->topics);
    groups_consumer_heartbeat(x.g, &r, &client, note_modern, c);
    settled(&x);
    return c->error;
}
#define beat_modern(c) beat_modern_at(c, (c)->epoch)

static struct peer modern(const char *id)
{
    struct peer p = {.modern = true};
    snprintf(p.id, sizeof p.id, "%s", id);
    return p;
}

/* Types of the members ("ccm"), or the group's state with '!' where it is no consumer group. */
static const char *members(void)
{
    static char out[32];
    struct kafka_arena arena;
    struct kafka_consumer_group_describe_response_group d;
    kafka_arena_init(&arena, 4 << 20);
    assert_false(groups_consumer_describe(x.g, beck_str("g"), &arena, &d));
    memset(out, 0, sizeof out);
    for (size_t i = 0; i < d.members.count && i < 31; i++)
        out[i] = d.members.at[i].member_type == 0 ? 'c' : 'm';
    kafka_arena_release(&arena);
    if (d.error_code)
        snprintf(out, sizeof out, "!%.30s", state_of(&x, "g"));
    return out;
}

static int setup(void **state)
{
    (void)state;
    gworld_start(&x, 4);
    topic(&x, "a", TOPIC_A);
    topic(&x, "b", TOPIC_B);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gworld_end(&x);
    return 0;
}

static int bits(uint32_t set)
{
    return __builtin_popcount(set);
}

/* ---- by hand ---- */

/* `every_step`: the coordinator ends and comes again. */
static void migrate_up_and_down(void (*every_step)(struct gworld *))
{
    struct peer c = {0}, m = modern("m");
    struct commit commits = {.topic = "a", .offset = 7, .version = 6};
    assert_int_equal(enter(&c), 0);
    assert_int_equal(c.held, ALL);
    assert_int_equal(beat_modern(&m), 0);
    every_step(&x);
    assert_string_equal(members(), "cm");
    assert_int_equal(m.held, 0);
    commits.member = c.id;
    commits.generation = c.epoch;
    assert_int_equal(commit(&x, commits), 0);
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    c.held = 0;
    assert_int_equal(enter(&c), 0);
    every_step(&x);
    assert_string_equal(c.joined.leader, "");
    assert_int_equal(c.epoch, m.epoch);
    assert_int_equal(beat_modern(&m), 0);
    every_step(&x);
    assert_int_equal(c.held & m.held, 0);
    assert_int_equal(c.held | m.held, ALL);
    assert_true(bits(m.held) == 3 || bits(m.held) == 4);
    assert_int_equal(beat_classic(&c), 0);
    assert_int_equal(commit(&x, commits), KAFKA_ILLEGAL_GENERATION);
    commits.generation = c.epoch;
    assert_int_equal(commit(&x, commits), 0);
    assert_int_equal(beat_modern_at(&m, -1), 0);
    every_step(&x);
    assert_string_equal(members(), "!PreparingRebalance");
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(enter(&c), 0);
    every_step(&x);
    assert_string_equal(members(), "!Stable");
    assert_string_equal(c.joined.leader, c.id);
    assert_int_equal(c.held, ALL);
    assert_int_equal(beat_classic(&c), 0);
    assert_int_equal(fetch_as(&x, "g", "a", 0, false).offset, 7);
}

static void nothing(struct gworld *w)
{
    (void)w;
}

static void a_group_migrates_and_comes_back(void **state)
{
    (void)state;
    migrate_up_and_down(nothing);
}

static void a_migration_lasts_over_restarts(void **state)
{
    (void)state;
    migrate_up_and_down(gworld_reopen);
}

static void a_migration_lasts_over_the_end_of_the_process(void **state)
{
    (void)state;
    migrate_up_and_down(gworld_kill);
}

static void the_end_of_the_last_session_downgrades(void **state)
{
    struct peer c = {0}, m = modern("m");
    (void)state;
    enter(&c);
    beat_modern(&m);
    assert_int_equal(enter(&c), 0);
    for (int i = 0; i < 4; i++) {
        pass(&x, 12 * SECOND);
        if (i < 3)
            assert_int_equal(beat_classic(&c), 0);
    }
    assert_string_equal(members(), "!PreparingRebalance");
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    /* What it left behind lets it come again. */
    assert_int_equal(beat_modern(&m), KAFKA_UNKNOWN_MEMBER_ID);
    m = modern("m");
    assert_int_equal(beat_modern(&m), 0);
    assert_string_equal(members(), "cm");
}

static void who_does_not_join_again_in_time_is_out(void **state)
{
    struct peer c = {0}, m = modern("m");
    (void)state;
    enter(&c);
    beat_modern(&m);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
        assert_int_equal(beat_modern(&m), 0);
        assert_int_equal(m.held, 0);
        pass(&x, 10 * SECOND + 1);
    }
    assert_int_equal(beat_classic(&c), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(beat_modern(&m), 0);
    assert_int_equal(m.held, ALL);
    /* Nor does who joins and does not sync stay. */
    c = (struct peer){0};
    join_peer(&c);
    assert_string_equal(members(), "mc");
    pass(&x, 20 * SECOND);
    assert_int_equal(heartbeat_as(&x, "g", c.id, NULL, c.joined.generation), 0);
    for (int i = 0; i < 3; i++) {
        beat_modern(&m);
        heartbeat_as(&x, "g", c.id, NULL, c.joined.generation);
        pass(&x, 14 * SECOND);
    }
    assert_string_equal(members(), "m");
}

static void a_classic_member_leaves(void **state)
{
    struct peer c = {0}, d = {0}, m = modern("m");
    (void)state;
    enter(&c);
    beat_modern(&m);
    enter(&c);
    assert_int_equal(enter(&d), 0);
    assert_string_equal(members(), "cmc");
    assert_int_equal(leave(&x, "g", "nobody", NULL, 4), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(leave(&x, "g", c.id, NULL, 4), 0);
    assert_string_equal(members(), "mc");
    assert_int_equal(beat_classic(&c), KAFKA_UNKNOWN_MEMBER_ID);
    assert_int_equal(beat_classic(&d), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(leave(&x, "g", d.id, NULL, 1), 0);
    beat_modern(&m);
    assert_int_equal(m.held, ALL);
}

static void only_groups_of_consumers_migrate(void **state)
{
    struct joined j;
    struct synced s;
    struct peer m = modern("m");
    (void)state;
    join_alone(&x, (struct join){.type = "connect"}, &j);
    assert_int_equal(beat_modern(&m), KAFKA_GROUP_ID_NOT_FOUND);
    m.epoch = 3;
    assert_int_equal(beat_modern(&m), KAFKA_GROUP_ID_NOT_FOUND);
    assert_int_equal(heartbeat(&x, j.member, j.generation), 0);
    sync_as(&x, "g", j.member, NULL, j.generation, NULL, &s);
    assert_string_equal(s.assignment, "all");
}

static void an_assignor_with_a_secret_does_not_migrate(void **state)
{
    struct peer c = {.protocols = "mine"}, m = modern("m");
    (void)state;
    assert_int_equal(enter_with(&c, "secret"), 0);
    assert_int_equal(beat_modern(&m), KAFKA_GROUP_ID_NOT_FOUND);
    assert_string_equal(members(), "!Stable");
    assert_int_equal(beat_classic(&c), 0);
    assert_int_equal(leave(&x, "g", c.id, NULL, 4), 0);
    c = (struct peer){.protocols = "cooperative-sticky"};
    assert_int_equal(enter_with(&c, "known"), 0);
    assert_int_equal(beat_modern(&m), 0);
    assert_string_equal(members(), "cm");
    /* Nor does another type of protocol, or another assignor, join. */
    struct joined j;
    join(&x, (struct join){.type = "connect"}, &j);
    assert_int_equal(j.error, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    join(&x, (struct join){.protocols = "range", .subscription = subscribe(0)}, &j);
    assert_int_equal(j.error, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    join(&x, (struct join){.protocols = "range,cooperative-sticky", .subscription = subscribe(0)},
         &j);
    assert_int_equal(j.error, KAFKA_MEMBER_ID_REQUIRED);
}

static void a_join_that_is_refused_leaves_a_classic_group(void **state)
{
    struct peer c = {0}, m = modern("m");
    (void)state;
    enter(&c);
    m.topics = "(";
    assert_int_equal(beat_modern(&m), KAFKA_INVALID_REGULAR_EXPRESSION);
    assert_int_equal(members()[0], '!');
    assert_int_equal(enter(&c), 0);
    assert_int_equal(c.held, ALL);
    assert_string_equal(members(), "!Stable");
}

static void a_cooperative_member_keeps_what_it_may(void **state)
{
    struct peer c = {.protocols = "cooperative-sticky", .stays = true}, m = modern("m");
    (void)state;
    enter(&c);
    assert_int_equal(c.held, ALL);
    beat_modern(&m);
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(enter(&c), 0); /* it is told what it keeps */
    assert_true(bits(c.held) == 3 || bits(c.held) == 4);
    uint32_t kept = c.held;
    beat_modern(&m);
    assert_int_equal(m.held, 0);
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(enter(&c), 0); /* it has given up the rest */
    assert_int_equal(c.held, kept);
    beat_modern(&m);
    assert_int_equal(m.held, ALL & ~kept);
    /* What another gives up is free for it. */
    assert_int_equal(beat_modern_at(&m, -1), 0);
}

/* Of two cooperative members the second has joined, and the leader has not given out anything yet. */
static void a_cooperative_member_keeps_what_it_was_not_told_to_give_up(void **state)
{
    struct peer c = {.protocols = "cooperative-sticky", .stays = true}, d = c, m = modern("m");
    (void)state;
    enter(&c);
    join_peer(&d);
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    join_peer(&c);
    assert_true(c.joined.came && d.joined.came);
    assert_int_equal(leave(&x, "g", d.id, NULL, 4), 0);
    assert_int_equal(beat_modern(&m), 0);
    assert_string_equal(members(), "cm");
    assert_int_equal(m.held, 0);
    c.epoch = c.joined.generation;
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(enter(&c), 0);
    assert_true(bits(c.held) == 3 || bits(c.held) == 4);
}

static void static_members_change_their_protocol(void **state)
{
    struct peer c = {.instance = "i"}, d = {.instance = "k"}, m = modern("m");
    (void)state;
    assert_int_equal(enter(&c), 0);
    m.instance = "i";
    assert_int_equal(beat_modern(&m), 0);
    assert_string_equal(members(), "m");
    assert_int_equal(m.held, ALL);
    assert_int_equal(beat_classic(&c), KAFKA_FENCED_INSTANCE_ID);
    gworld_reopen(&x);
    assert_int_equal(enter(&d), 0);
    assert_string_equal(members(), "mc");
    struct joined j;
    join(&x, (struct join){.member = "old", .instance = "k", .subscription = subscribe(0)}, &j);
    assert_int_equal(j.error, KAFKA_FENCED_INSTANCE_ID);
    /* The last one of the new protocol is replaced by a classic one. */
    c = (struct peer){.instance = "i"};
    join_peer(&c);
    assert_false(c.joined.came);
    assert_string_equal(members(), "!PreparingRebalance");
    join_peer(&d);
    assert_true(c.joined.came && d.joined.came);
    assert_int_equal(c.joined.error, 0);
    assert_int_equal(beat_modern(&m), KAFKA_UNKNOWN_MEMBER_ID);
}

/* A member that is behind when the group becomes a classic one, and a new one again, keeps what it has,
 * commits it and is told to join: it has lost nothing. */
static void who_is_behind_loses_nothing(void **state)
{
    struct peer c = {0}, d = {0}, m = modern("m");
    (void)state;
    enter(&c);
    beat_modern(&m);
    enter(&c);
    beat_modern(&m);
    assert_int_equal(enter(&d), 0); /* another epoch, of which c does not know yet */
    struct commit commits = {.topic = "a", .member = c.id, .generation = c.epoch, .version = 6};
    beat_modern_at(&m, -1);
    assert_string_equal(members(), "!PreparingRebalance");
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(commit(&x, commits), 0);
    m = modern("n");
    assert_int_equal(beat_modern(&m), 0);
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(commit(&x, commits), 0);
    assert_int_equal(m.held & c.held, 0);
    beat_modern_at(&m, -1);
    c.held = 0;
    join_peer(&c);
    join_peer(&d);
    assert_true(c.joined.came && d.joined.came);
    assert_int_equal(beat_classic(&c), KAFKA_ILLEGAL_GENERATION);
}

/* What was written of the one type is gone when the other one is written later. */
static void a_migration_that_could_not_be_written_is_written_later(void **state)
{
    struct peer c = {0}, m = modern("m");
    beck_bytes id = beck_str("g");
    int error = -100;
    (void)state;
    enter(&c);
    vfs_sim_fail(x.w.vfs, VFS_OP_WRITE, 1, true, BECK_EFULL);
    assert_int_equal(beat_modern(&m), KAFKA_COORDINATOR_NOT_AVAILABLE);
    vfs_sim_fail(x.w.vfs, VFS_OP_WRITE, 0, false, BECK_OK);
    assert_int_equal(beat_modern(&m), 0);
    gworld_kill(&x);
    assert_string_equal(members(), "cm");
    assert_int_equal(beat_classic(&c), KAFKA_REBALANCE_IN_PROGRESS);
    assert_int_equal(enter(&c), 0);
    vfs_sim_fail(x.w.vfs, VFS_OP_WRITE, 1, true, BECK_EFULL);
    assert_int_equal(beat_modern_at(&m, -1), KAFKA_COORDINATOR_NOT_AVAILABLE);
    vfs_sim_fail(x.w.vfs, VFS_OP_WRITE, 0, false, BECK_OK);
    assert_int_equal(enter(&c), 0);
    gworld_kill(&x);
    assert_string_equal(members(), "!Stable");
    assert_int_equal(beat_classic(&c), 0);
    assert_int_equal(leave(&x, "g", c.id, NULL, 4), 0);
    groups_delete(x.g, &id, 1, note_deleted, &error);
    settled(&x);
    assert_int_equal(error, 0);
    gworld_kill(&x);
    assert_false(groups_has(x.g, id));
}

/* ---- at random ---- */

static struct rng rng;
static struct peer peers[PEERS];

static bool chance(uint64_t one_in)
{
    return rng_below(&rng, one_in) == 0;
}

static void check_owners(void)
{
    uint32_t all = 0;
    for (int i = 0; i < PEERS; i++) {
        if (peers[i].on && all & peers[i].held)
            fail_msg("a partition has two members");
        all |= peers[i].on ? peers[i].held : 0;
    }
}

static void is_unknown(struct peer *p)
{
    p->held = 0;
    p->id[0] = 0;
    p->stage = OUT;
}

/* What has come of what a classic one waits for. */
static void look(struct peer *p)
{
    if (p->stage == JOINING && p->joined.came) {
        p->stage = p->joined.error ? OUT : JOINED;
        p->epoch = p->joined.generation;
        if (p->joined.error == KAFKA_UNKNOWN_MEMBER_ID)
            is_unknown(p);
        else if (p->joined.error && p->joined.error != KAFKA_REBALANCE_IN_PROGRESS &&
                 p->joined.error != KAFKA_COORDINATOR_NOT_AVAILABLE)
            fail_msg("join: %s", kafka_error_name(p->joined.error));
        else if (p->joined.member[0])
            memcpy(p->id, p->joined.member, sizeof p->id);
    } else if (p->stage == SYNCING && p->synced) {
        p->stage = p->error ? OUT : IN;
        p->held = p->given;
        if (p->error == KAFKA_UNKNOWN_MEMBER_ID)
            is_unknown(p);
    }
}

static void step_classic(struct peer *p, bool may_leave)
{
    look(p);
    int error;
    switch (p->stage) {
    case OUT:
        p->held = 0;
        join_peer(p);
        p->stage = JOINING;
        break;
    case JOINED:
        sync_peer_with(p, NULL);
        p->stage = SYNCING;
        break;
    case IN:
        if (may_leave) {
            error = leave(&x, "g", p->id, NULL, 4);
            assert_true(error == 0 || error == KAFKA_UNKNOWN_MEMBER_ID);
            p->on = false;
            break;
        }
        error = beat_classic(p);
        if (error == KAFKA_UNKNOWN_MEMBER_ID)
            is_unknown(p);
        else if (error)
            p->stage = OUT;
        if (error)
            p->held = 0;
        break;
    default:
        break;
    }
    look(p);
}

static void step_modern(struct peer *p, bool may_leave)
{
    if (may_leave) {
        beat_modern_at(p, -1);
        p->on = false;
    } else if (beat_modern(p)) {
        if (p->error != KAFKA_UNKNOWN_MEMBER_ID)
            fail_msg("heartbeat: %s", kafka_error_name(p->error));
        p->epoch = 0;
        p->held = 0;
    }
}

static void step(struct peer *p, bool may_leave, bool prefer_modern)
{
    static int number;
    if (!p->on) {
        *p = (struct peer){.on = true, .modern = prefer_modern ? !chance(5) : chance(5)};
        if (p->modern)
            snprintf(p->id, sizeof p->id, "m%d", number++);
    }
    if (p->modern)
        step_modern(p, may_leave);
    else
        step_classic(p, may_leave);
}

static void restart(void)
{
    for (int i = 0; i < PEERS; i++)
        if (peers[i].on && !peers[i].modern)
            look(&peers[i]);
    (chance(2) ? gworld_kill : gworld_reopen)(&x);
    for (int i = 0; i < PEERS; i++)
        if (peers[i].on && !peers[i].modern)
            look(&peers[i]);
}

/* Long enough for sessions to end of which a restart did not know that they had. */
static void come_to_rest(void)
{
    uint32_t all = 0;
    for (int round = 0; round < 60; round++) {
        pass(&x, 2 * SECOND);
        for (int i = 0; i < PEERS; i++) {
            step(&peers[i], false, false);
            check_owners();
        }
    }
    for (int i = 0; i < PEERS; i++)
        all |= peers[i].held;
    assert_int_equal(all, ALL);
}

static void no_partition_has_two_members(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rng_seed(&rng, seed);
        gworld_start(&x, seed);
        topic(&x, "a", TOPIC_A);
        topic(&x, "b", TOPIC_B);
        memset(peers, 0, sizeof peers);
        for (int n = 0; n < 600; n++) {
            if (chance(30))
                restart();
            else if (chance(10))
                pass(&x, 1 + (int64_t)rng_below(&rng, 100));
            else
                step(&peers[rng_below(&rng, PEERS)], chance(12), n / 100 % 2);
            for (int i = 0; i < PEERS; i++)
                if (peers[i].on && !peers[i].modern)
                    look(&peers[i]);
            check_owners();
            if (n % 200 == 199)
                come_to_rest();
        }
        gworld_end(&x);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_group_migrates_and_comes_back),
        TEST(a_migration_lasts_over_restarts),
        TEST(a_migration_lasts_over_the_end_of_the_process),
        TEST(the_end_of_the_last_session_downgrades),
        TEST(who_does_not_join_again_in_time_is_out),
        TEST(a_classic_member_leaves),
        TEST(only_groups_of_consumers_migrate),
        TEST(an_assignor_with_a_secret_does_not_migrate),
        TEST(a_join_that_is_refused_leaves_a_classic_group),
        TEST(a_cooperative_member_keeps_what_it_may),
        TEST(a_cooperative_member_keeps_what_it_was_not_told_to_give_up),
        TEST(static_members_change_their_protocol),
        TEST(who_is_behind_loses_nothing),
        TEST(a_migration_that_could_not_be_written_is_written_later),
        cmocka_unit_test(no_partition_has_two_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
