/* Group commit: see committer.h. */
#include "log/committer.h"
#include "log/partition.h"
#include "log/patience.h"
#include "log/syncers.h"

#include "base/clock.h"
#include "base/thread.h"

#include <assert.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>

struct round {
    struct partition **marked;
    size_t count, cap;
    struct completion *completions, **completions_end;
    size_t queued;            /* completions */
    _Atomic(uint32_t) joined; /* threads that wait for it; moved with the lock */
};

struct committer {
    struct mutex lock;
    struct cond work;       /* the thread waits for completions */
    struct round rounds[2]; /* by parity: one is gathered while the other runs */
    struct gate gates[2];   /* those who joined, by parity of their round */
    struct patience patience;
    uint64_t gathering;          /* number of the round being gathered */
    _Atomic(uint64_t) completed; /* number of the last round that is over */
    bool led;                    /* somebody leads: holds the gathered round, or runs one */
    bool running;                /* a round runs */
    bool stopping;
    bool urged; /* the gathered round is to run, whoever waits for it */
    uint32_t interval_ms;
    struct histogram *seconds, *publishes; /* of rounds; NULL: not told */
    struct dirnames names;
    struct syncers syncers;
    pthread_t thread;
};

/* With the lock, which is free while the round is held. */
static void hold(struct committer *c, const struct round *r)
{
    struct patience *p = &c->patience;
    if (!patience_asks(p, r->joined, clock_mono_ns(clock_system())))
        return;
    mutex_unlock(&c->lock);
    while (atomic_load_explicit(&r->joined, memory_order_relaxed) < p->expected &&
           clock_mono_ns(clock_system()) < p->until_ns)
        sched_yield();
    mutex_lock(&c->lock);
    patience_held(p, r->joined);
}

static void write_one(void *ctx, size_t i)
{
    const struct round *r = ctx;
    partition_write(r->marked[i]);
}

static void sync_one(void *ctx, size_t i)
{
    const struct round *r = ctx;
    partition_sync(r->marked[i], NULL);
}

/* Holds the gathered round for those that are expected, then runs it. Called and returns with the
 * lock; the lock is free in between. */
static void lead(struct committer *c)
{
    assert(!c->led && !c->running && mutex_held(&c->lock));
    unsigned side = c->gathering & 1;
    struct round *r = &c->rounds[side], *following = &c->rounds[side ^ 1];
    c->led = true;
    hold(c, r);
    uint64_t number = c->gathering++;
    c->running = true;
    c->urged = false;
    for (size_t i = 0; i < r->count; i++)
        partition_unmark(r->marked[i]);
    mutex_unlock(&c->lock);
    int64_t began_ns = clock_mono_ns(clock_system());
    /* First all files are there and written, so that syncs have those of others to do with their own. */
    if (r->count > 1)
        syncers_run(&c->syncers, write_one, r, r->count);
    syncers_run(&c->syncers, sync_one, r, r->count);
    int64_t ended_ns = clock_mono_ns(clock_system());
    mutex_lock(&c->lock);
    patience_round(&c->patience, r->joined, following->joined, began_ns, ended_ns);
    if (c->seconds && r->count > 0) {
        histogram_record(c->seconds, (double)(ended_ns - began_ns) / 1e9);
        histogram_record(c->publishes, (double)(r->joined + r->queued));
    }
    struct completion *done = r->completions;
    r->count = r->queued = 0;
    r->completions = NULL;
    r->completions_end = &r->completions;
    c->running = c->led = false;
    bool thread_needed = following->completions != NULL || c->urged;
    bool wake_next = following->joined > 0, wake_these = r->joined > 0;
    r->joined = 0;
    atomic_store_explicit(&c->completed, number, memory_order_release);
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
        bool work = r->completions || (r->count > 0 && (c->interval_ms || c->stopping || c->urged));
        if (work && !c->led) {
            lead(c);
            int64_t again = clock_mono_ns(clock_system()) + c->interval_ms * 1000000LL;
            while (c->interval_ms && !c->stopping &&
                   cond_wait_until(&c->work, &c->lock, clock_system(), again))
                ;
            continue;
        }
        if (c->stopping && !work && !c->led)
            break;
        cond_wait(&c->work, &c->lock);
    }
    mutex_unlock(&c->lock);
    return NULL;
}

static void make_metrics(struct committer *c, struct metrics *m)
{
    static const double seconds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                     0.025,  0.05,    0.1,    0.25,  0.5,    1,     2.5};
    static const double publishes[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
    struct metric_family *f =
        metrics_histogram(m, "beck_sync_duration_seconds", "How long a round of syncs took.", NULL,
                          1, seconds, sizeof seconds / sizeof *seconds);
    struct metric_family *g = metrics_histogram(
        m, "beck_sync_group_size", "Publishes that waited for the same round of syncs.", NULL, 1,
        publishes, sizeof publishes / sizeof *publishes);
    if (f && g) {
        c->seconds = metric_histogram(f, NULL);
        c->publishes = metric_histogram(g, NULL);
    }
}

beck_status committer_new(uint32_t sync_interval_ms, struct metrics *metrics,
                          struct committer **out, beck_error *err)
{
    struct committer *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(err, BECK_ENOMEM, "no memory for the committer");
    mutex_init(&c->lock);
    cond_init(&c->work);
    dirnames_init(&c->names);
    syncers_init(&c->syncers);
    for (int i = 0; i < 2; i++) {
        gate_init(&c->gates[i]);
        c->rounds[i].completions_end = &c->rounds[i].completions;
    }
    c->gathering = 1;
    c->interval_ms = sync_interval_ms;
    if (metrics)
        make_metrics(c, metrics);
    int rc = pthread_create(&c->thread, NULL, committer_main, c);
    if (rc) {
        syncers_release(&c->syncers);
        dirnames_release(&c->names);
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
    syncers_release(&c->syncers);
    dirnames_release(&c->names);
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
            r->joined++;
            mutex_unlock(&c->lock);
            gate_wait(&c->gates[i], seen);
            mutex_lock(&c->lock);
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

void committer_urge(struct committer *c, struct partition *p)
{
    mutex_lock(&c->lock);
    mark(c, p);
    c->urged = true;
    if (!c->led)
        cond_signal(&c->work);
    mutex_unlock(&c->lock);
}

/* Joins the gathered round and returns once it is over. Called with the lock, which is free on
 * return: who is woken by the end of the round has nothing to ask for. */
static void join(struct committer *c)
{
    uint64_t mine = c->gathering;
    struct gate *gate = &c->gates[mine & 1];
    c->rounds[mine & 1].joined++;
    for (;;) {
        if (atomic_load_explicit(&c->completed, memory_order_acquire) >= mine)
            break;
        if (!c->led) {
            lead(c);
            continue;
        }
        uint32_t seen = gate_seen(gate);
        mutex_unlock(&c->lock);
        gate_wait(gate, seen);
        if (atomic_load_explicit(&c->completed, memory_order_acquire) >= mine)
            return;
        mutex_lock(&c->lock);
    }
    mutex_unlock(&c->lock);
}

void committer_sync(struct committer *c, struct partition *p)
{
    mutex_lock(&c->lock);
    mark(c, p);
    join(c);
}

void committer_queue(struct committer *c, struct partition *p, struct completion *completion)
{
    completion->next = NULL;
    mutex_lock(&c->lock);
    mark(c, p);
    struct round *r = &c->rounds[c->gathering & 1];
    *r->completions_end = completion;
    r->completions_end = &completion->next;
    r->queued++;
    if (!c->led)
        cond_signal(&c->work);
    mutex_unlock(&c->lock);
}

bool committer_by_interval(const struct committer *c)
{
    return c->interval_ms > 0;
}

struct dirnames *committer_dirnames(struct committer *c)
{
    return &c->names;
}

void committer_share(struct committer *c, void (*fn)(void *ctx, size_t i), void *ctx, size_t count)
{
    syncers_run(&c->syncers, fn, ctx, count);
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
    /* A round that runs may hold the partition: one more round after it has certainly let go. */
    if (c->running)
        join(c);
    else
        mutex_unlock(&c->lock);
}
