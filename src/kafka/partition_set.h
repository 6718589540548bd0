/* Sets of partitions of topics: sorted arrays, each partition once. Not thread-safe. */
#ifndef BECK_KAFKA_PARTITION_SET_H
#define BECK_KAFKA_PARTITION_SET_H

#include "base/bytes.h"

struct group_partition {
    uint8_t topic[16];
    int32_t partition;
    int32_t epoch; /* since when a member has it; does not count when partitions are compared */
};

struct partition_set {
    struct group_partition *at; /* owned */
    size_t count, cap;
};

void partition_set_release(struct partition_set *s); /* empty then */
/* At the end, in any order: partition_set_sort brings it in order and drops what is there twice. */
beck_status partition_set_add(struct partition_set *s, const uint8_t topic[16], int32_t partition);
void partition_set_sort(struct partition_set *s);
beck_status partition_set_copy(struct partition_set *to, const struct partition_set *from);
/* NULL: it is not there. */
const struct group_partition *partition_set_find(const struct partition_set *s,
                                                 const struct group_partition *p);
bool partition_set_equal(const struct partition_set *a, const struct partition_set *b);
bool partition_set_within(const struct partition_set *a, const struct partition_set *b);
bool partition_set_meets(const struct partition_set *a, const struct partition_set *b);
/* What is in `a` and (both) or not (without) in `b`, into `out`, which is empty. */
beck_status partition_set_both(const struct partition_set *a, const struct partition_set *b,
                               struct partition_set *out);
beck_status partition_set_without(const struct partition_set *a, const struct partition_set *b,
                                  struct partition_set *out);
/* How many follow from `at` on that are of the same topic. */
size_t partition_set_run(const struct partition_set *s, size_t at);
/* Of how many topics they are. */
size_t partition_set_topics(const struct partition_set *s);

#endif
