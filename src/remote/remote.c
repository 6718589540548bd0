/* Opening and closing a remote handle, its calls, and what it hands out for good. See remote.h. */
#include "remote/remote_impl.h"

#include <stdio.h>
#include <stdlib.h>

beck_status remote_open(const char *data_dir, beck *owner, const struct env *env,
                        struct callers *callers, struct remote **out, beck_error *err)
{
    struct remote *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, BECK_ENOMEM, "no memory for a handle");
    r->owner = owner;
    r->env = env;
    r->callers = callers;
    mutex_init(&r->lock);
    beck_status status = client_open(data_dir, &r->client, err);
    if (status) {
        remote_close(r);
        return status;
    }
    *out = r;
    return BECK_OK;
}

void remote_close(struct remote *r)
{
    if (!r)
        return;
    completions_free(r);
    remote_consumers_close(r);
    client_close(r->client);
    for (size_t i = 0; i < r->bus_count; i++) {
        free(r->buses[i]->name);
        free(r->buses[i]);
    }
    for (size_t i = 0; i < r->name_count; i++)
        free(r->names[i]);
    free(r->buses);
    free(r->names);
    mutex_release(&r->lock);
    free(r);
}

beck *remote_owner(const struct remote *r)
{
    return r->owner;
}

bool remote_listens(const char *data_dir)
{
    struct client *c = NULL;
    beck_status status = client_open(data_dir, &c, NULL);
    client_close(c);
    return status == BECK_OK;
}

/* ---- names ---- */

static beck_bus *new_bus(struct remote *r, const char *name)
{
    beck_bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        return NULL;
    bus->env = r->env;
    bus->callers = r->callers;
    bus->special = true;
    bus->remote = r;
    bus->name = strdup(name);
    bus->name_len = strlen(name);
    if (!bus->name) {
        free(bus);
        return NULL;
    }
    return bus;
}

beck_bus *remote_bus_of(struct remote *r, const char *name, beck_error *err)
{
    beck_bus *bus = NULL;
    mutex_lock(&r->lock);
    for (size_t i = 0; i < r->bus_count && !bus; i++)
        if (strcmp(name, r->buses[i]->name) == 0)
            bus = r->buses[i];
    if (!bus) {
        beck_bus **grown = realloc(r->buses, (r->bus_count + 1) * sizeof(beck_bus *));
        if (grown)
            r->buses = grown;
        bus = grown ? new_bus(r, name) : NULL;
        if (bus)
            grown[r->bus_count++] = bus;
    }
    mutex_unlock(&r->lock);
    if (!bus)
        error_set(err, BECK_ENOMEM, "no memory for a bus");
    return bus;
}

const char *remote_name(struct remote *r, const char *name, beck_error *err)
{
    char *found = NULL;
    mutex_lock(&r->lock);
    for (size_t i = 0; i < r->name_count && !found; i++)
        if (strcmp(name, r->names[i]) == 0)
            found = r->names[i];
    if (!found) {
        char **grown = realloc(r->names, (r->name_count + 1) * sizeof(char *));
        if (grown)
            r->names = grown;
        found = grown ? strdup(name) : NULL;
        if (found)
            grown[r->name_count++] = found;
    }
    mutex_unlock(&r->lock);
    if (!found)
        error_set(err, BECK_ENOMEM, "no memory for the name of a queue");
    return found;
}

/* ---- calls ---- */

#define BODY_MAX (64u << 20)

beck_status remote_ask(struct remote *r, const char *method, struct target *t,
                       const struct shape *in, const void *document, const struct shape *out,
                       void *answer, struct reply *g, beck_error *err)
{
    struct buf body;
    reply_init(g);
    buf_init(&body, BODY_MAX);
    beck_status status = in ? shape_write(in, document, &body) : BECK_OK;
    struct request q = {.method = method, .body = buf_bytes(&body)};
    if (status)
        error_set(err, status, "no memory for a request");
    else if (!(q.target = target_text(t, err)))
        status = BECK_ENOMEM;
    if (!status)
        status = client_call(r->client, &q, &g->response, err);
    if (!status && out)
        status = reply_read(g, out, answer, err);
    buf_release(&body);
    target_release(t);
    return status;
}

beck_status remote_do(struct remote *r, const char *method, struct target *t,
                      const struct shape *in, const void *document, beck_error *err)
{
    struct reply g;
    beck_status status = remote_ask(r, method, t, in, document, NULL, NULL, &g, err);
    reply_release(&g);
    return status;
}

void target_of_bus(struct target *t, const char *bus, const char *rest)
{
    target_begin(t, "/v1/buses/");
    target_segment(t, bus);
    target_add(t, rest);
}

void target_of_queue(struct target *t, const char *queue, const char *rest)
{
    target_begin(t, "/v1/queues/");
    target_segment(t, queue);
    target_add(t, rest);
}

beck_status remote_bus_gone(const beck_bus *bus, beck_status status, beck_error *err)
{
    if (status != BECK_ENOENT)
        return status;
    return error_set(err, BECK_ECLOSED, "bus \"%s\" has been deleted", bus->name);
}

/* ---- metrics ---- */

beck_status remote_metrics(struct remote *r, void (*write)(void *ctx, const char *text, size_t len),
                           void *ctx, beck_error *err)
{
    struct target t;
    struct reply g;
    target_begin(&t, "/metrics");
    beck_status status = remote_ask(r, "GET", &t, NULL, NULL, NULL, NULL, &g, err);
    if (!status)
        write(ctx, (const char *)g.response.body.data, g.response.body.len);
    reply_release(&g);
    return status;
}
