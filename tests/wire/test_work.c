/* Deliveries over HTTP: taking with and without waiting, how they end, and whose they are. */
#include "wire/call.h"

#include "queue/queue_impl.h"
#include "wire/http/http_impl.h"
#include "wire/http/work.h"

#include "api/handle.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TAKE "/v1/queues/q/take"

static int open_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    *state = w;
    world_open(w);
    world_serve(w);
    /* A long deadline: on a slow machine what is held would come back while it is looked at. */
    check(w, "PUT", "/v1/queues/q", "{\"deadline_ms\":3600000,\"bindings\":[{\"bus\":\"orders\"}]}",
          201, NULL);
    return 0;
}

static int close_world(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

static void publish_to(const struct world *w, const char *type, size_t bytes)
{
    beck_bus *bus;
    char *data = calloc(1, bytes + 3);
    memset(data, 'x', bytes + 2);
    data[0] = data[bytes + 1] = '"';
    beck_event e = {.type = beck_str(type), .data = bytes_of(data, bytes + 2)};
    assert_int_equal(beck_bus_get(w->b, "orders", &bus, NULL), BECK_OK);
    assert_int_equal(beck_publish(bus, &e, NULL), BECK_OK);
    free(data);
}

static void publish(const struct world *w, const char *type)
{
    publish_to(w, type, 1);
}

static beck_queue_info info_of(const struct world *w)
{
    beck_queue_info info;
    assert_int_equal(beck_queue_info_get(w->b, "q", &info, NULL), BECK_OK);
    return info;
}

/* Waits until somebody waits for the queue, or nobody. */
static void wait_until_waited_for(const struct world *w, bool wanted)
{
    struct queue *q;
    assert_int_equal(handle_get_queue(w->b, "q", &q, NULL), BECK_OK);
    bool waits;
    do {
        mutex_lock(&q->lock);
        waits = q->first_watch != NULL;
        mutex_unlock(&q->lock);
        sched_yield();
    } while (waits != wanted);
    queue_release(q);
}

static void wait_for_watch(const struct world *w)
{
    wait_until_waited_for(w, true);
}

static void wait_for_counts(const struct world *w, int64_t ready, int64_t in_flight)
{
    beck_queue_info info;
    do {
        info = info_of(w);
        sched_yield();
    } while (info.ready != ready || info.in_flight != in_flight);
}

static void wait_for_consumers(const struct world *w, uint32_t count)
{
    while (info_of(w).consumers != count)
        sched_yield();
}

/* The tag of delivery `index` of an answer. */
static uint64_t tag_of(const struct reply *r, int index)
{
    const char *at = r->body;
    uint64_t tag;
    for (int i = 0; i <= index; i++) {
        at = strstr(at + 1, "{\"tag\":\"");
        assert_non_null(at);
    }
    assert_int_equal(sscanf(at, "{\"tag\":\"%" SCNu64 "\"", &tag), 1);
    return tag;
}

static struct reply take(const struct world *w, const char *query)
{
    char target[128];
    snprintf(target, sizeof target, TAKE "%s", query);
    return call_with(w, "", "POST", target, NULL);
}

static uint64_t take_one(const struct world *w, const char *contains)
{
    struct reply r = take(w, "");
    check_reply(&r, TAKE, 200, contains, __LINE__);
    uint64_t tag = tag_of(&r, 0);
    reply_free(&r);
    return tag;
}

static void tell_at(const struct world *w, const char *verb, uint64_t tag, const char *more,
                    const char *contains, int line)
{
    char target[128], body[256];
    snprintf(target, sizeof target, "/v1/queues/q/%s", verb);
    snprintf(body, sizeof body, "{\"tags\":[\"%" PRIu64 "\"]%s}", tag, more);
    check_at(w, "", "POST", target, body, 200, contains, line);
}
#define tell(w, verb, tag, more, contains) tell_at(w, verb, tag, more, contains, __LINE__)

/* ---- one after the other ---- */

static void what_is_taken_is_settled_once(void **state)
{
    const struct world *w = *state;
    char stale[64];
    check(w, "POST", TAKE, NULL, 204, NULL);
    publish(w, "a");
    publish(w, "b");
    publish(w, "c");
    struct reply r = take(w, "?max=2");
    check_reply(
        &r, TAKE, 200,
        "\"attempt\":1,\"redelivered\":false,\"deadline_ms\":3600000,\"event\":{\"specversion\":",
        __LINE__);
    assert_non_null(
        strstr(r.body, "\"beckbus\":\"orders\",\"beckpartition\":0,\"beckoffset\":\"1\""));
    assert_null(strstr(r.body, "\"type\":\"c\""));
    uint64_t a = tag_of(&r, 0), b = tag_of(&r, 1);
    reply_free(&r);
    assert_int_equal(info_of(w).in_flight, 2);
    tell(w, "settle", b, "", "{\"settled\":1,\"stale\":[]}");
    snprintf(stale, sizeof stale, "{\"settled\":0,\"stale\":[\"%" PRIu64 "\"]}", b);
    tell(w, "settle", b, "", stale);
    char body[160];
    snprintf(body, sizeof body, "{\"tags\":[\"%" PRIu64 "\",\"%" PRIu64 "\",\"7\"]}", b, a);
    snprintf(stale, sizeof stale, "{\"settled\":1,\"stale\":[\"%" PRIu64 "\",\"7\"]}", b);
    check(w, "POST", "/v1/queues/q/settle", body, 200, stale);
    wait_for_counts(w, 1, 0);
    check(w, "POST", "/v1/queues/q/settle", "{\"tags\":[]}", 200, "{\"settled\":0,\"stale\":[]}");
}

static void deliveries_end_as_they_are_told_to(void **state)
{
    const struct world *w = *state;
    publish(w, "a");
    tell(w, "return", take_one(w, "\"attempt\":1,\"redelivered\":false"), "",
         "{\"returned\":1,\"stale\":[]}");
    uint64_t tag = take_one(w, "\"attempt\":1,\"redelivered\":true");
    tell(w, "extend", tag, "", "{\"extended\":1,\"stale\":[]}");
    tell(w, "retry", tag, ",\"delay_ms\":0,\"why\":\"busy\"", "{\"retried\":1,\"stale\":[]}");
    tell(w, "extend", tag, "", "{\"extended\":0,\"stale\":[\"");
    tag = take_one(w, "\"attempt\":2,\"redelivered\":true");
    tell(w, "retry", tag, ",\"delay_ms\":3600000", "{\"retried\":1,\"stale\":[]}");
    assert_int_equal(info_of(w).delayed, 1);
    publish(w, "b");
    tag = take_one(w, "\"type\":\"b\"");
    tell(w, "reject", tag, ",\"why\":\"bad\"", "{\"rejected\":1,\"stale\":[]}");
    tell(w, "reject", tag, "", "{\"rejected\":0,\"stale\":[\"");
    tell(w, "retry", tag, "", "{\"retried\":0,\"stale\":[\"");
    tell(w, "return", tag, "", "{\"returned\":0,\"stale\":[\"");
    check(w, "GET", "/v1/queues/q/dead", NULL, 200, "\"why\":\"bad\"");
}

static void what_is_wrong_is_refused(void **state)
{
    const struct world *w = *state;
    check(w, "POST", TAKE "?max=0", NULL, 400, "max");
    check(w, "POST", TAKE "?max=1001", NULL, 400, "max");
    check(w, "POST", TAKE "?wait=61s", NULL, 400, "wait");
    check(w, "POST", TAKE "?wait=long", NULL, 400, "wait");
    check(w, "POST", TAKE "?hold=me", NULL, 400, "it takes \\\"connection\\\"");
    check(w, "POST", TAKE "?hold=connection&prefetch=0", NULL, 400, "prefetch");
    check(w, "GET", TAKE, NULL, 405, NULL);
    check(w, "POST", "/v1/queues/q/settle", NULL, 400, "\\\"tags\\\" is missing");
    check(w, "POST", "/v1/queues/q/settle", "{\"tags\":[1]}", 400, "digits in a string");
    check(w, "POST", "/v1/queues/q/settle", "{\"tags\":[],\"why\":\"\"}", 400, "is unknown");
    check(w, "POST", "/v1/queues/q/retry", "{\"tags\":[],\"delay_ms\":-2}", 400, "delay_ms");
    check(w, "POST", "/v1/queues/none/take?wait=1m", NULL, 404, "there is no queue");
    check(w, "POST", "/v1/queues/none/take?hold=connection", NULL, 404, "there is no queue");
}

/* The answer is bounded however large the events are, and what did not fit is not lost. */
static void an_answer_does_not_grow_without_end(void **state)
{
    const struct world *w = *state;
    for (int i = 0; i < 30; i++)
        publish_to(w, "large", 900000);
    struct reply r = take(w, "?max=1000");
    expect(r, 200);
    assert_in_range(r.len, 8u << 20, 10u << 20);
    reply_free(&r);
    beck_queue_info info = info_of(w);
    assert_in_range(info.in_flight, 9, 11);
    assert_int_equal(info.ready, 30 - info.in_flight);
}

/* ---- waiting ---- */

struct poll {
    struct stream_in in;
};

static void poll_send(const struct world *w, struct poll *p, const char *query)
{
    char target[128];
    snprintf(target, sizeof target, TAKE "%s", query);
    in_open(&p->in, dial(w));
    send_call(p->in.fd, "POST", target, "", NULL);
}

static void poll_check(struct poll *p, int status, const char *contains, int line)
{
    struct reply r;
    assert_true(read_reply(&p->in, false, &r));
    check_reply(&r, "a poll", status, contains, line);
    reply_free(&r);
    in_close(&p->in);
}

static void a_poll_is_answered_when_something_comes(void **state)
{
    const struct world *w = *state;
    struct poll p;
    poll_send(w, &p, "?wait=60s&max=5");
    wait_for_watch(w);
    publish(w, "late");
    poll_check(&p, 200, "\"type\":\"late\"", __LINE__);
    assert_int_equal(info_of(w).in_flight, 1);
}

static void a_poll_ends_when_its_time_has_come(void **state)
{
    struct poll p;
    poll_send(*state, &p, "?wait=20ms");
    poll_check(&p, 204, NULL, __LINE__);
    publish(*state, "a");
    take_one(*state, "\"type\":\"a\"");
}

static void polls_are_served_in_the_order_in_which_they_came(void **state)
{
    const struct world *w = *state;
    struct poll p[8];
    poll_send(w, &p[0], "?wait=60s");
    wait_for_watch(w);
    for (int i = 1; i < 8; i++)
        poll_send(w, &p[i], "?wait=60s");
    publish(w, "first");
    poll_check(&p[0], 200, "\"type\":\"first\"", __LINE__);
    for (int i = 1; i < 8; i++)
        publish(w, "next");
    for (int i = 1; i < 8; i++)
        poll_check(&p[i], 200, "\"type\":\"next\"", __LINE__);
    assert_int_equal(info_of(w).in_flight, 8);
}

static void nothing_is_given_to_a_client_that_went_away(void **state)
{
    const struct world *w = *state;
    struct poll gone, stays;
    poll_send(w, &gone, "?wait=60s");
    wait_for_watch(w);
    in_close(&gone.in);
    wait_until_waited_for(w, false);
    poll_send(w, &stays, "?wait=60s");
    publish(w, "a");
    poll_check(&stays, 200, "\"attempt\":1,\"redelivered\":false", __LINE__);
}

/* The answer is larger than what fits between the two; the client is gone before it is through. */
static void deliveries_whose_answer_is_not_sent_come_back_at_once(void **state)
{
    const struct world *w = *state;
    struct poll p;
    for (int i = 0; i < 10; i++)
        publish_to(w, "large", 900000);
    poll_send(w, &p, "?max=10");
    while (info_of(w).in_flight == 0)
        sched_yield();
    struct linger now = {.l_onoff = 1};
    setsockopt(p.in.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    in_close(&p.in);
    wait_for_counts(w, 10, 0);
    take_one(w, "\"attempt\":1,\"redelivered\":true");
}

static void a_drained_server_answers_its_polls(void **state)
{
    struct world *w = *state;
    struct poll p;
    poll_send(w, &p, "?wait=60s");
    wait_for_watch(w);
    assert_true(http_drain(w->h, INT64_MAX));
    poll_check(&p, 204, NULL, __LINE__);
}

static void a_deleted_queue_ends_its_polls(void **state)
{
    const struct world *w = *state;
    struct poll p;
    uint64_t tag;
    publish(w, "a");
    tag = take_one(w, NULL);
    poll_send(w, &p, "?wait=60s");
    wait_for_watch(w);
    check(w, "DELETE", "/v1/queues/q", NULL, 204, NULL);
    poll_check(&p, 404, "there is no queue", __LINE__);
    /* Another of its name has nothing to do with it. */
    check(w, "PUT", "/v1/queues/q", "{\"bindings\":[{\"bus\":\"orders\"}]}", 201, NULL);
    tell(w, "settle", tag, "", "{\"settled\":0,");
    publish(w, "b");
    take_one(w, "\"type\":\"b\"");
}

static void a_queue_that_was_made_anew_is_found(void **state)
{
    const struct world *w = *state;
    publish(w, "a");
    take_one(w, "\"type\":\"a\"");
    check(w, "DELETE", "/v1/queues/q", NULL, 204, NULL);
    check(w, "PUT", "/v1/queues/q", "{\"bindings\":[{\"bus\":\"orders\"}]}", 201, NULL);
    publish(w, "b");
    take_one(w, "\"type\":\"b\"");
}

/* ---- upkeep ---- */

static void late_deliveries_come_back_and_idle_consumers_go(void **state)
{
    const struct world *w = *state;
    check(w, "DELETE", "/v1/queues/q", NULL, 204, NULL);
    check(w, "PUT", "/v1/queues/q",
          "{\"deadline_ms\":1,\"backoff\":{\"kind\":\"none\"},\"bindings\":[{\"bus\":\"orders\"}]}",
          201, NULL);
    publish(w, "a");
    uint64_t tag = take_one(w, "\"attempt\":1");
    struct poll p;
    poll_send(w, &p, "?wait=60s");
    poll_check(&p, 200, "\"attempt\":2", __LINE__);
    tell(w, "settle", tag, "", "{\"settled\":0,");
    wait_for_counts(w, 1, 0); /* that was late as well */
    assert_int_equal(info_of(w).consumers, 1);
    work_sweep(w->h->work, 0);
    wait_for_consumers(w, 0);
    take_one(w, NULL);
    /* What holds something is not closed. */
    work_sweep(w->h->work, INT64_MAX);
    assert_int_equal(info_of(w).consumers, 1);
}

/* ---- a connection's own ---- */

static void what_a_connection_holds_ends_with_it(void **state)
{
    const struct world *w = *state;
    struct stream_in in;
    struct reply r;
    char body[64];
    in_open(&in, dial_unix(w));
    send_call(in.fd, "POST", TAKE "?hold=connection&max=0&prefetch=2", "", NULL);
    assert_true(read_reply(&in, false, &r));
    expect(r, 204);
    reply_free(&r);
    assert_int_equal(info_of(w).consumers, 1);
    for (int i = 0; i < 4; i++)
        publish(w, "t");
    send_call(in.fd, "POST", TAKE "?hold=connection&max=9", "", NULL);
    assert_true(read_reply(&in, false, &r));
    expect(r, 200);
    uint64_t one = tag_of(&r, 0), two = tag_of(&r, 1);
    reply_free(&r);
    assert_int_equal(info_of(w).in_flight, 2); /* the prefetch */
    send_call(in.fd, "POST", TAKE "?hold=connection", "", NULL);
    assert_true(read_reply(&in, false, &r));
    expect(r, 429);
    reply_free(&r);
    tell(w, "settle", one, "", "{\"settled\":0,"); /* not over another connection */
    snprintf(body, sizeof body, "{\"tags\":[\"%" PRIu64 "\"]}", one);
    send_call(in.fd, "POST", "/v1/queues/q/settle", "", body);
    assert_true(read_reply(&in, false, &r));
    check_reply(&r, "settle", 200, "{\"settled\":1,\"stale\":[]}", __LINE__);
    reply_free(&r);
    in_close(&in);
    wait_for_counts(w, 3, 0);
    take_one(w, "\"attempt\":2,\"redelivered\":true");
    tell(w, "settle", two, "", "{\"settled\":0,");
}

static void a_connection_waits_for_its_own_deliveries(void **state)
{
    const struct world *w = *state;
    struct stream_in in;
    struct reply r;
    in_open(&in, dial_unix(w));
    send_call(in.fd, "POST", TAKE "?hold=connection&wait=60s", "", NULL);
    wait_for_watch(w);
    publish(w, "a");
    assert_true(read_reply(&in, false, &r));
    check_reply(&r, "take", 200, "\"type\":\"a\"", __LINE__);
    reply_free(&r);
    send_call(in.fd, "POST", TAKE "?hold=connection&wait=60s", "", NULL);
    wait_for_watch(w);
    in_close(&in);
    wait_for_consumers(w, 0);
    wait_for_counts(w, 1, 0);
    /* Its queue goes while it waits: that queue was what it held. */
    uint64_t tag = take_one(w, NULL);
    tell(w, "settle", tag, "", "{\"settled\":1,");
    in_open(&in, dial_unix(w));
    send_call(in.fd, "POST", TAKE "?hold=connection&wait=60s", "", NULL);
    wait_for_watch(w);
    check(w, "DELETE", "/v1/queues/q", NULL, 204, NULL);
    assert_true(read_reply(&in, false, &r));
    expect(r, 410);
    reply_free(&r);
    send_call(in.fd, "POST", TAKE "?hold=connection&wait=60s", "", NULL);
    assert_true(read_reply(&in, false, &r));
    expect(r, 410);
    reply_free(&r);
    in_close(&in);
}

/* ---- many at once ---- */

#define CREW 6
#define EVENTS 1200

struct crew {
    const struct world *w;
    _Atomic(int) settled;
};

struct member {
    struct crew *crew;
    bool holds; /* its connection has a consumer of its own */
};

static bool finish_batch(struct stream_in *in, const struct reply *batch, int round,
                         struct crew *crew)
{
    char body[8192] = "{\"tags\":[";
    const char *verb = round % 7 == 3 ? "return" : round % 11 == 5 ? "retry" : "settle";
    struct reply r;
    int tags = 0, done = 0;
    for (const char *at = batch->body; (at = strstr(at + 1, "{\"tag\":\"")); tags++)
        snprintf(body + strlen(body), sizeof body - strlen(body), "%s\"%.*s\"", tags ? "," : "",
                 (int)strcspn(at + 8, "\""), at + 8);
    strcat(body, "]");
    if (strcmp(verb, "retry") == 0)
        strcat(body, ",\"delay_ms\":0");
    strcat(body, "}");
    char target[64];
    snprintf(target, sizeof target, "/v1/queues/q/%s", verb);
    send_call(in->fd, "POST", target, "", body);
    if (!read_reply(in, false, &r))
        return false;
    if (r.status != 200)
        print_error("%s: %d %s\n", verb, r.status, r.body);
    bool good = r.status == 200;
    if (strcmp(verb, "settle") == 0 && sscanf(r.body, "{\"settled\":%d", &done) == 1)
        atomic_fetch_add(&crew->settled, done);
    reply_free(&r);
    return good;
}

static void *work_on(void *ctx)
{
    const struct member *m = ctx;
    struct crew *crew = m->crew;
    struct stream_in in;
    in_open(&in, dial(crew->w));
    bool good = true;
    for (int round = 0; good && atomic_load(&crew->settled) < EVENTS; round++) {
        struct reply r;
        char target[128];
        snprintf(target, sizeof target, TAKE "?max=%d&wait=5ms%s", round % 5 + 1,
                 m->holds ? "&hold=connection" : "");
        send_call(in.fd, "POST", target, "", NULL);
        good = read_reply(&in, false, &r);
        if (good && r.status == 200)
            good = finish_batch(&in, &r, round, crew);
        else if (good)
            good = r.status == 204;
        reply_free(&r);
        if (round % 50 == 49) { /* somebody goes away while waiting */
            in_close(&in);
            in_open(&in, dial(crew->w));
            send_call(in.fd, "POST", TAKE "?max=1&wait=1ms", "", NULL);
            in_close(&in);
            in_open(&in, dial(crew->w));
        }
    }
    in_close(&in);
    return good ? ctx : NULL;
}

/* Each event is settled exactly once, whoever takes it. What was sent to a client that had just gone
 * comes back by the deadline. */
static void many_work_at_once(void **state)
{
    const struct world *w = *state;
    struct crew crew = {.w = w};
    struct member members[CREW];
    pthread_t threads[CREW];
    check(w, "DELETE", "/v1/queues/q", NULL, 204, NULL);
    check(w, "PUT", "/v1/queues/q",
          "{\"attempts_max\":60000,\"deadline_ms\":1000,\"backoff\":{\"kind\":\"none\"},"
          "\"bindings\":[{\"bus\":\"orders\"}]}",
          201, NULL);
    for (int i = 0; i < CREW; i++) {
        members[i] = (struct member){&crew, i % 3 == 2};
        assert_int_equal(pthread_create(&threads[i], NULL, work_on, &members[i]), 0);
    }
    for (int i = 0; i < EVENTS; i++)
        publish(w, "t");
    for (int i = 0; i < CREW; i++) {
        void *good;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
    assert_int_equal(atomic_load(&crew.settled), EVENTS);
    wait_for_counts(w, 0, 0);
    assert_int_equal(info_of(w).settled, EVENTS);
}

int main(void)
{
#define with_world(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        with_world(what_is_taken_is_settled_once),
        with_world(deliveries_end_as_they_are_told_to),
        with_world(what_is_wrong_is_refused),
        with_world(an_answer_does_not_grow_without_end),
        with_world(a_poll_is_answered_when_something_comes),
        with_world(a_poll_ends_when_its_time_has_come),
        with_world(polls_are_served_in_the_order_in_which_they_came),
        with_world(nothing_is_given_to_a_client_that_went_away),
        with_world(deliveries_whose_answer_is_not_sent_come_back_at_once),
        with_world(a_drained_server_answers_its_polls),
        with_world(a_deleted_queue_ends_its_polls),
        with_world(a_queue_that_was_made_anew_is_found),
        with_world(late_deliveries_come_back_and_idle_consumers_go),
        with_world(what_a_connection_holds_ends_with_it),
        with_world(a_connection_waits_for_its_own_deliveries),
        with_world(many_work_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
