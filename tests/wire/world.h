/* A server on a port and a Unix socket of its own, and a client that sends bytes as a test wants
 * them. */
#ifndef TESTS_WIRE_WORLD_H
#define TESTS_WIRE_WORLD_H

#include "wire/http/http.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define WORLD_REPLY_MAX (16u << 20)

struct world {
    char dir[64], socket_path[96];
    beck *b;
    struct access *access;
    struct http *h;
    int listen_fd, unix_fd;
    uint16_t port;
    struct http_context context; /* may be changed between world_open and world_serve */
    struct http_settings settings;
    const struct http_site *site; /* of the port; NULL: beck's API */
};

/* An engine on an empty directory, with a bus "orders". */
void world_open(struct world *w);
void world_serve(struct world *w);
void world_serve_tls(struct world *w); /* with TLS on the port */
void world_close(struct world *w);     /* the server too, when it runs */
/* The process of a server ends like one that was killed, and begins anew. */
void world_reopen(struct world *w);

int dial(const struct world *w);
int dial_unix(const struct world *w);
void send_bytes(int fd, const void *data, size_t len);
void send_text(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One answer. */
struct reply {
    int status;
    char head[16384];
    char *body; /* NUL-terminated */
    size_t len;
};
/* Reads one answer; false: the connection ended before it did. Bytes behind it are an error unless
 * several are expected: then read them with one struct connection_in. */
struct stream_in {
    int fd;
    char *data; /* read and not used yet */
    size_t len, cap;
};
void in_open(struct stream_in *in, int fd);
void in_close(struct stream_in *in); /* and the socket */
bool in_more(struct stream_in *in);  /* waits for bytes; false: the end */
bool read_reply(struct stream_in *in, bool head, struct reply *out);
/* The next line, without its end; false: the end. */
bool read_line(struct stream_in *in, char *out, size_t size);
/* The data of the next chunk of an answer in chunks; false: the last one. */
bool read_chunk(struct stream_in *in, struct buf *out);
void reply_free(struct reply *r);
/* The value of a header, in a static buffer; "" when it is not there. */
const char *reply_header(const struct reply *r, const char *name);

/* One request on a connection of its own, and the answer. */
struct reply ask(const struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same with a body; `target` and the headers (each with its \r\n) may be NULL. */
struct reply post(const struct world *w, const char *target, const char *headers, const char *body);

/* Events that a bus holds. */
int64_t stored(const struct world *w, const char *bus);

#define expect(reply, wanted)                                                                      \
    do {                                                                                           \
        if ((reply).status != (wanted))                                                            \
            fail_msg("status %d, not %d: %s", (reply).status, (wanted), (reply).body);             \
    } while (0)

#endif
