/* Messages put and got by requests. */
#ifndef BECK_WIRE_MANAGEMENT_MESSAGES_H
#define BECK_WIRE_MANAGEMENT_MESSAGES_H

#include "wire/management/call.h"

/* (slow) Returns when it is stored. 0, or a reply code with c->text; *routed (may be NULL): some queue got it. */
int message_put(struct call *c, struct session *s, const struct publication *p, bool *routed);

#endif
