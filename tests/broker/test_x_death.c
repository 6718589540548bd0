/* What a message says about its deaths, and which of them go round for ever. */
#include "tables.h"

#include "broker/dead_letter_headers.h"

/* ---- printing ---- */

static void print_value(const struct table_value *v, char *out);

static void print_table(beck_bytes table, char *out)
{
    beck_bytes name;
    struct table_value v;
    for (size_t at = 0, n = 0; table_next(table, &at, &name, &v); n++) {
        sprintf(out + strlen(out), "%s%.*s=", n > 0 ? " " : "", (int)name.len,
                (const char *)name.data);
        print_value(&v, out + strlen(out));
    }
}

/* Numbers with their letter, texts, [arrays], {tables}. */
static void print_value(const struct table_value *v, char *out)
{
    *out = 0;
    if (v->kind == TABLE_TEXT) {
        sprintf(out, "%.*s", (int)v->bytes.len, (const char *)v->bytes.data);
    } else if (v->kind == TABLE_TABLE) {
        strcat(out, "{");
        print_table(v->bytes, out + 1);
        strcat(out, "}");
    } else if (v->kind == TABLE_ARRAY) {
        struct table_value item;
        strcat(out, "[");
        for (size_t at = 0, n = 0; array_next(v->bytes, &at, &item); n++) {
            strcat(out, n > 0 ? "," : "");
            print_value(&item, out + strlen(out));
        }
        strcat(out, "]");
    } else {
        sprintf(out, "%lld%c", (long long)v->integer, v->letter);
    }
}

/* ---- a message that dies, again and again ---- */

struct message {
    struct buf raw;
    bool died;
};

static void message_init(struct message *m, const struct properties *p)
{
    *m = (struct message){0};
    buf_init(&m->raw, TABLE_BYTES_MAX);
    assert_int_equal(properties_write(&m->raw, p), BECK_OK);
}

static void die(struct message *m, const char *queue, const char *reason, const char *exchange,
                const char *key, bool new_key)
{
    static int64_t now_s = 1700000000;
    struct buf out;
    struct death d = {.queue = text_of(queue),
                      .reason = reason,
                      .exchange = text_of(exchange),
                      .routing_key = text_of(key),
                      .time_s = now_s,
                      .died_before = m->died,
                      .new_key = new_key};
    buf_init(&out, TABLE_BYTES_MAX);
    assert_int_equal(death_write(&out, buf_bytes(&m->raw), &d, NULL), BECK_OK);
    buf_release(&m->raw);
    m->raw = out;
    m->died = true;
}

static struct properties properties_of(const struct message *m)
{
    struct properties p;
    assert_int_equal(properties_read(buf_bytes(&m->raw), &p, NULL), BECK_OK);
    return p;
}

static const char *header(const struct message *m, const char *name)
{
    static char text[4096];
    struct table_value v;
    text[0] = 0;
    if (!table_find(properties_of(m).headers, name, &v))
        return "none";
    print_value(&v, text);
    return text;
}

static void test_the_first_death_is_written_down(void **state)
{
    (void)state;
    struct message m;
    struct properties p = {.flags = PROPERTY_EXPIRATION | PROPERTY_MESSAGE_ID,
                           .expiration = text_of("060000"),
                           .message_id = text_of("id")};
    message_init(&m, &p);
    die(&m, "q", "expired", "amq.direct", "key", false);
    assert_string_equal(header(&m, "x-death"),
                        "[{original-expiration=60000 count=1l reason=expired queue=q "
                        "time=1700000000T exchange=amq.direct routing-keys=[key]}]");
    assert_string_equal(header(&m, "x-first-death-queue"), "q");
    assert_string_equal(header(&m, "x-first-death-reason"), "expired");
    assert_string_equal(header(&m, "x-first-death-exchange"), "amq.direct");
    assert_string_equal(header(&m, "x-last-death-queue"), "q");
    assert_string_equal(header(&m, "x-last-death-reason"), "expired");
    assert_string_equal(header(&m, "x-last-death-exchange"), "amq.direct");
    p = properties_of(&m);
    assert_int_equal(p.flags, PROPERTY_HEADERS | PROPERTY_MESSAGE_ID);
    assert_true(bytes_equal_text(p.message_id, "id"));
    buf_release(&m.raw);
}

static void test_each_queue_and_reason_is_counted_and_the_newest_comes_first(void **state)
{
    (void)state;
    struct message m;
    struct properties p = {0};
    message_init(&m, &p);
    die(&m, "work", "rejected", "jobs", "k", false);
    die(&m, "wait", "expired", "retry", "k", false);
    assert_string_equal(header(&m, "x-death"),
                        "[{count=1l reason=expired queue=wait time=1700000000T exchange=retry "
                        "routing-keys=[k]},{count=1l reason=rejected queue=work time=1700000000T "
                        "exchange=jobs routing-keys=[k]}]");
    die(&m, "work", "rejected", "other", "l", false);
    assert_string_equal(header(&m, "x-death"),
                        "[{count=2l reason=rejected queue=work time=1700000000T exchange=jobs "
                        "routing-keys=[k]},{count=1l reason=expired queue=wait time=1700000000T "
                        "exchange=retry routing-keys=[k]}]");
    die(&m, "work", "maxlen", "other", "l", false);
    assert_string_equal(header(&m, "x-first-death-queue"), "work");
    assert_string_equal(header(&m, "x-first-death-reason"), "rejected");
    assert_string_equal(header(&m, "x-first-death-exchange"), "jobs");
    assert_string_equal(header(&m, "x-last-death-queue"), "work");
    assert_string_equal(header(&m, "x-last-death-reason"), "maxlen");
    assert_string_equal(header(&m, "x-last-death-exchange"), "other");
    for (int i = 0; i < 10; i++) {
        die(&m, "work", "rejected", "x", "k", false);
        die(&m, "wait", "expired", "x", "k", false);
    }
    struct table_value deaths, entry, count;
    assert_true(table_find(properties_of(&m).headers, "x-death", &deaths));
    static const int counts[] = {11, 12, 1};
    size_t at = 0, n = 0;
    for (; array_next(deaths.bytes, &at, &entry); n++) {
        assert_true(table_find(entry.bytes, "count", &count));
        assert_int_equal(count.integer, counts[n]);
    }
    assert_int_equal(n, 3);
    buf_release(&m.raw);
}

static void test_other_headers_stay(void **state)
{
    (void)state;
    struct message m;
    struct buf headers;
    struct properties p = {.flags = PROPERTY_HEADERS,
                           .headers = table_of(&headers, "a=1 b=void c=x")};
    message_init(&m, &p);
    buf_release(&headers);
    die(&m, "q", "maxlen", "", "q", false);
    die(&m, "q2", "delivery_limit", "", "q2", false);
    assert_string_equal(header(&m, "a"), "1I");
    assert_string_equal(header(&m, "b"), "0V");
    assert_string_equal(header(&m, "c"), "x");
    assert_string_equal(header(&m, "x-last-death-reason"), "delivery_limit");
    size_t at = 0, n = 0;
    beck_bytes name;
    struct table_value v;
    for (p = properties_of(&m); table_next(p.headers, &at, &name, &v);)
        n++;
    assert_int_equal(n, 3 + 7);
    buf_release(&m.raw);
}

static void put_keys(struct buf *out, const char *name, const char *a, const char *b)
{
    size_t array = table_begin(out, name, 'A');
    array_put(out, &(struct table_value){.letter = 'S', .bytes = text_of(a)});
    array_put(out, &(struct table_value){.letter = 'S', .bytes = text_of(b)});
    table_end(out, array);
}

static void test_keys_of_cc_are_written_down_and_those_of_bcc_are_not(void **state)
{
    (void)state;
    struct buf headers;
    struct message m[2];
    buf_init(&headers, TABLE_BYTES_MAX);
    put_keys(&headers, "CC", "c1", "c2");
    put_keys(&headers, "BCC", "b1", "b2");
    struct properties p = {.flags = PROPERTY_HEADERS, .headers = buf_bytes(&headers)};
    for (int i = 0; i < 2; i++) {
        message_init(&m[i], &p);
        die(&m[i], "q", "rejected", "x", "k", i == 1);
        assert_string_equal(header(&m[i], "x-death"),
                            "[{count=1l reason=rejected queue=q time=1700000000T exchange=x "
                            "routing-keys=[k,c1,c2]}]");
    }
    /* With a key of the queue's own it goes nowhere else. */
    assert_string_equal(header(&m[0], "CC"), "[c1,c2]");
    assert_string_equal(header(&m[0], "BCC"), "[b1,b2]");
    assert_string_equal(header(&m[1], "CC"), "none");
    assert_string_equal(header(&m[1], "BCC"), "none");
    buf_release(&m[0].raw);
    buf_release(&m[1].raw);
    buf_release(&headers);
}

static void test_what_a_client_wrote_is_not_believed(void **state)
{
    (void)state;
    struct message m;
    struct properties p = {0};
    message_init(&m, &p);
    die(&m, "q", "rejected", "x", "k", false);
    die(&m, "q", "rejected", "x", "k", false);
    /* A client publishes it with the headers that it got. */
    m.died = false;
    die(&m, "other", "rejected", "y", "l", false);
    assert_string_equal(header(&m, "x-death"),
                        "[{count=1l reason=rejected queue=other time=1700000000T exchange=y "
                        "routing-keys=[l]}]");
    assert_string_equal(header(&m, "x-first-death-queue"), "other");
    buf_release(&m.raw);
}

static bool goes_round(const struct message *m, const char *reason, const char *queue)
{
    struct properties p = properties_of(m);
    return death_is_cycle(&p, reason, text_of(queue));
}

static void test_a_cycle_without_a_rejection_ends(void **state)
{
    (void)state;
    struct message m;
    struct properties p = {0};
    message_init(&m, &p);
    assert_false(goes_round(&m, "expired", "a"));
    die(&m, "a", "expired", "", "a", false);
    assert_true(goes_round(&m, "expired", "a"));
    assert_false(goes_round(&m, "expired", "b"));
    die(&m, "b", "maxlen", "", "b", false);
    assert_true(goes_round(&m, "maxlen", "a"));
    assert_true(goes_round(&m, "maxlen", "b"));
    /* A rejection is somebody's will, as long as it is newer than what would be repeated. */
    assert_false(goes_round(&m, "rejected", "a"));
    die(&m, "c", "rejected", "", "c", false);
    assert_false(goes_round(&m, "rejected", "c"));
    die(&m, "d", "expired", "", "d", false);
    assert_false(goes_round(&m, "expired", "a"));
    assert_false(goes_round(&m, "expired", "c"));
    assert_true(goes_round(&m, "expired", "d"));
    die(&m, "a", "expired", "", "a", false);
    assert_true(goes_round(&m, "expired", "a"));
    assert_true(goes_round(&m, "expired", "d"));
    assert_false(goes_round(&m, "expired", "b"));
    buf_release(&m.raw);
}

static void test_what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct death d = {.queue = text_of("q"), .reason = "rejected", .exchange = text_of("x")};
    struct buf out;
    beck_error err;
    buf_init(&out, 20);
    assert_int_equal(death_write(&out, bytes_of("\0\0", 2), &d, &err), BECK_ELIMIT);
    buf_release(&out);
    buf_init(&out, 2000);
    assert_int_equal(death_write(&out, bytes_of("\x20\0\0\0\0\1x", 7), &d, &err), BECK_EINVAL);
    assert_int_equal(out.len, 0);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_death_is_written_down),
        cmocka_unit_test(test_each_queue_and_reason_is_counted_and_the_newest_comes_first),
        cmocka_unit_test(test_other_headers_stay),
        cmocka_unit_test(test_keys_of_cc_are_written_down_and_those_of_bcc_are_not),
        cmocka_unit_test(test_what_a_client_wrote_is_not_believed),
        cmocka_unit_test(test_a_cycle_without_a_rejection_ends),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
