/* The loops: many connections, limits, work from other threads, draining and stopping. */
#include "net/common.h"
#include "net/net_impl.h"
#include "support/thread_sleeps.h"

#include <sched.h>

/* ---- many ---- */

static void thousands_of_connections_are_served(void **state)
{
    (void)state;
    enum { CONNECTIONS = 3000 };
    static int fds[CONNECTIONS];
    struct server s = {0};
    allow_many_descriptors();
    server_start(&s);
    for (int i = 0; i < CONNECTIONS; i++)
        fds[i] = connect_to(&s);
    wait_until(&s, s.opened == CONNECTIONS);
    assert_int_equal(connections_of(&s), CONNECTIONS);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < CONNECTIONS; i++) {
            char line[32];
            snprintf(line, sizeof line, "echo %d %d\n", round, i);
            say(fds[i], line);
        }
        for (int i = 0; i < CONNECTIONS; i++) {
            char line[32];
            snprintf(line, sizeof line, "echo %d %d\n", round, i);
            hear(fds[i], line);
        }
    }
    for (int i = 0; i < CONNECTIONS; i++)
        close(fds[i]);
    wait_until(&s, s.closed == CONNECTIONS);
    server_stop(&s);
}

static size_t resident(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(file, "%*u %zu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void an_idle_connection_takes_little_memory(void **state)
{
    (void)state;
    enum { CONNECTIONS = 3000, EACH = 4096 };
    static int fds[CONNECTIONS];
    struct server s = {0};
    allow_many_descriptors();
    server_start(&s);
    size_t before = resident();
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[i] = connect_to(&s);
        say(fds[i], "echo a line and half of another one\necho");
        hear(fds[i], "echo a line and half of another one\n");
        say(fds[i], "\n");
        hear(fds[i], "echo\n");
    }
#ifndef __SANITIZE_ADDRESS__
#ifndef __SANITIZE_THREAD__
    assert_true(resident() < before + (size_t)CONNECTIONS * EACH);
#endif
#endif
    (void)before;
    for (int i = 0; i < CONNECTIONS; i++)
        close(fds[i]);
    server_stop(&s);
}

/* ---- limits ---- */

static void who_comes_when_there_are_enough_is_turned_away(void **state)
{
    (void)state;
    struct server s = {.settings.connections_max = 3};
    int fds[3];
    server_start(&s);
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_to(&s);
        say(fds[i], "echo x\n");
        hear(fds[i], "echo x\n");
    }
    hear_end(connect_to(&s));
    close(fds[0]);
    wait_until(&s, s.closed == 1);
    /* The place is free a moment after the protocol was told. */
    while (connections_of(&s) == 3)
        sched_yield();
    fds[0] = connect_to(&s);
    say(fds[0], "echo y\n");
    hear(fds[0], "echo y\n");
    struct buf text;
    buf_init(&text, 1 << 20);
    must(metrics_write(s.metrics, &text));
    must(buf_terminate(&text));
    assert_non_null(strstr((char *)text.data,
                           "beck_connections_total{protocol=\"lines\",result=\"refused\"} 1\n"));
    assert_non_null(strstr((char *)text.data, "beck_connections{protocol=\"lines\"} 3\n"));
    buf_release(&text);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    server_stop(&s);
}

static void an_address_has_so_many_connections_and_no_more(void **state)
{
    (void)state;
    struct server s = {.settings.connections_per_address_max = 2};
    server_start(&s);
    for (int round = 0; round < 3; round++) {
        int one = connect_to(&s), two = connect_to(&s);
        say(two, "echo x\n");
        hear(two, "echo x\n");
        hear_end(connect_to(&s));
        close(one);
        close(two);
        wait_until(&s, s.closed == 2 * (round + 1));
        while (connections_of(&s) > 0)
            sched_yield();
    }
    server_stop(&s);
}

/* Without descriptors nobody is accepted; with them again, everybody who waited is. */
static void running_out_of_descriptors_ends_when_there_are_some(void **state)
{
    (void)state;
    enum { CLIENTS = 8 };
    struct server s = {0};
    struct rlimit before, few;
    int fds[CLIENTS];
    server_start(&s);
    getrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    few = before;
    few.rlim_cur = (rlim_t)fds[CLIENTS - 1] + 1 + CLIENTS / 2;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < CLIENTS; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons(s.port)};
        assert_int_equal(connect(fds[i], (struct sockaddr *)&at, sizeof at), 0);
    }
    wait_until(&s, s.opened == CLIENTS / 2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < CLIENTS; i++) {
        say(fds[i], "echo x\n");
        hear(fds[i], "echo x\n");
        close(fds[i]);
    }
    server_stop(&s);
}

static void settings_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct net *n;
    uint16_t port;
    struct net_settings settings = {.metrics = m, .loops = 65};
    struct net_listener listener = {.fd = listen_on(&port), .protocol = &lines};
    refused(net_start(&settings, &listener, 1, &n, &err), BECK_EINVAL, "64 network threads");
    assert_int_equal(fcntl(listener.fd, F_GETFD), -1); /* closed all the same */
    settings.loops = 1;
    listener.fd = listen_on(&port);
    listener.input_max = 100;
    refused(net_start(&settings, &listener, 1, &n, &err), BECK_EINVAL, "input_max");
    metrics_free(m);
}

/* ---- work from elsewhere ---- */

enum { POSTERS = 4, TASKS = 20000 };

struct posted {
    struct net_task task;
    struct poster *by;
    int number;
};

struct poster {
    struct connection *c;
    struct posted *tasks;
    int next; /* on the loop */
    _Atomic(int) *done;
};

static void run_posted(struct net_task *t)
{
    struct posted *p = (struct posted *)t;
    assert_int_equal(p->number, p->by->next);
    p->by->next++;
    if (p->number % 100 == 0)
        connection_write(p->by->c, "*", 1);
    connection_release(p->by->c);
    atomic_fetch_add(p->by->done, 1);
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < TASKS; i++) {
        p->tasks[i] = (struct posted){.task.run = run_posted, .by = p, .number = i};
        connection_retain(p->c);
        net_post(connection_loop(p->c), &p->tasks[i].task);
    }
    return NULL;
}

static void post_from_many(bool reset_meanwhile)
{
    struct server s = {0};
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    _Atomic(int) done = 0;
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "pause\n");
    wait_until(&s, s.last);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){
            .c = s.last, .tasks = calloc(TASKS, sizeof(struct posted)), .done = &done};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    if (reset_meanwhile) {
        reset(fd);
    } else {
        char star[POSTERS * TASKS / 100];
        memset(star, '*', sizeof star);
        hear_bytes(fd, star, sizeof star);
        close(fd);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    connection_release(s.last);
    server_stop(&s); /* runs what is still in the inbox */
    assert_int_equal(atomic_load(&done), POSTERS * TASKS);
    for (int i = 0; i < POSTERS; i++)
        free(posters[i].tasks);
}

static void tasks_of_a_thread_run_in_order(void **state)
{
    (void)state;
    post_from_many(false);
}

static void tasks_for_a_connection_that_is_closed_run_all_the_same(void **state)
{
    (void)state;
    post_from_many(true);
}

struct passing {
    struct net_task task, passed;
    struct server *s;
    struct connection *from, *to;
    pid_t to_thread;        /* of the loop of `to` */
    bool slept_on, arrived; /* with the server's lock */
};

static void arrive(struct net_task *t)
{
    struct passing *p = (struct passing *)(void *)((char *)t - offsetof(struct passing, passed));
    note(p->s, p->arrived = true);
}

static _Atomic(pid_t) opened_by;

static void *open_kept(struct connection *c, void *ctx)
{
    struct server *s = ctx;
    atomic_store(&opened_by, gettid());
    note(s, s->last = connection_retain(c));
    return line_opened(c, ctx);
}

static struct connection *connect_kept(struct server *s, int *fd, int number)
{
    *fd = connect_to(s);
    wait_until(s, s->opened == number);
    return s->last;
}

static void pass_on(struct net_task *t)
{
    struct passing *p = (struct passing *)t;
    struct net_loop *other = connection_loop(p->to);
    assert_ptr_not_equal(other, connection_loop(p->from));
    /* One that says so and does not sleep yet looks into its inbox first. */
    while (!atomic_load(&other->asleep) || !thread_sleeps(p->to_thread))
        sched_yield();
    net_post(other, &p->passed);
    bool sleeps = atomic_load(&other->asleep);
    mutex_lock(&p->s->lock);
    p->slept_on = sleeps && !p->arrived;
    mutex_unlock(&p->s->lock);
}

/* Who posts with a lock that the task takes would be waited for. */
static void a_loop_is_woken_by_another_once_that_has_returned(void **state)
{
    (void)state;
    struct net_protocol kept = lines;
    kept.opened = open_kept;
    struct server s = {.settings.loops = 2, .listener.protocol = &kept};
    struct passing p = {.task.run = pass_on, .passed.run = arrive, .s = &s};
    int from, to;
    server_start(&s);
    p.from = connect_kept(&s, &from, 1);
    p.to = connect_kept(&s, &to, 2);
    p.to_thread = atomic_load(&opened_by);
    net_post(connection_loop(p.from), &p.task);
    wait_until(&s, p.arrived);
    assert_true(p.slept_on);
    connection_release(p.from);
    connection_release(p.to);
    close(from);
    close(to);
    server_stop(&s);
}

static void *release_soon(void *arg)
{
    sched_yield();
    connection_release(arg);
    return NULL;
}

static void stopping_waits_for_references(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct server s = {0};
        pthread_t thread;
        server_start(&s);
        int fd = connect_to(&s);
        say(fd, "pause\n");
        wait_until(&s, s.last);
        assert_int_equal(pthread_create(&thread, NULL, release_soon, s.last), 0);
        server_stop(&s);
        pthread_join(thread, NULL);
        hear_end(fd);
    }
}

/* ---- the end ---- */

static void draining_lets_everybody_finish(void **state)
{
    (void)state;
    struct server s = {0};
    server_start(&s);
    int idle = connect_to(&s), busy = connect_to(&s);
    say(idle, "echo x\n");
    hear(idle, "echo x\n");
    say(busy, "zeros 1000\nfile 3000000\n");
    hear_zeros(busy, 1000);
    /* What was asked before is sent whole, then the farewell. */
    assert_false(net_drain(s.net, 0));
    hear_zeros(busy, 3000000);
    hear(busy, "stops\n");
    hear_end(busy);
    hear(idle, "stops\n");
    hear_end(idle);
    assert_true(net_drain(s.net, INT64_MAX));
    assert_int_equal(s.failed, 0);
    /* Nobody listens any more. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(s.port)};
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), -1);
    close(fd);
    server_stop(&s);
}

static void draining_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct server s = {.listener.linger_ms = 3600000};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "echo x\n");
    hear(fd, "echo x\n");
    assert_false(net_drain(s.net, clock_mono_ns(clock_system()) + 20000000));
    hear(fd, "stops\n");
    assert_int_equal(connections_of(&s), 1);
    server_stop(&s);
    assert_string_equal(s.why, "the server stops");
    hear_end(fd);
}

static void *keep_connecting(void *arg)
{
    struct server *s = arg;
    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons(s->port)};
        int connected = connect(fd, (struct sockaddr *)&at, sizeof at);
        if (connected == 0)
            (void)!send(fd, "echo x\n", 7, MSG_NOSIGNAL);
        reset(fd);
        if (connected < 0)
            return NULL;
    }
}

static void stopping_while_others_connect(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct server s = {.settings.loops = 3};
        pthread_t threads[2];
        server_start(&s);
        for (int t = 0; t < 2; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, keep_connecting, &s), 0);
        wait_until(&s, s.opened > 10);
        if (i % 2)
            net_drain(s.net, clock_mono_ns(clock_system()) + 5000000);
        struct net *net = s.net;
        net_stop(net);
        s.net = NULL;
        for (int t = 0; t < 2; t++)
            pthread_join(threads[t], NULL);
        server_stop(&s);
    }
}

static void without_a_listener_there_is_nothing_to_do(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct net_settings settings = {.metrics = m};
    struct net *n;
    must(net_start(&settings, NULL, 0, &n, &err));
    assert_true(net_drain(n, 0));
    net_stop(n);
    net_stop(NULL);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_connection_takes_little_memory),
        cmocka_unit_test(thousands_of_connections_are_served),
        cmocka_unit_test(who_comes_when_there_are_enough_is_turned_away),
        cmocka_unit_test(an_address_has_so_many_connections_and_no_more),
        cmocka_unit_test(running_out_of_descriptors_ends_when_there_are_some),
        cmocka_unit_test(settings_that_make_no_sense_are_refused),
        cmocka_unit_test(tasks_of_a_thread_run_in_order),
        cmocka_unit_test(tasks_for_a_connection_that_is_closed_run_all_the_same),
        cmocka_unit_test(a_loop_is_woken_by_another_once_that_has_returned),
        cmocka_unit_test(stopping_waits_for_references),
        cmocka_unit_test(draining_lets_everybody_finish),
        cmocka_unit_test(draining_does_not_wait_for_ever),
        cmocka_unit_test(stopping_while_others_connect),
        cmocka_unit_test(without_a_listener_there_is_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
