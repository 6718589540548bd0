/* Printing data on standard output: JSON lines, tables, and text from outside made harmless. */
#ifndef BECK_CLI_PRINT_H
#define BECK_CLI_PRINT_H

#include "base/bytes.h"
#include "cli/command.h"

/*
 * One JSON object as a line: json_line_begin, members in any number, json_line_print. Running out
 * of memory is remembered and reported by json_line_print.
 */
struct json_line {
    struct buf text;
    beck_status status;
};

void json_line_begin(struct json_line *j);
/* Absent text leaves the member out. */
void json_line_text(struct json_line *j, const char *name, beck_bytes text);
void json_line_number(struct json_line *j, const char *name, int64_t number);
void json_line_moment(struct json_line *j, const char *name, int64_t ms); /* below 0: left out */
void json_line_bool(struct json_line *j, const char *name, bool value);
/* A value that is JSON already. */
void json_line_raw(struct json_line *j, const char *name, const char *json);
/* "name":[ ... ] of objects: array_begin, then per object object_begin, members, object_end. */
void json_line_array_begin(struct json_line *j, const char *name);
void json_line_array_end(struct json_line *j);
void json_line_object_begin(struct json_line *j, const char *name); /* NULL: in an array */
void json_line_object_end(struct json_line *j);
/* Closes the object, writes the line to standard output, frees. EXIT_DONE, or the code after a
 * report. */
int json_line_print(struct json_line *j, const struct call *call);

/*
 * A table: a header and rows of cells, aligned. A heading that begins with '>' aligns its column to
 * the right.
 */
#define TABLE_COLUMNS_MAX 12

struct table {
    struct buf cells; /* every cell with a NUL */
    const char *headings[TABLE_COLUMNS_MAX];
    size_t widths[TABLE_COLUMNS_MAX];
    size_t columns, count;
    beck_status status;
};

void table_init(struct table *t, const char *const *headings); /* NULL-terminated, borrowed */
/* The next cell, from left to right; a full row begins the next. Text from outside is made
 * harmless; nothing is shown as "-". */
void table_text(struct table *t, const char *text);
void table_bytes(struct table *t, beck_bytes text);
void table_number(struct table *t, int64_t number);
/* Prints and frees. */
int table_print(struct table *t, const struct call *call);

/* "name  value" lines of one object, for people. */
void print_field(const struct call *call, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends text from outside for a terminal: control characters and what is no UTF-8 become '?', new
 * lines and tabs a space; at most `columns` characters, then "...". Returns the characters. */
size_t print_safe(struct buf *out, beck_bytes text, size_t columns);
/* Columns of the terminal on standard output; 0: not a terminal. */
size_t print_width(void);

/* "events/0/17" */
#define POSITION_TEXT_MAX 320
void print_position(char out[POSITION_TEXT_MAX], beck_bytes bus, beck_position position);

#endif
