/*
 * The objects of a JSON text as records: the elements of arrays, and values that stand one behind
 * the other, over as many lines as they like, in memory that does not depend on the length of the
 * text. Commas and white space between two records are stepped over without a look at how many there
 * are. Whether a record is good JSON is seen by whoever looks into it (fields.h), but for one over
 * several lines, which is given as one line.
 *
 * A record is malformed when its brackets do not match, a string in it goes on over a line end, or
 * it is too long. Reading goes on with the next line that begins as that of the record did, with the
 * same white space and '{'. It fails where the record did not begin its line.
 */
#ifndef BECK_CLI_JSON_RECORDS_H
#define BECK_CLI_JSON_RECORDS_H

#include "cli/ingest_record.h"
#include "cli/input.h"

#define JSON_INDENT_MAX 64

struct json_records {
    struct input *input;  /* borrowed; its window_max is the longest record */
    int64_t skip;         /* records up to this number are stepped over */
    int64_t number, line; /* of the last record; of what comes next */
    bool in_array;
    bool lost; /* the next line that begins as the broken record did is looked for */
    /* A line end and the white space that stands between it and the next, or the broken, record;
     * 0: something else does. With room for a bracket. */
    char start[JSON_INDENT_MAX + 2];
    size_t start_len;
    struct buf json;
};

void json_records_init(struct json_records *j, struct input *input);
void json_records_release(struct json_records *j);
/* RECORD_BAD: when it is an array that is not closed, out->number is that of the record before. */
enum record_result json_records_next(struct json_records *j, struct ingest_record *out,
                                     beck_error *err);

enum json_start {
    JSON_START_LINE,  /* a line that is an object, or no JSON */
    JSON_START_ARRAY, /* [ */
    JSON_START_OPEN,  /* a line with { and nothing else */
    JSON_START_PART   /* a line with an object and more, or with a part of one */
};

/* How the input begins, of which nothing is consumed but white space. False: errno. */
bool json_records_start(struct input *input, enum json_start *out);

#endif
