/*
 * beck replay: history again, into a queue, into another bus, or through a program.
 *
 * A queue gets copies: they are published to the bus "<queue>.replay", which only that queue is
 * bound to, so that nobody else sees them and any choice of events can be replayed into any queue.
 */
#include "cli/commands.h"
#include "process/handler.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/reading.h"
#include "base/clock.h"
#include "event/event.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 256
#define EVENT_COPY_MAX (128u << 20)
#define REPLAY_RETENTION_MS 86400000 /* copies that a queue no longer owes go after a day */

static const struct option options[] = {
    READING_OPTIONS,
    {.name = "into-queue", .kind = OPTION_TEXT, .value = "QUEUE", .help = "queue copies there"},
    {.name = "to-bus",
     .kind = OPTION_TEXT,
     .value = "BUS",
     .help = "publish copies there; made when missing"},
    {.name = "speed",
     .kind = OPTION_TEXT,
     .value = "original|Nx|max",
     .preset = "max",
     .help = "pauses as they were, N times as fast, or none"},
    {.name = "persistent",
     .kind = OPTION_FLAG,
     .help = "one long-lived program: a line in, an answer out, as in beck on"},
    {.name = "deadline",
     .kind = OPTION_DURATION,
     .preset = "0",
     .help = "kill the program after this; 0: never"},
    {.name = "stop-on-failure", .kind = OPTION_FLAG, .help = "end at the first failed event"},
    {0}};

struct replay {
    struct call *call;
    beck_reader *reader;
    beck_bus *target; /* NULL: a program */
    bool into_queue;
    double speed; /* 0: as fast as possible */
    int64_t first_ns, start_ns;
    beck_event events[BATCH_MAX];
    struct buf memory[BATCH_MAX];
    size_t count;
    struct handler_options handler_options;
    struct handler handler;
    struct progress progress;
    int64_t done, failed;
    int code;
};

/* ---- targets ---- */

static void flush_batch(struct replay *r)
{
    if (r->count == 0 || r->code) {
        return;
    }
    beck_error err;
    beck_publish_options how = {.level = BECK_LEVEL_WRITTEN, .no_context = true};
    beck_status status = beck_publish_many(r->target, r->events, r->count, &how, NULL, &err);
    if (status) {
        progress_hide(&r->progress);
        r->code = call_fail(r->call, status, &err);
    } else {
        r->done += (int64_t)r->count;
    }
    r->count = 0;
}

static void add_copy(struct replay *r, const beck_event *e)
{
    beck_event *copy = &r->events[r->count];
    beck_status status = event_copy(e, &r->memory[r->count], copy);
    if (status) {
        r->code = call_error(r->call, EXIT_FAILED, "no memory for a copy of an event");
        return;
    }
    if (r->into_queue) {
        copy->expires_at_ms = copy->deliver_at_ms = 0; /* of the first time */
    }
    if (++r->count == BATCH_MAX || r->speed > 0) {
        flush_batch(r);
    }
}

static void run_program(struct replay *r, const beck_event *e)
{
    beck_verdict verdict;
    char why[HANDLER_WHY_MAX];
    beck_error err;
    int64_t pause_ns = handler_ready_at(&r->handler) - clock_mono_ns(clock_system());
    if (pause_ns > 0 && !call_sleep(r->call, pause_ns / 1000000 + 1)) {
        return;
    }
    enum handler_result result = handler_run(&r->handler, e, 1, &verdict, why, &err);
    if (result == HANDLER_UNUSABLE) {
        r->code = call_fail(r->call, err.code, &err);
    } else if (result == HANDLER_VERDICT && verdict == BECK_SETTLE) {
        r->done++;
    } else if (result == HANDLER_VERDICT) {
        char position[POSITION_TEXT_MAX];
        print_position(position, e->bus, e->position);
        progress_hide(&r->progress);
        call_warn(r->call, "%s failed: %s", position, why);
        r->failed++;
        if (option_flag(r->call, "stop-on-failure")) {
            r->code = EXIT_FAILED;
        }
    }
}

/* The bus that feeds one queue with copies. */
static int open_queue_target(struct replay *r, const char *queue)
{
    beck_queue_info info;
    beck_error err;
    beck_status status = beck_queue_info_get(r->call->handle, queue, &info, &err);
    if (status) {
        return call_fail_queue(r->call, queue, status, &err);
    }
    char name[300];
    if (snprintf(name, sizeof name, "%s.replay", queue) >= 250) {
        return call_error(r->call, EXIT_USAGE,
                          "the name of queue '%s' is too long to replay into: at most 242 bytes",
                          queue);
    }
    beck_bus_options o = {.retention_ms = REPLAY_RETENTION_MS};
    beck_binding binding = {.bus = name};
    status = beck_bus_get(r->call->handle, name, &r->target, &err);
    if (status == BECK_ENOENT) {
        status = beck_bus_create(r->call->handle, name, &o, &r->target, &err);
    }
    status = status ? status : beck_queue_bind(r->call->handle, queue, &binding, &err);
    r->into_queue = true;
    return status ? call_fail(r->call, status, &err) : EXIT_DONE;
}

/* The first signal lets the program finish its event, a second one kills it. */
static bool is_urgent(void *ctx)
{
    return call_stopping(ctx) >= 2;
}

static int open_target(struct replay *r, const char *source)
{
    struct call *call = r->call;
    const char *queue = option_text(call, "into-queue"), *bus = option_text(call, "to-bus");
    if (queue) {
        return open_queue_target(r, queue);
    }
    if (bus) {
        if (strcmp(bus, source) == 0) {
            return call_usage(call, "--to-bus '%s' is the bus that is read: name another", bus);
        }
        return call_bus(call, bus, true, &r->target);
    }
    int64_t deadline = option_number(call, "deadline", 0);
    r->handler_options = (struct handler_options){.program = call->program,
                                                  .persistent = option_flag(call, "persistent"),
                                                  .deadline_ms = deadline ? deadline : -1,
                                                  .grace_ms = 2000,
                                                  .failure = BECK_REJECT,
                                                  .wake_fd = call->stop_fd,
                                                  .woken = is_urgent,
                                                  .woken_ctx = call};
    handler_init(&r->handler, &r->handler_options);
    return EXIT_DONE;
}

/* ---- pace ---- */

static bool read_speed(const char *text, double *speed)
{
    char *end;
    if (strcmp(text, "max") == 0 || strcmp(text, "original") == 0) {
        *speed = strcmp(text, "original") == 0 ? 1 : 0;
        return true;
    }
    *speed = strtod(text, &end);
    return end > text && strcmp(end, "x") == 0 && *speed >= 0.001 && *speed <= 1e9;
}

/* Waits until the event's turn; false: a signal came. */
static bool pace(struct replay *r, const beck_event *e)
{
    if (r->speed <= 0) {
        return !call_stopping(r->call);
    }
    if (r->start_ns == 0) {
        r->start_ns = clock_mono_ns(clock_system());
        r->first_ns = e->time_ns;
    }
    double distance = (double)(e->time_ns - r->first_ns) / r->speed;
    double left = distance - (double)(clock_mono_ns(clock_system()) - r->start_ns);
    if (left < 1e6) {
        return !call_stopping(r->call);
    }
    return call_sleep(r->call, left > 9e18 ? INT64_MAX / 1000000 - 1 : (int64_t)(left / 1e6));
}

static void read_events(struct replay *r)
{
    while (!r->code) {
        const beck_event *e;
        beck_error err;
        beck_status status = beck_reader_next(r->reader, 0, &e, &err);
        if (status == BECK_END) {
            return;
        }
        if (status) {
            progress_hide(&r->progress);
            r->code = call_fail(r->call, status, &err);
            return;
        }
        if (!reading_wants(r->call, e)) {
            continue;
        }
        if (!pace(r, e)) {
            return;
        }
        if (r->target) {
            add_copy(r, e);
        } else {
            run_program(r, e);
        }
        progress_update(&r->progress, r->done + r->failed + (int64_t)r->count, NULL);
    }
}

/* ---- the command ---- */

static int summarize(struct replay *r)
{
    struct call *call = r->call;
    if (call->json) {
        fprintf(r->target ? stdout : stderr, "{\"replayed\":%lld,\"failed\":%lld}\n",
                (long long)r->done, (long long)r->failed);
    } else {
        call_say(call, "replayed %lld, failed %lld", (long long)r->done, (long long)r->failed);
    }
    if (r->code) {
        return r->code;
    }
    if (call_stopping(call)) {
        return EXIT_INTERRUPTED;
    }
    return r->failed ? EXIT_FAILED : EXIT_DONE;
}

static int replay(struct replay *r)
{
    struct call *call = r->call;
    const char *source = call->argument_count ? call->arguments[0] : "events";
    beck_read_options how;
    beck_bus *bus;
    beck_bus_info info;
    beck_error err;
    int code = reading_options(call, &how);
    code = code ? code : call_open(call, call->program ? CALL_INSPECT : CALL_EXISTING);
    code = code ? code : call_bus(call, source, false, &bus);
    code = code ? code : reading_begin(call, bus, &how, &r->reader);
    code = code ? code : open_target(r, source);
    if (code) {
        return code;
    }
    bool whole = !how.pattern && !how.subject.data && how.from.kind == BECK_FROM_EARLIEST &&
                 !how.until_time_ms && !how.partition_plus_1;
    int64_t total = whole && beck_bus_info_get(bus, &info, &err) == 0 ? info.events : 0;
    progress_init(&r->progress, call, "replay", PROGRESS_EVENTS, total);
    read_events(r);
    if (r->target) {
        flush_batch(r);
        beck_status status = r->code ? BECK_OK : beck_sync(call->handle, &err);
        r->code = status ? call_fail(call, status, &err) : r->code;
    }
    progress_end(&r->progress);
    return summarize(r);
}

static int check(const struct call *call, double *speed)
{
    beck_error err;
    int targets =
        (call->program != NULL) + option_given(call, "into-queue") + option_given(call, "to-bus");
    if (targets != 1) {
        return call_usage(call, "%s: give one of --into-queue, --to-bus, or -- PROGRAM",
                          targets ? "more than one target" : "no target");
    }
    if (!read_speed(option_text(call, "speed"), speed)) {
        return call_usage(call, "--speed '%s' cannot be read: give original, max, or as 2x or 0.5x",
                          option_text(call, "speed"));
    }
    beck_status status = call->program ? handler_check(call->program, &err) : BECK_OK;
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

static int replay_run(struct call *call)
{
    double speed = 0;
    int code = check(call, &speed);
    if (code) {
        return code;
    }
    struct replay *r = calloc(1, sizeof *r);
    if (!r) {
        return call_error(call, EXIT_FAILED, "no memory to replay");
    }
    r->call = call;
    r->speed = speed;
    for (size_t i = 0; i < BATCH_MAX; i++) {
        buf_init(&r->memory[i], EVENT_COPY_MAX);
    }
    code = replay(r);
    if (r->handler.options) {
        handler_release(&r->handler);
    }
    for (size_t i = 0; i < BATCH_MAX; i++) {
        buf_release(&r->memory[i]);
    }
    if (r->reader) {
        beck_reader_close(r->reader);
    }
    free(r);
    return code;
}

const struct command command_replay = {
    .name = "replay",
    .arguments = "[BUS]",
    .arguments_max = 1,
    .program = true,
    .orderly = true,
    .help = "send history again: into a queue, a bus or a program",
    .about = "BUS is 'events' unless given. Ids, sources and times stay as they are.\n"
             "--into-queue queues copies besides what the queue holds, through the bus\n"
             "QUEUE.replay; to begin a queue anew from its own bus use beck queue rewind.\n"
             "A program gets one event after the other, in order, as with beck on; failed ones\n"
             "are reported and counted, and the exit code is then 1.",
    .examples = "beck replay --type 'order.#' -- ./rebuild.sh\n"
                "beck replay --since 14:30 --until 14:40 --into-queue billing\n"
                "beck replay events --to-bus trial --speed 10x",
    .options = options,
    .run = replay_run,
};
