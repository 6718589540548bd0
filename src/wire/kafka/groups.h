/* What handlers of groups share. */
#ifndef BECK_WIRE_KAFKA_GROUPS_H
#define BECK_WIRE_KAFKA_GROUPS_H

#include "kafka/groups.h"
#include "wire/kafka/request.h"

/* A groups_done: ctx is the request. */
void answer_later(void *ctx, const void *body);
/* Who asks, valid until the answer. False: no memory, and the request has failed. */
bool fill_group_client(struct kafka_request *r, struct group_client *out);

#endif
