/*
 * The trie against the simplest model there is: a list of patterns, each tried with pattern_match.
 * pattern_match itself is compared with a table of answers in test_pattern.c, and here with a third
 * matcher that tries every way recursively.
 */
#include "common.h"

#include "event/pattern.h"

#include <pthread.h>

#define MODEL_MAX 4096

struct model {
    struct {
        char pattern[256];
        uintptr_t value;
    } entry[MODEL_MAX];
    size_t count;
};

/* Few words, so that patterns overlap; now and then a long one. */
static void random_text(struct rng *rng, bool wildcards, size_t words_max, char out[256])
{
    static const char *const words[] = {
        "a", "b", "c", "order", "created", "a-word-that-is-too-long-to-be-kept-in-place", "é"};
    size_t count = 1 + rng_below(rng, words_max);
    out[0] = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t pick = rng_below(rng, 10);
        const char *word = words[rng_below(rng, rng_below(rng, 4) == 0 ? COUNT(words) : 3)];
        if (wildcards && pick < 2) {
            word = "*";
        } else if (wildcards && pick < 4) {
            word = "#";
        }
        if (strlen(out) + strlen(word) + 1 > 255) {
            return;
        }
        if (i > 0) {
            strcat(out, ".");
        }
        strcat(out, word);
    }
}

static bool tries_every_way(const char *pattern, const char *type)
{
    size_t p = strcspn(pattern, ".");
    const char *rest = pattern[p] == 0 ? NULL : pattern + p + 1;
    bool is_hash = p == 1 && *pattern == '#';
    for (const char *t = type;; t += strcspn(t, ".") + 1) {
        /* Here the hash has taken the words before t; NULL: all. */
        if (is_hash) {
            if (rest == NULL || (t != NULL && tries_every_way(rest, t))) {
                return true;
            }
            if (t[strcspn(t, ".")] == 0) {
                /* What is left must match no word at all. */
                for (const char *r = rest; r != NULL;) {
                    if (*r != '#') {
                        return false;
                    }
                    r = r[1] == 0 ? NULL : r + 2;
                }
                return true;
            }
            continue;
        }
        size_t w = strcspn(t, ".");
        if (!(p == 1 && *pattern == '*') && (p != w || memcmp(pattern, t, p) != 0)) {
            return false;
        }
        if (t[w] != 0) {
            return rest != NULL && tries_every_way(rest, t + w + 1);
        }
        for (const char *r = rest; r != NULL;) {
            if (*r != '#') {
                return false;
            }
            r = r[1] == 0 ? NULL : r + 2;
        }
        return true;
    }
}

static int by_value(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a;
    uintptr_t y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

static void compare(const struct trie *t, const struct model *model, struct trie_matches *m,
                    const char *type, uint64_t seed)
{
    static uintptr_t expected[MODEL_MAX];
    size_t count = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (pattern_match(beck_str(model->entry[i].pattern), beck_str(type))) {
            expected[count++] = model->entry[i].value;
        }
    }
    assert_int_equal(trie_match(t, beck_str(type), m), BECK_OK);
    if (count != m->count) {
        fail_msg("seed %llu: type \"%s\": %zu matches, expected %zu", (unsigned long long)seed,
                 type, m->count, count);
    }
    if (count == 0) {
        return;
    }
    qsort(expected, count, sizeof expected[0], by_value);
    qsort(m->values, count, sizeof m->values[0], by_value);
    if (memcmp(expected, m->values, count * sizeof expected[0]) != 0) {
        fail_msg("seed %llu: type \"%s\": other values than expected", (unsigned long long)seed,
                 type);
    }
}

static void forget(struct model *model, struct trie *t, size_t i)
{
    assert_true(trie_remove(t, beck_str(model->entry[i].pattern), (void *)model->entry[i].value));
    model->entry[i] = model->entry[--model->count];
}

static void one_history(uint64_t seed, size_t steps, size_t words_max)
{
    static struct model model;
    model.count = 0;
    struct rng rng;
    rng_seed(&rng, seed);
    struct trie *t = trie_new();
    assert_non_null(t);
    struct trie_matches m = {0};
    char text[256];
    for (size_t i = 0; i < steps; i++) {
        /* Phases of growing and of shrinking. */
        bool grow = rng_below(&rng, 10) < ((i / 200) % 2 == 0 ? 8 : 3);
        if (grow && model.count < MODEL_MAX) {
            random_text(&rng, true, words_max, model.entry[model.count].pattern);
            /* Few values, so that one stands under many patterns and twice under one. */
            model.entry[model.count].value = 16 + rng_below(&rng, 64) * 16;
            assert_int_equal(trie_add(t, beck_str(model.entry[model.count].pattern),
                                      (void *)model.entry[model.count].value, NULL),
                             BECK_OK);
            model.count++;
        } else if (model.count > 0) {
            forget(&model, t, rng_below(&rng, model.count));
        }
        random_text(&rng, true, words_max, text);
        assert_false(trie_remove(t, beck_str(text), (void *)8));
        random_text(&rng, false, words_max, text);
        compare(t, &model, &m, text, seed);
    }
    while (model.count > 0) {
        forget(&model, t, model.count - 1);
    }
    random_text(&rng, false, words_max, text);
    compare(t, &model, &m, text, seed);
    trie_matches_release(&m);
    trie_free(t);
}

static void matches_what_trying_every_pattern_matches(void **state)
{
    (void)state;
    uint64_t seeds[12];
    size_t count = test_seeds(seeds, COUNT(seeds));
    for (size_t i = 0; i < count; i++) {
        one_history(seeds[i], 1500, 2 + seeds[i] % 8);
    }
}

static void pattern_match_agrees_with_trying_every_way(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    size_t matched = 0;
    for (int i = 0; i < 50000; i++) {
        char pattern[256];
        char type[256];
        random_text(&rng, true, 6, pattern);
        random_text(&rng, false, 6, type);
        bool expected = tries_every_way(pattern, type);
        matched += expected;
        if (pattern_match(beck_str(pattern), beck_str(type)) != expected) {
            fail_msg("\"%s\" on \"%s\" is not %d", pattern, type, expected);
        }
    }
    assert_true(matched > 1000); /* the test compares both answers */
}

static void a_value_comes_once_per_pattern(void **state)
{
    (void)state;
    struct trie *t = trie_new();
    struct trie_matches m = {0};
    int value;
    const char *const patterns[] = {"a.b", "a.*", "a.#", "#", "#.#", "a.b", "#.b.#", "a.c", "b.#"};
    for (size_t i = 0; i < COUNT(patterns); i++) {
        assert_int_equal(trie_add(t, beck_str(patterns[i]), &value, NULL), BECK_OK);
    }
    assert_int_equal(trie_match(t, beck_str("a.b"), &m), BECK_OK);
    assert_int_equal(m.count, 7);
    assert_true(trie_remove(t, beck_str("a.b"), &value));
    assert_int_equal(trie_match(t, beck_str("a.b"), &m), BECK_OK);
    assert_int_equal(m.count, 6);
    trie_matches_release(&m);
    trie_free(t);
}

static void a_bad_pattern_is_not_added(void **state)
{
    (void)state;
    struct trie *t = trie_new();
    struct trie_matches m = {0};
    beck_error err;
    assert_error(trie_add(t, beck_str("a*"), &err, &err), &err, BECK_EINVAL, "byte 1", NULL);
    assert_false(trie_remove(t, beck_str("a*"), &err));
    assert_int_equal(trie_match(t, beck_str("a"), &m), BECK_OK);
    assert_int_equal(m.count, 0);
    trie_matches_release(&m);
    trie_free(t);
}

static void a_type_longer_than_a_type_can_be_is_refused(void **state)
{
    (void)state;
    struct trie *t = trie_new();
    struct trie_matches m = {0};
    char type[256];
    memset(type, '.', sizeof type);
    assert_int_equal(trie_add(t, beck_str("#"), t, NULL), BECK_OK);
    assert_int_equal(trie_match(t, bytes_of(type, 255), &m), BECK_OK);
    assert_int_equal(m.count, 1);
    assert_int_equal(trie_match(t, bytes_of(type, 256), &m), BECK_EINVAL);
    trie_matches_release(&m);
    trie_free(t);
}

static void adversarial_hashes_are_matched_in_time(void **state)
{
    (void)state;
    struct trie *t = trie_new();
    struct trie_matches m = {0};
    char pattern[256] = "#";
    /* #, #.a, #.a.#, ... and #.#, #.#.# ...: matched naively, a type of 128 words takes for ever.
     */
    for (int i = 0; i < 60; i++) {
        assert_int_equal(trie_add(t, beck_str(pattern), t, NULL), BECK_OK);
        strcat(pattern, i % 2 == 0 ? ".a" : ".#");
    }
    strcpy(pattern, "#");
    for (int i = 0; i < 60; i++) {
        strcat(pattern, ".#");
        assert_int_equal(trie_add(t, beck_str(pattern), t, NULL), BECK_OK);
    }
    char type[256] = "a";
    for (int i = 0; i < 127; i++) {
        strcat(type, ".a");
    }
    assert_int_equal(strlen(type), 255);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(trie_match(t, beck_str(type), &m), BECK_OK);
        assert_int_equal(m.count, 120);
    }
    trie_matches_release(&m);
    trie_free(t);
}

static void a_hundred_thousand_patterns_come_and_go(void **state)
{
    (void)state;
    enum { COUNT_MAX = 100000 };
    struct trie *t = trie_new();
    struct trie_matches m = {0};
    char text[64];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT_MAX; i++) {
            snprintf(text, sizeof text, i % 3 == 0 ? "t%d.%d" : "t%d.*.%d.#", i % 997, i);
            assert_int_equal(trie_add(t, beck_str(text), t, NULL), BECK_OK);
        }
        for (int i = 0; i < COUNT_MAX; i += 7) {
            snprintf(text, sizeof text, i % 3 == 0 ? "t%d.%d" : "t%d.x.%d.y.z", i % 997, i);
            assert_int_equal(trie_match(t, beck_str(text), &m), BECK_OK);
            assert_int_equal(m.count, 1);
        }
        for (int i = 0; i < COUNT_MAX; i++) {
            snprintf(text, sizeof text, i % 3 == 0 ? "t%d.%d" : "t%d.*.%d.#", i % 997, i);
            assert_true(trie_remove(t, beck_str(text), t));
            assert_false(trie_remove(t, beck_str(text), t));
        }
    }
    trie_matches_release(&m);
    trie_free(t);
}

static void *match_many(void *arg)
{
    struct trie_matches m = {0};
    size_t matched = 0;
    for (int i = 0; i < 2000; i++) {
        char type[32];
        snprintf(type, sizeof type, "a%d.b.c", i % 100);
        matched += trie_match(arg, beck_str(type), &m) == BECK_OK ? m.count : 1000;
    }
    trie_matches_release(&m);
    return (void *)matched;
}

static void threads_may_match_at_once(void **state)
{
    (void)state;
    struct trie *t = trie_new();
    char text[32];
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, i % 2 == 0 ? "a%d.#" : "#.a%d.*.c", i);
        assert_int_equal(trie_add(t, beck_str(text), t, NULL), BECK_OK);
    }
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, match_many, t), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        void *matched;
        assert_int_equal(pthread_join(threads[i], &matched), 0);
        assert_int_equal((size_t)matched, 2000);
    }
    trie_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_what_trying_every_pattern_matches),
        cmocka_unit_test(pattern_match_agrees_with_trying_every_way),
        cmocka_unit_test(a_value_comes_once_per_pattern),
        cmocka_unit_test(a_bad_pattern_is_not_added),
        cmocka_unit_test(a_type_longer_than_a_type_can_be_is_refused),
        cmocka_unit_test(adversarial_hashes_are_matched_in_time),
        cmocka_unit_test(a_hundred_thousand_patterns_come_and_go),
        cmocka_unit_test(threads_may_match_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
