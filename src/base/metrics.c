/*
 * Metrics and their text form.
 *
 * The registry's lock guards the lists of families and series; the numbers themselves are atomic
 * and are read while they move. A histogram's count is the sum of its buckets as read, so that the
 * text is consistent in itself.
 *
 * Each family has one series from the start: the only one of a family without labels, and "other"
 * of one with labels. It takes everything that gets no series of its own: values beyond series_max,
 * values that are no text (not UTF-8, or longer than LABEL_VALUE_MAX), and whatever comes when
 * memory is short.
 */
#include "base/metrics.h"

#include "base/thread.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LABELS_MAX 4
#define LABEL_VALUE_MAX 1024
#define CACHE_LINE 64

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct histogram {
    const double *bounds; /* the family's */
    size_t bound_count;
    _Atomic(uint64_t) sum_bits;  /* of a double */
    _Atomic(uint64_t) buckets[]; /* bound_count + 1: the last is +Inf */
};

struct series {
    struct series *next;    /* in order of making */
    struct series *chained; /* of the same hash bucket */
    uint64_t hash;
    bool used; /* handed out: what nobody asked for is not shown */
    beck_bytes values[LABELS_MAX];
    void *number; /* struct counter, gauge or histogram, on cache lines of its own */
};

struct metric_family {
    struct metric_family *next; /* in order of name */
    struct metrics *metrics;
    char *name, *help;
    enum kind kind;
    char *label_names[LABELS_MAX];
    size_t label_count;
    double *bounds;
    size_t bound_count;
    size_t series_max, series_count;
    struct series *first, **end;
    struct series *removed; /* still counted in */
    struct series *fallback;
    struct series **buckets;
    size_t bucket_count; /* a power of two */
};

struct metrics {
    struct mutex lock;
    struct metric_family *families;
};

/* ---- series ---- */

static size_t number_size(const struct metric_family *f)
{
    if (f->kind == HISTOGRAM)
        return sizeof(struct histogram) + (f->bound_count + 1) * sizeof(uint64_t);
    return sizeof(uint64_t);
}

static void *number_new(const struct metric_family *f)
{
    size_t size = (number_size(f) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    void *number = aligned_alloc(CACHE_LINE, size);
    if (number == NULL)
        return NULL;
    memset(number, 0, size);
    if (f->kind == HISTOGRAM) {
        struct histogram *h = number;
        h->bounds = f->bounds;
        h->bound_count = f->bound_count;
    }
    return number;
}

static void series_free(struct series *s)
{
    if (s == NULL)
        return;
    free(s->number);
    free(s);
}

/* The values are kept behind the struct. */
static struct series *series_new(const struct metric_family *f, const beck_bytes *values,
                                 uint64_t hash)
{
    size_t text_len = 0;
    for (size_t i = 0; i < f->label_count; i++)
        text_len += values[i].len;
    struct series *s = calloc(1, sizeof *s + text_len);
    if (s == NULL)
        return NULL;
    s->number = number_new(f);
    if (s->number == NULL) {
        free(s);
        return NULL;
    }
    s->hash = hash;
    char *text = (char *)(s + 1);
    for (size_t i = 0; i < f->label_count; i++) {
        if (values[i].len > 0)
            memcpy(text, values[i].data, values[i].len);
        s->values[i] = bytes_of(text, values[i].len);
        text += values[i].len;
    }
    return s;
}

static uint64_t hash_of(const struct metric_family *f, const beck_bytes *values)
{
    uint64_t h = 0;
    for (size_t i = 0; i < f->label_count; i++)
        h = bytes_hash(values[i].data, values[i].len, h);
    return h;
}

static bool series_is(const struct metric_family *f, const struct series *s,
                      const beck_bytes *values, uint64_t hash)
{
    if (s->hash != hash)
        return false;
    for (size_t i = 0; i < f->label_count; i++)
        if (!bytes_equal(s->values[i], values[i]))
            return false;
    return true;
}

static struct series **find_series(struct metric_family *f, const beck_bytes *values, uint64_t hash)
{
    struct series **at = &f->buckets[hash & (f->bucket_count - 1)];
    while (*at != NULL && !series_is(f, *at, values, hash))
        at = &(*at)->chained;
    return at;
}

/* Doubles the hash table. Without memory the chains just get longer. */
static void widen(struct metric_family *f)
{
    size_t count = f->bucket_count * 2;
    struct series **buckets = calloc(count, sizeof(struct series *));
    if (buckets == NULL)
        return;
    for (struct series *s = f->first; s != NULL; s = s->next) {
        struct series **bucket = &buckets[s->hash & (count - 1)];
        s->chained = *bucket;
        *bucket = s;
    }
    free(f->buckets);
    f->buckets = buckets;
    f->bucket_count = count;
}

static void add_series(struct metric_family *f, struct series *s)
{
    struct series **bucket = &f->buckets[s->hash & (f->bucket_count - 1)];
    s->chained = *bucket;
    *bucket = s;
    *f->end = s;
    f->end = &s->next;
    if (++f->series_count > f->bucket_count)
        widen(f);
}

static bool values_are_text(const struct metric_family *f, const beck_bytes *values)
{
    for (size_t i = 0; i < f->label_count; i++)
        if (values[i].len > LABEL_VALUE_MAX || !bytes_is_utf8(values[i]))
            return false;
    return true;
}

static struct series *find_or_make(struct metric_family *f, const beck_bytes *values)
{
    if (f->label_count == 0 || !values_are_text(f, values))
        return f->fallback;
    uint64_t hash = hash_of(f, values);
    struct series *s = *find_series(f, values, hash);
    if (s != NULL)
        return s;
    /* The fallback is not counted against the maximum. */
    if (f->series_count > f->series_max)
        return f->fallback;
    s = series_new(f, values, hash);
    if (s == NULL)
        return f->fallback;
    add_series(f, s);
    return s;
}

static void *number_of(struct metric_family *f, enum kind kind, const beck_bytes *values)
{
    if (f == NULL)
        return NULL;
    assert(f->kind == kind);
    (void)kind;
    mutex_lock(&f->metrics->lock);
    struct series *s = find_or_make(f, values);
    s->used = true;
    mutex_unlock(&f->metrics->lock);
    return s->number;
}

struct counter *metric_counter(struct metric_family *f, const beck_bytes *values)
{
    return number_of(f, COUNTER, values);
}

struct counter *metric_known(struct metric_family *f, const beck_bytes *values)
{
    if (f == NULL)
        return NULL;
    assert(f->kind == COUNTER);
    mutex_lock(&f->metrics->lock);
    struct series *s = *find_series(f, values, hash_of(f, values));
    mutex_unlock(&f->metrics->lock);
    return s == NULL ? NULL : s->number;
}

struct gauge *metric_gauge(struct metric_family *f, const beck_bytes *values)
{
    return number_of(f, GAUGE, values);
}

struct histogram *metric_histogram(struct metric_family *f, const beck_bytes *values)
{
    return number_of(f, HISTOGRAM, values);
}

/* `at` is the place in the list that leads to the series. */
static void remove_series(struct metric_family *f, struct series **at)
{
    struct series *s = *at;
    *find_series(f, s->values, s->hash) = s->chained;
    *at = s->next;
    if (f->end == &s->next)
        f->end = at;
    f->series_count--;
    s->next = f->removed;
    f->removed = s;
}

void metric_remove(struct metric_family *f, const beck_bytes *values)
{
    if (f == NULL || f->label_count == 0)
        return;
    mutex_lock(&f->metrics->lock);
    struct series *s = *find_series(f, values, hash_of(f, values));
    if (s != NULL && s != f->fallback) {
        struct series **at = &f->first;
        while (*at != s)
            at = &(*at)->next;
        remove_series(f, at);
    }
    mutex_unlock(&f->metrics->lock);
}

void metric_remove_all(struct metric_family *f, beck_bytes first)
{
    if (f == NULL || f->label_count == 0)
        return;
    mutex_lock(&f->metrics->lock);
    for (struct series **at = &f->first; *at != NULL;) {
        if (*at != f->fallback && bytes_equal((*at)->values[0], first))
            remove_series(f, at);
        else
            at = &(*at)->next;
    }
    mutex_unlock(&f->metrics->lock);
}

void metric_free(struct metric_family *f, const void *number)
{
    if (f == NULL)
        return;
    mutex_lock(&f->metrics->lock);
    struct series **at = &f->removed;
    while (*at != NULL && (*at)->number != number)
        at = &(*at)->next;
    struct series *s = *at;
    if (s != NULL)
        *at = s->next;
    mutex_unlock(&f->metrics->lock);
    series_free(s);
}

/* ---- families ---- */

static void free_list(struct series *s)
{
    for (struct series *next; s != NULL; s = next) {
        next = s->next;
        series_free(s);
    }
}

static void family_free(struct metric_family *f)
{
    if (f == NULL)
        return;
    free_list(f->first);
    free_list(f->removed);
    for (size_t i = 0; i < f->label_count; i++)
        free(f->label_names[i]);
    free(f->buckets);
    free(f->bounds);
    free(f->name);
    free(f->help);
    free(f);
}

static bool copy_labels(struct metric_family *f, const char *const *label_names)
{
    for (; label_names != NULL && *label_names != NULL; label_names++) {
        assert(f->label_count < LABELS_MAX);
        char *copy = strdup(*label_names);
        if (copy == NULL)
            return false;
        f->label_names[f->label_count++] = copy;
    }
    return true;
}

static bool add_fallback(struct metric_family *f)
{
    beck_bytes other[LABELS_MAX];
    for (size_t i = 0; i < LABELS_MAX; i++)
        other[i] = beck_str("other");
    f->bucket_count = 8;
    f->buckets = calloc(f->bucket_count, sizeof(struct series *));
    if (f->buckets == NULL)
        return false;
    f->fallback = series_new(f, other, hash_of(f, other));
    if (f->fallback == NULL)
        return false;
    add_series(f, f->fallback);
    return true;
}

static struct metric_family *family_new(struct metrics *m, const char *name, const char *help,
                                        enum kind kind, const char *const *label_names,
                                        size_t series_max, const double *bounds, size_t bound_count)
{
    struct metric_family *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->metrics = m;
    f->kind = kind;
    f->series_max = series_max;
    f->end = &f->first;
    f->bound_count = bound_count;
    f->name = strdup(name);
    f->help = strdup(help);
    f->bounds = calloc(bound_count + 1, sizeof(double));
    if (f->name == NULL || f->help == NULL || f->bounds == NULL || !copy_labels(f, label_names)) {
        family_free(f);
        return NULL;
    }
    for (size_t i = 0; i < bound_count; i++) {
        assert(i == 0 || bounds[i - 1] < bounds[i]);
        f->bounds[i] = bounds[i];
    }
    if (!add_fallback(f)) {
        family_free(f);
        return NULL;
    }
    return f;
}

static struct metric_family *declare(struct metrics *m, const char *name, const char *help,
                                     enum kind kind, const char *const *label_names,
                                     size_t series_max, const double *bounds, size_t bound_count)
{
    mutex_lock(&m->lock);
    struct metric_family **at = &m->families;
    while (*at != NULL && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    struct metric_family *f = *at;
    if (f == NULL || strcmp(f->name, name) != 0) {
        f = family_new(m, name, help, kind, label_names, series_max, bounds, bound_count);
        if (f != NULL) {
            f->next = *at;
            *at = f;
        }
    }
    assert(f == NULL || f->kind == kind);
    mutex_unlock(&m->lock);
    return f;
}

struct metric_family *metrics_counter(struct metrics *m, const char *name, const char *help,
                                      const char *const *label_names, size_t series_max)
{
    return declare(m, name, help, COUNTER, label_names, series_max, NULL, 0);
}

struct metric_family *metrics_gauge(struct metrics *m, const char *name, const char *help,
                                    const char *const *label_names, size_t series_max)
{
    return declare(m, name, help, GAUGE, label_names, series_max, NULL, 0);
}

struct metric_family *metrics_histogram(struct metrics *m, const char *name, const char *help,
                                        const char *const *label_names, size_t series_max,
                                        const double *bounds, size_t count)
{
    return declare(m, name, help, HISTOGRAM, label_names, series_max, bounds, count);
}

struct metrics *metrics_new(void)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (m != NULL)
        mutex_init(&m->lock);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    for (struct metric_family *f = m->families, *next; f != NULL; f = next) {
        next = f->next;
        family_free(f);
    }
    mutex_release(&m->lock);
    free(m);
}

/* ---- numbers ---- */

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The first bound that is not below the value; NaN is below none. */
static size_t bucket_of(const struct histogram *h, double value)
{
    size_t low = 0, high = h->bound_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (value <= h->bounds[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void histogram_record_many(struct histogram *h, double value, uint64_t count)
{
    double sum = value * (double)count;
    atomic_fetch_add_explicit(&h->buckets[bucket_of(h, value)], count, memory_order_relaxed);
    uint64_t old = atomic_load_explicit(&h->sum_bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&h->sum_bits, &old, bits_of(double_of(old) + sum),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void histogram_record(struct histogram *h, double value)
{
    histogram_record_many(h, value, 1);
}

/* ---- text: https://prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4 ---- */

/* The shortest text that reads back as the same number, with a point in every locale. */
static void double_text(double value, char out[32])
{
    if (isnan(value) || isinf(value)) {
        strcpy(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    char *point = out + strcspn(out, ",");
    if (*point == ',')
        *point = '.';
}

static beck_status write_escaped(struct buf *out, beck_bytes text, bool quotes)
{
    const char *p = text.data;
    beck_status status = BECK_OK;
    for (size_t i = 0; i < text.len && status == BECK_OK; i++) {
        if (p[i] == '\n')
            status = buf_append_text(out, "\\n");
        else if (p[i] == '\\' || (quotes && p[i] == '"'))
            status = buf_printf(out, "\\%c", p[i]);
        else
            status = buf_append_byte(out, (uint8_t)p[i]);
    }
    return status;
}

/* name, suffix and {labels}, and `le` when it is not NULL, and a space. */
static beck_status write_name(struct buf *out, const struct metric_family *f,
                              const struct series *s, const char *suffix, const char *le)
{
    beck_status status = buf_printf(out, "%s%s", f->name, suffix);
    const char *before = "{";
    for (size_t i = 0; i < f->label_count && status == BECK_OK; i++) {
        status = buf_printf(out, "%s%s=\"", before, f->label_names[i]);
        if (status == BECK_OK)
            status = write_escaped(out, s->values[i], true);
        if (status == BECK_OK)
            status = buf_append_byte(out, '"');
        before = ",";
    }
    if (status == BECK_OK && le != NULL)
        status = buf_printf(out, "%sle=\"%s\"", before, le);
    if (status == BECK_OK)
        status = buf_append_text(out, f->label_count > 0 || le != NULL ? "} " : " ");
    return status;
}

static beck_status write_histogram(struct buf *out, const struct metric_family *f,
                                   const struct series *s)
{
    struct histogram *h = s->number;
    uint64_t count = 0;
    char text[32];
    beck_status status = BECK_OK;
    for (size_t i = 0; i <= f->bound_count && status == BECK_OK; i++) {
        count += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        double_text(i < f->bound_count ? f->bounds[i] : INFINITY, text);
        status = write_name(out, f, s, "_bucket", text);
        if (status == BECK_OK)
            status = buf_printf(out, "%llu\n", (unsigned long long)count);
    }
    if (status == BECK_OK)
        status = write_name(out, f, s, "_sum", NULL);
    if (status == BECK_OK) {
        double_text(double_of(atomic_load_explicit(&h->sum_bits, memory_order_relaxed)), text);
        status = buf_printf(out, "%s\n", text);
    }
    if (status == BECK_OK)
        status = write_name(out, f, s, "_count", NULL);
    if (status == BECK_OK)
        status = buf_printf(out, "%llu\n", (unsigned long long)count);
    return status;
}

static beck_status write_series(struct buf *out, const struct metric_family *f,
                                const struct series *s)
{
    if (f->kind == HISTOGRAM)
        return write_histogram(out, f, s);
    beck_status status = write_name(out, f, s, "", NULL);
    if (status != BECK_OK)
        return status;
    if (f->kind == GAUGE) {
        struct gauge *g = s->number;
        int64_t value = atomic_load_explicit(&g->value, memory_order_relaxed);
        return buf_printf(out, "%lld\n", (long long)value);
    }
    struct counter *c = s->number;
    uint64_t value = atomic_load_explicit(&c->value, memory_order_relaxed);
    return buf_printf(out, "%llu\n", (unsigned long long)value);
}

static beck_status write_family(struct buf *out, const struct metric_family *f)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    beck_status status = buf_printf(out, "# HELP %s ", f->name);
    if (status == BECK_OK)
        status = write_escaped(out, beck_str(f->help), false);
    if (status == BECK_OK)
        status = buf_printf(out, "\n# TYPE %s %s\n", f->name, kinds[f->kind]);
    for (const struct series *s = f->first; s != NULL && status == BECK_OK; s = s->next)
        if (s->used)
            status = write_series(out, f, s);
    return status;
}

beck_status metrics_write(struct metrics *m, struct buf *out)
{
    size_t len = out->len;
    beck_status status = BECK_OK;
    mutex_lock(&m->lock);
    for (const struct metric_family *f = m->families; f != NULL && status == BECK_OK; f = f->next)
        status = write_family(out, f);
    mutex_unlock(&m->lock);
    if (status != BECK_OK)
        out->len = len;
    return status;
}
