/*
 * beck: an event-driven platform in one library.
 *
 * A handle (`beck`) owns buses. Events are published to a bus; listeners, readers and queues
 * receive them.
 *
 * Rules that hold for every function unless its own text says otherwise:
 *  - Threads: any function may be called from any thread. Functions named *_close and *_stop, and
 *    beck_close, end the life of their object: the caller makes sure that no other thread is using
 *    that object.
 *  - fork(): a handle belongs to the process that opened it. A child must not use it: what it
 *    would write is refused (BECK_EINVAL), and beck_close does nothing there.
 *  - Errors: functions that can fail return beck_status, 0 (BECK_OK) or a negative code. The last
 *    parameter `err` may be NULL; when given it is filled on failure (cause first, then the remedy)
 *    and untouched on success. A failed call leaves its objects as they were and its out parameters
 *    untouched.
 *  - NULL for what a function works on (a handle, a bus, a reader, a consumer ...) is BECK_EINVAL;
 *    functions without a status then do nothing, or give 0, false or NULL.
 *  - Ownership: arguments are borrowed for the length of the call and copied when kept. Pointers
 *    handed out are borrowed; the text says until when. Nothing returned is to be passed to free()
 *    unless the text says so.
 *  - Options: a structure of options that is all zero, or a NULL pointer to it, means the
 *    documented defaults.
 *  - Time: `_ns` and `_ms` are nanoseconds and milliseconds; points in time count from
 *    1970-01-01T00:00:00Z.
 *  - The library never calls exit() or abort() for bad input, installs no signal handler and writes
 *    to no standard stream.
 */
#ifndef BECK_H
#define BECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BECK_API __attribute__((visibility("default")))
#else
#define BECK_API
#endif

#define BECK_VERSION "0.1.0"

/* ---- status and errors ---------------------------------------------------------------------- */

typedef int beck_status;

enum {
    BECK_OK = 0,
    BECK_EINVAL = -1,        /* an argument or an input is wrong */
    BECK_ENOMEM = -2,        /* memory could not be had */
    BECK_EIO = -3,           /* the disk or the operating system failed */
    BECK_EFULL = -4,         /* no space left on the disk; publishing works again once there is */
    BECK_ELIMIT = -5,        /* a limit was met; the text names it and how to change it */
    BECK_ENOENT = -6,        /* no such bus, queue, event ... */
    BECK_EEXIST = -7,        /* exists already, with other options */
    BECK_EBUSY = -8,         /* another process or user holds it */
    BECK_ECORRUPT = -9,      /* stored bytes are damaged */
    BECK_EPOISONED = -10,    /* a sync failed, or the undoing of a failed write: the partition
                                refuses writes until the next open */
    BECK_ERANGE = -11,       /* the position is before the first or after the last one stored */
    BECK_ETIMEDOUT = -12,    /* nothing came in the time given */
    BECK_ECLOSED = -13,      /* the object is closed, paused or deleted */
    BECK_ESTALE = -14,       /* the delivery is no longer held: settled, expired or rewound */
    BECK_EDUPLICATE = -15,   /* already stored; the position given is that of the first one */
    BECK_ESEQUENCE = -16,    /* a producer's sequence number is out of order */
    BECK_EFENCED = -17,      /* a newer epoch of the same producer exists */
    BECK_EUNSUPPORTED = -18, /* not in this build or not for this kind of object */
    BECK_END = -19,          /* a bounded read has given everything */
    BECK_EDENIED = -20,      /* the caller may not do that, or is not known */
    BECK_ETXN_STATE = -21    /* the producer's transaction is not in a state that allows it */
};

/* What went wrong. `text` is one line for a person: lower case, cause first, then what to do. */
typedef struct beck_error {
    beck_status code;
    char text[496];
} beck_error;

/* The name of a code ("BECK_EINVAL"), or "BECK_?" for a number that is none. Never fails. */
BECK_API const char *beck_status_name(beck_status status);

/* ---- values --------------------------------------------------------------------------------- */

/* Bytes that somebody else owns. `data` may be NULL when len is 0; that means "absent" where absent
 * and empty differ. */
typedef struct beck_bytes {
    const void *data;
    size_t len;
} beck_bytes;

/* The bytes of a NUL-terminated string, without the NUL. NULL gives absent bytes. */
BECK_API beck_bytes beck_str(const char *text);

/* One extension attribute. Name: 1-64 of [a-z0-9] (CloudEvents 1.0 section 3.1). */
typedef struct beck_attribute {
    beck_bytes name;
    beck_bytes value;
} beck_attribute;

/* Where an event is stored. */
typedef struct beck_position {
    uint32_t partition;
    int64_t offset; /* from 0, per partition; -1: not stored */
} beck_position;

/*
 * An event: the attributes are those of CloudEvents 1.0 section 3. Only `type` is needed to
 * publish.
 *
 * type             dot-separated words, 1-255 bytes, no empty word, no `*` or `#`: "order.created"
 * subject          what the event is about: chooses the partition, names the stream. At most 1,024
 *                  bytes
 * source           URI-reference. Absent: the reader sees "/<bus>"
 * id               unique together with source. Absent: the reader sees
 *                  "<bus>/<partition>/<offset>". (Listeners of a memory bus that feeds no queue
 *                  see none until one of them publishes: then a UUID, which what it publishes has
 *                  as its causationid, and which that listener and those called after it see)
 * time_ns          when it happened; 0: the time of publishing. (Listeners of a memory bus that
 *                  feeds no queue see the 0: there no publish looks at the clock)
 * datacontenttype  absent means application/json
 * correlationid    absent: taken from the event being handled on this thread, if any (its own or
 *                  else its id)
 * causationid      absent: the id of the event being handled on this thread, if any
 * deliver_at_ms    queues hand it out no earlier (extension "deliverytime"); 0: at once
 * expires_at_ms    queues drop it to their dead letters from then on (extension "expirytime");
 *                  0: never
 * priority         0-255, higher first, in queues that have priorities (extension "priority")
 * extensions       usually absent
 * bus, position    filled on delivery, ignored when publishing
 */
typedef struct beck_event {
    beck_bytes type;
    beck_bytes subject;
    beck_bytes source;
    beck_bytes id;
    int64_t time_ns;
    beck_bytes datacontenttype;
    beck_bytes dataschema;
    beck_bytes data;
    beck_bytes correlationid;
    beck_bytes causationid;
    int64_t deliver_at_ms;
    int64_t expires_at_ms;
    uint32_t priority;
    const beck_attribute *extensions;
    size_t extension_count;
    beck_bytes bus;
    beck_position position;
} beck_event;

/* ---- handle --------------------------------------------------------------------------------- */

typedef struct beck beck;

/* What the library reports without being asked: failed listeners, cut tails after a crash, a full disk, a poisoned partition.
 * Called from whichever thread met it, several at a time, in the middle of its work: it must return soon, and not call functions
 * of this handle. */
typedef void (*beck_error_fn)(void *ctx, const beck_error *error);

typedef struct beck_options {
    /* NULL: memory only, no thread is started. Created (one level) when missing. */
    const char *data_dir;
    /* 0: a publish at level `synced` waits for its own sync; else that level waits only for
     * `written`, and a sync runs this often (what Kafka calls flush.ms). */
    uint32_t sync_interval_ms;
    uint32_t checkpoint_ms; /* how often recovery points are written; default 5000 */
    bool read_only;         /* open without the lock and without changing a byte: for inspection */
    /* When a server (`beck serve`) owns the data directory, work through it instead of failing with
     * BECK_EBUSY: the same functions with the same results, except where they say so. */
    bool connect;
    int64_t trace_bytes;    /* how much of what happened to deliveries is kept for beck_trace;
                               default 64 MiB, -1: only what is needed anyway */
    beck_error_fn on_error; /* default: nothing */
    void *on_error_ctx;
} beck_options;

/* Opens a handle. One process at a time may open a data directory (BECK_EBUSY names the holder).
 * Errors: BECK_EBUSY, BECK_ECORRUPT (file, position and remedy in the text), BECK_EIO, BECK_ENOMEM.
 * Damage of a bus that is not beck's own does not keep it from being opened: it is reported to on_error, calls that need
 * the damaged partition give BECK_ECORRUPT with the same text, and what queues have of it waits. So does damage of a bus of
 * beck's own (docs/cli.md), but of __topology, without which nothing is opened.
 */
BECK_API beck_status beck_open(beck **out, const beck_options *options, beck_error *err);

/* Whether the handle works through a server (see `connect`). If that stops meanwhile, calls fail with
 * BECK_EIO until it runs again; what consumers held is ready again for others. */
BECK_API bool beck_is_connected(const beck *b);

/* Stops the handle's workers (they finish what they handle), syncs, writes checkpoints and frees
 * everything that was made from it. One that was open for less than a round of upkeep applies retention
 * first, and compacts buses of at most 64 MiB, for about a second. NULL is allowed. */
BECK_API void beck_close(beck *b);

/* Writes the handle's metrics in Prometheus text format 0.0.4 through `write`, in one or more
 * pieces. */
BECK_API beck_status beck_metrics(beck *b, void (*write)(void *ctx, const char *text, size_t len),
                                  void *ctx, beck_error *err);

/* ---- buses ---------------------------------------------------------------------------------- */

/* Borrowed from the handle; valid until beck_close, also after deletion (calls then give
 * BECK_ECLOSED). */
typedef struct beck_bus beck_bus;

typedef enum beck_storage {
    BECK_STORAGE_DEFAULT = 0, /* disk when the handle has a data directory, else memory */
    BECK_STORAGE_MEMORY,      /* listeners, and queues of this process; gone with the handle */
    BECK_STORAGE_DISK         /* a log on disk, in Kafka's format */
} beck_storage;

/* What a confirmed publish promises. */
typedef enum beck_level {
    BECK_LEVEL_DEFAULT = 0, /* the bus's own; `synced` for a disk bus unless set otherwise */
    BECK_LEVEL_NONE,        /* accepted: lost if the process ends before it is written */
    BECK_LEVEL_WRITTEN,     /* in the operating system: survives the end of the process, kill -9 */
    BECK_LEVEL_SYNCED       /* on the device: survives loss of power */
} beck_level;

typedef enum beck_codec {
    BECK_CODEC_NONE = 0,
    BECK_CODEC_GZIP = 1,
    BECK_CODEC_SNAPPY = 2,
    BECK_CODEC_LZ4 = 3,
    BECK_CODEC_ZSTD = 4
} beck_codec;

typedef struct beck_bus_options {
    beck_storage storage;
    uint32_t partitions;      /* default 1, at most 10,000; an event's follows from its subject */
    beck_level level;         /* default level of publishes; default synced */
    bool read_synced;         /* readers and queues see what is synced; default: what is written */
    beck_codec codec;         /* compression of batches; default none */
    int64_t retention_ms;     /* 0: keep for ever (Kafka: retention.ms) */
    int64_t retention_bytes;  /* per partition; 0: no limit (Kafka: retention.bytes) */
    bool compact;             /* keep only the newest of each subject (Kafka: cleanup.policy) */
    int64_t segment_bytes;    /* default 1 GiB, 4 KiB - 2 GiB (Kafka: segment.bytes) */
    int64_t segment_ms;       /* default 7 days (Kafka: segment.ms) */
    int64_t dedup_window_ms;  /* > 0: source and id published within it are not stored again */
    uint32_t event_bytes_max; /* default 1,048,588, as Kafka's max.message.bytes */
    /* How long compaction keeps an event without data, which says that all before it of its subject are gone; default 1 day
     * (Kafka: delete.retention.ms). */
    int64_t delete_retention_ms;
} beck_bus_options;

/* Bus names: 1-249 of [A-Za-z0-9._-], not "." or "..", not one of the library's own, which
 * begin with "__". */

/* Makes a bus, or finds the one of this name when its options are the same. BECK_EEXIST: it exists
 * with others; or directories of its name hold events of a bus that is not known here. */
BECK_API beck_status beck_bus_create(beck *b, const char *name, const beck_bus_options *options,
                                     beck_bus **out, beck_error *err);

/* The bus of that name, or BECK_ENOENT. */
BECK_API beck_status beck_bus_get(beck *b, const char *name, beck_bus **out, beck_error *err);

/* Changes the options of a bus to `options`, in which zero is the default again: take those of
 * beck_bus_info_get and change what is to be. In force once this returns, and kept. Storage and
 * read_synced stay as they were made; partitions can become more, not fewer: events of one subject then
 * may go to another one than before. Queues bound to the bus, and readers that follow all of it, have the
 * new ones too (readers within a second). With a longer dedup_window_ms events that were forgotten
 * already stay so.
 * BECK_EINVAL: what cannot be changed, or a value out of range. */
BECK_API beck_status beck_bus_alter(beck_bus *bus, const beck_bus_options *options,
                                    beck_error *err);

/* Deletes a bus with everything stored in it. BECK_EBUSY while a queue is bound to it. */
BECK_API beck_status beck_bus_delete(beck *b, const char *name, beck_error *err);

typedef struct beck_bus_info {
    const char *name;         /* borrowed until beck_close */
    beck_bus_options options; /* as in force: no zero that means a default */
    int64_t events;           /* stored now: sum over partitions of last - first + 1 offsets */
    int64_t bytes;            /* on disk, or in memory for a memory bus */
    uint32_t listeners;
    uint32_t damaged; /* partitions that are damaged, see beck_partition_info; 0: none */
} beck_bus_info;

typedef struct beck_partition_info {
    int64_t first_offset;   /* of the oldest event kept */
    int64_t next_offset;    /* that the next event gets */
    int64_t written_offset; /* events below are in the operating system */
    int64_t synced_offset;  /* events below are on the device; synced <= written <= next */
    int64_t bytes;
    uint32_t segments;
    int64_t oldest_ms, newest_ms; /* timestamps; -1 when empty */
    /* Stored bytes were found damaged when it was opened: nothing is written to it or read from it, and the
     * offsets are those that are certain, until it is put right (beck_repair) and opened again. */
    bool damaged;
} beck_partition_info;

BECK_API beck_status beck_bus_info_get(beck_bus *bus, beck_bus_info *out, beck_error *err);
BECK_API beck_status beck_partition_info_get(beck_bus *bus, uint32_t partition,
                                             beck_partition_info *out, beck_error *err);

/* Calls `each` for every bus, in order of name, the library's own last. A non-zero
 * result ends the walk. */
BECK_API beck_status beck_bus_list(beck *b, int (*each)(void *ctx, beck_bus *bus), void *ctx,
                                   beck_error *err);
BECK_API const char *beck_bus_name(const beck_bus *bus);

/* Removes all events stored in the bus; offsets go on. Queues lose what they had not yet handed
 * out. */
BECK_API beck_status beck_bus_purge(beck_bus *bus, beck_error *err);

/* ---- publishing ----------------------------------------------------------------------------- */

/* What happened to a publish. */
typedef struct beck_published {
    beck_position position;    /* of the first event of the call; offset -1 on a memory bus that no
                                  queue is bound to */
    uint32_t listeners_failed; /* listeners that returned non-zero, over all events of the call */
    uint32_t duplicates;       /* events that dedup_window_ms found there already: not stored */
} beck_published;

/* Told once when the level asked for is reached, or failed: from the committing thread (through a
 * server: from a thread of the handle, which sends such publishes one after the other), so it must
 * not block. `status` is what the waiting form would have returned. */
typedef void (*beck_done_fn)(void *ctx, beck_status status, const beck_published *published);

typedef struct beck_publish_options {
    beck_level level;
    int32_t partition_plus_1; /* 0: by subject (and without one, in turn); n: partition n-1 */
    beck_done_fn done;        /* given: the call returns once they are accepted, and it is told */
    void *done_ctx;
    bool no_context; /* do not take correlation and causation ids from the event being handled */
} beck_publish_options;

/* Publishes one event and returns when it has reached the bus's default level and every matching
 * listener was called. A listener that fails does not stop the others and does not make this fail.
 * Errors: BECK_EINVAL (which attribute, and why), BECK_ELIMIT (event_bytes_max; max length of a
 * queue that refuses), BECK_EFULL, BECK_EPOISONED, BECK_ECORRUPT (the partition is damaged),
 * BECK_ECLOSED, BECK_EIO, BECK_ENOMEM. After any
 * of them the event is not stored - except BECK_EPOISONED, when it may be found
 * after the next open. */
BECK_API beck_status beck_publish(beck_bus *bus, const beck_event *event, beck_error *err);

/* Publishes `count` events as one batch per partition: all of a partition's share is stored, or
 * none of it. */
BECK_API beck_status beck_publish_many(beck_bus *bus, const beck_event *events, size_t count,
                                       const beck_publish_options *options, beck_published *out,
                                       beck_error *err);

/* Waits until everything that publishes before this call accepted is synced, also those that gave `done`.
 * These may be told after this returns, each on its own thread: who needs the answer waits for `done`. */
BECK_API beck_status beck_sync(beck *b, beck_error *err);

/* ---- listeners ------------------------------------------------------------------------------ */

typedef struct beck_listener beck_listener;

/* Called on the publisher's thread; `event` is valid during the call. 0: handled; anything else
 * counts as failed and is reported to on_error. May publish, subscribe and unsubscribe (itself
 * included); listeners that publish to listeners that publish are 100 deep at most, then the publish is
 * BECK_ELIMIT. */
typedef int (*beck_listener_fn)(void *ctx, const beck_event *event);

typedef struct beck_listener_options {
    uint64_t events_max;        /* temporary: unsubscribed after this many calls; 0: no limit */
    void (*release)(void *ctx); /* called once when `ctx` is used no more */
} beck_listener_options;

/* Pattern: words and `.`, where `*` stands for one word and `#` for zero or more (AMQP 0-9-1
 * section 3.1.3.3); "#" is every event. Listeners are called in order of subscription. An event
 * published after this returns is seen. BECK_EUNSUPPORTED on a handle that works through a server:
 * no publisher of another process can call into this one; read with `follow` instead, or take from a
 * queue. */
BECK_API beck_status beck_subscribe(beck_bus *bus, const char *pattern, beck_listener_fn fn,
                                    void *ctx, const beck_listener_options *options,
                                    beck_listener **out, beck_error *err);

/* No call begins after this returns. Outside of listeners it also waits for calls that run on other
 * threads, so `ctx` may be freed after it; inside of one, use `release` for that. A listener that
 * ended by events_max must still be unsubscribed or left to beck_close. */
BECK_API void beck_unsubscribe(beck_listener *listener);

/* The event that this thread is handling (listener or worker), or NULL. Valid while it is being
 * handled. */
BECK_API const beck_event *beck_current(beck *b);

/* ---- reading -------------------------------------------------------------------------------- */

typedef enum beck_from_kind {
    BECK_FROM_NOW = 0,  /* after the last event at this moment */
    BECK_FROM_EARLIEST, /* the oldest event kept */
    BECK_FROM_OFFSET,   /* `offset`, in every partition; one that ends before begins at its end, and
                           BECK_ERANGE says that all do */
    BECK_FROM_TIME      /* per partition, the first event whose time is at or after `time_ms` */
} beck_from_kind;

typedef struct beck_from {
    beck_from_kind kind;
    int64_t offset;
    int64_t time_ms;
} beck_from;

typedef struct beck_reader beck_reader; /* one thread at a time */

typedef struct beck_read_options {
    beck_from from;           /* zero is BECK_FROM_NOW: say BECK_FROM_EARLIEST to read history */
    int32_t partition_plus_1; /* 0: all, merged by time; n: partition n-1 */
    bool follow;              /* wait for new events at the end, instead of giving BECK_END */
    int64_t until_time_ms;    /* > 0: leave out events at or after this time, and end when nothing
                                 earlier can be left */
    const char *pattern;      /* only types that match; NULL: all */
    beck_bytes subject;       /* only this subject; absent: all */
} beck_read_options;

/* Opens a reader on a disk bus. A start before the first offset kept begins at the first; one after
 * the end of all partitions that are read is BECK_ERANGE. */
BECK_API beck_status beck_reader_open(beck_bus *bus, const beck_read_options *options,
                                      beck_reader **out, beck_error *err);

/* The next event, in `*out`, valid until the next call with this reader. Waits at most timeout_ms
 * (-1: for ever) when following. Errors: BECK_END, BECK_ETIMEDOUT, BECK_ECORRUPT (names file and
 * position; the next call goes on behind the damage), BECK_EIO, BECK_ECLOSED. */
BECK_API beck_status beck_reader_next(beck_reader *reader, int64_t timeout_ms,
                                      const beck_event **out, beck_error *err);
BECK_API void beck_reader_close(beck_reader *reader);

/* ---- queues --------------------------------------------------------------------------------- */

typedef enum beck_backoff_kind {
    BECK_BACKOFF_DEFAULT = 0, /* exponential */
    BECK_BACKOFF_NONE,        /* at once */
    BECK_BACKOFF_FIXED,       /* first_ms every time */
    BECK_BACKOFF_EXPONENTIAL, /* first_ms * 2^(attempt-1), at most max_ms, with jitter */
    BECK_BACKOFF_LIST         /* list_ms[attempt-1], the last one repeated */
} beck_backoff_kind;

typedef struct beck_backoff {
    beck_backoff_kind kind;
    int64_t first_ms;        /* default 1000 */
    int64_t max_ms;          /* default 1 hour */
    uint32_t jitter_percent; /* of the delay, added or taken at random; default 20 for exponential,
                                101 means none */
    uint32_t list_count;     /* at most 16 */
    int64_t list_ms[16];
} beck_backoff;

typedef enum beck_overflow {
    /* The first ready ones become dead letters, reason "maxlen": the oldest of the highest priority, as they
     * would be delivered. */
    BECK_OVERFLOW_DROP_OLDEST = 0,
    BECK_OVERFLOW_REFUSE /* the publisher gets BECK_ELIMIT */
} beck_overflow;

typedef struct beck_queue_options {
    beck_storage storage;   /* memory: bound to memory and disk buses; disk: to disk buses */
    uint32_t attempts_max;  /* deliveries before an event becomes a dead letter; default 10 */
    beck_backoff backoff;   /* wait before a retried event is delivered again */
    int64_t deadline_ms;    /* not settled by then is a failure; default 30,000; -1: never */
    int64_t ttl_ms;         /* not delivered by then: a dead letter, reason "expired"; 0: never */
    int64_t length_max;     /* ready events; 0: no limit */
    beck_overflow overflow; /* what happens beyond length_max */
    uint32_t priority_max;  /* levels above 0, at most 255; 0: no priorities */
    bool no_dead_letters;   /* drop instead of keeping dead letters */
} beck_queue_options;

/* Makes a queue, or finds the one of this name when its options are the same. BECK_EEXIST: it exists
 * with others. Queue names: as bus names. */
BECK_API beck_status beck_queue_create(beck *b, const char *name, const beck_queue_options *options,
                                       beck_error *err);
BECK_API beck_status beck_queue_delete(beck *b, const char *name, beck_error *err);

/* Changes the options of a queue to `options`, in which zero is the default again: take those of
 * beck_queue_info_get and change what is to be. In force once this returns, and kept; what the queue
 * holds, its position and its dead letters stay. Storage and priority_max stay as they were made.
 *   attempts_max, backoff   of the next failure on; an event that has failed that often already
 *                           has its last attempt
 *   deadline_ms             of deliveries from now on; what is held keeps its own, and beck_extend
 *                           gives it at least that again
 *   ttl_ms                  of events that come from now on
 *   length_max, overflow    at once: what is too much is dropped, or, when it is refused, stays
 *   no_dead_letters         of events that die from now on
 * BECK_EINVAL: what cannot be changed, or a value out of range; also attempts_max, deadline_ms, ttl_ms,
 * length_max and overflow while AMQP arguments, a policy or a share group say what they are. */
BECK_API beck_status beck_queue_alter(beck *b, const char *name, const beck_queue_options *options,
                                      beck_error *err);

typedef struct beck_binding {
    const char *bus;
    const char *pattern; /* NULL: "#" */
    beck_from from;      /* zero: events published from now on */
} beck_binding;

/* Feeds the queue from a bus. An event that several bindings match is queued once. Binding the same
 * bus and pattern again does nothing. `from` a past position queues history first, in order. */
BECK_API beck_status beck_queue_bind(beck *b, const char *queue, const beck_binding *binding,
                                     beck_error *err);
BECK_API beck_status beck_queue_unbind(beck *b, const char *queue, const char *bus,
                                       const char *pattern, beck_error *err);

typedef struct beck_queue_info {
    const char *name;           /* borrowed until beck_close */
    beck_queue_options options; /* as in force */
    /* Deliverable now; exact. An event that has expired behind one that has not counts until it comes to the
     * head, or until a limit that refuses would refuse for it and it is not behind 10,000 others. */
    int64_t ready;
    int64_t in_flight; /* delivered and not yet settled; exact */
    int64_t delayed;   /* waiting for their time; exact */
    int64_t dead;      /* dead letters kept; exact */
    uint32_t consumers;
    bool paused;
    /* It is not known what it holds, and the numbers are 0: stored bytes of __queue_state are damaged. Until they are put
     * right (beck_repair) it can be looked at only, and keeps what it has. */
    bool damaged;
    uint32_t bindings;
    int64_t oldest_ms;   /* event time of the oldest ready one, -1 when there is none */
    int64_t next_due_ms; /* when the first delayed one is due, -1 when there is none */
    int64_t delivered, settled, retried, rejected, expired, dropped; /* since this open */
} beck_queue_info;

BECK_API beck_status beck_queue_info_get(beck *b, const char *name, beck_queue_info *out,
                                         beck_error *err);
BECK_API beck_status beck_queue_list(beck *b, int (*each)(void *ctx, const char *name), void *ctx,
                                     beck_error *err);
BECK_API beck_status beck_queue_bindings(beck *b, const char *name,
                                         int (*each)(void *ctx, const beck_binding *binding),
                                         void *ctx, beck_error *err);

/* Consumers get nothing while a queue is paused; it goes on filling. Kept across restarts. */
BECK_API beck_status beck_queue_pause(beck *b, const char *name, bool paused, beck_error *err);

/* Drops everything ready and delayed; what is in flight stays. `*purged` (may be NULL): how many.
 */
BECK_API beck_status beck_queue_purge(beck *b, const char *name, int64_t *purged, beck_error *err);

/* Makes the queue's content what its bindings give from that position on: whatever it holds is
 * forgotten (deliveries in flight become stale), history is queued again. Dead letters stay. A bus that is
 * named "<queue>.replay" has copies (`beck replay --into-queue`): they are forgotten and not given
 * again. BECK_EINVAL: the queue is bound to nothing. */
BECK_API beck_status beck_queue_rewind(beck *b, const char *name, const beck_from *from,
                                       beck_error *err);

/* Calls `each` for up to `max` ready events in delivery order, without taking them. */
BECK_API beck_status beck_queue_peek(beck *b, const char *name, size_t max,
                                     int (*each)(void *ctx, const beck_event *event), void *ctx,
                                     beck_error *err);

typedef enum beck_waiting_kind {
    BECK_WAITING_DELAYED, /* for its time: delivered later, or another try; the first due comes first */
    BECK_WAITING_IN_FLIGHT /* held by consumers; the one whose deadline is next comes first */
} beck_waiting_kind;

typedef struct beck_waiting {
    const beck_event *event; /* NULL: it cannot be read now */
    const char *bus; /* where it is stored; of a dead letter that was put back, its letter */
    beck_position position;
    uint32_t attempt; /* which delivery this is, or will be: 1 is the first */
    int64_t since_ms; /* in flight: since when; delayed: -1 */
    int64_t due_ms;   /* when it is ready, or its deadline passes; -1: it has none */
} beck_waiting;

/* Calls `each` for what waits in a queue, at most `max` behind the first `from`, which is a moment's picture; what is passed
 * stays valid during the call. A non-zero result ends it. BECK_EINVAL: from + max is more than 10,000, or no such kind. */
BECK_API beck_status beck_queue_waiting(beck *b, const char *name, beck_waiting_kind kind,
                                        size_t from, size_t max,
                                        int (*each)(void *ctx, const beck_waiting *waiting),
                                        void *ctx, beck_error *err);

/* ---- consuming ------------------------------------------------------------------------------ */

/* One thread at a time, except that beck_consumer_wake is for any. */
typedef struct beck_consumer beck_consumer;

typedef struct beck_delivery {
    const beck_event *event; /* valid until this delivery is settled, retried or rejected, or the
                                consumer closed */
    uint64_t tag;            /* names the delivery for the calls below; unique within the handle */
    uint32_t attempt;        /* 1 for the first */
    bool redelivered;        /* it may have been delivered before, also when attempt is 1 */
    int64_t deadline_ms;     /* to be settled or extended within, from the taking on; -1: never */
} beck_delivery;

/* prefetch: deliveries held at once, 1-65,536; 0: 64. */
BECK_API beck_status beck_consumer_open(beck *b, const char *queue, uint32_t prefetch,
                                        beck_consumer **out, beck_error *err);

/* What is held and not settled is ready again, at its original place; the attempt counts. */
BECK_API void beck_consumer_close(beck_consumer *consumer);

/* Takes up to `max` deliveries; waits at most timeout_ms (-1: for ever) for the first. `*count` is
 * at least 1 on success. Order: highest priority first; within it the order of the bus, with
 * redeliveries at their original place. Errors: BECK_ETIMEDOUT, BECK_ELIMIT (prefetch deliveries
 * are held), BECK_ECLOSED (queue deleted, or woken), BECK_EIO, BECK_ECORRUPT. */
BECK_API beck_status beck_take(beck_consumer *consumer, beck_delivery *out, size_t max,
                               int64_t timeout_ms, size_t *count, beck_error *err);

/* Makes a waiting beck_take, or the next one, return BECK_ECLOSED. Any thread. */
BECK_API void beck_consumer_wake(beck_consumer *consumer);

/* Done: `count` deliveries leave the queue for good. Survives the end of the process once this
 * returns; after a loss of power the last ones may be delivered again. Errors: BECK_ESTALE when one
 * is no longer held (the others are settled), BECK_EFULL and BECK_EIO (they are still held). */
BECK_API beck_status beck_settle(beck_consumer *consumer, const uint64_t *tags, size_t count,
                                 beck_error *err);

/* Failed for now: delivered again after delay_ms, or -1 for the queue's back-off. The last attempt
 * makes it a dead letter with reason "attempts". `why` is kept in the history of the event; may be
 * NULL. Lasts as beck_settle does, with the same errors. */
BECK_API beck_status beck_retry(beck_consumer *consumer, uint64_t tag, int64_t delay_ms,
                                const char *why, beck_error *err);

/* Ready again at once at its original place, and the attempt does not count. */
BECK_API beck_status beck_return(beck_consumer *consumer, uint64_t tag, beck_error *err);

/* Failed for good: a dead letter with reason "rejected". Lasts as beck_settle does, with the same
 * errors. */
BECK_API beck_status beck_reject(beck_consumer *consumer, uint64_t tag, const char *why,
                                 beck_error *err);

/* Starts the delivery's deadline anew: the longer one of its own and of what the queue has now. */
BECK_API beck_status beck_extend(beck_consumer *consumer, uint64_t tag, beck_error *err);

/* ---- workers -------------------------------------------------------------------------------- */

typedef struct beck_workers beck_workers;

typedef enum beck_verdict {
    BECK_SETTLE = 0, /* handled */
    BECK_RETRY = 1,  /* try again after the queue's back-off; any other value means the same */
    BECK_REJECT = 2  /* no use trying again */
} beck_verdict;

/* Runs on a worker's thread. `why`, 256 bytes, empty at first, takes a text for the history of a
 * failed event. */
typedef int (*beck_worker_fn)(void *ctx, const beck_delivery *delivery, char *why);

typedef struct beck_worker_options {
    uint32_t threads;  /* default 1 */
    uint32_t prefetch; /* per thread, default 64. Finished deliveries are settled together: when the
                          thread has none left, or 1 ms after the first */
} beck_worker_options;

BECK_API beck_status beck_workers_start(beck *b, const char *queue, beck_worker_fn fn, void *ctx,
                                        const beck_worker_options *options, beck_workers **out,
                                        beck_error *err);

/* Waits until every thread has finished the delivery that it handles, gives back what it did not
 * begin, and frees. NULL is allowed. Not from a worker's own thread. */
BECK_API void beck_workers_stop(beck_workers *workers);

/* ---- dead letters --------------------------------------------------------------------------- */

typedef struct beck_dead {
    const beck_event *event; /* as it was published; position is that of the dead letter: its name
                                in the calls below */
    const char *
        reason; /* "rejected", "attempts", "expired", "maxlen"; "unreadable": it is damaged, and this stands for
                                it: once its file is restored, put back, it is delivered */
    uint32_t attempts;
    int64_t died_ms;
    beck_position origin; /* where the event is stored in `event->bus` */
    const char *history;  /* JSON array of {"attempt","time","why"}, the last 16 failures */
} beck_dead;

/* Calls `each` for up to `max` (0: all) dead letters of a queue, oldest first; what it is given is
 * valid during the call. */
BECK_API beck_status beck_dead_list(beck *b, const char *queue, size_t max,
                                    int (*each)(void *ctx, const beck_dead *dead), void *ctx,
                                    beck_error *err);

/* Puts dead letters back into their queue, with attempts counted anew and history kept. offset:
 * that of one dead letter, or -1 for all. */
BECK_API beck_status beck_dead_redrive(beck *b, const char *queue, int64_t offset,
                                       int64_t *redriven, beck_error *err);
BECK_API beck_status beck_dead_purge(beck *b, const char *queue, int64_t offset, int64_t *purged,
                                     beck_error *err);

/* ---- traces ----------------------------------------------------------------------------------- */

/* What became of an event in one queue. */
typedef struct beck_trace_delivery {
    const char *queue;
    const char
        *state; /* "ready", "delayed", "in_flight", "settled", "dead"; "finished": it left the
                           queue, and how is not recorded any more (beck_options.trace_bytes) */
    uint32_t attempts;   /* begun so far, as far as recorded */
    int64_t at_ms;       /* when it came to that state; delayed: when it is due; 0: not known */
    const char *reason;  /* of a dead letter, else "" */
    const char *history; /* JSON array of {"attempt","time","why"}, of the failures recorded */
} beck_trace_delivery;

/* One event of a trace. */
typedef struct beck_trace_step {
    const beck_event *event;
    uint32_t depth; /* 0: nothing that is stored caused it */
    const beck_trace_delivery *deliveries;
    size_t delivery_count;
} beck_trace_step;

/* Calls `each` for the events that belong together with one: those of its correlation, as a tree:
 * what caused comes before what it caused (causationid), siblings in order of time. `id`: of an event,
 * given or derived ("<bus>/<partition>/<offset>"), or a correlation id. At most `max` events (0:
 * 10,000), and 256 MiB of them. Non-zero ends the walk; what is passed is valid during the call.
 *
 * Uses an index beside the logs, which is made or brought up to date first: the first call after much
 * was published takes a while (about a second for a million events). It has events that carry an id of
 * their own, a correlationid or a causationid. What happened to deliveries is known as long as the log
 * of queues keeps it (beck_options.trace_bytes). One call at a time; others wait.
 * Errors: BECK_ENOENT, BECK_EUNSUPPORTED (handle in memory only, or read only), BECK_EIO, BECK_EFULL,
 * BECK_ENOMEM. */
BECK_API beck_status beck_trace(beck *b, const char *id, size_t max,
                                int (*each)(void *ctx, const beck_trace_step *step), void *ctx,
                                beck_error *err);

/* ---- handlers that run once ----------------------------------------------------------------- */

struct sqlite3;

/* Runs `effect` unless it has run for this event (source and id) and this `handler` before, and
 * remembers it: both in the transaction that the caller has open on `db`, or in one of its own when
 * there is none. So the effect and the memory of it are committed together (the "inbox" of a
 * transactional outbox). `effect` may be NULL; non-zero from it rolls back to the state before the
 * call.
 * `*ran` (may be NULL): whether it ran now. The table `beck_inbox` is made when missing.
 * Threads: those of `db`. Errors: BECK_EINVAL, BECK_EIO (SQLite's message in the text),
 * BECK_EUNSUPPORTED; a positive result is the effect's own. */
BECK_API int beck_once(struct sqlite3 *db, const char *handler, const beck_event *event,
                       int (*effect)(void *ctx, struct sqlite3 *db, const beck_event *event),
                       void *ctx, bool *ran, beck_error *err);

/* ---- events of a transaction ---------------------------------------------------------------- */

/* Notes an event in the transaction that the caller has open on `db`: it is published, by
 * beck_outbox_publish, if that is committed, and only then (the "transactional outbox"). Without an
 * open transaction it is noted at once. An event without id, source or time gets them here: a UUID,
 * "/<bus>", now. The table `beck_outbox` is made when missing. Threads: those of `db`. Errors:
 * BECK_EINVAL (which attribute, and why), BECK_ELIMIT (64 MiB), BECK_EIO (SQLite's message in the
 * text), BECK_ENOMEM, BECK_EUNSUPPORTED. */
BECK_API beck_status beck_outbox_put(struct sqlite3 *db, const char *bus, const beck_event *event,
                                     beck_error *err);

/* Publishes what is noted in `db`, in the order of the commits and at most `max` of it (0: all), to the
 * buses of their names, synced, and removes it. `*count` (may be NULL, set also on failure): how many. Call it after
 * commits, or every now and then; one call at a time for a database. Every event is published once, unless
 * this is interrupted between publishing and removing: then again, with the same id, which a bus with
 * dedup_window_ms or a handler with beck_once sees once. An event that is refused stays, and those behind
 * it. Errors: those of beck_bus_get and beck_publish; BECK_EINVAL while a transaction is open on `db`,
 * BECK_EIO, BECK_EUNSUPPORTED. */
BECK_API beck_status beck_outbox_publish(beck *b, struct sqlite3 *db, size_t max, size_t *count,
                                         beck_error *err);

/* ---- events as text ------------------------------------------------------------------------- */

typedef enum beck_form {
    BECK_FORM_CLOUDEVENTS = 0, /* CloudEvents 1.0 JSON format */
    BECK_FORM_ENVELOPE = 1     /* {"eventId","eventType","version","timestamp","source","data",
                                  "metadata":{"correlationId","causationId"}} */
} beck_form;

/* An event read from text, with the memory that it refers to. */
typedef struct beck_document beck_document;

/* Reads one event or an array of them; the form is recognised from the members. Every error names
 * the member, the byte and what is expected. Limits: 64 MiB of text, nesting of 128. */
BECK_API beck_status beck_parse(beck_bytes json, beck_document **out, beck_error *err);
BECK_API size_t beck_document_count(const beck_document *document);
BECK_API const beck_event *beck_document_event(const beck_document *document, size_t index);
BECK_API void beck_document_free(beck_document *document);

/* One line of JSON without a newline, NUL-terminated; the caller frees it with beck_text_free.
 * `*len` (may be NULL) without the NUL. */
BECK_API beck_status beck_format(const beck_event *event, beck_form form, char **out, size_t *len,
                                 beck_error *err);
BECK_API void beck_text_free(char *text);

/* Whether a pattern matches a type. BECK_EINVAL names what is wrong with the pattern; `*out` is set
 * on success. */
BECK_API beck_status beck_pattern_match(const char *pattern, beck_bytes type, bool *out,
                                        beck_error *err);

/* ---- checking ------------------------------------------------------------------------------- */

/* Reads every byte of the partitions in a data directory that no process has open, and reports each
 * fault through `each` (code, file, position, remedy), and remarks with code BECK_OK: what the next
 * opening will put right by itself, and files that are not beck's. BECK_OK: no fault. BECK_ECORRUPT:
 * faults were reported. BECK_EBUSY: somebody has it open, a server for instance, which has to be
 * stopped first. Nothing is changed. */
typedef struct beck_verify_info {
    uint64_t partitions, segments, batches, records, bytes, queues, faults;
} beck_verify_info;

BECK_API beck_status beck_verify(const char *data_dir,
                                 void (*each)(void *ctx, const beck_error *fault), void *ctx,
                                 beck_verify_info *out, beck_error *err);

/* Gives up what cannot be read, so that the directory can be opened and is without damage: what is
 * damaged or missing in the log of a partition is replaced by an empty batch, after which the offsets of
 * all other events are what they were; checkpoints that cannot be read are removed. What was given up, and
 * where a copy of its bytes is (beside the file), is reported with code BECK_OK, and of beck's own buses
 * what that means. Buses that __topology knows no more are in it again, as far as files tell. Then as
 * beck_verify, of what is there now. Restoring the files from a backup loses less. */
BECK_API beck_status beck_repair(const char *data_dir,
                                 void (*each)(void *ctx, const beck_error *fault), void *ctx,
                                 beck_verify_info *out, beck_error *err);

/* ---- Kafka's files --------------------------------------------------------------------------- */

typedef struct beck_kafka_files {
    uint64_t partitions, batches, bytes;
} beck_kafka_files;

/* Writes the partitions of a bus on disk as directories `<bus>-<n>` below `directory` (made when
 * missing), with segments that a Kafka broker takes over: batches as they are stored, with their
 * offsets, as far as no transaction is open. Works on a handle that is open for reading only, also
 * while a server owns the data directory. Returns once all of it is on the device. BECK_EEXIST: one
 * of those directories is there; what was written before an error stays there. */
BECK_API beck_status beck_kafka_export(beck *b, const char *bus, const char *directory,
                                       beck_kafka_files *out, beck_error *err);

/* The reverse: makes a bus from the directories `<topic>-0`, `<topic>-1` ... below the log directory of
 * a Kafka broker that is not running. Offsets, timestamps, keys, headers, producers and transactions
 * stay as they are; a transaction that is open is aborted. `options` as for beck_bus_create, NULL:
 * defaults; the number of partitions is that of the directories. Nobody uses the bus before this
 * returns, and all of it is on the device then. BECK_EEXIST: there is a bus of that name;
 * BECK_ECORRUPT: a segment is damaged, the text says where, and the bus is not made. */
BECK_API beck_status beck_kafka_import(beck *b, const char *directory, const char *topic,
                                       const char *bus, const beck_bus_options *options,
                                       beck_kafka_files *out, beck_error *err);

#ifdef __cplusplus
}
#endif

#endif
