/* Paths to routes: a tree of segments, made once, in which a name goes before a {name}. */
#ifndef BECK_WIRE_HTTP_ROUTER_H
#define BECK_WIRE_HTTP_ROUTER_H

#include "wire/http/http.h"

#define ROUTE_NAMES_MAX 8 /* {} in one path */

struct router;

/* All tables of routes, ending with NULL (routes.c). */
extern const struct http_route *const http_routes[];

/* What a path leads to. */
struct route_place {
    const struct http_route *const *routes; /* by method; `count` of them */
    const uint32_t *numbers;                /* of the routes, from 0, over all tables */
    size_t count;
};

struct router *router_new(const struct http_route *const *tables); /* NULL: no memory */
void router_free(struct router *r);
uint32_t router_count(const struct router *r);
/* path: without the query, still percent-encoded, each segment decoded in place and NUL-terminated.
 * names: the values of its {}. NULL: nothing is there. `text` and `names` are of use also then. */
const struct route_place *router_find(const struct router *r, char *path, const char **names,
                                      size_t *count);
/* In place; the result is never longer. False: not percent-encoded, or a NUL in it. */
bool percent_decode(char *text, bool plus_is_space);

#endif
