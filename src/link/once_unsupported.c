/* beck_once in a library that was built without SQLite. */
#include "base/error.h"

int beck_once(struct sqlite3 *db, const char *handler, const beck_event *event,
              int (*effect)(void *ctx, struct sqlite3 *db, const beck_event *event), void *ctx,
              bool *ran, beck_error *err)
{
    (void)db, (void)handler, (void)event, (void)effect, (void)ctx, (void)ran;
    return error_set(err, BECK_EUNSUPPORTED,
                     "this library was built without SQLite: install libsqlite3-dev and build it "
                     "with -Dsqlite=enabled");
}
