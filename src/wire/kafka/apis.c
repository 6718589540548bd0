/* The table of what is answered. */
#include "wire/kafka/wire_impl.h"

#include "kafka/message/acls.h"
#include "kafka/message/api_versions.h"
#include "kafka/message/cluster.h"
#include "kafka/message/configs.h"
#include "kafka/message/consumer_groups.h"
#include "kafka/message/fetch.h"
#include "kafka/message/groups.h"
#include "kafka/message/list_offsets.h"
#include "kafka/message/log_dirs.h"
#include "kafka/message/metadata.h"
#include "kafka/message/offsets.h"
#include "kafka/message/produce.h"
#include "kafka/message/producers.h"
#include "kafka/message/quotas.h"
#include "kafka/message/sasl.h"
#include "kafka/message/scram.h"
#include "kafka/message/share.h"
#include "kafka/message/share_offsets.h"
#include "kafka/message/topics.h"
#include "kafka/message/transactions.h"

/* clang-format off */
#define API(key_, first_, last_, name_, what, ...)                                                \
    {.key = key_, .first = first_, .last = last_, .name = name_, .handler = handle_##what,        \
     .request = kafka_##what##_request_table, .response = kafka_##what##_response_table, __VA_ARGS__}

/* In order of their keys. The versions are those that clients are told. */
const struct api kafka_apis[] = {
    API(0, 0, 13, "Produce", produce, .pipelined = true, .in_place = true),
    API(1, 4, 18, "Fetch", fetch, .in_place = true),
    API(2, 0, 11, "ListOffsets", list_offsets),
    API(3, 0, 13, "Metadata", metadata),
    API(8, 1, 10, "OffsetCommit", offset_commit),
    API(9, 1, 10, "OffsetFetch", offset_fetch),
    API(10, 0, 6, "FindCoordinator", find_coordinator),
    API(11, 0, 9, "JoinGroup", join_group, .in_place = true),
    API(12, 0, 4, "Heartbeat", heartbeat),
    API(13, 0, 5, "LeaveGroup", leave_group),
    API(14, 0, 5, "SyncGroup", sync_group, .in_place = true),
    API(15, 0, 6, "DescribeGroups", describe_groups),
    API(16, 0, 5, "ListGroups", list_groups),
    API(17, 0, 1, "SaslHandshake", sasl_handshake, .open = true),
    API(18, 0, 4, "ApiVersions", api_versions, .open = true, .short_header = true, .refuse = true),
    API(19, 0, 7, "CreateTopics", create_topics),
    API(20, 0, 6, "DeleteTopics", delete_topics),
    API(21, 0, 2, "DeleteRecords", delete_records),
    API(22, 0, 5, "InitProducerId", init_producer_id),
    API(23, 0, 4, "OffsetForLeaderEpoch", offset_for_leader_epoch),
    API(24, 0, 5, "AddPartitionsToTxn", add_partitions_to_txn),
    API(25, 0, 4, "AddOffsetsToTxn", add_offsets_to_txn),
    API(26, 0, 5, "EndTxn", end_txn),
    API(27, 1, 2, "WriteTxnMarkers", write_txn_markers),
    API(28, 0, 5, "TxnOffsetCommit", txn_offset_commit),
    API(29, 1, 3, "DescribeAcls", describe_acls),
    API(30, 1, 3, "CreateAcls", create_acls),
    API(31, 1, 3, "DeleteAcls", delete_acls),
    API(32, 0, 4, "DescribeConfigs", describe_configs),
    API(33, 0, 2, "AlterConfigs", alter_configs),
    API(34, 1, 2, "AlterReplicaLogDirs", alter_replica_log_dirs),
    API(35, 1, 5, "DescribeLogDirs", describe_log_dirs),
    API(36, 0, 2, "SaslAuthenticate", sasl_authenticate, .open = true, .login = true),
    API(37, 0, 3, "CreatePartitions", create_partitions),
    API(42, 0, 2, "DeleteGroups", delete_groups),
    API(43, 0, 2, "ElectLeaders", elect_leaders),
    API(44, 0, 1, "IncrementalAlterConfigs", incremental_alter_configs),
    API(45, 0, 1, "AlterPartitionReassignments", alter_partition_reassignments),
    API(46, 0, 0, "ListPartitionReassignments", list_partition_reassignments),
    API(47, 0, 0, "OffsetDelete", offset_delete),
    API(48, 0, 1, "DescribeClientQuotas", describe_client_quotas),
    API(49, 0, 1, "AlterClientQuotas", alter_client_quotas),
    API(50, 0, 0, "DescribeUserScramCredentials", describe_user_scram_credentials),
    API(51, 0, 0, "AlterUserScramCredentials", alter_user_scram_credentials),
    API(55, 0, 2, "DescribeQuorum", describe_quorum),
    API(57, 0, 2, "UpdateFeatures", update_features),
    API(60, 0, 2, "DescribeCluster", describe_cluster),
    API(61, 0, 0, "DescribeProducers", describe_producers),
    API(64, 0, 0, "UnregisterBroker", unregister_broker),
    API(65, 0, 0, "DescribeTransactions", describe_transactions),
    API(66, 0, 2, "ListTransactions", list_transactions),
    API(68, 0, 1, "ConsumerGroupHeartbeat", consumer_group_heartbeat),
    API(69, 0, 1, "ConsumerGroupDescribe", consumer_group_describe),
    API(74, 0, 1, "ListConfigResources", list_config_resources),
    API(75, 0, 0, "DescribeTopicPartitions", describe_topic_partitions),
    API(76, 1, 1, "ShareGroupHeartbeat", share_group_heartbeat),
    API(77, 1, 1, "ShareGroupDescribe", share_group_describe),
    API(78, 1, 2, "ShareFetch", share_fetch),
    API(79, 1, 2, "ShareAcknowledge", share_acknowledge),
    API(90, 0, 1, "DescribeShareGroupOffsets", describe_share_group_offsets),
    API(91, 0, 0, "AlterShareGroupOffsets", alter_share_group_offsets),
    API(92, 0, 0, "DeleteShareGroupOffsets", delete_share_group_offsets),
};
/* clang-format on */

const size_t kafka_api_count = sizeof kafka_apis / sizeof *kafka_apis;

_Static_assert(sizeof kafka_apis / sizeof *kafka_apis <= API_KEYS_MAX, "a counter for each");
