/* Group commit: see committer.h. */
#include "log/committer.h"
#include "log/partition.h"

#include "base/clock.h"
#include "base/thread.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

struct round {
    struct partition **marked;
    size_t count, cap;
    struct completion *completions, **completions_end;
};

struct committer {
    struct mutex lock;
    struct cond work;       /* the thread waits for completions */
    struct round rounds[2]; /* by parity: one is gathered while the other runs */
    struct gate gates[2];   /* waiters, by parity of their round */
    uint32_t waiters[2];
    uint64_t gathering;          /* number of the round being gathered */
    _Atomic(uint64_t) completed; /* number of the last round that is over */
    bool running, stopping;
    uint32_t interval_ms;
    pthread_t thread;
};

/* Runs the gathered round. Called and returns with the lock; the lock is free in between. */
static void lead(struct committer *c)
{
    assert(!c->running && mutex_held(&c->lock));
    uint64_t number = c->gathering++;
    unsigned side = number & 1;
    struct round *r = &c->rounds[side];
    c->running = true;
    for (size_t i = 0; i < r->count; i++)
        partition_unmark(r->marked[i]);
    mutex_unlock(&c->lock);
    for (size_t i = 0; i < r->count; i++)
        partition_sync(r->marked[i], NULL);
    mutex_lock(&c->lock);
    struct completion *done = r->completions;
    r->count = 0;
    r->completions = NULL;
    r->completions_end = &r->completions;
    c->running = false;
    atomic_store_explicit(&c->completed, number, memory_order_release);
    bool thread_needed = c->rounds[side ^ 1].completions != NULL;
    bool wake_next = c->waiters[side ^ 1] > 0, wake_these = c->waiters[side] > 0;
    if (thread_needed)
        cond_broadcast(&c->work);
    mutex_unlock(&c->lock);
    /* The next leader first: its sync is what everybody else will wait for. */
    if (wake_next)
        gate_bump(&c->gates[side ^ 1], 1);
    if (wake_these)
        gate_bump(&c->gates[side], INT_MAX);
    while (done) {
        struct completion *next = done->next;
        done->run(done);
        done = next;
    }
    mutex_lock(&c->lock);
}

static void *committer_main(void *arg)
{
    struct committer *c = arg;
    mutex_lock(&c->lock);
    for (;;) {
        struct round *r = &c->rounds[c->gathering & 1];
        bool work = r->completions || (r->count > 0 && (c->interval_ms || c->stopping));
        if (work && !c->running) {
            lead(c);
            int64_t again = clock_mono_ns(clock_system()) + c->interval_ms * 1000000LL;
            while (c->interval_ms && !c->stopping &&
                   cond_wait_until(&c->work, &c->lock, clock_system(), again))
                ;
            continue;
        }
        if (c->stopping && !work && !c->running)
            break;
        cond_wait(&c->work, &c->lock);
    }
    mutex_unlock(&c->lock);
    return NULL;
}

beck_status committer_new(uint32_t sync_interval_ms, struct committer **out, beck_error *err)
{
    struct committer *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, BECK_ENOMEM, "no memory for the committer");
    mutex_init(&c->lock);
    cond_init(&c->work);
    for (int i = 0; i < 2; i++) {
        gate_init(&c->gates[i]);
        c->rounds[i].completions_end = &c->rounds[i].completions;
    }
    c->gathering = 1;
    c->interval_ms = sync_interval_ms;
    int rc = pthread_create(&c->thread, NULL, committer_main, c);
    if (rc) {
        cond_release(&c->work);
        mutex_release(&c->lock);
        free(c);
        return error_errno(err, rc, "cannot start the committer's thread");
    }
    *out = c;
    return BECK_OK;
}

void committer_free(struct committer *c)
{
    if (!c)
        return;
    mutex_lock(&c->lock);
    c->stopping = true;
    cond_broadcast(&c->work);
    mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    for (int i = 0; i < 2; i++)
        free(c->rounds[i].marked);
    cond_release(&c->work);
    mutex_release(&c->lock);
    free(c);
}

/* A partition reserved its place (committer_reserve) when it was opened, so this cannot fail. */
static void mark(struct committer *c, struct partition *p)
{
    if (!partition_mark(p))
        return;
    struct round *r = &c->rounds[c->gathering & 1];
    assert(r->count < r->cap);
    r->marked[r->count++] = p;
}

beck_status committer_reserve(struct committer *c, size_t partitions, beck_error *err)
{
    beck_status status = BECK_OK;
    mutex_lock(&c->lock);
    for (int i = 0; i < 2; i++) {
        struct round *r = &c->rounds[i];
        if (r->cap >= partitions)
            continue;
        /* The array of a running round is being read: it may only grow between rounds. */
        while (c->running && i == (int)((c->gathering - 1) & 1)) {
            uint32_t seen = gate_seen(&c->gates[i]);
            c->waiters[i]++;
            mutex_unlock(&c->lock);
            gate_wait(&c->gates[i], seen);
            mutex_lock(&c->lock);
            c->waiters[i]--;
        }
        size_t cap = partitions < 16 ? 16 : partitions * 2;
        struct partition **grown = realloc(r->marked, cap * sizeof *grown);
        if (!grown) {
            status = error_set(err, BECK_ENOMEM, "no memory for the committer");
            break;
        }
        r->marked = grown;
        r->cap = cap;
    }
    mutex_unlock(&c->lock);
    return status;
}

void committer_mark(struct committer *c, struct partition *p)
{
    mutex_lock(&c->lock);
    mark(c, p);
    if (c->interval_ms)
        cond_signal(&c->work);
    mutex_unlock(&c->lock);
}

void committer_wait(struct committer *c)
{
    mutex_lock(&c->lock);
    uint64_t mine = c->gathering;
    unsigned side = mine & 1;
    while (atomic_load_explicit(&c->completed, memory_order_acquire) < mine) {
        if (!c->running) {
            lead(c);
            continue;
        }
        uint32_t seen = gate_seen(&c->gates[side]);
        c->waiters[side]++;
        mutex_unlock(&c->lock);
        gate_wait(&c->gates[side], seen);
        mutex_lock(&c->lock);
        c->waiters[side]--;
    }
    mutex_unlock(&c->lock);
}

void committer_queue(struct committer *c, struct partition *p, struct completion *completion)
{
    completion->next = NULL;
    mutex_lock(&c->lock);
    mark(c, p);
    struct round *r = &c->rounds[c->gathering & 1];
    *r->completions_end = completion;
    r->completions_end = &completion->next;
    if (!c->running)
        cond_signal(&c->work);
    mutex_unlock(&c->lock);
}

bool committer_by_interval(const struct committer *c)
{
    return c->interval_ms > 0;
}

uint64_t committer_rounds(struct committer *c)
{
    return atomic_load_explicit(&c->completed, memory_order_acquire);
}

void committer_forget(struct committer *c, struct partition *p)
{
    mutex_lock(&c->lock);
    struct round *r = &c->rounds[c->gathering & 1];
    for (size_t i = 0; i < r->count; i++) {
        if (r->marked[i] != p)
            continue;
        r->marked[i] = r->marked[--r->count];
        partition_unmark(p);
        break;
    }
    bool running = c->running;
    mutex_unlock(&c->lock);
    /* A round that runs may hold the partition: one more round after it has certainly let go. */
    if (running)
        committer_wait(c);
}
