/* What a repair takes away where it gives up bytes of a bus of beck's own: said in words, and of __topology made good as far as
 * files tell. */
#ifndef BECK_API_LOST_H
#define BECK_API_LOST_H

#include "api/handle.h"

/* Names that may be known no more. */
struct lost_name {
    char name[256];
    uint32_t partitions; /* of a bus; 0: a queue */
};
struct lost {
    struct lost_name *list;
    size_t count;
};
/* partitions: at least so many; one of no memory is left out. */
void lost_note(struct lost *l, const char *name, uint32_t partitions);
/* All queues of which the log of their states says something; one that cannot be read has none. */
void lost_note_queues(struct lost *l, const struct env *env, const char *data_dir,
                      int64_t recovery_point);
void lost_release(struct lost *l);

/* Opens the directory, which nobody has open. Those buses that __topology says nothing of, not even that they were deleted,
 * are in it again, with the options of a bus of which nothing is said; `tell` is called for each, and for each queue that it
 * says nothing of, with code BECK_OK. */
beck_status lost_restore(const struct lost *l, const char *data_dir, beck_error_fn tell, void *ctx,
                         beck_error *err);

#endif
