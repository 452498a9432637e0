"""Scenarios about what clients see: wall clocks that are wrong, and the Java client over a rolling restart."""

import subprocess
import time
from contextlib import contextmanager

from cluster import Cluster
from clocks import Clock, told_by
from java_client import command
from raw_lanes import Router
from scenarios import roll
from trial import TOPIC, Trial
from wire import fetch

HOUR_S = 3600


def clocks(trial: Trial) -> None:
    """Wall clocks differ by an hour, then jump by two: no lease moves, LogAppendTime does not notice."""
    cluster = trial.cluster
    leases = ("SELECT count(DISTINCT s.session), sum(p.leader_epoch) FROM sessions AS s, partitions AS p")
    before = cluster.sql(leases)
    with trial.gap("with clocks an hour apart", before_s=0):
        time.sleep(cluster.lease_s * 1.5)
    apart = [told_by(agent) for agent in cluster.agents[:2]]
    if abs((apart[0] - apart[1]).total_seconds()) < HOUR_S / 2:
        raise RuntimeError(f"the clocks were not wrong: {apart}")
    with trial.gap("around jumps of two hours"):
        for agent, shift in zip(cluster.agents, (-HOUR_S, 0, HOUR_S)):
            agent.clock.shift(shift)
        time.sleep(cluster.lease_s * 1.5)
    if cluster.sql(leases) != before:
        raise RuntimeError(f"leases moved for a clock: sessions and epochs were {before}, are {cluster.sql(leases)}")
    # Leaders with other clocks take over: times must not go back with them.
    for agent in trial.to_hurt():
        agent.terminate()
        agent.start()
    trial.questions.append(lambda: _append_times(cluster, trial.load.partitions, time.time()))


def give_clocks(cluster: Cluster) -> None:
    """Before the start: a clock for each agent, an hour apart."""
    for agent, shift in zip(cluster.agents, (HOUR_S, 0, -HOUR_S)):
        agent.clock = Clock(cluster.folder, agent.folder.name)
        agent.clock.shift(shift)
        agent.add_settings(agent.clock.settings)


def _append_times(cluster: Cluster, partitions: int, now: float) -> list[str]:
    """Complaints about LogAppendTime: it never goes back within a partition, and it is the time of this machine, whose
    database is right."""
    complaints, checked = [], 0
    router = Router(cluster.kafka.split(","), TOPIC)
    for partition in range(partitions):
        last, offset, deadline = 0, 0, time.monotonic() + 20
        while time.monotonic() < deadline:
            address = router.leader(partition)
            connection = router.connection(address) if address else None
            if connection is None:
                time.sleep(0.05)
                continue
            found = fetch(connection, TOPIC, {partition: offset}, max_wait_ms=0)[0]
            for offset, _, stamp in found.records:
                if stamp < last:
                    complaints.append(f"append-time-regress: {partition}@{offset}: {stamp} after {last}")
                if not now - 600 < stamp / 1000 < now + 5:
                    complaints.append(f"append-time: {partition}@{offset}: {stamp}, it is {now * 1000:.0f}")
                last = max(last, stamp)
            checked += len(found.records)
            offset += 1 if found.records else 0
            if offset >= found.high_watermark > 0:
                break
        else:
            complaints.append(f"append-time: partition {partition} could not be read")
    router.close()
    print(f"    LogAppendTime of {checked} records checked", flush=True)
    return complaints


def java(trial: Trial) -> None:
    """SIGTERM and start of all agents under the Java client too: it reports no error either."""
    with java_client(trial):
        time.sleep(3)
        roll(trial)


@contextmanager
def java_client(trial: Trial, rack: str = ""):
    """A Java producer and consumer beside the workload, judged with it; the consumer is in that zone."""
    history = trial.cluster.folder / "java.jsonl"
    client = subprocess.Popen([*command("RollingClient"), trial.cluster.kafka, TOPIC, str(trial.load.partitions), "100", "java",
                               str(history), rack], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield
    except Exception:
        client.kill()
        raise
    trial.histories.append(history)
    trial.questions.append(lambda: _ask_java(client))


def _ask_java(client: subprocess.Popen) -> list[str]:
    """Ends the Java client, which reads to the end first; complaints."""
    try:
        counts, *errors = client.communicate(timeout=90)[0].splitlines()
    finally:
        client.kill()
    acked, reported = map(int, counts.split())
    print(f"    Java: {acked} acked, {reported} errors reported (asked: 0)", flush=True)
    return [f"java: {line}" for line in errors] + ([] if acked else ["java: nothing was acked"])
