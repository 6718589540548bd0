/* beck on: runs a program for every event of a queue. */
#include "cli/commands.h"
#include "cli/binding.h"
#include "cli/crew_watch.h"
#include "cli/names.h"
#include "cli/queue_options.h"
#include "api/handle.h"
#include "base/rng.h"
#include "event/pattern.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define TEMPORARY_DIGITS 16 /* of on-<hash>: when it was made, in seconds, and 8 at random */
#define TEMPORARY_NEW_S 60  /* so old without a consumer, it was left behind */

static const char *const failures[] = {"retry", "reject", NULL};

static const struct option options[] = {
    {.name = "bus",
     .letter = 'b',
     .kind = OPTION_TEXT,
     .value = "BUS",
     .preset = "events",
     .help = "the bus to listen to"},
    {.name = "queue",
     .letter = 'Q',
     .kind = OPTION_TEXT,
     .value = "QUEUE",
     .help = "a lasting queue, made when missing; else one for this run"},
    {.name = "from",
     .kind = OPTION_FROM,
     .help = "first event when the pattern is new to the queue, else earliest"},
    {.name = "workers",
     .letter = 'w',
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = CREW_MAX,
     .preset = "1",
     .help = "programs at once"},
    {.name = "persistent",
     .kind = OPTION_FLAG,
     .help = "one long-lived program per worker: a line in, an answer out"},
    {.name = "retry-exit",
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = 255,
     .preset = "75",
     .help = "exit status that always means: try again"},
    {.name = "on-failure",
     .kind = OPTION_CHOICE,
     .choices = failures,
     .preset = "retry",
     .help = "what any other failure means"},
    {.name = "exit-when-idle",
     .kind = OPTION_FLAG,
     .help = "end once nothing is ready, in flight or delayed"},
    {.name = "max",
     .letter = 'n',
     .kind = OPTION_NUMBER,
     .min = 1,
     .help = "end after this many deliveries"},
    QUEUE_OPTIONS,
    {0}};

struct on {
    struct call *call;
    const char *queue;
    bool temporary;
    bool made;     /* by this run: it was not there before */
    char name[32]; /* of a temporary queue */
};

/* ---- the queue ---- */

static bool is_temporary(const char *name)
{
    return strncmp(name, "on-", 3) == 0 && strlen(name) == 3 + TEMPORARY_DIGITS &&
           strspn(name + 3, "0123456789abcdef") == TEMPORARY_DIGITS;
}

/* Whether a process left it behind when it was killed. Who holds the lock is alone; others of a server
 * may be using theirs. */
static bool is_left_behind(const struct on *on, const char *name)
{
    beck_queue_info info;
    if (!is_temporary(name)) {
        return false;
    }
    if (!beck_is_connected(on->call->handle)) {
        return true;
    }
    char digits[9] = "";
    memcpy(digits, name + 3, 8);
    int64_t made_s = (int64_t)strtoul(digits, NULL, 16);
    return made_s + TEMPORARY_NEW_S < on->call->now_ns / 1000000000 &&
           beck_queue_info_get(on->call->handle, name, &info, NULL) == BECK_OK &&
           info.consumers == 0;
}

static void delete_left_behind(const struct on *on)
{
    struct names names;
    names_init(&names);
    (void)beck_queue_list(on->call->handle, names_add, &names, NULL);
    for (const char *name = names_next(&names, NULL); name; name = names_next(&names, name)) {
        if (is_left_behind(on, name)) {
            (void)beck_queue_delete(on->call->handle, name, NULL);
        }
    }
    names_release(&names);
}

/* Makes the queue, or takes the one that is there: with the options given laid over its own, so
 * that other ones are refused. */
static int ensure_queue(struct on *on)
{
    beck_queue_info info;
    beck_queue_options o = {0};
    beck_error err;
    bool any;
    int code;
    beck_status status = beck_queue_info_get(on->call->handle, on->queue, &info, &err);
    if (!status) {
        o = info.options;
        code = queue_options_read(on->call, &o, &any);
        if (code || !any) {
            return code;
        }
    } else if (status == BECK_ENOENT) {
        if (on->call->argument_count == 0) {
            return call_error(on->call, EXIT_NOT_FOUND,
                              "no queue '%s': give a PATTERN to make it, or see beck queue list",
                              on->queue);
        }
        code = queue_options_read(on->call, &o, &any);
        if (code) {
            return code;
        }
        status = BECK_OK;
    }
    status = status ? status : handle_make_queue(on->call->handle, on->queue, &o, &on->made, &err);
    return status ? call_fail(on->call, status, &err) : EXIT_DONE;
}

static int bind_queue(const struct on *on)
{
    if (on->call->argument_count == 0) {
        return EXIT_DONE;
    }
    beck_error err;
    beck_binding binding = {.bus = option_text(on->call, "bus"),
                            .pattern = on->call->arguments[0],
                            .from.kind = BECK_FROM_EARLIEST};
    if (option_given(on->call, "from")) {
        binding.from = option_from(on->call, "from");
    }
    beck_status status = binding_make(on->call, on->queue, &binding, &err);
    return status ? call_fail(on->call, status, &err) : EXIT_DONE;
}

static int prepare(struct on *on)
{
    beck_bus *bus;
    int code = EXIT_DONE;
    if (on->call->argument_count) {
        code = call_bus(on->call, option_text(on->call, "bus"), false, &bus);
    }
    if (!code && on->temporary) {
        struct rng rng;
        rng_seed_system(&rng);
        snprintf(on->name, sizeof on->name, "on-%08x%08x",
                 (uint32_t)(on->call->now_ns / 1000000000), (uint32_t)rng_next(&rng));
        on->queue = on->name;
        delete_left_behind(on);
    }
    code = code ? code : ensure_queue(on);
    code = code ? code : bind_queue(on);
    if (code && on->made) {
        (void)beck_queue_delete(on->call->handle, on->queue, NULL);
    }
    return code;
}

/* ---- running ---- */

static void summarize(const struct on *on, const struct crew_counts *c)
{
    if (on->call->json) {
        fprintf(stderr,
                "{\"queue\":\"%s\",\"handled\":%lld,\"retried\":%lld,\"rejected\":%lld,"
                "\"dead\":%lld}\n",
                on->queue, (long long)c->handled, (long long)c->retried, (long long)c->rejected,
                (long long)c->dead);
    } else {
        call_say(on->call, "handled %lld, retried %lld, rejected %lld, dead %lld",
                 (long long)c->handled, (long long)c->retried, (long long)c->rejected,
                 (long long)c->dead);
    }
    if (on->temporary && c->waiting > 0) {
        call_say(on->call,
                 "events that failed and were to be tried again are gone with the temporary queue: "
                 "--queue keeps them");
    }
    if (c->rejected + c->dead == 0 || on->call->quiet) {
        return;
    }
    if (on->temporary) {
        call_say(on->call,
                 "the dead letters are gone with the temporary queue: --queue keeps them");
    } else {
        call_say(on->call, "see: beck dead list %s", on->queue);
    }
}

static int work(struct on *on)
{
    struct call *call = on->call;
    struct crew_options o = {
        .queue = on->queue,
        .workers = (uint32_t)option_number(call, "workers", 1),
        .events_max = option_number(call, "max", -1),
        .handler = {.program = call->program,
                    .persistent = option_flag(call, "persistent"),
                    .retry_exit = (int)option_number(call, "retry-exit", 75),
                    .failure = option_choice(call, "on-failure") == 1 ? BECK_REJECT : BECK_RETRY}};
    struct crew_counts counts = {0};
    bool exit_when_idle = option_flag(call, "exit-when-idle");
    /* Opening may have cut an unfinished write, which costs no event. */
    atomic_store(&call->damaged, false);
    int code = crew_watch(call, &o, exit_when_idle, &counts);
    if (on->temporary) {
        (void)beck_queue_delete(call->handle, on->queue, NULL);
    }
    summarize(on, &counts);
    if (code || atomic_load(&call->damaged)) {
        return code ? code : EXIT_CORRUPT;
    }
    bool bounded = exit_when_idle || o.events_max >= 0;
    if (call_stopping(call) && bounded) {
        return EXIT_INTERRUPTED;
    }
    bool lost = on->temporary && counts.waiting > 0;
    return lost || counts.rejected + counts.dead ? EXIT_FAILED : EXIT_DONE;
}

static int check(const struct on *on)
{
    const struct call *call = on->call;
    beck_error err;
    if (!call->program) {
        return call_usage(call, "no program to run: give it behind --, as in -- ./handle.sh");
    }
    if (call->argument_count == 0 && on->temporary) {
        return call_usage(call, "an argument is missing: give PATTERN, or --queue with one that "
                                "is bound already");
    }
    if (call->argument_count && pattern_check(beck_str(call->arguments[0]), &err)) {
        return call_usage(call, "%s", err.text);
    }
    beck_status status = handler_check(call->program, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

static int on_run(struct call *call)
{
    struct on on = {.call = call, .queue = option_text(call, "queue")};
    on.temporary = on.queue == NULL;
    int code = check(&on);
    code = code ? code : call_open(call, CALL_EXISTING);
    code = code ? code : prepare(&on);
    return code ? code : work(&on);
}

const struct command command_on = {
    .name = "on",
    .arguments = "[PATTERN]",
    .arguments_max = 1,
    .program = true,
    .orderly = true,
    .help = "run a program for every event that matches",
    .about =
        "The program gets the event as JSON on standard input and its attributes in the\n"
        "environment: CE_TYPE, CE_ID, CE_SUBJECT, CE_SOURCE, CE_TIME, CE_BUS, CE_<EXTENSION>,\n"
        "BECK_QUEUE, BECK_ATTEMPT, BECK_POSITION. An extension named as one of the others is only\n"
        "in the JSON. Exit status 0 settles the event, 75 has it tried again, any other does what\n"
        "--on-failure says. The last lines of its standard error are kept with the event as the\n"
        "reason. At the queue's deadline the program and its children get SIGTERM, then SIGKILL.\n"
        "\n"
        "--persistent starts one program per worker: it reads an event (JSON) a line and\n"
        "answers each with a line: ok, retry WHY, reject WHY, or\n"
        "{\"verdict\":\"settle|retry|reject\",\"why\":\"...\"}. With the event's id in it, ok ID\n"
        "or \"event_id\":\"...\", an answer is never taken for that of another event.\n"
        "\n"
        "Events are dead letters after --attempts deliveries: see beck dead. Without --queue the\n"
        "queue is named on-<hash> and deleted at the end. PATTERN may be left out with a --queue\n"
        "that is bound already. A signal lets running programs finish; a second one kills them.",
    .examples = "# whatever happened so far, once\n"
                "beck on '#' --exit-when-idle -- cat\n"
                "# a lasting queue, four at a time, with five attempts\n"
                "beck on 'order.*' --queue billing --workers 4 --attempts 5 \\\n"
                "    --backoff exponential:1s..1m --deadline 10s -- ./bill.sh\n"
                "beck on order.created --queue fast --persistent -- python3 handle.py",
    .options = options,
    .run = on_run,
};
