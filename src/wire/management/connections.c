/*
 * Connections, channels and consumers of AMQP. Their list is walked under its lock, so what is shown is made into
 * JSON there and put into the answer afterwards.
 */
#include "wire/management/connections.h"
#include "wire/management/list.h"
#include "wire/management/management_impl.h"
#include "wire/management/stats.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 300

/* ---- one ---- */

static void put_peer(json_t *o, const struct amqp_connection_info *i)
{
    json_put_word(o, "peer_host", i->peer ? i->peer->address : "");
    json_put_number(o, "peer_port", i->peer ? i->peer->port : 0);
}

static void put_listener(json_t *o, const char *listener)
{
    const char *colon = listener ? strrchr(listener, ':') : NULL;
    json_put_text(o, "host",
                  bytes_of(listener ? listener : "", colon ? (size_t)(colon - listener) : 0));
    json_put_number(o, "port", colon ? atoi(colon + 1) : 0);
}

static json_t *of_connection(struct call *c, const struct amqp_connection_info *i)
{
    json_t *o = json_object();
    beck_bytes of = beck_str(i->name);
    json_t *client = json_of_table(i->client_properties);
    json_t *given = json_object_get(client, "connection_name");
    json_put_word(o, "name", i->name);
    if (given)
        json_put(o, "user_provided_name", json_incref(given));
    json_put_word(o, "user", i->user ? i->user : "");
    json_put_word(o, "vhost", i->vhost ? i->vhost : "");
    json_put_word(o, "state", i->state);
    json_put_word(o, "node", c->m->node);
    json_put_word(o, "protocol", "AMQP 0-9-1");
    json_put_word(o, "type", "network");
    json_put_word(o, "auth_mechanism", i->mechanism ? i->mechanism : "");
    json_put_flag(o, "ssl", i->peer && i->peer->tls);
    put_peer(o, i);
    put_listener(o, i->listener);
    json_put_number(o, "channels", (int64_t)i->channel_count);
    json_put_number(o, "channel_max", i->channel_max);
    json_put_number(o, "frame_max", i->frame_max);
    json_put_number(o, "timeout", i->heartbeat_s);
    json_put_number(o, "connected_at", i->connected_ms);
    rates_put(c->m->rates, o, of, "recv_oct", (int64_t)i->received, false, &c->data_rates);
    rates_put(c->m->rates, o, of, "send_oct", (int64_t)i->sent, false, &c->data_rates);
    json_put(o, "client_properties", client);
    return o;
}

static void channel_name(const struct amqp_connection_info *i, uint16_t number,
                         char out[NAME_MAX_BYTES])
{
    snprintf(out, NAME_MAX_BYTES, "%.280s (%u)", i->name, number);
}

static json_t *connection_details(const struct amqp_connection_info *i)
{
    json_t *o = json_object();
    json_put_word(o, "name", i->name);
    put_peer(o, i);
    return o;
}

static json_t *of_channel(struct call *c, const struct amqp_connection_info *i,
                          const struct amqp_channel_info *h)
{
    json_t *o = json_object(), *stats = json_object();
    char name[NAME_MAX_BYTES];
    channel_name(i, h->number, name);
    json_put_word(o, "name", name);
    json_put_number(o, "number", h->number);
    json_put_word(o, "user", i->user ? i->user : "");
    json_put_word(o, "vhost", i->vhost ? i->vhost : "");
    json_put_word(o, "node", c->m->node);
    json_put_word(o, "state", h->blocked ? "flow" : "running");
    json_put_flag(o, "confirm", h->confirm);
    json_put_flag(o, "transactional", h->transactional);
    json_put_number(o, "prefetch_count", h->prefetch);
    json_put_number(o, "global_prefetch_count", h->global_prefetch);
    json_put_number(o, "consumer_count", (int64_t)h->consumer_count);
    json_put_number(o, "messages_unacknowledged", h->unacked);
    json_put_number(o, "messages_unconfirmed", h->unconfirmed);
    json_put_number(o, "messages_uncommitted", h->uncommitted);
    json_put_number(o, "acks_uncommitted", h->acks_uncommitted);
    json_put(o, "connection_details", connection_details(i));
    rates_put(c->m->rates, stats, beck_str(name), "publish", (int64_t)h->counts[COUNT_PUBLISH],
              false, &c->msg_rates);
    rates_put(c->m->rates, stats, beck_str(name), "confirm", (int64_t)h->counts[COUNT_CONFIRM],
              false, &c->msg_rates);
    rates_put(c->m->rates, stats, beck_str(name), "return_unroutable",
              (int64_t)h->counts[COUNT_RETURN_UNROUTABLE], false, &c->msg_rates);
    stats_put_counts(c, stats, beck_str(name), h->counts);
    json_put(o, "message_stats", stats);
    return o;
}

static json_t *of_consumer(struct call *c, const struct amqp_connection_info *i,
                           const struct amqp_channel_info *h, const struct amqp_consumer_info *v)
{
    json_t *o = json_object(), *queue = json_object(), *channel = json_object();
    char name[NAME_MAX_BYTES];
    json_put_text(queue, "name", v->queue);
    json_put_word(queue, "vhost", i->vhost ? i->vhost : "");
    json_put(o, "queue", queue);
    channel_name(i, h->number, name);
    json_put_word(channel, "name", name);
    json_put_number(channel, "number", h->number);
    json_put_word(channel, "connection_name", i->name);
    json_put_word(channel, "node", c->m->node);
    json_put_word(channel, "user", i->user ? i->user : "");
    put_peer(channel, i);
    json_put(o, "channel_details", channel);
    json_put_text(o, "consumer_tag", v->tag);
    json_put_flag(o, "ack_required", !v->no_ack);
    json_put_flag(o, "exclusive", v->exclusive);
    json_put_flag(o, "active", true);
    json_put_word(o, "activity_status", "up");
    json_put_number(o, "prefetch_count", v->prefetch);
    json_put_number(o, "consumer_timeout", 0);
    json_put(o, "arguments", json_of_table(v->arguments));
    return o;
}

/* ---- walks ---- */

struct walk {
    struct call *c;
    struct list list;
    const char *vhost, *user, *name; /* NULL: any */
    bool channels;                   /* are listed, else connections */
    json_t *found;
};

/* Others' connections are for those who monitor. */
static bool wanted(const struct walk *w, const struct amqp_connection_info *i)
{
    const char *user = i->user ? i->user : "", *vhost = i->vhost ? i->vhost : "";
    return (w->c->monitoring || strcmp(w->c->user, user) == 0) &&
           (!w->vhost || strcmp(w->vhost, vhost) == 0) &&
           (!w->user || strcmp(w->user, user) == 0) && (!w->name || strcmp(w->name, i->name) == 0);
}

static bool list_one(void *ctx, const struct amqp_connection_info *i)
{
    struct walk *w = ctx;
    if (!wanted(w, i))
        return true;
    int failed = 0;
    if (!w->channels)
        failed = list_add(&w->list, of_connection(w->c, i));
    for (size_t n = 0; w->channels && n < i->channel_count && !failed; n++)
        failed = list_add(&w->list, of_channel(w->c, i, &i->channels[n]));
    return !failed;
}

static void walk_connections(struct call *c, struct walk *w)
{
    w->c = c;
    if (!list_begin(&w->list, c))
        return;
    if (call_context(c)->amqp)
        amqp_each_connection(call_context(c)->amqp, list_one, w);
    list_answer(&w->list);
}

static void list_connections(struct call *c)
{
    walk_connections(c, &(struct walk){0});
}

static void list_connections_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        walk_connections(c, &(struct walk){.vhost = http_path(c->r, 0)});
}

static void list_connections_of_user(struct call *c)
{
    walk_connections(c, &(struct walk){.user = http_path(c->r, 0)});
}

static void list_channels(struct call *c)
{
    walk_connections(c, &(struct walk){.channels = true});
}

static void list_channels_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        walk_connections(c, &(struct walk){.vhost = http_path(c->r, 0), .channels = true});
}

static bool find_connection(void *ctx, const struct amqp_connection_info *i)
{
    struct walk *w = ctx;
    if (wanted(w, i))
        w->found = of_connection(w->c, i);
    return !w->found;
}

static json_t *find(struct call *c, bool (*each)(void *ctx, const struct amqp_connection_info *i),
                    struct walk *w)
{
    w->c = c;
    if (call_context(c)->amqp)
        amqp_each_connection(call_context(c)->amqp, each, w);
    return w->found;
}

static void answer_found(struct call *c, json_t *o)
{
    if (o)
        answer_json(c, 200, list_columns(c, o));
    else
        answer_not_found(c);
}

static void show_connection(struct call *c)
{
    struct walk w = {.name = http_path(c->r, 0)};
    answer_found(c, find(c, find_connection, &w));
}

static void list_channels_of_connection(struct call *c)
{
    struct walk w = {.name = http_path(c->r, 0)};
    json_t *o = find(c, find_connection, &w);
    if (o)
        walk_connections(c, &(struct walk){.name = http_path(c->r, 0), .channels = true});
    else
        answer_not_found(c);
    json_decref(o);
}

static json_t *of_channel_with_consumers(struct call *c, const struct amqp_connection_info *i,
                                         const struct amqp_channel_info *h)
{
    json_t *o = of_channel(c, i, h), *consumers = json_array();
    for (size_t n = 0; n < h->consumer_count; n++)
        json_array_append_new(consumers, of_consumer(c, i, h, &h->consumers[n]));
    json_put(o, "consumer_details", consumers);
    return o;
}

static bool find_channel(void *ctx, const struct amqp_connection_info *i)
{
    struct walk *w = ctx;
    const char *name = http_path(w->c->r, 0);
    for (size_t n = 0; n < i->channel_count && !w->found && wanted(w, i); n++) {
        char own[NAME_MAX_BYTES];
        channel_name(i, i->channels[n].number, own);
        if (strcmp(own, name) == 0)
            w->found = of_channel_with_consumers(w->c, i, &i->channels[n]);
    }
    return !w->found;
}

static void show_channel(struct call *c)
{
    struct walk w = {0};
    answer_found(c, find(c, find_channel, &w));
}

static const char *close_reason(const struct call *c)
{
    const char *reason = http_header(c->r, "X-Reason");
    return reason && *reason ? reason : "Closed via management plugin";
}

static void close_connection(struct call *c)
{
    struct walk w = {.name = http_path(c->r, 0)};
    json_t *there = find(c, find_connection, &w);
    json_decref(there);
    if (there && amqp_close_connection(call_context(c)->amqp, http_path(c->r, 0), close_reason(c)))
        answer_nothing(c, 204);
    else
        answer_not_found(c);
}

static void close_connections_of_user(struct call *c)
{
    const char *user = http_path(c->r, 0);
    if (!c->admin && strcmp(user, c->user) != 0) {
        answer_error(c, 401, "not_authorised", "Not administrator user");
        return;
    }
    if (call_context(c)->amqp)
        amqp_close_connections(call_context(c)->amqp, user, NULL, close_reason(c));
    answer_nothing(c, 204);
}

/* ---- consumers ---- */

struct consumers {
    struct call *c;
    beck_bytes vhost, queue; /* absent: any */
    struct list *list;       /* one of these */
    json_t *array;           /* two */
};

static bool add_consumers(void *ctx, const struct amqp_connection_info *i)
{
    struct consumers *w = ctx;
    beck_bytes vhost = beck_str(i->vhost ? i->vhost : "");
    int failed = 0;
    if (!i->vhost || (w->vhost.data && !bytes_equal(w->vhost, vhost)))
        return true;
    for (size_t n = 0; n < i->channel_count; n++)
        for (size_t k = 0; k < i->channels[n].consumer_count && !failed; k++) {
            const struct amqp_consumer_info *v = &i->channels[n].consumers[k];
            if (w->queue.data && !bytes_equal(w->queue, v->queue))
                continue;
            json_t *o = of_consumer(w->c, i, &i->channels[n], v);
            failed = w->list ? list_add(w->list, o) : json_array_append_new(w->array, o);
        }
    return !failed;
}

json_t *json_of_consumers(struct call *c, beck_bytes vhost, beck_bytes queue)
{
    struct consumers w = {.c = c, .vhost = vhost, .queue = queue, .array = json_array()};
    if (call_context(c)->amqp)
        amqp_each_connection(call_context(c)->amqp, add_consumers, &w);
    return w.array;
}

struct owner {
    uint64_t id;
    json_t *object;
};

static bool find_owner(void *ctx, const struct amqp_connection_info *i)
{
    struct owner *o = ctx;
    if (i->id == o->id)
        o->object = connection_details(i);
    return !o->object;
}

json_t *json_of_owner(struct call *c, uint64_t id)
{
    struct owner o = {.id = id};
    if (call_context(c)->amqp)
        amqp_each_connection(call_context(c)->amqp, find_owner, &o);
    return o.object;
}

/* Those of virtual hosts that the caller may see: what that is cannot be asked during the walk. */
static int list_consumers_in(void *ctx, const struct vhost_view *v)
{
    struct consumers *w = ctx;
    if (!call_sees_vhost(w->c, v->name))
        return 0;
    w->vhost = v->name;
    if (call_context(w->c)->amqp)
        amqp_each_connection(call_context(w->c)->amqp, add_consumers, w);
    return w->list->failed;
}

static void list_consumers_of(struct call *c, beck_bytes vhost)
{
    struct list l;
    struct consumers w = {.c = c, .list = &l};
    if (!list_begin(&l, c))
        return;
    broker_each_vhost(c->b, vhost, list_consumers_in, &w);
    list_answer(&l);
}

static void list_consumers(struct call *c)
{
    list_consumers_of(c, (beck_bytes){0});
}

static void list_consumers_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        list_consumers_of(c, vhost);
}

const struct management_route management_routes_connections[] = {
    {"GET", "/api/connections", LEVEL_ANY, false, list_connections, "management.connections"},
    {"GET", "/api/connections/{connection}", LEVEL_ANY, false, show_connection,
     "management.connection"},
    {"DELETE", "/api/connections/{connection}", LEVEL_ANY, false, close_connection,
     "management.closeConnection"},
    {"GET", "/api/connections/{connection}/channels", LEVEL_ANY, false, list_channels_of_connection,
     "management.connectionChannels"},
    {"GET", "/api/connections/username/{user}", LEVEL_ANY, false, list_connections_of_user,
     "management.userConnections"},
    {"DELETE", "/api/connections/username/{user}", LEVEL_ANY, false, close_connections_of_user,
     "management.closeUserConnections"},
    {"GET", "/api/vhosts/{vhost}/connections", LEVEL_ANY, false, list_connections_of_vhost,
     "management.vhostConnections"},
    {"GET", "/api/channels", LEVEL_ANY, false, list_channels, "management.channels"},
    {"GET", "/api/channels/{channel}", LEVEL_ANY, false, show_channel, "management.channel"},
    {"GET", "/api/vhosts/{vhost}/channels", LEVEL_ANY, false, list_channels_of_vhost,
     "management.vhostChannels"},
    {"GET", "/api/consumers", LEVEL_ANY, false, list_consumers, "management.consumers"},
    {"GET", "/api/consumers/{vhost}", LEVEL_ANY, false, list_consumers_of_vhost,
     "management.vhostConsumers"},
    {0}};
