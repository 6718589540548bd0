/* Queues that the server works itself: see runners.h. */
#include "server/runners.h"
#include "base/error.h"
#include "base/thread.h"
#include <stdlib.h>

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
    struct mutex lock;
    struct running *list;
};

/* From threads of programs. */
static void say(void *ctx, enum runner_word word, const char *queue, const char *text)
{
    struct log *log = ctx;
    switch (word) {
    case RUNNER_OUTPUT:
        LOG(log, LEVEL_INFO, "output", LOG_TEXT("queue", queue), LOG_TEXT("text", text));
        break;
    case RUNNER_FAILED:
        LOG(log, LEVEL_WARN, "delivery failed", LOG_TEXT("queue", queue), LOG_TEXT("text", text));
        break;
    case RUNNER_TROUBLE:
        LOG(log, LEVEL_ERROR, "program", LOG_TEXT("queue", queue), LOG_TEXT("error", text));
        break;
    }
}

beck_status runners_new(beck *b, struct log *log, struct runners **out, beck_error *err)
{
    struct runners *r = calloc(1, sizeof *r);
    if (!r) {
        return error_set(err, BECK_ENOMEM, "no memory to run programs");
    }
    r->b = b;
    r->log = log;
    mutex_init(&r->lock);
    *out = r;
    return BECK_OK;
}

/* ---- one ---- */

/* All rows of a queue that are about its program. */
static beck_status print_settings(const struct queue_setting *queue, struct buf *out)
{
    beck_status status = BECK_OK;
    for (const struct setting *row = setting_group_table("queues")->rows; row->name && !status;
         row++) {
        if (strncmp(row->name, "run", 3) == 0) {
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

static beck_status start_one(struct runners *r, const struct queue_setting *queue,
                             struct running **out, beck_error *err)
{
    const struct run_setting *run = &queue->run;
    const struct runner_options options = {.queue = queue->record.name,
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

/* ---- all ---- */

/* The one that runs with just these settings. */
static struct running *find_same(const struct runners *r, const struct queue_setting *queue)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    struct running *found = NULL;
    if (!print_settings(queue, &text)) {
        for (struct running *one = r->list; one && !found; one = one->next) {
            if (strcmp(one->queue, queue->record.name) == 0 &&
                bytes_equal(buf_bytes(&text), buf_bytes(&one->settings))) {
                found = one;
            }
        }
    }
    buf_release(&text);
    return found;
}

/* Those that are not wanted finish what they handle. */
static void stop_unwanted(struct runners *r)
{
    for (struct running *one = r->list; one; one = one->next) {
        if (!one->wanted) {
            runner_end(one->runner);
        }
    }
    for (struct running **at = &r->list; *at;) {
        struct running *one = *at;
        if (one->wanted) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        LOG(r->log, LEVEL_INFO, "no longer running a program", LOG_TEXT("queue", one->queue));
        runner_stop(one->runner);
        running_free(one);
    }
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
    stop_unwanted(r);
    for (size_t i = 0; i < s->queues.count; i++) {
        if (queues[i].run.program.count == 0 || find_same(r, &queues[i])) {
            continue;
        }
        beck_error why;
        struct running *one = NULL;
        beck_status status = start_one(r, &queues[i], &one, &why);
        if (status) {
            LOG(r->log, LEVEL_ERROR, "a program cannot be run",
                LOG_TEXT("queue", queues[i].record.name), LOG_TEXT("error", why.text));
            first = first ? first : error_set(err, status, "%s", why.text);
            continue;
        }
        one->next = r->list;
        r->list = one;
    }
    mutex_unlock(&r->lock);
    return first;
}

void runners_end(struct runners *r)
{
    mutex_lock(&r->lock);
    for (struct running *one = r->list; one; one = one->next) {
        runner_end(one->runner);
    }
    mutex_unlock(&r->lock);
}

uint32_t runners_working(struct runners *r)
{
    uint32_t working = 0;
    mutex_lock(&r->lock);
    for (struct running *one = r->list; one; one = one->next) {
        working += runner_working(one->runner);
    }
    mutex_unlock(&r->lock);
    return working;
}

void runners_stop(struct runners *r)
{
    if (!r) {
        return;
    }
    while (r->list) {
        struct running *one = r->list;
        r->list = one->next;
        runner_hurry(one->runner);
        runner_stop(one->runner);
        running_free(one);
    }
    mutex_release(&r->lock);
    free(r);
}
