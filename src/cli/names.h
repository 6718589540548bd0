/* Names of queues, collected before anything is asked about them. */
#ifndef BECK_CLI_NAMES_H
#define BECK_CLI_NAMES_H

#include "base/bytes.h"

struct names {
    struct buf text; /* each with a NUL */
    size_t count;
};

void names_init(struct names *n);
void names_release(struct names *n);
/* A callback of beck_queue_list; ctx is a struct names. */
int names_add(void *ctx, const char *name);
/* The name behind `name`, or the first for NULL; NULL at the end. */
const char *names_next(const struct names *n, const char *name);

#endif
