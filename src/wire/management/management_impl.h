/* What the files of the management share of it. */
#ifndef BECK_WIRE_MANAGEMENT_IMPL_H
#define BECK_WIRE_MANAGEMENT_IMPL_H

#include "wire/management/call.h"

struct management {
    struct management_context context;
    struct management_listener *listeners;
    struct http_site site;
    struct http_route *routes;                     /* for the site, one each of */
    const struct management_route **route_details; /* these, in the same order */
    size_t route_count;
    const struct http_route *tables[2];
    struct rates *rates;
    int64_t started_ms;
    char node[128]; /* "rabbit@host" */
};

/* enum amqp_alarm */
uint32_t management_alarms(const struct call *c);

#endif
