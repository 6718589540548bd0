/*
 * Events from lines, as a server takes them over HTTP: id and source may be missing. They are
 * published in batches of up to 1,000, and whenever the input pauses, so that a pipe that trickles is
 * passed on at once. Batches are written only; one sync at every pause and at the end makes all of
 * them durable before they are reported.
 *
 * A batch that is refused because of one event is published again event by event, so that only the
 * one at fault is left out.
 */
#include "cli/emit_lines.h"
#include "cli/lines.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "event/cloudevents.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_MAX 1000
#define BATCH_BYTES_MAX (4u << 20)
#define LINE_BYTES_MAX (64u << 20)

struct emitter {
    struct call *call;
    beck_bus *bus;
    struct lines lines;
    bool sync; /* a sync is owed at the next pause */
    beck_level level;
    beck_event events[BATCH_MAX];
    int64_t line_of[BATCH_MAX];
    size_t count, bytes;
    beck_document *documents[BATCH_MAX]; /* that the events refer to */
    size_t document_count;
    struct progress progress;
    int64_t published, duplicates, malformed;
    int code; /* not EXIT_DONE: give up */
};

static void complain(struct emitter *em, int64_t line, const char *text)
{
    progress_hide(&em->progress);
    call_warn(em->call, "line %lld: %s", (long long)line, text);
    em->malformed++;
}

static beck_status publish(struct emitter *em, size_t first, size_t count, beck_error *err)
{
    beck_publish_options how = {.level = em->level};
    beck_published out;
    beck_status status = beck_publish_many(em->bus, em->events + first, count, &how, &out, err);
    if (!status) {
        em->published += (int64_t)count - out.duplicates;
        em->duplicates += out.duplicates;
    }
    return status;
}

static void flush_batch(struct emitter *em)
{
    beck_error err;
    beck_status status = em->count && !em->code ? publish(em, 0, em->count, &err) : BECK_OK;
    if (status == BECK_EINVAL || status == BECK_ELIMIT) {
        for (size_t i = 0; i < em->count; i++) {
            status = publish(em, i, 1, &err);
            if (status == BECK_EINVAL || status == BECK_ELIMIT) {
                complain(em, em->line_of[i], err.text);
            } else if (status) {
                break;
            }
        }
        status = status == BECK_EINVAL || status == BECK_ELIMIT ? BECK_OK : status;
    }
    if (status) {
        progress_hide(&em->progress);
        em->code = call_fail(em->call, status, &err);
        call_say(em->call, "stopped at line %lld: those before it are published",
                 (long long)em->line_of[0]);
    }
    for (size_t i = 0; i < em->document_count; i++) {
        beck_document_free(em->documents[i]);
    }
    em->count = em->document_count = em->bytes = 0;
}

static void settle(struct emitter *em)
{
    flush_batch(em);
    beck_error err;
    beck_status status = em->sync && !em->code ? beck_sync(em->call->handle, &err) : BECK_OK;
    if (status) {
        em->code = call_fail(em->call, status, &err);
    }
}

/* One document: a line, or the whole input. */
static void add_document(struct emitter *em, beck_document *document, int64_t line)
{
    size_t count = beck_document_count(document);
    for (size_t i = 0; i < count && !em->code; i++) {
        const beck_event *e = beck_document_event(document, i);
        beck_error err;
        if (event_check(e, &err)) {
            complain(em, line, err.text);
            continue;
        }
        em->events[em->count] = *e;
        em->line_of[em->count++] = line;
        em->bytes += e->data.len;
        if (em->count == BATCH_MAX || em->bytes >= BATCH_BYTES_MAX) {
            flush_batch(em);
        }
    }
    em->documents[em->document_count++] = document;
    if (em->document_count == BATCH_MAX) {
        flush_batch(em);
    }
}

static bool is_blank(beck_bytes line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (!strchr(" \t\r", ((const char *)line.data)[i])) {
            return false;
        }
    }
    return true;
}

/* Everything that is left, with `first` before it: an array over several lines. */
static void add_rest(struct emitter *em, beck_bytes first)
{
    struct buf all;
    beck_bytes line;
    buf_init(&all, LINE_BYTES_MAX);
    int64_t begin = em->lines.number;
    beck_status status = buf_append(&all, first.data, first.len);
    while (!status && lines_next(&em->lines, &line) == LINES_LINE) {
        status = buf_append_byte(&all, '\n');
        status = status ? status : buf_append(&all, line.data, line.len);
    }
    beck_error err;
    beck_document *document;
    if (status) {
        complain(em, begin, "the array is too long: write one event a line");
    } else if (cloudevents_parse_exact(buf_bytes(&all), &document, &err)) {
        complain(em, begin, err.text);
    } else {
        add_document(em, document, begin);
    }
    buf_release(&all);
}

static void add_line(struct emitter *em, beck_bytes line, bool first)
{
    beck_error err;
    beck_document *document;
    beck_status status = cloudevents_parse_exact(line, &document, &err);
    if (!status) {
        add_document(em, document, em->lines.number);
    } else if (first && memchr(line.data, '[', line.len) == line.data) {
        add_rest(em, line);
    } else {
        complain(em, em->lines.number, err.text);
    }
}

static void read_lines(struct emitter *em)
{
    bool first = true;
    while (!em->code && !call_stopping(em->call)) {
        if ((em->count || em->document_count) && lines_would_wait(&em->lines)) {
            settle(em);
        }
        beck_bytes line;
        enum lines_result result = lines_next(&em->lines, &line);
        if (result == LINES_END) {
            return;
        }
        if (result == LINES_FAILED) {
            em->code =
                call_error(em->call, EXIT_DISK, "the input cannot be read: %s", strerror(errno));
        } else if (result == LINES_TOO_LONG) {
            complain(em, em->lines.number, "longer than 64 MiB: split the event");
        } else if (!is_blank(line)) {
            add_line(em, line, first);
            first = false;
        }
        progress_update(&em->progress, em->lines.bytes, NULL);
    }
}

static int report(struct emitter *em)
{
    const struct call *call = em->call;
    const char *bus = option_text(call, "bus");
    if (call->json) {
        struct json_line j;
        json_line_begin(&j);
        json_line_text(&j, "bus", beck_str(bus));
        json_line_number(&j, "published", em->published);
        json_line_number(&j, "duplicates", em->duplicates);
        json_line_number(&j, "malformed", em->malformed);
        json_line_print(&j, call);
    } else {
        call_say(call, "%lld published to '%s', %lld there already, %lld left out",
                 (long long)em->published, bus, (long long)em->duplicates,
                 (long long)em->malformed);
    }
    if (em->code) {
        return em->code;
    }
    if (call_stopping(call)) {
        return EXIT_INTERRUPTED;
    }
    return em->malformed ? EXIT_FAILED : EXIT_DONE;
}

static int emit_from(struct call *call, int fd)
{
    struct emitter *em = calloc(1, sizeof *em);
    if (!em) {
        return call_error(call, EXIT_FAILED, "no memory for a batch of events");
    }
    em->call = call;
    em->level = emit_level(call);
    em->sync = em->level == BECK_LEVEL_DEFAULT || em->level == BECK_LEVEL_SYNCED;
    em->level = em->sync ? BECK_LEVEL_WRITTEN : em->level;
    lines_init(&em->lines, fd, call->stop_fd, LINE_BYTES_MAX);
    struct stat st;
    bool sized = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    progress_init(&em->progress, call, "emit", PROGRESS_BYTES, sized ? st.st_size : 0);

    int code = call_open(call, CALL_CREATE);
    code = code ? code : call_bus(call, option_text(call, "bus"), true, &em->bus);
    if (!code) {
        read_lines(em);
        settle(em);
        progress_end(&em->progress);
        code = report(em);
    }
    lines_release(&em->lines);
    free(em);
    return code;
}

int emit_lines(struct call *call, const char *file)
{
    if (strcmp(file, "-") == 0) {
        return emit_from(call, STDIN_FILENO);
    }
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return call_error(call, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_DISK,
                          "'%s' cannot be opened: %s", file, strerror(errno));
    }
    int code = emit_from(call, fd);
    close(fd);
    return code;
}
