/* Errors: the names of the codes, and the one way in which a beck_error is filled. A text is always
 * made in a buffer of its own first, because its arguments may lie in the error being replaced. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    "BECK_OK",         "BECK_EINVAL",     "BECK_ENOMEM",    "BECK_EIO",          "BECK_EFULL",
    "BECK_ELIMIT",     "BECK_ENOENT",     "BECK_EEXIST",    "BECK_EBUSY",        "BECK_ECORRUPT",
    "BECK_EPOISONED",  "BECK_ERANGE",     "BECK_ETIMEDOUT", "BECK_ECLOSED",      "BECK_ESTALE",
    "BECK_EDUPLICATE", "BECK_ESEQUENCE",  "BECK_EFENCED",   "BECK_EUNSUPPORTED", "BECK_END",
    "BECK_EDENIED",    "BECK_ETXN_STATE",
};
#define NAME_COUNT ((int)(sizeof names / sizeof names[0]))

_Static_assert(sizeof names / sizeof names[0] == -BECK_ETXN_STATE + 1, "a code without a name");

const char *beck_status_name(beck_status status)
{
    if (status > 0 || status <= -NAME_COUNT)
        return "BECK_?";
    return names[-status];
}

beck_status(error_set)(beck_error *err, beck_status code, const char *format, ...)
{
    if (err == NULL)
        return code;
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0)
        text[0] = '\0';
    err->code = code;
    memcpy(err->text, text, sizeof text);
    return code;
}

static beck_status code_of(int error_number)
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
        return BECK_EFULL;
    case ENOMEM:
        return BECK_ENOMEM;
    case ENOENT:
        return BECK_ENOENT;
    case EEXIST:
        return BECK_EEXIST;
    default:
        return BECK_EIO;
    }
}

beck_status(error_errno)(beck_error *err, int error_number, const char *format, ...)
{
    beck_status code = code_of(error_number);
    if (err == NULL)
        return code;
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0)
        text[0] = '\0';
    char reason[128];
    const char *said = strerror_r(error_number, reason, sizeof reason);
    /* The system's texts begin with a capital, ours do not. Abbreviations stay as they are. */
    char first = said[0];
    if (first >= 'A' && first <= 'Z' && said[1] >= 'a' && said[1] <= 'z')
        first = (char)(first - 'A' + 'a');
    return error_set(err, code, "%s: %c%s", text, first, first == '\0' ? "" : said + 1);
}
