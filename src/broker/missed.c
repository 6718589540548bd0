/*
 * What is published to the bus of an exchange while there is no broker, by a program or the command line that has
 * the directory open without a server.
 *
 * When the broker closes it writes down where these buses end (records `seen`). When it opens, what is behind goes
 * to the queues that the bindings lead to, as copies (past.c); then the records go, as everything is routed when it
 * is published from now on. A crash in between gives it again. A broker that did not close left no records: what
 * was published until the next opening is in the buses, and gets to queues by `x-beck-from` alone.
 */
#include "broker/topology.h"

#include "broker/delivery.h"

#include <stdlib.h>

static void seen_init(struct record *r, const char *bus)
{
    beck_bytes part = beck_str(bus);
    record_init(r, RECORD_SEEN, &part, 1);
}

struct seen {
    struct broker *broker;
    struct record *records;
    struct record **list;
    size_t count, cap;
    beck_status status;
};

static struct record *add(struct seen *s, const char *bus)
{
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        struct record *grown = realloc(s->records, cap * sizeof *grown);
        if (!grown) {
            s->status = BECK_ENOMEM;
            return NULL;
        }
        s->records = grown;
        s->cap = cap;
    }
    struct record *r = &s->records[s->count++];
    seen_init(r, bus);
    return r;
}

static beck_status write_all(struct seen *s, struct broker *b, beck_error *err)
{
    s->list = calloc(s->count + 1, sizeof(struct record *));
    if (!s->list || s->status)
        return error_set(err, BECK_ENOMEM, "no memory to write down where buses end");
    for (size_t i = 0; i < s->count; i++)
        s->list[i] = &s->records[i];
    return s->count > 0 ? broker_write(b, s->list, s->count, err) : BECK_OK;
}

static void release(struct seen *s)
{
    for (size_t i = 0; i < s->count; i++)
        record_release(&s->records[i]);
    free(s->records);
    free(s->list);
}

/* ---- closing ---- */

/* Of those that lead anywhere: bindings that come later begin later. */
static void note(void *ctx, const struct bus_link_view *l)
{
    struct seen *s = ctx;
    const struct vhost *v = topology_vhost(s->broker, l->vhost);
    const struct exchange *x = v ? topology_exchange(v, l->exchange) : NULL;
    if (!x || (!x->bindings && x->alternate.len == 0) ||
        l->bus->options.storage != BECK_STORAGE_DISK || atomic_load(&l->bus->closed))
        return;
    struct record *r = add(s, l->bus->name);
    struct buf ends;
    buf_init(&ends, RECORD_DATA_MAX);
    for (uint32_t i = 0; i < l->bus->partition_count && r && !s->status; i++) {
        uint8_t end[8];
        put_u64(end, (uint64_t)partition_visible(bus_partition(l->bus, i)));
        s->status = buf_append(&ends, end, sizeof end);
    }
    if (r)
        record_bytes(r, "ends", buf_bytes(&ends));
    buf_release(&ends);
}

void missed_note(struct broker *b)
{
    struct seen s = {.broker = b};
    beck_error err;
    engine_each_link(b, note, &s);
    if (s.count > 0 && write_all(&s, b, &err))
        env_report(&b->handle->env, err.code, "where the buses of exchanges end is not known: %s",
                   err.text);
    release(&s);
}

/* ---- opening ---- */

struct giving {
    struct broker *b;
    struct seen gone;
    beck_error *err;
    beck_status status;
};

static void give(void *ctx, const struct bus_link_view *l)
{
    struct giving *g = ctx;
    struct record r;
    seen_init(&r, l->bus->name);
    const struct kept *k = kept_find(&g->b->kept, bytes_of(r.subject, r.subject_len));
    beck_bytes ends = k ? kept_text(k, "ends") : (beck_bytes){0};
    const struct vhost *v = topology_vhost(g->b, l->vhost);
    struct exchange *x = v ? topology_exchange(v, l->exchange) : NULL;
    uint32_t known = (uint32_t)(ends.len / 8);
    for (uint32_t i = 0; x && k && i < l->bus->partition_count && !g->status; i++) {
        /* Partitions that were added since are new from their first event on. */
        const uint8_t *at = ends.data;
        int64_t from = i < known ? (int64_t)get_u64(at + 8 * (size_t)i) : 0;
        g->status = past_give_missed(atomic_load(&g->b->delivery), x, bus_partition(l->bus, i),
                                     from, g->err);
    }
    record_release(&r);
}

beck_status missed_give(struct broker *b, beck_error *err)
{
    struct giving g = {.b = b, .err = err};
    size_t count;
    const struct kept **list = kept_list(&b->kept, RECORD_SEEN, &count);
    if (!list)
        return error_set(err, BECK_ENOMEM, "no memory to look for what was published");
    if (count > 0)
        engine_each_link(b, give, &g);
    if (count > 0 && !g.status)
        g.status = past_sync(atomic_load(&b->delivery), err);
    for (size_t i = 0; i < count && !g.status; i++) {
        struct record *r = add(&g.gone, "");
        if (!r)
            break;
        record_release(r);
        record_of_subject(r, RECORD_SEEN, list[i]->subject);
        r->gone = true;
    }
    if (count > 0 && !g.status)
        g.status = write_all(&g.gone, b, err);
    for (size_t i = 0; i < g.gone.count && !g.status; i++)
        kept_put(&b->kept, bytes_of(g.gone.records[i].subject, g.gone.records[i].subject_len),
                 NULL);
    release(&g.gone);
    free(list);
    return g.status;
}
