/* Each record is one write at the end of the file; a line that a kill cut off is ended before the
 * next. */
#include "cli/rejects.h"
#include "base/error.h"
#include "cli/input.h"
#include "cli/ndjson.h"
#include "event/json.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define LINE_MAX_BYTES (512u << 20)
#define KNOWN_START "{\"record\":"

/* The "byte" of a line; -1: it has none. */
static int64_t byte_of(beck_bytes line)
{
    struct json_reader r;
    struct json_token token;
    beck_bytes value;
    json_reader_init(&r, line);
    if (json_next(&r, &token, NULL) || token.kind != JSON_OBJECT) {
        return -1;
    }
    while (json_next(&r, &token, NULL) == BECK_OK && token.kind == JSON_NAME) {
        bool found = bytes_equal_text(token.raw, "byte");
        uint64_t number;
        if (json_skip_value(&r, &value, NULL)) {
            break;
        }
        if (found && bytes_to_u64(value, &number) && number <= INT64_MAX) {
            return (int64_t)number;
        }
    }
    return -1;
}

/* Reads what an earlier run put aside. */
static beck_status read_known(struct rejects *r, int fd, beck_error *err)
{
    struct input in;
    struct ndjson lines;
    struct ingest_record line;
    enum record_result result;
    beck_error why;
    input_init(&in, fd, -1, LINE_MAX_BYTES);
    ndjson_init(&lines, &in);
    while ((result = ndjson_next(&lines, &line, &why)) == RECORD_GOOD || result == RECORD_BAD) {
        int64_t byte = byte_of(line.raw);
        r->known = byte > r->known ? byte : r->known;
    }
    input_release(&in);
    return result == RECORD_FAILED ? error_set(err, BECK_EIO, "'%s': %s", r->path, why.text)
                                   : BECK_OK;
}

beck_status rejects_init(struct rejects *r, const char *path, bool resumed, beck_error *err)
{
    *r = (struct rejects){.path = path, .fd = -1, .known = -1};
    buf_init(&r->line, LINE_MAX_BYTES);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return !path || errno == ENOENT ? BECK_OK
                                        : error_errno(err, errno, "'%s' cannot be opened", path);
    }
    char start[sizeof KNOWN_START];
    ssize_t n = pread(fd, start, sizeof start - 1, 0);
    beck_status status = BECK_OK;
    if (n < 0) {
        status = error_errno(err, errno, "'%s' cannot be read", path);
    } else if (n > 0 && (n < (ssize_t)sizeof start - 1 ||
                         memcmp(start, KNOWN_START, sizeof start - 1) != 0)) {
        status = error_set(err, BECK_EEXIST,
                           "'%s' exists and holds something else than records put aside: name "
                           "another file with --rejects",
                           path);
    } else if (resumed) {
        status = read_known(r, fd, err);
    } else if (unlink(path) != 0) {
        status = error_errno(err, errno, "'%s' of an earlier run cannot be removed", path);
    }
    close(fd);
    return status;
}

void rejects_release(struct rejects *r)
{
    buf_release(&r->line);
    if (r->fd >= 0) {
        close(r->fd);
        r->fd = -1;
    }
}

static beck_status format(struct buf *out, const struct ingest_record *record, const char *why)
{
    bool text = bytes_is_utf8(record->raw);
    buf_clear(out);
    beck_status status = buf_printf(
        out, KNOWN_START "%lld,\"line\":%lld,\"byte\":%lld,\"error\":", (long long)record->number,
        (long long)record->line, (long long)record->byte);
    status = status ? status : json_write_string(out, beck_str(why));
    status = status ? status : buf_append_text(out, text ? ",\"raw\":" : ",\"raw_base64\":\"");
    if (!status) {
        status = text ? json_write_string(out, record->raw) : base64_write(out, record->raw);
    }
    return status ? status : buf_append_text(out, text ? "}\n" : "\"}\n");
}

static beck_status write_line(struct rejects *r, beck_error *err)
{
    size_t at = 0;
    while (at < r->line.len) {
        ssize_t n = write(r->fd, r->line.data + at, r->line.len - at);
        if (n < 0 && errno != EINTR) {
            return error_errno(err, errno, "'%s' cannot be written", r->path);
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return BECK_OK;
}

static beck_status open_file(struct rejects *r, beck_error *err)
{
    char last = '\n';
    r->fd = open(r->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (r->fd < 0) {
        return error_errno(err, errno,
                           "'%s' for malformed records cannot be made; name another place with "
                           "--rejects",
                           r->path);
    }
    off_t size = lseek(r->fd, 0, SEEK_END);
    if (size > 0 && pread(r->fd, &last, 1, size - 1) == 1 && last != '\n' &&
        write(r->fd, "\n", 1) != 1) {
        return error_errno(err, errno, "'%s' cannot be written", r->path);
    }
    return BECK_OK;
}

beck_status rejects_add(struct rejects *r, const struct ingest_record *record, const char *why,
                        beck_error *err)
{
    if (!r->path || record->byte <= r->known) {
        return BECK_OK;
    }
    beck_status status = r->fd < 0 ? open_file(r, err) : BECK_OK;
    if (status) {
        return status;
    }
    if (format(&r->line, record, why)) {
        return error_set(err, BECK_ENOMEM, "no memory to put a record aside");
    }
    return write_line(r, err);
}
