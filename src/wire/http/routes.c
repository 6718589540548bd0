/* All routes. */
#include "wire/http/router.h"

const struct http_route *const http_routes[] = {
    http_routes_events,
    http_routes_server,
    NULL,
};
