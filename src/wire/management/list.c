/* Lists: see list.h. Whoever asks for a page gets an object with the items of it, else an array. */
#include "wire/management/list.h"

#include "event/value.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <assert.h>
#include <stdlib.h>

#define PAGE_SIZE 100
#define PAGE_SIZE_MAX 500
#define FILTER_MAX 100     /* bytes of a regular expression */
#define MATCH_STEPS 100000 /* of one name */
#define LIST_BYTES_MAX (256u << 20)
#define COLUMNS_MAX 200

struct list_item {
    char *text;
    size_t len, place;
    json_t *key; /* what it is sorted by; NULL: nothing */
};

/* ---- the query ---- */

/* "a.b,c" as {"a":{"b":true},"c":true}. */
static json_t *read_columns(const char *text)
{
    json_t *tree = json_object();
    unsigned count = 0;
    while (tree && *text && count++ < COLUMNS_MAX) {
        size_t len = strcspn(text, ",");
        json_t *at = tree;
        for (size_t from = 0; from < len;) {
            size_t part = strcspn(text + from, ".,");
            bool last = from + part >= len;
            char name[128];
            if (part < sizeof name && part > 0) {
                memcpy(name, text + from, part);
                name[part] = 0;
                json_t *next = json_object_get(at, name);
                if (!json_is_object(next) && !json_is_true(next)) {
                    json_object_set_new(at, name, last ? json_true() : json_object());
                    next = json_object_get(at, name);
                }
                if (!json_is_object(next))
                    break;
                at = next;
            }
            from += part + 1;
        }
        text += len + (text[len] == ',');
    }
    return tree;
}

/* What is left of an item; takes it. As deep as the columns, whose depth the query's length bounds. */
static json_t *extract(json_t *item, const json_t *columns) // NOLINT(misc-no-recursion)
{
    const char *name;
    json_t *sub;
    if (!json_is_object(columns))
        return item;
    if (json_is_array(item)) {
        for (size_t i = 0; i < json_array_size(item); i++)
            json_array_set_new(item, i, extract(json_incref(json_array_get(item, i)), columns));
        return item;
    }
    if (!json_is_object(item))
        return item;
    json_t *out = json_object();
    json_object_foreach((json_t *)(uintptr_t)columns, name, sub)
    {
        json_t *value = json_object_get(item, name);
        if (value)
            json_put(out, name, extract(json_incref(value), sub));
    }
    json_decref(item);
    return out;
}

json_t *list_columns(struct call *c, json_t *item)
{
    const char *text = http_query(c->r, "columns");
    json_t *columns = text ? read_columns(text) : NULL;
    item = extract(item, columns);
    json_decref(columns);
    return item;
}

static bool refuse_pages(struct list *l)
{
    const char *page = http_query(l->c->r, "page"), *size = http_query(l->c->r, "page_size");
    answer_error(l->c, 400, "invalid_pagination_parameters",
                 "Invalid pagination parameters: page number %.20s, page size %.20s", page,
                 size ? size : "undefined");
    return false;
}

static bool read_filter(struct list *l)
{
    const char *regex = http_query(l->c->r, "use_regex");
    int code;
    size_t at;
    l->name = http_query(l->c->r, "name");
    if (!l->name || !*l->name) {
        l->name = NULL;
        return true;
    }
    if (!regex || strcmp(regex, "true") != 0)
        return true;
    if (strlen(l->name) > FILTER_MAX) {
        answer_error(l->c, 400, "invalid_pagination_parameters", "name filter regex is too long");
        return false;
    }
    l->regex =
        pcre2_compile((PCRE2_SPTR)l->name, PCRE2_ZERO_TERMINATED,
                      PCRE2_CASELESS | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &code, &at, NULL);
    if (l->regex)
        return true;
    answer_error(l->c, 400, "invalid_pagination_parameters", "name is no regular expression");
    return false;
}

bool list_begin(struct list *l, struct call *c)
{
    const char *page = http_query(c->r, "page"), *size = http_query(c->r, "page_size");
    const char *columns = http_query(c->r, "columns"), *sort = http_query(c->r, "sort");
    *l = (struct list){.c = c, .page_size = PAGE_SIZE, .sort = sort && *sort ? sort : NULL};
    l->reverse = call_flag(c, "sort_reverse");
    if (page && (!value_number(page, &l->page) || l->page < 1 || l->page > INT32_MAX ||
                 (size && (!value_number(size, &l->page_size) || l->page_size < 1 ||
                           l->page_size > PAGE_SIZE_MAX))))
        return refuse_pages(l);
    if (page && !read_filter(l))
        return false;
    l->columns = columns ? read_columns(columns) : NULL;
    return true;
}

/* ---- items ---- */

static bool matches(const struct list *l, const json_t *item)
{
    const json_t *name = json_object_get(item, "name");
    if (!l->name || !json_is_string(name))
        return true;
    if (!l->regex)
        return strcasestr(json_string_value(name), l->name) != NULL;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    int found = -1;
    if (data && context) {
        pcre2_set_match_limit(context, MATCH_STEPS);
        found = pcre2_match(l->regex, (PCRE2_SPTR)json_string_value(name), json_string_length(name),
                            0, 0, data, context);
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    return found >= 0;
}

/* "message_stats.publish_details.rate" */
static json_t *dotted(const json_t *item, const char *path)
{
    char name[128];
    for (;;) {
        size_t len = strcspn(path, ".");
        if (len >= sizeof name)
            return NULL;
        memcpy(name, path, len);
        name[len] = 0;
        item = json_object_get(item, name);
        if (!item || !path[len])
            return (json_t *)(uintptr_t)item;
        path += len + 1;
    }
}

static bool keep(struct list *l, json_t *item)
{
    struct list_item made = {.place = l->count};
    struct buf text;
    if (l->sort)
        made.key = json_incref(dotted(item, l->sort));
    item = extract(item, l->columns);
    buf_init(&text, LIST_BYTES_MAX - l->bytes);
    bool ok = item && json_write(item, &text) == BECK_OK;
    json_decref(item);
    if (ok && l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct list_item *items = realloc(l->items, cap * sizeof *items);
        if (items) {
            l->items = items;
            l->cap = cap;
        }
        ok = items != NULL;
    }
    if (!ok) {
        buf_release(&text);
        json_decref(made.key);
        return false;
    }
    made.text = (char *)text.data;
    made.len = text.len;
    l->bytes += text.len;
    l->items[l->count++] = made;
    return true;
}

int list_add(struct list *l, json_t *item)
{
    l->total++;
    if (item && !matches(l, item)) {
        json_decref(item);
        return 0;
    }
    l->failed = !item || !keep(l, item);
    return l->failed;
}

/* ---- order ---- */

/* Numbers go before other things, and those before texts; what is not there counts as 0. */
static int rank(const json_t *v)
{
    return !v || json_is_number(v) ? 0 : json_is_string(v) ? 2 : 1;
}

static int compare_values(const json_t *a, const json_t *b)
{
    int ra = rank(a), rb = rank(b);
    if (ra != rb)
        return ra < rb ? -1 : 1;
    if (ra == 2)
        return bytes_compare(json_slice(a), json_slice(b));
    double x = ra == 0 && a ? json_number_value(a) : json_is_true(a);
    double y = ra == 0 && b ? json_number_value(b) : json_is_true(b);
    return x < y ? -1 : x > y;
}

static int compare(const void *a, const void *b)
{
    const struct list_item *x = a, *y = b;
    int order = compare_values(x->key, y->key);
    return order ? order : x->place < y->place ? -1 : 1;
}

static void sort(struct list *l)
{
    if (l->sort && l->count > 1)
        qsort(l->items, l->count, sizeof *l->items, compare);
    for (size_t i = 0; l->reverse && i < l->count / 2; i++) {
        struct list_item swap = l->items[i];
        l->items[i] = l->items[l->count - 1 - i];
        l->items[l->count - 1 - i] = swap;
    }
}

/* ---- the answer ---- */

static beck_status write_items(const struct list *l, size_t from, size_t to, struct buf *out)
{
    beck_status failed = buf_append_byte(out, '[');
    for (size_t i = from; i < to && !failed; i++) {
        failed = i > from ? buf_append_byte(out, ',') : BECK_OK;
        if (!failed)
            failed = buf_append(out, l->items[i].text, l->items[i].len);
    }
    return failed ? failed : buf_append_byte(out, ']');
}

/* False, after answering: there is no such page. */
static bool write_page(const struct list *l, struct buf *out, beck_status *failed)
{
    size_t size = (size_t)l->page_size, from = (size_t)(l->page - 1) * size;
    if (from > l->count) {
        answer_error(l->c, 400, "page_out_of_range",
                     "Page out of range, page: %lld page size: %zu, len: %zu", (long long)l->page,
                     size, l->count);
        return false;
    }
    size_t to = l->count - from < size ? l->count : from + size;
    *failed = buf_printf(out,
                         "{\"total_count\":%zu,\"item_count\":%zu,\"filtered_count\":%zu,\"page\":"
                         "%lld,\"page_size\":%zu,\"page_count\":%zu,\"items\":",
                         l->total, to - from, l->count, (long long)l->page, size,
                         (l->count + size - 1) / size);
    if (!*failed)
        *failed = write_items(l, from, to, out);
    if (!*failed)
        *failed = buf_append_byte(out, '}');
    return true;
}

void list_abandon(struct list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i].text);
        json_decref(l->items[i].key);
    }
    free(l->items);
    json_decref(l->columns);
    pcre2_code_free(l->regex);
}

void list_answer(struct list *l)
{
    struct buf out;
    beck_status failed = BECK_OK;
    bool there = true;
    buf_init(&out, LIST_BYTES_MAX + (64u << 20));
    sort(l);
    if (!l->failed && l->page)
        there = write_page(l, &out, &failed);
    else if (!l->failed)
        failed = write_items(l, 0, l->count, &out);
    if (l->failed || failed) {
        buf_release(&out);
        answer_error(l->c, 503, "service_unavailable",
                     "no memory for the answer; ask for pages (?page=1&page_size=100)");
    } else if (there) {
        http_set_header(l->c->r, "Cache-Control", "no-cache");
        http_answer(l->c->r, 200, "application/json", &out);
    } else {
        buf_release(&out);
    }
    list_abandon(l);
}
