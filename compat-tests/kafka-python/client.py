"""The checks of kafka-python, both 3 and 2.0.2: producer, group consumer, admin."""

import threading
import time
from collections.abc import Callable

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewPartitions, NewTopic

from checks import KAFKA, check, expect, fresh_name, run_checks
from client_checks import HEADER, PORTION, WAIT_S, Got, Record, numbered, standard, until

OLD = kafka.__version__.startswith("2.0.")


class Member:
    """A consumer on a thread of its own: it commits what it polled, then tells of it."""

    def __init__(self, topic: str, group: str, got: Got, **settings: object):
        self._ended, self._assigned, self._failure = threading.Event(), 0, None
        self._thread = threading.Thread(target=self._run, args=(topic, group, got, settings), daemon=True)
        self._thread.start()

    def _run(self, topic: str, group: str, got: Got, settings: dict[str, object]) -> None:
        try:
            self._live(topic, group, got, settings)
        except Exception as error:  # told to whoever asks for the partitions
            self._failure = error

    def _live(self, topic: str, group: str, got: Got, settings: dict[str, object]) -> None:
        consumer = KafkaConsumer(topic, bootstrap_servers=KAFKA, group_id=group, enable_auto_commit=False,
                                 auto_offset_reset="earliest", heartbeat_interval_ms=500, **settings)
        while not self._ended.is_set():
            batches = consumer.poll(timeout_ms=100)
            self._assigned = len(consumer.assignment())
            if batches:
                consumer.commit()
            for record in (record for batch in batches.values() for record in batch):
                got(record.value.decode())
        consumer.close()

    def assigned(self) -> int:
        """How many partitions it has; raises if it failed."""
        if self._failure:
            raise self._failure
        return self._assigned

    def leave(self) -> None:
        """Ends it."""
        self._ended.set()
        self._thread.join(WAIT_S)
        self.assigned()


class Client:
    """See client_checks.py."""

    def __init__(self) -> None:
        self.admin = KafkaAdminClient(bootstrap_servers=KAFKA)

    def create_topic(self, name: str, partitions: int) -> None:
        """By the admin client."""
        self.admin.create_topics([NewTopic(name, partitions, 1)])

    def produce(self, topic: str, codec: str, records: list[Record]) -> None:
        """As the client does by default, with acks all."""
        producer = KafkaProducer(bootstrap_servers=KAFKA, compression_type=None if codec == "none" else codec, acks="all", linger_ms=10)
        acks = [producer.send(topic, r.value.encode(), r.key.encode(), [(HEADER, r.header.encode())], timestamp_ms=r.timestamp)
                for r in records]
        for ack in acks:
            ack.get(WAIT_S)
        producer.close()

    def read(self, topic: str, count: int) -> list[Record]:
        """By an assigned consumer."""
        consumer = KafkaConsumer(bootstrap_servers=KAFKA)
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek_to_beginning()
        records, deadline = [], time.monotonic() + WAIT_S
        while len(records) < count and time.monotonic() < deadline:
            records += [record for batch in consumer.poll(timeout_ms=200).values() for record in batch]
        consumer.close()
        return [Record(r.key.decode(), r.value.decode(), dict(r.headers)[HEADER].decode(), offset=r.offset) for r in records]

    def offset_at(self, topic: str, ms: int) -> int:
        """By offsets_for_times."""
        consumer, partition = KafkaConsumer(bootstrap_servers=KAFKA), TopicPartition(topic, 0)
        try:
            return consumer.offsets_for_times({partition: ms})[partition].offset
        finally:
            consumer.close()

    def join(self, topic: str, group: str, got: Got) -> Member:
        """A dynamic member."""
        return Member(topic, group, got)


CLIENT = Client()
standard(CLIENT, ("none", "gzip", "snappy", "lz4") if OLD else ("none", "gzip", "snappy", "lz4", "zstd"))


def static_member() -> None:
    """One of two ends without a word and comes back within its session."""
    topic, group, seen = fresh_name("static"), fresh_name("instances"), set()
    CLIENT.create_topic(topic, 4)
    members = [Member(topic, group, seen.add, group_instance_id=f"instance-{i}", session_timeout_ms=20_000) for i in range(2)]
    until("both have two partitions", lambda: [m.assigned() for m in members] == [2, 2])
    members[1].leave()
    expect(members[0].assigned(), 2, "partitions of the other")
    members[1] = Member(topic, group, seen.add, group_instance_id="instance-1", session_timeout_ms=20_000)
    until("it has its partitions again", lambda: members[1].assigned() == 2)
    CLIENT.produce(topic, "none", numbered(0, PORTION))
    until("all records came", lambda: len(seen) == PORTION)
    for member in members:
        member.leave()


if not OLD:
    check("a static member comes back to its partitions")(static_member)


def groups(verb: str) -> Callable[..., object]:
    """The admin client's method, which was renamed."""
    return getattr(CLIENT.admin, f"{verb}_consumer_groups" if OLD else f"{verb}_groups")


@check("admin lists and describes groups and their offsets, and deletes them")
def admin_groups() -> None:
    topic, group, seen = fresh_name("admin"), fresh_name("described"), set()
    CLIENT.create_topic(topic, 2)
    CLIENT.produce(topic, "none", numbered(0, PORTION))
    member = Member(topic, group, seen.add)
    until("all records came", lambda: len(seen) == PORTION)
    expect(group in str(groups("list")()), True, "listed")
    expect("Stable" in str(groups("describe")([group])), True, "stable")
    offsets = CLIENT.admin.list_consumer_group_offsets(group) if OLD else CLIENT.admin.list_group_offsets([group])[group]
    expect(sum(offset.offset for offset in offsets.values()), PORTION, "offsets")
    member.leave()
    groups("delete")([group])
    expect(group in str(groups("list")()), False, "listed after")


@check("admin adds partitions, lists and deletes topics")
def admin_topics() -> None:
    topic = fresh_name("topics")
    CLIENT.create_topic(topic, 2)
    CLIENT.admin.create_partitions({topic: NewPartitions(3)})
    until("it has three partitions", lambda: len(CLIENT.admin.describe_topics([topic])[0]["partitions"]) == 3)
    CLIENT.admin.delete_topics([topic])
    until("the topic is gone", lambda: topic not in CLIENT.admin.list_topics())


if __name__ == "__main__":
    run_checks()
