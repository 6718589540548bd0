/*
 * Checking a partition: what is in the directory, and the small files. Logs and indexes are in
 * verify_segment.c, and
 * what is done about damage in verify_repair.c.
 */
#include "log/verify_impl.h"

#include "base/error.h"
#include "log/partition.h"
#include "log/producers.h"
#include "log/segment.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SMALL_FILE_MAX (64u << 20)
#define UNPACKED_MAX (256u << 20)
#define NAME_SHOWN 64

static void report(const struct verify *v, beck_status code, const char *format, va_list args)
{
    beck_error error = {.code = code};
    if (v->silent)
        return;
    vsnprintf(error.text, sizeof error.text, format, args);
    v->env->report(v->env->report_ctx, &error);
}

void verify_fault(struct verify *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(v, BECK_ECORRUPT, format, args);
    va_end(args);
    v->counts->faults++;
}

void verify_remark(struct verify *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(v, BECK_OK, format, args);
    va_end(args);
    v->counts->remarks++;
}

/* ---- what is in the directory ---- */

enum kind { KIND_LOG, KIND_INDEX, KIND_TIMEINDEX, KIND_TXNINDEX, KIND_SNAPSHOT };

struct entry {
    int64_t offset;
    enum kind kind;
};

struct entries {
    struct verify *v;
    struct entry *list;
    size_t count, cap;
    bool metadata, epochs;
    beck_status status;
};

static bool name_entry(const char *name, struct entry *out)
{
    static const char *const suffixes[] = {".log", ".index", ".timeindex", ".txnindex",
                                           ".snapshot"};
    uint64_t offset;
    if (strlen(name) < 20 || !bytes_to_u64(bytes_of(name, 20), &offset) || offset > INT64_MAX)
        return false;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (strcmp(name + 20, suffixes[i]) != 0)
            continue;
        *out = (struct entry){(int64_t)offset, (enum kind)i};
        return true;
    }
    return false;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name), n = strlen(suffix);
    return len > n && strcmp(name + len - n, suffix) == 0;
}

static void remark_name(struct verify *v, const char *name, bool is_dir)
{
    static const char *const leftovers[] = {".cleaned", ".deleted", ".swap", ".tmp"};
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++) {
        if (is_dir || !ends_with(name, leftovers[i]))
            continue;
        verify_remark(v,
                      "\"%s/%.*s\" is left over from work that did not finish; the next opening "
                      "removes it",
                      v->dir, NAME_SHOWN, name);
        return;
    }
    if (!is_dir && strstr(name, ".log.cut-"))
        verify_remark(v,
                      "\"%s/%.*s\" was cut off the log after a crash, nothing in it had been "
                      "confirmed as synced; delete it when you do not want to look at it",
                      v->dir, NAME_SHOWN, name);
    else if (!is_dir && strstr(name, VERIFY_KEPT))
        verify_remark(v,
                      "\"%s/%.*s\" holds damaged bytes that a repair gave up; delete it when you "
                      "do not want to look at it",
                      v->dir, NAME_SHOWN, name);
    else
        verify_remark(v, "\"%s/%.*s\" is no file of a partition; move it elsewhere", v->dir,
                      NAME_SHOWN, name);
}

static int note_name(void *ctx, const char *name, bool is_dir)
{
    struct entries *e = ctx;
    struct entry found;
    if (!is_dir && strcmp(name, "partition.metadata") == 0) {
        e->metadata = true;
        return 0;
    }
    if (!is_dir && strcmp(name, "leader-epoch-checkpoint") == 0) {
        e->epochs = true;
        return 0;
    }
    if (!is_dir && strcmp(name, SEGMENT_PREPARED) == 0)
        return 0;
    if (is_dir || !name_entry(name, &found)) {
        remark_name(e->v, name, is_dir);
        return 0;
    }
    if (e->count == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : 64;
        struct entry *grown = realloc(e->list, cap * sizeof *grown);
        if (!grown)
            return e->status = BECK_ENOMEM;
        e->list = grown;
        e->cap = cap;
    }
    e->list[e->count++] = found;
    return 0;
}

/* By offset, the log first. */
static int by_offset(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->kind < y->kind ? -1 : x->kind > y->kind;
}

/* ---- small files ---- */

/* The whole file in `out`, or a fault. */
static bool read_small(struct verify *v, const char *name, struct buf *out)
{
    char path[4200];
    beck_error why = {0};
    snprintf(path, sizeof path, "%s/%s", v->dir, name);
    if (vfs_read_file(v->env->vfs, path, out->max, out, &why) == BECK_OK)
        return true;
    verify_fault(v, "\"%s\" cannot be read: %s", path, why.text);
    return false;
}

static bool take_line(beck_bytes *text, beck_bytes *line)
{
    const uint8_t *start = text->data;
    const uint8_t *end = text->len ? memchr(start, '\n', text->len) : NULL;
    if (!end)
        return false;
    *line = bytes_of(start, (size_t)(end - start));
    *text = bytes_of(end + 1, text->len - line->len - 1);
    return true;
}

static bool is_id(beck_bytes b)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *p = b.data;
    for (size_t i = 0; i < b.len; i++)
        if (!p[i] || !strchr(letters, p[i]))
            return false;
    /* Of the last letter only the first two bits are of the 128. */
    return b.len == 22 && strchr("AQgw", p[21]) != NULL;
}

static void verify_metadata(struct verify *v)
{
    static const char topic_id[] = "topic_id: ";
    struct buf file;
    beck_bytes line;
    buf_init(&file, 4096);
    if (read_small(v, "partition.metadata", &file)) {
        beck_bytes text = buf_bytes(&file);
        size_t n = sizeof topic_id - 1;
        bool good = take_line(&text, &line) && bytes_equal_text(line, "version: 0") &&
                    take_line(&text, &line) && line.len > n &&
                    memcmp(line.data, topic_id, n) == 0 &&
                    is_id(bytes_of((const uint8_t *)line.data + n, line.len - n)) && text.len == 0;
        if (!good)
            verify_remark(v,
                          "\"%s/partition.metadata\" is not \"version: 0\" and a topic id of 22 "
                          "characters; the next opening makes it again",
                          v->dir);
    }
    buf_release(&file);
}

/* "<epoch> <offset>" */
static bool read_epoch(beck_bytes line, uint64_t *epoch, uint64_t *offset)
{
    const uint8_t *start = line.data;
    const uint8_t *space = line.len ? memchr(start, ' ', line.len) : NULL;
    if (!space)
        return false;
    size_t n = (size_t)(space - start);
    return bytes_to_u64(bytes_of(start, n), epoch) &&
           bytes_to_u64(bytes_of(space + 1, line.len - n - 1), offset) && *epoch <= INT32_MAX &&
           *offset <= INT64_MAX;
}

static bool read_epochs(struct verify *v, beck_bytes text)
{
    beck_bytes line;
    uint64_t count, epoch, offset, last_epoch = 0, last_offset = 0;
    if (!take_line(&text, &line) || !bytes_equal_text(line, "0") || !take_line(&text, &line) ||
        !bytes_to_u64(line, &count))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!take_line(&text, &line) || !read_epoch(line, &epoch, &offset) ||
            (i > 0 && (epoch <= last_epoch || offset < last_offset)))
            return false;
        last_epoch = epoch;
        last_offset = offset;
    }
    v->epoch_max = (int32_t)last_epoch;
    return text.len == 0;
}

static void verify_epochs(struct verify *v)
{
    struct buf file;
    buf_init(&file, 1u << 20);
    if (read_small(v, "leader-epoch-checkpoint", &file) && !read_epochs(v, buf_bytes(&file)))
        verify_remark(v,
                      "\"%s/leader-epoch-checkpoint\" is not version 0, a count and as many lines "
                      "of growing epochs and offsets; only Kafka reads it: delete it, it is made "
                      "again",
                      v->dir);
    buf_release(&file);
}

static beck_status verify_snapshot(struct verify *v, int64_t offset, int64_t end, beck_error *err)
{
    char name[64];
    struct buf file;
    beck_error why = {0};
    beck_status status = BECK_OK;
    buf_init(&file, SMALL_FILE_MAX);
    snprintf(name, sizeof name, "%020lld.snapshot", (long long)offset);
    if (read_small(v, name, &file)) {
        struct producers *p = producers_new();
        status = p ? producers_snapshot_read(p, buf_bytes(&file), &why) : BECK_ENOMEM;
        producers_free(p);
        if (status == BECK_ENOMEM)
            error_set(err, status, "no memory to check \"%s/%s\"", v->dir, name);
        else if (status)
            verify_fault(v,
                         "\"%s/%s\": %s; delete it, what is known of producers is then taken "
                         "from an older one and the log",
                         v->dir, name, why.text);
        else if (offset > end)
            verify_fault(v,
                         "\"%s/%s\" knows of events up to %lld, the log ends at %lld: the log "
                         "was cut; restore it from a backup, or delete this file",
                         v->dir, name, (long long)offset - 1, (long long)end - 1);
    }
    buf_release(&file);
    return status == BECK_ENOMEM ? status : BECK_OK;
}

/* ---- the partition ---- */

static void remark_orphan(struct verify *v, const struct entry *e)
{
    static const char *const names[] = {"", ".index", ".timeindex", ".txnindex"};
    verify_remark(v, "\"%s/%020lld%s\" belongs to no log; the next opening removes it", v->dir,
                  (long long)e->offset, names[e->kind]);
}

/* What is not there although it should be. */
static void verify_gap(struct verify *v, int64_t from, int64_t end)
{
    verify_fault(v, "\"%s\": events %lld to %lld are missing; " PARTITION_REMEDY, v->dir,
                 (long long)from, (long long)end - 1);
    v->broken = true;
}

/* One, and what should be between it and the next. */
static beck_status verify_log(struct verify *v, const struct verified_segment *s, int64_t *end,
                              beck_error *err)
{
    v->broken = false;
    beck_status status = verify_segment(v, s, end, err);
    if (status)
        return status;
    bool last = s->next_base == INT64_MAX;
    int64_t start = *end < v->known->log_start ? v->known->log_start : *end;
    if (!last && *end < s->next_base && !verify_may_lack(v, s->next_base))
        verify_gap(v, start, s->next_base);
    if (!v->repair || (!v->broken && !(last && *end < v->known->recovery_point)))
        return BECK_OK;
    return verify_repair_segment(v, s, err);
}

/* What should be before the first. */
static beck_status verify_start(struct verify *v, int64_t base, beck_error *err)
{
    int64_t start = v->known->log_start;
    if (base <= start || verify_may_lack(v, base))
        return BECK_OK;
    verify_gap(v, start, base);
    return v->repair ? verify_repair_missing(v, start, base, err) : BECK_OK;
}

/* The segments of a sorted list, one after the other. *end: behind the last event. */
static beck_status verify_segments(struct verify *v, const struct entries *e, int64_t *end,
                                   beck_error *err)
{
    beck_status status = BECK_OK;
    bool first = true;
    for (size_t i = 0; i < e->count && !status;) {
        const struct entry *log = &e->list[i++];
        if (log->kind == KIND_SNAPSHOT)
            continue;
        if (log->kind != KIND_LOG) {
            remark_orphan(v, log);
            continue;
        }
        if (first)
            status = verify_start(v, log->offset, err);
        first = false;
        struct verified_segment s = {.base_offset = log->offset, .next_base = INT64_MAX};
        for (; i < e->count && e->list[i].offset == log->offset; i++) {
            s.has_index |= e->list[i].kind == KIND_INDEX;
            s.has_time_index |= e->list[i].kind == KIND_TIMEINDEX;
        }
        for (size_t k = i; k < e->count && s.next_base == INT64_MAX; k++)
            if (e->list[k].kind == KIND_LOG)
                s.next_base = e->list[k].offset;
        if (!status)
            status = verify_log(v, &s, end, err);
    }
    /* Also where retention had taken all that is certain: what comes next is known. */
    if (!status && first && v->repair && v->known->recovery_point > 0 &&
        v->known->recovery_point >= v->known->log_start)
        status = verify_repair_missing(v, v->known->log_start, v->known->recovery_point, err);
    return status;
}

static beck_status verify_entries(struct verify *v, struct entries *e, beck_error *err)
{
    int64_t end = 0;
    if (e->count > 0)
        qsort(e->list, e->count, sizeof *e->list, by_offset);
    if (e->epochs)
        verify_epochs(v);
    else if (e->count > 0)
        verify_remark(v,
                      "\"%s/leader-epoch-checkpoint\" is missing; only Kafka reads it, and makes "
                      "it again",
                      v->dir);
    if (e->metadata)
        verify_metadata(v);
    else if (e->count > 0)
        verify_remark(v, "\"%s/partition.metadata\" is missing; the next opening makes it again",
                      v->dir);
    uint64_t before = v->counts->segments;
    beck_status status = verify_segments(v, e, &end, err);
    if (!status && end < v->known->recovery_point)
        verify_fault(
            v,
            "\"%s\": events %lld to %lld are missing, which had been synced%s; " PARTITION_REMEDY,
            v->dir, (long long)end, (long long)v->known->recovery_point - 1,
            v->counts->segments == before ? " (there is no segment)" : "");
    for (size_t i = 0; i < e->count && !status; i++)
        if (e->list[i].kind == KIND_SNAPSHOT)
            status = verify_snapshot(v, e->list[i].offset, end, err);
    return status;
}

beck_status log_verify_partition(const struct env *env, const char *dir, const char *bus,
                                 uint32_t number, const struct log_known *known,
                                 const struct log_repair *repair, struct log_verify_counts *counts,
                                 beck_error *err)
{
    struct verify v = {.env = env, .dir = dir, .counts = counts, .known = known, .repair = repair};
    struct entries e = {.v = &v};
    if (strlen(bus) > 249)
        return error_set(err, BECK_EINVAL, "a bus name has at most 249 bytes, not %zu",
                         strlen(bus));
    uint64_t faults = counts->faults;
    record_context_init(&v.context, beck_str(bus), number);
    codec_init(&v.codec);
    buf_init(&v.unpacked, UNPACKED_MAX);
    beck_error why = {0};
    beck_status status = vfs_list(env->vfs, dir, note_name, &e, &why);
    if (status == BECK_ENOENT)
        status = BECK_OK;
    else if (status)
        error_set(err, status, "%s", why.text);
    if (!status && e.status)
        status = error_set(err, e.status, "no memory to check \"%s\"", dir);
    if (!status)
        status = verify_entries(&v, &e, err);
    free(e.list);
    codec_release(&v.codec);
    buf_release(&v.unpacked);
    if (!status && counts->faults > faults)
        status = error_set(err, BECK_ECORRUPT, "\"%s\" has %llu faults", dir,
                           (unsigned long long)(counts->faults - faults));
    return status;
}
