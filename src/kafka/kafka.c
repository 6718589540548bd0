/* Opening and closing what Kafka's protocol stands on: see kafka.h. */
#include "kafka/group_topics.h"
#include "kafka/kafka_impl.h"
#include "kafka/scram.h"
#include "kafka/share.h"
#include "kafka/transactions.h"

#include "base/error.h"

#include <stdlib.h>

beck_status kafka_open(beck *b, const struct kafka_settings *settings, struct kafka **out,
                       beck_error *err)
{
    struct kafka *k = calloc(1, sizeof *k);
    if (!k)
        return error_set(err, BECK_ENOMEM, "no memory for Kafka's topics and groups");
    k->engine = b;
    k->settings = *settings;
    beck_status status = timers_start(&k->timers, err);
    if (status) {
        free(k);
        return status;
    }
    status = store_open(b, &k->store, err);
    if (!status)
        status = scrams_open(k, err);
    if (!status)
        status = configs_open(k, err);
    if (!status)
        status = topics_open(k, err);
    if (!status)
        status = group_topics_open(k, err);
    if (!status)
        status = transactions_open(k, err);
    if (!status)
        status = shares_open(k, err);
    if (status) {
        kafka_close(k);
        return status;
    }
    *out = k;
    return BECK_OK;
}

void kafka_close(struct kafka *k)
{
    if (!k)
        return;
    topics_unwatch(k); /* a log that is made while the others close would be told to those */
    shares_close(k);
    transactions_close(k);
    groups_close(k->groups);
    topics_close(k);
    configs_close(k);
    scrams_close(k);
    store_close(k->store);
    timers_stop(&k->timers);
    free(k);
}

struct groups *kafka_groups(const struct kafka *k)
{
    return k->groups;
}

int32_t kafka_node_id(const struct kafka *k)
{
    return k->settings.node_id;
}

bool kafka_creates_topics(const struct kafka *k)
{
    return k->settings.auto_create_topics;
}

beck_level kafka_level(const struct kafka *k, int acks)
{
    return acks == 0 ? BECK_LEVEL_NONE : acks == 1 ? k->settings.acks_one : k->settings.acks_all;
}

const uint8_t *kafka_cluster_id(const struct kafka *k)
{
    return bus_id(k->engine->topology);
}

struct timers *kafka_timers(struct kafka *k)
{
    return &k->timers;
}
