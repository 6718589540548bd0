/*
 * The file of malformed records that are put aside: one JSON object a line,
 *   {"record":7,"line":8,"byte":310,"error":"...","raw":"..."}
 * with raw_base64 in place of raw when the record is no UTF-8. It is made with the first of them,
 * and replaces that of an earlier run unless the run is resumed.
 */
#ifndef BECK_CLI_REJECTS_H
#define BECK_CLI_REJECTS_H

#include "cli/ingest_record.h"

struct rejects {
    const char *path; /* NULL: records are not put aside */
    int fd;           /* -1: not open yet */
    int64_t known; /* a resumed run: the byte of the last record that is there already, else -1 */
    struct buf line;
};

/* BECK_EEXIST: the file is there and is none of this kind. */
beck_status rejects_init(struct rejects *r, const char *path, bool resumed, beck_error *err);
void rejects_release(struct rejects *r);
/* Written through to the operating system when it returns. */
beck_status rejects_add(struct rejects *r, const struct ingest_record *record, const char *why,
                        beck_error *err);

#endif
