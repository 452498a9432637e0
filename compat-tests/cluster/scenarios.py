"""What happens to an agent, the database and the store, one function each. The questions afterwards are the same for all."""

import os
import signal
import statistics
import time

from confluent_kafka.admin import AdminClient, NewTopic

from cluster import S3
from lanes import FollowingConsumer
from raw_lanes import readable
from trial import TOPIC, Trial, figure

OUTAGE_S = float(os.environ.get("OUTAGE_S", 8))
PAUSE_S = float(os.environ.get("PAUSE_S", 11))
"""An agent gives a statement up after 10 s."""
HELD_S = float(os.environ.get("HELD_S", 8))
BACK_S = 10
ZONES = ("a", "b", "c")


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
    """The database restarts three times, loses connections at random, is stopped (PAUSE_S), and away (OUTAGE_S): no lease moves."""
    cluster = trial.cluster
    sessions = "SELECT count(*) FROM sessions"
    before = cluster.sql(sessions)
    for what, hurt in (("restarts", _restart_three_times), ("terminated connections", _terminate_at_random), ("pause", _pause),
                       ("outage", _outage)):
        hurt(trial)
        with trial.gap(f"after the database's {what}", before_s=0):
            time.sleep(5)
    if cluster.sql(sessions) != before:
        raise RuntimeError("fail-over storm: sessions were lost although no agent died")


def _restart_three_times(trial: Trial) -> None:
    for _ in range(3):
        trial.cluster.postgres.restart()
        time.sleep(trial.dice.uniform(0.5, 1.5))


def _terminate_at_random(trial: Trial) -> None:
    for _ in range(8):
        trial.cluster.terminate_backends(0.3)
        time.sleep(trial.dice.uniform(0.1, 0.8))


def _pause(trial: Trial) -> None:
    """It takes connections and statements and says nothing: what was sent before may be committed when it goes on."""
    trial.cluster.postgres.signal(signal.SIGSTOP)
    time.sleep(1)
    began = time.monotonic()
    time.sleep(PAUSE_S)
    acked = trial.load.acked_between(began, time.monotonic())
    trial.cluster.postgres.signal(signal.SIGCONT)
    if acked:
        raise RuntimeError(f"{acked} sends were acked while the database was stopped")


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
    """The store refuses, stalls, loses answers, sends objects broken off, short and wrong, then is away (OUTAGE_S), also mute."""
    store = trial.cluster.store
    if not isinstance(store, S3):
        raise RuntimeError("only our own S3 server can be hurt: --store s3")
    # Consumers in other zones than a record's leader read it from the store.
    readers = [FollowingConsumer(trial.load.kafka, TOPIC, trial.load.partitions, trial.load.recorder, f"zone-{zone}", zone) for zone in ZONES]
    for reader in readers:
        reader.start()
    trial.load.followers += readers
    time.sleep(5)
    usual = statistics.median(trial.load.acks_each_second(time.monotonic() - 5, time.monotonic()))
    for what, faults, seconds in (("a bad day", "unavailable=0.2&lost=0.1&stall=0.01&put=20/100&get=10/50", 12.0),
                                  ("broken reads", "reset=0.2&short=0.2&wrong=0.2", 10.0),
                                  ("503 for everything", "outage=refuse", 8.0), ("no answers", "outage=hang", OUTAGE_S)):
        with trial.gap(f"in {seconds:.0f} s of {what}"):
            store.faults(faults)
            time.sleep(seconds)
        store.heal()
        _time_until_back(trial, usual, what)
    damaged = store.stats()["requests"].get("damaged", 0)
    print(f"    objects sent damaged: {damaged}", flush=True)
    if not damaged:
        raise RuntimeError("nobody read an object while reads were broken")


def _time_until_back(trial: Trial, usual: float, what: str) -> None:
    """How long until four fifths of the usual acks come in a second."""
    began = time.monotonic()
    while not any(acks >= 0.8 * usual for acks in trial.load.acks_each_second(began, time.monotonic())):
        if time.monotonic() - began > BACK_S * 3:
            raise RuntimeError(f"{BACK_S * 3} s after {what} there are no four fifths of the usual {usual:.0f} acks a second")
        time.sleep(0.25)
    figure(f"80 % of {usual:.0f} acks a second after {what}", time.monotonic() - began, BACK_S)


def uploads(trial: Trial) -> None:
    """Uploads arrive up to HELD_S late, most when their agents have given them up, while garbage of any age is collected."""
    proxy = trial.cluster.proxies["s3"]
    rules = (proxy.rule("put", "late", share=0.05, seconds=(0.5, HELD_S)), proxy.rule("put", "delay", share=0.05, seconds=(0.5, HELD_S)))
    with trial.gap(f"in {HELD_S} s of late uploads"):
        time.sleep(HELD_S)
    proxy.forget(*rules)
    # Until the last of them has arrived.
    time.sleep(HELD_S + 2)
    deleted = sum(value for agent in trial.cluster.agents for series, value in agent.metrics().items()
                  if series.startswith("streamhouse_objects_deleted_total"))
    print(f"    {len(proxy.deeds(*rules))} uploads were late, {deleted:.0f} objects deleted", flush=True)
    if not deleted:
        raise RuntimeError("no garbage was collected")


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
