/* Handing messages of a queue to subscribers: whose turn it is, limits, what goes back, wake-ups. */
#include "broker/dispatch.h"
#include "queue/world.h"

#define HELD_MAX 70000

/* A subscriber with the messages that it holds. */
struct sub {
    struct subscriber *c;
    bool woken, cancelled, full;
    int wakes;
    int64_t got; /* deliveries */
    struct {
        uint64_t tag;
        int number;
    } * held;
    size_t held_count;
    char texts[400]; /* of what it got, with a ! before those that are redelivered */
};

static void note_wake(void *ctx)
{
    struct sub *s = ctx;
    s->woken = true;
    s->wakes++;
}

static void note_cancelled(void *ctx)
{
    ((struct sub *)ctx)->cancelled = true;
}

static bool take_one(void *ctx, const struct handed *m)
{
    struct sub *s = ctx;
    char text[32];
    size_t used = strlen(s->texts);
    assert_ptr_equal(m->subscriber, s->c);
    snprintf(text, sizeof text, "%.*s", (int)m->body.len, (const char *)m->body.data);
    if (used + 40 < sizeof s->texts)
        snprintf(s->texts + used, sizeof s->texts - used, "%s%s%s", used ? " " : "",
                 m->redelivered ? "!" : "", text);
    assert_true(s->held_count < HELD_MAX);
    s->held[s->held_count].tag = m->tag;
    s->held[s->held_count++].number = atoi(text);
    s->got++;
    return !s->full;
}

struct stage {
    struct world w;
    beck_bus *bus;
    struct queue *queue;
    struct dispatcher *d;
    int published;
};

static void stage_begin(struct stage *t, bool single_active)
{
    world_start_in_memory(&t->w);
    beck_queue_options options = {.attempts_max = 65535, .deadline_ms = -1};
    t->bus = world_pair(&t->w, &options);
    t->queue = world_get_queue(&t->w, "q");
    struct dispatcher_options o = {.queue = t->queue, .single_active = single_active};
    check_ok(dispatcher_new(&o, &t->d, err));
    t->published = 0;
}

static void stage_end(struct stage *t)
{
    dispatcher_free(t->d);
    queue_release(t->queue);
    world_end(&t->w);
}

static void publish(struct stage *t, int count)
{
    for (int i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", t->published++);
        put(t->bus, "t", text);
    }
}

static void subscribe(struct dispatcher *d, struct sub *s, struct subscriber_options o,
                      int32_t priority)
{
    *s = (struct sub){0};
    s->held = malloc(HELD_MAX * sizeof *s->held);
    o.wake = note_wake;
    o.cancelled = note_cancelled;
    o.ctx = s;
    assert_int_equal(dispatcher_subscribe(d, &o, priority, &s->c), DISPATCH_OK);
}

static void unsubscribe(struct sub *s)
{
    s->c->kind->close(s->c);
    s->c = NULL;
    free(s->held);
}

static size_t pump(struct sub *s)
{
    size_t total = 0, n;
    do {
        s->woken = false;
        n = s->c->kind->pump(s->c, 64, take_one, s);
        total += n;
    } while (n == 64 || s->woken);
    return total;
}

/* Until nobody is woken any more. */
static void pump_all(struct sub *subs, size_t count)
{
    for (bool any = true; any;) {
        any = false;
        for (size_t i = 0; i < count; i++) {
            if (!subs[i].c || !subs[i].woken)
                continue;
            pump(&subs[i]);
            any = true;
        }
    }
}

static void answer(struct stage *t, struct sub *s, size_t index, enum settlement how)
{
    uint64_t tag = s->held[index].tag;
    dispatcher_settle(t->d, &tag, &s->c, 1, how);
    s->held_count--;
    memmove(&s->held[index], &s->held[index + 1], (s->held_count - index) * sizeof *s->held);
}

static void answer_all(struct stage *t, struct sub *s, enum settlement how)
{
    uint64_t *tags = malloc((s->held_count + 1) * sizeof *tags);
    struct subscriber **who = malloc((s->held_count + 1) * sizeof(struct subscriber *));
    for (size_t i = 0; i < s->held_count; i++) {
        tags[i] = s->held[i].tag;
        who[i] = s->c;
    }
    dispatcher_settle(t->d, tags, who, s->held_count, how);
    s->held_count = 0;
    free(tags);
    free(who);
}

static void check_texts(struct sub *s, const char *texts)
{
    assert_string_equal(s->texts, texts);
    s->texts[0] = '\0';
}

static void messages_are_delivered_in_order_and_gone_once_acknowledged(void **state)
{
    struct stage t;
    struct sub s;
    (void)state;
    stage_begin(&t, false);
    publish(&t, 3);
    subscribe(t.d, &s, (struct subscriber_options){0}, 0);
    assert_true(s.woken); /* something was there already */
    assert_int_equal(pump(&s), 3);
    check_texts(&s, "0 1 2");
    assert_int_equal(pump(&s), 0);
    publish(&t, 1);
    assert_true(s.woken);
    assert_int_equal(pump(&s), 1);
    assert_int_equal(dispatcher_unacked(t.d), 4);
    answer_all(&t, &s, SETTLE_ACK);
    assert_int_equal(dispatcher_unacked(t.d), 0);
    check_counts(&t.w, "q", 0, 0, 0, 0);
    unsubscribe(&s);
    stage_end(&t);
}

static void one_is_woken_for_what_comes_until_it_has_looked(void **state)
{
    struct stage t;
    struct sub s[2];
    (void)state;
    stage_begin(&t, false);
    for (int i = 0; i < 2; i++)
        subscribe(t.d, &s[i], (struct subscriber_options){0}, 0);
    publish(&t, 5);
    assert_int_equal(s[0].wakes, 1);
    assert_int_equal(s[1].wakes, 0);
    pump_all(s, 2);
    check_texts(&s[0], "0 2 4");
    check_texts(&s[1], "1 3");
    /* The next message is the second's. */
    publish(&t, 1);
    assert_true(s[1].woken);
    assert_false(s[0].woken);
    pump_all(s, 2);
    check_texts(&s[1], "5");
    for (int i = 0; i < 2; i++)
        unsubscribe(&s[i]);
    stage_end(&t);
}

static void equal_subscribers_get_one_message_after_the_other(void **state)
{
    struct stage t;
    struct sub s[3];
    (void)state;
    stage_begin(&t, false);
    for (int i = 0; i < 3; i++)
        subscribe(t.d, &s[i], (struct subscriber_options){.no_ack = i == 1}, 0);
    publish(&t, 3000);
    pump_all(s, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s[i].got, 1000);
        for (int k = 0; k < 1000; k++)
            assert_int_equal(s[i].held[k].number, 3 * k + i);
    }
    check_counts(&t.w, "q", 0, 2000, 0, 0); /* what needs no answer is settled */
    for (int i = 0; i < 3; i++)
        unsubscribe(&s[i]);
    check_counts(&t.w, "q", 0, 2000, 0, 0); /* deliveries stay with whoever held them */
    stage_end(&t);
}

static void higher_priority_comes_first_as_long_as_it_can_take(void **state)
{
    struct stage t;
    struct sub s[3];
    (void)state;
    stage_begin(&t, false);
    subscribe(t.d, &s[0], (struct subscriber_options){0}, 0);
    subscribe(t.d, &s[1], (struct subscriber_options){.prefetch = 2}, 10);
    subscribe(t.d, &s[2], (struct subscriber_options){.prefetch = 1}, 10);
    publish(&t, 5);
    pump_all(s, 3);
    check_texts(&s[1], "0 2");
    check_texts(&s[2], "1");
    check_texts(&s[0], "3 4");
    answer(&t, &s[1], 0, SETTLE_ACK);
    publish(&t, 2);
    pump_all(s, 3);
    check_texts(&s[1], "5");
    check_texts(&s[0], "6");
    for (int i = 0; i < 3; i++)
        unsubscribe(&s[i]);
    stage_end(&t);
}

static void prefetch_bounds_what_is_not_answered(void **state)
{
    struct stage t;
    struct sub s;
    (void)state;
    stage_begin(&t, false);
    subscribe(t.d, &s, (struct subscriber_options){.prefetch = 2}, 0);
    publish(&t, 5);
    pump(&s);
    check_texts(&s, "0 1");
    s.woken = false;
    answer(&t, &s, 1, SETTLE_ACK);
    assert_true(s.woken);
    pump(&s);
    check_texts(&s, "2");
    answer(&t, &s, 0, SETTLE_REQUEUE);
    pump(&s);
    check_texts(&s, "!0");
    unsubscribe(&s);
    stage_end(&t);
}

static void a_shared_limit_holds_over_several_queues(void **state)
{
    struct stage t;
    struct sub s[2];
    struct credit credit;
    (void)state;
    stage_begin(&t, false);
    credit_init(&credit, 3);
    world_queue(&t.w, "other", NULL);
    world_bind(&t.w, "other", "b", "#", BECK_FROM_NOW);
    struct stage other = t;
    other.queue = world_get_queue(&t.w, "other");
    check_ok(dispatcher_new(&(struct dispatcher_options){.queue = other.queue}, &other.d, err));
    subscribe(t.d, &s[0], (struct subscriber_options){.shared = &credit}, 0);
    subscribe(other.d, &s[1], (struct subscriber_options){.shared = &credit}, 0);
    publish(&t, 5);
    pump_all(s, 2);
    check_texts(&s[0], "0 1 2");
    check_texts(&s[1], "");
    answer(&t, &s[0], 0, SETTLE_ACK);
    answer(&t, &s[0], 0, SETTLE_ACK);
    assert_true(s[1].woken);
    pump(&s[1]);
    check_texts(&s[1], "0 1");
    pump_all(s, 2);
    credit_set_limit(&credit, 4);
    pump_all(s, 2);
    assert_int_equal(s[0].held_count + s[1].held_count, 4);
    credit_set_limit(&credit, 0);
    pump_all(s, 2);
    assert_int_equal(s[0].held_count + s[1].held_count, 8);
    unsubscribe(&s[0]);
    assert_int_equal(atomic_load(&credit.used), 5);
    unsubscribe(&s[1]);
    assert_int_equal(atomic_load(&credit.used), 0);
    credit_release(&credit);
    dispatcher_free(other.d);
    queue_release(other.queue);
    stage_end(&t);
}

static void a_single_active_subscriber_is_followed_by_the_next(void **state)
{
    struct stage t;
    struct sub s[3];
    (void)state;
    stage_begin(&t, true);
    for (int i = 0; i < 3; i++)
        subscribe(t.d, &s[i], (struct subscriber_options){.prefetch = 1}, i == 2 ? 5 : 0);
    publish(&t, 2);
    pump_all(s, 3);
    check_texts(&s[0], "0");
    check_texts(&s[1], "");
    uint64_t held = s[0].held[0].tag;
    unsubscribe(&s[0]);
    pump_all(s, 3);
    check_texts(&s[2], "1");
    dispatcher_return_lost(t.d, &held, 1);
    unsubscribe(&s[2]);
    pump_all(s, 3);
    check_texts(&s[1], "!0");
    unsubscribe(&s[1]);
    stage_end(&t);
}

static void an_exclusive_subscriber_is_alone(void **state)
{
    struct stage t;
    struct sub s;
    struct subscriber *c;
    struct subscriber_options o = {.wake = note_wake, .ctx = &s};
    (void)state;
    stage_begin(&t, false);
    subscribe(t.d, &s, (struct subscriber_options){.exclusive = true}, 0);
    assert_int_equal(dispatcher_subscribe(t.d, &o, 0, &c), DISPATCH_EXCLUSIVE);
    unsubscribe(&s);
    subscribe(t.d, &s, (struct subscriber_options){0}, 0);
    o.exclusive = true;
    assert_int_equal(dispatcher_subscribe(t.d, &o, 0, &c), DISPATCH_EXCLUSIVE);
    assert_int_equal(dispatcher_subscribers(t.d), 1);
    unsubscribe(&s);
    stage_end(&t);
}

static void what_is_requeued_comes_at_its_original_place(void **state)
{
    struct stage t;
    struct sub s;
    (void)state;
    stage_begin(&t, false);
    subscribe(t.d, &s, (struct subscriber_options){.prefetch = 4}, 0);
    publish(&t, 6);
    pump(&s);
    check_texts(&s, "0 1 2 3");
    uint64_t tags[] = {s.held[3].tag, s.held[1].tag};
    struct subscriber *who[] = {s.c, s.c};
    dispatcher_settle(t.d, tags, who, 2, SETTLE_REQUEUE);
    s.held_count = 0;
    pump(&s);
    check_texts(&s, "!1 !3");
    unsubscribe(&s);
    stage_end(&t);
}

static void what_a_closed_subscriber_has_not_seen_is_the_others(void **state)
{
    struct stage t;
    struct sub s[2];
    (void)state;
    stage_begin(&t, false);
    for (int i = 0; i < 2; i++)
        subscribe(t.d, &s[i], (struct subscriber_options){0}, 0);
    publish(&t, 4);
    pump(&s[0]); /* 1 and 3 wait for the other */
    check_texts(&s[0], "0 2");
    unsubscribe(&s[1]);
    pump_all(s, 1);
    assert_int_equal(s[0].held_count, 4);
    assert_int_equal(s[0].held[2].number, 1);
    assert_int_equal(s[0].held[3].number, 3);
    unsubscribe(&s[0]);
    stage_end(&t);
}

static void who_has_no_room_is_passed_over(void **state)
{
    struct stage t;
    struct sub s[2];
    (void)state;
    stage_begin(&t, false);
    for (int i = 0; i < 2; i++)
        subscribe(t.d, &s[i], (struct subscriber_options){0}, 0);
    s[0].full = true;
    publish(&t, 4);
    pump_all(s, 2);
    check_texts(&s[0], "0");
    check_texts(&s[1], "1 3");
    publish(&t, 2);
    pump_all(s, 2);
    check_texts(&s[1], "4 5");
    s[0].full = false;
    s[0].c->kind->ready(s[0].c, true);
    pump_all(s, 2);
    check_texts(&s[0], "2");
    s[0].c->kind->ready(s[0].c, false);
    s[1].c->kind->ready(s[1].c, false);
    publish(&t, 1);
    pump_all(s, 2);
    check_texts(&s[0], "");
    s[0].c->kind->ready(s[0].c, true);
    pump_all(s, 2);
    check_texts(&s[0], "6");
    for (int i = 0; i < 2; i++)
        unsubscribe(&s[i]);
    stage_end(&t);
}

static void large_messages_are_taken_few_at_a_time(void **state)
{
    enum { SIZE = 400000, MESSAGES = 40 };
    struct stage t;
    struct sub a, b;
    char *text = malloc(SIZE + 1);
    (void)state;
    memset(text, '7', SIZE);
    text[SIZE] = '\0';
    stage_begin(&t, false);
    for (int i = 0; i < MESSAGES; i++)
        put(t.bus, "t", text);
    subscribe(t.d, &a, (struct subscriber_options){0}, 0);
    subscribe(t.d, &b, (struct subscriber_options){0}, 0);
    a.full = true;
    a.c->kind->pump(a.c, 64, take_one, &a);
    assert_int_equal(a.got, 1);
    assert_int_equal(info_of(&t.w, "q").in_flight, 3); /* what it takes to reach a MiB */
    a.full = false;
    for (int i = 0; i < 10; i++)
        a.c->kind->pump(a.c, 64, take_one, &a);
    /* It had what was for itself; what waits for the other is bounded as well. */
    assert_true(info_of(&t.w, "q").in_flight - a.got <= 5);
    pump(&b);
    pump(&a);
    assert_int_equal(a.got + b.got, MESSAGES);
    answer_all(&t, &a, SETTLE_ACK);
    answer_all(&t, &b, SETTLE_ACK);
    unsubscribe(&a);
    unsubscribe(&b);
    free(text);
    stage_end(&t);
}

static void subscribers_are_cancelled_when_the_queue_goes(void **state)
{
    struct stage t;
    struct sub s;
    (void)state;
    stage_begin(&t, false);
    subscribe(t.d, &s, (struct subscriber_options){0}, 0);
    publish(&t, 2);
    pump(&s);
    dispatcher_end(t.d);
    assert_true(s.cancelled);
    check_ok(beck_queue_delete(t.w.b, "q", err));
    assert_int_equal(pump(&s), 0);
    answer_all(&t, &s, SETTLE_REQUEUE); /* too late, and no mistake */
    assert_int_equal(dispatcher_unacked(t.d), 0);
    unsubscribe(&s);
    struct subscriber_options o = {.wake = note_wake, .ctx = &s};
    struct subscriber *c;
    assert_int_equal(dispatcher_subscribe(t.d, &o, 0, &c), DISPATCH_GONE);
    stage_end(&t);
}

static void a_queue_that_is_deleted_by_others_cancels_too(void **state)
{
    struct stage t;
    struct sub s;
    (void)state;
    stage_begin(&t, false);
    subscribe(t.d, &s, (struct subscriber_options){0}, 0);
    check_ok(beck_queue_delete(t.w.b, "q", err));
    assert_true(s.woken);
    assert_int_equal(pump(&s), 0);
    assert_true(s.cancelled);
    unsubscribe(&s);
    stage_end(&t);
}

static void one_message_can_be_got(void **state)
{
    struct stage t;
    struct handed m;
    struct buf scratch;
    bool got;
    (void)state;
    stage_begin(&t, false);
    buf_init(&scratch, 65536);
    check_ok(dispatcher_get(t.d, &m, &got, &scratch, err));
    assert_false(got);
    publish(&t, 1);
    check_ok(dispatcher_get(t.d, &m, &got, &scratch, err));
    assert_true(got && text_is(m.body, "0") && text_is(m.exchange, "b"));
    assert_true(text_is(m.routing_key, "t") && !m.redelivered && !m.subscriber);
    struct subscriber *nobody = NULL;
    dispatcher_settle(t.d, &m.tag, &nobody, 1, SETTLE_REQUEUE);
    check_ok(dispatcher_get(t.d, &m, &got, &scratch, err));
    assert_true(got && m.redelivered);
    dispatcher_settle(t.d, &m.tag, &nobody, 1, SETTLE_ACK);
    check_counts(&t.w, "q", 0, 0, 0, 0);
    buf_release(&scratch);
    stage_end(&t);
}

static void tens_of_thousands_may_be_held(void **state)
{
    struct stage t;
    struct sub s;
    (void)state;
    stage_begin(&t, false);
    subscribe(t.d, &s, (struct subscriber_options){0}, 0);
    publish(&t, 20000);
    assert_int_equal(pump(&s), 20000);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(s.held[i].number, i);
    assert_int_equal(dispatcher_unacked(t.d), 20000);
    answer_all(&t, &s, SETTLE_ACK);
    assert_int_equal(dispatcher_unacked(t.d), 0);
    publish(&t, 5);
    assert_int_equal(pump(&s), 5);
    unsubscribe(&s);
    stage_end(&t);
}

/* ---- random operations, compared with what must hold ---- */

#define SUBS 6

struct model {
    struct stage t;
    struct rng rng;
    struct sub subs[SUBS];
    uint32_t prefetch[SUBS];
    bool shared[SUBS], ready[SUBS];
    struct credit credit;
    uint8_t *acked; /* by number */
    uint8_t *held;
};

static void model_open(struct model *m, size_t i)
{
    static const uint32_t limits[] = {0, 1, 3, 100};
    m->prefetch[i] = limits[rng_below(&m->rng, 4)];
    m->shared[i] = rng_below(&m->rng, 2) == 0;
    m->ready[i] = true;
    subscribe(m->t.d, &m->subs[i],
              (struct subscriber_options){.prefetch = m->prefetch[i],
                                          .shared = m->shared[i] ? &m->credit : NULL},
              (int32_t)rng_below(&m->rng, 2));
}

static void model_close(struct model *m, size_t i)
{
    struct sub *s = &m->subs[i];
    uint64_t tags[64];
    struct subscriber *nobody[64] = {0};
    while (s->held_count > 0 && rng_below(&m->rng, 2)) /* some were answered before */
        answer(&m->t, s, 0, SETTLE_REQUEUE);
    struct sub gone = *s;
    s->held = malloc(1);
    unsubscribe(s);
    s->woken = false;
    for (size_t at = 0; at < gone.held_count;) {
        size_t n = 0;
        for (; n < 64 && at < gone.held_count; n++)
            tags[n] = gone.held[at++].tag;
        if (rng_below(&m->rng, 2))
            dispatcher_return_lost(m->t.d, tags, n);
        else
            dispatcher_settle(m->t.d, tags, nobody, n, SETTLE_REQUEUE);
    }
    free(gone.held);
}

static void model_pump(struct model *m, size_t i)
{
    struct sub *s = &m->subs[i];
    if (!s->c)
        return;
    s->full = rng_below(&m->rng, 8) == 0;
    s->woken = false;
    size_t max = 1 + rng_below(&m->rng, 100);
    if (s->c->kind->pump(s->c, max, take_one, s) == max)
        s->woken = true;
    if (s->full) { /* as a connection that has sent what it had */
        s->full = false;
        s->c->kind->ready(s->c, m->ready[i]);
    }
}

static void model_answer(struct model *m, size_t i)
{
    struct sub *s = &m->subs[i];
    if (!s->c || s->held_count == 0)
        return;
    size_t index = rng_below(&m->rng, s->held_count);
    bool ack = rng_below(&m->rng, 3) > 0;
    if (ack) {
        assert_int_equal(m->acked[s->held[index].number], 0);
        m->acked[s->held[index].number] = 1;
    }
    answer(&m->t, s, index, ack ? SETTLE_ACK : SETTLE_REQUEUE);
}

static void check_limits(struct model *m)
{
    size_t shared = 0;
    memset(m->held, 0, (size_t)m->t.published);
    for (size_t i = 0; i < SUBS; i++) {
        struct sub *s = &m->subs[i];
        if (!s->c)
            continue;
        assert_true(m->prefetch[i] == 0 || s->held_count <= m->prefetch[i]);
        shared += m->shared[i] ? s->held_count : 0;
        for (size_t k = 0; k < s->held_count; k++) {
            int number = s->held[k].number;
            assert_false(m->acked[number]);
            assert_int_equal(m->held[number]++, 0); /* by one only */
        }
    }
    assert_true(shared <= 10);
}

/* Nobody is woken and nothing waits: then nobody could take it. */
static void check_rest(struct model *m)
{
    pump_all(m->subs, SUBS);
    check_limits(m);
    beck_queue_info info = info_of(&m->t.w, "q");
    size_t held = 0, acked = 0;
    for (size_t i = 0; i < SUBS; i++)
        held += m->subs[i].c ? m->subs[i].held_count : 0;
    for (int i = 0; i < m->t.published; i++)
        acked += m->acked[i];
    bool unready = false;
    for (size_t i = 0; i < SUBS; i++) {
        if (!m->subs[i].c)
            continue;
        unready |= !m->ready[i];
        bool can = m->ready[i] && (!m->prefetch[i] || m->subs[i].held_count < m->prefetch[i]) &&
                   (!m->shared[i] || atomic_load(&m->credit.used) < atomic_load(&m->credit.limit));
        if (can)
            assert_int_equal(info.ready, 0);
    }
    if (!unready) /* else some may wait in a mailbox */
        assert_int_equal((size_t)info.ready + held + acked, (size_t)m->t.published);
}

static void model_step(struct model *m)
{
    size_t i = rng_below(&m->rng, SUBS);
    struct sub *s = &m->subs[i];
    switch (rng_below(&m->rng, 16)) {
    case 0:
        if (s->c && rng_below(&m->rng, 4) == 0)
            model_close(m, i);
        break;
    case 1:
        if (!s->c)
            model_open(m, i);
        break;
    case 2:
    case 3:
        publish(&m->t, (int)rng_below(&m->rng, 20));
        break;
    case 4:
        if (s->c)
            s->c->kind->ready(s->c, m->ready[i] = rng_below(&m->rng, 3) > 0);
        break;
    case 5:
        credit_set_limit(&m->credit, 5 + (uint32_t)rng_below(&m->rng, 6));
        break;
    case 6:
        check_rest(m);
        break;
    case 7:
    case 8:
    case 9:
    case 10:
        if (s->woken)
            model_pump(m, i);
        break;
    default:
        model_answer(m, i);
    }
}

static void random_operations_lose_and_double_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct model m = {0};
        stage_begin(&m.t, false);
        rng_seed(&m.rng, seed);
        credit_init(&m.credit, 5);
        m.acked = calloc(1, 100000);
        m.held = calloc(1, 100000);
        for (int step = 0; step < 1500; step++) {
            model_step(&m);
        }
        credit_set_limit(&m.credit, 5);
        for (size_t i = 0; i < SUBS; i++)
            if (m.subs[i].c)
                model_close(&m, i);
        struct sub last;
        subscribe(m.t.d, &last, (struct subscriber_options){0}, 0);
        pump(&last);
        for (size_t k = 0; k < last.held_count; k++) {
            assert_int_equal(m.acked[last.held[k].number]++, 0);
            assert_true(k == 0 || last.held[k].number > last.held[k - 1].number);
        }
        for (int i = 0; i < m.t.published; i++)
            assert_int_equal(m.acked[i], 1);
        answer_all(&m.t, &last, SETTLE_ACK);
        unsubscribe(&last);
        assert_int_equal(atomic_load(&m.credit.used), 0);
        credit_release(&m.credit);
        free(m.acked);
        free(m.held);
        stage_end(&m.t);
    }
}

/* ---- threads ---- */

#define LOOPS 4
#define SUBS_EACH 3
#define BURDEN 20000

struct loop {
    pthread_t thread;
    struct mutex lock;
    struct cond wake;
    struct party *party;
    struct loop_sub {
        struct loop *loop;
        struct subscriber *c;
        bool woken;
        uint64_t tags[256];
        size_t count;
    } subs[SUBS_EACH];
    struct credit credit;
    struct rng rng;
    bool stop;
};

struct party {
    struct stage t;
    struct loop loops[LOOPS];
    _Atomic(uint32_t) left;
    _Atomic(uint32_t) seen[BURDEN];
};

static void loop_wake(void *ctx)
{
    struct loop_sub *s = ctx;
    mutex_lock(&s->loop->lock);
    s->woken = true;
    cond_signal(&s->loop->wake);
    mutex_unlock(&s->loop->lock);
}

static bool loop_deliver(void *ctx, const struct handed *m)
{
    struct loop_sub *s = ctx;
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)m->body.len, (const char *)m->body.data);
    s->tags[s->count++] = m->tag;
    if (rng_below(&s->loop->rng, 10) > 0) { /* others go back */
        atomic_fetch_add(&s->loop->party->seen[atoi(text)], 1);
        s->tags[s->count - 1] |= UINT64_C(1) << 63;
    }
    return s->count < 256;
}

static void loop_answer(struct loop_sub *s)
{
    struct party *p = s->loop->party;
    struct subscriber *who[256] = {0};
    uint64_t acks[256] = {0}, requeued[256] = {0};
    size_t ack = 0, requeue = 0;
    for (size_t i = 0; i < s->count; i++) {
        who[i] = s->c;
        if (s->tags[i] >> 63)
            acks[ack++] = s->tags[i] & ~(UINT64_C(1) << 63);
        else
            requeued[requeue++] = s->tags[i];
    }
    s->count = 0;
    dispatcher_settle(p->t.d, requeued, who, requeue, SETTLE_REQUEUE);
    dispatcher_settle(p->t.d, acks, who, ack, SETTLE_ACK);
    if (ack > 0 && atomic_fetch_sub(&p->left, (uint32_t)ack) == ack)
        for (int i = 0; i < LOOPS; i++) {
            mutex_lock(&p->loops[i].lock);
            p->loops[i].stop = true;
            cond_signal(&p->loops[i].wake);
            mutex_unlock(&p->loops[i].lock);
        }
}

static void loop_subscribe(struct loop_sub *s)
{
    struct subscriber_options o = {.prefetch = (uint32_t)rng_below(&s->loop->rng, 50),
                                   .wake = loop_wake,
                                   .cancelled = loop_wake,
                                   .ctx = s};
    if (rng_below(&s->loop->rng, 2))
        o.shared = &s->loop->credit;
    assert_int_equal(dispatcher_subscribe(s->loop->party->t.d, &o, 0, &s->c), DISPATCH_OK);
}

static void *run_loop(void *ctx)
{
    struct loop *l = ctx;
    for (int i = 0; i < SUBS_EACH; i++)
        loop_subscribe(&l->subs[i]);
    mutex_lock(&l->lock);
    while (!l->stop) {
        struct loop_sub *s = NULL;
        for (int i = 0; i < SUBS_EACH && !s; i++)
            s = l->subs[i].woken ? &l->subs[i] : NULL;
        if (!s) {
            cond_wait(&l->wake, &l->lock);
            continue;
        }
        s->woken = false;
        mutex_unlock(&l->lock);
        size_t n = s->c->kind->pump(s->c, 100, loop_deliver, s);
        loop_answer(s);
        if (rng_below(&l->rng, 50) == 0) {
            s->c->kind->close(s->c);
            mutex_lock(&l->lock);
            s->woken = false;
            mutex_unlock(&l->lock);
            loop_subscribe(s);
            n = 0;
        }
        mutex_lock(&l->lock);
        s->woken |= n >= 100;
    }
    mutex_unlock(&l->lock);
    return NULL;
}

static void *run_publisher(void *ctx)
{
    struct party *p = ctx;
    for (int i = 0; i < BURDEN; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        put(p->t.bus, "t", text);
    }
    return NULL;
}

static void no_wake_up_is_lost_between_threads(void **state)
{
    struct party *p = calloc(1, sizeof *p);
    pthread_t publisher;
    (void)state;
    stage_begin(&p->t, false);
    atomic_init(&p->left, BURDEN);
    for (int i = 0; i < LOOPS; i++) {
        struct loop *l = &p->loops[i];
        l->party = p;
        mutex_init(&l->lock);
        cond_init(&l->wake);
        credit_init(&l->credit, 10);
        rng_seed(&l->rng, (uint64_t)i + 1);
        for (int k = 0; k < SUBS_EACH; k++)
            l->subs[k].loop = l;
        assert_int_equal(pthread_create(&l->thread, NULL, run_loop, l), 0);
    }
    assert_int_equal(pthread_create(&publisher, NULL, run_publisher, p), 0);
    pthread_join(publisher, NULL);
    for (int i = 0; i < LOOPS; i++)
        pthread_join(p->loops[i].thread, NULL);
    for (int i = 0; i < LOOPS; i++)
        for (int k = 0; k < SUBS_EACH; k++)
            p->loops[i].subs[k].c->kind->close(p->loops[i].subs[k].c);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(atomic_load(&p->loops[i].credit.used), 0);
        credit_release(&p->loops[i].credit);
        cond_release(&p->loops[i].wake);
        mutex_release(&p->loops[i].lock);
    }
    for (int i = 0; i < BURDEN; i++)
        assert_int_equal(atomic_load(&p->seen[i]), 1);
    check_counts(&p->t.w, "q", 0, 0, 0, 0);
    stage_end(&p->t);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_delivered_in_order_and_gone_once_acknowledged),
        cmocka_unit_test(one_is_woken_for_what_comes_until_it_has_looked),
        cmocka_unit_test(equal_subscribers_get_one_message_after_the_other),
        cmocka_unit_test(higher_priority_comes_first_as_long_as_it_can_take),
        cmocka_unit_test(prefetch_bounds_what_is_not_answered),
        cmocka_unit_test(a_shared_limit_holds_over_several_queues),
        cmocka_unit_test(a_single_active_subscriber_is_followed_by_the_next),
        cmocka_unit_test(an_exclusive_subscriber_is_alone),
        cmocka_unit_test(what_is_requeued_comes_at_its_original_place),
        cmocka_unit_test(what_a_closed_subscriber_has_not_seen_is_the_others),
        cmocka_unit_test(who_has_no_room_is_passed_over),
        cmocka_unit_test(large_messages_are_taken_few_at_a_time),
        cmocka_unit_test(subscribers_are_cancelled_when_the_queue_goes),
        cmocka_unit_test(a_queue_that_is_deleted_by_others_cancels_too),
        cmocka_unit_test(one_message_can_be_got),
        cmocka_unit_test(tens_of_thousands_may_be_held),
        cmocka_unit_test(random_operations_lose_and_double_nothing),
        cmocka_unit_test(no_wake_up_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
