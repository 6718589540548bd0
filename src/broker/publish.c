/*
 * Publishing: messages are gathered in the order in which they come, with their routes; flush.c stores them.
 *
 * Routes are kept by exchange and key as long as the topology stands; those of messages that choose for
 * themselves (headers, CC) are found for each.
 */
#include "broker/publish_impl.h"
#include "broker/recent.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUTES_MAX 1024
#define BATCH_BYTES (8u << 20)
#define CONTENT_MAX (64u << 20)
#define EXPIRATION_MAX 315360000000ULL /* ten years */

/* ---- life ---- */

struct delivery *session_delivery(struct session *s)
{
    struct delivery_home *h = s->broker->delivery;
    mutex_lock(&h->lock);
    if (!s->delivery && (s->delivery = calloc(1, sizeof *s->delivery)))
        buf_init(&s->delivery->got, 1u << 20);
    struct delivery *d = s->delivery;
    mutex_unlock(&h->lock);
    return d;
}

int publisher_new(struct session *s, const struct publisher_events *events, struct publisher **out,
                  char *text)
{
    struct delivery *d = session_delivery(s);
    struct publisher *p = d ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a publisher");
    p->session = s;
    p->home = s->broker->delivery;
    p->events = *events;
    atomic_init(&p->refs, 1);
    mutex_init(&p->lock);
    lookup_init(&p->routes);
    buf_init(&p->content, CONTENT_MAX);
    buf_init(&p->rewritten, CONTENT_MAX);
    mutex_lock(&p->home->lock);
    p->next = d->publishers;
    p->at = &d->publishers;
    if (p->next)
        p->next->at = &p->next;
    d->publishers = p;
    mutex_unlock(&p->home->lock);
    *out = p;
    return 0;
}

static void forget_routes(struct publisher *p)
{
    for (struct lookup_node *n = lookup_walk(&p->routes, NULL), *next; n; n = next) {
        next = lookup_walk(&p->routes, n);
        lookup_remove(&p->routes, n);
        route_release(lookup_of(n, struct route, node));
    }
    route_release(p->last);
    p->last = NULL;
}

void publisher_free(struct publisher *p)
{
    if (!p)
        return;
    mutex_lock(&p->home->lock);
    *p->at = p->next;
    if (p->next)
        p->next->at = p->at;
    mutex_unlock(&p->home->lock);
    publisher_clear(p);
    route_release(p->pending);
    forget_routes(p);
    lookup_release(&p->routes);
    targets_release(&p->scratch);
    buf_release(&p->content);
    buf_release(&p->rewritten);
    free(p->items);
    free(p->messages);
    free(p->to);
    mutex_lock(&p->lock);
    p->closed = true;
    mutex_unlock(&p->lock);
    publisher_unref(p);
}

size_t publisher_waiting(const struct publisher *p)
{
    return atomic_load_explicit(&p->waiting, memory_order_relaxed);
}

/* ---- what is refused ---- */

static int refuse_expiration(char *text, beck_bytes value, const char *format, const char *rest)
{
    char why[400];
    snprintf(why, sizeof why, format, rest);
    return broker_refuse(text, REPLY_PRECONDITION_FAILED, "invalid expiration '%.*s': %s",
                         TEXT_OF(value), why);
}

int expiration_read(const struct properties *p, int64_t *ms, char *text)
{
    char digits[300];
    size_t at = 0;
    *ms = -1;
    if (!(p->flags & PROPERTY_EXPIRATION))
        return 0;
    snprintf(digits, sizeof digits, "%.*s", TEXT_OF(p->expiration));
    bool sign = digits[0] == '-' || digits[0] == '+';
    for (at = sign; digits[at] >= '0' && digits[at] <= '9'; at++)
        continue;
    if (at == sign)
        return refuse_expiration(text, p->expiration, "%s", "no_integer");
    if (digits[at])
        return refuse_expiration(text, p->expiration, "{leftover_string,\"%s\"}", digits + at);
    const char *number = digits + sign;
    while (number[0] == '0' && number[1])
        number++;
    uint64_t value = UINT64_MAX;
    bool fits = bytes_to_u64(beck_str(number), &value);
    if (digits[0] == '-' && value != 0) {
        char negative[300];
        snprintf(negative, sizeof negative, "-%s", number);
        return refuse_expiration(text, p->expiration, "{value_negative,%s}", negative);
    }
    if (!fits || value > EXPIRATION_MAX)
        return refuse_expiration(text, p->expiration, "{value_too_large,%s}", number);
    *ms = (int64_t)value;
    return 0;
}

/* Of the headers that hold more keys. */
static int check_keys(const struct properties *props, const char *header, char *text)
{
    struct table_value v;
    if (!(props->flags & PROPERTY_HEADERS) || !table_find(props->headers, header, &v) ||
        v.kind == TABLE_ARRAY)
        return 0;
    return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                         "invalid message: {unacceptable_type_in_header,\"%s\",%s}", header,
                         table_type_name(&v));
}

static int check_message(struct publisher *p, const struct publication *m,
                         const struct properties *props, int64_t *expires_ms, char *text)
{
    uint32_t max = p->session->broker->settings.message_max;
    if (m->body.len > max)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "message size %zu is larger than configured max size %u", m->body.len,
                             max);
    if (props->flags & PROPERTY_USER_ID && !bytes_equal_text(props->user_id, p->session->user))
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "user_id property set to '%.*s' but authenticated user was '%s'",
                             TEXT_OF(props->user_id), p->session->user);
    int code = expiration_read(props, expires_ms, text);
    if (!code)
        code = check_keys(props, "CC", text);
    return code ? code : check_keys(props, "BCC", text);
}

/* What may be done to an exchange; in RabbitMQ's order. */
static int check_exchange(struct publisher *p, const struct publication *m, char *text)
{
    struct session *s = p->session;
    beck_bytes name = m->exchange.len > 0 ? m->exchange : beck_str("amq.default");
    int code = session_may(s, RIGHT_WRITE, "exchange", name, text);
    if (code)
        return code;
    struct exchange *x = topology_exchange(s->vhost, m->exchange);
    if (!x)
        return BROKER_LATER;
    if (x->internal)
        return broker_refuse(text, REPLY_ACCESS_REFUSED,
                             "cannot publish to internal exchange '%.*s' in vhost '%.*s'",
                             TEXT_OF(x->name), TEXT_OF(s->vhost->name));
    return session_may_topic(s, RIGHT_WRITE, x, m->routing_key, text);
}

/* ---- routes ---- */

static uint64_t hash_of(const struct publisher *p, const struct publication *m)
{
    uint64_t first = lookup_hash(&p->routes, m->exchange);
    return bytes_hash(m->routing_key.data, m->routing_key.len, first);
}

static bool is_for(const struct route *r, const struct publication *m)
{
    return bytes_equal(r->key, m->routing_key) && bytes_equal(r->exchange->name, m->exchange);
}

static struct route *find_route(struct publisher *p, const struct publication *m, uint64_t *hash)
{
    if (p->last && is_for(p->last, m))
        return p->last;
    *hash = hash_of(p, m);
    for (struct lookup_node *n = lookup_first(&p->routes, *hash); n; n = lookup_again(n))
        if (is_for(lookup_of(n, struct route, node), m))
            return lookup_of(n, struct route, node);
    return NULL;
}

static void keep_route(struct publisher *p, struct route *r, uint64_t hash)
{
    if (p->routes.count >= ROUTES_MAX)
        forget_routes(p);
    if (lookup_reserve(&p->routes) == BECK_OK)
        lookup_add(&p->routes, &route_retain(r)->node, hash);
}

/* With a reference. 0, BROKER_LATER, or a refusal. */
static int make_route(struct publisher *p, const struct publication *m,
                      const struct properties *props, bool plain, uint64_t hash, struct route **out,
                      char *text)
{
    struct broker *b = p->session->broker;
    *out = NULL;
    topology_read(b);
    int code = check_exchange(p, m, text);
    if (!code)
        *out = route_new(p->home, topology_exchange(p->session->vhost, m->exchange), m->routing_key,
                         props, &p->scratch, NULL, NULL);
    if (*out && refusals_look(p->home, *out)) {
        route_release(*out);
        *out = NULL;
    }
    topology_end_read(b);
    if (code)
        return code;
    if (!*out)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory to route a message");
    if (plain && (*out)->fixed)
        keep_route(p, *out, hash);
    return 0;
}

/* The same. Keys in headers are for that message only. */
static int route_of(struct publisher *p, const struct publication *m,
                    const struct properties *props, bool plain, struct route **out, char *text)
{
    uint64_t generation = topology_generation(p->session->broker), hash = 0;
    if (p->generation != generation || p->refreshes != p->session->refreshes) {
        forget_routes(p);
        p->generation = generation;
        p->refreshes = p->session->refreshes;
    }
    if (plain && (*out = find_route(p, m, &hash))) {
        route_retain(*out);
    } else {
        int code = make_route(p, m, props, plain, hash, out, text);
        if (code)
            return code;
    }
    if (*out != p->last && plain && (*out)->fixed) {
        route_release(p->last);
        p->last = route_retain(*out);
    }
    return 0;
}

/* ---- adding ---- */

static bool has_array(const struct properties *p, const char *name)
{
    struct table_value v;
    return p->flags & PROPERTY_HEADERS && table_find(p->headers, name, &v) && v.kind == TABLE_ARRAY;
}

static beck_status reserve_item(struct publisher *p)
{
    if (p->count < p->cap)
        return BECK_OK;
    size_t cap = p->cap ? p->cap * 2 : 16;
    struct item *items = realloc(p->items, cap * sizeof *items);
    if (items)
        p->items = items;
    beck_event *messages = items ? realloc(p->messages, cap * sizeof *messages) : NULL;
    if (messages)
        p->messages = messages;
    struct bus_addressed *to = messages ? realloc(p->to, cap * sizeof *to) : NULL;
    if (!to)
        return BECK_ENOMEM;
    p->to = to;
    p->cap = cap;
    return BECK_OK;
}

static int carry(struct publisher *p, const struct publication *m, const struct properties *props,
                 beck_bytes raw, struct item *i, char *text)
{
    i->content_at = p->content.len;
    beck_status status = BECK_OK;
    if (i->storage == STORE_DELAYED)
        status = delay_carry(&p->content, p->session->vhost);
    if (!status)
        status = message_carry(&p->content, m->exchange, m->routing_key, raw,
                               has_array(props, "BCC") ? CARRIED_BCC : 0);
    i->content_len = p->content.len - i->content_at;
    if (!status && i->content_len <= CARRIED_CONTENT_MAX)
        return 0;
    p->content.len = i->content_at;
    if (status)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a message");
    return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                         "properties of %zu bytes are larger than the limit of %u", i->content_len,
                         CARRIED_CONTENT_MAX);
}

/* Takes over the route. */
static int add_item(struct publisher *p, const struct publication *m,
                    const struct properties *props, beck_bytes raw, struct item *i,
                    int64_t expires_ms, char *text)
{
    int code = 0;
    if (reserve_item(p))
        code = broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a message");
    if (!code)
        code = carry(p, m, props, raw, i, text);
    if (code) {
        route_release(i->route);
        return code;
    }
    i->size = m->body.len;
    i->token = i->confirm ? i->token : 0;
    beck_event *e = &p->messages[p->count];
    message_to_event(m->exchange, m->routing_key, props, m->body, e);
    e->type = i->route->type;
    if (expires_ms >= 0)
        e->expires_at_ms = clock_wall_ms(p->session->broker->handle->env.clock) +
                           (expires_ms > 0 ? expires_ms : 1);
    if (i->route->exchange->recent)
        recent_add(i->route->exchange->recent, m->routing_key, raw, props, m->body);
    p->items[p->count++] = *i;
    p->bytes += m->body.len;
    atomic_fetch_add_explicit(&i->route->exchange->published_in, 1, memory_order_relaxed);
    if (i->route->count > 0)
        atomic_fetch_add_explicit(&i->route->exchange->published_out, 1, memory_order_relaxed);
    return 0;
}

static int later(struct publisher *p, struct route *r, enum storage storage)
{
    route_release(p->pending);
    p->pending = r;
    p->pending_storage = storage;
    return BROKER_LATER;
}

static bool is_persistent(const struct properties *p)
{
    return p->flags & PROPERTY_DELIVERY_MODE && p->delivery_mode == 2;
}

/* To an exchange that may hold messages back: *delayed says so, or that it was refused. */
static int add_delayed(struct publisher *p, const struct publication *m,
                       const struct properties *props, beck_bytes raw, struct item *i,
                       int64_t delay_ms, bool *delayed, char *text)
{
    struct broker *b = p->session->broker;
    topology_read(b);
    int code = check_exchange(p, m, text);
    struct exchange *x = code ? NULL : topology_exchange(p->session->vhost, m->exchange);
    *delayed = code != 0 || x->delayed;
    i->route = x && x->delayed ? delay_route(p->home, x) : NULL;
    topology_end_read(b);
    if (code || !*delayed)
        return code;
    if (!i->route)
        return broker_refuse(text, REPLY_INTERNAL_ERROR, "no memory for a message");
    i->storage = STORE_DELAYED;
    i->synced = is_persistent(props) && m->confirm;
    if (!i->route->joined[STORE_DELAYED])
        return later(p, i->route, STORE_DELAYED);
    code = add_item(p, m, props, raw, i, -1, text);
    if (!code)
        p->messages[p->count - 1].deliver_at_ms = clock_wall_ms(b->handle->env.clock) + delay_ms;
    return code;
}

static int add_routed(struct publisher *p, const struct publication *m,
                      const struct properties *props, beck_bytes raw, struct item *i,
                      int64_t expires_ms, enum published *how, char *text)
{
    bool plain = !has_array(props, "CC") && !has_array(props, "BCC");
    int code = route_of(p, m, props, plain, &i->route, text);
    if (code)
        return code;
    bool persistent = is_persistent(props);
    i->storage = route_storage(p->home, i->route, persistent);
    i->synced = persistent && m->confirm && i->storage == STORE_KEPT;
    if (i->storage != STORE_NOWHERE &&
        (!i->route->joined[i->storage] || !i->route->refusals[persistent])) {
        p->pending_persistent = persistent;
        return later(p, i->route, i->storage);
    }
    *how = i->route->count > 0 ? PUBLISHED_QUEUED : PUBLISHED_NOWHERE;
    return add_item(p, m, props, raw, i, expires_ms, text);
}

/* An answer to whoever asked by direct reply-to. */
static int add_reply(struct publisher *p, const struct publication *m, beck_bytes raw,
                     uint64_t token, enum published *how, char *text)
{
    int code = session_may(p->session, RIGHT_WRITE, "exchange", beck_str("amq.default"), text);
    if (code)
        return code;
    publisher_flush(p);
    *how = reply_publish(p->home, m, raw) ? PUBLISHED_QUEUED : PUBLISHED_NOWHERE;
    if (m->confirm)
        publisher_tell(p, &token, 1, true);
    return 0;
}

int publisher_add(struct publisher *p, const struct publication *m, uint64_t token,
                  enum published *how, char *text)
{
    struct properties props = {0};
    struct item i = {.token = token, .confirm = m->confirm};
    int64_t expires_ms = -1, delay_ms;
    beck_bytes raw = m->properties;
    if (atomic_load_explicit(&p->session->stale, memory_order_acquire))
        return BROKER_LATER;
    if (raw.len > 0 && properties_read(raw, &props, NULL))
        return broker_refuse(text, REPLY_FRAME_ERROR, "the properties of a message are malformed");
    int code = check_message(p, m, &props, &expires_ms, text);
    if (!code && reply_is_asked(&props))
        code = reply_rewrite(p, &props, &raw, text);
    if (code)
        return code;
    if (p->count >= BATCH_MAX || p->bytes >= BATCH_BYTES)
        publisher_flush(p);
    if (m->exchange.len == 0 && reply_is_key(m->routing_key))
        return add_reply(p, m, raw, token, how, text);
    *how = PUBLISHED_QUEUED;
    if ((delay_ms = delay_of(&props)) > 0) {
        bool delayed;
        code = add_delayed(p, m, &props, raw, &i, delay_ms, &delayed, text);
        if (delayed)
            return code;
    }
    return add_routed(p, m, &props, raw, &i, expires_ms, how, text);
}

int publisher_prepare(struct publisher *p, beck_bytes exchange, char *text)
{
    struct session *s = p->session;
    struct route *r = p->pending;
    int code = session_renew(s, text);
    p->pending = NULL;
    p->generation = 0;
    if (code) {
        route_release(r);
        return code;
    }
    if (!r) {
        struct exchange *x = NULL;
        code = session_find_exchange(s, exchange, &x, text);
        if (!code)
            exchange_release(x);
        return code;
    }
    if (route_prepare(p->home, r, p->pending_storage, text) ||
        refusals_prepare(p->home, r, p->pending_persistent, text))
        code = atomic_load(&r->exchange->gone)
                   ? broker_refuse(text, REPLY_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'",
                                   TEXT_OF(r->exchange->name), TEXT_OF(s->vhost->name))
                   : REPLY_INTERNAL_ERROR;
    route_release(r);
    return code;
}
