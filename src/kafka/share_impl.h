/* The inside of share groups, for the files share_*.c. */
#ifndef BECK_KAFKA_SHARE_IMPL_H
#define BECK_KAFKA_SHARE_IMPL_H

#include "base/pool.h"
#include "base/timers.h"
#include "broker/lookup.h"
#include "kafka/kafka_impl.h"
#include "kafka/share.h"
#include "queue/consumer.h"

/* The queue of a group and a topic. */
struct share_queue {
    struct share_queue *next; /* of the group's; with shares.lock */
    _Atomic(uint32_t) refs;
    _Atomic(bool) gone; /* deleted, or the topic is */
    struct topic *topic;
    struct queue *queue; /* a reference */
    bool own_rules;      /* it was there before, with limits of its own */
    _Atomic(int64_t) lock_ms, attempts_max, locks_max; /* in force; locks_max: of the whole queue */
    struct shares *shares;
    beck_bytes group; /* owned */
    /* share_dead.c */
    struct topic *_Atomic dead_topic; /* NULL: dead letters of the queue */
    _Atomic(bool) dead_copies;
    _Atomic(bool) dead_waits; /* something does that, for a round */
    _Atomic(bool) dead_poked; /* the job is to come */
    /* The generation of the topic, odd while it changes, << 32, and a round: of what is written now, and the
     * last that was synced. */
    _Atomic(uint64_t) dead_round, dead_synced;
    _Atomic(bool) dead_failed; /* a letter could not be written, in this round */
    _Atomic(bool) dead_told;   /* the log says so */
    _Atomic(bool) dead_timed;  /* the timer is set */
    struct timer dead_timer;
    struct job job; /* of the undertaker */
};

struct share_member {
    struct share_member *next;
    beck_bytes id, client_id, host, rack; /* owned; rack.data NULL: none */
    beck_bytes *topics;                   /* owned: names, ascending, each once */
    size_t topic_count;
    int32_t epoch, previous_epoch;
    int64_t expires_ns;
};

struct share_group {
    struct lookup_node node;
    beck_bytes id; /* owned */
    int32_t epoch;
    bool changed;             /* members or what they subscribe to, since the epoch was given */
    uint64_t generation, sum; /* of the topics that are subscribed to, when it was given */
    struct share_member *members;
    size_t member_count;
    struct share_queue *queues;
};

/* A record that a member holds. */
struct share_held {
    uint32_t partition;
    uint32_t attempt;
    int64_t offset;
    uint64_t tag;
};

/* What a session has of a topic. */
struct share_session_topic {
    struct topic *topic;
    struct share_queue *from; /* a reference; NULL: not looked up yet */
    beck_consumer *consumer;  /* NULL: not opened yet */
    bool *wanted;             /* by partition */
    uint32_t partitions;
    struct share_held *held; /* in order of partition and offset */
    size_t held_count, held_cap;
};

struct share_session {
    struct lookup_node node;
    _Atomic(uint32_t) refs;   /* the table's is one */
    beck_bytes group, member; /* owned */
    int64_t used_ns;          /* when it was last asked for; with shares.lock */
    /* That fetched last: the session is of it, and ends with it. Changes with both locks. */
    const void *connection;
    struct mutex lock; /* over all below */
    bool closed;
    int32_t epoch; /* the next one that is right */
    struct share_session_topic *topics;
    size_t topic_count, topic_cap;
    size_t turn; /* the topic that is asked first */
};

struct shares {
    struct kafka *k;
    struct mutex change_lock; /* before the locks of the handle */
    struct mutex lock;        /* a leaf */
    struct lookup groups, sessions;
    struct topics_watch watch;
    struct pool undertaker; /* one thread */
};

/* ---- share.c ---- */

/* malloc; data NULL: no memory, or nothing was given. */
beck_bytes share_copy(beck_bytes what);
/* With shares.lock. NULL: none, no memory, or too many. */
struct share_group *share_group_find(struct shares *s, beck_bytes id);
struct share_group *share_group_make(struct shares *s, beck_bytes id);
/* Frees it if it is nothing any more. With shares.lock. */
void share_group_tidy(struct shares *s, struct share_group *g);
/* Members that were silent for too long go. With shares.lock. */
void share_group_expire(struct shares *s, struct share_group *g);
/* With shares.lock; with a reference if there is one. */
struct share_queue *share_queue_of(const struct share_group *g, const struct topic *t);
/* With a reference, or NULL; takes shares.lock. */
struct share_queue *share_queue_find(struct shares *s, beck_bytes group, const struct topic *t);
void share_queue_release(struct share_queue *sq);
/* (slow) Finds or makes it. With a reference. */
beck_status share_queue_make(struct shares *s, beck_bytes group, struct topic *t,
                             struct share_queue **out, beck_error *err);
/* (slow) Its queue and what the store knows of it go; the caller has a reference. With change_lock. */
beck_status share_queue_delete(struct shares *s, beck_bytes group, struct share_queue *sq,
                               beck_error *err);
/* Puts the group's configuration in force, where it has changed. */
void share_queue_configure(struct shares *s, beck_bytes group, struct share_queue *sq);

/* The last reference is gone. */
void share_queue_free(struct share_queue *sq);

/* ---- share_dead.c ---- */

void share_dead_init(struct share_queue *sq);
/* Dead letters go where the configuration says, from now on. Waits for whoever is burying one. */
void share_dead_configure(struct share_queue *sq);
/* The last reference is gone. True: it will be freed once nobody buries for it. */
bool share_dead_end(struct share_queue *sq);

/* ---- share_members.c ---- */

void share_member_free(struct share_member *m);
bool share_group_id_is_good(beck_bytes id);

/* ---- share_session.c ---- */

/* One that stands for the partitions asked for and answers that came with a request. */
struct share_request {
    beck_bytes group, member;
    const void *connection; /* of a fetch */
    int32_t epoch;
    bool fetches; /* may begin a session */
    bool acknowledges;
};
/* The session, locked and with a reference, *final: it ends with this request. Or an error. */
int share_session_begin(struct shares *s, const struct share_request *r, struct share_session **out,
                        bool *final, const char **text);
void share_session_leave(struct share_session *session); /* unlocks, lets go */
/* What it holds is given back as failed attempts. Without its lock. */
void share_session_end(struct shares *s, struct share_session *session);
/* The same, if it is still of that connection, and was not begun again or gone on with by another. */
void share_session_end_by(struct shares *s, struct share_session *session, const void *connection);
/* That of a member, if there is one. */
void share_session_end_of(struct shares *s, beck_bytes group, beck_bytes member);
void share_session_release(struct share_session *session);
/* The place of a topic in a session; NULL: none and, with `add`, no memory. With its lock. */
struct share_session_topic *share_session_topic(struct share_session *session, struct topic *t,
                                                bool add);
/* Has the consumer opened, or again, as far as there is a queue. With its lock. */
bool share_session_open_topic(struct shares *s, struct share_session *session,
                              struct share_session_topic *st);
/* What is not held any more is forgotten. With its lock. */
void share_session_forget_late(struct share_session_topic *st);
/* Room for more held records. False: no memory. */
bool share_session_reserve(struct share_session_topic *st, size_t more);
/* Adds one for which there is room; in any order, share_session_sort follows. */
void share_session_hold(struct share_session_topic *st, const struct share_held *h);
void share_session_sort(struct share_session_topic *st);

/* Answers of one partition. With the session's lock. (slow) */
struct share_batch {
    int64_t first, last;
    const int8_t *types;
    size_t type_count;
};
/* An error, or 0. `st` may be NULL. *settled becomes true with what is done with. */
int share_answer(struct share_session_topic *st, uint32_t partition,
                 const struct share_batch *batches, size_t count, bool renews, bool final,
                 bool *settled, const char **text);

#endif
