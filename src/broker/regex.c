/* Regular expressions, by PCRE2: see regex.h. */
#include "broker/regex.h"

#include "base/error.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define EFFORT_MAX 50000 /* steps, and depth */

struct regex {
    pcre2_code *code;
    pcre2_match_context *limits;
    bool anything; /* ".*" */
};

struct regex *regex_new(beck_bytes pattern, beck_error *err)
{
    if (pattern.len > REGEX_MAX) {
        error_set(err, BECK_ELIMIT, "must not exceed %d bytes", REGEX_MAX);
        return NULL;
    }
    int number = 0;
    size_t at = 0;
    struct regex *r = calloc(1, sizeof(*r));
    if (r != NULL) {
        r->anything = bytes_equal_text(pattern, ".*");
        r->code = pcre2_compile(pattern.len == 0 ? (PCRE2_SPTR) "" : pattern.data, pattern.len,
                                PCRE2_NEVER_UTF, &number, &at, NULL);
        r->limits = pcre2_match_context_create(NULL);
    }
    if (r != NULL && r->code == NULL && number != PCRE2_ERROR_NOMEMORY) {
        PCRE2_UCHAR text[200];
        pcre2_get_error_message(number, text, sizeof(text));
        error_set(err, BECK_EINVAL, "{\"%s\",%zu}", (const char *)text, at);
        regex_free(r);
        return NULL;
    }
    if (r == NULL || r->code == NULL || r->limits == NULL) {
        error_set(err, BECK_ENOMEM, "no memory for a regular expression");
        regex_free(r);
        return NULL;
    }
    pcre2_set_match_limit(r->limits, EFFORT_MAX);
    pcre2_set_depth_limit(r->limits, EFFORT_MAX);
    return r;
}

void regex_free(struct regex *r)
{
    if (r == NULL)
        return;
    pcre2_code_free(r->code);
    pcre2_match_context_free(r->limits);
    free(r);
}

bool regex_find(const struct regex *r, beck_bytes subject)
{
    if (r->anything)
        return true;
    pcre2_match_data *found = pcre2_match_data_create(1, NULL);
    if (found == NULL)
        return false;
    int status = pcre2_match(r->code, subject.len == 0 ? (PCRE2_SPTR) "" : subject.data,
                             subject.len, 0, 0, found, r->limits);
    pcre2_match_data_free(found);
    return status >= 0;
}
