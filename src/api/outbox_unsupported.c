/* The outbox in a library that was built without SQLite. */
#include "base/error.h"

static beck_status refuse(beck_error *err)
{
    return error_set(err, BECK_EUNSUPPORTED,
                     "this library was built without SQLite: install libsqlite3-dev and build it "
                     "with -Dsqlite=enabled");
}

beck_status beck_outbox_put(struct sqlite3 *db, const char *bus, const beck_event *event,
                            beck_error *err)
{
    (void)db, (void)bus, (void)event;
    return refuse(err);
}

beck_status beck_outbox_publish(beck *b, struct sqlite3 *db, size_t max, size_t *count,
                                beck_error *err)
{
    (void)b, (void)db, (void)max, (void)count;
    return refuse(err);
}
