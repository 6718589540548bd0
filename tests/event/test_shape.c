/* Documents by tables: what is read, what is refused with which words, what is written. */
#include "event/common.h"

#include "event/api_shape.h"
#include "event/shape.h"

#include <stdlib.h>

/* Memory of one test, at most so many bytes of it. */
struct pile {
    void *list[64];
    size_t count, left;
};

static void *pile_alloc(void *ctx, size_t size)
{
    struct pile *p = ctx;
    if (size > p->left || p->count == 64) {
        return NULL;
    }
    p->left -= size;
    return p->list[p->count++] = malloc(size ? size : 1);
}

static void pile_free(struct pile *p)
{
    while (p->count > 0) {
        free(p->list[--p->count]);
    }
}

static beck_status read_in(struct pile *p, const struct shape *s, const char *json, void *out,
                           beck_error *err)
{
    struct shape_memory memory = {pile_alloc, p};
    p->left = p->left ? p->left : 1 << 20;
    return shape_read(s, beck_str(json), &memory, out, err);
}

static void check_refused(const struct shape *s, const char *json, const char *text)
{
    struct pile p = {0};
    beck_error err = {0};
    char out[4096];
    assert_true(s->size <= sizeof out);
    assert_int_equal(read_in(&p, s, json, out, &err), BECK_EINVAL);
    assert_string_equal(err.text, text);
    pile_free(&p);
}

static void check_written(const struct shape *s, const void *object, const char *json)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(shape_write(s, object, &out), BECK_OK);
    assert_int_equal(buf_terminate(&out), BECK_OK);
    assert_string_equal((char *)out.data, json);
    assert_int_equal(json_check(buf_bytes(&out), NULL), BECK_OK);
    buf_release(&out);
}

static void options_are_read_and_written(void **state)
{
    static const char json[] =
        "{\"storage\":\"disk\",\"attempts_max\":5,\"backoff\":{\"kind\":\"list\",\"first_ms\":0,"
        "\"max_ms\":0,\"jitter_percent\":101,\"list_ms\":[1000,5000]},\"deadline_ms\":-1,"
        "\"ttl_ms\":9223372036854775807,\"length_max\":7,\"overflow\":\"refuse\","
        "\"priority_max\":9,\"no_dead_letters\":true}";
    struct pile p = {0};
    beck_queue_options o;
    (void)state;
    assert_int_equal(read_in(&p, &shape_queue_options, json, &o, NULL), BECK_OK);
    assert_int_equal(o.storage, BECK_STORAGE_DISK);
    assert_int_equal(o.attempts_max, 5);
    assert_int_equal(o.backoff.kind, BECK_BACKOFF_LIST);
    assert_int_equal(o.backoff.jitter_percent, 101);
    assert_int_equal(o.backoff.list_count, 2);
    assert_int_equal(o.backoff.list_ms[1], 5000);
    assert_int_equal(o.deadline_ms, -1);
    assert_int_equal(o.ttl_ms, INT64_MAX);
    assert_int_equal(o.overflow, BECK_OVERFLOW_REFUSE);
    assert_true(o.no_dead_letters);
    check_written(&shape_queue_options, &o, json);
    pile_free(&p);
}

static void what_is_not_there_is_zero_or_its_preset(void **state)
{
    struct pile p = {0};
    struct api_tags tags;
    beck_bus_options o, none = {0};
    (void)state;
    assert_int_equal(read_in(&p, &shape_tags_retry, "{\"tags\":[]}", &tags, NULL), BECK_OK);
    assert_int_equal(tags.delay_ms, -1);
    assert_null(tags.why);
    assert_non_null(tags.tags);
    assert_int_equal(tags.count, 0);
    assert_int_equal(read_in(&p, &shape_bus_options, " { } ", &o, NULL), BECK_OK);
    assert_memory_equal(&o, &none, sizeof o);
    /* What has no name is left out. */
    check_written(&shape_bus_options, &none,
                  "{\"partitions\":0,\"read_synced\":false,\"codec\":\"none\",\"retention_ms\":0,"
                  "\"retention_bytes\":0,\"compact\":false,\"delete_retention_ms\":0,"
                  "\"segment_bytes\":0,\"segment_ms\":0,"
                  "\"dedup_window_ms\":0,\"event_bytes_max\":0}");
    pile_free(&p);
}

static void lists_and_numbers_of_64_bits_are_exact(void **state)
{
    char json[4096] = "{\"tags\":[";
    struct pile p = {0};
    struct api_tags tags;
    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(json + strlen(json), sizeof json - strlen(json), "%s\"%llu\"", i ? "," : "",
                 UINT64_MAX - (unsigned long long)i);
    }
    strcat(json, "]}");
    assert_int_equal(read_in(&p, &shape_tags, json, &tags, NULL), BECK_OK);
    assert_int_equal(tags.count, 100);
    for (size_t i = 0; i < 100; i++) {
        assert_true(tags.tags[i] == UINT64_MAX - i);
    }
    check_written(&shape_tags, &tags, json);
    pile_free(&p);
}

static void nested_documents_are_read_and_written(void **state)
{
    static const char json[] =
        "{\"deliveries\":[{\"tag\":\"18446744073709551615\",\"attempt\":2,\"redelivered\":true,"
        "\"deadline_ms\":30000,\"event\":{\"a\":[1, "
        "2,{}]}},{\"tag\":\"1\",\"attempt\":1,\"redelivered\":false,"
        "\"deadline_ms\":-1,\"event\":{}}]}";
    struct pile p = {0};
    struct api_deliveries d;
    (void)state;
    assert_int_equal(read_in(&p, &shape_deliveries, json, &d, NULL), BECK_OK);
    assert_int_equal(d.count, 2);
    assert_true(d.list[0].tag == UINT64_MAX);
    assert_true(bytes_equal_text(d.list[0].event, "{\"a\":[1, 2,{}]}"));
    assert_int_equal(d.list[1].attempt, 1);
    check_written(&shape_deliveries, &d, json);

    static const char user[] =
        "{\"name\":\"\\u00e9\\n\",\"has_password\":false,\"rules\":[{\"bus\":"
        "\"*\",\"server\":false,\"rights\":[\"publish\",\"work\"]}],"
        "\"tokens\":[\"a\",\"b\"]}";
    struct api_user u;
    assert_int_equal(read_in(&p, &shape_user, user, &u, NULL), BECK_OK);
    assert_string_equal(u.name, "\xc3\xa9\n");
    assert_int_equal(u.rules[0].rights, 1 | 4);
    assert_null(u.rules[0].queue);
    assert_string_equal(u.tokens[1], "b");
    pile_free(&p);
}

static void positions_are_read_in_all_their_forms(void **state)
{
    static const struct {
        const char *json;
        beck_from from;
        const char *written;
    } cases[] = {
        {"{\"from\":\"now\"}", {BECK_FROM_NOW, 0, 0}, "{\"from\":\"now\"}"},
        {"{\"from\":\"earliest\"}", {BECK_FROM_EARLIEST, 0, 0}, "{\"from\":\"earliest\"}"},
        {"{\"from\":17}", {BECK_FROM_OFFSET, 17, 0}, "{\"from\":17}"},
        {"{\"from\":\"17\"}", {BECK_FROM_OFFSET, 17, 0}, "{\"from\":17}"},
        {"{\"from\":\"1970-01-01T00:00:01.5Z\"}",
         {BECK_FROM_TIME, 0, 1500},
         "{\"from\":\"1970-01-01T00:00:01.500Z\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pile p = {0};
        struct api_rewind r;
        assert_int_equal(read_in(&p, &shape_rewind, cases[i].json, &r, NULL), BECK_OK);
        assert_int_equal(r.from.kind, cases[i].from.kind);
        assert_int_equal(r.from.offset, cases[i].from.offset);
        assert_int_equal(r.from.time_ms, cases[i].from.time_ms);
        check_written(&shape_rewind, &r, cases[i].written);
        pile_free(&p);
    }
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    check_refused(&shape_bus_options, "{\"partition\":1}",
                  "member \"partition\" at byte 1 is unknown; did you mean \"partitions\"?");
    check_refused(&shape_bus_options, "{\"zzzzzzzz\":1}",
                  "member \"zzzzzzzz\" at byte 1 is unknown; remove it");
    check_refused(&shape_bus_options, "{\"partitions\":1,\"partitions\":1}",
                  "member \"partitions\" at byte 16 came before; give it once");
    check_refused(&shape_bus_options, "{\"partitions\":10001}",
                  "member \"partitions\" at byte 14 is 10001; it takes a whole number from 0 to "
                  "10000");
    check_refused(&shape_bus_options, "{\"partitions\":1.0}",
                  "member \"partitions\" at byte 14 is 1.0; it takes a whole number from 0 to "
                  "10000");
    check_refused(&shape_bus_options, "{\"retention_ms\":9223372036854775808}",
                  "member \"retention_ms\" at byte 16 is 9223372036854775808; it takes a whole "
                  "number from 0 to 9223372036854775807");
    check_refused(&shape_bus_options, "{\"partitions\":\"3\"}",
                  "member \"partitions\" at byte 14 is \"3\"; it takes a whole number from 0 to "
                  "10000");
    check_refused(&shape_bus_options, "{\"level\":\"\"}",
                  "member \"level\" at byte 9 is \"\"; it takes one of \"none\" \"written\" "
                  "\"synced\"");
    check_refused(&shape_bus_options, "{\"compact\":null}",
                  "member \"compact\" at byte 11 is null; it takes true or false");
    check_refused(&shape_queue_options, "{\"backoff\":{\"first_ms\":[]}}",
                  "member \"backoff.first_ms\" at byte 23 is an array; it takes a whole number "
                  "from 0 to 9223372036854775807");
    check_refused(&shape_queue_options, "{\"backoff\":{\"kinds\":1}}",
                  "member \"backoff.kinds\" at byte 12 is unknown; did you mean \"kind\"?");
    check_refused(&shape_queue_options, "{\"backoff\":7}",
                  "member \"backoff\" at byte 11 is 7; it takes an object");
    check_refused(&shape_queue_options,
                  "{\"backoff\":{\"list_ms\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}}",
                  "member \"backoff.list_ms\" at byte 22 is an array; it takes an array of at most "
                  "16");
    check_refused(&shape_tags, "{}", "member \"tags\" is missing; give it");
    check_refused(&shape_tags, "{\"tags\":[1]}",
                  "member \"tags\" at byte 9 is 1; it takes digits in a string");
    check_refused(&shape_tags, "{\"tags\":[\"18446744073709551616\"]}",
                  "member \"tags\" at byte 9 is \"18446744073709551616\"; it takes digits in a "
                  "string");
    check_refused(&shape_token_spec, "{\"name\":\"\"}",
                  "member \"name\" at byte 8 is \"\"; it takes 1 to 255 bytes of text without "
                  "U+0000");
    check_refused(&shape_token_spec, "{\"name\":\"a\\u0000b\"}",
                  "member \"name\" at byte 8 is \"a\\u0000b\"; it takes 1 to 255 bytes of text "
                  "without U+0000");
    check_refused(&shape_rule, "{\"rights\":[\"read\",\"write\"]}",
                  "member \"rights\" at byte 18 is \"write\"; it takes one of \"publish\" \"read\" "
                  "\"work\" \"admin\" \"create\" \"describe\"");
    check_refused(&shape_rewind, "{\"from\":\"yesterday\"}",
                  "member \"from\" at byte 8 is \"yesterday\"; it takes \"now\", \"earliest\", an "
                  "offset, or a time as in RFC 3339");
    check_refused(&shape_rewind, "{\"from\":-1}",
                  "member \"from\" at byte 8 is -1; it takes \"now\", \"earliest\", an offset, or "
                  "a time as in RFC 3339");
    check_refused(&shape_tags, "[]", "the document is no JSON object; send an object");
}

static void what_follows_the_document_is_refused(void **state)
{
    struct pile p = {0};
    beck_bus_options o;
    (void)state;
    assert_int_equal(read_in(&p, &shape_bus_options, "{} {}", &o, NULL), BECK_EINVAL);
    assert_int_equal(read_in(&p, &shape_bus_options, "{", &o, NULL), BECK_EINVAL);
    assert_int_equal(read_in(&p, &shape_bus_options, "", &o, NULL), BECK_EINVAL);
    pile_free(&p);
}

static void memory_that_runs_out_is_said(void **state)
{
    struct api_user u;
    (void)state;
    for (size_t left = 1; left < 40; left++) {
        struct pile p = {.left = left};
        beck_error err = {0};
        assert_int_equal(read_in(&p, &shape_user,
                                 "{\"name\":\"a\",\"has_password\":true,\"rules\":[],\"tokens\":"
                                 "[\"one\"]}",
                                 &u, &err),
                         BECK_ENOMEM);
        assert_string_equal(err.text, "no memory to read the JSON document");
        pile_free(&p);
    }
    struct buf out;
    struct api_caller caller = {.user = "somebody"};
    for (size_t max = 0; max < 30; max++) {
        buf_init(&out, max);
        assert_int_equal(shape_write(&shape_caller, &caller, &out), BECK_ELIMIT);
        buf_release(&out);
    }
}

static void every_shape_is_described(void **state)
{
    (void)state;
    for (size_t i = 0; api_shapes[i] != NULL; i++) {
        struct buf out;
        buf_init(&out, 1 << 20);
        assert_int_equal(shape_describe(api_shapes[i], "#/components/schemas/", &out), BECK_OK);
        assert_int_equal(json_check(buf_bytes(&out), NULL), BECK_OK);
        /* Names are the keys of the schemas: each stands for one shape. */
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(api_shapes[i]->name, api_shapes[j]->name);
        }
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read_and_written),
        cmocka_unit_test(what_is_not_there_is_zero_or_its_preset),
        cmocka_unit_test(lists_and_numbers_of_64_bits_are_exact),
        cmocka_unit_test(nested_documents_are_read_and_written),
        cmocka_unit_test(positions_are_read_in_all_their_forms),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_follows_the_document_is_refused),
        cmocka_unit_test(memory_that_runs_out_is_said),
        cmocka_unit_test(every_shape_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
