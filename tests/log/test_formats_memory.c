/* Memory that runs out while the log's formats are written and read: every allocation is refused
 * once, the call says BECK_ENOMEM, and what was there before still is. */
#include "formats.h"

#include "base/vfs.h"
#include "log/batch.h"
#include "log/checkpoint.h"
#include "log/index.h"
#include "log/producers.h"
#include "support/failing_malloc.h"

static beck_error err;

/* Calls `step` with every allocation in it failing in turn, until one passes. */
static void refuse_each(void *state, beck_status (*step)(void *state), void (*after)(void *state))
{
    for (long nth = 1; nth < 10000; nth++) {
        beck_status st;

        failing_malloc_at(nth, false);
        st = step(state);
        bool reached = failing_malloc_count() >= nth;
        failing_malloc_at(0, false);
        if (!reached) {
            assert_int_equal(st, BECK_OK);
            assert_true(nth > 1);
            return;
        }
        assert_true(st == BECK_ENOMEM || st == BECK_OK);
        if (after != NULL)
            after(state);
    }
    fail_msg("the call never passes");
}

/* ---- batches ---- */

struct batch_world {
    beck_codec kind;
};

static beck_status write_and_read_batch(void *state)
{
    struct batch_world *w = state;
    struct batch_builder b;
    struct codec codec;
    struct buf scratch, memory;
    struct batch_records r;
    struct record_context context;
    struct record_view v;
    beck_bytes batch;
    char data[200] = {0};
    beck_event e = {.type = beck_str("t"), .data = {data, sizeof data}};
    beck_status st = BECK_OK;

    batch_builder_init(&b, 1 << 20);
    codec_init(&codec);
    buf_init(&scratch, 1 << 20);
    buf_init(&memory, 1 << 20);
    record_context_init(&context, beck_str("t"), 0);
    for (int i = 0; st == BECK_OK && i < 20; i++)
        st = batch_builder_add(&b, &e, beck_str("t"), 1);
    if (st == BECK_OK)
        st = batch_builder_finish(&b, &codec, w->kind, 0, NULL, &scratch, &batch, &err);
    if (st == BECK_OK)
        st = batch_records_open(&r, batch, &codec, &memory, &err);
    for (int i = 0; st == BECK_OK && i < 20; i++)
        st = batch_records_next(&r, &context, &v, &err);
    batch_builder_release(&b);
    codec_release(&codec);
    buf_release(&scratch);
    buf_release(&memory);
    return st;
}

static void batches_refuse_and_leak_nothing(void **state)
{
    (void)state;
    for (unsigned kind = BECK_CODEC_NONE; kind <= BECK_CODEC_ZSTD; kind++) {
        struct batch_world w = {(beck_codec)kind};

        refuse_each(&w, write_and_read_batch, NULL);
    }
}

/* ---- producers ---- */

struct producers_world {
    struct producers *p;
    int64_t next;
    struct buf file;
};

static beck_status add_producers(void *state)
{
    struct producers_world *w = state;

    while (w->next < 100) {
        struct batch_header h = {.producer_id = w->next};
        beck_status st = producers_update(w->p, &h, 1000);

        if (st != BECK_OK)
            return st;
        w->next++;
    }
    return BECK_OK;
}

static void count_is_right(void *state)
{
    struct producers_world *w = state;

    assert_int_equal(producers_count(w->p), w->next);
}

static beck_status write_snapshot(void *state)
{
    struct producers_world *w = state;

    buf_release(&w->file);
    return producers_snapshot_write(w->p, &w->file);
}

static beck_status read_snapshot(void *state)
{
    struct producers_world *w = state;

    return producers_snapshot_read(w->p, buf_bytes(&w->file), &err);
}

static void nothing_is_known(void *state)
{
    struct producers_world *w = state;

    assert_int_equal(producers_count(w->p), 0);
}

static void producers_refuse_and_stay_whole(void **state)
{
    struct producers_world w = {.p = producers_new()};

    (void)state;
    buf_init(&w.file, 1 << 20);
    refuse_each(&w, add_producers, count_is_right);
    refuse_each(&w, write_snapshot, count_is_right);
    refuse_each(&w, read_snapshot, nothing_is_known);
    assert_int_equal(producers_count(w.p), 100);
    failing_malloc_at(1, false);
    assert_null(producers_new());
    failing_malloc_at(0, false);
    producers_free(w.p);
    buf_release(&w.file);
}

/* ---- checkpoints and indexes ---- */

struct disk_world {
    struct vfs *disk;
    struct checkpoint c;
};

static beck_status use_checkpoint(void *state)
{
    struct disk_world *w = state;
    struct checkpoint c;
    beck_status st = BECK_OK;

    checkpoint_init(&c);
    for (uint32_t i = 0; st == BECK_OK && i < 40; i++)
        st = checkpoint_set(&c, "topic", i, i);
    if (st == BECK_OK)
        st = checkpoint_write(w->disk, "checkpoint", &c, &err);
    if (st == BECK_OK)
        st = checkpoint_read(w->disk, "checkpoint", &w->c, &err);
    checkpoint_release(&c);
    return st;
}

static void checkpoint_is_old_or_new(void *state)
{
    struct disk_world *w = state;

    assert_true(w->c.count == 1 || w->c.count == 40);
}

static void checkpoints_refuse_and_keep_what_they_had(void **state)
{
    struct disk_world w = {.disk = vfs_sim_new(1)};

    (void)state;
    assert_int_equal(checkpoint_set(&w.c, "old", 0, 1), BECK_OK);
    refuse_each(&w, use_checkpoint, checkpoint_is_old_or_new);
    assert_int_equal(w.c.count, 40);
    checkpoint_release(&w.c);
    vfs_sim_free(w.disk);
}

static beck_status use_index(void *state)
{
    struct disk_world *w = state;
    struct index *x = NULL;
    beck_status st = index_open(w->disk, "index", INDEX_OFFSET, false, &x, &err);

    if (st == BECK_OK)
        st = index_truncate(x, 0, &err);
    for (int32_t i = 1; st == BECK_OK && i < 2000; i++)
        st = index_append_offset(x, i, i, &err);
    if (st == BECK_OK)
        st = index_sync(x, &err);
    index_close(x);
    return st;
}

static void indexes_refuse_and_leak_nothing(void **state)
{
    struct disk_world w = {.disk = vfs_sim_new(1)};

    (void)state;
    refuse_each(&w, use_index, NULL);
    vfs_sim_free(w.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_refuse_and_leak_nothing),
        cmocka_unit_test(producers_refuse_and_stay_whole),
        cmocka_unit_test(checkpoints_refuse_and_keep_what_they_had),
        cmocka_unit_test(indexes_refuse_and_leak_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
