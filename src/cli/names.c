/* Names, one behind the other in one buffer. */
#include "cli/names.h"

#define NAMES_BYTES_MAX (64u << 20)

void names_init(struct names *n)
{
    n->count = 0;
    buf_init(&n->text, NAMES_BYTES_MAX);
}

void names_release(struct names *n)
{
    buf_release(&n->text);
}

int names_add(void *ctx, const char *name)
{
    struct names *n = ctx;
    if (buf_append(&n->text, name, strlen(name) + 1)) {
        return 1;
    }
    n->count++;
    return 0;
}

const char *names_next(const struct names *n, const char *name)
{
    if (n->count == 0) {
        return NULL;
    }
    const char *begin = (const char *)n->text.data;
    const char *at = name ? name + strlen(name) + 1 : begin;
    return at < begin + n->text.len ? at : NULL;
}
