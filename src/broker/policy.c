/*
 * Policies and what is in force: see policy.h.
 *
 * One table says of each setting what it may be, who may set it, for which queues a policy that has it does not
 * apply at all, and how an operator's value and a user's become one.
 */
#include "broker/policy.h"

#include "base/error.h"
#include "broker/regex.h"
#include "event/json.h"

#include <stdlib.h>

#define CLASSIC (1u << QUEUE_CLASSIC)
#define QUORUM (1u << QUEUE_QUORUM)
#define STREAM (1u << QUEUE_STREAM)

#define DEFINITION_MAX (64u << 10)
#define DELIVERY_LIMIT_DEFAULT 20
#define QUORUM_PRIORITY_MAX 31

/* ---- settings ---- */

enum value_rule { ANY_TEXT, SOME_TEXT, CHOICE, NUMBER, AGE, IGNORED };
enum merge_rule { SMALLER, LARGER, OPERATORS, LIMIT };

static const struct key {
    const char *name;
    enum value_rule rule;
    int64_t min, max;
    const char *choices; /* with a blank behind each */
    const char *error;   /* behind the value */
    bool operators;      /* operator policies may have it, too */
    enum merge_rule merge;
    unsigned unknown_to; /* kinds of queue */
} keys[] = {
    /* In alphabetical order, as they are shown. */
    {"alternate-exchange", ANY_TEXT, 0, 0, NULL, "is not a valid alternate exchange name", false,
     OPERATORS, 0},
    {"consumer-disconnected-timeout", NUMBER, 0, INT64_MAX, NULL,
     "is not a valid consumer disconnected timeout", false, SMALLER, 0},
    {"consumer-timeout", NUMBER, 0, INT64_MAX, NULL, "is not a valid consumer timeout", false,
     SMALLER, 0},
    {"dead-letter-exchange", ANY_TEXT, 0, 0, NULL, "is not a valid dead letter exchange name",
     false, OPERATORS, STREAM},
    {"dead-letter-routing-key", ANY_TEXT, 0, 0, NULL, "is not a valid dead letter routing key",
     false, OPERATORS, STREAM},
    {"dead-letter-strategy", CHOICE, 0, 0, "at-most-once at-least-once ",
     "is not a valid dead letter strategy", false, OPERATORS, CLASSIC | STREAM},
    {"delayed-retry-max", NUMBER, 1, INT64_MAX, NULL,
     "is not a valid delayed retry maximum delay. Must be a positive integer", true, SMALLER, 0},
    {"delayed-retry-min", NUMBER, 1, INT64_MAX, NULL,
     "is not a valid delayed retry minimum delay. Must be a positive integer", true, LARGER, 0},
    {"delayed-retry-type", CHOICE, 0, 0, "all failed returned disabled ",
     "is not a valid delayed retry type. Must be one of: all, failed, returned, disabled", true,
     OPERATORS, 0},
    {"delivery-limit", NUMBER, INT64_MIN, INT64_MAX, NULL, "is not a valid delivery limit", true,
     LIMIT, CLASSIC | STREAM},
    {"expires", NUMBER, 1, INT64_MAX, NULL, "is not a valid queue expiry", true, SMALLER, STREAM},
    {"ha-mode", IGNORED, 0, 0, NULL, NULL, true, OPERATORS, QUORUM | STREAM},
    {"ha-params", IGNORED, 0, 0, NULL, NULL, true, OPERATORS, QUORUM | STREAM},
    {"ha-promote-on-failure", IGNORED, 0, 0, NULL, NULL, true, OPERATORS, QUORUM | STREAM},
    {"ha-promote-on-shutdown", IGNORED, 0, 0, NULL, NULL, true, OPERATORS, QUORUM | STREAM},
    {"ha-sync-batch-size", IGNORED, 0, 0, NULL, NULL, true, OPERATORS, 0},
    {"ha-sync-mode", IGNORED, 0, 0, NULL, NULL, true, OPERATORS, QUORUM | STREAM},
    {"initial-cluster-size", NUMBER, 0, INT64_MAX, NULL, "is not a valid cluster size", false,
     OPERATORS, CLASSIC | QUORUM},
    {"max-age", AGE, 0, 0, NULL, "is not a valid max age", false, OPERATORS, CLASSIC | QUORUM},
    {"max-in-memory-bytes", NUMBER, 0, INT64_MAX, NULL, "is not a valid maximum memory in bytes",
     true, SMALLER, CLASSIC | STREAM},
    {"max-in-memory-length", NUMBER, 0, INT64_MAX, NULL, "is not a valid maximum memory in bytes",
     true, SMALLER, CLASSIC | STREAM},
    {"max-length", NUMBER, 0, INT64_MAX, NULL, "is not a valid maximum length", true, SMALLER,
     STREAM},
    {"max-length-bytes", NUMBER, 0, INT64_MAX, NULL, "is not a valid maximum length in bytes", true,
     SMALLER, 0},
    {"member-placement-tag", SOME_TEXT, 0, 0, NULL,
     "is not a valid member-placement-tag value. Must be a non-empty string", true, OPERATORS, 0},
    {"message-ttl", NUMBER, 0, INT64_MAX, NULL, "is not a valid message TTL", true, SMALLER,
     STREAM},
    {"overflow", CHOICE, 0, 0, "drop-head reject-publish reject-publish-dlx ",
     "is not a valid overflow value", true, OPERATORS, STREAM},
    {"queue-leader-locator", CHOICE, 0, 0, "client-local balanced random least-leaders ",
     "is not a valid queue leader locator value", false, OPERATORS, 0},
    {"queue-master-locator", IGNORED, 0, 0, NULL, NULL, true, OPERATORS, QUORUM | STREAM},
    {"queue-mode", CHOICE, 0, 0, "default lazy ", "is not a valid queue-mode value", false,
     OPERATORS, QUORUM | STREAM},
    {"queue-version", NUMBER, 1, 2, NULL, "is not a valid queue-version value", true, OPERATORS, 0},
    {"stream-filter-size-bytes", NUMBER, 16, 255, NULL,
     "is not a valid filter size. Valid range is 16-255", false, OPERATORS, 0},
    {"stream-max-segment-size-bytes", NUMBER, 0, 3000000000, NULL, "is not a valid segment size",
     false, OPERATORS, CLASSIC | QUORUM},
    {"target-group-size", NUMBER, 1, INT64_MAX, NULL, "is not a valid qq target count value", true,
     LARGER, CLASSIC | STREAM},
};
#define KEYS (sizeof keys / sizeof *keys)

struct setting {
    bool given;
    int64_t number;
    beck_bytes text; /* of a string */
    beck_bytes raw;  /* JSON */
};

/* By key. */
struct definition {
    struct setting of[KEYS];
};

/* The value as RabbitMQ's messages show it. */
static beck_status refuse_setting(const struct setting *s, bool is_text, const char *error,
                                  beck_error *err)
{
    if (is_text)
        return error_set(err, BECK_EINVAL, "<<\"%.*s\">> %s", (int)s->text.len,
                         (const char *)s->text.data, error);
    return error_set(err, BECK_EINVAL, "%.*s %s", (int)s->raw.len, (const char *)s->raw.data,
                     error);
}

static bool is_choice(const char *choices, beck_bytes text)
{
    for (size_t n; *choices != 0; choices += n + 1) {
        n = strcspn(choices, " ");
        if (bytes_equal(bytes_of(choices, n), text))
            return true;
    }
    return false;
}

static bool read_integer(beck_bytes raw, int64_t *out)
{
    bool negative = raw.len > 0 && *(const char *)raw.data == '-';
    uint64_t number;
    if (negative)
        raw = bytes_of((const char *)raw.data + 1, raw.len - 1);
    if (!bytes_to_u64(raw, &number) || number > INT64_MAX)
        return false;
    *out = negative ? -(int64_t)number : (int64_t)number;
    return true;
}

static beck_status check_setting(const struct key *k, struct setting *s, enum json_kind kind,
                                 beck_error *err)
{
    bool is_text = kind == JSON_STRING, ok = true;
    switch (k->rule) {
    case IGNORED:
        break;
    case ANY_TEXT:
        ok = is_text;
        break;
    case SOME_TEXT:
        ok = is_text && s->text.len > 0;
        break;
    case CHOICE:
        ok = is_text && is_choice(k->choices, s->text);
        break;
    case AGE:
        ok = is_text && max_age_read(s->text, &s->number);
        break;
    case NUMBER:
        ok = kind == JSON_NUMBER && read_integer(s->raw, &s->number) && s->number >= k->min &&
             s->number <= k->max;
        break;
    }
    return ok ? BECK_OK : refuse_setting(s, is_text, k->error, err);
}

static const struct key *find_key(beck_bytes name, bool user)
{
    for (size_t i = 0; i < KEYS; i++)
        if (bytes_equal_text(name, keys[i].name) && (user || keys[i].operators))
            return &keys[i];
    return NULL;
}

/* The value behind a member's name. Strings are turned into their text in `texts`. */
static beck_status read_setting(struct json_reader *r, const uint8_t *begin, uint8_t *texts,
                                struct setting *s, enum json_kind *kind, beck_error *err)
{
    struct json_reader look = *r;
    struct json_token token;
    beck_status status = json_next(&look, &token, err);
    if (status == BECK_OK)
        status = json_skip_value(r, &s->raw, err);
    if (status != BECK_OK)
        return status;
    *kind = token.kind;
    if (token.kind != JSON_STRING)
        return BECK_OK;
    uint8_t *text = texts + ((const uint8_t *)token.raw.data - begin);
    s->text = bytes_of(text, json_unescape_to(&token, text));
    return BECK_OK;
}

static beck_status read_member(struct json_reader *r, const struct json_token *name,
                               const uint8_t *begin, uint8_t *texts, bool user,
                               struct definition *out, beck_error *err)
{
    struct setting s = {.given = true};
    enum json_kind kind = JSON_NULL;
    beck_status status = read_setting(r, begin, texts, &s, &kind, err);
    if (status != BECK_OK)
        return status;
    const struct key *k = find_key(name->raw, user);
    if (k == NULL) {
        bool is_text = kind == JSON_STRING;
        beck_bytes value = is_text ? s.text : s.raw;
        return error_set(err, BECK_EINVAL,
                         "[{<<\"%.*s\">>,%s%.*s%s}] are not recognised policy settings",
                         (int)name->raw.len, (const char *)name->raw.data, is_text ? "<<\"" : "",
                         (int)value.len, (const char *)value.data, is_text ? "\">>" : "");
    }
    if (out->of[k - keys].given)
        return error_set(err, BECK_EINVAL, "[<<\"%s\">>] duplicate keys not allowed", k->name);
    out->of[k - keys] = s;
    return check_setting(k, &out->of[k - keys], kind, err);
}

static beck_status check_retry(const struct definition *d, beck_error *err)
{
    const struct setting *max = NULL, *min = NULL, *type = NULL;
    for (size_t i = 0; i < KEYS; i++) {
        max = strcmp(keys[i].name, "delayed-retry-max") == 0 ? &d->of[i] : max;
        min = strcmp(keys[i].name, "delayed-retry-min") == 0 ? &d->of[i] : min;
        type = strcmp(keys[i].name, "delayed-retry-type") == 0 ? &d->of[i] : type;
    }
    if (type->given && !min->given && !bytes_equal_text(type->text, "disabled"))
        return error_set(err, BECK_EINVAL,
                         "delayed-retry-min is required when delayed-retry-type is %.*s",
                         (int)type->text.len, (const char *)type->text.data);
    if (min->given && max->given && max->number < min->number)
        return error_set(
            err, BECK_EINVAL,
            "delayed-retry-max (%lld) must not be smaller than delayed-retry-min (%lld)",
            (long long)max->number, (long long)min->number);
    return BECK_OK;
}

/* texts: memory of json.len bytes. `out` refers to it and to json. */
static beck_status read_definition(beck_bytes json, uint8_t *texts, bool user,
                                   struct definition *out, beck_error *err)
{
    struct json_reader r;
    struct json_token token;
    size_t count = 0;
    memset(out, 0, sizeof(*out));
    json_reader_init(&r, json);
    beck_status status = json_next(&r, &token, err);
    if (status == BECK_OK && token.kind != JSON_OBJECT)
        return error_set(err, BECK_EINVAL, "definition must be a dictionary: %.*s", (int)json.len,
                         (const char *)json.data);
    for (; status == BECK_OK; count++) {
        status = json_next(&r, &token, err);
        if (status != BECK_OK || token.kind != JSON_NAME)
            break;
        status = read_member(&r, &token, json.data, texts, user, out, err);
    }
    if (status == BECK_OK)
        status = json_next(&r, &token, err);
    if (status != BECK_OK)
        return status;
    return count == 0 ? error_set(err, BECK_EINVAL, "no policy provided") : check_retry(out, err);
}

/* ---- policies ---- */

static const struct {
    const char *name;
    unsigned kinds;
    bool exchanges;
} applies[] = {
    {"all", CLASSIC | QUORUM | STREAM, true},
    {"queues", CLASSIC | QUORUM | STREAM, false},
    {"exchanges", 0, true},
    {"classic_queues", CLASSIC, false},
    {"quorum_queues", QUORUM, false},
    {"streams", STREAM, false},
};
#define APPLIES (sizeof applies / sizeof *applies)

struct policy {
    beck_bytes name;
    struct regex *pattern;
    int64_t priority;
    unsigned kinds; /* of queues that it applies to */
    bool exchanges;
    struct definition definition;
    uint8_t bytes[]; /* the name, the definition, its texts */
};

struct policy_list {
    struct policy **of; /* the highest priority first, then by name */
    size_t count, cap;
};

struct policies {
    struct policy_list user, operator;
};

static void policy_free(struct policy *p)
{
    if (p == NULL)
        return;
    regex_free(p->pattern);
    free(p);
}

static beck_status read_apply_to(beck_bytes apply_to, struct policy *p, beck_error *err)
{
    for (size_t i = 0; i < APPLIES; i++) {
        if (!bytes_equal_text(apply_to, applies[i].name) && (i > 0 || apply_to.len > 0))
            continue;
        p->kinds = applies[i].kinds;
        p->exchanges = applies[i].exchanges;
        return BECK_OK;
    }
    return error_set(err, BECK_EINVAL,
                     "apply-to '%.*s' unrecognised; should be one of: 'queues', 'classic_queues',  "
                     "'quorum_queues', 'streams', 'exchanges', or 'all'",
                     (int)apply_to.len, (const char *)apply_to.data);
}

static beck_status read_pattern(beck_bytes pattern, struct policy *p, beck_error *err)
{
    beck_error why = {0};
    p->pattern = regex_new(pattern, &why);
    if (p->pattern != NULL)
        return BECK_OK;
    if (why.code == BECK_EINVAL)
        return error_set(err, BECK_EINVAL,
                         "pattern should be regular expression but is invalid: %s", why.text);
    return error_set(err, why.code == BECK_ELIMIT ? BECK_EINVAL : why.code, "pattern %s", why.text);
}

static beck_status policy_new(const struct policy_text *text, bool user, struct policy **out,
                              beck_error *err)
{
    *out = NULL;
    if (text->definition.len > DEFINITION_MAX)
        return error_set(err, BECK_EINVAL, "definition must not exceed %u bytes", DEFINITION_MAX);
    struct policy *p = calloc(1, sizeof(*p) + text->name.len + 2 * text->definition.len);
    if (p == NULL)
        return error_set(err, BECK_ENOMEM, "no memory for a policy");
    uint8_t *json = p->bytes + text->name.len;
    if (text->name.len > 0)
        memcpy(p->bytes, text->name.data, text->name.len);
    if (text->definition.len > 0)
        memcpy(json, text->definition.data, text->definition.len);
    p->name = bytes_of(p->bytes, text->name.len);
    p->priority = text->priority;
    beck_status status = read_pattern(text->pattern, p, err);
    if (status == BECK_OK)
        status = read_apply_to(text->apply_to, p, err);
    if (status == BECK_OK)
        status = read_definition(bytes_of(json, text->definition.len), json + text->definition.len,
                                 user, &p->definition, err);
    if (status == BECK_OK)
        *out = p;
    else
        policy_free(p);
    return status;
}

beck_status policy_check(const struct policy_text *text, bool user, beck_error *err)
{
    struct policy *p;
    beck_status status = policy_new(text, user, &p, err);
    policy_free(p);
    return status;
}

struct policies *policies_new(void)
{
    return calloc(1, sizeof(struct policies));
}

static void list_free(struct policy_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        policy_free(l->of[i]);
    free(l->of);
}

void policies_free(struct policies *p)
{
    if (p == NULL)
        return;
    list_free(&p->user);
    list_free(&p->operator);
    free(p);
}

static bool list_remove(struct policy_list *l, beck_bytes name)
{
    for (size_t i = 0; i < l->count; i++) {
        if (!bytes_equal(l->of[i]->name, name))
            continue;
        policy_free(l->of[i]);
        l->count--;
        memmove(l->of + i, l->of + i + 1, (l->count - i) * sizeof(struct policy *));
        return true;
    }
    return false;
}

static bool list_reserve(struct policy_list *l)
{
    if (l->count < l->cap)
        return true;
    size_t cap = l->cap == 0 ? 8 : l->cap * 2;
    struct policy **grown = realloc(l->of, cap * sizeof(struct policy *));
    if (grown == NULL)
        return false;
    l->of = grown;
    l->cap = cap;
    return true;
}

static bool comes_before(const struct policy *a, const struct policy *b)
{
    return a->priority != b->priority ? a->priority > b->priority
                                      : bytes_compare(a->name, b->name) < 0;
}

beck_status policies_put(struct policies *p, bool user, const struct policy_text *text,
                         beck_error *err)
{
    struct policy_list *l = user ? &p->user : &p->operator;
    struct policy *added;
    beck_status status = policy_new(text, user, &added, err);
    if (status != BECK_OK)
        return status;
    if (!list_reserve(l)) {
        policy_free(added);
        return error_set(err, BECK_ENOMEM, "no memory for a policy");
    }
    list_remove(l, added->name);
    size_t at = l->count++;
    for (; at > 0 && comes_before(added, l->of[at - 1]); at--)
        l->of[at] = l->of[at - 1];
    l->of[at] = added;
    return BECK_OK;
}

bool policies_remove(struct policies *p, bool user, beck_bytes name)
{
    return list_remove(user ? &p->user : &p->operator, name);
}

/* ---- what is in force ---- */

static bool is_known_to(const struct definition *d, unsigned kind)
{
    for (size_t i = 0; i < KEYS; i++)
        if (d->of[i].given && (keys[i].unknown_to & kind))
            return false;
    return true;
}

/* kind 0: an exchange. */
static const struct policy *find_policy(const struct policy_list *l, beck_bytes name, unsigned kind)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct policy *p = l->of[i];
        bool applies_to = kind == 0 ? p->exchanges : (p->kinds & kind) != 0;
        if (applies_to && is_known_to(&p->definition, kind) && regex_find(p->pattern, name))
            return p;
    }
    return NULL;
}

/* Of the same key; neither is missing. */
static const struct setting *merge(const struct key *k, const struct setting *user,
                                   const struct setting *operator)
{
    bool smaller = user->number < operator->number;
    switch (k->merge) {
    case SMALLER:
        return smaller ? user : operator;
    case LARGER:
        return smaller ? operator: user;
    case LIMIT:
        return smaller == (user->number >= 0 && operator->number >= 0) ? user : operator;
    default:
        return operator;
    }
}

/* Both policies as one, which refers to them. */
static void merge_definitions(const struct policy *user, const struct policy *operator,
                              struct definition * out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < KEYS; i++) {
        const struct setting *u = user == NULL ? NULL : &user->definition.of[i];
        const struct setting *o = operator== NULL ? NULL : & operator->definition.of[i];
        if (u != NULL && u->given && o != NULL && o->given)
            out->of[i] = *merge(&keys[i], u, o);
        else if (u != NULL && u->given)
            out->of[i] = *u;
        else if (o != NULL && o->given)
            out->of[i] = *o;
    }
}

/* What arguments and policies together say. */
struct sources {
    beck_bytes arguments;
    struct definition policies;
    bool policies_first;
};

static const struct setting *of_policies(const struct sources *s, const char *name)
{
    for (size_t i = 0; i < KEYS; i++)
        if (strcmp(keys[i].name, name) == 0)
            return s->policies.of[i].given ? &s->policies.of[i] : NULL;
    return NULL;
}

static bool of_arguments(const struct sources *s, const char *name, enum table_kind kind,
                         struct table_value *out)
{
    char argument[64] = "x-";
    strcat(argument, name);
    return table_find(s->arguments, argument, out) && out->kind == kind;
}

/* The smaller one, but see policies_first; -1: neither. */
static int64_t number_of(const struct sources *s, const char *name)
{
    struct table_value v;
    const struct setting *p = of_policies(s, name);
    bool argued = of_arguments(s, name, TABLE_INTEGER, &v) && v.integer >= 0;
    if (p != NULL && (!argued || s->policies_first || p->number < v.integer))
        return p->number;
    return argued ? v.integer : -1;
}

static bool text_of(const struct sources *s, const char *name, bool policies_first, beck_bytes *out)
{
    struct table_value v;
    const struct setting *p = of_policies(s, name);
    if (of_arguments(s, name, TABLE_TEXT, &v) && !(p != NULL && policies_first)) {
        *out = v.bytes;
        return true;
    }
    if (p != NULL)
        *out = p->text;
    return p != NULL;
}

static enum overflow overflow_of(const struct sources *s, enum queue_kind kind)
{
    beck_bytes text;
    if (!text_of(s, "overflow", kind == QUEUE_QUORUM, &text))
        return OVERFLOW_DROP_HEAD;
    if (bytes_equal_text(text, "reject-publish"))
        return OVERFLOW_REJECT;
    return bytes_equal_text(text, "reject-publish-dlx") && kind == QUEUE_CLASSIC
               ? OVERFLOW_REJECT_DEAD_LETTER
               : OVERFLOW_DROP_HEAD;
}

static int64_t delivery_limit_of(const struct sources *s, enum queue_kind kind)
{
    struct table_value v;
    const struct setting *p = of_policies(s, "delivery-limit");
    if (kind != QUEUE_QUORUM)
        return -1;
    int64_t limit = p != NULL ? p->number : DELIVERY_LIMIT_DEFAULT;
    if (of_arguments(s, "delivery-limit", TABLE_INTEGER, &v)) {
        bool smaller = v.integer < limit, both = v.integer >= 0 && limit >= 0;
        limit = p == NULL || smaller == both ? v.integer : limit;
    }
    return limit < 0 ? -1 : limit;
}

static void read_retry(const struct sources *s, struct effective *e)
{
    beck_bytes type;
    e->retry = RETRY_NONE;
    e->retry_min_ms = e->retry_max_ms = -1;
    int64_t min = number_of(s, "delayed-retry-min"), max = number_of(s, "delayed-retry-max");
    if (min <= 0 || !text_of(s, "delayed-retry-type", true, &type))
        return;
    e->retry = bytes_equal_text(type, "all")        ? RETRY_ALL
               : bytes_equal_text(type, "failed")   ? RETRY_FAILED
               : bytes_equal_text(type, "returned") ? RETRY_RETURNED
                                                    : RETRY_NONE;
    if (e->retry == RETRY_NONE)
        return;
    e->retry_min_ms = min;
    e->retry_max_ms = max > 0 ? max : min;
}

static void read_dead_letters(const struct sources *s, struct effective *e)
{
    beck_bytes strategy;
    e->has_dead_letter_exchange =
        text_of(s, "dead-letter-exchange", false, &e->dead_letter_exchange);
    e->has_dead_letter_key = text_of(s, "dead-letter-routing-key", false, &e->dead_letter_key);
    e->at_least_once = e->has_dead_letter_exchange && e->overflow == OVERFLOW_REJECT &&
                       text_of(s, "dead-letter-strategy", false, &strategy) &&
                       bytes_equal_text(strategy, "at-least-once");
}

static uint8_t priority_of(const struct sources *s, enum queue_kind kind)
{
    struct table_value v;
    if (kind == QUEUE_QUORUM)
        return QUORUM_PRIORITY_MAX;
    return kind == QUEUE_CLASSIC && of_arguments(s, "max-priority", TABLE_INTEGER, &v)
               ? (uint8_t)v.integer
               : 0;
}

static int64_t max_age_of(const struct sources *s)
{
    beck_bytes text;
    int64_t ms;
    return text_of(s, "max-age", true, &text) && max_age_read(text, &ms) ? ms : -1;
}

static void read_settings(const struct sources *s, enum queue_kind kind, struct effective *e)
{
    struct table_value v;
    e->ttl_ms = number_of(s, "message-ttl");
    e->expires_ms = number_of(s, "expires");
    e->length_max = number_of(s, "max-length");
    e->bytes_max = number_of(s, "max-length-bytes");
    e->overflow = overflow_of(s, kind);
    read_dead_letters(s, e);
    e->priority_max = priority_of(s, kind);
    e->single_active = of_arguments(s, "single-active-consumer", TABLE_BOOL, &v) && v.integer != 0;
    e->delivery_limit = delivery_limit_of(s, kind);
    e->consumer_timeout_ms = number_of(s, "consumer-timeout");
    read_retry(s, e);
    e->max_age_ms = kind == QUEUE_STREAM ? max_age_of(s) : -1;
    e->segment_bytes = number_of(s, "stream-max-segment-size-bytes");
}

static beck_status write_definition(const struct definition *d, struct buf *out)
{
    beck_status status = buf_append_byte(out, '{');
    for (size_t i = 0; status == BECK_OK && i < KEYS; i++)
        if (d->of[i].given)
            status = buf_printf(out, "%s\"%s\":%.*s", out->len > 1 ? "," : "", keys[i].name,
                                (int)d->of[i].raw.len, (const char *)d->of[i].raw.data);
    return status == BECK_OK ? buf_append_byte(out, '}') : status;
}

/* Copies what e refers to behind it. */
static struct effective *in_one_piece(const struct effective *e)
{
    beck_bytes parts[] = {e->dead_letter_exchange, e->dead_letter_key, e->policy,
                          e->operator_policy, e->policy_json};
    enum { PARTS = sizeof parts / sizeof *parts };
    size_t size = sizeof(*e);
    for (size_t i = 0; i < PARTS; i++)
        size += parts[i].len;
    struct effective *copy = malloc(size);
    if (copy == NULL)
        return NULL;
    *copy = *e;
    uint8_t *at = (uint8_t *)(copy + 1);
    beck_bytes *const places[PARTS] = {&copy->dead_letter_exchange, &copy->dead_letter_key,
                                       &copy->policy, &copy->operator_policy, &copy->policy_json};
    for (size_t i = 0; i < PARTS; i++) {
        *places[i] = bytes_of(at, parts[i].len);
        if (parts[i].len > 0)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    return copy;
}

struct effective *effective_of_queue(const struct policies *p, beck_bytes name,
                                     enum queue_kind kind, beck_bytes arguments)
{
    const struct policy *user = p == NULL ? NULL : find_policy(&p->user, name, 1u << kind);
    const struct policy *operator= p == NULL ? NULL : find_policy(&p->operator, name, 1u << kind);
    struct sources s = {.arguments = arguments, .policies_first = kind == QUEUE_STREAM};
    struct effective e = {0}, *result = NULL;
    struct buf json;
    merge_definitions(user, operator, & s.policies);
    read_settings(&s, kind, &e);
    e.policy = user == NULL ? bytes_of("", 0) : user->name;
    e.operator_policy = operator== NULL ? bytes_of("", 0) : operator->name;
    buf_init(&json, 4 * DEFINITION_MAX);
    if (write_definition(&s.policies, &json) == BECK_OK) {
        e.policy_json = buf_bytes(&json);
        result = in_one_piece(&e);
    }
    buf_release(&json);
    return result;
}

void effective_free(struct effective *e)
{
    free(e);
}

void effective_of_exchange(const struct policies *p, beck_bytes name, beck_bytes arguments,
                           struct effective_exchange *out)
{
    const struct policy *user = p == NULL ? NULL : find_policy(&p->user, name, 0);
    const struct policy *operator= p == NULL ? NULL : find_policy(&p->operator, name, 0);
    struct table_value v;
    *out = (struct effective_exchange){0};
    if (user != NULL)
        out->policy = user->name;
    if (operator!= NULL)
        out->operator_policy = operator->name;
    if (table_find(arguments, "alternate-exchange", &v) && v.kind == TABLE_TEXT) {
        out->has_alternate = true;
        out->alternate = v.bytes;
    } else if (user != NULL) {
        out->has_alternate = user->definition.of[0].given; /* alternate-exchange */
        out->alternate = user->definition.of[0].text;
    }
}
