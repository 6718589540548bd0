/*
 * Topics: the buses on disk that users may see. `__consumer_offsets` and `__transaction_state` are
 * shown as internal ones once they are there.
 *
 * What is looked up while requests are answered is a view of its own, kept up to date by the handle
 * whoever makes, alters or deletes a bus, and guarded by topics.lock, a leaf that is held for
 * moments. A struct topic lives until kafka_close, also when its bus is deleted (as buses do); then
 * it is gone, and a bus made again under its name is another topic with another id.
 *
 * kafka.change_lock is held over each change that a Kafka client makes to topics and configurations;
 * it comes before all locks of the handle and of the broker.
 */
#ifndef BECK_KAFKA_TOPICS_H
#define BECK_KAFKA_TOPICS_H

#include "kafka/configs.h"

#define TOPIC_NAME_MAX 249
#define TOPIC_ID 16

struct topics;

struct topic {
    beck_bus *bus;
    beck_bytes name;
    uint8_t id[TOPIC_ID];
    bool internal;
    _Atomic(bool) gone;
    _Atomic(uint32_t) partitions;
    /* What producing needs of its configuration. */
    _Atomic(bool) compact, append_time, flush; /* flush: each append is synced before its answer */
    _Atomic(int) codec;                        /* that its batches are to have; -1: as they come */
    _Atomic(uint32_t) batch_bytes_max;
    _Atomic(int64_t) before_max_ms, after_max_ms;   /* how far a record's time may be from now */
    struct topic *next_by_name, *next_by_id, *next; /* the view's */
};

static inline bool topic_is_gone(const struct topic *t)
{
    return atomic_load_explicit(&t->gone, memory_order_acquire);
}
static inline uint32_t topic_partitions(const struct topic *t)
{
    return atomic_load_explicit(&t->partitions, memory_order_acquire);
}
/* NULL: it has none of that number. Valid as long as the topic; once that is gone, calls on it say
 * BECK_ECLOSED. */
struct partition *topic_partition(const struct topic *t, int32_t number);

/* ---- looking: any thread, never blocks ---- */

struct topic *topics_find(struct kafka *k, beck_bytes name);
struct topic *topics_find_id(struct kafka *k, const uint8_t id[TOPIC_ID]);
/* In order of name; free(). */
beck_status topics_list(struct kafka *k, struct topic ***out, size_t *count, beck_error *err);
uint64_t topics_generation(struct kafka *k); /* moves with every topic made, grown or deleted */

enum topic_change { TOPIC_MADE, TOPIC_GROWN, TOPIC_DELETED };
/* Belongs to whoever added it. */
struct topics_watch {
    /* It is so now. Called with locks of the handle held: takes a note, may look topics up. */
    void (*changed)(void *ctx, struct topic *t, enum topic_change what);
    /* A client of Kafka deletes the topic: whoever has queues bound to it lets go of it, else it
     * cannot be deleted. With change_lock; may block. NULL: not wanted. */
    void (*deleting)(void *ctx, struct topic *t);
    void *ctx;
    struct topics_watch *next;
};
/* While kafka_open runs; until kafka_close. */
void topics_watch(struct kafka *k, struct topics_watch *w);

/* NULL: it is a topic's name. Else what is wrong with it (INVALID_TOPIC_EXCEPTION), in `text`. */
const char *topic_name_refuse(beck_bytes name, char *text);

/* ---- changing: (slow), an error code and a text (KAFKA_TEXT bytes) about it ---- */

struct topic_new {
    beck_bytes name;
    int32_t partitions;         /* -1: num.partitions */
    int16_t replication_factor; /* -1: the default */
    const struct config_change *configs;
    size_t config_count;
    /* Brokers of each partition, as the client wants them. */
    const struct topic_assignment {
        int32_t partition;
        const int32_t *brokers;
        size_t broker_count;
    } * assignments;
    size_t assignment_count;
    bool validate_only;
};
struct topic_made {
    struct topic *topic; /* NULL: only validated */
    uint32_t partitions;
    config_each_fn config; /* in: told of its configuration; NULL: not wanted */
    void *config_ctx;
};
int topics_create(struct kafka *k, const struct topic_new *what, struct topic_made *out,
                  char *text);
/* As a client's request for it would: by the settings. TOPIC_ALREADY_EXISTS is success. */
int topics_auto_create(struct kafka *k, beck_bytes name, char *text);
int topics_delete(struct kafka *k, struct topic *t, char *text);
/* count: of all partitions from now on. assignments: of the new ones; NULL: none given. */
int topics_grow(struct kafka *k, struct topic *t, int32_t count,
                const struct topic_assignment *assignments, size_t assignment_count,
                bool validate_only, char *text);
/* Everything below `offset` (-1: the high watermark) goes; *low is the first that is left. */
int topics_delete_records(struct topic *t, int32_t partition, int64_t offset, int64_t *low,
                          char *text);

/* The code for an error of the engine. */
int kafka_error_of(beck_status status);

beck_status topics_open(struct kafka *k, beck_error *err);
/* Nobody watches any more; when closing, before those who do are closed. */
void topics_unwatch(struct kafka *k);
void topics_close(struct kafka *k);
void topics_lock_changes(struct kafka *k);
void topics_unlock_changes(struct kafka *k);

#endif
