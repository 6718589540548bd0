/* Events in the binary mode of CloudEvents over HTTP: attributes in headers, data in the body. */
#ifndef BECK_EVENT_BINARY_H
#define BECK_EVENT_BINARY_H

#include "base/bytes.h"

/* Takes one ce-* header into the event; `name` is without the prefix. Name and value are changed in place
 * (name: lower case; value: percent-decoded, binding section 3.1.3.2) and must live as long as the event.
 * extensions: room for `max` of those. BECK_EINVAL: the value is none for that attribute, or the header came
 * before; BECK_ELIMIT: an extension too many. Attributes that are missing, and what the event is as a
 * whole, are for the caller to check. */
beck_status binary_read_header(beck_event *e, beck_attribute *extensions, size_t max, char *name,
                               char *value, beck_error *err);

#endif
