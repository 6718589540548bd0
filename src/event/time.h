/* RFC 3339 timestamps <-> nanoseconds since 1970. */
#ifndef BECK_EVENT_TIME_H
#define BECK_EVENT_TIME_H

#include "base/bytes.h"

#define TIME_TEXT_MAX 36

/* Accepts what RFC 3339 section 5.6 allows: any offset, 1-9 fraction digits, t/z in either case,
 * leap second 60 (read as 59.999999999). False: not a timestamp, or outside of years 1678-2261. */
bool time_parse(beck_bytes text, int64_t *ns);
/* In UTC with Z; without a fraction, or with 3, 6 or 9 digits, as few as keep it exact. Returns the
 * length; NUL-terminated. */
size_t time_format(int64_t ns, char out[TIME_TEXT_MAX]);

/* Milliseconds as nanoseconds, or as many as there can be. */
static inline int64_t time_from_ms(int64_t ms)
{
    int64_t ns;
    return __builtin_mul_overflow(ms, 1000000, &ns) ? ms < 0 ? INT64_MIN : INT64_MAX : ns;
}

#endif
