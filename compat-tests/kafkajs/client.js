// The checks of kafkajs: producer with its own gzip and codecs added as its documentation says, group consumer, admin.
'use strict'

const assert = require('node:assert/strict')
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs')
const SnappyCodec = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')
const { address, freshName, groupOfTwo, main, numbered, standard, until } = require('../node-checks/checks')

const types = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD
}
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer), decompress: buffer => lz4.decompressFrame(buffer)
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: encoder => zstd().then(codec => Buffer.from(codec.compress(encoder.buffer))),
  decompress: buffer => zstd().then(codec => Buffer.from(codec.decompress(buffer)))
})

const kafka = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING })
const admin = kafka.admin()

function zstd() {
  return new Promise(resolve => ZstdCodec.run(loaded => resolve(new loaded.Simple())))
}

function told({ offset, key, value, headers }) {
  return { key: `${key}`, value: `${value}`, header: `${headers.trace}`, offset: Number(offset) }
}

const client = {
  createTopic: (topic, numPartitions) => admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: true }),

  async produce(topic, codec, records) {
    const producer = kafka.producer({ idempotent: true })
    await producer.connect()
    const messages = records.map(({ key, value, header, timestamp }) =>
      ({ key, value, headers: { trace: header }, timestamp: timestamp && `${timestamp}` }))
    await producer.send({ topic, messages, compression: types[codec] })
    await producer.disconnect()
  },

  async read(topic, count) {
    const records = []
    const consumer = kafka.consumer({ groupId: freshName('reader') })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({ eachMessage: async ({ message }) => { records.push(told(message)) } })
    await until('all records came', () => records.length >= count)
    await consumer.disconnect()
    return records
  },

  async offsetAt(topic, time) {
    return Number((await admin.fetchTopicOffsetsByTimestamp(topic, time))[0].offset)
  },

  join: (topic, group, got) => join(topic, group, got, {})
}

async function join(topic, groupId, got, options) {
  let assigned = 0
  const consumer = kafka.consumer({ groupId, heartbeatInterval: 500, rebalanceTimeout: 10_000, ...options })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    assigned = (payload.memberAssignment[topic] || []).length
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat }) => {
      const next = `${BigInt(batch.lastOffset()) + 1n}`
      await consumer.commitOffsets([{ topic, partition: batch.partition, offset: next }])
      resolveOffset(batch.lastOffset())
      for (const message of batch.messages) got(`${message.value}`)
      await heartbeat()
    }
  })
  return { assigned: () => assigned, leave: () => consumer.disconnect() }
}

/** Looks at a group while it has a member, then resets its offsets and deletes it. */
async function adminGroups() {
  const topic = freshName('admin')
  const group = freshName('described')
  await client.createTopic(topic, 2)
  const member = await join(topic, group, () => {}, {})
  await until('it has its partitions', () => member.assigned() === 2)
  assert.ok((await admin.listGroups()).groups.some(({ groupId }) => groupId === group), 'not listed')
  const [described] = (await admin.describeGroups([group])).groups
  assert.deepEqual([described.state, described.members.length, described.protocolType], ['Stable', 1, 'consumer'])
  await member.leave()
  await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '7' }] })
  const [offsets] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  assert.deepEqual(offsets.partitions.map(({ partition, offset }) => [partition, offset]).sort(), [[0, '7'], [1, '-1']])
  await admin.deleteGroups([group])
  assert.ok(!(await admin.listGroups()).groups.some(({ groupId }) => groupId === group), 'listed after it was deleted')
}

async function adminTopics() {
  const topic = freshName('topics')
  await client.createTopic(topic, 2)
  await client.produce(topic, 'none', numbered(0, 50))
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  assert.equal(topics[0].partitions.length, 3)
  const ends = await admin.fetchTopicOffsets(topic)
  assert.equal(ends.reduce((sum, { high }) => sum + Number(high), 0), 50)
  const most = ends.find(({ high }) => Number(high) > 1)
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: most.partition, offset: '1' }] })
  const { low } = (await admin.fetchTopicOffsets(topic)).find(({ partition }) => partition === most.partition)
  assert.equal(low, '1')
  const { resources } = await admin.describeConfigs({ resources: [{ type: 2, name: topic }] })
  assert.ok(resources[0].configEntries.some(({ configName }) => configName === 'retention.ms'))
  await admin.deleteTopics({ topics: [topic] })
  assert.ok(!(await admin.listTopics()).includes(topic), 'listed after it was deleted')
}

admin.connect().then(() => main([
  ...standard(client, Object.keys(types)),
  ['the same with a session of 6 s', () =>
    groupOfTwo(client, (topic, group, got) => join(topic, group, got, { sessionTimeout: 6_000 }))],
  ['admin lists, describes, resets and deletes groups', adminGroups],
  ['admin alters topics, deletes records and describes configs', adminTopics]
]))
