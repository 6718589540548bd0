/* The sources that are configured: made, changed and listed. See hooks.h. */
#include "api/handle.h"
#include "base/error.h"
#include "event/api_shape.h"
#include "wire/http/hooks_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define REFUSED_MAX 60
#define ATTRIBUTES_BYTES (128 * 1024) /* of an event, beside its data */
#define EVENT_BYTES_DEFAULT 1048588   /* a bus's event_bytes_max: default, and most */
#define EVENT_BYTES_MAX (64u << 20)

/* ---- endpoints ---- */

struct endpoint *endpoint_get(struct hooks *h, const char *name)
{
    struct endpoint *found = NULL;
    mutex_lock(&h->lock);
    for (size_t i = 0; i < h->count && !found; i++)
        if (strcmp(hook_settings(h->endpoints[i]->hook)->name, name) == 0)
            found = h->endpoints[i];
    if (found)
        atomic_fetch_add(&found->references, 1);
    mutex_unlock(&h->lock);
    return found;
}

void endpoint_release(struct endpoint *e)
{
    if (atomic_fetch_sub(&e->references, 1) != 1)
        return;
    hook_free(e->hook);
    mutex_release(&e->lock);
    free(e);
}

void endpoint_note_failure(struct endpoint *e, beck_status status, const char *why)
{
    mutex_lock(&e->lock);
    e->failed_ms = clock_wall_ms(clock_system());
    snprintf(e->failure, sizeof e->failure, "%s: %.200s", beck_status_name(status), why);
    mutex_unlock(&e->lock);
}

static struct counter *count_of(struct hooks *h, const char *hook, const char *outcome)
{
    return metric_counter(h->requests, (beck_bytes[]){beck_str(hook), beck_str(outcome)});
}

static void find_counters(struct hooks *h, struct endpoint *e, const char *name)
{
    e->stored = count_of(h, name, "stored");
    e->duplicates = count_of(h, name, "duplicate");
    e->handshakes = count_of(h, name, "handshake");
    e->failed = count_of(h, name, "failed");
    e->limited = count_of(h, name, "limited");
    for (int i = HOOK_FINE + 1; i < HOOK_REASONS; i++)
        e->refused[i] = count_of(h, name, hook_reason_name((enum hook_reason)i));
}

/* ---- buses and windows ---- */

static beck_status find_bus(struct hooks *h, const struct hook_source *s, beck_bus **out,
                            beck_error *err)
{
    beck_status status = bus_name_check("bus", s->bus, false, err);
    if (!status)
        status = beck_bus_get(h->b, s->bus, out, NULL);
    if (status != BECK_ENOENT)
        return status;
    beck_bus_options options = {.dedup_window_ms = s->dedup_window_ms > 0 ? s->dedup_window_ms : 0};
    uint64_t event_bytes = s->body_max + ATTRIBUTES_BYTES;
    if (event_bytes > EVENT_BYTES_DEFAULT)
        options.event_bytes_max =
            (uint32_t)(event_bytes < EVENT_BYTES_MAX ? event_bytes : EVENT_BYTES_MAX);
    return beck_bus_create(h->b, s->bus, &options, out, err);
}

/* The window of this source and length, made when missing. With the lock. */
static beck_status find_window(struct hooks *h, const struct hook_source *s, struct seen **out,
                               beck_error *err)
{
    for (struct window *w = h->windows; w; w = w->next) {
        if (w->window_ms == s->dedup_window_ms && strcmp(w->name, s->name) == 0) {
            *out = w->seen;
            return BECK_OK;
        }
    }
    struct window *w = calloc(1, sizeof *w);
    if (w)
        w->seen = seen_new(s->dedup_window_ms);
    if (!w || !w->seen) {
        free(w);
        return error_set(err, BECK_ENOMEM, "no memory for a hook");
    }
    snprintf(w->name, sizeof w->name, "%s", s->name);
    w->window_ms = s->dedup_window_ms;
    w->next = h->windows;
    h->windows = w;
    *out = w->seen;
    return BECK_OK;
}

bool endpoint_is_old(const struct endpoint *e)
{
    return atomic_load(&atomic_load_explicit(&e->bus, memory_order_acquire)->closed);
}

void endpoint_renew(struct hooks *h, struct endpoint *e)
{
    beck_bus *bus;
    beck_error err = {0};
    beck_status status = find_bus(h, hook_settings(e->hook), &bus, &err);
    if (status)
        endpoint_note_failure(e, status, err.text);
    else
        atomic_store_explicit(&e->bus, bus, memory_order_release);
}

static beck_status make_endpoint(struct hooks *h, const struct hook_source *source,
                                 struct endpoint **out, beck_error *err)
{
    struct endpoint *e = calloc(1, sizeof *e);
    if (!e)
        return error_set(err, BECK_ENOMEM, "no memory for a hook");
    mutex_init(&e->lock);
    atomic_init(&e->references, 1);
    beck_status status = hook_new(source, h->certificates, &e->hook, err);
    const struct hook_source *s = status ? NULL : hook_settings(e->hook);
    beck_bus *bus = NULL;
    if (!status)
        status = find_bus(h, s, &bus, err);
    atomic_init(&e->bus, bus);
    if (!status && s->dedup_window_ms > 0 && atomic_load(&bus->dedup_window_ms) == 0) {
        mutex_lock(&h->lock);
        status = find_window(h, s, &e->seen, err);
        mutex_unlock(&h->lock);
    }
    if (status) {
        endpoint_release(e);
        return status;
    }
    find_counters(h, e, s->name);
    *out = e;
    return BECK_OK;
}

/* ---- all of them ---- */

beck_status hooks_new(beck *b, const struct hooks_options *options, struct hooks **out,
                      beck_error *err)
{
    static const struct hooks_options defaults;
    static const char *const labels[] = {"hook", "outcome", NULL};
    const struct hooks_options *o = options ? options : &defaults;
    struct hooks *h = calloc(1, sizeof *h);
    if (!h)
        return error_set(err, BECK_ENOMEM, "no memory for hooks");
    h->b = b;
    mutex_init(&h->lock);
    h->requests =
        metrics_counter(b->env.metrics, "beck_hook_requests_total",
                        "Requests of webhook providers, by what became of them.", labels, 4096);
    beck_status status = h->requests ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for hooks");
    if (!status)
        status = certificates_new(o->certificates, &h->certificates, err);
    if (!status) {
        h->limiter = limiter_new(o->refused_max ? o->refused_max : REFUSED_MAX, REFUSED_WINDOW_MS);
        status = h->limiter ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for hooks");
    }
    if (status) {
        hooks_free(h);
        return status;
    }
    *out = h;
    return BECK_OK;
}

static void release_all(struct endpoint **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        endpoint_release(list[i]);
    free(list);
}

beck_status hooks_set(struct hooks *h, const struct hook_source *sources, size_t count,
                      beck_error *err)
{
    struct endpoint **list = calloc(count + 1, sizeof(struct endpoint *));
    if (!list)
        return error_set(err, BECK_ENOMEM, "no memory for %zu hooks", count);
    beck_status status = count > 0 ? refused_open(h, err) : BECK_OK;
    size_t made = 0;
    for (; made < count && !status; made += !status) {
        status = make_endpoint(h, &sources[made], &list[made], err);
        for (size_t i = 0; i < made && !status; i++) {
            if (strcmp(sources[i].name, sources[made].name) == 0) {
                endpoint_release(list[made]);
                status = error_set(err, BECK_EINVAL, "two hooks have the name \"%s\"",
                                   sources[made].name);
            }
        }
    }
    if (status) {
        release_all(list, made);
        return status;
    }
    mutex_lock(&h->lock);
    struct endpoint **old = h->endpoints;
    size_t old_count = h->count;
    h->endpoints = list;
    h->count = count;
    mutex_unlock(&h->lock);
    release_all(old, old_count);
    return BECK_OK;
}

void hooks_free(struct hooks *h)
{
    if (!h)
        return;
    release_all(h->endpoints, h->count);
    while (h->windows) {
        struct window *next = h->windows->next;
        seen_free(h->windows->seen);
        free(h->windows);
        h->windows = next;
    }
    certificates_free(h->certificates);
    limiter_free(h->limiter);
    mutex_release(&h->lock);
    free(h);
}

/* ---- listing ---- */

static int64_t value_of(const struct counter *c)
{
    return (int64_t)atomic_load_explicit(&c->value, memory_order_relaxed);
}

/* {"stored":12,"bad_signature":1}: what is 0 is left out. */
static beck_status write_counts(const struct endpoint *e, struct buf *out)
{
    const struct {
        const char *name;
        const struct counter *counter;
    } counts[] = {{"stored", e->stored},
                  {"duplicate", e->duplicates},
                  {"handshake", e->handshakes},
                  {"failed", e->failed},
                  {"limited", e->limited}};
    beck_status status = buf_append_byte(out, '{');
    for (size_t i = 0; i < sizeof counts / sizeof counts[0] && !status; i++)
        if (value_of(counts[i].counter))
            status = buf_printf(out, "%s\"%s\":%lld", out->len > 1 ? "," : "", counts[i].name,
                                (long long)value_of(counts[i].counter));
    for (int i = HOOK_FINE + 1; i < HOOK_REASONS && !status; i++)
        if (value_of(e->refused[i]))
            status = buf_printf(out, "%s\"%s\":%lld", out->len > 1 ? "," : "",
                                hook_reason_name((enum hook_reason)i),
                                (long long)value_of(e->refused[i]));
    return status ? status : buf_append_byte(out, '}');
}

static void list_one(struct endpoint *e, struct document_list *out)
{
    const struct hook_source *s = hook_settings(e->hook);
    char failure[FAILURE_TEXT_MAX];
    struct buf counts;
    buf_init(&counts, 4096);
    mutex_lock(&e->lock);
    memcpy(failure, e->failure, sizeof failure);
    int64_t failed_ms = e->failed_ms;
    mutex_unlock(&e->lock);
    if (write_counts(e, &counts) == BECK_OK) {
        struct api_hook shown = {.name = s->name,
                                 .provider = hook_provider_name(s->provider),
                                 .bus = s->bus,
                                 .level = s->level,
                                 .secrets = (uint32_t)s->secret_count,
                                 .tolerance_ms = s->tolerance_ms,
                                 .body_max = (int64_t)s->body_max,
                                 .dedup_window_ms = s->dedup_window_ms,
                                 .requests = buf_bytes(&counts),
                                 .failed_ms = failed_ms,
                                 .failure = failed_ms ? failure : NULL};
        document_list_add(out, &shape_hook, &shown);
    }
    buf_release(&counts);
}

void endpoints_list(struct hooks *h, struct document_list *out)
{
    mutex_lock(&h->lock);
    for (size_t i = 0; i < h->count; i++)
        list_one(h->endpoints[i], out);
    mutex_unlock(&h->lock);
}
