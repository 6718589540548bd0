/*
 * Opening a partition, with recovery, and closing it.
 *
 * Opening looks at file names only, except behind the recovery point: from there to the end every
 * batch is read, so the time it takes depends on what was written since the last checkpoint and not
 * on how much is stored. The newest producer snapshot is where the producers' state is rebuilt
 * from.
 */
#include "log/partition_impl.h"

#include "base/forks.h"
#include "log/cursor.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

ptrdiff_t partition_find_segment(const struct partition *p, int64_t offset)
{
    ptrdiff_t low = 0, high = (ptrdiff_t)p->segment_count;
    while (low < high) {
        ptrdiff_t middle = low + (high - low) / 2;
        if (p->segments[middle]->base_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return p->segment_count > 0 ? 0 : -1;
    return low - 1;
}

beck_status partition_write_snapshot(const struct partition *p, int64_t offset, beck_bytes snapshot,
                                     beck_error *err)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%020lld.snapshot", p->dir, (long long)offset);
    return vfs_write_file(p->env->vfs, path, snapshot, err);
}

/* ---- what is in the directory ---- */

struct listing {
    struct partition *p;
    int64_t *snapshots, *aborted;
    size_t snapshot_count, aborted_count; /* of files .snapshot and .txnindex */
    char (*leftovers)[64]; /* and indexes, which are left over when they have no log */
    size_t leftover_count;
    beck_status status;
};

static bool name_offset(const char *name, const char *suffix, int64_t *offset)
{
    beck_bytes digits = bytes_of(name, 20);
    uint64_t value;
    if (strlen(name) < 20 || strcmp(name + 20, suffix) != 0 || !bytes_to_u64(digits, &value) ||
        value > INT64_MAX)
        return false;
    *offset = (int64_t)value;
    return true;
}

static bool is_index(const char *name, int64_t *offset)
{
    return name_offset(name, ".index", offset) || name_offset(name, ".timeindex", offset) ||
           name_offset(name, ".txnindex", offset);
}

static bool is_leftover(const char *name)
{
    static const char *const suffixes[] = {".cleaned", ".deleted", ".swap", ".tmp"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t n = strlen(suffixes[i]);
        if (len > n && len < 64 && strcmp(name + len - n, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static beck_status add_offset(int64_t **list, size_t *count, int64_t offset)
{
    int64_t *grown = realloc(*list, (*count + 1) * sizeof *grown);
    if (!grown)
        return BECK_ENOMEM;
    *list = grown;
    grown[(*count)++] = offset;
    return BECK_OK;
}

static int list_entry(void *ctx, const char *name, bool is_dir)
{
    struct listing *l = ctx;
    int64_t offset;
    if (is_dir)
        return 0;
    if (name_offset(name, ".log", &offset)) {
        struct segment *s;
        l->status = segment_know(l->p->env, l->p->dir, offset, &s, NULL);
        if (!l->status && (l->status = partition_add_segment(l->p, s, NULL)))
            segment_free(s);
    } else if (name_offset(name, ".snapshot", &offset)) {
        l->status = add_offset(&l->snapshots, &l->snapshot_count, offset);
    } else if (is_leftover(name) || is_index(name, &offset)) {
        if (name_offset(name, ".txnindex", &offset))
            l->status = add_offset(&l->aborted, &l->aborted_count, offset);
        void *grown = realloc(l->leftovers, (l->leftover_count + 1) * sizeof *l->leftovers);
        if (!grown)
            return l->status = BECK_ENOMEM;
        l->leftovers = grown;
        snprintf(l->leftovers[l->leftover_count++], sizeof *l->leftovers, "%s", name);
    }
    return l->status;
}

static int by_base(const void *a, const void *b)
{
    const struct segment *const *x = a, *const *y = b;
    return ((*x)->base_offset > (*y)->base_offset) - ((*x)->base_offset < (*y)->base_offset);
}

/* Whether the name is that of an index whose log is there. */
static bool has_log(const struct partition *p, const char *name)
{
    int64_t offset;
    if (!is_index(name, &offset))
        return false;
    ptrdiff_t i = partition_find_segment(p, offset);
    return i >= 0 && p->segments[i]->base_offset == offset;
}

static beck_status list_directory(struct partition *p, struct listing *l, beck_error *err)
{
    beck_status status = vfs_list(p->env->vfs, p->dir, list_entry, l, err);
    if (!status && l->status)
        status = error_set(err, l->status, "no memory to open \"%s\"", p->dir);
    if (status)
        return status;
    if (p->segment_count > 0)
        qsort(p->segments, p->segment_count, sizeof(struct segment *), by_base);
    for (size_t i = 0; i < l->leftover_count && !p->env->read_only; i++) {
        char path[4200];
        if (has_log(p, l->leftovers[i]))
            continue;
        snprintf(path, sizeof path, "%s/%s", p->dir, l->leftovers[i]);
        vfs_unlink(p->env->vfs, path, NULL);
    }
    return BECK_OK;
}

/* ---- recovery ---- */

struct recovery {
    struct partition *p;
    int64_t from; /* the producers' state is that of all below */
};

static int recovered_batch(void *ctx, const struct batch_header *h, const uint8_t *batch)
{
    struct recovery *r = ctx;
    return h->base_offset >= r->from ? partition_note_producer(r->p, h, batch) : 0;
}

/* Loads the newest snapshot that reads well. *from: what it covers, or -1: there is none, no producer was known
 * when the recovery point was given out. */
static void load_snapshot(struct partition *p, const struct listing *l, int64_t *from)
{
    *from = -1;
    for (;;) {
        int64_t best = -1;
        for (size_t i = 0; i < l->snapshot_count; i++)
            if (l->snapshots[i] > best)
                best = l->snapshots[i];
        if (best < 0)
            return;
        char path[4200];
        struct buf file;
        beck_error why = {0};
        buf_init(&file, 64u << 20);
        snprintf(path, sizeof path, "%s/%020lld.snapshot", p->dir, (long long)best);
        beck_status status = vfs_read_file(p->env->vfs, path, file.max, &file, &why);
        if (!status)
            status = producers_snapshot_read(p->producers, buf_bytes(&file), &why);
        buf_release(&file);
        if (!status) {
            *from = best;
            return;
        }
        env_report(p->env, status, "\"%s\" is ignored: %s; an older one is used", path, why.text);
        for (size_t i = 0; i < l->snapshot_count; i++)
            if (l->snapshots[i] == best)
                l->snapshots[i] = -1;
    }
}

/* Reads every batch from an offset on. */
static beck_status scan(struct partition *p, int64_t from, int64_t recovery_point,
                        struct recovery *r, beck_error *err)
{
    ptrdiff_t first = partition_find_segment(p, from);
    for (size_t i = (size_t)first; i < p->segment_count; i++) {
        struct segment *s = p->segments[i];
        bool last = i + 1 == p->segment_count;
        beck_status status = segment_use(s, err);
        if (status)
            return status;
        int64_t position = 0;
        /* To a batch below it, whose entry is on the device. */
        if (from > s->base_offset)
            status = segment_seek_offset(s, VFS_WAITING, from - 1, &position, err);
        if (!status)
            status = segment_recover(s, position, recovery_point, last, recovered_batch, r, err);
        if (!status && !last && s->next_offset > p->segments[i + 1]->base_offset)
            status = error_set(err, BECK_ECORRUPT,
                               "segments %lld and %lld of \"%s\" overlap; restore the directory "
                               "from a backup",
                               (long long)s->base_offset,
                               (long long)p->segments[i + 1]->base_offset, p->dir);
        if (!last) {
            if (!status && !p->env->read_only)
                status = segment_seal(s, err);
            segment_unuse(s); /* the last one stays in use: it is the active one */
        }
        if (status)
            return status;
    }
    return BECK_OK;
}

static beck_status forget_producers(struct partition *p, beck_error *err)
{
    producers_free(p->producers);
    p->producers = producers_new();
    return p->producers ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for a partition");
}

/* What snapshots and the log say of producers and transactions. */
static beck_status recover_from(struct partition *p, const struct listing *l,
                                int64_t recovery_point, struct recovery *r, beck_error *err)
{
    bool whole;
    load_snapshot(p, l, &r->from);
    int64_t from = r->from >= 0 && r->from < recovery_point ? r->from : recovery_point;
    beck_status status = partition_load_aborted(
        p, l->aborted, l->aborted_count, r->from >= 0 ? r->from : recovery_point, &whole, err);
    if (!status && !whole) {
        env_report(p->env, BECK_ECORRUPT,
                   "an index of aborted transactions of \"%s\" is damaged; all of the partition is "
                   "read to make it again",
                   p->dir);
        r->from = -1;
        from = p->segments[0]->base_offset;
        status = forget_producers(p, err);
    }
    if (!status)
        status = scan(p, from, recovery_point, r, err);
    if (!status && !whole && !p->env->read_only)
        status = partition_restore_aborted(p, err);
    return status;
}

/* Snapshots that know batches which are gone: once others stand in their place they would be believed. */
static beck_status forget_snapshots_beyond(const struct partition *p, const struct listing *l,
                                           int64_t end, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < l->snapshot_count && !status; i++) {
        char path[4200];
        if (l->snapshots[i] <= end)
            continue;
        snprintf(path, sizeof path, "%s/%020lld.snapshot", p->dir, (long long)l->snapshots[i]);
        if (!p->env->read_only)
            status = vfs_unlink(p->env->vfs, path, err);
        l->snapshots[i] = -1;
    }
    if (!status && !p->env->read_only)
        status = vfs_sync_dir(p->env->vfs, p->dir, err);
    return status;
}

static beck_status recover(struct partition *p, const struct listing *l, int64_t recovery_point,
                           beck_error *err)
{
    struct segment *active = p->segments[p->segment_count - 1];
    struct recovery r = {.p = p};
    beck_status status = recover_from(p, l, recovery_point, &r, err);
    while (!status && r.from > active->next_offset) {
        /* It knows batches that are gone: the log was cut, by hand or because they were damaged. */
        segment_unuse(active);
        status = forget_snapshots_beyond(p, l, active->next_offset, err);
        if (!status)
            status = forget_producers(p, err);
        if (!status)
            status = recover_from(p, l, recovery_point, &r, err);
    }
    return status;
}

/* Fills the memory of ids from the log. */
static beck_status fill_dedup(struct partition *p, beck_error *err)
{
    int64_t now_ms = clock_wall_ms(p->env->clock), offset;
    beck_from from = {.kind = BECK_FROM_TIME, .time_ms = now_ms - p->options.bus.dedup_window_ms};
    struct cursor *c = NULL;
    beck_status status = partition_resolve(p, &from, &offset, err);
    if (!status)
        status = cursor_open(p, &c, err);
    while (!status) {
        const struct record_view *v;
        int64_t skip_to;
        status = cursor_read(c, offset, false, &v, &skip_to, err);
        if (status == BECK_ECORRUPT) {
            offset = skip_to;
            status = BECK_OK;
            continue;
        }
        if (status)
            break;
        /* A derived id is the record's own place, which nobody can publish again. */
        if (v->event.id.data != v->id)
            status = dedup_add(p->dedup, v->event.source, v->event.id, v->timestamp_ms, v->offset);
        offset = v->offset + 1;
    }
    cursor_close(c);
    return status == BECK_END ? BECK_OK : status;
}

/* ---- opening ---- */

/* Nothing was ever written to it. */
static beck_status know_unmade(struct partition *p, beck_error *err)
{
    struct segment *s;
    beck_status status = segment_know(p->env, p->dir, 0, &s, err);
    if (status)
        return status;
    s->unmade = true;
    status = partition_add_segment(p, s, err);
    if (status)
        segment_free(s);
    p->dormant = !status;
    return status;
}

/* A crash while a segment was being replaced leaves it without indexes. When they cannot be made,
 * searching takes longer, and that is all. */
static void make_missing_indexes(struct partition *p)
{
    for (size_t i = 0; i + 1 < p->segment_count; i++) {
        struct segment *s = p->segments[i];
        beck_error why;
        if (s->checked || !segment_lacks_index(s) || segment_use(s, NULL))
            continue;
        beck_status status = segment_reindex(s, &why);
        if (status)
            env_report(p->env, status, "the indexes of segment %lld of \"%s\" cannot be made: %s",
                       (long long)s->base_offset, p->dir, why.text);
        segment_unuse(s);
    }
}

static beck_status open_disk(struct partition *p, int64_t recovery_point, int64_t log_start,
                             beck_error *err)
{
    struct listing l = {.p = p};
    beck_error why;
    beck_status status = list_directory(p, &l, &why);
    /* Only what is certainly not there may be made. */
    if (status == BECK_ENOENT)
        status = BECK_OK;
    else if (status)
        error_set(err, status, "%s", why.text);
    if (!status && p->segment_count == 0) {
        if (recovery_point > 0)
            status = error_set(
                err, BECK_ECORRUPT,
                "\"%s\" holds no segment, but %lld events had been synced there; " PARTITION_REMEDY,
                p->dir, (long long)recovery_point);
        else
            status = know_unmade(p, err);
    } else if (!status) {
        status = recover(p, &l, recovery_point, err);
    }
    p->has_snapshots = l.snapshot_count > 0;
    free(l.snapshots);
    free(l.aborted);
    free(l.leftovers);
    if (status)
        return status;
    struct segment *active = p->segments[p->segment_count - 1];
    p->next = p->written = p->synced = active->next_offset;
    p->checkpointed = recovery_point;
    p->first = p->segments[0]->base_offset;
    if (log_start > p->first)
        p->first = log_start < p->next ? log_start : p->next;
    if (p->env->read_only)
        return BECK_OK;
    partition_choose_id(p);
    if (active->unmade)
        return BECK_OK;
    status = partition_write_id(p, p->id, err);
    if (status)
        return status;
    /* What recovery kept may not have been on the device yet, and the names of segments neither, nor its own before the
     * first recovery point: it counts as synced from now on. Nothing behind the recovery point: nothing to do, except
     * that the names of an empty segment and of its directory may be new. */
    p->dir_dirty = atomic_load(&active->size) == 0;
    p->name =
        recovery_point == 0 ? dirnames_found(committer_dirnames(p->env->committer)) : NAME_SYNCED;
    if (p->next > recovery_point) {
        atomic_store(&active->dirty, true);
        status = segment_sync(active, err);
        if (!status)
            status = partition_sync_names(p, true, p->name, err);
        p->dir_dirty = status != BECK_OK;
        if (!status)
            p->name = NAME_SYNCED;
    }
    make_missing_indexes(p);
    if (!status) {
        mutex_lock(&p->lock);
        partition_doze(p);
        mutex_unlock(&p->lock);
    }
    return status;
}

/* Its files are left as they are: what is known of it is where it begins, and that it did not end before what the
 * checkpoint and the names of segments say. */
static beck_status be_damaged(struct partition *p, int64_t recovery_point, int64_t log_start,
                              const beck_error *why, beck_error *err)
{
    int64_t end = recovery_point > log_start ? recovery_point : log_start;
    for (; p->segment_count > 0; p->segment_count--) {
        struct segment *s = p->segments[p->segment_count - 1];
        if (s->base_offset > end)
            end = s->base_offset;
        segment_free(s);
    }
    txn_index_release(&p->aborted);
    p->damage = strdup(why->text);
    if (!p->damage)
        return error_set(err, BECK_ENOMEM, "no memory for a partition");
    beck_status status = forget_producers(p, err);
    if (!status)
        status = know_unmade(p, err);
    p->poisoned = true;
    p->checkpointed = recovery_point;
    p->first = log_start;
    p->next = p->written = p->synced = end;
    env_report(p->env, BECK_ECORRUPT,
               "%s; until then partition %u of bus \"%s\" takes and gives nothing", why->text,
               p->context.partition, p->bus);
    return status;
}

void partition_check_start(struct partition *p, int64_t log_start)
{
    if (p->options.memory || p->segments[0]->unmade)
        return;
    int64_t begin = p->segments[0]->base_offset;
    mutex_lock(&p->lock);
    bool missing = log_start < begin && !p->gaps && !p->options.bus.compact && begin > p->cleaned;
    if (missing) {
        p->first = log_start;
        atomic_store(&p->first_seen, log_start);
    }
    mutex_unlock(&p->lock);
    if (missing)
        env_report(p->env, BECK_ECORRUPT,
                   "\"%s\": events %lld to %lld are missing; " PARTITION_REMEDY, p->dir,
                   (long long)log_start, (long long)begin - 1);
}

void partition_allow_gaps(struct partition *p, bool allowed)
{
    mutex_lock(&p->lock);
    p->gaps = allowed;
    mutex_unlock(&p->lock);
}

static void free_all(struct partition *p)
{
    for (size_t i = 0; i < p->segment_count; i++)
        segment_free(p->segments[i]);
    tail_release(&p->tail);
    while (p->free_gathers || p->gather) {
        struct gather *g = p->gather ? p->gather : p->free_gathers;
        if (g == p->gather)
            p->gather = NULL;
        else
            p->free_gathers = g->next_free;
        gather_free(g);
    }
    file_close(p->prepared);
    free(p->segments);
    free(p->held);
    free(p->held_batches);
    txn_index_release(&p->aborted);
    codec_release(&p->codec);
    buf_release(&p->scratch);
    producers_free(p->producers);
    dedup_free(p->dedup);
    cond_release(&p->changed);
    mutex_release(&p->lock);
    free(p->damage);
    free(p->dir);
    free(p->bus);
    free(p);
}

beck_status partition_open(const struct env *env, const char *dir, const char *bus, uint32_t number,
                           const struct partition_options *options, int64_t recovery_point,
                           int64_t log_start, struct partition **out, beck_error *err)
{
    struct partition *p = calloc(1, sizeof *p);
    if (!p)
        return error_set(err, BECK_ENOMEM, "no memory for a partition");
    atomic_init(&p->refs, 1);
    p->env = env;
    p->options = *options;
    p->forks = forks_count();
    p->horizon_ms = INT64_MAX;
    p->rules.compact_share = -1;
    p->start_kept = INT64_MAX;
    mutex_init(&p->lock);
    tail_init(&p->tail, options->memory, p->env->blocks);
    cond_init(&p->changed);
    codec_init(&p->codec);
    buf_init(&p->scratch, GATHER_BYTES_MAX + (GATHER_BYTES_MAX >> 2));
    p->bus = strdup(bus);
    p->dir = strdup(dir ? dir : "");
    p->producers = producers_new();
    p->gather = gather_get(p);
    if (options->bus.dedup_window_ms > 0)
        p->dedup = dedup_new(options->bus.dedup_window_ms);
    beck_status status = BECK_OK;
    if (!p->bus || !p->dir || !p->producers || !p->gather ||
        (options->bus.dedup_window_ms > 0 && !p->dedup))
        status = error_set(err, BECK_ENOMEM, "no memory for a partition");
    if (p->bus)
        record_context_init(&p->context, beck_str(p->bus), number);
    if (!status && !options->memory) {
        beck_error why = {0};
        status = open_disk(p, recovery_point, log_start, &why);
        if (status == BECK_ECORRUPT && options->damaged_too)
            status = be_damaged(p, recovery_point, log_start, &why, err);
        else if (status)
            error_set(err, status, "%s", why.text);
    }
    if (!status) {
        p->synced_oldest = producers_oldest(p->producers);
        atomic_store(&p->first_seen, p->first);
        partition_move_visible(p);
        if (p->dedup && !options->memory && !p->damage)
            status = fill_dedup(p, err);
    }
    if (status) {
        free_all(p);
        return status;
    }
    *out = p;
    return BECK_OK;
}

/* ---- closing ---- */

void partition_abandon(struct partition *p)
{
    if (!p)
        return;
    if (p->env->committer && !p->options.memory)
        committer_forget(p->env->committer, p);
    partition_give_back_held(p);
    partition_unref(p);
}

void partition_unref(struct partition *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free_all(p);
}

beck_status partition_close(struct partition *p, beck_error *err)
{
    if (!p)
        return BECK_OK;
    beck_status status = BECK_OK;
    if (!p->options.memory && !p->env->read_only && !p->damage) {
        status = partition_sync(p, err);
        mutex_lock(&p->lock);
        struct segment *active = p->segments[p->segment_count - 1];
        if (!status && (active->unsealed || active->unsure))
            status = partition_rouse(p, err);
        /* Whoever else reads the files finds batches only. An opening would cut the rest as well. */
        if (!status && segment_trim(active, NULL) == BECK_OK)
            segment_sync(active, NULL);
        if (!status)
            status = segment_seal(active, err);
        if (!status)
            status = partition_save_aborted(p, err);
        struct buf snapshot;
        buf_init(&snapshot, SNAPSHOT_BYTES);
        bool known = producers_count(p->producers) > 0;
        if (!status && known && producers_snapshot_write(p->producers, &snapshot))
            status = error_set(err, BECK_ENOMEM, "no memory for a producer snapshot");
        mutex_unlock(&p->lock);
        if (!status && known)
            status = partition_write_snapshot(p, p->written, buf_bytes(&snapshot), err);
        buf_release(&snapshot);
    }
    partition_abandon(p);
    return status;
}
