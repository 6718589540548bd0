/* Matchers: what all types have in common, and those that are only a list or a table. Topics are in
 * match_topic.c, headers in match_headers.c. */
#include "broker/match.h"

#include "base/rng.h"
#include "broker/broker.h"
#include "broker/match_impl.h"

#include <stdlib.h>

#define WEIGHT_MAX 10000

bool match_type_of(beck_bytes name, enum match_type *out)
{
    static const struct {
        const char *name;
        enum match_type type;
    } types[] = {
        {"direct", MATCH_DIRECT},
        {"fanout", MATCH_FANOUT},
        {"x-recent-history", MATCH_FANOUT},
        {"x-federation-upstream", MATCH_FANOUT},
        {"topic", MATCH_TOPIC},
        {"headers", MATCH_HEADERS},
        {"x-consistent-hash", MATCH_CONSISTENT_HASH},
        {"x-modulus-hash", MATCH_MODULUS_HASH},
        {"x-random", MATCH_RANDOM},
        {"x-local-random", MATCH_RANDOM},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (bytes_equal_text(name, types[i].name)) {
            *out = types[i].type;
            return true;
        }
    }
    return false;
}

/* ---- what is refused ---- */

static int check_consistent_hash(beck_bytes arguments, char *text)
{
    static const char *const properties[] = {"correlation_id", "message_id", "timestamp"};
    struct table_value header, property;
    bool by_header = table_find(arguments, "hash-header", &header);
    if (!table_find(arguments, "hash-property", &property))
        return 0;
    if (by_header)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "hash-header and hash-property are mutually exclusive");
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
        if (property.kind == TABLE_TEXT && bytes_equal_text(property.bytes, properties[i]))
            return 0;
    return broker_refuse(text, REPLY_PRECONDITION_FAILED, "Unsupported property: %.*s",
                         (int)property.bytes.len, (const char *)property.bytes.data);
}

int match_check_exchange(enum match_type type, beck_bytes arguments, char *text)
{
    return type == MATCH_CONSISTENT_HASH ? check_consistent_hash(arguments, text) : 0;
}

static int check_headers_binding(beck_bytes arguments, char *text)
{
    static const char *const modes[] = {"all", "any", "all-with-x", "any-with-x"};
    struct table_value v;
    if (!table_find(arguments, "x-match", &v))
        return 0;
    char value[100];
    table_value_print(&v, value, sizeof(value));
    if (v.kind != TABLE_TEXT)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "Invalid x-match field type %s (value %s); expected longstr",
                             table_type_name(&v), value);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (bytes_equal_text(v.bytes, modes[i]))
            return 0;
    return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                         "Invalid x-match field value <<\"%.*s\">>; expected all, any, "
                         "all-with-x, or any-with-x",
                         (int)v.bytes.len, (const char *)v.bytes.data);
}

static bool read_weight(beck_bytes key, uint64_t *weight)
{
    if (key.len > 1 && *(const char *)key.data == '+')
        key = bytes_of((const char *)key.data + 1, key.len - 1);
    return bytes_to_u64(key, weight);
}

static int check_weight(beck_bytes key, char *text)
{
    uint64_t weight;
    const char *digits = key.data;
    bool negative = key.len > 1 && *digits == '-';
    if (!read_weight(negative ? bytes_of(digits + 1, key.len - 1) : key, &weight))
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             key.len == 0 ? "The binding key must be an integer: <<>>"
                                          : "The binding key must be an integer: <<\"%.*s\">>",
                             (int)key.len, (const char *)key.data);
    if (negative || weight < 1)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "The binding key must be greater than 0");
    if (weight > WEIGHT_MAX)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED, "The binding key must not exceed %d",
                             WEIGHT_MAX);
    return 0;
}

int match_check_binding(enum match_type type, beck_bytes key, beck_bytes arguments, char *text)
{
    if (type == MATCH_HEADERS)
        return check_headers_binding(arguments, text);
    return type == MATCH_CONSISTENT_HASH ? check_weight(key, text) : 0;
}

/* ---- life ---- */

static bool take_arguments(struct matcher *m, beck_bytes arguments)
{
    struct table_value v;
    if (table_find(arguments, "hash-header", &v) && v.kind == TABLE_TEXT) {
        m->by = BY_HEADER;
        m->by_header = strndup((const char *)v.bytes.data, v.bytes.len);
        return m->by_header != NULL;
    }
    if (table_find(arguments, "hash-property", &v) && v.kind == TABLE_TEXT)
        m->by = bytes_equal_text(v.bytes, "correlation_id") ? BY_CORRELATION_ID
                : bytes_equal_text(v.bytes, "message_id")   ? BY_MESSAGE_ID
                                                            : BY_TIMESTAMP;
    return true;
}

struct matcher *matcher_new(enum match_type type, beck_bytes arguments)
{
    struct matcher *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->type = type;
    lookup_init(&m->bindings);
    lookup_init(&m->nodes);
    lookup_init(&m->pairs);
    if (type == MATCH_TOPIC)
        m->root = calloc(1, sizeof(*m->root));
    if ((type == MATCH_TOPIC && m->root == NULL) ||
        (type == MATCH_CONSISTENT_HASH && !take_arguments(m, arguments))) {
        matcher_free(m);
        return NULL;
    }
    return m;
}

static void detach(struct matcher *m, struct match_binding *b);

void matcher_free(struct matcher *m)
{
    if (m == NULL)
        return;
    for (struct lookup_node *n; (n = lookup_walk(&m->bindings, NULL)) != NULL;) {
        struct match_binding *b = lookup_of(n, struct match_binding, node);
        lookup_remove(&m->bindings, n);
        detach(m, b);
        free(b);
    }
    lookup_release(&m->bindings);
    lookup_release(&m->nodes);
    lookup_release(&m->pairs);
    free(m->root);
    free(m->marks_free);
    free(m->list);
    free(m->by_header);
    free(m);
}

void match_found_release(struct match_found *f)
{
    free(f->values);
    free(f->now.nodes);
    free(f->next.nodes);
    free(f->marks);
    free(f->headers);
    *f = (struct match_found){0};
}

/* ---- marks ---- */

/* Numbers are used again, so that marks stay few. */
bool mark_take(struct matcher *m, uint32_t *mark)
{
    if (m->marks_free_count > 0) {
        *mark = m->marks_free[--m->marks_free_count];
        return true;
    }
    if (m->mark_count == m->marks_free_cap) {
        uint32_t cap = m->marks_free_cap == 0 ? 8 : m->marks_free_cap * 2;
        uint32_t *grown = realloc(m->marks_free, cap * sizeof(*grown));
        if (grown == NULL)
            return false;
        m->marks_free = grown;
        m->marks_free_cap = cap;
    }
    *mark = m->mark_count++;
    return true;
}

void mark_give(struct matcher *m, uint32_t mark)
{
    m->marks_free[m->marks_free_count++] = mark;
}

bool found_marks(const struct matcher *m, struct match_found *f)
{
    size_t words = (m->mark_count + 63) / 64;
    if (words <= f->mark_words)
        return true;
    uint64_t *marks = calloc(words, sizeof(*marks));
    if (marks == NULL)
        return false;
    free(f->marks);
    f->marks = marks;
    f->mark_words = words;
    return true;
}

/* ---- lists ---- */

/* Where a destination stands in a list that is in order of them. */
static size_t place_in_order(const struct matcher *m, beck_bytes destination)
{
    size_t low = 0, high = m->list_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(m->list[middle]->destination, destination) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static beck_status list_add(struct matcher *m, struct match_binding *b)
{
    if (m->list_count == m->list_cap) {
        size_t cap = m->list_cap == 0 ? 8 : m->list_cap * 2;
        struct match_binding **grown = realloc(m->list, cap * sizeof(struct match_binding *));
        if (grown == NULL)
            return BECK_ENOMEM;
        m->list = grown;
        m->list_cap = cap;
    }
    size_t at = m->list_count;
    if (m->type == MATCH_MODULUS_HASH) {
        at = place_in_order(m, b->destination);
        memmove(m->list + at + 1, m->list + at,
                (m->list_count - at) * sizeof(struct match_binding *));
    }
    b->index = at;
    m->list[at] = b;
    m->list_count++;
    return BECK_OK;
}

static void list_remove(struct matcher *m, struct match_binding *b)
{
    if (m->type != MATCH_MODULUS_HASH) {
        m->list[b->index] = m->list[--m->list_count];
        m->list[b->index]->index = b->index;
        return;
    }
    size_t at = place_in_order(m, b->destination);
    while (m->list[at] != b)
        at++;
    m->list_count--;
    memmove(m->list + at, m->list + at + 1, (m->list_count - at) * sizeof(struct match_binding *));
}

/* ---- keys ---- */

static struct match_node *find_key(const struct matcher *m, beck_bytes key)
{
    struct lookup_node *n = lookup_first(&m->nodes, lookup_hash(&m->nodes, key));
    for (; n != NULL; n = lookup_again(n)) {
        struct match_node *node = lookup_of(n, struct match_node, node);
        if (bytes_equal(bytes_of(node->word, node->len), key))
            return node;
    }
    return NULL;
}

static struct match_node *add_key(struct matcher *m, beck_bytes key)
{
    struct match_node *node = find_key(m, key);
    if (node != NULL)
        return node;
    node = calloc(1, sizeof(*node) + key.len);
    if (node == NULL || lookup_reserve(&m->nodes) != BECK_OK) {
        free(node);
        return NULL;
    }
    node->len = (uint8_t)key.len;
    if (key.len > 0)
        memcpy(node->word, key.data, key.len);
    lookup_add(&m->nodes, &node->node, lookup_hash(&m->nodes, key));
    return node;
}

void node_take(struct match_node *node, struct match_binding *b)
{
    b->place = node;
    b->next = node->bindings;
    b->at = &node->bindings;
    if (b->next != NULL)
        b->next->at = &b->next;
    node->bindings = b;
    node->uses++;
}

void node_drop(struct match_binding *b)
{
    *b->at = b->next;
    if (b->next != NULL)
        b->next->at = b->at;
    b->place->uses--;
}

static beck_status direct_add(struct matcher *m, struct match_binding *b)
{
    struct match_node *node = add_key(m, b->key);
    if (node == NULL)
        return BECK_ENOMEM;
    node_take(node, b);
    return BECK_OK;
}

static void direct_remove(struct matcher *m, struct match_binding *b)
{
    node_drop(b);
    if (b->place->uses > 0)
        return;
    lookup_remove(&m->nodes, &b->place->node);
    free(b->place);
}

/* ---- bindings ---- */

static uint64_t identity(const struct matcher *m, const void *value, beck_bytes key)
{
    return lookup_hash(&m->bindings, key) ^
           (uint64_t)(uintptr_t)value * UINT64_C(0x9e3779b97f4a7c15);
}

static bool tables_equal(beck_bytes a, beck_bytes b)
{
    struct table_value x = {.kind = TABLE_TABLE, .bytes = a}, y = {.kind = TABLE_TABLE, .bytes = b};
    return table_value_equal(&x, &y);
}

/* Always the same for the same bytes, unlike bytes_hash: FNV-1a, its bits spread. */
static uint64_t lasting_hash(beck_bytes b)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < b.len; i++)
        h = (h ^ ((const uint8_t *)b.data)[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t spread(uint64_t h)
{
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

static beck_bytes copy_part(uint8_t **at, beck_bytes part)
{
    beck_bytes copy = bytes_of(*at, part.len);
    if (part.len > 0)
        memcpy(*at, part.data, part.len);
    *at += part.len;
    return copy;
}

static struct match_binding *new_binding(const struct matcher *m, void *value,
                                         beck_bytes destination, beck_bytes key,
                                         beck_bytes arguments)
{
    if (m->type != MATCH_MODULUS_HASH)
        destination.len = 0;
    struct match_binding *b = malloc(sizeof(*b) + key.len + arguments.len + destination.len);
    if (b == NULL)
        return NULL;
    uint8_t *at = b->bytes;
    *b = (struct match_binding){.value = value};
    b->key = copy_part(&at, key);
    b->arguments = copy_part(&at, arguments);
    b->destination = copy_part(&at, destination);
    return b;
}

static beck_status attach(struct matcher *m, struct match_binding *b)
{
    switch (m->type) {
    case MATCH_DIRECT:
        return direct_add(m, b);
    case MATCH_TOPIC:
        return topic_add(m, b);
    case MATCH_HEADERS:
        return headers_add(m, b);
    default:
        return list_add(m, b);
    }
}

static void detach(struct matcher *m, struct match_binding *b)
{
    switch (m->type) {
    case MATCH_DIRECT:
        direct_remove(m, b);
        break;
    case MATCH_TOPIC:
        topic_remove(m, b);
        break;
    case MATCH_HEADERS:
        headers_remove(m, b);
        break;
    default:
        list_remove(m, b);
    }
}

beck_status matcher_add(struct matcher *m, void *value, beck_bytes destination, beck_bytes key,
                        beck_bytes arguments)
{
    struct match_binding *b = new_binding(m, value, destination, key, arguments);
    if (b == NULL)
        return BECK_ENOMEM;
    if (m->type == MATCH_CONSISTENT_HASH) {
        uint64_t weight = 1;
        (void)read_weight(key, &weight);
        b->weight = (uint32_t)(weight > WEIGHT_MAX ? WEIGHT_MAX : weight);
        b->destination_hash = spread(lasting_hash(destination));
        m->weighted |= m->list_count > 0 && m->list[0]->weight != b->weight;
    }
    if (lookup_reserve(&m->bindings) != BECK_OK || attach(m, b) != BECK_OK) {
        free(b);
        return BECK_ENOMEM;
    }
    lookup_add(&m->bindings, &b->node, identity(m, value, key));
    return BECK_OK;
}

bool matcher_remove(struct matcher *m, void *value, beck_bytes key, beck_bytes arguments)
{
    struct lookup_node *n = lookup_first(&m->bindings, identity(m, value, key));
    for (; n != NULL; n = lookup_again(n)) {
        struct match_binding *b = lookup_of(n, struct match_binding, node);
        if (b->value != value || !bytes_equal(b->key, key) ||
            !tables_equal(b->arguments, arguments))
            continue;
        lookup_remove(&m->bindings, n);
        detach(m, b);
        free(b);
        return true;
    }
    return false;
}

/* ---- matching ---- */

beck_status found_add(struct match_found *f, void *value)
{
    if (f->count == f->cap) {
        size_t cap = f->cap == 0 ? 16 : f->cap * 2;
        void **grown = realloc(f->values, cap * sizeof(void *));
        if (grown == NULL)
            return BECK_ENOMEM;
        f->values = grown;
        f->cap = cap;
    }
    f->values[f->count++] = value;
    return BECK_OK;
}

static beck_status direct_match(const struct matcher *m, beck_bytes key, struct match_found *found)
{
    const struct match_node *node = find_key(m, key);
    for (const struct match_binding *b = node == NULL ? NULL : node->bindings; b != NULL;
         b = b->next)
        if (found_add(found, b->value) != BECK_OK)
            return BECK_ENOMEM;
    return BECK_OK;
}

static beck_status all_match(const struct matcher *m, struct match_found *found)
{
    for (size_t i = 0; i < m->list_count; i++)
        if (found_add(found, m->list[i]->value) != BECK_OK)
            return BECK_ENOMEM;
    return BECK_OK;
}

/* What decides about a message, hashed. One that lacks it is as one that has nothing there. */
static uint64_t deciding_hash(const struct matcher *m, beck_bytes key, const struct properties *p)
{
    static const struct properties none;
    struct table_value v;
    uint8_t number[8];
    p = p == NULL ? &none : p;
    switch (m->by) {
    case BY_HEADER:
        if (!table_find(p->headers, m->by_header, &v))
            return 0;
        put_u64(number, (uint64_t)v.integer);
        return lasting_hash(v.bytes.len > 0 ? v.bytes : bytes_of(number, sizeof(number)));
    case BY_CORRELATION_ID:
        return lasting_hash(p->correlation_id);
    case BY_MESSAGE_ID:
        return lasting_hash(p->message_id);
    case BY_TIMESTAMP:
        put_u64(number, p->timestamp);
        return lasting_hash(bytes_of(number, sizeof(number)));
    default:
        return lasting_hash(key);
    }
}

/* -ln of a draw as a number between 0 and 1. Not libm's: the same on every machine, as what it decides is to
 * last. */
static double minus_log(uint64_t draw)
{
    draw |= 1;
    int exponent = __builtin_clzll(draw);
    double mantissa =
        (double)(draw << exponent) * 0x1p-63; /* 1 to 2; the draw is this / 2^(exponent + 1) */
    double s = (mantissa - 1) / (mantissa + 1), square = s * s;
    double log_mantissa =
        2 * s *
        (1 + square * (1. / 3 +
                       square * (1. / 5 + square * (1. / 7 + square * (1. / 9 + square / 11)))));
    return (exponent + 1) * 0.6931471805599453 - log_mantissa;
}

/* Each destination draws a number from its name and the message; the highest wins, a weight w being as good as
 * w draws (rendezvous hashing): who comes or goes takes or leaves only what is its own. */
static beck_status one_by_hash(const struct matcher *m, beck_bytes key, const struct properties *p,
                               struct match_found *found)
{
    const struct match_binding *winner = NULL;
    uint64_t decides = spread(deciding_hash(m, key, p)), highest = 0;
    double best = 0;
    for (size_t i = 0; i < m->list_count; i++) {
        const struct match_binding *b = m->list[i];
        uint64_t draw = spread(decides ^ b->destination_hash);
        /* The largest of w draws is distributed as one to the power of 1 / w. */
        double score = m->weighted ? minus_log(draw) / b->weight : 0;
        bool better = m->weighted ? score < best : draw > highest;
        if (winner == NULL || better) {
            winner = b;
            highest = draw;
            best = score;
        }
    }
    return winner == NULL ? BECK_OK : found_add(found, winner->value);
}

static uint64_t random_number(void)
{
    static _Thread_local struct rng rng;
    static _Thread_local bool seeded;
    if (!seeded) {
        rng_seed_system(&rng);
        seeded = true;
    }
    return rng_next(&rng);
}

beck_status matcher_match(const struct matcher *m, beck_bytes key,
                          const struct properties *properties, struct match_found *found)
{
    switch (m->type) {
    case MATCH_DIRECT:
        return direct_match(m, key, found);
    case MATCH_FANOUT:
        return all_match(m, found);
    case MATCH_TOPIC:
        return topic_match(m, key, found);
    case MATCH_HEADERS:
        return headers_match(m, properties, found);
    case MATCH_CONSISTENT_HASH:
        return one_by_hash(m, key, properties, found);
    default:
        break;
    }
    if (m->list_count == 0)
        return BECK_OK;
    uint64_t number = m->type == MATCH_RANDOM ? random_number() : spread(lasting_hash(key));
    return found_add(found, m->list[number % m->list_count]->value);
}
