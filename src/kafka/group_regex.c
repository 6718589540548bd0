/*
 * Subscriptions by regular expression: RE2's syntax by PCRE2, matched against whole names of topics.
 * What RE2 does not have (looking around, references back, possessive and atomic groups, recursion)
 * is refused. Each expression of a group is kept once for each user, with the topics that it stands for.
 */
#include "kafka/group_log.h"

#include "base/error.h"
#include "broker/regex.h"

#include <stdlib.h>

/* What follows "(?" in RE2: flags, a group without a number, or a name. */
static bool is_re2_group(const char *at, const char *end)
{
    if (at < end && *at == 'P')
        return at + 1 < end && at[1] == '<';
    if (at < end && *at == '<')
        return at + 1 < end && at[1] != '=' && at[1] != '!';
    while (at < end && strchr("imsU-", *at) && *at)
        at++;
    return at < end && (*at == ':' || *at == ')');
}

/* NULL, or what in it RE2 does not have. */
static const char *beyond_re2(beck_bytes text)
{
    const char *at = text.data, *end = at + text.len;
    bool class = false;
    for (; at < end; at++) {
        if (*at == '\\' && at + 1 < end) {
            at++;
            if (!class && ((*at >= '1' && *at <= '9') || *at == 'k' || *at == 'g' || *at == 'G' ||
                           *at == 'R' || *at == 'K' || *at == 'X'))
                return "invalid escape sequence";
        } else if (class) {
            class = *at != ']';
        } else if (*at == '[') {
            class = true;
            at += at + 1 < end && at[1] == '^';
            at += at + 1 < end && at[1] == ']';
        } else if (*at == '(' && at + 1 < end &&
                   (at[1] == '*' || (at[1] == '?' && !is_re2_group(at + 2, end)))) {
            return "invalid or unsupported Perl syntax";
        } else if (strchr("*+?}", *at) && at + 1 < end && at[1] == '+') {
            return "invalid nested repetition operator";
        }
    }
    return NULL;
}

static struct regex *compile(beck_bytes text, beck_error *err)
{
    const char *why = beyond_re2(text);
    struct regex *alone = why ? NULL : regex_new(text, err);
    struct buf whole;
    if (why)
        error_set(err, BECK_EINVAL, "%s", why);
    if (!alone)
        return NULL;
    regex_free(alone);
    buf_init(&whole, REGEX_MAX);
    struct regex *r = NULL;
    if (buf_printf(&whole, "\\A(?:%.*s)\\z", (int)text.len, (const char *)text.data))
        error_set(err, BECK_ELIMIT, "must not exceed %d bytes", REGEX_MAX - 16);
    else
        r = regex_new(buf_bytes(&whole), err);
    buf_release(&whole);
    return r;
}

struct group_regex *consumer_regex(const struct group *group, beck_bytes text, beck_bytes user)
{
    struct group_regex *r = group->regexes;
    while (r && !(bytes_equal(r->text, text) && bytes_equal(r->user, user)))
        r = r->next;
    return r;
}

/* ---- topics ---- */

struct matching {
    const struct regex *compiled;
    const struct group_client *client;
    beck_bytes *list;
    size_t count, cap;
    bool failed;
};

static void match(void *ctx, const struct group_topic *t)
{
    struct matching *m = ctx;
    if (m->failed || !regex_find(m->compiled, t->name) ||
        (m->client->may_see && !m->client->may_see(m->client->ctx, t->name)))
        return;
    if (m->count == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 16;
        beck_bytes *list = realloc(m->list, cap * sizeof *list);
        if (!list) {
            m->failed = true;
            return;
        }
        m->list = list;
        m->cap = cap;
    }
    m->list[m->count] = group_copy(t->name);
    m->failed = !m->list[m->count].data;
    m->count += !m->failed;
}

static int compare_names(const void *a, const void *b)
{
    return bytes_compare(*(const beck_bytes *)a, *(const beck_bytes *)b);
}

static void free_names(beck_bytes *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        group_text_free(&names[i]);
    free(names);
}

/* What a user may see changes as well. */
#define MATCH_AGAIN_MS 600000

bool consumer_match_regex(struct group *group, struct group_regex *r,
                          const struct group_client *client)
{
    struct groups *g = group->all;
    uint64_t generation = g->topics.generation(g->topics.ctx);
    int64_t now_ms = group_now_ms(g);
    struct matching m = {.compiled = r->compiled, .client = client};
    if (r->generation == generation && now_ms - r->matched_ms < MATCH_AGAIN_MS)
        return false;
    g->topics.each(g->topics.ctx, match, &m);
    if (m.failed) {
        free_names(m.list, m.count);
        return false;
    }
    r->generation = generation;
    r->matched_ms = now_ms;
    if (m.count)
        qsort(m.list, m.count, sizeof *m.list, compare_names);
    bool changed = m.count != r->topic_count;
    for (size_t i = 0; !changed && i < m.count; i++)
        changed = !bytes_equal(m.list[i], r->topics[i]);
    if (!changed) {
        free_names(m.list, m.count);
        return false;
    }
    free_names(r->topics, r->topic_count);
    r->topics = m.list;
    r->topic_count = m.count;
    return true;
}

/* ---- who uses it ---- */

static void free_regex(struct group_regex *r)
{
    regex_free(r->compiled);
    free_names(r->topics, r->topic_count);
    group_text_free(&r->text);
    group_text_free(&r->user);
    free(r);
}

void consumer_drop_regex(struct group *group, struct group_regex **at)
{
    struct group_regex *r = *at;
    (void)group;
    *at = r->next;
    free_regex(r);
}

/* False: no memory, it stays as it was. */
static bool set_names(struct group_regex *r, const beck_bytes *names, size_t count)
{
    beck_bytes *list = calloc(count + 1, sizeof *list);
    size_t made = 0;
    while (list && made < count && (list[made] = group_copy(names[made])).data)
        made++;
    if (!list || made < count) {
        free_names(list, made);
        return false;
    }
    free_names(r->topics, r->topic_count);
    r->topics = list;
    r->topic_count = count;
    return true;
}

/* One with that text, of whichever user; NULL: there is no other. */
static const struct group_regex *other(const struct group *group, beck_bytes text,
                                       const struct group_regex *except)
{
    const struct group_regex *r = group->regexes;
    while (r && (r == except || !bytes_equal(r->text, text)))
        r = r->next;
    return r;
}

int consumer_use_regex(struct group *group, beck_bytes text, beck_bytes user, beck_error *err)
{
    struct group_regex *r = consumer_regex(group, text, user);
    if (r) {
        r->members++;
        return KAFKA_NONE;
    }
    r = calloc(1, sizeof *r);
    if (!r)
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    r->text = group_copy(text);
    bool copied = r->text.data && group_text_set(&r->user, user);
    r->compiled = copied ? compile(text, err) : NULL;
    if (!r->compiled) {
        bool short_of_memory = !copied || err->code == BECK_ENOMEM;
        free_regex(r);
        return short_of_memory ? KAFKA_COORDINATOR_NOT_AVAILABLE : KAFKA_INVALID_REGULAR_EXPRESSION;
    }
    const struct group_regex *known = other(group, text, r);
    if (known) /* until it is matched: after a restart nobody knows whose it was */
        set_names(r, known->topics, known->topic_count);
    r->members = 1;
    r->generation = UINT64_MAX;
    r->next = group->regexes;
    group->regexes = r;
    return KAFKA_NONE;
}

void consumer_unuse_regex(struct group *group, beck_bytes text, beck_bytes user)
{
    struct group_regex **at = &group->regexes, *r = consumer_regex(group, text, user);
    if (!r || --r->members > 0)
        return;
    if (!other(group, text, r)) /* the record is that of all */
        group_put_regex_gone(group, text);
    while (*at != r)
        at = &(*at)->next;
    consumer_drop_regex(group, at);
}

bool consumer_load_regex(struct group *group, beck_bytes text, const struct kafka_strings *topics)
{
    beck_error err = {0};
    struct group_regex *r = consumer_regex(group, text, (beck_bytes){0});
    if (!r && consumer_use_regex(group, text, (beck_bytes){0}, &err))
        return false;
    r = consumer_regex(group, text, (beck_bytes){0});
    r->members = 0;
    return set_names(r, topics->at, topics->count);
}
