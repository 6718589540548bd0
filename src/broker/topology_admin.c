/* What administrators put: virtual hosts, permissions, policies, parameters, limits. See listing.h. */
#include "broker/topology.h"

#include "broker/listing.h"
#include "broker/permission.h"
#include "event/json.h"

#include <stdlib.h>

#define NAME_MAX_LEN 255

static beck_status check_name(const char *what, beck_bytes name, beck_error *err)
{
    if (name.len > NAME_MAX_LEN)
        return error_set(err, BECK_EINVAL, "the name of a %s has at most %d bytes", what,
                         NAME_MAX_LEN);
    return BECK_OK;
}

static beck_status refuse_vhost(beck_bytes name, beck_error *err)
{
    return error_set(err, BECK_ENOENT, "there is no vhost \"%.*s\"", TEXT(name));
}

/* Writes `r` and lets go of it. */
static beck_status keep(struct broker *b, struct record *r, beck_error *err)
{
    beck_status status = broker_keep(b, r, err);
    record_release(r);
    return status;
}

/* The same for one that is to go: BECK_ENOENT when there is none. */
static beck_status drop(struct broker *b, struct record *r, beck_error *err)
{
    r->gone = true;
    topology_read(b);
    bool known = kept_find(&b->kept, bytes_of(r->subject, r->subject_len)) != NULL;
    topology_end_read(b);
    if (known)
        return keep(b, r, err);
    record_release(r);
    return error_set(err, BECK_ENOENT, "not found");
}

/* All of a kind of which `field` is `value`. */
static beck_status drop_all(struct broker *b, enum record_kind kind, const char *field,
                            beck_bytes value, beck_error *err)
{
    size_t count;
    beck_status status = BECK_OK;
    topology_read(b);
    const struct kept **list = kept_list(&b->kept, kind, &count);
    topology_end_read(b);
    if (!list)
        return error_set(err, BECK_ENOMEM, "no memory to delete what was put");
    for (size_t i = 0; i < count && !status; i++) {
        struct record r;
        if (!bytes_equal(kept_text(list[i], field), value))
            continue;
        record_of_subject(&r, kind, list[i]->subject);
        r.gone = true;
        status = keep(b, &r, err);
    }
    free(list);
    return status;
}

/* ---- permissions ---- */

static void permission_init(struct record *r, beck_bytes vhost, beck_bytes user)
{
    beck_bytes parts[] = {vhost, user};
    record_init(r, RECORD_PERMISSION, parts, 2);
    record_text(r, "vhost", vhost);
    record_text(r, "user", user);
}

static void topic_init(struct record *r, beck_bytes vhost, beck_bytes user, beck_bytes exchange)
{
    beck_bytes parts[] = {vhost, user, exchange};
    record_init(r, RECORD_TOPIC_PERMISSION, parts, 3);
    record_text(r, "vhost", vhost);
    record_text(r, "user", user);
    record_text(r, "exchange", exchange);
}

/* Sessions of that user look their permissions up again. */
static void mark_stale(struct broker *b, beck_bytes user)
{
    for (struct session *s = b->sessions; s; s = s->next)
        if (bytes_equal_text(user, s->user))
            atomic_store(&s->stale, true);
}

static beck_status check_permission(beck_bytes user, const beck_bytes *patterns, size_t count,
                                    beck_error *err)
{
    beck_status status = check_name("user", user, err);
    for (size_t i = 0; i < count && !status; i++)
        status = permission_check(patterns[i], err);
    return status;
}

/* Takes the record. */
static beck_status put_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                                  struct record *r, beck_error *err)
{
    beck_status status;
    broker_begin_change(b);
    if (topology_vhost(b, vhost)) {
        status = keep(b, r, err);
        mark_stale(b, user);
    } else {
        status = refuse_vhost(vhost, err);
        record_release(r);
    }
    broker_end_change(b);
    return status;
}

beck_status broker_put_permission(struct broker *b, const struct permission_view *p,
                                  beck_error *err)
{
    struct record r;
    beck_bytes patterns[] = {p->configure, p->write, p->read};
    beck_status status = check_permission(p->user, patterns, 3, err);
    if (status)
        return status;
    permission_init(&r, p->vhost, p->user);
    record_text(&r, "configure", p->configure);
    record_text(&r, "write", p->write);
    record_text(&r, "read", p->read);
    return put_permission(b, p->vhost, p->user, &r, err);
}

beck_status broker_delete_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                                     beck_error *err)
{
    struct record r;
    broker_begin_change(b);
    permission_init(&r, vhost, user);
    beck_status status = drop(b, &r, err);
    mark_stale(b, user);
    broker_end_change(b);
    return status;
}

beck_status broker_put_topic_permission(struct broker *b, const struct topic_permission_view *p,
                                        beck_error *err)
{
    struct record r;
    beck_bytes patterns[] = {p->write, p->read};
    beck_status status = check_permission(p->user, patterns, 2, err);
    if (status)
        return status;
    topic_init(&r, p->vhost, p->user, p->exchange);
    record_text(&r, "write", p->write);
    record_text(&r, "read", p->read);
    return put_permission(b, p->vhost, p->user, &r, err);
}

static beck_status drop_topics(struct broker *b, beck_bytes vhost, beck_bytes user, beck_error *err)
{
    size_t count;
    bool any = false;
    beck_status status = BECK_OK;
    topology_read(b);
    const struct kept **list = kept_list(&b->kept, RECORD_TOPIC_PERMISSION, &count);
    topology_end_read(b);
    if (!list)
        return error_set(err, BECK_ENOMEM, "no memory to delete permissions");
    for (size_t i = 0; i < count && !status; i++) {
        struct record r;
        if (!bytes_equal(kept_text(list[i], "vhost"), vhost) ||
            !bytes_equal(kept_text(list[i], "user"), user))
            continue;
        topic_init(&r, vhost, user, kept_text(list[i], "exchange"));
        status = drop(b, &r, err);
        any = true;
    }
    free(list);
    return any || status ? status : error_set(err, BECK_ENOENT, "not found");
}

beck_status broker_delete_topic_permission(struct broker *b, beck_bytes vhost, beck_bytes user,
                                           beck_bytes exchange, beck_error *err)
{
    struct record r;
    beck_status status;
    broker_begin_change(b);
    if (exchange.data) {
        topic_init(&r, vhost, user, exchange);
        status = drop(b, &r, err);
    } else {
        status = drop_topics(b, vhost, user, err);
    }
    mark_stale(b, user);
    broker_end_change(b);
    return status;
}

beck_status broker_forget_user(struct broker *b, beck_bytes user, beck_error *err)
{
    broker_begin_change(b);
    beck_status status = drop_all(b, RECORD_PERMISSION, "user", user, err);
    if (!status)
        status = drop_all(b, RECORD_TOPIC_PERMISSION, "user", user, err);
    if (!status)
        status = drop_all(b, RECORD_USER_LIMIT, "of", user, err);
    mark_stale(b, user);
    broker_end_change(b);
    return status;
}

/* ---- policies ---- */

static enum record_kind policy_kind(bool user)
{
    return user ? RECORD_POLICY : RECORD_OPERATOR_POLICY;
}

static void policy_init(struct record *r, bool user, beck_bytes vhost, beck_bytes name)
{
    beck_bytes parts[] = {vhost, name};
    record_init(r, policy_kind(user), parts, 2);
    record_text(r, "vhost", vhost);
    record_text(r, "name", name);
}

static beck_status keep_policy(struct broker *b, bool user, const struct policy_view *p,
                               beck_error *err)
{
    struct record r;
    policy_init(&r, user, p->vhost, p->name);
    record_text(&r, "pattern", p->pattern);
    record_text(&r, "apply-to", p->apply_to.len > 0 ? p->apply_to : beck_str("all"));
    record_number(&r, "priority", p->priority);
    record_text(&r, "definition", p->definition);
    return keep(b, &r, err);
}

static beck_status put_policy(struct vhost *v, bool user, const struct policy_text *text,
                              beck_error *err)
{
    topology_write(v->broker);
    beck_status status = policies_put(v->policies, user, text, err);
    topology_end_write(v->broker);
    return status;
}

static beck_status apply_policies(struct vhost *v, beck_error *err)
{
    beck_status status = policy_apply_all(v, err);
    broker_wake(v->broker, 0);
    if (status)
        return status;
    for (struct lookup_node *n = lookup_walk(&v->exchanges, NULL); n && !status;
         n = lookup_walk(&v->exchanges, n)) {
        struct exchange *x = lookup_of(n, struct exchange, node);
        if (x->alternate.len > 0)
            status = engine_lead(x, err);
    }
    return status;
}

beck_status broker_put_policy(struct broker *b, bool user, const struct policy_view *p,
                              beck_error *err)
{
    struct policy_text text = {p->name, p->pattern, p->apply_to, p->priority, p->definition};
    beck_status status = check_name("policy", p->name, err);
    if (!status)
        status = policy_check(&text, user, err);
    if (status)
        return status;
    broker_begin_change(b);
    struct vhost *v = topology_vhost(b, p->vhost);
    status = v ? keep_policy(b, user, p, err) : refuse_vhost(p->vhost, err);
    if (!status)
        status = put_policy(v, user, &text, err);
    if (!status)
        status = apply_policies(v, err);
    broker_end_change(b);
    return status;
}

beck_status broker_delete_policy(struct broker *b, bool user, beck_bytes vhost, beck_bytes name,
                                 beck_error *err)
{
    struct record r;
    broker_begin_change(b);
    struct vhost *v = topology_vhost(b, vhost);
    policy_init(&r, user, vhost, name);
    beck_status status = drop(b, &r, err);
    if (!status && v) {
        topology_write(b);
        policies_remove(v->policies, user, name);
        topology_end_write(b);
        status = apply_policies(v, err);
    }
    broker_end_change(b);
    return status;
}

/* ---- parameters ---- */

static void parameter_init(struct record *r, beck_bytes component, beck_bytes vhost,
                           beck_bytes name)
{
    beck_bytes parts[] = {component, vhost, name};
    record_init(r, RECORD_PARAMETER, parts, 3);
    record_text(r, "component", component);
    record_text(r, "vhost", vhost);
    record_text(r, "name", name);
}

beck_status broker_put_parameter(struct broker *b, const struct parameter_view *p, beck_error *err)
{
    struct record r;
    beck_status status = check_name("parameter", p->name, err);
    if (!status)
        status = json_check(p->value, err);
    if (status)
        return status;
    broker_begin_change(b);
    if (p->component.len > 0 && !topology_vhost(b, p->vhost)) {
        status = refuse_vhost(p->vhost, err);
    } else {
        parameter_init(&r, p->component, p->vhost, p->name);
        record_text(&r, "value", p->value);
        status = keep(b, &r, err);
    }
    broker_end_change(b);
    return status;
}

beck_status broker_delete_parameter(struct broker *b, beck_bytes component, beck_bytes vhost,
                                    beck_bytes name, beck_error *err)
{
    struct record r;
    broker_begin_change(b);
    parameter_init(&r, component, vhost, name);
    beck_status status = drop(b, &r, err);
    broker_end_change(b);
    return status;
}

/* ---- limits ---- */

static void limit_init(struct record *r, enum record_kind kind, beck_bytes of, beck_bytes name)
{
    beck_bytes parts[] = {of, name};
    record_init(r, kind, parts, 2);
    record_text(r, "of", of);
    record_text(r, "name", name);
}

static void set_vhost_limit(struct vhost *v, beck_bytes name, int64_t value)
{
    topology_write(v->broker);
    if (bytes_equal_text(name, "max-queues"))
        v->queues_max = value;
    if (bytes_equal_text(name, "max-connections"))
        v->connections_max = value;
    topology_end_write(v->broker);
}

static beck_status put_limit(struct broker *b, enum record_kind kind, const struct limit_view *l,
                             beck_error *err)
{
    struct record r;
    limit_init(&r, kind, l->of, l->name);
    record_number(&r, "value", l->value);
    return keep(b, &r, err);
}

beck_status broker_put_vhost_limit(struct broker *b, const struct limit_view *l, beck_error *err)
{
    beck_status status = BECK_OK;
    if (!bytes_equal_text(l->name, "max-queues") && !bytes_equal_text(l->name, "max-connections"))
        return error_set(err, BECK_EINVAL, "Unrecognised limit: \"%.*s\"", TEXT(l->name));
    broker_begin_change(b);
    struct vhost *v = topology_vhost(b, l->of);
    status = v ? put_limit(b, RECORD_VHOST_LIMIT, l, err) : refuse_vhost(l->of, err);
    if (!status)
        set_vhost_limit(v, l->name, l->value);
    broker_end_change(b);
    return status;
}

beck_status broker_put_user_limit(struct broker *b, const struct limit_view *l, beck_error *err)
{
    if (!bytes_equal_text(l->name, "max-channels") && !bytes_equal_text(l->name, "max-connections"))
        return error_set(err, BECK_EINVAL, "Unrecognised limit: \"%.*s\"", TEXT(l->name));
    broker_begin_change(b);
    beck_status status = put_limit(b, RECORD_USER_LIMIT, l, err);
    broker_end_change(b);
    return status;
}

beck_status broker_delete_vhost_limit(struct broker *b, beck_bytes vhost, beck_bytes name,
                                      beck_error *err)
{
    struct record r;
    broker_begin_change(b);
    struct vhost *v = topology_vhost(b, vhost);
    limit_init(&r, RECORD_VHOST_LIMIT, vhost, name);
    beck_status status = drop(b, &r, err);
    if (!status && v)
        set_vhost_limit(v, name, -1);
    broker_end_change(b);
    return status;
}

beck_status broker_delete_user_limit(struct broker *b, beck_bytes user, beck_bytes name,
                                     beck_error *err)
{
    struct record r;
    broker_begin_change(b);
    limit_init(&r, RECORD_USER_LIMIT, user, name);
    beck_status status = drop(b, &r, err);
    broker_end_change(b);
    return status;
}

int64_t broker_user_limit(struct broker *b, beck_bytes user, const char *name)
{
    struct record r;
    limit_init(&r, RECORD_USER_LIMIT, user, beck_str(name));
    topology_read(b);
    const struct kept *k = kept_find(&b->kept, bytes_of(r.subject, r.subject_len));
    int64_t value = k ? kept_number(k, "value") : -1;
    topology_end_read(b);
    record_release(&r);
    return value < 0 ? -1 : value;
}

/* ---- virtual hosts ---- */

bool broker_has_vhost(struct broker *b, beck_bytes name)
{
    topology_read(b);
    bool has = topology_vhost(b, name) != NULL;
    topology_end_read(b);
    return has;
}

static beck_status write_vhost(struct vhost *v, bool gone, beck_error *err)
{
    struct record r, *list[] = {&r};
    vhost_record(&r, v);
    r.gone = gone;
    beck_status status = broker_write(v->broker, list, 1, err);
    record_release(&r);
    return status;
}

static beck_status make_vhost(struct broker *b, beck_bytes name, beck_bytes metadata,
                              beck_error *err)
{
    struct vhost *v;
    if (vhost_new(b, name, metadata, &v))
        return error_set(err, BECK_ENOMEM, "no memory for a vhost");
    beck_status status = write_vhost(v, false, err);
    if (!status) {
        topology_write(b);
        status = vhost_link(v);
        topology_end_write(b);
        if (status) {
            write_vhost(v, true, NULL);
            error_set(err, status, "no memory for a vhost");
        }
    }
    if (status)
        vhost_release(v);
    return status;
}

static beck_status change_vhost(struct vhost *v, beck_bytes metadata, beck_error *err)
{
    if (metadata.len == 0)
        return BECK_OK;
    topology_write(v->broker);
    bool described = vhost_describe(v, metadata);
    topology_end_write(v->broker);
    return described ? write_vhost(v, false, err)
                     : error_set(err, BECK_ENOMEM, "no memory for a vhost");
}

beck_status broker_put_vhost(struct broker *b, beck_bytes name, beck_bytes metadata,
                             const char *user, beck_error *err)
{
    beck_status status = check_name("vhost", name, err);
    if (!status && metadata.len > 0)
        status = json_check(metadata, err);
    if (!status && name.len == 0)
        status = error_set(err, BECK_EINVAL, "the name of a vhost is empty");
    if (status)
        return status;
    broker_begin_change(b);
    struct vhost *v = topology_vhost(b, name);
    status = v ? change_vhost(v, metadata, err) : make_vhost(b, name, metadata, err);
    broker_end_change(b);
    if (status || v || !user)
        return status;
    beck_bytes all = beck_str(".*");
    struct permission_view p = {name, beck_str(user), all, all, all};
    return broker_put_permission(b, &p, err);
}

/* Everything in it, but the predeclared exchanges. */
static beck_status empty_vhost(struct vhost *v, beck_error *err)
{
    beck_status status = BECK_OK;
    while (v->queues.count > 0 && !status)
        status = queue_delete_all(
            lookup_of(lookup_walk(&v->queues, NULL), struct broker_queue, node), err);
    for (struct lookup_node *n = lookup_walk(&v->exchanges, NULL); n && !status;) {
        struct exchange *x = lookup_of(n, struct exchange, node);
        n = lookup_walk(&v->exchanges, n);
        if (x->predeclared)
            continue;
        status = exchange_delete(x, err);
        n = lookup_walk(&v->exchanges, NULL); /* others may have gone with it */
    }
    for (struct lookup_node *n = lookup_walk(&v->exchanges, NULL); n && !status;
         n = lookup_walk(&v->exchanges, n)) {
        struct exchange *x = lookup_of(n, struct exchange, node);
        while (x->bindings && !status)
            status = binding_delete(x->bindings, err);
        if (!status)
            engine_leave_bus(x);
    }
    return status;
}

static beck_status drop_records(struct broker *b, beck_bytes vhost, beck_error *err)
{
    static const enum record_kind kinds[] = {RECORD_PERMISSION, RECORD_TOPIC_PERMISSION,
                                             RECORD_POLICY, RECORD_OPERATOR_POLICY,
                                             RECORD_PARAMETER};
    beck_status status = BECK_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !status; i++)
        status = drop_all(b, kinds[i], "vhost", vhost, err);
    return status ? status : drop_all(b, RECORD_VHOST_LIMIT, "of", vhost, err);
}

beck_status broker_delete_vhost(struct broker *b, beck_bytes name, beck_error *err)
{
    broker_begin_change(b);
    struct vhost *v = topology_vhost(b, name);
    beck_status status = v ? empty_vhost(v, err) : refuse_vhost(name, err);
    if (!status)
        status = drop_records(b, name, err);
    if (!status)
        status = write_vhost(v, true, err);
    if (!status) {
        topology_write(b);
        vhost_unlink(v);
        topology_end_write(b);
    }
    broker_end_change(b);
    return status;
}
