/*
 * Publishes whose caller does not wait: a list, and one thread that sends them in order and calls
 * `done`. The list is bounded by its bytes; who finds it full waits.
 *
 * Neighbours that go to the same bus in the same way are sent in one request, which the server takes apart again:
 * while one is under way the next ones gather. So they share syncs, and stay in order.
 */
#include "remote/remote_impl.h"

#include <stdlib.h>

#define BYTES_MAX ((size_t)64 << 20)
#define TOGETHER_MAX 256
#define TOGETHER_BYTES ((size_t)1 << 20)

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

/* Takes those off the list that are sent next, with the lock. 0: there is none. */
static size_t take_together(struct completions *l, struct completion *list[TOGETHER_MAX])
{
    size_t n = 0, bytes = 0;
    while (l->first && n < TOGETHER_MAX) {
        struct completion *c = l->first;
        bytes += c->body.len;
        if (n > 0 && (bytes > TOGETHER_BYTES || strcmp(c->target, list[0]->target) != 0))
            break;
        list[n++] = c;
        l->first = c->next;
    }
    if (!l->first)
        l->last = &l->first;
    return n;
}

static void end_completion(const struct completion *c, beck_status status,
                           const beck_published *published)
{
    /* As for a bus that this process had open. */
    c->done(c->ctx, status == BECK_ENOENT ? BECK_ECLOSED : status, published);
}

/* BECK_ELIMIT: all of it is too much for the server. BECK_ENOENT: it has no such bus, or it is older than this request.
 * Then none was published, and none has ended. */
static beck_status send_together(struct remote *r, struct completion *const *list, size_t count)
{
    const beck_published nothing = {.position = {0, -1}};
    struct api_publish texts[TOGETHER_MAX];
    struct api_publishes say = {texts, count};
    struct api_outcomes said = {0};
    struct reply g;
    for (size_t i = 0; i < count; i++)
        texts[i].events = buf_bytes(&list[i]->body);
    reply_init(&g);
    beck_status status = remote_send_several(r, list[0]->target, &say, &said, &g, NULL);
    bool refused = (status == BECK_ELIMIT && count > 1) || status == BECK_ENOENT;
    for (size_t i = 0; i < count && !refused; i++) {
        const char *code = status ? NULL : said.list[i].code;
        if (status)
            end_completion(list[i], status, &nothing);
        else
            end_completion(list[i], code ? client_code(beck_str(code), BECK_EIO) : BECK_OK,
                           &said.list[i].was.published);
    }
    reply_release(&g);
    return refused ? status : BECK_OK;
}

/* To where any server takes events. */
static void send_alone(struct remote *r, struct completion *c)
{
    static const char several[] = "/publishes", one[] = "/events";
    beck_published published = {.position = {0, -1}};
    size_t end = strcspn(c->target, "?");
    char *at = c->target + end - (sizeof several - 1);
    memcpy(at, one, sizeof one - 1);
    memmove(at + sizeof one - 1, c->target + end, strlen(c->target + end) + 1);
    beck_status status = remote_send_events(r, c->target, buf_bytes(&c->body), &published, NULL);
    end_completion(c, status, &published);
}

static void send_all(struct remote *r, struct completion *const *list, size_t count)
{
    beck_status refused = send_together(r, list, count);
    for (size_t i = 0; i < count && refused == BECK_ELIMIT; i++)
        if (send_together(r, &list[i], 1))
            send_alone(r, list[i]);
    for (size_t i = 0; i < count && refused == BECK_ENOENT; i++)
        send_alone(r, list[i]);
}

static void *run(void *arg)
{
    struct completions *l = arg;
    struct completion *list[TOGETHER_MAX];
    mutex_lock(&l->lock);
    for (;;) {
        while (!l->first && !l->stopping)
            cond_wait(&l->changed, &l->lock);
        size_t count = take_together(l, list);
        if (count == 0)
            break;
        mutex_unlock(&l->lock);
        send_all(l->remote, list, count);
        mutex_lock(&l->lock);
        for (size_t i = 0; i < count; i++) {
            l->bytes -= list[i]->body.len;
            free_completion(list[i]);
        }
        l->finished += count;
        cond_broadcast(&l->changed);
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
