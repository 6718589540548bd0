/* Random numbers: seeded and repeatable in tests, seeded by the system otherwise. Not for secrets.
 */
#ifndef BECK_BASE_RNG_H
#define BECK_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4]; /* xoshiro256**; one thread at a time */
};
void rng_seed(struct rng *r, uint64_t seed);
void rng_seed_system(struct rng *r);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t bound); /* 0 .. bound-1, bound > 0, without bias */

#endif
