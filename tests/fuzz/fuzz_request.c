/*
 * Requests of HTTP/1.1 as they come over a connection: heads, and bodies in chunks. Wherever the bytes
 * are cut, the same is read.
 *
 * The first byte: how many bytes come at a time (0: all). The second: head (even) or chunks (odd).
 */
#include "fuzz.h"

#include "wire/http/chunked.h"
#include "wire/http/head.h"

#include <string.h>

#define HEAD_MAX 16384

static beck_bytes up_to(const uint8_t *data, size_t size, size_t from, size_t step)
{
    size_t len = step == 0 || size - from < step ? size - from : step;
    return bytes_of(data + from, len);
}

static void check_text(const char *text)
{
    for (; *text; text++)
        REQUIRE(((uint8_t)*text >= ' ' || *text == '\t') && *text != 0x7f);
}

static void check_head(const uint8_t *data, size_t len, size_t lines)
{
    struct head_fault fault = {0};
    struct head head;
    char *copy = malloc(len);
    struct head_field *fields = calloc(lines, sizeof *fields);
    REQUIRE(copy && fields);
    memcpy(copy, data, len);
    if (head_read(copy, len, fields, &head, &fault)) {
        REQUIRE(!fault.why && head.count == lines - 1 && *head.method && *head.target);
        for (size_t i = 0; i < head.count; i++) {
            REQUIRE(strlen(head.fields[i].name) == head.fields[i].name_len);
            REQUIRE(!strpbrk(head.fields[i].name, " \t:\r\n"));
            check_text(head.fields[i].value);
            REQUIRE(head_count(&head, head.fields[i].name) > 0);
            head_lists(&head, head.fields[i].name, "close");
        }
    } else {
        REQUIRE(fault.why && fault.status >= 400);
    }
    free(copy);
    free(fields);
}

static void read_head(const uint8_t *data, size_t size, size_t step)
{
    struct head_scan whole = {0}, parts = {0};
    struct head_fault fault = {0}, part_fault = {0};
    size_t len = head_find(&whole, bytes_of(data, size), HEAD_MAX, &fault), got = 0, seen = 0;
    while (got == 0 && !part_fault.why && seen < size) {
        seen += up_to(data, size, seen, step).len;
        got = head_find(&parts, bytes_of(data, seen), HEAD_MAX, &part_fault);
    }
    REQUIRE(size == 0 || got == len);
    REQUIRE(len <= size && (fault.why != NULL) == (size > 0 && part_fault.why != NULL));
    REQUIRE(!(len > 0 && fault.why));
    if (len > 2)
        check_head(data, len, whole.lines);
}

/* All that the chunks hold, and how it ended. */
static enum chunked_result read_all(const uint8_t *data, size_t size, size_t step, struct buf *out,
                                    size_t *taken)
{
    struct chunked c = {0};
    enum chunked_result result = CHUNKED_MORE;
    *taken = 0;
    while (*taken < size) {
        beck_bytes part = up_to(data, size, *taken, step), rest = part, text = {0};
        result = chunked_next(&c, &rest, &text);
        REQUIRE(rest.len < part.len);
        *taken += part.len - rest.len;
        if (result == CHUNKED_DATA)
            REQUIRE(text.len > 0 && !buf_append(out, text.data, text.len));
        else if (result != CHUNKED_MORE)
            return result;
    }
    return CHUNKED_MORE;
}

static void read_chunks(const uint8_t *data, size_t size, size_t step)
{
    struct buf whole, parts;
    size_t end, part_end;
    buf_init(&whole, size + 1);
    buf_init(&parts, size + 1);
    enum chunked_result result = read_all(data, size, 0, &whole, &end);
    REQUIRE(read_all(data, size, step, &parts, &part_end) == result && end == part_end);
    REQUIRE(bytes_equal(buf_bytes(&whole), buf_bytes(&parts)));
    buf_release(&whole);
    buf_release(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (data[1] % 2 == 0)
        read_head(data + 2, size - 2, data[0]);
    else
        read_chunks(data + 2, size - 2, data[0]);
    return 0;
}
