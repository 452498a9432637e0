"""Measures what an object store at S3's distance costs: our own S3 server answers a PUT after 50 ms (median) or 200 ms (p99).

    bench/s3.sh [part of a scenario's name…] [--seconds N] [--agents N]

Without names: everything that a figure was asked for of, each beside its target, in some five minutes. Each scenario has a fresh PostgreSQL server, store and agents with default settings. Client, agents, database and store share
the machine's cores, so the store's own CPU time is shown apart.
"""

import argparse
import atexit
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from cluster import Cluster
from figures import BATCHED, BULK, COMMITS, IDEMPOTENT, PUTS, ROWS, TOPIC, load, record, total
from reads import READING

FOLDER = Path(tempfile.mkdtemp(prefix="streamhouse-bench-"))
PIPELINED = ("enable.idempotence=false", "max.in.flight=1000")
PUT_P50_MS, PUT_P99_MS, FLUSH_INTERVAL_MS = 50, 200, 100
PRODUCERS = 8
# A connection that is idle tells its statistics within 10 s.
STATISTICS_S = 12
RENEWALS = "SELECT sum(counter) FROM session_renewals"
ROWS_WRITTEN = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"


@contextmanager
def fresh_cluster(agents: int, partitions: int):
    """Agents with the topic; ended afterwards."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER)), agents, lease_s=30, store="s3")
    try:
        cluster.store.faults(f"put={PUT_P50_MS}/{PUT_P99_MS}&get={PUT_P50_MS}/{PUT_P99_MS}")
        cluster.start()
        admin = AdminClient({"bootstrap.servers": cluster.kafka, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, partitions, 1)], operation_timeout=60)[TOPIC].result(60)
        cluster.wait_ready(60)
        yield cluster
    finally:
        cluster.end()


def counted(cluster: Cluster) -> dict[str, float]:
    """What the agents and the store have done so far."""
    metrics = [agent.metrics() for agent in cluster.agents]
    stats = cluster.store.stats()
    return {"PUTs": sum(total(m, PUTS) for m in metrics), "segment commits": sum(total(m, COMMITS) for m in metrics),
            "CPU of the store": stats["cpu_ms"] / 10, "CPU of the agents": sum(agent.cpu_s() for agent in cluster.agents) * 100}


@contextmanager
def watched(scenario: str, cluster: Cluster):
    """Records rates of what runs inside; gives a dict that has them afterwards."""
    rates: dict[str, float] = {}
    before, began = counted(cluster), time.monotonic()
    yield rates
    elapsed = time.monotonic() - began
    for name, value in counted(cluster).items():
        rates[name] = (value - before[name]) / elapsed
        record(scenario, name, rates[name], "% of a core" if name.startswith("CPU") else "/s")


def paced(scenario: str, agents: int, partitions: int, rate: int, seconds: float, settings: tuple[str, ...] = PIPELINED,
          asked: bool = False) -> dict[str, float]:
    """1 KiB records at a rate, spread evenly; gives the rates of what the agents did. librdkafka sends one partition a request: with five requests in flight a
    record waits for its turn in the client first, so what is asked of the agent is measured without that bound."""
    with fresh_cluster(agents, partitions) as cluster:
        load("produce", cluster.kafka, partitions, 2000, 1024, 1000, IDEMPOTENT)  # first connections, first flushes
        with watched(scenario, cluster) as rates:
            run = load("produce", cluster.kafka, partitions, int(rate * seconds), 1024, rate, *settings, "linger.ms=5")
        record(scenario, "rate", run["per_second"], "records/s", least=rate * 0.98)
        record(scenario, "produce latency, p50", run["p50_ms"], "ms")
        record(scenario, "produce latency, p99", run["p99_ms"], "ms",
               below=1.2 * (FLUSH_INTERVAL_MS + PUT_P99_MS) if asked else None)
    return rates


def many_partitions(seconds: float) -> None:
    """The same rate over 8 and over 1,000 partitions: neither PUTs nor transactions may grow."""
    few, many = (paced(f"2,000/s, {partitions:,} partitions", 1, partitions, 2_000, seconds) for partitions in (8, 1000))
    for name in ("PUTs", "segment commits"):
        record("2,000/s, 1,000 to 8 partitions", f"{name}: difference", abs(many[name] / few[name] - 1) * 100, "%", below=5)


def pipelining(seconds: float) -> None:
    """Eight producers at the same time, each as fast as it goes."""
    scenario = f"{PRODUCERS} producers, pipelining"
    words = (1024, 0, f"seconds={seconds}", *PIPELINED, *BATCHED, "queue.buffering.max.kbytes=65536")
    with fresh_cluster(1, 8) as cluster, ThreadPoolExecutor(PRODUCERS) as pool:
        load("produce", cluster.kafka, 8, 20_000, 1024, 0, *PIPELINED, *BATCHED)
        with watched(scenario, cluster):
            runs = list(pool.map(lambda _: load("produce", cluster.kafka, 8, 1_000_000_000, *words), range(PRODUCERS)))
        record(scenario, "produce", sum(run["per_second"] for run in runs) * 1024 / 1e6, "MB/s", least=200)
        record(scenario, "memory, highest of the agents", max(agent.memory_mb()[1] for agent in cluster.agents), "MB")


def bulk(scenario: str, agents: int, seconds: float, settings: tuple[str, ...], guess: int, least: float | None = None) -> None:
    """As fast as one producer goes with 1 KiB records; `guess` is about what it does a second."""
    with fresh_cluster(agents, 8) as cluster:
        load("produce", cluster.kafka, 8, guess, 1024, 0, *settings)
        with watched(scenario, cluster):
            run = load("produce", cluster.kafka, 8, int(guess * seconds), 1024, 0, *settings)
        record(scenario, "produce", run["per_second"] * 1024 / 1e6, "MB/s", least=least)
        record(scenario, "memory, highest of the agents", max(agent.memory_mb()[1] for agent in cluster.agents), "MB")


def renewals(partitions: int, seconds: float) -> None:
    """Agents with nothing to do but to renew their sessions."""
    scenario = f"idle, {partitions:,} partitions"
    with fresh_cluster(3, partitions) as cluster:
        time.sleep(STATISTICS_S)
        before = [int(cluster.sql(query)[0][0]) for query in (RENEWALS, ROWS_WRITTEN)]
        began = time.monotonic()
        time.sleep(max(4 * seconds, 40) + STATISTICS_S)
        after = [int(cluster.sql(query)[0][0]) for query in (RENEWALS, ROWS_WRITTEN)]
        agent_seconds = 3 * (time.monotonic() - began)
        record(scenario, "renewals per agent", (after[0] - before[0]) / agent_seconds, "/s")
        record(scenario, "rows written per agent", (after[1] - before[1]) / agent_seconds, "/s")


# What figures were asked for of.
ASKED = {
    "latency, one agent": lambda s, n: paced("1,000/s, one agent", 1, 8, 1_000, 2 * s, asked=True),
    "producers, pipelining": lambda s, n: pipelining(s),
    "PUTs, 8 and 1,000 partitions": lambda s, n: many_partitions(2 * s),
    **READING,
}
SCENARIOS = {
    **ASKED,
    "latency, agents": lambda s, n: paced(f"1,000/s, {n} agents", n, 9, 1_000, 2 * s, asked=True),
    "latency, one partition": lambda s, n: paced("1,000/s, one partition", 1, 1, 1_000, 2 * s, asked=True),
    "latency, idempotent": lambda s, n: paced("1,000/s, idempotent", 1, 8, 1_000, 2 * s, (IDEMPOTENT,)),
    "bulk, idempotence off": lambda s, n: bulk("one producer, not idempotent", 1, s, (*PIPELINED, *BATCHED), 60_000, least=50),
    "bulk, idempotent": lambda s, n: bulk("one producer, idempotent", 1, s, BULK, 20_000),
    "renewals, 9 partitions": lambda s, n: renewals(9, s),
    "renewals, 3,000 partitions": lambda s, n: renewals(3_000, s),
}


def main() -> int:
    """Exit code 0 if everything could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", help=f"parts of: {'; '.join(SCENARIOS)}")
    parser.add_argument("--seconds", type=float, default=8, help="length of a run; those of latencies take twice that")
    parser.add_argument("--agents", type=int, default=3)
    options = parser.parse_args()
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
    failed = 0
    for name, scenario in SCENARIOS.items():
        if not any(part in name for part in options.scenarios) if options.scenarios else name not in ASKED:
            continue
        try:
            scenario(options.seconds, options.agents)
        except Exception as error:  # the other scenarios are still worth their figures
            failed += 1
            print(f"{name}: not measured: {error}", flush=True)
    reached = sum(row.reached is True for row in ROWS)
    print(f"\n{os.cpu_count()} cores shared by all; {reached} of {sum(row.reached is not None for row in ROWS)} targets reached")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
