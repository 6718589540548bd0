/* Topics are buses: made, found, grown and deleted as Kafka's clients expect. */
#include "place.h"

static void topics_are_found_by_name_and_by_id(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "orders", 3));
    struct topic *t = topic(&p, "orders");
    assert_int_equal(topic_partitions(t), 3);
    assert_ptr_equal(topics_find_id(p.k, t->id), t);
    assert_memory_equal(t->id, bus_id(t->bus), TOPIC_ID);
    assert_non_null(topic_partition(t, 2));
    assert_null(topic_partition(t, 3));
    assert_null(topic_partition(t, -1));
    assert_null(topics_find(p.k, beck_str("order")));
    place_end(&p);
}

static void topics_are_there_after_a_restart_with_their_ids(void **state)
{
    struct place p;
    uint8_t id[TOPIC_ID];
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "a", 2));
    memcpy(id, topic(&p, "a")->id, TOPIC_ID);
    place_crash(&p);
    assert_memory_equal(topic(&p, "a")->id, id, TOPIC_ID);
    assert_int_equal(topic_partitions(topic(&p, "a")), 2);
    place_reopen(&p);
    assert_ptr_equal(topics_find_id(p.k, id), topic(&p, "a"));
    place_end(&p);
}

static void a_topic_made_again_has_another_id(void **state)
{
    struct place p;
    uint8_t id[TOPIC_ID];
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "a", 1));
    struct topic *old = topic(&p, "a");
    memcpy(id, old->id, TOPIC_ID);
    accepted(&p, topics_delete(p.k, old, p.text));
    assert_true(topic_is_gone(old));
    assert_null(topics_find(p.k, beck_str("a")));
    assert_null(topics_find_id(p.k, id));
    accepted(&p, create(&p, "a", 1));
    assert_true(memcmp(topic(&p, "a")->id, id, TOPIC_ID) != 0);
    refused(&p, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "", topics_delete(p.k, old, p.text));
    place_end(&p);
}

static void buses_on_disk_are_topics_whoever_makes_them(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    world_bus(&p.w, "disk", &(beck_bus_options){.partitions = 2});
    world_bus(&p.w, "memory", &(beck_bus_options){.storage = BECK_STORAGE_MEMORY});
    assert_int_equal(topic_partitions(topic(&p, "disk")), 2);
    assert_null(topics_find(p.k, beck_str("memory")));
    assert_null(topics_find(p.k, beck_str("__topology")));
    check_ok(beck_bus_delete(p.w.b, "disk", err));
    assert_null(topics_find(p.k, beck_str("disk")));
    place_end(&p);
}

static void lists_are_in_order_of_name(void **state)
{
    struct place p;
    struct topic **list;
    size_t count;
    (void)state;
    place_start(&p);
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%03d", (i * 37) % 200);
        accepted(&p, create(&p, name, 1));
    }
    check_ok(topics_list(p.k, &list, &count, err));
    assert_int_equal(count, 200);
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%03d", i);
        assert_true(bytes_equal_text(list[i]->name, name));
        assert_ptr_equal(topics_find(p.k, beck_str(name)), list[i]);
    }
    free(list);
    place_end(&p);
}

static void names_are_checked_as_kafka_does(void **state)
{
    struct place p;
    char name[300];
    (void)state;
    place_start(&p);
    memset(name, 'x', sizeof name);
    name[250] = 0;
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "empty string", create(&p, "", 1));
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "'..' is not allowed", create(&p, "..", 1));
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "max allowed length 249", create(&p, name, 1));
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "'a/b' contains", create(&p, "a/b", 1));
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "kept for beck", create(&p, "__users", 1));
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "kept for beck", create(&p, "__beck_later", 1));
    assert_int_equal(create(&p, "__debezium-heartbeat.srv", 1), KAFKA_NONE);
    assert_false(topics_find(p.k, beck_str("__debezium-heartbeat.srv"))->internal);
    name[249] = 0;
    accepted(&p, create(&p, name, 1));
    accepted(&p, create(&p, "a.b-c_d", 1));
    refused(&p, KAFKA_TOPIC_ALREADY_EXISTS, "'a.b-c_d' already exists", create(&p, "a.b-c_d", 1));
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "collides with existing topic: a.b-c_d",
            create(&p, "a_b-c.d", 1));
    place_end(&p);
}

static void numbers_of_partitions_and_replicas_are_checked(void **state)
{
    struct place p;
    struct topic_made made = {0};
    int32_t one = 1, two = 2;
    struct topic_assignment good[] = {{1, &one, 1}, {0, &one, 1}},
                            gap[] = {{0, &one, 1}, {2, &one, 1}}, other[] = {{0, &two, 1}};
    struct topic_new what = {.name = beck_str("t"), .partitions = -1, .replication_factor = 0};
    (void)state;
    place_start(&p);
    refused(&p, KAFKA_INVALID_PARTITIONS, "non-positive", create(&p, "t", 0));
    refused(&p, KAFKA_INVALID_PARTITIONS, "non-positive", create(&p, "t", -2));
    refused(&p, KAFKA_POLICY_VIOLATION, "at most 10000", create(&p, "t", 10001));
    refused(&p, KAFKA_INVALID_REPLICATION_FACTOR, "", topics_create(p.k, &what, &made, p.text));
    what.replication_factor = -1;
    what.assignment_count = 2;
    what.assignments = gap;
    refused(&p, KAFKA_INVALID_REPLICA_ASSIGNMENT, "consecutive",
            topics_create(p.k, &what, &made, p.text));
    what.assignments = other;
    what.assignment_count = 1;
    refused(&p, KAFKA_INVALID_REPLICA_ASSIGNMENT, "broker 2",
            topics_create(p.k, &what, &made, p.text));
    what.assignments = good;
    what.assignment_count = 2;
    what.partitions = 2;
    refused(&p, KAFKA_INVALID_REQUEST, "numPartitions", topics_create(p.k, &what, &made, p.text));
    what.partitions = -1;
    accepted(&p, topics_create(p.k, &what, &made, p.text));
    assert_int_equal(topic_partitions(made.topic), 2);
    what = (struct topic_new){.name = beck_str("u"), .partitions = -1, .replication_factor = 3};
    accepted(&p, topics_create(p.k, &what, &made, p.text));
    assert_int_equal(made.partitions, 4);
    place_end(&p);
}

static void what_is_only_validated_is_not_made(void **state)
{
    struct place p;
    struct topic_made made = {0};
    struct topic_new what = {
        .name = beck_str("t"), .partitions = 7, .replication_factor = 1, .validate_only = true};
    (void)state;
    place_start(&p);
    accepted(&p, topics_create(p.k, &what, &made, p.text));
    assert_null(made.topic);
    assert_int_equal(made.partitions, 7);
    assert_null(topics_find(p.k, beck_str("t")));
    place_end(&p);
}

static void topics_are_made_for_who_asks_for_them(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, topics_auto_create(p.k, beck_str("auto"), p.text));
    assert_int_equal(topic_partitions(topic(&p, "auto")), 4);
    accepted(&p, topics_auto_create(p.k, beck_str("auto"), p.text));
    refused(&p, KAFKA_INVALID_TOPIC_EXCEPTION, "",
            topics_auto_create(p.k, beck_str("no good"), p.text));
    place_end(&p);
}

static void topics_grow_and_keep_what_they_have(void **state)
{
    struct place p;
    int32_t one = 1;
    struct topic_assignment a[] = {{-1, &one, 1}};
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "t", 2));
    struct topic *t = topic(&p, "t");
    struct partition *first = topic_partition(t, 0);
    refused(&p, KAFKA_INVALID_PARTITIONS, "already has 2",
            topics_grow(p.k, t, 2, NULL, 0, false, p.text));
    refused(&p, KAFKA_INVALID_PARTITIONS, "would not be an increase",
            topics_grow(p.k, t, 1, NULL, 0, false, p.text));
    refused(&p, KAFKA_INVALID_REPLICA_ASSIGNMENT, "2 additional",
            topics_grow(p.k, t, 4, a, 1, false, p.text));
    accepted(&p, topics_grow(p.k, t, 5, NULL, 0, true, p.text));
    assert_int_equal(topic_partitions(t), 2);
    accepted(&p, topics_grow(p.k, t, 3, a, 1, false, p.text));
    assert_int_equal(topic_partitions(t), 3);
    assert_ptr_equal(topic_partition(t, 0), first);
    assert_int_equal(partition_number(topic_partition(t, 2)), 2);
    place_crash(&p);
    assert_int_equal(topic_partitions(topic(&p, "t")), 3);
    place_end(&p);
}

static void a_topic_that_a_queue_is_bound_to_is_not_deleted(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "t", 1));
    world_queue(&p.w, "q", NULL);
    world_bind(&p.w, "q", "t", "#", BECK_FROM_NOW);
    refused(&p, KAFKA_POLICY_VIOLATION, "\"q\" is bound",
            topics_delete(p.k, topic(&p, "t"), p.text));
    check_ok(beck_queue_unbind(p.w.b, "q", "t", "#", err));
    accepted(&p, topics_delete(p.k, topic(&p, "t"), p.text));
    place_end(&p);
}

static void records_below_an_offset_are_deleted(void **state)
{
    struct place p;
    int64_t low = -1;
    (void)state;
    place_start(&p);
    accepted(&p, create(&p, "t", 1));
    struct topic *t = topic(&p, "t");
    for (int i = 0; i < 10; i++)
        put(t->bus, "x", "y");
    accepted(&p, topics_delete_records(t, 0, 4, &low, p.text));
    assert_int_equal(low, 4);
    accepted(&p, topics_delete_records(t, 0, 2, &low, p.text));
    assert_int_equal(low, 4);
    refused(&p, KAFKA_OFFSET_OUT_OF_RANGE, "high watermark 10",
            topics_delete_records(t, 0, 11, &low, p.text));
    refused(&p, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "", topics_delete_records(t, 1, 0, &low, p.text));
    accepted(&p, topics_delete_records(t, 0, -1, &low, p.text));
    assert_int_equal(low, 10);
    assert_int_equal(partition_first(topic_partition(t, 0)), 10);
    place_end(&p);
}

static void whoever_watches_is_told(void **state)
{
    struct place p;
    (void)state;
    place_start(&p);
    uint64_t seen = topics_generation(p.k);
    accepted(&p, create(&p, "t", 1));
    assert_true(topics_generation(p.k) > seen);
    seen = topics_generation(p.k);
    accepted(&p, topics_grow(p.k, topic(&p, "t"), 2, NULL, 0, false, p.text));
    assert_true(topics_generation(p.k) > seen);
    seen = topics_generation(p.k);
    accepted(&p, topics_delete(p.k, topic(&p, "t"), p.text));
    assert_true(topics_generation(p.k) > seen);
    place_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_found_by_name_and_by_id),
        cmocka_unit_test(topics_are_there_after_a_restart_with_their_ids),
        cmocka_unit_test(a_topic_made_again_has_another_id),
        cmocka_unit_test(buses_on_disk_are_topics_whoever_makes_them),
        cmocka_unit_test(lists_are_in_order_of_name),
        cmocka_unit_test(names_are_checked_as_kafka_does),
        cmocka_unit_test(numbers_of_partitions_and_replicas_are_checked),
        cmocka_unit_test(what_is_only_validated_is_not_made),
        cmocka_unit_test(topics_are_made_for_who_asks_for_them),
        cmocka_unit_test(topics_grow_and_keep_what_they_have),
        cmocka_unit_test(a_topic_that_a_queue_is_bound_to_is_not_deleted),
        cmocka_unit_test(records_below_an_offset_are_deleted),
        cmocka_unit_test(whoever_watches_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
