/*
 * Who reloads: one reload at a time. Those that a signal asks for run on a thread of their own, so
 * that signals are always heard; any number of them that come while one runs are one more.
 */
#ifndef BECK_SERVER_RELOADER_H
#define BECK_SERVER_RELOADER_H

#include "base/bytes.h"

struct reloader;

typedef beck_status (*reload_fn)(void *ctx, beck_error *err);

beck_status reloader_start(reload_fn reload, void *ctx, struct reloader **out, beck_error *err);
/* Asks for a reload: it begins after this call, and sees everything from before it. */
void reloader_ask(struct reloader *r);
/* Reloads on the calling thread. BECK_EBUSY: a reload is under way or asked for, or
 * reloader_end was called; nothing was done. */
beck_status reloader_run(struct reloader *r, beck_error *err);
/* Waits for the one that the signal's thread runs; none begins any more. Once. NULL allowed. */
void reloader_end(struct reloader *r);
void reloader_free(
    struct reloader *r); /* after reloader_end; nobody calls the above. NULL allowed */

#endif
