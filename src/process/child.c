/*
 * Child processes. One poll loop moves everything: input towards the child, its output and standard
 * error away from it, and its end (a pid descriptor, or a look every 20 ms where the kernel has
 * none). The leader is looked at with WNOWAIT and reaped only in child_end, after the last signal.
 */
#include "process/child.h"
#include "base/clock.h"
#include "base/error.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_EVERY_MS 20
#define READ_BYTES 4096

/* ---- starting ---- */

enum { IN, OUT, ERR, PIPES };

struct pipes {
    int ours[PIPES], theirs[PIPES]; /* -1: closed or none */
};

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static void pipes_close(struct pipes *p)
{
    for (int i = 0; i < PIPES; i++) {
        close_fd(&p->ours[i]);
        close_fd(&p->theirs[i]);
    }
}

static bool pipes_open(struct pipes *p, bool out)
{
    for (int i = 0; i < PIPES; i++) {
        p->ours[i] = p->theirs[i] = -1;
    }
    for (int i = 0; i < PIPES; i++) {
        int ends[2];
        if (i == OUT && !out) {
            continue;
        }
        if (pipe2(ends, O_CLOEXEC) != 0) {
            return false;
        }
        p->ours[i] = ends[i == IN];
        p->theirs[i] = ends[i != IN];
        if (fcntl(p->ours[i], F_SETFL, O_NONBLOCK) != 0) {
            return false;
        }
    }
    return true;
}

static bool put_at(int fd, int target)
{
    return fd == target ? fcntl(fd, F_SETFD, 0) == 0 : dup2(fd, target) == target;
}

/* Ours is blocked meanwhile: a handler of ours must not run in the child. */
static void reset_signals(void)
{
    static const int ours[] = {SIGPIPE, SIGXFSZ, SIGINT, SIGTERM};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        signal(ours[i], SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* As execvpe, without a shell for what is no program. Returns an errno. */
static int exec_program(const struct child_options *o)
{
    const char *name = o->program[0], *at = NULL;
    int error = ENOENT;
    if (strchr(name, '/')) {
        execve(name, o->program, o->environment);
        return errno;
    }
    for (size_t i = 0; o->environment[i] && !at; i++) {
        at = strncmp(o->environment[i], "PATH=", 5) == 0 ? o->environment[i] + 5 : NULL;
    }
    at = at ? at : "/usr/local/bin:/usr/bin:/bin";
    while (*at) {
        char path[4096];
        size_t len = strcspn(at, ":"), name_len = strlen(name);
        if (len + name_len + 2 <= sizeof path) {
            memcpy(path, at, len);
            path[len] = '/';
            memcpy(path + len + (len > 0), name, name_len + 1);
            execve(path, o->program, o->environment);
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
                return errno;
            }
            error = errno == EACCES ? EACCES : error;
        }
        at += len + (at[len] == ':');
    }
    return error;
}

#define ERROR_FD 3

/* In the child, which shares our memory until it is another program: nothing is allocated or changed.
 * What it says on error_fd is why it did not become the program. */
_Noreturn __attribute__((noinline)) static void become(const struct child_options *o,
                                                       const struct pipes *p, int error_fd,
                                                       pid_t parent)
{
    bool good = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    if (getppid() != parent) {
        _exit(127); /* it ended before it was asked for */
    }
    for (int i = 0; i < PIPES && good; i++) {
        good = p->theirs[i] < 0 || put_at(p->theirs[i], i);
    }
    good = good && (!o->directory || chdir(o->directory) == 0);
    if (good && error_fd != ERROR_FD) {
        good = dup3(error_fd, ERROR_FD, O_CLOEXEC) >= 0;
        error_fd = good ? ERROR_FD : error_fd;
    }
    int error = errno;
    if (good) {
        closefrom(ERROR_FD + 1);
        reset_signals();
        error = exec_program(o);
    }
    (void)!write(error_fd, &error, sizeof error);
    _exit(127);
}

/* Returns an errno. Signals start at their defaults and unblocked, whatever ours are. The child gets SIGKILL
 * when the calling thread ends: whoever starts one stays until it has ended. */
static int spawn(const struct child_options *o, const struct pipes *p, pid_t *pid)
{
    int ends[2], error = 0;
    sigset_t all, before;
    pid_t self = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return errno;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = vfork(); /* a copy of our page tables would cost more the more memory we have */
    if (child == 0) {
        become(o, p, ends[1], self);
    }
    error = child < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (child > 0 && read(ends[0], &error, sizeof error) > 0) {
        waitpid(child, NULL, 0);
    }
    close(ends[0]);
    *pid = child;
    return error;
}

static beck_status start_error(const char *program, int error, beck_error *err)
{
    switch (error) {
    case ENOENT:
        return error_set(err, BECK_ENOENT, "no program '%s': give its path, or put it in PATH",
                         program);
    case EACCES:
    case ENOEXEC:
        return error_set(err, BECK_EINVAL, "'%s' cannot be run: %s", program, strerror(error));
    case E2BIG:
        return error_set(err, BECK_ELIMIT,
                         "arguments and attributes are too long for a process: use --persistent");
    default:
        return error_errno(err, error, "'%s' cannot be started", program);
    }
}

beck_status child_start(struct child *c, const struct child_options *options, beck_error *err)
{
    struct pipes pipes;
    int error = pipes_open(&pipes, options->answers || options->output) ? 0 : errno;
    pid_t pid = 0;
    error = error ? error : spawn(options, &pipes, &pid);
    if (error) {
        pipes_close(&pipes);
        return start_error(options->program[0], error, err);
    }
    *c = (struct child){.pid = pid,
                        .pid_fd = (int)syscall(SYS_pidfd_open, pid, 0),
                        .in = pipes.ours[IN],
                        .out = pipes.ours[OUT],
                        .err = pipes.ours[ERR],
                        .answers = options->answers,
                        .say = options->output,
                        .say_ctx = options->output_ctx};
    buf_init(&c->output, CHILD_LINE_MAX);
    for (int i = 0; i < PIPES; i++) {
        close_fd(&pipes.theirs[i]);
    }
    return BECK_OK;
}

/* ---- moving bytes ---- */

void child_send(struct child *c, beck_bytes input, bool last)
{
    assert(c->input.len == 0 || c->in < 0);
    c->input = input;
    c->input_last = last;
}

static void write_input(struct child *c)
{
    while (c->in >= 0 && c->input.len > 0) {
        ssize_t n = write(c->in, c->input.data, c->input.len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n < 0) {
            close_fd(&c->in); /* the child reads no more */
            return;
        }
        c->input = bytes_of((const char *)c->input.data + n, c->input.len - (size_t)n);
    }
    if (c->input_last) {
        close_fd(&c->in);
    }
}

static void remember(struct child *c, const char *data, size_t len)
{
    if (len > CHILD_TAIL_MAX) {
        data += len - CHILD_TAIL_MAX;
        len = CHILD_TAIL_MAX;
    }
    size_t keep = c->tail_len + len > CHILD_TAIL_MAX ? CHILD_TAIL_MAX - len : c->tail_len;
    memmove(c->tail, c->tail + c->tail_len - keep, keep);
    memcpy(c->tail + keep, data, len);
    c->tail_len = keep + len;
}

static void pass_on(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, data, len);
        if (n < 0 && errno != EINTR) {
            return; /* nobody listens */
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

bool child_has_read(const struct child *c)
{
    int unread = 0;
    return c->in < 0 || (c->input.len == 0 && (ioctl(c->in, FIONREAD, &unread) || unread <= 1));
}

static void say_text(struct child *c, struct child_text *text)
{
    if (c->say && text->len > 0) {
        c->say(c->say_ctx, bytes_of(text->at, text->len));
    }
    text->len = 0;
}

static void say(struct child *c, struct child_text *text, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)data[i];
        if (byte == '\n') {
            say_text(c, text);
            continue;
        }
        if (text->len == sizeof text->at) {
            say_text(c, text);
        }
        if (byte != '\r') {
            text->at[text->len++] = byte < ' ' || byte == 0x7f ? ' ' : (char)byte;
        }
    }
}

/* Takes what is there, at most a few pieces, so that a chatty child does not hold up the rest. Only
 * standard error is remembered. */
static void read_text(struct child *c, int *fd, struct child_text *text)
{
    char piece[READ_BYTES];
    for (int i = 0; i < 16 && *fd >= 0; i++) {
        ssize_t n = read(*fd, piece, sizeof piece);
        if (n > 0) {
            if (fd == &c->err) {
                remember(c, piece, (size_t)n);
            }
            if (c->say) {
                say(c, text, piece, (size_t)n);
            } else {
                pass_on(piece, (size_t)n);
            }
        } else if (n == 0 || errno != EINTR) {
            if (n == 0 || errno != EAGAIN) {
                close_fd(fd);
            }
            return;
        }
    }
}

static void read_answers(struct child *c)
{
    while (c->out >= 0 && c->output.len < CHILD_LINE_MAX) {
        size_t room = CHILD_LINE_MAX - c->output.len;
        room = room < READ_BYTES ? room : READ_BYTES;
        if (buf_reserve(&c->output, room)) {
            return;
        }
        ssize_t n = read(c->out, c->output.data + c->output.len, room);
        if (n > 0) {
            c->output.len += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            if (n == 0 || errno != EAGAIN) {
                close_fd(&c->out);
                c->out_ended = true;
            }
            return;
        }
    }
}

static void read_out(struct child *c)
{
    if (c->answers) {
        read_answers(c);
    } else {
        read_text(c, &c->out, &c->out_text);
    }
}

/* Looks whether the leader ended, without reaping it. */
static bool look(struct child *c)
{
    siginfo_t info = {0};
    if (!c->ended && waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0 &&
        info.si_pid == c->pid) {
        c->ended = true;
    }
    return c->ended;
}

bool child_line(struct child *c, beck_bytes *line)
{
    const uint8_t *end = c->output.len ? memchr(c->output.data, '\n', c->output.len) : NULL;
    if (!end) {
        return false;
    }
    *line = bytes_of(c->output.data, (size_t)(end - c->output.data));
    return true;
}

void child_line_drop(struct child *c)
{
    beck_bytes line;
    if (child_line(c, &line)) {
        size_t used = line.len + 1;
        memmove(c->output.data, c->output.data + used, c->output.len - used);
        c->output.len -= used;
    }
}

static bool has_line(struct child *c)
{
    beck_bytes line;
    return child_line(c, &line) || c->output.len == CHILD_LINE_MAX;
}

static int poll_timeout(const struct child *c, int64_t until_ns)
{
    int64_t left = (until_ns - clock_mono_ns(clock_system()) + 999999) / 1000000;
    left = left < 0 ? 0 : left;
    int64_t most = c->pid_fd < 0 ? LOOK_EVERY_MS : 60000;
    return (int)(left < most ? left : most);
}

/* One round: waits for anything to move, and moves it. */
static unsigned turn(struct child *c, int wake_fd, int64_t until_ns)
{
    write_input(c);
    bool writing = c->in >= 0 && c->input.len > 0;
    bool reading = c->out >= 0 && c->output.len < CHILD_LINE_MAX;
    struct pollfd fds[] = {{.fd = writing ? c->in : -1, .events = POLLOUT},
                           {.fd = reading ? c->out : -1, .events = POLLIN},
                           {.fd = c->err, .events = POLLIN},
                           {.fd = c->pid_fd, .events = POLLIN},
                           {.fd = wake_fd, .events = POLLIN}};
    unsigned found = has_line(c) ? CHILD_LINE : 0;
    poll(fds, 5, found ? 0 : poll_timeout(c, until_ns));
    bool ended = look(c); /* before reading: what it wrote until then is in the pipes */
    if (fds[2].revents || ended) {
        read_text(c, &c->err, &c->err_text);
    }
    if (fds[1].revents || ended) {
        read_out(c);
    }
    if (fds[0].revents) {
        write_input(c);
    }
    found |= ended || c->out_ended ? CHILD_ENDED : 0;
    found |= has_line(c) ? CHILD_LINE : 0;
    found |= fds[4].revents ? CHILD_WOKEN : 0;
    found |= clock_mono_ns(clock_system()) >= until_ns ? CHILD_LATE : 0;
    return found;
}

unsigned child_wait(struct child *c, int wake_fd, int64_t until_ns)
{
    unsigned found;
    do {
        found = turn(c, wake_fd, until_ns);
    } while (!found);
    return found;
}

/* ---- ending ---- */

/* Waits for the leader's end. The answers of a child that is being ended are of no use. */
static bool wait_end(struct child *c, int64_t grace_ms)
{
    int64_t until = clock_mono_ns(clock_system()) + grace_ms * 1000000;
    while (!look(c) && clock_mono_ns(clock_system()) < until) {
        buf_clear(&c->output);
        turn(c, -1, until);
    }
    return c->ended;
}

void child_end(struct child *c, bool at_once, int64_t grace_ms)
{
    if (c->pid == 0) {
        return;
    }
    c->input = (beck_bytes){0};
    close_fd(&c->in);
    bool forced = !(at_once ? look(c) : wait_end(c, grace_ms));
    if (forced) {
        kill(-c->pid, SIGTERM);
        if (!wait_end(c, grace_ms)) {
            kill(-c->pid, SIGKILL);
        }
    }
    if (forced) {
        kill(-c->pid, SIGKILL); /* its own children, which may have ignored SIGTERM */
    }
    while (waitpid(c->pid, &c->wait_status, 0) < 0 && errno == EINTR) {
    }
    c->ended = true;
    read_text(c, &c->err, &c->err_text);
    if (!c->answers) {
        read_out(c);
    }
    say_text(c, &c->out_text);
    say_text(c, &c->err_text);
    close_fd(&c->out);
    close_fd(&c->err);
    close_fd(&c->pid_fd);
    buf_release(&c->output);
    c->pid = 0;
}

/* Whole lines only, when there is more than one: the first may be cut. */
void child_last_words(const struct child *c, char *out, size_t size)
{
    size_t end = c->tail_len;
    while (end > 0 && (unsigned char)c->tail[end - 1] <= ' ') {
        end--;
    }
    size_t begin = end > size - 1 ? end - (size - 1) : 0;
    if (begin > 0) {
        const char *newline = memchr(c->tail + begin, '\n', end - begin);
        begin = newline ? (size_t)(newline - c->tail) + 1 : begin;
        while (begin < end && ((unsigned char)c->tail[begin] & 0xc0) == 0x80) {
            begin++; /* not in the middle of a character */
        }
    }
    size_t len = 0;
    for (size_t i = begin; i < end; i++) {
        unsigned char byte = (unsigned char)c->tail[i];
        out[len++] = byte < ' ' || byte == 0x7f ? ' ' : (char)byte;
    }
    out[len] = '\0';
}
