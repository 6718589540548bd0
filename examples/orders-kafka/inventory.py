"""The inventory: takes the items of each order from stock and says so, exactly once: what it read and what it wrote are one transaction.

usage: inventory.py [COUNT]    ends after COUNT orders; without COUNT never
"""
import json
import sys

from confluent_kafka import Consumer, Producer

stock = {"pencil": 1000, "paper": 1000}
left = int(sys.argv[1]) if len(sys.argv) > 1 else None

consumer = Consumer({"bootstrap.servers": "localhost:9092", "group.id": "inventory", "auto.offset.reset": "earliest", "enable.auto.commit": False,
                     "isolation.level": "read_committed"})
producer = Producer({"bootstrap.servers": "localhost:9092", "transactional.id": "inventory"})
producer.init_transactions()
consumer.subscribe(["orders"])

while left != 0:
    message = consumer.poll(1)
    if message is None or message.error():
        continue
    order = json.loads(message.value())
    stock[order["item"]] -= order["amount"]
    print(f"inventory: {order['amount']} {order['item']} for order {order['id']}, {stock[order['item']]} left", flush=True)
    producer.begin_transaction()
    producer.produce("stock", key=message.key(), value=json.dumps({"id": order["id"]}))
    producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
    producer.commit_transaction()
    left = left and left - 1
consumer.close()
