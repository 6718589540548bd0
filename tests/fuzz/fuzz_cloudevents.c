/* Events as text: whatever is read can be published, and written text says the same again. After
 * one reading (which may bring members into another order) writing is stable, byte for byte. */
#include "fuzz.h"

#include "event/cloudevents.h"
#include "event/json.h"

#include <string.h>

#define TEXT_MAX (16 << 20)

static void require_same(const beck_event *a, const beck_event *b)
{
    REQUIRE(bytes_equal(a->type, b->type));
    REQUIRE(bytes_equal(a->subject, b->subject));
    REQUIRE(bytes_equal(a->id, b->id));
    REQUIRE(bytes_equal(a->source, b->source));
    REQUIRE(a->time_ns == b->time_ns);
    bool null = bytes_equal_text(a->data, "null") && b->data.data == NULL;
    REQUIRE(null || event_data_is_json(a) || bytes_equal(a->data, b->data));
}

/* Writes the event into `out`, and reads that; NULL: a limit was met, which forms have different
 * room for. */
static beck_document *again(const beck_event *e, beck_form form, struct buf *out)
{
    beck_document *d = NULL;
    buf_clear(out);
    REQUIRE(cloudevents_write(e, form, out, NULL) == BECK_OK);
    REQUIRE(json_check(buf_bytes(out), NULL) != BECK_EINVAL);
    REQUIRE(memchr(out->data, '\n', out->len) == NULL);
    beck_status status = cloudevents_parse(buf_bytes(out), &d, NULL);
    REQUIRE(status == BECK_OK || status == BECK_ELIMIT);
    REQUIRE(d == NULL || beck_document_count(d) == 1);
    REQUIRE(d == NULL || event_check(beck_document_event(d, 0), NULL) == BECK_OK);
    return d;
}

static void there_and_back(const beck_event *e, beck_form form)
{
    struct buf first, second;
    buf_init(&first, TEXT_MAX);
    buf_init(&second, TEXT_MAX);
    beck_document *once = again(e, form, &first);
    if (once != NULL) {
        const beck_event *read = beck_document_event(once, 0);
        require_same(e, read);
        beck_document *twice = again(read, form, &first);
        if (twice != NULL) {
            beck_document_free(again(beck_document_event(twice, 0), form, &second));
            REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
        }
        beck_document_free(twice);
    }
    beck_document_free(once);
    buf_release(&first);
    buf_release(&second);
}

/* Without those that say where an event is stored: it is elsewhere once it is published again. */
static size_t count_extensions(const beck_event *e)
{
    size_t count = 0;
    for (size_t i = 0; i < e->extension_count; i++) {
        beck_bytes name = e->extensions[i].name;
        count += !bytes_equal_text(name, "beckbus") && !bytes_equal_text(name, "beckpartition") &&
                 !bytes_equal_text(name, "beckoffset");
    }
    return count;
}

/* The form between a server and beck's clients: nothing changes on the way, and whatever is read in
 * it can be published. */
static void exactly(beck_bytes json)
{
    beck_document *d = NULL, *once = NULL;
    struct buf text;
    if (cloudevents_parse_exact(json, &d, NULL) != BECK_OK) {
        REQUIRE(d == NULL);
        return;
    }
    buf_init(&text, TEXT_MAX);
    for (size_t i = 0; i < beck_document_count(d); i++) {
        const beck_event *e = beck_document_event(d, i);
        REQUIRE(event_check(e, NULL) == BECK_OK);
        buf_clear(&text);
        REQUIRE(cloudevents_write_exact(e, &text, NULL) == BECK_OK);
        REQUIRE(cloudevents_parse_exact(buf_bytes(&text), &once, NULL) == BECK_OK);
        const beck_event *read = beck_document_event(once, 0);
        REQUIRE(bytes_equal(e->data, read->data) && !e->data.data == !read->data.data);
        REQUIRE(bytes_equal(e->type, read->type) && bytes_equal(e->subject, read->subject));
        REQUIRE(bytes_equal(e->id, read->id) && bytes_equal(e->source, read->source));
        REQUIRE(e->time_ns == read->time_ns && count_extensions(e) == read->extension_count);
        REQUIRE(bytes_equal(e->bus, read->bus));
        REQUIRE(e->bus.len == 0 || e->position.offset == read->position.offset);
        beck_document_free(once);
    }
    buf_release(&text);
    beck_document_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exactly(bytes_of(data, size));
    beck_document *d = NULL;
    beck_error err = {.code = BECK_OK};
    beck_status status = cloudevents_parse(bytes_of(data, size), &d, &err);
    if (status != BECK_OK) {
        REQUIRE(err.code == status && err.text[0] != 0 && strchr(err.text, '\n') == NULL);
        REQUIRE(d == NULL);
        return 0;
    }
    REQUIRE(json_check(bytes_of(data, size), NULL) == BECK_OK);
    for (size_t i = 0; i < beck_document_count(d); i++) {
        const beck_event *e = beck_document_event(d, i);
        REQUIRE(event_check(e, NULL) == BECK_OK);
        there_and_back(e, BECK_FORM_ENVELOPE);
        if (e->id.len != 0 && e->source.len != 0) {
            there_and_back(e, BECK_FORM_CLOUDEVENTS);
        }
    }
    beck_document_free(d);
    return 0;
}
