/*
 * Slots of threads, and memory that is released once nobody can be using it.
 *
 * The idea is epochs with the cost on the rare side. The handle has a counter, the epoch; a section
 * begins by noting it in its thread's slot. Whoever takes an object away makes it unreachable
 * first, then moves the epoch to E and makes every running thread pass a memory barrier. From then
 * on a thread either shows a section older than E in its slot, or its section began after the
 * object had gone. So the object is free once no slot shows a section older than E.
 *
 * A section that ends compares the epoch with the one that it noted: only when something was
 * retired meanwhile does it take the lock, and the last such section releases. Nothing polls.
 *
 * The way from a thread to its slot is its pthread key; it ends the slot with the thread, but a
 * lookup costs as much as the rest of a section. So the first threads also get a home: a place in a
 * table, found by the address of the thread's own control block, which only this thread reads.
 */
#include "bus/callers.h"
#include "base/thread.h"
#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool membarrier_works(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* Runs on a thread that ends. Touches nothing but the slot, so that it needs no lock. */
static void slot_end(void *slot)
{
    struct caller *self = slot;
    if (self->local != NULL) {
        self->local_release(self->local);
        self->local = NULL;
    }
    if (self->home != NULL) {
        atomic_store_explicit(self->home, 0, memory_order_release);
        self->home = NULL;
    }
    self->frame = NULL;
    self->depth = 0;
    atomic_store_explicit(&self->section, 0, memory_order_release);
    atomic_store_explicit(&self->ended, true, memory_order_release);
}

beck_status callers_new(struct callers **out, beck_error *err)
{
    struct callers *c = aligned_alloc(_Alignof(struct callers), sizeof *c);
    if (c == NULL)
        return error_set(err, BECK_ENOMEM, "no memory for the table of threads");
    memset(c, 0, sizeof *c);
    int error_number = pthread_key_create(&c->key, slot_end);
    if (error_number != 0) {
        free(c);
        return error_number == EAGAIN
                   ? error_set(err, BECK_ELIMIT,
                               "no thread-specific key left in this process (limit %d): close "
                               "handles that are not needed",
                               PTHREAD_KEYS_MAX)
                   : error_errno(err, error_number, "cannot make a thread-specific key");
    }
    mutex_init(&c->lock);
    cond_init(&c->section_ended);
    c->retired_last = &c->retired_first;
    c->full_fences = !membarrier_works();
    atomic_init(&c->epoch, 1);
    *out = c;
    return BECK_OK;
}

void callers_free(struct callers *c)
{
    if (c == NULL)
        return;
    while (c->retired_first != NULL) {
        struct retired *r = c->retired_first;
        c->retired_first = r->next;
        if (c->retired_first == NULL)
            c->retired_last = &c->retired_first;
        r->release(r->object);
    }
    pthread_key_delete(c->key);
    while (c->slots != NULL) {
        struct caller *slot = c->slots;
        c->slots = slot->next;
        assert(slot->depth == 0);
        if (slot->local != NULL)
            slot->local_release(slot->local);
        free(slot);
    }
    cond_release(&c->section_ended);
    mutex_release(&c->lock);
    free(c);
}

beck_bytes caller_current_id(struct caller *self, struct clock *clock)
{
    struct caller_frame *frame = self->frame;
    if (frame == NULL || frame->event == NULL)
        return (beck_bytes){0};
    if (frame->event->id.len == 0) {
        uint8_t uuid[16];
        if (!self->rng_seeded)
            rng_seed_system(&self->rng);
        self->rng_seeded = true;
        uuid_v7(clock, &self->rng, uuid);
        uuid_text(uuid, frame->id);
        ((beck_event *)frame->event)->id = beck_str(frame->id); /* caller_push says why it may be */
    }
    return frame->event->id;
}

/* The slot of a thread that has ended, or a new one. */
static struct caller *slot_take(struct callers *c)
{
    struct caller *slot;
    mutex_lock(&c->lock);
    for (slot = c->slots; slot != NULL; slot = slot->next) {
        if (atomic_load_explicit(&slot->ended, memory_order_acquire)) {
            atomic_store_explicit(&slot->ended, false, memory_order_relaxed);
            break;
        }
    }
    if (slot == NULL) {
        slot = aligned_alloc(_Alignof(struct caller), sizeof *slot);
        if (slot != NULL) {
            memset(slot, 0, sizeof *slot);
            slot->epoch = &c->epoch;
            slot->callers = c;
            slot->full_fences = c->full_fences;
            slot->next = c->slots;
            c->slots = slot;
        }
    }
    mutex_unlock(&c->lock);
    return slot;
}

static void home_claim(struct callers *c, struct caller *self)
{
    uintptr_t thread = caller_thread_address(), none = 0;
    struct caller_home *home = caller_home_of(c, thread);
    if (atomic_compare_exchange_strong_explicit(&home->thread, &none, thread, memory_order_acquire,
                                                memory_order_relaxed)) {
        home->caller = self;
        self->home = &home->thread;
    }
}

/* By the pthread key; a thread that comes for the first time gets a slot. */
struct caller *callers_self_by_key(struct callers *c)
{
    struct caller *self = pthread_getspecific(c->key);
    if (self != NULL)
        return self;
    self = slot_take(c);
    if (self == NULL)
        return NULL;
    if (pthread_setspecific(c->key, self) != 0) {
        slot_end(self);
        return NULL;
    }
    home_claim(c, self);
    return self;
}

uint64_t callers_generation(struct callers *c)
{
    return atomic_fetch_add_explicit(&c->generation, 1, memory_order_relaxed) + 1;
}

/* The epoch of the oldest section that runs, UINT64_MAX when none does. */
static uint64_t oldest_section(struct callers *c)
{
    assert(mutex_held(&c->lock));
    uint64_t oldest = UINT64_MAX;
    for (struct caller *slot = c->slots; slot != NULL; slot = slot->next) {
        uint64_t section = atomic_load_explicit(&slot->section, memory_order_seq_cst);
        if (section != 0 && section < oldest)
            oldest = section;
    }
    return oldest;
}

/* Takes those retired before every running section off the list. */
static struct retired *take_released(struct callers *c)
{
    struct retired *first = c->retired_first;
    if (first == NULL)
        return NULL;
    uint64_t oldest = oldest_section(c);
    struct retired **end = &first;
    while (*end != NULL && (*end)->epoch <= oldest)
        end = &(*end)->next;
    c->retired_first = *end;
    if (c->retired_first == NULL)
        c->retired_last = &c->retired_first;
    *end = NULL;
    return first;
}

static void release_all(struct retired *r)
{
    while (r != NULL) {
        struct retired *next = r->next; /* r may lie in the object */
        r->release(r->object);
        r = next;
    }
}

void caller_left_late(struct caller *self)
{
    struct callers *c = self->callers;
    mutex_lock(&c->lock);
    struct retired *released = take_released(c);
    cond_broadcast(&c->section_ended);
    mutex_unlock(&c->lock);
    release_all(released);
}

/* The epoch of a retirement: sections that note a smaller one began before. */
static uint64_t move_epoch(struct callers *c)
{
    assert(mutex_held(&c->lock));
    uint64_t epoch = atomic_fetch_add_explicit(&c->epoch, 1, memory_order_seq_cst) + 1;
    if (c->full_fences) {
        caller_fence();
    } else {
        long result = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
        assert(result == 0); /* it worked in callers_new */
        (void)result;
    }
    return epoch;
}

void callers_retire_in(struct callers *c, struct retired *room, void *object,
                       void (*release)(void *object), bool wait)
{
    struct caller *self = pthread_getspecific(c->key);
    bool inside = self != NULL && caller_in_section(self);
    assert(!(wait && inside));
    mutex_lock(&c->lock);
    uint64_t epoch = move_epoch(c);
    if (wait) {
        while (oldest_section(c) < epoch)
            cond_wait(&c->section_ended, &c->lock);
    } else {
        *room = (struct retired){.object = object, .release = release, .epoch = epoch};
        *c->retired_last = room;
        c->retired_last = &room->next;
    }
    struct retired *released = inside ? NULL : take_released(c);
    mutex_unlock(&c->lock);
    release_all(released);
    if (wait)
        release(object);
}

/* A retirement with its own room. */
struct retired_alone {
    struct retired room;
    void *object;
    void (*release)(void *object);
};

static void release_alone(void *object)
{
    struct retired_alone *alone = object;
    alone->release(alone->object);
    free(alone);
}

void callers_retire(struct callers *c, void *object, void (*release)(void *object), bool wait)
{
    struct retired_alone *alone = wait ? NULL : malloc(sizeof *alone);
    if (alone != NULL) {
        alone->object = object;
        alone->release = release;
        callers_retire_in(c, &alone->room, alone, release_alone, false);
        return;
    }
    struct caller *self = pthread_getspecific(c->key);
    if (wait || self == NULL || !caller_in_section(self))
        callers_retire_in(c, NULL, object, release, true);
}
