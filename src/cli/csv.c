/*
 * A record is looked for in the window from its beginning each time; when the window ends first,
 * more is read and the search begins again. The window doubles, so this costs twice the bytes at
 * most.
 */
#include "cli/csv.h"
#include "base/error.h"
#include "event/event.h"
#include "event/json.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NAMES_MAX (1u << 20)

enum class { PLAIN = 0, DELIMITER, LINE_END, RETURN, QUOTE };

/* What a search for the end of a record found. */
enum scan {
    SCAN_RECORD,
    SCAN_MORE, /* the end is not in the window */
    SCAN_BAD
};

beck_status csv_init(struct csv *c, struct input *input, int delimiter, int quote, bool header,
                     beck_error *err)
{
    *c = (struct csv){
        .input = input, .delimiter = (uint8_t)delimiter, .quote = quote, .header = header};
    if (delimiter == quote || delimiter == '\n' || delimiter == '\r' || quote == '\n' ||
        quote == '\r' || delimiter <= 0 || delimiter >= 0x80 || quote == 0 || quote >= 0x80) {
        return error_set(err, BECK_EINVAL,
                         "the delimiter and the quote must be two different ASCII characters, and "
                         "no line end");
    }
    c->classes[(uint8_t)delimiter] = DELIMITER;
    c->classes['\n'] = LINE_END;
    c->classes['\r'] = RETURN;
    if (quote >= 0) {
        c->classes[quote] = QUOTE;
    }
    buf_init(&c->names, NAMES_MAX);
    buf_init(&c->json, NAMES_MAX + 6 * input->text.max); /* \u0000 is the longest escape */
    buf_init(&c->text, input->text.max);
    c->fields = calloc(CSV_COLUMNS_MAX, sizeof *c->fields);
    c->name_ends = calloc(CSV_COLUMNS_MAX, sizeof *c->name_ends);
    if (!c->fields || !c->name_ends) {
        csv_release(c);
        return error_set(err, BECK_ENOMEM, "no memory for the columns");
    }
    return BECK_OK;
}

void csv_release(struct csv *c)
{
    free(c->fields);
    free(c->name_ends);
    c->fields = NULL;
    c->name_ends = NULL;
    buf_release(&c->names);
    buf_release(&c->json);
    buf_release(&c->text);
}

/* ---- finding the end of a record ---- */

static bool add_field(struct csv *c, size_t at, size_t len, bool doubled, beck_error *err)
{
    if (c->field_count == CSV_COLUMNS_MAX) {
        error_set(err, BECK_ELIMIT, "the record has more than %d fields: is the delimiter right?",
                  CSV_COLUMNS_MAX);
        return false;
    }
    c->fields[c->field_count++] =
        (struct csv_field){.at = (uint32_t)at, .len = (uint32_t)len, .doubled = doubled};
    return true;
}

/* Bytes of the line end at `at`: 1, 2, or 0 when there is none (a CR by itself is text). -1: the
 * window ends behind a CR. */
static int line_end(const uint8_t *p, size_t at, size_t len, bool last)
{
    if (p[at] == '\n') {
        return 1;
    }
    if (p[at] != '\r') {
        return 0;
    }
    if (at + 1 == len) {
        return last ? 0 : -1;
    }
    return p[at + 1] == '\n' ? 2 : 0;
}

/* From the byte behind an opening quote to that behind the closing one. */
static enum scan scan_quoted(struct csv *c, beck_bytes w, bool last, size_t *at, beck_error *err)
{
    const uint8_t *p = w.data;
    size_t start = *at;
    bool doubled = false;
    for (;;) {
        const uint8_t *q = memchr(p + *at, c->quote, w.len - *at);
        if (!q) {
            if (!last) {
                return SCAN_MORE;
            }
            error_set(err, BECK_EINVAL, "a quoted field is never closed");
            return SCAN_BAD;
        }
        size_t end = (size_t)(q - p);
        *at = end + 1;
        if (*at == w.len && !last) {
            return SCAN_MORE;
        }
        if (*at < w.len && p[*at] == c->quote) {
            doubled = true;
            ++*at;
            continue;
        }
        return add_field(c, start, end - start, doubled, err) ? SCAN_RECORD : SCAN_BAD;
    }
}

/* From the first byte of a field without quotes to the delimiter or line end behind it. */
static enum scan scan_plain(struct csv *c, beck_bytes w, bool last, size_t *at, beck_error *err)
{
    const uint8_t *p = w.data;
    size_t start = *at, i = start;
    for (;; i++) {
        while (i < w.len && c->classes[p[i]] == PLAIN) {
            i++;
        }
        *at = i;
        if (i == w.len && !last) {
            return SCAN_MORE;
        }
        if (i == w.len || c->classes[p[i]] == DELIMITER) {
            break;
        }
        if (c->classes[p[i]] == QUOTE) {
            error_set(err, BECK_EINVAL,
                      "field %u holds a quote but does not begin with one: quote the whole field "
                      "and double the quote in it, or give --quote none",
                      c->field_count + 1);
            return SCAN_BAD;
        }
        int end = line_end(p, i, w.len, last);
        if (end < 0) {
            return SCAN_MORE;
        }
        if (end > 0) {
            break;
        }
    }
    return add_field(c, start, i - start, false, err) ? SCAN_RECORD : SCAN_BAD;
}

/* Fields of the record at the beginning of the window; *end is behind its text, *next behind its
 * line end. The window is not empty. */
static enum scan scan(struct csv *c, beck_bytes w, bool last, size_t *end, size_t *next,
                      beck_error *err)
{
    const uint8_t *p = w.data;
    size_t at = 0;
    c->field_count = 0;
    for (;;) {
        if (at == w.len && !last) {
            return SCAN_MORE;
        }
        bool quoted = at < w.len && c->classes[p[at]] == QUOTE;
        at += quoted;
        enum scan result =
            quoted ? scan_quoted(c, w, last, &at, err) : scan_plain(c, w, last, &at, err);
        if (result != SCAN_RECORD) {
            return result;
        }
        *end = *next = at;
        if (at == w.len) {
            return last ? SCAN_RECORD : SCAN_MORE;
        }
        if (c->classes[p[at]] == DELIMITER) {
            at++;
            continue;
        }
        int bytes = line_end(p, at, w.len, last);
        if (bytes < 0) {
            return SCAN_MORE;
        }
        if (bytes == 0 && !(last && at + 1 == w.len && p[at] == '\r')) {
            error_set(err, BECK_EINVAL, "field %u goes on behind its closing quote",
                      c->field_count);
            return SCAN_BAD;
        }
        *next = at + (bytes ? (size_t)bytes : 1);
        return SCAN_RECORD;
    }
}

/* ---- taking records from the window ---- */

/* Consumes the record that begins the window. */
static void take(struct csv *c, struct ingest_record *out, size_t end, size_t next)
{
    beck_bytes w = input_window(c->input);
    *out = (struct ingest_record){.number = ++c->number,
                                  .line = c->line + 1,
                                  .byte = c->input->position,
                                  .raw = bytes_of(w.data, end)};
    c->line += input_count_lines(bytes_of(w.data, next));
    input_consume(c->input, next);
}

/* Consumes the first line of a record whose quoting is wrong, or what there is of it. */
static void take_line(struct csv *c, struct ingest_record *out)
{
    beck_bytes w = input_window(c->input);
    const uint8_t *p = w.data, *newline = memchr(p, '\n', w.len);
    size_t next = newline ? (size_t)(newline - p) + 1 : w.len;
    size_t end = newline ? next - 1 : next;
    end -= end > 0 && p[end - 1] == '\r';
    c->broken = !newline;
    take(c, out, end, next);
}

/* Steps over the rest of a line of which the beginning was given already. */
static bool skip_broken(struct csv *c)
{
    while (c->broken) {
        beck_bytes w = input_window(c->input);
        const uint8_t *newline = memchr(w.data, '\n', w.len);
        size_t n = newline ? (size_t)(newline - (const uint8_t *)w.data) + 1 : w.len;
        input_consume(c->input, n);
        c->line += newline != NULL;
        c->broken = !newline;
        if (c->broken) {
            enum input_result result = input_fill(c->input);
            if (result == INPUT_FAILED) {
                return false;
            }
            c->broken = result == INPUT_MORE;
        }
    }
    return true;
}

/* The window begins with line ends only: steps over them. */
static bool skip_blank(struct csv *c, beck_bytes w)
{
    const uint8_t *p = w.data;
    size_t n = p[0] == '\n' ? 1 : w.len > 1 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
    if (n) {
        input_consume(c->input, n);
        c->line++;
    }
    return n > 0;
}

/* The next record in c->fields and out, not yet looked into. */
static enum record_result next_fields(struct csv *c, struct ingest_record *out, beck_error *err)
{
    if (!skip_broken(c)) {
        error_errno(err, errno, "the input cannot be read");
        return RECORD_FAILED;
    }
    for (;;) {
        beck_bytes w = input_window(c->input);
        if (w.len > 0 && skip_blank(c, w)) {
            continue;
        }
        bool last = c->input->ended;
        if (last && (w.len == 0 || c->input->stopped)) {
            return RECORD_END;
        }
        size_t end, next;
        enum scan result = w.len ? scan(c, w, last, &end, &next, err) : SCAN_MORE;
        if (result == SCAN_RECORD) {
            take(c, out, end, next);
            return RECORD_GOOD;
        }
        if (result == SCAN_BAD && (last || memchr(w.data, '\n', w.len))) {
            take_line(c, out);
            return RECORD_BAD;
        }
        enum input_result more = input_fill(c->input);
        if (more == INPUT_FAILED) {
            error_errno(err, errno, "the input cannot be read");
            return RECORD_FAILED;
        }
        if (more == INPUT_FULL) {
            error_set(err, BECK_ELIMIT,
                      "the record is longer than %zu bytes: is a quote missing? Else raise "
                      "--record-max",
                      c->input->text.max);
            take_line(c, out);
            return RECORD_BAD;
        }
    }
}

/* ---- names ---- */

/* The text of a field, valid until the next one is asked for; data NULL: no memory. */
static beck_bytes field_text(struct csv *c, const struct ingest_record *r, uint32_t i)
{
    const struct csv_field *f = &c->fields[i];
    const uint8_t *p = (const uint8_t *)r->raw.data + f->at;
    if (!f->doubled) {
        return bytes_of(p, f->len);
    }
    buf_clear(&c->text);
    if (buf_reserve(&c->text, f->len)) {
        return (beck_bytes){0};
    }
    for (size_t at = 0; at < f->len; at++) {
        c->text.data[c->text.len++] = p[at];
        at += p[at] == c->quote;
    }
    return buf_bytes(&c->text);
}

static beck_status add_name(struct csv *c, uint32_t i, beck_bytes name, beck_error *err)
{
    char number[16];
    if (name.len == 0) {
        snprintf(number, sizeof number, "%u", i + 1);
        name = beck_str(number);
    }
    if (!bytes_is_utf8(name)) {
        return error_set(err, BECK_EINVAL,
                         "the name of column %u is no UTF-8: convert the file, as with iconv",
                         i + 1);
    }
    beck_status status = buf_append_byte(&c->names, i ? ',' : '{');
    size_t start = c->names.len;
    status = status ? status : json_write_string(&c->names, name);
    status = status ? status : buf_append_byte(&c->names, ':');
    if (status) {
        return error_set(err, status, "the names of the columns are too long");
    }
    beck_bytes mine = bytes_of(c->names.data + start, c->names.len - start);
    for (uint32_t k = 0; k < i; k++) {
        size_t from = (k ? c->name_ends[k - 1] : 0) + 1;
        if (bytes_equal(mine, bytes_of(c->names.data + from, c->name_ends[k] - from))) {
            char quoted[EVENT_QUOTE_MAX];
            return error_set(err, BECK_EINVAL,
                             "columns %u and %u have the same name %s: rename one, or give "
                             "--no-header if the file has no header",
                             k + 1, i + 1, event_quote(name, quoted));
        }
    }
    c->name_ends[i] = (uint32_t)c->names.len;
    return BECK_OK;
}

/* Names from the header; or, without one, as many numbers as the first record has fields. */
static beck_status set_columns(struct csv *c, const struct ingest_record *r, beck_error *err)
{
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < c->field_count && !status; i++) {
        status = add_name(c, i, c->header ? field_text(c, r, i) : (beck_bytes){0}, err);
    }
    c->column_count = status ? 0 : c->field_count;
    return status;
}

static enum record_result read_header(struct csv *c, beck_error *err)
{
    struct ingest_record header;
    beck_error why;
    enum record_result result = next_fields(c, &header, &why);
    if (result == RECORD_BAD) {
        error_set(err, BECK_EINVAL, "the header in line 1 is malformed: %s", why.text);
        return RECORD_FAILED;
    }
    if (result == RECORD_FAILED) {
        *err = why;
    }
    if (result == RECORD_GOOD) {
        c->number = 0; /* the header is no record */
        result = set_columns(c, &header, err) ? RECORD_FAILED : RECORD_GOOD;
    }
    return result;
}

/* ---- records as JSON ---- */

static beck_status write_json(struct csv *c, const struct ingest_record *r)
{
    struct buf *out = &c->json;
    buf_clear(out);
    beck_status status = BECK_OK;
    size_t from = 0;
    for (uint32_t i = 0; i < c->field_count && !status; i++) {
        beck_bytes text = field_text(c, r, i);
        status =
            text.data ? buf_append(out, c->names.data + from, c->name_ends[i] - from) : BECK_ENOMEM;
        status = status ? status : json_write_string(out, text);
        from = c->name_ends[i];
    }
    return status ? status : buf_append_byte(out, '}');
}

static enum record_result complete(struct csv *c, struct ingest_record *out, beck_error *err)
{
    if (c->column_count == 0 && set_columns(c, out, err)) {
        return RECORD_FAILED;
    }
    if (c->field_count != c->column_count) {
        error_set(err, BECK_EINVAL, "the record has %u fields, but %u are expected", c->field_count,
                  c->column_count);
        return RECORD_BAD;
    }
    if (out->number <= c->skip) {
        return RECORD_GOOD;
    }
    if (!bytes_is_utf8(out->raw)) {
        error_set(err, BECK_EINVAL,
                  "the record is no UTF-8: convert the file, as with iconv -f latin1 -t utf-8");
        return RECORD_BAD;
    }
    if (write_json(c, out)) {
        error_set(err, BECK_ENOMEM, "no memory for the record");
        return RECORD_FAILED;
    }
    out->json = buf_bytes(&c->json);
    return RECORD_GOOD;
}

enum record_result csv_next(struct csv *c, struct ingest_record *out, beck_error *err)
{
    if (c->header && c->column_count == 0) {
        enum record_result result = read_header(c, err);
        if (result != RECORD_GOOD) {
            return result;
        }
    }
    enum record_result result = next_fields(c, out, err);
    if (result == RECORD_GOOD) {
        result = complete(c, out, err);
    }
    bool skipped = (result == RECORD_GOOD || result == RECORD_BAD) && out->number <= c->skip;
    return skipped ? RECORD_SKIPPED : result;
}
