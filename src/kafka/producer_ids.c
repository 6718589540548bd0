/*
 * Ids of producers, which no two ever share: taken in blocks, whose end is stored before any of them is
 * given out. Kept in `__kafka`: kind "producer.ids", key "next", data the first id that is in no block.
 */
#include "base/error.h"
#include "kafka/transactions_impl.h"

#include <stdio.h>

#define KIND "producer.ids"
#define BLOCK 1000

static beck_status load(void *ctx, beck_bytes key, beck_bytes data, beck_error *err)
{
    struct transactions *ts = ctx;
    uint64_t next;
    (void)key;
    if (!bytes_to_u64(data, &next) || next > INT64_MAX - BLOCK)
        return error_set(err, BECK_ECORRUPT, "the next producer id that was stored is no number");
    ts->ids_next = ts->ids_end = (int64_t)next;
    return BECK_OK;
}

beck_status producer_ids_open(struct transactions *ts, beck_error *err)
{
    return store_each(ts->k->store, KIND, load, ts, err);
}

static beck_status take_block(struct transactions *ts, beck_error *err)
{
    char text[24];
    int64_t end = ts->ids_next + BLOCK;
    int len = snprintf(text, sizeof text, "%lld", (long long)end);
    struct store_record r = {KIND, beck_str("next"), bytes_of(text, (size_t)len)};
    beck_status status = store_put(ts->k->store, &r, err);
    if (!status)
        ts->ids_end = end;
    return status;
}

int64_t producer_ids_take(struct transactions *ts)
{
    int64_t id = -1;
    beck_error err = {0};
    mutex_lock(&ts->ids_lock);
    beck_status status = ts->ids_next < ts->ids_end ? BECK_OK : take_block(ts, &err);
    if (!status)
        id = ts->ids_next++;
    mutex_unlock(&ts->ids_lock);
    if (status)
        env_report(ts->env, status, "no producer gets an id: %s", err.text);
    return id;
}

void producer_ids_pass(struct transactions *ts, int64_t id)
{
    if (id >= ts->ids_end && id < INT64_MAX - BLOCK)
        ts->ids_next = ts->ids_end = id + 1;
}
