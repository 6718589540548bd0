/* Where share groups stand, and setting it: for administration. */
#include "kafka/share_impl.h"

#include <stdlib.h>

int share_positions(struct kafka *k, beck_bytes group, struct topic *t,
                    struct share_position *positions, size_t count)
{
    struct share_queue *sq = share_queue_find(k->shares, group, t);
    uint32_t partitions = topic_partitions(t);
    struct queue_progress *progress = calloc(partitions + (size_t)1, sizeof *progress);
    beck_error why = {0};
    beck_status status = progress ? BECK_OK : BECK_ENOMEM;
    if (sq && !status)
        status = queue_get_progress(sq->queue, t->bus, progress, partitions, &why);
    for (size_t i = 0; i < count; i++) {
        struct share_position *p = &positions[i];
        p->offset = p->lag = -1;
        p->error = (uint32_t)p->partition >= partitions ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                   : status                             ? kafka_error_of(status)
                                                        : KAFKA_NONE;
        if (p->error || !sq)
            continue;
        const struct queue_progress *at = &progress[p->partition];
        p->offset = at->first < 0 ? 0 : at->first;
        p->lag = at->owed;
    }
    free(progress);
    share_queue_release(sq);
    return KAFKA_NONE;
}

bool share_topics(struct kafka *k, beck_bytes group, struct kafka_arena *arena, struct topic ***out,
                  size_t *count)
{
    struct shares *s = k->shares;
    *count = 0;
    mutex_lock(&s->lock);
    const struct share_group *g = share_group_find(s, group);
    size_t all = 0;
    for (const struct share_queue *sq = g ? g->queues : NULL; sq; sq = sq->next)
        all++;
    *out = kafka_alloc_many(arena, all, sizeof(struct topic *));
    for (const struct share_queue *sq = g && *out ? g->queues : NULL; sq; sq = sq->next)
        (*out)[(*count)++] = sq->topic;
    mutex_unlock(&s->lock);
    return *out != NULL;
}

/* Positions are changed only of groups without members. */
static int check_empty(struct shares *s, beck_bytes group)
{
    mutex_lock(&s->lock);
    struct share_group *g = share_group_find(s, group);
    if (g)
        share_group_expire(s, g);
    int code = !g ? KAFKA_GROUP_ID_NOT_FOUND : g->members ? KAFKA_NON_EMPTY_GROUP : KAFKA_NONE;
    mutex_unlock(&s->lock);
    return code;
}

/* Where the partitions are to begin, by number; -1: as they are. False: none is moved. */
static bool compose_targets(struct topic *t, uint32_t partitions, struct share_position *positions,
                            size_t count, int64_t *to)
{
    bool any = false;
    for (uint32_t i = 0; i < partitions; i++)
        to[i] = -1;
    for (size_t i = 0; i < count; i++) {
        struct share_position *p = &positions[i];
        struct partition *of =
            (uint32_t)p->partition < partitions ? topic_partition(t, p->partition) : NULL;
        p->error = of ? KAFKA_NONE : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        if (!of || p->offset < 0)
            continue;
        /* As Kafka has it: what is out of range begins at the nearest. */
        int64_t first = partition_first(of), end = partition_visible(of);
        to[p->partition] = p->offset < first ? first : p->offset > end ? end : p->offset;
        any = true;
    }
    return any;
}

int share_move(struct kafka *k, beck_bytes group, struct topic *t, struct share_position *positions,
               size_t count)
{
    struct shares *s = k->shares;
    struct share_queue *sq = NULL;
    beck_error why = {0};
    int code = check_empty(s, group);
    if (code == KAFKA_GROUP_ID_NOT_FOUND && !groups_has(k->groups, group))
        code = share_group_id_is_good(group) ? KAFKA_NONE : KAFKA_INVALID_GROUP_ID;
    if (code)
        return code;
    uint32_t partitions = topic_partitions(t);
    int64_t *to = malloc((partitions + (size_t)1) * sizeof *to);
    beck_status status = to ? BECK_OK : BECK_ENOMEM;
    if (to && compose_targets(t, partitions, positions, count, to)) {
        status = share_queue_make(s, group, t, &sq, &why);
        if (!status)
            status = handle_move_queue(k->engine, sq->queue, t->bus, to, partitions, &why);
    }
    share_queue_release(sq);
    free(to);
    return status ? kafka_error_of(status) : KAFKA_NONE;
}

int share_forget(struct kafka *k, beck_bytes group, struct topic *t)
{
    struct shares *s = k->shares;
    beck_error why = {0};
    int code = check_empty(s, group);
    if (code)
        return code;
    mutex_lock(&s->change_lock);
    struct share_queue *sq = share_queue_find(s, group, t);
    beck_status status = sq ? share_queue_delete(s, group, sq, &why) : BECK_OK;
    share_queue_release(sq);
    mutex_unlock(&s->change_lock);
    return status ? kafka_error_of(status) : KAFKA_NONE;
}
