/*
 * The log's buffer and its thread.
 *
 * Two buffers: lines are added to one while the thread writes the other. The thread asks the
 * descriptor whether it takes something before each write, and writes no more at a time than a pipe
 * takes then, so that it never hangs in a write and can be ended.
 */
#include "server/log.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "event/json.h"
#include "event/time.h"
#include "event/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES_MAX (256 << 10)
#define TEXT_BYTES_MAX 2048 /* of one field */
#define CLOSE_WAIT_MS 1000

struct log {
    struct mutex lock; /* a leaf; guards what follows */
    struct cond filled;
    struct buf lines; /* to be written */
    uint64_t dropped, dropped_told;
    enum log_format format;
    int next_fd; /* to be written to from the next buffer on; -1: the same as before */
    bool stopping;

    _Atomic(int) level;
    int stop_event; /* readable once the log is being closed */
    /* The thread's own. */
    int fd;
    struct buf writing;
    pthread_t thread;
    bool started;
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* ---- lines ---- */

/* A time with exactly three digits of its second: columns stay where they are. */
static void time_text(char out[TIME_TEXT_MAX])
{
    int64_t ns = clock_wall_ns(clock_system());
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    snprintf(out, TIME_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (tm.tm_year + 1900) % 10000,
             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
             (int)(ns % 1000000000 / 1000000));
}

/* Words as they are; what has blanks, quotes or control characters in quotes with JSON's escapes. */
static beck_status append_value(struct buf *out, const char *text)
{
    beck_bytes value = bytes_of(text, strnlen(text, TEXT_BYTES_MAX));
    bool plain = value.len > 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)text[i];
        plain = plain && c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=';
    }
    return plain ? buf_append(out, text, value.len) : json_write_string(out, value);
}

static beck_status append_text_line(struct buf *out, enum log_level level, const char *what,
                                    const struct log_field *fields, size_t count)
{
    char time[TIME_TEXT_MAX];
    time_text(time);
    beck_status status = buf_printf(out, "%s %s %s", time, level_names[level], what);
    for (size_t i = 0; i < count && !status; i++) {
        status = buf_printf(out, " %s=", fields[i].name);
        if (!status) {
            status = fields[i].text ? append_value(out, fields[i].text)
                                    : buf_printf(out, "%lld", (long long)fields[i].number);
        }
    }
    return status ? status : buf_append_byte(out, '\n');
}

static beck_status append_json_line(struct buf *out, enum log_level level, const char *what,
                                    const struct log_field *fields, size_t count)
{
    char time[TIME_TEXT_MAX];
    time_text(time);
    beck_status status =
        buf_printf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", time, level_names[level]);
    status = status ? status : json_write_string(out, beck_str(what));
    for (size_t i = 0; i < count && !status; i++) {
        const char *text = fields[i].text;
        status = buf_printf(out, ",\"%s\":", fields[i].name);
        if (!status) {
            status = text ? json_write_string(out, bytes_of(text, strnlen(text, TEXT_BYTES_MAX)))
                          : buf_printf(out, "%lld", (long long)fields[i].number);
        }
    }
    return status ? status : buf_append_text(out, "}\n");
}

/* With the lock. A line is in the buffer whole or not at all. */
static bool append_line(struct log *log, enum log_level level, const char *what,
                        const struct log_field *fields, size_t count)
{
    size_t before = log->lines.len;
    beck_status status = log->format == LOG_FORMAT_JSON
                             ? append_json_line(&log->lines, level, what, fields, count)
                             : append_text_line(&log->lines, level, what, fields, count);
    if (status) {
        log->lines.len = before;
    }
    return !status;
}

bool log_wants(const struct log *log, enum log_level level)
{
    return log && (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

void log_line(struct log *log, enum log_level level, const char *what,
              const struct log_field *fields, size_t count)
{
    if (!log_wants(log, level)) {
        return;
    }
    mutex_lock(&log->lock);
    bool wake = log->lines.len == 0;
    if (!append_line(log, level, what, fields, count)) {
        log->dropped++;
    }
    mutex_unlock(&log->lock);
    if (wake) {
        cond_signal(&log->filled);
    }
}

/* ---- the thread ---- */

/* Waits until the descriptor takes something; false: it does not, and the log is being closed. */
static bool wait_writable(const struct log *log)
{
    struct pollfd fds[] = {{.fd = log->fd, .events = POLLOUT},
                           {.fd = log->stop_event, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    if (fds[0].revents == 0) {
        return poll(fds, 1, CLOSE_WAIT_MS) > 0;
    }
    return true;
}

/* A log that cannot be written (a full disk, a reader that left) is lost: there is nowhere to say
 * so. */
static void write_out(struct log *log)
{
    size_t done = 0;
    while (done < log->writing.len && wait_writable(log)) {
        size_t piece = log->writing.len - done;
        ssize_t n = write(log->fd, log->writing.data + done, piece < PIPE_BUF ? piece : PIPE_BUF);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    buf_clear(&log->writing);
}

static void use_fd(struct log *log, int fd)
{
    if (log->fd != STDERR_FILENO) {
        close(log->fd);
    }
    log->fd = fd;
}

static void tell_dropped(struct log *log)
{
    uint64_t new = log->dropped - log->dropped_told;
    if (new > 0) {
        struct log_field field = LOG_NUMBER("lines", (int64_t) new);
        append_line(log, LEVEL_WARN, "log lines were dropped: nobody read them in time", &field, 1);
        log->dropped_told = log->dropped;
    }
}

static void *run(void *arg)
{
    struct log *log = arg;
    mutex_lock(&log->lock);
    while (log->lines.len > 0 || log->next_fd >= 0 || !log->stopping) {
        if (log->lines.len == 0 && log->next_fd < 0) {
            cond_wait(&log->filled, &log->lock);
            continue;
        }
        struct buf swap = log->writing;
        log->writing = log->lines;
        log->lines = swap;
        tell_dropped(log);
        int next = log->next_fd;
        log->next_fd = -1;
        mutex_unlock(&log->lock);
        if (next >= 0) {
            use_fd(log, next);
        }
        write_out(log);
        mutex_lock(&log->lock);
    }
    mutex_unlock(&log->lock);
    return NULL;
}

/* ---- opening and closing ---- */

static beck_status open_file(const char *file, int *fd, beck_error *err)
{
    *fd = STDERR_FILENO;
    if (file[0]) {
        *fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    }
    return *fd < 0 ? error_errno(err, errno, "the log file '%.300s' cannot be opened", file)
                   : BECK_OK;
}

static void release(struct log *log)
{
    use_fd(log, STDERR_FILENO);
    if (log->stop_event >= 0) {
        close(log->stop_event);
    }
    buf_release(&log->lines);
    buf_release(&log->writing);
    cond_release(&log->filled);
    mutex_release(&log->lock);
    free(log);
}

beck_status log_open(const char *file, enum log_level level, enum log_format format,
                     struct log **out, beck_error *err)
{
    int fd;
    beck_status status = open_file(file, &fd, err);
    struct log *log = status ? NULL : calloc(1, sizeof *log);
    if (!log) {
        return status ? status : error_set(err, BECK_ENOMEM, "no memory for the log");
    }
    log->fd = fd;
    log->next_fd = -1;
    log->format = format;
    atomic_init(&log->level, (int)level);
    mutex_init(&log->lock);
    cond_init(&log->filled);
    buf_init(&log->lines, BUFFER_BYTES_MAX);
    buf_init(&log->writing, BUFFER_BYTES_MAX);
    log->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (log->stop_event < 0) {
        status = error_errno(err, errno, "the log cannot be opened");
        release(log);
        return status;
    }
    *out = log;
    return BECK_OK;
}

beck_status log_start(struct log *log, beck_error *err)
{
    int failed = pthread_create(&log->thread, NULL, run, log);
    log->started = !failed;
    return failed ? error_errno(err, failed, "the thread of the log cannot be started") : BECK_OK;
}

beck_status log_reopen(struct log *log, const char *file, enum log_level level,
                       enum log_format format, beck_error *err)
{
    int fd;
    beck_status status = open_file(file, &fd, err);
    if (status) {
        return status;
    }
    mutex_lock(&log->lock);
    if (log->next_fd > STDERR_FILENO) {
        close(log->next_fd);
    }
    log->next_fd = fd;
    log->format = format;
    atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
    mutex_unlock(&log->lock);
    cond_signal(&log->filled);
    return BECK_OK;
}

void log_close(struct log *log)
{
    if (!log) {
        return;
    }
    mutex_lock(&log->lock);
    log->stopping = true;
    mutex_unlock(&log->lock);
    cond_signal(&log->filled);
    uint64_t one = 1;
    ssize_t n = write(log->stop_event, &one, sizeof one);
    (void)n; /* a fresh counter takes it */
    if (log->started) {
        pthread_join(log->thread, NULL);
    } else {
        run(log);
    }
    release(log);
}
