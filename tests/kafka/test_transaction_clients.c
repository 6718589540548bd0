/*
 * Clients of transactions over a network that loses answers and brings requests late, and a server that is killed: what a client
 * was told is what is read in the end. The seed of a failing run is printed; BECK_TEST_SEED runs that one alone.
 *
 * A client does as real ones do. A request without an answer is sent again on another connection; the first one may still come, also
 * when the client is at its next transaction, or has been made anew. (Of version 1 the server has seen by then that the connection
 * ended: nothing else tells what changes a transaction from the same for the next one.) What is under way ends with the
 * server. After an error that is not passing the client is made anew, and what became of its transaction is not known.
 */
#include "place.h"

#include "../log/produced.h"
#include "base/rng.h"
#include "kafka/transactions_impl.h"
#include "log/cursor.h"
#include "support/effort.h"

#define TIMEOUT_MS 60000
#define SEEDS effort(60, 6)
#define STEPS 400
#define CLIENTS 2
#define PLACES 3
#define LATE_MAX 8
#define TRANSACTIONS 512
#define NO_ANSWER (-1000)

static struct place p;
static const _Atomic(bool) is_gone = true;

static const struct {
    const char *topic;
    int32_t number;
} places[PLACES] = {{"t", 0}, {"t", 1}, {"u", 0}};
static const char *const ids[CLIENTS] = {"x", "y"};

enum kind { INIT, ADD, PRODUCE, END };
struct request {
    enum kind kind;
    struct transaction_producer x;
    unsigned where; /* ADD: a bit each; PRODUCE: which one */
    int32_t sequence;
    int transaction;
    bool commit, version_2;
};

enum outcome { UNKNOWN, COMMITTED, ABORTED };
struct client {
    struct transaction_producer x;
    bool there, commit;
    int transaction;        /* -1: none has begun */
    unsigned planned, left; /* places, and those whose batch is not acknowledged */
    bool added;
    int32_t sequences[PLACES];
};

static struct model {
    struct rng rng;
    uint64_t seed;
    bool version_2;
    struct client clients[CLIENTS];
    struct request late[LATE_MAX];
    size_t late_count;
    enum outcome outcomes[TRANSACTIONS];
    unsigned records[TRANSACTIONS]; /* the places that have one */
    int count;
    bool stopping;
    int committed, aborted, kills;
} m;

static struct partition *part(unsigned where)
{
    return topic_partition(topic(&p, places[where].topic), places[where].number);
}

static bool chance(unsigned of)
{
    return rng_below(&m.rng, of) == 0;
}

/* ---- the server ---- */

static int write_batch(const struct request *r)
{
    struct buf batch;
    char text[16];
    snprintf(text, sizeof text, "%d", r->transaction);
    beck_event e = {.type = beck_str("t"), .data = beck_str(text)};
    struct batch_header h = {.producer_id = r->x.producer_id,
                             .producer_epoch = r->x.epoch,
                             .base_sequence = r->sequence,
                             .attributes = BATCH_TRANSACTIONAL};
    buf_init(&batch, 1 << 20);
    assert_int_equal(make_batch(&batch, &e, 1, START_MS, BECK_CODEC_NONE, &h), 0);
    struct produce a = {.batch = batch.data, .size = batch.len, .level = BECK_LEVEL_SYNCED};
    beck_status status = bus_produce(topic(&p, places[r->where].topic)->bus,
                                     (uint32_t)places[r->where].number, &a, NULL);
    buf_release(&batch);
    switch (status) {
    case BECK_OK:
    case BECK_EDUPLICATE:
        return KAFKA_NONE;
    case BECK_EFENCED:
        return KAFKA_INVALID_PRODUCER_EPOCH;
    case BECK_ESEQUENCE:
        return KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
    case BECK_ETXN_STATE:
        return KAFKA_INVALID_TXN_STATE;
    default:
        return NO_ANSWER; /* the disk has stopped, and the server with it */
    }
}

static int run_produce(const struct request *r)
{
    struct transaction_partition where = {beck_str(places[r->where].topic),
                                          places[r->where].number};
    struct transaction_producer x = r->x;
    x.gone = NULL; /* batches are told apart by their sequences */
    int error = transactions_check(p.k, &x, &where, r->version_2, NULL);
    return error ? error : write_batch(r);
}

static int run_add(const struct request *r)
{
    struct transaction_partition list[PLACES];
    size_t n = 0;
    for (unsigned i = 0; i < PLACES; i++)
        if (r->where >> i & 1)
            list[n++] = (struct transaction_partition){beck_str(places[i].topic), places[i].number};
    return transactions_add(p.k, &r->x, list, n);
}

static int run(struct request *r)
{
    switch (r->kind) {
    case INIT:
        return transactions_init(p.k, &r->x, TIMEOUT_MS);
    case ADD:
        return run_add(r);
    case PRODUCE:
        return run_produce(r);
    default:
        return transactions_end(p.k, &r->x, r->commit, r->version_2);
    }
}

static int run_late(void)
{
    if (m.late_count == 0)
        return KAFKA_NONE;
    size_t i = rng_below(&m.rng, m.late_count);
    struct request r = m.late[i];
    m.late[i] = m.late[--m.late_count];
    return run(&r);
}

/* The connections on which its requests have no answer yet. What carries an epoch or a sequence is told from later ones by it. */
static void close_connections(const struct client *c)
{
    for (size_t i = 0; i < m.late_count; i++)
        if (bytes_equal(m.late[i].x.id, c->x.id))
            m.late[i].x.gone = &is_gone;
}

/* What the client hears. */
static int ask(struct request *r)
{
    unsigned way = (unsigned)rng_below(&m.rng, 20);
    if (way == 0)
        return NO_ANSWER; /* it did not come */
    if (way <= 3) {
        if (m.late_count < LATE_MAX)
            m.late[m.late_count++] = *r;
        return NO_ANSWER;
    }
    struct request now = *r;
    int error = run(&now);
    if (m.stopping || way <= 6)
        return NO_ANSWER;
    *r = now;
    return error;
}

/* ---- a client ---- */

static bool is_passing(int error)
{
    return error == NO_ANSWER || error == KAFKA_CONCURRENT_TRANSACTIONS ||
           error == KAFKA_COORDINATOR_NOT_AVAILABLE;
}

/* What became of its transaction is not known. */
static void give_up(struct client *c)
{
    c->there = false;
    c->transaction = -1;
}

static void begin_transaction(struct client *c)
{
    if (!m.version_2)
        close_connections(c);
    c->transaction = m.count++;
    c->planned = c->left = 1 + (unsigned)rng_below(&m.rng, (1 << PLACES) - 1);
    c->commit = !chance(4);
    c->added = m.version_2;
    m.records[c->transaction] = c->planned;
    m.outcomes[c->transaction] = UNKNOWN;
}

static void next_step(struct client *c, struct request *r)
{
    *r = (struct request){.x = c->x, .transaction = c->transaction, .version_2 = m.version_2};
    if (!c->there) {
        r->kind = INIT;
        r->x.producer_id = r->x.epoch = -1;
    } else if (!c->added) {
        r->kind = ADD;
        r->where = c->planned;
    } else if (c->left) {
        r->kind = PRODUCE;
        while (!(c->left >> r->where & 1))
            r->where++;
        r->sequence = c->sequences[r->where];
    } else {
        r->kind = END;
        r->commit = c->commit;
    }
}

static void step_done(struct client *c, const struct request *r)
{
    switch (r->kind) {
    case INIT:
        c->x = r->x;
        c->there = true;
        memset(c->sequences, 0, sizeof c->sequences);
        break;
    case ADD:
        c->added = true;
        break;
    case PRODUCE:
        c->sequences[r->where]++;
        c->left &= ~(1u << r->where);
        break;
    default:
        m.outcomes[c->transaction] = c->commit ? COMMITTED : ABORTED;
        *(c->commit ? &m.committed : &m.aborted) += 1;
        c->x = r->x;
        c->transaction = -1;
        if (m.version_2)
            memset(c->sequences, 0, sizeof c->sequences);
    }
}

static void client_step(struct client *c)
{
    struct request r;
    if (c->there && chance(60)) {
        give_up(c);
        return;
    }
    if (c->there && c->transaction < 0) {
        if (m.count == TRANSACTIONS)
            return;
        begin_transaction(c);
    }
    next_step(c, &r);
    int error = ask(&r);
    if (!error)
        step_done(c, &r);
    else if (!is_passing(error))
        give_up(c);
}

/* ---- what is read ---- */

static void count_seen(unsigned where, int *counts)
{
    struct cursor *c;
    const struct record_view *v;
    assert_int_equal(cursor_open(part(where), &c, NULL), 0);
    for (int64_t at = 0; cursor_read(c, at, false, &v, NULL, NULL) == BECK_OK; at = v->offset + 1)
        counts[atoi((const char *)v->event.data.data)]++;
    cursor_close(c);
}

static void check_told(void)
{
    for (unsigned where = 0; where < PLACES; where++) {
        int counts[TRANSACTIONS] = {0};
        count_seen(where, counts);
        for (int i = 0; i < m.count; i++) {
            int all = m.records[i] >> where & 1;
            if (counts[i] > all || (m.outcomes[i] == COMMITTED && counts[i] != all) ||
                (m.outcomes[i] == ABORTED && counts[i] != 0))
                fail_msg("seed %llu: of transaction %d in %s-%d %d records are seen of %d, and it "
                         "was told to be %d",
                         (unsigned long long)m.seed, i, places[where].topic, places[where].number,
                         counts[i], all, (int)m.outcomes[i]);
        }
    }
}

/* ---- the course of things ---- */

static void restart(bool power)
{
    (power ? vfs_sim_crash : vfs_sim_kill)(p.w.vfs);
    kafka_close(p.k);
    beck_abandon(p.w.b);
    vfs_sim_stop_at(p.w.vfs, 0);
    m.stopping = false;
    m.late_count = 0;
    m.kills++;
    world_open(&p.w);
    place_begin(&p);
}

/* Nobody goes on with what is open. */
static void let_all_end(void)
{
    for (int i = 0; i < CLIENTS; i++)
        give_up(&m.clients[i]);
    restart(false);
    world_advance(&p.w, TIMEOUT_MS);
    transactions_tick(p.k);
    for (unsigned i = 0; i < PLACES; i++)
        if (partition_stable(part(i)) != partition_next(part(i)))
            fail_msg("seed %llu: a transaction stays open", (unsigned long long)m.seed);
    check_told();
}

static void step(void)
{
    switch (rng_below(&m.rng, 24)) {
    case 0:
        world_advance(&p.w, chance(3) ? TIMEOUT_MS : TIMEOUT_MS / 20);
        /* fall through */
    case 1:
        transactions_tick(p.k);
        break;
    case 2:
    case 3:
    case 4:
        run_late();
        break;
    case 5:
        if (!m.stopping) {
            vfs_sim_stop_at(p.w.vfs, 1 + rng_below(&m.rng, 12));
            m.stopping = true;
        }
        break;
    default:
        client_step(&m.clients[rng_below(&m.rng, CLIENTS)]);
    }
    if (m.stopping && chance(8))
        restart(chance(3));
}

static void one_run(uint64_t seed, bool version_2)
{
    m = (struct model){.seed = seed, .version_2 = version_2};
    rng_seed(&m.rng, seed);
    p = (struct place){.settings = {.partitions = 1, .node_id = 1, .acks_all = BECK_LEVEL_SYNCED}};
    world_start(&p.w, seed);
    place_begin(&p);
    accepted(&p, create(&p, "t", 2));
    accepted(&p, create(&p, "u", 1));
    for (int i = 0; i < CLIENTS; i++) {
        m.clients[i].x.id = beck_str(ids[i]);
        m.clients[i].transaction = -1;
    }
    for (int i = 0; i < STEPS; i++) {
        step();
        if (i % 50 == 49)
            let_all_end();
    }
    let_all_end();
    place_end(&p);
}

static void run_all(bool version_2)
{
    const char *one = getenv("BECK_TEST_SEED");
    int told = 0;
    if (one) {
        one_run(strtoull(one, NULL, 10), version_2);
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        one_run(seed, version_2);
        told += m.committed;
    }
    assert_true(told > 0);
}

static void what_is_told_is_what_is_read(void **state)
{
    (void)state;
    run_all(false);
}

static void what_is_told_is_what_is_read_in_version_2(void **state)
{
    (void)state;
    run_all(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_is_what_is_read),
        cmocka_unit_test(what_is_told_is_what_is_read_in_version_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
