/* Ownership of parsed events: blocks of memory in a list, the first of them large enough for a
 * single event, so that the common document is two pieces. */
#include "event/document.h"

#include <stdlib.h>

#define FIRST_BLOCK 1536
#define BLOCK 65536

static bool add_block(beck_document *d, size_t size)
{
    struct document_block *b = malloc(sizeof *b + size);
    if (b == NULL) {
        return false;
    }
    b->next = d->blocks;
    b->used = 0;
    b->size = size;
    d->blocks = b;
    return true;
}

void *document_alloc(beck_document *d, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (d->blocks->size - d->blocks->used < size && !add_block(d, size > BLOCK ? size : BLOCK)) {
        return NULL;
    }
    void *memory = d->blocks->bytes + d->blocks->used;
    d->blocks->used += size;
    return memory;
}

beck_document *document_new(beck_bytes text)
{
    beck_document *d = calloc(1, sizeof *d);
    if (d == NULL) {
        return NULL;
    }
    if (!add_block(d, FIRST_BLOCK + text.len)) {
        free(d);
        return NULL;
    }
    d->copy = document_alloc(d, text.len);
    d->text = text.data;
    if (text.len > 0) {
        memcpy(d->copy, text.data, text.len);
    }
    return d;
}

beck_event *document_add(beck_document *d)
{
    if (d->count == d->cap) {
        size_t cap = d->cap == 0 ? 1 : d->cap < 8 ? 8 : d->cap * 2;
        beck_event *grown = document_alloc(d, cap * sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        if (d->count > 0) {
            memcpy(grown, d->events, d->count * sizeof *grown);
        }
        d->events = grown;
        d->cap = cap;
    }
    beck_event *e = &d->events[d->count++];
    memset(e, 0, sizeof *e);
    return e;
}

size_t beck_document_count(const beck_document *document)
{
    return document != NULL ? document->count : 0;
}

const beck_event *beck_document_event(const beck_document *document, size_t index)
{
    return index < beck_document_count(document) ? &document->events[index] : NULL;
}

void beck_document_free(beck_document *document)
{
    if (document == NULL) {
        return;
    }
    for (struct document_block *b = document->blocks, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    free(document);
}
