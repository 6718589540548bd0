/* Printing: every line is put together in a buffer and written at once. */
#include "cli/print.h"
#include "event/value.h"
#include "event/json.h"
#include "event/time.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_MAX (256u << 20)

/* ---- JSON lines ---- */

static void add(struct json_line *j, beck_status status)
{
    j->status = j->status ? j->status : status;
}

static void member(struct json_line *j, const char *name)
{
    uint8_t last = j->text.len ? j->text.data[j->text.len - 1] : '{';
    if (last != '{' && last != '[') {
        add(j, buf_append_byte(&j->text, ','));
    }
    if (name) {
        add(j, buf_printf(&j->text, "\"%s\":", name));
    }
}

void json_line_begin(struct json_line *j)
{
    buf_init(&j->text, LINE_MAX);
    j->status = buf_append_byte(&j->text, '{');
}

void json_line_text(struct json_line *j, const char *name, beck_bytes text)
{
    if (text.data) {
        member(j, name);
        add(j, json_write_string(&j->text, text));
    }
}

void json_line_number(struct json_line *j, const char *name, int64_t number)
{
    member(j, name);
    add(j, buf_printf(&j->text, "%lld", (long long)number));
}

void json_line_moment(struct json_line *j, const char *name, int64_t ms)
{
    char time[TIME_TEXT_MAX];
    if (ms >= 0) {
        time_format(ms * 1000000, time);
        json_line_text(j, name, beck_str(time));
    }
}

void json_line_bool(struct json_line *j, const char *name, bool value)
{
    json_line_raw(j, name, value ? "true" : "false");
}

void json_line_raw(struct json_line *j, const char *name, const char *json)
{
    member(j, name);
    add(j, buf_append_text(&j->text, json));
}

void json_line_array_begin(struct json_line *j, const char *name)
{
    json_line_raw(j, name, "[");
}

void json_line_array_end(struct json_line *j)
{
    add(j, buf_append_byte(&j->text, ']'));
}

void json_line_object_begin(struct json_line *j, const char *name)
{
    json_line_raw(j, name, "{");
}

void json_line_object_end(struct json_line *j)
{
    add(j, buf_append_byte(&j->text, '}'));
}

int json_line_print(struct json_line *j, const struct call *call)
{
    add(j, buf_append_text(&j->text, "}\n"));
    beck_status status = j->status;
    if (!status) {
        fwrite(j->text.data, 1, j->text.len, stdout);
    }
    buf_release(&j->text);
    return status ? call_error(call, EXIT_FAILED, "no memory for a line of output") : EXIT_DONE;
}

/* ---- tables ---- */

void table_init(struct table *t, const char *const *headings)
{
    *t = (struct table){0};
    buf_init(&t->cells, LINE_MAX);
    for (; headings[t->columns]; t->columns++) {
        assert(t->columns < TABLE_COLUMNS_MAX);
        const char *heading = headings[t->columns];
        t->headings[t->columns] = heading;
        t->widths[t->columns] = strlen(heading) - (*heading == '>');
    }
}

void table_bytes(struct table *t, beck_bytes text)
{
    size_t width = print_safe(&t->cells, text.len ? text : beck_str("-"), 80);
    beck_status status = buf_append_byte(&t->cells, 0);
    t->status = t->status ? t->status : status;
    assert(t->columns > 0);
    size_t *widest = &t->widths[t->count++ % t->columns];
    *widest = width > *widest ? width : *widest;
}

void table_text(struct table *t, const char *text)
{
    table_bytes(t, beck_str(text));
}

void table_number(struct table *t, int64_t number)
{
    char text[VALUE_TEXT_MAX];
    value_number_text(number, text);
    table_text(t, text);
}

static size_t characters(const char *text)
{
    size_t count = 0;
    for (; *text; text++) {
        count += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return count;
}

static void print_cell(const struct table *t, size_t column, const char *text)
{
    bool right = *t->headings[column] == '>';
    bool last = column + 1 == t->columns;
    int pad = (int)(t->widths[column] - characters(text));
    if (right) {
        printf("%*s%s", pad, "", text);
    } else {
        printf("%s%*s", text, last ? 0 : pad, "");
    }
    fputs(last ? "\n" : "  ", stdout);
}

int table_print(struct table *t, const struct call *call)
{
    for (size_t i = 0; i < t->columns; i++) {
        const char *heading = t->headings[i] + (*t->headings[i] == '>');
        fputs(call->color_out && i == 0 ? "\033[2m" : "", stdout);
        print_cell(t, i, heading);
    }
    fputs(call->color_out ? "\033[0m" : "", stdout);
    const char *at = (const char *)t->cells.data;
    size_t column = 0;
    for (size_t i = 0; i < t->count && !t->status; i++) {
        print_cell(t, column, at);
        at += strlen(at) + 1;
        column = column + 1 < t->columns ? column + 1 : 0;
    }
    buf_release(&t->cells);
    return t->status ? call_error(call, EXIT_FAILED, "no memory for the table") : EXIT_DONE;
}

void print_field(const struct call *call, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s%-16s%s ", call->color_out ? "\033[2m" : "", name, call->color_out ? "\033[0m" : "");
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

/* ---- text from outside ---- */

/* The length of the character at p, 1-4; 0: no UTF-8, or one that a terminal may act on. */
static size_t character(const uint8_t *p, size_t left)
{
    if (*p < 0x80) {
        return *p >= ' ' && *p != 0x7f;
    }
    size_t len = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
    if (len > left || !bytes_is_utf8(bytes_of(p, len))) {
        return 0;
    }
    bool c1 = p[0] == 0xc2 && p[1] < 0xa0;
    bool direction = p[0] == 0xe2 && ((p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) ||
                                      (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
    return c1 || direction ? 0 : len;
}

size_t print_safe(struct buf *out, beck_bytes text, size_t columns)
{
    if (text.len == 0) {
        return 0;
    }
    const uint8_t *p = text.data, *end = p + text.len;
    size_t count = 0, cut = out->len; /* where "..." would stand */
    while (p < end) {
        if (count == columns) {
            out->len = cut;
            (void)buf_append_text(out, "...");
            return count;
        }
        size_t len = character(p, (size_t)(end - p));
        bool space = *p == '\n' || *p == '\t' || *p == '\r';
        beck_status status =
            len ? buf_append(out, p, len) : buf_append_byte(out, space ? ' ' : '?');
        if (status) {
            return count;
        }
        count++;
        if (count + 3 <= columns) {
            cut = out->len;
        }
        p += len ? len : 1;
    }
    return count;
}

size_t print_width(void)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) != 1 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) {
        return 0;
    }
    return size.ws_col;
}

void print_position(char out[POSITION_TEXT_MAX], beck_bytes bus, beck_position position)
{
    snprintf(out, POSITION_TEXT_MAX, "%.*s/%u/%lld", (int)bus.len, (const char *)bus.data,
             position.partition, (long long)position.offset);
}
