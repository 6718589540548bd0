/*
 * From argv to a call.
 *
 * Options may stand anywhere before "--": those of the command and the global ones are one name
 * space. An option that takes a value takes the next argument unless that begins with "--", so that
 * `--since -10m` works (`--subject=--x` for the rest); an argument that begins with a minus and a
 * digit is no option either. Values are kept in the order given; presets stand before them, so that
 * the last one wins.
 */
#include "cli/parser.h"
#include "base/error.h"
#include "base/nearest.h"
#include "cli/help.h"
#include "event/value.h"
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct option_value {
    const struct option *option;
    const char *text;
    bool given;
    union {
        int64_t number; /* NUMBER, DURATION, SIZE, TIME, CHOICE (index) */
        beck_from from;
        beck_backoff backoff;
    };
};

static const char *const color_choices[] = {"auto", "always", "never", NULL};

const struct option global_options[] = {
    {.name = "data",
     .kind = OPTION_TEXT,
     .value = "DIR",
     .help = "the data directory (default: $BECK_DATA, else ./beck-data)"},
    {.name = "json", .kind = OPTION_FLAG, .help = "answer in JSON, one object per line"},
    {.name = "color",
     .kind = OPTION_CHOICE,
     .preset = "auto",
     .choices = color_choices,
     .help = "colours: auto means on a terminal, unless NO_COLOR is set"},
    {.name = "quiet", .letter = 'q', .kind = OPTION_FLAG, .help = "errors only, no talk"},
    {.name = "wait",
     .kind = OPTION_DURATION,
     .preset = "0",
     .help = "wait this long while another process holds the data directory"},
    {.name = "help", .letter = 'h', .kind = OPTION_FLAG, .help = "show help"},
    {.name = "version", .kind = OPTION_FLAG, .help = "print the version"},
    {0}};

/* ---- looking up ---- */

const struct command *command_find(const struct command *const *among, const char *name)
{
    for (; *among; among++) {
        if (strcmp((*among)->name, name) == 0) {
            return *among;
        }
    }
    return NULL;
}

static const struct option *find_in(const struct option *options, const char *name, size_t len)
{
    for (; options && options->name; options++) {
        if (strlen(options->name) == len && strncmp(options->name, name, len) == 0) {
            return options;
        }
    }
    return NULL;
}

static const struct option *find_option(const struct call *call, const char *name, size_t len)
{
    const struct option *o = call->command ? find_in(call->command->options, name, len) : NULL;
    return o ? o : find_in(global_options, name, len);
}

static const struct option *find_letter(const struct call *call, char letter)
{
    const struct option *tables[] = {call->command ? call->command->options : NULL, global_options};
    for (int i = 0; i < 2; i++) {
        for (const struct option *o = tables[i]; o && o->name; o++) {
            if (o->letter == letter) {
                return o;
            }
        }
    }
    return NULL;
}

/* ---- values ---- */

static const char *expectation(const struct option *o)
{
    switch (o->kind) {
    case OPTION_NUMBER:
        return "a whole number";
    case OPTION_DURATION:
        return "a duration such as 10ms, 5s, 2m, 1h or 7d";
    case OPTION_SIZE:
        return "a size such as 4096, 64k, 1m or 1g";
    case OPTION_TIME:
        return "a time such as 2026-01-31T14:30:00Z, 14:30, -10m, +1h or now";
    case OPTION_FROM:
        return "now, earliest, an offset such as 1200, or a time such as 14:30 or -10m";
    case OPTION_BACKOFF:
        return "none, fixed:1s, exponential:1s..1h, or list:1s,5s,1m (at most 16)";
    case OPTION_FLAG:
    case OPTION_TEXT:
    case OPTION_CHOICE:
        break;
    }
    return "another value";
}

static beck_status read_choice(const struct option *o, struct option_value *v, beck_error *err)
{
    char list[256] = "";
    size_t len = 0;
    for (int i = 0; o->choices[i]; i++) {
        if (strcmp(o->choices[i], v->text) == 0) {
            v->number = i;
            return BECK_OK;
        }
        len +=
            (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "", o->choices[i]);
        assert(len < sizeof list);
    }
    return error_set(err, BECK_EINVAL, "--%s '%s' is none of its values: give one of %s", o->name,
                     v->text, list);
}

static beck_status read_value(const struct call *call, struct option_value *v, beck_error *err)
{
    const struct option *o = v->option;
    bool fits = true;
    switch (o->kind) {
    case OPTION_FLAG:
    case OPTION_TEXT:
        return BECK_OK;
    case OPTION_CHOICE:
        return read_choice(o, v, err);
    case OPTION_NUMBER:
        fits = value_number(v->text, &v->number);
        break;
    case OPTION_DURATION:
        fits = value_duration(v->text, &v->number);
        break;
    case OPTION_SIZE:
        fits = value_size(v->text, &v->number);
        break;
    case OPTION_TIME:
        fits = value_time(v->text, call->now_ns, &v->number);
        break;
    case OPTION_FROM:
        fits = value_from(v->text, call->now_ns, &v->from);
        break;
    case OPTION_BACKOFF:
        fits = value_backoff(v->text, &v->backoff);
        break;
    }
    if (!fits) {
        return error_set(err, BECK_EINVAL, "--%s '%s' cannot be read: give %s", o->name, v->text,
                         expectation(o));
    }
    bool ranged = o->kind == OPTION_NUMBER || o->kind == OPTION_DURATION || o->kind == OPTION_SIZE;
    int64_t max = o->max ? o->max : INT64_MAX;
    if (ranged && (v->number < o->min || v->number > max)) {
        return error_set(err, BECK_EINVAL, "--%s '%s' is out of range: give %lld to %lld%s",
                         o->name, v->text, (long long)o->min, (long long)max,
                         o->kind == OPTION_DURATION ? " ms" : "");
    }
    return BECK_OK;
}

static beck_status add_value(struct call *call, const struct option *o, const char *text,
                             bool given, beck_error *err)
{
    for (size_t i = 0; given && !o->repeatable && o->kind != OPTION_FLAG && i < call->value_count;
         i++) {
        if (call->values[i].option == o && call->values[i].given) {
            return error_set(err, BECK_EINVAL, "--%s is given twice: give it once", o->name);
        }
    }
    struct option_value *v = &call->values[call->value_count];
    *v = (struct option_value){.option = o, .text = text, .given = given};
    beck_status status = read_value(call, v, err);
    if (!status) {
        call->value_count++;
    }
    return status;
}

static void add_presets(struct call *call, const struct option *options)
{
    for (; options && options->name; options++) {
        if (options->preset) {
            beck_status status = add_value(call, options, options->preset, false, NULL);
            assert(!status);
            (void)status;
        }
    }
}

/* ---- reading ---- */

static int unknown_option(const struct call *call, const char *name, size_t len)
{
    char shown[64];
    snprintf(shown, sizeof shown, "%.*s", (int)(len < 60 ? len : 60), name);
    const struct option *tables[] = {call->command ? call->command->options : NULL, global_options};
    const char *best = NULL;
    unsigned distance = 0;
    for (int i = 0; i < 2; i++) {
        for (const struct option *o = tables[i]; o && o->name; o++) {
            best = nearest(shown, best, &distance, o->name);
        }
    }
    if (best) {
        return call_usage(call, "no option '--%s': did you mean '--%s'?", shown, best);
    }
    return call_usage(call, "no option '--%s'", shown);
}

/* One option at argv[*at]; *at moves past its value. */
static bool read_option(struct call *call, int argc, char **argv, int *at)
{
    const char *arg = argv[*at];
    const struct option *o;
    const char *text = NULL;
    if (arg[1] == '-') {
        const char *name = arg + 2;
        size_t len = strcspn(name, "=");
        o = find_option(call, name, len);
        if (!o) {
            unknown_option(call, name, len);
            return false;
        }
        text = name[len] == '=' ? name + len + 1 : NULL;
    } else {
        o = find_letter(call, arg[1]);
        if (!o) {
            call_usage(call, "no option '-%c'", arg[1]);
            return false;
        }
        text = arg[2] ? arg + 2 : NULL;
    }
    if (o->kind == OPTION_FLAG && text) {
        call_usage(call, "--%s takes no value, but got '%s'", o->name, text);
        return false;
    }
    if (o->kind != OPTION_FLAG && !text) {
        if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0) {
            call_usage(call, "--%s needs a value: give %s", o->name, expectation(o));
            return false;
        }
        text = argv[++*at];
    }
    beck_error err;
    if (add_value(call, o, text, true, &err)) {
        call_usage(call, "%s", err.text);
        return false;
    }
    return true;
}

static bool is_option(const char *arg)
{
    return arg[0] == '-' && arg[1] && !isdigit((unsigned char)arg[1]);
}

/* A word where a command's name is expected. */
static bool read_command(struct call *call, const char *word)
{
    const struct command *const *among = call->command ? call->command->children : commands;
    const struct command *found = command_find(among, word);
    if (found) {
        call->group = call->command;
        call->command = found;
        return true;
    }
    const char *best = NULL;
    unsigned distance = 0;
    for (const struct command *const *c = among; *c; c++) {
        best = nearest(word, best, &distance, (*c)->name);
    }
    const char *group = call->command ? call->command->name : "";
    const char *space = call->command ? " " : "";
    if (best) {
        call_usage(call, "no command '%s%s%s': did you mean '%s%s%s'?", group, space, word, group,
                   space, best);
    } else {
        call_usage(call, "no command '%s%s%s'", group, space, word);
    }
    return false;
}

static bool check_arguments(const struct call *call)
{
    const struct command *c = call->command;
    if (call->argument_count < c->arguments_min) {
        call_usage(call, "an argument is missing: give %s", c->arguments);
        return false;
    }
    if (call->argument_count > c->arguments_max) {
        call_usage(call, "'%s' is one argument too many%s", call->arguments[c->arguments_max],
                   c->program ? ": the program to run stands behind --" : "");
        return false;
    }
    return true;
}

enum parse_result parser_read(struct call *call, int argc, char **argv)
{
    size_t presets = 128; /* more than any two tables have */
    call->values = calloc((size_t)argc + presets, sizeof *call->values);
    const char **arguments = calloc((size_t)argc + 1, sizeof *arguments);
    call->arguments = arguments;
    if (!call->values || !arguments) {
        call_error(call, EXIT_FAILED, "no memory for the command line");
        return PARSE_USAGE;
    }
    add_presets(call, global_options);
    bool leaf = false;
    for (int at = 1; at < argc; at++) {
        const char *arg = argv[at];
        if (strcmp(arg, "--") == 0 && leaf && call->command->program) {
            call->program = argv[at + 1] ? argv + at + 1 : NULL;
            break;
        }
        if (strcmp(arg, "--") == 0) {
            while (++at < argc) {
                arguments[call->argument_count++] = argv[at];
            }
            break;
        }
        if (is_option(arg)) {
            if (!read_option(call, argc, argv, &at)) {
                return PARSE_USAGE;
            }
        } else if (leaf) {
            arguments[call->argument_count++] = arg;
        } else {
            if (!read_command(call, arg)) {
                return PARSE_USAGE;
            }
            leaf = call->command->children == NULL;
            if (leaf) {
                add_presets(call, call->command->options);
            }
        }
    }
    if (option_flag(call, "version") && !option_flag(call, "help")) {
        call->command = &command_version;
        return PARSE_RUN;
    }
    if (option_flag(call, "help") || !leaf) {
        return PARSE_HELP;
    }
    return check_arguments(call) ? PARSE_RUN : PARSE_USAGE;
}

void parser_release(struct call *call)
{
    free(call->values);
    free((void *)call->arguments);
    call->values = NULL;
    call->arguments = NULL;
}

/* ---- accessors ---- */

static const struct option *declared(const struct call *call, const char *name)
{
    const struct option *o = find_option(call, name, strlen(name));
    assert(o);
    return o;
}

/* The last value of an option, or NULL. */
static const struct option_value *value_of(const struct call *call, const char *name)
{
    const struct option *o = declared(call, name);
    for (size_t i = call->value_count; i-- > 0;) {
        if (call->values[i].option == o) {
            return &call->values[i];
        }
    }
    return NULL;
}

bool option_given(const struct call *call, const char *name)
{
    const struct option_value *v = value_of(call, name);
    return v && v->given;
}

bool option_flag(const struct call *call, const char *name)
{
    return value_of(call, name) != NULL;
}

const char *option_text(const struct call *call, const char *name)
{
    const struct option_value *v = value_of(call, name);
    return v ? v->text : NULL;
}

int64_t option_number(const struct call *call, const char *name, int64_t otherwise)
{
    const struct option_value *v = value_of(call, name);
    return v ? v->number : otherwise;
}

int option_choice(const struct call *call, const char *name)
{
    const struct option_value *v = value_of(call, name);
    assert(declared(call, name)->kind == OPTION_CHOICE);
    return v ? (int)v->number : -1;
}

beck_from option_from(const struct call *call, const char *name)
{
    const struct option_value *v = value_of(call, name);
    assert(declared(call, name)->kind == OPTION_FROM);
    return v ? v->from : (beck_from){0};
}

beck_backoff option_backoff(const struct call *call, const char *name)
{
    const struct option_value *v = value_of(call, name);
    assert(declared(call, name)->kind == OPTION_BACKOFF);
    return v ? v->backoff : (beck_backoff){0};
}

size_t option_count(const struct call *call, const char *name)
{
    const struct option *o = declared(call, name);
    size_t count = 0;
    for (size_t i = 0; i < call->value_count; i++) {
        count += call->values[i].option == o && call->values[i].given;
    }
    return count;
}

const char *option_text_at(const struct call *call, const char *name, size_t index)
{
    const struct option *o = declared(call, name);
    for (size_t i = 0; i < call->value_count; i++) {
        if (call->values[i].option == o && call->values[i].given && index-- == 0) {
            return call->values[i].text;
        }
    }
    assert(false); /* index is below option_count */
    return NULL;
}
