/*
 * Configuration of topics, of the broker and of groups, with Kafka's names, types, checks and defaults.
 *
 * One table (config_table.c) says what there is. What of a topic means something here is an option of
 * its bus, and the bus has the truth; the rest is checked, kept and given back. Kept is what was set by
 * a client, one record of the store for each resource (kinds "config.topic", "config.broker",
 * "config.group"; the key is the name): the 16 bytes of the topic's id (zeros for others), then name
 * and value of each, a NUL behind both. A record with another id is of an earlier topic of that name.
 *
 * Locks: kafka.change_lock (topics.h) over each change; configs.lock, a leaf, over looking.
 */
#ifndef BECK_KAFKA_CONFIGS_H
#define BECK_KAFKA_CONFIGS_H

#include "kafka/errors.h"
#include "kafka/kafka.h"
#include "log/partition.h"

#define KAFKA_TEXT 512              /* bytes of a text about an error */
#define CONFIG_VALUE_MAX 32767      /* bytes of one value */
#define CONFIG_RESOURCES_MAX 100000 /* groups with configurations of their own */

struct topic;
struct configs;

enum config_resource {
    CONFIG_TOPIC = 2,
    CONFIG_BROKER = 4,
    CONFIG_BROKER_LOGGER = 8,
    CONFIG_CLIENT_METRICS = 16,
    CONFIG_GROUP = 32
};

/* As in DescribeConfigs. */
enum config_type {
    CONFIG_BOOLEAN = 1,
    CONFIG_STRING = 2,
    CONFIG_INT = 3,
    CONFIG_SHORT = 4,
    CONFIG_LONG = 5,
    CONFIG_DOUBLE = 6,
    CONFIG_LIST = 7
};

enum config_source {
    CONFIG_FROM_TOPIC = 1,
    CONFIG_FROM_DYNAMIC_BROKER = 2,
    CONFIG_FROM_DYNAMIC_DEFAULT = 3,
    CONFIG_FROM_STATIC = 4,
    CONFIG_FROM_DEFAULT = 5,
    CONFIG_FROM_GROUP = 8
};

struct config_key {
    enum config_resource of;
    const char *name;
    enum config_type type;
    const char *standard; /* the default; NULL: of the broker's settings, or none */
    int64_t min, max;     /* of numbers */
    const char *words;    /* "a|b": what a text, or each of a list, may be; NULL: anything */
    const char *broker;   /* of a topic's: what the broker's default is called; NULL: none */
    bool fixed;           /* cannot be changed */
    const char *about;
};
extern const struct config_key config_keys[];
extern const size_t config_key_count;
const struct config_key *config_key_find(enum config_resource of, beck_bytes name); /* or NULL */

/* ---- looking ---- */

/* The value in force, or the default; cut if `size` is too small. Any thread, never blocks. The key is one of the table. */
void configs_text(struct kafka *k, enum config_resource of, beck_bytes name, const char *key,
                  char *out, size_t size);
int64_t configs_number(struct kafka *k, enum config_resource of, beck_bytes name, const char *key);

struct config_synonym {
    const char *name, *value;
    enum config_source source;
};
struct config_entry {
    const struct config_key *key;
    const char *value; /* NULL: none */
    enum config_source source;
    struct config_synonym synonyms[3]; /* in order of precedence */
    size_t synonym_count;
};
/* Called for each; all is valid during the call. */
typedef void (*config_each_fn)(void *ctx, const struct config_entry *e);

/* (slow) All configurations of a resource, in order of name. Returns an error code and `text`
 * (KAFKA_TEXT bytes) about it. */
int configs_describe(struct kafka *k, int8_t of, beck_bytes name, config_each_fn each, void *ctx,
                     char *text);
/* (slow) The resources of that kind that have something set, in order of name. `each` gets a name that is valid
 * during the call. */
beck_status configs_list(struct kafka *k, enum config_resource of,
                         void (*each)(void *ctx, beck_bytes name), void *ctx, beck_error *err);

/* ---- changing ---- */

enum config_operation { CONFIG_SET, CONFIG_DELETE, CONFIG_APPEND, CONFIG_SUBTRACT };
struct config_change {
    beck_bytes name;
    int8_t operation;
    beck_bytes value; /* data NULL: null */
};

/* (slow) All of them or none. replace: what is not named goes back to its default (AlterConfigs). */
int configs_alter(struct kafka *k, int8_t of, beck_bytes name, const struct config_change *changes,
                  size_t count, bool replace, bool validate_only, char *text);

/* ---- for topics.c ---- */

/* What one resource has set. Does not change once it is made. */
struct config_set;
/* Of a topic that is made with these: checked. An error code. */
int config_set_new(const struct config_change *changes, size_t count, struct config_set **out,
                   char *text);
/* Puts what the broker's configuration says of new topics and the set does not. False: no memory. With
 * change_lock. */
bool configs_put_defaults(struct kafka *k, struct config_set *s);
void config_set_free(struct config_set *s); /* NULL allowed */
size_t config_set_count(const struct config_set *s);
/* The codec of compression.type; -1: producer. */
int config_set_codec(const struct config_set *s);
void config_set_rules(const struct config_set *s, struct partition_rules *out);
/* The options of a bus that a client makes with these. Partitions are the caller's. */
void config_set_options(const struct config_set *s, beck_bus_options *out);
void config_set_describe(const struct config_set *s, config_each_fn each, void *ctx);

beck_status configs_open(struct kafka *k, beck_error *err);
void configs_close(struct kafka *k);
/* Those of a topic that was made; takes `s` over, also when it fails. With change_lock. */
beck_status configs_put_topic(struct kafka *k, struct topic *t, struct config_set *s,
                              beck_error *err);
/* The topic is gone. With change_lock. */
void configs_forget_topic(struct kafka *k, struct topic *t);
/* Brings the rules that are kept with a topic (topics.h) up to date; without locks but admin_lock. */
void configs_apply_rules(struct kafka *k, struct topic *t);

#endif
