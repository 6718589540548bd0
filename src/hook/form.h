/* Bodies of type application/x-www-form-urlencoded. */
#ifndef BECK_HOOK_FORM_H
#define BECK_HOOK_FORM_H

#include "base/bytes.h"

/* Decodes the first field of that name into `out`, which has room for form.len bytes, and returns
 * how many fields have the name. A "%" that begins no escape stands for itself. */
size_t form_field(beck_bytes form, const char *name, uint8_t *out, size_t *len);

#endif
