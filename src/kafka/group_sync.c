/* SyncGroup, Heartbeat, LeaveGroup: see groups.h. */
#include "kafka/group_log.h"

#include <stdlib.h>

/* 0, or why the caller does not belong to the group's generation. */
static int check_member(const struct group *group, beck_bytes id, beck_bytes instance_id,
                        int32_t generation)
{
    if (!group)
        return KAFKA_UNKNOWN_MEMBER_ID;
    int error = classic_check(group, id, instance_id);
    if (!error && !classic_is_of(group, id, generation))
        error = KAFKA_ILLEGAL_GENERATION;
    return error;
}

/* ---- SyncGroup ---- */

struct syncing {
    struct groups *g;
    struct group *group;
    const struct kafka_sync_group_request *request;
    struct reply *reply;
};

static void fill_sync(struct reply *r, const struct member *m)
{
    struct kafka_sync_group_response *body = r->body;
    body->error_code = KAFKA_NONE;
    body->protocol_type = kafka_copy(&r->arena, m->group->protocol_type);
    body->protocol_name = kafka_copy(&r->arena, m->group->protocol);
    body->assignment = kafka_copy(&r->arena, m->assignment);
    if (!body->assignment.data)
        body->error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static int check_assignments(const struct kafka_sync_group_request *r)
{
    size_t all = 0;
    for (size_t i = 0; i < r->assignments.count; i++) {
        if (r->assignments.at[i].assignment.len > GROUP_MEMBER_BYTES_MAX)
            return KAFKA_INVALID_REQUEST;
        all += r->assignments.at[i].assignment.len;
    }
    return all > GROUP_RECORD_MAX / 2 ? KAFKA_INVALID_REQUEST : KAFKA_NONE;
}

static bool set_assignments(struct syncing *s)
{
    const struct kafka_sync_group_request *r = s->request;
    for (struct member *m = s->group->first; m; m = m->next)
        if (!group_text_set(&m->assignment, beck_str("")))
            return false;
    for (size_t i = 0; i < r->assignments.count; i++) {
        struct member *m = member_find(s->group, r->assignments.at[i].member_id);
        beck_bytes assignment = r->assignments.at[i].assignment;
        if (m && !m->pending && assignment.len && !group_text_set(&m->assignment, assignment))
            return false;
    }
    return true;
}

static void answer_syncs(struct group *group)
{
    for (struct member *m = group->first; m; m = m->next) {
        if (!m->sync)
            continue;
        fill_sync(m->sync, m);
        reply_give(group->all, m->sync);
        m->sync = NULL;
        classic_touch(m);
    }
}

static void sync_completing(struct syncing *s, struct member *m)
{
    struct group *group = s->group;
    struct kafka_sync_group_response *body = s->reply->body;
    int error = m == group->leader ? check_assignments(s->request) : KAFKA_NONE;
    if (!error && m == group->leader && !set_assignments(s))
        error = KAFKA_COORDINATOR_NOT_AVAILABLE;
    if (error) {
        body->error_code = (int16_t)error;
        reply_give(s->g, s->reply);
        return;
    }
    classic_forget_sync(m, KAFKA_REBALANCE_IN_PROGRESS);
    m->sync = s->reply;
    classic_synced(m);
    if (m != group->leader)
        return;
    classic_set_state(group, GROUP_STABLE);
    group_put_classic(group);
    answer_syncs(group);
}

static int check_sync(const struct syncing *s)
{
    const struct kafka_sync_group_request *r = s->request;
    const struct group *group = s->group;
    int error = check_member(group, r->member_id, r->group_instance_id, r->generation_id);
    if (error)
        return error;
    if ((r->protocol_type.data && !bytes_equal(r->protocol_type, group->protocol_type)) ||
        (r->protocol_name.data && !bytes_equal(r->protocol_name, group->protocol)))
        return KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    if (group->state == GROUP_PREPARING)
        return KAFKA_REBALANCE_IN_PROGRESS;
    return group->state == GROUP_EMPTY ? KAFKA_UNKNOWN_MEMBER_ID : KAFKA_NONE;
}

static void sync_group(struct syncing *s)
{
    struct kafka_sync_group_response *body = s->reply->body;
    s->group = group_find(s->g, s->request->group_id);
    if (s->group && s->group->type == GROUP_CONSUMER) {
        mixed_sync(s->group, s->request, s->reply);
        return;
    }
    int error = s->request->group_id.len == 0 ? KAFKA_INVALID_GROUP_ID : check_sync(s);
    if (error) {
        body->error_code = (int16_t)error;
        reply_give(s->g, s->reply);
        return;
    }
    group_put_whole_if_behind(s->group);
    struct member *m = member_find(s->group, s->request->member_id);
    if (s->group->state == GROUP_COMPLETING) {
        sync_completing(s, m);
        return;
    }
    classic_synced(m);
    classic_touch(m);
    fill_sync(s->reply, m);
    reply_give(s->g, s->reply);
}

void groups_sync(struct groups *g, const struct kafka_sync_group_request *request,
                 const struct group_client *client, groups_done done, void *ctx)
{
    (void)client;
    struct reply *reply = reply_new(kafka_sync_group_response_table(), done, ctx);
    if (!reply) {
        struct kafka_sync_group_response none = {.error_code = KAFKA_COORDINATOR_NOT_AVAILABLE};
        done(ctx, &none);
        return;
    }
    struct syncing s = {.g = g, .request = request, .reply = reply};
    reply->error = &((struct kafka_sync_group_response *)reply->body)->error_code;
    groups_lock(g);
    sync_group(&s);
    groups_unlock(g);
}

/* ---- Heartbeat ---- */

static int heartbeat(struct group *group, const struct kafka_heartbeat_request *r)
{
    if (group && group->type == GROUP_CONSUMER)
        return mixed_heartbeat(group, r);
    int error = check_member(group, r->member_id, r->group_instance_id, r->generation_id);
    if (!error && group->state == GROUP_EMPTY)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (error)
        return error;
    classic_touch(member_find(group, r->member_id));
    return group->state == GROUP_PREPARING ? KAFKA_REBALANCE_IN_PROGRESS : KAFKA_NONE;
}

void groups_heartbeat(struct groups *g, const struct kafka_heartbeat_request *r, groups_done done,
                      void *ctx)
{
    struct kafka_heartbeat_response body;
    kafka_heartbeat_response_init(&body);
    groups_lock(g);
    int error =
        r->group_id.len == 0 ? KAFKA_INVALID_GROUP_ID : heartbeat(group_find(g, r->group_id), r);
    groups_unlock(g);
    body.error_code = (int16_t)error;
    done(ctx, &body);
}

/* ---- LeaveGroup ---- */

/* One member; *changed: the group has one less. */
static int leave(struct group *group, beck_bytes id, beck_bytes instance_id, bool *changed)
{
    struct member *m;
    if (instance_id.data) {
        m = member_find_static(group, instance_id);
        if (m && id.len && !bytes_equal(m->id, id))
            return KAFKA_FENCED_INSTANCE_ID;
    } else {
        m = member_find(group, id);
    }
    if (!m)
        return KAFKA_UNKNOWN_MEMBER_ID;
    if (group->type == GROUP_CONSUMER) {
        consumer_fence(m);
        return KAFKA_NONE;
    }
    if (m->pending) {
        classic_drop_pending(m);
        return KAFKA_NONE;
    }
    classic_remove(m);
    *changed = true;
    return KAFKA_NONE;
}

static void leave_group(struct groups *g, const struct kafka_leave_group_request *r,
                        int16_t version, struct reply *reply)
{
    struct kafka_leave_group_response *body = reply->body;
    struct group *group = group_find(g, r->group_id);
    bool changed = false, known = group != NULL;
    if (known)
        group_put_whole_if_behind(group);
    if (version < 3) {
        body->error_code = (int16_t)(known ? leave(group, r->member_id, (beck_bytes){0}, &changed)
                                           : KAFKA_UNKNOWN_MEMBER_ID);
    } else if (!kafka_array(&reply->arena, &body->members, r->members.count)) {
        body->error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    for (size_t i = 0; version >= 3 && i < body->members.count && body->members.at; i++) {
        const struct kafka_leave_group_request_member *from = &r->members.at[i];
        struct kafka_leave_group_response_member *to = &body->members.at[i];
        to->member_id = kafka_copy(&reply->arena, from->member_id);
        if (from->group_instance_id.data)
            to->group_instance_id = kafka_copy(&reply->arena, from->group_instance_id);
        to->error_code =
            (int16_t)(known ? leave(group, from->member_id, from->group_instance_id, &changed)
                            : KAFKA_UNKNOWN_MEMBER_ID);
    }
    if (changed)
        classic_rebalance_or_complete(group);
}

void groups_leave(struct groups *g, const struct kafka_leave_group_request *request,
                  const struct group_client *client, groups_done done, void *ctx)
{
    struct reply *reply = reply_new(kafka_leave_group_response_table(), done, ctx);
    if (!reply) {
        struct kafka_leave_group_response none = {.error_code = KAFKA_COORDINATOR_NOT_AVAILABLE};
        done(ctx, &none);
        return;
    }
    reply->error = &((struct kafka_leave_group_response *)reply->body)->error_code;
    groups_lock(g);
    if (request->group_id.len == 0)
        *reply->error = KAFKA_INVALID_GROUP_ID;
    else
        leave_group(g, request, client->version, reply);
    reply_give(g, reply);
    groups_unlock(g);
}
