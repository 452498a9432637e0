"""What counting costs: the agent's CPU time for the same work with metrics on, off (METRICS=false), and not in the build.

    bench/metrics-cost.sh [--seconds N] [--rounds N] [--rate N]

Each round runs every form once, in turn, each on a fresh folder: records of 1 KiB at a rate over 8 partitions, and as many read back at once.
With metrics on they are read every 5 s. Ratios are of medians; the spread of the rounds says what they are worth.
"""

import argparse
import atexit
import os
import shutil
import statistics
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


def run(form: str, binary: Path, rate: int, seconds: float) -> float:
    """CPU milliseconds of the agent for each 10,000 records written and read."""
    settings = {"METRICS": "false"} if form == "off" else {"COST_PRICES": "s3-standard"} if form == "on" else {}
    agent = Silent(Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER)), binary, settings=settings)
    stop = threading.Event()
    try:
        agent.start()
        admin = AdminClient({"bootstrap.servers": agent.kafka, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)], operation_timeout=30)[TOPIC].result(30)
        records = int(rate * seconds)
        if form == "on":
            threading.Thread(target=scraping, args=(agent, stop), daemon=True).start()
        before = agent.cpu_s()
        load("produce", agent.kafka, PARTITIONS, records, SIZE, rate, IDEMPOTENT, "linger.ms=5")
        load("consume", agent.kafka, PARTITIONS, records)
        return (agent.cpu_s() - before) * 1000 / records * 10_000
    finally:
        stop.set()
        agent.kill()


def main() -> int:
    """Exit code 0 if everything could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="length of each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=20_000, help="records a second")
    options = parser.parse_args()
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
    forms = {"on": default_binary(), "off": default_binary()}
    without = os.environ.get("STREAMHOUSE_AGENT_WITHOUT_METRICS")
    if without:
        forms["compiled out"] = Path(without)
    measured: dict[str, list[float]] = {form: [] for form in forms}
    for number in range(options.rounds):
        # Forwards and backwards, so that no form always follows the same one.
        for form in list(forms)[:: 1 if number % 2 == 0 else -1]:
            measured[form].append(run(form, forms[form], options.rate, options.seconds))
            print(f"round {number + 1}  {form:<14}{measured[form][-1]:8.1f} ms of CPU for 10,000 records", flush=True)
    medians = {form: statistics.median(values) for form, values in measured.items()}
    print()
    for form, values in measured.items():
        ratio = medians["on"] / medians[form] - 1
        print(f"{form:<14}median {medians[form]:8.1f} ms, {min(values):.1f} to {max(values):.1f}"
              + ("" if form == "on" else f"   on costs {ratio:+.1%} (asked for: < 2 %)"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
