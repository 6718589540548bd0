/*
 * Failed logins by address: see limiter.h.
 *
 * An address hashes (with a secret seed, so that nobody can aim at a place) to a set of eight places.
 * A window begins with the first failure and ends a fixed time later, and with it the counting: so an
 * entry is a number and a time, and nothing has to be swept.
 */
#include "access/limiter.h"

#include "base/rng.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define SETS 1024
#define WAYS 8
#define NS_PER_MS 1000000

struct entry {
    uint8_t key[16];
    int64_t until_ns; /* the window's end; at or before now: free */
    uint32_t failures;
};

struct limiter {
    uint32_t failures_max;
    int64_t window_ns;
    uint64_t seed;
    struct mutex lock;
    struct entry entries[SETS][WAYS];
};

struct limiter *limiter_new(uint32_t failures_max, uint32_t window_ms)
{
    struct limiter *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    struct rng rng;
    rng_seed_system(&rng);
    l->failures_max = failures_max;
    l->window_ns = (int64_t)window_ms * NS_PER_MS;
    l->seed = rng_next(&rng);
    mutex_init(&l->lock);
    return l;
}

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    mutex_release(&l->lock);
    free(l);
}

/* What the address is counted as. */
static void key_of(const struct limiter *l, const char *address, uint8_t key[16])
{
    uint8_t v6[16];
    memset(key, 0, 16);
    if (inet_pton(AF_INET, address, key) == 1)
        return;
    if (inet_pton(AF_INET6, address, v6) == 1) {
        static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
        if (memcmp(v6, mapped, sizeof mapped) == 0)
            memcpy(key, v6 + 12, 4);
        else
            memcpy(key, v6, 8);
        key[15] = memcmp(v6, mapped, sizeof mapped) != 0;
        return;
    }
    /* No number: a Unix socket, an interface's name behind it. */
    uint64_t hash = bytes_hash(address, strlen(address), l->seed);
    memcpy(key, &hash, sizeof hash);
    key[15] = 2;
}

static struct entry *find(struct limiter *l, const uint8_t key[16], int64_t now_ns)
{
    struct entry *set = l->entries[bytes_hash(key, 16, l->seed) % SETS];
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].until_ns > now_ns && memcmp(set[i].key, key, 16) == 0)
            return &set[i];
    return NULL;
}

bool limiter_allows(struct limiter *l, const char *address, int64_t now_ns, int64_t *retry_ms)
{
    uint8_t key[16];
    key_of(l, address, key);
    mutex_lock(&l->lock);
    const struct entry *e = find(l, key, now_ns);
    bool allowed = !e || e->failures < l->failures_max;
    if (!allowed && retry_ms)
        *retry_ms = (e->until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    mutex_unlock(&l->lock);
    return allowed;
}

/* The place of the set that is missed least: a free one, else the one with the fewest failures. */
static struct entry *replace(struct limiter *l, const uint8_t key[16], int64_t now_ns)
{
    struct entry *set = l->entries[bytes_hash(key, 16, l->seed) % SETS], *worst = &set[0];
    for (size_t i = 0; i < WAYS && worst->until_ns > now_ns; i++)
        if (set[i].until_ns <= now_ns || set[i].failures < worst->failures)
            worst = &set[i];
    *worst = (struct entry){.until_ns = now_ns + l->window_ns};
    memcpy(worst->key, key, 16);
    return worst;
}

void limiter_failed(struct limiter *l, const char *address, int64_t now_ns)
{
    uint8_t key[16];
    key_of(l, address, key);
    mutex_lock(&l->lock);
    struct entry *e = find(l, key, now_ns);
    if (!e)
        e = replace(l, key, now_ns);
    e->failures += e->failures < UINT32_MAX;
    mutex_unlock(&l->lock);
}
