/*
 * Share sessions: what a member fetches from, what it holds, and its answers.
 *
 * A session is of a group and a member. Its consumers hold the deliveries; beside them stands, for each
 * topic, which offset has which tag, in order, so that ranges of offsets are found by bisection.
 */
#include "kafka/share_impl.h"

#include <stdlib.h>

#define HELD_MAX QUEUE_PREFETCH_MAX /* of a topic */

/* ---- the table ---- */

static uint64_t hash_of(const struct shares *s, beck_bytes group, beck_bytes member)
{
    return bytes_hash(member.data, member.len, lookup_hash(&s->sessions, group));
}

/* With shares.lock; no reference is taken. */
static struct share_session *find(struct shares *s, beck_bytes group, beck_bytes member)
{
    struct lookup_node *n = lookup_first(&s->sessions, hash_of(s, group, member));
    for (; n; n = lookup_again(n)) {
        struct share_session *session = lookup_of(n, struct share_session, node);
        if (bytes_equal(session->group, group) && bytes_equal(session->member, member))
            return session;
    }
    return NULL;
}

void share_session_release(struct share_session *session)
{
    if (!session || atomic_fetch_sub(&session->refs, 1) != 1)
        return;
    for (size_t i = 0; i < session->topic_count; i++) {
        share_queue_release(session->topics[i].from);
        free(session->topics[i].wanted);
        free(session->topics[i].held);
    }
    free(session->topics);
    free((void *)session->group.data);
    free((void *)session->member.data);
    mutex_release(&session->lock);
    free(session);
}

void share_session_leave(struct share_session *session)
{
    mutex_unlock(&session->lock);
    share_session_release(session);
}

/* With shares.lock. One reference, the table's. NULL: no memory. */
static struct share_session *add(struct shares *s, beck_bytes group, beck_bytes member)
{
    struct share_session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    mutex_init(&session->lock);
    atomic_init(&session->refs, 1);
    session->group = share_copy(group);
    session->member = share_copy(member);
    if (!session->group.data || !session->member.data || lookup_reserve(&s->sessions)) {
        share_session_release(session);
        return NULL;
    }
    lookup_add(&s->sessions, &session->node, hash_of(s, group, member));
    return session;
}

static int64_t now_ns(const struct shares *s)
{
    return clock_mono_ns(s->k->engine->env.clock);
}

/* The one that was not used for longest, if nobody uses it and that is long ago. With shares.lock,
 * and a reference. */
static struct share_session *find_idle(struct shares *s)
{
    struct share_session *idle = NULL;
    int64_t before = now_ns(s) - SHARE_SESSION_IDLE_MS * INT64_C(1000000);
    for (struct lookup_node *n = NULL; (n = lookup_walk(&s->sessions, n));) {
        struct share_session *session = lookup_of(n, struct share_session, node);
        if (atomic_load(&session->refs) == 1 && session->used_ns <= before) {
            before = session->used_ns;
            idle = session;
        }
    }
    if (idle)
        atomic_fetch_add(&idle->refs, 1);
    return idle;
}

/* Where all sessions are taken, one whose client seems to be gone ends. */
static void make_room(struct shares *s, const struct share_request *r)
{
    mutex_lock(&s->lock);
    bool needed = s->sessions.count >= SHARE_SESSIONS_MAX && !find(s, r->group, r->member);
    struct share_session *idle = needed ? find_idle(s) : NULL;
    mutex_unlock(&s->lock);
    if (idle)
        share_session_end(s, idle);
    share_session_release(idle);
}

/* With a reference. */
static int find_or_add(struct shares *s, const struct share_request *r, struct share_session **out,
                       const char **text)
{
    int code = KAFKA_NONE;
    if (r->epoch == 0)
        make_room(s, r);
    mutex_lock(&s->lock);
    *out = find(s, r->group, r->member);
    if (!*out && r->epoch != 0) {
        code = KAFKA_SHARE_SESSION_NOT_FOUND;
    } else if (!*out && s->sessions.count >= SHARE_SESSIONS_MAX) {
        code = KAFKA_SHARE_SESSION_LIMIT_REACHED;
        *text = "There are too many share sessions.";
    } else if (!*out && !(*out = add(s, r->group, r->member))) {
        code = KAFKA_KAFKA_STORAGE_ERROR;
    }
    if (*out) {
        atomic_fetch_add(&(*out)->refs, 1);
        (*out)->used_ns = now_ns(s);
    }
    mutex_unlock(&s->lock);
    return code;
}

int share_session_begin(struct shares *s, const struct share_request *r, struct share_session **out,
                        bool *final, const char **text)
{
    *final = r->epoch == -1;
    if (r->group.len == 0 || r->group.len > SHARE_GROUP_ID_MAX || r->member.len == 0 ||
        r->member.len > SHARE_MEMBER_ID_MAX) {
        *text = "GroupId and MemberId must be given.";
        return KAFKA_INVALID_REQUEST;
    }
    if (r->epoch == 0 && r->fetches && r->acknowledges) {
        *text = "A share session cannot begin with acknowledgements.";
        return KAFKA_INVALID_REQUEST;
    }
    if (r->epoch < -1 || (r->epoch == 0 && !r->fetches))
        return KAFKA_INVALID_SHARE_SESSION_EPOCH;
    struct share_session *session;
    int code;
    for (;;) {
        code = find_or_add(s, r, out, text);
        if (code)
            return code;
        session = *out;
        mutex_lock(&session->lock);
        if (!session->closed || r->epoch != 0)
            break;
        share_session_leave(session); /* it has just ended, and the next one begins */
    }
    if (session->closed)
        code = KAFKA_SHARE_SESSION_NOT_FOUND;
    else if (r->epoch > 0 && r->epoch != session->epoch)
        code = KAFKA_INVALID_SHARE_SESSION_EPOCH;
    if (code) {
        share_session_leave(session);
        *out = NULL;
        return code;
    }
    /* Begun anew, it fetches from what is named now; what it holds it goes on holding. */
    for (size_t i = 0; i < session->topic_count && r->epoch == 0; i++)
        memset(session->topics[i].wanted, 0, session->topics[i].partitions);
    if (r->epoch == 0)
        session->epoch = 1;
    else if (r->epoch > 0)
        session->epoch = r->epoch == INT32_MAX ? 1 : r->epoch + 1;
    if (r->fetches) {
        mutex_lock(&s->lock);
        session->connection = r->connection;
        mutex_unlock(&s->lock);
    }
    return KAFKA_NONE;
}

static void give_back_all(struct share_session_topic *st)
{
    uint64_t *tags = st->held_count ? malloc(st->held_count * sizeof *tags) : NULL;
    for (size_t i = 0; i < st->held_count && tags; i++)
        tags[i] = st->held[i].tag;
    /* What cannot be given back so is when the consumer closes. */
    if (tags)
        consumer_return_many(st->consumer, tags, st->held_count, true, NULL);
    free(tags);
    st->held_count = 0;
    consumer_close(st->consumer);
    st->consumer = NULL;
}

/* With its lock and a reference beside the table's. */
static void close_locked(struct shares *s, struct share_session *session)
{
    if (session->closed)
        return;
    session->closed = true;
    for (size_t i = 0; i < session->topic_count; i++)
        if (session->topics[i].consumer)
            give_back_all(&session->topics[i]);
    mutex_lock(&s->lock);
    lookup_remove(&s->sessions, &session->node);
    mutex_unlock(&s->lock);
    share_session_release(session);
}

void share_session_end(struct shares *s, struct share_session *session)
{
    atomic_fetch_add(&session->refs, 1);
    mutex_lock(&session->lock);
    close_locked(s, session);
    share_session_leave(session);
}

void share_session_end_by(struct shares *s, struct share_session *session, const void *connection)
{
    atomic_fetch_add(&session->refs, 1);
    mutex_lock(&session->lock);
    if (session->connection == connection)
        close_locked(s, session);
    share_session_leave(session);
}

void share_session_end_of(struct shares *s, beck_bytes group, beck_bytes member)
{
    mutex_lock(&s->lock);
    struct share_session *session = find(s, group, member);
    if (session)
        atomic_fetch_add(&session->refs, 1);
    mutex_unlock(&s->lock);
    if (session)
        share_session_end(s, session);
    share_session_release(session);
}

void share_disconnected(struct kafka *k, const void *connection)
{
    struct shares *s = k->shares;
    struct share_session *found;
    do {
        found = NULL;
        mutex_lock(&s->lock);
        for (struct lookup_node *n = NULL; !found && (n = lookup_walk(&s->sessions, n));) {
            struct share_session *session = lookup_of(n, struct share_session, node);
            if (session->connection == connection)
                found = session;
        }
        if (found)
            atomic_fetch_add(&found->refs, 1);
        mutex_unlock(&s->lock);
        if (found)
            share_session_end_by(s, found, connection);
        share_session_release(found);
    } while (found);
}

/* ---- topics of a session ---- */

struct share_session_topic *share_session_topic(struct share_session *session, struct topic *t,
                                                bool add)
{
    struct share_session_topic *st = session->topics;
    for (size_t i = 0; i < session->topic_count; i++, st++)
        if (st->topic == t && (!add || st->partitions >= topic_partitions(t)))
            return st;
        else if (st->topic == t)
            break;
    if (!add)
        return NULL;
    bool known = st < session->topics + session->topic_count;
    if (!known && session->topic_count == session->topic_cap) {
        size_t cap = session->topic_cap ? session->topic_cap * 2 : 4;
        struct share_session_topic *grown = realloc(session->topics, cap * sizeof *grown);
        if (!grown)
            return NULL;
        session->topics = grown;
        session->topic_cap = cap;
        st = grown + session->topic_count;
    }
    uint32_t partitions = topic_partitions(t), had = known ? st->partitions : 0;
    bool *wanted = realloc(known ? st->wanted : NULL, (partitions + (size_t)1) * sizeof *wanted);
    if (!wanted)
        return NULL;
    memset(wanted + had, 0, partitions + 1 - had);
    if (!known) {
        *st = (struct share_session_topic){.topic = t};
        session->topic_count++;
    }
    st->wanted = wanted;
    st->partitions = partitions;
    return st;
}

bool share_session_open_topic(struct shares *s, struct share_session *session,
                              struct share_session_topic *st)
{
    if (st->from && atomic_load(&st->from->gone)) {
        /* What it held was of a queue that is no more. */
        consumer_close(st->consumer);
        st->consumer = NULL;
        st->held_count = 0;
        share_queue_release(st->from);
        st->from = NULL;
    }
    if (!st->from)
        st->from = share_queue_find(s, session->group, st->topic);
    if (!st->from)
        return false;
    if (!st->consumer) {
        share_queue_configure(s, session->group, st->from);
        int64_t most = atomic_load(&st->from->locks_max);
        beck_error why = {0};
        if (consumer_open(st->from->queue, (uint32_t)(most < HELD_MAX ? most : HELD_MAX),
                          &st->consumer, &why))
            st->consumer = NULL;
    }
    return st->consumer != NULL;
}

/* ---- what is held ---- */

static int by_place(const void *a, const void *b)
{
    const struct share_held *x = a, *y = b;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

void share_session_sort(struct share_session_topic *st)
{
    if (st->held_count > 1)
        qsort(st->held, st->held_count, sizeof *st->held, by_place);
}

bool share_session_reserve(struct share_session_topic *st, size_t more)
{
    if (st->held_count + more <= st->held_cap)
        return true;
    size_t cap = st->held_cap ? st->held_cap : 64;
    while (cap < st->held_count + more)
        cap *= 2;
    struct share_held *grown = realloc(st->held, cap * sizeof *grown);
    if (!grown)
        return false;
    st->held = grown;
    st->held_cap = cap;
    return true;
}

void share_session_hold(struct share_session_topic *st, const struct share_held *h)
{
    st->held[st->held_count++] = *h;
}

void share_session_forget_late(struct share_session_topic *st)
{
    uint64_t tags[256];
    bool held[256];
    size_t kept = 0;
    for (size_t at = 0, n; at < st->held_count; at += n) {
        n = st->held_count - at < 256 ? st->held_count - at : 256;
        for (size_t i = 0; i < n; i++)
            tags[i] = st->held[at + i].tag;
        consumer_holds(st->consumer, tags, n, held);
        for (size_t i = 0; i < n; i++)
            if (held[i])
                st->held[kept++] = st->held[at + i];
    }
    st->held_count = kept;
    consumer_forget_stale(st->consumer);
}

/* The first held record at or behind an offset of a partition. */
static size_t first_from(const struct share_session_topic *st, uint32_t partition, int64_t offset)
{
    size_t low = 0, high = st->held_count;
    struct share_held wanted = {.partition = partition, .offset = offset};
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_place(&st->held[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- answers ---- */

enum answer { ANSWER_GAP, ANSWER_ACCEPT, ANSWER_RELEASE, ANSWER_REJECT, ANSWER_RENEW };

static const char *what_is_wrong(const struct share_batch *batches, size_t count, bool renews)
{
    for (size_t i = 0; i < count; i++) {
        const struct share_batch *b = &batches[i];
        if (b->first < 0 || b->last < b->first)
            return "The first offset of acknowledgements is behind the last.";
        if (i > 0 && b->first <= batches[i - 1].last)
            return "Acknowledgements overlap, or are in no order.";
        if (b->type_count == 0)
            return "Acknowledgements have no type.";
        if (b->type_count > 1 && (uint64_t)(b->last - b->first) + 1 != b->type_count)
            return "Acknowledgements have more or fewer types than offsets.";
        for (size_t n = 0; n < b->type_count; n++)
            if (b->types[n] < ANSWER_GAP || b->types[n] > ANSWER_RENEW ||
                (b->types[n] == ANSWER_RENEW && !renews))
                return "There is no such type of acknowledgement.";
    }
    return NULL;
}

static int type_of(const struct share_batch *b, int64_t offset)
{
    return b->types[b->type_count > 1 ? offset - b->first : 0];
}

static bool is_in(const struct share_session_topic *st, size_t i, uint32_t partition, int64_t last)
{
    return i < st->held_count && st->held[i].partition == partition && st->held[i].offset <= last;
}

/* Whether every offset that is answered is held; a gap may be of one that never was. */
static bool all_are_held(const struct share_session_topic *st, uint32_t partition,
                         const struct share_batch *b)
{
    size_t first = first_from(st, partition, b->first), i = first;
    while (is_in(st, i, partition, b->last))
        i++;
    if (i - first == (uint64_t)(b->last - b->first) + 1)
        return true;
    if (b->type_count == 1)
        return b->types[0] == ANSWER_GAP;
    i = first;
    for (int64_t offset = b->first; offset <= b->last; offset++) {
        if (is_in(st, i, partition, offset))
            i++;
        else if (type_of(b, offset) != ANSWER_GAP)
            return false;
    }
    return true;
}

struct answers {
    uint64_t *tags[ANSWER_RENEW + 1]; /* parts of `memory` */
    size_t counts[ANSWER_RENEW + 1];
    uint64_t *memory;
};

/* False: no memory. */
static bool collect(const struct share_session_topic *st, uint32_t partition,
                    const struct share_batch *batches, size_t count, struct answers *out)
{
    size_t kinds = ANSWER_RENEW + 1;
    *out = (struct answers){.memory = malloc((st->held_count + 1) * kinds * sizeof(uint64_t))};
    if (!out->memory)
        return false;
    for (size_t i = 0; i < kinds; i++)
        out->tags[i] = out->memory + i * (st->held_count + 1);
    for (size_t n = 0; n < count; n++) {
        const struct share_batch *b = &batches[n];
        for (size_t i = first_from(st, partition, b->first); is_in(st, i, partition, b->last);
             i++) {
            int type = type_of(b, st->held[i].offset);
            /* A gap is a record that the client did not find: it is done with. */
            type = type == ANSWER_GAP ? ANSWER_ACCEPT : type;
            out->tags[type][out->counts[type]++] = st->held[i].tag;
        }
    }
    return true;
}

static beck_status give(beck_consumer *c, const struct answers *a, bool *stale, beck_error *err)
{
    size_t n = a->counts[ANSWER_ACCEPT];
    bool *late = n ? calloc(n, sizeof *late) : NULL;
    beck_status status = n && !late ? BECK_ENOMEM : BECK_OK;
    if (!status && n)
        status = consumer_settle_each(c, a->tags[ANSWER_ACCEPT], n, late, err);
    for (size_t i = 0; i < n && !status; i++)
        *stale |= late[i];
    free(late);
    for (size_t i = 0; i < a->counts[ANSWER_RELEASE] && !status; i++) {
        status = consumer_retry(c, a->tags[ANSWER_RELEASE][i], -1, "released", err);
        *stale |= status == BECK_ESTALE;
        status = status == BECK_ESTALE ? BECK_OK : status;
    }
    for (size_t i = 0; i < a->counts[ANSWER_REJECT] && !status; i++) {
        status = consumer_reject(c, a->tags[ANSWER_REJECT][i], "rejected", err);
        *stale |= status == BECK_ESTALE;
        status = status == BECK_ESTALE ? BECK_OK : status;
    }
    for (size_t i = 0; i < a->counts[ANSWER_RENEW] && !status; i++)
        *stale |= consumer_extend(c, a->tags[ANSWER_RENEW][i], err) == BECK_ESTALE;
    return status;
}

int share_answer(struct share_session_topic *st, uint32_t partition,
                 const struct share_batch *batches, size_t count, bool renews, bool final,
                 bool *settled, const char **text)
{
    struct answers a;
    *text = what_is_wrong(batches, count, renews && !final);
    if (*text)
        return KAFKA_INVALID_REQUEST;
    bool held = st && st->consumer && !atomic_load(&st->from->gone);
    if (held)
        share_session_forget_late(st);
    for (size_t i = 0; i < count && held; i++)
        held = all_are_held(st, partition, &batches[i]);
    if (!held) {
        *text = "A record is not held by this member: its lock is over, or it was answered before.";
        return KAFKA_INVALID_RECORD_STATE;
    }
    if (!collect(st, partition, batches, count, &a))
        return KAFKA_KAFKA_STORAGE_ERROR;
    beck_error why = {0};
    bool stale = false;
    beck_status status = give(st->consumer, &a, &stale, &why);
    *settled |= a.counts[ANSWER_ACCEPT] || a.counts[ANSWER_REJECT];
    free(a.memory);
    share_session_forget_late(st);
    if (status) {
        *text = "The acknowledgements could not be written down.";
        return KAFKA_KAFKA_STORAGE_ERROR;
    }
    if (stale)
        *text = "The lock of a record was over.";
    return stale ? KAFKA_INVALID_RECORD_STATE : KAFKA_NONE;
}

/* ---- requests that only answer ---- */

struct acknowledging {
    struct kafka *k;
    const struct kafka_share_acknowledge_request *request;
    struct share_session *session;
    struct kafka_arena *arena;
    bool (*may)(void *ctx, const struct topic *t);
    void *ctx;
    bool *settled;
};

static void acknowledge_partition(const struct acknowledging *a, struct topic *t,
                                  const struct kafka_share_acknowledge_request_partition *p,
                                  struct kafka_share_acknowledge_response_partition *out)
{
    size_t count = p->acknowledgement_batches.count;
    const char *text = NULL;
    kafka_share_acknowledge_response_partition_init(out);
    out->partition_index = p->partition_index;
    int code = !t || topic_is_gone(t) ? KAFKA_UNKNOWN_TOPIC_ID
               : !a->may(a->ctx, t)   ? KAFKA_TOPIC_AUTHORIZATION_FAILED
               : (uint32_t)p->partition_index >= topic_partitions(t)
                   ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                   : KAFKA_NONE;
    struct share_batch *batches = kafka_alloc_many(a->arena, count, sizeof *batches);
    for (size_t i = 0; i < count && batches; i++) {
        const struct kafka_share_acknowledge_request_acknowledgement_batche *b =
            &p->acknowledgement_batches.at[i];
        batches[i] = (struct share_batch){b->first_offset, b->last_offset, b->acknowledge_types.at,
                                          b->acknowledge_types.count};
    }
    if (!code && !batches)
        code = KAFKA_KAFKA_STORAGE_ERROR;
    if (!code && count > 0)
        code = share_answer(share_session_topic(a->session, t, false), (uint32_t)p->partition_index,
                            batches, count, a->request->is_renew_ack,
                            a->request->share_session_epoch == -1, a->settled, &text);
    out->error_code = (int16_t)code;
    out->error_message = code && text ? beck_str(text) : (beck_bytes){0};
}

/* With the session's lock. False: no memory. */
static bool acknowledge_all(const struct acknowledging *a,
                            struct kafka_share_acknowledge_response *out)
{
    const struct kafka_share_acknowledge_request *r = a->request;
    if (!kafka_array(a->arena, &out->responses, r->topics.count))
        return false;
    for (size_t i = 0; i < r->topics.count; i++) {
        const struct kafka_share_acknowledge_request_topic *from = &r->topics.at[i];
        struct kafka_share_acknowledge_response_topic *to = &out->responses.at[i];
        struct topic *t = topics_find_id(a->k, from->topic_id);
        memcpy(to->topic_id, from->topic_id, TOPIC_ID);
        if (!kafka_array(a->arena, &to->partitions, from->partitions.count)) {
            out->responses.count = i;
            return false;
        }
        for (size_t n = 0; n < from->partitions.count; n++)
            acknowledge_partition(a, t, &from->partitions.at[n], &to->partitions.at[n]);
    }
    return true;
}

void share_acknowledge(struct kafka *k, const struct kafka_share_acknowledge_request *request,
                       bool (*may)(void *ctx, const struct topic *t), void *ctx,
                       struct kafka_arena *arena, struct kafka_share_acknowledge_response *out,
                       bool *settled)
{
    struct share_request r = {.group = request->group_id,
                              .member = request->member_id,
                              .epoch = request->share_session_epoch,
                              .acknowledges = true};
    struct acknowledging a = {k, request, NULL, arena, may, ctx, settled};
    const char *text = NULL;
    bool final;
    int code = share_session_begin(k->shares, &r, &a.session, &final, &text);
    if (!code) {
        if (!acknowledge_all(&a, out))
            code = KAFKA_KAFKA_STORAGE_ERROR;
        int64_t lock_ms =
            configs_number(k, CONFIG_GROUP, request->group_id, "share.record.lock.duration.ms");
        out->acquisition_lock_timeout_ms = (int32_t)lock_ms;
        mutex_unlock(&a.session->lock);
        if (final)
            share_session_end(k->shares, a.session);
        share_session_release(a.session);
    }
    out->error_code = (int16_t)code;
    out->error_message = code && text ? beck_str(text) : (beck_bytes){0};
}

/* ---- what was settled lasts ---- */

static void synced(struct completion *c);

/* One log behind the other: what was accepted is in the first, what was rejected in the second. */
static void sync_next(struct share_sync *s)
{
    while (s->log) {
        s->offset = partition_high(s->log);
        if (partition_synced(s->log) < s->offset) {
            s->completion.run = synced;
            committer_queue(s->committer, s->log, &s->completion);
            return;
        }
        s->log = s->next;
        s->next = NULL;
    }
    s->done(s, true);
}

static void synced(struct completion *c)
{
    struct share_sync *s = (struct share_sync *)(void *)c; /* its first member */
    if (partition_synced(s->log) < s->offset) {
        s->done(s, false);
        return;
    }
    s->log = s->next;
    s->next = NULL;
    sync_next(s);
}

void share_sync(struct kafka *k, struct share_sync *s)
{
    const struct queue_home *home = &k->engine->home;
    s->committer = k->engine->env.committer;
    bool wanted = kafka_level(k, -1) == BECK_LEVEL_SYNCED && !committer_by_interval(s->committer);
    s->log = wanted ? bus_partition(home->state, 0) : NULL;
    s->next = wanted ? bus_partition(home->dead, 0) : NULL;
    sync_next(s);
}
