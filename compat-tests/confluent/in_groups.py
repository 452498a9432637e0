"""Consumers in groups: rebalances, commits, cooperative and static members, and groups as an administrator sees them."""

import time
from collections.abc import Callable

from confluent_kafka import (Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaError, KafkaException,
                             Producer, TopicPartition)
from confluent_kafka.admin import AdminClient, NewTopic

from checks import KAFKA, check, expect, fresh_name

WAIT_S = 30
ADMIN = AdminClient({"bootstrap.servers": KAFKA, "log_level": 3})


class Member:
    """A consumer that subscribes, and what it was assigned and read."""

    def __init__(self, group: str, topic: str, **settings: object):
        self.consumer = Consumer({"bootstrap.servers": KAFKA, "log_level": 2, "group.id": group,
                                  "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                  "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
                                  **{k.replace("_", "."): v for k, v in settings.items()}})
        self.values: list[str] = []
        self.revoked = 0
        self.cooperative = settings.get("partition_assignment_strategy") == "cooperative-sticky"
        self.consumer.subscribe([topic], on_revoke=self._on_revoke)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.revoked += len(partitions)
        if self.cooperative:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def poll(self, wait_s: float = 0.1) -> None:
        """One message, if one comes."""
        message = self.consumer.poll(wait_s)
        if message is None:
            return
        if message.error() is not None:
            raise KafkaException(message.error())
        self.values.append(message.value().decode())

    @property
    def partitions(self) -> list[int]:
        """What is assigned to it now."""
        return sorted(p.partition for p in self.consumer.assignment())


def until(members: list[Member], condition: Callable[[], bool], what: str) -> None:
    """Polls all members until it is so."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not in {WAIT_S} s: {what}; {[m.partitions for m in members]}"
        for member in members:
            member.poll(0.05)


def topic_of(partitions: int, records: int = 0) -> str:
    """A fresh topic, with records 0, 1, 2… dealt to its partitions."""
    name = fresh_name("groups")
    ADMIN.create_topics([NewTopic(name, partitions, 1)], operation_timeout=WAIT_S)[name].result(WAIT_S)
    produce(name, partitions, range(records))
    return name


def produce(topic: str, partitions: int, numbers: range) -> None:
    """Each number to its partition."""
    sender = Producer({"bootstrap.servers": KAFKA, "log_level": 2})
    for number in numbers:
        sender.produce(topic, str(number).encode(), partition=number % partitions)
    expect(sender.flush(WAIT_S), 0, "records left after flush")


def share(group: str, topic: str, partitions: int, **settings: object) -> list[Member]:
    """Two members that have everything between them."""
    members = [Member(group, topic, **settings) for _ in range(2)]
    everything = list(range(partitions))
    until(members, lambda: all(m.partitions for m in members)
          and sorted(members[0].partitions + members[1].partitions) == everything, "shared out")
    return members


@check("two members share a topic; when one leaves the other has everything, and every record is read once")
def rebalance() -> None:
    topic, group = topic_of(4, 40), fresh_name("group")
    members = share(group, topic, 4)
    until(members, lambda: len(members[0].values + members[1].values) >= 40, "40 records")
    for member in members:
        member.consumer.commit(asynchronous=False)
    members[1].consumer.close()
    until(members[:1], lambda: members[0].partitions == [0, 1, 2, 3], "all for the one left")
    produce(topic, 4, range(40, 80))
    until(members[:1], lambda: len(members[0].values + members[1].values) >= 80, "80 records")
    members[0].consumer.close()
    expect(sorted(map(int, members[0].values + members[1].values)), list(range(80)), "records")


@check("a group goes on where it committed, with the metadata it committed")
def commit_and_resume() -> None:
    topic, group = topic_of(1, 10), fresh_name("group")
    first = Member(group, topic)
    until([first], lambda: len(first.values) >= 10, "10 records")
    first.consumer.commit(offsets=[TopicPartition(topic, 0, 6, "so far")], asynchronous=False)
    first.consumer.close()
    second = Member(group, topic)
    until([second], lambda: len(second.values) >= 4, "4 records")
    expect(second.values, ["6", "7", "8", "9"], "after the commit")
    found = second.consumer.committed([TopicPartition(topic, 0)], timeout=WAIT_S)[0]
    expect((found.offset, found.metadata), (6, "so far"), "committed")
    second.consumer.close()


@check("a consumer that assigns its partitions commits and resumes without a group's members")
def simple_consumer() -> None:
    topic, group = topic_of(1, 5), fresh_name("group")
    reader = Consumer({"bootstrap.servers": KAFKA, "log_level": 2, "group.id": group, "enable.auto.commit": False})
    reader.assign([TopicPartition(topic, 0, 0)])
    reader.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
    expect(reader.committed([TopicPartition(topic, 0)], timeout=WAIT_S)[0].offset, 3, "committed")
    reader.close()


@check("cooperative members give up only what moves")
def cooperative() -> None:
    topic, group = topic_of(6), fresh_name("group")
    strategy = {"partition_assignment_strategy": "cooperative-sticky"}
    first = Member(group, topic, **strategy)
    until([first], lambda: len(first.partitions) == 6, "all for one")
    second = Member(group, topic, **strategy)
    members = [first, second]
    until(members, lambda: len(first.partitions) == 3 and len(second.partitions) == 3, "half each")
    expect((first.revoked, second.revoked), (3, 0), "revoked")
    second.consumer.close()
    until([first], lambda: len(first.partitions) == 6, "all for one again")
    first.consumer.close()


@check("a static member that comes back in time has its partitions again, and the other one notices nothing")
def static_member() -> None:
    topic, group = topic_of(4), fresh_name("group")
    first = Member(group, topic, group_instance_id="one", session_timeout_ms=20_000)
    second = Member(group, topic, group_instance_id="two", session_timeout_ms=20_000)
    until([first, second], lambda: len(first.partitions) == 2 and len(second.partitions) == 2, "half each")
    before, revoked = second.partitions, first.revoked
    second.consumer.close()
    second = Member(group, topic, group_instance_id="two", session_timeout_ms=20_000)
    until([first, second], lambda: second.partitions == before, "the same partitions")
    expect(first.revoked, revoked, "revoked from the other")
    for member in (first, second):
        member.consumer.close()


@check("an administrator lists, describes, moves and deletes a group")
def administration() -> None:
    topic, group = topic_of(2, 4), fresh_name("group")
    members = share(group, topic, 2)
    described = ADMIN.describe_consumer_groups([group], request_timeout=WAIT_S)[group].result(WAIT_S)
    expect((described.state, len(described.members)), (ConsumerGroupState.STABLE, 2), "described")
    shown = sorted(p.partition for m in described.members for p in m.assignment.topic_partitions)
    expect((shown, {m.host for m in described.members}), ([0, 1], {"/127.0.0.1"}), "assignments")
    listed = ADMIN.list_consumer_groups(request_timeout=WAIT_S).result(WAIT_S)
    expect([g.group_id for g in listed.valid if g.group_id == group], [group], "listed")
    refused = ADMIN.delete_consumer_groups([group], request_timeout=WAIT_S)[group]
    try:
        refused.result(WAIT_S)
        raise AssertionError("a group with members was deleted")
    except KafkaException as error:
        expect(error.args[0].code(), KafkaError.NON_EMPTY_GROUP, "deletion")
    for member in members:
        member.consumer.close()
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 2), TopicPartition(topic, 1, 1)])
    ADMIN.alter_consumer_group_offsets([moved], request_timeout=WAIT_S)[group].result(WAIT_S)
    asked = ConsumerGroupTopicPartitions(group)
    found = ADMIN.list_consumer_group_offsets([asked], request_timeout=WAIT_S)[group].result(WAIT_S)
    expect(sorted((p.partition, p.offset) for p in found.topic_partitions), [(0, 2), (1, 1)], "offsets")
    ADMIN.delete_consumer_groups([group], request_timeout=WAIT_S)[group].result(WAIT_S)
    listed = ADMIN.list_consumer_groups(request_timeout=WAIT_S).result(WAIT_S)
    assert group not in [g.group_id for g in listed.valid], "still there"
