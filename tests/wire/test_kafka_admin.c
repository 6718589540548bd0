/* Topics, their partitions and configurations over Kafka's protocol, in all versions that are told. */
#include "kafka_world.h"

#include "kafka/message/api_versions.h"
#include "kafka/message/cluster.h"
#include "kafka/message/configs.h"
#include "kafka/message/consumer_groups.h"
#include "kafka/message/log_dirs.h"
#include "kafka/message/metadata.h"
#include "kafka/message/producers.h"
#include "kafka/message/scram.h"
#include "kafka/message/topics.h"
#include "kafka/topics.h"

#include <stdio.h>
#include <stdlib.h>

struct admin_test {
    struct kafka_world w;
    struct kafka_peer c;
};

static int begin(void **state)
{
    struct admin_test *d = calloc(1, sizeof *d);
    d->w.settings.auto_create_topics = true;
    d->w.settings.partitions = 4;
    kafka_world_open(&d->w);
    kafka_dial(&d->w, &d->c);
    *state = d;
    return 0;
}

static int end(void **state)
{
    struct admin_test *d = *state;
    kafka_hang_up(&d->c);
    kafka_world_close(&d->w);
    free(d);
    return 0;
}

static struct topic *make_topic(struct admin_test *d, const char *name, int32_t partitions)
{
    char text[KAFKA_TEXT] = "";
    struct topic_made made = {0};
    struct topic_new what = {
        .name = beck_str(name), .partitions = partitions, .replication_factor = 1};
    if (topics_create(d->w.kafka, &what, &made, text))
        fail_msg("%s", text);
    return made.topic;
}

/* ---- Metadata ---- */

static struct kafka_metadata_response_topic ask_topic(struct admin_test *d, int16_t version,
                                                      const char *name, const uint8_t *id,
                                                      bool create)
{
    struct kafka_metadata_request q;
    struct kafka_metadata_request_topic topic = {.name = beck_str(name)};
    struct kafka_metadata_response a;
    kafka_metadata_request_init(&q);
    if (id)
        memcpy(topic.topic_id, id, TOPIC_ID);
    q.topics.at = &topic;
    q.topics.count = 1;
    q.allow_auto_topic_creation = create;
    kafka_ask(&d->c, metadata, version, &q, &a);
    assert_int_equal(a.brokers.count, 1);
    assert_int_equal(a.brokers.at[0].node_id, 1);
    assert_int_equal(a.brokers.at[0].port, d->w.port);
    assert_int_equal(a.controller_id, version >= 1 ? 1 : -1);
    assert_int_equal(a.cluster_id.len, version >= 2 ? 22 : 0);
    assert_int_equal(a.topics.count, 1);
    return a.topics.at[0];
}

static void topics_are_told_in_every_version(void **state)
{
    struct admin_test *d = *state;
    struct topic *t = make_topic(d, "t", 3);
    for (int16_t v = 0; v <= 13; v++) {
        struct kafka_metadata_response_topic a = ask_topic(d, v, "t", NULL, true);
        assert_int_equal(a.error_code, KAFKA_NONE);
        assert_true(bytes_equal_text(a.name, "t"));
        assert_int_equal(a.partitions.count, 3);
        for (int32_t i = 0; i < 3; i++) {
            struct kafka_metadata_response_partition *p = &a.partitions.at[i];
            assert_int_equal(p->partition_index, i);
            assert_int_equal(p->leader_id, 1);
            assert_int_equal(p->leader_epoch, v >= 7 ? 0 : -1);
            assert_int_equal(p->replica_nodes.count, 1);
            assert_int_equal(p->isr_nodes.at[0], 1);
            assert_int_equal(p->offline_replicas.count, 0);
        }
        if (v >= 10)
            assert_memory_equal(a.topic_id, t->id, TOPIC_ID);
        if (v >= 12)
            assert_true(bytes_equal_text(ask_topic(d, v, NULL, t->id, true).name, "t"));
    }
}

static void topics_are_made_when_they_are_asked_for(void **state)
{
    struct admin_test *d = *state;
    const uint8_t unknown[TOPIC_ID] = {7};
    assert_int_equal(ask_topic(d, 8, "t", NULL, false).error_code,
                     KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    struct kafka_metadata_response_topic a = ask_topic(d, 8, "t", NULL, true);
    assert_int_equal(a.error_code, KAFKA_NONE);
    assert_int_equal(a.partitions.count, 4);
    assert_int_equal(ask_topic(d, 8, "not a name", NULL, true).error_code,
                     KAFKA_INVALID_TOPIC_EXCEPTION);
    assert_int_equal(ask_topic(d, 12, NULL, unknown, true).error_code, KAFKA_UNKNOWN_TOPIC_ID);
}

static void all_topics_are_listed(void **state)
{
    struct admin_test *d = *state;
    make_topic(d, "b", 1);
    make_topic(d, "a", 1);
    for (int16_t v = 0; v <= 13; v++) {
        struct kafka_metadata_request q;
        struct kafka_metadata_response a;
        kafka_metadata_request_init(&q);
        q.topics.is_null = v > 0;
        kafka_ask(&d->c, metadata, v, &q, &a);
        assert_int_equal(a.topics.count, 2);
        assert_true(bytes_equal_text(a.topics.at[0].name, "a"));
        if (v == 0)
            continue;
        q.topics.is_null = false;
        q.topics.at = (struct kafka_metadata_request_topic *)&q;
        kafka_ask(&d->c, metadata, v, &q, &a);
        assert_int_equal(a.topics.count, 0);
    }
}

static void partitions_are_described_page_by_page(void **state)
{
    struct admin_test *d = *state;
    struct kafka_describe_topic_partitions_request q;
    struct kafka_describe_topic_partitions_request_cursor cursor;
    struct kafka_describe_topic_partitions_response a;
    char name[8];
    make_topic(d, "a", 3);
    make_topic(d, "b", 3);
    kafka_describe_topic_partitions_request_init(&q);
    q.response_partition_limit = 4;
    kafka_ask(&d->c, describe_topic_partitions, 0, &q, &a);
    assert_int_equal(a.topics.count, 2);
    assert_int_equal(a.topics.at[1].partitions.count, 1);
    assert_non_null(a.next_cursor);
    assert_int_equal(a.next_cursor->partition_index, 1);
    snprintf(name, sizeof name, "%.*s", (int)a.next_cursor->topic_name.len,
             (const char *)a.next_cursor->topic_name.data);
    cursor = (struct kafka_describe_topic_partitions_request_cursor){
        beck_str(name), a.next_cursor->partition_index};
    q.cursor = &cursor;
    kafka_ask(&d->c, describe_topic_partitions, 0, &q, &a);
    assert_int_equal(a.topics.count, 1);
    assert_int_equal(a.topics.at[0].partitions.count, 2);
    assert_int_equal(a.topics.at[0].partitions.at[0].partition_index, 1);
    assert_null(a.next_cursor);
}

static void the_cluster_is_this_server(void **state)
{
    struct admin_test *d = *state;
    for (int16_t v = 0; v <= 2; v++) {
        struct kafka_describe_cluster_request q;
        struct kafka_describe_cluster_response a;
        kafka_describe_cluster_request_init(&q);
        kafka_ask(&d->c, describe_cluster, v, &q, &a);
        assert_int_equal(a.error_code, KAFKA_NONE);
        assert_int_equal(a.controller_id, 1);
        assert_int_equal(a.brokers.at[0].port, d->w.port);
        if (v == 0)
            continue;
        q.endpoint_type = 2;
        kafka_ask(&d->c, describe_cluster, v, &q, &a);
        assert_int_equal(a.error_code, KAFKA_MISMATCHED_ENDPOINT_TYPE);
    }
}

/* ---- making and deleting ---- */

static void topics_are_made_and_deleted_in_every_version(void **state)
{
    struct admin_test *d = *state;
    for (int16_t v = 0; v <= 7; v++) {
        struct kafka_create_topics_request q;
        struct kafka_create_topics_request_config config = {beck_str("retention.ms"),
                                                            beck_str("5000")};
        struct kafka_create_topics_request_topic topics[3];
        struct kafka_create_topics_response a;
        kafka_create_topics_request_init(&q);
        for (int i = 0; i < 3; i++)
            topics[i] = (struct kafka_create_topics_request_topic){
                .name = beck_str(i == 0 ? "good" : "twice"),
                .num_partitions = 2,
                .replication_factor = 1};
        topics[0].configs.at = &config;
        topics[0].configs.count = 1;
        q.topics.at = topics;
        q.topics.count = 3;
        kafka_ask(&d->c, create_topics, v, &q, &a);
        assert_int_equal(a.topics.at[0].error_code, KAFKA_NONE);
        assert_int_equal(a.topics.at[1].error_code, KAFKA_INVALID_REQUEST);
        struct topic *t = topics_find(d->w.kafka, beck_str("good"));
        assert_non_null(t);
        assert_null(topics_find(d->w.kafka, beck_str("twice")));
        if (v >= 5) {
            assert_int_equal(a.topics.at[0].num_partitions, 2);
            assert_true(a.topics.at[0].configs.count > 20);
        }
        if (v >= 7)
            assert_memory_equal(a.topics.at[0].topic_id, t->id, TOPIC_ID);
        q.topics.count = 1;
        kafka_ask(&d->c, create_topics, v, &q, &a);
        assert_int_equal(a.topics.at[0].error_code, KAFKA_TOPIC_ALREADY_EXISTS);

        int16_t version = v < 6 ? v : 6;
        beck_bytes names[] = {beck_str("good"), beck_str("none")};
        struct kafka_delete_topics_request_topic ids[2] = {{.name = {0}}, {.name = names[1]}};
        struct kafka_delete_topics_request delete;
        struct kafka_delete_topics_response gone;
        kafka_delete_topics_request_init(&delete);
        memcpy(ids[0].topic_id, t->id, TOPIC_ID);
        delete.topic_names.at = names;
        delete.topics.at = ids;
        delete.topic_names.count = delete.topics.count = 2;
        kafka_ask(&d->c, delete_topics, version, &delete, &gone);
        assert_int_equal(gone.responses.at[0].error_code, KAFKA_NONE);
        assert_true(bytes_equal_text(gone.responses.at[0].name, "good"));
        assert_int_equal(gone.responses.at[1].error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_null(topics_find(d->w.kafka, beck_str("good")));
    }
}

/* It is found out late, when the configurations of the answer are there already. */
static void a_bus_that_is_no_topic_has_its_name_too(void **state)
{
    struct admin_test *d = *state;
    beck_bus_options o = {.storage = BECK_STORAGE_MEMORY};
    assert_int_equal(beck_bus_create(d->w.b, "m", &o, NULL, NULL), BECK_OK);
    for (int16_t v = 0; v <= 7; v++) {
        struct kafka_create_topics_request q;
        struct kafka_create_topics_request_topic topic;
        struct kafka_create_topics_response a;
        kafka_create_topics_request_init(&q);
        kafka_create_topics_request_topic_init(&topic);
        topic.name = beck_str("m");
        topic.num_partitions = topic.replication_factor = 1;
        q.topics.at = &topic;
        q.topics.count = 1;
        kafka_ask(&d->c, create_topics, v, &q, &a);
        assert_int_equal(a.topics.count, 1);
        assert_int_equal(a.topics.at[0].error_code, KAFKA_TOPIC_ALREADY_EXISTS);
        assert_int_equal(a.topics.at[0].configs.count, 0);
    }
}

static void partitions_are_added(void **state)
{
    struct admin_test *d = *state;
    struct topic *t = make_topic(d, "t", 1);
    for (int16_t v = 0; v <= 3; v++) {
        struct kafka_create_partitions_request q;
        struct kafka_create_partitions_request_topic topic = {.name = t->name, .count = v + 2};
        struct kafka_create_partitions_response a;
        kafka_create_partitions_request_init(&q);
        topic.assignments.is_null = true;
        q.topics.at = &topic;
        q.topics.count = 1;
        kafka_ask(&d->c, create_partitions, v, &q, &a);
        assert_int_equal(a.results.at[0].error_code, KAFKA_NONE);
        assert_int_equal(topic_partitions(t), v + 2);
        kafka_ask(&d->c, create_partitions, v, &q, &a);
        assert_int_equal(a.results.at[0].error_code, KAFKA_INVALID_PARTITIONS);
    }
}

static void records_are_deleted(void **state)
{
    struct admin_test *d = *state;
    struct topic *t = make_topic(d, "t", 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(beck_publish(t->bus, &(beck_event){.type = beck_str("x")}, NULL), BECK_OK);
    for (int16_t v = 0; v <= 2; v++) {
        struct kafka_delete_records_request q;
        struct kafka_delete_records_request_partition partitions[] = {{0, v + 3}, {1, 0}, {0, 11}};
        struct kafka_delete_records_request_topic topic = {.name = t->name};
        struct kafka_delete_records_response a;
        kafka_delete_records_request_init(&q);
        topic.partitions.at = partitions;
        topic.partitions.count = 3;
        q.topics.at = &topic;
        q.topics.count = 1;
        kafka_ask(&d->c, delete_records, v, &q, &a);
        struct kafka_delete_records_response_partition *p = a.topics.at[0].partitions.at;
        assert_int_equal(p[0].error_code, KAFKA_NONE);
        assert_int_equal(p[0].low_watermark, v + 3);
        assert_int_equal(p[1].error_code, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(p[2].error_code, KAFKA_OFFSET_OUT_OF_RANGE);
        assert_int_equal(p[2].low_watermark, -1);
    }
}

/* ---- configurations ---- */

static struct kafka_describe_configs_response_result describe(struct admin_test *d, int16_t version,
                                                              int8_t type, const char *name,
                                                              const char *key)
{
    struct kafka_describe_configs_request q;
    beck_bytes keys[] = {beck_str(key)};
    struct kafka_describe_configs_request_resource resource = {.resource_type = type,
                                                               .resource_name = beck_str(name)};
    struct kafka_describe_configs_response a;
    kafka_describe_configs_request_init(&q);
    resource.configuration_keys.at = keys;
    resource.configuration_keys.count = 1;
    q.resources.at = &resource;
    q.resources.count = 1;
    q.include_synonyms = q.include_documentation = true;
    kafka_ask(&d->c, describe_configs, version, &q, &a);
    return a.results.at[0];
}

static int alter(struct admin_test *d, int16_t version, const char *key, const char *value)
{
    struct kafka_alter_configs_request q;
    struct kafka_alter_configs_request_config config = {beck_str(key), beck_str(value)};
    struct kafka_alter_configs_request_resource resource = {.resource_type = CONFIG_TOPIC,
                                                            .resource_name = beck_str("t")};
    struct kafka_alter_configs_response a;
    kafka_alter_configs_request_init(&q);
    resource.configs.at = &config;
    resource.configs.count = 1;
    q.resources.at = &resource;
    q.resources.count = 1;
    kafka_ask(&d->c, alter_configs, version, &q, &a);
    return a.responses.at[0].error_code;
}

static int alter_one(struct admin_test *d, int16_t version, int8_t operation, const char *key,
                     const char *value)
{
    struct kafka_incremental_alter_configs_request q;
    struct kafka_incremental_alter_configs_request_config config = {beck_str(key), operation,
                                                                    beck_str(value)};
    struct kafka_incremental_alter_configs_request_resource resource = {
        .resource_type = CONFIG_TOPIC, .resource_name = beck_str("t")};
    struct kafka_incremental_alter_configs_response a;
    kafka_incremental_alter_configs_request_init(&q);
    resource.configs.at = &config;
    resource.configs.count = 1;
    q.resources.at = &resource;
    q.resources.count = 1;
    kafka_ask(&d->c, incremental_alter_configs, version, &q, &a);
    return a.responses.at[0].error_code;
}

static void configurations_are_described_and_altered(void **state)
{
    struct admin_test *d = *state;
    make_topic(d, "t", 1);
    for (int16_t v = 0; v <= 4; v++) {
        char value[16];
        snprintf(value, sizeof value, "%d", 1000 + v);
        assert_int_equal(alter(d, v < 2 ? v : 2, "retention.ms", value), KAFKA_NONE);
        assert_int_equal(alter(d, v < 2 ? v : 2, "nonsense", value), KAFKA_INVALID_CONFIG);
        struct kafka_describe_configs_response_result a =
            describe(d, v, CONFIG_TOPIC, "t", "retention.ms");
        assert_int_equal(a.error_code, KAFKA_NONE);
        assert_int_equal(a.configs.count, 1);
        assert_true(bytes_equal_text(a.configs.at[0].value, value));
        assert_false(a.configs.at[0].is_default);
        assert_false(a.configs.at[0].read_only);
        if (v >= 1) {
            assert_int_equal(a.configs.at[0].config_source, CONFIG_FROM_TOPIC);
            assert_int_equal(a.configs.at[0].synonyms.count, 2);
        }
        if (v >= 3) {
            assert_int_equal(a.configs.at[0].config_type, CONFIG_LONG);
            assert_true(a.configs.at[0].documentation.len > 0);
        }
        assert_int_equal(describe(d, v, CONFIG_TOPIC, "none", "x").error_code,
                         KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(describe(d, v, CONFIG_BROKER, "1", "node.id").configs.count, 1);
        char listener[64];
        snprintf(listener, sizeof listener, "KAFKA://127.0.0.1:%u", d->w.port);
        a = describe(d, v, CONFIG_BROKER, "1", "advertised.listeners");
        assert_true(bytes_equal_text(a.configs.at[0].value, listener));
    }
    for (int16_t v = 0; v <= 1; v++) {
        assert_int_equal(alter_one(d, v, CONFIG_SET, "cleanup.policy", "compact"), KAFKA_NONE);
        assert_int_equal(alter_one(d, v, CONFIG_APPEND, "cleanup.policy", "delete"), KAFKA_NONE);
        assert_int_equal(alter_one(d, v, CONFIG_APPEND, "retention.ms", "1"), KAFKA_INVALID_CONFIG);
        struct kafka_describe_configs_response_result a =
            describe(d, 4, CONFIG_TOPIC, "t", "cleanup.policy");
        assert_true(bytes_equal_text(a.configs.at[0].value, "compact,delete"));
        assert_int_equal(alter_one(d, v, CONFIG_DELETE, "cleanup.policy", NULL), KAFKA_NONE);
    }
}

static void resources_with_configurations_are_listed(void **state)
{
    struct admin_test *d = *state;
    make_topic(d, "t", 1);
    struct kafka_list_config_resources_request q;
    struct kafka_list_config_resources_response a;
    kafka_list_config_resources_request_init(&q);
    kafka_ask(&d->c, list_config_resources, 0, &q, &a);
    assert_int_equal(a.config_resources.count, 0);
    kafka_ask(&d->c, list_config_resources, 1, &q, &a);
    assert_int_equal(a.config_resources.count, 3); /* topic, broker, its loggers */
    assert_true(bytes_equal_text(a.config_resources.at[0].resource_name, "t"));
}

/* ---- the rest ---- */

static void the_data_directory_is_the_only_one(void **state)
{
    struct admin_test *d = *state;
    make_topic(d, "t", 2);
    for (int16_t v = 1; v <= 5; v++) {
        struct kafka_describe_log_dirs_request q;
        struct kafka_describe_log_dirs_response a;
        kafka_describe_log_dirs_request_init(&q);
        q.topics.is_null = true;
        kafka_ask(&d->c, describe_log_dirs, v, &q, &a);
        assert_int_equal(a.results.count, 1);
        assert_true(bytes_equal_text(a.results.at[0].log_dir, d->w.dir));
        assert_int_equal(a.results.at[0].topics.count, 1);
        assert_int_equal(a.results.at[0].topics.at[0].partitions.count, 2);
        if (v >= 4)
            assert_true(a.results.at[0].usable_bytes > 0);
    }
}

static void one_node_has_nothing_to_elect_or_move(void **state)
{
    struct admin_test *d = *state;
    make_topic(d, "t", 1);
    int32_t zero = 0, one = 1;
    struct kafka_elect_leaders_request_topic topic = {.topic = beck_str("t"),
                                                      .partitions = {.at = &zero, .count = 1}};
    for (int16_t v = 0; v <= 2; v++) {
        struct kafka_elect_leaders_request q;
        struct kafka_elect_leaders_response a;
        kafka_elect_leaders_request_init(&q);
        q.topic_partitions.at = &topic;
        q.topic_partitions.count = 1;
        kafka_ask(&d->c, elect_leaders, v, &q, &a);
        assert_int_equal(a.replica_election_results.at[0].partition_result.at[0].error_code,
                         KAFKA_ELECTION_NOT_NEEDED);
    }
    struct kafka_alter_partition_reassignments_request_partition partitions[3] = {
        {0, {.is_null = true}}, {0, {.at = &one, .count = 1}}, {0, {.at = &zero, .count = 1}}};
    struct kafka_alter_partition_reassignments_request_topic moved = {
        .name = beck_str("t"), .partitions = {.at = partitions, .count = 3}};
    for (int16_t v = 0; v <= 1; v++) {
        struct kafka_alter_partition_reassignments_request q;
        struct kafka_alter_partition_reassignments_response a;
        kafka_alter_partition_reassignments_request_init(&q);
        q.topics.at = &moved;
        q.topics.count = 1;
        kafka_ask(&d->c, alter_partition_reassignments, v, &q, &a);
        assert_int_equal(a.responses.at[0].partitions.at[0].error_code,
                         KAFKA_NO_REASSIGNMENT_IN_PROGRESS);
        assert_int_equal(a.responses.at[0].partitions.at[1].error_code, KAFKA_NONE);
        assert_int_equal(a.responses.at[0].partitions.at[2].error_code,
                         KAFKA_INVALID_REPLICA_ASSIGNMENT);
    }
    struct kafka_list_partition_reassignments_request list;
    struct kafka_list_partition_reassignments_response none;
    kafka_list_partition_reassignments_request_init(&list);
    kafka_ask(&d->c, list_partition_reassignments, 0, &list, &none);
    assert_int_equal(none.topics.count, 0);
}

static void the_quorum_is_this_server(void **state)
{
    struct admin_test *d = *state;
    struct kafka_describe_quorum_request_partition zero = {0};
    struct kafka_describe_quorum_request_topic topic = {
        .topic_name = beck_str("__cluster_metadata"), .partitions = {.at = &zero, .count = 1}};
    for (int16_t v = 0; v <= 2; v++) {
        struct kafka_describe_quorum_request q;
        struct kafka_describe_quorum_response a;
        kafka_describe_quorum_request_init(&q);
        q.topics.at = &topic;
        q.topics.count = 1;
        kafka_ask(&d->c, describe_quorum, v, &q, &a);
        assert_int_equal(a.topics.at[0].partitions.at[0].leader_id, 1);
        assert_int_equal(a.topics.at[0].partitions.at[0].current_voters.count, 1);
        if (v > 0) /* a leader is never behind */
            assert_true(a.topics.at[0].partitions.at[0].current_voters.at[0].last_fetch_timestamp >
                        0);
    }
}

static int move_to(struct admin_test *d, int16_t version, const char *path)
{
    int32_t zero = 0;
    struct kafka_alter_replica_log_dirs_request_topic topic = {
        .name = beck_str("t"), .partitions = {.at = &zero, .count = 1}};
    struct kafka_alter_replica_log_dirs_request_dir dir = {.path = beck_str(path),
                                                           .topics = {.at = &topic, .count = 1}};
    struct kafka_alter_replica_log_dirs_request q;
    struct kafka_alter_replica_log_dirs_response a;
    kafka_alter_replica_log_dirs_request_init(&q);
    q.dirs.at = &dir;
    q.dirs.count = 1;
    kafka_ask(&d->c, alter_replica_log_dirs, version, &q, &a);
    assert_int_equal(a.results.count, 1);
    assert_true(bytes_equal_text(a.results.at[0].topic_name, "t"));
    return a.results.at[0].partitions.at[0].error_code;
}

static void replicas_stay_where_they_are(void **state)
{
    struct admin_test *d = *state;
    make_topic(d, "t", 1);
    for (int16_t v = 1; v <= 2; v++) {
        assert_int_equal(move_to(d, v, "/elsewhere"), KAFKA_LOG_DIR_NOT_FOUND);
        assert_int_equal(move_to(d, v, d->w.dir), KAFKA_NONE);
    }
}

static int unregister(struct admin_test *d, int32_t broker)
{
    struct kafka_unregister_broker_request q = {.broker_id = broker};
    struct kafka_unregister_broker_response a;
    kafka_ask(&d->c, unregister_broker, 0, &q, &a);
    return a.error_code;
}

static void brokers_and_features_stay_as_they_are(void **state)
{
    struct admin_test *d = *state;
    assert_int_equal(unregister(d, 9), KAFKA_BROKER_ID_NOT_REGISTERED);
    assert_int_equal(unregister(d, 1), KAFKA_INVALID_REQUEST);
    for (int16_t v = 0; v <= 2; v++)
        for (int16_t level = 1; level <= 2; level++) {
            int code = level == 2 ? KAFKA_NONE : KAFKA_INVALID_UPDATE_VERSION;
            struct kafka_update_features_request_update update = {
                .feature = beck_str("transaction.version"), .max_version_level = level};
            struct kafka_update_features_request q;
            struct kafka_update_features_response a;
            kafka_update_features_request_init(&q);
            q.feature_updates.at = &update;
            q.feature_updates.count = 1;
            kafka_ask(&d->c, update_features, v, &q, &a);
            assert_int_equal(a.error_code, code);
            assert_int_equal(a.results.count, v < 2 && !code);
        }
}

/* What comes is a key of HMAC: that it was made of a password nobody can see. */
static void a_salted_password_may_have_any_length(void **state)
{
    struct admin_test *d = *state;
    static const char salted[100] = "";
    static const size_t lengths[] = {0, 1, 32, 64, sizeof salted};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct kafka_alter_user_scram_credentials_request_upsertion ann = {
            .name = beck_str("ann"),
            .mechanism = 2,
            .iterations = 8192,
            .salt = beck_str("salt"),
            .salted_password = {salted, lengths[i]}};
        struct kafka_alter_user_scram_credentials_request q;
        struct kafka_alter_user_scram_credentials_response a;
        kafka_alter_user_scram_credentials_request_init(&q);
        q.upsertions.at = &ann;
        q.upsertions.count = 1;
        kafka_ask(&d->c, alter_user_scram_credentials, 0, &q, &a);
        assert_int_equal(a.results.at[0].error_code,
                         lengths[i] ? KAFKA_NONE : KAFKA_UNACCEPTABLE_CREDENTIAL);
    }
}

static struct kafka_consumer_group_heartbeat_response join(struct admin_test *d, const char *group,
                                                           const char *regex)
{
    struct kafka_consumer_group_heartbeat_request q;
    struct kafka_consumer_group_heartbeat_response a;
    kafka_consumer_group_heartbeat_request_init(&q);
    q.group_id = beck_str(group);
    q.member_id = beck_str("m");
    q.rebalance_timeout_ms = 60000;
    q.subscribed_topic_regex = beck_str(regex);
    q.topic_partitions.is_null = false;
    kafka_ask(&d->c, consumer_group_heartbeat, 1, &q, &a);
    assert_int_equal(a.error_code, KAFKA_NONE);
    return a;
}

static void internal_topics_are_topics_of_a_regular_expression(void **state)
{
    struct admin_test *d = *state;
    join(d, "before", "t"); /* now there are records of groups */
    struct kafka_consumer_group_heartbeat_response a = join(d, "g", "__consumer_.*");
    assert_non_null(a.assignment);
    assert_int_equal(a.assignment->topic_partitions.count, 1);
    assert_memory_equal(a.assignment->topic_partitions.at[0].topic_id,
                        topics_find(d->w.kafka, beck_str("__consumer_offsets"))->id, TOPIC_ID);
}

static int end_by_hand(struct admin_test *d, const char *name, int16_t epoch)
{
    int32_t zero = 0;
    struct kafka_write_txn_markers_request_topic topic = {
        .name = beck_str(name), .partition_indexes = {.at = &zero, .count = 1}};
    struct kafka_write_txn_markers_request_marker marker = {
        .producer_id = 77, .producer_epoch = epoch, .topics = {.at = &topic, .count = 1}};
    struct kafka_write_txn_markers_request q;
    struct kafka_write_txn_markers_response a;
    kafka_write_txn_markers_request_init(&q);
    q.markers.at = &marker;
    q.markers.count = 1;
    kafka_ask(&d->c, write_txn_markers, 1, &q, &a);
    assert_int_equal(a.markers.at[0].producer_id, 77);
    return a.markers.at[0].topics.at[0].partitions.at[0].error_code;
}

static void a_transaction_that_hangs_is_aborted_by_hand(void **state)
{
    struct admin_test *d = *state;
    struct topic *t = make_topic(d, "t", 1);
    struct buf batch;
    beck_error err;
    buf_init(&batch, 1 << 20);
    kafka_make_batch(
        &batch, "v", 3,
        &(struct kafka_made){.producer_id = 77, .epoch = 4, .attributes = BATCH_TRANSACTIONAL});
    struct produce p = {.batch = batch.data, .size = batch.len, .level = BECK_LEVEL_WRITTEN};
    if (bus_produce(t->bus, 0, &p, &err))
        fail_msg("%s", err.text);
    buf_release(&batch);
    assert_int_equal(partition_stable(topic_partition(t, 0)), 0);
    assert_int_equal(end_by_hand(d, "none", 4), KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(end_by_hand(d, "t", 3), KAFKA_INVALID_PRODUCER_EPOCH);
    assert_int_equal(end_by_hand(d, "t", 4), KAFKA_NONE);
    assert_int_equal(partition_stable(topic_partition(t, 0)), 4);
    assert_int_equal(partition_synced(topic_partition(t, 0)), 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(topics_are_told_in_every_version),
        TEST(topics_are_made_when_they_are_asked_for),
        TEST(all_topics_are_listed),
        TEST(partitions_are_described_page_by_page),
        TEST(the_cluster_is_this_server),
        TEST(topics_are_made_and_deleted_in_every_version),
        TEST(a_bus_that_is_no_topic_has_its_name_too),
        TEST(partitions_are_added),
        TEST(records_are_deleted),
        TEST(configurations_are_described_and_altered),
        TEST(resources_with_configurations_are_listed),
        TEST(the_data_directory_is_the_only_one),
        TEST(one_node_has_nothing_to_elect_or_move),
        TEST(the_quorum_is_this_server),
        TEST(replicas_stay_where_they_are),
        TEST(brokers_and_features_stay_as_they_are),
        TEST(a_salted_password_may_have_any_length),
        TEST(internal_topics_are_topics_of_a_regular_expression),
        TEST(a_transaction_that_hangs_is_aborted_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
