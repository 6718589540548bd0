/* Topics as groups look at them: see struct group_topics. */
#include "kafka/group_topics.h"

#include "bus/own_bus.h"
#include "kafka/configs.h"
#include "kafka/group_log.h"
#include "kafka/kafka_impl.h"
#include "kafka/offsets.h"
#include "kafka/transactions.h"

#include <stdlib.h>

#define IMPLICIT_VERSION 5 /* from here on committing adds offsets to a transaction */

static bool tell(struct topic *t, struct group_topic *out)
{
    if (!t || topic_is_gone(t))
        return false;
    out->name = t->name;
    memcpy(out->id, t->id, sizeof out->id);
    out->partitions = topic_partitions(t);
    return true;
}

static bool find(void *ctx, beck_bytes name, struct group_topic *out)
{
    return tell(topics_find(ctx, name), out);
}

static bool find_id(void *ctx, const uint8_t id[16], struct group_topic *out)
{
    return tell(topics_find_id(ctx, id), out);
}

static void each(void *ctx, void (*fn)(void *fn_ctx, const struct group_topic *t), void *fn_ctx)
{
    struct topic **list;
    struct group_topic topic;
    size_t count;
    if (topics_list(ctx, &list, &count, NULL))
        return;
    for (size_t i = 0; i < count; i++)
        if (tell(list[i], &topic))
            fn(fn_ctx, &topic);
    free(list);
}

static uint64_t generation(void *ctx)
{
    return topics_generation(ctx);
}

static int64_t configured(void *ctx, beck_bytes group, const char *key)
{
    return configs_number(ctx, CONFIG_GROUP, group, key);
}

static int may_add(void *ctx, const struct kafka_txn_offset_commit_request *r, int16_t version)
{
    struct transaction_producer producer = {r->transactional_id, r->producer_id, r->producer_epoch,
                                            NULL};
    struct transaction_partition where = {beck_str(OWN_CONSUMER_OFFSETS), 0};
    return transactions_check(ctx, &producer, &where, version >= IMPLICIT_VERSION, NULL);
}

static void changed(void *ctx, struct topic *t, enum topic_change what)
{
    struct kafka *k = ctx;
    (void)t;
    if (what == TOPIC_DELETED)
        groups_topics_changed(k->groups);
}

beck_status group_topics_open(struct kafka *k, beck_error *err)
{
    struct group_topics topics = {
        .find = find, .find_id = find_id, .each = each, .generation = generation, .ctx = k};
    struct groups_settings settings = {.level = k->settings.group_level,
                                       .initial_rebalance_delay_ms =
                                           k->settings.group_initial_rebalance_delay_ms,
                                       .configured = configured,
                                       .configured_ctx = k,
                                       .may_add = may_add,
                                       .may_add_ctx = k};
    beck_status status = groups_open(k->engine, &k->timers, &topics, &settings, &k->groups, err);
    if (status)
        return status;
    k->groups_watch = (struct topics_watch){.changed = changed, .ctx = k};
    topics_watch(k, &k->groups_watch);
    return BECK_OK;
}
