/* What may wait: on the pool, and back on the loop. */
#include "wire/amqp/amqp_impl.h"

#include <stdlib.h>

static void run_work(struct job *job)
{
    struct work *w = (struct work *)job; /* its first member */
    w->run(w);
    net_post(connection_loop(w->c->net), &w->task);
}

static struct work *work_of(struct net_task *t)
{
    return (struct work *)(void *)((char *)t - offsetof(struct work, task));
}

/* The last work may be that of the end, behind which there is no connection any more: the net's has its
 * reference until then. */
static void finish_work(struct net_task *t)
{
    struct work *w = work_of(t);
    struct amqp_connection *c = w->c;
    struct connection *net = c->net;
    c->works--;
    c->held -= w->holds;
    w->done(w);
    connection_release(net);
}

void work_start(struct amqp_connection *c, struct work *w, bool holds, struct pool *pool)
{
    amqp_flush(c);
    w->job.run = run_work;
    w->task.run = finish_work;
    w->c = c;
    w->holds = holds;
    c->works++;
    c->held += holds;
    if (holds)
        connection_pause(c->net);
    connection_retain(c->net);
    pool_push(pool, &w->job);
}

/* ---- calls ---- */

static void run_call(struct work *w)
{
    struct call *call = (struct call *)w; /* its first member */
    call->run(call);
}

static void call_free(struct call *call)
{
    if (call->release)
        call->release(call);
    channel_release(call->channel);
    free(call);
}

static void call_end(struct call *call)
{
    if (call->code)
        channel_refuse(call->channel, call->code, call->text, (uint32_t)call->m.id);
    else if (call->answer)
        call->answer(call);
    call_free(call);
}

static void finish_call(struct work *w)
{
    struct amqp_connection *c = w->c;
    call_end((struct call *)w);
    amqp_go_on(c);
}

struct call *call_new(struct channel *ch, beck_bytes payload)
{
    struct call *call = calloc(1, sizeof *call + payload.len);
    if (!call) {
        amqp_drop(ch->c, "there is no memory for a method");
        return NULL;
    }
    memcpy(call->payload, payload.data, payload.len);
    method_read(bytes_of(call->payload, payload.len), &call->m);
    call->channel = ch;
    ch->refs++;
    return call;
}

void call_start(struct call *call, void (*run)(struct call *call),
                void (*answer)(struct call *call))
{
    struct amqp_connection *c = call->channel->c;
    call->run = run;
    call->answer = answer;
    call->work.run = run_call;
    call->work.done = finish_call;
    work_start(c, &call->work, true, &c->amqp->pool);
}

/* ---- groups ---- */

#define GROUP_MAX 128
#define GROUP_BYTES_MAX (256u << 10)

void call_join(struct call *call, void (*run)(struct call *call), void (*answer)(struct call *call))
{
    struct amqp_connection *c = call->channel->c;
    call->run = run;
    call->answer = answer;
    call->work.c = c;
    if (!c->group)
        c->group_end = &c->group;
    *c->group_end = call;
    c->group_end = &call->next;
    c->group_count++;
}

/* An empty name is that of the queue before, whose answer it has to wait for. */
static bool joins(beck_bytes payload)
{
    const uint8_t *at = payload.data;
    struct method m;
    if (payload.len < 7)
        return false;
    switch (get_u32(at)) {
    case METHOD_queue_declare:
    case METHOD_queue_bind:
        return at[6] > 0 && method_read(payload, &m) == METHOD_READ;
    case METHOD_exchange_declare:
    case METHOD_exchange_bind:
        return method_read(payload, &m) == METHOD_READ;
    default:
        return false;
    }
}

bool calls_take(const struct amqp_connection *c, const struct frame *f)
{
    const struct channel *ch = channel_find((struct amqp_connection *)(uintptr_t)c, f->channel);
    return f->type == FRAME_METHOD && ch && ch->state == CHANNEL_OPEN && !ch->incoming &&
           c->group_count < GROUP_MAX && c->group_bytes + f->payload.len <= GROUP_BYTES_MAX &&
           joins(f->payload);
}

/* The first that is refused is the last: what it says may end a channel. */
static void run_group(struct work *w)
{
    struct amqp_connection *c = w->c;
    struct call *call = c->group;
    char text[BROKER_TEXT];
    for (c->group_ran = 0; call; call = call->next) {
        call->run(call);
        c->group_ran++;
        if (call->code)
            break;
    }
    int code = session_sync(c->session, text);
    call = c->group;
    for (size_t i = 0; i < c->group_ran && code; i++, call = call->next) {
        if (call->code)
            continue;
        call->code = code;
        memcpy(call->text, text, sizeof text);
    }
}

static struct call *take_call(struct amqp_connection *c)
{
    struct call *call = c->group;
    c->group = call->next;
    c->group_count--;
    return call;
}

static void finish_group(struct work *w)
{
    struct amqp_connection *c = w->c;
    for (; c->group_ran > 0; c->group_ran--)
        call_end(take_call(c));
    amqp_go_on(c); /* with those that are left */
}

void calls_start(struct amqp_connection *c)
{
    c->group_bytes = 0;
    c->group_work.run = run_group;
    c->group_work.done = finish_group;
    work_start(c, &c->group_work, true, &c->amqp->pool);
}

/* Of channels that are closed by now. */
void calls_drop(struct amqp_connection *c)
{
    struct call **at = &c->group;
    while (*at) {
        struct call *call = *at;
        if (c->stage == STAGE_RUNNING && call->channel->state == CHANNEL_OPEN) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        c->group_count--;
        call_free(call);
    }
    c->group_end = at;
}
