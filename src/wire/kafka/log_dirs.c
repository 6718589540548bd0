/* DescribeLogDirs (35): the data directory, and what of each partition lies in it. On the pool, in turns. */
#include "kafka/message/log_dirs.h"

#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/statvfs.h>

static const char no_memory[] = "there is no memory for an answer";

#define ERROR_VERSION 3 /* from here on there is an error of the whole */

static bool put_partitions(struct kafka_request *r, const struct topic *t,
                           const struct kafka_int32s *wanted,
                           struct kafka_describe_log_dirs_response_topic *out)
{
    size_t count = wanted ? wanted->count : topic_partitions(t), n = 0;
    out->name = t->name;
    if (!kafka_array(request_arena(r), &out->partitions, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        beck_partition_info info;
        int32_t number = wanted ? wanted->at[i] : (int32_t)i;
        struct partition *p = topic_partition(t, number);
        if (!p)
            continue;
        partition_info(p, &info);
        out->partitions.at[n++] = (struct kafka_describe_log_dirs_response_partition){
            .partition_index = number, .partition_size = info.bytes};
    }
    out->partitions.count = n;
    return true;
}

/* What is there may be asked by anybody; of topics only those that the caller may see are told. */
static bool may_see(const struct kafka_request *r, const struct topic *t)
{
    return request_may(r, KAFKA_RESOURCE_TOPIC, KAFKA_OP_DESCRIBE, t->name);
}

/* How far it is. */
struct listing {
    struct kafka_describe_log_dirs_response answer;
    struct topic **topics; /* NULL: none of that name */
    size_t count, at;      /* at: the next */
    bool all;              /* of their partitions */
};

static bool find_topics(struct kafka_request *r, struct listing *l)
{
    const struct kafka_describe_log_dirs_request *q = request_body(r);
    struct kafka_arena *arena = request_arena(r);
    l->all = q->topics.is_null || !q->topics.at;
    if (!l->all) {
        l->count = q->topics.count;
        l->topics = kafka_alloc_many(arena, l->count, sizeof *l->topics);
        for (size_t i = 0; i < l->count && l->topics; i++)
            l->topics[i] = topics_find(request_kafka(r), q->topics.at[i].topic);
        return l->topics != NULL;
    }
    struct topic **list;
    if (topics_list(request_kafka(r), &list, &l->count, NULL))
        return false;
    l->topics = kafka_alloc_many(arena, l->count, sizeof *l->topics);
    for (size_t i = 0; i < l->count && l->topics; i++)
        l->topics[i] = list[i];
    free(list);
    return l->topics != NULL;
}

static void put_dir(struct kafka_request *r, struct kafka_describe_log_dirs_response_result *out)
{
    struct statvfs s;
    char path[PATH_MAX];
    const char *dir = request_engine(r)->data_dir;
    kafka_describe_log_dirs_response_result_init(out);
    out->log_dir = kafka_text(request_arena(r), realpath(dir, path) ? path : dir);
    if (statvfs(dir, &s) == 0) {
        out->total_bytes = (int64_t)s.f_blocks * (int64_t)s.f_frsize;
        out->usable_bytes = (int64_t)s.f_bavail * (int64_t)s.f_frsize;
    }
}

static void describe_topics(struct kafka_request *r)
{
    const struct kafka_describe_log_dirs_request *q = request_body(r);
    struct listing *l = request_state(r);
    struct kafka_describe_log_dirs_response_result *out = l->answer.results.at;
    bool good = true;
    for (; l->at < l->count && good; l->at++) {
        struct topic *t = l->topics[l->at];
        if (request_gives_way(r)) {
            request_defer(r, describe_topics);
            return;
        }
        if (t && may_see(r, t))
            good = put_partitions(r, t, l->all ? NULL : &q->topics.at[l->at].partitions,
                                  &out->topics.at[out->topics.count++]);
    }
    if (good)
        request_answer(r, &l->answer);
    else
        request_fail(r, no_memory);
}

static void describe_log_dirs(struct kafka_request *r)
{
    struct listing *l = request_state(r);
    bool may = request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_DESCRIBE, (beck_bytes){0});
    if (!may && request_version(r) >= ERROR_VERSION)
        l->answer.error_code = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    bool good = kafka_array(request_arena(r), &l->answer.results, may ? 1 : 0);
    if (good && may) {
        put_dir(r, l->answer.results.at);
        good = find_topics(r, l) &&
               kafka_array(request_arena(r), &l->answer.results.at[0].topics, l->count);
        l->answer.results.at[0].topics.count = 0;
    }
    if (good)
        describe_topics(r);
    else
        request_fail(r, no_memory);
}

void handle_describe_log_dirs(struct kafka_request *r)
{
    struct listing *l = request_alloc(r, sizeof *l);
    if (!l) {
        request_fail(r, no_memory);
        return;
    }
    kafka_describe_log_dirs_response_init(&l->answer);
    request_set_state(r, l);
    request_defer(r, describe_log_dirs);
}

/* ---- AlterReplicaLogDirs: there is one directory, where everything is ---- */

void handle_alter_replica_log_dirs(struct kafka_request *r)
{
    const struct kafka_alter_replica_log_dirs_request *q = request_body(r);
    struct kafka_alter_replica_log_dirs_response a;
    struct kafka_arena *arena = request_arena(r);
    bool may = request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_ALTER, (beck_bytes){0});
    size_t count = 0;
    kafka_alter_replica_log_dirs_response_init(&a);
    for (size_t i = 0; i < q->dirs.count; i++)
        count += q->dirs.at[i].topics.count;
    bool good = kafka_array(arena, &a.results, count);
    a.results.count = 0;
    for (size_t i = 0; i < q->dirs.count && good; i++) {
        const struct kafka_alter_replica_log_dirs_request_dir *dir = &q->dirs.at[i];
        bool here = bytes_equal_text(dir->path, request_engine(r)->data_dir);
        int16_t code = !may    ? KAFKA_CLUSTER_AUTHORIZATION_FAILED
                       : !here ? KAFKA_LOG_DIR_NOT_FOUND
                               : KAFKA_NONE;
        for (size_t t = 0; t < dir->topics.count && good; t++) {
            struct kafka_alter_replica_log_dirs_response_result *out =
                &a.results.at[a.results.count++];
            out->topic_name = dir->topics.at[t].name;
            good = kafka_array(arena, &out->partitions, dir->topics.at[t].partitions.count);
            for (size_t n = 0; n < dir->topics.at[t].partitions.count && good; n++)
                out->partitions.at[n] = (struct kafka_alter_replica_log_dirs_response_partition){
                    .partition_index = dir->topics.at[t].partitions.at[n], .error_code = code};
        }
    }
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, no_memory);
}
