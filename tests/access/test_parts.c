/* The parts of access control alone: patterns, records, secrets, the limiter and the cache. */
#include "access/common.h"

#include "access/known.h"
#include "access/limiter.h"
#include "access/user.h"
#include "base/rng.h"

/* ---- patterns ---- */

static void a_star_stands_for_any_characters(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        {"orders", "orders", true},
        {"orders", "order", false},
        {"order", "orders", false},
        {"*", "orders", true},
        {"*", "", true},
        {"orders.*", "orders.", true},
        {"orders.*", "orders.eu.x", true},
        {"orders.*", "orders", false},
        {"*.eu", "orders.eu", true},
        {"*.eu", "orders.eu.x", false},
        {"a*b*c", "abc", true},
        {"a*b*c", "a-b-b-c", true},
        {"a*b*c", "acb", false},
        {"**", "x", true},
        {"*ab", "aab", true},
        {"*aab*", "aaab", true},
        {"a*", "b", false},
        {"", "", true},
        {"", "a", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (user_pattern_matches(cases[i].pattern, cases[i].name) != cases[i].matches)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].name);
}

static bool matches_slowly(const char *pattern, const char *name)
{
    if (*pattern == '*')
        return matches_slowly(pattern + 1, name) || (*name && matches_slowly(pattern, name + 1));
    return *pattern == *name && (*pattern == 0 || matches_slowly(pattern + 1, name + 1));
}

static void patterns_match_as_their_definition_says(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (int n = 0; n < 200000; n++) {
        char pattern[9] = {0}, name[9] = {0};
        for (uint64_t i = rng_below(&rng, 9); i > 0; i--)
            pattern[i - 1] = "ab*"[rng_below(&rng, 3)];
        for (uint64_t i = rng_below(&rng, 9); i > 0; i--)
            name[i - 1] = "ab"[rng_below(&rng, 2)];
        if (user_pattern_matches(pattern, name) != matches_slowly(pattern, name))
            fail_msg("'%s' and '%s'", pattern, name);
    }
}

static void a_hard_pattern_takes_no_time(void **state)
{
    (void)state;
    char pattern[250], name[250];
    for (size_t i = 0; i < sizeof pattern - 1; i++)
        pattern[i] = i % 2 ? '*' : 'a';
    pattern[sizeof pattern - 2] = 'b';
    pattern[sizeof pattern - 1] = 0;
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_false(user_pattern_matches(pattern, name));
}

/* ---- records ---- */

static void check_same(const struct identity *a, const struct identity *b)
{
    struct buf x, y;
    buf_init(&x, 1 << 20);
    buf_init(&y, 1 << 20);
    must(user_write(a, &x));
    must(user_write(b, &y));
    assert_true(bytes_equal(buf_bytes(&x), buf_bytes(&y)));
    buf_release(&x);
    buf_release(&y);
}

static void a_record_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct password password = {.log_n = 15, .salt = {1, 2}, .hash = {3, [31] = 255}};
    struct password with_scram;
    must(password_make(beck_str("secret"), CHEAP, &with_scram, &err));
    struct access_rule rules[] = {{ACCESS_BUS, "orders.*", ACCESS_PUBLISH | ACCESS_READ},
                                  {ACCESS_QUEUE, "*", ACCESS_WORK},
                                  {ACCESS_SERVER, NULL, ACCESS_ADMIN}};
    char ci[] = "ci", laptop[] = "laptop";
    struct token tokens[] = {{.name = ci, .digest = {9}}, {.name = laptop, .digest = {[31] = 8}}};
    struct identity *full = identity_new("ada", &password, "a,b", rules, 3, tokens, 2),
                    *read = NULL;
    struct identity *empty = identity_new("ada", NULL, "", NULL, 0, NULL, 0);
    struct identity *scram = identity_new("ada", &with_scram, "", NULL, 0, NULL, 0);
    struct identity *all[] = {full, empty, scram};
    for (int i = 0; i < 3; i++) {
        struct buf json;
        buf_init(&json, 1 << 20);
        must(user_write(all[i], &json));
        must(user_read("ada", buf_bytes(&json), &read, &err));
        check_same(all[i], read);
        assert_int_equal(read->password.has_scram, all[i] == scram);
        assert_string_equal(identity_name(read), "ada");
        identity_release(read);
        buf_release(&json);
    }
    identity_release(full);
    identity_release(empty);
    identity_release(scram);
}

static void members_that_are_not_known_are_stepped_over(void **state)
{
    (void)state;
    struct identity *i = NULL;
    must(user_read("ada",
                   beck_str("{\"later\":{\"a\":[1]},\"rules\":[{\"bus\":\"b\",\"also\":[],"
                            "\"rights\":[\"read\"]}]}"),
                   &i, &err));
    assert_true(identity_may(i, ACCESS_READ, ACCESS_BUS, "b"));
    identity_release(i);
}

static void what_is_no_record_is_refused(void **state)
{
    (void)state;
    static const char *const records[] = {
        "",
        "[]",
        "{",
        "{}{}",
        "{\"password\":\"plain\"}",
        "{\"password\":1}",
        "{\"scram-sha-256\":\"0:AAAAAAAAAAAAAAAAAAAAAA==:AAAA:AAAA\"}",
        "{\"scram-sha-512\":1}",
        "{\"password\":\"scrypt:99:AAAAAAAAAAAAAAAAAAAAAA==:AAAA\"}",
        "{\"rules\":{}}",
        "{\"rules\":[{\"bus\":\"b\"}]}",
        "{\"rules\":[{\"bus\":\"b\",\"bus\":\"c\",\"rights\":[\"read\"]}]}",
        "{\"rules\":[{\"bus\":\"b\",\"rights\":[\"fly\"]}]}",
        "{\"rules\":[{\"bus\":\"b\",\"rights\":[\"work\"]}]}",
        "{\"rules\":[{\"bus\":\"b c\",\"rights\":[\"read\"]}]}",
        "{\"tokens\":[{\"name\":\"a\"}]}",
        "{\"tokens\":[{\"sha256\":\"AAAA\",\"name\":\"a\"}]}",
        "{\"tokens\":[{\"name\":\"a\",\"name\":\"b\"}]}",
    };
    for (size_t n = 0; n < sizeof records / sizeof *records; n++) {
        struct identity *i = NULL;
        beck_error err = {0};
        if (user_read("ada", beck_str(records[n]), &i, &err) != BECK_ECORRUPT)
            fail_msg("%s", records[n]);
    }
    struct identity *i = NULL;
    refused(user_read("a b", beck_str("{}"), &i, &err), BECK_ECORRUPT, "a b");
}

static void more_rules_than_there_may_be_are_refused_when_read(void **state)
{
    (void)state;
    struct buf json;
    struct identity *i = NULL;
    buf_init(&json, 1 << 20);
    must(buf_append_text(&json, "{\"rules\":["));
    for (int n = 0; n <= ACCESS_RULES_MAX; n++)
        must(buf_printf(&json, "%s{\"queue\":\"q\",\"rights\":[\"read\"]}", n ? "," : ""));
    must(buf_append_text(&json, "]}"));
    refused(user_read("ada", buf_bytes(&json), &i, &err), BECK_ECORRUPT, "ada");
    buf_release(&json);
}

/* ---- secrets ---- */

/* The text was made by another implementation of scrypt (RFC 7914). */
static void a_password_is_hashed_as_the_standard_says(void **state)
{
    (void)state;
    static const char text[] = "scrypt:14:U29kaXVtQ2hsb3JpZGVYWQ==:N"
                               "wLRDxFkxNVA3XShfJD4Wwpr+nJK2CYXfmZ+rEB/pzQ=";
    struct password p;
    struct buf again;
    bool right = false;
    assert_true(password_read(beck_str(text), &p));
    must(password_check(&p, beck_str("pleaseletmein"), &right, &err));
    assert_true(right);
    must(password_check(&p, beck_str("pleaseletmeim"), &right, &err));
    assert_false(right);
    buf_init(&again, 1024);
    must(password_write(&p, &again));
    assert_true(bytes_equal_text(buf_bytes(&again), text));
    buf_release(&again);
}

/* The keys were made by another implementation, of "pencil" (the example of RFC 7677). */
static void keys_of_scram_are_as_the_standard_says(void **state)
{
    (void)state;
    static const char text[] = "4096:W22ZaJ0SNY7soEsUEjb6gQ==:"
                               "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                               "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    static const uint8_t salted[32] = {0xc4, 0xa4, 0x95, 0x10, 0x32, 0x3a, 0xb4, 0xf9,
                                       0x52, 0xca, 0xc1, 0xfa, 0x99, 0x44, 0x19, 0x39,
                                       0xe7, 0x8e, 0xa7, 0x4d, 0x6b, 0xe8, 0x1d, 0xdf,
                                       0x70, 0x96, 0xe8, 0x75, 0x13, 0xdc, 0x61, 0x5d};
    struct access_scram expected, made;
    struct buf again;
    assert_true(scram_read(beck_str(text), SCRAM_HASH_256, &expected));
    assert_true(scram_derive(SCRAM_HASH_256, (beck_bytes){salted, sizeof salted}, &made));
    assert_memory_equal(made.stored_key, expected.stored_key, 32);
    assert_memory_equal(made.server_key, expected.server_key, 32);
    assert_false(scram_read(beck_str(text), SCRAM_HASH_512, &made));
    buf_init(&again, 1024);
    must(scram_write(&expected, SCRAM_HASH_256, &again));
    assert_true(bytes_equal_text(buf_bytes(&again), text));
    buf_release(&again);
}

static void the_same_password_has_another_hash_each_time(void **state)
{
    (void)state;
    struct password a, b;
    must(password_make(beck_str("secret"), CHEAP, &a, &err));
    must(password_make(beck_str("secret"), CHEAP, &b, &err));
    assert_memory_not_equal(a.salt, b.salt, sizeof a.salt);
    assert_memory_not_equal(a.hash, b.hash, sizeof a.hash);
}

static void a_token_is_text_of_its_length_and_never_the_same(void **state)
{
    (void)state;
    char seen[64][ACCESS_TOKEN_SIZE];
    uint8_t digest[SECRET_DIGEST], again[SECRET_DIGEST];
    for (int i = 0; i < 64; i++) {
        must(token_make(seen[i], digest, &err));
        assert_int_equal(strlen(seen[i]), ACCESS_TOKEN_SIZE - 1);
        assert_int_equal(strspn(seen[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789-_"),
                         ACCESS_TOKEN_SIZE - 1);
        token_digest(beck_str(seen[i]), again);
        assert_true(secret_equal(digest, again));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(seen[i], seen[j]);
    }
}

/* ---- the limiter ---- */

#define SECOND INT64_C(1000000000)

static void an_address_waits_for_the_end_of_its_window(void **state)
{
    (void)state;
    struct limiter *l = limiter_new(3, 10000);
    int64_t wait = -1;
    for (int i = 0; i < 3; i++) {
        assert_true(limiter_allows(l, "192.0.2.1", i * SECOND, &wait));
        limiter_failed(l, "192.0.2.1", i * SECOND);
    }
    assert_int_equal(wait, -1);
    assert_false(limiter_allows(l, "192.0.2.1", 3 * SECOND, &wait));
    assert_int_equal(wait, 7000);
    assert_true(limiter_allows(l, "192.0.2.2", 3 * SECOND, NULL));
    assert_false(limiter_allows(l, "192.0.2.1", 10 * SECOND - 1, &wait));
    assert_int_equal(wait, 1);
    assert_true(limiter_allows(l, "192.0.2.1", 10 * SECOND, NULL));
    limiter_free(l);
}

static void addresses_of_one_network_count_together(void **state)
{
    (void)state;
    static const struct {
        const char *failed, *asked;
        bool allowed;
    } cases[] = {
        {"2001:db8::1", "2001:db8::2", false},
        {"2001:db8::1", "2001:db8:0:0:ffff::2", false},
        {"2001:db8::1", "2001:db8:0:1::1", true},
        {"192.0.2.1", "::ffff:192.0.2.1", false},
        {"192.0.2.1", "192.0.2.2", true},
        {"::1", "0.0.0.1", true},
        {"unix", "unix", false},
        {"unix", "fe80::1%eth0", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct limiter *l = limiter_new(1, 1000);
        limiter_failed(l, cases[i].failed, 1);
        if (limiter_allows(l, cases[i].asked, 2, NULL) != cases[i].allowed)
            fail_msg("%s and %s", cases[i].failed, cases[i].asked);
        limiter_free(l);
    }
}

/* Many addresses that fail once do not make it forget one that failed often. */
static void a_flood_of_addresses_frees_nobody(void **state)
{
    (void)state;
    struct limiter *l = limiter_new(5, 60000);
    for (int i = 0; i < 5; i++)
        limiter_failed(l, "192.0.2.1", SECOND);
    for (uint32_t i = 0; i < 100000; i++) {
        char address[32];
        snprintf(address, sizeof address, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        limiter_failed(l, address, SECOND);
    }
    assert_false(limiter_allows(l, "192.0.2.1", SECOND, NULL));
    limiter_free(l);
}

/* ---- passwords that were right a moment ago ---- */

static void a_password_is_known_for_a_minute(void **state)
{
    (void)state;
    struct known *k;
    struct identity *ada = identity_new("ada", NULL, "", NULL, 0, NULL, 0), *found;
    must(known_new(&k, &err));
    known_add(k, ada, beck_str("pw"), 0);
    found = known_find(k, beck_str("ada"), beck_str("pw"), 60 * SECOND - 1);
    assert_ptr_equal(found, ada);
    identity_release(found);
    assert_null(known_find(k, beck_str("ada"), beck_str("pW"), 1));
    assert_null(known_find(k, beck_str("ad"), beck_str("apw"), 1));
    assert_null(known_find(k, beck_str("adap"), beck_str("w"), 1));
    assert_null(known_find(k, beck_str("ada"), beck_str("pw"), 60 * SECOND));
    known_free(k);
    identity_release(ada);
}

static void a_changed_user_is_not_known(void **state)
{
    (void)state;
    struct known *k;
    struct identity *ada = identity_new("ada", NULL, "", NULL, 0, NULL, 0);
    must(known_new(&k, &err));
    known_add(k, ada, beck_str("pw"), 0);
    atomic_store(&ada->stale, true);
    assert_null(known_find(k, beck_str("ada"), beck_str("pw"), 1));
    known_free(k);
    assert_int_equal(atomic_load(&ada->refs), 1);
    identity_release(ada);
}

static void what_is_known_is_bounded(void **state)
{
    (void)state;
    struct known *k;
    struct identity *ada = identity_new("ada", NULL, "", NULL, 0, NULL, 0);
    int found = 0;
    must(known_new(&k, &err));
    for (int i = 0; i < 5000; i++) {
        char password[16];
        snprintf(password, sizeof password, "%d", i);
        known_add(k, ada, beck_str(password), i);
        struct identity *last = known_find(k, beck_str("ada"), beck_str(password), i);
        assert_non_null(last);
        identity_release(last);
    }
    for (int i = 0; i < 5000; i++) {
        char password[16];
        snprintf(password, sizeof password, "%d", i);
        struct identity *user = known_find(k, beck_str("ada"), beck_str(password), 5000);
        found += user != NULL;
        identity_release(user);
    }
    assert_in_range(found, 512, 1024);
    assert_int_equal(atomic_load(&ada->refs), 1 + found);
    known_free(k);
    assert_int_equal(atomic_load(&ada->refs), 1);
    identity_release(ada);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_star_stands_for_any_characters),
        cmocka_unit_test(patterns_match_as_their_definition_says),
        cmocka_unit_test(a_hard_pattern_takes_no_time),
        cmocka_unit_test(a_record_is_read_as_it_was_written),
        cmocka_unit_test(members_that_are_not_known_are_stepped_over),
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(more_rules_than_there_may_be_are_refused_when_read),
        cmocka_unit_test(a_password_is_hashed_as_the_standard_says),
        cmocka_unit_test(keys_of_scram_are_as_the_standard_says),
        cmocka_unit_test(the_same_password_has_another_hash_each_time),
        cmocka_unit_test(a_token_is_text_of_its_length_and_never_the_same),
        cmocka_unit_test(an_address_waits_for_the_end_of_its_window),
        cmocka_unit_test(addresses_of_one_network_count_together),
        cmocka_unit_test(a_flood_of_addresses_frees_nobody),
        cmocka_unit_test(a_password_is_known_for_a_minute),
        cmocka_unit_test(a_changed_user_is_not_known),
        cmocka_unit_test(what_is_known_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
