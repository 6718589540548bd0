/* Stored batches that hold certain records, for the answers of share fetches. */
#ifndef BECK_KAFKA_SHARE_RECORDS_H
#define BECK_KAFKA_SHARE_RECORDS_H

#include "base/bytes.h"
#include "log/partition.h"

/* What was read of one partition. */
struct share_records {
    struct buf bytes; /* whole batches, in order */
    int64_t last;     /* the last offset of the last batch; unchanged: none */
};

enum share_found { SHARE_FOUND, SHARE_LOST, SHARE_LATER };

/* Reads the batches that hold `offsets` (ascending) and says of each: its batch is in `bytes`; it is
 * not in the log any more; or there was no room for it (bytes_max; the first batch is taken however
 * large with one_at_least). An error: `found` is undefined. Reads files. */
beck_status share_records_read(struct partition *p, const int64_t *offsets, size_t count,
                               size_t bytes_max, bool one_at_least, struct share_records *out,
                               enum share_found *found, beck_error *err);

#endif
