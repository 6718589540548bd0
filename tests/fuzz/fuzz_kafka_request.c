/* What Kafka's clients send: a key, a version, and the request. What is read is written, read and written
 * again, and must be the same. */
#include "fuzz.h"

#include "wire/kafka/wire_impl.h"

#include <stdlib.h>

#define ARENA (16 << 20)

static void there_and_back(const struct kafka_table *t, int16_t version, beck_bytes in)
{
    struct kafka_arena a;
    struct buf first, second;
    kafka_arena_init(&a, ARENA);
    buf_init(&first, ARENA);
    buf_init(&second, ARENA);
    void *message = kafka_alloc(&a, t->size), *again = kafka_alloc(&a, t->size);
    size_t used;
    if (message && again && !kafka_decode(t, version, in, &a, message, &used, NULL)) {
        REQUIRE(used <= in.len);
        REQUIRE(!kafka_encode_bytes(t, version, message, &first));
        REQUIRE(first.len <= used);
        beck_status status = kafka_decode(t, version, buf_bytes(&first), &a, again, &used, NULL);
        REQUIRE(!status || status == BECK_ELIMIT);
        if (!status) {
            REQUIRE(used == first.len);
            REQUIRE(!kafka_encode_bytes(t, version, again, &second));
            REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
        }
    }
    buf_release(&first);
    buf_release(&second);
    kafka_arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    const struct api *api = api_find((int16_t)get_u16(data));
    int16_t version = (int16_t)get_u16(data + 2);
    if (!api || version < api->first || version > api->last)
        return 0;
    there_and_back(api->request(), version, bytes_of(data + 4, size - 4));
    there_and_back(api->response(), version, bytes_of(data + 4, size - 4));
    return 0;
}
