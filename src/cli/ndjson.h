/* Lines of JSON as records. Blank lines are no records, but the number of a record is that of its
 * line. Whether a line is JSON is seen by whoever looks into it (fields.h). */
#ifndef BECK_CLI_NDJSON_H
#define BECK_CLI_NDJSON_H

#include "cli/input.h"
#include "cli/ingest_record.h"

struct ndjson {
    struct input *input; /* borrowed; its window_max is the longest line */
    int64_t skip;        /* records up to this number are stepped over */
    int64_t line;        /* of the last one given */
    bool rest;           /* the rest of a line that was too long is still there */
};

void ndjson_init(struct ndjson *n, struct input *input);
enum record_result ndjson_next(struct ndjson *n, struct ingest_record *out, beck_error *err);

#endif
