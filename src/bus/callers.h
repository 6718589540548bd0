/*
 * The threads that use a handle: what each is handling now, and the sections in which it uses
 * subscribers without a lock.
 *
 * Every thread gets a slot on first use (pthread key of the handle), given back when the thread
 * ends. A section is entered around each publish; memory that a section may still use is retired,
 * not freed: it is released when every section that began before has ended. Entering costs a store
 * and a compiler barrier; whoever retires pays (membarrier(2), or full fences on both sides where
 * the kernel has none).
 *
 * Sections nest (a listener publishes). No lock of the library may be held while retiring with
 * `wait`.
 */
#ifndef BECK_BUS_CALLERS_H
#define BECK_BUS_CALLERS_H

#include "base/error.h"

struct callers;
struct caller; /* one thread's slot */

beck_status callers_new(struct callers **out,
                        beck_error *err); /* BECK_ELIMIT: no pthread key left */
void callers_free(struct callers *c); /* no thread is in a section; releases everything retired */

/* This thread's slot; NULL when memory is short. A few nanoseconds after the first call. */
struct caller *callers_self(struct callers *c);

/* What a thread handles, as a stack of frames that live on the C stack of the handling function. */
struct caller_frame {
    const beck_event *event;
    struct caller_frame *outer;
};
void caller_push(struct caller *self, struct caller_frame *frame, const beck_event *event);
void caller_pop(struct caller *self, struct caller_frame *frame);
const beck_event *caller_current(const struct caller *self); /* NULL: none */

void caller_enter(struct caller *self); /* sections nest */
void caller_leave(struct caller *self);

/* Calls release(object) once no section that began before this call is running. wait: returns after
 * that, and must not be used inside of a section (caller_in_section); otherwise the object is
 * released by a later retire, leave or callers_free. */
void callers_retire(struct callers *c, void *object, void (*release)(void *object), bool wait);
bool caller_in_section(const struct caller *self);

#endif
