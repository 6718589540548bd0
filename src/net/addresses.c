/* Connections by address: see addresses.h. */
#include "net/addresses.h"

#include "base/rng.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define BUCKETS 1024

struct entry {
    struct entry *next;
    uint32_t count;
    uint8_t key[ADDRESS_KEY_SIZE];
};

struct addresses {
    struct mutex lock; /* a leaf */
    uint64_t seed;
    struct entry *buckets[BUCKETS];
};

struct addresses *addresses_new(void)
{
    struct addresses *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    struct rng rng;
    rng_seed_system(&rng);
    a->seed = rng_next(&rng);
    mutex_init(&a->lock);
    return a;
}

void addresses_free(struct addresses *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        assert(!a->buckets[i]);
    mutex_release(&a->lock);
    free(a);
}

/* Where the entry is, or where it would be. */
static struct entry **find(struct addresses *a, const uint8_t key[ADDRESS_KEY_SIZE])
{
    struct entry **at = &a->buckets[bytes_hash(key, ADDRESS_KEY_SIZE, a->seed) % BUCKETS];
    while (*at && memcmp((*at)->key, key, ADDRESS_KEY_SIZE) != 0)
        at = &(*at)->next;
    return at;
}

bool addresses_enter(struct addresses *a, const uint8_t key[ADDRESS_KEY_SIZE], uint32_t max)
{
    mutex_lock(&a->lock);
    struct entry **at = find(a, key);
    if (!*at && (*at = calloc(1, sizeof **at)))
        memcpy((*at)->key, key, ADDRESS_KEY_SIZE);
    bool enters = *at && (*at)->count < max;
    if (enters)
        (*at)->count++;
    mutex_unlock(&a->lock);
    return enters;
}

void addresses_leave(struct addresses *a, const uint8_t key[ADDRESS_KEY_SIZE])
{
    mutex_lock(&a->lock);
    struct entry **at = find(a, key), *e = *at;
    assert(e && e->count > 0);
    if (--e->count == 0) {
        *at = e->next;
        free(e);
    }
    mutex_unlock(&a->lock);
}

static void ipv4(const void *bytes, struct net_peer *peer, uint8_t key[ADDRESS_KEY_SIZE])
{
    memset(key, 0, ADDRESS_KEY_SIZE);
    memcpy(key, bytes, 4);
    peer->loopback = key[0] == 127;
    inet_ntop(AF_INET, bytes, peer->address, sizeof peer->address);
}

void address_of(const struct sockaddr_storage *from, struct net_peer *peer,
                uint8_t key[ADDRESS_KEY_SIZE])
{
    *peer = (struct net_peer){0};
    memset(key, 0, ADDRESS_KEY_SIZE);
    if (from->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        ipv4(&in.sin_addr, peer, key);
        peer->port = ntohs(in.sin_port);
    } else if (from->ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, from, sizeof in);
        if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
            ipv4(in.sin6_addr.s6_addr + 12, peer, key);
        } else {
            memcpy(key, &in.sin6_addr, 8);
            key[ADDRESS_KEY_SIZE - 1] = 6;
            peer->loopback = IN6_IS_ADDR_LOOPBACK(&in.sin6_addr);
            inet_ntop(AF_INET6, &in.sin6_addr, peer->address, sizeof peer->address);
        }
        peer->port = ntohs(in.sin6_port);
    } else {
        peer->loopback = true;
        snprintf(peer->address, sizeof peer->address, "unix");
    }
}
