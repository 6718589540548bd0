/* XML: the same records come up to the first fault whether the input comes whole or in pieces
 * (where the parser notices a fault depends on the pieces), every record is a JSON object, and
 * reading always comes to an end: each fault moves it on. The first two bytes choose the path and
 * the pieces. */
#include "fuzz.h"

#include "cli/xml.h"
#include "event/json.h"

#include <string.h>

#define RECORD_MAX 4096
#define TEXT_MAX (4 << 20)

static void read_all(const uint8_t *data, size_t size, size_t piece, uint8_t choice,
                     struct buf *out)
{
    static const char *const paths[] = {"/*/*", "//item", "/catalog/item", "//a/*"};
    struct input in;
    struct xml x;
    struct xml_path path;
    struct ingest_record r;
    beck_error err = {0};
    int64_t number = 0, results = 0;
    bool faults = false;
    REQUIRE(xml_path_parse(paths[choice & 3], &path, &err) == BECK_OK);
    input_init_memory(&in, bytes_of(data, size), piece, RECORD_MAX);
    REQUIRE(xml_init(&x, &in, &path, &err) == BECK_OK);
    x.skip = choice & 4 ? 2 : 0;
    for (;; results++) {
        enum record_result result = xml_next(&x, &r, &err);
        faults = faults || result == RECORD_BAD || result == RECORD_FAILED;
        if (result == RECORD_END || result == RECORD_FAILED) {
            break;
        }
        REQUIRE(results <= 2 * (int64_t)size + 2);
        REQUIRE(r.number >= number && r.number <= number + 1);
        REQUIRE(r.line >= 1 && r.byte >= 0 && (size_t)r.byte <= size);
        REQUIRE(result != RECORD_SKIPPED || r.number <= x.skip);
        if (result == RECORD_GOOD) {
            REQUIRE(r.number == number + 1 && r.json.len >= 2);
            REQUIRE(json_check(r.json, NULL) == BECK_OK && *(const char *)r.json.data == '{');
            REQUIRE((size_t)r.byte + r.raw.len <= size);
            REQUIRE(memcmp(data + r.byte, r.raw.data, r.raw.len) == 0);
        }
        number = r.number;
        if (!faults) {
            buf_printf(out, "%lld %lld ", (long long)r.number, (long long)r.byte);
            buf_append(out, r.json.data, result == RECORD_GOOD ? r.json.len : 0);
        }
    }
    xml_release(&x);
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
    read_all(data + 2, size - 2, 1 + data[1] % 64, data[0], &pieces);
    REQUIRE(bytes_equal(buf_bytes(&whole), buf_bytes(&pieces)));
    buf_release(&whole);
    buf_release(&pieces);
    return 0;
}
