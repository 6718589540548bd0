/* What every test program of the base layer needs. */
#ifndef TESTS_BASE_COMMON_H
#define TESTS_BASE_COMMON_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

/* The seeds of a random test: BECK_TEST_SEED alone when it is set, else 1 .. count. The failing one
 * is printed by the test. */
static inline uint64_t first_seed(void)
{
    const char *text = getenv("BECK_TEST_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

static inline uint64_t last_seed(uint64_t count)
{
    return getenv("BECK_TEST_SEED") == NULL ? count : first_seed();
}

#endif
