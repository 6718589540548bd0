/* The end of a value is found by its brackets and strings alone, in one pass: the state of the scan
 * is kept while more of the input is read. */
#include "cli/json_records.h"
#include "base/error.h"
#include "event/json.h"
#include <errno.h>

enum scan_result { SCAN_VALUE, SCAN_MORE, SCAN_BROKEN };

struct scan {
    size_t at; /* next byte, from the beginning of the value; behind it in the end */
    uint32_t depth;
    bool string;
    uint8_t closing[JSON_DEPTH_MAX];
    const char *why; /* it is broken */
};

void json_records_init(struct json_records *j, struct input *input)
{
    *j = (struct json_records){.input = input, .line = 1, .start = "\n", .start_len = 1};
    buf_init(&j->json, input->text.max);
}

void json_records_release(struct json_records *j)
{
    buf_release(&j->json);
}

/* ---- the end of a value ---- */

static enum scan_result broken(struct scan *s, const char *why)
{
    s->why = why;
    return SCAN_BROKEN;
}

/* From behind an opening quote to behind the closing one. */
static enum scan_result scan_string(struct scan *s, const uint8_t *p, size_t len)
{
    for (; s->at < len; s->at++) {
        uint8_t c = p[s->at];
        if (c == '"') {
            s->string = false;
            s->at++;
            return SCAN_VALUE;
        }
        if (c == '\n') {
            return broken(s, "the line ends within a string: is a quote missing?");
        }
        if (c == '\\') {
            if (s->at + 1 == len) {
                return SCAN_MORE;
            }
            s->at += p[s->at + 1] != '\n';
        }
    }
    return SCAN_MORE;
}

static bool ends_word(uint8_t c)
{
    return c <= ' ' || strchr(",[]{}\"", c);
}

/* A number, a literal, or what should be none of them. */
static enum scan_result scan_word(struct scan *s, const uint8_t *p, size_t len)
{
    s->at += s->at == 0;
    while (s->at < len && !ends_word(p[s->at])) {
        s->at++;
    }
    return s->at < len ? SCAN_VALUE : SCAN_MORE;
}

/* The value that begins the window, which is not empty; where the window ends first, again with a
 * longer one. */
static enum scan_result scan_value(struct scan *s, beck_bytes w)
{
    const uint8_t *p = w.data;
    if (p[0] != '{' && p[0] != '[' && p[0] != '"') {
        return scan_word(s, p, w.len);
    }
    while (s->at < w.len) {
        if (s->string) {
            enum scan_result result = scan_string(s, p, w.len);
            if (result != SCAN_VALUE || s->depth == 0) {
                return result;
            }
            continue;
        }
        uint8_t c = p[s->at++];
        if (c == '"') {
            s->string = true;
        } else if (c == '{' || c == '[') {
            if (s->depth == JSON_DEPTH_MAX) {
                return broken(s, "the record is nested too deep");
            }
            s->closing[s->depth++] = c == '{' ? '}' : ']';
        } else if (c == '}' || c == ']') {
            if (c != s->closing[--s->depth]) {
                return broken(s, c == '}' ? "a '}' stands where a ']' should be"
                                          : "a ']' stands where a '}' should be");
            }
            if (s->depth == 0) {
                return SCAN_VALUE;
            }
        }
    }
    return SCAN_MORE;
}

/* ---- how the input begins ---- */

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t skip_space(beck_bytes w, size_t at)
{
    const uint8_t *p = w.data;
    while (at < w.len && is_space(p[at])) {
        at++;
    }
    return at;
}

/* The object that begins the window, of which `last` says that it will not grow. True: known. */
static bool look_at_line(struct scan *s, beck_bytes w, bool last, enum json_start *out)
{
    bool whole = s->at > 0 && s->depth == 0; /* already, but its line was not */
    enum scan_result result = whole ? SCAN_VALUE : scan_value(s, w);
    const uint8_t *p = w.data, *end = memchr(p, '\n', w.len);
    size_t line = end ? (size_t)(end - p) : w.len;
    if (result == SCAN_MORE && !end && !last) {
        return false;
    }
    size_t second = skip_space(w, 1);
    if (end && second > line) {
        *out = JSON_START_OPEN;
    } else if (result == SCAN_BROKEN && s->at <= line) {
        *out = JSON_START_LINE;
    } else if (result == SCAN_VALUE && s->at <= line) {
        size_t next = skip_space(w, s->at);
        if (next == w.len && !end && !last) {
            return false;
        }
        *out =
            next < line && (p[next] == ',' || p[next] == '{') ? JSON_START_PART : JSON_START_LINE;
    } else {
        *out = end ? JSON_START_PART : JSON_START_LINE;
    }
    return true;
}

bool json_records_start(struct input *input, enum json_start *out)
{
    struct scan s = {0};
    *out = JSON_START_LINE;
    for (;;) {
        beck_bytes w = input_window(input);
        size_t space = skip_space(w, 0);
        bool any = space < w.len;
        w = bytes_of((const uint8_t *)w.data + space, w.len - space);
        if (any && *(const uint8_t *)w.data == '[') {
            *out = JSON_START_ARRAY;
            return true;
        }
        if (any && (*(const uint8_t *)w.data != '{' || look_at_line(&s, w, input->ended, out))) {
            return true;
        }
        enum input_result more = input->ended && !any ? INPUT_FULL : input_fill(input);
        if (more == INPUT_FAILED || more == INPUT_FULL || input->stopped) {
            return more != INPUT_FAILED;
        }
    }
}

/* ---- records ---- */

static void consume(struct json_records *j, size_t n)
{
    j->line += input_count_lines(bytes_of(input_window(j->input).data, n));
    input_consume(j->input, n);
}

/* Steps over what stands between records, within the window. */
static void skip_between(struct json_records *j)
{
    beck_bytes w = input_window(j->input);
    const uint8_t *p = w.data;
    size_t at = 0;
    for (; at < w.len; at++) {
        uint8_t c = p[at];
        bool opens = c == '[' && !j->in_array, closes = c == ']' && j->in_array;
        if (!is_space(c) && c != ',' && !opens && !closes) {
            break;
        }
        if (c == '\n') {
            j->start_len = 1;
        } else if ((c == ' ' || c == '\t') && j->start_len > 0 && j->start_len <= JSON_INDENT_MAX) {
            j->start[j->start_len++] = (char)c;
        } else {
            j->start_len = 0;
        }
        j->in_array = (j->in_array || opens) && !closes;
    }
    consume(j, at);
}

static enum record_result failed(beck_error *err)
{
    error_errno(err, errno, "the input cannot be read");
    return RECORD_FAILED;
}

/* The line end before the next line that begins as the record did; NULL: not in this text. */
static const uint8_t *find_start(struct json_records *j, beck_bytes text)
{
    j->start[j->start_len] = '{';
    return memmem(text.data, text.len, j->start, j->start_len + 1);
}

/* Consumes the window up to the next line that begins as the record did; where there is none, all that
 * cannot be its beginning. */
static void step_to_start(struct json_records *j)
{
    beck_bytes w = input_window(j->input);
    const uint8_t *found = find_start(j, w);
    const uint8_t *tail = memrchr(w.data, '\n', w.len);
    size_t kept = tail ? w.len - (size_t)(tail - (const uint8_t *)w.data) : 0;
    j->lost = !found;
    if (found) {
        consume(j, (size_t)(found - (const uint8_t *)w.data));
    } else {
        consume(j, w.len - (kept <= j->start_len && !j->input->ended ? kept : 0));
    }
}

/* Goes on behind a broken record. False: the input cannot be read. */
static bool find_again(struct json_records *j)
{
    step_to_start(j);
    while (j->lost && !j->input->ended) {
        if (input_fill(j->input) == INPUT_FAILED) {
            return false;
        }
        step_to_start(j);
    }
    if (j->lost) {
        j->lost = j->in_array = false;
        consume(j, input_window(j->input).len);
    }
    return true;
}

/* The record that begins the window is malformed, and where it ends is not known; with `cut_off` the
 * input has nothing more. */
static enum record_result give_broken(struct json_records *j, struct ingest_record *out,
                                      bool cut_off, beck_error *err)
{
    beck_bytes w = input_window(j->input);
    *out = (struct ingest_record){
        .number = ++j->number, .line = j->line, .byte = j->input->position, .raw = w};
    if (j->start_len == 0 && !cut_off) {
        error_set(err, BECK_EINVAL,
                  "line %lld: %s; reading cannot go on behind this: repair the file, then use "
                  "--resume",
                  (long long)j->line, err->text);
        return RECORD_FAILED;
    }
    if (j->start_len == 0) {
        j->in_array = false;
        consume(j, w.len);
        return RECORD_BAD;
    }
    const uint8_t *next = find_start(j, w);
    out->raw.len = next ? (size_t)(next - (const uint8_t *)w.data) : w.len;
    j->lost = true;
    return RECORD_BAD;
}

static bool has_lines(beck_bytes text)
{
    return memchr(text.data, '\n', text.len) || memchr(text.data, '\r', text.len);
}

/* Without the white space outside of strings. */
static beck_status write_line(struct json_records *j, beck_bytes raw, beck_error *err)
{
    const uint8_t *p = raw.data;
    bool string = false;
    beck_status status = json_check(raw, err);
    if (status) {
        return status;
    }
    buf_clear(&j->json);
    if (buf_reserve(&j->json, raw.len)) {
        return error_set(err, BECK_ENOMEM, "no memory for the record");
    }
    for (size_t i = 0; i < raw.len; i++) {
        if (string || !is_space(p[i])) {
            j->json.data[j->json.len++] = p[i];
        }
        if (string && p[i] == '\\') {
            j->json.data[j->json.len++] = p[++i];
        } else if (p[i] == '"') {
            string = !string;
        }
    }
    return BECK_OK;
}

static enum record_result give(struct json_records *j, size_t len, struct ingest_record *out,
                               beck_error *err)
{
    *out = (struct ingest_record){.number = ++j->number,
                                  .line = j->line,
                                  .byte = j->input->position,
                                  .raw = bytes_of(input_window(j->input).data, len)};
    j->start_len = 0;
    consume(j, len);
    if (out->number <= j->skip) {
        return RECORD_SKIPPED;
    }
    out->json = out->raw;
    if (has_lines(out->raw)) {
        beck_status status = write_line(j, out->raw, err);
        out->json = status ? (beck_bytes){0} : buf_bytes(&j->json);
        return status == BECK_ENOMEM ? RECORD_FAILED : status ? RECORD_BAD : RECORD_GOOD;
    }
    return RECORD_GOOD;
}

/* Whether the value is no JSON, and a line in it begins as a record would: a bracket is missing. */
static bool has_swallowed(struct json_records *j, beck_bytes value, beck_error *err)
{
    return j->start_len > 0 && find_start(j, value) && json_check(value, err);
}

/* The record that begins the window. */
static enum record_result take_record(struct json_records *j, struct ingest_record *out,
                                      beck_error *err)
{
    struct scan s = {0};
    for (;;) {
        beck_bytes w = input_window(j->input);
        enum scan_result result = scan_value(&s, w);
        if (result == SCAN_VALUE && has_swallowed(j, bytes_of(w.data, s.at), err)) {
            return give_broken(j, out, false, err);
        }
        if (result == SCAN_VALUE) {
            return give(j, s.at, out, err);
        }
        if (result == SCAN_BROKEN) {
            error_set(err, BECK_EINVAL, "%s", s.why);
            return give_broken(j, out, false, err);
        }
        enum input_result more = input_fill(j->input);
        if (more == INPUT_FAILED) {
            return failed(err);
        }
        if (more == INPUT_END && j->input->stopped) {
            return RECORD_END;
        }
        if (more == INPUT_END && s.depth == 0 && !s.string) {
            return give(j, s.at, out, err); /* a word ends with the input */
        }
        if (more == INPUT_END) {
            error_set(err, BECK_EINVAL, "the input ends within the record");
            return give_broken(j, out, true, err);
        }
        if (more == INPUT_FULL) {
            error_set(err, BECK_ELIMIT,
                      "the record is longer than %zu bytes: raise --record-max, or split it",
                      j->input->text.max);
            return give_broken(j, out, false, err);
        }
    }
}

static enum record_result next(struct json_records *j, struct ingest_record *out, beck_error *err)
{
    for (;;) {
        skip_between(j);
        if (input_window(j->input).len > 0) {
            return take_record(j, out, err);
        }
        enum input_result more = input_fill(j->input);
        if (more == INPUT_FAILED) {
            return failed(err);
        }
        if (more != INPUT_END) {
            continue;
        }
        if (!j->in_array || j->input->stopped) {
            return RECORD_END;
        }
        j->in_array = false;
        *out = (struct ingest_record){
            .number = j->number, .line = j->line, .byte = j->input->position};
        error_set(err, BECK_EINVAL, "the input ends within an array: it may be cut off");
        return RECORD_BAD;
    }
}

enum record_result json_records_next(struct json_records *j, struct ingest_record *out,
                                     beck_error *err)
{
    if (j->lost && !find_again(j)) {
        return failed(err);
    }
    enum record_result result = next(j, out, err);
    bool skipped = result == RECORD_BAD && out->number <= j->skip;
    return skipped ? RECORD_SKIPPED : result;
}
