/* Help: every text is put together from the tables, so that it cannot disagree with the parser. */
#include "cli/help.h"
#include "base/nearest.h"
#include "cli/parser.h"
#include <string.h>

#define COLUMN_MAX 30

struct style {
    const char *bold, *dim, *end;
};

static struct style style_of(const struct call *call)
{
    return call->color_out ? (struct style){"\033[1m", "\033[2m", "\033[0m"}
                           : (struct style){"", "", ""};
}

static const char *value_name(const struct option *o)
{
    static const char *const names[] = {
        [OPTION_TEXT] = "TEXT", [OPTION_NUMBER] = "N",       [OPTION_DURATION] = "DURATION",
        [OPTION_SIZE] = "SIZE", [OPTION_TIME] = "TIME",      [OPTION_CHOICE] = "CHOICE",
        [OPTION_FROM] = "FROM", [OPTION_BACKOFF] = "BACKOFF"};
    return o->value ? o->value : names[o->kind];
}

int help_option(const struct option *o, char *out, size_t size)
{
    char letter[5] = "    ";
    if (o->letter) {
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    }
    if (o->kind == OPTION_FLAG) {
        return snprintf(out, size, "%s--%s", letter, o->name);
    }
    if (o->kind == OPTION_CHOICE) {
        int len = snprintf(out, size, "%s--%s ", letter, o->name);
        for (int i = 0; o->choices[i]; i++) {
            len += snprintf(out + len, size - (size_t)len, "%s%s", i ? "|" : "", o->choices[i]);
        }
        return len;
    }
    return snprintf(out, size, "%s--%s %s", letter, o->name, value_name(o));
}

static void print_options(FILE *out, const struct option *options, struct style s)
{
    int column = 0;
    char head[256];
    for (const struct option *o = options; o->name; o++) {
        int len = help_option(o, head, sizeof head);
        column = len > column && len <= COLUMN_MAX ? len : column;
    }
    for (const struct option *o = options; o->name; o++) {
        int len = help_option(o, head, sizeof head);
        fprintf(out, "  %s%s%s", s.bold, head, s.end);
        if (len > column) {
            fprintf(out, "\n  %*s", column, "");
        } else {
            fprintf(out, "%*s", column - len, "");
        }
        fprintf(out, "  %s", o->help);
        if (o->repeatable) {
            fputs("; may be given more than once", out);
        }
        if (o->preset && *o->preset && o->kind != OPTION_FLAG) {
            fprintf(out, " %s(default %s)%s", s.dim, o->preset, s.end);
        }
        fputc('\n', out);
    }
}

static void print_commands(FILE *out, const struct command *const *among, struct style s)
{
    int column = 0;
    for (const struct command *const *c = among; *c; c++) {
        int len = (int)strlen((*c)->name);
        column = len > column ? len : column;
    }
    for (const struct command *const *c = among; *c; c++) {
        fprintf(out, "  %s%-*s%s  %s\n", s.bold, column, (*c)->name, s.end, (*c)->help);
    }
}

/* Every line of a text, indented. */
static void print_lines(FILE *out, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        fprintf(out, "%s%.*s\n", len ? "  " : "", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

static void print_program(FILE *out, struct style s)
{
    fprintf(out,
            "%sbeck%s: events that are emitted, kept, handled and replayed\n\n"
            "%susage%s: beck [OPTIONS] COMMAND [ARGUMENTS]\n\n%scommands%s\n",
            s.bold, s.end, s.bold, s.end, s.bold, s.end);
    print_commands(out, commands, s);
    fprintf(out, "\n%soptions of every command%s\n", s.bold, s.end);
    print_options(out, global_options, s);
    fprintf(out, "\n%sto begin%s\n", s.bold, s.end);
    print_lines(out, "beck emit order.created '{\"id\": 1, \"total\": 30}' --subject ORD-1\n"
                     "beck log\n"
                     "beck on 'order.*' --queue billing --exit-when-idle -- ./bill.sh\n"
                     "beck dead list billing\n");
    fputs("\nmore: beck help COMMAND, beck help exit-codes, beck help values\n", out);
}

static void print_command(FILE *out, const struct call *call, struct style s)
{
    const struct command *c = call->command;
    const char *group = call->group ? call->group->name : "";
    fprintf(out, "%sbeck %s%s%s%s: %s\n\n", s.bold, group, *group ? " " : "", c->name, s.end,
            c->help);
    fprintf(out, "%susage%s: beck %s%s%s", s.bold, s.end, group, *group ? " " : "", c->name);
    if (c->children) {
        fputs(" COMMAND", out);
    }
    fprintf(out, "%s%s%s%s\n", c->arguments ? " " : "", c->arguments ? c->arguments : "",
            c->options ? " [OPTIONS]" : "", c->program ? " -- PROGRAM [ARGS...]" : "");
    if (c->about) {
        fputc('\n', out);
        print_lines(out, c->about);
    }
    if (c->children) {
        fprintf(out, "\n%scommands%s\n", s.bold, s.end);
        print_commands(out, c->children, s);
    }
    if (c->options) {
        fprintf(out, "\n%soptions%s\n", s.bold, s.end);
        print_options(out, c->options, s);
    }
    if (c->examples) {
        fprintf(out, "\n%sexamples%s\n", s.bold, s.end);
        print_lines(out, c->examples);
    }
    fputs("\noptions of every command (--data DIR, --json, --quiet ...): beck help\n", out);
}

void help_print(const struct call *call, FILE *out)
{
    struct style s = style_of(call);
    if (call->command) {
        print_command(out, call, s);
    } else {
        print_program(out, s);
    }
}

static void print_exit_codes(FILE *out)
{
    fputs("exit codes: their meaning does not change from release to release\n\n", out);
    for (const struct exit_meaning *m = exit_meanings; m->name; m++) {
        fprintf(out, "  %3d  %-11s  %s\n", m->code, m->name, m->meaning);
    }
}

static const char values_text[] =
    "TIME      2026-01-31T14:30:00Z (RFC 3339), 2026-01-31, \"2026-01-31 14:30\",\n"
    "          14:30, 14:30:05 (today, local time), -10m (ago), +1h (ahead), now\n"
    "DURATION  10ms, 5s, 2m, 1h, 7d, 1h30m, 0\n"
    "SIZE      4096, 64k, 1m, 1g: steps of 1,024\n"
    "FROM      now, earliest, an offset such as 1200, or a TIME. An offset is that of every\n"
    "          partition; those that end before begin at their end. For beck log and beck\n"
    "          replay also PARTITION/OFFSET or BUS/PARTITION/OFFSET, as positions are printed\n"
    "BACKOFF   none, fixed:1s, exponential:1s..1h, list:1s,5s,1m\n"
    "PATTERN   words and dots; * is one word, # is zero or more: order.*, order.#, #\n";

static int help_run(struct call *call)
{
    struct call asked = *call;
    asked.command = asked.group = NULL;
    const char *topic = call->argument_count ? call->arguments[0] : NULL;
    if (topic && strcmp(topic, "exit-codes") == 0) {
        print_exit_codes(stdout);
        return EXIT_DONE;
    }
    if (topic && strcmp(topic, "values") == 0) {
        fputs("how values are written on the command line\n\n", stdout);
        print_lines(stdout, values_text);
        return EXIT_DONE;
    }
    for (uint32_t i = 0; i < call->argument_count; i++) {
        const struct command *const *among = asked.command ? asked.command->children : commands;
        const struct command *found = among ? command_find(among, call->arguments[i]) : NULL;
        if (!found) {
            const char *best = NULL;
            unsigned distance = 0;
            for (; among && *among; among++) {
                best = nearest(call->arguments[i], best, &distance, (*among)->name);
            }
            return call_usage(call, "no command '%s'%s%s%s", call->arguments[i],
                              best ? ": did you mean '" : "", best ? best : "", best ? "'?" : "");
        }
        asked.group = asked.command;
        asked.command = found;
    }
    help_print(&asked, stdout);
    return EXIT_DONE;
}

const struct command command_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .arguments_max = COMMAND_DEPTH,
    .help = "explain a command, the exit codes, or how values are written",
    .examples = "beck help emit\nbeck help queue create\nbeck help exit-codes\nbeck help values",
    .run = help_run,
};

static int version_run(struct call *call)
{
    if (call->json) {
        printf("{\"version\":\"%s\"}\n", BECK_VERSION);
    } else {
        printf("beck %s\n", BECK_VERSION);
    }
    return EXIT_DONE;
}

const struct command command_version = {
    .name = "version",
    .help = "print the version",
    .run = version_run,
};
