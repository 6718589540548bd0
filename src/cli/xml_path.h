/* Which elements of a document are records: a path from the root (/catalog/item), or its end
 * wherever it stands (//item, //group/item). A step may be `*`: any name. */
#ifndef BECK_CLI_XML_PATH_H
#define BECK_CLI_XML_PATH_H

#include "base/bytes.h"

#define XML_PATH_STEPS_MAX 16

struct xml_path {
    bool anywhere;
    uint32_t step_count;
    beck_bytes steps[XML_PATH_STEPS_MAX]; /* in the text that was parsed */
};

/* Borrows the text. The error is the end of a sentence that begins with the path. */
beck_status xml_path_parse(const char *text, struct xml_path *out, beck_error *err);
/* names: those of the open elements from the root on, each with a NUL, `len` bytes in all. */
bool xml_path_matches(const struct xml_path *p, const char *names, size_t len, uint32_t depth);
/* The name of the last step; absent when it is `*`. */
beck_bytes xml_path_name(const struct xml_path *p);

#endif
