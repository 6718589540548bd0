/* Permissions of users in virtual hosts, and those on the routing keys of topic exchanges. */
#include "wire/management/list.h"
#include "wire/management/puts.h"

/* While nobody needs a name there is no user of that name; what it may do is shown all the same. */
static int find_name(void *ctx, const struct access_user *u)
{
    beck_bytes *name = ctx;
    if (!bytes_equal_text(*name, u->name))
        return 0;
    *name = (beck_bytes){0};
    return 1;
}

static bool is_user(struct call *c, beck_bytes name)
{
    struct access *a = call_context(c)->access;
    if (access_user_count(a) == 0)
        return bytes_equal_text(name, GUEST);
    access_list_users(a, find_name, &name, NULL);
    return !name.data;
}

/* ---- permissions ---- */

json_t *json_of_permission(const struct permission_view *p)
{
    json_t *o = json_object();
    json_put_text(o, "user", p->user);
    json_put_text(o, "vhost", p->vhost);
    json_put_text(o, "configure", p->configure);
    json_put_text(o, "write", p->write);
    json_put_text(o, "read", p->read);
    return o;
}

static int list_permission(void *ctx, const struct permission_view *p)
{
    return list_add(ctx, json_of_permission(p));
}

static void list_permissions_of(struct call *c, beck_bytes vhost, beck_bytes user)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    broker_each_permission(c->b, vhost, user, list_permission, &l);
    list_answer(&l);
}

static void list_permissions(struct call *c)
{
    list_permissions_of(c, (beck_bytes){0}, (beck_bytes){0});
}

static void list_permissions_of_user(struct call *c)
{
    if (is_user(c, call_name(c, 0)))
        list_permissions_of(c, (beck_bytes){0}, call_name(c, 0));
    else
        answer_not_found(c);
}

static void list_permissions_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        list_permissions_of(c, vhost, (beck_bytes){0});
}

static int find_permission(void *ctx, const struct permission_view *p)
{
    *(json_t **)ctx = json_of_permission(p);
    return 1;
}

static void show_permission(struct call *c)
{
    json_t *o = NULL;
    broker_each_permission(c->b, call_name(c, 0), call_name(c, 1), find_permission, &o);
    if (o)
        answer_json(c, 200, o);
    else
        answer_not_found(c);
}

/* False, after answering. */
static bool check_place(struct call *c, beck_bytes vhost, beck_bytes user)
{
    if (!broker_has_vhost(c->b, vhost))
        answer_error(c, 400, "bad_request", "vhost_not_found");
    else if (!is_user(c, user))
        answer_error(c, 400, "bad_request", "no_such_user");
    else
        return true;
    return false;
}

bool permission_put(struct call *c, beck_bytes vhost, beck_bytes user, const json_t *from)
{
    struct permission_view p = {.vhost = vhost, .user = user};
    if (!check_place(c, vhost, user) || !body_text(c, from, "configure", NULL, &p.configure) ||
        !body_text(c, from, "write", NULL, &p.write) || !body_text(c, from, "read", NULL, &p.read))
        return false;
    beck_status status = broker_put_permission(c->b, &p, &c->err);
    if (status)
        answer_status(c, status);
    return !status;
}

static void put_permission(struct call *c)
{
    json_t *before = NULL;
    beck_bytes vhost = call_name(c, 0), user = call_name(c, 1);
    broker_each_permission(c->b, vhost, user, find_permission, &before);
    if (permission_put(c, vhost, user, c->body))
        answer_put(c, BECK_OK, !before);
    json_decref(before);
}

static void delete_permission(struct call *c)
{
    answer_done(c, broker_delete_permission(c->b, call_name(c, 0), call_name(c, 1), &c->err));
}

/* ---- on topics ---- */

json_t *json_of_topic_permission(const struct topic_permission_view *p)
{
    json_t *o = json_object();
    json_put_text(o, "user", p->user);
    json_put_text(o, "vhost", p->vhost);
    json_put_text(o, "exchange", p->exchange);
    json_put_text(o, "write", p->write);
    json_put_text(o, "read", p->read);
    return o;
}

static int list_topic_permission(void *ctx, const struct topic_permission_view *p)
{
    return list_add(ctx, json_of_topic_permission(p));
}

static void list_topic_permissions_of(struct call *c, beck_bytes vhost, beck_bytes user)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    broker_each_topic_permission(c->b, vhost, user, list_topic_permission, &l);
    list_answer(&l);
}

static void list_topic_permissions(struct call *c)
{
    list_topic_permissions_of(c, (beck_bytes){0}, (beck_bytes){0});
}

static void list_topic_permissions_of_user(struct call *c)
{
    if (is_user(c, call_name(c, 0)))
        list_topic_permissions_of(c, (beck_bytes){0}, call_name(c, 0));
    else
        answer_not_found(c);
}

static void list_topic_permissions_of_vhost(struct call *c)
{
    beck_bytes vhost;
    if (call_vhost(c, 0, false, &vhost))
        list_topic_permissions_of(c, vhost, (beck_bytes){0});
}

static int count_topic_permission(void *ctx, const struct topic_permission_view *p)
{
    (void)p;
    *(bool *)ctx = true;
    return 1;
}

static bool has_topic_permission(struct call *c, beck_bytes vhost, beck_bytes user)
{
    bool any = false;
    broker_each_topic_permission(c->b, vhost, user, count_topic_permission, &any);
    return any;
}

static void show_topic_permission(struct call *c)
{
    if (has_topic_permission(c, call_name(c, 0), call_name(c, 1)))
        list_topic_permissions_of(c, call_name(c, 0), call_name(c, 1));
    else
        answer_not_found(c);
}

bool topic_permission_put(struct call *c, beck_bytes vhost, beck_bytes user, const json_t *from)
{
    struct topic_permission_view p = {.vhost = vhost, .user = user};
    if (!check_place(c, vhost, user) || !body_text(c, from, "exchange", NULL, &p.exchange) ||
        !body_text(c, from, "write", NULL, &p.write) || !body_text(c, from, "read", NULL, &p.read))
        return false;
    beck_status status = broker_put_topic_permission(c->b, &p, &c->err);
    if (status)
        answer_status(c, status);
    return !status;
}

static void put_topic_permission(struct call *c)
{
    beck_bytes vhost = call_name(c, 0), user = call_name(c, 1);
    bool made = !has_topic_permission(c, vhost, user);
    if (topic_permission_put(c, vhost, user, c->body))
        answer_put(c, BECK_OK, made);
}

static void delete_topic_permission(struct call *c)
{
    answer_done(c, broker_delete_topic_permission(c->b, call_name(c, 0), call_name(c, 1),
                                                  (beck_bytes){0}, &c->err));
}

static void delete_topic_permission_on(struct call *c)
{
    answer_done(c, broker_delete_topic_permission(c->b, call_name(c, 0), call_name(c, 1),
                                                  call_name(c, 2), &c->err));
}

const struct management_route management_routes_permissions[] = {
    {"GET", "/api/permissions", LEVEL_ADMIN, false, list_permissions, "management.permissions"},
    {"GET", "/api/permissions/{vhost}/{user}", LEVEL_ADMIN, false, show_permission,
     "management.permission"},
    {"PUT", "/api/permissions/{vhost}/{user}", LEVEL_ADMIN, true, put_permission,
     "management.putPermission"},
    {"DELETE", "/api/permissions/{vhost}/{user}", LEVEL_ADMIN, false, delete_permission,
     "management.deletePermission"},
    {"GET", "/api/users/{user}/permissions", LEVEL_ADMIN, false, list_permissions_of_user,
     "management.userPermissions"},
    {"GET", "/api/vhosts/{vhost}/permissions", LEVEL_ADMIN, false, list_permissions_of_vhost,
     "management.vhostPermissions"},
    {"GET", "/api/topic-permissions", LEVEL_ADMIN, false, list_topic_permissions,
     "management.topicPermissions"},
    {"GET", "/api/topic-permissions/{vhost}/{user}", LEVEL_ADMIN, false, show_topic_permission,
     "management.topicPermission"},
    {"PUT", "/api/topic-permissions/{vhost}/{user}", LEVEL_ADMIN, true, put_topic_permission,
     "management.putTopicPermission"},
    {"DELETE", "/api/topic-permissions/{vhost}/{user}", LEVEL_ADMIN, false, delete_topic_permission,
     "management.deleteTopicPermission"},
    {"DELETE", "/api/topic-permissions/{vhost}/{user}/{exchange}", LEVEL_ADMIN, false,
     delete_topic_permission_on, "management.deleteTopicPermissionOn"},
    {"GET", "/api/users/{user}/topic-permissions", LEVEL_ADMIN, false,
     list_topic_permissions_of_user, "management.userTopicPermissions"},
    {"GET", "/api/vhosts/{vhost}/topic-permissions", LEVEL_ADMIN, false,
     list_topic_permissions_of_vhost, "management.vhostTopicPermissions"},
    {0}};
