/* What queues count for operators: which deliveries failed, why events were given up, and how long
 * deliveries took. */
#include "queue/world.h"

struct text {
    char *data;
    size_t len;
};

static void take_text(void *ctx, const char *data, size_t len)
{
    struct text *t = ctx;
    t->data = realloc(t->data, t->len + len + 1);
    memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = 0;
}

static char *metrics_of(struct world *w)
{
    struct text t = {0};
    check_ok(beck_metrics(w->b, take_text, &t, err));
    return t.data;
}

/* The metrics have this line, but the newline. */
static void check_line_at(struct world *w, const char *line, const char *file, int at)
{
    char wanted[256];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    char *text = metrics_of(w);
    if (!strstr(text, wanted)) {
        print_error("\"%s\" is not in:\n%s", line, text);
        _fail(file, at);
    }
    free(text);
}
#define check_line(w, line) check_line_at(w, line, __FILE__, __LINE__)

static void check_absent(struct world *w, const char *part)
{
    char *text = metrics_of(w);
    if (strstr(text, part))
        fail_msg("\"%s\" is in:\n%s", part, text);
    free(text);
}

static void failed_deliveries_are_counted_by_type(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.attempts_max = 2,
                                                         .deadline_ms = MINUTE,
                                                         .backoff.kind = BECK_BACKOFF_NONE});
    check_absent(&w, "beck_queue_failed_total{");
    check_absent(&w, "beck_queue_dead_lettered_total{");
    beck_consumer *c = world_consumer(&w, "q", 0);
    put(bus, "t.bad", "1");
    check_ok(beck_retry(c, take(c, "1").tag, 0, "no", err));
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t.bad\"} 1");
    check_absent(&w, "beck_queue_dead_lettered_total{");
    check_ok(beck_retry(c, take(c, "1").tag, 0, "no", err));
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t.bad\"} 2");
    check_line(&w, "beck_queue_dead_lettered_total{queue=\"q\",reason=\"attempts\"} 1");
    put(bus, "t.worse", "2");
    check_ok(beck_reject(c, take(c, "2").tag, "never", err));
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t.worse\"} 1");
    check_line(&w, "beck_queue_dead_lettered_total{queue=\"q\",reason=\"rejected\"} 1");
    /* Late. */
    put(bus, "t.slow", "3");
    beck_delivery late = take(c, "3");
    world_advance(&w, MINUTE);
    check_counts(&w, "q", 1, 0, 0, 2);
    assert_int_equal(beck_settle(c, &late.tag, 1, NULL), BECK_ESTALE);
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t.slow\"} 1");
    /* What is settled or given back has not failed. */
    check_ok(beck_return(c, take(c, "3").tag, err));
    settle(c, take(c, "3"));
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t.slow\"} 1");
    /* Held by a consumer that closes. */
    put(bus, "t.held", "4");
    take(c, "4");
    beck_consumer_close(c);
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t.held\"} 1");
    world_end(&w);
}

static void dead_letters_are_counted_by_reason(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.ttl_ms = MINUTE, .length_max = 2});
    for (int i = 0; i < 5; i++)
        put(bus, "t", "x");
    check_counts(&w, "q", 2, 0, 0, 3);
    check_line(&w, "beck_queue_dead_lettered_total{queue=\"q\",reason=\"maxlen\"} 3");
    world_advance(&w, MINUTE);
    check_counts(&w, "q", 0, 0, 0, 5);
    check_line(&w, "beck_queue_dead_lettered_total{queue=\"q\",reason=\"expired\"} 2");
    check_absent(&w, "beck_queue_failed_total{");
    world_end(&w);
}

static void types_beyond_a_hundred_are_counted_together(void **state)
{
    struct world w;
    char type[16];
    (void)state;
    world_start_in_memory(&w);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.backoff.kind = BECK_BACKOFF_NONE});
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 150; i++) {
            snprintf(type, sizeof type, "t.n%d", i);
            put(bus, type, type);
            check_ok(beck_reject(c, take(c, type).tag, NULL, err));
        }
    }
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t.n0\"} 2");
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t.n99\"} 2");
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"other\"} 100");
    check_absent(&w, "t.n100\"");
    beck_consumer_close(c);
    world_end(&w);
}

static void processing_lasts_from_taking_to_the_answer(void **state)
{
    struct world w;
    beck_delivery d[8];
    uint64_t tags[8];
    size_t count;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, &(beck_queue_options){.deadline_ms = -1});
    beck_consumer *c = world_consumer(&w, "q", 0);
    for (int i = 0; i < 8; i++)
        put(bus, "t", "x");
    check_absent(&w, "beck_queue_processing_seconds_count");
    check_ok(beck_take(c, d, 3, 0, &count, err));
    check_line(&w, "beck_queue_processing_seconds_count{queue=\"q\"} 0");
    world_advance(&w, SECOND);
    check_ok(beck_take(c, d + 3, 5, 0, &count, err));
    assert_int_equal(count, 5);
    world_advance(&w, 3 * SECOND);
    for (int i = 0; i < 8; i++)
        tags[i] = d[i].tag;
    /* Three took 4 s, two 3 s; another is retried, and one rejected, later. */
    check_ok(beck_settle(c, tags, 5, err));
    world_advance(&w, 4 * SECOND);
    check_ok(beck_retry(c, tags[5], 0, NULL, err));
    check_ok(beck_reject(c, tags[6], NULL, err));
    check_ok(beck_return(c, tags[7], err));
    check_line(&w, "beck_queue_processing_seconds_count{queue=\"q\"} 7");
    check_line(&w, "beck_queue_processing_seconds_sum{queue=\"q\"} 32");
    check_line(&w, "beck_queue_processing_seconds_bucket{queue=\"q\",le=\"2.5\"} 0");
    check_line(&w, "beck_queue_processing_seconds_bucket{queue=\"q\",le=\"5\"} 5");
    check_line(&w, "beck_queue_processing_seconds_bucket{queue=\"q\",le=\"10\"} 7");
    beck_consumer_close(c);
    world_end(&w);
}

static void a_later_queue_of_the_name_begins_with_nothing(void **state)
{
    struct world w;
    (void)state;
    world_start(&w, 1);
    beck_bus *bus = world_pair(&w, NULL);
    beck_consumer *old = world_consumer(&w, "q", 0);
    put(bus, "t", "1");
    put(bus, "t", "2");
    check_ok(beck_reject(old, take(old, "1").tag, NULL, err));
    beck_delivery held = take(old, "2");
    check_ok(beck_queue_delete(w.b, "q", err));
    check_absent(&w, "\"q\"");
    world_queue(&w, "q", NULL);
    world_bind(&w, "q", "b", "#", BECK_FROM_NOW);
    assert_int_equal(beck_retry(old, held.tag, 0, NULL, NULL), BECK_ESTALE);
    beck_consumer_close(old);
    check_absent(&w, "beck_queue_failed_total{queue=\"q\"");
    check_absent(&w, "beck_queue_processing_seconds_count{queue=\"q\"");
    beck_consumer *c = world_consumer(&w, "q", 0);
    put(bus, "t", "3");
    check_ok(beck_reject(c, take(c, "3").tag, NULL, err));
    check_line(&w, "beck_queue_failed_total{queue=\"q\",type=\"t\"} 1");
    check_line(&w, "beck_queue_dead_lettered_total{queue=\"q\",reason=\"rejected\"} 1");
    check_line(&w, "beck_queue_processing_seconds_count{queue=\"q\"} 1");
    beck_consumer_close(c);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_deliveries_are_counted_by_type),
        cmocka_unit_test(dead_letters_are_counted_by_reason),
        cmocka_unit_test(types_beyond_a_hundred_are_counted_together),
        cmocka_unit_test(processing_lasts_from_taking_to_the_answer),
        cmocka_unit_test(a_later_queue_of_the_name_begins_with_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
