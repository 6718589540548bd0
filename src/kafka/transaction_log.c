/*
 * The log of transactions: the bus `__transaction_state`, one partition, compacted by key, with the
 * records that Kafka keeps in its topic of that name (kafka/message/transaction_records.h). Made when
 * the first record is written. Records of one id are written by whoever has it busy, so they are in
 * order.
 */
#include "base/error.h"
#include "bus/own_bus.h"
#include "kafka/message/transaction_records.h"
#include "kafka/transactions_impl.h"
#include "log/cursor.h"

#include <stdlib.h>

#define SEGMENT_BYTES (16 << 20)
#define RECORD_MAX (16u << 20)
#define KEY_VERSION 0
#define VALUE_VERSION 1

/* ---- writing ---- */

static beck_status find_bus(struct transactions *ts, beck_bus **out, beck_error *err)
{
    beck_bus_options o = {
        .segment_bytes = SEGMENT_BYTES, .event_bytes_max = RECORD_MAX, .level = BECK_LEVEL_SYNCED};
    *out = atomic_load(&ts->bus);
    if (*out)
        return BECK_OK;
    beck_status status = handle_own_bus(ts->k->engine, OWN_TRANSACTION_STATE, &o, out, err);
    if (!status)
        atomic_store(&ts->bus, *out);
    return status;
}

static beck_status encode(const struct kafka_table *t, int16_t version, const void *message,
                          struct buf *out)
{
    uint8_t head[2];
    put_u16(head, (uint16_t)version);
    beck_status status = buf_append(out, head, sizeof head);
    return status ? status : kafka_encode_bytes(t, version, message, out);
}

/* One element for each topic; those of a topic need not be neighbours. */
static bool group_partitions(const struct transaction *t, struct kafka_arena *a,
                             struct kafka_transaction_log_value *v)
{
    if (!kafka_array(a, &v->transaction_partitions, t->partition_count))
        return false;
    v->transaction_partitions.count = 0;
    for (size_t i = 0; i < t->partition_count; i++) {
        const struct transaction_partition *p = &t->partitions[i];
        struct kafka_transaction_log_value_transaction_partition *topic = NULL;
        for (size_t n = 0; n < v->transaction_partitions.count && !topic; n++)
            if (bytes_equal(v->transaction_partitions.at[n].topic, p->topic))
                topic = &v->transaction_partitions.at[n];
        if (!topic) {
            topic = &v->transaction_partitions.at[v->transaction_partitions.count++];
            topic->topic = p->topic;
            if (!kafka_array(a, &topic->partition_ids, t->partition_count - i))
                return false;
            topic->partition_ids.count = 0;
        }
        topic->partition_ids.at[topic->partition_ids.count++] = p->number;
    }
    return true;
}

static beck_status encode_value(const struct transaction *t, struct buf *out)
{
    struct kafka_transaction_log_value v;
    struct kafka_arena a;
    kafka_transaction_log_value_init(&v);
    kafka_arena_init(&a, RECORD_MAX);
    v.producer_id = t->producer_id;
    v.producer_epoch = t->epoch;
    v.transaction_timeout_ms = t->timeout_ms;
    v.transaction_status = (int8_t)t->state;
    v.transaction_last_update_timestamp_ms = t->updated_ms;
    v.transaction_start_timestamp_ms = t->started_ms;
    v.previous_producer_id = t->previous_id;
    v.next_producer_id = t->next_id;
    v.client_transaction_version = t->version;
    v.transaction_partitions.is_null = true;
    bool ok = t->partition_count == 0 || group_partitions(t, &a, &v);
    beck_status status =
        ok ? encode(kafka_transaction_log_value_table(), VALUE_VERSION, &v, out) : BECK_ENOMEM;
    kafka_arena_release(&a);
    return status;
}

static beck_status append(beck_bus *bus, beck_bytes key, beck_bytes value, beck_level level,
                          beck_error *err)
{
    beck_event e = {.type = beck_str(OWN_TRANSACTION_STATE), .subject = key, .data = value};
    const beck_event *list[] = {&e};
    beck_status status;
    do {
        struct append a = {
            .events = list, .count = 1, .generation = atomic_load(&bus->topology), .level = level};
        status = partition_append(bus_partition(bus, 0), &a, err);
    } while (status == PARTITION_STALE);
    return status;
}

/* t NULL: the id is gone. */
static beck_status put(struct transactions *ts, beck_bytes id, const struct transaction *t,
                       beck_level level, beck_error *err)
{
    struct kafka_transaction_log_key k = {.transactional_id = id};
    struct buf key, value;
    beck_bus *bus;
    if (!ts->k->engine->data_dir)
        return BECK_OK;
    buf_init(&key, RECORD_MAX);
    buf_init(&value, RECORD_MAX);
    beck_status status = encode(kafka_transaction_log_key_table(), KEY_VERSION, &k, &key);
    if (!status && t)
        status = encode_value(t, &value);
    if (status)
        error_set(err, status, "a transaction cannot be recorded: memory is short");
    if (!status)
        status = find_bus(ts, &bus, err);
    if (!status)
        status = append(bus, buf_bytes(&key), t ? buf_bytes(&value) : (beck_bytes){0}, level, err);
    buf_release(&key);
    buf_release(&value);
    return status;
}

beck_status transaction_log_put(struct transactions *ts, const struct transaction *t,
                                beck_level level, beck_error *err)
{
    return put(ts, t->id, t, level, err);
}

beck_status transaction_log_remove(struct transactions *ts, beck_bytes id, beck_error *err)
{
    return put(ts, id, NULL, BECK_LEVEL_WRITTEN, err);
}

/* ---- reading ---- */

static bool decode(const struct kafka_table *t, int16_t version_max, beck_bytes in,
                   struct kafka_arena *a, void *out)
{
    if (in.len < 2 || get_u16(in.data) > version_max)
        return false;
    return kafka_decode(t, (int16_t)get_u16(in.data),
                        bytes_of((const uint8_t *)in.data + 2, in.len - 2), a, out, NULL,
                        NULL) == BECK_OK;
}

/* Ids of all states that are neither prepared nor Ongoing have no partitions. */
static bool take_in(struct transaction *t, const struct kafka_transaction_log_value *v)
{
    t->producer_id = v->producer_id;
    t->epoch = v->producer_epoch;
    t->previous_id = v->previous_producer_id;
    t->next_id = v->next_producer_id;
    t->timeout_ms = v->transaction_timeout_ms;
    t->state = (enum transaction_state)v->transaction_status;
    t->updated_ms = v->transaction_last_update_timestamp_ms;
    t->started_ms = v->transaction_start_timestamp_ms;
    t->version = v->client_transaction_version;
    transaction_forget_partitions(t);
    for (size_t i = 0; i < v->transaction_partitions.count; i++) {
        const struct kafka_transaction_log_value_transaction_partition *topic =
            &v->transaction_partitions.at[i];
        for (size_t n = 0; n < topic->partition_ids.count; n++)
            if (!transaction_put(t, topic->topic, topic->partition_ids.at[n]))
                return false;
    }
    return true;
}

/* False: it cannot be read. */
static bool load_record(struct transactions *ts, const struct record_view *view,
                        struct kafka_arena *a)
{
    struct kafka_transaction_log_key key;
    struct kafka_transaction_log_value v;
    if (!decode(kafka_transaction_log_key_table(), KEY_VERSION, view->key, a, &key))
        return false;
    struct transaction *t = transaction_find(ts, key.transactional_id);
    if (view->value_is_null) {
        if (t)
            transaction_drop(ts, t);
        return true;
    }
    if (!decode(kafka_transaction_log_value_table(), VALUE_VERSION, view->event.data, a, &v) ||
        v.transaction_status < TRANSACTION_EMPTY ||
        v.transaction_status > TRANSACTION_COMPLETE_ABORT)
        return false;
    if (!t)
        t = transaction_make(ts, key.transactional_id);
    return t && take_in(t, &v);
}

beck_status transaction_log_load(struct transactions *ts, beck_error *err)
{
    struct cursor *cursor;
    const struct record_view *view;
    uint32_t passed_over = 0;
    mutex_lock(&ts->k->engine->admin_lock);
    beck_bus *bus = handle_find_bus(ts->k->engine, OWN_TRANSACTION_STATE);
    mutex_unlock(&ts->k->engine->admin_lock);
    if (!bus)
        return BECK_OK;
    atomic_store(&ts->bus, bus);
    struct partition *p = bus_partition(bus, 0);
    beck_status status = cursor_open(p, &cursor, err);
    if (status)
        return status;
    for (int64_t at = partition_first(p);;) {
        status = cursor_read(cursor, at, false, &view, NULL, err);
        if (status)
            break;
        struct kafka_arena a;
        kafka_arena_init(&a, RECORD_MAX);
        mutex_lock(&ts->lock);
        passed_over += !load_record(ts, view, &a);
        mutex_unlock(&ts->lock);
        kafka_arena_release(&a);
        at = view->offset + 1;
    }
    cursor_close(cursor);
    if (passed_over)
        env_report(ts->env, BECK_ECORRUPT,
                   "%u records of " OWN_TRANSACTION_STATE " cannot be read, and are passed over",
                   passed_over);
    return status == BECK_END ? BECK_OK : status;
}
