/*
 * Headers: a binding is a rule of pairs (name, value), of which all or any must be there.
 *
 * Not every rule is tried for every message: a rule is listed under one of its pairs (all: the one that has the
 * fewest rules by then) or under each (any), and a message looks up its own headers, each with its value and as
 * "is there". What is found so is a candidate, and tried once; a rule that asks for any is marked when it was
 * right. Rules that ask for nothing are always right. The headers of a message are put in order of name first, so
 * that a match takes no longer than its candidates' pairs x log of its headers, whatever they are.
 *
 * Values are equal as in RabbitMQ 4: by what they are, not how wide; text and bytes are the same.
 */
#include "broker/match_impl.h"

#include <stdlib.h>

/* What a message is asked for. */
struct header_want {
    beck_bytes name;
    struct table_value value; /* TABLE_VOID: any */
};

/* A rule under a pair. */
struct header_entry {
    struct match_binding *binding;
    struct header_pair *pair; /* NULL: always */
    struct header_entry *next, **at;
    uint32_t want; /* which of the rule's */
};

/* All of one hash: pairs of one name and value, and by chance of others. */
struct header_pair {
    struct lookup_node node;
    struct header_entry *entries;
    size_t count;
};

struct header_rule {
    bool any;
    uint32_t mark; /* if any */
    uint32_t want_count, entry_count;
    struct header_entry *entries; /* behind the wants */
    struct header_want wants[];
};

static bool is_x(beck_bytes name)
{
    return name.len >= 2 && memcmp(name.data, "x-", 2) == 0;
}

static bool same_value(const struct table_value *a, const struct table_value *b)
{
    bool texts = (a->kind == TABLE_TEXT || a->kind == TABLE_BYTES) &&
                 (b->kind == TABLE_TEXT || b->kind == TABLE_BYTES);
    return texts ? bytes_equal(a->bytes, b->bytes) : table_value_equal(a, b);
}

/* Equal for values that are same_value. */
static uint64_t hash_pair(const struct matcher *m, beck_bytes name, const struct table_value *v)
{
    uint64_t seed = bytes_hash(name.data, name.len, m->pairs.seed);
    enum table_kind kind = v->kind == TABLE_BYTES ? TABLE_TEXT : v->kind;
    seed += (uint64_t)kind * UINT64_C(0x9e3779b97f4a7c15);
    double number = v->number == 0 ? 0 : v->number; /* there is a minus zero */
    switch (kind) {
    case TABLE_BOOL:
    case TABLE_INTEGER:
    case TABLE_TIME:
        return bytes_hash(&v->integer, sizeof(v->integer), seed);
    case TABLE_FLOAT:
        return bytes_hash(&number, sizeof(number), seed);
    case TABLE_TEXT:
    case TABLE_DECIMAL:
        return bytes_hash(v->bytes.data, v->bytes.len, seed);
    default:
        return bytes_hash("", 0, seed);
    }
}

/* ---- rules ---- */

static void free_rule(struct matcher *m, struct header_rule *rule)
{
    if (rule->any)
        mark_give(m, rule->mark);
    free(rule->entries);
    free(rule);
}

/* NULL: no memory. */
static struct header_rule *new_rule(struct matcher *m, const struct match_binding *b)
{
    struct table_value match = {.kind = TABLE_VOID}, value;
    bool given = table_find(b->arguments, "x-match", &match) && match.kind == TABLE_TEXT;
    bool any = given && (bytes_equal_text(match.bytes, "any") ||
                         bytes_equal_text(match.bytes, "any-with-x"));
    bool with_x = given && (bytes_equal_text(match.bytes, "all-with-x") ||
                            bytes_equal_text(match.bytes, "any-with-x"));
    beck_bytes name;
    size_t count = 0;
    for (size_t at = 0; table_next(b->arguments, &at, &name, &value);)
        count++;
    struct header_rule *rule = calloc(1, sizeof(*rule) + count * sizeof(struct header_want));
    if (rule == NULL)
        return NULL;
    for (size_t at = 0; table_next(b->arguments, &at, &name, &value);)
        if (!(with_x ? bytes_equal_text(name, "x-match") : is_x(name)))
            rule->wants[rule->want_count++] = (struct header_want){name, value};
    rule->entry_count = any ? rule->want_count : 1;
    rule->entries = calloc(rule->entry_count + 1, sizeof(*rule->entries));
    if (rule->entries == NULL || (any && !mark_take(m, &rule->mark))) {
        free(rule->entries);
        free(rule);
        return NULL;
    }
    rule->any = any;
    return rule;
}

static struct header_pair *find_pair(const struct matcher *m, uint64_t hash)
{
    struct lookup_node *n = lookup_first(&m->pairs, hash);
    return n == NULL ? NULL : lookup_of(n, struct header_pair, node);
}

static struct header_pair *add_pair(struct matcher *m, uint64_t hash)
{
    struct header_pair *pair = find_pair(m, hash);
    if (pair != NULL)
        return pair;
    pair = calloc(1, sizeof(*pair));
    if (pair == NULL || lookup_reserve(&m->pairs) != BECK_OK) {
        free(pair);
        return NULL;
    }
    lookup_add(&m->pairs, &pair->node, hash);
    return pair;
}

static void list_entry(struct header_entry *e, struct header_entry **head)
{
    e->next = *head;
    e->at = head;
    if (e->next != NULL)
        e->next->at = &e->next;
    *head = e;
}

/* The want under which a rule that asks for all is found: the one that the fewest others stand under, and of
 * these rather one with a value. */
static uint32_t choose_want(const struct matcher *m, const struct header_rule *rule)
{
    uint32_t chosen = 0;
    size_t fewest = SIZE_MAX;
    for (uint32_t i = 0; i < rule->want_count; i++) {
        const struct header_want *w = &rule->wants[i];
        const struct header_pair *pair = find_pair(m, hash_pair(m, w->name, &w->value));
        size_t others = 2 * (pair == NULL ? 0 : pair->count) + (w->value.kind == TABLE_VOID);
        if (others < fewest) {
            fewest = others;
            chosen = i;
        }
    }
    return chosen;
}

static bool add_entry(struct matcher *m, struct match_binding *b, uint32_t want,
                      struct header_entry *e)
{
    const struct header_want *w = &b->rule->wants[want];
    struct header_pair *pair = add_pair(m, hash_pair(m, w->name, &w->value));
    if (pair == NULL)
        return false;
    *e = (struct header_entry){.binding = b, .pair = pair, .want = want};
    pair->count++;
    list_entry(e, &pair->entries);
    return true;
}

beck_status headers_add(struct matcher *m, struct match_binding *b)
{
    struct header_rule *rule = b->rule = new_rule(m, b);
    if (rule == NULL)
        return BECK_ENOMEM;
    if (!rule->any && rule->want_count == 0) {
        rule->entries[0] = (struct header_entry){.binding = b};
        list_entry(&rule->entries[0], &m->always);
        return BECK_OK;
    }
    uint32_t first = rule->any ? 0 : choose_want(m, rule);
    for (uint32_t i = 0; i < rule->entry_count; i++) {
        if (add_entry(m, b, first + i, &rule->entries[i]))
            continue;
        rule->entry_count = i;
        headers_remove(m, b);
        return BECK_ENOMEM;
    }
    return BECK_OK;
}

void headers_remove(struct matcher *m, struct match_binding *b)
{
    for (uint32_t i = 0; i < b->rule->entry_count; i++) {
        struct header_entry *e = &b->rule->entries[i];
        *e->at = e->next;
        if (e->next != NULL)
            e->next->at = e->at;
        if (e->pair != NULL && --e->pair->count == 0) {
            lookup_remove(&m->pairs, &e->pair->node);
            free(e->pair);
        }
    }
    free_rule(m, b->rule);
    b->rule = NULL;
}

/* ---- matching ---- */

struct match_header {
    beck_bytes name;
    size_t at; /* where it stands in the message */
    struct table_value value;
};

static int compare_headers(const void *a, const void *b)
{
    const struct match_header *x = a, *y = b;
    int order = bytes_compare(x->name, y->name);
    return order != 0 ? order : x->at < y->at ? -1 : 1;
}

static bool reserve_headers(struct match_found *f, size_t count)
{
    if (count <= f->header_cap)
        return true;
    size_t cap = f->header_cap == 0 ? 16 : f->header_cap * 2;
    struct match_header *grown = realloc(f->headers, cap * sizeof(*grown));
    if (grown == NULL)
        return false;
    f->headers = grown;
    f->header_cap = cap;
    return true;
}

/* The headers in order of name, of each name the last. False: no memory. */
static bool sort_headers(beck_bytes headers, struct match_found *f, size_t *count)
{
    struct match_header h;
    size_t n = 0, kept = 0;
    for (h.at = 0; table_next(headers, &h.at, &h.name, &h.value); f->headers[n++] = h)
        if (!reserve_headers(f, n + 1))
            return false;
    if (n > 1)
        qsort(f->headers, n, sizeof(*f->headers), compare_headers);
    for (size_t i = 0; i < n; i++)
        if (i + 1 == n || !bytes_equal(f->headers[i].name, f->headers[i + 1].name))
            f->headers[kept++] = f->headers[i];
    *count = kept;
    return true;
}

static const struct match_header *find_header(const struct match_header *list, size_t count,
                                              beck_bytes name)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(list[middle].name, name);
        if (order == 0)
            return &list[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool is_met_by(const struct header_want *w, const struct match_header *h)
{
    return bytes_equal(w->name, h->name) &&
           (w->value.kind == TABLE_VOID || same_value(&w->value, &h->value));
}

/* Whether the rule is right, given the header that it was found by, and was not found before. */
static bool candidate_is_right(const struct header_entry *e, const struct match_header *by,
                               size_t count, struct match_found *f)
{
    const struct header_rule *rule = e->binding->rule;
    if (!is_met_by(&rule->wants[e->want], by))
        return false;
    if (rule->any)
        return found_mark(f, rule->mark);
    for (uint32_t i = 0; i < rule->want_count; i++) {
        const struct match_header *h = find_header(f->headers, count, rule->wants[i].name);
        if (h == NULL || !is_met_by(&rule->wants[i], h))
            return false;
    }
    return true;
}

static beck_status try_pair(const struct matcher *m, const struct match_header *by, size_t count,
                            uint64_t hash, struct match_found *f)
{
    const struct header_pair *pair = find_pair(m, hash);
    for (const struct header_entry *e = pair == NULL ? NULL : pair->entries; e != NULL; e = e->next)
        if (candidate_is_right(e, by, count, f) && found_add(f, e->binding->value) != BECK_OK)
            return BECK_ENOMEM;
    return BECK_OK;
}

static beck_status try_headers(const struct matcher *m, size_t count, struct match_found *f)
{
    static const struct table_value there = {.kind = TABLE_VOID};
    for (size_t i = 0; i < count; i++) {
        const struct match_header *h = &f->headers[i];
        uint64_t with_value = hash_pair(m, h->name, &h->value);
        uint64_t any = hash_pair(m, h->name, &there);
        if (try_pair(m, h, count, with_value, f) != BECK_OK ||
            (any != with_value && try_pair(m, h, count, any, f) != BECK_OK))
            return BECK_ENOMEM;
    }
    return BECK_OK;
}

beck_status headers_match(const struct matcher *m, const struct properties *p,
                          struct match_found *found)
{
    size_t count;
    for (const struct header_entry *e = m->always; e != NULL; e = e->next)
        if (found_add(found, e->binding->value) != BECK_OK)
            return BECK_ENOMEM;
    if (p == NULL || p->headers.len == 0 || m->pairs.count == 0)
        return BECK_OK;
    if (!found_marks(m, found) || !sort_headers(p->headers, found, &count))
        return BECK_ENOMEM;
    beck_status status = try_headers(m, count, found);
    if (m->mark_count > 0)
        memset(found->marks, 0, (m->mark_count + 63) / 64 * sizeof(*found->marks));
    return status;
}
