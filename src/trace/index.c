/* The index of traces: see index.h for what is stored. Entries are gathered in memory, sorted and
 * written in one transaction with the progress, so that they agree after any crash. */
#include "trace/index.h"
#include "base/error.h"
#include "log/cursor.h"
#include <assert.h>
#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define VOLUMES_MAX 1024
#define VOLUME_ENTRIES (8u << 20)
#define GATHER_MAX 65536
#define MAP_FIRST ((size_t)16 << 20)
#define MAP_MAX ((size_t)1 << 44)
#define PLACE_SIZE 12

struct item {
    uint64_t hash;
    uint8_t place[PLACE_SIZE]; /* source u32, offset i64 */
};

struct trace_index {
    char *dir;
    MDB_env *env;
    MDB_dbi sources, progress, volumes;
    struct item *gathered; /* GATHER_MAX */
    size_t count;
};

/* FNV-1a: stored, so it must stay what it is. Whoever makes collisions only has candidates read. */
static uint64_t hash_of(beck_bytes text)
{
    const uint8_t *p = text.data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static beck_status fail(const struct trace_index *t, int rc, beck_error *err)
{
    beck_status status = rc == ENOMEM ? BECK_ENOMEM : rc == ENOSPC ? BECK_EFULL : BECK_EIO;
    return error_set(err, status,
                     "the index of traces in \"%s\" cannot be used: %s; it may be deleted, it is "
                     "made again from the log",
                     t->dir, mdb_strerror(rc));
}

static MDB_val number_val(const uint32_t *number)
{
    return (MDB_val){sizeof *number, (void *)number};
}

/* ---- opening ---- */

static int open_tables(struct trace_index *t)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(t->env, NULL, 0, &txn);
    if (rc)
        return rc;
    rc = mdb_dbi_open(txn, "sources", MDB_CREATE, &t->sources);
    if (!rc)
        rc = mdb_dbi_open(txn, "progress", MDB_CREATE | MDB_INTEGERKEY, &t->progress);
    if (!rc)
        rc = mdb_dbi_open(txn, "volumes", MDB_CREATE | MDB_INTEGERKEY, &t->volumes);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static int open_env(struct trace_index *t)
{
    int rc = mdb_env_create(&t->env);
    if (rc)
        return rc;
    rc = mdb_env_set_maxdbs(t->env, VOLUMES_MAX + 8);
    if (!rc)
        rc = mdb_env_set_mapsize(t->env, MAP_FIRST);
    /* Without read-ahead: look-ups are random. One thread at a time: no table of readers. */
    if (!rc)
        rc = mdb_env_open(t->env, t->dir, MDB_NORDAHEAD | MDB_NOTLS | MDB_NOLOCK, 0600);
    if (!rc)
        rc = open_tables(t);
    if (rc) {
        mdb_env_close(t->env);
        t->env = NULL;
    }
    return rc;
}

static void remove_files(const char *dir)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    unlink(path);
}

beck_status trace_index_open(const char *dir, struct trace_index **out, beck_error *err)
{
    struct trace_index *t = calloc(1, sizeof *t);
    if (t) {
        t->dir = strdup(dir);
        t->gathered = malloc(GATHER_MAX * sizeof *t->gathered);
    }
    if (!t || !t->dir || !t->gathered) {
        trace_index_close(t);
        return error_set(err, BECK_ENOMEM, "no memory for the index of traces");
    }
    beck_status status = BECK_OK;
    if (mkdir(dir, 0700) && errno != EEXIST)
        status = error_errno(err, errno, "cannot make \"%s\"", dir);
    if (!status) {
        int rc = open_env(t);
        if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH || rc == MDB_CORRUPTED ||
            rc == MDB_PAGE_NOTFOUND || rc == MDB_INCOMPATIBLE) {
            remove_files(dir);
            rc = open_env(t);
        }
        if (rc)
            status = fail(t, rc, err);
    }
    if (status) {
        trace_index_close(t);
        return status;
    }
    *out = t;
    return BECK_OK;
}

void trace_index_close(struct trace_index *t)
{
    if (!t)
        return;
    if (t->env)
        mdb_env_close(t->env);
    free(t->gathered);
    free(t->dir);
    free(t);
}

/* ---- sources ---- */

/* "<incarnation>/<partition>/<bus>" */
static size_t source_name(const struct trace_source *s, char out[400])
{
    int n = snprintf(out, 400, "%s/%u/%s", s->incarnation, partition_number(s->partition), s->bus);
    assert(n > 0 && n < 400);
    return (size_t)n;
}

/* UINT32_MAX: it has none yet. */
static int find_source(struct trace_index *t, MDB_txn *txn, const struct trace_source *s,
                       uint32_t *number)
{
    char name[400];
    MDB_val key = {source_name(s, name), name}, value;
    *number = UINT32_MAX;
    int rc = mdb_get(txn, t->sources, &key, &value);
    if (!rc && value.mv_size == sizeof *number)
        memcpy(number, value.mv_data, sizeof *number);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Numbers are never given twice: sources stay in the table. */
static int number_source(struct trace_index *t, MDB_txn *txn, const struct trace_source *s,
                         uint32_t *number)
{
    int rc = find_source(t, txn, s, number);
    if (rc || *number != UINT32_MAX)
        return rc;
    MDB_stat stat;
    rc = mdb_stat(txn, t->sources, &stat);
    if (rc)
        return rc;
    *number = (uint32_t)stat.ms_entries;
    char name[400];
    MDB_val key = {source_name(s, name), name}, value = number_val(number);
    return mdb_put(txn, t->sources, &key, &value, 0);
}

static int get_progress(struct trace_index *t, MDB_txn *txn, const struct trace_source *s,
                        int64_t *next)
{
    uint32_t number;
    int rc = find_source(t, txn, s, &number);
    *next = 0;
    if (rc || number == UINT32_MAX)
        return rc;
    MDB_val key = number_val(&number), value;
    rc = mdb_get(txn, t->progress, &key, &value);
    if (!rc && value.mv_size == sizeof *next)
        memcpy(next, value.mv_data, sizeof *next);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- writing ---- */

static int by_hash(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return memcmp(x->place, y->place, PLACE_SIZE);
}

static int open_volume(MDB_txn *txn, uint32_t number, unsigned flags, MDB_dbi *dbi)
{
    char name[16];
    snprintf(name, sizeof name, "e%u", number);
    return mdb_dbi_open(txn, name, flags | MDB_INTEGERKEY | MDB_DUPSORT | MDB_DUPFIXED, dbi);
}

/* The volume that takes more entries: the last one, or a new one when that is full. */
static int volume_for_more(struct trace_index *t, MDB_txn *txn, uint32_t *number, MDB_dbi *dbi)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, t->volumes, &cursor);
    if (rc)
        return rc;
    *number = 0;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (!rc)
        memcpy(number, key.mv_data, sizeof *number);
    mdb_cursor_close(cursor);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    rc = open_volume(txn, *number, MDB_CREATE, dbi);
    MDB_stat stat;
    if (!rc)
        rc = mdb_stat(txn, *dbi, &stat);
    if (!rc && stat.ms_entries >= VOLUME_ENTRIES) {
        ++*number;
        rc = open_volume(txn, *number, MDB_CREATE, dbi);
    }
    return rc;
}

/* Notes that the volume holds entries of the source up to `end`. */
static int note_volume(struct trace_index *t, MDB_txn *txn, uint32_t volume, uint32_t source,
                       int64_t end)
{
    MDB_val key = number_val(&volume), value;
    int rc = mdb_get(txn, t->volumes, &key, &value);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    size_t len = rc ? 0 : value.mv_size;
    uint8_t *list = malloc(len + PLACE_SIZE);
    if (!list)
        return ENOMEM;
    if (len)
        memcpy(list, value.mv_data, len);
    size_t at = 0;
    while (at < len && get_u32(list + at) != source)
        at += PLACE_SIZE;
    put_u32(list + at, source);
    put_u64(list + at + 4, (uint64_t)end);
    value = (MDB_val){at == len ? len + PLACE_SIZE : len, list};
    rc = mdb_put(txn, t->volumes, &key, &value, 0);
    free(list);
    return rc;
}

static int write_entries(struct trace_index *t, MDB_txn *txn, uint32_t source, int64_t next)
{
    uint32_t volume;
    MDB_dbi dbi;
    int rc = volume_for_more(t, txn, &volume, &dbi);
    for (size_t i = 0; i < t->count && !rc; i++) {
        put_u32(t->gathered[i].place, source);
        MDB_val key = {sizeof t->gathered[i].hash, &t->gathered[i].hash};
        MDB_val value = {PLACE_SIZE, t->gathered[i].place};
        rc = mdb_put(txn, dbi, &key, &value, MDB_NODUPDATA);
        if (rc == MDB_KEYEXIST)
            rc = 0;
    }
    return rc ? rc : note_volume(t, txn, volume, source, next);
}

static int write_gathered(struct trace_index *t, const struct trace_source *s, int64_t next)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(t->env, NULL, 0, &txn);
    if (rc)
        return rc;
    uint32_t number;
    rc = number_source(t, txn, s, &number);
    if (!rc && t->count > 0)
        rc = write_entries(t, txn, number, next);
    if (!rc) {
        MDB_val key = number_val(&number), value = {sizeof next, &next};
        rc = mdb_put(txn, t->progress, &key, &value, 0);
    }
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

/* Writes what was gathered; the file grows when it has to. */
static beck_status flush(struct trace_index *t, const struct trace_source *s, int64_t next,
                         beck_error *err)
{
    qsort(t->gathered, t->count, sizeof *t->gathered, by_hash);
    int rc;
    while ((rc = write_gathered(t, s, next)) == MDB_MAP_FULL) {
        MDB_envinfo info;
        mdb_env_info(t->env, &info);
        if (info.me_mapsize >= MAP_MAX)
            break;
        rc = mdb_env_set_mapsize(t->env, info.me_mapsize * 2);
        if (rc)
            break;
    }
    t->count = 0;
    return rc ? fail(t, rc, err) : BECK_OK;
}

static void gather(struct trace_index *t, beck_bytes text, int64_t offset)
{
    if (text.len == 0)
        return;
    assert(t->count < GATHER_MAX);
    struct item *item = &t->gathered[t->count++];
    item->hash = hash_of(text);
    put_u64(item->place + 4, (uint64_t)offset);
}

beck_status trace_index_add(struct trace_index *t, const struct trace_source *source,
                            int64_t events_max, bool *more, beck_error *err)
{
    MDB_txn *txn;
    int64_t next = 0;
    int rc = mdb_txn_begin(t->env, NULL, MDB_RDONLY, &txn);
    if (!rc) {
        rc = get_progress(t, txn, source, &next);
        mdb_txn_abort(txn);
    }
    *more = false;
    if (rc)
        return fail(t, rc, err);
    if (next < partition_first(source->partition))
        next = partition_first(source->partition);
    if (next >= partition_visible(source->partition))
        return BECK_OK;
    struct cursor *cursor;
    beck_status status = cursor_open(source->partition, &cursor, err);
    if (status)
        return status;
    int64_t began = next;
    t->count = 0;
    while (!status && next - began < events_max) {
        const struct record_view *v;
        int64_t skip_to = next + 1;
        beck_status read = cursor_read(cursor, next, false, &v, &skip_to, err);
        if (read == BECK_ECORRUPT) {
            next = skip_to;
            continue;
        }
        if (read) {
            status = read == BECK_END ? BECK_OK : read;
            break;
        }
        const beck_event *e = &v->event;
        if (e->id.data != v->id)
            gather(t, e->id, v->offset);
        gather(t, e->correlationid.len ? e->correlationid : e->causationid, v->offset);
        next = v->offset + 1;
        if (t->count + 2 > GATHER_MAX)
            status = flush(t, source, next, err);
    }
    cursor_close(cursor);
    if (!status && next > began)
        status = flush(t, source, next, err);
    *more = !status && next < partition_visible(source->partition);
    return status;
}

/* ---- numbers of what there is ---- */

/* What a number stands for: the place in the caller's sources, UINT32_MAX when it is not there. */
struct numbers {
    uint32_t *place;
    size_t count;
};

static int numbers_init(struct trace_index *t, MDB_txn *txn, const struct trace_source *sources,
                        size_t count, struct numbers *out)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, t->sources, &stat);
    if (rc)
        return rc;
    out->count = stat.ms_entries;
    out->place = malloc((out->count + 1) * sizeof *out->place);
    if (!out->place)
        return ENOMEM;
    memset(out->place, 0xff, (out->count + 1) * sizeof *out->place);
    for (size_t i = 0; i < count && !rc; i++) {
        uint32_t number;
        rc = find_source(t, txn, &sources[i], &number);
        if (!rc && number < out->count)
            out->place[number] = (uint32_t)i;
    }
    return rc;
}

static uint32_t place_of(const struct numbers *n, uint32_t number)
{
    return number < n->count ? n->place[number] : UINT32_MAX;
}

/* ---- forgetting ---- */

static bool is_spent(MDB_val list, const struct trace_source *sources, const struct numbers *n)
{
    const uint8_t *p = list.mv_data;
    for (size_t at = 0; at + PLACE_SIZE <= list.mv_size; at += PLACE_SIZE) {
        uint32_t i = place_of(n, get_u32(p + at));
        if (i != UINT32_MAX && partition_first(sources[i].partition) < (int64_t)get_u64(p + at + 4))
            return false;
    }
    return true;
}

static int trim(struct trace_index *t, MDB_txn *txn, const struct trace_source *sources,
                const struct numbers *n)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, t->volumes, &cursor);
    if (rc)
        return rc;
    while (!rc && !(rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        uint32_t number;
        memcpy(&number, key.mv_data, sizeof number);
        if (!is_spent(value, sources, n))
            continue;
        MDB_dbi dbi;
        rc = open_volume(txn, number, 0, &dbi);
        if (!rc)
            rc = mdb_drop(txn, dbi, 1);
        if (!rc || rc == MDB_NOTFOUND)
            rc = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

beck_status trace_index_trim(struct trace_index *t, const struct trace_source *sources,
                             size_t count, beck_error *err)
{
    struct numbers n = {0};
    MDB_txn *txn;
    int rc = mdb_txn_begin(t->env, NULL, 0, &txn);
    if (!rc) {
        rc = numbers_init(t, txn, sources, count, &n);
        if (!rc)
            rc = trim(t, txn, sources, &n);
        if (rc)
            mdb_txn_abort(txn);
        else
            rc = mdb_txn_commit(txn);
    }
    free(n.place);
    return rc ? fail(t, rc, err) : BECK_OK;
}

/* ---- finding ---- */

struct search {
    const struct trace_source *sources;
    struct numbers numbers;
    int (*each)(void *ctx, size_t source, int64_t offset);
    void *ctx;
    bool ended;
};

static int find_in_volume(struct search *s, MDB_txn *txn, uint32_t volume, uint64_t hash)
{
    MDB_dbi dbi;
    MDB_cursor *cursor;
    int rc = open_volume(txn, volume, 0, &dbi);
    if (!rc)
        rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc)
        return rc == MDB_NOTFOUND ? 0 : rc;
    MDB_val key = {sizeof hash, &hash}, value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET);
    while (!rc && !s->ended) {
        const uint8_t *p = value.mv_data;
        uint32_t i = place_of(&s->numbers, get_u32(p));
        int64_t offset = (int64_t)get_u64(p + 4);
        if (i != UINT32_MAX && offset >= partition_first(s->sources[i].partition))
            s->ended = s->each(s->ctx, i, offset) != 0;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT_DUP);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int find(struct trace_index *t, MDB_txn *txn, struct search *s, uint64_t hash)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, t->volumes, &cursor);
    if (rc)
        return rc;
    while (!s->ended && !(rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        uint32_t volume;
        memcpy(&volume, key.mv_data, sizeof volume);
        rc = find_in_volume(s, txn, volume, hash);
        if (rc)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

beck_status trace_index_find(struct trace_index *t, const struct trace_source *sources,
                             size_t count, beck_bytes text,
                             int (*each)(void *ctx, size_t source, int64_t offset), void *ctx,
                             beck_error *err)
{
    struct search s = {.sources = sources, .each = each, .ctx = ctx};
    MDB_txn *txn;
    /* A writing transaction, so that handles of volumes opened in it may be kept. */
    int rc = mdb_txn_begin(t->env, NULL, 0, &txn);
    if (!rc) {
        rc = numbers_init(t, txn, sources, count, &s.numbers);
        if (!rc)
            rc = find(t, txn, &s, hash_of(text));
        int committed = mdb_txn_commit(txn);
        if (!rc)
            rc = committed;
    }
    free(s.numbers.place);
    return rc ? fail(t, rc, err) : BECK_OK;
}
