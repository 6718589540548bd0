/* What the readers of NDJSON, CSV and XML give to beck ingest: one record after the other. */
#ifndef BECK_CLI_INGEST_RECORD_H
#define BECK_CLI_INGEST_RECORD_H

#include "base/bytes.h"

/* Valid until the next record is asked for. */
struct ingest_record {
    int64_t number;  /* from 1; malformed records count too */
    int64_t line;    /* where it begins, from 1 */
    int64_t byte;    /* where it begins, from 0 */
    beck_bytes json; /* the record as a JSON object; absent when it is malformed or stepped over */
    beck_bytes raw; /* as it stands in the input; may be cut for malformed ones that are too long */
};

enum record_result {
    RECORD_GOOD,
    RECORD_SKIPPED, /* its number is within what the reader was told to step over */
    RECORD_BAD,     /* the error says why; the reader goes on behind it */
    RECORD_END,
    RECORD_FAILED /* the error says why; the reader cannot go on */
};

#endif
