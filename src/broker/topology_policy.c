/* What is in force for queues and exchanges: arguments and policies (policy.h) put into effect. */
#include "broker/topology.h"

#include "broker/policy.h"

beck_status policy_apply_queue(struct broker_queue *q)
{
    struct effective *e = effective_of_queue(q->vhost->policies, q->name, q->kind, q->arguments);
    if (!e)
        return BECK_ENOMEM;
    effective_free(q->effective);
    q->effective = e;
    return BECK_OK;
}

static bool replace(beck_bytes *have, beck_bytes with)
{
    beck_bytes copy;
    if (!bytes_keep(with, &copy))
        return false;
    bytes_drop(have);
    *have = copy;
    return true;
}

beck_status policy_apply_exchange(struct exchange *x)
{
    struct effective_exchange e;
    effective_of_exchange(x->vhost->policies, x->name, x->arguments, &e);
    bool kept = replace(&x->alternate, e.has_alternate ? e.alternate : (beck_bytes){0}) &&
                replace(&x->policy, e.policy) && replace(&x->operator_policy, e.operator_policy);
    return kept ? BECK_OK : BECK_ENOMEM;
}

/* 0 is no limit for the engine; one that refuses everything is negative. */
static int64_t limit(const struct effective *e, int64_t value)
{
    if (value == 0 && e->overflow != OVERFLOW_DROP_HEAD)
        return -1;
    return value > 0 ? value : 0;
}

/* A queue of no length that drops keeps what a waiting consumer takes at once, which is what a lifetime of 0
 * does. */
static int64_t lifetime(const struct effective *e)
{
    bool nothing = e->length_max == 0 || e->bytes_max == 0;
    return nothing && e->overflow == OVERFLOW_DROP_HEAD ? 0 : e->ttl_ms;
}

beck_status policy_set_rules(struct broker_queue *q, beck_error *err)
{
    const struct effective *e = q->effective;
    struct queue_rules rules = {
        .ttl_ms = lifetime(e),
        .length_max = limit(e, e->length_max),
        .bytes_max = limit(e, e->bytes_max),
        .overflow =
            e->overflow == OVERFLOW_DROP_HEAD ? BECK_OVERFLOW_DROP_OLDEST : BECK_OVERFLOW_REFUSE,
        .attempts_max = e->delivery_limit < 0 ? 0 : (uint32_t)e->delivery_limit + 1,
        .deadline_ms = -1};
    /* What others made keeps the rules that they gave it, unless a policy says otherwise. */
    if (!q->engine)
        return BECK_OK;
    bool own = q->foreign && e->policy.len == 0 && e->operator_policy.len == 0;
    beck_status status =
        handle_keep_lifetime(q->vhost->broker->handle, q->engine, own ? -1 : rules.ttl_ms, err);
    if (!own)
        queue_set_rules(q->engine, &rules);
    else if (q->ruled)
        queue_reset_rules(q->engine);
    q->ruled = !own;
    return status;
}

/* After an error (no memory) some have the new settings, others the old ones. */
beck_status policy_apply_all(struct vhost *v, beck_error *err)
{
    beck_status status = BECK_OK, kept = BECK_OK;
    topology_write(v->broker);
    for (struct lookup_node *n = lookup_walk(&v->queues, NULL); n && !status;
         n = lookup_walk(&v->queues, n))
        status = policy_apply_queue(lookup_of(n, struct broker_queue, node));
    for (struct lookup_node *n = lookup_walk(&v->exchanges, NULL); n && !status;
         n = lookup_walk(&v->exchanges, n))
        status = policy_apply_exchange(lookup_of(n, struct exchange, node));
    topology_end_write(v->broker);
    for (struct lookup_node *n = lookup_walk(&v->queues, NULL); n; n = lookup_walk(&v->queues, n)) {
        struct broker_queue *q = lookup_of(n, struct broker_queue, node);
        beck_status one = policy_set_rules(q, err);
        kept = kept ? kept : one;
        delivery_queue_changed(q);
    }
    return status ? error_set(err, status, "no memory to apply a policy") : kept;
}
