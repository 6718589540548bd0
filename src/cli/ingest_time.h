/* Times as files have them. */
#ifndef BECK_CLI_INGEST_TIME_H
#define BECK_CLI_INGEST_TIME_H

#include "base/bytes.h"

enum ingest_time_format { INGEST_AUTO, INGEST_RFC3339, INGEST_UNIX, INGEST_UNIXMS };

struct ingest_time {
    enum ingest_time_format format;
    /* Of times that name no zone: */
    bool local;
    int64_t offset_ns; /* from UTC, when not local */
};

/* "utc", "local", or an offset: "+02:00". False: none of these. */
bool ingest_time_zone(const char *text, struct ingest_time *out);
/*
 * What INGEST_AUTO takes:
 *   2026-01-31, or with 14:30, 14:30:05, 14:30:05.123456789 behind it; T, t or a space before that;
 *   then a zone or none: Z, UTC, GMT, +02:00, +0200, +02, with a space before it or none
 *   1769869800 (9 or 10 digits): seconds since 1970; 1769869800000 (12 or 13 digits): milliseconds;
 *   both with a fraction or none
 * INGEST_RFC3339 takes what time_parse does, INGEST_UNIX and INGEST_UNIXMS numbers of any length.
 * False: none of these, or outside of years 1678-2261.
 */
bool ingest_time_read(const struct ingest_time *t, beck_bytes text, int64_t *ns);
/* What is expected, for messages. */
const char *ingest_time_expected(enum ingest_time_format format);

#endif
