/* The tables of settings: see settings.h. */
#include "server/settings.h"
#include <assert.h>

const char *const setting_log_levels[] = {"debug", "info", "warn", "error", NULL};
const char *const setting_log_formats[] = {"text", "json", NULL};
const char *const setting_booleans[] = {"true", "false", NULL};
const char *const setting_acks[] = {"written", "synced", NULL};

#define FIELD(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)

#define ROW(row_name, row_kind, member, row_min, row_max, row_preset, row_value, row_choices,      \
            row_reloadable, row_help)                                                              \
    {.name = (row_name),                                                                           \
     .kind = SETTING_##row_kind,                                                                   \
     FIELD(struct settings, member),                                                               \
     .min = (row_min),                                                                             \
     .max = (row_max),                                                                             \
     .preset = (row_preset),                                                                       \
     .value = (row_value),                                                                         \
     .choices = (row_choices),                                                                     \
     .reloadable = (row_reloadable),                                                               \
     .help = (row_help)},

const struct setting settings_rows[] = {
    ROW("data", TEXT, data, 0, 0, "beck-data", "DIR", NULL, false, "the data directory") /**/
    SERVER_SETTINGS(ROW)                                                                 /**/
    {0}};

const size_t settings_row_count = sizeof settings_rows / sizeof *settings_rows - 1;

struct setting_source *settings_source(const struct settings *s, const char *name)
{
    const struct setting *row = setting_find(settings_rows, name);
    assert(row);
    return &s->sources[row - settings_rows];
}

/* ---- buses ---- */

static const char *const storages[] = {"memory", "disk", NULL};
static const char *const levels[] = {"none", "written", "synced", NULL};
static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd", NULL};
static const char *const overflows[] = {"drop-oldest", "refuse", NULL};

#define BUS(member) FIELD(struct bus_setting, options.member)

static const struct setting bus_rows[] = {
    {.name = "storage",
     .kind = SETTING_CHOICE,
     BUS(storage),
     .choices = storages,
     .first = BECK_STORAGE_MEMORY,
     .preset = "disk",
     .help = "where events are: memory ends with the server"},
    {.name = "partitions",
     .kind = SETTING_NUMBER,
     BUS(partitions),
     .min = 1,
     .max = 10000,
     .preset = "1",
     .help = "logs side by side; events of one subject share one"},
    {.name = "level",
     .kind = SETTING_CHOICE,
     BUS(level),
     .choices = levels,
     .first = BECK_LEVEL_NONE,
     .help = "what a publish waits for; synced for a bus on disk, else written"},
    {.name = "read_synced",
     .kind = SETTING_BOOL,
     BUS(read_synced),
     .preset = "false",
     .help = "readers see events only once they are on the device"},
    {.name = "codec",
     .kind = SETTING_CHOICE,
     BUS(codec),
     .choices = codecs,
     .preset = "none",
     .help = "compression of batches"},
    {.name = "retention",
     .kind = SETTING_DURATION,
     BUS(retention_ms),
     .preset = "0",
     .help = "older events are removed; 0: never"},
    {.name = "retention_size",
     .kind = SETTING_SIZE,
     BUS(retention_bytes),
     .preset = "0",
     .help = "the oldest events of a partition are removed beyond this; 0: no limit"},
    {.name = "compact",
     .kind = SETTING_BOOL,
     BUS(compact),
     .preset = "false",
     .help = "keep only the newest event of each subject"},
    {.name = "delete_retention",
     .kind = SETTING_DURATION,
     BUS(delete_retention_ms),
     .min = 1,
     .preset = "1d",
     .help = "how long compaction keeps events without data, which delete their subject"},
    {.name = "segment_size",
     .kind = SETTING_SIZE,
     BUS(segment_bytes),
     .min = 4096,
     .max = INT32_MAX,
     .preset = "1g",
     .help = "of the files"},
    {.name = "segment_time",
     .kind = SETTING_DURATION,
     BUS(segment_ms),
     .min = 1,
     .preset = "7d",
     .help = "a new file begins after this"},
    {.name = "dedup",
     .kind = SETTING_DURATION,
     BUS(dedup_window_ms),
     .preset = "0",
     .help = "what had the same source and id within this time is not stored again; 0: off"},
    {.name = "event_size_max",
     .kind = SETTING_SIZE,
     BUS(event_bytes_max),
     .min = 1,
     .max = 64 << 20,
     .preset = "1048588",
     .help = "larger events are refused"},
    {0}};

static const struct setting_table bus_table = {bus_rows, sizeof(struct bus_setting)};

/* ---- queues ---- */

#define BINDING(member) FIELD(struct binding_setting, member)

static const struct setting binding_rows[] = {{.name = "bus",
                                               .kind = SETTING_TEXT,
                                               BINDING(bus),
                                               .value = "BUS",
                                               .needed = true,
                                               .help = "the bus that feeds the queue"},
                                              {.name = "pattern",
                                               .kind = SETTING_TEXT,
                                               BINDING(pattern),
                                               .value = "PATTERN",
                                               .preset = "#",
                                               .help = "of types: order.*, order.#"},
                                              {.name = "from",
                                               .kind = SETTING_FROM,
                                               BINDING(from),
                                               .preset = "now",
                                               .help = "the first event, when the binding is made"},
                                              {0}};

static const struct setting_table binding_table = {binding_rows, sizeof(struct binding_setting)};

#define QUEUE(member) FIELD(struct queue_setting, options.member)
#define RUN(member) FIELD(struct queue_setting, run.member)

static const char *const failures[] = {"retry", "reject", NULL};

static const struct setting queue_rows[] = {
    {.name = "bindings",
     .kind = SETTING_RECORDS,
     FIELD(struct queue_setting, bindings),
     .table = &binding_table,
     .help = "what feeds the queue: mappings with bus, pattern and from"},
    {.name = "storage",
     .kind = SETTING_CHOICE,
     QUEUE(storage),
     .choices = storages,
     .first = BECK_STORAGE_MEMORY,
     .preset = "disk",
     .help = "where the queue is: memory ends with the server"},
    {.name = "attempts",
     .kind = SETTING_NUMBER,
     QUEUE(attempts_max),
     .min = 1,
     .max = 65535,
     .preset = "10",
     .help = "deliveries before an event becomes a dead letter"},
    {.name = "backoff",
     .kind = SETTING_BACKOFF,
     QUEUE(backoff),
     .preset = "exponential:1s..1h",
     .help = "wait before another attempt"},
    {.name = "deadline",
     .kind = SETTING_DURATION,
     QUEUE(deadline_ms),
     .preset = "30s",
     .help = "an event not handled by then counts as failed; 0: never"},
    {.name = "ttl",
     .kind = SETTING_DURATION,
     QUEUE(ttl_ms),
     .preset = "0",
     .help = "an event not delivered by then becomes a dead letter; 0: never"},
    {.name = "length_max",
     .kind = SETTING_NUMBER,
     QUEUE(length_max),
     .preset = "0",
     .help = "ready events at most; 0: no limit"},
    {.name = "overflow",
     .kind = SETTING_CHOICE,
     QUEUE(overflow),
     .choices = overflows,
     .preset = "drop-oldest",
     .help = "what a full queue does: dead letters of the oldest, or an error for the publisher"},
    {.name = "priorities",
     .kind = SETTING_NUMBER,
     QUEUE(priority_max),
     .max = 255,
     .preset = "0",
     .help = "highest priority that counts; 0: none"},
    {.name = "no_dead_letters",
     .kind = SETTING_BOOL,
     QUEUE(no_dead_letters),
     .preset = "false",
     .help = "drop instead of keeping dead letters"},
    {.name = "run",
     .kind = SETTING_LIST,
     RUN(program),
     .value = "PROGRAM,ARGUMENT...",
     .reloadable = true,
     .help = "the server works the queue with this program, as beck on does; what it writes is "
             "logged, 1,000 lines or 256 KiB in 10 s at most; default: no program"},
    {.name = "run_workers",
     .kind = SETTING_NUMBER,
     RUN(workers),
     .min = 1,
     .max = CREW_MAX,
     .preset = "1",
     .reloadable = true,
     .help = "programs at once"},
    {.name = "run_persistent",
     .kind = SETTING_BOOL,
     RUN(persistent),
     .preset = "false",
     .reloadable = true,
     .help = "one long-lived program per worker: a line in, an answer out"},
    {.name = "run_retry_exit",
     .kind = SETTING_NUMBER,
     RUN(retry_exit),
     .min = 1,
     .max = 255,
     .preset = "75",
     .reloadable = true,
     .help = "exit status that always means: try again"},
    {.name = "run_on_failure",
     .kind = SETTING_CHOICE,
     RUN(failure),
     .choices = failures,
     .first = BECK_RETRY,
     .preset = "retry",
     .reloadable = true,
     .help = "what any other failure means"},
    {.name = "run_user",
     .kind = SETTING_TEXT,
     RUN(user),
     .value = "USER",
     .reloadable = true,
     .help = "the program runs as this user, with its HOME, USER, LOGNAME and SHELL; needs a "
             "server that runs as root"},
    {.name = "run_group",
     .kind = SETTING_TEXT,
     RUN(group),
     .value = "GROUP",
     .reloadable = true,
     .help = "and with this group; default: the user's"},
    {.name = "run_directory",
     .kind = SETTING_TEXT,
     RUN(directory),
     .value = "DIR",
     .reloadable = true,
     .help = "where the program starts; default: where the server was started"},
    {.name = "run_environment",
     .kind = SETTING_LIST,
     RUN(environment),
     .value = "NAME=VALUE,...",
     .reloadable = true,
     .help = "variables of the program besides the server's own (without BECK_*) and the event's; "
             "PATH is also where it is looked for"},
    {.name = "run_memory_max",
     .kind = SETTING_SIZE,
     RUN(memory_max),
     .preset = "0",
     .reloadable = true,
     .help = "address space of each program; 0: as the server's"},
    {.name = "run_cpu_max",
     .kind = SETTING_DURATION,
     RUN(cpu_max_ms),
     .preset = "0",
     .reloadable = true,
     .help = "processor time of each program; 0: as the server's"},
    {.name = "run_files_max",
     .kind = SETTING_NUMBER,
     RUN(files_max),
     .max = 1 << 20,
     .preset = "0",
     .reloadable = true,
     .help = "open files of each program; 0: as the server's"},
    {.name = "run_processes_max",
     .kind = SETTING_NUMBER,
     RUN(processes_max),
     .max = 1 << 22,
     .preset = "0",
     .reloadable = true,
     .help = "processes of the program's user; 0: as the server's"},
    {0}};

static const struct setting_table queue_table = {queue_rows, sizeof(struct queue_setting)};

/* ---- webhooks ---- */

/* In the order of their enumerations (hook/hook.h). */
static const char *const providers[] = {"github",      "stripe",  "paypal",   "liqpay",
                                        "slack",       "shopify", "standard", "hmac",
                                        "cloudevents", "websub",  "none",     NULL};
static const char *const digests[] = {"sha1", "sha256", "sha384", "sha512", "sha3-256", NULL};
static const char *const encodings[] = {"hex", "base64", NULL};

#define HOOK(member) FIELD(struct hook_setting, source.member)

static const struct setting hook_rows[] = {
    {.name = "provider",
     .kind = SETTING_CHOICE,
     HOOK(provider),
     .choices = providers,
     .needed = true,
     .help = "who sends, and so how requests are verified"},
    {.name = "secrets",
     .kind = SETTING_LIST,
     FIELD(struct hook_setting, secrets),
     .value = "SECRET",
     .secret = true,
     .help = "any of them may have signed: the new and the old one while it is changed"},
    {.name = "bus",
     .kind = SETTING_TEXT,
     HOOK(bus),
     .value = "BUS",
     .needed = true,
     .help = "where the events go; made when missing"},
    {.name = "level",
     .kind = SETTING_CHOICE,
     HOOK(level),
     .choices = levels,
     .first = BECK_LEVEL_NONE,
     .preset = "synced",
     .help = "what the answer to the provider waits for"},
    {.name = "type_prefix",
     .kind = SETTING_TEXT,
     HOOK(type_prefix),
     .help = "what types begin with; else after the provider: com.github ..."},
    {.name = "source",
     .kind = SETTING_TEXT,
     HOOK(source),
     .value = "URI",
     .help = "of the events, instead of what the provider's fields say"},
    {.name = "tolerance",
     .kind = SETTING_DURATION,
     HOOK(tolerance_ms),
     .preset = "5m",
     .help = "age that a time stamp may have; 0: any"},
    {.name = "body_max",
     .kind = SETTING_SIZE,
     HOOK(body_max),
     .min = 1,
     .max = 1 << 30,
     .help = "largest body; 25m for github, else 1m"},
    {.name = "dedup",
     .kind = SETTING_DURATION,
     HOOK(dedup_window_ms),
     .preset = "1d",
     .help = "a delivery that comes again within it makes no second event; 0: off"},
    {.name = "header",
     .kind = SETTING_TEXT,
     HOOK(header),
     .help = "hmac: the header that holds the signature"},
    {.name = "prefix",
     .kind = SETTING_TEXT,
     HOOK(prefix),
     .help = "hmac: what stands in the header before the signature"},
    {.name = "digest",
     .kind = SETTING_CHOICE,
     HOOK(digest),
     .choices = digests,
     .first = HOOK_SHA1,
     .help = "hmac, liqpay: sha256 for hmac, sha1 for liqpay"},
    {.name = "encoding",
     .kind = SETTING_CHOICE,
     HOOK(encoding),
     .choices = encodings,
     .preset = "hex",
     .help = "hmac: of the signature"},
    {.name = "type_from",
     .kind = SETTING_TEXT,
     HOOK(type_from),
     .help = "hmac, standard, none: the type: a JSON pointer or header:NAME"},
    {.name = "id_from", .kind = SETTING_TEXT, HOOK(id_from), .help = "the same of the id"},
    {.name = "subject_from",
     .kind = SETTING_TEXT,
     HOOK(subject_from),
     .help = "the same of the subject"},
    {.name = "time_from", .kind = SETTING_TEXT, HOOK(time_from), .help = "the same of the time"},
    {.name = "svix",
     .kind = SETTING_BOOL,
     HOOK(svix),
     .preset = "false",
     .help = "standard: headers named svix-... are good too"},
    {.name = "webhook_id",
     .kind = SETTING_TEXT,
     HOOK(webhook_id),
     .help = "paypal: as PayPal's dashboard shows it"},
    {.name = "certificate",
     .kind = SETTING_TEXT,
     HOOK(certificate),
     .value = "FILE",
     .help = "paypal: the certificate that signs, in PEM; else it is fetched"},
    {.name = "allow_origins",
     .kind = SETTING_LIST,
     FIELD(struct hook_setting, allow_origins),
     .value = "ORIGIN",
     .help = "cloudevents, none: who may send, \"*\" for everybody"},
    {.name = "rate_per_minute",
     .kind = SETTING_NUMBER,
     HOOK(rate_per_minute),
     .preset = "0",
     .help = "cloudevents, none: what the handshake allows; 0: no limit"},
    {.name = "topics",
     .kind = SETTING_LIST,
     FIELD(struct hook_setting, topics),
     .value = "URI",
     .help = "websub: what was subscribed to"},
    {0}};

static const struct setting_table hook_table = {hook_rows, sizeof(struct hook_setting)};

/* ---- users ---- */

#define RULE(member) FIELD(struct rule_setting, member)

static const struct setting rule_rows[] = {
    {.name = "bus",
     .kind = SETTING_TEXT,
     RULE(bus),
     .value = "NAMES",
     .help = "buses, with * for any characters"},
    {.name = "queue",
     .kind = SETTING_TEXT,
     RULE(queue),
     .value = "NAMES",
     .help = "queues, with * for any characters"},
    {.name = "server",
     .kind = SETTING_BOOL,
     RULE(server),
     .help = "all buses and queues, and with admin the users and the server"},
    {.name = "rights",
     .kind = SETTING_LIST,
     RULE(rights),
     .value = "RIGHT",
     .needed = true,
     .help = "some of publish, read, work, admin, create and describe"},
    {0}};

static const struct setting_table rule_table = {rule_rows, sizeof(struct rule_setting)};

static const struct setting user_rows[] = {
    {.name = "password",
     .kind = SETTING_TEXT,
     FIELD(struct user_setting, password),
     .secret = true,
     .needed = true,
     .help = "best as file:PATH"},
    {.name = "rules",
     .kind = SETTING_RECORDS,
     FIELD(struct user_setting, rules),
     .table = &rule_table,
     .help = "what the user may do: mappings of bus, queue or server, and rights"},
    {0}};

static const struct setting_table user_table = {user_rows, sizeof(struct user_setting)};

/* ---- groups ---- */

const struct setting_group setting_groups[] = {
    {"buses", offsetof(struct settings, buses), &bus_table,
     "Buses that are made when they are missing, and changed when they differ; `storage`, "
     "`read_synced` and fewer `partitions` cannot be changed."},
    {"queues", offsetof(struct settings, queues), &queue_table,
     "Queues that are made when they are missing, and changed when they differ; `storage` and "
     "`priorities` cannot be changed. Bindings are added."},
    {"hooks", offsetof(struct settings, hooks), &hook_table,
     "Webhooks: requests to /hooks/NAME become events. docs/webhooks.md explains each provider."},
    {"users", offsetof(struct settings, users), &user_table,
     "Users that are made when they are missing; those that exist get this password and these "
     "rights. "
     "`beck user` makes and changes others."},
    {0}};

const struct setting_table *setting_group_table(const char *name)
{
    const struct setting_group *g = setting_groups;
    while (strcmp(g->name, name) != 0) {
        g++;
    }
    return g->table;
}
