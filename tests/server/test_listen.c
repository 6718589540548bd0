/* Listening sockets: addresses, Unix sockets with long paths, sockets that were inherited. */
#include "common.h"

#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static void addresses_are_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1:2325", "[::1]:2325", "localhost:0",  ":80",
                                       "*:80",           "[::]:1",     "0.0.0.0:65535"};
    static const char *const bad[] = {
        "",           "127.0.0.1",   "2325",       "::1:2325", "[::1]",           "a.b:1",
        "127.0.0.1:", "127.0.0.1:x", "1.2.3.4:-1", "[::1:1",   "127.0.0.1:65536", "[1.2.3.4]:1",
        "[::1%lo]:1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        beck_error err = {0};
        if (listen_check(good[i], &err)) {
            fail_msg("%s: %s", good[i], err.text);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (listen_check(bad[i], NULL) != BECK_EINVAL) {
            fail_msg("'%s' is taken for an address", bad[i]);
        }
    }
}

static void connect_to(const struct listen_socket *s)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &size), 0);
    int fd = socket(a.ss_family, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, size), 0);
    close(fd);
}

static void an_address_is_listened_on(void **state)
{
    (void)state;
    struct listen_sockets l = {0};
    assert_int_equal(listen_tcp(&l, "127.0.0.1:0", true, false, NULL), BECK_OK);
    assert_int_equal(l.count, 1);
    assert_int_equal(strncmp(l.at[0].text, "127.0.0.1:", 10), 0);
    assert_string_not_equal(l.at[0].text, "127.0.0.1:0");
    assert_true(l.at[0].tls);
    assert_false(l.at[0].unix_socket || l.at[0].trusted);
    assert_true(fcntl(l.at[0].fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(l.at[0].fd, F_GETFD) & FD_CLOEXEC);
    connect_to(&l.at[0]);

    struct listen_sockets other = {0};
    beck_error err;
    assert_int_equal(listen_tcp(&other, l.at[0].text, false, true, &err), BECK_EBUSY);
    assert_non_null(strstr(err.text, "is in use by another program: stop that one"));
    listen_close(&l);
}

static void an_address_that_is_not_of_this_machine_is_refused_unless_that_is_fine(void **state)
{
    (void)state;
    struct listen_sockets l = {0};
    beck_error err;
    assert_int_equal(listen_tcp(&l, "192.0.2.1:0", false, false, &err), BECK_EIO);
    assert_non_null(strstr(err.text, "'192.0.2.1:0' cannot be listened on"));
    assert_int_equal(listen_tcp(&l, "192.0.2.1:0", false, true, NULL), BECK_OK);
    assert_int_equal(l.count, 0);
}

static void what_others_reach_is_told_from_loopback(void **state)
{
    (void)state;
    struct listen_sockets l = {0};
    const struct listen_socket *which = NULL;
    assert_int_equal(listen_tcp(&l, "127.0.0.1:0", false, false, NULL), BECK_OK);
    assert_int_equal(listen_tcp(&l, "127.9.9.9:0", false, false, NULL), BECK_OK);
    assert_int_equal(listen_tcp(&l, "localhost:0", false, false, NULL), BECK_OK);
    assert_int_equal(listen_unix(&l, ".", "sock", NULL), BECK_OK);
    assert_false(listen_is_remote(&l, &which));
    assert_int_equal(listen_tcp(&l, ":0", false, false, NULL), BECK_OK);
    assert_true(listen_is_remote(&l, &which));
    assert_true(strncmp(which->text, "0.0.0.0:", 8) == 0 || strncmp(which->text, "[::]:", 5) == 0);
    listen_close(&l);
}

static void a_unix_socket_is_its_owners_and_replaces_an_old_one(void **state)
{
    (void)state;
    struct listen_sockets l = {0};
    struct stat st;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(listen_unix(&l, ".", "own.sock", NULL), BECK_OK);
        assert_int_equal(l.count, 1);
        assert_true(l.at[0].unix_socket && l.at[0].trusted && !l.at[0].tls);
        assert_string_equal(l.at[0].text, "./own.sock");
        assert_int_equal(stat("own.sock", &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 0777, 0600);
        connect_to(&l.at[0]);
        listen_close(&l); /* as after a crash: the file stays */
    }
    write_file("data.sock", "precious");
    beck_error err;
    assert_int_equal(listen_unix(&l, ".", "data.sock", &err), BECK_EEXIST);
    assert_non_null(strstr(err.text, "exists and is no socket"));
    assert_int_equal(stat("data.sock", &st), 0);
    assert_int_equal(listen_unix(&l, "no/such/dir", "s", NULL), BECK_ENOENT);
}

static void a_path_longer_than_an_address_is_bound_all_the_same(void **state)
{
    (void)state;
    struct listen_sockets l = {0};
    struct stat st;
    char dir[600] = ".", path[620];
    for (int i = 0; i < 5; i++) {
        size_t len = strlen(dir);
        memset(dir + len, 'd', 100);
        dir[len] = '/';
        dir[len + 100] = 0;
        assert_int_equal(mkdir(dir, 0700), 0);
    }
    assert_int_equal(listen_unix(&l, dir, "beck.sock", NULL), BECK_OK);
    snprintf(path, sizeof path, "%s/beck.sock", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    int dir_fd = open(dir, O_PATH | O_DIRECTORY);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/beck.sock", dir_fd);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    close(dir_fd);
    listen_close(&l);
}

static void too_many_addresses_are_refused(void **state)
{
    (void)state;
    struct listen_sockets l = {0};
    beck_error err;
    for (int i = 0; i < LISTEN_ADDRESSES_MAX; i++) {
        assert_int_equal(listen_tcp(&l, "127.0.0.1:0", false, false, NULL), BECK_OK);
    }
    assert_int_equal(listen_tcp(&l, "127.0.0.1:0", false, false, &err), BECK_ELIMIT);
    assert_int_equal(listen_unix(&l, ".", "one-more", &err), BECK_ELIMIT);
    listen_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(an_address_is_listened_on),
        cmocka_unit_test(an_address_that_is_not_of_this_machine_is_refused_unless_that_is_fine),
        cmocka_unit_test(what_others_reach_is_told_from_loopback),
        cmocka_unit_test(a_unix_socket_is_its_owners_and_replaces_an_old_one),
        cmocka_unit_test(a_path_longer_than_an_address_is_bound_all_the_same),
        cmocka_unit_test(too_many_addresses_are_refused),
    };
    return cmocka_run_group_tests(tests, enter_directory, leave_directory);
}
