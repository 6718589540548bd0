/* Metrics and their text. */
#include "base/metrics.h"
#include "base/common.h"
#include "support/failing_malloc.h"

#include <math.h>
#include <pthread.h>

static const char *const bus_label[] = {"bus", NULL};
static const char *const two_labels[] = {"bus", "result", NULL};

static void assert_text(struct metrics *m, const char *expected)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(metrics_write(m, &out), BECK_OK);
    assert_int_equal(buf_terminate(&out), BECK_OK);
    assert_string_equal((char *)out.data, expected);
    buf_release(&out);
}

static void families_come_in_order_of_name_with_help_and_type(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metric_family *z = metrics_counter(m, "z_total", "Last.", NULL, 1);
    struct metric_family *a = metrics_gauge(m, "a_bytes", "First.", NULL, 1);
    counter_add(metric_counter(z, NULL), 5);
    counter_add(metric_counter(z, NULL), UINT64_MAX - 5);
    gauge_set(metric_gauge(a, NULL), 10);
    gauge_add(metric_gauge(a, NULL), -12);
    assert_text(m, "# HELP a_bytes First.\n"
                   "# TYPE a_bytes gauge\n"
                   "a_bytes -2\n"
                   "# HELP z_total Last.\n"
                   "# TYPE z_total counter\n"
                   "z_total 18446744073709551615\n");
    metrics_free(m);
}

static void help_and_label_values_are_escaped(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_counter(m, "x_total", "a \\ b\n\"c\"", two_labels, 10);
    counter_add(metric_counter(f, (beck_bytes[]){beck_str("a\"b\\c\nd"), beck_str("")}), 1);
    assert_text(m, "# HELP x_total a \\\\ b\\n\"c\"\n"
                   "# TYPE x_total counter\n"
                   "x_total{bus=\"a\\\"b\\\\c\\nd\",result=\"\"} 1\n");
    metrics_free(m);
}

static void histogram_buckets_are_cumulative_and_include_their_bound(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    static const double bounds[] = {0.005, 0.1, 1, 1e6};
    struct metric_family *f = metrics_histogram(m, "t_seconds", "Time.", bus_label, 10, bounds, 4);
    struct histogram *h = metric_histogram(f, (beck_bytes[]){beck_str("b")});
    static const double values[] = {0.005, 0.25, 1, 2, 2e6, -1, 3, 1};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        histogram_record(h, values[i]);
    histogram_record_many(h, 0.5, 3);
    assert_text(m, "# HELP t_seconds Time.\n"
                   "# TYPE t_seconds histogram\n"
                   "t_seconds_bucket{bus=\"b\",le=\"0.005\"} 2\n"
                   "t_seconds_bucket{bus=\"b\",le=\"0.1\"} 2\n"
                   "t_seconds_bucket{bus=\"b\",le=\"1\"} 8\n"
                   "t_seconds_bucket{bus=\"b\",le=\"1000000\"} 10\n"
                   "t_seconds_bucket{bus=\"b\",le=\"+Inf\"} 11\n"
                   "t_seconds_sum{bus=\"b\"} 2000007.755\n"
                   "t_seconds_count{bus=\"b\"} 11\n");
    metrics_free(m);
}

static void a_histogram_without_bounds_or_labels_and_odd_values(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_histogram(m, "h", "H.", NULL, 1, NULL, 0);
    histogram_record(metric_histogram(f, NULL), NAN);
    histogram_record(metric_histogram(f, NULL), INFINITY);
    assert_text(m, "# HELP h H.\n"
                   "# TYPE h histogram\n"
                   "h_bucket{le=\"+Inf\"} 2\n"
                   "h_sum NaN\n"
                   "h_count 2\n");
    metrics_free(m);
}

static void the_same_name_is_the_same_family_and_series(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_counter(m, "x_total", "X.", bus_label, 10);
    assert_ptr_equal(f, metrics_counter(m, "x_total", "X.", bus_label, 10));
    struct counter *a = metric_counter(f, (beck_bytes[]){beck_str("a")});
    struct counter *b = metric_counter(f, (beck_bytes[]){beck_str("b")});
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(a, metric_counter(f, (beck_bytes[]){beck_str("a")}));
    assert_null(metric_counter(NULL, NULL));
    metrics_free(m);
}

static void series_beyond_the_maximum_share_other(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_counter(m, "x_total", "X.", bus_label, 2);
    static const char *const names[] = {"a", "b", "c", "d", "b"};
    for (size_t i = 0; i < 5; i++)
        counter_add(metric_counter(f, (beck_bytes[]){beck_str(names[i])}), 1);
    assert_text(m, "# HELP x_total X.\n"
                   "# TYPE x_total counter\n"
                   "x_total{bus=\"other\"} 2\n"
                   "x_total{bus=\"a\"} 1\n"
                   "x_total{bus=\"b\"} 2\n");
    /* A removed series makes room; its number may be counted in until it is freed. */
    struct counter *removed = metric_counter(f, (beck_bytes[]){beck_str("b")});
    metric_remove(f, (beck_bytes[]){beck_str("b")});
    counter_add(removed, 1);
    metric_free(f, removed);
    metric_free(f, metric_counter(f, (beck_bytes[]){beck_str("a")}));
    metric_remove(f, (beck_bytes[]){beck_str("no such")});
    metric_remove(f, (beck_bytes[]){beck_str("other")});
    counter_add(metric_counter(f, (beck_bytes[]){beck_str("c")}), 7);
    assert_text(m, "# HELP x_total X.\n"
                   "# TYPE x_total counter\n"
                   "x_total{bus=\"other\"} 2\n"
                   "x_total{bus=\"a\"} 1\n"
                   "x_total{bus=\"c\"} 7\n");
    metrics_free(m);
}

static void values_that_are_no_text_share_other(void **state)
{
    (void)state;
    static char large[1025];
    memset(large, 'x', sizeof large);
    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_counter(m, "x_total", "X.", bus_label, 100);
    struct counter *other = metric_counter(f, (beck_bytes[]){beck_str("other")});
    assert_ptr_equal(metric_counter(f, (beck_bytes[]){beck_str("\xff")}), other);
    assert_ptr_equal(metric_counter(f, (beck_bytes[]){bytes_of(large, 1025)}), other);
    assert_ptr_not_equal(metric_counter(f, (beck_bytes[]){bytes_of(large, 1024)}), other);
    metrics_free(m);
}

static void thousands_of_series_are_each_found_again(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static struct counter *series[COUNT];
    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_counter(m, "x_total", "X.", two_labels, COUNT);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t key = i;
            char text[9];
            for (int k = 0; k < 8; k++, key >>= 4)
                text[k] = "0123456789abcdef"[key & 15];
            beck_bytes values[] = {bytes_of(text, i % 2 == 0 ? 8 : 4),
                                   bytes_of(text + 4, i % 2 == 0 ? 0 : 4)};
            struct counter *c = metric_counter(f, values);
            if (round == 0)
                series[i] = c;
            assert_ptr_equal(c, series[i]);
            assert_true(atomic_load(&c->value) == (uint64_t)round);
            counter_add(c, 1);
        }
    }
    metrics_free(m);
}

/* Declares and uses a family, writes it; with memory failing at the nth allocation. */
static void use_everything(void)
{
    static const double bounds[] = {1, 2};
    struct metrics *m = metrics_new();
    if (m == NULL)
        return;
    struct metric_family *f = metrics_histogram(m, "t", "T.", two_labels, 100, bounds, 2);
    if (f != NULL) {
        for (int i = 0; i < 20; i++) {
            char text[2] = {(char)('a' + i), 0};
            histogram_record(metric_histogram(f, (beck_bytes[]){beck_str(text), beck_str("ok")}),
                             1);
        }
    }
    struct buf out;
    buf_init(&out, 1 << 20);
    if (metrics_write(m, &out) == BECK_OK)
        assert_true(f == NULL || out.len > 0);
    else
        assert_int_equal(out.len, 0);
    buf_release(&out);
    metrics_free(m);
}

static void without_memory_counting_goes_on_in_other(void **state)
{
    (void)state;
    failing_malloc_at(0, false);
    use_everything();
    long total = failing_malloc_count();
    assert_true(total > 20);
    for (long n = 1; n <= total; n++) {
        failing_malloc_at(n, n % 2 == 0);
        use_everything();
    }
    failing_malloc_at(0, false);

    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_counter(m, "x_total", "X.", bus_label, 10);
    failing_malloc_at(1, true);
    counter_add(metric_counter(f, (beck_bytes[]){beck_str("a")}), 3);
    failing_malloc_at(0, false);
    assert_text(m, "# HELP x_total X.\n"
                   "# TYPE x_total counter\n"
                   "x_total{bus=\"other\"} 3\n");
    metrics_free(m);
}

static void a_full_buffer_is_left_as_it_was(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    counter_add(metric_counter(metrics_counter(m, "x_total", "X.", NULL, 1), NULL), 1);
    struct buf out;
    buf_init(&out, 30);
    assert_int_equal(buf_append_text(&out, "kept"), BECK_OK);
    assert_int_equal(metrics_write(m, &out), BECK_ELIMIT);
    assert_true(bytes_equal_text(buf_bytes(&out), "kept"));
    buf_release(&out);
    metrics_free(m);
}

struct load {
    struct metrics *metrics;
    struct metric_family *counters, *times;
};

static void *count(void *arg)
{
    struct load *l = arg;
    for (int i = 0; i < 4000; i++) {
        char text[2] = {(char)('a' + i % 8), 0};
        beck_bytes values[] = {beck_str(text)};
        counter_add(metric_counter(l->counters, values), 1);
        histogram_record(metric_histogram(l->times, values), 0.5);
    }
    return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
    (void)state;
    static const double bounds[] = {1};
    struct load l = {.metrics = metrics_new()};
    l.counters = metrics_counter(l.metrics, "x_total", "X.", bus_label, 100);
    l.times = metrics_histogram(l.metrics, "x_seconds", "X.", bus_label, 100, bounds, 1);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, &l), 0);
    struct buf out;
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 20; i++) {
        buf_clear(&out);
        assert_int_equal(metrics_write(l.metrics, &out), BECK_OK);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    uint64_t sum = 0;
    for (int i = 0; i < 8; i++) {
        char text[2] = {(char)('a' + i), 0};
        sum += atomic_load(&metric_counter(l.counters, (beck_bytes[]){beck_str(text)})->value);
    }
    assert_true(sum == 16000);
    buf_clear(&out);
    assert_int_equal(metrics_write(l.metrics, &out), BECK_OK);
    assert_int_equal(buf_terminate(&out), BECK_OK);
    assert_non_null(strstr((char *)out.data, "x_seconds_bucket{bus=\"c\",le=\"1\"} 2000\n"));
    assert_non_null(strstr((char *)out.data, "x_seconds_sum{bus=\"c\"} 1000\n"));
    buf_release(&out);
    metrics_free(l.metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_come_in_order_of_name_with_help_and_type),
        cmocka_unit_test(help_and_label_values_are_escaped),
        cmocka_unit_test(histogram_buckets_are_cumulative_and_include_their_bound),
        cmocka_unit_test(a_histogram_without_bounds_or_labels_and_odd_values),
        cmocka_unit_test(the_same_name_is_the_same_family_and_series),
        cmocka_unit_test(series_beyond_the_maximum_share_other),
        cmocka_unit_test(values_that_are_no_text_share_other),
        cmocka_unit_test(thousands_of_series_are_each_found_again),
        cmocka_unit_test(without_memory_counting_goes_on_in_other),
        cmocka_unit_test(a_full_buffer_is_left_as_it_was),
        cmocka_unit_test(nothing_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
