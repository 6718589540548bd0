/*
 * A member's way to the target: first it gives up what is not to be its own any more, and confirms
 * that by what it says it has; then it gets what others have given up.
 *
 *   Stable       it has what its epoch stands for
 *   Unrevoked    it has still to give up `revoking`, and stays in its epoch
 *   Unreleased   it is in the epoch of the target, and waits for partitions that others still have
 *
 * A partition has one owner at a time: whose `assigned` or `revoking` it is in.
 */
#include "kafka/group_impl.h"

#include <assert.h>
#include <stdlib.h>

/* ---- owners ---- */

static struct owned_topic *find_owned(const struct group *group, const uint8_t id[16])
{
    struct lookup_node *n =
        lookup_first(&group->owned, lookup_hash(&group->owned, bytes_of(id, 16)));
    while (n && memcmp(lookup_of(n, struct owned_topic, node)->id, id, 16) != 0)
        n = lookup_again(n);
    return n ? lookup_of(n, struct owned_topic, node) : NULL;
}

struct member *consumer_owner(const struct group *group, const struct group_partition *p)
{
    const struct owned_topic *t = find_owned(group, p->topic);
    return t && (uint32_t)p->partition < t->count ? t->owner[p->partition] : NULL;
}

/* Room for the partition; NULL: no memory. */
static struct owned_topic *room_for(struct group *group, const struct group_partition *p)
{
    struct owned_topic *t = find_owned(group, p->topic);
    if (!t) {
        if (lookup_reserve(&group->owned) || !(t = calloc(1, sizeof *t)))
            return NULL;
        memcpy(t->id, p->topic, sizeof t->id);
        lookup_add(&group->owned, &t->node, lookup_hash(&group->owned, bytes_of(t->id, 16)));
    }
    if ((uint32_t)p->partition >= t->count) {
        uint32_t count = (uint32_t)p->partition + 1;
        count = count < 2 * t->count ? 2 * t->count : count;
        struct member **owner = realloc(t->owner, count * sizeof(struct member *));
        if (!owner)
            return NULL;
        memset(owner + t->count, 0, (count - t->count) * sizeof(struct member *));
        t->owner = owner;
        t->count = count;
    }
    return t;
}

static bool reserve_owned(struct group *group, const struct partition_set *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (!room_for(group, &s->at[i]))
            return false;
    return true;
}

static void set_owner(struct member *m, const struct partition_set *s, struct member *owner)
{
    for (size_t i = 0; i < s->count; i++) {
        struct owned_topic *t = find_owned(m->group, s->at[i].topic);
        if (t && (uint32_t)s->at[i].partition < t->count) {
            struct member **at = &t->owner[s->at[i].partition];
            assert(!*at || *at == m);
            *at = owner;
        }
    }
}

bool consumer_own(struct member *m)
{
    if (!reserve_owned(m->group, &m->assigned) || !reserve_owned(m->group, &m->revoking))
        return false;
    set_owner(m, &m->assigned, m);
    set_owner(m, &m->revoking, m);
    return true;
}

void consumer_disown(struct member *m)
{
    set_owner(m, &m->assigned, NULL);
    set_owner(m, &m->revoking, NULL);
}

void group_consumer_free(struct group *group)
{
    for (struct lookup_node *n = lookup_walk(&group->owned, NULL), *next; n; n = next) {
        struct owned_topic *t = lookup_of(n, struct owned_topic, node);
        next = lookup_walk(&group->owned, n);
        lookup_remove(&group->owned, n);
        free(t->owner);
        free(t);
    }
    while (group->regexes)
        consumer_drop_regex(group, &group->regexes);
}

/* ---- revoking ---- */

static void revocation_due(struct deadline *d)
{
    consumer_fence((struct member *)(void *)((char *)d - offsetof(struct member, revocation)));
}

void consumer_await(struct member *m)
{
    struct groups *g = m->group->all;
    m->revocation.due = revocation_due;
    deadline_set(&g->deadlines, &m->revocation,
                 group_now_ns(g) + m->rebalance_timeout_ms * 1000000LL);
}

void consumer_resume_revoking(struct member *m)
{
    if (m->state == MEMBER_UNREVOKED)
        consumer_await(m);
    else
        deadline_clear(&m->group->all->deadlines, &m->revocation);
}

void consumer_stop_revoking(struct member *m)
{
    set_owner(m, &m->revoking, NULL);
    partition_set_release(&m->revoking);
    if (m->state == MEMBER_UNREVOKED)
        m->state = MEMBER_STABLE;
    consumer_resume_revoking(m);
}

/* ---- a step ---- */

struct step {
    struct partition_set keep, revoke, get;
    bool waits; /* something of the target is still somebody's */
};

static bool plan(const struct member *m, struct step *s)
{
    struct partition_set more = {0};
    bool made = !partition_set_both(&m->assigned, &m->target, &s->keep) &&
                !partition_set_without(&m->assigned, &m->target, &s->revoke) &&
                !partition_set_without(&m->target, &s->keep, &more);
    for (size_t i = 0; i < more.count && made; i++) {
        if (consumer_owner(m->group, &more.at[i]))
            s->waits = true;
        else
            made = !partition_set_add(&s->get, more.at[i].topic, more.at[i].partition);
    }
    partition_set_release(&more);
    return made;
}

static void set_epoch(struct member *m, int32_t epoch)
{
    m->previous_epoch = m->epoch;
    m->epoch = epoch;
}

/* Swaps the new sets in; false: no memory, and nothing has changed. */
static bool take(struct member *m, struct step *s, const struct partition_set *owned)
{
    bool revokes = s->revoke.count > 0 && (!owned || partition_set_meets(&s->revoke, owned));
    struct partition_set none = {0};
    for (size_t i = 0; !revokes && i < s->get.count; i++) {
        if (partition_set_add(&s->keep, s->get.at[i].topic, s->get.at[i].partition))
            return false;
        s->keep.at[s->keep.count - 1].epoch = m->group->target_epoch;
    }
    partition_set_sort(&s->keep);
    if (!reserve_owned(m->group, &s->keep))
        return false;
    consumer_disown(m);
    partition_set_release(&m->assigned);
    partition_set_release(&m->revoking);
    m->assigned = s->keep;
    s->keep = none;
    if (revokes) {
        m->revoking = s->revoke;
        s->revoke = none;
        m->state = MEMBER_UNREVOKED;
    } else {
        m->state = s->waits ? MEMBER_UNRELEASED : MEMBER_STABLE;
        set_epoch(m, m->group->target_epoch);
    }
    return consumer_own(m);
}

bool consumer_is_reconciled(const struct member *m)
{
    return m->state == MEMBER_STABLE && m->epoch == m->group->target_epoch;
}

bool consumer_reconcile(struct member *m, const struct partition_set *owned, bool *changed)
{
    struct step s = {0};
    struct partition_set before = {0};
    *changed = false;
    if (consumer_is_reconciled(m))
        return true;
    /* Not before it has given up what it is to give up. */
    if (m->state == MEMBER_UNREVOKED && (!owned || partition_set_meets(&m->revoking, owned)))
        return true;
    enum member_state state = m->state;
    int32_t epoch = m->epoch;
    bool made = !partition_set_copy(&before, &m->assigned) && plan(m, &s) && take(m, &s, owned);
    if (made) {
        *changed = !partition_set_equal(&before, &m->assigned);
        if (*changed || state != m->state || epoch != m->epoch) {
            group_put_current(m);
            consumer_resume_revoking(m);
        }
    }
    partition_set_release(&before);
    partition_set_release(&s.keep);
    partition_set_release(&s.revoke);
    partition_set_release(&s.get);
    return made;
}
