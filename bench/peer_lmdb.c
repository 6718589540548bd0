/* LMDB as an event store: MDB_APPEND under rising numbers, a commit is on the device; one event a
 * transaction, and 64 events a transaction, which is what grouping by hand gives. */
#include "bench.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH 64

static char payload[128];

struct store {
    MDB_env *env;
    MDB_dbi dbi;
    size_t next;
};

static void must(int rc)
{
    if (rc != 0) {
        fprintf(stderr, "lmdb: %s\n", mdb_strerror(rc));
        exit(1);
    }
}

static void store_open(struct store *s)
{
    MDB_txn *txn;
    *s = (struct store){0};
    must(mdb_env_create(&s->env));
    must(mdb_env_set_mapsize(s->env, (size_t)1 << 30));
    must(mdb_env_open(s->env, bench_dir(), 0, 0600));
    must(mdb_txn_begin(s->env, NULL, 0, &txn));
    must(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &s->dbi));
    must(mdb_txn_commit(txn));
}

static void store_add(struct store *s, size_t count)
{
    MDB_txn *txn;
    must(mdb_txn_begin(s->env, NULL, 0, &txn));
    for (size_t i = 0; i < count; i++) {
        MDB_val key = {sizeof s->next, &s->next}, value = {sizeof payload, payload};
        must(mdb_put(txn, s->dbi, &key, &value, MDB_APPEND));
        s->next++;
    }
    must(mdb_txn_commit(txn));
}

static void measure_latency(const char *id)
{
    if (!bench_wants(id))
        return;
    struct store s;
    size_t count = bench_count(2000);
    int64_t *times = calloc(count, sizeof *times);
    bench_must(times != NULL, "calloc");
    store_open(&s);
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i++) {
        int64_t began = bench_now_ns();
        store_add(&s, 1);
        times[i] = bench_now_ns() - began;
    }
    struct stopwatch took = stopwatch_since(start);
    bench_report_p50(id, times, count, (double)took.cpu_ns / (double)count, "synced");
    free(times);
    mdb_env_close(s.env);
    bench_clean();
}

static void measure_groups(const char *id)
{
    if (!bench_wants(id))
        return;
    struct store s;
    size_t count = bench_count(2000) * BATCH;
    store_open(&s);
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i += BATCH)
        store_add(&s, BATCH);
    bench_report_rate(id, count, stopwatch_since(start), "synced");
    mdb_env_close(s.env);
    bench_clean();
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    measure_latency("lmdb.put_p50");
    measure_groups("lmdb.put_64");
    return 0;
}
