/* Opening and closing a handle, and what hangs off it: see handle.h. */
#include "api/handle.h"

#include "bus/own_bus.h"
#include "log/block.h"
#include "log/committer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECKPOINT_MS 5000
#define MAINTAIN_MS 10000
#define OWN_SEGMENT_BYTES (32 << 20)
#define TRACE_BYTES (64 << 20)

static void report(void *ctx, const beck_error *error)
{
    beck *b = ctx;
    if (b->on_error)
        b->on_error(b->on_error_ctx, error);
}

/* ---- buses and queues by name ---- */

beck *handle_of(const beck_bus *bus)
{
    if (bus->remote)
        return remote_owner(bus->remote);
    char *home = bus->routing.ctx;
    return (beck *)(void *)(home - offsetof(struct beck, home));
}

static int compare_names(const char *a, const char *b)
{
    bool own_a = own_bus_is_name(a), own_b = own_bus_is_name(b);
    return own_a != own_b ? own_a - own_b : strcmp(a, b);
}

beck_bus *handle_find_bus(const beck *b, const char *name)
{
    for (size_t i = 0; i < b->bus_count; i++)
        if (strcmp(b->buses[i]->name, name) == 0)
            return b->buses[i];
    return NULL;
}

/* Where the queue is, or would be. */
static size_t queue_place(const beck *b, const char *name)
{
    size_t low = 0, high = b->queue_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(queue_name(b->queues[middle]), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct queue *handle_find_queue(const beck *b, const char *name)
{
    size_t at = queue_place(b, name);
    bool found = at < b->queue_count && strcmp(queue_name(b->queues[at]), name) == 0;
    return found ? b->queues[at] : NULL;
}

beck_status handle_need_queues(const beck *b, beck_error *err)
{
    if (handle_need(b, "handle", err))
        return BECK_EINVAL;
    if (!b->read_only)
        return BECK_OK;
    return error_set(err, BECK_EUNSUPPORTED,
                     "queues cannot be used while the data directory is open for reading only");
}

beck_status handle_need_bus(const beck *b, const char *name, beck_bus **out, beck_error *err)
{
    *out = name ? handle_find_bus(b, name) : NULL;
    if (*out)
        return BECK_OK;
    return error_set(err, BECK_ENOENT, "there is no bus \"%.260s\"", name ? name : "");
}

beck_status handle_need_queue(const beck *b, const char *name, struct queue **out, beck_error *err)
{
    *out = name ? handle_find_queue(b, name) : NULL;
    if (*out)
        return BECK_OK;
    return error_set(err, BECK_ENOENT, "there is no queue \"%.260s\"", name ? name : "");
}

beck_status handle_look_at_queue(beck *b, const char *name, struct queue **out, beck_error *err)
{
    *out = NULL;
    beck_status status = handle_need_queues(b, err);
    if (status)
        return status;
    mutex_lock(&b->admin_lock);
    status = handle_need_queue(b, name, out, err);
    if (!status)
        queue_retain(*out);
    mutex_unlock(&b->admin_lock);
    return status;
}

beck_status handle_get_queue(beck *b, const char *name, struct queue **out, beck_error *err)
{
    beck_status status = handle_look_at_queue(b, name, out, err);
    if (!status && (status = queue_check_known(*out, err))) {
        queue_release(*out);
        *out = NULL;
    }
    return status;
}

size_t handle_count_partitions(const beck *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->bus_count; i++)
        n += b->buses[i]->opened_count;
    for (size_t i = 0; i < b->deleted_count; i++)
        n += b->deleted[i]->opened_count;
    return n;
}

/* What checkpoints say of it besides the recovery point. */
static void resume_partition(beck *b, beck_bus *bus, uint32_t number)
{
    struct partition *p = bus_partition(bus, number);
    int64_t cleaned, start = 0;
    if (checkpoint_get(&b->cleaned, bus->name, number, &cleaned))
        partition_resume_cleaning(p, cleaned);
    if (bus->gaps)
        partition_allow_gaps(p, true);
    checkpoint_get(&b->log_start, bus->name, number, &start);
    if (b->starts_known)
        partition_check_start(p, start);
    if (b->data_dir)
        partition_keep_start(p, start);
}

beck_status handle_add_bus(beck *b, const char *name, const beck_bus_options *options,
                           const uint8_t *id, bool gaps, beck_bus **out, beck_error *err)
{
    struct bus_routing routing = {queue_admit, queue_routed, &b->home, queue_route_number,
                                  queue_route_release};
    beck_bus **grown = realloc(b->buses, (b->bus_count + 1) * sizeof(beck_bus *));
    if (!grown)
        return error_set(err, BECK_ENOMEM, "no memory for bus \"%s\"", name);
    b->buses = grown;
    beck_status status = BECK_OK;
    if (b->env.committer)
        status = committer_reserve(b->env.committer,
                                   handle_count_partitions(b) + options->partitions, err);
    beck_bus *bus;
    if (!status)
        status = bus_open(&b->env, b->callers, &routing, b->data_dir, name, options, id,
                          &b->recovery, &b->log_start, &bus, err);
    if (status)
        return status;
    bus->gaps = gaps;
    for (uint32_t i = 0; i < bus->partition_count; i++)
        resume_partition(b, bus, i);
    size_t at = b->bus_count++;
    for (; at > 0 && compare_names(name, b->buses[at - 1]->name) < 0; at--)
        b->buses[at] = b->buses[at - 1];
    b->buses[at] = bus;
    *out = bus;
    return BECK_OK;
}

void handle_drop_bus(beck *b, beck_bus *bus)
{
    size_t at = 0;
    while (b->buses[at] != bus)
        at++;
    b->bus_count--;
    memmove(b->buses + at, b->buses + at + 1, (b->bus_count - at) * sizeof(beck_bus *));
    bus_remove_metrics(bus);
    bus_abandon(bus);
    bus_close(bus, NULL);
}

beck_status handle_add_queue(beck *b, const char *name, const beck_queue_options *options,
                             struct queue **out, beck_error *err)
{
    struct queue *q;
    struct queue **grown = realloc(b->queues, (b->queue_count + 1) * sizeof(struct queue *));
    if (!grown)
        return error_set(err, BECK_ENOMEM, "no memory for queue \"%s\"", name);
    b->queues = grown;
    beck_status status = queue_new(&b->home, name, options, &q, err);
    if (status)
        return status;
    size_t at = queue_place(b, name);
    memmove(b->queues + at + 1, b->queues + at, (b->queue_count++ - at) * sizeof(struct queue *));
    b->queues[at] = q;
    *out = q;
    return BECK_OK;
}

void handle_drop_queue(beck *b, struct queue *q)
{
    size_t at = queue_place(b, queue_name(q));
    assert(b->queues[at] == q);
    b->queue_count--;
    memmove(b->queues + at, b->queues + at + 1, (b->queue_count - at) * sizeof(struct queue *));
    queue_purge_memory(q);
    queue_delete(q);
    queue_release(q);
}

/* ---- opening ---- */

static beck_status open_own_bus(beck *b, const char *name, beck_bus **out, beck_error *err)
{
    beck_bus_options o = {.segment_bytes = OWN_SEGMENT_BYTES,
                          .event_bytes_max = 64u << 20,
                          .compact = own_bus_find(name)->compact};
    beck_status status = bus_options_check(&o, b->data_dir != NULL, err);
    return status ? status : handle_add_bus(b, name, &o, NULL, false, out, err);
}

/* Without it nobody knows what files are whose: nothing is opened. */
static beck_status open_topology(beck *b, beck_error *err)
{
    beck_error why;
    beck_status status = open_own_bus(b, OWN_TOPOLOGY, &b->topology, &why);
    if (status == BECK_ECORRUPT)
        return error_set(err, status,
                         "what buses and queues there are cannot be read: %s --data '%s'", why.text,
                         b->data_dir);
    return status ? error_set(err, status, "%s", why.text) : BECK_OK;
}

static bool holds_topology(const beck *b)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/" OWN_TOPOLOGY "-0", b->data_dir);
    return vfs_exists(b->env.vfs, path);
}

static beck_status prepare_directory(beck *b, beck_error *err)
{
    char path[4200];
    struct vfs *v = b->env.vfs;
    beck_status status = BECK_OK;
    if (!b->data_dir[0])
        return error_set(err, BECK_EINVAL,
                         "the path of the data directory is empty; use \".\" for the current one");
    if (strlen(b->data_dir) > 3500)
        return error_set(err, BECK_EINVAL, "the path of the data directory is too long");
    if (!b->read_only) {
        status = vfs_mkdir(v, b->data_dir, err);
        bool fresh = !status || (status == BECK_EEXIST && !holds_topology(b));
        if (status == BECK_EEXIST)
            status = BECK_OK;
        /* Also when an earlier opening came no further than making it. */
        if (!status && fresh) {
            char parent[4200];
            snprintf(parent, sizeof parent, "%s", b->data_dir);
            char *slash = strrchr(parent, '/');
            if (slash == parent)
                slash++;
            if (slash)
                *slash = 0;
            status = vfs_sync_dir(v, slash ? parent : ".", err);
        }
        snprintf(path, sizeof path, "%s/.lock", b->data_dir);
        if (!status)
            status = vfs_lock(v, path, &b->lock_file, err);
    }
    struct checkpoint *checkpoints[] = {&b->recovery, &b->log_start, &b->cleaned};
    for (int i = 0; i < 3 && !status; i++) {
        upkeep_checkpoint_path(b, checkpoints[i], path, sizeof path);
        beck_error why = {0};
        status = checkpoint_read(v, path, checkpoints[i], &why);
        /* How far compaction has come can be found out again. */
        if (status == BECK_ECORRUPT && checkpoints[i] == &b->cleaned) {
            report(b, &why);
            status = BECK_OK;
        }
        if (status)
            error_set(err, status, "%s", why.text);
    }
    b->starts_known = !b->read_only && upkeep_knows_starts(&b->log_start);
    return status;
}

static struct queue *find_queue(void *ctx, beck_bytes name)
{
    char text[256];
    if (name.len >= sizeof text)
        return NULL;
    memcpy(text, name.data, name.len);
    text[name.len] = 0;
    return handle_find_queue(ctx, text);
}

static beck_bus *find_bus(void *ctx, const char *name)
{
    return handle_find_bus(ctx, name);
}

static beck_status open_disk(beck *b, beck_error *err)
{
    beck_status status = prepare_directory(b, err);
    if (!status && b->read_only && !holds_topology(b))
        status = error_set(err, BECK_ENOENT, "\"%s\" is no data directory of beck", b->data_dir);
    if (!status)
        status = open_topology(b, err);
    if (!status)
        status = open_own_bus(b, OWN_DEAD_LETTERS, &b->home.dead, err);
    if (!status && !b->read_only)
        status = open_own_bus(b, OWN_QUEUE_STATE, &b->home.state, err);
    if (!status && !b->read_only) {
        partition_keep_hidden(bus_partition(b->home.state, 0), b->trace_bytes);
        partition_keep_hidden(bus_partition(b->home.dead, 0), b->trace_bytes);
    }
    if (!status)
        status = topology_load(b, err);
    if (status || b->read_only)
        return status;
    if (!queues_damage(&b->home))
        status = queues_recover(&b->home, find_queue, find_bus, b, b->queues, b->queue_count, err);
    if (status)
        return status;
    /* A full disk is opened all the same: what is there can be read, and taken. */
    beck_error why = {0};
    upkeep_complain(b, UPKEEP_CHECKPOINT, upkeep_checkpoint(b, &why), &why);
    return upkeep_start(b, err);
}

/* The engine here, or a server that owns the directory. An inspection asks the server first, which
 * knows more than its files show. */
static beck_status open_or_connect(beck *b, const beck_options *o, beck_error *err)
{
    if (o->connect && o->read_only &&
        !remote_open(b->data_dir, b, &b->env, b->callers, &b->remote, NULL))
        return BECK_OK;
    beck_error why;
    beck_status status = open_disk(b, &why);
    if (status == BECK_EBUSY && o->connect) {
        beck_error no_server;
        status = remote_open(b->data_dir, b, &b->env, b->callers, &b->remote, &no_server);
        if (status == BECK_ENOENT)
            status = BECK_EBUSY;
        else if (status)
            why = no_server;
    }
    return status ? error_set(err, status, "%s", why.text) : BECK_OK;
}

static void free_handle(beck *b)
{
    remote_close(b->remote);
    upkeep_forget_due(b);
    committer_free(b->env.committer); /* completions that are left know their thread's slot */
    callers_free(b->callers);
    for (size_t i = 0; i < b->queue_count; i++) {
        /* The routes went with their buses; each was a reference. */
        for (uint32_t n = queue_binding_count(b->queues[i]); n > 0; n--)
            queue_release(b->queues[i]);
        queue_release(b->queues[i]);
    }
    metrics_free(b->env.metrics);
    block_pool_close(b->env.blocks);
    checkpoint_release(&b->recovery);
    checkpoint_release(&b->log_start);
    checkpoint_release(&b->cleaned);
    file_close(b->lock_file);
    mutex_release(&b->admin_lock);
    mutex_release(&b->made_lock);
    mutex_release(&b->timer_lock);
    mutex_release(&b->trace_lock);
    mutex_release(&b->upkeep_lock);
    mutex_release(&b->home.lock);
    cond_release(&b->timer_wake);
    free(b->buses);
    free(b->deleted);
    free(b->queues);
    free(b->workers);
    free(b->data_dir);
    free(b);
}

static beck_status begin_handle(beck *b, const beck_options *o, beck_error *err)
{
    beck_status status = BECK_OK;
    if (o->data_dir) {
        b->data_dir = strdup(o->data_dir);
        /* "dir/" is "dir" */
        size_t len = b->data_dir ? strlen(b->data_dir) : 0;
        while (len > 1 && b->data_dir[len - 1] == '/')
            b->data_dir[--len] = 0;
    }
    b->env.metrics = metrics_new();
    b->env.blocks = block_pool_new();
    if (!b->env.metrics || !b->env.blocks || (o->data_dir && !b->data_dir))
        status = error_set(err, BECK_ENOMEM, "no memory for a handle");
    if (!status)
        status = callers_new(&b->callers, err);
    if (!status && o->data_dir && !o->read_only)
        status = committer_new(o->sync_interval_ms, b->env.metrics, &b->env.committer, err);
    b->home.env = &b->env;
    b->home.due = upkeep_due;
    b->home.due_ctx = b;
    b->home.callers = b->callers;
    b->home.data_dir = b->data_dir;
    return status;
}

beck_status beck_open_env(beck **out, const beck_options *options, struct vfs *vfs,
                          struct clock *clock, beck_error *err)
{
    static const beck_options defaults;
    const beck_options *o = options ? options : &defaults;
    beck *b = calloc(1, sizeof *b);
    if (!b)
        return error_set(err, BECK_ENOMEM, "no memory for a handle");
    b->env = (struct env){
        .vfs = vfs, .clock = clock, .report = report, .report_ctx = b, .read_only = o->read_only};
    b->on_error = o->on_error;
    b->on_error_ctx = o->on_error_ctx;
    b->read_only = o->read_only;
    b->process = getpid();
    b->checkpoint_ms = o->checkpoint_ms ? o->checkpoint_ms : CHECKPOINT_MS;
    atomic_init(&b->maintain_ms, MAINTAIN_MS);
    b->trace_bytes = o->trace_bytes ? o->trace_bytes : TRACE_BYTES;
    mutex_init(&b->admin_lock);
    mutex_init(&b->made_lock);
    mutex_init(&b->timer_lock);
    mutex_init(&b->trace_lock);
    mutex_init(&b->upkeep_lock);
    mutex_init(&b->home.lock);
    cond_init(&b->timer_wake);
    checkpoint_init(&b->recovery);
    checkpoint_init(&b->log_start);
    checkpoint_init(&b->cleaned);
    beck_status status = begin_handle(b, o, err);
    if (!status && b->data_dir)
        status = open_or_connect(b, o, err);
    else if (!status)
        status = open_own_bus(b, OWN_DEAD_LETTERS, &b->home.dead, err);
    if (status) {
        beck_abandon(b);
        return status;
    }
    *out = b;
    return BECK_OK;
}

beck_status beck_open(beck **out, const beck_options *options, beck_error *err)
{
    return beck_open_env(out, options, vfs_posix(), clock_system(), err);
}

bool beck_is_connected(const beck *b)
{
    return b && b->remote;
}

/* ---- closing ---- */

static void stop_workers(beck *b)
{
    for (;;) {
        mutex_lock(&b->admin_lock);
        beck_workers *w = b->worker_count > 0 ? b->workers[--b->worker_count] : NULL;
        mutex_unlock(&b->admin_lock);
        if (!w)
            return;
        workers_stop(w);
    }
}

static void close_buses(beck *b, bool write)
{
    for (size_t i = 0; i < b->deleted_count; i++) {
        bus_abandon(b->deleted[i]);
        bus_close(b->deleted[i], NULL);
    }
    for (size_t i = 0; i < b->bus_count; i++) {
        beck_error why = {0};
        if (!write)
            bus_abandon(b->buses[i]);
        upkeep_complain(b, UPKEEP_CLOSE, bus_close(b->buses[i], &why), &why);
    }
    b->bus_count = b->deleted_count = 0;
}

void beck_abandon(beck *b)
{
    upkeep_stop(b);
    readers_close(b);
    consumers_close(&b->home, false);
    close_buses(b, false);
    free_handle(b);
}

void beck_close(beck *b)
{
    /* In a child its threads are missing, and its files are the parent's. */
    if (!b || b->process != getpid())
        return;
    stop_workers(b);
    upkeep_stop(b);
    readers_close(b);
    consumers_close(&b->home, true);
    bool write = b->data_dir && !b->read_only && !b->remote;
    beck_error why = {0};
    if (write)
        upkeep_complain(b, UPKEEP_MAINTAIN, upkeep_maintain_closing(b, &why), &why);
    for (size_t i = 0; write && i < b->queue_count; i++)
        queue_closing(b->queues[i]);
    if (write)
        upkeep_complain(b, UPKEEP_CHECKPOINT, upkeep_checkpoint(b, &why), &why);
    close_buses(b, write);
    free_handle(b);
}
