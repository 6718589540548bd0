/*
 * Rates of counters: what a counter gained since it was asked for before, and what it was at some times until
 * now. Nothing runs by itself: a sample is taken when somebody asks, RATE_STEP_MS or more after the last one. So
 * a rate is as old as the last question but one. Any thread.
 */
#ifndef BECK_WIRE_MANAGEMENT_RATES_H
#define BECK_WIRE_MANAGEMENT_RATES_H

#include "base/bytes.h"
#include "base/clock.h"

#include <jansson.h>

#define RATE_STEP_MS 4500 /* a little less than the 5 s that most let pass between questions */
#define RATE_SAMPLES_MAX 128
#define RATE_ANSWER_SAMPLES 65536 /* of all counters of one answer */

struct rates;

struct rates *rates_new(struct clock *clock); /* NULL: no memory */
void rates_free(struct rates *r);
/* Of how long ago samples are wanted, and how far apart; both 0: of no time. */
struct rates_range {
    int64_t age_s, incr_s;
    size_t *left; /* samples that the answer may still get; each takes of it */
};
/* {"<counter>":value,"<counter>_details":{"rate":...}}, per second; the first time it is 0. `of` and `counter`
 * name it. `falls`: it may become less, at a negative rate. With a range, also "samples" ([{"sample","timestamp"}],
 * newest first, in ms, at most RATE_SAMPLES_MAX and only of times when it was asked for), "avg_rate" and "avg" of
 * the range; without them where more samples may be wanted than are left. */
void rates_put(struct rates *r, json_t *object, beck_bytes of, const char *counter, int64_t value,
               bool falls, const struct rates_range *range);

#endif
