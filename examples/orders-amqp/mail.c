/*
 * The e-mail service: writes to the customer of each order (here: a line on standard output) and says so.
 *
 * usage: mail [COUNT]    ends after COUNT orders; without COUNT never
 * build: cc mail.c -o mail $(pkg-config --cflags --libs librabbitmq)
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNEL = 1 };

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "mail: %s\n", what);
        exit(1);
    }
}

static void answered(amqp_connection_state_t connection, const char *what)
{
    must(amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL, what);
}

static amqp_connection_state_t connect_to_broker(void)
{
    amqp_connection_state_t connection = amqp_new_connection();
    must(!amqp_socket_open(amqp_tcp_socket_new(connection), "localhost", AMQP_PROTOCOL_PORT),
         "no broker on localhost");
    amqp_rpc_reply_t login =
        amqp_login(connection, "/", AMQP_DEFAULT_MAX_CHANNELS, AMQP_DEFAULT_FRAME_SIZE,
                   AMQP_DEFAULT_HEARTBEAT, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    must(login.reply_type == AMQP_RESPONSE_NORMAL, "login");
    amqp_channel_open(connection, CHANNEL);
    answered(connection, "channel");
    return connection;
}

static void subscribe(amqp_connection_state_t connection)
{
    amqp_bytes_t queue = amqp_cstring_bytes("mail"), exchange = amqp_cstring_bytes("events");
    amqp_exchange_declare(connection, CHANNEL, exchange, amqp_cstring_bytes("topic"), false, true,
                          false, false, amqp_empty_table);
    answered(connection, "exchange");
    amqp_queue_declare(connection, CHANNEL, queue, false, true, false, false, amqp_empty_table);
    answered(connection, "queue");
    amqp_queue_bind(connection, CHANNEL, queue, exchange, amqp_cstring_bytes("order.created"),
                    amqp_empty_table);
    answered(connection, "binding");
    amqp_basic_consume(connection, CHANNEL, queue, amqp_empty_bytes, false, false, false,
                       amqp_empty_table);
    answered(connection, "consumer");
}

/* The JSON that the order service writes is flat; `"id":7` is enough to know it by. */
static int id_of(amqp_bytes_t body)
{
    static const char key[] = "\"id\":";
    const char *found = memmem(body.bytes, body.len, key, sizeof key - 1);
    return found ? atoi(found + sizeof key - 1) : 0;
}

static void send_mail(amqp_connection_state_t connection, const amqp_message_t *order)
{
    char text[64];
    int id = id_of(order->body);
    printf("mail: thank you for order %d\n", id);
    fflush(stdout);
    snprintf(text, sizeof text, "{\"id\":%d}", id);
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG,
                                          .content_type = amqp_cstring_bytes("application/json")};
    must(amqp_basic_publish(connection, CHANNEL, amqp_cstring_bytes("events"),
                            amqp_cstring_bytes("mail.sent"), false, false, &properties,
                            amqp_cstring_bytes(text)) == AMQP_STATUS_OK,
         "publish");
}

int main(int argc, char **argv)
{
    int left = argc > 1 ? atoi(argv[1]) : -1;
    amqp_connection_state_t connection = connect_to_broker();
    subscribe(connection);
    puts("mail: ready");
    fflush(stdout);
    while (left != 0) {
        amqp_envelope_t envelope;
        amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, NULL, 0);
        must(reply.reply_type == AMQP_RESPONSE_NORMAL, "the broker is gone");
        send_mail(connection, &envelope.message);
        amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, false);
        amqp_destroy_envelope(&envelope);
        left -= left > 0;
    }
    amqp_channel_close(connection, CHANNEL, AMQP_REPLY_SUCCESS);
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    return 0;
}
