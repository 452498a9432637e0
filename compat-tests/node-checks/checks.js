// Runs the checks of a Node client, prints each as `ok   sentence` or `FAIL sentence: why`, and has those that every
// client must pass. A client has createTopic(name, partitions), produce(topic, codec, records), read(topic, count),
// offsetAt(topic, time) and join(topic, group, got) → {assigned(), leave()}, where got comes after the commit.
'use strict'

const assert = require('node:assert/strict')
const { setTimeout: sleep } = require('node:timers/promises')

const address = process.env.COMPAT_KAFKA || '127.0.0.1:9092'
const WAIT_MS = 45_000
const PORTION = 100
let names = 0

/** A name that no other check and no earlier run uses. */
function freshName(purpose) {
  names += 1
  return `${purpose}-${process.pid}-${Date.now()}-${names}`
}

/** Waits for a condition. */
async function until(what, condition) {
  const deadline = Date.now() + WAIT_MS
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited in vain until ${what}`)
    await sleep(20)
  }
}

/** Records whose values are the numbers from first to end - 1. */
function numbered(first, end) {
  const numbers = Array.from({ length: end - first }, (_, i) => first + i)
  return numbers.map(i => ({ key: `key-${i % 17}`, value: `${i}`, header: `header-${i}` }))
}

async function roundTrip(client, codec) {
  const topic = freshName('codec')
  const sent = numbered(0, 200)
  await client.createTopic(topic, 1)
  await client.produce(topic, codec, sent)
  const wanted = sent.map((record, i) => ({ ...record, offset: i }))
  assert.deepEqual(await client.read(topic, sent.length), wanted)
}

async function offsetsByTime(client) {
  const topic = freshName('times')
  const began = Date.now() - 3_600_000
  await client.createTopic(topic, 1)
  for (let i = 0; i < 3; i++) {
    await client.produce(topic, 'none', [{ key: 'k', value: `${i}`, header: 'h', timestamp: began + i * 60_000 }])
  }
  for (const [seconds, wanted] of [[-5, 0], [0, 0], [1, 1], [60, 1], [61, 2], [120, 2]]) {
    assert.equal(await client.offsetAt(topic, began + seconds * 1000), wanted, `offset at ${seconds} s`)
  }
}

/** The whole life of a group: one member, a second that joins and leaves, and one that resumes. */
async function groupOfTwo(client, join = client.join) {
  const topic = freshName('group')
  const group = freshName('members')
  const seen = new Map()
  const got = value => seen.set(value, (seen.get(value) || 0) + 1)
  const onceEach = () => assert.deepEqual([...seen].filter(([, times]) => times !== 1), [], 'came more than once')
  let sent = 0
  const moreArrives = async step => {
    await client.produce(topic, 'none', numbered(sent, sent + PORTION))
    sent += PORTION
    await until(`${step}: all of ${sent} records came`, () => seen.size === sent)
    onceEach()
  }
  const members = []
  const joined = async () => {
    members.push(await join(topic, group, got))
    return members.at(-1)
  }
  try {
    await client.createTopic(topic, 4)
    const first = await joined()
    await moreArrives('one member')
    const second = await joined()
    await until('both have two partitions', () => first.assigned() === 2 && second.assigned() === 2)
    await moreArrives('two members')
    await members.pop().leave()
    await until('the first has all partitions again', () => first.assigned() === 4)
    await moreArrives('one left')
    await members.pop().leave()
    await joined()
    await moreArrives('resumed')
    await sleep(500) // a record that comes twice would come now
    onceEach()
  } finally {
    await Promise.allSettled(members.map(member => member.leave()))
  }
}

/** The checks of every client, as [sentence, function]. */
function standard(client, codecs) {
  return [
    ...codecs.map(codec => [`keyed ${codec} records with headers come back in order`, () => roundTrip(client, codec)]),
    ['offsets are found by time', () => offsetsByTime(client)],
    ['two members share a topic, one leaves, a third resumes: every record once', () => groupOfTwo(client)]
  ]
}

/** Runs the checks whose sentence contains the first argument (all without one) and exits with 1 if any failed. */
async function main(checks) {
  let failed = 0
  for (const [sentence, run] of checks.filter(([sentence]) => sentence.includes(process.argv[2] || ''))) {
    const limit = new AbortController()
    try {
      const late = sleep(2 * WAIT_MS, null, { signal: limit.signal }).then(() => { throw new Error('timed out') })
      await Promise.race([run(), late])
      console.log(`ok   ${sentence}`)
    } catch (error) {
      failed += 1
      console.log(`FAIL ${sentence}: ${String(error && error.message || error).split(/\s+/).join(' ').slice(0, 600)}`)
    } finally {
      limit.abort()
    }
  }
  process.exit(failed ? 1 : 0)
}

module.exports = { address, freshName, groupOfTwo, main, numbered, sleep, standard, until }
