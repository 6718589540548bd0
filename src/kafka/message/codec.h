/*
 * Kafka's messages between bytes and structures, by tables (see table.h).
 *
 * A structure is plain memory: strings, bytes and records point into what was decoded or to wherever
 * the maker of an answer keeps them, arrays lie in an arena. Where Kafka has null, `data` or `at` is
 * NULL; what is empty is not NULL. An encoder writes null only where the version allows it, else
 * empty. Fields that a version does not have get their default when decoding and are left out when
 * encoding.
 *
 * Threads: none of it shares anything.
 */
#ifndef BECK_KAFKA_MESSAGE_CODEC_H
#define BECK_KAFKA_MESSAGE_CODEC_H

#include "base/bytes.h"
#include "base/error.h"
#include "kafka/message/arena.h"
#include "log/block.h"

/* ---- tables ---- */

enum kafka_kind {
    KAFKA_BOOL,
    KAFKA_INT8,
    KAFKA_INT16,
    KAFKA_UINT16,
    KAFKA_INT32,
    KAFKA_UINT32,
    KAFKA_INT64,
    KAFKA_FLOAT64,
    KAFKA_STRING,
    KAFKA_BYTES,
    KAFKA_UUID,
    KAFKA_RECORDS,
    KAFKA_INT8S,
    KAFKA_INT16S,
    KAFKA_INT32S,
    KAFKA_INT64S,
    KAFKA_STRINGS,
    KAFKA_UUIDS,
    KAFKA_ARRAY,
    KAFKA_NESTED,
    KAFKA_OPTIONAL
};

struct kafka_table;

struct kafka_field {
    const char *name;
    const struct kafka_table *(*of)(void); /* of KAFKA_ARRAY and what follows it */
    int64_t preset;
    enum kafka_kind kind;
    uint16_t offset;
    int16_t since, until, nullable_since;
    bool nullable, tagged;
    uint8_t tag;
};

struct kafka_table {
    const char *name;
    int16_t id;          /* API key, or kind of record */
    int16_t first, last; /* versions */
    int16_t flexible;    /* from this version on */
    const struct kafka_field *fields;
    size_t count;
    size_t size; /* of the structure */
};

/* ---- values ---- */

struct kafka_int8s {
    int8_t *at;
    size_t count;
    bool is_null;
};
struct kafka_int16s {
    int16_t *at;
    size_t count;
    bool is_null;
};
struct kafka_int32s {
    int32_t *at;
    size_t count;
    bool is_null;
};
struct kafka_int64s {
    int64_t *at;
    size_t count;
    bool is_null;
};
struct kafka_strings {
    beck_bytes *at;
    size_t count;
    bool is_null;
};
struct kafka_uuids {
    uint8_t (*at)[16];
    size_t count;
    bool is_null;
};

/* Record batches. Decoded: `bytes`. In an answer: bytes that are copied (neither block nor release),
 * or that are referred to until they are sent: within a block, of which the connection takes a
 * reference of its own, or until `release`; or a range of a file. `release`, when there, is called
 * once, on any thread, whatever becomes of the answer: encoding takes it over. */
struct kafka_records {
    beck_bytes bytes; /* data NULL, and no file: null */
    struct block *block;
    size_t file_size; /* not 0: instead of bytes, so many of the file from `position` on */
    int fd;
    int64_t position;
    void (*release)(void *ctx);
    void *ctx;
};

/* For an array in a structure that is being made: `count` elements that are zero, not null. False: no
 * memory. `array` is the field itself, of any of the types with `at`. */
#define kafka_array(arena, array, n)                                                               \
    ((array)->is_null = false, (array)->count = (n),                                               \
     ((array)->at = kafka_alloc_many((arena), (n), sizeof *(array)->at)) != NULL)

void kafka_init(const struct kafka_table *t, void *message);

/* ---- decoding ---- */

/* `in` begins with a message of that version, which the table has, and outlives what is decoded.
 * `out` is t->size bytes. `used`, when not NULL, gets how many bytes it was. BECK_EINVAL: it ends
 * early, or a length is wrong; BECK_ELIMIT: it is more than the arena may hold. */
beck_status kafka_decode(const struct kafka_table *t, int16_t version, beck_bytes in,
                         struct kafka_arena *a, void *out, size_t *used, beck_error *err);

/* ---- encoding ---- */

/* Records that are not copied belong at this place of the bytes. */
struct kafka_cut {
    size_t at; /* in writer.out */
    struct kafka_records records;
};

struct kafka_writer {
    struct buf out;
    struct kafka_cut *cuts;
    size_t cut_count, cut_cap;
    size_t cut_bytes;   /* of all their records */
    beck_status status; /* the first thing that went wrong; then nothing is written any more */
};

void kafka_writer_init(struct kafka_writer *w, size_t max);
/* Releases the records of the cuts that are still there (cut_count: who takes them sets it to 0). */
void kafka_writer_release(struct kafka_writer *w);
/* Appends. When it cannot, w->status is BECK_ENOMEM, BECK_ELIMIT or BECK_EINVAL (a text that is
 * longer than Kafka's can be), and what needs a release has had or will have it all the same. */
void kafka_encode(const struct kafka_table *t, int16_t version, const void *message,
                  struct kafka_writer *w);
/* Appends to `out`, without cuts: for records of logs. The message has no records to be released. */
beck_status kafka_encode_bytes(const struct kafka_table *t, int16_t version, const void *message,
                               struct buf *out);

#endif
