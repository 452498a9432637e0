"""The checks of aiokafka: producer, group consumer, static member, admin. Its event loop runs on a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from checks import KAFKA, check, expect, fresh_name, run_checks
from client_checks import HEADER, PORTION, WAIT_S, Got, Record, numbered, standard, until

LOOP = asyncio.new_event_loop()


def wait_for(coroutine: Coroutine[Any, Any, Any], within_s: float = WAIT_S) -> Any:
    """Its result, from outside the loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(within_s)


class Member:
    """Commits what it got, then tells of it."""

    def __init__(self, topic: str, group: str, got: Got, **settings: object):
        self._topic, self._got = topic, got
        self._ended = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._task = asyncio.run_coroutine_threadsafe(self._live(group, settings), LOOP)

    async def _live(self, group: str, settings: dict[str, object]) -> None:
        self._consumer = AIOKafkaConsumer(self._topic, bootstrap_servers=KAFKA, group_id=group, enable_auto_commit=False,
                                          auto_offset_reset="earliest", heartbeat_interval_ms=500, **settings)
        await self._consumer.start()
        try:
            while not self._ended.is_set():
                batches = await self._consumer.getmany(timeout_ms=100)
                if not batches:
                    continue
                await self._consumer.commit()
                for record in (record for batch in batches.values() for record in batch):
                    self._got(record.value.decode())
        finally:
            await self._consumer.stop()

    def assigned(self) -> int:
        """How many partitions it has; raises if it failed."""
        if self._task.done():
            self._task.result()
        return len(self.partitions())

    def partitions(self) -> frozenset[TopicPartition]:
        """Those that it has."""
        return self._consumer.assignment() if self._consumer else frozenset()

    def leave(self) -> None:
        """Ends it."""
        LOOP.call_soon_threadsafe(self._ended.set)
        self._task.result(WAIT_S)


class Client:
    """See client_checks.py."""

    def create_topic(self, name: str, partitions: int) -> None:
        """By the admin client."""
        with_admin(lambda admin: admin.create_topics([NewTopic(name, partitions, 1)]))

    def produce(self, topic: str, codec: str, records: list[Record]) -> None:
        """Idempotent."""
        async def send() -> None:
            compression = None if codec == "none" else codec
            async with AIOKafkaProducer(bootstrap_servers=KAFKA, compression_type=compression, enable_idempotence=True) as producer:
                acks = [await producer.send(topic, r.value.encode(), r.key.encode(), timestamp_ms=r.timestamp,
                                            headers=[(HEADER, r.header.encode())]) for r in records]
                await asyncio.gather(*acks)
        wait_for(send())

    def read(self, topic: str, count: int) -> list[Record]:
        """By an assigned consumer."""
        async def get() -> list[Record]:
            consumer = AIOKafkaConsumer(bootstrap_servers=KAFKA)
            consumer.assign([TopicPartition(topic, 0)])
            await consumer.start()
            await consumer.seek_to_beginning()
            records = [await consumer.getone() for _ in range(count)]
            await consumer.stop()
            return [Record(r.key.decode(), r.value.decode(), dict(r.headers)[HEADER].decode(), offset=r.offset) for r in records]
        return wait_for(get())

    def offset_at(self, topic: str, ms: int) -> int:
        """By offsets_for_times."""
        async def find() -> int:
            async with AIOKafkaConsumer(bootstrap_servers=KAFKA) as consumer:
                partition = TopicPartition(topic, 0)
                return (await consumer.offsets_for_times({partition: ms}))[partition].offset
        return wait_for(find())

    def join(self, topic: str, group: str, got: Got) -> Member:
        """A dynamic member."""
        return Member(topic, group, got)


def with_admin(use: Any) -> Any:
    """What a call of an admin client gives."""
    async def call() -> Any:
        admin = AIOKafkaAdminClient(bootstrap_servers=KAFKA)
        await admin.start()
        try:
            return await use(admin)
        finally:
            await admin.close()
    return wait_for(call())


CLIENT = Client()
standard(CLIENT, ("none", "gzip", "snappy", "lz4", "zstd"))


@check("a static member comes back to its partitions, and the other keeps its own")
def static_member() -> None:
    topic, group, seen = fresh_name("static"), fresh_name("instances"), set()
    CLIENT.create_topic(topic, 4)
    members = [Member(topic, group, seen.add, group_instance_id=f"instance-{i}", session_timeout_ms=20_000) for i in range(2)]
    until("both have two partitions", lambda: [m.assigned() for m in members] == [2, 2])
    before = members[1].partitions()
    members[1].leave()
    expect(members[0].assigned(), 2, "partitions of the other")
    members[1] = Member(topic, group, seen.add, group_instance_id="instance-1", session_timeout_ms=20_000)
    until("it has its partitions again", lambda: members[1].assigned() == 2)
    expect(members[1].partitions(), before, "its partitions")
    CLIENT.produce(topic, "none", numbered(0, PORTION))
    until("all records came", lambda: len(seen) == PORTION)
    for member in members:
        member.leave()


@check("admin lists and describes groups and their offsets")
def admin_groups() -> None:
    topic, group, seen = fresh_name("admin"), fresh_name("described"), set()
    CLIENT.create_topic(topic, 2)
    CLIENT.produce(topic, "none", numbered(0, PORTION))
    member = Member(topic, group, seen.add)
    until("all records came", lambda: len(seen) == PORTION)
    expect(group in [listed[0] for listed in with_admin(lambda admin: admin.list_consumer_groups())], True, "listed")
    described = with_admin(lambda admin: admin.describe_consumer_groups([group]))[0].groups[0]
    expect((described[0], described[1], described[2], len(described[5])), (0, group, "Stable", 1), "described")
    offsets = with_admin(lambda admin: admin.list_consumer_group_offsets(group))
    expect(sum(offset.offset for offset in offsets.values()), PORTION, "offsets")
    member.leave()


@check("admin adds partitions and deletes topics")
def admin_topics() -> None:
    topic = fresh_name("topics")
    CLIENT.create_topic(topic, 2)
    with_admin(lambda admin: admin.create_partitions({topic: NewPartitions(3)}))
    until("it has three partitions", lambda: len(with_admin(lambda admin: admin.describe_topics([topic]))[0]["partitions"]) == 3)
    with_admin(lambda admin: admin.delete_topics([topic]))
    until("the topic is gone", lambda: topic not in with_admin(lambda admin: admin.list_topics()))


if __name__ == "__main__":
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    run_checks()
