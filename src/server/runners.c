/* Queues that the server works itself: see runners.h. */
#include "server/runners.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include <pthread.h>
#include <stdlib.h>

#define REAP_STEP_MS 50

/* One that runs. What it was started with is kept as text: so a reload sees what changed. */
struct running {
    struct runner *runner;
    char *queue;
    struct buf settings;
    bool wanted;
    struct running *next;
};

struct runners {
    beck *b;
    struct log *log;
    struct mutex lock; /* of what follows */
    struct cond changed;
    struct running *list;
    struct running *leaving; /* finish what they handle; the reaper waits for them */
    bool ending;             /* nothing is started any more */
    bool stopping;           /* the reaper ends */
    bool reaps;
    pthread_t reaper;
};

/* From threads of programs. */
static void say(void *ctx, enum runner_word word, const char *queue, const char *text)
{
    struct log *log = ctx;
    switch (word) {
    case RUNNER_OUTPUT:
        LOG(log, LEVEL_INFO, "output", LOG_TEXT("queue", queue), LOG_TEXT("text", text));
        break;
    case RUNNER_CUT:
        LOG(log, LEVEL_WARN, "output left out", LOG_TEXT("queue", queue), LOG_TEXT("text", text));
        break;
    case RUNNER_FAILED:
        LOG(log, LEVEL_WARN, "delivery failed", LOG_TEXT("queue", queue), LOG_TEXT("text", text));
        break;
    case RUNNER_TROUBLE:
        LOG(log, LEVEL_ERROR, "program", LOG_TEXT("queue", queue), LOG_TEXT("error", text));
        break;
    }
}

/* ---- one ---- */

/* All rows of a queue that its program depends on. */
static beck_status print_settings(const struct queue_setting *queue, struct buf *out)
{
    beck_status status = BECK_OK;
    for (const struct setting *row = setting_group_table("queues")->rows; row->name && !status;
         row++) {
        if (strncmp(row->name, "run", 3) == 0 || strcmp(row->name, "deadline") == 0 ||
            strcmp(row->name, "attempts") == 0) {
            status = setting_print(row, queue, out);
            status = status ? status : buf_append_byte(out, '\n');
        }
    }
    return status;
}

static void running_free(struct running *one)
{
    if (one) {
        buf_release(&one->settings);
        free(one->queue);
        free(one);
    }
}

struct runner_options runners_options(const struct queue_setting *queue)
{
    const struct run_setting *run = &queue->run;
    return (struct runner_options){.queue = queue->record.name,
                                   .program = run->program.at,
                                   .program_count = run->program.count,
                                   .workers = run->workers,
                                   .persistent = run->persistent,
                                   .retry_exit = (int)run->retry_exit,
                                   .failure = (beck_verdict)run->failure,
                                   .user = run->user,
                                   .group = run->group,
                                   .directory = run->directory,
                                   .environment = run->environment.at,
                                   .environment_count = run->environment.count,
                                   .memory_max = run->memory_max,
                                   .cpu_max_ms = run->cpu_max_ms,
                                   .files_max = run->files_max,
                                   .processes_max = run->processes_max};
}

static beck_status start_one(struct runners *r, const struct queue_setting *queue,
                             struct running **out, beck_error *err)
{
    const struct runner_options options = runners_options(queue);
    struct running *one = calloc(1, sizeof *one);
    if (one) {
        buf_init(&one->settings, 1 << 20);
        one->queue = strdup(queue->record.name);
    }
    if (!one || !one->queue || print_settings(queue, &one->settings)) {
        running_free(one);
        return error_set(err, BECK_ENOMEM, "no memory to run a program");
    }
    beck_status status = runner_start(r->b, &options, say, r->log, &one->runner, err);
    if (status) {
        running_free(one);
        return status;
    }
    LOG(r->log, LEVEL_INFO, "running a program", LOG_TEXT("queue", one->queue),
        LOG_TEXT("program", options.program[0]), LOG_NUMBER("workers", options.workers));
    one->wanted = true;
    *out = one;
    return BECK_OK;
}

/* ---- those that leave ---- */

/* Takes out of those that leave one that has nothing more to do. With the lock. */
static struct running *take_ended(struct runners *r)
{
    for (struct running **at = &r->leaving; *at; at = &(*at)->next) {
        struct running *one = *at;
        if (runner_working(one->runner) == 0) {
            *at = one->next;
            return one;
        }
    }
    return NULL;
}

/* The only thread that waits for programs: how long they take is their business. */
static void *reap(void *ctx)
{
    struct runners *r = ctx;
    mutex_lock(&r->lock);
    while (!r->stopping) {
        struct running *one = take_ended(r);
        if (one) {
            mutex_unlock(&r->lock);
            LOG(r->log, LEVEL_INFO, "no longer running a program", LOG_TEXT("queue", one->queue));
            runner_stop(one->runner);
            running_free(one);
            mutex_lock(&r->lock);
        } else if (r->leaving) {
            int64_t until = clock_mono_ns(clock_system()) + REAP_STEP_MS * 1000000;
            (void)cond_wait_until(&r->changed, &r->lock, clock_system(), until);
        } else {
            cond_wait(&r->changed, &r->lock);
        }
    }
    mutex_unlock(&r->lock);
    return NULL;
}

static void leave_unwanted(struct runners *r)
{
    for (struct running **at = &r->list; *at;) {
        struct running *one = *at;
        if (one->wanted) {
            at = &one->next;
            continue;
        }
        runner_end(one->runner);
        *at = one->next;
        one->next = r->leaving;
        r->leaving = one;
    }
    cond_signal(&r->changed);
}

/* ---- all ---- */

beck_status runners_new(beck *b, struct log *log, struct runners **out, beck_error *err)
{
    struct runners *r = calloc(1, sizeof *r);
    if (!r) {
        return error_set(err, BECK_ENOMEM, "no memory to run programs");
    }
    r->b = b;
    r->log = log;
    mutex_init(&r->lock);
    cond_init(&r->changed);
    r->reaps = pthread_create(&r->reaper, NULL, reap, r) == 0;
    if (!r->reaps) {
        runners_stop(r);
        return error_set(err, BECK_EIO, "no thread to wait for programs");
    }
    *out = r;
    return BECK_OK;
}

/* The one that works this very queue with just these settings. */
static struct running *find_same(const struct runners *r, const struct queue_setting *queue)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    struct running *found = NULL;
    if (!queue->made && !print_settings(queue, &text)) {
        for (struct running *one = r->list; one && !found; one = one->next) {
            if (strcmp(one->queue, queue->record.name) == 0 && !runner_ending(one->runner) &&
                bytes_equal(buf_bytes(&text), buf_bytes(&one->settings))) {
                found = one;
            }
        }
    }
    buf_release(&text);
    return found;
}

/* What cannot be replaced goes on. */
static void keep_queue(const struct runners *r, const struct queue_setting *queue)
{
    for (struct running *one = r->list; one; one = one->next) {
        if (strcmp(one->queue, queue->record.name) == 0 && !runner_ending(one->runner)) {
            one->wanted = true;
            LOG(r->log, LEVEL_WARN, "the program goes on as it was",
                LOG_TEXT("queue", queue->record.name));
        }
    }
}

/* With the lock. */
static beck_status start_missing(struct runners *r, const struct queue_setting *queue,
                                 beck_error *err)
{
    if (queue->run.program.count == 0 || find_same(r, queue)) {
        return BECK_OK;
    }
    struct running *one = NULL;
    beck_status status = start_one(r, queue, &one, err);
    if (status) {
        LOG(r->log, LEVEL_ERROR, "a program cannot be run", LOG_TEXT("queue", queue->record.name),
            LOG_TEXT("error", err->text));
        keep_queue(r, queue);
        return status;
    }
    one->next = r->list;
    r->list = one;
    return BECK_OK;
}

beck_status runners_apply(struct runners *r, const struct settings *s, beck_error *err)
{
    const struct queue_setting *queues = s->queues.at;
    beck_status first = BECK_OK;
    mutex_lock(&r->lock);
    for (struct running *one = r->list; one; one = one->next) {
        one->wanted = false;
    }
    for (size_t i = 0; i < s->queues.count; i++) {
        struct running *same = find_same(r, &queues[i]);
        if (same && queues[i].run.program.count > 0) {
            same->wanted = true;
        }
    }
    for (size_t i = 0; i < s->queues.count && !r->ending; i++) {
        beck_error why;
        beck_status status = start_missing(r, &queues[i], &why);
        if (status && !first) {
            first = error_set(err, status, "%s", why.text);
        }
    }
    leave_unwanted(r);
    mutex_unlock(&r->lock);
    return first;
}

void runners_end(struct runners *r)
{
    mutex_lock(&r->lock);
    r->ending = true;
    for (struct running *one = r->list; one; one = one->next) {
        runner_end(one->runner);
    }
    mutex_unlock(&r->lock);
}

static uint32_t working(const struct running *list)
{
    uint32_t count = 0;
    for (const struct running *one = list; one; one = one->next) {
        count += runner_working(one->runner);
    }
    return count;
}

uint32_t runners_working(struct runners *r)
{
    mutex_lock(&r->lock);
    uint32_t count = working(r->list) + working(r->leaving);
    mutex_unlock(&r->lock);
    return count;
}

/* All at once: each may take its time to die. */
static void hurry(const struct running *list)
{
    for (const struct running *one = list; one; one = one->next) {
        runner_hurry(one->runner);
    }
}

static void stop(struct running **list)
{
    while (*list) {
        struct running *one = *list;
        *list = one->next;
        runner_stop(one->runner);
        running_free(one);
    }
}

void runners_stop(struct runners *r)
{
    if (!r) {
        return;
    }
    if (r->reaps) {
        mutex_lock(&r->lock);
        r->stopping = true;
        cond_signal(&r->changed);
        mutex_unlock(&r->lock);
        pthread_join(r->reaper, NULL);
    }
    hurry(r->list);
    hurry(r->leaving);
    stop(&r->list);
    stop(&r->leaving);
    cond_release(&r->changed);
    mutex_release(&r->lock);
    free(r);
}
