/*
 * What beck_parse gives: events with the memory that they refer to, in as few pieces as possible.
 *
 * The document holds a copy of the text. Slices of events point into the copy; a string with
 * escapes is turned into its text in place there, since the text is never longer than its JSON.
 * The scanner reads the original, so errors always speak about the bytes that the caller gave.
 */
#ifndef BECK_EVENT_DOCUMENT_H
#define BECK_EVENT_DOCUMENT_H

#include "base/bytes.h"

/* A piece of memory that events are carved from; freed with the document. */
struct document_block {
    struct document_block *next;
    size_t used, size;
    _Alignas(16) uint8_t bytes[];
};

struct beck_document {
    size_t count, cap;
    beck_event *events;
    const uint8_t *text; /* the original; not to be used after parsing */
    uint8_t *copy;       /* of the text */
    struct document_block *blocks;
};

/* A document for this text, or NULL: no memory. */
beck_document *document_new(beck_bytes text);
/* Memory that lives as long as the document, aligned for anything; NULL: there is none. */
void *document_alloc(beck_document *d, size_t size);
/* One more event, all zero, valid until the next one is added; NULL: no memory. */
beck_event *document_add(beck_document *d);
/* Where a slice of the original stands in the copy. */
static inline uint8_t *document_copy(const beck_document *d, beck_bytes slice)
{
    return d->copy + ((const uint8_t *)slice.data - d->text);
}

#endif
