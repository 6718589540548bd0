/*
 * The last messages of an exchange of the type x-recent-history: a queue or exchange that is newly bound to it gets
 * them first. They are kept in memory, and gone when the broker opens again.
 */
#ifndef BECK_BROKER_RECENT_H
#define BECK_BROKER_RECENT_H

#include "broker/properties.h"

struct recent;
struct session;
struct binding_declaration;

bool recent_is_type(beck_bytes type);
/* 0, or 406: the argument x-recent-history-length is none. */
int recent_check(beck_bytes arguments, char *text);
/* Arguments passed the check. NULL: no memory. */
struct recent *recent_new(beck_bytes arguments);
void recent_free(struct recent *r); /* NULL allowed */
/* What was published to it, unless the header x-recent-history-no-store says otherwise. Takes a leaf lock. */
void recent_add(struct recent *r, beck_bytes key, beck_bytes properties_raw,
                const struct properties *properties, beck_bytes body);
/* (slow) A new binding: the destination gets them, the oldest first. 0 or an error. */
int recent_give(struct session *s, const struct binding_declaration *d, char *text);

#endif
