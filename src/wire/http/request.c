/*
 * What handlers ask a request for: its path, query, headers and body, and memory.
 *
 * The head of a request is copied into its memory; headers are pieces of that. The target is copied
 * once more, and taken to pieces in place.
 */
#include "wire/http/http_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/nearest.h"
#include "event/value.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARGUMENTS_MAX 64
#define TEXT_MAX 512

const struct http_context *http_of(const struct http_request *r)
{
    return &r->connection->http->context;
}

const struct http_route *http_route_of(const struct http_request *r)
{
    return r->route;
}

void *http_site_ctx(const struct http_request *r)
{
    const struct http_site *site = r->connection->served->site;
    return site ? site->ctx : NULL;
}

const struct http_settings *http_settings_of(const struct http_request *r)
{
    return &r->connection->http->settings;
}

const char *http_method(const struct http_request *r)
{
    return r->head.method ? r->head.method : "";
}

const struct identity *http_identity(const struct http_request *r)
{
    return r->identity;
}

const struct access_peer *http_peer(const struct http_request *r)
{
    return &r->connection->peer;
}

beck_bytes http_body(const struct http_request *r)
{
    return r->body.len > 0 ? buf_bytes(&r->body) : bytes_of("", 0);
}

/* ---- memory ---- */

void *http_alloc(struct http_request *r, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    if (rounded < size)
        return NULL;
    if (rounded <= HTTP_ARENA - r->arena_used) {
        void *memory = r->arena + r->arena_used;
        r->arena_used += rounded;
        return memory;
    }
    if (rounded > SIZE_MAX - sizeof(struct http_block))
        return NULL;
    struct http_block *block = malloc(sizeof *block + rounded);
    if (!block)
        return NULL;
    block->next = r->blocks;
    r->blocks = block;
    return block->bytes;
}

const char *request_text(struct http_request *r, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t size = len < 0 ? 1 : len >= TEXT_MAX ? TEXT_MAX : (size_t)len + 1;
    char *copy = http_alloc(r, size);
    if (!copy)
        return "";
    memcpy(copy, text, size - 1);
    copy[size - 1] = 0;
    return copy;
}

static void release_body(struct http_request *r)
{
    buf_release(&r->body);
    if (r->body_counted)
        atomic_fetch_sub(&r->connection->http->bodies, r->body_counted);
    r->body_counted = 0;
}

void request_reset(struct http_request *r)
{
    release_body(r);
    while (r->blocks) {
        struct http_block *next = r->blocks->next;
        free(r->blocks);
        r->blocks = next;
    }
    /* Its connection stays: whoever ends all waits may be looking at it. */
    size_t from = offsetof(struct http_request, head);
    memset((char *)r + from, 0, offsetof(struct http_request, park) - from);
    atomic_store(&r->gone, false);
}

/* ---- target ---- */

const char *http_target(const struct http_request *r)
{
    return r->target ? r->target : "";
}

/* Nobody else is to see a token, so what is shown of the target later, in logs too, has none. */
static void hide_token(char *target)
{
    for (char *p = strchr(target, '?'); p; p = strchr(p, '&')) {
        char name[3 * sizeof "access_token"]; /* with each character percent-encoded */
        size_t len = strcspn(++p, "=&");
        if (p[len] != '=' || len >= sizeof name)
            continue;
        memcpy(name, p, len);
        name[len] = 0;
        if (percent_decode(name, true) && strcasecmp(name, "access_token") == 0)
            memset(p + len + 1, '*', strcspn(p + len + 1, "&"));
    }
}

bool request_copy_target(struct http_request *r, char *target)
{
    size_t size = strlen(target) + 1;
    r->target = target;
    r->place = http_alloc(r, size);
    if (r->place)
        memcpy(r->place, target, size);
    hide_token(target);
    return r->place;
}

/* One `name=value`, decoded in place. */
static bool read_argument(struct http_argument *a, char *text)
{
    char *value = strchr(text, '=');
    if (value)
        *value++ = 0;
    else
        value = text + strlen(text);
    a->name = text;
    a->value = value;
    return percent_decode(text, true) && (*value == 0 || percent_decode(value, true));
}

static bool read_query(struct http_request *r, char *query)
{
    size_t count = 1;
    for (const char *p = query; *p; p++)
        count += *p == '&';
    if (count > ARGUMENTS_MAX) {
        http_refuse(r, 400, "the query has %zu parameters; at most %d are read", count,
                    ARGUMENTS_MAX);
        return false;
    }
    r->arguments = http_alloc(r, count * sizeof *r->arguments);
    if (!r->arguments) {
        http_refuse(r, 503, "no memory for the query");
        return false;
    }
    for (char *next; query; query = next) {
        next = strchr(query, '&');
        if (next)
            *next++ = 0;
        if (*query == 0)
            continue;
        if (!read_argument(&r->arguments[r->argument_count], query)) {
            http_refuse(
                r, 400,
                "the query holds a %% that two hexadecimal digits do not follow (or a NUL); "
                "write %%25 for the character itself");
            return false;
        }
        r->argument_count++;
    }
    return true;
}

/* What the place has, when that is not what was asked for. */
static bool refuse_method(struct http_request *r, const struct route_place *place)
{
    struct buf allow;
    buf_init(&allow, 256);
    bool head = false, options = false;
    for (size_t i = 0; i < place->count; i++) {
        head |= strcmp(place->routes[i]->method, "HEAD") == 0;
        options |= strcmp(place->routes[i]->method, "OPTIONS") == 0;
    }
    for (size_t i = 0; i < place->count; i++) {
        const char *own = place->routes[i]->method;
        buf_printf(&allow, "%s%s%s", i ? ", " : "", own,
                   strcmp(own, "GET") == 0 && !head ? ", HEAD" : "");
    }
    buf_append_text(&allow, options ? "" : ", OPTIONS");
    if (buf_terminate(&allow) == BECK_OK)
        http_set_header(r, "Allow", (const char *)allow.data);
    if (strcmp(r->head.method, "OPTIONS") == 0)
        http_answer(r, 204, NULL, NULL);
    else
        http_refuse(r, 405, "%.20s is not for \"%.200s\"; it has %s", r->head.method, r->target,
                    allow.data ? (const char *)allow.data : "others");
    buf_release(&allow);
    return false;
}

static void choose_route(struct http_request *r, const struct route_place *place, uint32_t first)
{
    const char *method = strcmp(r->head.method, "HEAD") == 0 ? "GET" : r->head.method;
    for (size_t i = 0; i < place->count; i++) {
        const char *own = place->routes[i]->method;
        if (strcmp(own, r->head.method) == 0 || (!r->route && strcmp(own, method) == 0)) {
            r->route = place->routes[i];
            r->number = first + place->numbers[i];
        }
    }
}

bool request_read_target(struct http_request *r)
{
    char *copy = r->place, *query = strchr(copy, '?');
    if (query)
        *query++ = 0;
    if (strncasecmp(copy, "http://", 7) == 0 || strncasecmp(copy, "https://", 8) == 0) {
        char *path = strchr(strchr(copy, ':') + 3, '/');
        copy = path ? path : copy + strlen(copy);
    }
    const struct served *served = r->connection->served;
    size_t len = strlen(copy);
    if (served->site && len > 1 && copy[len - 1] == '/')
        copy[len - 1] = 0;
    const struct route_place *place = router_find(served->router, copy, r->names, &r->name_count);
    if (!place) {
        http_refuse(r, 404, "there is nothing at \"%.200s\"%s", r->target,
                    served->site ? "" : "; GET /openapi.json says what there is");
        return false;
    }
    choose_route(r, place, served->first);
    if (!r->route)
        return refuse_method(r, place);
    return !query || read_query(r, query);
}

bool request_check_arguments(struct http_request *r)
{
    for (size_t i = 0; i < r->argument_count; i++) {
        const char *name = r->arguments[i].name, *best = NULL;
        unsigned distance = 0;
        const struct http_param *p = r->route->params;
        for (; p && p->name && strcmp(p->name, name) != 0 && strcmp(p->name, "*") != 0; p++)
            best = nearest(name, best, &distance, p->name);
        if (!p || !p->name) {
            http_refuse(r, 400, "query parameter \"%.60s\" is unknown%s%s%s", name,
                        best ? "; did you mean \"" : "", best ? best : "", best ? "\"?" : "");
            return false;
        }
        if (strcmp(p->name, "*") != 0 && http_query(r, name) != r->arguments[i].value) {
            http_refuse(r, 400, "query parameter \"%.60s\" comes more than once", name);
            return false;
        }
    }
    return true;
}

const char *http_path(const struct http_request *r, size_t index)
{
    return index < r->name_count ? r->names[index] : "";
}

const char *http_query(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->argument_count; i++)
        if (strcmp(r->arguments[i].name, name) == 0)
            return r->arguments[i].value;
    return NULL;
}

bool http_query_number(struct http_request *r, const char *name, int64_t min, int64_t max,
                       int64_t otherwise, int64_t *out)
{
    const char *text = http_query(r, name);
    *out = otherwise;
    if (!text || (value_number(text, out) && *out >= min && *out <= max))
        return true;
    http_refuse(r, 400, "%s is \"%.60s\"; expected a whole number from %lld to %lld", name, text,
                (long long)min, (long long)max);
    return false;
}

bool http_query_duration(struct http_request *r, const char *name, int64_t max_ms, int64_t *out)
{
    const char *text = http_query(r, name);
    *out = 0;
    if (!text ||
        ((value_number(text, out) || value_duration(text, out)) && *out >= 0 && *out <= max_ms))
        return true;
    char high[VALUE_TEXT_MAX];
    value_duration_text(max_ms, high);
    http_refuse(r, 400,
                "%s is \"%.60s\"; expected a time from 0s to %s, as \"250ms\", \"5s\", \"1m\"",
                name, text, high);
    return false;
}

bool http_query_flag(struct http_request *r, const char *name, bool *out)
{
    const char *text = http_query(r, name);
    *out = text && (!*text || strcmp(text, "true") == 0 || strcmp(text, "1") == 0);
    if (!text || *out || strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
        return true;
    http_refuse(r, 400, "%s is \"%.60s\"; expected true or false", name, text);
    return false;
}

bool http_query_from(struct http_request *r, const char *name, beck_from otherwise, beck_from *out)
{
    const char *text = http_query(r, name);
    *out = otherwise;
    if (!text || value_from(text, clock_wall_ns(clock_system()), out))
        return true;
    http_refuse(r, 400,
                "%s is \"%.60s\"; expected \"now\", \"earliest\", an offset, or a time as "
                "2026-01-31T12:00:00Z",
                name, text);
    return false;
}

/* ---- headers ---- */

const char *http_header(const struct http_request *r, const char *name)
{
    return head_value(&r->head, name);
}

size_t http_header_count(const struct http_request *r, const char *name)
{
    return head_count(&r->head, name);
}

void http_each_header(const struct http_request *r,
                      void (*each)(void *ctx, const char *name, const char *value), void *ctx)
{
    for (size_t i = 0; i < r->head.count; i++)
        each(ctx, r->head.fields[i].name, r->head.fields[i].value);
}

/* ---- what lives with the connection ---- */

void *http_connection_get(const struct http_request *r, const void *key)
{
    for (const struct connection_thing *t = r->connection->things; t; t = t->next)
        if (t->key == key)
            return t->thing;
    return NULL;
}

beck_status http_connection_put(struct http_request *r, const void *key, void *thing,
                                void (*release)(void *thing), beck_error *err)
{
    assert(!http_connection_get(r, key));
    struct connection_thing *t = malloc(sizeof *t);
    if (!t)
        return error_set(err, BECK_ENOMEM, "no memory for what the connection keeps");
    *t = (struct connection_thing){r->connection->things, key, thing, release};
    r->connection->things = t;
    /* One of this machine that holds something is not idle: its process may be at work on it. */
    if (r->connection->peer.trusted)
        atomic_store(&r->connection->keeps, true);
    return BECK_OK;
}
