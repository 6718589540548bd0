/*
 * Random members of a group, with answers that are lost, time that passes, and a coordinator that ends
 * and comes again in between: no partition belongs to two members, epochs and generations only grow,
 * and who was a member is one after a restart.
 */
#include "groups_world.h"

#define CLIENTS 7
#define PARTITIONS 16 /* of a topic, at most */
#define SUBJECTS 3

static struct gworld x;
static struct rng rng;

static bool chance(uint64_t one_in)
{
    return rng_below(&rng, one_in) == 0;
}

static void restart(void)
{
    switch (rng_below(&rng, 3)) {
    case 0:
        gworld_reopen(&x);
        break;
    case 1:
        gworld_kill(&x);
        break;
    default:
        vfs_sim_crash(x.w.vfs);
        groups_close(x.g);
        beck_abandon(x.w.b);
        world_open(&x.w);
        gworld_begin(&x);
    }
}

static void begin(uint64_t seed)
{
    gworld_start(&x, seed);
    groups_close(x.g);
    x.settings.level = BECK_LEVEL_SYNCED;
    gworld_begin(&x);
    rng_seed(&rng, seed);
    topic(&x, "a", 5);
    topic(&x, "b", 2);
    topic(&x, "c", 7);
}

/* ---- KIP-848 ---- */

struct modern {
    char id[16];
    uint32_t topics; /* a set of bits */
    bool on, full;   /* it is a member; its next heartbeat says everything */
    bool confirm;
    int32_t epoch;
    uint32_t held[SUBJECTS]; /* partitions as bits */
    int64_t beaten_ms;
    /* the answer */
    int error;
    int32_t new_epoch;
    bool assigned;
    uint32_t given[SUBJECTS];
};

static struct modern moderns[CLIENTS];

static void note_modern(void *ctx, const void *answer)
{
    const struct kafka_consumer_group_heartbeat_response *a = answer;
    struct modern *c = ctx;
    c->error = a->error_code;
    c->new_epoch = a->member_epoch;
    c->assigned = a->assignment != NULL;
    memset(c->given, 0, sizeof c->given);
    for (size_t t = 0; a->assignment && t < a->assignment->topic_partitions.count; t++) {
        const struct kafka_consumer_group_heartbeat_response_topic_partition *from =
            &a->assignment->topic_partitions.at[t];
        for (size_t p = 0; p < from->partitions.count; p++)
            c->given[from->topic_id[15] - 1] |= 1u << from->partitions.at[p];
    }
}

static void beat(struct modern *c, int32_t epoch)
{
    static struct kafka_consumer_group_heartbeat_request_topic_partition held[SUBJECTS];
    static int32_t numbers[SUBJECTS][PARTITIONS];
    struct kafka_consumer_group_heartbeat_request r;
    struct group_client client = {
        .id = beck_str("client"), .host = beck_str("/127.0.0.1"), .version = 1};
    beck_bytes names[SUBJECTS];
    bool whole = epoch == 0 || c->full;
    kafka_consumer_group_heartbeat_request_init(&r);
    r.group_id = beck_str("g");
    r.member_id = beck_str(c->id);
    r.member_epoch = epoch;
    if (whole || c->confirm) {
        r.topic_partitions.at = held;
        r.topic_partitions.is_null = false;
        for (int t = 0; t < SUBJECTS && epoch != 0; t++) {
            held[t].partitions.at = numbers[t];
            held[t].partitions.count = 0;
            memcpy(held[t].topic_id, x.topics[t].id, 16);
            for (int32_t p = 0; p < PARTITIONS; p++)
                if (c->held[t] & 1u << p)
                    held[t].partitions.at[held[t].partitions.count++] = p;
            r.topic_partitions.count++;
        }
    }
    if (whole) {
        r.rebalance_timeout_ms = 600000;
        r.subscribed_topic_names.at = names;
        r.subscribed_topic_names.is_null = false;
        for (int t = 0; t < SUBJECTS; t++)
            if (c->topics & 1u << t)
                names[r.subscribed_topic_names.count++] = x.topics[t].name;
    }
    groups_consumer_heartbeat(x.g, &r, &client, note_modern, c);
    settled(&x);
}

static void check_owners(void)
{
    for (int t = 0; t < SUBJECTS; t++) {
        uint32_t all = 0;
        for (int i = 0; i < CLIENTS; i++) {
            if (!moderns[i].on)
                continue;
            if (all & moderns[i].held[t])
                fail_msg("a partition of %d has two members", t);
            all |= moderns[i].held[t];
        }
    }
}

static void forget(struct modern *c)
{
    c->on = c->full = c->confirm = false;
    memset(c->held, 0, sizeof c->held);
}

static void take_answer(struct modern *c, bool joins)
{
    if (c->error == KAFKA_FENCED_MEMBER_EPOCH && c->full) {
        /* Two answers in a row were lost: it gives up what it has, and joins again. */
        forget(c);
        c->on = true;
        c->epoch = 0;
        beat(c, 0);
        joins = true;
    }
    if (c->error)
        fail_msg("%s at epoch %d: %s", c->id, c->epoch, kafka_error_name(c->error));
    c->beaten_ms = world_now_ms(&x.w);
    c->confirm = false;
    if (!joins && chance(6)) {
        c->full = true; /* the answer is lost: it asks again with what it knows */
        return;
    }
    assert_true(joins || c->new_epoch >= c->epoch);
    c->full = false;
    c->epoch = c->new_epoch;
    if (c->assigned) {
        memcpy(c->held, c->given, sizeof c->held);
        c->confirm = true;
    }
}

static void step_modern(struct modern *c)
{
    if (!c->on) {
        static int number;
        snprintf(c->id, sizeof c->id, "m%d", number++);
        c->topics = 1 + (uint32_t)rng_below(&rng, (1u << SUBJECTS) - 1);
        c->epoch = 0;
        beat(c, 0);
        c->on = true;
        take_answer(c, true);
    } else if (chance(12)) {
        beat(c, -1);
        assert_int_equal(c->error, 0);
        forget(c);
    } else {
        beat(c, c->epoch);
        take_answer(c, false);
    }
}

static void let_time_pass(void)
{
    int64_t now;
    pass(&x, 1 + (int64_t)rng_below(&rng, 15000));
    now = world_now_ms(&x.w);
    for (int i = 0; i < CLIENTS; i++)
        if (moderns[i].on && now - moderns[i].beaten_ms >= 45000)
            forget(&moderns[i]);
}

/* Everybody stays alive over a restart, which begins sessions anew. */
static void restart_modern(void)
{
    restart();
    for (int i = 0; i < CLIENTS; i++)
        moderns[i].beaten_ms = world_now_ms(&x.w);
}

static void come_to_rest(void)
{
    uint32_t wanted = 0;
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            if (!moderns[i].on)
                continue;
            beat(&moderns[i], moderns[i].epoch);
            take_answer(&moderns[i], false);
            check_owners();
        }
    }
    for (int i = 0; i < CLIENTS; i++)
        wanted |= moderns[i].on ? moderns[i].topics : 0;
    for (int t = 0; t < SUBJECTS; t++) {
        uint32_t all = 0;
        for (int i = 0; i < CLIENTS; i++)
            all |= moderns[i].on ? moderns[i].held[t] : 0;
        assert_int_equal(all, wanted & 1u << t ? (1u << x.topics[t].partitions) - 1 : 0);
    }
}

static void no_partition_has_two_members(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        begin(seed);
        memset(moderns, 0, sizeof moderns);
        for (int step = 0; step < 300; step++) {
            if (chance(8)) {
                let_time_pass();
            } else if (chance(25)) {
                restart_modern();
            } else if (chance(40)) {
                struct group_topic *t = &x.topics[rng_below(&rng, SUBJECTS)];
                t->partitions += t->partitions < PARTITIONS;
                x.generation++;
            } else {
                step_modern(&moderns[rng_below(&rng, CLIENTS)]);
            }
            check_owners();
        }
        come_to_rest();
        gworld_end(&x);
    }
}

/* ---- the classic protocol ---- */

enum stage { OUT, JOINING, JOINED, SYNCING, IN };

struct classic {
    enum stage stage;
    char id[160], assignment[64];
    int generation;
    struct joined joined;
    struct synced synced;
};

static struct classic classics[CLIENTS];
static int latest; /* generation */

static void begin_join(struct classic *c)
{
    struct join j = {.member = c->id, .rebalance_ms = 20000};
    join(&x, j, &c->joined);
    if (c->joined.came && c->joined.error == KAFKA_MEMBER_ID_REQUIRED) {
        memcpy(c->id, c->joined.member, sizeof c->id);
        j.member = c->id;
        join(&x, j, &c->joined);
    }
    c->stage = JOINING;
}

static void begin_sync(struct classic *c)
{
    const char *list[2 * CLIENTS + 1] = {0};
    static char texts[CLIENTS][64];
    for (size_t i = 0; i < c->joined.member_count; i++) {
        list[2 * i] = c->joined.members[i];
        snprintf(texts[i], sizeof texts[i], "%d:%zu", c->generation, i);
        list[2 * i + 1] = texts[i];
    }
    sync_as(&x, "g", c->id, NULL, c->generation, list, &c->synced);
    c->stage = SYNCING;
}

static void drop(struct classic *c)
{
    c->stage = OUT;
    c->id[0] = 0;
}

/* What has come of what it waits for. */
static void look(struct classic *c)
{
    if (c->stage == JOINING && c->joined.came) {
        if (c->joined.error == KAFKA_UNKNOWN_MEMBER_ID) {
            drop(c);
            return;
        }
        assert_int_equal(c->joined.error, 0);
        assert_true(c->joined.generation >= latest);
        latest = c->generation = c->joined.generation;
        c->stage = JOINED;
    } else if (c->stage == SYNCING && c->synced.came) {
        c->stage = c->synced.error ? OUT : IN;
        if (c->synced.error == KAFKA_UNKNOWN_MEMBER_ID)
            drop(c);
        memcpy(c->assignment, c->synced.assignment, sizeof c->assignment);
        if (c->stage == IN)
            assert_int_equal(atoi(c->assignment), c->generation);
    }
}

static void step_classic(struct classic *c)
{
    int error;
    look(c);
    switch (c->stage) {
    case OUT:
        begin_join(c);
        break;
    case JOINED:
        begin_sync(c);
        break;
    case IN:
        if (chance(10)) {
            error = leave(&x, "g", c->id, NULL, 4);
            assert_true(error == 0 || error == KAFKA_UNKNOWN_MEMBER_ID);
            drop(c);
            break;
        }
        error = heartbeat(&x, c->id, c->generation);
        if (error == KAFKA_UNKNOWN_MEMBER_ID)
            drop(c);
        else if (error)
            c->stage = OUT; /* it joins again with its id */
        break;
    default:
        break;
    }
    look(c);
}

/* Those in one generation have different shares. */
static void check_shares(void)
{
    for (int i = 0; i < CLIENTS; i++)
        for (int k = 0; k < i; k++)
            if (classics[i].stage == IN && classics[k].stage == IN &&
                classics[i].generation == classics[k].generation)
                assert_string_not_equal(classics[i].assignment, classics[k].assignment);
}

/* A stable group is the same after a restart: nobody has to join again. */
static void restart_classic(void)
{
    bool stable = strcmp(state_of(&x, "g"), "Stable") == 0;
    for (int i = 0; i < CLIENTS; i++)
        if (classics[i].stage == JOINING || classics[i].stage == SYNCING)
            groups_forget(x.g, beck_str("g"),
                          classics[i].stage == JOINING ? (void *)&classics[i].joined
                                                       : (void *)&classics[i].synced);
    settled(&x);
    stable = stable && strcmp(state_of(&x, "g"), "Stable") == 0;
    restart();
    for (int i = 0; i < CLIENTS; i++) {
        struct classic *c = &classics[i];
        if (stable && c->stage == IN && c->generation == latest) {
            int error = heartbeat(&x, c->id, c->generation);
            if (error && error != KAFKA_UNKNOWN_MEMBER_ID)
                fail_msg("after a restart: %s", kafka_error_name(error));
            struct synced s;
            sync_as(&x, "g", c->id, NULL, c->generation, NULL, &s);
            if (!error)
                assert_string_equal(s.assignment, c->assignment);
        } else if (c->stage == JOINING || c->stage == SYNCING || c->stage == JOINED) {
            c->stage = OUT;
        }
    }
    /* What was begun and never written is forgotten: generations may come again. */
    if (!stable)
        latest = 0;
}

static void generations_only_grow_and_last(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        begin(seed + 100);
        memset(classics, 0, sizeof classics);
        latest = 0;
        for (int step = 0; step < 500; step++) {
            if (chance(10))
                pass(&x, (int64_t)rng_below(&rng, 4000));
            else if (chance(40))
                restart_classic();
            else
                step_classic(&classics[rng_below(&rng, CLIENTS)]);
            for (int i = 0; i < CLIENTS; i++)
                look(&classics[i]);
            check_shares();
        }
        gworld_end(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_partition_has_two_members),
        cmocka_unit_test(generations_only_grow_and_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
