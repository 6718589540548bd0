/* Queues. */
#include "wire/management/connections.h"
#include "wire/management/list.h"
#include "wire/management/management_impl.h"
#include "wire/management/puts.h"
#include "wire/management/stats.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

/* ---- showing ---- */

static void put_idle_since(json_t *o, int64_t idle_ms)
{
    char text[64];
    struct tm t;
    time_t at = (time_t)((clock_wall_ms(clock_system()) - idle_ms) / 1000);
    if (idle_ms <= 0 || !gmtime_r(&at, &t) ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000+00:00", &t) == 0)
        return;
    json_put_word(o, "idle_since", text);
}

static void put_policies(json_t *o, const struct queue_view *q)
{
    json_put(o, "policy", q->policy.len ? json_of(q->policy) : json_null());
    json_put(o, "operator_policy",
             q->operator_policy.len ? json_of(q->operator_policy) : json_null());
    json_put(o, "effective_policy_definition", json_of_document(q->effective_policy));
}

static json_t *of_queue(struct call *c, const struct queue_view *q)
{
    json_t *o = json_object();
    char name[STATS_NAME_MAX];
    json_put_text(o, "name", q->name);
    json_put_text(o, "vhost", q->vhost);
    json_put_word(o, "type", q->type);
    json_put_flag(o, "durable", q->durable);
    json_put_flag(o, "auto_delete", q->auto_delete);
    json_put_flag(o, "exclusive", q->exclusive);
    json_put(o, "arguments", json_of_table(q->arguments));
    json_put_word(o, "node", c->m->node);
    json_put_word(o, "state", strcmp(q->state, "idle") == 0 ? "running" : q->state);
    stats_put_messages(c, o, stats_name(name, "queue", q->vhost, q->name), q->ready, q->unacked);
    json_put_number(o, "message_bytes", q->ready_bytes);
    json_put_number(o, "message_bytes_ready", q->ready_bytes);
    json_put_number(o, "message_bytes_unacknowledged", 0);
    json_put_number(o, "messages_persistent", q->durable ? q->ready + q->unacked : 0);
    json_put_number(o, "messages_ram", 0);
    json_put_number(o, "consumers", q->consumers);
    json_put_number(o, "consumer_capacity", q->consumers > 0);
    json_put_number(o, "consumer_utilisation", q->consumers > 0);
    json_put_number(o, "memory", 0);
    json_put_number(o, "reductions", 0);
    json_put(o, "exclusive_consumer_tag",
             q->exclusive_tag.data ? json_of(q->exclusive_tag) : json_null());
    json_put(o, "single_active_consumer_tag",
             q->single_active_tag.data ? json_of(q->single_active_tag) : json_null());
    put_policies(o, q);
    put_idle_since(o, q->idle_ms);
    json_put(o, "message_stats", stats_of_queue(c, q));
    return o;
}

static int list_queue(void *ctx, const struct queue_view *q)
{
    struct list *l = ctx;
    return call_sees_vhost(l->c, q->vhost) ? list_add(l, of_queue(l->c, q)) : 0;
}

static void list_queues_of(struct call *c, beck_bytes vhost)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    broker_each_queue(c->b, vhost, (beck_bytes){0}, list_queue, &l);
    list_answer(&l);
}

static void list_queues(struct call *c)
{
    list_queues_of(c, (beck_bytes){0});
}

static void list_queues_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        list_queues_of(c, vhost);
}

struct found {
    struct call *c;
    json_t *object;
    uint64_t owner; /* connection, of an exclusive one; else 0 */
};

static int find_queue(void *ctx, const struct queue_view *q)
{
    struct found *f = ctx;
    f->object = of_queue(f->c, q);
    f->owner = q->owner;
    return 1;
}

static json_t *find(struct call *c, beck_bytes vhost, beck_bytes name)
{
    struct found f = {.c = c};
    broker_each_queue(c->b, vhost, name, find_queue, &f);
    json_t *owner = f.object && f.owner ? json_of_owner(c, f.owner) : NULL;
    if (owner)
        json_put(f.object, "owner_pid_details", owner);
    return f.object;
}

/* All but the active one wait. */
static void mark_waiting(json_t *consumers, const json_t *active)
{
    size_t i;
    json_t *v;
    if (!json_is_string(active))
        return;
    json_array_foreach(consumers, i, v)
    {
        bool is = json_equal(json_object_get(v, "consumer_tag"), active);
        json_put_flag(v, "active", is);
        json_put_word(v, "activity_status", is ? "single_active" : "waiting");
    }
}

static void show_queue(struct call *c)
{
    beck_bytes vhost;
    if (!call_vhost(c, 0, false, &vhost))
        return;
    json_t *o = find(c, vhost, call_name(c, 1));
    if (!o) {
        answer_not_found(c);
        return;
    }
    json_t *consumers = json_of_consumers(c, vhost, call_name(c, 1));
    mark_waiting(consumers, json_object_get(o, "single_active_consumer_tag"));
    json_put(o, "consumer_details", consumers);
    json_put(o, "incoming", json_array());
    json_put(o, "deliveries", json_array());
    json_put(o, "backing_queue_status", json_object());
    answer_json(c, 200, list_columns(c, o));
}

/* ---- changing ---- */

bool queue_put(struct call *c, struct session *s, beck_bytes name, const json_t *from)
{
    struct queue_declaration d = {.name = name};
    struct queue_declared made;
    struct buf arguments = {0};
    if (!body_bool(c, from, "durable", &d.durable) ||
        !body_bool(c, from, "auto_delete", &d.auto_delete))
        return false;
    if (!table_of_json(c, json_object_get(from, "arguments"), &arguments)) {
        answer_status(c, BECK_EINVAL);
        return false;
    }
    d.arguments = buf_bytes(&arguments);
    int code = session_declare_queue(s, &d, &made, c->text);
    buf_release(&arguments);
    if (code)
        answer_reply(c, code);
    return code == 0;
}

static void put_queue(struct call *c)
{
    struct session *s;
    beck_bytes vhost;
    if (!call_vhost(c, 0, true, &vhost) || !call_session(c, vhost, &s))
        return;
    json_t *before = find(c, vhost, call_name(c, 1));
    if (queue_put(c, s, call_name(c, 1), c->body))
        answer_put(c, BECK_OK, !before);
    json_decref(before);
    session_close(s);
}

/* A session for what must be there; false, after answering. */
static bool open_queue(struct call *c, struct session **s)
{
    beck_bytes vhost;
    if (!call_vhost(c, 0, true, &vhost))
        return false;
    json_t *there = find(c, vhost, call_name(c, 1));
    if (!there) {
        answer_not_found(c);
        return false;
    }
    json_decref(there);
    return call_session(c, vhost, s);
}

static void close_queue(struct call *c, struct session *s, int code)
{
    session_close(s);
    if (code)
        answer_reply(c, code);
    else
        answer_nothing(c, 204);
}

static void delete_queue(struct call *c)
{
    struct session *s;
    uint32_t messages;
    if (open_queue(c, &s))
        close_queue(c, s,
                    session_delete_queue(s, call_name(c, 1), call_flag(c, "if-unused"),
                                         call_flag(c, "if-empty"), &messages, c->text));
}

static void purge_queue(struct call *c)
{
    struct session *s;
    uint32_t messages;
    if (open_queue(c, &s))
        close_queue(c, s, session_purge_queue(s, call_name(c, 1), &messages, c->text));
}

/* There are no mirrors to be synchronised, so that is done at once. */
static void act(struct call *c)
{
    struct session *s;
    beck_bytes action;
    if (!body_text(c, c->body, "action", NULL, &action) || !open_queue(c, &s))
        return;
    session_close(s);
    if (bytes_equal_text(action, "sync") || bytes_equal_text(action, "cancel_sync"))
        answer_nothing(c, 204);
    else
        answer_error(c, 400, "bad_request", "unknown action %.*s",
                     (int)(action.len < 60 ? action.len : 60), (const char *)action.data);
}

const struct management_route management_routes_queues[] = {
    {"GET", "/api/queues", LEVEL_ANY, false, list_queues, "management.queues"},
    {"GET", "/api/queues/detailed", LEVEL_ANY, false, list_queues, "management.queuesDetailed"},
    {"GET", "/api/queues/{vhost}", LEVEL_ANY, false, list_queues_of_vhost,
     "management.vhostQueues"},
    {"GET", "/api/queues/{vhost}/{queue}", LEVEL_ANY, false, show_queue, "management.queue"},
    {"PUT", "/api/queues/{vhost}/{queue}", LEVEL_ANY, true, put_queue, "management.putQueue"},
    {"DELETE", "/api/queues/{vhost}/{queue}", LEVEL_ANY, false, delete_queue,
     "management.deleteQueue"},
    {"DELETE", "/api/queues/{vhost}/{queue}/contents", LEVEL_ANY, false, purge_queue,
     "management.purgeQueue"},
    {"POST", "/api/queues/{vhost}/{queue}/actions", LEVEL_ADMIN, true, act,
     "management.queueAction"},
    {0}};
