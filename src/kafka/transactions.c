/* The table of transactions, and what only looks at it or adds to it: see transactions.h. */
#include "base/error.h"
#include "kafka/transactions_impl.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_MIN 64

const char *transaction_state_name(enum transaction_state state)
{
    static const char *const names[] = {"Empty",        "Ongoing",        "PrepareCommit",
                                        "PrepareAbort", "CompleteCommit", "CompleteAbort"};
    return names[state];
}

/* ---- the table ---- */

static struct transaction **bucket_of(struct transaction **buckets, size_t count, beck_bytes id)
{
    return &buckets[bytes_hash(id.data, id.len, 0) % count];
}

struct transaction *transaction_find(struct transactions *ts, beck_bytes id)
{
    if (ts->bucket_count == 0)
        return NULL;
    struct transaction *t = *bucket_of(ts->buckets, ts->bucket_count, id);
    while (t && !bytes_equal(t->id, id))
        t = t->next;
    return t;
}

struct transaction *transaction_await(struct transactions *ts, beck_bytes id)
{
    struct transaction *t;
    while ((t = transaction_find(ts, id)) && t->adding)
        cond_wait(&ts->added, &ts->lock);
    return t;
}

static bool grow(struct transactions *ts)
{
    size_t count = ts->bucket_count ? ts->bucket_count * 2 : BUCKETS_MIN;
    struct transaction **buckets = calloc(count, sizeof *buckets);
    if (!buckets)
        return false;
    for (size_t i = 0; i < ts->bucket_count; i++)
        for (struct transaction *t = ts->buckets[i], *next; t; t = next) {
            struct transaction **at = bucket_of(buckets, count, t->id);
            next = t->next;
            t->next = *at;
            *at = t;
        }
    free(ts->buckets);
    ts->buckets = buckets;
    ts->bucket_count = count;
    return true;
}

struct transaction *transaction_make(struct transactions *ts, beck_bytes id)
{
    if (ts->count >= TRANSACTIONS_MAX || (ts->count >= ts->bucket_count && !grow(ts)))
        return NULL;
    struct transaction *t = calloc(1, sizeof *t + id.len);
    if (!t)
        return NULL;
    t->id = bytes_of(t + 1, id.len);
    memcpy(t + 1, id.data, id.len);
    t->producer_id = t->previous_id = t->next_id = t->epoch = t->last_epoch = -1;
    t->started_ms = -1;
    struct transaction **at = bucket_of(ts->buckets, ts->bucket_count, id);
    t->next = *at;
    *at = t;
    ts->count++;
    return t;
}

void transaction_drop(struct transactions *ts, struct transaction *t)
{
    struct transaction **at = bucket_of(ts->buckets, ts->bucket_count, t->id);
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    ts->count--;
    transaction_forget_partitions(t);
    free(t->partitions);
    free(t);
}

void transaction_forget_partitions(struct transaction *t)
{
    for (size_t i = 0; i < t->partition_count; i++)
        free((void *)(uintptr_t)t->partitions[i].topic.data);
    t->partition_count = 0;
}

bool transaction_has(const struct transaction *t, beck_bytes topic, int32_t partition)
{
    for (size_t i = 0; i < t->partition_count; i++)
        if (t->partitions[i].number == partition && bytes_equal(t->partitions[i].topic, topic))
            return true;
    return false;
}

bool transaction_put(struct transaction *t, beck_bytes topic, int32_t partition)
{
    if (transaction_has(t, topic, partition))
        return true;
    if (t->partition_count == t->partition_cap) {
        size_t cap = t->partition_cap ? t->partition_cap * 2 : 4;
        struct transaction_partition *grown = realloc(t->partitions, cap * sizeof *grown);
        if (!grown)
            return false;
        t->partitions = grown;
        t->partition_cap = cap;
    }
    char *name = malloc(topic.len + 1);
    if (!name)
        return false;
    memcpy(name, topic.data, topic.len);
    t->partitions[t->partition_count++] =
        (struct transaction_partition){bytes_of(name, topic.len), partition};
    return true;
}

bool transaction_is_prepared(const struct transaction *t)
{
    return t->state == TRANSACTION_PREPARE_COMMIT || t->state == TRANSACTION_PREPARE_ABORT;
}

bool transaction_producer_is_gone(const struct transaction_producer *producer)
{
    return producer->gone && atomic_load(producer->gone);
}

void transaction_begin(struct transactions *ts, struct transaction *t)
{
    assert(mutex_held(&ts->lock));
    if (t->state == TRANSACTION_ONGOING)
        return;
    t->state = TRANSACTION_ONGOING;
    t->started_ms = t->updated_ms = clock_wall_ms(ts->env->clock);
    transactions_keep_time(ts);
}

/* ---- asking ---- */

/* With the lock. The transaction of a producer that is what it says; NULL: *error says why not. */
static struct transaction *of_producer(struct transactions *ts,
                                       const struct transaction_producer *producer, int *error)
{
    struct transaction *t = transaction_find(ts, producer->id);
    *error = KAFKA_NONE;
    if (producer->id.len == 0)
        *error = KAFKA_INVALID_REQUEST;
    else if (transaction_producer_is_gone(producer))
        *error = KAFKA_REQUEST_TIMED_OUT;
    else if (!t || t->producer_id != producer->producer_id)
        *error = KAFKA_INVALID_PRODUCER_ID_MAPPING;
    else if (t->epoch != producer->epoch)
        *error = KAFKA_PRODUCER_FENCED;
    else if ((t->busy && !t->adding) || transaction_is_prepared(t))
        *error = KAFKA_CONCURRENT_TRANSACTIONS;
    return *error ? NULL : t;
}

int transactions_check(struct kafka *k, const struct transaction_producer *producer,
                       const struct transaction_partition *where, bool add,
                       struct transaction **entered)
{
    struct transactions *ts = k->transactions;
    int error;
    mutex_lock(&ts->lock);
    struct transaction *t = of_producer(ts, producer, &error);
    if (t &&
        (t->state != TRANSACTION_ONGOING || !transaction_has(t, where->topic, where->number))) {
        if (!add)
            error = KAFKA_INVALID_TXN_STATE;
        else if (t->adding) /* what is added is being read */
            error = KAFKA_CONCURRENT_TRANSACTIONS;
        else if (!transaction_put(t, where->topic, where->number))
            error = KAFKA_COORDINATOR_NOT_AVAILABLE;
        else
            transaction_begin(ts, t);
    }
    if (!error && entered) {
        t->entered++;
        *entered = t;
    }
    mutex_unlock(&ts->lock);
    return error == KAFKA_PRODUCER_FENCED ? KAFKA_INVALID_PRODUCER_EPOCH : error;
}

void transactions_leave(struct kafka *k, struct transaction *t)
{
    struct transactions *ts = k->transactions;
    mutex_lock(&ts->lock);
    if (--t->entered == 0)
        cond_broadcast(&ts->left);
    mutex_unlock(&ts->lock);
}

int transactions_verify(struct kafka *k, const struct transaction_producer *producer,
                        const struct transaction_partition *partitions, size_t count)
{
    struct transactions *ts = k->transactions;
    int error;
    mutex_lock(&ts->lock);
    struct transaction *t = of_producer(ts, producer, &error);
    for (size_t i = 0; i < count && !error; i++)
        if (t->state != TRANSACTION_ONGOING ||
            !transaction_has(t, partitions[i].topic, partitions[i].number))
            error = KAFKA_TRANSACTION_ABORTABLE;
    mutex_unlock(&ts->lock);
    return error;
}

/* Recorded. With the lock, which is free meanwhile; the transaction is `adding`. */
static int add_fresh(struct transactions *ts, struct transaction *t,
                     const struct transaction_partition *partitions, size_t count)
{
    beck_error err = {0};
    mutex_unlock(&ts->lock);
    bool done = transaction_end_strays(ts, t, partitions, count);
    mutex_lock(&ts->lock);
    for (size_t i = 0; i < count && done; i++)
        done = transaction_put(t, partitions[i].topic, partitions[i].number);
    if (!done)
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    transaction_begin(ts, t);
    t->updated_ms = clock_wall_ms(ts->env->clock);
    mutex_unlock(&ts->lock);
    /* Whatever ended before is recorded then as well: without epochs of their own two transactions look
     * the same to a partition. */
    beck_status status = transaction_log_put(ts, t, BECK_LEVEL_SYNCED, &err);
    if (status)
        env_report(ts->env, err.code, "a transaction cannot be recorded: %s", err.text);
    mutex_lock(&ts->lock);
    t->unrecorded = status != BECK_OK;
    return status ? KAFKA_COORDINATOR_NOT_AVAILABLE : KAFKA_NONE;
}

int transactions_add(struct kafka *k, const struct transaction_producer *producer,
                     const struct transaction_partition *partitions, size_t count)
{
    struct transactions *ts = k->transactions;
    int error;
    bool fresh = false;
    mutex_lock(&ts->lock);
    transaction_await(ts, producer->id);
    struct transaction *t = of_producer(ts, producer, &error);
    for (size_t i = 0; i < count && t; i++)
        fresh |= t->unrecorded || t->state != TRANSACTION_ONGOING ||
                 !transaction_has(t, partitions[i].topic, partitions[i].number);
    if (t && fresh) {
        t->busy = t->adding = true;
        error = add_fresh(ts, t, partitions, count);
        t->busy = t->adding = false;
        cond_broadcast(&ts->added);
    }
    mutex_unlock(&ts->lock);
    return error;
}

static struct transaction_info info_of(const struct transaction *t)
{
    return (struct transaction_info){.id = t->id,
                                     .producer_id = t->producer_id,
                                     .epoch = t->epoch,
                                     .state = t->state,
                                     .timeout_ms = t->timeout_ms,
                                     .started_ms = t->started_ms,
                                     .partitions = t->partitions,
                                     .partition_count = t->partition_count};
}

bool transactions_find(struct kafka *k, beck_bytes id, transaction_each_fn fn, void *ctx)
{
    struct transactions *ts = k->transactions;
    mutex_lock(&ts->lock);
    const struct transaction *t = transaction_find(ts, id);
    if (t) {
        struct transaction_info info = info_of(t);
        fn(ctx, &info);
    }
    mutex_unlock(&ts->lock);
    return t != NULL;
}

void transactions_each(struct kafka *k, transaction_each_fn fn, void *ctx)
{
    struct transactions *ts = k->transactions;
    mutex_lock(&ts->lock);
    for (size_t i = 0; i < ts->bucket_count; i++)
        for (const struct transaction *t = ts->buckets[i]; t; t = t->next) {
            struct transaction_info info = info_of(t);
            fn(ctx, &info);
        }
    mutex_unlock(&ts->lock);
}

/* ---- time ---- */

static void note_time(struct timer *timer)
{
    struct transactions *ts =
        (struct transactions *)((char *)timer - offsetof(struct transactions, timer));
    pool_push(&ts->pool, &ts->job);
}

void transactions_keep_time(struct transactions *ts)
{
    assert(mutex_held(&ts->lock));
    if (ts->ticking || ts->closing)
        return;
    ts->ticking = true;
    timers_set(&ts->k->timers, &ts->timer, clock_mono_ns(clock_system()) + TICK_MS * 1000000LL);
}

static void tick(struct job *job)
{
    struct transactions *ts =
        (struct transactions *)((char *)job - offsetof(struct transactions, job));
    transactions_tick(ts->k);
    mutex_lock(&ts->lock);
    ts->ticking = false;
    if (ts->count > 0)
        transactions_keep_time(ts);
    mutex_unlock(&ts->lock);
}

/* ---- opening and closing ---- */

beck_status transactions_open(struct kafka *k, beck_error *err)
{
    struct transactions *ts = calloc(1, sizeof *ts);
    if (!ts)
        return error_set(err, BECK_ENOMEM, "no memory for transactions");
    beck_status status = pool_start(&ts->pool, 1, err);
    if (status) {
        free(ts);
        return status;
    }
    ts->k = k;
    ts->env = &k->engine->env;
    ts->job.run = tick;
    ts->timer.due = note_time;
    mutex_init(&ts->lock);
    mutex_init(&ts->ids_lock);
    cond_init(&ts->added);
    cond_init(&ts->left);
    ts->closing = true; /* no ticks yet */
    k->transactions = ts;
    status = producer_ids_open(ts, err);
    if (!status)
        status = transaction_log_load(ts, err);
    if (!status)
        status = transactions_recover(ts, err);
    mutex_lock(&ts->lock);
    ts->closing = false;
    if (ts->count > 0)
        transactions_keep_time(ts);
    mutex_unlock(&ts->lock);
    return status;
}

void transactions_close(struct kafka *k)
{
    struct transactions *ts = k->transactions;
    if (!ts)
        return;
    mutex_lock(&ts->lock);
    ts->closing = true;
    mutex_unlock(&ts->lock);
    timers_cancel(&k->timers, &ts->timer);
    pool_stop(&ts->pool);
    for (size_t i = 0; i < ts->bucket_count; i++)
        for (struct transaction *t = ts->buckets[i], *next; t; t = next) {
            next = t->next;
            transaction_drop(ts, t);
        }
    free(ts->buckets);
    mutex_release(&ts->lock);
    mutex_release(&ts->ids_lock);
    cond_release(&ts->added);
    cond_release(&ts->left);
    free(ts);
    k->transactions = NULL;
}
