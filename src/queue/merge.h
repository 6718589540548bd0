/* Several runs made into one, a part at a time: between the parts the runs are read by others, who
 * find out from the numbers what they have taken of the new one meanwhile. */
#ifndef BECK_QUEUE_MERGE_H
#define BECK_QUEUE_MERGE_H

#include "queue/run.h"

struct merge {
    struct run_cursor *inputs; /* owned; of equal entries those of the first input come first */
    size_t input_count;
    struct run_writer writer;
    uint64_t id;    /* of the run that is made */
    uint64_t total; /* entries that it will have */
};

/* Starts at the next entry of each input. */
beck_status merge_open(struct merge *m, struct vfs *v, const char *dir, uint64_t id,
                       const struct run_cursor *const *inputs, size_t count, beck_error *err);
/* Goes on until `upto` entries are merged. */
beck_status merge_step(struct merge *m, uint64_t upto, beck_error *err);
static inline uint64_t merge_done(const struct merge *m)
{
    return m->writer.count;
}
beck_status merge_finish(struct merge *m, beck_error *err); /* after the last step */
void merge_close(struct merge *m);                          /* leaves the file */

#endif
