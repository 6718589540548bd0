// The order service: takes orders and tells everybody. Nothing in it knows that the broker is beck.
//
// usage: node orders.js [COUNT]    ends once COUNT orders (default 3) are confirmed by the other services
const amqp = require('amqplib');

const count = Number(process.argv[2] || 3);

async function main() {
  const connection = await amqp.connect('amqp://localhost');
  const channel = await connection.createChannel();
  await channel.assertExchange('events', 'topic');

  // What became of the orders: one message from each of the two other services.
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, 'events', 'stock.*');
  await channel.bindQueue(queue, 'events', 'mail.*');
  let open = 2 * count;
  const done = new Promise((resolve) => {
    channel.consume(queue, (message) => {
      const order = JSON.parse(message.content);
      console.log(`orders: ${message.fields.routingKey} for order ${order.id}`);
      channel.ack(message);
      if (--open === 0) resolve();
    });
  });

  for (let id = 1; id <= count; id++) {
    const order = { id, item: id % 2 ? 'pencil' : 'paper', amount: id, customer: `customer${id}@example.com` };
    channel.publish('events', 'order.created', Buffer.from(JSON.stringify(order)));
  }
  await done;
  await connection.close();
  console.log(`orders: all ${count} done`);
}

main().catch((error) => {
  console.error(`orders: ${error.message}`);
  process.exit(1);
});
