/* DescribeGroups, ListGroups, DeleteGroups: see groups.h. */
#include "kafka/group_log.h"
#include "kafka/offsets_impl.h"

#include <stdlib.h>
#include <strings.h>

static const char *state_name(const struct group *group)
{
    static const char *const classic[] = {"Empty", "PreparingRebalance", "CompletingRebalance",
                                          "Stable"};
    if (group->type == GROUP_CLASSIC)
        return classic[group->state];
    if (group->count == 0)
        return "Empty";
    if (group->epoch > group->target_epoch)
        return "Assigning";
    for (const struct member *m = group->first; m; m = m->next)
        if (!consumer_is_reconciled(m))
            return "Reconciling";
    return "Stable";
}

/* ---- describing ---- */

static beck_bytes say_not_found(struct kafka_arena *a, beck_bytes id, const char *what)
{
    struct buf text;
    buf_init(&text, id.len + 64);
    beck_bytes out = {0};
    if (!buf_printf(&text, "Group %.*s %s.", (int)id.len, (const char *)id.data, what))
        out = kafka_copy(a, buf_bytes(&text));
    buf_release(&text);
    return out;
}

static bool describe_member(const struct member *m, struct kafka_arena *a,
                            struct kafka_describe_groups_response_member *out)
{
    bool stable = m->group->state == GROUP_STABLE;
    *out = (struct kafka_describe_groups_response_member){
        .member_id = kafka_copy(a, m->id),
        .client_id = kafka_copy(a, m->client_id),
        .client_host = kafka_copy(a, m->client_host),
        .member_metadata =
            kafka_copy(a, stable ? member_metadata(m, m->group->protocol) : (beck_bytes){0}),
        .member_assignment = kafka_copy(a, stable ? m->assignment : (beck_bytes){0})};
    if (m->instance_id.data)
        out->group_instance_id = kafka_copy(a, m->instance_id);
    return out->member_id.data && out->client_id.data && out->client_host.data &&
           out->member_metadata.data && out->member_assignment.data;
}

static beck_status describe(const struct group *group, struct kafka_arena *a,
                            struct kafka_describe_groups_response_group *out)
{
    size_t i = 0;
    out->group_state = kafka_text(a, state_name(group));
    out->protocol_type = kafka_copy(a, group->protocol_type);
    out->protocol_data =
        kafka_copy(a, group->state == GROUP_STABLE ? group->protocol : (beck_bytes){0});
    if (!out->protocol_data.data || !kafka_array(a, &out->members, group->count))
        return BECK_ENOMEM;
    for (const struct member *m = group->first; m; m = m->next)
        if (!describe_member(m, a, &out->members.at[i++]))
            return BECK_ENOMEM;
    return BECK_OK;
}

beck_status groups_describe(struct groups *g, beck_bytes id, int16_t version,
                            struct kafka_arena *arena,
                            struct kafka_describe_groups_response_group *out)
{
    beck_status status = BECK_OK;
    kafka_describe_groups_response_group_init(out);
    out->group_id = kafka_copy(arena, id);
    mutex_lock(&g->lock);
    const struct group *group = group_find(g, id);
    if (group && group->type == GROUP_CLASSIC && group_is_known(group)) {
        status = describe(group, arena, out);
    } else {
        out->group_state = kafka_text(arena, "Dead");
        if (version >= 6) {
            out->error_code = KAFKA_GROUP_ID_NOT_FOUND;
            out->error_message =
                say_not_found(arena, id, group ? "is not a classic group" : "not found");
        }
    }
    mutex_unlock(&g->lock);
    return status || !out->group_id.data || !out->group_state.data ? BECK_ENOMEM : BECK_OK;
}

typedef struct kafka_consumer_group_describe_response_assignment described_assignment;

static beck_status describe_partitions(const struct groups *g, const struct partition_set *set,
                                       struct kafka_arena *a, described_assignment *out)
{
    size_t n = 0;
    if (!kafka_array(a, &out->topic_partitions, partition_set_topics(set)))
        return BECK_ENOMEM;
    for (size_t i = 0; i < set->count; i += partition_set_run(set, i)) {
        struct kafka_consumer_group_describe_response_topic_partition *to =
            &out->topic_partitions.at[n++];
        struct group_topic topic = {0};
        g->topics.find_id(g->topics.ctx, set->at[i].topic, &topic);
        memcpy(to->topic_id, set->at[i].topic, 16);
        to->topic_name = kafka_copy(a, topic.name);
        if (!kafka_array(a, &to->partitions, partition_set_run(set, i)) || !to->topic_name.data)
            return BECK_ENOMEM;
        for (size_t p = 0; p < to->partitions.count; p++)
            to->partitions.at[p] = set->at[i + p].partition;
    }
    return BECK_OK;
}

static beck_status describe_consumer(const struct member *m, struct kafka_arena *a,
                                     struct kafka_consumer_group_describe_response_member *out)
{
    const struct groups *g = m->group->all;
    kafka_consumer_group_describe_response_member_init(out);
    out->member_id = kafka_copy(a, m->id);
    out->member_epoch = m->epoch;
    out->client_id = kafka_copy(a, m->client_id);
    out->client_host = kafka_copy(a, m->client_host);
    out->member_type = m->classic ? 0 : 1;
    if (m->instance_id.data)
        out->instance_id = kafka_copy(a, m->instance_id);
    if (m->rack.data)
        out->rack_id = kafka_copy(a, m->rack);
    if (m->regex_text.data)
        out->subscribed_topic_regex = kafka_copy(a, m->regex_text);
    if (!kafka_array(a, &out->subscribed_topic_names, m->topic_count) || !out->client_host.data)
        return BECK_ENOMEM;
    for (size_t i = 0; i < m->topic_count; i++)
        out->subscribed_topic_names.at[i] = kafka_copy(a, m->topics[i]);
    beck_status status = describe_partitions(g, &m->assigned, a, &out->assignment);
    return status ? status : describe_partitions(g, &m->target, a, &out->target_assignment);
}

beck_status groups_consumer_describe(struct groups *g, beck_bytes id, struct kafka_arena *arena,
                                     struct kafka_consumer_group_describe_response_group *out)
{
    beck_status status = BECK_OK;
    kafka_consumer_group_describe_response_group_init(out);
    out->group_id = kafka_copy(arena, id);
    mutex_lock(&g->lock);
    const struct group *group = group_find(g, id);
    size_t i = 0;
    if (group && group->type == GROUP_CONSUMER) {
        out->group_state = kafka_text(arena, state_name(group));
        out->group_epoch = group->epoch;
        out->assignment_epoch = group->target_epoch;
        out->assignor_name = kafka_copy(arena, consumer_assignor(group));
        if (!kafka_array(arena, &out->members, group->count))
            status = BECK_ENOMEM;
        for (const struct member *m = group->first; m && !status; m = m->next)
            status = describe_consumer(m, arena, &out->members.at[i++]);
    } else {
        out->error_code = KAFKA_GROUP_ID_NOT_FOUND;
        out->error_message =
            say_not_found(arena, id, group ? "is not a consumer group" : "not found");
    }
    mutex_unlock(&g->lock);
    return status;
}

/* ---- listing ---- */

bool groups_wanted(const struct kafka_strings *filter, const char *value)
{
    for (size_t i = 0; i < filter->count; i++)
        if (filter->at[i].len == strlen(value) &&
            strncasecmp(filter->at[i].data, value, filter->at[i].len) == 0)
            return true;
    return filter->count == 0;
}

beck_status groups_list(struct groups *g, const struct kafka_list_groups_request *request,
                        struct kafka_arena *arena, struct kafka_list_groups_response *out)
{
    beck_status status = BECK_OK;
    size_t n = 0;
    mutex_lock(&g->lock);
    if (!kafka_array(arena, &out->groups, g->by_id.count))
        status = BECK_ENOMEM;
    for (struct lookup_node *node = NULL; !status && (node = lookup_walk(&g->by_id, node));) {
        const struct group *group = lookup_of(node, struct group, node);
        bool classic = group->type == GROUP_CLASSIC;
        const char *state = state_name(group), *type = classic ? "classic" : "consumer";
        struct kafka_list_groups_response_group *to = &out->groups.at[n];
        if (!group_is_known(group) || !groups_wanted(&request->states_filter, state) ||
            !groups_wanted(&request->types_filter, type))
            continue;
        to->group_id = kafka_copy(arena, group->id);
        to->protocol_type =
            kafka_copy(arena, classic ? group->protocol_type : beck_str("consumer"));
        to->group_state = kafka_text(arena, state);
        to->group_type = kafka_text(arena, type);
        if (!to->group_id.data || !to->group_type.data)
            status = BECK_ENOMEM;
        n++;
    }
    mutex_unlock(&g->lock);
    out->groups.count = n;
    return status;
}

/* ---- deleting ---- */

static int delete_group(struct groups *g, beck_bytes id)
{
    struct group *group = group_find(g, id);
    if (id.len == 0)
        return KAFKA_INVALID_GROUP_ID;
    if (!group || !group_is_known(group))
        return KAFKA_GROUP_ID_NOT_FOUND;
    if (!group_is_empty(group))
        return KAFKA_NON_EMPTY_GROUP;
    /* Its offsets go with their records: who commits meanwhile finds nothing of them left. */
    offsets_put_gone(group);
    group->stays = false;
    consumer_become_classic(group);
    group_text_free(&group->protocol_type);
    group_text_free(&group->protocol);
    if (group_is_void(group))
        group_free(group);
    return KAFKA_NONE;
}

static void deletion_failed(void *body)
{
    struct kafka_delete_groups_response *b = body;
    for (size_t i = 0; i < b->results.count; i++)
        if (!b->results.at[i].error_code)
            b->results.at[i].error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
}

void groups_delete(struct groups *g, const beck_bytes *ids, size_t count, groups_done done,
                   void *ctx)
{
    struct reply *reply = reply_new(kafka_delete_groups_response_table(), done, ctx);
    struct kafka_delete_groups_response none = {0}, *body = reply ? reply->body : &none;
    if (!reply || !kafka_array(&reply->arena, &body->results, count)) {
        done(ctx, &none);
        if (reply)
            reply_drop(reply);
        return;
    }
    reply->failed = deletion_failed;
    groups_lock(g);
    for (size_t i = 0; i < count; i++) {
        body->results.at[i].group_id = kafka_copy(&reply->arena, ids[i]);
        body->results.at[i].error_code = (int16_t)delete_group(g, ids[i]);
    }
    reply_give(g, reply);
    groups_unlock(g);
}
