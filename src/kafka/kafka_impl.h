/* The inside of struct kafka, for the files of this layer. */
#ifndef BECK_KAFKA_KAFKA_IMPL_H
#define BECK_KAFKA_KAFKA_IMPL_H

#include "kafka/groups.h"
#include "kafka/kafka.h"
#include "kafka/store.h"
#include "kafka/topics.h"

struct kafka {
    beck *engine;
    struct kafka_settings settings;
    struct timers timers;
    struct store *store;
    struct configs *configs;
    struct topics *topics;
    struct transactions *transactions;
    struct groups *groups;
    struct topics_watch groups_watch;
    struct shares *shares;
    struct scrams *scrams;
};

#endif
