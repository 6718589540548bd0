'use strict'
// Programs with kafkajs: produce, consume, groups, transactions, administration. Runs against the broker at localhost:9092.
const assert = require('node:assert/strict')
const { randomUUID } = require('node:crypto')
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } =
  require('kafkajs')
const { run, until, pause } = require('./cases.js')

const kafka = new Kafka({ clientId: 'suite', brokers: [process.env.BROKER || 'localhost:9092'], logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 8 } })
const admin = kafka.admin()
const unique = (prefix) => `${prefix}-${randomUUID()}`

async function makeTopic (numPartitions = 1, configEntries = []) {
  const topic = unique('topic')
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, configEntries }] })
  return topic
}

async function withProducer (options, work) {
  const producer = kafka.producer(options)
  await producer.connect()
  try {
    return await work(producer)
  } finally {
    await producer.disconnect()
  }
}

const send = (topic, messages, options = {}) => withProducer({}, (producer) => producer.send({ topic, messages, ...options }))
const numbers = (count, partition) => Array.from({ length: count }, (_, i) => ({ value: String(i), ...(partition === undefined ? {} : { partition }) }))

// A consumer that gathers what it gets until its work is done.
async function gather (topics, options, work) {
  const consumer = kafka.consumer({ groupId: unique('group'), sessionTimeout: 10000, heartbeatInterval: 500, maxWaitTimeInMs: 500, ...options })
  const got = []
  await consumer.connect()
  await consumer.subscribe({ topics, fromBeginning: true })
  try {
    await consumer.run({ autoCommit: options.autoCommit !== false, eachMessage: async ({ topic, partition, message }) => { got.push({ topic, partition, ...message }) } })
    return await work(got, consumer)
  } finally {
    await consumer.disconnect()
  }
}

const read = (topic, count, options = {}) => gather([topic], options, async (got) => {
  await until(() => got.length >= count, `${count} messages of ${topic}`)
  return got
})

const values = (messages) => messages.map((m) => m.value && m.value.toString())

run({
  async 'what is produced is read' () {
    const topic = await makeTopic()
    const [{ errorCode, baseOffset }] = await send(topic, numbers(1000))
    assert.deepEqual([errorCode, baseOffset], [0, '0'])
    assert.deepEqual(values(await read(topic, 1000)), numbers(1000).map((m) => m.value))
  },

  async 'keys, headers, timestamps and nulls' () {
    const topic = await makeTopic()
    await send(topic, [{ key: 'k', value: 'v', timestamp: '1234567890123', headers: { a: ['1', '2'], b: Buffer.from([0, 255]) } },
      { key: null, value: null }, { key: '', value: '' }])
    const [first, second, third] = await read(topic, 3)
    assert.equal(first.key.toString(), 'k')
    assert.equal(first.timestamp, '1234567890123')
    assert.deepEqual(first.headers.a.map(String), ['1', '2'])
    assert.deepEqual([...first.headers.b], [0, 255])
    assert.deepEqual([second.key, second.value], [null, null])
    assert.deepEqual([third.key.length, third.value.length], [0, 0])
  },

  async 'gzip' () {
    const topic = await makeTopic()
    await send(topic, numbers(500), { compression: CompressionTypes.GZIP })
    assert.deepEqual(values(await read(topic, 500)), numbers(500).map((m) => m.value))
  },

  async 'every level of acks' () {
    const topic = await makeTopic()
    for (const acks of [0, 1, -1]) await send(topic, numbers(10), { acks })
    assert.equal((await read(topic, 30)).length, 30)
  },

  async 'an idempotent producer' () {
    const topic = await makeTopic()
    await withProducer({ idempotent: true, maxInFlightRequests: 1 }, async (producer) => {
      for (let i = 0; i < 50; i++) await producer.send({ topic, messages: [{ value: String(i) }] })
    })
    assert.deepEqual(values(await read(topic, 50)), numbers(50).map((m) => m.value))
  },

  async 'many topics in one request' () {
    const topics = [await makeTopic(), await makeTopic(), await makeTopic()]
    await withProducer({}, (producer) => producer.sendBatch({ topicMessages: topics.map((topic) => ({ topic, messages: numbers(10) })) }))
    await gather(topics, {}, (got) => until(() => got.length === 30, '30 messages'))
  },

  async 'a group shares partitions and continues where it committed' () {
    const topic = await makeTopic(4)
    const groupId = unique('group')
    await send(topic, [0, 1, 2, 3].flatMap((p) => numbers(25, p)))
    await gather([topic], { groupId }, async (one) => {
      await until(() => one.length === 100, 'all for one')
      await gather([topic], { groupId }, async (two) => {
        await until(async () => (await admin.describeGroups([groupId])).groups[0].members.length === 2, 'two members')
        await until(async () => (await admin.describeGroups([groupId])).groups[0].state === 'Stable', 'stable')
        await send(topic, [0, 1, 2, 3].flatMap((p) => numbers(25, p)))
        await until(() => one.length + two.length >= 200, 'the rest')
        assert.equal(two.length, 50)
      })
    })
    await send(topic, [0, 1, 2, 3].flatMap((p) => numbers(1, p)))
    assert.equal((await gather([topic], { groupId }, async (got) => {
      await until(() => got.length >= 4, 'what is new')
      await pause(500)
      return got
    })).length, 4)
  },

  async 'seek, pause and resume' () {
    const topic = await makeTopic()
    await send(topic, numbers(100))
    await gather([topic], {}, async (got, consumer) => {
      await until(() => got.length === 100, 'all')
      consumer.pause([{ topic }])
      await send(topic, numbers(5))
      await pause(700)
      assert.equal(got.length, 100)
      consumer.resume([{ topic }])
      await until(() => got.length === 105, 'after resume')
      consumer.seek({ topic, partition: 0, offset: '90' })
      await until(() => got.length === 120, 'after seek')
      assert.equal(got[105].offset, '90')
    })
  },

  async 'committed transactions are seen and aborted ones not' () {
    const topic = await makeTopic()
    await withProducer({ transactionalId: unique('transaction'), maxInFlightRequests: 1, idempotent: true }, async (producer) => {
      for (let i = 0; i < 4; i++) {
        const transaction = await producer.transaction()
        await transaction.send({ topic, messages: [{ value: `${i} a` }, { value: `${i} b` }] })
        await (i % 2 ? transaction.abort() : transaction.commit())
      }
    })
    await send(topic, [{ value: 'end' }])
    assert.deepEqual(values(await read(topic, 5)), ['0 a', '0 b', '2 a', '2 b', 'end'])
    assert.equal((await read(topic, 9, { readUncommitted: true })).length, 9)
  },

  async 'offsets are part of a transaction' () {
    const topic = await makeTopic()
    const consumerGroupId = unique('group')
    const offset = async () => (await admin.fetchOffsets({ groupId: consumerGroupId, topics: [topic] }))[0].partitions[0].offset
    await withProducer({ transactionalId: unique('transaction'), maxInFlightRequests: 1, idempotent: true }, async (producer) => {
      for (const [end, sent, seen] of [['abort', '5', '-1'], ['commit', '7', '7']]) {
        const transaction = await producer.transaction()
        await transaction.send({ topic, messages: [{ value: 'x' }] })
        await transaction.sendOffsets({ consumerGroupId, topics: [{ topic, partitions: [{ partition: 0, offset: sent }] }] })
        await transaction[end]()
        await until(async () => (await offset()) === seen, `${end}: offset ${seen}`)
      }
    })
  },

  async 'topics are made, grown, described and deleted' () {
    const topic = await makeTopic(2)
    assert.equal(await admin.createTopics({ topics: [{ topic }] }), false)
    await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] })
    await until(async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 4, '4 partitions')
    assert.ok((await admin.listTopics()).includes(topic))
    await admin.deleteTopics({ topics: [topic] })
    await until(async () => !(await admin.listTopics()).includes(topic), 'it is gone')
    await assert.rejects(admin.fetchTopicMetadata({ topics: ['not/a topic'] }))
  },

  async 'offsets of topics' () {
    const topic = await makeTopic(2)
    await send(topic, [{ partition: 0, value: 'x', timestamp: '1000' }, { partition: 0, value: 'x', timestamp: '2000' }, { partition: 0, value: 'x', timestamp: '3000' }])
    const byPartition = (offsets) => offsets.sort((a, b) => a.partition - b.partition)
    assert.deepEqual(byPartition(await admin.fetchTopicOffsets(topic)).map((p) => [p.low, p.high]), [['0', '3'], ['0', '0']])
    assert.equal(byPartition(await admin.fetchTopicOffsetsByTimestamp(topic, 1500))[0].offset, '1')
  },

  async 'offsets of groups are set, reset and deleted' () {
    const topic = await makeTopic()
    const groupId = unique('group')
    await send(topic, numbers(10))
    const offset = async () => (await admin.fetchOffsets({ groupId, topics: [topic], resolveOffsets: true }))[0].partitions[0].offset
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '5' }] })
    assert.equal(await offset(), '5')
    await admin.resetOffsets({ groupId, topic, earliest: true })
    assert.equal(await offset(), '0')
    await admin.deleteGroups([groupId])
    assert.equal((await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset, '-1')
  },

  async 'groups are listed and described' () {
    const topic = await makeTopic(3)
    const groupId = unique('group')
    await gather([topic], { groupId }, async () => {
      await until(async () => (await admin.describeGroups([groupId])).groups[0].state === 'Stable', 'stable')
      const [group] = (await admin.describeGroups([groupId])).groups
      assert.deepEqual([group.protocolType, group.protocol, group.members.length, group.members[0].clientId], ['consumer', 'RoundRobinAssigner', 1, 'suite'])
      assert.ok((await admin.listGroups()).groups.some((g) => g.groupId === groupId))
      await assert.rejects(admin.deleteGroups([groupId]))
    })
  },

  async 'configs are described and altered' () {
    const topic = await makeTopic(1, [{ name: 'retention.ms', value: '1000000' }])
    const config = async () => (await admin.describeConfigs({ includeSynonyms: true,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['retention.ms', 'cleanup.policy'] }] })).resources[0].configEntries
    assert.deepEqual((await config()).map((e) => [e.configName, e.configValue]).sort(), [['cleanup.policy', 'delete'], ['retention.ms', '1000000']])
    await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'cleanup.policy', value: 'compact' }] }] })
    assert.deepEqual((await config()).map((e) => [e.configName, e.configValue]).sort(), [['cleanup.policy', 'compact'], ['retention.ms', '604800000']])
  },

  async 'records are deleted' () {
    const topic = await makeTopic()
    await send(topic, numbers(10))
    await admin.fetchTopicOffsets(topic) // kafkajs looks for the leader in what it already knows
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] })
    assert.equal((await admin.fetchTopicOffsets(topic))[0].low, '6')
    assert.deepEqual(values(await read(topic, 4)), ['6', '7', '8', '9'])
  },

  async 'the cluster is described' () {
    const { brokers, controller, clusterId } = await admin.describeCluster()
    assert.equal(brokers.length, 1)
    assert.equal(controller, brokers[0].nodeId)
    assert.ok(clusterId)
  },

  async 'what the group leader is told' () {
    const topic = await makeTopic()
    const groupId = unique('group')
    const consumer = kafka.consumer({ groupId, sessionTimeout: 10000, maxWaitTimeInMs: 500 })
    const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => resolve(payload)))
    await consumer.connect()
    await consumer.subscribe({ topics: [topic] })
    await consumer.run({ eachMessage: async () => {} })
    const payload = await joined
    assert.deepEqual([payload.isLeader, payload.memberAssignment], [true, { [topic]: [0] }])
    await consumer.disconnect()
  },

  async 'a topic that comes later is found by its pattern' () {
    const prefix = unique('later')
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic: `${prefix}-1` }] })
    await send(`${prefix}-1`, numbers(3))
    await gather([new RegExp(`^${prefix}-.*`)], {}, (got) => until(() => got.length === 3, '3 messages'))
  }
}, { before: () => admin.connect(), after: () => admin.disconnect() })
