/*
 * Reads the events of one partition in order of offset, from the tail cache where it can, from the
 * file otherwise. One thread at a time.
 *
 * The view points into a block; block_retain(cursor_block(c)) keeps those bytes beyond the next
 * call (the view itself, with its id text, is overwritten).
 */
#ifndef BECK_LOG_CURSOR_H
#define BECK_LOG_CURSOR_H

#include "log/partition.h"

struct cursor;

beck_status cursor_open(struct partition *p, struct cursor **out, beck_error *err);
void cursor_close(struct cursor *c); /* NULL allowed */

/* The first event at or after `offset` that is visible (of transactions, only what was committed): *out is valid until the next call. Reading
 * in order is cheap; any order is allowed. BECK_END: nothing visible there yet. BECK_ECORRUPT: a
 * batch is damaged (file and position in the text); *skip_to (may be NULL) is an offset behind it.
 * below_first: also read events that retention has hidden but kept because a queue owes them. */
beck_status cursor_read(struct cursor *c, int64_t offset, bool below_first,
                        const struct record_view **out, int64_t *skip_to, beck_error *err);
struct block *cursor_block(struct cursor *c);

/* Gives what can be read of [from, end) to `each`, in order; damage is passed over. Ends early with the first error
 * of `each`, which is returned. */
beck_status cursor_walk(struct partition *p, int64_t from, int64_t end,
                        beck_status (*each)(void *ctx, const struct record_view *v,
                                            beck_error *err),
                        void *ctx, beck_error *err);

#endif
