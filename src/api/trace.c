/*
 * beck_trace: the events that belong together, as a tree, with what happened to each in every queue.
 *
 * The index gives candidates for a text (an id or a correlation id); they are read and compared.
 * Beginning with the event that was asked for, its correlation is collected; then the queues are
 * asked how each event stands, and the log of all queues what happened before.
 */
#include "api/trace_sources.h"
#include "event/event.h"
#include "event/time.h"
#include "log/cursor.h"
#include "remote/remote.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STEPS_DEFAULT 10000
#define STEP_BYTES_MAX (80u << 20)
#define TRACE_BYTES_MAX (256u << 20)
#define HISTORY_BYTES_MAX (1u << 20)
#define NONE SIZE_MAX

/* ---- the events ---- */

struct delivery {
    struct queue *queue;
    const char *state;
    uint32_t attempts;
    int64_t at_ms;
    char reason[32];
    struct buf history; /* objects, separated by commas */
    struct delivery *next;
};

struct step {
    size_t source;
    beck_event event; /* in memory */
    struct buf memory;
    size_t parent, first_child, next_sibling; /* NONE */
    uint32_t depth;
    struct delivery *deliveries;
};

/* From a place to a step; the places of dead letters lead to the event that died. */
struct place {
    const char *bus; /* NULL: free */
    uint32_t partition;
    int64_t offset;
    size_t step;
};

struct trace {
    beck *b;
    struct trace_sources sources;
    struct trace_index *index;
    size_t max;
    struct step **steps;
    size_t count, cap, bytes;
    struct place *places; /* open addressing */
    size_t place_count, place_cap;
    size_t looked;   /* steps whose texts have been searched for */
    beck_bytes text; /* that is searched for */
    struct cursor **cursors;
    beck_status status;
    beck_error *err;
};

static uint64_t place_hash(beck_bytes bus, uint32_t partition, int64_t offset)
{
    return bytes_hash(bus.data, bus.len, (uint64_t)offset * 0x9e3779b97f4a7c15u ^ partition);
}

/* The slot of a place, or the free one that it would get. */
static struct place *find_place(const struct trace *t, beck_bytes bus, uint32_t partition,
                                int64_t offset)
{
    size_t i = place_hash(bus, partition, offset) & (t->place_cap - 1);
    for (;; i = (i + 1) & (t->place_cap - 1)) {
        struct place *p = &t->places[i];
        if (!p->bus ||
            (p->partition == partition && p->offset == offset && bytes_equal_text(bus, p->bus)))
            return p;
    }
}

/* bus: stays valid as long as the trace. */
static bool add_place(struct trace *t, const char *bus, uint32_t partition, int64_t offset,
                      size_t step)
{
    if (t->place_count * 2 >= t->place_cap) {
        struct trace grown = *t;
        grown.place_cap = t->place_cap ? t->place_cap * 2 : 64;
        grown.places = calloc(grown.place_cap, sizeof *grown.places);
        if (!grown.places)
            return false;
        for (size_t i = 0; i < t->place_cap; i++)
            if (t->places[i].bus)
                *find_place(&grown, beck_str(t->places[i].bus), t->places[i].partition,
                            t->places[i].offset) = t->places[i];
        free(t->places);
        t->places = grown.places;
        t->place_cap = grown.place_cap;
    }
    struct place *p = find_place(t, beck_str(bus), partition, offset);
    t->place_count += p->bus == NULL;
    *p = (struct place){bus, partition, offset, step};
    return true;
}

static struct step *step_at(const struct trace *t, beck_bytes bus, uint32_t partition,
                            int64_t offset)
{
    if (t->place_cap == 0)
        return NULL;
    const struct place *p = find_place(t, bus, partition, offset);
    return p->bus ? t->steps[p->step] : NULL;
}

static void step_free(struct step *s)
{
    while (s->deliveries) {
        struct delivery *d = s->deliveries;
        s->deliveries = d->next;
        buf_release(&d->history);
        free(d);
    }
    buf_release(&s->memory);
    free(s);
}

static beck_status no_memory(struct trace *t)
{
    return t->status = error_set(t->err, BECK_ENOMEM, "no memory for a trace");
}

/* Keeps the event that a cursor gave. */
static beck_status add_step(struct trace *t, size_t source, const struct record_view *v)
{
    const struct trace_source *from = &t->sources.list[source];
    uint32_t number = partition_number(from->partition);
    if (step_at(t, beck_str(from->bus), number, v->offset))
        return BECK_OK;
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 16;
        struct step **grown = realloc(t->steps, cap * sizeof *grown);
        if (!grown)
            return no_memory(t);
        t->steps = grown;
        t->cap = cap;
    }
    struct step *s = calloc(1, sizeof *s);
    if (!s)
        return no_memory(t);
    buf_init(&s->memory, STEP_BYTES_MAX);
    s->source = source;
    s->parent = s->first_child = s->next_sibling = NONE;
    if (event_copy(&v->event, &s->memory, &s->event) ||
        !add_place(t, from->bus, number, v->offset, t->count)) {
        step_free(s);
        return no_memory(t);
    }
    s->event.bus = beck_str(from->bus);
    s->event.position = (beck_position){number, v->offset};
    t->steps[t->count++] = s;
    t->bytes += s->memory.len;
    return BECK_OK;
}

static bool is_full(const struct trace *t)
{
    return t->count >= t->max || t->bytes >= TRACE_BYTES_MAX;
}

/* Whether the event is of the trace that the text names. */
static bool belongs(const beck_event *e, beck_bytes text)
{
    beck_bytes link = e->correlationid.len ? e->correlationid : e->causationid;
    return bytes_equal(e->id, text) || bytes_equal(link, text);
}

static beck_status read_event(struct trace *t, size_t source, int64_t offset,
                              const struct record_view **out)
{
    if (!t->cursors[source]) {
        beck_status status =
            cursor_open(t->sources.list[source].partition, &t->cursors[source], t->err);
        if (status)
            return t->status = status;
    }
    beck_status status = cursor_read(t->cursors[source], offset, false, out, NULL, NULL);
    return status || (*out)->offset != offset ? BECK_ENOENT : BECK_OK;
}

static int take_candidate(void *ctx, size_t source, int64_t offset)
{
    struct trace *t = ctx;
    const struct record_view *v;
    if (is_full(t))
        return 1;
    if (!read_event(t, source, offset, &v) && belongs(&v->event, t->text))
        add_step(t, source, v);
    return t->status != BECK_OK;
}

/* "<bus>/<partition>/<offset>": the event there. */
static void take_derived(struct trace *t, beck_bytes text)
{
    char copy[RECORD_ID_MAX];
    if (text.len >= sizeof copy)
        return;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    for (size_t i = 0; i < t->sources.count && !t->status; i++) {
        const struct trace_source *s = &t->sources.list[i];
        char prefix[RECORD_ID_MAX];
        size_t n = (size_t)snprintf(prefix, sizeof prefix, "%s/%u/", s->bus,
                                    partition_number(s->partition));
        uint64_t offset;
        const struct record_view *v;
        if (strncmp(copy, prefix, n) == 0 &&
            bytes_to_u64(bytes_of(copy + n, text.len - n), &offset) && offset <= INT64_MAX &&
            !read_event(t, i, (int64_t)offset, &v) && belongs(&v->event, text))
            add_step(t, i, v);
    }
}

/* Adds the events that have the text as their id or are linked by it. */
static beck_status search(struct trace *t, beck_bytes text)
{
    t->text = text;
    take_derived(t, text);
    if (t->status)
        return t->status;
    beck_status status = trace_index_find(t->index, t->sources.list, t->sources.count, text,
                                          take_candidate, t, t->err);
    return t->status ? t->status : (t->status = status);
}

/* All that belongs together with what was found: by correlation ids, and by ids where there are no
 * correlation ids. */
static beck_status collect(struct trace *t, beck_bytes id)
{
    beck_status status = search(t, id);
    for (; t->looked < t->count && !is_full(t) && !status; t->looked++) {
        struct step *s = t->steps[t->looked];
        beck_bytes correlation = s->event.correlationid;
        status = search(t, correlation.len ? correlation : s->event.id);
        if (!status && !correlation.len && s->event.causationid.len)
            status = search(t, s->event.causationid);
    }
    return status;
}

/* ---- the tree ---- */

static int by_time(const void *a, const void *b)
{
    const struct step *x = *(struct step *const *)a, *y = *(struct step *const *)b;
    if (x->event.time_ns != y->event.time_ns)
        return x->event.time_ns < y->event.time_ns ? -1 : 1;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    int64_t p = x->event.position.offset, q = y->event.position.offset;
    return p < q ? -1 : p > q;
}

struct named {
    beck_bytes id;
    size_t step;
};

static int by_id(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = bytes_compare(x->id, y->id);
    return order ? order : x->step < y->step ? -1 : x->step > y->step;
}

/* The first event with that id. */
static size_t find_id(const struct named *names, size_t count, beck_bytes id)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(names[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && bytes_equal(names[low].id, id) ? names[low].step : NONE;
}

/* What an event caused cannot have caused it: such a link, which only a liar makes, is left out. */
static bool is_above(const struct trace *t, size_t above, size_t below)
{
    size_t i = below;
    for (size_t n = 0; i != NONE && i != above && n <= t->count; n++)
        i = t->steps[i]->parent;
    return i == above;
}

static beck_status link_steps(struct trace *t)
{
    qsort(t->steps, t->count, sizeof *t->steps, by_time);
    struct named *names = malloc((t->count + 1) * sizeof *names);
    if (!names)
        return no_memory(t);
    for (size_t i = 0; i < t->count; i++) {
        names[i] = (struct named){t->steps[i]->event.id, i};
        add_place(t, t->sources.list[t->steps[i]->source].bus,
                  t->steps[i]->event.position.partition, t->steps[i]->event.position.offset, i);
    }
    qsort(names, t->count, sizeof *names, by_id);
    /* From the last to the first, so that each list of children is in order of time. */
    for (size_t i = t->count; i-- > 0;) {
        struct step *s = t->steps[i];
        size_t parent =
            s->event.causationid.len ? find_id(names, t->count, s->event.causationid) : NONE;
        if (parent == NONE || is_above(t, i, parent))
            continue;
        s->parent = parent;
        s->next_sibling = t->steps[parent]->first_child;
        t->steps[parent]->first_child = i;
    }
    free(names);
    return BECK_OK;
}

/* ---- what happened in queues ---- */

static struct delivery *delivery_of(struct trace *t, struct step *s, struct queue *q)
{
    for (struct delivery *d = s->deliveries; d; d = d->next)
        if (d->queue == q)
            return d;
    struct delivery *d = calloc(1, sizeof *d);
    if (!d) {
        no_memory(t);
        return NULL;
    }
    d->queue = q;
    buf_init(&d->history, HISTORY_BYTES_MAX);
    d->next = s->deliveries;
    s->deliveries = d;
    return d;
}

/* Beyond the ceiling no more is told. */
static void add_failure(struct delivery *d, beck_bytes failure)
{
    size_t len = d->history.len;
    if (failure.len == 0)
        return;
    if ((len > 0 && buf_append_byte(&d->history, ',')) ||
        buf_append(&d->history, failure.data, failure.len))
        d->history.len = len;
}

static struct queue *find_queue(void *ctx, beck_bytes name)
{
    const struct trace *t = ctx;
    return handle_view_queue(&t->sources.view, name);
}

static int take_letter(void *ctx, beck_bytes queue, const beck_dead *dead)
{
    struct trace *t = ctx;
    struct queue *q = find_queue(t, queue);
    struct step *s = step_at(t, dead->event->bus, dead->origin.partition, dead->origin.offset);
    if (!q || !s)
        return 0;
    struct delivery *d = delivery_of(t, s, q);
    const beck_position *letter = &dead->event->position;
    size_t index =
        find_place(t, s->event.bus, s->event.position.partition, s->event.position.offset)->step;
    if (!d || !add_place(t, t->b->home.dead->name, letter->partition, letter->offset, index)) {
        no_memory(t);
        return 1;
    }
    d->state = "dead";
    d->attempts = dead->attempts;
    d->at_ms = dead->died_ms;
    snprintf(d->reason, sizeof d->reason, "%s", dead->reason);
    /* A letter knows all failures, those of earlier letters included. */
    buf_clear(&d->history);
    size_t len = strlen(dead->history);
    if (len > 2)
        buf_append(&d->history, dead->history + 1, len - 2);
    return 0;
}

static int take_happening(void *ctx, const struct queue_happening *h)
{
    struct trace *t = ctx;
    struct step *s = step_at(t, beck_str(h->bus), h->partition, h->offset);
    if (!s)
        return 0;
    struct delivery *d = delivery_of(t, s, h->queue);
    if (!d)
        return 1;
    bool letter = h->bus == t->b->home.dead->name;
    /* What came before a death stands in the letter. */
    if (d->state && strcmp(d->state, "dead") == 0 && !letter && h->at_ms <= d->at_ms)
        return 0;
    d->reason[0] = 0;
    d->at_ms = h->at_ms;
    if (h->settled) {
        d->state = "settled";
        d->attempts++;
    } else {
        d->state = h->due_ms > h->at_ms ? "delayed" : "ready";
        d->at_ms = h->due_ms > h->at_ms ? h->due_ms : h->at_ms;
        d->attempts = h->attempts;
        add_failure(d, h->failure);
    }
    return 0;
}

/* How it stands now is known for certain. */
static void take_standing(struct trace *t, struct step *s, struct queue *q, int64_t now_ms)
{
    struct queue_standing stand;
    queue_stand(q, &s->event, &stand);
    if (!stand.known)
        return;
    struct delivery *d = s->deliveries;
    while (d && d->queue != q)
        d = d->next;
    if (!d && !stand.bound && !stand.owed)
        return;
    d = delivery_of(t, s, q);
    if (!d)
        return;
    if (stand.in_flight) {
        d->state = "in_flight";
        d->attempts = stand.attempts + 1;
        d->at_ms = 0;
    } else if (stand.owed &&
               (!d->state || strcmp(d->state, "delayed") != 0 || d->at_ms <= now_ms)) {
        bool later = !d->state && s->event.deliver_at_ms > now_ms;
        d->state = later ? "delayed" : "ready";
        d->at_ms = later ? s->event.deliver_at_ms : 0;
    } else if (!stand.owed &&
               (!d->state || strcmp(d->state, "ready") == 0 || strcmp(d->state, "delayed") == 0)) {
        d->state = "finished";
        d->at_ms = 0;
    }
}

static beck_status ask_queues(struct trace *t)
{
    struct queue_home *home = &t->b->home;
    beck_status status = dead_each_kept(home, take_letter, t, t->err);
    if (!status && !t->status)
        status = queues_each_happening(home, find_queue, take_happening, t, t->err);
    if (status || t->status)
        return t->status ? t->status : status;
    int64_t now_ms = clock_wall_ms(t->b->env.clock);
    for (size_t i = 0; i < t->count; i++)
        for (size_t k = t->sources.view.queue_count; k-- > 0;)
            take_standing(t, t->steps[i], t->sources.view.queues[k], now_ms);
    return t->status;
}

/* ---- telling ---- */

struct telling {
    int (*each)(void *ctx, const beck_trace_step *step);
    void *ctx;
    beck_trace_delivery *deliveries;
    char **histories;
    size_t cap;
};

static void release_histories(struct telling *g, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(g->histories[i]);
}

static beck_status tell(struct trace *t, struct telling *g, const struct step *s, bool *ended)
{
    size_t count = 0;
    beck_status status = BECK_OK;
    for (const struct delivery *d = s->deliveries; d && !status; d = d->next) {
        if (!d->state)
            continue;
        char *history = malloc(d->history.len + 3);
        if (!history) {
            status = no_memory(t);
            break;
        }
        sprintf(history, "[%.*s]", (int)d->history.len, (const char *)d->history.data);
        g->histories[count] = history;
        g->deliveries[count++] = (beck_trace_delivery){.queue = queue_name(d->queue),
                                                       .state = d->state,
                                                       .attempts = d->attempts,
                                                       .at_ms = d->at_ms,
                                                       .reason = d->reason,
                                                       .history = history};
    }
    beck_trace_step step = {.event = &s->event,
                            .depth = s->depth,
                            .deliveries = g->deliveries,
                            .delivery_count = count};
    if (!status)
        *ended = g->each(g->ctx, &step) != 0;
    release_histories(g, count);
    return status;
}

/* Depth first, without recursion: down to the first child, else on to the next sibling of the
 * nearest that has one. */
static beck_status tell_tree(struct trace *t, struct telling *g, size_t root, bool *ended)
{
    beck_status status = BECK_OK;
    t->steps[root]->depth = 0;
    for (size_t i = root; i != NONE && !status && !*ended;) {
        struct step *s = t->steps[i];
        status = tell(t, g, s, ended);
        if (s->first_child != NONE) {
            t->steps[s->first_child]->depth = s->depth + 1;
            i = s->first_child;
            continue;
        }
        while (i != root && t->steps[i]->next_sibling == NONE)
            i = t->steps[i]->parent;
        if (i == root)
            break;
        t->steps[t->steps[i]->next_sibling]->depth = t->steps[i]->depth;
        i = t->steps[i]->next_sibling;
    }
    return status;
}

static beck_status tell_all(struct trace *t, struct telling *g)
{
    g->cap = t->sources.view.queue_count + 1;
    g->deliveries = malloc(g->cap * sizeof *g->deliveries);
    g->histories = malloc(g->cap * sizeof *g->histories);
    beck_status status = g->deliveries && g->histories ? BECK_OK : no_memory(t);
    bool ended = false;
    for (size_t i = 0; i < t->count && !status && !ended; i++)
        if (t->steps[i]->parent == NONE)
            status = tell_tree(t, g, i, &ended);
    free(g->deliveries);
    free(g->histories);
    return status;
}

static beck_status gather(struct trace *t, beck_bytes id)
{
    bool more = true;
    beck_status status = trace_open_index(t->b, &t->index, t->err);
    while (!status && more)
        status = trace_sources_catch_up(t->index, &t->sources, INT64_MAX, true, &more, t->err);
    return status ? status : collect(t, id);
}

static void trace_release(struct trace *t)
{
    for (size_t i = 0; i < t->sources.count && t->cursors; i++)
        cursor_close(t->cursors[i]);
    for (size_t i = 0; i < t->count; i++)
        step_free(t->steps[i]);
    free(t->cursors);
    free(t->steps);
    free(t->places);
    trace_sources_release(&t->sources);
}

beck_status beck_trace(beck *b, const char *id, size_t max,
                       int (*each)(void *ctx, const beck_trace_step *step), void *ctx,
                       beck_error *err)
{
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    if (!id || !*id || strlen(id) > EVENT_ATTRIBUTE_MAX)
        return error_set(err, BECK_EINVAL,
                         "a trace needs the id of an event or a correlation id of 1 to %d bytes",
                         EVENT_ATTRIBUTE_MAX);
    if (!each)
        return error_set(err, BECK_EINVAL, "a trace needs a function");
    if (b->remote && !b->read_only)
        return remote_trace(b->remote, id, max, each, ctx, err);
    struct trace t = {.b = b, .max = max ? max : STEPS_DEFAULT, .err = err};
    beck_status status = trace_sources_take(b, &t.sources, err);
    if (status)
        return status;
    t.cursors = calloc(t.sources.count + 1, sizeof *t.cursors);
    status = t.cursors ? BECK_OK : no_memory(&t);
    if (!status) {
        mutex_lock(&b->trace_lock);
        trace_sources_incarnations(b, &t.sources);
        status = gather(&t, beck_str(id));
        trace_index_close(t.index);
        mutex_unlock(&b->trace_lock);
    }
    if (!status && t.count == 0)
        status = error_set(err, BECK_ENOENT,
                           "no event that is stored has the id or correlation id \"%s\"", id);
    if (!status)
        status = link_steps(&t);
    if (!status)
        status = ask_queues(&t);
    struct telling g = {.each = each, .ctx = ctx};
    if (!status)
        status = tell_all(&t, &g);
    trace_release(&t);
    return status;
}
