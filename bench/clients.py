"""The clients that drive every broker alike: load.c (librdkafka) and Kafka's own tools."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from brokers import java
from figures import BATCHED, IDEMPOTENT, TOPIC, load

# Without a bound in bytes a slow broker would be left with half a gigabyte when the time is over.
FAST = (*BATCHED, IDEMPOTENT, "queue.buffering.max.kbytes=131072")
# The client never pauses because of what it holds, and does not wait at the end of the log before it begins again.
READ = ("queued.max.messages.kbytes=65536", "queued.min.messages=1000000", "fetch.message.max.bytes=4194304",
        "fetch.queue.backoff.ms=1", "fetch.wait.max.ms=1")
MANY = 1_000_000_000
TOOL_WITHIN_S = 600


def latencies(run: dict) -> dict[str, float]:
    """The latencies of one run of load.c under the names of the table."""
    return {"p50 ms": run["p50_ms"], "p99 ms": run["p99_ms"], "p99.9 ms": run["p999_ms"]}


def produce(address: str, partitions: int, size: int, seconds: float, settings: tuple[str, ...] = FAST) -> dict[str, float]:
    """As fast as it goes, for a time."""
    run = load("produce", address, partitions, MANY, size, 0, f"seconds={seconds}", *settings)
    return {"records": run["records"], "records/s": run["per_second"]}


def paced(address: str, partitions: int, size: int, rate: int, seconds: float, settings: tuple[str, ...],
          kind: str = "produce") -> dict[str, float]:
    """In step with a rate; `kind` e2e: produce to poll."""
    run = load(kind, address, partitions, int(rate * seconds), size, rate, *settings)
    return {"records": run["records"], "records/s": run["per_second"], **latencies(run)}


def one_in_flight(address: str, size: int, seconds: float, settings: tuple[str, ...]) -> dict[str, float]:
    """A record when the one before it is acked."""
    run = load("sequential", address, 1, int(20_000 * seconds), size, 0, f"seconds={seconds}", *settings)
    return {"records": run["records"], "records/s": run["per_second"], **latencies(run)}


def read(address: str, partitions: int, records: int, seconds: float, readers: int = 1) -> dict[str, float]:
    """Independent readers from the beginning to the end; with a time: again and again until it is over."""
    bound = (f"seconds={seconds}",) if seconds else ()
    with ThreadPoolExecutor(readers) as pool:
        runs = list(pool.map(lambda _: load("consume", address, partitions, records, *bound, *READ), range(readers)))
    return {"records": sum(run["records"] for run in runs), "records/s": sum(run["per_second"] for run in runs)}


def _tool(main: str, *arguments: object) -> str:
    """One of Kafka's tools; what it printed."""
    done = subprocess.run(java(main, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TOOL_WITHIN_S)
    if done.returncode != 0:
        raise RuntimeError(f"{main.rpartition('.')[2]}: exit code {done.returncode}: {done.stdout[-500:]}")
    return done.stdout


STEADY = re.compile(r"(\d+) steady state records sent, ([\d.]+) records/sec .*? (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th, (\d+) ms 99.9th")


def java_produce(address: str, size: int, rate: int, records: int, warm: int, settings: tuple[str, ...]) -> dict[str, float]:
    """ProducerPerformance; `rate` -1: as fast as it goes. Its first `warm` records are not in its figures (milliseconds are whole)."""
    words = ("--topic", TOPIC, "--num-records", warm + records, "--warmup-records", warm, "--record-size", size, "--throughput", rate,
             "--bootstrap-server", address, "--command-property", "acks=all", *settings)
    found = STEADY.search(_tool("org.apache.kafka.tools.ProducerPerformance", *words))
    if found is None:
        raise RuntimeError("ProducerPerformance printed no steady state")
    _, per_second, p50, p99, p999 = found.groups()
    return {"records": warm + records, "records/s": float(per_second), "p50 ms": float(p50), "p99 ms": float(p99), "p99.9 ms": float(p999)}


def java_end_to_end(address: str, size: int, records: int) -> dict[str, float]:
    """EndToEndLatency: one record at a time, produced with acks=all, then polled; milliseconds are whole."""
    told = _tool("org.apache.kafka.tools.EndToEndLatency", address, TOPIC, records, "all", size)
    average = re.search(r"Avg latency: ([\d.]+) ms", told)
    found = re.search(r"Percentiles: 50th = (\d+), 99th = (\d+), 99.9th = (\d+)", told)
    if average is None or found is None:
        raise RuntimeError(f"EndToEndLatency printed no percentiles: {told[-300:]}")
    p50, p99, p999 = (float(value) for value in found.groups())
    mean = float(average[1])
    return {"records": records, "records/s": 1000 / mean, "mean ms": mean, "p50 ms": p50, "p99 ms": p99, "p99.9 ms": p999}


def java_read(address: str, records: int) -> dict[str, float]:
    """ConsumerPerformance, which joins a group: its rate from the first fetch on."""
    told = _tool("org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", address, "--topic", TOPIC, "--num-records", records,
                 "--hide-header", "--timeout", 20_000)
    fields = [line.split(", ") for line in told.splitlines() if line.count(",") == 9]
    if not fields:
        raise RuntimeError(f"ConsumerPerformance printed no figures: {told[-300:]}")
    return {"records": float(fields[-1][4]), "records/s": float(fields[-1][9])}
