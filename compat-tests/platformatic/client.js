// The checks of @platformatic/kafka: producer, streams of a group of both protocols, admin.
'use strict'

const assert = require('node:assert/strict')
const { address, freshName, groupOfTwo, main, standard, until } = require('../node-checks/checks')

let kafka, admin

const base = () => ({ clientId: 'compat', bootstrapBrokers: [address], metadataMaxAge: 1000 })
const newConsumer = options => new kafka.Consumer({ ...base(), deserializers: kafka.stringDeserializers, maxWaitTime: 100, ...options })

const client = {
  createTopic: (topic, partitions) => admin.createTopics({ topics: [topic], partitions, replicas: 1 }),

  async produce(topic, codec, records) {
    const producer = new kafka.Producer({ ...base(), serializers: kafka.stringSerializers, idempotent: true, acks: -1 })
    const messages = records.map(({ key, value, header, timestamp }) =>
      ({ topic, key, value, headers: { trace: header }, timestamp: timestamp && BigInt(timestamp) }))
    await producer.send({ messages, compression: codec, idempotent: true, acks: -1 })
    await producer.close()
  },

  async read(topic, count) {
    const consumer = newConsumer({ groupId: freshName('reader') })
    const records = []
    for await (const { key, value, headers, offset } of await consumer.consume({ topics: [topic], mode: 'earliest' })) {
      records.push({ key, value, header: headers.get('trace'), offset: Number(offset) })
      if (records.length >= count) break
    }
    await consumer.close(true)
    return records
  },

  async offsetAt(topic, time) {
    const [{ partitions }] = await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: BigInt(time) }] }] })
    return Number(partitions[0].offset)
  },

  join: (topic, group, got) => join(topic, group, got, { sessionTimeout: 10_000, heartbeatInterval: 500 })
}

/** A member commits each message, then tells of it. */
async function join(topic, groupId, got, options) {
  const consumer = newConsumer({ groupId, autocommit: false, ...options })
  const stream = await consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest', autocommit: false })
  const reading = (async () => {
    for await (const message of stream) {
      await message.commit()
      got(message.value)
    }
  })().catch(error => { failure = error })
  let [failure, known, since] = [null, null, Date.now()]
  return {
    /** The stream takes its partitions a moment after the consumer knows them. */
    assigned() {
      if (failure) throw failure
      if (known !== consumer.assignments) [known, since] = [consumer.assignments, Date.now()]
      return Date.now() - since < 1500 ? -1 : (consumer.assignments || []).filter(one => one.topic === topic).reduce((sum, { partitions }) => sum + partitions.length, 0)
    },
    async leave() {
      await consumer.close(true)
      await reading
    }
  }
}

async function adminGroups() {
  const topic = freshName('admin')
  const group = freshName('described')
  await client.createTopic(topic, 2)
  const member = await client.join(topic, group, () => {})
  await until('it has its partitions', () => member.assigned() === 2)
  assert.ok((await admin.listGroups()).has(group), 'not listed')
  const described = (await admin.describeGroups({ groups: [group] })).get(group)
  assert.equal(described.members.size, 1)
  await member.leave()
  await admin.alterConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 7n }] }] })
  const [{ topics }] = await admin.listConsumerGroupOffsets({ groups: [group] })
  const offsets = topics.flatMap(({ partitions }) => partitions).map(({ partitionIndex, committedOffset }) => [partitionIndex, committedOffset])
  assert.deepEqual(offsets, [[0, 7n]])
  await admin.deleteGroups({ groups: [group] })
  assert.ok(!(await admin.listGroups()).has(group), 'listed after it was deleted')
}

async function run() {
  kafka = await import(require.resolve('@platformatic/kafka'))
  admin = new kafka.Admin(base())
  await main([
    ...standard(client, ['none', 'gzip', 'snappy', 'lz4', 'zstd']),
    ['the same with KIP-848', () => groupOfTwo(client, (topic, group, got) => join(topic, group, got, { groupProtocol: 'consumer' }))],
    ['admin lists, describes, alters and deletes groups', adminGroups]
  ])
}

run()
