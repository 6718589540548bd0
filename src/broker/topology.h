/*
 * Changing the view of what was declared: for the files that declare. All with change_lock held, and without
 * topology_lock unless said otherwise.
 */
#ifndef BECK_BROKER_TOPOLOGY_H
#define BECK_BROKER_TOPOLOGY_H

#include "broker/broker_impl.h"
#include "broker/policy.h"
#include "broker/record.h"

void broker_begin_change(struct broker *b);
void broker_end_change(struct broker *b);
/* Both locks are held between; the generation moves. */
void topology_write(struct broker *b);
void topology_end_write(struct broker *b);

/* Slices as "%.*s" wants them. */
#define TEXT(bytes) (int)(bytes).len, (const char *)(bytes).data

/* A copy with a NUL behind it; false: no memory. */
bool bytes_keep(beck_bytes from, beck_bytes *out);
void bytes_drop(beck_bytes *b);

/* ---- topology.c ---- */

struct vhost *topology_vhost(const struct broker *b, beck_bytes name);
/* With its predeclared exchanges. BECK_ENOMEM. */
beck_status vhost_new(struct broker *b, beck_bytes name, beck_bytes metadata, struct vhost **out);
/* Its metadata and what follows from it; false: no memory. With both locks, if it is linked. */
bool vhost_describe(struct vhost *v, beck_bytes metadata);
beck_status vhost_link(struct vhost *v);
void vhost_unlink(struct vhost *v); /* its exchanges and queues are gone but the predeclared ones */

/* One reference. 0, or 406: its type or arguments are not good; 541. */
int exchange_new(struct vhost *v, const struct exchange_declaration *d, struct exchange **out,
                 char *text);
/* The view takes a reference. */
beck_status exchange_link(struct exchange *x);
void exchange_unlink(struct exchange *x); /* it has no bindings */

beck_status queue_new_view(struct vhost *v, beck_bytes name, beck_bytes arguments,
                           struct broker_queue **out);
beck_status queue_link(struct broker_queue *q);
void queue_unlink(struct broker_queue *q); /* it has no bindings */

struct binding *topology_find_binding(struct broker *b, const struct exchange *source,
                                      const void *destination, beck_bytes key,
                                      beck_bytes arguments);
/* Not linked. Its key and arguments suit the exchange (match_check_binding). */
beck_status binding_new(struct exchange *source, struct exchange *exchange,
                        struct broker_queue *queue, beck_bytes key, beck_bytes arguments,
                        struct binding **out);
beck_status binding_link(struct binding *binding);
void binding_unlink(struct binding *binding);
void binding_free(struct binding *binding); /* NULL allowed */

/* ---- bind.c ---- */

/* Deletes an exchange with all that goes with it: bindings, and auto-delete exchanges that lose their last one.
 * The records first. */
beck_status exchange_delete(struct exchange *x, beck_error *err);
/* The same for a queue: its messages go, its consumers are cancelled. */
beck_status queue_delete_all(struct broker_queue *q, beck_error *err);
beck_status binding_delete(struct binding *binding, beck_error *err);
void exchange_record(struct record *r, const struct exchange *x);
void queue_record(struct record *r, const struct broker_queue *q);
void vhost_record(struct record *r, const struct vhost *v);

/* ---- topology_engine.c ---- */

/* Makes (or finds) the engine's queue, or the bus of a stream. */
beck_status engine_open_queue(struct broker_queue *q, bool later, beck_error *err);
beck_status engine_delete_queue(struct broker_queue *q, beck_error *err);
/* A queue of that name was deleted, but not all of it: now it is. An error: it is there still. */
beck_status engine_finish_deletion(struct vhost *v, beck_bytes name, beck_error *err);
void engine_finish_deletions(struct broker *b);
/* The bus of an exchange that is deleted: goes as soon as no queue needs it. */
void engine_leave_bus(struct exchange *x);
bool engine_sweep_buses(struct broker *b); /* true: some are left still */
/* After opening: exchanges whose buses exist get them. */
beck_status engine_load_buses(struct broker *b, beck_error *err);
/* Queues and buses of the engine that others made are queues and exchanges of "/". */
void engine_adopt_all(struct broker *b);
struct exchange *engine_adopt_exchange(struct vhost *v, beck_bytes name); /* borrowed or NULL */
struct broker_queue *engine_adopt_queue(struct vhost *v, beck_bytes name);
/* Buses that others make from now on are noticed, or no more. */
void engine_listen(struct broker *b, bool listen);

/* ---- router.c ---- */

/* The exchange is about to lead somewhere: from now on what others publish to its bus is routed, and what is missed
 * while there is no broker is known. */
beck_status engine_lead(struct exchange *x, beck_error *err);
/* What others publish to the exchange's bus is routed, if it leads anywhere. With engine_lock. */
beck_status engine_watch(struct exchange *x, beck_bus *bus, beck_error *err);
void engine_release_links(struct broker *b); /* nothing is routed any more */

/* ---- topology_policy.c ---- */

/* Settles q->effective (x->alternate) by its arguments, which were checked, and the policies that stand; with
 * both locks or before it is linked. */
beck_status policy_apply_queue(struct broker_queue *q);
beck_status policy_apply_exchange(struct exchange *x);
/* The engine's queue gets the rules of q->effective, also after an error: then a lifetime among them is not
 * written down. Without topology_lock. */
beck_status policy_set_rules(struct broker_queue *q, beck_error *err);
/* Policies of a vhost changed: all its queues and exchanges. Takes topology_lock. */
beck_status policy_apply_all(struct vhost *v, beck_error *err);

/* ---- session.c ---- */

/* A name without CR and LF, as RabbitMQ takes names. 406: longer than 255 bytes. */
struct stripped {
    char text[255];
};
int name_strip(beck_bytes *name, struct stripped *memory, char *text);
/* 0, or 405: it is another connection's. */
int session_check_owner(const struct session *s, const struct broker_queue *q, char *text);
/* 405 "cannot obtain exclusive access to locked queue ..." */
int queue_refuse_locked(const struct broker_queue *q, char *text);
/* Any of the three rights. 0 or 403. */
int session_may_any(struct session *s, const char *kind, beck_bytes name, char *text);

/* ---- declare_queue.c ---- */

/* Those that are unused for longer than they may be go. Takes change_lock. Returns when it is to look again, on the
 * monotonic clock; INT64_MAX: never. */
int64_t queues_expire(struct broker *b);
/* Opens the engine's queue and who hands out its messages, and links it. later: session_owes is called. */
beck_status queue_begin(struct broker_queue *q, bool later, beck_error *err);
/* The session answers for the queue: it waits until it is durable. BECK_ENOMEM. */
beck_status session_owes(struct session *s, const struct broker_queue *q);
/* Ready messages; of a stream those that it keeps. */
int64_t queue_length(const struct broker_queue *q);

/* ---- broker.c ---- */

/* Writes records down, all or none, and syncs; in memory only there is nothing to do. With change_lock. */
beck_status broker_write(struct broker *b, struct record *const *records, size_t count,
                         beck_error *err);
/* Written; durable once broker_sync returned, which takes no lock of the broker. */
beck_status broker_write_later(struct broker *b, struct record *r, beck_error *err);
beck_status broker_sync(struct broker *b, beck_error *err);
/* Writes it, and puts it among what is kept. Takes topology_lock. */
beck_status broker_keep(struct broker *b, struct record *r, beck_error *err);
beck_status broker_note(struct broker *b, const struct record *r, beck_error *err); /* only that */
struct policy_text policy_of_record(const struct kept *k);                          /* borrowed */
/* The keeper looks again at what expires, by then on the monotonic clock. */
void broker_wake(struct broker *b, int64_t by_ns);

#endif
