/* A handle on a simulated disk and a virtual clock, with users in it. */
#ifndef TESTS_ACCESS_COMMON_H
#define TESTS_ACCESS_COMMON_H

#include "access/access.h"
#include "api/handle.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

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

/* The cheapest passwords: what is tested is not how slow they are. */
#define CHEAP 10

struct home {
    struct vfs *vfs;
    struct clock *clock;
    beck *b;
    struct access *a;
    struct access_settings settings;
};

static inline void home_open(struct home *h)
{
    beck_options o = {.data_dir = "/data"};
    must(beck_open_env(&h->b, &o, h->vfs, h->clock, &err));
    must(access_open(h->b, &h->settings, &h->a, &err));
}

static inline void home_make(struct home *h)
{
    *h = (struct home){.vfs = vfs_sim_new(1),
                       .clock = clock_virtual_new(INT64_C(1700000000000000000)),
                       .settings = {.anonymous_loopback = true, .scrypt_log_n = CHEAP}};
    home_open(h);
}

static inline void home_close(struct home *h)
{
    access_close(h->a);
    beck_close(h->b);
}

static inline void home_reopen(struct home *h)
{
    home_close(h);
    home_open(h);
}

static inline void home_remove(struct home *h)
{
    home_close(h);
    vfs_sim_free(h->vfs);
    clock_virtual_free(h->clock);
}

static const struct access_peer here = {.address = "127.0.0.1", .loopback = true};
static const struct access_peer there = {.address = "192.0.2.7"};
static const struct access_peer elsewhere = {.address = "192.0.2.8"};

static inline void put(struct home *h, const char *name, const char *password)
{
    must(access_put_user(h->a, name, beck_str(password), NULL, 0, &err));
}

/* The status of a login; what it gave is given back. */
static inline beck_status login(struct home *h, const struct access_peer *peer, const char *name,
                                const char *password)
{
    struct identity *i;
    beck_status status =
        access_password(h->a, peer, beck_str(name), beck_str(password), &i, NULL, NULL);
    if (!status) {
        assert_string_equal(identity_name(i), name);
        identity_release(i);
    }
    return status;
}

#endif
