/* Who is bound: each type by examples, topics and headers against matchers that try every binding as it is
 * written in the rules. */
#include "tables.h"

#include "broker/broker.h"
#include "broker/match.h"
#include "support/effort.h"

#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct match_found found;

static int release_found(void **state)
{
    (void)state;
    match_found_release(&found);
    return 0;
}

static struct matcher *matcher_of(enum match_type type, const char *arguments)
{
    struct buf b;
    struct matcher *m = matcher_new(type, table_of(&b, arguments));
    assert_non_null(m);
    buf_release(&b);
    return m;
}

static void bind(struct matcher *m, const void *value, const char *key, const char *arguments)
{
    struct buf b;
    assert_int_equal(matcher_add(m, (void *)(uintptr_t)value, text_of(value), text_of(key),
                                 table_of(&b, arguments)),
                     BECK_OK);
    buf_release(&b);
}

static bool unbind(struct matcher *m, const void *value, const char *key, const char *arguments)
{
    struct buf b;
    bool was = matcher_remove(m, (void *)(uintptr_t)value, text_of(key), table_of(&b, arguments));
    buf_release(&b);
    return was;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The values that match, which are texts here, in order and with a blank behind each. */
static const char *who(struct matcher *m, const char *key, const char *headers)
{
    static char names[1000];
    struct buf b;
    struct properties p = {.flags = PROPERTY_HEADERS, .headers = table_of(&b, headers)};
    found.count = 0;
    assert_int_equal(matcher_match(m, text_of(key), &p, &found), BECK_OK);
    buf_release(&b);
    names[0] = 0;
    if (found.count > 0)
        qsort(found.values, found.count, sizeof(void *), compare_texts);
    for (size_t i = 0; i < found.count; i++) {
        strcat(names, found.values[i]);
        strcat(names, " ");
    }
    return names;
}

static void test_types_have_names(void **state)
{
    (void)state;
    enum match_type type;
    assert_true(match_type_of(text_of("topic"), &type) && type == MATCH_TOPIC);
    assert_true(match_type_of(text_of("x-consistent-hash"), &type) &&
                type == MATCH_CONSISTENT_HASH);
    assert_false(match_type_of(text_of("x-delayed-message"), &type));
    assert_false(match_type_of(text_of(""), &type));
}

static void test_direct_takes_the_equal_key(void **state)
{
    (void)state;
    struct matcher *m = matcher_of(MATCH_DIRECT, "");
    bind(m, "a", "red", "");
    bind(m, "b", "red", "");
    bind(m, "c", "blue", "");
    bind(m, "d", "", "");
    assert_string_equal(who(m, "red", ""), "a b ");
    assert_string_equal(who(m, "", ""), "d ");
    assert_string_equal(who(m, "green", ""), "");
    assert_true(unbind(m, "a", "red", ""));
    assert_false(unbind(m, "a", "red", ""));
    assert_string_equal(who(m, "red", ""), "b ");
    assert_string_equal(who(m, "blue", ""), "c ");
    assert_string_equal(who(m, "", ""), "d ");
    matcher_free(m);
}

static void test_bindings_are_told_apart_by_their_arguments(void **state)
{
    (void)state;
    struct matcher *m = matcher_of(MATCH_FANOUT, "");
    bind(m, "a", "k", "x=1 y=2");
    bind(m, "a", "k", "");
    bind(m, "b", "", "");
    assert_string_equal(who(m, "any", ""), "a a b ");
    assert_false(unbind(m, "a", "k", "x=1"));
    assert_false(unbind(m, "a", "", ""));
    assert_true(unbind(m, "a", "k", "y=2 x=1"));
    assert_false(unbind(m, "a", "k", "y=2 x=1"));
    assert_string_equal(who(m, "any", ""), "a b ");
    matcher_free(m);
}

/* ---- topics ---- */

static void test_topics_match_as_in_rabbitmq(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *key;
        bool matches;
    } cases[] = {
        {"a.b", "a.b", true},
        {"a.b", "a.b.c", false},
        {"*", "a", true},
        {"*", "", false},
        {"*", "a.b", false},
        {"#", "", true},
        {"#", "a.b", true},
        {"", "", true},
        {"", "a", false},
        {"a.#", "a", true},
        {"a.#", "a.b.c", true},
        {"a.#", "b", false},
        {"#.a", "a", true},
        {"#.a", "b.c.a", true},
        {"#.a", "a.b", false},
        {"*.*", "a.b", true},
        {"*.*", "a..b", false},
        {"*.*.*", "a..b", true},
        {"a..b", "a..b", true},
        {"a.*.b", "a..b", true},
        {"a.#.b", "a..b", true},
        {"*.a", ".a", true},
        {".", ".", true},
        {"*.*", ".", true},
        {"#.#", "", true},
        {"#.*", "", false},
        {"#.*", "a", true},
        {"#.*.#", "a.b.c", true},
        {"*.#.*", "a", false},
        {"#.*.#.*.#", "a.b", true},
        {"a*", "ab", false},
        {"a*", "a*", true},
        {"*", "*", true},
        {"*", "#", true},
        {"a.#.b.#.c", "a.b.c", true},
        {"a.#.b.#.c", "a.c", false},
        {"a.", "a.", true},
        {"a.", "a", false},
        {"a.*", "a.", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct matcher *m = matcher_of(MATCH_TOPIC, "");
        bind(m, "q", cases[i].pattern, "");
        const char *expected = cases[i].matches ? "q " : "";
        if (strcmp(who(m, cases[i].key, ""), expected) != 0)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].key);
        assert_true(unbind(m, "q", cases[i].pattern, ""));
        matcher_free(m);
    }
}

/* The rule, one word after the other. */
static bool tries_every_way(const char *const *pattern, const char *const *key)
{
    if (*pattern == NULL)
        return *key == NULL;
    if (strcmp(*pattern, "#") == 0)
        return tries_every_way(pattern + 1, key) ||
               (*key != NULL && tries_every_way(pattern, key + 1));
    return *key != NULL && (strcmp(*pattern, "*") == 0 || strcmp(*pattern, *key) == 0) &&
           tries_every_way(pattern + 1, key + 1);
}

struct words {
    char text[64];
    const char *word[8];
    char joined[64];
};

static void random_words(struct rng *rng, bool pattern, struct words *out)
{
    static const char *const words[] = {"a", "b", "", "longer-than-others", "*", "#"};
    size_t count = rng_below(rng, 6), n = 0;
    out->joined[0] = 0;
    memset(out->word, 0, sizeof(out->word));
    for (size_t i = 0; i < count && strlen(out->joined) < 40; i++) {
        size_t pick = rng_below(rng, pattern ? 8 : 4);
        const char *word = pick < 3 ? words[pick % 3] : pick < 4 ? words[3] : words[4 + pick % 2];
        if (n > 0)
            strcat(out->joined, ".");
        strcat(out->joined, word);
        out->word[n++] = word;
    }
    /* One empty word and no word look the same, and are no word. */
    if (out->joined[0] == 0)
        out->word[0] = NULL;
}

static void test_topics_are_as_trying_each_pattern(void **state)
{
    (void)state;
    enum { BOUND_MAX = 300 };
    static struct words bound[BOUND_MAX];
    struct rng rng;
    rng_seed(&rng, 4711);
    for (uint64_t round = 0; round < effort(60, 15); round++) {
        struct matcher *m = matcher_of(MATCH_TOPIC, "");
        size_t count = 0, limit = 1 + rng_below(&rng, BOUND_MAX);
        for (uint64_t i = 0; i < 1500; i++) {
            uint64_t what = rng_below(&rng, 10);
            if (what < 3 && count < limit) {
                random_words(&rng, true, &bound[count]);
                assert_int_equal(matcher_add(m, &bound[count], text_of(""),
                                             text_of(bound[count].joined), text_of("")),
                                 BECK_OK);
                count++;
            } else if (what < 5 && count > 0) {
                /* The last takes the place of the one that goes, so it moves as well. */
                size_t gone = rng_below(&rng, count);
                assert_true(
                    matcher_remove(m, &bound[gone], text_of(bound[gone].joined), text_of("")));
                count--;
                if (gone < count) {
                    assert_true(matcher_remove(m, &bound[count], text_of(bound[count].joined),
                                               text_of("")));
                    bound[gone] = bound[count];
                    assert_int_equal(matcher_add(m, &bound[gone], text_of(""),
                                                 text_of(bound[gone].joined), text_of("")),
                                     BECK_OK);
                }
            } else {
                struct words key;
                bool seen[BOUND_MAX] = {false};
                random_words(&rng, false, &key);
                found.count = 0;
                assert_int_equal(matcher_match(m, text_of(key.joined), NULL, &found), BECK_OK);
                for (size_t k = 0; k < found.count; k++) {
                    size_t which = (size_t)((struct words *)found.values[k] - bound);
                    assert_false(seen[which]);
                    seen[which] = true;
                }
                for (size_t k = 0; k < count; k++)
                    if (seen[k] != tries_every_way(bound[k].word, key.word))
                        fail_msg("'%s' and '%s'", bound[k].joined, key.joined);
            }
        }
        for (size_t k = 0; k < count; k++)
            assert_true(matcher_remove(m, &bound[k], text_of(bound[k].joined), text_of("")));
        found.count = 0;
        assert_int_equal(matcher_match(m, text_of("a"), NULL, &found), BECK_OK);
        assert_int_equal(found.count, 0);
        matcher_free(m);
    }
}

static void test_many_hashes_take_no_longer_than_words_times_nodes(void **state)
{
    (void)state;
    struct matcher *m = matcher_of(MATCH_TOPIC, "");
    char pattern[256] = "#", key[256] = "a";
    while (strlen(pattern) < 245)
        strcat(pattern, ".a.#");
    while (strlen(key) < 250)
        strcat(key, ".a");
    bind(m, "q", pattern, "");
    strcat(pattern, ".b");
    bind(m, "r", pattern, "");
    for (int i = 0; i < 100; i++)
        assert_string_equal(who(m, key, ""), "q ");
    matcher_free(m);
}

/* ---- headers ---- */

static void test_headers_match_all_or_any(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *headers;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a=1", true},
        {"a=1", "a=1", true},
        {"a=1", "", false},
        {"a=1 b=x", "b=x a=1 c=3", true},
        {"x-match=all a=1 b=x", "a=1", false},
        {"x-match=any a=1 b=x", "a=1", true},
        {"x-match=any a=1 b=x", "a=2 b=y", false},
        {"x-match=any", "a=1", false},
        {"x-match=all", "", true},
        {"a=void", "a=anything", true},
        {"a=void", "b=1", false},
        {"x-match=any a=void b=1", "a=5", true},
        {"x-match=any a=void b=1", "a=5 b=1", true},
        {"a=void", "a=void", true},
        {"a=1", "a=void", false},
        {"a=1", "a=true", false},
        {"a=1 x-b=2", "a=1", true},
        {"x-match=any x-b=2", "x-b=2", false},
        {"x-match=all-with-x a=1 x-b=2", "a=1", false},
        {"x-match=all-with-x a=1 x-b=2", "a=1 x-b=2", true},
        {"x-match=any-with-x x-b=2", "x-b=2", true},
        {"x-match=all-with-x", "", true},
        {"x-match=any-with-x", "a=1", false},
        /* Of one name the last counts. */
        {"a=1", "a=1 a=2", false},
        {"a=2", "a=1 a=2", true},
        {"a=2", "a=2 a=2", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct matcher *m = matcher_of(MATCH_HEADERS, "");
        bind(m, "q", "", cases[i].arguments);
        if (strcmp(who(m, "", cases[i].headers), cases[i].matches ? "q " : "") != 0)
            fail_msg("'%s' and '%s'", cases[i].arguments, cases[i].headers);
        assert_true(unbind(m, "q", "", cases[i].arguments));
        assert_string_equal(who(m, "", cases[i].headers), "");
        matcher_free(m);
    }
}

static void test_headers_are_compared_by_value(void **state)
{
    (void)state;
    struct matcher *m = matcher_of(MATCH_HEADERS, "");
    struct buf b;
    bind(m, "number", "", "n=7");
    bind(m, "text", "", "s=hi");
    static const struct {
        const char *name;
        struct table_value v;
        size_t count;
    } cases[] = {
        {"n", {.letter = 'b', .integer = 7}, 1},
        {"n", {.letter = 'l', .integer = 7}, 1},
        {"n", {.letter = 'd', .number = 7}, 0},
        {"n", {.letter = 'T', .integer = 7}, 0},
        {"n", {.letter = 'S', .bytes = {"7", 1}}, 0},
        {"s", {.letter = 'x', .bytes = {"hi", 2}}, 1},
        {"s", {.letter = 'S', .bytes = {"hi", 2}}, 1},
        {"s", {.letter = 'A', .bytes = {"", 0}}, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        buf_init(&b, TABLE_BYTES_MAX);
        table_put(&b, text_of(cases[i].name), &cases[i].v);
        struct properties p = {.headers = buf_bytes(&b)};
        found.count = 0;
        assert_int_equal(matcher_match(m, text_of(""), &p, &found), BECK_OK);
        assert_int_equal(found.count, cases[i].count);
        buf_release(&b);
    }
    found.count = 0;
    assert_int_equal(matcher_match(m, text_of(""), NULL, &found), BECK_OK);
    assert_int_equal(found.count, 0);
    matcher_free(m);
}

struct pairs {
    char text[200];
    struct {
        char name[4], value[6];
    } pair[6];
    size_t count;
    int mode; /* 0: none, then all any all-with-x any-with-x */
};

static void random_pairs(struct rng *rng, bool rule, struct pairs *out)
{
    static const char *const names[] = {"a", "b", "c", "x-a", "x-b"};
    static const char *const values[] = {"1", "2", "hi", "true", "void"};
    static const char *const modes[] = {"", "x-match=all ", "x-match=any ", "x-match=all-with-x ",
                                        "x-match=any-with-x "};
    out->mode = rule ? (int)rng_below(rng, 5) : 0;
    strcpy(out->text, modes[out->mode]);
    out->count = rng_below(rng, 5);
    for (size_t i = 0; i < out->count; i++) {
        strcpy(out->pair[i].name, names[rng_below(rng, COUNT(names))]);
        strcpy(out->pair[i].value, values[rng_below(rng, COUNT(values))]);
        sprintf(out->text + strlen(out->text), "%s=%s ", out->pair[i].name, out->pair[i].value);
    }
    if (out->text[0] != 0)
        out->text[strlen(out->text) - 1] = 0;
}

static bool rule_is_right(const struct pairs *rule, const struct pairs *headers)
{
    bool any = rule->mode == 2 || rule->mode == 4, with_x = rule->mode >= 3;
    for (size_t i = 0; i < rule->count; i++) {
        if (!with_x && strncmp(rule->pair[i].name, "x-", 2) == 0)
            continue;
        const char *value = NULL;
        for (size_t k = 0; k < headers->count; k++)
            if (strcmp(headers->pair[k].name, rule->pair[i].name) == 0)
                value = headers->pair[k].value;
        bool met = value != NULL && (strcmp(rule->pair[i].value, "void") == 0 ||
                                     strcmp(rule->pair[i].value, value) == 0);
        if (met == any)
            return any;
    }
    return !any;
}

static void test_headers_are_as_trying_each_rule(void **state)
{
    (void)state;
    enum { BOUND_MAX = 200 };
    static struct pairs bound[BOUND_MAX];
    struct rng rng;
    rng_seed(&rng, 815);
    for (uint64_t round = 0; round < effort(40, 10); round++) {
        struct matcher *m = matcher_of(MATCH_HEADERS, "");
        size_t count = 1 + rng_below(&rng, BOUND_MAX);
        for (size_t i = 0; i < count; i++) {
            random_pairs(&rng, true, &bound[i]);
            bind(m, &bound[i], "", bound[i].text);
        }
        for (uint64_t i = 0; i < 400; i++) {
            if (rng_below(&rng, 4) == 0) {
                struct pairs *other = &bound[rng_below(&rng, count)];
                assert_true(unbind(m, other, "", other->text));
                random_pairs(&rng, true, other);
                bind(m, other, "", other->text);
            }
            struct pairs headers;
            bool seen[BOUND_MAX] = {false};
            struct buf b;
            random_pairs(&rng, false, &headers);
            struct properties p = {.headers = table_of(&b, headers.text)};
            found.count = 0;
            assert_int_equal(matcher_match(m, text_of(""), &p, &found), BECK_OK);
            for (size_t k = 0; k < found.count; k++) {
                size_t which = (size_t)((struct pairs *)found.values[k] - bound);
                assert_false(seen[which]);
                seen[which] = true;
            }
            for (size_t k = 0; k < count; k++)
                if (seen[k] != rule_is_right(&bound[k], &headers))
                    fail_msg("'%s' and '%s'", bound[k].text, headers.text);
            buf_release(&b);
        }
        matcher_free(m);
    }
}

/* Rules and messages that make each other's work: tried pair by pair, it would take hours. */
static void test_long_rules_and_messages_take_no_longer_than_their_pairs(void **state)
{
    (void)state;
    enum { PAIRS = 5000 };
    static const char *const modes[] = {"all", "any"};
    struct buf rule[2], headers;
    struct matcher *m = matcher_of(MATCH_HEADERS, "");
    buf_init(&headers, TABLE_BYTES_MAX);
    for (int k = 0; k < 2; k++) {
        buf_init(&rule[k], TABLE_BYTES_MAX);
        table_put_text(&rule[k], "x-match", text_of(modes[k]));
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        char name[20];
        sprintf(name, "h%d", i);
        table_put_int(&rule[1], name, i < PAIRS ? -1 : i);
        table_put_int(&rule[0], name, i);
        table_put_int(&headers, name, i);
        table_put_int(&headers, "again", i);
    }
    assert_int_equal(matcher_add(m, m, text_of(""), text_of(""), buf_bytes(&rule[0])), BECK_OK);
    assert_int_equal(matcher_add(m, m, text_of(""), text_of(""), buf_bytes(&rule[1])), BECK_OK);
    bind(m, "again", "", "x-match=any again=void again=9999 again=void");
    struct properties p = {.headers = buf_bytes(&headers)};
    for (uint64_t i = 0; i < effort(50, 5); i++) {
        found.count = 0;
        assert_int_equal(matcher_match(m, text_of(""), &p, &found), BECK_OK);
        assert_int_equal(found.count, 3);
    }
    matcher_free(m);
    buf_release(&headers);
    buf_release(&rule[0]);
    buf_release(&rule[1]);
}

/* ---- hashes ---- */

static void test_a_consistent_hash_gives_each_message_to_one_by_weight(void **state)
{
    (void)state;
    static const char *const names[] = {"q1", "q2", "q3", "q4"};
    static const char *const weights[] = {"1", "1", "2", "4"};
    struct matcher *m = matcher_of(MATCH_CONSISTENT_HASH, "");
    size_t got[4] = {0};
    for (size_t i = 0; i < 4; i++)
        bind(m, names[i], weights[i], "");
    for (int i = 0; i < 8000; i++) {
        char key[20];
        sprintf(key, "key-%d", i);
        const char *name = who(m, key, "");
        assert_int_equal(strlen(name), 3);
        got[name[1] - '1']++;
    }
    for (size_t i = 0; i < 4; i++) {
        size_t fair = 1000 * (size_t)atoi(weights[i]);
        assert_in_range(got[i], fair * 8 / 10, fair * 12 / 10);
    }
    matcher_free(m);
}

static void test_a_consistent_hash_is_stable(void **state)
{
    (void)state;
    static char names[20][8];
    struct matcher *forth = matcher_of(MATCH_CONSISTENT_HASH, ""),
                   *back = matcher_of(MATCH_CONSISTENT_HASH, "");
    for (size_t i = 0; i < 20; i++) {
        sprintf(names[i], "q%02zu", i);
        bind(forth, names[i], "1", "");
    }
    for (size_t i = 20; i-- > 0;)
        bind(back, names[i], "1", "");
    size_t moved = 0;
    for (int i = 0; i < 2000; i++) {
        char key[20], was[8];
        sprintf(key, "k%d", i);
        strcpy(was, who(forth, key, ""));
        assert_string_equal(who(back, key, ""), was);
    }
    assert_true(unbind(back, names[7], "1", ""));
    for (int i = 0; i < 2000; i++) {
        char key[20], was[8];
        sprintf(key, "k%d", i);
        strcpy(was, who(forth, key, ""));
        if (strcmp(was, "q07 ") != 0)
            assert_string_equal(who(back, key, ""), was);
        else
            moved++;
    }
    assert_in_range(moved, 50, 150);
    /* The same for ever: a new version must not send messages elsewhere. */
    assert_string_equal(who(forth, "customer-1", ""), "q02 ");
    assert_string_equal(who(forth, "customer-2", ""), "q03 ");
    assert_string_equal(who(forth, "", ""), "q10 ");
    matcher_free(forth);
    matcher_free(back);
}

static void test_a_consistent_hash_may_be_of_a_header_or_property(void **state)
{
    (void)state;
    static const char *const names[] = {"q1", "q2", "q3", "q4"};
    struct matcher *by_header = matcher_of(MATCH_CONSISTENT_HASH, "hash-header=customer");
    struct matcher *by_id = matcher_of(MATCH_CONSISTENT_HASH, "hash-property=message_id");
    for (size_t i = 0; i < 4; i++) {
        bind(by_header, names[i], "1", "");
        bind(by_id, names[i], "1", "");
    }
    size_t headers[4] = {0}, ids[4] = {0};
    for (int i = 0; i < 400; i++) {
        char header[40], key[20], same[8];
        sprintf(header, "customer=c%d", i);
        sprintf(key, "k%d", i);
        strcpy(same, who(by_header, "one", header));
        headers[same[1] - '1']++;
        assert_string_equal(who(by_header, key, header), same);
        struct properties p = {.flags = PROPERTY_MESSAGE_ID, .message_id = text_of(key)};
        found.count = 0;
        assert_int_equal(matcher_match(by_id, text_of("k"), &p, &found), BECK_OK);
        assert_int_equal(found.count, 1);
        ids[((char *)found.values[0])[1] - '1']++;
    }
    for (size_t i = 0; i < 4; i++) {
        assert_in_range(headers[i], 60, 140);
        assert_in_range(ids[i], 60, 140);
    }
    /* Without it, they all go to one, whatever the key is. */
    char one[8];
    strcpy(one, who(by_header, "a", ""));
    assert_string_equal(who(by_header, "b", "other=1"), one);
    matcher_free(by_header);
    matcher_free(by_id);
}

static void test_modulus_and_random_take_one(void **state)
{
    (void)state;
    static const char *const names[] = {"q1", "q2", "q3", "q4"};
    struct matcher *modulus = matcher_of(MATCH_MODULUS_HASH, ""),
                   *other = matcher_of(MATCH_MODULUS_HASH, ""),
                   *random = matcher_of(MATCH_RANDOM, "");
    size_t got[2][4] = {0};
    assert_string_equal(who(modulus, "k", ""), "");
    assert_string_equal(who(random, "k", ""), "");
    for (size_t i = 0; i < 4; i++) {
        bind(modulus, names[i], "", "");
        bind(random, names[i], "", "");
        bind(other, names[3 - i], "", "");
    }
    for (int i = 0; i < 4000; i++) {
        char key[20], name[8];
        sprintf(key, "k%d", i);
        strcpy(name, who(modulus, key, ""));
        assert_string_equal(who(other, key, ""), name);
        got[0][name[1] - '1']++;
        got[1][who(random, key, "")[1] - '1']++;
    }
    for (size_t i = 0; i < 8; i++)
        assert_in_range(got[i / 4][i % 4], 800, 1200);
    for (size_t i = 0; i < 4; i++) {
        assert_true(unbind(modulus, names[i], "", ""));
        assert_true(unbind(random, names[i], "", ""));
    }
    assert_string_equal(who(modulus, "k", ""), "");
    assert_string_equal(who(random, "k", ""), "");
    matcher_free(modulus);
    matcher_free(other);
    matcher_free(random);
}

static const char *refused(enum match_type type, const char *key, const char *arguments)
{
    static char text[BROKER_TEXT];
    struct buf b;
    beck_bytes table = table_of(&b, arguments);
    text[0] = 0;
    int code = key == NULL ? match_check_exchange(type, table, text)
                           : match_check_binding(type, text_of(key), table, text);
    buf_release(&b);
    assert_int_equal(code, text[0] == 0 ? 0 : 406);
    return text;
}

static void test_wrong_arguments_and_keys_are_refused(void **state)
{
    (void)state;
    assert_string_equal(refused(MATCH_TOPIC, "anything.#", "a=1"), "");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, "10", ""), "");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, "+3", ""), "");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, "x", ""),
                        "PRECONDITION_FAILED - The binding key must be an integer: <<\"x\">>");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, "", ""),
                        "PRECONDITION_FAILED - The binding key must be an integer: <<>>");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, "0", ""),
                        "PRECONDITION_FAILED - The binding key must be greater than 0");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, "-1", ""),
                        "PRECONDITION_FAILED - The binding key must be greater than 0");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, "10001", ""),
                        "PRECONDITION_FAILED - The binding key must not exceed 10000");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, NULL, "hash-property=message_id"), "");
    assert_string_equal(refused(MATCH_CONSISTENT_HASH, NULL, "hash-property=app_id"),
                        "PRECONDITION_FAILED - Unsupported property: app_id");
    assert_string_equal(
        refused(MATCH_CONSISTENT_HASH, NULL, "hash-property=message_id hash-header=h"),
        "PRECONDITION_FAILED - hash-header and hash-property are mutually exclusive");
    assert_string_equal(refused(MATCH_HEADERS, "", "x-match=any"), "");
    assert_string_equal(refused(MATCH_HEADERS, "", "x-match=some"),
                        "PRECONDITION_FAILED - Invalid x-match field value <<\"some\">>; expected "
                        "all, any, all-with-x, or any-with-x");
    assert_string_equal(
        refused(MATCH_HEADERS, "", "x-match=1"),
        "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr");
}

/* ---- many ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The pattern with the number for each @. */
static void fill(char out[64], const char *pattern, size_t number)
{
    char *at = out;
    for (; *pattern != 0; pattern++) {
        if (*pattern == '@')
            at += sprintf(at, "%zu", number);
        else
            *at++ = *pattern;
    }
    *at = 0;
}

/* What is proportional to the number of bindings would take minutes. */
static void test_a_hundred_thousand_bindings_are_no_burden(void **state)
{
    (void)state;
    static const struct {
        enum match_type type;
        const char *name, *key, *arguments;
    } cases[] = {
        {MATCH_DIRECT, "direct", "k@", ""},
        {MATCH_DIRECT, "direct, one key", "k", ""},
        {MATCH_FANOUT, "fanout", "", ""},
        {MATCH_TOPIC, "topic", "order.@.created", ""},
        {MATCH_TOPIC, "topic, *", "order.*.n@", ""},
        {MATCH_TOPIC, "topic, #", "#.n@.#", ""},
        {MATCH_HEADERS, "headers, all", "", "format=pdf customer=@"},
        {MATCH_HEADERS, "headers, any", "", "x-match=any id=@ customer=@"},
    };
    size_t n = effort(100000, 5000), rounds = effort(100000, 2000);
    static char value[100000];
    for (size_t c = 0; c < COUNT(cases); c++) {
        struct matcher *m = matcher_of(cases[c].type, "");
        char key[64], arguments[64];
        double begin = seconds();
        bool each = strstr(cases[c].name, "one key") == NULL && cases[c].type != MATCH_FANOUT;
        for (size_t i = 0; i < n; i++) {
            fill(key, cases[c].key, i);
            fill(arguments, cases[c].arguments, i);
            bind(m, &value[i], key, arguments);
        }
        double bound = seconds();
        for (size_t i = 0; each && i < rounds; i++) {
            size_t pick = i * 7919 % n;
            fill(key, cases[c].key, pick);
            fill(arguments, "format=pdf customer=@", pick);
            if (cases[c].type == MATCH_TOPIC && strchr(cases[c].key, '#') != NULL)
                fill(key, "a.n@.b", pick);
            else if (cases[c].type == MATCH_TOPIC)
                for (char *p = key; *p != 0; p++)
                    *p = *p == '*' ? 'x' : *p;
            assert_string_equal(who(m, key, cases[c].type == MATCH_HEADERS ? arguments : ""), " ");
            assert_ptr_equal(found.values[0], &value[pick]);
        }
        double matched = seconds();
        for (size_t i = 0; i < n; i++) {
            size_t pick = i * 7919 % n;
            fill(key, cases[c].key, pick);
            fill(arguments, cases[c].arguments, pick);
            assert_true(unbind(m, &value[pick], key, arguments));
        }
        print_message("%-18s bind %5.0f ns, match %5.0f ns, unbind %5.0f ns\n", cases[c].name,
                      (bound - begin) / (double)n * 1e9,
                      each ? (matched - bound) / (double)rounds * 1e9 : 0,
                      (seconds() - matched) / (double)n * 1e9);
        assert_string_equal(who(m, key, cases[c].type == MATCH_HEADERS ? arguments : ""), "");
        matcher_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_have_names),
        cmocka_unit_test(test_direct_takes_the_equal_key),
        cmocka_unit_test(test_bindings_are_told_apart_by_their_arguments),
        cmocka_unit_test(test_topics_match_as_in_rabbitmq),
        cmocka_unit_test(test_topics_are_as_trying_each_pattern),
        cmocka_unit_test(test_many_hashes_take_no_longer_than_words_times_nodes),
        cmocka_unit_test(test_headers_match_all_or_any),
        cmocka_unit_test(test_headers_are_compared_by_value),
        cmocka_unit_test(test_headers_are_as_trying_each_rule),
        cmocka_unit_test(test_long_rules_and_messages_take_no_longer_than_their_pairs),
        cmocka_unit_test(test_a_consistent_hash_gives_each_message_to_one_by_weight),
        cmocka_unit_test(test_a_consistent_hash_is_stable),
        cmocka_unit_test(test_a_consistent_hash_may_be_of_a_header_or_property),
        cmocka_unit_test(test_modulus_and_random_take_one),
        cmocka_unit_test(test_wrong_arguments_and_keys_are_refused),
        cmocka_unit_test(test_a_hundred_thousand_bindings_are_no_burden),
    };
    return cmocka_run_group_tests(tests, NULL, release_found);
}
