/*
 * Classic members of a group of KIP-848, while its members change from one protocol to the other.
 *
 * The generation of such a member is its epoch. JoinGroup is what a heartbeat of the new protocol is: it
 * says what the member subscribes to and still has (nothing, where its assignor is an eager one), and
 * takes it a step towards the target; it is answered at once, and nobody leads. SyncGroup tells what it
 * has then. Heartbeat tells it to join again where another step is due, for which it has the time of a
 * rebalance.
 */
#include "kafka/group_log.h"

#include "base/uuid.h"

#include <stdlib.h>

struct mixing {
    struct groups *g;
    struct group *group;
    struct member *m;
    const struct kafka_join_group_request *request;
    const struct group_client *client;
    struct reply *reply;
    struct kafka_consumer_protocol_subscription said;
    struct partition_set owned; /* that the member says it still has */
    bool moves;                 /* the group is to have another epoch */
};

void mixed_modernize(struct member *m)
{
    m->classic = false;
    free(m->protocols);
    m->protocols = NULL;
    m->protocol_count = 0;
}

/* ---- joining ---- */

static void refuse(struct mixing *j, int error)
{
    struct kafka_join_group_response *body = j->reply->body;
    body->error_code = (int16_t)error;
    if (!body->member_id.len)
        body->member_id = kafka_copy(&j->reply->arena, j->request->member_id);
    reply_give(j->g, j->reply);
}

/* Whether all classic members but the one that joins have the protocol. */
static bool others_have(const struct mixing *j, beck_bytes protocol)
{
    for (const struct member *m = j->group->first; m; m = m->next)
        if (m->classic && !bytes_equal(m->id, j->request->member_id) &&
            !member_metadata(m, protocol).data)
            return false;
    return true;
}

static bool fits(struct mixing *j)
{
    const struct kafka_join_group_request *r = j->request;
    bool common = false;
    if (!bytes_equal_text(r->protocol_type, "consumer") || r->protocols.count == 0)
        return false;
    for (size_t i = 0; i < r->protocols.count && !common; i++)
        common = others_have(j, r->protocols.at[i].name);
    return common &&
           classic_read_subscription(r->protocols.at[0].metadata, &j->reply->arena, &j->said);
}

static int make_member(struct mixing *j, beck_bytes id)
{
    if (j->group->count >= j->g->settings.members_max)
        return KAFKA_GROUP_MAX_SIZE_REACHED;
    struct member *m = member_new(j->group, id, j->request->group_instance_id, j->client);
    if (!m || !member_add(m)) {
        if (m)
            member_free(m);
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    m->classic = true;
    j->m = m;
    j->moves = true;
    return KAFKA_NONE;
}

/* The process is new, or was not told its id. */
static int find_nameless(struct mixing *j)
{
    const struct kafka_join_group_request *r = j->request;
    struct kafka_join_group_response *body = j->reply->body;
    struct member *known = member_find_static(j->group, r->group_instance_id);
    beck_bytes id =
        member_make_id(j->g, r->group_instance_id.data ? r->group_instance_id : j->client->id);
    int error = KAFKA_COORDINATOR_NOT_AVAILABLE;
    if (id.data && j->client->version >= 4 && !r->group_instance_id.data) {
        body->member_id = kafka_copy(&j->reply->arena, id);
        error = KAFKA_MEMBER_ID_REQUIRED;
    } else if (id.data && !known) {
        error = make_member(j, id);
    } else if (id.data && consumer_rename(known, id)) {
        j->m = known;
        error = KAFKA_NONE;
    }
    group_text_free(&id);
    return error;
}

static int find_member(struct mixing *j)
{
    const struct kafka_join_group_request *r = j->request;
    if (r->member_id.len == 0)
        return find_nameless(j);
    j->m = member_find(j->group, r->member_id);
    if (!j->m && !r->group_instance_id.data)
        return make_member(j, r->member_id);
    int error = classic_check(j->group, r->member_id, r->group_instance_id);
    return !error && (!j->m || !j->m->classic) ? KAFKA_UNKNOWN_MEMBER_ID : error;
}

/* Partitions of topics that are not there are nobody's. False: no memory. */
static bool read_owned(struct mixing *j)
{
    const struct group_topics *topics = &j->g->topics;
    for (size_t i = 0; i < j->said.owned_partitions.count; i++) {
        const struct kafka_consumer_protocol_subscription_owned_partition *from =
            &j->said.owned_partitions.at[i];
        struct group_topic topic;
        if (!topics->find(topics->ctx, from->topic, &topic))
            continue;
        for (size_t p = 0; p < from->partitions.count; p++)
            if (partition_set_add(&j->owned, topic.id, from->partitions.at[p]))
                return false;
    }
    partition_set_sort(&j->owned);
    return true;
}

/* A consumer of the new protocol was here until now. */
static void make_classic(struct mixing *j)
{
    struct member *m = j->m;
    if (m->classic)
        return;
    m->classic = true;
    if (m->regex_text.data)
        consumer_unuse_regex(j->group, m->regex_text, m->user);
    group_text_free(&m->regex_text);
    group_text_free(&m->assignor);
    j->moves = true;
}

/* False: no memory. */
static bool update(struct mixing *j)
{
    const struct kafka_join_group_request *r = j->request;
    struct member *m = j->m;
    make_classic(j);
    int topics = consumer_set_topics(m, &j->said.topics);
    if (topics < 0 || !member_set_protocols(m, r) || !group_text_set(&m->rack, j->said.rack_id) ||
        (j->client->id.data && !group_text_set(&m->client_id, j->client->id)))
        return false;
    m->session_timeout_ms = r->session_timeout_ms;
    m->rebalance_timeout_ms =
        r->rebalance_timeout_ms > 0 ? r->rebalance_timeout_ms : r->session_timeout_ms;
    j->moves = j->moves || topics;
    group_put_member(m);
    return true;
}

static void answer_join(struct mixing *j)
{
    struct kafka_join_group_response *body = j->reply->body;
    struct kafka_arena *arena = &j->reply->arena;
    body->generation_id = j->m->epoch;
    body->protocol_type = beck_str("consumer");
    body->protocol_name = kafka_copy(arena, j->m->protocols[0].name);
    body->leader = beck_str("");
    body->member_id = kafka_copy(arena, j->m->id);
    if (!body->protocol_name.data || !body->member_id.data)
        body->error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
    reply_give(j->g, j->reply);
}

static void join_as(struct mixing *j)
{
    bool is_new = j->moves, changed;
    if (!read_owned(j) || !update(j)) {
        if (is_new) {
            member_remove(j->m);
            member_free(j->m);
        }
        refuse(j, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    consumer_touch(j->m);
    /* It took the place of the last one that spoke the new protocol. */
    if (consumer_downgrade(j->group)) {
        classic_await_join(j->m, j->reply);
        classic_begin_rebalance(j->group);
        return;
    }
    if (!consumer_step(j->m, j->client, j->moves, &j->owned, &changed)) {
        refuse(j, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    consumer_await(j->m);
    answer_join(j);
}

void mixed_join(struct group *group, const struct kafka_join_group_request *request,
                const struct group_client *client, struct reply *reply)
{
    struct mixing j = {
        .g = group->all, .group = group, .request = request, .client = client, .reply = reply};
    int error = fits(&j) ? find_member(&j) : KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    if (error)
        refuse(&j, error);
    else
        join_as(&j);
    partition_set_release(&j.owned);
}

/* ---- what a member asks then ---- */

static int check(const struct group *group, beck_bytes id, beck_bytes instance_id,
                 int32_t generation, struct member **out)
{
    int error = classic_check(group, id, instance_id);
    struct member *m = *out = error ? NULL : member_find(group, id);
    if (!error && !m->classic)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (!error && m->epoch != generation)
        error = KAFKA_ILLEGAL_GENERATION;
    return error;
}

/* It is told to join again. */
static int recall(struct member *m)
{
    if (m->revocation.place == 0)
        consumer_await(m);
    return KAFKA_REBALANCE_IN_PROGRESS;
}

/* Partitions of its target that others had are all free. */
static bool may_get_more(const struct member *m)
{
    if (m->state != MEMBER_UNRELEASED)
        return false;
    for (size_t i = 0; i < m->target.count; i++) {
        const struct member *owner = consumer_owner(m->group, &m->target.at[i]);
        if (owner && owner != m)
            return false;
    }
    return true;
}

int mixed_heartbeat(struct group *group, const struct kafka_heartbeat_request *r)
{
    struct member *m;
    int error = check(group, r->member_id, r->group_instance_id, r->generation_id, &m);
    if (error)
        return error;
    consumer_touch(m);
    return m->epoch < group->epoch || m->state == MEMBER_UNREVOKED || may_get_more(m) ? recall(m)
                                                                                      : KAFKA_NONE;
}

static beck_status fill_assignment(const struct groups *g, const struct partition_set *set,
                                   struct kafka_arena *arena,
                                   struct kafka_consumer_protocol_assignment *out)
{
    size_t n = 0;
    if (!kafka_array(arena, &out->assigned_partitions, partition_set_topics(set)))
        return BECK_ENOMEM;
    for (size_t i = 0; i < set->count; i += partition_set_run(set, i)) {
        struct kafka_consumer_protocol_assignment_assigned_partition *to =
            &out->assigned_partitions.at[n];
        struct group_topic topic;
        if (!g->topics.find_id(g->topics.ctx, set->at[i].topic, &topic))
            continue;
        to->topic = topic.name;
        if (!kafka_array(arena, &to->partitions, partition_set_run(set, i)))
            return BECK_ENOMEM;
        for (size_t p = 0; p < to->partitions.count; p++)
            to->partitions.at[p] = set->at[i + p].partition;
        n++;
    }
    out->assigned_partitions.count = n;
    return BECK_OK;
}

beck_bytes mixed_assignment(const struct member *m, const struct partition_set *set)
{
    const struct kafka_table *table = kafka_consumer_protocol_assignment_table();
    int16_t version = (int16_t)get_u16(m->protocols[0].metadata.data);
    struct kafka_consumer_protocol_assignment value = {0};
    struct kafka_arena arena;
    struct buf out;
    uint8_t head[2];
    beck_bytes copy = {0};
    version = version > table->last ? table->last : version;
    put_u16(head, (uint16_t)version);
    kafka_arena_init(&arena, REPLY_BYTES_MAX);
    buf_init(&out, REPLY_BYTES_MAX);
    if (!fill_assignment(m->group->all, set, &arena, &value) &&
        !buf_append(&out, head, sizeof head) && !kafka_encode_bytes(table, version, &value, &out))
        copy = group_copy(buf_bytes(&out));
    buf_release(&out);
    kafka_arena_release(&arena);
    return copy;
}

static int sync_as(struct group *group, const struct kafka_sync_group_request *r,
                   struct reply *reply)
{
    struct kafka_sync_group_response *body = reply->body;
    struct member *m;
    int error = check(group, r->member_id, r->group_instance_id, r->generation_id, &m);
    if (error)
        return error;
    if ((r->protocol_type.data && !bytes_equal_text(r->protocol_type, "consumer")) ||
        (r->protocol_name.data && !bytes_equal(r->protocol_name, m->protocols[0].name)))
        return KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    /* It has still to give up something, and joins again after that anyway. */
    if (m->epoch < group->epoch && m->state != MEMBER_UNREVOKED)
        return recall(m);
    beck_bytes assignment = mixed_assignment(m, &m->assigned);
    body->protocol_type = beck_str("consumer");
    body->protocol_name = kafka_copy(&reply->arena, m->protocols[0].name);
    body->assignment = kafka_copy(&reply->arena, assignment);
    bool made = assignment.data && body->assignment.data && body->protocol_name.data;
    group_text_free(&assignment);
    consumer_touch(m);
    deadline_clear(&group->all->deadlines, &m->revocation);
    return made ? KAFKA_NONE : KAFKA_COORDINATOR_NOT_AVAILABLE;
}

void mixed_sync(struct group *group, const struct kafka_sync_group_request *request,
                struct reply *reply)
{
    ((struct kafka_sync_group_response *)reply->body)->error_code =
        (int16_t)sync_as(group, request, reply);
    reply_give(group->all, reply);
}
