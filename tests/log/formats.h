/* What the tests of the log's formats share: cmocka with its includes, errors, random events. */
#ifndef TESTS_LOG_FORMATS_H
#define TESTS_LOG_FORMATS_H

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
#include "log/record.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static inline void expect_ok(beck_status status, const beck_error *err, int line)
{
    if (status != BECK_OK)
        fail_msg("line %d: %s: %s", line, beck_status_name(status), err->text);
}
#define OK(call) expect_ok(call, &err, __LINE__)

/* The call failed with the code, and its text says each of the words (up to NULL) on one line. */
static inline void expect_error(beck_status status, beck_status code, const beck_error *err,
                                int line, ...)
{
    va_list words;

    if (status != code)
        fail_msg("line %d: %s, expected %s", line, beck_status_name(status),
                 beck_status_name(code));
    assert_int_equal(err->code, code);
    assert_null(strchr(err->text, '\n'));
    va_start(words, line);
    for (const char *word; (word = va_arg(words, const char *)) != NULL;)
        if (strstr(err->text, word) == NULL) {
            va_end(words);
            fail_msg("line %d: \"%s\" does not say \"%s\"", line, err->text, word);
        }
    va_end(words);
}
#define FAILS(call, code, ...) expect_error(call, code, &err, __LINE__, __VA_ARGS__, NULL)

static inline void expect_bytes(beck_bytes actual, beck_bytes expected, int line)
{
    if (!bytes_equal(actual, expected))
        fail_msg("line %d: got %zu bytes \"%.*s\", expected %zu \"%.*s\"", line, actual.len,
                 (int)actual.len, (const char *)actual.data, expected.len, (int)expected.len,
                 (const char *)expected.data);
}
#define SAME(actual, expected) expect_bytes(actual, expected, __LINE__)
#define TEXT(actual, expected) expect_bytes(actual, beck_str(expected), __LINE__)

/* Runs one random test for the seeds 1 to count, or for the one in BECK_TEST_SEED. A failed
 * assertion leaves the last seed that was announced as the one to repeat. */
static inline void with_seeds(uint64_t count, void (*body)(uint64_t seed))
{
    const char *given = getenv("BECK_TEST_SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;

    for (uint64_t seed = first; seed < first + (given != NULL ? 1 : count); seed++) {
        print_message("seed %llu (BECK_TEST_SEED repeats it)\n", (unsigned long long)seed);
        body(seed);
    }
}

/* Random events: every field now and then absent, empty, short or long. The memory is the
 * structure's own. */
struct random_event {
    beck_event event;
    beck_attribute extensions[8];
    char names[8][8];
    char pool[8192];
    size_t used;
};

static inline beck_bytes random_bytes(struct random_event *r, struct rng *rng, size_t max)
{
    size_t len = rng_below(rng, 4) == 0 ? 0 : (size_t)rng_below(rng, max + 1);
    char *p = r->pool + r->used;

    if (rng_below(rng, 4) == 0 || r->used + len > sizeof r->pool)
        return (beck_bytes){NULL, 0};
    for (size_t i = 0; i < len; i++)
        p[i] = (char)rng_next(rng);
    r->used += len;
    return bytes_of(p, len);
}

static inline const beck_event *random_event(struct random_event *r, struct rng *rng)
{
    beck_event *e = &r->event;

    r->used = 0;
    memset(e, 0, sizeof *e);
    e->type = beck_str(rng_below(rng, 2) ? "order.created" : "orders");
    e->subject = random_bytes(r, rng, 100);
    e->data = random_bytes(r, rng, rng_below(rng, 8) == 0 ? 5000 : 150);
    if (rng_below(rng, 2)) {
        e->source = random_bytes(r, rng, 80);
        e->id = random_bytes(r, rng, 80);
        e->datacontenttype = random_bytes(r, rng, 80);
        e->dataschema = random_bytes(r, rng, 80);
        e->correlationid = random_bytes(r, rng, 80);
        e->causationid = random_bytes(r, rng, 80);
        e->deliver_at_ms = (int64_t)rng_below(rng, 2) * (int64_t)rng_below(rng, 4000000000000);
        e->expires_at_ms = (int64_t)rng_below(rng, 2) * (int64_t)rng_below(rng, 4000000000000);
        e->priority = (uint32_t)rng_below(rng, 256);
        e->extension_count = (size_t)rng_below(rng, 9);
    }
    for (size_t i = 0; i < e->extension_count; i++) {
        snprintf(r->names[i], sizeof r->names[i], "x%u", (unsigned)i % 1000);
        r->extensions[i].name = beck_str(r->names[i]);
        r->extensions[i].value = random_bytes(r, rng, 90);
    }
    e->extensions = r->extensions;
    e->time_ns = (int64_t)rng_below(rng, 4000000000000) * 1000000;
    if (rng_below(rng, 2))
        e->time_ns += (int64_t)rng_below(rng, 1000000);
    return e;
}

static inline void expect_same_attribute(beck_bytes actual, beck_bytes expected, int line)
{
    if (expected.len == 0)
        expected.data = NULL;
    expect_bytes(actual, expected, line);
    assert_true((actual.data == NULL) == (expected.data == NULL));
}
#define ATTRIBUTE(a, b) expect_same_attribute(a, b, __LINE__)

/* What was read is what was written, with what is derived filled in. */
static inline void expect_same_event(const beck_event *a, const beck_event *e)
{
    ATTRIBUTE(a->type, e->type);
    ATTRIBUTE(a->subject, e->subject);
    if (e->source.len > 0)
        ATTRIBUTE(a->source, e->source);
    if (e->id.len > 0)
        ATTRIBUTE(a->id, e->id);
    ATTRIBUTE(a->datacontenttype, e->datacontenttype);
    ATTRIBUTE(a->dataschema, e->dataschema);
    ATTRIBUTE(a->correlationid, e->correlationid);
    ATTRIBUTE(a->causationid, e->causationid);
    SAME(a->data, e->data);
    assert_true((a->data.data == NULL) == (e->data.data == NULL));
    assert_int_equal(a->time_ns, e->time_ns);
    assert_int_equal(a->deliver_at_ms, e->deliver_at_ms);
    assert_int_equal(a->expires_at_ms, e->expires_at_ms);
    assert_int_equal(a->priority, e->priority);
    assert_int_equal(a->extension_count, e->extension_count);
    for (size_t i = 0; i < e->extension_count; i++) {
        SAME(a->extensions[i].name, e->extensions[i].name);
        SAME(a->extensions[i].value, e->extensions[i].value);
        assert_true((a->extensions[i].value.data == NULL) == (e->extensions[i].value.data == NULL));
    }
}

/* As the first of its batch, with nothing carried. */
static inline beck_status record_write_alone(struct buf *out, const beck_event *e, beck_bytes bus,
                                             int64_t timestamp_delta, int64_t offset_delta)
{
    struct record_last none = {0};
    return record_write(out, &none, e, NULL, bus, timestamp_delta, offset_delta);
}

#endif
