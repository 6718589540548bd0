/* The newest events: each partition is looked at from ever further before its end until it has enough of
 * them, or all; then those places are read side by side, without the oldest that are too many. */
#include "cli/tail.h"
#include "cli/reading.h"
#include <stdlib.h>

#define FURTHER 8 /* times as far, when there were too few */

struct lane {
    beck_reader *reader;
    const beck_event *head; /* NULL: none left */
    int64_t begin, end;
};

struct tail {
    const struct call *call;
    beck_bus *bus;
    const beck_read_options *how;
    struct lane *lanes;
    uint32_t partitions;
    int code;
};

static beck_status open_at(const struct tail *t, uint32_t partition, int64_t offset,
                           beck_reader **out, beck_error *err)
{
    beck_read_options how = *t->how;
    how.from = (beck_from){.kind = BECK_FROM_OFFSET, .offset = offset};
    how.partition_plus_1 = (int32_t)partition + 1;
    how.follow = false;
    return beck_reader_open(t->bus, &how, out, err);
}

/* The next event below the end; NULL: none. Behind damage it goes on. */
static const beck_event *next_event(struct tail *t, struct lane *lane)
{
    const beck_event *e = NULL;
    beck_error err;
    beck_status status;
    do {
        status = beck_reader_next(lane->reader, 0, &e, &err);
        if (status && status != BECK_END) {
            t->code = call_fail(t->call, status, &err);
        }
    } while (status == BECK_ECORRUPT);
    return status || e->position.offset >= lane->end ? NULL : e;
}

static int64_t count_events(struct tail *t, struct lane *lane)
{
    int64_t count = 0;
    while (next_event(t, lane)) {
        count++;
    }
    return count;
}

/* How many there are from where the lane begins. */
static int64_t find_begin(struct tail *t, uint32_t partition, int64_t wanted)
{
    struct lane *lane = &t->lanes[partition];
    beck_partition_info info;
    beck_error err;
    beck_status status = beck_partition_info_get(t->bus, partition, &info, &err);
    int64_t found = 0, far = wanted;
    bool enough = false;
    while (!status && !enough) {
        bool all = far >= lane->end - info.first_offset;
        lane->begin = all ? info.first_offset : lane->end - far;
        status = open_at(t, partition, lane->begin, &lane->reader, &err);
        if (!status) {
            found = count_events(t, lane);
            beck_reader_close(lane->reader);
            lane->reader = NULL;
        } else if (status == BECK_ERANGE && !all) {
            status = BECK_OK; /* behind what can be read: a transaction is open */
        }
        enough = all || found >= wanted;
        far = far < INT64_MAX / FURTHER ? far * FURTHER : INT64_MAX;
    }
    if (status) {
        t->code = call_fail(t->call, status, &err);
    }
    return found;
}

static bool is_read(const struct tail *t, uint32_t partition)
{
    return t->how->partition_plus_1 == 0 || t->how->partition_plus_1 == (int32_t)partition + 1;
}

static struct lane *oldest(struct tail *t)
{
    struct lane *first = NULL;
    for (uint32_t i = 0; i < t->partitions; i++) {
        struct lane *lane = &t->lanes[i];
        if (lane->head && (!first || lane->head->time_ns < first->head->time_ns)) {
            first = lane;
        }
    }
    return first;
}

static void give(struct tail *t, int64_t skipped, int (*each)(void *ctx, const beck_event *event),
                 void *ctx)
{
    beck_error err;
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < t->partitions && !status; i++) {
        struct lane *lane = &t->lanes[i];
        if (is_read(t, i)) {
            status = open_at(t, i, lane->begin, &lane->reader, &err);
            lane->head = status ? NULL : next_event(t, lane);
        }
    }
    if (status) {
        t->code = call_fail(t->call, status, &err);
        return;
    }
    for (struct lane *lane = oldest(t); lane; lane = oldest(t)) {
        if (skipped > 0) {
            skipped--;
        } else if (each(ctx, lane->head)) {
            return;
        }
        lane->head = next_event(t, lane);
    }
}

int tail_each(const struct call *call, beck_bus *bus, const beck_read_options *how, int64_t count,
              const int64_t *ends, uint32_t partitions,
              int (*each)(void *ctx, const beck_event *event), void *ctx)
{
    struct tail t = {.call = call, .bus = bus, .how = how, .partitions = partitions};
    if (partitions > TAIL_PARTITIONS_MAX && how->partition_plus_1 == 0) {
        return call_error(call, EXIT_UNSUPPORTED,
                          "bus '%s' has %u partitions, and --tail looks at up to %d: give "
                          "--partition",
                          beck_bus_name(bus), partitions, TAIL_PARTITIONS_MAX);
    }
    t.lanes = calloc(partitions, sizeof *t.lanes);
    if (!t.lanes) {
        return call_error(call, EXIT_FAILED, "no memory to read '%s'", beck_bus_name(bus));
    }
    int64_t found = 0;
    for (uint32_t i = 0; i < partitions; i++) {
        t.lanes[i].end = ends[i];
        found += is_read(&t, i) ? find_begin(&t, i, count) : 0;
    }
    give(&t, found > count ? found - count : 0, each, ctx);
    for (uint32_t i = 0; i < partitions; i++) {
        beck_reader_close(t.lanes[i].reader);
    }
    free(t.lanes);
    return t.code;
}
