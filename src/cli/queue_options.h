/* Options of a queue: shared by beck queue and beck on. */
#ifndef BECK_CLI_QUEUE_OPTIONS_H
#define BECK_CLI_QUEUE_OPTIONS_H

#include "cli/command.h"
#include "cli/print.h"

/* In the order of beck_overflow. */
extern const char *const queue_overflows[];

/* Rows of a table of options: those that may change, and all of them. */
#define QUEUE_LIMITS                                                                               \
    {.name = "attempts",                                                                           \
     .kind = OPTION_NUMBER,                                                                        \
     .value = "N",                                                                                 \
     .min = 1,                                                                                     \
     .max = 1000000,                                                                               \
     .help = "deliveries before an event becomes a dead letter, else 10"},                         \
        {.name = "backoff",                                                                        \
         .kind = OPTION_BACKOFF,                                                                   \
         .help = "wait before another attempt, else exponential:1s..1h"},                          \
        {.name = "deadline",                                                                       \
         .kind = OPTION_DURATION,                                                                  \
         .help = "an event not handled by then counts as failed, else 30s; 0: never"},             \
        {.name = "ttl",                                                                            \
         .kind = OPTION_DURATION,                                                                  \
         .help = "an event not delivered by then becomes a dead letter; 0: never"},                \
        {.name = "length-max",                                                                     \
         .kind = OPTION_NUMBER,                                                                    \
         .help = "ready events at most; 0: no limit"},                                             \
    {                                                                                              \
        .name = "overflow", .kind = OPTION_CHOICE, .choices = queue_overflows,                     \
        .help = "what a full queue does, else drop-oldest (to the dead letters)"                   \
    }

#define QUEUE_OPTIONS                                                                              \
    QUEUE_LIMITS,                                                                                  \
        {.name = "priorities",                                                                     \
         .kind = OPTION_NUMBER,                                                                    \
         .max = 255,                                                                               \
         .help = "highest priority that counts, else none"},                                       \
    {                                                                                              \
        .name = "no-dead-letters", .kind = OPTION_FLAG, .help = "drop instead of keeping them"     \
    }

extern const struct option queue_alter_options[];

/* Lays the options that were given over `o`; *any: there were any. EXIT_DONE, or reports. */
int queue_options_read(const struct call *call, beck_queue_options *o, bool *any);
/* The same of queue_alter_options. */
int queue_options_change(const struct call *call, beck_queue_options *o);

void queue_options_print(const struct call *call, const beck_queue_options *o);
void queue_options_json(struct json_line *j, const beck_queue_options *o);

#endif
