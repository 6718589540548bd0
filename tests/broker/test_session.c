/* Who may do what in which virtual host; policies, limits; what administrators are shown. */
#include "broker/place.h"
#include "broker/tables.h"

static void start(struct place *p)
{
    place_start(p, 1);
}

static void permit(struct place *p, const char *vhost, const char *user, const char *configure,
                   const char *write, const char *read)
{
    struct permission_view v = {beck_str(vhost), beck_str(user), beck_str(configure),
                                beck_str(write), beck_str(read)};
    check_ok(broker_put_permission(p->broker, &v, err));
}

static void a_session_needs_a_vhost_and_permissions_in_it(void **state)
{
    struct place p;
    struct session *s;
    struct session_options o = {.vhost = beck_str("shop"), .user = "ann"};
    (void)state;
    start(&p);
    refused(530, "NOT_ALLOWED - vhost shop not found", session_open(p.broker, &o, &s, text));
    check_ok(broker_put_vhost(p.broker, beck_str("shop"), beck_str(""), NULL, err));
    refused(530, "access to vhost 'shop' refused for user 'ann'",
            session_open(p.broker, &o, &s, text));
    assert_false(broker_user_may_enter(p.broker, o.vhost, beck_str("ann"), false));
    permit(&p, "shop", "ann", "", "", "");
    assert_true(broker_user_may_enter(p.broker, o.vhost, beck_str("ann"), false));
    accepted(session_open(p.broker, &o, &s, text));
    assert_string_equal(session_vhost(s), "shop");
    session_close(s);
    place_reopen(&p);
    accepted(session_open(p.broker, &o, &s, text));
    for (int i = 0; i < 10; i++)
        accepted(session_refresh(s, text));
    assert_int_equal(s->retired_count, 1); /* however often a client asks */
    check_ok(broker_forget_user(p.broker, beck_str("ann"), err));
    assert_true(atomic_load(&s->stale));
    refused(530, "refused for user 'ann'", session_refresh(s, text));
    refused(530, "refused for user 'ann'", session_refresh(s, text));
    session_close(s);
    refused(530, "refused for user 'ann'", session_open(p.broker, &o, &s, text));
    place_end(&p);
}

static void what_is_not_permitted_is_refused(void **state)
{
    struct place p;
    struct buf arguments;
    uint32_t messages;
    (void)state;
    start(&p);
    permit(&p, "/", "ann", "^ann\\.", "^ann\\.|^shared$", "^ann\\.|^news$");
    accepted(exchange(p.s, "news", "topic", "d", NULL, text));
    accepted(exchange(p.s, "shared", "fanout", "d", NULL, text));
    accepted(queue(p.s, "other", "d", text));
    struct session *s = place_session(&p, "/", "ann", 2);
    accepted(queue(s, "ann.q", "d", text));
    accepted(exchange(s, "ann.x", "direct", "d", NULL, text));
    refused(403,
            "ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'ann'",
            queue(s, "q", "d", text));
    refused(403, "configure access to exchange 'x' in vhost '/' refused for user 'ann'",
            exchange(s, "x", "direct", "d", NULL, text));
    refused(403, "access to queue 'other'", queue(s, "other", "p", text));
    accepted(exchange(s, "shared", "", "p", NULL, text));
    accepted(bind_to(s, "news", "ann.q", "#", text));
    refused(403, "read access to exchange 'shared'", bind_to(s, "shared", "ann.q", "", text));
    refused(403, "write access to queue 'other'", bind_to(s, "news", "other", "", text));
    refused(403, "configure access to queue 'other'", delete_queue(s, "other", text));
    refused(403, "read access to queue 'other'",
            session_purge_queue(s, beck_str("other"), &messages, text));
    buf_init(&arguments, 1000);
    table_put_text(&arguments, "x-dead-letter-exchange", beck_str("news"));
    refused(403, "write access to exchange 'news'",
            queue_as(s, "ann.r", "d", &arguments, NULL, text));
    buf_clear(&arguments);
    table_put_text(&arguments, "alternate-exchange", beck_str("news"));
    refused(403, "write access to exchange 'news'",
            exchange(s, "ann.y", "direct", "d", &arguments, text));
    permit(&p, "/", "ann", ".*", ".*", ".*");
    accepted(queue(s, "q", "d", text));
    buf_release(&arguments);
    session_close(s);
    place_end(&p);
}

static void topics_are_permitted_by_key(void **state)
{
    struct place p;
    struct topic_permission_view t = {beck_str("/"), beck_str("ann"), beck_str("news"),
                                      beck_str("^a\\."), beck_str("^{username}\\.")};
    (void)state;
    start(&p);
    permit(&p, "/", "ann", ".*", ".*", ".*");
    check_ok(broker_put_topic_permission(p.broker, &t, err));
    place_reopen(&p);
    struct session *s = place_session(&p, "/", "ann", 2);
    accepted(exchange(s, "news", "topic", "d", NULL, text));
    accepted(queue(s, "q", "d", text));
    accepted(bind_to(s, "news", "q", "ann.#", text));
    refused(403, "access to topic 'bob.#' in exchange 'news' in vhost '/' refused for user 'ann'",
            bind_to(s, "news", "q", "bob.#", text));
    accepted(bind_to(s, "amq.topic", "q", "bob.#", text));
    session_close(s);
    check_ok(broker_delete_topic_permission(p.broker, t.vhost, t.user, (beck_bytes){0}, err));
    s = place_session(&p, "/", "ann", 2);
    accepted(bind_to(s, "news", "q", "bob.#", text));
    session_close(s);
    place_end(&p);
}

static void vhosts_do_not_meet(void **state)
{
    struct place p;
    (void)state;
    start(&p);
    check_ok(
        broker_put_vhost(p.broker, beck_str("a"), beck_str("{\"description\":\"x\"}"), NULL, err));
    check_ok(broker_put_vhost(p.broker, beck_str("b"), beck_str(""), "ann", err));
    struct session *a = place_session(&p, "a", NULL, 2), *b = place_session(&p, "b", "ann", 3);
    accepted(queue(a, "q", "d", text));
    accepted(exchange(a, "x", "fanout", "d", NULL, text));
    accepted(bind_to(a, "x", "q", "", text));
    refused(404, "no queue 'q' in vhost 'b'", queue(b, "q", "p", text));
    accepted(queue(b, "q", "", text));
    accepted(queue(p.s, "q", "d", text));
    assert_string_equal(route_with(&p, b, "x", "", NULL), "?");
    session_close(a);
    session_close(b);
    place_reopen(&p);
    a = place_session(&p, "a", NULL, 2);
    assert_string_equal(route_with(&p, a, "x", "", NULL), "q");
    accepted(bind_to(a, "amq.fanout", "@amq.direct", "", text));
    check_ok(broker_delete_vhost(p.broker, beck_str("a"), err));
    refused(530, "vhost a not found", queue(a, "r", "d", text));
    refused(404, "no queue 'q'", queue(a, "q", "p", text));
    session_close(a);
    assert_false(broker_has_vhost(p.broker, beck_str("a")));
    place_reopen(&p);
    assert_false(broker_has_vhost(p.broker, beck_str("a")));
    assert_true(broker_has_vhost(p.broker, beck_str("b")));
    assert_string_equal(route(&p, "", "q"), "q");
    place_end(&p);
}

static void a_vhost_has_a_type_for_queues_that_say_none(void **state)
{
    struct place p;
    struct queue_declared told;
    struct broker_queue *q = NULL;
    (void)state;
    start(&p);
    accepted(queue(p.s, "old", "d", text));
    check_ok(broker_put_vhost(p.broker, beck_str("/"),
                              beck_str("{\"default_queue_type\":\"quorum\"}"), NULL, err));
    place_reopen(&p);
    accepted(queue(p.s, "old", "d", text));
    accepted(queue(p.s, "new", "d", text));
    accepted(queue(p.s, "new", "d", text));
    accepted(queue(p.s, "short", "a", text));
    accepted(queue_as(p.s, "", "d", NULL, &told, text));
    accepted(session_find_queue(p.s, beck_str("new"), &q, text));
    assert_int_equal(q->kind, QUEUE_QUORUM);
    broker_queue_release(q);
    accepted(session_find_queue(p.s, beck_str("old"), &q, text));
    assert_int_equal(q->kind, QUEUE_CLASSIC);
    broker_queue_release(q);
    place_end(&p);
}

static void limits_are_kept(void **state)
{
    struct place p;
    struct limit_view l = {beck_str("/"), beck_str("max-queues"), 2};
    (void)state;
    start(&p);
    check_ok(broker_put_vhost_limit(p.broker, &l, err));
    place_reopen(&p);
    accepted(queue(p.s, "a", "d", text));
    accepted(queue(p.s, "b", "", text));
    refused(406, "queue limit in vhost '/' (2) is reached", queue(p.s, "c", "", text));
    accepted(queue(p.s, "b", "", text));
    check_ok(broker_delete_vhost_limit(p.broker, l.of, l.name, err));
    accepted(queue(p.s, "c", "", text));
    place_end(&p);
}

static int open_as(struct place *p, const char *vhost, const char *user, uint64_t connection,
                   struct session **out, char *text)
{
    struct session_options o = {beck_str(vhost), user, true, connection};
    return session_open(p->broker, &o, out, text);
}

static void connections_of_a_vhost_and_of_a_user_are_limited(void **state)
{
    struct place p;
    struct session *a, *b, *request;
    struct limit_view in_vhost = {beck_str("v"), beck_str("max-connections"), 1};
    struct limit_view of_user = {beck_str("ann"), beck_str("max-connections"), 1};
    (void)state;
    start(&p);
    check_ok(broker_put_vhost(p.broker, beck_str("v"), beck_str(""), NULL, err));
    check_ok(broker_put_vhost_limit(p.broker, &in_vhost, err));
    check_ok(broker_put_user_limit(p.broker, &of_user, err));
    accepted(open_as(&p, "v", "ann", 2, &a, text));
    refused(530,
            "NOT_ALLOWED - access to vhost 'v' refused for user 'bob': connection limit (1) is "
            "reached",
            open_as(&p, "v", "bob", 3, &b, text));
    refused(530,
            "NOT_ALLOWED - connection refused for user 'ann': user connection limit (1) is reached",
            open_as(&p, "/", "ann", 3, &b, text));
    accepted(open_as(&p, "v", "ann", 0, &request, text)); /* requests are no connections */
    session_close(request);
    session_close(a);
    accepted(open_as(&p, "v", "bob", 3, &b, text));
    session_close(b);
    in_vhost.value = 0;
    check_ok(broker_put_vhost_limit(p.broker, &in_vhost, err));
    refused(530, "connection limit (0) is reached", open_as(&p, "v", "bob", 3, &b, text));
    check_ok(broker_delete_vhost_limit(p.broker, in_vhost.of, in_vhost.name, err));
    accepted(open_as(&p, "v", "bob", 3, &b, text));
    session_close(b);
    place_end(&p);
}

/* ---- policies ---- */

static void put_policy(struct place *p, bool user, const char *name, const char *pattern,
                       const char *definition)
{
    struct policy_view v = {
        beck_str("/"), beck_str(name), beck_str(pattern), beck_str("all"), 0, beck_str(definition)};
    check_ok(broker_put_policy(p->broker, user, &v, err));
}

static int64_t ttl_of(struct place *p, const char *name)
{
    struct queue_rules rules;
    struct broker_queue *q = NULL;
    accepted(session_find_queue(p->s, beck_str(name), &q, text));
    queue_get_rules(q->engine, &rules);
    assert_int_equal(rules.ttl_ms, q->effective->ttl_ms);
    broker_queue_release(q);
    return rules.ttl_ms;
}

static int64_t length_in_force(struct place *p)
{
    struct queue_rules rules;
    struct queue *q = world_get_queue(&p->w, "billing");
    queue_get_rules(q, &rules);
    queue_release(q);
    return rules.length_max;
}

static void a_policy_rules_what_others_made_as_long_as_there_is_one(void **state)
{
    struct place p;
    beck_error why;
    beck_queue_options o = {.length_max = 8};
    (void)state;
    start(&p);
    world_queue(&p.w, "billing", &o);
    accepted(queue(p.s, "billing", "p", text));
    put_policy(&p, true, "p", "^billing$", "{\"max-length\":5}");
    assert_int_equal(length_in_force(&p), 5);
    o.length_max = 9;
    assert_int_equal(beck_queue_alter(p.w.b, "billing", &o, &why), BECK_EINVAL);
    check_ok(broker_delete_policy(p.broker, true, beck_str("/"), beck_str("p"), err));
    assert_int_equal(length_in_force(&p), 8);
    check_ok(beck_queue_alter(p.w.b, "billing", &o, err));
    assert_int_equal(length_in_force(&p), 9);
    place_end(&p);
}

static void policies_are_in_force_for_what_there_is_and_will_be(void **state)
{
    struct place p;
    struct buf arguments;
    (void)state;
    start(&p);
    buf_init(&arguments, 1000);
    table_put_int(&arguments, "x-message-ttl", 500);
    accepted(queue(p.s, "t.1", "d", text));
    accepted(queue_as(p.s, "t.2", "d", &arguments, NULL, text));
    assert_int_equal(ttl_of(&p, "t.1"), -1);
    put_policy(&p, true, "ttl", "^t\\.", "{\"message-ttl\":1000}");
    assert_int_equal(ttl_of(&p, "t.1"), 1000);
    assert_int_equal(ttl_of(&p, "t.2"), 500);
    put_policy(&p, false, "most", ".*", "{\"message-ttl\":100}");
    assert_int_equal(ttl_of(&p, "t.2"), 100);
    place_reopen(&p);
    assert_int_equal(ttl_of(&p, "t.1"), 100);
    accepted(queue(p.s, "t.3", "", text));
    assert_int_equal(ttl_of(&p, "t.3"), 100);
    check_ok(broker_delete_policy(p.broker, false, beck_str("/"), beck_str("most"), err));
    assert_int_equal(ttl_of(&p, "t.3"), 1000);
    check_ok(broker_delete_policy(p.broker, true, beck_str("/"), beck_str("ttl"), err));
    assert_int_equal(ttl_of(&p, "t.1"), -1);
    assert_int_equal(ttl_of(&p, "t.2"), 500);
    assert_int_equal(broker_delete_policy(p.broker, true, beck_str("/"), beck_str("ttl"), NULL),
                     BECK_ENOENT);
    buf_release(&arguments);
    place_end(&p);
}

static void a_policy_gives_an_alternate_exchange_and_lets_queues_expire(void **state)
{
    struct place p;
    (void)state;
    start(&p);
    accepted(exchange(p.s, "x", "direct", "d", NULL, text));
    accepted(queue(p.s, "rest", "d", text));
    accepted(bind_to(p.s, "amq.fanout", "rest", "", text));
    assert_string_equal(route(&p, "x", "k"), "");
    put_policy(&p, true, "ae", "^x$", "{\"alternate-exchange\":\"amq.fanout\"}");
    assert_string_equal(route(&p, "x", "k"), "rest");
    place_reopen(&p);
    assert_string_equal(route(&p, "x", "k"), "rest");
    put_policy(&p, true, "ae", "^rest$", "{\"expires\":1000}");
    assert_string_equal(route(&p, "x", "k"), "");
    world_advance(&p.w, 1001);
    queues_expire(p.broker);
    assert_string_equal(route(&p, "", "rest"), "");
    place_end(&p);
}

/* ---- what is shown ---- */

struct seen {
    char text[4096];
};

static void see(struct seen *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void see(struct seen *s, const char *format, ...)
{
    va_list args;
    size_t len = strlen(s->text);
    va_start(args, format);
    vsnprintf(s->text + len, sizeof s->text - len, format, args);
    va_end(args);
}

static int see_queue(void *ctx, const struct queue_view *v)
{
    see(ctx, "%.*s:%.*s:%s:%d:%.*s ", TEXT(v->vhost), TEXT(v->name), v->type, v->durable,
        TEXT(v->policy));
    return 0;
}

static int see_binding(void *ctx, const struct binding_view *v)
{
    see(ctx, "%.*s>%s%.*s=%.*s ", TEXT(v->source), v->to_exchange ? "@" : "", TEXT(v->destination),
        TEXT(v->properties_key));
    return 0;
}

static int see_exchange(void *ctx, const struct exchange_view *v)
{
    see(ctx, "%.*s:%.*s ", TEXT(v->name), TEXT(v->type));
    return 0;
}

static int see_permission(void *ctx, const struct permission_view *v)
{
    see(ctx, "%.*s:%.*s:%.*s ", TEXT(v->vhost), TEXT(v->user), TEXT(v->write));
    return 0;
}

static int see_vhost(void *ctx, const struct vhost_view *v)
{
    see(ctx, "%.*s:%.*s:%d ", TEXT(v->name), TEXT(v->metadata), (int)v->queues);
    return 0;
}

static int see_parameter(void *ctx, const struct parameter_view *v)
{
    see(ctx, "%.*s:%.*s:%.*s=%.*s ", TEXT(v->component), TEXT(v->vhost), TEXT(v->name),
        TEXT(v->value));
    return 0;
}

static void administrators_see_what_there_is(void **state)
{
    struct place p;
    struct seen s = {""};
    struct binding_filter all = {0}, of_x = {.vhost = beck_str("/"), .source = beck_str("x")};
    beck_bytes any = {0};
    (void)state;
    start(&p);
    check_ok(broker_put_vhost(p.broker, beck_str("a"), beck_str(""), "ann", err));
    put_policy(&p, true, "p", "^b$", "{\"max-length\":1}");
    accepted(exchange(p.s, "x", "fanout", "d", NULL, text));
    accepted(queue(p.s, "c d", "", text));
    accepted(queue(p.s, "b", "d", text));
    accepted(bind_to(p.s, "x", "b", "", text));
    accepted(bind_to(p.s, "x", "c d", "k~ /", text));
    accepted(bind_to(p.s, "x", "@amq.topic", "#", text));
    assert_int_equal(broker_each_queue(p.broker, any, any, see_queue, &s), 2);
    assert_string_equal(s.text, "/:b:classic:1:p /:c d:classic:0: ");
    s.text[0] = 0;
    assert_int_equal(broker_each_binding(p.broker, &of_x, see_binding, &s), 3);
    assert_string_equal(s.text, "x>@amq.topic=%23 x>b=~ x>c d=k%7E+%2F ");
    assert_int_equal(broker_each_binding(p.broker, &all, see_binding, &s), 5);
    s.text[0] = 0;
    assert_int_equal(broker_each_exchange(p.broker, beck_str("a"), any, see_exchange, &s), 7);
    assert_string_equal(s.text, ":direct amq.direct:direct amq.fanout:fanout amq.headers:headers "
                                "amq.match:headers amq.rabbitmq.trace:topic amq.topic:topic ");
    s.text[0] = 0;
    assert_int_equal(broker_each_exchange(p.broker, beck_str("/"), beck_str("x"), see_exchange, &s),
                     1);
    assert_int_equal(broker_each_permission(p.broker, any, any, see_permission, &s), 1);
    assert_int_equal(broker_each_vhost(p.broker, any, see_vhost, &s), 2);
    assert_string_equal(s.text, "x:fanout a:ann:.* /:{}:2 a:{}:0 ");
    place_end(&p);
}

static void parameters_are_kept(void **state)
{
    struct place p;
    struct seen s = {""};
    beck_bytes any = {0};
    struct parameter_view local = {beck_str("shovel"), beck_str("/"), beck_str("mine"),
                                   beck_str("{\"a\":1}")};
    struct parameter_view global = {.name = beck_str("cluster"), .value = beck_str("\"x\"")};
    (void)state;
    start(&p);
    check_ok(broker_put_parameter(p.broker, &local, err));
    check_ok(broker_put_parameter(p.broker, &global, err));
    place_reopen(&p);
    assert_int_equal(broker_each_parameter(p.broker, false, any, any, any, see_parameter, &s), 1);
    assert_int_equal(broker_each_parameter(p.broker, true, any, any, any, see_parameter, &s), 1);
    assert_string_equal(s.text, "shovel:/:mine={\"a\":1} ::cluster=\"x\" ");
    check_ok(broker_delete_parameter(p.broker, local.component, local.vhost, local.name, err));
    assert_int_equal(broker_each_parameter(p.broker, false, any, any, any, see_parameter, &s), 0);
    place_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_needs_a_vhost_and_permissions_in_it),
        cmocka_unit_test(what_is_not_permitted_is_refused),
        cmocka_unit_test(topics_are_permitted_by_key),
        cmocka_unit_test(vhosts_do_not_meet),
        cmocka_unit_test(a_vhost_has_a_type_for_queues_that_say_none),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(connections_of_a_vhost_and_of_a_user_are_limited),
        cmocka_unit_test(policies_are_in_force_for_what_there_is_and_will_be),
        cmocka_unit_test(a_policy_rules_what_others_made_as_long_as_there_is_one),
        cmocka_unit_test(a_policy_gives_an_alternate_exchange_and_lets_queues_expire),
        cmocka_unit_test(administrators_see_what_there_is),
        cmocka_unit_test(parameters_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
