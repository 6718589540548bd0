/*
 * Where the events are that traces are made of: the partitions of all buses on disk, and the index that is brought up
 * to date with them.
 */
#ifndef BECK_API_TRACE_SOURCES_H
#define BECK_API_TRACE_SOURCES_H

#include "api/handle.h"
#include "trace/index.h"

struct trace_sources {
    struct handle_view view;
    struct trace_source *list;
    const beck_bus **buses;   /* of each */
    char (*incarnations)[32]; /* empty until they are read */
    size_t count;
};

beck_status trace_sources_take(beck *b, struct trace_sources *s, beck_error *err);
void trace_sources_release(struct trace_sources *s);
/* Says of each which incarnation it is: another bus of the same name has another. Reads a file of each. */
void trace_sources_incarnations(const beck *b, struct trace_sources *s);

/* Both with trace_lock, and with incarnations that were read. */
beck_status trace_open_index(beck *b, struct trace_index **out, beck_error *err);
/* Takes in at most so many events of each; *more: there are others. all: also what producers of Kafka have stored in
 * topics that nobody else uses. */
beck_status trace_sources_catch_up(struct trace_index *t, const struct trace_sources *s,
                                   int64_t events_max, bool all, bool *more, beck_error *err);

#endif
