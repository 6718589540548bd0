/*
 * The parser (expat) pushes; the reader is asked. So the parser is suspended at the end of each
 * record, and resumed when the next is wanted.
 *
 * The window keeps the input from the beginning of the open record on, for messages and for going
 * on behind a fault: a new parser is given start tags for what surrounds the records, and then the
 * input from the next start tag of a record on. Within a broken record that is the first one behind
 * its own, so that a missing end tag costs one record.
 */
#include "cli/xml.h"
#include "base/error.h"
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <expat.h>
#include <iconv.h>
#include <stdio.h>

#define CHUNK 65536
#define OPEN_BYTES_MAX 65536
#define DEPTH_MAX 1000

/* ---- what the parser reports ---- */

static void stop(struct xml *x)
{
    XML_StopParser(x->parser, XML_FALSE);
}

static int64_t position_of(const struct xml *x)
{
    return x->base + (int64_t)XML_GetCurrentByteIndex(x->parser);
}

static int64_t line_of(const struct xml *x)
{
    return x->base_line + (int64_t)XML_GetCurrentLineNumber(x->parser) - 1;
}

static beck_status push(struct xml *x, const char *name, beck_error *err)
{
    if (x->depth == DEPTH_MAX || buf_append(&x->open, name, strlen(name) + 1)) {
        return error_set(err, BECK_ELIMIT, "elements are nested too deep (%u levels)", x->depth);
    }
    x->depth++;
    return BECK_OK;
}

static void pop(struct xml *x)
{
    assert(x->depth > 0);
    size_t len = x->open.len - 1;
    while (len > 0 && x->open.data[len - 1] != 0) {
        len--;
    }
    x->open.len = len;
    x->depth--;
}

/* The element on top of `open` is a record. */
static beck_status begin_record(struct xml *x, const char *name, const char **attributes,
                                beck_error *err)
{
    size_t len = strlen(name) + 1;
    x->in_record = true;
    x->number++;
    x->record_at = position_of(x);
    x->record_line = line_of(x);
    buf_clear(&x->ancestors);
    buf_clear(&x->element);
    beck_status status = buf_append(&x->ancestors, x->open.data, x->open.len - len);
    status = status ? status : buf_append(&x->element, name, len);
    if (status) {
        return error_set(err, status, "no memory for the names of elements");
    }
    x->ancestor_count = x->depth - 1;
    xml_tree_clear(&x->tree);
    return xml_tree_open(&x->tree, name, attributes, err);
}

/* Notes what the document has in place of records. The element is on top of `open`. */
static void note_other(struct xml *x, const char *name)
{
    struct xml_path leading = *x->path;
    leading.step_count = x->depth;
    bool leads = x->path->anywhere ? x->depth == 1
                                   : x->depth < x->path->step_count &&
                                         xml_path_matches(&leading, (const char *)x->open.data,
                                                          x->open.len, x->depth);
    x->missed = x->missed || !leads;
    if (x->depth == x->sample_depth + 1 && x->depth <= 2) {
        size_t len = strlen(x->sample);
        snprintf(x->sample + len, sizeof x->sample - len, "/%.60s", name);
        x->sample_depth++;
    }
}

static void on_start(void *ctx, const char *name, const char **attributes)
{
    struct xml *x = ctx;
    if (x->problem.code) {
        return;
    }
    beck_status status;
    if (x->in_record) {
        status = xml_tree_open(&x->tree, name, attributes, &x->problem);
    } else {
        status = push(x, name, &x->problem);
        if (!status &&
            xml_path_matches(x->path, (const char *)x->open.data, x->open.len, x->depth)) {
            status = begin_record(x, name, attributes, &x->problem);
        } else if (!status && x->number == 0) {
            note_other(x, name);
        }
    }
    if (status) {
        stop(x);
    }
}

static void on_end(void *ctx, const char *name)
{
    struct xml *x = ctx;
    (void)name;
    if (x->problem.code) {
        return;
    }
    if (!x->in_record) {
        pop(x);
        return;
    }
    xml_tree_close(&x->tree);
    if (x->tree.depth == 0) {
        x->in_record = false;
        x->record_end = position_of(x) + XML_GetCurrentByteCount(x->parser);
        pop(x);
        XML_StopParser(x->parser, XML_TRUE);
    }
}

static void on_text(void *ctx, const char *text, int len)
{
    struct xml *x = ctx;
    if (x->in_record && !x->problem.code &&
        xml_tree_text(&x->tree, text, (size_t)len, &x->problem)) {
        stop(x);
    }
}

static void on_skipped_entity(void *ctx, const char *name, int is_parameter)
{
    if (!is_parameter) {
        on_text(ctx, "&", 1);
        on_text(ctx, name, (int)strlen(name));
        on_text(ctx, ";", 1);
    }
}

static void on_declaration(void *ctx, const char *version, const char *encoding, int standalone)
{
    struct xml *x = ctx;
    (void)version;
    (void)standalone;
    if (encoding && strlen(encoding) < sizeof x->encoding) {
        strcpy(x->encoding, encoding);
    }
}

static void on_doctype(void *ctx, const char *name, const char *system_id, const char *public_id,
                       int has_internal_subset)
{
    struct xml *x = ctx;
    (void)name;
    x->internal_dtd = has_internal_subset != 0;
    x->external_dtd = system_id || public_id;
}

/* ---- encodings ---- */

/* What each byte stands for in an encoding of the C library; -1: nothing. False: it does not know
 * the encoding, or a character takes more than one byte in it. */
static bool read_encoding(const char *name, int map[256])
{
    iconv_t converter = iconv_open("UTF-32LE", name);
    bool good = converter != (iconv_t)-1;
    for (int i = 0; good && i < 256; i++) {
        char byte = (char)i, *from = &byte;
        uint32_t point = 0;
        char *to = (char *)&point;
        size_t from_len = 1, to_len = sizeof point;
        iconv(converter, NULL, NULL, NULL, NULL);
        size_t result = iconv(converter, &from, &from_len, &to, &to_len);
        bool some = result != (size_t)-1 && to_len == 0;
        map[i] = some && le32toh(point) <= 0xFFFF ? (int)le32toh(point) : -1;
        good = some || (result == (size_t)-1 && errno == EILSEQ);
    }
    if (converter != (iconv_t)-1) {
        iconv_close(converter);
    }
    return good;
}

static int on_encoding(void *ctx, const char *name, XML_Encoding *out)
{
    struct xml *x = ctx;
    out->data = NULL;
    out->convert = NULL;
    out->release = NULL;
    if (read_encoding(name, out->map)) {
        return XML_STATUS_OK;
    }
    error_set(
        &x->problem, BECK_EUNSUPPORTED,
        "the encoding '%s' is none that is read here: convert the file, as with iconv -f %s -t "
        "utf-8 FILE | sed '1s/ encoding=[^ ?]*//' | beck ingest - --format xml",
        name, name);
    return XML_STATUS_ERROR;
}

/* ---- the parser ---- */

/* Newer versions keep back what may be half a token, and so would keep a whole record back while the
 * input pauses. Older ones have no such function. */
extern XML_Bool XML_SetReparseDeferralEnabled(XML_Parser parser, XML_Bool enabled)
    __attribute__((weak));

static beck_status new_parser(struct xml *x, beck_error *err)
{
    if (x->parser) {
        XML_ParserFree(x->parser);
    }
    x->parser = XML_ParserCreate(*x->encoding ? x->encoding : NULL);
    if (!x->parser) {
        return error_set(err, BECK_ENOMEM, "no memory for the parser");
    }
    XML_SetUserData(x->parser, x);
    XML_SetElementHandler(x->parser, on_start, on_end);
    XML_SetCharacterDataHandler(x->parser, on_text);
    XML_SetSkippedEntityHandler(x->parser, on_skipped_entity);
    XML_SetXmlDeclHandler(x->parser, on_declaration);
    XML_SetUnknownEncodingHandler(x->parser, on_encoding, x);
    XML_SetStartDoctypeDeclHandler(x->parser, on_doctype);
    if (XML_SetReparseDeferralEnabled) {
        XML_SetReparseDeferralEnabled(x->parser, XML_FALSE);
    }
    if (x->external_dtd) {
        XML_UseForeignDTD(x->parser, XML_TRUE);
    }
    x->suspended = x->fed_all = x->in_record = false;
    x->problem = (beck_error){0};
    return BECK_OK;
}

beck_status xml_init(struct xml *x, struct input *input, const struct xml_path *path,
                     beck_error *err)
{
    *x = (struct xml){
        .input = input, .path = path, .base_line = 1, .resync_from = -1, .resynced = -1};
    size_t max = input->text.max;
    xml_tree_init(&x->tree, max);
    buf_init(&x->json, 2 * max);
    buf_init(&x->open, OPEN_BYTES_MAX);
    buf_init(&x->ancestors, OPEN_BYTES_MAX);
    buf_init(&x->element, OPEN_BYTES_MAX);
    return new_parser(x, err);
}

void xml_release(struct xml *x)
{
    if (x->parser) {
        XML_ParserFree(x->parser);
        x->parser = NULL;
    }
    xml_tree_release(&x->tree);
    buf_release(&x->json);
    buf_release(&x->open);
    buf_release(&x->ancestors);
    buf_release(&x->element);
}

/* ---- going on behind a fault ---- */

/* The name of the start tag to look for; absent: not known. */
static beck_bytes sought_name(const struct xml *x)
{
    beck_bytes name = xml_path_name(x->path);
    if (!name.data && x->element.len > 0) {
        name = bytes_of(x->element.data, x->element.len - 1);
    }
    return name;
}

/* The first "<name" in the text that is a whole name; `text.len`: none. */
static size_t find_start_tag(beck_bytes text, beck_bytes name)
{
    const char *p = text.data;
    size_t need = name.len + 2;
    for (size_t at = 0; at + need <= text.len; at++) {
        const char *open = memchr(p + at, '<', text.len - at);
        if (!open) {
            return text.len;
        }
        at = (size_t)(open - p);
        if (at + need <= text.len && memcmp(open + 1, name.data, name.len) == 0 &&
            memchr(" \t\r\n/>", open[1 + name.len], 6)) {
            return at;
        }
    }
    return text.len;
}

static bool is_ascii(beck_bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (((const uint8_t *)text.data)[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* Whether reading can go on behind a fault at all: names must be the same bytes in the input as the
 * parser gives them; when no record has begun, `open` must be what surrounds records. */
static bool can_resync(struct xml *x)
{
    bool utf8 = !*x->encoding || strcasecmp(x->encoding, "utf-8") == 0;
    bool ascii = is_ascii(sought_name(x)) && is_ascii(buf_bytes(&x->open)) &&
                 is_ascii(buf_bytes(&x->ancestors));
    if (x->internal_dtd || strncasecmp(x->encoding, "utf-16", 6) == 0 || (!utf8 && !ascii) ||
        !sought_name(x).data) {
        return false;
    }
    if (x->element.len > 0) {
        return true;
    }
    bool surrounds = x->depth > 0 && (x->path->anywhere || x->depth + 1 == x->path->step_count);
    if (surrounds) {
        buf_clear(&x->ancestors);
        x->ancestor_count = x->depth;
        surrounds = !buf_append(&x->ancestors, x->open.data, x->open.len);
    }
    return surrounds;
}

/* Gives a new parser what surrounds the records. Its first byte of the input will be at `at`. */
static beck_status restart(struct xml *x, int64_t at, int64_t line, beck_error *err)
{
    beck_status status = new_parser(x, err);
    if (status) {
        return status;
    }
    struct buf tags;
    buf_init(&tags, 2 * OPEN_BYTES_MAX + 3 * DEPTH_MAX);
    const char *name = (const char *)x->ancestors.data;
    for (uint32_t i = 0; i < x->ancestor_count && !status; i++) {
        status = buf_printf(&tags, "<%s>", name);
        name += strlen(name) + 1;
    }
    buf_clear(&x->open);
    x->depth = 0;
    x->base = at - (int64_t)tags.len;
    x->base_line = line;
    x->fed = x->resynced = at;
    x->resync_from = -1;
    if (!status && tags.len > 0 &&
        XML_Parse(x->parser, (const char *)tags.data, (int)tags.len, 0) != XML_STATUS_OK) {
        status = BECK_EINVAL;
    }
    buf_release(&tags);
    return status ? error_set(err, status, "reading cannot go on behind the fault") : BECK_OK;
}

/* Looks for the next record from resync_from on. RECORD_GOOD: found, and the parser is ready. */
static enum record_result resync(struct xml *x, beck_error *err)
{
    beck_bytes name = sought_name(x);
    for (;;) {
        int64_t skip = x->resync_from - x->input->position;
        beck_bytes w = input_window(x->input);
        skip = skip < 0 ? 0 : skip < (int64_t)w.len ? skip : (int64_t)w.len;
        input_consume(x->input, (size_t)skip);
        w = input_window(x->input);
        size_t found = find_start_tag(w, name);
        bool hit = found < w.len;
        /* What may be the beginning of a tag stays. */
        size_t step = hit ? found : w.len > name.len + 2 ? w.len - name.len - 2 : 0;
        x->resync_line += input_count_lines(bytes_of(w.data, step));
        input_consume(x->input, step);
        x->resync_from = x->input->position;
        if (hit) {
            return restart(x, x->input->position, x->resync_line, err) ? RECORD_FAILED
                                                                       : RECORD_GOOD;
        }
        enum input_result result = input_fill(x->input);
        if (result == INPUT_FAILED) {
            error_errno(err, errno, "the input cannot be read");
            return RECORD_FAILED;
        }
        if (result == INPUT_END) {
            x->finished = true;
            return RECORD_END;
        }
    }
}

/* The input from a position that the window has up to the next start tag of a record; from the tag
 * before it when it is not that of a record. */
static beck_bytes raw_from(const struct xml *x, int64_t position)
{
    assert(position <= x->fed);
    int64_t offset = position - x->input->position;
    size_t begin = offset < 0 ? 0 : (size_t)offset;
    if (!x->in_record && begin > 0) {
        const char *text = input_window(x->input).data;
        const char *tag = memrchr(text, '<', begin);
        bool ours = tag && x->input->position + (tag - text) >= x->record_end;
        begin = ours ? (size_t)(tag - text) : begin;
    }
    beck_bytes w = bytes_of((const char *)input_window(x->input).data + begin,
                            (size_t)(x->fed - x->input->position) - begin);
    if (w.len == 0 || !sought_name(x).data) {
        return w;
    }
    w.len = 1 + find_start_tag(bytes_of((const char *)w.data + 1, w.len - 1), sought_name(x));
    return w;
}

/* A fault at position `at` with the text `why`: ends the record, or the place between records. */
static enum record_result fault(struct xml *x, struct ingest_record *out, int64_t at,
                                const char *why, beck_error *err)
{
    bool in_record = x->in_record;
    int64_t line = in_record && at == x->record_at ? x->record_line : line_of(x);
    *out = (struct ingest_record){.number = x->number,
                                  .line = in_record ? x->record_line : line,
                                  .byte = in_record ? x->record_at : at};
    error_set(err, BECK_EINVAL, "%s (at line %lld, byte %lld)", why, (long long)line,
              (long long)at);
    bool ended =
        !in_record && x->problem.code == 0 && XML_GetErrorCode(x->parser) == XML_ERROR_NO_ELEMENTS;
    x->finished = ended;
    if (!ended && !can_resync(x)) {
        error_set(err, BECK_EINVAL,
                  "%s; reading cannot go on behind this: repair the file, then use --resume",
                  err->text);
        return RECORD_FAILED;
    }
    int64_t from = in_record ? x->record_at + 1 : at;
    from = from > x->resynced ? from : x->resynced + 1;
    x->resync_from = from > x->input->position ? from : x->input->position;
    x->resync_line = out->line;
    out->raw = raw_from(x, out->byte);
    x->in_record = false;
    return RECORD_BAD;
}

/* ---- feeding ---- */

/* Steps over what is needed no more, and reads. */
static enum input_result read_more(struct xml *x)
{
    int64_t keep = x->in_record ? x->record_at : position_of(x);
    int64_t n = keep - x->input->position;
    int64_t len = x->fed - x->input->position;
    input_consume(x->input, (size_t)(n < 0 ? 0 : n < len ? n : len));
    return input_fill(x->input);
}

/* Lets the parser go on with what the window has. */
static enum XML_Status feed(struct xml *x, bool last)
{
    if (x->suspended) {
        x->suspended = false;
        return XML_ResumeParser(x->parser);
    }
    beck_bytes w = input_window(x->input);
    size_t done = (size_t)(x->fed - x->input->position);
    /* A token that began before is read again from its beginning: as much is added as it has. */
    size_t max = done > CHUNK ? done : CHUNK;
    size_t n = w.len - done < max ? w.len - done : max;
    void *space = XML_GetBuffer(x->parser, (int)max);
    if (!space) {
        error_set(&x->problem, BECK_ENOMEM, "no memory for the parser");
        return XML_STATUS_ERROR;
    }
    memcpy(space, (const char *)w.data + done, n);
    x->fed += (int64_t)n;
    x->fed_all = last && n == 0;
    return XML_ParseBuffer(x->parser, (int)n, x->fed_all);
}

static enum record_result parser_failed(struct xml *x, struct ingest_record *out, beck_error *err)
{
    int64_t at = position_of(x);
    if (x->problem.code == BECK_ENOMEM || x->problem.code == BECK_EUNSUPPORTED) {
        *err = x->problem;
        return RECORD_FAILED;
    }
    if (x->problem.code) {
        char why[sizeof x->problem.text];
        memcpy(why, x->problem.text, sizeof why);
        return fault(x, out, at, why, err);
    }
    char why[128];
    enum XML_Error code = XML_GetErrorCode(x->parser);
    snprintf(why, sizeof why, "malformed XML: %s", XML_ErrorString(code));
    if (code == XML_ERROR_NO_ELEMENTS || code == XML_ERROR_UNCLOSED_TOKEN) {
        snprintf(why, sizeof why, "the document is cut off (%s)", XML_ErrorString(code));
    }
    return fault(x, out, at, why, err);
}

static enum record_result complete(struct xml *x, struct ingest_record *out, beck_error *err)
{
    assert(x->record_at >= x->input->position && x->record_end <= x->fed);
    const char *window = input_window(x->input).data;
    *out = (struct ingest_record){.number = x->number,
                                  .line = x->record_line,
                                  .byte = x->record_at,
                                  .raw = bytes_of(window + (x->record_at - x->input->position),
                                                  (size_t)(x->record_end - x->record_at))};
    if (x->number <= x->skip) {
        return RECORD_SKIPPED;
    }
    beck_status status = xml_tree_write(&x->tree, &x->json, err);
    if (status == BECK_ENOMEM) {
        return RECORD_FAILED;
    }
    out->json = status ? (beck_bytes){0} : buf_bytes(&x->json);
    return status ? RECORD_BAD : RECORD_GOOD;
}

/* One step. True: there is something to give. */
static bool step(struct xml *x, struct ingest_record *out, enum record_result *result,
                 beck_error *err)
{
    bool last = false;
    if (!x->suspended && x->fed == input_taken(x->input)) {
        enum input_result more = read_more(x);
        if (more == INPUT_FAILED) {
            error_errno(err, errno, "the input cannot be read");
            *result = RECORD_FAILED;
            return true;
        }
        if (more == INPUT_FULL) {
            char why[128];
            snprintf(why, sizeof why, "%s is longer than %zu bytes: raise --record-max",
                     x->in_record ? "the record" : "a tag or comment", x->input->text.max);
            *result = fault(x, out, x->in_record ? x->record_at : position_of(x), why, err);
            return true;
        }
        last = more == INPUT_END;
        if (last && x->input->stopped) {
            *result = RECORD_END;
            return true;
        }
    }
    switch (feed(x, last)) {
    case XML_STATUS_SUSPENDED:
        x->suspended = true;
        *result = complete(x, out, err);
        return true;
    case XML_STATUS_OK:
        x->finished = x->fed_all;
        *result = RECORD_END;
        return x->finished;
    default:
        *result = parser_failed(x, out, err);
        return true;
    }
}

enum record_result xml_next(struct xml *x, struct ingest_record *out, beck_error *err)
{
    enum record_result result = RECORD_END;
    if (x->finished) {
        return RECORD_END;
    }
    if (x->resync_from >= 0) {
        result = resync(x, err);
        if (result != RECORD_GOOD) {
            return result;
        }
    }
    while (!step(x, out, &result, err)) {
    }
    bool skipped =
        (result == RECORD_GOOD || result == RECORD_BAD) && x->skip > 0 && out->number <= x->skip;
    return skipped ? RECORD_SKIPPED : result;
}
