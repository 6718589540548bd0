/* beck emit: publishes one event made from options, or the events of a file or a pipe in batches.
 */
#include "cli/commands.h"
#include "cli/emit_lines.h"
#include "cli/print.h"
#include "base/error.h"
#include "event/json.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define DATA_MAX (64u << 20)

static const char *const levels[] = {"none", "written", "synced", NULL};

static const struct option options[] = {
    {.name = "bus",
     .letter = 'b',
     .kind = OPTION_TEXT,
     .value = "BUS",
     .preset = "events",
     .help = "the bus; made when missing"},
    {.name = "subject",
     .letter = 's',
     .kind = OPTION_TEXT,
     .help = "what the event is about; events of one subject keep their order"},
    {.name = "source", .kind = OPTION_TEXT, .value = "URI", .help = "who says it"},
    {.name = "id", .kind = OPTION_TEXT, .help = "unique with the source; else it is the position"},
    {.name = "time", .kind = OPTION_TIME, .help = "when it happened, else now"},
    {.name = "content-type",
     .kind = OPTION_TEXT,
     .value = "TYPE",
     .help = "of the data, else application/json"},
    {.name = "schema", .kind = OPTION_TEXT, .value = "URI", .help = "dataschema of the data"},
    {.name = "extension",
     .letter = 'e',
     .kind = OPTION_TEXT,
     .value = "NAME=VALUE",
     .repeatable = true,
     .help = "another attribute"},
    {.name = "correlation-id", .kind = OPTION_TEXT, .value = "ID", .help = "what this belongs to"},
    {.name = "causation-id",
     .kind = OPTION_TEXT,
     .value = "ID",
     .help = "the event that caused this one"},
    {.name = "priority",
     .kind = OPTION_NUMBER,
     .max = 255,
     .help = "higher first, in queues with priorities"},
    {.name = "delay", .kind = OPTION_DURATION, .help = "queues hand it out this much later"},
    {.name = "at", .kind = OPTION_TIME, .help = "queues hand it out at this time"},
    {.name = "expires", .kind = OPTION_TIME, .help = "queues give it up from then on: +1h, 18:00"},
    {.name = "level",
     .kind = OPTION_CHOICE,
     .choices = levels,
     .help = "what to wait for, else the bus's own (synced)"},
    {.name = "json-lines",
     .kind = OPTION_FLAG,
     .help = "read events from FILE (or standard input): one a line, or an array"},
    {0}};

/* The whole of a descriptor. */
static beck_status read_all(int fd, const char *name, struct buf *out, beck_error *err)
{
    for (;;) {
        beck_status status = buf_reserve(out, 65536);
        if (status) {
            return error_set(err, status, "'%s' is larger than %u bytes: emit smaller data", name,
                             DATA_MAX);
        }
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno != EINTR) {
            return error_errno(err, errno, "'%s' cannot be read", name);
        }
        if (n == 0) {
            return BECK_OK;
        }
        out->len += n > 0 ? (size_t)n : 0;
    }
}

/* DATA as given: text, @file, or - for standard input. */
static beck_status read_data(const char *text, struct buf *out, beck_error *err)
{
    buf_init(out, DATA_MAX + 65536);
    if (strcmp(text, "-") == 0) {
        return read_all(STDIN_FILENO, "standard input", out, err);
    }
    if (*text != '@') {
        return buf_append_text(out, text);
    }
    int fd = open(text + 1, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_errno(err, errno, "'%s' cannot be opened", text + 1);
    }
    beck_status status = read_all(fd, text + 1, out, err);
    close(fd);
    return status;
}

static bool is_json(const char *content_type)
{
    beck_event e = {.datacontenttype = beck_str(content_type)};
    return event_data_is_json(&e);
}

/* Into `list`, whose size is option_count. */
static int read_extensions(const struct call *call, beck_attribute *list)
{
    for (size_t i = 0; i < option_count(call, "extension"); i++) {
        const char *text = option_text_at(call, "extension", i);
        const char *equals = strchr(text, '=');
        if (!equals) {
            return call_usage(call, "--extension '%s' has no value: write NAME=VALUE", text);
        }
        list[i].name = bytes_of(text, (size_t)(equals - text));
        list[i].value = beck_str(equals + 1);
    }
    return EXIT_DONE;
}

static void fill_event(const struct call *call, beck_event *e)
{
    e->type = beck_str(call->arguments[0]);
    e->subject = beck_str(option_text(call, "subject"));
    e->source = beck_str(option_text(call, "source"));
    e->id = beck_str(option_text(call, "id"));
    e->time_ns = option_number(call, "time", 0);
    e->datacontenttype = beck_str(option_text(call, "content-type"));
    e->dataschema = beck_str(option_text(call, "schema"));
    e->correlationid = beck_str(option_text(call, "correlation-id"));
    e->causationid = beck_str(option_text(call, "causation-id"));
    e->priority = (uint32_t)option_number(call, "priority", 0);
    e->expires_at_ms = option_number(call, "expires", 0) / 1000000;
    e->deliver_at_ms = option_number(call, "at", 0) / 1000000;
    if (option_given(call, "delay")) {
        e->deliver_at_ms = call->now_ns / 1000000 + option_number(call, "delay", 0);
    }
}

static int print_published(const struct call *call, const beck_event *e, const char *bus,
                           const beck_published *p)
{
    char position[POSITION_TEXT_MAX];
    print_position(position, beck_str(bus), p->position);
    if (!call->json) {
        printf("%s%s\n", position, p->duplicates ? " (was there already)" : "");
        return EXIT_DONE;
    }
    struct json_line j;
    json_line_begin(&j);
    json_line_text(&j, "id", e->id.data ? e->id : beck_str(position));
    json_line_text(&j, "bus", beck_str(bus));
    json_line_number(&j, "partition", p->position.partition);
    json_line_number(&j, "offset", p->position.offset);
    json_line_bool(&j, "duplicate", p->duplicates > 0);
    return json_line_print(&j, call);
}

beck_level emit_level(const struct call *call)
{
    return (beck_level)(option_choice(call, "level") + 1); /* -1, not given: the default */
}

static int publish_one(struct call *call, const beck_event *e)
{
    beck_error err;
    beck_status status = event_check(e, &err);
    if (status) {
        return call_usage(call, "%s", err.text);
    }
    const char *name = option_text(call, "bus");
    beck_bus *bus;
    int code = call_open(call, CALL_CREATE);
    code = code ? code : call_bus(call, name, true, &bus);
    if (code) {
        return code;
    }
    beck_publish_options how = {.level = emit_level(call)};
    beck_published published;
    status = beck_publish_many(bus, e, 1, &how, &published, &err);
    return status ? call_fail(call, status, &err) : print_published(call, e, name, &published);
}

/* Everything that can be wrong is found before the data directory is touched. */
static int emit_one(struct call *call, struct buf *data)
{
    if (option_given(call, "delay") && option_given(call, "at")) {
        return call_usage(call, "--delay and --at are both given: give one");
    }
    beck_attribute extensions[EVENT_EXTENSIONS_MAX];
    if (option_count(call, "extension") > EVENT_EXTENSIONS_MAX) {
        return call_usage(call, "more than %d extensions: give fewer", EVENT_EXTENSIONS_MAX);
    }
    int code = read_extensions(call, extensions);
    if (code) {
        return code;
    }
    if (option_given(call, "id") && !*option_text(call, "id")) {
        return call_usage(call, "--id is empty: leave it out for an event without one");
    }
    beck_event e = {.extensions = extensions, .extension_count = option_count(call, "extension")};
    fill_event(call, &e);
    if (call->argument_count > 1) {
        beck_error err = {0};
        beck_status status = read_data(call->arguments[1], data, &err);
        if (status) {
            return call_fail(call, status, &err);
        }
        e.data = bytes_of(data->data ? data->data : (const uint8_t *)"", data->len);
        if (is_json(option_text(call, "content-type")) && json_check(e.data, &err)) {
            return call_usage(call,
                              "the data is no JSON: %s; for other data give --content-type, as "
                              "text/plain",
                              err.text);
        }
    }
    return publish_one(call, &e);
}

static int emit_run(struct call *call)
{
    if (option_flag(call, "json-lines")) {
        if (call->argument_count > 1) {
            return call_usage(call, "'%s' is one argument too many: --json-lines takes one FILE",
                              call->arguments[1]);
        }
        return emit_lines(call, call->argument_count ? call->arguments[0] : "-");
    }
    if (call->argument_count == 0) {
        return call_usage(call, "an argument is missing: give TYPE, as in order.created");
    }
    struct buf data = {0};
    int code = emit_one(call, &data);
    buf_release(&data);
    return code;
}

const struct command command_emit = {
    .name = "emit",
    .arguments = "TYPE [DATA] | --json-lines [FILE]",
    .arguments_max = 2,
    .orderly = true,
    .help = "publish an event, or the events of a file",
    .about =
        "DATA is JSON unless --content-type says otherwise; @FILE takes it from a file,\n"
        "- from standard input. Prints where the event is kept: BUS/PARTITION/OFFSET.\n"
        "\n"
        "--json-lines reads CloudEvents or envelopes ({\"eventId\":...,\"eventType\":...}), one\n"
        "a line or an array; id and source may be missing. Malformed ones are reported with\n"
        "their line and left out; the exit code is then 1.",
    .examples = "beck emit order.created '{\"id\": 1}' --subject ORD-1\n"
                "beck emit report.due --at 18:00 --extension region=eu\n"
                "beck emit mail.received @mail.txt --content-type text/plain\n"
                "beck log --format ndjson | beck --data other emit --json-lines",
    .options = options,
    .run = emit_run,
};
