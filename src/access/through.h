/* Users of a server that owns the data directory: as access.h has them, over its HTTP API. */
#ifndef BECK_ACCESS_THROUGH_H
#define BECK_ACCESS_THROUGH_H

#include "access/access.h"
#include "remote/remote.h"

/* What access.h says of access_list_users and access_put_user; the arguments are checked. */
beck_status through_list_users(struct remote *r,
                               int (*each)(void *ctx, const struct access_user *user), void *ctx,
                               beck_error *err);
beck_status through_put_user(struct remote *r, const char *name, beck_bytes password,
                             const struct access_rule *rules, size_t rule_count, beck_error *err);

#endif
