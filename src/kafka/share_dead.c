/*
 * Dead-letter topics of share groups (KIP-1191): what a group gives up becomes a record of the topic
 * that its configuration names (errors.deadletterqueue.topic.name), if that is there and allows it
 * (errors.deadletterqueue.group.enable); else it is a dead letter of the queue.
 *
 * The record is in the partition whose number is that of its origin modulo the topic's partitions. Its
 * headers are __dlq.errors.topic, .partition, .offset, .group, .delivery.count, .message; key and value
 * are null, or with errors.deadletterqueue.copy.record.enable those of the origin.
 *
 * Whoever buries writes the record at once, and the entry waits in its queue (queue_bury_fn). A thread
 * of the share groups syncs what was written and has the queue bury again: so an entry leaves only when
 * its dead letter is as safe as acks=all says. A crash in between may write it twice. What cannot be
 * written waits as well, and is tried again by a timer; so does what was written to a partition that could not be
 * synced, and takes no more.
 *
 * The note of an entry is the topic's generation and the round in which it was written. A round that was
 * synced lets all of that generation up to it go; what waits when the topic changes is written again.
 */
#include "base/clock.h"
#include "kafka/share_impl.h"
#include "log/batch.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 256

/* ---- the record ---- */

struct header {
    const char *name;
    beck_bytes value;
};
#define HEADERS 6

static beck_status put_number(struct buf *out, int64_t n)
{
    uint8_t p[10];
    return buf_append(out, p, varint_write(p, n));
}

static beck_status put_bytes(struct buf *out, beck_bytes b, bool null)
{
    beck_status status = put_number(out, null ? -1 : (int64_t)b.len);
    return status || null ? status : buf_append(out, b.data, b.len);
}

static beck_status put_record(struct buf *out, beck_bytes key, beck_bytes value,
                              const struct header headers[HEADERS])
{
    static const uint8_t plain[] = {0, 0, 0}; /* attributes, and both deltas */
    beck_status status = buf_append(out, plain, sizeof plain);
    if (!status)
        status = put_bytes(out, key, key.len == 0);
    if (!status)
        status = put_bytes(out, value, value.data == NULL);
    if (!status)
        status = put_number(out, HEADERS);
    for (size_t i = 0; i < HEADERS && !status; i++) {
        status = put_bytes(out, beck_str(headers[i].name), false);
        if (!status)
            status = put_bytes(out, headers[i].value, false);
    }
    return status;
}

static beck_status put_batch(struct buf *out, beck_bytes record, int64_t now_ms)
{
    uint8_t room[BATCH_HEADER] = {0};
    beck_status status = buf_append(out, room, sizeof room);
    if (!status)
        status = put_bytes(out, record, false);
    if (status)
        return status;
    struct batch_header h = {.length = (int32_t)(out->len - BATCH_LENGTH_PREFIX),
                             .base_timestamp_ms = now_ms,
                             .max_timestamp_ms = now_ms,
                             .producer_id = -1,
                             .producer_epoch = -1,
                             .base_sequence = -1,
                             .count = 1};
    batch_header_write(out->data, &h);
    batch_seal(out->data, out->len);
    return BECK_OK;
}

static const char *message_of(const char *reason)
{
    return strcmp(reason, "rejected") == 0  ? "Offset rejected by client."
           : strcmp(reason, "expired") == 0 ? "Time to live of the record is over."
           : strcmp(reason, "maxlen") == 0  ? "Queue of the group is full."
                                            : "Offset delivery count exceeded the threshold.";
}

static beck_status compose(const struct share_queue *sq, const beck_event *e, const char *reason,
                           uint32_t attempts, struct buf *out)
{
    char partition[12], offset[24], count[12];
    bool copies = atomic_load(&sq->dead_copies);
    snprintf(partition, sizeof partition, "%u", e->position.partition);
    snprintf(offset, sizeof offset, "%lld", (long long)e->position.offset);
    snprintf(count, sizeof count, "%u", attempts);
    const struct header headers[HEADERS] = {{"__dlq.errors.topic", e->bus},
                                            {"__dlq.errors.partition", beck_str(partition)},
                                            {"__dlq.errors.offset", beck_str(offset)},
                                            {"__dlq.errors.group", sq->group},
                                            {"__dlq.errors.delivery.count", beck_str(count)},
                                            {"__dlq.errors.message", beck_str(message_of(reason))}};
    struct buf record;
    buf_init(&record, INT32_MAX / 2);
    beck_status status = put_record(&record, copies ? e->subject : (beck_bytes){0},
                                    copies ? e->data : (beck_bytes){0}, headers);
    if (!status)
        status =
            put_batch(out, buf_bytes(&record), clock_wall_ms(sq->shares->k->engine->env.clock));
    buf_release(&record);
    return status;
}

static beck_status write_letter(struct share_queue *sq, struct topic *t, const beck_event *e,
                                const char *reason, uint32_t attempts, beck_error *err)
{
    if (!t || topic_is_gone(t))
        return error_set(err, BECK_ENOENT, "the dead-letter topic of the group is gone");
    struct buf batch;
    buf_init(&batch, INT32_MAX / 2);
    beck_status status = compose(sq, e, reason, attempts, &batch);
    if (status)
        error_set(err, status, "no memory for a dead letter");
    struct produce p = {.batch = batch.data,
                        .size = batch.len,
                        .level = BECK_LEVEL_WRITTEN,
                        .append_time = atomic_load(&t->append_time)};
    if (!status)
        status = bus_produce(t->bus, e->position.partition % topic_partitions(t), &p, err);
    buf_release(&batch);
    return status;
}

/* ---- burying ---- */

#define RETRY_NS 500000000LL

/* Its job is to come, unless its last reference is gone. */
static void poke(struct share_queue *sq)
{
    if (atomic_exchange(&sq->dead_poked, true))
        return;
    uint32_t refs = atomic_load(&sq->refs);
    while (refs > 0 && !atomic_compare_exchange_weak(&sq->refs, &refs, refs + 1))
        continue;
    if (refs > 0)
        pool_push(&sq->shares->undertaker, &sq->job);
}

static void retry(struct timer *t)
{
    struct share_queue *sq =
        (struct share_queue *)(void *)((char *)t - offsetof(struct share_queue, dead_timer));
    atomic_store(&sq->dead_timed, false);
    poke(sq);
}

static void retry_later(struct share_queue *sq)
{
    if (!atomic_exchange(&sq->dead_timed, true))
        timers_set(&sq->shares->k->timers, &sq->dead_timer,
                   clock_mono_ns(clock_system()) + RETRY_NS);
}

#define GENERATION (UINT64_C(1) << 32)

/* Of a round, or a note. */
static uint64_t generation_of(uint64_t round)
{
    return round / GENERATION;
}

/* The topic, and the round that is written now. False: it is changing. */
static bool read_place(struct share_queue *sq, struct topic **t, uint64_t *round)
{
    *round = atomic_load(&sq->dead_round);
    *t = atomic_load(&sq->dead_topic);
    return generation_of(*round) % 2 == 0 &&
           generation_of(*round) == generation_of(atomic_load(&sq->dead_round));
}

/* It waits, and others do not wait for it. */
static beck_status not_written(struct share_queue *sq, const beck_error *why, uint64_t *note,
                               beck_error *err)
{
    if (!atomic_exchange(&sq->dead_told, true))
        env_report(&sq->shares->k->engine->env, why->code,
                   "dead letters of share group \"%.*s\" cannot be written now (%s); they wait",
                   (int)sq->group.len, (const char *)sq->group.data, why->text);
    *note = 1; /* of no generation */
    atomic_store(&sq->dead_failed, true);
    atomic_store(&sq->dead_waits, true);
    retry_later(sq);
    return error_set(err, BECK_ELIMIT, "its dead letter cannot be written now");
}

static struct partition *place_of(const struct topic *t, const beck_event *e)
{
    return topic_partition(t, (int32_t)(e->position.partition % topic_partitions(t)));
}

/* What was written there and not synced then is not to be had. */
static bool is_lost(struct partition *p)
{
    struct partition_counts counts = {0};
    if (p)
        partition_counts(p, &counts);
    return counts.poisoned;
}

static beck_status bury(void *ctx, struct queue *q, const beck_event *e, const struct carried *c,
                        const char *reason, uint32_t attempts, uint64_t *note, beck_error *err)
{
    struct share_queue *sq = ctx;
    struct topic *t;
    uint64_t synced = atomic_load(&sq->dead_synced), round;
    beck_error why = {0};
    (void)q;
    (void)c;
    if (!read_place(sq, &t, &round)) {
        *note = 1; /* of no generation */
    } else if (generation_of(*note) != generation_of(round)) {
        beck_status status = write_letter(sq, t, e, reason, attempts, &why);
        if (status)
            return not_written(sq, &why, note, err);
        uint64_t now = atomic_load(&sq->dead_round); /* read after it was written */
        *note = generation_of(now) == generation_of(round) ? now + 1 : 1;
    } else if (*note <= synced) {
        if (!t || !is_lost(place_of(t, e)))
            return BECK_OK;
        error_set(&why, BECK_EPOISONED, "a partition of their topic could not be synced");
        return not_written(sq, &why, note, err);
    }
    atomic_store(&sq->dead_waits, true);
    poke(sq);
    return error_set(err, BECK_EBUSY, "its dead letter is not synced yet");
}

/* Who finds it changing leaves it to whoever changes it. */
static void set_place(struct share_queue *sq, struct topic *t)
{
    uint64_t round = atomic_load(&sq->dead_round);
    do {
        if (generation_of(round) % 2 || t == atomic_load(&sq->dead_topic))
            return;
    } while (!atomic_compare_exchange_strong(&sq->dead_round, &round, round + GENERATION));
    const struct topic *before = atomic_exchange(&sq->dead_topic, t);
    if (t && !before)
        queue_set_bury(sq->queue, bury, sq);
    else if (!t && before)
        queue_set_bury(sq->queue, NULL, NULL);
    atomic_fetch_add(&sq->dead_round, GENERATION);
}

/* Every partition of the topic that has something to be synced; who asks for one that is lost finds it so. */
static bool sync_topic(struct shares *s, const struct topic *t)
{
    struct committer *c = s->k->engine->env.committer;
    bool good = true;
    if (kafka_level(s->k, -1) != BECK_LEVEL_SYNCED || committer_by_interval(c))
        return true;
    for (uint32_t i = 0; i < topic_partitions(t); i++) {
        struct partition *p = topic_partition(t, (int32_t)i);
        int64_t end = p ? partition_high(p) : 0;
        if (p && partition_synced(p) < end)
            committer_sync(c, p);
        good &= !p || partition_synced(p) >= end || is_lost(p);
    }
    return good;
}

/* False: not now. */
static bool bury_round(struct share_queue *sq)
{
    struct topic *t;
    uint64_t round;
    do {
        if (!read_place(sq, &t, &round) || !t)
            return false;
    } while (!atomic_compare_exchange_strong(&sq->dead_round, &round, round + 1));
    if (!sync_topic(sq->shares, t))
        return false;
    atomic_store(&sq->dead_synced, round + 1);
    atomic_store(&sq->dead_waits, false);
    atomic_store(&sq->dead_failed, false);
    if (queue_bury_again(sq->queue) && !atomic_load(&sq->dead_failed)) {
        atomic_store(&sq->dead_told, false);
        return true;
    }
    atomic_store(&sq->dead_waits, true);
    return false;
}

static struct share_queue *of_job(struct job *j)
{
    return (struct share_queue *)(void *)((char *)j - offsetof(struct share_queue, job));
}

static void work(struct job *j)
{
    struct share_queue *sq = of_job(j);
    atomic_store(&sq->dead_poked, false);
    if (!bury_round(sq) && atomic_load(&sq->dead_waits) && atomic_load(&sq->dead_topic))
        retry_later(sq);
    share_queue_release(sq);
}

void share_dead_init(struct share_queue *sq)
{
    sq->job.run = work;
    sq->dead_timer.due = retry;
    atomic_store(&sq->dead_round, 2 * GENERATION);
}

void share_dead_configure(struct share_queue *sq)
{
    struct kafka *k = sq->shares->k;
    char name[NAME_MAX_BYTES];
    configs_text(k, CONFIG_GROUP, sq->group, "errors.deadletterqueue.topic.name", name,
                 sizeof name);
    struct topic *t = *name ? topics_find(k, beck_str(name)) : NULL;
    if (t && !configs_number(k, CONFIG_TOPIC, t->name, "errors.deadletterqueue.group.enable"))
        t = NULL;
    if (t)
        atomic_store(&sq->dead_copies, configs_number(k, CONFIG_GROUP, sq->group,
                                                      "errors.deadletterqueue.copy.record.enable"));
    set_place(sq, t);
    if (t && atomic_load(&sq->dead_waits))
        poke(sq); /* something failed, or the topic has changed */
}

static void finish(struct job *j)
{
    struct share_queue *sq = of_job(j);
    while (atomic_load(&sq->dead_waits) && bury_round(sq))
        continue;
    if (!atomic_load(&sq->gone))
        queue_hold(sq->queue, true); /* it goes on after the next start */
    set_place(sq, NULL);
    share_queue_free(sq);
}

bool share_dead_end(struct share_queue *sq)
{
    if (!atomic_load(&sq->dead_topic))
        return false;
    sq->job.run = finish;
    pool_push(&sq->shares->undertaker, &sq->job);
    return true;
}
