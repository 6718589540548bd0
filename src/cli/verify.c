/* beck verify: reads every byte of a data directory and explains what is wrong. */
#include "cli/commands.h"
#include "cli/print.h"
#include "event/value.h"
#include <stdio.h>
#include <sys/stat.h>

static void print_fault(void *ctx, const beck_error *fault)
{
    const struct call *call = ctx;
    if (!call->json) {
        bool red = call->color_out && fault->code != BECK_OK;
        printf("%s%s%s%s\n", red ? "\033[31m" : "", fault->code ? "" : "remark: ", fault->text,
               red ? "\033[0m" : "");
        return;
    }
    struct json_line j;
    json_line_begin(&j);
    if (fault->code)
        json_line_text(&j, "fault", beck_str(beck_status_name(fault->code)));
    else
        json_line_text(&j, "remark", beck_str("BECK_OK"));
    json_line_text(&j, "text", beck_str(fault->text));
    json_line_print(&j, call);
}

static void print_summary(const struct call *call, const beck_verify_info *info)
{
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {{"partitions", info->partitions}, {"segments", info->segments},
                  {"batches", info->batches},       {"records", info->records},
                  {"bytes", info->bytes},           {"queues", info->queues},
                  {"faults", info->faults}};
    size_t count = sizeof counts / sizeof *counts;
    if (call->json) {
        struct json_line j;
        json_line_begin(&j);
        for (size_t i = 0; i < count; i++) {
            json_line_number(&j, counts[i].name, (int64_t)counts[i].count);
        }
        json_line_print(&j, call);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char text[VALUE_TEXT_MAX];
        value_number_text((int64_t)counts[i].count, text);
        print_field(call, counts[i].name, "%s", text);
    }
    puts(info->faults ? "damaged" : "clean");
}

static int verify_run(struct call *call)
{
    struct stat st;
    if (stat(call->data_dir, &st) != 0) {
        return call_error(call, EXIT_NOT_FOUND, "no data directory '%s': name it with --data",
                          call->data_dir);
    }
    beck_verify_info info = {0};
    beck_error err;
    beck_status status = option_flag(call, "repair")
                             ? beck_repair(call->data_dir, print_fault, call, &info, &err)
                             : beck_verify(call->data_dir, print_fault, call, &info, &err);
    if (status && status != BECK_ECORRUPT) {
        return call_fail(call, status, &err);
    }
    print_summary(call, &info);
    return exit_of(status);
}

static const struct option verify_options[] = {
    {.name = "repair", .kind = OPTION_FLAG, .help = "give up what cannot be read, and say what"},
    {0}};

const struct command command_verify = {
    .name = "verify",
    .help = "check every byte of a data directory",
    .about =
        "Changes nothing without --repair. Each fault is printed with its file, its position and "
        "what to do;\n"
        "the exit code is then 5. No other process may have the data directory open.\n"
        "--repair gives up events that are damaged or missing, so that the rest can be used, and\n"
        "says which; offsets stay. Damaged bytes are kept first, in files .log.damaged-* beside "
        "the\n"
        "log, which nothing reads. Restoring files from a backup loses less.",
    .examples = "beck verify --data /var/lib/beck\nbeck verify --repair --data /var/lib/beck",
    .options = verify_options,
    .run = verify_run,
};
