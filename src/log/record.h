/*
 * Events as records of a batch (record batch v2), and back.
 *
 * length varint | attributes int8 0 | timestampDelta varlong | offsetDelta varint | key length
 * varint (-1 null) | key | value length varint (-1 null) | value | header count varint | headers:
 * key length varint, key, value length varint (-1 null), value All varints are zig-zag.
 *
 * key = subject, value = data, headers = attributes with the prefix `ce_` (CloudEvents Kafka
 * protocol binding, binary mode) and `content-type`. What can be derived is not stored: a type
 * equal to the name of the bus, an absent id or source, a time that is whole milliseconds (not
 * before 1970). deliver_at_ms, expires_at_ms and priority are the headers ce_deliverytime,
 * ce_expirytime (RFC 3339) and ce_priority (decimal). The null value of a header is the absent
 * value of an extension. Headers of other protocols, without the prefix, are extensions under their
 * own name; names that are not legal or belong to an attribute, and values that cannot be read,
 * stay in the record only. What another protocol keeps beside an event (struct carried) are the
 * headers beck-queues and amqp, which are no extensions. Of two extensions of one name the first
 * stands.
 */
#ifndef BECK_LOG_RECORD_H
#define BECK_LOG_RECORD_H

#include "event/event.h"
#include "log/record_shape.h"

#define RECORD_ID_MAX 300

/* What is derived from the place of a record; made once per partition. */
struct record_context {
    beck_bytes bus; /* name; borrowed */
    uint32_t partition;
    char source[252]; /* "/<bus>" */
    size_t source_len;
    char id_prefix[264]; /* "<bus>/<partition>/" */
    size_t id_prefix_len;
};
void record_context_init(struct record_context *c, beck_bytes bus, uint32_t partition);

/* What another protocol keeps beside an event: the headers "beck-queues" and "amqp" of its
 * record, which are no extensions. Borrowed. */
struct carried {
    beck_bytes
        queues; /* numbers of the queues that get it, 8 bytes each, big-endian; empty: none. NULL: nobody
                   looked for any */
    beck_bytes content; /* opaque; empty: none */
};
#define RECORD_QUEUES_HEADER "beck-queues"
#define RECORD_CONTENT_HEADER "amqp"
#define CARRIED_QUEUES_MAX 10000
#define CARRIED_CONTENT_MAX (256u << 10)
/* Whether the number is among them. */
bool carried_names(const struct carried *c, uint64_t number);

/* Bytes that record_write will add at most, without what is carried. */
size_t record_size_max(const beck_event *e);
size_t record_carried_size_max(const struct carried *carried); /* beyond that */
/* Of the record that ends `out`, when its only header is its type: the next one that has no other gets a
 * copy, and with the same lengths it is written like it. */
struct record_last {
    size_t at, len, type_len; /* where the headers lie in `out`; len 0: there is none */
    size_t key_len, value_len;
    bool has_value;
    int64_t timestamp_delta, offset_delta;
    struct record_shape shape;
};
/* Appends one record. carried: within the limits above, or NULL. bus: to leave out a type equal to it. *last is of
 * the record that ends `out`, and afterwards of this one. */
beck_status record_write(struct buf *out, struct record_last *last, const beck_event *e,
                         const struct carried *carried, beck_bytes bus, int64_t timestamp_delta,
                         int64_t offset_delta);

/* More than an event may have when it is published, by what a dead letter adds. */
#define RECORD_EXTENSIONS_MAX (EVENT_EXTENSIONS_MAX + 8)

/* A record as an event. The event points into the record's bytes and into this structure. */
struct record_view {
    beck_event event;
    int64_t offset, timestamp_ms;
    beck_bytes key; /* data NULL: null key */
    bool value_is_null;
    struct carried carried; /* points into the record's bytes */
    /* All of its headers, and whether the next record with the same ones says the same by them. */
    beck_bytes headers;
    bool repeats;
    beck_attribute extensions[RECORD_EXTENSIONS_MAX];
    char id[RECORD_ID_MAX];
};

/* Reads the record that begins at *at of `records` and moves *at behind it. BECK_ECORRUPT: lengths
 * do not fit; the text has the byte within `records`. Never reads outside of `records`. Headers
 * beyond RECORD_EXTENSIONS_MAX are passed over. follows: *out is as it came from reading a record of
 * the same bytes, before this one. */
beck_status record_read(beck_bytes records, size_t *at, const struct record_context *c,
                        int64_t base_offset, int64_t base_timestamp_ms, bool follows,
                        struct record_view *out, beck_error *err);
/* Only the offset, timestamp and key of the record, for stepping over it (indexes, compaction);
 * *whole (may be NULL) is all of its bytes. */
beck_status record_peek(beck_bytes records, size_t *at, int64_t base_offset,
                        int64_t base_timestamp_ms, int64_t *offset, int64_t *timestamp_ms,
                        beck_bytes *key, bool *value_is_null, beck_bytes *whole, beck_error *err);

/* Appends a copy of one whole record, with other queues in what it carries; NULL: without that header. */
beck_status record_readdress(struct buf *out, beck_bytes whole, beck_bytes queues);

#endif
