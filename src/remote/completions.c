/*
 * Publishes whose caller does not wait: a list, and one thread that sends them in order and calls
 * `done`. The list is bounded by its bytes; who finds it full waits.
 */
#include "remote/remote_impl.h"

#include <stdlib.h>

#define BYTES_MAX ((size_t)64 << 20)

struct completion {
    struct completion *next;
    char *target;
    struct buf body;
    beck_done_fn done;
    void *ctx;
};

struct completions {
    struct remote *remote;
    struct mutex lock; /* a leaf */
    struct cond changed;
    struct completion *first, **last;
    size_t bytes;
    uint64_t added, finished;
    bool stopping;
    pthread_t thread;
};

static void free_completion(struct completion *c)
{
    free(c->target);
    buf_release(&c->body);
    free(c);
}

static void *run(void *arg)
{
    struct completions *l = arg;
    mutex_lock(&l->lock);
    for (;;) {
        while (!l->first && !l->stopping)
            cond_wait(&l->changed, &l->lock);
        struct completion *c = l->first;
        if (!c)
            break;
        l->first = c->next;
        if (!l->first)
            l->last = &l->first;
        mutex_unlock(&l->lock);
        beck_published published = {.position = {0, -1}};
        beck_status status =
            remote_send_events(l->remote, c->target, buf_bytes(&c->body), &published, NULL);
        /* As for a bus that this process had open. */
        c->done(c->ctx, status == BECK_ENOENT ? BECK_ECLOSED : status, &published);
        mutex_lock(&l->lock);
        l->bytes -= c->body.len;
        l->finished++;
        cond_broadcast(&l->changed);
        free_completion(c);
    }
    mutex_unlock(&l->lock);
    return NULL;
}

/* With the lock of the handle. */
static struct completions *start(struct remote *r, beck_error *err)
{
    struct completions *l = calloc(1, sizeof *l);
    if (!l) {
        error_set(err, BECK_ENOMEM, "no memory for a completion");
        return NULL;
    }
    l->remote = r;
    l->last = &l->first;
    mutex_init(&l->lock);
    cond_init(&l->changed);
    int rc = pthread_create(&l->thread, NULL, run, l);
    if (rc) {
        error_errno(err, rc, "cannot start the thread of completions");
        mutex_release(&l->lock);
        cond_release(&l->changed);
        free(l);
        return NULL;
    }
    return l;
}

static struct completions *list_of(struct remote *r)
{
    mutex_lock(&r->lock);
    struct completions *l = r->completions;
    mutex_unlock(&r->lock);
    return l;
}

beck_status completions_add(struct remote *r, const char *target, struct buf *body,
                            beck_done_fn done, void *ctx, beck_error *err)
{
    mutex_lock(&r->lock);
    if (!r->completions)
        r->completions = start(r, err);
    struct completions *l = r->completions;
    mutex_unlock(&r->lock);
    if (!l)
        return BECK_ENOMEM;
    struct completion *c = calloc(1, sizeof *c);
    char *copy = strdup(target);
    if (!c || !copy) {
        free(c);
        free(copy);
        return error_set(err, BECK_ENOMEM, "no memory for a completion");
    }
    *c = (struct completion){.target = copy, .body = *body, .done = done, .ctx = ctx};
    buf_init(body, body->max);
    mutex_lock(&l->lock);
    /* One that publishes from inside of `done` cannot wait for itself. */
    while (l->bytes > 0 && l->bytes + c->body.len > BYTES_MAX &&
           !pthread_equal(pthread_self(), l->thread))
        cond_wait(&l->changed, &l->lock);
    l->bytes += c->body.len;
    l->added++;
    *l->last = c;
    l->last = &c->next;
    cond_broadcast(&l->changed);
    mutex_unlock(&l->lock);
    return BECK_OK;
}

void completions_wait(struct remote *r)
{
    struct completions *l = list_of(r);
    if (!l || pthread_equal(pthread_self(), l->thread))
        return;
    mutex_lock(&l->lock);
    uint64_t until = l->added;
    while (l->finished < until)
        cond_wait(&l->changed, &l->lock);
    mutex_unlock(&l->lock);
}

void completions_free(struct remote *r)
{
    struct completions *l = list_of(r);
    if (!l)
        return;
    mutex_lock(&l->lock);
    l->stopping = true;
    cond_broadcast(&l->changed);
    mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    mutex_release(&l->lock);
    cond_release(&l->changed);
    free(l);
    r->completions = NULL;
}
