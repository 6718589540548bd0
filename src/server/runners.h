/*
 * Queues that the server works itself: those whose configuration has `run`. Their programs' output
 * and failures go into the log.
 */
#ifndef BECK_SERVER_RUNNERS_H
#define BECK_SERVER_RUNNERS_H

#include "server/log.h"
#include "server/settings.h"

struct runners;

/* How the program of a queue is run; points into the setting. */
struct runner_options runners_options(const struct queue_setting *queue);

/* None runs yet. */
beck_status runners_new(beck *b, struct log *log, struct runners **out, beck_error *err);
/* Starts what the settings have and does not run, and what they have otherwise; then ends what they have
 * no more. Waits for no program: one that ends finishes what it handles, beside the one that takes its
 * place. Each failure is logged and returned, the first in `err`; the others run, and the queue of one
 * that cannot be started keeps the program that it had. settings: not kept. */
beck_status runners_apply(struct runners *r, const struct settings *s, beck_error *err);
/* Nothing more is begun, nor started. */
void runners_end(struct runners *r);
/* How many workers still handle something, after runners_end. */
uint32_t runners_working(struct runners *r);
/* Kills what still runs; its events go back to their queues. Frees. NULL allowed. */
void runners_stop(struct runners *r);

#endif
