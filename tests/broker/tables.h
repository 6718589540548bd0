/* Tables written in one line, and random ones. */
#ifndef TESTS_BROKER_TABLES_H
#define TESTS_BROKER_TABLES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "broker/table.h"

#define TABLE_BYTES_MAX (1 << 20)

static inline beck_bytes text_of(const char *text)
{
    return bytes_of(text, strlen(text));
}

static inline beck_status table_put_int(struct buf *out, const char *name, int32_t value)
{
    return table_put(out, text_of(name), &(struct table_value){.letter = 'I', .integer = value});
}

/* "name=value ..." into out, which is begun anew: numbers are I, true and false t, "void" V, others S. */
static inline beck_bytes table_of(struct buf *out, const char *entries)
{
    buf_init(out, TABLE_BYTES_MAX);
    for (const char *p = entries; *p != 0;) {
        char name[256];
        size_t n = strcspn(p, "="), v = strcspn(p + n + 1, " ");
        const char *value = p + n + 1;
        char *end;
        snprintf(name, sizeof(name), "%.*s", (int)n, p);
        long number = strtol(value, &end, 10);
        if (v > 0 && end == value + v) {
            assert_int_equal(table_put_int(out, name, (int32_t)number), BECK_OK);
        } else if (bytes_equal_text(bytes_of(value, v), "true")) {
            assert_int_equal(table_put_bool(out, name, true), BECK_OK);
        } else if (bytes_equal_text(bytes_of(value, v), "false")) {
            assert_int_equal(table_put_bool(out, name, false), BECK_OK);
        } else if (bytes_equal_text(bytes_of(value, v), "void")) {
            assert_int_equal(table_put(out, text_of(name), &(struct table_value){.letter = 'V'}),
                             BECK_OK);
        } else {
            assert_int_equal(table_put_text(out, name, bytes_of(value, v)), BECK_OK);
        }
        p = value + v + (value[v] == ' ');
    }
    return buf_bytes(out);
}

#endif
