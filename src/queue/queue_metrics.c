/*
 * What a queue counts for operators.
 *
 * The counters of every delivery are made with the queue, so that rates are known from the first
 * on. Those of types and reasons are made when they are counted first, and looked up each time:
 * failures write to a log anyway. A deleted queue counts nothing by name, so that what it does at
 * last is not told of a later queue of that name.
 */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdlib.h>

#define SERIES_MAX 10000  /* of one metric, over all queues */
#define TYPES_COUNTED 100 /* of one queue, by name; the rest together */

static const char *const queue_label[] = {"queue", NULL};

static const struct {
    const char *name, *help;
    size_t counter;
} counters[] = {
    {"beck_queue_delivered_total", "Deliveries to consumers.", offsetof(struct queue, m_delivered)},
    {"beck_queue_settled_total", "Deliveries settled.", offsetof(struct queue, m_settled)},
    {"beck_queue_retried_total", "Failed deliveries that are tried again.",
     offsetof(struct queue, m_retried)},
};

static struct metrics *registry(const struct queue *q)
{
    return q->home->env->metrics;
}

/* Calls `each` with the family of each counter, and where the queue keeps its number. */
static void each_counter(struct queue *q, void (*each)(struct queue *q, struct metric_family *f,
                                                       struct counter **number))
{
    for (size_t i = 0; registry(q) && i < sizeof counters / sizeof *counters; i++)
        each(q,
             metrics_counter(registry(q), counters[i].name, counters[i].help, queue_label,
                             SERIES_MAX),
             (struct counter **)(void *)((char *)q + counters[i].counter));
}

static struct metric_family *failed_family(const struct queue *q)
{
    static const char *const labels[] = {"queue", "type", NULL};
    return metrics_counter(registry(q), "beck_queue_failed_total",
                           "Deliveries that failed, by type of the event: retried, rejected, late, "
                           "or held by a consumer that closed.",
                           labels, SERIES_MAX);
}

static struct metric_family *dead_family(const struct queue *q)
{
    static const char *const labels[] = {"queue", "reason", NULL};
    return metrics_counter(registry(q), "beck_queue_dead_lettered_total",
                           "Events that became dead letters, by reason.", labels, SERIES_MAX);
}

static struct metric_family *processing_family(const struct queue *q)
{
    static const double bounds[] = {0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                    0.5,    1,     2.5,   5,    10,    30,   60,  300};
    return metrics_histogram(registry(q), "beck_queue_processing_seconds",
                             "Time from handing out a delivery until it was settled, retried or "
                             "rejected.",
                             queue_label, SERIES_MAX, bounds, sizeof bounds / sizeof *bounds);
}

/* ---- life ---- */

static void make_counter(struct queue *q, struct metric_family *f, struct counter **number)
{
    *number = metric_counter(f, (beck_bytes[]){beck_str(q->name)});
}

static void remove_counter(struct queue *q, struct metric_family *f, struct counter **number)
{
    (void)number;
    metric_remove(f, (beck_bytes[]){beck_str(q->name)});
}

static void free_counter(struct queue *q, struct metric_family *f, struct counter **number)
{
    (void)q;
    metric_free(f, *number);
}

void queue_make_metrics(struct queue *q)
{
    each_counter(q, make_counter);
}

void queue_remove_metrics(struct queue *q)
{
    assert(mutex_held(&q->lock) && q->deleted);
    if (!registry(q))
        return;
    beck_bytes name = beck_str(q->name);
    each_counter(q, remove_counter);
    if (q->m_processing)
        metric_remove(processing_family(q), &name);
    metric_remove_all(failed_family(q), name);
    metric_remove_all(dead_family(q), name);
}

void queue_free_metrics(struct queue *q)
{
    if (q->deleted && registry(q)) {
        each_counter(q, free_counter);
        if (q->m_processing)
            metric_free(processing_family(q), q->m_processing);
        for (uint32_t i = 0; i < q->m_made_count; i++) {
            metric_free(failed_family(q), q->m_made[i]);
            metric_free(dead_family(q), q->m_made[i]);
        }
    }
    free(q->m_made);
}

void queue_make_processing(struct queue *q)
{
    assert(mutex_held(&q->lock));
    if (!q->deleted && registry(q))
        q->m_processing = metric_histogram(processing_family(q), (beck_bytes[]){beck_str(q->name)});
}

/* ---- counting ---- */

/* Remembers one that was made. Without memory it goes with the handle. */
static void note_made(struct queue *q, struct counter *c)
{
    for (uint32_t i = 0; i < q->m_made_count; i++)
        if (q->m_made[i] == c)
            return;
    if ((q->m_made_count & (q->m_made_count - 1)) == 0) {
        size_t cap = q->m_made_count ? q->m_made_count * (size_t)2 : 1;
        struct counter **grown = realloc(q->m_made, cap * sizeof(struct counter *));
        if (!grown)
            return;
        q->m_made = grown;
    }
    q->m_made[q->m_made_count++] = c;
}

/* NULL: no memory. */
static struct counter *find_or_make(struct queue *q, struct metric_family *f, beck_bytes label)
{
    const beck_bytes values[] = {beck_str(q->name), label};
    struct counter *c = metric_known(f, values);
    if (!c) {
        c = metric_counter(f, values);
        if (c)
            note_made(q, c);
    }
    return c;
}

void queue_count_failed(struct queue *q, const struct slot *s)
{
    assert(mutex_held(&q->lock));
    if (q->deleted || !registry(q))
        return;
    struct metric_family *f = failed_family(q);
    beck_bytes type = beck_str("other");
    /* One that was late before it was even read has no type yet. */
    if (atomic_load_explicit(&s->shown, memory_order_acquire)) {
        bool known = metric_known(f, (beck_bytes[]){beck_str(q->name), s->event.type}) != NULL;
        if (known || q->types_counted < TYPES_COUNTED)
            type = s->event.type;
        q->types_counted += !known && q->types_counted < TYPES_COUNTED;
    }
    struct counter *c = find_or_make(q, f, type);
    if (c)
        counter_add(c, 1);
}

void queue_count_dead(struct queue *q, const char *reason)
{
    assert(mutex_held(&q->lock));
    if (q->deleted || !registry(q))
        return;
    struct counter *c = find_or_make(q, dead_family(q), beck_str(reason));
    if (c)
        counter_add(c, 1);
}

void queue_record_processing(struct queue *q, const int64_t *taken_ns, size_t count)
{
    struct histogram *h = q->m_processing;
    int64_t now_ns = h ? clock_mono_ns(q->home->env->clock) : 0;
    /* Those that were taken together are one value. */
    for (size_t i = 0, n; h && i < count; i += n) {
        for (n = 1; i + n < count && taken_ns[i + n] == taken_ns[i]; n++)
            continue;
        histogram_record_many(h, (double)(now_ns - taken_ns[i]) / 1e9, n);
    }
}
