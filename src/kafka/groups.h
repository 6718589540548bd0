/*
 * The group coordinator: consumer groups of both protocols (classic, and KIP-848's), and the offsets
 * that they commit (offsets.h).
 *
 * What is asked is a message as it was decoded, what is answered one to be encoded; both are borrowed
 * for the length of a call. `done` is called exactly once for each call that has it, from the calling
 * thread or another, before or after the call returns, without locks. Answers that promise something
 * come after its records are in the log (groups_settings.level).
 *
 * Memory holds all groups; the log `__consumer_offsets` holds Kafka's own records of them
 * (group_log.h), from which they are made again: members, generations, epochs and assignments stay,
 * sessions begin anew, so that nobody has to join again because of a restart.
 *
 * Threads: any. Nothing here waits for the disk but groups_open and groups_close.
 */
#ifndef BECK_KAFKA_GROUPS_H
#define BECK_KAFKA_GROUPS_H

#include "api/handle.h"
#include "base/timers.h"
#include "kafka/message/consumer_groups.h"
#include "kafka/message/groups.h"

struct groups;
struct kafka_txn_offset_commit_request;

typedef void (*groups_done)(void *ctx, const void *answer);

/* A topic as groups see it. */
struct group_topic {
    beck_bytes name; /* valid while the coordinator is open */
    uint8_t id[16];
    uint32_t partitions;
};

/* Where groups find topics. None of it blocks; it is called with groups.lock held. */
struct group_topics {
    bool (*find)(void *ctx, beck_bytes name, struct group_topic *out);
    bool (*find_id)(void *ctx, const uint8_t id[16], struct group_topic *out);
    /* Those that a regular expression may match: the internal ones as well, as with Kafka. */
    void (*each)(void *ctx, void (*fn)(void *fn_ctx, const struct group_topic *t), void *fn_ctx);
    uint64_t (*generation)(void *ctx); /* moves with every change of what the others say */
    void *ctx;
};

#define GROUPS_MAX 100000
#define GROUP_MEMBER_BYTES_MAX (1u << 20) /* what a member says of itself, and its assignment */
#define GROUP_PROTOCOLS_MAX 100
#define GROUP_RECORD_MAX (16u << 20)

/* 0 stands for the default. */
struct groups_settings {
    beck_level level; /* of commits and changes; default written. In transactions: synced */
    int32_t initial_rebalance_delay_ms;     /* 0: the first member of a group waits for nobody */
    int32_t session_min_ms, session_max_ms; /* classic: 6 s, 30 min */
    uint32_t members_max;                   /* of a group; 10,000 */
    uint32_t metadata_bytes_max;            /* of a committed offset; 4,096 */
    int64_t retention_ms;                   /* of offsets of groups without members; 7 days */
    int64_t expiry_check_ms;                /* 10 min */
    int32_t consumer_session_ms, consumer_heartbeat_ms; /* KIP-848: 45 s, 5 s */
    /* What is configured of a group: "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms".
     * Does not block; called with groups.lock held. NULL: as above. */
    int64_t (*configured)(void *ctx, beck_bytes group, const char *key);
    void *configured_ctx;
    /* Whether the transaction of a TxnOffsetCommit is open and has offsets, or gets them now; 0, or a code of Kafka's. Does
     * not block; called with groups.lock held, so that an end which is decided afterwards finds them
     * (offsets_before_end). NULL: it is. */
    int (*may_add)(void *ctx, const struct kafka_txn_offset_commit_request *request,
                   int16_t version);
    void *may_add_ctx;
};

/* Who asks. */
struct group_client {
    beck_bytes id;   /* client.id */
    beck_bytes host; /* "/127.0.0.1" */
    int16_t version; /* of the request */
    beck_bytes user; /* "" or nothing: anybody */
    /* Whether the user may know of the topic; called with groups.lock held, does not block. NULL: of
     * all. */
    bool (*may_see)(void *ctx, beck_bytes topic);
    void *ctx;
};

/* Reads the log, when there is one. `timers` and what `topics` refers to outlive it. */
beck_status groups_open(beck *engine, struct timers *timers, const struct group_topics *topics,
                        const struct groups_settings *settings, struct groups **out,
                        beck_error *err);
/* Whoever waits gets COORDINATOR_NOT_AVAILABLE. NULL allowed. */
void groups_close(struct groups *g);
/* What time has brought, at once: the coordinator does it by itself, on the system's clock. For
 * engines with a clock of their own. */
void groups_run(struct groups *g);
/* Topics have changed: offsets of deleted ones go, subscriptions are looked at again. Takes a note;
 * with any lock outside of groups.lock held. */
void groups_topics_changed(struct groups *g);

/* ---- the classic protocol ---- */

/* kafka_join_group_response */
void groups_join(struct groups *g, const struct kafka_join_group_request *request,
                 const struct group_client *client, groups_done done, void *ctx);
/* kafka_sync_group_response */
void groups_sync(struct groups *g, const struct kafka_sync_group_request *request,
                 const struct group_client *client, groups_done done, void *ctx);
/* Whoever waits with that `ctx` for a join or a sync of the group is gone: `done` is called soon if it
 * was not yet. Its member has a session's time to come back, if it knows its id. */
void groups_forget(struct groups *g, beck_bytes group_id, void *ctx);
/* kafka_heartbeat_response */
void groups_heartbeat(struct groups *g, const struct kafka_heartbeat_request *request,
                      groups_done done, void *ctx);
/* kafka_leave_group_response */
void groups_leave(struct groups *g, const struct kafka_leave_group_request *request,
                  const struct group_client *client, groups_done done, void *ctx);

/* ---- KIP-848 ---- */

/* kafka_consumer_group_heartbeat_response */
void groups_consumer_heartbeat(struct groups *g,
                               const struct kafka_consumer_group_heartbeat_request *request,
                               const struct group_client *client, groups_done done, void *ctx);

/* ---- administration ---- */

/* What there is, copied into the arena. BECK_ENOMEM, BECK_ELIMIT: of the arena. */
beck_status groups_describe(struct groups *g, beck_bytes id, int16_t version,
                            struct kafka_arena *arena,
                            struct kafka_describe_groups_response_group *out);
beck_status groups_consumer_describe(struct groups *g, beck_bytes id, struct kafka_arena *arena,
                                     struct kafka_consumer_group_describe_response_group *out);
/* Whether a listing's filter lets this state or type through; one without words does any. */
bool groups_wanted(const struct kafka_strings *filter, const char *value);
/* Those that have one of the states and one of the types (none given: any). */
beck_status groups_list(struct groups *g, const struct kafka_list_groups_request *request,
                        struct kafka_arena *arena, struct kafka_list_groups_response *out);
/* kafka_delete_groups_response */
void groups_delete(struct groups *g, const beck_bytes *ids, size_t count, groups_done done,
                   void *ctx);
/* Whether a group with members of either protocol has that id: other kinds of groups do not take
 * it then. */
bool groups_has(struct groups *g, beck_bytes id);

#endif
