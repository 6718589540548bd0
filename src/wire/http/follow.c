/*
 * Server-sent events: followers of buses.
 *
 * Followers that want the same (bus, partition, filters) share a feed. The feed reads each event once,
 * writes it once as text, and keeps the last of that in a ring of chunks, which followers' connections
 * refer to until they are sent. When something is published the feed is pumped: at once when it was quiet,
 * else some milliseconds after it was pumped last, so that a thousand followers are woken some ten
 * times a second and not for each event.
 *
 * Who begins in the past, or fell so far behind that the ring went on without it, reads the log by
 * itself until it is where the feed is. Positions are exact: a follower and a feed are joined when
 * both are at the same position in each partition.
 *
 *   JOINING   waits for the feed to be pumped, so that the feed is not behind it
 *   CATCHING  reads from its own position up to `target`, where the feed was when they were joined
 *   LIVE      takes chunk after chunk, beginning with the first that came after they were joined
 *
 * Nothing is kept for a follower but what it is sending: a few chunks, which it may be the last to hold.
 *
 * One job at a time pumps a feed, and it alone frees it, once nobody follows any more: so whatever asks
 * for a pump may do so with any lock held.
 *
 * Locks: feed.lock guards the ring and its followers' states; it is held over no reading and no writing
 * of text. hub.lock guards the list of feeds and who uses them. Neither is taken inside the other.
 */
#include "wire/http/follow.h"

#include "base/clock.h"
#include "base/error.h"
#include "wire/http/follow_chunk.h"
#include "wire/http/http_impl.h"

#include <assert.h>
#include <stdlib.h>

#define TICK_MIN_NS 4000000
#define TICK_MAX_NS 25000000
#define TICK_FOLLOWER_NS 20000 /* each follower makes the tick longer by that */
#define RING 1024              /* chunks at most */

enum follower_state { JOINING, CATCHING, LIVE };

struct follower {
    struct feed *feed;
    struct http_request *request;
    struct follower *next, *previous; /* of the feed */
    enum follower_state state;
    bool waits;         /* it was told that there is nothing, and is to be woken */
    bool pinged, ended; /* what it is to do when it is woken */
    bool reading_runs;  /* a job of the pool has `reading` and `own` */
    bool released;      /* the request is gone; the job frees it */
    uint64_t wanted;    /* LIVE: the number of the chunk that comes next */
    int64_t *at;        /* of each lane: where it is, when it is at the end of what it holds */
    int64_t *target;    /* CATCHING */
    int64_t sent_ns;
    struct reading *reading;
    struct chunk *own; /* what it has read by itself */
    struct job job;
};

struct feed {
    struct follow_hub *hub;
    struct feed *next, *previous;
    beck_bus *bus;
    int32_t partition_plus_1;
    char *type, *subject; /* NULL: all */
    bool positions;
    size_t follower_count; /* with hub.lock; the pump frees a feed that has none */

    struct mutex lock;
    struct follower *followers;
    struct chunk *ring[RING];
    uint64_t first, end; /* numbers of the chunks in the ring */
    size_t ring_bytes;
    int64_t *at;          /* of each lane: behind the last chunk */
    _Atomic(bool) closed; /* the bus is gone, or has more partitions than are read here: whoever
                             follows comes again. Set with `lock` */

    /* One pump at a time has these. */
    struct reading *reading;
    struct partition_watch *watches;
    _Atomic(int64_t) next_ns; /* not pumped before */
    struct job job;
    struct timer tick, ping;
    _Atomic(bool) ping_wanted;
    _Atomic(int) pump; /* enum pump */
};

/* WANTED: the job was pushed, or `tick` is set; AGAIN: it runs, and is to run once more. */
enum pump { PUMP_NOT, PUMP_WANTED, PUMP_RUNS, PUMP_AGAIN };

struct follow_hub {
    struct http *http;
    struct mutex lock;
    struct cond empty; /* a feed was freed */
    struct feed *feeds;
    size_t count; /* feeds, those that are about to be freed included */
};

/* ---- the ring ---- */

/* With feed.lock. The chunk is the ring's now. */
static void ring_add(struct feed *f, struct chunk *c)
{
    size_t max = f->hub->http->settings.stream_buffer_max;
    while (f->end > f->first && (f->end - f->first == RING || f->ring_bytes + c->text.len > max)) {
        struct chunk *old = f->ring[f->first++ % RING];
        f->ring_bytes -= old->text.len;
        chunk_let_go(old);
    }
    f->ring[f->end++ % RING] = c;
    f->ring_bytes += c->text.len;
}

/* ---- the life of feeds ---- */

/* A follower that got nothing for so long is pinged; who is to be is looked for twice in that time. */
static int64_t quiet_ns(const struct follow_hub *hub)
{
    return hub->http->settings.heartbeat_ms * INT64_C(1000000);
}

static int64_t tick_of(const struct feed *f)
{
    int64_t tick = TICK_MIN_NS + (int64_t)f->follower_count * TICK_FOLLOWER_NS;
    return tick < TICK_MAX_NS ? tick : TICK_MAX_NS;
}

/* The pump is wanted: it runs at once, or when it may again. The feed may be gone when this returns. */
static void schedule(struct feed *f)
{
    int64_t at = atomic_load(&f->next_ns);
    if (at <= clock_mono_ns(clock_system()))
        http_push(f->hub->http, &f->job);
    else
        timers_set(&f->hub->http->timers, &f->tick, at);
}

/* Something is to be done for the feed. With any lock but the timers'. */
static void pump_soon(struct feed *f)
{
    int state = atomic_load(&f->pump);
    for (;;) {
        int wanted = state == PUMP_NOT ? PUMP_WANTED : PUMP_AGAIN;
        if (state == PUMP_WANTED || state == PUMP_AGAIN)
            return;
        if (!atomic_compare_exchange_weak(&f->pump, &state, wanted))
            continue;
        if (wanted == PUMP_WANTED)
            schedule(f);
        return;
    }
}

static void tick_due(struct timer *t)
{
    struct feed *f = (struct feed *)((char *)t - offsetof(struct feed, tick));
    http_push(f->hub->http, &f->job);
}

static void ping_due(struct timer *t)
{
    struct feed *f = (struct feed *)((char *)t - offsetof(struct feed, ping));
    atomic_store(&f->ping_wanted, true);
    int state = PUMP_NOT;
    if (atomic_compare_exchange_strong(&f->pump, &state, PUMP_WANTED)) {
        http_push(f->hub->http, &f->job);
    } else {
        state = PUMP_RUNS;
        atomic_compare_exchange_strong(&f->pump, &state, PUMP_AGAIN);
    }
}

/* With partition.lock. */
static void published(void *ctx)
{
    pump_soon(ctx);
}

static void feed_free(struct feed *f)
{
    for (uint64_t i = f->first; i < f->end; i++)
        chunk_let_go(f->ring[i % RING]);
    for (uint32_t i = 0; f->watches && i < f->reading->count; i++)
        partition_unwatch(f->reading->lanes[i].partition, &f->watches[i]);
    timers_cancel(&f->hub->http->timers, &f->ping);
    reading_close(f->reading);
    mutex_release(&f->lock);
    free(f->watches);
    free(f->at);
    free(f->type);
    free(f->subject);
    free(f);
}

/* Takes the feed off the list when nobody follows it. */
static bool feed_is_over(struct feed *f)
{
    struct follow_hub *hub = f->hub;
    mutex_lock(&hub->lock);
    bool over = f->follower_count == 0;
    if (over) {
        if (f->previous)
            f->previous->next = f->next;
        else
            hub->feeds = f->next;
        if (f->next)
            f->next->previous = f->previous;
    }
    mutex_unlock(&hub->lock);
    return over;
}

/* ---- pumping ---- */

static void wake(struct follower *f, struct wakes *wakes)
{
    if (f->waits)
        wakes_add(wakes, f->request);
    f->waits = false;
}

static void end_all(struct feed *f)
{
    struct wakes wakes = {0};
    mutex_lock(&f->lock);
    f->closed = true;
    for (struct follower *one = f->followers; one; one = one->next)
        wake(one, &wakes);
    mutex_unlock(&f->lock);
    wakes_send(&wakes);
}

/* Everything new becomes chunks. False: it cannot go on. */
static bool read_new(struct feed *f)
{
    beck_status status = BECK_OK;
    reading_extend(f->reading);
    while (!status) {
        struct chunk *c = chunk_new(f->reading->count);
        if (!c)
            return false;
        status = chunk_fill(c, f->reading, f->positions);
        bool some = chunk_len(c) > 0;
        if (some && !chunk_close(c)) {
            chunk_let_go(c);
            return false;
        }
        struct wakes wakes = {0};
        mutex_lock(&f->lock);
        memcpy(f->at, c->ends, f->reading->count * sizeof *f->at);
        if (some) {
            ring_add(f, c);
            for (struct follower *one = f->followers; one; one = one->next)
                if (one->state == LIVE)
                    wake(one, &wakes);
        }
        mutex_unlock(&f->lock);
        wakes_send(&wakes);
        if (!some)
            chunk_let_go(c);
    }
    return status == BECK_END;
}

static bool is_behind(const int64_t *at, const int64_t *other, uint32_t lanes)
{
    for (uint32_t i = 0; i < lanes; i++)
        if (at[i] < other[i])
            return true;
    return false;
}

/* False: there are some that this feed is behind of. */
static bool join_followers(struct feed *f)
{
    bool all = true;
    uint32_t lanes = f->reading->count;
    struct wakes wakes = {0};
    mutex_lock(&f->lock);
    for (struct follower *one = f->followers; one; one = one->next) {
        if (one->state != JOINING)
            continue;
        if (is_behind(f->at, one->at, lanes)) {
            all = false;
            continue;
        }
        memcpy(one->target, f->at, lanes * sizeof *one->target);
        one->wanted = f->end;
        one->state = CATCHING;
        wake(one, &wakes);
    }
    mutex_unlock(&f->lock);
    wakes_send(&wakes);
    return all;
}

static void ping_followers(struct feed *f)
{
    int64_t now = clock_mono_ns(clock_system());
    struct wakes wakes = {0};
    mutex_lock(&f->lock);
    for (struct follower *one = f->followers; one; one = one->next)
        if (one->waits && now - one->sent_ns >= quiet_ns(f->hub)) {
            one->pinged = true;
            wake(one, &wakes);
        }
    mutex_unlock(&f->lock);
    wakes_send(&wakes);
    timers_set(&f->hub->http->timers, &f->ping, now + quiet_ns(f->hub) / 2);
}

/* False: something is there already. */
static bool arm(struct feed *f)
{
    bool waits = true;
    for (uint32_t i = 0; i < f->reading->count && waits; i++) {
        struct lane *lane = &f->reading->lanes[i];
        partition_unwatch(lane->partition, &f->watches[i]);
        f->watches[i] = (struct partition_watch){.fn = published, .ctx = f, .offset = lane->next};
        waits = partition_watch(lane->partition, &f->watches[i]);
    }
    return waits;
}

static void pump(struct job *job)
{
    struct feed *f = (struct feed *)((char *)job - offsetof(struct feed, job));
    if (feed_is_over(f)) {
        struct follow_hub *hub = f->hub;
        feed_free(f);
        mutex_lock(&hub->lock);
        hub->count--;
        cond_signal(&hub->empty);
        mutex_unlock(&hub->lock);
        return;
    }
    atomic_store(&f->pump, PUMP_RUNS);
    bool again = false;
    if (!read_new(f) || reading_is_outgrown(f->reading))
        end_all(f);
    else
        again = !join_followers(f);
    if (atomic_exchange(&f->ping_wanted, false))
        ping_followers(f);
    mutex_lock(&f->hub->lock);
    atomic_store(&f->next_ns, clock_mono_ns(clock_system()) + tick_of(f));
    mutex_unlock(&f->hub->lock);
    again = (!f->closed && (!arm(f) || reading_is_outgrown(f->reading))) || again;
    int runs = PUMP_RUNS;
    if (!again && atomic_compare_exchange_strong(&f->pump, &runs, PUMP_NOT))
        return;
    atomic_store(&f->pump, PUMP_WANTED);
    schedule(f);
}

/* ---- feeds ---- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* With hub.lock; a reading that begins now. */
static beck_status feed_new(struct follow_hub *hub, beck_bus *bus, const struct events_query *q,
                            struct feed **out, beck_error *err)
{
    struct feed *f = calloc(1, sizeof *f);
    if (!f)
        return error_set(err, BECK_ENOMEM, "no memory to follow a bus");
    struct reading_options options = q->options;
    options.from = (beck_from){.kind = BECK_FROM_NOW};
    options.cursor = NULL;
    f->hub = hub;
    f->bus = bus;
    f->partition_plus_1 = options.partition_plus_1;
    f->positions = q->positions;
    f->job.run = pump;
    f->tick.due = tick_due;
    f->ping.due = ping_due;
    mutex_init(&f->lock);
    beck_status status = reading_open(bus, &options, &f->reading, err);
    if (!status) {
        f->type = options.type ? strdup(options.type) : NULL;
        f->subject = options.subject ? strdup(options.subject) : NULL;
        f->at = malloc(f->reading->count * sizeof *f->at);
        f->watches = calloc(f->reading->count, sizeof *f->watches);
        if (!f->at || !f->watches || (options.type && !f->type) || (options.subject && !f->subject))
            status = error_set(err, BECK_ENOMEM, "no memory to follow a bus");
    }
    if (status) {
        feed_free(f);
        return status;
    }
    reading_positions(f->reading, f->at);
    *out = f;
    return BECK_OK;
}

/* The feed of those who ask for the same and read as many partitions, with one follower more. */
static beck_status feed_get(struct follow_hub *hub, beck_bus *bus, const struct events_query *q,
                            uint32_t lanes, struct feed **out, beck_error *err)
{
    beck_status status = BECK_OK;
    const struct reading_options *o = &q->options;
    mutex_lock(&hub->lock);
    struct feed *f = hub->feeds;
    while (f && (f->closed || f->bus != bus || f->partition_plus_1 != o->partition_plus_1 ||
                 f->positions != q->positions || f->reading->count != lanes ||
                 !same_text(f->type, o->type) || !same_text(f->subject, o->subject)))
        f = f->next;
    if (!f) {
        status = feed_new(hub, bus, q, &f, err);
        if (!status && f->reading->count != lanes) {
            feed_free(f);
            status = BECK_EBUSY; /* it got partitions in between */
        }
        if (!status) {
            f->next = hub->feeds;
            if (f->next)
                f->next->previous = f;
            hub->feeds = f;
            hub->count++;
            timers_set(&hub->http->timers, &f->ping,
                       clock_mono_ns(clock_system()) + quiet_ns(hub) / 2);
        }
    }
    if (!status)
        f->follower_count++;
    mutex_unlock(&hub->lock);
    *out = f;
    return status;
}

static void feed_let_go(struct feed *f)
{
    struct follow_hub *hub = f->hub;
    mutex_lock(&hub->lock);
    if (--f->follower_count == 0)
        pump_soon(f); /* within the lock: a pump that runs now cannot free the feed before */
    mutex_unlock(&hub->lock);
}

/* ---- followers ---- */

static void follower_free(struct follower *f)
{
    struct feed *feed = f->feed;
    chunk_let_go(f->own);
    reading_close(f->reading);
    free(f->at);
    free(f->target);
    free(f);
    feed_let_go(feed);
}

static void release(void *ctx)
{
    struct follower *f = ctx;
    struct feed *feed = f->feed;
    mutex_lock(&feed->lock);
    if (f->previous)
        f->previous->next = f->next;
    else
        feed->followers = f->next;
    if (f->next)
        f->next->previous = f->previous;
    f->released = true;
    bool runs = f->reading_runs;
    mutex_unlock(&feed->lock);
    if (!runs)
        follower_free(f);
}

/* A reader from where the follower is. */
static beck_status open_own(struct follower *f)
{
    const struct feed *feed = f->feed;
    const struct reading *shared = feed->reading;
    struct buf cursor;
    buf_init(&cursor, READING_CURSOR_MAX);
    beck_status status = reading_cursor(shared, f->at, &cursor);
    if (!status)
        status = buf_terminate(&cursor);
    struct reading_options options = {.partition_plus_1 = feed->partition_plus_1,
                                      .cursor = (const char *)cursor.data,
                                      .type = feed->type,
                                      .subject = feed->subject};
    if (!status)
        status = reading_open(feed->bus, &options, &f->reading, NULL);
    if (!status && f->reading->count != shared->count)
        status = BECK_ESTALE; /* it has more partitions now: whoever follows comes again */
    buf_release(&cursor);
    return status;
}

/* Some of what lies between the follower and its target. NULL: it cannot go on; *some: there was. */
static struct chunk *read_own(struct follower *f, bool *some)
{
    struct chunk *c = !f->reading && open_own(f) ? NULL : chunk_new(f->reading->count);
    if (!c)
        return NULL;
    for (uint32_t i = 0; i < f->reading->count; i++)
        f->reading->lanes[i].end = f->target[i];
    beck_status status = chunk_fill(c, f->reading, f->feed->positions);
    *some = chunk_len(c) > 0;
    if ((!status || status == BECK_END) && (!*some || chunk_close(c)))
        return c;
    chunk_let_go(c);
    return NULL;
}

/* On the pool. */
static void catch_up(struct job *job)
{
    struct follower *f = (struct follower *)((char *)job - offsetof(struct follower, job));
    struct feed *feed = f->feed;
    bool some = false;
    struct chunk *c = read_own(f, &some);
    mutex_lock(&feed->lock);
    f->reading_runs = false;
    f->ended = f->ended || !c;
    if (some && c)
        f->own = c;
    else if (c)
        memcpy(f->at, c->ends, f->reading->count * sizeof *f->at);
    bool released = f->released;
    struct wakes wakes = {0};
    if (!released)
        wake(f, &wakes);
    mutex_unlock(&feed->lock);
    wakes_send(&wakes);
    if (!some)
        chunk_let_go(c);
    if (released)
        follower_free(f);
}

/* What comes next to be sent, with feed.lock, and held for who sends it: its own, one of the ring, or
 * NULL. */
static struct chunk *next_chunk(struct follower *f)
{
    struct feed *feed = f->feed;
    uint32_t lanes = feed->reading->count;
    struct chunk *c = f->own;
    if (f->reading_runs)
        return NULL;
    if (c) {
        f->own = NULL;
        return c;
    }
    if (f->state == CATCHING) {
        if (is_behind(f->at, f->target, lanes)) {
            f->reading_runs = true;
            http_push(feed->hub->http, &f->job);
            return NULL;
        }
        f->state = LIVE;
        reading_close(f->reading);
        f->reading = NULL;
    }
    if (f->state == LIVE && f->wanted < feed->first) {
        f->state = JOINING;
        pump_soon(feed);
    }
    if (f->state != LIVE || f->wanted == feed->end)
        return NULL;
    c = feed->ring[f->wanted++ % RING];
    atomic_fetch_add(&c->holders, 1);
    return c;
}

/* Who may no longer read comes again, and is told so. */
static bool is_dismissed(const struct follower *f)
{
    const struct identity *identity = http_identity(f->request);
    return identity && identity_is_stale(identity);
}

static void send_ping(struct http_request *r)
{
    static const uint8_t frame[] = "00000003\r\n:\n\n\r\n";
    http_stream_put(r, frame, 3, NULL, NULL);
}

static bool pull(void *ctx)
{
    struct follower *f = ctx;
    struct feed *feed = f->feed;
    mutex_lock(&feed->lock);
    bool over = f->ended || feed->closed || is_dismissed(f);
    struct chunk *c = over ? NULL : next_chunk(f);
    bool ping = f->pinged && !c && !over;
    f->waits = !c && !ping && !over;
    f->pinged = false;
    if (c)
        memcpy(f->at, c->ends, feed->reading->count * sizeof *f->at);
    if (c || ping)
        f->sent_ns = clock_mono_ns(clock_system());
    mutex_unlock(&feed->lock);
    if (c)
        http_stream_put(f->request, c->text.data, chunk_len(c), chunk_let_go, c);
    else if (ping)
        send_ping(f->request);
    return !over;
}

static beck_status follower_new(struct http_request *r, beck_bus *bus, const struct events_query *q,
                                struct follower **out, beck_error *err)
{
    struct follower *f = calloc(1, sizeof *f);
    if (!f)
        return error_set(err, BECK_ENOMEM, "no memory to follow a bus");
    f->request = r;
    f->job.run = catch_up;
    f->sent_ns = clock_mono_ns(clock_system());
    beck_status status = reading_open(bus, &q->options, &f->reading, err);
    if (!status) {
        f->at = malloc(f->reading->count * sizeof *f->at);
        f->target = malloc(f->reading->count * sizeof *f->target);
        f->own = chunk_first(f->reading);
        if (!f->at || !f->target || !f->own)
            status = error_set(err, BECK_ENOMEM, "no memory to follow a bus");
        else
            reading_positions(f->reading, f->at);
    }
    if (!status)
        status = feed_get(r->connection->http->follow, bus, q, f->reading->count, &f->feed, err);
    if (!status) {
        *out = f;
        return BECK_OK;
    }
    reading_close(f->reading);
    chunk_let_go(f->own);
    free(f->at);
    free(f->target);
    free(f);
    return status;
}

void follow_answer(struct http_request *r, beck_bus *bus, const struct events_query *q)
{
    beck_error err;
    struct follower *f = NULL;
    beck_status status;
    do /* a bus gets partitions seldom */
        status = follower_new(r, bus, q, &f, &err);
    while (status == BECK_EBUSY);
    if (status) {
        http_fail(r, status, &err);
        return;
    }
    struct feed *feed = f->feed;
    mutex_lock(&feed->lock);
    f->next = feed->followers;
    if (f->next)
        f->next->previous = f;
    feed->followers = f;
    mutex_unlock(&feed->lock);
    pump_soon(feed);
    http_set_header(r, "Cache-Control", "no-store");
    http_set_header(r, "X-Accel-Buffering", "no");
    struct http_stream stream = {pull, release, f};
    http_answer_stream(r, 200, "text/event-stream; charset=utf-8", &stream);
}

/* ---- all feeds ---- */

struct follow_hub *follow_new(struct http *h)
{
    struct follow_hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return NULL;
    hub->http = h;
    mutex_init(&hub->lock);
    cond_init(&hub->empty);
    return hub;
}

void follow_free(struct follow_hub *hub)
{
    if (!hub)
        return;
    mutex_lock(&hub->lock);
    while (hub->count > 0)
        cond_wait(&hub->empty, &hub->lock);
    mutex_unlock(&hub->lock);
    cond_release(&hub->empty);
    mutex_release(&hub->lock);
    free(hub);
}
