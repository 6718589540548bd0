/* Connections as protocols see them: bytes in and out, bounds, ends of every kind. */
#include "net/common.h"

/* ---- bytes ---- */

static void a_line_is_answered(void **state)
{
    (void)state;
    struct server s = {0};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "echo hello\n");
    hear(fd, "echo hello\n");
    assert_int_equal(connections_of(&s), 1);
    close(fd);
    wait_until(&s, s.closed == 1);
    assert_int_equal(s.failed, 0);
    server_stop(&s);
}

static void lines_may_come_in_any_pieces(void **state)
{
    (void)state;
    static const char text[] = "echo a\necho bb\nhello\necho c\n";
    struct server s = {0};
    server_start(&s);
    for (size_t piece = 1; piece < sizeof text - 1; piece++) {
        int fd = connect_to(&s);
        for (size_t at = 0; at < sizeof text - 1; at += piece) {
            size_t n = sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece;
            say_bytes(fd, text + at, n);
        }
        hear(fd, text);
        close(fd);
    }
    server_stop(&s);
}

struct writer {
    int fd, count;
};

static void *write_lines(void *arg)
{
    struct writer *w = arg;
    for (int i = 0; i < w->count; i++) {
        char line[64];
        snprintf(line, sizeof line, "echo line %d of many\n", i);
        say(w->fd, line);
    }
    return NULL;
}

static void lines_that_are_not_waited_for_are_answered_in_order(void **state)
{
    (void)state;
    struct server s = {.listener.output_max = 4096};
    pthread_t thread;
    server_start(&s);
    struct writer w = {connect_to(&s), 50000};
    assert_int_equal(pthread_create(&thread, NULL, write_lines, &w), 0);
    for (int i = 0; i < w.count; i++) {
        char line[64];
        snprintf(line, sizeof line, "echo line %d of many\n", i);
        hear(w.fd, line);
    }
    pthread_join(thread, NULL);
    close(w.fd);
    server_stop(&s);
}

static void frames_are_given_whole(void **state)
{
    (void)state;
    struct server s = {.listener.input_max = 2 << 20};
    server_start(&s);
    int fd = connect_to(&s);
    static const size_t sizes[] = {1, 4096, 65536, 65537, 1 << 20, 2 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char line[64];
        snprintf(line, sizeof line, "frame %zu\n", sizes[i]);
        say(fd, line);
        say_bytes(fd, zeros, sizes[i]);
        hear(fd, "frame\n");
    }
    say(fd, "frame 2097153\n0");
    hear_end(fd);
    wait_until(&s, s.closed == 1);
    assert_why(&s, "the frame is too long");
    server_stop(&s);
}

static void a_message_without_an_end_is_refused(void **state)
{
    (void)state;
    struct server s = {.listener.input_max = 4096};
    server_start(&s);
    int fd = connect_to(&s);
    char longest[4096];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "echo ", 5);
    longest[sizeof longest - 1] = '\n';
    say_bytes(fd, longest, sizeof longest);
    hear_bytes(fd, longest, sizeof longest);
    longest[sizeof longest - 1] = 'x';
    say_bytes(fd, longest, sizeof longest);
    hear_end(fd);
    wait_until(&s, s.closed == 1);
    assert_why(&s, "a message is longer than input_max");
    server_stop(&s);
}

static void all_that_waits_to_be_whole_is_bounded(void **state)
{
    (void)state;
    enum { FRAME = 500000 };
    struct server s = {.settings.inputs_max = 3 * FRAME};
    int fds[2];
    server_start(&s);
    for (int i = 0; i < 2; i++) {
        fds[i] = connect_to(&s);
        say(fds[i], "echo x\nframe 500000\nthe beginning");
        hear(fds[i], "echo x\n");
    }
    /* Three frames are the most that there is room for. */
    int many[4];
    for (int i = 0; i < 4; i++) {
        many[i] = connect_to(&s);
        say(many[i], "frame 500000\nthe beginning");
    }
    wait_until(&s, s.closed >= 3);
    assert_why(&s, "too much is waiting on all connections together (inputs_max)");
    for (int i = 0; i < 4; i++)
        reset(many[i]);
    for (int i = 0; i < 2; i++)
        reset(fds[i]);
    wait_until(&s, s.closed == 6);
    /* And there is room again. */
    int fd = connect_to(&s);
    say(fd, "frame 500000\n");
    say_bytes(fd, zeros, FRAME);
    hear(fd, "frame\n");
    close(fd);
    server_stop(&s);
}

static void memory_blocks_and_files_are_sent_as_they_are(void **state)
{
    (void)state;
    static const char *const kinds[] = {"block", "memory", "file", "zeros"};
    /* There is room for the last two answers at once: both wait when the connection ends. */
    struct server s = {.listener.output_max = 16 << 20};
    server_start(&s);
    int fd = connect_to(&s);
    int references = 0;
    for (size_t n = 1; n < 3000000; n = n * 7 + 1) {
        for (int k = 0; k < 4; k++) {
            char line[64];
            snprintf(line, sizeof line, "echo before\n%s %zu\necho after\n", kinds[k], n);
            say(fd, line);
            hear(fd, "echo before\n");
            hear_zeros(fd, n);
            hear(fd, "echo after\n");
            references += k == 1 || k == 2;
        }
    }
    wait_until(&s, s.released == references);
    /* What waits to be sent when the connection ends is released as well. */
    say(fd, "memory 3000000\nfile 3000000\n");
    hear_bytes(fd, zeros, 1000);
    reset(fd);
    wait_until(&s, s.released == references + 2 && s.closed == 1);
    server_stop(&s);
}

static void a_file_that_became_shorter_ends_the_connection(void **state)
{
    (void)state;
    struct server s = {0};
    server_start(&s);
    assert_int_equal(ftruncate(s.file, FILE_SIZE / 2), 0);
    int fd = connect_to(&s);
    say(fd, "file 2000\n");
    hear_bytes(fd, zeros, 1000);
    hear_end(fd);
    wait_until(&s, s.closed == 1);
    assert_why(&s, "a file to be sent is shorter than it was");
    server_stop(&s);
}

/* ---- peers that are slow ---- */

static void who_does_not_read_is_not_read_from(void **state)
{
    (void)state;
    enum { LINES = 200000, OUTPUT = 65536 };
    struct server s = {.listener.output_max = OUTPUT};
    char line[101];
    size_t sent = 0;
    server_start(&s);
    int fd = connect_to(&s), size = 16384;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    memset(line, 'x', 100);
    memcpy(line, "echo ", 5);
    line[99] = '\n';
    /* It stops taking what we say, long before it has all of it. */
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (bool blocked = false; !blocked;) {
        ssize_t n = send(fd, line + sent % 100, 100 - sent % 100, MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        assert_true(sent < (size_t)LINES * 100);
        struct timespec a_while = {.tv_nsec = 50000000};
        if (n < 0) {
            /* Whether it stays so: what is in between the two may still move. */
            fd_set writable;
            FD_ZERO(&writable);
            FD_SET(fd, &writable);
            blocked = pselect(fd + 1, NULL, &writable, NULL, &a_while, NULL) == 0;
        }
    }
    fcntl(fd, F_SETFL, 0);
    assert_in_range(output_seen(&s), 1, OUTPUT + 200);
    /* And nothing is lost. (A window smaller than a segment is filled only every 200 ms.) */
    size = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    size_t whole = sent / 100;
    for (size_t i = 0; i < whole; i++)
        hear_bytes(fd, line, 100);
    say_bytes(fd, line + sent % 100, 100 - sent % 100);
    hear_bytes(fd, line, 100);
    close(fd);
    server_stop(&s);
}

static void output_goes_on_when_there_is_room(void **state)
{
    (void)state;
    struct server s = {.listener.output_max = 16384};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "zeros 20000000\nzeros 3\necho after\n");
    hear_zeros(fd, 20000000);
    hear_zeros(fd, 3);
    hear(fd, "echo after\n");
    assert_in_range(output_seen(&s), 1, 16384 + 2000);
    close(fd);
    server_stop(&s);
}

static void a_slow_peer_holds_up_nobody_else(void **state)
{
    (void)state;
    struct server s = {.settings.loops = 1, .listener.output_max = 16384};
    server_start(&s);
    int slow = connect_to(&s), quick = connect_to(&s);
    say(slow, "zeros 100000000\n");
    for (int i = 0; i < 1000; i++) {
        say(quick, "echo quick\n");
        hear(quick, "echo quick\n");
    }
    reset(slow);
    close(quick);
    server_stop(&s);
}

/* ---- the end ---- */

static void who_says_all_and_goes_on_reading_gets_all_answers(void **state)
{
    (void)state;
    struct server s = {0};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "echo one\nzeros 3000000\necho two\n");
    shutdown(fd, SHUT_WR);
    hear(fd, "echo one\n");
    hear_zeros(fd, 3000000);
    hear(fd, "echo two\n");
    hear_end(fd);
    wait_until(&s, s.closed == 1);
    assert_int_equal(s.failed, 0);
    server_stop(&s);
}

static void finishing_sends_all_and_takes_nothing_more(void **state)
{
    (void)state;
    struct server s = {0};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "file 2000000\nquit\necho not this\n");
    for (int i = 0; i < 100; i++)
        say_bytes(fd, zeros, 10000);
    hear_zeros(fd, 2000000);
    hear(fd, "bye\n");
    hear_end(fd);
    wait_until(&s, s.closed == 1);
    assert_int_equal(s.failed, 0);
    server_stop(&s);
}

static void a_peer_that_does_not_close_is_left(void **state)
{
    (void)state;
    struct server s = {.listener.linger_ms = 20, .listener.output_max = 16 << 20};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "quit\n");
    wait_until(&s, s.closed == 1);
    assert_why(&s, "the peer did not close the connection");
    close(fd);
    fd = connect_to(&s);
    int size = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    say(fd, "memory 3000000\nmemory 3000000\nmemory 3000000\nquit\n");
    wait_until(&s, s.closed == 2);
    assert_why(&s, "the peer did not read the last of what was sent");
    close(fd);
    server_stop(&s);
}

static void a_reset_at_any_moment_closes_once(void **state)
{
    (void)state;
    static const char *const before[] = {
        "",
        "e",
        "echo x\n",
        "hello\necho x\necho",
        "zeros 3000000\n",
        "file 3000000\nfile 3000000\n",
        "block 3000000\nmemory 3000000\n",
        "pause\n",
        "pause\necho x\n",
        "quit\n",
        "memory 3000000\nquit\n",
        "tick 0\n",
        "frame 1000\nabc",
        "abort\n",
    };
    enum { KINDS = sizeof before / sizeof *before };
    struct server s = {0};
    server_start(&s);
    for (int i = 0, opened = 0; i < 40 * KINDS; i++) {
        const char *text = before[i % KINDS];
        bool pauses = strncmp(text, "pause", 5) == 0;
        if (pauses && i > 2 * KINDS)
            continue; /* they take until the next look at them */
        int fd = connect_to(&s);
        say(fd, text);
        opened++;
        /* Half of them wait until the server has seen it. */
        if (i / KINDS % 2 == 0)
            wait_until(&s, s.opened == opened);
        if (pauses)
            wait_until(&s, s.last);
        reset(fd);
        wait_until(&s, s.closed == opened);
        connection_release(s.last);
        s.last = NULL;
    }
    assert_true(net_drain(s.net, INT64_MAX));
    assert_int_equal(connections_of(&s), 0);
    server_stop(&s);
}

static void a_protocol_may_refuse_a_peer(void **state)
{
    (void)state;
    struct server s = {.refuses = true};
    server_start(&s);
    for (int i = 0; i < 10; i++)
        hear_end(connect_to(&s));
    assert_int_equal(s.opened + s.closed, 0);
    server_stop(&s);
}

static void aborting_throws_away_what_waits(void **state)
{
    (void)state;
    struct server s = {0};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "echo x\nabort\necho y\n");
    hear_end(fd);
    wait_until(&s, s.closed == 1);
    assert_why(&s, "an unknown command");
    server_stop(&s);
}

/* ---- time ---- */

/* -1: this thread stood still for so long that it came too late. */
static int greet_in_time(const struct server *s)
{
    char answer[6];
    int fd = connect_to(s);
    (void)!send(fd, "hello\n", 6, MSG_NOSIGNAL);
    if (recv(fd, answer, sizeof answer, MSG_WAITALL) == sizeof answer)
        return fd;
    close(fd);
    return -1;
}

static void a_handshake_has_its_time(void **state)
{
    (void)state;
    struct server s = {.listener.handshake_timeout_ms = 20};
    server_start(&s);
    int silent = connect_to(&s), late = 0, greeted;
    while ((greeted = greet_in_time(&s)) < 0)
        late++;
    hear_end(silent);
    wait_until(&s, s.closed == late + 1);
    assert_why(&s, "the handshake took too long");
    say(greeted, "echo still here\n");
    hear(greeted, "echo still here\n");
    close(greeted);
    server_stop(&s);
}

static void a_handshake_byte_by_byte_does_not_take_longer(void **state)
{
    (void)state;
    struct server s = {.listener.handshake_timeout_ms = 30};
    server_start(&s);
    int fd = connect_to(&s);
    while (send(fd, "e", 1, MSG_NOSIGNAL) == 1) {
        struct timespec between = {.tv_nsec = 1000000};
        nanosleep(&between, NULL);
    }
    wait_until(&s, s.closed == 1);
    assert_why(&s, "the handshake took too long");
    close(fd);
    server_stop(&s);
}

static void who_is_silent_for_too_long_is_closed(void **state)
{
    (void)state;
    struct server s = {.listener.idle_timeout_ms = 20};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "hello\n");
    hear(fd, "hello\n");
    hear_end(fd);
    wait_until(&s, s.closed == 1);
    assert_why(&s, "no byte came or went for too long");
    server_stop(&s);
}

static void who_does_not_read_for_too_long_is_closed(void **state)
{
    (void)state;
    struct server s = {.listener.idle_timeout_ms = 30, .listener.output_max = 16384};
    server_start(&s);
    int fd = connect_to(&s);
    say(fd, "hello\nzeros 100000000\n");
    wait_until(&s, s.closed == 1);
    assert_why(&s, "no byte came or went for too long");
    close(fd);
    server_stop(&s);
}

static void a_tick_comes_when_it_was_asked_for(void **state)
{
    (void)state;
    struct server s = {0};
    server_start(&s);
    int fd = connect_to(&s);
    int64_t before = clock_mono_ns(clock_system());
    say(fd, "tick 1000000\necho x\ntick 30\n");
    hear(fd, "echo x\ntick\n");
    assert_true(clock_mono_ns(clock_system()) - before >= 30000000);
    say(fd, "tick 0\n");
    hear(fd, "tick\n");
    close(fd);
    server_stop(&s);
}

/* ---- stopping to read ---- */

struct resume {
    struct net_task task;
    struct connection *c;
};

static void resume(struct net_task *t)
{
    struct resume *r = (struct resume *)t;
    connection_resume(r->c);
    connection_release(r->c);
}

static void what_came_while_paused_is_given_afterwards(void **state)
{
    (void)state;
    struct server s = {.listener.idle_timeout_ms = 60000};
    server_start(&s);
    int fd = connect_to(&s);
    for (int i = 0; i < 100; i++) {
        say(fd, i % 2 ? "pause\necho after\n" : "pause\necho after\necho half");
        if (i % 2 == 0)
            say(fd, " of it\n");
        wait_until(&s, s.paused == i + 1);
        struct resume r = {.task.run = resume, .c = s.last};
        mutex_lock(&s.lock);
        s.last = NULL;
        mutex_unlock(&s.lock);
        net_post(connection_loop(r.c), &r.task);
        hear(fd, "echo after\n");
        if (i % 2 == 0)
            hear(fd, "echo half of it\n");
    }
    close(fd);
    server_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_answered),
        cmocka_unit_test(lines_may_come_in_any_pieces),
        cmocka_unit_test(lines_that_are_not_waited_for_are_answered_in_order),
        cmocka_unit_test(frames_are_given_whole),
        cmocka_unit_test(a_message_without_an_end_is_refused),
        cmocka_unit_test(all_that_waits_to_be_whole_is_bounded),
        cmocka_unit_test(memory_blocks_and_files_are_sent_as_they_are),
        cmocka_unit_test(a_file_that_became_shorter_ends_the_connection),
        cmocka_unit_test(who_does_not_read_is_not_read_from),
        cmocka_unit_test(output_goes_on_when_there_is_room),
        cmocka_unit_test(a_slow_peer_holds_up_nobody_else),
        cmocka_unit_test(who_says_all_and_goes_on_reading_gets_all_answers),
        cmocka_unit_test(finishing_sends_all_and_takes_nothing_more),
        cmocka_unit_test(a_peer_that_does_not_close_is_left),
        cmocka_unit_test(a_reset_at_any_moment_closes_once),
        cmocka_unit_test(a_protocol_may_refuse_a_peer),
        cmocka_unit_test(aborting_throws_away_what_waits),
        cmocka_unit_test(a_handshake_has_its_time),
        cmocka_unit_test(a_handshake_byte_by_byte_does_not_take_longer),
        cmocka_unit_test(who_is_silent_for_too_long_is_closed),
        cmocka_unit_test(who_does_not_read_for_too_long_is_closed),
        cmocka_unit_test(a_tick_comes_when_it_was_asked_for),
        cmocka_unit_test(what_came_while_paused_is_given_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
