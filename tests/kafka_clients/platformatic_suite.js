'use strict'
// @platformatic/kafka, which knows flexible versions only: every request goes with tagged fields, and by topic ids.
const assert = require('node:assert/strict')
const { randomUUID } = require('node:crypto')
const { Admin, Consumer, Producer, stringSerializers, stringDeserializers } = require('@platformatic/kafka')
const { run, until } = require('./cases.js')

const bootstrapBrokers = [process.env.BROKER || 'localhost:9092']
const unique = (prefix) => `${prefix}-${randomUUID()}`
const admin = new Admin({ clientId: 'suite', bootstrapBrokers })
const TOPIC = 2 // a kind of resource

// The client throws this when it is closed while one of its connections is being made.
process.on('uncaughtException', (error) => {
  if (!/callback is not a function/.test(error.message)) throw error
})

async function withClient (client, work) {
  try {
    return await work(client)
  } finally {
    await client.close(true)
  }
}

const producer = (options = {}) => new Producer({ clientId: 'suite', bootstrapBrokers, serializers: stringSerializers, ...options })
const consumer = (options = {}) => new Consumer({ clientId: 'suite', bootstrapBrokers, deserializers: stringDeserializers, groupId: unique('group'),
  maxWaitTime: 500, sessionTimeout: 10000, heartbeatInterval: 500, rebalanceTimeout: 10000, ...options })

async function makeTopic (partitions = 1) {
  const topic = unique('topic')
  await admin.createTopics({ topics: [topic], partitions, replicas: 1 })
  return topic
}

const send = (topic, values, options = {}) => withClient(producer(options), (p) =>
  p.send({ messages: values.map((value) => ({ topic, key: 'k', value, headers: { h: '1' } })) }))

// The next `count` messages.
async function read (topic, count, options = {}) {
  return withClient(consumer(options), async (c) => {
    const stream = await c.consume({ topics: [topic], mode: 'earliest', autocommit: options.commit || false })
    const got = []
    stream.on('data', (message) => got.push(message))
    await until(() => got.length >= count, `${count} messages of ${topic}`)
    return got
  })
}

const values = (messages) => messages.map((m) => m.value)
const numbers = (count) => Array.from({ length: count }, (_, i) => String(i))

run({
  async 'what is produced is read' () {
    const topic = await makeTopic()
    await send(topic, numbers(500))
    const got = await read(topic, 500)
    assert.deepEqual(values(got), numbers(500))
    assert.deepEqual([got[0].key, [...got[0].headers], got[499].offset], ['k', [['h', '1']], 499n])
  },

  async 'codecs and levels of acks' () {
    const topic = await makeTopic()
    for (const compression of ['none', 'gzip']) {
      for (const acks of [1, -1]) await send(topic, numbers(50), { compression, acks })
    }
    assert.deepEqual(values(await read(topic, 200)), [...numbers(50), ...numbers(50), ...numbers(50), ...numbers(50)])
  },

  async 'an idempotent producer' () {
    const topic = await makeTopic()
    await withClient(producer({ idempotent: true }), async (p) => {
      for (const value of numbers(30)) await p.send({ messages: [{ topic, key: 'k', value }] })
    })
    assert.deepEqual(values(await read(topic, 30)), numbers(30))
  },

  async 'a group continues where it committed' () {
    const topic = await makeTopic()
    const groupId = unique('group')
    await send(topic, numbers(10))
    await withClient(consumer({ groupId }), async (c) => {
      await c.joinGroup({})
      await c.commit({ offsets: [{ topic, partition: 0, offset: 6n, leaderEpoch: 0 }] })
      assert.deepEqual((await c.listCommittedOffsets({ topics: [{ topic, partitions: [0] }] })).get(topic), [6n])
    })
    await withClient(consumer({ groupId }), async (c) => {
      const stream = await c.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest' })
      const got = []
      stream.on('data', (message) => got.push(message))
      await until(() => got.length >= 4, '4 messages')
      assert.deepEqual(values(got), ['6', '7', '8', '9'])
    })
  },

  async 'a group shares partitions' () {
    const topic = await makeTopic(4)
    const groupId = unique('group')
    await withClient(consumer({ groupId }), (one) => withClient(consumer({ groupId }), async (two) => {
      const mine = (c) => (c.assignments || []).flatMap((a) => a.partitions).length
      for (const c of [one, two]) (await c.consume({ topics: [topic], mode: 'latest' })).on('data', () => {})
      await until(() => mine(one) === 2 && mine(two) === 2, 'two for each')
      const group = (await admin.describeGroups({ groups: [groupId] })).get(groupId)
      assert.deepEqual([group.state, group.members.size], ['STABLE', 2])
      assert.ok((await admin.listGroups()).has(groupId))
    }))
  },

  async 'the new protocol of groups' () {
    const topic = await makeTopic(2)
    await send(topic, numbers(20))
    assert.equal((await read(topic, 20, { groupProtocol: 'consumer' })).length, 20)
  },

  async 'transactions are all or nothing' () {
    const topic = await makeTopic()
    await withClient(producer({ idempotent: true, transactionalId: unique('transaction') }), async (p) => {
      for (const [value, end] of [['0', 'commit'], ['1', 'abort'], ['2', 'commit']]) {
        const transaction = await p.beginTransaction()
        await transaction.send({ messages: [{ topic, key: 'k', value }] })
        await transaction[end]()
      }
    })
    await send(topic, ['end'])
    assert.deepEqual(values(await read(topic, 3, { isolationLevel: 1 })), ['0', '2', 'end'])
    assert.deepEqual(values(await read(topic, 4, { isolationLevel: 0 })), ['0', '1', '2', 'end'])
  },

  async 'topics are administered' () {
    const topic = unique('topic')
    const [made] = await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1, configs: [{ name: 'retention.ms', value: '123456' }] })
    assert.deepEqual([made.name, made.partitions, made.replicas, made.configuration['retention.ms']], [topic, 2, 1, '123456'])
    await admin.createPartitions({ topics: [{ name: topic, count: 3, assignments: null }] })
    assert.ok((await admin.listTopics()).includes(topic))
    const config = async () => (await admin.describeConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic, configurationKeys: ['retention.ms'] }] }))[0].configs[0].value
    assert.equal(await config(), '123456')
    await admin.incrementalAlterConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic, configs: [{ name: 'retention.ms', configOperation: 0, value: '654321' }] }] })
    assert.equal(await config(), '654321')
    const metadata = await withClient(new Admin({ clientId: 'other', bootstrapBrokers }), (a) => a.metadata({ topics: [topic] }))
    assert.equal(metadata.topics.get(topic).partitionsCount, 3)
    await admin.deleteTopics({ topics: [topic] })
    await until(async () => !(await admin.listTopics()).includes(topic), 'it is gone')
    await assert.rejects(admin.createTopics({ topics: ['not/a topic'] }))
  },

  async 'offsets, records and groups are administered' () {
    const topic = await makeTopic()
    const groupId = unique('group')
    await send(topic, numbers(10))
    const offset = async (timestamp) => (await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp }] }] }))[0].partitions[0].offset
    assert.deepEqual([await offset(-2n), await offset(-1n)], [0n, 10n])
    await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 4n }] }] })
    assert.equal(await offset(-2n), 4n)
    await admin.alterConsumerGroupOffsets({ groupId, topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 7n }] }] })
    const [group] = await admin.listConsumerGroupOffsets({ groups: [groupId] })
    assert.equal(group.topics[0].partitions[0].committedOffset, 7n)
    await admin.deleteConsumerGroupOffsets({ groupId, topics: [{ name: topic, partitionIndexes: [0] }] })
    await admin.deleteGroups({ groups: [groupId] })
  },

  async 'directories of logs' () {
    const topic = await makeTopic()
    await send(topic, numbers(10))
    const [{ results }] = await admin.describeLogDirs({ topics: [{ name: topic, partitions: [0] }] })
    assert.ok(results[0].topics[0].partitions[0].partitionSize > 0n)
  }
}, { after: () => admin.close() })
