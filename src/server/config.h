/*
 * The configuration: settings read from all their sources. What counts, first to last: a flag, an
 * environment variable, the file, the default.
 *
 * Every mistake is told, not only the first: with the place (file, line and column; variable; flag),
 * what is wrong and what to give instead. Secrets are not repeated in messages.
 */
#ifndef BECK_SERVER_CONFIG_H
#define BECK_SERVER_CONFIG_H

#include "server/settings.h"

#define CONFIG_FILE_BYTES_MAX (1 << 20)
#define CONFIG_ENTRIES_MAX 10000 /* of one mapping or list */

struct config_flag {
    const char *name, *text; /* "http.listen" */
};

struct config_sources {
    const char *file;         /* NULL: none */
    char *const *environment; /* "NAME=VALUE", NULL-terminated; an empty value counts as none */
    const struct config_flag *flags;
    size_t flag_count;
};

/* One line, without a newline. */
typedef void (*config_fault_fn)(void *ctx, const char *text);

/* BECK_EINVAL: there were faults, and each was told; BECK_ENOENT: no such file; BECK_ENOMEM. */
beck_status config_load(const struct config_sources *sources, config_fault_fn fault, void *ctx,
                        struct settings **out, beck_error *err);
void settings_free(struct settings *s); /* NULL allowed; secrets are wiped */

/* The rules of a user of a configuration that was loaded; they point into it. Returns how many. */
size_t config_rules(const struct user_setting *user, struct access_rule out[ACCESS_RULES_MAX]);

/* For `--check`: what will not start where the data directory is still to be made, and else may.
 * How many faults were told. */
size_t config_check_new(struct settings *s, config_fault_fn fault, void *ctx);

/* Variables that begin with BECK_ and are neither a setting nor known to be something else. */
void config_warn(const struct config_sources *sources, config_fault_fn warn, void *ctx);

/* Everything in force as YAML that config_load reads, secrets as "***"; what is not the default has
 * a comment that says where it came from. */
beck_status config_print(const struct settings *s, struct buf *out);

/* "BECK_HTTP_LISTEN" */
#define CONFIG_VARIABLE_MAX 64
void config_variable(const struct setting *row, char out[CONFIG_VARIABLE_MAX]);

/* ---- within: config_file.c and config_check.c ---- */

struct config {
    struct settings *settings;
    config_fault_fn fault;
    void *ctx;
    size_t faults;
    bool no_memory;
};

/* Tells a fault. `place`: what it begins with, or NULL. */
void config_fault(struct config *c, const char *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The text of a file; `name` is what messages call it. */
void config_read_text(struct config *c, const char *name, beck_bytes text);
beck_status config_read_file(struct config *c, const char *path, beck_error *err);
/* What no row can see: settings that need one another, names, options of the engine. */
void config_check(struct config *c);

#endif
