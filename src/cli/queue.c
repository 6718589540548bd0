/* beck queue: making, showing, steering and removing queues. */
#include "cli/commands.h"
#include "cli/binding.h"
#include "cli/names.h"
#include "cli/queue_options.h"
#include "cli/queue_waiting.h"
#include "api/handle.h"
#include "event/value.h"
#include "event/pattern.h"
#include <stdio.h>

/* A failure about the queue that the first argument names. */
static int fail(const struct call *call, beck_status status, const beck_error *err)
{
    return call_fail_queue(call, call->arguments[0], status, err);
}

/* ---- list ---- */

static void list_json(const struct call *call, const beck_queue_info *info)
{
    struct json_line j;
    json_line_begin(&j);
    json_line_text(&j, "name", beck_str(info->name));
    json_line_number(&j, "ready", info->ready);
    json_line_number(&j, "in_flight", info->in_flight);
    json_line_number(&j, "delayed", info->delayed);
    json_line_number(&j, "dead", info->dead);
    json_line_bool(&j, "paused", info->paused);
    if (info->damaged) {
        json_line_bool(&j, "damaged", true);
    }
    json_line_number(&j, "bindings", info->bindings);
    json_line_print(&j, call);
}

static void list_row(struct table *t, const beck_queue_info *info)
{
    table_text(t, info->name);
    table_number(t, info->ready);
    table_number(t, info->in_flight);
    table_number(t, info->delayed);
    table_number(t, info->dead);
    table_text(t, info->damaged    ? "damaged"
                  : info->paused   ? "paused"
                  : info->bindings ? "open"
                                   : "unbound");
}

static int list_names(const struct call *call, const struct names *names)
{
    static const char *const headings[] = {"QUEUE", ">READY", ">IN FLIGHT", ">DELAYED",
                                           ">DEAD", "STATE",  NULL};
    struct table t;
    beck_error err;
    beck_status status = BECK_OK;
    table_init(&t, headings);
    for (const char *name = names_next(names, NULL); name && !status;
         name = names_next(names, name)) {
        beck_queue_info info;
        status = beck_queue_info_get(call->handle, name, &info, &err);
        if (!status && call->json) {
            list_json(call, &info);
        } else if (!status) {
            list_row(&t, &info);
        }
    }
    if (!status && !call->json && names->count > 0) {
        return table_print(&t, call);
    }
    buf_release(&t.cells);
    if (!status && !call->json) {
        call_say(call, "no queue in '%s' yet: beck queue create or beck on --queue makes one",
                 call->data_dir);
    }
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

static int list_run(struct call *call)
{
    struct names names;
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    names_init(&names);
    beck_status status = beck_queue_list(call->handle, names_add, &names, &err);
    code = status ? call_fail(call, status, &err) : list_names(call, &names);
    names_release(&names);
    return code;
}

/* ---- show ---- */

static int binding_json(void *ctx, const beck_binding *binding)
{
    struct json_line *j = ctx;
    json_line_object_begin(j, NULL);
    json_line_text(j, "bus", beck_str(binding->bus));
    json_line_text(j, "pattern", beck_str(binding->pattern ? binding->pattern : "#"));
    json_line_object_end(j);
    return 0;
}

static int show_json(const struct call *call, const beck_queue_info *info)
{
    struct json_line j;
    beck_error err;
    json_line_begin(&j);
    json_line_text(&j, "name", beck_str(info->name));
    json_line_number(&j, "ready", info->ready);
    json_line_number(&j, "in_flight", info->in_flight);
    json_line_number(&j, "delayed", info->delayed);
    json_line_number(&j, "dead", info->dead);
    json_line_number(&j, "consumers", info->consumers);
    json_line_bool(&j, "paused", info->paused);
    if (info->damaged) {
        json_line_bool(&j, "damaged", true);
    }
    json_line_moment(&j, "oldest", info->oldest_ms);
    json_line_moment(&j, "next_due", info->next_due_ms);
    queue_options_json(&j, &info->options);
    json_line_array_begin(&j, "bindings");
    beck_status status =
        beck_queue_bindings(call->handle, call->arguments[0], binding_json, &j, &err);
    json_line_array_end(&j);
    if (status) {
        buf_release(&j.text);
        return fail(call, status, &err);
    }
    return json_line_print(&j, call);
}

static int binding_print(void *ctx, const beck_binding *binding)
{
    print_field(ctx, "bound to", "%s of bus %s", binding->pattern ? binding->pattern : "#",
                binding->bus);
    return 0;
}

static int show_human(const struct call *call, const beck_queue_info *info)
{
    const struct {
        const char *name;
        int64_t count;
    } counts[] = {{"ready", info->ready},
                  {"in flight", info->in_flight},
                  {"delayed", info->delayed},
                  {"dead", info->dead}};
    beck_error err;
    print_field(call, "queue", "%s%s", info->name, info->paused ? " (paused)" : "");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        char text[VALUE_TEXT_MAX];
        value_number_text(counts[i].count, text);
        print_field(call, counts[i].name, "%s", text);
    }
    if (info->oldest_ms >= 0) {
        char text[VALUE_TEXT_MAX];
        value_time_text(info->oldest_ms * 1000000, call->now_ns, text);
        print_field(call, "oldest ready", "%s", text);
    }
    if (info->next_due_ms >= 0) {
        char text[VALUE_TEXT_MAX];
        value_time_text(info->next_due_ms * 1000000, call->now_ns, text);
        print_field(call, "next due", "%s", text);
    }
    queue_options_print(call, &info->options);
    beck_status status = beck_queue_bindings(call->handle, call->arguments[0], binding_print,
                                             (void *)(uintptr_t)call, &err);
    return status ? fail(call, status, &err) : EXIT_DONE;
}

/* Opens the handle, and the queue that the command is about has to be there. */
static int open_queue(struct call *call, beck_queue_info *info)
{
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_queue_info_get(call->handle, call->arguments[0], info, &err);
    return status ? fail(call, status, &err) : EXIT_DONE;
}

static int show_run(struct call *call)
{
    beck_queue_info info;
    int code = open_queue(call, &info);
    if (code) {
        return code;
    }
    return call->json ? show_json(call, &info) : show_human(call, &info);
}

/* ---- create, bind, unbind, delete ---- */

#define BIND_OPTIONS                                                                               \
    {.name = "bus",                                                                                \
     .letter = 'b',                                                                                \
     .kind = OPTION_TEXT,                                                                          \
     .value = "BUS",                                                                               \
     .preset = "events",                                                                           \
     .help = "the bus that feeds the queue; made when missing"},                                   \
    {                                                                                              \
        .name = "from", .kind = OPTION_FROM, .preset = "now",                                      \
        .help = "first event: an earlier one queues history"                                       \
    }

static const struct option create_options[] = {BIND_OPTIONS, QUEUE_OPTIONS, {0}};
static const struct option bind_options[] = {BIND_OPTIONS, {0}};

static int check_patterns(const struct call *call)
{
    for (uint32_t i = 1; i < call->argument_count; i++) {
        beck_error err;
        if (pattern_check(beck_str(call->arguments[i]), &err)) {
            return call_usage(call, "%s", err.text);
        }
    }
    return EXIT_DONE;
}

/* A bus that is only made for an offset that it does not have would be left behind. */
static int check_bus(const struct call *call, const beck_binding *binding)
{
    beck_bus *bus;
    if (binding->from.kind == BECK_FROM_OFFSET && binding->from.offset > 0 &&
        beck_bus_get(call->handle, binding->bus, &bus, NULL) == BECK_ENOENT) {
        return call_error(
            call, exit_of(BECK_ERANGE),
            "there is no bus '%s' yet, and so no offset %lld in it: see beck bus list",
            binding->bus, (long long)binding->from.offset);
    }
    return EXIT_DONE;
}

static int bind_one(const struct call *call, const beck_binding *binding)
{
    beck_error err;
    beck_status status = binding_make(call, call->arguments[0], binding, &err);
    return status ? fail(call, status, &err) : EXIT_DONE;
}

static int bind_patterns(const struct call *call)
{
    beck_binding binding = {.bus = option_text(call, "bus"), .from = option_from(call, "from")};
    beck_bus *bus;
    int code = check_bus(call, &binding);
    code = code ? code : call_bus(call, binding.bus, true, &bus);
    if (!code && call->argument_count == 1) {
        code = bind_one(call, &binding);
    }
    for (uint32_t i = 1; i < call->argument_count && !code; i++) {
        binding.pattern = call->arguments[i];
        code = bind_one(call, &binding);
    }
    return code;
}

static int create_run(struct call *call)
{
    beck_queue_options o = {0};
    beck_queue_info info;
    beck_error err;
    bool any, made;
    bool bound =
        call->argument_count > 1 || option_given(call, "bus") || option_given(call, "from");
    int code = queue_options_read(call, &o, &any);
    code = code ? code : check_patterns(call);
    code = code ? code : call_open(call, CALL_CREATE);
    if (code) {
        return code;
    }
    beck_status status = handle_make_queue(call->handle, call->arguments[0], &o, &made, &err);
    if (status) {
        return call_fail(call, status, &err);
    }
    code = bound ? bind_patterns(call) : EXIT_DONE;
    if (code && made) {
        (void)beck_queue_delete(call->handle, call->arguments[0], NULL);
    }
    if (code) {
        return code;
    }
    if (call->json) {
        status = beck_queue_info_get(call->handle, call->arguments[0], &info, &err);
        return status ? fail(call, status, &err) : show_json(call, &info);
    }
    call_say(call, "queue '%s' is there%s", call->arguments[0],
             bound ? "" : "; beck queue bind feeds it");
    return EXIT_DONE;
}

/* In JSON, what was done: to the queue, or with a bus to its patterns. */
static int print_done(const struct call *call, const char *done, bool value, const char *bus)
{
    struct json_line j;
    json_line_begin(&j);
    json_line_text(&j, "queue", beck_str(call->arguments[0]));
    if (!bus) {
        json_line_bool(&j, done, value);
        return json_line_print(&j, call);
    }
    json_line_text(&j, "bus", beck_str(bus));
    json_line_array_begin(&j, done);
    for (uint32_t i = 1; i < call->argument_count; i++) {
        json_line_text(&j, NULL, beck_str(call->arguments[i]));
    }
    json_line_array_end(&j);
    return json_line_print(&j, call);
}

static int alter_run(struct call *call)
{
    beck_queue_info info;
    beck_error err;
    int code = open_queue(call, &info);
    if (!code) {
        code = queue_options_change(call, &info.options);
    }
    if (code) {
        return code;
    }
    beck_status status = beck_queue_alter(call->handle, call->arguments[0], &info.options, &err);
    if (!status && call->json) {
        status = beck_queue_info_get(call->handle, call->arguments[0], &info, &err);
    }
    if (status) {
        return fail(call, status, &err);
    }
    if (call->json) {
        return show_json(call, &info);
    }
    call_say(call, "queue '%s' has these options now: beck queue show %s", call->arguments[0],
             call->arguments[0]);
    return EXIT_DONE;
}

static int bind_run(struct call *call)
{
    int code = check_patterns(call);
    code = code ? code : call_open(call, CALL_EXISTING);
    code = code ? code : bind_patterns(call);
    if (code) {
        return code;
    }
    if (call->json) {
        return print_done(call, "bound", true, option_text(call, "bus"));
    }
    call_say(call, "queue '%s' is fed from bus '%s'", call->arguments[0], option_text(call, "bus"));
    return EXIT_DONE;
}

static int unbind_run(struct call *call)
{
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    for (uint32_t i = 1; i < call->argument_count; i++) {
        beck_status status = beck_queue_unbind(call->handle, call->arguments[0],
                                               option_text(call, "bus"), call->arguments[i], &err);
        if (status) {
            return fail(call, status, &err);
        }
    }
    if (call->json) {
        return print_done(call, "unbound", true, option_text(call, "bus"));
    }
    call_say(call, "queue '%s' gets no more of that; what it holds stays", call->arguments[0]);
    return EXIT_DONE;
}

static int delete_run(struct call *call)
{
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_queue_delete(call->handle, call->arguments[0], &err);
    if (status) {
        return fail(call, status, &err);
    }
    if (call->json) {
        return print_done(call, "deleted", true, NULL);
    }
    call_say(call, "queue '%s' is deleted", call->arguments[0]);
    return EXIT_DONE;
}

/* ---- purge, pause, rewind ---- */

static int purge_run(struct call *call)
{
    int64_t purged = 0;
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_queue_purge(call->handle, call->arguments[0], &purged, &err);
    if (status) {
        return fail(call, status, &err);
    }
    if (call->json) {
        struct json_line j;
        json_line_begin(&j);
        json_line_text(&j, "queue", beck_str(call->arguments[0]));
        json_line_number(&j, "purged", purged);
        return json_line_print(&j, call);
    }
    call_say(call, "%lld events of queue '%s' are dropped", (long long)purged, call->arguments[0]);
    return EXIT_DONE;
}

static int set_paused(struct call *call, bool paused)
{
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_queue_pause(call->handle, call->arguments[0], paused, &err);
    if (status) {
        return fail(call, status, &err);
    }
    if (call->json) {
        return print_done(call, "paused", paused, NULL);
    }
    call_say(call, "queue '%s' is %s", call->arguments[0],
             paused ? "paused: it fills, and nothing is delivered" : "open again");
    return EXIT_DONE;
}

static int pause_run(struct call *call)
{
    return set_paused(call, true);
}

static int resume_run(struct call *call)
{
    return set_paused(call, false);
}

static int rewind_run(struct call *call)
{
    beck_from from;
    beck_error err;
    if (!value_from(call->arguments[1], call->now_ns, &from)) {
        return call_usage(call, "'%s' is no position: give now, earliest, an offset or a time",
                          call->arguments[1]);
    }
    int code = call_open(call, CALL_EXISTING);
    if (code) {
        return code;
    }
    beck_status status = beck_queue_rewind(call->handle, call->arguments[0], &from, &err);
    if (status) {
        return fail(call, status, &err);
    }
    beck_queue_info info;
    status = beck_queue_info_get(call->handle, call->arguments[0], &info, &err);
    if (status) {
        return fail(call, status, &err);
    }
    if (call->json) {
        list_json(call, &info);
    }
    call_say(call, "queue '%s' begins at %s: %lld ready", call->arguments[0], call->arguments[1],
             (long long)info.ready);
    return EXIT_DONE;
}

static const struct option unbind_options[] = {{.name = "bus",
                                                .letter = 'b',
                                                .kind = OPTION_TEXT,
                                                .value = "BUS",
                                                .preset = "events",
                                                .help = "the bus of the binding"},
                                               {0}};

static const struct command list = {.name = "list",
                                    .help = "all queues with their counts",
                                    .examples = "beck queue list --json | jq 'select(.dead > 0)'",
                                    .run = list_run};
static const struct command show = {.name = "show",
                                    .arguments = "QUEUE",
                                    .arguments_min = 1,
                                    .arguments_max = 1,
                                    .help = "counts, options and bindings of a queue",
                                    .examples = "beck queue show billing",
                                    .run = show_run};
static const struct command create = {
    .name = "create",
    .arguments = "QUEUE [PATTERN...]",
    .arguments_min = 1,
    .arguments_max = 64,
    .help = "make a queue, and feed it with types that match",
    .about =
        "Does nothing when the queue exists with the same options; with others it is an error:\n"
        "beck queue alter changes them. With --bus or --from and no PATTERN it gets all types.",
    .examples = "beck queue create billing 'order.*' 'invoice.#' --from earliest\n"
                "beck queue create mail mail.due --attempts 5 --backoff list:1m,10m,1h",
    .options = create_options,
    .run = create_run};
static const struct command alter = {
    .name = "alter",
    .arguments = "QUEUE",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "change options of a queue",
    .about =
        "What is not named stays, and so do events, position and dead letters. Priorities cannot\n"
        "be changed. A deadline is that of deliveries from now on, also in a beck on that runs.",
    .examples = "beck queue alter billing --attempts 20 --backoff exponential:1s..10m\n"
                "beck queue alter billing --length-max 0",
    .options = queue_alter_options,
    .run = alter_run};
static const struct command delete = {.name = "delete",
                                      .arguments = "QUEUE",
                                      .arguments_min = 1,
                                      .arguments_max = 1,
                                      .help = "delete a queue with its dead letters",
                                      .about = "The events stay in their bus.",
                                      .examples = "beck queue delete billing",
                                      .run = delete_run};
static const struct command purge = {.name = "purge",
                                     .arguments = "QUEUE",
                                     .arguments_min = 1,
                                     .arguments_max = 1,
                                     .help = "drop everything ready and delayed",
                                     .examples = "beck queue purge billing",
                                     .run = purge_run};
static const struct command bind = {.name = "bind",
                                    .arguments = "QUEUE PATTERN...",
                                    .arguments_min = 2,
                                    .arguments_max = 64,
                                    .help = "feed a queue with more types, or from another bus",
                                    .examples = "beck queue bind billing 'refund.*' --bus shop",
                                    .options = bind_options,
                                    .run = bind_run};
static const struct command unbind = {.name = "unbind",
                                      .arguments = "QUEUE PATTERN...",
                                      .arguments_min = 2,
                                      .arguments_max = 64,
                                      .help = "stop feeding a queue with a pattern",
                                      .examples = "beck queue unbind billing 'refund.*' --bus shop",
                                      .options = unbind_options,
                                      .run = unbind_run};
static const struct command pause_command = {.name = "pause",
                                             .arguments = "QUEUE",
                                             .arguments_min = 1,
                                             .arguments_max = 1,
                                             .help = "deliver nothing until resumed",
                                             .examples = "beck queue pause billing",
                                             .run = pause_run};
static const struct command resume = {.name = "resume",
                                      .arguments = "QUEUE",
                                      .arguments_min = 1,
                                      .arguments_max = 1,
                                      .help = "deliver again",
                                      .examples = "beck queue resume billing",
                                      .run = resume_run};
static const struct command rewind_command = {
    .name = "rewind",
    .arguments = "QUEUE FROM",
    .arguments_min = 2,
    .arguments_max = 2,
    .help = "queue again what the bindings give from a position on",
    .about = "FROM is now, earliest, an offset, or a time. What the queue holds is forgotten;\n"
             "dead letters stay.",
    .examples = "beck queue rewind billing earliest\nbeck queue rewind billing 14:30",
    .run = rewind_run};

static const struct command *const children[] = {&list,
                                                 &show,
                                                 &create,
                                                 &alter,
                                                 &bind,
                                                 &unbind,
                                                 &command_queue_peek,
                                                 &command_queue_delayed,
                                                 &command_queue_in_flight,
                                                 &pause_command,
                                                 &resume,
                                                 &rewind_command,
                                                 &purge,
                                                 &delete,
                                                 NULL};

const struct command command_queue = {
    .name = "queue",
    .help = "list, show, create, alter, bind, peek, pause, rewind, purge and delete queues",
    .children = children};
