/* Lists of entries: against a model, on a disk that fails, loses power and is damaged. */
#include "base/common.h"
#include "base/error.h"
#include "base/rng.h"
#include "queue/fifo_block.h"
#include "support/effort.h"
#include "support/failing_malloc.h"

#include <stdio.h>
#include <string.h>

#define DIR "q"
#define LEVEL 7
#define FILE_ENTRIES ((uint64_t)FIFO_FILE_BLOCKS * FIFO_BLOCK_ENTRIES)

static struct vfs *new_disk(uint64_t seed)
{
    struct vfs *v = vfs_sim_new(seed);
    assert_non_null(v);
    assert_int_equal(vfs_mkdir(v, DIR, NULL), BECK_OK);
    assert_int_equal(vfs_sync_dir(v, "/", NULL), BECK_OK);
    return v;
}

static struct fifo *new_fifo(struct vfs *v, uint64_t first)
{
    struct fifo *f;
    assert_int_equal(fifo_new(v, DIR, LEVEL, first, &f, NULL), BECK_OK);
    return f;
}

static beck_status fifo_flush(struct fifo *f, beck_error *err)
{
    struct fifo_sync s;
    beck_status status = fifo_write(f, &s, err);
    if (status != BECK_OK)
        return status;
    status = fifo_sync(f, &s, err);
    fifo_synced(f, &s, status == BECK_OK);
    return status;
}

static void push(struct fifo *f, uint64_t where)
{
    struct entry e = {.where = where, .meta = ~where};
    uint64_t number = fifo_tail(f);
    assert_int_equal(fifo_push(f, &e, NULL), BECK_OK);
    assert_int_equal(e.seq, entry_seq(LEVEL, number));
}

static void push_numbers(struct fifo *f, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        push(f, fifo_tail(f));
}

/* The content is the number plus `offset`. */
static void assert_entry(const struct entry *e, uint64_t number, uint64_t offset)
{
    assert_int_equal(e->where, number + offset);
    assert_int_equal(e->meta, ~(number + offset));
    assert_int_equal(e->seq, entry_seq(LEVEL, number));
}

static void pop_numbers(struct fifo *f, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t number = fifo_head(f);
        struct entry peeked, popped;
        assert_int_equal(fifo_peek(f, &peeked, NULL), BECK_OK);
        assert_int_equal(fifo_pop(f, &popped, NULL), BECK_OK);
        assert_memory_equal(&peeked, &popped, sizeof popped);
        assert_entry(&popped, number, 0);
    }
}

static void flush(struct fifo *f)
{
    beck_error err = {0};
    if (fifo_flush(f, &err) != BECK_OK)
        fail_msg("flush: %s", err.text);
}

static void path_of(char *path, uint64_t number)
{
    sprintf(path, DIR "/%d-%020llu.fifo", LEVEL,
            (unsigned long long)(number / FILE_ENTRIES * FILE_ENTRIES));
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

/* ---- what it does ---- */

static void gives_entries_back_in_order(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct fifo *f = new_fifo(v, 5);
    struct entry e;
    assert_int_equal(fifo_peek(f, &e, NULL), BECK_END);
    assert_int_equal(fifo_pop(f, &e, NULL), BECK_END);
    push_numbers(f, 50000);
    assert_int_equal(fifo_count(f), 50000);
    assert_int_equal(fifo_head(f), 5);
    pop_numbers(f, 50000);
    assert_int_equal(fifo_pop(f, &e, NULL), BECK_END);
    fifo_free(f);
    vfs_sim_free(v);
}

static void without_a_directory_everything_stays_in_memory(void **state)
{
    (void)state;
    struct fifo *f = new_fifo(NULL, 4000);
    push_numbers(f, 30000);
    pop_numbers(f, 9000);
    push_numbers(f, 30000);
    struct fifo_walk w;
    struct entry e;
    fifo_walk_begin(&w, f);
    for (uint64_t i = fifo_head(f); i < fifo_tail(f); i++) {
        assert_int_equal(fifo_walk_next(&w, &e, NULL), BECK_OK);
        assert_entry(&e, i, 0);
    }
    assert_int_equal(fifo_walk_next(&w, &e, NULL), BECK_END);
    fifo_walk_end(&w);
    pop_numbers(f, 51000);
    push_numbers(f, 20000);
    flush(f);
    fifo_trim(f, fifo_head(f));
    fifo_clear(f);
    assert_int_equal(fifo_count(f), 0);
    push_numbers(f, 3);
    pop_numbers(f, 3);
    fifo_free(f);
}

static void consumers_that_keep_up_touch_no_file(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct fifo *f = new_fifo(v, 0);
    uint64_t before = vfs_sim_calls(v, VFS_OP_ANY);
    push_numbers(f, 3000);
    for (int i = 0; i < 200; i++) { /* always within the block at the head and the next */
        push_numbers(f, 500);
        pop_numbers(f, 500);
    }
    pop_numbers(f, 3000);
    for (int i = 0; i < 30000; i++) {
        push_numbers(f, 1);
        pop_numbers(f, 1);
    }
    flush(f);
    assert_int_equal(vfs_sim_calls(v, VFS_OP_ANY), before);
    assert_int_equal(file_count(v), 0);
    fifo_free(f);
    vfs_sim_free(v);
}

static void a_flush_without_a_change_makes_no_call(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct fifo *f = new_fifo(v, 0);
    push_numbers(f, 10000);
    flush(f);
    uint64_t before = vfs_sim_calls(v, VFS_OP_ANY);
    flush(f);
    pop_numbers(f, 10);
    flush(f);
    assert_int_equal(vfs_sim_calls(v, VFS_OP_ANY), before);
    push_numbers(f, 1);
    flush(f);
    assert_true(vfs_sim_calls(v, VFS_OP_SYNC) > 0 && vfs_sim_calls(v, VFS_OP_ANY) > before);
    fifo_free(f);
    vfs_sim_free(v);
}

static void a_short_list_takes_no_more_memory_as_it_moves(void **state)
{
    (void)state;
    struct fifo *f = new_fifo(NULL, 0);
    push_numbers(f, 5);
    failing_malloc_at(0, false);
    for (int i = 0; i < 4000; i++) {
        push_numbers(f, 1);
        pop_numbers(f, 1);
    }
    assert_int_equal(failing_malloc_count(), 0);
    fifo_free(f);
}

static void levels_share_a_directory(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct fifo *a, *b;
    assert_int_equal(fifo_new(v, DIR, 0, 0, &a, NULL), BECK_OK);
    assert_int_equal(fifo_new(v, DIR, 255, 0, &b, NULL), BECK_OK);
    for (uint64_t i = 0; i < 20000; i++) {
        struct entry x = {i, 1, 0}, y = {i, 2, 0};
        assert_int_equal(fifo_push(a, &x, NULL), BECK_OK);
        assert_int_equal(fifo_push(b, &y, NULL), BECK_OK);
    }
    flush(a);
    flush(b);
    fifo_clear(b);
    for (uint64_t i = 0; i < 20000; i++) {
        struct entry e;
        assert_int_equal(fifo_pop(a, &e, NULL), BECK_OK);
        assert_true(e.where == i && e.meta == 1 && e.seq == entry_seq(0, i));
    }
    fifo_free(a);
    fifo_free(b);
    vfs_sim_free(v);
}

static void removing_files_leaves_those_of_others(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct fifo *f = new_fifo(v, 0);
    push_numbers(f, 10);
    flush(f);
    const char *others[] = {DIR "/7-1.fifo", DIR "/x.run", DIR "/7-00000000000000000000.fifo.tmp"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(vfs_write_file(v, others[i], beck_str("x"), NULL), BECK_OK);
    assert_int_equal(file_count(v), 4);
    assert_int_equal(fifo_remove_files(v, DIR, NULL), BECK_OK);
    assert_int_equal(file_count(v), 3);
    for (int i = 0; i < 3; i++)
        assert_true(vfs_exists(v, others[i]));
    fifo_free(f);
    vfs_sim_free(v);
}

static void trim_removes_files_below_the_head(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    uint64_t first = FILE_ENTRIES - 5000;
    struct fifo *f = new_fifo(v, first);
    char old[64], next[64];
    path_of(old, first);
    path_of(next, FILE_ENTRIES);
    push_numbers(f, 20000);
    flush(f);
    assert_true(vfs_exists(v, old) && vfs_exists(v, next));
    pop_numbers(f, 4999);
    fifo_trim(f, fifo_head(f));
    assert_true(vfs_exists(v, old));
    pop_numbers(f, 1);
    fifo_trim(f, FILE_ENTRIES - 1);
    assert_true(vfs_exists(v, old));
    fifo_trim(f, fifo_head(f));
    assert_false(vfs_exists(v, old));
    assert_true(vfs_exists(v, next));
    pop_numbers(f, 15000);
    fifo_free(f);
    vfs_sim_free(v);
}

static void the_first_trim_removes_what_an_earlier_process_left(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    assert_int_equal(vfs_write_file(v, DIR "/7-00000000000000000000.fifo", beck_str("x"), NULL),
                     BECK_OK);
    assert_int_equal(vfs_write_file(v, DIR "/8-00000000000000000000.fifo", beck_str("x"), NULL),
                     BECK_OK);
    struct fifo *f = new_fifo(v, FILE_ENTRIES * 3);
    push_numbers(f, 10);
    flush(f);
    fifo_trim(f, fifo_head(f));
    assert_int_equal(file_count(v), 2);
    assert_false(vfs_exists(v, DIR "/7-00000000000000000000.fifo"));
    fifo_free(f);
    vfs_sim_free(v);
}

/* ---- failures ---- */

static void a_full_disk_refuses_pushes_and_loses_nothing(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct fifo *f = new_fifo(v, 0);
    vfs_sim_capacity(v, 200000);
    struct entry e = {0};
    beck_error err;
    beck_status status;
    for (;;) {
        e.where = fifo_tail(f);
        e.meta = ~e.where;
        if ((status = fifo_push(f, &e, &err)) != BECK_OK)
            break;
        assert_true(fifo_tail(f) < 1000000);
    }
    assert_int_equal(status, BECK_EFULL);
    uint64_t tail = fifo_tail(f);
    assert_int_equal(fifo_push(f, &e, &err), BECK_EFULL);
    assert_int_equal(fifo_flush(f, &err), BECK_EFULL);
    assert_int_equal(fifo_tail(f), tail);
    pop_numbers(f, 6000);
    vfs_sim_capacity(v, -1);
    push_numbers(f, 10000);
    flush(f);
    pop_numbers(f, tail + 4000);
    fifo_free(f);
    vfs_sim_free(v);
}

static void after_a_failed_sync_flushes_are_refused(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    struct fifo *f = new_fifo(v, 0);
    push_numbers(f, 10000);
    vfs_sim_fail(v, VFS_OP_SYNC, 1, false, BECK_EIO);
    beck_error err;
    assert_int_equal(fifo_flush(f, &err), BECK_EIO);
    assert_int_equal(fifo_flush(f, &err), BECK_EPOISONED);
    push_numbers(f, 10000);
    assert_int_equal(fifo_flush(f, &err), BECK_EPOISONED);
    pop_numbers(f, 20000);
    fifo_clear(f);
    push_numbers(f, 10);
    flush(f);
    pop_numbers(f, 10);
    fifo_free(f);
    vfs_sim_free(v);
}

static void missing_and_cut_files_are_found_when_opening(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    uint64_t first = FILE_ENTRIES - 5000, tail = FILE_ENTRIES + 10000;
    char paths[2][64];
    path_of(paths[0], first);
    path_of(paths[1], FILE_ENTRIES);
    for (int cut = 0; cut < 2; cut++) {
        for (int i = 0; i < 2; i++) {
            struct fifo *f = new_fifo(v, first);
            push_numbers(f, tail - first);
            flush(f);
            fifo_free(f);
            if (cut) {
                struct file *file;
                int64_t size;
                assert_int_equal(vfs_open(v, paths[i], VFS_WRITE, &file, NULL), BECK_OK);
                assert_int_equal(file_size(file, &size, NULL), BECK_OK);
                assert_int_equal(file_truncate(file, size - 90000, NULL), BECK_OK);
                file_close(file);
            } else {
                assert_int_equal(vfs_unlink(v, paths[i], NULL), BECK_OK);
            }
            beck_error err;
            f = NULL;
            assert_int_equal(fifo_open(v, DIR, LEVEL, first, tail, &f, &err), BECK_ECORRUPT);
            assert_non_null(strstr(err.text, paths[i]));
            assert_null(f);
        }
    }
    vfs_sim_free(v);
}

static void nonsense_positions_are_refused(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    const uint64_t pairs[][2] = {{1, 0}, {0, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}, {0, 1}};
    for (int i = 0; i < 4; i++) {
        struct fifo *f;
        assert_int_equal(fifo_open(v, DIR, LEVEL, pairs[i][0], pairs[i][1], &f, NULL),
                         BECK_ECORRUPT);
    }
    vfs_sim_free(v);
}

/* Opens and takes everything: whole, or BECK_ECORRUPT with the file's name. True: damage found. */
static bool finds_damage(struct vfs *v, uint64_t head, uint64_t tail)
{
    struct fifo *f;
    beck_error err = {0};
    beck_status status = fifo_open(v, DIR, LEVEL, head, tail, &f, &err);
    if (status == BECK_OK) {
        struct fifo_walk w;
        struct entry e;
        fifo_walk_begin(&w, f);
        beck_status walked;
        for (uint64_t i = head; (walked = fifo_walk_next(&w, &e, NULL)) == BECK_OK; i++)
            assert_entry(&e, i, 0);
        fifo_walk_end(&w);
        uint64_t next = head;
        while ((status = fifo_pop(f, &e, &err)) == BECK_OK)
            assert_entry(&e, next++, 0);
        assert_int_equal(walked, status);
        assert_int_equal(fifo_head(f), next);
        if (status == BECK_END)
            assert_int_equal(next, tail);
        fifo_free(f);
    }
    if (status == BECK_END)
        return false;
    assert_int_equal(status, BECK_ECORRUPT);
    assert_non_null(strstr(err.text, ".fifo\""));
    return true;
}

static void a_flipped_bit_is_found_or_harmless(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    uint64_t head = 100, tail = 2 * FIFO_BLOCK_ENTRIES + 50;
    struct fifo *f = new_fifo(v, head);
    push_numbers(f, tail - head);
    flush(f);
    fifo_free(f);
    char path[64];
    path_of(path, 0);
    int64_t size = 2 * FIFO_BLOCK_BYTES + FIFO_HEADER_BYTES + 50 * FIFO_ENTRY_BYTES;
    for (int64_t byte = 0; byte < size; byte++) {
        int64_t in_block = byte % FIFO_BLOCK_BYTES;
        if (in_block >= 64 && byte < 2 * FIFO_BLOCK_BYTES && in_block % 97 != 0 &&
            in_block < FIFO_BLOCK_BYTES - 100 * FIFO_ENTRY_BYTES - 32)
            continue;
        vfs_sim_flip(v, path, byte, (int)(byte % 8));
        bool found = finds_damage(v, head, tail);
        bool unused =
            (in_block >= 16 && in_block < FIFO_HEADER_BYTES) ||
            (byte < FIFO_BLOCK_BYTES && in_block >= FIFO_BLOCK_BYTES - 100 * FIFO_ENTRY_BYTES);
        if (found == unused)
            fail_msg("byte %lld: damage %sfound", (long long)byte, found ? "" : "not ");
        vfs_sim_flip(v, path, byte, (int)(byte % 8));
    }
    assert_false(finds_damage(v, head, tail));
    vfs_sim_free(v);
}

static void damage_in_the_middle_does_not_take_away_what_is_before(void **state)
{
    (void)state;
    struct vfs *v = new_disk(1);
    uint64_t tail = 4 * FIFO_BLOCK_ENTRIES;
    struct fifo *f = new_fifo(v, 0);
    push_numbers(f, tail);
    flush(f);
    fifo_free(f);
    char path[64];
    path_of(path, 0);
    vfs_sim_flip(v, path, 2 * FIFO_BLOCK_BYTES + 100, 0);
    assert_int_equal(fifo_open(v, DIR, LEVEL, 0, tail, &f, NULL), BECK_OK);
    pop_numbers(f, 2 * FIFO_BLOCK_ENTRIES);
    struct entry e;
    beck_error err;
    assert_int_equal(fifo_pop(f, &e, &err), BECK_ECORRUPT);
    assert_int_equal(fifo_peek(f, &e, &err), BECK_ECORRUPT);
    assert_int_equal(fifo_head(f), 2 * FIFO_BLOCK_ENTRIES);
    fifo_clear(f);
    push_numbers(f, 10);
    pop_numbers(f, 10);
    fifo_free(f);
    vfs_sim_free(v);
}

/* ---- loss of power ---- */

/* A partly filled block was flushed; whatever is written behind it, and wherever the power goes,
 * what was flushed stays. `steps` pushes, pops and flushes follow. */
static void what_was_flushed_survives_later_writes_of_its_block(void **state)
{
    (void)state;
    for (uint64_t stop = 1; stop <= 14; stop++) {
        for (uint64_t seed = 1; seed <= 12; seed++) {
            struct vfs *v = new_disk(seed);
            struct fifo *f = new_fifo(v, 10);
            push_numbers(f, 100);
            flush(f);
            pop_numbers(f, 100); /* entries that are never written follow */
            push_numbers(f, 200);
            pop_numbers(f, 150);
            vfs_sim_stop_at(v, stop);
            fifo_flush(f, NULL);
            push_numbers(f, 100);
            fifo_flush(f, NULL);
            struct entry e = {1, 1, 0};
            while (fifo_tail(f) < 3 * FIFO_BLOCK_ENTRIES && fifo_push(f, &e, NULL) == BECK_OK)
                ;
            fifo_flush(f, NULL);
            fifo_free(f);
            vfs_sim_crash(v);
            assert_false(finds_damage(v, 10, 110));
            vfs_sim_free(v);
        }
    }
}

/* The flush after the one that a snapshot speaks of is as if it had not been. */
static void an_older_snapshot_survives_a_different_continuation(void **state)
{
    (void)state;
    for (uint64_t stop = 1; stop <= 8; stop++) {
        for (uint64_t seed = 1; seed <= 12; seed++) {
            struct vfs *v = new_disk(seed);
            struct fifo *f = new_fifo(v, 0);
            push_numbers(f, 20);
            flush(f);
            push_numbers(f, 15);
            flush(f);
            push_numbers(f, 15);
            flush(f);
            fifo_free(f);
            vfs_sim_crash(v);
            assert_int_equal(fifo_open(v, DIR, LEVEL, 0, 20, &f, NULL), BECK_OK);
            for (uint64_t i = 0; i < 100; i++)
                push(f, 1000 + i);
            vfs_sim_stop_at(v, stop);
            fifo_flush(f, NULL);
            fifo_free(f);
            vfs_sim_crash(v);
            assert_false(finds_damage(v, 0, 20));
            vfs_sim_free(v);
        }
    }
}

/* ---- against a model ---- */

struct model {
    struct vfs *vfs;
    struct fifo *fifo;
    struct rng rng;
    uint64_t *values; /* by number - first */
    uint64_t first, head, tail, max;
    uint64_t value;
    bool saved; /* the disk has: */
    uint64_t saved_head, saved_tail;
    bool faults, poisoned;
};

static uint64_t model_value(const struct model *m, uint64_t number)
{
    return m->values[number - m->first];
}

static void model_check_entry(const struct model *m, const struct entry *e, uint64_t number)
{
    uint64_t v = model_value(m, number);
    assert_int_equal(e->where, v);
    assert_int_equal(e->meta, v * 3);
    assert_int_equal(e->seq, entry_seq(LEVEL, number));
}

/* What a call may give when something under it fails. */
static bool excused(const struct model *m, beck_status status)
{
    return m->faults && (status == BECK_EIO || status == BECK_EFULL || status == BECK_ENOMEM);
}

static void model_push(struct model *m, uint64_t n)
{
    for (uint64_t i = 0; i < n && m->tail - m->first < m->max; i++) {
        struct entry e = {m->value, m->value * 3, 0};
        beck_error err = {0};
        beck_status status = fifo_push(m->fifo, &e, &err);
        if (status != BECK_OK) {
            if (!excused(m, status))
                fail_msg("push: %s", err.text);
            m->poisoned = true; /* perhaps */
            break;
        }
        m->values[m->tail++ - m->first] = m->value++;
        assert_int_equal(e.seq, entry_seq(LEVEL, m->tail - 1));
    }
}

static void model_pop(struct model *m, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        struct entry e;
        beck_error err = {0};
        beck_status status =
            i % 7 == 3 ? fifo_peek(m->fifo, &e, &err) : fifo_pop(m->fifo, &e, &err);
        if (status == BECK_END) {
            assert_int_equal(m->head, m->tail);
            break;
        }
        if (status != BECK_OK) {
            if (!excused(m, status))
                fail_msg("pop: %s", err.text);
            break;
        }
        assert_true(m->head < m->tail);
        model_check_entry(m, &e, m->head);
        if (i % 7 != 3)
            m->head++;
    }
}

static void model_walk(struct model *m)
{
    struct fifo_walk w;
    struct entry e;
    beck_error err = {0};
    beck_status status;
    fifo_walk_begin(&w, m->fifo);
    uint64_t number = m->head;
    uint64_t pops = rng_below(&m->rng, 3) == 0 ? 1 + rng_below(&m->rng, 50) : 0;
    while ((status = fifo_walk_next(&w, &e, &err)) == BECK_OK) {
        model_check_entry(m, &e, number++);
        if (pops > 0 && number % 5000 == 0) { /* the list moves on meanwhile */
            model_pop(m, pops);
            model_push(m, pops / 2);
            number = number < m->head ? m->head : number;
        }
    }
    fifo_walk_end(&w);
    if (status == BECK_END)
        assert_int_equal(number, m->tail);
    else if (!excused(m, status))
        fail_msg("walk: %s", err.text);
}

/* What others do while a list is synced. */
static void model_meanwhile(struct model *m)
{
    static const uint64_t most[] = {1, 300, 3 * FIFO_BLOCK_ENTRIES};
    if (rng_below(&m->rng, 2) == 0)
        model_push(m, 1 + rng_below(&m->rng, most[rng_below(&m->rng, 3)]));
    if (rng_below(&m->rng, 3) == 0)
        model_pop(m, 1 + rng_below(&m->rng, most[rng_below(&m->rng, 3)]));
}

static void model_flush(struct model *m)
{
    beck_error err = {0};
    struct fifo_sync s;
    beck_status status = fifo_write(m->fifo, &s, &err);
    uint64_t head = m->head, tail = m->tail;
    if (status == BECK_OK) {
        model_meanwhile(m);
        if (rng_below(&m->rng, 20) != 0) /* else something before it failed */
            status = fifo_sync(m->fifo, &s, &err);
        else
            status = BECK_ETIMEDOUT;
        model_meanwhile(m);
        fifo_synced(m->fifo, &s, status == BECK_OK);
    }
    if (status == BECK_ETIMEDOUT || (status == BECK_EPOISONED && m->poisoned))
        return;
    if (status != BECK_OK) {
        if (!excused(m, status))
            fail_msg("flush: %s", err.text);
        m->poisoned = true; /* perhaps */
        return;
    }
    if (rng_below(&m->rng, 4) == 0)
        return; /* the snapshot could not be written */
    m->saved = true;
    m->saved_head = head;
    m->saved_tail = tail;
    if (rng_below(&m->rng, 2) == 0)
        fifo_trim(m->fifo, m->saved_head);
}

static void model_clear(struct model *m)
{
    fifo_clear(m->fifo);
    m->head = m->tail;
    m->poisoned = false;
    m->saved = false;
}

/* The process or the power ends; from what was saved it goes on. */
static void model_reopen(struct model *m, bool power)
{
    fifo_free(m->fifo);
    vfs_sim_fail(m->vfs, VFS_OP_ANY, 0, false, BECK_EIO);
    failing_malloc_at(0, false);
    if (power)
        vfs_sim_crash(m->vfs);
    else
        vfs_sim_kill(m->vfs);
    m->poisoned = false;
    if (!m->saved) {
        assert_int_equal(fifo_remove_files(m->vfs, DIR, NULL), BECK_OK);
        m->head = m->tail;
        m->fifo = new_fifo(m->vfs, m->tail);
        return;
    }
    m->head = m->saved_head;
    m->tail = m->saved_tail;
    beck_error err = {0};
    if (fifo_open(m->vfs, DIR, LEVEL, m->head, m->tail, &m->fifo, &err) != BECK_OK)
        fail_msg("open [%llu, %llu): %s", (unsigned long long)m->head, (unsigned long long)m->tail,
                 err.text);
}

static uint64_t some(struct model *m)
{
    static const uint64_t most[] = {1, 5, 20, 300, FIFO_BLOCK_ENTRIES, 3 * FIFO_BLOCK_ENTRIES};
    return 1 + rng_below(&m->rng, most[rng_below(&m->rng, 6)]);
}

static void model_fault(struct model *m)
{
    uint64_t nth = 1 + rng_below(&m->rng, 6);
    bool forever = rng_below(&m->rng, 3) == 0;
    switch (rng_below(&m->rng, 6)) {
    case 0:
        vfs_sim_fail(m->vfs, VFS_OP_ANY, nth, forever, BECK_EIO);
        break;
    case 1:
        vfs_sim_fail(m->vfs, VFS_OP_WRITE, nth, forever, BECK_EFULL);
        break;
    case 2:
        failing_malloc_at((long)nth, forever);
        break;
    case 3:
        if (rng_below(&m->rng, 4) == 0)
            vfs_sim_fail(m->vfs, VFS_OP_SYNC, nth, forever, BECK_EIO);
        break;
    default:
        vfs_sim_fail(m->vfs, VFS_OP_ANY, 0, false, BECK_EIO);
        failing_malloc_at(0, false);
    }
}

static void model_step(struct model *m)
{
    if (m->faults && rng_below(&m->rng, 4) == 0)
        model_fault(m);
    uint64_t what = rng_below(&m->rng, 100);
    if (what < 38)
        model_push(m, some(m));
    else if (what < 70)
        model_pop(m, some(m));
    else if (what < 74)
        model_pop(m, UINT64_MAX);
    else if (what < 78)
        model_walk(m);
    else if (what < 94)
        model_flush(m);
    else if (what < 95)
        model_clear(m);
    else
        model_reopen(m, rng_below(&m->rng, 2) == 0);
    assert_int_equal(fifo_head(m->fifo), m->head);
    assert_int_equal(fifo_tail(m->fifo), m->tail);
}

static void run_model(uint64_t seed, bool faults)
{
    struct model m = {.vfs = new_disk(seed), .faults = faults, .max = 400000};
    print_message("seed %llu%s\n", (unsigned long long)seed, faults ? ", with faults" : "");
    rng_seed(&m.rng, seed);
    uint64_t at = FILE_ENTRIES * (1 + rng_below(&m.rng, 3)) - rng_below(&m.rng, 40000);
    m.first = m.head = m.tail = rng_below(&m.rng, 4) == 0 ? 0 : at;
    m.values = calloc(m.max, sizeof *m.values);
    m.fifo = new_fifo(m.vfs, m.first);
    for (int i = 0; i < 400; i++)
        model_step(&m);
    vfs_sim_fail(m.vfs, VFS_OP_ANY, 0, false, BECK_EIO);
    failing_malloc_at(0, false);
    m.faults = false;
    model_walk(&m);
    model_pop(&m, UINT64_MAX);
    fifo_free(m.fifo);
    vfs_sim_free(m.vfs);
    free(m.values);
}

static void behaves_as_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed <= last_seed(effort(25, 6)); seed++)
        run_model(seed, false);
}

static void behaves_as_the_model_when_things_fail(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed <= last_seed(effort(60, 12)); seed++)
        run_model(seed, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_entries_back_in_order),
        cmocka_unit_test(without_a_directory_everything_stays_in_memory),
        cmocka_unit_test(consumers_that_keep_up_touch_no_file),
        cmocka_unit_test(a_flush_without_a_change_makes_no_call),
        cmocka_unit_test(a_short_list_takes_no_more_memory_as_it_moves),
        cmocka_unit_test(levels_share_a_directory),
        cmocka_unit_test(removing_files_leaves_those_of_others),
        cmocka_unit_test(trim_removes_files_below_the_head),
        cmocka_unit_test(the_first_trim_removes_what_an_earlier_process_left),
        cmocka_unit_test(a_full_disk_refuses_pushes_and_loses_nothing),
        cmocka_unit_test(after_a_failed_sync_flushes_are_refused),
        cmocka_unit_test(missing_and_cut_files_are_found_when_opening),
        cmocka_unit_test(nonsense_positions_are_refused),
        cmocka_unit_test(a_flipped_bit_is_found_or_harmless),
        cmocka_unit_test(damage_in_the_middle_does_not_take_away_what_is_before),
        cmocka_unit_test(what_was_flushed_survives_later_writes_of_its_block),
        cmocka_unit_test(an_older_snapshot_survives_a_different_continuation),
        cmocka_unit_test(behaves_as_the_model),
        cmocka_unit_test(behaves_as_the_model_when_things_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
