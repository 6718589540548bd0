/* Arguments, policies, and what they come to; declarations that are not the same. The words are RabbitMQ's. */
#include "tables.h"

#include "broker/policy.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A table of arguments, freed by the next call. */
static beck_bytes arguments_of(const char *entries)
{
    static struct buf b;
    buf_release(&b);
    return table_of(&b, entries);
}

static int release_arguments(void **state)
{
    (void)state;
    arguments_of("");
    return 0;
}

/* ---- arguments ---- */

static void test_wrong_arguments_of_queues_are_refused_in_rabbitmqs_words(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *why; /* NULL: fine */
    } cases[] = {
        {"", NULL},
        {"x-whatever=1 unknown=true x-beck-from=earliest", NULL},
        {"x-message-ttl=0", NULL},
        {"x-message-ttl=-1", "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': "
                             "{value_negative,-1}"},
        {"x-message-ttl=soon", "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': "
                               "\"expected integer, got longstr\""},
        {"x-message-ttl=true", "invalid arg 'x-message-ttl' for queue 'q' in vhost '/': "
                               "\"expected integer, got bool\""},
        {"x-expires=0", "invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}"},
        {"x-expires=-5", "invalid arg 'x-expires' for queue 'q' in vhost '/': {value_negative,-5}"},
        {"x-expires=1", NULL},
        {"x-max-length=-1", "invalid arg 'x-max-length' for queue 'q' in vhost '/': "
                            "{value_negative,-1}"},
        {"x-max-length=0 x-max-length-bytes=0", NULL},
        {"x-max-priority=255", NULL},
        {"x-max-priority=256", "invalid arg 'x-max-priority' for queue 'q' in vhost '/': "
                               "{max_value_exceeded,256}"},
        {"x-overflow=drop-head", NULL},
        {"x-overflow=reject-publish-dlx", NULL},
        {"x-overflow=drop-tail", "invalid arg 'x-overflow' for queue 'q' in vhost '/': "
                                 "invalid_overflow"},
        {"x-overflow=1", "invalid arg 'x-overflow' for queue 'q' in vhost '/': "
                         "{unacceptable_type,signedint}"},
        {"x-dead-letter-exchange=dlx x-dead-letter-routing-key=k", NULL},
        {"x-dead-letter-routing-key=k", "invalid arg 'x-dead-letter-routing-key' for queue 'q' in "
                                        "vhost '/': routing_key_but_no_dlx_defined"},
        {"x-dead-letter-exchange=5",
         "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"},
        {"x-single-active-consumer=true", NULL},
        {"x-single-active-consumer=yes",
         "invalid arg 'x-single-active-consumer' for queue 'q' in vhost '/': "
         "{unacceptable_type,longstr}"},
        {"x-queue-mode=lazy x-queue-version=1", NULL},
        {"x-delivery-limit=3", "invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of queue "
                               "type rabbit_classic_queue"},
        {"x-max-age=7D",
         "invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type rabbit_classic_queue"},
        {"x-queue-type=quorum x-delivery-limit=3 x-message-ttl=5", NULL},
        {"x-queue-type=quorum x-max-priority=3", "invalid arg 'x-max-priority' for queue 'q' in "
                                                 "vhost '/' of queue type rabbit_quorum_queue"},
        {"x-queue-type=quorum x-dead-letter-strategy=never",
         "invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/': invalid_dlx_strategy"},
        {"x-queue-type=stream x-max-age=7D x-stream-filter-size-bytes=32", NULL},
        {"x-queue-type=stream x-max-age=7W", "invalid arg 'x-max-age' for queue 'q' in vhost '/': "
                                             "invalid_max_age"},
        {"x-queue-type=stream x-message-ttl=1", "invalid arg 'x-message-ttl' for queue 'q' in "
                                                "vhost '/' of queue type rabbit_stream_queue"},
        {"x-queue-type=stream x-stream-filter-size-bytes=15",
         "Invalid value for x-stream-filter-size-bytes"},
        {"x-queue-type=bogus", "invalid arg 'x-queue-type' for queue 'q' in vhost '/': "
                               "\"unsupported queue type 'bogus'\""},
        {"x-queue-type=1", "invalid arg 'x-queue-type' for queue 'q' in vhost '/': "
                           "{unacceptable_type,signedint}"},
        {"x-queue-type=undefined", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[BROKER_TEXT] = "", expected[BROKER_TEXT] = "";
        enum queue_kind kind;
        beck_bytes arguments = arguments_of(cases[i].arguments);
        int code = arguments_queue_kind(text_of("/"), text_of("q"), arguments, &kind, text);
        if (code == 0)
            code = arguments_check_queue(text_of("/"), text_of("q"), kind, arguments, text);
        if (cases[i].why != NULL)
            snprintf(expected, sizeof(expected), "PRECONDITION_FAILED - %s", cases[i].why);
        assert_string_equal(text, expected);
        assert_int_equal(code, cases[i].why == NULL ? 0 : 406);
    }
}

static void test_a_width_of_integers_is_no_matter(void **state)
{
    (void)state;
    static const char letters[] = "bBsuIilL";
    for (const char *letter = letters; *letter != 0; letter++) {
        struct buf b;
        char text[BROKER_TEXT];
        buf_init(&b, TABLE_BYTES_MAX);
        table_put(&b, text_of("x-message-ttl"),
                  &(struct table_value){.letter = *letter, .integer = 100});
        assert_int_equal(
            arguments_check_queue(text_of("/"), text_of("q"), QUEUE_CLASSIC, buf_bytes(&b), text),
            0);
        struct effective *e = effective_of_queue(NULL, text_of("q"), QUEUE_CLASSIC, buf_bytes(&b));
        assert_int_equal(e->ttl_ms, 100);
        effective_free(e);
        buf_release(&b);
    }
}

static void test_quorum_queues_and_streams_last(void **state)
{
    (void)state;
    char text[BROKER_TEXT];
    beck_bytes v = text_of("/"), q = text_of("q");
    assert_int_equal(arguments_check_flags(v, q, QUEUE_CLASSIC, false, true, true, text), 0);
    assert_int_equal(arguments_check_flags(v, q, QUEUE_QUORUM, true, false, false, text), 0);
    assert_int_equal(arguments_check_flags(v, q, QUEUE_QUORUM, false, false, false, text), 406);
    assert_string_equal(
        text, "PRECONDITION_FAILED - invalid property 'non-durable' for queue 'q' in vhost '/'");
    assert_int_equal(arguments_check_flags(v, q, QUEUE_STREAM, true, true, false, text), 406);
    assert_string_equal(
        text,
        "PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue 'q' in vhost '/'");
    assert_int_equal(arguments_check_flags(v, q, QUEUE_STREAM, true, false, true, text), 406);
    assert_string_equal(
        text, "PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'q' in vhost '/'");
}

static const char *consumer_refused(enum queue_kind kind, const char *arguments)
{
    static char text[BROKER_TEXT];
    text[0] = 0;
    arguments_check_consumer(text_of("/"), text_of("q"), kind, arguments_of(arguments), text);
    return text;
}

static void test_arguments_of_consumers_are_checked(void **state)
{
    (void)state;
    assert_string_equal(consumer_refused(QUEUE_CLASSIC, "x-priority=10 other=x"), "");
    assert_string_equal(
        consumer_refused(QUEUE_CLASSIC, "x-priority=high"),
        "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': "
        "\"expected integer, got longstr\"");
    assert_string_equal(
        consumer_refused(QUEUE_QUORUM, "x-stream-offset=first"),
        "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'q' in vhost "
        "'/' of queue type rabbit_quorum_queue");
    assert_string_equal(consumer_refused(QUEUE_STREAM, "x-stream-offset=first"), "");
    assert_string_equal(consumer_refused(QUEUE_STREAM, "x-stream-offset=5000"), "");
    assert_string_equal(consumer_refused(QUEUE_STREAM, "x-stream-offset=1h"), "");
    assert_string_equal(
        consumer_refused(QUEUE_STREAM, "x-stream-offset=foo"),
        "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'q' in vhost "
        "'/': {invalid_stream_offset_arg,{longstr,<<\"foo\">>}}");
    assert_non_null(strstr(consumer_refused(QUEUE_STREAM, "x-stream-offset=true"),
                           "{invalid_stream_offset_arg,{bool,true}}"));
}

static void test_ages_have_a_unit(void **state)
{
    (void)state;
    int64_t ms;
    assert_true(max_age_read(text_of("1Y"), &ms) && ms == INT64_C(31536000000));
    assert_true(max_age_read(text_of("2M"), &ms) && ms == INT64_C(5184000000));
    assert_true(max_age_read(text_of("7D"), &ms) && ms == 604800000);
    assert_true(max_age_read(text_of("12h"), &ms) && ms == 43200000);
    assert_true(max_age_read(text_of("5m"), &ms) && ms == 300000);
    assert_true(max_age_read(text_of("30s"), &ms) && ms == 30000);
    static const char *const none[] = {"",
                                       "D",
                                       "5",
                                       "0D",
                                       "-1D",
                                       "1.5D",
                                       "1W",
                                       "1 D",
                                       "99999999999999999999D",
                                       "9223372036854775807Y"};
    for (size_t i = 0; i < COUNT(none); i++)
        assert_false(max_age_read(text_of(none[i]), &ms));
}

static void test_an_alternate_exchange_is_a_name(void **state)
{
    (void)state;
    char text[BROKER_TEXT];
    assert_int_equal(arguments_check_exchange(text_of("/"), text_of("x"),
                                              arguments_of("alternate-exchange=ae"), text),
                     0);
    assert_int_equal(arguments_check_exchange(text_of("/"), text_of("x"),
                                              arguments_of("alternate-exchange=1"), text),
                     406);
    assert_string_equal(text, "PRECONDITION_FAILED - invalid type 'signedint' for arg "
                              "'alternate-exchange' in exchange 'x' in vhost '/'");
}

/* ---- declared again ---- */

static const char *queue_differs(const char *now, const char *received)
{
    static char text[BROKER_TEXT];
    struct buf a, b;
    struct queue_traits x = {.durable = now[0] == 'd', .auto_delete = now[1] == 'a'};
    struct queue_traits y = {.durable = received[0] == 'd', .auto_delete = received[1] == 'a'};
    x.arguments = table_of(&a, now + 2);
    y.arguments = table_of(&b, received + 2);
    text[0] = 0;
    assert_int_equal(arguments_queue_kind(text_of("/"), text_of("x"), x.arguments, &x.kind, text),
                     0);
    assert_int_equal(arguments_queue_kind(text_of("/"), text_of("x"), y.arguments, &y.kind, text),
                     0);
    int code = queue_check_equivalent(text_of("/"), text_of("x"), &x, &y, text);
    assert_int_equal(code, text[0] == 0 ? 0 : 406);
    buf_release(&a);
    buf_release(&b);
    return text;
}

static void test_a_queue_that_was_declared_otherwise_is_refused(void **state)
{
    (void)state;
#define INEQUIVALENT(arg, rest)                                                                    \
    "PRECONDITION_FAILED - inequivalent arg '" arg "' for queue 'x' in vhost '/': " rest
    assert_string_equal(queue_differs("d-", "d-"), "");
    assert_string_equal(queue_differs("--", "d-"),
                        INEQUIVALENT("durable", "received 'true' but current is 'false'"));
    assert_string_equal(queue_differs("da", "d-"),
                        INEQUIVALENT("auto_delete", "received 'false' but current is 'true'"));
    assert_string_equal(queue_differs("--x-max-length=5", "--x-max-length=6"),
                        INEQUIVALENT("x-max-length", "received '6' but current is '5'"));
    assert_string_equal(
        queue_differs("--x-max-length=5", "--"),
        INEQUIVALENT("x-max-length",
                     "received none but current is the value '5' of type 'signedint'"));
    assert_string_equal(
        queue_differs("--", "--x-dead-letter-exchange=dlx"),
        INEQUIVALENT("x-dead-letter-exchange",
                     "received the value 'dlx' of type 'longstr' but current is none"));
    assert_string_equal(
        queue_differs("--x-single-active-consumer=true", "--x-single-active-consumer=false"),
        INEQUIVALENT("x-single-active-consumer", "received 'false' but current is 'true'"));
    assert_string_equal(
        queue_differs("--x-overflow=drop-head", "--x-overflow=reject-publish"),
        INEQUIVALENT("x-overflow", "received 'reject-publish' but current is 'drop-head'"));
    assert_string_equal(queue_differs("d-", "d-x-queue-type=classic"), "");
    assert_string_equal(queue_differs("d-x-queue-type=classic", "d-"), "");
    assert_string_equal(queue_differs("d-", "d-x-queue-type=quorum"),
                        INEQUIVALENT("x-queue-type", "received 'quorum' but current is 'classic'"));
    assert_string_equal(queue_differs("d-x-queue-type=quorum", "d-x-queue-type=quorum"), "");
    /* Arguments that its kind does not know are no difference. */
    assert_string_equal(queue_differs("--x-custom=1", "--x-custom=2 more=x"), "");
}

static void test_integers_of_other_widths_are_equivalent(void **state)
{
    (void)state;
    struct buf a, b;
    char text[BROKER_TEXT];
    buf_init(&a, TABLE_BYTES_MAX);
    buf_init(&b, TABLE_BYTES_MAX);
    table_put(&a, text_of("x-message-ttl"), &(struct table_value){.letter = 'b', .integer = 100});
    table_put(&b, text_of("x-message-ttl"), &(struct table_value){.letter = 'l', .integer = 100});
    struct queue_traits x = {.arguments = buf_bytes(&a)}, y = {.arguments = buf_bytes(&b)};
    assert_int_equal(queue_check_equivalent(text_of("/"), text_of("q"), &x, &y, text), 0);
    buf_release(&a);
    buf_release(&b);
}

static void test_an_exchange_that_was_declared_otherwise_is_refused(void **state)
{
    (void)state;
    char text[BROKER_TEXT];
    struct exchange_traits now = {.type = text_of("topic"), .durable = true}, other = now;
    beck_bytes v = text_of("/"), x = text_of("x");
    struct buf b;
    assert_int_equal(exchange_check_equivalent(v, x, &now, &other, text), 0);
    other.type = text_of("direct");
    assert_int_equal(exchange_check_equivalent(v, x, &now, &other, text), 406);
    assert_string_equal(text, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in "
                              "vhost '/': received 'direct' but current is 'topic'");
    other.type = text_of("x-delayed-message");
    exchange_check_equivalent(v, x, &now, &other, text);
    assert_string_equal(text, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in "
                              "vhost '/': received ''x-delayed-message'' but current is 'topic'");
    other = now;
    other.internal = true;
    exchange_check_equivalent(v, x, &now, &other, text);
    assert_string_equal(text,
                        "PRECONDITION_FAILED - inequivalent arg 'internal' for exchange 'x' in "
                        "vhost '/': received 'true' but current is 'false'");
    other = now;
    other.arguments = table_of(&b, "alternate-exchange=ae else=1");
    exchange_check_equivalent(v, x, &now, &other, text);
    assert_string_equal(
        text, "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange "
              "'x' in vhost '/': received the value 'ae' of type 'longstr' but current is "
              "none");
    buf_release(&b);
}

/* ---- policies ---- */

static const char *policy_refused(bool user, const char *pattern, const char *apply_to,
                                  const char *definition)
{
    static beck_error err;
    struct policy_text p = {.name = text_of("p"),
                            .pattern = text_of(pattern),
                            .apply_to = text_of(apply_to),
                            .definition = text_of(definition)};
    err.text[0] = 0;
    beck_status status = policy_check(&p, user, &err);
    assert_int_equal(status, err.text[0] == 0 ? BECK_OK : BECK_EINVAL);
    return err.text;
}

static void test_wrong_policies_are_refused_in_rabbitmqs_words(void **state)
{
    (void)state;
    static const struct {
        const char *definition, *why;
    } cases[] = {
        {"{\"message-ttl\":1000}", ""},
        {" { \"max-length\" : 5 , \"overflow\":\"reject-publish\" } ", ""},
        {"{\"ha-mode\":\"exactly\",\"ha-params\":[2],\"ha-sync-mode\":\"automatic\"}", ""},
        {"{\"queue-mode\":\"lazy\",\"delivery-limit\":-1}", ""},
        {"{\"max-age\":\"7D\",\"alternate-exchange\":\"\"}", ""},
        {"{}", "no policy provided"},
        {"[]", "definition must be a dictionary: []"},
        {"{\"message-ttl\":-1}", "-1 is not a valid message TTL"},
        {"{\"message-ttl\":\"1000\"}", "<<\"1000\">> is not a valid message TTL"},
        {"{\"message-ttl\":1.5}", "1.5 is not a valid message TTL"},
        {"{\"expires\":0}", "0 is not a valid queue expiry"},
        {"{\"dead-letter-exchange\":true}", "true is not a valid dead letter exchange name"},
        {"{\"overflow\":\"drop\"}", "<<\"drop\">> is not a valid overflow value"},
        {"{\"max-age\":\"7\"}", "<<\"7\">> is not a valid max age"},
        {"{\"max-length\":99999999999999999999}",
         "99999999999999999999 is not a valid maximum length"},
        {"{\"delayed-retry-type\":\"all\"}",
         "delayed-retry-min is required when delayed-retry-type is all"},
        {"{\"delayed-retry-type\":\"all\",\"delayed-retry-min\":5,\"delayed-retry-max\":4}",
         "delayed-retry-max (4) must not be smaller than delayed-retry-min (5)"},
        {"{\"max-length\":1,\"max-length\":2}", "[<<\"max-length\">>] duplicate keys not allowed"},
        {"{\"max-lenght\":1}", "[{<<\"max-lenght\">>,1}] are not recognised policy settings"},
        {"{\"colour\":\"red\"}",
         "[{<<\"colour\">>,<<\"red\">>}] are not recognised policy settings"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(policy_refused(true, ".*", "", cases[i].definition), cases[i].why);
    assert_string_equal(policy_refused(false, ".*", "", "{\"max-length\":1}"), "");
    assert_string_equal(policy_refused(false, ".*", "", "{\"dead-letter-exchange\":\"x\"}"),
                        "[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy "
                        "settings");
    assert_string_equal(policy_refused(true, "a(", "", "{\"max-length\":1}"),
                        "pattern should be regular expression but is invalid: {\"missing closing "
                        "parenthesis\",2}");
    assert_string_equal(policy_refused(true, ".*", "queue", "{\"max-length\":1}"),
                        "apply-to 'queue' unrecognised; should be one of: 'queues', "
                        "'classic_queues',  'quorum_queues', 'streams', 'exchanges', or 'all'");
    assert_int_not_equal(strlen(policy_refused(true, ".*", "", "{\"max-length\":")), 0);
    assert_int_not_equal(strlen(policy_refused(true, ".*", "", "")), 0);
}

static struct policies *none(void)
{
    struct policies *p = policies_new();
    assert_non_null(p);
    return p;
}

static void put(struct policies *p, bool user, const char *name, const char *pattern,
                const char *apply_to, int64_t priority, const char *definition)
{
    struct policy_text t = {.name = text_of(name),
                            .pattern = text_of(pattern),
                            .apply_to = text_of(apply_to),
                            .priority = priority,
                            .definition = text_of(definition)};
    beck_error err = {0};
    assert_int_equal(policies_put(p, user, &t, &err), BECK_OK);
}

static const char *policy_of(const struct policies *p, const char *queue, enum queue_kind kind)
{
    static char name[64];
    struct effective *e = effective_of_queue(p, text_of(queue), kind, text_of(""));
    assert_non_null(e);
    snprintf(name, sizeof(name), "%.*s/%.*s", (int)e->policy.len, (const char *)e->policy.data,
             (int)e->operator_policy.len, (const char *)e->operator_policy.data);
    effective_free(e);
    return name;
}

static void test_the_highest_priority_that_matches_applies(void **state)
{
    (void)state;
    struct policies *p = none();
    put(p, true, "low", ".*", "all", -1, "{\"max-length\":1}");
    put(p, true, "mid", "^order", "queues", 0, "{\"max-length\":2}");
    put(p, true, "high", "s$", "queues", 10, "{\"max-length\":3}");
    put(p, true, "x", ".*", "exchanges", 99, "{\"alternate-exchange\":\"ae\"}");
    put(p, true, "quorum", ".*", "quorum_queues", 50, "{\"max-length\":4}");
    put(p, true, "stream", ".*", "streams", 50, "{\"max-age\":\"1D\"}");
    put(p, false, "op", "order", "", 0, "{\"max-length\":5}");
    assert_string_equal(policy_of(p, "orders", QUEUE_CLASSIC), "high/op");
    assert_string_equal(policy_of(p, "order", QUEUE_CLASSIC), "mid/op");
    assert_string_equal(policy_of(p, "other", QUEUE_CLASSIC), "low/");
    assert_string_equal(policy_of(p, "orders", QUEUE_QUORUM), "quorum/op");
    assert_true(policies_remove(p, true, text_of("high")));
    assert_false(policies_remove(p, true, text_of("high")));
    assert_false(policies_remove(p, true, text_of("op")));
    assert_string_equal(policy_of(p, "orders", QUEUE_CLASSIC), "mid/op");
    /* Put again, it takes the place of the old one. */
    put(p, true, "low", "^order", "all", 5, "{\"max-length\":1}");
    assert_string_equal(policy_of(p, "orders", QUEUE_CLASSIC), "low/op");
    assert_string_equal(policy_of(p, "other", QUEUE_CLASSIC), "/");
    policies_free(p);
}

static void test_a_policy_with_what_a_queue_does_not_know_does_not_apply(void **state)
{
    (void)state;
    struct policies *p = none();
    put(p, true, "limit", ".*", "all", 1, "{\"delivery-limit\":3,\"max-length\":5}");
    put(p, true, "mode", ".*", "all", 0, "{\"queue-mode\":\"lazy\"}");
    assert_string_equal(policy_of(p, "q", QUEUE_CLASSIC), "mode/");
    assert_string_equal(policy_of(p, "q", QUEUE_QUORUM), "limit/");
    assert_string_equal(policy_of(p, "q", QUEUE_STREAM), "/");
    policies_free(p);
}

static struct effective *effective(const struct policies *p, enum queue_kind kind,
                                   const char *arguments)
{
    struct effective *e = effective_of_queue(p, text_of("q"), kind, arguments_of(arguments));
    assert_non_null(e);
    return e;
}

static void test_of_numbers_the_smallest_counts(void **state)
{
    (void)state;
    struct policies *p = none();
    put(p, true, "user", ".*", "", 0, "{\"message-ttl\":500,\"max-length\":100,\"expires\":9000}");
    put(p, false, "op", ".*", "", 0,
        "{\"message-ttl\":900,\"max-length\":50,\"max-length-bytes\":7}");
    struct effective *e = effective(p, QUEUE_CLASSIC, "x-message-ttl=700 x-expires=80");
    assert_int_equal(e->ttl_ms, 500);
    assert_int_equal(e->expires_ms, 80);
    assert_int_equal(e->length_max, 50);
    assert_int_equal(e->bytes_max, 7);
    assert_true(bytes_equal_text(e->policy_json, "{\"expires\":9000,\"max-length\":50,"
                                                 "\"max-length-bytes\":7,\"message-ttl\":500}"));
    effective_free(e);
    e = effective(p, QUEUE_CLASSIC, "x-message-ttl=0 x-max-length=0");
    assert_int_equal(e->ttl_ms, 0);
    assert_int_equal(e->length_max, 0);
    effective_free(e);
    policies_free(p);
}

static void test_of_other_settings_arguments_come_first(void **state)
{
    (void)state;
    struct policies *p = none();
    put(p, true, "user", ".*", "", 0,
        "{\"dead-letter-exchange\":\"dl\\u0078\",\"dead-letter-routing-key\":\"pk\","
        "\"overflow\":\"reject-publish\"}");
    put(p, false, "op", ".*", "", 0, "{\"overflow\":\"drop-head\"}");
    struct effective *e = effective(p, QUEUE_CLASSIC, "");
    assert_true(e->has_dead_letter_exchange && bytes_equal_text(e->dead_letter_exchange, "dlx"));
    assert_true(e->has_dead_letter_key && bytes_equal_text(e->dead_letter_key, "pk"));
    assert_int_equal(e->overflow, OVERFLOW_DROP_HEAD);
    effective_free(e);
    static const char arguments[] =
        "x-dead-letter-exchange= x-overflow=reject-publish-dlx x-max-priority=5 "
        "x-single-active-consumer=true";
    e = effective(p, QUEUE_CLASSIC, arguments);
    assert_true(e->has_dead_letter_exchange && e->dead_letter_exchange.len == 0);
    assert_true(bytes_equal_text(e->dead_letter_key, "pk"));
    assert_int_equal(e->overflow, OVERFLOW_REJECT_DEAD_LETTER);
    assert_int_equal(e->priority_max, 5);
    assert_true(e->single_active);
    effective_free(e);
    policies_free(p);
}

static void test_nothing_said_is_no_limit(void **state)
{
    (void)state;
    struct effective *e = effective(NULL, QUEUE_CLASSIC, "");
    assert_true(e->ttl_ms == -1 && e->expires_ms == -1 && e->length_max == -1 &&
                e->bytes_max == -1 && e->delivery_limit == -1 && e->max_age_ms == -1 &&
                e->segment_bytes == -1 && e->consumer_timeout_ms == -1);
    assert_true(e->overflow == OVERFLOW_DROP_HEAD && !e->has_dead_letter_exchange &&
                !e->has_dead_letter_key && e->priority_max == 0 && !e->single_active &&
                e->retry == RETRY_NONE && !e->at_least_once);
    assert_true(e->policy.len == 0 && e->operator_policy.len == 0);
    assert_true(bytes_equal_text(e->policy_json, "{}"));
    effective_free(e);
}

static int64_t limit_of(const struct policies *p, const char *arguments)
{
    struct effective *e = effective(p, QUEUE_QUORUM, arguments);
    int64_t limit = e->delivery_limit;
    effective_free(e);
    return limit;
}

static void test_quorum_queues_have_a_delivery_limit(void **state)
{
    (void)state;
    struct policies *p = none();
    assert_int_equal(limit_of(p, ""), 20);
    assert_int_equal(limit_of(p, "x-delivery-limit=50"), 50);
    assert_int_equal(limit_of(p, "x-delivery-limit=-1"), -1);
    put(p, true, "user", ".*", "", 0, "{\"delivery-limit\":30}");
    assert_int_equal(limit_of(p, ""), 30);
    assert_int_equal(limit_of(p, "x-delivery-limit=50"), 30);
    assert_int_equal(limit_of(p, "x-delivery-limit=5"), 5);
    assert_int_equal(limit_of(p, "x-delivery-limit=-1"), 30);
    put(p, false, "op", ".*", "", 0, "{\"delivery-limit\":-1}");
    assert_int_equal(limit_of(p, ""), 30);
    put(p, false, "op", ".*", "", 0, "{\"delivery-limit\":10}");
    assert_int_equal(limit_of(p, ""), 10);
    put(p, true, "user", ".*", "", 0, "{\"delivery-limit\":-1}");
    assert_int_equal(limit_of(p, "x-delivery-limit=-1"), 10);
    put(p, false, "op", ".*", "", 0, "{\"delivery-limit\":-1}");
    assert_int_equal(limit_of(p, ""), -1);
    policies_free(p);
}

static void test_quorum_queues_take_the_policys_overflow_and_retries(void **state)
{
    (void)state;
    struct policies *p = none();
    put(p, true, "user", ".*", "", 0,
        "{\"overflow\":\"reject-publish\",\"delayed-retry-type\":\"failed\","
        "\"delayed-retry-min\":1000}");
    struct effective *e =
        effective(p, QUEUE_QUORUM,
                  "x-overflow=drop-head x-dead-letter-exchange=dlx "
                  "x-dead-letter-strategy=at-least-once x-delayed-retry-max=8000");
    assert_int_equal(e->overflow, OVERFLOW_REJECT);
    assert_true(e->at_least_once);
    assert_int_equal(e->retry, RETRY_FAILED);
    assert_int_equal(e->retry_min_ms, 1000);
    assert_int_equal(e->retry_max_ms, 8000);
    assert_int_equal(e->priority_max, 31);
    effective_free(e);
    policies_free(p);
    e = effective(NULL, QUEUE_QUORUM,
                  "x-overflow=reject-publish-dlx x-dead-letter-exchange=dlx "
                  "x-dead-letter-strategy=at-least-once x-delayed-retry-type=all");
    assert_int_equal(e->overflow, OVERFLOW_DROP_HEAD);
    assert_false(e->at_least_once);
    assert_int_equal(e->retry, RETRY_NONE);
    effective_free(e);
}

static void test_streams_take_the_policys_retention(void **state)
{
    (void)state;
    struct policies *p = none();
    struct effective *e = effective(
        p, QUEUE_STREAM, "x-max-age=1h x-max-length-bytes=10 x-stream-max-segment-size-bytes=5");
    assert_int_equal(e->max_age_ms, 3600000);
    assert_int_equal(e->bytes_max, 10);
    assert_int_equal(e->segment_bytes, 5);
    effective_free(e);
    put(p, true, "user", ".*", "", 0, "{\"max-age\":\"2D\",\"max-length-bytes\":99}");
    e = effective(p, QUEUE_STREAM, "x-max-age=1h x-max-length-bytes=10");
    assert_int_equal(e->max_age_ms, 172800000);
    assert_int_equal(e->bytes_max, 99);
    effective_free(e);
    policies_free(p);
}

static void test_an_exchange_has_its_alternate_from_argument_or_policy(void **state)
{
    (void)state;
    struct policies *p = none();
    struct effective_exchange e;
    effective_of_exchange(NULL, text_of("x"), text_of(""), &e);
    assert_false(e.has_alternate);
    put(p, true, "ae", "^x", "exchanges", 0, "{\"alternate-exchange\":\"by-policy\"}");
    effective_of_exchange(p, text_of("y"), text_of(""), &e);
    assert_false(e.has_alternate);
    effective_of_exchange(p, text_of("x"), text_of(""), &e);
    assert_true(e.has_alternate && bytes_equal_text(e.alternate, "by-policy"));
    assert_true(bytes_equal_text(e.policy, "ae") && e.operator_policy.len == 0);
    effective_of_exchange(p, text_of("x"), arguments_of("alternate-exchange=by-argument"), &e);
    assert_true(e.has_alternate && bytes_equal_text(e.alternate, "by-argument"));
    policies_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_arguments_of_queues_are_refused_in_rabbitmqs_words),
        cmocka_unit_test(test_a_width_of_integers_is_no_matter),
        cmocka_unit_test(test_quorum_queues_and_streams_last),
        cmocka_unit_test(test_arguments_of_consumers_are_checked),
        cmocka_unit_test(test_ages_have_a_unit),
        cmocka_unit_test(test_an_alternate_exchange_is_a_name),
        cmocka_unit_test(test_a_queue_that_was_declared_otherwise_is_refused),
        cmocka_unit_test(test_integers_of_other_widths_are_equivalent),
        cmocka_unit_test(test_an_exchange_that_was_declared_otherwise_is_refused),
        cmocka_unit_test(test_wrong_policies_are_refused_in_rabbitmqs_words),
        cmocka_unit_test(test_the_highest_priority_that_matches_applies),
        cmocka_unit_test(test_a_policy_with_what_a_queue_does_not_know_does_not_apply),
        cmocka_unit_test(test_of_numbers_the_smallest_counts),
        cmocka_unit_test(test_of_other_settings_arguments_come_first),
        cmocka_unit_test(test_nothing_said_is_no_limit),
        cmocka_unit_test(test_quorum_queues_have_a_delivery_limit),
        cmocka_unit_test(test_quorum_queues_take_the_policys_overflow_and_retries),
        cmocka_unit_test(test_streams_take_the_policys_retention),
        cmocka_unit_test(test_an_exchange_has_its_alternate_from_argument_or_policy),
    };
    return cmocka_run_group_tests(tests, NULL, release_arguments);
}
