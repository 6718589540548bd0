/* The input of beck ingest: where it comes from, in which format it is, and its records. */
#ifndef BECK_CLI_INGEST_READER_H
#define BECK_CLI_INGEST_READER_H

#include "cli/command.h"
#include "cli/csv.h"
#include "cli/json_records.h"
#include "cli/ndjson.h"
#include "cli/xml.h"

enum ingest_format { INGEST_NDJSON, INGEST_CSV, INGEST_XML, INGEST_JSON };

/* Rows of a table of options. */
extern const char *const ingest_formats[];
#define INGEST_READER_OPTIONS                                                                      \
    {.name = "format",                                                                             \
     .letter = 'f',                                                                                \
     .kind = OPTION_CHOICE,                                                                        \
     .choices = ingest_formats,                                                                    \
     .help = "else from the name: .ndjson .jsonl .json .csv .tsv .xml"},                           \
        {.name = "record",                                                                         \
         .kind = OPTION_TEXT,                                                                      \
         .value = "PATH",                                                                          \
         .preset = "/*/*",                                                                         \
         .help = "XML: which elements are records, as /catalog/item or //item"},                   \
        {.name = "record-max",                                                                     \
         .kind = OPTION_SIZE,                                                                      \
         .preset = "4m",                                                                           \
         .min = 1024,                                                                              \
         .max = 64 << 20,                                                                          \
         .help = "longer records are malformed"},                                                  \
        {.name = "delimiter",                                                                      \
         .kind = OPTION_TEXT,                                                                      \
         .value = "CHAR",                                                                          \
         .help = "CSV: between fields, or 'tab'; else a comma (.tsv: a tab)"},                     \
        {.name = "quote",                                                                          \
         .kind = OPTION_TEXT,                                                                      \
         .value = "CHAR",                                                                          \
         .preset = "\"",                                                                           \
         .help = "CSV: around fields, or 'none'"},                                                 \
        {.name = "header",                                                                         \
         .kind = OPTION_FLAG,                                                                      \
         .help = "CSV: the first record has the names (this is so unless --no-header)"},           \
    {                                                                                              \
        .name = "no-header", .kind = OPTION_FLAG,                                                  \
        .help = "CSV: no names; fields are called 1, 2, ..."                                       \
    }

struct ingest_reader {
    enum ingest_format format;
    struct input input;
    bool regular; /* a file, and not standard input */
    int64_t size; /* of a regular file; 0: not known */
    struct xml_path path;
    bool lines; /* the JSON is an object a line: read as NDJSON */
    struct ndjson ndjson;
    struct json_records json;
    struct csv csv;
    struct xml xml;
};

/* Opens the file ("-": standard input); reports and returns an exit code. */
int ingest_reader_open(struct ingest_reader *r, const struct call *call, const char *file);
void ingest_reader_close(struct ingest_reader *r);
/* Steps over a byte order mark, and looks at how JSON begins; before the first record. */
beck_status ingest_reader_begin(struct ingest_reader *r, beck_error *err);
/* Records up to this number are stepped over. */
void ingest_reader_skip(struct ingest_reader *r, int64_t number);
enum record_result ingest_reader_next(struct ingest_reader *r, struct ingest_record *out,
                                      beck_error *err);

#endif
