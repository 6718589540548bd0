/* What the tests of the server share: a directory of their own, and configurations in it. */
#ifndef TESTS_SERVER_COMMON_H
#define TESTS_SERVER_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config.h"

/* Makes a directory and enters it, so that messages name files without their path. */
static inline int enter_directory(void **state)
{
    char *dir = strdup("/tmp/beck-test-server-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    *state = dir;
    return 0;
}

static inline int leave_directory(void **state)
{
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", (char *)*state);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(system(command), 0);
    free(*state);
    return 0;
}

static inline void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Every fault that was told, a line each. */
struct faults {
    char text[16384];
    size_t len;
};

static inline void note_fault(void *ctx, const char *text)
{
    struct faults *f = ctx;
    f->len += (size_t)snprintf(f->text + f->len, sizeof f->text - f->len, "%s\n", text);
    assert_true(f->len < sizeof f->text);
}

#endif
