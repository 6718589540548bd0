/* The records of this layer in the bus `__kafka`: see store.h. */
#include "kafka/store.h"
#include "bus/own_bus.h"

#include <stdio.h>
#include <stdlib.h>

#define SEGMENT_BYTES (4 << 20)
#define KIND_MAX 32

struct store {
    beck *b;
    _Atomic(beck_bus *) bus; /* NULL: not made yet */
};

beck_status store_open(beck *b, struct store **out, beck_error *err)
{
    beck_bus *bus = NULL;
    beck_status status = beck_bus_get(b, OWN_KAFKA, &bus, err);
    if (status && status != BECK_ENOENT)
        return status;
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, BECK_ENOMEM, "no memory for the records of Kafka's protocol");
    s->b = b;
    atomic_init(&s->bus, bus);
    *out = s;
    return BECK_OK;
}

void store_close(struct store *s)
{
    free(s);
}

/* Whoever comes second finds the same. */
static beck_status find_bus(struct store *s, beck_bus **out, beck_error *err)
{
    beck_bus_options o = {.segment_bytes = SEGMENT_BYTES,
                          .event_bytes_max = 2 * STORE_DATA_MAX,
                          .level = BECK_LEVEL_SYNCED};
    *out = atomic_load(&s->bus);
    if (*out)
        return BECK_OK;
    beck_status status = handle_own_bus(s->b, OWN_KAFKA, &o, out, err);
    if (!status)
        atomic_store(&s->bus, *out);
    return status;
}

/* ---- writing ---- */

static beck_status check(const struct store_record *r, beck_error *err)
{
    if (r->key.len > STORE_KEY_MAX)
        return error_set(err, BECK_EINVAL, "a key of %zu bytes is too long; at most %d are kept",
                         r->key.len, STORE_KEY_MAX);
    if (r->data.len > STORE_DATA_MAX)
        return error_set(err, BECK_EINVAL, "a record of %zu bytes is too long; at most %d are kept",
                         r->data.len, STORE_DATA_MAX);
    return BECK_OK;
}

static beck_event event_of(const struct store_record *r, char *subject)
{
    int len = snprintf(subject, KIND_MAX + STORE_KEY_MAX, "%.*s:", KIND_MAX - 2, r->kind);
    if (r->key.len > 0)
        memcpy(subject + len, r->key.data, r->key.len);
    return (beck_event){.type = beck_str(r->kind),
                        .subject = bytes_of(subject, (size_t)len + r->key.len),
                        .data = r->data};
}

beck_status store_put(struct store *s, const struct store_record *r, beck_error *err)
{
    beck_bus *bus;
    beck_publish_options o = {.level = BECK_LEVEL_SYNCED, .no_context = true};
    char subject[KIND_MAX + STORE_KEY_MAX];
    beck_status status = check(r, err);
    if (status || !s->b->data_dir)
        return status;
    status = find_bus(s, &bus, err);
    if (status)
        return status;
    beck_event e = event_of(r, subject);
    return bus_publish(bus, &e, 1, &o, NULL, err);
}

/* ---- reading ---- */

beck_status store_each(struct store *s, const char *kind, store_each_fn each, void *ctx,
                       beck_error *err)
{
    beck_reader *reader;
    beck_read_options o = {.pattern = kind, .from.kind = BECK_FROM_EARLIEST};
    beck_bus *bus = atomic_load(&s->bus);
    if (!bus)
        return BECK_OK;
    beck_status status = beck_reader_open(bus, &o, &reader, err);
    if (status)
        return status;
    const beck_event *e;
    size_t prefix = strlen(kind) + 1;
    while (!status && !(status = beck_reader_next(reader, 0, &e, err))) {
        if (e->subject.len < prefix)
            continue;
        beck_bytes key =
            bytes_of((const uint8_t *)e->subject.data + prefix, e->subject.len - prefix);
        status = each(ctx, key, e->data, err);
    }
    beck_reader_close(reader);
    return status == BECK_END ? BECK_OK : status;
}
