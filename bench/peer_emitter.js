// Node's EventEmitter with 1 and 10 listeners, after the compiler has warmed up.
'use strict';
const { EventEmitter } = require('events');

const scale = process.argv.includes('--quick') ? 0.1 : 1;

function measure(id, listeners, full) {
  const emitter = new EventEmitter();
  const count = full * scale;
  const event = { type: 'order.created', subject: 'ORD-789', data: Buffer.alloc(128) };
  let sum = 0;
  for (let i = 0; i < listeners; i++) {
    emitter.on('order.created', (e) => { sum += e.data.length; });
  }
  for (let i = 0; i < count; i++) emitter.emit('order.created', event);
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  for (let i = 0; i < count; i++) emitter.emit('order.created', event);
  const took = Number(process.hrtime.bigint() - start);
  const used = process.cpuUsage(cpu);
  if (sum !== 2 * count * listeners * 128) throw new Error('lost calls');
  console.log(JSON.stringify({ id, value: took / count, unit: 'ns',
    cpu_ns_per_event: (used.user + used.system) * 1000 / count, durability: 'memory' }));
}

measure('node.emit_1', 1, 10000000);
measure('node.emit_10', 10, 3000000);
