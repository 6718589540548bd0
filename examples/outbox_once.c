/*
 * A database and events that agree. An event is noted in the transaction that changes the database,
 * and published once that is committed (beck_outbox_put). On the other side is a handler that runs
 * once: a queue delivers at least once, since after a crash, a rewind or a late settle an event comes
 * again. beck_once runs the effect of a handler in the same database transaction that remembers the
 * event, so the database shows each event once, however often it is delivered.
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
                 "CREATE TABLE payment(amount INTEGER);"
                 "CREATE TABLE account(balance INTEGER); INSERT INTO account VALUES(0)",
                 NULL, NULL, NULL);

    char data_dir[128];
    snprintf(data_dir, sizeof data_dir, "%s/beck", dir);
    beck_error err;
    beck *b;
    must(beck_open(&b, &(beck_options){.data_dir = data_dir}, &err), &err);
    must(beck_bus_create(b, "payments", NULL, NULL, &err), &err);
    must(beck_queue_create(b, "ledger", NULL, &err), &err);
    must(beck_queue_bind(b, "ledger", &(beck_binding){.bus = "payments"}, &err), &err);

    /* Each payment is a row and an event, or neither. */
    for (int i = 0; i < 12; i++) {
        beck_event event = {.type = beck_str("payment.received"), .data = beck_str("5")};
        sqlite3_exec(ledger.db, "BEGIN; INSERT INTO payment VALUES(5)", NULL, NULL, NULL);
        must(beck_outbox_put(ledger.db, "payments", &event, &err), &err);
        sqlite3_exec(ledger.db, i < 10 ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
    }
    size_t published;
    must(beck_outbox_publish(b, ledger.db, 0, &published, &err), &err);
    printf("%zu payments are committed and published\n", published);
    expect(published == 10, "what is committed is published");
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
