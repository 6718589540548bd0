/* The program: what happens around the run of a command. */
#include "cli/parser.h"
#include "base/clock.h"
#include "cli/help.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Pipes made later must not become a standard stream by accident. */
static void open_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) {
            exit(EXIT_FAILED);
        }
    }
}

/* SIGINT and SIGTERM become readable bytes; threads and so the library's inherit the mask. */
static int watch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static bool colors_for(const struct call *call, int fd)
{
    static const int always = 1, never = 2;
    int choice = option_choice(call, "color");
    const char *term = getenv("TERM");
    const char *none = getenv("NO_COLOR");
    if (choice == always || choice == never) {
        return choice == always;
    }
    return isatty(fd) == 1 && !(none && *none) && !(term && strcmp(term, "dumb") == 0);
}

static void read_globals(struct call *call)
{
    const char *from_environment = getenv("BECK_DATA");
    call->data_dir = option_text(call, "data");
    if (!call->data_dir || !*call->data_dir) {
        call->data_dir = from_environment && *from_environment ? from_environment : "beck-data";
    }
    call->json = option_flag(call, "json");
    call->quiet = option_flag(call, "quiet");
    call->wait_ms = option_number(call, "wait", 0);
    call->color_out = colors_for(call, STDOUT_FILENO);
    call->color_err = colors_for(call, STDERR_FILENO);
}

static int run(struct call *call)
{
    if (call->command->orderly) {
        call->stop_fd = watch_signals();
    }
    int code = call->command->run(call);
    beck_close(call->handle);
    call->handle = NULL;
    if (call->stop_fd >= 0) {
        close(call->stop_fd);
    }
    return code;
}

/* A reader that went away is no error; a full disk is. */
static int finish_output(const struct call *call, int code)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return code;
    }
    if (errno == EPIPE || errno == 0) {
        return code;
    }
    return call_error(call, EXIT_FAILED, "the output cannot be written: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    open_standard_streams();
    signal(SIGPIPE, SIG_IGN); /* a reader that left, a file that may not grow: errors of write */
    signal(SIGXFSZ, SIG_IGN);
    _Atomic(int) stops = 0;
    struct call call = {.stop_fd = -1, .stops = &stops, .now_ns = clock_wall_ns(clock_system())};

    int code = EXIT_USAGE;
    enum parse_result parsed = parser_read(&call, argc, argv);
    if (parsed != PARSE_USAGE) {
        read_globals(&call);
    }
    if (parsed == PARSE_HELP) {
        bool asked = option_flag(&call, "help");
        help_print(&call, asked ? stdout : stderr);
        code = asked ? EXIT_DONE : EXIT_USAGE;
    } else if (parsed == PARSE_RUN) {
        code = run(&call);
    }
    code = finish_output(&call, code);
    parser_release(&call);
    return code;
}
