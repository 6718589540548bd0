/* The outbox in a database: what is committed there is published, and nothing else. */
#include "common.h"

#include <sqlite3.h>

struct world {
    struct place place;
    char file[160];
    sqlite3 *db;
    beck *b;
};

static void sql(sqlite3 *db, const char *text)
{
    char *message = NULL;
    if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", text, message);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    place_make(&w->place);
    snprintf(w->file, sizeof w->file, "%s/db", w->place.dir);
    assert_int_equal(sqlite3_open(w->file, &w->db), SQLITE_OK);
    w->b = open_place(&w->place);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    beck_close(w->b);
    sqlite3_close(w->db);
    place_remove(&w->place);
    free(w);
    return 0;
}

static void put(struct world *w, const char *bus, const char *data)
{
    beck_event e = {.type = beck_str("t.x"), .data = beck_str(data)};
    must(beck_outbox_put(w->db, bus, &e, &err));
}

static size_t send(struct world *w, size_t max)
{
    size_t count = 99;
    must(beck_outbox_publish(w->b, w->db, max, &count, &err));
    return count;
}

/* The data of all events of a bus, in their order. */
static void expect(beck_bus *bus, const char *expected)
{
    char all[1000] = "";
    beck_reader *r;
    const beck_event *e;
    must(beck_reader_open(bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST}, &r, &err));
    while (beck_reader_next(r, 0, &e, NULL) == BECK_OK)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%.*s ", (int)e->data.len,
                 (const char *)e->data.data);
    beck_reader_close(r);
    assert_string_equal(all, expected);
}

static void what_is_committed_is_published_once_and_in_order(void **state)
{
    struct world *w = *state;
    beck_bus *bus = make_bus(w->b, "shop", NULL);
    assert_int_equal(send(w, 0), 0);
    sql(w->db, "BEGIN");
    put(w, "shop", "1");
    put(w, "shop", "2");
    refused(beck_outbox_publish(w->b, w->db, 0, NULL, &err), BECK_EINVAL, "commit it first");
    sql(w->db, "COMMIT; BEGIN");
    put(w, "shop", "3");
    sql(w->db, "ROLLBACK");
    put(w, "shop", "4");
    expect(bus, "");
    assert_int_equal(send(w, 1), 1);
    expect(bus, "1 ");
    assert_int_equal(send(w, 0), 2);
    assert_int_equal(send(w, 0), 0);
    expect(bus, "1 2 4 ");
}

static void several_hundred_for_several_buses_keep_their_order(void **state)
{
    struct world *w = *state;
    beck_bus *buses[] = {make_bus(w->b, "one", NULL), make_bus(w->b, "two", NULL)};
    char expected[2][1000] = {"", ""};
    sql(w->db, "BEGIN");
    for (int i = 0; i < 300; i++) {
        int bus = i < 150 ? 0 : i % 2;
        char data[4];
        snprintf(data, sizeof data, "%d", i % 10);
        put(w, bus ? "two" : "one", data);
        strcat(strcat(expected[bus], data), " ");
    }
    sql(w->db, "COMMIT");
    assert_int_equal(send(w, 0), 300);
    expect(buses[0], expected[0]);
    expect(buses[1], expected[1]);
}

static void an_event_comes_out_as_it_went_in(void **state)
{
    struct world *w = *state;
    beck_bus *bus = make_bus(w->b, "shop", NULL);
    beck_attribute more = {beck_str("region"), beck_str("eu")};
    beck_event whole = {.type = beck_str("t.x"),
                        .subject = beck_str("S"),
                        .source = beck_str("/me"),
                        .id = beck_str("my \"id\""),
                        .time_ns = 1600000000123000000,
                        .datacontenttype = beck_str("application/octet-stream"),
                        .data = {"\xff\0'x", 4},
                        .correlationid = beck_str("c"),
                        .causationid = beck_str("d"),
                        .deliver_at_ms = 1700000000000,
                        .priority = 7,
                        .extensions = &more,
                        .extension_count = 1};
    must(beck_outbox_put(w->db, "shop", &whole, &err));
    must(beck_outbox_put(w->db, "shop", &(beck_event){.type = beck_str("t.y")}, &err));
    assert_int_equal(send(w, 0), 2);
    beck_reader *r;
    const beck_event *e;
    must(beck_reader_open(bus, &(beck_read_options){.from.kind = BECK_FROM_EARLIEST}, &r, &err));
    must(beck_reader_next(r, 0, &e, &err));
    assert_true(is(e->subject, "S") && is(e->source, "/me") && is(e->id, "my \"id\""));
    assert_true(is(e->correlationid, "c") && is(e->causationid, "d"));
    assert_int_equal(e->time_ns, whole.time_ns);
    assert_int_equal(e->deliver_at_ms, whole.deliver_at_ms);
    assert_int_equal(e->priority, 7);
    assert_int_equal(e->data.len, 4);
    assert_memory_equal(e->data.data, whole.data.data, 4);
    assert_int_equal(e->extension_count, 1);
    assert_true(is(e->extensions[0].value, "eu"));
    must(beck_reader_next(r, 0, &e, &err));
    assert_true(is(e->source, "/shop"));
    assert_int_equal(e->id.len, 36);
    assert_true(e->time_ns > 1700000000000000000);
    beck_reader_close(r);
}

static void one_that_is_refused_stays_with_those_behind_it(void **state)
{
    struct world *w = *state;
    beck_bus *bus = make_bus(w->b, "shop", &(beck_bus_options){.event_bytes_max = 200});
    char large[400];
    size_t count = 99;
    memset(large, '1', sizeof large);
    large[sizeof large - 1] = 0;
    put(w, "shop", "1");
    put(w, "shop", large);
    put(w, "shop", "3");
    put(w, "nowhere", "4");
    beck_error e = {0};
    assert_int_equal(beck_outbox_publish(w->b, w->db, 0, &count, &e), BECK_ELIMIT);
    assert_int_equal(count, 1);
    expect(bus, "1 ");
    beck_bus_info info;
    must(beck_bus_info_get(bus, &info, &err));
    info.options.event_bytes_max = 2000;
    must(beck_bus_alter(bus, &info.options, &err));
    assert_int_equal(beck_outbox_publish(w->b, w->db, 0, &count, &e), BECK_ENOENT);
    assert_int_equal(count, 2);
    assert_non_null(strstr(e.text, "nowhere"));
    make_bus(w->b, "nowhere", NULL);
    assert_int_equal(send(w, 0), 1);
}

/* As after a crash between publishing and removing. */
static void what_is_published_again_is_not_stored_again(void **state)
{
    struct world *w = *state;
    beck_bus *bus = make_bus(w->b, "shop", &(beck_bus_options){.dedup_window_ms = 3600000});
    put(w, "shop", "1");
    put(w, "shop", "2");
    sql(w->db, "CREATE TABLE copy AS SELECT * FROM beck_outbox");
    assert_int_equal(send(w, 0), 2);
    sql(w->db, "INSERT INTO beck_outbox SELECT * FROM copy");
    put(w, "shop", "3");
    assert_int_equal(send(w, 0), 3);
    expect(bus, "1 2 3 ");
}

static void what_the_database_forgets_is_on_the_device(void **state)
{
    struct world *w = *state;
    beck_bus *bus = make_bus(w->b, "shop", &(beck_bus_options){.level = BECK_LEVEL_WRITTEN});
    beck_partition_info info;
    put(w, "shop", "1");
    send(w, 0);
    must(beck_partition_info_get(bus, 0, &info, &err));
    assert_int_equal(info.synced_offset, 1);
}

static void what_cannot_be_is_refused_before_the_database_is_touched(void **state)
{
    struct world *w = *state;
    beck_event e = {.type = beck_str("a..b")};
    refused(beck_outbox_put(w->db, "shop", &e, &err), BECK_EINVAL, "a..b");
    e.type = beck_str("a.b");
    refused(beck_outbox_put(NULL, "shop", &e, &err), BECK_EINVAL, "database");
    refused(beck_outbox_put(w->db, "", &e, &err), BECK_EINVAL, "bus");
    refused(beck_outbox_publish(w->b, NULL, 0, NULL, &err), BECK_EINVAL, "database");
    sqlite3 *other;
    assert_int_equal(sqlite3_open(w->file, &other), SQLITE_OK);
    sql(other, "BEGIN IMMEDIATE");
    refused(beck_outbox_put(w->db, "shop", &e, &err), BECK_EIO, "locked");
    sql(other, "ROLLBACK");
    sqlite3_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_committed_is_published_once_and_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(several_hundred_for_several_buses_keep_their_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_event_comes_out_as_it_went_in, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_is_refused_stays_with_those_behind_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_published_again_is_not_stored_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_the_database_forgets_is_on_the_device, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused_before_the_database_is_touched,
                                        setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
