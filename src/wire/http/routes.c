/* All routes. */
#include "wire/http/router.h"

const struct http_route *const http_routes[] = {
    http_routes_events,
    http_routes_buses,
    http_routes_queues,
    http_routes_work,
    http_routes_dead,
    http_routes_trace,
    http_routes_users,
    http_routes_openapi,
    http_routes_server,
    http_routes_hooks,
    NULL,
};
