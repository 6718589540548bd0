/* Members of JSON as attributes of an event: the checks that both forms share. Every function
 * refuses with an error that names the member, its byte and what is expected. */
#ifndef BECK_EVENT_ATTRIBUTE_H
#define BECK_EVENT_ATTRIBUTE_H

#include "event/document.h"
#include "event/member.h"

/* A string of 1-1024 bytes without control characters. */
beck_status attribute_text(const beck_document *d, const struct member *m, beck_bytes *out,
                           beck_error *err);
beck_status attribute_type(const beck_document *d, const struct member *m, beck_bytes *out,
                           beck_error *err);
/* An RFC 3339 timestamp; never 0 (see EPOCH_NS). */
beck_status attribute_ns(const beck_document *d, const struct member *m, int64_t *out,
                         beck_error *err);
/* The same in milliseconds, rounded up; after the first instant of 1970. */
beck_status attribute_ms(const beck_document *d, const struct member *m, int64_t *out,
                         beck_error *err);
/* An extension: string, boolean or 32-bit integer, as text of at most `max` bytes. */
beck_status attribute_extension(const beck_document *d, const struct member *m, size_t max,
                                beck_bytes *out, beck_error *err);
/* `data` and `data_base64`, either may be NULL: what they give depends on the content type of `e`,
 * which is set already. */
beck_status attribute_data(const beck_document *d, const struct member *data,
                           const struct member *base64, beck_event *e, beck_error *err);

#endif
