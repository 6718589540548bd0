/* What can be configured: names, types, defaults and ranges are Kafka's (4.x). */
#include "kafka/configs.h"

#include "base/bytes.h"

/* clang-format off */
#define T CONFIG_TOPIC
#define B CONFIG_BROKER
#define G CONFIG_GROUP
/* NOLINTBEGIN(bugprone-macro-parentheses): each stands alone between commas */
#define BOOLEAN(of_, name_, standard_, broker_, about_) \
    {.of = of_, .name = name_, .type = CONFIG_BOOLEAN, .standard = standard_, .broker = broker_, .about = about_}
#define NUMBER(of_, type_, name_, standard_, min_, max_, broker_, about_) \
    {.of = of_, .name = name_, .type = type_, .standard = standard_, .min = min_, .max = max_, .broker = broker_, .about = about_}
#define INT(of_, name_, standard_, min_, broker_, about_) NUMBER(of_, CONFIG_INT, name_, standard_, min_, INT32_MAX, broker_, about_)
#define LONG(of_, name_, standard_, min_, broker_, about_) NUMBER(of_, CONFIG_LONG, name_, standard_, min_, INT64_MAX, broker_, about_)
#define TEXT(of_, type_, name_, standard_, words_, broker_, about_) \
    {.of = of_, .name = name_, .type = type_, .standard = standard_, .words = words_, .broker = broker_, .about = about_}
#define FIXED(type_, name_, standard_, about_) \
    {.of = B, .name = name_, .type = type_, .standard = standard_, .fixed = true, .about = about_}
/* NOLINTEND(bugprone-macro-parentheses) */

/* In order of resource and name. */
const struct config_key config_keys[] = {
    TEXT(T, CONFIG_LIST, "cleanup.policy", "delete", "delete|compact", "log.cleanup.policy", "What is done with old segments: deleted by time and size, compacted by key, or both."),
    INT(T, "compression.gzip.level", "-1", -1, "compression.gzip.level", "Kept and given back."),
    NUMBER(T, CONFIG_INT, "compression.lz4.level", "9", 1, 17, "compression.lz4.level", "Kept and given back."),
    TEXT(T, CONFIG_STRING, "compression.type", "producer", "uncompressed|zstd|lz4|snappy|gzip|producer", "compression.type", "The codec of stored batches: those of producers are compressed anew when they come with another one. producer: as they come; what beck makes of events of other protocols is not compressed."),
    NUMBER(T, CONFIG_INT, "compression.zstd.level", "3", -131072, 22, "compression.zstd.level", "Kept and given back."),
    LONG(T, "delete.retention.ms", "86400000", 0, "log.cleaner.delete.retention.ms", "How long compaction keeps records without a value, and ends of transactions."),
    BOOLEAN(T, "errors.deadletterqueue.group.enable", "false", NULL, "Whether groups may write their dead letters into it."),
    LONG(T, "file.delete.delay.ms", "60000", 0, "log.segment.delete.delay.ms", "Kept and given back."),
    LONG(T, "flush.messages", "9223372036854775807", 1, "log.flush.interval.messages", "If it is set, each append is synced before the answer, whatever acks says."),
    LONG(T, "flush.ms", "9223372036854775807", 0, "log.flush.interval.ms", "What was written is synced by then, looked at four times a second; at the latest every few seconds (checkpoint)."),
    TEXT(T, CONFIG_LIST, "follower.replication.throttled.replicas", "", NULL, NULL, "Kept and given back: there are no replicas."),
    INT(T, "index.interval.bytes", "4096", 0, "log.index.interval.bytes", "Kept and given back."),
    TEXT(T, CONFIG_LIST, "leader.replication.throttled.replicas", "", NULL, NULL, "Kept and given back: there are no replicas."),
    LONG(T, "local.retention.bytes", "-2", -2, "log.local.retention.bytes", "Kept and given back."),
    LONG(T, "local.retention.ms", "-2", -2, "log.local.retention.ms", "Kept and given back."),
    LONG(T, "max.compaction.lag.ms", "9223372036854775807", 1, "log.cleaner.max.compaction.lag.ms", "Segments are sealed after this time, and older ones compacted however little there is to compact."),
    NUMBER(T, CONFIG_INT, "max.message.bytes", "1048588", 0, 64 << 20, "message.max.bytes", "The largest batch that is taken, compressed; at most 64 MiB."),
    LONG(T, "message.timestamp.after.max.ms", "3600000", 0, "log.message.timestamp.after.max.ms", "How far in the future the time of a record may be."),
    LONG(T, "message.timestamp.before.max.ms", "9223372036854775807", 0, "log.message.timestamp.before.max.ms", "How far in the past the time of a record may be."),
    TEXT(T, CONFIG_STRING, "message.timestamp.type", "CreateTime", "CreateTime|LogAppendTime", "log.message.timestamp.type", "Whether the time of a record is the producer's, or when it was stored."),
    {.of = T, .name = "min.cleanable.dirty.ratio", .type = CONFIG_DOUBLE, .standard = "0.5", .min = 0, .max = 1, .broker = "log.cleaner.min.cleanable.ratio", .about = "The share of what was not compacted yet, from which on it is compacted."},
    LONG(T, "min.compaction.lag.ms", "0", 0, "log.cleaner.min.compaction.lag.ms", "Younger records are not compacted."),
    INT(T, "min.insync.replicas", "1", 1, "min.insync.replicas", "Kept and given back: this broker is the only replica."),
    BOOLEAN(T, "preallocate", "false", "log.preallocate", "Kept and given back."),
    BOOLEAN(T, "remote.log.copy.disable", "false", NULL, "Kept and given back."),
    BOOLEAN(T, "remote.log.delete.on.disable", "false", NULL, "Kept and given back."),
    {.of = T, .name = "remote.storage.enable", .type = CONFIG_BOOLEAN, .standard = "false", .words = "false", .about = "There is no tiered storage."},
    LONG(T, "retention.bytes", "-1", -1, "log.retention.bytes", "How large a partition may grow before its oldest segments go; -1: no limit."),
    LONG(T, "retention.ms", "604800000", -1, "log.retention.ms", "How long records are kept; -1: for ever."),
    INT(T, "segment.bytes", "1073741824", 1048576, "log.segment.bytes", "The size of a segment's file."),
    INT(T, "segment.index.bytes", "10485760", 4, "log.index.size.max.bytes", "Kept and given back."),
    LONG(T, "segment.jitter.ms", "0", 0, NULL, "Kept and given back."),
    LONG(T, "segment.ms", "604800000", 1, "log.roll.ms", "After how long a segment is closed."),
    BOOLEAN(T, "unclean.leader.election.enable", "false", "unclean.leader.election.enable", "Kept and given back: there are no replicas."),

    FIXED(CONFIG_STRING, "advertised.listeners", NULL, "Where clients find this broker: see Metadata."),
    FIXED(CONFIG_BOOLEAN, "auto.create.topics.enable", NULL, "Whether topics are made when they are asked for."),
    FIXED(CONFIG_INT, "background.threads", "10", "Nothing here depends on it."),
    FIXED(CONFIG_INT, "broker.id", NULL, "The number of this broker."),
    FIXED(CONFIG_STRING, "broker.rack", NULL, "None."),
    NUMBER(B, CONFIG_INT, "compression.gzip.level", "-1", -1, 9, NULL, "Kept and given back."),
    TEXT(B, CONFIG_STRING, "compression.type", "producer", "uncompressed|zstd|lz4|snappy|gzip|producer", NULL, "The default of topics that are made from then on."),
    FIXED(CONFIG_INT, "default.replication.factor", "1", "This broker is the only replica."),
    FIXED(CONFIG_BOOLEAN, "delete.topic.enable", "true", "Topics can be deleted."),
    LONG(B, "follower.replication.throttled.rate", "9223372036854775807", 0, NULL, "Kept and given back."),
    FIXED(CONFIG_STRING, "group.consumer.migration.policy", "bidirectional", "Groups change from the classic protocol to the new one and back with their members."),
    FIXED(CONFIG_LIST, "group.coordinator.rebalance.protocols", "classic,consumer,share", "The protocols of groups."),
    LONG(B, "leader.replication.throttled.rate", "9223372036854775807", 0, NULL, "Kept and given back."),
    LONG(B, "log.cleaner.backoff.ms", "15000", 0, NULL, "Kept and given back: how often compaction looks at what is to go is retention_check."),
    FIXED(CONFIG_LONG, "log.cleaner.dedupe.buffer.size", "134217728", "Nothing here depends on it."),
    LONG(B, "log.cleaner.delete.retention.ms", "86400000", 0, NULL, "The default of topics that are made from then on."),
    FIXED(CONFIG_BOOLEAN, "log.cleaner.enable", "true", "Topics can be compacted."),
    FIXED(CONFIG_DOUBLE, "log.cleaner.io.buffer.load.factor", "0.9", "Nothing here depends on it."),
    FIXED(CONFIG_INT, "log.cleaner.io.buffer.size", "524288", "Nothing here depends on it."),
    LONG(B, "log.cleaner.max.compaction.lag.ms", "9223372036854775807", 1, NULL, "The default of topics that are made from then on."),
    {.of = B, .name = "log.cleaner.min.cleanable.ratio", .type = CONFIG_DOUBLE, .standard = "0.5", .min = 0, .max = 1, .about = "The default of topics that are made from then on."},
    LONG(B, "log.cleaner.min.compaction.lag.ms", "0", 0, NULL, "The default of topics that are made from then on."),
    FIXED(CONFIG_INT, "log.cleaner.threads", "1", "Nothing here depends on it."),
    TEXT(B, CONFIG_LIST, "log.cleanup.policy", "delete", "delete|compact", NULL, "The default of topics that are made from then on."),
    FIXED(CONFIG_STRING, "log.dir", NULL, "The data directory."),
    FIXED(CONFIG_STRING, "log.dirs", NULL, "The data directory."),
    LONG(B, "log.flush.interval.messages", "9223372036854775807", 1, NULL, "The default of topics that are made from then on."),
    LONG(B, "log.message.timestamp.after.max.ms", "3600000", 0, NULL, "The default of topics that are made from then on."),
    LONG(B, "log.message.timestamp.before.max.ms", "9223372036854775807", 0, NULL, "The default of topics that are made from then on."),
    TEXT(B, CONFIG_STRING, "log.message.timestamp.type", "CreateTime", "CreateTime|LogAppendTime", NULL, "The default of topics that are made from then on."),
    LONG(B, "log.retention.bytes", "-1", -1, NULL, "The default of topics that are made from then on."),
    FIXED(CONFIG_LONG, "log.retention.check.interval.ms", NULL, "How often retention looks at what is to go: retention_check."),
    FIXED(CONFIG_INT, "log.retention.hours", "168", "The default of topics."),
    LONG(B, "log.retention.ms", "604800000", -1, NULL, "The default of topics that are made from then on."),
    LONG(B, "log.roll.ms", "604800000", 1, NULL, "The default of topics that are made from then on."),
    INT(B, "log.segment.bytes", "1073741824", 1048576, NULL, "The default of topics that are made from then on."),
    FIXED(CONFIG_INT, "max.connection.creation.rate", "2147483647", "Nothing here depends on it."),
    FIXED(CONFIG_INT, "max.connections", "2147483647", "kafka.connections_max is the limit."),
    FIXED(CONFIG_INT, "max.connections.per.ip", "2147483647", "kafka.connections_per_address_max is the limit."),
    NUMBER(B, CONFIG_INT, "message.max.bytes", "1048588", 0, 64 << 20, NULL, "The default of topics that are made from then on."),
    FIXED(CONFIG_LIST, "metric.reporters", "", "Nothing here depends on it."),
    FIXED(CONFIG_INT, "min.insync.replicas", "1", "This broker is the only replica."),
    FIXED(CONFIG_INT, "node.id", NULL, "The number of this broker."),
    FIXED(CONFIG_INT, "num.io.threads", "8", "Nothing here depends on it."),
    FIXED(CONFIG_INT, "num.network.threads", "3", "Nothing here depends on it."),
    FIXED(CONFIG_INT, "num.partitions", NULL, "Partitions of topics that are made without a number."),
    FIXED(CONFIG_INT, "num.recovery.threads.per.data.dir", "2", "Nothing here depends on it."),
    FIXED(CONFIG_INT, "num.replica.fetchers", "1", "Nothing here depends on it."),
    FIXED(CONFIG_INT, "offsets.retention.minutes", "10080", "How long the offsets of groups without members are kept."),
    FIXED(CONFIG_INT, "offsets.topic.num.partitions", "1", "Partitions of __consumer_offsets."),
    FIXED(CONFIG_SHORT, "offsets.topic.replication.factor", "1", "This broker is the only replica."),
    FIXED(CONFIG_LIST, "process.roles", "broker,controller", "What this broker is."),
    FIXED(CONFIG_INT, "producer.id.expiration.ms", "86400000", "After how long a partition forgets a producer that writes nothing."),
    LONG(B, "replica.alter.log.dirs.io.max.bytes.per.second", "9223372036854775807", 0, NULL, "Kept and given back: there is one directory."),
    LONG(B, "sasl.kerberos.min.time.before.relogin", "60000", 0, NULL, "Kept and given back: there is no Kerberos."),
    FIXED(CONFIG_INT, "transaction.max.timeout.ms", "900000", "How long a transaction may take."),
    FIXED(CONFIG_INT, "transaction.state.log.num.partitions", "1", "Partitions of __transaction_state."),
    FIXED(CONFIG_BOOLEAN, "unclean.leader.election.enable", "false", "There are no replicas."),

    NUMBER(G, CONFIG_INT, "consumer.heartbeat.interval.ms", "5000", 5000, 15000, "group.consumer.heartbeat.interval.ms", "How often members of a consumer group send heartbeats."),
    NUMBER(G, CONFIG_INT, "consumer.session.timeout.ms", "45000", 45000, 60000, "group.consumer.session.timeout.ms", "After how long without one a member of a consumer group is gone."),
    BOOLEAN(G, "errors.deadletterqueue.copy.record.enable", "false", NULL, "Whether dead letters of a share group hold the record."),
    TEXT(G, CONFIG_STRING, "errors.deadletterqueue.topic.name", "", "|dlq.*", NULL, "Where dead letters of a share group go, if it is there and allows it; begins with \"dlq.\"."),
    TEXT(G, CONFIG_STRING, "share.auto.offset.reset", "latest", "earliest|latest|by_duration:P*", NULL, "Where a share group begins: earliest, latest or by_duration:<ISO 8601>."),
    NUMBER(G, CONFIG_INT, "share.delivery.count.limit", "5", 2, 10, "group.share.delivery.count.limit", "How often a record is delivered before it is given up."),
    NUMBER(G, CONFIG_INT, "share.heartbeat.interval.ms", "5000", 5000, 15000, "group.share.heartbeat.interval.ms", "How often members of a share group send heartbeats."),
    TEXT(G, CONFIG_STRING, "share.isolation.level", "read_uncommitted", "read_committed|read_uncommitted", NULL, "Which records of transactions a share group sees."),
    NUMBER(G, CONFIG_INT, "share.partition.max.record.locks", "2000", 100, 4000, "group.share.partition.max.record.locks", "How many records of a partition may be acquired."),
    NUMBER(G, CONFIG_INT, "share.record.lock.duration.ms", "30000", 15000, 60000, "group.share.record.lock.duration.ms", "How long an acquired record is locked."),
    BOOLEAN(G, "share.renew.acknowledge.enable", "true", NULL, "Whether locks may be renewed."),
    NUMBER(G, CONFIG_INT, "share.session.timeout.ms", "45000", 45000, 60000, "group.share.session.timeout.ms", "After how long without heartbeat a member of a share group is gone."),
    NUMBER(G, CONFIG_INT, "streams.heartbeat.interval.ms", "5000", 5000, 15000, "group.streams.heartbeat.interval.ms", "Kept and given back."),
    NUMBER(G, CONFIG_INT, "streams.num.standby.replicas", "0", 0, 2, "group.streams.num.standby.replicas", "Kept and given back."),
    NUMBER(G, CONFIG_INT, "streams.session.timeout.ms", "45000", 45000, 60000, "group.streams.session.timeout.ms", "Kept and given back."),
};
/* clang-format on */
const size_t config_key_count = sizeof config_keys / sizeof config_keys[0];

const struct config_key *config_key_find(enum config_resource of, beck_bytes name)
{
    for (size_t i = 0; i < config_key_count; i++)
        if (config_keys[i].of == of && bytes_equal_text(name, config_keys[i].name))
            return &config_keys[i];
    return NULL;
}
