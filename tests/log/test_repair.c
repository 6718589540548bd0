/* Giving up what cannot be read, on the simulated disk: what is cut away is kept, and a repair that was interrupted
 * anywhere is finished by the next one with the same result. */
#include "world.h"

#include "log/verify.h"

#define FILES_MAX 64
#define EVENTS 160

struct file_content {
    char name[96];
    struct buf bytes;
};

struct content {
    struct world *w;
    struct file_content list[FILES_MAX];
    size_t count;
};

/* Indexes are derived: an opening makes those again that are missing. */
static int add_file(void *ctx, const char *name, bool is_dir)
{
    struct content *c = ctx;
    char path[256];
    if (is_dir || !strstr(name, ".log"))
        return 0;
    assert_true(c->count < FILES_MAX);
    struct file_content *f = &c->list[c->count++];
    snprintf(f->name, sizeof f->name, "%s", name);
    buf_init(&f->bytes, 1u << 20);
    snprintf(path, sizeof path, DIR_B "/%s", name);
    assert_int_equal(vfs_read_file(c->w->vfs, path, f->bytes.max, &f->bytes, NULL), 0);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct file_content *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void content_read(struct content *c, struct world *w)
{
    *c = (struct content){.w = w};
    assert_int_equal(vfs_list(w->vfs, DIR_B, add_file, c, NULL), 0);
    qsort(c->list, c->count, sizeof *c->list, by_name);
}

static void content_release(struct content *c)
{
    for (size_t i = 0; i < c->count; i++)
        buf_release(&c->list[i].bytes);
}

static const struct file_content *content_find(const struct content *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->list[i].name, name) == 0)
            return &c->list[i];
    return NULL;
}

static void assert_same(const struct content *a, const struct content *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_string_equal(a->list[i].name, b->list[i].name);
        if (!bytes_equal(buf_bytes(&a->list[i].bytes), buf_bytes(&b->list[i].bytes)))
            fail_msg("%s differs", a->list[i].name);
    }
}

static void fill(struct world *w)
{
    char text[200];
    struct partition *p = world_partition(w, 0, 0);
    for (int i = 0; i < EVENTS; i++) {
        snprintf(text, sizeof text, "event %d %0*d", i, 60 + i % 90, 7);
        assert_int_equal(put_event(p, "s", text, BECK_LEVEL_SYNCED, NULL), 0);
        world_advance(w, 1);
    }
    assert_true(segments_of(p) > 5);
    assert_int_equal(partition_close(p, NULL), 0);
}

static int64_t size_of(struct world *w, const char *path)
{
    struct file *f;
    int64_t size;
    assert_int_equal(vfs_open(w->vfs, path, VFS_READ, &f, NULL), 0);
    assert_int_equal(file_size(f, &size, NULL), 0);
    file_close(f);
    return size;
}

static void shorten(struct world *w, const char *path, int64_t size)
{
    struct file *f;
    assert_int_equal(vfs_open(w->vfs, path, VFS_WRITE, &f, NULL), 0);
    assert_int_equal(file_truncate(f, size, NULL), 0);
    assert_int_equal(file_sync(f, NULL), 0);
    file_close(f);
}

/* The first segment is damaged in two places, the third is gone, and the last is cut off inside of a batch. */
static void harm(struct world *w)
{
    struct content before;
    char path[256];
    content_read(&before, w);
    snprintf(path, sizeof path, DIR_B "/%s", before.list[0].name);
    vfs_sim_flip(w->vfs, path, 500, 3);
    vfs_sim_flip(w->vfs, path, 2500, 3);
    snprintf(path, sizeof path, DIR_B "/%s", before.list[before.count - 1].name);
    shorten(w, path, size_of(w, path) - 20);
    snprintf(path, sizeof path, DIR_B "/%s", before.list[2].name);
    assert_int_equal(vfs_unlink(w->vfs, path, NULL), 0);
    assert_int_equal(vfs_sync_dir(w->vfs, DIR_B, NULL), 0);
    content_release(&before);
}

static void begin(struct world *w)
{
    world_open(w, 11);
    fill(w);
    harm(w);
}

struct told {
    int given_up, kept;
    char last_kept[512];
};

static void hear(void *ctx, const beck_error *e)
{
    struct told *t = ctx;
    assert_int_equal(e->code, BECK_OK);
    t->given_up += strstr(e->text, "gave up events") != NULL;
    if (strstr(e->text, "a copy of")) {
        t->kept++;
        snprintf(t->last_kept, sizeof t->last_kept, "%s", e->text);
    }
}

static void ignore(void *ctx, const beck_error *e)
{
    (void)ctx;
    (void)e;
}

static beck_status look(struct world *w, struct told *t)
{
    struct env env = w->env;
    struct log_verify_counts counts = {0};
    struct log_repair repair = {hear, t};
    env.report = ignore;
    env.read_only = !t;
    return log_verify_partition(&env, DIR_B, "b", 0,
                                &(struct log_known){.recovery_point = EVENTS, .dense = true},
                                t ? &repair : NULL, &counts, NULL);
}

/* It opens without a report, and every event is there or given up. */
static int read_all(struct world *w)
{
    struct cursor *c;
    const struct record_view *v;
    int count = 0;
    w->reports = 0;
    struct partition *p = world_partition(w, EVENTS, 0);
    assert_int_equal(w->reports, 0);
    assert_int_equal(partition_next(p), EVENTS);
    assert_int_equal(cursor_open(p, &c, NULL), 0);
    for (int64_t offset = 0; !cursor_read(c, offset, false, &v, NULL, NULL); count++)
        offset = v->offset + 1;
    cursor_close(c);
    assert_int_equal(partition_close(p, NULL), 0);
    return count;
}

static void damaged_bytes_are_kept_beside_the_log_as_they_were(void **state)
{
    (void)state;
    struct world w;
    struct content before, after;
    struct told told = {0};
    begin(&w);
    content_read(&before, &w);
    assert_int_equal(look(&w, &told), BECK_ECORRUPT);
    assert_int_equal(look(&w, NULL), BECK_OK);
    assert_int_equal(told.kept, 3);
    content_read(&after, &w);
    int kept = 0;
    for (size_t i = 0; i < after.count; i++) {
        const struct file_content *f = &after.list[i];
        char log[32], path[256];
        long long position;
        unsigned crc;
        if (!strstr(f->name, ".damaged-"))
            continue;
        kept++;
        assert_int_equal(sscanf(f->name, "%24[0-9.log].damaged-%lld-%8x", log, &position, &crc), 3);
        const struct file_content *was = content_find(&before, log);
        assert_non_null(was);
        assert_true(f->bytes.len > 0 && (size_t)position + f->bytes.len <= was->bytes.len);
        assert_memory_equal(f->bytes.data, was->bytes.data + position, f->bytes.len);
        snprintf(path, sizeof path, DIR_B "/%s", f->name);
        if (i == after.count - 1)
            assert_non_null(strstr(told.last_kept, path));
    }
    assert_int_equal(kept, 3);
    int left = read_all(&w);
    assert_true(left > EVENTS / 2 && left < EVENTS);
    /* Who looks at what is there does not mind, nor does another opening. */
    assert_int_equal(look(&w, NULL), BECK_OK);
    assert_int_equal(read_all(&w), left);
    content_release(&before);
    content_release(&after);
    world_close(&w);
}

static void a_later_repair_of_the_same_place_keeps_the_earlier_copy(void **state)
{
    (void)state;
    struct world w;
    struct told told = {0};
    struct content first, second;
    char path[256];
    begin(&w);
    assert_int_equal(look(&w, &told), BECK_ECORRUPT);
    content_read(&first, &w);
    snprintf(path, sizeof path, DIR_B "/%s", first.list[0].name);
    /* The empty batch which stands where the first damage was. */
    long long position;
    assert_int_equal(sscanf(first.list[1].name, "%*24[0-9.log].damaged-%lld-", &position), 1);
    vfs_sim_flip(w.vfs, path, position + 30, 1);
    assert_int_equal(look(&w, &told), BECK_ECORRUPT);
    assert_int_equal(look(&w, NULL), BECK_OK);
    content_read(&second, &w);
    assert_int_equal(second.count, first.count + 1);
    for (size_t i = 0; i < first.count; i++)
        if (strstr(first.list[i].name, ".damaged-"))
            assert_non_null(content_find(&second, first.list[i].name));
    content_release(&first);
    content_release(&second);
    world_close(&w);
}

static void interrupt_everywhere(bool power)
{
    struct world w;
    struct content reference;
    struct told told = {0};
    begin(&w);
    look(&w, &told);
    assert_int_equal(look(&w, NULL), BECK_OK);
    content_read(&reference, &w);
    int left = read_all(&w);
    world_close(&w);
    uint64_t n = 1;
    for (bool met = true; met; n++) {
        struct content now;
        begin(&w);
        vfs_sim_stop_at(w.vfs, n);
        look(&w, &told);
        met = !vfs_exists(w.vfs, DIR_B);
        if (power)
            vfs_sim_crash(w.vfs);
        else
            vfs_sim_kill(w.vfs);
        beck_status status = look(&w, &told);
        assert_true(!status || status == BECK_ECORRUPT);
        assert_int_equal(look(&w, NULL), BECK_OK);
        assert_int_equal(read_all(&w), left);
        content_read(&now, &w);
        assert_same(&now, &reference);
        content_release(&now);
        world_close(&w);
    }
    content_release(&reference);
    print_message("interrupted at calls up to %llu\n", (unsigned long long)n - 1);
    assert_true(n > 20);
}

static void the_power_may_go_at_any_call_of_a_repair(void **state)
{
    (void)state;
    interrupt_everywhere(true);
}

static void the_process_may_end_at_any_call_of_a_repair(void **state)
{
    (void)state;
    interrupt_everywhere(false);
}

/* What cannot be kept is not given up. */
static void a_full_disk_leaves_the_log_as_it_is(void **state)
{
    (void)state;
    struct world w;
    struct told told = {0};
    struct content before, after;
    begin(&w);
    content_read(&before, &w);
    vfs_sim_fail(w.vfs, VFS_OP_WRITE, 1, true, BECK_EFULL);
    assert_int_equal(look(&w, &told), BECK_EFULL);
    vfs_sim_fail(w.vfs, 0, 0, false, BECK_OK);
    content_read(&after, &w);
    assert_same(&before, &after);
    content_release(&before);
    content_release(&after);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_bytes_are_kept_beside_the_log_as_they_were),
        cmocka_unit_test(a_later_repair_of_the_same_place_keeps_the_earlier_copy),
        cmocka_unit_test(the_power_may_go_at_any_call_of_a_repair),
        cmocka_unit_test(the_process_may_end_at_any_call_of_a_repair),
        cmocka_unit_test(a_full_disk_leaves_the_log_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
