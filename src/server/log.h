/*
 * The server's log: lines for people ("2026-11-21T12:00:00.123Z info listening address=[::1]:2325")
 * or JSON objects.
 *
 * Nobody waits for the log: a line goes into a buffer of bounded size, and a thread of the log's own
 * writes it. When whoever reads the log does not keep up, further lines are dropped and counted, and
 * a line says how many. Threads: any may log.
 */
#ifndef BECK_SERVER_LOG_H
#define BECK_SERVER_LOG_H

#include "base/bytes.h"

enum log_level { LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log;

struct log_field {
    const char *name;
    const char *text; /* NULL: the number */
    int64_t number;
};

/* file: "" is standard error. Lines are kept until log_start or log_close. */
beck_status log_open(const char *file, enum log_level level, enum log_format format,
                     struct log **out, beck_error *err);
/* Starts the thread. Apart from log_open, as a process with one thread opens a handle many times
 * faster (the kernel's membarrier need not wait for others). */
beck_status log_start(struct log *log, beck_error *err);
/* Opens the file (again) and goes on with these; on an error nothing has changed. */
beck_status log_reopen(struct log *log, const char *file, enum log_level level,
                       enum log_format format, beck_error *err);
/* Writes what is there; waits for a reader that does not read for a second at most. NULL allowed. */
void log_close(struct log *log);

/* Whether lines of the level are wanted: before fields that cost something. */
bool log_wants(const struct log *log, enum log_level level);
/* `what`: a few words, lower case. Texts may come from outside. */
void log_line(struct log *log, enum log_level level, const char *what,
              const struct log_field *fields, size_t count);

#define LOG_TEXT(name, text) ((struct log_field){(name), (text), 0})
#define LOG_NUMBER(name, number) ((struct log_field){(name), NULL, (number)})
/* LOG(log, LEVEL_INFO, "listening", LOG_TEXT("address", a), LOG_NUMBER("n", 1)); the log may be
 * NULL. */
#define LOG(log, level, what, ...)                                                                 \
    log_line((log), (level), (what), (const struct log_field[]){{0}, ##__VA_ARGS__} + 1,           \
             sizeof((struct log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct log_field) - 1)

#endif
