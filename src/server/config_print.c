/* The configuration in force, as YAML. */
#include "server/config.h"
#include <stdio.h>

static beck_status print_origin(const struct setting_source *source, struct buf *out)
{
    static const char *const origins[] = {"default", "file", "environment", "flag"};
    return source->origin == ORIGIN_DEFAULT
               ? buf_append_byte(out, '\n')
               : buf_printf(out, " # %s %s\n", origins[source->origin], source->name);
}

static beck_status print_row(const struct settings *s, const struct setting *row, const char *name,
                             const char *indent, struct buf *out)
{
    beck_status status = buf_printf(out, "%s%s: ", indent, name);
    status = status ? status : setting_print(row, s, out);
    return status ? status : print_origin(&s->sources[row - settings_rows], out);
}

/* Rows of one section stand together in the table. */
static beck_status print_rows(const struct settings *s, struct buf *out)
{
    size_t section = 0; /* length of the name of that which is open */
    beck_status status = BECK_OK;
    for (const struct setting *row = settings_rows; row->name && !status; row++) {
        const char *dot = strchr(row->name, '.');
        size_t len = dot ? (size_t)(dot - row->name) : 0;
        bool same =
            section == len && row > settings_rows && strncmp(row->name, row[-1].name, len + 1) == 0;
        if (dot && !same) {
            status = buf_printf(out, "%.*s:\n", (int)len, row->name);
        }
        section = len;
        if (!status) {
            status = print_row(s, row, dot ? dot + 1 : row->name, dot ? "  " : "", out);
        }
    }
    return status;
}

static beck_status print_record(const struct setting *rows, const void *at, struct buf *out)
{
    const struct record *record = at;
    beck_status status = BECK_OK;
    if (!record->given) {
        return buf_append_text(out, " {}\n");
    }
    status = buf_append_byte(out, '\n');
    for (size_t i = 0; rows[i].name && !status; i++) {
        if (record->given >> i & 1) {
            status = buf_printf(out, "    %s: ", rows[i].name);
            status = status ? status : setting_print(&rows[i], record, out);
            status = status ? status : buf_append_byte(out, '\n');
        }
    }
    return status;
}

static beck_status print_group(const struct settings *s, const struct setting_group *group,
                               struct buf *out)
{
    const struct records *records = (const void *)((const char *)s + group->offset);
    beck_status status = records->count ? buf_printf(out, "%s:\n", group->name) : BECK_OK;
    for (size_t i = 0; i < records->count && !status; i++) {
        const struct record *record =
            (const void *)((const char *)records->at + i * group->table->size);
        status = buf_append_text(out, "  ");
        status = status ? status : setting_print_text(record->name, out);
        status = status ? status : buf_append_byte(out, ':');
        status = status ? status : print_record(group->table->rows, record, out);
    }
    return status;
}

beck_status config_print(const struct settings *s, struct buf *out)
{
    beck_status status = print_rows(s, out);
    for (const struct setting_group *g = setting_groups; g->name && !status; g++) {
        status = print_group(s, g, out);
    }
    return status;
}
