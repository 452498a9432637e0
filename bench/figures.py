"""Figures: one run of the load generator, and rows of a table."""

import argparse
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from agent_process import ROOT

LOAD = Path(os.environ.get("STREAMHOUSE_TOOLS", ROOT / "target" / "compat")) / "load"
IDEMPOTENT = "enable.idempotence=true"
BATCHED = ("linger.ms=20", "batch.size=1000000", "batch.num.messages=100000", "message.max.bytes=1048000")
BULK = (IDEMPOTENT, *BATCHED)
TOPIC = "bench"
PUTS, COMMITS = "streamhouse_object_put_seconds_count", "streamhouse_commit_seconds_count"


@dataclass
class Row:
    """One figure; `target` is empty where none is promised."""
    scenario: str
    figure: str
    value: str
    target: str = ""
    reached: bool | None = None


ROWS: list[Row] = []


def record(scenario: str, figure: str, value: float, unit: str, below: float | None = None, least: float | None = None) -> None:
    """Adds a row and prints it at once."""
    target, reached = "", None
    if below is not None:
        target, reached = f"< {bound(below)}", value < below
    if least is not None:
        target, reached = f">= {bound(least)}", value >= least
    ROWS.append(Row(scenario, figure, f"{value:,.2f} {unit}" if value < 100 else f"{value:,.0f} {unit}", target, reached))
    print(format_row(ROWS[-1]), flush=True)


def bound(value: float) -> str:
    """1.1, 1,000."""
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


def format_row(row: Row) -> str:
    """A line of the table."""
    verdict = {None: "", True: "reached", False: "MISSED"}[row.reached]
    return f"{row.scenario:<32}{row.figure:<34}{row.value:>20}  {row.target:<13}{verdict}"


def load(kind: str, address: str, partitions: int, records: int, *arguments: object) -> dict:
    """One run of load.c; its line of JSON."""
    words = [str(LOAD), kind, address, TOPIC, str(partitions), str(records), *map(str, arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}, {done.stdout}")
    return json.loads(done.stdout)


class Discard:
    """The broker that throws everything away (discard_broker.c), as a context; `address` is its own."""

    def __init__(self, partitions: int):
        self._process = subprocess.Popen([str(LOAD.parent / "discard_broker"), str(partitions)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        self.address = self._process.stdout.readline().strip()

    def __enter__(self) -> "Discard":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(10)


def total(metrics: dict[str, float], name: str) -> float:
    """Sum over all series of a metric."""
    return sum(value for series, value in metrics.items() if series.partition("{")[0] == name)


def quantile(before: dict[str, float], after: dict[str, float], name: str, share: float) -> float:
    """Of a histogram, what came between two looks: linear within its bucket, the last bound for what is above all."""
    buckets: dict[float, float] = {}
    for series, value in after.items():
        if series.startswith(f"{name}_bucket{{"):
            bound = float(series.partition('le="')[2].partition('"')[0].replace("+Inf", "inf"))
            buckets[bound] = buckets.get(bound, 0) + value - before.get(series, 0)
    counts = sorted(buckets.items())
    wanted, below, lower = share * (counts[-1][1] if counts else 0), 0.0, 0.0
    for bound, count in counts:
        if count >= wanted and count > below:
            return lower if bound == float("inf") else lower + (bound - lower) * (wanted - below) / (count - below)
        below, lower = count, bound
    return lower


def run_scenarios(about: str, scenarios: dict[str, Callable[[float], None]], shared_by: str) -> int:
    """The command line of a file of scenarios. Exit code 0 if everything could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", help=f"parts of: {'; '.join(scenarios)}")
    parser.add_argument("--seconds", type=float, default=10, help="length of a paced run; bulk runs scale with it")
    options = parser.parse_args()
    failed = 0
    for name, scenario in scenarios.items():
        if options.scenarios and not any(part in name for part in options.scenarios):
            continue
        try:
            scenario(options.seconds)
        except Exception as error:  # the other scenarios are still worth their figures
            failed += 1
            print(f"{name}: not measured: {error!r}", flush=True)
    reached = sum(row.reached is True for row in ROWS)
    print(f"\n{os.cpu_count()} cores shared by {shared_by}; {reached} of "
          f"{sum(row.reached is not None for row in ROWS)} targets reached")
    return 1 if failed else 0
