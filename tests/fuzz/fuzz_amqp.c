/* What AMQP clients send: frames in any order, methods, headers of content. What is read is written
 * again, and must be the same. */
#include "fuzz.h"

#include "broker/properties.h"
#include "wire/amqp/frames.h"
#include "wire/amqp/methods.h"

#include <stdlib.h>

/* Bits that no field has may be lost, so what was written is read and written once more. */
static void read_method(beck_bytes payload)
{
    struct method m, again;
    if (method_read(payload, &m) != METHOD_READ)
        return;
    size_t len = method_length(&m);
    REQUIRE(len == payload.len);
    uint8_t *first = malloc(len), *second = malloc(len);
    if (first && second) {
        REQUIRE(method_write(&m, first) == first + len);
        REQUIRE(method_read(bytes_of(first, len), &again) == METHOD_READ);
        REQUIRE(method_length(&again) == len && method_write(&again, second) == second + len);
        REQUIRE(memcmp(first, second, len) == 0);
    }
    free(first);
    free(second);
}

static void read_header(beck_bytes payload)
{
    struct properties p;
    if (payload.len < 14)
        return;
    beck_bytes raw = bytes_of((const uint8_t *)payload.data + 12, payload.len - 12);
    if (properties_read(raw, &p, NULL))
        return;
    struct buf out;
    buf_init(&out, raw.len + 16);
    if (!properties_write(&out, &p))
        REQUIRE(properties_read(buf_bytes(&out), &p, NULL) == BECK_OK);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame f;
    for (size_t at = 0, whole; at < size; at += whole) {
        enum frame_read how = frame_read(bytes_of(data + at, size - at), 4096, &f, &whole);
        if (how != FRAME_WHOLE)
            break;
        REQUIRE(whole == f.payload.len + FRAME_EXTRA && whole <= size - at);
        if (f.type == FRAME_METHOD)
            read_method(f.payload);
        else if (f.type == FRAME_HEADER)
            read_header(f.payload);
    }
    read_method(bytes_of(data, size));
    read_header(bytes_of(data, size));
    return 0;
}
