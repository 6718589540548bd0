/*
 * Memory that runs out when a test says so.
 *
 * Link the test with failing_malloc.c and with link_args: failing_malloc_args (tests/meson.build or
 * tests/base/meson.build): every allocation of the program's own code then comes through here;
 * those of shared libraries (libc, cmocka, zstd ...) do not. Any thread may allocate.
 */
#ifndef TESTS_FAILING_MALLOC_H
#define TESTS_FAILING_MALLOC_H

#include <stdbool.h>

/* The nth allocation from now on (1 is the next) fails; so do all after it when `forever`. 0: none
 * fails any more. Starts the count anew. */
void failing_malloc_at(long nth, bool forever);
/* Allocations since the last failing_malloc_at (or the start), those that failed included. */
long failing_malloc_count(void);

#endif
