/* Virtual hosts. */
#include "wire/management/list.h"
#include "wire/management/management_impl.h"
#include "wire/management/puts.h"
#include "wire/management/stats.h"

#include "base/error.h"

#define METADATA_MAX 65536

/* ---- showing ---- */

static json_t *of_vhost(struct call *c, const struct vhost_view *v)
{
    json_t *o = json_object(), *metadata = json_of_document(v->metadata);
    char name[STATS_NAME_MAX];
    json_t *tags = json_object_get(metadata, "tags");
    json_t *description = json_object_get(metadata, "description");
    json_t *type = json_object_get(metadata, "default_queue_type");
    json_put_text(o, "name", v->name);
    json_put(o, "description", description ? json_incref(description) : json_string(""));
    json_put(o, "tags", tags ? json_incref(tags) : json_array());
    json_put(o, "default_queue_type", type ? json_incref(type) : json_string("classic"));
    json_put(o, "metadata", metadata);
    json_put_flag(o, "tracing", false);
    json_put_flag(o, "protected_from_deletion", false);
    json_put(o, "cluster_state", json_pack("{s:s}", c->m->node, "running"));
    beck_bytes of = stats_name(name, "vhost", v->name, (beck_bytes){0});
    stats_put_messages(c, o, of, v->ready, v->unacked);
    struct totals t;
    totals_count(&t, c, v->name);
    json_put(o, "message_stats", stats_of_totals(c, &t, of));
    return o;
}

static int list_vhost(void *ctx, const struct vhost_view *v)
{
    struct list *l = ctx;
    return call_sees_vhost(l->c, v->name) ? list_add(l, of_vhost(l->c, v)) : 0;
}

static void list_vhosts(struct call *c)
{
    struct list l;
    if (!list_begin(&l, c))
        return;
    broker_each_vhost(c->b, (beck_bytes){0}, list_vhost, &l);
    list_answer(&l);
}

struct found {
    struct call *c;
    json_t *object;
};

static int find_vhost(void *ctx, const struct vhost_view *v)
{
    struct found *f = ctx;
    f->object = of_vhost(f->c, v);
    return 1;
}

static void show_vhost(struct call *c)
{
    struct found f = {.c = c};
    beck_bytes name;
    if (!call_vhost(c, 0, false, &name))
        return;
    broker_each_vhost(c->b, name, find_vhost, &f);
    if (f.object)
        answer_json(c, 200, list_columns(c, f.object));
    else
        answer_not_found(c);
}

/* ---- changing ---- */

/* Tags are a list, or text with commas between them. */
static json_t *read_tags(const json_t *given)
{
    if (json_is_array(given))
        return json_deep_copy(given);
    json_t *list = json_array();
    const char *at = json_string_value(given);
    while (at && *at) {
        size_t len = strcspn(at, ",");
        size_t blank = strspn(at, " ");
        if (len > blank)
            json_array_append_new(list, json_of(bytes_of(at + blank, len - blank)));
        at += len + (at[len] == ',');
    }
    return list;
}

/* What of a body is kept; an empty one changes nothing. */
bool vhost_put(struct call *c, beck_bytes name, const json_t *from)
{
    struct buf text;
    json_t *o = json_object();
    const json_t *metadata = json_object_get(from, "metadata");
    static const char *const names[] = {"description", "default_queue_type", "tags"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *given = json_object_get(from, names[i]);
        if (!given)
            given = json_object_get(metadata, names[i]);
        if (!given || json_is_null(given) ||
            (json_is_string(given) && strcmp(json_string_value(given), "undefined") == 0))
            continue;
        if (strcmp(names[i], "tags") == 0)
            json_put(o, names[i], read_tags(given));
        else if (json_is_string(given))
            json_put(o, names[i], json_copy((json_t *)(uintptr_t)given));
    }
    buf_init(&text, METADATA_MAX);
    beck_status status = BECK_OK;
    if (json_object_size(o) > 0 && json_write(o, &text))
        status = error_set(&c->err, BECK_EINVAL, "description and tags have at most %d bytes",
                           METADATA_MAX);
    json_decref(o);
    if (!status)
        status = broker_put_vhost(c->b, name, text.len ? buf_bytes(&text) : (beck_bytes){0},
                                  c->user, &c->err);
    buf_release(&text);
    if (status)
        answer_status(c, status);
    return !status;
}

static void put_vhost(struct call *c)
{
    beck_bytes name = call_name(c, 0);
    bool made = !broker_has_vhost(c->b, name);
    if (vhost_put(c, name, c->body))
        answer_put(c, BECK_OK, made);
}

static void delete_vhost(struct call *c)
{
    beck_bytes name = call_name(c, 0);
    if (!broker_has_vhost(c->b, name)) {
        answer_not_found(c);
        return;
    }
    char reason[300];
    snprintf(reason, sizeof reason, "vhost '%.*s' is deleted", (int)name.len,
             (const char *)name.data);
    if (call_context(c)->amqp)
        amqp_close_connections(call_context(c)->amqp, NULL, http_path(c->r, 0), reason);
    answer_done(c, broker_delete_vhost(c->b, name, &c->err));
}

static void start_vhost(struct call *c)
{
    beck_bytes name;
    if (call_vhost(c, 0, true, &name))
        answer_nothing(c, 204);
}

const struct management_route management_routes_vhosts[] = {
    {"GET", "/api/vhosts", LEVEL_ANY, false, list_vhosts, "management.vhosts"},
    {"GET", "/api/vhosts/{vhost}", LEVEL_ANY, false, show_vhost, "management.vhost"},
    {"PUT", "/api/vhosts/{vhost}", LEVEL_ADMIN, true, put_vhost, "management.putVhost"},
    {"DELETE", "/api/vhosts/{vhost}", LEVEL_ADMIN, false, delete_vhost, "management.deleteVhost"},
    {"POST", "/api/vhosts/{vhost}/start/{node}", LEVEL_ADMIN, false, start_vhost,
     "management.startVhost"},
    {0}};
