/*
 * Nodes stand in one array in the order in which they begin. Children of one name are a list (same)
 * that hangs off the first of them; the firsts are the list (next) of what the parent's object has.
 * Up to HEADS_SEARCHED of them are searched one by one; the others are found by parent and name in
 * a hash table, so that an element with many children costs no more per child.
 */
#include "cli/xml_tree.h"
#include "base/error.h"
#include "event/json.h"
#include <assert.h>
#include <stdlib.h>

#define NONE UINT32_MAX
#define SLOTS_MIN 256
#define HEADS_SEARCHED 8

struct xml_node {
    uint32_t parent;
    uint32_t name_at, name_len; /* in bytes */
    uint32_t hash;              /* of parent and name */
    uint32_t first, last;       /* what its object has: the first child of each name */
    uint32_t next;              /* the next first child of another name */
    uint32_t same, same_last;   /* the next child of this name; of a first one: the last */
    uint32_t text, text_last;   /* pieces */
    bool has_children;
    bool has_words; /* text that is not only white space */
};

struct xml_piece {
    uint32_t at, len; /* in bytes */
    uint32_t next;
};

void xml_tree_init(struct xml_tree *t, size_t bytes_max)
{
    assert(bytes_max <= UINT32_MAX);
    *t = (struct xml_tree){.current = NONE};
    buf_init(&t->bytes, bytes_max);
}

void xml_tree_release(struct xml_tree *t)
{
    free(t->nodes);
    free(t->pieces);
    free(t->slots);
    buf_release(&t->bytes);
    *t = (struct xml_tree){.current = NONE};
}

/* ---- the table ---- */

static bool is_in(const struct xml_tree *t, uint32_t node, uint32_t hash, uint32_t parent,
                  beck_bytes name)
{
    const struct xml_node *n = &t->nodes[node];
    return n->hash == hash && n->parent == parent && n->name_len == name.len &&
           memcmp(t->bytes.data + n->name_at, name.data, name.len) == 0;
}

/* The slot of that name, or the empty one where it belongs. */
static uint32_t *find_slot(const struct xml_tree *t, uint32_t hash, uint32_t parent,
                           beck_bytes name)
{
    uint32_t i = hash & t->slot_mask;
    while (t->slots[i] && !is_in(t, t->slots[i] - 1, hash, parent, name)) {
        i = (i + 1) & t->slot_mask;
    }
    return &t->slots[i];
}

/* Empties the slots of a record: one by one when they are few. */
void xml_tree_clear(struct xml_tree *t)
{
    if (t->slotted > t->slot_mask / 8) {
        memset(t->slots, 0, ((size_t)t->slot_mask + 1) * sizeof *t->slots);
    } else {
        for (uint32_t n = 0; t->slotted > 0 && n < t->node_count; n++) {
            uint32_t i = t->nodes[n].hash & t->slot_mask;
            for (; t->slots[i]; i = (i + 1) & t->slot_mask) {
                t->slots[i] = 0;
            }
        }
    }
    t->node_count = t->piece_count = t->depth = t->slotted = 0;
    t->current = NONE;
    buf_clear(&t->bytes);
}

static bool grow_slots(struct xml_tree *t)
{
    uint32_t size = t->slots ? (t->slot_mask + 1) * 2 : SLOTS_MIN;
    uint32_t *slots = calloc(size, sizeof *slots);
    if (!slots) {
        return false;
    }
    uint32_t *old = t->slots;
    uint32_t old_size = old ? t->slot_mask + 1 : 0;
    t->slots = slots;
    t->slot_mask = size - 1;
    for (uint32_t k = 0; k < old_size; k++) {
        if (old[k]) {
            uint32_t i = t->nodes[old[k] - 1].hash & t->slot_mask;
            while (slots[i]) {
                i = (i + 1) & t->slot_mask;
            }
            slots[i] = old[k];
        }
    }
    free(old);
    return true;
}

/* ---- collecting ---- */

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!is_space((uint8_t)text[i])) {
            return false;
        }
    }
    return true;
}

static beck_status too_long(beck_status status, beck_error *err)
{
    return status == BECK_ELIMIT
               ? error_set(err, status, "the record is too long: raise --record-max")
               : error_set(err, status, "no memory for the record");
}

static beck_status too_many(beck_error *err)
{
    return error_set(err, BECK_ELIMIT,
                     "the record has more than %d elements and attributes: choose smaller records "
                     "with --record",
                     XML_TREE_NODES_MAX);
}

/* Room for one more; pointers to nodes become invalid. */
static beck_status reserve_node(struct xml_tree *t, beck_error *err)
{
    if (t->node_count == XML_TREE_NODES_MAX) {
        return too_many(err);
    }
    if (t->node_count == t->node_cap) {
        uint32_t cap = t->node_cap ? t->node_cap * 2 : 64;
        struct xml_node *nodes = realloc(t->nodes, cap * sizeof *nodes);
        if (!nodes) {
            return too_long(BECK_ENOMEM, err);
        }
        t->nodes = nodes;
        t->node_cap = cap;
    }
    bool roomy = t->slots && t->slotted < t->slot_mask / 2;
    return roomy || grow_slots(t) ? BECK_OK : too_long(BECK_ENOMEM, err);
}

static beck_status reserve_piece(struct xml_tree *t, beck_error *err)
{
    if (t->piece_count == 4 * XML_TREE_NODES_MAX) {
        return too_many(err);
    }
    if (t->piece_count == t->piece_cap) {
        uint32_t cap = t->piece_cap ? t->piece_cap * 2 : 64;
        struct xml_piece *pieces = realloc(t->pieces, cap * sizeof *pieces);
        if (!pieces) {
            return too_long(BECK_ENOMEM, err);
        }
        t->pieces = pieces;
        t->piece_cap = cap;
    }
    return BECK_OK;
}

static void append_same(struct xml_tree *t, uint32_t head, uint32_t n)
{
    t->nodes[t->nodes[head].same_last].same = n;
    t->nodes[head].same_last = n;
}

/* Puts node n, whose name is set, among the children of its parent. */
static void link_child(struct xml_tree *t, uint32_t n)
{
    struct xml_node *node = &t->nodes[n], *parent = &t->nodes[node->parent];
    beck_bytes name = bytes_of(t->bytes.data + node->name_at, node->name_len);
    uint32_t at = 0;
    for (uint32_t h = parent->first; h != NONE && at < HEADS_SEARCHED; h = t->nodes[h].next, at++) {
        const struct xml_node *head = &t->nodes[h];
        if (head->name_len == name.len &&
            memcmp(t->bytes.data + head->name_at, name.data, name.len) == 0) {
            append_same(t, h, n);
            return;
        }
    }
    if (at == HEADS_SEARCHED) {
        node->hash = (uint32_t)bytes_hash(name.data, name.len, node->parent);
        uint32_t *slot = find_slot(t, node->hash, node->parent, name);
        if (*slot) {
            append_same(t, *slot - 1, n);
            return;
        }
        *slot = n + 1;
        t->slotted++;
    }
    if (parent->last == NONE) {
        parent->first = n;
    } else {
        t->nodes[parent->last].next = n;
    }
    parent->last = n;
}

/* A node in `parent` (NONE: the topmost). */
static beck_status add_node(struct xml_tree *t, uint32_t parent, bool attribute, const char *name,
                            uint32_t *out, beck_error *err)
{
    beck_status status = reserve_node(t, err);
    if (status) {
        return status;
    }
    size_t at = t->bytes.len, name_len = strlen(name), len = name_len + attribute;
    status = buf_reserve(&t->bytes, len);
    if (status) {
        return too_long(status, err);
    }
    t->bytes.data[at] = '@';
    memcpy(t->bytes.data + at + attribute, name, name_len);
    t->bytes.len += len;
    uint32_t n = t->node_count++;
    t->nodes[n] = (struct xml_node){.parent = parent,
                                    .name_at = (uint32_t)at,
                                    .name_len = (uint32_t)len,
                                    .first = NONE,
                                    .last = NONE,
                                    .next = NONE,
                                    .same = NONE,
                                    .same_last = n,
                                    .text = NONE,
                                    .text_last = NONE};
    if (parent != NONE) {
        link_child(t, n);
    }
    *out = n;
    return BECK_OK;
}

static beck_status add_text(struct xml_tree *t, uint32_t n, const char *text, size_t len,
                            beck_error *err)
{
    struct xml_node *node = &t->nodes[n];
    size_t at = t->bytes.len;
    beck_status status = buf_append(&t->bytes, text, len);
    if (status) {
        return too_long(status, err);
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a node with text has a piece */
    struct xml_piece *last = node->text_last == NONE ? NULL : &t->pieces[node->text_last];
    if (last && last->at + last->len == at) {
        last->len += (uint32_t)len;
        return BECK_OK;
    }
    status = reserve_piece(t, err);
    if (status) {
        return status;
    }
    uint32_t p = t->piece_count++;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): likewise */
    t->pieces[p] = (struct xml_piece){.at = (uint32_t)at, .len = (uint32_t)len, .next = NONE};
    if (node->text == NONE) {
        node->text = p;
    } else {
        t->pieces[node->text_last].next = p;
    }
    node->text_last = p;
    return BECK_OK;
}

beck_status xml_tree_open(struct xml_tree *t, const char *name, const char *const *attributes,
                          beck_error *err)
{
    uint32_t n;
    if (t->depth == XML_TREE_DEPTH_MAX) {
        return error_set(err, BECK_ELIMIT, "the record has more than %d levels of elements",
                         XML_TREE_DEPTH_MAX);
    }
    beck_status status = add_node(t, t->current, false, name, &n, err);
    if (!status && t->current != NONE) {
        struct xml_node *parent = &t->nodes[t->current];
        parent->has_children = true;
        if (!parent->has_words) {
            parent->text = parent->text_last = NONE;
        }
    }
    for (size_t i = 0; attributes[i] && !status; i += 2) {
        uint32_t a;
        status = add_node(t, n, true, attributes[i], &a, err);
        status =
            status ? status : add_text(t, a, attributes[i + 1], strlen(attributes[i + 1]), err);
    }
    if (!status) {
        t->current = n;
        t->depth++;
    }
    return status;
}

beck_status xml_tree_text(struct xml_tree *t, const char *text, size_t len, beck_error *err)
{
    assert(t->current != NONE);
    struct xml_node *n = &t->nodes[t->current];
    if (!n->has_words && !is_blank(text, len)) {
        n->has_words = true;
    }
    /* White space around children is left out when written: here most of it. */
    return n->has_children && !n->has_words ? BECK_OK : add_text(t, t->current, text, len, err);
}

void xml_tree_close(struct xml_tree *t)
{
    assert(t->depth > 0);
    t->current = t->nodes[t->current].parent;
    t->depth--;
}

/* ---- writing ---- */

/* All text of a node, in `joined` when it stands in several pieces. */
static beck_status text_of(const struct xml_tree *t, const struct xml_node *n, struct buf *joined,
                           beck_bytes *out)
{
    *out = bytes_of("", 0);
    if (n->text == NONE) {
        return BECK_OK;
    }
    const struct xml_piece *p = &t->pieces[n->text];
    if (p->next == NONE) {
        *out = bytes_of(t->bytes.data + p->at, p->len);
        return BECK_OK;
    }
    buf_clear(joined);
    beck_status status = BECK_OK;
    for (uint32_t i = n->text; i != NONE && !status; i = t->pieces[i].next) {
        status = buf_append(joined, t->bytes.data + t->pieces[i].at, t->pieces[i].len);
    }
    *out = buf_bytes(joined);
    return status;
}

static beck_bytes trim(beck_bytes text)
{
    const uint8_t *p = text.data;
    while (text.len > 0 && is_space(p[text.len - 1])) {
        text.len--;
    }
    while (text.len > 0 && is_space(*p)) {
        p++;
        text.len--;
    }
    return bytes_of(p, text.len);
}

struct frame {
    uint32_t node;  /* whose object is being written */
    uint32_t head;  /* the first child of the name that is being written; NONE at the beginning */
    uint32_t child; /* the one being written */
    bool any;       /* a member was written */
    bool several;   /* child stands in an array */
};

struct output {
    const struct xml_tree *tree;
    struct buf *out;
    struct buf joined;
    struct frame stack[XML_TREE_DEPTH_MAX];
    size_t depth;
    beck_status status;
};

static void put(struct output *o, const char *text)
{
    o->status = o->status ? o->status : buf_append_text(o->out, text);
}

static void put_string(struct output *o, beck_bytes text)
{
    o->status = o->status ? o->status : json_write_string(o->out, text);
}

/* Names of XML need no escapes. */
static void put_name(struct output *o, const struct xml_node *n, bool comma)
{
    o->status = o->status ? o->status : buf_reserve(o->out, n->name_len + 3);
    if (!o->status) {
        uint8_t *p = o->out->data + o->out->len;
        *p = ',';
        p += comma;
        *p++ = '"';
        memcpy(p, o->tree->bytes.data + n->name_at, n->name_len);
        p[n->name_len] = '"';
        o->out->len += n->name_len + 2 + comma;
    }
}

/* "#text", and the end of the object. */
static void end_object(struct output *o, const struct frame *f)
{
    const struct xml_node *n = &o->tree->nodes[f->node];
    beck_bytes text;
    o->status = o->status ? o->status : text_of(o->tree, n, &o->joined, &text);
    if (!o->status) {
        beck_bytes trimmed = trim(text);
        if (trimmed.len > 0) {
            put(o, f->any ? ",\"#text\":" : "\"#text\":");
            put_string(o, n->has_children ? trimmed : text);
        }
    }
    put(o, "}");
}

/* Writes a value that is a string; or begins an object, which is on the stack then. */
static void begin_value(struct output *o, uint32_t node)
{
    const struct xml_node *n = &o->tree->nodes[node];
    if (n->first == NONE && o->depth > 0) {
        beck_bytes text;
        o->status = o->status ? o->status : text_of(o->tree, n, &o->joined, &text);
        if (!o->status) {
            put_string(o, text);
        }
        return;
    }
    assert(o->depth < XML_TREE_DEPTH_MAX);
    put(o, "{");
    o->stack[o->depth++] = (struct frame){.node = node, .head = NONE, .child = NONE};
}

/* One step: the next value of the topmost object, or its end. */
static void step(struct output *o)
{
    struct frame *f = &o->stack[o->depth - 1];
    const struct xml_node *nodes = o->tree->nodes;
    if (f->child != NONE && nodes[f->child].same != NONE) {
        put(o, ",");
        f->child = nodes[f->child].same;
        begin_value(o, f->child);
        return;
    }
    if (f->several) {
        put(o, "]");
    }
    f->head = f->head == NONE ? nodes[f->node].first : nodes[f->head].next;
    f->child = f->head;
    if (f->child == NONE) {
        end_object(o, f);
        o->depth--;
        return;
    }
    const struct xml_node *c = &nodes[f->child];
    f->several = c->same != NONE;
    put_name(o, c, f->any);
    put(o, f->several ? ":[" : ":");
    f->any = true;
    begin_value(o, f->child);
}

beck_status xml_tree_write(const struct xml_tree *t, struct buf *out, beck_error *err)
{
    assert(t->node_count > 0 && t->depth == 0);
    struct output o = {.tree = t, .out = out};
    buf_init(&o.joined, t->bytes.max);
    buf_clear(out);
    begin_value(&o, 0);
    while (o.depth > 0 && !o.status) {
        step(&o);
    }
    buf_release(&o.joined);
    return o.status ? too_long(o.status, err) : BECK_OK;
}
