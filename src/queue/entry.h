/* What a queue keeps of an event: where it is, and what of its delivery cannot be looked up there.
 * 24 bytes, fixed. */
#ifndef BECK_QUEUE_ENTRY_H
#define BECK_QUEUE_ENTRY_H

#include <beck.h>

struct entry {
    /* Source (16 bits: index of a partition in the queue's table) and offset (48 bits). */
    uint64_t where;
    /* expires_at_ms (47 bits, 0: never), whether it may have been delivered before (1 bit), and
     * failed attempts so far (16 bits). */
    uint64_t meta;
    /* Its place in the queue, which orders deliveries: priority level (8 bits, complemented: higher
     * first) and number (56 bits). */
    uint64_t seq;
};

#define ENTRY_EXPIRES_MAX ((INT64_C(1) << 47) - 1)
#define ENTRY_DELIVERED 0x10000u

static inline uint64_t entry_where(uint32_t source, int64_t offset)
{
    return (uint64_t)source << 48 | (uint64_t)offset;
}
static inline uint32_t entry_source(const struct entry *e)
{
    return (uint32_t)(e->where >> 48);
}
static inline int64_t entry_offset(const struct entry *e)
{
    return (int64_t)(e->where & 0xffffffffffffULL);
}
static inline int64_t entry_expires_ms(const struct entry *e)
{
    return (int64_t)(e->meta >> 17);
}
static inline uint32_t entry_attempts(const struct entry *e)
{
    return (uint32_t)(e->meta & 0xffff);
}
static inline uint64_t entry_meta(int64_t expires_ms, uint32_t attempts)
{
    uint64_t expires = (uint64_t)(expires_ms < ENTRY_EXPIRES_MAX ? expires_ms : ENTRY_EXPIRES_MAX);
    return expires << 17 | (attempts > 0 ? ENTRY_DELIVERED : 0) |
           (attempts > 0xffff ? 0xffff : attempts);
}
/* It may have been delivered before. */
static inline bool entry_delivered(const struct entry *e)
{
    return (e->meta & ENTRY_DELIVERED) != 0;
}
/* It was rejected and waits for whoever buries. No other has failed attempts and not been delivered. */
static inline bool entry_rejected(const struct entry *e)
{
    return entry_attempts(e) > 0 && !entry_delivered(e);
}
static inline uint32_t entry_level(const struct entry *e)
{
    return 255 - (uint32_t)(e->seq >> 56);
}
static inline uint64_t entry_seq(uint32_t level, uint64_t number)
{
    return (uint64_t)(255 - level) << 56 | number;
}

#endif
