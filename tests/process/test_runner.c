/* Queues that are worked by programs. */
#include "process/runner.h"

#include "base/error.h"

#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct said {
    pthread_mutex_t lock;
    pthread_cond_t more;
    char text[16384];
    const char *skips; /* a line that is only counted; NULL: none */
    int skipped;
};

struct world {
    beck *b;
    beck_bus *bus;
    struct said said;
};

#define MUST(call)                                                                                 \
    do {                                                                                           \
        beck_error err = {0};                                                                      \
        if (call)                                                                                  \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

static const char *const words[] = {"output", "cut", "failed", "trouble"};

static void say(void *ctx, enum runner_word word, const char *queue, const char *text)
{
    struct said *s = ctx;
    assert_string_equal(queue, "work");
    pthread_mutex_lock(&s->lock);
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof s->text - len, "%s: %s\n", words[word], text);
    if (s->skips && strcmp(s->text + len, s->skips) == 0) {
        s->text[len] = '\0';
        s->skipped++;
    }
    pthread_cond_broadcast(&s->more);
    pthread_mutex_unlock(&s->lock);
}

/* Until it has been said so often. */
static void wait_for(struct world *w, const char *text, int times)
{
    pthread_mutex_lock(&w->said.lock);
    for (;;) {
        int found = 0;
        for (const char *at = w->said.text; (at = strstr(at, text)); at++)
            found++;
        if (found >= times)
            break;
        pthread_cond_wait(&w->said.more, &w->said.lock);
    }
    pthread_mutex_unlock(&w->said.lock);
}

/* A program has no deadline unless the test says so: a slow machine may take long to run it. */
static void begin(struct world *w, const beck_queue_options *options)
{
    beck_queue_options patient = options ? *options : (beck_queue_options){0};
    if (patient.deadline_ms == 0)
        patient.deadline_ms = -1;
    memset(w, 0, sizeof *w);
    pthread_mutex_init(&w->said.lock, NULL);
    pthread_cond_init(&w->said.more, NULL);
    MUST(beck_open(&w->b, NULL, &err));
    MUST(beck_bus_create(w->b, "shop", NULL, &w->bus, &err));
    MUST(beck_queue_create(w->b, "work", &patient, &err));
    MUST(beck_queue_bind(w->b, "work", &(beck_binding){.bus = "shop"}, &err));
}

static void end(struct world *w)
{
    beck_close(w->b);
    pthread_mutex_destroy(&w->said.lock);
    pthread_cond_destroy(&w->said.more);
}

static void put(struct world *w, const char *type)
{
    const beck_event e = {.type = beck_str(type), .data = beck_str("{}")};
    MUST(beck_publish(w->bus, &e, &err));
}

static struct runner *run(struct world *w, struct runner_options *o, const char *script)
{
    static const char *program[3] = {"sh", "-c", NULL};
    struct runner *r = NULL;
    program[2] = script;
    o->queue = "work";
    o->program = program;
    o->program_count = 3;
    MUST(runner_start(w->b, o, say, &w->said, &r, &err));
    return r;
}

static void what_a_program_writes_is_told_and_its_exit_settles(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL);
    struct runner_options o = {0};
    struct runner *r = run(&w, &o, "echo out $CE_TYPE; echo err >&2; printf 'no end'");
    put(&w, "a.b");
    wait_for(&w, "output: no end\n", 1);
    runner_stop(r);
    assert_non_null(strstr(w.said.text, "output: out a.b\n"));
    assert_non_null(strstr(w.said.text, "output: err\n"));
    beck_queue_info info;
    MUST(beck_queue_info_get(w.b, "work", &info, &err));
    assert_int_equal(info.settled, 1);
    end(&w);
}

static void only_standard_error_says_why(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(beck_queue_options){.attempts_max = 1});
    struct runner_options o = {0};
    struct runner *r = run(&w, &o, "echo away >&2; echo working; exit 7");
    put(&w, "a.b");
    wait_for(&w, "failed and was the last: exit 7: away\n", 1);
    wait_for(&w, "output: working\n", 1);
    wait_for(&w, "output: away\n", 1);
    runner_stop(r);
    end(&w);
}

static void output_without_end_is_cut(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL);
    struct runner_options o = {0};
    w.said.skips = "output: y\n";
    struct runner *r = run(&w, &o, "i=0; while [ $i -lt 1200 ]; do echo y; i=$((i+1)); done");
    put(&w, "a.b");
    wait_for(&w, "cut: more output than 1000 lines or 256 KiB in 10 s: it is left out\n", 1);
    beck_queue_info info;
    do
        MUST(beck_queue_info_get(w.b, "work", &info, &err));
    while (info.settled == 0);
    runner_stop(r);
    assert_int_equal(w.said.skipped, 1000);
    assert_non_null(strstr(w.said.text, "cut: 200 lines (200 bytes) of output were left out\n"));
    end(&w);
}

static void failures_are_told_and_tried_again(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(beck_queue_options){.attempts_max = 2, .backoff = {.kind = BECK_BACKOFF_NONE}});
    struct runner_options o = {.workers = 3};
    struct runner *r = run(&w, &o, "echo away >&2; exit 7");
    put(&w, "a.b");
    wait_for(&w, "failed and was the last: exit 7: away", 1);
    wait_for(&w, "attempt 1 failed: exit 7: away", 1);
    runner_stop(r);
    end(&w);
}

static void a_persistent_program_that_dies_is_started_again(void **state)
{
    (void)state;
    struct world w;
    begin(&w, &(beck_queue_options){.backoff = {.kind = BECK_BACKOFF_NONE}});
    struct runner_options o = {.persistent = true};
    struct runner *r = run(&w, &o, "echo began >&2; read line; echo ok; read line; exit 1");
    put(&w, "a");
    put(&w, "b");
    wait_for(&w, "output: began\n", 2);
    wait_for(&w, "attempt 1 failed: exit 1", 1);
    runner_stop(r);
    end(&w);
}

/* The end of the line is not needed to know that the event is whole. */
static void a_persistent_program_may_answer_before_it_reads_the_end_of_the_line(void **state)
{
    (void)state;
    struct world w;
    beck_queue_info info;
    begin(&w, NULL);
    struct runner_options o = {.persistent = true};
    struct runner *r = run(&w, &o,
                           "while :; do deep=0; while :; do\n"
                           "case $(dd bs=1 count=1 2>/dev/null; echo .) in\n"
                           "'{.') deep=$((deep + 1));;\n"
                           "'}.') deep=$((deep - 1)); [ $deep = 0 ] && break;;\n"
                           "'.') exit 0;;\n"
                           "esac; done; echo whole >&2; echo ok; done");
    put(&w, "a");
    put(&w, "b");
    wait_for(&w, "output: whole\n", 2);
    runner_stop(r);
    MUST(beck_queue_info_get(w.b, "work", &info, &err));
    assert_int_equal(info.settled, 2);
    assert_string_equal(w.said.text, "output: whole\noutput: whole\n");
    end(&w);
}

static void directory_environment_and_limits_are_the_programs(void **state)
{
    (void)state;
    struct world w;
    const char *const environment[] = {"COLOUR=green", "HOME=/nowhere"};
    begin(&w, NULL);
    setenv("BECK_SECRET", "hidden", 1);
    setenv("NOTIFY_SOCKET", "/run/systemd/notify", 1);
    setenv("WATCHDOG_USEC", "1", 1);
    struct runner_options o = {.directory = "/usr",
                               .environment = environment,
                               .environment_count = 2,
                               .files_max = 20,
                               .cpu_max_ms = 2500,
                               .memory_max = 512 << 20,
                               .processes_max = 4000};
    struct runner *r =
        run(&w, &o,
            "echo $PWD $COLOUR $HOME \"<$BECK_SECRET$NOTIFY_SOCKET$WATCHDOG_USEC>\" $BECK_QUEUE "
            "$(ulimit -n) $(ulimit -t) $(ulimit -v)");
    put(&w, "a");
    wait_for(&w, "output: /usr green /nowhere <> work 20 3 524288\n", 1);
    runner_stop(r);
    unsetenv("BECK_SECRET");
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    end(&w);
}

static void a_program_runs_as_another_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct world w;
    begin(&w, NULL);
    const char *const environment[] = {"SHELL=/bin/own"};
    struct runner_options o = {
        .user = "nobody", .files_max = 30, .environment = environment, .environment_count = 1};
    struct runner *r =
        run(&w, &o, "echo $(id -un) $(id -gn) $(ulimit -n) $HOME $USER $LOGNAME $SHELL");
    char said[256];
    snprintf(said, sizeof said, "output: nobody nogroup 30 %s nobody nobody /bin/own\n",
             getpwnam("nobody")->pw_dir);
    put(&w, "a");
    wait_for(&w, said, 1);
    runner_stop(r);
    end(&w);
}

/* A program that is missing now may be there in a while: the event is not lost, nor its attempt. */
static void a_program_that_cannot_be_run_is_tried_again(void **state)
{
    (void)state;
    struct world w;
    char path[] = "/tmp/beck-runner-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char *text = "#!/bin/sh\necho here attempt $BECK_ATTEMPT\n";
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fchmod(fd, 0700);
    close(fd);
    begin(&w, NULL);
    const char *program[] = {path};
    struct runner_options o = {.queue = "work", .program = program, .program_count = 1};
    struct runner *r = NULL;
    MUST(runner_start(w.b, &o, say, &w.said, &r, &err));
    chmod(path, 0600);
    put(&w, "a");
    wait_for(&w, "trouble: ", 1);
    chmod(path, 0700);
    wait_for(&w, "output: here attempt 1\n", 1);
    runner_stop(r);
    unlink(path);
    end(&w);
}

static void a_program_is_looked_for_in_the_path_that_is_set_for_it(void **state)
{
    (void)state;
    char folder[] = "/tmp/beck-runner-XXXXXX", path[64], variable[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/only-here", folder);
    snprintf(variable, sizeof variable, "PATH=%s", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("#!/bin/sh\necho here\n", file);
    fchmod(fileno(file), 0700);
    fclose(file);
    const char *program[] = {"only-here"}, *environment[] = {variable};
    for (int limited = 0; limited < 2; limited++) {
        struct world w;
        begin(&w, NULL);
        struct runner_options o = {.queue = "work",
                                   .program = program,
                                   .program_count = 1,
                                   .environment = environment,
                                   .environment_count = 1,
                                   .files_max = limited ? 30 : 0};
        struct runner *r = NULL;
        MUST(runner_start(w.b, &o, say, &w.said, &r, &err));
        put(&w, "a");
        wait_for(&w, "\n", 1);
        runner_stop(r);
        assert_string_equal(w.said.text, "output: here\n");
        end(&w);
    }
    unlink(path);
    rmdir(folder);
}

static void hurrying_kills_and_gives_back(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL);
    struct runner_options o = {0};
    struct runner *r = run(&w, &o, "echo began; sleep 1000");
    put(&w, "a");
    wait_for(&w, "output: began\n", 1);
    runner_hurry(r);
    runner_stop(r);
    beck_queue_info info;
    MUST(beck_queue_info_get(w.b, "work", &info, &err));
    assert_int_equal(info.ready, 1);
    assert_int_equal(info.settled + info.retried, 0);
    end(&w);
}

static void a_deadline_that_is_made_shorter_is_that_of_the_next_event(void **state)
{
    (void)state;
    struct world w;
    beck_queue_info info;
    begin(&w, &(beck_queue_options){.attempts_max = 1, .deadline_ms = 60000});
    struct runner_options o = {0};
    struct runner *r = run(&w, &o, "sleep 3; exit 1");
    MUST(beck_queue_info_get(w.b, "work", &info, &err));
    info.options.deadline_ms = 200;
    MUST(beck_queue_alter(w.b, "work", &info.options, &err));
    put(&w, "t");
    wait_for(&w, "\n", 1);
    runner_stop(r);
    assert_non_null(strstr(w.said.text, "failed and was the last: deadline of 200ms passed"));
    assert_null(strstr(w.said.text, "too late"));
    end(&w);
}

static void the_end_of_the_queue_is_the_runners(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL);
    struct runner_options o = {.workers = 2};
    struct runner *r = run(&w, &o, "exit 0");
    MUST(beck_queue_delete(w.b, "work", &err));
    wait_for(&w, "trouble: ", 1);
    runner_stop(r);
    end(&w);
}

static void what_cannot_be_is_refused_with_the_reason(void **state)
{
    (void)state;
    struct world w;
    beck_error err;
    struct runner *r;
    begin(&w, NULL);
    const char *none[] = {"no-such-program"}, *good[] = {"true"};
    const struct {
        struct runner_options options;
        const char *words;
    } bad[] = {
        {{.queue = "work"}, "no program"},
        {{.queue = "work", .program = none, .program_count = 1}, "no-such-program"},
        {{.queue = "other", .program = good, .program_count = 1}, "other"},
        {{.queue = "work", .program = good, .program_count = 1, .user = "no-such-user"}, "no user"},
        {{.queue = "work", .program = good, .program_count = 1, .group = "no-such"}, "no group"},
        {{.queue = "work", .program = good, .program_count = 1, .directory = "/no"}, "/no"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(runner_start(w.b, &bad[i].options, say, &w.said, &r, &err), BECK_OK);
        assert_non_null(strstr(err.text, bad[i].words));
    }
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_program_writes_is_told_and_its_exit_settles),
        cmocka_unit_test(only_standard_error_says_why),
        cmocka_unit_test(output_without_end_is_cut),
        cmocka_unit_test(failures_are_told_and_tried_again),
        cmocka_unit_test(a_persistent_program_that_dies_is_started_again),
        cmocka_unit_test(a_persistent_program_may_answer_before_it_reads_the_end_of_the_line),
        cmocka_unit_test(directory_environment_and_limits_are_the_programs),
        cmocka_unit_test(a_program_runs_as_another_user),
        cmocka_unit_test(a_program_that_cannot_be_run_is_tried_again),
        cmocka_unit_test(a_program_is_looked_for_in_the_path_that_is_set_for_it),
        cmocka_unit_test(hurrying_kills_and_gives_back),
        cmocka_unit_test(a_deadline_that_is_made_shorter_is_that_of_the_next_event),
        cmocka_unit_test(the_end_of_the_queue_is_the_runners),
        cmocka_unit_test(what_cannot_be_is_refused_with_the_reason),
    };
    signal(SIGPIPE, SIG_IGN); /* as programs with children do */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
