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
    assert(mutex_held(&p->lock) && !p->writing);
    if (p->poisoned)
        return partition_say_poisoned(p, err);
    if (h.base_offset < p->next)
        return error_set(err, BECK_ERANGE,
                         "a batch begins at offset %lld, and the log ends at %lld",
                         (long long)h.base_offset, (long long)p->next);
    skip_to(p, h.base_offset);
    p->next = batch_last_offset(&h) + 1;
    p->writing = true;
    beck_error why = {0};
    status = partition_write_batches(p, batch, &why);
    if (status) {
        why.code = status;
        partition_fail_gathered(p, &why);
        error_set(err, status, "%s", why.text);
    }
    p->writing = false;
    partition_move_visible(p);
    cond_broadcast(&p->changed);
    return status;
}
