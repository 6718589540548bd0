/*
 * Bindings: what feeds a queue, from which position on.
 *
 * Every partition of a bound bus is a source. A live source gets its events through the hook, as
 * they are published. One that is not live is read from the log: after binding to a past position,
 * after a rewind, after a restart, or when the queue could not take an event. Reading ends with the
 * partition paused, where what has been published and what has been read meet exactly.
 */
#include "queue/queue_impl.h"

#include "event/pattern.h"

#include <assert.h>
#include <stdlib.h>

static void note_damage(struct queue *q, struct source *s)
{
    bool shut = q->durable && queues_damage(q->home);
    s->damaged = s->partition && (shut || partition_damage(s->partition));
    q->damaged |= s->damaged;
}

beck_status queue_append_source(struct queue *q, const char *bus_name, uint32_t number,
                                beck_bus *bus, uint32_t *index, beck_error *err)
{
    if (q->source_count >= QUEUE_SOURCES_MAX)
        return error_set(err, BECK_ELIMIT, "queue \"%s\" is fed by %d partitions, the most",
                         q->name, QUEUE_SOURCES_MAX);
    struct source *grown = realloc(q->sources, (q->source_count + 1) * sizeof *grown);
    if (grown)
        q->sources = grown;
    char *name = strdup(bus_name);
    if (!grown || !name) {
        free(name);
        return error_set(err, BECK_ENOMEM, "no memory for a source of queue \"%s\"", q->name);
    }
    q->sources[q->source_count] =
        (struct source){.bus_name = name,
                        .number = number,
                        .bus = bus,
                        .partition = bus ? bus_partition(bus, number) : NULL};
    note_damage(q, &q->sources[q->source_count]);
    *index = q->source_count++;
    return BECK_OK;
}

beck_status queue_add_source(struct queue *q, const char *bus_name, uint32_t number, beck_bus *bus,
                             uint32_t *index, beck_error *err)
{
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct source *s = &q->sources[i];
        if (s->gone || s->number != number || strcmp(s->bus_name, bus_name) != 0)
            continue;
        if (bus && !s->partition) {
            s->bus = bus;
            s->partition = bus_partition(bus, number);
            note_damage(q, s);
        }
        *index = i;
        return BECK_OK;
    }
    return queue_append_source(q, bus_name, number, bus, index, err);
}

static struct binding *find_binding(struct queue *q, const char *bus, const char *pattern)
{
    for (uint32_t i = 0; i < q->binding_count; i++)
        if (strcmp(q->bindings[i].bus->name, bus) == 0 &&
            strcmp(q->bindings[i].pattern, pattern) == 0)
            return &q->bindings[i];
    return NULL;
}

bool queue_has_binding(struct queue *q, const char *bus, const char *pattern)
{
    return find_binding(q, bus, pattern) != NULL;
}

bool queue_is_bound_to(const struct queue *q, const beck_bus *bus)
{
    for (uint32_t i = 0; i < q->binding_count; i++)
        if (q->bindings[i].bus == bus)
            return true;
    return false;
}

bool queue_bus_deleted(struct queue *q, const beck_bus *bus)
{
    bool found = false;
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->source_count; i++) {
        if (q->sources[i].bus != bus)
            continue;
        q->sources[i].bus = NULL;
        q->sources[i].partition = NULL;
        q->sources[i].live = q->sources[i].damaged = false;
        q->sources[i].gone = true;
        q->dirty = true;
        found = true;
    }
    if (found)
        atomic_fetch_add(&q->deletions, 1);
    mutex_unlock(&q->lock);
    return found;
}

uint32_t queue_binding_count(struct queue *q)
{
    return q->binding_count;
}

beck_status queue_each_binding(struct queue *q, int (*each)(void *ctx, const beck_binding *b),
                               void *ctx)
{
    for (uint32_t i = 0; i < q->binding_count; i++) {
        beck_binding b = {.bus = q->bindings[i].bus->name,
                          .pattern = q->bindings[i].pattern,
                          .from = {.kind = BECK_FROM_OFFSET, .offset = q->bindings[i].first[0]}};
        if (each(ctx, &b))
            break;
    }
    return BECK_OK;
}

/* ---- reading what the hook did not bring ---- */

/* A queue that has joined a bus has a binding without a pattern. */
static bool matches(const struct queue *q, const struct binding *b, const struct source *s,
                    const struct record_view *v)
{
    if (b->bus != s->bus || v->offset < b->first[s->number])
        return false;
    return b->pattern[0] ? pattern_match(beck_str(b->pattern), v->event.type)
                         : carried_names(&v->carried, q->number);
}

/* Whether the queue is to have the event: by any binding; or, with `added`, by that one and no
 * other. With the lock. */
static bool wanted(const struct queue *q, const struct source *s, const struct record_view *v,
                   const struct binding *added)
{
    bool found = false;
    for (uint32_t i = 0; i < q->binding_count; i++) {
        if (!matches(q, &q->bindings[i], s, v))
            continue;
        if (added && &q->bindings[i] != added)
            return false;
        found = true;
    }
    return found;
}

bool queue_wants(const struct queue *q, const struct source *s, const struct record_view *v)
{
    return wanted(q, s, v, NULL);
}

/* Whether the queue has it elsewhere than in the list that is being made again. */
static bool is_held(const struct source *s, int64_t offset)
{
    const struct held *h = s->held;
    if (!h || offset < h->first || offset >= h->next)
        return false;
    return h->bits[(offset - h->first) / 8] >> ((offset - h->first) % 8) & 1;
}

/* Lists events [from, to) of a source. With `added` NULL, source.routed moves along. */
static beck_status read_range(struct queue *q, uint32_t index, int64_t from, int64_t to,
                              const struct binding *added, beck_error *err)
{
    struct cursor *c = NULL;
    int64_t now_ms = clock_wall_ms(q->home->env->clock);
    beck_status status = queue_open_cursor(q, index, &c, err);
    if (added && !status) {
        mutex_lock(&q->lock);
        struct source *s = &q->sources[index];
        s->mixed = true;
        if (from < s->popped)
            s->popped = from;
        mutex_unlock(&q->lock);
    }
    for (int64_t offset = from; offset < to && !status;) {
        const struct record_view *v;
        int64_t skip_to = to;
        beck_error why = {0};
        status = cursor_read(c, offset, true, &v, &skip_to, &why);
        if (status == BECK_ECORRUPT) {
            env_report(q->home->env, status, "queue \"%s\" passes over damaged events: %s", q->name,
                       why.text);
            offset = skip_to;
            status = BECK_OK;
            continue;
        }
        if (status == BECK_END || (!status && v->offset >= to)) {
            offset = to;
            status = BECK_OK;
        }
        if (status) {
            error_set(err, status, "%s", why.text);
            break;
        }
        mutex_lock(&q->lock);
        struct source *s = &q->sources[index];
        /* A rewind meanwhile starts all over. */
        bool stop = q->deleted || (!added && (s->live || s->routed > offset || s->routed < from));
        if (offset < to && !stop) {
            if (wanted(q, s, v, added) && !is_held(s, v->offset)) {
                const beck_event *e = &v->event;
                status = queue_route(q, index, v->offset, now_ms, e->deliver_at_ms,
                                     e->expires_at_ms, e->priority, e->data.len, err);
                queue_wake(q, 1);
            }
            offset = v->offset + 1;
        }
        if (!added && !status && !stop)
            s->routed = offset;
        if (s->held && s->routed >= s->held->next) {
            free(s->held);
            s->held = NULL;
        }
        bool limbo = queue_limbo_has_work(q); /* over length_max */
        mutex_unlock(&q->lock);
        if (limbo)
            queue_work_limbo(q);
        if (stop)
            break;
    }
    cursor_close(c);
    return status;
}

/* With the partition paused: everything published has been read, so from here on the hook brings
 * it; or all that can be until a transaction ends. */
static bool go_live(struct queue *q, uint32_t index, struct partition *p)
{
    partition_pause(p);
    mutex_lock(&q->lock);
    struct source *s = &q->sources[index];
    int64_t visible = partition_visible(p);
    bool same = s->partition == p;
    s->live |= same && s->routed >= partition_paused_end(p);
    s->waits = same && !s->live && s->routed >= visible && visible < partition_high(p);
    bool done = s->live || s->waits;
    mutex_unlock(&q->lock);
    partition_resume(p);
    return done;
}

/* Without the lock. */
static beck_status catch_up_source(struct queue *q, uint32_t index, beck_error *err)
{
    for (;;) {
        mutex_lock(&q->lock);
        struct source *s = &q->sources[index];
        struct partition *p = s->partition;
        int64_t from = s->routed;
        bool done =
            s->live || !p || s->damaged || q->deleted || (s->waits && from >= partition_visible(p));
        mutex_unlock(&q->lock);
        if (done)
            return BECK_OK;
        if (partition_is_memory(p)) {
            /* Nothing is kept of what was published before. */
            partition_pause(p);
            mutex_lock(&q->lock);
            q->sources[index].routed = partition_paused_end(p);
            q->sources[index].live = true;
            mutex_unlock(&q->lock);
            partition_resume(p);
            return BECK_OK;
        }
        beck_status status = partition_sync(p, err);
        if (status == BECK_EPOISONED)
            status = BECK_OK;
        int64_t to = partition_visible(p);
        if (!status && from < to)
            status = read_range(q, index, from, to, NULL, err);
        if (status)
            return status;
        if (go_live(q, index, p))
            return BECK_OK;
    }
}

bool queue_is_behind(const struct queue *q, const struct source *s)
{
    return !s->live && !s->damaged && s->bus && queue_is_bound_to(q, s->bus);
}

void queue_catch_up(struct queue *q)
{
    mutex_lock(&q->lock);
    q->rebuild = false;
    uint32_t count = q->source_count;
    mutex_unlock(&q->lock);
    for (uint32_t i = 0; i < count; i++) {
        beck_error why = {0};
        mutex_lock(&q->lock);
        bool needed = queue_is_behind(q, &q->sources[i]);
        mutex_unlock(&q->lock);
        if (needed && catch_up_source(q, i, &why))
            env_report(q->home->env, why.code, "queue \"%s\" is behind its bus: %s", q->name,
                       why.text);
    }
}

beck_status queue_read_history(struct queue *q, uint32_t binding, beck_error *err)
{
    struct binding *b = &q->bindings[binding];
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < b->bus->partition_count && !status; i++) {
        uint32_t index = queue_find_source(q, bus_partition(b->bus, i));
        if (b->first[i] < q->sources[index].routed)
            status = read_range(q, index, b->first[i], q->sources[index].routed, b, err);
    }
    return status;
}

/* ---- binding ---- */

struct paused_bind {
    struct queue *q;
    beck_bus *bus;
    const int64_t *first;
    bool known;
    struct binding *binding;
    int64_t *history_to; /* per partition; -1: all of it is read by catching up */
};

/* While the bus is paused: from here on the hook brings events of the new binding too. Sources that
 * were live stop, until history has been read. */
static void bind_paused(void *ctx)
{
    struct paused_bind *p = ctx;
    struct queue *q = p->q;
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < p->bus->partition_count; i++) {
        uint32_t index = queue_find_source(q, bus_partition(p->bus, i));
        struct source *s = &q->sources[index];
        p->history_to[i] = -1;
        s->joined |= !p->binding->pattern[0];
        if (p->known)
            continue;
        if (s->live) {
            int64_t end = partition_paused_end(s->partition);
            /* Events from now on come after the history only if there is any. */
            s->live = p->first[i] >= end;
            /* What is written but not shown yet has not come through the hook. */
            int64_t shown = partition_visible(s->partition);
            if (!p->bus->options.read_synced && shown > s->routed)
                s->routed = shown;
            p->history_to[i] = s->live ? -1 : s->routed;
        } else if (s->routed < 0) {
            s->routed = s->popped = p->first[i];
            s->live = p->first[i] >= partition_paused_end(s->partition);
        } else {
            p->history_to[i] = s->routed;
        }
    }
    q->bindings[q->binding_count++] = *p->binding;
    mutex_unlock(&q->lock);
}

static beck_status make_sources(struct queue *q, beck_bus *bus, beck_error *err)
{
    beck_status status = BECK_OK;
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < bus->partition_count && !status; i++) {
        uint32_t before = q->source_count, index = 0;
        status = queue_add_source(q, bus->name, i, bus, &index, err);
        if (!status && q->source_count > before)
            q->sources[index].routed = -1; /* fresh: bind_paused says from where */
    }
    struct binding *grown = realloc(q->bindings, (q->binding_count + 1) * sizeof *grown);
    if (grown)
        q->bindings = grown;
    else if (!status)
        status = error_set(err, BECK_ENOMEM, "no memory for a binding");
    mutex_unlock(&q->lock);
    return status;
}

beck_status queue_bind(struct queue *q, beck_bus *bus, const char *pattern, const int64_t *first,
                       bool known, beck_error *err)
{
    beck_status status = make_sources(q, bus, err);
    if (status)
        return status;
    struct binding binding = {.bus = bus, .pattern = strdup(pattern)};
    binding.first = malloc(bus->partition_count * sizeof *binding.first);
    int64_t *history_to = malloc(bus->partition_count * sizeof *history_to);
    if (!binding.pattern || !binding.first || !history_to) {
        status = error_set(err, BECK_ENOMEM, "no memory for a binding");
    } else {
        memcpy(binding.first, first, bus->partition_count * sizeof *first);
        struct paused_bind p = {q, bus, first, known, &binding, history_to};
        if (pattern[0])
            status = bus_add_route(bus, beck_str(pattern), q, bind_paused, &p, err);
        else
            bus_join(bus, bind_paused, &p);
    }
    if (status) {
        free(binding.pattern);
        free(binding.first);
        free(history_to);
        return status;
    }
    queue_retain(q); /* the route's */
    for (uint32_t i = 0; i < bus->partition_count && !known && !status; i++) {
        uint32_t index = queue_find_source(q, bus_partition(bus, i));
        if (history_to[i] >= 0)
            status = read_range(q, index, first[i], history_to[i],
                                &q->bindings[q->binding_count - 1], err);
        if (!status)
            status = catch_up_source(q, index, err);
    }
    free(history_to);
    return status;
}

/* They are empty, so that the hook brings all there will be. */
static beck_status add_empty_sources(struct queue *q, beck_bus *bus, uint32_t count, bool joined,
                                     beck_error *err)
{
    beck_status status = BECK_OK;
    for (uint32_t n = bus->partition_count; n < count && !status; n++) {
        uint32_t index;
        status = queue_add_source(q, bus->name, n, bus, &index, err);
        if (!status) {
            q->sources[index].live = !q->sources[index].damaged;
            q->sources[index].joined = joined;
        }
    }
    return status;
}

beck_status queue_add_partitions(struct queue *q, beck_bus *bus, uint32_t count, beck_error *err)
{
    beck_status status = BECK_OK;
    bool joined = false;
    uint32_t known = bus->partition_count;
    mutex_lock(&q->lock);
    for (uint32_t i = 0; i < q->binding_count && !status; i++) {
        struct binding *b = &q->bindings[i];
        if (b->bus != bus)
            continue;
        int64_t *grown = realloc(b->first, count * sizeof *grown);
        if (!grown) {
            status = error_set(err, BECK_ENOMEM, "no memory for a source of queue \"%s\"", q->name);
            continue;
        }
        memset(grown + known, 0, (count - known) * sizeof *grown);
        b->first = grown;
        joined |= !b->pattern[0];
    }
    if (!status)
        status = add_empty_sources(q, bus, count, joined, err);
    q->dirty = true;
    mutex_unlock(&q->lock);
    return status;
}

static void release_route(void *object)
{
    queue_release(object);
}

beck_status queue_unbind(struct queue *q, beck_bus *bus, const char *pattern, beck_error *err)
{
    struct binding *b = find_binding(q, bus->name, pattern);
    if (!b)
        return error_set(err, BECK_ENOENT, "queue \"%s\" is not bound to bus \"%s\" by \"%s\"",
                         q->name, bus->name, pattern);
    /* What was published until now is still for this queue. */
    queue_catch_up(q);
    bool joined = !pattern[0];
    if (joined)
        bus_part(bus);
    else
        bus_remove_route(bus, beck_str(pattern), q);
    mutex_lock(&q->lock);
    free(b->pattern);
    free(b->first);
    q->binding_count--;
    memmove(b, b + 1, (size_t)(q->bindings + q->binding_count - b) * sizeof *b);
    /* Who does not know yet may go on addressing events to it. */
    for (uint32_t i = 0; i < q->source_count && joined; i++)
        if (q->sources[i].bus == bus)
            q->sources[i].joined = false;
    q->dirty = true;
    mutex_unlock(&q->lock);
    callers_retire(q->home->callers, q, release_route, false);
    return BECK_OK;
}
