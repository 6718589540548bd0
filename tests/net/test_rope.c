/* Ropes against a model: whatever is put in comes out, in order, and references are given back. */
#include "base/rng.h"
#include "net/addresses.h"
#include "net/common.h"
#include "net/rope.h"

#define CONTENT (1 << 20)

struct world {
    struct rng rng;
    struct rope rope;
    struct piece_cache cache;
    uint8_t *content; /* of everything: byte i of the stream is content[i % CONTENT] */
    size_t put, taken;
    int references, released, file;
};

static void count_release(void *ctx)
{
    ++*(int *)ctx;
}

static void make(struct world *w, uint64_t seed)
{
    *w = (struct world){.content = malloc(CONTENT)};
    rng_seed(&w->rng, seed);
    for (size_t i = 0; i < CONTENT; i++)
        w->content[i] = (uint8_t)rng_next(&w->rng);
    char path[] = "/tmp/beck-test-net-XXXXXX";
    w->file = mkstemp(path);
    unlink(path);
    assert_int_equal(write(w->file, w->content, CONTENT), CONTENT);
}

static void drop(struct world *w)
{
    rope_release(&w->rope, &w->cache);
    piece_cache_release(&w->cache);
    assert_int_equal(w->references, w->released);
    close(w->file);
    free(w->content);
}

static void put(struct world *w)
{
    size_t at = w->put % CONTENT, left = CONTENT - at;
    size_t len = rng_below(&w->rng, 1 + (rng_below(&w->rng, 4) ? 300 : 60000));
    len = len < left ? len : left;
    const uint8_t *from = w->content + at;
    switch (rng_below(&w->rng, 4)) {
    case 0:
        assert_true(rope_append(&w->rope, &w->cache, from, len));
        break;
    case 1:
        w->references++;
        assert_true(rope_append_memory(&w->rope, &w->cache, bytes_of(from, len), count_release,
                                       &w->released));
        break;
    case 2:
        w->references++;
        assert_true(
            rope_append_file(&w->rope, w->file, (int64_t)at, len, count_release, &w->released));
        break;
    default:
        memcpy(rope_reserve(&w->rope, &w->cache, len + rng_below(&w->rng, 100)), from, len);
        rope_commit(&w->rope, len);
    }
    w->put += len;
}

static void compare(struct world *w, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != w->content[(w->taken + i) % CONTENT])
            fail_msg("byte %zu", w->taken + i);
    w->taken += len;
}

static void what_is_put_in_comes_out(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        uint8_t space[5000];
        make(&w, seed);
        for (int i = 0; i < 3000; i++) {
            if (w.rope.len == 0 || rng_below(&w.rng, 2)) {
                put(&w);
                continue;
            }
            beck_bytes first = rope_peek(&w.rope, space, 1 + rng_below(&w.rng, sizeof space));
            assert_true(first.len > 0);
            uint8_t copy[5000];
            memcpy(copy, first.data, first.len);
            rope_drop(&w.rope, &w.cache, first.len);
            compare(&w, copy, first.len);
            assert_int_equal(w.rope.len, w.put - w.taken);
        }
        drop(&w);
    }
}

static void what_is_put_in_is_sent(void **state)
{
    (void)state;
    static uint8_t got[1 << 16];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w;
        int ends[2];
        make(&w, seed);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        for (int i = 0; i < 3000; i++) {
            size_t sent = 0, before = w.rope.len;
            put(&w);
            if (rng_below(&w.rng, 3) == 0) {
                enum rope_sent result = rope_send(&w.rope, &w.cache, ends[0], &sent);
                assert_int_not_equal(result, ROPE_FAILED);
                assert_int_equal(result == ROPE_EMPTY, w.rope.len == 0);
                assert_true(sent <= before + 60001);
            }
            ssize_t n = rng_below(&w.rng, 3) ? recv(ends[1], got, sizeof got, 0) : 0;
            if (n > 0)
                compare(&w, got, (size_t)n);
        }
        close(ends[0]);
        close(ends[1]);
        drop(&w);
    }
}

static void a_peer_that_is_gone_fails_and_raises_no_signal(void **state)
{
    (void)state;
    struct world w;
    int ends[2];
    size_t sent = 0;
    make(&w, 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    close(ends[1]);
    assert_true(rope_append(&w.rope, &w.cache, "x", 1));
    assert_int_equal(rope_send(&w.rope, &w.cache, ends[0], &sent), ROPE_FAILED);
    assert_int_equal(errno, EPIPE);
    close(ends[0]);
    drop(&w);
}

/* ---- addresses ---- */

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage out = {0};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(7)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(7)};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        memcpy(&out, &v4, sizeof v4);
    else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
        memcpy(&out, &v6, sizeof v6);
    else
        out.ss_family = AF_UNIX;
    return out;
}

static void peers_are_named_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        const char *from, *text;
        bool loopback;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1", true},        {"127.8.0.1", "127.8.0.1", true},
        {"192.0.2.1", "192.0.2.1", false},       {"::1", "::1", true},
        {"2001:db8::1", "2001:db8::1", false},   {"::ffff:192.0.2.1", "192.0.2.1", false},
        {"::ffff:127.0.0.1", "127.0.0.1", true}, {"", "unix", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sockaddr_storage from = address(cases[i].from);
        struct net_peer peer;
        uint8_t key[ADDRESS_KEY_SIZE];
        address_of(&from, &peer, key);
        assert_string_equal(peer.address, cases[i].text);
        assert_int_equal(peer.loopback, cases[i].loopback);
        assert_int_equal(peer.port, cases[i].from[0] ? 7 : 0);
    }
}

static bool same_key(const char *a, const char *b)
{
    struct sockaddr_storage from[2] = {address(a), address(b)};
    struct net_peer peer;
    uint8_t keys[2][ADDRESS_KEY_SIZE];
    address_of(&from[0], &peer, keys[0]);
    address_of(&from[1], &peer, keys[1]);
    return memcmp(keys[0], keys[1], ADDRESS_KEY_SIZE) == 0;
}

static void addresses_of_one_network_count_together(void **state)
{
    (void)state;
    assert_true(same_key("2001:db8::1", "2001:db8::ffff:2"));
    assert_false(same_key("2001:db8::1", "2001:db8:0:1::1"));
    assert_true(same_key("::ffff:192.0.2.1", "192.0.2.1"));
    assert_false(same_key("192.0.2.1", "192.0.2.2"));
}

static void addresses_are_counted(void **state)
{
    (void)state;
    enum { KEYS = 5000 };
    struct addresses *a = addresses_new();
    struct rng rng;
    static uint32_t counts[KEYS];
    rng_seed(&rng, 1);
    for (int i = 0; i < 200000; i++) {
        uint64_t n = rng_below(&rng, KEYS);
        uint8_t key[ADDRESS_KEY_SIZE] = {0};
        memcpy(key, &n, sizeof n);
        if (counts[n] > 0 && rng_below(&rng, 2)) {
            addresses_leave(a, key);
            counts[n]--;
        } else {
            assert_int_equal(addresses_enter(a, key, 3), counts[n] < 3);
            counts[n] += counts[n] < 3;
        }
    }
    for (uint64_t n = 0; n < KEYS; n++) {
        uint8_t key[ADDRESS_KEY_SIZE] = {0};
        memcpy(key, &n, sizeof n);
        while (counts[n] > 0) {
            addresses_leave(a, key);
            counts[n]--;
        }
    }
    addresses_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_in_comes_out),
        cmocka_unit_test(what_is_put_in_is_sent),
        cmocka_unit_test(a_peer_that_is_gone_fails_and_raises_no_signal),
        cmocka_unit_test(peers_are_named_as_people_write_them),
        cmocka_unit_test(addresses_of_one_network_count_together),
        cmocka_unit_test(addresses_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
