/* Patterns: lines of text, the last of them a type. The trie finds what trying each pattern finds,
 * and is empty after all are removed. */
#include "fuzz.h"

#include "event/pattern.h"

#define PATTERNS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    beck_bytes patterns[PATTERNS_MAX];
    size_t count = 0;
    beck_bytes type = bytes_of(data, size);
    struct trie *t = trie_new();
    struct trie_matches m = {0};
    REQUIRE(t != NULL);
    for (const uint8_t *p = data, *line; type.len > 0; p = line + 1) {
        line = memchr(p, '\n', type.len);
        if (line == NULL) {
            break;
        }
        beck_bytes pattern = bytes_of(p, (size_t)(line - p));
        type = bytes_of(line + 1, type.len - pattern.len - 1);
        beck_status status = pattern_check(pattern, NULL);
        /* The value is the line: the same pattern twice has two. */
        REQUIRE(trie_add(t, pattern, (void *)(uintptr_t)p, NULL) == status ||
                count == PATTERNS_MAX);
        if (status == BECK_OK && count < PATTERNS_MAX) {
            patterns[count++] = pattern;
        } else if (status == BECK_OK) {
            REQUIRE(trie_remove(t, pattern, (void *)(uintptr_t)p));
        }
    }
    beck_status status = trie_match(t, type, &m);
    REQUIRE(status == (type.len > 255 ? BECK_EINVAL : BECK_OK));
    for (size_t i = 0; status == BECK_OK && i < count; i++) {
        size_t times = 0;
        for (size_t k = 0; k < m.count; k++) {
            times += m.values[k] == patterns[i].data;
        }
        REQUIRE(times == (pattern_match(patterns[i], type) ? 1 : 0));
    }
    for (size_t i = 0; i < count; i++) {
        REQUIRE(trie_remove(t, patterns[i], (void *)(uintptr_t)patterns[i].data));
        REQUIRE(!trie_remove(t, patterns[i], (void *)(uintptr_t)patterns[i].data));
    }
    REQUIRE(trie_match(t, bytes_of("a", 1), &m) == BECK_OK && m.count == 0);
    trie_matches_release(&m);
    trie_free(t);
    return 0;
}
