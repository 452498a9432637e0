"""What counting costs: the agent's CPU for the same work with metrics on, off (METRICS=false), and not in the build.

    bench/metrics-cost.sh [--seconds N] [--pairs N] [--rate N]

A pair is one run of each form, one right after the other, the next pair in the opposite order; each on a fresh folder: records of 1 KiB at a
rate over 8 partitions, then as many read back at once. With metrics on they are read every 5 s. Flushes go by the clock, so that every form
does as many: else a form that is a little slower flushes less often, and looks cheaper. CPU is user instructions where perf can count
them, else time. What is said is the median of the differences within the pairs, and where the middle half of them lies: a cost below that
spread is not told from none.
"""

import argparse
import atexit
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from agent_process import AgentProcess, default_binary
from figures import IDEMPOTENT, TOPIC, load

FOLDER = tempfile.mkdtemp(prefix="streamhouse-bench-")
PARTITIONS, SIZE = 8, 1024
SCRAPE_S = 5
FLUSH = {"FLUSH_INTERVAL_MS": "5"}


class Silent(AgentProcess):
    """An agent that says over HTTP no more than that it is there, or nothing at all."""

    def is_ready(self) -> bool:
        """By what it prints."""
        return "ready in" in self.log_end(3)


def scraping(agent: AgentProcess, stop: threading.Event) -> None:
    """Reads the metrics as a monitoring system would."""
    while not stop.wait(SCRAPE_S):
        with suppress(OSError):  # the agent ended meanwhile
            agent.metrics()


def counts_instructions() -> bool:
    """Whether perf and this machine can."""
    with suppress(OSError):
        tried = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u", "true"], capture_output=True, text=True)
        return tried.returncode == 0 and tried.stderr[:1].isdigit()
    return False


class Cpu:
    """What the agent uses while this is entered, as `used`: millions of user instructions, or milliseconds."""

    def __init__(self, agent: AgentProcess, instructions: bool):
        self._agent, self._instructions, self.used = agent, instructions, 0.0

    def __enter__(self) -> "Cpu":
        if self._instructions:
            words = ["perf", "stat", "-x,", "-e", "instructions:u", "-p", str(self._agent.pid)]
            self._perf = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        self._before = self._agent.cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.used = (self._agent.cpu_s() - self._before) * 1000
        if self._instructions:
            self._perf.send_signal(signal.SIGINT)
            self.used = float(self._perf.communicate()[1].split(",")[0]) / 1e6


def run(form: str, binary: Path, rate: int, seconds: float, instructions: bool) -> float:
    """The agent's CPU for each 10,000 records written and read."""
    settings = {"METRICS": "false"} if form == "off" else {"COST_PRICES": "s3-standard"} if form == "on" else {}
    agent = Silent(Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER)), binary, settings=FLUSH | settings)
    stop = threading.Event()
    try:
        agent.start()
        admin = AdminClient({"bootstrap.servers": agent.kafka, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)], operation_timeout=30)[TOPIC].result(30)
        records = int(rate * seconds)
        if form == "on":
            threading.Thread(target=scraping, args=(agent, stop), daemon=True).start()
        with Cpu(agent, instructions) as cpu:
            load("produce", agent.kafka, PARTITIONS, records, SIZE, rate, IDEMPOTENT, "linger.ms=5")
            load("consume", agent.kafka, PARTITIONS, records)
        return cpu.used / records * 10_000
    finally:
        stop.set()
        agent.kill()


def difference(measured: dict[str, list[float]], form: str, other: str) -> str:
    """How much more `form` takes than `other`, pair by pair."""
    of_pairs = [a / b - 1 for a, b in zip(measured[form], measured[other])]
    low, median, high = statistics.quantiles(of_pairs, n=4) if len(of_pairs) > 1 else of_pairs * 3
    return f"{form} over {other}: {median:+.1%}, the middle half of {len(of_pairs)} pairs {low:+.1%} to {high:+.1%}"


def main() -> int:
    """Exit code 0 if everything could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6, help="length of each run")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--rate", type=int, default=20_000, help="records a second")
    options = parser.parse_args()
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
    forms = {"on": default_binary(), "off": default_binary()}
    without = os.environ.get("STREAMHOUSE_AGENT_WITHOUT_METRICS")
    if without:
        forms["compiled out"] = Path(without)
    instructions = counts_instructions()
    unit = "million user instructions" if instructions else "ms of CPU"
    measured: dict[str, list[float]] = {form: [] for form in forms}
    for number in range(options.pairs):
        # Forwards and backwards, so that no form always follows the same one.
        for form in list(forms)[:: 1 if number % 2 == 0 else -1]:
            measured[form].append(run(form, forms[form], options.rate, options.seconds, instructions))
            print(f"pair {number + 1:>2}  {form:<14}{measured[form][-1]:8.1f} {unit} for 10,000 records", flush=True)
    print()
    for form, values in measured.items():
        print(f"{form:<14}median {statistics.median(values):8.1f} {unit}, {min(values):.1f} to {max(values):.1f}")
    print(f"{difference(measured, 'on', 'off')} (asked for: < 2 %)")
    if without:
        print(difference(measured, "on", "compiled out"))
        print(difference(measured, "off", "compiled out"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
