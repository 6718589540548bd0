/*
 * How far an ingest got, found in the bus itself: by the last events that came from the source.
 *
 * In a bus of one partition everything up to the last record is settled: its events are there, or
 * it was malformed. A batch over several partitions may have reached some of them only, and a loss
 * of power may have taken more from one than from another; so the records of the last stretch
 * (INGEST_WINDOW) are looked up one by one. The publisher keeps what may be missing within it.
 */
#ifndef BECK_CLI_INGEST_RESUME_H
#define BECK_CLI_INGEST_RESUME_H

#include "cli/ingest_mark.h"

#define INGEST_SPAN 32768 /* records in one batch, and between two syncs: at most */
#define INGEST_WINDOW (4 * INGEST_SPAN)

struct ingest_resume {
    bool found;
    struct ingest_mark last; /* the highest record that is there */
    int64_t settled;         /* nothing up to this record is to be published */
    uint8_t *there;          /* bits: records behind settled; NULL: none is there */
    struct buf data;         /* of the last record's event */
    beck_position position;  /* of that event */
};

/* fingerprint: that of the input as it is now; events with it are preferred to those of a file that
 * was there before. */
beck_status ingest_resume_find(beck_bus *bus, beck_bytes source, const char *fingerprint,
                               struct ingest_resume *out, beck_error *err);
/* Whether one of the newest events of a partition came from this input: it was ingested not long ago. */
bool ingest_resume_is_recent(beck_bus *bus, beck_bytes source, const char *fingerprint);
void ingest_resume_release(struct ingest_resume *r);
/* Whether the event of a record is in the bus, or needs not be. */
bool ingest_resume_has(const struct ingest_resume *r, int64_t number);

#endif
