/*
 * Rates of counters: what a counter gained since it was asked for before. Nothing runs by itself: a rate is
 * as old as the last question but one of at least RATE_STEP_MS before. Any thread.
 */
#ifndef BECK_WIRE_MANAGEMENT_RATES_H
#define BECK_WIRE_MANAGEMENT_RATES_H

#include "base/bytes.h"

#include <jansson.h>

#define RATE_STEP_MS 5000

struct rates;

struct rates *rates_new(void); /* NULL: no memory */
void rates_free(struct rates *r);
/* Per second. `of` and `counter` name it; the first time gives 0. */
double rates_of(struct rates *r, beck_bytes of, const char *counter, int64_t value);
/* {"<counter>":value,"<counter>_details":{"rate":...}}. `falls`: it may become less, at a negative rate. */
void rates_put(struct rates *r, json_t *object, beck_bytes of, const char *counter, int64_t value,
               bool falls);

#endif
