/* A coordinator on the simulated disk and a virtual clock, over topics that a test makes up. */
#ifndef TESTS_KAFKA_GROUPS_WORLD_H
#define TESTS_KAFKA_GROUPS_WORLD_H

#include "kafka/group_log.h"
#include "kafka/message/consumer_protocol.h"
#include "kafka/offsets.h"
#include "queue/world.h"

#define TOPICS 32

struct gworld {
    struct world w;
    struct timers timers;
    struct groups *g;
    struct groups_settings settings;
    struct group_topic topics[TOPICS];
    bool gone[TOPICS];
    size_t topic_count;
    uint64_t generation;
};

static bool fake_find(void *ctx, beck_bytes name, struct group_topic *out)
{
    struct gworld *x = ctx;
    for (size_t i = 0; i < x->topic_count; i++) {
        if (!x->gone[i] && bytes_equal(x->topics[i].name, name)) {
            *out = x->topics[i];
            return true;
        }
    }
    return false;
}

static bool fake_find_id(void *ctx, const uint8_t id[16], struct group_topic *out)
{
    struct gworld *x = ctx;
    for (size_t i = 0; i < x->topic_count; i++) {
        if (!x->gone[i] && memcmp(x->topics[i].id, id, 16) == 0) {
            *out = x->topics[i];
            return true;
        }
    }
    return false;
}

static void fake_each(void *ctx, void (*fn)(void *fn_ctx, const struct group_topic *t),
                      void *fn_ctx)
{
    struct gworld *x = ctx;
    for (size_t i = 0; i < x->topic_count; i++)
        if (!x->gone[i])
            fn(fn_ctx, &x->topics[i]);
}

static uint64_t fake_generation(void *ctx)
{
    return ((struct gworld *)ctx)->generation;
}

static inline struct group_topic *topic(struct gworld *x, const char *name, uint32_t partitions)
{
    assert_true(x->topic_count < TOPICS);
    struct group_topic *t = &x->topics[x->topic_count++];
    *t = (struct group_topic){.name = beck_str(name), .partitions = partitions};
    t->id[0] = (uint8_t)(x->topic_count * 37);
    t->id[15] = (uint8_t)x->topic_count;
    x->generation++;
    return t;
}

/* Until nothing is being written, and all that could be answered is. */
static inline void settled(struct gworld *x)
{
    group_log_wait(x->g);
}

static inline void gworld_begin(struct gworld *x)
{
    struct group_topics topics = {.find = fake_find,
                                  .find_id = fake_find_id,
                                  .each = fake_each,
                                  .generation = fake_generation,
                                  .ctx = x};
    check_ok(groups_open(x->w.b, &x->timers, &topics, &x->settings, &x->g, err));
    settled(x);
}

static inline void gworld_start(struct gworld *x, uint64_t seed)
{
    memset(x, 0, sizeof *x);
    world_start(&x->w, seed);
    check_ok(timers_start(&x->timers, err));
    gworld_begin(x);
}

static inline void gworld_end(struct gworld *x)
{
    groups_close(x->g);
    timers_stop(&x->timers);
    world_end(&x->w);
}

static inline void gworld_reopen(struct gworld *x)
{
    groups_close(x->g);
    world_reopen(&x->w);
    gworld_begin(x);
}

/* The process ends: what was written stays. */
static inline void gworld_kill(struct gworld *x)
{
    vfs_sim_kill(x->w.vfs);
    groups_close(x->g);
    beck_abandon(x->w.b);
    world_open(&x->w);
    gworld_begin(x);
}

static inline void pass(struct gworld *x, int64_t ms)
{
    world_advance(&x->w, ms);
    groups_run(x->g);
    settled(x);
}

static inline void text_of(char *out, size_t size, beck_bytes from)
{
    snprintf(out, size, "%.*s", (int)from.len, from.data ? (const char *)from.data : "");
}

/* NULL: none. */
static inline beck_bytes nullable(const char *text)
{
    return text ? beck_str(text) : (beck_bytes){0};
}

/* ---- the classic protocol ---- */

struct joined {
    bool came, skip;
    int error, generation;
    char member[160], leader[160], protocol[64];
    char members[32][160];
    size_t member_count;
};

static inline void note_joined(void *ctx, const void *answer)
{
    const struct kafka_join_group_response *a = answer;
    struct joined *j = ctx;
    assert_false(j->came);
    j->came = true;
    j->error = a->error_code;
    j->generation = a->generation_id;
    j->skip = a->skip_assignment;
    text_of(j->member, sizeof j->member, a->member_id);
    text_of(j->leader, sizeof j->leader, a->leader);
    text_of(j->protocol, sizeof j->protocol, a->protocol_name);
    j->member_count = a->members.count;
    for (size_t i = 0; i < a->members.count && i < 32; i++)
        text_of(j->members[i], sizeof j->members[i], a->members.at[i].member_id);
}

struct join {
    const char *group, *member, *instance, *protocols; /* separated by commas */
    const char *type, *metadata;
    beck_bytes subscription; /* instead of metadata */
    int32_t session_ms, rebalance_ms;
    int16_t version;
};

static inline void join(struct gworld *x, struct join j, struct joined *out)
{
    struct kafka_join_group_request r;
    struct kafka_join_group_request_protocol protocols[8];
    char names[256], *rest = names, *name, member[160];
    kafka_join_group_request_init(&r);
    r.group_id = beck_str(j.group ? j.group : "g");
    snprintf(member, sizeof member, "%s", j.member ? j.member : ""); /* it may be of *out */
    r.member_id = beck_str(member);
    r.group_instance_id = nullable(j.instance);
    r.session_timeout_ms = j.session_ms ? j.session_ms : 10000;
    r.rebalance_timeout_ms = j.rebalance_ms ? j.rebalance_ms : 60000;
    r.protocol_type = beck_str(j.type ? j.type : "consumer");
    r.protocols.at = protocols;
    snprintf(names, sizeof names, "%s", j.protocols ? j.protocols : "range");
    while ((name = strtok_r(rest, ",", &rest)))
        protocols[r.protocols.count++] = (struct kafka_join_group_request_protocol){
            beck_str(name),
            j.subscription.data ? j.subscription : beck_str(j.metadata ? j.metadata : "meta")};
    struct group_client client = {.id = beck_str("client"),
                                  .host = beck_str("/127.0.0.1"),
                                  .version = j.version ? j.version : 9};
    memset(out, 0, sizeof *out);
    groups_join(x->g, &r, &client, note_joined, out);
    settled(x);
}

struct synced {
    bool came;
    int error;
    char assignment[64];
};

static inline void note_synced(void *ctx, const void *answer)
{
    const struct kafka_sync_group_response *a = answer;
    struct synced *s = ctx;
    assert_false(s->came);
    s->came = true;
    s->error = a->error_code;
    text_of(s->assignment, sizeof s->assignment, a->assignment);
}

/* assignments: member, assignment, member, assignment ... NULL. */
static inline void sync_as(struct gworld *x, const char *group, const char *member,
                           const char *instance, int32_t generation, const char *const *assignments,
                           struct synced *out)
{
    struct kafka_sync_group_request r;
    struct kafka_sync_group_request_assignment list[64];
    struct group_client client = {.host = beck_str("/127.0.0.1"), .version = 5};
    kafka_sync_group_request_init(&r);
    r.group_id = beck_str(group);
    r.member_id = beck_str(member);
    r.group_instance_id = nullable(instance);
    r.generation_id = generation;
    r.assignments.at = list;
    for (; assignments && *assignments; assignments += 2)
        list[r.assignments.count++] = (struct kafka_sync_group_request_assignment){
            beck_str(assignments[0]), beck_str(assignments[1])};
    memset(out, 0, sizeof *out);
    groups_sync(x->g, &r, &client, note_synced, out);
    settled(x);
}

static inline void note_heartbeat(void *ctx, const void *answer)
{
    *(int *)ctx = ((const struct kafka_heartbeat_response *)answer)->error_code;
}

static inline int heartbeat_as(struct gworld *x, const char *group, const char *member,
                               const char *instance, int32_t generation)
{
    struct kafka_heartbeat_request r = {.group_id = beck_str(group),
                                        .generation_id = generation,
                                        .member_id = beck_str(member),
                                        .group_instance_id = nullable(instance)};
    int error = -100;
    groups_heartbeat(x->g, &r, note_heartbeat, &error);
    settled(x);
    return error;
}
#define heartbeat(x, member, generation) heartbeat_as(x, "g", member, NULL, generation)

static inline void note_left(void *ctx, const void *answer)
{
    const struct kafka_leave_group_response *a = answer;
    *(int *)ctx = a->error_code      ? a->error_code
                  : a->members.count ? a->members.at[0].error_code
                                     : 0;
}

static inline int leave(struct gworld *x, const char *group, const char *member,
                        const char *instance, int16_t version)
{
    struct kafka_leave_group_request_member m = {beck_str(member), nullable(instance), {0}};
    struct kafka_leave_group_request r = {.group_id = beck_str(group),
                                          .member_id = beck_str(member),
                                          .members = {.at = &m, .count = 1}};
    struct group_client client = {.version = version};
    int error = -100;
    groups_leave(x->g, &r, &client, note_left, &error);
    settled(x);
    return error;
}

/* Joins a member whose id is given to it; it waits, or has joined. */
static inline void join_new(struct gworld *x, struct join j, struct joined *out)
{
    struct joined first;
    char id[160];
    join(x, j, &first);
    assert_int_equal(first.error, KAFKA_MEMBER_ID_REQUIRED);
    snprintf(id, sizeof id, "%s", first.member);
    j.member = id;
    join(x, j, out);
}

/* A stable group of one. */
static inline void join_alone(struct gworld *x, struct join j, struct joined *out)
{
    struct synced s;
    join_new(x, j, out);
    assert_true(out->came);
    assert_int_equal(out->error, 0);
    const char *assignments[] = {out->member, "all", NULL};
    sync_as(x, j.group ? j.group : "g", out->member, j.instance, out->generation, assignments, &s);
    assert_int_equal(s.error, 0);
}

/* "Stable", ...; "" where there is none. */
static inline const char *state_of(struct gworld *x, const char *group)
{
    static char state[32];
    struct kafka_arena arena;
    struct kafka_describe_groups_response_group d;
    kafka_arena_init(&arena, 1 << 20);
    assert_false(groups_describe(x->g, beck_str(group), 6, &arena, &d));
    text_of(state, sizeof state, d.error_code ? beck_str("") : d.group_state);
    kafka_arena_release(&arena);
    return state;
}

/* What a consumer of these topics says of itself (version 0); static memory. */
static inline beck_bytes subscription(const char *topics)
{
    static uint8_t bytes[4][256];
    static int turn;
    uint8_t *to = bytes[turn++ % 4], *at = to + 6;
    char names[128], *rest = names, *name;
    uint32_t count = 0;
    snprintf(names, sizeof names, "%s", topics);
    while ((name = strtok_r(rest, ",", &rest))) {
        put_u16(at, (uint16_t)strlen(name));
        memcpy(at + 2, name, strlen(name));
        at += 2 + strlen(name);
        count++;
    }
    put_u16(to, 0);
    put_u32(to + 2, count);
    put_u32(at, UINT32_MAX);
    return bytes_of(to, (size_t)(at + 4 - to));
}

static inline void note_deleted(void *ctx, const void *answer)
{
    *(int *)ctx = ((const struct kafka_delete_groups_response *)answer)->results.at[0].error_code;
}

/* ---- offsets ---- */

static inline void note_commit(void *ctx, const void *answer)
{
    const struct kafka_offset_commit_response *a = answer;
    *(int *)ctx = a->topics.at[0].partitions.at[0].error_code;
}

struct commit {
    const char *group, *member, *instance, *topic, *metadata;
    int32_t generation, partition;
    int64_t offset, retention_ms;
    int16_t version;
};

static inline int commit(struct gworld *x, struct commit c)
{
    struct kafka_offset_commit_request_partition p = {.partition_index = c.partition,
                                                      .committed_offset = c.offset,
                                                      .committed_leader_epoch = 3,
                                                      .committed_metadata = nullable(c.metadata)};
    struct kafka_offset_commit_request_topic t = {.name = beck_str(c.topic ? c.topic : "t"),
                                                  .partitions = {.at = &p, .count = 1}};
    struct kafka_offset_commit_request r;
    int error = -100;
    kafka_offset_commit_request_init(&r);
    r.group_id = beck_str(c.group ? c.group : "g");
    r.member_id = beck_str(c.member ? c.member : "");
    r.group_instance_id = nullable(c.instance);
    r.generation_id_or_member_epoch = c.member ? c.generation : -1;
    r.retention_time_ms = c.retention_ms ? c.retention_ms : -1;
    r.topics.at = &t;
    r.topics.count = 1;
    offsets_commit(x->g, &r, c.version ? c.version : 9, note_commit, &error);
    settled(x);
    return error;
}

struct fetched {
    int error;
    int64_t offset;
    int32_t leader_epoch;
    char metadata[64];
};

static inline struct fetched fetch_as(struct gworld *x, const char *group, const char *topic_name,
                                      int32_t partition, bool stable)
{
    struct kafka_arena arena;
    struct kafka_offset_fetch_request_group_topic t = {
        .name = beck_str(topic_name), .partition_indexes = {.at = &partition, .count = 1}};
    struct kafka_offset_fetch_request_group r = {
        .group_id = beck_str(group), .member_epoch = -1, .topics = {.at = &t, .count = 1}};
    struct kafka_offset_fetch_response_group a;
    struct fetched f = {0};
    kafka_arena_init(&arena, 1 << 20);
    assert_false(offsets_fetch(x->g, &r, 8, stable, &arena, &a));
    f.error = a.error_code ? a.error_code : a.topics.at[0].partitions.at[0].error_code;
    f.offset = a.topics.at[0].partitions.at[0].committed_offset;
    f.leader_epoch = a.topics.at[0].partitions.at[0].committed_leader_epoch;
    text_of(f.metadata, sizeof f.metadata, a.topics.at[0].partitions.at[0].metadata);
    kafka_arena_release(&arena);
    return f;
}
#define fetch(x, partition) fetch_as(x, "g", "t", partition, false)

#endif
