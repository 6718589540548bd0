/*
 * A queue against a model of it, under random operations: publishing, taking, every answer, time,
 * pauses, purges, rewinds, dead letters, restarts, kills and losses of power.
 *
 * The model is a list of copies: one for each time that an event is in the queue or among its dead
 * letters. After a loss of power some of what was done since the last checkpoint may have come
 * undone; then what is there is compared with what is allowed, and taken over.
 *
 * Events reach the queue by a pattern, or addressed to it, or both; another queue gets some of them too.
 */
#include "queue/world.h"

#include "base/bytes.h"
#include "support/effort.h"

#define EVENTS_MAX 4000
#define COPIES_MAX 40000
#define BUSES 2
#define CONSUMERS 2
#define HELD_MAX 64

enum way { BY_PATTERN, BY_ADDRESS, BY_BOTH };
enum where { READY, HELD, DELAYED, DEAD, GONE };

struct event {
    int bus;
    int64_t offset, time_ms, deliver_ms, expires_ms;
    uint32_t priority;
    bool lost;         /* with the power; or it was never for this queue */
    uint32_t attempts; /* the most ever */
};

struct copy {
    int event;
    enum where where;
    bool put_back;                   /* its place among others is not compared */
    bool delivered;                  /* at least once */
    uint32_t attempts_low, attempts; /* written down, and now */
    bool unknown;                    /* which of them it is, or between: since a crash */
    int64_t due_ms, deadline_ms;
    int64_t expires_low, expires_high; /* 0: never */
    const char *reason;
    int64_t letter; /* offset of the dead letter, -1: not seen yet */
    uint64_t tag;
    int consumer;
    bool fresh;   /* it is where it is by something later than the last checkpoint */
    bool rewound; /* it came, or went, by a rewind or purge later than the last checkpoint */
    bool touched; /* by the operation under way */
    enum where before;
};

struct model {
    struct world w;
    struct rng rng;
    beck_queue_options options;
    enum way way;
    bool
        unsure; /* how many bytes: what a loss of power brought back may be a letter that was put back */
    struct event events[EVENTS_MAX];
    int event_count;
    struct copy copies[COPIES_MAX];
    int copy_count;
    int64_t next[BUSES]; /* offsets */
    bool bound[BUSES];
    beck_bus *bus[BUSES];
    beck_consumer *consumers[CONSUMERS];
    uint32_t prefetch[CONSUMERS];
    bool paused, killed, stopping;
    int step;
    uint64_t seed;
    const char *doing;
};

static void blame(const struct model *m, const char *what, int line)
{
    print_error("seed %llu, step %d (%s), line %d: %s\n", (unsigned long long)m->seed, m->step,
                m->doing, line, what);
}

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            blame(m, #condition, __LINE__);                                                        \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

static uint32_t below(struct model *m, uint32_t n)
{
    return (uint32_t)rng_below(&m->rng, n);
}

static bool limited(const struct model *m)
{
    return m->options.length_max > 0;
}

static bool drops(const struct model *m)
{
    return limited(m) && m->options.overflow == BECK_OVERFLOW_DROP_OLDEST;
}

/* ---- the model's rules ---- */

static uint32_t level_of(const struct model *m, const struct copy *c)
{
    uint32_t p = m->events[c->event].priority;
    return p < m->options.priority_max ? p : m->options.priority_max;
}

static void die(struct model *m, struct copy *c, const char *reason)
{
    c->where = m->options.no_dead_letters ? GONE : DEAD;
    c->reason = reason;
    c->letter = -1;
    c->fresh = true;
}

static int count_where(const struct model *m, enum where where)
{
    int n = 0;
    for (int i = 0; i < m->copy_count; i++)
        n += m->copies[i].where == where;
    return n;
}

static void drop_first(struct model *m)
{
    while (drops(m) && count_where(m, READY) > m->options.length_max) {
        struct copy *first = NULL;
        for (int i = 0; i < m->copy_count; i++) {
            struct copy *c = &m->copies[i];
            if (c->where != READY)
                continue;
            bool before =
                first && level_of(m, c) != level_of(m, first)
                    ? level_of(m, c) > level_of(m, first)
                    : !first || m->events[c->event].offset < m->events[first->event].offset;
            if (before)
                first = c;
        }
        die(m, first, "maxlen");
    }
}

static void add_copy(struct model *m, int event)
{
    const struct event *e = &m->events[event];
    int64_t now = world_now_ms(&m->w);
    expect(m->copy_count < COPIES_MAX);
    struct copy *c = &m->copies[m->copy_count++];
    *c = (struct copy){.event = event, .letter = -1, .fresh = true, .expires_low = e->expires_ms};
    if (m->options.ttl_ms) {
        int64_t end = (e->deliver_ms > now ? e->deliver_ms : now) + m->options.ttl_ms;
        if (!c->expires_low || end < c->expires_low)
            c->expires_low = end;
    }
    c->expires_high = c->expires_low;
    c->where = e->deliver_ms > now ? DELAYED : READY;
    c->due_ms = e->deliver_ms;
    drop_first(m);
}

static void fail_copy(struct model *m, struct copy *c, int64_t delay_ms)
{
    int64_t now = world_now_ms(&m->w);
    c->fresh = true;
    c->attempts_low = ++c->attempts;
    if (c->attempts >= m->options.attempts_max) {
        die(m, c, "attempts");
        return;
    }
    if (delay_ms < 0)
        delay_ms = m->options.backoff.first_ms;
    c->where = delay_ms ? DELAYED : READY;
    c->due_ms = now + delay_ms;
}

static void let_time_pass(struct model *m)
{
    int64_t now = world_now_ms(&m->w);
    for (int i = 0; i < m->copy_count; i++)
        if (m->copies[i].where == HELD && m->copies[i].deadline_ms <= now)
            fail_copy(m, &m->copies[i], -1);
    for (int i = 0; i < m->copy_count; i++)
        if (m->copies[i].where == DELAYED && m->copies[i].due_ms <= now)
            m->copies[i].where = READY;
    drop_first(m);
}

static bool may_have_expired(const struct model *m, const struct copy *c)
{
    int64_t now = clock_wall_ms(m->w.clock);
    return c->where == READY && c->expires_low && c->expires_low <= now;
}

/* ---- comparing ---- */

static int event_of(beck_bytes data)
{
    uint64_t n = 0;
    bytes_to_u64(data, &n);
    return (int)n;
}

struct seen_letter {
    int event;
    int64_t offset;
    uint32_t attempts;
    char reason[16];
};
struct seen {
    struct seen_letter *letters;
    size_t count, cap;
    int *ready;
    size_t ready_count, ready_cap;
};

static int see_letter(void *ctx, const beck_dead *d)
{
    struct seen *s = ctx;
    if (s->count == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->letters = realloc(s->letters, s->cap * sizeof *s->letters);
    }
    struct seen_letter *l = &s->letters[s->count++];
    l->event = event_of(d->event->data);
    l->offset = d->event->position.offset;
    l->attempts = d->attempts;
    snprintf(l->reason, sizeof l->reason, "%s", d->reason);
    return 0;
}

static int see_ready(void *ctx, const beck_event *e)
{
    struct seen *s = ctx;
    if (s->ready_count == s->ready_cap) {
        s->ready_cap = s->ready_cap ? s->ready_cap * 2 : 64;
        s->ready = realloc(s->ready, s->ready_cap * sizeof *s->ready);
    }
    s->ready[s->ready_count++] = event_of(e->data);
    return 0;
}

static void forget_seen(struct seen *s)
{
    free(s->letters);
    free(s->ready);
}

static struct copy *copy_of_letter(struct model *m, const struct seen_letter *l)
{
    for (int i = 0; i < m->copy_count; i++)
        if (m->copies[i].where == DEAD && m->copies[i].letter == l->offset)
            return &m->copies[i];
    for (int i = 0; i < m->copy_count; i++) {
        struct copy *c = &m->copies[i];
        if (c->event == l->event && c->where == DEAD && c->letter < 0 &&
            strcmp(c->reason, l->reason) == 0)
            return c;
    }
    for (int i = 0; i < m->copy_count; i++)
        if (m->copies[i].event == l->event && may_have_expired(m, &m->copies[i]) &&
            strcmp(l->reason, "expired") == 0)
            return &m->copies[i];
    return NULL;
}

/* What has expired is found out from the letters. */
static void match_letters(struct model *m)
{
    struct seen s = {0};
    beck_status status = beck_dead_list(m->w.b, "q", 0, see_letter, &s, NULL);
    if (m->stopping && status) { /* the disk is gone */
        forget_seen(&s);
        return;
    }
    expect(status == BECK_OK);
    for (size_t i = 0; i < s.count; i++) {
        struct copy *c = copy_of_letter(m, &s.letters[i]);
        if (!c)
            print_error("letter %lld of event %d: %s\n", (long long)s.letters[i].offset,
                        s.letters[i].event, s.letters[i].reason);
        expect(c != NULL);
        if (c->where == READY)
            die(m, c, "expired");
        expect(c->event == s.letters[i].event);
        if (strcmp(s.letters[i].reason, "attempts") == 0)
            expect(s.letters[i].attempts == m->options.attempts_max);
        c->letter = s.letters[i].offset;
    }
    for (int i = 0; i < m->copy_count; i++) {
        struct copy *c = &m->copies[i];
        bool found = c->where != DEAD;
        for (size_t n = 0; n < s.count && !found; n++)
            found = s.letters[n].offset == c->letter;
        expect(found);
    }
    forget_seen(&s);
}

static void compare_bytes(struct model *m)
{
    int64_t expected = 0;
    char text[16];
    for (int i = 0; i < m->copy_count; i++) {
        const struct copy *c = &m->copies[i];
        if ((c->where == READY || c->where == DELAYED) && !c->put_back)
            expected += snprintf(text, sizeof text, "%d", c->event);
    }
    int64_t found = queue_ready_bytes(handle_find_queue(m->w.b, "q"));
    if (found != expected)
        print_error("%lld bytes are ready, %lld expected\n", (long long)found, (long long)expected);
    expect(found == expected);
}

static void compare(struct model *m)
{
    if (m->stopping)
        return;
    beck_queue_info i = info_of(&m->w, "q");
    match_letters(m);
    int ready = count_where(m, READY), held = count_where(m, HELD);
    int delayed = count_where(m, DELAYED), dead = count_where(m, DEAD);
    if (i.ready != ready || i.in_flight != held || i.delayed != delayed || i.dead != dead)
        print_error("ready %lld %d, held %lld %d, delayed %lld %d, dead %lld %d\n",
                    (long long)i.ready, ready, (long long)i.in_flight, held, (long long)i.delayed,
                    delayed, (long long)i.dead, dead);
    expect(i.ready == ready);
    expect(i.in_flight == held);
    expect(i.delayed == delayed);
    expect(i.dead == dead);
    expect(i.paused == m->paused);
    if (limited(m) && drops(m))
        expect(i.ready <= m->options.length_max);
    if (!m->unsure)
        compare_bytes(m);
}

/* ---- operations ---- */

/* Type "t" is matched where a pattern binds the queue; "u" is not. */
static bool choose_way(struct model *m, beck_event *e, struct bus_addressed *to)
{
    static struct queue *queues[4][2]; /* by who gets it: the queue, the other */
    bool addressed = m->way != BY_PATTERN && below(m, 3) > 0, other = below(m, 4) == 0;
    bool matched = m->way == BY_PATTERN || (m->way == BY_BOTH && below(m, 2));
    struct queue **list = queues[addressed + 2 * other];
    size_t n = 0;
    if (addressed)
        list[n++] = handle_find_queue(m->w.b, "q");
    if (other)
        list[n++] = handle_find_queue(m->w.b, "other");
    e->type = beck_str(matched ? "t" : "u");
    *to = (struct bus_addressed){.queues = list, .queue_count = n};
    return matched || addressed;
}

static beck_status do_publish(struct model *m)
{
    int bus = (int)below(m, limited(m) ? 1 : BUSES);
    int count = below(m, 4) ? 1 : (int)below(m, 8) + 1;
    beck_event list[8];
    struct bus_addressed to[8];
    char text[8][16];
    int mine = 0;
    int64_t now = world_now_ms(&m->w);
    expect(m->event_count + count < EVENTS_MAX);
    for (int i = 0; i < count; i++) {
        struct event *e = &m->events[m->event_count + i];
        *e = (struct event){.bus = bus, .offset = m->next[bus] + i, .time_ms = now};
        if (below(m, 4) == 0)
            e->deliver_ms = now + below(m, 3000);
        if (below(m, 4) == 0 && !limited(m) && !m->options.no_dead_letters)
            e->expires_ms = now + 1 + below(m, 5000);
        e->priority = below(m, 4);
        snprintf(text[i], sizeof text[i], "%d", m->event_count + i);
        list[i] = (beck_event){.type = beck_str("t"),
                               .data = beck_str(text[i]),
                               .deliver_at_ms = e->deliver_ms,
                               .expires_at_ms = e->expires_ms,
                               .priority = e->priority};
        e->lost = !choose_way(m, &list[i], &to[i]);
        mine += !e->lost;
    }
    beck_publish_options o = {.level = below(m, 2) ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED};
    beck_published published;
    bool refused = limited(m) && !drops(m) && m->bound[bus] && mine > 0 &&
                   count_where(m, READY) + mine > m->options.length_max;
    beck_status status =
        m->way == BY_PATTERN
            ? beck_publish_many(m->bus[bus], list, (size_t)count, &o, &published, NULL)
            : bus_publish_addressed(m->bus[bus], list, to, (size_t)count, &o, &published, NULL);
    if (refused) {
        expect(status == BECK_ELIMIT || status == BECK_EIO);
        return BECK_OK;
    }
    if (status)
        return status;
    expect(published.position.offset == m->next[bus]);
    m->next[bus] += count;
    m->event_count += count;
    for (int i = 0; i < count && m->bound[bus]; i++)
        if (!m->events[m->event_count - count + i].lost)
            add_copy(m, m->event_count - count + i);
    return BECK_OK;
}

static bool is_bound(struct model *m, int bus)
{
    return queue_is_bound_to(handle_find_queue(m->w.b, "q"), m->bus[bus]);
}

static beck_status begin_binding(struct model *m, int bus, beck_from_kind from)
{
    struct queue *q = handle_find_queue(m->w.b, "q");
    beck_binding b = {
        .bus = bus ? "b1" : "b0", .pattern = m->way == BY_BOTH ? "t" : NULL, .from.kind = from};
    beck_status status = BECK_OK;
    if (m->way != BY_PATTERN)
        status = handle_join(m->w.b, q, m->bus[bus], NULL);
    if (!status && m->way != BY_ADDRESS)
        status = beck_queue_bind(m->w.b, "q", &b, NULL);
    return status;
}

static beck_status do_bind(struct model *m)
{
    int bus = 1;
    if (m->bound[bus] || limited(m))
        return BECK_OK;
    bool all = m->way == BY_PATTERN && below(m, 2);
    beck_status status = begin_binding(m, bus, all ? BECK_FROM_EARLIEST : BECK_FROM_NOW);
    if (status)
        return status;
    m->bound[bus] = true;
    for (int i = 0; i < m->event_count && all; i++)
        if (m->events[i].bus == bus && !m->events[i].lost)
            add_copy(m, i);
    return BECK_OK;
}

static struct copy *copy_of_tag(struct model *m, uint64_t tag)
{
    for (int i = 0; i < m->copy_count; i++)
        if (m->copies[i].where == HELD && m->copies[i].tag == tag)
            return &m->copies[i];
    return NULL;
}

/* The copy that a delivery is of: the first in order among those of its event. */
static struct copy *copy_delivered(struct model *m, const beck_delivery *d)
{
    struct copy *found = NULL;
    for (int i = 0; i < m->copy_count; i++) {
        struct copy *c = &m->copies[i];
        bool fits = c->where == READY && c->event == event_of(d->event->data) &&
                    d->attempt >= c->attempts_low + 1 && d->attempt <= c->attempts + 1;
        if (fits && (!found || !c->put_back))
            found = c;
    }
    return found;
}

static void check_order(struct model *m, const struct copy *given)
{
    const struct event *e = &m->events[given->event];
    for (int i = 0; i < m->copy_count; i++) {
        const struct copy *c = &m->copies[i];
        if (c->where != READY || may_have_expired(m, c) || c == given)
            continue;
        expect(level_of(m, c) <= level_of(m, given));
        if (level_of(m, c) == level_of(m, given) && !given->put_back && !c->put_back &&
            m->events[c->event].bus == e->bus)
            expect(m->events[c->event].offset > e->offset);
    }
}

static void note_delivery(struct model *m, const beck_delivery *d, int consumer)
{
    struct copy *c = copy_delivered(m, d);
    if (!c)
        print_error("event %.*s, attempt %u\n", (int)d->event->data.len,
                    (const char *)d->event->data.data, d->attempt);
    for (int i = 0; i < m->copy_count && !c; i++)
        if (m->copies[i].event == event_of(d->event->data))
            print_error("copy: where %d, attempts %u to %u\n", m->copies[i].where,
                        m->copies[i].attempts_low, m->copies[i].attempts);
    expect(c != NULL);
    expect(!c->expires_high || c->expires_high > world_now_ms(&m->w));
    expect(d->event->position.offset == m->events[c->event].offset);
    if (c->delivered || d->attempt > 1 || c->put_back)
        expect(d->redelivered);
    else if (!m->killed)
        expect(!d->redelivered);
    expect(copy_of_tag(m, d->tag) == NULL);
    check_order(m, c);
    c->where = HELD;
    c->delivered = true;
    c->attempts = d->attempt - 1;
    if (d->attempt > m->events[c->event].attempts)
        m->events[c->event].attempts = d->attempt;
    c->unknown = false;
    c->tag = d->tag;
    c->consumer = consumer;
    c->deadline_ms = world_now_ms(&m->w) + m->options.deadline_ms;
}

static int held_by(const struct model *m, int consumer)
{
    int n = 0;
    for (int i = 0; i < m->copy_count; i++)
        n += m->copies[i].where == HELD && m->copies[i].consumer == consumer;
    return n;
}

static beck_status do_take(struct model *m)
{
    int k = (int)below(m, CONSUMERS);
    beck_delivery d[8];
    size_t count = 0;
    if (!m->consumers[k]) {
        m->prefetch[k] = 1 + below(m, 12);
        return beck_consumer_open(m->w.b, "q", m->prefetch[k], &m->consumers[k], NULL);
    }
    compare(m); /* so that all that is expired at a head has died */
    beck_status status = beck_take(m->consumers[k], d, 1 + below(m, 8), 0, &count, NULL);
    if (status == BECK_ELIMIT) {
        /* Stale ones are held too, until they are answered. */
        beck_consumer_close(m->consumers[k]);
        m->consumers[k] = NULL;
        for (int i = 0; i < m->copy_count; i++) {
            struct copy *c = &m->copies[i];
            if (c->where != HELD || c->consumer != k)
                continue;
            uint32_t low = c->attempts_low;
            c->touched = true;
            fail_copy(m, c, 0);
            if (c->where == READY)
                c->attempts_low = low;
        }
        drop_first(m);
        return BECK_OK;
    }
    if (status == BECK_ETIMEDOUT) {
        match_letters(m);
        for (int i = 0; i < m->copy_count && !m->paused; i++)
            expect(m->copies[i].where != READY);
        return BECK_OK;
    }
    if (status)
        return status;
    expect(!m->paused);
    match_letters(m);
    for (size_t i = 0; i < count; i++)
        note_delivery(m, &d[i], k);
    expect(held_by(m, k) <= (int)m->prefetch[k]);
    return BECK_OK;
}

static struct copy *some(struct model *m, enum where where)
{
    int n = count_where(m, where);
    if (n == 0)
        return NULL;
    int pick = (int)below(m, (uint32_t)n);
    for (int i = 0;; i++)
        if (m->copies[i].where == where && pick-- == 0)
            return &m->copies[i];
}

static beck_status do_settle(struct model *m)
{
    struct copy *first = some(m, HELD);
    uint64_t tags[HELD_MAX];
    size_t count = 0;
    if (!first)
        return BECK_OK;
    int k = first->consumer;
    for (int i = 0; i < m->copy_count && count < HELD_MAX; i++) {
        struct copy *c = &m->copies[i];
        if (c->where != HELD || c->consumer != k || (c != first && below(m, 2)))
            continue;
        c->touched = true;
        tags[count++] = c->tag;
    }
    beck_status status = beck_settle(m->consumers[k], tags, count, NULL);
    for (size_t i = 0; i < count && !status; i++) {
        struct copy *c = copy_of_tag(m, tags[i]);
        c->where = GONE;
        c->fresh = true;
    }
    return status;
}

static beck_status do_answer(struct model *m)
{
    struct copy *c = some(m, HELD);
    if (!c)
        return BECK_OK;
    beck_consumer *consumer = m->consumers[c->consumer];
    beck_status status = BECK_OK;
    c->touched = true;
    switch (below(m, 5)) {
    case 0: {
        int64_t delay = below(m, 3) == 0 ? 0 : below(m, 2) ? -1 : (int64_t)below(m, 4000);
        status = beck_retry(consumer, c->tag, delay, "because", NULL);
        if (!status)
            fail_copy(m, c, delay);
        break;
    }
    case 1:
        status = beck_reject(consumer, c->tag, "no", NULL);
        if (!status) {
            c->attempts++;
            die(m, c, "rejected");
        }
        break;
    case 2:
        status = beck_extend(consumer, c->tag, NULL);
        if (!status)
            c->deadline_ms = world_now_ms(&m->w) + m->options.deadline_ms;
        break;
    default:
        status = beck_return(consumer, c->tag, NULL);
        if (!status)
            c->where = READY;
    }
    if (!status)
        drop_first(m);
    return status;
}

static beck_status do_time(struct model *m)
{
    static const int64_t steps[] = {1, 7, 100, 700, 3000, 20000};
    world_advance(&m->w, steps[below(m, 6)]);
    info_of(&m->w, "q");
    let_time_pass(m);
    return BECK_OK;
}

static beck_status do_pause(struct model *m)
{
    beck_status status = beck_queue_pause(m->w.b, "q", !m->paused, NULL);
    if (!status)
        m->paused = !m->paused;
    return status;
}

static beck_status do_purge(struct model *m)
{
    int64_t purged = 0;
    compare(m);
    int expected = count_where(m, READY) + count_where(m, DELAYED);
    for (int i = 0; i < m->copy_count; i++)
        m->copies[i].touched = m->copies[i].where == READY || m->copies[i].where == DELAYED;
    beck_status status = beck_queue_purge(m->w.b, "q", &purged, NULL);
    if (status)
        return status;
    expect(purged == expected);
    for (int i = 0; i < m->copy_count; i++)
        if (m->copies[i].where == READY || m->copies[i].where == DELAYED) {
            m->copies[i].where = GONE;
            m->copies[i].fresh = m->copies[i].rewound = true;
        }
    return BECK_OK;
}

static int64_t rewound_to(const struct model *m, const beck_from *from, int bus)
{
    if (from->kind == BECK_FROM_NOW)
        return m->next[bus];
    if (from->kind == BECK_FROM_OFFSET)
        return from->offset;
    for (int i = 0; i < m->event_count && from->kind == BECK_FROM_TIME; i++)
        if (m->events[i].bus == bus && !m->events[i].lost && m->events[i].time_ms >= from->time_ms)
            return m->events[i].offset;
    return from->kind == BECK_FROM_TIME ? m->next[bus] : 0;
}

static beck_status do_rewind(struct model *m)
{
    int64_t least = m->bound[1] && m->next[1] < m->next[0] ? m->next[1] : m->next[0];
    beck_from from = {.kind = (beck_from_kind)below(m, 4)};
    from.offset = (int64_t)below(m, (uint32_t)least + 1);
    from.time_ms = world_now_ms(&m->w) - (int64_t)below(m, 30000);
    for (int i = 0; i < m->copy_count; i++)
        m->copies[i].touched = m->copies[i].where != DEAD && m->copies[i].where != GONE;
    if (drops(m) && from.kind != BECK_FROM_NOW)
        return BECK_OK;
    beck_status status = beck_queue_rewind(m->w.b, "q", &from, NULL);
    if (status)
        return status;
    for (int i = 0; i < m->copy_count; i++)
        if (m->copies[i].where != DEAD && m->copies[i].where != GONE) {
            m->copies[i].where = GONE;
            m->copies[i].fresh = m->copies[i].rewound = true;
        }
    for (int i = 0; i < m->event_count; i++) {
        const struct event *e = &m->events[i];
        if (e->lost || !m->bound[e->bus] || e->offset < rewound_to(m, &from, e->bus))
            continue;
        add_copy(m, i);
        m->copies[m->copy_count - 1].rewound = true;
    }
    return BECK_OK;
}

static beck_status do_dead(struct model *m)
{
    match_letters(m);
    bool all = below(m, 3) == 0, back = below(m, 3) > 0;
    if (back && drops(m))
        return BECK_OK;
    struct copy *one = all ? NULL : some(m, DEAD);
    if (!all && !one)
        return BECK_OK;
    int64_t n = -1, expected = 0;
    for (int i = 0; i < m->copy_count; i++) {
        m->copies[i].touched = m->copies[i].where == DEAD && (all || one == &m->copies[i]);
        expected += m->copies[i].touched;
    }
    int64_t offset = all ? -1 : one->letter;
    beck_status status = back ? beck_dead_redrive(m->w.b, "q", offset, &n, NULL)
                              : beck_dead_purge(m->w.b, "q", offset, &n, NULL);
    if (status)
        return status;
    expect(n == expected);
    for (int i = 0; i < m->copy_count; i++) {
        struct copy *c = &m->copies[i];
        if (!c->touched)
            continue;
        c->where = back ? READY : GONE;
        c->put_back = true;
        c->attempts = c->attempts_low = 0;
        c->unknown = false;
        c->expires_low = c->expires_high = 0;
        c->letter = -1;
        c->fresh = true;
    }
    return BECK_OK;
}

static void all_is_safe(struct model *m)
{
    int n = 0;
    for (int i = 0; i < m->copy_count; i++) {
        struct copy *c = &m->copies[i];
        c->fresh = c->rewound = false;
        if (!c->unknown)
            c->attempts_low = c->attempts;
        if (c->where != GONE)
            m->copies[n++] = *c;
    }
    m->copy_count = n;
}

static beck_status do_checkpoint(struct model *m)
{
    beck_status status = upkeep_checkpoint(m->w.b, NULL);
    if (!status)
        all_is_safe(m);
    if (!status && below(m, 2))
        status = upkeep_maintain(m->w.b, NULL);
    return status;
}

/* ---- ends and beginnings ---- */

static void begin_again(struct model *m)
{
    world_open(&m->w);
    for (int i = 0; i < BUSES; i++)
        m->bus[i] = world_get(&m->w, i ? "b1" : "b0");
}

/* What is behind the last snapshot is routed again, and lives from then on. */
static void begin_lives_anew(struct model *m)
{
    int64_t now = world_now_ms(&m->w);
    for (int i = 0; i < m->copy_count; i++) {
        struct copy *c = &m->copies[i];
        const struct event *e = &m->events[c->event];
        if (!m->options.ttl_ms || !c->expires_high)
            continue;
        int64_t end = (e->deliver_ms > now ? e->deliver_ms : now) + m->options.ttl_ms;
        if (e->expires_ms && e->expires_ms < end)
            end = e->expires_ms;
        if (end > c->expires_high)
            c->expires_high = end;
    }
}

static void let_go_of_consumers(struct model *m)
{
    for (int i = 0; i < CONSUMERS; i++) {
        beck_consumer_close(m->consumers[i]);
        m->consumers[i] = NULL;
    }
}

static void forget_held(struct model *m)
{
    for (int i = 0; i < m->copy_count; i++) {
        if (m->copies[i].where == HELD)
            m->copies[i].where = READY;
        m->copies[i].unknown |= m->copies[i].attempts_low != m->copies[i].attempts;
    }
}

static void close_and_open(struct model *m)
{
    int64_t now = world_now_ms(&m->w);
    (void)now;
    for (int k = 0; k < CONSUMERS; k++) {
        beck_consumer_close(m->consumers[k]);
        m->consumers[k] = NULL;
        for (int i = 0; i < m->copy_count; i++)
            if (m->copies[i].where == HELD && m->copies[i].consumer == k)
                fail_copy(m, &m->copies[i], 0);
    }
    drop_first(m);
    compare(m);
    beck_close(m->w.b);
    begin_again(m);
    all_is_safe(m);
}

static void kill_and_open(struct model *m)
{
    vfs_sim_kill(m->w.vfs);
    let_go_of_consumers(m);
    beck_abandon(m->w.b);
    begin_again(m);
    m->killed = true;
    forget_held(m);
    begin_lives_anew(m);
    let_time_pass(m);
}

/* ---- when something may have come undone ---- */

struct bounds {
    int least, most, ready_least, dead_least;
};

static struct bounds bounds_of(const struct model *m, int event, bool power)
{
    struct bounds b = {0};
    for (int i = 0; i < m->copy_count; i++) {
        const struct copy *c = &m->copies[i];
        if (c->event != event)
            continue;
        bool lost = m->events[event].lost;
        bool doubt = c->touched || (power && c->fresh);
        bool there = c->where != GONE;
        b.most += there || doubt;
        b.least += there && !lost && !c->touched && !(power && c->rewound);
        b.dead_least += c->where == DEAD && !doubt && !lost;
        b.ready_least += (c->where == READY || c->where == HELD || c->where == DELAYED) && !doubt &&
                         !lost && !c->expires_low;
    }
    return b;
}

static void take_over(struct model *m, int event, int ready, const struct seen *s)
{
    bool simple = true;
    int copies = 0;
    for (int i = 0; i < m->copy_count; i++) {
        struct copy *c = &m->copies[i];
        if (c->event != event)
            continue;
        simple &= !c->put_back && c->where != DEAD;
        copies++;
        c->where = GONE;
        c->fresh = c->rewound = c->touched = false;
    }
    for (int i = 0; i < ready; i++) {
        add_copy(m, event);
        struct copy *c = &m->copies[m->copy_count - 1];
        c->where = READY;
        c->attempts = m->events[event].attempts;
        c->put_back = !simple || copies != 1;
        c->expires_low = m->options.ttl_ms || m->events[event].expires_ms ? 1 : 0;
        c->expires_high = 0;
        c->fresh = false;
    }
    for (size_t i = 0; i < s->count; i++) {
        if (s->letters[i].event != event)
            continue;
        add_copy(m, event);
        struct copy *c = &m->copies[m->copy_count - 1];
        die(m, c, "?");
        c->letter = s->letters[i].offset;
        c->fresh = false;
    }
}

static void find_out(struct model *m, bool power)
{
    struct seen s = {0};
    world_advance(&m->w, HOUR);
    info_of(&m->w, "q");
    check_ok(beck_dead_list(m->w.b, "q", 0, see_letter, &s, err));
    check_ok(beck_queue_peek(m->w.b, "q", 100000, see_ready, &s, err));
    m->unsure = true;
    beck_queue_info info = info_of(&m->w, "q");
    expect(info.delayed == 0 && info.in_flight == 0);
    expect(info.ready == (int64_t)s.ready_count && info.dead == (int64_t)s.count);
    for (int e = 0; e < m->event_count; e++) {
        int ready = 0, dead = 0;
        for (size_t i = 0; i < s.ready_count; i++)
            ready += s.ready[i] == e;
        for (size_t i = 0; i < s.count; i++)
            dead += s.letters[i].event == e;
        struct bounds b = bounds_of(m, e, power);
        bool good = ready + dead >= b.least && ready + dead <= b.most && ready >= b.ready_least &&
                    dead >= b.dead_least;
        if (!good)
            print_error("event %d (bus %d, offset %lld): ready %d, dead %d; %d to %d expected, %d "
                        "ready and %d dead at least\n",
                        e, m->events[e].bus, (long long)m->events[e].offset, ready, dead, b.least,
                        b.most, b.ready_least, b.dead_least);
        expect(good);
        if (b.most > 0)
            take_over(m, e, ready, &s);
    }
    forget_seen(&s);
    check_ok(upkeep_checkpoint(m->w.b, err));
    all_is_safe(m);
    for (int i = 0; i < m->copy_count; i++)
        if (m->copies[i].where == READY && m->copies[i].attempts > 0) {
            m->copies[i].attempts_low = 0;
            m->copies[i].unknown = true;
        }
}

/* Events beyond what the log kept are gone; those published while it failed may be there. */
static void compare_ends(struct model *m, const int64_t *synced)
{
    for (int bus = 0; bus < BUSES; bus++) {
        beck_partition_info p;
        check_ok(beck_partition_info_get(m->bus[bus], 0, &p, err));
        expect(p.next_offset >= synced[bus]);
        for (int i = 0; i < m->event_count; i++)
            if (m->events[i].bus == bus && m->events[i].offset >= p.next_offset)
                m->events[i].lost = true;
        m->next[bus] = p.next_offset;
    }
}

static void lose_power(struct model *m)
{
    int64_t synced[BUSES];
    for (int i = 0; i < BUSES; i++) {
        beck_partition_info p;
        check_ok(beck_partition_info_get(m->bus[i], 0, &p, err));
        synced[i] = p.synced_offset;
    }
    vfs_sim_crash(m->w.vfs);
    let_go_of_consumers(m);
    beck_abandon(m->w.b);
    begin_again(m);
    m->killed = true;
    for (int i = 0; i < m->copy_count; i++)
        m->copies[i].touched = false;
    compare_ends(m, synced);
    forget_held(m);
    find_out(m, true);
}

static beck_status do_something(struct model *m)
{
    static const struct {
        const char *name;
        uint32_t weight;
        beck_status (*run)(struct model *m);
    } operations[] = {
        {"publish", 30, do_publish},      {"take", 30, do_take},    {"settle", 12, do_settle},
        {"answer", 20, do_answer},        {"time", 14, do_time},    {"pause", 2, do_pause},
        {"purge", 1, do_purge},           {"rewind", 1, do_rewind}, {"dead letters", 5, do_dead},
        {"checkpoint", 4, do_checkpoint}, {"bind", 2, do_bind},
    };
    uint32_t sum = 0;
    const size_t count = sizeof operations / sizeof *operations;
    for (size_t i = 0; i < count; i++)
        sum += operations[i].weight;
    uint32_t pick = below(m, sum);
    size_t i = 0;
    for (; pick >= operations[i].weight; i++)
        pick -= operations[i].weight;
    m->doing = operations[i].name;
    for (int n = 0; n < m->copy_count; n++)
        m->copies[n].touched = false;
    return operations[i].run(m);
}

/* The process ends in the middle of an operation. */
static void stop_in_the_middle(struct model *m)
{
    int before = m->event_count;
    bool bound = m->bound[1], paused = m->paused;
    int64_t next[BUSES] = {m->next[0], m->next[1]};
    vfs_sim_stop_at(m->w.vfs, 1 + below(m, 12));
    for (int i = 0; i < m->copy_count; i++)
        m->copies[i].before = m->copies[i].where;
    int known = m->copy_count;
    m->stopping = true;
    beck_status status = do_something(m);
    m->stopping = false;
    const char *what = m->doing;
    bool confirmed = status == BECK_OK && strcmp(what, "settle") == 0;
    for (int i = 0; i < known && i < m->copy_count; i++)
        m->copies[i].touched =
            !confirmed && (m->copies[i].touched || m->copies[i].where != m->copies[i].before);
    m->doing = "kill in the middle";
    vfs_sim_kill(m->w.vfs);
    vfs_sim_stop_at(m->w.vfs, 0);
    let_go_of_consumers(m);
    beck_abandon(m->w.b);
    begin_again(m);
    m->killed = true;
    /* What failed may have happened all the same. */
    bool unknown_binding = !bound && is_bound(m, 1);
    m->paused = info_of(&m->w, "q").paused;
    (void)paused;
    for (int bus = 0; bus < BUSES; bus++) {
        beck_partition_info p;
        check_ok(beck_partition_info_get(m->bus[bus], 0, &p, err));
        expect(p.next_offset >= m->next[bus]);
        for (int64_t n = m->next[bus]; n < p.next_offset; n++) {
            m->events[m->event_count].bus = bus;
            if (m->bound[bus] && !m->events[m->event_count].lost) {
                add_copy(m, m->event_count);
                m->copies[m->copy_count - 1].touched = true;
            }
            m->event_count++;
        }
        m->next[bus] = p.next_offset;
    }
    if (unknown_binding && !m->bound[1]) {
        m->bound[1] = true;
        expect(begin_binding(m, 1, BECK_FROM_NOW) == BECK_OK); /* the other half of both */
        for (int i = 0; i < m->event_count; i++)
            if (m->events[i].bus == 1 && !m->events[i].lost) {
                add_copy(m, i);
                m->copies[m->copy_count - 1].touched = true;
            }
    }
    (void)before;
    (void)next;
    if (strcmp(what, "rewind") == 0) /* history may be there again */
        for (int i = 0, n = m->event_count; i < n; i++)
            if (!m->events[i].lost && m->bound[m->events[i].bus]) {
                add_copy(m, i);
                m->copies[m->copy_count - 1].touched = true;
            }
    forget_held(m);
    find_out(m, false);
}

static void choose_options(struct model *m)
{
    beck_queue_options *o = &m->options;
    m->way = (enum way)below(m, 3);
    o->attempts_max = 1 + below(m, 5);
    o->backoff.kind = BECK_BACKOFF_FIXED;
    o->backoff.first_ms = 1 + below(m, 1000);
    o->deadline_ms = 1000 + below(m, 5000);
    o->priority_max = below(m, 2) ? 0 : 1 + below(m, 3);
    switch (below(m, 5)) {
    case 0:
        o->length_max = 1 + below(m, 10);
        o->overflow = below(m, 2) ? BECK_OVERFLOW_REFUSE : BECK_OVERFLOW_DROP_OLDEST;
        break;
    case 1:
        o->ttl_ms = 1 + below(m, 10000);
        break;
    case 2:
        o->no_dead_letters = true;
        break;
    default:
        break;
    }
}

static void run_seed(uint64_t seed, int steps)
{
    struct model *m = calloc(1, sizeof *m);
    m->seed = seed;
    m->doing = "begin";
    rng_seed(&m->rng, seed);
    choose_options(m);
    world_start(&m->w, seed);
    /* Only where nothing is dropped is it simple to say what may have come undone. */
    bool violent = !limited(m) && !m->options.no_dead_letters;
    for (int i = 0; i < BUSES; i++)
        m->bus[i] = world_bus(&m->w, i ? "b1" : "b0", &(beck_bus_options){.segment_bytes = 4096});
    world_queue(&m->w, "q", &m->options);
    world_queue(&m->w, "other", NULL);
    for (int i = 0; i < BUSES; i++)
        check_ok(handle_join(m->w.b, handle_find_queue(m->w.b, "other"), m->bus[i], err));
    expect(begin_binding(m, 0, BECK_FROM_NOW) == BECK_OK);
    m->bound[0] = true;
    check_ok(upkeep_checkpoint(m->w.b, err));
    for (m->step = 0; m->step < steps; m->step++) {
        uint32_t dice = below(m, 100);
        m->doing = "restart";
        if (dice == 0)
            close_and_open(m);
        else if (dice == 1)
            kill_and_open(m);
        else if (dice == 2 && violent)
            lose_power(m);
        else if (dice == 3 && violent)
            stop_in_the_middle(m);
        else
            expect(do_something(m) == BECK_OK);
        compare(m);
    }
    let_go_of_consumers(m);
    world_end(&m->w);
    free(m);
}

static void a_queue_does_what_its_model_does(void **state)
{
    const char *one = getenv("BECK_TEST_SEED"), *many = getenv("BECK_TEST_SEEDS");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1;
    uint64_t last = one ? first : many ? strtoull(many, NULL, 10) : effort(150, 30);
    (void)state;
    for (uint64_t seed = first; seed <= last; seed++)
        run_seed(seed, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_queue_does_what_its_model_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
