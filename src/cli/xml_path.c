/* Paths of elements, matched from their last step back to the first, as most differ there. */
#include "cli/xml_path.h"
#include "base/error.h"

beck_status xml_path_parse(const char *text, struct xml_path *out, beck_error *err)
{
    struct xml_path p = {.anywhere = strncmp(text, "//", 2) == 0};
    if (*text != '/') {
        return error_set(err, BECK_EINVAL,
                         "does not begin with a slash: give a path as /catalog/item or //item");
    }
    for (const char *at = text + (p.anywhere ? 2 : 1);; at++) {
        size_t len = strcspn(at, "/");
        if (len == 0) {
            return error_set(err, BECK_EINVAL,
                             "has a step without a name: give a path as /catalog/item or //item");
        }
        if (p.step_count == XML_PATH_STEPS_MAX) {
            return error_set(err, BECK_ELIMIT, "has more than %d steps", XML_PATH_STEPS_MAX);
        }
        p.steps[p.step_count++] = bytes_of(at, len);
        at += len;
        if (!*at) {
            *out = p;
            return BECK_OK;
        }
    }
}

static bool step_matches(beck_bytes step, beck_bytes name)
{
    return bytes_equal_text(step, "*") || bytes_equal(step, name);
}

bool xml_path_matches(const struct xml_path *p, const char *names, size_t len, uint32_t depth)
{
    if (depth < p->step_count || (depth > p->step_count && !p->anywhere)) {
        return false;
    }
    size_t end = len;
    for (uint32_t i = p->step_count; i-- > 0;) {
        size_t start = end - 1; /* at the NUL */
        while (start > 0 && names[start - 1] != 0) {
            start--;
        }
        if (!step_matches(p->steps[i], bytes_of(names + start, end - 1 - start))) {
            return false;
        }
        end = start;
    }
    return true;
}

beck_bytes xml_path_name(const struct xml_path *p)
{
    beck_bytes last = p->steps[p->step_count - 1];
    return bytes_equal_text(last, "*") ? (beck_bytes){0} : last;
}
