"""The results of bench/kafka.sh as Markdown: medians and ratios, and the figures asked for."""

import datetime
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

import targets
from agent_process import ROOT
from brokers import BROKERS, kafka_version

KAFKA, DURABLE, AGENT = (kind.name for kind in BROKERS)


@dataclass
class Results:
    """Every round of every broker and scenario; a string instead of figures says why there are none."""
    seconds: float
    warm: float
    rounds: int
    limits: dict[str, float] = field(default_factory=dict)
    measured: dict[str, dict[str, list]] = field(default_factory=dict)

    def add(self, scenario: str, broker: str, got: dict[str, float] | str) -> None:
        """One round."""
        self.measured.setdefault(scenario, {}).setdefault(broker, []).append(got)

    def figure(self, scenario: str, broker: str, name: str) -> float | None:
        """The median of the rounds that have it."""
        rounds = self.measured.get(scenario, {}).get(broker, [])
        values = [figures[name] for figures in rounds if isinstance(figures, dict) and name in figures]
        return statistics.median(values) if values else None

    def failures(self) -> list[tuple[str, str, str]]:
        """Scenario, broker and reason of every round without figures."""
        return [(scenario, broker, got) for scenario, brokers in self.measured.items() for broker, rounds in brokers.items()
                for got in rounds if isinstance(got, str)]

    def as_json(self) -> dict:
        """All of it, with the machine."""
        return {"machine": machine(), **asdict(self)}


def machine() -> str:
    """Date, commit, machine."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    load = os.getloadavg()[1]
    return (f"{datetime.date.today()}, commit {commit}, {os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}, "
            f"load average of the last five minutes {load:.1f}, Apache Kafka {kafka_version()}")


def shown(value: float | None) -> str:
    """Three figures or so."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio(value: float | None, other: float | None) -> str:
    """Agent over the other."""
    return f"{value / other:.2f}×" if value is not None and other else ""


def _measured_table(results: Results) -> list[str]:
    lines = ["| scenario | figure | Kafka | durable Kafka | agent | agent ÷ Kafka | agent ÷ durable |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for scenario, brokers in results.measured.items():
        names = dict.fromkeys(name for rounds in brokers.values() for figures in rounds if isinstance(figures, dict) for name in figures)
        for at, name in enumerate(names):
            of = {broker: results.figure(scenario, broker, name) for broker in (KAFKA, DURABLE, AGENT)}
            if not any(of.values()):
                continue
            lines.append(f"| {scenario if at == 0 else ''} | {name} | {shown(of[KAFKA])} | {shown(of[DURABLE])} | {shown(of[AGENT])} | "
                         f"{ratio(of[AGENT], of[KAFKA])} | {ratio(of[AGENT], of[DURABLE])} |")
    return lines


def markdown(results: Results) -> str:
    """Ready for docs/benchmarks.md."""
    lines = [f"{machine()}; {results.rounds} rounds of {results.seconds:g} s in turn after {results.warm:g} s of warm-up, medians.", ""]
    if results.limits:
        lines += ["| what the machine and the clients can do alone | |", "| --- | --- |"]
        lines += [f"| {name} | {shown(value)} |" for name, value in results.limits.items()] + [""]
    asked = targets.rows(results)
    if asked:
        lines += ["| figure | asked for | measured | |", "| --- | --- | --- | --- |"]
        lines += [f"| {row.figure} | {row.asked} | {row.measured} | {'reached' if row.reached else 'missed'} |" for row in asked] + [""]
    lines += _measured_table(results)
    if results.failures():
        lines += [""] + [f"Not measured: {scenario}, {broker}: {why}" for scenario, broker, why in dict.fromkeys(results.failures())]
    return "\n".join(lines) + "\n"
