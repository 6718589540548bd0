/*
 * The tree of routes. A path is short and comes from outside: it is walked segment by segment, without
 * going back, since no path of the tables needs it.
 */
#include "wire/http/router.h"

#include <stdlib.h>

struct node {
    char *segment; /* NULL: a {name} */
    size_t len;
    struct node *children, *next;
    const struct http_route **routes;
    uint32_t *numbers;
    struct route_place place;
};

struct router {
    struct node root;
    uint32_t count;
};

static bool is_name(const char *segment)
{
    return segment[0] == '{';
}

/* The child for one segment of a route's path, made when missing. */
static struct node *child_for(struct node *parent, const char *segment, size_t len)
{
    struct node **at = &parent->children;
    bool name = is_name(segment);
    for (; *at; at = &(*at)->next)
        if (name ? !(*at)->segment
                 : (*at)->segment && (*at)->len == len && !memcmp((*at)->segment, segment, len))
            return *at;
    struct node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    node->len = len;
    if (!name && !(node->segment = strndup(segment, len))) {
        free(node);
        return NULL;
    }
    *at = node;
    return node;
}

static bool add(struct router *r, const struct http_route *route)
{
    struct node *node = &r->root;
    for (const char *at = route->path; node && *at == '/';) {
        size_t len = strcspn(++at, "/");
        node = child_for(node, at, len);
        at += len;
    }
    if (!node)
        return false;
    size_t count = node->place.count + 1;
    const struct http_route **routes = realloc(node->routes, count * sizeof(*routes));
    if (routes)
        node->routes = routes;
    uint32_t *numbers = realloc(node->numbers, count * sizeof *numbers);
    if (numbers)
        node->numbers = numbers;
    if (!routes || !numbers)
        return false;
    routes[count - 1] = route;
    numbers[count - 1] = r->count++;
    node->place = (struct route_place){node->routes, node->numbers, count};
    return true;
}

struct router *router_new(const struct http_route *const *tables)
{
    struct router *r = calloc(1, sizeof *r);
    bool ok = r != NULL;
    for (size_t t = 0; ok && tables[t]; t++)
        for (const struct http_route *route = tables[t]; ok && route->method; route++)
            ok = add(r, route);
    if (ok)
        return r;
    router_free(r);
    return NULL;
}

/* The tree is as deep as the longest path of a table. */
static void free_nodes(struct node *node) // NOLINT(misc-no-recursion)
{
    while (node) {
        struct node *next = node->next;
        free_nodes(node->children);
        free(node->segment);
        free(node->routes);
        free(node->numbers);
        free(node);
        node = next;
    }
}

void router_free(struct router *r)
{
    if (!r)
        return;
    free_nodes(r->root.children);
    free(r->root.routes);
    free(r->root.numbers);
    free(r);
}

uint32_t router_count(const struct router *r)
{
    return r->count;
}

static const struct node *step(const struct node *parent, const char *segment, size_t len)
{
    const struct node *name = NULL;
    for (const struct node *n = parent->children; n; n = n->next) {
        if (!n->segment)
            name = n;
        else if (n->len == len && memcmp(n->segment, segment, len) == 0)
            return n;
    }
    return name;
}

const struct route_place *router_find(const struct router *r, char *path, const char **names,
                                      size_t *count)
{
    const struct node *node = &r->root;
    *count = 0;
    for (bool more = *path == '/'; node && more;) {
        char *segment = path + 1;
        path = segment + strcspn(segment, "/");
        more = *path == '/';
        *path = 0;
        if (!percent_decode(segment, false))
            return NULL;
        node = step(node, segment, strlen(segment));
        if (node && !node->segment) {
            if (segment[0] == 0 || *count == ROUTE_NAMES_MAX)
                return NULL;
            names[(*count)++] = segment;
        }
    }
    return node && node->place.count > 0 ? &node->place : NULL;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool percent_decode(char *text, bool plus_is_space)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (*in == '%') {
            int high = hex(in[1]), low = high < 0 ? -1 : hex(in[2]);
            if (low < 0 || high + low == 0)
                return false;
            *out++ = (char)(high * 16 + low);
            in += 2;
        } else {
            *out++ = plus_is_space && *in == '+' ? ' ' : *in;
        }
    }
    *out = 0;
    return true;
}
