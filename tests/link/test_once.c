/* beck_once, with real database files. The effect of all tests adds a row to table `effects`. */
#include <beck.h>

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char dir[64], file[96];
    sqlite3 *db;
};

static void sql(sqlite3 *db, const char *text)
{
    char *message = NULL;
    if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", text, message);
}

static int number(sqlite3 *db, const char *query)
{
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int n = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return n;
}

static int effects(sqlite3 *db)
{
    return number(db, "SELECT count(*) FROM effects");
}

static sqlite3 *connect_to(const char *file)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    return db;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->dir, "/tmp/beck-once-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->file, sizeof f->file, "%s/db", f->dir);
    f->db = connect_to(f->file);
    sql(f->db, "PRAGMA journal_mode = WAL; CREATE TABLE effects(id TEXT)");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    sqlite3_close(f->db);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

static beck_event event_of(const char *source, const char *id)
{
    return (beck_event){
        .type = beck_str("order.paid"), .source = beck_str(source), .id = beck_str(id)};
}

static int add_row(void *ctx, sqlite3 *db, const beck_event *event)
{
    (void)ctx;
    char text[128];
    snprintf(text, sizeof text, "INSERT INTO effects VALUES('%.*s')", (int)event->id.len,
             (const char *)event->id.data);
    return sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : 1;
}

static int add_row_and_fail(void *ctx, sqlite3 *db, const beck_event *event)
{
    assert_int_equal(add_row(NULL, db, event), 0);
    return *(int *)ctx;
}

static void runs(sqlite3 *db, const char *handler, beck_event event, bool expected)
{
    bool ran = !expected;
    beck_error err;
    int result = beck_once(db, handler, &event, add_row, NULL, &ran, &err);
    if (result != BECK_OK)
        fail_msg("%s", err.text);
    assert_int_equal(ran, expected);
}

static void the_effect_runs_once_per_event(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    runs(db, "mail", event_of("/shop", "1"), true);
    runs(db, "mail", event_of("/shop", "1"), false);
    runs(db, "mail", event_of("/shop", "2"), true);
    runs(db, "mail", event_of("/shop", "1"), false);
    assert_int_equal(effects(db), 2);
    assert_int_equal(number(db, "SELECT count(*) FROM beck_inbox WHERE handler = 'mail' AND "
                                "source = '/shop' AND time > 1600000000000"),
                     2);
}

static void handlers_and_sources_are_told_apart(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    runs(db, "mail", event_of("/shop", "1"), true);
    runs(db, "stock", event_of("/shop", "1"), true);
    runs(db, "mail", event_of("/depot", "1"), true);
    assert_int_equal(effects(db), 3);
}

static void it_is_remembered_by_the_next_connection(void **state)
{
    struct fixture *f = *state;
    runs(f->db, "mail", event_of("/shop", "1"), true);
    sqlite3_close(f->db);
    f->db = connect_to(f->file);
    runs(f->db, "mail", event_of("/shop", "1"), false);
    assert_int_equal(effects(f->db), 1);
}

static void a_failing_effect_is_undone_and_may_run_again(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    const int results[] = {7, BECK_EIO};
    for (size_t i = 0; i < 2; i++) {
        int result = results[i];
        beck_event event = event_of("/shop", "1");
        bool ran = true;
        beck_error err = {0};
        assert_int_equal(beck_once(db, "mail", &event, add_row_and_fail, &result, &ran, &err),
                         result);
        assert_int_equal(err.code, result);
        assert_non_null(strstr(err.text, "'mail'"));
        assert_true(ran); /* untouched */
        assert_int_equal(effects(db), 0);
        assert_true(sqlite3_get_autocommit(db));
    }
    runs(db, "mail", event_of("/shop", "1"), true);
    assert_int_equal(effects(db), 1);
}

static void a_failing_effect_leaves_what_the_caller_did_before(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    int result = 7;
    beck_event event = event_of("/shop", "1");
    sql(db, "BEGIN; INSERT INTO effects VALUES('mine')");
    assert_int_equal(beck_once(db, "mail", &event, add_row_and_fail, &result, NULL, NULL), 7);
    assert_false(sqlite3_get_autocommit(db));
    sql(db, "COMMIT");
    assert_int_equal(number(db, "SELECT count(*) FROM effects WHERE id = 'mine'"), 1);
    assert_int_equal(effects(db), 1);
    runs(db, "mail", event, true);
}

static void the_callers_rollback_forgets_it(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    for (int first = 0; first < 2; first++) { /* the table is made within, and is there already */
        sql(db, "BEGIN");
        runs(db, "mail", event_of("/shop", "1"), true);
        runs(db, "mail", event_of("/shop", "1"), false);
        sql(db, "ROLLBACK");
        assert_int_equal(effects(db), 0);
        runs(db, "mail", event_of("/shop", "other"), first == 0);
        sql(db, "DELETE FROM effects");
    }
    runs(db, "mail", event_of("/shop", "1"), true);
}

static void the_callers_commit_keeps_it(void **state)
{
    struct fixture *f = *state;
    sqlite3 *other = connect_to(f->file);
    sql(f->db, "BEGIN");
    runs(f->db, "mail", event_of("/shop", "1"), true);
    assert_int_equal(effects(other), 0);
    sql(f->db, "COMMIT");
    assert_int_equal(effects(other), 1);
    runs(other, "mail", event_of("/shop", "1"), false);
    sqlite3_close(other);
}

static void without_an_effect_the_event_is_only_remembered(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    beck_event event = event_of("/shop", "1");
    bool ran = false;
    assert_int_equal(beck_once(db, "mail", &event, NULL, NULL, &ran, NULL), BECK_OK);
    assert_true(ran);
    runs(db, "mail", event, false);
    assert_int_equal(effects(db), 0);
}

static int nested(void *ctx, sqlite3 *db, const beck_event *event)
{
    (void)ctx;
    bool ran;
    return beck_once(db, "inner", event, add_row, NULL, &ran, NULL) == BECK_OK && ran ? 0 : 1;
}

static void one_may_run_inside_of_another(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    beck_event event = event_of("/shop", "1");
    assert_int_equal(beck_once(db, "outer", &event, nested, NULL, NULL, NULL), BECK_OK);
    runs(db, "inner", event, false);
    runs(db, "outer", event, false);
    assert_int_equal(effects(db), 1);
}

static void refused(sqlite3 *db, const char *handler, const beck_event *event, const char *text)
{
    beck_error err = {0};
    assert_int_equal(beck_once(db, handler, event, add_row, NULL, NULL, &err), BECK_EINVAL);
    assert_int_equal(err.code, BECK_EINVAL);
    assert_non_null(strstr(err.text, text));
}

static void what_is_missing_is_named(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    beck_event whole = event_of("/shop", "1"), no_id = event_of("/shop", NULL),
               no_source = event_of("", "1");
    refused(NULL, "mail", &whole, "database");
    refused(db, "mail", NULL, "event");
    refused(db, NULL, &whole, "handler");
    refused(db, "", &whole, "handler");
    refused(db, "mail", &no_id, "id");
    refused(db, "mail", &no_source, "source");
    assert_int_equal(effects(db), 0);
}

static int end_transaction(void *ctx, sqlite3 *db, const beck_event *event)
{
    (void)event;
    sql(db, ctx);
    return 0;
}

static void an_effect_that_ends_the_transaction_is_reported(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    char rollback[] = "ROLLBACK", commit[] = "COMMIT";
    beck_event event = event_of("/shop", "1");
    beck_error err = {0};
    assert_int_equal(beck_once(db, "mail", &event, end_transaction, rollback, NULL, &err),
                     BECK_EINVAL);
    assert_non_null(strstr(err.text, "ended the transaction"));
    sql(db, "BEGIN");
    assert_int_equal(beck_once(db, "mail", &event, end_transaction, commit, NULL, &err),
                     BECK_EINVAL);
    assert_true(sqlite3_get_autocommit(db));
}

static void a_locked_database_is_reported_and_nothing_is_done(void **state)
{
    struct fixture *f = *state;
    sqlite3 *other = connect_to(f->file);
    beck_event event = event_of("/shop", "1");
    beck_error err = {0};
    sql(other, "BEGIN IMMEDIATE");
    assert_int_equal(beck_once(f->db, "mail", &event, add_row, NULL, NULL, &err), BECK_EIO);
    assert_non_null(strstr(err.text, "locked"));
    assert_non_null(strstr(err.text, "call again"));
    sql(f->db, "BEGIN");
    assert_int_equal(beck_once(f->db, "mail", &event, add_row, NULL, NULL, &err), BECK_EIO);
    assert_false(sqlite3_get_autocommit(f->db));
    sql(f->db, "COMMIT");
    sql(other, "COMMIT");
    sqlite3_close(other);
    runs(f->db, "mail", event, true);
    assert_int_equal(effects(f->db), 1);
}

static int fill_database(void *ctx, sqlite3 *db, const beck_event *event)
{
    (void)ctx, (void)event;
    return sqlite3_exec(db, "INSERT INTO effects VALUES(zeroblob(1000000))", NULL, NULL, NULL);
}

static void a_full_database_undoes_everything(void **state)
{
    sqlite3 *db = ((struct fixture *)*state)->db;
    beck_event event = event_of("/shop", "1");
    runs(db, "mail", event_of("/shop", "0"), true);
    sql(db, "PRAGMA max_page_count = 20");
    assert_int_equal(beck_once(db, "mail", &event, fill_database, NULL, NULL, NULL), SQLITE_FULL);
    assert_true(sqlite3_get_autocommit(db));
    sql(db, "PRAGMA max_page_count = 1000");
    assert_int_equal(effects(db), 1);
    runs(db, "mail", event, true);
}

/* ---- races ---- */

#define RACERS 4
#define RACE_EVENTS 50

struct racer {
    pthread_t thread;
    const char *file;
    pthread_barrier_t *start;
    bool in_transaction;
    int ran, failed;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    sqlite3 *db = NULL;
    bool ok = sqlite3_open(r->file, &db) == SQLITE_OK;
    sqlite3_busy_timeout(db, 60000);
    pthread_barrier_wait(r->start);
    for (int i = 0; ok && i < RACE_EVENTS; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        beck_event event = event_of("/shop", id);
        bool ran = false;
        if (r->in_transaction)
            ok = ok && sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
        ok = ok && beck_once(db, "mail", &event, add_row, NULL, &ran, NULL) == BECK_OK;
        if (r->in_transaction)
            ok = ok && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
        r->ran += ran;
    }
    r->failed = !ok;
    sqlite3_close(db);
    return NULL;
}

static void connections_that_race_run_it_once(void **state)
{
    struct fixture *f = *state;
    sql(f->db, "PRAGMA synchronous = OFF");
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, RACERS);
    struct racer racers[RACERS] = {0};
    for (int i = 0; i < RACERS; i++) {
        racers[i].file = f->file;
        racers[i].start = &start;
        racers[i].in_transaction = i % 2 == 1;
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    int ran = 0;
    for (int i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
        assert_int_equal(racers[i].failed, 0);
        ran += racers[i].ran;
    }
    pthread_barrier_destroy(&start);
    assert_int_equal(ran, RACE_EVENTS);
    assert_int_equal(effects(f->db), RACE_EVENTS);
    assert_int_equal(number(f->db, "SELECT count(DISTINCT id) FROM effects"), RACE_EVENTS);
}

/* ---- crashes ---- */

enum crash { CRASH_IN_EFFECT, CRASH_BEFORE_COMMIT, CRASH_AFTER };

static int add_row_and_crash(void *ctx, sqlite3 *db, const beck_event *event)
{
    int result = add_row(NULL, db, event);
    if (*(enum crash *)ctx == CRASH_IN_EFFECT)
        raise(SIGKILL);
    return result;
}

/* In a process of its own, which has no connection from before the fork. */
static void handle_and_crash(const char *file, enum crash crash)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        sqlite3 *db = NULL;
        beck_event event = event_of("/shop", "1");
        bool ok = sqlite3_open(file, &db) == SQLITE_OK;
        if (crash == CRASH_BEFORE_COMMIT)
            ok = ok && sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK;
        ok = ok && beck_once(db, "mail", &event, add_row_and_crash, &crash, NULL, NULL) == 0;
        if (ok)
            raise(SIGKILL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void after_a_crash_effect_and_memory_are_both_there_or_both_not(void **state)
{
    struct fixture *f = *state;
    const enum crash crashes[] = {CRASH_IN_EFFECT, CRASH_BEFORE_COMMIT, CRASH_AFTER};
    for (size_t i = 0; i < 3; i++) {
        sqlite3_close(f->db);
        handle_and_crash(f->file, crashes[i]);
        f->db = connect_to(f->file);
        bool kept = crashes[i] == CRASH_AFTER;
        assert_int_equal(effects(f->db), kept ? 1 : 0);
        runs(f->db, "mail", event_of("/shop", "1"), !kept);
        assert_int_equal(effects(f->db), 1);
        sql(f->db, "DELETE FROM effects; DELETE FROM beck_inbox");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_effect_runs_once_per_event),
        TEST(handlers_and_sources_are_told_apart),
        TEST(it_is_remembered_by_the_next_connection),
        TEST(a_failing_effect_is_undone_and_may_run_again),
        TEST(a_failing_effect_leaves_what_the_caller_did_before),
        TEST(the_callers_rollback_forgets_it),
        TEST(the_callers_commit_keeps_it),
        TEST(without_an_effect_the_event_is_only_remembered),
        TEST(one_may_run_inside_of_another),
        TEST(what_is_missing_is_named),
        TEST(an_effect_that_ends_the_transaction_is_reported),
        TEST(a_locked_database_is_reported_and_nothing_is_done),
        TEST(a_full_database_undoes_everything),
        TEST(connections_that_race_run_it_once),
        TEST(after_a_crash_effect_and_memory_are_both_there_or_both_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
