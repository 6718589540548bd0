/*
 * How an event says which record of which input it came from, so that the bus itself knows how far
 * an ingest got: by its id, "<fingerprint>:<record>", when its source is that of the input. An
 * event with an id or a source of its own has this id in the extension "ingestid", and the source
 * of the input in "ingestsource" when it is not its own.
 */
#ifndef BECK_CLI_INGEST_MARK_H
#define BECK_CLI_INGEST_MARK_H

#include "cli/fingerprint.h"

#define INGEST_ID "ingestid"
#define INGEST_SOURCE "ingestsource"
#define INGEST_MARK_MAX (FINGERPRINT_LEN + 1 + 20)

struct ingest_mark {
    char fingerprint[FINGERPRINT_LEN + 1];
    int64_t number;
};

/* The id of a record. Returns its length. */
size_t ingest_mark_write(char out[INGEST_MARK_MAX], const char *fingerprint, int64_t number);
/* Whether the event came from the input of that source. */
bool ingest_mark_read(const beck_event *e, beck_bytes source, struct ingest_mark *out);

#endif
