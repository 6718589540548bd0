/*
 * The configuration file: YAML 1.1 as libyaml reads it, and the walk of the tree by the tables.
 *
 * The walk goes as deep as the tables do and never into a node that they do not name, so aliases
 * (also cyclic ones) cost nothing. A key that comes twice is refused, as is everything unknown.
 */
#include "server/config.h"
#include "base/error.h"
#include "base/nearest.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#define PLACE_MAX 320
#define PATH_MAX_BYTES 640 /* "queues.NAME.bindings[3].pattern" */

struct walk {
    struct config *config;
    const char *name; /* of the file */
    yaml_document_t document;
};

/* ---- places and texts ---- */

static const char *place_at(const struct walk *w, yaml_mark_t mark, char out[PLACE_MAX])
{
    snprintf(out, PLACE_MAX, "%.250s:%zu:%zu", w->name, mark.line + 1, mark.column + 1);
    return out;
}

static void fault_at(struct walk *w, const yaml_node_t *node, const char *text)
{
    char place[PLACE_MAX];
    config_fault(w->config, place_at(w, node->start_mark, place), "%s", text);
}

__attribute__((format(printf, 3, 4))) static void fault(struct walk *w, const yaml_node_t *node,
                                                        const char *format, ...)
{
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fault_at(w, node, text);
}

static yaml_node_t *node_of(struct walk *w, int index)
{
    return yaml_document_get_node(&w->document, index);
}

/* The text of a scalar; NULL: it is none, or holds a NUL. */
static const char *text_of(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE) {
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

/* Nothing, "~" or "null" without quotes. */
static bool is_null(const yaml_node_t *node)
{
    const char *text = text_of(node);
    return text && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0);
}

static const char *what_is(const yaml_node_t *node)
{
    return node->type == YAML_MAPPING_NODE    ? "a mapping"
           : node->type == YAML_SEQUENCE_NODE ? "a list"
                                              : "a text";
}

/* ---- mappings ---- */

static size_t pair_count(const yaml_node_t *mapping)
{
    return (size_t)(mapping->data.mapping.pairs.top - mapping->data.mapping.pairs.start);
}

/* The key of a pair as text, or NULL after a fault: it must be a text, and come once. */
static const char *key_of(struct walk *w, const yaml_node_t *mapping, const yaml_node_pair_t *pair)
{
    const yaml_node_t *key = node_of(w, pair->key);
    const char *text = text_of(key);
    if (!text || !*text) {
        fault(w, key, "a name is expected here, not %s", text ? "nothing" : what_is(key));
        return NULL;
    }
    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *other = node_of(w, p->key);
        const char *name = text_of(other);
        if (name && strcmp(name, text) == 0) {
            fault(w, key, "'%.200s' comes twice: it is on line %zu already", text,
                  other->start_mark.line + 1);
            return NULL;
        }
    }
    return text;
}

/* Whether the node can be walked as a mapping: one of a bearable size, or nothing at all. */
static bool check_mapping(struct walk *w, const yaml_node_t *node, const char *path, bool *empty)
{
    *empty = is_null(node);
    if (*empty) {
        return true;
    }
    if (node->type != YAML_MAPPING_NODE) {
        fault(w, node, "'%.300s' is %s: a mapping is expected, with a name and a value a line",
              path, what_is(node));
        return false;
    }
    if (pair_count(node) > CONFIG_ENTRIES_MAX) {
        fault(w, node, "'%.300s' has too many entries: give at most %d", path, CONFIG_ENTRIES_MAX);
        return false;
    }
    return true;
}

static void unknown(struct walk *w, const yaml_node_t *key, const char *path, const char *best)
{
    if (best) {
        fault(w, key, "there is no setting '%.300s': did you mean '%s'?", path, best);
    } else {
        fault(w, key, "there is no setting '%.300s': see beck serve --help", path);
    }
}

/* ---- values ---- */

static void read_record(struct walk *w, const struct setting_table *table, void *record,
                        const yaml_node_t *node, const char *path);

static bool read_list(struct walk *w, const struct setting *row, void *record,
                      const yaml_node_t *node, const char *path)
{
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    struct arena *arena = &w->config->settings->arena;
    if (count > CONFIG_ENTRIES_MAX) {
        fault(w, node, "'%.300s' has too many items: give at most %d", path, CONFIG_ENTRIES_MAX);
        return false;
    }
    const char **items = arena_alloc(arena, (count + 1) * sizeof *items);
    if (!items) {
        w->config->no_memory = true;
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *item = node_of(w, node->data.sequence.items.start[i]);
        items[i] = text_of(item);
        if (!items[i]) {
            fault(w, item, "'%.300s' is a list of texts: this is %s", path,
                  item->type == YAML_SCALAR_NODE ? "a text with a NUL byte" : what_is(item));
            return false;
        }
    }
    beck_error err;
    if (setting_read_list(row, record, items, count, arena, &err)) {
        fault(w, node, "%.300s %.400s", path, err.text);
        return false;
    }
    return true;
}

static bool read_records(struct walk *w, const struct setting *row, void *record,
                         const yaml_node_t *node, const char *path)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        fault(w, node, "'%.300s' is %s: a list is expected, each item behind a '- '", path,
              what_is(node));
        return false;
    }
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count > CONFIG_ENTRIES_MAX) {
        fault(w, node, "'%.300s' has too many items: give at most %d", path, CONFIG_ENTRIES_MAX);
        return false;
    }
    char *records = arena_alloc(&w->config->settings->arena, (count + 1) * row->table->size);
    if (!records) {
        w->config->no_memory = true;
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        char item_path[PATH_MAX_BYTES];
        snprintf(item_path, sizeof item_path, "%.600s[%zu]", path, i);
        read_record(w, row->table, records + i * row->table->size,
                    node_of(w, node->data.sequence.items.start[i]), item_path);
    }
    *(struct records *)((char *)record + row->offset) = (struct records){records, count};
    return true;
}

/* The value of a row; false: a fault was told. */
static bool read_value(struct walk *w, const struct setting *row, void *record,
                       const yaml_node_t *node, const char *path)
{
    char expects[256];
    beck_error err;
    if (row->kind == SETTING_RECORDS) {
        return read_records(w, row, record, node, path);
    }
    if (row->kind == SETTING_LIST && node->type == YAML_SEQUENCE_NODE) {
        return read_list(w, row, record, node, path);
    }
    const char *text = text_of(node);
    if (!text && node->type != YAML_SCALAR_NODE) {
        fault(w, node, "'%.300s' is %s: give %s", path, what_is(node),
              setting_expects(row, expects, sizeof expects));
        return false;
    }
    if (!text || is_null(node)) {
        fault(w, node, "'%.300s' has %s: give %s, or take the line out", path,
              text ? "no value" : "a value with a NUL byte",
              setting_expects(row, expects, sizeof expects));
        return false;
    }
    struct arena *arena = &w->config->settings->arena;
    beck_status status = row->kind == SETTING_LIST
                             ? setting_read_list(row, record, &text, 1, arena, &err)
                             : setting_read(row, record, text, arena, &err);
    if (status) {
        fault(w, node, "%.300s %.400s", path, err.text);
    }
    return status == BECK_OK;
}

/* ---- records ---- */

static void check_needed(struct walk *w, const struct setting_table *table,
                         const struct record *record, const yaml_node_t *node, const char *path)
{
    for (size_t i = 0; table->rows[i].name; i++) {
        if (table->rows[i].needed && !(record->given >> i & 1)) {
            fault(w, node, "'%.300s' needs '%s': %s", path, table->rows[i].name,
                  table->rows[i].help);
        }
    }
}

static const char *nearest_row(const struct setting *rows, const char *name)
{
    const char *best = NULL;
    unsigned distance = 0;
    for (; rows->name; rows++) {
        best = nearest(name, best, &distance, rows->name);
    }
    return best;
}

static void read_record(struct walk *w, const struct setting_table *table, void *at,
                        const yaml_node_t *node, const char *path)
{
    struct record *record = at;
    struct arena *arena = &w->config->settings->arena;
    char place[PLACE_MAX];
    bool empty;
    beck_error err;
    for (const struct setting *row = table->rows; row->name; row++) {
        if (setting_reset(row, record, arena, &err)) {
            w->config->no_memory = true;
        }
    }
    place_at(w, node->start_mark, place);
    record->source = arena_text(arena, place, strlen(place));
    w->config->no_memory = w->config->no_memory || !record->source;
    if (!check_mapping(w, node, path, &empty) || w->config->no_memory) {
        return;
    }
    size_t faults = w->config->faults;
    const yaml_node_pair_t *pair = empty ? NULL : node->data.mapping.pairs.start;
    for (; pair && pair < node->data.mapping.pairs.top; pair++) {
        const char *key = key_of(w, node, pair);
        if (!key) {
            continue;
        }
        char inner[PATH_MAX_BYTES];
        snprintf(inner, sizeof inner, "%.400s.%.200s", path, key);
        const struct setting *row = setting_find(table->rows, key);
        if (!row) {
            unknown(w, node_of(w, pair->key), inner, nearest_row(table->rows, key));
        } else if (read_value(w, row, record, node_of(w, pair->value), inner)) {
            record->given |= 1ULL << (row - table->rows);
        }
    }
    if (w->config->faults == faults) {
        check_needed(w, table, record, node, path);
    }
}

/* buses: {NAME: {...}, ...} */
static void read_group(struct walk *w, const struct setting_group *group, const yaml_node_t *node)
{
    bool empty;
    struct settings *s = w->config->settings;
    if (!check_mapping(w, node, group->name, &empty) || empty) {
        return;
    }
    size_t count = 0, size = group->table->size;
    char *records = arena_alloc(&s->arena, (pair_count(node) + 1) * size);
    if (!records) {
        w->config->no_memory = true;
        return;
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const char *key = key_of(w, node, pair);
        if (!key) {
            continue;
        }
        struct record *record = (struct record *)(records + count++ * size);
        char path[PATH_MAX_BYTES];
        snprintf(path, sizeof path, "%s.%.260s", group->name, key);
        record->name = arena_text(&s->arena, key, strlen(key));
        w->config->no_memory = w->config->no_memory || !record->name;
        read_record(w, group->table, record, node_of(w, pair->value), path);
    }
    *(struct records *)((char *)s + group->offset) = (struct records){records, count};
}

/* ---- the whole ---- */

static void read_row(struct walk *w, const struct setting *row, const yaml_node_t *key,
                     const yaml_node_t *value)
{
    struct settings *s = w->config->settings;
    struct setting_source *source = &s->sources[row - settings_rows];
    if (source->origin == ORIGIN_FILE) {
        fault(w, key, "'%s' comes twice: it is at %s already", row->name, source->name);
        return;
    }
    if (read_value(w, row, s, value, row->name)) {
        char place[PLACE_MAX];
        place_at(w, value->start_mark, place);
        *source = (struct setting_source){ORIGIN_FILE, arena_text(&s->arena, place, strlen(place))};
        w->config->no_memory = w->config->no_memory || !source->name;
    }
}

/* The rows of a section: "http" has http.listen ... */
static bool in_section(const struct setting *row, const char *section)
{
    size_t len = strlen(section);
    return strncmp(row->name, section, len) == 0 && row->name[len] == '.';
}

static bool is_section(const char *name)
{
    for (const struct setting *row = settings_rows; row->name; row++) {
        if (in_section(row, name)) {
            return true;
        }
    }
    return false;
}

static void read_section(struct walk *w, const char *section, const yaml_node_t *node)
{
    bool empty;
    if (!check_mapping(w, node, section, &empty) || empty) {
        return;
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const char *key = key_of(w, node, pair);
        if (!key) {
            continue;
        }
        char path[PATH_MAX_BYTES];
        snprintf(path, sizeof path, "%s.%.300s", section, key);
        const struct setting *row = setting_find(settings_rows, path);
        if (row) {
            read_row(w, row, node_of(w, pair->key), node_of(w, pair->value));
            continue;
        }
        const char *best = NULL;
        unsigned distance = 0;
        for (row = settings_rows; row->name; row++) {
            if (in_section(row, section)) {
                best = nearest(key, best, &distance, row->name + strlen(section) + 1);
            }
        }
        unknown(w, node_of(w, pair->key), path, best);
    }
}

/* A name of the first level that is most like `key`; a setting of a section by its own name too. */
static const char *nearest_top(const char *key, char section[64])
{
    const char *best = NULL;
    unsigned distance = 0;
    for (const struct setting_group *g = setting_groups; g->name; g++) {
        best = nearest(key, best, &distance, g->name);
    }
    for (const struct setting *row = settings_rows; row->name; row++) {
        const char *dot = strchr(row->name, '.');
        if (dot) {
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)(dot - row->name), row->name);
            if (strcmp(dot + 1, key) == 0) {
                return row->name;
            }
            if (nearest(key, best, &distance, name) == name) {
                memcpy(section, name, sizeof name);
                best = section;
            }
        } else {
            best = nearest(key, best, &distance, row->name);
        }
    }
    return best;
}

static void read_top(struct walk *w, const yaml_node_t *root)
{
    bool empty;
    if (!check_mapping(w, root, "the file", &empty) || empty) {
        return;
    }
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        const char *key = key_of(w, root, pair);
        if (!key) {
            continue;
        }
        const yaml_node_t *value = node_of(w, pair->value);
        const struct setting_group *group = setting_groups;
        while (group->name && strcmp(group->name, key) != 0) {
            group++;
        }
        const struct setting *row = setting_find(settings_rows, key);
        char section[64];
        if (group->name) {
            read_group(w, group, value);
        } else if (row) {
            read_row(w, row, node_of(w, pair->key), value);
        } else if (is_section(key)) {
            read_section(w, key, value);
        } else {
            unknown(w, node_of(w, pair->key), key, nearest_top(key, section));
        }
    }
}

/* What libyaml says of text that is no YAML. */
static void syntax_fault(struct walk *w, const yaml_parser_t *p)
{
    char place[PLACE_MAX];
    bool reader = p->error == YAML_READER_ERROR;
    yaml_mark_t mark = reader ? p->mark : p->problem_mark;
    const char *problem = p->problem ? p->problem : "the text ends or begins in a wrong way";
    if (p->error == YAML_MEMORY_ERROR) {
        w->config->no_memory = true;
        return;
    }
    config_fault(w->config, place_at(w, mark, place), "this is no YAML: %s%s%s", problem,
                 p->context && !reader ? ", " : "", p->context && !reader ? p->context : "");
}

void config_read_text(struct config *c, const char *name, beck_bytes text)
{
    struct walk w = {.config = c, .name = name};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        c->no_memory = true;
        return;
    }
    yaml_parser_set_input_string(&parser, text.data ? text.data : (const void *)"", text.len);
    if (!yaml_parser_load(&parser, &w.document)) {
        syntax_fault(&w, &parser);
        yaml_parser_delete(&parser);
        return;
    }
    const yaml_node_t *root = yaml_document_get_root_node(&w.document);
    if (root) {
        read_top(&w, root);
    }
    yaml_document_delete(&w.document);
    if (root && !yaml_parser_load(&parser, &w.document)) {
        syntax_fault(&w, &parser);
        yaml_parser_delete(&parser);
        return;
    }
    root = root ? yaml_document_get_root_node(&w.document) : NULL;
    if (root) {
        fault(&w, root, "a second document begins here: a configuration is one document");
    }
    yaml_document_delete(&w.document);
    yaml_parser_delete(&parser);
}

beck_status config_read_file(struct config *c, const char *path, beck_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return error_errno(err, errno, "the configuration file '%.300s' cannot be opened", path);
    }
    uint8_t *text = malloc(CONFIG_FILE_BYTES_MAX + 1);
    beck_status status = text ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory for a file");
    size_t len = 0;
    while (!status && len <= CONFIG_FILE_BYTES_MAX) {
        ssize_t n = read(fd, text + len, CONFIG_FILE_BYTES_MAX + 1 - len);
        if (n < 0) {
            status =
                error_errno(err, errno, "the configuration file '%.300s' cannot be read", path);
        }
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    close(fd);
    if (!status && len > CONFIG_FILE_BYTES_MAX) {
        status =
            error_set(err, BECK_ELIMIT,
                      "the configuration file '%.300s' is too large: at most %d bytes are read",
                      path, CONFIG_FILE_BYTES_MAX);
    }
    if (!status) {
        config_read_text(c, path, bytes_of(text, len));
    }
    if (text) {
        explicit_bzero(text, len);
    }
    free(text);
    return status;
}
