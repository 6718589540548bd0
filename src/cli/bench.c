/*
 * beck bench: what this machine and this disk give, in a scratch directory beside the data
 * directory, which is removed again. Each measurement has a handle of its own; the time of a disk
 * alone (a write and fdatasync, over and over) stands beside what waits for it.
 */
#include "cli/commands.h"
#include "cli/print.h"
#include "event/value.h"
#include "base/clock.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EVENTS_DEFAULT 1000000
#define QUEUE_EVENTS_DEFAULT 200000
#define SYNCED_NS_MAX 2000000000 /* without --events, synced measurements end then */
#define SAMPLES_MAX 200000
#define THREADS_MAX 256
#define SIZE_MAX_BYTES (1 << 20)
#define PATH_MAX_BYTES 4200

static const char *const levels[] = {"none", "written", "synced", NULL};

static const struct option options[] = {
    {.name = "events",
     .letter = 'n',
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = 1000000000,
     .help = "how many; else what takes a few seconds"},
    {.name = "size",
     .kind = OPTION_SIZE,
     .preset = "128",
     .max = SIZE_MAX_BYTES,
     .help = "bytes of data of an event"},
    {.name = "batch",
     .kind = OPTION_NUMBER,
     .preset = "64",
     .min = 1,
     .max = 100000,
     .help = "events published at once; one by one in publish"},
    {.name = "level",
     .kind = OPTION_CHOICE,
     .choices = levels,
     .help = "what to wait for; else written, and synced in publish"},
    {.name = "threads",
     .kind = OPTION_NUMBER,
     .preset = "1",
     .min = 1,
     .max = THREADS_MAX,
     .help = "publishers; in queue: workers"},
    {0}};

/* What was measured. */
struct result {
    const char *name;
    beck_level level; /* BECK_LEVEL_DEFAULT: does not apply */
    int64_t events, took_ns;
    size_t sample_count;
    int64_t *samples; /* latencies in ns, sorted */
};

struct bench {
    struct call *call;
    char dir[PATH_MAX_BYTES];
    int64_t size;
    size_t batch;
    uint32_t threads;
    uint8_t *payload;
    struct table table;
    beck *handle;
    beck_bus *bus;
};

static int64_t now_ns(void)
{
    return clock_mono_ns(clock_system());
}

/* ---- the scratch directory ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static int make_dir(struct bench *b)
{
    const char *data = b->call->data_dir;
    size_t len = strlen(data);
    while (len > 1 && data[len - 1] == '/') {
        len--;
    }
    if (len > PATH_MAX_BYTES - 32) {
        return call_usage(b->call, "the path of --data is too long");
    }
    snprintf(b->dir, sizeof b->dir, "%.*s.bench-XXXXXX", (int)len, data);
    if (!mkdtemp(b->dir)) {
        return call_error(b->call, EXIT_DISK, "no directory can be made beside '%s': %s", data,
                          strerror(errno));
    }
    return EXIT_DONE;
}

/* A handle on an empty data directory, with one bus. */
static int open_handle(struct bench *b, const char *name)
{
    char dir[PATH_MAX_BYTES + 32];
    snprintf(dir, sizeof dir, "%s/%s", b->dir, name);
    beck_options how = {.data_dir = dir};
    beck_error err;
    beck_status status = beck_open(&b->handle, &how, &err);
    status = status ? status : beck_bus_create(b->handle, "bench", NULL, &b->bus, &err);
    return status ? call_fail(b->call, status, &err) : EXIT_DONE;
}

static void close_handle(struct bench *b)
{
    beck_close(b->handle);
    b->handle = NULL;
}

/* ---- results ---- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void cell_us(struct table *t, const struct result *r, size_t permille)
{
    char text[32] = "";
    if (r->sample_count > 0) {
        size_t at = (r->sample_count - 1) * permille / 1000;
        snprintf(text, sizeof text, "%.1f us", (double)r->samples[at] / 1e3);
    }
    table_text(t, text);
}

static const char *level_name(beck_level level)
{
    return level == BECK_LEVEL_DEFAULT ? "" : levels[level - 1];
}

static int report_json(const struct bench *b, const struct result *r, double rate)
{
    struct json_line j;
    json_line_begin(&j);
    json_line_text(&j, "name", beck_str(r->name));
    json_line_number(&j, "events", r->events);
    json_line_number(&j, "size", b->size);
    if (r->level != BECK_LEVEL_DEFAULT) {
        json_line_text(&j, "level", beck_str(level_name(r->level)));
    }
    json_line_number(&j, "events_per_second", (int64_t)rate);
    json_line_number(&j, "bytes_per_second", (int64_t)(rate * (double)b->size));
    static const struct {
        const char *name;
        size_t permille;
    } points[] = {{"p50_ns", 500}, {"p90_ns", 900}, {"p99_ns", 990}, {"max_ns", 1000}};
    for (size_t i = 0; i < 4 && r->sample_count > 0; i++) {
        json_line_number(&j, points[i].name,
                         r->samples[(r->sample_count - 1) * points[i].permille / 1000]);
    }
    return json_line_print(&j, b->call);
}

static int report(struct bench *b, struct result *r)
{
    double seconds = (double)(r->took_ns > 0 ? r->took_ns : 1) / 1e9;
    double rate = (double)r->events / seconds;
    if (r->sample_count > 0) {
        qsort(r->samples, r->sample_count, sizeof *r->samples, by_value);
    }
    if (b->call->json) {
        return report_json(b, r, rate);
    }
    char text[VALUE_TEXT_MAX + 8];
    table_text(&b->table, r->name);
    table_text(&b->table, level_name(r->level));
    table_number(&b->table, r->events);
    value_number_text((int64_t)rate, text);
    table_text(&b->table, text);
    value_size_text((int64_t)(rate * (double)b->size), text);
    table_text(&b->table, text);
    cell_us(&b->table, r, 500);
    cell_us(&b->table, r, 900);
    cell_us(&b->table, r, 990);
    cell_us(&b->table, r, 1000);
    return EXIT_DONE;
}

/* ---- publishers ---- */

struct publishers {
    struct bench *bench;
    beck_level level;
    size_t batch;
    int64_t events, until_ns; /* until_ns: 0 for no limit in time */
    int64_t *samples;         /* NULL: none are wanted */
    _Atomic(int64_t) begun, done;
    _Atomic(size_t) sample_count;
    _Atomic(bool) failed;
    pthread_mutex_t lock;
    beck_error err; /* the first one */
};

static void publish_batch(struct publishers *p, const beck_event *events, size_t count)
{
    beck_publish_options how = {.level = p->level};
    beck_error err;
    int64_t start = p->samples ? now_ns() : 0;
    beck_status status = beck_publish_many(p->bench->bus, events, count, &how, NULL, &err);
    if (status) {
        pthread_mutex_lock(&p->lock);
        p->err = p->failed ? p->err : err;
        p->failed = true;
        pthread_mutex_unlock(&p->lock);
        return;
    }
    atomic_fetch_add(&p->done, (int64_t)count);
    if (p->samples) {
        int64_t took = now_ns() - start;
        size_t at = atomic_fetch_add(&p->sample_count, 1);
        if (at < SAMPLES_MAX) {
            p->samples[at] = took;
        }
    }
}

static void *publish(void *arg)
{
    struct publishers *p = arg;
    struct bench *b = p->bench;
    beck_event *events = calloc(p->batch, sizeof *events);
    for (size_t i = 0; events && i < p->batch; i++) {
        events[i].type = beck_str("bench.event");
        events[i].data = (beck_bytes){b->payload, (size_t)b->size};
    }
    while (events && !p->failed && !call_stopping(b->call) &&
           (!p->until_ns || now_ns() < p->until_ns)) {
        int64_t first = atomic_fetch_add(&p->begun, (int64_t)p->batch);
        int64_t left = p->events - first;
        if (left <= 0) {
            break;
        }
        publish_batch(p, events, left < (int64_t)p->batch ? (size_t)left : p->batch);
    }
    free(events);
    return NULL;
}

/* Publishes from all threads, and fills r with what came of it. */
static int publish_all(struct publishers *p, uint32_t threads, struct result *r)
{
    pthread_t list[THREADS_MAX];
    uint32_t started = 0;
    pthread_mutex_init(&p->lock, NULL);
    int64_t start = now_ns();
    while (started < threads && pthread_create(&list[started], NULL, publish, p) == 0) {
        started++;
    }
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(list[i], NULL);
    }
    r->took_ns = now_ns() - start;
    r->events = p->done;
    r->level = p->level;
    r->samples = p->samples;
    r->sample_count = p->sample_count < SAMPLES_MAX ? p->sample_count : SAMPLES_MAX;
    pthread_mutex_destroy(&p->lock);
    if (p->failed) {
        return call_fail(p->bench->call, p->err.code, &p->err);
    }
    return started < threads ? call_error(p->bench->call, EXIT_FAILED, "no thread could be started")
                             : EXIT_DONE;
}

static beck_level level_of(const struct bench *b, beck_level otherwise)
{
    int choice = option_choice(b->call, "level");
    return choice < 0 ? otherwise : (beck_level)(choice + 1);
}

/* ---- what is measured ---- */

static int measure_append(struct bench *b)
{
    int code = open_handle(b, "append");
    struct result r = {.name = "append"};
    struct publishers p = {.bench = b,
                           .level = level_of(b, BECK_LEVEL_WRITTEN),
                           .batch = b->batch,
                           .events = option_number(b->call, "events", EVENTS_DEFAULT)};
    if (p.level == BECK_LEVEL_SYNCED && !option_given(b->call, "events")) {
        p.until_ns = now_ns() + SYNCED_NS_MAX;
    }
    code = code ? code : publish_all(&p, b->threads, &r);
    close_handle(b);
    return code ? code : report(b, &r);
}

/* The disk alone: as many bytes written at the end of a file as an event takes, and fdatasync. */
static int measure_disk(struct bench *b)
{
    char path[PATH_MAX_BYTES + 32];
    snprintf(path, sizeof path, "%s/disk", b->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct result r = {.name = "disk alone", .level = BECK_LEVEL_SYNCED};
    r.samples = calloc(SAMPLES_MAX, sizeof *r.samples);
    int64_t start = now_ns();
    int64_t until = option_given(b->call, "events") ? INT64_MAX : start + SYNCED_NS_MAX / 2;
    int64_t events = option_number(b->call, "events", SAMPLES_MAX);
    size_t size = b->size > 0 ? (size_t)b->size : 1;
    bool good = fd >= 0 && r.samples;
    while (good && r.events < events && r.events < SAMPLES_MAX && now_ns() < until &&
           !call_stopping(b->call)) {
        int64_t began = now_ns();
        good = write(fd, b->payload, size) == (ssize_t)size && fdatasync(fd) == 0;
        r.samples[r.sample_count++] = now_ns() - began;
        r.events++;
    }
    r.took_ns = now_ns() - start;
    int code =
        good ? report(b, &r)
             : call_error(b->call, EXIT_DISK, "'%s' cannot be written: %s", path, strerror(errno));
    if (fd >= 0) {
        close(fd);
    }
    free(r.samples);
    return code;
}

/* One event at a time from each thread: what each of them waits. */
static int measure_publish(struct bench *b)
{
    int code = open_handle(b, "publish");
    struct result r = {.name = "publish"};
    struct publishers p = {.bench = b,
                           .level = level_of(b, BECK_LEVEL_SYNCED),
                           .batch = 1,
                           .events = option_number(b->call, "events", EVENTS_DEFAULT)};
    p.samples = calloc(SAMPLES_MAX, sizeof *p.samples);
    if (!option_given(b->call, "events")) {
        p.until_ns = now_ns() + SYNCED_NS_MAX;
    }
    code = code || p.samples ? code : call_error(b->call, EXIT_FAILED, "no memory for the samples");
    code = code ? code : publish_all(&p, b->threads, &r);
    close_handle(b);
    code = code ? code : report(b, &r);
    free(p.samples);
    return code || p.level != BECK_LEVEL_SYNCED ? code : measure_disk(b);
}

static int count_delivery(void *ctx, const beck_delivery *delivery, char *why)
{
    (void)delivery;
    (void)why;
    atomic_fetch_add((_Atomic(int64_t) *)ctx, 1);
    return BECK_SETTLE;
}

/* Published by one thread, and delivered to and settled by the workers meanwhile. */
static int measure_queue(struct bench *b)
{
    int code = open_handle(b, "queue");
    beck_error err;
    beck_workers *workers = NULL;
    _Atomic(int64_t) handled = 0;
    beck_worker_options how = {.threads = b->threads, .prefetch = 256};
    beck_binding binding = {.bus = "bench"};
    struct result r = {.name = "queue"};
    struct publishers p = {.bench = b,
                           .level = level_of(b, BECK_LEVEL_WRITTEN),
                           .batch = b->batch,
                           .events = option_number(b->call, "events", QUEUE_EVENTS_DEFAULT)};
    beck_status status = code ? BECK_OK : beck_queue_create(b->handle, "bench", NULL, &err);
    status = code || status ? status : beck_queue_bind(b->handle, "bench", &binding, &err);
    int64_t start = now_ns();
    if (!code && !status) {
        status =
            beck_workers_start(b->handle, "bench", count_delivery, &handled, &how, &workers, &err);
    }
    code = status ? call_fail(b->call, status, &err) : code;
    code = code ? code : publish_all(&p, 1, &r);
    while (!code && handled < r.events && call_sleep(b->call, 1)) {
    }
    beck_workers_stop(workers);
    r.took_ns = now_ns() - start;
    close_handle(b);
    return code ? code : report(b, &r);
}

/* Events read from the beginning to the end. */
static int read_all(struct bench *b, struct result *r)
{
    beck_read_options how = {.from = {.kind = BECK_FROM_EARLIEST}};
    beck_reader *reader;
    beck_error err;
    int64_t start = now_ns();
    beck_status status = beck_reader_open(b->bus, &how, &reader, &err);
    if (status) {
        return call_fail(b->call, status, &err);
    }
    const beck_event *e;
    while (!(status = beck_reader_next(reader, 0, &e, &err)) && !call_stopping(b->call)) {
        r->events++;
    }
    beck_reader_close(reader);
    r->took_ns = now_ns() - start;
    return status && status != BECK_END ? call_fail(b->call, status, &err) : EXIT_DONE;
}

static int measure_replay(struct bench *b)
{
    int code = open_handle(b, "replay");
    struct result written = {0}, r = {.name = "replay"};
    struct publishers p = {.bench = b,
                           .level = BECK_LEVEL_WRITTEN,
                           .batch = b->batch,
                           .events = option_number(b->call, "events", EVENTS_DEFAULT)};
    code = code ? code : publish_all(&p, 1, &written);
    code = code ? code : read_all(b, &r);
    close_handle(b);
    return code ? code : report(b, &r);
}

/* ---- the command ---- */

static const struct {
    const char *name;
    int (*measure)(struct bench *b);
} measurements[] = {{"append", measure_append},
                    {"publish", measure_publish},
                    {"queue", measure_queue},
                    {"replay", measure_replay}};

#define MEASUREMENTS (sizeof measurements / sizeof measurements[0])

static int run(struct bench *b, const char *wanted)
{
    static const char *const headings[] = {"what", "level", ">events", ">events/s", ">data/s",
                                           ">p50", ">p90",  ">p99",    ">max",      NULL};
    int code = EXIT_DONE;
    table_init(&b->table, headings);
    for (size_t i = 0; i < MEASUREMENTS && !code && !call_stopping(b->call); i++) {
        if (strcmp(wanted, "all") == 0 || strcmp(wanted, measurements[i].name) == 0) {
            code = measurements[i].measure(b);
        }
    }
    if (!b->call->json) {
        int printed = table_print(&b->table, b->call);
        code = code ? code : printed;
    }
    return call_stopping(b->call) && !code ? EXIT_INTERRUPTED : code;
}

static int bench_run(struct call *call)
{
    const char *wanted = call->argument_count ? call->arguments[0] : "all";
    bool known = strcmp(wanted, "all") == 0;
    for (size_t i = 0; i < MEASUREMENTS; i++) {
        known = known || strcmp(wanted, measurements[i].name) == 0;
    }
    if (!known) {
        return call_usage(
            call, "'%s' cannot be measured: give append, publish, queue, replay or all", wanted);
    }
    struct bench b = {.call = call,
                      .size = option_number(call, "size", 0),
                      .batch = (size_t)option_number(call, "batch", 0),
                      .threads = (uint32_t)option_number(call, "threads", 0)};
    b.payload = calloc(1, (size_t)b.size + 1);
    if (!b.payload) {
        return call_error(call, EXIT_FAILED, "no memory for an event");
    }
    memset(b.payload, '1', (size_t)b.size);
    int code = make_dir(&b);
    if (!code) {
        code = run(&b, wanted);
        nftw(b.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    free(b.payload);
    return code;
}

const struct command command_bench = {
    .name = "bench",
    .arguments = "[append|publish|queue|replay|all]",
    .arguments_max = 1,
    .orderly = true,
    .help = "measure this machine and this disk",
    .about = "Works in a directory of its own beside the data directory, and removes it.\n"
             "\n"
             "append   events in batches\n"
             "publish  one event at a time, each confirmed before the next; and the disk alone\n"
             "queue    published, delivered to workers, and settled\n"
             "replay   read from the beginning to the end\n"
             "\n"
             "The benchmarks of the project itself, with their peers, are run by make bench.",
    .examples = "beck bench\n"
                "beck bench publish --threads 64\n"
                "beck --data /srv/beck bench append --size 1k --batch 1000 --level synced",
    .options = options,
    .run = bench_run,
};
