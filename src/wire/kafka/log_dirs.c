/* DescribeLogDirs (35): the data directory, and what of each partition lies in it. On the pool. */
#include "kafka/message/log_dirs.h"

#include "wire/kafka/handlers.h"
#include "wire/kafka/topic_names.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/statvfs.h>

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

static bool put_all(struct kafka_request *r, struct kafka_describe_log_dirs_response_result *out)
{
    struct topic **list;
    size_t count, n = 0;
    if (topics_list(request_kafka(r), &list, &count, NULL))
        return false;
    bool good = kafka_array(request_arena(r), &out->topics, count);
    for (size_t i = 0; i < count && good; i++)
        if (may_see(r, list[i]))
            good = put_partitions(r, list[i], NULL, &out->topics.at[n++]);
    out->topics.count = n;
    free(list);
    return good;
}

static bool put_topics(struct kafka_request *r, struct kafka_describe_log_dirs_response_result *out)
{
    const struct kafka_describe_log_dirs_request *q = request_body(r);
    size_t n = 0;
    if (q->topics.is_null || !q->topics.at)
        return put_all(r, out);
    bool good = kafka_array(request_arena(r), &out->topics, q->topics.count);
    for (size_t i = 0; i < q->topics.count && good; i++) {
        struct topic *t = topics_find(request_kafka(r), q->topics.at[i].topic);
        if (t && may_see(r, t))
            good = put_partitions(r, t, &q->topics.at[i].partitions, &out->topics.at[n++]);
    }
    out->topics.count = n;
    return good;
}

static bool put_dir(struct kafka_request *r, struct kafka_describe_log_dirs_response_result *out)
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
    return put_topics(r, out);
}

static void describe_log_dirs(struct kafka_request *r)
{
    struct kafka_describe_log_dirs_response a;
    kafka_describe_log_dirs_response_init(&a);
    bool may = request_may(r, KAFKA_RESOURCE_CLUSTER, KAFKA_OP_DESCRIBE, (beck_bytes){0});
    if (!may && request_version(r) >= ERROR_VERSION)
        a.error_code = KAFKA_CLUSTER_AUTHORIZATION_FAILED;
    bool good = kafka_array(request_arena(r), &a.results, may ? 1 : 0);
    if (good && may)
        good = put_dir(r, &a.results.at[0]);
    if (good)
        request_answer(r, &a);
    else
        request_fail(r, "there is no memory for an answer");
}

void handle_describe_log_dirs(struct kafka_request *r)
{
    request_defer(r, describe_log_dirs);
}
