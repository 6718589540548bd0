/*
 * The mail service: writes to the customer of each order and says so.
 *
 * usage: mail [COUNT]    ends after COUNT orders; without COUNT never
 */
#include <librdkafka/rdkafka.h>

#include <stdio.h>
#include <stdlib.h>

static rd_kafka_t *client(rd_kafka_type_t type, const char *const (*settings)[2], size_t count)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < count; i++) {
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof text)) {
            fprintf(stderr, "mail: %s\n", text);
            exit(1);
        }
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    if (!rk) {
        fprintf(stderr, "mail: %s\n", text);
        exit(1);
    }
    return rk;
}

int main(int argc, char **argv)
{
    static const char *const producing[][2] = {{"bootstrap.servers", "localhost:9092"},
                                               {"enable.idempotence", "true"}};
    static const char *const consuming[][2] = {{"bootstrap.servers", "localhost:9092"},
                                               {"group.id", "mail"},
                                               {"auto.offset.reset", "earliest"}};
    long left = argc > 1 ? atol(argv[1]) : -1;
    rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, producing, 2);
    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, consuming, 3);
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, "orders", RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    while (left != 0) {
        rd_kafka_message_t *order = rd_kafka_consumer_poll(consumer, 1000);
        if (order && !order->err) {
            printf("mail: to the customer of order %.*s\n", (int)order->key_len,
                   (const char *)order->key);
            rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("mail"),
                              RD_KAFKA_V_KEY(order->key, order->key_len),
                              RD_KAFKA_V_VALUE("sent", 4), RD_KAFKA_V_END);
            left -= left > 0;
        }
        if (order) {
            rd_kafka_message_destroy(order);
        }
        rd_kafka_poll(producer, 0);
    }
    rd_kafka_flush(producer, 10000);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    return 0;
}
