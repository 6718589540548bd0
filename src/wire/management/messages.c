/*
 * Messages put and got by requests.
 *
 * A message that is got is held until all that were asked for are: else the same one would come again and
 * again.
 */
#include "wire/management/messages.h"

#include "wire/management/list.h"

#include "base/error.h"
#include "base/thread.h"
#include "wire/management/text.h"

#include <stdlib.h>

#define GET_MAX 50000 /* messages of one request */

/* ---- publishing ---- */

struct confirm {
    struct mutex lock;
    struct cond done;
    bool answered, stored;
};

static void confirmed(void *ctx, const uint64_t *tokens, size_t count, bool ack)
{
    struct confirm *w = ctx;
    (void)tokens;
    (void)count;
    mutex_lock(&w->lock);
    w->answered = true;
    w->stored = ack;
    cond_signal(&w->done);
    mutex_unlock(&w->lock);
}

static int put(struct call *c, struct publisher *p, const struct publication *m, bool *routed,
               struct confirm *w)
{
    enum published how = PUBLISHED_NOWHERE;
    int code;
    while ((code = publisher_add(p, m, 1, &how, c->text)) == BROKER_LATER) {
        publisher_flush(p);
        code = publisher_prepare(p, m->exchange, c->text);
        if (code)
            return code;
    }
    if (code)
        return code;
    publisher_flush(p);
    mutex_lock(&w->lock);
    while (!w->answered)
        cond_wait(&w->done, &w->lock);
    bool stored = w->stored;
    mutex_unlock(&w->lock);
    if (routed)
        *routed = how == PUBLISHED_QUEUED;
    if (stored)
        return 0;
    return broker_refuse(c->text, REPLY_PRECONDITION_FAILED,
                         "rejected Unable to publish message. Check queue limits.");
}

int message_put(struct call *c, struct session *s, const struct publication *m, bool *routed)
{
    struct confirm w = {0};
    struct publisher *p;
    struct publisher_events events = {.confirmed = confirmed, .ctx = &w};
    struct publication with = *m;
    with.confirm = true;
    mutex_init(&w.lock);
    cond_init(&w.done);
    int code = publisher_new(s, &events, &p, c->text);
    if (!code) {
        code = put(c, p, &with, routed, &w);
        publisher_free(p);
    }
    cond_release(&w.done);
    mutex_release(&w.lock);
    return code;
}

/* The payload as bytes; false, after answering. */
static bool read_payload(struct call *c, struct buf *out)
{
    beck_bytes text, encoding;
    if (!body_text(c, c->body, "payload", NULL, &text) ||
        !body_text(c, c->body, "payload_encoding", "string", &encoding))
        return false;
    buf_init(out, text.len + 1);
    bool ok = true, known = true;
    if (bytes_equal_text(encoding, "base64"))
        ok = text_from_base64(text, out);
    else if (bytes_equal_text(encoding, "string"))
        ok = buf_append(out, text.data, text.len) == BECK_OK;
    else
        known = false;
    if (!known)
        answer_error(c, 400, "bad_request", "Unsupported encoding. Please use string or base64.");
    else if (!ok)
        answer_error(c, 400, "bad_request", "payload is no base64");
    return ok && known;
}

/* "amq.default" stands for the exchange without a name, which no path can hold. */
static beck_bytes exchange_name(const struct call *c)
{
    beck_bytes name = call_name(c, 1);
    return bytes_equal_text(name, "amq.default") ? bytes_of("", 0) : name;
}

static void publish_in(struct call *c, beck_bytes vhost, const struct publication *m)
{
    struct session *s;
    bool routed = false;
    if (!call_session(c, vhost, &s))
        return;
    int code = message_put(c, s, m, &routed);
    session_close(s);
    if (code)
        answer_reply(c, code);
    else
        answer_json(c, 200, json_pack("{s:b}", "routed", routed));
}

static void publish(struct call *c)
{
    struct publication m = {.exchange = exchange_name(c)};
    struct buf body = {0}, properties = {0};
    beck_bytes vhost;
    if (!call_vhost(c, 0, true, &vhost))
        return;
    if (body_text(c, c->body, "routing_key", NULL, &m.routing_key) && read_payload(c, &body) &&
        properties_of_json(c, json_object_get(c->body, "properties"), &properties)) {
        m.properties = buf_bytes(&properties);
        m.body = bytes_of(body.data ? (const void *)body.data : "", body.len);
        if (m.routing_key.len > 255)
            answer_error(c, 400, "bad_request", "routing_key has more than 255 bytes");
        else
            publish_in(c, vhost, &m);
    }
    buf_release(&body);
    buf_release(&properties);
}

/* ---- getting ---- */

struct getting {
    struct list list;
    bool base64;
    int64_t count, truncate; /* -1: whole */
    enum settlement how;
    struct broker_queue *queue; /* a reference, once something was got */
    uint64_t *tags;
    size_t held;
};

static json_t *payload(struct getting *g, beck_bytes body, const char **encoding)
{
    if (g->truncate >= 0 && body.len > (size_t)g->truncate)
        body.len = (size_t)g->truncate;
    json_t *text = g->base64 ? NULL : json_stringn(body.len ? body.data : "", body.len);
    *encoding = "string";
    if (text)
        return text;
    struct buf out;
    buf_init(&out, body.len * 2 + 16);
    *encoding = "base64";
    if (text_to_base64(&out, body) == BECK_OK)
        text = json_stringn((const char *)out.data, out.len);
    buf_release(&out);
    return text;
}

static json_t *of_message(struct getting *g, const struct handed *m, uint32_t left)
{
    json_t *o = json_object();
    const char *encoding;
    json_put_number(o, "payload_bytes", (int64_t)m->body.len);
    json_put_flag(o, "redelivered", m->redelivered);
    json_put_text(o, "exchange", m->exchange);
    json_put_text(o, "routing_key", m->routing_key);
    json_put_number(o, "message_count", left);
    json_put(o, "properties", json_of_properties(m->properties));
    json_put(o, "payload", payload(g, m->body, &encoding));
    json_put_word(o, "payload_encoding", encoding);
    return o;
}

/* 0 or a reply code. Ends early when there is no memory for more; the list knows. */
static int get_all(struct call *c, struct session *s, struct getting *g)
{
    int failed = 0;
    while ((int64_t)g->held < g->count && !failed) {
        struct handed m;
        bool got = false;
        uint32_t left = 0;
        int code = session_get(s, call_name(c, 1), &m, &got, &left, c->text);
        if (code || !got)
            return code;
        if (!g->queue)
            g->queue = broker_queue_retain(m.queue);
        g->tags[g->held++] = m.tag;
        failed = list_add(&g->list, of_message(g, &m, left));
    }
    return 0;
}

static void settle_all(struct getting *g, bool answered)
{
    struct subscriber **nobody = g->held ? calloc(g->held, sizeof(*nobody)) : NULL;
    /* Nobody has seen what could not be answered. */
    enum settlement how = answered ? g->how : SETTLE_REQUEUE;
    if (nobody)
        broker_settle(g->queue, g->tags, nobody, g->held, how);
    for (size_t i = 0; !nobody && i < g->held; i++)
        broker_settle(g->queue, &g->tags[i], &(struct subscriber *){NULL}, 1, how);
    free(nobody);
    if (g->queue)
        broker_queue_release(g->queue);
}

/* False, after answering. */
static bool read_getting(struct call *c, struct getting *g)
{
    static const struct {
        const char *name;
        enum settlement how;
    } modes[] = {{"ack_requeue_true", SETTLE_REQUEUE},
                 {"ack_requeue_false", SETTLE_ACK},
                 {"reject_requeue_true", SETTLE_FAIL},
                 {"reject_requeue_false", SETTLE_REJECT}};
    beck_bytes mode, encoding;
    if (!body_text(c, c->body, "ackmode", NULL, &mode) ||
        !body_text(c, c->body, "encoding", NULL, &encoding) ||
        !body_number(c, c->body, "count", 1, &g->count) ||
        !body_number(c, c->body, "truncate", -1, &g->truncate))
        return false;
    size_t i = 0;
    while (i < sizeof modes / sizeof *modes && !bytes_equal_text(mode, modes[i].name))
        i++;
    if (i == sizeof modes / sizeof *modes) {
        answer_error(c, 400, "bad_request",
                     "Invalid ackmode value: %.*s. Valid values are: ack_requeue_true, "
                     "ack_requeue_false, reject_requeue_true, reject_requeue_false",
                     (int)(mode.len < 60 ? mode.len : 60), (const char *)mode.data);
        return false;
    }
    g->how = modes[i].how;
    g->base64 = bytes_equal_text(encoding, "base64");
    if (!g->base64 && !bytes_equal_text(encoding, "auto")) {
        answer_error(c, 400, "bad_request", "Unsupported encoding. Please use auto or base64.");
        return false;
    }
    if (g->count < 0 || g->count > GET_MAX) {
        answer_error(c, 400, "bad_request", "count is out of range; at most %d", GET_MAX);
        return false;
    }
    return true;
}

static void get(struct call *c)
{
    struct getting g = {0};
    struct session *s;
    beck_bytes vhost;
    if (!call_vhost(c, 0, true, &vhost) || !read_getting(c, &g) || !list_begin(&g.list, c))
        return;
    g.tags = calloc((size_t)g.count + 1, sizeof *g.tags);
    if (!g.tags) {
        list_abandon(&g.list);
        answer_error(c, 503, "service_unavailable", "no memory for so many messages");
        return;
    }
    if (!call_session(c, vhost, &s)) {
        list_abandon(&g.list);
        free(g.tags);
        return;
    }
    int code = get_all(c, s, &g);
    settle_all(&g, !code && !g.list.failed);
    session_close(s);
    free(g.tags);
    if (code) {
        list_abandon(&g.list);
        answer_reply(c, code);
    } else {
        list_answer(&g.list);
    }
}

const struct management_route management_routes_messages[] = {
    {"POST", "/api/exchanges/{vhost}/{exchange}/publish", LEVEL_ANY, true, publish,
     "management.publish"},
    {"POST", "/api/queues/{vhost}/{queue}/get", LEVEL_ANY, true, get, "management.get"},
    {0}};
