/* Things put from JSON: by a request each, or by an import of definitions. */
#ifndef BECK_WIRE_MANAGEMENT_PUTS_H
#define BECK_WIRE_MANAGEMENT_PUTS_H

#include "wire/management/call.h"

/* All: false, after answering why. */
bool vhost_put(struct call *c, beck_bytes name, const json_t *from);
bool user_put(struct call *c, beck_bytes name, const json_t *from);
bool permission_put(struct call *c, beck_bytes vhost, beck_bytes user, const json_t *from);
bool topic_permission_put(struct call *c, beck_bytes vhost, beck_bytes user, const json_t *from);
bool exchange_put(struct call *c, struct session *s, beck_bytes name, const json_t *from);
bool queue_put(struct call *c, struct session *s, beck_bytes name, const json_t *from);
/* `d`: all but routing key and arguments. */
bool binding_put(struct call *c, struct session *s, struct binding_declaration *d,
                 const json_t *from, struct buf *properties_key);
bool policy_put(struct call *c, bool user, beck_bytes vhost, beck_bytes name, const json_t *from);
/* component empty: a global one. */
bool parameter_put(struct call *c, beck_bytes component, beck_bytes vhost, beck_bytes name,
                   const json_t *from);

/* {"max-queues":..,...} */
bool limits_put(struct call *c, bool user, beck_bytes of, const json_t *limits);

/* All users as definitions have them, appended to an array. */
void users_export(struct call *c, json_t *to);
json_t *json_of_permission(const struct permission_view *p);
json_t *json_of_topic_permission(const struct topic_permission_view *p);
json_t *json_of_limits(struct call *c, bool user, beck_bytes of);

#endif
