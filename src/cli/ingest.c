/*
 * beck ingest: the records of a file as events.
 *
 * One loop: the reader gives a record, which becomes an event of the batch, or is put aside when it
 * is malformed. How far an ingest got stands nowhere but in the bus (ingest_resume.h).
 */
#include "cli/commands.h"
#include "cli/ingest_events.h"
#include "cli/ingest_reader.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/rejects.h"
#include "event/value.h"
#include "base/clock.h"
#include "base/error.h"
#include "event/cloudevents.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COMPLAINTS_MAX 10 /* malformed records that are reported one by one */
#define SHOWN_MAX 3       /* events that --dry-run shows */
#define PATH_MAX_BYTES 4096

static const char *const levels[] = {"written", "synced", NULL};
static const char *const time_formats[] = {"auto", "rfc3339", "unix", "unixms", NULL};

static const struct option options[] = {
    {.name = "bus",
     .letter = 'b',
     .kind = OPTION_TEXT,
     .value = "BUS",
     .preset = "events",
     .help = "the bus; made when missing"},
    {.name = "type", .letter = 't', .kind = OPTION_TEXT, .help = "type of the events"},
    {.name = "type-from",
     .kind = OPTION_TEXT,
     .value = "FIELD",
     .help = "take the type from this field; --type is for records without it"},
    {.name = "subject-from",
     .kind = OPTION_TEXT,
     .value = "FIELD",
     .help = "take the subject from it"},
    {.name = "id-from",
     .kind = OPTION_TEXT,
     .value = "FIELD",
     .help = "take the id from it, else it is FINGERPRINT:RECORD"},
    {.name = "time-from",
     .kind = OPTION_TEXT,
     .value = "FIELD",
     .help = "take the time from it, else now"},
    {.name = "time-format",
     .kind = OPTION_CHOICE,
     .choices = time_formats,
     .preset = "auto",
     .help = "of that field; auto: any of those above"},
    {.name = "time-zone",
     .kind = OPTION_TEXT,
     .value = "ZONE",
     .preset = "utc",
     .help = "of times that name none: utc, local, or an offset such as +02:00"},
    {.name = "source", .kind = OPTION_TEXT, .value = "URI", .help = "else file:// and the path"},
    INGEST_READER_OPTIONS,
    {.name = "plain",
     .kind = OPTION_FLAG,
     .help = "JSON: every record is data, also when it looks like an event"},
    {.name = "batch",
     .kind = OPTION_NUMBER,
     .preset = "2000",
     .min = 1,
     .max = 100000,
     .help = "events published at once, at most"},
    {.name = "level",
     .kind = OPTION_CHOICE,
     .choices = levels,
     .preset = "synced",
     .help = "what to wait for at the end"},
    {.name = "rejects",
     .kind = OPTION_TEXT,
     .value = "FILE",
     .help = "put malformed records there, else into FILE.rejects; of a pipe "
             "stdin-FINGERPRINT.rejects"},
    {.name = "max-rejects",
     .kind = OPTION_NUMBER,
     .help = "stop when more records than this are malformed"},
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_NUMBER,
     .min = 1,
     .help = "stop after so many records"},
    {.name = "resume",
     .kind = OPTION_FLAG,
     .help = "go on behind the last record that is in the bus"},
    {.name = "dry-run", .kind = OPTION_FLAG, .help = "publish nothing; show the first events"},
    {0}};

struct ingest {
    struct call *call;
    const char *file; /* for messages */
    struct ingest_reader reader;
    struct ingest_events events;
    struct rejects rejects;
    struct ingest_resume resume;
    struct progress progress;
    char source[EVENT_ATTRIBUTE_MAX + 1];
    char fingerprint[FINGERPRINT_LEN + 1];
    char rejects_path[PATH_MAX_BYTES];
    bool dry;
    bool verified; /* the record that is last in the bus was met, and is the same */
    int64_t start_ns;
    int64_t records, skipped, rejected; /* of this run; records: published or malformed */
    int64_t limit, rejects_max;
    int64_t number; /* of the last record */
    int code;       /* not EXIT_DONE: give up */
};

/* ---- malformed records ---- */

static void reject(struct ingest *in, const struct ingest_record *record, const char *why)
{
    beck_error err;
    in->rejected++;
    in->records++;
    if (in->rejected <= COMPLAINTS_MAX) {
        progress_hide(&in->progress);
        call_warn(in->call, "%s, line %lld: %s", in->file, (long long)record->line, why);
    }
    if (in->rejected == COMPLAINTS_MAX + 1) {
        progress_hide(&in->progress);
        call_warn(in->call, "more malformed records follow%s%s",
                  in->rejects.path ? ": see " : "; give --rejects to see them",
                  in->rejects.path ? in->rejects.path : "");
    }
    beck_status status = rejects_add(&in->rejects, record, why, &err);
    if (status) {
        in->code = call_fail(in->call, status, &err);
    } else if (in->rejects_max >= 0 && in->rejected > in->rejects_max) {
        progress_hide(&in->progress);
        in->code = call_error(in->call, EXIT_FAILED, "more than %lld malformed records: stopped",
                              (long long)in->rejects_max);
    }
}

/* ---- records ---- */

static void show(struct ingest *in)
{
    struct buf text;
    beck_error err;
    buf_init(&text, SIZE_MAX / 2);
    beck_status status =
        cloudevents_write(ingest_events_last(&in->events), BECK_FORM_CLOUDEVENTS, &text, &err);
    if (status) {
        in->code = call_fail(in->call, status, &err);
    } else {
        printf("%.*s\n", (int)text.len, (const char *)text.data);
    }
    buf_release(&text);
}

static int differs(struct ingest *in)
{
    progress_hide(&in->progress);
    return call_error(in->call, EXIT_FAILED,
                      "record %lld is not the one that is in the bus (%s/%u/%lld), so this is not "
                      "the input that was ingested: to ingest it as new leave out --resume",
                      (long long)in->resume.last.number, option_text(in->call, "bus"),
                      in->resume.position.partition, (long long)in->resume.position.offset);
}

/* The record that is last in the bus must be the same in the input. */
static void verify(struct ingest *in, const struct ingest_record *record)
{
    bool fatal;
    beck_error err;
    beck_status status = ingest_events_add(&in->events, record, &fatal, &err);
    if (fatal) {
        in->code = call_fail(in->call, status, &err);
        return;
    }
    in->verified =
        !status && bytes_equal(ingest_events_last(&in->events)->data, buf_bytes(&in->resume.data));
    if (!status) {
        ingest_events_drop_last(&in->events);
    }
    if (!in->verified) {
        in->code = differs(in);
    }
}

static void take_record(struct ingest *in, const struct ingest_record *record)
{
    beck_error err;
    bool fatal;
    if (in->resume.found && record->number == in->resume.last.number) {
        verify(in, record);
    }
    if (in->code || (in->resume.found && ingest_resume_has(&in->resume, record->number))) {
        in->skipped++;
        return;
    }
    beck_status status = ingest_events_add(&in->events, record, &fatal, &err);
    if (fatal) {
        progress_hide(&in->progress);
        in->code = call_fail(in->call, status, &err);
    } else if (status) {
        reject(in, record, err.text);
    } else {
        in->records++;
        if (in->dry && in->records - in->rejected <= SHOWN_MAX && !in->call->json) {
            show(in);
        }
    }
}

static void update_progress(struct ingest *in)
{
    if (!in->progress.shown || in->number % 256 != 0) {
        return;
    }
    char note[128], count[VALUE_TEXT_MAX], rate[VALUE_TEXT_MAX];
    double seconds = (double)(clock_mono_ns(clock_system()) - in->start_ns) / 1e9;
    value_number_text(in->number, count);
    value_number_text((int64_t)((double)in->number / (seconds > 0.001 ? seconds : 0.001)), rate);
    snprintf(note, sizeof note, "%s records, %s/s%s", count, rate,
             in->rejected ? ", some malformed" : "");
    progress_update(&in->progress, in->reader.input.position, note);
}

static void read_records(struct ingest *in)
{
    struct ingest_record record = {0};
    beck_error err;
    while (!in->code && !call_stopping(in->call) && (!in->limit || in->records < in->limit)) {
        enum record_result result = ingest_reader_next(&in->reader, &record, &err);
        if (result == RECORD_END || in->code) {
            return;
        }
        if (result == RECORD_FAILED) {
            progress_hide(&in->progress);
            in->code = call_error(in->call, EXIT_FAILED, "%s: %s", in->file, err.text);
            return;
        }
        in->number = record.number;
        if (result == RECORD_SKIPPED) {
            in->skipped++;
        } else if (result == RECORD_GOOD) {
            take_record(in, &record);
        } else if (in->resume.found && !in->verified && record.number == in->resume.last.number) {
            in->code = differs(in);
        } else {
            reject(in, &record, err.text);
        }
        update_progress(in);
    }
}

/* The input pauses: what came so far is published. */
static void on_pause(void *ctx)
{
    struct ingest *in = ctx;
    beck_error err;
    beck_status status = in->code ? BECK_OK : ingest_events_settle(&in->events, &err);
    if (status) {
        in->code = call_fail(in->call, status, &err);
    }
}

/* ---- the end ---- */

static void report_json(const struct ingest *in, double seconds)
{
    struct json_line j;
    json_line_begin(&j);
    json_line_text(&j, "bus", beck_str(option_text(in->call, "bus")));
    json_line_text(&j, "source", beck_str(in->source));
    json_line_text(&j, "fingerprint", beck_str(in->fingerprint));
    json_line_number(&j, "published", in->events.published);
    json_line_number(&j, "duplicates", in->events.duplicates);
    json_line_number(&j, "skipped", in->skipped);
    json_line_number(&j, "rejected", in->rejected);
    json_line_number(&j, "last_record", in->number);
    json_line_number(&j, "bytes", in->reader.input.position);
    json_line_number(&j, "milliseconds", (int64_t)(seconds * 1000));
    if (in->rejects.fd >= 0) {
        json_line_text(&j, "rejects", beck_str(in->rejects.path));
    }
    json_line_print(&j, in->call);
}

static void report_text(const struct ingest *in, double seconds)
{
    const struct call *call = in->call;
    char count[VALUE_TEXT_MAX], size[VALUE_TEXT_MAX], rate[VALUE_TEXT_MAX], skipped[VALUE_TEXT_MAX];
    int64_t bytes = in->reader.input.position;
    value_number_text(in->events.published, count);
    value_number_text(in->skipped, skipped);
    value_size_text(bytes, size);
    value_size_text((int64_t)((double)bytes / (seconds > 0.001 ? seconds : 0.001)), rate);
    if (in->dry) {
        call_say(call, "%s records would be published to '%s' (%s read)", count,
                 option_text(call, "bus"), size);
    } else {
        call_say(call, "%s published to '%s' (%s, %s/s)", count, option_text(call, "bus"), size,
                 rate);
    }
    if (in->events.duplicates > 0) {
        call_say(call, "%lld were in the bus already", (long long)in->events.duplicates);
    }
    if (in->resume.found) {
        call_say(call, "%s stepped over: published, or found malformed, by an earlier run",
                 skipped);
    }
    if (in->rejected) {
        call_warn(call, "%lld malformed%s%s", (long long)in->rejected,
                  in->rejects.fd >= 0 ? ", put aside in " : "",
                  in->rejects.fd >= 0 ? in->rejects.path : "");
    }
}

/* What was named on the command line but is nowhere in the input. */
static int report_absent(const struct ingest *in)
{
    static const struct {
        enum field field;
        const char *option;
    } optional[] = {{FIELD_SUBJECT, "subject-from"}, {FIELD_TIME, "time-from"}};
    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++) {
        const char *path = option_text(in->call, optional[i].option);
        if (path && in->events.published > 0 && !in->events.seen[optional[i].field]) {
            call_warn(in->call, "no record has the field \"%s\" of --%s", path, optional[i].option);
        }
    }
    const struct xml *xml = &in->reader.xml;
    if (in->reader.format == INGEST_XML && in->number == 0 && xml->missed) {
        call_warn(in->call, "nothing is at --record %s: the first element %s is %s",
                  option_text(in->call, "record"),
                  xml->sample_depth > 1 ? "below the root" : "of the document", xml->sample);
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static int report(struct ingest *in)
{
    const struct call *call = in->call;
    double seconds = (double)(clock_mono_ns(clock_system()) - in->start_ns) / 1e9;
    bool stopped = call_stopping(call) > 0;
    if (call->json) {
        report_json(in, seconds);
    } else {
        report_text(in, seconds);
    }
    if ((in->code || stopped) && !in->dry && in->events.published > 0) {
        call_say(call, "stopped behind record %lld: go on with --resume", (long long)in->number);
    }
    if (in->code) {
        return in->code;
    }
    if (stopped) {
        return EXIT_INTERRUPTED;
    }
    int absent = in->resume.found ? EXIT_DONE : report_absent(in);
    return in->rejected ? EXIT_FAILED : absent;
}

/* ---- the beginning ---- */

/* file:// and the whole path, with what is not legal in a URI as %XX. */
static int file_source(struct ingest *in)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-._~/!$&'()*+,;=:@";
    char *path = realpath(in->file, NULL);
    size_t n = 0;
    n += (size_t)snprintf(in->source, sizeof in->source, "file://");
    for (const char *p = path; p && *p; p++) {
        if (n + 4 > sizeof in->source) {
            free(path);
            return call_usage(in->call, "the path of '%s' is too long for a source: give --source",
                              in->file);
        }
        const char *form = strchr(legal, *p) ? "%c" : "%%%02X";
        n += (size_t)snprintf(in->source + n, sizeof in->source - n, form, (uint8_t)*p);
    }
    free(path);
    return EXIT_DONE;
}

static int choose_source(struct ingest *in)
{
    const char *given = option_text(in->call, "source");
    if (!given && strcmp(in->file, "standard input") != 0) {
        return file_source(in);
    }
    if (!given && option_flag(in->call, "resume")) {
        return call_usage(in->call,
                          "standard input has no name to find it by: give --source, and the "
                          "same one each time");
    }
    given = given ? given : "stdin";
    if (strlen(given) >= sizeof in->source) {
        return call_usage(in->call, "--source is longer than %d bytes", EVENT_ATTRIBUTE_MAX);
    }
    strcpy(in->source, given);
    return EXIT_DONE;
}

static int make_plan(struct ingest *in, struct ingest_plan *plan)
{
    struct call *call = in->call;
    bool json = in->reader.format == INGEST_NDJSON || in->reader.format == INGEST_JSON;
    *plan = (struct ingest_plan){
        .type = option_text(call, "type"),
        .paths = {[FIELD_TYPE] = option_text(call, "type-from"),
                  [FIELD_SUBJECT] = option_text(call, "subject-from"),
                  [FIELD_ID] = option_text(call, "id-from"),
                  [FIELD_TIME] = option_text(call, "time-from")},
        .time = {.format = (enum ingest_time_format)option_choice(call, "time-format")},
        .columns = in->reader.format == INGEST_CSV,
        .plain = !json || option_flag(call, "plain"),
        .checked = !json,
        .source = beck_str(in->source),
        .fingerprint = in->fingerprint,
        .level = option_choice(call, "level") == 1 ? BECK_LEVEL_SYNCED : BECK_LEVEL_WRITTEN,
        .batch_max = (size_t)option_number(call, "batch", 0),
        .record_max = (size_t)option_number(call, "record-max", 0)};
    if (!ingest_time_zone(option_text(call, "time-zone"), &plan->time)) {
        return call_usage(call, "--time-zone '%s' is neither utc, local, nor an offset as +02:00",
                          option_text(call, "time-zone"));
    }
    if (!plan->type && !plan->paths[FIELD_TYPE] && plan->plain) {
        return call_usage(call, "no type for the events: give --type or --type-from");
    }
    beck_event sample = {.type = beck_str(plan->type ? plan->type : "a"), .source = plan->source};
    beck_error err;
    return event_check(&sample, &err) ? call_usage(call, "%s", err.text) : EXIT_DONE;
}

static int open_rejects(struct ingest *in)
{
    const char *path = option_text(in->call, "rejects");
    beck_error err;
    if (!path && !in->dry) {
        int len = in->reader.regular
                      ? snprintf(in->rejects_path, sizeof in->rejects_path, "%s.rejects", in->file)
                      : snprintf(in->rejects_path, sizeof in->rejects_path, "stdin-%s.rejects",
                                 in->fingerprint);
        if (len >= (int)sizeof in->rejects_path) {
            return call_usage(in->call, "the path of '%s' is too long: give --rejects", in->file);
        }
        path = in->rejects_path;
    }
    beck_status status = rejects_init(&in->rejects, path, option_flag(in->call, "resume"), &err);
    return status ? call_fail(in->call, status, &err) : EXIT_DONE;
}

/* Finds out where to go on. */
static int resume(struct ingest *in, beck_bus *bus)
{
    beck_error err;
    beck_status status =
        ingest_resume_find(bus, beck_str(in->source), in->fingerprint, &in->resume, &err);
    if (status) {
        return call_fail(in->call, status, &err);
    }
    if (!in->resume.found) {
        call_say(in->call, "nothing of '%s' is in the bus: starting from the beginning",
                 in->source);
        return EXIT_DONE;
    }
    int64_t last = in->resume.last.number;
    memcpy(in->fingerprint, in->resume.last.fingerprint, sizeof in->fingerprint);
    ingest_reader_skip(&in->reader, in->resume.settled < last ? in->resume.settled : last - 1);
    call_say(in->call, "going on behind record %lld", (long long)last);
    return EXIT_DONE;
}

static int run(struct ingest *in, const struct ingest_plan *plan, beck_bus *bus)
{
    beck_error err = {0};
    beck_status status = ingest_events_init(&in->events, plan, in->call->handle, bus, &err);
    if (status) {
        return call_fail(in->call, status, &err);
    }
    in->reader.input.pausing = on_pause;
    in->reader.input.pausing_ctx = in;
    in->start_ns = clock_mono_ns(clock_system());
    progress_init(&in->progress, in->call, "ingest", PROGRESS_BYTES, in->reader.size);
    status = ingest_reader_begin(&in->reader, &err);
    if (status) {
        in->code = call_error(in->call, EXIT_FAILED, "%s: %s", in->file, err.text);
    }
    read_records(in);
    status = ingest_events_settle(&in->events, &err);
    progress_end(&in->progress);
    if (status && !in->code) {
        in->code = call_fail(in->call, status, &err);
    }
    bool whole = !in->code && !call_stopping(in->call) && !in->limit;
    if (whole && in->resume.found && !in->verified) {
        in->code = call_error(in->call, EXIT_FAILED,
                              "the input has %lld records, but record %lld of it is in the bus: it "
                              "is not the input that was ingested",
                              (long long)in->number, (long long)in->resume.last.number);
    }
    int code = report(in);
    ingest_events_release(&in->events);
    return code;
}

static int begin(struct ingest *in)
{
    struct call *call = in->call;
    struct ingest_plan plan;
    beck_bus *bus = NULL;
    int code = choose_source(in);
    code = code ? code : make_plan(in, &plan);
    if (!code && !fingerprint_make(&in->reader.input, in->fingerprint)) {
        code = call_error(call, EXIT_DISK, "'%s' cannot be read", in->file);
    }
    if (!code && !in->dry) {
        code = call_open(call, CALL_CREATE);
        code = code ? code : call_bus(call, option_text(call, "bus"), true, &bus);
    }
    code = code ? code : open_rejects(in);
    if (!code && option_flag(call, "resume")) {
        code = resume(in, bus);
    } else if (!code && !in->dry && !call->json && !call->quiet &&
               ingest_resume_is_recent(bus, beck_str(in->source), in->fingerprint)) {
        call_say(call,
                 "'%s' is in bus '%s' already, and is published again: with --resume only what is "
                 "missing is",
                 in->file, option_text(call, "bus"));
    }
    return code ? code : run(in, &plan, bus);
}

static int ingest_run(struct call *call)
{
    struct ingest *in = calloc(1, sizeof *in);
    if (!in) {
        return call_error(call, EXIT_FAILED, "no memory to ingest");
    }
    const char *file = call->arguments[0];
    in->call = call;
    in->file = strcmp(file, "-") == 0 ? "standard input" : file;
    in->dry = option_flag(call, "dry-run");
    in->limit = option_number(call, "limit", 0);
    in->rejects_max = option_number(call, "max-rejects", -1);
    in->rejects.fd = -1;
    int code = in->dry && option_flag(call, "resume")
                   ? call_usage(call, "--dry-run and --resume are both given: give one")
                   : ingest_reader_open(&in->reader, call, file);
    if (!code) {
        code = begin(in);
        ingest_reader_close(&in->reader);
    }
    rejects_release(&in->rejects);
    ingest_resume_release(&in->resume);
    free(in);
    return code;
}

const struct command command_ingest = {
    .name = "ingest",
    .arguments = "FILE",
    .arguments_min = 1,
    .arguments_max = 1,
    .orderly = true,
    .help = "publish the records of a JSON, CSV or XML file",
    .about =
        "FILE may be of any size; - is standard input. Each record becomes the data of an event,\n"
        "as a JSON object: a line of NDJSON as it is; an element of a JSON array, or an object of\n"
        "a file of several, over as many lines as it likes; a CSV record with the names of its\n"
        "header; an XML element with attributes as \"@name\", text as \"#text\" or just the text, "
        "and\n"
        "children of one name as an array. Objects of JSON that are CloudEvents or envelopes are\n"
        "published as the events that they are.\n"
        "\n"
        "FIELD is the name of a member, or a JSON pointer: customer, @id, /customer/id. Its time "
        "may\n"
        "be 2026-01-31T14:30:00Z (rfc3339); 2026-01-31, \"2026-01-31 14:30\", with seconds or a "
        "zone\n"
        "as +0200 or not; seconds (unix) or milliseconds (unixms) since 1970.\n"
        "\n"
        "Malformed records are reported with their line and put aside; the exit code is then 1.\n"
        "An ingest that was stopped or killed goes on with --resume, and publishes every record\n"
        "once: which were published already stands in the bus itself, in the ids of the events\n"
        "of this source.",
    .examples = "beck ingest orders.ndjson --type order.imported --subject-from customer\n"
                "beck ingest people.json --type person.known --id-from /account/id\n"
                "beck ingest prices.csv --type price.set --delimiter ';' --time-from date\n"
                "beck ingest catalog.xml --record /catalog/item --type item.listed --id-from @id\n"
                "zcat old.ndjson.gz | beck ingest - --format ndjson --type-from kind",
    .options = options,
    .run = ingest_run,
};
