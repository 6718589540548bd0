/*
 * Finding fields: the pass goes down only into objects that are on the way to a field. For each
 * level a mask says which fields' paths agree so far with where the pass is.
 */
#include "hook/fields.h"

#include <assert.h>

struct field field_of(const char *a, const char *b, const char *c)
{
    struct field f = {.path = {beck_str(a), beck_str(b), beck_str(c)}};
    return f;
}

bool field_from_pointer(const char *pointer, struct field *out)
{
    *out = (struct field){.found = false};
    size_t depth = 0;
    for (const char *p = pointer; *p == '/'; depth++) {
        size_t len = strcspn(++p, "/");
        if (depth == FIELD_DEPTH_MAX || len == 0 || memchr(p, '~', len))
            return false;
        out->path[depth] = bytes_of(p, len);
        p += len;
    }
    return depth > 0;
}

/* Of the fields in `mask`, those whose path has this name at the level. */
static uint32_t named(const struct field *fields, uint32_t mask, size_t level, beck_bytes name)
{
    uint32_t result = 0;
    for (uint32_t left = mask; left != 0; left &= left - 1) {
        int i = __builtin_ctz(left);
        if (bytes_equal(fields[i].path[level], name))
            result |= 1U << i;
    }
    return result;
}

static uint32_t ending_at(const struct field *fields, uint32_t mask, size_t level)
{
    uint32_t result = 0;
    for (uint32_t left = mask; left != 0; left &= left - 1) {
        int i = __builtin_ctz(left);
        if (fields[i].path[level + 1].len == 0)
            result |= 1U << i;
    }
    return result;
}

/* Steps over the rest of the object or array that was opened last. */
static beck_status leave(struct json_reader *r)
{
    uint32_t depth = r->depth;
    struct json_token t;
    beck_status status = BECK_OK;
    while (!status && r->depth >= depth)
        status = json_next(r, &t, NULL);
    return status;
}

struct pass {
    struct field *fields;
    uint32_t missing;                   /* not found yet */
    uint32_t mask[FIELD_DEPTH_MAX + 1]; /* agree with the members above, per level */
    size_t level;
};

/* The value of a member that the fields in `here` are, or are in. */
static beck_status take_value(struct pass *p, struct json_reader *r, uint32_t here)
{
    struct json_token t;
    beck_status status = json_next(r, &t, NULL);
    if (status)
        return status;
    uint32_t ending = ending_at(p->fields, here, p->level);
    if (t.kind == JSON_OBJECT && (here & ~ending) != 0) {
        p->mask[++p->level] = here & ~ending;
        return BECK_OK;
    }
    if (t.kind == JSON_OBJECT || t.kind == JSON_ARRAY)
        return leave(r);
    if (t.kind == JSON_NULL)
        return BECK_OK;
    for (; ending != 0; ending &= ending - 1) {
        int i = __builtin_ctz(ending);
        p->fields[i].found = true;
        p->fields[i].token = t;
        p->missing &= ~(1U << i);
    }
    return BECK_OK;
}

bool fields_find(beck_bytes json, struct field *fields, size_t count)
{
    assert(count > 0 && count <= FIELDS_MAX);
    struct json_reader r;
    struct json_token t;
    struct pass p = {.fields = fields, .missing = (1U << count) - 1};
    p.mask[0] = p.missing;
    for (size_t i = 0; i < count; i++)
        fields[i].found = false;
    json_reader_init(&r, json);
    r.halves = true;
    beck_status status = json_next(&r, &t, NULL);
    if (status || t.kind != JSON_OBJECT)
        return false;
    while (!status && p.missing != 0) {
        status = json_next(&r, &t, NULL);
        if (status || (t.kind == JSON_OBJECT_END && p.level == 0))
            break;
        if (t.kind == JSON_OBJECT_END) {
            p.level--;
            continue;
        }
        assert(t.kind == JSON_NAME);
        uint32_t here = named(fields, p.mask[p.level] & p.missing, p.level, t.raw);
        beck_bytes skipped;
        status = here != 0 ? take_value(&p, &r, here) : json_skip_value(&r, &skipped, NULL);
    }
    for (size_t i = 0; i < count && status; i++)
        fields[i].found = false;
    return status == BECK_OK;
}
