/* Documents of the HTTP API: a line with the name of a shape, then JSON. What is read is written as
 * JSON that reads the same. */
#include "fuzz.h"

#include "event/api_shape.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (16 << 20)
#define OBJECT_MAX 4096

struct piece {
    struct piece *next;
    _Alignas(16) char bytes[];
};

static void *piece_alloc(void *ctx, size_t size)
{
    struct piece **all = ctx;
    struct piece *p = malloc(sizeof *p + size);
    REQUIRE(p != NULL);
    p->next = *all;
    *all = p;
    return p->bytes;
}

static const struct shape *shape_of(beck_bytes name)
{
    for (size_t i = 0; api_shapes[i] != NULL; i++) {
        if (api_shapes[i]->fields != NULL && bytes_equal_text(name, api_shapes[i]->name)) {
            return api_shapes[i];
        }
    }
    return NULL;
}

static void there_and_back(const struct shape *s, const void *object,
                           const struct shape_memory *memory)
{
    _Alignas(16) char again[OBJECT_MAX];
    struct buf first, second;
    buf_init(&first, TEXT_MAX);
    buf_init(&second, TEXT_MAX);
    REQUIRE(shape_write(s, object, &first) == BECK_OK);
    REQUIRE(json_check(buf_bytes(&first), NULL) == BECK_OK);
    REQUIRE(shape_read(s, buf_bytes(&first), memory, again, NULL) == BECK_OK);
    REQUIRE(shape_write(s, again, &second) == BECK_OK);
    REQUIRE(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    buf_release(&first);
    buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    const struct shape *s = end ? shape_of(bytes_of(data, (size_t)(end - data))) : NULL;
    if (s == NULL) {
        return 0;
    }
    _Alignas(16) char object[OBJECT_MAX];
    struct piece *all = NULL;
    struct shape_memory memory = {piece_alloc, &all};
    beck_bytes json = bytes_of(end + 1, size - (size_t)(end + 1 - data));
    beck_error err = {.code = BECK_OK};
    REQUIRE(s->size <= sizeof object);
    beck_status status = shape_read(s, json, &memory, object, &err);
    if (status != BECK_OK) {
        REQUIRE(err.code == status && err.text[0] != 0 && strchr(err.text, '\n') == NULL);
    } else {
        REQUIRE(json_check(json, NULL) == BECK_OK);
        there_and_back(s, object, &memory);
    }
    while (all != NULL) {
        struct piece *next = all->next;
        free(all);
        all = next;
    }
    return 0;
}
