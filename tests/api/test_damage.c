/* Data directories that are not as they should be: what is refused, what is said, and what is done about it. */
#include "common.h"

/* ---- directories ---- */

static const beck_bus_options small = {.segment_bytes = 4096};

/* A bus `d` with events 0 to 247 in segments of 4 KiB. */
static void make_data(const struct place *p)
{
    beck *b = open_place(p);
    beck_bus *d = make_bus(b, "d", &small);
    for (int i = 0; i < 248; i++)
        publish(d, "t.x", "s", "12345678");
    beck_close(b);
}

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

static int64_t events_of(beck *b, const char *name)
{
    beck_bus *bus;
    beck_bus_info info;
    must(beck_bus_get(b, name, &bus, &err));
    must(beck_bus_info_get(bus, &info, &err));
    return info.events;
}

/* ---- directories that nobody knows ---- */

static void a_bus_is_not_made_over_events_that_no_topology_knows(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    make_data(&p);
    shell("cp -r %s/d-0 %s/orders-0 && cp -r %s/orders-0 %s/kept", p.data, p.data, p.data, p.dir);
    beck *b = open_place(&p);
    beck_bus *bus;
    refused(beck_bus_create(b, "orders", NULL, &bus, &err), BECK_EEXIST, "beck import kafka");
    beck_close(b);
    shell("diff -r %s/orders-0 %s/kept", p.data, p.dir);
    /* As the remedy says. */
    shell("mkdir %s/away && mv %s/orders-0 %s/away", p.dir, p.data, p.dir);
    b = open_place(&p);
    char away[128];
    snprintf(away, sizeof away, "%s/away", p.dir);
    must(beck_kafka_import(b, away, "orders", "orders", NULL, NULL, &err));
    assert_int_equal(events_of(b, "orders"), 248);
    beck_close(b);
    place_remove(&p);
}

static void a_bus_is_made_over_what_the_making_of_one_left(void **state)
{
    (void)state;
    struct place p;
    place_make(&p);
    beck *b = open_place(&p);
    shell("mkdir %s/orders-0 && : > %s/orders-0/00000000000000000000.log", p.data, p.data);
    make_bus(b, "orders", NULL);
    beck_close(b);
    place_remove(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bus_is_not_made_over_events_that_no_topology_knows),
        cmocka_unit_test(a_bus_is_made_over_what_the_making_of_one_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
