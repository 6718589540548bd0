/* What a running command is given: the handle, talk on standard error, and the signals that ask for
 * an end. Signals of orderly commands are blocked and read from a descriptor, so nothing here is
 * asynchronous. */
#include "cli/command.h"
#include "base/clock.h"
#include "base/error.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024
#define WAIT_STEP_MS 50

/* ---- talk ---- */

/* One write to standard error, so that lines of several threads do not mix. */
static void talk(const struct call *call, const char *color, const char *format, va_list args)
{
    char text[LINE_MAX_BYTES];
    vsnprintf(text, sizeof text, format, args);
    if (call->color_err && color) {
        fprintf(stderr, "%sbeck:\033[0m %s\n", color, text);
    } else {
        fprintf(stderr, "beck: %s\n", text);
    }
}

int call_error(const struct call *call, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    talk(call, "\033[31m", format, args);
    va_end(args);
    return code;
}

int call_fail(const struct call *call, beck_status status, const beck_error *err)
{
    return call_error(call, exit_of(status), "%s", err ? err->text : beck_status_name(status));
}

int call_usage(const struct call *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    talk(call, "\033[31m", format, args);
    va_end(args);
    const char *group = call->group ? call->group->name : "";
    const char *name = call->command ? call->command->name : "";
    fprintf(stderr, "see: beck %s%s%s%s--help\n", group, *group ? " " : "", name, *name ? " " : "");
    return EXIT_USAGE;
}

void call_warn(const struct call *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    talk(call, "\033[33m", format, args);
    va_end(args);
}

void call_say(const struct call *call, const char *format, ...)
{
    if (call->quiet) {
        return;
    }
    va_list args;
    va_start(args, format);
    talk(call, NULL, format, args);
    va_end(args);
}

/* ---- the handle ---- */

static void report(void *ctx, const beck_error *error)
{
    struct call *call = ctx;
    if (error->code == BECK_ECORRUPT) {
        atomic_store(&call->damaged, true);
    }
    call_warn(call, "%s", error->text);
}

/* A missing directory is told apart from an empty one, so that a mistyped --data is found. */
static int check_dir(const struct call *call, enum call_open_mode mode)
{
    struct stat st;
    if (strchr("{[\"@", call->data_dir[0])) {
        return call_usage(call,
                          "--data '%.40s' is no directory: --data names the data directory; the "
                          "data of an event stands behind its type",
                          call->data_dir);
    }
    if (stat(call->data_dir, &st) != 0) {
        if (errno != ENOENT) {
            return call_error(call, EXIT_DISK, "data directory '%s' cannot be used: %s",
                              call->data_dir, strerror(errno));
        }
        if (mode != CALL_CREATE) {
            return call_error(call, EXIT_NOT_FOUND,
                              "no data directory '%s': name it with --data, or make it with "
                              "beck emit or beck bus create",
                              call->data_dir);
        }
    } else if (!S_ISDIR(st.st_mode)) {
        return call_error(call, EXIT_USAGE, "'%s' is no directory: --data names a directory",
                          call->data_dir);
    }
    return EXIT_DONE;
}

int call_open(struct call *call, enum call_open_mode mode)
{
    int code = check_dir(call, mode);
    if (code) {
        return code;
    }
    beck_options options = {.data_dir = call->data_dir,
                            .read_only = mode == CALL_INSPECT,
                            .connect = true,
                            .on_error = mode == CALL_INSPECT ? NULL : report,
                            .on_error_ctx = call};
    int64_t deadline = clock_mono_ns(clock_system()) + call->wait_ms * 1000000;
    for (;;) {
        beck_error err;
        beck_status status = beck_open(&call->handle, &options, &err);
        if (!status) {
            return EXIT_DONE;
        }
        if (status == BECK_EBUSY && clock_mono_ns(clock_system()) >= deadline) {
            return call_error(
                call, exit_of(status),
                "%s; --wait 10s waits for it. So that several commands work at once, start "
                "beck serve on the directory first: they work through it then",
                err.text);
        }
        if (status != BECK_EBUSY) {
            return call_fail(call, status, &err);
        }
        if (!call_sleep(call, WAIT_STEP_MS)) {
            return EXIT_INTERRUPTED;
        }
    }
}

int call_bus(const struct call *call, const char *name, bool create, beck_bus **out)
{
    beck_error err;
    beck_status status = beck_bus_get(call->handle, name, out, &err);
    if (status == BECK_ENOENT && create) {
        status = beck_bus_create(call->handle, name, NULL, out, &err);
    }
    if (status == BECK_ENOENT) {
        return call_error(call, EXIT_NOT_FOUND,
                          "no bus '%s' in '%s': see beck bus list; beck emit or beck bus create "
                          "makes one",
                          name, call->data_dir);
    }
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

int call_fail_queue(const struct call *call, const char *queue, beck_status status,
                    const beck_error *err)
{
    beck_queue_info info;
    if (status == BECK_ENOENT &&
        beck_queue_info_get(call->handle, queue, &info, NULL) == BECK_ENOENT) {
        return call_error(call, EXIT_NOT_FOUND,
                          "no queue '%s' in '%s': see beck queue list; beck queue create makes one",
                          queue, call->data_dir);
    }
    return call_fail(call, status, err);
}

/* ---- ending early ---- */

int call_stopping(const struct call *call)
{
    struct signalfd_siginfo info;
    while (call->stop_fd >= 0 && read(call->stop_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        atomic_fetch_add(call->stops, 1);
    }
    return atomic_load(call->stops);
}

bool call_sleep(const struct call *call, int64_t ms)
{
    int64_t until = clock_mono_ns(clock_system()) + ms * 1000000;
    while (!call_stopping(call)) {
        int64_t left = (until - clock_mono_ns(clock_system()) + 999999) / 1000000;
        if (left <= 0) {
            return true;
        }
        struct pollfd fd = {.fd = call->stop_fd, .events = POLLIN};
        poll(&fd, 1, left > 60000 ? 60000 : (int)left);
    }
    return false;
}

static bool nobody_reads; /* standard output is a pipe without an end */

bool output_broken(void)
{
    return ferror(stdout) != 0 || nobody_reads;
}

bool output_flush(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    bool flushed = fflush(stdout) == 0;
    nobody_reads = poll(&out, 1, 0) > 0 && (out.revents & POLLERR) != 0;
    return flushed && !output_broken();
}
