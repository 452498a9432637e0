"""A member of a consumer group, as a process that can be killed and stopped: commits what it has read, and writes its history.

    group_member.py BOOTSTRAP TOPIC classic|consumer NAME HISTORY

The group has the name of its protocol. SIGTERM: it leaves. Every line of its history is on its file before it does anything
else, so that nothing is forgotten by a kill -9 but what is under way. At each rebalance it says what it owns in which
generation (a member's epoch, in KIP-848), and its positions begin anew.
"""

import signal
import struct
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from history import INFO, OK, Recorder
from lanes import RECONNECT

GROUPS = {"classic": {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 10_000, "heartbeat.interval.ms": 500},
          "consumer": {"group.protocol": "consumer"}}
ROUND_S = 0.1
MESSAGES_MAX = 500


class Member:
    """One consumer, polled by one thread."""

    def __init__(self, kafka: str, topic: str, group: str, name: str, history: Path):
        self._topic, self._group, self._name = topic, group, name
        self._recorder = Recorder(history, flushed=True)
        self._read: list[Message] = []
        self._poll: int | None = None
        self._stopped = False
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False,
                                   "auto.offset.reset": "earliest", **GROUPS[group], **RECONNECT})
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def stop(self, *_: object) -> None:
        """After this round."""
        self._stopped = True

    def run(self) -> None:
        """Polls and commits."""
        while not self._stopped:
            self._poll = self._recorder.invoke(self._name, "poll", topic=self._topic)
            until, ends = time.monotonic() + ROUND_S, {}
            while time.monotonic() < until and len(self._read) < MESSAGES_MAX:
                message = self._consumer.poll(max(until - time.monotonic(), 0))
                if message is not None and message.error() is None:
                    self._read.append(message)
            ends = self._end_poll()
            if ends:
                self._commit(ends)
        self._consumer.close()

    def _end_poll(self) -> dict[int, int]:
        """What was read so far is one poll; where it ends in each partition."""
        records = [[m.partition(), m.offset(), m.value().decode("latin-1")] for m in self._read]
        if self._poll is not None:
            self._recorder.complete(self._name, "poll", OK, self._poll, records=records)
        self._poll, self._read = None, []
        return {partition: offset + 1 for partition, offset, _ in records}

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        owned = {p.partition for p in consumer.assignment()} | {p.partition for p in partitions}
        # librdkafka writes the group's metadata with the generation first.
        generation = struct.unpack_from("=i", bytes(consumer.consumer_group_metadata()), len("CGMDv2:"))[0]
        if generation >= 0:
            self._recorder.complete(self._name, "own", OK, group=self._group, generation=generation,
                                    partitions=[[self._topic, p] for p in sorted(owned)])
        self._begin_anew()

    def _revoked(self, *_: object) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Positions are the group's from here on; what was read before is committed no more."""
        self._end_poll()
        self._recorder.complete(self._name, "assign", OK, topic=self._topic, positions={})
        self._poll = self._recorder.invoke(self._name, "poll", topic=self._topic)

    def _commit(self, ends: dict[int, int]) -> None:
        numbers = {p: self._recorder.invoke(self._name, "commit", group=self._group, topic=self._topic, partition=p, offset=end)
                   for p, end in ends.items()}
        try:
            outcomes = self._consumer.commit(offsets=[TopicPartition(self._topic, p, end) for p, end in ends.items()], asynchronous=False)
            fine = {outcome.partition for outcome in outcomes if outcome.error is None}
        except KafkaException:
            fine = set()
        for partition, number in numbers.items():
            self._recorder.complete(self._name, "commit", OK if partition in fine else INFO, number)


if __name__ == "__main__":
    member = Member(*sys.argv[1:5], Path(sys.argv[5]))
    signal.signal(signal.SIGTERM, member.stop)
    member.run()
