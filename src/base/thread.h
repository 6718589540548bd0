/*
 * Mutexes that know their holder, condition variables on a clock, and a futex for many waiters.
 *
 * Lock order of the library, outermost first. A thread takes locks only downwards in this list, and
 * never two of one line:
 *
 *   runners.lock           programs that a server runs
 *   topics.change_lock     one change of topics or configurations by a Kafka client at a time
 *   shares.change_lock     making and deleting queues of share groups
 *   kafka_wire.acls_lock   one change of rules by a Kafka client at a time
 *   access.change_lock     one change of users at a time
 *   scrams.lock            SCRAM credentials of Kafka's clients
 *   beck.made_lock         who is told of buses that are made
 *   broker.change_lock     one change of exchanges, queues, bindings, policies at a time
 *   dispatcher.lock        the consumers of one queue of the broker
 *   transactions.ids_lock  blocks of producer ids
 *   broker.engine_lock     making buses for exchanges
 *   broker.topology_lock   (a rwlock) the view of all these
 *   delay.lock             making the bus of delayed messages
 *   beck.trace_lock        the index of traces
 *   beck.upkeep_lock       one checkpoint, maintenance or change of a queue at a time
 *   beck.admin_lock        making and deleting buses, queues and bindings; listing them
 *   share_session.lock     what a member of a share group holds
 *   follow_hub.lock        who follows buses over HTTP
 *   partition.lock         offsets, pending appends, segment list
 *   queue.lock             everything of one queue
 *   subscribers.lock       listeners and routes of one bus
 *   committer.lock         sync rounds and who waits for them
 *   hooks.lock             the sources of webhooks
 *   feed.lock              what followers of one feed share
 *   http.quiet_lock        the wait for the last request
 *   groups.lock            groups, their members and offsets
 *   transactions.lock      transactional ids and their transactions
 *   timers.lock            times that come
 *   work.lock              those who take from queues over HTTP
 *   pool.lock              jobs
 *   shares.lock            members, queues and sessions of share groups
 *   tail.lock              recent batches of a partition
 *   delivery_home.lock     what the broker does later, and who publishes
 *   publisher.lock         whether a publisher of AMQP is still there
 *   output.lock            what a program of a server says
 *   beck.timer_lock, callers.lock, metrics.lock, virtual_clock.lock, sim.lock, log.lock, access.lock, limiter.lock, known.lock, endpoint.lock, reloader.lock, seen.lock,
 *   certificates.lock, net.lock, net_tls.lock, memory.lock (of Kafka's requests), addresses.lock, broker.keeper_lock, recent.lock, topics.lock (a rwlock),
 *   configs.lock, amqp.lock, confirms.lock, dirnames.lock, kafka_wire.large_lock, syncers.lock, bus_points.lock, block_pool.lock, queue_home.lock,
 *   markers.lock, confirm.lock, amqp_alarms.lock, indexer.lock, crew.lock, client.lock, completions.lock,
 *   remote.lock, fetch_sessions.lock, rates.lock, credit.lock, stream.lock, reply_home.lock: leaves, nothing is taken inside
 *
 * No lock is held while a listener, a worker function, on_error or a done function runs, nor during
 * a sync.
 */
#ifndef BECK_BASE_THREAD_H
#define BECK_BASE_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mutex {
    pthread_mutex_t m;
    _Atomic(uintptr_t) holder; /* names the thread that holds it, 0: free */
};

void mutex_init(struct mutex *m);
void mutex_release(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);
bool mutex_held(struct mutex *m); /* by the calling thread: for asserts */

struct clock;

struct cond {
    pthread_cond_t c;
};
void cond_init(struct cond *c);
void cond_release(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m);
/* Waits until signalled or the clock's mono_ns() is at or after deadline_ns; false: the time came.
 * Works with the virtual clock: moving it wakes waiters. */
bool cond_wait_until(struct cond *c, struct mutex *m, struct clock *clock, int64_t deadline_ns);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* Returns once the word is no longer `seen`, or after some microseconds; at once where the one who
 * moves it could not run meanwhile. */
void thread_spin_while(const _Atomic(uint32_t) *word, uint32_t seen);

/* Many threads wait until a word moves on: one call wakes them all. */
struct gate {
    _Atomic(uint32_t) word;
};
void gate_init(struct gate *g);
static inline uint32_t gate_seen(struct gate *g)
{
    return atomic_load_explicit(&g->word, memory_order_acquire);
}
/* Returns when the word is no longer `seen`, or without reason: the caller looks again. */
void gate_wait(struct gate *g, uint32_t seen);
/* Moves the word on and wakes at most `count` of those that wait. */
void gate_bump(struct gate *g, int count);

#endif
