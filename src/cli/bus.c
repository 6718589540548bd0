/* beck bus: making, showing and removing buses. */
#include "bus/bus.h"
#include "bus/own_bus.h"
#include "cli/commands.h"
#include "cli/print.h"
#include "event/value.h"
#include "event/time.h"
#include <stdio.h>

#define BUSES_MAX 10000

static const char *const storages[] = {"default", "memory", "disk", NULL};
static const char *const levels[] = {"default", "none", "written", "synced", NULL};
static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};

/* ---- list ---- */

struct buses {
    beck_bus *list[BUSES_MAX];
    size_t count;
    bool all;
};

static int collect(void *ctx, beck_bus *bus)
{
    struct buses *buses = ctx;
    if (buses->all || !own_bus_is_name(beck_bus_name(bus))) {
        buses->list[buses->count++] = bus;
    }
    return buses->count == BUSES_MAX;
}

static void list_json(const struct call *call, const beck_bus_info *info)
{
    struct json_line j;
    json_line_begin(&j);
    json_line_text(&j, "name", beck_str(info->name));
    json_line_text(&j, "storage", beck_str(storages[info->options.storage]));
    json_line_number(&j, "partitions", info->options.partitions);
    json_line_number(&j, "events", info->events);
    json_line_number(&j, "bytes", info->bytes);
    if (info->damaged > 0) {
        json_line_number(&j, "damaged", info->damaged);
    }
    json_line_print(&j, call);
}

static void list_row(struct table *t, const beck_bus_info *info)
{
    char size[VALUE_TEXT_MAX];
    value_size_text(info->bytes, size);
    table_text(t, info->name);
    table_number(t, info->options.partitions);
    table_number(t, info->events);
    table_text(t, info->damaged ? "damaged" : size);
}

static int list_run(struct call *call)
{
    static const char *const headings[] = {"BUS", ">PARTITIONS", ">EVENTS", ">SIZE", NULL};
    struct buses buses = {.all = option_flag(call, "all")};
    beck_error err;
    int code = call_open(call, CALL_INSPECT);
    if (code) {
        return code;
    }
    beck_status status = beck_bus_list(call->handle, collect, &buses, &err);
    struct table t;
    table_init(&t, headings);
    for (size_t i = 0; i < buses.count && !status; i++) {
        beck_bus_info info;
        status = beck_bus_info_get(buses.list[i], &info, &err);
        if (!status && call->json) {
            list_json(call, &info);
        } else if (!status) {
            list_row(&t, &info);
        }
    }
    if (call->json || status || buses.count == 0) {
        t.count = 0;
        buf_release(&t.cells);
        if (!status && !call->json) {
            call_say(call, "no bus in '%s' yet: beck emit makes one", call->data_dir);
        }
        return status ? call_fail(call, status, &err) : EXIT_DONE;
    }
    return table_print(&t, call);
}

/* ---- show ---- */

static void show_options_json(struct json_line *j, const beck_bus_options *o)
{
    json_line_object_begin(j, "options");
    json_line_text(j, "storage", beck_str(storages[o->storage]));
    json_line_number(j, "partitions", o->partitions);
    json_line_text(j, "level", beck_str(levels[o->level]));
    json_line_bool(j, "read_synced", o->read_synced);
    json_line_text(j, "codec", beck_str(codecs[o->codec]));
    json_line_number(j, "retention_ms", o->retention_ms);
    json_line_number(j, "retention_bytes", o->retention_bytes);
    json_line_bool(j, "compact", o->compact);
    json_line_number(j, "delete_retention_ms", o->delete_retention_ms);
    json_line_number(j, "segment_bytes", o->segment_bytes);
    json_line_number(j, "segment_ms", o->segment_ms);
    json_line_number(j, "dedup_window_ms", o->dedup_window_ms);
    json_line_number(j, "event_bytes_max", o->event_bytes_max);
    json_line_object_end(j);
}

static void show_partition_json(struct json_line *j, uint32_t number, const beck_partition_info *p)
{
    char time[TIME_TEXT_MAX];
    json_line_object_begin(j, NULL);
    json_line_number(j, "partition", number);
    json_line_number(j, "first_offset", p->first_offset);
    json_line_number(j, "next_offset", p->next_offset);
    json_line_number(j, "written_offset", p->written_offset);
    json_line_number(j, "synced_offset", p->synced_offset);
    json_line_number(j, "bytes", p->bytes);
    json_line_number(j, "segments", p->segments);
    if (p->damaged) {
        json_line_bool(j, "damaged", true);
    }
    if (p->oldest_ms >= 0) {
        time_format(p->oldest_ms * 1000000, time);
        json_line_text(j, "oldest", beck_str(time));
        time_format(p->newest_ms * 1000000, time);
        json_line_text(j, "newest", beck_str(time));
    }
    json_line_object_end(j);
}

static int show_json(const struct call *call, beck_bus *bus, const beck_bus_info *info)
{
    struct json_line j;
    beck_error err;
    json_line_begin(&j);
    json_line_text(&j, "name", beck_str(info->name));
    json_line_number(&j, "events", info->events);
    json_line_number(&j, "bytes", info->bytes);
    show_options_json(&j, &info->options);
    json_line_array_begin(&j, "partitions");
    beck_status status = BECK_OK;
    for (uint32_t i = 0; i < info->options.partitions && !status; i++) {
        beck_partition_info p;
        status = beck_partition_info_get(bus, i, &p, &err);
        if (!status) {
            show_partition_json(&j, i, &p);
        }
    }
    json_line_array_end(&j);
    if (status) {
        buf_release(&j.text);
        return call_fail(call, status, &err);
    }
    return json_line_print(&j, call);
}

static void show_limit(const struct call *call, const char *name, int64_t value, bool duration)
{
    char text[VALUE_TEXT_MAX] = "no limit";
    if (value > 0 && duration) {
        value_duration_text(value, text);
    } else if (value > 0) {
        value_size_text(value, text);
    }
    print_field(call, name, "%s", text);
}

static void show_human(const struct call *call, const beck_bus_info *info)
{
    const beck_bus_options *o = &info->options;
    char text[VALUE_TEXT_MAX];
    print_field(call, "bus", "%s", info->name);
    if (info->damaged > 0) {
        print_field(call, "damaged", "%u of %u partitions: beck verify says what to do",
                    info->damaged, o->partitions);
    }
    value_number_text(info->events, text);
    print_field(call, "events", "%s", text);
    value_size_text(info->bytes, text);
    print_field(call, "size", "%s", text);
    print_field(call, "storage", "%s", storages[o->storage]);
    print_field(call, "level", "%s", levels[o->level]);
    print_field(call, "readers see", "%s", o->read_synced ? "synced events" : "written events");
    print_field(call, "codec", "%s", codecs[o->codec]);
    show_limit(call, "retention", o->retention_ms, true);
    show_limit(call, "retention size", o->retention_bytes, false);
    print_field(call, "compact", "%s", o->compact ? "yes" : "no");
    if (o->compact) {
        show_limit(call, "delete retention", o->delete_retention_ms, true);
    }
    show_limit(call, "segment size", o->segment_bytes, false);
    show_limit(call, "segment time", o->segment_ms, true);
    if (o->dedup_window_ms > 0) {
        show_limit(call, "dedup window", o->dedup_window_ms, true);
    }
    show_limit(call, "event size max", o->event_bytes_max, false);
}

static int show_partitions(const struct call *call, beck_bus *bus, uint32_t count)
{
    static const char *const headings[] = {">PARTITION", ">FIRST", ">NEXT",  ">SYNCED", ">SEGMENTS",
                                           ">SIZE",      "OLDEST", "NEWEST", NULL};
    struct table t;
    beck_error err;
    beck_status status = BECK_OK;
    table_init(&t, headings);
    for (uint32_t i = 0; i < count && !status; i++) {
        beck_partition_info p;
        char size[VALUE_TEXT_MAX], oldest[VALUE_TEXT_MAX] = "-", newest[VALUE_TEXT_MAX] = "-";
        status = beck_partition_info_get(bus, i, &p, &err);
        if (status) {
            break;
        }
        value_size_text(p.bytes, size);
        if (p.oldest_ms >= 0) {
            value_time_text(p.oldest_ms * 1000000, call->now_ns, oldest);
            value_time_text(p.newest_ms * 1000000, call->now_ns, newest);
        }
        table_number(&t, i);
        table_number(&t, p.first_offset);
        table_number(&t, p.next_offset);
        table_number(&t, p.synced_offset);
        table_number(&t, p.segments);
        table_text(&t, p.damaged ? "damaged" : size);
        table_text(&t, oldest);
        table_text(&t, newest);
    }
    if (status) {
        buf_release(&t.cells);
        return call_fail(call, status, &err);
    }
    putchar('\n');
    return table_print(&t, call);
}

static int show_run(struct call *call)
{
    beck_bus *bus;
    beck_bus_info info;
    beck_error err;
    int code = call_open(call, CALL_INSPECT);
    code = code ? code : call_bus(call, call->arguments[0], false, &bus);
    if (code) {
        return code;
    }
    beck_status status = beck_bus_info_get(bus, &info, &err);
    if (status) {
        return call_fail(call, status, &err);
    }
    if (call->json) {
        return show_json(call, bus, &info);
    }
    show_human(call, &info);
    return show_partitions(call, bus, info.options.partitions);
}

/* ---- create, delete, purge ---- */

static const char *const create_levels[] = {"none", "written", "synced", NULL};

static const struct option create_options[] = {
    {.name = "partitions",
     .letter = 'p',
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = 10000,
     .help = "logs side by side, else 1; events of one subject share one"},
    {.name = "level",
     .kind = OPTION_CHOICE,
     .choices = create_levels,
     .help = "what a publish waits for, else synced"},
    {.name = "read-synced",
     .kind = OPTION_FLAG,
     .help = "readers see events only once they are on the device"},
    {.name = "codec", .kind = OPTION_CHOICE, .choices = codecs, .help = "compression of batches"},
    {.name = "retention", .kind = OPTION_DURATION, .help = "remove older events, else keep all"},
    {.name = "retention-size",
     .kind = OPTION_SIZE,
     .help = "remove the oldest events of a partition beyond this"},
    {.name = "compact", .kind = OPTION_FLAG, .help = "keep only the newest event of each subject"},
    {.name = "delete-retention",
     .kind = OPTION_DURATION,
     .min = 1,
     .help = "how long compaction keeps events without data, which delete their subject, else 1d"},
    {.name = "segment-size",
     .kind = OPTION_SIZE,
     .min = 4096,
     .max = 2147483647,
     .help = "of the files, else 1g"},
    {.name = "segment-time",
     .kind = OPTION_DURATION,
     .min = 1,
     .help = "begin a new file after this, else 7d"},
    {.name = "dedup",
     .kind = OPTION_DURATION,
     .help = "do not store again what had the same source and id within this time"},
    {.name = "event-size-max",
     .kind = OPTION_SIZE,
     .min = 1,
     .max = 1 << 30,
     .help = "refuse larger events, else 1,048,588 bytes"},
    {0}};

/* Those that are given, of the options that both commands have. */
static void take_options(const struct call *call, beck_bus_options *o)
{
    o->partitions = (uint32_t)option_number(call, "partitions", o->partitions);
    if (option_given(call, "level"))
        o->level = (beck_level)(option_choice(call, "level") + 1);
    if (option_given(call, "codec"))
        o->codec = (beck_codec)option_choice(call, "codec");
    o->retention_ms = option_number(call, "retention", o->retention_ms);
    o->retention_bytes = option_number(call, "retention-size", o->retention_bytes);
    o->delete_retention_ms = option_number(call, "delete-retention", o->delete_retention_ms);
    o->segment_bytes = option_number(call, "segment-size", o->segment_bytes);
    o->segment_ms = option_number(call, "segment-time", o->segment_ms);
    o->dedup_window_ms = option_number(call, "dedup", o->dedup_window_ms);
    o->event_bytes_max = (uint32_t)option_number(call, "event-size-max", o->event_bytes_max);
}

static int create_run(struct call *call)
{
    beck_bus_options o = {.storage = BECK_STORAGE_DISK,
                          .read_synced = option_flag(call, "read-synced"),
                          .compact = option_flag(call, "compact")};
    beck_bus *bus;
    take_options(call, &o);
    beck_error err;
    int code = call_open(call, CALL_CREATE);
    if (code) {
        return code;
    }
    beck_status status = beck_bus_create(call->handle, call->arguments[0], &o, &bus, &err);
    if (status) {
        return call_fail(call, status, &err);
    }
    if (call->json) {
        beck_bus_info info;
        status = beck_bus_info_get(bus, &info, &err);
        return status ? call_fail(call, status, &err) : show_json(call, bus, &info);
    }
    call_say(call, "bus '%s' is there", call->arguments[0]);
    return EXIT_DONE;
}

static const char *const yes_no[] = {"no", "yes", NULL};

static const struct option alter_options[] = {
    {.name = "partitions",
     .letter = 'p',
     .kind = OPTION_NUMBER,
     .min = 1,
     .max = 10000,
     .help = "more than there are; subjects are spread anew"},
    {.name = "level",
     .kind = OPTION_CHOICE,
     .choices = create_levels,
     .help = "what a publish waits for"},
    {.name = "codec", .kind = OPTION_CHOICE, .choices = codecs, .help = "compression of batches"},
    {.name = "retention", .kind = OPTION_DURATION, .help = "remove older events; 0: keep all"},
    {.name = "retention-size",
     .kind = OPTION_SIZE,
     .help = "remove the oldest events of a partition beyond this; 0: no limit"},
    {.name = "compact",
     .kind = OPTION_CHOICE,
     .choices = yes_no,
     .help = "keep only the newest event of each subject"},
    {.name = "delete-retention",
     .kind = OPTION_DURATION,
     .min = 1,
     .help = "how long compaction keeps events without data, which delete their subject"},
    {.name = "segment-size",
     .kind = OPTION_SIZE,
     .min = 4096,
     .max = 2147483647,
     .help = "of the files"},
    {.name = "segment-time",
     .kind = OPTION_DURATION,
     .min = 1,
     .help = "begin a new file after this"},
    {.name = "dedup",
     .kind = OPTION_DURATION,
     .help = "do not store again what had the same source and id within this time; 0: do"},
    {.name = "event-size-max",
     .kind = OPTION_SIZE,
     .min = 1,
     .max = 1 << 30,
     .help = "refuse larger events"},
    {0}};

static int alter_run(struct call *call)
{
    beck_bus *bus;
    beck_bus_info info;
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    code = code ? code : call_bus(call, call->arguments[0], false, &bus);
    if (code) {
        return code;
    }
    beck_status status = beck_bus_info_get(bus, &info, &err);
    if (!status) {
        take_options(call, &info.options);
        if (option_given(call, "compact"))
            info.options.compact = option_choice(call, "compact") == 1;
        status = beck_bus_alter(bus, &info.options, &err);
    }
    if (!status && call->json) {
        status = beck_bus_info_get(bus, &info, &err);
    }
    if (status) {
        return call_fail(call, status, &err);
    }
    if (call->json) {
        return show_json(call, bus, &info);
    }
    call_say(call, "bus '%s' has these options now: beck bus show %s", call->arguments[0],
             call->arguments[0]);
    return EXIT_DONE;
}

static int delete_run(struct call *call)
{
    beck_bus *bus;
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    code = code ? code : call_bus(call, call->arguments[0], false, &bus);
    if (code) {
        return code;
    }
    beck_status status = beck_bus_delete(call->handle, call->arguments[0], &err);
    if (status) {
        return call_fail(call, status, &err);
    }
    if (call->json) {
        struct json_line j;
        json_line_begin(&j);
        json_line_text(&j, "bus", beck_str(call->arguments[0]));
        json_line_bool(&j, "deleted", true);
        return json_line_print(&j, call);
    }
    call_say(call, "bus '%s' is deleted", call->arguments[0]);
    return EXIT_DONE;
}

static int purge_run(struct call *call)
{
    beck_bus *bus;
    beck_bus_info info = {0};
    beck_error err;
    int code = call_open(call, CALL_EXISTING);
    code = code ? code : call_bus(call, call->arguments[0], false, &bus);
    if (code) {
        return code;
    }
    beck_status status = beck_bus_info_get(bus, &info, &err);
    status = status ? status : beck_bus_purge(bus, &err);
    if (status) {
        return call_fail(call, status, &err);
    }
    if (call->json) {
        struct json_line j;
        json_line_begin(&j);
        json_line_text(&j, "bus", beck_str(call->arguments[0]));
        json_line_number(&j, "purged", info.events);
        return json_line_print(&j, call);
    }
    call_say(call, "%lld events of bus '%s' are removed", (long long)info.events,
             call->arguments[0]);
    return EXIT_DONE;
}

static const struct option list_options[] = {
    {.name = "all", .letter = 'a', .kind = OPTION_FLAG, .help = "also beck's own, named __..."},
    {0}};

static const struct command list = {.name = "list",
                                    .help = "all buses",
                                    .examples = "beck bus list --json | jq .name",
                                    .options = list_options,
                                    .run = list_run};
static const struct command show = {.name = "show",
                                    .arguments = "BUS",
                                    .arguments_min = 1,
                                    .arguments_max = 1,
                                    .help = "options and partitions of a bus",
                                    .examples = "beck bus show events",
                                    .run = show_run};
static const struct command create = {
    .name = "create",
    .arguments = "BUS",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "make a bus with options",
    .about = "Does nothing when the bus exists with the same options; with others it is an error:\n"
             "beck bus alter changes them.",
    .examples = "beck bus create orders --partitions 8 --retention 30d --codec zstd\n"
                "# the newest state of each customer\nbeck bus create customers --compact",
    .options = create_options,
    .run = create_run};
static const struct command alter = {
    .name = "alter",
    .arguments = "BUS",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "change options of a bus",
    .about = "What is not named stays. Storage and read-synced cannot be changed, partitions only "
             "become more.",
    .examples = "beck bus alter orders --retention 90d\nbeck bus alter orders --partitions 16",
    .options = alter_options,
    .run = alter_run};
static const struct command delete = {
    .name = "delete",
    .arguments = "BUS",
    .arguments_min = 1,
    .arguments_max = 1,
    .help = "delete a bus and everything stored in it",
    .about = "Refused while a queue is bound to it: unbind or delete the queue first.",
    .examples = "beck bus delete trial",
    .run = delete_run};
static const struct command purge = {.name = "purge",
                                     .arguments = "BUS",
                                     .arguments_min = 1,
                                     .arguments_max = 1,
                                     .help = "remove all events of a bus",
                                     .about = "Offsets go on; queues lose what they have not yet "
                                              "handed out.",
                                     .examples = "beck bus purge events",
                                     .run = purge_run};

static const struct command *const children[] = {&list,   &show,  &create, &alter,
                                                 &delete, &purge, NULL};

const struct command command_bus = {.name = "bus",
                                    .help = "list, show, create, alter, delete and purge buses",
                                    .children = children};
