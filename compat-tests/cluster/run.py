"""Many agents, one log: agents are killed, stopped, cut off, replaced, and the database goes away, while clients keep working.

    run.py [scenario…] [--store folder|s3|moto] [--seed S] [--turns N] [--seconds N] [--lease N] [--agents N] [--partitions N]

Every scenario ends with the same questions: the checker's, over the history of all clients (compat-tests/checker); does the
metadata store agree with the objects; did an agent panic, or take more memory than it may. Gaps are the longest time
without an ack of the idempotent producers on any partition.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

import network
from agent_process import raise_open_file_limit
from cluster import STORES, Cluster, audit, leaked
from groups import groups
from scenarios import database, join, kill9, restart, roll, scale, sigstop, store
from trial import TOPIC, Trial
from vanishing import cuts, lonely, mix, vanish
from with_clients import clocks, give_clocks, java
from workload import Workload
from zones import give_zones, zones

MEMORY_MB = 256 * 1.048576 * 1.2
"""MEMORY_BYTES and a fifth."""


EAGER_GARBAGE = {"GARBAGE_INTERVAL": "3", "GARBAGE_GRACE": "1"}
"""Collected while uploads are under way, so that what a fault leaves behind is gone at the end."""
LEAK_S = 30


@dataclass(frozen=True)
class Scenario:
    """How a scenario is run. `apart`: its hosts can be cut, which needs namespaces and our S3 server."""
    run: Callable[[Trial], None]
    lease_s: float = 30.0
    apart: bool = False
    topic: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    replicas: int = 1
    prepare: Callable[[Cluster], None] = lambda cluster: None


SCENARIOS = {scenario.run.__name__: scenario for scenario in (
    Scenario(kill9), Scenario(restart), Scenario(roll), Scenario(java), Scenario(join), Scenario(scale), Scenario(sigstop, 6.0),
    Scenario(database, 6.0), Scenario(store), Scenario(vanish, 6.0, apart=True), Scenario(cuts, 6.0, apart=True),
    Scenario(lonely, 12.0, apart=True),
    Scenario(mix, 6.0, apart=True, settings=EAGER_GARBAGE),
    Scenario(zones, replicas=-1, prepare=give_zones), Scenario(groups, 6.0),
    Scenario(clocks, 6.0, topic={"message.timestamp.type": "LogAppendTime"}, prepare=give_clocks))}


def kinds(complaints: list[str]) -> list[tuple[str, int]]:
    """What there is to complain about, the most frequent first."""
    return Counter(line.partition(":")[0] for line in complaints).most_common(10)


def ask(trial: Trial) -> list[str]:
    """Complaints at the end of a scenario."""
    cluster = trial.cluster
    memory = {agent.folder.name: agent.memory_mb()[1] for agent in cluster.agents if agent.is_alive()}
    trial.load.stop_sending()
    complaints = [line for question in trial.questions for line in question()]
    complaints += trial.load.judge(trial.histories)
    complaints += audit(cluster) + (leaked(cluster, LEAK_S) if trial.eager_garbage else [])
    complaints += [f"panic: {agent.log}" for agent in cluster.agents if "panicked" in agent.log_end(100_000)]
    complaints += [f"memory: {name} took {mb:.0f} MB" for name, mb in memory.items() if mb > MEMORY_MB]
    return complaints


def hurt(scenario: Scenario, trial: Trial) -> list[str]:
    """Complaints of a scenario. One that fails is judged too: its history says more than its exception."""
    try:
        scenario.run(trial)
    except Exception as error:
        failed = f"{type(error).__name__}: {error}"
        print(f"    {failed.splitlines()[0]}", flush=True)
        if trial.cluster.network:
            trial.cluster.network.heal()
        return [failed, *ask(trial)]
    return ask(trial)


def run(name: str, options: argparse.Namespace) -> list[str]:
    """One scenario on a cluster of its own."""
    scenario = SCENARIOS[name]
    kind = "s3" if scenario.apart else options.store
    folder = Path(tempfile.mkdtemp(prefix="streamhouse-cluster-"))
    print(f"cluster: {name} on {kind}, seed {options.seed}: {scenario.run.__doc__.splitlines()[0]}", flush=True)
    began = time.monotonic()
    cluster = None
    try:
        cluster = Cluster(folder, options.agents, options.lease or scenario.lease_s, kind, scenario.apart, scenario.settings)
        scenario.prepare(cluster)
        cluster.start()
        admin = AdminClient({"bootstrap.servers": cluster.kafka, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, options.partitions, scenario.replicas, config=scenario.topic)])[TOPIC].result(20)
        load = Workload(folder, cluster.kafka, TOPIC, options.partitions, options.rate)
        time.sleep(2)
        complaints = hurt(scenario, Trial(cluster, load, random.Random(options.seed), options.turns, options.seconds,
                                          scenario.settings is EAGER_GARBAGE))
    except Exception as error:  # the folder is kept for whoever looks at it
        complaints = [f"{type(error).__name__}: {error}"]
    finally:
        if cluster:
            cluster.end()
    print(f"    took {time.monotonic() - began:.0f} s", flush=True)
    if complaints:
        print(f"cluster: FAIL {name}, seed {options.seed}, {len(complaints)} complaints, data kept in {folder}")
        print("  by kind: " + ", ".join(f"{kind} {count}" for kind, count in kinds(complaints)))
        print("".join(f"  {line}\n" for line in complaints[:15]))
    elif not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return complaints


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="+", metavar="scenario", help=", ".join(SCENARIOS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--store", choices=sorted(STORES), default="folder")
    parser.add_argument("--turns", type=int, default=1, help="how many agents are hurt, one after the other")
    parser.add_argument("--seconds", type=float, default=60, help="length of a mix")
    parser.add_argument("--lease", type=float, help="LEASE_DURATION in seconds, instead of the scenario's own")
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=9)
    parser.add_argument("--rate", type=float, default=300, help="records a second of one producer")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a scenario that passed too")
    options = parser.parse_args()
    for name in options.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name}; there are: {', '.join(SCENARIOS)}")
    return options


def main() -> int:
    """Exit code 1 if any scenario has a complaint. One that needs a network that cannot be made here is said to be not run."""
    options = parse()
    # What was started ends although this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    possible = network.is_possible()
    if possible and any(SCENARIOS[name].apart for name in options.scenarios):
        network.enter()
    raise_open_file_limit()
    results = {name: run(name, options) for name in options.scenarios if possible or not SCENARIOS[name].apart}
    for name in options.scenarios:
        if name not in results:
            print(f"cluster: {name:10} NOT RUN: it needs root and network namespaces")
            continue
        print(f"cluster: {name:10} {'FAIL' if results[name] else 'ok'}")
        for kind, count in kinds(results[name]):
            first = next(line for line in results[name] if line.startswith(kind))
            print(f"    {count} × {first[:300]}")
    return 1 if any(results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
