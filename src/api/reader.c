/*
 * Readers: the events of a bus in order of time, filtered.
 *
 * Each partition is read in its own order by a cursor that stands on its next wanted event; the one
 * with the earliest time is given first. A bounded reader ends where each partition ended when it
 * was opened.
 */
#include "api/handle.h"

#include "event/pattern.h"
#include "log/cursor.h"

#include <stdlib.h>

#define SLICE_NS 20000000  /* how long a follower of several partitions waits for one of them */
#define LOOK_NS 1000000000 /* and one of the only one, before it looks whether there are more now */

struct feed {
    struct partition *partition;
    struct cursor *cursor;
    int64_t next, end;              /* end: INT64_MAX when following */
    const struct record_view *view; /* its next event; NULL: not looked for yet, or none */
};

struct beck_reader {
    beck_bus *bus;
    struct remote_reader *remote; /* of a server's bus: of the rest only the list is used */
    beck_reader *previous, *next; /* of the handle's, with admin_lock */
    struct clock *clock;
    bool follow;
    bool whole; /* follows all partitions, also those that are added */
    int64_t until_ms;
    char *pattern;
    char *subject;
    size_t subject_len;
    struct feed *feeds;
    uint32_t count;
    struct feed *given; /* whose view the caller holds */
};

static beck_status open_feeds(beck_reader *r, const beck_read_options *o, beck_error *err)
{
    uint32_t first = 0, last = r->bus->partition_count;
    if (o->partition_plus_1) {
        if (o->partition_plus_1 < 0 || (uint32_t)o->partition_plus_1 > last)
            return error_set(err, BECK_ENOENT, "bus \"%s\" has no partition %d; it has 0 to %u",
                             r->bus->name, o->partition_plus_1 - 1, last - 1);
        first = (uint32_t)o->partition_plus_1 - 1;
        last = first + 1;
    }
    r->feeds = calloc(last - first, sizeof *r->feeds);
    if (!r->feeds)
        return error_set(err, BECK_ENOMEM, "no memory for a reader");
    beck_status status = BECK_OK;
    bool reached = last - first > 1 && bus_reaches(r->bus, &o->from);
    for (uint32_t i = first; i < last && !status; i++) {
        struct feed *f = &r->feeds[r->count];
        f->partition = bus_partition(r->bus, i);
        f->end = o->follow ? INT64_MAX : partition_visible(f->partition);
        status = partition_resolve_with(f->partition, &o->from, reached, &f->next, err);
        if (!status)
            status = cursor_open(f->partition, &f->cursor, err);
        r->count += !status;
    }
    return status;
}

/* Partitions that the bus got meanwhile are read from their beginning. */
static beck_status add_feeds(beck_reader *r, beck_error *err)
{
    uint32_t count = atomic_load(&r->bus->partition_count);
    if (!r->whole || count == r->count)
        return BECK_OK;
    struct feed *grown = realloc(r->feeds, count * sizeof *grown);
    if (!grown)
        return error_set(err, BECK_ENOMEM, "no memory for a reader");
    r->feeds = grown;
    while (r->count < count) {
        struct feed *f = &r->feeds[r->count];
        *f = (struct feed){.partition = bus_partition(r->bus, r->count), .end = INT64_MAX};
        beck_status status = cursor_open(f->partition, &f->cursor, err);
        if (status)
            return status;
        r->count++;
    }
    return BECK_OK;
}

static void free_reader(beck_reader *r)
{
    remote_reader_close(r->remote);
    for (uint32_t i = 0; r->feeds && i < r->count; i++)
        cursor_close(r->feeds[i].cursor);
    free(r->feeds);
    free(r->pattern);
    free(r->subject);
    free(r);
}

static void join_handle(beck_reader *r, beck *b)
{
    mutex_lock(&b->admin_lock);
    r->next = b->readers;
    if (r->next)
        r->next->previous = r;
    b->readers = r;
    mutex_unlock(&b->admin_lock);
}

static void leave_handle(beck_reader *r, beck *b)
{
    mutex_lock(&b->admin_lock);
    if (r->previous)
        r->previous->next = r->next;
    else
        b->readers = r->next;
    if (r->next)
        r->next->previous = r->previous;
    mutex_unlock(&b->admin_lock);
}

beck_status beck_reader_open(beck_bus *bus, const beck_read_options *options, beck_reader **out,
                             beck_error *err)
{
    if (handle_need(bus, "bus", err))
        return BECK_EINVAL;
    static const beck_read_options defaults;
    const beck_read_options *o = options ? options : &defaults;
    if (bus->options.storage != BECK_STORAGE_DISK && !bus->remote)
        return error_set(err, BECK_EUNSUPPORTED,
                         "bus \"%s\" is in memory and keeps no events to read; use a disk bus, or "
                         "a listener",
                         bus->name);
    if (atomic_load(&bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
    if (o->pattern) {
        beck_status status = pattern_check(beck_str(o->pattern), err);
        if (status)
            return status;
    }
    beck_reader *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, BECK_ENOMEM, "no memory for a reader");
    r->bus = bus;
    if (bus->remote) {
        beck_status status = remote_reader_open(bus, o, &r->remote, err);
        if (status) {
            free(r);
            return status;
        }
        join_handle(r, handle_of(bus));
        *out = r;
        return BECK_OK;
    }
    r->clock = bus->env->clock;
    r->follow = o->follow;
    r->whole = o->follow && !o->partition_plus_1;
    r->until_ms = o->until_time_ms;
    bool all = !o->pattern || strcmp(o->pattern, "#") == 0;
    r->pattern = all ? NULL : strdup(o->pattern);
    if (o->subject.data) {
        r->subject = malloc(o->subject.len + 1);
        r->subject_len = o->subject.len;
        if (r->subject)
            memcpy(r->subject, o->subject.data, o->subject.len);
    }
    beck_status status = BECK_OK;
    if ((!all && !r->pattern) || (o->subject.data && !r->subject))
        status = error_set(err, BECK_ENOMEM, "no memory for a reader");
    if (!status)
        status = open_feeds(r, o, err);
    if (status) {
        free_reader(r);
        return status;
    }
    join_handle(r, handle_of(bus));
    *out = r;
    return BECK_OK;
}

void beck_reader_close(beck_reader *r)
{
    if (!r)
        return;
    leave_handle(r, handle_of(r->bus));
    free_reader(r);
}

void readers_close(beck *b)
{
    while (b->readers)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): closing takes it out of the list */
        beck_reader_close(b->readers);
}

static bool wanted(const beck_reader *r, const struct record_view *v)
{
    if (r->until_ms > 0 && v->timestamp_ms >= r->until_ms)
        return false;
    if (r->subject && !bytes_equal(v->event.subject, bytes_of(r->subject, r->subject_len)))
        return false;
    return !r->pattern || pattern_match(beck_str(r->pattern), v->event.type);
}

/* Moves a feed to its next wanted event. BECK_END: nothing there (yet). */
static beck_status advance(beck_reader *r, struct feed *f, beck_error *err)
{
    while (!f->view) {
        if (f->next >= f->end)
            return BECK_END;
        const struct record_view *v;
        int64_t skip_to = f->next;
        beck_status status = cursor_read(f->cursor, f->next, false, &v, &skip_to, err);
        if (status == BECK_ECORRUPT)
            f->next = skip_to;
        if (status)
            return status;
        f->next = v->offset + 1;
        if (v->offset >= f->end)
            return BECK_END;
        if (wanted(r, v))
            f->view = v;
    }
    return BECK_OK;
}

/* The feed whose event comes next; NULL: none has one. */
static beck_status choose(beck_reader *r, struct feed **out, beck_error *err)
{
    *out = NULL;
    for (uint32_t i = 0; i < r->count; i++) {
        struct feed *f = &r->feeds[i];
        beck_status status = advance(r, f, err);
        if (status && status != BECK_END)
            return status;
        if (!status && (!*out || f->view->timestamp_ms < (*out)->view->timestamp_ms))
            *out = f;
    }
    return BECK_OK;
}

static bool time_is_over(const beck_reader *r)
{
    return r->until_ms > 0 && clock_wall_ms(r->clock) >= r->until_ms;
}

/* Waits for anything new. False: the deadline passed. */
static bool wait_for_more(beck_reader *r, int64_t deadline_ns)
{
    for (uint32_t i = 0;; i = (i + 1) % r->count) {
        struct feed *f = &r->feeds[i];
        int64_t until = deadline_ns, now = clock_mono_ns(r->clock);
        int64_t slice = r->count > 1 || r->until_ms > 0 ? SLICE_NS : LOOK_NS;
        if (now + slice < until)
            until = now + slice;
        if (partition_wait(f->partition, f->next, until, &r->bus->closed))
            return true;
        if (r->whole && atomic_load(&r->bus->partition_count) > r->count)
            return true;
        if (clock_mono_ns(r->clock) >= deadline_ns || atomic_load(&r->bus->closed) ||
            time_is_over(r))
            return false;
    }
}

beck_status beck_reader_next(beck_reader *r, int64_t timeout_ms, const beck_event **out,
                             beck_error *err)
{
    if (handle_need(r, "reader", err))
        return BECK_EINVAL;
    if (r->remote)
        return remote_reader_next(r->remote, timeout_ms, out, err);
    int64_t deadline_ns = INT64_MAX;
    if (r->follow && timeout_ms >= 0)
        deadline_ns = clock_mono_ns(r->clock) +
                      (timeout_ms > INT64_MAX / 4000000 ? INT64_MAX / 4 : timeout_ms * 1000000);
    if (r->given)
        r->given->view = NULL;
    r->given = NULL;
    for (;;) {
        struct feed *f;
        if (atomic_load(&r->bus->closed))
            return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", r->bus->name);
        beck_status status = add_feeds(r, err);
        if (!status)
            status = choose(r, &f, err);
        if (status)
            return status;
        if (f) {
            r->given = f;
            *out = &f->view->event;
            return BECK_OK;
        }
        if (!r->follow || time_is_over(r))
            return error_set(err, BECK_END, "there are no more events");
        if (!wait_for_more(r, deadline_ns) && clock_mono_ns(r->clock) >= deadline_ns)
            return error_set(err, BECK_ETIMEDOUT, "no event came in time");
    }
}
