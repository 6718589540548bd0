/* CSV: the same records come whether the input comes whole or byte by byte, every record is a JSON
 * object of strings, and every byte of the input is in at most one record, in order. The first two
 * bytes choose the dialect and the pieces. */
#include "fuzz.h"

#include "cli/csv.h"
#include "event/json.h"

#include <string.h>

#define RECORD_MAX 256
#define TEXT_MAX (1 << 20)

static void require_object(beck_bytes json)
{
    struct json_reader r;
    struct json_token t;
    json_reader_init(&r, json);
    REQUIRE(json_next(&r, &t, NULL) == BECK_OK && t.kind == JSON_OBJECT);
    while (json_next(&r, &t, NULL) == BECK_OK && t.kind == JSON_NAME) {
        REQUIRE(json_next(&r, &t, NULL) == BECK_OK && t.kind == JSON_STRING);
    }
    REQUIRE(t.kind == JSON_OBJECT_END);
    REQUIRE(json_next(&r, &t, NULL) == BECK_OK && t.kind == JSON_END);
}

/* Everything that was read, as text. */
static void read_all(const uint8_t *data, size_t size, size_t piece, uint8_t dialect,
                     struct buf *out)
{
    static const char delimiters[] = ",;\t|";
    struct input in;
    struct csv c;
    struct ingest_record r;
    beck_error err = {0};
    int64_t byte = -1, line = 0;
    input_init_memory(&in, bytes_of(data, size), piece, RECORD_MAX);
    REQUIRE(csv_init(&c, &in, delimiters[dialect & 3],
                     dialect & 4   ? '\''
                     : dialect & 8 ? -1
                                   : '"',
                     !(dialect & 16), &err) == BECK_OK);
    c.skip = dialect & 32 ? 2 : 0;
    for (int64_t number = 1;; number++) {
        enum record_result result = csv_next(&c, &r, &err);
        buf_printf(out, "%d ", (int)result);
        if (result == RECORD_END || result == RECORD_FAILED) {
            break;
        }
        REQUIRE(r.number == number && r.byte > byte && r.line > line);
        REQUIRE(r.raw.len <= RECORD_MAX && (size_t)r.byte + r.raw.len <= size);
        REQUIRE(memcmp(data + r.byte, r.raw.data, r.raw.len) == 0);
        REQUIRE((result == RECORD_SKIPPED) == (number <= c.skip));
        if (result == RECORD_GOOD) {
            require_object(r.json);
        }
        byte = r.byte;
        line = r.line;
        buf_printf(out, "%lld %lld ", (long long)r.byte, (long long)r.line);
        buf_append(out, r.json.data, result == RECORD_GOOD ? r.json.len : 0);
    }
    csv_release(&c);
    input_release(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;
    if (size < 2) {
        return 0;
    }
    buf_init(&whole, TEXT_MAX);
    buf_init(&pieces, TEXT_MAX);
    read_all(data + 2, size - 2, SIZE_MAX, data[0], &whole);
    read_all(data + 2, size - 2, 1 + data[1] % 8, data[0], &pieces);
    REQUIRE(bytes_equal(buf_bytes(&whole), buf_bytes(&pieces)));
    buf_release(&whole);
    buf_release(&pieces);
    return 0;
}
