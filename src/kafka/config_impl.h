/* Sets of configurations, for config_value.c and configs.c. */
#ifndef BECK_KAFKA_CONFIG_IMPL_H
#define BECK_KAFKA_CONFIG_IMPL_H

#include "kafka/configs.h"

/* For "%.*s", at most `max` bytes. */
#define TEXT_OF(b, max) (int)((b).len < (max) ? (b).len : (max)), (const char *)(b).data

struct config_value {
    const struct config_key *key;
    char *text;
};
/* Has room for all keys, unless it was trimmed. */
struct config_set {
    size_t count;
    struct config_value values[];
};

const char *config_set_get(const struct config_set *s, const struct config_key *key); /* or NULL */
/* Of the set (which may be NULL), or the default; of a boolean 0 or 1. */
int64_t config_set_number(const struct config_set *s, const struct config_key *key);
struct config_set *config_set_copy(const struct config_set *from); /* NULL: an empty one; or NULL */
/* Gives back the room: nothing can be put any more. */
struct config_set *config_set_trim(struct config_set *s);
/* False: no memory. */
bool config_set_put(struct config_set *s, const struct config_key *key, beck_bytes value);
/* Checks and makes the changes one after the other; after an error the set is of no use. */
int config_set_change(struct config_set *s, enum config_resource of,
                      const struct config_change *changes, size_t count, char *text);
/* Puts what of the bus is other than the set says: it was made or altered by other means. False: no
 * memory. */
bool config_set_adopt(struct config_set *s, const beck_bus_options *bus);

#endif
