/* A handle on a directory of its own, for the tests of the public functions. */
#ifndef TESTS_API_COMMON_H
#define TESTS_API_COMMON_H

#include <beck.h>

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct place {
    char dir[64];   /* the parent, made by mkdtemp */
    char data[128]; /* the data directory in it */
};

static inline void place_make(struct place *p)
{
    snprintf(p->dir, sizeof p->dir, "/tmp/beck-test-api-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->data, sizeof p->data, "%s/data", p->dir);
}

static inline void place_remove(const struct place *p)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
    assert_int_equal(system(command), 0);
}

/* Fails with the text of the error. */
#define must(call)                                                                                 \
    do {                                                                                           \
        beck_error err = {0};                                                                      \
        beck_status must_status = (call);                                                          \
        if (must_status)                                                                           \
            fail_msg("%s: %s: %s", #call, beck_status_name(must_status), err.text);                \
    } while (0)

/* Fails unless the call fails with the code and a text that contains the words. */
#define refused(call, code_, words)                                                                \
    do {                                                                                           \
        beck_error err = {0};                                                                      \
        beck_status refused_status = (call);                                                       \
        if (refused_status != (code_) || err.code != (code_) || !strstr(err.text, words))          \
            fail_msg("%s: %s: %s", #call, beck_status_name(refused_status), err.text);             \
    } while (0)

static inline beck *open_memory(void)
{
    beck *b = NULL;
    must(beck_open(&b, NULL, &err));
    return b;
}

static inline beck *open_place(const struct place *p)
{
    beck *b = NULL;
    beck_options o = {.data_dir = p->data};
    must(beck_open(&b, &o, &err));
    return b;
}

static inline beck_bus *make_bus(beck *b, const char *name, const beck_bus_options *options)
{
    beck_bus *bus = NULL;
    must(beck_bus_create(b, name, options, &bus, &err));
    return bus;
}

static inline beck_event event_of(const char *type, const char *subject, const char *data)
{
    return (beck_event){
        .type = beck_str(type), .subject = beck_str(subject), .data = beck_str(data)};
}

static inline void publish(beck_bus *bus, const char *type, const char *subject, const char *data)
{
    beck_event e = event_of(type, subject, data);
    must(beck_publish(bus, &e, &err));
}

static inline bool is(beck_bytes bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

#define assert_bytes(bytes, text)                                                                  \
    do {                                                                                           \
        beck_bytes is_ = (bytes);                                                                  \
        if (!is(is_, text))                                                                        \
            fail_msg("\"%.*s\" is not \"%s\"", (int)is_.len, (const char *)is_.data, text);        \
    } while (0)

#endif
