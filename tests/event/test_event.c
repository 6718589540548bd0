/* Checking, copying and looking up. */
#include "common.h"

#include "event/event.h"

static beck_event minimal(void)
{
    return (beck_event){.type = beck_str("order.created")};
}

static void only_the_type_is_needed(void **state)
{
    (void)state;
    beck_event e = minimal();
    assert_int_equal(event_check(&e, NULL), BECK_OK);
}

static void a_full_event_is_accepted(void **state)
{
    (void)state;
    const beck_attribute extensions[] = {
        {beck_str("traceparent"),
         beck_str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},
        {beck_str("x2"), beck_str("тест \xF0\x9F\x99\x82")},
        {beck_str("empty"), beck_str("")},
    };
    beck_event e = minimal();
    e.subject = beck_str("ORD-789");
    e.source = beck_str("/shop");
    e.id = beck_str("1");
    e.time_ns = -5;
    e.priority = 255;
    e.deliver_at_ms = EVENT_MS_MAX;
    e.expires_at_ms = 1;
    e.data = bytes_of("\x00\xff", 2);
    e.extensions = extensions;
    e.extension_count = 3;
    assert_int_equal(event_check(&e, NULL), BECK_OK);
}

static void a_bad_type_is_refused_with_the_byte(void **state)
{
    (void)state;
    char longest[257];
    memset(longest, 'x', 256);
    longest[256] = 0;
    const struct {
        const char *type, *says, *also;
    } cases[] = {
        {NULL, "\"type\" is missing", "order.created"},
        {"", "\"type\" is missing", "order.created"},
        {"a..b", "empty word at its byte 2", "\"a..b\""},
        {".a", "empty word at its byte 0", "\".a\""},
        {"a.", "empty word at its byte 2", "\"a.\""},
        {"a.*", "'*' at its byte 2", "for patterns"},
        {"a.b#", "'#' at its byte 3", "for patterns"},
        {"a\nb", "control character (U+000A) at its byte 1", "remove it"},
        {"a\xc2\x85", "control character (U+0085) at its byte 1", "remove it"},
        {"long.enough.\x7f", "U+007F", "byte 12"},
        {"\xed\xa0\x80", "not UTF-8", "byte 0"},
        {"ab\xc0\xaf", "not UTF-8", "byte 2"},
        {"a\xef\xbf\xbe", "noncharacter U+FFFE", "byte 1"},
        {"a\xef\xb7\x90", "noncharacter U+FDD0", "byte 1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_event e = {.type = beck_str(cases[i].type)};
        beck_error err;
        assert_error(event_check(&e, &err), &err, BECK_EINVAL, cases[i].says, cases[i].also, NULL);
    }
    beck_event e = {.type = beck_str(longest)};
    beck_error err;
    assert_error(event_check(&e, &err), &err, BECK_ELIMIT, "type", "256 bytes", "255", NULL);
    e.type.len = 255;
    assert_int_equal(event_check(&e, &err), BECK_OK);
}

static void a_bad_attribute_is_refused_by_name(void **state)
{
    (void)state;
    char big[EVENT_ATTRIBUTE_MAX + 1];
    memset(big, 'x', sizeof big);
    beck_event e = minimal();
    const struct {
        const char *name;
        beck_bytes *field;
    } fields[] = {
        {"\"subject\"", &e.subject},
        {"\"source\"", &e.source},
        {"\"id\"", &e.id},
        {"\"datacontenttype\"", &e.datacontenttype},
        {"\"dataschema\"", &e.dataschema},
        {"\"correlationid\"", &e.correlationid},
        {"\"causationid\"", &e.causationid},
    };
    for (size_t i = 0; i < COUNT(fields); i++) {
        beck_error err;
        e = minimal();
        *fields[i].field = bytes_of(big, sizeof big);
        assert_error(event_check(&e, &err), &err, BECK_ELIMIT, fields[i].name, "1025", "1024",
                     NULL);
        *fields[i].field = bytes_of(big, EVENT_ATTRIBUTE_MAX);
        assert_int_equal(event_check(&e, &err), BECK_OK);
        *fields[i].field = beck_str("tab\there");
        assert_error(event_check(&e, &err), &err, BECK_EINVAL, fields[i].name, "U+0009", "byte 3",
                     NULL);
    }
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    beck_error err;
    beck_event e = minimal();
    e.priority = 256;
    assert_error(event_check(&e, &err), &err, BECK_EINVAL, "\"priority\" is 256", "0-255", NULL);
    e = minimal();
    e.deliver_at_ms = -1;
    assert_error(event_check(&e, &err), &err, BECK_EINVAL, "\"deliverytime\" is -1", NULL);
    e = minimal();
    e.expires_at_ms = EVENT_MS_MAX + 1;
    assert_error(event_check(&e, &err), &err, BECK_EINVAL, "\"expirytime\"", "2261", NULL);
}

static void bad_extensions_are_refused(void **state)
{
    (void)state;
    const struct {
        beck_attribute x;
        const char *says;
    } cases[] = {
        {{beck_str("Upper"), beck_str("v")}, "\"Upper\""},
        {{beck_str("with_underscore"), beck_str("v")}, "1-64 lower-case"},
        {{beck_str(""), beck_str("v")}, "1-64 lower-case"},
        {{beck_str("subject"), beck_str("v")}, "attribute of its own"},
        {{beck_str("priority"), beck_str("1")}, "attribute of its own"},
        {{beck_str("data"), beck_str("1")}, "attribute of its own"},
        {{beck_str("once"), beck_str("v")}, "\"once\" is given twice"},
        {{beck_str("x"), beck_str("a\rb")}, "extension \"x\" holds a control character"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_error err;
        const beck_attribute extensions[] = {{beck_str("once"), beck_str("v")}, cases[i].x};
        beck_event e = minimal();
        e.extensions = extensions;
        e.extension_count = 2;
        assert_error(event_check(&e, &err), &err, BECK_EINVAL, cases[i].says, NULL);
    }
    beck_attribute many[EVENT_EXTENSIONS_MAX + 1];
    char names[EVENT_EXTENSIONS_MAX + 1][4];
    for (size_t i = 0; i < COUNT(many); i++) {
        snprintf(names[i], sizeof names[i], "x%zu", i);
        many[i] = (beck_attribute){beck_str(names[i]), beck_str("v")};
    }
    beck_error err;
    beck_event e = minimal();
    e.extensions = many;
    e.extension_count = EVENT_EXTENSIONS_MAX;
    assert_int_equal(event_check(&e, &err), BECK_OK);
    e.extension_count++;
    assert_error(event_check(&e, &err), &err, BECK_ELIMIT, "65 extensions", "64", NULL);
}

static void a_copy_owns_everything(void **state)
{
    (void)state;
    char type[] = "order.created", subject[] = "ORD-1", data[] = "{}", name[] = "x", value[] = "v";
    beck_attribute extensions[] = {{beck_str(name), beck_str(value)},
                                   {beck_str("empty"), bytes_of("", 0)}};
    beck_event e = {.type = beck_str(type),
                    .subject = beck_str(subject),
                    .data = beck_str(data),
                    .bus = beck_str("shop"),
                    .priority = 7,
                    .position = {1, 2},
                    .extensions = extensions,
                    .extension_count = 2};
    struct buf memory;
    buf_init(&memory, 1 << 20);
    beck_event copy;
    assert_int_equal(event_copy(&e, &memory, &copy), BECK_OK);
    memset(type, '-', sizeof type);
    memset(subject, '-', sizeof subject);
    memset(data, '-', sizeof data);
    memset(name, '-', sizeof name);
    memset(value, '-', sizeof value);
    memset(extensions, 0, sizeof extensions);
    assert_bytes(copy.type, "order.created");
    assert_bytes(copy.subject, "ORD-1");
    assert_bytes(copy.data, "{}");
    assert_bytes(copy.bus, "shop");
    assert_bytes(event_extension(&copy, "x"), "v");
    assert_non_null(event_extension(&copy, "empty").data);
    assert_null(event_extension(&copy, "other").data);
    assert_null(copy.source.data);
    assert_int_equal(copy.priority, 7);
    assert_int_equal(copy.position.offset, 2);
    buf_release(&memory);
}

static void a_copy_keeps_absent_and_empty_data_apart(void **state)
{
    (void)state;
    struct buf memory;
    buf_init(&memory, 1 << 20);
    beck_event copy;
    beck_event e = minimal();
    assert_int_equal(event_copy(&e, &memory, &copy), BECK_OK);
    assert_null(copy.data.data);
    e.data = bytes_of("", 0);
    assert_int_equal(event_copy(&e, &memory, &copy), BECK_OK);
    assert_non_null(copy.data.data);
    assert_int_equal(copy.data.len, 0);
    buf_release(&memory);
}

static void a_copy_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct buf memory;
    buf_init(&memory, 8);
    beck_event e = minimal();
    beck_event copy = {.priority = 3};
    assert_int_equal(event_copy(&e, &memory, &copy), BECK_ELIMIT);
    assert_int_equal(copy.priority, 3);
    buf_release(&memory);
}

static void json_is_told_by_the_content_type(void **state)
{
    (void)state;
    const struct {
        const char *type;
        bool json;
    } cases[] = {
        {NULL, true},
        {"", true},
        {"application/json", true},
        {"Application/JSON", true},
        {"application/json; charset=utf-8", true},
        {"application/json ;x=\"+json\"", true},
        {"text/json", true},
        {"application/vnd.shop+json", true},
        {"application/vnd.shop+json;v=1", true},
        {"application/jsonp", false},
        {"xapplication/json", false},
        {"text/plain", false},
        {"text/plain; x=+json", false},
        {"application/xml", false},
        {"application/octet-stream", false},
        {";", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_event e = {.datacontenttype = beck_str(cases[i].type)};
        if (event_data_is_json(&e) != cases[i].json) {
            fail_msg("\"%s\" is not %d", cases[i].type, cases[i].json);
        }
    }
}

static void quoting_keeps_messages_on_one_line(void **state)
{
    (void)state;
    char out[EVENT_QUOTE_MAX];
    assert_string_equal(event_quote(beck_str("a\nb\xff\x7f"), out), "\"a?b??\"");
    assert_string_equal(event_quote(beck_str(NULL), out), "\"\"");
    char longer[200];
    for (size_t i = 0; i < sizeof longer; i += 2) {
        memcpy(longer + i, "\xd0\x96", 2);
    }
    event_quote(bytes_of(longer, sizeof longer), out);
    assert_true(strlen(out) < EVENT_QUOTE_MAX);
    assert_true(bytes_is_utf8(beck_str(out)));
    assert_non_null(strstr(out, "...\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_type_is_needed),
        cmocka_unit_test(a_full_event_is_accepted),
        cmocka_unit_test(a_bad_type_is_refused_with_the_byte),
        cmocka_unit_test(a_bad_attribute_is_refused_by_name),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(bad_extensions_are_refused),
        cmocka_unit_test(a_copy_owns_everything),
        cmocka_unit_test(a_copy_keeps_absent_and_empty_data_apart),
        cmocka_unit_test(a_copy_that_does_not_fit_is_refused),
        cmocka_unit_test(json_is_told_by_the_content_type),
        cmocka_unit_test(quoting_keeps_messages_on_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
