/* Counts of messages, of one queue or exchange and of all. */
#ifndef BECK_WIRE_MANAGEMENT_STATS_H
#define BECK_WIRE_MANAGEMENT_STATS_H

#include "wire/management/call.h"

/* Of what a caller may see. */
struct totals {
    const struct call *c;
    beck_bytes vhost; /* absent: all */
    int64_t queues, exchanges, consumers, connections, channels;
    int64_t ready, unacked, ready_bytes;
    int64_t published;
    uint64_t counts[QUEUE_COUNTS];
};
void totals_count(struct totals *t, const struct call *c, beck_bytes vhost);

/* {"messages":..,"messages_ready":..,"messages_unacknowledged":..} with rates. `of` names the thing. */
void stats_put_messages(struct call *c, json_t *object, beck_bytes of, int64_t ready,
                        int64_t unacked);
/* Adds deliver, get, ack ... of the counts, and what they come to together. */
void stats_put_counts(struct call *c, json_t *object, beck_bytes of,
                      const uint64_t counts[QUEUE_COUNTS]);
json_t *stats_of_totals(struct call *c, const struct totals *t, beck_bytes of);
json_t *stats_of_queue(struct call *c, const struct queue_view *q);
json_t *stats_of_exchange(struct call *c, const struct exchange_view *x);

/* Names of things among all that have rates. */
#define STATS_NAME_MAX 600
beck_bytes stats_name(char out[STATS_NAME_MAX], const char *kind, beck_bytes vhost,
                      beck_bytes name);

#endif
