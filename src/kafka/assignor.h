/*
 * Assignors of KIP-848: who of a group gets which partition. Pure functions over numbers: topics and
 * members are indexes, partitions of all topics one row (partition p of topic t is topics[t].first +
 * p).
 */
#ifndef BECK_KAFKA_ASSIGNOR_H
#define BECK_KAFKA_ASSIGNOR_H

#include <beck.h>

struct assign_topic {
    uint32_t partitions;
    uint32_t first;
};

struct assign_member {
    const uint32_t *topics; /* that it subscribes to, ascending */
    size_t topic_count;
};

struct assignment {
    const struct assign_topic *topics;
    size_t topic_count;
    const struct assign_member *members; /* in an order that does not change without reason */
    size_t member_count;
    uint32_t partition_count; /* of all topics */
    /* In: whose each partition is by the last assignment, -1: nobody's. Out: whose it is to be; -1
     * only where no member subscribes to the topic. */
    int32_t *owner;
};

typedef beck_status (*assign_fn)(struct assignment *a); /* BECK_ENOMEM: owner is undefined */

/* As even as can be over all topics, and then as near as can be to the last assignment: where all
 * subscribe to the same, nobody has two partitions more than another, and no partition moves without
 * need. */
beck_status assign_uniform(struct assignment *a);
/* Of each topic each member gets a range of neighbours; the first members one more. */
beck_status assign_range(struct assignment *a);

/* By its name in Kafka's protocol; NULL: none. */
assign_fn assignor_find(beck_bytes name);
#define ASSIGNOR_DEFAULT "uniform"

#endif
