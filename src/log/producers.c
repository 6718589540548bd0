/*
 * What a partition knows of idempotent producers. The table of the snapshot's bytes is in
 * producers.h.
 *
 *   batch comes with                          answer
 *   unknown producer                          accepted, whatever its sequence
 *   older epoch                               BECK_EFENCED
 *   newer epoch                               accepted when its sequence is 0, else BECK_ESEQUENCE
 *   same epoch, one of the last five again    BECK_EDUPLICATE
 *   same epoch, sequence behind the last      accepted; 0 when no batch of it is known
 *   same epoch, anything else                 BECK_ESEQUENCE
 *   no transaction, while one is open         BECK_ETXN_STATE, whatever else
 *   a transaction, while too many are open    BECK_ELIMIT, unless it is one of them
 *
 *   control batch comes with                  answer
 *   older epoch, older coordinator            BECK_EFENCED
 *   no transaction open, not a newer epoch    nothing to do
 *   bumped, and the same epoch                BECK_EFENCED: its transaction has ended, another is open
 *
 * Producers stand in a table with open addressing, which is at most three quarters full.
 */
#include "log/producers.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "log/partition.h"

#include <assert.h>
#include <stdlib.h>

#define SNAPSHOT_VERSION 1
#define SNAPSHOT_HEADER 10
#define SNAPSHOT_CRC_FROM 6
#define SNAPSHOT_ENTRY 46
#define OLDER_HEADER 4
#define OLDER_ENTRY 24
#define SLOTS_MIN 16
#define NONE (-1)

struct sent {
    int32_t first_sequence, last_sequence;
    int64_t last_offset;
    int32_t offset_delta; /* last offset - first offset */
};

struct producer {
    int64_t id; /* NONE: a free slot */
    int16_t epoch;
    uint8_t count; /* of `sent`, of which the last is the newest */
    int32_t coordinator_epoch;
    int64_t seen_ms; /* when its newest batch was written */
    int64_t txn_first_offset;
    struct sent sent[PRODUCER_BATCHES];
};

struct producers {
    struct producer *slots;
    size_t cap; /* a power of two, or 0 */
    size_t count;
    size_t open;    /* transactions */
    int64_t oldest; /* the first offset of the oldest of them, when there is one */
};

struct producers *producers_new(void)
{
    return calloc(1, sizeof(struct producers));
}

void producers_free(struct producers *p)
{
    if (p == NULL)
        return;
    free(p->slots);
    free(p);
}

size_t producers_count(const struct producers *p)
{
    return p->count;
}

/* ---- the table ---- */

/* The slot that holds the id, or the free one where it belongs. */
static struct producer *slot_of(struct producer *slots, size_t cap, int64_t id)
{
    size_t i = (size_t)(((uint64_t)id * 0x9e3779b97f4a7c15u) >> 32) & (cap - 1);

    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): every slot has an id */
    while (slots[i].id != NONE && slots[i].id != id)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

static struct producer *find(const struct producers *p, int64_t id)
{
    struct producer *e;

    if (p->cap == 0)
        return NULL;
    e = slot_of(p->slots, p->cap, id);
    return e->id == id ? e : NULL;
}

static beck_status grow(struct producers *p)
{
    size_t cap = p->cap == 0 ? SLOTS_MIN : p->cap * 2;
    struct producer *slots = malloc(cap * sizeof *slots);

    if (slots == NULL)
        return BECK_ENOMEM;
    for (size_t i = 0; i < cap; i++)
        slots[i].id = NONE;
    for (size_t i = 0; i < p->cap; i++)
        if (p->slots[i].id != NONE)
            *slot_of(slots, cap, p->slots[i].id) = p->slots[i];
    free(p->slots);
    p->slots = slots;
    p->cap = cap;
    return BECK_OK;
}

/* Frees a slot and moves what follows it in its run back over the hole. */
static void drop_slot(struct producers *p, size_t hole)
{
    p->slots[hole].id = NONE;
    p->count--;
    for (size_t i = (hole + 1) & (p->cap - 1); p->slots[i].id != NONE; i = (i + 1) & (p->cap - 1)) {
        struct producer e = p->slots[i];

        p->slots[i].id = NONE;
        *slot_of(p->slots, p->cap, e.id) = e;
    }
}

static bool is_idle(const struct producer *e)
{
    return e->id != NONE && e->txn_first_offset == NONE;
}

static int by_time(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Drops so many, at most all, that were silent longest, of those without a transaction. Without the memory
 * to find them none is, and the next one tries again. */
static void drop_oldest(struct producers *p, size_t count)
{
    int64_t *times = malloc(p->count * sizeof *times), limit;
    size_t n = 0;

    if (times == NULL)
        return;
    for (size_t i = 0; i < p->cap; i++)
        if (is_idle(&p->slots[i]))
            times[n++] = p->slots[i].seen_ms;
    qsort(times, n, sizeof *times, by_time);
    count = count < n ? count : n;
    limit = count > 0 ? times[count - 1] : 0;
    free(times);
    for (size_t i = 0; i < p->cap; i++)
        /* Dropping may move another producer into this slot. */
        while (count > 0 && is_idle(&p->slots[i]) && p->slots[i].seen_ms <= limit) {
            drop_slot(p, i);
            count--;
        }
}

static beck_status grow_for(struct producers *p, size_t count)
{
    beck_status status = BECK_OK;

    while (status == BECK_OK && (p->count + count) * 4 > p->cap * 3)
        status = grow(p);
    return status;
}

beck_status producers_reserve(struct producers *p, size_t count)
{
    /* Many at once, so that finding them is not done for each. */
    if (p->count + count > PRODUCERS_MAX && p->count - p->open > PRODUCERS_MAX / 8)
        drop_oldest(p, p->count + count - PRODUCERS_MAX + PRODUCERS_MAX / 8);
    return grow_for(p, count);
}

/* One that is not there; there is room. */
static struct producer *add(struct producers *p, int64_t id)
{
    struct producer *e = slot_of(p->slots, p->cap, id);

    *e = (struct producer){
        .id = id, .epoch = NONE, .coordinator_epoch = NONE, .txn_first_offset = NONE};
    p->count++;
    return e;
}

/* Finds or makes; NULL: no memory. */
static struct producer *take(struct producers *p, int64_t id)
{
    struct producer *e = find(p, id);

    if (e != NULL)
        return e;
    return producers_reserve(p, 1) == BECK_OK ? add(p, id) : NULL;
}

/* ---- sequences ---- */

/* 2^31-1 is followed by 0. */
static int32_t sequence_add(int32_t sequence, int32_t n)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)n) & INT32_MAX);
}

static int32_t sequence_sub(int32_t sequence, int32_t n)
{
    return (int32_t)(((uint32_t)sequence - (uint32_t)n) & INT32_MAX);
}

static beck_status refuse_sequence(const struct batch_header *h, int32_t expected, beck_error *err)
{
    return error_set(err, BECK_ESEQUENCE,
                     "producer %lld sent sequence %d where %d was expected: a batch is missing or "
                     "came too often",
                     (long long)h->producer_id, h->base_sequence, expected);
}

static beck_status check_sequence(const struct producer *e, const struct batch_header *h,
                                  int64_t *first_offset, beck_error *err)
{
    int32_t last = sequence_add(h->base_sequence, h->last_offset_delta), expected;

    for (int i = 0; i < e->count; i++)
        if (e->sent[i].first_sequence == h->base_sequence && e->sent[i].last_sequence == last) {
            *first_offset = e->sent[i].last_offset - e->sent[i].offset_delta;
            return error_set(err, BECK_EDUPLICATE,
                             "producer %lld sent sequence %d again: it is stored at offset %lld",
                             (long long)h->producer_id, h->base_sequence, (long long)*first_offset);
        }
    expected = e->count > 0 ? sequence_add(e->sent[e->count - 1].last_sequence, 1) : 0;
    return h->base_sequence == expected ? BECK_OK : refuse_sequence(h, expected, err);
}

static beck_status refuse_epoch(const struct producer *e, const struct batch_header *h,
                                beck_error *err)
{
    return error_set(err, BECK_EFENCED,
                     "producer %lld goes on under epoch %d: a batch of epoch %d came too late",
                     (long long)h->producer_id, e->epoch, h->producer_epoch);
}

beck_status producers_check(const struct producers *p, const struct batch_header *h,
                            int64_t *first_offset, beck_error *err)
{
    const struct producer *e = h->producer_id < 0 ? NULL : find(p, h->producer_id);
    bool transactional = h->attributes & BATCH_TRANSACTIONAL;

    if (transactional && (e == NULL || e->txn_first_offset == NONE) &&
        p->open >= PRODUCERS_OPEN_MAX)
        return error_set(err, BECK_ELIMIT,
                         "%zu transactions are open in this partition: no more are begun", p->open);
    if (e == NULL)
        return BECK_OK;
    if (h->producer_epoch < e->epoch)
        return refuse_epoch(e, h, err);
    if (!transactional && e->txn_first_offset != NONE)
        return error_set(err, BECK_ETXN_STATE,
                         "producer %lld sent a batch without a transaction while it has one open",
                         (long long)h->producer_id);
    if (transactional && h->base_sequence < 0)
        return BECK_OK;
    if (h->producer_epoch == e->epoch)
        return check_sequence(e, h, first_offset, err);
    if (h->base_sequence == 0)
        return BECK_OK;
    return error_set(err, BECK_ESEQUENCE,
                     "producer %lld must begin its new epoch %d with sequence 0, not %d",
                     (long long)h->producer_id, h->producer_epoch, h->base_sequence);
}

static void open_transaction(struct producers *p, struct producer *e, int64_t first_offset)
{
    if (e->txn_first_offset != NONE)
        return;
    e->txn_first_offset = first_offset;
    if (p->open++ == 0 || first_offset < p->oldest)
        p->oldest = first_offset;
}

/* Finds or makes, and lets it begin the epoch of the batch. */
static struct producer *take_epoch(struct producers *p, const struct batch_header *h,
                                   int64_t now_ms)
{
    struct producer *e = take(p, h->producer_id);

    if (e != NULL && h->producer_epoch != e->epoch) {
        e->epoch = h->producer_epoch;
        e->count = 0;
    }
    if (e != NULL)
        e->seen_ms = now_ms;
    return e;
}

beck_status producers_update(struct producers *p, const struct batch_header *h, int64_t now_ms)
{
    struct producer *e;

    assert(!(h->attributes & BATCH_CONTROL));
    if (h->producer_id < 0)
        return BECK_OK;
    e = take_epoch(p, h, now_ms);
    if (e == NULL)
        return BECK_ENOMEM;
    if (h->attributes & BATCH_TRANSACTIONAL)
        open_transaction(p, e, h->base_offset);
    if (h->base_sequence < 0)
        return BECK_OK;
    if (e->count == PRODUCER_BATCHES)
        memmove(e->sent, e->sent + 1, sizeof e->sent - sizeof e->sent[0]);
    else
        e->count++;
    e->sent[e->count - 1] = (struct sent){
        .first_sequence = h->base_sequence,
        .last_sequence = sequence_add(h->base_sequence, h->last_offset_delta),
        .last_offset = batch_last_offset(h),
        .offset_delta = h->last_offset_delta,
    };
    return BECK_OK;
}

beck_status producers_check_end(const struct producers *p, const struct batch_header *h,
                                int32_t coordinator_epoch, bool bumped, bool *needed,
                                beck_error *err)
{
    const struct producer *e = find(p, h->producer_id);
    bool open = e != NULL && e->txn_first_offset != NONE;

    *needed = open || (bumped && (e == NULL || e->epoch < h->producer_epoch));
    if (e == NULL)
        return BECK_OK;
    if (h->producer_epoch < e->epoch || (bumped && open && h->producer_epoch == e->epoch))
        return refuse_epoch(e, h, err);
    if (coordinator_epoch < e->coordinator_epoch)
        return error_set(err, BECK_EFENCED,
                         "a coordinator of epoch %d ended a transaction of producer %lld already: "
                         "one of epoch %d came too late",
                         e->coordinator_epoch, (long long)h->producer_id, coordinator_epoch);
    return BECK_OK;
}

static void find_oldest(struct producers *p)
{
    p->oldest = INT64_MAX;
    for (size_t i = 0; i < p->cap && p->open > 0; i++) {
        const struct producer *e = &p->slots[i];
        if (e->id != NONE && e->txn_first_offset != NONE && e->txn_first_offset < p->oldest)
            p->oldest = e->txn_first_offset;
    }
}

beck_status producers_end(struct producers *p, const struct batch_header *h,
                          int32_t coordinator_epoch, int64_t now_ms, int64_t *first_offset)
{
    struct producer *e = take_epoch(p, h, now_ms);

    *first_offset = NONE;
    if (e == NULL)
        return BECK_ENOMEM;
    e->coordinator_epoch = coordinator_epoch;
    *first_offset = e->txn_first_offset;
    if (*first_offset == NONE)
        return BECK_OK;
    e->txn_first_offset = NONE;
    p->open--;
    if (*first_offset == p->oldest)
        find_oldest(p);
    return BECK_OK;
}

int64_t producers_open_since(const struct producers *p, int64_t id)
{
    const struct producer *e = find(p, id);

    return e != NULL ? e->txn_first_offset : NONE;
}

int64_t producers_oldest(const struct producers *p)
{
    return p->open > 0 ? p->oldest : INT64_MAX;
}

void producers_list(const struct producers *p, struct producer_state *out)
{
    for (size_t i = 0; i < p->cap; i++) {
        const struct producer *e = &p->slots[i];
        if (e->id == NONE)
            continue;
        *out++ = (struct producer_state){
            .id = e->id,
            .epoch = e->epoch,
            .last_sequence = e->count > 0 ? e->sent[e->count - 1].last_sequence : NONE,
            .coordinator_epoch = e->coordinator_epoch,
            .seen_ms = e->seen_ms,
            .txn_first_offset = e->txn_first_offset,
        };
    }
}

void producers_expire(struct producers *p, int64_t now_ms, int64_t expiry_ms)
{
    for (size_t i = 0; i < p->cap; i++) {
        struct producer *e = &p->slots[i];
        /* Dropping may move another producer into this slot. */
        while (is_idle(e) && e->seen_ms < now_ms - expiry_ms)
            drop_slot(p, i);
        if (e->id != NONE && e->seen_ms > now_ms)
            e->seen_ms = now_ms;
    }
}

/* ---- snapshot ---- */

static void entry_write(uint8_t *p, const struct producer *e)
{
    const struct sent *last = e->count > 0 ? &e->sent[e->count - 1] : NULL;

    put_u64(p, (uint64_t)e->id);
    put_u16(p + 8, (uint16_t)e->epoch);
    put_u32(p + 10, (uint32_t)(last != NULL ? last->last_sequence : NONE));
    put_u64(p + 14, (uint64_t)(last != NULL ? last->last_offset : NONE));
    put_u32(p + 22, (uint32_t)(last != NULL ? last->offset_delta : 0));
    put_u64(p + 26, (uint64_t)e->seen_ms);
    put_u32(p + 34, (uint32_t)e->coordinator_epoch);
    put_u64(p + 38, (uint64_t)e->txn_first_offset);
}

/* Ids are not negative, so their bytes are in their order. */
static int entry_compare(const void *a, const void *b)
{
    return memcmp(a, b, 8);
}

/* Batches that Kafka's entries have no room for. */
static size_t count_older(const struct producers *p)
{
    size_t count = 0;

    for (size_t i = 0; i < p->cap; i++)
        if (p->slots[i].id != NONE && p->slots[i].count > 1)
            count += p->slots[i].count - 1u;
    return count;
}

/* In the order of the entries. */
static void older_write(const struct producers *p, const uint8_t *entries, uint8_t *out,
                        size_t count)
{
    uint8_t *at = out + OLDER_HEADER;

    put_u32(out, (uint32_t)count);
    for (size_t i = 0; i < p->count; i++) {
        int64_t id = (int64_t)get_u64(entries + i * SNAPSHOT_ENTRY);
        const struct producer *e = find(p, id);
        for (int k = 0; k + 1 < e->count; k++, at += OLDER_ENTRY) {
            put_u64(at, (uint64_t)id);
            put_u64(at + 8, (uint64_t)e->sent[k].last_offset);
            put_u32(at + 16, (uint32_t)e->sent[k].last_sequence);
            put_u32(at + 20, (uint32_t)e->sent[k].offset_delta);
        }
    }
    assert(at == out + OLDER_HEADER + count * OLDER_ENTRY);
}

beck_status producers_snapshot_write(const struct producers *p, struct buf *out)
{
    size_t kafkas = SNAPSHOT_HEADER + p->count * SNAPSHOT_ENTRY, older = count_older(p);
    size_t size = kafkas + (older > 0 ? OLDER_HEADER + older * OLDER_ENTRY : 0);
    beck_status st = buf_reserve(out, size);
    uint8_t *start, *at;

    if (st == BECK_ELIMIT) {
        older = 0;
        size = kafkas;
        st = buf_reserve(out, size);
    }
    if (st != BECK_OK)
        return st;
    start = out->data + out->len;
    at = start + SNAPSHOT_HEADER;
    for (size_t i = 0; i < p->cap; i++)
        if (p->slots[i].id != NONE) {
            entry_write(at, &p->slots[i]);
            at += SNAPSHOT_ENTRY;
        }
    assert(at == start + kafkas);
    qsort(start + SNAPSHOT_HEADER, p->count, SNAPSHOT_ENTRY, entry_compare);
    if (older > 0)
        older_write(p, start + SNAPSHOT_HEADER, at, older);
    put_u16(start, SNAPSHOT_VERSION);
    put_u32(start + 6, (uint32_t)p->count);
    put_u32(start + 2, crc32c(0, start + SNAPSHOT_CRC_FROM, size - SNAPSHOT_CRC_FROM));
    out->len += size;
    return BECK_OK;
}

static bool can_be(const struct sent *s)
{
    return s->last_sequence >= 0 && s->offset_delta >= 0 && s->offset_delta <= s->last_offset;
}

static int64_t first_offset_of(const struct sent *s)
{
    return s->last_offset - s->offset_delta;
}

static beck_status entry_read(struct producers *p, const uint8_t *bytes, beck_error *err)
{
    int64_t id = (int64_t)get_u64(bytes);
    struct sent last = {
        .last_sequence = (int32_t)get_u32(bytes + 10),
        .last_offset = (int64_t)get_u64(bytes + 14),
        .offset_delta = (int32_t)get_u32(bytes + 22),
    };
    struct producer *e;

    if (id < 0 || find(p, id) != NULL)
        return error_set(err, BECK_ECORRUPT,
                         "damaged producer snapshot: producer %lld cannot be, or is there twice",
                         (long long)id);
    if (last.last_offset >= 0 && !can_be(&last))
        return error_set(err, BECK_ECORRUPT,
                         "damaged producer snapshot: the last batch of producer %lld cannot be",
                         (long long)id);
    /* All of them: more than PRODUCERS_MAX too, of whom some go when the next one comes. */
    if (grow_for(p, 1) != BECK_OK)
        return error_set(err, BECK_ENOMEM, "no memory left for the producers of a partition");
    e = add(p, id);
    e->epoch = (int16_t)get_u16(bytes + 8);
    e->seen_ms = (int64_t)get_u64(bytes + 26);
    e->coordinator_epoch = (int32_t)get_u32(bytes + 34);
    if ((int64_t)get_u64(bytes + 38) >= 0)
        open_transaction(p, e, (int64_t)get_u64(bytes + 38));
    if (last.last_offset >= 0) {
        last.first_sequence = sequence_sub(last.last_sequence, last.offset_delta);
        e->sent[0] = last;
        e->count = 1;
    }
    return BECK_OK;
}

/* A batch before the last one of its producer, and behind those that were read before. */
static beck_status older_read(struct producers *p, const uint8_t *bytes, beck_error *err)
{
    int64_t id = (int64_t)get_u64(bytes);
    struct sent s = {
        .last_offset = (int64_t)get_u64(bytes + 8),
        .last_sequence = (int32_t)get_u32(bytes + 16),
        .offset_delta = (int32_t)get_u32(bytes + 20),
    };
    struct producer *e = id >= 0 ? find(p, id) : NULL;
    int n = e != NULL ? e->count : 0;

    if (n == 0 || n == PRODUCER_BATCHES || !can_be(&s) ||
        s.last_offset >= first_offset_of(&e->sent[n - 1]) ||
        (n > 1 && first_offset_of(&s) <= e->sent[n - 2].last_offset))
        return error_set(err, BECK_ECORRUPT,
                         "damaged producer snapshot: an older batch of producer %lld cannot be",
                         (long long)id);
    s.first_sequence = sequence_sub(s.last_sequence, s.offset_delta);
    e->sent[n] = e->sent[n - 1];
    e->sent[n - 1] = s;
    e->count++;
    return BECK_OK;
}

static void forget_all(struct producers *p)
{
    free(p->slots);
    *p = (struct producers){0};
}

static size_t kafkas_size(beck_bytes file)
{
    return SNAPSHOT_HEADER + (size_t)get_u32((const uint8_t *)file.data + 6) * SNAPSHOT_ENTRY;
}

static bool sizes_fit(beck_bytes file)
{
    size_t kafkas = kafkas_size(file), older;

    if (file.len <= kafkas)
        return file.len == kafkas;
    older = file.len - kafkas;
    return older > OLDER_HEADER && (older - OLDER_HEADER) % OLDER_ENTRY == 0 &&
           (older - OLDER_HEADER) / OLDER_ENTRY == get_u32((const uint8_t *)file.data + kafkas);
}

static beck_status header_check(beck_bytes file, beck_error *err)
{
    const uint8_t *p = file.data;

    if (file.len < SNAPSHOT_HEADER)
        return error_set(err, BECK_ECORRUPT, "damaged producer snapshot: it has only %zu bytes",
                         file.len);
    if (get_u16(p) != SNAPSHOT_VERSION)
        return error_set(err, BECK_ECORRUPT,
                         "a producer snapshot of version %u; only version 1 is read", get_u16(p));
    if (get_u32(p + 2) != crc32c(0, p + SNAPSHOT_CRC_FROM, file.len - SNAPSHOT_CRC_FROM))
        return error_set(err, BECK_ECORRUPT,
                         "damaged producer snapshot: the checksum does not fit");
    if (!sizes_fit(file))
        return error_set(err, BECK_ECORRUPT,
                         "damaged producer snapshot: %u producers do not fit into %zu bytes",
                         get_u32(p + 6), file.len);
    return BECK_OK;
}

beck_status producers_snapshot_read(struct producers *p, beck_bytes file, beck_error *err)
{
    beck_status st = header_check(file, err);
    const uint8_t *bytes = file.data;
    size_t kafkas = st == BECK_OK ? kafkas_size(file) : 0;

    forget_all(p);
    for (size_t at = SNAPSHOT_HEADER; st == BECK_OK && at < kafkas; at += SNAPSHOT_ENTRY)
        st = entry_read(p, bytes + at, err);
    for (size_t at = kafkas + OLDER_HEADER; st == BECK_OK && at < file.len; at += OLDER_ENTRY)
        st = older_read(p, bytes + at, err);
    if (st != BECK_OK)
        forget_all(p);
    return st;
}
