/* Schedules: against a model, on a disk that fails, loses power and is damaged. */
#include "base/common.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "queue/heap.h"
#include "queue/run.h"
#include "support/effort.h"
#include "support/failing_malloc.h"

#include <stdio.h>
#include <string.h>

#define DIR "q"
#define SAVED_MAX (1 << 20)

static struct vfs *new_disk(uint64_t seed)
{
    struct vfs *v = vfs_sim_new(seed);
    assert_non_null(v);
    assert_int_equal(vfs_mkdir(v, DIR, NULL), BECK_OK);
    assert_int_equal(vfs_sync_dir(v, "/", NULL), BECK_OK);
    return v;
}

static struct schedule *new_schedule(struct vfs *v)
{
    struct schedule *s;
    assert_int_equal(schedule_new(v, DIR, &s, NULL), BECK_OK);
    return s;
}

static struct scheduled item_of(int64_t due_ms, uint64_t seq, uint64_t where)
{
    return (struct scheduled){due_ms, {.where = where, .meta = where * 7, .seq = seq}};
}

static void push(struct schedule *s, int64_t due_ms, uint64_t seq)
{
    struct scheduled item = item_of(due_ms, seq, seq);
    beck_error err = {0};
    if (schedule_push(s, &item, &err) != BECK_OK)
        fail_msg("push: %s", err.text);
}

/* Spread over all times without a random number. */
static int64_t due_of(uint64_t i)
{
    return (int64_t)(i * 0x9e3779b97f4a7c15ULL >> 24);
}

static void push_many(struct schedule *s, uint64_t from, uint64_t upto)
{
    for (uint64_t i = from; i < upto; i++)
        push(s, due_of(i), i);
}

/* Everything comes out once and in order. */
static void pop_many(struct schedule *s, uint64_t n)
{
    struct scheduled before = item_of(INT64_MIN, 0, 0), peeked, item;
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(schedule_peek(s, &peeked, NULL), BECK_OK);
        assert_int_equal(schedule_pop(s, &item, NULL), BECK_OK);
        assert_memory_equal(&peeked, &item, sizeof item);
        assert_true(scheduled_before(&before, &item));
        assert_true(item.due_ms == due_of(item.entry.seq) &&
                    item.entry.meta == item.entry.where * 7);
        before = item;
    }
}

static int count_name(void *ctx, const char *name, bool is_dir)
{
    (void)name;
    (void)is_dir;
    ++*(int *)ctx;
    return 0;
}

static int file_count(struct vfs *v)
{
    int n = 0;
    assert_int_equal(vfs_list(v, DIR, count_name, &n, NULL), BECK_OK);
    return n;
}

/* In one go; a failure leaves out as it was. */
static beck_status schedule_save(struct schedule *s, struct buf *out, beck_error *err)
{
    struct schedule_sync sync;
    size_t before = out->len;
    beck_status status = schedule_write(s, out, &sync, err);
    if (status != BECK_OK)
        return status;
    status = schedule_sync(s, &sync, err);
    schedule_synced(s, &sync, status == BECK_OK);
    if (status != BECK_OK)
        out->len = before;
    return status;
}

static void save(struct schedule *s, struct buf *out)
{
    beck_error err = {0};
    buf_clear(out);
    if (schedule_save(s, out, &err) != BECK_OK)
        fail_msg("save: %s", err.text);
}

/* ---- what it does ---- */

static void gives_the_first_due_first(void **state)
{
    (void)state;
    struct schedule *s = new_schedule(NULL);
    struct scheduled item;
    assert_int_equal(schedule_peek(s, &item, NULL), BECK_END);
    assert_int_equal(schedule_pop(s, &item, NULL), BECK_END);
    const int64_t dues[] = {30, -5, 7, INT64_MAX, 0, INT64_MIN};
    const int64_t sorted[] = {INT64_MIN, -5, 0, 7, 30, INT64_MAX};
    for (uint64_t i = 0; i < 6; i++)
        push(s, dues[i], i);
    assert_int_equal(schedule_count(s), 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(schedule_pop(s, &item, NULL), BECK_OK);
        assert_int_equal(item.due_ms, sorted[i]);
    }
    assert_int_equal(schedule_count(s), 0);
    schedule_free(s);
}

static void equal_times_come_in_order_of_seq_and_place(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct schedule *s = new_schedule(v);
    uint64_t n = 3 * SCHEDULE_MEMORY;
    for (uint64_t i = n; i-- > 0;) {
        struct scheduled item = item_of(1000, i / 2, i % 2);
        assert_int_equal(schedule_push(s, &item, NULL), BECK_OK);
    }
    for (uint64_t i = 0; i < n; i++) {
        struct scheduled item;
        assert_int_equal(schedule_pop(s, &item, NULL), BECK_OK);
        assert_true(item.due_ms == 1000 && item.entry.seq == i / 2 && item.entry.where == i % 2);
    }
    schedule_free(s);
    vfs_sim_free(v);
}

static void without_a_directory_everything_stays_in_memory(void **state)
{
    (void)state;
    struct schedule *s = new_schedule(NULL);
    push_many(s, 0, 100000);
    pop_many(s, 100000);
    struct buf out;
    buf_init(&out, 100);
    assert_int_equal(schedule_save(s, &out, NULL), BECK_EUNSUPPORTED);
    schedule_trim(s);
    schedule_clear(s);
    schedule_free(s);
}

static void many_runs_are_merged_into_few(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct schedule *s = new_schedule(v);
    struct buf out;
    buf_init(&out, SAVED_MAX);
    uint64_t n = 40ULL * SCHEDULE_MEMORY;
    push_many(s, 0, n);
    save(s, &out);
    schedule_trim(s);
    assert_in_range(file_count(v), 1, 3 * SCHEDULE_RUNS);
    assert_int_equal(schedule_count(s), n);
    pop_many(s, n);
    save(s, &out);
    schedule_trim(s);
    assert_int_equal(file_count(v), 0);
    buf_release(&out);
    schedule_free(s);
    vfs_sim_free(v);
}

/* What is taken while a merge goes on is not in the merged run again. */
static void taking_during_a_merge_loses_and_repeats_nothing(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct schedule *s = new_schedule(v);
    uint64_t n = 10ULL * SCHEDULE_MEMORY;
    push_many(s, 0, n);
    uint8_t *seen = calloc(3 * n, 1);
    for (uint64_t next = n; next < 3 * n; next++) {
        push(s, due_of(next), next);
        struct scheduled item;
        assert_int_equal(schedule_pop(s, &item, NULL), BECK_OK);
        assert_int_equal(seen[item.entry.where]++, 0);
    }
    assert_int_equal(schedule_count(s), n);
    struct scheduled item;
    while (schedule_pop(s, &item, NULL) == BECK_OK)
        assert_int_equal(seen[item.entry.where]++, 0);
    for (uint64_t i = 0; i < 3 * n; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
    schedule_free(s);
    vfs_sim_free(v);
}

static void a_small_schedule_is_saved_without_a_file(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct schedule *s = new_schedule(v);
    struct buf out;
    buf_init(&out, SAVED_MAX);
    assert_int_equal(buf_append_text(&out, "before"), BECK_OK);
    push_many(s, 0, SCHEDULE_SAVED_HEAP);
    uint64_t calls = vfs_sim_calls(v, VFS_OP_ANY);
    assert_int_equal(schedule_save(s, &out, NULL), BECK_OK);
    assert_int_equal(vfs_sim_calls(v, VFS_OP_ANY), calls);
    size_t len = out.len - 6, used = 0;
    assert_int_equal(buf_append_text(&out, "after"), BECK_OK);
    assert_memory_equal(out.data, "before", 6);
    struct schedule *again = new_schedule(v);
    assert_int_equal(schedule_load(again, bytes_of(out.data + 6, out.len - 6), &used, NULL),
                     BECK_OK);
    assert_int_equal(used, len);
    pop_many(again, SCHEDULE_SAVED_HEAP);
    push_many(s, SCHEDULE_SAVED_HEAP, SCHEDULE_SAVED_HEAP + 1);
    save(s, &out);
    assert_true(out.len < 200);
    assert_int_equal(file_count(v), 1);
    buf_release(&out);
    schedule_free(again);
    schedule_free(s);
    vfs_sim_free(v);
}

static void a_description_without_room_changes_nothing(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct schedule *s = new_schedule(v);
    struct buf out;
    buf_init(&out, 1000);
    assert_int_equal(buf_append_text(&out, "before"), BECK_OK);
    push_many(s, 0, 100);
    assert_int_equal(schedule_save(s, &out, NULL), BECK_ELIMIT);
    assert_int_equal(out.len, 6);
    pop_many(s, 100);
    buf_release(&out);
    schedule_free(s);
    vfs_sim_free(v);
}

static void files_of_an_earlier_schedule_stay_until_trim(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct schedule *s = new_schedule(v);
    struct buf out;
    buf_init(&out, SAVED_MAX);
    push_many(s, 0, 5000);
    save(s, &out);
    schedule_free(s);
    s = new_schedule(v);
    push_many(s, 0, 2 * SCHEDULE_MEMORY);
    schedule_free(s);
    s = new_schedule(v);
    size_t used;
    assert_int_equal(schedule_load(s, buf_bytes(&out), &used, NULL), BECK_OK);
    schedule_trim(s);
    assert_int_equal(file_count(v), 1);
    pop_many(s, 5000);
    schedule_trim(s);
    assert_int_equal(file_count(v), 1); /* the description still names it */
    schedule_clear(s);
    save(s, &out);
    schedule_trim(s);
    assert_int_equal(file_count(v), 0);
    buf_release(&out);
    schedule_free(s);
    vfs_sim_free(v);
}

static void trim_leaves_files_of_others(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    assert_int_equal(vfs_write_file(v, DIR "/1.run", beck_str("x"), NULL), BECK_OK);
    assert_int_equal(vfs_write_file(v, DIR "/7-00000000000000000000.fifo", beck_str("x"), NULL),
                     BECK_OK);
    assert_int_equal(vfs_write_file(v, DIR "/00000000000000000005.run", beck_str("x"), NULL),
                     BECK_OK);
    struct schedule *s = new_schedule(v);
    schedule_trim(s);
    assert_int_equal(file_count(v), 2);
    assert_false(vfs_exists(v, DIR "/00000000000000000005.run"));
    schedule_free(s);
    vfs_sim_free(v);
}

/* ---- failures ---- */

static void a_full_disk_refuses_pushes_and_loses_nothing(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct schedule *s = new_schedule(v);
    struct buf out;
    buf_init(&out, SAVED_MAX);
    vfs_sim_capacity(v, 3 * SCHEDULE_MEMORY * RUN_ENTRY_BYTES);
    uint64_t n = 0;
    beck_status status;
    for (;; n++) {
        struct scheduled item = item_of(due_of(n), n, n);
        if ((status = schedule_push(s, &item, NULL)) != BECK_OK)
            break;
        assert_true(n < 10 * SCHEDULE_MEMORY);
    }
    assert_int_equal(status, BECK_EFULL);
    assert_int_equal(schedule_count(s), n);
    assert_int_equal(schedule_save(s, &out, NULL), BECK_EFULL);
    assert_int_equal(out.len, 0);
    assert_int_equal(schedule_count(s), n);
    vfs_sim_capacity(v, -1);
    push_many(s, n, n + 100000);
    pop_many(s, n + 100000);
    assert_int_equal(schedule_count(s), 0);
    buf_release(&out);
    schedule_free(s);
    vfs_sim_free(v);
}

static void after_a_failed_sync_saves_are_refused(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct schedule *s = new_schedule(v);
    struct buf out;
    buf_init(&out, SAVED_MAX);
    push_many(s, 0, 3000);
    vfs_sim_fail(v, VFS_OP_SYNC, 1, false, BECK_EIO);
    assert_int_equal(schedule_save(s, &out, NULL), BECK_EIO);
    assert_int_equal(schedule_save(s, &out, NULL), BECK_EPOISONED);
    assert_int_equal(out.len, 0);
    pop_many(s, 3000);
    assert_int_equal(schedule_save(s, &out, NULL), BECK_EPOISONED);
    schedule_clear(s);
    save(s, &out);
    buf_release(&out);
    schedule_free(s);
    vfs_sim_free(v);
}

/* Every kind of use lies between writing and the end of the sync, and the power goes after it. */
static void a_schedule_is_used_while_it_is_synced(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct vfs *v = new_disk(seed);
        struct schedule *s = new_schedule(v), *again;
        struct schedule_sync sync;
        struct buf first, second;
        size_t used;
        uint64_t n = 6 * SCHEDULE_MEMORY;
        buf_init(&first, SAVED_MAX);
        buf_init(&second, SAVED_MAX);
        push_many(s, 0, n);
        assert_int_equal(schedule_write(s, &first, &sync, NULL), BECK_OK);
        assert_true(sync.count > 0 && sync.names);
        push_many(s, n, 3 * n); /* runs are made, and merged */
        pop_many(s, n);
        assert_int_equal(schedule_sync(s, &sync, NULL), BECK_OK);
        schedule_synced(s, &sync, true);
        again = new_schedule(v);
        assert_int_equal(schedule_load(again, buf_bytes(&first), &used, NULL), BECK_OK);
        schedule_free(again);
        /* What was made meanwhile is not taken for synced. */
        save(s, &second);
        schedule_free(s);
        vfs_sim_crash(v);
        s = new_schedule(v);
        assert_int_equal(schedule_load(s, buf_bytes(&second), &used, NULL), BECK_OK);
        pop_many(s, 2 * n);
        assert_int_equal(schedule_count(s), 0);
        schedule_free(s);
        s = new_schedule(v);
        assert_int_equal(schedule_load(s, buf_bytes(&first), &used, NULL), BECK_OK);
        pop_many(s, n);
        assert_int_equal(schedule_count(s), 0);
        schedule_free(s);
        buf_release(&first);
        buf_release(&second);
        vfs_sim_free(v);
    }
}

static void what_was_not_synced_is_synced_with_the_next_description(void **state)
{
    (void)state;
    struct vfs *v = new_disk(3);
    struct schedule *s = new_schedule(v);
    struct schedule_sync sync;
    struct buf out;
    size_t used;
    buf_init(&out, SAVED_MAX);
    push_many(s, 0, 5000);
    assert_int_equal(schedule_write(s, &out, &sync, NULL), BECK_OK);
    vfs_sim_fail(v, VFS_OP_OPEN, 1, false, BECK_EIO); /* no sync was tried */
    assert_int_equal(schedule_sync(s, &sync, NULL), BECK_EIO);
    schedule_synced(s, &sync, false);
    save(s, &out);
    schedule_free(s);
    vfs_sim_crash(v);
    s = new_schedule(v);
    assert_int_equal(schedule_load(s, buf_bytes(&out), &used, NULL), BECK_OK);
    pop_many(s, 5000);
    schedule_free(s);
    buf_release(&out);
    vfs_sim_free(v);
}

/* A schedule on disk that is entirely in one run of two blocks. */
static void make_run(struct vfs *v, uint64_t n, struct buf *out)
{
    struct schedule *s = new_schedule(v);
    push_many(s, 0, n);
    save(s, out);
    assert_int_equal(file_count(v), 1);
    schedule_free(s);
}

/* Loads and takes everything: whole, or BECK_ECORRUPT with the file's name. True: damage found. */
static bool finds_damage(struct vfs *v, beck_bytes description, uint64_t n)
{
    struct schedule *s = new_schedule(v);
    size_t used;
    beck_error err = {0};
    beck_status status = schedule_load(s, description, &used, &err);
    if (status == BECK_OK) {
        struct scheduled item, before = item_of(INT64_MIN, 0, 0);
        uint64_t taken = 0;
        for (; (status = schedule_pop(s, &item, &err)) == BECK_OK; taken++) {
            assert_true(scheduled_before(&before, &item) && item.due_ms == due_of(item.entry.seq));
            before = item;
        }
        assert_int_equal(schedule_count(s), n - taken);
    } else {
        assert_int_equal(schedule_count(s), 0);
    }
    schedule_free(s);
    if (status == BECK_END)
        return false;
    assert_int_equal(status, BECK_ECORRUPT);
    assert_non_null(strstr(err.text, DIR "/00000000000000000001.run\""));
    return true;
}

static void a_flipped_bit_of_a_run_is_found(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct buf out;
    buf_init(&out, SAVED_MAX);
    uint64_t n = RUN_BLOCK_ENTRIES + 20;
    make_run(v, n, &out);
    char path[RUN_PATH_BYTES];
    run_path(path, DIR, 1);
    for (int64_t byte = 0; byte < run_bytes(n); byte++) {
        if (byte > 50 && byte < RUN_BLOCK_BYTES - 50 && byte % 89 != 0)
            continue;
        vfs_sim_flip(v, path, byte, (int)(byte % 8));
        assert_true(finds_damage(v, buf_bytes(&out), n));
        vfs_sim_flip(v, path, byte, (int)(byte % 8));
    }
    assert_false(finds_damage(v, buf_bytes(&out), n));
    buf_release(&out);
    vfs_sim_free(v);
}

static void runs_that_are_cut_longer_or_missing_are_found(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct buf out;
    buf_init(&out, SAVED_MAX);
    uint64_t n = 3 * RUN_BLOCK_ENTRIES;
    make_run(v, n, &out);
    char path[RUN_PATH_BYTES];
    run_path(path, DIR, 1);
    int64_t size = run_bytes(n);
    const int64_t sizes[] = {size + 1, size - 1, size - RUN_BLOCK_BYTES, 1, 0};
    for (int i = 0; i < 5; i++) {
        struct file *f;
        assert_int_equal(vfs_open(v, path, VFS_WRITE, &f, NULL), BECK_OK);
        assert_int_equal(file_truncate(f, sizes[i], NULL), BECK_OK);
        file_close(f);
        assert_true(finds_damage(v, buf_bytes(&out), n));
    }
    assert_int_equal(vfs_unlink(v, path, NULL), BECK_OK);
    assert_true(finds_damage(v, buf_bytes(&out), n));
    buf_release(&out);
    vfs_sim_free(v);
}

/* Neither a new checksum nor anything else makes nonsense pass that could do harm. */
static void a_damaged_description_is_refused(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct buf out;
    buf_init(&out, SAVED_MAX);
    make_run(v, 3000, &out);
    struct schedule *s = new_schedule(v);
    size_t used = 0;
    assert_int_equal(schedule_load(s, buf_bytes(&out), &used, NULL), BECK_OK);
    push_many(s, 3000, 3010);
    save(s, &out);
    schedule_free(s);
    for (size_t i = 0; i < out.len * 8; i++) {
        out.data[i / 8] ^= (uint8_t)(1 << i % 8);
        s = new_schedule(v);
        assert_int_equal(schedule_load(s, buf_bytes(&out), &used, NULL), BECK_ECORRUPT);
        assert_int_equal(schedule_count(s), 0);
        schedule_free(s);
        out.data[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    s = new_schedule(v);
    for (size_t len = 0; len < out.len; len++)
        assert_int_equal(schedule_load(s, bytes_of(out.data, len), &used, NULL), BECK_ECORRUPT);
    assert_int_equal(schedule_load(s, buf_bytes(&out), &used, NULL), BECK_OK);
    pop_many(s, 3010);
    schedule_free(s);
    buf_release(&out);
    vfs_sim_free(v);
}

static void a_description_of_any_bytes_does_no_harm(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct buf good;
    buf_init(&good, SAVED_MAX);
    make_run(v, 3000, &good);
    int loaded = 0;
    for (uint64_t seed = first_seed(); seed <= last_seed(effort(3000, 500)); seed++) {
        struct rng r;
        rng_seed(&r, seed);
        uint8_t bytes[200];
        size_t len = good.len + rng_below(&r, 2) * rng_below(&r, sizeof bytes - good.len);
        assert_true(len <= sizeof bytes);
        memset(bytes, 0, sizeof bytes);
        memcpy(bytes, good.data, good.len);
        for (uint64_t n = rng_below(&r, 4); n > 0; n--)
            bytes[rng_below(&r, len)] = (uint8_t)(rng_next(&r) >> (rng_below(&r, 2) ? 56 : 62));
        if (rng_below(&r, 3) != 0)
            put_u32(bytes + 4, (uint32_t)len);
        if (rng_below(&r, 10) != 0)
            put_u32(bytes, crc32c(0, bytes + 4, len - 4));
        struct schedule *s = new_schedule(v);
        size_t used = 0;
        beck_status status = schedule_load(s, bytes_of(bytes, len), &used, NULL);
        assert_true(status == BECK_OK || status == BECK_ECORRUPT);
        assert_true(status != BECK_OK || used <= len);
        loaded += status == BECK_OK;
        struct scheduled item;
        while (schedule_pop(s, &item, NULL) == BECK_OK)
            ;
        schedule_free(s);
    }
    assert_true(getenv("BECK_TEST_SEED") != NULL || (loaded > 10 && loaded < 2500));
    buf_release(&good);
    vfs_sim_free(v);
}

/* ---- against a model ---- */

struct set {
    struct scheduled *items;
    size_t len;
    bool sorted; /* last first */
};

struct model {
    struct vfs *vfs;
    struct schedule *schedule;
    struct rng rng;
    struct set now, saved;
    struct buf description; /* of what is in saved; empty: none */
    size_t max;
    uint64_t where;
    bool faults, poisoned;
};

static int last_first(const void *a, const void *b)
{
    const struct scheduled *x = a, *y = b;
    if (x->due_ms != y->due_ms)
        return x->due_ms > y->due_ms ? -1 : 1;
    if (x->entry.seq != y->entry.seq)
        return x->entry.seq > y->entry.seq ? -1 : 1;
    return x->entry.where > y->entry.where ? -1 : x->entry.where < y->entry.where;
}

static void set_sort(struct set *s)
{
    if (!s->sorted)
        qsort(s->items, s->len, sizeof s->items[0], last_first);
    s->sorted = true;
}

static void set_copy(struct set *to, const struct set *from)
{
    memcpy(to->items, from->items, from->len * sizeof from->items[0]);
    to->len = from->len;
    to->sorted = from->sorted;
}

static bool excused(const struct model *m, beck_status status)
{
    return m->faults && (status == BECK_EIO || status == BECK_EFULL || status == BECK_ENOMEM);
}

static void model_push(struct model *m, uint64_t n)
{
    uint64_t spread = rng_below(&m->rng, 2) == 0 ? 1000 : 1ULL << 40;
    for (uint64_t i = 0; i < n && m->now.len < m->max; i++) {
        struct scheduled item =
            item_of((int64_t)rng_below(&m->rng, spread) - 500, rng_below(&m->rng, 100), m->where);
        beck_error err = {0};
        beck_status status = schedule_push(m->schedule, &item, &err);
        if (status != BECK_OK) {
            if (!excused(m, status))
                fail_msg("push: %s", err.text);
            break;
        }
        m->where++;
        m->now.items[m->now.len++] = item;
        m->now.sorted = false;
    }
}

static void model_pop(struct model *m, uint64_t n)
{
    set_sort(&m->now);
    for (uint64_t i = 0; i < n; i++) {
        struct scheduled item;
        beck_error err = {0};
        bool peek = i % 7 == 3;
        beck_status status =
            peek ? schedule_peek(m->schedule, &item, &err) : schedule_pop(m->schedule, &item, &err);
        if (status == BECK_END) {
            assert_int_equal(m->now.len, 0);
            break;
        }
        if (status != BECK_OK) {
            if (!excused(m, status))
                fail_msg("pop: %s", err.text);
            break;
        }
        assert_true(m->now.len > 0);
        assert_memory_equal(&item, &m->now.items[m->now.len - 1], sizeof item);
        m->now.len -= !peek;
    }
}

static int collect(void *ctx, const struct scheduled *item)
{
    struct set *s = ctx;
    s->items[s->len++] = *item;
    return 0;
}

static void model_each(struct model *m)
{
    struct set all = {.items = calloc(m->max, sizeof(struct scheduled))};
    if (all.items == NULL) /* a fault */
        return;
    beck_error err = {0};
    beck_status status = schedule_each(m->schedule, collect, &all, &err);
    if (status == BECK_OK) {
        assert_int_equal(all.len, m->now.len);
        set_sort(&m->now);
        set_sort(&all);
        assert_memory_equal(all.items, m->now.items, all.len * sizeof all.items[0]);
    } else if (!excused(m, status)) {
        fail_msg("each: %s", err.text);
    }
    free(all.items);
}

struct keeping {
    uint64_t divisor, rest;
};

static bool keeps(void *ctx, const struct scheduled *item)
{
    struct keeping *k = ctx;
    return item->entry.where % k->divisor != k->rest;
}

static void model_filter(struct model *m)
{
    struct keeping k = {.divisor = 1 + rng_below(&m->rng, 8)};
    k.rest = rng_below(&m->rng, k.divisor);
    if (rng_below(&m->rng, 4) == 0)
        k = (struct keeping){1, 1}; /* all */
    beck_error err = {0};
    beck_status status = schedule_filter(m->schedule, keeps, &k, &err);
    if (status != BECK_OK) {
        if (!excused(m, status))
            fail_msg("filter: %s", err.text);
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < m->now.len; i++)
        if (keeps(&k, &m->now.items[i]))
            m->now.items[kept++] = m->now.items[i];
    m->now.len = kept;
}

static void model_save(struct model *m)
{
    struct buf out;
    buf_init(&out, SAVED_MAX);
    beck_error err = {0};
    beck_status status = schedule_save(m->schedule, &out, &err);
    if (status == BECK_OK && rng_below(&m->rng, 4) != 0) { /* else the snapshot was not written */
        buf_release(&m->description);
        m->description = out;
        set_copy(&m->saved, &m->now);
        if (rng_below(&m->rng, 2) == 0)
            schedule_trim(m->schedule);
        return;
    }
    if (status != BECK_OK) {
        assert_int_equal(out.len, 0);
        if (!excused(m, status) && !(status == BECK_EPOISONED && m->poisoned))
            fail_msg("save: %s", err.text);
        m->poisoned = true; /* perhaps */
    }
    buf_release(&out);
}

static void no_faults(struct model *m)
{
    vfs_sim_fail(m->vfs, VFS_OP_ANY, 0, false, BECK_EIO);
    failing_malloc_at(0, false);
}

/* The process or the power ends; from what was saved it goes on. */
static void model_reopen(struct model *m)
{
    schedule_free(m->schedule);
    no_faults(m);
    if (rng_below(&m->rng, 2) == 0)
        vfs_sim_crash(m->vfs);
    else
        vfs_sim_kill(m->vfs);
    m->schedule = new_schedule(m->vfs);
    m->poisoned = false;
    if (m->description.len == 0) {
        m->now.len = 0;
        return;
    }
    beck_error err = {0};
    size_t used = 0;
    if (schedule_load(m->schedule, buf_bytes(&m->description), &used, &err) != BECK_OK)
        fail_msg("load: %s", err.text);
    assert_int_equal(used, m->description.len);
    set_copy(&m->now, &m->saved);
}

static void model_fault(struct model *m)
{
    uint64_t nth = 1 + rng_below(&m->rng, 10);
    bool forever = rng_below(&m->rng, 3) == 0;
    switch (rng_below(&m->rng, 6)) {
    case 0:
        vfs_sim_fail(m->vfs, VFS_OP_ANY & ~VFS_OP_SYNC & ~VFS_OP_SYNC_DIR, nth, forever, BECK_EIO);
        break;
    case 1:
        vfs_sim_fail(m->vfs, VFS_OP_WRITE, nth, forever, BECK_EFULL);
        break;
    case 2:
        failing_malloc_at((long)nth, forever);
        break;
    case 3:
        if (rng_below(&m->rng, 4) == 0)
            vfs_sim_fail(m->vfs, VFS_OP_SYNC | VFS_OP_SYNC_DIR, nth, forever, BECK_EIO);
        break;
    default:
        no_faults(m);
    }
}

static uint64_t some(struct model *m)
{
    static const uint64_t most[] = {3, 100, 3000, 3000, 8000, 2 * SCHEDULE_MEMORY};
    return 1 + rng_below(&m->rng, most[rng_below(&m->rng, 6)]);
}

static void model_step(struct model *m)
{
    if (m->faults && rng_below(&m->rng, 4) == 0)
        model_fault(m);
    uint64_t what = rng_below(&m->rng, 100);
    if (what < 45)
        model_push(m, some(m));
    else if (what < 65)
        model_pop(m, some(m));
    else if (what < 66)
        model_pop(m, UINT64_MAX);
    else if (what < 69)
        model_each(m);
    else if (what < 71)
        model_filter(m);
    else if (what < 94)
        model_save(m);
    else if (what < 95 && rng_below(&m->rng, 3) == 0) {
        schedule_clear(m->schedule);
        m->now.len = 0;
        m->poisoned = false;
    } else if (what >= 95)
        model_reopen(m);
    assert_int_equal(schedule_count(m->schedule), m->now.len);
}

static void run_model(uint64_t seed, bool faults)
{
    struct model m = {.vfs = new_disk(seed), .faults = faults, .max = 150000};
    print_message("seed %llu%s\n", (unsigned long long)seed, faults ? ", with faults" : "");
    rng_seed(&m.rng, seed);
    m.now.items = calloc(m.max, sizeof(struct scheduled));
    m.saved.items = calloc(m.max, sizeof(struct scheduled));
    buf_init(&m.description, SAVED_MAX);
    m.schedule = new_schedule(m.vfs);
    for (int i = 0; i < 150; i++)
        model_step(&m);
    no_faults(&m);
    m.faults = false;
    model_each(&m);
    model_pop(&m, UINT64_MAX);
    schedule_free(m.schedule);
    vfs_sim_free(m.vfs);
    buf_release(&m.description);
    free(m.now.items);
    free(m.saved.items);
}

static void behaves_as_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed <= last_seed(effort(12, 2)); seed++)
        run_model(seed, false);
}

static void behaves_as_the_model_when_things_fail(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed <= last_seed(effort(25, 3)); seed++)
        run_model(seed, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_first_due_first),
        cmocka_unit_test(equal_times_come_in_order_of_seq_and_place),
        cmocka_unit_test(without_a_directory_everything_stays_in_memory),
        cmocka_unit_test(many_runs_are_merged_into_few),
        cmocka_unit_test(taking_during_a_merge_loses_and_repeats_nothing),
        cmocka_unit_test(a_small_schedule_is_saved_without_a_file),
        cmocka_unit_test(a_description_without_room_changes_nothing),
        cmocka_unit_test(files_of_an_earlier_schedule_stay_until_trim),
        cmocka_unit_test(trim_leaves_files_of_others),
        cmocka_unit_test(a_full_disk_refuses_pushes_and_loses_nothing),
        cmocka_unit_test(after_a_failed_sync_saves_are_refused),
        cmocka_unit_test(a_schedule_is_used_while_it_is_synced),
        cmocka_unit_test(what_was_not_synced_is_synced_with_the_next_description),
        cmocka_unit_test(a_flipped_bit_of_a_run_is_found),
        cmocka_unit_test(runs_that_are_cut_longer_or_missing_are_found),
        cmocka_unit_test(a_damaged_description_is_refused),
        cmocka_unit_test(a_description_of_any_bytes_does_no_harm),
        cmocka_unit_test(behaves_as_the_model),
        cmocka_unit_test(behaves_as_the_model_when_things_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
