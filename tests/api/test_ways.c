/* An event in memory is given to listeners in a short way when it is published alone: whatever listeners do, all
 * is as in the long one. */
#include "common.h"

#include "base/rng.h"

#define GIVEN_NS 1700000000000000000

enum { LISTENERS = 10, STEPS = 400, DEEP_MAX = 4 };

typedef beck_status (*way)(beck_bus *bus, const beck_event *event, beck_error *err);

static beck_status long_way(beck_bus *bus, const beck_event *event, beck_error *error)
{
    return beck_publish_many(bus, event, 1, NULL, NULL, error);
}

/* What listeners do follows from the seed and from what was called before. */
struct play {
    struct rng rng;
    way publish;
    beck *b;
    beck_bus *buses[2];
    struct player {
        struct play *play;
        beck_listener *listener;
        int number;
    } players[LISTENERS];
    char *said; /* what happened, a line each */
    size_t said_len;
    FILE *out;
    int deep, made, released;
};

static int act(void *ctx, const beck_event *e);

static void released(void *ctx)
{
    ((struct player *)ctx)->play->released++;
}

static void subscribe(struct play *p, struct player *one)
{
    static const char *const patterns[] = {"#", "a.*", "a.b", "*.b", "longer.type.of.event"};
    beck_listener_options o = {.events_max = rng_below(&p->rng, 3) ? 0 : rng_below(&p->rng, 6),
                               .release = released};
    beck_error why; /* one of the buses is deleted in the end */
    beck_bus *bus = p->buses[rng_below(&p->rng, 2)];
    const char *pattern = patterns[rng_below(&p->rng, 5)];
    if (beck_subscribe(bus, pattern, act, one, &o, &one->listener, &why))
        return;
    p->made++;
}

static void unsubscribe(struct player *one)
{
    beck_listener *l = one->listener;
    one->listener = NULL;
    if (l)
        beck_unsubscribe(l);
}

static void publish_some(struct play *p)
{
    static const char *const types[] = {"a.b", "a.c", "c.b", "longer.type.of.event",
                                        "a.b", "a.c", "c.b", "longer.type.of.event",
                                        "a.b", "a.b", "a..b"};
    beck_event e =
        event_of(types[rng_below(&p->rng, 11)], rng_below(&p->rng, 2) ? "s" : NULL, "data");
    e.time_ns = rng_below(&p->rng, 2) ? GIVEN_NS : 0;
    if (rng_below(&p->rng, 8) == 0)
        e.id = beck_str("id");
    if (rng_below(&p->rng, 8) == 0)
        e.correlationid = beck_str("flow");
    p->deep++;
    beck_error why;
    beck_status status = p->publish(p->buses[rng_below(&p->rng, 2)], &e, &why);
    p->deep--;
    fprintf(p->out, "%d: published %d\n", p->deep, (int)status);
}

static void tell(struct play *p, const struct player *one, const beck_event *e)
{
    fprintf(p->out, "%d: %d %.*s %.*s %.*s %.*s %d %d %d %d %lld\n", p->deep, one->number,
            (int)e->type.len, (const char *)e->type.data, (int)e->subject.len,
            (const char *)e->subject.data, (int)e->data.len, (const char *)e->data.data,
            (int)e->bus.len, (const char *)e->bus.data, (int)e->id.len, (int)e->correlationid.len,
            (int)e->causationid.len, e->time_ns == GIVEN_NS, (long long)e->position.offset);
}

static int act(void *ctx, const beck_event *e)
{
    struct player *one = ctx;
    struct play *p = one->play;
    tell(p, one, e);
    assert_ptr_equal(beck_current(p->b), e);
    switch (rng_below(&p->rng, 12)) {
    case 0:
        unsubscribe(one);
        break;
    case 1:
        unsubscribe(&p->players[rng_below(&p->rng, LISTENERS)]);
        break;
    case 2: {
        struct player *other = &p->players[rng_below(&p->rng, LISTENERS)];
        if (!other->listener)
            subscribe(p, other);
        break;
    }
    case 3:
    case 4:
    case 5:
        for (uint64_t n = rng_below(&p->rng, 3); n > 0 && p->deep < DEEP_MAX; n--)
            publish_some(p);
        tell(p, one, e);
        assert_ptr_equal(beck_current(p->b), e);
        break;
    case 6:
        return 1;
    default:
        break;
    }
    return 0;
}

static void note_failure(void *ctx, const beck_error *e)
{
    fprintf(((struct play *)ctx)->out, "reported %d\n", (int)e->code);
}

static char *play(uint64_t seed, way how)
{
    struct play p = {.publish = how};
    rng_seed(&p.rng, seed);
    p.out = open_memstream(&p.said, &p.said_len);
    must(beck_open(&p.b, &(beck_options){.on_error = note_failure, .on_error_ctx = &p}, &err));
    p.buses[0] = make_bus(p.b, "one", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    p.buses[1] = make_bus(p.b, "two", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    for (int i = 0; i < LISTENERS; i++)
        p.players[i] = (struct player){.play = &p, .number = i};
    for (int i = 0; i < STEPS; i++) {
        struct player *one = &p.players[rng_below(&p.rng, LISTENERS)];
        if (!one->listener && rng_below(&p.rng, 3) == 0)
            subscribe(&p, one);
        if (i == STEPS - 20)
            must(beck_bus_delete(p.b, "two", &err));
        publish_some(&p);
        assert_null(beck_current(p.b));
    }
    beck_close(p.b);
    assert_int_equal(p.released, p.made);
    fclose(p.out);
    return p.said;
}

static void an_event_alone_is_given_to_listeners_as_one_of_many(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        char *shortly = play(seed, beck_publish), *longly = play(seed, long_way);
        assert_string_equal(shortly, longly);
        free(shortly);
        free(longly);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_alone_is_given_to_listeners_as_one_of_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
