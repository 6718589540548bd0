/* Groups as records of their log: see group_log.h. */
#include "kafka/group_log.h"

#include <stdlib.h>

#define PUT(g, kind, key, version, value)                                                          \
    group_log_put(g, kafka_##kind##_key_table(), key, kafka_##kind##_value_table(), version, value)

/* Where memory is short the round fails. */
static void fail(struct groups *g)
{
    struct round *r = group_log_round(g);
    if (r)
        r->failed = true;
}

/* ---- classic ---- */

void group_put_classic(struct group *group)
{
    struct groups *g = group->all;
    struct kafka_group_metadata_key key = {.group = group->id};
    struct kafka_group_metadata_value value;
    struct kafka_arena arena;
    size_t i = 0;
    kafka_arena_init(&arena, REPLY_BYTES_MAX);
    kafka_group_metadata_value_init(&value);
    value.protocol_type = group->protocol_type;
    value.generation = group->generation;
    value.protocol = group->protocol;
    if (group->leader)
        value.leader = group->leader->id;
    value.current_state_timestamp = group->state_since_ms;
    if (!kafka_array(&arena, &value.members, group->count))
        fail(g);
    for (struct member *m = group->first; m && value.members.at; m = m->next) {
        struct kafka_group_metadata_value_member_metadata *to = &value.members.at[i++];
        *to = (struct kafka_group_metadata_value_member_metadata){
            .member_id = m->id,
            .group_instance_id = m->instance_id,
            .client_id = m->client_id,
            .client_host = m->client_host,
            .rebalance_timeout = m->rebalance_timeout_ms,
            .session_timeout = m->session_timeout_ms,
            .subscription = member_metadata(m, group->protocol),
            .assignment = m->assignment};
    }
    PUT(g, group_metadata, &key, 3, &value);
    kafka_arena_release(&arena);
    group->offsets_only = false;
}

/* ---- KIP-848 ---- */

void group_put_epoch(struct group *group)
{
    struct kafka_consumer_group_metadata_key key = {.group_id = group->id};
    struct kafka_consumer_group_metadata_value value = {.epoch = group->epoch,
                                                        .metadata_hash = group->metadata_hash};
    PUT(group->all, consumer_group_metadata, &key, 0, &value);
    group->offsets_only = false;
}

void group_put_target_epoch(struct group *group)
{
    struct kafka_consumer_group_target_assignment_metadata_key key = {.group_id = group->id};
    struct kafka_consumer_group_target_assignment_metadata_value value = {
        .assignment_epoch = group->target_epoch, .assignment_timestamp = group_now_ms(group->all)};
    PUT(group->all, consumer_group_target_assignment_metadata, &key, 0, &value);
}

typedef struct kafka_consumer_group_member_metadata_value_classic_member_metadata classic_metadata;

/* False: no memory. */
static bool fill_classic(const struct member *m, struct kafka_arena *arena, classic_metadata *out)
{
    out->session_timeout_ms = m->session_timeout_ms;
    if (!kafka_array(arena, &out->supported_protocols, m->protocol_count))
        return false;
    for (size_t i = 0; i < m->protocol_count; i++)
        out->supported_protocols.at[i] =
            (struct kafka_consumer_group_member_metadata_value_supported_protocol){
                m->protocols[i].name, m->protocols[i].metadata};
    return true;
}

void group_put_member(struct member *m)
{
    struct kafka_consumer_group_member_metadata_key key = {m->group->id, m->id};
    struct kafka_consumer_group_member_metadata_value value;
    kafka_consumer_group_member_metadata_value_init(&value);
    value.instance_id = m->instance_id;
    value.rack_id = m->rack;
    value.client_id = m->client_id;
    value.client_host = m->client_host;
    value.subscribed_topic_names.at = m->topics;
    value.subscribed_topic_names.count = m->topic_count;
    value.subscribed_topic_regex = m->regex_text;
    value.rebalance_timeout_ms = m->rebalance_timeout_ms;
    value.server_assignor = m->assignor;
    classic_metadata classic = {0};
    struct kafka_arena arena;
    kafka_arena_init(&arena, REPLY_BYTES_MAX);
    if (m->classic) {
        value.classic_member_metadata = &classic;
        if (!fill_classic(m, &arena, &classic))
            fail(m->group->all);
    }
    PUT(m->group->all, consumer_group_member_metadata, &key, 0, &value);
    kafka_arena_release(&arena);
}

/* By topics, into an array of structures that begin with topic_id and partitions. */
#define FILL(arena, array, set, g)                                                                 \
    do {                                                                                           \
        const struct partition_set *from = (set);                                                  \
        size_t n = 0;                                                                              \
        if (!kafka_array(arena, array, partition_set_topics(from)))                                \
            fail(g);                                                                               \
        for (size_t i = 0; i < from->count && (array)->at; i += partition_set_run(from, i), n++) { \
            memcpy((array)->at[n].topic_id, from->at[i].topic, 16);                                \
            if (!kafka_array(arena, &(array)->at[n].partitions, partition_set_run(from, i)))       \
                fail(g);                                                                           \
            for (size_t p = 0;                                                                     \
                 p < (array)->at[n].partitions.count && (array)->at[n].partitions.at; p++)         \
                (array)->at[n].partitions.at[p] = from->at[i + p].partition;                       \
        }                                                                                          \
    } while (0)

/* And since when it has them. */
#define FILL_EPOCHS(arena, array, set, g)                                                          \
    do {                                                                                           \
        const struct partition_set *from = (set);                                                  \
        for (size_t n = 0, i = 0; (array)->at && n < (array)->count; n++) {                        \
            struct kafka_int32s *to = &(array)->at[n].assignment_epochs;                           \
            if (!kafka_array(arena, to, partition_set_run(from, i)))                               \
                fail(g);                                                                           \
            for (size_t p = 0; to->at && p < to->count; p++)                                       \
                to->at[p] = from->at[i + p].epoch;                                                 \
            i += partition_set_run(from, i);                                                       \
        }                                                                                          \
    } while (0)

void group_put_target(struct member *m)
{
    struct kafka_consumer_group_target_assignment_member_key key = {m->group->id, m->id};
    struct kafka_consumer_group_target_assignment_member_value value = {0};
    struct kafka_arena arena;
    kafka_arena_init(&arena, REPLY_BYTES_MAX);
    FILL(&arena, &value.topic_partitions, &m->target, m->group->all);
    PUT(m->group->all, consumer_group_target_assignment_member, &key, 0, &value);
    kafka_arena_release(&arena);
}

void group_put_current(struct member *m)
{
    struct kafka_consumer_group_current_member_assignment_key key = {m->group->id, m->id};
    struct kafka_consumer_group_current_member_assignment_value value = {.member_epoch = m->epoch,
                                                                         .previous_member_epoch =
                                                                             m->previous_epoch,
                                                                         .state = (int8_t)m->state};
    struct kafka_arena arena;
    kafka_arena_init(&arena, REPLY_BYTES_MAX);
    FILL(&arena, &value.assigned_partitions, &m->assigned, m->group->all);
    FILL(&arena, &value.partitions_pending_revocation, &m->revoking, m->group->all);
    FILL_EPOCHS(&arena, &value.assigned_partitions, &m->assigned, m->group->all);
    FILL_EPOCHS(&arena, &value.partitions_pending_revocation, &m->revoking, m->group->all);
    PUT(m->group->all, consumer_group_current_member_assignment, &key, 0, &value);
    kafka_arena_release(&arena);
}

void group_put_regex(struct group *group, const struct group_regex *r)
{
    struct kafka_consumer_group_regular_expression_key key = {group->id, r->text};
    struct kafka_consumer_group_regular_expression_value value = {
        .topics = {.at = r->topics, .count = r->topic_count},
        .version = (int64_t)group->topics_generation,
        .timestamp = group_now_ms(group->all)};
    PUT(group->all, consumer_group_regular_expression, &key, 0, &value);
}

void group_put_regex_gone(struct group *group, beck_bytes text)
{
    struct kafka_consumer_group_regular_expression_key key = {group->id, text};
    PUT(group->all, consumer_group_regular_expression, &key, 0, NULL);
}

void group_put_member_gone(struct member *m)
{
    struct groups *g = m->group->all;
    struct kafka_consumer_group_current_member_assignment_key current = {m->group->id, m->id};
    struct kafka_consumer_group_target_assignment_member_key target = {m->group->id, m->id};
    struct kafka_consumer_group_member_metadata_key metadata = {m->group->id, m->id};
    PUT(g, consumer_group_current_member_assignment, &current, 0, NULL);
    PUT(g, consumer_group_target_assignment_member, &target, 0, NULL);
    PUT(g, consumer_group_member_metadata, &metadata, 0, NULL);
}

/* ---- both ---- */

void group_put_gone(struct group *group)
{
    struct groups *g = group->all;
    if (group->offsets_only)
        return;
    if (group->type == GROUP_CLASSIC) {
        struct kafka_group_metadata_key key = {.group = group->id};
        PUT(g, group_metadata, &key, 3, NULL);
        return;
    }
    struct kafka_consumer_group_target_assignment_metadata_key target = {.group_id = group->id};
    struct kafka_consumer_group_metadata_key key = {.group_id = group->id};
    for (const struct group_regex *r = group->regexes; r; r = r->next)
        group_put_regex_gone(group, r->text);
    PUT(g, consumer_group_target_assignment_metadata, &target, 0, NULL);
    PUT(g, consumer_group_metadata, &key, 0, NULL);
}

void group_put_consumer(struct group *group)
{
    group_put_epoch(group);
    for (const struct group_regex *r = group->regexes; r; r = r->next)
        group_put_regex(group, r);
    for (struct member *m = group->first; m; m = m->next) {
        group_put_member(m);
        group_put_target(m);
    }
    group_put_target_epoch(group);
    for (struct member *m = group->first; m; m = m->next)
        group_put_current(m);
}

/* The records of the group, of the type that it is not. */
static void put_other_gone(struct group *group)
{
    enum group_type type = group->type;
    group->type = type == GROUP_CLASSIC ? GROUP_CONSUMER : GROUP_CLASSIC;
    group_put_gone(group);
    group->type = type;
}

void group_put_whole_if_behind(struct group *group)
{
    bool classic = group->type == GROUP_CLASSIC;
    if (group->failures == group->all->failures || group->offsets_only)
        return;
    if (classic && group->state != GROUP_EMPTY && group->state != GROUP_STABLE)
        return;
    group->failures = group->all->failures;
    put_other_gone(group);
    if (classic)
        group_put_classic(group);
    else
        group_put_consumer(group);
}
