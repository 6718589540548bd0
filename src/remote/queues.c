/* Queues of a server: making, changing and looking at them, and their dead letters. */
#include "event/cloudevents.h"
#include "remote/remote_impl.h"

#define PEEK_MAX 100000 /* what the server gives at once */
#define LETTERS_AT_ONCE 200

beck_status remote_queue_create(struct remote *r, const char *name,
                                const beck_queue_options *options, bool *made, beck_error *err)
{
    struct target t;
    struct reply g;
    target_of_queue(&t, name, "");
    beck_status status =
        remote_ask(r, "PUT", &t, &shape_queue_options, options, NULL, NULL, &g, err);
    *made = !status && g.response.status == 201;
    reply_release(&g);
    return status;
}

beck_status remote_queue_delete(struct remote *r, const char *name, beck_error *err)
{
    struct target t;
    target_of_queue(&t, name, "");
    return remote_do(r, "DELETE", &t, NULL, NULL, err);
}

beck_status remote_queue_alter(struct remote *r, const char *name,
                               const beck_queue_options *options, beck_error *err)
{
    struct target t;
    target_of_queue(&t, name, "/options");
    return remote_do(r, "PUT", &t, &shape_queue_options, options, err);
}

beck_status remote_queue_bind(struct remote *r, const char *queue, const beck_binding *binding,
                              beck_error *err)
{
    struct target t;
    beck_binding full = *binding;
    if (!full.bus || !*full.bus)
        return error_set(err, BECK_ENOENT, "there is no bus \"\"");
    target_of_queue(&t, queue, "/bindings");
    return remote_do(r, "POST", &t, &shape_binding, &full, err);
}

beck_status remote_queue_unbind(struct remote *r, const char *queue, const char *bus,
                                const char *pattern, beck_error *err)
{
    struct target t;
    target_of_queue(&t, queue, "/bindings");
    target_param(&t, "bus", beck_str(bus));
    target_param(&t, "pattern", beck_str(pattern));
    return remote_do(r, "DELETE", &t, NULL, NULL, err);
}

/* ---- looking ---- */

beck_status remote_queue_info(struct remote *r, const char *name, beck_queue_info *out,
                              beck_error *err)
{
    struct target t;
    struct reply g;
    beck_queue_info info;
    target_of_queue(&t, name, "");
    beck_status status = remote_ask(r, "GET", &t, NULL, NULL, &shape_queue, &info, &g, err);
    if (!status) {
        info.name = remote_name(r, name, err);
        status = info.name ? BECK_OK : BECK_ENOMEM;
    }
    if (!status)
        *out = info;
    reply_release(&g);
    return status;
}

beck_status remote_queue_list(struct remote *r, int (*each)(void *ctx, const char *name), void *ctx,
                              beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_queues all;
    target_begin(&t, "/v1/queues");
    beck_status status = remote_ask(r, "GET", &t, NULL, NULL, &shape_queues, &all, &g, err);
    for (size_t i = 0; !status && i < all.count; i++)
        if (each(ctx, all.list[i].name))
            break;
    reply_release(&g);
    return status;
}

beck_status remote_queue_bindings(struct remote *r, const char *name,
                                  int (*each)(void *ctx, const beck_binding *binding), void *ctx,
                                  beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_bindings all;
    target_of_queue(&t, name, "/bindings");
    beck_status status = remote_ask(r, "GET", &t, NULL, NULL, &shape_bindings, &all, &g, err);
    for (size_t i = 0; !status && i < all.count; i++)
        if (each(ctx, &all.list[i]))
            break;
    reply_release(&g);
    return status;
}

beck_status remote_queue_peek(struct remote *r, const char *name, size_t max,
                              int (*each)(void *ctx, const beck_event *event), void *ctx,
                              beck_error *err)
{
    struct target t;
    struct reply g;
    beck_document *events = NULL;
    target_of_queue(&t, name, max ? "/events" : "");
    if (max)
        target_number(&t, "limit", max < PEEK_MAX ? (int64_t)max : PEEK_MAX);
    beck_status status = remote_ask(r, "GET", &t, NULL, NULL, NULL, NULL, &g, err);
    if (!status && max)
        status = cloudevents_parse_exact(buf_bytes(&g.response.body), &events, err);
    for (size_t i = 0; !status && events && i < beck_document_count(events); i++)
        if (each(ctx, beck_document_event(events, i)))
            break;
    beck_document_free(events);
    reply_release(&g);
    return status;
}

static beck_status give_waiting(const struct api_waiting *said,
                                int (*each)(void *ctx, const beck_waiting *waiting), void *ctx,
                                bool *over, beck_error *err)
{
    beck_document *document = NULL;
    beck_waiting waiting = {.bus = said->origin.bus,
                            .position = {said->origin.partition, said->origin.offset},
                            .attempt = said->attempt,
                            .since_ms = said->since_ms,
                            .due_ms = said->due_ms};
    beck_status status =
        said->event.len > 0 ? cloudevents_parse_exact(said->event, &document, err) : BECK_OK;
    if (status)
        return status;
    if (document)
        waiting.event = beck_document_event(document, 0);
    *over = each(ctx, &waiting) != 0;
    beck_document_free(document);
    return BECK_OK;
}

beck_status remote_queue_waiting(struct remote *r, const char *name, beck_waiting_kind kind,
                                 size_t from, size_t max,
                                 int (*each)(void *ctx, const beck_waiting *waiting), void *ctx,
                                 beck_error *err)
{
    struct api_waiting_list page = {.next_from = (int64_t)from};
    beck_status status = BECK_OK;
    bool over = max == 0;
    do {
        struct target t;
        struct reply g;
        target_of_queue(&t, name, kind == BECK_WAITING_DELAYED ? "/delayed" : "/in_flight");
        target_number(&t, "limit", max ? (int64_t)max : 1);
        target_number(&t, "from", page.next_from);
        status = remote_ask(r, "GET", &t, NULL, NULL, &shape_waiting_list, &page, &g, err);
        for (size_t i = 0; !status && !over && max > 0 && i < page.count; i++, max--)
            status = give_waiting(&page.list[i], each, ctx, &over, err);
        reply_release(&g);
    } while (!status && !over && max > 0 && page.next_from >= 0);
    return status;
}

/* ---- changing ---- */

beck_status remote_queue_pause(struct remote *r, const char *name, bool paused, beck_error *err)
{
    struct target t;
    target_of_queue(&t, name, paused ? "/pause" : "/resume");
    return remote_do(r, "POST", &t, NULL, NULL, err);
}

static beck_status count(struct remote *r, const char *method, struct target *t,
                         const struct shape *shape, int64_t *out, beck_error *err)
{
    struct reply g;
    struct api_count said;
    beck_status status = remote_ask(r, method, t, NULL, NULL, shape, &said, &g, err);
    if (!status && out)
        *out = said.count;
    reply_release(&g);
    return status;
}

beck_status remote_queue_purge(struct remote *r, const char *name, int64_t *purged, beck_error *err)
{
    struct target t;
    target_of_queue(&t, name, "/purge");
    return count(r, "POST", &t, &shape_purged, purged, err);
}

beck_status remote_queue_rewind(struct remote *r, const char *name, const beck_from *from,
                                beck_error *err)
{
    struct target t;
    struct api_rewind to = {*from};
    target_of_queue(&t, name, "/rewind");
    return remote_do(r, "POST", &t, &shape_rewind, &to, err);
}

/* ---- dead letters ---- */

static beck_status give_letter(struct reply *g, const struct api_dead *said,
                               int (*each)(void *ctx, const beck_dead *dead), void *ctx, bool *over,
                               beck_error *err)
{
    beck_document *document;
    beck_status status = cloudevents_parse_exact(said->event, &document, err);
    if (status)
        return status;
    /* Here the event's position is that of the letter. */
    beck_event event = *beck_document_event(document, 0);
    event.position = (beck_position){0, said->offset};
    beck_dead dead = {.event = &event,
                      .reason = said->reason,
                      .attempts = said->attempts,
                      .died_ms = said->died_ms,
                      .origin = {said->origin.partition, said->origin.offset},
                      .history = reply_text(g, said->history)};
    if (dead.history)
        *over = each(ctx, &dead) != 0;
    else
        status = error_set(err, BECK_ENOMEM, "no memory for a dead letter");
    beck_document_free(document);
    return status;
}

beck_status remote_dead_list(struct remote *r, const char *queue, size_t max,
                             int (*each)(void *ctx, const beck_dead *dead), void *ctx,
                             beck_error *err)
{
    size_t left = max ? max : SIZE_MAX;
    struct api_dead_letters page = {0};
    beck_status status = BECK_OK;
    bool over = false;
    do {
        struct target t;
        struct reply g;
        target_of_queue(&t, queue, "/dead");
        target_number(&t, "limit", left < LETTERS_AT_ONCE ? (int64_t)left : LETTERS_AT_ONCE);
        target_number(&t, "from", page.next_offset);
        status = remote_ask(r, "GET", &t, NULL, NULL, &shape_dead_letters, &page, &g, err);
        for (size_t i = 0; !status && !over && left > 0 && i < page.count; i++, left--)
            status = give_letter(&g, &page.list[i], each, ctx, &over, err);
        reply_release(&g);
    } while (!status && !over && left > 0 && page.next_offset >= 0);
    return status;
}

static void target_of_dead(struct target *t, const char *queue, const char *rest, int64_t offset)
{
    target_of_queue(t, queue, rest);
    if (offset >= 0)
        target_number(t, "offset", offset);
}

beck_status remote_dead_redrive(struct remote *r, const char *queue, int64_t offset,
                                int64_t *redriven, beck_error *err)
{
    struct target t;
    target_of_dead(&t, queue, "/dead/redrive", offset);
    return count(r, "POST", &t, &shape_redriven, redriven, err);
}

beck_status remote_dead_purge(struct remote *r, const char *queue, int64_t offset, int64_t *purged,
                              beck_error *err)
{
    struct target t;
    target_of_dead(&t, queue, "/dead", offset);
    return count(r, "DELETE", &t, &shape_purged, purged, err);
}
