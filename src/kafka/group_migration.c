/*
 * KIP-848's online migration. A member of the new protocol that joins a group of classic consumers
 * makes it a group of KIP-848 in which the others go on as classic members (group_mixed.c): epochs go on
 * from the generation, and what the leader assigned last is both what each has and its target. When the
 * last member of the new protocol is gone, it becomes a classic group again, of which each member has
 * what it had, and which is rebalanced: it has no leader until then, by which that is known after a
 * restart, too.
 *
 * Both ways are one round of the log: the records of the one type go, those of the other come.
 */
#include "kafka/group_log.h"

#include <stdlib.h>

/* ---- from classic on ---- */

/* Of these assignors nothing is lost with the user data of an assignment. */
static bool is_known_assignor(beck_bytes name)
{
    static const char *const known[] = {"range", "roundrobin", "sticky", "cooperative-sticky"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (bytes_equal_text(name, known[i]))
            return true;
    return false;
}

/* What is there, and nobody else has. False: no memory. */
static bool add_partitions(struct member *m, beck_bytes name, const struct kafka_int32s *partitions)
{
    const struct group_topics *topics = &m->group->all->topics;
    struct group_topic topic;
    if (!topics->find(topics->ctx, name, &topic))
        return true;
    for (size_t p = 0; p < partitions->count; p++) {
        struct group_partition at = {.partition = partitions->at[p]};
        memcpy(at.topic, topic.id, sizeof at.topic);
        if (at.partition >= 0 && (uint32_t)at.partition < topic.partitions &&
            !consumer_owner(m->group, &at) &&
            partition_set_add(&m->assigned, at.topic, at.partition))
            return false;
    }
    return true;
}

static bool own(struct member *m)
{
    partition_set_sort(&m->assigned);
    return consumer_own(m);
}

/* What the leader gave it last. */
static int read_assigned(struct member *m, struct kafka_arena *arena)
{
    const struct kafka_table *table = kafka_consumer_protocol_assignment_table();
    struct kafka_consumer_protocol_assignment given;
    bool made = true;
    if (m->assignment.len == 0)
        return KAFKA_NONE; /* it has not synced yet */
    int16_t version = m->assignment.len < 2 ? -1 : (int16_t)get_u16(m->assignment.data);
    beck_bytes bytes = bytes_of((const uint8_t *)m->assignment.data + 2, m->assignment.len - 2);
    if (version < 0 || kafka_decode(table, version > table->last ? table->last : version, bytes,
                                    arena, &given, NULL, NULL))
        return KAFKA_GROUP_ID_NOT_FOUND;
    if (given.user_data.len > 0 && !is_known_assignor(m->group->protocol))
        return KAFKA_GROUP_ID_NOT_FOUND;
    for (size_t i = 0; made && i < given.assigned_partitions.count; i++)
        made = add_partitions(m, given.assigned_partitions.at[i].topic,
                              &given.assigned_partitions.at[i].partitions);
    return made && own(m) ? KAFKA_NONE : KAFKA_COORDINATOR_NOT_AVAILABLE;
}

/* What KIP-848 has to know of a classic consumer. */
static int read_member(struct member *m, struct kafka_arena *arena)
{
    struct kafka_consumer_protocol_subscription said;
    if (!classic_read_subscription(m->protocols[0].metadata, arena, &said))
        return KAFKA_GROUP_ID_NOT_FOUND;
    if (consumer_set_topics(m, &said.topics) < 0 || !group_text_set(&m->rack, said.rack_id))
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    return read_assigned(m, arena);
}

/* A cooperative member keeps what it said it had when it joined, until it joins again: also what the
 * leader has taken from it, and what it was not told yet. */
static int read_kept(struct member *m, struct kafka_arena *arena)
{
    struct kafka_consumer_protocol_subscription said;
    bool made = classic_read_subscription(m->protocols[0].metadata, arena, &said);
    for (size_t i = 0; made && i < said.owned_partitions.count; i++)
        made = add_partitions(m, said.owned_partitions.at[i].topic,
                              &said.owned_partitions.at[i].partitions);
    return made && own(m) && !partition_set_copy(&m->target, &m->assigned)
               ? KAFKA_NONE
               : KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static void forget_consumer(struct member *m)
{
    partition_set_release(&m->assigned);
    partition_set_release(&m->revoking);
    partition_set_release(&m->target);
    group_text_free(&m->rack);
    consumer_set_topics(m, &(struct kafka_strings){0});
}

static int read_with(struct group *group, int (*read)(struct member *m, struct kafka_arena *arena))
{
    int error = KAFKA_NONE;
    for (struct member *m = group->first; m && !error; m = m->next) {
        struct kafka_arena arena;
        kafka_arena_init(&arena, REPLY_BYTES_MAX);
        error = read(m, &arena);
        kafka_arena_release(&arena);
    }
    return error;
}

static int read_members(struct group *group)
{
    int error = read_with(group, read_member);
    if (!error)
        error = read_with(group, read_kept);
    if (!error)
        return error;
    group_consumer_free(group);
    for (struct member *m = group->first; m; m = m->next)
        forget_consumer(m);
    return error;
}

/* Those that wait join again; those without an id are not known any more. */
static void dismiss(struct group *group)
{
    for (struct lookup_node *n = lookup_walk(&group->members, NULL), *next; n; n = next) {
        struct member *m = lookup_of(n, struct member, node);
        next = lookup_walk(&group->members, n);
        bool known = !m->pending && !(m->is_new && m->nameless);
        classic_forget_join(m, known ? KAFKA_REBALANCE_IN_PROGRESS : KAFKA_UNKNOWN_MEMBER_ID);
        classic_forget_sync(m, KAFKA_REBALANCE_IN_PROGRESS);
        classic_synced(m);
        m->is_new = m->nameless = false;
        if (!known) {
            member_remove(m);
            member_free(m);
        }
    }
}

int classic_upgrade(struct group *group)
{
    int32_t generation = group->generation;
    if (group->count > 0 && !bytes_equal_text(group->protocol_type, "consumer"))
        return KAFKA_GROUP_ID_NOT_FOUND;
    if (group->count >= group->all->settings.members_max)
        return KAFKA_GROUP_MAX_SIZE_REACHED;
    group_put_whole_if_behind(group);
    int error = read_members(group);
    if (error)
        return error;
    dismiss(group);
    classic_become_consumer(group);
    if (group->count == 0)
        return KAFKA_NONE;
    group->leader = NULL;
    group->epoch = group->target_epoch = generation;
    for (struct member *m = group->first; m; m = m->next) {
        m->epoch = m->previous_epoch = m->epoch > 0 ? m->epoch : generation;
        m->state = MEMBER_STABLE;
        for (size_t i = 0; i < m->assigned.count; i++)
            m->assigned.at[i].epoch = m->epoch;
        group_text_free(&m->assignment);
    }
    group_put_consumer(group);
    consumer_start(group);
    return KAFKA_NONE;
}

/* ---- and back ---- */

static bool all_are_classic(const struct group *group)
{
    for (const struct member *m = group->first; m; m = m->next)
        if (!m->classic)
            return false;
    return group->count > 0;
}

/* Of what it has, also where it was told to give it up. False: no memory. */
static bool make_assignment(struct member *m)
{
    struct partition_set all = {0};
    bool made = !partition_set_copy(&all, &m->assigned);
    for (size_t i = 0; made && i < m->revoking.count; i++)
        made = !partition_set_add(&all, m->revoking.at[i].topic, m->revoking.at[i].partition);
    partition_set_sort(&all);
    group_text_free(&m->assignment);
    if (made)
        m->assignment = mixed_assignment(m, &all);
    partition_set_release(&all);
    return m->assignment.data != NULL;
}

static bool make_assignments(struct group *group)
{
    for (struct member *m = group->first; m; m = m->next)
        if (!make_assignment(m))
            return false;
    return true;
}

bool consumer_downgrade(struct group *group)
{
    if (!all_are_classic(group) || !make_assignments(group) ||
        !group_text_set(&group->protocol_type, beck_str("consumer")) ||
        !group_text_set(&group->protocol, classic_choose(group)) || !group->protocol.data)
        return false;
    for (struct member *m = group->first; m; m = m->next)
        group_put_member_gone(m);
    int32_t generation = group->epoch;
    consumer_become_classic(group);
    group->generation = generation;
    group->leader = NULL;
    for (struct member *m = group->first; m; m = m->next) {
        deadline_clear(&group->all->deadlines, &m->revocation);
        forget_consumer(m);
        m->state = MEMBER_STABLE;
        classic_touch(m);
    }
    classic_set_state(group, GROUP_STABLE);
    group_put_classic(group);
    return true;
}
