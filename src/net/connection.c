/*
 * A connection on its loop: what comes from the socket goes to the protocol, and what was marked in
 * a turn is settled at its end. The states are in net_impl.h.
 *
 * Input. What comes is read into the loop's scratch memory and given to the protocol from there;
 * only what it leaves is kept, so an idle connection holds no buffer. What is kept goes in front of
 * what comes next, or, when it is long, what comes next is read behind it.
 *
 * Time. There is one timer for each connection, for the earliest of its deadlines as known when it
 * was set. Bytes that come or go only move a number; the timer looks at it when it fires.
 */
#include "net/net_impl.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS INT64_C(1000000)
#define LOOK_NS (1000 * NS_PER_MS) /* at the socket of a connection that is not read */

static void arrive(struct net_task *t);

/* ---- life ---- */

struct connection *connection_new(struct net_loop *l, struct gate_keeper *k, int fd,
                                  const struct net_peer *peer)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->loop = l;
    c->keeper = k;
    c->fd = fd;
    c->peer = *peer;
    atomic_init(&c->refs, 1);
    c->arrival.run = arrive;
    c->tick_ns = c->timer_ns = INT64_MAX;
    c->idle_timeout_ms = k->settings.idle_timeout_ms;
    buf_init(&c->input, (size_t)k->settings.input_max + SCRATCH_SIZE + TLS_RECORD);
    gauge_add(k->connections, 1);
    atomic_fetch_add(&l->net->open, 1);
    atomic_fetch_add(&l->open, 1);
    atomic_fetch_add(&l->alive, 1);
    return c;
}

struct connection *connection_retain(struct connection *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void connection_release(struct connection *c)
{
    if (!c)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1) {
        assert(c->state == STATE_CLOSED);
        loop_forget(c);
    }
}

void connection_fail(struct connection *c, const char *why)
{
    if (!c->failure)
        c->failure = why;
    loop_due(c);
}

static void leave_net(struct connection *c)
{
    struct net *n = c->loop->net;
    if (c->has_address)
        addresses_leave(n->addresses, c->address_key);
    atomic_fetch_sub(&c->loop->open, 1);
    mutex_lock(&n->lock);
    bool last = atomic_fetch_sub(&n->open, 1) == 1;
    gauge_add(c->keeper->connections, -1); /* its place is free */
    mutex_unlock(&n->lock);
    if (last)
        cond_broadcast(&n->changed);
}

/* After the memory of the input changed. */
static void count_input(struct connection *c)
{
    if (c->input.cap == c->counted)
        return;
    atomic_fetch_add(&c->loop->net->inputs, (uint64_t)c->input.cap - (uint64_t)c->counted);
    c->counted = c->input.cap;
}

static void forget_input(struct connection *c)
{
    buf_release(&c->input);
    count_input(c);
}

/* Room for so many bytes behind the input. False: the connection failed. */
static bool make_room(struct connection *c, size_t size)
{
    struct net *n = c->loop->net;
    size_t grows = c->input.len + size > c->input.cap ? c->input.len + size - c->input.cap : 0;
    if (grows > 0 && atomic_load(&n->inputs) + grows > n->settings.inputs_max)
        connection_fail(c, "too much is waiting on all connections together (inputs_max)");
    else if (grows > 0 && buf_reserve(&c->input, size))
        connection_fail(c, "there is no memory for the input");
    count_input(c);
    return !c->failure;
}

/* At the end of a turn only. */
static void close_now(struct connection *c)
{
    struct net_loop *l = c->loop;
    size_t sent = 0;
    /* What TLS has to say about the failure. */
    if (c->tls && c->tls->wire.len > 0 && !c->blocked)
        rope_send(&c->tls->wire, &l->pieces, c->fd, &sent);
    event_del(&c->read_event);
    event_del(&c->write_event);
    event_del(&c->timer_event);
    if (c->previous)
        c->previous->next = c->next;
    else
        l->all = c->next;
    if (c->next)
        c->next->previous = c->previous;
    c->state = STATE_CLOSED;
    if (c->told && c->keeper->settings.protocol->closed)
        c->keeper->settings.protocol->closed(c, *c->failure ? c->failure : NULL);
    rope_release(&c->output, &l->pieces);
    tls_filter_free(c->tls);
    c->tls = NULL;
    forget_input(c);
    close(c->fd);
    leave_net(c);
    connection_release(c);
}

/* ---- what the protocol is given ---- */

static bool is_stopped(const struct connection *c)
{
    return c->paused || c->full;
}

static bool may_be_given(const struct connection *c)
{
    return c->state == STATE_OPEN && !c->failure && !is_stopped(c);
}

static size_t give(struct connection *c, beck_bytes input)
{
    c->expected = 0;
    size_t consumed = c->keeper->settings.protocol->bytes(c, input);
    assert(consumed <= input.len);
    /* What is left is one message that is not whole, unless the protocol was stopped. */
    if (input.len - consumed >= c->keeper->settings.input_max && may_be_given(c))
        connection_fail(c, "a message is longer than input_max");
    return consumed;
}

static void give_kept(struct connection *c)
{
    size_t consumed = give(c, buf_bytes(&c->input));
    if (consumed == c->input.len) {
        forget_input(c);
        return;
    }
    memmove(c->input.data, c->input.data + consumed, c->input.len - consumed);
    c->input.len -= consumed;
}

/* The input is empty, but may have memory. */
static void keep(struct connection *c, const uint8_t *data, size_t len)
{
    if (len == 0)
        forget_input(c);
    else if (make_room(c, len < c->expected ? c->expected : len))
        buf_append(&c->input, data, len);
}

static void open_protocol(struct connection *c)
{
    const struct net_listener *s = &c->keeper->settings;
    c->state = STATE_OPEN;
    c->protocol_state = s->protocol->opened(c, s->ctx);
    c->told = c->protocol_state != NULL;
    if (!c->told)
        connection_fail(c, "");
    else if (c->loop->draining)
        connection_drain(c);
}

static void peer_ended(struct connection *c)
{
    const struct net_protocol *p = c->keeper->settings.protocol;
    c->peer_ended = true;
    if (c->state == STATE_GREETING)
        connection_fail(c, "the peer left during the TLS handshake");
    else if (c->state == STATE_LINGERING)
        connection_fail(c, "");
    else if (c->state == STATE_OPEN && p->ended)
        p->ended(c);
    else
        connection_finish(c);
}

/* ---- reading ---- */

/* False: nothing came. */
static bool receive(struct connection *c, uint8_t *into, size_t room, size_t *got)
{
    ssize_t n = recv(c->fd, into, room, MSG_DONTWAIT);
    if (n > 0) {
        c->received_ns = c->loop->now_ns;
        counter_add(c->keeper->received, (uint64_t)n);
        *got = (size_t)n;
        return true;
    }
    if (n == 0)
        peer_ended(c);
    else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        connection_fail(c, "the peer reset the connection");
    return false;
}

/* A long message: what came of it is not moved again. */
static void read_behind_kept(struct connection *c)
{
    size_t more = c->expected > c->input.len ? c->expected - c->input.len : 0, got;
    if (more < SCRATCH_SIZE)
        more = SCRATCH_SIZE;
    if (more > c->input.max - c->input.len)
        more = c->input.max - c->input.len;
    if (!make_room(c, more) || !receive(c, c->input.data + c->input.len, more, &got))
        return;
    c->input.len += got;
    give_kept(c);
}

static void read_plain(struct connection *c)
{
    uint8_t *scratch = c->loop->scratch;
    size_t kept = c->input.len, got;
    if (kept > KEPT_SHORT || c->expected > SCRATCH_SIZE) {
        read_behind_kept(c);
        return;
    }
    if (!receive(c, scratch + kept, SCRATCH_SIZE, &got))
        return;
    if (kept > 0)
        memcpy(scratch, c->input.data, kept);
    buf_clear(&c->input);
    size_t consumed = give(c, bytes_of(scratch, kept + got));
    keep(c, scratch + consumed, kept + got - consumed);
}

static void read_tls(struct connection *c)
{
    size_t got;
    /* What comes out takes no more room than what came. */
    if (c->state == STATE_OPEN && !make_room(c, SCRATCH_SIZE + TLS_RECORD))
        return;
    if (!receive(c, c->loop->scratch, SCRATCH_SIZE, &got)) {
        if (c->input.len == 0)
            forget_input(c);
        return;
    }
    enum tls_result result = tls_receive(c->tls, bytes_of(c->loop->scratch, got), &c->input);
    count_input(c);
    if (c->tls->greeted && c->state == STATE_GREETING)
        open_protocol(c);
    if (c->input.len > 0 && may_be_given(c))
        give_kept(c);
    else if (c->input.len == 0)
        forget_input(c);
    if (result == TLS_ENDED)
        c->ending = true;
    else if (result == TLS_NO_MEMORY)
        connection_fail(c, "there is no memory for the input");
    else if (result == TLS_FAILED)
        connection_fail(c, "what came is no TLS that is spoken here");
}

static void throw_away(struct connection *c)
{
    size_t got;
    receive(c, c->loop->scratch, SCRATCH_SIZE, &got);
}

static bool wants_input(const struct connection *c)
{
    if (c->peer_ended || c->ending)
        return false;
    return c->state != STATE_OPEN || !is_stopped(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct connection *c = arg;
    (void)fd;
    (void)what;
    loop_enter(c->loop);
    if (c->failure || !wants_input(c))
        return; /* the end of the turn sees to it */
    if (c->state > STATE_OPEN)
        throw_away(c);
    else if (c->tls)
        read_tls(c);
    else
        read_plain(c);
    loop_due(c);
    loop_wake_others(c->loop);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct connection *c = arg;
    (void)fd;
    (void)what;
    loop_enter(c->loop);
    c->blocked = false;
    loop_due(c);
}

/* ---- time ---- */

static int64_t later(int64_t from_ns, uint32_t ms)
{
    return from_ns + ms * NS_PER_MS;
}

static int64_t last_byte_ns(const struct connection *c)
{
    return c->received_ns > c->sent_ns ? c->received_ns : c->sent_ns;
}

/* When the connection is closed unless something moves; INT64_MAX: never. */
static int64_t ends_ns(const struct connection *c)
{
    const struct net_listener *s = &c->keeper->settings;
    if (c->state == STATE_LINGERING)
        return later(c->finished_ns, s->linger_ms);
    if (c->state == STATE_FINISHING)
        return later(c->sent_ns > c->finished_ns ? c->sent_ns : c->finished_ns, s->linger_ms);
    if (!c->established)
        return later(c->opened_ns, s->handshake_timeout_ms);
    if (c->idle_timeout_ms == 0 || c->paused)
        return INT64_MAX;
    return later(last_byte_ns(c), c->idle_timeout_ms);
}

static const char *end_of_time(const struct connection *c)
{
    if (c->state == STATE_LINGERING)
        return "the peer did not close the connection";
    if (c->state == STATE_FINISHING)
        return "the peer did not read the last of what was sent";
    return c->established ? "no byte came or went for too long" : "the handshake took too long";
}

static void set_timer(struct connection *c)
{
    int64_t at = ends_ns(c), now = c->loop->now_ns;
    if (c->state == STATE_OPEN && c->tick_ns < at)
        at = c->tick_ns;
    if (c->state == STATE_OPEN && is_stopped(c) && now + LOOK_NS < at)
        at = now + LOOK_NS;
    if (at >= c->timer_ns)
        return;
    int64_t us = at > now ? (at - now + 999) / 1000 : 0;
    struct timeval delay = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    c->timer_ns = at;
    if (evtimer_add(&c->timer_event, &delay))
        connection_fail(c, "there is no memory for the connection");
}

/* Nobody reads from it, so nobody else would see that the peer is gone. */
static bool has_hung_up(const struct connection *c)
{
    struct pollfd p = {.fd = c->fd};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    struct connection *c = arg;
    (void)fd;
    (void)what;
    loop_enter(c->loop);
    c->timer_ns = INT64_MAX;
    loop_due(c);
    if (c->failure)
        return;
    if (c->loop->now_ns >= ends_ns(c)) {
        connection_fail(c, end_of_time(c));
    } else if (c->state == STATE_OPEN && is_stopped(c) && has_hung_up(c)) {
        connection_fail(c, "the peer reset the connection");
    } else if (c->state == STATE_OPEN && c->loop->now_ns >= c->tick_ns) {
        c->tick_ns = INT64_MAX;
        c->keeper->settings.protocol->tick(c);
    }
}

/* ---- the end of a turn ---- */

static void set_reading(struct connection *c)
{
    bool wanted = wants_input(c);
    if (wanted == c->reading)
        return;
    if (wanted && event_add(&c->read_event, NULL)) {
        connection_fail(c, "there is no memory for the connection");
        return;
    }
    if (!wanted)
        event_del(&c->read_event);
    c->reading = wanted;
}

/* The protocol is told of room in the output, and gets what it left of the input. */
static void go_on(struct connection *c)
{
    const struct net_protocol *p = c->keeper->settings.protocol;
    if (c->full && output_waits(c) < c->keeper->settings.output_max / 2) {
        c->full = false;
        c->goes_on = true;
        if (c->state == STATE_OPEN && p->writable)
            p->writable(c);
    }
    if (!c->goes_on || !may_be_given(c))
        return;
    c->goes_on = false;
    if (c->input.len > 0)
        give_kept(c);
    loop_due(c);
}

/* All was sent: says so. */
static void say_goodbye(struct connection *c)
{
    if (c->tls && !(SSL_get_shutdown(c->tls->ssl) & SSL_SENT_SHUTDOWN)) {
        tls_finish(c->tls);
        output_send(c);
        if (output_waits(c) > 0)
            return;
    }
    shutdown(c->fd, SHUT_WR);
    c->state = STATE_LINGERING;
    c->finished_ns = c->loop->now_ns;
    if (c->peer_ended)
        connection_fail(c, "");
}

static void tell_sent(struct connection *c)
{
    c->tells = false;
    c->keeper->settings.protocol->sent(c);
}

void connection_settle(struct connection *c)
{
    if (!c->failure && c->state != STATE_LINGERING)
        output_send(c);
    if (!c->failure && c->tells && output_waits(c) == 0)
        tell_sent(c);
    if (!c->failure && c->state == STATE_OPEN)
        go_on(c);
    /* An end that came together with what was before it: not before that was given. */
    if (c->ending && !c->peer_ended && (c->state != STATE_OPEN || (may_be_given(c) && !c->due)))
        peer_ended(c);
    if (!c->failure && c->state == STATE_FINISHING && output_waits(c) == 0)
        say_goodbye(c);
    if (!c->failure)
        set_reading(c);
    if (!c->failure)
        set_timer(c);
    /* What is due again is closed then: it must not be freed while it is in the list. */
    if (c->failure && !c->due)
        close_now(c);
}

/* ---- arriving and leaving ---- */

static void arrive(struct net_task *t)
{
    struct connection *c =
        (struct connection *)(void *)((char *)t - offsetof(struct connection, arrival));
    struct net_loop *l = c->loop;
    c->opened_ns = c->received_ns = c->sent_ns = l->now_ns;
    c->next = l->all;
    if (l->all)
        l->all->previous = c;
    l->all = c;
    event_assign(&c->read_event, l->base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->write_event, l->base, c->fd, EV_WRITE, on_writable, c);
    evtimer_assign(&c->timer_event, l->base, on_time, c);
    loop_due(c);
    if (l->stopping) {
        connection_fail(c, "the server stops");
    } else if (!c->keeper->settings.tls) {
        open_protocol(c);
    } else {
        c->tls = tls_filter_new(c->keeper->settings.tls, &l->pieces);
        if (!c->tls)
            connection_fail(c, "there is no memory for TLS");
    }
}

void connection_drain(struct connection *c)
{
    const struct net_protocol *p = c->keeper->settings.protocol;
    if (c->state == STATE_GREETING)
        connection_fail(c, "the server stops");
    else if (c->state == STATE_OPEN && !c->failure && p->drain)
        p->drain(c);
    else
        connection_finish(c);
    loop_due(c);
}

/* ---- what protocols call ---- */

struct net_loop *connection_loop(const struct connection *c)
{
    return c->loop;
}

bool connection_is_closed(const struct connection *c)
{
    return c->state == STATE_CLOSED;
}

void connection_local_address(const struct connection *c, char out[NET_ADDRESS_MAX])
{
    struct sockaddr_storage a = {0};
    struct net_peer self = {0};
    uint8_t key[ADDRESS_KEY_SIZE];
    socklen_t size = sizeof a;
    if (getsockname(c->fd, (struct sockaddr *)&a, &size) == 0 && a.ss_family != AF_UNIX)
        address_of(&a, &self, key);
    memcpy(out, self.address, NET_ADDRESS_MAX);
}

void *connection_state(const struct connection *c)
{
    return c->protocol_state;
}

bool connection_peer_name(const struct connection *c, char *out, size_t size)
{
    return c->tls && tls_peer_name(c->tls, out, size);
}

const struct net_peer *connection_peer(const struct connection *c)
{
    return &c->peer;
}

void connection_established(struct connection *c)
{
    c->established = true;
    loop_due(c);
}

int64_t connection_now_ns(const struct connection *c)
{
    return c->loop->now_ns;
}

int64_t connection_received_ns(const struct connection *c)
{
    return c->received_ns;
}

int64_t connection_sent_ns(const struct connection *c)
{
    return c->sent_ns;
}

void connection_tick_at(struct connection *c, int64_t mono_ns)
{
    c->tick_ns = mono_ns;
    loop_due(c);
}

beck_status connection_expect(struct connection *c, size_t bytes, beck_error *err)
{
    if (bytes > c->keeper->settings.input_max)
        return error_set(err, BECK_ELIMIT, "a message of %zu bytes is longer than %u (input_max)",
                         bytes, c->keeper->settings.input_max);
    c->expected = bytes;
    return BECK_OK;
}

void connection_pause(struct connection *c)
{
    c->paused = true;
    loop_due(c);
}

void connection_resume(struct connection *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    c->goes_on = true;
    c->received_ns = c->loop->now_ns; /* nobody listened until now */
    loop_due(c);
}

void connection_again(struct connection *c)
{
    c->goes_on = true;
    loop_due(c);
}

void connection_tell_sent(struct connection *c)
{
    c->tells = true;
    loop_due(c);
}

void connection_finish(struct connection *c)
{
    if (c->state != STATE_OPEN)
        return;
    c->state = STATE_FINISHING;
    c->finished_ns = c->loop->now_ns;
    loop_due(c);
}

void connection_abort(struct connection *c, const char *why)
{
    connection_fail(c, why);
}
