/* One reload at a time: see reloader.h. */
#include "server/reloader.h"
#include "base/error.h"
#include "base/thread.h"
#include <stdlib.h>

struct reloader {
    reload_fn reload;
    void *ctx;
    struct mutex lock;
    struct cond changed;
    bool asked, running, stopping;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct reloader *r = arg;
    mutex_lock(&r->lock);
    while (!r->stopping) {
        if (!r->asked || r->running) {
            cond_wait(&r->changed, &r->lock);
            continue;
        }
        r->asked = false;
        r->running = true;
        mutex_unlock(&r->lock);
        (void)r->reload(r->ctx, NULL); /* which says in the log how it went */
        mutex_lock(&r->lock);
        r->running = false;
    }
    mutex_unlock(&r->lock);
    return NULL;
}

beck_status reloader_start(reload_fn reload, void *ctx, struct reloader **out, beck_error *err)
{
    struct reloader *r = calloc(1, sizeof *r);
    if (!r) {
        return error_set(err, BECK_ENOMEM, "no memory for reloads");
    }
    r->reload = reload;
    r->ctx = ctx;
    mutex_init(&r->lock);
    cond_init(&r->changed);
    int rc = pthread_create(&r->thread, NULL, work, r);
    if (rc) {
        cond_release(&r->changed);
        mutex_release(&r->lock);
        free(r);
        return error_errno(err, rc, "cannot start the thread of reloads");
    }
    *out = r;
    return BECK_OK;
}

void reloader_ask(struct reloader *r)
{
    mutex_lock(&r->lock);
    r->asked = true;
    cond_signal(&r->changed);
    mutex_unlock(&r->lock);
}

beck_status reloader_run(struct reloader *r, beck_error *err)
{
    mutex_lock(&r->lock);
    bool busy = r->running || r->asked || r->stopping;
    r->running = r->running || !busy;
    mutex_unlock(&r->lock);
    if (busy) {
        return error_set(err, BECK_EBUSY,
                         "a reload is under way: ask again once it has ended, see the log");
    }
    beck_status status = r->reload(r->ctx, err);
    mutex_lock(&r->lock);
    r->running = false;
    cond_signal(&r->changed); /* one may have been asked for meanwhile */
    mutex_unlock(&r->lock);
    return status;
}

void reloader_end(struct reloader *r)
{
    if (!r) {
        return;
    }
    mutex_lock(&r->lock);
    r->stopping = true;
    cond_signal(&r->changed);
    mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
}

void reloader_free(struct reloader *r)
{
    if (r) {
        cond_release(&r->changed);
        mutex_release(&r->lock);
        free(r);
    }
}
