/*
 * What the configuration declares: buses, queues with their bindings, and users. They are made when
 * they are missing. What exists and differs in something that the configuration names is refused, as
 * nothing of a bus or queue can be changed in place; what the configuration does not name may be as it
 * is. Users that exist stay as they are.
 */
#ifndef BECK_SERVER_DECLARED_H
#define BECK_SERVER_DECLARED_H

#include "server/log.h"
#include "server/settings.h"

/* Makes everything that is missing. Differences and failures are logged as errors; the status and
 * `err` are of the first. */
beck_status declared_apply(const struct settings *s, beck *b, struct access *access,
                           struct log *log, beck_error *err);

#endif
