/* Groups and offsets as their log has them: see group_log.h. */
#include "kafka/group_log.h"
#include "kafka/offsets_impl.h"

#include <stdlib.h>

#define KEYS_MAX (GROUP_RECORD_MAX * 4u)

/* A key, or the message in a value, behind the number that it begins with; false: it is none. */
static bool decode(const struct kafka_table *t, beck_bytes from, struct kafka_arena *a, void *out)
{
    int16_t number = (int16_t)get_u16(from.data);
    bool key = t->flexible == INT16_MAX && t->last == 0;
    int16_t version = key ? 0 : number;
    return (key || (version >= t->first && version <= t->last)) &&
           !kafka_decode(t, version, bytes_of((const uint8_t *)from.data + 2, from.len - 2), a, out,
                         NULL, NULL);
}

/* ---- groups ---- */

/* Its members are gone, and what they subscribe to. */
static void forget_members(struct group *group)
{
    while (group->first) {
        struct member *m = group->first;
        member_remove(m);
        member_free(m);
    }
    while (group->regexes)
        consumer_drop_regex(group, &group->regexes);
}

/* The group, of that type; one of the other type has become it since. NULL: no memory. */
static struct group *group_of(struct groups *g, beck_bytes id, enum group_type type)
{
    struct group *group = group_find(g, id);
    if (!group)
        group = group_new(g, id, type);
    if (group && group->type != type)
        forget_members(group);
    if (group) {
        group->type = type;
        group->offsets_only = false;
    }
    return group;
}

static const struct group_client nobody = {0};

static bool load_offset(struct groups *g, const struct kafka_offset_commit_key *key,
                        beck_bytes value, struct kafka_arena *a, int64_t producer_id)
{
    struct kafka_offset_commit_value v;
    struct offset_change c = {.kind = CHANGE_REMOVE,
                              .group = key->group,
                              .topic = key->topic,
                              .partition = key->partition};
    if (value.data) {
        if (!decode(kafka_offset_commit_value_table(), value, a, &v))
            return false;
        c.kind = producer_id >= 0 ? CHANGE_PENDING : CHANGE_COMMIT;
        c.value = (struct offset_value){.offset = v.offset,
                                        .leader_epoch = v.leader_epoch,
                                        .commit_ms = v.commit_timestamp,
                                        .expire_ms = v.expire_timestamp,
                                        .metadata = group_copy(v.metadata)};
        memcpy(c.value.topic_id, v.topic_id, sizeof c.value.topic_id);
        if (!c.value.metadata.data)
            return false;
    }
    bool applied = offsets_apply(g, &c, producer_id);
    group_text_free(&c.value.metadata);
    return applied;
}

static bool load_classic_member(struct group *group, beck_bytes protocol, beck_bytes leader,
                                const struct kafka_group_metadata_value_member_metadata *from)
{
    struct group_client client = {.id = from->client_id, .host = from->client_host};
    struct member *m = member_new(group, from->member_id, from->group_instance_id, &client);
    struct kafka_join_group_request_protocol named = {protocol, from->subscription};
    struct kafka_join_group_request request = {.protocols = {.at = &named, .count = 1}};
    if (!m)
        return false;
    m->classic = true;
    m->session_timeout_ms = from->session_timeout;
    m->rebalance_timeout_ms =
        from->rebalance_timeout >= 0 ? from->rebalance_timeout : from->session_timeout;
    if (!member_set_protocols(m, &request) || !group_text_set(&m->assignment, from->assignment) ||
        !member_add(m)) {
        member_free(m);
        return false;
    }
    if (bytes_equal(from->member_id, leader))
        group->leader = m;
    return true;
}

static bool load_classic(struct groups *g, beck_bytes id, beck_bytes value, struct kafka_arena *a)
{
    struct kafka_group_metadata_value v;
    struct group *group = group_find(g, id);
    if (group)
        forget_members(group);
    if (!value.data && group) {
        group->type = GROUP_CLASSIC;
        group->offsets_only = true;
        group_text_free(&group->protocol_type);
        group_text_free(&group->protocol);
    }
    if (!value.data)
        return true;
    if (!decode(kafka_group_metadata_value_table(), value, a, &v) ||
        !(group = group_of(g, id, GROUP_CLASSIC)))
        return false;
    group->generation = v.generation;
    group->state_since_ms = v.current_state_timestamp;
    bool loaded = group_text_set(&group->protocol_type, v.protocol_type) &&
                  group_text_set(&group->protocol, v.protocol);
    for (size_t i = 0; loaded && i < v.members.count; i++)
        loaded = load_classic_member(group, v.protocol, v.leader, &v.members.at[i]);
    return loaded;
}

/* ---- KIP-848 ---- */

static bool load_epoch(struct groups *g, beck_bytes id, beck_bytes value, struct kafka_arena *a)
{
    struct kafka_consumer_group_metadata_value v;
    struct group *group = group_find(g, id);
    if (!value.data) {
        if (group && group->type == GROUP_CONSUMER) {
            forget_members(group);
            group->offsets_only = true; /* nothing is to be written about it */
            consumer_become_classic(group);
        }
        return true;
    }
    if (!decode(kafka_consumer_group_metadata_value_table(), value, a, &v) ||
        !(group = group_of(g, id, GROUP_CONSUMER)))
        return false;
    group->epoch = v.epoch;
    group->metadata_hash = v.metadata_hash;
    return true;
}

static bool load_target_epoch(struct groups *g, beck_bytes id, beck_bytes value,
                              struct kafka_arena *a)
{
    struct kafka_consumer_group_target_assignment_metadata_value v = {0};
    struct group *group = group_find(g, id);
    if (value.data &&
        !decode(kafka_consumer_group_target_assignment_metadata_value_table(), value, a, &v))
        return false;
    if (value.data)
        group = group_of(g, id, GROUP_CONSUMER);
    if (group)
        group->target_epoch = v.assignment_epoch;
    return group || !value.data;
}

/* The member; made where it is not known yet. */
static struct member *member_of(struct groups *g, beck_bytes id, beck_bytes member_id)
{
    struct group *group = group_of(g, id, GROUP_CONSUMER);
    struct member *m = group ? member_find(group, member_id) : NULL;
    if (!group || m)
        return m;
    m = member_new(group, member_id, (beck_bytes){0}, &nobody);
    if (m && !member_add(m)) {
        member_free(m);
        return NULL;
    }
    return m;
}

static bool load_names(struct member *m, const struct kafka_strings *names)
{
    beck_bytes *list = calloc(names->count + 1, sizeof *list);
    bool copied = list != NULL;
    for (size_t i = 0; i < m->topic_count; i++)
        group_text_free(&m->topics[i]);
    free(m->topics);
    m->topics = list;
    m->topic_count = 0;
    for (size_t i = 0; i < names->count && copied; i++) {
        list[i] = group_copy(names->at[i]);
        copied = list[i].data != NULL;
        m->topic_count += copied;
    }
    return copied;
}

/* from NULL: it speaks KIP-848's protocol. */
static bool load_protocols(
    struct member *m,
    const struct kafka_consumer_group_member_metadata_value_classic_member_metadata *from)
{
    struct kafka_join_group_request_protocol list[GROUP_PROTOCOLS_MAX];
    struct kafka_join_group_request request = {.protocols = {.at = list}};
    mixed_modernize(m);
    if (!from)
        return true;
    for (size_t i = 0; i < from->supported_protocols.count && i < GROUP_PROTOCOLS_MAX; i++)
        list[request.protocols.count++] = (struct kafka_join_group_request_protocol){
            from->supported_protocols.at[i].name, from->supported_protocols.at[i].metadata};
    struct kafka_arena arena;
    struct kafka_consumer_protocol_subscription said;
    kafka_arena_init(&arena, REPLY_BYTES_MAX);
    m->classic =
        request.protocols.count > 0 && classic_read_subscription(list[0].metadata, &arena, &said);
    kafka_arena_release(&arena);
    m->session_timeout_ms = from->session_timeout_ms;
    return m->classic && member_set_protocols(m, &request);
}

static bool load_member(struct groups *g, beck_bytes id, beck_bytes member_id, beck_bytes value,
                        struct kafka_arena *a)
{
    struct kafka_consumer_group_member_metadata_value v;
    if (!value.data) {
        struct group *group = group_find(g, id);
        struct member *m =
            group && group->type == GROUP_CONSUMER ? member_find(group, member_id) : NULL;
        if (m) {
            member_remove(m);
            member_free(m);
        }
        return true;
    }
    if (!decode(kafka_consumer_group_member_metadata_value_table(), value, a, &v))
        return false;
    struct member *m = member_of(g, id, member_id);
    if (!m)
        return false;
    if (m->instance_id.data)
        lookup_remove(&m->group->statics, &m->instance_node);
    group_text_free(&m->instance_id);
    m->rebalance_timeout_ms = v.rebalance_timeout_ms;
    if (!group_text_set(&m->instance_id, v.instance_id) || !group_text_set(&m->rack, v.rack_id) ||
        !group_text_set(&m->client_id, v.client_id) ||
        !group_text_set(&m->client_host, v.client_host) ||
        !group_text_set(&m->assignor, v.server_assignor) ||
        !group_text_set(&m->regex_text, v.subscribed_topic_regex) ||
        lookup_reserve(&m->group->statics))
        return false;
    if (m->instance_id.data)
        lookup_add(&m->group->statics, &m->instance_node,
                   lookup_hash(&m->group->statics, m->instance_id));
    return load_names(m, &v.subscribed_topic_names) && load_protocols(m, v.classic_member_metadata);
}

/* epochs: since when; where there are none it is `epoch`. */
static bool load_set(struct partition_set *set, const uint8_t topic[16],
                     const struct kafka_int32s *partitions, const struct kafka_int32s *epochs,
                     int32_t epoch)
{
    for (size_t i = 0; i < partitions->count; i++) {
        if (partitions->at[i] < 0 || partition_set_add(set, topic, partitions->at[i]))
            return false;
        set->at[set->count - 1].epoch = epochs->count == partitions->count ? epochs->at[i] : epoch;
    }
    return true;
}

static bool load_target(struct groups *g, beck_bytes id, beck_bytes member_id, beck_bytes value,
                        struct kafka_arena *a)
{
    struct kafka_consumer_group_target_assignment_member_value v = {0};
    if (!value.data)
        return true; /* the member goes as well */
    struct member *m = member_of(g, id, member_id);
    bool loaded =
        m && decode(kafka_consumer_group_target_assignment_member_value_table(), value, a, &v);
    if (loaded)
        partition_set_release(&m->target);
    for (size_t i = 0; loaded && i < v.topic_partitions.count; i++)
        loaded = load_set(&m->target, v.topic_partitions.at[i].topic_id,
                          &v.topic_partitions.at[i].partitions, &(struct kafka_int32s){0}, 0);
    if (m)
        partition_set_sort(&m->target);
    return loaded;
}

static bool load_current(struct groups *g, beck_bytes id, beck_bytes member_id, beck_bytes value,
                         struct kafka_arena *a)
{
    struct kafka_consumer_group_current_member_assignment_value v = {0};
    if (!value.data)
        return true;
    struct member *m = member_of(g, id, member_id);
    if (!m || !decode(kafka_consumer_group_current_member_assignment_value_table(), value, a, &v) ||
        v.state < MEMBER_STABLE || v.state > MEMBER_UNRELEASED)
        return false;
    m->epoch = v.member_epoch;
    m->previous_epoch = v.previous_member_epoch;
    m->state = (enum member_state)v.state;
    partition_set_release(&m->assigned);
    partition_set_release(&m->revoking);
    bool loaded = true;
    for (size_t i = 0; loaded && i < v.assigned_partitions.count; i++)
        loaded = load_set(&m->assigned, v.assigned_partitions.at[i].topic_id,
                          &v.assigned_partitions.at[i].partitions,
                          &v.assigned_partitions.at[i].assignment_epochs, v.member_epoch);
    for (size_t i = 0; loaded && i < v.partitions_pending_revocation.count; i++)
        loaded = load_set(&m->revoking, v.partitions_pending_revocation.at[i].topic_id,
                          &v.partitions_pending_revocation.at[i].partitions,
                          &v.partitions_pending_revocation.at[i].assignment_epochs, v.member_epoch);
    partition_set_sort(&m->assigned);
    partition_set_sort(&m->revoking);
    return loaded;
}

static bool load_regex(struct groups *g, beck_bytes key, beck_bytes value, struct kafka_arena *a)
{
    struct kafka_consumer_group_regular_expression_key k;
    struct kafka_consumer_group_regular_expression_value v;
    if (!decode(kafka_consumer_group_regular_expression_key_table(), key, a, &k))
        return false;
    struct group *group =
        value.data ? group_of(g, k.group_id, GROUP_CONSUMER) : group_find(g, k.group_id);
    struct group_regex *r =
        group ? consumer_regex(group, k.regular_expression, (beck_bytes){0}) : NULL;
    if (value.data)
        return group &&
               decode(kafka_consumer_group_regular_expression_value_table(), value, a, &v) &&
               consumer_load_regex(group, k.regular_expression, &v.topics);
    for (struct group_regex **at = r ? &group->regexes : NULL; at && *at; at = &(*at)->next) {
        if (*at == r) {
            consumer_drop_regex(group, at);
            break;
        }
    }
    return true;
}

/* ---- all kinds ---- */

static bool load_of_member(struct groups *g, int16_t kind, beck_bytes key, beck_bytes value,
                           struct kafka_arena *a)
{
    struct kafka_consumer_group_member_metadata_key k; /* those of all three are alike */
    if (!decode(kafka_consumer_group_member_metadata_key_table(), key, a, &k))
        return false;
    if (kind == 5)
        return load_member(g, k.group_id, k.member_id, value, a);
    return kind == 7 ? load_target(g, k.group_id, k.member_id, value, a)
                     : load_current(g, k.group_id, k.member_id, value, a);
}

static bool load_of_group(struct groups *g, int16_t kind, beck_bytes key, beck_bytes value,
                          struct kafka_arena *a)
{
    struct kafka_group_metadata_key k; /* as all with only a group */
    if (!decode(kafka_group_metadata_key_table(), key, a, &k))
        return false;
    if (kind == 2)
        return load_classic(g, k.group, value, a);
    return kind == 3 ? load_epoch(g, k.group, value, a) : load_target_epoch(g, k.group, value, a);
}

static bool load(struct groups *g, beck_bytes key, beck_bytes value, int64_t producer_id,
                 struct kafka_arena *a)
{
    struct kafka_offset_commit_key offset;
    if (key.len < 2 || (value.data && value.len < 2))
        return false;
    int16_t kind = (int16_t)get_u16(key.data);
    switch (kind) {
    case 0:
    case 1:
        return decode(kafka_offset_commit_key_table(), key, a, &offset) &&
               load_offset(g, &offset, value, a, producer_id);
    case 2:
    case 3:
    case 6:
        return load_of_group(g, kind, key, value, a);
    case 5:
    case 7:
    case 8:
        return load_of_member(g, kind, key, value, a);
    case 16:
        return load_regex(g, key, value, a);
    default: /* not ours */
        return true;
    }
}

bool group_load_record(struct groups *g, beck_bytes key, beck_bytes value, int64_t producer_id)
{
    struct kafka_arena arena;
    kafka_arena_init(&arena, KEYS_MAX);
    bool loaded = load(g, key, value, producer_id, &arena);
    kafka_arena_release(&arena);
    return loaded;
}

static bool is_nobodys(const struct group *group, const struct partition_set *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (consumer_owner(group, &s->at[i]))
            return false;
    return true;
}

/* Members that were read in part, and regular expressions that are none any more. */
static void settle_members(struct group *group)
{
    for (struct member *m = group->first, *next; m; m = next) {
        next = m->next;
        bool whole = m->topic_count > 0 || m->regex_text.data || m->classic;
        /* What a member gave up is missing where that failed to be written, and what followed did not:
         * it joins again. */
        if (!is_nobodys(group, &m->assigned) || !is_nobodys(group, &m->revoking)) {
            partition_set_release(&m->assigned);
            partition_set_release(&m->revoking);
            whole = false;
        }
        if (m->regex_text.data &&
            consumer_use_regex(group, m->regex_text, (beck_bytes){0}, &(beck_error){0}))
            group_text_free(&m->regex_text);
        if (!whole || !consumer_own(m)) {
            consumer_disown(m);
            member_remove(m);
            member_free(m);
        }
    }
    for (struct group_regex **at = &group->regexes; *at;) {
        if ((*at)->members == 0)
            consumer_drop_regex(group, at);
        else
            at = &(*at)->next;
    }
}

void group_load_end(struct groups *g)
{
    for (struct lookup_node *n = lookup_walk(&g->by_id, NULL), *next; n; n = next) {
        struct group *group = lookup_of(n, struct group, node);
        next = lookup_walk(&g->by_id, n);
        group->failures = g->failures;
        if (group->type == GROUP_CONSUMER) {
            settle_members(group);
            consumer_start(group);
            if (consumer_downgrade(group))
                classic_begin_rebalance(group);
        } else if (group->offsets_only && group_is_void(group)) {
            group_free(group);
        } else {
            group->state = group->count > 0 ? GROUP_STABLE : GROUP_EMPTY;
            classic_start(group);
            if (group->count > 0 && !group->leader)
                classic_begin_rebalance(group);
        }
    }
}
