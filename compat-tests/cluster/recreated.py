"""A topic that is filled, read, deleted and made again under its name, over and over: nothing of the one before may be seen.

Each incarnation is a topic of its own in the history (`fleeting#3`), and its values say so: one that comes back under the next
is a value of another partition. What names its topic and whose answer was lost may still happen later, to the next of that name, as in
Apache Kafka: a deletion, or a send. Then the name is given up. Every second incarnation is written to by its id, where this cannot be: whatever was
lost, nothing of it comes back.
"""

import random
import struct
import threading
import time

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic

from history import FAIL, INFO, OK, Value
from raw_lanes import NONE, NOT_WRITTEN, Router
from trial import Trial
from wire import (PRODUCE, PRODUCE_BY_ID, Connection, batch_of, fetch, produce_answer, produce_by_id_answer, produce_by_id_request,
                  produce_request)

PARTITIONS, RECORDS = 3, 30
READ_WITHIN_S = 120
"""Over the longest fault and what heals it."""


class Recreator(threading.Thread):
    """Works until the trial is judged."""

    def __init__(self, trial: Trial):
        super().__init__(name="recreator", daemon=True)
        self.rounds = 0
        self._kafka, self._recorder, self._run = trial.cluster.kafka, trial.load.recorder, trial.load.run
        self._stopped, self._wrong = threading.Event(), None
        self._name = self._new_name()
        trial.questions.append(self._finish)
        self.start()

    @staticmethod
    def _new_name() -> str:
        return f"fleeting-{random.SystemRandom().randrange(1 << 32):08x}"

    def run(self) -> None:
        """One incarnation after the other."""
        try:
            while not self._stopped.is_set():
                self._live()
                self.rounds += 1
        except Exception as error:
            self._wrong = error

    def _finish(self) -> list[str]:
        """The incarnation that lives comes to its end first; complaints."""
        self._stopped.set()
        self.join(2 * READ_WITHIN_S)
        print(f"    a topic was recreated {self.rounds} times", flush=True)
        return [f"recreated: {self._wrong or 'stuck'}"] if self._wrong is not None or self.is_alive() else []

    def _live(self) -> None:
        self._until("create", lambda admin: admin.create_topics([NewTopic(self._name, PARTITIONS, 1)])[self._name],
                    KafkaError.TOPIC_ALREADY_EXISTS)
        known = f"{self._name}#{self.rounds}"
        topic_id = self._topic_id() if self.rounds % 2 else None
        router = Router(self._kafka.split(","), self._name)
        highest, lost = self._fill(router, known, topic_id)
        self._read(router, known, highest)
        router.close()
        asked, _ = self._until("delete", lambda admin: admin.delete_topics([self._name], operation_timeout=5)[self._name],
                               KafkaError.UNKNOWN_TOPIC_OR_PART)
        if asked > 1 or lost and topic_id is None:
            self._name = self._new_name()

    def _topic_id(self) -> bytes:
        ask = lambda admin: admin.describe_topics(TopicCollection([self._name]), request_timeout=5)[self._name]
        _, topic = self._until("describe", ask)
        halves = topic.topic_id.get_most_significant_bits(), topic.topic_id.get_least_significant_bits()
        return struct.pack(">qq", *halves)

    def _until(self, what: str, ask, done: int = KafkaError.NO_ERROR) -> tuple[int, object]:
        """Asks until it is so; how often it asked, and the answer. Each time as a new client: an old one asks the controller it knows, for minutes."""
        deadline, asked, last = time.monotonic() + READ_WITHIN_S, 0, None
        while time.monotonic() < deadline:
            asked += 1
            try:
                admin = AdminClient({"bootstrap.servers": self._kafka, "log_level": 0, "socket.timeout.ms": 5_000})
                return asked, ask(admin).result(10)
            except KafkaException as error:
                last = error.args[0]
                if last.code() == done:
                    return asked, None
                time.sleep(0.2)
            except TimeoutError:
                last = "no answer"
        raise RuntimeError(f"not in {READ_WITHIN_S} s: {what} {self._name}: {last}")

    def _fill(self, router: Router, known: str, topic_id: bytes | None) -> tuple[dict[int, int], int]:
        """Sends its records, each once; the highest offset acked of each partition, and how many answers were lost."""
        highest, lost = dict.fromkeys(range(PARTITIONS), -1), 0
        for number in range(RECORDS):
            partition = number % PARTITIONS
            connection = None
            while connection is None and not self._stopped.wait(0.02):
                address = router.leader(partition)
                connection = router.connection(address) if address else None
            if connection is None:
                return highest, lost
            value = Value(self._run, known, partition, self.name, number).encode()
            operation = self._recorder.invoke(self.name, "send", topic=known, partition=partition, value=value)
            try:
                error, offset = self._send(connection, partition, batch_of(value.encode()), topic_id)
            except OSError as error:
                self._recorder.complete(self.name, "send", INFO, operation, error=type(error).__name__)
                router.drop(connection)
                lost += 1
                continue
            if error == NONE:
                highest[partition] = max(highest[partition], offset)
                self._recorder.complete(self.name, "send", OK, operation, offset=offset)
            else:
                self._recorder.complete(self.name, "send", FAIL if error in NOT_WRITTEN else INFO, operation, error=str(error))
                router.forget_partition(partition)
        return highest, lost

    def _send(self, connection: Connection, partition: int, batch: bytes, topic_id: bytes | None) -> tuple[int, int]:
        if topic_id is None:
            return produce_answer(connection.ask(PRODUCE, produce_request(self._name, partition, batch, 1_500)))
        return produce_by_id_answer(connection.ask(PRODUCE, produce_by_id_request(topic_id, partition, batch, 1_500), PRODUCE_BY_ID))

    def _read(self, router: Router, known: str, highest: dict[int, int]) -> None:
        """From the beginning to what was acked last."""
        reader = f"{known}-reader"
        self._recorder.complete(reader, "client", OK, final=True)
        self._recorder.complete(reader, "assign", OK, topic=known, positions={str(p): 0 for p in highest})
        positions, deadline = dict.fromkeys(highest, 0), time.monotonic() + READ_WITHIN_S
        while left := {p: at for p, at in positions.items() if at <= highest[p]}:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not read in {READ_WITHIN_S} s: {known}, {left} of {highest}")
            for address, led in router.by_leader(left).items():
                self._fetch(router, address, {p: positions[p] for p in led}, known, reader, positions)
            time.sleep(0.02)

    def _fetch(self, router: Router, address: str, wanted: dict[int, int], known: str, reader: str, positions: dict[int, int]) -> None:
        connection = router.connection(address)
        if connection is None:
            return
        number = self._recorder.invoke(reader, "poll", topic=known)
        try:
            found = fetch(connection, self._name, wanted, max_wait_ms=50)
        except OSError:
            router.drop(connection)
            return
        self._recorder.complete(reader, "poll", OK, number,
                                records=[[f.partition, at, value.decode("latin-1")] for f in found for at, value, _ in f.records])
        for one in found:
            if one.records:
                positions[one.partition] = one.records[-1][0] + 1
            if one.error != NONE:
                router.forget_partition(one.partition)
