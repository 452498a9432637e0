"""Many agents, one log: agents are killed, stopped, replaced, and the database goes away, while clients keep working.

    run.py [scenario…] [--store folder|s3|moto] [--seed S] [--agents N] [--partitions N] [--keep]

Every scenario ends with the same questions: is every acked record there once, in order, at its offset; was nothing that
was told to have failed ever seen; did no consumer skip or go back; did no high watermark go back; does the metadata
store agree with the objects. Gaps are the longest time without an ack on any partition.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from agent_process import raise_open_file_limit
from checker import OK, check
from cluster import S3, STORES, Cluster, audit
from lanes import IDEMPOTENT, RECONNECT, SINGLE_SHOT, FollowingConsumer, ProducerLane, read_log

TOPIC = "cluster-test"
# A request that an agent never answers (it is stopped, its host is gone) is given up after this, as with any broker.
CLIENT = {"socket.timeout.ms": 1_000}
DRAIN_S = 90
UNSEEN_S = 30
OUTAGE_S = float(os.environ.get("OUTAGE_S", 12))


class HighWatermarks(threading.Thread):
    """Asks for the latest offsets all the time: what one leader said, the next must not take back."""

    def __init__(self, kafka: str, partitions: int):
        super().__init__(name="high watermarks", daemon=True)
        self.errors: list[str] = []
        self._stopped = threading.Event()
        self._partitions = partitions
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": "none", **RECONNECT})

    def run(self) -> None:
        """An answer that does not come says nothing."""
        highest = dict.fromkeys(range(self._partitions), 0)
        while not self._stopped.is_set():
            for partition in highest:
                try:
                    end = self._consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=1)[1]
                except KafkaException:
                    continue
                if end < highest[partition]:
                    self.errors.append(f"high-watermark-regress: {partition}: {end} after {highest[partition]}")
                highest[partition] = max(end, highest[partition])
            time.sleep(0.02)

    def finish(self) -> None:
        """Stops it."""
        self._stopped.set()
        self.join()
        self._consumer.close()


class Load:
    """Producers of both kinds, a consumer that follows, a watcher; and the questions at the end."""

    def __init__(self, cluster: Cluster, partitions: int, rate: float):
        self.cluster, self.partitions = cluster, partitions
        admin = AdminClient({"bootstrap.servers": cluster.kafka, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, partitions, 1)])[TOPIC].result(20)
        self.lanes = [ProducerLane(f"idempotent{i}", cluster.kafka, TOPIC, partitions, rate, {**IDEMPOTENT, **CLIENT})
                      for i in range(3)]
        self.lanes.append(ProducerLane("single-shot", cluster.kafka, TOPIC, partitions, rate / 4, SINGLE_SHOT))
        self.follower = FollowingConsumer(cluster.kafka, TOPIC, partitions)
        self.watcher = HighWatermarks(cluster.kafka, partitions)
        for thread in (*self.lanes, self.follower, self.watcher):
            thread.start()
        time.sleep(2)

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time between two acks of one partition, between these two moments."""
        longest = 0.0
        for partition in range(self.partitions):
            acks = sorted(at for lane in self.lanes[:-1] for at, p in list(lane.acks) if p == partition and since <= at <= until)
            moments = [since, *acks, until]
            longest = max(longest, *(b - a for a, b in zip(moments, moments[1:])))
        return longest

    def finish(self) -> list[str]:
        """Complaints."""
        for lane in self.lanes:
            lane.finish(DRAIN_S)
        log = read_log(self.cluster.kafka, TOPIC, self.partitions, DRAIN_S)
        self.follower.finish(len(log), UNSEEN_S)
        self.watcher.finish()
        sends = [send for lane in self.lanes for send in lane.sends.values()]
        complaints = [f"{a.kind}: {a.what}" for a in check(sends, log, self.follower.seen)]
        complaints += self.follower.errors + self.watcher.errors + [line for lane in self.lanes for line in lane.fatal]
        if any(send.outcome != OK for lane in self.lanes[:-1] for send in lane.sends.values()):
            complaints.append("an idempotent producer gave up on a record")
        complaints += audit(self.cluster)
        complaints += [f"panic: {agent.log}" for agent in self.cluster.agents if "panicked" in agent.log_end(100_000)]
        counts = Counter(send.outcome for send in sends)
        print(f"    acked {counts['ok']}, unknown {counts['info']}, failed {counts['fail']}, read {len(log)}", flush=True)
        return complaints


def figure(name: str, value: float, asked: str = "") -> None:
    """One line of figures."""
    print(f"    {name}: {value:.2f} s{f' (asked: {asked})' if asked else ''}", flush=True)


def kill9(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """kill -9 of each agent in turn, each restarted under its id some seconds later."""
    for agent in cluster.agents:
        began = time.monotonic()
        agent.kill()
        time.sleep(dice.uniform(4, 6))
        figure("longest gap after kill -9", load.longest_gap(began - 0.5, time.monotonic()), "<= 3")
        began = time.monotonic()
        agent.start()
        cluster.wait_ready(20)
        figure("its return, until all is ready", time.monotonic() - began)
        time.sleep(1.5)
        figure("longest gap around its return", load.longest_gap(began, time.monotonic()))


def restart(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """kill -9 and a start under the same id at once: its partitions come back without waiting for a lease."""
    for agent in cluster.agents:
        began = time.monotonic()
        agent.kill()
        agent.start()
        time.sleep(2)
        figure("longest gap around a restart", load.longest_gap(began - 0.5, time.monotonic()))


def roll(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """SIGTERM and start, one agent after the other."""
    for agent in cluster.agents:
        began = time.monotonic()
        code = agent.terminate()
        if code != 0:
            raise RuntimeError(f"SIGTERM: exit code {code}\n{agent.log_end()}")
        ended = time.monotonic()
        time.sleep(1)
        figure("longest gap around a SIGTERM", load.longest_gap(began - 0.5, time.monotonic()), "<= 0.5")
        figure("the drain took", ended - began)
        began = time.monotonic()
        agent.start()
        cluster.wait_ready(20)
        time.sleep(1)
        figure("longest gap around its return", load.longest_gap(began - 0.5, time.monotonic()), "<= 0.5")


def sigstop(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: a zombie that finds itself fenced."""
    for agent in cluster.agents[:2]:
        began = time.monotonic()
        cluster.pause(agent)
        time.sleep(cluster.lease_s * 2)
        figure("longest gap around a SIGSTOP", load.longest_gap(began - 0.5, time.monotonic()), f"<= {cluster.lease_s + 2}")
        cluster.resume(agent)
        time.sleep(3)
        cluster.wait_ready(20)


def database(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """The database restarts, loses its connections, and is away for longer than a lease."""
    sessions = "SELECT count(*) FROM sessions"
    before = cluster.sql(sessions)
    for what, away in (("restart", 0.0), ("terminated connections", 0.0), ("outage", cluster.lease_s * 2)):
        if what == "terminated connections":
            cluster.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                        "WHERE application_name = 'streamhouse'")
        elif away:
            cluster.postgres.stop()
            time.sleep(away)
            cluster.postgres.restart()
        else:
            cluster.postgres.restart()
        back = time.monotonic()
        time.sleep(5)
        figure(f"longest gap after the database's {what}", load.longest_gap(back, time.monotonic()))
    if cluster.sql(sessions) != before:
        raise RuntimeError("fail-over storm: sessions were lost although no agent died")


def store(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """The object store refuses, stalls, applies and loses its answers, then is away: refusing, and without a word."""
    if not isinstance(cluster.store, S3):
        raise RuntimeError("only our own S3 server can be hurt: --store s3")
    for what, faults, seconds in (("a bad day", "unavailable=0.2&lost=0.1&stall=0.01&put=20/100&get=10/50", 15.0),
                                  ("503 for everything", "unavailable=0&lost=0&stall=0&put=0/0&get=0/0&outage=refuse", 8.0),
                                  ("no answers", "outage=hang", OUTAGE_S)):
        began = time.monotonic()
        cluster.store.faults(faults)
        time.sleep(seconds)
        figure(f"longest gap in {seconds:.0f} s of {what}", load.longest_gap(began, time.monotonic()))
        cluster.store.faults("outage=none")
        back = time.monotonic()
        time.sleep(5)
        figure("after it", load.longest_gap(back, time.monotonic()))
    cluster.store.faults("unavailable=0&lost=0&stall=0")


def cut(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """One agent is cut off from the store while the others are not: it gives its partitions up, and comes back."""
    if not cluster.ways:
        raise RuntimeError("only the way to an S3 server can be cut: --store s3")
    time.sleep(5)
    number = dice.randrange(len(cluster.agents))
    agent, way = cluster.agents[number], cluster.ways[number]
    began = time.monotonic()
    way.cut()
    while "gave up" not in agent.readiness():
        if time.monotonic() - began > cluster.lease_s * 3:
            raise RuntimeError(f"not given up: {agent.readiness()}")
        time.sleep(0.05)
    figure("from the cut to everything handed over", time.monotonic() - began, f"<= {cluster.lease_s + 2}")
    moved = time.monotonic()
    figure("longest gap until then", load.longest_gap(began - 0.5, moved))
    time.sleep(5)
    figure("longest gap in 5 s without it", load.longest_gap(moved, time.monotonic()))
    mended = time.monotonic()
    way.mend()
    cluster.wait_ready(cluster.lease_s * 4)
    figure("from the mend to all ready", time.monotonic() - mended)
    time.sleep(2)
    figure("longest gap around its return", load.longest_gap(mended, time.monotonic()))
    gave_up = [other for other in cluster.agents
               if any(series.startswith("streamhouse_gave_up_total") for series in other.metrics())]
    if gave_up != [agent]:
        raise RuntimeError(f"not that one agent alone gave up: {len(gave_up)} did")


def join(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """A fourth agent comes, and takes its share under load."""
    # So many partitions that a fair share is never nothing.
    admin = AdminClient({"bootstrap.servers": cluster.kafka, "log_level": 0})
    admin.create_topics([NewTopic("shared", 64, 1)])["shared"].result(20)
    began = time.monotonic()
    cluster.add().start()
    figure("the fourth agent's start, until it holds its share", time.monotonic() - began)
    time.sleep(1)
    figure("longest gap around it", load.longest_gap(began, time.monotonic()))
    held = cluster.sql("SELECT count(*) FROM partitions AS p JOIN sessions AS s USING (session) WHERE s.agent_id = 'agent-4'")
    if held[0][0] == "0":
        raise RuntimeError("the fourth agent leads nothing")


def scale(cluster: Cluster, load: Load, dice: random.Random) -> None:
    """3,000 partitions more: their creation, the death of an agent, and its return."""
    admin = AdminClient({"bootstrap.servers": cluster.kafka, "log_level": 0})
    began = time.monotonic()
    admin.create_topics([NewTopic("scale", 3_000, 1)])["scale"].result(60)
    cluster.wait_ready(60)
    figure("3,000 partitions created and led", time.monotonic() - began)
    agent = cluster.agents[0]
    began = time.monotonic()
    agent.kill()
    unled = ("SELECT count(*) FROM partitions AS p WHERE NOT EXISTS "
             "(SELECT 1 FROM sessions AS s WHERE s.session = p.session AND s.active)")
    active = "SELECT count(*) FROM sessions WHERE active"
    while cluster.sql(active)[0][0] == "3":
        time.sleep(0.01)
    noticed = time.monotonic()
    while cluster.sql(unled)[0][0] != "0":
        time.sleep(0.02)
    healed = time.monotonic()
    figure("an agent's death noticed", noticed - began)
    figure("healed after that", healed - noticed, "<= 5")
    began = time.monotonic()
    agent.start()
    cluster.wait_ready(60)
    figure("its return, until it holds its share", time.monotonic() - began)
    share = cluster.sql("SELECT count(*) FROM partitions AS p JOIN sessions AS s USING (session) "
                        "WHERE s.active AND s.agent_id = 'agent-1'")[0][0]
    print(f"    partitions of the returned agent: {share}; its memory: {agent.memory_mb()[0]:.0f} MB", flush=True)


SCENARIOS = {scenario.__name__: (scenario, lease) for scenario, lease in
             ((kill9, 30.0), (restart, 30.0), (roll, 30.0), (join, 30.0), (scale, 30.0), (sigstop, 6.0), (database, 6.0),
                                                         (store, 30.0), (cut, 12.0))}


def kinds(complaints: list[str]) -> list[tuple[str, int]]:
    """What there is to complain about, the most frequent first."""
    return Counter(line.partition(":")[0] for line in complaints).most_common(10)


def run(name: str, options: argparse.Namespace) -> list[str]:
    """One scenario on a cluster of its own."""
    scenario, lease_s = SCENARIOS[name]
    folder = Path(tempfile.mkdtemp(prefix="streamhouse-cluster-"))
    print(f"cluster: {name} on {options.store}, seed {options.seed}: {scenario.__doc__.splitlines()[0]}", flush=True)
    cluster = Cluster(folder, options.agents, lease_s, options.store, ways=scenario is cut and options.store != "folder")
    try:
        cluster.start()
        load = Load(cluster, options.partitions, options.rate)
        scenario(cluster, load, random.Random(options.seed))
        complaints = load.finish()
    except Exception as error:  # the folder is kept for whoever looks at it
        complaints = [f"{type(error).__name__}: {error}"]
    finally:
        cluster.end()
    if complaints:
        print(f"cluster: FAIL {name}, seed {options.seed}, {len(complaints)} complaints, data kept in {folder}")
        print("  by kind: " + ", ".join(f"{kind} {count}" for kind, count in kinds(complaints)))
        print("".join(f"  {line}\n" for line in complaints[:15]))
    elif not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return complaints


def main() -> int:
    """Exit code 1 if any scenario has a complaint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=", ".join(SCENARIOS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--store", choices=sorted(STORES), default="folder")
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=9)
    parser.add_argument("--rate", type=float, default=300, help="records a second of one producer")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a scenario that passed too")
    options = parser.parse_args()
    for name in options.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name}; there are: {', '.join(SCENARIOS)}")
    raise_open_file_limit()
    on_any_store = [name for name in SCENARIOS if name not in (store.__name__, cut.__name__)]
    results = {name: run(name, options) for name in options.scenarios or on_any_store}
    for name, complaints in results.items():
        print(f"cluster: {name:10} {'FAIL' if complaints else 'ok'}")
        for kind, count in kinds(complaints):
            first = next(line for line in complaints if line.startswith(kind))
            print(f"    {count} × {first[:300]}")
    return 1 if any(results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
