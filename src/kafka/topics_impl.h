/* The inside of struct topics, for topics.c and topic_changes.c. */
#ifndef BECK_KAFKA_TOPICS_IMPL_H
#define BECK_KAFKA_TOPICS_IMPL_H

#include "kafka/topics.h"

struct topics {
    struct kafka *k;
    struct mutex change_lock;
    pthread_rwlock_t lock;
    struct topic **by_name, **by_id; /* tables of `buckets`, a power of 2 */
    size_t buckets, count;
    struct topic *all; /* gone ones too */
    uint64_t seed;
    struct topics_watch *watches; /* with admin_lock */
    struct bus_watch buses;
    _Atomic(uint64_t) generation;
};

#endif
