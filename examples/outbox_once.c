/*
 * A handler that runs once. A queue delivers at least once: after a crash, a rewind or a late
 * settle an event comes again. beck_once runs the effect of a handler in the same database
 * transaction that remembers the event, so the database shows each event once, however often it is
 * delivered.
 */
#include "example.h"

#include <sqlite3.h>

struct ledger {
    sqlite3 *db;
    int deliveries, bookings;
};

/* The effect: may use the database as it likes, except for ending the transaction. */
static int book(void *ctx, sqlite3 *db, const beck_event *event)
{
    (void)ctx;
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE account SET balance = balance + %.*s", TEXT(event->data));
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : 1;
}

static int handle(void *ctx, const beck_delivery *delivery, char *why)
{
    struct ledger *ledger = ctx;
    bool ran = false;
    beck_error err;
    ledger->deliveries++;
    if (beck_once(ledger->db, "ledger", delivery->event, book, NULL, &ran, &err) != BECK_OK) {
        snprintf(why, 256, "%.255s", err.text);
        return BECK_RETRY;
    }
    ledger->bookings += ran;
    return BECK_SETTLE;
}

static int balance(sqlite3 *db)
{
    sqlite3_stmt *statement;
    sqlite3_prepare_v2(db, "SELECT balance FROM account", -1, &statement, NULL);
    sqlite3_step(statement);
    int value = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static void handle_all(beck *b, struct ledger *ledger)
{
    beck_workers *workers;
    beck_error err;
    must(beck_workers_start(b, "ledger", handle, ledger, NULL, &workers, &err), &err);
    wait_until_idle(b, "ledger");
    beck_workers_stop(workers);
    printf("%d deliveries, %d bookings, balance %d\n", ledger->deliveries, ledger->bookings,
           balance(ledger->db));
}

int main(void)
{
    const char *dir = make_dir();
    char path[128];
    snprintf(path, sizeof path, "%s/ledger.db", dir);
    struct ledger ledger = {0};
    expect(sqlite3_open(path, &ledger.db) == SQLITE_OK, "the database opens");
    sqlite3_exec(ledger.db,
                 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                 "CREATE TABLE account(balance INTEGER); INSERT INTO account VALUES(0)",
                 NULL, NULL, NULL);

    char data_dir[128];
    snprintf(data_dir, sizeof data_dir, "%s/beck", dir);
    beck_error err;
    beck *b;
    beck_bus *payments;
    must(beck_open(&b, &(beck_options){.data_dir = data_dir}, &err), &err);
    must(beck_bus_create(b, "payments", NULL, &payments, &err), &err);
    must(beck_queue_create(b, "ledger", NULL, &err), &err);
    must(beck_queue_bind(b, "ledger", &(beck_binding){.bus = "payments"}, &err), &err);

    for (int i = 0; i < 10; i++) {
        beck_event event = {.type = beck_str("payment.received"), .data = beck_str("5")};
        must(beck_publish(payments, &event, &err), &err);
    }
    handle_all(b, &ledger);
    expect(ledger.bookings == 10 && balance(ledger.db) == 50, "every payment is booked");

    printf("the queue is rewound: every payment is delivered again\n");
    must(beck_queue_rewind(b, "ledger", &(beck_from){.kind = BECK_FROM_EARLIEST}, &err), &err);
    handle_all(b, &ledger);
    expect(ledger.deliveries == 20, "everything is delivered twice");
    expect(ledger.bookings == 10 && balance(ledger.db) == 50, "and booked once");

    beck_close(b);
    sqlite3_close(ledger.db);
    remove_dir(dir);
    return 0;
}
