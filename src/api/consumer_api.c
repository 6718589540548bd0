/* The public functions of consumers, and of dead letters: checks, and the layers below. */
#include "api/handle.h"

/* ---- consumers ---- */

static bool of_server(const beck_consumer *consumer)
{
    return ((const struct consumer_base *)(const void *)consumer)->remote;
}

beck_status beck_consumer_open(beck *b, const char *queue, uint32_t prefetch, beck_consumer **out,
                               beck_error *err)
{
    if (handle_asks_server(b, queue))
        return remote_consumer_open(b->remote, queue, prefetch, out, err);
    struct queue *q;
    beck_status status = handle_get_queue(b, queue, &q, err);
    if (status)
        return status;
    status = consumer_open(q, prefetch, out, err);
    queue_release(q);
    return status;
}

void beck_consumer_close(beck_consumer *consumer)
{
    if (consumer && of_server(consumer))
        remote_consumer_close(consumer);
    else
        consumer_close(consumer);
}

beck_status beck_take(beck_consumer *consumer, beck_delivery *out, size_t max, int64_t timeout_ms,
                      size_t *count, beck_error *err)
{
    if (handle_need(consumer, "consumer", err))
        return BECK_EINVAL;
    if (of_server(consumer))
        return remote_take(consumer, out, max, timeout_ms, count, err);
    return consumer_take(consumer, out, max, timeout_ms, count, err);
}

void beck_consumer_wake(beck_consumer *consumer)
{
    if (!consumer)
        return;
    if (of_server(consumer))
        remote_consumer_wake(consumer);
    else
        consumer_wake(consumer);
}

beck_status beck_settle(beck_consumer *consumer, const uint64_t *tags, size_t count,
                        beck_error *err)
{
    if (handle_need(consumer, "consumer", err))
        return BECK_EINVAL;
    if (!tags && count > 0)
        return error_set(err, BECK_EINVAL, "there are no tags to settle");
    if (of_server(consumer))
        return remote_settle(consumer, tags, count, err);
    return consumer_settle(consumer, tags, count, err);
}

beck_status beck_retry(beck_consumer *consumer, uint64_t tag, int64_t delay_ms, const char *why,
                       beck_error *err)
{
    if (handle_need(consumer, "consumer", err))
        return BECK_EINVAL;
    if (of_server(consumer))
        return remote_retry(consumer, tag, delay_ms, why, err);
    return consumer_retry(consumer, tag, delay_ms, why, err);
}

beck_status beck_return(beck_consumer *consumer, uint64_t tag, beck_error *err)
{
    if (handle_need(consumer, "consumer", err))
        return BECK_EINVAL;
    if (of_server(consumer))
        return remote_return(consumer, tag, err);
    return consumer_return(consumer, tag, err);
}

beck_status beck_reject(beck_consumer *consumer, uint64_t tag, const char *why, beck_error *err)
{
    if (handle_need(consumer, "consumer", err))
        return BECK_EINVAL;
    if (of_server(consumer))
        return remote_reject(consumer, tag, why, err);
    return consumer_reject(consumer, tag, why, err);
}

beck_status beck_extend(beck_consumer *consumer, uint64_t tag, beck_error *err)
{
    if (handle_need(consumer, "consumer", err))
        return BECK_EINVAL;
    if (of_server(consumer))
        return remote_extend(consumer, tag, err);
    return consumer_extend(consumer, tag, err);
}

/* ---- dead letters ---- */

beck_status beck_dead_list(beck *b, const char *queue, size_t max,
                           int (*each)(void *ctx, const beck_dead *dead), void *ctx,
                           beck_error *err)
{
    if (!each)
        return error_set(err, BECK_EINVAL, "a list of dead letters needs a function");
    if (handle_asks_server(b, queue))
        return remote_dead_list(b->remote, queue, max, each, ctx, err);
    struct queue *q;
    beck_status status = handle_get_queue(b, queue, &q, err);
    if (status)
        return status;
    status = dead_list(q, max, each, ctx, err);
    queue_release(q);
    return status;
}

beck_status beck_dead_redrive(beck *b, const char *queue, int64_t offset, int64_t *redriven,
                              beck_error *err)
{
    if (handle_asks_server(b, queue))
        return remote_dead_redrive(b->remote, queue, offset, redriven, err);
    struct queue *q;
    beck_status status = handle_get_queue(b, queue, &q, err);
    if (status)
        return status;
    status = dead_redrive(q, offset, redriven, err);
    queue_release(q);
    return status;
}

beck_status beck_dead_purge(beck *b, const char *queue, int64_t offset, int64_t *purged,
                            beck_error *err)
{
    if (handle_asks_server(b, queue))
        return remote_dead_purge(b->remote, queue, offset, purged, err);
    struct queue *q;
    beck_status status = handle_get_queue(b, queue, &q, err);
    if (status)
        return status;
    status = dead_purge(q, offset, purged, err);
    queue_release(q);
    return status;
}
