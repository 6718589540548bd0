/* Field tables and properties: the first byte says which. What passes is walked to the last entry, is equal
 * to itself, and comes back byte for byte when it is written. */
#include "fuzz.h"

#include "broker/properties.h"
#include "broker/table.h"

#define OUT_MAX (1 << 20)

static void check_value(const struct table_value *v, unsigned depth);

/* Booleans come back as 0 or 1: the only bytes that may differ. */
static void check_table(beck_bytes table, unsigned depth)
{
    struct buf out;
    beck_bytes name;
    struct table_value v, found;
    size_t at = 0, count = 0;
    buf_init(&out, OUT_MAX);
    while (table_next(table, &at, &name, &v)) {
        REQUIRE(at <= table.len);
        check_value(&v, depth);
        REQUIRE(table_put(&out, name, &v) == BECK_OK);
        count++;
    }
    REQUIRE(at == table.len && out.len == table.len);
    REQUIRE(table_check(buf_bytes(&out), NULL) == BECK_OK);
    REQUIRE(count > 0 || !table_find(table, "", &found));
    buf_clear(&out);
    REQUIRE(table_copy_without(&out, table, NULL, 0) == BECK_OK);
    REQUIRE(bytes_equal(buf_bytes(&out), table));
    buf_release(&out);
}

static void check_array(beck_bytes array, unsigned depth)
{
    struct buf out;
    size_t at = 0;
    buf_init(&out, OUT_MAX);
    for (struct table_value v; array_next(array, &at, &v);) {
        check_value(&v, depth);
        REQUIRE(array_put(&out, &v) == BECK_OK);
    }
    REQUIRE(at == array.len && out.len == array.len);
    buf_release(&out);
}

static void check_value(const struct table_value *v, unsigned depth)
{
    REQUIRE(depth < TABLE_DEPTH_MAX);
    if (v->kind == TABLE_TABLE) {
        check_table(v->bytes, depth + 1);
    } else if (v->kind == TABLE_ARRAY) {
        check_array(v->bytes, depth + 1);
    }
}

static void try_table(beck_bytes table)
{
    if (table_check(table, NULL) != BECK_OK) {
        return;
    }
    struct table_value v = {.kind = TABLE_TABLE, .bytes = table};
    check_table(table, 0);
    REQUIRE(table_value_equal(&v, &v));
    /* Every entry but the first: never equal. */
    beck_bytes name;
    struct table_value entry, rest = v;
    size_t at = 0;
    if (table_next(table, &at, &name, &entry)) {
        rest.bytes = bytes_of((const uint8_t *)table.data + at, table.len - at);
        REQUIRE(!table_value_equal(&v, &rest) && !table_value_equal(&rest, &v));
    }
}

static void try_properties(beck_bytes raw)
{
    struct properties p, again;
    struct buf out;
    if (properties_read(raw, &p, NULL) != BECK_OK) {
        return;
    }
    REQUIRE((p.flags & PROPERTY_HEADERS) != 0 || p.headers.len == 0);
    try_table(p.headers);
    buf_init(&out, OUT_MAX);
    REQUIRE(properties_write(&out, &p) == BECK_OK);
    REQUIRE(out.len == raw.len &&
            memcmp(out.data + 2, (const uint8_t *)raw.data + 2, raw.len - 2) == 0);
    REQUIRE(properties_read(buf_bytes(&out), &again, NULL) == BECK_OK);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] % 2 == 0) {
        try_table(bytes_of(data + 1, size - 1));
    } else if (size > 0) {
        try_properties(bytes_of(data + 1, size - 1));
    }
    return 0;
}
