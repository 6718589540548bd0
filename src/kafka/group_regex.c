/*
 * Subscriptions by regular expression: RE2's syntax by PCRE2, matched against whole names of topics.
 * What RE2 does not have (looking around, references back, possessive and atomic groups, recursion)
 * is refused. Each expression of a group is kept once, with the topics that it stands for.
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

struct group_regex *consumer_regex(const struct group *group, beck_bytes text)
{
    struct group_regex *r = group->regexes;
    while (r && !bytes_equal(r->text, text))
        r = r->next;
    return r;
}

/* ---- topics ---- */

struct matching {
    const struct regex *compiled;
    beck_bytes *list;
    size_t count, cap;
    bool failed;
};

static void match(void *ctx, const struct group_topic *t)
{
    struct matching *m = ctx;
    if (m->failed || !regex_find(m->compiled, t->name))
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

bool consumer_resolve_regex(struct group *group, struct group_regex *r)
{
    struct groups *g = group->all;
    struct matching m = {.compiled = r->compiled};
    g->topics.each(g->topics.ctx, match, &m);
    if (!m.failed && m.count)
        qsort(m.list, m.count, sizeof *m.list, compare_names);
    bool changed = !m.failed && m.count != r->topic_count;
    for (size_t i = 0; !m.failed && !changed && i < m.count; i++)
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
    free(r);
}

void consumer_drop_regex(struct group *group, struct group_regex **at)
{
    struct group_regex *r = *at;
    (void)group;
    *at = r->next;
    free_regex(r);
}

int consumer_use_regex(struct group *group, beck_bytes text, beck_error *err)
{
    struct group_regex *r = consumer_regex(group, text);
    if (r) {
        r->members++;
        return KAFKA_NONE;
    }
    r = calloc(1, sizeof *r);
    if (!r)
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    r->text = group_copy(text);
    r->compiled = r->text.data ? compile(text, err) : NULL;
    if (!r->compiled) {
        bool short_of_memory = !r->text.data || err->code == BECK_ENOMEM;
        free_regex(r);
        return short_of_memory ? KAFKA_COORDINATOR_NOT_AVAILABLE : KAFKA_INVALID_REGULAR_EXPRESSION;
    }
    r->members = 1;
    r->next = group->regexes;
    group->regexes = r;
    consumer_resolve_regex(group, r);
    return KAFKA_NONE;
}

void consumer_unuse_regex(struct group *group, beck_bytes text)
{
    for (struct group_regex **at = &group->regexes; *at; at = &(*at)->next) {
        if (!bytes_equal((*at)->text, text))
            continue;
        if (--(*at)->members == 0) {
            group_put_regex_gone(group, (*at)->text);
            consumer_drop_regex(group, at);
        }
        return;
    }
}
