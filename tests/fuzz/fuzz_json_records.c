/* JSON over several lines: the same records come whether the input comes whole or byte by byte, those
 * in lines of their own are one line, every byte is in at most one record, in order, and stepping
 * over records gives the rest the numbers that they had. The first byte chooses the pieces. */
#include "fuzz.h"

#include "cli/json_records.h"
#include "event/json.h"

#include <string.h>

#define RECORD_MAX 256
#define TEXT_MAX (4 << 20)

static void read_all(const uint8_t *data, size_t size, size_t piece, int64_t skip, struct buf *out)
{
    struct input in;
    struct json_records j;
    struct ingest_record r;
    beck_error err = {0};
    enum record_result result;
    int64_t number = 0, end = 0;
    enum json_start start;
    input_init_memory(&in, bytes_of(data, size), piece, RECORD_MAX);
    REQUIRE(json_records_start(&in, &start));
    buf_printf(out, "%d", (int)start);
    json_records_init(&j, &in);
    j.skip = skip;
    while ((result = json_records_next(&j, &r, &err)) != RECORD_END && result != RECORD_FAILED) {
        REQUIRE(r.number == number + 1 || (r.number == number && result != RECORD_GOOD));
        REQUIRE(r.byte >= end && (size_t)r.byte + r.raw.len <= size);
        REQUIRE(bytes_equal(bytes_of(data + r.byte, r.raw.len), r.raw));
        REQUIRE((result == RECORD_SKIPPED) == (r.number <= skip));
        number = r.number;
        end = r.byte + (int64_t)r.raw.len;
        if (result == RECORD_GOOD) {
            REQUIRE(!memchr(r.json.data, '\n', r.json.len));
            REQUIRE(r.json.data == r.raw.data || json_check(r.json, NULL) == BECK_OK);
        }
        if (number > 2) {
            buf_printf(out, "\n%d %lld %lld %lld ", (int)result, (long long)number,
                       (long long)r.line, (long long)r.byte);
            buf_append(out, r.json.data, result == RECORD_GOOD ? r.json.len : 0);
        }
    }
    buf_printf(out, "\n%d", (int)result);
    json_records_release(&j);
    input_release(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces, rest;
    if (size < 1) {
        return 0;
    }
    buf_init(&whole, TEXT_MAX);
    buf_init(&pieces, TEXT_MAX);
    buf_init(&rest, TEXT_MAX);
    read_all(data + 1, size - 1, SIZE_MAX, 0, &whole);
    read_all(data + 1, size - 1, 1 + data[0] % 8, 0, &pieces);
    read_all(data + 1, size - 1, SIZE_MAX, 2, &rest);
    REQUIRE(bytes_equal(buf_bytes(&whole), buf_bytes(&pieces)));
    REQUIRE(bytes_equal(buf_bytes(&whole), buf_bytes(&rest)));
    buf_release(&whole);
    buf_release(&pieces);
    buf_release(&rest);
    return 0;
}
