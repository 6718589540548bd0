/* What queues show of their consumers. */
#ifndef BECK_WIRE_MANAGEMENT_CONNECTIONS_H
#define BECK_WIRE_MANAGEMENT_CONNECTIONS_H

#include "wire/management/call.h"

json_t *json_of_consumers(struct call *c, beck_bytes vhost, beck_bytes queue);
/* {"name","peer_host","peer_port"} of the connection with this id; NULL: it is gone. */
json_t *json_of_owner(struct call *c, uint64_t id);

#endif
