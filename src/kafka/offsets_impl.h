/* Offsets, for the other files of the coordinator. All with groups.lock. */
#ifndef BECK_KAFKA_OFFSETS_IMPL_H
#define BECK_KAFKA_OFFSETS_IMPL_H

#include "kafka/group_log.h"
#include "kafka/offsets.h"

/* A change whose record is in the log; takes its metadata. False: no memory. */
bool offsets_apply(struct groups *g, struct offset_change *c, int64_t producer_id);
void offsets_end_locked(struct groups *g, int64_t producer_id, bool commit);
struct offset_entry *offset_find(const struct group *group, beck_bytes topic, int32_t partition);
void offsets_free(struct group *group);      /* all of a group */
void offsets_free_pending(struct groups *g); /* all transactions */
/* Records that say that they are gone. */
void offsets_put_gone(struct group *group);
/* What is out of date, and groups that are nothing any more. */
void offsets_expire(struct groups *g);
/* Offsets of topics that are gone. */
void offsets_drop_topics(struct groups *g);

#endif
