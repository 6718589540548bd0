/* xoshiro256** (Blackman and Vigna), its state spread from one number by splitmix64. */
#include "base/rng.h"

#include <assert.h>
#include <sys/random.h>
#include <time.h>

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = *x += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&seed);
}

void rng_seed_system(struct rng *r)
{
    uint64_t seed[4];
    if (getrandom(seed, sizeof seed, 0) == (ssize_t)sizeof seed) {
        for (int i = 0; i < 4; i++)
            r->s[i] = splitmix(&seed[i]);
        return;
    }
    /* No source of randomness in this sandbox: time and address differ between processes. */
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    rng_seed(r, (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec +
                    (uint64_t)(uintptr_t)r);
}

static uint64_t rotate_left(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t bound)
{
    assert(bound > 0);
    /* The top of a 128-bit product; the lowest products, which would favour some results, are
     * drawn again. */
    __extension__ typedef unsigned __int128 u128;
    u128 product = (u128)rng_next(r) * bound;
    if ((uint64_t)product < bound) {
        uint64_t biased = -bound % bound;
        while ((uint64_t)product < biased)
            product = (u128)rng_next(r) * bound;
    }
    return (uint64_t)(product >> 64);
}
