/*
 * Each counter has a place by its hash, with two samples: the rate is what was gained since the older one.
 * Counters that meet in a place take turns and show no rate.
 */
#include "wire/management/rates.h"

#include "base/clock.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>

#define PLACES (1u << 17)
#define STEP_NS ((int64_t)RATE_STEP_MS * 1000000)

struct sample {
    int64_t value, at_ns;
};

struct place {
    uint64_t hash; /* 0: free */
    struct sample older, newer;
};

struct rates {
    struct mutex lock;
    uint64_t seed;
    struct place places[PLACES];
};

struct rates *rates_new(void)
{
    struct rates *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    mutex_init(&r->lock);
    r->seed = (uint64_t)clock_wall_ns(clock_system());
    return r;
}

void rates_free(struct rates *r)
{
    if (!r)
        return;
    mutex_release(&r->lock);
    free(r);
}

double rates_of(struct rates *r, beck_bytes of, const char *counter, int64_t value)
{
    int64_t now = clock_mono_ns(clock_system());
    uint64_t hash = bytes_hash(of.data, of.len, bytes_hash(counter, strlen(counter), r->seed)) | 1;
    struct place *p = &r->places[hash >> 47];
    double rate = 0;
    mutex_lock(&r->lock);
    if (p->hash != hash) {
        *p = (struct place){hash, {value, now}, {value, now}};
    } else if (now - p->newer.at_ns >= STEP_NS) {
        p->older = p->newer;
        p->newer = (struct sample){value, now};
    }
    if (now > p->older.at_ns)
        rate = (double)(value - p->older.value) * 1e9 / (double)(now - p->older.at_ns);
    mutex_unlock(&r->lock);
    return rate;
}

void rates_put(struct rates *r, json_t *object, beck_bytes of, const char *counter, int64_t value,
               bool falls)
{
    char details[64];
    double rate = rates_of(r, of, counter, value);
    snprintf(details, sizeof details, "%s_details", counter);
    json_object_set_new(object, counter, json_integer(value));
    json_object_set_new(object, details, json_pack("{s:f}", "rate", rate < 0 && !falls ? 0 : rate));
}
