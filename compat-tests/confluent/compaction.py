"""Compacted topics as applications see them: the last record of each key, where it was."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from checks import KAFKA, check, expect, fresh_name
from stored_batches import stored_batches

WAIT_S = 60
"""A cleaner looks at a log every few seconds."""
ADMIN = AdminClient({"bootstrap.servers": KAFKA, "log_level": 3})
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ROLL = b"roll"
"""Key of records that are there so that what is before them is compacted: a log's newest records never are."""


def compacted_topic(**config: str) -> str:
    """One that is cleaned whenever anything is new. Kafka leaves a segment alone until it is rolled."""
    name = fresh_name("compacted")
    settings = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "200",
                **{key.replace("_", "."): value for key, value in config.items()}}
    ADMIN.create_topics([NewTopic(name, 1, 1, config=settings)], operation_timeout=WAIT_S)[name].result(WAIT_S)
    return name


def send(topic: str, records: list[tuple[bytes, bytes | None]], codec: str = "none") -> list[Message]:
    """Delivered messages, in order, a batch for each ten."""
    delivered: list[Message] = []
    sender = Producer({"bootstrap.servers": KAFKA, "log_level": 2, "compression.type": codec, "linger.ms": 5})

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        delivered.append(message)

    for position, (key, value) in enumerate(records):
        sender.produce(topic, value, key, partition=0, on_delivery=on_delivery)
        if position % 10 == 9:
            sender.flush(WAIT_S)
    expect(sender.flush(WAIT_S), 0, "records left after flush")
    return delivered


def reader(topic: str, offset: int = 0) -> Consumer:
    """A consumer at that offset, which may be where no record is any more."""
    consumer = Consumer({"bootstrap.servers": KAFKA, "log_level": 2, "group.id": fresh_name("no-group"),
                         "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(topic, 0, offset)])
    return consumer


def read(topic: str, offset: int = 0) -> list[Message]:
    """Everything from that offset on but what only makes logs roll."""
    consumer, messages = reader(topic, offset), []
    deadline = time.monotonic() + WAIT_S
    while True:
        assert time.monotonic() < deadline, "no end of the partition"
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error() is not None:
            expect(message.error().code(), KafkaError._PARTITION_EOF, "error")
            consumer.close()
            return messages
        if message.key() != ROLL:
            messages.append(message)


def read_once(topic: str, is_clean: Callable[[list[Message]], bool], what: str) -> list[Message]:
    """What is there when it is so; until then the log goes on."""
    deadline = time.monotonic() + WAIT_S
    while True:
        messages = read(topic)
        if is_clean(messages):
            return messages
        found = [(m.offset(), m.key(), m.value()) for m in messages]
        assert time.monotonic() < deadline, f"not in {WAIT_S} s: {what}; {len(found)} records, {found[:20]}"
        time.sleep(0.3)
        send(topic, [(ROLL, b"")])


def is_once_each(messages: list[Message]) -> bool:
    """Whether no key is there twice."""
    keys = [message.key() for message in messages]
    return len(keys) == len(set(keys))


@check("a compacted topic keeps the last record of each key at its offset, in every codec")
def last_of_each_key() -> None:
    topic, last = compacted_topic(), {}
    for codec in CODECS:
        keys = [f"{codec}-{n}".encode() for n in range(7)] + [b"shared"]
        for message in send(topic, [(key, f"{codec} {turn} ".encode() * 50) for turn in range(5) for key in keys], codec):
            last[message.key()] = message
    messages = read_once(topic, is_once_each, "each key once")
    wanted = sorted((m.offset(), m.key(), m.value(), m.timestamp()) for m in last.values())
    expect([(m.offset(), m.key(), m.value(), m.timestamp()) for m in messages], wanted, "what is left")
    batches = stored_batches(KAFKA, topic)
    assert all(batch.crc_ok for batch in batches), "a batch's CRC is wrong"
    expect({batch.codec for batch in batches}, set(CODECS), "codecs")
    assert any(batch.count < batch.last_offset_delta + 1 for batch in batches), "no batch has a hole"

    consumer = reader(topic)
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_S)
    assert low == 0 and high > messages[-1].offset(), f"the log is from {low} to {high}"
    by_time = consumer.offsets_for_times([TopicPartition(topic, 0, 1)], timeout=WAIT_S)[0]
    expect(by_time.offset, messages[0].offset(), "first offset by time")
    consumer.close()
    for message, following in zip(messages, messages[1:]):
        if following.offset() > message.offset() + 1:
            expect(read(topic, message.offset() + 1)[0].offset(), following.offset(), "the record after a hole")


@check("a tombstone takes its key out of a compacted topic, and goes itself")
def tombstones() -> None:
    topic = compacted_topic(delete_retention_ms="500")
    send(topic, [(b"kept", b"1"), (b"gone", b"1"), (b"gone", None), (b"kept", b"2"), (b"again", None), (b"again", b"1")])
    messages = read_once(topic, lambda messages: is_once_each(messages) and all(m.value() for m in messages), "no tombstone")
    expect([(m.offset(), m.key(), m.value()) for m in messages], [(3, b"kept", b"2"), (5, b"again", b"1")], "what is left")


@check("a group reads a compacted topic to its end and goes on there")
def in_a_group() -> None:
    topic, group = compacted_topic(), fresh_name("group")
    send(topic, [(f"k{n % 5}".encode(), str(n).encode()) for n in range(50)])
    wanted = [m.offset() for m in read_once(topic, is_once_each, "each key once")]
    settings = {"bootstrap.servers": KAFKA, "log_level": 2, "group.id": group, "auto.offset.reset": "earliest",
                "enable.auto.commit": False}
    offsets: list[int] = []
    for expected in (wanted, [*wanted, -1]):
        consumer = Consumer(settings)
        consumer.subscribe([topic])
        deadline = time.monotonic() + WAIT_S
        while len(offsets) < len(expected):
            assert time.monotonic() < deadline, f"{offsets} of {expected}"
            message = consumer.poll(0.5)
            if message is not None and message.error() is None and message.key() != ROLL:
                offsets.append(message.offset())
        consumer.commit(asynchronous=False)
        consumer.close()
        if expected is wanted:
            expect(offsets, wanted, "offsets")
            send(topic, [(b"new", b"new")])
    expect(offsets[:-1], wanted, "none twice")
