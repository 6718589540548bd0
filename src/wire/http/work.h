/*
 * Deliveries over HTTP: what stands between requests, which come and go, and consumers, which hold
 * deliveries. All requests for a queue share one consumer; with hold=connection a connection has one
 * of its own, and what that holds is ready again when the connection ends.
 */
#ifndef BECK_WIRE_HTTP_WORK_H
#define BECK_WIRE_HTTP_WORK_H

#include <beck.h>

struct http;
struct work;

/* Belongs to `h`, whose pool and timers run already. NULL: no memory. */
struct work *work_new(struct http *h);
/* No request is there any more, and no connection: gives back everything that is held. The pool and
 * the timers still run; what this leaves to do is done when the pool has stopped. */
void work_stop(struct work *w);
void work_free(struct work *w); /* stopped, and the pool too; NULL allowed */

/* What is late and answered by nobody is forgotten, and consumers that nobody used for that long and
 * that hold nothing are closed. Runs by itself now and then. */
void work_sweep(struct work *w, int64_t idle_ns);

#endif
