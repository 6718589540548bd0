/* The view of topics, for those who look: see topics.h. Changing them is in topic_changes.c. */
#include "kafka/kafka_impl.h"
#include "kafka/topics_impl.h"

#include "base/rng.h"
#include "bus/own_bus.h"

#include <stdlib.h>

#define BUCKETS_MIN 64

/* ---- the tables ---- */

static size_t bucket_of_name(const struct topics *t, beck_bytes name)
{
    return bytes_hash(name.data, name.len, t->seed) & (t->buckets - 1);
}

/* Ids are random. */
static size_t bucket_of_id(const struct topics *t, const uint8_t *id)
{
    return get_u64(id) & (t->buckets - 1);
}

static void link_topic(struct topics *t, struct topic *topic)
{
    struct topic **name = &t->by_name[bucket_of_name(t, topic->name)];
    struct topic **id = &t->by_id[bucket_of_id(t, topic->id)];
    topic->next_by_name = *name;
    *name = topic;
    topic->next_by_id = *id;
    *id = topic;
}

static void unlink_topic(struct topics *t, struct topic *topic)
{
    struct topic **name = &t->by_name[bucket_of_name(t, topic->name)];
    while (*name != topic)
        name = &(*name)->next_by_name;
    *name = topic->next_by_name;
    struct topic **id = &t->by_id[bucket_of_id(t, topic->id)];
    while (*id != topic)
        id = &(*id)->next_by_id;
    *id = topic->next_by_id;
}

static bool grow_tables(struct topics *t, size_t buckets)
{
    struct topic **by_name = calloc(buckets, sizeof(struct topic *));
    struct topic **by_id = calloc(buckets, sizeof(struct topic *));
    if (!by_name || !by_id) {
        free(by_name);
        free(by_id);
        return false;
    }
    free(t->by_name);
    free(t->by_id);
    t->by_name = by_name;
    t->by_id = by_id;
    t->buckets = buckets;
    for (struct topic *topic = t->all; topic; topic = topic->next)
        if (!topic_is_gone(topic))
            link_topic(t, topic);
    return true;
}

/* ---- what the handle tells ---- */

static bool is_internal(const beck_bus *bus)
{
    return strcmp(bus->name, OWN_CONSUMER_OFFSETS) == 0 ||
           strcmp(bus->name, OWN_TRANSACTION_STATE) == 0;
}

static bool is_topic(const beck_bus *bus)
{
    return bus->options.storage == BECK_STORAGE_DISK && (!bus->internal || is_internal(bus));
}

static struct topic *find(const struct topics *t, beck_bytes name)
{
    struct topic *topic = t->by_name[bucket_of_name(t, name)];
    while (topic && !bytes_equal(topic->name, name))
        topic = topic->next_by_name;
    return topic;
}

static void tell(struct topics *t, struct topic *topic, enum topic_change what)
{
    atomic_fetch_add(&t->generation, 1);
    for (struct topics_watch *w = t->watches; w; w = w->next)
        w->changed(w->ctx, topic, what);
}

static void made(struct topics *t, beck_bus *bus)
{
    struct topic *topic = calloc(1, sizeof *topic);
    if (topic) {
        topic->bus = bus;
        topic->name = beck_str(bus->name);
        topic->internal = is_internal(bus);
        memcpy(topic->id, bus_id(bus), TOPIC_ID);
        atomic_init(&topic->partitions, bus->partition_count);
        configs_apply_rules(t->k, topic);
        pthread_rwlock_wrlock(&t->lock);
        if (t->count >= t->buckets)
            grow_tables(t, 2 * t->buckets); /* or the chains are longer */
        topic->next = t->all;
        t->all = topic;
        t->count++;
        link_topic(t, topic);
        pthread_rwlock_unlock(&t->lock);
        tell(t, topic, TOPIC_MADE);
    } else {
        env_report(&t->k->engine->env, BECK_ENOMEM,
                   "bus \"%s\" is no topic until the next start: memory is short", bus->name);
    }
}

static void altered(struct topics *t, struct topic *topic)
{
    uint32_t before = topic_partitions(topic), now = topic->bus->partition_count;
    configs_apply_rules(t->k, topic);
    atomic_store_explicit(&topic->partitions, now, memory_order_release);
    if (now != before)
        tell(t, topic, TOPIC_GROWN);
}

static void deleted(struct topics *t, struct topic *topic)
{
    pthread_rwlock_wrlock(&t->lock);
    atomic_store(&topic->gone, true);
    unlink_topic(t, topic);
    t->count--;
    pthread_rwlock_unlock(&t->lock);
    tell(t, topic, TOPIC_DELETED);
}

static void bus_changed(void *ctx, beck_bus *bus, enum bus_change what)
{
    struct topics *t = ctx;
    if (!is_topic(bus))
        return;
    if (what == BUS_MADE) {
        made(t, bus);
        return;
    }
    struct topic *topic = topics_find(t->k, beck_str(bus->name));
    if (topic && what == BUS_ALTERED)
        altered(t, topic);
    else if (topic)
        deleted(t, topic);
}

/* ---- opening ---- */

beck_status topics_open(struct kafka *k, beck_error *err)
{
    struct rng rng;
    struct topics *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, BECK_ENOMEM, "no memory for topics");
    rng_seed_system(&rng);
    t->k = k;
    t->seed = rng_next(&rng);
    if (!grow_tables(t, BUCKETS_MIN)) {
        free(t);
        return error_set(err, BECK_ENOMEM, "no memory for topics");
    }
    mutex_init(&t->change_lock);
    pthread_rwlock_init(&t->lock, NULL);
    k->topics = t;
    t->buses = (struct bus_watch){.changed = bus_changed, .ctx = t};
    handle_watch_buses(k->engine, &t->buses);
    return BECK_OK;
}

void topics_close(struct kafka *k)
{
    struct topics *t = k->topics;
    if (!t)
        return;
    handle_unwatch_buses(k->engine, &t->buses);
    while (t->all) {
        struct topic *topic = t->all;
        t->all = topic->next;
        free(topic);
    }
    pthread_rwlock_destroy(&t->lock);
    mutex_release(&t->change_lock);
    free(t->by_name);
    free(t->by_id);
    free(t);
    k->topics = NULL;
}

/* ---- looking ---- */

struct partition *topic_partition(const struct topic *t, int32_t number)
{
    if (number < 0 || (uint32_t)number >= topic_partitions(t))
        return NULL;
    return bus_partition(t->bus, number);
}

struct topic *topics_find(struct kafka *k, beck_bytes name)
{
    struct topics *t = k->topics;
    pthread_rwlock_rdlock(&t->lock);
    struct topic *topic = find(t, name);
    pthread_rwlock_unlock(&t->lock);
    return topic;
}

struct topic *topics_find_id(struct kafka *k, const uint8_t id[TOPIC_ID])
{
    struct topics *t = k->topics;
    pthread_rwlock_rdlock(&t->lock);
    struct topic *topic = t->by_id[bucket_of_id(t, id)];
    while (topic && memcmp(topic->id, id, TOPIC_ID) != 0)
        topic = topic->next_by_id;
    pthread_rwlock_unlock(&t->lock);
    return topic;
}

static int by_name(const void *a, const void *b)
{
    const struct topic *const *x = a, *const *y = b;
    return bytes_compare((*x)->name, (*y)->name);
}

beck_status topics_list(struct kafka *k, struct topic ***out, size_t *count, beck_error *err)
{
    struct topics *t = k->topics;
    size_t n = 0;
    pthread_rwlock_rdlock(&t->lock);
    struct topic **list = malloc((t->count + 1) * sizeof(struct topic *));
    for (size_t i = 0; list && i < t->buckets; i++)
        for (struct topic *topic = t->by_name[i]; topic; topic = topic->next_by_name)
            list[n++] = topic;
    pthread_rwlock_unlock(&t->lock);
    if (!list)
        return error_set(err, BECK_ENOMEM, "no memory for the list of topics");
    qsort(list, n, sizeof(struct topic *), by_name);
    *out = list;
    *count = n;
    return BECK_OK;
}

uint64_t topics_generation(struct kafka *k)
{
    return atomic_load(&k->topics->generation);
}

void topics_watch(struct kafka *k, struct topics_watch *w)
{
    struct topics *t = k->topics;
    mutex_lock(&k->engine->admin_lock);
    w->next = t->watches;
    t->watches = w;
    mutex_unlock(&k->engine->admin_lock);
}

void topics_unwatch(struct kafka *k)
{
    if (!k->topics)
        return;
    mutex_lock(&k->engine->admin_lock);
    k->topics->watches = NULL;
    mutex_unlock(&k->engine->admin_lock);
}

/* ---- changes ---- */

void topics_lock_changes(struct kafka *k)
{
    mutex_lock(&k->topics->change_lock);
}

void topics_unlock_changes(struct kafka *k)
{
    mutex_unlock(&k->topics->change_lock);
}
