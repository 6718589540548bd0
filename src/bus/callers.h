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
 * `wait`. The lock inside (callers.lock) is a leaf, taken by retiring, by the first call of a
 * thread, and by a section's end when something was retired while it ran.
 */
#ifndef BECK_BUS_CALLERS_H
#define BECK_BUS_CALLERS_H

#include "base/error.h"
#include "base/thread.h"
#include "base/uuid.h"
#include <assert.h>
#include <stdatomic.h>

struct callers;

/* Publishes within listeners within publishes: beyond it a circle of listeners is told from a chain, long before
 * the thread's stack ends. */
#define CALLERS_NESTED_MAX 100

/* What a thread handles, as a stack of frames that live on the C stack of the handling function. */
struct caller_frame {
    const beck_event *event; /* NULL: nothing, whatever is outside of it */
    struct caller_frame *outer;
    char id[UUID_TEXT_LEN + 1]; /* that the event was given by caller_current_id */
};

/*
 * One thread's slot. Visible so that the functions below can be inlined into a publish; only they
 * and callers.c touch its fields, except that `local` belongs to subscribers.c.
 *
 * section: the epoch at which the outermost section began, 0 outside of sections. Written by its
 * thread, read by whoever retires.
 */
struct caller {
    _Alignas(64) _Atomic(uint64_t) section;
    _Atomic(uint64_t) *epoch; /* of the handle: moved by every retirement */
    struct callers *callers;
    struct caller_frame *frame;
    void *local; /* memory of this thread's own, given to local_release when the thread ends */
    void (*local_release)(void *local);
    uint32_t depth;   /* of nested sections */
    bool full_fences; /* no membarrier: sections pay for their fence */
    bool rng_seeded;
    struct rng rng; /* of ids */
    _Atomic(bool) ended;
    _Atomic(uintptr_t) *home; /* the short way from the thread to here (callers.c), or NULL */
    struct caller *next;
};

/* Visible for callers_self only. */
#define CALLER_HOMES 64 /* a power of two */

/* thread: 0 when free. Claimed with a compare-and-swap, given back by slot_end, never taken over:
 * so only the thread that finds itself here uses `caller`. */
struct caller_home {
    _Atomic(uintptr_t) thread;
    struct caller *caller;
};

struct callers {
    /* Read by every publish, written by retirements, changes of subscribers and new threads only.
     */
    _Alignas(64) _Atomic(uint64_t) epoch;
    bool full_fences;
    pthread_key_t key;
    struct caller_home homes[CALLER_HOMES];

    _Alignas(64) struct mutex lock;
    struct cond section_ended;
    struct caller *slots;                          /* every one ever made; only added to */
    struct retired *retired_first, **retired_last; /* oldest epoch first */
    _Atomic(uint64_t) generation;
};

/* BECK_ELIMIT: no pthread key left. */
beck_status callers_new(struct callers **out, beck_error *err);
/* No thread is in a section, and none that used the handle is ending right now; releases everything
 * retired. NULL is allowed. */
void callers_free(struct callers *c);

static inline uintptr_t caller_thread_address(void)
{
#if defined(__has_builtin) && (defined(__x86_64__) || defined(__aarch64__))
#if __has_builtin(__builtin_thread_pointer)
    return (uintptr_t)__builtin_thread_pointer();
#endif
#endif
    return (uintptr_t)pthread_self();
}

static inline struct caller_home *caller_home_of(struct callers *c, uintptr_t thread)
{
    return &c->homes[(thread * UINT64_C(0x9e3779b97f4a7c15)) >> 58];
}
_Static_assert(CALLER_HOMES == 1 << (64 - 58), "the index has as many bits as the table needs");

struct caller *callers_self_by_key(struct callers *c); /* the long way */

/* This thread's slot; NULL when memory is short. A nanosecond after the first call. */
static inline struct caller *callers_self(struct callers *c)
{
    uintptr_t thread = caller_thread_address();
    const struct caller_home *home = caller_home_of(c, thread);
    if (__builtin_expect(atomic_load_explicit(&home->thread, memory_order_relaxed) == thread, true))
        return home->caller;
    return callers_self_by_key(c);
}

/* A number that was never given before by these callers, from 1: names one state of one set of
 * subscribers. */
uint64_t callers_generation(struct callers *c);

/* An event without an id is in memory of the library's own: it may be given one, which is gone with
 * the frame. */
static inline void caller_push(struct caller *self, struct caller_frame *frame,
                               const beck_event *event)
{
    frame->event = event;
    frame->outer = self->frame;
    self->frame = frame;
}

static inline void caller_pop(struct caller *self, struct caller_frame *frame)
{
    self->frame = frame->outer;
}

/* NULL: none. */
static inline const beck_event *caller_current(const struct caller *self)
{
    return self->frame == NULL ? NULL : self->frame->event;
}

/* The id of the event that is being handled, which is given one when it has none. Valid while it is
 * handled; absent when nothing is. */
beck_bytes caller_current_id(struct caller *self, struct clock *clock);

/* ThreadSanitizer follows atomic operations, not fences. */
#if defined(__SANITIZE_THREAD__)
#define CALLER_FULL_FENCES(self) true
#define caller_fence() ((void)0)
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CALLER_FULL_FENCES(self) true
#define caller_fence() ((void)0)
#endif
#endif
#ifndef CALLER_FULL_FENCES
#define CALLER_FULL_FENCES(self) __builtin_expect((self)->full_fences, false)
#define caller_fence() atomic_thread_fence(memory_order_seq_cst)
#endif

/* Sets `section` such that it is seen by others before anything that this thread reads next is
 * read. */
static inline void caller_set_section(struct caller *self, uint64_t section)
{
    if (CALLER_FULL_FENCES(self)) {
        atomic_exchange_explicit(&self->section, section, memory_order_seq_cst);
        caller_fence();
    } else {
        atomic_store_explicit(&self->section, section, memory_order_release);
        atomic_signal_fence(memory_order_seq_cst); /* the other half is the retiring membarrier */
    }
}

/* Sections nest. */
static inline void caller_enter(struct caller *self)
{
    if (__builtin_expect(self->depth++ == 0, true))
        caller_set_section(self, atomic_load_explicit(self->epoch, memory_order_seq_cst));
}

/* What was retired while the section ran is released if it was the last; wakes who waits for it. */
void caller_left_late(struct caller *self);

static inline void caller_leave_outermost(struct caller *self)
{
    uint64_t began = atomic_load_explicit(&self->section, memory_order_relaxed);
    caller_set_section(self, 0);
    if (__builtin_expect(atomic_load_explicit(self->epoch, memory_order_seq_cst) != began, 0))
        caller_left_late(self);
}

static inline void caller_leave(struct caller *self)
{
    if (__builtin_expect(--self->depth == 0, true))
        caller_leave_outermost(self);
}

/* Whether the thread neither is in a section nor handles anything. */
static inline bool caller_is_idle(const struct caller *self)
{
    return self->frame == NULL && self->depth == 0;
}

/* Entering, with a frame pushed, whose event is the caller's to set, and the end of both: for a thread that is
 * idle. */
static inline void caller_begin(struct caller *self, struct caller_frame *frame)
{
    self->depth = 1;
    caller_set_section(self, atomic_load_explicit(self->epoch, memory_order_seq_cst));
    frame->outer = NULL;
    frame->event = NULL;
    self->frame = frame;
}

static inline void caller_end(struct caller *self)
{
    self->frame = NULL;
    self->depth = 0;
    caller_leave_outermost(self);
}

static inline bool caller_in_section(const struct caller *self)
{
    return self->depth > 0;
}

/* Room for one retirement, within the object that is retired. */
struct retired {
    struct retired *next;
    void *object;
    void (*release)(void *object);
    uint64_t epoch;
};

/* Calls release(object) once no section that began before this call is running. wait: returns after
 * that, and must not be used inside of a section (caller_in_section); otherwise the object is
 * released before this returns, or when the last such section is left, or by callers_free.
 * `room` is used until release is called. release is called with no lock held, from any thread. */
void callers_retire_in(struct callers *c, struct retired *room, void *object,
                       void (*release)(void *object), bool wait);

/* The same for an object without room of its own. When memory is short it waits as with `wait`, or
 * inside of a section gives the object up: it is then never released. */
void callers_retire(struct callers *c, void *object, void (*release)(void *object), bool wait);

#endif
