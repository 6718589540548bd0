/*
 * The coordinator of transactions: behaviours, and at random with the power going at any step: of a
 * transaction all is seen or nothing. The seed of a failing run is printed; BECK_TEST_SEED runs that one
 * alone.
 */
#include "held_disk.h"
#include "place.h"

#include "../log/produced.h"
#include "base/rng.h"
#include "kafka/group_log.h"
#include "kafka/offsets.h"
#include "kafka/transactions_impl.h"
#include "log/cursor.h"
#include "support/effort.h"

#include <sys/syscall.h>
#include <unistd.h>

#define TIMEOUT_MS 60000

static struct place p;

static void begin_topics(void)
{
    accepted(&p, create(&p, "t", 2));
    accepted(&p, create(&p, "u", 1));
}

static int begin(void **state)
{
    (void)state;
    place_start(&p);
    begin_topics();
    return 0;
}

static int finish(void **state)
{
    (void)state;
    place_end(&p);
    return 0;
}

/* ---- short words ---- */

static struct partition *part(const char *name, int32_t number)
{
    return topic_partition(topic(&p, name), number);
}

static struct transaction_producer init(const char *id)
{
    struct transaction_producer x = {.id = beck_str(id), .producer_id = -1, .epoch = -1};
    assert_int_equal(transactions_init(p.k, &x, TIMEOUT_MS), KAFKA_NONE);
    return x;
}

static int check(const struct transaction_producer *x, const char *name, int32_t number,
                 bool implicit)
{
    struct transaction_partition where = {beck_str(name), number};
    return transactions_check(p.k, x, &where, implicit, NULL);
}

static struct transaction *enter(const struct transaction_producer *x, const char *name,
                                 int32_t number)
{
    struct transaction_partition where = {beck_str(name), number};
    struct transaction *t;
    assert_int_equal(transactions_check(p.k, x, &where, false, &t), KAFKA_NONE);
    return t;
}

static int add(const struct transaction_producer *x, const char *name, int32_t number)
{
    struct transaction_partition where = {beck_str(name), number};
    return transactions_add(p.k, x, &where, 1);
}

static beck_status send(const struct transaction_producer *x, const char *name, int32_t number,
                        int32_t sequence, const char *text)
{
    struct buf batch;
    beck_event e = {.type = beck_str("t"), .data = beck_str(text)};
    struct batch_header producer = {.producer_id = x->producer_id,
                                    .producer_epoch = x->epoch,
                                    .base_sequence = sequence,
                                    .attributes = BATCH_TRANSACTIONAL};
    buf_init(&batch, 1 << 20);
    assert_int_equal(make_batch(&batch, &e, 1, START_MS, BECK_CODEC_NONE, &producer), 0);
    struct produce a = {.batch = batch.data, .size = batch.len, .level = BECK_LEVEL_SYNCED};
    beck_status status = bus_produce(topic(&p, name)->bus, (uint32_t)number, &a, NULL);
    buf_release(&batch);
    return status;
}

static void sent(const struct transaction_producer *x, const char *name, int32_t number,
                 int32_t sequence, const char *text)
{
    assert_int_equal(send(x, name, number, sequence, text), BECK_OK);
}

/* "a b": the texts that readers see. */
static const char *seen(const char *name, int32_t number)
{
    static char text[4096];
    struct cursor *c;
    const struct record_view *v;
    size_t len = 0;
    text[0] = 0;
    assert_int_equal(cursor_open(part(name, number), &c, NULL), 0);
    for (int64_t at = 0; cursor_read(c, at, false, &v, NULL, NULL) == BECK_OK; at = v->offset + 1)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s", len ? " " : "",
                                (int)v->event.data.len, (const char *)v->event.data.data);
    cursor_close(c);
    return text;
}

static void note_state(void *ctx, const struct transaction_info *info)
{
    *(const char **)ctx = transaction_state_name(info->state);
}

static void note_start(void *ctx, const struct transaction_info *info)
{
    *(int64_t *)ctx = info->started_ms;
}

static const char *state_of(const char *id)
{
    const char *name = "none";
    transactions_find(p.k, beck_str(id), note_state, &name);
    return name;
}

/* ---- behaviours ---- */

static void producers_without_a_transaction_get_ids_of_their_own(void **state)
{
    int64_t last = -1;
    (void)state;
    for (int i = 0; i < 3; i++) {
        for (int n = 0; n < 3; n++) {
            struct transaction_producer x = {.producer_id = -1, .epoch = -1};
            assert_int_equal(transactions_init(p.k, &x, 0), KAFKA_NONE);
            assert_true(x.producer_id > last);
            assert_int_equal(x.epoch, 0);
            last = x.producer_id;
        }
        place_crash(&p);
    }
}

static void a_second_producer_fences_the_first(void **state)
{
    (void)state;
    struct transaction_producer a = init("x"), b = init("x");
    assert_int_equal(a.producer_id, b.producer_id);
    assert_int_equal(a.epoch, 0);
    assert_int_equal(b.epoch, 1);
    assert_int_equal(add(&a, "t", 0), KAFKA_PRODUCER_FENCED);
    assert_int_equal(check(&a, "t", 0, true), KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(transactions_end(p.k, &a, true, true), KAFKA_PRODUCER_FENCED);
    assert_int_equal(transactions_init(p.k, &a, TIMEOUT_MS), KAFKA_PRODUCER_FENCED);
    assert_int_equal(add(&b, "t", 0), KAFKA_NONE);
    b.producer_id++;
    assert_int_equal(add(&b, "t", 0), KAFKA_INVALID_PRODUCER_ID_MAPPING);
    b.id = beck_str("y");
    assert_int_equal(add(&b, "t", 0), KAFKA_INVALID_PRODUCER_ID_MAPPING);
    b.id = beck_str("");
    assert_int_equal(transactions_init(p.k, &b, TIMEOUT_MS), KAFKA_INVALID_REQUEST);
}

static void an_expected_epoch_is_bumped_once(void **state)
{
    (void)state;
    struct transaction_producer a = init("x"), again = a;
    assert_int_equal(transactions_init(p.k, &a, TIMEOUT_MS), KAFKA_NONE);
    assert_int_equal(a.epoch, 1);
    assert_int_equal(transactions_init(p.k, &again, TIMEOUT_MS), KAFKA_NONE);
    assert_int_equal(again.epoch, 1);
}

static void timeouts_have_a_limit(void **state)
{
    struct transaction_producer x = {.id = beck_str("x"), .producer_id = -1, .epoch = -1};
    (void)state;
    assert_int_equal(transactions_init(p.k, &x, TRANSACTION_TIMEOUT_MAX + 1),
                     KAFKA_INVALID_TRANSACTION_TIMEOUT);
    assert_int_equal(transactions_init(p.k, &x, 0), KAFKA_INVALID_TRANSACTION_TIMEOUT);
    assert_int_equal(transactions_init(p.k, &x, TRANSACTION_TIMEOUT_MAX), KAFKA_NONE);
}

static void what_is_committed_is_seen_at_once_in_all_partitions(void **state)
{
    (void)state;
    struct transaction_producer x = init("x");
    assert_int_equal(check(&x, "t", 0, false), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    assert_int_equal(check(&x, "t", 0, false), KAFKA_NONE);
    assert_int_equal(check(&x, "t", 1, false), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(add(&x, "u", 0), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    sent(&x, "u", 0, 0, "b");
    assert_string_equal(state_of("x"), "Ongoing");
    assert_string_equal(seen("t", 0), "");
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_NONE);
    assert_string_equal(state_of("x"), "CompleteCommit");
    int64_t started_ms = -1;
    transactions_find(p.k, beck_str("x"), note_start, &started_ms);
    assert_true(started_ms >= 0);
    assert_string_equal(seen("t", 0), "a");
    assert_string_equal(seen("u", 0), "b");
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_NONE); /* again */
    assert_int_equal(transactions_end(p.k, &x, false, false), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(x.epoch, 0);
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    sent(&x, "t", 0, 1, "c");
    assert_int_equal(transactions_end(p.k, &x, false, false), KAFKA_NONE);
    assert_string_equal(seen("t", 0), "a");
}

static void each_transaction_of_version_2_has_its_epoch(void **state)
{
    (void)state;
    struct transaction_producer x = init("x"), old = x, again = x;
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    assert_int_equal(x.epoch, 1);
    /* The answer was lost. */
    assert_int_equal(transactions_end(p.k, &again, true, true), KAFKA_NONE);
    assert_int_equal(again.epoch, 1);
    again = old;
    assert_int_equal(transactions_end(p.k, &again, false, true), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(check(&old, "t", 0, true), KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(send(&old, "t", 0, 1, "late"), BECK_EFENCED);
    /* One that nothing was written in. */
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(transactions_end(p.k, &x, false, true), KAFKA_NONE);
    assert_int_equal(x.epoch, 2);
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 0, "b");
    again = old;
    assert_int_equal(transactions_end(p.k, &again, true, true), KAFKA_PRODUCER_FENCED);
    assert_string_equal(seen("t", 0), "a");
}

static void a_late_end_is_known_after_a_restart(void **state)
{
    (void)state;
    struct transaction_producer x = init("x"), again = x;
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    place_reopen(&p);
    assert_int_equal(transactions_end(p.k, &again, true, true), KAFKA_NONE);
    assert_int_equal(again.epoch, x.epoch);
}

static void the_time_of_a_transaction_ends(void **state)
{
    (void)state;
    struct transaction_producer x = init("x"), old = x;
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    world_advance(&p.w, TIMEOUT_MS - 1);
    transactions_tick(p.k);
    assert_string_equal(state_of("x"), "Ongoing");
    world_advance(&p.w, 1);
    transactions_tick(p.k);
    assert_string_equal(state_of("x"), "CompleteAbort");
    assert_int_equal(partition_stable(part("t", 0)), 2);
    assert_string_equal(seen("t", 0), "");
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_PRODUCER_FENCED);
    assert_int_equal(check(&old, "t", 0, true), KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(send(&old, "t", 0, 1, "late"), BECK_EFENCED);
    x = init("x");
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
}

static void a_new_producer_aborts_what_the_old_one_left_open(void **state)
{
    (void)state;
    struct transaction_producer x = init("x");
    assert_int_equal(add(&x, "t", 1), KAFKA_NONE);
    sent(&x, "t", 1, 0, "a");
    struct transaction_producer y = init("x");
    assert_int_equal(y.producer_id, x.producer_id);
    assert_int_equal(y.epoch, 2);
    assert_int_equal(partition_stable(part("t", 1)), 2);
    assert_string_equal(seen("t", 1), "");
    assert_int_equal(send(&x, "t", 1, 1, "late"), BECK_EFENCED);
}

/* The producer had given the batch up, and the loop that brings it was held up behind the abort: without an epoch for
 * each transaction the partition takes it. */
static void a_batch_behind_the_end_of_its_transaction_is_of_no_other(void **state)
{
    (void)state;
    struct transaction_producer x = init("x");
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    assert_int_equal(transactions_end(p.k, &x, false, false), KAFKA_NONE);
    sent(&x, "t", 0, 1, "late");
    assert_int_equal(transactions_init(p.k, &x, TIMEOUT_MS), KAFKA_NONE);
    assert_int_equal(x.epoch, 1);
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    sent(&x, "t", 0, 0, "b");
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    assert_int_equal(add(&x, "t", 1), KAFKA_NONE);
    sent(&x, "t", 1, 0, "c");
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_NONE);
    assert_string_equal(seen("t", 0), "b");
    assert_string_equal(seen("t", 1), "c");
}

static void *end_with_commit(void *ctx)
{
    struct transaction_producer *x = ctx;
    assert_int_equal(transactions_end(p.k, x, true, false), KAFKA_NONE);
    return NULL;
}

/* Without an epoch for each transaction an end that comes late, after it was asked for again, ends the producer's next
 * transaction. A batch that was let in is part of it all the same: else its producer, whose own request to commit finds it
 * committed, would be told so of a batch that is in none. */
static void what_was_let_in_is_written_before_the_end(void **state)
{
    pthread_t late;
    (void)state;
    struct transaction_producer x = init("x");
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    struct transaction *entered = enter(&x, "t", 0);
    pthread_create(&late, NULL, end_with_commit, &x);
    while (check(&x, "t", 0, false) == KAFKA_NONE)
        sched_yield();
    assert_int_equal(check(&x, "t", 0, false), KAFKA_CONCURRENT_TRANSACTIONS);
    assert_string_equal(state_of("x"), "Ongoing");
    sent(&x, "t", 0, 0, "a");
    transactions_leave(p.k, entered);
    pthread_join(late, NULL);
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_NONE);
    assert_string_equal(seen("t", 0), "a");
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    assert_int_equal(transactions_end(p.k, &x, false, false), KAFKA_NONE);
    assert_string_equal(seen("t", 0), "a");
}

/* The end has an epoch of its own then, and does not wait. */
static void time_ends_a_transaction_while_batches_are_let_in(void **state)
{
    (void)state;
    struct transaction_producer x = init("x");
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    struct transaction *entered = enter(&x, "t", 0);
    world_advance(&p.w, TIMEOUT_MS);
    transactions_tick(p.k);
    assert_string_equal(state_of("x"), "CompleteAbort");
    assert_int_equal(send(&x, "t", 0, 0, "late"), BECK_EFENCED);
    transactions_leave(p.k, entered);
}

/* Each was asked for again on another connection, when the first one had stopped to answer. */
static void what_nobody_waits_for_any_more_is_not_done(void **state)
{
    _Atomic(bool) gone = false;
    (void)state;
    struct transaction_producer x = init("x"), late = x;
    late.gone = &gone;
    assert_int_equal(add(&late, "t", 0), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    assert_int_equal(transactions_end(p.k, &late, false, false), KAFKA_NONE);
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    sent(&x, "t", 0, 1, "b");
    atomic_store(&gone, true);
    assert_int_equal(transactions_end(p.k, &late, false, false), KAFKA_REQUEST_TIMED_OUT);
    assert_int_equal(add(&late, "t", 0), KAFKA_REQUEST_TIMED_OUT);
    assert_int_equal(transactions_init(p.k, &late, TIMEOUT_MS), KAFKA_REQUEST_TIMED_OUT);
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_NONE);
    assert_string_equal(seen("t", 0), "b");
}

static void what_is_open_goes_on_after_a_restart(void **state)
{
    (void)state;
    struct transaction_producer x = init("x"), y = init("y");
    assert_int_equal(check(&x, "t", 0, true),
                     KAFKA_NONE); /* recorded nowhere but in the partition */
    sent(&x, "t", 0, 0, "a");
    assert_int_equal(add(&y, "u", 0), KAFKA_NONE); /* nothing is written */
    place_crash(&p);
    assert_string_equal(state_of("x"), "Ongoing");
    assert_string_equal(state_of("y"), "Ongoing");
    assert_int_equal(check(&y, "u", 0, false), KAFKA_NONE);
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 1, "b");
    sent(&y, "u", 0, 0, "c");
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    assert_int_equal(transactions_end(p.k, &y, true, false), KAFKA_NONE);
    place_crash(&p);
    assert_string_equal(seen("t", 0), "a b");
    assert_string_equal(seen("u", 0), "c");
    assert_string_equal(state_of("x"), "CompleteCommit");
}

static void a_transaction_that_nobody_knows_is_aborted(void **state)
{
    struct transaction_producer x = {.id = beck_str("x"), .producer_id = 4711, .epoch = 3};
    (void)state;
    sent(&x, "t", 0, 0, "a");
    place_reopen(&p);
    assert_int_equal(partition_stable(part("t", 0)), 2);
    assert_string_equal(seen("t", 0), "");
    /* And its id is nobody else's. */
    assert_true(init("y").producer_id > 4711);
}

static void what_is_in_a_transaction_stays_so_while_more_is_added(void **state)
{
    (void)state;
    struct transaction_producer x = init("x");
    struct transactions *ts = p.k->transactions;
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    mutex_lock(&ts->lock);
    struct transaction *t = transaction_find(ts, x.id);
    t->busy = t->adding = true; /* as while a record is synced */
    mutex_unlock(&ts->lock);
    assert_int_equal(check(&x, "t", 0, false), KAFKA_NONE);
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    assert_int_equal(check(&x, "t", 1, false), KAFKA_INVALID_TXN_STATE);
    assert_int_equal(check(&x, "t", 1, true), KAFKA_CONCURRENT_TRANSACTIONS);
    mutex_lock(&ts->lock);
    t->busy = t->adding = false;
    mutex_unlock(&ts->lock);
}

static void epochs_that_are_used_up_bring_another_producer_id(void **state)
{
    (void)state;
    struct transaction_producer x = init("x"), old;
    struct transactions *ts = p.k->transactions;
    mutex_lock(&ts->lock);
    transaction_find(ts, x.id)->epoch = x.epoch = EPOCH_LAST;
    mutex_unlock(&ts->lock);
    old = x;
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    assert_int_not_equal(x.producer_id, old.producer_id);
    assert_int_equal(x.epoch, 0);
    struct transaction_producer again = old;
    assert_int_equal(transactions_end(p.k, &again, true, true), KAFKA_NONE);
    assert_int_equal(again.producer_id, x.producer_id);
    assert_int_equal(send(&old, "t", 0, 1, "late"), BECK_EFENCED);
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 0, "b");
    place_crash(&p);
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    assert_string_equal(seen("t", 0), "a b");
}

static void ids_are_forgotten_after_a_week(void **state)
{
    (void)state;
    init("x");
    world_advance(&p.w, TRANSACTION_EXPIRY_MS - 1);
    init("y");
    world_advance(&p.w, 1);
    transactions_tick(p.k);
    assert_string_equal(state_of("x"), "none");
    assert_string_equal(state_of("y"), "Empty");
    place_reopen(&p);
    assert_string_equal(state_of("x"), "none");
    assert_string_equal(state_of("y"), "Empty");
}

static void what_cannot_be_recorded_is_not_decided(void **state)
{
    (void)state;
    struct transaction_producer x = init("x");
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    vfs_sim_fail(p.w.vfs, VFS_OP_WRITE, 1, true, BECK_EFULL);
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_COORDINATOR_NOT_AVAILABLE);
    vfs_sim_fail(p.w.vfs, 0, 0, false, BECK_OK);
    assert_string_equal(state_of("x"), "Ongoing");
    assert_string_equal(seen("t", 0), "");
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_NONE);
    assert_string_equal(seen("t", 0), "a");
}

static void what_is_decided_is_carried_out_later_when_it_cannot_be_now(void **state)
{
    (void)state;
    struct transaction_producer x = init("x");
    assert_int_equal(add(&x, "t", 0), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    vfs_sim_fail(p.w.vfs, VFS_OP_WRITE, 2, false, BECK_EFULL); /* of the control batch */
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_NONE);
    vfs_sim_fail(p.w.vfs, 0, 0, false, BECK_OK);
    transactions_tick(p.k);
    assert_string_equal(state_of("x"), "CompleteCommit");
    assert_string_equal(seen("t", 0), "a");
}

static void queues_get_what_is_committed_in_order(void **state)
{
    (void)state;
    world_queue(&p.w, "q", NULL);
    world_bind(&p.w, "q", "t", "#", BECK_FROM_EARLIEST);
    beck_consumer *c = world_consumer(&p.w, "q", 10);
    struct transaction_producer x = init("x"), y = init("y");
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    assert_int_equal(check(&y, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    sent(&y, "t", 0, 0, "aborted");
    sent(&x, "t", 0, 1, "b");
    take_nothing(c);
    assert_int_equal(transactions_end(p.k, &y, false, true), KAFKA_NONE);
    take_nothing(c);
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    take(c, "a");
    take(c, "b");
    take_nothing(c);
    beck_consumer_close(c);
}

static void queues_get_what_is_committed_after_a_restart(void **state)
{
    (void)state;
    world_queue(&p.w, "q", NULL);
    world_bind(&p.w, "q", "t", "#", BECK_FROM_EARLIEST);
    struct transaction_producer x = init("x"), y = init("y");
    assert_int_equal(check(&x, "t", 0, true), KAFKA_NONE);
    assert_int_equal(check(&y, "t", 0, true), KAFKA_NONE);
    sent(&x, "t", 0, 0, "a");
    sent(&y, "t", 0, 0, "aborted");
    for (int i = 0; i < 2; i++) {
        if (i)
            place_crash(&p);
        else
            place_reopen(&p);
        beck_consumer *c = world_consumer(&p.w, "q", 10);
        take_nothing(c);
        beck_consumer_close(c);
    }
    assert_int_equal(transactions_end(p.k, &y, false, true), KAFKA_NONE);
    sent(&x, "t", 0, 1, "b");
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    beck_consumer *c = world_consumer(&p.w, "q", 10);
    mutex_lock(&p.w.b->admin_lock);
    struct queue *q = handle_find_queue(p.w.b, "q");
    mutex_unlock(&p.w.b->admin_lock);
    queue_tick(q);
    take(c, "a");
    take(c, "b");
    take_nothing(c);
    beck_consumer_close(c);
}

/* Routes for it are given up then, and the log has them all. */
static void a_queue_that_too_much_is_held_for_reads_the_log(void **state)
{
    enum { AT_ONCE = 20000, TURNS = 14 };
    (void)state;
    world_queue(&p.w, "q", NULL);
    world_bind(&p.w, "q", "u", "#", BECK_FROM_EARLIEST);
    struct transaction_producer x = init("x");
    assert_int_equal(check(&x, "u", 0, true), KAFKA_NONE);
    sent(&x, "u", 0, 0, "first");
    beck_event *events = calloc(AT_ONCE, sizeof *events);
    assert_non_null(events);
    for (int i = 0; i < AT_ONCE; i++)
        events[i] = (beck_event){.type = beck_str("t")};
    for (int i = 0; i < TURNS; i++)
        check_ok(beck_publish_many(topic(&p, "u")->bus, events, AT_ONCE, NULL, NULL, err));
    free(events);
    check_counts(&p.w, "q", 0, 0, 0, 0);
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    mutex_lock(&p.w.b->admin_lock);
    struct queue *q = handle_find_queue(p.w.b, "q");
    mutex_unlock(&p.w.b->admin_lock);
    queue_tick(q);
    check_counts(&p.w, "q", 1 + AT_ONCE * TURNS, 0, 0, 0);
    beck_consumer *c = world_consumer(&p.w, "q", 1);
    take(c, "first");
    beck_consumer_close(c);
    /* And what comes now is brought again. */
    put(topic(&p, "u")->bus, "t", "x");
    check_counts(&p.w, "q", 2 + AT_ONCE * TURNS, 0, 0, 0);
}

static char heard[256];

static int note_heard(void *ctx, const beck_event *e)
{
    (void)ctx;
    size_t len = strlen(heard);
    snprintf(heard + len, sizeof heard - len, "%.1s@%lld ", (const char *)e->data.data,
             (long long)e->position.offset);
    return 0;
}

static void listeners_are_called_for_what_is_committed(void **state)
{
    char large[300001];
    (void)state;
    heard[0] = 0;
    check_ok(beck_subscribe(topic(&p, "t")->bus, "#", note_heard, NULL, NULL, NULL, err));
    struct transaction_producer x = init("x"), y = init("y"), z = init("z");
    memset(large, 'L', sizeof large - 1);
    large[sizeof large - 1] = 0;
    assert_int_equal(check(&x, "t", 0, true) + check(&y, "t", 0, true) + check(&z, "t", 0, true),
                     0);
    sent(&z, "t", 0, 0, "z"); /* stays open */
    sent(&x, "t", 0, 0, "a");
    sent(&y, "t", 0, 0, "b");
    for (int i = 1; i < 10; i++) /* more than is kept in memory */
        sent(&x, "t", 0, i, large);
    assert_string_equal(heard, "");
    assert_int_equal(transactions_end(p.k, &y, false, true), KAFKA_NONE);
    assert_string_equal(heard, "");
    vfs_sim_fail(p.w.vfs, VFS_OP_WRITE, 2, false, BECK_EFULL); /* of the control batch */
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    assert_string_equal(heard, "");
    vfs_sim_fail(p.w.vfs, 0, 0, false, BECK_OK);
    transactions_tick(p.k);
    assert_string_equal(heard, "a@1 L@3 L@4 L@5 L@6 L@7 L@8 L@9 L@10 L@11 ");
    transactions_tick(p.k);
    assert_int_equal(transactions_end(p.k, &z, true, true), KAFKA_NONE);
    assert_string_equal(heard, "a@1 L@3 L@4 L@5 L@6 L@7 L@8 L@9 L@10 L@11 z@0 ");
}

/* ---- at random ---- */

#define SEEDS effort(150, 25)
#define STEPS 60
#define IDS 2
#define TRANSACTIONS 256

enum outcome { OPEN, COMMITTED, ABORTED, UNKNOWN };

struct model {
    struct rng rng;
    uint64_t seed;
    struct transaction_producer producers[IDS];
    bool there[IDS], version_2;
    int32_t sequences[IDS][3];
    int current[IDS]; /* its transaction; -1: none */
    enum outcome outcomes[TRANSACTIONS];
    int sizes[TRANSACTIONS]; /* records that were confirmed */
    int count;
    bool stopping;
};

static const struct {
    const char *topic;
    int32_t number;
} places[] = {{"t", 0}, {"t", 1}, {"u", 0}};

/* While others are open, what lies behind their beginning in a partition is not seen. */
static bool is_settled(void)
{
    bool settled = true;
    for (size_t i = 0; i < 3; i++) {
        struct partition *x = part(places[i].topic, places[i].number);
        settled &= partition_stable(x) == partition_next(x);
    }
    return settled;
}

static void check_seen(struct model *m)
{
    int counts[TRANSACTIONS] = {0};
    bool settled = is_settled();
    for (size_t i = 0; i < 3; i++) {
        char *rest = NULL, text[4096];
        snprintf(text, sizeof text, "%s", seen(places[i].topic, places[i].number));
        for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
            counts[atoi(word)]++;
    }
    for (int i = 0; i < m->count; i++) {
        enum outcome o = m->outcomes[i];
        bool all = counts[i] == m->sizes[i] || !settled, none = counts[i] == 0;
        if ((o == COMMITTED && !all) || ((o == ABORTED || o == OPEN) && !none) || (!all && !none))
            fail_msg("seed %llu: of transaction %d with %d records %d are seen, outcome %d",
                     (unsigned long long)m->seed, i, m->sizes[i], counts[i], (int)o);
    }
}

/* The power goes. What was open ends, as nobody goes on with it. */
static void lose_power(struct model *m)
{
    vfs_sim_crash(p.w.vfs);
    kafka_close(p.k);
    beck_abandon(p.w.b);
    vfs_sim_stop_at(p.w.vfs, 0);
    m->stopping = false;
    world_open(&p.w);
    place_begin(&p);
    check_seen(m);
    world_advance(&p.w, TIMEOUT_MS);
    transactions_tick(p.k);
    for (int i = 0; i < m->count; i++)
        if (m->outcomes[i] == OPEN)
            m->outcomes[i] = ABORTED;
    for (int i = 0; i < IDS; i++) {
        m->there[i] = false;
        m->current[i] = -1;
    }
    check_seen(m);
    if (!is_settled())
        fail_msg("seed %llu: a transaction stays open", (unsigned long long)m->seed);
}

/* False: it failed, which only the power may be to blame for. */
static bool went_well(struct model *m, int error, const char *what)
{
    if (error && !m->stopping)
        fail_msg("seed %llu: %s: %s", (unsigned long long)m->seed, what, kafka_error_name(error));
    return !error;
}

static bool step_init(struct model *m, int i)
{
    char id[8];
    snprintf(id, sizeof id, "id%d", i);
    static const char *const ids[] = {"id0", "id1"};
    struct transaction_producer x = {.id = beck_str(ids[i]), .producer_id = -1, .epoch = -1};
    if (m->current[i] >= 0)
        m->outcomes[m->current[i]] = ABORTED;
    m->current[i] = -1;
    m->there[i] = went_well(m, transactions_init(p.k, &x, TIMEOUT_MS), "init");
    m->producers[i] = x;
    memset(m->sequences[i], 0, sizeof m->sequences[i]);
    return m->there[i];
}

static bool step_send(struct model *m, int i)
{
    size_t where = rng_below(&m->rng, 3);
    const struct transaction_producer *x = &m->producers[i];
    char text[16];
    if (m->current[i] < 0) {
        m->current[i] = m->count++;
        m->outcomes[m->current[i]] = OPEN;
    }
    int n = m->current[i];
    if (!m->version_2 && !went_well(m, add(x, places[where].topic, places[where].number), "add"))
        return false;
    if (!went_well(m, check(x, places[where].topic, places[where].number, m->version_2), "check"))
        return false;
    snprintf(text, sizeof text, "%d", n);
    beck_status status =
        send(x, places[where].topic, places[where].number, m->sequences[i][where]++, text);
    m->sizes[n] += !status;
    return went_well(m, status ? KAFKA_KAFKA_STORAGE_ERROR : KAFKA_NONE, beck_status_name(status));
}

static bool step_end(struct model *m, int i)
{
    bool commit = rng_below(&m->rng, 3) > 0;
    int n = m->current[i];
    if (n < 0)
        return true;
    m->current[i] = -1;
    m->outcomes[n] = commit ? UNKNOWN : ABORTED;
    if (!went_well(m, transactions_end(p.k, &m->producers[i], commit, m->version_2), "end"))
        return false;
    if (commit)
        m->outcomes[n] = COMMITTED;
    if (m->version_2)
        memset(m->sequences[i], 0, sizeof m->sequences[i]);
    return true;
}

static bool step(struct model *m)
{
    int i = (int)rng_below(&m->rng, IDS);
    if (!m->there[i] || rng_below(&m->rng, 20) == 0)
        return step_init(m, i);
    return rng_below(&m->rng, 3) ? step_send(m, i) : step_end(m, i);
}

static void one_run(uint64_t seed)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->seed = seed;
    rng_seed(&m->rng, seed);
    m->version_2 = seed % 2;
    begin(NULL);
    for (int i = 0; i < IDS; i++)
        m->current[i] = -1;
    for (int i = 0; i < STEPS; i++) {
        if (!m->stopping && rng_below(&m->rng, 10) == 0) {
            vfs_sim_stop_at(p.w.vfs, 1 + rng_below(&m->rng, 12));
            m->stopping = true;
        }
        if (!step(m) || (m->stopping && rng_below(&m->rng, 8) == 0))
            lose_power(m);
        else if (!m->stopping)
            check_seen(m);
    }
    lose_power(m);
    finish(NULL);
    free(m);
}

static void all_of_a_transaction_is_seen_or_nothing(void **state)
{
    const char *one = getenv("BECK_TEST_SEED");
    (void)state;
    if (one) {
        one_run(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        one_run(seed);
}

/* ---- exactly once ---- */

#define HANDLED 3
#define OFFSETS "__consumer_offsets"

static void note_error(void *ctx, const void *answer)
{
    *(int *)ctx = ((const struct kafka_txn_offset_commit_response *)answer)
                      ->topics.at[0]
                      .partitions.at[0]
                      .error_code;
}

/* *error is set when it is answered. */
static void ask_to_commit(const struct transaction_producer *x, int64_t offset, bool version_2,
                          int *error)
{
    struct kafka_txn_offset_commit_request_partition where = {.committed_offset = offset,
                                                              .committed_leader_epoch = -1};
    struct kafka_txn_offset_commit_request_topic t = {.name = beck_str("u"),
                                                      .partitions = {.at = &where, .count = 1}};
    struct kafka_txn_offset_commit_request r;
    kafka_txn_offset_commit_request_init(&r);
    r.transactional_id = x->id;
    r.group_id = beck_str("g");
    r.producer_id = x->producer_id;
    r.producer_epoch = x->epoch;
    r.topics.at = &t;
    r.topics.count = 1;
    offsets_commit_pending(kafka_groups(p.k), &r, version_2 ? 5 : 3, note_error, error);
}

static int commit_offset(const struct transaction_producer *x, int64_t offset, bool version_2)
{
    int error = version_2 ? KAFKA_NONE : add(x, OFFSETS, 0);
    if (error)
        return error;
    ask_to_commit(x, offset, version_2, &error);
    group_log_wait(kafka_groups(p.k));
    return error;
}

static int64_t committed_offset(void)
{
    struct kafka_arena arena;
    int32_t partition = 0;
    struct kafka_offset_fetch_request_group_topic t = {
        .name = beck_str("u"), .partition_indexes = {.at = &partition, .count = 1}};
    struct kafka_offset_fetch_request_group r = {
        .group_id = beck_str("g"), .member_epoch = -1, .topics = {.at = &t, .count = 1}};
    struct kafka_offset_fetch_response_group a;
    kafka_arena_init(&arena, 1 << 20);
    assert_false(offsets_fetch(kafka_groups(p.k), &r, 8, true, &arena, &a));
    assert_int_equal(a.topics.at[0].partitions.at[0].error_code, KAFKA_NONE);
    int64_t offset = a.topics.at[0].partitions.at[0].committed_offset;
    kafka_arena_release(&arena);
    return offset;
}

/* A client that takes offset n of "u" and answers with the text n, as one transaction. It outlives the server, and
 * goes on with the step that failed. */
struct client {
    struct transaction_producer x;
    bool version_2, there;
    int32_t sequence;
    int handled, step;
};

static int client_step(struct client *c)
{
    char text[16];
    if (!c->there) {
        c->x = (struct transaction_producer){.id = beck_str("x"), .producer_id = -1, .epoch = -1};
        c->sequence = c->step = 0;
        return transactions_init(p.k, &c->x, TIMEOUT_MS);
    }
    snprintf(text, sizeof text, "%d", c->handled);
    int error = KAFKA_NONE;
    switch (c->step) {
    case 0:
        if (!c->version_2)
            error = add(&c->x, "t", 0);
        if (!error)
            error = check(&c->x, "t", 0, c->version_2);
        if (!error && send(&c->x, "t", 0, c->sequence, text))
            error = KAFKA_KAFKA_STORAGE_ERROR;
        return error;
    case 1:
        return commit_offset(&c->x, c->handled, c->version_2);
    default:
        return transactions_end(p.k, &c->x, true, c->version_2);
    }
}

/* False: it failed. */
static bool client_goes_on(struct client *c)
{
    while (c->handled < HANDLED) {
        if (client_step(c))
            return false;
        if (!c->there) {
            c->there = true;
        } else if (++c->step == 3) {
            c->step = 0;
            c->sequence = c->version_2 ? 0 : c->sequence + 1;
            c->handled++;
        }
    }
    return true;
}

/* Its next life begins where the group is. */
static void client_begins_again(struct client *c)
{
    c->there = false;
    while (client_step(c))
        transactions_tick(p.k);
    c->there = true;
    c->handled = (int)committed_offset() + 1;
}

static void expect_each_once(uint64_t seed, uint64_t stop)
{
    static const char *const texts[] = {"", "0", "0 1", "0 1 2"};
    int64_t offset = committed_offset();
    if (strcmp(seen("t", 0), texts[offset + 1]) != 0)
        fail_msg("seed %llu, stopped at %llu: offset %lld is committed, and seen is \"%s\"",
                 (unsigned long long)seed, (unsigned long long)stop, (long long)offset,
                 seen("t", 0));
}

/* True: it was never stopped. */
static bool stopped_once(uint64_t seed, uint64_t stop, bool version_2)
{
    struct client c = {.version_2 = version_2};
    p = (struct place){.settings = {.partitions = 1, .node_id = 1, .acks_all = BECK_LEVEL_SYNCED}};
    world_start(&p.w, seed);
    place_begin(&p);
    begin_topics();
    vfs_sim_stop_at(p.w.vfs, stop);
    bool whole = client_goes_on(&c);
    vfs_sim_stop_at(p.w.vfs, 0);
    place_crash(&p);
    if (!client_goes_on(&c)) {
        client_begins_again(&c);
        expect_each_once(seed, stop);
        assert_true(client_goes_on(&c));
    }
    expect_each_once(seed, stop);
    assert_int_equal(committed_offset(), HANDLED - 1);
    place_end(&p);
    return whole;
}

static void records_and_offsets_stand_together_wherever_the_power_goes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= effort(20, 3); seed++)
        for (int version = 1; version <= 2; version++)
            for (uint64_t stop = 1; !stopped_once(seed, stop, version == 2); stop++)
                ;
}

/* ---- offsets that meet the end of their transaction ---- */

struct committing {
    struct transaction_producer x;
    int64_t offset;
    int error;
};

static void *commit_elsewhere(void *ctx)
{
    struct committing *c = ctx;
    ask_to_commit(&c->x, c->offset, true, &c->error);
    return NULL;
}

static _Atomic(pid_t) ender_thread;

/* Whether a thread sleeps until a lock is free. */
static bool waits_for(pid_t thread, const struct mutex *lock)
{
    char path[64];
    long call = -1;
    unsigned long word = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)thread);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    bool in_call = fscanf(f, "%ld %lx", &call, &word) == 2;
    fclose(f);
    return in_call && call == SYS_futex && word - (uintptr_t)lock < sizeof *lock;
}

static void *end_elsewhere(void *ctx)
{
    struct committing *c = ctx;
    atomic_store(&ender_thread, gettid());
    c->error = transactions_end(p.k, &c->x, true, true);
    return NULL;
}

/* The batch is written, and groups do not know it yet; the transaction is being ended meanwhile. */
static void a_commit_shows_offsets_that_are_just_being_written(void **state)
{
    (void)state;
    struct groups *g = kafka_groups(p.k);
    struct transaction_producer x = init("x");
    pthread_t writer, ender;
    held_begin(p.w.vfs, OFFSETS "-0/");
    assert_int_equal(commit_offset(&x, 1, true), KAFKA_NONE);
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);

    struct committing offsets = {.x = x, .offset = 2, .error = -1}, last = {.x = x};
    struct partition *log = group_log_partition(g);
    held_hold();
    pthread_create(&writer, NULL, commit_elsewhere, &offsets);
    held_await();
    mutex_lock(&g->lock);
    held_let_go();
    while (partition_open_since(log, x.producer_id) < 0)
        sched_yield();
    pthread_create(&ender, NULL, end_elsewhere, &last);
    while (strcmp(state_of("x"), "PrepareCommit") != 0)
        sched_yield();
    /* An end that does not wait for groups would be written now. */
    while (!waits_for(atomic_load(&ender_thread), &g->lock) &&
           partition_open_since(log, x.producer_id) >= 0)
        sched_yield();
    mutex_unlock(&g->lock);
    pthread_join(ender, NULL);
    pthread_join(writer, NULL);
    group_log_wait(g);
    assert_int_equal(last.error, KAFKA_NONE);
    assert_int_equal(offsets.error, KAFKA_NONE);
    assert_int_equal(committed_offset(), 2);
    place_reopen(&p);
    assert_int_equal(committed_offset(), 2);
}

/* The group's log is being written for others. */
static void commit_and_end(void *ctx, const void *answer)
{
    struct committing *c = ctx;
    (void)answer;
    ask_to_commit(&c->x, c->offset, false, &c->error);
    assert_int_equal(c->error, -1);
    assert_int_equal(transactions_end(p.k, &c->x, true, false), KAFKA_NONE);
}

static void offsets_that_wait_take_no_part_in_what_is_committed_before(void **state)
{
    (void)state;
    struct groups *g = kafka_groups(p.k);
    struct transaction_producer x = init("x");
    struct kafka_offset_commit_request_partition where = {.committed_offset = 7,
                                                          .committed_leader_epoch = -1};
    struct kafka_offset_commit_request_topic t = {.name = beck_str("u"),
                                                  .partitions = {.at = &where, .count = 1}};
    struct kafka_offset_commit_request r;
    kafka_offset_commit_request_init(&r);
    r.group_id = beck_str("g");
    r.generation_id_or_member_epoch = -1;
    r.topics.at = &t;
    r.topics.count = 1;
    assert_int_equal(commit_offset(&x, 1, false), KAFKA_NONE);
    struct committing late = {.x = x, .offset = 2, .error = -1};
    offsets_commit(g, &r, 8, commit_and_end, &late);
    group_log_wait(g);
    assert_int_equal(late.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
    assert_true(partition_open_since(group_log_partition(g), x.producer_id) < 0);
    assert_int_equal(committed_offset(), 7);
    assert_int_equal(commit_offset(&x, 3, false), KAFKA_NONE);
    assert_int_equal(transactions_end(p.k, &x, true, false), KAFKA_NONE);
    place_reopen(&p);
    assert_int_equal(committed_offset(), 3);
}

static void offsets_of_a_transaction_that_has_ended_are_refused(void **state)
{
    (void)state;
    struct transaction_producer x = init("x"), old = x;
    int error = -1;
    ask_to_commit(&x, 1, false, &error);
    assert_int_equal(error, KAFKA_INVALID_TXN_STATE);
    assert_int_equal(commit_offset(&x, 1, true), KAFKA_NONE);
    assert_int_equal(transactions_end(p.k, &x, true, true), KAFKA_NONE);
    assert_int_equal(commit_offset(&old, 2, true), KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(committed_offset(), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(producers_without_a_transaction_get_ids_of_their_own),
        TEST(a_second_producer_fences_the_first),
        TEST(an_expected_epoch_is_bumped_once),
        TEST(timeouts_have_a_limit),
        TEST(what_is_committed_is_seen_at_once_in_all_partitions),
        TEST(each_transaction_of_version_2_has_its_epoch),
        TEST(a_late_end_is_known_after_a_restart),
        TEST(the_time_of_a_transaction_ends),
        TEST(a_new_producer_aborts_what_the_old_one_left_open),
        TEST(a_batch_behind_the_end_of_its_transaction_is_of_no_other),
        TEST(what_was_let_in_is_written_before_the_end),
        TEST(time_ends_a_transaction_while_batches_are_let_in),
        TEST(what_nobody_waits_for_any_more_is_not_done),
        TEST(what_is_open_goes_on_after_a_restart),
        TEST(a_transaction_that_nobody_knows_is_aborted),
        TEST(what_is_in_a_transaction_stays_so_while_more_is_added),
        TEST(epochs_that_are_used_up_bring_another_producer_id),
        TEST(ids_are_forgotten_after_a_week),
        TEST(what_cannot_be_recorded_is_not_decided),
        TEST(what_is_decided_is_carried_out_later_when_it_cannot_be_now),
        TEST(queues_get_what_is_committed_in_order),
        TEST(queues_get_what_is_committed_after_a_restart),
        TEST(a_queue_that_too_much_is_held_for_reads_the_log),
        TEST(listeners_are_called_for_what_is_committed),
        TEST(a_commit_shows_offsets_that_are_just_being_written),
        TEST(offsets_that_wait_take_no_part_in_what_is_committed_before),
        TEST(offsets_of_a_transaction_that_has_ended_are_refused),
        cmocka_unit_test(all_of_a_transaction_is_seen_or_nothing),
        cmocka_unit_test(records_and_offsets_stand_together_wherever_the_power_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
