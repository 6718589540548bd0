/* The public functions of events as text, patterns and metrics. */
#include "api/handle.h"

#include "event/cloudevents.h"
#include "event/pattern.h"

#include <stdlib.h>

#define TEXT_MAX (256u << 20)

beck_status beck_parse(beck_bytes json, beck_document **out, beck_error *err)
{
    return cloudevents_parse(json, out, err);
}

beck_status beck_format(const beck_event *event, beck_form form, char **out, size_t *len,
                        beck_error *err)
{
    struct buf text;
    if (!event)
        return error_set(err, BECK_EINVAL, "there is no event to write as text");
    buf_init(&text, TEXT_MAX);
    beck_status status = cloudevents_write(event, form, &text, err);
    if (!status && buf_terminate(&text))
        status = error_set(err, BECK_ENOMEM, "no memory for the text of an event");
    if (status) {
        buf_release(&text);
        return status;
    }
    *out = (char *)text.data;
    if (len)
        *len = text.len;
    return BECK_OK;
}

void beck_text_free(char *text)
{
    free(text);
}

beck_status beck_pattern_match(const char *pattern, beck_bytes type, bool *out, beck_error *err)
{
    beck_status status = pattern_check(beck_str(pattern), err);
    if (!status)
        *out = pattern_match(beck_str(pattern), type);
    return status;
}

/* ---- metrics: what can be asked for at any time is asked for now, into a registry of its own ---- */

static const char *const queue_labels[] = {"queue", NULL};
static const char *const bus_labels[] = {"bus", NULL};
static const char *const version_labels[] = {"version", NULL};

struct now {
    beck *b;
    struct metrics *gauges;
};

static void set_gauge(struct now *now, const char *name, const char *help,
                      const char *const *labels, const char *label, int64_t value)
{
    beck_bytes values[] = {beck_str(label)};
    struct metric_family *f = metrics_gauge(now->gauges, name, help, labels, 10000);
    if (f)
        gauge_set(metric_gauge(f, values), value);
}

static void set_counter(struct now *now, const char *name, const char *help,
                        const char *const *labels, const char *label, uint64_t value)
{
    beck_bytes values[] = {beck_str(label)};
    struct metric_family *f = metrics_counter(now->gauges, name, help, labels, 10000);
    if (f)
        counter_add(metric_counter(f, values), value);
}

static int gauge_queue(void *ctx, const char *name)
{
    struct now *now = ctx;
    beck_queue_info q;
    if (beck_queue_info_get(now->b, name, &q, NULL))
        return 0;
    set_gauge(now, "beck_queue_ready", "Events that can be delivered now.", queue_labels, name,
              q.ready);
    set_gauge(now, "beck_queue_in_flight", "Deliveries not yet settled.", queue_labels, name,
              q.in_flight);
    set_gauge(now, "beck_queue_delayed", "Events that wait for their time.", queue_labels, name,
              q.delayed);
    set_gauge(now, "beck_queue_dead", "Dead letters kept.", queue_labels, name, q.dead);
    set_gauge(now, "beck_queue_consumers", "Consumers open.", queue_labels, name, q.consumers);
    set_gauge(now, "beck_queue_paused", "1 while the queue delivers nothing.", queue_labels, name,
              q.paused);
    int64_t age_ms = q.oldest_ms >= 0 ? clock_wall_ms(now->b->env.clock) - q.oldest_ms : 0;
    set_gauge(now, "beck_queue_oldest_seconds", "Age of the event that is delivered next.",
              queue_labels, name, age_ms > 0 ? age_ms / 1000 : 0);
    return 0;
}

/* Of a bus on disk: its partitions together. */
static void count_log(struct now *now, const beck_bus *bus)
{
    struct partition_counts sum = {0};
    int64_t segments = 0, poisoned = 0, damaged = 0;
    for (uint32_t i = 0; i < bus->partition_count; i++) {
        struct partition_counts c;
        beck_partition_info info;
        partition_counts(bus_partition(bus, i), &c);
        partition_info(bus_partition(bus, i), &info);
        sum.batches += c.batches;
        sum.bytes += c.bytes;
        poisoned += c.poisoned;
        damaged += c.damaged;
        segments += info.segments;
    }
    set_counter(now, "beck_log_written_batches_total", "Batches written to the log of a bus.",
                bus_labels, bus->name, sum.batches);
    set_counter(now, "beck_log_written_bytes_total", "Bytes written to the log of a bus.",
                bus_labels, bus->name, sum.bytes);
    set_gauge(now, "beck_log_segments", "Segments of a bus, in files.", bus_labels, bus->name,
              segments);
    set_gauge(now, "beck_log_poisoned_partitions",
              "Partitions that take no more events after a failed sync, until the restart.",
              bus_labels, bus->name, poisoned);
    set_gauge(
        now, "beck_log_damaged_partitions",
        "Partitions that take and give nothing because stored bytes are damaged, until a repair.",
        bus_labels, bus->name, damaged);
}

static int gauge_bus(void *ctx, beck_bus *bus)
{
    struct now *now = ctx;
    beck_bus_info info;
    if (beck_bus_info_get(bus, &info, NULL))
        return 0;
    bus_count_published(bus);
    set_gauge(now, "beck_bus_events", "Events stored.", bus_labels, info.name, info.events);
    set_gauge(now, "beck_bus_bytes", "Bytes stored.", bus_labels, info.name, info.bytes);
    if (info.options.storage == BECK_STORAGE_DISK)
        count_log(now, bus);
    return 0;
}

beck_status beck_metrics(beck *b, void (*write)(void *ctx, const char *text, size_t len), void *ctx,
                         beck_error *err)
{
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    if (!write)
        return error_set(err, BECK_EINVAL, "metrics need a function that takes their text");
    if (b->remote)
        return remote_metrics(b->remote, write, ctx, err);
    struct now now = {b, metrics_new()};
    struct buf text;
    buf_init(&text, TEXT_MAX);
    beck_status status = now.gauges ? BECK_OK : BECK_ENOMEM;
    if (!status) {
        beck_queue_list(b, gauge_queue, &now, NULL);
        beck_bus_list(b, gauge_bus, &now, NULL);
        set_gauge(&now, "beck_build_info", "1; the label says which version runs.", version_labels,
                  BECK_VERSION, 1);
        status = metrics_write(b->env.metrics, &text);
    }
    if (!status)
        status = metrics_write(now.gauges, &text);
    metrics_free(now.gauges);
    if (status)
        error_set(err, status, "no memory for the metrics");
    else
        write(ctx, (const char *)text.data, text.len);
    buf_release(&text);
    return status;
}
