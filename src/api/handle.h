/*
 * The handle: everything that a program opened with beck_open, and the thread that looks after it.
 *
 * admin_lock is held while buses, queues and bindings are made, deleted or listed; publishing,
 * taking and reading do not touch it. A deleted bus or queue stays in memory until beck_close
 * (buses) or its last user (queues), so that calls on it can say so.
 */
#ifndef BECK_API_HANDLE_H
#define BECK_API_HANDLE_H

#include "base/thread.h"
#include "bus/bus.h"
#include "queue/queue.h"
#include "remote/remote.h"

struct binding_record;

enum upkeep_kind { UPKEEP_CHECKPOINT, UPKEEP_MAINTAIN, UPKEEP_CLOSE, UPKEEP_KINDS };

/* What failed the last time, see upkeep_complain; BECK_OK: nothing. */
struct upkeep_trouble {
    beck_status code;
    uint64_t text; /* its hash */
};

enum bus_change { BUS_MADE, BUS_ALTERED, BUS_DELETED };
/* Who is told of buses. Belongs to whoever added it. */
struct bus_watch {
    void (*changed)(void *ctx, beck_bus *bus, enum bus_change what);
    void *ctx;
    struct bus_watch *next;
};
typedef void (*bus_made_fn)(void *ctx, beck_bus *bus);

struct beck {
    struct env env;
    beck_error_fn on_error;
    void *on_error_ctx;
    char *data_dir; /* NULL: memory only */
    /* A server owns the directory, and everything is asked of it: nothing of the engine is open.
     * NULL: the engine is here. */
    struct remote *remote;
    bool read_only;
    uint32_t checkpoint_ms;
    _Atomic(uint32_t) maintain_ms; /* between two looks at retention; a server may change it */
    int64_t trace_bytes;
    struct file *lock_file;
    pid_t process; /* that opened it */
    struct callers *callers;
    struct queue_home home;

    struct mutex admin_lock;
    beck_bus **buses; /* in order of name, the library's own last; then the deleted ones, closed */
    size_t bus_count;
    beck_bus **deleted;
    size_t deleted_count;
    struct bus_watch *bus_watches;
    struct queue **queues; /* in order of name */
    size_t queue_count;
    beck_bus *topology;
    struct mutex made_lock; /* held while `made` is called */
    bus_made_fn made;       /* with it; NULL: nobody is told */
    void *made_ctx;
    struct checkpoint recovery, log_start, cleaned; /* as on disk; with upkeep_lock */
    bool
        starts_known; /* log_start had STARTS_MARK when the handle was opened, and nobody else changes it */
    beck_workers **workers;
    size_t worker_count;
    beck_reader *readers; /* open ones, a list */

    pthread_t timer;
    bool timer_runs, stopping;
    bool maintained; /* since it was opened; with upkeep_lock */
    struct upkeep_trouble trouble[UPKEEP_KINDS];
    struct timer
        *due; /* heap of queues that are to be looked at before the next tick (struct queue_due) */
    struct mutex timer_lock;
    struct cond timer_wake;
    int64_t traced;           /* offsets that the index of traces knows, summed; with trace_lock */
    struct mutex trace_lock;  /* of the index of traces; before all others */
    struct mutex upkeep_lock; /* one checkpoint or maintenance at a time; before admin_lock */
};

/* BECK_EINVAL: what a public function works on is NULL; `what` is its name, as "handle". */
static inline beck_status handle_need(const void *object, const char *what, beck_error *err)
{
    if (__builtin_expect(object != NULL, true))
        return BECK_OK;
    return error_set(err, BECK_EINVAL, "there is no %s: the pointer to it is NULL", what);
}

/* As beck_open, on another disk and clock: for tests. */
beck_status beck_open_env(beck **out, const beck_options *options, struct vfs *vfs,
                          struct clock *clock, beck_error *err);
/* Ends like a process that was killed: nothing more is written. */
void beck_abandon(beck *b);

/* With admin_lock. NULL: none of that name. */
beck_bus *handle_find_bus(const beck *b, const char *name);
struct queue *handle_find_queue(const beck *b, const char *name);
/* Whether a call on a queue is for the server. What is no name it need not be asked for. */
static inline bool handle_asks_server(const beck *b, const char *queue)
{
    return b && b->remote && !b->read_only && queue && *queue;
}
/* BECK_EUNSUPPORTED: the handle is for reading only, and knows nothing of queues; BECK_EINVAL: there is none. */
beck_status handle_need_queues(const beck *b, beck_error *err);
/* With admin_lock. BECK_ENOENT: none of that name, which may be NULL. */
beck_status handle_need_bus(const beck *b, const char *name, beck_bus **out, beck_error *err);
beck_status handle_need_queue(const beck *b, const char *name, struct queue **out, beck_error *err);
/* With a reference; *out is NULL after an error. As handle_need_queues and handle_need_queue; takes admin_lock. Where
 * queue_check_known refuses, a queue is only to be looked at. */
beck_status handle_get_queue(beck *b, const char *name, struct queue **out, beck_error *err);
beck_status handle_look_at_queue(beck *b, const char *name, struct queue **out, beck_error *err);
/* id: NULL as for bus_open; gaps: see bus.h. */
beck_status handle_add_bus(beck *b, const char *name, const beck_bus_options *options,
                           const uint8_t *id, bool gaps, beck_bus **out, beck_error *err);
/* Events of a bus on disk may be missing from now on without anything being wrong: written down first. Takes upkeep_lock and
 * admin_lock, and waits for the disk. */
beck_status handle_allow_gaps(beck *b, beck_bus *bus, beck_error *err);
/* Looks on at buses of which it is not known whether events are missing, for a bounded time; that one is without gaps is
 * written down, once. With upkeep_lock; takes admin_lock, and waits for the disk. */
beck_status handle_find_whole(beck *b, beck_error *err);
/* As beck_bus_create, without telling. */
beck_status handle_make_bus(beck *b, const char *name, const beck_bus_options *options,
                            beck_bus **out, beck_error *err);
/* Who is told of buses that beck_bus_create made, or found with those options, before it returns;
 * without upkeep_lock and admin_lock. fn NULL: nobody, once this returns. It makes no buses but by
 * handle_make_bus. */
void handle_tell_made(beck *b, bus_made_fn fn, void *ctx);
/* `changed` is called for every bus that is made, altered or deleted from now on, own ones too, once it is
 * so; and before this returns for all that there are, as made. It is called with admin_lock held, and
 * must only take a note. Both take admin_lock. */
void handle_watch_buses(beck *b, struct bus_watch *w);
void handle_unwatch_buses(beck *b, struct bus_watch *w);
void handle_tell_changed(beck *b, beck_bus *bus, enum bus_change what); /* with admin_lock */
/* A bus of the library's or the program's own, on disk unless the options say memory, whose name
 * begins with "__": made with these options, compact as own_bus.h says, or found with those that it has. Only bus_publish
 * publishes to it. Takes upkeep_lock and admin_lock. */
beck_status handle_own_bus(beck *b, const char *name, const beck_bus_options *options,
                           beck_bus **out, beck_error *err);
/* Makes a bus, also an own one, a source of the queue, which gets those of its events that are
 * addressed to it (bus_publish_addressed) from now on. It outlasts the handle when the queue
 * does; a durable queue cannot be joined to a bus in memory. Joining again changes nothing. Seen
 * as a binding with the pattern "", which no other function shows or takes. handle_part: what
 * the queue has of the bus stays. Both take upkeep_lock and admin_lock, and may wait for the
 * disk. BECK_ENOENT: the queue was deleted, BECK_ECLOSED: the bus. */
beck_status handle_join(beck *b, struct queue *q, beck_bus *bus, beck_error *err);
/* As beck_queue_create. `*made`: this call made it, and may undo that; false also after an error. */
beck_status handle_make_queue(beck *b, const char *name, const beck_queue_options *options,
                              bool *made, beck_error *err);
/* As beck_queue_create for a queue on disk, without waiting for the disk: nothing says that there is such a queue
 * until handle_keep_queue, or the first bus that it is bound to. Before that, its state is to be synced
 * (handle_sync_queues), so that nothing of an earlier queue of this name comes back. */
beck_status handle_create_queue(beck *b, const char *name, const beck_queue_options *options,
                                beck_error *err);
beck_status handle_sync_queues(beck *b, beck_error *err); /* takes no lock of the handle */
/* Writes it down, and does not sync. One that is gone is passed over. Takes admin_lock. */
beck_status handle_keep_queue(beck *b, struct queue *q, beck_error *err);
/* queue_set_lifetime of a queue that is used, written down and not synced; of one that is not written down
 * yet, together with it. Takes admin_lock. */
beck_status handle_keep_lifetime(beck *b, struct queue *q, int64_t ms, beck_error *err);
beck_status handle_part(beck *b, struct queue *q, beck_bus *bus, beck_error *err);
/* queue_move of a durable queue: it holds from now on, also after a crash. Takes upkeep_lock and
 * admin_lock, and waits for the disk. */
beck_status handle_move_queue(beck *b, struct queue *q, beck_bus *bus, const int64_t *to,
                              uint32_t count, beck_error *err);
/* Changes what may change while a bus lives: partitions (more only), level, codec, retention_ms, retention_bytes,
 * compact, delete_retention_ms, segment_bytes, segment_ms, dedup_window_ms, event_bytes_max; the others must be as they are (storage may be default).
 * Zero means the default, as when a bus is made. Recorded before it is in force. New partitions are sources of the queues bound to it from
 * offset 0. Own buses too. Takes upkeep_lock and admin_lock, and waits for the disk. */
beck_status handle_alter_bus(beck *b, beck_bus *bus, const beck_bus_options *options,
                             beck_error *err);
/* Of all buses, also the deleted ones: the room that the committer has for marks. With admin_lock. */
size_t handle_count_partitions(const beck *b);
/* Undoes handle_add_bus, before anybody has seen the bus. */
void handle_drop_bus(beck *b, beck_bus *bus);
beck_status handle_add_queue(beck *b, const char *name, const beck_queue_options *options,
                             struct queue **out, beck_error *err);
void handle_drop_queue(beck *b, struct queue *q);

/* The buses and queues that there were at one moment. Buses stay valid until beck_close, deleted
 * ones are closed; a reference is held on queues. */
struct handle_view {
    beck_bus **buses;
    size_t bus_count;
    struct queue **queues;
    size_t queue_count;
};
beck_status handle_view_take(beck *b, struct handle_view *v, beck_error *err);
void handle_view_release(struct handle_view *v);
struct queue *handle_view_queue(const struct handle_view *v, beck_bytes name); /* borrowed */

/* topology.c: what exists, in the log __topology: the last record of a subject counts, one without
 * data means that it is gone. */
beck_status topology_load(beck *b, beck_error *err);
/* Whether offsets may be missing in a bus (bus.h): as numbers in its record, 2 where that says nothing. */
enum bus_whole { BUS_GAPS, BUS_WHOLE, BUS_UNSURE };
static inline enum bus_whole handle_whole(const beck_bus *bus)
{
    return bus->unsure ? BUS_UNSURE : bus->gaps ? BUS_GAPS : BUS_WHOLE;
}
beck_status topology_put_bus(beck *b, const char *name, const beck_bus_options *options,
                             const uint8_t *id, enum bus_whole whole,
                             beck_error *err); /* options NULL: gone, whole is not looked at */
/* The same, written and not synced. */
beck_status topology_note_queue(beck *b, const char *name, const beck_queue_options *options,
                                bool paused, uint64_t number, int64_t lifetime_ms, beck_error *err);
beck_status topology_put_queue(beck *b, const char *name, const beck_queue_options *options,
                               bool paused, uint64_t number, int64_t lifetime_ms, beck_error *err);
/* The queue and its bindings (bus, pattern, bus, pattern ...) are gone, all at once. */
beck_status topology_delete_queue(beck *b, const char *name, char *const *bindings, size_t count,
                                  beck_error *err);
beck_status topology_put_binding(beck *b, const char *queue, const char *bus, const char *pattern,
                                 const int64_t *first, uint32_t count, beck_error *err);

/* workers.c. As beck_workers_stop, of workers that the handle does not know any more. */
void workers_stop(beck_workers *w);

/* trace.c. Takes in what was published since, for beck_trace, at most events_max of each partition;
 * *more: there is more. Not what is in a bus without events (bus_has_events): beck_trace does that. */
beck_status trace_catch_up(beck *b, int64_t events_max, bool *more, beck_error *err);

/* The buses on disk of a topology that a partition holds; an error of `each` ends it. */
beck_status topology_each_bus(struct partition *topology,
                              beck_status (*each)(void *ctx, const char *name,
                                                  const beck_bus_options *options, bool gaps),
                              void *ctx, beck_error *err);
/* The last that is known of a bus or a queue (kind: "bus", "queue") of this name. */
enum topology_last { TOPOLOGY_NOTHING, TOPOLOGY_THERE, TOPOLOGY_GONE };
beck_status topology_find(beck *b, const char *kind, const char *name, enum topology_last *out,
                          beck_error *err);

/* leftovers.c. Removes the directories of partitions whose bus is gone; of one that is unknown,
 * those in which nothing was ever stored. LEFTOVER_IN_WAY: as unknown, but one that holds something is
 * BECK_EEXIST. */
enum leftover { LEFTOVER_NONE, LEFTOVER_GONE, LEFTOVER_UNKNOWN, LEFTOVER_IN_WAY };
beck_status leftovers_remove(beck *b, enum leftover (*what)(void *ctx, const char *bus), void *ctx,
                             beck_error *err);
/* Removes the directories of queues that do not exist. When the handle is opened. */
void leftovers_remove_queues(beck *b);
/* Takes a bus out of the checkpoints on disk. With upkeep_lock. */
beck_status leftovers_forget(beck *b, const char *bus, beck_error *err);

/* reader.c. Those that are left, when the handle ends; before the buses are closed. */
void readers_close(beck *b);

/* The handle that a bus was made with. */
beck *handle_of(const beck_bus *bus);

/* upkeep.c */
/* The path of one of the handle's checkpoints. */
void upkeep_checkpoint_path(const beck *b, const struct checkpoint *known, char *out, size_t size);
/* An entry of log_start which no bus can have. With it the file was there before anything below its starts was removed;
 * older versions removed first, and leave it out. */
#define STARTS_MARK "#before-removal"
bool upkeep_knows_starts(const struct checkpoint *log_start);
/* Writes `fresh` in the place of one of them; on success the two are swapped. With upkeep_lock. */
beck_status upkeep_put_checkpoint(beck *b, struct checkpoint *known, struct checkpoint *fresh,
                                  beck_error *err);
/* struct queue_home's `due`; ctx is the handle. */
void upkeep_due(void *ctx, struct queue_due *d, int64_t mono_ns);
void upkeep_forget_due(beck *b); /* when the handle ends */
beck_status upkeep_start(beck *b, beck_error *err);
void upkeep_stop(beck *b);
beck_status upkeep_checkpoint(beck *b, beck_error *err);
/* Reports an error of upkeep, once: not with every tick, and not for each kind that meets the same. BECK_OK: it is over.
 * By whoever opens or closes the handle, and by the timer in between. */
void upkeep_complain(beck *b, enum upkeep_kind kind, beck_status status, const beck_error *why);
/* Writes a queue's snapshot and makes it durable, for changes that must not come undone. With
 * upkeep_lock. */
beck_status upkeep_snapshot(beck *b, struct queue *q, beck_error *err);
beck_status upkeep_maintain(beck *b, beck_error *err);
/* The same, of one bus; with upkeep_lock, without admin_lock. */
beck_status upkeep_maintain_bus(beck *b, const beck_bus *bus, beck_error *err);
/* Before a handle is closed that was not open long enough for a round: retention, and compaction of what is small, for at
 * most a second and a partition. */
beck_status upkeep_maintain_closing(beck *b, beck_error *err);

#endif
