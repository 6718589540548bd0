/* Records of `__amqp`: see record.h. */
#include "broker/record.h"

#include "base/error.h"
#include "base/siphash.h"
#include "broker/table.h"
#include "bus/bus.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORD_TYPE "__amqp"
#define SUBJECT_LONG 900

static const char *const kinds[RECORD_KINDS] = {"vhost",      "exchange",
                                                "queue",      "binding",
                                                "permission", "topic-permission",
                                                "policy",     "operator-policy",
                                                "parameter",  "vhost-limit",
                                                "user-limit", "bus",
                                                "seen",       "given"};

static const uint64_t subject_seed[2] = {0x6265636b2e616d71ull, 0x702e7265636f7264ull};

/* ---- writing ---- */

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static beck_status escape(struct buf *out, beck_bytes part)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = part.data;
    beck_status status = buf_append_byte(out, '/');
    for (size_t i = 0; i < part.len && !status; i++) {
        char coded[3] = {'%', digits[bytes[i] >> 4], digits[bytes[i] & 15]};
        status = is_plain(bytes[i]) ? buf_append_byte(out, bytes[i]) : buf_append(out, coded, 3);
    }
    return status;
}

static beck_status write_subject(struct record *r, const beck_bytes *parts, size_t count)
{
    struct buf whole;
    uint64_t digest[2];
    buf_init(&whole, 1u << 20);
    beck_status status = buf_append_text(&whole, kinds[r->kind]);
    for (size_t i = 0; i < count && !status; i++)
        status = escape(&whole, parts[i]);
    if (!status && whole.len > SUBJECT_LONG) {
        siphash(subject_seed, buf_bytes(&whole), digest);
        whole.len = SUBJECT_LONG;
        status = buf_printf(&whole, "~%016llx%016llx", (unsigned long long)digest[0],
                            (unsigned long long)digest[1]);
    }
    if (!status) {
        memcpy(r->subject, whole.data, whole.len);
        r->subject_len = whole.len;
    }
    buf_release(&whole);
    return status;
}

void record_init(struct record *r, enum record_kind kind, const beck_bytes *parts, size_t count)
{
    r->kind = kind;
    r->gone = false;
    r->subject_len = 0;
    buf_init(&r->data, RECORD_DATA_MAX);
    r->status = write_subject(r, parts, count);
}

void record_of_subject(struct record *r, enum record_kind kind, beck_bytes subject)
{
    r->kind = kind;
    r->gone = false;
    r->status = BECK_OK;
    buf_init(&r->data, RECORD_DATA_MAX);
    memcpy(r->subject, subject.data, subject.len);
    r->subject_len = subject.len;
}

void record_release(struct record *r)
{
    buf_release(&r->data);
}

void record_text(struct record *r, const char *name, beck_bytes value)
{
    if (!r->status)
        r->status = table_put_text(&r->data, name, value);
}

void record_bytes(struct record *r, const char *name, beck_bytes value)
{
    struct table_value v = {.kind = TABLE_BYTES, .letter = 'x', .bytes = value};
    if (!r->status)
        r->status = table_put(&r->data, beck_str(name), &v);
}

void record_flag(struct record *r, const char *name, bool value)
{
    if (!r->status)
        r->status = table_put_bool(&r->data, name, value);
}

void record_number(struct record *r, const char *name, int64_t value)
{
    if (!r->status)
        r->status = table_put_long(&r->data, name, value);
}

beck_status records_put(beck_bus *bus, struct record *const *records, size_t count,
                        beck_level level, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = records[i]->status;
    if (status)
        return error_set(err, status, "a name or an argument is too long to be written down");
    if (!bus || count == 0)
        return BECK_OK;
    beck_event *events = calloc(count, sizeof *events);
    if (!events)
        return error_set(err, BECK_ENOMEM, "no memory to write down a declaration");
    for (size_t i = 0; i < count; i++) {
        events[i].type = beck_str(RECORD_TYPE);
        events[i].subject = bytes_of(records[i]->subject, records[i]->subject_len);
        events[i].datacontenttype = beck_str("application/octet-stream");
        if (!records[i]->gone)
            events[i].data =
                bytes_of(records[i]->data.data ? records[i]->data.data : (const uint8_t *)"",
                         records[i]->data.len);
    }
    beck_publish_options o = {.level = level, .no_context = true};
    status = bus_publish(bus, events, count, &o, NULL, err);
    free(events);
    return status;
}

/* ---- what is known ---- */

struct kept *kept_new(enum record_kind kind, beck_bytes subject, beck_bytes data)
{
    struct kept *k = malloc(sizeof *k + subject.len + data.len);
    if (!k)
        return NULL;
    uint8_t *text = (uint8_t *)(k + 1);
    *k = (struct kept){.kind = kind,
                       .subject = bytes_of(text, subject.len),
                       .data = bytes_of(text + subject.len, data.len)};
    memcpy(text, subject.data, subject.len);
    if (data.len > 0)
        memcpy(text + subject.len, data.data, data.len);
    return k;
}

struct kept *kept_find(const struct lookup *t, beck_bytes subject)
{
    struct lookup_node *node = lookup_first(t, lookup_hash(t, subject));
    while (node && !bytes_equal(lookup_of(node, struct kept, node)->subject, subject))
        node = lookup_again(node);
    return node ? lookup_of(node, struct kept, node) : NULL;
}

beck_status kept_put(struct lookup *t, beck_bytes subject, struct kept *k)
{
    struct kept *old = kept_find(t, subject);
    if (k && lookup_reserve(t))
        return BECK_ENOMEM;
    if (old)
        lookup_remove(t, &old->node);
    free(old);
    if (k)
        lookup_add(t, &k->node, lookup_hash(t, k->subject));
    return BECK_OK;
}

void kept_clear(struct lookup *t)
{
    for (struct lookup_node *node; (node = lookup_walk(t, NULL)) != NULL;) {
        lookup_remove(t, node);
        free(lookup_of(node, struct kept, node));
    }
    lookup_release(t);
}

beck_bytes kept_text(const struct kept *k, const char *name)
{
    struct table_value v;
    return table_find(k->data, name, &v) ? v.bytes : (beck_bytes){0};
}

bool kept_flag(const struct kept *k, const char *name)
{
    struct table_value v;
    return table_find(k->data, name, &v) && v.integer != 0;
}

int64_t kept_number(const struct kept *k, const char *name)
{
    struct table_value v;
    return table_find(k->data, name, &v) ? v.integer : 0;
}

static int by_subject(const void *a, const void *b)
{
    const struct kept *const *x = a, *const *y = b;
    return bytes_compare((*x)->subject, (*y)->subject);
}

const struct kept **kept_list(const struct lookup *t, enum record_kind kind, size_t *count)
{
    const struct kept **list = malloc((t->count + 1) * sizeof(struct kept *));
    *count = 0;
    if (!list)
        return NULL;
    for (struct lookup_node *n = lookup_walk(t, NULL); n; n = lookup_walk(t, n))
        if (lookup_of(n, struct kept, node)->kind == kind)
            list[(*count)++] = lookup_of(n, struct kept, node);
    qsort(list, *count, sizeof(struct kept *), by_subject);
    return list;
}

/* ---- reading ---- */

static bool kind_of(beck_bytes subject, enum record_kind *out)
{
    const char *slash = subject.len > 0 ? memchr(subject.data, '/', subject.len) : NULL;
    if (!slash)
        return false;
    beck_bytes kind = bytes_of(subject.data, (size_t)(slash - (const char *)subject.data));
    for (int i = 0; i < RECORD_KINDS; i++) {
        if (bytes_equal_text(kind, kinds[i])) {
            *out = (enum record_kind)i;
            return true;
        }
    }
    return false;
}

static beck_status note(struct lookup *out, const beck_event *e, beck_error *err)
{
    enum record_kind kind;
    struct kept *k = NULL;
    if (!kind_of(e->subject, &kind))
        return error_set(err, BECK_ECORRUPT, "a record of __amqp is of no known kind: \"%.*s\"",
                         (int)e->subject.len, (const char *)e->subject.data);
    if (e->data.data && table_check(e->data, NULL))
        return error_set(err, BECK_ECORRUPT, "a record of __amqp is no table: \"%.*s\"",
                         (int)e->subject.len, (const char *)e->subject.data);
    if (e->data.data && !(k = kept_new(kind, e->subject, e->data)))
        return error_set(err, BECK_ENOMEM, "no memory to read what was declared");
    if (!kept_put(out, e->subject, k))
        return BECK_OK;
    free(k);
    return error_set(err, BECK_ENOMEM, "no memory to read what was declared");
}

beck_status records_read(beck_bus *bus, struct lookup *out, beck_error *err)
{
    beck_reader *reader;
    const beck_event *e;
    beck_read_options o = {.from.kind = BECK_FROM_EARLIEST};
    beck_status status = beck_reader_open(bus, &o, &reader, err);
    if (status)
        return status;
    while (!status && !(status = beck_reader_next(reader, 0, &e, err)))
        status = note(out, e, err);
    beck_reader_close(reader);
    return status == BECK_END ? BECK_OK : status;
}
