"""Consumer groups of both protocols while the agents that coordinate them die, and their own members too: what was committed
stays, nothing is skipped, and no generation gives a partition to two.

Members are processes with histories of their own (lanes/group_member.py), which are judged with all others: committed offsets
must rise, and lie in the log. At the end each group has committed the whole log, and of every record below what a group
committed some member of it has read.
"""

import itertools
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from agent_process import AgentProcess
from group_member import GROUPS
from history import OK, Operation, Recorder, operations, read
from lanes import RECONNECT, end_offset
from trial import TOPIC, Trial, figure

PROGRAM = Path(__file__).resolve().parents[1] / "lanes" / "group_member.py"
MEMBERS = 3
SETTLE_S = 8
CATCH_UP_S = 75
"""A member of KIP-848 that was killed keeps its partitions for 45 s."""


class Member:
    """One process, and the files of those before it that had its place."""

    def __init__(self, trial: Trial, group: str, number: int):
        self.group, self._trial, self._place = group, trial, f"{group}-member-{number}"
        self.histories: list[Path] = []
        self.start()

    def start(self) -> None:
        """A new member, after the one before it has ended."""
        name = f"{self._place}.{len(self.histories)}"
        self.histories.append(self._trial.cluster.folder / f"{name}.jsonl")
        words = [sys.executable, str(PROGRAM), self._trial.cluster.kafka, TOPIC, self.group, name, str(self.histories[-1])]
        self._process = subprocess.Popen(words, stderr=subprocess.DEVNULL)

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT; SIGKILL and SIGTERM, and waits for its end."""
        self._process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:  # a group that has no coordinator cannot be left
                self._process.kill()
                self._process.wait()

    def operations(self) -> Iterator[Operation]:
        """What it has recorded so far."""
        return operations(read(path for path in self.histories if path.exists()))

    def has_committed(self) -> bool:
        """Whether it has committed anything."""
        return any(o.op == "commit" and o.type == OK for o in self.operations())


class Groups:
    """A group of each protocol on the workload's topic, from now until the trial is judged."""

    def __init__(self, trial: Trial):
        self._trial = trial
        self.members = [Member(trial, group, number) for group in GROUPS for number in range(MEMBERS)]
        trial.questions.append(self._ask)

    def of(self, group: str) -> list[Member]:
        """Its members."""
        return [member for member in self.members if member.group == group]

    def wait_for_commits(self, within_s: float) -> None:
        """Until each group has begun."""
        deadline = time.monotonic() + within_s
        while not all(any(m.has_committed() for m in self.of(group)) for group in GROUPS):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not in {within_s} s: a commit of each group")
            time.sleep(0.3)

    def print_longest_pause(self, when: str, since: float) -> None:
        """How long each group committed nothing, at most."""
        for group in GROUPS:
            commits = sorted(o.ended for m in self.of(group) for o in m.operations() if o.op == "commit" and o.type == OK and o.ended > since)
            moments = [since, *commits, time.monotonic()]
            figure(f"longest pause of {group}'s commits {when}", max(b - a for a, b in itertools.pairwise(moments)))

    def _ask(self) -> list[str]:
        deadline = time.monotonic() + CATCH_UP_S
        complaints, recorder = [], self._trial.load.recorder
        for group in GROUPS:
            # What nobody knows of may still arrive, so the ends are asked for each time.
            while (offsets := self._committed(group, recorder)) != (ends := self._ends(deadline)) and time.monotonic() < deadline:
                time.sleep(0.5)
            complaints += [f"group-behind: {group} committed {offsets.get(p)} of {end} on {p}" for p, end in ends.items() if offsets.get(p) != end]
            for member in self.of(group):
                member.signal(signal.SIGTERM)
            complaints += self._skipped(group, offsets)
        self._trial.histories += [path for member in self.members for path in member.histories if path.exists()]
        return complaints

    def _skipped(self, group: str, offsets: dict[int, int]) -> Iterator[str]:
        was_read, generations = defaultdict(set), set()
        for operation in (o for member in self.of(group) for o in member.operations()):
            if operation.op == "own":
                generations.add(operation.fields["generation"])
            for partition, offset, _ in operation.fields.get("records", ()):
                was_read[partition].add(offset)
        print(f"    {group}: {len(generations)} rebalances, {sum(map(len, was_read.values()))} records read", flush=True)
        for partition, offset in offsets.items():
            skipped = set(range(max(offset, 0))) - was_read[partition]
            if skipped:
                yield f"group-skipped: {group} committed {offset} on {partition}, nobody read {len(skipped)}, as {min(skipped)}"

    def _ends(self, deadline: float) -> dict[int, int | None]:
        reader = Consumer({"bootstrap.servers": self._trial.cluster.kafka, "group.id": "ends", **RECONNECT})
        ends = {p: end_offset(reader, TopicPartition(TOPIC, p), deadline) for p in range(self._trial.load.partitions)}
        reader.close()
        return ends

    def _committed(self, group: str, recorder: Recorder) -> dict[int, int]:
        """What a fresh client is told; nothing if nobody tells."""
        admin = AdminClient({"bootstrap.servers": self._trial.cluster.kafka, "log_level": 0})
        number = {p: recorder.invoke(f"{group}-reader", "committed", group=group, topic=TOPIC, partition=p)
                  for p in range(self._trial.load.partitions)}
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(TOPIC, p) for p in number])
        try:
            told = admin.list_consumer_group_offsets([asked], request_timeout=10)[group].result(15)
        except KafkaException:
            return {}
        offsets = {place.partition: place.offset for place in told.topic_partitions}
        for partition, offset in offsets.items():
            recorder.complete(f"{group}-reader", "committed", OK, number[partition], offset=max(offset, -1))
        return offsets


def groups(trial: Trial) -> None:
    """Two groups, classic and KIP-848, whose coordinators die one after the other, and whose members leave, stop and die."""
    both = Groups(trial)
    both.wait_for_commits(30)
    time.sleep(SETTLE_S)
    for group in GROUPS:
        agent = _coordinator(trial, group)
        began = time.monotonic()
        agent.kill()
        _hurt_members(both.of(group))
        time.sleep(SETTLE_S)
        both.print_longest_pause(f"after kill -9 of the agent that coordinates {group}", began)
        agent.start()
        trial.cluster.wait_ready(20)
        time.sleep(SETTLE_S / 2)
    began = time.monotonic()
    trial.cluster.agents[0].terminate()
    time.sleep(SETTLE_S / 2)
    trial.cluster.agents[0].start()
    trial.cluster.wait_ready(20)
    for turn in range(trial.turns - 1):
        _hurt_members([both.of("classic")[turn % MEMBERS], both.of("consumer")[turn % MEMBERS]])
    time.sleep(SETTLE_S / 2)
    both.print_longest_pause("around a SIGTERM", began)


def _hurt_members(members: list[Member]) -> None:
    """One leaves, one is stopped for longer than a session of the classic protocol; only there is one killed, as it is out soon."""
    hurt: list[Callable[[], None]] = []
    for member, number in zip(members, (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL if members[-1].group == "classic" else signal.SIGTERM)):
        member.signal(number)
        hurt.append(member.start if number != signal.SIGSTOP else lambda m=member: m.signal(signal.SIGCONT))
    time.sleep(SETTLE_S * 1.5)
    for heal in hurt:
        heal()


def _coordinator(trial: Trial, group: str) -> AgentProcess:
    admin = AdminClient({"bootstrap.servers": trial.cluster.kafka, "log_level": 0})
    found = admin.describe_consumer_groups([group], request_timeout=10)[group].result(15)
    return next(agent for agent in trial.cluster.agents if agent.kafka.endswith(f":{found.coordinator.port}"))
