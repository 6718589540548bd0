/* Values as people write them on the command line, read and printed. */
#ifndef BECK_EVENT_VALUE_H
#define BECK_EVENT_VALUE_H

#include "base/bytes.h"

/* 10ms, 5s, 2m, 1h, 7d, or several together (1h30m), or 0. False: not a duration. */
bool value_duration(const char *text, int64_t *ms);
/* 4096, 64k, 1m, 1g, 2t, in steps of 1,024. */
bool value_size(const char *text, int64_t *bytes);
/* A whole number with an optional minus. */
bool value_number(const char *text, int64_t *number);
/* RFC 3339; "YYYY-MM-DD[ HH:MM[:SS]]" and "HH:MM[:SS]" (today) in local time; "-10m" and "+10m"
 * from now; "now". */
bool value_time(const char *text, int64_t now_ns, int64_t *ns);
/* now, earliest, an offset, or a time. */
bool value_from(const char *text, int64_t now_ns, beck_from *from);
/* none, fixed:1s, exponential:1s..1h, list:1s,5s,1m. */
bool value_backoff(const char *text, beck_backoff *backoff);

#define VALUE_TEXT_MAX 48

/* "1h30m", "250ms"; -1 gives "never". What value_duration reads. */
void value_duration_text(int64_t ms, char out[VALUE_TEXT_MAX]);
/* For people: "17 B", "1.4 MiB". */
void value_size_text(int64_t bytes, char out[VALUE_TEXT_MAX]);
/* For people: 1,234,567. */
void value_number_text(int64_t number, char out[VALUE_TEXT_MAX]);
/* For people, in local time: "14:30:05.123" today, "2026-11-20 14:30:05" on another day. */
void value_time_text(int64_t ns, int64_t now_ns, char out[VALUE_TEXT_MAX]);
/* What value_backoff reads. */
beck_status value_backoff_text(const beck_backoff *backoff, struct buf *out);

#endif
