/* Handlers: an event goes in, a verdict comes out, whatever the program does. */
#include "process/handler.h"
#include "base/clock.h"
#include "base/error.h"
#include "event/value.h"
#include "event/json.h"
#include "event/time.h"
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define INPUT_MAX (128u << 20)    /* an event of 64 MiB, escaped */
#define ATTRIBUTES_MAX (8u << 20) /* 64 extensions of 64 KiB, and the rest */
#define ATTRIBUTES_COUNT_MAX 128  /* CE_* and BECK_*: 13 and 64 extensions */
#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 10000

extern char **environ;

static int64_t now_ns(void)
{
    return clock_mono_ns(clock_system());
}

void handler_init(struct handler *h, const struct handler_options *options)
{
    *h = (struct handler){.options = options};
    buf_init(&h->input, INPUT_MAX);
    buf_init(&h->attributes, ATTRIBUTES_MAX);
}

void handler_release(struct handler *h)
{
    child_end(&h->child, false, h->options->grace_ms);
    buf_release(&h->input);
    buf_release(&h->attributes);
    free(h->environment);
    h->environment = NULL;
}

int64_t handler_ready_at(const struct handler *h)
{
    return h->child.pid == 0 ? h->start_at_ns : 0;
}

/* ---- what the program is given ---- */

/* "NAME=value" and a NUL. A value with a NUL cannot be passed on: it is left out. */
static beck_status add_attribute(struct buf *b, const char *prefix, beck_bytes name,
                                 beck_bytes value)
{
    if (!value.data || memchr(value.data, 0, value.len)) {
        return BECK_OK;
    }
    beck_status status = buf_append_text(b, prefix);
    for (size_t i = 0; i < name.len && !status; i++) {
        int upper = toupper(((const unsigned char *)name.data)[i]);
        status = buf_append_byte(b, (uint8_t)upper);
    }
    status = status ? status : buf_append_byte(b, '=');
    status = status ? status : buf_append(b, value.data, value.len);
    return status ? status : buf_append_byte(b, 0);
}

static beck_status add_number(struct buf *b, const char *name, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    return add_attribute(b, name, bytes_of("", 0), beck_str(text));
}

static beck_status add_time(struct buf *b, const char *name, int64_t ns)
{
    char text[TIME_TEXT_MAX];
    time_format(ns, text);
    return add_attribute(b, name, (beck_bytes){0}, beck_str(text));
}

/* An extension of that name would pass for what beck says of the event. */
static bool is_reserved(beck_bytes name)
{
    static const char *const reserved[] = {
        "type",          "id",          "subject",        "source",
        "bus",           "time",        "priority",       "dataschema",
        "correlationid", "causationid", "datacontenttype"};
    bool found = false;
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved && !found; i++) {
        found = bytes_equal_text(name, reserved[i]);
    }
    return found;
}

static beck_status add_event(struct buf *b, const beck_event *e)
{
    const struct {
        const char *name;
        beck_bytes value;
    } plain[] = {{"CE_TYPE", e->type},
                 {"CE_ID", e->id},
                 {"CE_SUBJECT", e->subject},
                 {"CE_SOURCE", e->source},
                 {"CE_BUS", e->bus},
                 {"CE_DATACONTENTTYPE", e->datacontenttype},
                 {"CE_DATASCHEMA", e->dataschema},
                 {"CE_CORRELATIONID", e->correlationid},
                 {"CE_CAUSATIONID", e->causationid}};
    beck_bytes no_name = {0};
    beck_status status = BECK_OK;
    for (size_t i = 0; i < sizeof plain / sizeof *plain && !status; i++) {
        status = add_attribute(b, plain[i].name, no_name, plain[i].value);
    }
    for (size_t i = 0; i < e->extension_count && !status; i++) {
        const beck_attribute *x = &e->extensions[i];
        status = is_reserved(x->name) ? BECK_OK : add_attribute(b, "CE_", x->name, x->value);
    }
    status = status ? status : add_time(b, "CE_TIME", e->time_ns);
    if (e->priority && !status) {
        status = add_number(b, "CE_PRIORITY", e->priority);
    }
    char position[320];
    snprintf(position, sizeof position, "%.*s/%u/%lld", (int)e->bus.len, (const char *)e->bus.data,
             e->position.partition, (long long)e->position.offset);
    return status ? status : add_attribute(b, "BECK_POSITION", no_name, beck_str(position));
}

/* Whether the list has a variable of that name. */
static bool is_named(char *const *list, size_t count, const char *variable)
{
    size_t len = strcspn(variable, "=") + 1;
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        found = strncmp(list[i], variable, len) == 0;
    }
    return found;
}

/* Meant for this process alone, by systemd: a program that has them would tell that the service is ready, or
 * that it goes on. */
static bool is_of_service(const char *variable)
{
    static const char *const names[] = {"NOTIFY_SOCKET=",  "LISTEN_FDS=",    "LISTEN_PID=",
                                        "LISTEN_FDNAMES=", "WATCHDOG_USEC=", "WATCHDOG_PID="};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strncmp(variable, names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* Pointers to our own environment, then to the strings in h->attributes. */
static beck_status point_environment(struct handler *h)
{
    size_t inherited = 0;
    while (environ[inherited]) {
        inherited++;
    }
    size_t own = 0;
    while (h->options->environment && h->options->environment[own]) {
        own++;
    }
    size_t need = inherited + own + ATTRIBUTES_COUNT_MAX + 1;
    if (need > h->environment_cap) {
        char **grown = realloc(h->environment, need * sizeof *grown);
        if (!grown) {
            return BECK_ENOMEM;
        }
        h->environment = grown;
        h->environment_cap = need;
    }
    size_t count = 0;
    for (size_t i = 0; i < inherited; i++) {
        /* Of an event that we may ourselves stem from. */
        bool foreign = strncmp(environ[i], "CE_", 3) == 0;
        bool secret = h->options->private_environment && strncmp(environ[i], "BECK_", 5) == 0;
        if (!foreign && !secret && !is_of_service(environ[i]) &&
            !is_named(h->options->environment, own, environ[i])) {
            h->environment[count++] = environ[i];
        }
    }
    for (size_t i = 0; i < own; i++) {
        h->environment[count++] = h->options->environment[i];
    }
    char *at = (char *)h->attributes.data, *end = at + h->attributes.len;
    for (; at < end && count + 1 < need; at += strlen(at) + 1) {
        h->environment[count++] = at;
    }
    h->environment[count] = NULL;
    return BECK_OK;
}

/* event NULL: of a persistent process, which serves many. */
static beck_status prepare_environment(struct handler *h, const beck_event *event, uint32_t attempt)
{
    buf_clear(&h->attributes);
    beck_status status = BECK_OK;
    if (h->options->queue) {
        status = add_attribute(&h->attributes, "BECK_QUEUE", (beck_bytes){0},
                               beck_str(h->options->queue));
    }
    if (event && !status) {
        status = add_number(&h->attributes, "BECK_ATTEMPT", attempt);
    }
    if (event && !status) {
        status = add_event(&h->attributes, event);
    }
    return status ? status : point_environment(h);
}

static beck_status prepare_input(struct handler *h, const beck_event *event, beck_error *err)
{
    char *text;
    size_t len;
    beck_status status = beck_format(event, BECK_FORM_CLOUDEVENTS, &text, &len, err);
    if (status) {
        return status;
    }
    buf_clear(&h->input);
    status = buf_append(&h->input, text, len);
    status = status ? status : buf_append_byte(&h->input, '\n');
    beck_text_free(text);
    return status ? error_set(err, status, "no memory for an event of %zu bytes", len) : BECK_OK;
}

/* ---- running ---- */

/* Why a run ended early. */
enum stop { STOP_NONE, STOP_LATE, STOP_WOKEN };

/* Waits for one of `events` of the child until the deadline, with beats. */
static enum stop wait_for(struct handler *h, struct child *c, unsigned events, int64_t deadline_ns)
{
    const struct handler_options *o = h->options;
    int64_t beat_ns = o->beat_ms > 0 && h->beat ? o->beat_ms * 1000000 : 0;
    int64_t next_beat = beat_ns ? now_ns() + beat_ns : INT64_MAX;
    for (;;) {
        int64_t until = next_beat < deadline_ns ? next_beat : deadline_ns;
        unsigned found = child_wait(c, o->wake_fd, until);
        if (found & events) {
            return STOP_NONE;
        }
        if ((found & CHILD_WOKEN) && (!o->woken || o->woken(o->woken_ctx))) {
            return STOP_WOKEN;
        }
        if (now_ns() >= deadline_ns) {
            return STOP_LATE;
        }
        if (h->beat && now_ns() >= next_beat) {
            h->beat(h->beat_ctx);
            next_beat = now_ns() + beat_ns;
        }
    }
}

static int64_t deadline_of(const struct handler_options *o)
{
    return o->deadline_ms >= 0 ? now_ns() + o->deadline_ms * 1000000 : INT64_MAX;
}

/* "exit 3: last words", "signal 9 (Killed)", "deadline of 5s passed: last words" */
static void explain(const struct child *c, const char *cause, char *why)
{
    int used = snprintf(why, HANDLER_WHY_MAX, "%s: ", cause);
    child_last_words(c, why + used, HANDLER_WHY_MAX - (size_t)used);
    if (why[used] == 0) {
        why[used - 2] = 0;
    }
}

static void explain_end(const struct child *c, char *why)
{
    char cause[64];
    if (WIFSIGNALED(c->wait_status)) {
        int number = WTERMSIG(c->wait_status);
        snprintf(cause, sizeof cause, "signal %d (%s)", number, strsignal(number));
    } else {
        snprintf(cause, sizeof cause, "exit %d", WEXITSTATUS(c->wait_status));
    }
    explain(c, cause, why);
}

static void explain_late(const struct handler *h, const struct child *c, char *why)
{
    char limit[VALUE_TEXT_MAX], cause[96];
    value_duration_text(h->options->deadline_ms, limit);
    snprintf(cause, sizeof cause, "deadline of %s passed", limit);
    explain(c, cause, why);
}

/* A failure to prepare or to start: this event's (*verdict), or everybody's. */
static enum handler_result not_started(beck_status status, const beck_error *err,
                                       beck_verdict *verdict, char *why)
{
    if (status == BECK_ENOENT || status == BECK_EINVAL) {
        return HANDLER_UNUSABLE;
    }
    snprintf(why, HANDLER_WHY_MAX, "%.*s", HANDLER_WHY_MAX - 1, err->text);
    *verdict = BECK_RETRY;
    return HANDLER_VERDICT;
}

static struct child_options child_options_of(const struct handler *h, bool answers)
{
    const struct handler_options *o = h->options;
    return (struct child_options){.program = o->program,
                                  .environment = h->environment,
                                  .answers = answers,
                                  .directory = o->directory,
                                  .output = o->output,
                                  .output_ctx = o->output_ctx};
}

static enum handler_result run_once(struct handler *h, const beck_event *event, uint32_t attempt,
                                    beck_verdict *verdict, char *why, beck_error *err)
{
    const struct handler_options *o = h->options;
    beck_status status = prepare_environment(h, event, attempt);
    if (status) {
        error_set(err, status, "no memory for the environment of '%s'", o->program[0]);
        return not_started(status, err, verdict, why);
    }
    struct child c;
    const struct child_options how = child_options_of(h, false);
    status = child_start(&c, &how, err);
    if (status) {
        return not_started(status, err, verdict, why);
    }
    child_send(&c, buf_bytes(&h->input), true);
    enum stop stop = wait_for(h, &c, CHILD_ENDED, deadline_of(o));
    child_end(&c, true, o->grace_ms);
    if (stop == STOP_WOKEN) {
        return HANDLER_WOKEN;
    }
    *verdict = o->failure;
    if (stop == STOP_LATE) {
        explain_late(h, &c, why);
        return HANDLER_VERDICT;
    }
    if (WIFEXITED(c.wait_status) && WEXITSTATUS(c.wait_status) == 0) {
        *verdict = BECK_SETTLE;
        return HANDLER_VERDICT;
    }
    if (WIFEXITED(c.wait_status) && WEXITSTATUS(c.wait_status) == o->retry_exit) {
        *verdict = BECK_RETRY;
    }
    explain_end(&c, why);
    return HANDLER_VERDICT;
}

/* ---- persistent processes ---- */

/* "retry the database is away": whether the line begins with the word; the rest is why. */
static bool answer_word(beck_bytes line, const char *word, char *why)
{
    const char *text = line.data;
    size_t len = strlen(word);
    if (line.len < len || memcmp(text, word, len) != 0 ||
        (line.len > len && text[len] != ' ' && text[len] != ':')) {
        return false;
    }
    size_t at = len;
    while (at < line.len && (text[at] == ' ' || text[at] == ':')) {
        at++;
    }
    snprintf(why, HANDLER_WHY_MAX, "%.*s", (int)(line.len - at), text + at);
    return true;
}

/* An answer without an id is for the event that was sent last. */
static bool names_another(const beck_event *event, beck_bytes id)
{
    return id.len > 0 && !bytes_equal(id, event->id);
}

/* Of a member that is text, with escapes undone. The caller releases *text. */
static bool read_text(struct json_reader *r, struct buf *text)
{
    struct json_token value;
    buf_init(text, CHILD_LINE_MAX);
    return !json_next(r, &value, NULL) && value.kind == JSON_STRING &&
           !json_unescape(&value, text, NULL);
}

static bool read_verdict(beck_bytes word, beck_verdict *verdict)
{
    static const struct {
        const char *word;
        beck_verdict verdict;
    } all[] = {{"settle", BECK_SETTLE}, {"retry", BECK_RETRY}, {"reject", BECK_REJECT}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (bytes_equal_text(word, all[i].word)) {
            *verdict = all[i].verdict;
            return true;
        }
    }
    return false;
}

/* How a line is to be taken. */
enum answer { ANSWER_GOOD, ANSWER_BAD, ANSWER_OF_ANOTHER };

static enum answer answer_json(beck_bytes line, const beck_event *event, beck_verdict *verdict,
                               char *why)
{
    struct json_reader r;
    struct json_token t;
    bool found = false, another = false;
    json_reader_init(&r, line);
    if (json_next(&r, &t, NULL) || t.kind != JSON_OBJECT) {
        return ANSWER_BAD;
    }
    while (!json_next(&r, &t, NULL) && t.kind == JSON_NAME) {
        bool is_verdict = bytes_equal_text(t.raw, "verdict");
        bool is_id = bytes_equal_text(t.raw, "event_id");
        if (!is_verdict && !is_id && !bytes_equal_text(t.raw, "why")) {
            beck_bytes skipped;
            if (json_skip_value(&r, &skipped, NULL)) {
                return ANSWER_BAD;
            }
            continue;
        }
        struct buf text;
        bool good = read_text(&r, &text);
        if (good && is_verdict) {
            good = found = read_verdict(buf_bytes(&text), verdict);
        } else if (good && is_id) {
            another = names_another(event, buf_bytes(&text));
        } else if (good) {
            snprintf(why, HANDLER_WHY_MAX, "%.*s", (int)text.len, (const char *)text.data);
        }
        buf_release(&text);
        if (!good) {
            return ANSWER_BAD;
        }
    }
    if (!found || t.kind != JSON_OBJECT_END) {
        return ANSWER_BAD;
    }
    return another ? ANSWER_OF_ANOTHER : ANSWER_GOOD;
}

static enum answer read_answer(beck_bytes line, const beck_event *event, beck_verdict *verdict,
                               char *why)
{
    while (line.len > 0 && isspace(((const unsigned char *)line.data)[line.len - 1])) {
        line.len--;
    }
    if (line.len > 0 && *(const char *)line.data == '{') {
        return answer_json(line, event, verdict, why);
    }
    if (answer_word(line, "retry", why)) {
        *verdict = BECK_RETRY;
        return ANSWER_GOOD;
    }
    if (answer_word(line, "reject", why)) {
        *verdict = BECK_REJECT;
        return ANSWER_GOOD;
    }
    *verdict = BECK_SETTLE;
    const char *text = line.data;
    if (line.len < 2 || memcmp(text, "ok", 2) != 0 || (line.len > 2 && text[2] != ' ')) {
        return ANSWER_BAD;
    }
    beck_bytes id = line.len > 3 ? bytes_of(text + 3, line.len - 3) : (beck_bytes){0};
    return names_another(event, id) ? ANSWER_OF_ANOTHER : ANSWER_GOOD;
}

/* Ends the process; the next is started after a pause. */
static void drop_process(struct handler *h)
{
    bool ending = h->child.out_ended; /* by itself: its exit status says why */
    child_end(&h->child, !ending, h->options->grace_ms);
    h->pause_ms = h->pause_ms ? h->pause_ms * 2 : PAUSE_FIRST_MS;
    h->pause_ms = h->pause_ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : h->pause_ms;
    h->start_at_ns = now_ns() + h->pause_ms * 1000000;
}

/* A process that is alive and silent; one that died or spoke unasked since its last answer is
 * replaced, which costs no event its attempt. */
static beck_status ensure_process(struct handler *h, beck_error *err)
{
    if (h->child.pid != 0) {
        unsigned found = child_wait(&h->child, -1, 0);
        if (!(found & (CHILD_ENDED | CHILD_LINE)) && h->child.output.len == 0) {
            return BECK_OK;
        }
        drop_process(h);
    }
    beck_status status = prepare_environment(h, NULL, 0);
    if (status) {
        return error_set(err, status, "no memory for the environment of '%s'",
                         h->options->program[0]);
    }
    const struct child_options how = child_options_of(h, true);
    return child_start(&h->child, &how, err);
}

/* Sends the event to a process that is in step, and waits for its answer. */
static beck_status ask(struct handler *h, enum stop *stop, beck_error *err)
{
    beck_status status = ensure_process(h, err);
    if (status) {
        h->child.pid = 0;
        return status;
    }
    h->child.tail_len = 0; /* last words are those of this event */
    child_send(&h->child, buf_bytes(&h->input), false);
    *stop = wait_for(h, &h->child, CHILD_LINE | CHILD_ENDED, deadline_of(h->options));
    return BECK_OK;
}

static void explain_answer(beck_bytes line, enum answer answer, char *why)
{
    int len = (int)(line.len < 60 ? line.len : 60);
    if (answer == ANSWER_OF_ANOTHER) {
        snprintf(why, HANDLER_WHY_MAX,
                 "the program answered '%.*s' for another event: it must answer each event once, "
                 "when it has read it",
                 len, (const char *)line.data);
    } else {
        snprintf(why, HANDLER_WHY_MAX,
                 "the program answered '%.*s': it must answer ok, retry or reject", len,
                 (const char *)line.data);
    }
}

/* The line that there is, whole or not; with the verdict when it is a good one. What came before the
 * event was read cannot be about it. */
static enum answer take_answer(struct handler *h, const beck_event *event, beck_bytes *line,
                               beck_verdict *verdict, char *why)
{
    struct child *c = &h->child;
    if (!child_line(c, line)) {
        *line = buf_bytes(&c->output);
        return ANSWER_BAD;
    }
    enum answer answer = read_answer(*line, event, verdict, why);
    return answer == ANSWER_GOOD && !child_has_read(c) ? ANSWER_OF_ANOTHER : answer;
}

static enum handler_result run_persistent(struct handler *h, const beck_event *event,
                                          beck_verdict *verdict, char *why, beck_error *err)
{
    enum answer answer = ANSWER_OF_ANOTHER;
    struct child *c = &h->child;
    /* An answer too many of the event before costs this one nothing, once. */
    for (int i = 0; i < 2 && answer == ANSWER_OF_ANOTHER; i++) {
        enum stop stop = STOP_NONE;
        beck_bytes line;
        beck_status status = ask(h, &stop, err);
        if (status) {
            return not_started(status, err, verdict, why);
        }
        if (stop == STOP_WOKEN) {
            child_end(c, true, h->options->grace_ms);
            return HANDLER_WOKEN;
        }
        if (stop == STOP_LATE) {
            *verdict = h->options->failure;
            drop_process(h);
            explain_late(h, c, why);
            return HANDLER_VERDICT;
        }
        answer = take_answer(h, event, &line, verdict, why);
        if (answer == ANSWER_GOOD) {
            child_line_drop(c);
            h->pause_ms = 0;
            return HANDLER_VERDICT;
        }
        *verdict = h->options->failure;
        if (line.len > 0) {
            explain_answer(line, answer, why);
        }
        drop_process(h);
        if (line.len == 0) {
            explain_end(c, why);
        }
    }
    return HANDLER_VERDICT;
}

enum handler_result handler_run(struct handler *h, const beck_event *event, uint32_t attempt,
                                beck_verdict *verdict, char *why, beck_error *err)
{
    why[0] = '\0';
    beck_status status = prepare_input(h, event, err);
    if (status) {
        return not_started(status == BECK_EINVAL ? BECK_EIO : status, err, verdict, why);
    }
    if (h->options->persistent) {
        return run_persistent(h, event, verdict, why, err);
    }
    return run_once(h, event, attempt, verdict, why, err);
}

/* ---- finding the program ---- */

static bool can_run(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool handler_find(const char *name, char out[HANDLER_PATH_MAX])
{
    const char *at = getenv("PATH");
    at = at ? at : "/usr/local/bin:/usr/bin:/bin";
    while (*at) {
        size_t len = strcspn(at, ":");
        int n = snprintf(out, HANDLER_PATH_MAX, "%.*s/%s", (int)len, at, name);
        if (n > 0 && n < HANDLER_PATH_MAX && can_run(out)) {
            return true;
        }
        at += len + (at[len] == ':');
    }
    return false;
}

beck_status handler_check(char *const *program, beck_error *err)
{
    const char *name = program[0];
    if (strchr(name, '/')) {
        if (can_run(name)) {
            return BECK_OK;
        }
        return access(name, F_OK) == 0
                   ? error_set(err, BECK_EINVAL, "'%s' cannot be run: make it executable", name)
                   : error_set(err, BECK_ENOENT, "no program '%s': give its path", name);
    }
    char path[HANDLER_PATH_MAX];
    if (handler_find(name, path)) {
        return BECK_OK;
    }
    return error_set(err, BECK_ENOENT, "no program '%s' in PATH: give its path, as in ./%s", name,
                     name);
}
