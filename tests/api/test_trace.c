/* Traces: the tree of what caused what, and what became of it in queues. On a real disk, where the
 * index lives. */
#include "common.h"

#include "api/handle.h"
#include "log/batch.h"

struct shop {
    struct place place;
    beck *b;
    beck_bus *orders, *mails;
};

static void open_shop(struct shop *s)
{
    s->b = open_place(&s->place);
    s->orders = make_bus(s->b, "orders", &(beck_bus_options){.partitions = 2});
    s->mails = make_bus(s->b, "mails", NULL);
}

static void make_shop(struct shop *s)
{
    place_make(&s->place);
    open_shop(s);
}

static void close_shop(struct shop *s)
{
    beck_close(s->b);
    place_remove(&s->place);
}

static void put(beck_bus *bus, const char *type, const char *id, const char *correlation,
                const char *cause)
{
    beck_event e = event_of(type, NULL, "{}");
    e.id = beck_str(id);
    e.correlationid = beck_str(correlation);
    e.causationid = beck_str(cause);
    must(beck_publish(bus, &e, &err));
}

struct picture {
    char text[4096];
    size_t len, steps;
};

/* "type>queue:state/attempts " per event, a dot per level in front. */
static int draw(void *ctx, const beck_trace_step *step)
{
    struct picture *p = ctx;
    p->steps++;
    p->len += (size_t)snprintf(p->text + p->len, sizeof p->text - p->len, "%s%.*s%.*s",
                               p->len ? " " : "", (int)step->depth, "........",
                               (int)step->event->type.len, (const char *)step->event->type.data);
    for (size_t i = 0; i < step->delivery_count; i++) {
        const beck_trace_delivery *d = &step->deliveries[i];
        p->len +=
            (size_t)snprintf(p->text + p->len, sizeof p->text - p->len, ">%s:%s%s%s/%u", d->queue,
                             d->state, *d->reason ? "-" : "", d->reason, d->attempts);
    }
    return 0;
}

static void check_picture(struct shop *s, const char *id, const char *expected)
{
    struct picture p = {0};
    must(beck_trace(s->b, id, 0, draw, &p, &err));
    assert_string_equal(p.text, expected);
}

static void a_trace_is_the_tree_of_what_caused_what(void **state)
{
    (void)state;
    struct shop s;
    make_shop(&s);
    put(s.orders, "order.placed", "o1", NULL, NULL);
    put(s.orders, "other", "x", NULL, NULL);
    put(s.mails, "mail.wanted", "m1", "o1", "o1");
    put(s.orders, "stock.taken", "s1", "o1", "o1");
    put(s.mails, "mail.sent", "m2", "o1", "m1");
    put(s.orders, "other", "y", "x", "x");
    const char *tree = "order.placed .mail.wanted ..mail.sent .stock.taken";
    check_picture(&s, "o1", tree);
    check_picture(&s, "m2", tree); /* whichever of them is asked for */
    check_picture(&s, "x", "other .other");
    struct picture p = {0};
    refused(beck_trace(s.b, "nobody", 0, draw, &p, &err), BECK_ENOENT, "nobody");
    refused(beck_trace(s.b, "", 0, draw, &p, &err), BECK_EINVAL, "id");
    must(beck_trace(s.b, "o1", 2, draw, &p, &err));
    assert_int_equal(p.steps, 2);

    /* Again after a restart, and with an index that is gone or is none. */
    beck_close(s.b);
    open_shop(&s);
    put(s.mails, "mail.read", "m3", "o1", "m2");
    tree = "order.placed .mail.wanted ..mail.sent ...mail.read .stock.taken";
    check_picture(&s, "o1", tree);
    char path[192];
    snprintf(path, sizeof path, "%s/__trace/data.mdb", s.place.data);
    assert_int_equal(remove(path), 0);
    check_picture(&s, "o1", tree);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 5000; i++)
        fputs("nonsense", f);
    fclose(f);
    check_picture(&s, "o1", tree);
    close_shop(&s);
}

static void events_without_ids_and_causes_without_correlation_are_found(void **state)
{
    (void)state;
    struct shop s;
    make_shop(&s);
    put(s.mails, "first", NULL, NULL, NULL);
    put(s.mails, "second", NULL, NULL, "mails/0/0");
    put(s.mails, "third", "t", NULL, "mails/0/1");
    put(s.mails, "orphan", "lost", NULL, "nowhere");
    check_picture(&s, "mails/0/0", "first .second ..third");
    check_picture(&s, "t", "first .second ..third");
    check_picture(&s, "nowhere", "orphan");
    close_shop(&s);
}

/* Links that go round, which only a liar makes, end. */
static void circles_end(void **state)
{
    (void)state;
    struct shop s;
    make_shop(&s);
    put(s.mails, "a", "a", "c", "b");
    put(s.mails, "b", "b", "c", "a");
    put(s.mails, "self", "self", "c", "self");
    struct picture p = {0};
    must(beck_trace(s.b, "c", 0, draw, &p, &err));
    assert_int_equal(p.steps, 3);
    close_shop(&s);
}

/* A deleted bus is forgotten, and another of its name is another. */
static void a_bus_of_the_same_name_is_another(void **state)
{
    (void)state;
    struct shop s;
    make_shop(&s);
    for (int i = 0; i < 5; i++)
        put(s.mails, "old", "same", NULL, NULL);
    check_picture(&s, "same", "old old old old old");
    must(beck_bus_delete(s.b, "mails", &err));
    must(beck_bus_create(s.b, "mails", NULL, &s.mails, &err));
    put(s.mails, "new", "same", NULL, NULL);
    check_picture(&s, "same", "new");
    close_shop(&s);
}

static void take_one(beck_consumer *c, uint64_t *tag)
{
    beck_delivery d;
    size_t count;
    must(beck_take(c, &d, 1, -1, &count, &err));
    *tag = d.tag;
}

static void what_became_of_it_in_queues_is_told(void **state)
{
    (void)state;
    struct shop s;
    make_shop(&s);
    const beck_queue_options quick = {.attempts_max = 2, .backoff = {.kind = BECK_BACKOFF_NONE}};
    must(beck_queue_create(s.b, "work", &quick, &err));
    must(beck_queue_bind(s.b, "work", &(beck_binding){.bus = "mails"}, &err));
    must(beck_queue_create(s.b, "other", NULL, &err));
    must(beck_queue_bind(s.b, "other", &(beck_binding){.bus = "mails", .pattern = "b"}, &err));
    put(s.mails, "a", "a", NULL, NULL);
    put(s.mails, "b", "b", "a", "a");
    check_picture(&s, "a", "a>work:ready/0 .b>other:ready/0>work:ready/0");
    beck_consumer *c;
    uint64_t tag;
    must(beck_consumer_open(s.b, "work", 8, &c, &err));
    take_one(c, &tag);
    check_picture(&s, "a", "a>work:in_flight/1 .b>other:ready/0>work:ready/0");
    must(beck_settle(c, &tag, 1, &err));
    check_picture(&s, "a", "a>work:settled/1 .b>other:ready/0>work:ready/0");
    take_one(c, &tag);
    must(beck_retry(c, tag, 3600000, "later", &err));
    check_picture(&s, "a", "a>work:settled/1 .b>other:ready/0>work:delayed/1");
    must(beck_queue_rewind(s.b, "work", &(beck_from){.kind = BECK_FROM_EARLIEST}, &err));
    take_one(c, &tag);
    must(beck_settle(c, &tag, 1, &err));
    take_one(c, &tag);
    must(beck_reject(c, tag, "never", &err));
    check_picture(&s, "a", "a>work:settled/2 .b>other:ready/0>work:dead-rejected/1");
    must(beck_dead_redrive(s.b, "work", -1, NULL, &err));
    take_one(c, &tag);
    must(beck_settle(c, &tag, 1, &err));
    check_picture(&s, "a", "a>work:settled/2 .b>other:ready/0>work:settled/2");

    /* What queues need no more is kept for this, also over checkpoints and restarts. */
    beck_consumer_close(c);
    must(upkeep_checkpoint(s.b, &err));
    must(upkeep_maintain(s.b, &err));
    check_picture(&s, "a", "a>work:settled/2 .b>other:ready/0>work:settled/2");
    beck_close(s.b);
    open_shop(&s);
    must(upkeep_maintain(s.b, &err));
    check_picture(&s, "a", "a>work:settled/2 .b>other:ready/0>work:settled/2");
    close_shop(&s);
}

static int find_failures(void *ctx, const beck_trace_step *step)
{
    char *text = ctx;
    if (step->delivery_count > 0)
        snprintf(text, 1024, "%s", step->deliveries[0].history);
    return 0;
}

static void failures_are_told_with_their_texts(void **state)
{
    (void)state;
    struct shop s;
    make_shop(&s);
    must(beck_queue_create(
        s.b, "work",
        &(beck_queue_options){.attempts_max = 3, .backoff = {.kind = BECK_BACKOFF_NONE}}, &err));
    must(beck_queue_bind(s.b, "work", &(beck_binding){.bus = "mails"}, &err));
    put(s.mails, "a", "a", NULL, NULL);
    beck_consumer *c;
    uint64_t tag;
    char text[1024] = "";
    must(beck_consumer_open(s.b, "work", 8, &c, &err));
    for (int i = 0; i < 3; i++) {
        take_one(c, &tag);
        must(beck_retry(c, tag, 0, i ? "second" : "first", &err));
    }
    must(beck_trace(s.b, "a", 0, find_failures, text, &err));
    assert_non_null(strstr(text, "\"why\":\"first\""));
    assert_non_null(strstr(text, "\"attempt\":3"));
    check_picture(&s, "a", "a>work:dead-attempts/3");
    beck_consumer_close(c);
    close_shop(&s);
}

static void what_producers_store_is_taken_in_when_it_is_asked_for(void **state)
{
    struct shop s;
    struct batch_builder builder;
    struct codec codec;
    struct buf scratch;
    beck_bytes batch;
    bool more;
    (void)state;
    make_shop(&s);
    beck_event e = event_of("order.created", NULL, "{}");
    e.id = beck_str("x");
    e.correlationid = beck_str("c");
    batch_builder_init(&builder, 1 << 20);
    codec_init(&codec);
    buf_init(&scratch, 1 << 20);
    must(batch_builder_add(&builder, &e, beck_str("orders"), 1));
    must(batch_builder_finish(&builder, &codec, BECK_CODEC_NONE, 0, NULL, &scratch, &batch, &err));
    struct produce p = {
        .batch = (uint8_t *)(uintptr_t)batch.data, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
    must(bus_produce(s.orders, 0, &p, &err));
    must(trace_catch_up(s.b, 100, &more, &err));
    assert_int_equal(s.b->traced, 1); /* nothing */
    check_picture(&s, "x", "order.created");
    put(s.orders, "order.paid", "y", "c", "x");
    must(trace_catch_up(s.b, 100, &more, &err));
    assert_int_equal(s.b->traced, 3); /* events of its own are there now */
    batch_builder_release(&builder);
    codec_release(&codec);
    buf_release(&scratch);
    close_shop(&s);
}

static void a_handle_without_a_directory_has_no_traces(void **state)
{
    (void)state;
    beck *b = open_memory();
    struct picture p = {0};
    refused(beck_trace(b, "a", 0, draw, &p, &err), BECK_EUNSUPPORTED, "directory");
    beck_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace_is_the_tree_of_what_caused_what),
        cmocka_unit_test(events_without_ids_and_causes_without_correlation_are_found),
        cmocka_unit_test(circles_end),
        cmocka_unit_test(a_bus_of_the_same_name_is_another),
        cmocka_unit_test(what_became_of_it_in_queues_is_told),
        cmocka_unit_test(failures_are_told_with_their_texts),
        cmocka_unit_test(what_producers_store_is_taken_in_when_it_is_asked_for),
        cmocka_unit_test(a_handle_without_a_directory_has_no_traces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
