/*
 * beck_once: an effect that runs once per event and handler.
 *
 * The memory of what ran is a row in the database that the effect itself writes to, in the same
 * transaction: a row that is there means that the effect is there, whatever crashed in between. The
 * row is inserted first. So of two connections that race, one waits for the other's transaction (or
 * is told that the database is locked), and then finds the row.
 *
 * The call is one step of the transaction: when it fails, everything since its beginning is undone,
 * and nothing of what the caller did before.
 */
#include "base/clock.h"
#include "base/error.h"

#include <sqlite3.h>

#define TABLE                                                                                      \
    "CREATE TABLE IF NOT EXISTS beck_inbox("                                                       \
    "handler TEXT NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL, "                              \
    "time INTEGER NOT NULL, PRIMARY KEY(handler, source, id)) WITHOUT ROWID"
#define INSERT                                                                                     \
    "INSERT INTO beck_inbox(handler, source, id, time) VALUES(?1, ?2, ?3, ?4) "                    \
    "ON CONFLICT(handler, source, id) DO NOTHING"

/* How the step begins and ends: as a transaction of its own, or within the caller's. */
struct step {
    const char *begin, *commit, *undo;
};
/* IMMEDIATE: the lock is had before anything is read, so no lock needs to be raised later, which
 * two connections at once could not. */
static const struct step own = {"BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"};
static const struct step within = {"SAVEPOINT beck_once", "RELEASE beck_once",
                                   "ROLLBACK TO beck_once; RELEASE beck_once"};

static beck_status database_error(beck_error *err, sqlite3 *db, const char *what)
{
    int code = sqlite3_errcode(db) & 0xff;
    const char *remedy = "";
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        remedy = "; nothing was done: call again, or set sqlite3_busy_timeout on the connection";
    return error_set(err, BECK_EIO, "%s: %s%s", what, sqlite3_errmsg(db), remedy);
}

static beck_status run_sql(sqlite3 *db, const char *sql, const char *what, beck_error *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? BECK_OK
                                                                : database_error(err, db, what);
}

static int bind_bytes(sqlite3_stmt *statement, int index, beck_bytes text)
{
    return sqlite3_bind_text64(statement, index, text.data, text.len, SQLITE_STATIC, SQLITE_UTF8);
}

/* Inserts the row; *fresh: it was not there. */
static beck_status remember(sqlite3 *db, const char *handler, const beck_event *event, bool *fresh,
                            beck_error *err)
{
    static const char what[] = "the event cannot be noted in table 'beck_inbox'";
    beck_status status = run_sql(db, TABLE, "table 'beck_inbox' cannot be made", err);
    if (status)
        return status;
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, INSERT, -1, &statement, NULL) != SQLITE_OK)
        return database_error(err, db, what);
    if (sqlite3_bind_text(statement, 1, handler, -1, SQLITE_STATIC) != SQLITE_OK ||
        bind_bytes(statement, 2, event->source) != SQLITE_OK ||
        bind_bytes(statement, 3, event->id) != SQLITE_OK ||
        sqlite3_bind_int64(statement, 4, clock_wall_ms(clock_system())) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_DONE)
        status = database_error(err, db, what);
    *fresh = status == BECK_OK && sqlite3_changes(db) > 0;
    (void)sqlite3_finalize(statement); /* repeats the error of the step */
    return status;
}

static int run_effect(sqlite3 *db, const char *handler, const beck_event *event,
                      int (*effect)(void *ctx, sqlite3 *db, const beck_event *event), void *ctx,
                      beck_error *err)
{
    int result = effect == NULL ? 0 : effect(ctx, db, event);
    if (result != 0)
        return error_set(err, result,
                         "the effect of handler '%s' failed (%d): what it changed was undone",
                         handler, result);
    if (sqlite3_get_autocommit(db))
        return error_set(err, BECK_EINVAL,
                         "the effect of handler '%s' ended the transaction that it runs in: leave "
                         "COMMIT and ROLLBACK to the caller of beck_once",
                         handler);
    return BECK_OK;
}

static beck_status check_arguments(sqlite3 *db, const char *handler, const beck_event *event,
                                   beck_error *err)
{
    if (db == NULL || event == NULL)
        return error_set(err, BECK_EINVAL, "no %s: beck_once needs one",
                         db == NULL ? "database" : "event");
    if (handler == NULL || *handler == '\0')
        return error_set(err, BECK_EINVAL,
                         "no name of a handler: give one that stays the same, as \"billing\"");
    if (event->source.len == 0 || event->id.len == 0)
        return error_set(err, BECK_EINVAL,
                         "the event has no %s, so it cannot be told from others: set source and "
                         "id, or take the event from a queue or a reader, which fill them in",
                         event->source.len == 0 ? "source" : "id");
    return BECK_OK;
}

int beck_once(struct sqlite3 *db, const char *handler, const beck_event *event,
              int (*effect)(void *ctx, struct sqlite3 *db, const beck_event *event), void *ctx,
              bool *ran, beck_error *err)
{
    beck_status status = check_arguments(db, handler, event, err);
    if (status)
        return status;
    const struct step *step = sqlite3_get_autocommit(db) ? &own : &within;
    status = run_sql(db, step->begin, "no transaction can be begun", err);
    if (status)
        return status;

    bool fresh = false;
    int result = remember(db, handler, event, &fresh, err);
    if (result == BECK_OK && fresh)
        result = run_effect(db, handler, event, effect, ctx, err);
    if (result == BECK_OK)
        result = run_sql(db, step->commit, "the transaction cannot be committed", err);
    if (result != BECK_OK) {
        /* Some failures (a full disk) end the transaction by themselves: nothing is left to undo.*/
        if (!sqlite3_get_autocommit(db))
            (void)sqlite3_exec(db, step->undo, NULL, NULL, NULL);
        return result;
    }
    if (ran != NULL)
        *ran = fresh;
    return BECK_OK;
}
