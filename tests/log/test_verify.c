/* Checking a partition's directory: every fault is found, nothing good is called a fault, and nothing
 * is changed. On the simulated disk. */
#include "world.h"

#include "log/partition_impl.h"
#include "log/verify.h"
#include "support/effort.h"

#define FILE_MAX (1 << 20)

struct heard {
    int faults, remarks;
    beck_error last, first_fault;
};

static void hear(void *ctx, const beck_error *e)
{
    struct heard *h = ctx;
    if (e->code == BECK_OK)
        h->remarks++;
    else if (h->faults++ == 0)
        h->first_fault = *e;
    h->last = *e;
}

static beck_status verify(struct world *w, int64_t recovery_point, struct heard *h,
                          struct log_verify_counts *counts)
{
    struct env env = w->env;
    struct log_verify_counts own = {0};
    env.read_only = true;
    env.report = hear;
    env.report_ctx = h;
    memset(h, 0, sizeof *h);
    uint64_t calls = vfs_sim_calls(w->vfs, VFS_OP_ANY & ~(unsigned)(VFS_OP_OPEN | VFS_OP_READ));
    beck_status status = log_verify_partition(&env, DIR_B, "b", 0,
                                              &(struct log_known){.recovery_point = recovery_point},
                                              NULL, counts ? counts : &own, NULL);
    assert_int_equal(vfs_sim_calls(w->vfs, VFS_OP_ANY & ~(unsigned)(VFS_OP_OPEN | VFS_OP_READ)),
                     calls);
    assert_true(status == (h->faults ? BECK_ECORRUPT : BECK_OK));
    return status;
}

static void expect_clean(struct world *w, int64_t recovery_point)
{
    struct heard h;
    if (verify(w, recovery_point, &h, NULL) || h.remarks)
        print_error("%d faults, %d remarks: %s\n", h.faults, h.remarks, h.last.text);
    assert_int_equal(h.faults, 0);
    assert_int_equal(h.remarks, 0);
}

/* ---- making directories ---- */

/* Some batches of several events, in every other one a producer's; closed in order. Returns the end. */
static int64_t make_log(struct world *w, int events, bool producers)
{
    struct partition *p = world_partition(w, 0, 0);
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < events;) {
        beck_event list[4];
        const beck_event *pointers[4];
        char texts[4][256];
        size_t count = 1 + rng_below(&rng, 4);
        for (size_t k = 0; k < count; k++) {
            int len = snprintf(texts[k], sizeof texts[k], "event %d %0*d", i, 1 + i % 150, 7);
            list[k] = (beck_event){.type = beck_str("t.x"),
                                   .subject = beck_str("subject"),
                                   .data = bytes_of(texts[k], (size_t)len)};
            pointers[k] = &list[k];
        }
        struct append a = {.events = pointers, .count = count, .level = BECK_LEVEL_WRITTEN};
        assert_int_equal(partition_append(p, &a, NULL), 0);
        i += (int)count;
        /* Each batch has a newest time of its own, so that every entry of a time index matters. */
        world_advance(w, 1 + (int64_t)rng_below(&rng, 3));
    }
    if (producers) {
        struct batch_header h = {.producer_id = 77, .base_offset = 1, .max_timestamp_ms = 1};
        assert_int_equal(producers_update(p->producers, &h, 1), 0);
    }
    int64_t end = partition_next(p);
    assert_int_equal(partition_close(p, NULL), 0);
    return end;
}

static size_t read_file(struct world *w, const char *name, uint8_t *out)
{
    char path[256];
    struct file *f;
    size_t got;
    snprintf(path, sizeof path, "%s/%s", DIR_B, name);
    assert_int_equal(vfs_open(w->vfs, path, VFS_READ, &f, NULL), 0);
    assert_int_equal(file_read(f, out, FILE_MAX, 0, &got, NULL), 0);
    file_close(f);
    return got;
}

static void write_file(struct world *w, const char *name, const void *data, size_t len)
{
    char path[256];
    struct file *f;
    snprintf(path, sizeof path, "%s/%s", DIR_B, name);
    assert_int_equal(vfs_open(w->vfs, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, NULL), 0);
    assert_int_equal(file_write(f, data, len, 0, NULL), 0);
    file_close(f);
}

struct names {
    char names[64][64];
    int count;
};

static int note(void *ctx, const char *name, bool is_dir)
{
    struct names *n = ctx;
    assert_false(is_dir);
    assert_true(n->count < 64);
    snprintf(n->names[n->count++], 64, "%.63s", name);
    return 0;
}

static void list_files(struct world *w, struct names *n)
{
    n->count = 0;
    assert_int_equal(vfs_list(w->vfs, DIR_B, note, n, NULL), 0);
}

static bool ends(const char *name, const char *suffix)
{
    size_t len = strlen(name), k = strlen(suffix);
    return len > k && strcmp(name + len - k, suffix) == 0;
}

/* ---- tests ---- */

static bool every_other(void *ctx, int64_t offset)
{
    (void)ctx;
    return offset % 5 == 0;
}

static void what_the_partition_writes_is_clean(void **state)
{
    (void)state;
    for (int codec = 0; codec <= 4; codec++) {
        struct world w;
        struct log_verify_counts counts = {0};
        struct heard h;
        world_open(&w, 1);
        w.options.bus.codec = (beck_codec)codec;
        w.options.bus.segment_bytes = 20000;
        w.options.bus.compact = true;
        int64_t end = make_log(&w, 1000, true);
        expect_clean(&w, end);
        assert_int_equal(verify(&w, end, &h, &counts), 0);
        assert_int_equal(counts.records, end);
        assert_true(counts.segments > 1 && counts.batches > counts.segments &&
                    counts.bytes > 20000);
        /* Rewritten segments, deleted ones, and those made anew. */
        struct partition *p = world_partition(&w, end, 0);
        struct partition_owed owed = {NULL, every_other, NULL};
        assert_int_equal(partition_truncate_before(p, end / 2, NULL), 0);
        assert_int_equal(partition_maintain(p, &owed, NULL), 0);
        int64_t recovery_point, log_start;
        assert_int_equal(partition_checkpoint(p, &recovery_point, &log_start, NULL), 0);
        expect_clean(&w, recovery_point);
        assert_int_equal(partition_maintain(p, NULL, NULL), 0);
        expect_clean(&w, recovery_point);
        assert_int_equal(partition_close(p, NULL), 0);
        expect_clean(&w, end);
        world_close(&w);
    }
}

/* A bit that nobody uses: the topic id, and the epoch that only Kafka counts. */
static bool does_not_matter(const char *name, size_t byte)
{
    if (strcmp(name, "partition.metadata") == 0)
        return byte >= strlen("version: 0\ntopic_id: ");
    return strcmp(name, "leader-epoch-checkpoint") == 0 && byte >= 4;
}

/* An opening makes it again. */
static bool is_derived(const char *name)
{
    return strcmp(name, "partition.metadata") == 0 || strcmp(name, "leader-epoch-checkpoint") == 0;
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    static uint8_t content[FILE_MAX];
    struct names n;
    struct world w;
    world_open(&w, 2);
    w.options.bus.segment_bytes = 9000;
    int64_t end = make_log(&w, 160, true);
    expect_clean(&w, end);
    list_files(&w, &n);
    assert_true(n.count >= 9);
    size_t flips = 0;
    for (int i = 0; i < n.count; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", DIR_B, n.names[i]);
        size_t size = read_file(&w, n.names[i], content);
        for (size_t byte = 0; byte < size; byte += effort(1, 3)) {
            /* In headers all bits, elsewhere the checksum does not care which. */
            bool all = !SANITIZED && (!ends(n.names[i], ".log") || byte < 200);
            for (int bit = all ? 0 : (int)(byte % 8); bit < (all ? 8 : (int)(byte % 8) + 1);
                 bit++) {
                struct heard h;
                vfs_sim_flip(w.vfs, path, (int64_t)byte, bit);
                beck_status status = verify(&w, end, &h, NULL);
                /* An entry behind the recovery point is remarked: an opening drops it. */
                bool found = status == BECK_ECORRUPT ||
                             ((ends(n.names[i], "index") || is_derived(n.names[i])) && h.remarks);
                if (!found && !does_not_matter(n.names[i], byte))
                    print_error("%s byte %zu bit %d is not found\n", n.names[i], byte, bit);
                assert_true(found || does_not_matter(n.names[i], byte));
                if (status)
                    assert_non_null(strstr(h.first_fault.text, DIR_B));
                vfs_sim_flip(w.vfs, path, (int64_t)byte, bit);
                flips++;
            }
        }
    }
    assert_true(flips > effort(10000, 4000));
    expect_clean(&w, end);
    world_close(&w);
}

/* Base offsets and lengths are outside of the checksum: all their bits, in every batch. */
static void every_bit_outside_of_the_checksum_is_found(void **state)
{
    (void)state;
    static uint8_t content[FILE_MAX];
    struct names n;
    struct world w;
    world_open(&w, 3);
    w.options.bus.segment_bytes = 9000;
    int64_t end = make_log(&w, 300, false);
    list_files(&w, &n);
    for (int i = 0; i < n.count; i++) {
        char path[256];
        if (!ends(n.names[i], ".log"))
            continue;
        snprintf(path, sizeof path, "%s/%s", DIR_B, n.names[i]);
        size_t size = read_file(&w, n.names[i], content);
        for (size_t at = 0; at < size; at += 12 + get_u32(content + at + 8)) {
            for (size_t bit = 0; bit < 17 * 8; bit += effort(1, 7)) {
                struct heard h;
                vfs_sim_flip(w.vfs, path, (int64_t)(at + bit / 8), (int)(bit % 8));
                if (verify(&w, end, &h, NULL) == BECK_OK)
                    print_error("%s byte %zu bit %zu is not found\n", n.names[i], at + bit / 8,
                                bit % 8);
                assert_true(h.faults > 0);
                vfs_sim_flip(w.vfs, path, (int64_t)(at + bit / 8), (int)(bit % 8));
            }
        }
    }
    world_close(&w);
}

static void every_shortened_file_is_found(void **state)
{
    (void)state;
    static uint8_t content[FILE_MAX];
    struct names n;
    struct world w;
    world_open(&w, 4);
    w.options.bus.segment_bytes = 12000;
    int64_t end = make_log(&w, 150, true);
    list_files(&w, &n);
    for (int i = 0; i < n.count; i++) {
        size_t size = read_file(&w, n.names[i], content);
        size_t entry = ends(n.names[i], ".timeindex") ? 12 : ends(n.names[i], ".index") ? 8 : 0;
        bool sealed = strcmp(n.names[i], "00000000000000000000.timeindex") == 0;
        for (size_t len = 0; len < size; len += 1 + size / 300) {
            struct heard h;
            write_file(&w, n.names[i], content, len);
            verify(&w, end, &h, NULL);
            /* Entries of an index may be missing: but not the newest time of a sealed segment. */
            bool must = entry == 0 || len % entry != 0 || sealed;
            bool found = h.faults > 0 || ((entry != 0 || is_derived(n.names[i])) && h.remarks > 0);
            if (must && !found)
                print_error("%s of %zu bytes is not found\n", n.names[i], len);
            assert_true(!must || found);
        }
        write_file(&w, n.names[i], content, size);
    }
    expect_clean(&w, end);
    world_close(&w);
}

static void what_lies_behind_damage_is_checked_too(void **state)
{
    (void)state;
    static uint8_t content[FILE_MAX];
    struct world w;
    struct heard h;
    struct log_verify_counts whole = {0}, counts = {0};
    world_open(&w, 5);
    w.options.bus.segment_bytes = 1 << 20;
    int64_t end = make_log(&w, 400, false);
    verify(&w, end, &h, &whole);
    const char *name = "00000000000000000000.log";
    size_t size = read_file(&w, name, content);
    vfs_sim_flip(w.vfs, DIR_B "/00000000000000000000.log", 100, 1);
    vfs_sim_flip(w.vfs, DIR_B "/00000000000000000000.log", (int64_t)size / 2, 1);
    assert_int_equal(verify(&w, end, &h, &counts), BECK_ECORRUPT);
    assert_int_equal(h.faults, 2);
    assert_int_equal(counts.batches, whole.batches - 2);
    assert_non_null(strstr(h.first_fault.text, "at byte 0:"));
    assert_non_null(strstr(h.first_fault.text, "restore"));
    world_close(&w);
}

static void an_unfinished_write_is_no_fault_and_missing_events_are_one(void **state)
{
    (void)state;
    static uint8_t content[FILE_MAX];
    struct world w;
    struct heard h;
    world_open(&w, 6);
    w.options.bus.segment_bytes = 1 << 20;
    int64_t end = make_log(&w, 100, false);
    const char *name = "00000000000000000000.log";
    size_t size = read_file(&w, name, content);
    write_file(&w, name, content, size - 10);
    assert_int_equal(verify(&w, end - 10, &h, NULL), BECK_OK);
    assert_true(h.remarks > 0);
    assert_int_equal(verify(&w, end, &h, NULL), BECK_ECORRUPT);
    assert_int_equal(verify(&w, end + 1, &h, NULL), BECK_ECORRUPT);
    write_file(&w, name, content, size);
    assert_int_equal(verify(&w, end + 1, &h, NULL), BECK_ECORRUPT);
    assert_non_null(strstr(h.first_fault.text, "missing"));
    world_close(&w);
}

static void files_that_do_not_belong_are_remarked(void **state)
{
    (void)state;
    static const char *const names[] = {"notes.txt",
                                        "00000000000000000000.log.cleaned",
                                        "00000000000000000000.log.cut-77",
                                        "00000000000000000009.index",
                                        "00000000000000000009.timeindex",
                                        "0000000000000000000x.log",
                                        "00000000000000000000.log.bak",
                                        "99999999999999999999.log",
                                        ".hidden"};
    struct world w;
    struct heard h;
    world_open(&w, 7);
    int64_t end = make_log(&w, 10, false);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        write_file(&w, names[i], "some text", 9);
        assert_int_equal(verify(&w, end, &h, NULL), BECK_OK);
        assert_int_equal(h.remarks, 1);
        assert_non_null(strstr(h.last.text, names[i]));
        snprintf(path, sizeof path, "%s/%s", DIR_B, names[i]);
        assert_int_equal(vfs_unlink(w.vfs, path, NULL), 0);
    }
    assert_int_equal(vfs_mkdir(w.vfs, DIR_B "/folder", NULL), 0);
    assert_int_equal(verify(&w, end, &h, NULL), BECK_OK);
    assert_int_equal(h.remarks, 1);
    assert_int_equal(vfs_rmdir(w.vfs, DIR_B "/folder", NULL), 0);
    write_file(&w, "00000000000000000005.log", "", 0);
    assert_int_equal(verify(&w, end, &h, NULL), BECK_ECORRUPT);
    world_close(&w);
}

static void segments_that_overlap_or_are_missing_are_found(void **state)
{
    (void)state;
    struct names n;
    struct world w;
    struct heard h;
    world_open(&w, 8);
    int64_t end = make_log(&w, 200, false);
    list_files(&w, &n);
    for (int i = 0; i < n.count; i++) {
        char path[256], moved[256];
        if (!ends(n.names[i], ".log"))
            continue;
        snprintf(path, sizeof path, "%s/%s", DIR_B, n.names[i]);
        /* Under the name of an offset that lies inside of it. */
        snprintf(moved, sizeof moved, "%s/%020lld.log", DIR_B, strtoll(n.names[i], NULL, 10) + 1);
        assert_int_equal(vfs_rename(w.vfs, path, moved, NULL), 0);
        assert_int_equal(verify(&w, end, &h, NULL), BECK_ECORRUPT);
        assert_int_equal(vfs_rename(w.vfs, moved, path, NULL), 0);
    }
    expect_clean(&w, end);
    world_close(&w);
}

static void random_rubbish(struct rng *rng, uint8_t *data, size_t *size)
{
    switch (rng_below(rng, 5)) {
    case 0:
        *size = rng_below(rng, 5000);
        for (size_t i = 0; i < *size; i++)
            data[i] = (uint8_t)rng_next(rng);
        return;
    case 1: /* a piece of it in another place */
        if (*size > 100) {
            size_t len = 1 + rng_below(rng, *size / 2);
            memmove(data + rng_below(rng, *size - len), data + rng_below(rng, *size - len), len);
        }
        return;
    case 2: /* numbers that are very large */
        for (int i = 0; i < 5 && *size > 8; i++)
            memset(data + rng_below(rng, *size - 8), rng_below(rng, 2) ? 0xff : 0x7f,
                   1 + rng_below(rng, 8));
        return;
    case 3:
        *size = rng_below(rng, *size + 1);
        return;
    default:
        for (int i = 0; i < 20 && *size > 0; i++)
            data[rng_below(rng, *size)] = (uint8_t)rng_next(rng);
    }
}

/* With checksums that fit, so that the inside is reached. */
static void seal_all(uint8_t *data, size_t size)
{
    for (size_t at = 0; at + 61 <= size;) {
        uint32_t length = get_u32(data + at + 8);
        if (length < 49 || length > size - at - 12)
            return;
        batch_seal(data + at, length + 12);
        at += length + 12;
    }
}

static void rubbish_of_every_kind_does_no_harm(void **state)
{
    (void)state;
    static uint8_t content[FILE_MAX], changed[FILE_MAX];
    for (uint64_t seed = 1; seed <= effort(400, 80); seed++) {
        struct names n;
        struct world w;
        struct heard h;
        struct rng rng;
        rng_seed(&rng, seed);
        world_open(&w, seed);
        w.options.bus.segment_bytes = 9000;
        w.options.bus.codec = (beck_codec)(seed % 5);
        int64_t end = make_log(&w, 60, true);
        list_files(&w, &n);
        for (int round = 0; round < 20; round++) {
            const char *name = n.names[rng_below(&rng, (uint64_t)n.count)];
            size_t size = read_file(&w, name, content), len = size;
            memcpy(changed, content, size);
            random_rubbish(&rng, changed, &len);
            if (ends(name, ".log") && rng_below(&rng, 2))
                seal_all(changed, len);
            write_file(&w, name, changed, len);
            verify(&w, (int64_t)rng_below(&rng, (uint64_t)end + 2), &h, NULL);
            assert_true(h.faults < 200);
            /* What is called good opens, and reads to the end. */
            if (rng_below(&rng, 4))
                write_file(&w, name, content, size);
        }
        world_close(&w);
    }
}

static void a_log_that_is_called_good_can_be_opened_and_read(void **state)
{
    (void)state;
    static uint8_t content[FILE_MAX];
    int good = 0;
    for (uint64_t seed = 1; seed <= effort(500, 200); seed++) {
        struct names n;
        struct world w;
        struct heard h;
        struct rng rng;
        struct partition *p;
        rng_seed(&rng, seed);
        world_open(&w, seed);
        w.options.bus.segment_bytes = 9000;
        int64_t end = make_log(&w, 60, true);
        list_files(&w, &n);
        const char *name = n.names[rng_below(&rng, (uint64_t)n.count)];
        size_t size = read_file(&w, name, content);
        random_rubbish(&rng, content, &size);
        write_file(&w, name, content, size);
        int64_t recovery_point = (int64_t)rng_below(&rng, (uint64_t)end + 1);
        if (verify(&w, recovery_point, &h, NULL) == BECK_OK) {
            struct cursor *c;
            const struct record_view *v;
            int64_t offset = 0;
            good++;
            assert_int_equal(
                partition_open(&w.env, DIR_B, "b", 0, &w.options, recovery_point, 0, &p, NULL), 0);
            assert_int_equal(cursor_open(p, &c, NULL), 0);
            while (cursor_read(c, offset, false, &v, NULL, NULL) == BECK_OK) {
                assert_int_equal(v->offset, offset);
                offset++;
            }
            assert_int_equal(offset, partition_next(p));
            assert_true(offset >= recovery_point);
            cursor_close(c);
            assert_int_equal(partition_close(p, NULL), 0);
        }
        world_close(&w);
    }
    print_message("%d are called good\n", good);
    assert_true(good > (int)effort(20, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_partition_writes_is_clean),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(every_bit_outside_of_the_checksum_is_found),
        cmocka_unit_test(every_shortened_file_is_found),
        cmocka_unit_test(what_lies_behind_damage_is_checked_too),
        cmocka_unit_test(an_unfinished_write_is_no_fault_and_missing_events_are_one),
        cmocka_unit_test(files_that_do_not_belong_are_remarked),
        cmocka_unit_test(segments_that_overlap_or_are_missing_are_found),
        cmocka_unit_test(rubbish_of_every_kind_does_no_harm),
        cmocka_unit_test(a_log_that_is_called_good_can_be_opened_and_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
