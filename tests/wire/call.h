/* Requests with JSON bodies, and what their answers must be. */
#ifndef TESTS_WIRE_CALL_H
#define TESTS_WIRE_CALL_H

#include "wire/world.h"

#include "event/json.h"

#include <stdio.h>

/* One request on an open connection; headers each with their \r\n. */
static inline void send_call(int fd, const char *method, const char *target, const char *headers,
                             const char *body)
{
    send_text(fd, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%sContent-Length: %zu\r\n\r\n%s", method,
              target, body && *body ? "Content-Type: application/json\r\n" : "", headers,
              body ? strlen(body) : 0, body ? body : "");
}

static inline struct reply call_with(const struct world *w, const char *headers, const char *method,
                                     const char *target, const char *body)
{
    struct stream_in in;
    struct reply r;
    in_open(&in, dial(w));
    send_call(in.fd, method, target, headers, body);
    if (!read_reply(&in, false, &r))
        fail_msg("%s %s: no answer", method, target);
    in_close(&in);
    if (r.len > 0 && strstr(reply_header(&r, "Content-Type"), "json") &&
        !strstr(reply_header(&r, "Content-Type"), "ndjson"))
        assert_int_equal(json_check(bytes_of(r.body, r.len), NULL), BECK_OK);
    if (r.status == 204)
        assert_int_equal(r.len, 0);
    return r;
}

static inline void check_reply(const struct reply *r, const char *what, int status,
                               const char *contains, int line)
{
    if (r->status != status || (contains && !strstr(r->body, contains)))
        fail_msg("line %d: %s gives %d %s, not %d %s", line, what, r->status, r->body, status,
                 contains ? contains : "");
}

static inline void check_at(const struct world *w, const char *headers, const char *method,
                            const char *target, const char *body, int status, const char *contains,
                            int line)
{
    struct reply r = call_with(w, headers, method, target, body);
    check_reply(&r, target, status, contains, line);
    reply_free(&r);
}
/* The status, and what the answer must contain (NULL: anything). */
#define check(w, method, target, body, status, contains)                                           \
    check_at(w, "", method, target, body, status, contains, __LINE__)
#define check_as(w, headers, method, target, body, status, contains)                               \
    check_at(w, headers, method, target, body, status, contains, __LINE__)

#endif
