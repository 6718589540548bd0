/*
 * Arguments of declarations: what is refused of those of a queue, exchange or consumer, and whether a
 * declaration is the same as the one before. The texts are RabbitMQ's, whose terms look as Erlang prints them.
 */
#include "broker/policy.h"

#include <stdarg.h>
#include <stdio.h>

#define CLASSIC (1 << QUEUE_CLASSIC)
#define QUORUM (1 << QUEUE_QUORUM)
#define STREAM (1 << QUEUE_STREAM)

#define DURATION_MAX INT64_C(315360000000) /* ten years of milliseconds */
#define SEGMENT_BYTES_MAX INT64_C(3000000000)
#define TERM_MAX 512

/* Who is refused what. `why` gets the term that stands behind the colon; true: it is fine. */
typedef bool (*check_fn)(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX]);

static bool no(char why[TERM_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool no(char why[TERM_MAX], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, TERM_MAX, format, args);
    va_end(args);
    return false;
}

static bool is_text(const struct table_value *v, char why[TERM_MAX])
{
    return v->kind == TABLE_TEXT || no(why, "{unacceptable_type,%s}", table_type_name(v));
}

static bool is_one_of(const struct table_value *v, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes_equal_text(v->bytes, texts[i]))
            return true;
    return false;
}

static bool is_integer(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    (void)arguments;
    return v->kind == TABLE_INTEGER || no(why, "\"expected integer, got %s\"", table_type_name(v));
}

static bool is_not_negative(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    return is_integer(v, arguments, why) &&
           (v->integer >= 0 || no(why, "{value_negative,%lld}", (long long)v->integer));
}

static bool is_ttl(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    return is_not_negative(v, arguments, why) &&
           (v->integer <= DURATION_MAX || no(why, "{value_too_large,%lld}", (long long)v->integer));
}

static bool is_expiry(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    return is_integer(v, arguments, why) && (v->integer != 0 || no(why, "{value_zero,0}")) &&
           is_ttl(v, arguments, why);
}

static bool is_positive(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    return is_not_negative(v, arguments, why) && (v->integer != 0 || no(why, "{value_zero,0}"));
}

static bool is_priority(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    return is_not_negative(v, arguments, why) &&
           (v->integer <= 255 || no(why, "{max_value_exceeded,%lld}", (long long)v->integer));
}

static bool is_bool(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    (void)arguments;
    return v->kind == TABLE_BOOL || no(why, "{unacceptable_type,%s}", table_type_name(v));
}

static bool is_dead_letter_key(const struct table_value *v, beck_bytes arguments,
                               char why[TERM_MAX])
{
    struct table_value exchange;
    return is_text(v, why) && (table_find(arguments, "x-dead-letter-exchange", &exchange) ||
                               no(why, "routing_key_but_no_dlx_defined"));
}

static bool is_strategy(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    static const char *const known[] = {"at-most-once", "at-least-once"};
    (void)arguments;
    return is_text(v, why) && (is_one_of(v, known, 2) || no(why, "invalid_dlx_strategy"));
}

static bool is_overflow(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    static const char *const known[] = {"drop-head", "reject-publish", "reject-publish-dlx"};
    (void)arguments;
    return is_text(v, why) && (is_one_of(v, known, 3) || no(why, "invalid_overflow"));
}

static bool is_locator(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    static const char *const known[] = {"client-local", "balanced", "random", "least-leaders",
                                        "min-masters"};
    (void)arguments;
    return is_text(v, why) && (is_one_of(v, known, 5) || no(why, "invalid_queue_locator_arg"));
}

static bool is_max_age(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    int64_t ms;
    (void)arguments;
    return is_text(v, why) && (max_age_read(v->bytes, &ms) || no(why, "invalid_max_age"));
}

/* In the order in which RabbitMQ looks at them. check NULL: anything. */
static const struct known {
    const char *name;
    unsigned kinds;
    check_fn check;
} known[] = {
    {"x-expires", CLASSIC | QUORUM, is_expiry},
    {"x-message-ttl", CLASSIC | QUORUM, is_ttl},
    {"x-dead-letter-exchange", CLASSIC | QUORUM, NULL},
    {"x-dead-letter-routing-key", CLASSIC | QUORUM, is_dead_letter_key},
    {"x-dead-letter-strategy", QUORUM, is_strategy},
    {"x-max-length", CLASSIC | QUORUM, is_not_negative},
    {"x-max-length-bytes", CLASSIC | QUORUM | STREAM, is_not_negative},
    {"x-max-in-memory-length", QUORUM, is_not_negative},
    {"x-max-in-memory-bytes", QUORUM, is_not_negative},
    {"x-max-priority", CLASSIC, is_priority},
    {"x-overflow", CLASSIC | QUORUM, is_overflow},
    {"x-queue-mode", CLASSIC, NULL},
    {"x-queue-version", CLASSIC, is_not_negative},
    {"x-single-active-consumer", CLASSIC | QUORUM, is_bool},
    {"x-consumer-timeout", CLASSIC | QUORUM, is_not_negative},
    {"x-consumer-disconnected-timeout", QUORUM, is_not_negative},
    {"x-queue-type", CLASSIC | QUORUM | STREAM, NULL},
    {"x-quorum-initial-group-size", QUORUM, is_positive},
    {"x-max-age", STREAM, is_max_age},
    {"x-stream-max-segment-size-bytes", STREAM, is_not_negative},
    {"x-stream-filter-size-bytes", STREAM, is_not_negative},
    {"x-initial-cluster-size", STREAM, is_positive},
    {"x-queue-leader-locator", CLASSIC | QUORUM | STREAM, is_locator},
    {"x-queue-master-locator", CLASSIC, NULL},
    {"x-member-placement-tag", QUORUM, NULL},
    {"x-delivery-limit", QUORUM, NULL},
    {"x-delayed-retry-type", QUORUM, NULL},
    {"x-delayed-retry-min", QUORUM, NULL},
    {"x-delayed-retry-max", QUORUM, NULL},
};
#define KNOWN (sizeof known / sizeof *known)

static const char *const kind_names[] = {
    [QUEUE_CLASSIC] = "classic", [QUEUE_QUORUM] = "quorum", [QUEUE_STREAM] = "stream"};

const char *queue_kind_name(enum queue_kind kind)
{
    return kind_names[kind];
}

static int refuse_value(beck_bytes vhost, beck_bytes name, const char *argument, const char *why,
                        char *text)
{
    return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                         "invalid arg '%s' for queue '%.*s' in vhost '%.*s': %s", argument,
                         (int)name.len, (const char *)name.data, (int)vhost.len,
                         (const char *)vhost.data, why);
}

static int refuse_argument(beck_bytes vhost, beck_bytes name, enum queue_kind kind,
                           const char *argument, char *text)
{
    return broker_refuse(
        text, REPLY_PRECONDITION_FAILED,
        "invalid arg '%s' for queue '%.*s' in vhost '%.*s' of queue type rabbit_%s_queue", argument,
        (int)name.len, (const char *)name.data, (int)vhost.len, (const char *)vhost.data,
        kind_names[kind]);
}

int arguments_queue_kind(beck_bytes vhost, beck_bytes name, beck_bytes arguments,
                         enum queue_kind *out, char *text)
{
    struct table_value v;
    char why[TERM_MAX];
    *out = QUEUE_CLASSIC;
    if (!table_find(arguments, "x-queue-type", &v))
        return 0;
    if (!is_text(&v, why))
        return refuse_value(vhost, name, "x-queue-type", why, text);
    if (v.bytes.len == 0 || bytes_equal_text(v.bytes, "undefined"))
        return 0;
    for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++) {
        if (bytes_equal_text(v.bytes, kind_names[i])) {
            *out = (enum queue_kind)i;
            return 0;
        }
    }
    no(why, "\"unsupported queue type '%.*s'\"", (int)v.bytes.len, (const char *)v.bytes.data);
    return refuse_value(vhost, name, "x-queue-type", why, text);
}

static int check_stream(beck_bytes arguments, char *text)
{
    struct table_value v;
    if (table_find(arguments, "x-stream-max-segment-size-bytes", &v) &&
        v.integer > SEGMENT_BYTES_MAX)
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "Exceeded max value for x-stream-max-segment-size-bytes");
    if (table_find(arguments, "x-stream-filter-size-bytes", &v) &&
        (v.integer > 255 || v.integer < 16))
        return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                             "Invalid value for x-stream-filter-size-bytes");
    return 0;
}

static int refuse_type(beck_bytes vhost, const char *what, beck_bytes name, const char *argument,
                       const struct table_value *v, char *text)
{
    return broker_refuse(text, REPLY_PRECONDITION_FAILED,
                         "invalid type '%s' for arg '%s' in %s '%.*s' in vhost '%.*s'",
                         table_type_name(v), argument, what, (int)name.len, (const char *)name.data,
                         (int)vhost.len, (const char *)vhost.data);
}

int arguments_check_queue(beck_bytes vhost, beck_bytes name, enum queue_kind kind,
                          beck_bytes arguments, char *text)
{
    struct table_value v;
    char why[TERM_MAX];
    if (table_find(arguments, "x-dead-letter-exchange", &v) && v.kind != TABLE_TEXT)
        return refuse_type(vhost, "queue", name, "x-dead-letter-exchange", &v, text);
    for (size_t i = 0; i < KNOWN; i++)
        if ((known[i].kinds & 1u << kind) && known[i].check != NULL &&
            table_find(arguments, known[i].name, &v) && !known[i].check(&v, arguments, why))
            return refuse_value(vhost, name, known[i].name, why, text);
    for (size_t i = 0; i < KNOWN; i++)
        if (!(known[i].kinds & 1u << kind) && table_find(arguments, known[i].name, &v))
            return refuse_argument(vhost, name, kind, known[i].name, text);
    return kind == QUEUE_STREAM ? check_stream(arguments, text) : 0;
}

int arguments_check_exchange(beck_bytes vhost, beck_bytes name, beck_bytes arguments, char *text)
{
    struct table_value v;
    if (table_find(arguments, "alternate-exchange", &v) && v.kind != TABLE_TEXT)
        return refuse_type(vhost, "exchange", name, "alternate-exchange", &v, text);
    return 0;
}

int arguments_check_flags(beck_bytes vhost, beck_bytes name, enum queue_kind kind, bool durable,
                          bool exclusive, bool auto_delete, char *text)
{
    const char *property = auto_delete ? "auto-delete"
                           : exclusive ? "exclusive-owner"
                           : !durable  ? "non-durable"
                                       : NULL;
    if (kind == QUEUE_CLASSIC || property == NULL)
        return 0;
    return broker_refuse(
        text, REPLY_PRECONDITION_FAILED, "invalid property '%s' for queue '%.*s' in vhost '%.*s'",
        property, (int)name.len, (const char *)name.data, (int)vhost.len, (const char *)vhost.data);
}

/* first, last, next, how long ago, a number or a time. */
static bool is_stream_offset(const struct table_value *v, beck_bytes arguments, char why[TERM_MAX])
{
    static const char *const named[] = {"first", "last", "next"};
    int64_t ms;
    char shown[100];
    (void)arguments;
    if (v->kind == TABLE_INTEGER || v->kind == TABLE_TIME)
        return true;
    table_value_print(v, shown, sizeof shown);
    if (v->kind != TABLE_TEXT)
        return no(why, "{invalid_stream_offset_arg,{%s,%s}}", table_type_name(v), shown);
    if (is_one_of(v, named, 3) || max_age_read(v->bytes, &ms))
        return true;
    return no(why, "{invalid_stream_offset_arg,{longstr,<<\"%.*s\">>}}", (int)v->bytes.len,
              (const char *)v->bytes.data);
}

int arguments_check_consumer(beck_bytes vhost, beck_bytes name, enum queue_kind kind,
                             beck_bytes arguments, char *text)
{
    static const struct known consumer[] = {
        {"x-priority", CLASSIC | QUORUM, is_integer},
        {"x-consumer-timeout", CLASSIC | QUORUM, is_not_negative},
        {"x-stream-offset", STREAM, is_stream_offset},
        {"x-stream-filter", STREAM, NULL},
        {"x-stream-match-unfiltered", STREAM, NULL},
    };
    for (size_t i = 0; i < sizeof consumer / sizeof *consumer; i++) {
        struct table_value v;
        char why[TERM_MAX];
        if (!table_find(arguments, consumer[i].name, &v))
            continue;
        if (!(consumer[i].kinds & 1u << kind))
            return refuse_argument(vhost, name, kind, consumer[i].name, text);
        if (consumer[i].check != NULL && !consumer[i].check(&v, arguments, why))
            return refuse_value(vhost, name, consumer[i].name, why, text);
    }
    return 0;
}

bool max_age_read(beck_bytes text, int64_t *ms)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'Y', 365 * 86400}, {'M', 30 * 86400}, {'D', 86400},
                 {'h', 3600},        {'m', 60},         {'s', 1}};
    uint64_t number;
    if (text.len < 2 || !bytes_to_u64(bytes_of(text.data, text.len - 1), &number) || number == 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (units[i].letter == ((const char *)text.data)[text.len - 1])
            return !__builtin_mul_overflow(number, units[i].seconds * 1000, ms);
    return false;
}

/* ---- declared again ---- */

struct of_what {
    const char *what; /* queue, exchange */
    beck_bytes vhost, name;
};

static int refuse_other(const struct of_what *of, const char *argument, const char *received,
                        const char *current, char *text)
{
    return broker_refuse(
        text, REPLY_PRECONDITION_FAILED,
        "inequivalent arg '%s' for %s '%.*s' in vhost '%.*s': received %s but current is %s",
        argument, of->what, (int)of->name.len, (const char *)of->name.data, (int)of->vhost.len,
        (const char *)of->vhost.data, received, current);
}

static int check_flag(const struct of_what *of, const char *argument, bool now, bool received,
                      char *text)
{
    return now == received ? 0
                           : refuse_other(of, argument, received ? "'true'" : "'false'",
                                          now ? "'true'" : "'false'", text);
}

/* With the type only when the other side has none. */
static void describe(const struct table_value *v, bool typed, char out[2 * TERM_MAX])
{
    char term[TERM_MAX];
    table_value_print(v, term, sizeof(term));
    if (typed)
        snprintf(out, 2 * TERM_MAX, "the value '%s' of type '%s'", term, table_type_name(v));
    else
        snprintf(out, 2 * TERM_MAX, "'%s'", term);
}

static int check_values(const struct of_what *of, const char *argument, bool has_a,
                        struct table_value a, bool has_b, struct table_value b, char *text)
{
    char current_text[2 * TERM_MAX] = "none", received_text[2 * TERM_MAX] = "none";
    if ((!has_a && !has_b) || (has_a && has_b && table_value_equal(&a, &b)))
        return 0;
    if (has_a)
        describe(&a, !has_b, current_text);
    if (has_b)
        describe(&b, !has_a, received_text);
    return refuse_other(of, argument, received_text, current_text, text);
}

static int check_argument(const struct of_what *of, const char *argument, beck_bytes now,
                          beck_bytes received, char *text)
{
    struct table_value a = {0}, b = {0};
    bool has_a = table_find(now, argument, &a), has_b = table_find(received, argument, &b);
    return check_values(of, argument, has_a, a, has_b, b, text);
}

/* A queue has a type whether it was named or not. */
static int check_kind(const struct of_what *of, enum queue_kind now, enum queue_kind received,
                      char *text)
{
    struct table_value a = {.kind = TABLE_TEXT, .letter = 'S'}, b = a;
    a.bytes = bytes_of(kind_names[now], strlen(kind_names[now]));
    b.bytes = bytes_of(kind_names[received], strlen(kind_names[received]));
    return check_values(of, "x-queue-type", true, a, true, b, text);
}

int queue_check_equivalent(beck_bytes vhost, beck_bytes name, const struct queue_traits *now,
                           const struct queue_traits *received, char *text)
{
    struct of_what of = {"queue", vhost, name};
    int code = check_flag(&of, "durable", now->durable, received->durable, text);
    if (code == 0)
        code = check_flag(&of, "auto_delete", now->auto_delete, received->auto_delete, text);
    for (size_t i = 0; code == 0 && i < KNOWN; i++)
        if (strcmp(known[i].name, "x-queue-type") == 0)
            code = check_kind(&of, now->kind, received->kind, text);
        else if (known[i].kinds & 1u << now->kind)
            code = check_argument(&of, known[i].name, now->arguments, received->arguments, text);
    return code;
}

/* Erlang prints an atom that needs it in quotes. */
static void print_type(beck_bytes type, char out[TERM_MAX])
{
    const char *text = type.data;
    bool plain = type.len > 0 && text[0] >= 'a' && text[0] <= 'z';
    for (size_t i = 0; i < type.len; i++)
        plain = plain && text[i] != '-';
    snprintf(out, TERM_MAX, plain ? "'%.*s'" : "''%.*s''", (int)type.len, text);
}

int exchange_check_equivalent(beck_bytes vhost, beck_bytes name, const struct exchange_traits *now,
                              const struct exchange_traits *received, char *text)
{
    struct of_what of = {"exchange", vhost, name};
    if (!bytes_equal(now->type, received->type)) {
        char current[TERM_MAX], other[TERM_MAX];
        print_type(now->type, current);
        print_type(received->type, other);
        return refuse_other(&of, "type", other, current, text);
    }
    int code = check_flag(&of, "durable", now->durable, received->durable, text);
    if (code == 0)
        code = check_flag(&of, "auto_delete", now->auto_delete, received->auto_delete, text);
    if (code == 0)
        code = check_flag(&of, "internal", now->internal, received->internal, text);
    return code != 0 ? code
                     : check_argument(&of, "alternate-exchange", now->arguments,
                                      received->arguments, text);
}
