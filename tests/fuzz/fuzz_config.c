/* The server's configuration file: whatever the text is, it is read or refused with at least one
 * fault, the same one each time; what was read can be printed, and what was printed is read again. */
#include "fuzz.h"

#include "server/config.h"

#include <string.h>

struct told {
    size_t count;
    uint64_t hash;
};

static void tell(void *ctx, const char *text)
{
    struct told *told = ctx;
    REQUIRE(strlen(text) > 0 && !strchr(text, '\n'));
    told->count++;
    told->hash = bytes_hash(text, strlen(text), told->hash);
}

/* NULL: refused. */
static struct settings *read_all(beck_bytes text, struct told *told)
{
    struct settings *s = calloc(1, sizeof *s);
    REQUIRE(s);
    s->sources = arena_alloc(&s->arena, settings_row_count * sizeof *s->sources);
    REQUIRE(s->sources);
    struct config c = {.settings = s, .fault = tell, .ctx = told};
    *told = (struct told){0};
    for (size_t i = 0; i < settings_row_count; i++) {
        REQUIRE(setting_reset(&settings_rows[i], s, &s->arena, NULL) == BECK_OK);
    }
    config_read_text(&c, "fuzz", text);
    if (c.faults == 0 && !c.no_memory) {
        config_check(&c);
    }
    REQUIRE(c.faults == told->count);
    if (c.faults > 0 || c.no_memory) {
        settings_free(s);
        return NULL;
    }
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct told first, second;
    /* A secret may name any file: keep to the text. */
    if (size > 4096 || memmem(data, size, "file:", 5)) {
        return 0;
    }
    struct settings *s = read_all(bytes_of(data, size), &first);
    struct settings *again = read_all(bytes_of(data, size), &second);
    REQUIRE(!s == !again && first.count == second.count && first.hash == second.hash);
    settings_free(again);
    if (s) {
        struct buf out;
        buf_init(&out, 16 << 20);
        REQUIRE(config_print(s, &out) == BECK_OK);
        struct settings *printed = read_all(buf_bytes(&out), &second);
        REQUIRE(printed && printed->buses.count == s->buses.count &&
                printed->queues.count == s->queues.count);
        for (const struct setting *row = settings_rows; row->name; row++) {
            REQUIRE(setting_same(row, s, printed));
        }
        settings_free(printed);
        buf_release(&out);
        settings_free(s);
    }
    return 0;
}
