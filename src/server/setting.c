/* Reading and printing one setting after its row; and the arena that holds what settings refer to. */
#include "server/setting.h"
#include "base/error.h"
#include "event/json.h"
#include "event/time.h"
#include "event/value.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECRET_BYTES_MAX 65536
#define LIST_ITEMS_MAX 1024

/* ---- arena ---- */

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(16) unsigned char data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *block = calloc(1, sizeof *block + size);
    if (!block) {
        return NULL;
    }
    block->next = a->blocks;
    block->size = size;
    a->blocks = block;
    return block->data;
}

const char *arena_text(struct arena *a, const char *text, size_t len)
{
    char *copy = arena_alloc(a, len + 1);
    if (copy && len > 0) {
        memcpy(copy, text, len);
    }
    return copy;
}

void arena_release(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *block = a->blocks;
        a->blocks = block->next;
        explicit_bzero(block->data, block->size); /* there are secrets among them */
        free(block);
    }
}

/* ---- what a row says ---- */

const struct setting *setting_find(const struct setting *rows, const char *name)
{
    for (; rows->name; rows++) {
        if (strcmp(rows->name, name) == 0) {
            return rows;
        }
    }
    return NULL;
}

static const char *choices_text(const struct setting *s, const char *between, const char *last,
                                char *out, size_t size)
{
    size_t len = 0;
    for (int i = 0; s->choices[i]; i++) {
        const char *sep = i == 0 ? "" : s->choices[i + 1] ? between : last;
        len += (size_t)snprintf(out + len, size - len, "%s%s", sep, s->choices[i]);
        assert(len < size);
    }
    return out;
}

const char *setting_expects(const struct setting *s, char *out, size_t size)
{
    switch (s->kind) {
    case SETTING_BOOL:
        return "true or false";
    case SETTING_NUMBER:
        return "a whole number";
    case SETTING_DURATION:
        return "a duration such as 10ms, 5s, 2m, 1h or 7d";
    case SETTING_SIZE:
        return "a size such as 4096, 64k, 1m or 1g";
    case SETTING_CHOICE:
        return choices_text(s, ", ", " or ", out, size);
    case SETTING_BACKOFF:
        return "none, fixed:1s, exponential:1s..1h, or list:1s,5s,1m (at most 16)";
    case SETTING_FROM:
        return "now, earliest, an offset such as 1200, or a time such as 2026-01-31T14:30:00Z";
    case SETTING_LIST:
        snprintf(out, size, "a list of %s", s->value ? s->value : "texts");
        return out;
    case SETTING_RECORDS:
        return "a list of mappings";
    case SETTING_TEXT:
        break;
    }
    return s->value ? s->value : "a text";
}

const char *setting_value_name(const struct setting *s, char *out, size_t size)
{
    static const char *const names[] = {
        [SETTING_BOOL] = "true|false", [SETTING_NUMBER] = "N",  [SETTING_DURATION] = "DURATION",
        [SETTING_SIZE] = "SIZE",       [SETTING_TEXT] = "TEXT", [SETTING_LIST] = "LIST",
        [SETTING_BACKOFF] = "BACKOFF", [SETTING_FROM] = "FROM", [SETTING_RECORDS] = "LIST"};
    if (s->kind == SETTING_CHOICE) {
        return choices_text(s, "|", "|", out, size);
    }
    if (s->kind == SETTING_LIST && s->value) {
        snprintf(out, size, "%s,...", s->value);
        return out;
    }
    return s->value ? s->value : names[s->kind];
}

/* ---- reading ---- */

static void *field(const struct setting *s, void *record)
{
    return (char *)record + s->offset;
}

static const void *const_field(const struct setting *s, const void *record)
{
    return (const char *)record + s->offset;
}

static int64_t load_number(const struct setting *s, const void *record)
{
    const void *at = const_field(s, record);
    return s->size == 8 ? *(const int64_t *)at : *(const uint32_t *)at;
}

static void store_number(const struct setting *s, void *record, int64_t number)
{
    assert(s->size == 8 || (s->size == 4 && number >= 0 && number <= UINT32_MAX));
    if (s->size == 8) {
        *(int64_t *)field(s, record) = number;
    } else {
        *(uint32_t *)field(s, record) = (uint32_t)number;
    }
}

static int64_t greatest(const struct setting *s)
{
    return s->max ? s->max : s->size == 4 ? UINT32_MAX : INT64_MAX;
}

/* The value of a message: a secret is not repeated. */
static const char *shown(const struct setting *s, const char *text)
{
    return s->secret ? "***" : text;
}

static beck_status unreadable(const struct setting *s, const char *text, beck_error *err)
{
    char expects[256];
    return error_set(err, BECK_EINVAL, "'%.120s' cannot be read: give %s", shown(s, text),
                     setting_expects(s, expects, sizeof expects));
}

static void number_text(const struct setting *s, int64_t number, char out[VALUE_TEXT_MAX])
{
    static const char letters[] = "tgmk";
    if (s->kind == SETTING_DURATION) {
        value_duration_text(number > 0 ? number : 0, out); /* -1: never, as 0 is read */
        return;
    }
    for (int i = 0; s->kind == SETTING_SIZE && number > 0 && letters[i]; i++) {
        int64_t scale = 1LL << (10 * (4 - i));
        if (number % scale == 0) {
            snprintf(out, VALUE_TEXT_MAX, "%lld%c", (long long)(number / scale), letters[i]);
            return;
        }
    }
    snprintf(out, VALUE_TEXT_MAX, "%lld", (long long)number);
}

static beck_status read_number(const struct setting *s, void *record, const char *text,
                               beck_error *err)
{
    int64_t number;
    bool fits = s->kind == SETTING_NUMBER     ? value_number(text, &number)
                : s->kind == SETTING_DURATION ? value_duration(text, &number)
                                              : value_size(text, &number);
    if (!fits) {
        return unreadable(s, text, err);
    }
    if (number < s->min || number > greatest(s)) {
        char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];
        number_text(s, s->min, min);
        number_text(s, greatest(s), max);
        return error_set(err, BECK_EINVAL, "'%.60s' is out of range: give %s to %s", text, min,
                         max);
    }
    store_number(s, record, number);
    return BECK_OK;
}

static beck_status read_choice(const struct setting *s, void *record, const char *text,
                               beck_error *err)
{
    for (int i = 0; s->choices[i]; i++) {
        if (strcmp(s->choices[i], text) == 0) {
            *(int *)field(s, record) = s->first + i;
            return BECK_OK;
        }
    }
    char list[256];
    return error_set(err, BECK_EINVAL, "'%.120s' is none of its values: give %s", text,
                     choices_text(s, ", ", " or ", list, sizeof list));
}

static beck_status read_bool(const struct setting *s, void *record, const char *text,
                             beck_error *err)
{
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0) {
        return unreadable(s, text, err);
    }
    *(bool *)field(s, record) = yes;
    return BECK_OK;
}

/* The content of a file that holds a secret, without the line's end. */
static beck_status read_secret_file(const char *path, struct arena *a, const char **out,
                                    beck_error *err)
{
    char *text = arena_alloc(a, SECRET_BYTES_MAX + 2);
    if (!text) {
        return error_set(err, BECK_ENOMEM, "no memory for the configuration");
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t len = fd < 0 ? -1 : read(fd, text, SECRET_BYTES_MAX + 1);
    int number = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (len < 0) {
        return error_set(err, BECK_EINVAL, "the file '%.200s' of the secret cannot be read: %s",
                         path, strerror(number));
    }
    text[len] = '\0';
    if (len > 0 && text[len - 1] == '\n') {
        text[--len] = '\0';
    }
    if (len == 0 || len > SECRET_BYTES_MAX || strlen(text) != (size_t)len) {
        return error_set(err, BECK_EINVAL,
                         "the file '%.200s' holds no secret: a text of 1 to %d bytes is expected",
                         path, SECRET_BYTES_MAX);
    }
    *out = text;
    return BECK_OK;
}

static beck_status read_text(const struct setting *s, const char *text, struct arena *a,
                             const char **out, beck_error *err)
{
    if (s->secret && strncmp(text, "file:", 5) == 0) {
        return read_secret_file(text + 5, a, out, err);
    }
    const char *copy = arena_text(a, text, strlen(text));
    if (!copy) {
        return error_set(err, BECK_ENOMEM, "no memory for the configuration");
    }
    *out = copy;
    return BECK_OK;
}

beck_status setting_read_list(const struct setting *s, void *record, const char *const *items,
                              size_t count, struct arena *a, beck_error *err)
{
    assert(s->kind == SETTING_LIST);
    const char **copies = arena_alloc(a, (count + 1) * sizeof *copies);
    beck_status status = copies ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for a list");
    for (size_t i = 0; i < count && !status; i++) {
        if (!items[i][0]) {
            return error_set(err, BECK_EINVAL, "holds an empty item: take it out");
        }
        status = read_text(s, items[i], a, &copies[i], err);
    }
    if (!status) {
        *(struct texts *)field(s, record) = (struct texts){copies, count};
    }
    return status;
}

/* "a,b,c"; the empty text is the empty list. */
static beck_status read_commas(const struct setting *s, void *record, const char *text,
                               struct arena *a, beck_error *err)
{
    const char *items[LIST_ITEMS_MAX];
    size_t count = 0;
    const char *at = text;
    while (*text && at) {
        size_t len = strcspn(at, ",");
        if (count == LIST_ITEMS_MAX) {
            return error_set(err, BECK_ELIMIT, "has too many items: give at most %d",
                             LIST_ITEMS_MAX);
        }
        items[count] = arena_text(a, at, len);
        if (!items[count++]) {
            return error_set(err, BECK_ENOMEM, "no memory for a list");
        }
        at = at[len] ? at + len + 1 : NULL;
    }
    return setting_read_list(s, record, items, count, a, err);
}

beck_status setting_read(const struct setting *s, void *record, const char *text, struct arena *a,
                         beck_error *err)
{
    void *at = field(s, record);
    beck_backoff backoff;
    beck_from from;
    switch (s->kind) {
    case SETTING_BOOL:
        return read_bool(s, record, text, err);
    case SETTING_NUMBER:
    case SETTING_DURATION:
    case SETTING_SIZE:
        return read_number(s, record, text, err);
    case SETTING_CHOICE:
        return read_choice(s, record, text, err);
    case SETTING_TEXT:
        return read_text(s, text, a, (const char **)at, err);
    case SETTING_LIST:
        return read_commas(s, record, text, a, err);
    case SETTING_BACKOFF:
        if (!value_backoff(text, &backoff)) {
            return unreadable(s, text, err);
        }
        *(beck_backoff *)at = backoff;
        return BECK_OK;
    case SETTING_FROM:
        /* Times that depend on when the configuration is read are of no use in one. */
        if (text[0] == '-' || text[0] == '+' || !value_from(text, 0, &from)) {
            return unreadable(s, text, err);
        }
        *(beck_from *)at = from;
        return BECK_OK;
    case SETTING_RECORDS:
        break;
    }
    assert(false);
    return BECK_EINVAL;
}

beck_status setting_reset(const struct setting *s, void *record, struct arena *a, beck_error *err)
{
    if (s->preset) {
        return setting_read(s, record, s->preset, a, err);
    }
    memset(field(s, record), 0, s->size);
    return BECK_OK;
}

/* ---- printing ---- */

/* Whether YAML reads the text as that text without quotes: words of harmless characters that are no
 * other type's. */
static bool is_plain(const char *text)
{
    static const char *const others[] = {"true", "false", "yes",  "no", "on",
                                         "off",  "null",  "none", "~",  NULL};
    if (!*text || strspn(text, "0123456789.,+-_eE") == strlen(text) || *text == '-') {
        return false;
    }
    for (int i = 0; others[i]; i++) {
        if (strcasecmp(text, others[i]) == 0) {
            return false;
        }
    }
    size_t len = strlen(text);
    size_t safe = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_./+-:@");
    return safe == len && text[len - 1] != ':' && *text != '@' && *text != ':';
}

beck_status setting_print_text(const char *text, struct buf *out)
{
    return is_plain(text) ? buf_append_text(out, text) : json_write_string(out, beck_str(text));
}

static beck_status print_text(const struct setting *s, const char *text, struct buf *out)
{
    return s->secret ? buf_append_text(out, "\"***\"") : setting_print_text(text, out);
}

static beck_status print_list(const struct setting *s, const struct texts *list, struct buf *out)
{
    beck_status status = buf_append_byte(out, '[');
    for (size_t i = 0; i < list->count && !status; i++) {
        status = buf_append_text(out, i ? ", " : "");
        status = status ? status : print_text(s, list->at[i], out);
    }
    return status ? status : buf_append_byte(out, ']');
}

static beck_status print_from(const beck_from *from, struct buf *out)
{
    char time[TIME_TEXT_MAX];
    switch (from->kind) {
    case BECK_FROM_EARLIEST:
        return buf_append_text(out, "earliest");
    case BECK_FROM_OFFSET:
        return buf_printf(out, "%lld", (long long)from->offset);
    case BECK_FROM_TIME:
        time_format(from->time_ms * 1000000, time);
        return buf_append_text(out, time);
    case BECK_FROM_NOW:
        break;
    }
    return buf_append_text(out, "now");
}

static beck_status print_records(const struct setting *s, const struct records *records,
                                 struct buf *out)
{
    beck_status status = buf_append_byte(out, '[');
    for (size_t i = 0; i < records->count && !status; i++) {
        const void *record = (const char *)records->at + i * s->table->size;
        const char *separator = i ? ", {" : "{";
        const struct setting *rows = s->table->rows;
        for (size_t row = 0; rows[row].name && !status; row++) {
            if (((const struct record *)record)->given >> row & 1) {
                status = buf_printf(out, "%s%s: ", separator, rows[row].name);
                status = status ? status : setting_print(&rows[row], record, out);
                separator = ", ";
            }
        }
        status = status ? status : buf_append_byte(out, '}');
    }
    return status ? status : buf_append_byte(out, ']');
}

beck_status setting_print(const struct setting *s, const void *record, struct buf *out)
{
    const void *at = const_field(s, record);
    char text[VALUE_TEXT_MAX];
    switch (s->kind) {
    case SETTING_BOOL:
        return buf_append_text(out, *(const bool *)at ? "true" : "false");
    case SETTING_NUMBER:
    case SETTING_DURATION:
    case SETTING_SIZE:
        number_text(s, load_number(s, record), text);
        return buf_append_text(out, text);
    case SETTING_CHOICE:
        return buf_append_text(out, s->choices[*(const int *)at - s->first]);
    case SETTING_TEXT:
        return *(const char *const *)at ? print_text(s, *(const char *const *)at, out)
                                        : buf_append_text(out, "\"\"");
    case SETTING_LIST:
        return print_list(s, at, out);
    case SETTING_BACKOFF:
        return value_backoff_text(at, out);
    case SETTING_FROM:
        return print_from(at, out);
    case SETTING_RECORDS:
        return print_records(s, at, out);
    }
    assert(false);
    return BECK_EINVAL;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool setting_same(const struct setting *s, const void *a, const void *b)
{
    const void *x = const_field(s, a), *y = const_field(s, b);
    const struct texts *list = x, *other = y;
    switch (s->kind) {
    case SETTING_TEXT:
        return same_text(*(const char *const *)x, *(const char *const *)y);
    case SETTING_LIST:
        for (size_t i = 0; i < list->count && i < other->count; i++) {
            if (!same_text(list->at[i], other->at[i])) {
                return false;
            }
        }
        return list->count == other->count;
    case SETTING_BACKOFF:
    case SETTING_BOOL:
    case SETTING_NUMBER:
    case SETTING_DURATION:
    case SETTING_SIZE:
    case SETTING_CHOICE:
    case SETTING_FROM:
        return memcmp(x, y, s->size) == 0;
    case SETTING_RECORDS:
        break;
    }
    assert(false);
    return false;
}
