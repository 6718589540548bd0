/*
 * Checking a segment: one walk over the batches of the log, with a finger in each index.
 *
 * Both indexes are in the order of the log, so each entry is compared with its batch when the walk
 * comes to it; one that the walk has passed points nowhere. Behind damage the walk goes on at the
 * next whole batch whose checksum fits. Looking for it reads a bounded multiple of the file.
 */
#include "log/verify_impl.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "log/index.h"
#include "log/partition.h"
#include "log/segment.h"

#include <stdarg.h>
#include <stdio.h>

#define FAULTS_PER_LOG 20
#define ENTRIES_READ 340 /* at once */
#define CRC_AT 17
#define CRC_FROM 21

/* ---- the entries of an index, in order ---- */

struct finger {
    struct file *file; /* NULL: there is none, or it was found to be wrong */
    enum index_kind kind;
    char path[4200];
    int64_t count, at; /* of entries; the next one to look at */
    int64_t key;       /* of that one: relative offset, or timestamp */
    int32_t value;     /* position, or relative offset */
    int64_t last_key;  /* of the last one that was right; -1: none yet */
    int32_t last_value;
    uint8_t block[ENTRIES_READ * INDEX_TIME];
    int64_t block_at;
};

struct walk {
    struct verify *v;
    const struct verified_segment *s;
    char path[4200];
    struct window w;
    int64_t position, next; /* of the next batch; the offset behind the last good one */
    int64_t newest_ms;      /* of all batches so far; -1: none */
    bool damaged;           /* a part could not be read */
    bool passed;            /* such a part lies right before the position */
    uint64_t faults;
    uint64_t searched; /* bytes whose checksum was computed while looking for a batch */
    struct finger offsets, times;
};

static bool is_last(const struct walk *k)
{
    return k->s->next_base == INT64_MAX;
}

/* Whether an opening makes the index again by itself: what lies behind the recovery point, and, in a
 * segment that reaches there, an index that is out of order or ends with a wrong entry. */
static bool is_made_again(const struct walk *k, const struct finger *f, int64_t offset)
{
    bool in_order = f->key > f->last_key && f->value >= f->last_value;
    return offset >= k->v->known->recovery_point ||
           (k->s->next_base > k->v->known->recovery_point && (!in_order || f->at + 1 >= f->count));
}

/* An index that is wrong is looked at no further. */
static void wrong_entry(struct walk *k, struct finger *f, int64_t offset, const char *what)
{
    if (is_made_again(k, f, offset))
        verify_remark(
            k->v,
            "\"%s\": entry %lld, byte %lld: %s; it was being written when the process or the "
            "machine stopped: the next opening makes the index again",
            f->path, (long long)f->at, (long long)f->at * (int)f->kind, what);
    else
        verify_fault(k->v,
                     "\"%s\" is wrong at byte %lld (entry %lld): %s; reads may not find events: "
                     "delete the file, it is made again when the data directory is opened",
                     f->path, (long long)f->at * (int)f->kind, (long long)f->at, what);
    file_close(f->file);
    f->file = NULL;
}

/* Loads the entry at `at`. False: there is none any more. */
static bool finger_load(struct walk *k, struct finger *f)
{
    if (!f->file || f->at >= f->count)
        return false;
    if (f->block_at < 0 || f->at >= f->block_at + ENTRIES_READ) {
        size_t got;
        beck_error why = {0};
        if (file_read(f->file, f->block, ENTRIES_READ * (size_t)f->kind, f->at * (int64_t)f->kind,
                      &got, &why)) {
            verify_fault(k->v, "\"%s\" cannot be read: %s", f->path, why.text);
            file_close(f->file);
            f->file = NULL;
            return false;
        }
        f->block_at = f->at;
    }
    const uint8_t *p = f->block + (f->at - f->block_at) * (int64_t)f->kind;
    if (f->kind == INDEX_OFFSET) {
        f->key = (int32_t)get_u32(p);
        f->value = (int32_t)get_u32(p + 4);
    } else {
        f->key = (int64_t)get_u64(p);
        f->value = (int32_t)get_u32(p + 8);
    }
    return true;
}

/* Zeros at the end are room that Kafka makes in advance. */
static bool only_zeros_left(struct walk *k, struct finger *f)
{
    for (int64_t at = f->at; finger_load(k, f); f->at++)
        if (f->key != 0 || f->value != 0) {
            f->at = at;
            return false;
        }
    return true;
}

static void finger_open(struct walk *k, struct finger *f, enum index_kind kind, bool there)
{
    const char *suffix = kind == INDEX_OFFSET ? ".index" : ".timeindex";
    snprintf(f->path, sizeof f->path, "%s/%020lld%s", k->v->dir, (long long)k->s->base_offset,
             suffix);
    f->kind = kind;
    f->block_at = -1;
    f->last_key = -1;
    if (!there) {
        verify_remark(k->v, "\"%s\" is missing; it is made again when the data directory is opened",
                      f->path);
        return;
    }
    int64_t size = 0;
    beck_error why = {0};
    beck_status status = vfs_open(k->v->env->vfs, f->path, VFS_READ, &f->file, &why);
    if (!status)
        status = file_size(f->file, &size, &why);
    if (status) {
        verify_fault(k->v, "\"%s\" cannot be read: %s", f->path, why.text);
        file_close(f->file);
        f->file = NULL;
        return;
    }
    f->count = size / (int64_t)kind;
    if (size % (int64_t)kind != 0) {
        f->at = f->count;
        wrong_entry(k, f, k->s->next_base - 1, "the file ends inside of it");
    }
}

/* What lies in a damaged part of the log is not compared. */
static void fingers_skip(struct walk *k)
{
    while (finger_load(k, &k->offsets) && k->offsets.value < k->position)
        k->offsets.at++;
    while (finger_load(k, &k->times) && k->s->base_offset + k->times.value < k->next) {
        k->times.last_key = k->times.key;
        k->times.last_value = k->times.value;
        k->times.at++;
    }
}

/* ---- one batch ---- */

/* Whether something is wrong when nothing comes before `end`. Kafka's compaction leaves no gaps in the last segment
 * either. */
static bool lacks(const struct walk *k, int64_t end)
{
    const struct log_known *known = k->v->known;
    return is_last(k) ? !known->gaps && end > known->cleaned && end > known->log_start
                      : !verify_may_lack(k->v, end);
}

static void check_offset_entry(struct walk *k, const struct batch_header *h)
{
    struct finger *f = &k->offsets;
    if (!finger_load(k, f) || f->value > k->position)
        return;
    int64_t offset = k->s->base_offset + f->key;
    if (f->value == 0 && f->key == 0 && only_zeros_left(k, f))
        return;
    if (!f->file)
        return;
    finger_load(k, f);
    if (f->value < k->position)
        wrong_entry(k, f, offset, "no batch begins at its position");
    else if (offset != batch_last_offset(h))
        wrong_entry(k, f, offset, "the batch at its position ends with another offset");
    else {
        f->last_key = f->key;
        f->last_value = f->value;
        f->at++;
    }
}

static void check_time_entry(struct walk *k, const struct batch_header *h)
{
    struct finger *f = &k->times;
    if (!finger_load(k, f))
        return;
    if (f->value == 0 && f->key == 0 && only_zeros_left(k, f))
        return;
    if (!f->file || !finger_load(k, f))
        return;
    int64_t offset = k->s->base_offset + f->value;
    if (offset > batch_last_offset(h))
        return;
    if (offset < batch_last_offset(h))
        wrong_entry(k, f, offset, "no batch ends with its offset");
    else if (f->key != h->max_timestamp_ms)
        wrong_entry(k, f, offset, "its batch has another newest timestamp");
    else if (f->key <= f->last_key || (!k->damaged && f->key < k->newest_ms))
        wrong_entry(k, f, offset, "an earlier event is as new");
    else {
        f->last_key = f->key;
        f->last_value = f->value;
        f->at++;
    }
}

__attribute__((format(printf, 3, 4))) static void fault_at(struct walk *k, int64_t position,
                                                           const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (++k->faults <= FAULTS_PER_LOG)
        verify_fault(k->v, "\"%s\" at byte %lld: %s", k->path, (long long)position, text);
    if (k->faults == FAULTS_PER_LOG)
        verify_remark(k->v, "\"%s\": further faults of this file are not listed", k->path);
}

/* One record: its place in the batch, and that it can be read as an event. */
static beck_status check_record(struct walk *k, struct batch_records *r, int32_t number,
                                int64_t *last, int64_t *newest_ms, beck_error *why)
{
    const struct batch_header *h = &r->header;
    int64_t offset, timestamp_ms;
    beck_bytes key;
    bool is_null;
    size_t at = r->at;
    beck_status status = record_peek(r->records, &at, h->base_offset, h->base_timestamp_ms, &offset,
                                     &timestamp_ms, &key, &is_null, NULL, why);
    if (!status)
        status = batch_records_next(r, &k->v->context, &k->v->view, why);
    if (status)
        return status;
    bool dense = h->count == (int64_t)h->last_offset_delta + 1;
    if (offset <= *last || offset > batch_last_offset(h) ||
        (dense && offset != h->base_offset + number))
        return error_set(why, BECK_ECORRUPT, "record %d says that its offset is %lld", number,
                         (long long)offset);
    *last = offset;
    if (timestamp_ms > *newest_ms)
        *newest_ms = timestamp_ms;
    return BECK_OK;
}

/* BECK_ECORRUPT: `why` says what is wrong inside of the batch. */
static beck_status check_records(struct walk *k, beck_bytes batch, beck_error *why)
{
    struct batch_records r;
    beck_status status = batch_records_open(&r, batch, &k->v->codec, &k->v->unpacked, why);
    if (status || (r.header.attributes & BATCH_CONTROL))
        return status;
    int64_t last = r.header.base_offset - 1, newest_ms = INT64_MIN;
    for (int32_t i = 0; i < r.header.count && !status; i++)
        status = check_record(k, &r, i, &last, &newest_ms, why);
    if (!status && batch_records_next(&r, &k->v->context, &k->v->view, why) != BECK_END)
        status = BECK_ECORRUPT;
    if (!status && r.header.count > 0 && !(r.header.attributes & BATCH_LOG_APPEND_TIME) &&
        newest_ms != r.header.max_timestamp_ms)
        status = error_set(why, BECK_ECORRUPT,
                           "its header says that the newest timestamp is %lld, the records that it "
                           "is %lld",
                           (long long)r.header.max_timestamp_ms, (long long)newest_ms);
    return status;
}

static beck_status check_batch(struct walk *k, const struct batch_header *h, beck_error *err)
{
    beck_error why = {0};
    beck_bytes batch = bytes_of(window_at(&k->w, k->position), batch_size(h));
    beck_status status = check_records(k, batch, &why);
    if (status == BECK_ENOMEM)
        return error_set(err, status, "no memory to check a batch of %zu bytes of \"%s\"",
                         batch.len, k->path);
    if (status)
        fault_at(k, k->position,
                 "the checksum fits, but the batch of offsets %lld to %lld is wrong inside: %s; it "
                 "was stored like that: restore the file from a backup",
                 (long long)h->base_offset, (long long)batch_last_offset(h), why.text);
    if (h->base_offset != k->next && !k->damaged && lacks(k, h->base_offset)) {
        k->v->broken = true;
        fault_at(k, k->position, "offsets %lld to %lld are missing before it; " PARTITION_REMEDY,
                 (long long)k->next, (long long)h->base_offset - 1);
    }
    if (batch_last_offset(h) >= k->s->next_base)
        fault_at(k, k->position,
                 "the batch ends with offset %lld, the next segment begins with %lld; restore the "
                 "file from a backup",
                 (long long)batch_last_offset(h), (long long)k->s->next_base);
    if (h->leader_epoch < -1 || h->leader_epoch > k->v->epoch_max)
        fault_at(
            k, k->position + 12,
            "the leader epoch is %d, but leader-epoch-checkpoint ends with %d; only Kafka looks "
            "at it: restore the file from a backup before giving it to Kafka",
            h->leader_epoch, k->v->epoch_max);
    if (h->max_timestamp_ms > k->newest_ms)
        k->newest_ms = h->max_timestamp_ms;
    check_offset_entry(k, h);
    check_time_entry(k, h);
    k->v->counts->batches++;
    k->v->counts->records += (uint64_t)h->count;
    return BECK_OK;
}

/* ---- finding batches ---- */

/* The checksum of a batch that is larger than the window, without taking memory for all of it: its
 * length may be damaged. */
static beck_status large_crc_fits(struct walk *k, int64_t position, const struct batch_header *h,
                                  bool *fits, beck_error *err)
{
    int64_t at = position + CRC_FROM, end = position + (int64_t)batch_size(h);
    uint32_t crc = 0;
    while (at < end) {
        size_t len = end - at > WINDOW_BYTES ? WINDOW_BYTES : (size_t)(end - at);
        bool ok;
        beck_status status = window_have(&k->w, at, len, &ok, err);
        if (status)
            return status;
        *fits = ok;
        if (!ok)
            return BECK_OK;
        crc = crc32c(crc, window_at(&k->w, at), len);
        at += (int64_t)len;
    }
    *fits = crc == h->crc;
    return BECK_OK;
}

/* As window_batch. */
static beck_status find_batch(struct walk *k, int64_t position, struct batch_header *h, bool *valid,
                              beck_error *why, beck_error *err)
{
    beck_status status = window_header(&k->w, position, k->next, h, valid, why, err);
    if (status || !*valid)
        return status;
    k->searched += batch_size(h);
    if (batch_size(h) > WINDOW_BYTES) {
        status = large_crc_fits(k, position, h, valid, err);
        if (!status && !*valid)
            error_set(why, BECK_ECORRUPT, "the checksum does not fit");
        if (status || !*valid)
            return status;
    }
    return window_batch(&k->w, position, k->next, h, valid, why, err);
}

/* Moves the position to the next good batch, or to the end. */
static beck_status search(struct walk *k, beck_error *err)
{
    uint64_t most = 4 * (uint64_t)k->w.size + (64u << 20);
    k->searched = 0;
    while (++k->position < k->w.size && k->searched < most) {
        bool ok, valid;
        struct batch_header h;
        beck_status status = window_have(&k->w, k->position, BATCH_HEADER, &ok, err);
        if (status)
            return status;
        if (!ok)
            break;
        if (window_at(&k->w, k->position)[16] != 2)
            continue;
        status = find_batch(k, k->position, &h, &valid, NULL, err);
        if (status || (valid && batch_last_offset(&h) < k->s->next_base))
            return status;
    }
    k->position = k->w.size;
    return BECK_OK;
}

/* Zeros are what a partition writes ahead of its batches. */
static beck_status only_zeros(struct walk *k, bool *zeros, beck_error *err)
{
    *zeros = true;
    for (int64_t at = k->position; at < k->w.size && *zeros; at++) {
        bool ok;
        beck_status status = window_have(&k->w, at, 1, &ok, err);
        if (status)
            return status;
        *zeros = ok && *window_at(&k->w, at) == 0;
    }
    return BECK_OK;
}

/* What the next opening looks at comes as it is behind the copy. */
static beck_status keep_rest(struct walk *k, beck_error *err)
{
    struct segment *copy = k->s->copy;
    if (!copy)
        return BECK_OK;
    atomic_store(&copy->dirty, true);
    return window_copy(&k->w, k->position, k->w.size, copy->file, atomic_load(&copy->size), NULL,
                       err);
}

static beck_status pass_damage(struct walk *k, const beck_error *why, beck_error *err)
{
    int64_t from = k->position;
    bool unfinished = is_last(k) && k->next >= k->v->known->recovery_point;
    if (unfinished) {
        bool zeros;
        beck_status status = only_zeros(k, &zeros, err);
        if (status)
            return status;
        if (!zeros)
            verify_remark(k->v,
                          "\"%s\" at byte %lld: %s; this was being written when the process or the "
                          "machine stopped: the next opening cuts the %lld bytes from there on, of "
                          "which nothing had been confirmed as synced before the last checkpoint",
                          k->path, (long long)from, why->text, (long long)(k->w.size - from));
        if (!zeros)
            status = keep_rest(k, err);
        k->position = k->w.size;
        k->damaged = true;
        return status;
    }
    beck_status status = search(k, err);
    if (!status && k->s->copy)
        status = verify_keep(k->v, k->s->copy, &k->w, from, k->position, err);
    if (status)
        return status;
    k->damaged = k->passed = k->v->broken = true;
    fault_at(k, from,
             "damaged: %s; events from offset %lld on cannot be read in the %lld bytes up to "
             "%s; " PARTITION_REMEDY,
             why->text, (long long)k->next, (long long)(k->position - from),
             k->position < k->w.size ? "the next good batch" : "the end of the file");
    return BECK_OK;
}

/* The next good batch of a segment that is repaired, behind what takes the place of others. */
static beck_status keep_batch(struct walk *k, const struct batch_header *h, beck_error *err)
{
    beck_status status = BECK_OK;
    if (!k->s->copy)
        return BECK_OK;
    if (h->base_offset > k->next && (k->passed || lacks(k, h->base_offset)))
        status = verify_give_up(k->v, k->s->copy, k->next, h->base_offset, err);
    if (!status)
        status =
            segment_write(k->s->copy, bytes_of(window_at(&k->w, k->position), batch_size(h)), err);
    if (!status)
        segment_note(k->s->copy, h);
    return status;
}

/* What is missing at the end of one. */
static beck_status keep_end(struct walk *k, beck_error *err)
{
    int64_t end = is_last(k) ? k->v->known->recovery_point : k->s->next_base;
    if (!k->s->copy || k->next >= end || (!is_last(k) && verify_may_lack(k->v, end)))
        return BECK_OK;
    return verify_give_up(k->v, k->s->copy, k->next, end, err);
}

static beck_status walk_log(struct walk *k, beck_error *err)
{
    beck_status status = BECK_OK;
    while (k->position < k->w.size && !status) {
        struct batch_header h;
        bool valid;
        beck_error why = {0};
        status = find_batch(k, k->position, &h, &valid, &why, err);
        if (!status && !valid) {
            status = pass_damage(k, &why, err);
            continue;
        }
        if (!status)
            status = keep_batch(k, &h, err);
        if (status)
            break;
        if (k->passed) {
            if (h.base_offset > k->next)
                k->next = h.base_offset;
            fingers_skip(k);
            k->passed = false;
        }
        status = check_batch(k, &h, err);
        k->next = batch_last_offset(&h) + 1;
        k->position += (int64_t)batch_size(&h);
    }
    return status;
}

/* ---- the end ---- */

static void check_ends(struct walk *k)
{
    struct finger *f = &k->offsets;
    if (finger_load(k, f) && !k->damaged && !only_zeros_left(k, f))
        wrong_entry(k, f, k->s->base_offset + f->key, "it points behind the end of the log");
    f = &k->times;
    if (finger_load(k, f) && !k->damaged && !only_zeros_left(k, f))
        wrong_entry(k, f, k->s->base_offset + f->value, "it points behind the end of the log");
    if (f->file && !k->damaged && !is_last(k) && k->newest_ms > 0 && f->last_key < k->newest_ms)
        wrong_entry(k, f, k->s->next_base - 1, "the newest timestamp of the segment is missing");
}

beck_status verify_segment(struct verify *v, const struct verified_segment *s, int64_t *end,
                           beck_error *err)
{
    struct walk k = {.v = v, .s = s, .next = s->base_offset, .newest_ms = -1};
    struct file *file = NULL;
    int64_t size = 0;
    beck_error why = {0};
    snprintf(k.path, sizeof k.path, "%s/%020lld.log", v->dir, (long long)s->base_offset);
    v->counts->segments++;
    beck_status status = vfs_open(v->env->vfs, k.path, VFS_READ, &file, &why);
    if (!status)
        status = file_size(file, &size, &why);
    if (status) {
        verify_fault(v, "\"%s\" cannot be read: %s; restore the file from a backup", k.path,
                     why.text);
        file_close(file);
        return s->copy ? error_set(err, status, "%s", why.text) : BECK_OK;
    }
    v->counts->bytes += (uint64_t)size;
    window_init(&k.w, file, size);
    finger_open(&k, &k.offsets, INDEX_OFFSET, s->has_index);
    finger_open(&k, &k.times, INDEX_TIME, s->has_time_index);
    status = walk_log(&k, &why);
    if (!status)
        status = keep_end(&k, &why);
    if (!status) {
        check_ends(&k);
        *end = k.passed && !is_last(&k) ? s->next_base : k.next;
    } else if (s->copy) {
        error_set(err, status, "%s", why.text);
    } else if (status == BECK_ENOMEM) {
        error_set(err, status, "%s", why.text);
    } else {
        verify_fault(v, "\"%s\" cannot be read: %s; restore the file from a backup", k.path,
                     why.text);
        status = BECK_OK;
    }
    file_close(k.offsets.file);
    file_close(k.times.file);
    window_release(&k.w);
    file_close(file);
    return status;
}
