/*
 * The inside of the coordinator.
 *
 * One lock, groups.lock, guards everything here. An operation is: groups_lock, changes in memory,
 * records of them (group_log.h) and answers, groups_unlock. The records of an operation are a round;
 * rounds are written in the order in which the lock was held, without it, by whoever finds nobody
 * writing; the answers of a round are given once it is written. What must not be seen before that
 * (offsets) is applied by the round then.
 *
 * Should a round fail, memory is ahead of the log: groups.failures moves, answers say
 * COORDINATOR_NOT_AVAILABLE, and each group writes all of itself with its next record.
 */
#ifndef BECK_KAFKA_GROUP_IMPL_H
#define BECK_KAFKA_GROUP_IMPL_H

#include "base/pool.h"
#include "base/rng.h"
#include "broker/lookup.h"
#include "kafka/deadlines.h"
#include "kafka/errors.h"
#include "kafka/groups.h"
#include "kafka/message/consumer_protocol.h"
#include "kafka/partition_set.h"

#define REPLY_BYTES_MAX (128u << 20)

struct group;
struct member;
struct round;
struct regex;

/* ---- answers ---- */

/* An answer that is being made; its body lies in its arena. */
struct reply {
    struct reply *next;
    groups_done done;
    void *ctx;
    struct kafka_arena arena;
    void *body;
    int16_t *error;             /* what becomes COORDINATOR_NOT_AVAILABLE when the log failed, or */
    void (*failed)(void *body); /* what says so in the body */
};

/* ---- members ---- */

struct member_protocol {
    beck_bytes name, metadata;
};

/* KIP-848; the numbers are those of its records. */
enum member_state {
    MEMBER_STABLE = 0,
    MEMBER_UNREVOKED = 1,  /* it has still to give up partitions */
    MEMBER_UNRELEASED = 2, /* it waits for partitions that others have still to give up */
};

#define EPOCH_LEAVE (-1)
#define EPOCH_LEAVE_STATIC (-2)

struct member {
    struct lookup_node node, instance_node; /* of the group's members and statics */
    struct member *next, *previous;         /* in order of joining */
    struct group *group;
    beck_bytes id, instance_id, client_id, client_host; /* owned; instance_id.data NULL: none */
    struct deadline session;
    int32_t rebalance_timeout_ms;
    bool pending; /* classic: it has got an id, and has not joined with it */
    bool classic; /* it speaks the classic protocol */

    /* classic */
    int32_t session_timeout_ms;
    struct member_protocol *protocols; /* owned, in one piece with what it refers to */
    size_t protocol_count;
    beck_bytes assignment;     /* owned */
    struct reply *join, *sync; /* who waits; NULL: nobody */
    bool is_new;               /* it has not got its first answer */
    bool nameless;             /* nor does it know its id */
    bool pending_sync;         /* it has to sync in this generation */

    /* KIP-848 */
    int32_t epoch, previous_epoch; /* epoch: also of a classic one, see classic_is_of */
    enum member_state state;
    beck_bytes rack, assignor, regex_text; /* owned; data NULL: none */
    beck_bytes user;    /* owned; whose regular expression it is. NULL: not known since a restart */
    beck_bytes *topics; /* owned, sorted, each an allocation */
    size_t topic_count;
    struct partition_set assigned, revoking, target;
    struct deadline revocation; /* of a classic member: it has to join, or to sync */
};

/* ---- offsets ---- */

struct offset_value {
    int64_t offset;
    int32_t leader_epoch;
    int64_t commit_ms;
    int64_t expire_ms; /* -1: by the retention of the coordinator */
    uint8_t topic_id[16];
    beck_bytes metadata; /* owned */
};

struct offset_entry {
    struct lookup_node node;
    beck_bytes topic; /* in one piece with this */
    int32_t partition;
    uint32_t pending; /* transactions that will commit it */
    bool present;
    uint64_t number; /* of the change that committed it: a later one stands */
    struct offset_value value;
};

/* ---- groups ---- */

enum group_type { GROUP_CLASSIC, GROUP_CONSUMER };

/* classic */
enum group_state {
    GROUP_EMPTY,
    GROUP_PREPARING,  /* members join */
    GROUP_COMPLETING, /* the leader's assignment is awaited */
    GROUP_STABLE
};

/* What a regular expression of members stands for; one for each user that has it. */
struct group_regex {
    struct group_regex *next;
    struct regex *compiled;
    beck_bytes text, user; /* owned */
    beck_bytes *topics;    /* owned, sorted: those that the user may see */
    size_t topic_count;
    uint64_t generation; /* of topics, that it was matched under */
    int64_t matched_ms;
    uint32_t members;
};

/* Who has partitions of one topic now. */
struct owned_topic {
    struct lookup_node node;
    uint8_t id[16];
    uint32_t count; /* of `owner` */
    struct member **owner;
};

struct group {
    struct lookup_node node;
    struct groups *all;
    beck_bytes id; /* owned */
    enum group_type type;
    uint64_t failures; /* of the coordinator, when it was last written whole */
    struct lookup members, statics;
    struct member *first, *last;
    size_t count; /* of members, without pending ones */
    struct lookup offsets;
    size_t present;    /* of them, those that are committed */
    uint64_t sweep;    /* the last one that came here */
    size_t sweep_at;   /* the next bucket of `offsets`; SIZE_MAX: none is left */
    bool offsets_only; /* nobody has ever joined it, and it has no record of its own */
    bool stays; /* without offsets, since these were deleted one by one: until it is, or expires */

    /* classic */
    enum group_state state, previous_state;
    int64_t state_since_ms;
    int32_t generation;
    beck_bytes protocol_type, protocol; /* owned; data NULL: none */
    struct member *leader;
    size_t joined, pending_count, pending_syncs;
    bool new_member_added;
    int64_t
        join_remaining_ms; /* that the first rebalance may still be put off; -1: not the first */
    struct deadline joining, syncing;

    /* KIP-848 */
    int32_t epoch, target_epoch;
    int64_t metadata_hash;
    uint64_t topics_generation; /* that the hash was made under */
    struct group_regex *regexes;
    struct lookup owned; /* owned_topic */
};

struct transaction_offsets;

struct groups {
    beck *engine;
    struct timers *timers;
    struct clock *clock;
    struct group_topics topics;
    struct groups_settings settings;
    struct mutex lock;
    struct lookup by_id;
    struct lookup transactions; /* offsets that are not committed yet, by producer id */
    struct rng rng;
    struct deadlines deadlines;
    struct deadline expiry;
    bool closing;
    bool sweeps;  /* number `sweep`, which has come to this bucket of by_id */
    bool expires; /* the sweep looks at the time, too */
    uint64_t sweep;
    size_t sweep_at;
    uint64_t changes; /* of offsets: numbers them */
    uint64_t failures;
    struct group_log *log;
    struct round *round;  /* of the operation that holds the lock */
    struct reply *unable; /* answers of it that there was no memory for */
    int64_t
        armed_at_ns; /* when `timer` is due; INT64_MAX: it is not set, and `run` not on its way */
    struct timer timer;
    struct job run, look; /* at what is due; at topics */
    _Atomic(bool) looks;  /* `look` is on its way */
    struct pool pool;
};

/* ---- groups.c ---- */

void groups_lock(struct groups *g);
void groups_unlock(struct groups *g); /* writes, answers */
int64_t group_now_ns(struct groups *g);
int64_t group_now_ms(struct groups *g);
/* NULL: none. */
struct group *group_find(const struct groups *g, beck_bytes id);
/* NULL: no memory, or GROUPS_MAX. */
struct group *group_new(struct groups *g, beck_bytes id, enum group_type type);
/* Out of memory, with all its members and offsets; nothing is written. */
void group_free(struct group *group);
bool group_subscribes(const struct group *group, beck_bytes topic);
bool group_is_empty(const struct group *group); /* without members */
/* Whether it is nothing any more: no members, no offsets. */
bool group_is_void(const struct group *group);
/* Whether there is more of it than offsets of open transactions. */
bool group_is_known(const struct group *group);

beck_bytes group_copy(beck_bytes what); /* malloc; data NULL: no memory, or nothing was given */
void group_text_free(beck_bytes *text); /* forgets it */
bool group_text_set(beck_bytes *text, beck_bytes what); /* false: no memory, it stays as it was */

/* Members of a group. member_new: in no table yet. */
struct member *member_new(struct group *group, beck_bytes id, beck_bytes instance_id,
                          const struct group_client *client);
void member_free(struct member *m);
struct member *member_find(const struct group *group, beck_bytes id);
struct member *member_find_static(const struct group *group, beck_bytes instance_id);
bool member_add(struct member *m); /* false: no memory */
void member_remove(struct member *m);
/* "<prefix>-<uuid>", malloc. */
beck_bytes member_make_id(struct groups *g, beck_bytes prefix);

/* A reply with a body of that table, with its defaults. NULL: no memory. */
struct reply *reply_new(const struct kafka_table *table, groups_done done, void *ctx);
/* With the round of this operation, or when the lock is given up if there is none. */
void reply_give(struct groups *g, struct reply *r);
/* At once, without groups.lock. Frees it. */
void reply_run(struct reply *r, bool failed);
void reply_drop(struct reply *r); /* frees one that is not given */

/* ---- group_records.c: what is written; failures are those of the round ---- */

void group_put_classic(struct group *group); /* all of a classic group */
void group_put_epoch(struct group *group);
void group_put_target_epoch(struct group *group);
void group_put_member(struct member *m); /* KIP-848: what it subscribes to */
void group_put_target(struct member *m);
void group_put_current(struct member *m);
void group_put_regex(struct group *group, const struct group_regex *r);
void group_put_member_gone(struct member *m); /* all three */
void group_put_regex_gone(struct group *group, beck_bytes text);
void group_put_gone(struct group *group);     /* the group, without its members and offsets */
void group_put_consumer(struct group *group); /* all of a group of KIP-848 */
/* All of it, where an earlier round failed. */
void group_put_whole_if_behind(struct group *group);

/* ---- group_load.c ---- */

/* One record of the log. False: it cannot be read, and is passed over. */
bool group_load_record(struct groups *g, beck_bytes key, beck_bytes value, int64_t producer_id);
/* After the last one. */
void group_load_end(struct groups *g);

/* ---- group_classic.c: rebalances ---- */

/* What the member said of itself for a protocol; data NULL: it does not have it. */
beck_bytes member_metadata(const struct member *m, beck_bytes protocol);
bool member_set_protocols(struct member *m, const struct kafka_join_group_request *request);
/* Whether the group and the member can have a protocol in common. */
bool classic_fits(const struct group *group, const struct kafka_join_group_request *request);
/* The protocol that most members like best; data NULL: none. Borrowed from a member. */
beck_bytes classic_choose(const struct group *group);
void classic_begin_rebalance(struct group *group);
/* A member has come, gone or changed. */
void classic_rebalance_or_complete(struct group *group);
/* The same with the join that `member` waits in, counted. */
void classic_await_join(struct member *m, struct reply *reply);
void classic_forget_join(struct member *m, int error);
void classic_forget_sync(struct member *m, int error);
void classic_synced(struct member *m); /* it is not awaited any more */
void classic_set_state(struct group *group, enum group_state state);
/* Its session begins anew. */
void classic_touch(struct member *m);
/* It is gone: whoever waits gets UNKNOWN_MEMBER_ID; the group has still to be looked at. */
void classic_remove(struct member *m);
void classic_drop_pending(struct member *m);
/* 0, or why the caller is not that member: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID. */
int classic_check(const struct group *group, beck_bytes id, beck_bytes instance_id);
/* Whether the generation is the group's; or the member's, of a group of KIP-848 that has not got its
 * first generation yet. */
bool classic_is_of(const struct group *group, beck_bytes id, int32_t generation);
/* The answer to a join that succeeded; everybody's metadata if `members`. */
void classic_fill_join(struct reply *r, const struct member *m, beck_bytes leader, bool members,
                       bool skip);
void classic_start(struct group *group); /* timers of one that was read from the log */
/* What a classic consumer says of itself; in the arena, and of `metadata`. False: it cannot be read. */
bool classic_read_subscription(beck_bytes metadata, struct kafka_arena *arena,
                               struct kafka_consumer_protocol_subscription *out);
/* The topics that classic consumers subscribe to; *out lies in the arena, count 0: none, or it is no
 * consumer's protocol. */
void classic_topics(const struct member *m, beck_bytes protocol, struct kafka_arena *arena,
                    struct kafka_strings *out);

/* ---- group_consumer.c, group_target.c, group_regex.c: KIP-848 ---- */

void consumer_start(struct group *group); /* timers of one that was read from the log */
/* The member is out, and the group has another epoch; or it is a classic one from here on. */
void consumer_fence(struct member *m);
/* Its session begins anew. */
void consumer_touch(struct member *m);
/* -1: no memory; else whether they were others. */
int consumer_set_topics(struct member *m, const struct kafka_strings *names);
/* It has another id, and comes anew: epoch 0. False: no memory. */
bool consumer_rename(struct member *m, beck_bytes id);
/* Another epoch where the member or topics say so (moves), a target for it, and a step of the member
 * towards it, as consumer_reconcile. False: no memory. */
bool consumer_step(struct member *m, const struct group_client *client, bool moves,
                   const struct partition_set *owned, bool *changed);
/* It has time for the next step, a rebalance's; then it is fenced. */
void consumer_await(struct member *m);
/* Who has the partition now; NULL: nobody. */
struct member *consumer_owner(const struct group *group, const struct group_partition *p);
/* `assigned` and `revoking` of the member are its own from now on, or nobody's. False: no memory. */
bool consumer_own(struct member *m);
void consumer_disown(struct member *m);
/* A step towards the target. owned: what the member says it has; NULL: it did not say. *changed:
 * `assigned` is another. False: no memory. */
bool consumer_reconcile(struct member *m, const struct partition_set *owned, bool *changed);
void consumer_resume_revoking(
    struct member *m);                         /* its time begins, if it has to give up something */
void consumer_stop_revoking(struct member *m); /* it has given it up */
void consumer_drop_regex(struct group *group, struct group_regex **at);
/* What most members ask for, or the default. */
beck_bytes consumer_assignor(const struct group *group);
/* Its target is what its epoch stands for. */
bool consumer_is_reconciled(const struct member *m);
/* Looks at topics again, and at regular expressions of the client's user; true: what the group
 * subscribes to has changed. */
bool consumer_look_at_topics(struct group *group, const struct group_client *client);
/* A new target for all, under the epoch of the group. False: no memory. */
bool consumer_make_target(struct group *group);
/* Where it was not matched with topics as they are now, or that is long ago, it is. True: it stands for
 * other topics than before. */
bool consumer_match_regex(struct group *group, struct group_regex *r,
                          const struct group_client *client);
struct group_regex *consumer_regex(const struct group *group, beck_bytes text, beck_bytes user);
/* 0, INVALID_REGULAR_EXPRESSION (why in *err), COORDINATOR_NOT_AVAILABLE. Takes one member more. */
int consumer_use_regex(struct group *group, beck_bytes text, beck_bytes user, beck_error *err);
void consumer_unuse_regex(struct group *group, beck_bytes text, beck_bytes user);
/* As a record has it; false: no memory, or it is none. */
bool consumer_load_regex(struct group *group, beck_bytes text, const struct kafka_strings *topics);
void group_consumer_free(struct group *group);
/* A group without members begins anew with that protocol, and keeps its offsets. */
void consumer_become_classic(struct group *group);
void classic_become_consumer(struct group *group);

/* ---- group_migration.c: groups with members become groups of the other protocol ---- */

/* The members of a classic group go on as classic members of a group of KIP-848, each with what it
 * has. 0, or why it stays as it is. */
int classic_upgrade(struct group *group);
/* Where only classic members are left they go on as a classic group, Stable, which has still to be
 * rebalanced. False: it stays as it is. */
bool consumer_downgrade(struct group *group);

/* ---- group_mixed.c: classic members of a group of KIP-848 ---- */

/* It speaks KIP-848's protocol from now on. */
void mixed_modernize(struct member *m);
void mixed_join(struct group *group, const struct kafka_join_group_request *request,
                const struct group_client *client, struct reply *reply);
void mixed_sync(struct group *group, const struct kafka_sync_group_request *request,
                struct reply *reply);
/* An error code. */
int mixed_heartbeat(struct group *group, const struct kafka_heartbeat_request *request);
/* What it has, as classic consumers read it; malloc, data NULL: no memory. */
beck_bytes mixed_assignment(const struct member *m, const struct partition_set *set);

#endif
