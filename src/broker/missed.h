/*
 * What was published to buses of exchanges while there was no broker: see missed.c. All with change_lock held, and
 * without topology_lock unless said otherwise.
 */
#ifndef BECK_BROKER_MISSED_H
#define BECK_BROKER_MISSED_H

#include "broker/names.h"
#include "broker/topology.h"
#include "event/event.h"

struct missed;

#define BROKER_NOTE_NS 5000000000ll /* from one missed_note to the next */

/* Before the exchange leads anywhere, and once what is stored in its bus (NULL: it has none yet) says that it was
 * routed: what is there now was published before. Written, not synced. */
beck_status missed_begin(struct exchange *x, const beck_bus *bus, beck_error *err);
bool missed_is_seen(const struct exchange *x); /* it began, at some time */

/* Writes down how far all is routed, where that has changed; a crash before it is synced costs time only. False: there
 * are no such exchanges. */
bool missed_note(struct broker *b);
/* When the broker opens, with all of topology and delivery, before there are sessions: gives what was missed. After an error
 * the next opening goes on, and missed_note must not be called. */
beck_status missed_give(struct broker *b, beck_error *err);

/* ---- for past.c, which makes the copies ---- */

struct missed_copy {
    beck_attribute extensions[EVENT_EXTENSIONS_MAX];
    char text[ENGINE_NAME + 40];
};
/* The event at that offset is given next: its copy says what it is a copy of. `copy` lives as long as e is used. */
void missed_mark(struct missed *m, int64_t offset, beck_event *e, struct missed_copy *copy);
/* A `choose` of route_new, ctx a struct missed: those that have no copy of it yet. */
void missed_targets(void *ctx, struct targets *t);
/* Before a copy is appended to that bus. */
beck_status missed_begin_target(struct missed *m, beck_bus *bus, beck_error *err);

#endif
