/*
 * Dead letters: events of the bus __dead_letters, one partition for all queues.
 *
 * A dead letter is the event as it was, with extensions that say whose it is and why: beckqueue,
 * beckreason, beckattempts, beckdied (ms), beckhistory (JSON objects), beckorigin and beckentry
 * ("<bus>/<partition>/<offset>"): where the event was published, and where the entry that died was
 * found (a dead letter again, if it had been put back). Appending it is what takes the entry out of
 * its queue: one append, so nothing is between. A queue knows the offsets of its dead letters;
 * putting one back makes it an entry of the queue that points at the dead letter.
 *
 * Of an event that is damaged nothing is known but where it was: its dead letter, with the reason
 * "unreadable", stands for it. Put back, the event is looked for there again.
 */
#include "queue/queue_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define OWN_EXTENSIONS 7

static bool place_parse(beck_bytes text, beck_bytes *bus, beck_position *out)
{
    const char *data = text.data;
    size_t slash2 = text.len, slash1;
    while (slash2 > 0 && data[slash2 - 1] != '/')
        slash2--;
    if (slash2 < 2)
        return false;
    slash1 = slash2 - 1;
    while (slash1 > 0 && data[slash1 - 1] != '/')
        slash1--;
    if (slash1 < 2)
        return false;
    uint64_t partition, offset;
    if (!bytes_to_u64(bytes_of(data + slash1, slash2 - 1 - slash1), &partition) ||
        !bytes_to_u64(bytes_of(data + slash2, text.len - slash2), &offset) ||
        partition > UINT32_MAX || offset > INT64_MAX)
        return false;
    *bus = bytes_of(data, slash1 - 1);
    *out = (beck_position){(uint32_t)partition, (int64_t)offset};
    return true;
}

bool dead_open(const beck_event *stored, struct dead_parts *out)
{
    beck_bytes origin = {0}, entry = {0}, attempts = {0}, died = {0};
    out->queue = out->reason = out->history = (beck_bytes){0};
    const struct {
        const char *name;
        beck_bytes *value;
    } own[OWN_EXTENSIONS] = {{"beckqueue", &out->queue},     {"beckreason", &out->reason},
                             {"beckattempts", &attempts},    {"beckdied", &died},
                             {"beckhistory", &out->history}, {"beckorigin", &origin},
                             {"beckentry", &entry}};
    out->event = *stored;
    size_t kept = 0;
    for (size_t i = 0; i < stored->extension_count; i++) {
        const beck_attribute *a = &stored->extensions[i];
        size_t k = 0;
        while (k < OWN_EXTENSIONS && !bytes_equal_text(a->name, own[k].name))
            k++;
        if (k < OWN_EXTENSIONS)
            *own[k].value = own[k].value->data ? *own[k].value : a->value;
        else if (kept < RECORD_EXTENSIONS_MAX)
            out->extensions[kept++] = *a;
    }
    uint64_t n = 0, ms = 0;
    if (!out->queue.len || !bytes_to_u64(attempts, &n) || !bytes_to_u64(died, &ms) ||
        !place_parse(origin, &out->origin_bus, &out->origin) ||
        !place_parse(entry, &out->entry_bus, &out->entry))
        return false;
    out->attempts = (uint32_t)n;
    out->died_ms = (int64_t)ms;
    out->event.extensions = out->extensions;
    out->event.extension_count = kept;
    out->event.bus = out->origin_bus;
    out->event.position = out->origin;
    return true;
}

/* ---- the queue's list of them ---- */

/* Room for one more, and for those that may be put back on it. */
static beck_status reserve_letter(struct queue *q)
{
    if (q->dead_count + q->dead_claimed < q->dead_cap)
        return BECK_OK;
    size_t cap = q->dead_cap ? q->dead_cap * 2 : 16;
    int64_t *grown = realloc(q->dead, cap * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    q->dead = grown;
    q->dead_cap = cap;
    return BECK_OK;
}

beck_status dead_add(struct queue *q, int64_t offset)
{
    if (q->dead_count == q->dead_cap && reserve_letter(q))
        return BECK_ENOMEM;
    size_t i = q->dead_count++;
    for (; i > 0 && q->dead[i - 1] > offset; i--)
        q->dead[i] = q->dead[i - 1];
    q->dead[i] = offset;
    if (offset >= q->dead_next)
        q->dead_next = offset + 1;
    q->dirty = true;
    return BECK_OK;
}

bool dead_remove(struct queue *q, int64_t offset)
{
    size_t low = 0, high = q->dead_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (q->dead[middle] < offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == q->dead_count || q->dead[low] != offset)
        return false;
    q->dead_count--;
    memmove(q->dead + low, q->dead + low + 1, (q->dead_count - low) * sizeof *q->dead);
    q->dirty = true;
    return true;
}

/* ---- dying ---- */

struct letter {
    beck_attribute extensions[RECORD_EXTENSIONS_MAX];
    char attempts[12], died[24], origin[320], entry[320];
    struct buf history;
};

/* The failures before its earlier deaths, those since, and this one: the last of them. */
static beck_status compose_history(struct queue *q, const struct limbo *l,
                                   const struct dead_parts *earlier, int64_t now_ms,
                                   struct buf *out)
{
    struct buf all;
    buf_init(&all, 2 * EVENT_EXTENSION_VALUE_MAX);
    beck_status status = BECK_OK;
    if (earlier)
        status = buf_append(&all, earlier->history.data, earlier->history.len);
    mutex_lock(&q->lock);
    if (!status)
        status = histories_write(&q->histories, l->entry.where, &all);
    mutex_unlock(&q->lock);
    bool delivered = strcmp(l->reason, "rejected") == 0 || strcmp(l->reason, "attempts") == 0;
    if (!status && (l->why[0] || delivered)) {
        if (all.len)
            status = buf_append_byte(&all, ',');
        if (!status)
            status = history_format(&all, entry_attempts(&l->entry), now_ms, l->why);
    }
    beck_bytes last = history_last(buf_bytes(&all));
    if (!status)
        status = buf_append(out, last.data, last.len);
    buf_release(&all);
    return status;
}

/* Makes the dead letter of an event that was read from a source. */
static beck_status compose(struct queue *q, const struct limbo *l, const beck_event *event,
                           const struct dead_parts *earlier, struct letter *t, beck_event *out)
{
    const beck_event *e = earlier ? &earlier->event : event;
    int64_t now_ms = clock_wall_ms(q->home->env->clock);
    *out = *e;
    snprintf(t->attempts, sizeof t->attempts, "%u", entry_attempts(&l->entry));
    snprintf(t->died, sizeof t->died, "%lld", (long long)now_ms);
    mutex_lock(&q->lock);
    const struct source *s = &q->sources[entry_source(&l->entry)];
    snprintf(t->entry, sizeof t->entry, "%s/%u/%lld", s->bus_name, s->number,
             (long long)entry_offset(&l->entry));
    mutex_unlock(&q->lock);
    snprintf(t->origin, sizeof t->origin, "%.*s/%u/%lld", (int)e->bus.len,
             (const char *)e->bus.data, e->position.partition, (long long)e->position.offset);
    beck_status status = compose_history(q, l, earlier, now_ms, &t->history);
    const beck_attribute own[OWN_EXTENSIONS] = {{beck_str("beckqueue"), beck_str(q->name)},
                                                {beck_str("beckreason"), beck_str(l->reason)},
                                                {beck_str("beckattempts"), beck_str(t->attempts)},
                                                {beck_str("beckdied"), beck_str(t->died)},
                                                {beck_str("beckhistory"), buf_bytes(&t->history)},
                                                {beck_str("beckorigin"), beck_str(t->origin)},
                                                {beck_str("beckentry"), beck_str(t->entry)}};
    /* Ours are the first, which stand where a publisher has set some of the same name. */
    memcpy(t->extensions, own, sizeof own);
    size_t n = OWN_EXTENSIONS;
    for (size_t i = 0; i < e->extension_count && n < RECORD_EXTENSIONS_MAX; i++)
        t->extensions[n++] = e->extensions[i];
    out->extensions = t->extensions;
    out->extension_count = n;
    return status;
}

static beck_status append_letter(struct queue *q, const beck_event *letter,
                                 const struct carried *carried, beck_error *err)
{
    const beck_event *list[] = {letter};
    /* Once it is appended the hook must not fail for want of memory. */
    mutex_lock(&q->lock);
    beck_status status = reserve_letter(q);
    mutex_unlock(&q->lock);
    if (status)
        return error_set(err, status, "no memory for a dead letter");
    struct routed route = {.route = queue_retain(q), .offset = 0, .count = 1};
    struct carried content = {.content = carried->content};
    struct append a = {.events = list,
                       .count = 1,
                       .carried = content.content.len > 0 ? &content : NULL,
                       .routes = &route,
                       .route_count = 1,
                       .level = BECK_LEVEL_WRITTEN,
                       .generation = atomic_load(&q->home->dead->topology)};
    /* The hook puts it on the queue's list and gives the reference back; also when it fails later
     * than here. */
    status = partition_append(bus_partition(q->home->dead, 0), &a, err);
    if (status && a.first_offset < 0)
        queue_release(q);
    return status;
}

/* The entry leaves the queue with nothing to show for it. */
static beck_status vanish(struct queue *q, const struct limbo *l, beck_error *err)
{
    int64_t bytes = l->size > 0 ? l->size : 0;
    beck_status status = q->durable ? state_settled(q, &l->entry, 1, bytes, err) : BECK_OK;
    if (status)
        return status;
    mutex_lock(&q->lock);
    histories_remove(&q->histories, l->entry.where);
    q->dirty = true;
    mutex_unlock(&q->lock);
    queue_disown(q, &l->entry, 1);
    return BECK_OK;
}

static beck_status bury_event(struct queue *q, const struct limbo *l, const beck_event *event,
                              const struct carried *carried, const struct dead_parts *earlier,
                              beck_error *err)
{
    struct letter *t = malloc(sizeof *t);
    if (!t)
        return error_set(err, BECK_ENOMEM, "no memory for a dead letter");
    beck_event letter;
    buf_init(&t->history, 2 * EVENT_EXTENSION_VALUE_MAX);
    beck_status status = compose(q, l, event, earlier, t, &letter);
    if (status)
        error_set(err, status, "no memory for a dead letter");
    else
        status = append_letter(q, &letter, carried, err);
    buf_release(&t->history);
    free(t);
    return status;
}

/* In the place of an event that is damaged. */
static beck_status bury_unreadable(struct queue *q, const struct limbo *l, beck_error *err)
{
    static const struct carried nothing;
    char source[300], id[340];
    mutex_lock(&q->lock);
    const struct source *s = &q->sources[entry_source(&l->entry)];
    beck_event e = {.type = beck_str("unreadable"),
                    .position = {s->number, entry_offset(&l->entry)}};
    snprintf(source, sizeof source, "/%s", s->bus_name);
    snprintf(id, sizeof id, "%s/%u/%lld", s->bus_name, s->number,
             (long long)entry_offset(&l->entry));
    mutex_unlock(&q->lock);
    e.source = beck_str(source);
    e.bus = beck_str(source + 1);
    e.id = beck_str(id);
    return bury_event(q, l, &e, &nothing, NULL, err);
}

/* Events mostly die in order: a cursor that stands behind the last one finds the next at once. Only
 * for whoever is working on limbo. */
static beck_status grave_cursor(struct queue *q, uint32_t source, struct cursor **out,
                                beck_error *err)
{
    uint32_t deletions = atomic_load(&q->deletions);
    if (q->grave && (q->grave_source != source || q->grave_deletions != deletions)) {
        cursor_close(q->grave);
        q->grave = NULL;
    }
    beck_status status = q->grave ? BECK_OK : queue_open_cursor(q, source, &q->grave, err);
    if (status)
        return status;
    q->grave_source = source;
    q->grave_deletions = deletions;
    *out = q->grave;
    return BECK_OK;
}

void dead_rest(struct queue *q)
{
    struct cursor *c = NULL;
    mutex_lock(&q->lock);
    if (!q->limbo_working && !queue_limbo_has_work(q)) {
        c = q->grave;
        q->grave = NULL;
    }
    mutex_unlock(&q->lock);
    cursor_close(c);
}

/* BECK_END: it cannot be had any more. BECK_ECORRUPT: it is there, and damaged; that is reported. The view is valid
 * until the next call. */
static beck_status read_dying(struct queue *q, const struct limbo *l,
                              const struct record_view **view, beck_error *err)
{
    struct cursor *c = NULL;
    beck_status status = grave_cursor(q, entry_source(&l->entry), &c, err);
    int64_t skip_to = entry_offset(&l->entry) + 1;
    if (!status)
        status = cursor_read(c, entry_offset(&l->entry), true, view, &skip_to, err);
    if (!status && (*view)->offset == entry_offset(&l->entry))
        return BECK_OK;
    if (status == BECK_ECORRUPT || (status == BECK_ENOENT && c)) {
        queue_report_damage(q, &l->entry, skip_to, err);
        return BECK_ECORRUPT;
    }
    bool lost = !status || status == BECK_END || status == BECK_ENOENT;
    return lost ? BECK_END : status;
}

static int64_t size_of(const struct limbo *l, const struct record_view *view)
{
    return entry_source(&l->entry) == DEAD_SOURCE ? 0 : (int64_t)view->event.data.len;
}

int64_t dead_measure(struct queue *q, const struct limbo *l)
{
    const struct record_view *view;
    beck_error why = {0};
    return read_dying(q, l, &view, &why) ? 0 : size_of(l, view);
}

/* By the function that takes the place of the dead letters. */
static beck_status hand_over(struct queue *q, struct limbo *l, const struct record_view *view,
                             const struct dead_parts *earlier, beck_error *err)
{
    const beck_event *e = earlier ? &earlier->event : &view->event;
    mutex_lock(&q->lock);
    size_t waiting = q->limbo_waiting, under_way = waiting - q->limbo_failed;
    mutex_unlock(&q->lock);
    if (!l->waits && waiting >= WAITING_MAX)
        return error_set(err, BECK_ELIMIT, "%zu of its dead letters wait for their target",
                         waiting);
    if (!l->waits && under_way >= BURIED_AT_ONCE) {
        l->waits = true;
        return error_set(err, BECK_EBUSY, "others wait before it");
    }
    beck_status status = q->bury(q->bury_ctx, q, e, &view->carried, l->reason,
                                 entry_attempts(&l->entry), &l->note, err);
    l->failed = status == BECK_ELIMIT && l->note != 0;
    if (l->failed)
        status = BECK_EBUSY;
    l->waits |= status == BECK_EBUSY && l->note != 0;
    return status ? status : vanish(q, l, err);
}

static beck_status bury(struct queue *q, struct limbo *l, const struct record_view *view,
                        beck_error *err)
{
    struct dead_parts *earlier = NULL;
    beck_status status = BECK_OK;
    if (queue_source_is_dead(q, entry_source(&l->entry))) {
        earlier = malloc(sizeof *earlier);
        if (!earlier)
            status = error_set(err, BECK_ENOMEM, "no memory for a dead letter");
        else if (!dead_open(&view->event, earlier))
            status =
                error_set(err, BECK_ECORRUPT, "a dead letter of queue \"%s\" is not one", q->name);
    }
    /* Who buries has no use for what only stands for an event. */
    if (!status && q->bury && strcmp(l->reason, "unreadable") != 0)
        status = hand_over(q, l, view, earlier, err);
    else if (!status)
        status = bury_event(q, l, &view->event, &view->carried, earlier, err);
    free(earlier);
    return status;
}

beck_status dead_bury(struct queue *q, struct limbo *l, beck_error *err)
{
    mutex_lock(&q->lock);
    bool unread = q->options.no_dead_letters && !q->bury;
    mutex_unlock(&q->lock);
    if (unread && l->size >= 0)
        return vanish(q, l, err);
    const struct record_view *view = NULL;
    beck_error why = {0};
    beck_status status = read_dying(q, l, &view, &why);
    bool damaged = status == BECK_ECORRUPT;
    if (status && status != BECK_END && !damaged)
        return error_set(err, status, "%s", why.text);
    if (!status && l->size < 0)
        l->size = size_of(l, view);
    /* That a queue keeps no dead letters is not said of what may be found again. */
    bool unreadable = damaged || strcmp(l->reason, "unreadable") == 0;
    if (status == BECK_END || (unread && strcmp(l->reason, "unreadable") != 0))
        return vanish(q, l, err);
    bool letter = !q->bury || unreadable;
    status = damaged ? bury_unreadable(q, l, err) : bury(q, l, view, err);
    if (status)
        return status;
    mutex_lock(&q->lock);
    if (letter)
        histories_remove(&q->histories, l->entry.where);
    queue_count_dead(q, l->reason);
    mutex_unlock(&q->lock);
    if (letter)
        queue_disown(q, &l->entry, 1);
    return BECK_OK;
}

/* ---- looking at them, putting them back, forgetting them ---- */

static beck_status copy_offsets(struct queue *q, int64_t offset, size_t max, int64_t **out,
                                size_t *count, beck_error *err)
{
    mutex_lock(&q->lock);
    size_t n = offset >= 0 ? 1 : q->dead_count;
    if (max && n > max)
        n = max;
    bool found = offset < 0;
    for (size_t i = 0; i < q->dead_count && !found; i++)
        found = q->dead[i] == offset;
    *out = malloc((n ? n : 1) * sizeof **out);
    if (*out && offset >= 0)
        (*out)[0] = offset;
    else if (*out && n > 0)
        memcpy(*out, q->dead, n * sizeof **out);
    mutex_unlock(&q->lock);
    if (!*out)
        return error_set(err, BECK_ENOMEM, "no memory for the list of dead letters");
    if (!found) {
        free(*out);
        return error_set(err, BECK_ENOENT, "queue \"%s\" has no dead letter %lld", q->name,
                         (long long)offset);
    }
    *count = n;
    return BECK_OK;
}

int dead_show(const struct record_view *view, struct dead_parts *parts,
              int (*each)(void *ctx, const beck_dead *dead), void *ctx)
{
    if (!dead_open(&view->event, parts))
        return 0;
    struct buf text;
    buf_init(&text, 1u << 20);
    beck_dead d = {.attempts = parts->attempts, .died_ms = parts->died_ms, .origin = parts->origin};
    beck_event event = parts->event;
    event.position = (beck_position){0, view->offset};
    d.event = &event;
    int stop = 0;
    bool good = !buf_append_byte(&text, '[') &&
                !buf_append(&text, parts->history.data, parts->history.len) &&
                !buf_append(&text, "]", 2);
    size_t reason = text.len;
    good = good && !buf_append(&text, parts->reason.data, parts->reason.len) &&
           !buf_append_byte(&text, 0);
    if (good) {
        d.history = (const char *)text.data;
        d.reason = (const char *)text.data + reason;
        stop = each(ctx, &d);
    }
    buf_release(&text);
    return stop;
}

beck_status dead_list(struct queue *q, size_t max, int (*each)(void *ctx, const beck_dead *dead),
                      void *ctx, beck_error *err)
{
    int64_t *offsets;
    size_t count;
    beck_status status = copy_offsets(q, -1, max, &offsets, &count, err);
    if (status)
        return status;
    struct cursor *c = NULL;
    struct dead_parts *parts = malloc(sizeof *parts);
    if (!parts)
        status = error_set(err, BECK_ENOMEM, "no memory to read dead letters");
    if (!status)
        status = cursor_open(bus_partition(q->home->dead, 0), &c, err);
    for (size_t i = 0; i < count && !status; i++) {
        const struct record_view *view;
        status = cursor_read(c, offsets[i], true, &view, NULL, err);
        if (status == BECK_END) {
            status = BECK_OK;
            continue;
        }
        if (!status && view->offset == offsets[i] && dead_show(view, parts, each, ctx))
            break;
    }
    cursor_close(c);
    free(parts);
    free(offsets);
    return status;
}

/* Removes from the list those offsets that are still on it; the others are taken out of `offsets`.
 */
static size_t claim(struct queue *q, int64_t *offsets, size_t count)
{
    size_t n = 0;
    mutex_lock(&q->lock);
    for (size_t i = 0; i < count; i++)
        if (dead_remove(q, offsets[i]))
            offsets[n++] = offsets[i];
    q->operations += n > 0;
    q->dead_claimed += n;
    mutex_unlock(&q->lock);
    return n;
}

static void end_claim(struct queue *q, size_t count)
{
    q->dead_claimed -= count;
    if (--q->operations == 0)
        cond_broadcast(&q->quiet);
}

static void unclaim(struct queue *q, const int64_t *offsets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        dead_add(q, offsets[i]);
}

#define AT_ONCE 100000 /* offsets in one operation */

struct entry dead_entry(const struct queue *q, int64_t offset, uint32_t level)
{
    uint64_t tail = q->levels[level] ? fifo_tail(q->levels[level]) : 0;
    return (struct entry){.where = entry_where(DEAD_SOURCE, offset),
                          .meta = ENTRY_DELIVERED,
                          .seq = entry_seq(level, tail)};
}

beck_status dead_levels(struct queue *q, const int64_t *offsets, size_t count, uint8_t **out,
                        beck_error *err)
{
    struct cursor *c = NULL;
    uint8_t *levels = calloc(count + 1, 1);
    beck_status status = levels ? cursor_open(bus_partition(q->home->dead, 0), &c, err)
                                : error_set(err, BECK_ENOMEM, "no memory to put back letters");
    for (size_t i = 0; i < count && !status; i++) {
        const struct record_view *view;
        status = cursor_read(c, offsets[i], true, &view, NULL, err);
        if (status == BECK_END || status == BECK_ECORRUPT) { /* taking it will say so */
            status = BECK_OK;
            continue;
        }
        if (!status)
            levels[i] = (uint8_t)queue_level(q, view->event.priority);
    }
    cursor_close(c);
    if (status)
        free(levels);
    else
        *out = levels;
    return status;
}

/* Letters that have been claimed: one operation. `offsets` are its own. */
static beck_status change_claimed(struct queue *q, enum operation op, const int64_t *offsets,
                                  size_t count, beck_error *err)
{
    uint8_t *levels = NULL;
    beck_status status = BECK_OK;
    bool back = op == OP_REDRIVEN;
    if (back && q->options.priority_max)
        status = dead_levels(q, offsets, count, &levels, err);
    if (!status)
        status = state_dead(q, op, offsets, count, err);
    mutex_lock(&q->lock);
    if (status)
        unclaim(q, offsets, count);
    for (size_t i = 0; i < count && !status && back; i++) {
        struct entry e = dead_entry(q, offsets[i], levels ? levels[i] : 0);
        queue_push_return(q, &e);
    }
    queue_wake(q, count);
    end_claim(q, count);
    mutex_unlock(&q->lock);
    if (!status && !back)
        partition_disown(bus_partition(q->home->dead, 0), offsets, count);
    free(levels);
    return status;
}

static beck_status change(struct queue *q, enum operation op, int64_t offset, int64_t *changed,
                          beck_error *err)
{
    int64_t *offsets;
    size_t count, done = 0;
    beck_status status = copy_offsets(q, offset, 0, &offsets, &count, err);
    if (status)
        return status;
    if (op == OP_REDRIVEN) {
        mutex_lock(&q->lock);
        if (queue_reserve_returns(q, count))
            status = error_set(err, BECK_ENOMEM, "no memory to put %zu dead letters back", count);
        mutex_unlock(&q->lock);
    }
    for (size_t at = 0; at < count && !status; at += AT_ONCE) {
        size_t n = claim(q, offsets + at, count - at < AT_ONCE ? count - at : AT_ONCE);
        if (n > 0)
            status = change_claimed(q, op, offsets + at, n, err);
        done += status ? 0 : n;
    }
    free(offsets);
    if (!status && changed)
        *changed = (int64_t)done;
    return status;
}

beck_status dead_redrive(struct queue *q, int64_t offset, int64_t *redriven, beck_error *err)
{
    return change(q, OP_REDRIVEN, offset, redriven, err);
}

beck_status dead_purge(struct queue *q, int64_t offset, int64_t *purged, beck_error *err)
{
    return change(q, OP_DEAD_PURGED, offset, purged, err);
}
