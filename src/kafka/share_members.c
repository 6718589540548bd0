/*
 * Members of share groups: joining, heartbeats, epochs, what they are assigned.
 *
 * The group's epoch moves whenever its members, what they subscribe to, or the partitions of those
 * topics change; a member learns its assignment with the heartbeat that brings it to that epoch. A
 * member that is silent for its session's time is noticed by the next request about its group: until
 * then nothing depends on it, as records have locks of their own.
 */
#include "kafka/share_impl.h"

#include <stdlib.h>

#define EPOCH_LEAVE (-1)
#define ASSIGNOR "simple"

void share_member_free(struct share_member *m)
{
    for (size_t i = 0; i < m->topic_count; i++)
        free((void *)m->topics[i].data);
    free(m->topics);
    free((void *)m->id.data);
    free((void *)m->client_id.data);
    free((void *)m->host.data);
    free((void *)m->rack.data);
    free(m);
}

/* ---- with shares.lock ---- */

static struct share_member **member_place(struct share_group *g, beck_bytes id)
{
    struct share_member **at = &g->members;
    while (*at && !bytes_equal((*at)->id, id))
        at = &(*at)->next;
    return at;
}

static void remove_member(struct share_group *g, struct share_member **at)
{
    struct share_member *m = *at;
    *at = m->next;
    g->member_count--;
    g->changed = true;
    share_member_free(m);
}

static struct share_member *add_member(struct share_group *g, beck_bytes id,
                                       const struct share_client *client)
{
    struct share_member *m = calloc(1, sizeof *m), **at = &g->members;
    if (!m)
        return NULL;
    m->id = share_copy(id);
    m->client_id = share_copy(client->id.data ? client->id : beck_str(""));
    m->host = share_copy(client->host.data ? client->host : beck_str(""));
    if (!m->id.data || !m->client_id.data || !m->host.data) {
        share_member_free(m);
        return NULL;
    }
    while (*at)
        at = &(*at)->next;
    *at = m;
    g->member_count++;
    g->changed = true;
    return m;
}

static int64_t now_ns(const struct shares *s)
{
    return clock_mono_ns(s->k->engine->env.clock);
}

void share_group_expire(struct shares *s, struct share_group *g)
{
    int64_t now = now_ns(s);
    for (struct share_member **at = &g->members; *at;) {
        if ((*at)->expires_ns <= now)
            remove_member(g, at);
        else
            at = &(*at)->next;
    }
}

static int by_name(const void *a, const void *b)
{
    const beck_bytes *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* False: no memory, and nothing has changed. */
static bool subscribe(struct share_group *g, struct share_member *m,
                      const struct kafka_strings *names)
{
    beck_bytes *list = calloc(names->count + 1, sizeof *list);
    size_t count = 0;
    bool good = list != NULL;
    for (size_t i = 0; i < names->count && good; i++) {
        list[count] = share_copy(names->at[i]);
        good = list[count].data != NULL;
        count += good;
    }
    if (good && count > 0)
        qsort(list, count, sizeof *list, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (good && kept > 0 && bytes_equal(list[i], list[kept - 1]))
            free((void *)list[i].data);
        else
            list[kept++] = list[i];
    }
    bool same = good && kept == m->topic_count;
    for (size_t i = 0; i < kept && same; i++)
        same = bytes_equal(list[i], m->topics[i]);
    beck_bytes *old = list;
    size_t old_count = kept;
    if (good && !same) {
        old = m->topics;
        old_count = m->topic_count;
        m->topics = list;
        m->topic_count = kept;
        g->changed = true;
    }
    for (size_t i = 0; i < old_count; i++)
        free((void *)old[i].data);
    free(old);
    return good;
}

/* Moves the epoch on if something of it has changed. */
static void bring_up_to_date(struct shares *s, struct share_group *g)
{
    uint64_t generation = topics_generation(s->k), sum = 0;
    if (!g->changed && g->generation == generation)
        return;
    for (const struct share_member *m = g->members; m; m = m->next)
        for (size_t i = 0; i < m->topic_count; i++) {
            const struct topic *t = topics_find(s->k, m->topics[i]);
            if (t)
                sum += bytes_hash(t->id, TOPIC_ID, topic_partitions(t));
        }
    if (g->changed || sum != g->sum)
        g->epoch = g->epoch == INT32_MAX ? 1 : g->epoch + 1;
    g->changed = false;
    g->generation = generation;
    g->sum = sum;
}

/* ---- heartbeats ---- */

typedef struct kafka_share_group_heartbeat_request heartbeat_request;
typedef struct kafka_share_group_heartbeat_response heartbeat_response;

static void refuse(heartbeat_response *out, int code, const char *text)
{
    out->error_code = (int16_t)code;
    out->error_message = text ? beck_str(text) : (beck_bytes){0};
}

static bool is_text(beck_bytes b)
{
    const uint8_t *p = b.data;
    for (size_t i = 0; i < b.len; i++)
        if (p[i] < 0x20 || p[i] == 0x7f)
            return false;
    return true;
}

bool share_group_id_is_good(beck_bytes id)
{
    return id.len > 0 && id.len <= SHARE_GROUP_ID_MAX && is_text(id);
}

static const char *what_is_wrong(const heartbeat_request *r)
{
    if (r->group_id.len == 0)
        return "GroupId can't be empty.";
    if (!share_group_id_is_good(r->group_id))
        return "GroupId is too long, or no text.";
    if (r->member_id.len == 0)
        return "MemberId can't be empty.";
    if (r->member_id.len > SHARE_MEMBER_ID_MAX)
        return "MemberId is too long.";
    if (r->rack_id.data && r->rack_id.len == 0)
        return "RackId can't be empty.";
    if (r->member_epoch < EPOCH_LEAVE)
        return "MemberEpoch is invalid.";
    if (r->member_epoch == 0 && r->subscribed_topic_names.count == 0)
        return "SubscribedTopicNames must be set in first request.";
    if (r->subscribed_topic_names.count > SHARE_SUBSCRIPTIONS_MAX)
        return "SubscribedTopicNames has too many topics.";
    return NULL;
}

/* With shares.lock. The member, its subscription and its session are as the request says; NULL and
 * an error in `out`. */
static struct share_member *take_in(struct shares *s, const heartbeat_request *r,
                                    const struct share_client *client, heartbeat_response *out)
{
    struct share_group *g =
        r->member_epoch == 0 ? share_group_make(s, r->group_id) : share_group_find(s, r->group_id);
    if (!g) {
        refuse(out,
               r->member_epoch == 0 ? KAFKA_COORDINATOR_NOT_AVAILABLE : KAFKA_UNKNOWN_MEMBER_ID,
               NULL);
        return NULL;
    }
    share_group_expire(s, g);
    struct share_member *m = *member_place(g, r->member_id);
    if (!m && r->member_epoch != 0)
        refuse(out, KAFKA_UNKNOWN_MEMBER_ID, "Member is not a member of the group.");
    else if (!m && g->member_count >= SHARE_GROUP_MEMBERS_MAX)
        refuse(out, KAFKA_GROUP_MAX_SIZE_REACHED, "The share group has reached its maximum size.");
    else if (m && r->member_epoch > 0 && r->member_epoch != m->epoch &&
             r->member_epoch != m->previous_epoch)
        refuse(out, KAFKA_FENCED_MEMBER_EPOCH, "The share group member has another epoch.");
    else if (!m && !(m = add_member(g, r->member_id, client)))
        refuse(out, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
    if (!out->error_code && !r->subscribed_topic_names.is_null &&
        !subscribe(g, m, &r->subscribed_topic_names))
        refuse(out, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
    if (out->error_code) {
        share_group_tidy(s, g);
        return NULL;
    }
    if (r->rack_id.data && !bytes_equal(r->rack_id, m->rack)) {
        beck_bytes rack = share_copy(r->rack_id);
        free((void *)m->rack.data);
        m->rack = rack;
    }
    int64_t session_ms = configs_number(s->k, CONFIG_GROUP, g->id, "share.session.timeout.ms");
    m->expires_ns = now_ns(s) + session_ms * 1000000;
    return m;
}

/* Topics of a member that the group has no queue of yet, with shares.lock; how many. */
static size_t missing_topics(struct shares *s, const struct share_group *g,
                             const struct share_member *m, struct topic **out)
{
    size_t count = 0;
    for (size_t i = 0; i < m->topic_count; i++) {
        struct topic *t = topics_find(s->k, m->topics[i]);
        if (!t || t->internal || topic_is_gone(t))
            continue;
        struct share_queue *sq = share_queue_of(g, t);
        if (!sq)
            out[count++] = t;
        share_queue_release(sq);
    }
    return count;
}

/* What all members of a group get of a topic: everything. Fills the lists in; false: no memory. With
 * shares.lock. */
static size_t assigned_topics(struct shares *s, const struct share_group *g,
                              const struct share_member *m, struct topic **out)
{
    size_t count = 0;
    for (size_t i = 0; i < m->topic_count; i++) {
        struct topic *t = topics_find(s->k, m->topics[i]);
        struct share_queue *sq = t ? share_queue_of(g, t) : NULL;
        if (sq)
            out[count++] = t;
        share_queue_release(sq);
    }
    return count;
}

static bool all_partitions(struct kafka_arena *a, const struct topic *t, struct kafka_int32s *out)
{
    uint32_t count = topic_partitions(t);
    if (!kafka_array(a, out, count))
        return false;
    for (uint32_t i = 0; i < count; i++)
        out->at[i] = (int32_t)i;
    return true;
}

static bool put_assignment(struct shares *s, const struct share_group *g,
                           const struct share_member *m, struct kafka_arena *a,
                           heartbeat_response *out)
{
    struct topic **topics = kafka_alloc_many(a, m->topic_count, sizeof(struct topic *));
    out->assignment = kafka_alloc(a, sizeof *out->assignment);
    if (!topics || !out->assignment)
        return false;
    size_t count = assigned_topics(s, g, m, topics);
    if (!kafka_array(a, &out->assignment->topic_partitions, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        memcpy(out->assignment->topic_partitions.at[i].topic_id, topics[i]->id, TOPIC_ID);
        if (!all_partitions(a, topics[i], &out->assignment->topic_partitions.at[i].partitions))
            return false;
    }
    return true;
}

static void leave(struct shares *s, const heartbeat_request *r, heartbeat_response *out)
{
    mutex_lock(&s->lock);
    struct share_group *g = share_group_find(s, r->group_id);
    struct share_member **at = g ? member_place(g, r->member_id) : NULL;
    bool found = at && *at;
    if (found) {
        remove_member(g, at);
        share_group_tidy(s, g);
    }
    mutex_unlock(&s->lock);
    if (found)
        share_session_end_of(s, r->group_id, r->member_id);
    else
        refuse(out, KAFKA_UNKNOWN_MEMBER_ID, "Member is not a member of the group.");
    out->member_epoch = EPOCH_LEAVE;
}

/* The queues of topics that nobody of the group subscribed to before. A topic of which the queue
 * cannot be made now is not assigned; the next heartbeat tries again. */
static void make_queues(struct shares *s, beck_bytes group, struct topic *const *topics,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        beck_error why = {0};
        struct share_queue *sq = NULL;
        if (share_queue_make(s, group, topics[i], &sq, &why))
            env_report(&s->k->engine->env, why.code,
                       "a share group cannot have the queue for topic %s: %s", topics[i]->bus->name,
                       why.text);
        share_queue_release(sq);
    }
}

/* With shares.lock. */
static void answer(struct shares *s, const heartbeat_request *r, struct kafka_arena *a,
                   heartbeat_response *out)
{
    struct share_group *g = share_group_find(s, r->group_id);
    struct share_member *m = g ? *member_place(g, r->member_id) : NULL;
    if (!m) { /* it left meanwhile */
        refuse(out, KAFKA_UNKNOWN_MEMBER_ID, "Member is not a member of the group.");
        return;
    }
    bring_up_to_date(s, g);
    bool full = r->member_epoch == 0 || !r->subscribed_topic_names.is_null;
    bool moved = m->epoch != g->epoch;
    if (moved) {
        m->previous_epoch = m->epoch;
        m->epoch = g->epoch;
    }
    out->member_epoch = m->epoch;
    out->heartbeat_interval_ms =
        (int32_t)configs_number(s->k, CONFIG_GROUP, g->id, "share.heartbeat.interval.ms");
    /* An answer that got lost is asked for again with the epoch before. */
    bool again = r->member_epoch != m->epoch;
    if ((full || moved || again) && !put_assignment(s, g, m, a, out))
        refuse(out, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
}

void share_heartbeat(struct kafka *k, const heartbeat_request *request,
                     const struct share_client *client, struct kafka_arena *arena,
                     heartbeat_response *out)
{
    struct shares *s = k->shares;
    const char *wrong = what_is_wrong(request);
    out->member_id = request->member_id;
    if (wrong) {
        refuse(out, KAFKA_INVALID_REQUEST, wrong);
        return;
    }
    if (request->member_epoch == EPOCH_LEAVE) {
        leave(s, request, out);
        return;
    }
    if (request->member_epoch == 0 && !share_exists(k, request->group_id) &&
        groups_has(k->groups, request->group_id)) {
        refuse(out, KAFKA_GROUP_ID_NOT_FOUND, "The group is not a share group.");
        return;
    }
    struct topic **missing = NULL;
    size_t count = 0;
    mutex_lock(&s->lock);
    const struct share_member *m = take_in(s, request, client, out);
    if (m && !(missing = kafka_alloc_many(arena, m->topic_count, sizeof(struct topic *))))
        refuse(out, KAFKA_COORDINATOR_NOT_AVAILABLE, NULL);
    else if (m)
        count = missing_topics(s, share_group_find(s, request->group_id), m, missing);
    mutex_unlock(&s->lock);
    if (out->error_code)
        return;
    make_queues(s, request->group_id, missing, count);
    mutex_lock(&s->lock);
    answer(s, request, arena, out);
    mutex_unlock(&s->lock);
}

/* ---- describing ---- */

static bool describe_member(struct shares *s, const struct share_group *g,
                            const struct share_member *m, struct kafka_arena *a,
                            struct kafka_share_group_describe_response_member *out)
{
    kafka_share_group_describe_response_member_init(out);
    out->member_id = kafka_copy(a, m->id);
    out->client_id = kafka_copy(a, m->client_id);
    out->client_host = kafka_copy(a, m->host);
    out->rack_id = m->rack.data ? kafka_copy(a, m->rack) : (beck_bytes){0};
    out->member_epoch = m->epoch;
    struct topic **topics = kafka_alloc_many(a, m->topic_count, sizeof(struct topic *));
    if (!topics || !kafka_array(a, &out->subscribed_topic_names, m->topic_count))
        return false;
    for (size_t i = 0; i < m->topic_count; i++)
        out->subscribed_topic_names.at[i] = kafka_copy(a, m->topics[i]);
    size_t count = assigned_topics(s, g, m, topics);
    if (!kafka_array(a, &out->assignment.topic_partitions, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        memcpy(out->assignment.topic_partitions.at[i].topic_id, topics[i]->id, TOPIC_ID);
        out->assignment.topic_partitions.at[i].topic_name = topics[i]->name;
        if (!all_partitions(a, topics[i], &out->assignment.topic_partitions.at[i].partitions))
            return false;
    }
    return true;
}

bool share_describe(struct kafka *k, beck_bytes group, struct kafka_arena *arena,
                    struct kafka_share_group_describe_response_group *out)
{
    struct shares *s = k->shares;
    bool good = true;
    mutex_lock(&s->lock);
    struct share_group *g = share_group_find(s, group);
    out->group_id = group;
    if (g) {
        share_group_expire(s, g);
        bring_up_to_date(s, g);
        out->group_state = beck_str(g->member_count > 0 ? "Stable" : "Empty");
        out->group_epoch = out->assignment_epoch = g->epoch;
        out->assignor_name = beck_str(ASSIGNOR);
        good = kafka_array(arena, &out->members, g->member_count);
        size_t i = 0;
        for (const struct share_member *m = g->members; m && good; m = m->next)
            good = describe_member(s, g, m, arena, &out->members.at[i++]);
        share_group_tidy(s, g);
    } else {
        out->error_code = KAFKA_GROUP_ID_NOT_FOUND;
        out->error_message = beck_str("There is no such share group.");
    }
    mutex_unlock(&s->lock);
    return good;
}

bool share_list(struct kafka *k, const struct kafka_list_groups_request *request,
                struct kafka_arena *arena, struct kafka_list_groups_response *out)
{
    struct shares *s = k->shares;
    if (!groups_wanted(&request->types_filter, "share"))
        return true;
    mutex_lock(&s->lock);
    size_t n = out->groups.count;
    struct kafka_list_groups_response_group *all =
        kafka_alloc_many(arena, n + s->groups.count, sizeof *all);
    bool good = all != NULL;
    if (good && n > 0)
        memcpy(all, out->groups.at, n * sizeof *all);
    for (struct lookup_node *node = NULL; good && (node = lookup_walk(&s->groups, node));) {
        struct share_group *g = lookup_of(node, struct share_group, node);
        share_group_expire(s, g);
        const char *state = g->members ? "Stable" : "Empty";
        if ((!g->members && !g->queues) || !groups_wanted(&request->states_filter, state))
            continue;
        kafka_list_groups_response_group_init(&all[n]);
        all[n].group_id = kafka_copy(arena, g->id);
        all[n].protocol_type = all[n].group_type = beck_str("share");
        all[n].group_state = beck_str(state);
        good = all[n++].group_id.data != NULL;
    }
    mutex_unlock(&s->lock);
    if (good) {
        out->groups.at = all;
        out->groups.count = n;
    }
    return good;
}
