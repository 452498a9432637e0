"""Agents that are stopped at a named moment for three leases, found fenced when they go on: nothing they do then may count.

No hook in the agent: the proxy sees the moment on the wire and holds it there until the agent is stopped. What was held goes
on either at once (the other side does its part while the agent sleeps) or when the agent does.
"""

import threading
import time

from agent_process import AgentProcess
from raw_lanes import readable
from trial import TOPIC, Trial, figure

LEASES = 3
SEEN_WITHIN_S, READY_WITHIN_S = 40, 40
PATIENCE_S = 60
"""Of a producer that waits for a stopped agent's answers, so that it hears them."""

POINTS = {
    "before a PUT": ("s3", "put"), "after a PUT": ("s3", "put-answer"),
    "before COMMIT": ("postgres", "commit"), "after COMMIT": ("postgres", "commit-answer"),
    "before the ack": ("kafka", "produce-answer"), "in a renewal": ("postgres", "renewal"),
    "in garbage collection": ("s3", "delete"), "in a fetch": ("s3", "get-answer")}


def zombies(trial: Trial) -> None:
    """SIGSTOP for three leases at named points, as many as there are turns: PUT, COMMIT, ack, renewal, garbage, fetch."""
    trial.load.add_raw("raw-patient", 50, in_flight=5, patience_s=PATIENCE_S)
    points = list(POINTS)
    # What is read from the store is what no leader has written itself: easiest after some take-overs.
    last = points.pop()
    trial.dice.shuffle(points)
    points = [*points, last]
    for name in points[:trial.turns] if trial.turns < len(points) else points:
        _stop_at(trial, name)


def _stop_at(trial: Trial, name: str) -> None:
    cluster, (kind, moment) = trial.cluster, POINTS[name]
    proxy, at_once = cluster.proxies[kind], trial.dice.random() < 0.5
    reads = threading.Thread(target=_read_everything, args=(trial,), daemon=True)
    rule = proxy.rule(moment, "hold", times=1)
    if moment == "get-answer":
        reads.start()
    held = proxy.first(rule, SEEN_WITHIN_S)
    if held is None:
        raise RuntimeError(f"nobody came to the point {name} in {SEEN_WITHIN_S} s")
    agent = cluster.named(held["who"])
    session = cluster.sql(f"SELECT session FROM sessions WHERE active AND agent_id = '{held['who']}'")[0][0]
    cluster.pause(agent)
    began = time.monotonic()
    with trial.gap(f"{name}, {held['who']} stopped, {'the other side goes on' if at_once else 'both sides stand'}",
                   cluster.lease_s + 2):
        if at_once:
            proxy.release(rule)
        fenced = _wait_until_fenced(trial, session, began)
        committed = _last_commit(trial, session)
        time.sleep(max(LEASES * cluster.lease_s - (time.monotonic() - began), 0))
    figure("fenced after", fenced, cluster.lease_s + 2)
    led = trial.led()[held["who"]]
    _go_on(trial, agent, lambda: proxy.forget(rule))
    if led:
        raise RuntimeError(f"{name}: nobody took over {led} partitions in {LEASES} leases")
    if _last_commit(trial, session) > committed:
        raise RuntimeError(f"{name}: session {session} committed after it was fenced")


def _go_on(trial: Trial, agent: AgentProcess, release) -> None:
    trial.cluster.resume(agent)
    release()
    time.sleep(2)
    trial.cluster.wait_ready(READY_WITHIN_S)


def _wait_until_fenced(trial: Trial, session: str, began: float) -> float:
    """Seconds since its stop."""
    until = began + LEASES * trial.cluster.lease_s
    while trial.cluster.sql(f"SELECT 1 FROM sessions WHERE active AND session = {session}"):
        if time.monotonic() > until:
            raise RuntimeError(f"session {session} is not fenced {LEASES} leases after its agent was stopped")
        time.sleep(0.05)
    return time.monotonic() - began


def _last_commit(trial: Trial, session: str) -> int:
    """The highest lane sequence that a session has committed, whether its records are still there or not."""
    return int(trial.cluster.sql(f"SELECT coalesce(max(lane_sequence), 0) FROM segments WHERE kind <> 0 AND session = {session}")[0][0])


def _read_everything(trial: Trial) -> None:
    """Someone new reads from the beginning, so that something is fetched from the store."""
    until = time.monotonic() + SEEN_WITHIN_S
    while time.monotonic() < until and len(readable(trial.cluster.kafka, TOPIC, trial.load.partitions, 5)) < trial.load.partitions:
        pass
