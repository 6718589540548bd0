/*
 * Records that this layer keeps for itself, in the bus `__kafka`: compacted, one partition, synced
 * before a put returns. Each is an event whose type is the kind, whose subject is "<kind>:<key>" and
 * whose data is the owner's own; one without data says that the key is gone. The last of a subject
 * counts. The bus is made with the first record; a handle in memory keeps nothing.
 *
 * Owners hold what they kept in memory and read it back once, when they open: nothing is looked up
 * here. Threads: any. An owner puts the records of a key with a lock of its own held, so that the
 * last one written is the last one decided.
 */
#ifndef BECK_KAFKA_STORE_H
#define BECK_KAFKA_STORE_H

#include "api/handle.h"

struct store;

#define STORE_KEY_MAX 960      /* bytes; UTF-8 without control characters */
#define STORE_DATA_MAX 1048576 /* bytes */

struct store_record {
    const char *kind; /* lower-case words with dots between them: "topic", "scram" */
    beck_bytes key;
    beck_bytes data; /* any bytes; data NULL: the key is gone */
};

beck_status store_open(beck *b, struct store **out, beck_error *err);
void store_close(struct store *s); /* before beck_close; NULL allowed */

/* (slow) Synced when it returns. BECK_EINVAL: a key or data that is too long
 * or no text; BECK_EFULL, BECK_EIO, BECK_EPOISONED, BECK_ENOMEM. */
beck_status store_put(struct store *s, const struct store_record *r, beck_error *err);

/* (slow) Gives every record of a kind that is stored, oldest first, also those that later ones
 * replace: so whoever takes them in one after the other has the newest at the end. Key and data are
 * valid during the call; data NULL: gone. An error of `each` ends it and is returned. */
typedef beck_status (*store_each_fn)(void *ctx, beck_bytes key, beck_bytes data, beck_error *err);
beck_status store_each(struct store *s, const char *kind, store_each_fn each, void *ctx,
                       beck_error *err);

#endif
