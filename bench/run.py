"""Measures the figures that the project promises, and what this machine can do, in the same run.

    bench/run.sh [part of a scenario's name…] [--seconds N]

Each scenario gets a fresh agent with a local store on an empty folder, so that memory and counters are its own. The
client is librdkafka in C (load.c) on the same cores. Yardsticks: a synced write on the same disk, and the same client
into a broker that discards everything.
"""

import atexit
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from agent_process import AgentProcess
from figures import BULK, COMMITS, IDEMPOTENT, PUTS, TOPIC, Discard, load, record, run_scenarios, total

# Everything is deleted at the end of all: ext4 creates files slowly for some seconds after many were deleted.
FOLDER = tempfile.mkdtemp(prefix="streamhouse-bench-")


@contextmanager
def fresh_agent(partitions: int):
    """An agent on an empty folder, with the topic; killed at the end."""
    agent = AgentProcess(Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER)))
    try:
        agent.start()
        admin = AdminClient({"bootstrap.servers": agent.kafka, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, partitions, 1)], operation_timeout=30)[TOPIC].result(30)
        yield agent
    finally:
        agent.kill()


@contextmanager
def watched(scenario: str, agent: AgentProcess, memory_below: float | None = None, cpu_below: float | None = None):
    """Records CPU, memory, object-store writes and metadata transactions of what runs inside."""
    cpu, before, began = agent.cpu_s(), agent.metrics(), time.monotonic()
    yield
    elapsed = time.monotonic() - began
    after = agent.metrics()
    record(scenario, "broker CPU", (agent.cpu_s() - cpu) / elapsed * 100, "% of a core", below=cpu_below)
    record(scenario, "broker memory, highest", agent.memory_mb()[1], "MB", below=memory_below)
    record(scenario, "object-store writes", (total(after, PUTS) - total(before, PUTS)) / elapsed, "/s")
    record(scenario, "metadata transactions", (total(after, COMMITS) - total(before, COMMITS)) / elapsed, "/s")


def yardsticks(_: float) -> None:
    """The disk, and the client alone."""
    folder = tempfile.mkdtemp(prefix="yardstick-", dir=FOLDER)
    for name, size, count in (("4 KiB", 4096, 200), ("256 KiB", 1 << 18, 100), ("1 MiB", 1 << 20, 100)):
        times, data = [], os.urandom(size)
        directory = os.open(folder, os.O_RDONLY)
        for i in range(count):
            began = time.perf_counter()
            file = os.open(f"{folder}/{size}-{i}", os.O_CREAT | os.O_WRONLY)
            os.write(file, data)
            os.fdatasync(file)
            os.close(file)
            os.fsync(directory)
            times.append((time.perf_counter() - began) * 1000)
        os.close(directory)
        cuts = statistics.quantiles(times, n=100)
        record("yardstick: disk", f"new {name} file, synced, p50", cuts[49], "ms")
        record("yardstick: disk", f"new {name} file, synced, p99", cuts[98], "ms")
    with Discard(8) as discard:
        for size, count in ((100, 5_000_000), (1024, 2_000_000)):
            run = load("produce", discard.address, 8, count, size, 0, *BULK)
            record("yardstick: client alone", f"produce {size} B", run["per_second"], "records/s")


def start_and_idle(_: float) -> None:
    """Start to ready, and memory with nothing to do."""
    agent = AgentProcess(Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER)))
    ready = []
    for _ in range(5):
        agent.start()
        ready.append(agent.ready_ms)
        if len(ready) < 5:
            agent.terminate()
    record("start", "first start to ready", ready[0], "ms", below=300)
    record("start", "later starts to ready, median", statistics.median(ready[1:]), "ms", below=300)
    time.sleep(3)
    cpu = agent.cpu_s()
    time.sleep(3)
    record("idle", "broker memory", agent.memory_mb()[0], "MB", below=30)
    record("idle", "broker CPU", (agent.cpu_s() - cpu) / 3 * 100, "% of a core")
    agent.kill()


def paced(scenario: str, partitions: int, rate: int, linger_ms: int, seconds: float, p99_below: float | None = None,
          memory_below: float | None = None, cpu_below: float | None = None, kind: str = "produce") -> None:
    """1 KiB records at a rate: spread evenly over the partitions, or (`produce-unkeyed`) as the client's own partitioner does."""
    with fresh_agent(partitions) as agent:
        load("produce", agent.kafka, partitions, 2000, 1024, 2000, IDEMPOTENT)  # first connections, first flushes
        with watched(scenario, agent, memory_below, cpu_below):
            run = load(kind, agent.kafka, partitions, int(rate * seconds), 1024, rate, IDEMPOTENT, f"linger.ms={linger_ms}")
        record(scenario, "rate", run["per_second"], "records/s", least=rate * 0.98)
        record(scenario, "produce latency, p50", run["p50_ms"], "ms")
        record(scenario, "produce latency, p99", run["p99_ms"], "ms", below=p99_below)


def bulk(scenario: str, size: int, records: int, least: float) -> None:
    """As fast as one producer goes, then one consumer over it."""
    with fresh_agent(8) as agent:
        with watched(scenario, agent):
            produced = load("produce", agent.kafka, 8, records, size, 0, *BULK)
        record(scenario, "produce", produced["per_second"], "records/s", least=least)
        record(scenario, "produce", produced["per_second"] * size / 1e6, "MB/s")
        consumed = load("consume", agent.kafka, 8, records, "queued.max.messages.kbytes=65536", "fetch.message.max.bytes=4194304")
        record(scenario, "consume", consumed["per_second"], "records/s", least=produced["per_second"])


def end_to_end(seconds: float) -> None:
    """Produce to poll."""
    with fresh_agent(8) as agent:
        run = load("e2e", agent.kafka, 8, int(1000 * seconds), 100, 1000, f"producer:{IDEMPOTENT}", "producer:linger.ms=0")
        record("end to end, 1,000/s", "produce to poll, p50", run["p50_ms"], "ms", below=5)
        record("end to end, 1,000/s", "produce to poll, p99", run["p99_ms"], "ms")


SCENARIOS = {
    "yardsticks": yardsticks,
    "start": start_and_idle,
    "50,000/s, 8 partitions": lambda s: paced("50,000/s of 1 KiB", 8, 50_000, 5, s, p99_below=10, memory_below=100),
    "50,000/s, unkeyed": lambda s: paced("50,000/s, client's partitioner", 8, 50_000, 5, s, p99_below=10, memory_below=100,
                                         kind="produce-unkeyed"),
    "10,000/s, 8 partitions": lambda s: paced("10,000/s of 1 KiB", 8, 10_000, 5, s, cpu_below=20),
    "end to end": end_to_end,
    "100 B": lambda s: bulk("100 B, batched", 100, int(1_000_000 * s), least=1_000_000),
    "1 KiB": lambda s: bulk("1 KiB, batched", 1024, int(200_000 * s), least=300_000_000 / 1024),
    "10,000/s, 1,000 partitions": lambda s: paced("10,000/s, 1,000 partitions", 1000, 10_000, 5, s),
    "50,000/s, 1,000 partitions": lambda s: paced("50,000/s, 1,000 partitions", 1000, 50_000, 5, s),
}


if __name__ == "__main__":
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
    sys.exit(run_scenarios(__doc__, SCENARIOS, "client and broker"))
