"""Clients on the bare wire, without retries, so that every outcome is exact: a producer, a consumer that follows, a watcher.

A send that is refused with NOT_LEADER_OR_FOLLOWER or the like has failed, and is not sent again; one whose connection is lost
or silent, or that is answered REQUEST_TIMED_OUT or UNKNOWN_SERVER_ERROR, is unknown. Sends on one connection are a stream:
they land in order, whatever is in flight. An idempotent producer takes a new id after anything but an ack, since the
sequence would have a hole; under one id a refusal for that hole is a failure too.
"""

import select
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from history import FAIL, INFO, OK, Recorder, Value
from wire import (LATEST, PRODUCE, Connection, batch_of, fetch, init_producer_id, list_offsets, metadata, produce_answer,
                  produce_request)

NONE, OFFSET_OUT_OF_RANGE, DUPLICATE_SEQUENCE = 0, 1, 46
NOT_WRITTEN = {2: "CORRUPT_MESSAGE", 3: "UNKNOWN_TOPIC_OR_PARTITION", 5: "LEADER_NOT_AVAILABLE", 6: "NOT_LEADER_OR_FOLLOWER",
               10: "MESSAGE_TOO_LARGE", 17: "INVALID_TOPIC", 19: "NOT_ENOUGH_REPLICAS", 45: "OUT_OF_ORDER_SEQUENCE_NUMBER",
               47: "INVALID_PRODUCER_EPOCH", 59: "UNKNOWN_PRODUCER_ID", 87: "INVALID_RECORD", 100: "UNKNOWN_TOPIC_ID"}
MAY_BE_WRITTEN = {-1: "UNKNOWN_SERVER_ERROR", 7: "REQUEST_TIMED_OUT", 20: "NOT_ENOUGH_REPLICAS_AFTER_APPEND"}
PRODUCE_TIMEOUT_MS = 5_000
SILENCE_S = 2.0
CONNECT_S = 1.0
"""How long an agent may say nothing before its connection is given up."""


class Router:
    """Leaders and connections of one client. Asks again only when told that what it knew was wrong."""

    def __init__(self, bootstrap: Iterable[str], topic: str, silence_s: float = SILENCE_S):
        self._bootstrap, self._topic, self._silence_s = list(bootstrap), topic, silence_s
        self._connections: dict[str, Connection] = {}
        self._leaders: dict[int, str] = {}
        self._shunned: dict[str, float] = {}
        self._asked = 0.0

    def leader(self, partition: int) -> str | None:
        """Its address; None if nobody knows one now."""
        if partition not in self._leaders and time.monotonic() - self._asked > 0.05:
            self._refresh()
        return self._leaders.get(partition)

    def by_leader(self, partitions: Iterable[int]) -> dict[str, list[int]]:
        """Partitions by the address of their leader, as far as it is known."""
        found: dict[str, list[int]] = defaultdict(list)
        for partition in partitions:
            address = self.leader(partition)
            if address is not None:
                found[address].append(partition)
        return found

    def connection(self, address: str) -> Connection | None:
        """An open connection; None if there is none to be had."""
        if address not in self._connections:
            if self._shunned.get(address, 0.0) > time.monotonic():
                return None
            try:
                self._connections[address] = Connection(address, self._silence_s)
            except OSError:
                self._shunned[address] = time.monotonic() + 0.2
                self.forget(address)
                return None
        return self._connections[address]

    def any_connection(self) -> Connection | None:
        """A connection of its own to whichever agent answers; the caller closes it."""
        for _ in self._bootstrap:
            self._bootstrap.append(self._bootstrap.pop(0))
            try:
                return Connection(self._bootstrap[0], CONNECT_S)
            except OSError:
                continue
        return None

    def open(self) -> list[Connection]:
        """All connections."""
        return list(self._connections.values())

    def drop(self, connection: Connection) -> None:
        """It is lost, or silent."""
        connection.close()
        self._connections.pop(connection.address, None)
        self.forget(connection.address)

    def forget(self, address: str) -> None:
        """It does not lead what it was thought to lead."""
        self._leaders = {p: a for p, a in self._leaders.items() if a != address}

    def forget_partition(self, partition: int) -> None:
        """Its leader is another one."""
        self._leaders.pop(partition, None)

    def _refresh(self) -> None:
        connection = self.any_connection()
        if connection is not None:
            try:
                self._leaders = metadata(connection, self._topic).addresses
            except OSError:
                pass
            connection.close()
        self._asked = time.monotonic()

    def close(self) -> None:
        """Closes all connections."""
        for connection in self.open():
            connection.close()
        self._connections.clear()


class RawProducer(threading.Thread):
    """Sends unique values round-robin over the partitions, one record a batch, at `rate` a second until stopped. The agent is
    given `patience_s` for each."""

    def __init__(self, name: str, kafka: str, topic: str, partitions: int, rate: float, recorder: Recorder, run: str,
                 in_flight: int = 1, idempotent: bool = False, patience_s: float = PRODUCE_TIMEOUT_MS / 1000):
        super().__init__(name=name, daemon=True)
        self.counts: Counter = Counter()
        self.acks: list[tuple[float, int]] = []
        self.fatal: list[str] = []
        self._topic, self._partitions, self._rate, self._run = topic, partitions, rate, run
        self._in_flight, self._idempotent, self._recorder = in_flight, idempotent, recorder
        self._patience_s = patience_s
        self._router = Router(kafka.split(","), topic)
        self._stopped = threading.Event()
        self._streams: dict[Connection, str] = {}
        self._producer: tuple[int, int] | None = None
        self._sequences: Counter = Counter()
        recorder.complete(name, "client", OK, idempotent=idempotent, retries=False)

    def run(self) -> None:
        """Anything unexpected ends the lane, and with it the test's success."""
        try:
            self._send_until_stopped()
        except Exception as error:
            self.fatal.append(f"{self.name}: {type(error).__name__}: {error}")

    def _send_until_stopped(self) -> None:
        began, sent, values = time.monotonic(), 0, Counter()
        while not self._stopped.is_set():
            due = began + sent / self._rate
            self._take_answers(max(due - time.monotonic(), 0.0))
            if time.monotonic() < due:
                continue
            partition = sent % self._partitions
            sent += 1
            if self._send(partition, values[partition]):
                values[partition] += 1
        deadline = time.monotonic() + 2 * SILENCE_S
        while any(c.waiting for c in self._router.open()) and time.monotonic() < deadline:
            self._take_answers(0.05)
        self._router.close()

    def _send(self, partition: int, sequence: int) -> bool:
        """Whether it was sent, or at least begun: without a leader, or with enough in flight, its turn passes."""
        address = self._router.leader(partition)
        connection = self._router.connection(address) if address else None
        if connection is None or len(connection.waiting) >= self._in_flight:
            return False
        if not connection.waiting and select.select([connection], [], [], 0)[0]:
            self._lose(connection, ConnectionError("closed by the agent"))  # nothing is lost with it that could be unknown
            return False
        if self._idempotent and self._producer is None and not self._take_producer_id():
            return False
        producer = (*self._producer, self._sequences[partition]) if self._producer else (-1, -1, -1)
        value = Value(self._run, self._topic, partition, self.name, sequence).encode()
        stream = self._streams.setdefault(connection, f"connection-{len(self._streams)}")
        number = self._recorder.invoke(self.name, "send", topic=self._topic, partition=partition, value=value, stream=stream)
        self._sequences[partition] += 1
        remember = (number, partition, time.monotonic())
        try:
            connection.send(PRODUCE, produce_request(self._topic, partition, batch_of(value.encode(), producer),
                                                     int(self._patience_s * 1000)), remember)
        except OSError as error:
            self._lose(connection, error)
        return True

    def _take_producer_id(self) -> bool:
        connection = self._router.any_connection()
        if connection is None:
            return False
        try:
            error, *producer = init_producer_id(connection)
        except OSError:
            return False
        finally:
            connection.close()
        if error != NONE:
            return False
        self._producer, self._sequences = tuple(producer), Counter()
        return True

    def _take_answers(self, within_s: float) -> None:
        """Takes what has arrived, waiting at most that long for the first; gives up who was silent too long."""
        waiting = [c for c in self._router.open() if c.waiting]
        if not waiting:
            self._stopped.wait(within_s)
            return
        for connection in select.select(waiting, [], [], within_s)[0]:
            try:
                (number, partition, _), answer = connection.receive()
            except OSError as error:
                self._lose(connection, error)
                continue
            self._answered(number, partition, *produce_answer(answer))
        now = time.monotonic()
        for connection in self._router.open():
            if connection.waiting and now - connection.waiting[0][2] > self._patience_s + SILENCE_S:
                self._lose(connection, TimeoutError("silent"))

    def _answered(self, number: int, partition: int, error: int, offset: int) -> None:
        if error in (NONE, DUPLICATE_SEQUENCE):
            self._complete(number, OK, offset=offset if error == NONE else -1)
            self.acks.append((time.monotonic(), partition))
            return
        self._router.forget_partition(partition)
        self._producer = None
        if error in NOT_WRITTEN:
            self._complete(number, FAIL, error=NOT_WRITTEN[error])
            return
        self._complete(number, INFO, error=MAY_BE_WRITTEN.get(error, str(error)))
        if error not in MAY_BE_WRITTEN:
            self.fatal.append(f"{self.name}: error {error} is not one that a producer should see here")

    def _lose(self, connection: Connection, why: Exception) -> None:
        for remember in connection.waiting:
            self._complete(remember[0], INFO, error=type(why).__name__)
        connection.waiting.clear()
        self._producer = None
        self._router.drop(connection)

    def _complete(self, number: int, kind: str, **fields: object) -> None:
        self._recorder.complete(self.name, "send", kind, number, **fields)
        self.counts[kind] += 1

    def finish(self, within_s: float) -> None:
        """Stops sending and waits for what is in flight."""
        self._stopped.set()
        self.join(within_s)


class RawFollower(threading.Thread):
    """Reads all partitions from their beginning; keeps its position over every refusal."""

    def __init__(self, kafka: str, topic: str, partitions: int, recorder: Recorder, name: str = "raw-follower"):
        super().__init__(name=name, daemon=True)
        self.errors: list[str] = []
        self.positions = dict.fromkeys(range(partitions), 0)
        self._topic, self._recorder = topic, recorder
        self._router = Router(kafka.split(","), topic)
        self._stopped = threading.Event()
        recorder.complete(name, "client", OK, follows=True)
        recorder.complete(name, "assign", OK, topic=topic, positions={str(p): 0 for p in self.positions})

    def run(self) -> None:
        """Fetches from each leader in turn."""
        while not self._stopped.is_set():
            leaders = self._router.by_leader(self.positions)
            for address, partitions in leaders.items():
                self._fetch(address, {p: self.positions[p] for p in partitions})
            if not leaders:
                self._stopped.wait(0.05)
        self._router.close()

    def _fetch(self, address: str, positions: dict[int, int]) -> None:
        connection = self._router.connection(address)
        if connection is None:
            self._stopped.wait(0.02)
            return
        number = self._recorder.invoke(self.name, "poll", topic=self._topic)
        try:
            found = fetch(connection, self._topic, positions, max_wait_ms=50)
        except OSError as error:
            self._recorder.complete(self.name, "poll", INFO, number, error=type(error).__name__)
            self._router.drop(connection)
            return
        records = [[f.partition, offset, value.decode("latin-1")] for f in found for offset, value, _ in f.records]
        self._recorder.complete(self.name, "poll", OK, number, records=records)
        for one in found:
            if one.records:
                self.positions[one.partition] = one.records[-1][0] + 1
            if one.error == OFFSET_OUT_OF_RANGE:
                self._recorder.complete(self.name, "poll", FAIL, topic=self._topic, error="OFFSET_OUT_OF_RANGE",
                                        partition=one.partition, offset=positions[one.partition])
            if one.error != NONE:
                self._router.forget_partition(one.partition)
                self._stopped.wait(0.02)

    def finish(self, ends: dict[int, int], within_s: float) -> None:
        """Stops once it has read up to these ends, or that much time is over: what it lacks then, the checker calls unseen."""
        deadline = time.monotonic() + within_s
        while any(self.positions[p] < end for p, end in ends.items()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopped.set()
        self.join(2 * SILENCE_S + 2)


def readable(kafka: str, topic: str, partitions: int, within_s: float) -> set[int]:
    """The partitions of which a client that comes new can read the first records in that time."""
    router, found, deadline = Router(kafka.split(","), topic), set(), time.monotonic() + within_s
    while len(found) < partitions and time.monotonic() < deadline:
        for address, led in router.by_leader(set(range(partitions)) - found).items():
            connection = router.connection(address)
            try:
                answers = fetch(connection, topic, dict.fromkeys(led, 0), max_wait_ms=0) if connection else []
            except OSError:
                router.drop(connection)
                continue
            found |= {answer.partition for answer in answers if answer.records}
            for answer in answers:
                if answer.error != NONE:
                    router.forget_partition(answer.partition)
        time.sleep(0.05)
    router.close()
    return found


class Watcher(threading.Thread):
    """Asks the leaders for the latest offsets all the time: what one leader said, the next must not take back."""

    def __init__(self, kafka: str, topic: str, partitions: int, recorder: Recorder, name: str = "watcher"):
        super().__init__(name=name, daemon=True)
        self.answers = 0
        self._topic, self._partitions, self._recorder = topic, range(partitions), recorder
        self._router = Router(kafka.split(","), topic)
        self._stopped = threading.Event()

    def run(self) -> None:
        """An answer that does not come, or is an error, says nothing."""
        while not self._stopped.is_set():
            for address, partitions in self._router.by_leader(self._partitions).items():
                self._ask(address, partitions)
            self._stopped.wait(0.1)
        self._router.close()

    def _ask(self, address: str, partitions: list[int]) -> None:
        connection = self._router.connection(address)
        if connection is None:
            return
        numbers = {p: self._recorder.invoke(self.name, "end", topic=self._topic, partition=p) for p in partitions}
        try:
            found = list_offsets(connection, self._topic, partitions, LATEST)
        except OSError:
            self._router.drop(connection)
            return
        for partition, (error, offset) in found.items():
            if error == NONE:
                self.answers += 1
                self._recorder.complete(self.name, "end", OK, numbers[partition], offset=offset)
            else:
                self._recorder.complete(self.name, "end", FAIL, numbers[partition], error=str(error))
                self._router.forget_partition(partition)

    def finish(self) -> None:
        """Stops it."""
        self._stopped.set()
        self.join(2 * SILENCE_S + 2)
