/* beck trace: what caused what, and what became of it. */
#include "cli/commands.h"
#include "cli/print.h"
#include "event/api_shape.h"
#include "event/value.h"
#include <stdio.h>

#define TEXT_MAX (256u << 20)
#define WHY_COLUMNS 100
#define SOON_MS (24 * 3600 * 1000)

static const struct option options[] = {{.name = "limit",
                                         .letter = 'n',
                                         .kind = OPTION_NUMBER,
                                         .min = 1,
                                         .max = 1000000,
                                         .preset = "10000",
                                         .help = "at most this many events"},
                                        {0}};

struct tracing {
    struct call *call;
    struct buf line;
    beck_status status;
    beck_error err;
};

static void add(struct tracing *t, const char *text)
{
    if (!t->status)
        t->status = buf_append_text(&t->line, text);
}

static void add_safe(struct tracing *t, beck_bytes text)
{
    print_safe(&t->line, text, WHY_COLUMNS);
}

static void indent(struct tracing *t, uint32_t depth)
{
    for (uint32_t i = 0; i < depth && i < 40; i++)
        add(t, "  ");
}

/* The last `why` of a history: what people look for. */
static beck_bytes last_why(const char *history)
{
    const char *found = NULL, *at = history;
    while ((at = strstr(at, "\"why\":\"")) != NULL)
        found = at += strlen("\"why\":\"");
    if (!found)
        return (beck_bytes){0};
    size_t len = 0;
    while (found[len] && found[len] != '"')
        len += found[len] == '\\' && found[len + 1] ? 2 : 1;
    return bytes_of(found, len);
}

/* An event may be much older than its publishing: then how long it took says nothing. */
static bool is_soon(const beck_event *e, int64_t at_ms)
{
    int64_t took_ms = at_ms - e->time_ns / 1000000;
    return e->time_ns > 0 && took_ms >= 0 && took_ms < SOON_MS;
}

static void add_delivery(struct tracing *t, const beck_trace_delivery *d, const beck_event *e,
                         uint32_t depth)
{
    char text[VALUE_TEXT_MAX];
    add(t, "              ");
    indent(t, depth);
    add(t, "  -> ");
    add_safe(t, beck_str(d->queue));
    add(t, ": ");
    add(t, strcmp(d->state, "in_flight") == 0 ? "in flight" : d->state);
    if (*d->reason) {
        add(t, " (");
        add_safe(t, beck_str(d->reason));
        add(t, ")");
    }
    if (d->at_ms > 0 && strcmp(d->state, "delayed") == 0) {
        add(t, " until ");
        value_time_text(d->at_ms * 1000000, t->call->now_ns, text);
        add(t, text);
    } else if (d->at_ms > 0 && is_soon(e, d->at_ms)) {
        add(t, " after ");
        value_duration_text(d->at_ms - e->time_ns / 1000000, text);
        add(t, text);
    } else if (d->at_ms > 0) {
        add(t, " at ");
        value_time_text(d->at_ms * 1000000, t->call->now_ns, text);
        add(t, text);
    }
    if (d->attempts > 0 && !t->status)
        t->status =
            buf_printf(&t->line, ", %u attempt%s", d->attempts, d->attempts == 1 ? "" : "s");
    beck_bytes why = last_why(d->history);
    if (why.len) {
        add(t, ", failed: ");
        add_safe(t, why);
    }
    add(t, "\n");
}

static void add_step(struct tracing *t, const beck_trace_step *step)
{
    const beck_event *e = step->event;
    char text[VALUE_TEXT_MAX], position[POSITION_TEXT_MAX];
    value_time_text(e->time_ns, t->call->now_ns, text);
    print_position(position, e->bus, e->position);
    if (!t->status)
        t->status = buf_printf(&t->line, "%-12s  ", text);
    indent(t, step->depth);
    add_safe(t, e->type);
    add(t, "  ");
    add_safe(t, e->id);
    if (!bytes_equal_text(e->id, position)) {
        add(t, "  ");
        add(t, position);
    }
    if (e->subject.len) {
        add(t, "  ");
        add_safe(t, e->subject);
    }
    add(t, "\n");
    for (size_t i = 0; i < step->delivery_count; i++)
        add_delivery(t, &step->deliveries[i], e, step->depth);
}

static int print_step(void *ctx, const beck_trace_step *step)
{
    struct tracing *t = ctx;
    buf_clear(&t->line);
    if (t->call->json) {
        t->status = api_trace_step_write(step, &t->line, &t->err);
        add(t, "\n");
    } else {
        add_step(t, step);
    }
    if (!t->status)
        fwrite(t->line.data, 1, t->line.len, stdout);
    return t->status != BECK_OK || output_broken();
}

static int trace_run(struct call *call)
{
    int code = call_open(call, CALL_EXISTING);
    if (code)
        return code;
    struct tracing t = {.call = call, .err.text = "no memory to print a trace"};
    buf_init(&t.line, TEXT_MAX);
    beck_status status =
        beck_trace(call->handle, call->arguments[0], (size_t)option_number(call, "limit", 0),
                   print_step, &t, &t.err);
    if (!status)
        status = t.status;
    buf_release(&t.line);
    return status ? call_fail(call, status, &t.err) : EXIT_DONE;
}

const struct command command_trace = {
    .name = "trace",
    .arguments = "ID",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "show what caused what, and what became of it in queues",
    .about =
        "ID is the id of an event, as given or as \"beck log\" shows it, or a correlation id.\n"
        "The first trace after much was published takes a while: an index is made.",
    .examples = "beck trace 018f7d2e-1c52-7d1a-9b1e-3f1d2c4b5a69\n"
                "beck trace events/0/17 --json",
    .options = options,
    .run = trace_run,
};
