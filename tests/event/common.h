/* What the tests of this layer share: cmocka with its includes, and assertions about errors. */
#ifndef TESTS_EVENT_COMMON_H
#define TESTS_EVENT_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/rng.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static inline void assert_bytes(beck_bytes actual, const char *expected)
{
    if (!bytes_equal_text(actual, expected)) {
        fail_msg("got \"%.*s\", expected \"%s\"", (int)actual.len, (const char *)actual.data,
                 expected);
    }
}

/* The error has the code, and each of the texts (up to NULL) is in its own. */
static inline void assert_error(beck_status status, const beck_error *err, beck_status code, ...)
{
    if (status != code) {
        fail_msg("status %s, expected %s: %s", beck_status_name(status), beck_status_name(code),
                 status == BECK_OK ? "" : err->text);
    }
    assert_int_equal(err->code, code);
    va_list texts;
    va_start(texts, code);
    for (const char *text; (text = va_arg(texts, const char *)) != NULL;) {
        if (strstr(err->text, text) == NULL) {
            va_end(texts);
            fail_msg("the error \"%s\" does not say \"%s\"", err->text, text);
        }
    }
    va_end(texts);
    assert_null(strchr(err->text, '\n'));
}

/* Seeds of a random test: a fixed list, or the one in BECK_TEST_SEED. */
static inline size_t test_seeds(uint64_t *seeds, size_t count)
{
    const char *given = getenv("BECK_TEST_SEED");
    if (given != NULL) {
        seeds[0] = strtoull(given, NULL, 10);
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        seeds[i] = i + 1;
    }
    return count;
}

#endif
