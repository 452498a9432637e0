"""Measures the agent beside Apache Kafka: the same clients, one broker running at a time, in turn.

    bench/kafka.sh [part of a scenario's name…] [--seconds N] [--rounds N] [--warm N] [--brokers kafka,durable,agent]

Every scenario and round has a fresh broker on an empty folder of one disk: Apache Kafka (KRaft, one node, heap 1 GiB, default
settings), the same with log.flush.interval.messages=1 (what the agent promises), the agent (default settings, local store,
SQLite). Each is warmed up with the load that follows, so that the JVM has compiled what it runs; nothing before that is counted.
The word `limits` names what the machine and the clients can do alone; it is measured first, unless scenarios are named without it.
"""

import argparse
import atexit
import datetime
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import limits
import report
from agent_process import ROOT
from brokers import BROKERS, free_bytes, new_broker
from scenarios import SCENARIOS

FREE_MIN = 12 << 30
SHORT = {"kafka": "Kafka", "durable": "durable Kafka", "agent": "agent"}


def measured(scenario, kind: type, folder: str, warm: float, seconds: float) -> dict[str, float] | str:
    """The figures of one broker in one round, or why there are none."""
    if free_bytes(folder) < FREE_MIN:
        return f"the disk has less than {FREE_MIN >> 30} GiB left"
    broker = None
    try:
        broker = new_broker(kind, folder)
        broker.create_topic(scenario.partitions)
        return scenario.run(broker, warm, seconds)
    except Exception as error:  # the other brokers and scenarios are still worth their figures
        return str(error).strip().splitlines()[-1][:200] if str(error).strip() else type(error).__name__
    finally:
        if broker is not None:
            broker.kill()
            broker.forget()


def main() -> int:
    """Exit code 0 if everything could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", help=f"parts of: limits; {'; '.join(s.name for s in SCENARIOS)}")
    parser.add_argument("--seconds", type=float, default=10, help="of every measurement")
    parser.add_argument("--warm", type=float, help="seconds of load before it (default: half of that)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--brokers", default=",".join(SHORT), help="which of them, in this order")
    parser.add_argument("--folder", help="where the brokers keep their data (default: the system's temporary folder)")
    options = parser.parse_args()
    warm = options.seconds / 2 if options.warm is None else options.warm
    kinds = [kind for name in options.brokers.split(",") for kind in BROKERS if kind.name == SHORT.get(name)]
    chosen = [s for s in SCENARIOS if not options.scenarios or any(part in s.name for part in options.scenarios)]
    folder = tempfile.mkdtemp(prefix="streamhouse-bench-", dir=options.folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    results = report.Results(seconds=options.seconds, warm=warm, rounds=options.rounds)
    if not options.scenarios or "limits" in options.scenarios:
        results.limits = limits.of_machine(folder, min(options.seconds, 3))
        for name, value in results.limits.items():
            print(f"{name:<88}{value:>14,.2f}", flush=True)
    for scenario in chosen:
        for turn in range(options.rounds):
            for kind in kinds:
                began = time.monotonic()
                got = measured(scenario, kind, folder, warm, options.seconds)
                results.add(scenario.name, kind.name, got)
                shown = got if isinstance(got, str) else "  ".join(f"{name} {value:,.4g}" for name, value in got.items())
                print(f"{scenario.name:<40}{kind.name:<15}round {turn + 1}  ({time.monotonic() - began:.0f} s)  {shown}", flush=True)
    stem = ROOT / "target" / "bench" / f"kafka-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    text = report.markdown(results)
    Path(f"{stem}.md").write_text(text)
    Path(f"{stem}.json").write_text(json.dumps(results.as_json(), indent=1))
    print(f"\n{text}\n{os.path.relpath(stem, ROOT)}.md, and every round in the .json beside it")
    return 1 if results.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
