/* Share groups on the simulated disk and a virtual clock, and short words for what members do. */
#ifndef TESTS_KAFKA_SHARE_WORLD_H
#define TESTS_KAFKA_SHARE_WORLD_H

#include "kafka/kafka_impl.h"
#include "kafka/share.h"
#include "queue/world.h"

struct share_world {
    struct world w;
    struct kafka *k;
};

static inline void share_begin(struct share_world *s)
{
    struct kafka_settings settings = {.partitions = 1,
                                      .node_id = 1,
                                      .acks_one = BECK_LEVEL_WRITTEN,
                                      .acks_all = BECK_LEVEL_SYNCED};
    check_ok(kafka_open(s->w.b, &settings, &s->k, err));
}

static inline void share_start(struct share_world *s, uint64_t seed)
{
    world_start(&s->w, seed);
    share_begin(s);
}

static inline void share_end(struct share_world *s)
{
    kafka_close(s->k);
    world_end(&s->w);
}

static inline void share_reopen(struct share_world *s)
{
    kafka_close(s->k);
    world_reopen(&s->w);
    share_begin(s);
}

/* The process ends without a word. */
static inline void share_kill(struct share_world *s)
{
    vfs_sim_kill(s->w.vfs);
    kafka_close(s->k);
    beck_abandon(s->w.b);
    world_open(&s->w);
    share_begin(s);
}

/* The power goes. */
static inline void share_crash(struct share_world *s)
{
    vfs_sim_crash(s->w.vfs);
    kafka_close(s->k);
    beck_abandon(s->w.b);
    world_open(&s->w);
    share_begin(s);
}

struct waiting {
    struct share_sync sync;
    struct mutex lock;
    struct cond changed;
    bool done, good;
};

static inline void note_synced(struct share_sync *s, bool good)
{
    struct waiting *w = (struct waiting *)(void *)s;
    mutex_lock(&w->lock);
    w->done = true;
    w->good = good;
    cond_broadcast(&w->changed);
    mutex_unlock(&w->lock);
}

static inline void share_wait_synced(struct share_world *s)
{
    struct waiting w = {.sync.done = note_synced};
    mutex_init(&w.lock);
    cond_init(&w.changed);
    share_sync(s->k, &w.sync);
    mutex_lock(&w.lock);
    while (!w.done)
        cond_wait(&w.changed, &w.lock);
    assert_true(w.good);
    mutex_unlock(&w.lock);
    mutex_release(&w.lock);
    cond_release(&w.changed);
}

static inline struct topic *share_topic(struct share_world *s, const char *name)
{
    struct topic *t = topics_find(s->k, beck_str(name));
    assert_non_null(t);
    return t;
}

static inline beck_bus *make_topic(struct share_world *s, const char *name, uint32_t partitions)
{
    return world_bus(&s->w, name, &(beck_bus_options){.partitions = partitions});
}

/* As one batch. */
static inline void put_records(beck_bus *bus, int partition, size_t count)
{
    beck_event events[100];
    beck_publish_options o = {.partition_plus_1 = partition + 1};
    assert_true(count <= 100);
    for (size_t i = 0; i < count; i++)
        events[i] = (beck_event){.type = beck_str("t"), .data = beck_str("0123456789")};
    check_ok(beck_publish_many(bus, events, count, &o, NULL, err));
}

static inline void group_config(struct share_world *s, const char *group, const char *name,
                                const char *value)
{
    char text[KAFKA_TEXT] = "";
    struct config_change change = {beck_str(name), CONFIG_SET, beck_str(value)};
    if (configs_alter(s->k, CONFIG_GROUP, beck_str(group), &change, 1, false, false, text))
        fail_msg("%s", text);
}

/* ---- members ---- */

struct beat {
    int error;
    int32_t epoch;
    bool assigned;
    size_t topics, partitions; /* in all */
};

/* topics: NULL: as before. */
static inline struct beat beat_at(struct share_world *s, const char *group, const char *member,
                                  int32_t epoch, const char *topic, const char *second)
{
    struct kafka_arena arena;
    beck_bytes names[2] = {beck_str(topic ? topic : ""), beck_str(second ? second : "")};
    struct kafka_share_group_heartbeat_request r;
    struct kafka_share_group_heartbeat_response a;
    kafka_share_group_heartbeat_request_init(&r);
    kafka_share_group_heartbeat_response_init(&a);
    kafka_arena_init(&arena, 1 << 20);
    r.group_id = beck_str(group);
    r.member_id = beck_str(member);
    r.member_epoch = epoch;
    r.subscribed_topic_names.is_null = !topic;
    r.subscribed_topic_names.at = topic ? names : NULL;
    r.subscribed_topic_names.count = topic ? second ? 2 : 1 : 0;
    struct share_client client = {beck_str("client"), beck_str("/127.0.0.1")};
    share_heartbeat(s->k, &r, &client, &arena, &a);
    struct beat b = {a.error_code, a.member_epoch, a.assignment != NULL, 0, 0};
    for (size_t i = 0; a.assignment && i < a.assignment->topic_partitions.count; i++) {
        b.topics++;
        b.partitions += a.assignment->topic_partitions.at[i].partitions.count;
    }
    kafka_arena_release(&arena);
    return b;
}

/* Joins group "g". */
static inline void join(struct share_world *s, const char *member, const char *topic)
{
    struct beat b = beat_at(s, "g", member, 0, topic, NULL);
    assert_int_equal(b.error, 0);
}

/* ---- fetching ---- */

#define GOT_MAX 512

struct got {
    int error;
    size_t count;
    struct {
        int32_t partition;
        int64_t first, last;
        int times;
    } list[GOT_MAX];
    int partition_errors, answer_error; /* the last of each */
    size_t bytes, batches;
};

struct fetching {
    struct share_fetch f;
    struct kafka_arena arena;
    struct kafka_share_fetch_request r;
    struct kafka_share_fetch_response a;
    struct kafka_share_fetch_request_topic topic;
    struct kafka_share_fetch_request_partition partitions[16];
    struct kafka_share_fetch_request_acknowledgement_batche batches[16][64];
    struct mutex lock;
    struct cond changed;
    int again;
};

static inline bool may_all(struct share_fetch *f, const struct topic *t)
{
    (void)f;
    (void)t;
    return true;
}

static inline void note_again(struct share_fetch *f)
{
    struct fetching *g = (struct fetching *)(void *)f;
    mutex_lock(&g->lock);
    g->again++;
    cond_signal(&g->changed);
    mutex_unlock(&g->lock);
}

/* A fetch of group "g" from all partitions of a topic. */
static inline void fetching_init(struct share_world *s, struct fetching *g, const char *member,
                                 int32_t epoch, const char *topic, int32_t max_records)
{
    memset(g, 0, sizeof *g);
    mutex_init(&g->lock);
    cond_init(&g->changed);
    kafka_arena_init(&g->arena, 64 << 20);
    kafka_share_fetch_request_init(&g->r);
    kafka_share_fetch_response_init(&g->a);
    struct topic *t = topics_find(s->k, beck_str(topic));
    g->r.group_id = beck_str("g");
    g->r.member_id = beck_str(member);
    g->r.share_session_epoch = epoch;
    g->r.max_records = max_records;
    g->r.share_acquire_mode = 1;
    g->r.topics.at = &g->topic;
    g->r.topics.count = t ? 1 : 0;
    g->topic.partitions.at = g->partitions;
    if (t) {
        memcpy(g->topic.topic_id, t->id, TOPIC_ID);
        g->topic.partitions.count = topic_partitions(t);
    }
    for (int32_t i = 0; i < (int32_t)g->topic.partitions.count; i++)
        g->partitions[i].partition_index = i;
    g->f = (struct share_fetch){.k = s->k,
                                .request = &g->r,
                                .version = 2,
                                .arena = &g->arena,
                                .response = &g->a,
                                .may = may_all,
                                .again = note_again};
}

static inline void fetching_release(struct fetching *g)
{
    kafka_arena_release(&g->arena);
    mutex_release(&g->lock);
    cond_release(&g->changed);
}

/* An answer that goes with the fetch; `types` is one for all, or one for each. */
static inline void fetching_answer(struct fetching *g, int partition, int64_t first, int64_t last,
                                   int8_t *types, size_t count)
{
    struct kafka_share_fetch_request_partition *p = &g->partitions[partition];
    struct kafka_share_fetch_request_acknowledgement_batche *b =
        &g->batches[partition][p->acknowledgement_batches.count++];
    p->acknowledgement_batches.at = g->batches[partition];
    b->first_offset = first;
    b->last_offset = last;
    b->acknowledge_types.at = types;
    b->acknowledge_types.count = count;
}

static inline void read_batches(const struct kafka_records *r, struct got *out)
{
    const uint8_t *p = r->bytes.data;
    for (size_t at = 0; at < r->bytes.len;) {
        assert_true(r->bytes.len - at >= 61);
        at += get_u32(p + at + 8) + 12;
        assert_true(at <= r->bytes.len);
        out->batches++;
    }
    out->bytes += r->bytes.len;
}

/* Every record that was acquired must be within one of the batches. */
static inline void check_within(const struct kafka_records *r, int64_t first, int64_t last)
{
    const uint8_t *p = r->bytes.data;
    for (int64_t offset = first; offset <= last; offset++) {
        bool found = false;
        for (size_t at = 0; at < r->bytes.len; at += get_u32(p + at + 8) + 12) {
            int64_t base = (int64_t)get_u64(p + at);
            found |= offset >= base && offset <= base + (int32_t)get_u32(p + at + 23);
        }
        assert_true(found);
    }
}

/* What the answer says; it is released. */
static inline void fetching_result(struct fetching *g, struct got *out)
{
    memset(out, 0, sizeof *out);
    out->error = g->a.error_code;
    for (size_t i = 0; i < g->a.responses.count; i++)
        for (size_t n = 0; n < g->a.responses.at[i].partitions.count; n++) {
            struct kafka_share_fetch_response_partition *p = &g->a.responses.at[i].partitions.at[n];
            if (p->error_code)
                out->partition_errors = p->error_code;
            if (p->acknowledge_error_code)
                out->answer_error = p->acknowledge_error_code;
            read_batches(&p->records, out);
            for (size_t a = 0; a < p->acquired_records.count; a++) {
                assert_true(out->count < GOT_MAX);
                check_within(&p->records, p->acquired_records.at[a].first_offset,
                             p->acquired_records.at[a].last_offset);
                out->list[out->count].partition = p->partition_index;
                out->list[out->count].first = p->acquired_records.at[a].first_offset;
                out->list[out->count].last = p->acquired_records.at[a].last_offset;
                out->list[out->count++].times = p->acquired_records.at[a].delivery_count;
            }
            if (p->records.release)
                p->records.release(p->records.ctx);
        }
}

static inline struct got fetch_from(struct share_world *s, const char *member, int32_t epoch,
                                    const char *topic, int32_t max_records)
{
    struct fetching g;
    struct got got;
    fetching_init(s, &g, member, epoch, topic, max_records);
    assert_true(share_fetch_run(&g.f));
    fetching_result(&g, &got);
    fetching_release(&g);
    return got;
}

/* "partition:first-last*times" of each range, with spaces between. */
static inline void check_got_at(const struct got *g, const char *expected, const char *file,
                                int line)
{
    char text[8192] = "";
    for (size_t i = 0; i < g->count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d:%lld-%lld*%d", i ? " " : "",
                 g->list[i].partition, (long long)g->list[i].first, (long long)g->list[i].last,
                 g->list[i].times);
    if (g->error == 0 && strcmp(text, expected) == 0)
        return;
    print_error("error %d, acquired \"%s\", not \"%s\"\n", g->error, text, expected);
    _fail(file, line);
}
#define check_got(g, expected)                                                                     \
    do {                                                                                           \
        struct got got_ = (g);                                                                     \
        check_got_at(&got_, expected, __FILE__, __LINE__);                                         \
    } while (0)

/* ---- answers ---- */

static inline bool may_any(void *ctx, const struct topic *t)
{
    (void)ctx;
    (void)t;
    return true;
}

/* The error of the partition, or else of the whole request. */
static inline int answer_types(struct share_world *s, const char *member, int32_t epoch,
                               const char *topic, int32_t partition, int64_t first, int64_t last,
                               int8_t *types, size_t count)
{
    struct kafka_arena arena;
    struct kafka_share_acknowledge_request r;
    struct kafka_share_acknowledge_response a;
    struct kafka_share_acknowledge_request_acknowledgement_batche b = {
        .first_offset = first,
        .last_offset = last,
        .acknowledge_types = {.at = types, .count = count}};
    struct kafka_share_acknowledge_request_partition p = {
        .partition_index = partition, .acknowledgement_batches = {.at = &b, .count = 1}};
    struct kafka_share_acknowledge_request_topic t = {.partitions = {.at = &p, .count = 1}};
    kafka_share_acknowledge_request_init(&r);
    kafka_share_acknowledge_response_init(&a);
    kafka_arena_init(&arena, 1 << 20);
    memcpy(t.topic_id, share_topic(s, topic)->id, TOPIC_ID);
    r.group_id = beck_str("g");
    r.member_id = beck_str(member);
    r.share_session_epoch = epoch;
    r.is_renew_ack = types && types[0] == 4;
    r.topics.at = &t;
    r.topics.count = types ? 1 : 0;
    bool settled = false;
    share_acknowledge(s->k, &r, may_any, NULL, &arena, &a, &settled);
    if (settled)
        share_wait_synced(s);
    int code = a.error_code            ? a.error_code
               : a.responses.count > 0 ? a.responses.at[0].partitions.at[0].error_code
                                       : 0;
    kafka_arena_release(&arena);
    return code;
}

static inline int answer(struct share_world *s, const char *member, int32_t epoch,
                         int32_t partition, int64_t first, int64_t last, int8_t type)
{
    return answer_types(s, member, epoch, "t", partition, first, last, &type, 1);
}

/* Ends the session. */
static inline int leave_session(struct share_world *s, const char *member)
{
    return answer_types(s, member, -1, "t", 0, 0, 0, NULL, 0);
}

#endif
