/* Permissions of a user in a virtual host: see permission.h. */
#include "broker/permission.h"

#include "base/error.h"
#include "broker/regex.h"

#include <stdlib.h>

#define RIGHTS 3 /* of session_right */
#define TOPIC_PATTERN_MAX 8192

/* By session_right; NULL: it does not compile, and allows nothing. */
struct patterns {
    struct regex *of[RIGHTS];
};

struct permits {
    char *user, *vhost;
    bool everything;
    struct patterns names;
    struct topic {
        char *exchange;
        struct patterns keys; /* those of RIGHT_WRITE and RIGHT_READ */
    } * topics;
    size_t topic_count;
};

static const char *const right_names[RIGHTS] = {
    [RIGHT_CONFIGURE] = "configure", [RIGHT_WRITE] = "write", [RIGHT_READ] = "read"};

beck_status permission_check(beck_bytes pattern, beck_error *err)
{
    beck_error why = {0};
    struct regex *r = regex_new(pattern, &why);
    if (r == NULL)
        return error_set(err, why.code == BECK_ENOMEM ? BECK_ENOMEM : BECK_EINVAL, "%s", why.text);
    regex_free(r);
    return BECK_OK;
}

/* An empty one is asked to be an empty name. False: no memory. */
static bool compile(beck_bytes pattern, struct regex **out)
{
    beck_error err = {0};
    if (pattern.len == 0)
        pattern = bytes_of("^$", 2);
    *out = regex_new(pattern, &err);
    return *out != NULL || err.code != BECK_ENOMEM;
}

static char *copy_text(beck_bytes text)
{
    char *copy = malloc(text.len + 1);
    if (copy == NULL)
        return NULL;
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    return copy;
}

static void append_literal(struct buf *out, const char *text)
{
    for (; *text != 0; text++) {
        if (strchr("\\^$.|?*+()[]{}-", *text) != NULL)
            (void)buf_append_byte(out, '\\');
        (void)buf_append_byte(out, (uint8_t)*text);
    }
}

/* The pattern with its variables in place. */
static bool compile_topic(const struct permits *p, beck_bytes pattern, struct regex **out)
{
    static const char user[] = "{username}", vhost[] = "{vhost}";
    const char *text = pattern.data;
    struct buf whole;
    buf_init(&whole, TOPIC_PATTERN_MAX);
    bool ok = buf_reserve(&whole, pattern.len + 1) == BECK_OK;
    for (size_t i = 0; ok && i < pattern.len;) {
        beck_bytes rest = bytes_of(text + i, pattern.len - i);
        if (rest.len >= sizeof(user) - 1 && memcmp(rest.data, user, sizeof(user) - 1) == 0) {
            append_literal(&whole, p->user);
            i += sizeof(user) - 1;
        } else if (rest.len >= sizeof(vhost) - 1 &&
                   memcmp(rest.data, vhost, sizeof(vhost) - 1) == 0) {
            append_literal(&whole, p->vhost);
            i += sizeof(vhost) - 1;
        } else {
            ok = buf_append_byte(&whole, (uint8_t)text[i++]) == BECK_OK;
        }
    }
    ok = ok && compile(buf_bytes(&whole), out);
    buf_release(&whole);
    return ok;
}

static bool add_topic(struct permits *p, const struct topic_rules *rules)
{
    struct topic *t = &p->topics[p->topic_count++];
    t->exchange = copy_text(rules->exchange);
    return t->exchange != NULL && compile_topic(p, rules->write, &t->keys.of[RIGHT_WRITE]) &&
           compile_topic(p, rules->read, &t->keys.of[RIGHT_READ]);
}

struct permits *permits_new(beck_bytes user, beck_bytes vhost, const struct permission_rules *rules,
                            const struct topic_rules *topics, size_t topic_count)
{
    struct permits *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->everything = rules == NULL;
    p->user = copy_text(user);
    p->vhost = copy_text(vhost);
    p->topics = calloc(topic_count + 1, sizeof(*p->topics));
    bool ok = p->user != NULL && p->vhost != NULL && p->topics != NULL;
    if (ok && rules != NULL)
        ok = compile(rules->configure, &p->names.of[RIGHT_CONFIGURE]) &&
             compile(rules->write, &p->names.of[RIGHT_WRITE]) &&
             compile(rules->read, &p->names.of[RIGHT_READ]);
    for (size_t i = 0; ok && i < topic_count; i++)
        ok = add_topic(p, &topics[i]);
    if (ok)
        return p;
    permits_free(p);
    return NULL;
}

static void free_patterns(const struct patterns *p)
{
    for (size_t i = 0; i < RIGHTS; i++)
        regex_free(p->of[i]);
}

void permits_free(struct permits *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->topic_count; i++) {
        free(p->topics[i].exchange);
        free_patterns(&p->topics[i].keys);
    }
    free_patterns(&p->names);
    free(p->topics);
    free(p->user);
    free(p->vhost);
    free(p);
}

bool permits_allow(const struct permits *p, enum session_right right, beck_bytes name)
{
    const struct regex *r = p->names.of[right];
    return p->everything || (r != NULL && regex_find(r, name));
}

int permits_ask(const struct permits *p, enum session_right right, const char *kind,
                beck_bytes name, char *text)
{
    if (name.len == 0 && strcmp(kind, "exchange") == 0)
        name = bytes_of("amq.default", 11);
    if (permits_allow(p, right, name))
        return 0;
    return broker_refuse(
        text, REPLY_ACCESS_REFUSED, "%s access to %s '%.*s' in vhost '%s' refused for user '%s'",
        right_names[right], kind, (int)name.len, (const char *)name.data, p->vhost, p->user);
}

int permits_ask_topic(const struct permits *p, enum session_right right, beck_bytes exchange,
                      beck_bytes routing_key, char *text)
{
    for (size_t i = 0; i < p->topic_count; i++) {
        if (!bytes_equal_text(exchange, p->topics[i].exchange))
            continue;
        const struct regex *r = p->topics[i].keys.of[right];
        if (r != NULL && regex_find(r, routing_key))
            return 0;
        return broker_refuse(
            text, REPLY_ACCESS_REFUSED,
            "%s access to topic '%.*s' in exchange '%s' in vhost '%s' refused for user '%s'",
            right_names[right], (int)routing_key.len, (const char *)routing_key.data,
            p->topics[i].exchange, p->vhost, p->user);
    }
    return 0;
}
