/* What the tests of this layer share: requests put together by hand, and signatures for them. */
#ifndef TESTS_HOOK_COMMON_H
#define TESTS_HOOK_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <cmocka.h>

#include "hook/certificates.h"
#include "hook/hook.h"
#include "hook/mac.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define NOW_S 1773480413
#define NOW_NS (NOW_S * 1000000000LL)

static inline void assert_bytes(beck_bytes actual, const char *expected)
{
    if (!bytes_equal_text(actual, expected))
        fail_msg("got \"%.*s\", expected \"%s\"", (int)actual.len, (const char *)actual.data,
                 expected);
}

static inline void assert_outcome(enum hook_outcome outcome, const struct hook_result *result,
                                  enum hook_reason reason)
{
    if (result->reason != reason)
        fail_msg("reason %s, expected %s", hook_reason_name(result->reason),
                 hook_reason_name(reason));
    assert_int_equal(outcome == HOOK_REFUSED, reason != HOOK_FINE);
}

static inline struct hook *make_hook(const struct hook_source *source)
{
    struct hook *h = NULL;
    beck_error err = {0};
    if (hook_new(source, NULL, &h, &err))
        fail_msg("%s", err.text);
    return h;
}

/* A POST with these headers: name, value, name, value ... NULL. */
struct post {
    struct hook_header headers[24];
    struct hook_request request;
};

static inline void post_header(struct post *p, const char *name, const char *value)
{
    assert_true(p->request.header_count < COUNT(p->headers));
    p->headers[p->request.header_count++] = (struct hook_header){name, value};
}

static inline void post_init(struct post *p, const char *body)
{
    p->request = (struct hook_request){
        .method = "POST", .headers = p->headers, .body = beck_str(body), .now_ns = NOW_NS};
}

/* "<prefix><signature>" in `out`. */
static inline const char *sign(const char *secret, enum hook_digest digest,
                               enum hook_encoding encoding, const char *prefix, beck_bytes content,
                               char out[256])
{
    struct mac mac;
    uint8_t value[MAC_SIZE_MAX];
    char text[MAC_TEXT_MAX];
    assert_int_equal(mac_init(&mac, digest, beck_str(secret), NULL), BECK_OK);
    size_t len = mac_run(&mac, &content, 1, value);
    assert_true(len > 0);
    mac_text(value, len, encoding, text);
    mac_release(&mac);
    snprintf(out, 256, "%s%s", prefix, text);
    return out;
}

#endif
