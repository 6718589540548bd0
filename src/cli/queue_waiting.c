/* What a queue holds: see queue_waiting.h. */
#include "cli/queue_waiting.h"
#include "cli/event_printer.h"
#include "cli/print.h"
#include "event/value.h"
#include <stdio.h>

/* ---- what is ready ---- */

static int peek_event(void *ctx, const beck_event *event)
{
    return event_printer_print(ctx, event);
}

static int peek_run(struct call *call)
{
    struct event_printer printer;
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    event_printer_init(&printer, call, option_choice(call, "format"));
    size_t max = (size_t)option_number(call, "limit", 0);
    beck_status status =
        beck_queue_peek(call->handle, call->arguments[0], max, peek_event, &printer, &err);
    event_printer_release(&printer);
    return status ? call_fail_queue(call, call->arguments[0], status, &err) : EXIT_DONE;
}

/* ---- what waits for its time, or for an answer ---- */

struct waiting_list {
    const struct call *call;
    beck_waiting_kind kind;
    struct table table;
    int64_t count;
    int code;
};

static int waiting_json(const struct waiting_list *l, const beck_waiting *w)
{
    struct json_line j;
    char *event = NULL;
    beck_error err;
    beck_status status =
        w->event ? beck_format(w->event, BECK_FORM_CLOUDEVENTS, &event, NULL, &err) : BECK_OK;
    if (status) {
        return call_fail(l->call, status, &err);
    }
    json_line_begin(&j);
    json_line_object_begin(&j, "origin");
    json_line_text(&j, "bus", beck_str(w->bus));
    json_line_number(&j, "partition", w->position.partition);
    json_line_number(&j, "offset", w->position.offset);
    json_line_object_end(&j);
    json_line_number(&j, "attempt", w->attempt);
    json_line_moment(&j, "since", w->since_ms);
    json_line_moment(&j, "due", w->due_ms);
    if (event) {
        json_line_raw(&j, "event", event);
    }
    beck_text_free(event);
    return json_line_print(&j, l->call);
}

static void cell_moment(struct waiting_list *l, int64_t ms)
{
    char text[VALUE_TEXT_MAX] = "-";
    if (ms >= 0) {
        value_time_text(ms * 1000000, l->call->now_ns, text);
    }
    table_text(&l->table, text);
}

static int waiting_one(void *ctx, const beck_waiting *w)
{
    struct waiting_list *l = ctx;
    char position[POSITION_TEXT_MAX];
    l->count++;
    if (l->call->json) {
        l->code = waiting_json(l, w);
        return l->code != EXIT_DONE || output_broken();
    }
    print_position(position, beck_str(w->bus), w->position);
    if (l->kind == BECK_WAITING_IN_FLIGHT) {
        cell_moment(l, w->since_ms);
    }
    cell_moment(l, w->due_ms);
    table_number(&l->table, w->attempt);
    table_bytes(&l->table, w->event ? w->event->type : beck_str("(unreadable)"));
    table_bytes(&l->table, w->event ? w->event->subject : (beck_bytes){0});
    table_text(&l->table, position);
    return 0;
}

static int list_waiting(struct call *call, beck_waiting_kind kind, const char *const *headings)
{
    struct waiting_list l = {.call = call, .kind = kind};
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    table_init(&l.table, headings);
    beck_status status = beck_queue_waiting(
        call->handle, call->arguments[0], kind, (size_t)option_number(call, "skip", 0),
        (size_t)option_number(call, "limit", 0), waiting_one, &l, &err);
    if (!status && !l.code && l.count > 0 && !call->json) {
        return table_print(&l.table, call);
    }
    buf_release(&l.table.cells);
    if (!status && !l.code && l.count == 0 && !call->json) {
        call_say(call,
                 kind == BECK_WAITING_DELAYED ? "nothing waits for its time in queue '%s'"
                                              : "nothing of queue '%s' is in flight",
                 call->arguments[0]);
    }
    return status ? call_fail_queue(call, call->arguments[0], status, &err) : l.code;
}

static int delayed_run(struct call *call)
{
    static const char *const headings[] = {"DUE", ">ATTEMPT", "TYPE", "SUBJECT", "POSITION", NULL};
    return list_waiting(call, BECK_WAITING_DELAYED, headings);
}

static int in_flight_run(struct call *call)
{
    static const char *const headings[] = {"SINCE",   "DEADLINE", ">ATTEMPT", "TYPE",
                                           "SUBJECT", "POSITION", NULL};
    return list_waiting(call, BECK_WAITING_IN_FLIGHT, headings);
}

static const struct option peek_options[] = {{.name = "limit",
                                              .letter = 'n',
                                              .kind = OPTION_NUMBER,
                                              .min = 1,
                                              .max = 1000000,
                                              .preset = "10",
                                              .help = "at most this many"},
                                             {.name = "format",
                                              .kind = OPTION_CHOICE,
                                              .choices = event_forms,
                                              .help = "human on a terminal; else ndjson"},
                                             {0}};

static const struct option waiting_options[] = {
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = 10000,
     .preset = "100",
     .help = "at most this many"},
    {.name = "skip",
     .kind = OPTION_NUMBER,
     .min = 0,
     .max = 9999,
     .preset = "0",
     .help = "not the first so many; 10,000 with the limit"},
    {0}};

const struct command command_queue_peek = {.name = "peek",
                                           .arguments = "QUEUE",
                                           .arguments_min = 1,
                                           .arguments_max = 1,
                                           .help = "show the next events without taking them",
                                           .examples = "beck queue peek billing -n 3",
                                           .options = peek_options,
                                           .run = peek_run};
const struct command command_queue_delayed = {
    .name = "delayed",
    .arguments = "QUEUE",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "show what waits for its time, or for another try",
    .about = "The first due comes first. ATTEMPT: which delivery it will be.",
    .examples = "beck queue delayed billing -n 20",
    .options = waiting_options,
    .run = delayed_run};
const struct command command_queue_in_flight = {
    .name = "in-flight",
    .arguments = "QUEUE",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "show what consumers hold",
    .about = "The one whose deadline is next comes first. ATTEMPT: which delivery this is.",
    .examples = "beck queue in-flight billing",
    .options = waiting_options,
    .run = in_flight_run};
