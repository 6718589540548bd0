/*
 * What is published to the bus of an exchange while there is no broker, by a program or the command line that has
 * the directory open without a server, goes to the queues that the bindings lead to when a broker opens: as copies
 * (past.c).
 *
 * Which these are. While an exchange leads anywhere, whatever is stored in its bus says in its record that it was
 * routed: by what it carries (AMQP), or by its list of queues, which is there also when it is empty (route_published).
 * So what says nothing was published without a broker, or before the exchange led anywhere. A record `seen` of the
 * exchange tells these two apart: it is written before the exchange leads anywhere, and says where the bus ended; after an older broker, where that left it.
 * From time to time it is moved up, never beyond what is synced, so that little has to be read when the broker opens;
 * how it ended makes no difference.
 *
 * Once. A copy has an extension that says what it is a copy of, and before a bus gets the first one, a record
 * `given` says where that bus ended. They go with the write that moves `seen`. So after a crash in between, what a queue or a
 * stream has is read from its copies.
 */
#include "broker/missed.h"

#include "broker/delivery.h"
#include "log/cursor.h"

#include <stdio.h>
#include <stdlib.h>

#define COPY_OF "beckcopyof"

/* ---- where buses end ---- */

static void seen_init(struct record *r, const struct exchange *x)
{
    beck_bytes parts[] = {x->vhost->name, x->name};
    record_init(r, RECORD_SEEN, parts, 2);
}

/* As it is kept; NULL: it led nowhere. */
static const struct kept *find_seen(const struct exchange *x)
{
    struct broker *b = x->vhost->broker;
    struct record r;
    seen_init(&r, x);
    topology_read(b);
    const struct kept *k = kept_find(&b->kept, bytes_of(r.subject, r.subject_len));
    topology_end_read(b);
    record_release(&r);
    return k;
}

bool missed_is_seen(const struct exchange *x)
{
    return find_seen(x) != NULL;
}

/* What is kept of a partition of this bus, or of one of its name that is gone: 0. */
static int64_t end_of(const struct kept *k, const beck_bus *bus, uint32_t partition)
{
    beck_bytes ends = k ? kept_text(k, "ends") : (beck_bytes){0}, id = {0};
    if (k)
        id = kept_text(k, "id");
    const uint8_t *at = ends.data;
    bool known = bytes_equal(id, bytes_of(bus_id(bus), 16)) && partition < ends.len / 8;
    return known ? (int64_t)get_u64(at + 8 * (size_t)partition) : 0;
}

typedef beck_status (*end_fn)(void *ctx, struct partition *p, int64_t known, int64_t *end,
                              beck_error *err);

/* The record of an exchange, by where `fn` says that the partitions of its bus (NULL: it has none yet) end. The
 * record is the caller's, also after an error. */
static beck_status describe(struct record *r, const struct exchange *x, const struct kept *k,
                            const beck_bus *bus, end_fn fn, void *ctx, beck_error *err)
{
    beck_status status = BECK_OK;
    uint32_t count = bus ? atomic_load_explicit(&((beck_bus *)(uintptr_t)bus)->partition_count,
                                                memory_order_acquire)
                         : 0;
    struct buf ends;
    buf_init(&ends, RECORD_DATA_MAX);
    seen_init(r, x);
    record_text(r, "vhost", x->vhost->name);
    record_text(r, "exchange", x->name);
    for (uint32_t i = 0; i < count && !status; i++) {
        uint8_t text[8];
        int64_t end;
        struct partition *p = bus_partition(bus, i);
        /* What was known stands, until its end is known again. */
        if (k && partition_damage(p))
            end = end_of(k, bus, i);
        else
            status = fn(ctx, p, end_of(k, bus, i), &end, err);
        if (status)
            break;
        put_u64(text, (uint64_t)end);
        if (buf_append(&ends, text, sizeof text))
            status = error_set(err, BECK_ENOMEM, "no memory to write down where buses end");
    }
    if (bus)
        record_bytes(r, "id", bytes_of(bus_id(bus), 16));
    record_bytes(r, "ends", buf_bytes(&ends));
    buf_release(&ends);
    return status;
}

/* What is stored now was published before. */
static beck_status end_now(void *ctx, struct partition *p, int64_t known, int64_t *end,
                           beck_error *err)
{
    (void)ctx;
    (void)known;
    *end = partition_next(p);
    return partition_synced(p) < *end ? partition_sync(p, err) : BECK_OK;
}

/* Older brokers wrote a record of each bus when they closed, with nothing but the ends. NULL: there is none. */
static const struct kept *find_older(struct broker *b, const beck_bus *bus)
{
    struct record r;
    beck_bytes name = beck_str(bus->name);
    record_init(&r, RECORD_SEEN, &name, 1);
    topology_read(b);
    const struct kept *k = kept_find(&b->kept, bytes_of(r.subject, r.subject_len));
    topology_end_read(b);
    record_release(&r);
    return k;
}

static beck_status end_then(void *ctx, struct partition *p, int64_t known, int64_t *end,
                            beck_error *err)
{
    beck_bytes ends = kept_text(ctx, "ends");
    uint32_t number = partition_number(p);
    beck_status status = end_now(NULL, p, known, end, err);
    int64_t then = number < ends.len / 8
                       ? (int64_t)get_u64((const uint8_t *)ends.data + 8 * (size_t)number)
                       : 0;
    if (then < *end)
        *end = then;
    return status;
}

beck_status missed_begin(struct exchange *x, const beck_bus *bus, beck_error *err)
{
    struct broker *b = x->vhost->broker;
    struct record r;
    if (!b->handle->data_dir)
        return BECK_OK;
    const struct kept *older = bus ? find_older(b, bus) : NULL;
    beck_status status =
        describe(&r, x, NULL, bus, older ? end_then : end_now, (void *)(uintptr_t)older, err);
    if (!status)
        status = broker_write_later(b, &r, err);
    if (!status)
        status = broker_note(b, &r, err);
    record_release(&r);
    return status;
}

/* The exchange of a record, and its bus on disk (NULL: none); NULL: it leads nowhere any more. */
static struct exchange *exchange_of(struct broker *b, const struct kept *k, beck_bus **bus)
{
    const struct vhost *v = topology_vhost(b, kept_text(k, "vhost"));
    struct exchange *x = v ? topology_exchange(v, kept_text(k, "exchange")) : NULL;
    *bus = x ? atomic_load(&x->bus) : NULL;
    if (*bus && ((*bus)->options.storage != BECK_STORAGE_DISK || atomic_load(&(*bus)->closed)))
        *bus = NULL;
    return x && x->leads ? x : NULL;
}

static const struct kept **list_of(struct broker *b, enum record_kind kind, size_t *count)
{
    topology_read(b);
    const struct kept **list = kept_list(&b->kept, kind, count);
    topology_end_read(b);
    return list;
}

static beck_status end_routed(void *ctx, struct partition *p, int64_t known, int64_t *end,
                              beck_error *err)
{
    int64_t visible = partition_visible(p), synced = partition_synced(p);
    int64_t sure = visible < synced ? visible : synced;
    (void)ctx;
    (void)err;
    *end = sure > known ? sure : known;
    return BECK_OK;
}

static beck_status note(struct broker *b, const struct kept *k, beck_error *err)
{
    beck_bus *bus;
    struct record r;
    const struct exchange *x = exchange_of(b, k, &bus);
    if (!x || !bus || x->stuck)
        return BECK_OK;
    beck_status status = describe(&r, x, k, bus, end_routed, NULL, err);
    if (!status && !bytes_equal(k->data, buf_bytes(&r.data))) {
        status = broker_write_later(b, &r, err);
        if (!status)
            status = broker_note(b, &r, err);
    }
    record_release(&r);
    return status;
}

bool missed_note(struct broker *b)
{
    size_t count;
    beck_error err;
    beck_status status = BECK_OK;
    const struct kept **list = list_of(b, RECORD_SEEN, &count);
    for (size_t i = 0; list && i < count && !status; i++)
        status = note(b, list[i], &err);
    free(list);
    if (status)
        env_report(&b->handle->env, err.code, "where the buses of exchanges end is not known: %s",
                   err.text);
    return count > 0;
}

/* ---- copies ---- */

/* Up to where a queue, or the stream whose bus it is, has copies from one partition. */
struct copied {
    const beck_bus *bus;
    uint64_t queue;
    char *source; /* owned: the bus and the partition, as in COPY_OF */
    size_t source_len;
    int64_t offset;
};

struct missed {
    struct broker *broker;
    beck_bus **targets; /* with a record `given` */
    size_t target_count, target_cap;
    struct copied *copied; /* before this opening */
    size_t copied_count, copied_cap;
    /* What is given now. */
    struct exchange *exchange;
    char source[ENGINE_NAME + 16];
    int64_t offset;
};

static beck_status no_memory(beck_error *err)
{
    return error_set(err, BECK_ENOMEM, "no memory to give what was published");
}

static beck_status add_target(struct missed *m, beck_bus *bus)
{
    if (m->target_count == m->target_cap) {
        size_t cap = m->target_cap ? m->target_cap * 2 : 16;
        beck_bus **grown = realloc(m->targets, cap * sizeof *grown);
        if (!grown)
            return BECK_ENOMEM;
        m->targets = grown;
        m->target_cap = cap;
    }
    m->targets[m->target_count++] = bus;
    return BECK_OK;
}

beck_status missed_begin_target(struct missed *m, beck_bus *bus, beck_error *err)
{
    struct record r;
    beck_bytes name = beck_str(bus->name);
    if (bus->options.storage != BECK_STORAGE_DISK)
        return BECK_OK;
    for (size_t i = 0; i < m->target_count; i++)
        if (m->targets[i] == bus)
            return BECK_OK;
    record_init(&r, RECORD_GIVEN, &name, 1);
    record_text(&r, "bus", name);
    record_number(&r, "from", partition_next(bus_partition(bus, 0)));
    beck_status status = broker_keep(m->broker, &r, err);
    record_release(&r);
    if (!status && add_target(m, bus))
        status = no_memory(err);
    return status;
}

static struct copied *find_copied(const struct missed *m, const beck_bus *bus, uint64_t queue,
                                  beck_bytes source)
{
    for (size_t i = 0; i < m->copied_count; i++) {
        struct copied *c = &m->copied[i];
        if (c->bus == bus && c->queue == queue &&
            bytes_equal(bytes_of(c->source, c->source_len), source))
            return c;
    }
    return NULL;
}

static beck_status note_copied(struct missed *m, const beck_bus *bus, uint64_t queue,
                               beck_bytes source, int64_t offset)
{
    struct copied *c = find_copied(m, bus, queue, source);
    if (!c && m->copied_count == m->copied_cap) {
        size_t cap = m->copied_cap ? m->copied_cap * 2 : 16;
        struct copied *grown = realloc(m->copied, cap * sizeof *grown);
        if (!grown)
            return BECK_ENOMEM;
        m->copied = grown;
        m->copied_cap = cap;
    }
    if (!c) {
        c = &m->copied[m->copied_count];
        *c = (struct copied){bus, queue, malloc(source.len + 1), source.len, -1};
        if (!c->source)
            return BECK_ENOMEM;
        memcpy(c->source, source.data, source.len);
        m->copied_count++;
    }
    if (offset > c->offset)
        c->offset = offset;
    return BECK_OK;
}

/* "<bus>/<partition>/<offset>" */
static bool read_source(beck_bytes text, beck_bytes *source, int64_t *offset)
{
    const char *at = text.data;
    size_t len = text.len;
    *offset = 0;
    while (len > 0 && at[len - 1] != '/')
        len--;
    for (size_t i = len; i < text.len; i++) {
        if (at[i] < '0' || at[i] > '9' || *offset > INT64_MAX / 10 - 1)
            return false;
        *offset = *offset * 10 + (at[i] - '0');
    }
    *source = bytes_of(at, len > 0 ? len - 1 : 0);
    return len > 1 && len < text.len;
}

static beck_status look_at_copy(struct missed *m, const beck_bus *bus, const struct record_view *v)
{
    beck_bytes source;
    int64_t offset;
    size_t i = 0;
    beck_status status = BECK_OK;
    while (i < v->event.extension_count && !bytes_equal_text(v->event.extensions[i].name, COPY_OF))
        i++;
    if (i == v->event.extension_count ||
        !read_source(v->event.extensions[i].value, &source, &offset))
        return BECK_OK;
    const uint8_t *numbers = v->carried.queues.data;
    if (v->carried.queues.len == 0)
        return note_copied(m, bus, 0, source, offset);
    for (size_t at = 0; at + 8 <= v->carried.queues.len && !status; at += 8)
        status = note_copied(m, bus, get_u64(numbers + at), source, offset);
    return status;
}

struct copies {
    struct missed *missed;
    beck_bus *bus;
};

static beck_status read_copy(void *ctx, const struct record_view *v, beck_error *err)
{
    const struct copies *c = ctx;
    return look_at_copy(c->missed, c->bus, v) ? no_memory(err) : BECK_OK;
}

static beck_status read_copies(struct missed *m, beck_bus *bus, int64_t from, beck_error *err)
{
    struct copies c = {m, bus};
    struct partition *p = bus_partition(bus, 0);
    return cursor_walk(p, from, partition_visible(p), read_copy, &c, err);
}

/* What an opening that did not come to its end has given. */
static beck_status read_targets(struct missed *m, beck_error *err)
{
    size_t count;
    beck_status status = BECK_OK;
    const struct kept **list = list_of(m->broker, RECORD_GIVEN, &count);
    if (!list)
        return no_memory(err);
    for (size_t i = 0; i < count && !status; i++) {
        char name[ENGINE_NAME];
        beck_bytes text = kept_text(list[i], "bus");
        snprintf(name, sizeof name, "%.*s", TEXT(text));
        mutex_lock(&m->broker->handle->admin_lock);
        beck_bus *bus = handle_find_bus(m->broker->handle, name);
        mutex_unlock(&m->broker->handle->admin_lock);
        if (!bus)
            continue;
        status = read_copies(m, bus, kept_number(list[i], "from"), err);
        if (!status && add_target(m, bus))
            status = no_memory(err);
    }
    free(list);
    return status;
}

/* ---- giving ---- */

static bool has_copy(const struct missed *m, const struct broker_queue *q)
{
    const beck_bus *bus = q->bus;
    beck_bytes source = beck_str(m->source);
    const struct copied *c = NULL;
    if (q->engine)
        bus = atomic_load(&atomic_load(&m->broker->delivery)->past);
    if (m->copied_count > 0 && bus)
        c = find_copied(m, bus, q->engine ? q->number : 0, source);
    return c && c->offset >= m->offset;
}

void missed_targets(void *ctx, struct targets *t)
{
    const struct missed *m = ctx;
    size_t durable = t->durable_count, engines = durable + t->transient_count, all = t->count;
    t->count = t->durable_count = t->transient_count = t->stream_count = 0;
    for (size_t i = 0; i < all; i++) {
        if (has_copy(m, t->queues[i]))
            continue;
        t->queues[t->count++] = t->queues[i];
        t->durable_count += i < durable;
        t->transient_count += i >= durable && i < engines;
        t->stream_count += i >= engines;
    }
}

void missed_mark(struct missed *m, int64_t offset, beck_event *e, struct missed_copy *copy)
{
    size_t n =
        e->extension_count < EVENT_EXTENSIONS_MAX ? e->extension_count : EVENT_EXTENSIONS_MAX - 1;
    m->offset = offset;
    snprintf(copy->text, sizeof copy->text, "%s/%lld", m->source, (long long)offset);
    if (n > 0)
        memcpy(copy->extensions, e->extensions, n * sizeof *copy->extensions);
    copy->extensions[n] = (beck_attribute){beck_str(COPY_OF), beck_str(copy->text)};
    e->extensions = copy->extensions;
    e->extension_count = n + 1;
}

static beck_status give_partition(void *ctx, struct partition *p, int64_t known, int64_t *end,
                                  beck_error *err)
{
    struct missed *m = ctx;
    const beck_bus *bus = atomic_load(&m->exchange->bus);
    beck_status status = BECK_OK;
    /* What is copied must not be lost, and its offset given to another. */
    if (known < partition_next(p))
        status = partition_sync(p, err);
    int64_t visible = partition_visible(p);
    snprintf(m->source, sizeof m->source, "%s/%u", bus->name, partition_number(p));
    if (!status && known < visible)
        status = past_give_missed(atomic_load(&m->broker->delivery), m->exchange, p, known, visible,
                                  m, err);
    *end = visible > known ? visible : known;
    /* Behind a transaction that is open there may be more: all of it waits for the next opening. */
    m->exchange->stuck |= partition_next(p) > *end;
    return status;
}

static beck_status sync_targets(const struct missed *m, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < m->target_count && !status; i++)
        status = partition_sync(bus_partition(m->targets[i], 0), err);
    return status;
}

struct outcome {
    struct record **list; /* owned */
    size_t count, cap;
};

static struct record *add_record(struct outcome *o)
{
    if (o->count == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 16;
        struct record **grown = realloc(o->list, cap * sizeof(struct record *));
        if (!grown)
            return NULL;
        o->list = grown;
        o->cap = cap;
    }
    struct record *r = malloc(sizeof *r);
    if (r)
        o->list[o->count++] = r;
    return r;
}

static void drop_record(struct outcome *o)
{
    struct record *r = o->list[--o->count];
    record_release(r);
    free(r);
}

static beck_status add_gone(struct outcome *o, const struct kept *k)
{
    struct record *r = add_record(o);
    if (!r)
        return BECK_ENOMEM;
    record_of_subject(r, k->kind, k->subject);
    r->gone = true;
    return BECK_OK;
}

static beck_status give_all(struct missed *m, const struct kept **seen, size_t seen_count,
                            struct outcome *out, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < seen_count && !status; i++) {
        beck_bus *bus;
        struct record *r = NULL;
        struct exchange *x = m->exchange = exchange_of(m->broker, seen[i], &bus);
        if (x && !bus)
            continue;
        if (!x)
            status = add_gone(out, seen[i]);
        else if (!(r = add_record(out)))
            status = BECK_ENOMEM;
        if (status)
            return no_memory(err);
        if (r)
            status = describe(r, x, seen[i], bus, give_partition, m, err);
        if (r && (status || bytes_equal(seen[i]->data, buf_bytes(&r->data))))
            drop_record(out);
    }
    return status;
}

/* All of it in one write. */
static beck_status conclude(struct missed *m, const struct kept **given, size_t given_count,
                            struct outcome *out, beck_error *err)
{
    beck_status status = sync_targets(m, err);
    for (size_t i = 0; i < given_count && !status; i++)
        if (add_gone(out, given[i]))
            status = no_memory(err);
    if (!status && out->count > 0)
        status = broker_write(m->broker, out->list, out->count, err);
    for (size_t i = 0; i < out->count && !status; i++)
        status = broker_note(m->broker, out->list[i], err);
    return status;
}

static beck_status give(struct missed *m, beck_error *err)
{
    struct outcome out = {0};
    size_t seen_count, given_count = 0;
    const struct kept **seen = list_of(m->broker, RECORD_SEEN, &seen_count), **given = NULL;
    beck_status status = seen ? read_targets(m, err) : no_memory(err);
    if (!status)
        status = give_all(m, seen, seen_count, &out, err);
    if (!status && !(given = list_of(m->broker, RECORD_GIVEN, &given_count)))
        status = no_memory(err);
    if (!status)
        status = conclude(m, given, given_count, &out, err);
    while (out.count > 0)
        drop_record(&out);
    free(out.list);
    free(seen);
    free(given);
    return status;
}

beck_status missed_give(struct broker *b, beck_error *err)
{
    struct missed m = {.broker = b};
    beck_status status = give(&m, err);
    for (size_t i = 0; i < m.copied_count; i++)
        free(m.copied[i].source);
    free(m.copied);
    free(m.targets);
    return status;
}
