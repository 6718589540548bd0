/* beck serve: the server, with flags made from the table of its settings. */
#include "cli/commands.h"
#include "server/server.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What the command line calls the kinds of settings. */
enum {
    FLAG_BOOL = OPTION_CHOICE,
    FLAG_CHOICE = OPTION_CHOICE,
    FLAG_NUMBER = OPTION_NUMBER,
    FLAG_DURATION = OPTION_DURATION,
    FLAG_SIZE = OPTION_SIZE,
    FLAG_TEXT = OPTION_TEXT,
    FLAG_LIST = OPTION_TEXT
};

#define FLAG(flag_name, flag_kind, member, flag_min, flag_max, flag_preset, flag_value,            \
             flag_choices, flag_reloadable, flag_help)                                             \
    {.name = (flag_name),                                                                          \
     .kind = (enum option_kind)FLAG_##flag_kind,                                                   \
     .min = (flag_min),                                                                            \
     .max = (flag_max),                                                                            \
     .preset = (flag_preset),                                                                      \
     .value = (flag_value),                                                                        \
     .choices = (flag_choices),                                                                    \
     .help = (flag_help)},

static const struct option options[] = {
    {.name = "config",
     .letter = 'c',
     .kind = OPTION_TEXT,
     .value = "FILE",
     .help = "the configuration, in YAML (default: $BECK_CONFIG, else none)"},
    {.name = "check",
     .kind = OPTION_FLAG,
     .help = "say whether the configuration is right, and exit"},
    {.name = "print-config",
     .kind = OPTION_FLAG,
     .help = "print every setting and where it came from, and exit"},
    SERVER_SETTINGS(FLAG) /**/
    {0}};

static void tell_fault(void *ctx, const char *text)
{
    call_error(ctx, EXIT_USAGE, "%s", text);
}

static void tell_warning(void *ctx, const char *text)
{
    call_warn(ctx, "%s", text);
}

/* What the user gave, as flags of the configuration. Returns how many. */
static size_t flags_of(const struct call *call, struct config_flag *flags)
{
    size_t count = 0;
    for (const struct setting *row = settings_rows; row->name; row++) {
        if (option_given(call, row->name)) {
            flags[count++] = (struct config_flag){row->name, option_text(call, row->name)};
        }
    }
    return count;
}

static int print_settings(const struct call *call, const struct settings *settings)
{
    struct buf out;
    buf_init(&out, 16 << 20);
    beck_status status = config_print(settings, &out);
    if (!status) {
        fwrite(out.data, 1, out.len, stdout);
    }
    buf_release(&out);
    return status ? call_fail(call, status, NULL) : EXIT_DONE;
}

static int serve(struct call *call, struct config_sources *sources)
{
    struct settings *settings;
    beck_error err;
    beck_status status = config_load(sources, tell_fault, call, &settings, &err);
    if (status) {
        return call_fail(call, status, &err);
    }
    if (option_flag(call, "check") || option_flag(call, "print-config")) {
        bool print = option_flag(call, "print-config");
        config_warn(sources, tell_warning, call);
        int code = print ? print_settings(call, settings)
                   : config_check_new(settings, tell_fault, call) > 0 ? EXIT_USAGE
                                                                      : EXIT_DONE;
        settings_free(settings);
        if (!print && code == EXIT_DONE) {
            call_say(call, "the configuration is right");
        }
        return code;
    }
    status = server_run(sources, settings, call->wait_ms, &err);
    return status ? call_fail(call, status, &err) : EXIT_DONE;
}

static int serve_run(struct call *call)
{
    const char *file = option_text(call, "config");
    struct config_flag *flags = calloc(settings_row_count, sizeof *flags);
    if (!flags) {
        return call_fail(call, BECK_ENOMEM, NULL);
    }
    if (!file) {
        file = getenv("BECK_CONFIG");
    }
    struct config_sources sources = {.file = file && *file ? file : NULL,
                                     .environment = environ,
                                     .flags = flags,
                                     .flag_count = flags_of(call, flags)};
    int code = serve(call, &sources);
    free(flags);
    return code;
}

const struct command command_serve = {
    .name = "serve",
    .help = "run the server: HTTP for events, queues and webhooks",
    .about =
        "Every setting can be given as a flag, as a variable of the environment (http.listen:\n"
        "BECK_HTTP_LISTEN) or in the file; the first of these that is there counts. Buses,\n"
        "queues, webhooks and users can be declared in the file: see docs/configuration.md.\n"
        "SIGHUP reads the configuration and certificates again. SIGTERM and SIGINT end the\n"
        "server once its requests are answered; a second one ends it at once.",
    .examples =
        "beck serve --data /var/lib/beck\n"
        "beck serve --config beck.yaml --check\n"
        "# from other machines as well, with TLS\n"
        "beck serve --http.tls_listen :2443 --http.tls_certificate cert.pem --http.tls_key key.pem",
    .options = options,
    .run = serve_run};
