/*
 * The child of crash_loop.py: publishes, takes and settles until it is killed, and looks afterwards
 * at what is left. Only the public functions are used.
 *
 *   crash_writer write DIR RUN SEED     until killed; facts go to standard output
 *   crash_writer check DIR              prints what is there, one line a thing
 *
 * Facts, one write(2) each, so that a line is whole or missing:
 *   P bus run publisher seq partition offset   confirmed (offset -1: not told, one of many)
 *   X bus run publisher seq                    refused: must not be there
 *   I queue bus partition offset               about to be settled
 *   S queue bus partition offset               settled, the call has returned
 *   J / R queue bus partition offset           about to be rejected / rejected
 *   G generation                               the bus "temp" is about to be made for this time
 *   W                                          the first publisher's first event is confirmed or refused
 *   E text                                     something that must not happen
 *
 * Things, of check:
 *   B bus partition first next                 a partition
 *   V bus partition offset run publisher seq   an event ("bad" in place of run: it is torn)
 *   T queue bus partition offset attempt       deliverable
 *   D queue bus partition offset reason        dead
 *   Q queue ready in_flight delayed dead       counts before anything was taken
 *   F text                                     a fault that beck_verify found, or an error
 *   .                                          the end: everything was printed
 */
#include <beck.h>

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SUBJECTS 7
#define FILL_MAX 700

static beck *handle;
static unsigned run_number;
static uint64_t run_seed;

/* ---- small things ---- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char line[400];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (len > (int)sizeof line - 2)
        len = (int)sizeof line - 2;
    line[len++] = '\n';
    if (write(STDOUT_FILENO, line, (size_t)len) != len)
        _exit(3);
}

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t next_random(uint64_t *state)
{
    return *state = mix(*state);
}

static void rest(uint64_t *random, unsigned us_max)
{
    if (us_max > 0)
        usleep((unsigned)(next_random(random) % us_max));
}

/* The data of an event follow from its name, so that a reader can tell a torn one. */
static size_t fill_data(char *out, unsigned run, unsigned publisher, unsigned seq)
{
    int len = sprintf(out, "%u %u %u ", run, publisher, seq);
    uint64_t x = mix((uint64_t)run << 40 ^ (uint64_t)publisher << 32 ^ seq);
    size_t fill = x % 5 == 0 ? x / 5 % FILL_MAX : x / 5 % 40;
    for (size_t i = 0; i < fill; i++)
        out[len + (int)i] = (char)('a' + (x >> i % 56) % 16);
    return (size_t)len + fill;
}

/* ---- what exists ---- */

static void make_topology(void)
{
    beck_error err = {0};
    const beck_bus_options plain = {.partitions = 3, .segment_bytes = 16384};
    const beck_bus_options packed = {
        .partitions = 2, .segment_bytes = 8192, .codec = BECK_CODEC_LZ4, .read_synced = true};
    const beck_queue_options fast = {.attempts_max = 1000,
                                     .backoff = {.kind = BECK_BACKOFF_FIXED, .first_ms = 3}};
    const beck_queue_options strict = {.attempts_max = 3, .backoff = {.kind = BECK_BACKOFF_NONE}};
    beck_status status = beck_bus_create(handle, "plain", &plain, NULL, &err);
    if (!status)
        status = beck_bus_create(handle, "packed", &packed, NULL, &err);
    if (!status)
        status = beck_queue_create(handle, "fast", &fast, &err);
    if (!status)
        status = beck_queue_create(handle, "strict", &strict, &err);
    for (int i = 0; i < 3 && !status; i++) {
        const beck_binding bindings[] = {
            {.bus = "plain", .from = {.kind = BECK_FROM_EARLIEST}},
            {.bus = "packed", .pattern = "t.*", .from = {.kind = BECK_FROM_EARLIEST}},
            {.bus = "packed", .pattern = "*.one", .from = {.kind = BECK_FROM_EARLIEST}}};
        status = beck_queue_bind(handle, i == 2 ? "strict" : "fast", &bindings[i], &err);
    }
    if (status)
        say("E %s", err.text);
}

/* ---- publishers ---- */

struct publisher {
    unsigned number;
    const char *bus;
    beck_level level;
    unsigned batch; /* at most so many at once */
    bool by_done;
    unsigned rest_us;
};

struct message {
    char data[FILL_MAX + 64];
    char subject[8];
};

struct confirmation {
    const struct publisher *p;
    unsigned seq, count;
};

static void report(const struct publisher *p, unsigned seq, unsigned count, beck_status status,
                   const beck_published *published, const beck_error *err)
{
    for (unsigned i = 0; i < count; i++) {
        if (!status && p->level != BECK_LEVEL_NONE)
            say("P %s %u %u %u %u %lld", p->bus, run_number, p->number, seq + i,
                published->position.partition,
                count == 1 ? (long long)published->position.offset : -1LL);
        /* Of many some partitions may have theirs. */
        else if (status && status != BECK_EPOISONED && count == 1)
            say("X %s %u %u %u", p->bus, run_number, p->number, seq + i);
    }
    if (status && status != BECK_EFULL && status != BECK_EIO && status != BECK_EPOISONED)
        say("E publish: %d %s", status, err ? err->text : "");
}

static void on_done(void *ctx, beck_status status, const beck_published *published)
{
    struct confirmation *c = ctx;
    report(c->p, c->seq, c->count, status, published, NULL);
    free(c);
}

static void publish_batch(const struct publisher *p, beck_bus *bus, struct message *messages,
                          unsigned seq, unsigned count)
{
    beck_event events[32] = {0};
    for (unsigned i = 0; i < count; i++) {
        struct message *m = &messages[i];
        size_t len = fill_data(m->data, run_number, p->number, seq + i);
        sprintf(m->subject, "s%u", (seq + i) % SUBJECTS);
        events[i].type = beck_str((seq + i) % 2 ? "t.one" : "t.two");
        events[i].subject = beck_str(m->subject);
        events[i].data = (beck_bytes){m->data, len};
    }
    beck_publish_options o = {.level = p->level};
    beck_published published = {0};
    beck_error err = {0};
    struct confirmation *c = NULL;
    if (p->by_done) {
        c = malloc(sizeof *c);
        *c = (struct confirmation){p, seq, count};
        o.done = on_done;
        o.done_ctx = c;
    }
    beck_status status = beck_publish_many(bus, events, count, &o, &published, &err);
    if (!c || status)
        report(p, seq, count, status, &published, &err);
    if (c && status)
        free(c);
}

static void *publisher_main(void *arg)
{
    const struct publisher *p = arg;
    uint64_t random = mix(run_seed ^ p->number);
    struct message *messages = malloc(32 * sizeof *messages);
    beck_bus *bus;
    beck_error err = {0};
    if (beck_bus_get(handle, p->bus, &bus, &err)) {
        say("E %s", err.text);
        return NULL;
    }
    for (unsigned seq = 0;;) {
        unsigned count = p->batch > 1 ? 1 + (unsigned)(next_random(&random) % p->batch) : 1;
        publish_batch(p, bus, messages, seq, count);
        if (p->number == 0 && seq == 0)
            say("W");
        seq += count;
        rest(&random, p->rest_us);
    }
}

/* ---- consumers ---- */

static void say_place(const char *what, const char *queue, const beck_event *e)
{
    say("%s %s %.*s %u %lld", what, queue, (int)e->bus.len, (const char *)e->bus.data,
        e->position.partition, (long long)e->position.offset);
}

static void handle_one(beck_consumer *c, const char *queue, const beck_delivery *d, uint64_t what)
{
    const beck_event *e = d->event;
    beck_error err = {0};
    beck_status status;
    if (what % 10 == 0) {
        say_place("J", queue, e);
        status = beck_reject(c, d->tag, "no use", &err);
        if (!status)
            say_place("R", queue, e);
    } else if (what % 10 < 3) {
        status = beck_retry(c, d->tag, what % 10 == 1 ? 0 : -1, "not now", &err);
    } else {
        say_place("I", queue, e);
        char line[200];
        /* Settling ends the life of the event. */
        int len = snprintf(line, sizeof line, "S %s %.*s %u %lld", queue, (int)e->bus.len,
                           (const char *)e->bus.data, e->position.partition,
                           (long long)e->position.offset);
        status = beck_settle(c, &d->tag, 1, &err);
        if (!status)
            say("%.*s", len, line);
    }
    if (status && status != BECK_EFULL && status != BECK_EIO)
        say("E answer: %d %s", status, err.text);
}

static void *consumer_main(void *arg)
{
    const char *queue = arg;
    uint64_t random = mix(run_seed ^ (uintptr_t)arg);
    beck_consumer *c;
    beck_error err = {0};
    if (beck_consumer_open(handle, queue, 16, &c, &err)) {
        say("E %s", err.text);
        return NULL;
    }
    for (;;) {
        beck_delivery d[16];
        size_t count;
        beck_status status = beck_take(c, d, 16, 1000, &count, &err);
        if (status == BECK_ETIMEDOUT)
            continue;
        if (status == BECK_ELIMIT) {
            /* A full disk: nothing could be answered. */
            usleep(1000);
            continue;
        }
        if (status) {
            say("E take: %d %s", status, err.text);
            return NULL;
        }
        for (size_t i = 0; i < count; i++)
            handle_one(c, queue, &d[i], next_random(&random));
        rest(&random, 500);
    }
}

/* A worker's own settling is not told, so it counts as an intent only. */
static int work(void *ctx, const beck_delivery *d, char *why)
{
    uint64_t what = mix((uint64_t)d->event->position.offset * 31 + d->attempt);
    if (what % 8 == 0) {
        snprintf(why, 256, "later");
        return BECK_RETRY;
    }
    if (what % 40 == 1) {
        say_place("J", ctx, d->event);
        return BECK_REJECT;
    }
    say_place("I", ctx, d->event);
    return BECK_SETTLE;
}

/* ---- a bus that comes and goes ---- */

static beck_status fill_temp(beck_bus *bus, unsigned generation, beck_error *err)
{
    beck_status status = BECK_OK;
    for (unsigned i = 0; i < 6 && !status; i++) {
        char data[FILL_MAX + 64], subject[8];
        sprintf(subject, "s%u", i);
        beck_event e = {.type = beck_str("t.temp"), .subject = beck_str(subject)};
        e.data = (beck_bytes){data, fill_data(data, run_number, 100 + generation, i)};
        status = beck_publish(bus, &e, err);
    }
    return status;
}

static beck_status use_temp(unsigned generation, uint64_t *random, beck_error *err)
{
    beck_bus_options o = {.partitions = 1 + generation % 3, .level = BECK_LEVEL_WRITTEN};
    beck_bus *bus;
    beck_consumer *c;
    beck_delivery d[4];
    size_t count;
    say("G %u", generation);
    beck_status status = beck_bus_create(handle, "temp", &o, &bus, err);
    if (!status)
        status = beck_queue_create(handle, "tempq", NULL, err);
    const beck_binding binding = {.bus = "temp", .from = {.kind = BECK_FROM_EARLIEST}};
    if (!status && next_random(random) % 2)
        status = beck_queue_bind(handle, "tempq", &binding, err);
    if (!status)
        status = fill_temp(bus, generation, err);
    if (!status)
        status = beck_queue_bind(handle, "tempq", &binding, err);
    if (!status)
        status = beck_consumer_open(handle, "tempq", 0, &c, err);
    if (status)
        return status;
    status = beck_take(c, d, 4, 0, &count, err);
    if (!status)
        status = beck_settle(c, &d[0].tag, 1, err);
    beck_consumer_close(c);
    rest(random, 20000);
    if (!status)
        status = beck_queue_delete(handle, "tempq", err);
    return status ? status : beck_bus_delete(handle, "temp", err);
}

static void *admin_main(void *arg)
{
    uint64_t random = mix(run_seed ^ 77);
    beck_error err = {0};
    (void)arg;
    /* What the last run left. */
    beck_status status = beck_queue_delete(handle, "tempq", &err);
    if (!status || status == BECK_ENOENT)
        status = beck_bus_delete(handle, "temp", &err);
    if (status == BECK_ENOENT)
        status = BECK_OK;
    for (unsigned generation = 0; generation < 50 && !status; generation++) {
        status = use_temp(generation, &random, &err);
        rest(&random, 30000);
    }
    if (status && status != BECK_EFULL && status != BECK_EIO)
        say("E temp: %d %s", status, err.text);
    return NULL;
}

/* ---- the two commands ---- */

static void on_error(void *ctx, const beck_error *error)
{
    (void)ctx;
    /* Said in the checker only: a limit on file sizes makes many. */
    if (getenv("CRASH_REPORTS"))
        say("N %s", error->text);
}

static beck_status open_handle(const char *dir, uint32_t checkpoint_ms, uint32_t sync_interval_ms)
{
    beck_error err = {0};
    beck_options o = {.data_dir = dir,
                      .checkpoint_ms = checkpoint_ms,
                      .sync_interval_ms = sync_interval_ms,
                      .on_error = on_error};
    beck_status status = beck_open(&handle, &o, &err);
    if (status)
        say("E open: %s", err.text);
    return status;
}

static void start(void *(*main)(void *arg), const void *arg)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, main, (void *)(uintptr_t)arg))
        say("E no thread");
}

static int write_until_killed(const char *dir)
{
    static struct publisher publishers[] = {
        {0, "plain", BECK_LEVEL_SYNCED, 1, false, 0},
        {1, "plain", BECK_LEVEL_WRITTEN, 1, false, 700},
        {2, "packed", BECK_LEVEL_SYNCED, 20, false, 2000},
        {3, "plain", BECK_LEVEL_WRITTEN, 20, false, 5000},
        {4, "packed", BECK_LEVEL_SYNCED, 3, true, 1000},
        {5, "plain", BECK_LEVEL_NONE, 1, false, 700},
        {6, "packed", BECK_LEVEL_WRITTEN, 2, false, 1500},
    };
    uint64_t random = run_seed;
    const char *limit = getenv("CRASH_FILE_BYTES");
    if (limit) {
        const struct rlimit r = {strtoul(limit, NULL, 10), strtoul(limit, NULL, 10)};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &r);
    }
    uint32_t checkpoint_ms = next_random(&random) % 2 ? 20 : 2000;
    if (open_handle(dir, checkpoint_ms, next_random(&random) % 8 ? 0 : 5))
        return 1;
    make_topology();
    static const char fast[] = "fast";
    start(consumer_main, fast);
    start(consumer_main, fast);
    beck_workers *workers;
    const beck_worker_options two = {.threads = 2};
    beck_workers_start(handle, "strict", work, (void *)(uintptr_t) "strict", &two, &workers, NULL);
    for (size_t i = 0; i < sizeof publishers / sizeof *publishers; i++)
        start(publisher_main, &publishers[i]);
    start(admin_main, NULL);
    for (;;)
        pause();
}

static void print_event(const beck_event *e)
{
    unsigned run, publisher, seq;
    char text[FILL_MAX + 64] = "", expected[FILL_MAX + 64];
    bool good = e->data.len < sizeof text;
    if (good)
        memcpy(text, e->data.data, e->data.len);
    good = good && sscanf(text, "%u %u %u ", &run, &publisher, &seq) == 3 &&
           fill_data(expected, run, publisher, seq) == e->data.len &&
           memcmp(expected, text, e->data.len) == 0;
    char place[400];
    snprintf(place, sizeof place, "%.*s %u %lld", (int)e->bus.len, (const char *)e->bus.data,
             e->position.partition, (long long)e->position.offset);
    if (good)
        printf("V %s %u %u %u\n", place, run, publisher, seq);
    else
        printf("V %s bad 0 0\n", place);
}

static int print_bus(void *ctx, beck_bus *bus)
{
    (void)ctx;
    beck_bus_info info;
    beck_error err = {0};
    const char *name = beck_bus_name(bus);
    if (strncmp(name, "__", 2) == 0 || beck_bus_info_get(bus, &info, NULL))
        return 0;
    for (uint32_t i = 0; i < info.options.partitions; i++) {
        beck_partition_info p;
        beck_partition_info_get(bus, i, &p, NULL);
        printf("B %s %u %lld %lld\n", name, i, (long long)p.first_offset, (long long)p.next_offset);
        beck_read_options o = {.from = {.kind = BECK_FROM_EARLIEST},
                               .partition_plus_1 = (int32_t)i + 1};
        beck_reader *r;
        const beck_event *e;
        if (beck_reader_open(bus, &o, &r, &err)) {
            printf("F %s\n", err.text);
            continue;
        }
        beck_status status;
        while ((status = beck_reader_next(r, 0, &e, &err)) == BECK_OK)
            print_event(e);
        if (status != BECK_END)
            printf("F %s\n", err.text);
        beck_reader_close(r);
    }
    return 0;
}

static int print_dead(void *ctx, const beck_dead *dead)
{
    printf("D %s %.*s %u %lld %s\n", (const char *)ctx, (int)dead->event->bus.len,
           (const char *)dead->event->bus.data, dead->origin.partition,
           (long long)dead->origin.offset, dead->reason);
    return 0;
}

static int print_queue(void *ctx, const char *name)
{
    (void)ctx;
    static beck_delivery all[65536];
    beck_consumer *c;
    beck_error err = {0};
    beck_queue_info info;
    beck_status status = beck_queue_info_get(handle, name, &info, &err);
    if (!status)
        status = beck_consumer_open(handle, name, 65536, &c, &err);
    if (status) {
        printf("F %s\n", err.text);
        return 0;
    }
    printf("Q %s %lld %lld %lld %lld\n", name, (long long)info.ready, (long long)info.in_flight,
           (long long)info.delayed, (long long)info.dead);
    size_t held = 0, count;
    while (held < 65536) {
        status = beck_take(c, all + held, 256, 0, &count, &err);
        if (status == BECK_ETIMEDOUT && !beck_queue_info_get(handle, name, &info, NULL) &&
            info.delayed + info.ready > 0) {
            usleep(1000); /* what is delayed is due in a few milliseconds */
            continue;
        }
        if (status)
            break;
        for (size_t i = 0; i < count; i++) {
            const beck_delivery *d = &all[held + i];
            printf("T %s %.*s %u %lld %u\n", name, (int)d->event->bus.len,
                   (const char *)d->event->bus.data, d->event->position.partition,
                   (long long)d->event->position.offset, d->attempt);
        }
        held += count;
    }
    if (status != BECK_ETIMEDOUT)
        printf("F take from %s: %d %s\n", name, status, err.text);
    for (size_t i = 0; i < held; i++)
        if (beck_return(c, all[i].tag, &err))
            printf("F return to %s: %s\n", name, err.text);
    beck_consumer_close(c);
    status = beck_dead_list(handle, name, 0, print_dead, (void *)(uintptr_t)name, &err);
    if (status)
        printf("F dead letters of %s: %s\n", name, err.text);
    return 0;
}

static void print_fault(void *ctx, const beck_error *fault)
{
    (void)ctx;
    /* A remark has no code. */
    if (fault->code)
        printf("F verify: %s\n", fault->text);
}

static int check(const char *dir)
{
    beck_verify_info info;
    beck_error err = {0};
    if (open_handle(dir, 0, 0))
        return 1;
    beck_bus_list(handle, print_bus, NULL, NULL);
    beck_queue_list(handle, print_queue, NULL, NULL);
    beck_close(handle);
    if (beck_verify(dir, print_fault, NULL, &info, &err))
        printf("F %s\n", err.text);
    puts(".");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "write") == 0) {
        run_number = (unsigned)atoi(argv[3]);
        run_seed = mix(strtoull(argv[4], NULL, 10));
        return write_until_killed(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(argv[2]);
    fprintf(stderr, "usage: crash_writer write DIR RUN SEED | check DIR\n");
    return 2;
}
