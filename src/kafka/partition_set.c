/* Sorted arrays of partitions: see partition_set.h. */
#include "kafka/partition_set.h"

#include <stdlib.h>

static int compare_partitions(const struct group_partition *a, const struct group_partition *b)
{
    int order = memcmp(a->topic, b->topic, sizeof a->topic);
    return order ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static int compare(const void *a, const void *b)
{
    return compare_partitions(a, b);
}

void partition_set_release(struct partition_set *s)
{
    free(s->at);
    *s = (struct partition_set){0};
}

static beck_status reserve(struct partition_set *s, size_t count)
{
    if (count <= s->cap)
        return BECK_OK;
    size_t cap = s->cap * 2 > count ? s->cap * 2 : count;
    struct group_partition *at = realloc(s->at, cap * sizeof *at);
    if (!at)
        return BECK_ENOMEM;
    s->at = at;
    s->cap = cap;
    return BECK_OK;
}

beck_status partition_set_add(struct partition_set *s, const uint8_t topic[16], int32_t partition)
{
    if (reserve(s, s->count + 1))
        return BECK_ENOMEM;
    struct group_partition *p = &s->at[s->count++];
    memcpy(p->topic, topic, sizeof p->topic);
    p->partition = partition;
    p->epoch = 0;
    return BECK_OK;
}

void partition_set_sort(struct partition_set *s)
{
    if (s->count == 0)
        return;
    qsort(s->at, s->count, sizeof *s->at, compare);
    size_t kept = 1;
    for (size_t i = 1; i < s->count; i++)
        if (compare_partitions(&s->at[i], &s->at[kept - 1]) != 0)
            s->at[kept++] = s->at[i];
    s->count = kept;
}

beck_status partition_set_copy(struct partition_set *to, const struct partition_set *from)
{
    if (reserve(to, from->count))
        return BECK_ENOMEM;
    if (from->count)
        memcpy(to->at, from->at, from->count * sizeof *from->at);
    to->count = from->count;
    return BECK_OK;
}

const struct group_partition *partition_set_find(const struct partition_set *s,
                                                 const struct group_partition *p)
{
    return s->count ? bsearch(p, s->at, s->count, sizeof *s->at, compare) : NULL;
}

bool partition_set_equal(const struct partition_set *a, const struct partition_set *b)
{
    return a->count == b->count && partition_set_within(a, b);
}

bool partition_set_within(const struct partition_set *a, const struct partition_set *b)
{
    size_t j = 0;
    for (size_t i = 0; i < a->count; i++, j++) {
        while (j < b->count && compare_partitions(&b->at[j], &a->at[i]) < 0)
            j++;
        if (j == b->count || compare_partitions(&b->at[j], &a->at[i]) != 0)
            return false;
    }
    return true;
}

bool partition_set_meets(const struct partition_set *a, const struct partition_set *b)
{
    for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
        int order = compare_partitions(&a->at[i], &b->at[j]);
        if (order == 0)
            return true;
        i += order < 0;
        j += order > 0;
    }
    return false;
}

static beck_status choose(const struct partition_set *a, const struct partition_set *b, bool in,
                          struct partition_set *out)
{
    size_t j = 0;
    if (reserve(out, a->count))
        return BECK_ENOMEM;
    for (size_t i = 0; i < a->count; i++) {
        while (j < b->count && compare_partitions(&b->at[j], &a->at[i]) < 0)
            j++;
        bool found = j < b->count && compare_partitions(&b->at[j], &a->at[i]) == 0;
        if (found == in)
            out->at[out->count++] = a->at[i];
    }
    return BECK_OK;
}

beck_status partition_set_both(const struct partition_set *a, const struct partition_set *b,
                               struct partition_set *out)
{
    return choose(a, b, true, out);
}

beck_status partition_set_without(const struct partition_set *a, const struct partition_set *b,
                                  struct partition_set *out)
{
    return choose(a, b, false, out);
}

size_t partition_set_run(const struct partition_set *s, size_t at)
{
    size_t end = at + 1;
    while (end < s->count && memcmp(s->at[end].topic, s->at[at].topic, sizeof s->at[at].topic) == 0)
        end++;
    return end - at;
}

size_t partition_set_topics(const struct partition_set *s)
{
    size_t topics = 0;
    for (size_t i = 0; i < s->count; i += partition_set_run(s, i))
        topics++;
    return topics;
}
