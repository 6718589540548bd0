/*
 * Dispatchers: see dispatch.h.
 *
 * Levels are rings of those subscribers that can take a message; who cannot is in no ring, and comes in again
 * behind all others. `turn` moves on with every message. What a batch may have at most is found first, and
 * reserved of limits that are shared with other queues; so what was taken can always be handed out.
 */
#include "broker/dispatch_impl.h"

#include "broker/message.h"
#include "queue/consumer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_MAX (1u << 20)
#define FRUITLESS_MAX 8

static const struct subscriber_kind of_queues;

static struct queue_subscriber *of_base(struct subscriber *c)
{
    assert(c->kind == &of_queues);
    return (struct queue_subscriber *)c;
}

void dispatch_wake(struct queue_subscriber *s)
{
    if (!atomic_exchange(&s->woken, true))
        s->options.wake(s->options.ctx);
}

/* ---- who can take ---- */

static bool limited(const struct queue_subscriber *s)
{
    return !s->options.no_ack && s->options.shared != NULL;
}

/* How many more it can be given, by its own limits. */
static uint32_t room_of(const struct queue_subscriber *s)
{
    uint32_t room = MAILBOX_MAX - s->mail_count;
    if (s->options.no_ack || s->options.prefetch == 0)
        return room;
    uint32_t left = s->used < s->options.prefetch ? s->options.prefetch - s->used : 0;
    return left < room ? left : room;
}

static bool can_take(const struct queue_subscriber *s)
{
    const struct dispatcher *d = s->dispatcher;
    return s->ready && s->mail_bytes < MAILBOX_BYTES && !s->stopped && !s->closing &&
           !s->is_waiting && !d->gone && (!d->options.single_active || d->active == s) &&
           room_of(s) > 0;
}

static void ring_add(struct queue_subscriber *s)
{
    struct queue_subscriber *turn = s->level->turn;
    if (!turn) {
        s->ring_next = s->ring_previous = s;
        s->level->turn = s;
        return;
    }
    s->ring_next = turn;
    s->ring_previous = turn->ring_previous;
    s->ring_previous->ring_next = s;
    turn->ring_previous = s;
}

static void ring_remove(struct queue_subscriber *s)
{
    if (s->level->turn == s)
        s->level->turn = s->ring_next == s ? NULL : s->ring_next;
    s->ring_next->ring_previous = s->ring_previous;
    s->ring_previous->ring_next = s->ring_next;
    s->ring_next = s->ring_previous = NULL;
}

/* Whether it can take a message, by what only this dispatcher knows, has changed. */
static void update(struct queue_subscriber *s)
{
    bool can = can_take(s);
    if (can && !s->ring_next)
        ring_add(s);
    else if (!can && s->ring_next)
        ring_remove(s);
}

/* Whose turn it is: NULL: nobody can take. Those that find a shared limit reached leave their ring. */
static struct queue_subscriber *next_in_turn(struct dispatcher *d)
{
    for (struct level *l = d->levels; l; l = l->next) {
        struct queue_subscriber *s;
        while ((s = l->turn)) {
            if (!limited(s) || s->reserved > 0 || credit_left(s->options.shared) ||
                !credit_await(s))
                return s;
            update(s);
        }
    }
    return NULL;
}

static void arrived(void *ctx)
{
    struct dispatcher *d = ctx;
    struct queue_subscriber *s = d->waker;
    /* Behind the last use of what the lock guards. */
    atomic_store(&d->fired, true);
    dispatch_wake(s);
}

static void forget_waker(struct dispatcher *d)
{
    if (d->armed)
        queue_unwatch(d->queue, &d->watch);
    d->armed = false;
    d->waker = NULL;
}

void dispatch_arrange(struct dispatcher *d)
{
    if (d->waker && d->waker->ring_next)
        return;
    if (d->waker)
        forget_waker(d);
    bool stands = d->gone || d->stalled || d->owed_count >= OWED_MAX;
    struct queue_subscriber *s = stands ? NULL : next_in_turn(d);
    queue_expect(d->queue, s != NULL);
    if (!s)
        return;
    d->waker = s;
    atomic_store(&d->fired, false);
    d->armed = queue_watch(d->queue, &d->watch);
    if (d->armed) {
        d->fruitless = 0;
        return;
    }
    if (d->fruitless <= FRUITLESS_MAX) {
        dispatch_wake(s);
        return;
    }
    /* The engine has something and does not give it: a file cannot be read now. */
    d->fruitless = 0;
    d->waker = NULL;
    d->stalled = true;
    if (d->options.stalled)
        d->options.stalled(d->options.ctx, d);
}

void dispatcher_poke(struct dispatcher *d)
{
    mutex_lock(&d->lock);
    d->stalled = false;
    settle_owed(d);
    dispatch_arrange(d);
    mutex_unlock(&d->lock);
}

/* ---- taking from the engine ---- */

struct source_consumer **dispatch_consumer_of(struct dispatcher *d, uint64_t tag)
{
    for (struct source_consumer **at = &d->consumers; *at; at = &(*at)->next)
        if ((*at)->number == tag >> 40)
            return at;
    return NULL;
}

static beck_status add_consumer(struct dispatcher *d, uint32_t room, beck_error *err)
{
    struct source_consumer *k = calloc(1, sizeof *k);
    if (!k)
        return error_set(err, BECK_ENOMEM, "no memory for a consumer");
    beck_status status = consumer_open(d->queue, room, &k->consumer, err);
    if (status) {
        free(k);
        return status;
    }
    consumer_limit_bytes(k->consumer, AT_ONCE_BYTES);
    k->room = room;
    k->next = d->consumers;
    d->consumers = k;
    return BECK_OK;
}

/* One that has room comes to the front. */
static struct source_consumer *consumer_with_room(struct dispatcher *d)
{
    struct source_consumer *first = d->consumers;
    if (first && first->held < first->room)
        return first;
    for (struct source_consumer **at = &d->consumers; *at; at = &(*at)->next) {
        struct source_consumer *k = *at;
        if (k->held == k->room)
            continue;
        *at = k->next;
        k->next = d->consumers;
        d->consumers = k;
        return k;
    }
    uint32_t room = !first ? 1024 : first->room < 16384 ? first->room * 16 : QUEUE_PREFETCH_MAX;
    return add_consumer(d, room, NULL) ? NULL : d->consumers;
}

/* What is taken and is too much goes back: the next time less is asked for. */
static void learn(struct dispatcher *d, const struct item *items, size_t asked, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += items[i].size;
    if (bytes >= AT_ONCE_BYTES)
        d->at_most = (uint32_t)n;
    else if (n == asked && bytes < AT_ONCE_BYTES / 2 && d->at_most < AT_ONCE)
        d->at_most = 2 * d->at_most < AT_ONCE ? 2 * d->at_most : AT_ONCE;
}

static void cancel_all(struct dispatcher *d)
{
    d->gone = true;
    forget_waker(d);
    for (struct queue_subscriber *s = d->first; s; s = s->next) {
        update(s);
        if (s->cancelled)
            continue;
        s->cancelled = true;
        s->options.cancelled(s->options.ctx);
    }
}

/* Takes up to max of what is ready. */
static size_t take_ready(struct dispatcher *d, struct item *out, size_t max)
{
    beck_delivery taken[AT_ONCE];
    struct source_consumer *k = consumer_with_room(d);
    size_t n = 0;
    if (!k || d->owed_count >= OWED_MAX)
        return 0;
    if (max > d->at_most)
        max = d->at_most;
    if (max > k->room - k->held)
        max = k->room - k->held;
    beck_status status = consumer_take(k->consumer, taken, max, 0, &n, NULL);
    d->fruitless += status != BECK_OK;
    if (status == BECK_ECLOSED) {
        cancel_all(d);
        if (d->options.stalled)
            d->options.stalled(d->options.ctx, d);
    }
    if (status)
        return 0;
    k->number = taken[0].tag >> 40;
    k->held += (uint32_t)n;
    atomic_fetch_add_explicit(&d->unacked, (int64_t)n, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        out[i] = (struct item){.event = taken[i].event,
                               .content = consumer_carried(k->consumer, taken[i].tag),
                               .block = consumer_block(k->consumer, taken[i].tag),
                               .tag = taken[i].tag,
                               .attempt = taken[i].attempt,
                               .size = (uint32_t)taken[i].event->data.len,
                               .redelivered = taken[i].redelivered};
    learn(d, out, max, n);
    d->fruitless = 0;
    return n;
}

/* ---- mailboxes ---- */

static struct item *mail_at(const struct queue_subscriber *s, uint32_t i)
{
    return &s->mailbox[(s->mail_first + i) & (s->mail_cap - 1)];
}

static void mail_copy(const struct queue_subscriber *s, struct item *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = *mail_at(s, (uint32_t)i);
}

static beck_status mail_reserve(struct queue_subscriber *s, uint32_t more)
{
    if (s->mail_count + more <= s->mail_cap)
        return BECK_OK;
    uint32_t cap = s->mail_cap ? s->mail_cap : 16;
    while (cap < s->mail_count + more)
        cap *= 2;
    struct item *grown = malloc(cap * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    mail_copy(s, grown, s->mail_count);
    free(s->mailbox);
    s->mailbox = grown;
    s->mail_cap = cap;
    s->mail_first = 0;
    return BECK_OK;
}

static void mail_pop(struct queue_subscriber *s, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        s->mail_bytes -= mail_at(s, i)->size;
    s->mail_first += count;
    s->mail_count -= count;
    if (s->mail_count > 0 || s->mail_cap <= AT_ONCE)
        return;
    free(s->mailbox);
    s->mailbox = NULL;
    s->mail_cap = s->mail_first = 0;
}

/* ---- handing out ---- */

/* The room of those that can take, as far as a batch goes; of shared limits it is reserved. */
static size_t reserve(struct dispatcher *d, bool *shared)
{
    size_t total = 0;
    for (struct level *l = d->levels; l && total < AT_ONCE; l = l->next) {
        struct queue_subscriber *s = l->turn, *last = s ? s->ring_previous : NULL;
        for (bool more = s != NULL; more && total < AT_ONCE;) {
            struct queue_subscriber *next = s->ring_next;
            more = s != last;
            uint32_t room = room_of(s);
            if (room > AT_ONCE - total)
                room = (uint32_t)(AT_ONCE - total);
            if (limited(s)) {
                s->reserved = credit_reserve(s->options.shared, room);
                *shared |= s->reserved > 0;
                if (s->reserved == 0 && credit_await(s))
                    update(s);
                room = s->reserved;
            }
            total += room;
            s = next;
        }
    }
    return total;
}

/* Those of this queue that found nothing left meanwhile are not woken for it: they are in their turn again. */
static void unreserve(struct dispatcher *d)
{
    for (struct queue_subscriber *s = d->first; s; s = s->next)
        if (s->reserved > 0)
            credit_return(s->options.shared, s->reserved);
    for (struct queue_subscriber *s = d->first; s; s = s->next) {
        if (!s->is_waiting || !credit_left(s->options.shared))
            continue;
        credit_await_no_more(s);
        update(s);
    }
    for (struct queue_subscriber *s = d->first; s; s = s->next) {
        if (s->reserved > 0)
            credit_wake(s->options.shared);
        s->reserved = 0;
    }
}

/* Whose turn it is, with its share of a common limit taken. */
static struct queue_subscriber *next_to_get(struct dispatcher *d)
{
    struct queue_subscriber *s;
    while ((s = next_in_turn(d))) {
        if (!limited(s))
            return s;
        if (s->reserved > 0) {
            s->reserved--;
            return s;
        }
        if (credit_reserve(s->options.shared, 1) == 1)
            return s;
    }
    return NULL;
}

/* False: nobody can have it. */
static bool hand_out(struct dispatcher *d, const struct item *m, struct queue_subscriber **rouse)
{
    struct queue_subscriber *s = next_to_get(d);
    if (!s)
        return false;
    if (mail_reserve(s, 1)) {
        if (limited(s))
            credit_give_back(s->options.shared, 1);
        return false;
    }
    *mail_at(s, s->mail_count++) = *m;
    s->mail_bytes += m->size;
    s->used += !s->options.no_ack;
    s->level->turn = s->ring_next;
    if (room_of(s) == 0)
        update(s);
    if (!s->rouse) {
        s->rouse = true;
        s->rouse_next = *rouse;
        *rouse = s;
    }
    return true;
}

/* Takes a batch and hands it out. False: nothing was there, or nobody who could have it. */
static bool dispatch(struct dispatcher *d, struct queue_subscriber *self)
{
    struct item items[AT_ONCE];
    struct queue_subscriber *rouse = NULL;
    bool shared = false;
    size_t most = reserve(d, &shared), n = most > 0 ? take_ready(d, items, most) : 0, given = 0;
    while (given < n && hand_out(d, &items[given], &rouse))
        given++;
    if (shared)
        unreserve(d);
    for (size_t i = given; i < n; i++) /* no memory for a mailbox */
        settle_give_back(d, &items[i].tag, 1);
    while (rouse) {
        struct queue_subscriber *s = rouse;
        rouse = s->rouse_next;
        s->rouse = false;
        update(s);
        if (s != self)
            dispatch_wake(s);
    }
    return given > 0;
}

/* ---- pumping ---- */

/* Delivers what was copied out of the mailbox; without the lock. Returns how many were taken. */
static size_t deliver_items(struct queue_subscriber *s, const struct item *items, size_t count,
                            bool (*deliver)(void *ctx, const struct handed *m), void *ctx,
                            bool *stopped)
{
    struct dispatcher *d = s->dispatcher;
    for (size_t i = 0; i < count; i++) {
        struct handed m = {.queue = d->options.owner,
                           .subscriber = &s->base,
                           .tag = items[i].tag,
                           .redelivered = items[i].redelivered};
        message_show(items[i].event, items[i].content, items[i].block,
                     d->options.counts ? items[i].attempt - 1 : 0, d->options.durable, &s->scratch,
                     &m);
        if (!deliver(ctx, &m)) {
            *stopped = true;
            return i + 1;
        }
    }
    return count;
}

/* With the lock, which it lets go of meanwhile. */
static size_t deliver_some(struct queue_subscriber *s, size_t max,
                           bool (*deliver)(void *ctx, const struct handed *m), void *ctx)
{
    struct dispatcher *d = s->dispatcher;
    struct item items[AT_ONCE];
    uint64_t tags[AT_ONCE];
    size_t n = s->mail_count < max ? s->mail_count : max;
    bool stopped = false;
    if (n > AT_ONCE)
        n = AT_ONCE;
    mail_copy(s, items, n);
    mutex_unlock(&d->lock);
    n = deliver_items(s, items, n, deliver, ctx, &stopped);
    mutex_lock(&d->lock);
    mail_pop(s, (uint32_t)n);
    s->stopped = stopped;
    for (size_t i = 0; i < n; i++)
        tags[i] = items[i].tag;
    if (s->options.no_ack)
        settle_tags(d, tags, n, SETTLE_ACK);
    else
        settle_forget(d, tags, n);
    update(s);
    return n;
}

static size_t pump(struct subscriber *c, size_t max,
                   bool (*deliver)(void *ctx, const struct handed *m), void *ctx)
{
    struct queue_subscriber *s = of_base(c);
    struct dispatcher *d = s->dispatcher;
    size_t total = 0;
    mutex_lock(&d->lock);
    atomic_store(&s->woken, false);
    s->stopped = false;
    s->pumping = true;
    if (d->waker == s && (!d->armed || atomic_load(&d->fired)))
        forget_waker(d);
    if (s->is_waiting && credit_left(s->options.shared))
        credit_await_no_more(s);
    update(s);
    while (total < max && s->ready && !s->stopped && !s->closing && !s->cancelled) {
        if (s->mail_count == 0 && (!dispatch(d, s) || s->mail_count == 0))
            break;
        total += deliver_some(s, max - total, deliver, ctx);
    }
    s->pumping = false;
    if (s->closing)
        cond_broadcast(&d->quiet);
    if (total == max && max > 0)
        atomic_store(&s->woken, true); /* it comes again by itself */
    dispatch_arrange(d);
    mutex_unlock(&d->lock);
    return total;
}

static void set_ready(struct subscriber *c, bool ready)
{
    struct queue_subscriber *s = of_base(c);
    struct dispatcher *d = s->dispatcher;
    mutex_lock(&d->lock);
    s->ready = ready;
    if (ready)
        s->stopped = false;
    if (s->is_waiting && credit_left(s->options.shared))
        credit_await_no_more(s);
    update(s);
    dispatch_arrange(d);
    if (ready && s->mail_count > 0)
        dispatch_wake(s);
    mutex_unlock(&d->lock);
}

/* ---- subscribing ---- */

static struct level *level_of(struct dispatcher *d, int32_t priority)
{
    struct level **at = &d->levels;
    while (*at && (*at)->priority > priority)
        at = &(*at)->next;
    struct level *l = *at;
    if (l && l->priority == priority)
        return l;
    l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->priority = priority;
    l->next = *at;
    *at = l;
    return l;
}

static void leave_level(struct dispatcher *d, struct level *l)
{
    if (--l->subscribers > 0)
        return;
    struct level **at = &d->levels;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    free(l);
}

/* The oldest of the highest priority follows. */
static void choose_active(struct dispatcher *d)
{
    struct queue_subscriber *best = NULL;
    for (struct queue_subscriber *s = d->first; s; s = s->next)
        if (!best || s->level->priority > best->level->priority)
            best = s;
    d->active = best;
    if (best)
        update(best);
}

enum dispatch_refusal dispatcher_subscribe(struct dispatcher *d, const struct subscriber_options *o,
                                           int32_t priority, struct subscriber **out)
{
    struct queue_subscriber *s = calloc(1, sizeof *s);
    if (!s)
        return DISPATCH_NO_MEMORY;
    enum dispatch_refusal refusal = DISPATCH_OK;
    mutex_lock(&d->lock);
    if (d->gone)
        refusal = DISPATCH_GONE;
    else if (d->exclusive || (o->exclusive && d->first))
        refusal = DISPATCH_EXCLUSIVE;
    else if (!(s->level = level_of(d, priority)))
        refusal = DISPATCH_NO_MEMORY;
    if (refusal) {
        mutex_unlock(&d->lock);
        free(s);
        return refusal;
    }
    s->base.kind = &of_queues;
    s->dispatcher = d;
    s->options = *o;
    s->ready = true;
    buf_init(&s->scratch, SCRATCH_MAX);
    s->level->subscribers++;
    s->at = d->end;
    *d->end = s;
    d->end = &s->next;
    d->exclusive = o->exclusive;
    atomic_fetch_add(&d->count, 1);
    if (d->options.single_active && !d->active)
        d->active = s;
    update(s);
    *out = &s->base;
    dispatch_arrange(d);
    mutex_unlock(&d->lock);
    return DISPATCH_OK;
}

void dispatch_released(struct queue_subscriber *s, uint32_t count)
{
    if (s->options.no_ack)
        return;
    assert(s->used >= count);
    s->used -= count;
    if (limited(s))
        credit_give_back(s->options.shared, count);
    update(s);
}

static void return_mail(struct queue_subscriber *s)
{
    uint64_t tags[AT_ONCE];
    while (s->mail_count > 0) {
        size_t n = s->mail_count < AT_ONCE ? s->mail_count : AT_ONCE;
        for (size_t i = 0; i < n; i++)
            tags[i] = mail_at(s, (uint32_t)i)->tag;
        settle_give_back(s->dispatcher, tags, n);
        mail_pop(s, (uint32_t)n);
    }
}

static void close_subscriber(struct subscriber *c)
{
    struct queue_subscriber *s = of_base(c);
    struct dispatcher *d = s->dispatcher;
    mutex_lock(&d->lock);
    s->closing = true;
    while (s->pumping)
        cond_wait(&d->quiet, &d->lock);
    credit_await_no_more(s);
    update(s);
    if (d->waker == s)
        forget_waker(d);
    return_mail(s);
    dispatch_released(s, s->used);
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    else
        d->end = s->at;
    leave_level(d, s->level);
    atomic_fetch_sub(&d->count, 1);
    d->exclusive &= !s->options.exclusive;
    if (d->active == s)
        choose_active(d);
    dispatch_arrange(d);
    mutex_unlock(&d->lock);
    free(s->mailbox);
    buf_release(&s->scratch);
    free(s);
}

static const struct subscriber_kind of_queues = {pump, set_ready, close_subscriber};

/* ---- all of it ---- */

beck_status dispatcher_new(const struct dispatcher_options *o, struct dispatcher **out,
                           beck_error *err)
{
    struct dispatcher *d = calloc(1, sizeof *d);
    if (!d)
        return error_set(err, BECK_ENOMEM, "no memory for the consumers of a queue");
    d->options = *o;
    d->queue = queue_retain(o->queue);
    d->end = &d->first;
    d->at_most = AT_ONCE;
    d->watch = (struct queue_watch){.fn = arrived, .ctx = d};
    mutex_init(&d->lock);
    cond_init(&d->quiet);
    *out = d;
    return BECK_OK;
}

void dispatcher_delay(struct dispatcher *d, const struct dispatch_delays *delays)
{
    mutex_lock(&d->lock);
    d->delays = *delays;
    mutex_unlock(&d->lock);
}

void dispatcher_free(struct dispatcher *d)
{
    if (!d)
        return;
    assert(!d->first && !d->waker);
    while (d->consumers) {
        struct source_consumer *k = d->consumers;
        d->consumers = k->next;
        consumer_close(k->consumer);
        free(k);
    }
    free(d->owed);
    cond_release(&d->quiet);
    mutex_release(&d->lock);
    queue_release(d->queue);
    free(d);
}

void dispatcher_end(struct dispatcher *d)
{
    mutex_lock(&d->lock);
    cancel_all(d);
    mutex_unlock(&d->lock);
}

uint32_t dispatcher_subscribers(const struct dispatcher *d)
{
    return atomic_load(&d->count);
}

int64_t dispatcher_unacked(const struct dispatcher *d)
{
    return atomic_load_explicit(&d->unacked, memory_order_relaxed);
}

bool dispatcher_chosen(struct dispatcher *d, char *tag, size_t size, size_t *len, bool *single)
{
    mutex_lock(&d->lock);
    *single = d->options.single_active;
    const struct queue_subscriber *s = *single ? d->active : d->first;
    while (s && !*single && !s->options.exclusive)
        s = s->next;
    if (s) {
        *len = s->options.tag.len < size ? s->options.tag.len : size;
        memcpy(tag, s->options.tag.data, *len);
    }
    mutex_unlock(&d->lock);
    return s != NULL;
}

beck_status dispatcher_get(struct dispatcher *d, struct handed *out, bool *got, struct buf *scratch,
                           beck_error *err)
{
    struct item m;
    mutex_lock(&d->lock);
    *got = !d->gone && take_ready(d, &m, 1) == 1;
    bool gone = d->gone;
    mutex_unlock(&d->lock);
    if (gone && !*got)
        return error_set(err, BECK_ECLOSED, "the queue is gone");
    if (*got) {
        *out =
            (struct handed){.queue = d->options.owner, .tag = m.tag, .redelivered = m.redelivered};
        message_show(m.event, m.content, m.block, d->options.counts ? m.attempt - 1 : 0,
                     d->options.durable, scratch, out);
    }
    return BECK_OK;
}
