/* The class exchange. */
#include "wire/amqp/amqp_impl.h"

static void run_declare(struct call *call)
{
    const struct exchange_declare *m = &call->m.exchange_declare;
    struct exchange_declaration d = {.name = m->exchange,
                                     .type = m->type,
                                     .passive = m->passive,
                                     .durable = m->durable,
                                     .auto_delete = m->auto_delete,
                                     .internal = m->internal,
                                     .later = true,
                                     .arguments = m->arguments};
    call->code = session_declare_exchange(call->work.c->session, &d, call->text);
}

static void run_delete(struct call *call)
{
    const struct exchange_delete *m = &call->m.exchange_delete;
    call->code =
        session_delete_exchange(call->work.c->session, m->exchange, m->if_unused, call->text);
}

static void run_bind(struct call *call)
{
    const struct exchange_bind *m = &call->m.exchange_bind;
    struct binding_declaration d = {.to_exchange = true,
                                    .destination = m->destination,
                                    .source = m->source,
                                    .routing_key = m->routing_key,
                                    .arguments = m->arguments,
                                    .later = true};
    call->code = session_bind(call->work.c->session, &d, call->text);
}

static void run_unbind(struct call *call)
{
    const struct exchange_unbind *m = &call->m.exchange_unbind;
    struct binding_declaration d = {.to_exchange = true,
                                    .destination = m->destination,
                                    .source = m->source,
                                    .routing_key = m->routing_key,
                                    .arguments = m->arguments};
    call->code = session_unbind(call->work.c->session, &d, call->text);
}

/* The number of the answer is that of the method and one, but for unbind. */
static void answer(struct call *call)
{
    uint32_t id = (uint32_t)call->m.id;
    if (!call->nowait)
        channel_send_empty(call->channel, id == METHOD_exchange_unbind ? METHOD_exchange_unbind_ok
                                                                       : (enum method_id)(id + 1));
}

static void start(struct channel *ch, beck_bytes payload, bool nowait,
                  void (*run)(struct call *call))
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

void exchange_method(struct channel *ch, const struct method *m, beck_bytes payload)
{
    switch (m->id) {
    case METHOD_exchange_declare:
        start(ch, payload, m->exchange_declare.nowait, run_declare);
        break;
    case METHOD_exchange_delete:
        start(ch, payload, m->exchange_delete.nowait, run_delete);
        break;
    case METHOD_exchange_bind:
        start(ch, payload, m->exchange_bind.nowait, run_bind);
        break;
    case METHOD_exchange_unbind:
        start(ch, payload, m->exchange_unbind.nowait, run_unbind);
        break;
    default:
        channel_refusef(ch, REPLY_COMMAND_INVALID, (uint32_t)m->id, "unimplemented method");
    }
}
