/*
 * Writes configuration.md and the manual page beck-serve(1) from the tables of settings, and beck(1) from those of the
 * command line.
 *
 *   reference DIR           writes the files
 *   reference --check DIR   fails when one of them is not what would be written
 */
#include "cli/exit.h"
#include "cli/help.h"
#include "cli/parser.h"
#include "server/config.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- texts ---- */

static const char md_begin[] =
    "# Configuration of `beck serve`\n"
    "\n"
    "<!-- Written by docs/reference.c from the tables in src/server/settings.*: `ninja -C BUILD "
    "reference`. -->\n"
    "\n"
    "Nothing needs to be configured: `beck serve --data DIR` serves HTTP on 127.0.0.1:2325, "
    "[::1]:2325 and the Unix socket\n"
    "`DIR/beck.sock`. An example is [examples/beck.yaml](../examples/beck.yaml).\n"
    "\n"
    "## Where settings come from\n"
    "\n"
    "Of several sources the first that names a setting counts:\n"
    "\n"
    "1. a flag: `beck serve --http.listen 127.0.0.1:8080`\n"
    "2. a variable of the environment: `BECK_HTTP_LISTEN=127.0.0.1:8080`; an empty one counts as "
    "none\n"
    "3. the file that `--config FILE` or `BECK_CONFIG` names, in YAML\n"
    "4. the default\n"
    "\n"
    "In the file a dot is a level:\n"
    "\n"
    "```yaml\n"
    "http:\n"
    "  listen: [\"127.0.0.1:8080\"]\n"
    "  body_max: 64m\n"
    "```\n"
    "\n"
    "In flags and variables the items of a list have commas between them; an empty flag is an "
    "empty "
    "list. `beck serve --check`\n"
    "says whether everything is right and exits (0: right, 2: not); every mistake is told with its "
    "file, line and column. Where the data directory is still\n"
    "to be made, buses that bindings need and users are looked for in the file alone. Unknown\n"
    "settings are mistakes; of variables that begin with BECK_ and are none there is a warning.\n"
    "`beck serve --print-config` prints what is in force and where each "
    "value came from.\n"
    "\n"
    "## Values\n"
    "\n"
    "| | |\n"
    "| --- | --- |\n"
    "| DURATION | `10ms`, `5s`, `2m`, `1h`, `7d`, `1h30m`, `0` |\n"
    "| SIZE | `4096`, `64k`, `1m`, `1g`: steps of 1,024 |\n"
    "| ADDRESS:PORT | `127.0.0.1:2325`, `[::1]:2325`, `localhost:2325`, `:2325` (every address); "
    "port 0: any that is free |\n"
    "| BACKOFF | `none`, `fixed:1s`, `exponential:1s..1h`, `list:1s,5s,1m` |\n"
    "| FROM | `now`, `earliest`, an offset such as `1200`, or a time such as "
    "`2026-01-31T14:30:00Z` |\n"
    "| SECRET | the text itself, or `file:PATH`: the content of that file without the end of its "
    "line. Never logged, never printed |\n"
    "\n"
    "## Reloading\n"
    "\n"
    "SIGHUP, `systemctl reload` and `POST /v1/server/reload` read the file and the secrets again. "
    "Put in force are the settings\n"
    "marked \"reload\" below, buses, queues, bindings and users as they are declared, the "
    "webhooks, "
    "and the content of certificate and key. What needs\n"
    "a restart is named in the log and stays as it was. A configuration with a mistake, or that "
    "declares what cannot be, changes nothing: in the latter case only users become what the file "
    "says.\n"
    "\n"
    "One reload runs at a time: a request that comes meanwhile gets 409, signals are one more "
    "reload. "
    "Programs of queues (`run`) are not\n"
    "waited for: what they handle they finish, beside the ones that take their place; one that "
    "cannot "
    "be started takes the place of none.\n"
    "\n"
    "## What is declared\n"
    "\n"
    "Buses, queues, bindings and users of the file are made at the start, or by a reload, when "
    "they "
    "are missing. What exists and differs\n"
    "in something that the file names is changed to it, and the log says so; what the file does "
    "not "
    "name may be as it is. What cannot be\n"
    "changed (`storage`, `read_synced`, `priorities`, fewer `partitions`) must be as the file "
    "says: "
    "else nothing at all is made or changed, and\n"
    "the server does not start. Nothing is deleted because the file does not have it any more: a "
    "binding of a declared queue that is not\n"
    "in its `bindings`, and a user that a reload finds no more, stay, with a warning. Of declared "
    "users "
    "passwords and rights are those of the file;\n"
    "to see whether a password differs costs as much as a login.\n"
    "\n"
    "## Who may connect\n"
    "\n"
    "While there are no users, everybody on this machine may do everything, and nobody else may do "
    "anything: a server that listens\n"
    "on other addresses without users does not start, unless `access.anonymous_remote` says that "
    "this is meant. The socket\n"
    "`beck.sock` in the data directory belongs to the directory's owner, who may do everything.\n"
    "\n"
    "## Under systemd\n"
    "\n"
    "[packaging/beck.service](../packaging/beck.service) is a unit for it: the server says when it "
    "is "
    "ready (`Type=notify-reload`).\n"
    "With a socket unit the sockets that systemd listens on replace `http.listen` and "
    "`http.tls_listen`; those named `https`\n"
    "(`FileDescriptorName=https`) are for TLS.\n";

static const char man_begin[] =
    ".SH SYNOPSIS\n"
    ".B beck serve\n"
    "[\\fB\\-\\-config\\fR \\fIFILE\\fR] [\\fB\\-\\-data\\fR \\fIDIR\\fR] "
    "[\\fB\\-\\-\\fISETTING\\fR "
    "\\fIVALUE\\fR ...]\n"
    ".br\n"
    ".B beck serve\n"
    "\\fB\\-\\-check\\fR | \\fB\\-\\-print\\-config\\fR [...]\n"
    ".SH DESCRIPTION\n"
    "Runs beck as a server: events, queues and webhooks over HTTP.\n"
    "Of several sources the first that names a setting counts: a flag, a variable of the "
    "environment\n"
    "(http.listen: BECK_HTTP_LISTEN), the file in YAML, the default.\n"
    "In flags and variables the items of a list have commas between them.\n"
    ".PP\n"
    "SIGTERM and SIGINT end the server once its requests are answered; a second one ends it at "
    "once.\n"
    "SIGHUP reads the configuration, certificates and secrets again.\n"
    ".SH OPTIONS\n"
    ".TP\n"
    "\\fB\\-c\\fR, \\fB\\-\\-config\\fR \\fIFILE\\fR\n"
    "the configuration, in YAML; else that which BECK_CONFIG names\n"
    ".TP\n"
    "\\fB\\-\\-check\\fR\n"
    "say whether the configuration is right, and exit\n"
    ".TP\n"
    "\\fB\\-\\-print\\-config\\fR\n"
    "print every setting and where it came from, and exit\n"
    ".TP\n"
    "\\fB\\-\\-wait\\fR \\fIDURATION\\fR\n"
    "wait this long while another process holds the data directory\n";

static const char man_end[] =
    ".SH FILES\n"
    ".TP\n"
    ".I DATA/beck.sock\n"
    "the Unix socket through which the owner of the data directory reaches the server\n"
    ".SH ENVIRONMENT\n"
    "BECK_CONFIG, BECK_DATA, and BECK_ with the name of each setting.\n"
    "LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES and NOTIFY_SOCKET, as systemd sets them.\n"
    ".SH EXIT STATUS\n"
    "0: the server was asked to end. 2: the configuration is wrong. 4: another process holds the "
    "data\n"
    "directory or an address. The others: beck help exit\\-codes.\n";

/* ---- markdown ---- */

static void md_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        fputs(*text == '|' ? "\\|" : *text == '*' ? "\\*" : (char[]){*text, 0}, out);
    }
}

static void md_row(FILE *out, const struct setting *row, const char *name)
{
    char value[256];
    fprintf(out, "| `%s` | ", name);
    md_text(out, row->secret ? "SECRET" : setting_value_name(row, value, sizeof value));
    if (row->secret && row->kind == SETTING_LIST) {
        fputs(",...", out);
    }
    fprintf(out, " | %s%s%s | ", row->preset && *row->preset ? "`" : "",
            row->needed   ? "needed"
            : row->preset ? row->preset
                          : "",
            row->preset && *row->preset ? "`" : "");
    md_text(out, row->help);
    fprintf(out, "%s |\n", row->reloadable ? " (reload)" : "");
}

static void md_table(FILE *out)
{
    fputs("\n| setting | value | default | |\n| --- | --- | --- | --- |\n", out);
}

static void md_rows(FILE *out, const struct setting *rows, const char *prefix)
{
    for (; rows->name; rows++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", prefix, rows->name);
        md_row(out, rows, name);
        if (rows->kind == SETTING_RECORDS) {
            snprintf(name, sizeof name, "%s%s[].", prefix, rows->name);
            for (const struct setting *inner = rows->table->rows; inner->name; inner++) {
                char inner_name[160];
                snprintf(inner_name, sizeof inner_name, "%s%s", name, inner->name);
                md_row(out, inner, inner_name);
            }
        }
    }
}

static bool begins_section(const struct setting *row)
{
    const char *dot = strchr(row->name, '.');
    size_t len = dot ? (size_t)(dot - row->name) + 1 : 0;
    return row == settings_rows || (dot && strncmp(row->name, row[-1].name, len) != 0);
}

static void write_markdown(FILE *out)
{
    fputs(md_begin, out);
    for (const struct setting *row = settings_rows; row->name; row++) {
        if (begins_section(row)) {
            const char *dot = strchr(row->name, '.');
            fprintf(out, "\n## %.*s\n", dot ? (int)(dot - row->name) : 7,
                    dot ? row->name : "General");
            md_table(out);
        }
        md_row(out, row, row->name);
    }
    for (const struct setting_group *g = setting_groups; g->name; g++) {
        fprintf(out, "\n## %s.NAME\n\n%s\n", g->name, g->help);
        md_table(out);
        md_rows(out, g->table->rows, "");
    }
}

/* ---- manual page ---- */

static void man_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        fputs(*text == '-' ? "\\-" : *text == '\\' ? "\\\\" : (char[]){*text, 0}, out);
    }
}

static void man_row(FILE *out, const struct setting *row, const char *dashes)
{
    char value[256];
    fputs(".TP\n\\fB", out);
    man_text(out, dashes);
    man_text(out, row->name);
    fputs("\\fR \\fI", out);
    man_text(out, row->secret ? "SECRET" : setting_value_name(row, value, sizeof value));
    fputs("\\fR\n", out);
    man_text(out, row->help);
    if (row->preset && *row->preset) {
        fputs(" (default: ", out);
        man_text(out, row->preset);
        fputc(')', out);
    }
    fputc('\n', out);
}

static void write_manual(FILE *out)
{
    fprintf(out, ".TH BECK\\-SERVE 1 \"\" \"beck %s\" \"beck\"\n", BECK_VERSION);
    fputs(".SH NAME\nbeck\\-serve \\- run the server of beck\n", out);
    fputs(man_begin, out);
    for (const struct setting *row = settings_rows; row->name; row++) {
        man_row(out, row, "--");
    }
    fputs(".SH CONFIGURATION FILE\nThe settings above, with a level for each dot, and:\n", out);
    for (const struct setting_group *g = setting_groups; g->name; g++) {
        fprintf(out, ".SS %s.NAME\n", g->name);
        man_text(out, g->help);
        fputc('\n', out);
        for (const struct setting *row = g->table->rows; row->name; row++) {
            man_row(out, row, "");
        }
    }
    fputs(man_end, out);
}

/* ---- manual page of the command line ---- */

/* As it stands, line by line. */
static void man_lines(FILE *out, const char *text)
{
    fputs(".nf\n", out);
    while (*text) {
        size_t len = strcspn(text, "\n");
        char line[512];
        snprintf(line, sizeof line, "%.*s", (int)len, text);
        fputs(line[0] == '.' || line[0] == '\'' ? "\\&" : "", out);
        man_text(out, line);
        fputc('\n', out);
        text += len + (text[len] == '\n');
    }
    fputs(".fi\n", out);
}

static void man_options(FILE *out, const struct option *options)
{
    char head[256];
    for (const struct option *o = options; o->name; o++) {
        help_option(o, head, sizeof head);
        fputs(".TP\n\\fB", out);
        man_text(out, head + strspn(head, " "));
        fputs("\\fR\n", out);
        man_text(out, o->help);
        fputs(o->repeatable ? "; may be given more than once" : "", out);
        if (o->preset && *o->preset && o->kind != OPTION_FLAG) {
            fputs(" (default: ", out);
            man_text(out, o->preset);
            fputc(')', out);
        }
        fputc('\n', out);
    }
}

static void man_command(FILE *out, const char *group, const struct command *c)
{
    fprintf(out, ".SS beck %s%s%s", group, *group ? " " : "", c->name);
    fputc(c->arguments ? ' ' : '\n', out);
    if (c->arguments) {
        man_text(out, c->arguments);
        fputs(c->program ? " \\-\\- PROGRAM [ARGS...]\n" : "\n", out);
    }
    man_text(out, c->help);
    fputs("\n", out);
    if (c->about) {
        fputs(".PP\n", out);
        man_lines(out, c->about);
    }
    if (c->options) {
        man_options(out, c->options);
    }
    if (c->examples) {
        fputs(".PP\nExamples:\n", out);
        man_lines(out, c->examples);
    }
    for (size_t i = 0; c->children && c->children[i]; i++) {
        man_command(out, c->name, c->children[i]); /* COMMAND_DEPTH deep */
    }
}

static void write_program(FILE *out)
{
    fprintf(out, ".TH BECK 1 \"\" \"beck %s\" \"beck\"\n", BECK_VERSION);
    fputs(".SH NAME\nbeck \\- events that are emitted, kept, handled and replayed\n"
          ".SH SYNOPSIS\n.B beck\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]\n"
          ".SH OPTIONS OF EVERY COMMAND\n",
          out);
    man_options(out, global_options);
    fputs(".SH COMMANDS\n", out);
    for (size_t i = 0; commands[i]; i++) {
        man_command(out, "", commands[i]);
    }
    fputs(".SH EXIT STATUS\n", out);
    for (const struct exit_meaning *m = exit_meanings; m->name; m++) {
        fprintf(out, ".TP\n%d\n", m->code);
        man_text(out, m->meaning);
        fputc('\n', out);
    }
    fputs(".SH ENVIRONMENT\n.TP\nBECK_DATA\nthe data directory, where \\-\\-data is not given\n"
          ".SH SEE ALSO\nbeck\\-serve(1), beck help values\n",
          out);
}

/* ---- files ---- */

static char *text_of(void (*write)(FILE *out))
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        perror("reference");
        exit(1);
    }
    write(out);
    fclose(out);
    return text;
}

static bool is_same(const char *path, const char *text)
{
    FILE *file = fopen(path, "r");
    bool same = file != NULL;
    for (; same; text++) {
        int c = fgetc(file);
        if (c == EOF || !*text) {
            same = c == EOF && !*text;
            break;
        }
        same = (unsigned char)*text == c;
    }
    if (file) {
        fclose(file);
    }
    return same;
}

static int put(const char *dir, const char *name, void (*write)(FILE *out), bool check)
{
    char path[4096];
    char *text = text_of(write);
    int code = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (check && !is_same(path, text)) {
        fprintf(stderr, "%s is not what the tables say: run ninja -C BUILD reference\n", path);
        code = 1;
    }
    FILE *file = check ? NULL : fopen(path, "w");
    if (!check && (!file || fputs(text, file) < 0 || fclose(file) != 0)) {
        perror(path);
        code = 1;
    }
    free(text);
    return code;
}

int main(int argc, char **argv)
{
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    if (argc != 2 && !check) {
        fputs("usage: reference [--check] DIR\n", stderr);
        return 2;
    }
    const char *dir = argv[argc - 1];
    return put(dir, "configuration.md", write_markdown, check) |
           put(dir, "beck-serve.1", write_manual, check) | put(dir, "beck.1", write_program, check);
}
