/* /v1/queues/{queue}/dead: dead letters in pages, put back or removed. */
#include "wire/http/document.h"

#include "base/error.h"
#include "event/cloudevents.h"
#include "event/event.h"

#include <stdio.h>

#define DEAD_DEFAULT 100
#define DEAD_LIMIT_MAX 100000
/* A page ends behind this many bytes. */
#define PAGE_BYTES (8u << 20)

struct page {
    struct document_list list;
    struct buf event; /* scratch */
    int64_t from, limit;
    int64_t next; /* -1: there is no more */
};

static void add(struct page *p, const beck_dead *dead)
{
    char bus[256];
    beck_event event = *dead->event;
    event.position = dead->origin;
    buf_clear(&p->event);
    beck_status status = cloudevents_write_exact(&event, &p->event, &p->list.err);
    if (status) {
        p->list.status = status;
        return;
    }
    snprintf(bus, sizeof bus, "%.*s", (int)dead->event->bus.len,
             (const char *)dead->event->bus.data);
    struct api_dead shown = {.offset = dead->event->position.offset,
                             .reason = dead->reason,
                             .attempts = dead->attempts,
                             .died_ms = dead->died_ms,
                             .origin = {bus, dead->origin.partition, dead->origin.offset},
                             .history = beck_str(dead->history),
                             .event = buf_bytes(&p->event)};
    document_list_add(&p->list, &shape_dead, &shown);
}

static int list_one(void *ctx, const beck_dead *dead)
{
    struct page *p = ctx;
    int64_t offset = dead->event->position.offset;
    if (offset < p->from)
        return 0;
    if ((int64_t)p->list.count == p->limit || p->list.out.len >= PAGE_BYTES) {
        p->next = offset;
        return 1;
    }
    add(p, dead);
    return p->list.status != BECK_OK;
}

static void list_dead(struct http_request *r)
{
    struct page p = {.next = -1};
    if (!http_query_number(r, "limit", 1, DEAD_LIMIT_MAX, DEAD_DEFAULT, &p.limit) ||
        !http_query_number(r, "from", 0, INT64_MAX, 0, &p.from))
        return;
    buf_init(&p.event, DOCUMENT_ANSWER_MAX);
    document_list_init(&p.list, "dead");
    beck_status status = p.list.status;
    if (!status)
        status = beck_dead_list(http_of(r)->b, http_path(r, 0), 0, list_one, &p, &p.list.err);
    if (!p.list.status)
        p.list.status = status;
    document_list_answer_with(&p.list, r, "next_offset", p.next);
    buf_release(&p.event);
}

/* ---- one, or all ---- */

typedef beck_status (*change_fn)(beck *b, const char *queue, int64_t offset, int64_t *count,
                                 beck_error *err);

static void change(struct http_request *r, change_fn fn, const struct shape *answer)
{
    struct api_count done = {0};
    int64_t offset;
    beck_error err;
    if (!http_query_number(r, "offset", 0, INT64_MAX, -1, &offset))
        return;
    beck_status status = fn(http_of(r)->b, http_path(r, 0), offset, &done.count, &err);
    if (status)
        http_fail(r, status, &err);
    else
        document_answer(r, 200, answer, &done);
}

static void redrive(struct http_request *r)
{
    change(r, beck_dead_redrive, &shape_redriven);
}

static void purge(struct http_request *r)
{
    change(r, beck_dead_purge, &shape_purged);
}

static const struct http_param list_params[] = {
    {"limit", "integer", "at most this many, 1 to 100,000; else 100"},
    {"from", "integer", "from this offset on, else from the oldest"},
    {0}};
static const struct http_param offset_params[] = {
    {"offset", "integer", "of one dead letter, else all"}, {0}};

const struct http_route http_routes_dead[] = {
    {"GET", "/v1/queues/{queue}/dead", HTTP_POOL, ACCESS_READ, ACCESS_QUEUE, list_dead,
     "listDeadLetters", "Events that the queue gave up, oldest first", list_params, NULL,
     "DeadLetters"},
    {"POST", "/v1/queues/{queue}/dead/redrive", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, redrive,
     "redriveDeadLetters", "Puts dead letters back into their queue", offset_params, NULL,
     "Redriven"},
    {"DELETE", "/v1/queues/{queue}/dead", HTTP_POOL, ACCESS_ADMIN, ACCESS_QUEUE, purge,
     "purgeDeadLetters", "Removes dead letters", offset_params, NULL, "Purged"},
    {0}};
