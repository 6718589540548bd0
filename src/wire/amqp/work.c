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

static void finish_call(struct work *w)
{
    struct call *call = (struct call *)w;
    struct channel *ch = call->channel;
    struct amqp_connection *c = w->c;
    if (call->code)
        channel_refuse(ch, call->code, call->text, (uint32_t)call->m.id);
    else if (call->answer)
        call->answer(call);
    if (call->release)
        call->release(call);
    channel_release(ch);
    free(call);
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
