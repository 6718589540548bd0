/* Takers: see taker.h. Deliveries whose answer could not be sent are returned at once. Those whose
 * client was silent afterwards come back by the queue's deadline. */
#include "wire/http/taker.h"

#include "api/handle.h"
#include "base/clock.h"
#include "base/error.h"
#include "event/cloudevents.h"

#include <assert.h>
#include <stdlib.h>

#define AT_ONCE 32              /* deliveries taken with the queue locked once */
#define ANSWER_BYTES (8u << 20) /* no more deliveries are put into an answer of this size */
#define ANSWER_BYTES_MAX (256u << 20)
#define TURNS 64           /* then others get the thread */
#define RETRY_NS 100000000 /* when a queue cannot say when it has something */

/* ---- lists ---- */

static void ops_add(struct ops *list, struct op *op)
{
    op->next = NULL;
    if (list->last)
        list->last->next = op;
    else
        list->first = op;
    list->last = op;
}

static struct op *ops_pop(struct ops *list)
{
    struct op *op = list->first;
    if (op) {
        list->first = op->next;
        if (!op->next)
            list->last = NULL;
    }
    return op;
}

/* ---- takers ---- */

struct taker **taker_place(struct work *w, const char *name)
{
    struct taker **at = &w->table[bytes_hash(name, strlen(name), 0) % WORK_TAKERS];
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

/* Has somebody work. True: the caller, who must call run. With work.lock. */
bool taker_rouse(struct taker *t)
{
    assert(mutex_held(&t->work->lock));
    if (t->busy)
        return false;
    t->busy = true;
    t->references++;
    return true;
}

void taker_wake(struct taker *t)
{
    if (taker_rouse(t))
        http_push(t->work->http, &t->job);
}

/* By the thread at work, which has a reference of its own. */
static void let_go(struct taker *t)
{
    mutex_lock(&t->work->lock);
    t->references--;
    assert(t->busy && t->references > 0);
    mutex_unlock(&t->work->lock);
}

static void release(struct taker *t)
{
    struct work *w = t->work;
    mutex_lock(&w->lock);
    bool last = --t->references == 0;
    mutex_unlock(&w->lock);
    if (!last)
        return;
    assert(t->closed && !t->todo.first && !t->line.first);
    free(t->returns);
    buf_release(&t->event);
    free(t->name);
    free(t);
}

void taker_retire(struct taker *t)
{
    assert(mutex_held(&t->work->lock));
    if (t->closing)
        return;
    t->closing = true;
    if (!t->shared)
        return;
    struct taker **at = taker_place(t->work, t->name);
    assert(*at == t);
    *at = t->next;
    t->work->count--;
}

static void note_watch(void *ctx)
{
    struct taker *t = ctx;
    mutex_lock(&t->work->lock);
    t->noted = true;
    taker_wake(t);
    mutex_unlock(&t->work->lock);
}

static void note_retry(struct timer *timer)
{
    struct taker *t = (struct taker *)((char *)timer - offsetof(struct taker, retry));
    mutex_lock(&t->work->lock);
    t->look = true;
    taker_wake(t);
    mutex_unlock(&t->work->lock);
}

beck_status taker_new(struct work *w, const char *name, bool shared, uint32_t prefetch,
                      struct taker **out, beck_error *err)
{
    beck *b = w->http->context.b;
    struct taker *t = calloc(1, sizeof *t);
    char *copy = strdup(name);
    struct queue *q = NULL;
    beck_status status = t && copy ? handle_get_queue(b, name, &q, err)
                                   : error_set(err, BECK_ENOMEM, "no memory to take from a queue");
    if (!status)
        status = consumer_open(q, prefetch, &t->consumer, err);
    if (status) {
        if (q)
            queue_release(q);
        free(copy);
        free(t);
        return status;
    }
    t->job.run = taker_run;
    t->work = w;
    t->shared = shared;
    t->name = copy;
    t->queue = q;
    t->references = 1;
    t->watch = (struct queue_watch){.fn = note_watch, .ctx = t};
    t->retry.due = note_retry;
    buf_init(&t->event, ANSWER_BYTES_MAX);
    *out = t;
    return BECK_OK;
}

/* Everything is answered. What is held goes back to the queue. */
static void close_taker(struct taker *t)
{
    struct work *w = t->work;
    timers_cancel(&w->http->timers, &t->retry);
    queue_unwatch(t->queue, &t->watch);
    queue_pass_on(t->queue);
    consumer_close(t->consumer);
    queue_release(t->queue);
    mutex_lock(&w->lock);
    t->closed = true;
    mutex_unlock(&w->lock);
}

void taker_discard(struct taker *t)
{
    t->closing = true;
    close_taker(t);
    release(t);
}

void taker_add(struct taker *t, struct op *op)
{
    assert(mutex_held(&t->work->lock) && !t->closing);
    op->taker = t;
    t->references++;
    ops_add(&t->todo, op);
}

/* ---- taking ---- */

static beck_status add_delivery(struct taker *t, const beck_delivery *d, bool first,
                                struct buf *out, beck_error *err)
{
    size_t before = out->len;
    buf_clear(&t->event);
    beck_status status = cloudevents_write_exact(d->event, &t->event, err);
    if (status)
        return status;
    struct api_delivery shown = {d->tag, d->attempt, d->redelivered, d->deadline_ms,
                                 buf_bytes(&t->event)};
    if (!first)
        status = buf_append_byte(out, ',');
    if (!status)
        status = shape_write(&shape_delivery, &shown, out);
    if (status) {
        out->len = before;
        return error_set(err, status, "no memory for the text of a delivery");
    }
    return BECK_OK;
}

/* Late ones occupy places that nobody will free. */
static beck_status take_some(struct taker *t, beck_delivery *out, size_t max, size_t *count,
                             beck_error *err)
{
    beck_status status = consumer_take(t->consumer, out, max, 0, count, err);
    if (status == BECK_ELIMIT && t->shared) {
        consumer_forget_stale(t->consumer);
        status = consumer_take(t->consumer, out, max, 0, count, err);
    }
    return status;
}

/* Fills the answer. BECK_ETIMEDOUT: nothing is there. Once there is one delivery, it is an answer. */
static beck_status take(struct taker *t, struct op *op, struct buf *out, beck_error *err)
{
    beck_status status = buf_append_text(out, "{\"deliveries\":[");
    op->count = 0;
    if (!status && !op->tags) {
        op->tags = http_alloc(op->r, op->max * sizeof *op->tags);
        status = op->tags ? BECK_OK : BECK_ENOMEM;
    }
    if (status)
        return error_set(err, status, "no memory for deliveries");
    while (!status && op->count < op->max && out->len < ANSWER_BYTES) {
        beck_delivery d[AT_ONCE];
        /* The first says how large they are. */
        size_t want = op->count == 0 ? 1 : op->max - op->count, n = 0;
        status = take_some(t, d, want < AT_ONCE ? want : AT_ONCE, &n, err);
        for (size_t i = 0; i < n; i++) {
            if (!status && out->len < ANSWER_BYTES)
                status = add_delivery(t, &d[i], op->count == 0, out, err);
            else
                status = status ? status : BECK_ELIMIT;
            if (status == BECK_EINVAL) /* it never will be text */
                consumer_retry(t->consumer, d[i].tag, -1, err->text, NULL);
            else if (status)
                consumer_return(t->consumer, d[i].tag, NULL);
            else
                op->tags[op->count++] = d[i].tag;
        }
    }
    if (op->count == 0)
        return status;
    status = buf_append_text(out, "]}");
    for (size_t i = 0; i < op->count && status; i++)
        consumer_return(t->consumer, op->tags[i], NULL);
    return status ? error_set(err, status, "no memory for deliveries") : BECK_OK;
}

/* Of a take that gave deliveries. Network thread. */
static void answer_sent(void *ctx, bool sent)
{
    struct op *op = ctx;
    struct taker *t = op->taker;
    mutex_lock(&t->work->lock);
    size_t need = t->return_count + op->count;
    if (!sent && !t->closed && need > t->return_cap) {
        uint64_t *grown = realloc(t->returns, need * sizeof *grown);
        if (grown) {
            t->returns = grown;
            t->return_cap = need;
        }
    }
    /* Without memory they come back by their deadline. */
    if (!sent && !t->closed && need <= t->return_cap) {
        memcpy(t->returns + t->return_count, op->tags, op->count * sizeof *op->tags);
        t->return_count = need;
        taker_wake(t);
    }
    mutex_unlock(&t->work->lock);
    release(t);
}

static void answer_nothing(struct op *op)
{
    struct taker *t = op->taker;
    http_answer(op->r, 204, NULL, NULL);
    let_go(t);
}

static void answer_failure(struct op *op, beck_status status, const beck_error *err)
{
    struct taker *t = op->taker;
    http_fail(op->r, status, err);
    let_go(t);
}

/* ---- the line ---- */

/* Its time came, or its client went. On the pool. */
static void end_wait(struct http_request *r, void *ctx)
{
    struct op *op = ctx;
    struct work *w = r->connection->http->work;
    mutex_lock(&w->lock);
    if (op->waiting) {
        op->ended = op->taker->ended = true;
        taker_wake(op->taker);
    }
    mutex_unlock(&w->lock);
}

static void leave_line(struct op *op)
{
    mutex_lock(&op->taker->work->lock);
    op->waiting = false;
    mutex_unlock(&op->taker->work->lock);
}

/* Answers those whose wait is over, or with `all` of those that do not wait as well. */
static void shorten_line(struct taker *t, bool all)
{
    struct ops over = {0}, line = {0};
    struct op *op;
    mutex_lock(&t->work->lock);
    t->ended = false;
    while ((op = ops_pop(&t->line))) {
        bool ends = op->ended || (all && op->until_ns == 0);
        op->waiting = !ends;
        ops_add(ends ? &over : &line, op);
    }
    t->line = line;
    mutex_unlock(&t->work->lock);
    while ((op = ops_pop(&over)))
        answer_nothing(op);
}

/* The queue was deleted: those in line may be served by another of its name, once. */
static void hand_on(struct taker *t, const beck_error *err)
{
    struct op *op;
    if (t->shared) { /* a connection's goes with its connection */
        mutex_lock(&t->work->lock);
        taker_retire(t);
        mutex_unlock(&t->work->lock);
    }
    while ((op = ops_pop(&t->line))) {
        leave_line(op);
        if (op->again || !t->shared || (op->timed && !http_at_cancel(op->r))) {
            answer_failure(op, BECK_ECLOSED, err);
            continue;
        }
        op->again = true;
        op->timed = false;
        op->taker = NULL;
        work_dispatch(t->work, op, false);
        let_go(t);
    }
}

static void start_timers(struct taker *t)
{
    for (struct op *op = t->line.first; op; op = op->next) {
        if (op->timed)
            continue;
        op->timed = true;
        http_at(op->r, op->until_ns, end_wait, op);
    }
}

/* Nothing is there for those in line. True: something may be there after all. */
static bool wait_for_more(struct taker *t, int *tries)
{
    shorten_line(t, true);
    if (!t->line.first)
        return false;
    start_timers(t);
    if (t->watching)
        return false;
    t->watching = queue_watch(t->queue, &t->watch);
    if (t->watching)
        return false;
    if (++*tries < 3)
        return true;
    timers_cancel(&t->work->http->timers, &t->retry);
    timers_set(&t->work->http->timers, &t->retry, clock_mono_ns(clock_system()) + RETRY_NS);
    return false;
}

static void serve(struct taker *t)
{
    int tries = 0;
    while (t->line.first) {
        struct op *op = t->line.first;
        struct buf out;
        beck_error err;
        if (http_is_ending(op->r)) {
            leave_line(ops_pop(&t->line));
            answer_nothing(op);
            continue;
        }
        buf_init(&out, ANSWER_BYTES_MAX);
        beck_status status = take(t, op, &out, &err);
        if (status == BECK_ETIMEDOUT) {
            buf_release(&out);
            if (wait_for_more(t, &tries))
                continue;
            break;
        }
        if (status == BECK_ECLOSED) {
            buf_release(&out);
            hand_on(t, &err);
            break;
        }
        leave_line(ops_pop(&t->line));
        if (status) {
            answer_failure(op, status, &err);
        } else {
            http_on_sent(op->r, answer_sent, op);
            http_answer(op->r, 200, "application/json", &out);
        }
        buf_release(&out);
    }
    /* A watch without anybody in line would swallow what is for others. */
    if (!t->line.first && t->watching) {
        queue_unwatch(t->queue, &t->watch);
        t->watching = false;
    }
}

/* ---- saying how it went ---- */

static const struct shape *const answers[] = {
    NULL, &shape_settled, &shape_retried, &shape_rejected, &shape_returned, &shape_extended};

static beck_status tell_one(struct taker *t, const struct op *op, uint64_t tag, beck_error *err)
{
    switch (op->kind) {
    case OP_RETRY:
        return consumer_retry(t->consumer, tag, op->delay_ms, op->why, err);
    case OP_REJECT:
        return consumer_reject(t->consumer, tag, op->why, err);
    case OP_RETURN:
        return consumer_return(t->consumer, tag, err);
    case OP_EXTEND:
        return consumer_extend(t->consumer, tag, err);
    case OP_TAKE:
    case OP_SETTLE:
    case OP_END:
        break;
    }
    assert(false && "a take tells nothing, and settling is done for all at once");
    return BECK_EINVAL;
}

static void tell(struct taker *t, struct op *op)
{
    struct api_done done = {0};
    bool *stale = http_alloc(op->r, op->count + 1);
    beck_status status = BECK_OK;
    beck_error err;
    if (!stale)
        status = error_set(&err, BECK_ENOMEM, "no memory to settle deliveries");
    else if (op->kind == OP_SETTLE)
        status = consumer_settle_each(t->consumer, op->tags, op->count, stale, &err);
    for (size_t i = 0; i < op->count && !status && op->kind != OP_SETTLE; i++) {
        status = tell_one(t, op, op->tags[i], &err);
        stale[i] = status == BECK_ESTALE;
        status = stale[i] ? BECK_OK : status;
    }
    if (status) {
        answer_failure(op, status, &err);
        return;
    }
    done.stale = op->tags;
    for (size_t i = 0; i < op->count; i++) {
        if (stale[i])
            done.stale[done.stale_count++] = op->tags[i];
        else
            done.count++;
    }
    document_answer(op->r, 200, answers[op->kind], &done);
    let_go(t);
}

/* ---- the thread at work ---- */

/* What is to be done now, taken out of the taker's hands. */
struct turn {
    struct ops ops;
    uint64_t *returns;
    size_t return_count;
    bool noted, ended, look, sweep, close;
};

enum turns { TURN_NONE, TURN_SOME, TURN_NOT_HERE };

/* Nothing that reads the log or appends dead letters. With work.lock. */
static bool is_quick(const struct taker *t)
{
    for (const struct op *op = t->todo.first; op; op = op->next)
        if (op->kind != OP_SETTLE && op->kind != OP_EXTEND && op->kind != OP_RETURN)
            return false;
    return !t->noted && !t->ended && !t->look && !t->sweep && !t->closing;
}

/* NONE: there is nothing to do, and the thread is at work no more. */
static enum turns begin_turn(struct taker *t, bool quick, struct turn *turn)
{
    mutex_lock(&t->work->lock);
    if (quick && !is_quick(t)) {
        mutex_unlock(&t->work->lock);
        return TURN_NOT_HERE;
    }
    *turn = (struct turn){.ops = t->todo,
                          .returns = t->returns,
                          .return_count = t->return_count,
                          .noted = t->noted,
                          .ended = t->ended,
                          .look = t->look,
                          .sweep = t->sweep};
    bool any = t->todo.first || t->return_count > 0 || t->noted || t->ended || t->look || t->sweep;
    turn->close = !any && t->closing && !t->closed;
    t->todo = (struct ops){0};
    t->returns = NULL;
    t->return_count = t->return_cap = 0;
    t->noted = t->look = t->sweep = false;
    if (turn->ops.first)
        t->used_ns = clock_mono_ns(clock_system());
    t->busy = any || turn->close;
    mutex_unlock(&t->work->lock);
    return any || turn->close ? TURN_SOME : TURN_NONE;
}

static void sweep_taker(struct taker *t)
{
    struct work *w = t->work;
    uint32_t held = consumer_forget_stale(t->consumer);
    mutex_lock(&w->lock);
    if (held == 0 && !t->todo.first && !t->line.first &&
        clock_mono_ns(clock_system()) - t->used_ns >= w->idle_ns)
        taker_retire(t);
    mutex_unlock(&w->lock);
}

static void do_turn(struct taker *t, struct turn *turn)
{
    struct op *op;
    for (size_t i = 0; i < turn->return_count && !t->closed; i++)
        consumer_return(t->consumer, turn->returns[i], NULL);
    free(turn->returns);
    if (turn->noted)
        t->watching = false;
    bool look = turn->noted || turn->ended || turn->look;
    while ((op = ops_pop(&turn->ops))) {
        if (op->kind == OP_END) {
            t->end = op;
            continue;
        }
        if (op->kind != OP_TAKE) {
            tell(t, op);
            continue;
        }
        mutex_lock(&t->work->lock);
        op->waiting = true;
        mutex_unlock(&t->work->lock);
        ops_add(&t->line, op);
        look = true;
    }
    if (turn->ended)
        shorten_line(t, false);
    bool others = turn->noted && !t->line.first;
    if (t->closed)
        return;
    if (look)
        serve(t);
    if (others)
        queue_pass_on(t->queue);
    if (turn->sweep)
        sweep_taker(t);
}

static void work_on(struct taker *t, bool quick)
{
    struct turn turn;
    for (int i = 0;; i++) {
        enum turns next = i < TURNS ? begin_turn(t, quick, &turn) : TURN_NOT_HERE;
        if (next == TURN_NONE)
            break;
        if (next == TURN_NOT_HERE) {
            http_push(t->work->http, &t->job);
            return;
        }
        if (turn.close) {
            close_taker(t);
            if (t->end)
                answer_nothing(t->end);
            let_go(t); /* the table's reference, or the connection's */
        } else {
            do_turn(t, &turn);
        }
    }
    release(t);
}

void taker_run(struct job *job)
{
    work_on((struct taker *)job, false); /* its first member */
}

void taker_run_quick(struct taker *t)
{
    work_on(t, true);
}
