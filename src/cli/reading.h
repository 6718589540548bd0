/* Which events of a bus to read: the options that beck log and beck replay share. */
#ifndef BECK_CLI_READING_H
#define BECK_CLI_READING_H

#include "cli/command.h"

/* Rows of a table of options. */
#define READING_OPTIONS                                                                            \
    {.name = "type",                                                                               \
     .letter = 't',                                                                                \
     .kind = OPTION_TEXT,                                                                          \
     .value = "PATTERN",                                                                           \
     .help = "only types that match: order.*, order.#"},                                           \
        {.name = "subject",                                                                        \
         .letter = 's',                                                                            \
         .kind = OPTION_TEXT,                                                                      \
         .help = "only events about this subject"},                                                \
        {.name = "from",                                                                           \
         .kind = OPTION_TEXT,                                                                      \
         .value = "FROM",                                                                          \
         .help = "where to begin, also as PARTITION/OFFSET, else the earliest event kept"},        \
        {.name = "since", .kind = OPTION_TIME, .help = "only events from this time on"},           \
        {.name = "until", .kind = OPTION_TIME, .help = "only events before this time"},            \
    {                                                                                              \
        .name = "partition", .kind = OPTION_NUMBER, .max = 9999, .help = "only this partition"     \
    }

/* Fills the options of a reader from those of the call; reports what does not fit together. Its reader begins
 * at the first event that is not before --since; others behind it may be earlier: ask reading_wants. */
int reading_options(const struct call *call, beck_read_options *out);

/* Whether the event is not before --since. */
bool reading_wants(const struct call *call, const beck_event *e);

/* Opens a reader on the bus; reports. A pattern that is wrong is a mistake of usage. */
int reading_begin(const struct call *call, beck_bus *bus, const beck_read_options *options,
                  beck_reader **out);

#endif
