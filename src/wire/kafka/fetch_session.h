/*
 * Fetch sessions (KIP-227): what a consumer reads is remembered, so that requests name only what
 * changed and answers only what is new. All connections share them; at most SESSIONS_MAX with
 * SESSION_PARTITIONS_MAX partitions together. When there is no room the one that was longest unused
 * gives way, if that is some minutes ago; else there is no session, and every request names everything.
 *
 * Threads: any. A session that was taken is its taker's until it is given back.
 */
#ifndef BECK_WIRE_KAFKA_FETCH_SESSION_H
#define BECK_WIRE_KAFKA_FETCH_SESSION_H

#include "kafka/topics.h"

#define SESSIONS_MAX 1000
#define SESSION_PARTITIONS_MAX 1000000
#define SESSION_IDLE_NS 120000000000 /* after which it may give way */

struct fetch_sessions;

struct fetch_part {      /* a partition that is read */
    struct topic *topic; /* NULL: not known when it was named */
    char *name;          /* NULL: it was named by id; in a session its own */
    uint8_t id[TOPIC_ID];
    int32_t partition;
    int64_t offset;
    int32_t bytes_max, leader_epoch;
    /* What the client was told last. */
    int64_t high, log_start;
    bool told;
    bool forgotten; /* goes with the next fetch_session_forget */
};

struct fetch_session {
    struct fetch_session *newer, *older;
    int32_t id;
    int32_t epoch; /* of the next request */
    bool by_id, taken, dropped;
    int64_t used_ns;
    uint64_t seed;
    struct fetch_part *parts;
    size_t count, cap;
    size_t next;     /* the part that the next answer begins with */
    uint32_t *index; /* places of parts by topic and number, plus 1; 0: free */
    size_t index_size;
};

/* NULL: no memory. */
struct fetch_sessions *fetch_sessions_new(void);
void fetch_sessions_free(struct fetch_sessions *all); /* none is taken; NULL allowed */

/* A new one, taken, with the epoch for the next request; NULL: no room. */
struct fetch_session *fetch_session_make(struct fetch_sessions *all, bool by_id, size_t parts,
                                         int64_t now_ns);
/* The one of that id, if its epoch is this one. An error code. */
int fetch_session_take(struct fetch_sessions *all, int32_t id, int32_t epoch, bool by_id,
                       struct fetch_session **out);
void fetch_session_give(struct fetch_sessions *all, struct fetch_session *s, int64_t now_ns);
/* The client starts anew. */
void fetch_session_drop(struct fetch_sessions *all, int32_t id);

/* The part of that topic (by name or by id, as the session is) and number; NULL: none. */
struct fetch_part *fetch_session_find(const struct fetch_session *s, beck_bytes name,
                                      const uint8_t *id, int32_t partition);
/* Adds it; NULL: no memory, too many, or a name that no topic can have. With a session that is
 * taken. */
struct fetch_part *fetch_session_add(struct fetch_sessions *all, struct fetch_session *s,
                                     beck_bytes name, const uint8_t *id, int32_t partition);
/* Takes away the parts that are forgotten: all others may move. */
void fetch_session_forget(struct fetch_sessions *all, struct fetch_session *s);

#endif
