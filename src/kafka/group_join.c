/* JoinGroup: see groups.h. Decisions in the order of Kafka's coordinator. */
#include "kafka/group_log.h"

#include <stdlib.h>

struct joining {
    struct groups *g;
    struct group *group;
    const struct kafka_join_group_request *request;
    const struct group_client *client;
    struct reply *reply;
};

static void refuse(struct joining *j, int error)
{
    struct kafka_join_group_response *body = j->reply->body;
    body->error_code = (int16_t)error;
    if (error != KAFKA_MEMBER_ID_REQUIRED)
        body->member_id = kafka_copy(&j->reply->arena, j->request->member_id);
    reply_give(j->g, j->reply);
}

static int check_request(const struct joining *j)
{
    const struct kafka_join_group_request *r = j->request;
    size_t bytes = 0;
    if (r->group_id.len == 0)
        return KAFKA_INVALID_GROUP_ID;
    if (r->session_timeout_ms < j->g->settings.session_min_ms ||
        r->session_timeout_ms > j->g->settings.session_max_ms)
        return KAFKA_INVALID_SESSION_TIMEOUT;
    for (size_t i = 0; i < r->protocols.count; i++)
        bytes += r->protocols.at[i].metadata.len;
    if (bytes > GROUP_MEMBER_BYTES_MAX || r->protocols.count > GROUP_PROTOCOLS_MAX)
        return KAFKA_INVALID_REQUEST;
    return KAFKA_NONE;
}

static int32_t rebalance_timeout(const struct joining *j)
{
    int32_t ms = j->request->rebalance_timeout_ms;
    return ms > 0 ? ms : j->request->session_timeout_ms;
}

/* The member as the request says; false: no memory. */
static bool update(struct joining *j, struct member *m)
{
    if (!member_set_protocols(m, j->request))
        return false;
    m->session_timeout_ms = j->request->session_timeout_ms;
    m->rebalance_timeout_ms = rebalance_timeout(j);
    return true;
}

/* ---- new members ---- */

static void add_member(struct joining *j, beck_bytes id, bool nameless)
{
    struct group *group = j->group;
    struct member *m = member_new(group, id, j->request->group_instance_id, j->client);
    if (!m || !update(j, m) ||
        (group->count == 0 && !group_text_set(&group->protocol_type, j->request->protocol_type)) ||
        !member_add(m)) {
        if (m)
            member_free(m);
        refuse(j, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    m->classic = true;
    m->is_new = true;
    m->nameless = nameless;
    if (!group->leader)
        group->leader = m;
    classic_await_join(m, j->reply);
    classic_touch(m);
    if (group->state == GROUP_PREPARING)
        group->new_member_added = true;
    classic_rebalance_or_complete(group);
}

/* A member is given an id, with which it is to join again. */
static void require_id(struct joining *j, beck_bytes id)
{
    struct member *m = member_new(j->group, id, (beck_bytes){0}, j->client);
    if (m) {
        m->pending = true;
        m->session_timeout_ms = j->request->session_timeout_ms;
    }
    if (!m || !member_add(m)) {
        if (m)
            member_free(m);
        refuse(j, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    classic_touch(m);
    struct kafka_join_group_response *body = j->reply->body;
    body->member_id = kafka_copy(&j->reply->arena, id);
    refuse(j, KAFKA_MEMBER_ID_REQUIRED);
}

/* ---- static members ---- */

static bool same_topics(const struct member *a, const struct member *b, beck_bytes protocol)
{
    struct kafka_arena arena;
    struct kafka_strings x, y;
    kafka_arena_init(&arena, REPLY_BYTES_MAX);
    classic_topics(a, protocol, &arena, &x);
    classic_topics(b, protocol, &arena, &y);
    bool same = x.count == y.count;
    for (size_t i = 0; i < x.count && same; i++) {
        same = false;
        for (size_t k = 0; k < y.count && !same; k++)
            same = bytes_equal(x.at[i], y.at[k]);
    }
    kafka_arena_release(&arena);
    return same;
}

/* `m`, new, takes the place of `old`, whose process is fenced. */
static bool replace(struct joining *j, struct member *old, struct member *m)
{
    struct group *group = j->group;
    bool leads = group->leader == old;
    if (!group_text_set(&m->assignment, old->assignment))
        return false;
    classic_forget_join(old, KAFKA_FENCED_INSTANCE_ID);
    classic_forget_sync(old, KAFKA_FENCED_INSTANCE_ID);
    m->pending_sync = old->pending_sync;
    old->pending_sync = false;
    member_remove(old);
    if (!member_add(m)) {
        member_free(old);
        return false;
    }
    if (leads)
        group->leader = m;
    return true;
}

static void take_over(struct joining *j, struct member *old)
{
    struct group *group = j->group;
    beck_bytes id = member_make_id(j->g, j->request->group_instance_id);
    struct member *m =
        id.data ? member_new(group, id, j->request->group_instance_id, j->client) : NULL;
    group_text_free(&id);
    bool made = m && update(j, m);
    bool unchanged = made && group->state == GROUP_STABLE && same_topics(old, m, group->protocol);
    beck_bytes leader = {0};
    if (made && group->leader)
        leader = kafka_copy(&j->reply->arena, group->leader->id);
    if (!made || !replace(j, old, m)) {
        if (m)
            member_free(m);
        refuse(j, KAFKA_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    m->classic = true;
    m->is_new = group->state != GROUP_STABLE;
    member_free(old);
    classic_touch(m);
    if (!unchanged || !bytes_equal(group->protocol, classic_choose(group))) {
        classic_await_join(m, j->reply);
        classic_rebalance_or_complete(group);
        return;
    }
    /* Nobody need know. Older clients would assign anew if they were told that they lead. */
    bool leads = group->leader == m, tells = j->client->version >= 9;
    classic_fill_join(j->reply, m, tells && group->leader ? group->leader->id : leader,
                      tells && leads, tells && leads);
    reply_give(j->g, j->reply);
    group_put_classic(group);
}

/* ---- those that are known ---- */

static bool says_the_same(const struct joining *j, const struct member *m)
{
    bool same = m->protocol_count == j->request->protocols.count;
    for (size_t i = 0; i < m->protocol_count && same; i++)
        same = bytes_equal(m->protocols[i].name, j->request->protocols.at[i].name) &&
               bytes_equal(m->protocols[i].metadata, j->request->protocols.at[i].metadata);
    return same;
}

static void rejoin(struct joining *j, struct member *m)
{
    struct group *group = j->group;
    bool again = group->state == GROUP_COMPLETING && says_the_same(j, m);
    bool nothing_new = group->state == GROUP_STABLE && m != group->leader && says_the_same(j, m);
    if (again || nothing_new) {
        /* It may have missed the answer. */
        classic_fill_join(j->reply, m, group->leader ? group->leader->id : beck_str(""),
                          again && m == group->leader, false);
        reply_give(j->g, j->reply);
        classic_touch(m);
    } else if (!update(j, m)) {
        refuse(j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    } else {
        classic_await_join(m, j->reply);
        classic_touch(m);
        classic_rebalance_or_complete(group);
    }
}

/* ---- the request ---- */

static void join_unknown(struct joining *j)
{
    const struct kafka_join_group_request *r = j->request;
    struct member *known = member_find_static(j->group, r->group_instance_id);
    if (known) {
        take_over(j, known);
        return;
    }
    beck_bytes prefix = r->group_instance_id.data ? r->group_instance_id : j->client->id;
    beck_bytes id = member_make_id(j->g, prefix);
    if (!id.data)
        refuse(j, KAFKA_COORDINATOR_NOT_AVAILABLE);
    else if (j->client->version >= 4 && !r->group_instance_id.data)
        require_id(j, id);
    else
        add_member(j, id, !r->group_instance_id.data);
    group_text_free(&id);
}

static void join_known(struct joining *j)
{
    const struct kafka_join_group_request *r = j->request;
    struct member *m = member_find(j->group, r->member_id);
    if (m && m->pending) {
        member_remove(m);
        member_free(m);
        add_member(j, r->member_id, false);
        return;
    }
    int error = classic_check(j->group, r->member_id, r->group_instance_id);
    if (!error && j->group->state == GROUP_EMPTY)
        error = KAFKA_UNKNOWN_MEMBER_ID;
    if (error)
        refuse(j, error);
    else
        rejoin(j, m);
}

/* The group that is joined; 0, or why there is none. */
static int find_group(struct joining *j)
{
    const struct kafka_join_group_request *r = j->request;
    bool is_new = r->member_id.len == 0;
    j->group = group_find(j->g, r->group_id);
    if (!j->group) {
        if (!is_new)
            return KAFKA_UNKNOWN_MEMBER_ID;
        j->group = group_new(j->g, r->group_id, GROUP_CLASSIC);
        return j->group ? KAFKA_NONE : KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    if (j->group->type == GROUP_CONSUMER && j->group->count == 0) {
        if (!is_new)
            return KAFKA_UNKNOWN_MEMBER_ID;
        consumer_become_classic(j->group);
    }
    return KAFKA_NONE;
}

static void join(struct joining *j)
{
    const struct kafka_join_group_request *r = j->request;
    int error = check_request(j);
    if (!error)
        error = find_group(j);
    if (error) {
        refuse(j, error);
        return;
    }
    group_put_whole_if_behind(j->group);
    if (j->group->type == GROUP_CONSUMER) {
        mixed_join(j->group, r, j->client, j->reply);
        return;
    }
    bool is_new = r->member_id.len == 0;
    struct member *known = is_new ? NULL : member_find(j->group, r->member_id);
    bool counted = known && !known->pending;
    if (!counted && !member_find_static(j->group, r->group_instance_id) &&
        j->group->count + j->group->pending_count >= j->g->settings.members_max && !known)
        refuse(j, KAFKA_GROUP_MAX_SIZE_REACHED);
    else if (!classic_fits(j->group, r))
        refuse(j, KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    else if (is_new)
        join_unknown(j);
    else
        join_known(j);
    if (group_is_void(j->group) && j->group->offsets_only)
        group_free(j->group);
}

void groups_join(struct groups *g, const struct kafka_join_group_request *request,
                 const struct group_client *client, groups_done done, void *ctx)
{
    struct reply *reply = reply_new(kafka_join_group_response_table(), done, ctx);
    if (!reply) {
        struct kafka_join_group_response none = {.error_code = KAFKA_COORDINATOR_NOT_AVAILABLE,
                                                 .generation_id = -1};
        done(ctx, &none);
        return;
    }
    struct joining j = {.g = g, .request = request, .client = client, .reply = reply};
    reply->error = &((struct kafka_join_group_response *)reply->body)->error_code;
    groups_lock(g);
    join(&j);
    groups_unlock(g);
}

/* ---- who is gone ---- */

static void forget_member(struct member *m, const void *ctx)
{
    struct group *group = m->group;
    if (m->sync && m->sync->ctx == ctx) {
        classic_forget_sync(m, KAFKA_REBALANCE_IN_PROGRESS);
        classic_touch(m);
    }
    if (!m->join || m->join->ctx != ctx)
        return;
    if (m->nameless && m->is_new) {
        classic_remove(m);
        classic_rebalance_or_complete(group);
        return;
    }
    classic_forget_join(m, KAFKA_REBALANCE_IN_PROGRESS);
    m->is_new = false;
    classic_touch(m);
}

void groups_forget(struct groups *g, beck_bytes group_id, void *ctx)
{
    groups_lock(g);
    struct group *group = group_find(g, group_id);
    for (struct member *m = group ? group->first : NULL; m; m = m->next) {
        if ((m->join && m->join->ctx == ctx) || (m->sync && m->sync->ctx == ctx)) {
            forget_member(m, ctx);
            break;
        }
    }
    groups_unlock(g);
}
