/*
 * Consumers of a queue of a server. Each is a connection of its own (hold=connection): when that
 * ends, the server gives back what it holds, as for a consumer that is closed; closing one waits for that.
 *
 * A take that waits is a request that waits, a second at most, and less while deliveries come: so
 * long it may take until the connection is free for something else. Whoever wakes the consumer ends the waiting, not the request: its answer is received by whatever the consumer does
 * next, and deliveries in it are given out by the next take, or returned when the consumer closes.
 *
 * Deliveries are kept in a table in the order in which they came, with a hole where one was
 * answered. When the connection breaks they are the consumer's no more: their tags become stale
 * here, since a server that was started again may give the same ones anew.
 */
#include "event/cloudevents.h"
#include "remote/remote_impl.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PREFETCH_DEFAULT 64
#define TAKE_MAX 256
#define ANSWER_AT_ONCE 1000 /* tags in one request */
#define WAIT_MIN_MS 50
#define WAIT_MAX_MS 1000
#define END_NS_MAX 3000000000

struct held {
    uint64_t tag;
    beck_document *document; /* NULL: a hole */
    uint32_t attempt;
    bool redelivered, given;
    int64_t deadline_ms;
};

struct remote_consumer {
    struct consumer_base base;
    struct remote *remote;
    struct remote_consumer *previous, *next;
    char *queue;
    uint32_t prefetch;
    struct connection *connection;
    bool asked;      /* a take is on its way */
    int64_t wait_ms; /* of the next take */
    int wake_fd;
    _Atomic(bool) woken;
    struct held *held; /* [first, end) */
    size_t first, end, cap;
    uint32_t count;     /* without holes */
    uint32_t fresh;     /* not given out yet */
    struct reply reply; /* of the answer that came last */
};

static struct remote_consumer *inside(beck_consumer *consumer)
{
    return (struct remote_consumer *)(void *)consumer;
}

/* ---- the table ---- */

static beck_status add_held(struct remote_consumer *c, const struct held *h)
{
    if (c->end == c->cap && c->first > c->cap / 2) {
        memmove(c->held, c->held + c->first, (c->end - c->first) * sizeof *c->held);
        c->end -= c->first;
        c->first = 0;
    }
    if (c->end == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 16;
        struct held *grown = realloc(c->held, cap * sizeof *grown);
        if (!grown)
            return BECK_ENOMEM;
        c->held = grown;
        c->cap = cap;
    }
    c->held[c->end++] = *h;
    c->count++;
    c->fresh++;
    return BECK_OK;
}

static struct held *find_held(struct remote_consumer *c, uint64_t tag)
{
    for (size_t i = c->first; i < c->end; i++)
        if (c->held[i].tag == tag && c->held[i].document && c->held[i].given)
            return &c->held[i];
    return NULL;
}

static void drop_held(struct remote_consumer *c, struct held *h)
{
    beck_document_free(h->document);
    h->document = NULL;
    c->count--;
    c->fresh -= !h->given;
    while (c->first < c->end && !c->held[c->first].document)
        c->first++;
    if (c->first == c->end)
        c->first = c->end = 0;
}

static void drop_all(struct remote_consumer *c)
{
    for (size_t i = c->first; i < c->end; i++)
        beck_document_free(c->held[i].document);
    c->first = c->end = 0;
    c->count = c->fresh = 0;
}

/* ---- opening and closing ---- */

static void free_consumer(struct remote_consumer *c)
{
    connection_close(c->connection);
    drop_all(c);
    reply_release(&c->reply);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    free(c->held);
    free(c->queue);
    free(c);
}

static void target_of_take(const struct remote_consumer *c, size_t max, int64_t wait_ms,
                           struct target *t)
{
    target_of_queue(t, c->queue, "/take");
    target_number(t, "max", (int64_t)max);
    target_number(t, "wait", wait_ms);
    target_param(t, "hold", beck_str("connection"));
    target_number(t, "prefetch", c->prefetch);
}

/* Makes the server's half: a take of nothing. */
static beck_status attach(struct remote_consumer *c, beck_error *err)
{
    struct target t;
    beck_status status = client_connect(c->remote->client, &c->connection, err);
    if (status)
        return status;
    target_of_take(c, 0, 0, &t);
    struct request q = {.method = "POST", .target = target_text(&t, err)};
    status = q.target ? connection_send(c->connection, &q, NULL, err) : BECK_ENOMEM;
    target_release(&t);
    if (!status)
        status = connection_receive(c->connection, &c->reply.response, -1, INT64_MAX, err);
    return status ? status : client_check(&c->reply.response, err);
}

beck_status remote_consumer_open(struct remote *r, const char *queue, uint32_t prefetch,
                                 beck_consumer **out, beck_error *err)
{
    beck_status status = BECK_OK;
    if (prefetch == 0)
        prefetch = PREFETCH_DEFAULT;
    if (prefetch > QUEUE_PREFETCH_MAX)
        return error_set(err, BECK_EINVAL, "prefetch = %u is out of range; use 1 to %d", prefetch,
                         QUEUE_PREFETCH_MAX);
    struct remote_consumer *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, BECK_ENOMEM, "no memory for a consumer");
    c->base.remote = true;
    c->remote = r;
    c->prefetch = prefetch;
    c->wait_ms = WAIT_MIN_MS;
    reply_init(&c->reply);
    c->queue = strdup(queue);
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!c->queue)
        status = error_set(err, BECK_ENOMEM, "no memory for a consumer");
    else if (c->wake_fd < 0)
        status = error_errno(err, errno, "no descriptor for a consumer");
    if (!status)
        status = attach(c, err);
    if (status) {
        free_consumer(c);
        return status;
    }
    mutex_lock(&r->lock);
    c->next = r->consumers;
    if (c->next)
        c->next->previous = c;
    r->consumers = c;
    mutex_unlock(&r->lock);
    *out = (beck_consumer *)(void *)c;
    return BECK_OK;
}

static void leave_handle(struct remote_consumer *c)
{
    struct remote *r = c->remote;
    mutex_lock(&r->lock);
    if (c->previous)
        c->previous->next = c->next;
    else
        r->consumers = c->next;
    if (c->next)
        c->next->previous = c->previous;
    mutex_unlock(&r->lock);
}

void remote_consumers_close(struct remote *r)
{
    while (r->consumers)
        remote_consumer_close((beck_consumer *)(void *)r->consumers);
}

void remote_consumer_wake(beck_consumer *consumer)
{
    struct remote_consumer *c = inside(consumer);
    uint64_t one = 1;
    atomic_store(&c->woken, true);
    while (write(c->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* ---- taking ---- */

/* What it held is not its own any more. */
static void lose_connection(struct remote_consumer *c)
{
    connection_close(c->connection);
    c->connection = NULL;
    c->asked = false;
    drop_all(c);
}

static beck_status add_delivery(struct remote_consumer *c, const struct api_delivery *said,
                                beck_error *err)
{
    struct held h = {.tag = said->tag,
                     .attempt = said->attempt,
                     .redelivered = said->redelivered,
                     .deadline_ms = said->deadline_ms};
    beck_status status = cloudevents_parse_exact(said->event, &h.document, err);
    if (status)
        return status;
    status = add_held(c, &h);
    if (!status)
        return BECK_OK;
    beck_document_free(h.document);
    return error_set(err, status, "no memory for a delivery");
}

static beck_status read_deliveries(struct remote_consumer *c, beck_error *err)
{
    struct api_deliveries said = {0};
    if (c->reply.response.status == 204) {
        c->wait_ms = c->wait_ms * 2 < WAIT_MAX_MS ? c->wait_ms * 2 : WAIT_MAX_MS;
        return BECK_OK;
    }
    c->wait_ms = WAIT_MIN_MS;
    beck_status status = client_check(&c->reply.response, err);
    if (status == BECK_ENOENT || status == BECK_ECLOSED)
        return error_set(err, BECK_ECLOSED, "queue \"%s\" has been deleted", c->queue);
    if (status)
        return status;
    status = reply_read(&c->reply, &shape_deliveries, &said, err);
    for (size_t i = 0; !status && i < said.count; i++)
        status = add_delivery(c, &said.list[i], err);
    reply_release(&c->reply);
    /* What cannot be understood cannot be answered either: the server takes it back. */
    if (status)
        lose_connection(c);
    return status;
}

/* Receives what is on its way. wake_fd -1: whatever happens. */
static beck_status receive(struct remote_consumer *c, int wake_fd, int64_t until_ns,
                           beck_error *err)
{
    beck_status status =
        connection_receive(c->connection, &c->reply.response, wake_fd, until_ns, err);
    if (status == BECK_ETIMEDOUT || status == BECK_ECLOSED)
        return status;
    c->asked = false;
    if (status || c->reply.response.last)
        lose_connection(c);
    return status ? status : read_deliveries(c, err);
}

static beck_status connect_again(struct remote_consumer *c, beck_error *err)
{
    if (c->connection && !c->asked && !connection_is_alive(c->connection))
        lose_connection(c);
    return c->connection ? BECK_OK : client_connect(c->remote->client, &c->connection, err);
}

static beck_status ask(struct remote_consumer *c, size_t max, int64_t wait_ms, beck_error *err)
{
    struct target t;
    beck_status status = connect_again(c, err);
    if (status)
        return status;
    target_of_take(c, max, wait_ms, &t);
    struct request q = {.method = "POST", .target = target_text(&t, err)};
    status = q.target ? connection_send(c->connection, &q, NULL, err) : BECK_ENOMEM;
    target_release(&t);
    if (status)
        lose_connection(c);
    c->asked = !status;
    return status;
}

static void drain(struct remote_consumer *c)
{
    uint64_t drained;
    (void)!read(c->wake_fd, &drained, sizeof drained);
}

static beck_status say_woken(struct remote_consumer *c, beck_error *err)
{
    drain(c);
    return error_set(err, BECK_ECLOSED, "queue \"%s\" has no more for this consumer", c->queue);
}

static size_t give(struct remote_consumer *c, beck_delivery *out, size_t max)
{
    size_t n = 0;
    for (size_t i = c->first; i < c->end && n < max && c->fresh > 0; i++) {
        struct held *h = &c->held[i];
        if (!h->document || h->given)
            continue;
        h->given = true;
        c->fresh--;
        out[n++] = (beck_delivery){.event = beck_document_event(h->document, 0),
                                   .tag = h->tag,
                                   .attempt = h->attempt,
                                   .redelivered = h->redelivered,
                                   .deadline_ms = h->deadline_ms};
    }
    return n;
}

beck_status remote_take(beck_consumer *consumer, beck_delivery *out, size_t max, int64_t timeout_ms,
                        size_t *count, beck_error *err)
{
    struct remote_consumer *c = inside(consumer);
    struct clock *clock = clock_system();
    int64_t until_ns = INT64_MAX;
    if (max == 0)
        return error_set(err, BECK_EINVAL, "nothing to take: max is 0");
    if (max > TAKE_MAX)
        max = TAKE_MAX;
    if (timeout_ms >= 0 && timeout_ms <= INT64_MAX / 2000000)
        until_ns = clock_mono_ns(clock) + timeout_ms * 1000000;
    if (c->count - c->fresh >= c->prefetch)
        return error_set(err, BECK_ELIMIT,
                         "this consumer holds %u deliveries, its prefetch; settle some first",
                         c->count - c->fresh);
    for (bool first = true;; first = false) {
        if (atomic_exchange(&c->woken, false))
            return say_woken(c, err);
        size_t n = c->fresh > 0 ? give(c, out, max) : 0;
        if (n > 0) {
            *count = n;
            return BECK_OK;
        }
        int64_t now_ns = clock_mono_ns(clock);
        if (now_ns >= until_ns && !first)
            return error_set(err, BECK_ETIMEDOUT, "nothing came to queue \"%s\" in time", c->queue);
        int64_t left_ms = until_ns <= now_ns ? 0 : (until_ns - now_ns + 999999) / 1000000;
        size_t room = c->prefetch - c->count;
        beck_status status = BECK_OK;
        bool earlier = c->asked;
        if (!earlier)
            status =
                ask(c, max < room ? max : room, left_ms < c->wait_ms ? left_ms : c->wait_ms, err);
        /* What this call asked for comes in time by itself. */
        if (!status)
            status = receive(c, c->wake_fd, earlier ? until_ns : INT64_MAX, err);
        bool waits = status && c->asked;
        if (waits && status == BECK_ECLOSED && !atomic_load(&c->woken))
            drain(c); /* of a wake that an earlier call has answered already */
        else if (status && !waits)
            return status;
    }
}

/* ---- saying how it went ---- */

static beck_status say_stale(beck_error *err)
{
    return error_set(err, BECK_ESTALE,
                     "the delivery is no longer held: it was settled before, or its deadline "
                     "passed; raise deadline_ms or extend it");
}

/* What one request says of deliveries. */
struct verb {
    const char *path;
    const struct shape *asked, *answered;
    bool ends; /* they are the consumer's no more afterwards */
};

static const struct verb settling = {"/settle", &shape_tags, &shape_settled, true};
static const struct verb retrying = {"/retry", &shape_tags_retry, &shape_retried, true};
static const struct verb rejecting = {"/reject", &shape_tags_reject, &shape_rejected, true};
static const struct verb returning = {"/return", &shape_tags, &shape_returned, true};
static const struct verb extending = {"/extend", &shape_tags, &shape_extended, false};

/* *stale: whether the server held one no more. */
static beck_status exchange(struct remote_consumer *c, const struct verb *v,
                            const struct api_tags *tags, bool *stale, beck_error *err)
{
    struct target t;
    struct buf body;
    struct api_done done = {0};
    buf_init(&body, 1u << 20);
    target_of_queue(&t, c->queue, v->path);
    beck_status status = shape_write(v->asked, tags, &body);
    struct request q = {.method = "POST", .body = buf_bytes(&body)};
    if (status)
        error_set(err, status, "no memory for an answer to a delivery");
    else if (!(q.target = target_text(&t, err)))
        status = BECK_ENOMEM;
    bool sent = !status;
    if (!status)
        status = connection_send(c->connection, &q, NULL, err);
    if (!status)
        status = connection_receive(c->connection, &c->reply.response, -1, INT64_MAX, err);
    if ((status && sent) || c->reply.response.last)
        lose_connection(c);
    if (!status)
        status = client_check(&c->reply.response, err);
    if (!status)
        status = reply_read(&c->reply, v->answered, &done, err);
    if (!status)
        *stale |= done.stale_count > 0;
    reply_release(&c->reply);
    buf_release(&body);
    target_release(&t);
    return status;
}

/* Before anything is said: what is on its way comes first, since a connection is one line. */
static beck_status clear_the_way(struct remote_consumer *c, beck_error *err)
{
    beck_error why;
    beck_status status = c->asked ? receive(c, -1, INT64_MAX, &why) : BECK_OK;
    /* What the take said is no matter here, as long as the connection is whole. */
    if (status && !c->connection)
        return error_set(err, status, "%s", why.text);
    if (c->connection && !connection_is_alive(c->connection))
        lose_connection(c);
    return BECK_OK;
}

/* Those that are not held are stale, and not spoken of. */
static beck_status tell(struct remote_consumer *c, const struct verb *v, struct api_tags *say,
                        bool *stale, beck_error *err)
{
    uint64_t held[ANSWER_AT_ONCE];
    size_t n = 0;
    assert(say->count <= ANSWER_AT_ONCE);
    beck_status status = clear_the_way(c, err);
    if (status)
        return status;
    for (size_t i = 0; i < say->count; i++)
        if (find_held(c, say->tags[i]))
            held[n++] = say->tags[i];
    *stale |= n < say->count;
    say->tags = held;
    say->count = n;
    if (n > 0)
        status = exchange(c, v, say, stale, err);
    for (size_t i = 0; i < n && !status && v->ends; i++) {
        struct held *h = find_held(c, held[i]);
        if (h)
            drop_held(c, h);
    }
    return status;
}

beck_status remote_settle(beck_consumer *consumer, const uint64_t *tags, size_t count,
                          beck_error *err)
{
    bool stale = false;
    for (size_t at = 0; at < count; at += ANSWER_AT_ONCE) {
        size_t n = count - at < ANSWER_AT_ONCE ? count - at : ANSWER_AT_ONCE;
        struct api_tags say = {.tags = (uint64_t *)(uintptr_t)(tags + at), .count = n};
        beck_status status = tell(inside(consumer), &settling, &say, &stale, err);
        if (status)
            return status;
    }
    return stale ? say_stale(err) : BECK_OK;
}

static beck_status tell_one(beck_consumer *consumer, const struct verb *v, uint64_t tag,
                            int64_t delay_ms, const char *why, beck_error *err)
{
    bool stale = false;
    char text[API_WHY_MAX + 1];
    struct api_tags say = {.tags = &tag, .count = 1, .delay_ms = delay_ms};
    if (why && *why) {
        /* No more than is allowed, and no half of a character. */
        size_t len = strnlen(why, API_WHY_MAX);
        while (len > 0 && why[len] && ((unsigned char)why[len] & 0xc0) == 0x80)
            len--;
        memcpy(text, why, len);
        text[len] = 0;
        say.why = text;
    }
    beck_status status = tell(inside(consumer), v, &say, &stale, err);
    return !status && stale ? say_stale(err) : status;
}

beck_status remote_retry(beck_consumer *consumer, uint64_t tag, int64_t delay_ms, const char *why,
                         beck_error *err)
{
    if (delay_ms < -1)
        return error_set(err, BECK_EINVAL, "delay_ms = %lld is negative; -1 means the back-off",
                         (long long)delay_ms);
    return tell_one(consumer, &retrying, tag, delay_ms, why, err);
}

beck_status remote_reject(beck_consumer *consumer, uint64_t tag, const char *why, beck_error *err)
{
    return tell_one(consumer, &rejecting, tag, -1, why, err);
}

beck_status remote_return(beck_consumer *consumer, uint64_t tag, beck_error *err)
{
    return tell_one(consumer, &returning, tag, -1, NULL, err);
}

beck_status remote_extend(beck_consumer *consumer, uint64_t tag, beck_error *err)
{
    return tell_one(consumer, &extending, tag, -1, NULL, err);
}

/* What was never given out was not delivered: it does not count as an attempt. */
static void return_fresh(struct remote_consumer *c)
{
    if (clear_the_way(c, NULL))
        return;
    uint64_t tags[ANSWER_AT_ONCE];
    size_t n = 0;
    for (size_t i = c->first; i < c->end && n < ANSWER_AT_ONCE; i++) {
        struct held *h = &c->held[i];
        if (!h->document || h->given)
            continue;
        h->given = true;
        c->fresh--;
        tags[n++] = h->tag;
    }
    bool stale = false;
    struct api_tags say = {.tags = tags, .count = n};
    if (n > 0)
        (void)tell(c, &returning, &say, &stale, NULL);
}

/* What it holds is back in the queue once this returns; a server that does not answer for long puts it back
 * when it sees the end of the connection. */
static void end_hold(struct remote_consumer *c)
{
    struct target t;
    if (!c->connection || c->asked)
        return;
    target_of_queue(&t, c->queue, "/take");
    target_param(&t, "hold", beck_str("end"));
    struct request q = {.method = "POST", .target = target_text(&t, NULL)};
    if (q.target && !connection_send(c->connection, &q, NULL, NULL))
        (void)connection_receive(c->connection, &c->reply.response, -1,
                                 clock_mono_ns(clock_system()) + END_NS_MAX, NULL);
    target_release(&t);
}

void remote_consumer_close(beck_consumer *consumer)
{
    struct remote_consumer *c = inside(consumer);
    leave_handle(c);
    return_fresh(c);
    end_hold(c);
    free_consumer(c);
}
