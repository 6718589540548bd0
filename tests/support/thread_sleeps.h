/* Whether a thread of this process waits in the system: for a lock, a descriptor, a time. Who is about to does not yet. */
#ifndef TESTS_SUPPORT_THREAD_SLEEPS_H
#define TESTS_SUPPORT_THREAD_SLEEPS_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

static inline bool thread_sleeps(pid_t thread)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    const char *state = strrchr(text, ')');
    return state && state[2] == 'S';
}

#endif
