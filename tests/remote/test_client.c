/* The client of a server, against one that answers what a test wants: whole, in pieces, wrong, too
 * much, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "remote/client.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the server: one connection at a time ---- */

struct reply {
    const char *text; /* NULL: the script ends; "": no answer */
    size_t len;       /* 0: strlen */
    bool close;       /* afterwards */
    bool pieces;      /* a byte at a time */
};

static struct {
    char dir[64], data[400];
    int listen_fd;
    pthread_t thread;
    const struct reply *script;
    _Atomic(int) accepted;
    pthread_mutex_t lock;
    char asked[100000]; /* the last request; with the lock */
    sem_t closed;       /* a connection, by the script */
} fake;

static bool read_request(int fd)
{
    static char text[sizeof fake.asked]; /* of the server's thread */
    size_t len = 0, wanted = SIZE_MAX;
    while (len < wanted) {
        ssize_t n = read(fd, text + len, sizeof text - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = 0;
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strstr(text, "Content-Length: ");
        if (end)
            wanted = (size_t)(end + 4 - text) + (length ? strtoul(length + 16, NULL, 10) : 0);
    }
    pthread_mutex_lock(&fake.lock);
    memcpy(fake.asked, text, len + 1);
    pthread_mutex_unlock(&fake.lock);
    return true;
}

/* The last request, valid until this is asked again. */
static const char *last_request(void)
{
    static char copy[sizeof fake.asked]; /* of the test's thread */
    pthread_mutex_lock(&fake.lock);
    memcpy(copy, fake.asked, sizeof copy);
    pthread_mutex_unlock(&fake.lock);
    return copy;
}

static void send_all(int fd, const char *text, size_t len, bool pieces)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, text + at, pieces ? 1 : len - at, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

static void *serve(void *arg)
{
    (void)arg;
    int fd = -1;
    for (const struct reply *r = fake.script; r->text; r++) {
        if (fd < 0) {
            fd = accept(fake.listen_fd, NULL, NULL);
            fake.accepted++;
        }
        if (fd >= 0 && !read_request(fd)) { /* it came back on another connection */
            close(fd);
            fd = accept(fake.listen_fd, NULL, NULL);
            fake.accepted++;
            read_request(fd);
        }
        send_all(fd, r->text, r->len ? r->len : strlen(r->text), r->pieces);
        if (r->close) {
            close(fd);
            fd = -1;
            sem_post(&fake.closed);
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static void listen_at(const char *data)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char path[500];
    assert_non_null(getcwd(path, sizeof path));
    assert_int_equal(chdir(data), 0);
    snprintf(un.sun_path, sizeof un.sun_path, "beck.sock");
    fake.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake.listen_fd, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(fake.listen_fd, 8), 0);
    assert_int_equal(chdir(path), 0);
}

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    pthread_mutex_init(&fake.lock, NULL);
    sem_init(&fake.closed, 0, 0);
    snprintf(fake.dir, sizeof fake.dir, "/tmp/beck-remote-XXXXXX");
    assert_non_null(mkdtemp(fake.dir));
    snprintf(fake.data, sizeof fake.data, "%s", fake.dir);
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", fake.dir);
    return system(command);
}

static struct client *start(const struct reply *script)
{
    struct client *c;
    beck_error err;
    fake.script = script;
    fake.accepted = 0;
    listen_at(fake.data);
    assert_int_equal(pthread_create(&fake.thread, NULL, serve, NULL), 0);
    if (client_open(fake.data, &c, &err))
        fail_msg("%s", err.text);
    return c;
}

static void stop(struct client *c)
{
    char path[500];
    client_close(c);
    pthread_join(fake.thread, NULL);
    close(fake.listen_fd);
    snprintf(path, sizeof path, "%s/beck.sock", fake.data);
    unlink(path);
}

static beck_status call(struct client *c, const char *method, struct response *a, beck_error *err)
{
    const struct request q = {.method = method, .target = "/x"};
    return client_call(c, &q, a, err);
}

static beck_status get(struct client *c, struct response *a, beck_error *err)
{
    return call(c, "GET", a, err);
}

#define LENGTH(body, n) "HTTP/1.1 200 OK\r\nContent-Length: " n "\r\n\r\n" body

/* ---- answers ---- */

static void answers_come_whole_in_chunks_and_in_pieces(void **state)
{
    (void)state;
    static const struct reply script[] = {
        {.text = LENGTH("hello", "5")},
        {.text = LENGTH("hello", "5"), .pieces = true},
        {.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nbeck-cursor: 0-7\r\n\r\n"
                 "3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
         .pieces = true},
        {.text = "HTTP/1.1 204 No Content\r\n\r\n"},
        {.text = "HTTP/1.1 100 Continue\r\n\r\n" LENGTH("hello", "5")},
        {.text = "HTTP/1.1 200 OK\nContent-Length:5\n\nhello"},
        {0},
    };
    struct client *c = start(script);
    struct response a;
    beck_error err;
    response_init(&a, 1000);
    for (const struct reply *r = script; r->text; r++) {
        if (get(c, &a, &err))
            fail_msg("%s: %s", r->text, err.text);
        bool empty = a.status == 204;
        assert_int_equal(a.body.len, empty ? 0 : 5);
        assert_memory_equal(a.body.data, "hello", a.body.len);
        bool cursor = strstr(r->text, "cursor") != NULL;
        assert_int_equal(a.cursor.len, cursor ? 3 : 0);
    }
    response_release(&a);
    stop(c);
    assert_int_equal(fake.accepted, 1);
}

static void what_is_no_answer_is_refused(void **state)
{
    (void)state;
    static char line[300000], headers[10000];
    snprintf(line, sizeof line, "HTTP/1.1 200 OK\r\nX: %0290000d\r\n\r\n", 1);
    size_t at = (size_t)snprintf(headers, sizeof headers, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 300; i++)
        at += (size_t)snprintf(headers + at, sizeof headers - at, "X%d: 1\r\n", i);
    snprintf(headers + at, sizeof headers - at, "\r\n");
    const struct {
        struct reply reply;
        beck_status status;
        const char *says;
    } wrong[] = {
        {{.text = "HTTP/2 200\r\n\r\n"}, BECK_EIO, "no status line"},
        {{.text = "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"}, BECK_EIO, "colon"},
        {{.text = "HTTP/1.1 200 OK\r\n\r\n"}, BECK_EIO, "without a length"},
        {{.text = LENGTH("", "-1")}, BECK_EIO, "no number"},
        {{.text = LENGTH("", "1001")}, BECK_ELIMIT, "1001 bytes"},
        {{.text = LENGTH("hel", "5"), .close = true}, BECK_EIO, "ended the connection"},
        {{.text = "HTTP/1.1 200", .close = true}, BECK_EIO, "ended the connection"},
        {{.text = "", .close = true}, BECK_EIO, "not known"},
        {{.text = line}, BECK_EIO, "too long"},
        {{.text = headers}, BECK_EIO, "too many headers"},
#define CHUNKS "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        {{.text = CHUNKS "x\r\n"}, BECK_EIO, "chunk"},
        {{.text = CHUNKS "-1\r\n"}, BECK_EIO, "chunk"},
        {{.text = CHUNKS "ffffffffffffffffff\r\n"}, BECK_EIO, "chunk"},
        {{.text = CHUNKS "fffffff\r\n"}, BECK_ELIMIT, "more than"},
        {{.text = CHUNKS "2\r\nhello\r\n"}, BECK_EIO, "longer than its size"},
        {{.text = CHUNKS "5\r\nhello\r\n", .close = true}, BECK_EIO, "ended the connection"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct reply script[] = {wrong[i].reply, {0}};
        struct response a;
        beck_error err = {0};
        struct client *c = start(script);
        response_init(&a, 1000);
        beck_status status = call(c, "POST", &a, &err);
        if (status != wrong[i].status || !strstr(err.text, wrong[i].says))
            fail_msg("%zu: %s: %s", i, beck_status_name(status), err.text);
        assert_true(a.body.len <= 1000);
        response_release(&a);
        stop(c);
    }
}

static void errors_are_what_the_server_says(void **state)
{
    (void)state;
    static const struct {
        const char *status_line, *body;
        beck_status status;
        const char *text;
    } failures[] = {
        {"409 Conflict",
         "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
         "\"detail\":\"it \\\"is\\\" there\",\"code\":\"BECK_EEXIST\"}",
         BECK_EEXIST, "it \"is\" there"},
        {"404 Not Found",
         "{\"type\":\"about:blank\",\"title\":\"x\",\"status\":404,\"detail\":\"gone\","
         "\"code\":\"BECK_OF_LATER\"}",
         BECK_ENOENT, "gone"},
        {"413 Too Large", "no!", BECK_ELIMIT, "the server answered with status 413"},
        {"500 x", "", BECK_EIO, "the server answered with status 500"},
    };
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        char text[500];
        snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s",
                 failures[i].status_line, strlen(failures[i].body), failures[i].body);
        struct reply script[] = {{.text = text}, {.text = LENGTH("hello", "5")}, {0}};
        struct response a;
        beck_error err;
        struct client *c = start(script);
        response_init(&a, 1000);
        assert_int_equal(get(c, &a, &err), failures[i].status);
        assert_string_equal(err.text, failures[i].text);
        assert_int_equal(get(c, &a, &err), BECK_OK); /* the connection is as good as before */
        response_release(&a);
        stop(c);
        assert_int_equal(fake.accepted, 1);
    }
}

/* ---- connections ---- */

static void connections_that_the_server_ended_are_replaced(void **state)
{
    (void)state;
    static const struct reply script[] = {
        {.text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
         .close = true},
        {.text = LENGTH("", "0"), .close = true}, /* without a word */
        {.text = LENGTH("", "0")},
        {0},
    };
    struct response a;
    beck_error err;
    struct client *c = start(script);
    response_init(&a, 1000);
    for (int i = 0; i < 3; i++) {
        if (get(c, &a, &err))
            fail_msg("%s", err.text);
        if (script[i].close)
            sem_wait(&fake.closed);
    }
    response_release(&a);
    stop(c);
    assert_int_equal(fake.accepted, 3);
    assert_int_equal(client_open(fake.data, &c, &err), BECK_ENOENT);
}

static void only_a_look_up_is_asked_for_twice(void **state)
{
    (void)state;
    static const struct reply script[] = {{.text = "", .close = true}, {0}};
    static const struct reply twice[] = {
        {.text = "", .close = true}, {.text = LENGTH("hello", "5")}, {0}};
    struct response a;
    beck_error err;
    response_init(&a, 1000);
    struct client *c = start(script);
    assert_int_equal(call(c, "POST", &a, &err), BECK_EIO);
    assert_non_null(strstr(err.text, "is not known"));
    stop(c);
    c = start(twice);
    assert_int_equal(call(c, "GET", &a, &err), BECK_OK);
    stop(c);
    response_release(&a);
}

static void a_server_that_is_gone_is_an_error_that_names_it(void **state)
{
    (void)state;
    static const struct reply script[] = {{.text = LENGTH("", "0"), .close = true}, {0}};
    struct response a;
    beck_error err;
    char path[500];
    struct client *c = start(script);
    response_init(&a, 1000);
    assert_int_equal(get(c, &a, &err), BECK_OK);
    pthread_join(fake.thread, NULL);
    close(fake.listen_fd); /* the socket's name stays, as after kill -9 */
    assert_int_equal(get(c, &a, &err), BECK_EIO);
    assert_non_null(strstr(err.text, fake.data));
    assert_non_null(strstr(err.text, "is gone"));
    snprintf(path, sizeof path, "%s/beck.sock", fake.data);
    unlink(path);
    assert_int_equal(get(c, &a, &err), BECK_EIO);
    response_release(&a);
    client_close(c);
}

static void a_refusal_that_comes_before_the_body_was_sent_is_read(void **state)
{
    (void)state;
    enum { SIZE = 8 << 20 };
    struct response a;
    beck_error err;
    struct connection *c;
    char *body = calloc(1, SIZE), path[500];
    listen_at(fake.data);
    snprintf(path, sizeof path, "%s/beck.sock", fake.data);
    assert_int_equal(connection_open(path, &c, &err), BECK_OK);
    int fd = accept(fake.listen_fd, NULL, NULL);
    const char *refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(send(fd, refusal, strlen(refusal), 0), strlen(refusal));
    shutdown(fd, SHUT_RD);
    const struct request q = {.method = "POST", .target = "/x", .body = {body, SIZE}};
    response_init(&a, 1000);
    bool untouched = false;
    /* Nothing of it, or a part, could be sent; either way the answer is there. */
    beck_status status = connection_send(c, &q, &untouched, &err);
    assert_true(status == BECK_OK || untouched);
    assert_int_equal(connection_receive(c, &a, -1, INT64_MAX, &err), BECK_OK);
    assert_int_equal(a.status, 413);
    response_release(&a);
    connection_close(c);
    close(fd);
    close(fake.listen_fd);
    free(body);
}

static void waiting_ends_by_time_or_by_a_wake_and_the_answer_still_comes(void **state)
{
    (void)state;
    struct response a;
    beck_error err;
    struct connection *c;
    char path[500], asked[200];
    uint64_t one = 1;
    int wake_fd = eventfd(0, EFD_CLOEXEC);
    listen_at(fake.data);
    snprintf(path, sizeof path, "%s/beck.sock", fake.data);
    assert_int_equal(connection_open(path, &c, &err), BECK_OK);
    int fd = accept(fake.listen_fd, NULL, NULL);
    const struct request q = {.method = "GET", .target = "/x"};
    response_init(&a, 1000);
    assert_int_equal(connection_send(c, &q, NULL, &err), BECK_OK);
    assert_true(read(fd, asked, sizeof asked) > 0);
    assert_true(connection_is_alive(c));
    int64_t soon = clock_mono_ns(clock_system()) + 2000000;
    assert_int_equal(connection_receive(c, &a, wake_fd, soon, &err), BECK_ETIMEDOUT);
    assert_true(clock_mono_ns(clock_system()) >= soon);
    assert_int_equal(write(wake_fd, &one, sizeof one), sizeof one);
    assert_int_equal(connection_receive(c, &a, wake_fd, INT64_MAX, &err), BECK_ECLOSED);
    send_all(fd, LENGTH("hello", "5"), strlen(LENGTH("hello", "5")), false);
    assert_false(connection_is_alive(c)); /* something is to be received */
    assert_int_equal(connection_receive(c, &a, -1, INT64_MAX, &err), BECK_OK);
    assert_int_equal(a.body.len, 5);
    response_release(&a);
    connection_close(c);
    close(fd);
    close(wake_fd);
    close(fake.listen_fd);
}

static void a_socket_below_a_long_path_is_reached(void **state)
{
    (void)state;
    static const struct reply script[] = {{.text = LENGTH("hello", "5")}, {0}};
    struct response a;
    beck_error err;
    snprintf(fake.data, sizeof fake.data, "%s/%0200d", fake.dir, 1);
    assert_int_equal(mkdir(fake.data, 0700), 0);
    struct client *c = start(script);
    response_init(&a, 1000);
    assert_int_equal(get(c, &a, &err), BECK_OK);
    response_release(&a);
    stop(c);
    assert_int_equal(client_open(fake.data, &c, &err), BECK_ENOENT);
}

static void requests_say_what_is_meant(void **state)
{
    (void)state;
    static const struct reply script[] = {
        {.text = LENGTH("", "0")}, {.text = LENGTH("", "0")}, {0}};
    struct response a;
    struct target t;
    beck_error err;
    struct client *c = start(script);
    response_init(&a, 1000);
    const beck_from from = {.kind = BECK_FROM_TIME, .time_ms = 1700000000123};
    target_begin(&t, "/v1/queues/");
    target_segment(&t, "a/b c");
    target_add(&t, "/x");
    target_param(&t, "type", beck_str("#.\xc3\xa9&="));
    target_number(&t, "limit", -7);
    target_from(&t, "from", &from);
    struct request q = {
        .method = "POST", .target = target_text(&t, &err), .accept = "a/b", .body = beck_str("{}")};
    assert_int_equal(client_call(c, &q, &a, &err), BECK_OK);
    assert_string_equal(last_request(),
                        "POST /v1/queues/a%2Fb%20c/x?type=%23.%C3%A9%26%3D&limit=-7&from="
                        "2023-11-14T22%3A13%3A20.123Z HTTP/1.1\r\nHost: localhost\r\n"
                        "Accept: a/b\r\nContent-Type: application/json\r\n"
                        "Content-Length: 2\r\n\r\n{}");
    q = (struct request){.method = "POST", .target = "/y"};
    assert_int_equal(client_call(c, &q, &a, &err), BECK_OK);
    assert_string_equal(last_request(),
                        "POST /y HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    target_release(&t);
    response_release(&a);
    stop(c);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(answers_come_whole_in_chunks_and_in_pieces),
        TEST(what_is_no_answer_is_refused),
        TEST(errors_are_what_the_server_says),
        TEST(connections_that_the_server_ended_are_replaced),
        TEST(only_a_look_up_is_asked_for_twice),
        TEST(a_server_that_is_gone_is_an_error_that_names_it),
        TEST(a_refusal_that_comes_before_the_body_was_sent_is_read),
        TEST(waiting_ends_by_time_or_by_a_wake_and_the_answer_still_comes),
        TEST(a_socket_below_a_long_path_is_reached),
        TEST(requests_say_what_is_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
