/*
 * Names of AMQP (any bytes, at most 255, in a vhost) as names of the engine (1-249 of [A-Za-z0-9._-]).
 *
 * In the vhost "/" a legal name is used as it is. Any other becomes "<sanitized>--<hash>": its vhost and name
 * with what is not legal replaced and cut, and 32 hexadecimal digits of SipHash over both. A legal name that
 * looks like one of these is hashed as well, so that no two names meet.
 */
#ifndef BECK_BROKER_NAMES_H
#define BECK_BROKER_NAMES_H

#include "base/bytes.h"

#define ENGINE_NAME 250 /* with its NUL */

void engine_name(beck_bytes vhost, beck_bytes name, char out[ENGINE_NAME]);
/* Whether a bus or queue of the engine with this name may be one that others made, to be seen in the vhost "/"
 * under its own name: neither hashed nor of the broker ("amq."), nor the library's own. */
bool engine_name_is_free(const char *name);

/* "amq.gen-" and 22 url-safe characters, as RabbitMQ names queues ("amq.ctag-" consumers). */
#define GENERATED_NAME 40
beck_status generated_name(const char *prefix, char out[GENERATED_NAME], beck_error *err);

#endif
