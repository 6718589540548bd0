/*
 * Metrics: counters, gauges and histograms with labels, in one registry per handle.
 *
 * A family (name, help, kind, label names) is declared once; a series (label values) is made on
 * first use and then used without a lock: adding is one relaxed atomic operation. Series of a
 * family are bounded (series_max): beyond that every new set of values shares the series whose
 * label values are "other". Names and kinds are Prometheus's: counters end in _total, units are
 * base units (seconds, bytes).
 */
#ifndef BECK_BASE_METRICS_H
#define BECK_BASE_METRICS_H

#include "base/bytes.h"
#include <stdatomic.h>

struct metrics;       /* the registry */
struct metric_family; /* owned by the registry */

struct counter {
    _Atomic(uint64_t) value;
};
struct gauge {
    _Atomic(int64_t) value;
};
struct histogram; /* fixed bounds, given with the family */

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* label_names: NULL-terminated, at most 4; may be NULL. Declaring the same name again gives the
 * same family. NULL: no memory. */
struct metric_family *metrics_counter(struct metrics *m, const char *name, const char *help,
                                      const char *const *label_names, size_t series_max);
struct metric_family *metrics_gauge(struct metrics *m, const char *name, const char *help,
                                    const char *const *label_names, size_t series_max);
/* bounds: ascending upper bounds, `count` of them; +Inf is added. */
struct metric_family *metrics_histogram(struct metrics *m, const char *name, const char *help,
                                        const char *const *label_names, size_t series_max,
                                        const double *bounds, size_t count);

/* The series with these label values (in the order of the names; NULL for a family without labels);
 * never NULL for a family that is not NULL: falls back to "other", also for values that are not
 * UTF-8 or longer than 1,024 bytes. Stays valid until metrics_free, also when the series is removed.
 */
struct counter *metric_counter(struct metric_family *f, const beck_bytes *values);
/* The same, but NULL when there is none with these values. */
struct counter *metric_known(struct metric_family *f, const beck_bytes *values);
struct gauge *metric_gauge(struct metric_family *f, const beck_bytes *values);
struct histogram *metric_histogram(struct metric_family *f, const beck_bytes *values);
/* The series is shown no more; the next with these values is another. Who counts goes on counting,
 * unseen; whoever knows that nobody does any more may free the number before metrics_free does. */
void metric_remove(struct metric_family *f, const beck_bytes *values);
/* The same with all series whose first label has that value. */
void metric_remove_all(struct metric_family *f, beck_bytes first);
/* Frees the number of a removed series; leaves alone what is none. */
void metric_free(struct metric_family *f, const void *number);

static inline void counter_add(struct counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}
static inline void gauge_set(struct gauge *g, int64_t v)
{
    atomic_store_explicit(&g->value, v, memory_order_relaxed);
}
static inline void gauge_add(struct gauge *g, int64_t n)
{
    atomic_fetch_add_explicit(&g->value, n, memory_order_relaxed);
}
void histogram_record(struct histogram *h, double value);
void histogram_record_many(struct histogram *h, double value, uint64_t count);

/* Prometheus text format 0.0.4: families in order of name, label values escaped. Series that nobody
 * asked for are left out. On failure `out` is as it was. */
beck_status metrics_write(struct metrics *m, struct buf *out);

#endif
