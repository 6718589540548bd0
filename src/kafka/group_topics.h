/* The coordinator of a struct kafka, over its topics. */
#ifndef BECK_KAFKA_GROUP_TOPICS_H
#define BECK_KAFKA_GROUP_TOPICS_H

#include "kafka/kafka.h"

/* Opens k->groups; after its topics. */
beck_status group_topics_open(struct kafka *k, beck_error *err);

#endif
