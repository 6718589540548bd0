/*
 * One element with everything below it, collected while a parser goes over it, and written as JSON:
 *
 *   <item id="5"><name>Tea</name><tag>a</tag><tag>b</tag><box/></item>
 *   {"@id":"5","name":"Tea","tag":["a","b"],"box":""}
 *
 * An attribute becomes "@name"; children of the same name become an array, wherever they stand; an
 * element without attributes and children becomes its text; text beside attributes or children
 * becomes "#text", without white space around it when there are children, and is left out when it
 * is nothing but white space. The topmost element is always an object.
 */
#ifndef BECK_CLI_XML_TREE_H
#define BECK_CLI_XML_TREE_H

#include "base/bytes.h"

#define XML_TREE_DEPTH_MAX 60 /* an element may become two levels of JSON, which has 128 */
#define XML_TREE_NODES_MAX 100000

struct xml_node;
struct xml_piece;

struct xml_tree {
    struct xml_node *nodes; /* 0 is the topmost element */
    struct xml_piece *pieces;
    uint32_t node_count, node_cap, piece_count, piece_cap;
    uint32_t *slots; /* (parent, name) -> the first child of that name, as its number + 1 */
    uint32_t slot_mask, slotted;
    struct buf bytes; /* names and text */
    uint32_t current; /* the element that is open */
    uint32_t depth;
};

void xml_tree_init(struct xml_tree *t, size_t bytes_max);
void xml_tree_release(struct xml_tree *t);
void xml_tree_clear(struct xml_tree *t);

/* Opens an element in the open one; the first call gives the topmost. attributes: name, value ...,
 * NULL. BECK_ELIMIT: too deep, too many nodes, or too long (the text says which). */
beck_status xml_tree_open(struct xml_tree *t, const char *name, const char *const *attributes,
                          beck_error *err);
beck_status xml_tree_text(struct xml_tree *t, const char *text, size_t len, beck_error *err);
void xml_tree_close(struct xml_tree *t);
/* Everything was closed. Replaces what `out` holds. */
beck_status xml_tree_write(const struct xml_tree *t, struct buf *out, beck_error *err);

#endif
