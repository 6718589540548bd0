/*
 * Bindings. One of several between the same two is named by its properties_key: the routing key, and a hash of its
 * arguments when it has some.
 */
#include "wire/management/list.h"
#include "wire/http/router.h"
#include "wire/management/puts.h"

#include <stdio.h>
#include <stdlib.h>

#define LOCATION_MAX 8192
#define KEY_MAX 1024

/* ---- showing ---- */

static json_t *of_binding(const struct binding_view *v)
{
    json_t *o = json_object();
    json_put_text(o, "source", v->source);
    json_put_text(o, "vhost", v->vhost);
    json_put_text(o, "destination", v->destination);
    json_put_word(o, "destination_type", v->to_exchange ? "exchange" : "queue");
    json_put_text(o, "routing_key", v->routing_key);
    json_put(o, "arguments", json_of_table(v->arguments));
    json_put_text(o, "properties_key", v->properties_key);
    return o;
}

static int list_binding(void *ctx, const struct binding_view *v)
{
    struct list *l = ctx;
    return call_sees_vhost(l->c, v->vhost) ? list_add(l, of_binding(v)) : 0;
}

static void list_bindings_of(struct call *c, const struct binding_filter *f)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    broker_each_binding(c->b, f, list_binding, &l);
    list_answer(&l);
}

static void list_bindings(struct call *c)
{
    list_bindings_of(c, &(struct binding_filter){0});
}

static void list_bindings_of_vhost(struct call *c)
{
    struct binding_filter f = {0};
    if (call_vhost(c, 0, false, &f.vhost))
        list_bindings_of(c, &f);
}

static beck_bytes exchange_name(const struct call *c, size_t index)
{
    beck_bytes name = call_name(c, index);
    return bytes_equal_text(name, "amq.default") ? bytes_of("", 0) : name;
}

static int no_exchange(void *ctx, const struct exchange_view *x)
{
    (void)ctx;
    (void)x;
    return 0;
}

static int no_queue(void *ctx, const struct queue_view *q)
{
    (void)ctx;
    (void)q;
    return 0;
}

static bool is_exchange(struct call *c, beck_bytes vhost, beck_bytes name)
{
    return broker_each_exchange(c->b, vhost, name, no_exchange, NULL) > 0;
}

static bool is_queue(struct call *c, beck_bytes vhost, beck_bytes name)
{
    return broker_each_queue(c->b, vhost, name, no_queue, NULL) > 0;
}

static void list_bindings_from(struct call *c)
{
    struct binding_filter f = {.source = exchange_name(c, 1)};
    if (!call_vhost(c, 0, false, &f.vhost))
        return;
    if (is_exchange(c, f.vhost, f.source))
        list_bindings_of(c, &f);
    else
        answer_not_found(c);
}

static void list_bindings_to_exchange(struct call *c)
{
    struct binding_filter f = {.destination = exchange_name(c, 1), .only_exchanges = true};
    if (!call_vhost(c, 0, false, &f.vhost))
        return;
    if (is_exchange(c, f.vhost, f.destination))
        list_bindings_of(c, &f);
    else
        answer_not_found(c);
}

static void list_bindings_to_queue(struct call *c)
{
    struct binding_filter f = {.destination = call_name(c, 1), .only_queues = true};
    if (!call_vhost(c, 0, false, &f.vhost))
        return;
    if (is_queue(c, f.vhost, f.destination))
        list_bindings_of(c, &f);
    else
        answer_not_found(c);
}

/* The two of the path .../e/{source}/{q or e}/{destination}. False, after answering. */
static bool read_pair(struct call *c, bool change, struct binding_filter *f)
{
    beck_bytes kind = call_name(c, 2);
    *f = (struct binding_filter){.source = exchange_name(c, 1), .destination = call_name(c, 3)};
    if (!call_vhost(c, 0, change, &f->vhost))
        return false;
    f->only_exchanges = bytes_equal_text(kind, "e");
    f->only_queues = bytes_equal_text(kind, "q");
    if (f->only_exchanges)
        f->destination = exchange_name(c, 3);
    bool there = f->only_exchanges ? is_exchange(c, f->vhost, f->destination)
                                   : f->only_queues && is_queue(c, f->vhost, f->destination);
    if (there && is_exchange(c, f->vhost, f->source))
        return true;
    answer_not_found(c);
    return false;
}

static void list_bindings_between(struct call *c)
{
    struct binding_filter f;
    if (read_pair(c, false, &f))
        list_bindings_of(c, &f);
}

/* ---- one ---- */

struct found {
    beck_bytes key;
    bool loose;     /* keys are compared without their percent-encoding */
    json_t *object; /* NULL: not found */
    struct buf routing_key, arguments;
};

/* The text without percent-encoding; "" if it is too long to be a key. */
static void decode(beck_bytes text, char out[KEY_MAX])
{
    size_t len = text.len < KEY_MAX ? text.len : 0;
    memcpy(out, len ? text.data : "", len);
    out[len] = 0;
    percent_decode(out, true);
}

static bool is_key(const struct found *f, beck_bytes key)
{
    char given[KEY_MAX], own[KEY_MAX];
    if (!f->loose)
        return bytes_equal(f->key, key);
    decode(f->key, given);
    decode(key, own);
    return strcmp(given, own) == 0;
}

static int find_binding(void *ctx, const struct binding_view *v)
{
    struct found *f = ctx;
    if (!is_key(f, v->properties_key))
        return 0;
    buf_init(&f->routing_key, 256);
    buf_init(&f->arguments, v->arguments.len + 1);
    if (buf_append(&f->routing_key, v->routing_key.data, v->routing_key.len) == BECK_OK &&
        buf_append(&f->arguments, v->arguments.data, v->arguments.len) == BECK_OK)
        f->object = of_binding(v);
    return 1;
}

static void found_release(struct found *f)
{
    json_decref(f->object);
    buf_release(&f->routing_key);
    buf_release(&f->arguments);
}

/* False, after answering. */
static bool find(struct call *c, bool change, struct binding_filter *pair, struct found *f)
{
    *f = (struct found){.key = call_name(c, 4)};
    if (!read_pair(c, change, pair))
        return false;
    /* A properties_key is percent-encoded, and so is a path: some tools encode it once only. */
    broker_each_binding(c->b, pair, find_binding, f);
    f->loose = true;
    if (!f->object)
        broker_each_binding(c->b, pair, find_binding, f);
    if (f->object)
        return true;
    found_release(f);
    answer_not_found(c);
    return false;
}

static void show_binding(struct call *c)
{
    struct binding_filter pair;
    struct found f;
    if (!find(c, false, &pair, &f))
        return;
    answer_json(c, 200, list_columns(c, json_incref(f.object)));
    found_release(&f);
}

static void delete_binding(struct call *c)
{
    struct binding_filter pair;
    struct found f;
    struct session *s;
    if (!find(c, true, &pair, &f))
        return;
    if (call_session(c, pair.vhost, &s)) {
        struct binding_declaration d = {.to_exchange = pair.only_exchanges,
                                        .destination = pair.destination,
                                        .source = pair.source,
                                        .routing_key = buf_bytes(&f.routing_key),
                                        .arguments = buf_bytes(&f.arguments)};
        int code = session_unbind(s, &d, c->text);
        session_close(s);
        if (code)
            answer_reply(c, code);
        else
            answer_nothing(c, 204);
    }
    found_release(&f);
}

/* ---- making ---- */

bool binding_put(struct call *c, struct session *s, struct binding_declaration *d,
                 const json_t *from, struct buf *properties_key)
{
    struct buf arguments = {0};
    if (!body_text(c, from, "routing_key", "", &d->routing_key))
        return false;
    if (d->routing_key.len > 255) {
        answer_error(c, 400, "bad_request", "routing_key has more than 255 bytes");
        return false;
    }
    if (!table_of_json(c, json_object_get(from, "arguments"), &arguments)) {
        answer_status(c, BECK_EINVAL);
        return false;
    }
    d->arguments = buf_bytes(&arguments);
    int code = session_bind(s, d, c->text);
    if (!code && properties_key)
        broker_properties_key(d->routing_key, d->arguments, properties_key);
    buf_release(&arguments);
    if (code)
        answer_reply(c, code);
    return code == 0;
}

static void append_encoded(struct buf *out, beck_bytes text)
{
    const uint8_t *at = text.data;
    for (size_t i = 0; i < text.len; i++)
        if ((at[i] >= 'a' && at[i] <= 'z') || (at[i] >= 'A' && at[i] <= 'Z') ||
            (at[i] >= '0' && at[i] <= '9') || strchr("-_.~", at[i] ? at[i] : '%'))
            buf_append_byte(out, at[i]);
        else
            buf_printf(out, "%%%02X", at[i]);
}

/* Relative to the path, as clients take it to pieces: "destination/key". */
static void put_location(struct call *c, const struct binding_filter *pair, beck_bytes key)
{
    struct buf out;
    buf_init(&out, LOCATION_MAX);
    append_encoded(&out, pair->destination);
    buf_append_text(&out, "/");
    append_encoded(&out, key);
    if (buf_terminate(&out) == BECK_OK)
        http_set_header(c->r, "Location", (const char *)out.data);
    buf_release(&out);
}

static void post_binding(struct call *c)
{
    struct binding_filter pair;
    struct session *s;
    if (!read_pair(c, true, &pair) || !call_session(c, pair.vhost, &s))
        return;
    struct binding_declaration d = {
        .to_exchange = pair.only_exchanges, .destination = pair.destination, .source = pair.source};
    struct buf key;
    buf_init(&key, 4096);
    if (binding_put(c, s, &d, c->body, &key)) {
        put_location(c, &pair, buf_bytes(&key));
        answer_nothing(c, 201);
    }
    buf_release(&key);
    session_close(s);
}

const struct management_route management_routes_bindings[] = {
    {"GET", "/api/bindings", LEVEL_ANY, false, list_bindings, "management.bindings"},
    {"GET", "/api/bindings/{vhost}", LEVEL_ANY, false, list_bindings_of_vhost,
     "management.vhostBindings"},
    {"GET", "/api/bindings/{vhost}/e/{source}/{kind}/{destination}", LEVEL_ANY, false,
     list_bindings_between, "management.bindingsBetween"},
    {"POST", "/api/bindings/{vhost}/e/{source}/{kind}/{destination}", LEVEL_ANY, true, post_binding,
     "management.bind"},
    {"GET", "/api/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties}", LEVEL_ANY, false,
     show_binding, "management.binding"},
    {"DELETE", "/api/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties}", LEVEL_ANY,
     false, delete_binding, "management.unbind"},
    {"GET", "/api/exchanges/{vhost}/{exchange}/bindings/source", LEVEL_ANY, false,
     list_bindings_from, "management.exchangeSource"},
    {"GET", "/api/exchanges/{vhost}/{exchange}/bindings/destination", LEVEL_ANY, false,
     list_bindings_to_exchange, "management.exchangeDestination"},
    {"GET", "/api/queues/{vhost}/{queue}/bindings", LEVEL_ANY, false, list_bindings_to_queue,
     "management.queueBindings"},
    {0}};
