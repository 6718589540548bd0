/*
 * Working through a server: the functions of beck.h for a data directory that a running server owns,
 * by its HTTP API on the socket `beck.sock` in that directory.
 *
 * src/api opens one when the directory is locked and the caller allows it (beck_options.connect),
 * and hands each call on: the functions here mean what those of the same name in beck.h mean, with
 * the same errors (the server sends code and text). What differs is said there.
 *
 * Objects: a beck_bus of a server is a struct beck_bus of which only the name and `remote` are used;
 * a consumer begins with struct consumer_base, as one of src/queue does; readers are their own.
 *
 * Threads: any. A publish, a look-up or a change uses a connection of the client's pool. A consumer
 * and a reader have one of their own, since their requests wait. Locks: each a leaf, none held while
 * the server is waited for. One thread is started, for completions (`done`), when they are first
 * asked for.
 */
#ifndef BECK_REMOTE_REMOTE_H
#define BECK_REMOTE_REMOTE_H

#include "bus/bus.h"
#include "queue/queue.h"

struct remote;
struct remote_reader;
struct api_user; /* event/api_shape.h */
struct api_user_spec;

/* owner, env and callers outlive it. BECK_ENOENT: no server listens in that directory. */
beck_status remote_open(const char *data_dir, beck *owner, const struct env *env,
                        struct callers *callers, struct remote **out, beck_error *err);
/* The handle that it was opened for. */
beck *remote_owner(const struct remote *r);
/* Completions that are owed are called first. Nobody uses a reader or a consumer any more; consumers
 * that are left are closed. NULL is allowed. */
void remote_close(struct remote *r);
/* Whether a server listens in that directory. */
bool remote_listens(const char *data_dir);

/* ---- buses ---- */

beck_status remote_bus_create(struct remote *r, const char *name, const beck_bus_options *options,
                              beck_bus **out, beck_error *err);
beck_status remote_bus_get(struct remote *r, const char *name, beck_bus **out, beck_error *err);
beck_status remote_bus_alter(beck_bus *bus, const beck_bus_options *options, beck_error *err);
beck_status remote_bus_delete(struct remote *r, const char *name, beck_error *err);
beck_status remote_bus_info(beck_bus *bus, beck_bus_info *out, beck_error *err);
beck_status remote_partition_info(beck_bus *bus, uint32_t partition, beck_partition_info *out,
                                  beck_error *err);
beck_status remote_bus_list(struct remote *r, int (*each)(void *ctx, beck_bus *bus), void *ctx,
                            beck_error *err);
beck_status remote_bus_purge(beck_bus *bus, beck_error *err);

/* ---- publishing ---- */

beck_status remote_publish(beck_bus *bus, const beck_event *events, size_t count,
                           const beck_publish_options *options, beck_published *out,
                           beck_error *err);
beck_status remote_sync(struct remote *r, beck_error *err);

/* ---- reading ---- */

beck_status remote_reader_open(beck_bus *bus, const beck_read_options *options,
                               struct remote_reader **out, beck_error *err);
beck_status remote_reader_next(struct remote_reader *reader, int64_t timeout_ms,
                               const beck_event **out, beck_error *err);
void remote_reader_close(struct remote_reader *reader);

/* ---- queues ---- */

/* `*made`: it was not there before. */
beck_status remote_queue_create(struct remote *r, const char *name,
                                const beck_queue_options *options, bool *made, beck_error *err);
beck_status remote_queue_delete(struct remote *r, const char *name, beck_error *err);
beck_status remote_queue_alter(struct remote *r, const char *name,
                               const beck_queue_options *options, beck_error *err);
beck_status remote_queue_bind(struct remote *r, const char *queue, const beck_binding *binding,
                              beck_error *err);
beck_status remote_queue_unbind(struct remote *r, const char *queue, const char *bus,
                                const char *pattern, beck_error *err);
beck_status remote_queue_info(struct remote *r, const char *name, beck_queue_info *out,
                              beck_error *err);
beck_status remote_queue_list(struct remote *r, int (*each)(void *ctx, const char *name), void *ctx,
                              beck_error *err);
beck_status remote_queue_bindings(struct remote *r, const char *name,
                                  int (*each)(void *ctx, const beck_binding *binding), void *ctx,
                                  beck_error *err);
beck_status remote_queue_pause(struct remote *r, const char *name, bool paused, beck_error *err);
beck_status remote_queue_purge(struct remote *r, const char *name, int64_t *purged,
                               beck_error *err);
beck_status remote_queue_rewind(struct remote *r, const char *name, const beck_from *from,
                                beck_error *err);
beck_status remote_queue_peek(struct remote *r, const char *name, size_t max,
                              int (*each)(void *ctx, const beck_event *event), void *ctx,
                              beck_error *err);
beck_status remote_queue_waiting(struct remote *r, const char *name, beck_waiting_kind kind,
                                 size_t from, size_t max,
                                 int (*each)(void *ctx, const beck_waiting *waiting), void *ctx,
                                 beck_error *err);

/* ---- consuming ---- */

beck_status remote_consumer_open(struct remote *r, const char *queue, uint32_t prefetch,
                                 beck_consumer **out, beck_error *err);
void remote_consumer_close(beck_consumer *consumer);
void remote_consumer_wake(beck_consumer *consumer);
beck_status remote_take(beck_consumer *consumer, beck_delivery *out, size_t max, int64_t timeout_ms,
                        size_t *count, beck_error *err);
beck_status remote_settle(beck_consumer *consumer, const uint64_t *tags, size_t count,
                          beck_error *err);
beck_status remote_retry(beck_consumer *consumer, uint64_t tag, int64_t delay_ms, const char *why,
                         beck_error *err);
beck_status remote_return(beck_consumer *consumer, uint64_t tag, beck_error *err);
beck_status remote_reject(beck_consumer *consumer, uint64_t tag, const char *why, beck_error *err);
beck_status remote_extend(beck_consumer *consumer, uint64_t tag, beck_error *err);

/* ---- dead letters, traces, metrics ---- */

beck_status remote_dead_list(struct remote *r, const char *queue, size_t max,
                             int (*each)(void *ctx, const beck_dead *dead), void *ctx,
                             beck_error *err);
beck_status remote_dead_redrive(struct remote *r, const char *queue, int64_t offset,
                                int64_t *redriven, beck_error *err);
beck_status remote_dead_purge(struct remote *r, const char *queue, int64_t offset, int64_t *purged,
                              beck_error *err);
beck_status remote_trace(struct remote *r, const char *id, size_t max,
                         int (*each)(void *ctx, const beck_trace_step *step), void *ctx,
                         beck_error *err);
beck_status remote_metrics(struct remote *r, void (*write)(void *ctx, const char *text, size_t len),
                           void *ctx, beck_error *err);

/* ---- users: for src/access ---- */

beck_status remote_user_list(struct remote *r, int (*each)(void *ctx, const struct api_user *user),
                             void *ctx, beck_error *err);
beck_status remote_user_put(struct remote *r, const char *name, const struct api_user_spec *spec,
                            beck_error *err);
beck_status remote_user_delete(struct remote *r, const char *name, beck_error *err);
/* `size`: of its text, NUL included. */
beck_status remote_token_make(struct remote *r, const char *user, const char *token_name, char *out,
                              size_t size, beck_error *err);
beck_status remote_token_revoke(struct remote *r, const char *user, const char *token_name,
                                beck_error *err);

#endif
