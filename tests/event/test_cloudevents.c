/* CloudEvents 1.0 JSON: every kind of data, every refusal, batches, and writing what was read. */
#include "common.h"

#include "event/cloudevents.h"
#include "event/event.h"
#include "event/json.h"

#define NEEDED "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a.b\""

static beck_document *document;
static struct buf out;

static int setup(void **state)
{
    (void)state;
    buf_init(&out, 1 << 24);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_release(&out);
    return 0;
}

static void drop(void)
{
    beck_document_free(document);
    document = NULL;
}

/* Parses text of just that size, that is gone afterwards. */
static beck_status parse_into(const char *json, beck_error *err)
{
    size_t len = strlen(json);
    char *copy = malloc(len == 0 ? 1 : len);
    memcpy(copy, json, len);
    beck_status status = cloudevents_parse(bytes_of(copy, len), &document, err);
    memset(copy, '#', len);
    free(copy);
    return status;
}

static const beck_event *parsed(const char *json)
{
    beck_error err;
    if (parse_into(json, &err) != BECK_OK) {
        fail_msg("%s: %s", json, err.text);
    }
    assert_int_equal(beck_document_count(document), 1);
    const beck_event *e = beck_document_event(document, 0);
    assert_int_equal(event_check(e, &err), BECK_OK);
    return e;
}

static const char *written(const beck_event *e)
{
    beck_error err;
    buf_clear(&out);
    if (cloudevents_write(e, BECK_FORM_CLOUDEVENTS, &out, &err) != BECK_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(buf_terminate(&out), BECK_OK);
    assert_int_equal(json_check(buf_bytes(&out), NULL), BECK_OK);
    assert_null(strchr((const char *)out.data, '\n'));
    return (const char *)out.data;
}

static void every_attribute_is_read(void **state)
{
    (void)state;
    const beck_event *e = parsed(
        "{\"specversion\":\"1.0\",\"id\":\"A-1\",\"source\":\"/shop\",\"type\":\"order.created\","
        "\"subject\":\"ORD-789\",\"time\":\"2024-05-01T12:00:00.5+02:00\","
        "\"datacontenttype\":\"application/json\",\"dataschema\":\"https://x/y\","
        "\"correlationid\":\"c1\",\"causationid\":\"c2\",\"deliverytime\":\"2024-05-01T12:00:00Z\","
        "\"expirytime\":\"2024-05-02T12:00:00.0001Z\",\"priority\":7,"
        "\"traceparent\":\"00-ab-cd-01\",\"flag\":true,\"count\":-12,\"data\":{\"a\": [1, 2]}}");
    assert_bytes(e->id, "A-1");
    assert_bytes(e->source, "/shop");
    assert_bytes(e->type, "order.created");
    assert_bytes(e->subject, "ORD-789");
    assert_int_equal(e->time_ns, 1714557600500000000);
    assert_bytes(e->datacontenttype, "application/json");
    assert_bytes(e->dataschema, "https://x/y");
    assert_bytes(e->correlationid, "c1");
    assert_bytes(e->causationid, "c2");
    assert_int_equal(e->deliver_at_ms, 1714564800000);
    assert_int_equal(e->expires_at_ms, 1714651200001); /* never before the time that was given */
    assert_int_equal(e->priority, 7);
    assert_int_equal(e->extension_count, 3);
    assert_bytes(event_extension(e, "traceparent"), "00-ab-cd-01");
    assert_bytes(event_extension(e, "flag"), "true");
    assert_bytes(event_extension(e, "count"), "-12");
    assert_bytes(e->data, "{\"a\": [1, 2]}");
    assert_int_equal(e->position.offset, -1);
    drop();
}

static void the_needed_attributes_are_enough(void **state)
{
    (void)state;
    const beck_event *e = parsed("\n {" NEEDED "} ");
    assert_null(e->data.data);
    assert_null(e->subject.data);
    assert_int_equal(e->time_ns, 0);
    assert_int_equal(e->extension_count, 0);
    drop();
}

static void members_that_are_null_count_as_absent(void **state)
{
    (void)state;
    const beck_event *e =
        parsed("{\"subject\":null,\"time\":null,\"x\":null," NEEDED
               ",\"data\":null,\"data_base64\":\"AAE=\",\"priority\":null,\"Bad_Name\":null}");
    assert_null(e->subject.data);
    assert_int_equal(e->extension_count, 0);
    assert_int_equal(e->data.len, 2);
    drop();
}

static void data_is_given_by_its_content_type(void **state)
{
    (void)state;
    const struct {
        const char *members, *data;
        bool same; /* written as it was read */
    } cases[] = {
        {"\"data\":{\"b\" :1.0}", "{\"b\" :1.0}", true},
        {"\"data\":\"te\\u0078t\"", "\"te\\u0078t\"", true},
        {"\"data\":12.50", "12.50", true},
        {"\"data\":false", "false", true},
        {"\"data\":[]", "[]", true},
        {"\"datacontenttype\":\"application/json\",\"data\":\"x\"", "\"x\"", true},
        {"\"datacontenttype\":\"application/vnd.a+json; v=1\",\"data\":{}", "{}", true},
        {"\"datacontenttype\":\"text/plain\",\"data\":\"a\\n\\\"b\\\"\"", "a\n\"b\"", true},
        {"\"datacontenttype\":\"text/plain\",\"data\":\"\"", "", true},
        {"\"datacontenttype\":\"application/xml\",\"data\":\"<a/>\"", "<a/>", true},
        {"\"datacontenttype\":\"text/plain\",\"data\":{\"a\":1}", "{\"a\":1}", false},
        {"\"datacontenttype\":\"text/plain\",\"data\":7", "7", false},
        {"\"data_base64\":\"AP8=\"", NULL, true},
        {"\"datacontenttype\":\"image/png\",\"data_base64\":\"iVBO\\/w==\"", NULL, false},
        {"\"datacontenttype\":\"image/png\",\"data_base64\":\"iVBO/w==\"", NULL, true},
        {"\"datacontenttype\":\"text/plain\",\"data_base64\":\"aGk=\"", "hi", false},
        {"\"data_base64\":\"e30=\"", "{}", false},
        {"\"data_base64\":\"\"", "", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char json[400];
        snprintf(json, sizeof json, "{" NEEDED ",%s}", cases[i].members);
        const beck_event *e = parsed(json);
        assert_non_null(e->data.data);
        if (cases[i].data != NULL) {
            assert_bytes(e->data, cases[i].data);
        }
        if (cases[i].same) {
            assert_string_equal(written(e), json);
        }
        /* Whatever the spelling: what is written is read as the same event. */
        beck_document *first = document;
        const beck_event *again = parsed(written(e));
        assert_true(bytes_equal(e->data, again->data));
        assert_true(bytes_equal(e->datacontenttype, again->datacontenttype));
        drop();
        document = first;
        drop();
    }
}

static void data_that_json_cannot_say_is_written_as_base64(void **state)
{
    (void)state;
    const struct {
        const char *type;
        beck_bytes data;
        const char *member;
    } cases[] = {
        {NULL, beck_str("{broken"), ",\"data_base64\":\"e2Jyb2tlbg==\"}"},
        {NULL, bytes_of("", 0), ",\"data_base64\":\"\"}"},
        {NULL, beck_str("\"\xff\""), ",\"data_base64\":\"Iv8i\"}"},
        {NULL, beck_str("\"\\ud800\""), ",\"data_base64\":\"Ilx1ZDgwMCI=\"}"},
        {"text/plain", beck_str("\\ud800"), ",\"data\":\"\\\\ud800\"}"},
        {NULL, beck_str("{\"a\":\n1,\r\n\"b\":\"\\n\"}\n"),
         ",\"data\":{\"a\": 1,  \"b\":\"\\n\"}}"},
        {NULL, beck_str(" 7 "), ",\"data\": 7}"},
        {"text/plain", beck_str("\xff"), ",\"data_base64\":\"/w==\"}"},
        {"text/plain", bytes_of("a\0b", 3), ",\"data\":\"a\\u0000b\"}"},
        {"text/plain", beck_str("ї"), ",\"data\":\"ї\"}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_event e = {.type = beck_str("a"),
                        .datacontenttype = beck_str(cases[i].type),
                        .data = cases[i].data};
        const char *json = written(&e);
        if (strstr(json, cases[i].member) == NULL) {
            fail_msg("%s has no %s", json, cases[i].member);
        }
    }
}

static void an_event_is_written_with_what_it_has(void **state)
{
    (void)state;
    const beck_attribute extensions[] = {{beck_str("x"), beck_str("a\"b")},
                                         {beck_str("empty"), beck_str("")}};
    beck_event e = {.type = beck_str("order.created")};
    assert_string_equal(written(&e), "{\"specversion\":\"1.0\",\"type\":\"order.created\"}");
    e = (beck_event){.type = beck_str("t"),
                     .id = beck_str("i"),
                     .source = beck_str("/s"),
                     .subject = beck_str("S"),
                     .time_ns = 1714564800000000000,
                     .datacontenttype = beck_str("text/plain"),
                     .dataschema = beck_str("d"),
                     .data = beck_str("D"),
                     .correlationid = beck_str("c1"),
                     .causationid = beck_str("c2"),
                     .deliver_at_ms = 1,
                     .expires_at_ms = EVENT_MS_MAX,
                     .priority = 255,
                     .extensions = extensions,
                     .extension_count = 2};
    assert_string_equal(
        written(&e),
        "{\"specversion\":\"1.0\",\"id\":\"i\",\"source\":\"/s\",\"type\":\"t\",\"subject\":\"S\","
        "\"time\":\"2024-05-01T12:00:00Z\",\"datacontenttype\":\"text/plain\",\"dataschema\":\"d\","
        "\"correlationid\":\"c1\",\"causationid\":\"c2\","
        "\"deliverytime\":\"1970-01-01T00:00:00.001Z\",\"expirytime\":\"2261-12-31T23:59:59.999Z\","
        "\"priority\":255,\"x\":\"a\\\"b\",\"empty\":\"\",\"data\":\"D\"}");
}

static void the_first_instant_of_1970_is_not_taken_for_none(void **state)
{
    (void)state;
    const char *json = "{" NEEDED ",\"time\":\"1970-01-01T00:00:00Z\"}";
    const beck_event *e = parsed(json);
    assert_int_not_equal(e->time_ns, 0);
    assert_string_equal(written(e), json);
    drop();
}

static void a_bad_event_is_refused_by_member_and_byte(void **state)
{
    (void)state;
    const struct {
        const char *json, *says, *also;
    } cases[] = {
        {"{\"id\":\"1\",\"source\":\"/s\",\"type\":\"a\"}", "\"specversion\" is missing", "byte 0"},
        {" {\"specversion\":\"1.0\",\"source\":\"/s\",\"type\":\"a\"}", "\"id\" is missing",
         "byte 1"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"a\"}", "\"source\" is missing", ""},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\"}", "\"type\" is missing", ""},
        {"{\"specversion\":\"1.0\",\"id\":null,\"source\":\"/s\",\"type\":\"a\"}",
         "\"id\" is missing", ""},
        {"{}", "\"specversion\" is missing", "requires"},
        {"{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a\"}",
         "member \"specversion\" at byte 15 is \"0.3\"", "expected \"1.0\""},
        {"{\"specversion\":1.0,\"id\":\"1\",\"source\":\"/s\",\"type\":\"a\"}",
         "\"specversion\" at byte 15 must be a string", "found 1.0"},
        {"{\"specversion\":\"1.0\",\"id\":1,\"source\":\"/s\",\"type\":\"a\"}",
         "\"id\" at byte 26 must be a string", "found 1"},
        {"{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/s\",\"type\":\"a\"}",
         "\"id\" at byte 26 is empty", "1-1024 bytes"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"\",\"type\":\"a\"}",
         "\"source\" at byte 39 is empty", ""},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"\"}",
         "\"type\" at byte 51 is empty", "order.created"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a..b\"}",
         "\"type\" at byte 51 has an empty word at its byte 2", "a..b"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"a.*\"}",
         "\"type\" at byte 51 holds '*'", "for patterns"},
        {"{" NEEDED ",\"time\":\"yesterday\"}",
         "member \"time\" at byte 64 is not an RFC 3339 timestamp: \"yesterday\"",
         "expected for example \"2024-05-01T12:00:00Z\""},
        {"{" NEEDED ",\"time\":1714564800}", "\"time\" at byte 64 is not an RFC 3339 timestamp",
         ": 1714564800;"},
        {"{" NEEDED ",\"subject\":\"\"}", "\"subject\" at byte 67 is empty",
         "leave the member out"},
        {"{" NEEDED ",\"subject\":\"a\\u0007b\"}", "\"subject\" at byte 67",
         "control character (U+0007) at its byte 1"},
        {"{" NEEDED ",\"subject\":\"\\udc00\"}", "at byte 68 (line 1, column 69)", "surrogate"},
        {"{" NEEDED ",\"data\":{\"a\":[\"\\ud800\"]}}", "at byte 71", "surrogate"},
        {"{" NEEDED ",\"subject\":[\"a\"]}", "\"subject\" at byte 67 must be a string", "an array"},
        {"{" NEEDED ",\"x\":1.5}", "\"x\" at byte 61 is 1.5", "whole number"},
        {"{" NEEDED ",\"x\":2147483648}", "\"x\" at byte 61 is 2147483648", "2147483647"},
        {"{" NEEDED ",\"x\":-2147483649}", "\"x\" at byte 61 is -2147483649", "-2147483648"},
        {"{" NEEDED ",\"x\":1e3}", "\"x\" at byte 61 is 1e3", "whole number"},
        {"{" NEEDED ",\"x\":{\"y\":1}}", "\"x\" at byte 61 is an object", "expected a string"},
        {"{" NEEDED ",\"x\":[]}", "\"x\" at byte 61 is an array", "expected a string"},
        {"{" NEEDED ",\"x\":\"\\u0000\"}", "\"x\" at byte 61", "U+0000"},
        {"{" NEEDED ",\"Xy\":\"1\"}", "\"Xy\" at byte 62", "lower-case"},
        {"{" NEEDED ",\"x_y\":\"1\"}", "\"x_y\" at byte 63", "lower-case"},
        {"{" NEEDED ",\"\":\"1\"}", "\"\" at byte 60", "lower-case"},
        {"{" NEEDED ",\"id\":\"2\"}", "\"id\"", "given twice, again at byte 57"},
        {"{" NEEDED ",\"\\u0069d\":\"2\"}", "\"id\"", "given twice, again at byte 57"},
        {"{" NEEDED ",\"x\":null,\"x\":1}", "\"x\"", "given twice"},
        {"{" NEEDED ",\"data\":1,\"data_base64\":\"AA==\"}",
         "\"data_base64\" at byte 80 stands beside \"data\" (at byte 64)", "one of the two"},
        {"{" NEEDED ",\"data_base64\":\"A\"}", "\"data_base64\" at byte 71 is not base64",
         "RFC 4648"},
        {"{" NEEDED ",\"data_base64\":5}", "\"data_base64\" at byte 71 must be a string", ""},
        {"{" NEEDED ",\"datacontenttype\":\"text/plain\",\"data\":\"\\ud800\"}", "at byte 96",
         "surrogate"},
        {"{" NEEDED ",\"priority\":256}", "\"priority\" at byte 68 is 256", "0 to 255"},
        {"{" NEEDED ",\"priority\":-1}", "\"priority\" at byte 68 is -1", "0 to 255"},
        {"{" NEEDED ",\"priority\":\"high\"}", "\"priority\" at byte 68 is \"high\"", "0 to 255"},
        {"{" NEEDED ",\"expirytime\":\"1969-12-31T23:59:59Z\"}", "\"expirytime\" at byte 70",
         "after 1970"},
        {"{" NEEDED ",\"deliverytime\":5}", "\"deliverytime\" at byte 72", "RFC 3339"},
        {"{" NEEDED "} {}", "byte 58", "the end of the text"},
        {"{" NEEDED ",}", "byte 57", "member name"},
        {"{" NEEDED, "byte 56", "',' or '}'"},
        {"", "byte 0", "expected a value"},
        {"7", "the value at byte 0 is no event", "an object"},
        {"[7]", "element 0 of the batch, at byte 1", "an object"},
        {"[{" NEEDED "}, null]", "element 1 of the batch, at byte 60", "an object"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        beck_error err;
        document = NULL;
        beck_status status = parse_into(cases[i].json, &err);
        if (status == BECK_OK) {
            fail_msg("%s is accepted", cases[i].json);
        }
        assert_error(status, &err, BECK_EINVAL, cases[i].says, cases[i].also, NULL);
        assert_null(document);
    }
}

static void what_is_too_much_is_refused_with_the_limit(void **state)
{
    (void)state;
    static char json[200000];
    beck_error err;
    int len = sprintf(json, "{" NEEDED ",\"subject\":\"%01025d\"}", 0);
    assert_true(len > 0);
    assert_error(parse_into(json, &err), &err, BECK_ELIMIT, "\"subject\"", "1025", "1024", NULL);
    sprintf(json, "{" NEEDED ",\"x\":\"%065537d\"}", 0);
    assert_error(parse_into(json, &err), &err, BECK_ELIMIT, "\"x\"", "65537", "65536", NULL);
    sprintf(json, "{" NEEDED ",\"correlationid\":\"%01025d\"}", 0);
    assert_error(parse_into(json, &err), &err, BECK_ELIMIT, "\"correlationid\"", "1024", NULL);
    for (int count = 64; count <= 65; count++) {
        len = sprintf(json, "{" NEEDED);
        for (int i = 0; i < count; i++) {
            len += sprintf(json + len, ",\"x%d\":\"v\"", i);
        }
        strcpy(json + len, "}");
        beck_status status = parse_into(json, &err);
        if (count == 64) {
            assert_int_equal(status, BECK_OK);
            assert_bytes(event_extension(beck_document_event(document, 0), "x63"), "v");
            drop();
        } else {
            assert_error(status, &err, BECK_ELIMIT, "\"x64\"", "64", NULL);
        }
    }
    len = sprintf(json, "{" NEEDED);
    for (int i = 0; i < 100; i++) {
        len += sprintf(json + len, ",\"x%d\":null", i);
    }
    strcpy(json + len, "}");
    assert_error(parse_into(json, &err), &err, BECK_ELIMIT, "more than 96 members", NULL);
    assert_error(cloudevents_parse(bytes_of(json, (64 << 20) + 1), &document, &err), &err,
                 BECK_ELIMIT, "67108864", NULL);
}

static void a_batch_is_read_in_order(void **state)
{
    (void)state;
    beck_error err;
    assert_int_equal(parse_into("[]", &err), BECK_OK);
    assert_int_equal(beck_document_count(document), 0);
    assert_null(beck_document_event(document, 0));
    drop();
    struct buf json;
    buf_init(&json, 1 << 24);
    assert_int_equal(buf_append_text(&json, " [ "), BECK_OK);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(buf_printf(&json,
                                    "%s{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"/s\","
                                    "\"type\":\"t\",\"x\":\"\\u0061%d\",\"data\":%d}",
                                    i == 0 ? "" : " ,\n", i, i, i),
                         BECK_OK);
    }
    assert_int_equal(buf_append_text(&json, "]"), BECK_OK);
    assert_int_equal(cloudevents_parse(buf_bytes(&json), &document, &err), BECK_OK);
    memset(json.data, '#', json.len);
    assert_int_equal(beck_document_count(document), 3000);
    for (int i = 0; i < 3000; i++) {
        const beck_event *e = beck_document_event(document, (size_t)i);
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        assert_bytes(e->id, text);
        assert_bytes(e->data, text);
        snprintf(text, sizeof text, "a%d", i);
        assert_bytes(event_extension(e, "x"), text);
    }
    assert_null(beck_document_event(document, 3000));
    drop();
    buf_release(&json);
}

static void escapes_in_names_and_values_are_understood(void **state)
{
    (void)state;
    const beck_event *e = parsed("{\"sp\\u0065cversion\":\"1\\u002e0\",\"\\u0069\\u0064\":\"\\\"\\/"
                                 "\",\"source\":\"\\u00e9\","
                                 "\"type\":\"\\u0061.b\",\"\\u0078\":\"\\ud83d\\ude42\"}");
    assert_bytes(e->id, "\"/");
    assert_bytes(e->source, "é");
    assert_bytes(e->type, "a.b");
    assert_bytes(event_extension(e, "x"), "\xF0\x9F\x99\x82");
    drop();
}

static void writing_refuses_what_has_no_text(void **state)
{
    (void)state;
    beck_error err;
    beck_event e = {.type = beck_str("a"), .expires_at_ms = INT64_MAX};
    buf_clear(&out);
    assert_int_equal(buf_append_text(&out, "keep"), BECK_OK);
    assert_error(cloudevents_write(&e, BECK_FORM_CLOUDEVENTS, &out, &err), &err, BECK_EINVAL,
                 "expirytime", NULL);
    assert_error(cloudevents_write(&e, (beck_form)9, &out, &err), &err, BECK_EINVAL, "form 9",
                 NULL);
    assert_bytes(buf_bytes(&out), "keep");
    struct buf small;
    buf_init(&small, 20);
    e.expires_at_ms = 0;
    assert_error(cloudevents_write(&e, BECK_FORM_CLOUDEVENTS, &small, &err), &err, BECK_ELIMIT,
                 "20 bytes", NULL);
    assert_int_equal(small.len, 0);
    assert_error(cloudevents_write(&e, BECK_FORM_ENVELOPE, &small, &err), &err, BECK_ELIMIT,
                 "20 bytes", NULL);
    assert_int_equal(small.len, 0);
    buf_release(&small);
}

static void through_the_exact_form(const beck_event *e)
{
    beck_error err;
    buf_clear(&out);
    if (cloudevents_write_exact(e, &out, &err) != BECK_OK ||
        cloudevents_parse_exact(buf_bytes(&out), &document, &err) != BECK_OK) {
        fail_msg("%s: %.200s", err.text, (const char *)out.data);
    }
    const beck_event *read = beck_document_event(document, 0);
    assert_true(bytes_equal(read->data, e->data));
    assert_int_equal(read->data.data == NULL, e->data.data == NULL);
    assert_true(bytes_equal(read->id, e->id) && bytes_equal(read->source, e->source));
    assert_true(bytes_equal(read->type, e->type) && bytes_equal(read->bus, e->bus));
    assert_int_equal(read->position.offset, e->position.offset);
    assert_int_equal(read->position.partition, e->position.partition);
    assert_int_equal(read->time_ns, e->time_ns);
    assert_int_equal(read->extension_count, e->extension_count);
    for (size_t i = 0; i < e->extension_count; i++) {
        assert_true(bytes_equal(read->extensions[i].name, e->extensions[i].name));
        assert_true(bytes_equal(read->extensions[i].value, e->extensions[i].value));
    }
    drop();
}

static void the_exact_form_loses_nothing(void **state)
{
    (void)state;
    static const char *const data[] = {
        "{\"a\":1}",   " {\"a\":1}", "{\"a\":1}\n",     "{\n\"a\": 1}",
        "{\r\"a\":1}", "\"a\\nb\"",  "not JSON at all", ""};
    beck_event e = {.type = beck_str("a.b"), .position.offset = -1};
    through_the_exact_form(&e);
    for (size_t i = 0; i < COUNT(data); i++) {
        e.data = beck_str(data[i]);
        e.datacontenttype = beck_str(NULL);
        through_the_exact_form(&e);
        e.datacontenttype = beck_str("text/plain");
        through_the_exact_form(&e);
    }
    char names[EVENT_EXTENSIONS_MAX][8];
    beck_attribute list[EVENT_EXTENSIONS_MAX];
    for (size_t i = 0; i < EVENT_EXTENSIONS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "x%zu", i);
        list[i] = (beck_attribute){beck_str(names[i]), beck_str(names[i])};
    }
    e.extensions = list;
    e.extension_count = EVENT_EXTENSIONS_MAX;
    e.id = beck_str("events/2/4294967296");
    e.source = beck_str("/events");
    e.subject = beck_str("s");
    e.time_ns = 1700000000123456789;
    e.correlationid = beck_str("c");
    e.causationid = beck_str("d");
    e.priority = 3;
    e.deliver_at_ms = e.expires_at_ms = 1700000000123;
    e.dataschema = beck_str("/schema");
    e.bus = beck_str("events");
    e.position = (beck_position){9999, 4294967296};
    through_the_exact_form(&e);
}

static void positions_are_extensions_in_any_other_form(void **state)
{
    (void)state;
    beck_error err;
    const beck_event *e = parsed("{" NEEDED ",\"beckbus\":\"b\",\"beckoffset\":\"7\"}");
    assert_int_equal(e->extension_count, 2);
    assert_int_equal(e->position.offset, -1);
    drop();
    assert_error(
        cloudevents_parse_exact(beck_str("{" NEEDED ",\"beckoffset\":\"x\"}"), &document, &err),
        &err, BECK_EINVAL, "beckoffset", "whole number", NULL);
    assert_error(cloudevents_parse_exact(beck_str("{\"specversion\":\"1.0\"}"), &document, &err),
                 &err, BECK_EINVAL, "\"type\" is missing", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_attribute_is_read),
        cmocka_unit_test(the_needed_attributes_are_enough),
        cmocka_unit_test(members_that_are_null_count_as_absent),
        cmocka_unit_test(data_is_given_by_its_content_type),
        cmocka_unit_test(data_that_json_cannot_say_is_written_as_base64),
        cmocka_unit_test(an_event_is_written_with_what_it_has),
        cmocka_unit_test(the_first_instant_of_1970_is_not_taken_for_none),
        cmocka_unit_test(a_bad_event_is_refused_by_member_and_byte),
        cmocka_unit_test(what_is_too_much_is_refused_with_the_limit),
        cmocka_unit_test(a_batch_is_read_in_order),
        cmocka_unit_test(escapes_in_names_and_values_are_understood),
        cmocka_unit_test(writing_refuses_what_has_no_text),
        cmocka_unit_test(the_exact_form_loses_nothing),
        cmocka_unit_test(positions_are_extensions_in_any_other_form),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
