/*
 * Accepting: on the first loop, for all of them. A connection goes to the loop that has the fewest.
 *
 * Whoever comes when there are enough is accepted and closed at once, so that the kernel's queue
 * does not fill with peers that nobody will talk to.
 */
#include "net/net_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTED_A_TURN 64
#define RETRY_US 100000 /* after there was no descriptor or no memory */

static struct net_loop *emptiest(struct net *n)
{
    struct net_loop *best = &n->loops[0];
    for (uint32_t i = 1; i < n->settings.loops; i++)
        if (atomic_load_explicit(&n->loops[i].open, memory_order_relaxed) <
            atomic_load_explicit(&best->open, memory_order_relaxed))
            best = &n->loops[i];
    return best;
}

static void set_options(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

/* Takes the descriptor unless it returns false. */
static bool admit(struct gate_keeper *k, int fd, const struct sockaddr_storage *from)
{
    struct net *n = k->net;
    struct net_peer peer;
    uint8_t key[ADDRESS_KEY_SIZE];
    uint32_t max = n->settings.connections_per_address_max;
    bool counts = max > 0 && !k->settings.unix_socket;
    if (atomic_load(&n->open) >= n->settings.connections_max)
        return false;
    address_of(from, &peer, key);
    peer.tls = k->settings.tls != NULL;
    if (counts && !addresses_enter(n->addresses, key, max))
        return false;
    struct connection *c = connection_new(emptiest(n), k, fd, &peer);
    if (!c) {
        if (counts)
            addresses_leave(n->addresses, key);
        return false;
    }
    c->has_address = counts;
    memcpy(c->address_key, key, sizeof key);
    if (!k->settings.unix_socket)
        set_options(fd);
    if (c->loop == &n->loops[0])
        c->arrival.run(&c->arrival);
    else
        net_post(c->loop, &c->arrival);
    return true;
}

static void pause_accepting(struct gate_keeper *k)
{
    struct timeval later = {.tv_usec = RETRY_US};
    event_del(&k->event);
    evtimer_add(&k->retry_event, &later);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct gate_keeper *k = arg;
    (void)fd;
    (void)what;
    event_add(&k->event, NULL);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct gate_keeper *k = arg;
    (void)what;
    loop_enter(&k->net->loops[0]);
    for (int i = 0; i < ACCEPTED_A_TURN; i++) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        int peer = accept4(fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
            pause_accepting(k);
        /* Other errors are of one peer that has gone already. */
        if (peer < 0)
            return;
        bool admitted = admit(k, peer, &from);
        counter_add(admitted ? k->accepted : k->refused, 1);
        if (!admitted)
            close(peer);
    }
}

static bool make_metrics(struct gate_keeper *k)
{
    static const char *const by_protocol[] = {"protocol", NULL};
    static const char *const by_result[] = {"protocol", "result", NULL};
    static const char *const by_direction[] = {"protocol", "direction", NULL};
    struct metrics *m = k->net->settings.metrics;
    beck_bytes values[2] = {beck_str(k->settings.protocol->name)};
    k->connections = metric_gauge(
        metrics_gauge(m, "beck_connections", "Connections that are open.", by_protocol, 100),
        values);
    struct metric_family *f =
        metrics_counter(m, "beck_connections_total", "Connections that came.", by_result, 100);
    values[1] = beck_str("accepted");
    k->accepted = metric_counter(f, values);
    values[1] = beck_str("refused");
    k->refused = metric_counter(f, values);
    f = metrics_counter(m, "beck_network_bytes_total", "Bytes on connections.", by_direction, 100);
    values[1] = beck_str("received");
    k->received = metric_counter(f, values);
    values[1] = beck_str("sent");
    k->sent = metric_counter(f, values);
    return k->connections && k->accepted && k->refused && k->received && k->sent;
}

static beck_status start_keeper(struct net *n, struct gate_keeper *k, beck_error *err)
{
    struct event_base *base = n->loops[0].base;
    int flags = fcntl(k->settings.fd, F_GETFL);
    if (flags < 0 || fcntl(k->settings.fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return error_errno(err, errno, "the socket of \"%s\" cannot be used",
                           k->settings.protocol->name);
    event_assign(&k->event, base, k->settings.fd, EV_READ | EV_PERSIST, on_acceptable, k);
    evtimer_assign(&k->retry_event, base, on_retry, k);
    if (!make_metrics(k) || event_add(&k->event, NULL))
        return error_set(err, BECK_ENOMEM, "no memory for \"%s\"", k->settings.protocol->name);
    k->accepting = true;
    return BECK_OK;
}

beck_status keepers_start(struct net *n, beck_error *err)
{
    beck_status status = BECK_OK;
    for (size_t i = 0; i < n->keeper_count && !status; i++)
        status = start_keeper(n, &n->keepers[i], err);
    return status;
}

void keepers_stop(struct net *n)
{
    for (size_t i = 0; i < n->keeper_count; i++) {
        struct gate_keeper *k = &n->keepers[i];
        if (k->accepting) {
            event_del(&k->event);
            evtimer_del(&k->retry_event);
        }
        k->accepting = false;
        if (k->settings.fd >= 0)
            close(k->settings.fd);
        k->settings.fd = -1;
    }
}
