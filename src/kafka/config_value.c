/* Values of configurations: checked by the table, kept in sets, and what they are of a bus. */
#include "kafka/config_impl.h"

#include "base/bytes.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define refuse(text, ...) (snprintf(text, KAFKA_TEXT, __VA_ARGS__), KAFKA_INVALID_CONFIG)
#define SHOWN 100 /* bytes of a value in a text */
#define SEGMENT_BYTES_MIN 4096

/* ---- one value ---- */

static beck_bytes trim(beck_bytes b)
{
    const char *at = b.data;
    while (b.len > 0 && isspace((unsigned char)at[b.len - 1]))
        b.len--;
    while (b.len > 0 && isspace((unsigned char)*at)) {
        at++;
        b.len--;
    }
    return bytes_of(at, b.len);
}

static bool to_number(beck_bytes b, int64_t *out)
{
    uint64_t n;
    bool minus = b.len > 0 && *(const char *)b.data == '-';
    if (minus || (b.len > 0 && *(const char *)b.data == '+'))
        b = bytes_of((const char *)b.data + 1, b.len - 1);
    if (!bytes_to_u64(b, &n) || n > (uint64_t)INT64_MAX)
        return false;
    *out = minus ? -(int64_t)n : (int64_t)n;
    return true;
}

static bool to_double(beck_bytes b, double *out)
{
    char copy[64], *end;
    if (b.len == 0 || b.len >= sizeof copy)
        return false;
    memcpy(copy, b.data, b.len);
    copy[b.len] = 0;
    *out = strtod(copy, &end);
    return *end == 0;
}

/* The next of what is separated; false: there is no more. */
static bool next_part(beck_bytes *rest, char separator, beck_bytes *out)
{
    if (!rest->data)
        return false;
    const char *end = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;
    size_t len = end ? (size_t)(end - (const char *)rest->data) : rest->len;
    *out = bytes_of(rest->data, len);
    *rest = end ? bytes_of(end + 1, rest->len - len - 1) : (beck_bytes){0};
    return true;
}

/* A word that ends with a star stands for all that begin so. */
static bool is_word(const char *words, beck_bytes value)
{
    beck_bytes rest = beck_str(words), word;
    while (next_part(&rest, '|', &word)) {
        bool open = word.len > 0 && ((const char *)word.data)[word.len - 1] == '*';
        size_t len = word.len - open;
        if (bytes_equal(word, value) ||
            (open && value.len >= len && memcmp(value.data, word.data, len) == 0))
            return true;
    }
    return false;
}

static int check_number(const struct config_key *key, beck_bytes value, char *text)
{
    int64_t n;
    static const char *const types[] = {
        [CONFIG_INT] = "INT", [CONFIG_SHORT] = "SHORT", [CONFIG_LONG] = "LONG"};
    if (!to_number(value, &n))
        return refuse(text, "Invalid value %.*s for configuration %s: Not a number of type %s",
                      TEXT_OF(value, SHOWN), key->name, types[key->type]);
    if (key->of == CONFIG_GROUP && key->broker && (n < key->min || n > key->max)) {
        /* The bound is a setting of its own there: group.<kind>.min.<rest>. */
        const char *rest = strchr(key->broker + strlen("group."), '.');
        return refuse(text, "%s must be %s than or equal to %.*s.%s.%s (%lld)", key->name,
                      n < key->min ? "greater" : "less", (int)(rest - key->broker), key->broker,
                      n < key->min ? "min" : "max", rest + 1,
                      (long long)(n < key->min ? key->min : key->max));
    }
    if (n < key->min)
        return refuse(text, "Invalid value %lld for configuration %s: Value must be at least %lld",
                      (long long)n, key->name, (long long)key->min);
    if (n > key->max)
        return refuse(text,
                      "Invalid value %lld for configuration %s: Value must be no more than %lld",
                      (long long)n, key->name, (long long)key->max);
    return KAFKA_NONE;
}

static int check_words(const struct config_key *key, beck_bytes value, char *text)
{
    if (!key->words || is_word(key->words, value))
        return KAFKA_NONE;
    return refuse(text, "Invalid value %.*s for configuration %s: String must be one of: %s",
                  TEXT_OF(value, SHOWN), key->name, key->words);
}

static int check_list(const struct config_key *key, beck_bytes value, char *text)
{
    beck_bytes rest = value, part;
    int code = KAFKA_NONE;
    while (value.len > 0 && !code && next_part(&rest, ',', &part))
        code = check_words(key, trim(part), text);
    return code;
}

static int check_value(const struct config_key *key, beck_bytes raw, char *text)
{
    beck_bytes value = trim(raw);
    double d;
    if (raw.len > CONFIG_VALUE_MAX || memchr(raw.data, 0, raw.len) || !bytes_is_utf8(raw))
        return refuse(text, "The value for configuration %s is too long, or no text.", key->name);
    switch (key->type) {
    case CONFIG_BOOLEAN:
        if (key->words && !(value.len == 5 && strncasecmp(value.data, key->words, 5) == 0))
            return refuse(text,
                          "Tiered Storage functionality is disabled in the broker. Topic cannot be "
                          "configured with remote log storage.");
        if ((value.len == 4 && strncasecmp(value.data, "true", 4) == 0) ||
            (value.len == 5 && strncasecmp(value.data, "false", 5) == 0))
            return KAFKA_NONE;
        return refuse(
            text,
            "Invalid value %.*s for configuration %s: Expected value to be either true or "
            "false",
            TEXT_OF(value, SHOWN), key->name);
    case CONFIG_INT:
    case CONFIG_SHORT:
    case CONFIG_LONG:
        return check_number(key, value, text);
    case CONFIG_DOUBLE:
        if (to_double(value, &d) && d >= (double)key->min && d <= (double)key->max)
            return KAFKA_NONE;
        return refuse(text,
                      "Invalid value %.*s for configuration %s: expected a number of %lld to %lld",
                      TEXT_OF(value, SHOWN), key->name, (long long)key->min, (long long)key->max);
    case CONFIG_LIST:
        return check_list(key, value, text);
    default:
        return check_words(key, value, text);
    }
}

/* ---- sets ---- */

static struct config_value *find(const struct config_set *s, const struct config_key *key)
{
    for (size_t i = 0; s && i < s->count; i++)
        if (s->values[i].key == key)
            return (struct config_value *)&s->values[i];
    return NULL;
}

const char *config_set_get(const struct config_set *s, const struct config_key *key)
{
    const struct config_value *v = find(s, key);
    return v ? v->text : NULL;
}

size_t config_set_count(const struct config_set *s)
{
    return s ? s->count : 0;
}

void config_set_free(struct config_set *s)
{
    for (size_t i = 0; s && i < s->count; i++)
        free(s->values[i].text);
    free(s);
}

struct config_set *config_set_copy(const struct config_set *from)
{
    struct config_set *s = calloc(1, sizeof *s + config_key_count * sizeof s->values[0]);
    for (size_t i = 0; s && from && i < from->count; i++)
        if (!config_set_put(s, from->values[i].key, beck_str(from->values[i].text))) {
            config_set_free(s);
            return NULL;
        }
    return s;
}

bool config_set_put(struct config_set *s, const struct config_key *key, beck_bytes value)
{
    char *text = strndup(value.len > 0 ? value.data : "", value.len);
    struct config_value *old = find(s, key);
    if (!text)
        return false;
    if (old) {
        free(old->text);
        old->text = text;
        return true;
    }
    assert(s->count < config_key_count);
    s->values[s->count++] = (struct config_value){key, text};
    return true;
}

struct config_set *config_set_trim(struct config_set *s)
{
    void *less = realloc(s, sizeof *s + s->count * sizeof s->values[0]);
    if (less)
        s = less;
    return s;
}

static void take_out(struct config_set *s, const struct config_key *key)
{
    struct config_value *v = find(s, key);
    if (!v)
        return;
    free(v->text);
    *v = s->values[--s->count];
}

/* What is in force: of the set, or the default. */
static const char *in_force(const struct config_set *s, const struct config_key *key)
{
    const char *text = config_set_get(s, key);
    return text ? text : key->standard;
}

/* The list with the parts of `value` added, or taken away. */
static bool change_list(struct config_set *s, const struct config_key *key, beck_bytes value,
                        bool append)
{
    struct buf out;
    beck_bytes rest = beck_str(in_force(s, key)), part;
    buf_init(&out, 2 * CONFIG_VALUE_MAX);
    bool good = true, any = false;
    for (int pass = 0; pass < 1 + append; pass++, rest = value) {
        beck_bytes list, other;
        while (rest.len > 0 && next_part(&rest, ',', &part)) {
            bool known = false;
            list = pass == 0 ? value : buf_bytes(&out);
            while (list.len > 0 && next_part(&list, ',', &other))
                known = known || bytes_equal(trim(other), trim(part));
            if (known && (pass == 1 || !append))
                continue;
            good = good && (!any || !buf_append_byte(&out, ',')) &&
                   !buf_append(&out, trim(part).data, trim(part).len);
            any = true;
        }
    }
    good = good && config_set_put(s, key, buf_bytes(&out));
    buf_release(&out);
    return good;
}

static int apply(struct config_set *s, const struct config_key *key, const struct config_change *c,
                 char *text)
{
    static const char *const verbs[] = {[CONFIG_APPEND] = "append", [CONFIG_SUBTRACT] = "subtract"};
    bool list = c->operation == CONFIG_APPEND || c->operation == CONFIG_SUBTRACT;
    if (c->operation == CONFIG_DELETE) {
        take_out(s, key);
        return KAFKA_NONE;
    }
    if (!c->value.data)
        return snprintf(text, KAFKA_TEXT, "Null value not supported for : %s", key->name),
               KAFKA_INVALID_REQUEST;
    if (list && key->type != CONFIG_LIST)
        return refuse(text, "Can't %s to key %s because its type is not LIST.", verbs[c->operation],
                      key->name);
    int code = check_value(key, c->value, text);
    if (code)
        return code;
    bool good = list ? change_list(s, key, c->value, c->operation == CONFIG_APPEND)
                     : config_set_put(s, key, c->value);
    return good ? KAFKA_NONE : KAFKA_UNKNOWN_SERVER_ERROR;
}

int config_set_change(struct config_set *s, enum config_resource of,
                      const struct config_change *changes, size_t count, char *text)
{
    static const char *const kinds[] = {
        [CONFIG_TOPIC] = "topic", [CONFIG_BROKER] = "broker", [CONFIG_GROUP] = "group"};
    for (size_t i = 0; i < count; i++) {
        const struct config_change *c = &changes[i];
        const struct config_key *key = config_key_find(of, c->name);
        for (size_t j = 0; j < i; j++)
            if (bytes_equal(changes[j].name, c->name))
                return snprintf(text, KAFKA_TEXT, "Error due to duplicate config keys"),
                       KAFKA_INVALID_REQUEST;
        if (c->operation < CONFIG_SET || c->operation > CONFIG_SUBTRACT)
            return snprintf(text, KAFKA_TEXT, "Unknown operation type %d.", c->operation),
                   KAFKA_INVALID_REQUEST;
        if (!key && c->operation == CONFIG_DELETE)
            continue;
        if (!key)
            return refuse(text, "Unknown %s config name: %.*s", kinds[of], TEXT_OF(c->name, SHOWN));
        if (key->fixed && c->operation != CONFIG_DELETE)
            return snprintf(text, KAFKA_TEXT, "Cannot update these configs dynamically: [%s]",
                            key->name),
                   KAFKA_INVALID_REQUEST;
        int code = apply(s, key, c, text);
        if (code)
            return code;
    }
    return KAFKA_NONE;
}

int config_set_new(const struct config_change *changes, size_t count, struct config_set **out,
                   char *text)
{
    struct config_set *s = config_set_copy(NULL);
    if (!s)
        return snprintf(text, KAFKA_TEXT, "memory is short"), KAFKA_UNKNOWN_SERVER_ERROR;
    int code = config_set_change(s, CONFIG_TOPIC, changes, count, text);
    if (code)
        config_set_free(s);
    else
        *out = s;
    return code;
}

/* ---- sets and buses ---- */

static const struct config_key *topic_key(const char *name)
{
    const struct config_key *key = config_key_find(CONFIG_TOPIC, beck_str(name));
    assert(key);
    return key;
}

int64_t config_set_number(const struct config_set *s, const struct config_key *key)
{
    int64_t n = 0;
    const char *text = in_force(s, key);
    if (text && key->type == CONFIG_BOOLEAN)
        return strcasecmp(text, "true") == 0;
    if (text)
        to_number(trim(beck_str(text)), &n);
    /* A group may have kept what was allowed once. */
    if (key->of == CONFIG_GROUP)
        n = n < key->min ? key->min : n > key->max ? key->max : n;
    return n;
}

static bool has_policy(const struct config_set *s, const char *policy)
{
    beck_bytes rest = beck_str(in_force(s, topic_key("cleanup.policy"))), part;
    while (rest.len > 0 && next_part(&rest, ',', &part))
        if (bytes_equal_text(trim(part), policy))
            return true;
    return false;
}

/* -1 is no limit, for which a bus has 0. */
static int64_t limit(const struct config_set *s, const char *name)
{
    int64_t n = config_set_number(s, topic_key(name));
    return n < 0 ? 0 : n == 0 ? 1 : n;
}

static const char *const codecs[] = {"uncompressed", "gzip", "snappy", "lz4", "zstd"};

int config_set_codec(const struct config_set *s)
{
    const char *codec = in_force(s, topic_key("compression.type"));
    for (int i = 0; i < 5; i++)
        if (strcmp(codec, codecs[i]) == 0)
            return i;
    return -1;
}

void config_set_rules(const struct config_set *s, struct partition_rules *out)
{
    int64_t flush_ms = config_set_number(s, topic_key("flush.ms"));
    int64_t lag_ms = config_set_number(s, topic_key("max.compaction.lag.ms"));
    *out = (struct partition_rules){
        .sync_within_ms = flush_ms == INT64_MAX ? 0
                          : flush_ms > 0        ? flush_ms
                                                : 1,
        .compact_after_ms = config_set_number(s, topic_key("min.compaction.lag.ms")),
        .compact_within_ms = lag_ms == INT64_MAX ? 0 : lag_ms,
        .compact_share = strtod(in_force(s, topic_key("min.cleanable.dirty.ratio")), NULL)};
}

void config_set_options(const struct config_set *s, beck_bus_options *o)
{
    bool deletes = has_policy(s, "delete");
    int64_t bytes = config_set_number(s, topic_key("segment.bytes"));
    int codec = config_set_codec(s);
    o->compact = has_policy(s, "compact");
    o->delete_retention_ms = limit(s, "delete.retention.ms");
    o->retention_ms = deletes ? limit(s, "retention.ms") : 0;
    o->retention_bytes = deletes ? limit(s, "retention.bytes") : 0;
    o->segment_bytes = bytes < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN : bytes;
    o->segment_ms = config_set_number(s, topic_key("segment.ms"));
    int64_t lag_ms = config_set_number(s, topic_key("max.compaction.lag.ms"));
    if (o->compact && lag_ms < o->segment_ms)
        o->segment_ms = lag_ms; /* a segment is compacted once it is sealed */
    o->event_bytes_max = (uint32_t)limit(s, "max.message.bytes");
    o->codec = codec < 0 ? BECK_CODEC_NONE : (beck_codec)codec;
}

static bool put_number(struct config_set *s, const char *name, int64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)n);
    return config_set_put(s, topic_key(name), beck_str(text));
}

bool config_set_adopt(struct config_set *s, const beck_bus_options *bus)
{
    beck_bus_options o = {0};
    bool good = true, limited = bus->retention_ms > 0 || bus->retention_bytes > 0;
    config_set_options(s, &o);
    if (o.compact != bus->compact || (limited && !has_policy(s, "delete")))
        good = config_set_put(s, topic_key("cleanup.policy"),
                              beck_str(!bus->compact ? "delete"
                                       : limited     ? "compact,delete"
                                                     : "compact"));
    config_set_options(s, &o);
    if (good && o.retention_ms != bus->retention_ms)
        good = put_number(s, "retention.ms", bus->retention_ms > 0 ? bus->retention_ms : -1);
    if (good && o.retention_bytes != bus->retention_bytes)
        good =
            put_number(s, "retention.bytes", bus->retention_bytes > 0 ? bus->retention_bytes : -1);
    if (good && o.delete_retention_ms != bus->delete_retention_ms)
        good = put_number(s, "delete.retention.ms", bus->delete_retention_ms);
    if (good && o.segment_bytes != bus->segment_bytes)
        good = put_number(s, "segment.bytes", bus->segment_bytes);
    if (good && o.segment_ms != bus->segment_ms)
        good = put_number(s, "segment.ms", bus->segment_ms);
    if (good && o.event_bytes_max != bus->event_bytes_max)
        good = put_number(s, "max.message.bytes", bus->event_bytes_max);
    if (good && o.codec != bus->codec)
        good = config_set_put(s, topic_key("compression.type"), beck_str(codecs[bus->codec]));
    return good;
}
