/*
 * The classic protocol: how a group comes from one generation to the next.
 *
 * Empty -> Preparing: somebody joins. Preparing: members join until all have, or time is up; who has
 * not is removed, unless it is static. Preparing -> Completing: a generation; everybody has got it,
 * and the leader's assignment is awaited. Completing -> Stable: it came, and is written down. From
 * Completing and Stable back to Preparing: a member came, went or changed.
 */
#include "kafka/group_log.h"

#include <assert.h>
#include <stdlib.h>

/* How long a join without an answer is waited for: its member cannot send heartbeats yet. */
#define NEW_MEMBER_JOIN_MS 300000

static struct groups *all_of(const struct group *group)
{
    return group->all;
}

/* ---- protocols ---- */

beck_bytes member_metadata(const struct member *m, beck_bytes protocol)
{
    for (size_t i = 0; i < m->protocol_count; i++)
        if (bytes_equal(m->protocols[i].name, protocol))
            return m->protocols[i].metadata;
    return (beck_bytes){0};
}

bool member_set_protocols(struct member *m, const struct kafka_join_group_request *request)
{
    size_t count = request->protocols.count, size = count * sizeof(struct member_protocol);
    for (size_t i = 0; i < count; i++)
        size += request->protocols.at[i].name.len + request->protocols.at[i].metadata.len;
    struct member_protocol *list = malloc(size ? size : 1);
    if (!list)
        return false;
    uint8_t *to = (uint8_t *)(list + count);
    for (size_t i = 0; i < count; i++) {
        beck_bytes from[2] = {request->protocols.at[i].name, request->protocols.at[i].metadata};
        for (int part = 0; part < 2; part++) {
            *(part ? &list[i].metadata : &list[i].name) = bytes_of(to, from[part].len);
            if (from[part].len)
                memcpy(to, from[part].data, from[part].len);
            to += from[part].len;
        }
    }
    free(m->protocols);
    m->protocols = list;
    m->protocol_count = count;
    return true;
}

static bool everybody_has(const struct group *group, beck_bytes protocol)
{
    for (const struct member *m = group->first; m; m = m->next)
        if (!member_metadata(m, protocol).data)
            return false;
    return true;
}

bool classic_fits(const struct group *group, const struct kafka_join_group_request *request)
{
    if (request->protocol_type.len == 0 || request->protocols.count == 0)
        return false;
    if (group->count == 0)
        return true;
    if (!bytes_equal(group->protocol_type, request->protocol_type))
        return false;
    for (size_t i = 0; i < request->protocols.count; i++)
        if (everybody_has(group, request->protocols.at[i].name))
            return true;
    return false;
}

/* The first of its own that all have. */
static beck_bytes vote(const struct member *m)
{
    for (size_t i = 0; i < m->protocol_count; i++)
        if (everybody_has(m->group, m->protocols[i].name))
            return m->protocols[i].name;
    return (beck_bytes){0};
}

beck_bytes classic_choose(const struct group *group)
{
    beck_bytes best = {0}, candidates[GROUP_PROTOCOLS_MAX];
    uint32_t votes[GROUP_PROTOCOLS_MAX] = {0}, most = 0;
    size_t count = 0;
    for (const struct member *m = group->first; m; m = m->next) {
        beck_bytes name = vote(m);
        size_t i = 0;
        while (i < count && !bytes_equal(candidates[i], name))
            i++;
        if (i == count && count == GROUP_PROTOCOLS_MAX)
            continue;
        if (i == count)
            candidates[count++] = name;
        votes[i]++;
    }
    for (size_t i = 0; i < count; i++) {
        if (votes[i] > most) {
            most = votes[i];
            best = candidates[i];
        }
    }
    return best;
}

bool classic_read_subscription(beck_bytes metadata, struct kafka_arena *arena,
                               struct kafka_consumer_protocol_subscription *out)
{
    const struct kafka_table *table = kafka_consumer_protocol_subscription_table();
    int16_t version = metadata.len < 2 ? -1 : (int16_t)get_u16(metadata.data);
    if (version < 0)
        return false;
    metadata = bytes_of((const uint8_t *)metadata.data + 2, metadata.len - 2);
    return !kafka_decode(table, version > table->last ? table->last : version, metadata, arena, out,
                         NULL, NULL);
}

void classic_topics(const struct member *m, beck_bytes protocol, struct kafka_arena *arena,
                    struct kafka_strings *out)
{
    struct kafka_consumer_protocol_subscription subscription;
    *out = (struct kafka_strings){0};
    if (bytes_equal_text(m->group->protocol_type, "consumer") &&
        classic_read_subscription(member_metadata(m, protocol), arena, &subscription))
        *out = subscription.topics;
}

/* ---- members ---- */

void classic_set_state(struct group *group, enum group_state state)
{
    group->previous_state = group->state;
    group->state = state;
    group->state_since_ms = group_now_ms(all_of(group));
}

void classic_drop_pending(struct member *m)
{
    struct group *group = m->group;
    member_remove(m);
    member_free(m);
    if (group->state == GROUP_PREPARING)
        classic_rebalance_or_complete(group);
}

static void session_due(struct deadline *d)
{
    struct member *m = (struct member *)(void *)((char *)d - offsetof(struct member, session));
    struct group *group = m->group;
    if ((m->join && !m->is_new) || m->sync)
        return; /* it waits for us; its session begins anew with the answer */
    if (m->pending) {
        classic_drop_pending(m);
        return;
    }
    classic_remove(m);
    classic_rebalance_or_complete(group);
}

void classic_touch(struct member *m)
{
    struct groups *g = all_of(m->group);
    int64_t ms = m->is_new ? NEW_MEMBER_JOIN_MS : m->session_timeout_ms;
    m->session.due = session_due;
    deadline_set(&g->deadlines, &m->session, group_now_ns(g) + ms * 1000000);
}

void classic_await_join(struct member *m, struct reply *reply)
{
    classic_forget_join(m, KAFKA_UNKNOWN_MEMBER_ID);
    m->join = reply;
    m->group->joined++;
}

static void give_join(struct member *m)
{
    reply_give(all_of(m->group), m->join);
    m->join = NULL;
    m->group->joined--;
}

void classic_forget_join(struct member *m, int error)
{
    if (!m->join)
        return;
    struct kafka_join_group_response *body = m->join->body;
    body->error_code = (int16_t)error;
    body->member_id = kafka_copy(&m->join->arena, m->id);
    give_join(m);
}

static void give_sync(struct member *m)
{
    reply_give(all_of(m->group), m->sync);
    m->sync = NULL;
}

void classic_forget_sync(struct member *m, int error)
{
    if (!m->sync)
        return;
    ((struct kafka_sync_group_response *)m->sync->body)->error_code = (int16_t)error;
    give_sync(m);
}

void classic_synced(struct member *m)
{
    struct group *group = m->group;
    if (!m->pending_sync)
        return;
    m->pending_sync = false;
    if (--group->pending_syncs == 0)
        deadline_clear(&all_of(group)->deadlines, &group->syncing);
}

void classic_remove(struct member *m)
{
    classic_forget_join(m, KAFKA_UNKNOWN_MEMBER_ID);
    classic_forget_sync(m, KAFKA_UNKNOWN_MEMBER_ID);
    classic_synced(m);
    member_remove(m);
    member_free(m);
}

int classic_check(const struct group *group, beck_bytes id, beck_bytes instance_id)
{
    if (instance_id.data) {
        const struct member *known = member_find_static(group, instance_id);
        if (!known)
            return KAFKA_UNKNOWN_MEMBER_ID;
        return bytes_equal(known->id, id) ? KAFKA_NONE : KAFKA_FENCED_INSTANCE_ID;
    }
    const struct member *m = member_find(group, id);
    return m && !m->pending ? KAFKA_NONE : KAFKA_UNKNOWN_MEMBER_ID;
}

bool classic_is_of(const struct group *group, beck_bytes id, int32_t generation)
{
    const struct member *m = member_find(group, id);
    return generation == group->generation || (m && m->epoch > 0 && m->epoch == generation);
}

/* ---- joining ---- */

static bool fill_members(struct reply *r, const struct group *group)
{
    struct kafka_join_group_response *body = r->body;
    size_t i = 0;
    if (!kafka_array(&r->arena, &body->members, group->count))
        return false;
    for (const struct member *m = group->first; m; m = m->next, i++) {
        beck_bytes metadata = member_metadata(m, group->protocol);
        body->members.at[i] = (struct kafka_join_group_response_member){
            .member_id = kafka_copy(&r->arena, m->id), .metadata = kafka_copy(&r->arena, metadata)};
        if (m->instance_id.data)
            body->members.at[i].group_instance_id = kafka_copy(&r->arena, m->instance_id);
        if (!body->members.at[i].metadata.data)
            return false;
    }
    return true;
}

void classic_fill_join(struct reply *r, const struct member *m, beck_bytes leader, bool members,
                       bool skip)
{
    const struct group *group = m->group;
    struct kafka_join_group_response *body = r->body;
    body->error_code = KAFKA_NONE;
    body->generation_id = group->generation;
    body->protocol_type = kafka_copy(&r->arena, group->protocol_type);
    body->protocol_name = kafka_copy(&r->arena, group->protocol);
    body->leader = kafka_copy(&r->arena, leader);
    body->member_id = kafka_copy(&r->arena, m->id);
    body->skip_assignment = skip;
    if (members && !fill_members(r, group))
        body->error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static void answer_joins(struct group *group)
{
    for (struct member *m = group->first; m; m = m->next) {
        if (m->join) {
            classic_fill_join(m->join, m, group->leader->id, m == group->leader, false);
            give_join(m);
        }
        m->is_new = false;
        m->epoch = 0;
        classic_touch(m);
        group->pending_syncs += !m->pending_sync;
        m->pending_sync = true;
    }
}

/* The leader of the last generation, or else whoever joined first. */
static bool has_leader(struct group *group)
{
    if (group->leader && group->leader->join)
        return true;
    for (struct member *m = group->first; m; m = m->next) {
        if (m->join) {
            group->leader = m;
            return true;
        }
    }
    return false;
}

static int64_t rebalance_ms(const struct group *group)
{
    int64_t longest = 0;
    for (const struct member *m = group->first; m; m = m->next)
        if (m->rebalance_timeout_ms > longest)
            longest = m->rebalance_timeout_ms;
    return longest;
}

static void set_after(struct group *group, struct deadline *d, int64_t ms)
{
    struct groups *g = all_of(group);
    deadline_set(&g->deadlines, d, group_now_ns(g) + ms * 1000000);
}

static void remove_absent(struct group *group)
{
    for (struct member *m = group->first, *next; m; m = next) {
        next = m->next;
        if (!m->join && !m->instance_id.data)
            classic_remove(m);
    }
}

static void begin_generation(struct group *group)
{
    group->generation = group->generation == INT32_MAX ? 1 : group->generation + 1;
    if (group->count == 0) {
        group_text_free(&group->protocol);
        classic_set_state(group, GROUP_EMPTY);
        group_put_classic(group);
        return;
    }
    if (!group_text_set(&group->protocol, classic_choose(group))) {
        for (struct member *m = group->first; m; m = m->next)
            classic_forget_join(m, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    classic_set_state(group, GROUP_COMPLETING);
    answer_joins(group);
    set_after(group, &group->syncing, rebalance_ms(group));
}

static void complete_join(struct group *group)
{
    deadline_clear(&all_of(group)->deadlines, &group->joining);
    group->join_remaining_ms = -1;
    remove_absent(group);
    /* Only static members, and none of them has come: they are waited for. */
    if (group->count > 0 && !has_leader(group)) {
        set_after(group, &group->joining, rebalance_ms(group));
        return;
    }
    begin_generation(group);
}

static void joining_due(struct deadline *d)
{
    struct group *group = (struct group *)(void *)((char *)d - offsetof(struct group, joining));
    int64_t delay = all_of(group)->settings.initial_rebalance_delay_ms;
    if (group->join_remaining_ms > 0 && group->new_member_added) {
        delay = delay < group->join_remaining_ms ? delay : group->join_remaining_ms;
        group->join_remaining_ms -= delay;
        group->new_member_added = false;
        set_after(group, d, delay);
        return;
    }
    complete_join(group);
}

static bool all_have_joined(const struct group *group)
{
    return group->joined == group->count && group->pending_count == 0;
}

void classic_begin_rebalance(struct group *group)
{
    struct groups *g = all_of(group);
    bool first = group->state == GROUP_EMPTY;
    for (struct member *m = group->first; m; m = m->next) {
        if (group->state == GROUP_COMPLETING) {
            group_text_free(&m->assignment);
            classic_forget_sync(m, KAFKA_REBALANCE_IN_PROGRESS);
        }
        classic_synced(m);
    }
    deadline_clear(&g->deadlines, &group->syncing);
    classic_set_state(group, GROUP_PREPARING);
    group->new_member_added = false;
    int64_t delay = g->settings.initial_rebalance_delay_ms;
    if (first && delay > 0) {
        int64_t longest = rebalance_ms(group);
        group->join_remaining_ms = longest > delay ? longest - delay : 0;
        set_after(group, &group->joining, delay);
        return;
    }
    group->join_remaining_ms = -1;
    set_after(group, &group->joining, rebalance_ms(group));
    if (all_have_joined(group))
        complete_join(group);
}

void classic_rebalance_or_complete(struct group *group)
{
    if (group->state == GROUP_PREPARING) {
        if (group->join_remaining_ms < 0 && all_have_joined(group))
            complete_join(group);
        return;
    }
    if (group->state == GROUP_EMPTY && group->count == 0)
        return;
    classic_begin_rebalance(group);
}

/* ---- who does not sync ---- */

static void syncing_due(struct deadline *d)
{
    struct group *group = (struct group *)(void *)((char *)d - offsetof(struct group, syncing));
    if (group->pending_syncs == 0)
        return;
    for (struct member *m = group->first, *next; m; m = next) {
        next = m->next;
        if (m->pending_sync)
            classic_remove(m);
    }
    classic_rebalance_or_complete(group);
}

void classic_start(struct group *group)
{
    group->joining.due = joining_due;
    group->syncing.due = syncing_due;
    for (struct member *m = group->first; m; m = m->next)
        classic_touch(m);
}

/* ---- from one protocol to the other ---- */

void consumer_become_classic(struct group *group)
{
    if (!group->offsets_only)
        group_put_gone(group);
    group_consumer_free(group);
    group->type = GROUP_CLASSIC;
    group->offsets_only = true;
    group->state = GROUP_EMPTY;
    group->generation = 0;
    group->state_since_ms = group_now_ms(group->all);
}

void classic_become_consumer(struct group *group)
{
    group_put_gone(group);
    deadline_clear(&group->all->deadlines, &group->joining);
    deadline_clear(&group->all->deadlines, &group->syncing);
    group_text_free(&group->protocol_type);
    group_text_free(&group->protocol);
    group->type = GROUP_CONSUMER;
    group->offsets_only = true;
    group->epoch = group->target_epoch = 0;
    group->metadata_hash = 0;
    group->topics_generation = UINT64_MAX;
}
