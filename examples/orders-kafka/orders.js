// The order service: takes orders and waits for what becomes of them. Nothing in it knows that the broker is beck.
//
// usage: node orders.js [COUNT]    ends once COUNT orders (default 3) are confirmed by the other services
const { Kafka, logLevel } = require('kafkajs');

const count = Number(process.argv[2] || 3);
const kafka = new Kafka({ clientId: 'orders', brokers: ['localhost:9092'], logLevel: logLevel.ERROR });

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: 'orders', numPartitions: 2 }, { topic: 'stock' }, { topic: 'mail' }] });
  await admin.disconnect();
  console.log('orders: ready');

  const consumer = kafka.consumer({ groupId: 'orders', maxWaitTimeInMs: 500 });
  await consumer.connect();
  await consumer.subscribe({ topics: ['stock', 'mail'], fromBeginning: true });
  let open = 2 * count;
  const done = new Promise((resolve) => {
    consumer.run({
      eachMessage: async ({ topic, message }) => {
        console.log(`orders: ${topic} for order ${message.key}`);
        if (--open === 0) resolve();
      }
    });
  });

  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  for (let id = 1; id <= count; id++) {
    const order = { id, item: id % 2 ? 'pencil' : 'paper', amount: id, customer: `customer${id}@example.com` };
    await producer.send({ topic: 'orders', messages: [{ key: String(id), value: JSON.stringify(order) }] });
  }
  await done;
  await Promise.all([consumer.disconnect(), producer.disconnect()]);
  console.log(`orders: all ${count} done`);
}

main().catch((error) => {
  console.error(`orders: ${error.message}`);
  process.exit(1);
});
