/*
 * The head of a request: see head.h.
 *
 *   method SP target SP "HTTP/1." digit CR LF
 *   *( name ":" blanks value blanks CR LF )
 *   CR LF
 *
 * The end is looked for line by line, so that a line feed without its carriage return is refused as
 * soon as it is there, and a byte is looked at once however slowly the head comes. A carriage return
 * anywhere else is a character that no line may have.
 */
#include "wire/http/head.h"

static bool is_token(uint8_t c)
{
    static const uint32_t bits[8] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff};
    return bits[c >> 5] >> (c & 31) & 1;
}

static size_t refuse(struct head_fault *fault, int status, const char *why)
{
    *fault = (struct head_fault){status, why};
    return 0;
}

size_t head_find(struct head_scan *s, beck_bytes input, size_t max, struct head_fault *fault)
{
    const uint8_t *text = input.data, *end;
    while ((end = memchr(text + s->at, '\n', input.len - s->at))) {
        size_t at = (size_t)(end - text);
        if (at == s->line || text[at - 1] != '\r')
            return refuse(fault, 400, "a line of the head ends without a carriage return");
        if (at - s->line == 1) /* also before a head, where no line was */
            return at < max ? at + 1 : refuse(fault, 431, "the head is too long (http.header_max)");
        if (s->lines == 0 && at > HEAD_LINE_MAX)
            break;
        s->at = s->line = at + 1;
        if (++s->lines > HEAD_FIELDS_MAX + 1)
            return refuse(fault, 431, "the request has more than 100 headers");
    }
    if (s->lines == 0 && input.len > HEAD_LINE_MAX)
        return refuse(fault, 414, "the first line of the request has more than 8192 bytes");
    if (input.len >= max)
        return refuse(fault, 431, "the head is too long (http.header_max)");
    s->at = input.len;
    return 0;
}

/* ---- the first line ---- */

static bool read_version(const char *text, struct head *out, struct head_fault *fault)
{
    bool known = strncmp(text, "HTTP/", 5) == 0 && text[5] >= '0' && text[5] <= '9' &&
                 text[6] == '.' && text[7] >= '0' && text[7] <= '9' && !text[8];
    if (!known)
        return refuse(fault, 400, "the first line does not end with the version of HTTP");
    out->minor = text[7] - '0';
    return text[5] == '1' || refuse(fault, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
}

static bool read_first_line(char *line, char *end, struct head *out, struct head_fault *fault)
{
    char *target, *version, *p = line;
    while (is_token((uint8_t)*p))
        p++;
    if (p == line || *p != ' ')
        return refuse(fault, 400, "the first line does not begin with a method");
    *p = 0;
    target = ++p;
    while ((uint8_t)*p > ' ' && *p != 0x7f)
        p++;
    if (p == target || *p != ' ')
        return refuse(fault, 400, "the target holds a character that none may have");
    *p = 0;
    version = p + 1;
    *end = 0;
    out->method = line;
    out->target = target;
    return read_version(version, out, fault);
}

/* ---- fields ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_legal(const char *value, const char *end)
{
    for (const char *p = value; p < end; p++)
        if (((uint8_t)*p < ' ' && *p != '\t') || *p == 0x7f)
            return false;
    return true;
}

/* A name with a blank before its colon, above all, is another header to one reader and none to the
 * next. */
static bool read_field(char *line, char *end, struct head_field *out, struct head_fault *fault)
{
    char *p = line;
    if (is_blank(*line))
        return refuse(fault, 400, "a header is continued on another line");
    while (is_token((uint8_t)*p))
        p++;
    if (p == line || *p != ':')
        return refuse(fault, 400, "the name of a header holds a character that none may have");
    out->name = line;
    out->name_len = (size_t)(p - line);
    *p++ = 0;
    while (p < end && is_blank(*p))
        p++;
    while (end > p && is_blank(end[-1]))
        end--;
    if (!is_legal(p, end))
        return refuse(fault, 400, "the value of a header holds a character that none may have");
    *end = 0;
    out->value = p;
    return true;
}

bool head_read(char *text, size_t len, struct head_field *fields, struct head *out,
               struct head_fault *fault)
{
    char *line = text, *stop = text + len;
    *out = (struct head){.method = "", .fields = fields};
    for (char *end; (end = memchr(line, '\n', (size_t)(stop - line))); line = end + 1) {
        if (end - line == 1)
            return true;
        if (line == text ? !read_first_line(line, end - 1, out, fault)
                         : !read_field(line, end - 1, &fields[out->count], fault))
            return false;
        out->count += line != text;
    }
    return refuse(fault, 400, "the head is not whole");
}

/* ---- looking ---- */

static bool has_name(const struct head_field *f, const char *name, size_t len)
{
    return f->name_len == len && strcasecmp(f->name, name) == 0;
}

const char *head_value(const struct head *h, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < h->count; i++)
        if (has_name(&h->fields[i], name, len))
            return h->fields[i].value;
    return NULL;
}

size_t head_count(const struct head *h, const char *name)
{
    size_t len = strlen(name), count = 0;
    for (size_t i = 0; i < h->count; i++)
        count += has_name(&h->fields[i], name, len);
    return count;
}

static bool lists(const char *value, const char *word, size_t len)
{
    for (;;) {
        value += strspn(value, ", \t");
        size_t part = strcspn(value, ",");
        if (part == 0)
            return false;
        size_t trimmed = part;
        while (is_blank(value[trimmed - 1]))
            trimmed--;
        if (trimmed == len && strncasecmp(value, word, len) == 0)
            return true;
        value += part;
    }
}

bool head_lists(const struct head *h, const char *name, const char *word)
{
    size_t len = strlen(name), word_len = strlen(word);
    for (size_t i = 0; i < h->count; i++)
        if (has_name(&h->fields[i], name, len) && lists(h->fields[i].value, word, word_len))
            return true;
    return false;
}
