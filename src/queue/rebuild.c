/*
 * Making a queue's list again when its files are damaged: the log has the events, and the bindings
 * say which.
 *
 * Everything from `popped` on is read again. Events from there on may be elsewhere by now: delayed,
 * in flight, ready again. A bit is kept for each of them, so that none is listed twice.
 */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdlib.h>

static void mark(struct queue *q, const struct entry *e)
{
    struct held *h = q->sources[entry_source(e)].held;
    int64_t offset = entry_offset(e);
    if (h && offset >= h->first && offset < h->next)
        h->bits[(offset - h->first) / 8] |= (uint8_t)(1 << (offset - h->first) % 8);
}

static int mark_scheduled(void *ctx, const struct scheduled *item)
{
    mark(ctx, &item->entry);
    return 0;
}

static void mark_held(struct queue *q)
{
    for (size_t i = 0; i < q->return_count; i++)
        mark(q, &q->returns[i]);
    for (const struct slot *s = q->first_deadline; s; s = s->next)
        mark(q, &s->entry);
    for (size_t i = 0; i < q->limbo_count; i++)
        mark(q, &queue_limbo(q, i)->entry);
    schedule_each(q->delayed, mark_scheduled, q, NULL);
}

/* Without memory for the bits an event may be listed twice, which is better than not at all. */
static void start_again(struct queue *q, struct source *s)
{
    if (s->routed < 0) /* nothing of it has been looked at */
        return;
    int64_t next = s->held && s->held->next > s->routed ? s->held->next : s->routed;
    free(s->held);
    s->held = NULL;
    if (s->partition && next > s->popped)
        s->held = calloc(1, sizeof *s->held + (size_t)(next - s->popped) / 8 + 1);
    if (s->held) {
        s->held->first = s->popped;
        s->held->next = next;
    }
    if (s->bus && next > s->popped && !queue_is_bound_to(q, s->bus) && s->bus != q->home->dead)
        env_report(
            q->home->env, BECK_ECORRUPT,
            "queue \"%s\" is no longer bound to bus \"%s\": events %lld to %lld of it that "
            "were in the damaged list are lost; bind and rewind the queue to have them again",
            q->name, s->bus_name, (long long)s->popped, (long long)next - 1);
    s->live = s->mixed = false;
    s->routed = s->popped;
}

void queue_rebuild(struct queue *q)
{
    assert(mutex_held(&q->lock));
    for (uint32_t i = 0; i < q->source_count; i++)
        start_again(q, &q->sources[i]);
    mark_held(q);
    for (uint32_t i = 0; i <= q->options.priority_max; i++)
        if (q->levels[i])
            fifo_clear(q->levels[i]);
    q->dirty = true;
}
