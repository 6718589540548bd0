/*
 * GET /openapi.json: the API in words that machines read (OpenAPI 3.1), made from the tables that it
 * is served by: routes, their parameters, and the shapes of documents. GET /asyncapi.json is in
 * asyncapi.c.
 */
#include "wire/http/describe.h"
#include "wire/http/router.h"

#define REFS "#/components/schemas/"
#define EVENT "{\"$ref\":\"#/components/schemas/Event\"}"
#define EVENTS "{\"$ref\":\"#/components/schemas/Events\"}"

/* In which content types a schema goes over the wire; NULL: application/json. */
struct body {
    const char *name;
    const char *const *types; /* pairs: content type, schema; ends with NULL */
};

static const char *const event_answer[] = {"application/cloudevents-batch+json",
                                           EVENTS,
                                           "application/x-ndjson",
                                           "{\"type\":\"string\"}",
                                           "text/event-stream",
                                           "{\"type\":\"string\"}",
                                           NULL};
static const char *const peek_answer[] = {"application/cloudevents-batch+json", EVENTS,
                                          "application/x-ndjson", "{\"type\":\"string\"}", NULL};
static const char *const event_body[] = {"application/cloudevents+json",
                                         EVENT,
                                         "application/cloudevents-batch+json",
                                         EVENTS,
                                         "application/x-ndjson",
                                         "{\"type\":\"string\"}",
                                         "*/*",
                                         "{}",
                                         NULL};
static const char *const text[] = {"text/plain", "{\"type\":\"string\"}", NULL};
static const char *const object[] = {"application/json", "{\"type\":\"object\"}", NULL};
static const char *const json_only[] = {"application/json", NULL, NULL};

static const struct body answers[] = {{"Events", event_answer},
                                      {"PeekedEvents", peek_answer},
                                      {"Document", object},
                                      {"text", text},
                                      {NULL, NULL}};
static const struct body bodies[] = {{"Events", event_body}, {NULL, NULL}};

/* ---- one operation ---- */

static const struct shape *shape_of(const char *name)
{
    for (size_t i = 0; api_shapes[i]; i++)
        if (strcmp(api_shapes[i]->name, name) == 0)
            return api_shapes[i];
    return NULL;
}

static void put_content(struct description *d, const struct body *list, const char *name)
{
    const char *const *types = json_only;
    for (; list->name; list++)
        if (strcmp(list->name, name) == 0)
            types = list->types;
    describe_put(d, "\"content\":{");
    for (size_t i = 0; types[i]; i += 2) {
        describe_format(d, "%s\"%s\":{\"schema\":", i ? "," : "", types[i]);
        if (types != json_only)
            describe_put(d, types[i + 1]);
        else if (shape_of(name))
            describe_format(d, "{\"$ref\":\"" REFS "%s\"}", name);
        else
            describe_put(d, "{}");
        describe_put(d, "}");
        if (types == json_only)
            break;
    }
    describe_put(d, "}");
}

static const char *param_schema(const char *kind)
{
    if (strcmp(kind, "duration") == 0)
        return "{\"type\":\"string\",\"examples\":[\"250ms\",\"5s\",\"1m\"]}";
    if (strcmp(kind, "integer") == 0)
        return "{\"type\":\"integer\",\"format\":\"int64\"}";
    return strcmp(kind, "boolean") == 0 ? "{\"type\":\"boolean\"}" : "{\"type\":\"string\"}";
}

static void put_parameters(struct description *d, const struct http_route *route)
{
    bool any = false;
    describe_put(d, "\"parameters\":[");
    for (const char *at = strchr(route->path, '{'); at; at = strchr(at + 1, '{')) {
        describe_format(d,
                        "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":{"
                        "\"type\":\"string\",\"minLength\":1}}",
                        any ? "," : "", (int)strcspn(at + 1, "}"), at + 1);
        any = true;
    }
    for (const struct http_param *p = route->params; p && p->name; p++) {
        if (strcmp(p->name, "*") == 0)
            continue;
        describe_format(d, "%s{\"name\":\"%s\",\"in\":\"query\",\"schema\":%s,\"description\":",
                        any ? "," : "", p->name, param_schema(p->schema));
        describe_text(d, beck_str(p->help));
        describe_put(d, "}");
        any = true;
    }
    describe_put(d, "],");
}

/* The first segment behind the version: what a reader of the document groups by. */
static void put_tag(struct description *d, const char *path)
{
    const char *from = strncmp(path, "/v1/", 4) == 0 ? path + 4 : path + 1;
    describe_format(d, "\"tags\":[\"%.*s\"],", (int)strcspn(from, "/."), from);
}

static void put_operation(struct description *d, const struct http_route *route)
{
    char method[16];
    size_t len = 0;
    for (; route->method[len] && len + 1 < sizeof method; len++)
        method[len] = (char)(route->method[len] | 0x20);
    method[len] = 0;
    describe_format(d, "\"%s\":{\"operationId\":\"%s\",\"summary\":", method, route->operation);
    describe_text(d, beck_str(route->summary));
    describe_put(d, ",");
    put_tag(d, route->path);
    put_parameters(d, route);
    if (route->accepts) {
        describe_put(d, "\"requestBody\":{");
        put_content(d, bodies, route->accepts);
        describe_put(d, "},");
    }
    if (route->right == 0)
        describe_put(d, "\"security\":[],");
    describe_put(d, "\"responses\":{\"2XX\":{\"description\":\"done\"");
    if (route->answers) {
        describe_put(d, ",");
        put_content(d, answers, route->answers);
    }
    describe_put(d, "},\"default\":{\"$ref\":\"#/components/responses/Problem\"}}}");
}

/* ---- the document ---- */

static const struct http_route *route_at(size_t *table, const struct http_route *previous)
{
    const struct http_route *next = previous ? previous + 1 : http_routes[*table];
    while (next && !next->method)
        next = http_routes[++*table];
    return next;
}

static void put_path(struct description *d, const struct http_route *first, bool any)
{
    size_t table = 0;
    bool one = false;
    describe_format(d, "%s\"%s\":{", any ? "," : "", first->path);
    for (const struct http_route *r = route_at(&table, NULL); r; r = route_at(&table, r)) {
        if (strcmp(r->path, first->path) != 0)
            continue;
        describe_put(d, one ? "," : "");
        put_operation(d, r);
        one = true;
    }
    describe_put(d, "}");
}

static bool is_first_of_path(const struct http_route *route)
{
    size_t table = 0;
    for (const struct http_route *r = route_at(&table, NULL); r != route; r = route_at(&table, r))
        if (strcmp(r->path, route->path) == 0)
            return false;
    return true;
}

static void put_paths(struct description *d)
{
    size_t table = 0;
    bool any = false;
    describe_put(d, "\"paths\":{");
    for (const struct http_route *r = route_at(&table, NULL); r; r = route_at(&table, r)) {
        if (!is_first_of_path(r))
            continue;
        put_path(d, r, any);
        any = true;
    }
    describe_put(d, "},");
}

static void put_components(struct description *d)
{
    describe_put(d, "\"components\":{\"schemas\":{");
    for (size_t i = 0; api_shapes[i]; i++) {
        describe_format(d, "%s\"%s\":", i ? "," : "", api_shapes[i]->name);
        describe_shape(d, api_shapes[i], REFS);
    }
    describe_put(d, "},\"responses\":{\"Problem\":{\"description\":\"what went wrong, and what to "
                    "do about it\",\"content\":{\"application/problem+json\":{\"schema\":{"
                    "\"$ref\":\"" REFS "Problem\"}}}}},"
                    "\"securitySchemes\":{"
                    "\"password\":{\"type\":\"http\",\"scheme\":\"basic\"},"
                    "\"token\":{\"type\":\"http\",\"scheme\":\"bearer\"}}}");
}

static void answer_openapi(struct http_request *r)
{
    struct description d;
    describe_begin(&d);
    describe_put(&d, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"beck\",\"summary\":\"Events: "
                     "publish, read, work on them\",\"license\":{\"name\":\"Apache-2.0\","
                     "\"identifier\":\"Apache-2.0\"},\"version\":");
    describe_text(&d, beck_str(http_of(r)->server_version));
    describe_put(&d, "},\"servers\":[{\"url\":\"/\"}],"
                     "\"security\":[{},{\"password\":[]},{\"token\":[]}],");
    put_paths(&d);
    put_components(&d);
    describe_put(&d, "}");
    describe_answer(&d, r);
}

const struct http_route http_routes_openapi[] = {
    {"GET", "/openapi.json", HTTP_POOL, 0, ACCESS_SERVER, answer_openapi, "getOpenapi",
     "This API as an OpenAPI 3.1 document", NULL, NULL, "Document"},
    {"GET", "/asyncapi.json", HTTP_POOL, HTTP_NAMED, ACCESS_SERVER, describe_asyncapi,
     "getAsyncapi", "Buses, and the types of their newest events, as an AsyncAPI 3.0 document",
     NULL, NULL, "Document"},
    {0}};
