/*
 * FindCoordinator (10), JoinGroup (11), Heartbeat (12), LeaveGroup (13), SyncGroup (14), DescribeGroups
 * (15), ListGroups (16), DeleteGroups (42).
 */
#include "wire/kafka/groups.h"
#include "kafka/share.h"
#include "wire/kafka/handlers.h"

#define NO_MEMORY "there is no memory for an answer"

void answer_later(void *ctx, const void *body)
{
    if (body)
        request_answer(ctx, body);
    else
        request_fail(ctx, NO_MEMORY);
}

static bool may_see(void *ctx, beck_bytes topic)
{
    return request_may(ctx, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE, topic);
}

bool fill_group_client(struct kafka_request *r, struct group_client *out)
{
    const char *address = request_peer(r)->address;
    size_t len = strlen(address);
    char *host = request_alloc(r, len + 1);
    if (!host) {
        request_fail(r, NO_MEMORY);
        return false;
    }
    host[0] = '/';
    memcpy(host + 1, address, len);
    *out = (struct group_client){
        .id = request_client_id(r),
        .host = bytes_of(host, len + 1),
        .version = request_version(r),
        .user = beck_str(request_identity(r) ? identity_name(request_identity(r)) : ""),
        .may_see = may_see,
        .ctx = r};
    return true;
}

static bool may(const struct kafka_request *r, enum kafka_operation operation, beck_bytes group)
{
    return request_may(r, KAFKA_RESOURCE_GROUP, operation, group);
}

/* ---- FindCoordinator ---- */

enum { OF_GROUP, OF_TRANSACTION, OF_SHARE };

static int check_key(const struct kafka_request *r, int8_t type, beck_bytes key)
{
    if (type < OF_GROUP || type > OF_SHARE || (type == OF_SHARE && request_version(r) < 6))
        return KAFKA_INVALID_REQUEST;
    if (type == OF_TRANSACTION)
        return request_may(r, KAFKA_RESOURCE_TRANSACTIONAL_ID, KAFKA_OP_DESCRIBE, key)
                   ? KAFKA_NONE
                   : KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    if (type == OF_SHARE) /* "group:topic id:partition" */
        return request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_CLUSTER_ACTION, key)
                   ? KAFKA_NONE
                   : KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    return may(r, KAFKA_OP_DESCRIBE, key) ? KAFKA_NONE : KAFKA_GROUP_AUTHORIZATION_FAILED;
}

static void find_many(struct kafka_request *r, const struct kafka_find_coordinator_request *q)
{
    const struct kafka_endpoint *here = request_endpoint(r);
    struct kafka_find_coordinator_response a;
    kafka_find_coordinator_response_init(&a);
    if (!kafka_array(request_arena(r), &a.coordinators, q->coordinator_keys.count)) {
        request_fail(r, NO_MEMORY);
        return;
    }
    for (size_t i = 0; i < a.coordinators.count; i++) {
        struct kafka_find_coordinator_response_coordinator *to = &a.coordinators.at[i];
        int error = check_key(r, q->key_type, q->coordinator_keys.at[i]);
        to->key = q->coordinator_keys.at[i];
        to->error_code = (int16_t)error;
        to->node_id = error ? -1 : kafka_node_id(request_kafka(r));
        to->host = beck_str(error ? "" : here->host);
        to->port = error ? -1 : here->port;
        if (error)
            to->error_message = beck_str(kafka_error_name(error));
    }
    request_answer(r, &a);
}

void handle_find_coordinator(struct kafka_request *r)
{
    const struct kafka_find_coordinator_request *q = request_body(r);
    const struct kafka_endpoint *here = request_endpoint(r);
    struct kafka_find_coordinator_response a;
    if (request_version(r) >= 4) {
        find_many(r, q);
        return;
    }
    kafka_find_coordinator_response_init(&a);
    int error = check_key(r, q->key_type, q->key);
    a.error_code = (int16_t)error;
    a.node_id = error ? -1 : kafka_node_id(request_kafka(r));
    a.host = beck_str(error ? "" : here->host);
    a.port = error ? -1 : here->port;
    a.error_message = error ? beck_str(kafka_error_name(error)) : (beck_bytes){0};
    request_answer(r, &a);
}

/* ---- members ---- */

static void forget_member(struct kafka_request *r)
{
    const beck_bytes *group = request_state(r);
    groups_forget(kafka_groups(request_kafka(r)), *group, r);
}

/* For whoever may wait for others. False: no memory. */
static bool note_group(struct kafka_request *r, beck_bytes id)
{
    beck_bytes *group = request_alloc(r, sizeof *group);
    if (group)
        *group = kafka_copy(request_arena(r), id);
    request_set_state(r, group);
    request_on_close(r, forget_member);
    return group && group->data;
}

void handle_join_group(struct kafka_request *r)
{
    const struct kafka_join_group_request *q = request_body(r);
    struct group_client client;
    struct kafka_join_group_response a;
    bool allowed = may(r, KAFKA_OP_READ, q->group_id);
    if (!allowed || share_exists(request_kafka(r), q->group_id)) {
        kafka_join_group_response_init(&a);
        a.error_code =
            allowed ? KAFKA_INCONSISTENT_GROUP_PROTOCOL : KAFKA_GROUP_AUTHORIZATION_FAILED;
        a.member_id = q->member_id;
        request_answer(r, &a);
    } else if (!note_group(r, q->group_id)) {
        request_fail(r, NO_MEMORY);
    } else if (fill_group_client(r, &client)) {
        groups_join(kafka_groups(request_kafka(r)), q, &client, answer_later, r);
    }
}

void handle_sync_group(struct kafka_request *r)
{
    const struct kafka_sync_group_request *q = request_body(r);
    struct group_client client;
    struct kafka_sync_group_response a;
    if (!may(r, KAFKA_OP_READ, q->group_id)) {
        kafka_sync_group_response_init(&a);
        a.error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
        request_answer(r, &a);
    } else if (!note_group(r, q->group_id)) {
        request_fail(r, NO_MEMORY);
    } else if (fill_group_client(r, &client)) {
        groups_sync(kafka_groups(request_kafka(r)), q, &client, answer_later, r);
    }
}

void handle_heartbeat(struct kafka_request *r)
{
    const struct kafka_heartbeat_request *q = request_body(r);
    struct kafka_heartbeat_response a;
    if (may(r, KAFKA_OP_READ, q->group_id)) {
        groups_heartbeat(kafka_groups(request_kafka(r)), q, answer_later, r);
        return;
    }
    kafka_heartbeat_response_init(&a);
    a.error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
    request_answer(r, &a);
}

void handle_leave_group(struct kafka_request *r)
{
    const struct kafka_leave_group_request *q = request_body(r);
    struct group_client client;
    struct kafka_leave_group_response a;
    if (!may(r, KAFKA_OP_READ, q->group_id)) {
        kafka_leave_group_response_init(&a);
        a.error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
        request_answer(r, &a);
    } else if (fill_group_client(r, &client)) {
        groups_leave(kafka_groups(request_kafka(r)), q, &client, answer_later, r);
    }
}

/* ---- administration ---- */

void handle_describe_groups(struct kafka_request *r)
{
    const struct kafka_describe_groups_request *q = request_body(r);
    struct kafka_describe_groups_response a;
    kafka_describe_groups_response_init(&a);
    bool good = kafka_array(request_arena(r), &a.groups, q->groups.count);
    for (size_t i = 0; good && i < a.groups.count; i++) {
        struct kafka_describe_groups_response_group *to = &a.groups.at[i];
        beck_bytes id = q->groups.at[i];
        if (!may(r, KAFKA_OP_DESCRIBE, id)) {
            kafka_describe_groups_response_group_init(to);
            to->group_id = id;
            to->error_code = KAFKA_GROUP_AUTHORIZATION_FAILED;
            continue;
        }
        good = !groups_describe(kafka_groups(request_kafka(r)), id, request_version(r),
                                request_arena(r), to);
        if (q->include_authorized_operations)
            to->authorized_operations = request_operations(r, KAFKA_RESOURCE_GROUP, id);
    }
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, NO_MEMORY);
}

void handle_list_groups(struct kafka_request *r)
{
    struct kafka_list_groups_response a;
    size_t n = 0;
    kafka_list_groups_response_init(&a);
    if (groups_list(kafka_groups(request_kafka(r)), request_body(r), request_arena(r), &a) ||
        !share_list(request_kafka(r), request_body(r), request_arena(r), &a)) {
        request_fail(r, NO_MEMORY);
        return;
    }
    for (size_t i = 0; i < a.groups.count; i++)
        if (may(r, KAFKA_OP_DESCRIBE, a.groups.at[i].group_id))
            a.groups.at[n++] = a.groups.at[i];
    a.groups.count = n;
    request_answer(r, &a);
}

/* What the coordinator answers, with what it was not asked for. */
struct deleting {
    struct kafka_request *r;
    beck_bytes *ids; /* of the coordinator's groups first */
    int *codes;      /* of the others */
    size_t asked, count;
};

static void deleted(void *ctx, const void *body)
{
    struct deleting *d = ctx;
    const struct kafka_delete_groups_response *from = body;
    struct kafka_delete_groups_response a;
    kafka_delete_groups_response_init(&a);
    if (!from || !kafka_array(request_arena(d->r), &a.results, d->count)) {
        request_fail(d->r, NO_MEMORY);
        return;
    }
    a.results.count = 0;
    for (size_t i = 0; i < from->results.count; i++)
        a.results.at[a.results.count++] = from->results.at[i];
    for (size_t i = d->asked; i < d->count; i++) {
        struct kafka_delete_groups_response_result *to = &a.results.at[a.results.count++];
        to->group_id = d->ids[i];
        to->error_code = (int16_t)d->codes[i];
    }
    request_answer(d->r, &a);
}

/* On the pool: share groups have queues. */
static void delete_groups(struct kafka_request *r)
{
    const struct kafka_delete_groups_request *q = request_body(r);
    struct kafka *k = request_kafka(r);
    size_t count = q->groups_names.count, last = count;
    struct deleting *d = request_alloc(r, sizeof *d);
    beck_bytes *ids = kafka_alloc_many(request_arena(r), count, sizeof *ids);
    int *codes = kafka_alloc_many(request_arena(r), count, sizeof *codes);
    if (!d || !ids || !codes) {
        request_fail(r, NO_MEMORY);
        return;
    }
    *d = (struct deleting){.r = r, .ids = ids, .codes = codes, .count = count};
    for (size_t i = 0; i < count; i++) {
        beck_bytes id = q->groups_names.at[i];
        const char *text;
        bool mine = may(r, KAFKA_OP_DELETE, id);
        if (mine && !share_exists(k, id)) {
            ids[d->asked++] = id;
            continue;
        }
        ids[--last] = id;
        codes[last] = mine ? share_delete(k, id, &text) : KAFKA_GROUP_AUTHORIZATION_FAILED;
    }
    groups_delete(kafka_groups(k), ids, d->asked, deleted, d);
}

void handle_delete_groups(struct kafka_request *r)
{
    request_defer(r, delete_groups);
}
