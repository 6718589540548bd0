/* Where traces come from, and trace_catch_up: see trace_sources.h. */
#include "api/trace_sources.h"

#include <stdio.h>
#include <stdlib.h>

/* The topic id of the partition. */
static void read_incarnation(const beck *b, const char *bus, uint32_t number, char out[32])
{
    char path[4300];
    struct buf text;
    buf_init(&text, 256);
    snprintf(path, sizeof path, "%s/%s-%u/partition.metadata", b->data_dir, bus, number);
    out[0] = 0;
    if (!vfs_read_file(b->env.vfs, path, 256, &text, NULL) && !buf_terminate(&text)) {
        const char *id = strstr((const char *)text.data, "topic_id: ");
        if (id)
            sscanf(id, "topic_id: %31[A-Za-z0-9_-]", out);
    }
    buf_release(&text);
}

void trace_sources_release(struct trace_sources *s)
{
    free(s->list);
    free(s->buses);
    free(s->incarnations);
    handle_view_release(&s->view);
}

beck_status trace_sources_take(beck *b, struct trace_sources *s, beck_error *err)
{
    *s = (struct trace_sources){0};
    beck_status status = handle_view_take(b, &s->view, err);
    if (status)
        return status;
    size_t partitions = 1;
    for (size_t i = 0; i < s->view.bus_count; i++)
        partitions += s->view.buses[i]->partition_count;
    s->list = calloc(partitions, sizeof *s->list);
    s->buses = calloc(partitions, sizeof *s->buses);
    s->incarnations = calloc(partitions, sizeof *s->incarnations);
    if (!s->list || !s->buses || !s->incarnations) {
        trace_sources_release(s);
        return error_set(err, BECK_ENOMEM, "no memory for a trace");
    }
    for (size_t i = 0; i < s->view.bus_count; i++) {
        beck_bus *bus = s->view.buses[i];
        if (bus->internal || bus->options.storage != BECK_STORAGE_DISK || atomic_load(&bus->closed))
            continue;
        for (uint32_t n = 0; n < bus->partition_count && s->count < partitions; n++) {
            s->list[s->count] =
                (struct trace_source){bus_partition(bus, n), bus->name, s->incarnations[s->count]};
            s->buses[s->count++] = bus;
        }
    }
    return BECK_OK;
}

void trace_sources_incarnations(const beck *b, struct trace_sources *s)
{
    for (size_t i = 0; i < s->count; i++)
        read_incarnation(b, s->list[i].bus, partition_number(s->list[i].partition),
                         s->incarnations[i]);
}

beck_status trace_open_index(beck *b, struct trace_index **out, beck_error *err)
{
    if (!b->data_dir || b->read_only || b->env.vfs != vfs_posix())
        return error_set(err, BECK_EUNSUPPORTED,
                         "traces need a data directory that is open for writing");
    char path[4200];
    snprintf(path, sizeof path, "%s/__trace", b->data_dir);
    return trace_index_open(path, out, err);
}

beck_status trace_sources_catch_up(struct trace_index *t, const struct trace_sources *s,
                                   int64_t events_max, bool all, bool *more, beck_error *err)
{
    beck_status status = BECK_OK;
    *more = false;
    for (size_t i = 0; i < s->count && !status; i++) {
        bool rest;
        beck_error why;
        if ((!all && !bus_has_events(s->buses[i])) || partition_damage(s->list[i].partition))
            continue;
        status = trace_index_add(t, &s->list[i], events_max, &rest, &why);
        if (status == BECK_ECLOSED) /* deleted meanwhile */
            status = BECK_OK;
        else if (status)
            status = error_set(err, status, "%s", why.text);
        else
            *more |= rest;
    }
    return status ? status : trace_index_trim(t, s->list, s->count, err);
}

/* Grows with every event that is taken in without being asked for. */
static int64_t sum_of_offsets(const struct handle_view *v)
{
    int64_t sum = 1;
    for (size_t i = 0; i < v->bus_count; i++)
        for (uint32_t n = 0; n < v->buses[i]->partition_count && !v->buses[i]->internal; n++)
            if (!atomic_load(&v->buses[i]->closed) && bus_has_events(v->buses[i]))
                sum += partition_visible(bus_partition(v->buses[i], n));
    return sum;
}

beck_status trace_catch_up(beck *b, int64_t events_max, bool *more, beck_error *err)
{
    struct trace_sources s;
    struct trace_index *t = NULL;
    beck_status status = trace_sources_take(b, &s, err);
    if (status)
        return status;
    *more = false;
    mutex_lock(&b->trace_lock);
    int64_t sum = sum_of_offsets(&s.view);
    if (sum != b->traced) {
        trace_sources_incarnations(b, &s);
        status = trace_open_index(b, &t, err);
        if (!status)
            status = trace_sources_catch_up(t, &s, events_max, false, more, err);
        if (!status && !*more)
            b->traced = sum;
        trace_index_close(t);
    }
    mutex_unlock(&b->trace_lock);
    trace_sources_release(&s);
    return status;
}
