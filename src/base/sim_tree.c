/*
 * Names on the disk that lies.
 *
 * Which changes may survive without which: a file system keeps the changes of one name in order, so
 * a change needs all earlier ones of the names that it touches; without that rule a file that was
 * safe could be lost to one that took its name. A change inside a directory needs the making of
 * the directory, and the removal of a directory needs what happened in it.
 *
 * Syncing a directory commits the changes in it with what they need, but not the directory's own
 * name: that is an entry of its parent.
 */
#include "base/sim_tree.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists of names ---- */

static struct name *names_find(struct names *s, const char *text)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->list[i].text, text) == 0)
            return &s->list[i];
    return NULL;
}

static bool names_reserve(struct names *s, size_t more)
{
    if (s->count + more <= s->cap)
        return true;
    size_t cap = (s->count + more) * 2;
    struct name *list = realloc(s->list, cap * sizeof *list);
    if (list == NULL)
        return false;
    s->list = list;
    s->cap = cap;
    return true;
}

/* There must be room. Takes `text`. */
static void names_add(struct names *s, char *text, struct node *node)
{
    assert(s->count < s->cap && names_find(s, text) == NULL);
    s->list[s->count++] = (struct name){text, node};
    tree_ref(node);
}

static void names_remove(struct tree *t, struct names *s, const char *text)
{
    struct name *found = names_find(s, text);
    if (found == NULL)
        return;
    struct node *node = found->node;
    free(found->text);
    *found = s->list[--s->count];
    tree_unref(t, node);
}

static void names_release(struct tree *t, struct names *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->list[i].text);
        tree_unref(t, s->list[i].node);
    }
    free(s->list);
    *s = (struct names){0};
}

/* ---- nodes ---- */

static struct node *node_new(struct tree *t, bool is_dir)
{
    struct node *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    n->is_dir = is_dir;
    n->next = t->nodes;
    if (n->next != NULL)
        n->next->previous = n;
    t->nodes = n;
    return n;
}

void tree_ref(struct node *n)
{
    n->refs++;
}

/* The node is freed by reap, so that a deep tree does not make a deep stack. */
void tree_unref(struct tree *t, struct node *n)
{
    assert(n->refs > 0);
    if (--n->refs > 0)
        return;
    n->next_dead = t->dead;
    t->dead = n;
}

void tree_charge(struct tree *t, struct node *n)
{
    int64_t bytes = n->links == 0 && n->opens == 0 ? 0 : (int64_t)n->content.size;
    t->charged += bytes - n->charged;
    n->charged = bytes;
}

static void node_free(struct tree *t, struct node *n)
{
    assert(n->refs == 0);
    t->charged -= n->charged;
    names_release(t, &n->now);
    names_release(t, &n->durable);
    content_release(&n->content);
    if (n->previous != NULL)
        n->previous->next = n->next;
    else
        t->nodes = n->next;
    if (n->next != NULL)
        n->next->previous = n->previous;
    free(n);
}

void tree_reap(struct tree *t)
{
    while (t->dead != NULL) {
        struct node *n = t->dead;
        t->dead = n->next_dead;
        node_free(t, n);
    }
}

bool tree_init(struct tree *t)
{
    *t = (struct tree){0};
    t->root = node_new(t, true);
    if (t->root == NULL)
        return false;
    tree_ref(t->root);
    t->root->links = 1;
    return true;
}

/* ---- paths ---- */

/* The next component of *path, which moves behind it; false at the end. `.` is left out. */
static bool next_component(const char **path, char text[SIM_NAME_MAX + 1], int *error)
{
    for (;;) {
        const char *p = *path + strspn(*path, "/");
        size_t len = strcspn(p, "/");
        *path = p + len;
        if (len == 0)
            return false;
        if (len == 1 && p[0] == '.')
            continue;
        if (len > SIM_NAME_MAX || (len == 2 && memcmp(p, "..", 2) == 0)) {
            *error = len > SIM_NAME_MAX ? ENAMETOOLONG : EINVAL;
            return false;
        }
        memcpy(text, p, len);
        text[len] = '\0';
        return true;
    }
}

/* The directory that holds the last component of the path, and that component. */
static int find_parent(struct tree *t, const char *path, struct node **dir,
                       char last[SIM_NAME_MAX + 1])
{
    int error = 0;
    struct node *at = t->root;
    char following[SIM_NAME_MAX + 1];
    if (!next_component(&path, last, &error))
        return error != 0 ? error : EBUSY; /* the root has no parent */
    while (next_component(&path, following, &error)) {
        struct name *found = names_find(&at->now, last);
        if (found == NULL)
            return ENOENT;
        if (!found->node->is_dir)
            return ENOTDIR;
        at = found->node;
        memcpy(last, following, sizeof following);
    }
    *dir = at;
    return error;
}

int tree_find(struct tree *t, const char *path, struct node **out)
{
    struct node *dir;
    char last[SIM_NAME_MAX + 1];
    int error = find_parent(t, path, &dir, last);
    if (error == EBUSY) {
        *out = t->root;
        return 0;
    }
    if (error != 0)
        return error;
    struct name *found = names_find(&dir->now, last);
    if (found == NULL)
        return ENOENT;
    *out = found->node;
    return 0;
}

/* ---- changes ---- */

static void change_release(struct tree *t, struct change *c)
{
    struct node *held[] = {c->node, c->from_dir, c->to_dir};
    for (size_t i = 0; i < 3; i++)
        if (held[i] != NULL)
            tree_unref(t, held[i]);
    free(c->from);
    free(c->to);
}

/* Takes all the memory that a change needs: the entry in the list, its texts, and a text for the
 * current name. 0 or ENOMEM. The caller fills in the node and commits with change_add. */
static int change_prepare(struct tree *t, struct change *c, const char *from, const char *to,
                          char **name)
{
    if (t->change_count == t->change_cap) {
        size_t cap = t->change_cap == 0 ? 16 : t->change_cap * 2;
        struct change *changes = realloc(t->changes, cap * sizeof *changes);
        if (changes == NULL)
            return ENOMEM;
        t->changes = changes;
        t->change_cap = cap;
    }
    c->from = from == NULL ? NULL : strdup(from);
    c->to = to == NULL ? NULL : strdup(to);
    char *text = to == NULL ? NULL : strdup(to);
    if ((from != NULL && c->from == NULL) || (to != NULL && (c->to == NULL || text == NULL)) ||
        (c->to_dir != NULL && !names_reserve(&c->to_dir->now, 1))) {
        free(c->from);
        free(c->to);
        free(text);
        return ENOMEM;
    }
    *name = text;
    return 0;
}

static void change_add(struct tree *t, const struct change *c)
{
    tree_ref(c->node);
    if (c->from_dir != NULL)
        tree_ref(c->from_dir);
    if (c->to_dir != NULL)
        tree_ref(c->to_dir);
    t->changes[t->change_count++] = *c;
}

int tree_make(struct tree *t, const char *path, bool is_dir, struct node **out)
{
    struct change c = {.kind = CHANGE_MAKE};
    char last[SIM_NAME_MAX + 1], *name;
    int error = find_parent(t, path, &c.to_dir, last);
    if (error != 0)
        return error == EBUSY ? EEXIST : error;
    if (names_find(&c.to_dir->now, last) != NULL)
        return EEXIST;
    error = change_prepare(t, &c, NULL, last, &name);
    if (error != 0)
        return error;
    c.node = node_new(t, is_dir);
    if (c.node == NULL) {
        free(c.to);
        free(name);
        return ENOMEM;
    }
    names_add(&c.to_dir->now, name, c.node);
    c.node->links = 1;
    change_add(t, &c);
    *out = c.node;
    return 0;
}

static int move_allowed(const struct node *moved, const struct node *replaced)
{
    if (replaced == NULL)
        return 0;
    if (moved->is_dir && !replaced->is_dir)
        return ENOTDIR;
    if (!moved->is_dir && replaced->is_dir)
        return EISDIR;
    return replaced->now.count > 0 ? ENOTEMPTY : 0;
}

int tree_move(struct tree *t, const char *from, const char *to)
{
    struct change c = {.kind = CHANGE_MOVE};
    char last_from[SIM_NAME_MAX + 1], last_to[SIM_NAME_MAX + 1], *name;
    int error = find_parent(t, from, &c.from_dir, last_from);
    if (error == 0)
        error = find_parent(t, to, &c.to_dir, last_to);
    if (error != 0)
        return error;
    struct name *moved = names_find(&c.from_dir->now, last_from);
    if (moved == NULL)
        return ENOENT;
    struct name *replaced = names_find(&c.to_dir->now, last_to);
    if (replaced != NULL && replaced->node == moved->node)
        return 0;
    assert(c.to_dir != moved->node);
    error = move_allowed(moved->node, replaced == NULL ? NULL : replaced->node);
    if (error != 0)
        return error;
    c.node = moved->node;
    error = change_prepare(t, &c, last_from, last_to, &name);
    if (error != 0)
        return error;
    change_add(t, &c);
    replaced = names_find(&c.to_dir->now, last_to);
    if (replaced != NULL) {
        replaced->node->links = 0;
        tree_charge(t, replaced->node);
        names_remove(t, &c.to_dir->now, last_to);
    }
    names_remove(t, &c.from_dir->now, last_from);
    names_add(&c.to_dir->now, name, c.node);
    return 0;
}

int tree_remove(struct tree *t, const char *path, bool is_dir)
{
    struct change c = {.kind = CHANGE_REMOVE};
    char last[SIM_NAME_MAX + 1], *name;
    int error = find_parent(t, path, &c.from_dir, last);
    if (error != 0)
        return error;
    struct name *found = names_find(&c.from_dir->now, last);
    if (found == NULL)
        return ENOENT;
    if (found->node->is_dir != is_dir)
        return is_dir ? ENOTDIR : EISDIR;
    if (found->node->now.count > 0)
        return ENOTEMPTY;
    c.node = found->node;
    error = change_prepare(t, &c, last, NULL, &name);
    if (error != 0)
        return error;
    change_add(t, &c);
    c.node->links = 0;
    tree_charge(t, c.node);
    names_remove(t, &c.from_dir->now, last);
    return 0;
}

/* ---- what reaches the device ---- */

static bool same_name(const struct node *a_dir, const char *a, const struct node *b_dir,
                      const char *b)
{
    return a_dir != NULL && a_dir == b_dir && strcmp(a, b) == 0;
}

static bool touches(const struct change *c, const struct node *dir)
{
    return c->from_dir == dir || c->to_dir == dir;
}

static bool needs(const struct change *later, const struct change *earlier, bool power_lost)
{
    if (same_name(later->from_dir, later->from, earlier->from_dir, earlier->from) ||
        same_name(later->from_dir, later->from, earlier->to_dir, earlier->to) ||
        same_name(later->to_dir, later->to, earlier->from_dir, earlier->from) ||
        same_name(later->to_dir, later->to, earlier->to_dir, earlier->to))
        return true;
    if (later->kind == CHANGE_REMOVE && touches(earlier, later->node))
        return true;
    return power_lost && earlier->kind == CHANGE_MAKE && touches(later, earlier->node);
}

static void add_what_survivors_need(struct tree *t, bool power_lost)
{
    for (size_t i = t->change_count; i-- > 0;) {
        if (!t->changes[i].survives)
            continue;
        for (size_t k = 0; k < i; k++)
            if (!t->changes[k].survives && needs(&t->changes[i], &t->changes[k], power_lost))
                t->changes[k].survives = true;
    }
}

static int reserve_for_survivors(struct tree *t)
{
    for (size_t i = 0; i < t->change_count; i++) {
        struct change *c = &t->changes[i];
        if (c->survives && c->to_dir != NULL &&
            !names_reserve(&c->to_dir->durable, t->change_count))
            return ENOMEM;
    }
    return 0;
}

static void apply(struct tree *t, struct change *c)
{
    if (c->from_dir != NULL)
        names_remove(t, &c->from_dir->durable, c->from);
    if (c->to_dir != NULL) {
        names_remove(t, &c->to_dir->durable, c->to);
        names_add(&c->to_dir->durable, c->to, c->node);
        c->to = NULL;
    }
}

/* Takes the survivors to the device; the others stay in the list or are dropped. */
static void apply_survivors(struct tree *t, bool drop_others)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->change_count; i++) {
        struct change *c = &t->changes[i];
        if (c->survives)
            apply(t, c);
        else if (!drop_others) {
            t->changes[kept++] = *c;
            continue;
        }
        change_release(t, c);
    }
    t->change_count = kept;
}

int tree_sync_dir(struct tree *t, const char *path)
{
    struct node *dir;
    int error = tree_find(t, path, &dir);
    if (error != 0)
        return error;
    if (!dir->is_dir)
        return ENOTDIR;
    for (size_t i = 0; i < t->change_count; i++)
        t->changes[i].survives = touches(&t->changes[i], dir);
    add_what_survivors_need(t, false);
    error = reserve_for_survivors(t);
    if (error != 0)
        return error;
    apply_survivors(t, false);
    return 0;
}

/* The names of a directory become those on the device. */
static void restore(struct tree *t, struct node *dir)
{
    names_release(t, &dir->now);
    bool room = names_reserve(&dir->now, dir->durable.count);
    for (size_t i = 0; room && i < dir->durable.count; i++) {
        char *text = strdup(dir->durable.list[i].text);
        if (text == NULL)
            room = false;
        else
            names_add(&dir->now, text, dir->durable.list[i].node);
    }
    if (!room) {
        fputs("vfs_sim_crash: no memory\n", stderr);
        abort();
    }
}

void tree_crash(struct tree *t, struct rng *rng)
{
    for (size_t i = 0; i < t->change_count; i++)
        t->changes[i].survives = rng_below(rng, 2) == 0;
    add_what_survivors_need(t, true);
    if (reserve_for_survivors(t) != 0) {
        fputs("vfs_sim_crash: no memory\n", stderr);
        abort();
    }
    apply_survivors(t, true);
    for (struct node *n = t->nodes; n != NULL; n = n->next) {
        n->links = n == t->root;
        if (n->is_dir)
            restore(t, n);
    }
    for (struct node *n = t->nodes; n != NULL; n = n->next)
        for (size_t i = 0; i < n->now.count; i++)
            n->now.list[i].node->links = 1;
}

void tree_release(struct tree *t)
{
    for (size_t i = 0; i < t->change_count; i++)
        change_release(t, &t->changes[i]);
    free(t->changes);
    tree_unref(t, t->root);
    tree_reap(t);
    assert(t->nodes == NULL && t->charged == 0);
}
