/* Stand-ins for what hands out messages, as long as it is not there. */
#include "broker/broker_impl.h"
#define WEAK __attribute__((weak))
WEAK beck_status delivery_queue_open(struct broker_queue *q, beck_error *err)
{
    (void)q;
    (void)err;
    return BECK_OK;
}
WEAK void delivery_queue_changed(struct broker_queue *q)
{
    (void)q;
}
WEAK void delivery_queue_gone(struct broker_queue *q)
{
    (void)q;
}
WEAK void delivery_queue_free(struct broker_queue *q)
{
    (void)q;
}
WEAK uint32_t delivery_consumers(struct broker_queue *q)
{
    (void)q;
    return 0;
}
WEAK int64_t delivery_unacked(struct broker_queue *q)
{
    (void)q;
    return 0;
}
WEAK void delivery_session_close(struct session *s)
{
    (void)s;
}
WEAK beck_status delivery_open(struct broker *b, beck_error *err)
{
    (void)b;
    (void)err;
    return BECK_OK;
}
WEAK void delivery_close(struct broker *b)
{
    (void)b;
}
