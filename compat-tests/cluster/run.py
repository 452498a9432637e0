"""Many agents, one log: agents are killed, stopped, cut off, replaced, and the database goes away, while clients keep working.

    run.py [scenario…] [--store folder|s3|moto] [--seed S] [--turns N] [--seconds N] [--lease N] [--agents N] [--partitions N]
    run.py soak --minutes N [--seed S]      mixes with seeds from S on, and a row for docs/reliability.md

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
from lost_replies import ambiguous
from mix import mix
from scenarios import database, join, kill9, restart, roll, scale, sigstop, store, uploads
from soak import Tally
from trial import TOPIC, Trial
from vanishing import cuts, lonely, vanish
from with_clients import clocks, give_clocks, java
from workload import Workload
from zombies import zombies
from zones import give_zones, zones

MEMORY_MB = 256 * 1.048576 * 1.2
"""MEMORY_BYTES and a fifth."""


EAGER = {"GARBAGE_INTERVAL": "3", "GARBAGE_GRACE": "1", "REWRITE_BYTES": "1MiB", "REWRITE_AGE": "0.5"}
"""Garbage is collected while uploads are under way, so that what a fault leaves behind is gone at the end; ranges are rewritten
as soon as they are there."""
AT_ONCE = {**EAGER, "GARBAGE_INTERVAL": "1", "GARBAGE_GRACE": "0"}
LEAK_S = 30


@dataclass(frozen=True)
class Scenario:
    """How a scenario is run. `apart`: its hosts can be cut, which needs namespaces and our S3 server. `proxied`: what is between
    agents and the database, our S3 server, their clients."""
    run: Callable[[Trial], None]
    lease_s: float = 30.0
    apart: bool = False
    topic: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    replicas: int = 1
    prepare: Callable[[Cluster], None] = lambda cluster: None
    proxied: tuple[str, ...] = ()

    def store(self, asked: str) -> str:
        """On what it runs."""
        return "s3" if self.apart or "s3" in self.proxied else asked


SCENARIOS = {scenario.run.__name__: scenario for scenario in (
    Scenario(kill9), Scenario(restart), Scenario(roll), Scenario(java), Scenario(join), Scenario(scale), Scenario(sigstop, 6.0),
    Scenario(database, 6.0), Scenario(store, replicas=-1, prepare=give_zones), Scenario(vanish, 6.0, apart=True), Scenario(cuts, 6.0, apart=True),
    Scenario(lonely, 12.0, apart=True),
    Scenario(mix, 6.0, apart=True, settings=EAGER, proxied=("postgres", "s3")),
    Scenario(zombies, 6.0, settings=EAGER, proxied=("postgres", "s3", "kafka")),
    # A segment whose records were rewritten is forgotten after a minute, which looks like one that was never settled.
    Scenario(ambiguous, 6.0, settings={"REWRITE_BYTES_PER_SECOND": "0"}, proxied=("postgres",)),
    Scenario(uploads, 6.0, settings=AT_ONCE, proxied=("s3",)),
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
    complaints += [f"exited: {agent.log}" for agent in cluster.agents if not agent.is_alive()]
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
        trial.cluster.heal()
        return [failed, *ask(trial)]
    return ask(trial)


def run(name: str, options: argparse.Namespace, tally: Tally | None = None) -> list[str]:
    """One scenario on a cluster of its own."""
    scenario = SCENARIOS[name]
    kind = scenario.store(options.store)
    folder = Path(tempfile.mkdtemp(prefix="streamhouse-cluster-"))
    print(f"cluster: {name} on {kind}, seed {options.seed}: {scenario.run.__doc__.splitlines()[0]}", flush=True)
    began = time.monotonic()
    cluster = trial = None
    try:
        cluster = Cluster(folder, options.agents, options.lease or scenario.lease_s, kind, scenario.apart, scenario.settings,
                          scenario.proxied, options.seed)
        scenario.prepare(cluster)
        cluster.start()
        admin = AdminClient({"bootstrap.servers": cluster.kafka, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, options.partitions, scenario.replicas, config=scenario.topic)])[TOPIC].result(20)
        load = Workload(folder, cluster.kafka, TOPIC, options.partitions, options.rate)
        time.sleep(2)
        trial = Trial(cluster, load, random.Random(options.seed), options.turns, options.seconds, options.count,
                      "GARBAGE_INTERVAL" in scenario.settings)
        complaints = hurt(scenario, trial)
    except Exception as error:  # the folder is kept for whoever looks at it
        complaints = [f"{type(error).__name__}: {error}"]
    finally:
        if cluster:
            cluster.end()
    print(f"    took {time.monotonic() - began:.0f} s", flush=True)
    if tally and trial:
        tally.add(trial, complaints)
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
    parser.add_argument("scenarios", nargs="+", metavar="scenario", help=", ".join([*SCENARIOS, "soak"]))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--store", choices=sorted(STORES), default="folder")
    parser.add_argument("--turns", type=int, default=1, help="how many agents are hurt, one after the other")
    parser.add_argument("--seconds", type=float, default=60, help="length of a mix")
    parser.add_argument("--minutes", type=float, default=60, help="length of a soak, of mixes of --seconds each")
    parser.add_argument("--count", type=int, default=100, help="how many commits are ambiguous")
    parser.add_argument("--lease", type=float, help="LEASE_DURATION in seconds, instead of the scenario's own")
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=9)
    parser.add_argument("--rate", type=float, default=300, help="records a second of one producer")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a scenario that passed too")
    options = parser.parse_args()
    for name in options.scenarios:
        if name not in SCENARIOS and options.scenarios != ["soak"]:
            parser.error(f"no scenario {name}; there are: {', '.join(SCENARIOS)}, and soak alone")
    return options


def soak(options: argparse.Namespace) -> int:
    """Mixes until the time is over, or one has a complaint."""
    tally, until = Tally(options.seed), time.monotonic() + options.minutes * 60
    complaints: list[str] = []
    while not complaints and time.monotonic() < until:
        complaints = run("mix", options, tally)
        options.seed += 1
        print(tally.row(), flush=True)
    return 1 if complaints else 0


def main() -> int:
    """Exit code 1 if any scenario has a complaint. One that needs a network that cannot be made here is said to be not run."""
    options = parse()
    # What was started ends although this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    possible = network.is_possible()
    if possible and any(name == "soak" or SCENARIOS[name].apart for name in options.scenarios):
        network.enter()
    raise_open_file_limit()
    if options.scenarios == ["soak"]:
        return soak(options)
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
