/* Configurations: checked, kept, given back, and in force where they mean something. */
#include "kafka/kafka_impl.h"
#include "log/partition_impl.h"
#include "place.h"

/* ---- what describing says ---- */

struct entry {
    char name[64], value[128];
    enum config_source source;
    bool fixed, no_value;
    size_t synonyms;
};
struct entries {
    struct entry list[128];
    size_t count;
};

static void add(void *ctx, const struct config_entry *e)
{
    struct entries *all = ctx;
    struct entry *x = &all->list[all->count++];
    snprintf(x->name, sizeof x->name, "%s", e->key->name);
    snprintf(x->value, sizeof x->value, "%s", e->value ? e->value : "");
    x->no_value = !e->value;
    x->source = e->source;
    x->fixed = e->key->fixed;
    x->synonyms = e->synonym_count;
}

static struct entry look(struct place *p, int8_t type, const char *name, const char *key)
{
    struct entries all = {.count = 0};
    accepted(p, configs_describe(p->k, type, beck_str(name), add, &all, p->text));
    for (size_t i = 0; i < all.count; i++)
        if (strcmp(all.list[i].name, key) == 0)
            return all.list[i];
    fail_msg("%s is not described", key);
    return all.list[0];
}

static void check_entry(struct place *p, int8_t type, const char *name, const char *key,
                        const char *value, enum config_source source)
{
    struct entry e = look(p, type, name, key);
    if (strcmp(e.value, value) != 0 || e.source != source)
        fail_msg("%s is %s (%d), not %s (%d)", key, e.value, e.source, value, source);
}

static struct config_change change(const char *name, int8_t operation, const char *value)
{
    return (struct config_change){beck_str(name), operation, beck_str(value)};
}

static int alter_one(struct place *p, int8_t type, const char *name, const char *key,
                     int8_t operation, const char *value)
{
    struct config_change c = change(key, operation, value);
    return configs_alter(p->k, type, beck_str(name), &c, 1, false, false, p->text);
}

static int set(struct place *p, const char *key, const char *value)
{
    return alter_one(p, CONFIG_TOPIC, "t", key, CONFIG_SET, value);
}

static int create_with(struct place *p, const char *key, const char *value)
{
    struct config_change c = change(key, CONFIG_SET, value);
    struct topic_made made = {0};
    struct topic_new what = {.name = beck_str("t"),
                             .partitions = 1,
                             .replication_factor = 1,
                             .configs = &c,
                             .config_count = 1};
    return topics_create(p->k, &what, &made, p->text);
}

static beck_bus_options options(struct place *p)
{
    beck_bus_options o;
    bus_options_get(topic(p, "t")->bus, &o);
    return o;
}

/* ---- topics ---- */

static void defaults_are_kafkas(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "t", 1));
    check_entry(&p, CONFIG_TOPIC, "t", "cleanup.policy", "delete", CONFIG_FROM_DEFAULT);
    check_entry(&p, CONFIG_TOPIC, "t", "retention.ms", "604800000", CONFIG_FROM_DEFAULT);
    check_entry(&p, CONFIG_TOPIC, "t", "max.message.bytes", "1048588", CONFIG_FROM_DEFAULT);
    check_entry(&p, CONFIG_TOPIC, "t", "compression.type", "producer", CONFIG_FROM_DEFAULT);
    assert_int_equal(options(&p).retention_ms, 604800000);
    assert_int_equal(look(&p, CONFIG_TOPIC, "t", "retention.ms").synonyms, 1);
    place_end(&p);
}

static void what_a_topic_is_made_with_is_in_force(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create_with(&p, "retention.ms", "1000"));
    assert_int_equal(options(&p).retention_ms, 1000);
    check_entry(&p, CONFIG_TOPIC, "t", "retention.ms", "1000", CONFIG_FROM_TOPIC);
    assert_int_equal(look(&p, CONFIG_TOPIC, "t", "retention.ms").synonyms, 2);
    place_crash(&p);
    check_entry(&p, CONFIG_TOPIC, "t", "retention.ms", "1000", CONFIG_FROM_TOPIC);
    place_end(&p);
}

static void unknown_and_wrong_ones_are_refused(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    refused(&p, KAFKA_INVALID_CONFIG, "Unknown topic config name: dummy.doesntexist",
            create_with(&p, "dummy.doesntexist", "x"));
    assert_null(topics_find(p.k, beck_str("t")));
    accepted(&p, create(&p, "t", 1));
    refused(&p, KAFKA_INVALID_CONFIG, "Not a number of type LONG", set(&p, "retention.ms", "soon"));
    refused(&p, KAFKA_INVALID_CONFIG, "must be at least -1", set(&p, "retention.ms", "-2"));
    refused(&p, KAFKA_INVALID_CONFIG, "no more than", set(&p, "segment.bytes", "2147483648"));
    refused(&p, KAFKA_INVALID_CONFIG, "String must be one of", set(&p, "cleanup.policy", "burn"));
    refused(&p, KAFKA_INVALID_CONFIG, "true or false", set(&p, "preallocate", "perhaps"));
    refused(&p, KAFKA_INVALID_CONFIG, "0 to 1", set(&p, "min.cleanable.dirty.ratio", "1.5"));
    refused(&p, KAFKA_INVALID_CONFIG, "Tiered Storage", set(&p, "remote.storage.enable", "true"));
    accepted(&p, set(&p, "remote.storage.enable", "false"));
    refused(&p, KAFKA_INVALID_CONFIG, "at least 1048576", set(&p, "segment.bytes", "4096"));
    refused(&p, KAFKA_INVALID_REQUEST, "Null value", set(&p, "retention.ms", NULL));
    accepted(&p, alter_one(&p, CONFIG_TOPIC, "t", "dummy.doesntexist", CONFIG_DELETE, NULL));
    struct entries none = {.count = 0};
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "",
            configs_describe(p.k, CONFIG_TOPIC, beck_str("a b"), add, &none, p.text));
    refused(&p, KAFKA_INVALID_REQUEST, "Unknown operation",
            alter_one(&p, CONFIG_TOPIC, "t", "retention.ms", 9, "1"));
    refused(&p, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "",
            alter_one(&p, CONFIG_TOPIC, "none", "retention.ms", CONFIG_SET, "1"));
    check_entry(&p, CONFIG_TOPIC, "t", "retention.ms", "604800000", CONFIG_FROM_DEFAULT);
    place_end(&p);
}

static void changes_are_in_force_at_once_and_after_a_restart(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "t", 1));
    struct topic *t = topic(&p, "t");
    accepted(&p, set(&p, "cleanup.policy", "compact"));
    accepted(&p, set(&p, "max.message.bytes", "2000"));
    accepted(&p, set(&p, "message.timestamp.type", "LogAppendTime"));
    accepted(&p, set(&p, "compression.type", "lz4"));
    accepted(&p, set(&p, "segment.bytes", "1048576"));
    assert_int_equal(options(&p).delete_retention_ms, 86400000);
    accepted(&p, set(&p, "delete.retention.ms", "0"));
    for (int i = 0; i < 2; i++) {
        assert_true(options(&p).compact);
        assert_int_equal(options(&p).retention_ms, 0);
        assert_int_equal(options(&p).event_bytes_max, 2000);
        assert_int_equal(options(&p).codec, BECK_CODEC_LZ4);
        assert_int_equal(options(&p).segment_bytes, 1048576);
        assert_int_equal(options(&p).delete_retention_ms, 1); /* a bus has no 0 */
        check_entry(&p, CONFIG_TOPIC, "t", "delete.retention.ms", "0", CONFIG_FROM_TOPIC);
        assert_true(atomic_load(&t->compact));
        assert_true(atomic_load(&t->append_time));
        assert_int_equal(atomic_load(&t->batch_bytes_max), 2000);
        place_crash(&p);
        t = topic(&p, "t");
    }
    accepted(&p, alter_one(&p, CONFIG_TOPIC, "t", "cleanup.policy", CONFIG_APPEND, "delete"));
    check_entry(&p, CONFIG_TOPIC, "t", "cleanup.policy", "compact,delete", CONFIG_FROM_TOPIC);
    assert_int_equal(options(&p).retention_ms, 604800000);
    accepted(&p, alter_one(&p, CONFIG_TOPIC, "t", "cleanup.policy", CONFIG_SUBTRACT, "compact"));
    check_entry(&p, CONFIG_TOPIC, "t", "cleanup.policy", "delete", CONFIG_FROM_TOPIC);
    assert_false(options(&p).compact);
    place_end(&p);
}

static void deleted_ones_have_their_default_again(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create_with(&p, "retention.bytes", "123456"));
    assert_int_equal(options(&p).retention_bytes, 123456);
    accepted(&p, alter_one(&p, CONFIG_TOPIC, "t", "retention.bytes", CONFIG_DELETE, NULL));
    assert_int_equal(options(&p).retention_bytes, 0);
    check_entry(&p, CONFIG_TOPIC, "t", "retention.bytes", "-1", CONFIG_FROM_DEFAULT);
    place_end(&p);
}

static void what_replaces_takes_all_others_back(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create_with(&p, "retention.bytes", "123456"));
    struct config_change c[] = {change("flush.ms", CONFIG_SET, "500")};
    accepted(&p, configs_alter(p.k, CONFIG_TOPIC, beck_str("t"), c, 1, true, true, p.text));
    check_entry(&p, CONFIG_TOPIC, "t", "retention.bytes", "123456", CONFIG_FROM_TOPIC);
    accepted(&p, configs_alter(p.k, CONFIG_TOPIC, beck_str("t"), c, 1, true, false, p.text));
    check_entry(&p, CONFIG_TOPIC, "t", "retention.bytes", "-1", CONFIG_FROM_DEFAULT);
    check_entry(&p, CONFIG_TOPIC, "t", "flush.ms", "500", CONFIG_FROM_TOPIC);
    place_end(&p);
}

static void check_rules(const struct place *p, int32_t number, int64_t sync_ms, int64_t after_ms,
                        int64_t within_ms, double share)
{
    const struct topic *t = topics_find(p->k, beck_str("t"));
    assert_non_null(t);
    const struct partition_rules *r = &topic_partition(t, number)->rules;
    assert_int_equal(r->sync_within_ms, sync_ms);
    assert_int_equal(r->compact_after_ms, after_ms);
    assert_int_equal(r->compact_within_ms, within_ms);
    assert_true(r->compact_share > share - 0.001 && r->compact_share < share + 0.001);
}

static void partitions_keep_to_what_is_said_of_syncs_and_compaction(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create_with(&p, "cleanup.policy", "compact"));
    check_rules(&p, 0, 0, 0, 0, 0.5);
    int64_t segment_ms = options(&p).segment_ms;
    accepted(&p, set(&p, "flush.ms", "500"));
    accepted(&p, set(&p, "min.compaction.lag.ms", "1000"));
    accepted(&p, set(&p, "max.compaction.lag.ms", "60000"));
    accepted(&p, set(&p, "min.cleanable.dirty.ratio", "0.25"));
    check_rules(&p, 0, 500, 1000, 60000, 0.25);
    assert_int_equal(options(&p).segment_ms, 60000);
    check_entry(&p, CONFIG_TOPIC, "t", "segment.ms", "604800000", CONFIG_FROM_DEFAULT);
    place_crash(&p);
    check_rules(&p, 0, 500, 1000, 60000, 0.25);
    beck_bus_options more = options(&p);
    more.partitions++;
    check_ok(beck_bus_alter(topics_find(p.k, beck_str("t"))->bus, &more, err));
    check_rules(&p, (int32_t)more.partitions - 1, 500, 1000, 60000, 0.25);
    check_entry(&p, CONFIG_TOPIC, "t", "segment.ms", "604800000", CONFIG_FROM_DEFAULT);
    accepted(&p, set(&p, "max.compaction.lag.ms", "9223372036854775807"));
    check_rules(&p, 0, 500, 1000, 0, 0.25);
    assert_int_equal(options(&p).segment_ms, segment_ms);
    place_end(&p);
}

static void of_several_changes_all_are_made_or_none(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "t", 1));
    struct config_change bad[] = {change("retention.ms", CONFIG_SET, "5"),
                                  change("segment.ms", CONFIG_SET, "0")};
    struct config_change twice[] = {change("retention.ms", CONFIG_SET, "5"),
                                    change("retention.ms", CONFIG_SET, "6")};
    refused(&p, KAFKA_INVALID_CONFIG, "segment.ms",
            configs_alter(p.k, CONFIG_TOPIC, beck_str("t"), bad, 2, false, false, p.text));
    refused(&p, KAFKA_INVALID_REQUEST, "duplicate",
            configs_alter(p.k, CONFIG_TOPIC, beck_str("t"), twice, 2, false, false, p.text));
    assert_int_equal(options(&p).retention_ms, 604800000);
    place_end(&p);
}

static void a_bus_made_by_other_means_shows_what_it_has(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    world_bus(
        &p.w, "t",
        &(beck_bus_options){.compact = true, .delete_retention_ms = 5000, .segment_bytes = 65536});
    check_entry(&p, CONFIG_TOPIC, "t", "cleanup.policy", "compact", CONFIG_FROM_TOPIC);
    check_entry(&p, CONFIG_TOPIC, "t", "segment.bytes", "65536", CONFIG_FROM_TOPIC);
    check_entry(&p, CONFIG_TOPIC, "t", "delete.retention.ms", "5000", CONFIG_FROM_TOPIC);
    accepted(&p, set(&p, "flush.ms", "1000"));
    assert_true(options(&p).compact);
    assert_int_equal(options(&p).segment_bytes, 65536);
    world_bus(&p.w, "for-ever", NULL);
    check_entry(&p, CONFIG_TOPIC, "for-ever", "retention.ms", "-1", CONFIG_FROM_TOPIC);
    place_end(&p);
}

static void a_topic_made_again_has_none_of_the_old_one(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create_with(&p, "flush.ms", "77"));
    check_ok(beck_bus_delete(p.w.b, "t", err));
    accepted(&p, create(&p, "t", 1));
    check_entry(&p, CONFIG_TOPIC, "t", "flush.ms", "9223372036854775807", CONFIG_FROM_DEFAULT);
    place_crash(&p);
    check_entry(&p, CONFIG_TOPIC, "t", "flush.ms", "9223372036854775807", CONFIG_FROM_DEFAULT);
    place_end(&p);
}

/* ---- the broker, and groups ---- */

static void the_brokers_settings_are_told_and_fixed(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    check_entry(&p, CONFIG_BROKER, "1", "node.id", "1", CONFIG_FROM_STATIC);
    check_entry(&p, CONFIG_BROKER, "1", "num.partitions", "4", CONFIG_FROM_STATIC);
    assert_true(look(&p, CONFIG_BROKER, "1", "node.id").fixed);
    refused(&p, KAFKA_INVALID_REQUEST, "Cannot update these configs dynamically: [node.id]",
            alter_one(&p, CONFIG_BROKER, "1", "node.id", CONFIG_SET, "2"));
    struct entries none = {.count = 0};
    refused(&p, KAFKA_INVALID_REQUEST, "Unexpected broker id, expected 1, but received 7",
            configs_describe(p.k, CONFIG_BROKER, beck_str("7"), add, &none, p.text));
    place_end(&p);
}

static void what_is_set_for_all_brokers_counts_less_than_for_one(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, alter_one(&p, CONFIG_BROKER, "", "compression.gzip.level", CONFIG_SET, "3"));
    check_entry(&p, CONFIG_BROKER, "1", "compression.gzip.level", "3", CONFIG_FROM_DYNAMIC_DEFAULT);
    accepted(&p, alter_one(&p, CONFIG_BROKER, "1", "compression.gzip.level", CONFIG_SET, "2"));
    check_entry(&p, CONFIG_BROKER, "1", "compression.gzip.level", "2", CONFIG_FROM_DYNAMIC_BROKER);
    assert_int_equal(look(&p, CONFIG_BROKER, "1", "compression.gzip.level").synonyms, 3);
    check_entry(&p, CONFIG_BROKER, "", "compression.gzip.level", "3", CONFIG_FROM_DYNAMIC_DEFAULT);
    place_crash(&p);
    check_entry(&p, CONFIG_BROKER, "1", "compression.gzip.level", "2", CONFIG_FROM_DYNAMIC_BROKER);
    place_end(&p);
}

static void what_cannot_be_changed_is_refused_and_throttles_of_tools_are_not(void **state)
{
    static const char *const fixed[] = {"transaction.max.timeout.ms", "producer.id.expiration.ms",
                                        "max.connections", "log.cleaner.threads"};
    struct place p;
    (void)state;
    place_start(&p);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        refused(&p, KAFKA_INVALID_REQUEST, "Cannot update these configs dynamically",
                alter_one(&p, CONFIG_BROKER, "1", fixed[i], CONFIG_SET, "7"));
        accepted(&p, alter_one(&p, CONFIG_BROKER, "1", fixed[i], CONFIG_DELETE, NULL));
    }
    accepted(&p, alter_one(&p, CONFIG_BROKER, "1", "replica.alter.log.dirs.io.max.bytes.per.second",
                           CONFIG_SET, "1000"));
    accepted(&p, alter_one(&p, CONFIG_BROKER, "1", "sasl.kerberos.min.time.before.relogin",
                           CONFIG_SET, "58000"));
    accepted(&p, alter_one(&p, CONFIG_BROKER, "1", "log.cleaner.backoff.ms", CONFIG_SET, "20000"));
    check_entry(&p, CONFIG_BROKER, "1", "log.cleaner.backoff.ms", "20000",
                CONFIG_FROM_DYNAMIC_BROKER);
    accepted(&p, alter_one(&p, CONFIG_BROKER, "1", "of.some.plugin", CONFIG_DELETE, NULL));
    place_end(&p);
}

static void what_could_be_changed_once_is_not_kept(void **state)
{
    struct place p;
    static const char data[] = "0123456789abcdef"
                               "max.connections\0007\0message.max.bytes\0002000";
    struct store_record record = {"config.broker", beck_str("1"), bytes_of(data, sizeof data)};
    (void)state;
    place_start(&p);
    struct entry before = look(&p, CONFIG_BROKER, "1", "max.connections");
    check_ok(store_put(p.k->store, &record, err));
    place_crash(&p);
    check_entry(&p, CONFIG_BROKER, "1", "max.connections", before.value, before.source);
    check_entry(&p, CONFIG_BROKER, "1", "message.max.bytes", "2000", CONFIG_FROM_DYNAMIC_BROKER);
    place_end(&p);
}

static void what_the_broker_says_of_topics_is_that_of_those_made_from_then_on(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "before", 1));
    accepted(&p, alter_one(&p, CONFIG_BROKER, "", "log.retention.ms", CONFIG_SET, "5000"));
    accepted(&p, alter_one(&p, CONFIG_BROKER, "", "message.max.bytes", CONFIG_SET, "3000"));
    accepted(&p, alter_one(&p, CONFIG_BROKER, "1", "message.max.bytes", CONFIG_SET, "2000"));
    accepted(&p, alter_one(&p, CONFIG_BROKER, "1", "log.message.timestamp.type", CONFIG_SET,
                           "LogAppendTime"));
    place_crash(&p);
    accepted(&p, create_with(&p, "retention.bytes", "77777"));
    assert_int_equal(options(&p).retention_ms, 5000);
    assert_int_equal(options(&p).retention_bytes, 77777);
    assert_int_equal(options(&p).event_bytes_max, 2000);
    assert_true(atomic_load(&topic(&p, "t")->append_time));
    check_entry(&p, CONFIG_TOPIC, "t", "retention.ms", "5000", CONFIG_FROM_TOPIC);
    check_entry(&p, CONFIG_TOPIC, "before", "retention.ms", "604800000", CONFIG_FROM_DEFAULT);
    accepted(&p, set(&p, "retention.ms", "6000"));
    assert_int_equal(options(&p).retention_ms, 6000);
    place_end(&p);
}

static void groups_are_kept_within_the_bounds_of_the_broker(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    refused(&p, KAFKA_INVALID_CONFIG,
            "consumer.session.timeout.ms must be greater than or equal to "
            "group.consumer.min.session.timeout.ms",
            alter_one(&p, CONFIG_GROUP, "g", "consumer.session.timeout.ms", CONFIG_SET, "44999"));
    refused(&p, KAFKA_INVALID_CONFIG, "group.share.max.record.lock.duration.ms",
            alter_one(&p, CONFIG_GROUP, "g", "share.record.lock.duration.ms", CONFIG_SET, "60001"));
    refused(
        &p, KAFKA_INVALID_CONFIG, "group.consumer.max.heartbeat.interval.ms",
        alter_one(&p, CONFIG_GROUP, "g", "consumer.heartbeat.interval.ms", CONFIG_SET, "15001"));
    accepted(&p,
             alter_one(&p, CONFIG_GROUP, "g", "consumer.session.timeout.ms", CONFIG_SET, "60000"));
    place_end(&p);
}

static void count_names(void *ctx, beck_bytes name)
{
    (void)name;
    ++*(size_t *)ctx;
}

static void groups_have_configurations_of_their_own(void **state)
{
    struct place p;
    char text[64];
    size_t names = 0;
    (void)state;
    place_start(&p);
    beck_bytes g = beck_str("g");
    assert_int_equal(configs_number(p.k, CONFIG_GROUP, g, "share.record.lock.duration.ms"), 30000);
    accepted(
        &p, alter_one(&p, CONFIG_GROUP, "g", "share.record.lock.duration.ms", CONFIG_SET, "20000"));
    accepted(&p, alter_one(&p, CONFIG_GROUP, "g", "share.auto.offset.reset", CONFIG_SET,
                           "by_duration:PT1H"));
    accepted(&p, alter_one(&p, CONFIG_GROUP, "g", "errors.deadletterqueue.topic.name", CONFIG_SET,
                           "dlq.orders"));
    refused(&p, KAFKA_INVALID_CONFIG, "",
            alter_one(&p, CONFIG_GROUP, "g", "errors.deadletterqueue.topic.name", CONFIG_SET,
                      "orders"));
    refused(&p, KAFKA_INVALID_CONFIG, "",
            alter_one(&p, CONFIG_GROUP, "g", "share.auto.offset.reset", CONFIG_SET, "middle"));
    refused(&p, KAFKA_INVALID_CONFIG, "Unknown group config name",
            alter_one(&p, CONFIG_GROUP, "g", "retention.ms", CONFIG_SET, "1"));
    refused(&p, KAFKA_INVALID_REQUEST, "", alter_one(&p, CONFIG_GROUP, "", "x", CONFIG_SET, "1"));
    place_crash(&p);
    assert_int_equal(configs_number(p.k, CONFIG_GROUP, g, "share.record.lock.duration.ms"), 20000);
    configs_text(p.k, CONFIG_GROUP, g, "share.auto.offset.reset", text, sizeof text);
    assert_string_equal(text, "by_duration:PT1H");
    check_ok(configs_list(p.k, CONFIG_GROUP, count_names, &names, err));
    assert_int_equal(names, 1);
    struct config_change none = change("x", CONFIG_SET, "");
    accepted(&p, configs_alter(p.k, CONFIG_GROUP, g, &none, 0, true, false, p.text));
    names = 0;
    check_ok(configs_list(p.k, CONFIG_GROUP, count_names, &names, err));
    assert_int_equal(names, 0);
    place_end(&p);
}

static void the_table_is_in_order_and_its_defaults_are_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *a = &config_keys[i], *b = &config_keys[i + 1];
        assert_non_null(a->about);
        assert_ptr_equal(config_key_find(a->of, beck_str(a->name)), a);
        if (i + 1 < config_key_count && a->of == b->of)
            assert_true(strcmp(a->name, b->name) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_kafkas),
        cmocka_unit_test(what_a_topic_is_made_with_is_in_force),
        cmocka_unit_test(unknown_and_wrong_ones_are_refused),
        cmocka_unit_test(changes_are_in_force_at_once_and_after_a_restart),
        cmocka_unit_test(deleted_ones_have_their_default_again),
        cmocka_unit_test(what_replaces_takes_all_others_back),
        cmocka_unit_test(partitions_keep_to_what_is_said_of_syncs_and_compaction),
        cmocka_unit_test(of_several_changes_all_are_made_or_none),
        cmocka_unit_test(a_bus_made_by_other_means_shows_what_it_has),
        cmocka_unit_test(a_topic_made_again_has_none_of_the_old_one),
        cmocka_unit_test(the_brokers_settings_are_told_and_fixed),
        cmocka_unit_test(what_is_set_for_all_brokers_counts_less_than_for_one),
        cmocka_unit_test(what_cannot_be_changed_is_refused_and_throttles_of_tools_are_not),
        cmocka_unit_test(what_could_be_changed_once_is_not_kept),
        cmocka_unit_test(what_the_broker_says_of_topics_is_that_of_those_made_from_then_on),
        cmocka_unit_test(groups_are_kept_within_the_bounds_of_the_broker),
        cmocka_unit_test(groups_have_configurations_of_their_own),
        cmocka_unit_test(the_table_is_in_order_and_its_defaults_are_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
