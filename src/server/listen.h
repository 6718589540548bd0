/* Listening sockets: made, or inherited from who started the process. All are non-blocking and
 * closed on exec. */
#ifndef BECK_SERVER_LISTEN_H
#define BECK_SERVER_LISTEN_H

#include "base/bytes.h"

#define LISTEN_ADDRESSES_MAX 64
#define LISTEN_TEXT_MAX 128

struct listen_socket {
    int fd;
    bool tls, unix_socket, trusted;
    char text[LISTEN_TEXT_MAX]; /* as it is bound: "127.0.0.1:2325", "[::1]:2325", a path */
};

struct listen_sockets {
    struct listen_socket at[LISTEN_ADDRESSES_MAX];
    size_t count;
};

/* "127.0.0.1:2325", "[::1]:2325", "localhost:2325", ":2325" and "*:2325" (every address). BECK_EINVAL
 * says what is wrong; nothing is resolved or bound. */
beck_status listen_check(const char *address, beck_error *err);

/* Whether an address that listen_check takes can be reached from other machines. */
bool listen_address_is_remote(const char *address);

/* Binds all addresses that the text stands for. `lenient`: an address of a family that this machine
 * has not is left out. On an error what was added before stays. */
beck_status listen_tcp(struct listen_sockets *l, const char *address, bool tls, bool lenient,
                       beck_error *err);
/* A Unix socket of that name in a directory, for its owner only; an old one is replaced. The path may
 * be longer than a socket's address. */
beck_status listen_unix(struct listen_sockets *l, const char *dir, const char *name,
                        beck_error *err);
/* Takes over sockets of systemd's kind of activation (LISTEN_PID, LISTEN_FDS; LISTEN_FDNAMES:
 * "https" is for TLS) and forgets the variables, so that children do not. */
beck_status listen_inherited(struct listen_sockets *l, beck_error *err);
/* Whether a socket (other than a Unix socket) can be reached from elsewhere; some of them. */
bool listen_socket_is_remote(const struct listen_socket *s);
bool listen_is_remote(const struct listen_sockets *l, const struct listen_socket **which);
void listen_close(struct listen_sockets *l);

#endif
