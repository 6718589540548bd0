/*
 * Alarms: while one stands, a connection that publishes is told so and not read until all are over. Those that
 * only consume go on, so that what is there can leave.
 */
#include "wire/amqp/amqp_impl.h"

void amqp_set_alarms(struct amqp *a, uint32_t alarms)
{
    atomic_store(&a->alarms, alarms);
}

uint32_t amqp_alarms(const struct amqp *a)
{
    return atomic_load(&a->alarms);
}

static const char *reason_of(uint32_t alarms)
{
    return alarms == AMQP_ALARM_MEMORY ? "low on memory"
           : alarms == AMQP_ALARM_DISK ? "low on disk"
                                       : "low on memory & disk";
}

void alarm_look(struct amqp_connection *c)
{
    uint32_t alarms = atomic_load_explicit(&c->amqp->alarms, memory_order_relaxed);
    struct method m = {.id = METHOD_connection_blocked};
    if (alarms == 0 || c->blocked || c->stage != STAGE_RUNNING)
        return;
    c->blocked = true;
    atomic_store(&c->state_seen, SEEN_BLOCKED);
    m.connection_blocked.reason = beck_str(reason_of(alarms));
    if (c->hears_blocked)
        amqp_send(c, 0, &m);
    connection_pause(c->net);
    amqp_next_tick(c);
}

void alarm_tick(struct amqp_connection *c)
{
    if (!c->blocked || c->stage != STAGE_RUNNING || amqp_alarms(c->amqp) != 0)
        return;
    c->blocked = false;
    atomic_store(&c->state_seen, c->storing ? SEEN_BLOCKED : SEEN_RUNNING);
    if (c->hears_blocked)
        amqp_send(c, 0, &(struct method){.id = METHOD_connection_unblocked});
    amqp_go_on(c);
}
