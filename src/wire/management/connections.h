/* What queues show of their consumers. */
#ifndef BECK_WIRE_MANAGEMENT_CONNECTIONS_H
#define BECK_WIRE_MANAGEMENT_CONNECTIONS_H

#include "wire/management/call.h"

json_t *json_of_consumer(struct call *c, const struct consumer_view *v);

#endif
