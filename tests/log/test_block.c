/* The pool of blocks: who holds a block has it alone, and the pool may be closed before its blocks come back. */
#include "log/block.h"

#include "base/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { THREADS = 4, STEPS = 20000, HELD = 12 };

struct holder {
    pthread_t thread;
    struct block_pool *pool;
    uint64_t number;
    struct block *held[HELD];
    int faults;
};

static struct block *take(struct holder *h, size_t place)
{
    struct block *b = block_of_pool(h->pool);
    h->faults += !b || b->cap != BLOCK_POOLED_BYTES || atomic_load(&b->len) != 0;
    memcpy(b->data, &h->number, sizeof h->number);
    memcpy(b->data + b->cap - sizeof place, &place, sizeof place);
    return b;
}

static void give(struct holder *h, size_t place)
{
    struct block *b = h->held[place];
    h->faults += memcmp(b->data, &h->number, sizeof h->number) != 0 ||
                 memcmp(b->data + b->cap - sizeof place, &place, sizeof place) != 0;
    h->held[place] = NULL;
    block_release(b);
}

static void *take_and_give(void *arg)
{
    struct holder *h = arg;
    struct rng rng;
    rng_seed(&rng, h->number);
    for (int i = 0; i < STEPS; i++) {
        size_t place = (size_t)rng_below(&rng, HELD);
        if (h->held[place])
            give(h, place);
        else
            h->held[place] = take(h, place);
    }
    return NULL;
}

static void *give_all(void *arg)
{
    struct holder *h = arg;
    for (size_t place = 0; place < HELD; place++)
        if (h->held[place])
            give(h, place);
    return NULL;
}

static void each(struct holder *holders, void *(*run)(void *))
{
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&holders[i].thread, NULL, run, &holders[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(holders[i].thread, NULL), 0);
}

static void blocks_are_had_alone_and_outlive_their_pool(void **state)
{
    (void)state;
    struct holder holders[THREADS] = {0};
    struct block_pool *pool = block_pool_new();
    assert_non_null(pool);
    for (int i = 0; i < THREADS; i++) {
        holders[i].pool = pool;
        holders[i].number = (uint64_t)i + 1;
    }
    each(holders, take_and_give);
    holders[0].held[0] = holders[0].held[0] ? holders[0].held[0] : take(&holders[0], 0);
    block_pool_close(pool);
    each(holders, give_all);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(holders[i].faults, 0);
}

/* The one that lay longest; the sanitizer of addresses has none lie. */
static void what_came_back_is_not_given_at_once(void **state)
{
    (void)state;
    enum { ALL = BLOCK_SPARE_BYTES / BLOCK_POOLED_BYTES };
    struct block_pool *pool = block_pool_new();
    struct block *first = block_of_pool(pool);
    block_release(first);
    for (int i = 0; i < ALL - 1; i++) {
        struct block *b = block_of_pool(pool);
#if BLOCK_SPARE_BYTES > 0
        assert_ptr_not_equal(b, first);
#endif
        block_release(b);
    }
    struct block *last = block_of_pool(pool);
#if BLOCK_SPARE_BYTES > 0
    assert_ptr_equal(last, first);
#endif
    block_release(last);
    block_pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_had_alone_and_outlive_their_pool),
        cmocka_unit_test(what_came_back_is_not_given_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
