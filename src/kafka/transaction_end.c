/*
 * How transactions end: decided, which is recorded and synced first, then carried out by a control batch
 * in each partition, all synced before the record says Complete. What could not be carried out is tried
 * again with every tick, and after a restart.
 */
#include "base/error.h"
#include "bus/own_bus.h"
#include "kafka/offsets.h"
#include "kafka/transactions_impl.h"
#include "log/committer.h"

#include <assert.h>
#include <stdlib.h>

/* ---- control batches ---- */

/* Those of one transaction, and who waits for them. */
struct markers {
    struct mutex lock;
    struct cond changed;
    size_t left;
    bool failed;
};

static void marker_done(void *ctx, beck_status status, int64_t offset)
{
    struct markers *m = ctx;
    (void)offset;
    mutex_lock(&m->lock);
    m->failed |= status != BECK_OK;
    if (--m->left == 0)
        cond_signal(&m->changed);
    mutex_unlock(&m->lock);
}

/* NULL: the topic is not that of their offsets. */
static struct groups *groups_of(const struct transactions *ts, beck_bytes topic)
{
    return bytes_equal_text(topic, OWN_CONSUMER_OFFSETS) ? ts->k->groups : NULL;
}

/* What the end of a transaction says, to one partition. */
static void end_partition(struct transactions *ts, const struct transaction_end *what,
                          const struct transaction_partition *where, struct markers *m)
{
    struct groups *groups = groups_of(ts, where->topic);
    if (groups)
        offsets_before_end(groups, what->producer_id);
    struct topic *topic = topics_find(ts->k, where->topic);
    struct partition *p = topic ? topic_partition(topic, where->number) : NULL;
    if (!p)
        return;
    beck_error err = {0};
    struct transaction_end e = *what;
    bool waits = !committer_by_interval(ts->env->committer);
    if (waits) {
        e.done = marker_done;
        e.done_ctx = m;
        mutex_lock(&m->lock);
        m->left++;
        mutex_unlock(&m->lock);
    }
    beck_status status = partition_end_transaction(p, &e, &err);
    /* The producer goes on: it was ended before, by a coordinator that could not say so any more. */
    bool over = status == BECK_EFENCED || status == BECK_ECLOSED;
    if (groups && (!status || over))
        offsets_end_transaction(groups, what->producer_id, what->commit);
    if (!status)
        bus_call_committed(topic->bus, (uint32_t)where->number, &e);
    if (status && !over)
        env_report(ts->env, status, "a transaction cannot be ended in \"%.*s\" now: %s",
                   (int)where->topic.len, (const char *)where->topic.data, err.text);
    if (status && waits)
        marker_done(m, over ? BECK_OK : status, -1);
    else if (status && !over)
        m->failed = true;
}

/* False: some are missing. */
static bool end_partitions(struct transactions *ts, const struct transaction_end *what,
                           const struct transaction_partition *partitions, size_t count)
{
    struct markers m = {.left = 1};
    mutex_init(&m.lock);
    cond_init(&m.changed);
    for (size_t i = 0; i < count; i++)
        end_partition(ts, what, &partitions[i], &m);
    mutex_lock(&m.lock);
    m.left--;
    while (m.left > 0)
        cond_wait(&m.changed, &m.lock);
    mutex_unlock(&m.lock);
    cond_release(&m.changed);
    mutex_release(&m.lock);
    return !m.failed;
}

bool transaction_end_strays(struct transactions *ts, const struct transaction *t,
                            const struct transaction_partition *partitions, size_t count)
{
    struct transaction_end what = {
        .producer_id = t->producer_id, .epoch = t->epoch, .level = BECK_LEVEL_SYNCED};
    bool done = true;
    for (size_t i = 0; i < count && done; i++) {
        const struct transaction_partition *at = &partitions[i];
        struct topic *topic = topics_find(ts->k, at->topic);
        struct partition *p = topic ? topic_partition(topic, at->number) : NULL;
        if (p && !transaction_has(t, at->topic, at->number) &&
            partition_open_since(p, t->producer_id) >= 0)
            done = end_partitions(ts, &what, at, 1);
    }
    return done;
}

/* ---- deciding, carrying out ---- */

static void record(struct transactions *ts, const struct transaction *t)
{
    beck_error err = {0};
    /* Should it be lost, what is prepared is carried out once more, which changes nothing. */
    if (transaction_log_put(ts, t, BECK_LEVEL_WRITTEN, &err))
        env_report(ts->env, err.code, "the end of a transaction cannot be recorded: %s", err.text);
}

/* What is prepared. With the lock, which is free meanwhile; the transaction is busy. False: control batches are missing
 * still. */
static bool carry_out(struct transactions *ts, struct transaction *t)
{
    assert(mutex_held(&ts->lock) && t->busy && transaction_is_prepared(t));
    bool commit = t->state == TRANSACTION_PREPARE_COMMIT;
    struct transaction_end what = {.producer_id = t->producer_id,
                                   .epoch = t->epoch,
                                   .commit = commit,
                                   .bumped = t->version == 2,
                                   .level = BECK_LEVEL_SYNCED};
    mutex_unlock(&ts->lock);
    bool done = end_partitions(ts, &what, t->partitions, t->partition_count);
    mutex_lock(&ts->lock);
    if (!done) {
        transactions_keep_time(ts);
        return false;
    }
    transaction_forget_partitions(t);
    t->state = commit ? TRANSACTION_COMPLETE_COMMIT : TRANSACTION_COMPLETE_ABORT;
    t->updated_ms = clock_wall_ms(ts->env->clock);
    if (t->next_id >= 0) {
        t->previous_id = t->producer_id;
        t->producer_id = t->next_id;
        t->next_id = -1;
        t->epoch = 0;
    }
    mutex_unlock(&ts->lock);
    record(ts, t);
    mutex_lock(&ts->lock);
    return true;
}

/* The same for what is Ongoing, or nothing: it is prepared, which is synced, and carried out. 0; an error: as before.
 * bump: under the next epoch. */
static int decide_end(struct transactions *ts, struct transaction *t, bool commit, bool bump)
{
    assert(mutex_held(&ts->lock) && t->busy && !transaction_is_prepared(t));
    /* Behind a control batch of the same epoch they would be of no transaction, and their producer be told that they
     * are committed. */
    while (!bump && t->entered > 0)
        cond_wait(&ts->left, &ts->lock);
    struct transaction before = *t;
    int64_t fresh = -1;
    mutex_unlock(&ts->lock);
    if (bump && before.epoch >= EPOCH_LAST && (fresh = producer_ids_take(ts)) < 0) {
        mutex_lock(&ts->lock);
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    mutex_lock(&ts->lock);
    t->next_id = fresh;
    t->epoch = (int16_t)(before.epoch + (bump && before.epoch <= EPOCH_LAST));
    t->version = bump ? 2 : 1;
    t->state = commit ? TRANSACTION_PREPARE_COMMIT : TRANSACTION_PREPARE_ABORT;
    t->updated_ms = clock_wall_ms(ts->env->clock);
    mutex_unlock(&ts->lock);
    beck_error err = {0};
    beck_status status = transaction_log_put(ts, t, BECK_LEVEL_SYNCED, &err);
    mutex_lock(&ts->lock);
    if (status) {
        env_report(ts->env, status, "a transaction cannot be ended: %s", err.text);
        t->next_id = before.next_id;
        t->epoch = before.epoch;
        t->version = before.version;
        t->state = before.state;
        t->updated_ms = before.updated_ms;
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
    carry_out(ts, t);
    return KAFKA_NONE;
}

/* ---- EndTxn ---- */

/* Whether this was answered before, and the answer lost. */
static bool is_retry(const struct transaction *t, const struct transaction_producer *producer)
{
    bool rotated = t->previous_id >= 0 && t->epoch == 0;
    return producer->epoch >= 0 && producer->epoch == t->last_epoch &&
           producer->producer_id == (rotated ? t->previous_id : t->producer_id);
}

/* What to do by the state: 0 and *decide, or the answer. */
static int judge_end(const struct transaction *t, bool commit, bool version_2, bool retry,
                     bool *decide)
{
    enum transaction_state prepared =
        commit ? TRANSACTION_PREPARE_COMMIT : TRANSACTION_PREPARE_ABORT;
    enum transaction_state complete =
        commit ? TRANSACTION_COMPLETE_COMMIT : TRANSACTION_COMPLETE_ABORT;
    *decide = false;
    if (t->state == TRANSACTION_ONGOING) {
        *decide = !retry;
        return retry ? KAFKA_PRODUCER_FENCED : KAFKA_NONE;
    }
    if (transaction_is_prepared(t))
        return t->state == prepared ? KAFKA_CONCURRENT_TRANSACTIONS : KAFKA_INVALID_TXN_STATE;
    if (t->state == complete && (retry || !version_2))
        return KAFKA_NONE;
    /* One that nothing was written in: it gets its epoch all the same. */
    *decide = version_2 && !commit && !retry;
    return *decide ? KAFKA_NONE : KAFKA_INVALID_TXN_STATE;
}

static int end(struct transactions *ts, struct transaction_producer *producer, bool commit,
               bool version_2)
{
    struct transaction *t = transaction_await(ts, producer->id);
    bool retry = t && version_2 && is_retry(t, producer), decide;
    if (producer->id.len == 0)
        return KAFKA_INVALID_REQUEST;
    if (transaction_producer_is_gone(producer))
        return KAFKA_REQUEST_TIMED_OUT;
    if (!t || (!retry && t->producer_id != producer->producer_id))
        return KAFKA_INVALID_PRODUCER_ID_MAPPING;
    if (!retry && t->epoch != producer->epoch)
        return KAFKA_PRODUCER_FENCED;
    if (t->busy)
        return KAFKA_CONCURRENT_TRANSACTIONS;
    int error = judge_end(t, commit, version_2, retry, &decide);
    if (decide) {
        t->busy = true;
        error = decide_end(ts, t, commit, version_2);
        if (!error)
            t->last_epoch = version_2 ? producer->epoch : -1;
        t->busy = false;
    }
    if (!error && version_2) {
        bool next = t->next_id >= 0; /* not carried out yet */
        producer->producer_id = next ? t->next_id : t->producer_id;
        producer->epoch = next ? 0 : t->epoch;
    }
    return error;
}

int transactions_end(struct kafka *k, struct transaction_producer *producer, bool commit,
                     bool version_2)
{
    struct transactions *ts = k->transactions;
    mutex_lock(&ts->lock);
    int error = end(ts, producer, commit, version_2);
    mutex_unlock(&ts->lock);
    return error;
}

/* ---- InitProducerId ---- */

/* The next epoch, or a new id; recorded. The transaction is busy and has none open. */
static int bump_epoch(struct transactions *ts, struct transaction *t, int32_t timeout_ms)
{
    struct transaction before = *t;
    bool rotate = t->producer_id < 0 || t->epoch >= EPOCH_LAST;
    mutex_unlock(&ts->lock);
    int64_t fresh = rotate ? producer_ids_take(ts) : -1;
    mutex_lock(&ts->lock);
    if (rotate && fresh < 0)
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    t->previous_id = rotate ? before.producer_id : -1;
    t->producer_id = rotate ? fresh : before.producer_id;
    t->epoch = rotate ? 0 : (int16_t)(before.epoch + 1);
    t->timeout_ms = timeout_ms;
    t->state = TRANSACTION_EMPTY;
    t->started_ms = -1;
    t->updated_ms = clock_wall_ms(ts->env->clock);
    mutex_unlock(&ts->lock);
    beck_error err = {0};
    beck_status status = transaction_log_put(ts, t, BECK_LEVEL_SYNCED, &err);
    mutex_lock(&ts->lock);
    if (!status)
        return KAFKA_NONE;
    env_report(ts->env, status, "a producer cannot be recorded: %s", err.text);
    t->previous_id = before.previous_id;
    t->producer_id = before.producer_id;
    t->epoch = before.epoch;
    t->timeout_ms = before.timeout_ms;
    t->state = before.state;
    return KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static int init(struct transactions *ts, struct transaction_producer *producer, int32_t timeout_ms)
{
    struct transaction *t = transaction_await(ts, producer->id);
    bool expects = producer->producer_id >= 0;
    int error = KAFKA_NONE;
    if (transaction_producer_is_gone(producer))
        return KAFKA_REQUEST_TIMED_OUT;
    if (!t && !(t = transaction_make(ts, producer->id)))
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    if (t->busy || transaction_is_prepared(t))
        return KAFKA_CONCURRENT_TRANSACTIONS;
    if (expects && t->producer_id >= 0) {
        bool retry = is_retry(t, producer);
        if (!retry && (t->producer_id != producer->producer_id || t->epoch != producer->epoch))
            return KAFKA_PRODUCER_FENCED;
        if (retry && t->state != TRANSACTION_ONGOING) {
            producer->producer_id = t->producer_id;
            producer->epoch = t->epoch;
            return KAFKA_NONE;
        }
    }
    t->busy = true;
    t->last_epoch = -1;
    if (t->state == TRANSACTION_ONGOING)
        error = decide_end(ts, t, false, true);
    if (!error && transaction_is_prepared(t))
        error = KAFKA_CONCURRENT_TRANSACTIONS;
    if (!error)
        error = bump_epoch(ts, t, timeout_ms);
    if (!error && expects)
        t->last_epoch = producer->epoch;
    t->busy = false;
    producer->producer_id = error ? -1 : t->producer_id;
    producer->epoch = error ? -1 : t->epoch;
    if (t->producer_id < 0)
        transaction_drop(ts, t);
    else
        transactions_keep_time(ts);
    return error;
}

int transactions_init(struct kafka *k, struct transaction_producer *producer, int32_t timeout_ms)
{
    struct transactions *ts = k->transactions;
    if (!producer->id.data) {
        producer->producer_id = producer_ids_take(ts);
        producer->epoch = producer->producer_id < 0 ? -1 : 0;
        return producer->producer_id < 0 ? KAFKA_COORDINATOR_NOT_AVAILABLE : KAFKA_NONE;
    }
    if (producer->id.len == 0)
        return KAFKA_INVALID_REQUEST;
    if (timeout_ms <= 0 || timeout_ms > TRANSACTION_TIMEOUT_MAX)
        return KAFKA_INVALID_TRANSACTION_TIMEOUT;
    mutex_lock(&ts->lock);
    int error = init(ts, producer, timeout_ms);
    mutex_unlock(&ts->lock);
    return error;
}

/* ---- time ---- */

static bool is_due(const struct transaction *t, int64_t now_ms)
{
    if (t->busy)
        return false;
    if (t->state == TRANSACTION_ONGOING)
        return now_ms - t->started_ms >= t->timeout_ms;
    return transaction_is_prepared(t) ||
           (t->entered == 0 && now_ms - t->updated_ms >= TRANSACTION_EXPIRY_MS);
}

/* True: it is gone. */
static bool forget(struct transactions *ts, struct transaction *t)
{
    mutex_unlock(&ts->lock);
    beck_status status = transaction_log_remove(ts, t->id, NULL);
    mutex_lock(&ts->lock);
    if (!status)
        transaction_drop(ts, t);
    return !status;
}

static void bring(struct transactions *ts, struct transaction *t)
{
    t->busy = true;
    if (t->state == TRANSACTION_ONGOING) {
        t->last_epoch = -1;
        decide_end(ts, t, false, true);
    } else if (transaction_is_prepared(t)) {
        carry_out(ts, t);
    } else if (forget(ts, t)) {
        return;
    }
    t->busy = false;
}

void transactions_tick(struct kafka *k)
{
    struct transactions *ts = k->transactions;
    int64_t now_ms = clock_wall_ms(ts->env->clock);
    struct transaction **due = NULL;
    size_t count = 0, cap = 0;
    mutex_lock(&ts->lock);
    for (size_t i = 0; i < ts->bucket_count; i++)
        for (struct transaction *t = ts->buckets[i]; t; t = t->next) {
            if (!is_due(t, now_ms))
                continue;
            if (count == cap) {
                size_t wanted = cap ? cap * 2 : 16;
                struct transaction **grown = realloc(due, wanted * sizeof *grown);
                if (!grown)
                    continue;
                due = grown;
                cap = wanted;
            }
            t->busy = true; /* nobody else lets it go */
            due[count++] = t;
        }
    for (size_t i = 0; i < count && !ts->closing; i++)
        bring(ts, due[i]);
    mutex_unlock(&ts->lock);
    free(due);
}

/* ---- opening ---- */

static struct transaction *find_producer(struct transactions *ts, int64_t id)
{
    for (size_t i = 0; i < ts->bucket_count; i++)
        for (struct transaction *t = ts->buckets[i]; t; t = t->next)
            if (t->producer_id == id)
                return t;
    return NULL;
}

/* A transaction that is open in a partition goes on where its producer does, else nobody would ever end
 * it. With the lock, which is free meanwhile. */
static beck_status attach(struct transactions *ts, const struct topic *topic, int32_t number,
                          const struct producer_state *state, beck_error *err)
{
    struct transaction *t = find_producer(ts, state->id);
    /* It is decided, and could not be carried out yet: the tick tries again. */
    if (t && transaction_is_prepared(t))
        return BECK_OK;
    bool newer = t && t->epoch > state->epoch;
    if (t && t->epoch == state->epoch) {
        if (!transaction_put(t, topic->name, number))
            return error_set(err, BECK_ENOMEM, "no memory for transactions");
        transaction_begin(ts, t);
        return BECK_OK;
    }
    struct transaction_partition where = {topic->name, number};
    struct transaction_end what = {.producer_id = state->id,
                                   .epoch = newer ? t->epoch : state->epoch,
                                   .bumped = newer,
                                   .level = BECK_LEVEL_SYNCED};
    env_report(ts->env, BECK_ETXN_STATE,
               "producer %lld left a transaction open in partition %d of \"%.*s\" that the "
               "coordinator does not know: it is aborted",
               (long long)state->id, number, (int)topic->name.len, (const char *)topic->name.data);
    mutex_unlock(&ts->lock);
    end_partitions(ts, &what, &where, 1);
    mutex_lock(&ts->lock);
    return BECK_OK;
}

static beck_status look_at(struct transactions *ts, const struct topic *topic, int32_t number,
                           beck_error *err)
{
    struct producer_state *list;
    size_t count;
    beck_status status =
        partition_each_producer(topic_partition(topic, number), &list, &count, err);
    for (size_t i = 0; i < count && !status; i++) {
        producer_ids_pass(ts, list[i].id);
        if (list[i].txn_first_offset < 0)
            continue;
        mutex_lock(&ts->lock);
        status = attach(ts, topic, number, &list[i], err);
        mutex_unlock(&ts->lock);
    }
    free(list);
    return status;
}

beck_status transactions_recover(struct transactions *ts, beck_error *err)
{
    struct topic **topics;
    size_t count;
    mutex_lock(&ts->lock);
    for (size_t i = 0; i < ts->bucket_count; i++)
        for (struct transaction *t = ts->buckets[i]; t; t = t->next) {
            bool ended = t->state != TRANSACTION_EMPTY && t->state != TRANSACTION_ONGOING;
            bool rotated = t->previous_id >= 0 && t->epoch == 0;
            if (ended && t->version == 2)
                t->last_epoch = rotated ? EPOCH_LAST : (int16_t)(t->epoch - 1);
            if (!transaction_is_prepared(t))
                continue;
            t->busy = true;
            carry_out(ts, t);
            t->busy = false;
        }
    mutex_unlock(&ts->lock);
    beck_status status = topics_list(ts->k, &topics, &count, err);
    if (status)
        return status;
    for (size_t i = 0; i < count && !status; i++)
        for (uint32_t n = 0; n < topic_partitions(topics[i]) && !status; n++)
            status = look_at(ts, topics[i], (int32_t)n, err);
    free(topics);
    return status;
}
