/* Who answers which request: the functions that stand in the table of apis.c. */
#ifndef BECK_WIRE_KAFKA_HANDLERS_H
#define BECK_WIRE_KAFKA_HANDLERS_H

#include "wire/kafka/request.h"

/* metadata.c */
void handle_metadata(struct kafka_request *r);
void handle_describe_cluster(struct kafka_request *r);
void handle_unregister_broker(struct kafka_request *r);
void handle_describe_topic_partitions(struct kafka_request *r);

/* cluster.c */
void handle_elect_leaders(struct kafka_request *r);
void handle_alter_partition_reassignments(struct kafka_request *r);
void handle_list_partition_reassignments(struct kafka_request *r);
void handle_describe_quorum(struct kafka_request *r);

/* produce.c, fetch.c, list_offsets.c */
void handle_produce(struct kafka_request *r);
void handle_fetch(struct kafka_request *r);
void handle_list_offsets(struct kafka_request *r);
void handle_offset_for_leader_epoch(struct kafka_request *r);

/* topics.c */
void handle_create_topics(struct kafka_request *r);
void handle_delete_topics(struct kafka_request *r);
void handle_delete_records(struct kafka_request *r);
void handle_create_partitions(struct kafka_request *r);

/* configs.c, log_dirs.c */
void handle_describe_configs(struct kafka_request *r);
void handle_alter_configs(struct kafka_request *r);
void handle_incremental_alter_configs(struct kafka_request *r);
void handle_list_config_resources(struct kafka_request *r);
void handle_describe_log_dirs(struct kafka_request *r);
void handle_alter_replica_log_dirs(struct kafka_request *r);

/* producers.c, transactions.c */
void handle_init_producer_id(struct kafka_request *r);
void handle_describe_producers(struct kafka_request *r);
void handle_write_txn_markers(struct kafka_request *r);
void handle_add_partitions_to_txn(struct kafka_request *r);
void handle_add_offsets_to_txn(struct kafka_request *r);
void handle_end_txn(struct kafka_request *r);
void handle_describe_transactions(struct kafka_request *r);
void handle_list_transactions(struct kafka_request *r);

/* share.c */
void handle_share_group_heartbeat(struct kafka_request *r);
void handle_share_group_describe(struct kafka_request *r);
void handle_share_fetch(struct kafka_request *r);
void handle_share_acknowledge(struct kafka_request *r);
void handle_describe_share_group_offsets(struct kafka_request *r);
void handle_alter_share_group_offsets(struct kafka_request *r);
void handle_delete_share_group_offsets(struct kafka_request *r);

/* groups.c */
void handle_find_coordinator(struct kafka_request *r);
void handle_join_group(struct kafka_request *r);
void handle_heartbeat(struct kafka_request *r);
void handle_leave_group(struct kafka_request *r);
void handle_sync_group(struct kafka_request *r);
void handle_describe_groups(struct kafka_request *r);
void handle_list_groups(struct kafka_request *r);
void handle_delete_groups(struct kafka_request *r);

/* offsets.c */
void handle_offset_commit(struct kafka_request *r);
void handle_offset_fetch(struct kafka_request *r);
void handle_txn_offset_commit(struct kafka_request *r);
void handle_offset_delete(struct kafka_request *r);

/* consumer_groups.c */
void handle_consumer_group_heartbeat(struct kafka_request *r);
void handle_consumer_group_describe(struct kafka_request *r);

/* api_versions.c */
void handle_api_versions(struct kafka_request *r);
void handle_update_features(struct kafka_request *r);

/* authenticate.c */
void handle_sasl_handshake(struct kafka_request *r);
void handle_sasl_authenticate(struct kafka_request *r);

/* scram.c */
void handle_describe_user_scram_credentials(struct kafka_request *r);
void handle_alter_user_scram_credentials(struct kafka_request *r);

/* acls.c */
void handle_describe_acls(struct kafka_request *r);
void handle_create_acls(struct kafka_request *r);
void handle_delete_acls(struct kafka_request *r);

/* quotas.c */
void handle_describe_client_quotas(struct kafka_request *r);
void handle_alter_client_quotas(struct kafka_request *r);

#endif
