/* Ranges of stored batches, and places by time, against a model. */
#include "world.h"
#include "produced.h"

#include "log/batch.h"
#include "log/partition_impl.h"
#include "support/effort.h"

#include <limits.h>

#define RECORDS_MAX 6000

struct model {
    struct world w;
    struct rng rng;
    struct partition *p;
    int64_t next;
    int64_t time_ms[RECORDS_MAX];
    bool gone[RECORDS_MAX]; /* taken by compaction */
    int key[RECORDS_MAX];
    int64_t recovery_point, log_start;
};

/* One to some records, as a publish or as a producer's batch. */
static void add(struct model *m)
{
    static const beck_level levels[] = {BECK_LEVEL_NONE, BECK_LEVEL_WRITTEN, BECK_LEVEL_SYNCED};
    beck_event events[40];
    const beck_event *list[40];
    char keys[40][16], data[40][512];
    size_t count = 1 + rng_below(&m->rng, rng_below(&m->rng, 4) ? 5 : 40);
    bool append_time = rng_below(&m->rng, 8) == 0, produced = append_time || rng_below(&m->rng, 2);
    if (m->next + (int64_t)count > RECORDS_MAX)
        return;
    for (size_t i = 0; i < count; i++) {
        int64_t now_ms = clock_wall_ms(m->w.env.clock);
        int64_t at = now_ms - (int64_t)rng_below(&m->rng, 50) + (int64_t)rng_below(&m->rng, 3) * 20;
        size_t len = rng_below(&m->rng, sizeof data[i]);
        memset(data[i], 'a' + (int)rng_below(&m->rng, 3), len);
        m->key[m->next + (int64_t)i] = (int)rng_below(&m->rng, 30);
        snprintf(keys[i], sizeof keys[i], "k%d", m->key[m->next + (int64_t)i]);
        events[i] = (beck_event){.type = beck_str("t"),
                                 .subject = beck_str(keys[i]),
                                 .data = bytes_of(data[i], len),
                                 .time_ns = at * 1000000};
        list[i] = &events[i];
        m->time_ms[m->next + (int64_t)i] = append_time ? now_ms : at;
    }
    beck_level level = levels[rng_below(&m->rng, 3)];
    if (produced) {
        struct buf batch;
        buf_init(&batch, 1 << 20);
        assert_int_equal(
            make_batch(&batch, events, count, 0, (beck_codec)rng_below(&m->rng, 5), NULL), 0);
        struct produce a = {
            .batch = batch.data, .size = batch.len, .level = level, .append_time = append_time};
        assert_int_equal(partition_produce(m->p, &a, NULL), 0);
        assert_int_equal(a.first_offset, m->next);
        buf_release(&batch);
    } else {
        struct append a = {.events = list, .count = count, .level = level};
        assert_int_equal(partition_append(m->p, &a, NULL), 0);
        assert_int_equal(a.first_offset, m->next);
    }
    m->next += (int64_t)count;
    world_advance(&m->w, (int64_t)rng_below(&m->rng, 20));
}

static int64_t next_there(const struct model *m, int64_t offset)
{
    while (offset < m->next && m->gone[offset])
        offset++;
    return offset;
}

/* Every record of a batch is the model's, none is missing. Returns the offset behind. */
static int64_t check_batch(struct model *m, beck_bytes batch, const struct batch_header *h,
                           int64_t from)
{
    struct batch_records r;
    struct codec codec;
    struct buf unpacked;
    int64_t offset, timestamp_ms, expected = next_there(m, h->base_offset);
    beck_bytes key;
    bool is_null;
    codec_init(&codec);
    buf_init(&unpacked, 1 << 24);
    assert_true(batch_crc_fits(batch.data, batch.len));
    assert_true(h->base_offset <= next_there(m, from) || h->base_offset == from);
    assert_int_equal(batch_records_open(&r, batch, &codec, &unpacked, NULL), 0);
    for (int32_t i = 0; i < h->count; i++) {
        assert_int_equal(record_peek(r.records, &r.at, h->base_offset, h->base_timestamp_ms,
                                     &offset, &timestamp_ms, &key, &is_null, NULL, NULL),
                         0);
        if (h->attributes & BATCH_LOG_APPEND_TIME)
            timestamp_ms = h->max_timestamp_ms;
        assert_int_equal(offset, expected);
        assert_int_equal(timestamp_ms, m->time_ms[offset]);
        expected = next_there(m, offset + 1);
    }
    codec_release(&codec);
    buf_release(&unpacked);
    return batch_last_offset(h) + 1;
}

static void fetch_once(struct model *m, int64_t offset, size_t bytes_max, bool one, int64_t *next)
{
    struct partition_range r;
    beck_error err = {0};
    int64_t first = partition_first(m->p), high = partition_high(m->p);
    beck_status status =
        partition_fetch(m->p, offset, bytes_max, one ? PARTITION_ONE_AT_LEAST : 0, &r, &err);
    if (offset < first || offset > high) {
        assert_int_equal(status, BECK_ERANGE);
        return;
    }
    if (status)
        print_error("fetch: %s\n", err.text);
    assert_int_equal(status, 0);
    *next = offset;
    if (r.len == 0) {
        /* Nothing is there, or less than the batch was asked for. */
        assert_true(!one || next_there(m, offset) >= high);
        return;
    }
    const uint8_t *at = r.bytes.data;
    size_t left = r.len;
    bool is_first = true;
    assert_non_null(r.block); /* the simulated disk has no descriptors */
    while (left >= BATCH_HEADER) {
        struct batch_header h;
        assert_int_equal(batch_header_read(at, &h, NULL), 0);
        assert_true(!is_first || batch_size(&h) <= left);
        if (batch_size(&h) > left)
            break;
        assert_true(batch_last_offset(&h) < high);
        assert_true(batch_last_offset(&h) >= *next);
        *next = check_batch(m, bytes_of(at, batch_size(&h)), &h, *next);
        at += batch_size(&h);
        left -= batch_size(&h);
        assert_true(is_first || r.len <= bytes_max);
        is_first = false;
    }
    assert_true(*next > offset);
    assert_true(one || r.len <= bytes_max);
    partition_range_release(&r);
}

static void fetch_some(struct model *m)
{
    int64_t offset = (int64_t)rng_below(&m->rng, (uint64_t)m->next + 2), next;
    size_t most = rng_below(&m->rng, 3) ? rng_below(&m->rng, 5000) : 1u << 20;
    fetch_once(m, offset, most, rng_below(&m->rng, 2), &next);
}

static void fetch_all(struct model *m)
{
    int64_t at = partition_first(m->p), high = partition_high(m->p), next;
    while (at < high) {
        fetch_once(m, at, 1 + rng_below(&m->rng, 3000), true, &next);
        if (next == at) {
            assert_true(next_there(m, at) >= high);
            break;
        }
        at = next;
    }
}

static void find_times(struct model *m)
{
    int64_t first = partition_first(m->p), high = partition_high(m->p), offset, time_ms;
    int64_t best = -1, expected = -1;
    for (int64_t i = first; i < high; i++)
        if (!m->gone[i] && (best < 0 || m->time_ms[i] > m->time_ms[best]))
            best = i;
    assert_int_equal(partition_max_time(m->p, &offset, &time_ms, NULL), 0);
    assert_int_equal(offset, best);
    assert_int_equal(time_ms, best < 0 ? -1 : m->time_ms[best]);
    int64_t wanted = m->next == 0 ? 0
                                  : m->time_ms[rng_below(&m->rng, (uint64_t)m->next)] +
                                        (int64_t)rng_below(&m->rng, 3) - 1;
    for (int64_t i = first; i < high && expected < 0; i++)
        if (!m->gone[i] && m->time_ms[i] >= wanted)
            expected = i;
    assert_int_equal(partition_find_time(m->p, wanted, &offset, &time_ms, NULL), 0);
    assert_int_equal(offset, expected);
    assert_int_equal(time_ms, expected < 0 ? -1 : m->time_ms[expected]);
}

/* What compaction left is what a cursor finds. */
static void look_what_is_gone(struct model *m)
{
    struct cursor *c;
    const struct record_view *v;
    int64_t at = partition_first(m->p);
    assert_int_equal(cursor_open(m->p, &c, NULL), 0);
    while (cursor_read(c, at, false, &v, NULL, NULL) == 0) {
        for (; at < v->offset; at++)
            m->gone[at] = true;
        at++;
    }
    for (int64_t high = partition_high(m->p); at < high; at++)
        m->gone[at] = true;
    cursor_close(c);
}

static void reopen(struct model *m, bool clean)
{
    if (clean) {
        assert_int_equal(partition_close(m->p, NULL), 0);
    } else {
        assert_int_equal(partition_sync(m->p, NULL), 0);
        partition_abandon(m->p);
        vfs_sim_kill(m->w.vfs);
    }
    m->p = world_partition(&m->w, m->recovery_point, m->log_start);
    assert_int_equal(partition_next(m->p), m->next);
}

static void run_seed(uint64_t seed)
{
    static struct model m;
    memset(&m, 0, sizeof m);
    rng_seed(&m.rng, seed);
    world_open(&m.w, seed);
    m.w.options.bus.segment_bytes = 4096 << rng_below(&m.rng, 6);
    m.w.options.bus.compact = rng_below(&m.rng, 3) == 0;
    m.w.options.bus.read_synced = rng_below(&m.rng, 4) == 0;
    m.p = world_partition(&m.w, 0, 0);
    for (int i = 0; i < 400; i++) {
        uint64_t chance = rng_below(&m.rng, 100);
        if (chance < 50)
            add(&m);
        else if (chance < 80)
            fetch_some(&m);
        else if (chance < 90)
            find_times(&m);
        else if (chance < 92)
            assert_int_equal(partition_checkpoint(m.p, &m.recovery_point, &m.log_start, NULL), 0);
        else if (chance < 94)
            reopen(&m, rng_below(&m.rng, 2));
        else if (chance < 95)
            assert_int_equal(
                partition_truncate_before(
                    m.p,
                    partition_first(m.p) +
                        (int64_t)rng_below(
                            &m.rng, (uint64_t)(partition_high(m.p) - partition_first(m.p)) / 4 + 1),
                    NULL),
                0);
        else if (chance < 97) {
            assert_int_equal(partition_maintain(m.p, NULL, NULL), 0);
            look_what_is_gone(&m);
        } else {
            fetch_all(&m);
        }
    }
    assert_int_equal(partition_sync(m.p, NULL), 0);
    fetch_all(&m);
    find_times(&m);
    assert_int_equal(partition_close(m.p, NULL), 0);
    world_close(&m.w);
}

static void ranges_and_times_are_those_of_what_is_stored(void **state)
{
    (void)state;
    const char *only = getenv("BECK_TEST_SEED");
    if (only) {
        run_seed(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= effort(60, 12); seed++) {
        fprintf(stderr, "seed %d (BECK_TEST_SEED repeats it)\n", (int)seed);
        run_seed(seed);
    }
}

static void of_files_that_are_shut_only_the_tail_is_warm(void **state)
{
    (void)state;
    struct world w;
    struct partition_range r;
    int64_t offset;
    char text[1000] = {0};
    memset(text, 'x', sizeof text - 1);
    world_open(&w, 5);
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(produce_one(p, -1, 0, text, BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(
        partition_fetch(p, 0, 1000, PARTITION_ONE_AT_LEAST | PARTITION_WARM_ONLY, &r, NULL),
        PARTITION_COLD);
    assert_int_equal(r.len, 0);
    assert_int_equal(
        partition_fetch(p, offset, 1000, PARTITION_ONE_AT_LEAST | PARTITION_WARM_ONLY, &r, NULL),
        0);
    assert_true(r.len > 0 && r.block && !r.segment);
    partition_range_release(&r);
    unsigned flags = PARTITION_ONE_AT_LEAST | PARTITION_WARM_ONLY | PARTITION_NO_BLOCK;
    assert_int_equal(partition_fetch(p, offset, 1000, flags, &r, NULL), 0);
    assert_true(r.len > 0 && r.segment);
    partition_range_release(&r);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static int remove_file(void *ctx, const char *name, bool is_dir)
{
    char path[PATH_MAX];
    assert_false(is_dir);
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    return vfs_unlink(vfs_posix(), path, NULL);
}

static void what_is_in_memory_of_an_open_file_is_warm(void **state)
{
    (void)state;
    struct world w;
    struct partition *p;
    struct partition_range r;
    int64_t offset;
    char dir[] = "/tmp/beck-test-fetch-XXXXXX", text[1000] = {0};
    uint8_t head[8192];
    size_t got;
    memset(text, 'x', sizeof text - 1);
    assert_non_null(mkdtemp(dir));
    world_open(&w, 5);
    w.env.vfs = vfs_posix();
    w.options.bus.segment_bytes = 4 << 20;
    assert_int_equal(partition_open(&w.env, dir, "b", 0, &w.options, 0, 0, &p, NULL), 0);
    for (int i = 0; i < 6000; i++)
        assert_int_equal(produce_one(p, -1, 0, text, BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(p->segment_count, 2);
    struct segment *s = p->segments[1];
    assert_int_equal(
        partition_fetch(p, 0, 1000, PARTITION_ONE_AT_LEAST | PARTITION_WARM_ONLY, &r, NULL),
        PARTITION_COLD); /* that file has to be opened */
    /* Not every file system can tell. */
    bool tells = segment_read_how(s, VFS_WARM_ONLY, head, sizeof head, 0, &got, NULL) == BECK_OK;
    int status = partition_fetch(p, s->base_offset + 1, 100000,
                                 PARTITION_ONE_AT_LEAST | PARTITION_WARM_ONLY, &r, NULL);
    assert_int_equal(status, tells ? BECK_OK : PARTITION_COLD);
    if (tells) {
        assert_ptr_equal(r.segment, s);
        assert_null(r.block);
        assert_true(r.position > 0 && r.len > 90000 && r.len <= 100000);
        assert_true(partition_range_is_warm(&r));
        partition_range_release(&r);
    }
    assert_int_equal(partition_close(p, NULL), 0);
    assert_int_equal(vfs_list(vfs_posix(), dir, remove_file, dir, NULL), 0);
    assert_int_equal(vfs_rmdir(vfs_posix(), dir, NULL), 0);
    w.env.vfs = w.vfs;
    world_close(&w);
}

static void who_would_wait_for_a_new_segment_hears_so(void **state)
{
    (void)state;
    struct world w;
    struct buf batch;
    struct batch_header h;
    beck_partition_info before, after;
    int64_t offset;
    char text[1000] = {0};
    beck_event e = {.type = beck_str("t"), .data = bytes_of(text, sizeof text - 1)};
    struct batch_header producer = {.producer_id = -1, .producer_epoch = -1, .base_sequence = -1};
    memset(text, 'x', sizeof text - 1);
    buf_init(&batch, 1 << 20);
    assert_int_equal(make_batch(&batch, &e, 1, 1700000000000, BECK_CODEC_NONE, &producer), 0);
    assert_int_equal(batch_header_read(batch.data, &h, NULL), 0);
    world_open(&w, 7);
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(produce_one(p, -1, 0, text, BECK_LEVEL_WRITTEN, &offset), 0);
    for (int i = 0; i < 20; i++) {
        partition_info(p, &before);
        bool waits = partition_waits_to_produce(p, &h);
        assert_int_equal(produce_one(p, -1, 0, text, BECK_LEVEL_WRITTEN, &offset), 0);
        partition_info(p, &after);
        assert_int_equal(waits, after.segments > before.segments);
    }
    assert_true(after.segments > 3);
    assert_int_equal(partition_close(p, NULL), 0);
    buf_release(&batch);
    world_close(&w);
}

static void a_range_outlives_the_segment_and_the_partition(void **state)
{
    (void)state;
    struct world w;
    struct partition_range r;
    int64_t offset;
    char text[1000] = {0};
    memset(text, 'x', sizeof text - 1);
    world_open(&w, 3);
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(produce_one(p, -1, 0, text, BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(partition_fetch(p, 0, 100, PARTITION_ONE_AT_LEAST, &r, NULL), 0);
    assert_int_equal(partition_truncate_before(p, 100, NULL), 0);
    assert_int_equal(partition_maintain(p, NULL, NULL), 0);
    assert_int_equal(partition_close(p, NULL), 0);
    struct batch_header h;
    assert_int_equal(batch_header_read(r.bytes.data, &h, NULL), 0);
    assert_int_equal(h.base_offset, 0);
    assert_true(batch_crc_fits(r.bytes.data, r.len));
    partition_range_release(&r);
    partition_range_release(&r);
    world_close(&w);
}

static void what_is_in_memory_is_given_with_checksums(void **state)
{
    (void)state;
    struct world w;
    struct partition_range r;
    int64_t offset;
    world_open(&w, 4);
    w.options.memory = true;
    struct partition *p = world_partition(&w, 0, 0);
    assert_int_equal(put_event(p, "s", "published", BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(produce_one(p, 1, 0, "produced", BECK_LEVEL_WRITTEN, &offset), 0);
    assert_int_equal(offset, 1);
    assert_int_equal(produce_one(p, 1, 0, "produced", BECK_LEVEL_WRITTEN, &offset),
                     BECK_EDUPLICATE);
    assert_int_equal(
        partition_fetch(p, 0, 10000, PARTITION_ONE_AT_LEAST | PARTITION_COMMITTED, &r, NULL), 0);
    struct batch_header h;
    const uint8_t *at = r.bytes.data;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(batch_header_read(at, &h, NULL), 0);
        assert_int_equal(h.base_offset, i);
        assert_true(batch_crc_fits(at, batch_size(&h)));
        at += batch_size(&h);
    }
    assert_ptr_equal(at, (const uint8_t *)r.bytes.data + r.len);
    partition_range_release(&r);
    assert_int_equal(
        partition_fetch(p, 2, 10000, PARTITION_ONE_AT_LEAST | PARTITION_COMMITTED, &r, NULL), 0);
    assert_int_equal(r.len, 0);
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

static void an_idle_partition_keeps_no_memory_for_batches(void **state)
{
    (void)state;
    struct world w;
    int64_t offset;
    world_open(&w, 6);
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(produce_one(p, 1, i, "produced", BECK_LEVEL_SYNCED, &offset), 0);
        assert_int_equal(put_event(p, "s", "published", BECK_LEVEL_SYNCED, &offset), 0);
        for (int n = 0; n < 2; n++)
            assert_int_equal(partition_maintain(p, NULL, NULL), 0);
        assert_int_equal(p->free_count, 0);
        assert_int_equal(p->gather->copied.cap + p->gather->builder.bytes.cap, 0);
    }
    assert_int_equal(partition_close(p, NULL), 0);
    world_close(&w);
}

/* ---- threads ---- */

#define EACH 300

struct worker {
    struct partition *p;
    int id;
    _Atomic(bool) *stop;
    _Atomic(int) *synced; /* completions that came */
};

static void count_synced(void *ctx, beck_status status, int64_t first_offset)
{
    assert_int_equal(status, 0);
    assert_true(first_offset >= 0);
    atomic_fetch_add((_Atomic(int) *)ctx, 1);
}

/* An idempotent producer, with completions and without. */
static void *produce_on(void *arg)
{
    struct worker *me = arg;
    for (int i = 0; i < EACH; i++) {
        beck_event e = {.type = beck_str("t"), .data = beck_str("produced")};
        struct batch_header producer = {.producer_id = me->id, .base_sequence = i};
        struct buf batch;
        buf_init(&batch, 1 << 20);
        assert_int_equal(make_batch(&batch, &e, 1, 5, BECK_CODEC_NONE, &producer), 0);
        struct produce a = {.batch = batch.data,
                            .size = batch.len,
                            .level = i % 3 ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN,
                            .done = count_synced,
                            .done_ctx = me->synced};
        assert_int_equal(partition_produce(me->p, &a, NULL), 0);
        /* At once again: whether the first is written or not. */
        if (i % 10 == 0) {
            struct produce again = a;
            again.done = NULL;
            assert_int_equal(partition_produce(me->p, &again, NULL), BECK_EDUPLICATE);
            assert_int_equal(again.first_offset, a.first_offset);
        }
        buf_release(&batch);
    }
    return NULL;
}

static void *publish_on(void *arg)
{
    struct worker *me = arg;
    int64_t offset;
    for (int i = 0; i < EACH; i++)
        assert_int_equal(put_event(me->p, "s", "published",
                                   i % 4 ? BECK_LEVEL_WRITTEN : BECK_LEVEL_SYNCED, &offset),
                         0);
    return NULL;
}

/* Reads all from the first on, again and again; offsets must have no hole. */
static void *fetch_on(void *arg)
{
    struct worker *me = arg;
    int64_t next = 0;
    while (!atomic_load(me->stop)) {
        struct partition_range r;
        assert_int_equal(partition_fetch(me->p, next, (size_t)(me->id + 1) * 700,
                                         PARTITION_ONE_AT_LEAST, &r, NULL),
                         0);
        if (r.len == 0) {
            next = 0;
            continue;
        }
        const uint8_t *at = r.bytes.data;
        for (size_t left = r.len; left >= BATCH_HEADER;) {
            struct batch_header h;
            assert_int_equal(batch_header_read(at, &h, NULL), 0);
            if (batch_size(&h) > left)
                break;
            assert_true(h.base_offset <= next && batch_last_offset(&h) >= next);
            assert_true(batch_crc_fits(at, batch_size(&h)));
            next = batch_last_offset(&h) + 1;
            left -= batch_size(&h);
            at += batch_size(&h);
        }
        partition_range_release(&r);
    }
    return NULL;
}

static void *look_after(void *arg)
{
    struct worker *me = arg;
    while (!atomic_load(me->stop)) {
        int64_t recovery_point, log_start, offset, time_ms;
        assert_int_equal(partition_checkpoint(me->p, &recovery_point, &log_start, NULL), 0);
        assert_int_equal(partition_max_time(me->p, &offset, &time_ms, NULL), 0);
        beck_bus_options o;
        partition_bus_options(me->p, &o);
        o.codec = o.codec == BECK_CODEC_NONE ? BECK_CODEC_LZ4 : BECK_CODEC_NONE;
        assert_int_equal(partition_alter(me->p, &o, NULL), 0);
    }
    return NULL;
}

static void producers_publishers_and_readers_meet_in_one_partition(void **state)
{
    (void)state;
    static void *(*const roles[])(void *) = {produce_on, produce_on, produce_on, publish_on,
                                             fetch_on,   fetch_on,   look_after};
    enum { ROLES = sizeof roles / sizeof *roles, WRITERS = 4 };
    struct world w;
    pthread_t threads[ROLES];
    struct worker workers[ROLES];
    _Atomic(bool) stop = false;
    _Atomic(int) synced = 0;
    world_open(&w, 5);
    w.options.bus.segment_bytes = 16384;
    struct partition *p = world_partition(&w, 0, 0);
    for (int i = 0; i < ROLES; i++) {
        workers[i] = (struct worker){p, i, &stop, &synced};
        assert_int_equal(pthread_create(&threads[i], NULL, roles[i], &workers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    for (int i = WRITERS; i < ROLES; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(partition_next(p), WRITERS * EACH);
    assert_int_equal(partition_close(p, NULL), 0);
    /* Completions come also when nobody asks any more. */
    committer_free(w.env.committer);
    w.env.committer = NULL;
    assert_int_equal(atomic_load(&synced), 3 * (EACH - EACH / 3));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_and_times_are_those_of_what_is_stored),
        cmocka_unit_test(of_files_that_are_shut_only_the_tail_is_warm),
        cmocka_unit_test(what_is_in_memory_of_an_open_file_is_warm),
        cmocka_unit_test(who_would_wait_for_a_new_segment_hears_so),
        cmocka_unit_test(a_range_outlives_the_segment_and_the_partition),
        cmocka_unit_test(what_is_in_memory_is_given_with_checksums),
        cmocka_unit_test(an_idle_partition_keeps_no_memory_for_batches),
        cmocka_unit_test(producers_publishers_and_readers_meet_in_one_partition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
