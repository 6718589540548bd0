/* A bus without a log: callers and subscribers alone. For the tests of this folder. */
#ifndef TESTS_BUS_SHOP_H
#define TESTS_BUS_SHOP_H

#include "bus/subscribers.h"
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct bus {
    struct callers *callers;
    struct subscribers *subscribers;
    int reports;
    beck_error reported; /* the last one */
};

static inline void on_report(void *ctx, const beck_error *error)
{
    struct bus *bus = ctx;
    bus->reports++;
    bus->reported = *error;
}

static inline void bus_init(struct bus *bus)
{
    memset(bus, 0, sizeof *bus);
    assert_int_equal(callers_new(&bus->callers, NULL), BECK_OK);
    assert_int_equal(subscribers_new(bus->callers, "shop", on_report, bus, &bus->subscribers),
                     BECK_OK);
}

static inline void bus_release(struct bus *bus)
{
    subscribers_free(bus->subscribers);
    callers_free(bus->callers);
}

static inline uint32_t publish(struct bus *bus, const char *type)
{
    beck_event event = {.type = beck_str(type), .id = beck_str("id-1")};
    return subscribers_call(bus->subscribers, callers_self(bus->callers), &event);
}

static inline beck_listener *subscribe(struct bus *bus, const char *pattern, beck_listener_fn fn,
                                       void *ctx, const beck_listener_options *options)
{
    beck_listener *listener = NULL;
    beck_error err = {0};
    beck_status status =
        subscribers_add(bus->subscribers, beck_str(pattern), fn, ctx, options, &listener, &err);
    if (status != BECK_OK)
        fail_msg("%s: %s", pattern, err.text);
    return listener;
}

#endif
