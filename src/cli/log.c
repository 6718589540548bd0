/* beck log: the events of a bus, for people or for programs. */
#include "cli/commands.h"
#include "cli/print.h"
#include "cli/reading.h"
#include "cli/value.h"
#include "event/event.h"
#include <stdio.h>
#include <unistd.h>

#define FOLLOW_STEP_MS 100
#define DATA_COLUMNS 200 /* of data, where no terminal says how many */

enum format { FORMAT_HUMAN, FORMAT_NDJSON, FORMAT_ENVELOPE };

static const char *const formats[] = {"human", "ndjson", "envelope", NULL};

static const struct option options[] = {
    READING_OPTIONS,
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = INT64_MAX,
     .help = "at most this many"},
    {.name = "follow",
     .letter = 'f',
     .kind = OPTION_FLAG,
     .help = "wait for new events at the end"},
    {.name = "format",
     .kind = OPTION_CHOICE,
     .choices = formats,
     .help = "human on a terminal; else ndjson, CloudEvents one a line"},
    {0}};

struct printer {
    const struct call *call;
    enum format format;
    size_t width;                   /* of the terminal, 0: none */
    size_t type, subject, position; /* columns so far: they only grow */
    struct buf line;
    bool failed;
};

/* ---- for people ---- */

/* Text in a column that grows with what it has met, up to `most`. */
static size_t add_column(struct printer *p, const char *color, beck_bytes text, size_t *column,
                         size_t most)
{
    if (p->call->color_out) {
        (void)buf_append_text(&p->line, color);
    }
    size_t used = print_safe(&p->line, text, most);
    if (p->call->color_out) {
        (void)buf_append_text(&p->line, "\033[0m");
    }
    *column = used > *column ? used : *column;
    (void)buf_printf(&p->line, "%*s", (int)(*column - used + 2), "");
    return *column + 2;
}

static void add_data(struct printer *p, const beck_event *e, size_t used)
{
    size_t room = p->width > used + 20 ? p->width - used - 1 : DATA_COLUMNS;
    if (e->data.len == 0) {
        return;
    }
    bool text = event_data_is_json(e) || bytes_is_utf8(e->data);
    if (text) {
        print_safe(&p->line, e->data, room);
    } else {
        (void)buf_printf(&p->line, "(%zu bytes)", e->data.len);
    }
}

static void print_human(struct printer *p, const beck_event *e)
{
    char time[VALUE_TEXT_MAX], position[POSITION_TEXT_MAX];
    value_time_text(e->time_ns, p->call->now_ns, time);
    print_position(position, e->bus, e->position);
    buf_clear(&p->line);
    size_t time_column = 0;
    size_t used = add_column(p, "\033[2m", beck_str(time), &time_column, 30);
    used += add_column(p, "\033[1m", e->type, &p->type, 40);
    used += add_column(p, "\033[36m", e->subject.len ? e->subject : beck_str("-"), &p->subject, 28);
    used += add_column(p, "\033[2m", beck_str(position), &p->position, 40);
    add_data(p, e, used);
    while (p->line.len > 0 && p->line.data[p->line.len - 1] == ' ') {
        p->line.len--;
    }
    (void)buf_append_byte(&p->line, '\n');
    fwrite(p->line.data, 1, p->line.len, stdout);
}

/* ---- for programs ---- */

static void print_json(struct printer *p, const beck_event *e)
{
    char *text;
    size_t len;
    beck_error err;
    beck_form form = p->format == FORMAT_ENVELOPE ? BECK_FORM_ENVELOPE : BECK_FORM_CLOUDEVENTS;
    beck_status status = beck_format(e, form, &text, &len, &err);
    if (status) {
        call_fail(p->call, status, &err);
        p->failed = true;
        return;
    }
    fwrite(text, 1, len, stdout);
    putchar('\n');
    beck_text_free(text);
}

static enum format format_of(const struct call *call)
{
    if (option_given(call, "format")) {
        return (enum format)option_choice(call, "format");
    }
    return !call->json && isatty(STDOUT_FILENO) == 1 ? FORMAT_HUMAN : FORMAT_NDJSON;
}

/* ---- reading ---- */

/* The next event; with --follow, what is printed so far is shown before waiting. BECK_ECLOSED:
 * asked to stop, or nobody reads. */
static beck_status next(const struct call *call, beck_reader *reader, const beck_event **e,
                        beck_error *err)
{
    beck_status status = beck_reader_next(reader, 0, e, err);
    while (status == BECK_ETIMEDOUT) {
        if (!output_flush() || call_stopping(call)) {
            return BECK_ECLOSED;
        }
        status = beck_reader_next(reader, FOLLOW_STEP_MS, e, err);
    }
    return status;
}

static int print_events(const struct call *call, beck_reader *reader)
{
    struct printer p = {.call = call,
                        .format = format_of(call),
                        .width = print_width(),
                        .type = 14,
                        .subject = 7,
                        .position = 10};
    buf_init(&p.line, 1u << 20);
    int64_t left = option_number(call, "limit", INT64_MAX);
    int code = EXIT_DONE;
    while (left > 0 && !p.failed && !output_broken() && !call_stopping(call)) {
        const beck_event *e;
        beck_error err;
        beck_status status = next(call, reader, &e, &err);
        if (status == BECK_END || status == BECK_ECLOSED) {
            break;
        }
        if (status) {
            code = call_fail(call, status, &err);
            if (status != BECK_ECORRUPT) {
                break;
            }
            continue; /* behind the damage */
        }
        if (p.format == FORMAT_HUMAN) {
            print_human(&p, e);
        } else {
            print_json(&p, e);
        }
        left--;
    }
    buf_release(&p.line);
    return p.failed ? EXIT_FAILED : code;
}

static int log_run(struct call *call)
{
    beck_read_options how;
    beck_bus *bus;
    beck_reader *reader;
    int code = reading_options(call, &how);
    code = code ? code : call_open(call, CALL_INSPECT);
    code = code ? code
                : call_bus(call, call->argument_count ? call->arguments[0] : "events", false, &bus);
    how.follow = option_flag(call, "follow");
    code = code ? code : reading_open(call, bus, &how, &reader);
    if (code) {
        return code;
    }
    code = print_events(call, reader);
    beck_reader_close(reader);
    return code;
}

const struct command command_log = {
    .name = "log",
    .arguments = "[BUS]",
    .arguments_max = 1,
    .orderly = true,
    .help = "read the events of a bus",
    .about = "BUS is 'events' unless given. Events of several partitions are merged by time.\n"
             "Reads without the lock: also while another process holds the data directory.",
    .examples = "beck log --since 14:30 --until 14:40\n"
                "beck log --type 'order.#' --subject ORD-1\n"
                "beck log --from now --follow\n"
                "beck log orders --format ndjson | jq .data.total",
    .options = options,
    .run = log_run,
};
