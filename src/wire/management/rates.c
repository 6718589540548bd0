/*
 * Each counter has a place by its hash, with two samples: the rate is what was gained since the older one.
 * Counters that meet in a place take turns and show no rate.
 *
 * History is kept of those for which it was asked, in rings of samples; the one that was not asked for longest
 * makes room for another.
 */
#include "wire/management/rates.h"

#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>

#define PLACES (1u << 17)
#define STEP_NS ((int64_t)RATE_STEP_MS * 1000000)
#define SETS 512u
#define RINGS_MAX (4 * SETS) /* 4 MiB */

struct sample {
    int64_t value, at_ns;
};

struct place {
    uint64_t hash; /* 0: free */
    struct sample older, newer;
};

/* The newest is samples[(next - 1) % RATE_SAMPLES_MAX]. */
struct ring {
    uint64_t hash;
    int64_t asked_ns;
    uint32_t next, count;
    struct sample samples[RATE_SAMPLES_MAX];
};

struct rates {
    struct clock *clock;
    struct mutex lock;
    uint64_t seed;
    struct ring *rings[RINGS_MAX]; /* four of each set; NULL: free */
    struct place places[PLACES];
};

struct rates *rates_new(struct clock *clock)
{
    struct rates *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    mutex_init(&r->lock);
    r->clock = clock;
    r->seed = (uint64_t)clock_wall_ns(clock);
    return r;
}

void rates_free(struct rates *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < RINGS_MAX; i++)
        free(r->rings[i]);
    mutex_release(&r->lock);
    free(r);
}

/* ---- history ---- */

static void ring_add(struct ring *g, struct sample s)
{
    g->samples[g->next % RATE_SAMPLES_MAX] = s;
    g->next++;
    g->count += g->count < RATE_SAMPLES_MAX;
}

/* age 0: the newest. */
static const struct sample *ring_at(const struct ring *g, uint32_t age)
{
    return &g->samples[(g->next - 1 - age) % RATE_SAMPLES_MAX];
}

static struct ring *find_ring(struct rates *r, uint64_t hash)
{
    struct ring **set = &r->rings[(hash >> 20) % SETS * 4];
    for (int i = 0; i < 4; i++)
        if (set[i] && set[i]->hash == hash)
            return set[i];
    return NULL;
}

/* NULL: no memory. */
static struct ring *make_ring(struct rates *r, const struct place *p)
{
    struct ring **set = &r->rings[(p->hash >> 20) % SETS * 4], **at = set;
    for (int i = 1; i < 4 && *at; i++)
        if (!set[i] || set[i]->asked_ns < (*at)->asked_ns)
            at = &set[i];
    if (!*at && !(*at = malloc(sizeof **at)))
        return NULL;
    struct ring *g = *at;
    g->hash = p->hash;
    g->next = g->count = 0;
    ring_add(g, p->older);
    if (p->newer.at_ns > p->older.at_ns)
        ring_add(g, p->newer);
    return g;
}

/* What it was at that time; NULL: that is not known. *age: where to look; it only grows. */
static const struct sample *at_time(const struct ring *g, int64_t at_ns, uint32_t *age)
{
    while (*age < g->count && ring_at(g, *age)->at_ns > at_ns)
        ++*age;
    return *age < g->count ? ring_at(g, *age) : NULL;
}

static void put_sample(json_t *list, const struct sample *s, int64_t at_ns)
{
    json_array_append_new(list, json_pack("{s:I,s:I}", "sample", (json_int_t)s->value, "timestamp",
                                          (json_int_t)(at_ns / 1000000)));
}

static size_t samples_wanted(const struct rates_range *range)
{
    int64_t steps = range->age_s / range->incr_s + 1;
    return steps < RATE_SAMPLES_MAX ? (size_t)steps : RATE_SAMPLES_MAX;
}

/* At full steps of the clock on the wall, as whoever draws several of them expects; each at the first step that
 * knows it. Newest first. */
static void put_samples(const struct rates *r, json_t *details, const struct ring *g,
                        const struct rates_range *range, int64_t now_ns)
{
    int64_t incr_ns = range->incr_s * 1000000000, wall_ns = clock_wall_ns(r->clock);
    int64_t at_ns = wall_ns - wall_ns % incr_ns;
    double sum = 0, first = 0, last = 0;
    json_t *list = json_array();
    const struct sample *later = NULL; /* of the step before */
    uint32_t age = 0;
    size_t n = 0, wanted = samples_wanted(range);
    for (; n < wanted; n++, at_ns -= incr_ns) {
        const struct sample *s = at_time(g, now_ns - (wall_ns - at_ns), &age);
        if (!s)
            break;
        if (later && s != later)
            put_sample(list, later, at_ns + incr_ns);
        later = s;
        sum += (double)s->value;
        first = (double)s->value;
        last = n == 0 ? first : last;
    }
    if (later)
        put_sample(list, later, at_ns + incr_ns);
    *range->left -= json_array_size(list);
    double seconds = n > 1 ? (double)(n - 1) * (double)range->incr_s : 0;
    json_object_set_new(details, "samples", list);
    json_object_set_new(details, "avg_rate", json_real(n > 1 ? (last - first) / seconds : 0));
    json_object_set_new(details, "avg", json_real(n > 0 ? sum / (double)n : 0));
}

/* ---- rates ---- */

static uint64_t hash_of(const struct rates *r, beck_bytes of, const char *counter)
{
    return bytes_hash(of.data, of.len, bytes_hash(counter, strlen(counter), r->seed)) | 1;
}

/* With the lock. */
static double sample(struct rates *r, struct place *p, uint64_t hash, struct sample now)
{
    if (p->hash != hash) {
        *p = (struct place){hash, now, now};
    } else if (now.at_ns - p->newer.at_ns >= STEP_NS) {
        p->older = p->newer;
        p->newer = now;
        struct ring *g = find_ring(r, hash);
        if (g)
            ring_add(g, now);
    }
    if (now.at_ns <= p->older.at_ns)
        return 0;
    return (double)(now.value - p->older.value) * 1e9 / (double)(now.at_ns - p->older.at_ns);
}

void rates_put(struct rates *r, json_t *object, beck_bytes of, const char *counter, int64_t value,
               bool falls, const struct rates_range *range)
{
    char name[64];
    uint64_t hash = hash_of(r, of, counter);
    struct place *p = &r->places[hash >> 47];
    json_t *details = json_object();
    struct sample now = {value, clock_mono_ns(r->clock)};
    mutex_lock(&r->lock);
    double rate = sample(r, p, hash, now);
    json_object_set_new(details, "rate", json_real(rate < 0 && !falls ? 0 : rate));
    bool history = range->incr_s > 0 && samples_wanted(range) <= *range->left;
    struct ring *g = history ? find_ring(r, hash) : NULL;
    if (history && !g)
        g = make_ring(r, p);
    if (g) {
        g->asked_ns = now.at_ns;
        put_samples(r, details, g, range, now.at_ns);
    }
    mutex_unlock(&r->lock);
    snprintf(name, sizeof name, "%s_details", counter);
    json_object_set_new(object, counter, json_integer(value));
    json_object_set_new(object, name, details);
}
