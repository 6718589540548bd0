/*
 * Both assignors: see assignor.h.
 *
 * Uniform. Where all members subscribe to the same topics, each keeps of what it has as much as is
 * its share, and the rest goes to those who have less. Where they do not, what is free goes to the
 * subscriber that has least, and then partitions move from one who has more to one who has at least
 * two less, until there is no such pair.
 */
#include "kafka/assignor.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

assign_fn assignor_find(beck_bytes name)
{
    if (bytes_equal_text(name, "uniform"))
        return assign_uniform;
    return bytes_equal_text(name, "range") ? assign_range : NULL;
}

static bool subscribes(const struct assign_member *m, uint32_t topic)
{
    size_t low = 0, high = m->topic_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (m->topics[middle] < topic)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->topic_count && m->topics[low] == topic;
}

static bool all_alike(const struct assignment *a)
{
    for (size_t i = 1; i < a->member_count; i++)
        if (a->members[i].topic_count != a->members[0].topic_count ||
            memcmp(a->members[i].topics, a->members[0].topics,
                   a->members[0].topic_count * sizeof(uint32_t)) != 0)
            return false;
    return true;
}

/* Takes back what its owner does not subscribe to any more, and counts what everybody has. */
static void keep_valid(struct assignment *a, uint32_t *has)
{
    for (uint32_t t = 0; t < a->topic_count; t++) {
        for (uint32_t p = 0; p < a->topics[t].partitions; p++) {
            int32_t *owner = &a->owner[a->topics[t].first + p];
            if (*owner >= 0 && !subscribes(&a->members[*owner], t))
                *owner = -1;
            if (*owner >= 0)
                has[*owner]++;
        }
    }
}

/* ---- all subscribe to the same ---- */

static uint32_t subscribed_partitions(const struct assignment *a)
{
    uint32_t count = 0;
    for (size_t i = 0; i < a->members[0].topic_count; i++)
        count += a->topics[a->members[0].topics[i]].partitions;
    return count;
}

static void assign_alike(struct assignment *a, uint32_t *has, uint32_t *share)
{
    const struct assign_member *any = &a->members[0];
    uint32_t count = subscribed_partitions(a), members = (uint32_t)a->member_count;
    uint32_t least = count / members, more = count % members;
    /* Those who have more than the least keep one more, as far as there are such shares. */
    for (uint32_t m = 0; m < members; m++) {
        share[m] = least + (more > 0 && has[m] > least);
        more -= share[m] > least;
    }
    for (uint32_t m = 0; m < members && more > 0; m++) {
        more -= share[m] == least;
        share[m] = least + 1;
    }
    for (uint32_t p = 0; p < a->partition_count; p++) {
        int32_t owner = a->owner[p];
        if (owner >= 0 && has[owner] > share[owner]) {
            has[owner]--;
            a->owner[p] = -1;
        }
    }
    uint32_t next = 0;
    for (size_t i = 0; i < any->topic_count; i++) {
        const struct assign_topic *t = &a->topics[any->topics[i]];
        for (uint32_t p = t->first; p < t->first + t->partitions; p++) {
            if (a->owner[p] >= 0)
                continue;
            while (has[next] >= share[next])
                next++;
            a->owner[p] = (int32_t)next;
            has[next]++;
        }
    }
}

/* ---- they do not ---- */

static int32_t least_loaded(const struct assignment *a, uint32_t topic, const uint32_t *has)
{
    int32_t best = -1;
    for (size_t m = 0; m < a->member_count; m++)
        if (subscribes(&a->members[m], topic) && (best < 0 || has[m] < has[best]))
            best = (int32_t)m;
    return best;
}

/* Moves a partition of a topic from whoever has most of its subscribers to whoever has least. */
static bool even_out(struct assignment *a, uint32_t topic, uint32_t *has)
{
    const struct assign_topic *t = &a->topics[topic];
    bool moved = false;
    int32_t least = least_loaded(a, topic, has);
    for (uint32_t p = t->first; least >= 0 && p < t->first + t->partitions; p++) {
        int32_t owner = a->owner[p];
        if (has[owner] < has[least] + 2)
            continue;
        has[owner]--;
        has[least]++;
        a->owner[p] = least;
        moved = true;
        least = least_loaded(a, topic, has);
    }
    return moved;
}

/* Each move lessens the sum of squares, so this ends. */
static void assign_unlike(struct assignment *a, uint32_t *has)
{
    for (uint32_t t = 0; t < a->topic_count; t++) {
        for (uint32_t p = a->topics[t].first; p < a->topics[t].first + a->topics[t].partitions;
             p++) {
            if (a->owner[p] >= 0)
                continue;
            a->owner[p] = least_loaded(a, t, has);
            if (a->owner[p] < 0)
                break; /* nobody subscribes to the topic */
            has[a->owner[p]]++;
        }
    }
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t t = 0; t < a->topic_count; t++)
            if (a->topics[t].partitions && a->owner[a->topics[t].first] >= 0)
                moved = even_out(a, t, has) || moved;
    }
}

beck_status assign_uniform(struct assignment *a)
{
    uint32_t *has = calloc(2 * a->member_count + 1, sizeof *has);
    if (!has)
        return BECK_ENOMEM;
    if (a->member_count == 0) {
        for (uint32_t p = 0; p < a->partition_count; p++)
            a->owner[p] = -1;
    } else {
        keep_valid(a, has);
        if (all_alike(a))
            assign_alike(a, has, has + a->member_count);
        else
            assign_unlike(a, has);
    }
    free(has);
    return BECK_OK;
}

/* ---- range ---- */

static void assign_topic_range(struct assignment *a, uint32_t topic)
{
    const struct assign_topic *t = &a->topics[topic];
    uint32_t members = 0, p = t->first, end = t->first + t->partitions, turn = 0;
    for (size_t m = 0; m < a->member_count; m++)
        members += subscribes(&a->members[m], topic);
    for (size_t m = 0; m < a->member_count && members > 0; m++) {
        if (!subscribes(&a->members[m], topic))
            continue;
        uint32_t share = t->partitions / members + (turn++ < t->partitions % members);
        for (; share > 0; share--)
            a->owner[p++] = (int32_t)m;
    }
    for (; p < end; p++)
        a->owner[p] = -1;
}

beck_status assign_range(struct assignment *a)
{
    for (uint32_t t = 0; t < a->topic_count; t++)
        assign_topic_range(a, t);
    return BECK_OK;
}
