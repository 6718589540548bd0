/*
 * KIP-848: the heartbeat, by which a member joins, says what it subscribes to and has, is told what it
 * is to have, and leaves. The epoch of a group moves with its members, subscriptions and topics; each
 * epoch gets a target assignment (group_target.c), and each heartbeat takes its member a step towards
 * it (group_reconcile.c).
 */
#include "kafka/group_log.h"

#include "kafka/assignor.h"
#include "base/uuid.h"

#include <stdlib.h>

struct beating {
    struct groups *g;
    struct group *group;
    struct member *m;
    const struct kafka_consumer_group_heartbeat_request *request;
    const struct group_client *client;
    struct reply *reply;
    struct partition_set owned; /* that the member says it has */
    bool moves;                 /* the group is to have another epoch */
    bool upgraded;              /* the group was a classic one */
};

static void refuse(struct beating *b, int error, const char *why)
{
    struct kafka_consumer_group_heartbeat_response *body = b->reply->body;
    body->error_code = (int16_t)error;
    if (why)
        body->error_message = kafka_text(&b->reply->arena, why);
}

static int64_t configured(const struct group *group, const char *key, int32_t otherwise)
{
    const struct groups_settings *s = &group->all->settings;
    return s->configured ? s->configured(s->configured_ctx, group->id, key) : otherwise;
}

/* ---- the request ---- */

static bool has_subscription(const struct kafka_consumer_group_heartbeat_request *r)
{
    return r->subscribed_topic_names.count > 0 || r->subscribed_topic_regex.len > 0;
}

static const char *check_join(const struct kafka_consumer_group_heartbeat_request *r)
{
    if (r->rebalance_timeout_ms == -1)
        return "RebalanceTimeoutMs must be provided in first request.";
    if (r->topic_partitions.is_null || r->topic_partitions.count > 0)
        return "TopicPartitions must be empty when (re-)joining.";
    return has_subscription(r) ? NULL
                               : "Either SubscribedTopicNames or SubscribedTopicRegex must be "
                                 "non-empty when (re-)joining.";
}

static const char *check_fields(const struct beating *b)
{
    const struct kafka_consumer_group_heartbeat_request *r = b->request;
    if (r->group_id.len == 0)
        return "GroupId can't be empty.";
    if (r->instance_id.data && r->instance_id.len == 0)
        return "InstanceId can't be empty.";
    if (r->rack_id.data && r->rack_id.len == 0)
        return "RackId can't be empty.";
    if (r->member_id.len == 0 && (b->client->version >= 1 || r->member_epoch != 0))
        return "MemberId can't be empty.";
    if (r->member_epoch < EPOCH_LEAVE_STATIC)
        return "MemberEpoch is invalid.";
    if (r->member_epoch == EPOCH_LEAVE_STATIC && !r->instance_id.data)
        return "InstanceId can't be null.";
    return r->member_epoch == 0 ? check_join(r) : NULL;
}

static bool check_size(const struct kafka_consumer_group_heartbeat_request *r)
{
    size_t bytes = r->subscribed_topic_regex.len, partitions = 0;
    for (size_t i = 0; i < r->subscribed_topic_names.count; i++)
        bytes += r->subscribed_topic_names.at[i].len;
    for (size_t i = 0; i < r->topic_partitions.count; i++)
        partitions += r->topic_partitions.at[i].partitions.count;
    return bytes <= GROUP_MEMBER_BYTES_MAX && partitions <= GROUP_MEMBER_BYTES_MAX / 4;
}

static bool check_request(struct beating *b)
{
    const char *why = check_fields(b);
    if (!why && !check_size(b->request))
        why = "The request is too large.";
    if (why) {
        refuse(b, KAFKA_INVALID_REQUEST, why);
        return false;
    }
    if (b->request->server_assignor.data && !assignor_find(b->request->server_assignor)) {
        refuse(b, KAFKA_UNSUPPORTED_ASSIGNOR,
               "ServerAssignor is not supported. Supported assignors: uniform, range.");
        return false;
    }
    return true;
}

/* ---- the group ---- */

/* A member whose session ended with those of all others but classic ones may join anew. */
static int check_left_behind(const struct group *group)
{
    return bytes_equal_text(group->protocol_type, "consumer") ? KAFKA_UNKNOWN_MEMBER_ID
                                                              : KAFKA_GROUP_ID_NOT_FOUND;
}

static bool find_group(struct beating *b)
{
    bool joins = b->request->member_epoch == 0;
    b->group = group_find(b->g, b->request->group_id);
    if (!b->group && joins && !(b->group = group_new(b->g, b->request->group_id, GROUP_CONSUMER))) {
        refuse(b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
        return false;
    }
    if (!b->group) {
        refuse(b, KAFKA_GROUP_ID_NOT_FOUND, "The group is not found.");
        return false;
    }
    if (b->group->type == GROUP_CLASSIC) {
        int error = joins ? classic_upgrade(b->group) : check_left_behind(b->group);
        b->upgraded = !error;
        if (error) {
            refuse(b, error, "The group is not a consumer group, and cannot become one.");
            return false;
        }
    }
    group_put_whole_if_behind(b->group);
    return true;
}

/* ---- the member ---- */

static bool read_owned(struct beating *b)
{
    const struct kafka_consumer_group_heartbeat_request *r = b->request;
    for (size_t i = 0; i < r->topic_partitions.count; i++)
        for (size_t p = 0; p < r->topic_partitions.at[i].partitions.count; p++)
            if (partition_set_add(&b->owned, r->topic_partitions.at[i].topic_id,
                                  r->topic_partitions.at[i].partitions.at[p]))
                return false;
    partition_set_sort(&b->owned);
    return true;
}

/* A member that did not get the last answer asks again with the epoch that it had. */
static bool check_epoch(struct beating *b)
{
    int32_t epoch = b->request->member_epoch;
    const struct member *m = b->m;
    if (epoch == m->epoch ||
        (epoch < m->epoch && epoch == m->previous_epoch && !b->request->topic_partitions.is_null &&
         partition_set_within(&b->owned, &m->assigned)))
        return true;
    refuse(b, KAFKA_FENCED_MEMBER_EPOCH,
           epoch > m->epoch ? "The consumer group member has a greater member epoch than the one "
                              "known by the group coordinator."
                            : "The consumer group member has a smaller member epoch than the one "
                              "known by the group coordinator.");
    return false;
}

static bool make_member(struct beating *b)
{
    beck_bytes id = b->request->member_id, made = {0};
    if (b->group->count >= b->g->settings.members_max) {
        refuse(b, KAFKA_GROUP_MAX_SIZE_REACHED, "The group has as many members as it may have.");
        return false;
    }
    if (id.len == 0) {
        uint64_t random[2] = {rng_next(&b->g->rng), rng_next(&b->g->rng)};
        uint8_t uuid[16];
        char text[23];
        memcpy(uuid, random, sizeof uuid);
        uuid_base64(uuid, text);
        id = made = group_copy(beck_str(text));
    }
    b->m = id.data ? member_new(b->group, id, b->request->instance_id, b->client) : NULL;
    group_text_free(&made);
    if (b->m && member_add(b->m)) {
        b->moves = true;
        return true;
    }
    if (b->m)
        member_free(b->m);
    b->m = NULL;
    refuse(b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
    return false;
}

bool consumer_rename(struct member *m, beck_bytes id)
{
    struct lookup *members = &m->group->members;
    beck_bytes copy = group_copy(id);
    if (!copy.data)
        return false;
    group_put_member_gone(m);
    lookup_remove(members, &m->node);
    group_text_free(&m->id);
    m->id = copy;
    lookup_add(members, &m->node, lookup_hash(members, m->id));
    m->epoch = m->previous_epoch = 0;
    group_put_member(m);
    group_put_target(m);
    group_put_current(m);
    return true;
}

/* Another process with the instance id of one that has left for now, or that is a classic one: it has
 * what that had. */
static bool take_over(struct beating *b, struct member *m)
{
    if (!consumer_rename(m, b->request->member_id)) {
        refuse(b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
        return false;
    }
    b->m = m;
    return true;
}

static bool find_static(struct beating *b)
{
    struct member *m = member_find_static(b->group, b->request->instance_id);
    bool same = m && bytes_equal(m->id, b->request->member_id);
    b->m = m;
    if (b->request->member_epoch == 0) {
        if (!m)
            return make_member(b);
        if (same && m->epoch != EPOCH_LEAVE_STATIC)
            return true;
        if (m->epoch == EPOCH_LEAVE_STATIC || m->classic)
            return take_over(b, m);
        refuse(b, KAFKA_UNRELEASED_INSTANCE_ID,
               "The instance id is still used by another member of the group.");
        return false;
    }
    if (same && !m->classic)
        return check_epoch(b);
    if (m)
        refuse(b, KAFKA_FENCED_INSTANCE_ID, "The instance id is used by another member now.");
    else
        refuse(b, KAFKA_UNKNOWN_MEMBER_ID, "The instance id is not known.");
    return false;
}

static bool find_member(struct beating *b)
{
    if (b->request->instance_id.data)
        return find_static(b);
    b->m = member_find(b->group, b->request->member_id);
    if (b->request->member_epoch == 0)
        return b->m || make_member(b);
    if (b->m && !b->m->classic)
        return check_epoch(b);
    refuse(b, KAFKA_UNKNOWN_MEMBER_ID, "The member is not a member of the group.");
    return false;
}

/* ---- what it subscribes to ---- */

static int compare_names(const void *a, const void *b)
{
    return bytes_compare(*(const beck_bytes *)a, *(const beck_bytes *)b);
}

int consumer_set_topics(struct member *m, const struct kafka_strings *names)
{
    beck_bytes *list = calloc(names->count + 1, sizeof *list);
    size_t count = 0, made = 0;
    bool changed;
    if (!list)
        return -1;
    if (names->count)
        memcpy(list, names->at, names->count * sizeof *list);
    qsort(list, names->count, sizeof *list, compare_names);
    for (size_t i = 0; i < names->count; i++)
        if (count == 0 || !bytes_equal(list[count - 1], list[i]))
            list[count++] = list[i];
    changed = count != m->topic_count;
    for (size_t i = 0; i < count && !changed; i++)
        changed = !bytes_equal(list[i], m->topics[i]);
    for (; changed && made < count; made++) {
        list[made] = group_copy(list[made]);
        if (!list[made].data)
            break;
    }
    if (!changed || made < count) {
        for (size_t i = 0; i < made; i++)
            group_text_free(&list[i]);
        free(list);
        return changed ? -1 : 0;
    }
    for (size_t i = 0; i < m->topic_count; i++)
        group_text_free(&m->topics[i]);
    free(m->topics);
    m->topics = list;
    m->topic_count = count;
    return 1;
}

/* 1: changed, 0: not, -1: refused. */
static int set_regex(struct beating *b)
{
    struct member *m = b->m;
    beck_bytes text = b->request->subscribed_topic_regex, user = b->client->user, kept = {0},
               whose = {0};
    beck_error err = {0};
    bool same = !text.data || bytes_equal(text, m->regex_text);
    if (same && (!m->regex_text.data || bytes_equal(user, m->user)))
        return 0;
    text = same ? m->regex_text : text;
    int error = KAFKA_NONE;
    if (text.len > 0) {
        bool copied = group_text_set(&kept, text) && group_text_set(&whose, user);
        error = copied ? consumer_use_regex(b->group, text, user, &err)
                       : KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    if (error) {
        group_text_free(&kept);
        group_text_free(&whose);
        refuse(b, error, err.text[0] ? err.text : NULL);
        return -1;
    }
    bool had = m->regex_text.data != NULL;
    if (had)
        consumer_unuse_regex(b->group, m->regex_text, m->user);
    group_text_free(&m->regex_text);
    group_text_free(&m->user);
    m->regex_text = kept;
    m->user = whose;
    return !same && (had || kept.data);
}

/* A field that was sent, and differs. -1: no memory. */
static int set_text(beck_bytes *field, beck_bytes value)
{
    if (!value.data || (field->data && bytes_equal(*field, value)))
        return 0;
    return group_text_set(field, value) ? 1 : -1;
}

static bool update_member(struct beating *b)
{
    const struct kafka_consumer_group_heartbeat_request *r = b->request;
    struct member *m = b->m;
    int regex = set_regex(b);
    if (regex < 0)
        return false;
    if (m->classic) {
        mixed_modernize(m);
        b->moves = true;
    }
    int topics =
        r->subscribed_topic_names.is_null ? 0 : consumer_set_topics(m, &r->subscribed_topic_names);
    int assignor = set_text(&m->assignor, r->server_assignor);
    int rack = set_text(&m->rack, r->rack_id);
    int client = b->client->id.data ? set_text(&m->client_id, b->client->id) : 0;
    if (topics < 0 || assignor < 0 || rack < 0 || client < 0) {
        refuse(b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
        return false;
    }
    bool timeout =
        r->rebalance_timeout_ms > 0 && r->rebalance_timeout_ms != m->rebalance_timeout_ms;
    if (timeout)
        m->rebalance_timeout_ms = r->rebalance_timeout_ms;
    if (b->moves || regex || topics || assignor || rack || client || timeout)
        group_put_member(m);
    b->moves = b->moves || regex || topics || assignor;
    return true;
}

/* ---- the answer ---- */

static bool fill_assignment(struct beating *b)
{
    struct kafka_consumer_group_heartbeat_response *body = b->reply->body;
    struct kafka_arena *arena = &b->reply->arena;
    const struct partition_set *set = &b->m->assigned;
    size_t n = 0;
    body->assignment = kafka_alloc(arena, sizeof *body->assignment);
    if (!body->assignment ||
        !kafka_array(arena, &body->assignment->topic_partitions, partition_set_topics(set)))
        return false;
    for (size_t i = 0; i < set->count; i += partition_set_run(set, i)) {
        struct kafka_consumer_group_heartbeat_response_topic_partition *to =
            &body->assignment->topic_partitions.at[n++];
        memcpy(to->topic_id, set->at[i].topic, sizeof to->topic_id);
        if (!kafka_array(arena, &to->partitions, partition_set_run(set, i)))
            return false;
        for (size_t p = 0; p < to->partitions.count; p++)
            to->partitions.at[p] = set->at[i + p].partition;
    }
    return true;
}

static void answer(struct beating *b, bool assignment)
{
    struct kafka_consumer_group_heartbeat_response *body = b->reply->body;
    body->member_id = kafka_copy(&b->reply->arena, b->m->id);
    body->member_epoch = b->m->epoch;
    body->heartbeat_interval_ms = (int32_t)configured(b->group, "consumer.heartbeat.interval.ms",
                                                      b->g->settings.consumer_heartbeat_ms);
    if (!body->member_id.data || (assignment && !fill_assignment(b)))
        refuse(b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
}

/* ---- leaving ---- */

void consumer_fence(struct member *m)
{
    struct group *group = m->group;
    group_put_member_gone(m);
    consumer_disown(m);
    if (m->regex_text.data)
        consumer_unuse_regex(group, m->regex_text, m->user);
    member_remove(m);
    member_free(m);
    if (consumer_downgrade(group)) {
        classic_begin_rebalance(group);
        return;
    }
    group->epoch++;
    group_put_epoch(group);
}

static void leave(struct beating *b)
{
    struct kafka_consumer_group_heartbeat_response *body = b->reply->body;
    const struct kafka_consumer_group_heartbeat_request *r = b->request;
    struct member *m = r->instance_id.data ? member_find_static(b->group, r->instance_id)
                                           : member_find(b->group, r->member_id);
    if (!m || !bytes_equal(m->id, r->member_id)) {
        refuse(b, m ? KAFKA_FENCED_INSTANCE_ID : KAFKA_UNKNOWN_MEMBER_ID,
               "The member is not a member of the group.");
        return;
    }
    body->member_id = kafka_copy(&b->reply->arena, m->id);
    body->member_epoch = r->member_epoch;
    if (r->member_epoch == EPOCH_LEAVE) {
        consumer_fence(m);
        return;
    }
    m->epoch = EPOCH_LEAVE_STATIC;
    consumer_stop_revoking(m);
    group_put_current(m);
}

/* ---- all of it ---- */

static void session_due(struct deadline *d)
{
    consumer_fence((struct member *)(void *)((char *)d - offsetof(struct member, session)));
}

void consumer_touch(struct member *m)
{
    struct groups *g = m->group->all;
    int64_t ms = m->classic ? m->session_timeout_ms
                            : configured(m->group, "consumer.session.timeout.ms",
                                         g->settings.consumer_session_ms);
    m->session.due = session_due;
    deadline_set(&g->deadlines, &m->session, group_now_ns(g) + ms * 1000000);
}

void consumer_start(struct group *group)
{
    for (struct member *m = group->first; m; m = m->next) {
        consumer_touch(m);
        consumer_resume_revoking(m);
    }
}

/* New members that could not be served are none. */
static void drop_new(struct beating *b)
{
    struct member *m = b->m;
    if (!m || !b->moves || m->topic_count || m->regex_text.data)
        return;
    member_remove(m);
    member_free(m);
}

bool consumer_step(struct member *m, const struct group_client *client, bool moves,
                   const struct partition_set *owned, bool *changed)
{
    struct group *group = m->group;
    moves = consumer_look_at_topics(group, client) || moves;
    if (moves) {
        group->epoch++;
        group_put_epoch(group);
    }
    return (group->epoch <= group->target_epoch || consumer_make_target(group)) &&
           consumer_reconcile(m, owned, changed);
}

static void beat(struct beating *b)
{
    const struct kafka_consumer_group_heartbeat_request *r = b->request;
    if (!check_request(b) || !find_group(b))
        return;
    if (r->member_epoch < 0) {
        leave(b);
        return;
    }
    if (!read_owned(b)) {
        refuse(b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
        return;
    }
    if (!find_member(b))
        return;
    if (!update_member(b)) {
        drop_new(b);
        return;
    }
    consumer_touch(b->m);
    bool changed = false;
    if (!consumer_step(b->m, b->client, b->moves, r->topic_partitions.is_null ? NULL : &b->owned,
                       &changed)) {
        refuse(b, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
        return;
    }
    bool full = r->rebalance_timeout_ms != -1 && !r->topic_partitions.is_null &&
                (!r->subscribed_topic_names.is_null || r->subscribed_topic_regex.data);
    answer(b, r->member_epoch == 0 || full || changed);
}

void groups_consumer_heartbeat(struct groups *g,
                               const struct kafka_consumer_group_heartbeat_request *request,
                               const struct group_client *client, groups_done done, void *ctx)
{
    struct reply *reply = reply_new(kafka_consumer_group_heartbeat_response_table(), done, ctx);
    if (!reply) {
        struct kafka_consumer_group_heartbeat_response none = {.error_code =
                                                                   KAFKA_COORDINATOR_NOT_AVAILABLE};
        done(ctx, &none);
        return;
    }
    struct beating b = {.g = g, .request = request, .client = client, .reply = reply};
    reply->error = &((struct kafka_consumer_group_heartbeat_response *)reply->body)->error_code;
    groups_lock(g);
    beat(&b);
    /* Nobody has come that speaks the new protocol. */
    if (b.upgraded && *reply->error && consumer_downgrade(b.group))
        classic_begin_rebalance(b.group);
    if (b.group && group_is_void(b.group) && b.group->offsets_only)
        group_free(b.group);
    reply_give(g, reply);
    groups_unlock(g);
    partition_set_release(&b.owned);
}
