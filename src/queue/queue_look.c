/*
 * Looking into a queue without taking: the events of entries, and lists of what is delayed and of what consumers hold.
 *
 * A page is put together from entries that are copied with the lock held: of the delayed ones the heap, and of each run no more
 * than the page reaches to. Events are read, and entries put into order, without it.
 */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct waiting {
    struct entry entry;
    int64_t due_ms, since_ms;
    uint32_t attempt;
};

struct collected {
    struct waiting *list;
    size_t count, cap;
    bool failed;
};

static int collect(struct collected *c, const struct waiting *w)
{
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 256;
        struct waiting *grown = realloc(c->list, cap * sizeof *grown);
        if (!grown)
            return c->failed = true;
        c->list = grown;
        c->cap = cap;
    }
    c->list[c->count++] = *w;
    return 0;
}

static int collect_scheduled(void *ctx, const struct scheduled *item)
{
    struct waiting w = {.entry = item->entry,
                        .due_ms = item->due_ms,
                        .since_ms = -1,
                        .attempt = entry_attempts(&item->entry) + 1};
    return collect(ctx, &w);
}

/* In order of deadline. */
static void collect_held(struct queue *q, size_t max, struct collected *c)
{
    int64_t now_ms = clock_wall_ms(q->home->env->clock);
    int64_t now_ns = clock_mono_ns(q->home->env->clock);
    for (const struct slot *s = q->first_deadline; s && c->count < max && !c->failed; s = s->next) {
        struct waiting w = {.entry = s->entry,
                            .due_ms = s->deadline_ns == INT64_MAX
                                          ? -1
                                          : now_ms + (s->deadline_ns - now_ns) / 1000000,
                            .since_ms = now_ms - (now_ns - s->taken_ns) / 1000000,
                            .attempt = entry_attempts(&s->entry) + 1};
        collect(c, &w);
    }
}

static int by_due(const void *a, const void *b)
{
    const struct waiting *x = a, *y = b;
    if (x->due_ms != y->due_ms)
        return x->due_ms < y->due_ms ? -1 : 1;
    if (x->entry.seq != y->entry.seq)
        return x->entry.seq < y->entry.seq ? -1 : 1;
    return (x->entry.where > y->entry.where) - (x->entry.where < y->entry.where);
}

beck_status queue_show_entries(struct queue *q, const struct entry *first, size_t count,
                               size_t stride,
                               int (*each)(void *ctx, size_t i, const beck_event *event), void *ctx,
                               beck_error *err)
{
    struct cursor *cursor = NULL;
    uint32_t open = UINT32_MAX;
    struct dead_parts *parts = malloc(sizeof *parts);
    if (!parts)
        return error_set(err, BECK_ENOMEM, "no memory to look at a queue");
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = (const void *)((const uint8_t *)first + i * stride);
        const struct record_view *view;
        uint32_t source = entry_source(e);
        if (source != open) {
            cursor_close(cursor);
            cursor = NULL;
            open = source;
            queue_open_cursor(q, source, &cursor, NULL);
        }
        const beck_event *event = NULL;
        if (cursor && !cursor_read(cursor, entry_offset(e), true, &view, NULL, NULL) &&
            view->offset == entry_offset(e))
            event = queue_source_is_dead(q, source) && dead_open(&view->event, parts)
                        ? &parts->event
                        : &view->event;
        if (each(ctx, i, event))
            break;
    }
    free(parts);
    cursor_close(cursor);
    return BECK_OK;
}

struct showing {
    struct queue *q;
    const struct waiting *list;
    int (*each)(void *ctx, const beck_waiting *waiting);
    void *ctx;
};

static int show_one(void *ctx, size_t i, const beck_event *event)
{
    const struct showing *s = ctx;
    const struct waiting *w = &s->list[i];
    char bus[256];
    beck_waiting shown = {.event = event,
                          .bus = bus,
                          .attempt = w->attempt,
                          .since_ms = w->since_ms,
                          .due_ms = w->due_ms};
    mutex_lock(&s->q->lock);
    const struct source *source = &s->q->sources[entry_source(&w->entry)];
    snprintf(bus, sizeof bus, "%s", source->bus_name);
    shown.position = (beck_position){source->number, entry_offset(&w->entry)};
    mutex_unlock(&s->q->lock);
    return s->each(s->ctx, &shown);
}

beck_status queue_waiting(struct queue *q, beck_waiting_kind kind, size_t from, size_t max,
                          int (*each)(void *ctx, const beck_waiting *waiting), void *ctx,
                          beck_error *err)
{
    struct collected c = {0};
    beck_status status = BECK_OK;
    assert(from <= WAITING_LISTED_MAX && max <= WAITING_LISTED_MAX - from);
    queue_tick(q);
    mutex_lock(&q->lock);
    if (kind == BECK_WAITING_IN_FLIGHT)
        collect_held(q, from + max, &c);
    else
        status = schedule_first(q->delayed, from + max, collect_scheduled, &c, err);
    mutex_unlock(&q->lock);
    if (!status && c.failed)
        status = error_set(err, BECK_ENOMEM, "no memory to look at a queue");
    if (!status && c.count > from) {
        size_t count = c.count - from;
        struct showing s = {q, c.list + from, each, ctx};
        if (kind == BECK_WAITING_DELAYED)
            qsort(c.list, c.count, sizeof *c.list, by_due);
        status = queue_show_entries(q, &s.list->entry, count < max ? count : max, sizeof *s.list,
                                    show_one, &s, err);
    }
    free(c.list);
    return status;
}
