/*
 * Share groups and their queues: see share.h.
 *
 * The store has a record of each queue (kind "share", key "<topic>/<group>"): the 16 bytes of the
 * topic's id, a byte (1: the queue has limits of its own), then its name. It is written when the queue is there and bound, so one without
 * record is of nobody and is taken over. A record whose topic or queue is gone is dropped when it is
 * read; one of a queue of which it is not known what it holds stays until that is put right.
 */
#include "kafka/share_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define KIND "share"
#define NAME_MAX_BYTES 240 /* of a queue's name, without what is put behind it */
#define NAMES_TRIED 1000
#define DATA_NAME (TOPIC_ID + 1) /* where the name begins in a record */

beck_bytes share_copy(beck_bytes what)
{
    void *copy = what.data ? malloc(what.len + 1) : NULL;
    if (!copy)
        return (beck_bytes){0};
    memcpy(copy, what.data, what.len);
    return bytes_of(copy, what.len);
}

/* ---- groups: with shares.lock ---- */

struct share_group *share_group_find(struct shares *s, beck_bytes id)
{
    struct lookup_node *n = lookup_first(&s->groups, lookup_hash(&s->groups, id));
    for (; n; n = lookup_again(n)) {
        struct share_group *g = lookup_of(n, struct share_group, node);
        if (bytes_equal(g->id, id))
            return g;
    }
    return NULL;
}

struct share_group *share_group_make(struct shares *s, beck_bytes id)
{
    struct share_group *g = share_group_find(s, id);
    if (g || s->groups.count >= SHARE_GROUPS_MAX)
        return g;
    g = calloc(1, sizeof *g);
    if (g)
        g->id = share_copy(id);
    if (!g || !g->id.data || lookup_reserve(&s->groups)) {
        if (g)
            free((void *)g->id.data);
        free(g);
        return NULL;
    }
    lookup_add(&s->groups, &g->node, lookup_hash(&s->groups, id));
    return g;
}

static void free_group(struct share_group *g)
{
    while (g->members) {
        struct share_member *m = g->members;
        g->members = m->next;
        share_member_free(m);
    }
    while (g->queues) {
        struct share_queue *sq = g->queues;
        g->queues = sq->next;
        share_queue_release(sq);
    }
    free((void *)g->id.data);
    free(g);
}

void share_group_tidy(struct shares *s, struct share_group *g)
{
    if (g->members || g->queues)
        return;
    lookup_remove(&s->groups, &g->node);
    free_group(g);
}

bool share_exists(struct kafka *k, beck_bytes group)
{
    struct shares *s = k->shares;
    mutex_lock(&s->lock);
    const struct share_group *g = share_group_find(s, group);
    bool found = g && (g->members || g->queues);
    mutex_unlock(&s->lock);
    return found;
}

/* ---- queues of groups ---- */

struct share_queue *share_queue_of(const struct share_group *g, const struct topic *t)
{
    struct share_queue *sq = g ? g->queues : NULL;
    while (sq && sq->topic != t)
        sq = sq->next;
    if (sq)
        atomic_fetch_add(&sq->refs, 1);
    return sq;
}

struct share_queue *share_queue_find(struct shares *s, beck_bytes group, const struct topic *t)
{
    mutex_lock(&s->lock);
    struct share_queue *sq = share_queue_of(share_group_find(s, group), t);
    mutex_unlock(&s->lock);
    return sq;
}

void share_queue_release(struct share_queue *sq)
{
    if (sq && atomic_fetch_sub(&sq->refs, 1) == 1 && !share_dead_end(sq))
        share_queue_free(sq);
}

void share_queue_free(struct share_queue *sq)
{
    timers_cancel(&sq->shares->k->timers, &sq->dead_timer);
    queue_release(sq->queue);
    free((void *)sq->group.data);
    free(sq);
}

/* Takes a reference to the queue over, also when it fails. The new one has two: the group's and the
 * caller's. */
static struct share_queue *add_queue(struct shares *s, beck_bytes group, struct topic *t,
                                     struct queue *q, bool own_rules)
{
    struct share_queue *sq = calloc(1, sizeof *sq);
    beck_bytes copy = share_copy(group);
    mutex_lock(&s->lock);
    struct share_group *g = sq && copy.data ? share_group_make(s, group) : NULL;
    if (g) {
        *sq = (struct share_queue){.next = g->queues,
                                   .topic = t,
                                   .queue = q,
                                   .own_rules = own_rules,
                                   .shares = s,
                                   .group = copy};
        share_dead_init(sq);
        atomic_init(&sq->refs, 2);
        g->queues = sq;
        g->changed = true;
    }
    mutex_unlock(&s->lock);
    if (!g) {
        queue_release(q);
        free((void *)copy.data);
        free(sq);
    }
    return g ? sq : NULL;
}

static int64_t setting(struct shares *s, beck_bytes group, const char *key)
{
    return configs_number(s->k, CONFIG_GROUP, group, key);
}

void share_queue_configure(struct shares *s, beck_bytes group, struct share_queue *sq)
{
    struct queue_rules r;
    share_dead_configure(sq);
    int64_t locks = setting(s, group, "share.partition.max.record.locks");
    atomic_store(&sq->locks_max, locks * (int64_t)topic_partitions(sq->topic));
    int64_t lock_ms = setting(s, group, "share.record.lock.duration.ms");
    int64_t attempts = setting(s, group, "share.delivery.count.limit");
    bool known = atomic_load(&sq->lock_ms) != 0;
    if (known && !sq->own_rules && lock_ms == atomic_load(&sq->lock_ms) &&
        attempts == atomic_load(&sq->attempts_max))
        return;
    queue_get_rules(sq->queue, &r);
    if (!sq->own_rules) {
        r.deadline_ms = lock_ms;
        r.attempts_max = (uint32_t)attempts;
        queue_set_rules(sq->queue, &r);
    }
    atomic_store(&sq->attempts_max, r.attempts_max);
    atomic_store(&sq->lock_ms, r.deadline_ms > 0 ? r.deadline_ms : INT32_MAX);
}

/* ---- the store ---- */

static beck_status store_queue(struct shares *s, beck_bytes group, beck_bytes topic,
                               const struct topic *t, const char *name, bool own_rules,
                               beck_error *err)
{
    uint8_t key[STORE_KEY_MAX], data[DATA_NAME + NAME_MAX_BYTES + 16];
    struct store_record r = {.kind = KIND};
    if (topic.len + 1 + group.len > sizeof key)
        return error_set(err, BECK_EINVAL, "the name of a share group is too long");
    memcpy(key, topic.data, topic.len);
    key[topic.len] = '/';
    memcpy(key + topic.len + 1, group.data, group.len);
    r.key = bytes_of(key, topic.len + 1 + group.len);
    if (name) {
        memcpy(data, t->id, TOPIC_ID);
        data[TOPIC_ID] = own_rules;
        memcpy(data + DATA_NAME, name, strlen(name));
        r.data = bytes_of(data, DATA_NAME + strlen(name));
    }
    return store_put(s->k->store, &r, err);
}

/* ---- making ---- */

static bool is_good(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static void compose_name(beck_bytes group, beck_bytes topic, int number, char *out, size_t size)
{
    int n = snprintf(out, size, "share.%.*s.%.*s", (int)(group.len < 100 ? group.len : 100),
                     (const char *)group.data, (int)topic.len, (const char *)topic.data);
    size_t len = n < NAME_MAX_BYTES ? strlen(out) : NAME_MAX_BYTES;
    for (size_t i = 0; i < len; i++)
        if (!is_good(out[i]))
            out[i] = '_';
    out[len] = 0;
    if (number > 1)
        snprintf(out + len, size - len, ".%d", number);
}

static bool is_taken(struct shares *s, const char *name)
{
    bool taken = false;
    mutex_lock(&s->lock);
    for (struct lookup_node *n = NULL; !taken && (n = lookup_walk(&s->groups, n));)
        for (struct share_queue *sq = lookup_of(n, struct share_group, node)->queues; sq && !taken;
             sq = sq->next)
            taken = strcmp(queue_name(sq->queue), name) == 0;
    mutex_unlock(&s->lock);
    return taken;
}

/* "PT1H30M", "P2DT0.5S" in ms; -1: it is none. */
static int64_t read_duration(const char *text)
{
    double ms = 0;
    bool time = false;
    if (*text++ != 'P' || !*text)
        return -1;
    while (*text) {
        char *end;
        if (*text == 'T' && !time) {
            time = true;
            text++;
            continue;
        }
        double n = strtod(text, &end);
        if (end == text || n < 0 || n > 1e12)
            return -1;
        double unit = !time && *end == 'D'  ? 86400000
                      : time && *end == 'H' ? 3600000
                      : time && *end == 'M' ? 60000
                      : time && *end == 'S' ? 1000
                                            : 0;
        if (unit == 0)
            return -1;
        ms += n * unit;
        text = end + 1;
    }
    return ms < 1e15 ? (int64_t)ms : INT64_C(1000000000000000);
}

static beck_from first_position(struct shares *s, beck_bytes group)
{
    char text[64];
    static const char by_duration[] = "by_duration:";
    configs_text(s->k, CONFIG_GROUP, group, "share.auto.offset.reset", text, sizeof text);
    if (strcmp(text, "earliest") == 0)
        return (beck_from){.kind = BECK_FROM_EARLIEST};
    if (strncmp(text, by_duration, sizeof by_duration - 1) != 0)
        return (beck_from){.kind = BECK_FROM_NOW};
    int64_t ms = read_duration(text + sizeof by_duration - 1);
    int64_t now_ms = clock_wall_ms(s->k->engine->env.clock);
    if (ms < 0)
        return (beck_from){.kind = BECK_FROM_NOW};
    return (beck_from){.kind = BECK_FROM_TIME, .time_ms = now_ms > ms ? now_ms - ms : 0};
}

/* One of that name which is there is taken only if nobody has it and it is the first choice. */
static beck_status make_queue(struct shares *s, beck_bytes group, struct topic *t,
                              struct queue **out, bool *own_rules, beck_error *err)
{
    beck *b = s->k->engine;
    beck_queue_options options = {.attempts_max =
                                      (uint32_t)setting(s, group, "share.delivery.count.limit"),
                                  .deadline_ms = setting(s, group, "share.record.lock.duration.ms"),
                                  .backoff.kind = BECK_BACKOFF_NONE};
    char name[NAME_MAX_BYTES + 320];
    beck_status status = BECK_EEXIST;
    for (int i = 1; i < NAMES_TRIED && status == BECK_EEXIST; i++) {
        struct queue *known;
        compose_name(group, t->name, i, name, sizeof name);
        handle_get_queue(b, name, &known, NULL);
        bool take = i == 1 && known && !is_taken(s, name);
        if (known)
            queue_release(known);
        if (known && !take)
            continue;
        status = beck_queue_create(b, name, &options, err);
        *own_rules = status == BECK_EEXIST;
        if (take && *own_rules)
            status = BECK_OK;
    }
    beck_binding binding = {.bus = t->bus->name, .pattern = "#", .from = first_position(s, group)};
    if (!status)
        status = beck_queue_bind(b, name, &binding, err);
    return status ? status : handle_get_queue(b, name, out, err);
}

beck_status share_queue_make(struct shares *s, beck_bytes group, struct topic *t,
                             struct share_queue **out, beck_error *err)
{
    struct queue *q = NULL;
    bool own_rules = false;
    mutex_lock(&s->change_lock);
    *out = share_queue_find(s, group, t);
    beck_status status = BECK_OK;
    if (!*out) {
        status = topic_is_gone(t) ? error_set(err, BECK_ENOENT, "the topic has been deleted")
                                  : make_queue(s, group, t, &q, &own_rules, err);
        if (!status)
            status = store_queue(s, group, t->name, t, queue_name(q), own_rules, err);
        if (!status && !(*out = add_queue(s, group, t, queue_retain(q), own_rules)))
            status = error_set(err, BECK_ENOMEM, "no memory for a share group");
        if (q)
            queue_release(q);
    }
    if (*out)
        share_queue_configure(s, group, *out);
    mutex_unlock(&s->change_lock);
    return status;
}

/* Out of its group, whose reference is the caller's then. NULL: it is out already. */
static struct share_queue *take_out(struct shares *s, beck_bytes group,
                                    const struct share_queue *sq)
{
    struct share_queue *taken = NULL;
    mutex_lock(&s->lock);
    struct share_group *g = share_group_find(s, group);
    struct share_queue **at = g ? &g->queues : NULL;
    while (at && *at && *at != sq)
        at = &(*at)->next;
    if (at && *at) {
        taken = *at;
        *at = taken->next;
        g->changed = true;
        share_group_tidy(s, g);
    }
    mutex_unlock(&s->lock);
    return taken;
}

beck_status share_queue_delete(struct shares *s, beck_bytes group, struct share_queue *sq,
                               beck_error *err)
{
    beck_status status = store_queue(s, group, sq->topic->name, NULL, NULL, false, err);
    if (!status)
        status = beck_queue_delete(s->k->engine, queue_name(sq->queue), err);
    if (status && status != BECK_ENOENT)
        return status;
    atomic_store(&sq->gone, true);
    share_queue_release(take_out(s, group, sq));
    return BECK_OK;
}

/* Of any group; with a reference, and a copy of the group's id. */
static struct share_queue *any_of_topic(struct shares *s, const struct topic *t, beck_bytes *group)
{
    struct share_queue *found = NULL;
    mutex_lock(&s->lock);
    for (struct lookup_node *n = NULL; !found && (n = lookup_walk(&s->groups, n));) {
        const struct share_group *g = lookup_of(n, struct share_group, node);
        found = share_queue_of(g, t);
        *group = found ? share_copy(g->id) : (beck_bytes){0};
    }
    mutex_unlock(&s->lock);
    return found;
}

/* A client deletes the topic. */
static void topic_deleting(void *ctx, struct topic *t)
{
    struct shares *s = ctx;
    struct share_queue *sq;
    beck_bytes group = {0};
    beck_status status = BECK_OK;
    mutex_lock(&s->change_lock);
    while (!status && (sq = any_of_topic(s, t, &group))) {
        beck_error why = {0};
        status = group.data ? share_queue_delete(s, group, sq, &why) : BECK_ENOMEM;
        if (status)
            env_report(&s->k->engine->env, status, "a share group cannot let go of topic %s: %s",
                       t->bus->name, why.text);
        share_queue_release(sq);
        free((void *)group.data);
    }
    mutex_unlock(&s->change_lock);
}

/* However a topic was deleted: its groups let go of it. What the store still knows of it is dropped
 * when it is read. With locks of the handle. */
static void topic_changed(void *ctx, struct topic *t, enum topic_change what)
{
    struct shares *s = ctx;
    struct share_queue *all = NULL;
    if (what != TOPIC_DELETED)
        return;
    mutex_lock(&s->lock);
    for (struct lookup_node *n = NULL; (n = lookup_walk(&s->groups, n));) {
        struct share_group *g = lookup_of(n, struct share_group, node);
        for (struct share_queue **at = &g->queues; *at;) {
            struct share_queue *sq = *at;
            if (sq->topic != t) {
                at = &sq->next;
                continue;
            }
            *at = sq->next;
            sq->next = all;
            all = sq;
            g->changed = true;
            atomic_store(&sq->gone, true);
        }
    }
    mutex_unlock(&s->lock);
    while (all) {
        struct share_queue *sq = all;
        all = sq->next;
        share_queue_release(sq);
    }
}

int share_delete(struct kafka *k, beck_bytes group, const char **text)
{
    struct shares *s = k->shares;
    int code = KAFKA_NONE;
    mutex_lock(&s->change_lock);
    for (bool more = true; more && !code;) {
        mutex_lock(&s->lock);
        struct share_group *g = share_group_find(s, group);
        if (g)
            share_group_expire(s, g);
        if (!g)
            *text = "There is no such share group.";
        else if (g->members)
            *text = "The share group has members.";
        code = !g ? KAFKA_GROUP_ID_NOT_FOUND : g->members ? KAFKA_NON_EMPTY_GROUP : KAFKA_NONE;
        struct share_queue *sq = code || !g->queues ? NULL : share_queue_of(g, g->queues->topic);
        more = sq && g->queues->next;
        if (!code && !sq)
            share_group_tidy(s, g);
        mutex_unlock(&s->lock);
        if (!sq)
            break;
        beck_error why = {0};
        if (share_queue_delete(s, group, sq, &why)) {
            code = kafka_error_of(why.code);
            *text = "A queue of the group cannot be deleted.";
        }
        share_queue_release(sq);
    }
    mutex_unlock(&s->change_lock);
    return code;
}

/* ---- opening ---- */

struct loaded {
    beck_bytes key, data; /* owned */
};
struct loading {
    struct loaded *list;
    size_t count, cap;
};

static beck_status load_record(void *ctx, beck_bytes key, beck_bytes data, beck_error *err)
{
    struct loading *l = ctx;
    for (size_t i = 0; i < l->count; i++)
        if (bytes_equal(l->list[i].key, key)) {
            free((void *)l->list[i].key.data);
            free((void *)l->list[i].data.data);
            l->list[i] = l->list[--l->count];
            break;
        }
    if (!data.data)
        return BECK_OK;
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        struct loaded *grown = realloc(l->list, cap * sizeof *grown);
        if (!grown)
            return error_set(err, BECK_ENOMEM, "no memory for share groups");
        l->list = grown;
        l->cap = cap;
    }
    struct loaded r = {share_copy(key), share_copy(data)};
    l->list[l->count++] = r;
    return r.key.data && r.data.data ? BECK_OK
                                     : error_set(err, BECK_ENOMEM, "no memory for share groups");
}

/* The topic or the queue is gone. */
static beck_status drop_record(struct shares *s, beck_bytes topic, beck_bytes group,
                               struct queue *q, bool own_rules, beck_error *err)
{
    beck_status status = store_queue(s, group, topic, NULL, NULL, false, err);
    if (!status && q && !own_rules)
        status = beck_queue_delete(s->k->engine, queue_name(q), err);
    if (q) {
        queue_hold(q, false);
        queue_release(q);
    }
    return status;
}

static beck_status load_queue(struct shares *s, const struct loaded *r, beck_error *err)
{
    const char *slash = memchr(r->key.data, '/', r->key.len);
    const uint8_t *data = r->data.data;
    char name[NAME_MAX_BYTES + 16] = "";
    if (!slash || r->data.len <= DATA_NAME || r->data.len - DATA_NAME >= sizeof name)
        return BECK_OK;
    beck_bytes topic = bytes_of(r->key.data, (size_t)(slash - (const char *)r->key.data));
    beck_bytes group = bytes_of(slash + 1, r->key.len - topic.len - 1);
    memcpy(name, data + DATA_NAME, r->data.len - DATA_NAME);
    bool own_rules = data[TOPIC_ID];
    struct topic *t = topics_find_id(s->k, data);
    struct queue *q;
    beck_status status = handle_get_queue(s->k->engine, name, &q, NULL);
    if (status == BECK_ECORRUPT)
        return BECK_OK;
    if (status || !t)
        return drop_record(s, topic, group, q, own_rules, err);
    struct share_queue *sq = add_queue(s, group, t, q, own_rules);
    if (!sq)
        return error_set(err, BECK_ENOMEM, "no memory for share groups");
    share_queue_configure(s, group, sq);
    if (!atomic_load(&sq->dead_topic))
        queue_hold(q, false);
    share_queue_release(sq);
    return BECK_OK;
}

beck_status shares_open(struct kafka *k, beck_error *err)
{
    struct shares *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, BECK_ENOMEM, "no memory for share groups");
    s->k = k;
    beck_status status = pool_start(&s->undertaker, 1, err);
    if (status) {
        free(s);
        return status;
    }
    k->shares = s;
    mutex_init(&s->change_lock);
    mutex_init(&s->lock);
    lookup_init(&s->groups);
    lookup_init(&s->sessions);
    struct loading l = {0};
    status = store_each(k->store, KIND, load_record, &l, err);
    for (size_t i = 0; i < l.count; i++) {
        if (!status)
            status = load_queue(s, &l.list[i], err);
        free((void *)l.list[i].key.data);
        free((void *)l.list[i].data.data);
    }
    free(l.list);
    s->watch =
        (struct topics_watch){.changed = topic_changed, .deleting = topic_deleting, .ctx = s};
    if (!status)
        topics_watch(k, &s->watch);
    return status;
}

void shares_close(struct kafka *k)
{
    struct shares *s = k->shares;
    if (!s)
        return;
    for (struct lookup_node *n; (n = lookup_walk(&s->sessions, NULL));)
        share_session_end(s, lookup_of(n, struct share_session, node));
    for (struct lookup_node *n; (n = lookup_walk(&s->groups, NULL));) {
        lookup_remove(&s->groups, n);
        free_group(lookup_of(n, struct share_group, node));
    }
    pool_stop(&s->undertaker);
    lookup_release(&s->groups);
    lookup_release(&s->sessions);
    mutex_release(&s->lock);
    mutex_release(&s->change_lock);
    free(s);
    k->shares = NULL;
}
