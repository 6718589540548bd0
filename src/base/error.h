/* Filling a beck_error. Threads: none of it shares anything. */
#ifndef BECK_BASE_ERROR_H
#define BECK_BASE_ERROR_H

#include <beck.h>

/* Fills `err` when it is not NULL, and returns `code`, so that a failing function can end with it.
 * A longer text is cut. `err` itself may be among the arguments: the old text is read before the
 * new one is written. */
beck_status error_set(beck_error *err, beck_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* No error and an empty text. Cheaper than `= {0}`, which clears 500 bytes each time. */
static inline void error_clear(beck_error *err)
{
    err->code = BECK_OK;
    err->text[0] = 0;
}

/* Maps an errno to a code (ENOSPC, EDQUOT: BECK_EFULL; ENOMEM: BECK_ENOMEM; ENOENT: BECK_ENOENT;
 * EEXIST: BECK_EEXIST; else BECK_EIO), appends its text. */
beck_status error_errno(beck_error *err, int error_number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What a static analyzer cannot see in another file: the result is `code`, and not BECK_OK. */
#ifdef __clang_analyzer__
#define error_set(err, code, ...) ((error_set)(err, code, __VA_ARGS__), (code))
#define error_errno(err, ...) ((error_errno)(err, __VA_ARGS__), BECK_EIO)
#endif

#endif
