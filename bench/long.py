"""One long run at a stated rate, with retention keeping the disk bounded.

    bench/long.sh [--minutes 30] [--rate 60] [--disk 20] [--partitions 8] [--consume]

One librdkafka producer sends 1 KiB records at a rate in MB/s to a fresh agent (local store, SQLite) whose topic keeps what a third of the
disk's share holds (retention.bytes, retention.ms, segment.bytes: topic settings, nothing else). Every minute is a row: rate held,
produce latency, resident memory, CPU, what the data folder takes, and what /metrics says of objects. Then the verdicts: memory, p99
and disk in the last third beside the second. `--consume`: a reader follows at the tail, and the latency is from produce to poll.
"""

import argparse
import atexit
import datetime
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import report
from agent_process import ROOT
from brokers import Agent, disk_used, free_bytes, new_broker
from figures import IDEMPOTENT, load, quantile, total

GB = 1_000_000_000
SIZE = 1024
PUTS, COMMITS = "streamhouse_object_put_seconds", "streamhouse_commit_seconds"
WRITES, DELETES = "streamhouse_object_put_seconds_count", "streamhouse_objects_deleted_total"


@dataclass
class Minute:
    """One row."""
    at: int
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    put_p99_ms: float
    commit_p99_ms: float
    resident_mb: float
    highest_mb: float
    cpu: float
    disk_gb: float
    database_mb: float
    objects: float

    def row(self) -> str:
        """Of the Markdown table."""
        cells = (f"{self.at}", f"{self.rate:.1f}", f"{self.p50_ms:.2f}", f"{self.p99_ms:.2f}", f"{self.p999_ms:.1f}",
                 f"{self.put_p99_ms:.1f}", f"{self.commit_p99_ms:.1f}", f"{self.resident_mb:.0f}",
                 f"{self.highest_mb:.0f}", f"{self.cpu:.0f}", f"{self.disk_gb:.2f}", f"{self.database_mb:.1f}", f"{self.objects:,.0f}")
        return f"| {' | '.join(cells)} |"


HEAD = ("| minute | MB/s held | p50 ms | p99 ms | p99.9 ms | PUT p99 ms | commit p99 ms | resident MB | highest MB | CPU % | disk GB | metadata MB | objects |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")


def one_minute(at: int, agent: Agent, options: argparse.Namespace) -> Minute:
    """Load for a minute (or what `--minute` says), then a look at everything."""
    rate = int(options.rate * 1e6 / SIZE)
    settings = (IDEMPOTENT, "linger.ms=5")
    if options.consume:
        settings = tuple(f"producer:{setting}" for setting in settings)
    before, counted = agent.usage(), agent.process.metrics()
    agent.forget_highest()
    run = load("e2e" if options.consume else "produce", agent.address, options.partitions, int(rate * options.minute), SIZE, rate, *settings)
    after, metrics = agent.usage(), agent.process.metrics()
    database = sum(path.stat().st_size for path in agent.folder.glob("metadata.db*"))
    return Minute(at, run["per_second"] * SIZE / 1e6, run["p50_ms"], run["p99_ms"], run["p999_ms"],
                  *(quantile(counted, metrics, name, 0.99) * 1e3 for name in (PUTS, COMMITS)), after.resident_mb, after.highest_mb,
                  (after.cpu_s - before.cpu_s) / run["seconds"] * 100, disk_used(agent.folder) / GB, database / 1e6,
                  total(metrics, WRITES) - total(metrics, DELETES))


def verdicts(minutes: list[Minute], options: argparse.Namespace) -> list[str]:
    """The last third beside the second: what still rises shows there; the first third fills caches and the disk's share."""
    third = max(1, len(minutes) // 3)
    second, last = minutes[third:2 * third] or minutes[:1], minutes[-third:]

    def median(rows: list[Minute], name: str) -> float:
        return statistics.median(getattr(row, name) for row in rows)

    def line(what: str, asked: str, got: str, reached: bool) -> str:
        return f"| {what} | {asked} | {got} | {'reached' if reached else 'missed'} |"

    lines = []
    for what, name, share in (("memory", "highest_mb", 1.1), ("p99", "p99_ms", 1.5), ("metadata", "database_mb", 1.1)):
        was, now = median(second, name), median(last, name)
        lines.append(line(f"{what} flat", f"last third ≤ {share} × second third", f"{now:.2f} / {was:.2f}", now <= share * was))
    most, held = max(row.disk_gb for row in minutes), min(row.rate for row in minutes)
    lines.append(line("disk bounded", f"< {options.disk:g} GB", f"highest {most:.2f} GB", most < options.disk))
    lines.append(line("rate held", f"≥ 98 % of {options.rate:g} MB/s in every minute", f"lowest {held:.1f} MB/s", held >= 0.98 * options.rate))
    return ["| verdict | asked for | measured | |", "| --- | --- | --- | --- |", *lines]


def main() -> int:
    """Exit code 0 if it ran to its end, whatever the verdicts are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--minute", type=float, default=60, help="seconds of one, for trying this out")
    parser.add_argument("--rate", type=float, default=60, help="MB/s of 1 KiB records")
    parser.add_argument("--disk", type=float, default=20, help="GB that the data folder must stay under")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--consume", action="store_true", help="a reader follows; latency is from produce to poll")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting (environment variable) of the agent")
    parser.add_argument("--topic", action="append", default=[], metavar="NAME=VALUE", help="a topic setting more")
    parser.add_argument("--folder", help="where the data is (default: the system's temporary folder)")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="streamhouse-long-", dir=options.folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kept = int(options.disk * GB / 3)
    configs = {"retention.bytes": str(kept // options.partitions), "retention.ms": str(max(1, int(kept / options.rate / 1000))),
               "segment.bytes": str(64 << 20), **dict(pair.split("=", 1) for pair in options.topic)}
    minutes: list[Minute] = []
    stopped = ""
    broker = new_broker(lambda path: Agent(path, dict(pair.split("=", 1) for pair in options.set)), folder)
    try:
        broker.create_topic(options.partitions, configs)
        print(f"{options.rate:g} MB/s, topic settings {configs}\n{HEAD}", flush=True)
        for at in range(1, options.minutes + 1):
            minutes.append(one_minute(at, broker, options))
            print(minutes[-1].row(), flush=True)
            if free_bytes(folder) < 4 * GB:
                stopped = "Stopped early: the disk has less than 4 GB left."
                break
    finally:
        broker.kill()
    text = [f"{report.machine()}; {options.rate:g} MB/s of 1 KiB over {options.partitions} partitions"
            f"{', read at the tail meanwhile' if options.consume else ''}; {configs}", "", *verdicts(minutes, options), "", HEAD,
            *(row.row() for row in minutes), *([stopped] if stopped else [])]
    path = ROOT / "target" / "bench" / f"long-{datetime.datetime.now():%Y%m%d-%H%M%S}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n")
    print("\n".join(["", *verdicts(minutes, options), stopped, f"{path.relative_to(ROOT)}"]))
    return 1 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
