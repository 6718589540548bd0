/* A broker in memory for tests of the protocol: queues, and exchanges that know equal keys only. What the
 * real one does seldom can be asked for. */
#ifndef TESTS_WIRE_AMQP_STUB_H
#define TESTS_WIRE_AMQP_STUB_H

#include "base/thread.h"
#include "broker/broker.h"

struct stub_message;

struct broker {
    struct mutex lock; /* for all of it */
    struct cond changed;
    struct broker_queue *queues;
    struct stub_binding *bindings;
    uint64_t next_tag;
    int sessions, subscribers, publishers, queue_refs; /* that are there */
    int made_queues;
    int forgotten; /* gets of which the broker was told that they were written */
    /* What tests ask for. */
    _Atomic(bool) later;  /* the next publish has to be prepared */
    _Atomic(bool) holds;  /* confirms wait for stub_confirm */
    size_t waiting;       /* what publisher_waiting says */
    bool denied;          /* nobody may read any more */
    int64_t channels_max; /* of every user; 0: no limit */
    struct publisher *first_publisher;
};

struct broker *stub_new(void);
void stub_free(struct broker *b);
/* Confirms what waits, the last first if `backwards`. */
void stub_confirm(struct broker *b, bool backwards, bool ack);
/* The queue goes as if somebody else had deleted it. */
void stub_delete(struct broker *b, const char *queue);
size_t stub_ready(struct broker *b, const char *queue);
void stub_set_waiting(struct broker *b, size_t bytes);
/* Waits until there are so many. */
void stub_wait_sessions(struct broker *b, int count);
void stub_wait_held(struct broker *b, size_t confirms);

#endif
