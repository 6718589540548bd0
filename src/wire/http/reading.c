/* Reading a bus from a cursor: a lane a partition, merged by time. */
#include "wire/http/reading.h"

#include "base/error.h"
#include "event/pattern.h"

#include <assert.h>
#include <stdlib.h>

/* A decimal without sign and needless zeros, below `max`. */
static bool read_digits(const char **at, uint64_t max, uint64_t *out)
{
    const char *p = *at;
    uint64_t value = 0;
    if (*p == '0' && p[1] >= '0' && p[1] <= '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        value = value * 10 + (uint64_t)(*p - '0');
        if (value > max)
            return false;
    }
    bool any = p > *at;
    *at = p;
    *out = value;
    return any;
}

int cursor_part(const char **at, uint32_t *partition, int64_t *next)
{
    uint64_t number, offset;
    if (**at == 0)
        return 0;
    if (!read_digits(at, BUS_PARTITIONS_MAX - 1, &number) || **at != '-')
        return -1;
    ++*at;
    if (!read_digits(at, (uint64_t)1 << 62, &offset))
        return -1;
    if (**at == '.' && (*at)[1] != 0)
        ++*at;
    else if (**at != 0)
        return -1;
    *partition = (uint32_t)number;
    *next = (int64_t)offset;
    return 1;
}

static beck_status refuse_cursor(const char *text, beck_error *err)
{
    return error_set(
        err, BECK_EINVAL,
        "\"%.100s\" is no cursor of this bus; use the one that came with the events, as "
        "\"0-12.1-40\"",
        text);
}

static struct lane *find_lane(const struct reading *r, uint32_t partition)
{
    uint32_t first = r->lanes[0].number;
    return partition >= first && partition - first < r->count ? &r->lanes[partition - first] : NULL;
}

/* next is -1 where the cursor says nothing. */
static beck_status apply_cursor(struct reading *r, const char *text, beck_error *err)
{
    uint32_t partition;
    int64_t next;
    int more;
    for (const char *at = text; (more = cursor_part(&at, &partition, &next)) > 0;) {
        struct lane *lane = find_lane(r, partition);
        if (!lane || lane->next >= 0)
            return refuse_cursor(text, err);
        int64_t visible = partition_visible(lane->partition);
        if (next > visible)
            return error_set(
                err, BECK_ERANGE,
                "the cursor is at offset %lld of partition %u, whose events end before "
                "%lld: was the bus made anew? begin with from=earliest",
                (long long)next, partition, (long long)visible);
        lane->next = next;
    }
    return more < 0 || *text == 0 ? refuse_cursor(text, err) : BECK_OK;
}

static beck_status open_lanes(struct reading *r, const struct reading_options *o, beck_error *err)
{
    uint32_t first = 0, last = r->bus->partition_count;
    if (o->partition_plus_1) {
        if (o->partition_plus_1 < 0 || (uint32_t)o->partition_plus_1 > last)
            return error_set(err, BECK_ENOENT, "bus \"%s\" has no partition %d; it has 0 to %u",
                             r->bus->name, o->partition_plus_1 - 1, last - 1);
        first = (uint32_t)o->partition_plus_1 - 1;
        last = first + 1;
    }
    if (last - first > READING_LANES_MAX)
        return error_set(err, BECK_EUNSUPPORTED,
                         "bus \"%s\" has %u partitions, more than %d are not read at once; give "
                         "partition=0 and so on",
                         r->bus->name, last, READING_LANES_MAX);
    r->lanes = calloc(last - first, sizeof *r->lanes);
    if (!r->lanes)
        return error_set(err, BECK_ENOMEM, "no memory for a reader");
    for (uint32_t i = first; i < last; i++) {
        struct lane *lane = &r->lanes[r->count];
        beck_status status = cursor_open(bus_partition(r->bus, i), &lane->cursor, err);
        if (status)
            return status;
        lane->partition = bus_partition(r->bus, i);
        lane->number = i;
        lane->next = -1;
        r->count++;
    }
    beck_status status = o->cursor ? apply_cursor(r, o->cursor, err) : BECK_OK;
    /* Partitions that a cursor does not name were made since. */
    beck_from from = o->cursor ? (beck_from){.kind = BECK_FROM_OFFSET} : o->from;
    bool reached = r->count > 1 && bus_reaches(r->bus, &from);
    for (uint32_t i = 0; i < r->count && !status; i++) {
        struct lane *lane = &r->lanes[i];
        if (lane->next >= 0)
            continue;
        status = partition_resolve_with(lane->partition, &from, reached, &lane->next, err);
        if (from.kind == BECK_FROM_OFFSET && lane->next > from.offset)
            lane->next = from.offset; /* what lies before the first is gone, and said to be */
    }
    reading_extend(r);
    return status;
}

beck_status reading_open(beck_bus *bus, const struct reading_options *o, struct reading **out,
                         beck_error *err)
{
    if (bus->options.storage != BECK_STORAGE_DISK)
        return error_set(
            err, BECK_EUNSUPPORTED,
            "bus \"%s\" is in memory and keeps no events to read; use a disk bus, or a "
            "queue",
            bus->name);
    if (atomic_load(&bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
    beck_status status = o->type ? pattern_check(beck_str(o->type), err) : BECK_OK;
    if (status)
        return status;
    struct reading *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, BECK_ENOMEM, "no memory for a reader");
    r->bus = bus;
    r->whole = o->partition_plus_1 == 0;
    r->until_ms = o->until_ms;
    bool all = !o->type || strcmp(o->type, "#") == 0;
    r->pattern = all ? NULL : strdup(o->type);
    r->subject = o->subject ? strdup(o->subject) : NULL;
    if ((!all && !r->pattern) || (o->subject && !r->subject))
        status = error_set(err, BECK_ENOMEM, "no memory for a reader");
    if (!status)
        status = open_lanes(r, o, err);
    if (status)
        reading_close(r);
    else
        *out = r;
    return status;
}

void reading_close(struct reading *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; r->lanes && i < r->count; i++)
        cursor_close(r->lanes[i].cursor);
    free(r->lanes);
    free(r->pattern);
    free(r->subject);
    free(r);
}

bool reading_is_outgrown(const struct reading *r)
{
    return r->whole && atomic_load(&r->bus->partition_count) > r->count;
}

void reading_extend(struct reading *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        r->lanes[i].end = partition_visible(r->lanes[i].partition);
}

static bool wanted(const struct reading *r, const struct record_view *v)
{
    if (r->until_ms > 0 && v->timestamp_ms >= r->until_ms)
        return false;
    if (r->subject && !bytes_equal_text(v->event.subject, r->subject))
        return false;
    return !r->pattern || pattern_match(beck_str(r->pattern), v->event.type);
}

static void pass(struct reading *r, struct lane *lane, int64_t to)
{
    r->passed = lane;
    r->passed_from = lane->next;
    r->passed_end = lane->next = to;
}

/* Whether what a lane was to read up to `end` has been removed, or some of it. */
static bool pass_gone(struct reading *r, struct lane *lane, int64_t end)
{
    int64_t first = lane->next < end ? partition_first(lane->partition) : 0;
    if (lane->next >= first)
        return false;
    pass(r, lane, first < end ? first : end);
    return true;
}

/* Moves a lane to its next wanted event. BECK_END: there is none below its end. */
static beck_status advance(struct reading *r, struct lane *lane, beck_error *err)
{
    while (!lane->view) {
        if (lane->next >= lane->end)
            return BECK_END;
        const struct record_view *v;
        int64_t skip_to = lane->next;
        beck_status status = cursor_read(lane->cursor, lane->next, false, &v, &skip_to, err);
        if (pass_gone(r, lane, status || v->offset > lane->end ? lane->end : v->offset))
            return error_set(err, BECK_ERANGE, "events %lld to %lld of partition %u are gone",
                             (long long)r->passed_from, (long long)r->passed_end - 1, lane->number);
        if (status == BECK_ECORRUPT)
            pass(r, lane, skip_to);
        if (status == BECK_END || (!status && v->offset >= lane->end)) {
            lane->next = lane->end; /* a hole: what was there is gone */
            return BECK_END;
        }
        if (status)
            return status;
        lane->next = v->offset + 1;
        if (wanted(r, v))
            lane->view = v;
    }
    return BECK_OK;
}

beck_status reading_next(struct reading *r, const beck_event **out, beck_error *err)
{
    struct lane *best = NULL;
    if (atomic_load(&r->bus->closed))
        return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", r->bus->name);
    if (r->given)
        r->given->view = NULL;
    r->given = NULL;
    for (uint32_t i = 0; i < r->count; i++) {
        beck_status status = advance(r, &r->lanes[i], err);
        if (status && status != BECK_END)
            return status;
        if (!status && (!best || r->lanes[i].view->timestamp_ms < best->view->timestamp_ms))
            best = &r->lanes[i];
    }
    if (!best)
        return BECK_END;
    r->given = best;
    *out = &best->view->event;
    return BECK_OK;
}

void reading_step_back(struct reading *r)
{
    assert(r->passed);
    r->passed->next = r->passed_from;
}

static int64_t position_of(const struct reading *r, const struct lane *lane)
{
    return lane->view && lane != r->given ? lane->view->offset : lane->next;
}

void reading_positions(const struct reading *r, int64_t *at)
{
    for (uint32_t i = 0; i < r->count; i++)
        at[i] = position_of(r, &r->lanes[i]);
}

beck_status reading_cursor(const struct reading *r, const int64_t *at, struct buf *out)
{
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < r->count && !status; i++)
        status = buf_printf(out, i ? ".%u-%lld" : "%u-%lld", r->lanes[i].number,
                            (long long)(at ? at[i] : position_of(r, &r->lanes[i])));
    return status;
}
