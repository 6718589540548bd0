/*
 * Matching a type against 10,000 patterns in the trie, without any cache in front of it.
 *
 * Types are those of 400 services with 20 kinds of things and 10 verbs, in an order that the
 * processor cannot predict. Exact: 10,000 of these types. Wildcards: everything about each kind of
 * each service (8,000), each service (400), each kind and verb everywhere (200), each verb of the
 * kinds of some services (1,400): a type matches three or four of them.
 */
#include "bench.h"
#include "event/pattern.h"

#include <stdio.h>

#define PATTERNS 10000
#define TYPES 4096
#define SERVICES 400
#define KINDS 20
#define VERBS 10

static char types[TYPES][64];
static int marker;
static uint32_t random_state = 1;

static uint32_t roll(uint32_t below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % below;
}

/* One of `count` types, numbered so that the first ones have few verbs. */
static void name_type(char *out, size_t size, uint32_t number)
{
    snprintf(out, size, "service%u.kind%u.verb%u", number % SERVICES, number / SERVICES % KINDS,
             number / SERVICES / KINDS % VERBS);
}

static void make_types(uint32_t count)
{
    for (int i = 0; i < TYPES; i++)
        name_type(types[i], sizeof types[i], roll(count));
}

static void add(struct trie *t, const char *pattern)
{
    beck_error err;
    bench_ok(trie_add(t, beck_str(pattern), &marker, &err), &err);
}

static void add_wildcards(struct trie *t)
{
    char pattern[64];
    for (uint32_t i = 0; i < PATTERNS; i++) {
        uint32_t service = i % SERVICES, kind = i / SERVICES % KINDS;
        if (i < 8000)
            snprintf(pattern, sizeof pattern, "service%u.kind%u.*", service, kind);
        else if (i < 8400)
            snprintf(pattern, sizeof pattern, "service%u.#", service);
        else if (i < 8600)
            snprintf(pattern, sizeof pattern, "*.kind%u.verb%u", i % KINDS, i / KINDS % VERBS);
        else
            snprintf(pattern, sizeof pattern, "service%u.*.verb%u", i / VERBS % SERVICES,
                     i % VERBS);
        add(t, pattern);
    }
}

static void add_exacts(struct trie *t)
{
    char pattern[64];
    for (uint32_t i = 0; i < PATTERNS; i++) {
        name_type(pattern, sizeof pattern, i);
        add(t, pattern);
    }
}

static void measure(const char *id, void (*fill)(struct trie *t), uint32_t type_count)
{
    if (!bench_wants(id))
        return;
    size_t count = bench_count(5000000), found = 0;
    struct trie *t = trie_new();
    struct trie_matches matches = {0};
    beck_bytes list[TYPES];
    bench_must(t != NULL, "trie_new");
    fill(t);
    make_types(type_count);
    for (int i = 0; i < TYPES; i++)
        list[i] = beck_str(types[i]);
    for (int i = 0; i < TYPES; i++)
        trie_match(t, list[i], &matches);
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i++) {
        trie_match(t, list[i % TYPES], &matches);
        found += matches.count;
    }
    struct stopwatch took = stopwatch_since(start);
    bench_must(found >= count, "too few matches");
    bench_report_each(id, count, took, "memory");
    trie_matches_release(&matches);
    trie_free(t);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    measure("match.wildcard_10k", add_wildcards, SERVICES * KINDS * VERBS);
    measure("match.exact_10k", add_exacts, PATTERNS);
    return 0;
}
