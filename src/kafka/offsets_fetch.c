/* Fetching and deleting offsets, and those that time or topics take: see offsets.h. */
#include "kafka/offsets_impl.h"

#include <stdlib.h>

typedef struct kafka_offset_fetch_response_group_topic fetched_topic;
typedef struct kafka_offset_fetch_response_group_topic_partition fetched_partition;

/* ---- fetching ---- */

struct fetching {
    const struct groups *g;
    const struct group *group; /* NULL: there is none */
    struct kafka_arena *arena;
    bool require_stable;
};

/* False: no memory. */
static bool fill(const struct fetching *f, beck_bytes topic, int32_t partition,
                 fetched_partition *out)
{
    const struct offset_entry *e = f->group ? offset_find(f->group, topic, partition) : NULL;
    *out = (fetched_partition){.partition_index = partition,
                               .committed_offset = -1,
                               .committed_leader_epoch = -1,
                               .metadata = beck_str("")};
    if (e && f->require_stable && e->pending > 0) {
        out->error_code = KAFKA_UNSTABLE_OFFSET_COMMIT;
    } else if (e && e->present) {
        out->committed_offset = e->value.offset;
        out->committed_leader_epoch = e->value.leader_epoch;
        out->metadata = kafka_copy(f->arena, e->value.metadata);
    }
    return out->metadata.data != NULL;
}

static bool fetch_topic(const struct fetching *f,
                        const struct kafka_offset_fetch_request_group_topic *from, int16_t version,
                        fetched_topic *to)
{
    struct group_topic topic = {.name = from->name};
    bool known = version < 10 || f->g->topics.find_id(f->g->topics.ctx, from->topic_id, &topic);
    to->name = kafka_copy(f->arena, topic.name);
    memcpy(to->topic_id, from->topic_id, sizeof to->topic_id);
    if (!to->name.data || !kafka_array(f->arena, &to->partitions, from->partition_indexes.count))
        return false;
    for (size_t p = 0; p < from->partition_indexes.count; p++) {
        if (!fill(f, topic.name, from->partition_indexes.at[p], &to->partitions.at[p]))
            return false;
        if (!known)
            to->partitions.at[p].error_code = KAFKA_UNKNOWN_TOPIC_ID;
    }
    return true;
}

static int compare_entries(const void *a, const void *b)
{
    const struct offset_entry *const *x = a, *const *y = b;
    int order = bytes_compare((*x)->topic, (*y)->topic);
    return order ? order
                 : ((*x)->partition > (*y)->partition) - ((*x)->partition < (*y)->partition);
}

/* Those that are there, in order of topic and partition; in the arena. NULL: no memory. */
static const struct offset_entry **list_entries(const struct fetching *f, size_t *count)
{
    const struct lookup *offsets = &f->group->offsets;
    const struct offset_entry **list =
        kafka_alloc_many(f->arena, offsets->count, sizeof(struct offset_entry *));
    *count = 0;
    if (!list)
        return NULL;
    for (struct lookup_node *n = NULL; (n = lookup_walk(offsets, n));) {
        const struct offset_entry *e = lookup_of(n, struct offset_entry, node);
        if (e->present) /* else only a transaction has committed it */
            list[(*count)++] = e;
    }
    qsort(list, *count, sizeof(struct offset_entry *), compare_entries);
    return list;
}

static bool fetch_all(const struct fetching *f, int16_t version,
                      struct kafka_offset_fetch_response_group *out)
{
    size_t count, topics = 0;
    const struct offset_entry **list = list_entries(f, &count);
    if (!list || !kafka_array(f->arena, &out->topics, count))
        return false;
    for (size_t i = 0, end; i < count; i = end) {
        struct group_topic topic = {0};
        fetched_topic *to = &out->topics.at[topics];
        for (end = i; end < count && bytes_equal(list[end]->topic, list[i]->topic);)
            end++;
        if (!f->g->topics.find(f->g->topics.ctx, list[i]->topic, &topic) && version >= 10)
            continue;
        memcpy(to->topic_id, topic.id, sizeof to->topic_id);
        to->name = kafka_copy(f->arena, list[i]->topic);
        if (!to->name.data || !kafka_array(f->arena, &to->partitions, end - i))
            return false;
        for (size_t p = i; p < end; p++)
            if (!fill(f, list[p]->topic, list[p]->partition, &to->partitions.at[p - i]))
                return false;
        topics++;
    }
    out->topics.count = topics;
    return true;
}

static int check_fetcher(const struct group *group,
                         const struct kafka_offset_fetch_request_group *r)
{
    if (!group || group->type != GROUP_CONSUMER || (!r->member_id.data && r->member_epoch < 0))
        return KAFKA_NONE;
    const struct member *m = member_find(group, r->member_id);
    if (!m)
        return KAFKA_UNKNOWN_MEMBER_ID;
    if (m->epoch == r->member_epoch)
        return KAFKA_NONE;
    return m->classic ? KAFKA_ILLEGAL_GENERATION : KAFKA_STALE_MEMBER_EPOCH;
}

beck_status offsets_fetch(struct groups *g, const struct kafka_offset_fetch_request_group *request,
                          int16_t version, bool require_stable, struct kafka_arena *arena,
                          struct kafka_offset_fetch_response_group *out)
{
    bool made = true;
    *out = (struct kafka_offset_fetch_response_group){.group_id =
                                                          kafka_copy(arena, request->group_id)};
    mutex_lock(&g->lock);
    struct fetching f = {.g = g,
                         .group = group_find(g, request->group_id),
                         .arena = arena,
                         .require_stable = require_stable};
    out->error_code = (int16_t)check_fetcher(f.group, request);
    bool all = request->topics.is_null || (!request->topics.at && request->topics.count == 0);
    if (out->error_code == KAFKA_NONE && all)
        made = !f.group || fetch_all(&f, version, out);
    else if (out->error_code == KAFKA_NONE)
        made = kafka_array(arena, &out->topics, request->topics.count);
    for (size_t i = 0; made && !all && !out->error_code && i < request->topics.count; i++)
        made = fetch_topic(&f, &request->topics.at[i], version, &out->topics.at[i]);
    mutex_unlock(&g->lock);
    return made && out->group_id.data ? BECK_OK : BECK_ENOMEM;
}

/* ---- deleting ---- */

static void put_gone(struct group *group, const struct offset_entry *e)
{
    struct kafka_offset_commit_key key = {group->id, e->topic, e->partition};
    group_log_put(group->all, kafka_offset_commit_key_table(), &key, NULL, 0, NULL);
    group_log_change(group->all, CHANGE_REMOVE, group->id, e->topic, e->partition, NULL);
}

static void deletion_failed(void *body)
{
    struct kafka_offset_delete_response *b = body;
    if (!b->error_code)
        b->error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static bool delete_topic(struct group *group, const struct kafka_offset_delete_request_topic *from,
                         struct kafka_arena *arena, struct kafka_offset_delete_response_topic *to)
{
    struct groups *g = group->all;
    struct group_topic topic;
    int error = KAFKA_NONE;
    if (!g->topics.find(g->topics.ctx, from->name, &topic))
        error = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
    else if (group->count > 0 && group_subscribes(group, from->name))
        error = KAFKA_GROUP_SUBSCRIBED_TO_TOPIC;
    to->name = kafka_copy(arena, from->name);
    if (!to->name.data || !kafka_array(arena, &to->partitions, from->partitions.count))
        return false;
    for (size_t p = 0; p < from->partitions.count; p++) {
        int32_t partition = from->partitions.at[p].partition_index;
        const struct offset_entry *e = offset_find(group, from->name, partition);
        to->partitions.at[p].partition_index = partition;
        to->partitions.at[p].error_code = (int16_t)error;
        if (!error && e && e->present)
            put_gone(group, e);
    }
    return true;
}

static int check_deleting(const struct group *group, beck_bytes id)
{
    if (id.len == 0)
        return KAFKA_INVALID_GROUP_ID;
    if (!group)
        return KAFKA_GROUP_ID_NOT_FOUND;
    /* What other protocols subscribe to is not known. */
    if (group->type == GROUP_CLASSIC && group->count > 0 &&
        !bytes_equal_text(group->protocol_type, "consumer"))
        return KAFKA_NON_EMPTY_GROUP;
    return KAFKA_NONE;
}

void offsets_delete(struct groups *g, const struct kafka_offset_delete_request *r, groups_done done,
                    void *ctx)
{
    struct reply *reply = reply_new(kafka_offset_delete_response_table(), done, ctx);
    struct kafka_offset_delete_response none = {.error_code = KAFKA_COORDINATOR_NOT_AVAILABLE};
    if (!reply) {
        done(ctx, &none);
        return;
    }
    struct kafka_offset_delete_response *body = reply->body;
    reply->failed = deletion_failed;
    groups_lock(g);
    struct group *group = group_find(g, r->group_id);
    body->error_code = (int16_t)check_deleting(group, r->group_id);
    if (!body->error_code)
        group->stays = true;
    bool made = body->error_code || kafka_array(&reply->arena, &body->topics, r->topics.count);
    for (size_t i = 0; made && !body->error_code && i < r->topics.count; i++)
        made = delete_topic(group, &r->topics.at[i], &reply->arena, &body->topics.at[i]);
    if (!made) {
        body->topics.count = 0;
        body->error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    reply_give(g, reply);
    groups_unlock(g);
}

/* ---- time and topics ---- */

/* Since when the retention of an offset runs. */
static int64_t kept_since(const struct group *group, const struct offset_entry *e)
{
    bool was_used =
        group->type == GROUP_CLASSIC && group->protocol_type.data && group->state == GROUP_EMPTY;
    return was_used && group->state_since_ms > e->value.commit_ms ? group->state_since_ms
                                                                  : e->value.commit_ms;
}

static bool is_expired(const struct group *group, const struct offset_entry *e, int64_t now_ms)
{
    if (!e->present || e->pending > 0)
        return false;
    if (e->value.expire_ms >= 0)
        return now_ms >= e->value.expire_ms;
    if (group->type == GROUP_CLASSIC && group->count > 0 &&
        (group->state != GROUP_STABLE || !bytes_equal_text(group->protocol_type, "consumer")))
        return false;
    return now_ms - kept_since(group, e) >= group->all->settings.retention_ms;
}

static bool is_gone(const struct groups *g, const struct offset_entry *e)
{
    static const uint8_t none[16];
    struct group_topic topic;
    if (!g->topics.find(g->topics.ctx, e->topic, &topic))
        return true;
    return memcmp(e->value.topic_id, none, 16) != 0 && memcmp(topic.id, e->value.topic_id, 16) != 0;
}

struct slice {
    int64_t now_ms;
    size_t looks, gone; /* that are left */
};

static bool is_over(const struct slice *s)
{
    return s->looks == 0 || s->gone == 0;
}

struct coming {
    const struct offset_entry *e;
    bool found;
};

static void note_commit(void *ctx, const struct offset_change *c)
{
    struct coming *coming = ctx;
    coming->found = coming->found || (c->partition == coming->e->partition &&
                                      bytes_equal(c->topic, coming->e->topic));
}

/* What is being committed anew is not taken for what it was. */
static bool is_being_committed(const struct group *group, const struct offset_entry *e)
{
    struct coming coming = {.e = e};
    group_log_each_commit(group->all, group->id, note_commit, &coming);
    return coming.found;
}

static bool is_due(const struct group *group, const struct offset_entry *e, const struct slice *s)
{
    if (e->present && is_gone(group->all, e))
        return true;
    return group->all->expires && is_expired(group, e, s->now_ms) &&
           !group_subscribes(group, e->topic);
}

static void sweep_bucket(struct group *group, struct slice *s)
{
    for (struct lookup_node *n = group->offsets.buckets[group->sweep_at]; n; n = n->next) {
        const struct offset_entry *e = lookup_of(n, struct offset_entry, node);
        s->looks -= s->looks > 0;
        if (!is_due(group, e, s) || is_being_committed(group, e))
            continue;
        put_gone(group, e);
        s->gone -= s->gone > 0;
    }
}

/* False: the slice is over before the group is. */
static bool sweep_group(struct group *group, struct slice *s)
{
    struct groups *g = group->all;
    if (group->sweep == g->sweep && group->sweep_at == SIZE_MAX)
        return true;
    if (is_over(s))
        return false;
    s->looks--;
    if (g->expires && group_is_void(group)) {
        group_put_gone(group);
        group_free(group);
        return true;
    }
    if (group->sweep != g->sweep) {
        group->sweep = g->sweep;
        group->sweep_at = 0;
        group_put_whole_if_behind(group);
    }
    for (; group->sweep_at < group->offsets.bucket_count; group->sweep_at++) {
        if (is_over(s))
            return false;
        s->looks--;
        sweep_bucket(group, s);
    }
    group->sweep_at = SIZE_MAX;
    return true;
}

void offsets_begin_sweep(struct groups *g, bool expires)
{
    g->expires = expires || (g->sweeps && g->expires);
    g->sweeps = true;
    g->sweep++;
    g->sweep_at = 0;
}

/* Tables that grow meanwhile have some looked at twice, and none passed over. */
bool offsets_sweep(struct groups *g)
{
    struct slice s = {.now_ms = group_now_ms(g), .looks = SLICE_LOOKS, .gone = SLICE_GONE};
    for (; g->sweeps && g->sweep_at < g->by_id.bucket_count; g->sweep_at++) {
        for (struct lookup_node *n = g->by_id.buckets[g->sweep_at], *next; n; n = next) {
            next = n->next;
            if (!sweep_group(lookup_of(n, struct group, node), &s))
                return true;
        }
    }
    g->sweeps = false;
    return false;
}
