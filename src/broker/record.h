/*
 * What lasts of the broker, as records of the bus `__amqp`, which is compacted by subject: the last record of a
 * subject counts, one without data means that it is gone.
 *
 * The subject is "<kind>/<part>/<part>..." and only tells records apart: parts are escaped (a byte that is no
 * letter, digit or one of "._-" is %XX), and one that is longer than 900 bytes ends with a hash of the whole. The
 * data is an AMQP field table; names and keys are long strings, flags booleans, tables of arguments byte arrays.
 *
 *   vhost              vhost, metadata
 *   exchange           vhost, name, type, durable, auto_delete, internal, arguments
 *   queue              vhost, name, auto_delete, arguments; deleted: its engine queue is still to go
 *   binding            vhost, source, destination, to_exchange, key, arguments
 *   permission         vhost, user, configure, write, read
 *   topic-permission   vhost, user, exchange, write, read
 *   policy, operator-policy
 *                      vhost, name, pattern, apply-to, priority, definition
 *   parameter          component, vhost, name, value
 *   vhost-limit, user-limit
 *                      of, name, value
 *   bus                name: a bus of the engine that the broker made for an exchange
 *   seen               vhost, exchange, id: of its bus, ends: where what its partitions got is routed, u64 each
 *                      (missed.c)
 *   given              bus, from: behind it are copies of what was missed, while they are given
 */
#ifndef BECK_BROKER_RECORD_H
#define BECK_BROKER_RECORD_H

#include "broker/properties.h"
#include "broker/lookup.h"

enum record_kind {
    RECORD_VHOST,
    RECORD_EXCHANGE,
    RECORD_QUEUE,
    RECORD_BINDING,
    RECORD_PERMISSION,
    RECORD_TOPIC_PERMISSION,
    RECORD_POLICY,
    RECORD_OPERATOR_POLICY,
    RECORD_PARAMETER,
    RECORD_VHOST_LIMIT,
    RECORD_USER_LIMIT,
    RECORD_BUS,
    RECORD_SEEN,
    RECORD_GIVEN,
    RECORD_KINDS
};

#define RECORD_SUBJECT 1000
#define RECORD_DATA_MAX (1u << 20)

/* One that is about to be written. */
struct record {
    enum record_kind kind;
    char subject[RECORD_SUBJECT];
    size_t subject_len;
    bool gone;
    struct buf data;
    beck_status status; /* of what was put */
};
/* parts: those that identify it, in the order of the table above. */
void record_init(struct record *r, enum record_kind kind, const beck_bytes *parts, size_t count);
void record_of_subject(struct record *r, enum record_kind kind, beck_bytes subject);
void record_release(struct record *r);
void record_text(struct record *r, const char *name, beck_bytes value);
void record_bytes(struct record *r, const char *name, beck_bytes value);
void record_flag(struct record *r, const char *name, bool value);
void record_number(struct record *r, const char *name, int64_t value);

/* Writes all of them, or none, and syncs. bus NULL (in memory only): nothing is to do. */
beck_status records_put(beck_bus *bus, struct record *const *records, size_t count,
                        beck_level level, beck_error *err);

/* What is known of a subject. */
struct kept {
    struct lookup_node node;
    enum record_kind kind;
    beck_bytes subject, data; /* owned, in one piece with this */
};
struct kept *kept_new(enum record_kind kind, beck_bytes subject, beck_bytes data);
struct kept *kept_find(const struct lookup *t, beck_bytes subject);
/* Takes `k` (NULL: gone) in place of the one of that subject. */
beck_status kept_put(struct lookup *t, beck_bytes subject, struct kept *k);
void kept_clear(struct lookup *t);
/* Empty, false, 0 when there is none of that name. */
beck_bytes kept_text(const struct kept *k, const char *name);
bool kept_flag(const struct kept *k, const char *name);
int64_t kept_number(const struct kept *k, const char *name);

/* Everything that is in the bus now. */
beck_status records_read(beck_bus *bus, struct lookup *out, beck_error *err);
/* Those of a kind, in order of subject; to be freed with free(). NULL: no memory. */
const struct kept **kept_list(const struct lookup *t, enum record_kind kind, size_t *count);

#endif
