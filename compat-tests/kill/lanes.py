"""Clients that keep working while the agent dies and comes back: two kinds of producers, and a consumer that follows.

The idempotent lane lets librdkafka retry for as long as the test runs: what it reports as delivered must be stored once.
The single-shot lane has no retries and one request in flight, so that its outcomes are exact: an error answer that means
"not stored" is `fail`, a lost connection is `info`. Only after NOT_LEADER does librdkafka send again all the same.
"""

import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from checker import FAIL, INFO, OK, Seen, Send, Value

DEFINITE_FAILURES = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION,
                     KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._QUEUE_FULL)
RECONNECT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "log_level": 0}
IDEMPOTENT = {"enable.idempotence": True, "message.timeout.ms": 300_000, "retry.backoff.ms": 20}
SINGLE_SHOT = {"enable.idempotence": False, "message.send.max.retries": 0, "max.in.flight": 1,
               "message.timeout.ms": 10_000}


class ProducerLane(threading.Thread):
    """Sends unique values round-robin over the partitions at `rate` records a second until stopped."""

    def __init__(self, name: str, kafka: str, topic: str, partitions: int, rate: float, settings: dict):
        super().__init__(name=name, daemon=True)
        self.sends: dict[Value, Send] = {}
        self.acks: list[tuple[float, int]] = []
        self.fatal: list[str] = []
        self._stopped = threading.Event()
        self._topic, self._partitions, self._rate = topic, partitions, rate
        self._producer = Producer({"bootstrap.servers": kafka, "acks": "all", "linger.ms": 2,
                                   "error_cb": self._on_error, **RECONNECT, **settings})

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._give_up(error)

    def _give_up(self, error: object) -> None:
        """A fatal error ends the lane, and with it the test's success; what is in flight stays `info`."""
        self.fatal.append(f"{self.name}: fatal: {error}")
        self._stopped.set()

    def _on_delivery(self, value: Value):
        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                # librdkafka does not know the offset of a record that it found written when it asked again.
                offset = message.offset()
                self.sends[value] = Send(value, OK, -1 if offset is None else offset)
                self.acks.append((time.monotonic(), value.partition))
            else:
                self.sends[value] = Send(value, FAIL if error.code() in DEFINITE_FAILURES else INFO)
        return report

    def run(self) -> None:
        """Sends until stopped; a fatal error is raised by whichever call meets it first."""
        try:
            self._send_until_stopped()
        except (KafkaException, SystemError) as error:
            self._give_up(error)

    def _send_until_stopped(self) -> None:
        """Bounded: never more than two seconds' worth of records wait for their answer."""
        began, sent = time.monotonic(), 0
        while not self._stopped.is_set():
            if time.monotonic() - began < sent / self._rate or len(self._producer) > 2 * self._rate:
                self._producer.poll(0.005)
                continue
            partition, sequence = sent % self._partitions, sent // self._partitions
            value = Value(self.name, partition, sequence)
            self.sends[value] = Send(value, INFO)
            self._producer.produce(self._topic, value.encode(), partition=partition, on_delivery=self._on_delivery(value))
            sent += 1

    def finish(self, within_s: float) -> None:
        """Stops sending and waits for the reports; what is left then stays `info`."""
        self._stopped.set()
        self.join()
        if not self.fatal:
            self._producer.flush(within_s)

    def acked(self) -> int:
        """How many sends were acked so far."""
        return sum(send.outcome == OK for send in list(self.sends.values()))


class FollowingConsumer(threading.Thread):
    """Reads all partitions from their beginning while the agent comes and goes; keeps what it saw."""

    def __init__(self, kafka: str, topic: str, partitions: int):
        super().__init__(name="follower", daemon=True)
        self.seen: list[Seen] = []
        self.errors: list[str] = []
        self._stopped = threading.Event()
        self._consumer = follow(kafka, topic, partitions)

    def run(self) -> None:
        """Every offset of a partition must come once, in order; an out-of-range answer is false by construction."""
        following: dict[int, int] = {}
        while not self._stopped.is_set():
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                if message.error().code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                    self.errors.append(f"false-out-of-range: {message.error()}")
                continue
            wanted = following.get(message.partition(), 0)
            if message.offset() != wanted:
                self.errors.append(f"poll-skip: {message.partition()}@{message.offset()}, expected {wanted}")
            following[message.partition()] = message.offset() + 1
            self.seen.append(Seen(message.partition(), message.offset(), message.value()))

    def finish(self, records: int, within_s: float) -> None:
        """Stops once it has seen the whole log of `records`; complains if that takes longer than `within_s`."""
        deadline = time.monotonic() + within_s
        while len(self.seen) < records and not self.errors and time.monotonic() < deadline:
            time.sleep(0.02)
        if len(self.seen) < records:
            self.errors.append(f"unseen: the consumer that followed has {len(self.seen)} of {records} records")
        self._stopped.set()
        self.join()
        self._consumer.close()


def follow(kafka: str, topic: str, partitions: int) -> Consumer:
    """A consumer of all partitions from the beginning, without a group."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "none", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "fetch.wait.max.ms": 100, **RECONNECT})
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    return consumer


def end_offset(consumer: Consumer, partition: TopicPartition, deadline: float) -> int:
    """The partition's end; retries what an agent that has just started may answer."""
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=5)[1]
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def read_log(kafka: str, topic: str, partitions: int, within_s: float) -> list[Seen]:
    """The whole log with a fresh client; raises if the ends are not reached in time."""
    consumer = follow(kafka, topic, partitions)
    deadline = time.monotonic() + within_s
    ends = {p: end_offset(consumer, TopicPartition(topic, p), deadline) for p in range(partitions)}
    left = {p for p, end in ends.items() if end > 0}
    log: list[Seen] = []
    while left:
        if time.monotonic() > deadline:
            raise RuntimeError(f"unseen: the ends of partitions {sorted(left)} not reached in {within_s} s")
        for message in consumer.consume(10_000, timeout=0.5):
            if message.error() is None:
                log.append(Seen(message.partition(), message.offset(), message.value()))
                if message.offset() + 1 >= ends[message.partition()]:
                    left.discard(message.partition())
    consumer.close()
    return log
