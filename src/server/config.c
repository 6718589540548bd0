/* All sources of settings, one over the other: see config.h. */
#include "server/config.h"
#include "base/error.h"
#include "base/nearest.h"
#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FAULT_MAX 1024

void config_fault(struct config *c, const char *place, const char *format, ...)
{
    char text[FAULT_MAX];
    int len = place ? snprintf(text, sizeof text, "%.300s: ", place) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(text + len, sizeof text - (size_t)len, format, args);
    va_end(args);
    for (char *p = text; *p; p++) {
        *p = (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p; /* a value of several lines, say */
    }
    c->faults++;
    c->fault(c->ctx, text);
}

void config_variable(const struct setting *row, char out[CONFIG_VARIABLE_MAX])
{
    int len = snprintf(out, CONFIG_VARIABLE_MAX, "BECK_%s", row->name);
    assert(len < CONFIG_VARIABLE_MAX);
    for (int i = 0; i < len; i++) {
        out[i] = out[i] == '.' ? '_' : (char)toupper((unsigned char)out[i]);
    }
}

static const char *variable_value(char *const *environment, const char *name)
{
    size_t len = strlen(name);
    for (; environment && *environment; environment++) {
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=') {
            return (*environment)[len + 1] ? *environment + len + 1 : NULL;
        }
    }
    return NULL;
}

/* One value from outside of the file. */
static void lay(struct config *c, size_t row, enum setting_origin origin, const char *name,
                const char *text)
{
    struct settings *s = c->settings;
    beck_error err;
    if (setting_read(&settings_rows[row], s, text, &s->arena, &err)) {
        config_fault(c, NULL, "%s %s", name, err.text);
        return;
    }
    const char *copy = arena_text(&s->arena, name, strlen(name));
    c->no_memory = c->no_memory || !copy;
    s->sources[row] = (struct setting_source){origin, copy};
}

static void lay_environment(struct config *c, char *const *environment)
{
    for (size_t i = 0; i < settings_row_count; i++) {
        char name[CONFIG_VARIABLE_MAX];
        config_variable(&settings_rows[i], name);
        const char *text = variable_value(environment, name);
        if (text) {
            lay(c, i, ORIGIN_ENVIRONMENT, name, text);
        }
    }
}

static void lay_flags(struct config *c, const struct config_flag *flags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct setting *row = setting_find(settings_rows, flags[i].name);
        assert(row); /* the command line is made from the same rows */
        char name[CONFIG_VARIABLE_MAX + 2];
        snprintf(name, sizeof name, "--%s", flags[i].name);
        lay(c, (size_t)(row - settings_rows), ORIGIN_FLAG, name, flags[i].text);
    }
}

static beck_status lay_defaults(struct settings *s, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < settings_row_count && !status; i++) {
        status = setting_reset(&settings_rows[i], s, &s->arena, err);
    }
    return status;
}

beck_status config_load(const struct config_sources *sources, config_fault_fn fault, void *ctx,
                        struct settings **out, beck_error *err)
{
    struct settings *s = calloc(1, sizeof *s);
    if (!s) {
        return error_set(err, BECK_ENOMEM, "no memory for the configuration");
    }
    s->sources = arena_alloc(&s->arena, settings_row_count * sizeof *s->sources);
    struct config c = {.settings = s, .fault = fault, .ctx = ctx, .no_memory = !s->sources};
    beck_status status = c.no_memory ? BECK_OK : lay_defaults(s, err);
    if (!status && !c.no_memory && sources->file) {
        status = config_read_file(&c, sources->file, err);
    }
    if (!status && !c.no_memory) {
        lay_environment(&c, sources->environment);
        lay_flags(&c, sources->flags, sources->flag_count);
    }
    if (!status && !c.no_memory && c.faults == 0) {
        config_check(&c);
    }
    if (!status && c.no_memory) {
        status = error_set(err, BECK_ENOMEM, "no memory for the configuration");
    }
    if (!status && c.faults > 0) {
        status =
            error_set(err, BECK_EINVAL, "the configuration has %zu mistake%s: nothing was done",
                      c.faults, c.faults > 1 ? "s" : "");
    }
    if (status) {
        settings_free(s);
        return status;
    }
    *out = s;
    return BECK_OK;
}

void settings_free(struct settings *s)
{
    if (s) {
        arena_release(&s->arena);
        free(s);
    }
}

/* Names with BECK_ that are for something else: BECK_CONFIG, what programs that handle events are given,
 * and what Kubernetes says of a service with that name (BECK_SERVICE_HOST, BECK_PORT_2325_TCP). */
static bool is_of_others(const char *name)
{
    static const char *const names[] = {"BECK_CONFIG", "BECK_QUEUE", "BECK_ATTEMPT",
                                        "BECK_POSITION"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    const char *port = strstr(name, "_PORT");
    return strstr(name, "_SERVICE_") || (port && (port[5] == '\0' || port[5] == '_'));
}

/* The name that was meant, in `best`, or ""; false: it is one. */
static bool find_meant(const char *name, char best[CONFIG_VARIABLE_MAX])
{
    char known[CONFIG_VARIABLE_MAX] = "BECK_CONFIG";
    unsigned distance = 0;
    best[0] = '\0';
    for (size_t i = 0; i <= settings_row_count; i++) {
        if (strcmp(known, name) == 0) {
            return false;
        }
        unsigned before = distance;
        if (nearest(name, *best ? best : NULL, &distance, known) == known &&
            (!*best || distance < before)) {
            memcpy(best, known, sizeof known);
        }
        if (i < settings_row_count) {
            config_variable(&settings_rows[i], known);
        }
    }
    return true;
}

void config_warn(const struct config_sources *sources, config_fault_fn warn, void *ctx)
{
    for (char *const *e = sources->environment; e && *e; e++) {
        char name[CONFIG_VARIABLE_MAX], best[CONFIG_VARIABLE_MAX], text[FAULT_MAX];
        size_t len = strcspn(*e, "=");
        if (strncmp(*e, "BECK_", 5) != 0 || len >= sizeof name) {
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)len, *e);
        if (is_of_others(name) || !find_meant(name, best)) {
            continue;
        }
        if (*best) {
            snprintf(text, sizeof text,
                     "the environment variable %s is no setting: did you mean %s?", name, best);
        } else {
            snprintf(text, sizeof text,
                     "the environment variable %s is no setting, and does nothing: see beck serve "
                     "--help",
                     name);
        }
        warn(ctx, text);
    }
}
