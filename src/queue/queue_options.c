/* Options of queues: their defaults and ranges. */
#include "queue/queue.h"

beck_status queue_options_check(beck_queue_options *o, bool has_disk, beck_error *err)
{
    if (o->storage == BECK_STORAGE_DEFAULT)
        o->storage = has_disk ? BECK_STORAGE_DISK : BECK_STORAGE_MEMORY;
    if (o->storage == BECK_STORAGE_DISK && !has_disk)
        return error_set(err, BECK_EINVAL,
                         "a disk queue needs a data directory; open the handle with data_dir");
    if (o->attempts_max == 0)
        o->attempts_max = 10;
    if (o->deadline_ms == 0)
        o->deadline_ms = 30000;
    beck_backoff *b = &o->backoff;
    if (b->kind == BECK_BACKOFF_DEFAULT)
        b->kind = BECK_BACKOFF_EXPONENTIAL;
    if (b->first_ms == 0)
        b->first_ms = 1000;
    if (b->max_ms == 0)
        b->max_ms = 3600000;
    if (b->jitter_percent == 0)
        b->jitter_percent = b->kind == BECK_BACKOFF_EXPONENTIAL ? 20 : 101;
    if ((unsigned)b->kind > BECK_BACKOFF_LIST || b->first_ms < 0 || b->max_ms < 0 ||
        b->jitter_percent > 101 || b->list_count > 16)
        return error_set(err, BECK_EINVAL,
                         "the back-off is out of range; delays are 0 or more, jitter at most 100 "
                         "percent, a list has 1 to 16 delays");
    if (b->kind == BECK_BACKOFF_LIST && b->list_count == 0)
        return error_set(err, BECK_EINVAL, "the back-off is a list without delays; give 1 to 16");
    for (uint32_t i = 0; i < b->list_count; i++)
        if (b->list_ms[i] < 0)
            return error_set(err, BECK_EINVAL, "delay %u of the back-off is negative", i + 1);
    if (o->attempts_max > 65535)
        return error_set(err, BECK_EINVAL, "attempts_max = %u is out of range; use 1 to 65535",
                         o->attempts_max);
    if (o->deadline_ms < -1 || o->ttl_ms < 0 || o->length_max < 0)
        return error_set(err, BECK_EINVAL,
                         "deadline_ms (-1: never), ttl_ms and length_max (0: none) cannot be "
                         "negative");
    if ((unsigned)o->storage > BECK_STORAGE_DISK || (unsigned)o->overflow > BECK_OVERFLOW_REFUSE)
        return error_set(err, BECK_EINVAL, "there is no %s %d",
                         (unsigned)o->storage > BECK_STORAGE_DISK ? "storage" : "overflow",
                         (unsigned)o->storage > BECK_STORAGE_DISK ? (int)o->storage
                                                                  : (int)o->overflow);
    if (o->priority_max > 255)
        return error_set(err, BECK_EINVAL, "priority_max = %u is out of range; use 0 to 255",
                         o->priority_max);
    return BECK_OK;
}

static bool backoff_equal(const beck_backoff *x, const beck_backoff *y)
{
    bool same = x->kind == y->kind && x->first_ms == y->first_ms && x->max_ms == y->max_ms &&
                x->jitter_percent == y->jitter_percent && x->list_count == y->list_count;
    for (uint32_t i = 0; same && i < x->list_count; i++)
        same = x->list_ms[i] == y->list_ms[i];
    return same;
}

const char *queue_options_difference(const beck_queue_options *a, const beck_queue_options *b)
{
    const struct {
        const char *name;
        bool same;
    } each[] = {{"storage", a->storage == b->storage},
                {"priority_max", a->priority_max == b->priority_max},
                {"attempts_max", a->attempts_max == b->attempts_max},
                {"backoff", backoff_equal(&a->backoff, &b->backoff)},
                {"deadline_ms", a->deadline_ms == b->deadline_ms},
                {"ttl_ms", a->ttl_ms == b->ttl_ms},
                {"length_max", a->length_max == b->length_max},
                {"overflow", a->overflow == b->overflow},
                {"no_dead_letters", a->no_dead_letters == b->no_dead_letters}};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        if (!each[i].same)
            return each[i].name;
    return NULL;
}

bool queue_options_equal(const beck_queue_options *a, const beck_queue_options *b)
{
    return !queue_options_difference(a, b);
}
