/* Feeding a queue from a bus. */
#include "cli/binding.h"

#include <string.h>

struct search {
    const beck_binding *binding;
    bool found;
};

static const char *pattern_of(const beck_binding *b)
{
    return b->pattern ? b->pattern : "#";
}

static int compare(void *ctx, const beck_binding *b)
{
    struct search *s = ctx;
    s->found =
        strcmp(b->bus, s->binding->bus) == 0 && strcmp(pattern_of(b), pattern_of(s->binding)) == 0;
    return s->found;
}

beck_status binding_make(const struct call *call, const char *queue, const beck_binding *binding,
                         beck_error *err)
{
    struct search s = {.binding = binding};
    beck_status status = beck_queue_bindings(call->handle, queue, compare, &s, err);
    if (!status && s.found && option_given(call, "from")) {
        call_warn(call,
                  "queue '%s' is bound to '%s' already: --from changes nothing; see beck queue "
                  "rewind",
                  queue, pattern_of(binding));
    }
    return status || s.found ? status : beck_queue_bind(call->handle, queue, binding, err);
}
