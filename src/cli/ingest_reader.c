/* Picks the format, checks the options that go with it, and opens the input. */
#include "cli/ingest_reader.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const ingest_formats[] = {"ndjson", "csv", "xml", "json", NULL};

static const struct {
    const char *ending;
    enum ingest_format format;
} endings[] = {{".ndjson", INGEST_NDJSON}, {".jsonl", INGEST_NDJSON}, {".json", INGEST_JSON},
               {".csv", INGEST_CSV},       {".tsv", INGEST_CSV},      {".xml", INGEST_XML}};

static bool ends_with(const char *text, const char *ending)
{
    size_t len = strlen(text), n = strlen(ending);
    return len >= n && strcasecmp(text + len - n, ending) == 0;
}

static int choose_format(struct ingest_reader *r, const struct call *call, const char *file)
{
    int choice = option_choice(call, "format");
    if (choice >= 0) {
        r->format = (enum ingest_format)choice;
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        if (ends_with(file, endings[i].ending)) {
            r->format = endings[i].format;
            return EXIT_DONE;
        }
    }
    if (ends_with(file, ".gz") || ends_with(file, ".zst") || ends_with(file, ".zip")) {
        return call_usage(
            call,
            "'%s' is compressed: pass its content on, as in zcat FILE | beck ingest - "
            "--format ndjson",
            file);
    }
    return call_usage(call, "the format of '%s' is not clear from its name: give --format", file);
}

/* Options of another format are mistakes. */
static int check_options(const struct ingest_reader *r, const struct call *call)
{
    static const struct {
        const char *name;
        enum ingest_format format;
    } owned[] = {{"record", INGEST_XML},
                 {"delimiter", INGEST_CSV},
                 {"quote", INGEST_CSV},
                 {"header", INGEST_CSV},
                 {"no-header", INGEST_CSV}};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        if (option_given(call, owned[i].name) && r->format != owned[i].format) {
            return call_usage(call, "--%s is for %s, but the format is %s", owned[i].name,
                              ingest_formats[owned[i].format], ingest_formats[r->format]);
        }
    }
    if (option_flag(call, "header") && option_flag(call, "no-header")) {
        return call_usage(call, "--header and --no-header are both given: give one");
    }
    return EXIT_DONE;
}

/* A character as it is, or by its name; -2: neither. */
static int character(const char *text, const char *name, int named)
{
    if (strcmp(text, name) == 0) {
        return named;
    }
    return text[0] && !text[1] ? (uint8_t)text[0] : -2;
}

static int init_csv(struct ingest_reader *r, const struct call *call, const char *file)
{
    const char *text = option_text(call, "delimiter");
    int delimiter = text ? character(text, "tab", '\t') : ends_with(file, ".tsv") ? '\t' : ',';
    delimiter = text && strcmp(text, "\\t") == 0 ? '\t' : delimiter;
    int quote = character(option_text(call, "quote"), "none", -1);
    if (delimiter < 0) {
        return call_usage(call, "--delimiter '%s' is not one character: give one, or tab", text);
    }
    if (quote < -1) {
        return call_usage(call, "--quote '%s' is not one character: give one, or none",
                          option_text(call, "quote"));
    }
    beck_error err;
    if (csv_init(&r->csv, &r->input, delimiter, quote, !option_flag(call, "no-header"), &err)) {
        return call_usage(call, "%s", err.text);
    }
    return EXIT_DONE;
}

static int init_xml(struct ingest_reader *r, const struct call *call)
{
    beck_error err;
    const char *path = option_text(call, "record");
    if (xml_path_parse(path, &r->path, &err)) {
        return call_usage(call, "--record '%s' %s", path, err.text);
    }
    beck_status status = xml_init(&r->xml, &r->input, &r->path, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

static int open_file(const struct call *call, const char *file, int *fd)
{
    *fd = strcmp(file, "-") == 0 ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (*fd < 0 || fstat(*fd, &st) != 0) {
        return call_error(call, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_DISK,
                          "'%s' cannot be opened: %s", file, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        close(*fd);
        return call_error(call, EXIT_USAGE, "'%s' is a directory: name a file", file);
    }
    return EXIT_DONE;
}

int ingest_reader_open(struct ingest_reader *r, const struct call *call, const char *file)
{
    int fd;
    struct stat st;
    *r = (struct ingest_reader){.input = {.fd = -1}};
    int code = choose_format(r, call, file);
    code = code ? code : check_options(r, call);
    code = code ? code : open_file(call, file, &fd);
    if (code) {
        return code;
    }
    input_init(&r->input, fd, call->stop_fd, (size_t)option_number(call, "record-max", 0));
    r->size = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : 0;
    r->regular = S_ISREG(st.st_mode) && fd != STDIN_FILENO;
    if (r->format == INGEST_CSV) {
        code = init_csv(r, call, file);
    } else if (r->format == INGEST_XML) {
        code = init_xml(r, call);
    } else {
        ndjson_init(&r->ndjson, &r->input);
        json_records_init(&r->json, &r->input);
    }
    if (code) {
        ingest_reader_close(r);
    }
    return code;
}

void ingest_reader_close(struct ingest_reader *r)
{
    if (r->input.fd < 0) {
        return;
    }
    if (r->format == INGEST_CSV) {
        csv_release(&r->csv);
    } else if (r->format == INGEST_XML) {
        xml_release(&r->xml);
    } else {
        json_records_release(&r->json);
    }
    if (r->input.fd != STDIN_FILENO) {
        close(r->input.fd);
    }
    input_release(&r->input);
    r->input.fd = -1;
}

/* JSON may be an object a line, or none of NDJSON's business. */
static beck_status begin_json(struct ingest_reader *r, beck_error *err)
{
    enum json_start start;
    if (!json_records_start(&r->input, &start)) {
        return error_errno(err, errno, "the input cannot be read");
    }
    r->lines = r->format == INGEST_NDJSON || start == JSON_START_LINE;
    if (r->format == INGEST_NDJSON && (start == JSON_START_ARRAY || start == JSON_START_OPEN)) {
        return error_set(err, BECK_EINVAL,
                         "this is no object a line, but begins with %s: give --format json",
                         start == JSON_START_ARRAY ? "an array" : "an object over several lines");
    }
    return BECK_OK;
}

beck_status ingest_reader_begin(struct ingest_reader *r, beck_error *err)
{
    while (input_window(&r->input).len < 3 && !r->input.ended) {
        if (input_fill(&r->input) == INPUT_FAILED) {
            return error_errno(err, errno, "the input cannot be read");
        }
    }
    beck_bytes w = input_window(&r->input);
    if (r->format == INGEST_XML) {
        return BECK_OK; /* the parser knows */
    }
    if (w.len >= 2 && (memcmp(w.data, "\xFF\xFE", 2) == 0 || memcmp(w.data, "\xFE\xFF", 2) == 0)) {
        return error_set(err, BECK_EINVAL,
                         "the input is UTF-16: convert it, as with iconv -f utf-16 -t utf-8");
    }
    if (w.len >= 3 && memcmp(w.data, "\xEF\xBB\xBF", 3) == 0) {
        input_consume(&r->input, 3);
    }
    return r->format == INGEST_CSV ? BECK_OK : begin_json(r, err);
}

void ingest_reader_skip(struct ingest_reader *r, int64_t number)
{
    r->ndjson.skip = r->json.skip = r->csv.skip = r->xml.skip = number;
}

enum record_result ingest_reader_next(struct ingest_reader *r, struct ingest_record *out,
                                      beck_error *err)
{
    switch (r->format) {
    case INGEST_CSV:
        return csv_next(&r->csv, out, err);
    case INGEST_XML:
        return xml_next(&r->xml, out, err);
    default:
        return r->lines ? ndjson_next(&r->ndjson, out, err) : json_records_next(&r->json, out, err);
    }
}
