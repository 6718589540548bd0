/*
 * Connections: who is at the other end, what lives with them, and an end for those that take too long.
 *
 * MHD's own time limit counts from the last byte, so who sends one byte now and then would stay for
 * ever. Once a second all connections are looked at for how long they are at what they do.
 */
#include "wire/http/http_impl.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SWEEP_NS 1000000000
#define SENDING_TIMES 10 /* an answer may take that much longer than a request */

void connection_phase(struct connection *c, enum phase phase)
{
    atomic_store_explicit(&c->phase, phase, memory_order_relaxed);
    atomic_store_explicit(&c->phase_ns, clock_mono_ns(clock_system()), memory_order_relaxed);
}

/* The listener stands where the port of the peer would, which nobody asks for. */
static size_t listener_of(const struct sockaddr *address)
{
    size_t listener = 0;
    if (address->sa_family == AF_INET)
        listener = ((const struct sockaddr_in *)(const void *)address)->sin_port;
    else if (address->sa_family == AF_INET6)
        listener = ((const struct sockaddr_in6 *)(const void *)address)->sin6_port;
    else
        memcpy(&listener, ((const struct sockaddr_un *)(const void *)address)->sun_path,
               sizeof listener);
    return listener;
}

static socklen_t mark_listener(struct sockaddr *address, socklen_t length, bool unix_socket,
                               size_t listener)
{
    struct sockaddr_un *un = (void *)address;
    assert(listener <= UINT16_MAX);
    if (unix_socket) {
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, &listener, sizeof listener);
        return sizeof *un;
    }
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)address)->sin_port = (in_port_t)listener;
    else
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = (in_port_t)listener;
    return length;
}

static void describe_peer(struct connection *c, const struct sockaddr *address)
{
    size_t listener = listener_of(address);
    c->served = &c->http->served[c->http->listener_served[listener]];
    c->peer.address = c->address;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, c->address, sizeof c->address);
        c->peer.loopback = ntohl(in->sin_addr.s_addr) >> 24 == 127;
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)address;
        const uint8_t *bytes = in->sin6_addr.s6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr))
            inet_ntop(AF_INET, bytes + 12, c->address, sizeof c->address);
        else
            inet_ntop(AF_INET6, bytes, c->address, sizeof c->address);
        c->peer.loopback = IN6_IS_ADDR_LOOPBACK(&in->sin6_addr) ||
                           (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) && bytes[12] == 127);
    } else {
        memcpy(c->address, "unix", 5);
        c->peer.loopback = true;
        c->peer.trusted = c->http->listeners[listener].trusted;
    }
}

void connection_sweep_due(struct timer *t)
{
    struct http *h = (struct http *)((char *)t - offsetof(struct http, sweep));
    pool_push(&h->pool, &h->sweep_job);
}

/* What takes too long is cut off; MHD sees the socket end and cleans up. */
void connection_sweep(struct job *job)
{
    struct http *h = (struct http *)((char *)job - offsetof(struct http, sweep_job));
    int64_t now = clock_mono_ns(clock_system());
    int64_t request_ns = (int64_t)h->settings.request_timeout_ms * 1000000;
    int64_t idle_ns = (int64_t)h->settings.idle_timeout_ms * 1000000;
    int64_t limits[] = {[PHASE_IDLE] = idle_ns + request_ns,
                        [PHASE_READING] = request_ns,
                        [PHASE_WORKING] = INT64_MAX,
                        [PHASE_SENDING] = request_ns * SENDING_TIMES};
    mutex_lock(&h->connections_lock);
    for (struct connection *c = h->connections; c; c = c->next) {
        int phase = atomic_load_explicit(&c->phase, memory_order_relaxed);
        if (phase == PHASE_IDLE && atomic_load(&c->keeps))
            continue;
        if (now - atomic_load_explicit(&c->phase_ns, memory_order_relaxed) > limits[phase])
            shutdown(c->fd, SHUT_RDWR);
    }
    h->sweeping = h->connections != NULL && !atomic_load(&h->draining);
    if (h->sweeping)
        keeper_set(&h->keeper, &h->sweep, now + SWEEP_NS);
    mutex_unlock(&h->connections_lock);
}

static struct connection *connection_open(struct http *h, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *address =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *c = address && fd ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return NULL;
    c->http = h;
    c->mhd = mhd;
    c->fd = fd->connect_fd;
    describe_peer(c, address->client_addr);
    c->request.connection = c;
    c->request.mhd = mhd;
    request_reset(&c->request);
    connection_phase(c, PHASE_IDLE);
    mutex_lock(&h->connections_lock);
    c->next = h->connections;
    if (c->next)
        c->next->previous = c;
    h->connections = c;
    if (!h->sweeping && !atomic_load(&h->draining)) {
        h->sweeping = true;
        keeper_set(&h->keeper, &h->sweep, clock_mono_ns(clock_system()) + SWEEP_NS);
    }
    mutex_unlock(&h->connections_lock);
    return c;
}

static void connection_close(struct connection *c)
{
    struct http *h = c->http;
    mutex_lock(&h->connections_lock);
    if (c->previous)
        c->previous->next = c->next;
    else
        h->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    mutex_unlock(&h->connections_lock);
    while (c->things) {
        struct connection_thing *t = c->things;
        c->things = t->next;
        t->release(t->thing);
        free(t);
    }
    request_reset(&c->request);
    if (c->identity)
        identity_release(c->identity);
    free(c->authorization);
    free(c);
}

void connection_changed(void *ctx, struct MHD_Connection *mhd, void **socket_context,
                        enum MHD_ConnectionNotificationCode code)
{
    struct http *h = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = connection_open(h, mhd);
    } else {
        if (*socket_context)
            connection_close(*socket_context);
        *socket_context = NULL;
        atomic_fetch_sub(&h->connection_count, 1);
        gauge_add(h->connection_gauge, -1);
    }
}

/* From the keeper. */
void connection_accepted(void *ctx, size_t listener, int fd, void *address, unsigned length)
{
    struct http *h = ctx;
    const struct http_listener *l = &h->listeners[listener];
    length = mark_listener(address, length, l->unix_socket, listener);
    struct MHD_Daemon *daemon = l->tls ? h->secure : h->plain;
    if (atomic_fetch_add(&h->connection_count, 1) >= h->settings.connections_max) {
        atomic_fetch_sub(&h->connection_count, 1);
        close(fd);
        return;
    }
    gauge_add(h->connection_gauge, 1);
    if (MHD_add_connection(daemon, fd, address, length) == MHD_YES)
        return;
    atomic_fetch_sub(&h->connection_count, 1);
    gauge_add(h->connection_gauge, -1);
}
