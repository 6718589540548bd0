/* See lost.h. A bus whose record is gone has a directory with its events and its id, and stands in the checkpoints; what
 * retention or compaction it had nobody knows, so it gets none. */
#include "api/lost.h"

#include "base/uuid.h"
#include "bus/own_bus.h"
#include "log/cursor.h"

#include <stdio.h>
#include <stdlib.h>

void lost_note(struct lost *l, const char *name, uint32_t partitions)
{
    for (size_t i = 0; i < l->count; i++) {
        struct lost_name *known = &l->list[i];
        if (!known->partitions != !partitions || strcmp(known->name, name) != 0)
            continue;
        if (partitions > known->partitions)
            known->partitions = partitions;
        return;
    }
    struct lost_name *grown = realloc(l->list, (l->count + 1) * sizeof *grown);
    if (!grown)
        return;
    l->list = grown;
    struct lost_name *added = &l->list[l->count++];
    snprintf(added->name, sizeof added->name, "%s", name);
    added->partitions = partitions;
}

void lost_note_queues(struct lost *l, const struct env *env, const char *data_dir,
                      int64_t recovery_point)
{
    struct partition_options o = {.bus = {.partitions = 1}};
    struct partition *p;
    struct cursor *c = NULL;
    char dir[4600], name[256];
    snprintf(dir, sizeof dir, "%s/" OWN_QUEUE_STATE "-0", data_dir);
    if (!vfs_exists(env->vfs, dir) ||
        partition_open(env, dir, OWN_QUEUE_STATE, 0, &o, recovery_point, 0, &p, NULL))
        return;
    const struct record_view *v;
    beck_status status = cursor_open(p, &c, NULL);
    for (int64_t offset = partition_first(p);
         !status && !(status = cursor_read(c, offset, false, &v, NULL, NULL));) {
        beck_bytes queue = v->event.subject;
        offset = v->offset + 1;
        if (queue.len == 0 || queue.len >= sizeof name)
            continue;
        memcpy(name, queue.data, queue.len);
        name[queue.len] = 0;
        lost_note(l, name, 0);
    }
    cursor_close(c);
    partition_abandon(p);
}

void lost_release(struct lost *l)
{
    free(l->list);
    *l = (struct lost){0};
}

/* The first partition that has it: those to which nothing was written have no files. */
static void find_id(beck *b, const struct lost_name *bus, uint8_t id[16])
{
    char dir[4600];
    for (uint32_t n = 0; n < bus->partitions; n++) {
        snprintf(dir, sizeof dir, "%s/%s-%u", b->data_dir, bus->name, n);
        if (!partition_read_id(b->env.vfs, dir, id, NULL))
            return;
    }
    struct rng rng;
    rng_seed_system(&rng);
    uuid_v7(b->env.clock, &rng, id);
}

static beck_status restore_bus(beck *b, const struct lost_name *bus, beck_error *told,
                               beck_error *err)
{
    const struct own_bus *own = own_bus_find(bus->name);
    beck_bus_options o = {.storage = BECK_STORAGE_DISK,
                          .partitions = bus->partitions,
                          .compact = own && own->compact};
    uint8_t id[16];
    find_id(b, bus, id);
    beck_status status = bus_options_check(&o, true, err);
    if (!status)
        status = topology_put_bus(b, bus->name, &o, id, BUS_UNSURE, err);
    if (!status)
        error_set(told, BECK_OK,
                  "bus \"%s\" is known again, with %u partition%s and %s: what retention and other "
                  "options it had is lost",
                  bus->name, bus->partitions, bus->partitions == 1 ? "" : "s",
                  own ? "beck's own options" : "no retention");
    return status;
}

static void say_queue(const struct lost_name *queue, beck_error *told)
{
    error_set(told, BECK_OK,
              "queue \"%s\" is not known any more: its events are still in their buses; make it "
              "again with beck queue create, and bind it from where it is to go on",
              queue->name);
}

beck_status lost_restore(const struct lost *l, const char *data_dir, beck_error_fn tell, void *ctx,
                         beck_error *err)
{
    beck *b;
    beck_status status = beck_open(&b, &(beck_options){.data_dir = data_dir}, err);
    if (status)
        return status;
    for (size_t i = 0; i < l->count && !status; i++) {
        const struct lost_name *name = &l->list[i];
        enum topology_last last;
        beck_error told = {0};
        status = topology_find(b, name->partitions ? "bus" : "queue", name->name, &last, err);
        if (status || last != TOPOLOGY_NOTHING)
            continue;
        if (name->partitions)
            status = restore_bus(b, name, &told, err);
        else
            say_queue(name, &told);
        if (!status)
            tell(ctx, &told);
    }
    beck_close(b);
    return status;
}
