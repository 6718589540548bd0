/* Headers of dead letters: see dead_letter_headers.h. */
#include "broker/dead_letter_headers.h"

#include "base/error.h"
#include "broker/table.h"

#include <stdio.h>

/* Of a death: three times the names of queue and exchange, and the names of all fields. */
#define DEATH_BYTES_MAX 4096

static bool field_is(beck_bytes table, const char *name, beck_bytes wanted)
{
    struct table_value v;
    return table_find(table, name, &v) && v.kind == TABLE_TEXT && bytes_equal(v.bytes, wanted);
}

static beck_bytes bytes_of_text(const char *text)
{
    return bytes_of(text, strlen(text));
}

static bool is_entry_of(const struct table_value *entry, const struct death *d)
{
    return entry->kind == TABLE_TABLE && field_is(entry->bytes, "queue", d->queue) &&
           field_is(entry->bytes, "reason", bytes_of_text(d->reason));
}

/* The array x-death; empty: there is none. */
static beck_bytes deaths_of(beck_bytes headers)
{
    struct table_value v;
    return table_find(headers, "x-death", &v) && v.kind == TABLE_ARRAY ? v.bytes : bytes_of("", 0);
}

static void put_routing_keys(struct buf *out, const struct death *d, beck_bytes headers)
{
    struct table_value cc, key = {.letter = 'S', .bytes = d->routing_key};
    size_t keys = table_begin(out, "routing-keys", 'A');
    (void)array_put(out, &key);
    if (table_find(headers, "CC", &cc) && cc.kind == TABLE_ARRAY)
        for (size_t at = 0; array_next(cc.bytes, &at, &key);)
            if (key.kind == TABLE_TEXT)
                (void)array_put(out, &key);
    table_end(out, keys);
}

static void put_first(struct buf *out, const struct death *d, const struct properties *p)
{
    uint64_t ttl;
    char digits[24];
    if ((p->flags & PROPERTY_EXPIRATION) && bytes_to_u64(p->expiration, &ttl)) {
        snprintf(digits, sizeof(digits), "%llu", (unsigned long long)ttl);
        (void)table_put_text(out, "original-expiration", bytes_of_text(digits));
    }
    (void)table_put_long(out, "count", 1);
    (void)table_put_text(out, "reason", bytes_of_text(d->reason));
    (void)table_put_text(out, "queue", d->queue);
    (void)table_put_time(out, "time", d->time_s);
    (void)table_put_text(out, "exchange", d->exchange);
    put_routing_keys(out, d, p->headers);
}

/* The entry that there was, with one death more. */
static void put_again(struct buf *out, beck_bytes entry)
{
    beck_bytes name;
    struct table_value v;
    for (size_t at = 0; table_next(entry, &at, &name, &v);) {
        if (bytes_equal_text(name, "count") && v.kind == TABLE_INTEGER && v.integer < INT64_MAX)
            v = (struct table_value){.letter = 'l', .integer = v.integer + 1};
        (void)table_put(out, name, &v);
    }
}

static void put_deaths(struct buf *out, const struct death *d, const struct properties *p)
{
    beck_bytes deaths = d->died_before ? deaths_of(p->headers) : bytes_of("", 0);
    struct table_value entry, before = {0};
    bool again = false;
    for (size_t at = 0; !again && array_next(deaths, &at, &before);)
        again = is_entry_of(&before, d);
    size_t array = table_begin(out, "x-death", 'A');
    size_t newest = array_begin_table(out);
    if (again)
        put_again(out, before.bytes);
    else
        put_first(out, d, p);
    table_end(out, newest);
    for (size_t at = 0; array_next(deaths, &at, &entry);)
        if (!is_entry_of(&entry, d))
            (void)array_put(out, &entry);
    table_end(out, array);
}

/* Everything else, and who it was that let it die first and last. */
static beck_status put_others(struct buf *out, const struct death *d, beck_bytes headers)
{
    static const char *const replaced[] = {
        "x-death",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
        /* unless it died before */
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
    };
    const char *without[9];
    size_t count = d->died_before ? 4 : 7;
    memcpy(without, replaced, sizeof(replaced));
    if (d->new_key) {
        without[count++] = "CC";
        without[count++] = "BCC";
    }
    (void)table_copy_without(out, headers, without, count);
    if (!d->died_before) {
        (void)table_put_text(out, "x-first-death-exchange", d->exchange);
        (void)table_put_text(out, "x-first-death-queue", d->queue);
        (void)table_put_text(out, "x-first-death-reason", bytes_of_text(d->reason));
    }
    (void)table_put_text(out, "x-last-death-exchange", d->exchange);
    (void)table_put_text(out, "x-last-death-queue", d->queue);
    return table_put_text(out, "x-last-death-reason", bytes_of_text(d->reason));
}

beck_status death_write(struct buf *out, beck_bytes raw, const struct death *d, beck_error *err)
{
    struct properties p;
    struct buf headers;
    beck_status status = properties_read(raw, &p, err);
    if (status != BECK_OK)
        return status;
    /* The keys of CC may be there twice. */
    buf_init(&headers, 2 * raw.len + DEATH_BYTES_MAX);
    put_deaths(&headers, d, &p);
    /* The ceiling is high enough, so that it can only be the memory. */
    status = put_others(&headers, d, p.headers) == BECK_OK ? BECK_OK : BECK_ENOMEM;
    p.headers = buf_bytes(&headers);
    p.flags = (uint16_t)((p.flags | PROPERTY_HEADERS) & ~(unsigned)PROPERTY_EXPIRATION);
    if (status == BECK_OK)
        status = properties_write(out, &p);
    buf_release(&headers);
    return status == BECK_OK ? BECK_OK
                             : error_set(err, status, "no room for headers of a dead letter");
}

bool death_is_cycle(const struct properties *p, const char *reason, beck_bytes queue)
{
    struct table_value entry;
    beck_bytes deaths = deaths_of(p->headers);
    if (strcmp(reason, "rejected") == 0)
        return false;
    for (size_t at = 0; array_next(deaths, &at, &entry);) {
        if (entry.kind != TABLE_TABLE)
            continue;
        if (field_is(entry.bytes, "reason", bytes_of("rejected", 8)))
            return false;
        if (field_is(entry.bytes, "queue", queue))
            return true;
    }
    return false;
}
