/* What requests over HTTP hold: bodies, ce-* headers, cursors, paths and queries. The first byte says
 * which. */
#include "fuzz.h"

#include "event/binary.h"
#include "event/event.h"
#include "wire/http/publish.h"
#include "wire/http/reading.h"
#include "wire/http/router.h"

#include <stdlib.h>

static void read_body(enum publish_form form, beck_bytes text)
{
    struct publish_events events;
    beck_error err;
    if (publish_read_json(form, text, &events, &err))
        return;
    for (size_t i = 0; i < events.count; i++)
        event_check(&events.events[i], NULL);
    publish_events_release(&events);
}

/* Lines "name:value". */
static void read_headers(char *text)
{
    beck_event e = {0};
    beck_attribute extensions[4];
    beck_error err;
    while (text) {
        char *next = strchr(text, '\n');
        if (next)
            *next++ = 0;
        char *value = strchr(text, ':');
        if (value) {
            *value++ = 0;
            if (binary_read_header(&e, extensions, 4, text, value, &err))
                return;
        }
        text = next;
    }
    REQUIRE(e.extension_count <= 4);
    event_check(&e, NULL);
}

static void read_cursor(const char *text)
{
    uint32_t partition;
    int64_t next;
    for (const char *at = text; cursor_part(&at, &partition, &next) > 0;)
        REQUIRE(partition < BUS_PARTITIONS_MAX && next >= 0);
}

static void read_path(char *text)
{
    static const struct http_route routes[] = {{.method = "GET", .path = "/v1/a/{name}/b"},
                                               {.method = "GET", .path = "/v1/a"},
                                               {.method = "GET", .path = "/{x}/{y}/{z}"},
                                               {0}};
    static const struct http_route *const tables[] = {routes, NULL};
    const char *names[ROUTE_NAMES_MAX];
    size_t count;
    struct router *router = router_new(tables);
    if (!router)
        return;
    if (router_find(router, text, names, &count))
        for (size_t i = 0; i < count; i++)
            REQUIRE(names[i][0]);
    router_free(router);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    beck_bytes rest = bytes_of(data + 1, size - 1);
    char *text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    switch (data[0] % 8) {
    case 0:
        read_body(PUBLISH_JSON, rest);
        break;
    case 1:
        read_body(PUBLISH_BATCH, rest);
        break;
    case 2:
        read_body(PUBLISH_LINES, rest);
        break;
    case 3:
        read_headers(text);
        break;
    case 4:
        read_cursor(text);
        break;
    case 5:
        read_path(text);
        break;
    case 6:
        percent_decode(text, true);
        break;
    default:
        publish_form_of(text, false);
    }
    free(text);
    return 0;
}
