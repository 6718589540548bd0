/* How much a test does. A sanitizer makes each step ten times as slow, and finds in a few rounds what
 * it finds: whatever is for the sake of rare random choices is done in full in plain runs only. */
#ifndef TESTS_SUPPORT_EFFORT_H
#define TESTS_SUPPORT_EFFORT_H

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static inline uint64_t effort(uint64_t plain, uint64_t sanitized)
{
    return SANITIZED ? sanitized : plain;
}

#endif
