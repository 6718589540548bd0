/*
 * Share groups (KIP-932): consumers that share the records of topics one by one, with an answer for
 * each.
 *
 * A share group of a topic is a queue of the engine, named "share.<group>.<topic>" (what a name may
 * not have is "_"; where that is taken, ".2" and so on behind it). So a group's deliveries are counted,
 * paused, purged, redriven like those of any queue, and what is given up are dead letters of it:
 *
 *     acquired       a delivery that a member holds until share.record.lock.duration.ms is over
 *     accept, gap    settled
 *     release        a failed attempt: tried again by the queue's back-off, the last one buries it
 *     reject         a dead letter, or a record of the group's dead-letter topic (share_dead.c)
 *     renew          the lock begins anew
 *
 * The queue is made, from share.auto.offset.reset on, when the first member subscribes to the topic.
 * Its limits are those of the group's configuration. A queue of that name which a user made before,
 * with a back-off of its own for example, is taken as it is, limits included.
 *
 * All partitions of a topic stand in one list, in the order of publishing, so every member is assigned
 * all partitions of what it subscribes to: whoever asks gets the next records. What lies between is
 * Kafka's own rule (each partition has a member), and no member waits while others have work left.
 *
 * Differences to Kafka's own server: records of open or aborted transactions are never delivered
 * (share.isolation.level read_committed); share.partition.max.record.locks counts over all partitions
 * of a topic (times their number); an answer waits for one record, whatever min_bytes says.
 *
 * What lasts: what was accepted or rejected, with the promise of acks=all; the queues and, in the store, which group and topic each belongs to. Members and share
 * sessions are in memory: after a restart members join again, and what they held comes again.
 *
 * Locks: shares.change_lock (making and deleting queues; before those of the handle), a session's lock
 * (over its deliveries; before queue.lock), shares.lock (tables; a leaf). Functions marked (slow) may
 * wait for the disk or for those who do. Borrowed arguments are used during the call only; answers lie
 * in the arena.
 */
#ifndef BECK_KAFKA_SHARE_H
#define BECK_KAFKA_SHARE_H

#include "kafka/message/groups.h"
#include "kafka/message/share.h"
#include "kafka/message/share_offsets.h"
#include "kafka/topics.h"
#include "log/committer.h"

#define SHARE_GROUP_ID_MAX 700 /* bytes, UTF-8 without control characters */
#define SHARE_MEMBER_ID_MAX 255
#define SHARE_GROUPS_MAX 100000
#define SHARE_GROUP_MEMBERS_MAX 200
#define SHARE_SESSIONS_MAX 2000      /* where all are taken, an idle one makes room */
#define SHARE_SESSION_IDLE_MS 120000 /* without a request; its client may be gone without a word */
#define SHARE_SUBSCRIPTIONS_MAX 1000 /* topics of a member */
#define SHARE_FETCH_BYTES_MAX (55u << 20) /* of an answer, and one batch beyond */
#define SHARE_FETCH_RECORDS_MAX 65536     /* of an answer */

struct share_client {
    beck_bytes id;   /* client.id */
    beck_bytes host; /* "/127.0.0.1" */
};

/* After the topics and their configurations; closed before them. */
beck_status shares_open(struct kafka *k, beck_error *err);
void shares_close(struct kafka *k);

/* ---- members ---- */

/* (slow) Topics in it are those that the caller may see. */
void share_heartbeat(struct kafka *k, const struct kafka_share_group_heartbeat_request *request,
                     const struct share_client *client, struct kafka_arena *arena,
                     struct kafka_share_group_heartbeat_response *out);
/* Leaves out authorized_operations. False: no memory. */
bool share_describe(struct kafka *k, beck_bytes group, struct kafka_arena *arena,
                    struct kafka_share_group_describe_response_group *out);
/* Whether there is such a share group: with members, or with a queue. */
bool share_exists(struct kafka *k, beck_bytes group);
/* Appends those that the request wants. False: no memory. */
bool share_list(struct kafka *k, const struct kafka_list_groups_request *request,
                struct kafka_arena *arena, struct kafka_list_groups_response *out);
/* (slow) With all its queues. GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP. */
int share_delete(struct kafka *k, beck_bytes group, const char **text);

/* ---- records ---- */

/* A fetch that waits until there is something. */
struct share_fetch {
    /* By the caller, all of it in memory that stays until the end. */
    struct kafka *k;
    const struct kafka_share_fetch_request *request;
    const void *connection; /* any name of where it came from; the session is of that from now on */
    int16_t version;
    struct kafka_arena *arena;
    struct kafka_share_fetch_response *response; /* with its defaults */
    /* Whether the client may read a topic. On the thread of share_fetch_run. */
    bool (*may)(struct share_fetch *f, const struct topic *t);
    /* After share_fetch_run said false: called once, from any thread with any lock; takes a note to
     * call share_fetch_run again. */
    void (*again)(struct share_fetch *f);
    /* The rest is share_fetch's. */
    struct share_session *session;
    struct share_part *parts, **last_part;
    struct share_watch *watches;
    size_t watch_count;
    struct timer timer;
    int64_t deadline_ns;
    _Atomic(int) noted;
    _Atomic(bool) cancelled, hurried;
    bool begun, acknowledges;
    bool settled; /* out: records were accepted or rejected; share_sync before it is answered */
};

/* (slow) True: the response is there, and the fetch has ended. False: wait for `again`. */
bool share_fetch_run(struct share_fetch *f);
/* The client is gone: it is run again soon, gives nothing more, and its session ends unless another connection has gone on
 * with it. Any thread, while it has not ended. */
void share_fetch_cancel(struct share_fetch *f);
/* It waits no longer: it is run again soon, and gives what there is. Any thread, while it has not ended. */
void share_fetch_hurry(struct share_fetch *f);
/* (slow) After all fetches of a connection have ended: so do its sessions, and what they hold is given
 * back. */
void share_disconnected(struct kafka *k, const void *connection);

/* (slow) *settled: as in struct share_fetch. */
void share_acknowledge(struct kafka *k, const struct kafka_share_acknowledge_request *request,
                       bool (*may)(void *ctx, const struct topic *t), void *ctx,
                       struct kafka_arena *arena, struct kafka_share_acknowledge_response *out,
                       bool *settled);

/* Has `done` called once what was settled before is as safe as acks=all promises: by another thread, or
 * before the call returns. Bad: it could not be synced. The caller's, until then. */
struct share_sync {
    struct completion completion;
    void (*done)(struct share_sync *s, bool good); /* by the caller */
    struct committer *committer;
    struct partition *log, *next;
    int64_t offset;
};
void share_sync(struct kafka *k, struct share_sync *s);

/* ---- positions ---- */

struct share_position {
    int32_t partition;
    int64_t offset; /* everything below is done with; -1: the group has nothing of it */
    int64_t lag;    /* records from there on that are not done with; -1: unknown */
    int error;
};
/* (slow) Fills in what belongs to the partitions. UNKNOWN_TOPIC_OR_PARTITION, or 0. */
int share_positions(struct kafka *k, beck_bytes group, struct topic *t,
                    struct share_position *positions, size_t count);
/* The topics that a group has queues of, in the arena. False: no memory. */
bool share_topics(struct kafka *k, beck_bytes group, struct kafka_arena *arena, struct topic ***out,
                  size_t *count);
/* (slow) Moves single partitions; makes group and queue when there are none. `error` of each is set, and a
 * code for all returned: NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND (it is a group of another type),
 * INVALID_GROUP_ID ... */
int share_move(struct kafka *k, beck_bytes group, struct topic *t, struct share_position *positions,
               size_t count);
/* (slow) The group forgets a topic. NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND, or 0, also when it had nothing
 * of it. */
int share_forget(struct kafka *k, beck_bytes group, struct topic *t);

#endif
