/*
 * Regular expressions as RabbitMQ takes them: Perl's, over bytes, searched anywhere in a name. The effort of a
 * search is bounded; one that takes more finds nothing. Immutable: any thread may search.
 */
#ifndef BECK_BROKER_REGEX_H
#define BECK_BROKER_REGEX_H

#include "base/bytes.h"

#define REGEX_MAX 1024 /* bytes */

struct regex;
/* NULL: BECK_EINVAL ("{"missing closing parenthesis",4}", what is wrong and at which byte), BECK_ELIMIT (longer
 * than REGEX_MAX), BECK_ENOMEM. */
struct regex *regex_new(beck_bytes pattern, beck_error *err);
void regex_free(struct regex *r); /* NULL allowed */
bool regex_find(const struct regex *r, beck_bytes subject);

#endif
