/*
 * Publishing to a bus of a server: one request for each call, with the events as a JSON array in the
 * exact form (event/cloudevents.h).
 *
 * Events are checked here first, so that what is wrong is said in the same words as without a
 * server; and what follows from the event that this thread is handling is added here, since the
 * server does not know of it.
 */
#include "event/cloudevents.h"
#include "remote/remote_impl.h"

#define EVENTS_MAX 1000000 /* of one publish, as without a server */
#define BODY_MAX ((size_t)512 << 20)

static beck_status write_events(beck_bus *bus, const beck_event *events, size_t count,
                                bool no_context, struct buf *out, beck_error *err)
{
    struct caller *self = callers_self(bus->callers);
    bool context = !no_context && self && caller_current(self);
    beck_status status = buf_append_byte(out, '[');
    for (size_t i = 0; i < count && !status; i++) {
        beck_event e = events[i];
        status = event_check(&events[i], err);
        if (status)
            return status;
        if (context)
            bus_add_context(bus, self, &e);
        e.bus = bytes_of(NULL, 0); /* ignored when publishing */
        if (i > 0)
            status = buf_append_byte(out, ',');
        if (!status)
            status = cloudevents_write_exact(&e, out, NULL);
    }
    if (!status)
        status = buf_append_byte(out, ']');
    if (status == BECK_ELIMIT)
        return error_set(err, status,
                         "%zu events in one publish are more than %zu bytes; publish them in parts",
                         count, BODY_MAX);
    return status ? error_set(err, status, "no memory to publish %zu events", count) : BECK_OK;
}

static beck_status make_target(const beck_bus *bus, const beck_publish_options *o, struct target *t,
                               beck_error *err)
{
    static const char *const levels[] = {NULL, "none", "written", "synced"};
    target_of_bus(t, bus->name, o->done ? "/publishes" : "/events");
    if (o->level > BECK_LEVEL_SYNCED)
        return error_set(err, BECK_EINVAL, "there is no level %d", (int)o->level);
    if (o->level)
        target_param(t, "level", beck_str(levels[o->level]));
    if (o->partition_plus_1)
        target_number(t, "partition", (int64_t)o->partition_plus_1 - 1);
    return target_text(t, err) ? BECK_OK : BECK_ENOMEM;
}

beck_status remote_send_events(struct remote *r, const char *target, beck_bytes body,
                               beck_published *out, beck_error *err)
{
    struct request q = {.method = "POST",
                        .target = target,
                        .content_type = "application/cloudevents-batch+json",
                        .body = body};
    struct reply g;
    struct api_published said = {0};
    reply_init(&g);
    beck_status status = client_call(r->client, &q, &g.response, err);
    if (!status)
        status = reply_read(&g, &shape_published, &said, err);
    if (!status)
        *out = said.published;
    reply_release(&g);
    return status;
}

beck_status remote_send_several(struct remote *r, const char *target, struct api_publishes *say,
                                struct api_outcomes *out, struct reply *g, beck_error *err)
{
    struct buf body;
    buf_init(&body, BODY_MAX + BODY_MAX / 4);
    beck_status status = shape_write(&shape_publishes, say, &body);
    if (status) {
        error_set(err, status, "no memory to publish events");
    } else {
        struct request q = {.method = "POST", .target = target, .body = buf_bytes(&body)};
        status = client_call(r->client, &q, &g->response, err);
    }
    if (!status)
        status = reply_read(g, &shape_outcomes, out, err);
    if (!status && out->count != say->count)
        status = error_set(err, BECK_EIO, "the server answered %zu publishes with %zu outcomes",
                           say->count, out->count);
    buf_release(&body);
    return status;
}

beck_status remote_publish(beck_bus *bus, const beck_event *events, size_t count,
                           const beck_publish_options *options, beck_published *out,
                           beck_error *err)
{
    static const beck_publish_options defaults;
    const beck_publish_options *o = options ? options : &defaults;
    beck_published published = {.position = {0, -1}};
    struct remote *r = bus->remote;
    struct target t;
    struct buf body;
    if (count > EVENTS_MAX)
        return error_set(err, BECK_ELIMIT, "%zu events in one publish; at most %d", count,
                         EVENTS_MAX);
    if (bus->env->read_only)
        return error_set(err, BECK_EINVAL, "the data directory is open for reading only");
    if (count == 0)
        return BECK_OK;
    buf_init(&body, BODY_MAX);
    beck_status status = make_target(bus, o, &t, err);
    if (!status)
        status = write_events(bus, events, count, o->no_context, &body, err);
    if (!status && o->done) {
        status = completions_add(r, (const char *)t.text.data, &body, o->done, o->done_ctx, err);
    } else if (!status) {
        completions_wait(r); /* what this thread published before comes before */
        status =
            remote_send_events(r, (const char *)t.text.data, buf_bytes(&body), &published, err);
        status = remote_bus_gone(bus, status, err);
    }
    target_release(&t);
    buf_release(&body);
    if (!status && out)
        *out = published;
    return status;
}

beck_status remote_sync(struct remote *r, beck_error *err)
{
    struct target t;
    completions_wait(r);
    target_begin(&t, "/v1/sync");
    return remote_do(r, "POST", &t, NULL, NULL, err);
}
