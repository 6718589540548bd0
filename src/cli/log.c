/* beck log: the events of a bus, for people or for programs. */
#include "cli/commands.h"
#include "bus/own_bus.h"
#include "cli/event_printer.h"
#include "cli/reading.h"
#include "cli/tail.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLLOW_STEP_MS 100

static const struct option options[] = {
    READING_OPTIONS,
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = INT64_MAX,
     .help = "at most this many, from where it begins"},
    {.name = "tail", .kind = OPTION_NUMBER, .min = 1, .max = INT64_MAX, .help = "the newest N"},
    {.name = "follow",
     .letter = 'f',
     .kind = OPTION_FLAG,
     .help = "wait for new events at the end"},
    {.name = "format",
     .kind = OPTION_CHOICE,
     .choices = event_forms,
     .help = "human on a terminal; else ndjson, CloudEvents one a line"},
    {0}};

/* ---- reading ---- */

struct log {
    struct call *call;
    const char *name;
    beck_read_options how;
    struct event_printer printer;
    int64_t left;  /* events still wanted */
    int64_t *next; /* following: the next offset of every partition; what is before was shown */
    uint32_t partitions;
    bool over; /* nobody reads, a signal came, or enough was printed */
    int code;
};

static bool is_over(struct log *l)
{
    l->over = l->over || l->left <= 0 || l->code == EXIT_FAILED || output_broken() ||
              call_stopping(l->call);
    return l->over;
}

static void print_event(struct log *l, const beck_event *e)
{
    int printed = event_printer_print(&l->printer, e);
    l->code = printed ? printed : l->code;
    l->over = l->over || printed;
    l->left--;
}

/* One that came between the beginning of the reader and the end of the tail. */
static bool was_shown(const struct log *l, const beck_event *e)
{
    return l->next && e->position.partition < l->partitions &&
           e->position.offset < l->next[e->position.partition];
}

/* Everything that a reader has. Behind damage it goes on. */
static void print_reader(struct log *l, beck_reader *reader)
{
    while (!is_over(l)) {
        const beck_event *e;
        beck_error err;
        beck_status status = beck_reader_next(reader, 0, &e, &err);
        if (status == BECK_END) {
            break;
        }
        /* Only whoever follows a server's bus gets here: see log_run. */
        if (status == BECK_ETIMEDOUT && output_flush()) {
            status = beck_reader_next(reader, FOLLOW_STEP_MS, &e, &err);
        }
        if (status == BECK_ETIMEDOUT) {
            continue;
        }
        if (status == BECK_ECLOSED) {
            l->code = call_error(l->call, EXIT_NOT_FOUND, "bus '%s' was deleted", l->name);
            l->over = true;
            break;
        }
        if (status) {
            l->code = call_fail(l->call, status, &err);
            l->over = status != BECK_ECORRUPT;
            continue;
        }
        if (!was_shown(l, e) && reading_wants(l->call, e)) {
            print_event(l, e);
        }
    }
    beck_reader_close(reader);
}

static void print_events(struct log *l, beck_bus *bus, const beck_read_options *how)
{
    beck_reader *reader;
    int code = reading_begin(l->call, bus, how, &reader);
    if (code) {
        l->code = code;
        l->over = true;
        return;
    }
    print_reader(l, reader);
}

/* ---- following ---- */

static int64_t next_offset(beck_bus *bus, uint32_t partition)
{
    beck_partition_info info;
    return beck_partition_info_get(bus, partition, &info, NULL) ? 0 : info.next_offset;
}

/* Where the first look ended. */
static void remember(struct log *l, beck_bus *bus)
{
    beck_bus_info info;
    beck_error err;
    beck_status status = beck_bus_info_get(bus, &info, &err);
    l->next = status ? NULL : calloc(info.options.partitions, sizeof *l->next);
    if (!l->next) {
        l->code = status ? call_fail(l->call, status, &err)
                         : call_error(l->call, EXIT_FAILED, "no memory to follow '%s'", l->name);
        l->over = true;
        return;
    }
    l->partitions = info.options.partitions;
    for (uint32_t i = 0; i < l->partitions; i++) {
        l->next[i] = next_offset(bus, i);
    }
}

static int64_t add_fingerprint(const struct log *l, const char *bus, uint32_t partition,
                               int64_t sum)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-%u", l->call->data_dir, bus, partition);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        struct stat st;
        if (strstr(entry->d_name, ".log") && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0) {
            sum = sum * 31 + (st.st_size ^ st.st_mtim.tv_nsec ^ st.st_mtim.tv_sec);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return sum;
}

/* A number that changes when the files of the bus change, or what is said about buses. */
static int64_t fingerprint(const struct log *l)
{
    int64_t sum = add_fingerprint(l, OWN_TOPOLOGY, 0, 0);
    for (uint32_t i = 0; i < l->partitions; i++) {
        sum = add_fingerprint(l, l->name, i, sum);
    }
    return sum;
}

/* What came to a partition since the last look. */
static void print_new(struct log *l, beck_bus *bus, uint32_t partition)
{
    int64_t next = next_offset(bus, partition);
    if (next > l->next[partition]) {
        beck_read_options how = l->how;
        how.from = (beck_from){.kind = BECK_FROM_OFFSET, .offset = l->next[partition]};
        how.partition_plus_1 = (int32_t)partition + 1;
        print_events(l, bus, &how);
    }
    l->next[partition] = next;
}

/* A bus may get more partitions: all of what is in them is new. */
static bool follow_partitions(struct log *l, beck_bus *bus)
{
    beck_bus_info info;
    if (beck_bus_info_get(bus, &info, NULL)) {
        return false;
    }
    uint32_t count = info.options.partitions;
    if (count > l->partitions) {
        int64_t *next = realloc(l->next, count * sizeof *next);
        if (!next) {
            return false;
        }
        memset(next + l->partitions, 0, (count - l->partitions) * sizeof *next);
        l->next = next;
        l->partitions = count;
    }
    return true;
}

/* A handle without the lock sees what was there when it was opened, so every look opens a new one.
 * One that fails meets a writer at work, or a directory that has gone: the next one tells. */
static bool look_again(struct log *l)
{
    beck_options how = {.data_dir = l->call->data_dir, .read_only = true};
    beck_bus *bus;
    beck *b;
    if (beck_open(&b, &how, NULL)) {
        return false;
    }
    beck_status status = beck_bus_get(b, l->name, &bus, NULL);
    bool there = status == BECK_OK && follow_partitions(l, bus);
    if (status == BECK_ENOENT) {
        l->code = call_error(l->call, EXIT_NOT_FOUND, "bus '%s' was deleted", l->name);
        l->over = true;
    }
    for (uint32_t i = 0; there && i < l->partitions && !is_over(l); i++) {
        if (l->how.partition_plus_1 == 0 || l->how.partition_plus_1 == (int32_t)i + 1) {
            print_new(l, bus, i);
        }
    }
    beck_close(b);
    return there;
}

static void follow(struct log *l)
{
    int64_t seen = fingerprint(l);
    bool looked = look_again(l); /* what came between the first look and the fingerprint */
    while (!is_over(l) && output_flush() && call_sleep(l->call, FOLLOW_STEP_MS)) {
        int64_t now = fingerprint(l);
        if (now != seen || !looked) {
            looked = look_again(l);
            seen = now;
        }
    }
}

/* ---- the newest ---- */

static int print_one(void *ctx, const beck_event *e)
{
    struct log *l = ctx;
    if (!is_over(l)) {
        print_event(l, e);
    }
    return l->over;
}

/* A server's reader begins before the tail is looked for, so that nothing is missed between them. */
static void print_tail(struct log *l, beck_bus *bus, int64_t count)
{
    beck_reader *reader = NULL;
    beck_read_options newer = l->how;
    newer.from = (beck_from){.kind = BECK_FROM_NOW};
    l->code = l->how.follow ? reading_begin(l->call, bus, &newer, &reader) : EXIT_DONE;
    if (!l->code) {
        remember(l, bus);
    }
    if (!l->code) {
        l->code = tail_each(l->call, bus, &l->how, count, l->next, l->partitions, print_one, l);
    }
    if (reader && !l->code) {
        print_reader(l, reader);
    } else {
        beck_reader_close(reader);
    }
}

static int check(const struct call *call)
{
    if (option_given(call, "tail") && (option_given(call, "from") || option_given(call, "since"))) {
        return call_usage(call, "--tail begins at the end: leave out --from and --since");
    }
    return EXIT_DONE;
}

static int log_run(struct call *call)
{
    struct log l = {.call = call,
                    .name = call->argument_count ? call->arguments[0] : "events",
                    .left = option_number(call, "limit", INT64_MAX)};
    beck_bus *bus;
    int code = check(call);
    code = code ? code : reading_options(call, &l.how);
    code = code ? code : call_open(call, CALL_INSPECT);
    code = code ? code : call_bus(call, l.name, false, &bus);
    if (code) {
        return code;
    }
    event_printer_init(&l.printer, call, option_choice(call, "format"));
    /* A server is asked to wait. Files are looked at again and again instead. */
    bool connected = beck_is_connected(call->handle);
    l.how.follow = connected && option_flag(call, "follow");
    if (option_given(call, "tail")) {
        print_tail(&l, bus, option_number(call, "tail", 0));
    } else {
        print_events(&l, bus, &l.how);
    }
    if (!connected && option_flag(call, "follow") && !is_over(&l)) {
        if (!l.next) {
            remember(&l, bus);
        }
        beck_close(call->handle);
        call->handle = NULL;
        follow(&l);
    }
    free(l.next);
    event_printer_release(&l.printer);
    return l.code;
}

const struct command command_log = {
    .name = "log",
    .arguments = "[BUS]",
    .arguments_max = 1,
    .orderly = true,
    .help = "read the events of a bus",
    .about =
        "BUS is 'events' unless given. Events of several partitions are merged by time.\n"
        "Works while another process holds the data directory. With --follow, --from now shows\n"
        "only what is new.",
    .examples = "beck log --tail 20\n"
                "beck log --since 14:30 --until 14:40\n"
                "beck log --type 'order.#' --subject ORD-1\n"
                "beck log --from now --follow\n"
                "beck log orders --format ndjson | jq .data.total",
    .options = options,
    .run = log_run,
};
