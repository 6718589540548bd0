/* Where a start is in a partition: see partition.h. */
#include "log/partition_impl.h"

#include "log/cursor.h"

/* The offset of the first record at or after the time, looking from a position of one segment on.
 */
static beck_status resolve_time(struct partition *p, int64_t from, int64_t time_ms, int64_t *offset,
                                beck_error *err)
{
    struct cursor *c;
    beck_status status = cursor_open(p, &c, err);
    if (status)
        return status;
    for (*offset = from;;) {
        const struct record_view *v;
        int64_t skip_to;
        status = cursor_read(c, *offset, false, &v, &skip_to, err);
        if (status == BECK_ECORRUPT) {
            *offset = skip_to;
            continue;
        }
        if (status)
            break;
        *offset = v->offset;
        if (v->timestamp_ms >= time_ms)
            break;
        *offset = v->offset + 1;
    }
    cursor_close(c);
    return status == BECK_END ? BECK_OK : status;
}

/* An offset from which a scan finds the first record at or after the time; -1: all of it is older.
 */
static beck_status time_start(struct partition *p, int64_t time_ms, int64_t *from, beck_error *err)
{
    beck_status status = BECK_OK;
    *from = -1;
    mutex_lock(&p->lock);
    for (size_t i = 0; i < p->segment_count && !status; i++) {
        struct segment *s = p->segments[i];
        int64_t newest;
        if (s->unmade || (i + 1 < p->segment_count && p->segments[i + 1]->base_offset <= p->first))
            continue;
        status = segment_max_timestamp(s, &newest, err);
        if (status || newest < time_ms)
            continue;
        status = segment_use(s, err);
        if (status)
            break;
        status = segment_time_offset(s, time_ms, from, err);
        segment_unuse(s);
        break;
    }
    mutex_unlock(&p->lock);
    return status;
}

beck_status partition_resolve(struct partition *p, const beck_from *from, int64_t *offset,
                              beck_error *err)
{
    if (p->damage)
        return partition_check_damage(p, err);
    int64_t end = partition_visible(p), first = partition_first(p);
    beck_status status;
    switch (from->kind) {
    case BECK_FROM_NOW:
        *offset = end;
        return BECK_OK;
    case BECK_FROM_EARLIEST:
        *offset = first;
        return BECK_OK;
    case BECK_FROM_OFFSET:
        if (from->offset < 0 || from->offset > end)
            return error_set(
                err, BECK_ERANGE,
                "offset %lld is not in partition %u of bus \"%s\", which has %lld to %lld",
                (long long)from->offset, p->context.partition, p->bus, (long long)first,
                (long long)end);
        *offset = from->offset < first ? first : from->offset;
        return BECK_OK;
    case BECK_FROM_TIME:
        if (p->options.memory) {
            *offset = end;
            return BECK_OK;
        }
        status = time_start(p, from->time_ms, offset, err);
        if (status)
            return status;
        if (*offset < 0) {
            *offset = end;
            return BECK_OK;
        }
        return resolve_time(p, *offset < first ? first : *offset, from->time_ms, offset, err);
    }
    return error_set(err, BECK_EINVAL, "there is no start of kind %d", (int)from->kind);
}

bool partition_reaches(struct partition *p, const beck_from *from)
{
    return from->kind != BECK_FROM_OFFSET || from->offset <= partition_visible(p);
}

beck_status partition_resolve_with(struct partition *p, const beck_from *from, bool another,
                                   int64_t *offset, beck_error *err)
{
    static const beck_from end;
    bool short_of = another && !partition_reaches(p, from);
    return partition_resolve(p, short_of ? &end : from, offset, err);
}
