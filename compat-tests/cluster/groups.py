"""Consumer groups of both protocols while the agents that coordinate them die: what was committed stays, and nothing is skipped.

Every member commits what it has read, and the history says so; the checker wants committed offsets to rise. At the end each
group has committed the whole log, and of every record below what a group committed some member of it has read.
"""

import threading
import time
from collections import defaultdict

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from agent_process import AgentProcess
from history import INFO, OK, Recorder
from lanes import RECONNECT, end_offset
from trial import TOPIC, Trial, figure

GROUPS = {"classic": {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 10_000, "heartbeat.interval.ms": 500},
          "consumer": {"group.protocol": "consumer"}}
MEMBERS = 3
SETTLE_S, CATCH_UP_S = 8, 40


class Member(threading.Thread):
    """Reads what its group gives it, and commits after every poll, until it is closed."""

    def __init__(self, trial: Trial, group: str, number: int):
        super().__init__(name=f"{group}-member-{number}", daemon=True)
        self.read: dict[int, set[int]] = defaultdict(set)
        self.commits: list[float] = []
        self._group, self._recorder = group, trial.load.recorder
        self._stopped = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": trial.cluster.kafka, "group.id": group, "enable.auto.commit": False,
                                   "auto.offset.reset": "earliest", **GROUPS[group], **RECONNECT})
        self._consumer.subscribe([TOPIC])

    def run(self) -> None:
        """Polls and commits."""
        while not self._stopped.is_set():
            try:
                messages = [m for m in self._consumer.consume(500, timeout=0.1) if m.error() is None]
            except KafkaException:
                continue
            ends: dict[int, int] = {}
            for message in messages:
                self.read[message.partition()].add(message.offset())
                ends[message.partition()] = message.offset() + 1
            if ends:
                self._commit(ends)
        self._consumer.close()

    def _commit(self, ends: dict[int, int]) -> None:
        numbers = {p: self._recorder.invoke(self.name, "commit", group=self._group, topic=TOPIC, partition=p, offset=end)
                   for p, end in ends.items()}
        try:
            outcomes = self._consumer.commit(offsets=[TopicPartition(TOPIC, p, end) for p, end in ends.items()], asynchronous=False)
            fine = {outcome.partition for outcome in outcomes if outcome.error is None}
        except KafkaException:
            fine = set()
        for partition, number in numbers.items():
            self._recorder.complete(self.name, "commit", OK if partition in fine else INFO, number)
        if fine:
            self.commits.append(time.monotonic())

    def close(self) -> None:
        """Leaves the group."""
        self._stopped.set()
        self.join()


def groups(trial: Trial) -> None:
    """Two groups, classic and KIP-848, whose coordinators die one after the other."""
    members = {group: [Member(trial, group, n) for n in range(MEMBERS)] for group in GROUPS}
    for member in (m for group in members.values() for m in group):
        member.start()
    trial.questions.append(lambda: _asked_at_the_end(trial, members))
    _wait(lambda: all(any(m.commits for m in group) for group in members.values()), 30, "a group began to commit")
    time.sleep(SETTLE_S)
    for group in GROUPS:
        agent = _coordinator(trial, group)
        began = time.monotonic()
        agent.kill()
        time.sleep(SETTLE_S)
        _longest_pause(members, f"after kill -9 of the agent that coordinates {group}", began)
        agent.start()
        trial.cluster.wait_ready(20)
        time.sleep(SETTLE_S / 2)
    began = time.monotonic()
    trial.cluster.agents[0].terminate()
    time.sleep(SETTLE_S / 2)
    trial.cluster.agents[0].start()
    trial.cluster.wait_ready(20)
    time.sleep(SETTLE_S / 2)
    _longest_pause(members, "around a SIGTERM", began)


def _coordinator(trial: Trial, group: str) -> AgentProcess:
    admin = AdminClient({"bootstrap.servers": trial.cluster.kafka, "log_level": 0})
    found = admin.describe_consumer_groups([group], request_timeout=10)[group].result(15)
    return next(agent for agent in trial.cluster.agents if agent.kafka.endswith(f":{found.coordinator.port}"))


def _longest_pause(members: dict[str, list[Member]], when: str, since: float) -> None:
    for group, own in members.items():
        moments = [since, *sorted(at for member in own for at in list(member.commits) if at > since), time.monotonic()]
        figure(f"longest pause of {group}'s commits {when}", max(b - a for a, b in zip(moments, moments[1:])))


def _wait(holds, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not in {within_s} s: {what}")
        time.sleep(0.1)


def _committed(trial: Trial, group: str, recorder: Recorder) -> dict[int, int]:
    """What a fresh client is told."""
    admin = AdminClient({"bootstrap.servers": trial.cluster.kafka, "log_level": 0})
    number = {p: recorder.invoke(f"{group}-reader", "committed", group=group, topic=TOPIC, partition=p)
              for p in range(trial.load.partitions)}
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(TOPIC, p) for p in number])
    told = admin.list_consumer_group_offsets([asked], request_timeout=10)[group].result(15)
    offsets = {place.partition: place.offset for place in told.topic_partitions}
    for partition, offset in offsets.items():
        recorder.complete(f"{group}-reader", "committed", OK, number[partition], offset=max(offset, -1))
    return offsets


def _asked_at_the_end(trial: Trial, members: dict[str, list[Member]]) -> list[str]:
    reader = Consumer({"bootstrap.servers": trial.cluster.kafka, "group.id": "ends", **RECONNECT})
    deadline = time.monotonic() + CATCH_UP_S
    ends = {p: end_offset(reader, TopicPartition(TOPIC, p), deadline) for p in range(trial.load.partitions)}
    reader.close()
    complaints = []
    for group, own in members.items():
        while (offsets := _committed(trial, group, trial.load.recorder)) != ends and time.monotonic() < deadline:
            time.sleep(0.5)
        complaints += [f"group-behind: {group} committed {offsets[p]} of {end} on {p}" for p, end in ends.items() if offsets[p] != end]
        for partition, offset in offsets.items():
            skipped = set(range(max(offset, 0))) - set().union(*(member.read[partition] for member in own))
            if skipped:
                complaints.append(f"group-skipped: {group} committed {offset} on {partition}, nobody read {len(skipped)}, as {min(skipped)}")
        for member in own:
            member.close()
    return complaints
