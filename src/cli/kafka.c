/* beck export kafka, beck import kafka: buses as the directories of a Kafka broker, and back. */
#include "cli/commands.h"
#include "cli/print.h"
#include "event/value.h"
#include <stdio.h>
#include <sys/stat.h>

static int print_done(const struct call *call, const char *bus, const beck_kafka_files *files,
                      const char *what)
{
    char size[VALUE_TEXT_MAX];
    if (call->json) {
        struct json_line j;
        json_line_begin(&j);
        json_line_text(&j, "bus", beck_str(bus));
        json_line_number(&j, "partitions", (int64_t)files->partitions);
        json_line_number(&j, "batches", (int64_t)files->batches);
        json_line_number(&j, "bytes", (int64_t)files->bytes);
        return json_line_print(&j, call);
    }
    value_size_text((int64_t)files->bytes, size);
    call_say(call, "bus '%s' %s: partitions %llu, batches %llu, %s", bus, what,
             (unsigned long long)files->partitions, (unsigned long long)files->batches, size);
    return EXIT_DONE;
}

/* ---- export ---- */

/* The files themselves are read, also while a server owns them. */
static int open_files(struct call *call)
{
    struct stat st;
    beck_error err;
    if (stat(call->data_dir, &st) != 0) {
        return call_error(call, EXIT_NOT_FOUND, "no data directory '%s': name it with --data",
                          call->data_dir);
    }
    beck_options options = {.data_dir = call->data_dir, .read_only = true};
    beck_status status = beck_open(&call->handle, &options, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

static int export_run(struct call *call)
{
    int code = open_files(call);
    const char *directory = call->arguments[0];
    for (uint32_t i = 1; i < call->argument_count && !code; i++) {
        const char *bus = call->arguments[i];
        beck_kafka_files files;
        beck_error err;
        beck_status status = beck_kafka_export(call->handle, bus, directory, &files, &err);
        code = status ? call_fail(call, status, &err) : print_done(call, bus, &files, "exported");
    }
    return code;
}

static const struct command export_kafka = {
    .name = "kafka",
    .arguments = "DIRECTORY BUS...",
    .arguments_min = 2,
    .arguments_max = 1000,
    .help = "write buses as partition directories that a Kafka broker serves",
    .about =
        "Makes DIRECTORY/<bus>-<n>/ with segments of Kafka's format; offsets, keys, headers and\n"
        "timestamps are those of the events. Works while a server owns the data directory: what\n"
        "was written when the command began is exported, up to the first transaction that is\n"
        "open. How a broker takes the directories over is in docs/kafka.md.",
    .examples = "beck export kafka /backup/kafka orders payments",
    .run = export_run,
};

static const struct command *const exports[] = {&export_kafka, NULL};

const struct command command_export = {
    .name = "export", .help = "write buses for other systems", .children = exports};

/* ---- import ---- */

static int import_run(struct call *call)
{
    const char *directory = call->arguments[0], *topic = call->arguments[1];
    const char *bus = option_text(call, "bus");
    beck_kafka_files files;
    beck_error err;
    int code = call_open(call, CALL_CREATE);
    if (code) {
        return code;
    }
    bus = bus ? bus : topic;
    beck_status status = beck_kafka_import(call->handle, directory, topic, bus, NULL, &files, &err);
    return status ? call_fail(call, status, &err) : print_done(call, bus, &files, "imported");
}

static const struct option import_options[] = {
    {.name = "bus", .kind = OPTION_TEXT, .value = "NAME", .help = "the bus to make; else as TOPIC"},
    {0}};

static const struct command import_kafka = {
    .name = "kafka",
    .arguments = "DIRECTORY TOPIC",
    .arguments_min = 2,
    .arguments_max = 2,
    .help = "make a bus from the partition directories of a Kafka broker",
    .about =
        "DIRECTORY is a log directory (log.dirs) of a broker that was stopped, or a copy of it:\n"
        "DIRECTORY/<topic>-0, <topic>-1 ... are read. Offsets, keys, headers and timestamps stay\n"
        "as they are; a transaction that is open is aborted. All of it, or nothing, is imported.",
    .examples = "beck import kafka /var/lib/kafka/data orders\n"
                "beck import kafka /var/lib/kafka/data orders --bus shop.orders",
    .options = import_options,
    .run = import_run,
};

static const struct command *const imports[] = {&import_kafka, NULL};

const struct command command_import = {
    .name = "import", .help = "make buses from the files of other systems", .children = imports};
