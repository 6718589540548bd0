/*
 * Checking a data directory that nobody has open: every partition by itself, byte by byte
 * (log/verify.h), and that all are there which the topology and the checkpoints know. Nothing is
 * changed, unless it is to be repaired: then what cannot be read is given up first.
 */
#include "api/handle.h"

#include "api/lost.h"
#include "bus/own_bus.h"
#include "log/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

struct known_bus {
    char name[256];
    bool compact, gaps;
};

struct verify {
    struct env env;
    const char *data_dir;
    void (*each)(void *ctx, const beck_error *fault);
    void *ctx;
    beck_verify_info *info;
    bool repairing;
    struct checkpoint recovery, log_start, cleaned;
    bool starts_known;
    bool topology_known; /* what follows is all that there is */
    bool given_up;       /* something of the bus that is being repaired */
    struct lost
        *lost; /* __topology has given something up: what may be missing in it; NULL: nothing */
    struct known_bus *buses;
    size_t bus_count;
};

static void tell(struct verify *v, const beck_error *e)
{
    if (v->each)
        v->each(v->ctx, e);
}

/* Faults, and remarks with code BECK_OK. While it is repaired they are kept for the check that follows. */
static void report_fault(void *ctx, const beck_error *fault)
{
    struct verify *v = ctx;
    v->info->faults += fault->code != BECK_OK;
    if (!v->repairing)
        tell(v, fault);
}

static void report_given_up(void *ctx, const beck_error *what)
{
    struct verify *v = ctx;
    v->given_up = true;
    tell(v, what);
}

__attribute__((format(printf, 3, 4))) static void say(struct verify *v, beck_status code,
                                                      const char *format, ...)
{
    beck_error error = {.code = code};
    va_list args;
    va_start(args, format);
    vsnprintf(error.text, sizeof error.text, format, args);
    va_end(args);
    report_fault(v, &error);
}

/* ---- what should be there ---- */

static beck_status note_bus(void *ctx, const char *name, const beck_bus_options *options, bool gaps)
{
    struct verify *v = ctx;
    struct known_bus *grown = realloc(v->buses, (v->bus_count + 1) * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    v->buses = grown;
    struct known_bus *b = &v->buses[v->bus_count++];
    snprintf(b->name, sizeof b->name, "%s", name);
    b->compact = options->compact;
    b->gaps = gaps;
    return BECK_OK;
}

static const struct known_bus *find_bus(const struct verify *v, const char *name)
{
    for (size_t i = 0; i < v->bus_count; i++)
        if (strcmp(v->buses[i].name, name) == 0)
            return &v->buses[i];
    return NULL;
}

static void ignore(void *ctx, const beck_error *error)
{
    (void)ctx;
    (void)error;
}

/* Those that the topology says nothing of. */
static beck_status note_unlisted(struct verify *v, beck_error *err)
{
    beck_status status = BECK_OK;
    for (const struct own_bus *own = own_buses; own->name && !status; own++)
        if (own->unlisted)
            status = note_bus(v, own->name, &(beck_bus_options){.compact = own->compact}, false);
    return status ? error_set(err, status, "no memory to verify a data directory") : BECK_OK;
}

/* Its faults have been reported. */
static void read_topology(struct verify *v)
{
    struct env env = v->env;
    struct partition_options o = {.bus = {.partitions = 1, .compact = true}};
    struct partition *p;
    char dir[4600];
    int64_t recovery = 0;
    env.report = ignore;
    env.read_only = true;
    snprintf(dir, sizeof dir, "%s/" OWN_TOPOLOGY "-0", v->data_dir);
    checkpoint_get(&v->recovery, OWN_TOPOLOGY, 0, &recovery);
    if (!vfs_exists(env.vfs, dir) ||
        partition_open(&env, dir, OWN_TOPOLOGY, 0, &o, recovery, 0, &p, NULL))
        return;
    v->topology_known = topology_each_bus(p, note_bus, v, NULL) == BECK_OK;
    partition_abandon(p);
}

static void read_checkpoint(struct verify *v, const char *name, struct checkpoint *out)
{
    beck_error why = {0};
    char path[4600], kept[4700];
    checkpoint_init(out);
    snprintf(path, sizeof path, "%s/%s-offset-checkpoint", v->data_dir, name);
    if (!checkpoint_read(v->env.vfs, path, out, &why))
        return;
    report_fault(v, &why);
    snprintf(kept, sizeof kept, "%s.damaged", path);
    if (v->repairing && !vfs_rename(v->env.vfs, path, kept, &why))
        error_set(&why, BECK_OK, "removed \"%s\", which is made again; a copy is \"%s\"", path,
                  kept);
    if (v->repairing)
        tell(v, &why);
}

/* ---- partitions ---- */

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

static void explain_given_up(struct verify *v, const char *bus)
{
    const struct own_bus *own = own_bus_find(bus);
    beck_error what = {0};
    error_set(&what, BECK_OK, "%s: %s", bus, own ? own->lost : "");
    if (own)
        tell(v, &what);
}

static void verify_partition(struct verify *v, const char *bus, uint32_t number)
{
    struct lost *lost = v->topology_known ? v->lost : NULL;
    struct log_verify_counts counts = {0};
    struct log_known known = {0};
    struct log_repair repair = {report_given_up, v};
    beck_error why = {0};
    char dir[4600];
    snprintf(dir, sizeof dir, "%s/%s-%u", v->data_dir, bus, number);
    checkpoint_get(&v->recovery, bus, number, &known.recovery_point);
    checkpoint_get(&v->log_start, bus, number, &known.log_start);
    checkpoint_get(&v->cleaned, bus, number, &known.cleaned);
    const struct known_bus *b = find_bus(v, bus);
    known.gaps = !b || b->gaps;
    known.dense = v->starts_known && !known.gaps && !b->compact;
    /* A bus that was being made, or deleted, when the process ended. */
    if (known.recovery_point == 0 && !holds_segment(v, dir))
        return;
    if (!b && lost)
        lost_note(lost, bus, number + 1);
    if (!b && v->topology_known && !lost)
        say(v, BECK_OK,
            "\"%s\" belongs to no bus that is known here; move it to another directory, and take "
            "it "
            "in from there with beck import kafka",
            dir);
    v->given_up = false;
    beck_status status = log_verify_partition(
        &v->env, dir, bus, number, &known,
        v->repairing && (b || !v->topology_known || lost) ? &repair : NULL, &counts, &why);
    if (v->given_up)
        explain_given_up(v, bus);
    /* BECK_ECORRUPT: each fault has been reported. */
    if (status && status != BECK_ECORRUPT)
        report_fault(v, &why);
    v->info->partitions++;
    v->info->segments += counts.segments;
    v->info->batches += counts.batches;
    v->info->records += counts.records;
    v->info->bytes += counts.bytes;
}

/* Those of which the checkpoint alone is left. */
static void verify_missing(struct verify *v)
{
    for (size_t i = 0; i < v->recovery.count; i++) {
        const struct checkpoint_entry *e = &v->recovery.entries[i];
        char dir[4600];
        snprintf(dir, sizeof dir, "%s/%s-%u", v->data_dir, e->bus, e->partition);
        if (e->offset > 0 && !vfs_exists(v->env.vfs, dir) && strcmp(e->bus, OWN_TOPOLOGY) != 0 &&
            (!v->topology_known || find_bus(v, e->bus)))
            verify_partition(v, e->bus, e->partition);
        if (v->lost && v->topology_known && !find_bus(v, e->bus))
            lost_note(v->lost, e->bus, e->partition + 1);
    }
}

static int find_kept(void *ctx, const char *name, bool is_dir)
{
    *(bool *)ctx |= !is_dir && strstr(name, ".log.damaged-");
    return *(bool *)ctx;
}

/* Now, or when a repair was killed before it had come to the end. */
static bool topology_is_cut(struct verify *v)
{
    char dir[4600];
    bool kept = false;
    snprintf(dir, sizeof dir, "%s/" OWN_TOPOLOGY "-0", v->data_dir);
    vfs_list(v->env.vfs, dir, find_kept, &kept, NULL);
    return v->given_up || kept;
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
    char bus[256] = "";
    memcpy(bus, name, (size_t)(dash - name));
    if (strcmp(bus, OWN_TOPOLOGY) != 0)
        verify_partition(v, bus, (uint32_t)number);
    return 0;
}

/* One walk over everything. */
static beck_status walk(struct verify *v, beck_error *err)
{
    char path[4600];
    read_checkpoint(v, "recovery-point", &v->recovery);
    read_checkpoint(v, "log-start", &v->log_start);
    read_checkpoint(v, "cleaner", &v->cleaned);
    v->starts_known = upkeep_knows_starts(&v->log_start);
    beck_status status = note_unlisted(v, err);
    verify_partition(v, OWN_TOPOLOGY, 0);
    if (!v->repairing || !topology_is_cut(v))
        v->lost = NULL;
    read_topology(v);
    if (!status)
        status = vfs_list(v->env.vfs, v->data_dir, verify_entry, v, err);
    if (!status)
        verify_missing(v);
    snprintf(path, sizeof path, "%s/__queues", v->data_dir);
    vfs_list(v->env.vfs, path, count_queue, v, NULL);
    if (!status && v->lost) {
        struct env env = v->env;
        int64_t recovery = 0;
        env.report = ignore;
        env.read_only = true;
        checkpoint_get(&v->recovery, OWN_QUEUE_STATE, 0, &recovery);
        lost_note_queues(v->lost, &env, v->data_dir, recovery);
    }
    if (!status && v->repairing)
        status = vfs_sync_dir(v->env.vfs, v->data_dir, err);
    checkpoint_release(&v->recovery);
    checkpoint_release(&v->log_start);
    checkpoint_release(&v->cleaned);
    free(v->buses);
    return status;
}

/* Of a directory that cannot be written to, such as a mounted backup: it may be open elsewhere, but the one who has
 * it holds the lock for itself alone. *lock is NULL where there is no file to lock. */
static beck_status lock_unwritable(const char *path, struct file **lock, beck_error *err)
{
    beck_status status = vfs_open(vfs_posix(), path, 0, lock, err);
    if (status == BECK_ENOENT)
        *lock = NULL;
    if (status)
        return status == BECK_ENOENT ? BECK_OK : status;
    if (flock(file_descriptor(*lock), LOCK_SH | LOCK_NB) == 0)
        return BECK_OK;
    file_close(*lock);
    return error_set(err, BECK_EBUSY, "\"%s\" is locked: the data directory is in use", path);
}

static beck_status lock_directory(const char *data_dir, bool repair, struct file **lock,
                                  beck_error *err)
{
    struct vfs *vfs = vfs_posix();
    char path[4600], topology[4600];
    if (!data_dir || strlen(data_dir) > 3500)
        return error_set(err, BECK_EINVAL, "the path of the data directory is missing or too long");
    snprintf(topology, sizeof topology, "%s/" OWN_TOPOLOGY "-0", data_dir);
    snprintf(path, sizeof path, "%s/.lock", data_dir);
    /* It has the first once anything was made in it, and a copy may lack the second. */
    if (!vfs_exists(vfs, topology) && !vfs_exists(vfs, path))
        return error_set(err, BECK_ENOENT, "\"%s\" is no data directory of beck", data_dir);
    beck_status status;
    if (!repair && access(data_dir, W_OK) != 0 && (errno == EROFS || errno == EACCES))
        status = lock_unwritable(path, lock, err);
    else
        status = vfs_lock(vfs, path, lock, err);
    if (status == BECK_EBUSY && remote_listens(data_dir))
        return error_set(err, status,
                         "a server is running on \"%s\", and only a data directory that nobody "
                         "has open can be verified; stop it first",
                         data_dir);
    return status;
}

/* Opening takes the lock itself. */
static beck_status restore(struct verify *v, struct lost *lost, struct file **lock, beck_error *err)
{
    file_close(*lock);
    *lock = NULL;
    beck_status status = lost_restore(lost, v->data_dir, report_given_up, v, err);
    lost_release(lost);
    return status ? status : lock_directory(v->data_dir, true, lock, err);
}

static beck_status verify(const char *data_dir, bool repair,
                          void (*each)(void *ctx, const beck_error *fault), void *ctx,
                          beck_verify_info *out, beck_error *err)
{
    beck_verify_info info = {0};
    struct lost lost = {0};
    struct file *lock;
    beck_status status = lock_directory(data_dir, repair, &lock, err);
    if (status)
        return status;
    for (int pass = repair ? 0 : 1; pass < 2 && !status; pass++) {
        struct verify v = {.data_dir = data_dir,
                           .each = each,
                           .ctx = ctx,
                           .info = &info,
                           .repairing = pass == 0,
                           .lost = &lost};
        v.env = (struct env){.vfs = vfs_posix(),
                             .clock = clock_system(),
                             .report = report_fault,
                             .report_ctx = &v,
                             .read_only = pass == 1};
        info = (beck_verify_info){0};
        status = walk(&v, err);
        if (!status && lost.count > 0)
            status = restore(&v, &lost, &lock, err);
    }
    file_close(lock);
    lost_release(&lost);
    if (status)
        return status;
    if (out)
        *out = info;
    if (info.faults > 0)
        return error_set(err, BECK_ECORRUPT, "\"%s\" has %llu faults", data_dir,
                         (unsigned long long)info.faults);
    return BECK_OK;
}

beck_status beck_verify(const char *data_dir, void (*each)(void *ctx, const beck_error *fault),
                        void *ctx, beck_verify_info *out, beck_error *err)
{
    return verify(data_dir, false, each, ctx, out, err);
}

beck_status beck_repair(const char *data_dir, void (*each)(void *ctx, const beck_error *fault),
                        void *ctx, beck_verify_info *out, beck_error *err)
{
    return verify(data_dir, true, each, ctx, out, err);
}
