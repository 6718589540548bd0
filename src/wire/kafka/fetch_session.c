/* Sessions of consumers: see fetch_session.h. */
#include "wire/kafka/fetch_session.h"

#include "base/rng.h"

#include <assert.h>
#include <stdlib.h>

struct fetch_sessions {
    struct mutex lock;
    struct rng rng;
    struct fetch_session *newest, *oldest;
    size_t count;
    _Atomic(size_t) parts; /* of all */
};

struct fetch_sessions *fetch_sessions_new(void)
{
    struct fetch_sessions *all = calloc(1, sizeof *all);
    if (!all)
        return NULL;
    mutex_init(&all->lock);
    rng_seed_system(&all->rng);
    return all;
}

static void free_session(struct fetch_sessions *all, struct fetch_session *s)
{
    atomic_fetch_sub(&all->parts, s->count);
    for (size_t i = 0; i < s->count; i++)
        free(s->parts[i].name);
    free(s->parts);
    free(s->index);
    free(s);
}

void fetch_sessions_free(struct fetch_sessions *all)
{
    if (!all)
        return;
    while (all->newest) {
        struct fetch_session *s = all->newest;
        all->newest = s->older;
        free_session(all, s);
    }
    mutex_release(&all->lock);
    free(all);
}

/* ---- the list, with the lock ---- */

static void unlink_session(struct fetch_sessions *all, struct fetch_session *s)
{
    *(s->newer ? &s->newer->older : &all->newest) = s->older;
    *(s->older ? &s->older->newer : &all->oldest) = s->newer;
    s->newer = s->older = NULL;
}

static void link_newest(struct fetch_sessions *all, struct fetch_session *s)
{
    s->older = all->newest;
    *(all->newest ? &all->newest->newer : &all->oldest) = s;
    all->newest = s;
}

static struct fetch_session *find(const struct fetch_sessions *all, int32_t id)
{
    struct fetch_session *s = all->newest;
    while (s && s->id != id)
        s = s->older;
    return s;
}

/* Out of the list; whoever has taken it frees it. */
static void remove_session(struct fetch_sessions *all, struct fetch_session *s)
{
    unlink_session(all, s);
    all->count--;
    s->dropped = true;
    if (!s->taken)
        free_session(all, s);
}

static bool make_room(struct fetch_sessions *all, size_t parts, int64_t now_ns)
{
    while (all->count >= SESSIONS_MAX ||
           atomic_load(&all->parts) + parts > SESSION_PARTITIONS_MAX) {
        struct fetch_session *s = all->oldest;
        while (s && s->taken)
            s = s->newer;
        if (!s || now_ns - s->used_ns < SESSION_IDLE_NS)
            return false;
        remove_session(all, s);
    }
    return true;
}

struct fetch_session *fetch_session_make(struct fetch_sessions *all, bool by_id, size_t parts,
                                         int64_t now_ns)
{
    struct fetch_session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    mutex_lock(&all->lock);
    if (!make_room(all, parts, now_ns)) {
        mutex_unlock(&all->lock);
        free(s);
        return NULL;
    }
    do
        s->id = (int32_t)(rng_next(&all->rng) & INT32_MAX);
    while (s->id == 0 || find(all, s->id));
    s->epoch = 1;
    s->seed = rng_next(&all->rng);
    s->by_id = by_id;
    s->taken = true;
    s->used_ns = now_ns;
    link_newest(all, s);
    all->count++;
    mutex_unlock(&all->lock);
    return s;
}

int fetch_session_take(struct fetch_sessions *all, int32_t id, int32_t epoch, bool by_id,
                       struct fetch_session **out)
{
    int code = KAFKA_NONE;
    mutex_lock(&all->lock);
    struct fetch_session *s = find(all, id);
    if (!s)
        code = KAFKA_FETCH_SESSION_ID_NOT_FOUND;
    else if (s->taken || s->epoch != epoch)
        code = KAFKA_INVALID_FETCH_SESSION_EPOCH;
    else if (s->by_id != by_id)
        code = KAFKA_FETCH_SESSION_TOPIC_ID_ERROR;
    if (!code) {
        s->taken = true;
        s->epoch = epoch == INT32_MAX ? 1 : epoch + 1;
        *out = s;
    }
    mutex_unlock(&all->lock);
    return code;
}

void fetch_session_give(struct fetch_sessions *all, struct fetch_session *s, int64_t now_ns)
{
    mutex_lock(&all->lock);
    assert(s->taken);
    s->taken = false;
    s->used_ns = now_ns;
    if (s->dropped) {
        free_session(all, s);
    } else {
        unlink_session(all, s);
        link_newest(all, s);
    }
    mutex_unlock(&all->lock);
}

void fetch_session_drop(struct fetch_sessions *all, int32_t id)
{
    mutex_lock(&all->lock);
    struct fetch_session *s = find(all, id);
    if (s)
        remove_session(all, s);
    mutex_unlock(&all->lock);
}

/* ---- parts ---- */

/* Where it stands in the index, or a free place. */
static size_t place_of(const struct fetch_session *s, beck_bytes name, const uint8_t *id,
                       int32_t partition)
{
    beck_bytes key = s->by_id ? bytes_of(id, TOPIC_ID) : name;
    uint64_t hash = bytes_hash(key.data, key.len, s->seed);
    size_t at = (size_t)(hash + (uint64_t)partition * 0x9e3779b97f4a7c15u) % s->index_size;
    for (; s->index[at] > 0; at = (at + 1) % s->index_size) {
        const struct fetch_part *p = &s->parts[s->index[at] - 1];
        bool same = s->by_id ? memcmp(p->id, id, TOPIC_ID) == 0 : bytes_equal_text(name, p->name);
        if (same && p->partition == partition)
            break;
    }
    return at;
}

static beck_bytes name_of(const struct fetch_part *p)
{
    return p->name ? beck_str(p->name) : (beck_bytes){0};
}

static void fill_index(struct fetch_session *s)
{
    memset(s->index, 0, s->index_size * sizeof *s->index);
    for (size_t i = 0; i < s->count; i++) {
        const struct fetch_part *p = &s->parts[i];
        s->index[place_of(s, name_of(p), p->id, p->partition)] = (uint32_t)i + 1;
    }
}

static bool grow(struct fetch_session *s)
{
    size_t cap = s->cap > 0 ? 2 * s->cap : 16;
    struct fetch_part *parts = realloc(s->parts, cap * sizeof *parts);
    if (parts)
        s->parts = parts;
    uint32_t *index = calloc(2 * cap, sizeof *index);
    if (!parts || !index) {
        free(index);
        return false;
    }
    free(s->index);
    s->index = index;
    s->index_size = 2 * cap;
    s->cap = cap;
    fill_index(s);
    return true;
}

struct fetch_part *fetch_session_find(const struct fetch_session *s, beck_bytes name,
                                      const uint8_t *id, int32_t partition)
{
    if (s->count == 0)
        return NULL;
    uint32_t found = s->index[place_of(s, name, id, partition)];
    return found > 0 ? &s->parts[found - 1] : NULL;
}

struct fetch_part *fetch_session_add(struct fetch_sessions *all, struct fetch_session *s,
                                     beck_bytes name, const uint8_t *id, int32_t partition)
{
    /* Each partition has a copy of the name: one that no topic can have takes no memory. */
    if (!s->by_id &&
        (name.len > TOPIC_NAME_MAX || (name.len > 0 && memchr(name.data, 0, name.len))))
        return NULL;
    if (atomic_load(&all->parts) >= SESSION_PARTITIONS_MAX || (s->count == s->cap && !grow(s)))
        return NULL;
    char *copy = s->by_id ? NULL : strndup(name.len > 0 ? name.data : "", name.len);
    if (!s->by_id && !copy)
        return NULL;
    size_t place = place_of(s, name, id, partition);
    struct fetch_part *p = &s->parts[s->count++];
    s->index[place] = (uint32_t)s->count;
    *p = (struct fetch_part){.name = copy, .partition = partition};
    memcpy(p->id, id, TOPIC_ID);
    atomic_fetch_add(&all->parts, 1);
    return p;
}

void fetch_session_forget(struct fetch_sessions *all, struct fetch_session *s)
{
    size_t kept = 0, before = s->count, next = s->next;
    for (size_t i = 0; i < before; i++) {
        if (!s->parts[i].forgotten) {
            s->parts[kept++] = s->parts[i];
            continue;
        }
        free(s->parts[i].name);
        if (i < s->next)
            next--;
    }
    s->next = next;
    s->count = kept;
    if (kept < before)
        fill_index(s);
    atomic_fetch_sub(&all->parts, before - kept);
}
