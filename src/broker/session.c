/* Sessions: who declares, publishes and consumes, in which virtual host, with which permissions. */
#include "broker/topology.h"

#include "broker/listing.h"
#include "broker/permission.h"

#include <stdlib.h>

/* ---- permissions ---- */

static const struct kept *find_permission(const struct broker *b, beck_bytes vhost, beck_bytes user)
{
    struct record r;
    beck_bytes parts[] = {vhost, user};
    record_init(&r, RECORD_PERMISSION, parts, 2);
    const struct kept *k = kept_find(&b->kept, bytes_of(r.subject, r.subject_len));
    record_release(&r);
    return k;
}

/* With topology_lock. */
static beck_status collect_topics(const struct broker *b, beck_bytes vhost, beck_bytes user,
                                  struct topic_rules **out, size_t *count)
{
    size_t all;
    const struct kept **list = kept_list(&b->kept, RECORD_TOPIC_PERMISSION, &all);
    struct topic_rules *rules = calloc(all + 1, sizeof *rules);
    *count = 0;
    for (size_t i = 0; list && rules && i < all; i++)
        if (bytes_equal(kept_text(list[i], "vhost"), vhost) &&
            bytes_equal(kept_text(list[i], "user"), user))
            rules[(*count)++] =
                (struct topic_rules){kept_text(list[i], "exchange"), kept_text(list[i], "write"),
                                     kept_text(list[i], "read")};
    bool done = list && rules;
    free(list);
    *out = rules;
    return done ? BECK_OK : BECK_ENOMEM;
}

/* NULL and 530 or 541. */
static struct permits *look_up_permits(struct broker *b, const struct vhost *v, const char *user,
                                       bool everything, int *code, char *text)
{
    struct permission_rules rules;
    struct topic_rules *topics = NULL;
    struct permits *permits = NULL;
    size_t count = 0;
    *code = 0;
    topology_read(b);
    const struct kept *k = find_permission(b, v->name, beck_str(user));
    if (k)
        rules = (struct permission_rules){kept_text(k, "configure"), kept_text(k, "write"),
                                          kept_text(k, "read")};
    if (!k && !everything)
        *code = broker_refuse(text, REPLY_NOT_ALLOWED,
                              "access to vhost '%.*s' refused for user '%s'", TEXT(v->name), user);
    else if (!collect_topics(b, v->name, beck_str(user), &topics, &count))
        permits = permits_new(beck_str(user), v->name, k ? &rules : NULL, topics, count);
    topology_end_read(b);
    free(topics);
    if (!permits && !*code)
        *code = broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for permissions");
    return permits;
}

bool broker_user_may_enter(struct broker *b, beck_bytes vhost, beck_bytes user, bool everything)
{
    topology_read(b);
    bool may = topology_vhost(b, vhost) && (everything || find_permission(b, vhost, user));
    topology_end_read(b);
    return may;
}

static const struct permits *permits_of(const struct session *s)
{
    return atomic_load_explicit(&s->permits, memory_order_acquire);
}

int session_may(struct session *s, enum session_right right, const char *kind, beck_bytes name,
                char *text)
{
    return permits_ask(permits_of(s), right, kind, name, text);
}

int session_may_any(struct session *s, const char *kind, beck_bytes name, char *text)
{
    const struct permits *p = permits_of(s);
    if (permits_allow(p, RIGHT_WRITE, name) || permits_allow(p, RIGHT_READ, name))
        return 0;
    return permits_ask(p, RIGHT_CONFIGURE, kind, name, text);
}

int session_may_topic(struct session *s, enum session_right right, const struct exchange *x,
                      beck_bytes routing_key, char *text)
{
    if (!bytes_equal_text(x->type, "topic"))
        return 0;
    return permits_ask_topic(permits_of(s), right, x->name, routing_key, text);
}

/* ---- opening and closing ---- */

static void free_session(struct session *s)
{
    permits_free(atomic_load(&s->permits));
    for (size_t i = 0; i < s->retired_count; i++)
        permits_free(s->retired[i]);
    free(s->retired);
    if (s->vhost)
        vhost_release(s->vhost);
    free(s->user);
    free(s);
}

/* Connections in the vhost, and of the user; with change_lock. */
static void count_connections(const struct session *s, int64_t *in_vhost, int64_t *of_user)
{
    *in_vhost = *of_user = 0;
    for (const struct session *i = s->broker->sessions; i; i = i->next) {
        *in_vhost += i->connection != 0 && i->vhost == s->vhost;
        *of_user += i->connection != 0 && strcmp(i->user, s->user) == 0;
    }
}

/* 0 or 530; with change_lock. */
static int check_limits(const struct session *s, char *text)
{
    int64_t in_vhost, of_user, user_max;
    user_max = broker_user_limit(s->broker, beck_str(s->user), "max-connections");
    if (s->connection == 0 || (s->vhost->connections_max < 0 && user_max < 0))
        return 0;
    count_connections(s, &in_vhost, &of_user);
    if (s->vhost->connections_max >= 0 && in_vhost >= s->vhost->connections_max)
        return broker_refuse(text, REPLY_NOT_ALLOWED,
                             "access to vhost '%.*s' refused for user '%s': connection limit "
                             "(%lld) is reached",
                             TEXT(s->vhost->name), s->user, (long long)s->vhost->connections_max);
    if (user_max >= 0 && of_user >= user_max)
        return broker_refuse(text, REPLY_NOT_ALLOWED,
                             "connection refused for user '%s': user connection limit (%lld) is "
                             "reached",
                             s->user, (long long)user_max);
    return 0;
}

/* With change_lock, so that no change of permissions or limits comes between. */
static int admit(struct session *s, char *text)
{
    struct broker *b = s->broker;
    int code;
    atomic_store(&s->permits, look_up_permits(b, s->vhost, s->user, s->everything, &code, text));
    if (!code)
        code = check_limits(s, text);
    if (code)
        return code;
    s->next = b->sessions;
    s->at = &b->sessions;
    if (s->next)
        s->next->at = &s->next;
    b->sessions = s;
    return 0;
}

int session_open(struct broker *b, const struct session_options *o, struct session **out,
                 char *text)
{
    int code;
    struct session *s = calloc(1, sizeof *s);
    char *user = strdup(o->user ? o->user : "");
    if (!s || !user) {
        free(user);
        free(s);
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a session");
    }
    s->broker = b;
    s->user = user;
    s->everything = o->everything;
    s->connection = o->connection;
    broker_begin_change(b);
    struct vhost *v = topology_vhost(b, o->vhost);
    if (v) {
        s->vhost = vhost_retain(v);
        code = admit(s, text);
    } else {
        code = broker_refuse(text, REPLY_NOT_ALLOWED, "vhost %.*s not found", TEXT(o->vhost));
    }
    broker_end_change(b);
    if (code)
        free_session(s);
    else
        *out = s;
    return code;
}

/* ---- what is durable ---- */

beck_status session_owes(struct session *s, const struct broker_queue *q)
{
    if (!q->durable)
        return BECK_OK;
    s->owes_records = true;
    if (!q->engine || queue_number_is_kept(q->engine))
        return BECK_OK;
    if (s->made_count == s->made_cap) {
        size_t cap = s->made_cap ? s->made_cap * 2 : 4;
        struct queue **grown = realloc(s->made, cap * sizeof(struct queue *));
        if (!grown)
            return BECK_ENOMEM;
        s->made = grown;
        s->made_cap = cap;
    }
    s->made[s->made_count++] = queue_retain(q->engine);
    return BECK_OK;
}

/* The engine is told that there are these queues once it is durable that they were declared. */
int session_sync(struct session *s, char *text)
{
    struct broker *b = s->broker;
    beck_error err;
    beck_status status = s->owes_records ? broker_sync(b, &err) : BECK_OK;
    if (!status && s->made_count > 0)
        status = handle_sync_queues(b->handle, &err);
    for (size_t i = 0; i < s->made_count; i++) {
        if (!status)
            status = handle_keep_queue(b->handle, s->made[i], &err);
        queue_release(s->made[i]);
    }
    free(s->made);
    s->made = NULL;
    s->made_count = s->made_cap = 0;
    s->owes_records = false;
    return status ? broker_refuse(text, REPLY_INTERNAL_ERROR, "cannot declare: %s", err.text) : 0;
}

void session_close(struct session *s)
{
    char ignored[BROKER_TEXT];
    session_sync(s, ignored);
    struct broker *b = s->broker;
    delivery_session_close(s);
    broker_begin_change(b);
    while (s->owned) {
        struct broker_queue *q = s->owned;
        beck_error why;
        beck_status status = queue_delete_all(q, &why);
        if (!status)
            continue;
        env_report(&b->handle->env, status, "exclusive queue \"%.*s\" stays: %s", TEXT(q->name),
                   why.text);
        s->owned = q->owned_next;
        q->owned_at = NULL;
        q->owner_session = NULL;
    }
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    broker_end_change(b);
    free_session(s);
}

const char *session_vhost(const struct session *s)
{
    return s->vhost->name.data;
}

static int replace_permits(struct session *s, struct permits *permits, char *text)
{
    broker_begin_change(s->broker);
    struct permits **grown = realloc(s->retired, (s->retired_count + 1) * sizeof(struct permits *));
    if (grown) {
        s->retired = grown;
        s->retired[s->retired_count++] = atomic_exchange(&s->permits, permits);
        atomic_fetch_add(&s->refreshes, 1);
    }
    broker_end_change(s->broker);
    if (grown)
        return 0;
    permits_free(permits);
    return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for permissions");
}

int session_refresh(struct session *s, char *text)
{
    int code;
    bool stale = atomic_exchange(&s->stale, false);
    if (atomic_load(&s->vhost->gone))
        return broker_refuse(text, REPLY_NOT_ALLOWED, "vhost %.*s not found", TEXT(s->vhost->name));
    if (!stale && s->retired_count > 0)
        return 0; /* what is retired stays, and clients ask as often as they like */
    struct permits *permits =
        look_up_permits(s->broker, s->vhost, s->user, s->everything, &code, text);
    if (!code)
        code = replace_permits(s, permits, text);
    if (code)
        atomic_store(&s->stale, true);
    return code;
}

/* ---- names, and finding by them ---- */

int name_strip(beck_bytes *name, struct stripped *memory, char *text)
{
    const char *from = name->data;
    size_t len = 0;
    if (name->len > sizeof memory->text)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "a name has at most 255 bytes, not %zu", name->len);
    for (size_t i = 0; i < name->len; i++)
        if (from[i] != '\r' && from[i] != '\n')
            memory->text[len++] = from[i];
    *name = bytes_of(memory->text, len);
    return 0;
}

int queue_refuse_locked(const struct broker_queue *q, char *text)
{
    return broker_refuse(
        text, REPLY_RESOURCE_LOCKED,
        "cannot obtain exclusive access to locked queue '%.*s' in vhost '%.*s'. It "
        "could be originally declared on another connection or the exclusive "
        "property value does not match that of the original declaration.",
        TEXT(q->name), TEXT(q->vhost->name));
}

int session_check_owner(const struct session *s, const struct broker_queue *q, char *text)
{
    return q->exclusive && q->owner != s->connection ? queue_refuse_locked(q, text) : 0;
}

static int refuse_missing(struct session *s, const char *kind, beck_bytes name, char *text)
{
    return broker_refuse(text, REPLY_NOT_FOUND, "no %s '%.*s' in vhost '%.*s'", kind, TEXT(name),
                         TEXT(s->vhost->name));
}

int session_find_queue(struct session *s, beck_bytes name, struct broker_queue **out, char *text)
{
    struct stripped memory;
    int code = name_strip(&name, &memory, text);
    if (code)
        return code;
    topology_read(s->broker);
    struct broker_queue *q = topology_queue(s->vhost, name);
    if (q)
        broker_queue_retain(q);
    topology_end_read(s->broker);
    if (!q)
        q = queue_adopt(s->vhost, name);
    if (!q)
        return refuse_missing(s, "queue", name, text);
    code = session_check_owner(s, q, text);
    if (code)
        broker_queue_release(q);
    else
        *out = q;
    return code;
}

int session_find_exchange(struct session *s, beck_bytes name, struct exchange **out, char *text)
{
    struct stripped memory;
    int code = name_strip(&name, &memory, text);
    if (code)
        return code;
    topology_read(s->broker);
    struct exchange *x = topology_exchange(s->vhost, name);
    if (x)
        exchange_retain(x);
    topology_end_read(s->broker);
    if (!x)
        x = exchange_adopt(s->vhost, name);
    if (!x)
        return refuse_missing(s, "exchange", name, text);
    *out = x;
    return 0;
}
