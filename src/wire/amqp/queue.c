/* The class queue. An empty name is that of the queue which was declared last on the channel. */
#include "wire/amqp/amqp_impl.h"

#include <stdlib.h>

static beck_bytes last_queue(const struct channel *ch)
{
    return beck_str(ch->last_queue);
}

static beck_bytes named(const struct call *call, beck_bytes name)
{
    return name.len > 0 ? name : last_queue(call->channel);
}

/* ---- declare ---- */

static void run_declare(struct call *call)
{
    const struct queue_declare *m = &call->m.queue_declare;
    struct queue_declaration d = {.name = m->passive ? named(call, m->queue) : m->queue,
                                  .passive = m->passive,
                                  .durable = m->durable,
                                  .exclusive = m->exclusive,
                                  .auto_delete = m->auto_delete,
                                  .later = true,
                                  .arguments = m->arguments};
    call->code = session_declare_queue(call->work.c->session, &d, &call->declared, call->text);
}

static void answer_declare(struct call *call)
{
    struct channel *ch = call->channel;
    struct method ok = {.id = METHOD_queue_declare_ok};
    char *name = strdup(call->declared.name);
    if (!name) {
        amqp_drop(ch->c, "there is no memory for a method");
        return;
    }
    free(ch->last_queue);
    ch->last_queue = name;
    ok.queue_declare_ok.queue = beck_str(name);
    ok.queue_declare_ok.message_count = call->declared.messages;
    ok.queue_declare_ok.consumer_count = call->declared.consumers;
    if (!call->nowait)
        channel_send(ch, &ok);
}

/* ---- bind ---- */

/* With neither a queue nor a key the key is the queue's name as well. */
static struct binding_declaration binding(const struct call *call, beck_bytes queue,
                                          beck_bytes source, beck_bytes key, beck_bytes arguments)
{
    bool both = queue.len == 0 && key.len == 0;
    return (struct binding_declaration){.destination = named(call, queue),
                                        .source = source,
                                        .routing_key = both ? last_queue(call->channel) : key,
                                        .arguments = arguments};
}

static void run_bind(struct call *call)
{
    const struct queue_bind *m = &call->m.queue_bind;
    struct binding_declaration d =
        binding(call, m->queue, m->exchange, m->routing_key, m->arguments);
    d.later = true;
    call->code = session_bind(call->work.c->session, &d, call->text);
}

static void run_unbind(struct call *call)
{
    const struct queue_unbind *m = &call->m.queue_unbind;
    struct binding_declaration d =
        binding(call, m->queue, m->exchange, m->routing_key, m->arguments);
    call->code = session_unbind(call->work.c->session, &d, call->text);
}

static void answer_empty(struct call *call)
{
    if (!call->nowait)
        channel_send_empty(call->channel, (enum method_id)((uint32_t)call->m.id + 1));
}

/* ---- purge, delete ---- */

static void run_purge(struct call *call)
{
    call->code = session_purge_queue(call->work.c->session, named(call, call->m.queue_purge.queue),
                                     &call->messages, call->text);
}

static void run_delete(struct call *call)
{
    const struct queue_delete *m = &call->m.queue_delete;
    call->code = session_delete_queue(call->work.c->session, named(call, m->queue), m->if_unused,
                                      m->if_empty, &call->messages, call->text);
}

static void answer_purge(struct call *call)
{
    struct method ok = {.id = METHOD_queue_purge_ok};
    ok.queue_purge_ok.message_count = call->messages;
    if (!call->nowait)
        channel_send(call->channel, &ok);
}

static void answer_delete(struct call *call)
{
    struct method ok = {.id = METHOD_queue_delete_ok};
    ok.queue_delete_ok.message_count = call->messages;
    if (!call->nowait)
        channel_send(call->channel, &ok);
}

/* ---- all ---- */

static void start(struct channel *ch, beck_bytes payload, bool nowait,
                  void (*run)(struct call *call), void (*answer)(struct call *call))
{
    struct call *call = call_new(ch, payload);
    if (!call)
        return;
    call->nowait = nowait;
    if (run == run_declare || run == run_bind)
        call_join(call, run, answer);
    else
        call_start(call, run, answer);
}

static void start_named(struct channel *ch, beck_bytes name, const struct method *m,
                        beck_bytes payload, bool nowait, void (*run)(struct call *call),
                        void (*answer)(struct call *call))
{
    if (channel_queue_name(ch, &name, (uint32_t)m->id))
        start(ch, payload, nowait, run, answer);
}

void queue_method(struct channel *ch, const struct method *m, beck_bytes payload)
{
    switch (m->id) {
    case METHOD_queue_declare:
        if (m->queue_declare.passive)
            start_named(ch, m->queue_declare.queue, m, payload, m->queue_declare.nowait,
                        run_declare, answer_declare);
        else
            start(ch, payload, m->queue_declare.nowait, run_declare, answer_declare);
        break;
    case METHOD_queue_bind:
        start_named(ch, m->queue_bind.queue, m, payload, m->queue_bind.nowait, run_bind,
                    answer_empty);
        break;
    case METHOD_queue_unbind:
        start_named(ch, m->queue_unbind.queue, m, payload, false, run_unbind, answer_empty);
        break;
    case METHOD_queue_purge:
        start_named(ch, m->queue_purge.queue, m, payload, m->queue_purge.nowait, run_purge,
                    answer_purge);
        break;
    case METHOD_queue_delete:
        start_named(ch, m->queue_delete.queue, m, payload, m->queue_delete.nowait, run_delete,
                    answer_delete);
        break;
    default:
        channel_refusef(ch, REPLY_COMMAND_INVALID, (uint32_t)m->id, "unimplemented method");
    }
}
