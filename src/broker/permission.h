/*
 * What a user may do in a virtual host: three regular expressions (PCRE2, searched anywhere in a name), compiled
 * once. The default exchange is asked as "amq.default"; an empty expression matches the empty name only, so
 * nothing. An expression that takes too long, or does not compile, allows nothing.
 *
 * Threads: a permits is immutable; any thread may ask.
 */
#ifndef BECK_BROKER_PERMISSION_H
#define BECK_BROKER_PERMISSION_H

#include "broker/broker_impl.h"

struct permission_rules {
    beck_bytes configure, write, read;
};
/* Of one topic exchange; those that have none are free. {username} and {vhost} stand for these, literally. */
struct topic_rules {
    beck_bytes exchange, write, read;
};

/* An expression that can be used (regex.h): BECK_OK; BECK_EINVAL with what is wrong and where. */
beck_status permission_check(beck_bytes pattern, beck_error *err);

/* Copies all. rules NULL: everything is allowed but what topics say. NULL: no memory. */
struct permits *permits_new(beck_bytes user, beck_bytes vhost, const struct permission_rules *rules,
                            const struct topic_rules *topics, size_t topic_count);
void permits_free(struct permits *p); /* NULL allowed */

/* kind: "queue" or "exchange". 0 or 403: "ACCESS_REFUSED - write access to exchange 'x' in vhost '/' refused for
 * user 'u'". */
int permits_ask(const struct permits *p, enum session_right right, const char *kind,
                beck_bytes name, char *text);
/* Whether it is allowed at all; no text. */
bool permits_allow(const struct permits *p, enum session_right right, beck_bytes name);
/* Publishing to (RIGHT_WRITE) or binding (RIGHT_READ) a topic exchange with that key. 0 or 403. */
int permits_ask_topic(const struct permits *p, enum session_right right, beck_bytes exchange,
                      beck_bytes routing_key, char *text);

#endif
