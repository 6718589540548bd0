/* Making, inheriting and closing listening sockets. */
#include "server/listen.h"
#include "base/error.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define INHERITED_FIRST 3

/* ---- addresses ---- */

struct host_port {
    char host[64]; /* "": every address */
    char port[8];
};

static beck_status split(const char *address, struct host_port *out, beck_error *err)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : 0;
    bool bracketed = len >= 2 && address[0] == '[' && colon[-1] == ']';
    uint64_t port;
    const char *host = bracketed ? address + 1 : address;
    len -= bracketed ? 2 : 0;
    if (!colon || len >= sizeof out->host || (!bracketed && memchr(address, ':', len) != NULL)) {
        return error_set(err, BECK_EINVAL,
                         "'%.120s' is no address: give ADDRESS:PORT, such as 127.0.0.1:2325, "
                         "[::1]:2325 or :2325 (every address)",
                         address);
    }
    if (!bytes_to_u64(beck_str(colon + 1), &port) || port > 65535) {
        return error_set(err, BECK_EINVAL, "'%.120s' has no port: give a number of 0 to 65535",
                         address);
    }
    if (len == 1 && *host == '*') {
        len = 0;
    }
    snprintf(out->host, sizeof out->host, "%.*s", (int)len, host);
    snprintf(out->port, sizeof out->port, "%d", (int)port);
    unsigned char bytes[16];
    int family = bracketed ? AF_INET6 : AF_INET;
    if (len > 0 && strcmp(out->host, "localhost") != 0 &&
        inet_pton(family, out->host, bytes) != 1) {
        return error_set(err, BECK_EINVAL,
                         "'%.120s' is no address of a network interface: give numbers, such as "
                         "127.0.0.1:2325, or localhost",
                         address);
    }
    return BECK_OK;
}

beck_status listen_check(const char *address, beck_error *err)
{
    struct host_port parts;
    return split(address, &parts, err);
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    }
    if (a->sa_family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)a)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
    }
    return a->sa_family == AF_UNIX;
}

/* What the socket is bound to, for people. */
static void name_socket(struct listen_socket *s)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char host[INET6_ADDRSTRLEN] = "?";
    memset(&a, 0, sizeof a);
    if (getsockname(s->fd, (struct sockaddr *)&a, &size) != 0) {
        return;
    }
    if (a.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(s->text, sizeof s->text, "%s:%d", host, ntohs(in->sin_port));
    } else if (a.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(s->text, sizeof s->text, "[%s]:%d", host, ntohs(in6->sin6_port));
    } else if (a.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&a;
        s->unix_socket = true;
        snprintf(s->text, sizeof s->text, "%s", un->sun_path);
    }
}

static struct listen_socket *add(struct listen_sockets *l, int fd)
{
    assert(l->count < LISTEN_ADDRESSES_MAX);
    struct listen_socket *s = &l->at[l->count++];
    *s = (struct listen_socket){.fd = fd};
    name_socket(s);
    return s;
}

/* ---- TCP ---- */

static beck_status bind_failed(int number, const char *address, beck_error *err)
{
    if (number == EADDRINUSE) {
        return error_set(err, BECK_EBUSY,
                         "'%s' is in use by another program: stop that one, or give another port",
                         address);
    }
    if (number == EACCES) {
        return error_set(err, BECK_EDENIED,
                         "'%s' cannot be listened on: ports below 1024 need the right to them "
                         "(CAP_NET_BIND_SERVICE, or a socket from systemd)",
                         address);
    }
    return error_errno(err, number, "'%s' cannot be listened on", address);
}

bool listen_address_is_remote(const char *address)
{
    struct host_port parts;
    struct addrinfo *list, hints = {.ai_flags = AI_NUMERICHOST};
    if (split(address, &parts, NULL) || strcmp(parts.host, "localhost") == 0) {
        return false;
    }
    if (!parts.host[0]) {
        return true;
    }
    if (getaddrinfo(parts.host, NULL, &hints, &list) != 0) {
        return false;
    }
    bool remote = !is_loopback(list->ai_addr);
    freeaddrinfo(list);
    return remote;
}

static int open_tcp(const struct addrinfo *a)
{
    int yes = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (a->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int number = errno;
        close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

beck_status listen_tcp(struct listen_sockets *l, const char *address, bool tls, bool lenient,
                       beck_error *err)
{
    struct host_port parts;
    struct addrinfo *list = NULL;
    /* Without AI_ADDRCONFIG: it would take a machine that has only loopback for one without IPv4. */
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    beck_status status = split(address, &parts, err);
    if (status) {
        return status;
    }
    bool several = !parts.host[0] || strcmp(parts.host, "localhost") == 0;
    hints.ai_flags |= strcmp(parts.host, "localhost") == 0 ? 0 : AI_NUMERICHOST;
    int failed = getaddrinfo(parts.host[0] ? parts.host : NULL, parts.port, &hints, &list);
    if (failed) {
        return error_set(err, BECK_EINVAL, "'%s' is no address: %s", address, gai_strerror(failed));
    }
    size_t before = l->count;
    int number = 0;
    for (const struct addrinfo *a = list; a && !status; a = a->ai_next) {
        if (l->count == LISTEN_ADDRESSES_MAX) {
            status = error_set(err, BECK_ELIMIT, "'%s' is one address too many: give at most %d",
                               address, LISTEN_ADDRESSES_MAX);
            break;
        }
        int fd = open_tcp(a);
        if (fd >= 0) {
            add(l, fd)->tls = tls;
            continue;
        }
        number = errno;
        bool absent = number == EADDRNOTAVAIL || number == EAFNOSUPPORT;
        if (!absent || !(lenient || several)) {
            status = bind_failed(number, address, err);
        }
    }
    freeaddrinfo(list);
    if (!status && l->count == before && !lenient) {
        status = bind_failed(number, address, err);
    }
    return status;
}

/* ---- Unix ---- */

/* Binds through a descriptor of the directory when the path is longer than an address can be. */
static beck_status bind_unix(int fd, int dir_fd, const char *path, const char *name,
                             beck_error *err)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int len = strlen(path) < sizeof a.sun_path
                  ? snprintf(a.sun_path, sizeof a.sun_path, "%s", path)
                  : snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dir_fd, name);
    if (len < 0 || (size_t)len >= sizeof a.sun_path) {
        return error_set(err, BECK_EINVAL, "the name '%.100s' of a Unix socket is too long", name);
    }
    /* The mode is there from the first moment: bind gives the file that of the socket. */
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 ||
        listen(fd, BACKLOG) != 0) {
        return bind_failed(errno, path, err);
    }
    return BECK_OK;
}

beck_status listen_unix(struct listen_sockets *l, const char *dir, const char *name,
                        beck_error *err)
{
    char path[4096];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path) {
        return error_set(err, BECK_EINVAL, "the path of the Unix socket '%s' is too long", name);
    }
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) {
        return error_errno(err, errno, "directory '%.300s' of the Unix socket cannot be opened",
                           dir);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    beck_status status = BECK_OK;
    if (l->count == LISTEN_ADDRESSES_MAX) {
        status = error_set(err, BECK_ELIMIT, "'%.300s' is one address too many: give at most %d",
                           path, LISTEN_ADDRESSES_MAX);
    } else if (fd < 0) {
        status = error_errno(err, errno, "no Unix socket can be made");
    } else if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(st.st_mode)) {
        status = error_set(err, BECK_EEXIST,
                           "'%.300s' exists and is no socket: move it away, or set http.socket to "
                           "false",
                           path);
    } else {
        unlinkat(dir_fd, name, 0);
        status = bind_unix(fd, dir_fd, path, name, err);
    }
    close(dir_fd);
    if (status) {
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    struct listen_socket *s = add(l, fd);
    s->trusted = true;
    snprintf(s->text, sizeof s->text, "%.*s", LISTEN_TEXT_MAX - 1, path);
    return BECK_OK;
}

/* ---- inherited ---- */

/* The i-th of names with colons between them. */
static bool is_named(const char *names, size_t i, const char *name)
{
    for (; names && i > 0; i--) {
        names = strchr(names, ':');
        names = names ? names + 1 : NULL;
    }
    size_t len = strlen(name);
    return names && strncmp(names, name, len) == 0 && (names[len] == '\0' || names[len] == ':');
}

static beck_status inherit(struct listen_sockets *l, int fd, bool tls, beck_error *err)
{
    int type = 0, listening = 0;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || !listening) {
        return error_set(err, BECK_EINVAL,
                         "descriptor %d of LISTEN_FDS is no listening stream socket: correct what "
                         "started the program (ListenStream= of the socket unit)",
                         fd);
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
        return error_errno(err, errno, "descriptor %d of LISTEN_FDS cannot be used", fd);
    }
    add(l, fd)->tls = tls;
    return BECK_OK;
}

beck_status listen_inherited(struct listen_sockets *l, beck_error *err)
{
    const char *pid_text = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    uint64_t pid, count;
    beck_status status = BECK_OK;
    if (!pid_text || !count_text || !bytes_to_u64(beck_str(pid_text), &pid) ||
        pid != (uint64_t)getpid()) {
        return BECK_OK;
    }
    if (!bytes_to_u64(beck_str(count_text), &count) || count > LISTEN_ADDRESSES_MAX - l->count) {
        return error_set(err, BECK_EINVAL, "LISTEN_FDS '%.20s' is no number of 0 to %zu",
                         count_text, LISTEN_ADDRESSES_MAX - l->count);
    }
    for (size_t i = 0; i < count && !status; i++) {
        status = inherit(l, INHERITED_FIRST + (int)i, is_named(names, i, "https"), err);
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return status;
}

/* ---- all ---- */

bool listen_socket_is_remote(const struct listen_socket *s)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    memset(&a, 0, sizeof a);
    return getsockname(s->fd, (struct sockaddr *)&a, &size) == 0 &&
           !is_loopback((const struct sockaddr *)&a);
}

bool listen_is_remote(const struct listen_sockets *l, const struct listen_socket **which)
{
    for (size_t i = 0; i < l->count; i++) {
        if (listen_socket_is_remote(&l->at[i])) {
            *which = &l->at[i];
            return true;
        }
    }
    return false;
}

void listen_close(struct listen_sockets *l)
{
    for (size_t i = 0; i < l->count; i++) {
        close(l->at[i].fd);
    }
    l->count = 0;
}
