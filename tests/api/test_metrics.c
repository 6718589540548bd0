/* What the metrics say of logs and of the program. Those of queues are in tests/queue. */
#include "queue/world.h"

static void take_text(void *ctx, const char *data, size_t len)
{
    char **text = ctx;
    *text = malloc(len + 1);
    memcpy(*text, data, len);
    (*text)[len] = 0;
}

/* The value of a series, given with its labels; -1: there is none. */
static long long value_of(struct world *w, const char *series)
{
    char *text = NULL, wanted[256];
    long long value = -1;
    check_ok(beck_metrics(w->b, take_text, &text, err));
    snprintf(wanted, sizeof wanted, "\n%s ", series);
    const char *at = strstr(text, wanted);
    if (at)
        value = strtoll(at + strlen(wanted), NULL, 10);
    free(text);
    return value;
}

static void the_version_is_a_label(void **state)
{
    struct world w;
    (void)state;
    world_start_in_memory(&w);
    assert_int_equal(value_of(&w, "beck_build_info{version=\"" BECK_VERSION "\"}"), 1);
    world_end(&w);
}

static void writes_to_a_log_are_counted(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", &(beck_bus_options){.partitions = 2, .segment_bytes = 4096});
    assert_int_equal(value_of(&w, "beck_log_written_batches_total{bus=\"b\"}"), 0);
    assert_int_equal(value_of(&w, "beck_log_segments{bus=\"b\"}"), 2);
    for (int i = 0; i < 100; i++)
        put(bus, "t", "some text that fills a segment after a while");
    assert_int_equal(value_of(&w, "beck_log_written_batches_total{bus=\"b\"}"), 100);
    long long bytes = value_of(&w, "beck_bus_bytes{bus=\"b\"}");
    assert_true(bytes > 2 * 4096);
    assert_int_equal(value_of(&w, "beck_log_written_bytes_total{bus=\"b\"}"), bytes);
    assert_true(value_of(&w, "beck_log_segments{bus=\"b\"}") > 2);
    assert_int_equal(value_of(&w, "beck_log_poisoned_partitions{bus=\"b\"}"), 0);
    world_bus(&w, "m", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    assert_int_equal(value_of(&w, "beck_bus_events{bus=\"m\"}"), 0);
    assert_int_equal(value_of(&w, "beck_log_segments{bus=\"m\"}"), -1);
    world_end(&w);
}

static void a_failed_sync_shows(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_bus(&w, "b", NULL);
    put(bus, "t", "1");
    vfs_sim_fail(w.vfs, VFS_OP_SYNC, 1, false, BECK_EIO);
    beck_event e = {.type = beck_str("t")};
    assert_int_equal(beck_publish(bus, &e, NULL), BECK_EPOISONED);
    assert_int_equal(value_of(&w, "beck_log_poisoned_partitions{bus=\"b\"}"), 1);
    beck_abandon(w.b);
    world_open(&w);
    assert_int_equal(value_of(&w, "beck_log_poisoned_partitions{bus=\"b\"}"), 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_a_label),
        cmocka_unit_test(writes_to_a_log_are_counted),
        cmocka_unit_test(a_failed_sync_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
