/*
 * The target of a group: who is to have which partition, by the assignor that most members ask for.
 *
 * Topics are in order of their ids and members in order of their instance or member ids, so that the
 * same group gets the same target.
 */
#include "kafka/group_log.h"

#include "kafka/assignor.h"

#include <stdlib.h>

/* A topic that somebody subscribes to. */
struct subject {
    struct lookup_node node; /* by name */
    struct group_topic topic;
    uint32_t index; /* in order of ids */
};

struct picture {
    struct kafka_arena arena;
    struct lookup by_name;
    struct subject **subjects; /* in order of ids */
    size_t subject_count;
    struct member **list;
    struct assign_topic *topics;
    struct assign_member *members;
    uint32_t partition_count;
    bool failed;
};

/* ---- what is subscribed to ---- */

static struct subject *find_subject(const struct picture *p, beck_bytes name)
{
    struct lookup_node *n = lookup_first(&p->by_name, lookup_hash(&p->by_name, name));
    while (n && !bytes_equal(lookup_of(n, struct subject, node)->topic.name, name))
        n = lookup_again(n);
    return n ? lookup_of(n, struct subject, node) : NULL;
}

static void add_subject(struct picture *p, const struct groups *g, beck_bytes name)
{
    struct group_topic topic;
    if (find_subject(p, name) || !g->topics.find(g->topics.ctx, name, &topic))
        return;
    struct subject *s = kafka_alloc(&p->arena, sizeof *s);
    if (!s || lookup_reserve(&p->by_name)) {
        p->failed = true;
        return;
    }
    s->topic = topic;
    lookup_add(&p->by_name, &s->node, lookup_hash(&p->by_name, topic.name));
}

static int compare_ids(const void *a, const void *b)
{
    const struct subject *const *x = a, *const *y = b;
    return memcmp((*x)->topic.id, (*y)->topic.id, sizeof(*x)->topic.id);
}

static void collect_subjects(struct picture *p, const struct group *group)
{
    for (const struct member *m = group->first; m; m = m->next)
        for (size_t i = 0; i < m->topic_count; i++)
            add_subject(p, group->all, m->topics[i]);
    for (const struct group_regex *r = group->regexes; r; r = r->next)
        for (size_t i = 0; i < r->topic_count; i++)
            add_subject(p, group->all, r->topics[i]);
    size_t n = 0;
    p->subject_count = p->by_name.count;
    p->subjects = kafka_alloc_many(&p->arena, p->subject_count, sizeof(struct subject *));
    p->topics = kafka_alloc_many(&p->arena, p->subject_count, sizeof *p->topics);
    p->failed = p->failed || !p->subjects || !p->topics;
    if (p->failed)
        return;
    for (struct lookup_node *node = NULL; (node = lookup_walk(&p->by_name, node));)
        p->subjects[n++] = lookup_of(node, struct subject, node);
    qsort(p->subjects, n, sizeof(struct subject *), compare_ids);
    for (uint32_t i = 0; i < n; i++) {
        p->subjects[i]->index = i;
        p->topics[i] = (struct assign_topic){p->subjects[i]->topic.partitions, p->partition_count};
        p->partition_count += p->topics[i].partitions;
    }
}

static int64_t hash_subjects(const struct picture *p)
{
    uint64_t hash = 1;
    for (size_t i = 0; i < p->subject_count; i++) {
        const struct group_topic *t = &p->subjects[i]->topic;
        hash = bytes_hash(t->id, sizeof t->id, hash);
        hash = bytes_hash(&t->partitions, sizeof t->partitions, hash);
    }
    return (int64_t)hash;
}

static void picture_init(struct picture *p, const struct group *group)
{
    *p = (struct picture){0};
    kafka_arena_init(&p->arena, REPLY_BYTES_MAX);
    lookup_init(&p->by_name);
    collect_subjects(p, group);
}

static void picture_release(struct picture *p)
{
    lookup_release(&p->by_name);
    kafka_arena_release(&p->arena);
}

bool consumer_look_at_topics(struct group *group, const struct group_client *client)
{
    struct groups *g = group->all;
    uint64_t generation = g->topics.generation(g->topics.ctx);
    bool others = false; /* some expression stands for them */
    struct picture p;
    for (struct group_regex *r = group->regexes; r; r = r->next) {
        if (bytes_equal(r->user, client->user) && consumer_match_regex(group, r, client)) {
            group_put_regex(group, r);
            others = true;
        }
    }
    if (generation == group->topics_generation && !others)
        return false;
    picture_init(&p, group);
    int64_t hash = hash_subjects(&p);
    bool changed = others || (!p.failed && hash != group->metadata_hash);
    if (!p.failed) {
        group->topics_generation = generation;
        group->metadata_hash = hash;
    }
    picture_release(&p);
    return changed;
}

/* ---- who may have what ---- */

static int compare_members(const void *a, const void *b)
{
    const struct member *const *x = a, *const *y = b;
    beck_bytes i = (*x)->instance_id.data ? (*x)->instance_id : (*x)->id;
    beck_bytes k = (*y)->instance_id.data ? (*y)->instance_id : (*y)->id;
    return bytes_compare(i, k);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static size_t add_topics(const struct picture *p, const beck_bytes *names, size_t count,
                         uint32_t *out, size_t n)
{
    for (size_t i = 0; i < count; i++) {
        const struct subject *s = find_subject(p, names[i]);
        if (s)
            out[n++] = s->index;
    }
    return n;
}

static bool list_topics(struct picture *p, const struct member *m, struct assign_member *out)
{
    const struct group_regex *r =
        m->regex_text.data ? consumer_regex(m->group, m->regex_text, m->user) : NULL;
    size_t room = m->topic_count + (r ? r->topic_count : 0), n = 0, kept = 0;
    uint32_t *topics = kafka_alloc_many(&p->arena, room, sizeof *topics);
    if (!topics)
        return false;
    n = add_topics(p, m->topics, m->topic_count, topics, n);
    if (r)
        n = add_topics(p, r->topics, r->topic_count, topics, n);
    qsort(topics, n, sizeof *topics, compare_numbers);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || topics[kept - 1] != topics[i])
            topics[kept++] = topics[i];
    *out = (struct assign_member){topics, kept};
    return true;
}

static bool collect_members(struct picture *p, const struct group *group)
{
    size_t n = 0;
    p->list = kafka_alloc_many(&p->arena, group->count, sizeof(struct member *));
    p->members = kafka_alloc_many(&p->arena, group->count, sizeof *p->members);
    if (p->failed || !p->list || !p->members)
        return false;
    for (struct member *m = group->first; m; m = m->next)
        p->list[n++] = m;
    qsort(p->list, n, sizeof(struct member *), compare_members);
    for (size_t i = 0; i < n; i++)
        if (!list_topics(p, p->list[i], &p->members[i]))
            return false;
    return true;
}

/* ---- the last target, and the next ---- */

static const struct subject *subject_of(const struct picture *p, const uint8_t id[16])
{
    struct subject key = {0}, *at = &key;
    memcpy(key.topic.id, id, sizeof key.topic.id);
    struct subject **found =
        bsearch(&at, p->subjects, p->subject_count, sizeof(struct subject *), compare_ids);
    return found ? *found : NULL;
}

/* changed: whose target has partitions that are not there any more. */
static void note_last(const struct picture *p, size_t member_count, int32_t *owner, bool *changed)
{
    for (uint32_t i = 0; i < p->partition_count; i++)
        owner[i] = -1;
    for (size_t m = 0; m < member_count; m++) {
        const struct partition_set *set = &p->list[m]->target;
        for (size_t i = 0, run; i < set->count; i += run) {
            const struct subject *s = subject_of(p, set->at[i].topic);
            run = partition_set_run(set, i);
            for (size_t k = i; k < i + run; k++) {
                if (s && (uint32_t)set->at[k].partition < s->topic.partitions)
                    owner[p->topics[s->index].first + (uint32_t)set->at[k].partition] = (int32_t)m;
                else
                    changed[m] = true;
            }
        }
    }
}

static void note_changed(const struct picture *p, const int32_t *before, const int32_t *owner,
                         bool *changed)
{
    for (uint32_t i = 0; i < p->partition_count; i++) {
        if (before[i] == owner[i])
            continue;
        if (before[i] >= 0)
            changed[before[i]] = true;
        if (owner[i] >= 0)
            changed[owner[i]] = true;
    }
}

static bool make_sets(const struct picture *p, const int32_t *owner, const bool *changed,
                      struct partition_set *sets)
{
    for (size_t t = 0; t < p->subject_count; t++) {
        for (uint32_t i = 0; i < p->topics[t].partitions; i++) {
            int32_t who = owner[p->topics[t].first + i];
            if (who >= 0 && changed[who] &&
                partition_set_add(&sets[who], p->subjects[t]->topic.id, (int32_t)i))
                return false;
        }
    }
    return true;
}

static void put_targets(struct picture *p, struct group *group, const bool *changed,
                        struct partition_set *sets)
{
    for (size_t i = 0; i < group->count; i++) {
        struct member *m = p->list[i];
        if (!changed[i])
            continue;
        struct partition_set old = m->target;
        m->target = sets[i];
        sets[i] = old;
        group_put_target(m);
    }
    group->target_epoch = group->epoch;
    group_put_target_epoch(group);
}

beck_bytes consumer_assignor(const struct group *group)
{
    size_t uniform = 0, range = 0;
    for (const struct member *m = group->first; m; m = m->next) {
        uniform += m->assignor.data && bytes_equal_text(m->assignor, "uniform");
        range += m->assignor.data && bytes_equal_text(m->assignor, "range");
    }
    return beck_str(range > uniform ? "range" : ASSIGNOR_DEFAULT);
}

bool consumer_make_target(struct group *group)
{
    struct picture p;
    size_t count = group->count;
    picture_init(&p, group);
    bool made = collect_members(&p, group);
    int32_t *owner = kafka_alloc_many(&p.arena, p.partition_count, sizeof *owner);
    int32_t *before = kafka_alloc_many(&p.arena, p.partition_count, sizeof *before);
    bool *changed = kafka_alloc_many(&p.arena, count, sizeof *changed);
    struct partition_set *sets = kafka_alloc_many(&p.arena, count, sizeof *sets);
    made = made && owner && before && changed && sets;
    if (made) {
        note_last(&p, count, owner, changed);
        memcpy(before, owner, p.partition_count * sizeof *owner);
        struct assignment a = {p.topics, p.subject_count,   p.members,
                               count,    p.partition_count, owner};
        made = !assignor_find(consumer_assignor(group))(&a);
        note_changed(&p, before, owner, changed);
        made = made && make_sets(&p, owner, changed, sets);
    }
    if (made) {
        group->metadata_hash = hash_subjects(&p);
        put_targets(&p, group, changed, sets);
    }
    for (size_t i = 0; sets && i < count; i++)
        partition_set_release(&sets[i]);
    picture_release(&p);
    return made;
}
