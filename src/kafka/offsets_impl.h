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
/* Records that say that they are gone, those on their way included. */
void offsets_put_gone(struct group *group);
/* A sweep takes offsets of topics that are gone and, where it expires, what is out of date and groups
 * that are nothing any more; from the beginning, also where one has not come to its end. */
void offsets_begin_sweep(struct groups *g, bool expires);
/* A slice of it, of about so many looks and records. False: it is done. */
bool offsets_sweep(struct groups *g);
#define SLICE_LOOKS 20000
#define SLICE_GONE 2000

#endif
