/* Passwords from people and pipes: see password.h. */
#include "cli/password.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

void password_forget(char password[PASSWORD_SIZE])
{
    explicit_bzero(password, PASSWORD_SIZE);
}

/* One line, byte by byte, so that nothing behind it is taken. False: errno, or 0 for a line that is
 * too long; a line without an end is one, too. */
static bool read_line(int fd, char out[PASSWORD_SIZE])
{
    size_t len = 0;
    char c;
    errno = 0;
    for (;;) {
        ssize_t got = read(fd, &c, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return false;
        }
        if (got == 0 || c == '\n') {
            break;
        }
        if (len == PASSWORD_SIZE - 1 || c == 0) {
            errno = 0;
            return false;
        }
        out[len++] = c;
    }
    if (len > 0 && out[len - 1] == '\r') {
        len--;
    }
    out[len] = 0;
    return true;
}

static int refuse(const struct call *call)
{
    if (errno) {
        return call_error(call, EXIT_FAILED, "the password cannot be read: %s", strerror(errno));
    }
    return call_usage(call, "the password is too long, or holds a zero byte");
}

/* Input that is typed ahead is thrown away, and what was set before is set again. */
static bool ask(int tty, const char *what, const char *user, char out[PASSWORD_SIZE])
{
    struct termios before, silent;
    char prompt[300];
    int length = snprintf(prompt, sizeof prompt, "%s for %.140s: ", what, user);
    if (tcgetattr(tty, &before) != 0) {
        return false;
    }
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    if (tcsetattr(tty, TCSAFLUSH, &silent) != 0) {
        return false;
    }
    bool good = write(tty, prompt, (size_t)length) == length && read_line(tty, out);
    int error = errno;
    tcsetattr(tty, TCSAFLUSH, &before);
    if (write(tty, "\n", 1) != 1) {
        good = false;
    }
    errno = error;
    return good;
}

static int ask_twice(const struct call *call, int tty, const char *user, char out[PASSWORD_SIZE])
{
    char again[PASSWORD_SIZE];
    int code = EXIT_DONE;
    if (!ask(tty, "password", user, out) || !ask(tty, "the same again", user, again)) {
        code = refuse(call);
    } else if (strcmp(out, again) != 0) {
        code = call_error(call, EXIT_FAILED, "the two passwords are not the same");
    }
    password_forget(again);
    return code;
}

int password_ask(const struct call *call, bool from_stdin, const char *user,
                 char out[PASSWORD_SIZE])
{
    int code = EXIT_DONE;
    if (from_stdin) {
        code = read_line(STDIN_FILENO, out) ? EXIT_DONE : refuse(call);
    } else {
        int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (tty < 0) {
            return call_usage(call, "there is no terminal to ask for a password on: give it as a "
                                    "line of standard input, with --password-stdin");
        }
        code = ask_twice(call, tty, user, out);
        close(tty);
    }
    if (!code && !out[0]) {
        code = call_usage(call, "the password is empty");
    }
    if (code) {
        password_forget(out);
    }
    return code;
}
