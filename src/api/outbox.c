/*
 * The outbox: events that wait in the caller's database until the transaction that noted them is committed.
 *
 * A row is an event in the form in which beck's own clients give each other events, so nothing of it is lost. Rows
 * are numbered in the order of their commits, because SQLite has one writer at a time. They are removed after they
 * were published: what a crash leaves between the two is published again, with the same id.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/uuid.h"
#include "event/cloudevents.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define TABLE                                                                                      \
    "CREATE TABLE IF NOT EXISTS beck_outbox("                                                      \
    "seq INTEGER PRIMARY KEY AUTOINCREMENT, bus TEXT NOT NULL, event TEXT NOT NULL)"
#define EVENT_BYTES_MAX (64 << 20)
#define BATCH_MAX 64

static beck_status database_error(beck_error *err, sqlite3 *db, const char *what)
{
    return error_set(err, BECK_EIO, "%s: %s", what, sqlite3_errmsg(db));
}

static beck_status prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, beck_error *err)
{
    if (sqlite3_exec(db, TABLE, NULL, NULL, NULL) != SQLITE_OK)
        return database_error(err, db, "table 'beck_outbox' cannot be made");
    return sqlite3_prepare_v2(db, sql, -1, out, NULL) == SQLITE_OK
               ? BECK_OK
               : database_error(err, db, "table 'beck_outbox' cannot be used");
}

/* ---- noting ---- */

static beck_status insert(sqlite3 *db, const char *bus, beck_bytes text, beck_error *err)
{
    sqlite3_stmt *s = NULL;
    beck_status status = prepare(db, "INSERT INTO beck_outbox(bus, event) VALUES(?1, ?2)", &s, err);
    if (!status &&
        (sqlite3_bind_text(s, 1, bus, -1, SQLITE_STATIC) != SQLITE_OK ||
         sqlite3_bind_text64(s, 2, text.data, text.len, SQLITE_STATIC, SQLITE_UTF8) != SQLITE_OK ||
         sqlite3_step(s) != SQLITE_DONE))
        status = database_error(err, db, "the event cannot be noted in table 'beck_outbox'");
    (void)sqlite3_finalize(s); /* repeats the error of the step */
    return status;
}

beck_status beck_outbox_put(struct sqlite3 *db, const char *bus, const beck_event *event,
                            beck_error *err)
{
    char id[UUID_TEXT_LEN + 1], source[256];
    struct buf text;
    if (!db || !bus || !*bus || !event)
        return error_set(err, BECK_EINVAL, "no %s: beck_outbox_put needs one",
                         !db      ? "database"
                         : !event ? "event"
                                  : "bus");
    beck_event e = *event;
    beck_status status = event_check(&e, err);
    if (status)
        return status;
    if (!e.id.len) {
        struct rng rng;
        uint8_t uuid[16];
        rng_seed_system(&rng);
        uuid_v7(clock_system(), &rng, uuid);
        uuid_text(uuid, id);
        e.id = beck_str(id);
    }
    if (!e.source.len) {
        snprintf(source, sizeof source, "/%s", bus);
        e.source = beck_str(source);
    }
    if (!e.time_ns)
        e.time_ns = clock_wall_ms(clock_system()) * 1000000;
    e.bus = (beck_bytes){0};
    buf_init(&text, EVENT_BYTES_MAX);
    status = cloudevents_write_exact(&e, &text, err);
    if (!status)
        status = insert(db, bus, buf_bytes(&text), err);
    buf_release(&text);
    return status;
}

/* ---- publishing ---- */

/* Rows that follow each other and are for one bus. */
struct batch {
    char bus[256];
    int64_t first, last;
    beck_document *documents[BATCH_MAX];
    beck_event events[BATCH_MAX];
    size_t count;
};

static void forget(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        beck_document_free(b->documents[i]);
    b->count = 0;
}

/* False: the row is for another bus. */
static bool add_row(struct batch *b, sqlite3_stmt *s, beck_status *status, beck_error *err)
{
    const char *bus = (const char *)sqlite3_column_text(s, 1);
    const void *text = sqlite3_column_text(s, 2);
    beck_bytes json = {text, (size_t)sqlite3_column_bytes(s, 2)};
    beck_document *document;
    if (!bus || !text) {
        *status = error_set(err, BECK_ENOMEM, "no memory to read table 'beck_outbox'");
        return false;
    }
    if (b->count > 0 && strcmp(b->bus, bus) != 0)
        return false;
    *status = cloudevents_parse_exact(json, &document, err);
    if (*status)
        return false;
    if (b->count == 0) {
        snprintf(b->bus, sizeof b->bus, "%s", bus);
        b->first = sqlite3_column_int64(s, 0);
    }
    b->last = sqlite3_column_int64(s, 0);
    b->documents[b->count] = document;
    b->events[b->count++] = *beck_document_event(document, 0);
    return true;
}

/* What comes before a row that cannot be read is given without an error: that row comes first in the next. */
static beck_status read_batch(sqlite3 *db, size_t max, struct batch *b, beck_error *err)
{
    sqlite3_stmt *s = NULL;
    beck_error why;
    b->count = 0;
    beck_status status =
        prepare(db, "SELECT seq, bus, event FROM beck_outbox ORDER BY seq LIMIT ?1", &s, &why);
    int step = SQLITE_ROW;
    if (!status)
        (void)sqlite3_bind_int64(s, 1, (sqlite3_int64)max);
    while (!status && (step = sqlite3_step(s)) == SQLITE_ROW)
        if (!add_row(b, s, &status, &why))
            break;
    if (!status && step != SQLITE_ROW && step != SQLITE_DONE)
        status = database_error(&why, db, "table 'beck_outbox' cannot be read");
    (void)sqlite3_finalize(s);
    return b->count > 0 || !status ? BECK_OK : error_set(err, status, "%s", why.text);
}

static beck_status remove_batch(sqlite3 *db, const struct batch *b, beck_error *err)
{
    sqlite3_stmt *s = NULL;
    beck_status status =
        prepare(db, "DELETE FROM beck_outbox WHERE seq BETWEEN ?1 AND ?2", &s, err);
    if (!status &&
        (sqlite3_bind_int64(s, 1, b->first) != SQLITE_OK ||
         sqlite3_bind_int64(s, 2, b->last) != SQLITE_OK || sqlite3_step(s) != SQLITE_DONE))
        status = database_error(err, db,
                                "what was published cannot be removed from table 'beck_outbox', "
                                "and will be published again");
    (void)sqlite3_finalize(s);
    return status;
}

static beck_status publish_batch(beck *handle, const struct batch *b, beck_error *err)
{
    /* The database forgets them afterwards: nothing weaker will do. */
    static const beck_publish_options options = {.level = BECK_LEVEL_SYNCED, .no_context = true};
    beck_bus *bus;
    beck_status status = beck_bus_get(handle, b->bus, &bus, err);
    return status ? status : beck_publish_many(bus, b->events, b->count, &options, NULL, err);
}

beck_status beck_outbox_publish(beck *b, struct sqlite3 *db, size_t max, size_t *count,
                                beck_error *err)
{
    struct batch batch = {.count = 0};
    beck_status status = BECK_OK;
    size_t done = 0, most = BATCH_MAX;
    if (count)
        *count = 0;
    if (!b)
        return error_set(err, BECK_EINVAL, "no handle: beck_outbox_publish needs one");
    if (!db || !sqlite3_get_autocommit(db))
        return error_set(err, BECK_EINVAL,
                         db ? "a transaction is open on the database: commit it first"
                            : "no database: beck_outbox_publish needs one");
    while (!status && (max == 0 || done < max)) {
        size_t left = max == 0 || max - done > most ? most : max - done;
        status = read_batch(db, left, &batch, err);
        if (status || batch.count == 0)
            break;
        status = publish_batch(b, &batch, err);
        if (status && batch.count > 1) {
            most = 1; /* those before the one that is refused are published */
            status = BECK_OK;
        } else if (!status) {
            status = remove_batch(db, &batch, err);
            done += status ? 0 : batch.count;
        }
        forget(&batch);
    }
    forget(&batch);
    if (count)
        *count = done;
    return status;
}
