/*
 * One request: what it is made of, what its handler may ask, and its answer on the way out.
 *
 * An answer is encoded by whoever gives it, on its thread; the loop only hands it to the output. Small
 * ones are copied there, large ones stay where they are until they are sent, and so do blocks and ranges
 * of files between their parts.
 */
#include "access/user.h"
#include "base/clock.h"
#include "kafka/message/sasl.h"
#include "wire/kafka/wire_impl.h"

#include <stdlib.h>

#define SASL_AUTHENTICATE 36
#define HEADER_MIN 8
#define ANSWER_HEAD 9 /* size, correlation id, and the tags of newer headers */

#define TURN_NS INT64_C(5000000) /* on a thread of the pool, when others wait */
#define UNREAD_NS 333333         /* for each ms of receive_timeout_ms */

static beck_bytes from(beck_bytes b, size_t at)
{
    return bytes_of((const uint8_t *)b.data + at, b.len - at);
}

static void set_counted(struct kafka_request *r, size_t now)
{
    struct memory *m = &r->wire->memory;
    if (now > r->counted)
        memory_add(m, r->class, now - r->counted);
    if (r->listed)
        r->c->waiting_bytes += now - r->counted;
    size_t before = r->counted;
    r->counted = now;
    if (now < before)
        memory_give(m, r->class, before - now);
}

/* By its owner, on the loop. */
static void recount(struct kafka_request *r)
{
    set_counted(r, r->frame_len + r->decoded.taken + r->arena.taken + r->answer.out.cap);
}

/* ---- the start ---- */

struct head {
    int16_t key, version;
    int32_t correlation;
    beck_bytes client_id;
    size_t size;
};

/* The tags behind the header of newer versions; nothing in them is of use. */
static bool skip_tags(beck_bytes frame, size_t *at)
{
    const uint8_t *p = frame.data;
    uint64_t numbers[2], count = 0;
    for (uint64_t left = 1, which = 0; left > 0; which = 1) {
        for (int i = 0; i < (which ? 2 : 1); i++) {
            numbers[i] = 0;
            uint8_t b = 0x80;
            for (int shift = 0; b & 0x80; shift += 7) {
                if (*at >= frame.len || shift > 28)
                    return false;
                b = p[(*at)++];
                numbers[i] |= (uint64_t)(b & 0x7f) << shift;
            }
        }
        if (which == 0) {
            count = numbers[0];
        } else if (numbers[1] > frame.len - *at) {
            return false;
        } else {
            *at += numbers[1];
            count--;
        }
        left = count;
    }
    return true;
}

static bool read_head(beck_bytes frame, struct head *h)
{
    const uint8_t *p = frame.data;
    if (frame.len < HEADER_MIN)
        return false;
    *h = (struct head){.key = (int16_t)get_u16(p),
                       .version = (int16_t)get_u16(p + 2),
                       .correlation = (int32_t)get_u32(p + 4),
                       .size = HEADER_MIN};
    if (frame.len < HEADER_MIN + 2)
        return false;
    int16_t n = (int16_t)get_u16(p + HEADER_MIN);
    h->size += 2;
    if (n < -1 || (n > 0 && (size_t)n > frame.len - h->size))
        return false;
    if (n >= 0)
        h->client_id = bytes_of(p + h->size, (size_t)n);
    h->size += n > 0 ? (size_t)n : 0;
    return true;
}

static struct kafka_request *make(struct kafka_connection *c, const struct api *api,
                                  const struct head *h, beck_bytes kept)
{
    struct kafka_request *r = malloc(sizeof *r + kept.len);
    if (!r)
        return NULL;
    memset(r, 0, sizeof *r);
    if (kept.len)
        memcpy(r->bytes, kept.data, kept.len);
    r->c = c;
    r->wire = c->wire;
    r->loop = connection_loop(c->net);
    r->api = api;
    r->version = h->version;
    r->correlation = h->correlation;
    r->endpoint = c->place->advertised;
    if (!*r->endpoint.host)
        r->endpoint.host = c->host;
    r->identity = c->identity ? identity_retain(c->identity) : NULL;
    kafka_arena_init(&r->decoded, DECODED_MAX);
    kafka_arena_init(&r->arena, ARENA_MAX);
    kafka_writer_init(&r->answer, ANSWER_MAX);
    return r;
}

static const char *decode(struct kafka_request *r, beck_bytes bytes)
{
    const struct kafka_table *t = r->api->request();
    r->body_at = bytes.data;
    r->body = kafka_alloc(&r->decoded, t->size);
    if (!r->body)
        return "there is no memory for a request";
    beck_error err;
    beck_status status = kafka_decode(t, r->version, bytes, &r->decoded, r->body, NULL, &err);
    if (status)
        kafka_log(r->c, KAFKA_LOG_INFO, "a Kafka request cannot be read", err.text);
    return status ? "a request cannot be read" : NULL;
}

/* Where the handler finds it. False: no memory. */
static bool keep_frame(struct kafka_request *r, beck_bytes frame)
{
    r->whole = frame;
    r->frame_len = frame.len;
    if (r->api->in_place)
        return true;
    r->frame = malloc(frame.len);
    if (r->frame)
        memcpy(r->frame, frame.data, frame.len);
    r->whole = bytes_of(r->frame, frame.len);
    return r->frame != NULL;
}

static void request_free(struct kafka_request *r)
{
    memory_unhold(&r->wire->memory, &r->holder);
    if (r->counted)
        memory_give(&r->wire->memory, r->class, r->counted);
    identity_release(r->identity);
    kafka_writer_release(&r->answer);
    kafka_arena_release(&r->decoded);
    kafka_arena_release(&r->arena);
    free(r->frame);
    r->gone = true;
    if (!atomic_load(&r->pressed))
        free(r);
}

struct kafka_request *request_new(struct kafka_connection *c, beck_bytes frame, const char **why)
{
    struct head h;
    *why = "a request has no header";
    if (!read_head(frame, &h))
        return NULL;
    const struct api *api = api_find(h.key);
    *why = "a request is of a kind that is not known";
    if (!api)
        return NULL;
    *why = "a request came before the login";
    if (!c->identity && !api->open)
        return NULL;
    bool refused = h.version < api->first || h.version > api->last;
    *why = "a request is of a version that is not known";
    if (refused && !api->refuse)
        return NULL;
    *why = "a request has no header";
    if (!refused && h.version >= api->request()->flexible && !skip_tags(frame, &h.size))
        return NULL;
    struct kafka_request *r = make(c, api, &h, h.client_id);
    *why = "there is no memory for a request";
    if (!r)
        return NULL;
    r->refused = refused;
    if (h.client_id.data)
        r->client_id = bytes_of(r->bytes, h.client_id.len);
    if (keep_frame(r, frame))
        *why = refused ? NULL : decode(r, from(r->whole, h.size));
    if (*why) {
        request_free(r);
        return NULL;
    }
    r->class = memory_class_of(frame.len);
    r->counted = frame.len;
    recount(r);
    return r;
}

struct kafka_request *request_of_token(struct kafka_connection *c, beck_bytes token,
                                       const char **why)
{
    struct head h = {.version = 0};
    struct kafka_request *r = make(c, api_find(SASL_AUTHENTICATE), &h, token);
    *why = "there is no memory for a request";
    if (!r)
        return NULL;
    struct kafka_sasl_authenticate_request *body = kafka_alloc(&r->decoded, sizeof *body);
    if (!body) {
        request_free(r);
        return NULL;
    }
    body->auth_bytes = bytes_of(r->bytes, token.len);
    r->body = body;
    r->token = true;
    r->class = memory_class_of(token.len);
    r->counted = r->frame_len = token.len;
    recount(r);
    return r;
}

/* ---- its memory ---- */

static void drop_frame(struct kafka_request *r)
{
    kafka_arena_release(&r->decoded);
    free(r->frame);
    r->frame = NULL;
    r->frame_len = 0;
    r->whole = (beck_bytes){0};
    r->body = NULL;
}

void request_forget_body(struct kafka_request *r)
{
    size_t less = r->frame_len + r->decoded.taken;
    if (r->frame || less == 0)
        return;
    drop_frame(r);
    set_counted(r, r->counted - less);
}

void request_answered(struct kafka_request *r)
{
    drop_frame(r);
    if (r->answer.cut_count == 0)
        kafka_arena_release(&r->arena);
    recount(r);
    if (r->counted > HELD_SMALL)
        request_holds(r);
}

void request_waits(struct kafka_request *r)
{
    recount(r);
    request_holds(r);
}

const void *request_keep(struct kafka_request *r)
{
    size_t head = (size_t)(r->body_at - (const uint8_t *)r->whole.data);
    uint8_t *frame = malloc(r->whole.len);
    if (!frame)
        return NULL;
    memcpy(frame, r->whole.data, r->whole.len);
    struct kafka_arena before = r->decoded;
    const void *body = r->body;
    kafka_arena_init(&r->decoded, DECODED_MAX);
    beck_bytes whole = bytes_of(frame, r->whole.len);
    if (decode(r, from(whole, head))) {
        kafka_arena_release(&r->decoded);
        r->decoded = before;
        r->body = (void *)(uintptr_t)body;
        free(frame);
        return NULL;
    }
    kafka_arena_release(&before);
    r->frame = frame;
    r->whole = whole;
    r->c->holder = r;
    return r->body;
}

void request_lets_go_on(struct kafka_request *r)
{
    kafka_lets_go_on(r);
}

/* On the loop: it is asked to let go of its memory. One that waits for something else answers with what there
 * is; one whose answer the client does not take ends with its connection. */
static void run_press(struct net_task *t)
{
    struct kafka_request *r =
        (struct kafka_request *)(void *)((char *)t - offsetof(struct kafka_request, press_task));
    struct kafka_connection *c = r->c;
    void (*fn)(struct kafka_request * r) = r->on_short;
    atomic_store(&r->pressed, false);
    if (r->gone) {
        free(r);
        return;
    }
    if (!r->answered && fn) {
        r->on_short = NULL;
        fn(r);
    } else if (r->sending > 0 && connection_now_ns(c->net) - connection_sent_ns(c->net) >
                                     r->wire->settings.receive_timeout_ms * (int64_t)UNREAD_NS) {
        kafka_drop(c, "memory is short, and an answer is not read");
    }
}

static void press(struct memory_holder *h)
{
    struct kafka_request *r =
        (struct kafka_request *)(void *)((char *)h - offsetof(struct kafka_request, holder));
    if (atomic_exchange(&r->pressed, true))
        return;
    r->press_task.run = run_press;
    net_post(r->loop, &r->press_task);
}

void request_holds(struct kafka_request *r)
{
    struct memory *m = &r->wire->memory;
    if (r->counted <= HELD_SMALL || r->holder.on)
        return;
    r->holder.press = press;
    memory_hold(m, r->class, &r->holder);
    if (memory_is_short(m, r->class))
        press(&r->holder);
}

/* ---- what handlers ask ---- */

const void *request_body(const struct kafka_request *r)
{
    return r->body;
}

int16_t request_version(const struct kafka_request *r)
{
    return r->version;
}

beck_bytes request_client_id(const struct kafka_request *r)
{
    return r->client_id;
}

struct identity *request_identity(const struct kafka_request *r)
{
    return r->identity;
}

const struct net_peer *request_peer(const struct kafka_request *r)
{
    return connection_peer(r->c->net);
}

const struct kafka_endpoint *request_endpoint(const struct kafka_request *r)
{
    return &r->endpoint;
}

const _Atomic(bool) *request_gone(const struct kafka_request *r)
{
    return &r->c->gone;
}

struct kafka *request_kafka(const struct kafka_request *r)
{
    return r->wire->context.kafka;
}

beck *request_engine(const struct kafka_request *r)
{
    return r->wire->context.engine;
}

void *request_alloc(struct kafka_request *r, size_t size)
{
    return kafka_alloc(&r->arena, size);
}

struct kafka_arena *request_arena(struct kafka_request *r)
{
    return &r->arena;
}

void request_set_state(struct kafka_request *r, void *state)
{
    r->state = state;
}

void *request_state(const struct kafka_request *r)
{
    return r->state;
}

void request_on_close(struct kafka_request *r, void (*fn)(struct kafka_request *r))
{
    r->on_close = fn;
}

void request_on_short(struct kafka_request *r, void (*fn)(struct kafka_request *r))
{
    r->on_short = fn;
}

void request_at_end(struct kafka_request *r, void (*fn)(struct kafka *k, const void *connection))
{
    r->c->at_end = fn;
}

const void *request_connection(const struct kafka_request *r)
{
    return r->c;
}

/* ---- to the pool and back ---- */

static void run_deferred(struct job *job)
{
    struct kafka_request *r = (struct kafka_request *)job; /* its first member */
    r->turn_ns = clock_mono_ns(clock_system());
    r->run(r);
}

static struct pool *pool_of(const struct kafka_request *r)
{
    return r->api->login ? &r->wire->logins : &r->wire->pool;
}

bool request_gives_way(const struct kafka_request *r)
{
    struct pool *p = pool_of(r);
    if (r->turn_ns == 0 || clock_mono_ns(clock_system()) - r->turn_ns < TURN_NS)
        return false;
    mutex_lock(&p->lock);
    bool wanted = p->waiting > 0;
    mutex_unlock(&p->lock);
    return wanted;
}

void request_defer(struct kafka_request *r, void (*fn)(struct kafka_request *r))
{
    r->run = fn;
    r->job.run = run_deferred;
    pool_push(pool_of(r), &r->job);
}

void request_begin_large(struct kafka_request *r)
{
    struct kafka_wire *w = r->wire;
    mutex_lock(&w->large_lock);
    while (w->large)
        cond_wait(&w->large_ended, &w->large_lock);
    w->large = true;
    mutex_unlock(&w->large_lock);
}

void request_end_large(struct kafka_request *r)
{
    struct kafka_wire *w = r->wire;
    mutex_lock(&w->large_lock);
    w->large = false;
    cond_signal(&w->large_ended);
    mutex_unlock(&w->large_lock);
}

static struct kafka_request *of_task(struct net_task *t)
{
    return (struct kafka_request *)(void *)((char *)t - offsetof(struct kafka_request, task));
}

static void come_back(struct net_task *t)
{
    kafka_answered(of_task(t));
}

static void run_posted(struct net_task *t)
{
    struct kafka_request *r = of_task(t);
    r->run(r);
}

void request_post(struct kafka_request *r, void (*fn)(struct kafka_request *r))
{
    r->run = fn;
    r->task.run = run_posted;
    net_post(connection_loop(r->c->net), &r->task);
}

/* The connection is not gone: it waits for this request. */
static void go_back(struct kafka_request *r)
{
    struct kafka_connection *c = r->c;
    if (pthread_equal(pthread_self(), c->thread)) {
        kafka_answered(r);
        return;
    }
    r->task.run = come_back;
    net_post(connection_loop(c->net), &r->task);
}

void request_fail(struct kafka_request *r, const char *why)
{
    r->failed = why;
    go_back(r);
}

static bool has_long_header(const struct kafka_request *r)
{
    return r->api->response()->flexible <= r->version && !r->api->short_header;
}

static void answer_token(struct kafka_request *r, beck_bytes bytes)
{
    uint8_t size[4];
    put_u32(size, (uint32_t)bytes.len);
    if (buf_append(&r->answer.out, size, sizeof size) ||
        buf_append(&r->answer.out, bytes.data, bytes.len))
        r->failed = "there is no memory for an answer";
    go_back(r);
}

void request_answer(struct kafka_request *r, const void *body)
{
    struct kafka_writer *w = &r->answer;
    if (r->token) {
        answer_token(r, ((const struct kafka_sasl_authenticate_response *)body)->auth_bytes);
        return;
    }
    r->silent = body == NULL;
    if (body) {
        size_t head = has_long_header(r) ? ANSWER_HEAD : ANSWER_HEAD - 1;
        w->status = buf_reserve(&w->out, 256);
        if (!w->status) {
            memset(w->out.data, 0, head);
            put_u32(w->out.data + 4, (uint32_t)r->correlation);
            w->out.len = head;
        }
        kafka_encode(r->api->response(), r->version, body, w);
        size_t size = w->out.len + w->cut_bytes - 4;
        if (w->status || size > INT32_MAX)
            r->failed = "an answer is too long, or there is no memory for it";
        else
            put_u32(w->out.data, (uint32_t)size);
    }
    go_back(r);
}

/* ---- the way out ---- */

static void part_sent(struct kafka_request *r)
{
    if (--r->sending == 0)
        request_free(r);
}

static void all_sent(void *ctx)
{
    part_sent(ctx);
}

struct range { /* of an answer, until it is sent */
    struct kafka_request *request;
    struct kafka_records records;
};

static void range_sent(void *ctx)
{
    struct range *g = ctx;
    if (g->records.release)
        g->records.release(g->records.ctx);
    part_sent(g->request);
}

static void put_range(struct kafka_request *r, struct connection *net, struct range *g,
                      const struct kafka_records *records)
{
    *g = (struct range){r, *records};
    r->sending++;
    if (records->file_size) {
        connection_write_file(net, records->fd, records->position, records->file_size, range_sent,
                              g);
    } else if (records->block && !records->release) {
        connection_write_block(net, records->block, records->bytes);
        range_sent(g);
    } else {
        connection_write_memory(net, records->bytes, range_sent, g);
    }
}

static void send_parts(struct kafka_request *r, struct connection *net)
{
    struct kafka_writer *w = &r->answer;
    struct range *ranges = kafka_alloc_many(&r->arena, w->cut_count, sizeof *ranges);
    if (!ranges) {
        connection_abort(net, "there is no memory for an answer");
        return;
    }
    size_t at = 0, count = w->cut_count;
    w->cut_count = 0; /* from here on they are the ranges' */
    for (size_t i = 0; i < count; i++) {
        connection_write(net, w->out.data + at, w->cuts[i].at - at);
        at = w->cuts[i].at;
        put_range(r, net, &ranges[i], &w->cuts[i].records);
    }
    connection_write(net, w->out.data + at, w->out.len - at);
}

void request_send(struct kafka_request *r, struct connection *net)
{
    struct kafka_writer *w = &r->answer;
    r->sending = 1;
    if (!net || r->silent || r->failed) {
        /* nothing is sent */
    } else if (w->cut_count > 0) {
        send_parts(r, net);
    } else if (w->out.len <= COPIED_MAX) {
        connection_write(net, w->out.data, w->out.len);
    } else {
        connection_write_memory(net, buf_bytes(&w->out), all_sent, r);
        return;
    }
    part_sent(r);
}
