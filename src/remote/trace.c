/* Traces through a server. */
#include "base/error.h"
#include "event/cloudevents.h"
#include "remote/remote_impl.h"
#include <stdlib.h>

#define STEPS_DEFAULT 10000 /* as beck_trace says */

static beck_status give_step(struct reply *g, const struct api_trace_step *said,
                             int (*each)(void *ctx, const beck_trace_step *step), void *ctx,
                             bool *over, beck_error *err)
{
    beck_document *document;
    beck_trace_delivery *deliveries = malloc((said->delivery_count + 1) * sizeof *deliveries);
    if (!deliveries)
        return error_set(err, BECK_ENOMEM, "no memory for a trace");
    beck_status status = cloudevents_parse_exact(said->event, &document, err);
    if (status) {
        free(deliveries);
        return status;
    }
    for (size_t i = 0; i < said->delivery_count && !status; i++) {
        const struct api_trace_delivery *d = &said->deliveries[i];
        deliveries[i] = (beck_trace_delivery){.queue = d->queue,
                                              .state = d->state,
                                              .attempts = d->attempts,
                                              .at_ms = d->at_ms,
                                              .reason = d->reason,
                                              .history = reply_text(g, d->history)};
        if (!deliveries[i].history)
            status = error_set(err, BECK_ENOMEM, "no memory for a trace");
    }
    const beck_trace_step step = {.event = beck_document_event(document, 0),
                                  .depth = said->depth,
                                  .deliveries = deliveries,
                                  .delivery_count = said->delivery_count};
    if (!status)
        *over = each(ctx, &step) != 0;
    beck_document_free(document);
    free(deliveries);
    return status;
}

beck_status remote_trace(struct remote *r, const char *id, size_t max,
                         int (*each)(void *ctx, const beck_trace_step *step), void *ctx,
                         beck_error *err)
{
    struct target t;
    struct reply g;
    struct api_trace trace = {0};
    bool over = false;
    target_begin(&t, "/v1/trace/");
    target_segment(&t, id);
    target_number(&t, "limit", (int64_t)(max ? max : STEPS_DEFAULT));
    beck_status status = remote_ask(r, "GET", &t, NULL, NULL, &shape_trace, &trace, &g, err);
    for (size_t i = 0; i < trace.count && !status && !over; i++)
        status = give_step(&g, &trace.list[i], each, ctx, &over, err);
    reply_release(&g);
    return status;
}
