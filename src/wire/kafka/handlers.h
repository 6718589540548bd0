/* Who answers which request: the functions that stand in the table of apis.c. */
#ifndef BECK_WIRE_KAFKA_HANDLERS_H
#define BECK_WIRE_KAFKA_HANDLERS_H

#include "wire/kafka/request.h"

/* api_versions.c */
void handle_api_versions(struct kafka_request *r);

#endif
