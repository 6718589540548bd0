/* Storing batches of another log under the offsets that they have there. */
#include "log/partition_impl.h"

#include <assert.h>

/* Whatever comes next begins at `offset`. With the lock. */
static void skip_to(struct partition *p, int64_t offset)
{
    bool empty = p->first == p->next;
    p->next = p->written = offset;
    if (empty) {
        p->first = p->synced = offset;
        atomic_store(&p->first_seen, offset);
    }
}

beck_status partition_adopt(struct partition *p, beck_bytes batch, beck_error *err)
{
    struct batch_header h;
    beck_status status = batch_header_read(batch.data, &h, err);
    if (status)
        return status;
    mutex_lock(&p->lock);
    assert(p->pausing > 0 && p->next == p->written);
    if (p->poisoned)
        status = partition_say_poisoned(p, err);
    else if (h.base_offset < p->next)
        status =
            error_set(err, BECK_ERANGE, "a batch begins at offset %lld, and the log ends at %lld",
                      (long long)h.base_offset, (long long)p->next);
    if (!status) {
        skip_to(p, h.base_offset);
        status = partition_write_batches(p, batch, err);
        p->next = p->written;
        partition_move_visible(p);
    }
    mutex_unlock(&p->lock);
    return status;
}
