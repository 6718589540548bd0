/*
 * Confirms: the broker says from any thread what was stored; a task on the loop tells the client. Numbers
 * up to the first open one are told together, those behind it one by one, so that a message that waits for
 * the disk holds up no other.
 */
#include "wire/amqp/amqp_impl.h"

#include <stdlib.h>

#define FIRST_RING 64

enum confirm_state { CONFIRM_OPEN, CONFIRM_ACK, CONFIRM_NACK, CONFIRM_TOLD };

struct confirm_range {
    uint64_t first, count;
    bool ack;
};

struct confirms {
    struct channel *ch;
    struct net_task task;
    uint64_t base, next; /* the first open number; the next one that is given */
    uint8_t *ring;       /* enum confirm_state of base ... next - 1, at their number & (cap - 1) */
    size_t cap;
    struct mutex lock; /* confirms.lock, a leaf, for what follows */
    struct confirm_range *ranges;
    size_t count, ranges_cap;
    bool posted, failed;
    /* The other buffer, on the loop. */
    struct confirm_range *spare;
    size_t spare_cap;
};

/* ---- from the broker ---- */

/* With the lock. */
static bool add_range(struct confirms *f, uint64_t token, bool ack)
{
    struct confirm_range *last = f->count ? &f->ranges[f->count - 1] : NULL;
    if (last && last->ack == ack && last->first + last->count == token) {
        last->count++;
        return true;
    }
    if (f->count == f->ranges_cap) {
        size_t cap = f->ranges_cap ? f->ranges_cap * 2 : 8;
        struct confirm_range *more = realloc(f->ranges, cap * sizeof *more);
        if (!more)
            return false;
        f->ranges = more;
        f->ranges_cap = cap;
    }
    f->ranges[f->count++] = (struct confirm_range){token, 1, ack};
    return true;
}

void confirms_told(void *ctx, const uint64_t *tokens, size_t count, bool ack)
{
    struct channel *ch = ctx;
    struct confirms *f = ch->confirms;
    mutex_lock(&f->lock);
    for (size_t i = 0; i < count && !f->failed; i++)
        f->failed = !add_range(f, tokens[i], ack);
    bool post = !f->posted;
    f->posted = true;
    mutex_unlock(&f->lock);
    if (post)
        net_post(connection_loop(ch->c->net), &f->task);
}

/* ---- numbers ---- */

static uint8_t *state_of(const struct confirms *f, uint64_t number)
{
    return &f->ring[number & (f->cap - 1)];
}

static bool grow(struct confirms *f)
{
    size_t cap = f->cap ? f->cap * 2 : FIRST_RING;
    uint8_t *ring = calloc(cap, 1);
    if (!ring)
        return false;
    for (uint64_t n = f->base; n < f->next; n++)
        ring[n & (cap - 1)] = *state_of(f, n);
    free(f->ring);
    f->ring = ring;
    f->cap = cap;
    return true;
}

uint64_t confirms_next(struct channel *ch)
{
    struct confirms *f = ch->confirms;
    if (f->next - f->base == f->cap && !grow(f))
        return 0;
    return f->next;
}

void confirms_taken(struct channel *ch)
{
    struct confirms *f = ch->confirms;
    *state_of(f, f->next++) = CONFIRM_OPEN;
}

size_t confirms_open(const struct channel *ch)
{
    return ch->confirming ? (size_t)(ch->confirms->next - ch->confirms->base) : 0;
}

/* ---- to the client ---- */

static void tell(struct channel *ch, enum confirm_state how, uint64_t number, bool multiple)
{
    struct method m = {.id = how == CONFIRM_ACK ? METHOD_basic_ack : METHOD_basic_nack};
    if (how == CONFIRM_ACK) {
        m.basic_ack.delivery_tag = number;
        m.basic_ack.multiple = multiple;
    } else {
        m.basic_nack.delivery_tag = number;
        m.basic_nack.multiple = multiple;
        m.basic_nack.requeue = 0;
    }
    channel_send(ch, &m);
}

static void mark(struct confirms *f, const struct confirm_range *r)
{
    for (uint64_t n = r->first; n < r->first + r->count; n++)
        if (n >= f->base && n < f->next)
            *state_of(f, n) = r->ack ? CONFIRM_ACK : CONFIRM_NACK;
}

/* What is not open any more, in order; told are those of one kind together. */
static void advance(struct confirms *f)
{
    enum confirm_state kind = CONFIRM_OPEN;
    uint64_t last = 0, count = 0;
    for (; f->base < f->next && *state_of(f, f->base) != CONFIRM_OPEN; f->base++) {
        enum confirm_state s = (enum confirm_state) * state_of(f, f->base);
        if (s == CONFIRM_TOLD)
            continue;
        if (count > 0 && s != kind) {
            tell(f->ch, kind, last, count > 1);
            count = 0;
        }
        kind = s;
        last = f->base;
        count++;
    }
    if (count > 0)
        tell(f->ch, kind, last, count > 1);
}

static void tell_ahead(struct confirms *f, const struct confirm_range *r)
{
    uint64_t n = r->first > f->base ? r->first : f->base;
    for (; n < r->first + r->count && n < f->next; n++) {
        enum confirm_state s = (enum confirm_state) * state_of(f, n);
        if (s == CONFIRM_ACK || s == CONFIRM_NACK) {
            tell(f->ch, s, n, false);
            *state_of(f, n) = CONFIRM_TOLD;
        }
    }
}

static void tell_all(struct confirms *f, const struct confirm_range *ranges, size_t count)
{
    struct channel *ch = f->ch;
    for (size_t i = 0; i < count && ch->tx; i++)
        tx_confirmed(ch, ranges[i].count, ranges[i].ack);
    if (!ch->confirming)
        return;
    for (size_t i = 0; i < count; i++) {
        mark(f, &ranges[i]);
        channel_count(ch, COUNT_CONFIRM, ranges[i].count);
    }
    advance(f);
    for (size_t i = 0; i < count; i++)
        tell_ahead(f, &ranges[i]);
    atomic_store_explicit(&ch->unconfirmed_seen, (uint32_t)(f->next - f->base),
                          memory_order_relaxed);
}

static void run_task(struct net_task *t)
{
    struct confirms *f = (struct confirms *)(void *)((char *)t - offsetof(struct confirms, task));
    struct channel *ch = f->ch;
    struct amqp_connection *c = ch->c;
    mutex_lock(&f->lock);
    struct confirm_range *ranges = f->ranges;
    size_t count = f->count, cap = f->ranges_cap;
    bool failed = f->failed;
    f->ranges = f->spare;
    f->ranges_cap = f->spare_cap;
    f->count = 0;
    f->posted = false;
    mutex_unlock(&f->lock);
    f->spare = ranges;
    f->spare_cap = cap;
    /* A connection that is to end waits for its commit. */
    if (ch->state != CHANNEL_OPEN || (c->stage != STAGE_RUNNING && !ch->tx))
        return;
    if (failed) {
        amqp_drop(c, "there is no memory for confirms");
        return;
    }
    tell_all(f, ranges, count);
    amqp_stored(c);
}

/* ---- life ---- */

bool confirms_make(struct channel *ch)
{
    struct confirms *f = calloc(1, sizeof *f);
    if (!f)
        return false;
    mutex_init(&f->lock);
    f->ch = ch;
    f->task.run = run_task;
    f->base = f->next = 1;
    ch->confirms = f;
    return true;
}

void confirms_free(struct channel *ch)
{
    struct confirms *f = ch->confirms;
    if (!f)
        return;
    free(f->ring);
    free(f->ranges);
    free(f->spare);
    mutex_release(&f->lock);
    free(f);
    ch->confirms = NULL;
}

void confirm_method(struct channel *ch, const struct method *m)
{
    if (m->id != METHOD_confirm_select) {
        channel_refusef(ch, REPLY_COMMAND_INVALID, (uint32_t)m->id, "unimplemented method");
        return;
    }
    if (ch->tx) {
        channel_refusef(ch, REPLY_PRECONDITION_FAILED, METHOD_confirm_select,
                        "cannot switch from tx to confirm mode");
        return;
    }
    if (!ch->confirms && !confirms_make(ch)) {
        amqp_drop(ch->c, "there is no memory for confirms");
        return;
    }
    ch->confirming = true;
    atomic_store(&ch->mode_seen, 'c');
    if (!m->confirm_select.nowait)
        channel_send_empty(ch, METHOD_confirm_select_ok);
}
