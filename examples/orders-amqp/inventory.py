"""The inventory: takes the items of each order from stock and says so.

usage: inventory.py [COUNT]    ends after COUNT orders; without COUNT never
"""
import json
import sys

import pika

stock = {"pencil": 1000, "paper": 1000}
left = int(sys.argv[1]) if len(sys.argv) > 1 else None

connection = pika.BlockingConnection(pika.ConnectionParameters("localhost"))
channel = connection.channel()
channel.exchange_declare("events", "topic", durable=True)
channel.queue_declare("inventory", durable=True)
channel.queue_bind("inventory", "events", "order.created")
channel.basic_qos(prefetch_count=10)
print("inventory: ready", flush=True)

for method, properties, body in channel.consume("inventory"):
    order = json.loads(body)
    stock[order["item"]] -= order["amount"]
    print(f"inventory: {order['amount']} {order['item']} for order {order['id']}, {stock[order['item']]} left", flush=True)
    channel.basic_publish("events", "stock.reserved", json.dumps({"id": order["id"]}),
                          pika.BasicProperties(content_type="application/json", delivery_mode=2))
    channel.basic_ack(method.delivery_tag)
    left = left and left - 1
    if left == 0:
        break
connection.close()
