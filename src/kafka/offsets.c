/*
 * Committing, fetching and deleting offsets: see offsets.h. A change is seen once its record is in
 * the log (offsets_apply); of two of one partition the later record stands.
 */
#include "kafka/offsets_impl.h"

#include <assert.h>
#include <stdlib.h>

/* One partition that a transaction will commit. */
struct pending_offset {
    struct pending_offset *next;
    struct offset_change *change;
    uint64_t number;
};

struct transaction_offsets {
    struct lookup_node node;
    int64_t producer_id;
    struct pending_offset *first;
};

/* ---- the table ---- */

static uint64_t hash_of(const struct group *group, beck_bytes topic, int32_t partition)
{
    return lookup_hash(&group->offsets, topic) ^
           ((uint64_t)(uint32_t)partition * 0x9e3779b97f4a7c15ull);
}

struct offset_entry *offset_find(const struct group *group, beck_bytes topic, int32_t partition)
{
    struct lookup_node *n = lookup_first(&group->offsets, hash_of(group, topic, partition));
    for (; n; n = lookup_again(n)) {
        struct offset_entry *e = lookup_of(n, struct offset_entry, node);
        if (e->partition == partition && bytes_equal(e->topic, topic))
            return e;
    }
    return NULL;
}

static struct offset_entry *entry_of(struct group *group, beck_bytes topic, int32_t partition)
{
    struct offset_entry *e = offset_find(group, topic, partition);
    if (e)
        return e;
    if (lookup_reserve(&group->offsets) || !(e = calloc(1, sizeof *e + topic.len)))
        return NULL;
    memcpy(e + 1, topic.data, topic.len);
    e->topic = bytes_of(e + 1, topic.len);
    e->partition = partition;
    lookup_add(&group->offsets, &e->node, hash_of(group, topic, partition));
    return e;
}

static void free_entry(struct group *group, struct offset_entry *e)
{
    group->present -= e->present;
    lookup_remove(&group->offsets, &e->node);
    group_text_free(&e->value.metadata);
    free(e);
}

/* One that says nothing any more goes. */
static void tidy(struct group *group, struct offset_entry *e)
{
    if (!e->present && e->pending == 0)
        free_entry(group, e);
}

void offsets_free(struct group *group)
{
    for (struct lookup_node *n = lookup_walk(&group->offsets, NULL), *next; n; n = next) {
        next = lookup_walk(&group->offsets, n);
        free_entry(group, lookup_of(n, struct offset_entry, node));
    }
}

static void set_value(struct group *group, struct offset_entry *e, struct offset_change *c,
                      uint64_t number)
{
    if (number < e->number)
        return;
    group->present += !e->present;
    group_text_free(&e->value.metadata);
    e->value = c->value;
    c->value.metadata = (beck_bytes){0};
    e->present = true;
    e->number = number;
}

static void remove_value(struct group *group, struct offset_entry *e, uint64_t number)
{
    group_text_free(&e->value.metadata);
    group->present -= e->present;
    e->present = false;
    e->number = number;
    tidy(group, e);
}

/* Of a group that was deleted the last offset is gone. */
static void free_if_void(struct group *group)
{
    if (group->offsets_only && !group->stays && group_is_void(group))
        group_free(group);
}

/* ---- what is in the log ---- */

static struct transaction_offsets *find_transaction(const struct groups *g, int64_t producer_id)
{
    beck_bytes key = bytes_of(&producer_id, sizeof producer_id);
    struct lookup_node *n = lookup_first(&g->transactions, lookup_hash(&g->transactions, key));
    while (n && lookup_of(n, struct transaction_offsets, node)->producer_id != producer_id)
        n = lookup_again(n);
    return n ? lookup_of(n, struct transaction_offsets, node) : NULL;
}

static bool add_pending(struct groups *g, struct offset_entry *e, const struct offset_change *c,
                        int64_t producer_id)
{
    struct transaction_offsets *t = find_transaction(g, producer_id);
    struct pending_offset *p = calloc(1, sizeof *p);
    struct offset_change *copy = malloc(sizeof *copy + c->group.len + c->topic.len);
    if (!t && p && copy && !lookup_reserve(&g->transactions) && (t = calloc(1, sizeof *t))) {
        t->producer_id = producer_id;
        lookup_add(&g->transactions, &t->node,
                   lookup_hash(&g->transactions, bytes_of(&producer_id, sizeof producer_id)));
    }
    beck_bytes metadata = group_copy(c->value.metadata);
    if (!t || !p || !copy || !metadata.data) {
        free(p);
        free(copy);
        group_text_free(&metadata);
        return false;
    }
    char *text = (char *)(copy + 1);
    *copy = *c;
    memcpy(text, c->group.data, c->group.len);
    memcpy(text + c->group.len, c->topic.data, c->topic.len);
    copy->group = bytes_of(text, c->group.len);
    copy->topic = bytes_of(text + c->group.len, c->topic.len);
    copy->value.metadata = metadata;
    *p = (struct pending_offset){.next = t->first, .change = copy, .number = g->changes};
    t->first = p;
    e->pending++;
    return true;
}

bool offsets_apply(struct groups *g, struct offset_change *c, int64_t producer_id)
{
    struct group *group = group_find(g, c->group);
    g->changes++;
    if (c->kind == CHANGE_REMOVE) {
        struct offset_entry *e = group ? offset_find(group, c->topic, c->partition) : NULL;
        if (e) {
            remove_value(group, e, g->changes);
            free_if_void(group);
        }
        return true;
    }
    if (!group && !(group = group_new(g, c->group, GROUP_CLASSIC)))
        return false;
    struct offset_entry *e = entry_of(group, c->topic, c->partition);
    if (!e)
        return false;
    if (c->kind == CHANGE_PENDING)
        return add_pending(g, e, c, producer_id);
    set_value(group, e, c, g->changes);
    return true;
}

static void end_pending(struct groups *g, struct pending_offset *p, bool commit)
{
    struct group *group = group_find(g, p->change->group);
    struct offset_entry *e =
        group ? offset_find(group, p->change->topic, p->change->partition) : NULL;
    if (e) {
        if (e->pending > 0)
            e->pending--;
        if (commit)
            set_value(group, e, p->change, p->number);
        tidy(group, e);
        free_if_void(group);
    }
    offset_change_free(p->change);
    free(p);
}

void offsets_end_locked(struct groups *g, int64_t producer_id, bool commit)
{
    struct transaction_offsets *t = find_transaction(g, producer_id);
    if (!t)
        return;
    lookup_remove(&g->transactions, &t->node);
    for (struct pending_offset *p = t->first, *next; p; p = next) {
        next = p->next;
        end_pending(g, p, commit);
    }
    free(t);
}

void offsets_before_end(struct groups *g, int64_t producer_id)
{
    mutex_lock(&g->lock);
    group_log_end_rounds(g, producer_id);
    mutex_unlock(&g->lock);
}

void offsets_end_transaction(struct groups *g, int64_t producer_id, bool commit)
{
    mutex_lock(&g->lock);
    offsets_end_locked(g, producer_id, commit);
    mutex_unlock(&g->lock);
}

void offsets_free_pending(struct groups *g)
{
    for (struct lookup_node *n; (n = lookup_walk(&g->transactions, NULL));)
        offsets_end_locked(g, lookup_of(n, struct transaction_offsets, node)->producer_id, false);
}

/* ---- records ---- */

static void put_gone(struct groups *g, beck_bytes group, beck_bytes topic, int32_t partition)
{
    struct kafka_offset_commit_key key = {group, topic, partition};
    group_log_put(g, kafka_offset_commit_key_table(), &key, NULL, 0, NULL);
    group_log_change(g, CHANGE_REMOVE, group, topic, partition, NULL);
}

static void put_commit_gone(void *ctx, const struct offset_change *c)
{
    put_gone(ctx, c->group, c->topic, c->partition);
}

void offsets_put_gone(struct group *group)
{
    for (struct lookup_node *n = NULL; (n = lookup_walk(&group->offsets, n));) {
        const struct offset_entry *e = lookup_of(n, struct offset_entry, node);
        put_gone(group->all, group->id, e->topic, e->partition);
    }
    group_log_each_commit(group->all, group->id, put_commit_gone, group->all);
}

static void put_value(struct groups *g, enum change_kind kind, beck_bytes group, beck_bytes topic,
                      int32_t partition, const struct offset_value *v)
{
    struct kafka_offset_commit_key key = {group, topic, partition};
    struct kafka_offset_commit_value value = {.offset = v->offset,
                                              .leader_epoch = v->leader_epoch,
                                              .metadata = v->metadata,
                                              .commit_timestamp = v->commit_ms,
                                              .expire_timestamp = v->expire_ms};
    memcpy(value.topic_id, v->topic_id, sizeof value.topic_id);
    group_log_put(g, kafka_offset_commit_key_table(), &key, kafka_offset_commit_value_table(),
                  v->expire_ms >= 0 ? 1 : 4, &value);
    group_log_change(g, kind, group, topic, partition, v);
}

/* ---- who may commit ---- */

static int check_classic(const struct group *group, beck_bytes id, beck_bytes instance_id,
                         int32_t generation, bool transactional)
{
    int error = KAFKA_NONE;
    if (generation < 0 && group_is_empty(group))
        return KAFKA_NONE;
    if (generation >= 0 || id.len > 0 || instance_id.data) {
        error = classic_check(group, id, instance_id);
        if (!error && !classic_is_of(group, id, generation))
            error = KAFKA_ILLEGAL_GENERATION;
    } else if (!transactional) {
        error = KAFKA_UNKNOWN_MEMBER_ID;
    }
    /* Of a transaction the generation says enough. */
    if (!error && group->state == GROUP_COMPLETING && !transactional)
        error = KAFKA_REBALANCE_IN_PROGRESS;
    if (!error && id.len > 0)
        classic_touch(member_find(group, id));
    return error;
}

struct committing {
    struct groups *g;
    beck_bytes group;
    enum change_kind kind;
    int64_t now_ms, expire_ms;
    const struct member *late; /* it says an epoch that it had before; NULL: it does not */
    int32_t epoch;
};

/* KIP-1251: a member that has another epoch since may commit what it has had in both. */
static int check_consumer(struct committing *c, const struct group *group, beck_bytes id,
                          int32_t epoch, int16_t version)
{
    const struct member *m = member_find(group, id);
    bool transactional = c->kind == CHANGE_PENDING;
    if (epoch < 0 && (group->count == 0 || (transactional && id.len == 0)))
        return KAFKA_NONE;
    if (!m)
        return KAFKA_UNKNOWN_MEMBER_ID;
    if (m->classic)
        return epoch == m->epoch ? KAFKA_NONE : KAFKA_ILLEGAL_GENERATION;
    if (!transactional && version < 9)
        return KAFKA_UNSUPPORTED_VERSION;
    c->late = epoch < m->epoch ? m : NULL;
    c->epoch = epoch;
    return epoch <= m->epoch ? KAFKA_NONE : KAFKA_STALE_MEMBER_EPOCH;
}

static int check_committer(struct committing *c, beck_bytes id, beck_bytes instance_id,
                           int32_t generation, int16_t version)
{
    const struct groups *g = c->g;
    struct group *group = group_find(g, c->group);
    if (!group && generation >= 0)
        return KAFKA_ILLEGAL_GENERATION;
    if (!group)
        return g->by_id.count < GROUPS_MAX ? KAFKA_NONE : KAFKA_COORDINATOR_NOT_AVAILABLE;
    return group->type == GROUP_CLASSIC
               ? check_classic(group, id, instance_id, generation, c->kind == CHANGE_PENDING)
               : check_consumer(c, group, id, generation, version);
}

/* ---- committing ---- */

static bool had(const struct committing *c, const struct group_topic *topic, int32_t partition)
{
    struct group_partition at = {.partition = partition};
    memcpy(at.topic, topic->id, sizeof at.topic);
    const struct group_partition *p = partition_set_find(&c->late->assigned, &at);
    if (!p)
        p = partition_set_find(&c->late->revoking, &at);
    return p && p->epoch <= c->epoch;
}

/* One partition; 0, or why not. */
static int commit_partition(const struct committing *c, const struct group_topic *topic,
                            int32_t partition, int64_t offset, int32_t leader_epoch,
                            beck_bytes metadata)
{
    if (partition < 0 || (uint32_t)partition >= topic->partitions)
        return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    if (c->late && !had(c, topic, partition))
        return c->kind == CHANGE_PENDING ? KAFKA_ILLEGAL_GENERATION : KAFKA_STALE_MEMBER_EPOCH;
    if (metadata.len > c->g->settings.metadata_bytes_max)
        return KAFKA_OFFSET_METADATA_TOO_LARGE;
    struct offset_value v = {.offset = offset,
                             .leader_epoch = leader_epoch,
                             .commit_ms = c->now_ms,
                             .expire_ms = c->expire_ms,
                             .metadata = metadata.data ? metadata : beck_str("")};
    memcpy(v.topic_id, topic->id, sizeof v.topic_id);
    put_value(c->g, c->kind, c->group, topic->name, partition, &v);
    return KAFKA_NONE;
}

static void commit_failed(void *body)
{
    struct kafka_offset_commit_response *b = body;
    for (size_t i = 0; i < b->topics.count; i++)
        for (size_t p = 0; p < b->topics.at[i].partitions.count; p++)
            if (!b->topics.at[i].partitions.at[p].error_code)
                b->topics.at[i].partitions.at[p].error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static bool make_commit_answer(struct reply *r, const struct kafka_offset_commit_request *request)
{
    struct kafka_offset_commit_response *body = r->body;
    if (!kafka_array(&r->arena, &body->topics, request->topics.count))
        return false;
    for (size_t i = 0; i < request->topics.count; i++) {
        const struct kafka_offset_commit_request_topic *from = &request->topics.at[i];
        struct kafka_offset_commit_response_topic *to = &body->topics.at[i];
        to->name = kafka_copy(&r->arena, from->name);
        memcpy(to->topic_id, from->topic_id, sizeof to->topic_id);
        if (!to->name.data || !kafka_array(&r->arena, &to->partitions, from->partitions.count)) {
            body->topics.count = 0;
            return false;
        }
        for (size_t p = 0; p < from->partitions.count; p++)
            to->partitions.at[p].partition_index = from->partitions.at[p].partition_index;
    }
    return true;
}

static void commit_topic(const struct committing *c, int error, int16_t version,
                         const struct kafka_offset_commit_request_topic *from,
                         struct kafka_offset_commit_response_topic *to)
{
    const struct group_topics *topics = &c->g->topics;
    struct group_topic topic = {0};
    bool known = version >= 10 ? topics->find_id(topics->ctx, from->topic_id, &topic)
                               : topics->find(topics->ctx, from->name, &topic);
    if (!error && !known)
        error = version >= 10 ? KAFKA_UNKNOWN_TOPIC_ID : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    for (size_t p = 0; p < from->partitions.count; p++) {
        const struct kafka_offset_commit_request_partition *f = &from->partitions.at[p];
        to->partitions.at[p].error_code =
            (int16_t)(error ? error
                            : commit_partition(c, &topic, f->partition_index, f->committed_offset,
                                               f->committed_leader_epoch, f->committed_metadata));
    }
}

void offsets_commit(struct groups *g, const struct kafka_offset_commit_request *r, int16_t version,
                    groups_done done, void *ctx)
{
    struct reply *reply = reply_new(kafka_offset_commit_response_table(), done, ctx);
    if (!reply || !make_commit_answer(reply, r)) {
        done(ctx, NULL);
        if (reply)
            reply_drop(reply);
        return;
    }
    struct kafka_offset_commit_response *body = reply->body;
    reply->failed = commit_failed;
    groups_lock(g);
    struct committing c = {.g = g,
                           .group = r->group_id,
                           .kind = CHANGE_COMMIT,
                           .now_ms = group_now_ms(g),
                           .expire_ms = -1};
    if (r->retention_time_ms >= 0)
        c.expire_ms = c.now_ms + r->retention_time_ms;
    int error = check_committer(&c, r->member_id, r->group_instance_id,
                                r->generation_id_or_member_epoch, version);
    for (size_t i = 0; i < r->topics.count; i++)
        commit_topic(&c, error, version, &r->topics.at[i], &body->topics.at[i]);
    reply_give(g, reply);
    groups_unlock(g);
}

/* ---- of transactions ---- */

static void pending_failed(void *body)
{
    struct kafka_txn_offset_commit_response *b = body;
    for (size_t i = 0; i < b->topics.count; i++)
        for (size_t p = 0; p < b->topics.at[i].partitions.count; p++)
            if (!b->topics.at[i].partitions.at[p].error_code)
                b->topics.at[i].partitions.at[p].error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static bool make_pending_answer(struct reply *r,
                                const struct kafka_txn_offset_commit_request *request)
{
    struct kafka_txn_offset_commit_response *body = r->body;
    if (!kafka_array(&r->arena, &body->topics, request->topics.count))
        return false;
    for (size_t i = 0; i < request->topics.count; i++) {
        body->topics.at[i].name = kafka_copy(&r->arena, request->topics.at[i].name);
        size_t count = request->topics.at[i].partitions.count;
        if (!body->topics.at[i].name.data ||
            !kafka_array(&r->arena, &body->topics.at[i].partitions, count))
            return false;
        for (size_t p = 0; p < count; p++)
            body->topics.at[i].partitions.at[p].partition_index =
                request->topics.at[i].partitions.at[p].partition_index;
    }
    return true;
}

/* From version 3 on the caller says who in the group it is. */
static int check_transactional(struct committing *c,
                               const struct kafka_txn_offset_commit_request *r, int16_t version)
{
    if (r->group_id.len == 0)
        return KAFKA_INVALID_GROUP_ID;
    int error = check_committer(c, r->member_id, r->group_instance_id, r->generation_id, version);
    /* A producer knows STALE_MEMBER_EPOCH only as this. */
    return error == KAFKA_STALE_MEMBER_EPOCH ? KAFKA_ILLEGAL_GENERATION : error;
}

static void commit_pending_topics(const struct committing *c, int error,
                                  const struct kafka_txn_offset_commit_request *r,
                                  struct kafka_txn_offset_commit_response *body)
{
    for (size_t i = 0; i < r->topics.count; i++) {
        struct group_topic topic = {0};
        bool known = c->g->topics.find(c->g->topics.ctx, r->topics.at[i].name, &topic);
        for (size_t p = 0; p < r->topics.at[i].partitions.count; p++) {
            const struct kafka_txn_offset_commit_request_partition *f =
                &r->topics.at[i].partitions.at[p];
            int e = error ? error : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
            if (!error && known)
                e = commit_partition(c, &topic, f->partition_index, f->committed_offset,
                                     f->committed_leader_epoch, f->committed_metadata);
            body->topics.at[i].partitions.at[p].error_code = (int16_t)e;
        }
    }
}

void offsets_commit_pending(struct groups *g, const struct kafka_txn_offset_commit_request *r,
                            int16_t version, groups_done done, void *ctx)
{
    struct reply *reply = reply_new(kafka_txn_offset_commit_response_table(), done, ctx);
    if (!reply || !make_pending_answer(reply, r)) {
        done(ctx, NULL);
        if (reply)
            reply_drop(reply);
        return;
    }
    reply->failed = pending_failed;
    groups_lock(g);
    struct committing c = {.g = g,
                           .group = r->group_id,
                           .kind = CHANGE_PENDING,
                           .now_ms = group_now_ms(g),
                           .expire_ms = -1};
    const struct groups_settings *s = &g->settings;
    int error = s->may_add ? s->may_add(s->may_add_ctx, r, version) : KAFKA_NONE;
    if (!error)
        error = check_transactional(&c, r, version);
    struct round *round = group_log_round(g);
    if (round) {
        round->transactional = true;
        round->producer_id = r->producer_id;
        round->producer_epoch = r->producer_epoch;
    }
    commit_pending_topics(&c, error, r, reply->body);
    reply_give(g, reply);
    groups_unlock(g);
}
