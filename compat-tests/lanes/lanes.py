"""librdkafka clients that keep working while agents die and come back: two kinds of producers, and a consumer that follows.

The idempotent lane lets librdkafka retry for as long as the test runs: what it reports as delivered must be stored once.
The single-shot lane has no retries and one request in flight. librdkafka sends again all the same after NOT_LEADER, so that
a later record may go first: its sends are no stream. Since 2.10 it also does when the broker that has the request is
not in the metadata any more (_DESTROY_BROKER, taken for "not persisted"), so that this lane sees whether agents that start
over stay listed (ADR 0024). Exact outcomes are for raw_lanes.py.
"""

import random
import threading
import time
from collections import Counter

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from history import FAIL, INFO, OK, Recorder, Value

DEFINITE_FAILURES = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION,
                     KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._QUEUE_FULL)
RECONNECT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 0}
IDEMPOTENT = {"enable.idempotence": True, "message.timeout.ms": 300_000, "retry.backoff.ms": 20}
SINGLE_SHOT = {"enable.idempotence": False, "message.send.max.retries": 0, "max.in.flight": 1,
               "message.timeout.ms": 10_000}


class ProducerLane(threading.Thread):
    """Sends unique values round-robin over the partitions at `rate` records a second until stopped. `ballast`: bytes of each key."""

    def __init__(self, name: str, kafka: str, topic: str, partitions: int, rate: float, settings: dict, recorder: Recorder,
                 run: str, ballast: int = 0):
        super().__init__(name=name, daemon=True)
        self.counts: Counter = Counter()
        self.acks: list[tuple[float, int]] = []
        self.fatal: list[str] = []
        self.reported: Counter = Counter()
        """Errors told to the application, by code; connection troubles that the client itself retries are not among them."""
        self.idempotent = settings["enable.idempotence"]
        self._stopped = threading.Event()
        self._topic, self._partitions, self._rate, self._run = topic, partitions, rate, run
        self._key = random.randbytes(ballast) or None
        self._recorder = recorder
        recorder.complete(name, "client", OK, idempotent=self.idempotent, retries=False)
        self._producer = Producer({"bootstrap.servers": kafka, "acks": "all", "linger.ms": 2,
                                   "error_cb": self._on_error, **RECONNECT, **settings})

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._give_up(error)

    def _give_up(self, error: object) -> None:
        """A fatal error ends the lane, and with it the test's success; what is in flight stays unknown."""
        self.fatal.append(f"{self.name}: fatal: {error}")
        self._stopped.set()

    def _on_delivery(self, number: int, partition: int):
        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                # librdkafka does not know the offset of a record that it found written when it asked again.
                offset = message.offset()
                self._complete(number, OK, offset=-1 if offset is None else offset)
                self.acks.append((time.monotonic(), partition))
            else:
                self.reported[error.name()] += 1
                self._complete(number, FAIL if error.code() in DEFINITE_FAILURES else INFO, error=error.name())
        return report

    def _complete(self, number: int, kind: str, **fields: object) -> None:
        self._recorder.complete(self.name, "send", kind, number, **fields)
        self.counts[kind] += 1

    def run(self) -> None:
        """Sends until stopped; a fatal error is raised by whichever call meets it first."""
        try:
            self._send_until_stopped()
        except (KafkaException, SystemError) as error:
            self._give_up(error)

    def _send_until_stopped(self) -> None:
        """Bounded: never more than two seconds' worth of records wait for their answer."""
        began, sent = time.monotonic(), 0
        stream = {"stream": "all"} if self.idempotent else {}
        while not self._stopped.is_set():
            if time.monotonic() - began < sent / self._rate or len(self._producer) > 2 * self._rate:
                self._producer.poll(0.005)
                continue
            partition, sequence = sent % self._partitions, sent // self._partitions
            value = Value(self._run, self._topic, partition, self.name, sequence).encode()
            number = self._recorder.invoke(self.name, "send", topic=self._topic, partition=partition, value=value, **stream)
            self._producer.produce(self._topic, value.encode(), key=self._key, partition=partition,
                                   on_delivery=self._on_delivery(number, partition))
            sent += 1

    def finish(self, within_s: float) -> None:
        """Stops sending and waits for the reports; what is left then stays unknown."""
        self._stopped.set()
        self.join()
        if not self.fatal and self._producer.flush(within_s) and self.idempotent:
            self.fatal.append(f"{self.name}: {len(self._producer)} records have no answer {within_s} s after the end")


class FollowingConsumer(threading.Thread):
    """Reads all partitions from their beginning while agents come and go."""

    def __init__(self, kafka: str, topic: str, partitions: int, recorder: Recorder, name: str = "follower", rack: str = ""):
        super().__init__(name=name, daemon=True)
        self.errors: list[str] = []
        self.ages: list[tuple[int, float]] = []
        """Of each record its partition, and its age in seconds when it was read; only if the consumer has a rack."""
        self.rack = rack
        self.positions = dict.fromkeys(range(partitions), 0)
        self._topic, self._recorder = topic, recorder
        self._stopped = threading.Event()
        self._consumer = follow(kafka, topic, partitions, rack)
        recorder.complete(name, "client", OK, follows=True)
        recorder.complete(name, "assign", OK, topic=topic, positions={str(p): 0 for p in self.positions})

    def run(self) -> None:
        """Reads until stopped."""
        while not self._stopped.is_set():
            wait_s = 0.005 if self.rack else 0.1
            messages = poll(self._consumer, self.name, self._topic, self._recorder, self.positions, wait_s)
            if self.rack:
                now = time.time()
                self.ages += [(m.partition(), now - m.timestamp()[1] / 1000) for m in messages if m.error() is None]

    def finish(self, ends: dict[int, int], within_s: float) -> None:
        """Stops once it has read up to these ends, or that much time is over: what it lacks then, the checker calls unseen."""
        deadline = time.monotonic() + within_s
        while any(self.positions[p] < end for p, end in ends.items()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopped.set()
        self.join()
        self._consumer.close()


def poll(consumer: Consumer, process: str, topic: str, recorder: Recorder, positions: dict[int, int],
         wait_s: float = 0.1) -> list[Message]:
    """One poll of up to 1,000 records, or of what comes in `wait_s`, recorded; moves the positions."""
    number = recorder.invoke(process, "poll", topic=topic)
    records = []
    messages = consumer.consume(1_000, timeout=wait_s)
    for message in messages:
        error = message.error()
        if error is None:
            records.append([message.partition(), message.offset(), message.value().decode("latin-1")])
            positions[message.partition()] = message.offset() + 1
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            recorder.complete(process, "poll", FAIL, topic=topic, error="OFFSET_OUT_OF_RANGE", partition=message.partition(),
                              offset=None, told=error.str())
    recorder.complete(process, "poll", OK, number, records=records)
    return messages


def follow(kafka: str, topic: str, partitions: int, rack: str = "") -> Consumer:
    """A consumer of all partitions from the beginning, without a group. From offset 0, not from "the beginning": librdkafka asks for
    that, and calls it an offset out of range too if nobody answers for a while."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "none", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "fetch.wait.max.ms": 100, "client.rack": rack, **RECONNECT})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    return consumer


def end_offset(consumer: Consumer, partition: TopicPartition, deadline: float) -> int | None:
    """The partition's end; retries what an agent that has just started may answer. None if nobody tells in time."""
    while time.monotonic() < deadline:
        try:
            return consumer.get_watermark_offsets(partition, timeout=2)[1]
        except KafkaException:
            time.sleep(0.1)
    return None


def read_log(kafka: str, topic: str, partitions: int, recorder: Recorder, within_s: float) -> dict[int, int]:
    """Reads the whole log with a fresh client, for at most that long; where it came. What it lacks, the checker calls unseen."""
    recorder.complete("final", "client", OK, final=True)
    consumer = follow(kafka, topic, partitions)
    deadline = time.monotonic() + within_s
    ends = {p: end_offset(consumer, TopicPartition(topic, p), deadline - within_s / 2) for p in range(partitions)}
    positions = dict.fromkeys(ends, 0)
    recorder.complete("final", "assign", OK, topic=topic, positions={str(p): 0 for p in ends})
    while any(end is None or positions[p] < end for p, end in ends.items()) and time.monotonic() < deadline:
        poll(consumer, "final", topic, recorder, positions)
    consumer.close()
    return positions
