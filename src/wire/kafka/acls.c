/*
 * DescribeAcls, CreateAcls and DeleteAcls over the rules of the server's users: see docs/kafka.md.
 *
 *   topic             rule of a bus     Read: read, Write: publish, Create: create, Delete, Alter,
 *                                       AlterConfigs: admin, Describe, DescribeConfigs: describe
 *   group             rule of a queue   Read: work, Delete, AlterConfigs: admin, Describe,
 *                                       DescribeConfigs: describe
 *   transactional id  rule of a queue   Write: work, Describe: describe; is described as a group
 *   cluster           rule of all       All: admin, Create: create of any topic; Describe and
 *                                       IdempotentWrite are everybody's, and not kept
 *
 * A prefix is a pattern with a * at its end. Rules that allow are all there are, from everywhere, and
 * for users that the server knows.
 */
#include "kafka/message/acls.h"
#include "wire/kafka/wire_impl.h"

#include <stdlib.h>

#define ANY 1 /* of filters, whatever they are about */
#define MATCH 2
#define LITERAL 3
#define PREFIXED 4
#define ALLOW 3
#define OP_ALL 2
#define CLUSTER_NAME "kafka-cluster"
#define PATTERN_MAX 1024
#define PRINCIPAL "User:"

/* A user's rules, copied. */
struct person {
    const char *name;
    struct access_rule *rules;
    size_t count;
    bool changed;
};

struct people {
    struct kafka_arena *arena;
    struct person *at;
    size_t count, cap;
    bool failed;
};

static int copy_user(void *ctx, const struct access_user *u)
{
    struct people *all = ctx;
    if (all->count == all->cap) {
        size_t cap = all->cap ? 2 * all->cap : 16;
        struct person *more = kafka_alloc_many(all->arena, cap, sizeof *more);
        if (!more)
            return all->failed = true;
        if (all->count)
            memcpy(more, all->at, all->count * sizeof *more);
        all->at = more;
        all->cap = cap;
    }
    struct person *p = &all->at[all->count++];
    p->name = kafka_copy(all->arena, bytes_of(u->name, strlen(u->name) + 1)).data;
    p->count = u->rule_count;
    p->rules = kafka_alloc_many(all->arena, u->rule_count + 1, sizeof *p->rules);
    all->failed = !p->name || !p->rules;
    for (size_t i = 0; i < p->count && !all->failed; i++) {
        const char *pattern = u->rules[i].pattern ? u->rules[i].pattern : "";
        p->rules[i] = u->rules[i];
        p->rules[i].pattern = kafka_copy(all->arena, bytes_of(pattern, strlen(pattern) + 1)).data;
        all->failed = !p->rules[i].pattern;
    }
    return all->failed;
}

static bool list(struct kafka_request *r, struct people *out)
{
    *out = (struct people){.arena = request_arena(r)};
    return access_list_users(r->wire->context.access, copy_user, out, NULL) == BECK_OK &&
           !out->failed;
}

/* ---- what a rule is in Kafka's words ---- */

struct binding {
    struct person *person;
    struct access_rule *rule;
    uint32_t right;
    int8_t resource, pattern, operation;
    beck_bytes name;
};

static const struct meaning {
    enum access_kind kind; /* ACCESS_SERVER: of everything */
    uint32_t right;
    int8_t resource, operation;
} meanings[] = {
    {ACCESS_BUS, ACCESS_READ, KAFKA_RESOURCE_TOPIC, KAFKA_OP_READ},
    {ACCESS_BUS, ACCESS_PUBLISH, KAFKA_RESOURCE_TOPIC, KAFKA_OP_WRITE},
    {ACCESS_BUS, ACCESS_CREATE, KAFKA_RESOURCE_TOPIC, KAFKA_OP_CREATE},
    {ACCESS_BUS, ACCESS_DESCRIBE, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE},
    {ACCESS_BUS, ACCESS_DESCRIBE, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE_CONFIGS},
    {ACCESS_BUS, ACCESS_ADMIN, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DELETE},
    {ACCESS_BUS, ACCESS_ADMIN, KAFKA_RESOURCE_TOPIC, KAFKA_OP_ALTER},
    {ACCESS_BUS, ACCESS_ADMIN, KAFKA_RESOURCE_TOPIC, KAFKA_OP_ALTER_CONFIGS},
    {ACCESS_QUEUE, ACCESS_WORK, KAFKA_RESOURCE_GROUP, KAFKA_OP_READ},
    {ACCESS_QUEUE, ACCESS_READ, KAFKA_RESOURCE_GROUP, KAFKA_OP_DESCRIBE},
    {ACCESS_QUEUE, ACCESS_DESCRIBE, KAFKA_RESOURCE_GROUP, KAFKA_OP_DESCRIBE},
    {ACCESS_QUEUE, ACCESS_DESCRIBE, KAFKA_RESOURCE_GROUP, KAFKA_OP_DESCRIBE_CONFIGS},
    {ACCESS_QUEUE, ACCESS_ADMIN, KAFKA_RESOURCE_GROUP, KAFKA_OP_DELETE},
    {ACCESS_QUEUE, ACCESS_ADMIN, KAFKA_RESOURCE_GROUP, KAFKA_OP_ALTER_CONFIGS},
    {ACCESS_SERVER, ACCESS_ADMIN, KAFKA_RESOURCE_CLUSTER, OP_ALL},
    {ACCESS_SERVER, ACCESS_CREATE, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_CREATE},
    {ACCESS_SERVER, ACCESS_READ, KAFKA_RESOURCE_TOPIC, KAFKA_OP_READ},
    {ACCESS_SERVER, ACCESS_PUBLISH, KAFKA_RESOURCE_TOPIC, KAFKA_OP_WRITE},
    {ACCESS_SERVER, ACCESS_WORK, KAFKA_RESOURCE_GROUP, KAFKA_OP_READ},
};

#define MEANINGS (sizeof meanings / sizeof *meanings)

static void name_binding(struct binding *b)
{
    const char *pattern = b->rule->pattern;
    size_t len = strlen(pattern);
    bool prefix = len > 1 && strchr(pattern, '*') == pattern + len - 1;
    b->pattern = prefix ? PREFIXED : LITERAL;
    b->name = bytes_of(pattern, prefix ? len - 1 : len);
    if (b->rule->kind == ACCESS_SERVER)
        b->name = beck_str(b->resource == KAFKA_RESOURCE_CLUSTER ? CLUSTER_NAME : "*");
}

struct filter { /* name, principal, host: data NULL for any */
    int8_t resource, pattern, operation, permission;
    beck_bytes name, principal, host;
};

static bool name_fits(const struct filter *f, const struct binding *b)
{
    if (f->pattern == MATCH && f->name.data) {
        if (b->pattern == PREFIXED)
            return f->name.len >= b->name.len &&
                   memcmp(f->name.data, b->name.data, b->name.len) == 0;
        return bytes_equal(f->name, b->name) || bytes_equal_text(b->name, "*");
    }
    return (f->pattern == ANY || f->pattern == MATCH || f->pattern == b->pattern) &&
           (!f->name.data || bytes_equal(f->name, b->name));
}

static bool is_principal(beck_bytes principal, const char *user)
{
    size_t len = strlen(PRINCIPAL);
    return principal.len == len + strlen(user) && memcmp(principal.data, PRINCIPAL, len) == 0 &&
           memcmp((const char *)principal.data + len, user, principal.len - len) == 0;
}

static bool fits(const struct filter *f, const struct binding *b)
{
    return (f->resource == ANY || f->resource == b->resource) && name_fits(f, b) &&
           (!f->principal.data || is_principal(f->principal, b->person->name)) &&
           (!f->host.data || bytes_equal_text(f->host, "*")) &&
           (f->operation == ANY || f->operation == b->operation) &&
           (f->permission == ANY || f->permission == ALLOW);
}

/* False of `each` ends the walk. */
static void each_binding(struct people *all, const struct filter *f,
                         bool (*each)(void *ctx, const struct binding *b), void *ctx)
{
    for (size_t i = 0; i < all->count; i++)
        for (size_t n = 0; n < all->at[i].count; n++)
            for (size_t m = 0; m < MEANINGS; m++) {
                struct access_rule *rule = &all->at[i].rules[n];
                struct binding b = {.person = &all->at[i],
                                    .rule = rule,
                                    .right = meanings[m].right,
                                    .resource = meanings[m].resource,
                                    .operation = meanings[m].operation};
                if (meanings[m].kind != rule->kind || !(rule->rights & b.right))
                    continue;
                name_binding(&b);
                if (fits(f, &b) && !each(ctx, &b))
                    return;
            }
}

static beck_bytes principal_of(struct kafka_arena *a, const struct person *p)
{
    char text[sizeof PRINCIPAL + ACCESS_NAME_MAX];
    size_t len = strlen(PRINCIPAL), n = strlen(p->name);
    memcpy(text, PRINCIPAL, len);
    memcpy(text + len, p->name, n);
    return kafka_copy(a, bytes_of(text, len + n));
}

static bool count_one(void *ctx, const struct binding *b)
{
    (void)b;
    ++*(size_t *)ctx;
    return true;
}

/* ---- who may ---- */

/* 0, or the error of the whole request. */
static int check(struct kafka_request *r)
{
    if (access_user_count(r->wire->context.access) == 0)
        return KAFKA_SECURITY_DISABLED;
    return request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_ALTER, beck_str(""))
               ? KAFKA_NONE
               : KAFKA_CLUSTER_AUTHORIZATION_FAILED;
}

static beck_bytes text_of(int code)
{
    if (code == KAFKA_SECURITY_DISABLED)
        return beck_str("there is no user, so there are no rules: see beck user");
    return code ? beck_str("rules are for those who administer the server") : beck_str(NULL);
}

/* ---- describing ---- */

struct description {
    struct kafka_describe_acls_response a;
    struct kafka_arena *arena;
    bool failed;
};

static bool describe_one(void *ctx, const struct binding *b)
{
    struct description *d = ctx;
    struct kafka_describe_acls_response_resource *out = &d->a.resources.at[d->a.resources.count];
    out->resource_type = b->resource;
    out->resource_name = b->name;
    out->pattern_type = b->pattern;
    d->failed = !kafka_array(d->arena, &out->acls, 1);
    if (d->failed)
        return false;
    out->acls.at[0] =
        (struct kafka_describe_acls_response_acl){.principal = principal_of(d->arena, b->person),
                                                  .host = beck_str("*"),
                                                  .operation = b->operation,
                                                  .permission_type = ALLOW};
    d->a.resources.count++;
    return true;
}

static void describe(struct kafka_request *r)
{
    const struct kafka_describe_acls_request *q = request_body(r);
    struct filter f = {q->resource_type_filter, q->pattern_type_filter,  q->operation,
                       q->permission_type,      q->resource_name_filter, q->principal_filter,
                       q->host_filter};
    struct description d = {.arena = request_arena(r)};
    struct people all;
    size_t count = 0;
    d.a.error_code = (int16_t)check(r);
    d.a.error_message = text_of(d.a.error_code);
    if (!d.a.error_code) {
        d.failed = !list(r, &all);
        if (!d.failed)
            each_binding(&all, &f, count_one, &count);
        d.failed = d.failed || !kafka_array(d.arena, &d.a.resources, count);
        d.a.resources.count = 0;
        if (!d.failed)
            each_binding(&all, &f, describe_one, &d);
    }
    if (d.failed)
        request_fail(r, "there is no memory for an answer");
    else
        request_answer(r, &d.a);
}

void handle_describe_acls(struct kafka_request *r)
{
    request_defer(r, describe);
}

/* ---- creating ---- */

typedef struct kafka_create_acls_request_creation creation;

/* The kind and the rights; false: there is no such thing here. */
static bool translate(const creation *c, enum access_kind *kind, uint32_t *rights)
{
    int8_t op = c->operation;
    bool changes = op == KAFKA_OP_DELETE || op == KAFKA_OP_ALTER || op == KAFKA_OP_ALTER_CONFIGS;
    bool looks = op == KAFKA_OP_DESCRIBE || op == KAFKA_OP_DESCRIBE_CONFIGS;
    *kind = ACCESS_QUEUE;
    switch (c->resource_type) {
    case KAFKA_RESOURCE_TOPIC:
        *kind = ACCESS_BUS;
        *rights = op == KAFKA_OP_READ     ? ACCESS_READ
                  : op == KAFKA_OP_WRITE  ? ACCESS_PUBLISH
                  : op == KAFKA_OP_CREATE ? ACCESS_CREATE
                  : looks                 ? ACCESS_DESCRIBE
                  : changes               ? ACCESS_ADMIN
                  : op == OP_ALL          ? ACCESS_READ | ACCESS_PUBLISH | ACCESS_ADMIN
                                          : 0;
        return *rights != 0;
    case KAFKA_RESOURCE_GROUP:
        *rights = op == KAFKA_OP_READ ? ACCESS_WORK
                  : looks             ? ACCESS_DESCRIBE
                  : changes           ? ACCESS_ADMIN
                  : op == OP_ALL      ? ACCESS_READ | ACCESS_WORK | ACCESS_ADMIN
                                      : 0;
        return *rights != 0;
    case KAFKA_RESOURCE_TRANSACTIONAL_ID:
        *rights = op == KAFKA_OP_WRITE ? ACCESS_WORK
                  : looks              ? ACCESS_DESCRIBE
                  : op == OP_ALL       ? ACCESS_READ | ACCESS_WORK
                                       : 0;
        return *rights != 0;
    case KAFKA_RESOURCE_CLUSTER:
        *kind = ACCESS_SERVER;
        *rights = op == OP_ALL ? ACCESS_ADMIN : op == KAFKA_OP_CREATE ? ACCESS_CREATE : 0;
        return *rights || op == KAFKA_OP_DESCRIBE || op == KAFKA_OP_IDEMPOTENT_WRITE;
    default:
        return false;
    }
}

static bool pattern_of(const creation *c, char out[PATTERN_MAX])
{
    beck_bytes name = c->resource_name;
    bool prefix = c->resource_pattern_type == PREFIXED;
    bool everything = !prefix && bytes_equal_text(name, "*");
    if ((!prefix && c->resource_pattern_type != LITERAL) || name.len == 0 ||
        name.len + 2 > PATTERN_MAX || memchr(name.data, 0, name.len) ||
        (!everything && memchr(name.data, '*', name.len)))
        return false;
    memcpy(out, name.data, name.len);
    out[name.len] = prefix ? '*' : 0;
    out[name.len + prefix] = 0;
    return true;
}

static struct person *find_person(struct people *all, beck_bytes principal)
{
    for (size_t i = 0; i < all->count; i++)
        if (is_principal(principal, all->at[i].name))
            return &all->at[i];
    return NULL;
}

/* There is room for one more rule of each user. NULL, or why not. */
static const char *create_one(struct kafka_request *r, const creation *c)
{
    enum access_kind kind;
    uint32_t rights;
    char pattern[PATTERN_MAX];
    struct people all;
    beck_error err;
    if (c->permission_type != ALLOW || !bytes_equal_text(c->host, "*"))
        return "rules of this server only allow, and from every host";
    if (!translate(c, &kind, &rights))
        return "there is no right for this operation by itself: see docs/kafka.md";
    if (kind != ACCESS_SERVER && !pattern_of(c, pattern))
        return "a rule is for a name, for a prefix, or for all (*)";
    if (!list(r, &all))
        return "the users cannot be read";
    struct person *p = find_person(&all, c->principal);
    if (!p)
        return "there is no such user on this server: see beck user";
    if (!rights) /* everybody's */
        return NULL;
    size_t i = 0;
    while (i < p->count && (p->rules[i].kind != kind ||
                            (kind != ACCESS_SERVER && strcmp(p->rules[i].pattern, pattern) != 0)))
        i++;
    if (i == p->count)
        p->rules[p->count++] = (struct access_rule){.kind = kind, .pattern = pattern};
    p->rules[i].rights |= rights;
    if (!access_put_user(r->wire->context.access, p->name, beck_str(NULL), p->rules, p->count,
                         &err))
        return NULL;
    const char *why = kafka_copy(request_arena(r), bytes_of(err.text, strlen(err.text) + 1)).data;
    return why ? why : "there is no memory for a rule";
}

static void create(struct kafka_request *r)
{
    const struct kafka_create_acls_request *q = request_body(r);
    struct kafka_create_acls_response a;
    int code = check(r);
    kafka_create_acls_response_init(&a);
    if (!kafka_array(request_arena(r), &a.results, q->creations.count)) {
        request_fail(r, "there is no memory for an answer");
        return;
    }
    mutex_lock(&r->wire->acls_lock);
    for (size_t i = 0; i < q->creations.count; i++) {
        const char *why = code ? NULL : create_one(r, &q->creations.at[i]);
        a.results.at[i].error_code = (int16_t)(why ? KAFKA_INVALID_REQUEST : code);
        a.results.at[i].error_message = why ? beck_str(why) : text_of(code);
    }
    mutex_unlock(&r->wire->acls_lock);
    request_answer(r, &a);
}

void handle_create_acls(struct kafka_request *r)
{
    request_defer(r, create);
}

/* ---- deleting ---- */

struct deletion {
    struct kafka_delete_acls_response_filter *out;
    struct kafka_arena *arena;
};

static bool delete_one(void *ctx, const struct binding *b)
{
    struct deletion *d = ctx;
    d->out->matching_acls.at[d->out->matching_acls.count++] =
        (struct kafka_delete_acls_response_matching_acl){.resource_type = b->resource,
                                                         .resource_name = b->name,
                                                         .pattern_type = b->pattern,
                                                         .principal =
                                                             principal_of(d->arena, b->person),
                                                         .host = beck_str("*"),
                                                         .operation = b->operation,
                                                         .permission_type = ALLOW};
    b->person->changed = true;
    return true;
}

/* What was found is taken away behind the walk, as several operations may stand for one right. */
static bool take_away(void *ctx, const struct binding *b)
{
    uint32_t *taken = ctx;
    taken[b->rule - b->person->rules] |= b->right;
    return true;
}

static beck_status store(struct kafka_request *r, struct people *all, const struct filter *f)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < all->count && !status; i++) {
        struct person *p = &all->at[i];
        struct people one = {.at = p, .count = 1};
        uint32_t taken[ACCESS_RULES_MAX] = {0};
        size_t kept = 0;
        if (!p->changed || p->count > ACCESS_RULES_MAX)
            continue;
        each_binding(&one, f, take_away, taken);
        for (size_t n = 0; n < p->count; n++) {
            struct access_rule rule = p->rules[n];
            rule.rights &= ~taken[n];
            if (rule.rights)
                p->rules[kept++] = rule;
        }
        status =
            access_put_user(r->wire->context.access, p->name, beck_str(NULL), p->rules, kept, NULL);
    }
    return status;
}

static bool delete_by(struct kafka_request *r, const struct kafka_delete_acls_request_filter *q,
                      struct kafka_delete_acls_response_filter *out)
{
    struct filter f = {q->resource_type_filter, q->pattern_type_filter,  q->operation,
                       q->permission_type,      q->resource_name_filter, q->principal_filter,
                       q->host_filter};
    struct deletion d = {.out = out, .arena = request_arena(r)};
    struct people all;
    size_t count = 0;
    if (!list(r, &all))
        return false;
    each_binding(&all, &f, count_one, &count);
    if (!kafka_array(d.arena, &out->matching_acls, count))
        return false;
    out->matching_acls.count = 0;
    each_binding(&all, &f, delete_one, &d);
    if (store(r, &all, &f)) {
        out->error_code = KAFKA_UNKNOWN_SERVER_ERROR;
        out->error_message = beck_str("the rules could not be changed");
        out->matching_acls.count = 0;
    }
    return true;
}

static void delete_all(struct kafka_request *r)
{
    const struct kafka_delete_acls_request *q = request_body(r);
    struct kafka_delete_acls_response a;
    int code = check(r);
    kafka_delete_acls_response_init(&a);
    bool ok = kafka_array(request_arena(r), &a.filter_results, q->filters.count);
    mutex_lock(&r->wire->acls_lock);
    for (size_t i = 0; i < q->filters.count && ok; i++) {
        a.filter_results.at[i].error_code = (int16_t)code;
        a.filter_results.at[i].error_message = text_of(code);
        ok = code || delete_by(r, &q->filters.at[i], &a.filter_results.at[i]);
    }
    mutex_unlock(&r->wire->acls_lock);
    if (ok)
        request_answer(r, &a);
    else
        request_fail(r, "there is no memory for an answer");
}

void handle_delete_acls(struct kafka_request *r)
{
    request_defer(r, delete_all);
}
