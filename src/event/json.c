/*
 * Reading JSON (RFC 8259): a scanner that goes over the text once and keeps one bit for each level
 * of nesting. `state` says what the grammar allows next, so there is no recursion and nothing is
 * allocated. Strings are skipped eight bytes at a time until a byte needs a look: a quote, a
 * backslash, a control character or one that is not ASCII.
 */
#include "event/json.h"
#include "base/error.h"
#include "event/event.h"
#include "event/utf8.h"

#include <assert.h>
#include <stdio.h>

enum state {
    WANT_VALUE,
    WANT_FIRST_ELEMENT, /* a value or ']' */
    WANT_FIRST_NAME,    /* a name or '}' */
    WANT_NAME,
    WANT_MORE /* ',' or the closing bracket; at depth 0 the end */
};

void json_reader_init(struct json_reader *r, beck_bytes text)
{
    *r = (struct json_reader){.text = text.len == 0 ? bytes_of("", 0) : text, .state = WANT_VALUE};
}

/* ---- errors ---- */

static beck_status fail(const struct json_reader *r, size_t at, const char *expected,
                        beck_error *err)
{
    const uint8_t *text = r->text.data;
    size_t line = 1;
    size_t line_at = 0;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            line++;
            line_at = i + 1;
        }
    }
    char found[EVENT_QUOTE_MAX + 16] = "the end of the text";
    if (at < r->text.len) {
        size_t left = r->text.len - at;
        if (text[at] >= 0x20 && text[at] < 0x7F) {
            event_quote(bytes_of(text + at, left < 12 ? left : 12), found);
        } else {
            snprintf(found, sizeof found, "the byte 0x%02x", text[at]);
        }
    }
    return error_set(err, BECK_EINVAL,
                     "not JSON at byte %zu (line %zu, column %zu): expected %s, "
                     "found %s",
                     at, line, at - line_at + 1, expected, found);
}

/* ---- strings and numbers ---- */

/* How many bytes at p need no look, in steps of eight; all of them ASCII. */
static inline size_t plain_prefix(const uint8_t *p, size_t len)
{
    const uint64_t ones = 0x0101010101010101ULL;
    const uint64_t highs = 0x8080808080808080ULL;
    size_t at = 0;
    for (; len - at >= 8; at += 8) {
        uint64_t v;
        memcpy(&v, p + at, 8);
        uint64_t quote = v ^ ones * '"';
        uint64_t backslash = v ^ ones * '\\';
        uint64_t look = (v | (v - ones * 0x20) | (quote - ones) | (backslash - ones)) & highs;
        if (look != 0) {
            /* The lowest mark is exact: borrows only run upwards. */
            return at + (size_t)__builtin_ctzll(look) / 8;
        }
    }
    return at;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four digits at p; -1: there are none. */
static int32_t hex_read(const uint8_t *p, const uint8_t *end)
{
    int32_t value = 0;
    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) {
            return -1;
        }
        value = value << 4 | digit;
    }
    return value;
}

/* The length of the \u escape at p, or of the two of a surrogate pair; 0: it is none, or half of one. */
static size_t unicode_len(const uint8_t *p, const uint8_t *end)
{
    int32_t unit = hex_read(p + 2, end);
    if (unit < 0xD800 || unit > 0xDFFF) {
        return unit < 0 ? 0 : 6;
    }
    if (unit > 0xDBFF || end - p < 12 || p[6] != '\\' || p[7] != 'u') {
        return 0;
    }
    unit = hex_read(p + 8, end);
    return unit < 0xDC00 || unit > 0xDFFF ? 0 : 12;
}

static bool is_half(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 6 && p[1] == 'u' && hex_read(p + 2, end) >= 0 && unicode_len(p, end) == 0;
}

/* The length of the escape at p, which is a backslash; 0: it is none. */
static size_t escape_len(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 2) {
        return 0;
    }
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    case 'u':
        return unicode_len(p, end);
    default:
        return 0;
    }
}

/* The string whose opening quote is at r->at; afterwards r->at is behind the closing one. */
static beck_status read_string(struct json_reader *r, struct json_token *out, beck_error *err)
{
    const uint8_t *text = r->text.data;
    const uint8_t *end = text + r->text.len;
    const uint8_t *start = text + r->at + 1;
    out->at = r->at;
    out->escaped = false;
    for (const uint8_t *p = start;;) {
        p += plain_prefix(p, (size_t)(end - p));
        if (p == end) {
            return fail(r, r->text.len, "'\"' at the end of the string", err);
        }
        uint8_t c = *p;
        if (c == '"') {
            out->raw = bytes_of(start, (size_t)(p - start));
            r->at = (size_t)(p + 1 - text);
            return BECK_OK;
        }
        if (c == '\\') {
            size_t len = r->halves && is_half(p, end) ? 6 : escape_len(p, end);
            if (len == 0) {
                return fail(r, (size_t)(p - text),
                            is_half(p, end)
                                ? "both halves of a surrogate pair (one is no character)"
                                : "an escape: one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
                            err);
            }
            out->escaped = true;
            p += len;
        } else if (c < 0x20) {
            return fail(r, (size_t)(p - text),
                        "text without control characters (write them as \\u00XX)", err);
        } else if (c < 0x80) {
            p++;
        } else {
            uint32_t point;
            size_t len = utf8_read(p, end, &point);
            if (len == 0) {
                return fail(r, (size_t)(p - text), "text in UTF-8", err);
            }
            p += len;
        }
    }
}

static const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (unsigned)(*p - '0') <= 9) {
        p++;
    }
    return p;
}

static beck_status read_number(struct json_reader *r, struct json_token *out, beck_error *err)
{
    const uint8_t *text = r->text.data;
    const uint8_t *end = text + r->text.len;
    const uint8_t *p = text + r->at;
    p += *p == '-';
    const uint8_t *digits = p;
    p = skip_digits(p, end);
    if (p == digits) {
        return fail(r, (size_t)(p - text), "a digit", err);
    }
    if (*digits == '0' && p - digits > 1) {
        return fail(r, (size_t)(digits - text), "a number without leading zeros", err);
    }
    if (p < end && *p == '.') {
        digits = ++p;
        p = skip_digits(p, end);
        if (p == digits) {
            return fail(r, (size_t)(p - text), "a digit of the fraction", err);
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        digits = p;
        p = skip_digits(p, end);
        if (p == digits) {
            return fail(r, (size_t)(p - text), "a digit of the exponent", err);
        }
    }
    out->kind = JSON_NUMBER;
    out->raw = bytes_of(text + r->at, (size_t)(p - text) - r->at);
    r->at += out->raw.len;
    return BECK_OK;
}

static beck_status read_literal(struct json_reader *r, struct json_token *out, const char *word,
                                enum json_kind kind, beck_error *err)
{
    const uint8_t *p = (const uint8_t *)r->text.data + r->at;
    size_t len = strlen(word);
    if (r->text.len - r->at < len || memcmp(p, word, len) != 0) {
        return fail(r, r->at, "a value (null, true, false, a number, '\"', '{' or '[')", err);
    }
    out->kind = kind;
    out->raw = bytes_of(p, len);
    r->at += len;
    return BECK_OK;
}

/* ---- nesting ---- */

static bool in_object(const struct json_reader *r)
{
    return (r->stack[(r->depth - 1) / 8] >> ((r->depth - 1) % 8) & 1) != 0;
}

static beck_status open_level(struct json_reader *r, struct json_token *out, bool object,
                              beck_error *err)
{
    if (r->depth == JSON_DEPTH_MAX) {
        return error_set(err, BECK_ELIMIT,
                         "nested deeper than %d levels at byte %zu; give flatter JSON",
                         JSON_DEPTH_MAX, r->at);
    }
    uint8_t bit = (uint8_t)(1U << (r->depth % 8));
    uint8_t *stack = &r->stack[r->depth / 8];
    *stack = (uint8_t)(object ? *stack | bit : *stack & ~bit);
    r->depth++;
    r->state = object ? WANT_FIRST_NAME : WANT_FIRST_ELEMENT;
    out->kind = object ? JSON_OBJECT : JSON_ARRAY;
    out->raw = bytes_of((const uint8_t *)r->text.data + r->at, 1);
    r->at++;
    return BECK_OK;
}

static beck_status close_level(struct json_reader *r, struct json_token *out)
{
    assert(r->depth > 0);
    out->kind = in_object(r) ? JSON_OBJECT_END : JSON_ARRAY_END;
    out->raw = bytes_of((const uint8_t *)r->text.data + r->at, 1);
    out->at = r->at++;
    out->escaped = false;
    r->depth--;
    r->state = WANT_MORE;
    return BECK_OK;
}

/* ---- tokens ---- */

/* The next byte that is no white space, or -1. */
static inline int look(struct json_reader *r)
{
    const uint8_t *text = r->text.data;
    size_t at = r->at;
    if (at < r->text.len && text[at] > ' ') {
        return text[at];
    }
    while (at < r->text.len &&
           (text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t')) {
        at++;
    }
    r->at = at;
    return at < r->text.len ? text[at] : -1;
}

static beck_status read_value(struct json_reader *r, struct json_token *out, int c, beck_error *err)
{
    out->at = r->at;
    out->escaped = false;
    r->state = WANT_MORE;
    switch (c) {
    case '"':
        out->kind = JSON_STRING;
        return read_string(r, out, err);
    case '{':
    case '[':
        return open_level(r, out, c == '{', err);
    case 't':
        return read_literal(r, out, "true", JSON_TRUE, err);
    case 'f':
        return read_literal(r, out, "false", JSON_FALSE, err);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return read_number(r, out, err);
    default:
        return read_literal(r, out, "null", JSON_NULL, err);
    }
}

static beck_status read_name(struct json_reader *r, struct json_token *out, int c, beck_error *err)
{
    if (c != '"') {
        return fail(r, r->at,
                    r->state == WANT_FIRST_NAME ? "a member name in double quotes or '}'"
                                                : "a member name in double quotes",
                    err);
    }
    out->kind = JSON_NAME;
    beck_status status = read_string(r, out, err);
    if (status != BECK_OK) {
        return status;
    }
    if (look(r) != ':') {
        return fail(r, r->at, "':' behind the member name", err);
    }
    r->at++;
    r->state = WANT_VALUE;
    return BECK_OK;
}

beck_status json_next(struct json_reader *r, struct json_token *out, beck_error *err)
{
    int c = look(r);
    if (r->state == WANT_MORE) {
        if (r->depth == 0) {
            *out = (struct json_token){.kind = JSON_END, .at = r->at};
            return c < 0 ? BECK_OK : fail(r, r->at, "the end of the text", err);
        }
        bool object = in_object(r);
        if (c == (object ? '}' : ']')) {
            return close_level(r, out);
        }
        if (c != ',') {
            return fail(r, r->at, object ? "',' or '}'" : "',' or ']'", err);
        }
        r->at++;
        r->state = object ? WANT_NAME : WANT_VALUE;
        c = look(r);
    }
    if (c == '}' && r->state == WANT_FIRST_NAME) {
        return close_level(r, out);
    }
    if (c == ']' && r->state == WANT_FIRST_ELEMENT) {
        return close_level(r, out);
    }
    if (r->state == WANT_NAME || r->state == WANT_FIRST_NAME) {
        return read_name(r, out, c, err);
    }
    return read_value(r, out, c, err);
}

beck_status json_skip_value(struct json_reader *r, beck_bytes *raw, beck_error *err)
{
    assert(r->state == WANT_VALUE);
    uint32_t depth = r->depth;
    struct json_token token;
    beck_status status = json_next(r, &token, err);
    size_t start = token.at;
    while (status == BECK_OK && r->depth != depth) {
        status = json_next(r, &token, err);
    }
    if (status == BECK_OK) {
        *raw = bytes_of((const uint8_t *)r->text.data + start, r->at - start);
    }
    return status;
}

beck_status json_check(beck_bytes text, beck_error *err)
{
    struct json_reader r;
    struct json_token token = {.kind = JSON_NULL};
    json_reader_init(&r, text);
    beck_status status = BECK_OK;
    while (status == BECK_OK && token.kind != JSON_END) {
        status = json_next(&r, &token, err);
    }
    return status;
}

/* ---- text of strings ---- */

/* The character that the \u escape at *p stands for, which may be a pair. */
static uint32_t point_read(const uint8_t **p, const uint8_t *end)
{
    bool half = is_half(*p, end);
    uint32_t high = (uint32_t)hex_read(*p + 2, end);
    *p += 6;
    if (half) {
        return 0xFFFD;
    }
    if (high < 0xD800 || high > 0xDFFF) {
        return high;
    }
    uint32_t low = (uint32_t)hex_read(*p + 2, end);
    *p += 6;
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

static uint8_t escaped_byte(uint8_t c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

size_t json_unescape_to(const struct json_token *token, uint8_t *out)
{
    if (token->raw.len == 0) {
        return 0;
    }
    const uint8_t *p = token->raw.data;
    const uint8_t *end = p + token->raw.len;
    uint8_t *to = out;
    while (p < end) {
        const uint8_t *backslash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((backslash == NULL ? end : backslash) - p);
        memmove(to, p, plain);
        to += plain;
        p += plain;
        if (p == end) {
            break;
        }
        if (p[1] != 'u') {
            *to++ = escaped_byte(p[1]);
            p += 2;
        } else {
            to += utf8_put(point_read(&p, end), to);
        }
    }
    return (size_t)(to - out);
}

beck_status json_unescape(const struct json_token *token, struct buf *out, beck_error *err)
{
    beck_status status = buf_reserve(out, token->raw.len);
    if (status != BECK_OK) {
        return error_set(err, status,
                         "the string at byte %zu has %zu bytes: too long for a buffer "
                         "of %zu",
                         token->at, token->raw.len, out->max);
    }
    if (token->raw.len != 0) {
        out->len += json_unescape_to(token, out->data + out->len);
    }
    return BECK_OK;
}

/* ---- writing ---- */

static beck_status write_escape(struct buf *out, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    char text[7] = {'\\', 0};
    switch (c) {
    case '"':
    case '\\':
        text[1] = (char)c;
        break;
    case '\b':
        text[1] = 'b';
        break;
    case '\f':
        text[1] = 'f';
        break;
    case '\n':
        text[1] = 'n';
        break;
    case '\r':
        text[1] = 'r';
        break;
    case '\t':
        text[1] = 't';
        break;
    default:
        memcpy(text + 1, "u00", 3);
        text[4] = hex[c >> 4];
        text[5] = hex[c & 15];
    }
    return buf_append(out, text, strlen(text));
}

beck_status json_write_string(struct buf *out, beck_bytes text)
{
    size_t before = out->len;
    const uint8_t *p = text.len == 0 ? (const uint8_t *)"" : text.data;
    const uint8_t *end = p + text.len;
    beck_status status = buf_append_byte(out, '"');
    while (status == BECK_OK && p < end) {
        /* As far as nothing is to be changed. */
        const uint8_t *start = p;
        uint32_t point;
        size_t len = 1;
        while (p < end) {
            p += plain_prefix(p, (size_t)(end - p));
            if (p == end || *p == '"' || *p == '\\' || *p < 0x20) {
                break;
            }
            len = utf8_read(p, end, &point);
            if (len == 0) {
                break;
            }
            p += len;
        }
        status = buf_append(out, start, (size_t)(p - start));
        if (status == BECK_OK && p < end) {
            status = len == 0 ? buf_append(out, "\xEF\xBF\xBD", 3) : write_escape(out, *p);
            p++;
        }
    }
    if (status == BECK_OK) {
        status = buf_append_byte(out, '"');
    }
    if (status != BECK_OK) {
        out->len = before;
    }
    return status;
}
