"""What consumer groups cost, and how quickly they go on.

    bench/groups.sh [part of a scenario's name…] [--seconds N]

Offset commits of 200 groups as fast as they are answered (each waits for its own); 100 groups with a member each and 2,000
connections that do nothing; 20 librdkafka consumers over 60 partitions of which one dies (a process of its own, kill -9), and which
are replaced one after the other, cooperatively. One agent with a local store and SQLite; offset commits on PostgreSQL too.
"""

import atexit
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer

from cluster import Postgres
from figures import TOPIC, record, run_scenarios
from scale import FOLDER as SCALE_FOLDER
from scale import ask, connect, cpu_share, create, fresh_agent, resident

OFFSET_COMMIT, JOIN_GROUP, HEARTBEAT, SYNC_GROUP, FIND_COORDINATOR = 8, 11, 12, 14, 10
GROUPS, IDLE_GROUPS, IDLE_CONNECTIONS = 200, 100, 2_000
MEMBERS, PARTITIONS, SESSION_S = 20, 60, 6
MEMBER = Path(__file__).resolve()
CLASSIC = {"session.timeout.ms": SESSION_S * 1000, "heartbeat.interval.ms": 1_000}
KINDS = {"classic, range": CLASSIC, "classic, cooperative": {**CLASSIC, "partition.assignment.strategy": "cooperative-sticky"},
         "KIP-848": {"group.protocol": "consumer"}}


def text(value: str) -> bytes:
    """A string of the protocol."""
    return struct.pack(">h", len(value)) + value.encode()


def ready(stream: socket.socket, group: str) -> None:
    """Returns when somebody coordinates the group."""
    for _ in range(200):
        if struct.unpack(">h", ask(stream, FIND_COORDINATOR, 0, text(group))[4:6])[0] == 0 and _commit(stream, group) == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"nobody coordinates {group}")


def _commit(stream: socket.socket, group: str) -> int:
    return struct.unpack(">h", ask(stream, OFFSET_COMMIT, 2, commit_body(group, 0))[-2:])[0]


def commit_body(group: str, offset: int) -> bytes:
    """OffsetCommit 2 of one partition from outside of the group."""
    at = struct.pack(">iiq", 1, 0, offset) + text("")
    return text(group) + struct.pack(">i", -1) + text("") + struct.pack(">qi", -1, 1) + text(TOPIC) + at


def commits(seconds: float) -> None:
    """On SQLite."""
    committed("offset commits", seconds, None)


def commits_on_postgres(seconds: float) -> None:
    """On PostgreSQL, whose transactions are counted: all of the agent's, renewals and the like too."""
    server = Postgres()
    try:
        committed("on PostgreSQL", seconds, server.url)
    finally:
        server.end()


def transactions(database: str) -> int:
    """How many it committed so far, as far as its statistics say: they may be a second old."""
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return int(subprocess.run(["psql", database, "-Atc", query], capture_output=True, text=True, check=True).stdout)


def committed(scenario: str, seconds: float, database: str | None) -> None:
    """200 connections, a group each, one commit under way."""
    with fresh_agent(settings={"METADATA_STORE": database} if database else None) as agent:
        create(agent, {TOPIC: 1})
        streams = {connect(agent): f"group-{number}" for number in range(GROUPS)}
        for stream, group in streams.items():
            ready(stream, group)
        waiting = selectors.DefaultSelector()
        sent: dict[socket.socket, float] = {}
        times, offset = [], 0

        def send(stream: socket.socket) -> None:
            nonlocal offset
            offset += 1
            body = struct.pack(">hhi", OFFSET_COMMIT, 2, 7) + text("groups") + commit_body(streams[stream], offset)
            sent[stream] = time.perf_counter()
            stream.sendall(struct.pack(">i", len(body)) + body)

        done_before = transactions(database) if database else 0
        cpu, began = agent.cpu_s(), time.monotonic()
        for stream in streams:
            waiting.register(stream, selectors.EVENT_READ)
            send(stream)
        while time.monotonic() - began < seconds:
            for key, _ in waiting.select(1):
                answer = key.fileobj.recv(4096)  # one small answer, in one piece
                if struct.unpack(">h", answer[-2:])[0] != 0:
                    raise RuntimeError(f"a commit was refused: {answer.hex()}")
                times.append(time.perf_counter() - sent[key.fileobj])
                send(key.fileobj)
        elapsed = time.monotonic() - began
        record(scenario, "200 groups", len(times) / elapsed, "/s", least=None if database else 10_000)
        record(scenario, "agent's CPU", (agent.cpu_s() - cpu) / elapsed * 100, "% of a core")
        if database:
            time.sleep(2)
            record(scenario, "transactions", (transactions(database) - done_before) / elapsed, "/s")
        times.sort()
        record(scenario, "p50", times[len(times) // 2] * 1000, "ms")
        record(scenario, "p99", times[len(times) * 99 // 100] * 1000, "ms")
        for stream in streams:
            stream.close()


def idle(seconds: float) -> None:
    """Members that only send heartbeats, every 3 s, and connections that do nothing."""
    with fresh_agent(settings={"GROUP_INITIAL_REBALANCE_DELAY_MS": "0"}) as agent:
        create(agent, {TOPIC: 1})
        with connect(agent) as first:
            ready(first, "one")
        alone, alone_cpu = resident(agent), cpu_share(agent, seconds)
        members = [_Member(connect(agent), f"idle-{number}") for number in range(IDLE_GROUPS)]
        streams = [connect(agent, f"127.0.0.{1 + number % 2}") for number in range(IDLE_CONNECTIONS)]
        stopped = threading.Event()

        def beat() -> None:
            while not stopped.wait(3):
                for member in members:
                    member.heartbeat()

        beating = threading.Thread(target=beat)
        beating.start()
        with_them = resident(agent)
        record("idle", "memory of 100 groups and 2,000 connections", (with_them - alone) / 1e6, "MB", below=150)
        record("idle", "memory, all", with_them / 1e6, "MB")
        record("idle", "agent's CPU without them", alone_cpu, "% of a core")
        record("idle", "agent's CPU with them", cpu_share(agent, seconds), "% of a core", below=5)
        stopped.set()
        beating.join()
        for stream in streams:
            stream.close()


class _Member:
    """The only member of a classic group."""

    def __init__(self, stream: socket.socket, group: str):
        self._stream, self._group = stream, group
        ready(stream, group)
        body = text(group) + struct.pack(">ii", 30_000, 30_000) + text("") + text("consumer")
        answer = ask(stream, JOIN_GROUP, 1, body + struct.pack(">i", 1) + text("range") + struct.pack(">i", 0))
        error, self._generation = struct.unpack(">hi", answer[4:10])
        at = 10
        for _ in range(3):  # protocol, leader, member id
            size = struct.unpack(">h", answer[at:at + 2])[0]
            self._member, at = answer[at + 2:at + 2 + size].decode(), at + 2 + size
        if error:
            raise RuntimeError(f"JoinGroup: {error}")
        given = struct.pack(">i", 1) + text(self._member) + struct.pack(">i", 0)
        ask(stream, SYNC_GROUP, 0, text(group) + struct.pack(">i", self._generation) + text(self._member) + given)

    def heartbeat(self) -> None:
        """Raises if the member is none any more."""
        body = text(self._group) + struct.pack(">i", self._generation) + text(self._member)
        error = struct.unpack(">h", ask(self._stream, HEARTBEAT, 0, body)[4:6])[0]
        if error:
            raise RuntimeError(f"Heartbeat: {error}")


class _Reader(threading.Thread):
    """A librdkafka consumer in a group; notes when it got records of each partition."""

    def __init__(self, kafka: str, settings: dict[str, object]):
        super().__init__(daemon=True)
        self.seen: list[tuple[float, int]] = []
        self._stopped = threading.Event()
        self._consumer = consumer(kafka, settings)

    def run(self) -> None:
        """Until closed."""
        while not self._stopped.is_set():
            for message in self._consumer.consume(100, timeout=0.05):
                if message.error() is None:
                    self.seen.append((time.monotonic(), message.partition()))
        self._consumer.close()

    def close(self) -> None:
        """Leaves."""
        self._stopped.set()
        self.join()


def consumer(kafka: str, settings: dict[str, object]) -> Consumer:
    """Of the group of all."""
    made = Consumer({"bootstrap.servers": kafka, "group.id": "twenty", "auto.offset.reset": "earliest", "log_level": 0,
                     "fetch.wait.max.ms": 100, **settings})
    made.subscribe([TOPIC])
    return made


class _Writer(threading.Thread):
    """Ten records a second for each partition."""

    def __init__(self, kafka: str):
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self._producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5, "log_level": 0})

    def run(self) -> None:
        """Until closed."""
        while not self._stopped.wait(0.1):
            for partition in range(PARTITIONS):
                self._producer.produce(TOPIC, b"x", partition=partition)
            self._producer.poll(0)
        self._producer.flush(10)

    def close(self) -> None:
        """Ends."""
        self._stopped.set()
        self.join()


def longest_stop(readers: list[_Reader], since: float) -> float:
    """The longest time without a record of some partition."""
    seen = sorted((at, p) for reader in readers for at, p in list(reader.seen))
    now, longest = time.monotonic(), 0.0
    for partition in range(PARTITIONS):
        moments = [since, *(at for at, p in seen if p == partition and at > since), now]
        longest = max(longest, *(b - a for a, b in zip(moments, moments[1:])))
    return longest


def twenty(_: float) -> None:
    """A death where a session is short enough, then a roll, in each protocol."""
    for name, settings in KINDS.items():
        with fresh_agent() as agent:
            create(agent, {TOPIC: PARTITIONS})
            writer = _Writer(agent.kafka)
            writer.start()
            readers = [_Reader(agent.kafka, settings) for _ in range(MEMBERS - 1)]
            for reader in readers:
                reader.start()
            try:
                if "group.protocol" not in settings:
                    _death(agent.kafka, name, readers)
                readers.append(_Reader(agent.kafka, settings))
                readers[-1].start()
                time.sleep(5)
                _roll(agent.kafka, name, settings, readers)
            finally:
                writer.close()
                for reader in readers:
                    reader.close()


def _death(kafka: str, name: str, readers: list[_Reader]) -> None:
    """The twentieth is a process of its own, and killed."""
    other = subprocess.Popen([sys.executable, str(MEMBER), "--member", kafka, name], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline(), "the twentieth member got no records"
        time.sleep(3)
        began = time.monotonic()
    finally:
        other.kill()
        other.wait()
    time.sleep(SESSION_S + 4)
    record(f"20 over 60, {name}", "longest stop after a death", longest_stop(readers, began), "s", below=SESSION_S + 1)


def _roll(kafka: str, name: str, settings: dict[str, object], readers: list[_Reader]) -> None:
    """Each leaves, and another one comes."""
    began = time.monotonic()
    for reader in list(readers):
        reader.close()
        readers.append(_Reader(kafka, settings))
        readers[-1].start()
        time.sleep(0.5)
    time.sleep(4)
    asked = {} if name == "classic, range" else {"below": 3}
    record(f"20 over 60, {name}", "longest stop of a partition in a roll", longest_stop(readers, began), "s", **asked)


def member(kafka: str, name: str) -> None:
    """A consumer that says that it got a record, and goes on until it is killed."""
    made, told = consumer(kafka, KINDS[name]), False
    while True:
        if made.consume(100, timeout=0.05) and not told:
            print("reads", flush=True)
            told = True


SCENARIOS = {"offset commits": commits, "offset commits on PostgreSQL": commits_on_postgres, "idle": idle, "twenty members": twenty}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--member"]:
        shutil.rmtree(SCALE_FOLDER)
        member(*sys.argv[2:])
    atexit.register(shutil.rmtree, SCALE_FOLDER, ignore_errors=True)
    sys.exit(run_scenarios(__doc__, SCENARIOS, "clients and broker"))
