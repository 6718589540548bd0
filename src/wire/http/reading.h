/*
 * Reading a bus from a cursor: a position in each partition. Its text, "0-12.1-40", says where the
 * next event of partition 0 and 1 begins; it is what clients get and give back.
 *
 * Events of several partitions come in the order of their times, as far as they are there; each
 * partition's in its own order.
 *
 * Threads: one at a time. Reads the disk: not for network threads.
 */
#ifndef BECK_WIRE_HTTP_READING_H
#define BECK_WIRE_HTTP_READING_H

#include "api/handle.h"
#include "log/cursor.h"

#define READING_LANES_MAX 1000 /* partitions read at once: cursors are headers */

struct lane {
    struct partition *partition;
    uint32_t number;
    struct cursor *cursor;
    int64_t next, end;              /* end: read below it */
    const struct record_view *view; /* its next wanted event, when looked for */
};

struct reading {
    beck_bus *bus;
    bool whole; /* all partitions, not one */
    struct lane *lanes;
    uint32_t count;
    struct lane *given;
    struct lane *passed; /* that passed over something last, and where that began */
    int64_t passed_from, passed_end;
    char *pattern, *subject; /* NULL: all */
    int64_t until_ms;        /* 0: none */
};

struct reading_options {
    beck_from from;
    int32_t partition_plus_1; /* 0: all */
    const char *cursor; /* instead of `from`; partitions that it does not name are read from their
                           beginning. NULL: none */
    const char *type, *subject;
    int64_t until_ms;
};

/* Errors: BECK_EUNSUPPORTED (a memory bus, too many partitions), BECK_ENOENT (no such partition),
 * BECK_EINVAL (cursor or pattern), BECK_ERANGE (behind the end), BECK_ECLOSED, BECK_EIO. */
beck_status reading_open(beck_bus *bus, const struct reading_options *options, struct reading **out,
                         beck_error *err);
void reading_close(struct reading *r); /* NULL allowed */
/* The bus got partitions that are not read here. */
bool reading_is_outgrown(const struct reading *r);
/* Everything that is visible now is to be read. */
void reading_extend(struct reading *r);
/* The next event, valid until the next call. BECK_END: nothing more below the ends. BECK_ERANGE: of where
 * `passed` was asked to begin events have been removed, passed_from up to passed_end. After that and
 * BECK_ECORRUPT the next call goes on behind it. */
beck_status reading_next(struct reading *r, const beck_event **out, beck_error *err);
/* After BECK_ECORRUPT and BECK_ERANGE: back to before it, so that whoever goes on from the cursor meets it. */
void reading_step_back(struct reading *r);
/* Where each lane goes on, behind what was given. */
void reading_positions(const struct reading *r, int64_t *at);
/* Appends the cursor of a position in each lane, NULL: of those behind what was given. */
#define READING_CURSOR_MAX 65536 /* bytes, of the partitions that can be read together */
beck_status reading_cursor(const struct reading *r, const int64_t *at, struct buf *out);

/* One part of a cursor at a time, `*at` moves behind it: 1, 0 (the end), -1 (no cursor). */
int cursor_part(const char **at, uint32_t *partition, int64_t *next);

#endif
