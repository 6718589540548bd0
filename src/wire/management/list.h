/*
 * Lists as answers: filtered by name, sorted, cut to pages and to columns, as the query asks
 * (page, page_size, name, use_regex, sort, sort_reverse, columns).
 *
 * Items are kept as text as soon as they are known, so that a list of many takes little more than its answer.
 */
#ifndef BECK_WIRE_MANAGEMENT_LIST_H
#define BECK_WIRE_MANAGEMENT_LIST_H

#include "wire/management/call.h"

struct list_item;
struct columns;

struct list {
    struct call *c;
    struct list_item *items;
    size_t count, cap, total; /* total: before the filter */
    int64_t page, page_size;  /* page 0: all */
    const char *name;         /* filter; NULL: none */
    void *regex;              /* compiled; NULL: name is a part of it */
    const char *sort;         /* NULL: as they come */
    bool reverse, failed;
    json_t *columns; /* a tree of names; NULL: all */
    size_t bytes;
};

/* False, after answering: the query makes no sense. */
bool list_begin(struct list *l, struct call *c);
/* Takes the item. Non-zero: no more is taken; list_answer says why. */
int list_add(struct list *l, json_t *item);
void list_answer(struct list *l);  /* and frees */
void list_abandon(struct list *l); /* frees, without an answer */

/* What `columns` leaves of one object; takes it. */
json_t *list_columns(struct call *c, json_t *item);

#endif
