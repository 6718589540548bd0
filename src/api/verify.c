/*
 * Checking a data directory that nobody has open: every partition by itself, byte by byte
 * (log/verify.h). Nothing is changed.
 */
#include "api/handle.h"

#include "log/verify.h"

#include <stdio.h>

struct verify {
    struct env env;
    const char *data_dir;
    void (*each)(void *ctx, const beck_error *fault);
    void *ctx;
    beck_verify_info *info;
    struct checkpoint recovery;
    beck_status status;
};

/* Faults, and remarks with code BECK_OK. */
static void report_fault(void *ctx, const beck_error *fault)
{
    struct verify *v = ctx;
    v->info->faults += fault->code != BECK_OK;
    if (v->each)
        v->each(v->ctx, fault);
}

static int find_segment(void *ctx, const char *name, bool is_dir)
{
    size_t len = strlen(name);
    *(bool *)ctx |= !is_dir && len == 24 && strcmp(name + 20, ".log") == 0;
    return *(bool *)ctx;
}

static bool holds_segment(struct verify *v, const char *dir)
{
    bool found = false;
    return vfs_list(v->env.vfs, dir, find_segment, &found, NULL) || found;
}

static void verify_partition(struct verify *v, const char *dir, const char *bus, uint32_t number)
{
    struct log_verify_counts counts = {0};
    beck_error why = {0};
    int64_t recovery = 0;
    checkpoint_get(&v->recovery, bus, number, &recovery);
    /* A bus that was being made, or deleted, when the process ended. */
    if (recovery == 0 && !holds_segment(v, dir))
        return;
    beck_status status = log_verify_partition(&v->env, dir, bus, number, recovery, &counts, &why);
    /* BECK_ECORRUPT: each fault has been reported. */
    if (status && status != BECK_ECORRUPT)
        report_fault(v, &why);
    v->info->partitions++;
    v->info->segments += counts.segments;
    v->info->batches += counts.batches;
    v->info->records += counts.records;
    v->info->bytes += counts.bytes;
}

static int count_queue(void *ctx, const char *name, bool is_dir)
{
    struct verify *v = ctx;
    (void)name;
    v->info->queues += is_dir;
    return 0;
}

static int verify_entry(void *ctx, const char *name, bool is_dir)
{
    struct verify *v = ctx;
    const char *dash = strrchr(name, '-');
    uint64_t number;
    if (!is_dir || !dash || dash == name || strlen(name) > 255 ||
        !bytes_to_u64(beck_str(dash + 1), &number) || number > UINT32_MAX)
        return 0;
    char bus[256] = "", dir[4600];
    memcpy(bus, name, (size_t)(dash - name));
    snprintf(dir, sizeof dir, "%s/%s", v->data_dir, name);
    verify_partition(v, dir, bus, (uint32_t)number);
    return 0;
}

beck_status beck_verify(const char *data_dir, void (*each)(void *ctx, const beck_error *fault),
                        void *ctx, beck_verify_info *out, beck_error *err)
{
    beck_verify_info info = {0};
    struct verify v = {.data_dir = data_dir, .each = each, .ctx = ctx, .info = &info};
    v.env = (struct env){.vfs = vfs_posix(),
                         .clock = clock_system(),
                         .report = report_fault,
                         .report_ctx = &v,
                         .read_only = true};
    char path[4600];
    if (!data_dir || strlen(data_dir) > 3500)
        return error_set(err, BECK_EINVAL, "the path of the data directory is missing or too long");
    char topology[4600];
    snprintf(topology, sizeof topology, "%s/__topology-0", data_dir);
    snprintf(path, sizeof path, "%s/.lock", data_dir);
    /* It has the first once anything was made in it, and a copy may lack the second. */
    if (!vfs_exists(v.env.vfs, topology) && !vfs_exists(v.env.vfs, path))
        return error_set(err, BECK_ENOENT, "\"%s\" is no data directory of beck", data_dir);
    struct file *lock;
    beck_status status = vfs_lock(v.env.vfs, path, &lock, err);
    if (status == BECK_EBUSY && remote_listens(data_dir))
        return error_set(err, status,
                         "a server is running on \"%s\", and only a data directory that nobody "
                         "has open can be verified; stop it first",
                         data_dir);
    if (status)
        return status;
    checkpoint_init(&v.recovery);
    beck_error why = {0};
    snprintf(path, sizeof path, "%s/recovery-point-offset-checkpoint", data_dir);
    if (checkpoint_read(v.env.vfs, path, &v.recovery, &why))
        report_fault(&v, &why);
    status = vfs_list(v.env.vfs, data_dir, verify_entry, &v, err);
    snprintf(path, sizeof path, "%s/__queues", data_dir);
    vfs_list(v.env.vfs, path, count_queue, &v, NULL);
    checkpoint_release(&v.recovery);
    file_close(lock);
    if (status)
        return status;
    if (out)
        *out = info;
    if (info.faults > 0)
        return error_set(err, BECK_ECORRUPT, "\"%s\" has %llu faults", data_dir,
                         (unsigned long long)info.faults);
    return BECK_OK;
}
