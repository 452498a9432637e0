"""Many of everything: what partitions, connections and topics cost that nobody uses, and what they cost those that are used.

    bench/scale.sh [part of a scenario's name…] [--seconds N]

10,000 partitions on one agent, idle and with 1,000 active; 5,000 connections; 1,000 topics in one Metadata answer; a Fetch of all; a start
with 10,000 partitions and 1,000,000 ranges. Memory is resident memory more than that of an agent without them, for each of them.
"""

import atexit
import shutil
import socket
import sqlite3
import statistics
import struct
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from agent_process import AgentProcess, raise_open_file_limit
from figures import COMMITS, PUTS, TOPIC, load, record, run_scenarios, total

FOLDER = tempfile.mkdtemp(prefix="streamhouse-bench-")
PARTITIONS, ACTIVE, CONNECTIONS, TOPICS, RANGES = 10_000, 1_000, 5_000, 1_000, 1_000_000
PARTITIONS_PER_TOPIC = 100
FETCH, METADATA, API_VERSIONS = 1, 3, 18
SETTLE_S = 5


@contextmanager
def fresh_agent(folder: Path | None = None, settings: dict[str, str] | None = None):
    """An agent on an empty folder, or on that one; killed at the end."""
    agent = AgentProcess(folder or Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER)), settings=settings)
    try:
        agent.start()
        yield agent
    finally:
        agent.kill()


def create(agent: AgentProcess, topics: dict[str, int]) -> float:
    """Topics with so many partitions each; the seconds that it took."""
    admin = AdminClient({"bootstrap.servers": agent.kafka, "log_level": 0})
    began = time.monotonic()
    names, wanted = list(topics), [NewTopic(name, count, 1) for name, count in topics.items()]
    for at in range(0, len(wanted), 20):
        for name, done in admin.create_topics(wanted[at: at + 20], operation_timeout=60).items():
            done.result(60)
            assert name in names
    return time.monotonic() - began


def hosted(agent: AgentProcess, partitions: int) -> None:
    """Topics of so many partitions together that nobody uses."""
    create(agent, {f"idle-{number:04}": PARTITIONS_PER_TOPIC for number in range(partitions // PARTITIONS_PER_TOPIC)})


def resident(agent: AgentProcess) -> float:
    """Resident bytes once it came to rest."""
    time.sleep(SETTLE_S)
    return agent.memory_mb()[0] * 1e6


def cpu_share(agent: AgentProcess, seconds: float) -> float:
    """Percent of a core while nothing is asked of it."""
    before, began = agent.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (agent.cpu_s() - before) / (time.monotonic() - began) * 100


def idle_partitions(seconds: float) -> None:
    """Memory and CPU of partitions that nobody uses: just made, and after a restart."""
    with fresh_agent() as agent:
        alone, alone_cpu = resident(agent), cpu_share(agent, seconds)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER))
    with fresh_agent(folder) as agent:
        began = time.monotonic()
        hosted(agent, PARTITIONS)
        record("idle partitions", "creating 10,000", time.monotonic() - began, "s")
        with_them = resident(agent)
        record("idle partitions", "memory each, just made", (with_them - alone) / PARTITIONS, "B", below=4096)
        agent.terminate()
    with fresh_agent(folder) as agent:
        record("idle partitions", "start to ready with them", agent.ready_ms, "ms", below=3000)
        record("idle partitions", "memory each, after a restart", (resident(agent) - alone) / PARTITIONS, "B", below=4096)
        record("idle partitions", "agent's CPU without them", alone_cpu, "% of a core")
        record("idle partitions", "agent's CPU with them", cpu_share(agent, seconds), "% of a core")


def active_partitions(seconds: float) -> None:
    """The same load over 1,000 partitions, alone and beside 9,000 that are idle. Flushes are paced, so that they are alike."""
    costs = {}
    pipelined = ("enable.idempotence=false", "max.in.flight=1000", "linger.ms=5")
    for idle in (0, PARTITIONS - ACTIVE):
        scenario = f"1,000 active beside {idle:,}"
        with fresh_agent(settings={"FLUSH_INTERVAL_MS": "100"}) as agent:
            hosted(agent, idle)
            create(agent, {TOPIC: ACTIVE})
            load("produce", agent.kafka, ACTIVE, 5_000, 1024, 5_000, *pipelined)
            time.sleep(SETTLE_S)
            before, cpu, began = agent.metrics(), agent.cpu_s(), time.monotonic()
            run = load("produce", agent.kafka, ACTIVE, int(5_000 * seconds), 1024, 5_000, *pipelined)
            cpu, elapsed, after = agent.cpu_s() - cpu, time.monotonic() - began, agent.metrics()
            flushes = total(after, PUTS) - total(before, PUTS)
            ranges = "streamhouse_commit_ranges_total"
            record(scenario, "flushes", flushes / elapsed, "/s")
            record(scenario, "commits", (total(after, COMMITS) - total(before, COMMITS)) / elapsed, "/s")
            record(scenario, "partitions in a flush", (total(after, ranges) - total(before, ranges)) / flushes, "")
            record(scenario, "produce p99", run["p99_ms"], "ms")
            record(scenario, "memory, highest", agent.memory_mb()[1], "MB")
            costs[idle] = cpu * 1e6 / flushes
            record(scenario, "CPU for a flush", costs[idle], "us")
    record("1,000 active", "CPU for a flush, beside idle to alone", costs[PARTITIONS - ACTIVE] / costs[0] * 100, "%", below=120)


def ask(stream: socket.socket, api: int, version: int, body: bytes) -> bytes:
    """One request and its answer, with the header of before flexible versions."""
    head = struct.pack(">hhi", api, version, 7) + struct.pack(">h", 5) + b"scale"
    stream.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    answer = bytearray()
    while len(answer) < 4 or len(answer) < 4 + struct.unpack(">i", answer[:4])[0]:
        piece = stream.recv(1 << 20)
        if not piece:
            raise RuntimeError("the agent closed the connection")
        answer += piece
    return bytes(answer[4:])


def connect(agent: AgentProcess, source: str = "127.0.0.1") -> socket.socket:
    """A connection from that address; they differ, since one address may not have all."""
    host, port = agent.kafka.split(":")
    return socket.create_connection((host, int(port)), timeout=30, source_address=(source, 0))


def connections(seconds: float) -> None:
    """Memory of connections that did what clients do first, and then nothing."""
    raise_open_file_limit()
    with fresh_agent() as agent:
        create(agent, {TOPIC: 8})
        with connect(agent) as first:
            ask(first, API_VERSIONS, 0, b"")
        alone, alone_cpu = resident(agent), cpu_share(agent, seconds)
        began = time.monotonic()
        streams = [connect(agent, f"127.0.0.{1 + number % 4}") for number in range(CONNECTIONS)]
        opened = time.monotonic() - began
        silent = resident(agent)
        for stream in streams:
            ask(stream, API_VERSIONS, 0, b"")
            ask(stream, METADATA, 1, struct.pack(">i", -1))
        used = resident(agent)
        record("connections", "opening 5,000", opened, "s")
        record("connections", "memory each, opened", (silent - alone) / CONNECTIONS, "B", below=32 * 1024)
        record("connections", "memory each, asked Metadata", (used - alone) / CONNECTIONS, "B", below=32 * 1024)
        record("connections", "agent's CPU without them", alone_cpu, "% of a core")
        record("connections", "agent's CPU with them", cpu_share(agent, seconds), "% of a core")
        with connect(agent, "127.0.0.9") as more:
            times = [timed(more, API_VERSIONS, 0, b"")[0] for _ in range(200)]
        record("connections", "an answer beside them, p50", statistics.median(times), "ms")
        for stream in streams:
            stream.close()


def timed(stream: socket.socket, api: int, version: int, body: bytes) -> tuple[float, bytes]:
    """Milliseconds to the whole answer, and the answer."""
    began = time.perf_counter()
    answer = ask(stream, api, version, body)
    return (time.perf_counter() - began) * 1000, answer


def metadata_answer(_: float) -> None:
    """All of 1,000 topics in one answer, by name and without."""
    for partitions in (1, 10):
        scenario = f"Metadata, 1,000 topics of {partitions}"
        with fresh_agent() as agent:
            names = [f"topic-{number:04}" for number in range(TOPICS)]
            create(agent, dict.fromkeys(names, partitions))
            named = b"".join(struct.pack(">h", len(name)) + name.encode() for name in names)
            with connect(agent) as stream:
                for kind, body in (("all", struct.pack(">i", -1)), ("by name", struct.pack(">i", TOPICS) + named)):
                    timed(stream, METADATA, 1, body)
                    before = agent.cpu_s()
                    answers = [timed(stream, METADATA, 1, body) for _ in range(50)]
                    cpu = (agent.cpu_s() - before) / 50 * 1000
                    record(scenario, f"{kind}: p50", statistics.median(ms for ms, _ in answers), "ms", below=50)
                    record(scenario, f"{kind}: CPU", cpu, "ms")
                record(scenario, "size", len(answers[0][1]) / 1024, "KiB")


def fetch_of_all(seconds: float) -> None:
    """A consumer of 10,000 partitions in which nothing happens, and in all of which it does."""
    scenario = "a Fetch of 10,000 partitions"
    parts = struct.pack(">i", PARTITIONS_PER_TOPIC)
    parts += b"".join(struct.pack(">iqi", number, 0, 1 << 20) for number in range(PARTITIONS_PER_TOPIC))
    names = [f"idle-{number:04}".encode() for number in range(PARTITIONS // PARTITIONS_PER_TOPIC)]
    topics = struct.pack(">i", len(names)) + b"".join(struct.pack(">h", len(name)) + name + parts for name in names)
    with fresh_agent() as agent:
        hosted(agent, PARTITIONS)
        before = resident(agent)
        with connect(agent) as stream:
            times, cpu = [], agent.cpu_s()
            for _ in range(20):
                times.append(timed(stream, FETCH, 4, struct.pack(">iiiib", -1, 0, 1, 50 << 20, 0) + topics)[0])
            record(scenario, "p50", statistics.median(times), "ms")
            record(scenario, "CPU", (agent.cpu_s() - cpu) / 20 * 1000, "ms")
            cpu = agent.cpu_s()
            waited = timed(stream, FETCH, 4, struct.pack(">iiiib", -1, int(seconds * 1000), 1, 50 << 20, 0) + topics)[0]
            record(scenario, "CPU of a long poll", (agent.cpu_s() - cpu) * 1000, "ms")
            record(scenario, "it waits as long as it may", waited / (seconds * 1000) * 100, "%")
        record(scenario, "memory, highest above idle", agent.memory_mb()[1] - before / 1e6, "MB")


def fill(database: Path) -> None:
    """Gives each partition its share of ranges, as flushes of 1,000 partitions would have left them. The agent is stopped."""
    with sqlite3.connect(database) as sql:
        (session,) = sql.execute("SELECT max(session) FROM sessions").fetchone()
        rows = sql.execute("SELECT organization, topic_id, partition FROM partitions ORDER BY 1, 2, 3").fetchall()
        each, sequence = RANGES // len(rows), 1_000
        for at in range(0, len(rows), 1_000):
            for number in range(each):
                sequence += 1
                key = f"org-1/flush/{session:019}/{sequence:019}-{sequence:016x}"
                sql.execute("INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at) "
                            "VALUES (?, ?, 1, ?, 1, 1000000, 0)", (session, sequence, key))
                sql.executemany(
                    "INSERT INTO ranges (organization, topic_id, partition, base_offset, next_offset, leader_epoch, session, lane_sequence, "
                    "byte_start, byte_len, checksum, max_timestamp, producers) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, 1000, 0, 0, x'')",
                    [(*row, number * 10, number * 10 + 10, session, sequence, place * 1000)
                     for place, row in enumerate(rows[at: at + 1_000])])
        sql.execute("UPDATE partitions SET next_offset = ?, last_session = ?, last_lane_sequence = ?", (each * 10, session, sequence))


def start_with_ranges(_: float) -> None:
    """A start with 10,000 partitions that have 1,000,000 ranges."""
    scenario, folder = "start with 1,000,000 ranges", Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER))
    with fresh_agent(folder) as agent:
        hosted(agent, PARTITIONS)
        agent.terminate()
    fill(folder / "metadata.db")
    times = []
    for end in (AgentProcess.terminate, AgentProcess.kill, AgentProcess.kill):
        agent = AgentProcess(folder)
        agent.start()
        times.append(agent.ready_ms)
        end(agent)
    record(scenario, "to ready, after SIGTERM", times[0], "ms", below=3000)
    record(scenario, "to ready, after kill -9", times[2], "ms", below=3000)
    record(scenario, "database", (folder / "metadata.db").stat().st_size / 1e6, "MB")


SCENARIOS = {
    "idle partitions": idle_partitions,
    "active partitions": active_partitions,
    "connections": connections,
    "metadata": metadata_answer,
    "fetch": fetch_of_all,
    "start": start_with_ranges,
}


if __name__ == "__main__":
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
    sys.exit(run_scenarios(__doc__, SCENARIOS, "client and agent"))
