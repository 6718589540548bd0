/* The window of deliveries seen, against a list that is searched from end to end; and from several
 * threads. */
#include "common.h"
#include "hook/seen.h"

#include "base/rng.h"
#include <pthread.h>

static enum seen_state claim(struct seen *s, const char *id, int64_t now_ms, struct seen_key *key)
{
    return seen_claim(s, beck_str("/s"), beck_str(id), now_ms, key);
}

static void test_a_delivery(void **state)
{
    (void)state;
    struct seen *s = seen_new(1000);
    struct seen_key key, other;
    assert_int_equal(claim(s, "a", 0, &key), SEEN_NEW);
    assert_int_equal(claim(s, "a", 1, &other), SEEN_PENDING);
    assert_int_equal(seen_claim(s, beck_str("/t"), beck_str("a"), 1, &other), SEEN_NEW);
    seen_failed(s, &key);
    assert_int_equal(claim(s, "a", 2, &key), SEEN_NEW);
    seen_stored(s, &key);
    assert_int_equal(claim(s, "a", 1001, &other), SEEN_STORED);
    assert_int_equal(claim(s, "a", 1002, &other), SEEN_NEW);
    /* What is forgotten meanwhile may still be said of. */
    assert_int_equal(claim(s, "b", 5000, &other), SEEN_NEW);
    seen_stored(s, &key);
    seen_failed(s, &key);
    assert_int_equal(seen_count(s), 1);
    seen_free(s);
    seen_free(NULL);
}

static void test_ceiling(void **state)
{
    (void)state;
    struct seen *s = seen_new(1000);
    struct seen_key key;
    char id[16];
    for (int i = 0; i < SEEN_MAX + 10; i++) {
        snprintf(id, sizeof id, "%d", i);
        assert_int_equal(claim(s, id, i / 1000, &key), SEEN_NEW);
        seen_stored(s, &key);
    }
    assert_int_equal(seen_count(s), SEEN_MAX);
    assert_int_equal(claim(s, "100009", 200, &key), SEEN_STORED);
    assert_int_equal(claim(s, "9", 200, &key), SEEN_NEW);
    seen_free(s);
}

#define IDS 300
#define WINDOW_MS 50

static void test_against_a_list(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct seen *s = seen_new(WINDOW_MS);
        struct {
            int64_t came_ms;
            enum seen_state state;
            struct seen_key key;
        } model[IDS];
        for (size_t i = 0; i < IDS; i++)
            model[i].state = SEEN_NEW;
        int64_t now_ms = 0;
        for (int step = 0; step < 20000; step++) {
            now_ms += (int64_t)rng_below(&rng, 2);
            size_t i = rng_below(&rng, IDS);
            char id[16];
            snprintf(id, sizeof id, "%zu", i);
            if (model[i].state != SEEN_NEW && now_ms - model[i].came_ms >= WINDOW_MS)
                model[i].state = SEEN_NEW;
            if (model[i].state == SEEN_PENDING && rng_below(&rng, 2)) {
                bool good = rng_below(&rng, 2);
                (good ? seen_stored : seen_failed)(s, &model[i].key);
                model[i].state = good ? SEEN_STORED : SEEN_NEW;
                continue;
            }
            struct seen_key key;
            assert_int_equal(claim(s, id, now_ms, &key), model[i].state);
            if (model[i].state == SEEN_NEW) {
                model[i].state = SEEN_PENDING;
                model[i].came_ms = now_ms;
                model[i].key = key;
            }
        }
        seen_free(s);
    }
}

static void *claim_all(void *ctx)
{
    struct seen *s = ctx;
    size_t mine = 0;
    for (int i = 0; i < 5000; i++) {
        char id[16];
        struct seen_key key;
        snprintf(id, sizeof id, "%d", i);
        if (claim(s, id, i / 1000, &key) == SEEN_NEW) {
            seen_stored(s, &key);
            mine++;
        }
    }
    return (void *)mine;
}

static void test_threads(void **state)
{
    (void)state;
    struct seen *s = seen_new(1000000);
    pthread_t threads[4];
    size_t sum = 0;
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, claim_all, s), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *mine;
        pthread_join(threads[i], &mine);
        sum += (size_t)mine;
    }
    assert_int_equal(sum, 5000);
    seen_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_delivery),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_against_a_list),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
