/* NDJSON: the same lines come whether the input comes whole or byte by byte, and what is taken from
 * a line that is read without an error is text of it. The first byte chooses the pieces. */
#include "fuzz.h"

#include "cli/fields.h"
#include "cli/ndjson.h"
#include "event/json.h"

#include <string.h>

#define RECORD_MAX 512
#define TEXT_MAX (4 << 20)

static void read_fields(struct fields *f, beck_bytes json, struct buf *out)
{
    beck_error err = {0};
    beck_status status = fields_read(f, json, &err);
    buf_printf(out, "%d ", status);
    if (status != BECK_OK) {
        REQUIRE(err.code == status && err.text[0] != 0);
        return;
    }
    REQUIRE(json_check(json, NULL) == BECK_OK);
    for (int i = 0; i < FIELDS; i++) {
        REQUIRE(f->values[i].len <= json.len && bytes_is_utf8(f->values[i]));
        buf_append(out, f->values[i].data, f->values[i].len);
    }
    buf_printf(out, "%d", f->is_event);
}

static void read_all(const uint8_t *data, size_t size, size_t piece, struct buf *out)
{
    static const char *const paths[FIELDS] = {"type", "/who/na~1me/x", "id", "/time"};
    struct input in;
    struct ndjson n;
    struct fields f;
    struct ingest_record r;
    beck_error err = {0};
    int64_t number = 0, byte = -1;
    input_init_memory(&in, bytes_of(data, size), piece, RECORD_MAX);
    ndjson_init(&n, &in);
    fields_init(&f, paths, RECORD_MAX);
    for (;;) {
        enum record_result result = ndjson_next(&n, &r, &err);
        REQUIRE(result == RECORD_GOOD || result == RECORD_BAD || result == RECORD_END);
        buf_printf(out, "\n%d ", (int)result);
        if (result == RECORD_END) {
            break;
        }
        REQUIRE(r.number > number && r.line == r.number && r.byte > byte);
        REQUIRE((size_t)r.byte + r.raw.len <= size);
        REQUIRE(memcmp(data + r.byte, r.raw.data, r.raw.len) == 0);
        number = r.number;
        byte = r.byte;
        buf_printf(out, "%lld ", (long long)number);
        if (result == RECORD_GOOD) {
            read_fields(&f, r.json, out);
        }
    }
    fields_release(&f);
    input_release(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;
    if (size < 1) {
        return 0;
    }
    buf_init(&whole, TEXT_MAX);
    buf_init(&pieces, TEXT_MAX);
    read_all(data + 1, size - 1, SIZE_MAX, &whole);
    read_all(data + 1, size - 1, 1 + data[0] % 8, &pieces);
    REQUIRE(bytes_equal(buf_bytes(&whole), buf_bytes(&pieces)));
    buf_release(&whole);
    buf_release(&pieces);
    return 0;
}
