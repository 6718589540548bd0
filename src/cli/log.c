/* beck log: the events of a bus, for people or for programs. */
#include "cli/commands.h"
#include "cli/event_printer.h"
#include "cli/reading.h"

#define FOLLOW_STEP_MS 100

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
     .choices = event_forms,
     .help = "human on a terminal; else ndjson, CloudEvents one a line"},
    {0}};

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
    struct event_printer p;
    event_printer_init(&p, call, option_choice(call, "format"));
    int64_t left = option_number(call, "limit", INT64_MAX);
    int code = EXIT_DONE;
    while (left > 0 && !output_broken() && !call_stopping(call)) {
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
        int printed = event_printer_print(&p, e);
        if (printed) {
            code = printed;
            break;
        }
        left--;
    }
    event_printer_release(&p);
    return code;
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
