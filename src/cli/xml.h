/*
 * The elements of an XML document that a path names, one after the other, in memory that does not
 * depend on the length of the document. What an element becomes says xml_tree.h; names are as they
 * stand, with their prefixes. The encodings are UTF-8, UTF-16, and those of one byte a character that
 * the C library knows (iconv). Nothing outside of the document is loaded; an entity that only an external DTD could define stays as it
 * is written.
 *
 * Where the document is not well-formed, or a record passes a limit, the record (or the place
 * between two) is malformed, and reading goes on with the next start tag of a record. This is not
 * possible in UTF-16, behind an internal DTD, and before the first record where the path does not
 * say what surrounds it: there reading fails.
 */
#ifndef BECK_CLI_XML_H
#define BECK_CLI_XML_H

#include "cli/input.h"
#include "cli/ingest_record.h"
#include "cli/xml_path.h"
#include "cli/xml_tree.h"

struct XML_ParserStruct;

struct xml {
    struct input *input; /* borrowed; its window_max is the longest record */
    const struct xml_path *path;
    int64_t skip;   /* records up to this number are stepped over */
    int64_t number; /* of the last record */
    struct XML_ParserStruct *parser;
    int64_t base, base_line; /* where in the input the parser's first byte and line stand */
    int64_t fed;             /* the parser has what is before this position */
    bool suspended;          /* behind a record, with more in the parser */
    bool fed_all;            /* the parser knows that there is no more */
    bool finished;
    /* The record, and what is around it. */
    bool in_record;
    int64_t record_at, record_end, record_line;
    struct xml_tree tree;
    struct buf json;
    struct buf open;  /* names of the open elements outside of records, each with a NUL */
    uint32_t depth;   /* how many */
    bool missed;      /* an element was no record, and the path does not lead through it */
    char sample[128]; /* the path of the first element, or of the first below it */
    uint32_t sample_depth;
    beck_error problem; /* what a handler stopped the parser for */
    /* For going on behind a fault. */
    struct buf ancestors; /* `open` when the last record began */
    uint32_t ancestor_count;
    struct buf element;  /* its own name, with a NUL; empty: no record yet */
    int64_t resync_from; /* -1: none wanted */
    int64_t resync_line; /* at that position */
    int64_t resynced;    /* where reading went on the last time; -1: never */
    char encoding[40];
    bool internal_dtd, external_dtd;
};

beck_status xml_init(struct xml *x, struct input *input, const struct xml_path *path,
                     beck_error *err);
void xml_release(struct xml *x);
/* RECORD_BAD: when it is a place between records that is malformed, out->number is that of the
 * record before. */
enum record_result xml_next(struct xml *x, struct ingest_record *out, beck_error *err);

#endif
