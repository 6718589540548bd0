/* Listeners and routes: who is called, in which order, and when it ends. */
#include "bus/subscribers_inline.h"
#include "shop.h"
#include "event/pattern.h"
#include "support/failing_malloc.h"

#include <malloc.h>

/* ---- a listener that writes down its calls ---- */

#define LOG_MAX 4096

static struct {
    int names[LOG_MAX];
    size_t count;
} log_of_calls;

struct probe {
    int name, result;
    int calls, releases;
    void (*inside)(struct probe *p, const beck_event *event);
    struct bus *bus;
    beck_listener *listener, *other;
};

static int note(void *ctx, const beck_event *event)
{
    struct probe *p = ctx;
    assert_true(log_of_calls.count < LOG_MAX);
    log_of_calls.names[log_of_calls.count++] = p->name;
    p->calls++;
    if (p->inside != NULL)
        p->inside(p, event);
    return p->result;
}

static void note_release(void *ctx)
{
    ((struct probe *)ctx)->releases++;
}

static const beck_listener_options with_release = {.release = note_release};

static void assert_calls(const char *names)
{
    char seen[LOG_MAX + 1];
    for (size_t i = 0; i < log_of_calls.count; i++)
        seen[i] = (char)('0' + log_of_calls.names[i]);
    seen[log_of_calls.count] = 0;
    assert_string_equal(seen, names);
    log_of_calls.count = 0;
}

/* ---- order and matching ---- */

static void test_listeners_are_called_in_order_of_subscription(void **state)
{
    (void)state;
    struct bus bus;
    struct probe probes[5];
    const char *patterns[5] = {"#", "order.created", "order.*", "#.created", "order.#"};
    bus_init(&bus);
    for (int i = 0; i < 5; i++) {
        probes[i] = (struct probe){.name = i};
        subscribe(&bus, patterns[i], note, &probes[i], NULL);
    }
    assert_int_equal(publish(&bus, "order.created"), 0);
    assert_calls("01234");
    publish(&bus, "order.paid");
    assert_calls("024");
    publish(&bus, "order.created");
    assert_calls("01234");
    publish(&bus, "other");
    assert_calls("0");
    bus_release(&bus);
}

static void test_one_pattern_may_have_many_listeners(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1}, b = {.name = 2};
    bus_init(&bus);
    subscribe(&bus, "a.b", note, &a, NULL);
    subscribe(&bus, "a.b", note, &b, NULL);
    subscribe(&bus, "a.b", note, &a, NULL);
    publish(&bus, "a.b");
    assert_calls("121");
    assert_int_equal(subscribers_count(bus.subscribers), 3);
    bus_release(&bus);
}

static void test_buses_of_one_handle_do_not_meet(void **state)
{
    (void)state;
    struct bus bus;
    struct subscribers *other;
    struct probe a = {.name = 1}, b = {.name = 2};
    bus_init(&bus);
    assert_int_equal(subscribers_new(bus.callers, "other", NULL, NULL, &other), BECK_OK);
    subscribe(&bus, "x", note, &a, NULL);
    assert_int_equal(subscribers_add(other, beck_str("x"), note, &b, NULL, NULL, NULL), BECK_OK);
    beck_event event = {.type = beck_str("x")};
    for (int i = 0; i < 3; i++) {
        publish(&bus, "x");
        subscribers_call(other, callers_self(bus.callers), &event);
    }
    assert_calls("121212");
    subscribers_free(other);
    bus_release(&bus);
}

static void test_types_that_resemble_each_other_are_told_apart(void **state)
{
    (void)state;
    static const char *const types[] = {"a",
                                        "b",
                                        "aa",
                                        "ab",
                                        "aaaaaaa",
                                        "aaaaaab",
                                        "aaaaaaaa",
                                        "baaaaaaa",
                                        "aaaaaaaab",
                                        "aaaaaaaac",
                                        "aaaabaaaab",
                                        "aaaaaaaaaaaaaaaa",
                                        "aaaaaaaabaaaaaaa",
                                        "aaaaaaaaaaaaaaaaaa",
                                        "aaaaaaaaaaaaaaaaab"};
    enum { COUNT = sizeof types / sizeof types[0] };
    struct bus bus;
    struct probe probes[COUNT];
    bus_init(&bus);
    for (int i = 0; i < COUNT; i++) {
        probes[i] = (struct probe){.name = i};
        subscribe(&bus, types[i], note, &probes[i], NULL);
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            publish(&bus, types[i]);
            assert_int_equal(log_of_calls.count, 1);
            assert_int_equal(log_of_calls.names[0], i);
            log_of_calls.count = 0;
        }
    }
    bus_release(&bus);
}

static void test_more_types_than_the_table_holds(void **state)
{
    (void)state;
    struct bus bus;
    struct probe even = {.name = 0}, all = {.name = 1};
    bus_init(&bus);
    subscribe(&bus, "even.*", note, &even, NULL);
    subscribe(&bus, "#", note, &all, NULL);
    for (int i = 0; i < 2000; i++) {
        char type[64];
        snprintf(type, sizeof type, "%s.t%d", i % 2 == 0 ? "even" : "odd", i);
        publish(&bus, type);
        assert_calls(i % 2 == 0 ? "01" : "1");
    }
    bus_release(&bus);
}

static void test_wrong_patterns_are_refused(void **state)
{
    (void)state;
    struct bus bus;
    struct probe p = {.name = 1};
    bus_init(&bus);
    beck_listener *listener = (beck_listener *)&p;
    beck_error err = {0};
    const char *wrong[] = {"", "a..b", "ord*", ".a", "a.", "a#"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(subscribers_add(bus.subscribers, beck_str(wrong[i]), note, &p,
                                         &with_release, &listener, &err),
                         BECK_EINVAL);
        assert_ptr_equal(listener, &p);
    }
    assert_int_equal(
        subscribers_add(bus.subscribers, beck_str("a"), NULL, &p, &with_release, &listener, &err),
        BECK_EINVAL);
    assert_int_equal(subscribers_count(bus.subscribers), 0);
    assert_int_equal(p.releases, 0);
    bus_release(&bus);
    assert_int_equal(p.releases, 0);
}

/* ---- failures ---- */

static void test_a_failing_listener_does_not_stop_the_others(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1}, b = {.name = 2, .result = 7}, c = {.name = 3},
                 d = {.name = 4, .result = BECK_EFULL};
    bus_init(&bus);
    subscribe(&bus, "#", note, &a, NULL);
    subscribe(&bus, "order.*", note, &b, NULL);
    subscribe(&bus, "#", note, &c, NULL);
    assert_int_equal(publish(&bus, "order.created"), 1);
    assert_calls("123");
    assert_int_equal(bus.reports, 1);
    assert_int_equal(bus.reported.code, BECK_EIO);
    assert_non_null(strstr(bus.reported.text, "'order.*'"));
    assert_non_null(strstr(bus.reported.text, "'order.created'"));
    assert_non_null(strstr(bus.reported.text, "'shop'"));
    assert_non_null(strstr(bus.reported.text, "'id-1'"));
    assert_non_null(strstr(bus.reported.text, "returned 7"));
    subscribe(&bus, "#", note, &d, NULL);
    assert_int_equal(publish(&bus, "order.created"), 2);
    assert_int_equal(bus.reports, 3);
    assert_int_equal(bus.reported.code, BECK_EFULL);
    log_of_calls.count = 0;
    bus_release(&bus);
}

static void test_a_long_id_is_cut_in_the_report(void **state)
{
    (void)state;
    struct bus bus;
    struct probe p = {.name = 1, .result = 1};
    char id[1000];
    memset(id, 'x', sizeof id);
    bus_init(&bus);
    subscribe(&bus, "#", note, &p, NULL);
    beck_event event = {.type = beck_str("a"), .id = bytes_of(id, sizeof id)};
    assert_int_equal(subscribers_call(bus.subscribers, callers_self(bus.callers), &event), 1);
    assert_non_null(strstr(bus.reported.text, "xxx..."));
    assert_non_null(strstr(bus.reported.text, "see to the cause"));
    assert_calls("1");
    bus_release(&bus);
}

/* ---- inside of calls ---- */

static void leave_self(struct probe *p, const beck_event *event)
{
    (void)event;
    subscribers_remove(p->listener);
    assert_int_equal(p->releases, 0); /* still needed by this call */
}

static void test_a_listener_may_unsubscribe_itself(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1, .inside = leave_self}, b = {.name = 2};
    bus_init(&bus);
    a.listener = subscribe(&bus, "#", note, &a, &with_release);
    subscribe(&bus, "#", note, &b, NULL);
    publish(&bus, "x");
    assert_calls("12");
    assert_int_equal(a.releases, 1);
    publish(&bus, "x");
    assert_calls("2");
    bus_release(&bus);
    assert_int_equal(a.releases, 1);
}

static void leave_other(struct probe *p, const beck_event *event)
{
    (void)event;
    if (p->other != NULL)
        subscribers_remove(p->other);
    p->other = NULL;
}

static void test_a_listener_may_unsubscribe_others(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1}, b = {.name = 2, .inside = leave_other}, c = {.name = 3},
                 d = {.name = 4, .inside = leave_other};
    bus_init(&bus);
    d.other = subscribe(&bus, "#", note, &a, &with_release);
    subscribe(&bus, "#", note, &b, NULL);
    b.other = subscribe(&bus, "#", note, &c, &with_release);
    subscribe(&bus, "#", note, &d, NULL);
    publish(&bus, "x");
    assert_calls("124"); /* c was gone before its turn; a had its turn */
    assert_int_equal(a.releases, 1);
    assert_int_equal(c.releases, 1);
    publish(&bus, "x");
    assert_calls("24");
    bus_release(&bus);
}

static struct probe late = {.name = 9};

static void subscribe_late(struct probe *p, const beck_event *event)
{
    (void)event;
    p->inside = NULL;
    subscribe(p->bus, "#", note, &late, NULL);
}

static void test_a_listener_subscribed_inside_a_call_sees_the_next_event(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1, .inside = subscribe_late, .bus = &bus}, b = {.name = 2};
    bus_init(&bus);
    subscribe(&bus, "#", note, &a, NULL);
    subscribe(&bus, "#", note, &b, NULL);
    publish(&bus, "x");
    assert_calls("12");
    publish(&bus, "x");
    assert_calls("129");
    bus_release(&bus);
}

static void subscribe_late_and_publish(struct probe *p, const beck_event *event)
{
    (void)event;
    p->inside = NULL;
    subscribe(p->bus, "#", note, &late, NULL);
    publish(p->bus, "x");
}

static void test_a_nested_publish_sees_the_change_made_before_it(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1, .inside = subscribe_late_and_publish, .bus = &bus},
                 b = {.name = 2};
    bus_init(&bus);
    subscribe(&bus, "#", note, &a, NULL);
    subscribe(&bus, "#", note, &b, NULL);
    publish(&bus, "x");
    assert_calls("11292"); /* the outer call goes on with those that it found */
    bus_release(&bus);
}

#define DEPTH 1000

/* Every level publishes another type, which takes places of the table that outer levels use. */
static void publish_deeper(struct probe *p, const beck_event *event)
{
    (void)event;
    if (p->calls > DEPTH)
        return;
    char type[32];
    snprintf(type, sizeof type, "t%d", p->calls);
    publish(p->bus, type);
}

static void test_nested_publishes_leave_outer_calls_intact(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 0, .inside = publish_deeper, .bus = &bus};
    static struct probe each[DEPTH + 1];
    bus_init(&bus);
    subscribe(&bus, "#", note, &a, NULL);
    for (int i = 1; i <= DEPTH; i++) {
        char type[32];
        snprintf(type, sizeof type, "t%d", i);
        each[i] = (struct probe){.name = i};
        subscribe(&bus, type, note, &each[i], NULL);
    }
    for (int round = 0; round < 2; round++) {
        a.calls = 0;
        assert_int_equal(publish(&bus, "start"), 0);
        assert_int_equal(log_of_calls.count, 2 * DEPTH + 1);
        /* Down through all levels, then each goes on with the listener of its own type. */
        for (int i = 0; i < DEPTH; i++)
            assert_int_equal(log_of_calls.names[DEPTH + 1 + i], DEPTH - i);
        log_of_calls.count = 0;
    }
    bus_release(&bus);
}

static void expect_current(struct probe *p, const beck_event *event)
{
    struct caller *self = callers_self(p->bus->callers);
    assert_ptr_equal(caller_current(self), event);
    if (p->calls == 1) {
        publish(p->bus, "inner");
        assert_ptr_equal(caller_current(self), event);
    }
}

static void test_the_event_being_handled_is_the_current_one(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1, .inside = expect_current, .bus = &bus};
    bus_init(&bus);
    subscribe(&bus, "#", note, &a, NULL);
    assert_null(caller_current(callers_self(bus.callers)));
    publish(&bus, "outer");
    assert_null(caller_current(callers_self(bus.callers)));
    assert_calls("11");
    bus_release(&bus);
}

/* ---- events_max and release ---- */

static void test_events_max_ends_a_listener(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1}, b = {.name = 2};
    beck_listener_options twice = {.events_max = 2, .release = note_release};
    bus_init(&bus);
    beck_listener *listener = subscribe(&bus, "#", note, &a, &twice);
    subscribe(&bus, "#", note, &b, NULL);
    publish(&bus, "x");
    assert_int_equal(a.releases, 0);
    publish(&bus, "x");
    assert_int_equal(a.releases, 1);
    assert_int_equal(subscribers_count(bus.subscribers), 1);
    publish(&bus, "x");
    assert_calls("12122");
    subscribers_remove(listener);
    assert_int_equal(a.releases, 1);
    bus_release(&bus);
    assert_int_equal(a.releases, 1);
}

static void test_an_ended_listener_may_be_left_to_the_end(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1};
    beck_listener_options once = {.events_max = 1, .release = note_release};
    bus_init(&bus);
    subscribe(&bus, "#", note, &a, &once);
    publish(&bus, "x");
    publish(&bus, "x");
    assert_calls("1");
    bus_release(&bus);
    assert_int_equal(a.releases, 1);
}

static void publish_again(struct probe *p, const beck_event *event)
{
    (void)event;
    publish(p->bus, "x");
}

static void test_events_max_counts_nested_calls(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1, .inside = publish_again, .bus = &bus};
    beck_listener_options thrice = {.events_max = 3, .release = note_release};
    bus_init(&bus);
    subscribe(&bus, "#", note, &a, &thrice);
    publish(&bus, "x");
    assert_calls("111");
    assert_int_equal(a.releases, 1);
    bus_release(&bus);
}

static void test_a_listener_may_unsubscribe_itself_in_its_last_call(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1, .inside = leave_self};
    beck_listener_options once = {.events_max = 1, .release = note_release};
    bus_init(&bus);
    a.listener = subscribe(&bus, "#", note, &a, &once);
    publish(&bus, "x");
    publish(&bus, "x");
    assert_calls("1");
    assert_int_equal(a.releases, 1);
    bus_release(&bus);
}

static void test_release_is_called_once_however_it_ends(void **state)
{
    (void)state;
    struct bus bus;
    struct probe removed = {.name = 1}, left = {.name = 2};
    bus_init(&bus);
    beck_listener *listener = subscribe(&bus, "#", note, &removed, &with_release);
    subscribe(&bus, "#", note, &left, &with_release);
    publish(&bus, "x");
    subscribers_remove(listener);
    assert_int_equal(removed.releases, 1);
    assert_int_equal(left.releases, 0);
    bus_release(&bus);
    assert_int_equal(removed.releases, 1);
    assert_int_equal(left.releases, 1);
    log_of_calls.count = 0;
}

static void remove_in_release(void *ctx)
{
    struct probe *p = ctx;
    p->releases++;
    subscribers_remove(p->listener);
}

static void test_release_may_unsubscribe_the_listener_that_ended(void **state)
{
    (void)state;
    struct bus bus;
    struct probe a = {.name = 1};
    beck_listener_options once = {.events_max = 1, .release = remove_in_release};
    bus_init(&bus);
    a.listener = subscribe(&bus, "#", note, &a, &once);
    publish(&bus, "x");
    assert_calls("1");
    assert_int_equal(a.releases, 1);
    bus_release(&bus);
    assert_int_equal(a.releases, 1);
}

/* ---- routes ---- */

static void test_a_match_holds_each_route_once(void **state)
{
    (void)state;
    struct bus bus;
    int one, two;
    bus_init(&bus);
    struct subscribers *s = bus.subscribers;
    assert_int_equal(subscribers_add_route(s, beck_str("order.*"), &one, NULL), BECK_OK);
    assert_int_equal(subscribers_add_route(s, beck_str("#"), &one, NULL), BECK_OK);
    assert_int_equal(subscribers_add_route(s, beck_str("order.#"), &two, NULL), BECK_OK);
    assert_false(subscribers_have_listeners(s));
    struct caller *self = callers_self(bus.callers);
    caller_enter(self);
    const struct match *m = subscribers_match(s, self, beck_str("order.paid"));
    assert_non_null(m);
    assert_int_equal(m->route_count, 2);
    assert_true((m->routes[0] == &one && m->routes[1] == &two) ||
                (m->routes[0] == &two && m->routes[1] == &one));
    assert_int_equal(m->listener_count, 0);
    assert_int_equal(m->generation, subscribers_generation(s));
    m = subscribers_match(s, self, beck_str("other"));
    assert_int_equal(m->route_count, 1);
    assert_ptr_equal(m->routes[0], &one);
    caller_leave(self);
    bus_release(&bus);
}

static void test_a_removed_route_is_in_no_new_match(void **state)
{
    (void)state;
    struct bus bus;
    int one;
    bus_init(&bus);
    struct subscribers *s = bus.subscribers;
    assert_int_equal(subscribers_add_route(s, beck_str("a"), &one, NULL), BECK_OK);
    struct caller *self = callers_self(bus.callers);
    caller_enter(self);
    assert_null(subscribers_find(s, self, beck_str("a")));
    const struct match *m = subscribers_match(s, self, beck_str("a"));
    assert_int_equal(m->route_count, 1);
    assert_ptr_equal(subscribers_find(s, self, beck_str("a")), m);
    uint64_t generation = m->generation;
    assert_true(subscribers_remove_route(s, beck_str("a"), &one));
    assert_false(subscribers_remove_route(s, beck_str("a"), &one));
    assert_int_not_equal(generation, subscribers_generation(s));
    assert_null(subscribers_find(s, self, beck_str("a")));
    assert_int_equal(subscribers_match(s, self, beck_str("a"))->route_count, 0);
    caller_leave(self);
    assert_int_equal(subscribers_add_route(s, beck_str("a..b"), &one, NULL), BECK_EINVAL);
    bus_release(&bus);
}

/* ---- model: a list, walked in order ---- */

struct model_listener {
    struct probe probe;
    char pattern[32];
    uint64_t left; /* calls; UINT64_MAX: no limit */
    bool subscribed;
};

#define MODEL_LISTENERS 40

static uint64_t random_state;

static uint32_t roll(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

static void random_words(char *out, size_t size, bool wildcards)
{
    static const char *const words[] = {"a", "b", "order", "*", "#"};
    size_t count = 1 + roll(3), len = 0;
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%s", i == 0 ? "" : ".",
                                words[roll(wildcards ? 5 : 3)]);
}

static void model_publish(struct bus *bus, struct model_listener *const *order, size_t count)
{
    char type[32];
    size_t expected = 0;
    int names[MODEL_LISTENERS];
    random_words(type, sizeof type, false);
    for (size_t i = 0; i < count; i++) {
        struct model_listener *m = order[i];
        if (m->left > 0 && pattern_match(beck_str(m->pattern), beck_str(type))) {
            names[expected++] = m->probe.name;
            m->left -= m->left == UINT64_MAX ? 0 : 1;
        }
    }
    assert_int_equal(publish(bus, type), 0);
    assert_int_equal(log_of_calls.count, expected);
    for (size_t i = 0; i < expected; i++)
        assert_int_equal(log_of_calls.names[i], names[i]);
    log_of_calls.count = 0;
}

static void run_model(uint64_t seed)
{
    struct bus bus;
    static struct model_listener all[MODEL_LISTENERS];
    struct model_listener *order[MODEL_LISTENERS];
    size_t count = 0;
    print_message("seed %llu\n", (unsigned long long)seed);
    random_state = seed;
    memset(all, 0, sizeof all);
    bus_init(&bus);
    for (int step = 0; step < 3000; step++) {
        uint32_t pick = roll(MODEL_LISTENERS);
        struct model_listener *m = &all[pick];
        if (roll(10) >= 2) {
            model_publish(&bus, order, count);
        } else if (!m->subscribed) {
            beck_listener_options options = {.events_max = roll(3) == 0 ? 1 + roll(5) : 0,
                                             .release = note_release};
            m->probe = (struct probe){.name = (int)pick};
            m->left = options.events_max == 0 ? UINT64_MAX : options.events_max;
            random_words(m->pattern, sizeof m->pattern, true);
            m->probe.listener = subscribe(&bus, m->pattern, note, &m->probe, &options);
            m->subscribed = true;
            order[count++] = m;
        } else {
            assert_int_equal(m->probe.releases, m->left == 0);
            subscribers_remove(m->probe.listener);
            assert_int_equal(m->probe.releases, 1);
            m->subscribed = false;
            size_t at = 0;
            while (order[at] != m)
                at++;
            memmove(&order[at], &order[at + 1], (--count - at) * sizeof order[0]);
        }
    }
    bus_release(&bus);
    for (size_t i = 0; i < MODEL_LISTENERS; i++)
        assert_int_equal(all[i].probe.releases, all[i].probe.listener != NULL);
}

static void test_random_changes_and_publishes_agree_with_a_plain_list(void **state)
{
    (void)state;
    const char *given = getenv("BECK_TEST_SEED");
    if (given != NULL) {
        run_model(strtoull(given, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 8; seed++)
        run_model(seed);
}

/* ---- memory ---- */

static int count_call(void *ctx, const beck_event *event)
{
    (void)event;
    (*(uint64_t *)ctx)++;
    return 0;
}

static void test_publishing_allocates_nothing_in_steady_state(void **state)
{
    (void)state;
    struct bus bus;
    uint64_t calls = 0;
    struct probe nested = {.name = 1, .inside = publish_deeper, .bus = &bus};
    bus_init(&bus);
    for (int i = 0; i < 10; i++)
        subscribe(&bus, "order.*", count_call, &calls, NULL);
    subscribe(&bus, "nest", note, &nested, NULL);
    /* 1, many that fit into the table, and nested ones that fight for it. */
    for (int round = 0; round < 5; round++) {
        if (round == 2)
            failing_malloc_at(0, false);
        for (int i = 0; i < 100; i++) {
            char type[32];
            publish(&bus, "order.created");
            snprintf(type, sizeof type, "order.t%d", i);
            publish(&bus, type);
        }
        nested.calls = DEPTH - 30;
        publish(&bus, "nest");
        log_of_calls.count = 0;
    }
    assert_int_equal(failing_malloc_count(), 0);
    assert_int_equal(calls, 10 * 5 * 200);
    bus_release(&bus);
}

static void test_a_bus_with_listeners_costs_little(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip();
#endif
    struct bus bus;
    uint64_t calls = 0;
    size_t before = mallinfo2().uordblks;
    bus_init(&bus);
    for (int i = 0; i < 10; i++)
        subscribe(&bus, "order.*", count_call, &calls, NULL);
    for (int i = 0; i < 100; i++) {
        char type[32];
        snprintf(type, sizeof type, "order.t%d", i);
        publish(&bus, type);
    }
    size_t used = mallinfo2().uordblks - before;
    print_message("%zu bytes\n", used);
    assert_true(used < 64 * 1024); /* of the 100 KiB that a handle in memory may have */
    bus_release(&bus);
}

/* One life of a bus in which any allocation may fail: every failure is told, none does harm. */
static void live_with_failures(void)
{
    struct bus bus = {0};
    struct probe a = {.name = 1}, b = {.name = 2};
    beck_listener *first = NULL, *second = NULL;
    int route;
    if (callers_new(&bus.callers, NULL) != BECK_OK)
        return;
    if (subscribers_new(bus.callers, "shop", on_report, &bus, &bus.subscribers) != BECK_OK)
        goto out;
    beck_status status =
        subscribers_add(bus.subscribers, beck_str("a.*"), note, &a, &with_release, &first, NULL);
    assert_true(status == BECK_OK || status == BECK_ENOMEM);
    assert_int_equal(first != NULL, status == BECK_OK);
    (void)subscribers_add(bus.subscribers, beck_str("#"), note, &b, &with_release, &second, NULL);
    (void)subscribers_add_route(bus.subscribers, beck_str("#"), &route, NULL);
    struct caller *self = callers_self(bus.callers);
    if (self != NULL) {
        beck_event event = {.type = beck_str("a.b")};
        uint32_t failed = subscribers_call(bus.subscribers, self, &event);
        assert_true(failed == 0 || failed == SUBSCRIBERS_NO_MEMORY);
        assert_int_equal(log_of_calls.count, failed == 0 ? (first != NULL) + (second != NULL) : 0);
        assert_false(caller_in_section(self));
    }
    log_of_calls.count = 0;
    if (first != NULL) {
        subscribers_remove(first);
        assert_int_equal(a.releases, 1);
    }
out:
    subscribers_free(bus.subscribers);
    callers_free(bus.callers);
    assert_int_equal(a.releases, first != NULL);
    assert_int_equal(b.releases, second != NULL);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    failing_malloc_at(0, false);
    live_with_failures();
    long allocations = failing_malloc_count();
    assert_true(allocations > 5);
    for (int forever = 0; forever < 2; forever++) {
        for (long n = 1; n <= allocations; n++) {
            failing_malloc_at(n, forever);
            live_with_failures();
        }
    }
    failing_malloc_at(0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listeners_are_called_in_order_of_subscription),
        cmocka_unit_test(test_one_pattern_may_have_many_listeners),
        cmocka_unit_test(test_buses_of_one_handle_do_not_meet),
        cmocka_unit_test(test_types_that_resemble_each_other_are_told_apart),
        cmocka_unit_test(test_more_types_than_the_table_holds),
        cmocka_unit_test(test_wrong_patterns_are_refused),
        cmocka_unit_test(test_a_failing_listener_does_not_stop_the_others),
        cmocka_unit_test(test_a_long_id_is_cut_in_the_report),
        cmocka_unit_test(test_a_listener_may_unsubscribe_itself),
        cmocka_unit_test(test_a_listener_may_unsubscribe_others),
        cmocka_unit_test(test_a_listener_subscribed_inside_a_call_sees_the_next_event),
        cmocka_unit_test(test_a_nested_publish_sees_the_change_made_before_it),
        cmocka_unit_test(test_nested_publishes_leave_outer_calls_intact),
        cmocka_unit_test(test_the_event_being_handled_is_the_current_one),
        cmocka_unit_test(test_events_max_ends_a_listener),
        cmocka_unit_test(test_an_ended_listener_may_be_left_to_the_end),
        cmocka_unit_test(test_events_max_counts_nested_calls),
        cmocka_unit_test(test_a_listener_may_unsubscribe_itself_in_its_last_call),
        cmocka_unit_test(test_release_is_called_once_however_it_ends),
        cmocka_unit_test(test_release_may_unsubscribe_the_listener_that_ended),
        cmocka_unit_test(test_a_match_holds_each_route_once),
        cmocka_unit_test(test_a_removed_route_is_in_no_new_match),
        cmocka_unit_test(test_random_changes_and_publishes_agree_with_a_plain_list),
        cmocka_unit_test(test_publishing_allocates_nothing_in_steady_state),
        cmocka_unit_test(test_a_bus_with_listeners_costs_little),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
