/* Runners: see runner.h. The command line that is run in the end is put together once. */
#include "process/runner.h"
#include "base/clock.h"
#include "base/error.h"
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX_MAX 20 /* words before the program: setpriv and prlimit with all options */
#define RETRY_EXIT 75

/* What the programs wrote since the window began. */
struct output {
    pthread_mutex_t lock; /* of what follows */
    int64_t window_ns;    /* 0: none yet */
    uint64_t lines, bytes, cut_lines, cut_bytes;
};

struct runner {
    struct crew_options crew_options;
    struct crew *crew;
    runner_say say;
    void *ctx;
    char *queue, *directory;
    char **program, **environment; /* NULL-terminated, all of it owned */
    struct output output;
};

/* ---- what is run ---- */

struct words {
    char **at;
    size_t count, cap;
    bool bad; /* no memory */
};

static void add_word(struct words *w, const char *text)
{
    char *copy = text && w->count + 1 < w->cap ? strdup(text) : NULL;
    w->bad |= copy == NULL;
    if (copy)
        w->at[w->count++] = copy;
}

/* One of ours: the PATH that is set for the program need not have it. */
static void add_tool(struct words *w, const char *name)
{
    char path[HANDLER_PATH_MAX];
    add_word(w, handler_find(name, path) ? path : name);
}

static void add_limit(struct words *w, const char *name, int64_t value)
{
    char text[64];
    if (value <= 0)
        return;
    snprintf(text, sizeof text, "--%s=%lld", name, (long long)value);
    add_word(w, text);
}

static beck_status check_names(const struct runner_options *o, beck_error *err)
{
    if (o->user && !getpwnam(o->user))
        return error_set(err, BECK_EINVAL, "queue \"%s\": there is no user \"%s\"", o->queue,
                         o->user);
    if (o->group && !getgrnam(o->group))
        return error_set(err, BECK_EINVAL, "queue \"%s\": there is no group \"%s\"", o->queue,
                         o->group);
    struct stat st;
    if (o->directory && (stat(o->directory, &st) != 0 || !S_ISDIR(st.st_mode)))
        return error_set(err, BECK_EINVAL, "queue \"%s\": \"%s\" is no directory to start in",
                         o->queue, o->directory);
    return BECK_OK;
}

static void add_user(struct words *w, const struct runner_options *o)
{
    if (!o->user && !o->group)
        return;
    add_tool(w, "setpriv");
    if (o->user) {
        add_word(w, "--reuid");
        add_word(w, o->user);
    }
    char group[24] = "";
    const struct passwd *user = o->user ? getpwnam(o->user) : NULL;
    if (!o->group && user)
        snprintf(group, sizeof group, "%u", user->pw_gid);
    add_word(w, "--regid");
    add_word(w, o->group ? o->group : group);
    add_word(w, o->user ? "--init-groups" : "--clear-groups");
    add_word(w, "--no-new-privs");
    add_word(w, "--pdeathsig"); /* lost with a change of user */
    add_word(w, "KILL");
    add_word(w, "--");
}

#define USER_VARIABLES 4

/* As after a login of that user, unless they are given. */
static void add_user_variables(struct words *w, const struct runner_options *o)
{
    const struct passwd *user = o->user ? getpwnam(o->user) : NULL;
    if (!user)
        return;
    const char *const pairs[USER_VARIABLES][2] = {{"HOME=", user->pw_dir},
                                                  {"USER=", user->pw_name},
                                                  {"LOGNAME=", user->pw_name},
                                                  {"SHELL=", user->pw_shell}};
    for (size_t i = 0; i < USER_VARIABLES; i++) {
        bool given = false;
        for (size_t k = 0; k < o->environment_count; k++)
            given |= strncmp(o->environment[k], pairs[i][0], strlen(pairs[i][0])) == 0;
        char text[4200];
        snprintf(text, sizeof text, "%s%s", pairs[i][0], pairs[i][1]);
        if (!given)
            add_word(w, text);
    }
}

static void add_limits(struct words *w, const struct runner_options *o)
{
    if (o->memory_max <= 0 && o->cpu_max_ms <= 0 && o->files_max <= 0 && o->processes_max <= 0)
        return;
    add_tool(w, "prlimit");
    add_limit(w, "as", o->memory_max);
    add_limit(w, "cpu", (o->cpu_max_ms + 999) / 1000);
    add_limit(w, "nofile", o->files_max);
    add_limit(w, "nproc", o->processes_max);
    add_word(w, "--");
}

static bool has_path(const struct runner_options *o)
{
    bool found = false;
    for (size_t i = 0; i < o->environment_count; i++)
        found |= strncmp(o->environment[i], "PATH=", 5) == 0;
    return found;
}

/* Where it is, as seen from where the program starts; not what another user may see of it. */
static beck_status check_program(const struct runner_options *o, beck_error *err)
{
    const char *name = o->program[0];
    char path[4096];
    char *words[] = {(char *)name, NULL};
    bool foreign = (o->user || o->group) && geteuid() != 0;
    if (foreign || (!strchr(name, '/') && has_path(o)))
        return BECK_OK;
    if (o->directory && strchr(name, '/') && name[0] != '/') {
        snprintf(path, sizeof path, "%s/%s", o->directory, name);
        words[0] = path;
    }
    return handler_check(words, err);
}

beck_status runner_check(const struct runner_options *o, beck_error *err)
{
    char *setpriv[] = {(char *)"setpriv", NULL}, *prlimit[] = {(char *)"prlimit", NULL};
    bool limits =
        o->memory_max > 0 || o->cpu_max_ms > 0 || o->files_max > 0 || o->processes_max > 0;
    beck_error why = {0};
    if (o->program_count == 0)
        return error_set(err, BECK_EINVAL, "queue \"%s\": no program to run", o->queue);
    beck_status status = check_names(o, err);
    if (status)
        return status;
    if (o->user || o->group)
        status = handler_check(setpriv, &why);
    if (!status && limits)
        status = handler_check(prlimit, &why);
    if (!status)
        status = check_program(o, &why);
    return status ? error_set(err, BECK_EINVAL, "queue \"%s\": %s", o->queue, why.text) : BECK_OK;
}

static beck_status copy_options(struct runner *r, const struct runner_options *o, beck_error *err)
{
    struct words program = {.cap = o->program_count + PREFIX_MAX};
    struct words environment = {.cap = o->environment_count + USER_VARIABLES + 1};
    r->program = program.at = calloc(program.cap, sizeof *program.at);
    r->environment = environment.at = calloc(environment.cap + 1, sizeof *environment.at);
    r->queue = strdup(o->queue);
    r->directory = o->directory ? strdup(o->directory) : NULL;
    bool good = program.at && environment.at && r->queue && (r->directory || !o->directory);
    if (good) {
        add_user(&program, o);
        add_limits(&program, o);
        for (size_t i = 0; i < o->program_count; i++)
            add_word(&program, o->program[i]);
        environment.cap++;
        for (size_t i = 0; i < o->environment_count; i++)
            add_word(&environment, o->environment[i]);
        add_user_variables(&environment, o);
        good = !program.bad && !environment.bad;
    }
    return good ? BECK_OK : error_set(err, BECK_ENOMEM, "no memory to run a program");
}

/* ---- what it says ---- */

static void say_failed(void *ctx, const beck_delivery *d, const char *outcome, const char *why)
{
    const struct runner *r = ctx;
    char text[1024];
    snprintf(text, sizeof text, "%.*s/%u/%lld %.*s attempt %u %s: %s", (int)d->event->bus.len,
             (const char *)d->event->bus.data, d->event->position.partition,
             (long long)d->event->position.offset, (int)d->event->type.len,
             (const char *)d->event->type.data, d->attempt, outcome, why);
    r->say(r->ctx, RUNNER_FAILED, r->queue, text);
}

static void say_trouble(void *ctx, beck_status status, const beck_error *err)
{
    const struct runner *r = ctx;
    (void)status;
    r->say(r->ctx, RUNNER_TROUBLE, r->queue, err->text);
}

/* Says how much was left out, and begins anew. */
static void say_cut(struct runner *r, int64_t now_ns)
{
    char text[128];
    struct output *o = &r->output;
    snprintf(text, sizeof text, "%llu lines (%llu bytes) of output were left out",
             (unsigned long long)o->cut_lines, (unsigned long long)o->cut_bytes);
    if (o->cut_lines > 0)
        r->say(r->ctx, RUNNER_CUT, r->queue, text);
    o->window_ns = now_ns;
    o->lines = o->bytes = o->cut_lines = o->cut_bytes = 0;
}

/* Whether the line is one too many. */
static bool cut_output(struct runner *r, size_t len)
{
    struct output *o = &r->output;
    int64_t now = clock_mono_ns(clock_system());
    pthread_mutex_lock(&o->lock);
    if (o->window_ns == 0 || now - o->window_ns >= RUNNER_WINDOW_MS * 1000000LL)
        say_cut(r, now);
    bool cut =
        o->cut_lines > 0 || o->lines >= RUNNER_LINES_MAX || o->bytes + len > RUNNER_BYTES_MAX;
    if (cut && o->cut_lines == 0) {
        char text[128];
        snprintf(text, sizeof text, "more output than %d lines or %d KiB in %d s: it is left out",
                 RUNNER_LINES_MAX, RUNNER_BYTES_MAX >> 10, RUNNER_WINDOW_MS / 1000);
        r->say(r->ctx, RUNNER_CUT, r->queue, text);
    }
    *(cut ? &o->cut_lines : &o->lines) += 1;
    *(cut ? &o->cut_bytes : &o->bytes) += len;
    pthread_mutex_unlock(&o->lock);
    return cut;
}

static void say_output(void *ctx, beck_bytes line)
{
    struct runner *r = ctx;
    char text[CHILD_TEXT_MAX + 1];
    if (cut_output(r, line.len))
        return;
    memcpy(text, line.data, line.len);
    text[line.len] = 0;
    r->say(r->ctx, RUNNER_OUTPUT, r->queue, text);
}

/* ---- running ---- */

static void free_words(char **words)
{
    for (size_t i = 0; words && words[i]; i++)
        free(words[i]);
    free(words);
}

static void release(struct runner *r)
{
    free_words(r->program);
    free_words(r->environment);
    free(r->directory);
    free(r->queue);
    pthread_mutex_destroy(&r->output.lock);
    free(r);
}

beck_status runner_start(beck *b, const struct runner_options *options, runner_say say, void *ctx,
                         struct runner **out, beck_error *err)
{
    beck_status status = runner_check(options, err);
    if (status)
        return status;
    if ((options->user || options->group) && geteuid() != 0)
        return error_set(err, BECK_EINVAL,
                         "queue \"%s\": only root can run a program as another user; start the "
                         "server as root, or leave out user and group",
                         options->queue);
    struct runner *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(err, BECK_ENOMEM, "no memory to run a program");
    pthread_mutex_init(&r->output.lock, NULL);
    r->say = say;
    r->ctx = ctx;
    status = copy_options(r, options, err);
    if (!status) {
        r->crew_options = (struct crew_options){
            .b = b,
            .queue = r->queue,
            .workers = options->workers ? options->workers : 1,
            .events_max = -1,
            .enduring = true,
            .handler = {.program = r->program,
                        .persistent = options->persistent,
                        .retry_exit = options->retry_exit ? options->retry_exit : RETRY_EXIT,
                        .failure = options->failure == BECK_REJECT ? BECK_REJECT : BECK_RETRY,
                        .directory = r->directory,
                        .environment = r->environment,
                        .private_environment = true,
                        .output = say_output,
                        .output_ctx = r},
            .failed = say_failed,
            .trouble = say_trouble,
            .ctx = r};
        status = crew_start(&r->crew_options, &r->crew, err);
    }
    if (status) {
        release(r);
        return status;
    }
    *out = r;
    return BECK_OK;
}

void runner_end(struct runner *r)
{
    crew_end(r->crew);
}

void runner_hurry(struct runner *r)
{
    crew_hurry(r->crew);
}

uint32_t runner_working(struct runner *r)
{
    return crew_working(r->crew);
}

bool runner_ending(const struct runner *r)
{
    return crew_ending(r->crew);
}

void runner_stop(struct runner *r)
{
    crew_end(r->crew);
    (void)crew_join(r->crew, NULL, NULL);
    say_cut(r, 0);
    release(r);
}
