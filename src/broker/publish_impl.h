/* A publisher, for publish.c and flush.c. All but what is said is of its thread. */
#ifndef BECK_BROKER_PUBLISH_IMPL_H
#define BECK_BROKER_PUBLISH_IMPL_H

#include "broker/delivery.h"

#define BATCH_MAX 512

/* A message that was added. */
struct item {
    struct route *route; /* a reference */
    enum storage storage;
    bool confirm, synced;
    uint64_t token;
    size_t content_at, content_len;
    size_t size; /* of the body */
};

struct publisher {
    struct session *session;
    struct delivery_home *home;
    struct publisher *next, **at; /* of the session; with home.lock */
    struct publisher_events events;
    _Atomic(uint32_t) refs; /* the owner's, and of each append that is not synced yet */
    struct mutex lock;      /* confirming, and `closed`; a leaf */
    bool closed;

    struct lookup routes;
    struct route *last; /* the one used last; NULL: none */
    uint64_t generation;
    uint32_t refreshes;
    struct targets scratch;
    struct route *pending; /* what publisher_prepare prepares */
    enum storage pending_storage;
    bool pending_persistent;

    struct item *items; /* these three are parallel */
    beck_event *messages;
    struct bus_addressed *to;
    size_t count, cap, bytes;
    struct buf content;   /* what they carry */
    struct buf rewritten; /* properties of one */
    _Atomic(size_t) waiting;
    _Atomic(uint32_t) unsynced; /* appends */
    const beck_bus *unsynced_bus;
    bool reported; /* an error of the engine */
};

/* flush.c */
void publisher_clear(struct publisher *p);
void publisher_unref(struct publisher *p);
void publisher_tell(struct publisher *p, const uint64_t *tokens, size_t count, bool ack);

/* reply_to.c */
bool reply_is_asked(const struct properties *p);
bool reply_is_key(beck_bytes routing_key);
/* raw becomes the same with the name that replies come to, in p->rewritten. 0 or 406. */
int reply_rewrite(struct publisher *p, const struct properties *props, beck_bytes *raw, char *text);
bool reply_publish(struct delivery_home *h, const struct publication *m, beck_bytes raw);

#endif
