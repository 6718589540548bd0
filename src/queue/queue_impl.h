/* The inside of a queue, shared by the files of src/queue only. */
#ifndef BECK_QUEUE_QUEUE_IMPL_H
#define BECK_QUEUE_QUEUE_IMPL_H

#include "base/rng.h"
#include "log/cursor.h"
#include "queue/fifo.h"
#include "queue/history.h"
#include "queue/queue.h"
#include "queue/schedule.h"

/* What the queue holds of a source elsewhere than in its list: one bit per offset. */
struct held {
    int64_t first, next;
    uint8_t bits[];
};

/* A partition that feeds the queue. Its place in the table is the `source` of entries, for ever. */
struct source {
    char *bus_name;
    uint32_t number;
    beck_bus *bus; /* NULL: deleted since */
    struct partition *partition;
    int64_t routed;  /* events below have been looked at */
    int64_t popped;  /* events below are in no fifo; exact while a fifo holds them in order */
    int64_t saved;   /* `routed` in the snapshot written last */
    int64_t suspect; /* events below may have been delivered before this process began */
    bool damaged; /* its partition: nothing is read of it, and its entries wait in the schedule */
    bool live;    /* events come through the hook; else catch_up reads them from the log */
    bool waits;   /* not live, all is read that is visible: a transaction is open behind that */
    bool joined;  /* the queue gets what is addressed to it */
    bool gone;    /* its bus was deleted: another of that name is another source */
    bool mixed;   /* the fifos may hold its events out of order: history was added behind */
    struct held *held; /* while a damaged list is made again; NULL: no */
};

struct binding {
    beck_bus *bus;
    char *pattern;
    int64_t *first; /* per partition */
};

/* Why an entry is leaving for the dead letters, or for another try. */
struct limbo {
    struct entry entry;
    const char *reason; /* static; NULL: a failed delivery, tried again unless it was the last */
    char why[256];
    int64_t delay_ms; /* -1: by the back-off */
    int64_t size;     /* of its data, 0 where that is not counted; -1: still counted as ready */
    bool waits;       /* for whoever buries (queue_bury_fn) */
    bool failed;      /* and could not be put away the last time */
    uint64_t note;    /* what that has noted of it; 0: nothing */
};

enum slot_state {
    SLOT_FREE,
    SLOT_HELD,
    SLOT_BUSY, /* an operation on it is being written */
    SLOT_STALE /* taken away; memory kept for the consumer */
};

/* What is touched with the queue's lock is in one line of the processor's cache. */
struct slot {
    _Alignas(64) struct entry entry;
    struct slot *previous, *next; /* of the queue's deadline list, in order of deadline */
    int64_t taken_ns, deadline_ns;
    uint32_t generation;
    uint16_t state;
    uint16_t index;
    uint32_t hold_ms;    /* the deadline that it was taken under, or the most that fits */
    _Atomic(bool) shown; /* `event` has been read, and stays until the slot is free */
    bool counted;        /* its data are still counted as ready */
    beck_consumer *consumer;
    struct block *block;
    beck_bytes content; /* see struct carried */
    struct buf memory;
    beck_event event;
};

struct queue {
    struct queue_home *home;
    char *name;
    char *dir;     /* for fifo and schedule files; NULL in memory */
    bool dir_kept; /* its entry is on the device */
    bool durable;
    beck_queue_options options; /* in force, but for what the rules say */
    uint64_t number;
    bool number_kept; /* it is written down */

    /* Whoever publishes has this line of the processor's cache ... */
    _Alignas(64) _Atomic(uint32_t) refs;
    _Atomic(uint32_t) arrivals; /* times that the hook brought events: for those who spin */
    _Atomic(int64_t) admitted, admitted_bytes; /* promised room, not yet routed */

    /* ... and these two go to and fro between publishers and consumers: what both write with the lock. */
    _Alignas(64) struct mutex lock;
    uint32_t takers;     /* threads waiting in take */
    uint32_t watchers;   /* those of them that look again when the next thing is due */
    int64_t ready_bytes; /* see queue_ready_bytes; with what is in limbo with size -1 */
    int64_t in_flight, delivered, settled;
    struct slot *first_deadline, *last_deadline;
    uint32_t operations; /* being written: a snapshot waits for them */
    bool dirty;          /* changed since the last snapshot */

    _Alignas(64) bool deleted, paused;
    int64_t retried, rejected, expired, dropped;
    struct cond ready; /* something may be taken, or somebody must look */
    struct cond quiet; /* operations came to an end */
    struct queue_watch *first_watch, *last_watch; /* who waits without a thread */
    struct queue_rules rules;
    bool ruled;              /* they were set */
    int64_t lifetime_ms;     /* see queue_lifetime */
    _Atomic(bool) refuses;   /* what is too much */
    _Atomic(bool) expecting; /* see queue_expect */
    bool held;               /* see queue_hold */
    queue_bury_fn bury;      /* NULL: dead letters; changed while nobody works on limbo */
    void *bury_ctx;

#define DEAD_SOURCE 0
    struct source *sources; /* the first is the dead letters, for those that are put back */
    uint32_t source_count;
    _Atomic(uint32_t) deletions; /* of buses that were sources: cursors on them are to be closed */
    bool damaged;                /* a source is, or was */
    struct binding *bindings;
    uint32_t binding_count;

    struct fifo **levels;  /* priority_max + 1; NULL: not used yet */
    uint64_t *saved_heads; /* of each, in the snapshot written last */
    struct entry *returns; /* heap by (seq, where) */
    size_t return_count, return_cap;
    struct schedule *delayed;
    int64_t next_due_ms; /* of the schedule, INT64_MAX: empty */
    struct queue_due due;
    /* home->due was told of that time, as wall time; INT64_MAX: of none since queue_tick */
    int64_t look_ms;
    size_t limbo_counted; /* of those */
    struct limbo *limbo;  /* [limbo_first, limbo_first + limbo_count) */
    size_t limbo_first, limbo_count, limbo_cap;
    size_t limbo_waiting;  /* the first of them wait (see queue_bury_again) */
    size_t limbo_failed;   /* the first of those have failed */
    size_t limbo_turn;     /* which of these is given again next */
    int64_t waiting_bytes; /* data of those */
    bool limbo_working;    /* somebody puts one away */
    uint32_t limbo_heirs;  /* answers that wait for their turn to be put away */
    struct cursor *grave;  /* of whoever works on limbo: reads what is to be buried; NULL: none */
    uint32_t grave_source, grave_deletions; /* its source, and `deletions` when it was opened */
    bool more;                              /* time has brought more than was done at once */
    bool closing;
    struct recovery *recovery; /* while that lasts */
    int64_t sweep_ms; /* none of the ready ones is found to have expired before; 0: not known */
    uint32_t damaged_source; /* what queue_report_damage said last */
    int64_t damaged_from, damaged_end;
    bool recovering; /* the lists may hold what is gone: nothing is dropped for their length */
    struct histories histories;
    int64_t *dead; /* offsets of dead letters, ascending */
    size_t dead_count, dead_cap;
    size_t dead_claimed;   /* off the list while an operation on them is being written */
    int64_t dead_next;     /* dead letters below have been looked at */
    bool rebuild;          /* a fifo file is damaged: route again from the log */
    int64_t keep_from;     /* the state log is needed from here */
    int64_t snapshot_from; /* the same, of the snapshot written last */
    int64_t snapshot_dead_next, dead_keep_from; /* the same, for dead letters */
    uint32_t consumers;
    struct rng rng;

    struct counter *m_delivered, *m_settled, *m_retried;
    struct histogram *m_processing; /* NULL: nothing has been delivered yet */
    struct counter **m_made; /* those of types and reasons, made when they were counted first */
    uint32_t m_made_count, types_counted;
};

/* ---- queue_rules.c ---- */
void queue_begin_rules(struct queue *q); /* as the options say; with the lock */

/* ---- queue.c, queue_order.c, queue_time.c; all with the lock unless said ---- */
void queue_release_many(struct queue *q, uint32_t count); /* references; without the lock */
int64_t queue_ready(const struct queue *q);
/* Memory was reserved when it was taken: cannot fail once reserved. */
beck_status queue_push_return(struct queue *q, const struct entry *e);
beck_status queue_reserve_returns(struct queue *q, size_t more);
/* The first of them, which is there. */
void queue_pop_return(struct queue *q, struct entry *out);
/* The next to deliver, up to `max` (> 0); how many. 0: nothing (err.code != 0: a file failed). */
size_t queue_pop_some(struct queue *q, struct entry *out, size_t max, beck_error *err);
beck_status queue_push_delayed(struct queue *q, const struct entry *e, int64_t due_ms);
/* Whether its event cannot be had before the handle is opened again; and puts it into the schedule for so long: where it
 * is on disk, however many there are. */
static inline bool queue_entry_waits(const struct queue *q, const struct entry *e)
{
    return __builtin_expect(q->damaged, false) && q->sources[entry_source(e)].damaged;
}
beck_status queue_set_aside(struct queue *q, const struct entry *e, int64_t now_ms);
void queue_wake(struct queue *q, size_t count);
/* What consumers hold and what is in limbo is the queue's no more. */
void queue_take_away(struct queue *q);
/* Moves what is due, expired or past its deadline. Returns whether limbo needs work. */
bool queue_advance(struct queue *q, int64_t now_ms, int64_t now_ns);
/* When the next thing of that kind happens, as mono time; and the next expiry of what is ready. */
int64_t queue_next_event_ns(const struct queue *q, int64_t now_ms, int64_t now_ns);
int64_t queue_next_expiry_ns(const struct queue *q, int64_t now_ms, int64_t now_ns);
beck_status queue_expire(struct queue *q, const struct entry *e); /* already out of the list */
/* All that are ready and have expired leave, up to a limit. */
void queue_expire_ready(struct queue *q, int64_t now_ms);
void slot_unlink(struct queue *q, struct slot *s);
void slots_unlink(struct queue *q, struct slot *const *slots, size_t count);
int64_t queue_deadline_ns(const struct queue *q, int64_t now_ns); /* of what is taken now */
void slot_link(struct queue *q, struct slot *s, int64_t deadline_ns);
void slots_link(struct queue *q, struct slot *const *slots, size_t count, int64_t deadline_ns);
/* Lists the events of a run; *routed: so many of them, from the first on, also after an error. */
beck_status queue_route_run(struct queue *q, uint32_t source, const struct routed *run,
                            int64_t now_ms, uint32_t *routed, beck_error *err);
/* The same of one. */
beck_status queue_route(struct queue *q, uint32_t source, int64_t offset, int64_t now_ms,
                        int64_t deliver_at_ms, int64_t expires_at_ms, uint32_t priority,
                        size_t size, beck_error *err);
/* Of what a slot holds, where it is not counted as ready any more. */
int64_t slot_bytes(const struct slot *s);
/* Nothing is there to be counted: what was counted wrong is forgotten. */
void queue_tidy_bytes(struct queue *q);
/* Lets the first go until the limits are kept. */
void queue_keep_limits(struct queue *q);
/* Behind the others, also when there is one of that name. */
beck_status queue_append_source(struct queue *q, const char *bus_name, uint32_t number,
                                beck_bus *bus, uint32_t *index, beck_error *err);
/* It has events that the queue has not looked at, and can. */
bool queue_is_behind(const struct queue *q, const struct source *s);
uint32_t queue_find_source(const struct queue *q, const struct partition *p); /* UINT32_MAX: none */
beck_status queue_add_source(struct queue *q, const char *bus_name, uint32_t number, beck_bus *bus,
                             uint32_t *index, beck_error *err);
void queue_note_popped(struct queue *q, const struct entry *e);
/* Empties the lists, which are to be made again from the log. What is elsewhere is not listed
 * twice; what was settled out of order may come again. */
void queue_rebuild(struct queue *q);
/* Fills a schedule of which files are damaged, or missing, from the log and the failures on record.
 * While the queue is recovered, once its sources have caught up; without the lock. */
beck_status queue_rebuild_delayed(struct queue *q, beck_error *err);
void queue_forget_all(struct queue *q); /* ready and delayed */
/* These three without the lock. Lets go of events of memory partitions. */
void queue_disown(struct queue *q, const struct entry *entries, size_t count);
beck_status queue_open_cursor(struct queue *q, uint32_t source, struct cursor **out,
                              beck_error *err);
/* Whether its entries are dead letters that were put back. */
bool queue_source_is_dead(struct queue *q, uint32_t source);
uint32_t queue_level(const struct queue *q, uint32_t priority);
int64_t backoff_delay(struct queue *q, uint32_t attempts); /* uses the rng */

/* ---- queue_metrics.c; with the lock unless said ---- */
void queue_make_metrics(struct queue *q); /* before anybody else has the queue */
/* When it is deleted: they are shown no more, and memory goes with the queue's. */
void queue_remove_metrics(struct queue *q);
void queue_free_metrics(struct queue *q); /* nobody has the queue any more; without the lock */
/* Something is delivered: from now on there is something to tell of how long it takes. */
void queue_make_processing(struct queue *q);
/* What a consumer holds has failed: counted by type, of each queue the first hundred by name. */
void queue_count_failed(struct queue *q, const struct slot *s);
void queue_count_dead(struct queue *q, const char *reason);
/* That an event is damaged, as are those behind it up to `end`: once for each such place. Without the lock. */
void queue_report_damage(struct queue *q, const struct entry *e, int64_t end,
                         const beck_error *why);
/* Deliveries handed out at these times have been answered now; without the lock. */
void queue_record_processing(struct queue *q, const int64_t *taken_ns, size_t count);

/* ---- queue_watch.c; with the lock ---- */
void queue_call_watches(struct queue *q, size_t count);
/* What has expired behind others that have not goes to limbo, while there is room, unless they are very many; those
 * before it come back to their place. Cheap when nothing can have expired since the last time. With the lock; the caller
 * has limbo worked off. */
void queue_expire_behind(struct queue *q, int64_t now_ms);
/* Has the queue looked at in time for what expires and, when somebody watches it, for all else that time brings. */
void queue_announce_due(struct queue *q);
/* The same, when one that is the first now expires then (0: never). */
static inline void queue_announce_expiry(struct queue *q, int64_t expires_ms)
{
    if (expires_ms && expires_ms < q->look_ms)
        queue_announce_due(q);
}

/* ---- queue_look.c; without the lock ---- */
/* Gives the events of entries, which lie `stride` bytes apart, in turn; NULL for those that cannot be read. Non-zero from `each` ends it. */
beck_status queue_show_entries(struct queue *q, const struct entry *first, size_t count,
                               size_t stride,
                               int (*each)(void *ctx, size_t i, const beck_event *event), void *ctx,
                               beck_error *err);

/* ---- limbo.c ---- */
#define LIMBO_MAX 4096 /* then nothing more expires or is dropped until some have been put away */
/* That wait and have not failed are given to whoever buries; the others wait for these. */
#define BURIED_AT_ONCE 32
#define WAITING_MAX 65536 /* dead letters that wait for whoever buries */
static inline struct limbo *queue_limbo(const struct queue *q, size_t i)
{
    return &q->limbo[q->limbo_first + i];
}
/* There are some that do not wait, and may be put away. With the lock, as the next. */
static inline bool queue_limbo_has_work(const struct queue *q)
{
    return q->limbo_count > q->limbo_waiting && !q->held;
}
static inline size_t queue_limbo_room(const struct queue *q)
{
    size_t used = q->limbo_count - q->limbo_waiting;
    return used < LIMBO_MAX ? LIMBO_MAX - used : 0;
}
static inline bool queue_limbo_has_room(const struct queue *q)
{
    return queue_limbo_room(q) > 0;
}
void limbo_init(struct limbo *l, const struct entry *e, const char *reason, const char *why,
                int64_t delay_ms, int64_t size);
beck_status queue_add_limbo(struct queue *q, const struct entry *e, const char *reason,
                            const char *why, int64_t delay_ms, int64_t size); /* with the lock */
/* Both without the lock. The first leaves alone what another thread is working on; the second waits
 * for it, which the hook must not. */
void queue_work_limbo(struct queue *q);
void queue_finish_limbo(struct queue *q);
/* In the hook, where nothing may be published to the bus that has called it: only finds out what
 * a limit of bytes has to know, and has the rest done by others, when a function buries. */
void queue_note_limbo(struct queue *q);
/* Puts away one that is not in limbo, in its turn; without the lock. After an error nothing of it
 * has happened. */
beck_status queue_put_away(struct queue *q, const struct limbo *l, beck_error *err);

/* ---- queue_bind.c ---- */
/* Waits until no operation is being written. With the lock. */
void queue_be_quiet(struct queue *q);
/* Forgets what is ready or delayed of a bus below these offsets, one per partition. With the lock,
 * quiet. */
beck_status queue_drop_below(struct queue *q, const beck_bus *bus, const int64_t *ends,
                             beck_error *err);

/* together.c: reads what several of the queues wait for once for all; what cannot be read or
 * listed is left to queue_catch_up. While they are recovered. */
void queues_catch_up(struct queue *const *queues, size_t count);

/* Whether any binding gives the queue this event of a source. With the lock. */
bool queue_wants(const struct queue *q, const struct source *s, const struct record_view *v);
/* Lists the events before what the hook and catching up bring, that only this binding matches. */
beck_status queue_read_history(struct queue *q, uint32_t binding, beck_error *err);

/* ---- queue_state.c, queue_recover.c: the form of snapshots ---- */
#define SNAPSHOT_VERSION 3
#define SNAPSHOT_WITHOUT_BYTES 2 /* as written until bytes were counted */
#define SNAPSHOT_END 0xff        /* its last byte, without: */
#define SNAPSHOT_CLOSED 0x01     /* nothing has been delivered since */
#define SNAPSHOT_BURIES 0x02 /* a function buries, which is to be set before anything is put away */
#define SOURCE_GONE 1
#define SOURCE_MIXED 2

/* ---- queue_state.c: operations; without the lock ---- */
enum operation {
    OP_SETTLED = 'S',
    OP_RETRIED = 'R',
    OP_GIVEN_BACK = 'C',
    OP_REDRIVEN = 'D',
    OP_DEAD_PURGED = 'P'
};
/* bytes: of their data, where they are counted. */
beck_status state_settled(struct queue *q, const struct entry *entries, size_t count, int64_t bytes,
                          beck_error *err);
beck_status state_retried(struct queue *q, const struct entry *e, int64_t due_ms,
                          beck_bytes failure, beck_error *err);
/* Where that counts as an attempt. due_ms 0: at once. */
beck_status state_given_back(struct queue *q, const struct scheduled *items, size_t count,
                             beck_error *err);
beck_status state_dead(struct queue *q, enum operation op, const int64_t *offsets, size_t count,
                       beck_error *err);

/* ---- dead.c ---- */
/* Appends the dead letter and takes the entry out of the queue; without the lock. */
beck_status dead_bury(struct queue *q, struct limbo *l, beck_error *err);
/* Bytes of the data of what is in limbo; 0: it cannot be read. For whoever works on limbo;
 * without the lock. */
int64_t dead_measure(struct queue *q, const struct limbo *l);
/* Lets go of the cursor that burying keeps, when nobody uses it; without the lock. */
void dead_rest(struct queue *q);
/* Of a letter that is put back: behind everything ready on its level. With the lock. */
struct entry dead_entry(const struct queue *q, int64_t offset, uint32_t level);
/* The levels of letters, to be freed. */
beck_status dead_levels(struct queue *q, const int64_t *offsets, size_t count, uint8_t **out,
                        beck_error *err);
beck_status dead_add(struct queue *q, int64_t offset); /* with the lock */
bool dead_remove(struct queue *q, int64_t offset);     /* with the lock */
/* The event inside of a dead letter, with the queue that it belongs to. False: the record is none.
 */
struct dead_parts {
    beck_bytes queue, reason, history;
    uint32_t attempts;
    int64_t died_ms;
    beck_bytes origin_bus, entry_bus;
    beck_position origin, entry;
    char id[300];
    beck_event event; /* extensions point into `extensions` */
    beck_attribute extensions[RECORD_EXTENSIONS_MAX];
};
bool dead_open(const beck_event *stored, struct dead_parts *out);
/* Gives a stored letter to `each`, whose result is returned; 0 when it is none. */
int dead_show(const struct record_view *view, struct dead_parts *parts,
              int (*each)(void *ctx, const beck_dead *dead), void *ctx);

#endif
