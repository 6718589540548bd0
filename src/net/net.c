/* Starting, draining and stopping the loops: see net.h. */
#include "net/net_impl.h"

#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOPS 2
#define LOOPS_MAX 64
#define CONNECTIONS_MAX 20000
#define HANDSHAKE_TIMEOUT_MS 10000
#define LINGER_MS 2000
#define BUFFER_MAX (1 << 20)
#define BUFFER_MIN 4096
#define INPUTS_MAX (256u << 20)

static void default_to(uint32_t *value, uint32_t otherwise)
{
    if (*value == 0)
        *value = otherwise;
}

static beck_status check(struct net *n, beck_error *err)
{
    default_to(&n->settings.loops, LOOPS);
    default_to(&n->settings.connections_max, CONNECTIONS_MAX);
    if (n->settings.inputs_max == 0)
        n->settings.inputs_max = INPUTS_MAX;
    if (n->settings.loops > LOOPS_MAX)
        return error_set(err, BECK_EINVAL, "there are at most %d network threads, not %u",
                         LOOPS_MAX, n->settings.loops);
    for (size_t i = 0; i < n->keeper_count; i++) {
        struct net_listener *l = &n->keepers[i].settings;
        default_to(&l->handshake_timeout_ms, HANDSHAKE_TIMEOUT_MS);
        default_to(&l->linger_ms, LINGER_MS);
        default_to(&l->input_max, BUFFER_MAX);
        default_to(&l->output_max, BUFFER_MAX);
        if (l->input_max < BUFFER_MIN || l->output_max < BUFFER_MIN)
            return error_set(err, BECK_EINVAL, "input_max and output_max of \"%s\" are at least %d",
                             l->protocol->name, BUFFER_MIN);
    }
    return BECK_OK;
}

/* The descriptors are the net's from here on. */
static struct net *new_net(const struct net_settings *settings,
                           const struct net_listener *listeners, size_t count)
{
    struct net *n = calloc(1, sizeof *n);
    struct gate_keeper *keepers = calloc(count + 1, sizeof *keepers);
    if (!n || !keepers) {
        free(n);
        free(keepers);
        return NULL;
    }
    n->settings = *settings;
    n->keepers = keepers;
    n->keeper_count = count;
    for (size_t i = 0; i < count; i++)
        keepers[i] = (struct gate_keeper){.net = n, .settings = listeners[i]};
    mutex_init(&n->lock);
    cond_init(&n->changed);
    return n;
}

static beck_status open_all(struct net *n, beck_error *err)
{
    beck_status status = check(n, err);
    if (status)
        return status;
    n->addresses = addresses_new();
    n->loops = calloc(n->settings.loops, sizeof *n->loops);
    if (!n->addresses || !n->loops)
        return error_set(err, BECK_ENOMEM, "no memory for the network");
    for (uint32_t i = 0; i < n->settings.loops; i++)
        n->loops[i].wake_fd = -1;
    for (uint32_t i = 0; i < n->settings.loops && !status; i++)
        status = loop_open(n, &n->loops[i], err);
    if (!status)
        status = keepers_start(n, err);
    /* The first one last: it accepts, and gives connections to all others. */
    for (uint32_t i = n->settings.loops; i > 0 && !status; i--)
        status = loop_start(&n->loops[i - 1], err);
    return status;
}

beck_status net_start(const struct net_settings *settings, const struct net_listener *listeners,
                      size_t count, struct net **out, beck_error *err)
{
    struct net *n = new_net(settings, listeners, count);
    if (!n) {
        for (size_t i = 0; i < count; i++)
            close(listeners[i].fd);
        return error_set(err, BECK_ENOMEM, "no memory for the network");
    }
    beck_status status = open_all(n, err);
    if (status)
        net_stop(n);
    else
        *out = n;
    return status;
}

/* ---- the end ---- */

static void close_keepers(struct net_task *t)
{
    struct net *n = (struct net *)(void *)((char *)t - offsetof(struct net, close_task));
    keepers_stop(n);
    mutex_lock(&n->lock);
    n->keepers_closed = true;
    mutex_unlock(&n->lock);
    cond_broadcast(&n->changed);
}

/* Once this returns, every connection that will ever be is on its loop, or in its inbox. */
static void stop_accepting(struct net *n)
{
    if (n->keepers_closed)
        return;
    if (!n->loops || !n->loops[0].started) {
        keepers_stop(n);
        return;
    }
    n->close_task.run = close_keepers;
    net_post(&n->loops[0], &n->close_task);
    mutex_lock(&n->lock);
    while (!n->keepers_closed)
        cond_wait(&n->changed, &n->lock);
    mutex_unlock(&n->lock);
}

bool net_drain(struct net *n, int64_t until_ns)
{
    stop_accepting(n);
    for (uint32_t i = 0; i < n->settings.loops && !n->drained; i++)
        net_post(&n->loops[i], &n->loops[i].drain_task);
    n->drained = true;
    bool in_time = true;
    mutex_lock(&n->lock);
    while (atomic_load(&n->open) > 0 && in_time)
        in_time = cond_wait_until(&n->changed, &n->lock, clock_system(), until_ns);
    mutex_unlock(&n->lock);
    return atomic_load(&n->open) == 0;
}

void net_stop(struct net *n)
{
    if (!n)
        return;
    stop_accepting(n);
    uint32_t loops = n->loops ? n->settings.loops : 0;
    for (uint32_t i = 0; i < loops; i++)
        if (n->loops[i].started)
            net_post(&n->loops[i], &n->loops[i].stop_task);
    for (uint32_t i = 0; i < loops; i++)
        if (n->loops[i].started)
            pthread_join(n->loops[i].thread, NULL);
    for (uint32_t i = 0; i < loops; i++)
        loop_close(&n->loops[i]);
    addresses_free(n->addresses);
    cond_release(&n->changed);
    mutex_release(&n->lock);
    free(n->loops);
    free(n->keepers);
    free(n);
}
