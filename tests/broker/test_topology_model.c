/*
 * Exchanges, queues and bindings against a naive model, with random operations and restarts.
 *
 * The model keeps lists and asks each binding in turn. Keys, types and names are few, so that declarations meet.
 * Events that others publish to the buses of exchanges are counted in the queues that they must be in: they stay
 * there when exchanges and bindings go, and over a loss of power.
 */
#include "broker/place.h"
#include "event/pattern.h"
#include "support/effort.h"

#define EXCHANGES 6
#define QUEUES 6
#define BINDINGS 200

static const char *const types[] = {"direct", "fanout", "topic"};
static const char *const patterns[] = {"a", "a.b", "b", "*", "#", "a.*", "*.b", "a.#"};
static const char *const keys[] = {"a", "b", "a.b", "b.b", "a.a.b", "c"};

struct model_exchange {
    bool there, durable, auto_delete;
    int type;
    int alternate; /* -1: none */
};
struct model_queue {
    bool there, durable, exclusive, of_other;
    int64_t events;
};
struct model_binding {
    bool there, to_exchange;
    int source, to, key;
};
struct model {
    struct model_exchange x[EXCHANGES];
    struct model_queue q[QUEUES];
    struct model_binding b[BINDINGS];
};

/* ---- the model ---- */

static int find_binding(const struct model *m, int source, bool to_exchange, int to, int key)
{
    for (int i = 0; i < BINDINGS; i++) {
        const struct model_binding *b = &m->b[i];
        if (b->there && b->source == source && b->to_exchange == to_exchange && b->to == to &&
            b->key == key)
            return i;
    }
    return -1;
}

static int bindings_of(const struct model *m, int source)
{
    int count = 0;
    for (int i = 0; i < BINDINGS; i++)
        count += m->b[i].there && m->b[i].source == source;
    return count;
}

static void drop_exchange(struct model *m, int x);

static void drop_binding(struct model *m, int i)
{
    int source = m->b[i].source;
    if (!m->b[i].there)
        return;
    m->b[i].there = false;
    if (m->x[source].there && m->x[source].auto_delete && bindings_of(m, source) == 0)
        drop_exchange(m, source);
}

static void drop_exchange(struct model *m, int x)
{
    m->x[x].there = false;
    for (int i = 0; i < BINDINGS; i++)
        if (m->b[i].there && (m->b[i].source == x || (m->b[i].to_exchange && m->b[i].to == x)))
            drop_binding(m, i);
}

static void drop_queue(struct model *m, int q)
{
    m->q[q].there = false;
    for (int i = 0; i < BINDINGS; i++)
        if (m->b[i].there && !m->b[i].to_exchange && m->b[i].to == q)
            drop_binding(m, i);
}

/* What is not durable goes without a word: auto-delete exchanges that lose bindings so stay. */
static void restart(struct model *m)
{
    for (int i = 0; i < BINDINGS; i++) {
        struct model_binding *b = &m->b[i];
        bool durable =
            m->x[b->source].durable && (b->to_exchange ? m->x[b->to].durable : m->q[b->to].durable);
        b->there &= durable;
    }
    for (int i = 0; i < EXCHANGES; i++)
        m->x[i].there &= m->x[i].durable;
    for (int i = 0; i < QUEUES; i++)
        m->q[i].there &= m->q[i].durable;
}

static bool matches(const struct model *m, const struct model_binding *b, const char *key)
{
    switch (m->x[b->source].type) {
    case 0:
        return strcmp(patterns[b->key], key) == 0;
    case 1:
        return true;
    default:
        return pattern_match(beck_str(patterns[b->key]), beck_str(key));
    }
}

static void model_route(const struct model *m, int x, const char *key, bool *visited, bool *got)
{
    bool matched = false;
    if (visited[x])
        return;
    visited[x] = true;
    for (int i = 0; i < BINDINGS; i++) {
        const struct model_binding *b = &m->b[i];
        if (!b->there || b->source != x || !matches(m, b, key))
            continue;
        matched = true;
        if (b->to_exchange)
            model_route(m, b->to, key, visited, got);
        else
            got[b->to] = true;
    }
    int alternate = m->x[x].alternate;
    if (!matched && alternate >= 0 && m->x[alternate].there)
        model_route(m, alternate, key, visited, got);
}

/* ---- operations on both ---- */

struct run {
    struct place p;
    struct session *other; /* another connection */
    struct model m;
    struct rng rng;
};

static int pick(struct run *r, int bound)
{
    return (int)rng_below(&r->rng, (uint64_t)bound);
}

static const char *name_of(char kind, int i)
{
    static char names[2][16];
    char *name = names[kind == 'q'];
    snprintf(name, sizeof names[0], "%c%d", kind, i);
    return name;
}

static void declare_exchange(struct run *r)
{
    int i = pick(r, EXCHANGES);
    struct model_exchange *have = &r->m.x[i];
    struct model_exchange want = {.there = true,
                                  .durable = pick(r, 3) > 0,
                                  .auto_delete = pick(r, 4) == 0,
                                  .type = pick(r, 3),
                                  .alternate = pick(r, 3) ? -1 : pick(r, EXCHANGES)};
    struct buf arguments;
    char flags[3] = "", text[BROKER_TEXT], alternate[16];
    snprintf(flags, sizeof flags, "%s%s", want.durable ? "d" : "", want.auto_delete ? "a" : "");
    buf_init(&arguments, 1000);
    snprintf(alternate, sizeof alternate, "x%d", want.alternate);
    if (want.alternate >= 0)
        table_put_text(&arguments, "alternate-exchange", beck_str(alternate));
    bool same = have->there && have->durable == want.durable &&
                have->auto_delete == want.auto_delete && have->type == want.type &&
                have->alternate == want.alternate;
    int code = exchange(r->p.s, name_of('x', i), types[want.type], flags, &arguments, text);
    assert_int_equal(code, have->there && !same ? 406 : 0);
    if (!have->there)
        *have = want;
    buf_release(&arguments);
}

static void delete_exchange(struct run *r)
{
    int i = pick(r, EXCHANGES);
    bool if_unused = pick(r, 2);
    char text[BROKER_TEXT];
    bool used = r->m.x[i].there && bindings_of(&r->m, i) > 0;
    int code = session_delete_exchange(r->p.s, beck_str(name_of('x', i)), if_unused, text);
    assert_int_equal(code, if_unused && used ? 406 : 0);
    if (!code && r->m.x[i].there)
        drop_exchange(&r->m, i);
}

static void declare_queue(struct run *r)
{
    int i = pick(r, QUEUES);
    struct model_queue *have = &r->m.q[i];
    struct model_queue want = {
        .there = true, .exclusive = pick(r, 4) == 0, .of_other = pick(r, 4) == 0};
    bool durable = pick(r, 2);
    char flags[3] = "", text[BROKER_TEXT];
    want.durable = durable && !want.exclusive;
    snprintf(flags, sizeof flags, "%s%s", durable ? "d" : "", want.exclusive ? "x" : "");
    int code = queue(want.of_other ? r->other : r->p.s, name_of('q', i), flags, text);
    bool locked = have->there && (have->exclusive != want.exclusive ||
                                  (have->exclusive && have->of_other != want.of_other));
    assert_int_equal(code, locked ? 405 : have->there && have->durable != want.durable ? 406 : 0);
    if (!have->there)
        *have = want;
}

static void remove_queue(struct run *r)
{
    int i = pick(r, QUEUES);
    char text[BROKER_TEXT];
    bool locked = r->m.q[i].there && r->m.q[i].exclusive && r->m.q[i].of_other;
    assert_int_equal(delete_queue(r->p.s, name_of('q', i), text), locked ? 405 : 0);
    if (!locked && r->m.q[i].there)
        drop_queue(&r->m, i);
}

static void change_binding(struct run *r, bool bind)
{
    int source = pick(r, EXCHANGES), key = pick(r, 8);
    bool to_exchange = pick(r, 3) == 0;
    int to = to_exchange ? pick(r, EXCHANGES) : pick(r, QUEUES);
    char text[BROKER_TEXT], name[17];
    struct model *m = &r->m;
    snprintf(name, sizeof name, "%s%s", to_exchange ? "@" : "",
             name_of(to_exchange ? 'x' : 'q', to));
    struct binding_declaration d = binding(name_of('x', source), name, patterns[key]);
    bool there = m->x[source].there && (to_exchange ? m->x[to].there : m->q[to].there);
    bool locked = there && !to_exchange && m->q[to].exclusive && m->q[to].of_other;
    int i = find_binding(m, source, to_exchange, to, key);
    int code = bind ? session_bind(r->p.s, &d, text) : session_unbind(r->p.s, &d, text);
    assert_int_equal(code, locked ? 405 : there || !bind ? 0 : 404);
    if (code || !there)
        return;
    if (!bind && i >= 0)
        drop_binding(m, i);
    if (!bind || i >= 0)
        return;
    for (i = 0; m->b[i].there; i++)
        assert_true(i + 1 < BINDINGS);
    m->b[i] = (struct model_binding){true, to_exchange, source, to, key};
}

/* As somebody does who knows nothing of exchanges. */
static void publish(struct run *r)
{
    int i = pick(r, EXCHANGES);
    bool visited[EXCHANGES] = {false}, got[QUEUES] = {false};
    struct exchange *x;
    char text[BROKER_TEXT];
    beck_event e = {.type = beck_str(keys[pick(r, 6)]), .data = beck_str("1")};
    if (!r->m.x[i].there || !r->m.x[i].durable)
        return;
    assert_int_equal(session_find_exchange(r->p.s, beck_str(name_of('x', i)), &x, text), 0);
    beck_bus *bus = exchange_bus(x, text);
    exchange_release(x);
    assert_non_null(bus);
    check_ok(beck_publish(bus, &e, err));
    model_route(&r->m, i, e.type.data, visited, got);
    for (int q = 0; q < QUEUES; q++)
        r->m.q[q].events += got[q];
}

static void purge(struct run *r)
{
    int i = pick(r, QUEUES);
    uint32_t purged;
    const struct model_queue *q = &r->m.q[i];
    if (!q->there || (q->exclusive && q->of_other))
        return;
    accepted(session_purge_queue(r->p.s, beck_str(name_of('q', i)), &purged, text));
    assert_int_equal(purged, q->events);
    check_ok(beck_sync(r->p.w.b, err)); /* a purge is written, as settling is, not synced */
    r->m.q[i].events = 0;
}

static void sweep(struct run *r)
{
    broker_begin_change(r->p.broker);
    engine_sweep_buses(r->p.broker);
    broker_end_change(r->p.broker);
}

static void close_other(struct run *r)
{
    session_close(r->other);
    for (int i = 0; i < QUEUES; i++)
        if (r->m.q[i].there && r->m.q[i].exclusive && r->m.q[i].of_other)
            drop_queue(&r->m, i);
    r->other = place_session(&r->p, "/", NULL, 2);
}

static void start_again(struct run *r)
{
    bool crash = pick(r, 2);
    session_close(r->other);
    if (crash) {
        vfs_sim_crash(r->p.w.vfs);
        place_finish(&r->p);
        beck_abandon(r->p.w.b);
        world_open(&r->p.w);
        place_begin(&r->p);
    } else {
        place_finish(&r->p);
        world_reopen(&r->p.w);
        place_begin(&r->p);
    }
    for (int i = 0; i < QUEUES; i++)
        if (r->m.q[i].there && r->m.q[i].exclusive && (r->m.q[i].of_other || !crash))
            drop_queue(&r->m, i);
    restart(&r->m);
    r->other = place_session(&r->p, "/", NULL, 2);
}

/* ---- comparing ---- */

static void compare_route(struct run *r, int x, const char *key)
{
    bool visited[EXCHANGES] = {false}, got[QUEUES] = {false};
    char expected[100] = "";
    model_route(&r->m, x, key, visited, got);
    for (int i = 0; i < QUEUES; i++)
        if (got[i])
            snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%sq%d",
                     *expected ? " " : "", i);
    assert_string_equal(route(&r->p, name_of('x', x), key), r->m.x[x].there ? expected : "?");
}

static int64_t count_events(struct run *r, int q)
{
    int64_t count = 0;
    topology_read(r->p.broker);
    const struct broker_queue *have = topology_queue(r->p.s->vhost, beck_str(name_of('q', q)));
    if (have)
        count = queue_length(have);
    topology_end_read(r->p.broker);
    return count;
}

static void compare(struct run *r)
{
    for (int x = 0; x < EXCHANGES; x++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            compare_route(r, x, keys[k]);
    for (int q = 0; q < QUEUES; q++)
        assert_string_equal(route(&r->p, "", name_of('q', q)),
                            r->m.q[q].there ? name_of('q', q) : "");
    for (int q = 0; q < QUEUES; q++)
        if (r->m.q[q].there)
            assert_int_equal(count_events(r, q), r->m.q[q].events);
}

static void step(struct run *r)
{
    int what = pick(r, 100);
    if (what < 18)
        declare_exchange(r);
    else if (what < 22)
        delete_exchange(r);
    else if (what < 38)
        declare_queue(r);
    else if (what < 43)
        remove_queue(r);
    else if (what < 70)
        change_binding(r, true);
    else if (what < 80)
        change_binding(r, false);
    else if (what < 92)
        publish(r);
    else if (what < 94)
        purge(r);
    else if (what < 96)
        sweep(r);
    else if (what < 98)
        close_other(r);
    else
        start_again(r);
}

static void routes_are_those_of_the_model(void **state)
{
    uint64_t seeds = effort(40, 6);
    const char *one = getenv("BECK_TEST_SEED");
    (void)state;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct run r;
        memset(&r, 0, sizeof r);
        rng_seed(&r.rng, one ? strtoull(one, NULL, 10) : seed);
        place_start(&r.p, seed);
        r.other = place_session(&r.p, "/", NULL, 2);
        for (int i = 0; i < 400; i++) {
            step(&r);
            if (i % 4 == 0)
                compare(&r);
        }
        session_close(r.other);
        place_end(&r.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(routes_are_those_of_the_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
