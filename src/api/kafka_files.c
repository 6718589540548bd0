/*
 * Buses as directories that Kafka keeps, and the reverse: batches are copied as they are, with their
 * offsets, so that positions, timestamps, keys, headers, producers and transactions stay what they are.
 * Indexes and all else that Kafka makes again from the batches is left to it, and to the partition here.
 */
#include "api/handle.h"

#include "base/vfs.h"
#include "log/segment.h"
#include "log/window.h"

#include <stdio.h>
#include <stdlib.h>

#define COPY_BYTES (4u << 20)
#define PATH_ROOM 4700

/* ---- export ---- */

struct exporting {
    struct vfs *vfs;
    struct partition *partition;
    int64_t segment_bytes;
    char dir[PATH_ROOM];
    struct file *file; /* of the segment that is written; NULL: none yet */
    int64_t base_offset, size;
    struct buf copy; /* of what lies in a file */
    beck_kafka_files *done;
};

static beck_status end_segment(struct exporting *x, beck_error *err)
{
    beck_status status = x->file ? file_sync(x->file, err) : BECK_OK;
    file_close(x->file);
    x->file = NULL;
    return status;
}

static beck_status begin_segment(struct exporting *x, int64_t base_offset, beck_error *err)
{
    char path[PATH_ROOM + 32];
    beck_status status = end_segment(x, err);
    if (status)
        return status;
    snprintf(path, sizeof path, "%s/%020lld.log", x->dir, (long long)base_offset);
    x->base_offset = base_offset;
    x->size = 0;
    return vfs_open(x->vfs, path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &x->file, err);
}

/* Writes the whole batches at the beginning of `bytes`. *next: behind the last of them. */
static beck_status write_batches(struct exporting *x, beck_bytes bytes, int64_t *next,
                                 beck_error *err)
{
    const uint8_t *p = bytes.data, *end = p + bytes.len;
    struct batch_header h;
    beck_status status = BECK_OK;
    while (!status && end - p >= BATCH_HEADER) {
        status = batch_header_read(p, &h, err);
        if (status || (size_t)(end - p) < batch_size(&h))
            break;
        if (!x->file || x->size + (int64_t)batch_size(&h) > x->segment_bytes ||
            batch_last_offset(&h) - x->base_offset > INT32_MAX)
            status = begin_segment(x, h.base_offset, err);
        if (!status)
            status = file_write(x->file, p, batch_size(&h), x->size, err);
        x->size += (int64_t)batch_size(&h);
        x->done->batches++;
        x->done->bytes += batch_size(&h);
        *next = batch_last_offset(&h) + 1;
        p += batch_size(&h);
    }
    return status;
}

static beck_status range_bytes(struct exporting *x, const struct partition_range *r,
                               beck_bytes *out, beck_error *err)
{
    size_t got = 0;
    *out = r->bytes;
    if (r->block)
        return BECK_OK;
    buf_clear(&x->copy);
    beck_status status = buf_reserve(&x->copy, r->len);
    if (status)
        return error_set(err, status, "no memory to copy batches");
    status = segment_read(r->segment, x->copy.data, r->len, r->position, &got, err);
    *out = bytes_of(x->copy.data, got);
    return status;
}

static beck_status copy_partition(struct exporting *x, beck_error *err)
{
    int64_t next = partition_first(x->partition), end = partition_stable(x->partition);
    beck_status status = BECK_OK;
    while (!status && next < end) {
        struct partition_range r;
        beck_bytes bytes = {0};
        int64_t before = next;
        status = partition_fetch(x->partition, next, COPY_BYTES,
                                 PARTITION_ONE_AT_LEAST | PARTITION_COMMITTED, &r, err);
        if (status || r.len == 0)
            break;
        status = range_bytes(x, &r, &bytes, err);
        if (!status)
            status = write_batches(x, bytes, &next, err);
        partition_range_release(&r);
        if (!status && next == before)
            status = error_set(err, BECK_ECORRUPT, "a batch of \"%s\" is cut off; run beck verify",
                               x->dir);
    }
    /* Kafka takes a directory without a segment for an empty partition; its offsets would begin anew. */
    if (!status && !x->file)
        status = begin_segment(x, next, err);
    if (!status)
        status = end_segment(x, err);
    return status ? status : vfs_sync_dir(x->vfs, x->dir, err);
}

static beck_status export_partition(beck_bus *b, uint32_t number, const char *directory,
                                    beck_kafka_files *done, beck_error *err)
{
    struct exporting x = {.vfs = b->env->vfs,
                          .partition = bus_partition(b, number),
                          .segment_bytes = b->options.segment_bytes,
                          .done = done};
    buf_init(&x.copy, 1u << 30);
    snprintf(x.dir, sizeof x.dir, "%s/%s-%u", directory, b->name, number);
    beck_status status = vfs_mkdir(x.vfs, x.dir, err);
    if (status == BECK_EEXIST)
        error_set(err, status, "\"%s\" is there already: name another directory, or remove it",
                  x.dir);
    if (!status)
        status = copy_partition(&x, err);
    file_close(x.file);
    buf_release(&x.copy);
    done->partitions += !status;
    return status;
}

static beck_status check_directory(const char *directory, beck_error *err)
{
    return directory && *directory && strlen(directory) <= 4096
               ? BECK_OK
               : error_set(err, BECK_EINVAL, "a directory has a name of 1 to 4096 bytes");
}

beck_status beck_kafka_export(beck *b, const char *bus, const char *directory,
                              beck_kafka_files *out, beck_error *err)
{
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    beck_bus *from = NULL;
    beck_kafka_files done = {0};
    beck_status status = check_directory(directory, err);
    if (!status && b->remote)
        status = error_set(err, BECK_EUNSUPPORTED,
                           "a server owns the data directory: open it for reading only");
    if (!status)
        status = beck_bus_get(b, bus, &from, err);
    if (!status && from->options.storage != BECK_STORAGE_DISK)
        status = error_set(err, BECK_EINVAL, "bus \"%s\" is in memory: it has no files", bus);
    if (!status)
        status = bus_check_damage(from, err);
    if (!status) {
        status = vfs_mkdir(b->env.vfs, directory, err);
        status = status == BECK_EEXIST ? BECK_OK : status;
    }
    for (uint32_t i = 0; !status && i < from->partition_count; i++)
        status = export_partition(from, i, directory, &done, err);
    if (!status)
        status = vfs_sync_dir(b->env.vfs, directory, err);
    if (out)
        *out = done;
    return status;
}

/* ---- import ---- */

struct segments {
    int64_t *at; /* base offsets */
    size_t count, cap;
    bool failed;
};

static int note_segment(void *ctx, const char *name, bool is_dir)
{
    struct segments *s = ctx;
    uint64_t base;
    if (is_dir || strlen(name) != 24 || strcmp(name + 20, ".log") != 0 ||
        !bytes_to_u64(bytes_of(name, 20), &base) || base > INT64_MAX)
        return 0;
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        int64_t *grown = realloc(s->at, cap * sizeof *grown);
        if (!grown) {
            s->failed = true;
            return 1;
        }
        s->at = grown;
        s->cap = cap;
    }
    s->at[s->count++] = (int64_t)base;
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

struct importing {
    beck *b;
    struct partition *partition;
    char dir[PATH_ROOM]; /* of Kafka's */
    int64_t next;
    beck_kafka_files *done;
};

/* The batches of one segment, in pieces. */
static beck_status import_segment(struct importing *m, const char *path, struct file *f,
                                  int64_t size, beck_error *err)
{
    struct window w;
    beck_status status = BECK_OK;
    window_init(&w, f, size);
    for (int64_t position = 0; !status && position < size;) {
        struct batch_header h;
        bool valid = false;
        beck_error why = {0};
        status = window_batch(&w, position, m->next, &h, &valid, &why, err);
        if (status)
            break;
        if (!valid) {
            status =
                error_set(err, BECK_ECORRUPT,
                          "\"%s\" is damaged at byte %lld: %s; stop the Kafka broker in order, "
                          "so that its log ends with a whole batch, and import again",
                          path, (long long)position, why.text);
            break;
        }
        beck_bytes batch = bytes_of(window_at(&w, position), batch_size(&h));
        status = partition_adopt(m->partition, batch, err);
        m->next = batch_last_offset(&h) + 1;
        m->done->batches++;
        m->done->bytes += batch.len;
        position += (int64_t)batch.len;
    }
    window_release(&w);
    return status;
}

static beck_status import_file(struct importing *m, int64_t base, beck_error *err)
{
    char path[PATH_ROOM + 32];
    struct file *f;
    int64_t size = 0;
    snprintf(path, sizeof path, "%s/%020lld.log", m->dir, (long long)base);
    beck_status status = vfs_open(m->b->env.vfs, path, VFS_READ, &f, err);
    if (status)
        return status;
    status = file_size(f, &size, err);
    if (!status)
        status = import_segment(m, path, f, size, err);
    file_close(f);
    return status;
}

/* What no coordinator here knows of would never be ended: it is aborted, as Kafka does in time. */
static beck_status abort_open(struct partition *p, beck_error *err)
{
    struct producer_state *known;
    size_t count;
    beck_status status = partition_each_producer(p, &known, &count, err);
    if (status)
        return status;
    for (size_t i = 0; i < count && !status; i++) {
        struct transaction_end end = {.producer_id = known[i].id,
                                      .epoch = known[i].epoch,
                                      .coordinator_epoch = known[i].coordinator_epoch,
                                      .level = BECK_LEVEL_WRITTEN};
        if (known[i].txn_first_offset >= 0)
            status = partition_end_transaction(p, &end, err);
    }
    free(known);
    return status;
}

static beck_status import_partition(struct importing *m, beck_error *err)
{
    struct segments found = {0};
    beck_status status = vfs_list(m->b->env.vfs, m->dir, note_segment, &found, err);
    if (!status && found.failed)
        status = error_set(err, BECK_ENOMEM, "no memory to list \"%s\"", m->dir);
    if (found.count > 0)
        qsort(found.at, found.count, sizeof *found.at, by_offset);
    partition_pause(m->partition);
    for (size_t i = 0; i < found.count && !status; i++)
        status = import_file(m, found.at[i], err);
    partition_resume(m->partition);
    free(found.at);
    if (!status)
        status = abort_open(m->partition, err);
    if (!status)
        status = partition_sync(m->partition, err);
    m->done->partitions += !status;
    return status;
}

/* How many directories `<topic>-0`, `<topic>-1` ... there are. */
static uint32_t count_directories(beck *b, const char *directory, const char *topic)
{
    char path[PATH_ROOM];
    uint32_t n = 0;
    for (; n < BUS_PARTITIONS_MAX; n++) {
        snprintf(path, sizeof path, "%s/%s-%u", directory, topic, n);
        if (!vfs_exists(b->env.vfs, path))
            break;
    }
    return n;
}

static beck_status make_import(beck *b, const char *directory, const char *topic, const char *bus,
                               const beck_bus_options *options, beck_bus **out, beck_error *err)
{
    beck_bus_options o = options ? *options : (beck_bus_options){0};
    beck_status status = check_directory(directory, err);
    if (!status)
        status = bus_name_check("topic", topic, true, err);
    if (status)
        return status;
    if (b->remote)
        return error_set(err, BECK_EUNSUPPORTED,
                         "a server owns the data directory: stop it, import, and start it again");
    o.partitions = count_directories(b, directory, topic);
    if (o.partitions == 0)
        return error_set(err, BECK_ENOENT, "there is no directory \"%s/%s-0\"", directory, topic);
    if (o.storage == BECK_STORAGE_MEMORY)
        return error_set(err, BECK_EINVAL, "an imported bus is on disk");
    status = beck_bus_get(b, bus, out, err);
    if (!status)
        return error_set(err, BECK_EEXIST,
                         "bus \"%s\" exists already: import into another, or delete it", bus);
    if (status == BECK_ENOENT)
        status = beck_bus_create(b, bus, &o, out, err);
    if (status)
        return status;
    /* Its own log may have been compacted. */
    status = handle_allow_gaps(b, *out, err);
    if (status)
        (void)beck_bus_delete(b, bus, NULL);
    return status;
}

beck_status beck_kafka_import(beck *b, const char *directory, const char *topic, const char *bus,
                              const beck_bus_options *options, beck_kafka_files *out,
                              beck_error *err)
{
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    beck_bus *to;
    beck_kafka_files done = {0};
    beck_status status = make_import(b, directory, topic, bus, options, &to, err);
    if (status)
        return status;
    for (uint32_t i = 0; i < to->partition_count && !status; i++) {
        struct importing m = {.b = b, .partition = bus_partition(to, i), .done = &done};
        snprintf(m.dir, sizeof m.dir, "%s/%s-%u", directory, topic, i);
        status = import_partition(&m, err);
    }
    if (status)
        (void)beck_bus_delete(b, bus, NULL);
    if (out)
        *out = done;
    return status;
}
