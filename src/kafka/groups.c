/*
 * The coordinator itself: groups, members, time, answers. See groups.h and group_impl.h.
 */
#include "kafka/group_log.h"
#include "kafka/offsets_impl.h"

#include "base/error.h"
#include "base/uuid.h"
#include "log/committer.h"

#include <assert.h>
#include <stdlib.h>

#define MEMBER_DEADLINES 2
#define GROUP_DEADLINES 2
#define SETTING(s, field, value) (s)->field = (s)->field ? (s)->field : (value)

/* ---- time ---- */

int64_t group_now_ns(struct groups *g)
{
    return clock_mono_ns(g->clock);
}

int64_t group_now_ms(struct groups *g)
{
    return clock_wall_ms(g->clock);
}

/* With timers.lock: groups.lock comes before it. */
static void timer_due(struct timer *t)
{
    struct groups *g = (struct groups *)(void *)((char *)t - offsetof(struct groups, timer));
    pool_push(&g->pool, &g->run);
}

/* The deadlines' clock need not be that of timers. */
static void arm(struct groups *g)
{
    int64_t first = deadlines_first(&g->deadlines);
    if (g->closing || first >= g->armed_at_ns)
        return;
    if (g->armed_at_ns != INT64_MAX && !timers_cancel(g->timers, &g->timer))
        return; /* it is due: `run` is on its way */
    int64_t left = first - group_now_ns(g);
    g->armed_at_ns = first;
    timers_set(g->timers, &g->timer, clock_mono_ns(clock_system()) + (left > 0 ? left : 0));
}

/* In slices: others get the lock between them. */
static void sweep(struct groups *g)
{
    for (bool more = true; more;) {
        groups_lock(g);
        more = offsets_sweep(g) && !g->closing;
        groups_unlock(g);
    }
}

void groups_run(struct groups *g)
{
    groups_lock(g);
    int64_t now = group_now_ns(g);
    for (struct deadline *d; (d = deadlines_take(&g->deadlines, now));)
        d->due(d);
    groups_unlock(g);
    sweep(g);
}

static void run(struct job *job)
{
    struct groups *g = (struct groups *)(void *)((char *)job - offsetof(struct groups, run));
    mutex_lock(&g->lock);
    g->armed_at_ns = INT64_MAX;
    mutex_unlock(&g->lock);
    groups_run(g);
}

static void look(struct job *job)
{
    struct groups *g = (struct groups *)(void *)((char *)job - offsetof(struct groups, look));
    atomic_store(&g->looks, false);
    groups_lock(g);
    offsets_begin_sweep(g, false);
    groups_unlock(g);
    sweep(g);
}

void groups_topics_changed(struct groups *g)
{
    if (!atomic_exchange(&g->looks, true))
        pool_push(&g->pool, &g->look);
}

static void expiry_due(struct deadline *d)
{
    struct groups *g = (struct groups *)(void *)((char *)d - offsetof(struct groups, expiry));
    offsets_begin_sweep(g, true);
    deadline_set(&g->deadlines, d, group_now_ns(g) + g->settings.expiry_check_ms * 1000000);
}

/* ---- operations and answers ---- */

void groups_lock(struct groups *g)
{
    mutex_lock(&g->lock);
}

void groups_unlock(struct groups *g)
{
    struct reply *unable = g->unable;
    g->unable = NULL;
    arm(g);
    group_log_unlock(g);
    for (struct reply *next; unable; unable = next) {
        next = unable->next;
        reply_run(unable, true);
    }
}

struct reply *reply_new(const struct kafka_table *table, groups_done done, void *ctx)
{
    struct reply *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->done = done;
    r->ctx = ctx;
    kafka_arena_init(&r->arena, REPLY_BYTES_MAX);
    r->body = kafka_alloc(&r->arena, table->size);
    if (!r->body) {
        free(r);
        return NULL;
    }
    kafka_init(table, r->body);
    return r;
}

void reply_drop(struct reply *r)
{
    kafka_arena_release(&r->arena);
    free(r);
}

void reply_give(struct groups *g, struct reply *r)
{
    struct round *round = group_log_round(g);
    r->next = NULL;
    if (!round) {
        r->next = g->unable;
        g->unable = r;
        return;
    }
    if (round->replies)
        round->last_reply->next = r;
    else
        round->replies = r;
    round->last_reply = r;
}

void reply_run(struct reply *r, bool failed)
{
    if (failed && r->failed)
        r->failed(r->body);
    else if (failed && *r->error == KAFKA_NONE)
        *r->error = KAFKA_COORDINATOR_NOT_AVAILABLE;
    r->done(r->ctx, r->body);
    reply_drop(r);
}

/* ---- texts ---- */

beck_bytes group_copy(beck_bytes what)
{
    if (!what.data)
        return (beck_bytes){0};
    void *copy = malloc(what.len ? what.len : 1);
    if (copy && what.len)
        memcpy(copy, what.data, what.len);
    return bytes_of(copy, copy ? what.len : 0);
}

void group_text_free(beck_bytes *text)
{
    free((void *)(uintptr_t)text->data);
    *text = (beck_bytes){0};
}

bool group_text_set(beck_bytes *text, beck_bytes what)
{
    beck_bytes copy = group_copy(what);
    if (what.data && !copy.data)
        return false;
    group_text_free(text);
    *text = copy;
    return true;
}

/* ---- members ---- */

beck_bytes member_make_id(struct groups *g, beck_bytes prefix)
{
    uint8_t id[16];
    beck_bytes out =
        bytes_of(malloc(prefix.len + 1 + UUID_TEXT_LEN + 1), prefix.len + 1 + UUID_TEXT_LEN);
    char *text = (char *)(uintptr_t)out.data;
    if (!text)
        return (beck_bytes){0};
    for (int i = 0; i < 16; i += 8) {
        uint64_t random = rng_next(&g->rng);
        memcpy(id + i, &random, 8);
    }
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    if (prefix.len)
        memcpy(text, prefix.data, prefix.len);
    text[prefix.len] = '-';
    uuid_text(id, text + prefix.len + 1);
    return out;
}

struct member *member_new(struct group *group, beck_bytes id, beck_bytes instance_id,
                          const struct group_client *client)
{
    struct member *m = calloc(1, sizeof *m);
    if (!m || deadlines_promise(&group->all->deadlines, MEMBER_DEADLINES)) {
        free(m);
        return NULL;
    }
    m->group = group;
    m->id = group_copy(id);
    m->instance_id = group_copy(instance_id);
    m->client_id = group_copy(client->id.data ? client->id : beck_str(""));
    m->client_host = group_copy(client->host.data ? client->host : beck_str(""));
    if (m->id.data && m->client_id.data && m->client_host.data &&
        (m->instance_id.data || !instance_id.data))
        return m;
    member_free(m);
    return NULL;
}

void member_free(struct member *m)
{
    beck_bytes *texts[] = {
        &m->id,   &m->instance_id, &m->client_id,  &m->client_host, &m->assignment,
        &m->rack, &m->assignor,    &m->regex_text, &m->user,        NULL};
    assert(!m->join && !m->sync);
    deadline_clear(&m->group->all->deadlines, &m->session);
    deadline_clear(&m->group->all->deadlines, &m->revocation);
    deadlines_give_back(&m->group->all->deadlines, MEMBER_DEADLINES);
    for (beck_bytes **text = texts; *text; text++)
        group_text_free(*text);
    for (size_t i = 0; i < m->topic_count; i++)
        group_text_free(&m->topics[i]);
    free(m->topics);
    free(m->protocols);
    partition_set_release(&m->assigned);
    partition_set_release(&m->revoking);
    partition_set_release(&m->target);
    free(m);
}

struct member *member_find(const struct group *group, beck_bytes id)
{
    struct lookup_node *n = lookup_first(&group->members, lookup_hash(&group->members, id));
    while (n && !bytes_equal(lookup_of(n, struct member, node)->id, id))
        n = lookup_again(n);
    return n ? lookup_of(n, struct member, node) : NULL;
}

struct member *member_find_static(const struct group *group, beck_bytes instance_id)
{
    struct lookup_node *n =
        instance_id.data ? lookup_first(&group->statics, lookup_hash(&group->statics, instance_id))
                         : NULL;
    while (n && !bytes_equal(lookup_of(n, struct member, instance_node)->instance_id, instance_id))
        n = lookup_again(n);
    return n ? lookup_of(n, struct member, instance_node) : NULL;
}

bool member_add(struct member *m)
{
    struct group *group = m->group;
    if (lookup_reserve(&group->members) || lookup_reserve(&group->statics))
        return false;
    lookup_add(&group->members, &m->node, lookup_hash(&group->members, m->id));
    if (m->pending) {
        group->pending_count++;
        return true;
    }
    if (m->instance_id.data)
        lookup_add(&group->statics, &m->instance_node,
                   lookup_hash(&group->statics, m->instance_id));
    m->previous = group->last;
    m->next = NULL;
    *(group->last ? &group->last->next : &group->first) = m;
    group->last = m;
    group->count++;
    return true;
}

void member_remove(struct member *m)
{
    struct group *group = m->group;
    lookup_remove(&group->members, &m->node);
    if (m->pending) {
        group->pending_count--;
        return;
    }
    if (m->instance_id.data)
        lookup_remove(&group->statics, &m->instance_node);
    *(m->previous ? &m->previous->next : &group->first) = m->next;
    *(m->next ? &m->next->previous : &group->last) = m->previous;
    group->count--;
    if (group->leader == m)
        group->leader = NULL;
}

/* ---- groups ---- */

struct group *group_find(const struct groups *g, beck_bytes id)
{
    struct lookup_node *n = lookup_first(&g->by_id, lookup_hash(&g->by_id, id));
    while (n && !bytes_equal(lookup_of(n, struct group, node)->id, id))
        n = lookup_again(n);
    return n ? lookup_of(n, struct group, node) : NULL;
}

struct group *group_new(struct groups *g, beck_bytes id, enum group_type type)
{
    struct group *group = g->by_id.count < GROUPS_MAX ? calloc(1, sizeof *group) : NULL;
    if (!group)
        return NULL;
    group->id = group_copy(id.data ? id : beck_str(""));
    if (!group->id.data || lookup_reserve(&g->by_id) ||
        deadlines_promise(&g->deadlines, GROUP_DEADLINES)) {
        group_text_free(&group->id);
        free(group);
        return NULL;
    }
    group->all = g;
    group->type = type;
    group->failures = g->failures;
    group->offsets_only = true;
    group->state_since_ms = group_now_ms(g);
    group->join_remaining_ms = -1;
    group->topics_generation = UINT64_MAX;
    lookup_init(&group->members);
    lookup_init(&group->statics);
    lookup_init(&group->offsets);
    lookup_init(&group->owned);
    classic_start(group);
    lookup_add(&g->by_id, &group->node, lookup_hash(&g->by_id, group->id));
    return group;
}

void group_free(struct group *group)
{
    struct groups *g = group->all;
    for (struct lookup_node *n = lookup_walk(&group->members, NULL), *next; n; n = next) {
        struct member *m = lookup_of(n, struct member, node);
        next = lookup_walk(&group->members, n);
        classic_forget_join(m, KAFKA_COORDINATOR_NOT_AVAILABLE);
        classic_forget_sync(m, KAFKA_COORDINATOR_NOT_AVAILABLE);
        member_remove(m);
        member_free(m);
    }
    offsets_free(group);
    group_consumer_free(group);
    deadline_clear(&g->deadlines, &group->joining);
    deadline_clear(&g->deadlines, &group->syncing);
    deadlines_give_back(&g->deadlines, GROUP_DEADLINES);
    lookup_remove(&g->by_id, &group->node);
    lookup_release(&group->members);
    lookup_release(&group->statics);
    lookup_release(&group->offsets);
    lookup_release(&group->owned);
    group_text_free(&group->id);
    group_text_free(&group->protocol_type);
    group_text_free(&group->protocol);
    free(group);
}

bool group_is_empty(const struct group *group)
{
    return group->count == 0 && group->pending_count == 0;
}

bool group_is_void(const struct group *group)
{
    return group_is_empty(group) && group->offsets.count == 0;
}

bool group_is_known(const struct group *group)
{
    return !group_is_empty(group) || !group->offsets_only || group->present > 0 || group->stays;
}

static bool among(const struct kafka_strings *topics, beck_bytes topic)
{
    for (size_t i = 0; i < topics->count; i++)
        if (bytes_equal(topics->at[i], topic))
            return true;
    return false;
}

bool group_subscribes(const struct group *group, beck_bytes topic)
{
    bool found = false;
    for (const struct group_regex *r = group->regexes; r && !found; r = r->next)
        found = among(&(struct kafka_strings){.at = r->topics, .count = r->topic_count}, topic);
    for (const struct member *m = group->first; m && !found; m = m->next) {
        struct kafka_strings topics = {.at = m->topics, .count = m->topic_count};
        struct kafka_arena arena;
        kafka_arena_init(&arena, REPLY_BYTES_MAX);
        if (group->type == GROUP_CLASSIC)
            classic_topics(m, group->protocol, &arena, &topics);
        found = among(&topics, topic);
        kafka_arena_release(&arena);
    }
    return found;
}

bool groups_has(struct groups *g, beck_bytes id)
{
    mutex_lock(&g->lock);
    struct group *group = group_find(g, id);
    bool has = group && !(group->type == GROUP_CLASSIC && group_is_void(group));
    mutex_unlock(&g->lock);
    return has;
}

/* ---- opening and closing ---- */

static void set_defaults(struct groups_settings *s)
{
    SETTING(s, level, BECK_LEVEL_WRITTEN);
    SETTING(s, session_min_ms, 6000);
    SETTING(s, session_max_ms, 1800000);
    SETTING(s, members_max, 10000);
    SETTING(s, metadata_bytes_max, 4096);
    SETTING(s, retention_ms, 7 * 86400000LL);
    SETTING(s, expiry_check_ms, 600000);
    SETTING(s, consumer_session_ms, 45000);
    SETTING(s, consumer_heartbeat_ms, 5000);
}

beck_status groups_open(beck *engine, struct timers *timers, const struct group_topics *topics,
                        const struct groups_settings *settings, struct groups **out,
                        beck_error *err)
{
    struct groups *g = calloc(1, sizeof *g);
    if (!g)
        return error_set(err, BECK_ENOMEM, "no memory for groups");
    *g = (struct groups){.engine = engine,
                         .timers = timers,
                         .clock = engine->env.clock,
                         .topics = *topics,
                         .settings = *settings,
                         .expiry.due = expiry_due,
                         .armed_at_ns = INT64_MAX,
                         .timer.due = timer_due,
                         .run.run = run,
                         .look.run = look};
    set_defaults(&g->settings);
    /* Syncs run by the clock then, and nobody is told of them. */
    if (engine->env.committer && committer_by_interval(engine->env.committer))
        g->settings.level = BECK_LEVEL_WRITTEN;
    mutex_init(&g->lock);
    lookup_init(&g->by_id);
    lookup_init(&g->transactions);
    rng_seed_system(&g->rng);
    beck_status status = pool_start(&g->pool, 1, err);
    if (status) {
        mutex_release(&g->lock);
        free(g);
        return status;
    }
    status = group_log_open(g, err);
    if (!status && deadlines_promise(&g->deadlines, 1))
        status = error_set(err, BECK_ENOMEM, "no memory for groups");
    if (status) {
        groups_close(g);
        return status;
    }
    groups_lock(g);
    group_load_end(g);
    deadline_set(&g->deadlines, &g->expiry,
                 group_now_ns(g) + g->settings.expiry_check_ms * 1000000);
    groups_unlock(g);
    groups_topics_changed(g); /* some may have gone meanwhile */
    *out = g;
    return BECK_OK;
}

void groups_close(struct groups *g)
{
    if (!g)
        return;
    mutex_lock(&g->lock);
    g->closing = true;
    mutex_unlock(&g->lock);
    timers_cancel(g->timers, &g->timer);
    group_log_wait(g);
    pool_stop(&g->pool);
    groups_lock(g);
    for (struct lookup_node *n = lookup_walk(&g->by_id, NULL), *next; n; n = next) {
        next = lookup_walk(&g->by_id, n);
        group_free(lookup_of(n, struct group, node));
    }
    offsets_free_pending(g);
    groups_unlock(g);
    group_log_close(g);
    lookup_release(&g->by_id);
    lookup_release(&g->transactions);
    deadlines_release(&g->deadlines);
    mutex_release(&g->lock);
    free(g);
}
