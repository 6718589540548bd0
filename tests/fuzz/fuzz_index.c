/*
 * The derived files of a partition, with any bytes in them. The first byte says which: 0 offset
 * index, 1 time index, 2 producer snapshot, 3 checkpoint. What passes its check must work as the
 * format says, and be the same after it is written and read again.
 */
#include "fuzz.h"

#include "base/vfs.h"
#include "log/checkpoint.h"
#include "log/index.h"
#include "log/producers.h"

#define PATH "file"
#define FILE_MAX (1u << 20)

/* ---- indexes ---- */

static int64_t key_at(const uint8_t *p, enum index_kind kind)
{
    return kind == INDEX_OFFSET ? (int32_t)get_u32(p) : (int64_t)get_u64(p);
}

static int32_t value_at(const uint8_t *p, enum index_kind kind)
{
    return (int32_t)get_u32(p + (size_t)kind - 4);
}

static void expect_lookup(struct index *x, enum index_kind kind, int64_t key, int32_t expected)
{
    beck_error err;
    int32_t found = -1;

    if (kind == INDEX_OFFSET)
        REQUIRE(index_lookup_offset(x, VFS_WAITING, (int32_t)key, &found, &err) == BECK_OK);
    else
        REQUIRE(index_lookup_time(x, key, &found, &err) == BECK_OK);
    REQUIRE(found == expected);
}

/* An index that passes its check finds every entry of the file. */
static void look_up_all(struct index *x, enum index_kind kind, const uint8_t *file)
{
    uint32_t count = index_count(x);

    for (uint32_t i = 0; i < count && i < 200; i++) {
        const uint8_t *entry = file + (size_t)i * (size_t)kind;
        int64_t key = key_at(entry, kind);

        if (kind == INDEX_OFFSET)
            expect_lookup(x, kind, key, value_at(entry, kind));
        else
            expect_lookup(x, kind, key, i > 0 ? value_at(entry - kind, kind) : 0);
    }
}

static void use_index(struct vfs *disk, enum index_kind kind, beck_bytes file)
{
    struct index *x = NULL;
    beck_error err;
    int32_t found;

    REQUIRE(index_open(disk, PATH, kind, false, &x, &err) == BECK_OK);
    REQUIRE(index_count(x) <= file.len / (size_t)kind);
    if (index_check(x, INT64_MAX, &err) == BECK_OK) {
        look_up_all(x, kind, file.data);
    } else if (kind == INDEX_OFFSET) {
        index_lookup_offset(x, VFS_WAITING, INT32_MAX, &found, &err);
        index_append_offset(x, INT32_MAX, INT32_MAX, &err);
    } else {
        index_lookup_time(x, INT64_MAX, &found, &err);
        index_append_time(x, INT64_MAX, INT32_MAX, &err);
    }
    REQUIRE(index_flush(x, &err) == BECK_OK);
    REQUIRE(index_truncate(x, 0, &err) == BECK_OK);
    index_close(x);
}

/* ---- snapshots and checkpoints ---- */

static void use_snapshot(beck_bytes file)
{
    struct producers *p = producers_new();
    struct buf out;
    beck_error err;

    if (p == NULL)
        return;
    buf_init(&out, FILE_MAX);
    if (producers_snapshot_read(p, file, &err) == BECK_OK) {
        size_t count = producers_count(p);

        REQUIRE(producers_snapshot_write(p, &out) == BECK_OK);
        REQUIRE(out.len == file.len);
        REQUIRE(producers_snapshot_read(p, buf_bytes(&out), &err) == BECK_OK);
        REQUIRE(producers_count(p) == count);
    } else {
        REQUIRE(producers_count(p) == 0);
    }
    buf_release(&out);
    producers_free(p);
}

static void use_checkpoint(struct vfs *disk)
{
    struct checkpoint c, again;
    beck_error err;

    checkpoint_init(&c);
    checkpoint_init(&again);
    if (checkpoint_read(disk, PATH, &c, &err) == BECK_OK) {
        REQUIRE(checkpoint_write(disk, PATH, &c, &err) == BECK_OK);
        REQUIRE(checkpoint_read(disk, PATH, &again, &err) == BECK_OK);
        REQUIRE(c.count == again.count);
        for (size_t i = 0; i < c.count; i++) {
            int64_t offset = -1;

            REQUIRE(checkpoint_get(&again, c.entries[i].bus, c.entries[i].partition, &offset));
            REQUIRE(offset == c.entries[i].offset);
        }
    }
    checkpoint_release(&c);
    checkpoint_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vfs *disk;
    beck_bytes file;
    beck_error err;

    if (size == 0 || size > FILE_MAX)
        return 0;
    file = bytes_of(data + 1, size - 1);
    if (data[0] % 4 == 2) {
        use_snapshot(file);
        return 0;
    }
    disk = vfs_sim_new(1);
    if (disk == NULL)
        return 0;
    REQUIRE(vfs_write_file(disk, PATH, file, &err) == BECK_OK);
    if (data[0] % 4 == 3)
        use_checkpoint(disk);
    else
        use_index(disk, data[0] % 4 == 0 ? INDEX_OFFSET : INDEX_TIME, file);
    vfs_sim_free(disk);
    return 0;
}
