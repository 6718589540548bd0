/* What happened to events in queues, for people who ask: see queue.h. Read from the log of all
 * queues, which keeps what it needs no more for a while for this. */
#include "event/pattern.h"
#include "queue/queue_impl.h"

#include <stdlib.h>

/* ---- now ---- */

/* The source that events of this place come from; UINT32_MAX: none. With the lock. */
static uint32_t source_at(const struct queue *q, beck_bytes bus, uint32_t partition)
{
    for (uint32_t i = 0; i < q->source_count; i++)
        if (!q->sources[i].gone && q->sources[i].number == partition &&
            bytes_equal_text(bus, q->sources[i].bus_name))
            return i;
    return UINT32_MAX;
}

static bool is_bound(const struct queue *q, const beck_event *e)
{
    bool bound = false;
    for (uint32_t i = 0; i < q->binding_count && !bound; i++) {
        const struct binding *b = &q->bindings[i];
        bound = bytes_equal_text(e->bus, b->bus->name) &&
                e->position.partition < b->bus->partition_count &&
                pattern_match(beck_str(b->pattern), e->type);
    }
    return bound;
}

void queue_stand(struct queue *q, const beck_event *event, struct queue_standing *out)
{
    *out = (struct queue_standing){0};
    struct partition *p = NULL;
    int64_t offset = event->position.offset;
    mutex_lock(&q->lock);
    uint32_t source = source_at(q, event->bus, event->position.partition);
    if (source != UINT32_MAX) {
        out->known = true;
        out->bound = is_bound(q, event);
        p = q->sources[source].partition;
    }
    uint64_t where = entry_where(source, offset);
    for (const struct slot *s = q->first_deadline; s && p && !out->in_flight; s = s->next) {
        out->in_flight = s->entry.where == where;
        if (out->in_flight)
            out->attempts = entry_attempts(&s->entry);
    }
    mutex_unlock(&q->lock);
    uint8_t bit = 0;
    if (p)
        queue_mark_owed(q, p, offset, offset + 1, &bit);
    out->owed = bit != 0;
}

/* ---- before ---- */

struct reading {
    struct queue_home *home;
    struct queue *(*find)(void *ctx, beck_bytes name);
    int (*each)(void *ctx, const struct queue_happening *h);
    void *ctx;
};

/* Tells of one entry; true ends the walk. */
static bool tell(const struct reading *r, struct queue_happening *h, uint64_t where)
{
    uint32_t source = (uint32_t)(where >> 48);
    struct queue *q = h->queue;
    mutex_lock(&q->lock);
    bool known = source < q->source_count && (source == DEAD_SOURCE || !q->sources[source].gone);
    /* Names of sources stay as long as the queue. */
    h->bus = !known                  ? NULL
             : source == DEAD_SOURCE ? r->home->dead->name
                                     : q->sources[source].bus_name;
    h->partition = known && source != DEAD_SOURCE ? q->sources[source].number : 0;
    mutex_unlock(&q->lock);
    h->offset = (int64_t)(where & 0xffffffffffffULL);
    return known && r->each(r->ctx, h) != 0;
}

static bool tell_operation(const struct reading *r, struct queue_happening *h, beck_bytes data)
{
    const uint8_t *p = data.data;
    bool ended = false;
    if (data.len >= 5 && p[0] == OP_SETTLED) {
        h->settled = true;
        uint32_t count = get_u32(p + 1);
        for (uint32_t i = 0; i < count && 5 + (i + 1) * (size_t)8 <= data.len && !ended; i++)
            ended = tell(r, h, get_u64(p + 5 + i * (size_t)8));
    } else if (data.len >= 33 && p[0] == OP_RETRIED) {
        struct entry e = {.meta = get_u64(p + 9)};
        h->attempts = entry_attempts(&e);
        h->due_ms = (int64_t)get_u64(p + 25);
        h->failure = bytes_of(p + 33, data.len - 33);
        ended = tell(r, h, get_u64(p + 1));
    } else if (data.len >= 5 && p[0] == OP_GIVEN_BACK) {
        uint32_t count = get_u32(p + 1);
        p += 5;
        for (uint32_t i = 0; i < count && 5 + (i + 1) * (size_t)32 <= data.len && !ended; i++) {
            struct entry e = {.meta = get_u64(p + 8)};
            h->attempts = entry_attempts(&e);
            h->due_ms = (int64_t)get_u64(p + 24);
            ended = tell(r, h, get_u64(p));
            p += 32;
        }
    }
    return ended;
}

static bool tell_record(const struct reading *r, const struct record_view *v)
{
    if (!bytes_equal_text(v->event.type, r->home->state->name))
        return false;
    struct queue *q = r->find(r->ctx, v->event.subject);
    struct queue_happening h = {.queue = q, .at_ms = v->timestamp_ms};
    return q && tell_operation(r, &h, v->event.data);
}

/* Every record of a partition that is kept, hidden ones too; true from `each` ends the walk. */
static beck_status walk(struct partition *p, bool (*each)(void *ctx, const struct record_view *v),
                        void *ctx, beck_error *err)
{
    struct cursor *c;
    beck_status status = cursor_open(p, &c, err);
    if (status)
        return status;
    int64_t offset = partition_kept(p);
    for (bool ended = false; !status && !ended;) {
        const struct record_view *v;
        int64_t skip_to = offset + 1;
        status = cursor_read(c, offset, true, &v, &skip_to, err);
        if (status == BECK_ECORRUPT) {
            offset = skip_to;
            status = BECK_OK;
        } else if (!status) {
            offset = v->offset + 1;
            ended = each(ctx, v);
        }
    }
    cursor_close(c);
    return status == BECK_END ? BECK_OK : status;
}

static bool each_operation(void *ctx, const struct record_view *v)
{
    return tell_record(ctx, v);
}

beck_status queues_each_happening(struct queue_home *home,
                                  struct queue *(*find)(void *ctx, beck_bytes name),
                                  int (*each)(void *ctx, const struct queue_happening *h),
                                  void *ctx, beck_error *err)
{
    struct reading r = {home, find, each, ctx};
    return home->state ? walk(bus_partition(home->state, 0), each_operation, &r, err) : BECK_OK;
}

struct letters {
    int (*each)(void *ctx, beck_bytes queue, const beck_dead *dead);
    void *ctx;
    struct dead_parts parts;
};

static int tell_letter(void *ctx, const beck_dead *dead)
{
    struct letters *l = ctx;
    return l->each(l->ctx, l->parts.queue, dead);
}

static bool each_letter(void *ctx, const struct record_view *v)
{
    struct letters *l = ctx;
    return dead_show(v, &l->parts, tell_letter, l) != 0;
}

beck_status dead_each_kept(struct queue_home *home,
                           int (*each)(void *ctx, beck_bytes queue, const beck_dead *dead),
                           void *ctx, beck_error *err)
{
    if (!home->dead)
        return BECK_OK;
    struct letters *l = malloc(sizeof *l);
    if (!l)
        return error_set(err, BECK_ENOMEM, "no memory to read dead letters");
    l->each = each;
    l->ctx = ctx;
    beck_status status = walk(bus_partition(home->dead, 0), each_letter, l, err);
    free(l);
    return status;
}
