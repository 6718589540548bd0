/*
 * Burials: dead letters of which the source lets go once all queues that get them have them for certain
 * (x-dead-letter-strategy at-least-once).
 *
 * A dead letter is appended, with the sync not waited for, and waits in its queue until that has happened. Which
 * queues have it is remembered meanwhile, so that one that refuses it is tried again alone. Whatever of this is
 * forgotten, by the end of the process or because it waits no more, costs that it is sent twice.
 */
#include "broker/burial.h"

#include <stdlib.h>

#define BURIALS_MAX 64 /* of a queue: twice what the engine gives at once */

struct burial {
    struct burial *next;
    uint64_t note;
    uint32_t syncs; /* under way */
    bool failed;    /* one of them */
    bool refused;   /* a queue has refused it */
    bool streamed;
    uint64_t *have; /* numbers of queues, from the last append on only if it is synced */
    size_t have_count;
};

static void burial_free(struct burial *b)
{
    free(b->have);
    free(b);
}

/* With home.lock, as the next. */
static struct burial **find(struct broker_queue *q, uint64_t note)
{
    struct burial **at = &q->burials;
    while (*at && (*at)->note != note)
        at = &(*at)->next;
    return at;
}

static void unlink_at(struct broker_queue *q, struct burial **at)
{
    struct burial *b = *at;
    *at = b->next;
    q->burial_count--;
    burial_free(b);
}

/* What was taken from its queue while it waited is never asked for again. */
static void forget_oldest(struct broker_queue *q)
{
    struct burial **oldest = NULL;
    for (struct burial **at = &q->burials; *at; at = &(*at)->next)
        if ((*at)->syncs == 0)
            oldest = at;
    if (oldest && q->burial_count >= BURIALS_MAX)
        unlink_at(q, oldest);
}

enum burial_state burial_look(struct delivery_home *h, struct broker_queue *q, uint64_t note)
{
    enum burial_state state = BURIAL_NEW;
    mutex_lock(&h->lock);
    struct burial **at = find(q, note), *b = *at;
    if (b && b->syncs > 0) {
        state = BURIAL_WAITS;
    } else if (b && b->failed) {
        unlink_at(q, at);
    } else if (b && b->refused) {
        state = BURIAL_PART;
    } else if (b) {
        unlink_at(q, at);
        state = BURIAL_DONE;
    }
    mutex_unlock(&h->lock);
    return state;
}

bool burial_has(struct delivery_home *h, struct broker_queue *q, uint64_t note,
                const struct broker_queue *target)
{
    bool has = false;
    mutex_lock(&h->lock);
    struct burial *b = *find(q, note);
    if (b && target->kind == QUEUE_STREAM)
        has = b->streamed;
    for (size_t i = 0; b && i < b->have_count && !has; i++)
        has = b->have[i] == target->number;
    mutex_unlock(&h->lock);
    return has;
}

void burials_free(struct broker_queue *q)
{
    while (q->burials)
        unlink_at(q, &q->burials);
}

static struct burial *begin(struct delivery_home *h, struct broker_queue *q, uint64_t *note)
{
    mutex_lock(&h->lock);
    struct burial *b = *find(q, *note);
    if (!b && (b = calloc(1, sizeof *b))) {
        forget_oldest(q);
        b->note = *note = BURIAL_NONE + ++h->burial_notes;
        b->next = q->burials;
        q->burials = b;
        q->burial_count++;
    }
    if (b) {
        b->refused = false;
        b->syncs++; /* so that it stays; until all is sent */
    }
    mutex_unlock(&h->lock);
    return b;
}

/* One part less is under way. */
static void end_part(struct delivery_home *h, struct broker_queue *q, struct burial *b, bool failed)
{
    mutex_lock(&h->lock);
    b->failed |= failed;
    bool last = --b->syncs == 0, again = b->failed || b->refused;
    mutex_unlock(&h->lock);
    if (last)
        helper_bury_again(h, q, again);
}

/* ---- sending ---- */

struct part {
    struct delivery_home *home;
    struct broker_queue *queue;
    struct burial *burial;
};

static void part_synced(void *ctx, beck_status status, const beck_published *published)
{
    struct part *part = ctx;
    struct delivery_home *h = part->home;
    (void)published;
    end_part(h, part->queue, part->burial, status != BECK_OK);
    broker_queue_release(part->queue);
    free(part);
    mutex_lock(&h->lock);
    if (--h->burials_syncing == 0)
        cond_broadcast(&h->quiet);
    mutex_unlock(&h->lock);
}

void burials_wait(struct delivery_home *h)
{
    mutex_lock(&h->lock);
    while (h->burials_syncing > 0)
        cond_wait(&h->quiet, &h->lock);
    mutex_unlock(&h->lock);
}

struct sending {
    struct delivery_home *home;
    struct broker_queue *queue;
    struct burial *burial;
    beck_bus *bus;
    const beck_event *event;
    beck_bytes content;
    bool synced;
};

static beck_status note_have(const struct sending *s, struct broker_queue *const *to, size_t count)
{
    struct burial *b = s->burial;
    beck_status status = BECK_OK;
    mutex_lock(&s->home->lock);
    uint64_t *grown = realloc(b->have, (b->have_count + count) * sizeof *grown);
    if (grown) {
        b->have = grown;
        for (size_t i = 0; i < count; i++)
            b->have[b->have_count++] = to[i]->number;
    } else {
        status = BECK_ENOMEM;
    }
    mutex_unlock(&s->home->lock);
    return status;
}

static beck_status append_synced(const struct sending *s, const struct bus_addressed *to,
                                 beck_error *err)
{
    struct part *part = malloc(sizeof *part);
    if (!part)
        return error_set(err, BECK_ENOMEM, "no memory to wait for a sync");
    *part = (struct part){s->home, broker_queue_retain(s->queue), s->burial};
    mutex_lock(&s->home->lock);
    s->home->burials_syncing++;
    s->burial->syncs++;
    mutex_unlock(&s->home->lock);
    beck_publish_options o = {
        .level = BECK_LEVEL_SYNCED, .done = part_synced, .done_ctx = part, .no_context = true};
    beck_status status = bus_publish_addressed(s->bus, s->event, to, 1, &o, NULL, err);
    if (!status)
        return BECK_OK;
    mutex_lock(&s->home->lock);
    s->burial->syncs--;
    if (--s->home->burials_syncing == 0)
        cond_broadcast(&s->home->quiet);
    mutex_unlock(&s->home->lock);
    broker_queue_release(s->queue);
    free(part);
    return status;
}

/* To some of the queues of its way, all or none. */
static beck_status send_to(const struct sending *s, struct broker_queue *const *to,
                           struct queue *const *engines, size_t count, beck_error *err)
{
    static const beck_publish_options written = {.level = BECK_LEVEL_WRITTEN, .no_context = true};
    struct bus_addressed a = {
        .queues = (struct queue **)engines, .queue_count = count, .content = s->content};
    beck_status status = s->synced
                             ? append_synced(s, &a, err)
                             : bus_publish_addressed(s->bus, s->event, &a, 1, &written, NULL, err);
    /* Where that cannot be noted they may get it twice. */
    if (!status)
        note_have(s, to, count);
    return status;
}

static beck_status send_all(const struct sending *s, const struct route *r, beck_error *err)
{
    beck_status status = send_to(s, r->queues, r->engines, r->engine_count, err);
    if (status != BECK_ELIMIT)
        return status;
    bool refused = false;
    for (size_t i = 0; i < r->engine_count; i++) {
        status = send_to(s, &r->queues[i], &r->engines[i], 1, err);
        refused |= status == BECK_ELIMIT;
        if (status && status != BECK_ELIMIT)
            return status;
    }
    return refused ? BECK_ELIMIT : BECK_OK;
}

/* All of them; after an error some get it twice. */
static beck_status send_to_streams(struct sending *s, const struct route *r, beck_error *err)
{
    struct bus_addressed to = {.content = s->content};
    beck_status status = BECK_OK;
    for (size_t k = r->engine_count; k < r->count && !status; k++) {
        s->bus = r->queues[k]->bus;
        status = append_synced(s, &to, err);
        if (status == BECK_ECLOSED) /* it was deleted */
            status = BECK_OK;
    }
    s->burial->streamed |= status == BECK_OK && r->count > r->engine_count;
    return status;
}

beck_status burial_send(struct delivery_home *h, struct broker_queue *q, const struct route *r,
                        enum storage storage, const beck_event *e, beck_bytes content,
                        uint64_t *note, beck_error *err)
{
    struct burial *b = begin(h, q, note);
    if (!b)
        return error_set(err, BECK_ENOMEM, "no memory for a dead letter");
    struct sending s = {.home = h,
                        .queue = q,
                        .burial = b,
                        .bus = route_bus(h, r, storage),
                        .event = e,
                        .content = content,
                        .synced = storage == STORE_KEPT};
    beck_status status = storage == STORE_NOWHERE ? BECK_OK : send_all(&s, r, err);
    if (!status || status == BECK_ELIMIT) {
        beck_status streams = send_to_streams(&s, r, err);
        status = streams ? streams : status;
    }
    mutex_lock(&h->lock);
    b->refused = status != BECK_OK;
    mutex_unlock(&h->lock);
    end_part(h, q, b, false);
    return status;
}
