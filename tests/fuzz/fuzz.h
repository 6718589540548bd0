/*
 * A fuzz target is one file fuzz_<name>.c with this function, and a folder corpus/<name> of inputs
 * to begin with. The function must give the same result for the same bytes, and stops the process
 * (REQUIRE) when a property does not hold.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(what)                                                                              \
    ((what) ? (void)0                                                                              \
            : (fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what), abort()))

#endif
