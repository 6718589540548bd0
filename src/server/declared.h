/*
 * What the configuration declares: buses, queues with their bindings, and users. What is missing is
 * made; what exists and differs in something that the configuration names is changed to it. What the
 * configuration does not name may be as it is, and nothing is ever deleted or unbound.
 *
 * declared_check says beforehand what cannot be: it changes nothing, so that buses and queues are put in
 * force as a whole or not at all. Users depend on none of them. Differences and failures are logged; the status and `err` are of
 * the first. Threads: one at a time.
 */
#ifndef BECK_SERVER_DECLARED_H
#define BECK_SERVER_DECLARED_H

#include "server/log.h"
#include "server/settings.h"

/* BECK_EEXIST: something exists and cannot become what is declared. BECK_ENOENT: a binding names a bus
 * that there is not, and that neither `buses` nor a webhook makes. */
beck_status declared_check(const struct settings *s, beck *b, struct log *log, beck_error *err);

beck_status declared_buses(const struct settings *s, beck *b, struct log *log, beck_error *err);
/* After the buses, those of webhooks too. Marks those that it made. */
beck_status declared_queues(struct settings *s, beck *b, struct log *log, beck_error *err);
/* Slow: checks passwords. before: the settings that were in force, or NULL; of a user that they had and
 * that is not declared any more there is a warning. */
beck_status declared_users(const struct settings *s, const struct settings *before,
                           struct access *access, struct log *log, beck_error *err);

#endif
