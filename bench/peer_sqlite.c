/* SQLite as an event store: WAL, synchronous=FULL (a commit is on the device), one row an event;
 * one event a transaction, and 64 events a transaction, which is what grouping by hand gives. */
#include "bench.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH 64

static char payload[128];

static void must(int rc, sqlite3 *db)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE) {
        fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
}

static sqlite3 *open_store(sqlite3_stmt **insert)
{
    char path[600];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/events.db", bench_dir());
    must(sqlite3_open(path, &db), db);
    must(sqlite3_exec(db,
                      "pragma journal_mode=wal; pragma synchronous=full;"
                      "create table event(id integer primary key, type text, data blob)",
                      NULL, NULL, NULL),
         db);
    must(sqlite3_prepare_v3(db, "insert into event(type, data) values('order.created', ?)", -1,
                            SQLITE_PREPARE_PERSISTENT, insert, NULL),
         db);
    must(sqlite3_bind_blob(*insert, 1, payload, sizeof payload, SQLITE_STATIC), db);
    return db;
}

static void add(sqlite3 *db, sqlite3_stmt *insert)
{
    must(sqlite3_step(insert), db);
    must(sqlite3_reset(insert), db);
}

static void close_store(sqlite3 *db, sqlite3_stmt *insert)
{
    sqlite3_finalize(insert);
    must(sqlite3_close(db), db);
    bench_clean();
}

static void measure_latency(const char *id)
{
    if (!bench_wants(id))
        return;
    sqlite3_stmt *insert;
    sqlite3 *db = open_store(&insert);
    size_t count = bench_count(4000);
    int64_t *times = calloc(count, sizeof *times);
    bench_must(times != NULL, "calloc");
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i++) {
        int64_t began = bench_now_ns();
        add(db, insert);
        times[i] = bench_now_ns() - began;
    }
    struct stopwatch took = stopwatch_since(start);
    bench_report_p50(id, times, count, (double)took.cpu_ns / (double)count, "synced");
    free(times);
    close_store(db, insert);
}

static void measure_groups(const char *id)
{
    if (!bench_wants(id))
        return;
    sqlite3_stmt *insert;
    sqlite3 *db = open_store(&insert);
    size_t count = bench_count(2000) * BATCH;
    struct stopwatch start = stopwatch_start();
    for (size_t i = 0; i < count; i += BATCH) {
        must(sqlite3_exec(db, "begin immediate", NULL, NULL, NULL), db);
        for (int k = 0; k < BATCH; k++)
            add(db, insert);
        must(sqlite3_exec(db, "commit", NULL, NULL, NULL), db);
    }
    bench_report_rate(id, count, stopwatch_since(start), "synced");
    close_store(db, insert);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    measure_latency("sqlite.insert_p50");
    measure_groups("sqlite.insert_64");
    return 0;
}
