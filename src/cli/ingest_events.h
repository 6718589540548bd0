/*
 * Records as events, gathered into batches and published. The events of a batch are stored whole,
 * in their order, before the next batch is begun, so that what is in a partition is a beginning of
 * the input (ingest_resume.h says what follows from that).
 *
 * Nothing of a record is kept by reference: it may change once ingest_events_add returns.
 */
#ifndef BECK_CLI_INGEST_EVENTS_H
#define BECK_CLI_INGEST_EVENTS_H

#include "cli/fields.h"
#include "cli/ingest_record.h"
#include "cli/ingest_resume.h"
#include "cli/ingest_time.h"

struct ingest_plan {
    const char *type;          /* NULL: from a field, or records must be events */
    const char *paths[FIELDS]; /* NULL: not taken from the record */
    struct ingest_time time;
    bool columns;      /* every record has the same members: a path that names none is a mistake */
    bool plain;        /* records are data, also when they look like events */
    bool checked;      /* records are known to be JSON objects */
    beck_bytes source; /* of the input */
    const char *fingerprint;
    beck_level level; /* synced: once all was published, and when the input pauses */
    size_t batch_max; /* events */
    size_t record_max;
};

struct ingest_events {
    struct ingest_plan plan;
    beck *handle;
    beck_bus *bus; /* NULL: nothing is published */
    bool spread;   /* over several partitions */
    size_t event_bytes_max;
    struct fields fields;
    bool seen[FIELDS]; /* some record had it */
    beck_event *events;
    beck_document **documents; /* that events refer to */
    size_t count, document_count;
    struct buf arena;             /* that the others refer to; does not move while it is in use */
    int64_t first_number, synced; /* of the batch; when the last sync was */
    int64_t published, duplicates;
    int64_t last_number; /* published last */
};

beck_status ingest_events_init(struct ingest_events *s, const struct ingest_plan *plan,
                               beck *handle, beck_bus *bus, beck_error *err);
void ingest_events_release(struct ingest_events *s);

/* Makes an event of a record (with json) and adds it to the batch, which is published when it is
 * full. BECK_EINVAL: the record is malformed, and nothing was added. `*fatal`: publishing failed
 * instead, or no record has what is to be taken from a column (BECK_ENOENT). */
beck_status ingest_events_add(struct ingest_events *s, const struct ingest_record *record,
                              bool *fatal, beck_error *err);
/* The event made last, valid until the next call; and takes it out of the batch again. */
const beck_event *ingest_events_last(const struct ingest_events *s);
void ingest_events_drop_last(struct ingest_events *s);
/* Publishes what was gathered, and makes it durable when the level says so. */
beck_status ingest_events_settle(struct ingest_events *s, beck_error *err);

#endif
