/*
 * The names of the simulated disk: as they are now, and as they are on the device.
 *
 * A node is a file or a directory; it lives while a name, a change that is not yet on the device or
 * an open file refers to it. Every change of a name waits in a list until the directory is synced
 * (or the power goes). Functions return 0 or an errno. Threads: the disk's lock is held.
 */
#ifndef BECK_BASE_SIM_TREE_H
#define BECK_BASE_SIM_TREE_H

#include "base/sim_content.h"

#define SIM_NAME_MAX 255

struct node;

struct name {
    char *text;
    struct node *node;
};

struct names {
    struct name *list;
    size_t count, cap;
};

struct node {
    struct node *previous, *next; /* all nodes of the tree */
    struct node *next_dead;
    size_t refs;
    size_t links; /* names that it has now: 0 or 1 */
    size_t opens;
    bool is_dir, locked;
    struct names now, durable; /* of a directory */
    struct content content;    /* of a file */
    int64_t charged;           /* bytes */
};

enum change_kind { CHANGE_MAKE, CHANGE_MOVE, CHANGE_REMOVE };

struct change {
    enum change_kind kind;
    bool survives;
    struct node *node;
    struct node *from_dir, *to_dir; /* MAKE has no from, REMOVE no to */
    char *from, *to;
};

struct tree {
    struct node *root, *nodes, *dead;
    struct change *changes;
    size_t change_count, change_cap;
    int64_t charged; /* bytes, over all nodes */
};

bool tree_init(struct tree *t);
void tree_release(struct tree *t);
int tree_find(struct tree *t, const char *path, struct node **out);
int tree_make(struct tree *t, const char *path, bool is_dir, struct node **out);
int tree_move(struct tree *t, const char *from, const char *to);
int tree_remove(struct tree *t, const char *path, bool is_dir);
int tree_sync_dir(struct tree *t, const char *path);
/* Any of the changes survive, save that one needs those before it that it builds on. */
void tree_crash(struct tree *t, struct rng *rng);
/* A node that somebody holds open. */
void tree_ref(struct node *n);
void tree_unref(struct tree *t, struct node *n);
/* Counts the space of a file anew: its size, while it has a name or is open. */
void tree_charge(struct tree *t, struct node *n);
/* Frees what nothing refers to any more. */
void tree_reap(struct tree *t);

#endif
