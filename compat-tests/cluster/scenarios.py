"""What happens to an agent, the database and the store, one function each. The questions afterwards are the same for all."""

import os
import time

from confluent_kafka.admin import AdminClient, NewTopic

from cluster import S3
from raw_lanes import readable
from trial import TOPIC, Trial, figure

OUTAGE_S = float(os.environ.get("OUTAGE_S", 12))


def kill9(trial: Trial) -> None:
    """kill -9 of agents in turn, each restarted under its id some seconds later."""
    for agent in trial.to_hurt():
        with trial.gap("after kill -9", 3):
            agent.kill()
            time.sleep(trial.dice.uniform(4, 6))
        with trial.gap("around its return"):
            began = time.monotonic()
            agent.start()
            trial.cluster.wait_ready(20)
            figure("its return, until all is ready", time.monotonic() - began)
            time.sleep(1.5)


def restart(trial: Trial) -> None:
    """kill -9 and a start under the same id at once: its partitions come back without waiting for a lease."""
    for agent in trial.to_hurt():
        with trial.gap("around a restart"):
            agent.kill()
            agent.start()
            time.sleep(2)


def roll(trial: Trial) -> None:
    """SIGTERM and start of all agents, one after the other: no client reports an error."""
    for agent in trial.cluster.agents:
        with trial.gap("around a SIGTERM", 0.5):
            began = time.monotonic()
            code = agent.terminate()
            if code != 0:
                raise RuntimeError(f"SIGTERM: exit code {code}\n{agent.log_end()}")
            drained = time.monotonic() - began
            time.sleep(1)
        figure("the drain took", drained)
        with trial.gap("around its return", 0.5):
            agent.start()
            trial.cluster.wait_ready(20)
            time.sleep(1)


def sigstop(trial: Trial) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: a zombie that finds itself fenced."""
    cluster = trial.cluster
    for agent in trial.to_hurt():
        with trial.gap("around a SIGSTOP", cluster.lease_s + 2):
            cluster.pause(agent)
            time.sleep(cluster.lease_s * 2)
        cluster.resume(agent)
        time.sleep(3)
        cluster.wait_ready(20)


def database(trial: Trial) -> None:
    """The database restarts, loses its connections, and is away for longer than a lease (OUTAGE_S)."""
    cluster = trial.cluster
    sessions = "SELECT count(*) FROM sessions"
    before = cluster.sql(sessions)
    for what in ("restart", "terminated connections", "outage"):
        if what == "terminated connections":
            cluster.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                        "WHERE application_name = 'streamhouse'")
        elif what == "outage":
            _outage(trial)
        else:
            cluster.postgres.restart()
        with trial.gap(f"after the database's {what}", before_s=0):
            time.sleep(5)
    if cluster.sql(sessions) != before:
        raise RuntimeError("fail-over storm: sessions were lost although no agent died")


def _outage(trial: Trial) -> None:
    """While the database is away nothing is acked, and what is committed is still served, to clients that come new too."""
    trial.cluster.postgres.stop()
    time.sleep(1)
    began = time.monotonic()
    served = readable(trial.cluster.kafka, TOPIC, trial.load.partitions, within_s=OUTAGE_S / 2)
    time.sleep(max(OUTAGE_S - (time.monotonic() - began), 0))
    acked = trial.load.acked_between(began, time.monotonic())
    trial.cluster.postgres.restart()
    if acked:
        raise RuntimeError(f"{acked} sends were acked while the database was away")
    if len(served) < trial.load.partitions:
        raise RuntimeError(f"without the database only partitions {sorted(served)} were served")


def store(trial: Trial) -> None:
    """The object store refuses, stalls, applies and loses its answers, then is away (OUTAGE_S): refusing, and without a word."""
    if not isinstance(trial.cluster.store, S3):
        raise RuntimeError("only our own S3 server can be hurt: --store s3")
    for what, faults, seconds in (("a bad day", "unavailable=0.2&lost=0.1&stall=0.01&put=20/100&get=10/50", 15.0),
                                  ("503 for everything", "unavailable=0&lost=0&stall=0&put=0/0&get=0/0&outage=refuse", 8.0),
                                  ("no answers", "outage=hang", OUTAGE_S)):
        with trial.gap(f"in {seconds:.0f} s of {what}"):
            trial.cluster.store.faults(faults)
            time.sleep(seconds)
        trial.cluster.store.faults("outage=none")
        with trial.gap("after it", before_s=0):
            time.sleep(5)
    trial.cluster.store.faults("unavailable=0&lost=0&stall=0")


def join(trial: Trial) -> None:
    """A fourth agent comes, and takes its share under load."""
    # So many partitions that a fair share is never nothing.
    admin = AdminClient({"bootstrap.servers": trial.cluster.kafka, "log_level": 0})
    admin.create_topics([NewTopic("shared", 64, 1)])["shared"].result(20)
    with trial.gap("around it", before_s=0):
        began = time.monotonic()
        trial.cluster.add().start()
        figure("the fourth agent's start, until it holds its share", time.monotonic() - began)
        time.sleep(1)
    held = trial.cluster.sql("SELECT count(*) FROM partitions AS p JOIN sessions AS s USING (session) WHERE s.agent_id = 'agent-4'")
    if held[0][0] == "0":
        raise RuntimeError("the fourth agent leads nothing")


def scale(trial: Trial) -> None:
    """3,000 partitions more: their creation, the death of an agent, and its return."""
    cluster = trial.cluster
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
    figure("healed after that", healed - noticed, 5)
    began = time.monotonic()
    agent.start()
    cluster.wait_ready(60)
    figure("its return, until it holds its share", time.monotonic() - began)
    share = cluster.sql("SELECT count(*) FROM partitions AS p JOIN sessions AS s USING (session) "
                        "WHERE s.active AND s.agent_id = 'agent-1'")[0][0]
    print(f"    partitions of the returned agent: {share}; its memory: {agent.memory_mb()[0]:.0f} MB", flush=True)
