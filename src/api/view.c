/* What there was at one moment: see handle.h. */
#include "api/handle.h"

#include <stdlib.h>

beck_status handle_view_take(beck *b, struct handle_view *v, beck_error *err)
{
    mutex_lock(&b->admin_lock);
    *v = (struct handle_view){.buses = malloc((b->bus_count + 1) * sizeof(beck_bus *)),
                              .queues = malloc((b->queue_count + 1) * sizeof(struct queue *))};
    bool good = v->buses && v->queues;
    if (good) {
        v->bus_count = b->bus_count;
        v->queue_count = b->queue_count;
        memcpy(v->buses, b->buses, v->bus_count * sizeof(beck_bus *));
        for (size_t i = 0; i < v->queue_count; i++)
            v->queues[i] = queue_retain(b->queues[i]);
    }
    mutex_unlock(&b->admin_lock);
    if (good)
        return BECK_OK;
    free(v->buses);
    free(v->queues);
    return error_set(err, BECK_ENOMEM, "no memory for the list of buses and queues");
}

void handle_view_release(struct handle_view *v)
{
    for (size_t i = 0; i < v->queue_count; i++)
        queue_release(v->queues[i]);
    free(v->buses);
    free(v->queues);
}

struct queue *handle_view_queue(const struct handle_view *v, beck_bytes name)
{
    for (size_t i = 0; i < v->queue_count; i++)
        if (bytes_equal_text(name, queue_name(v->queues[i])))
            return v->queues[i];
    return NULL;
}
