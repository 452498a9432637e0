"""Scenarios in which nothing arrives: a host that vanishes, single ways that are cut, and a mix of all faults (network.py)."""

import statistics
import time
from collections.abc import Callable

from agent_process import AgentProcess
from trial import Trial, figure


def vanish(trial: Trial) -> None:
    """A host vanishes: nothing it sends arrives anywhere, nothing reaches it. Later it is back, and finds itself fenced."""
    cluster = trial.cluster
    for agent in trial.to_hurt():
        with trial.gap("after a host vanished", cluster.lease_s + 2):
            cluster.network.isolate(cluster.hosts[agent])
            time.sleep(cluster.lease_s * 2)
        with trial.gap("around its return"):
            cluster.network.heal()
            time.sleep(3)
        began = time.monotonic()
        cluster.wait_ready(40)
        figure("ready again after", 3 + time.monotonic() - began)


def cuts(trial: Trial) -> None:
    """One way at a time, agent to database, to store, to clients and back: nothing arrives for two leases."""
    cluster = trial.cluster
    agent = next(trial.to_hurt())
    host = cluster.hosts[agent]
    # Clients that cannot reach a living leader can only wait; what they wait for elsewhere is the lease.
    for peer, name, asked in ((cluster.database_host, "database", cluster.lease_s + 2), (cluster.store_host, "store", None),
                              (cluster.network.clients, "clients", None)):
        for sender, receiver, way in ((host, peer, f"agent to {name}"), (peer, host, f"{name} to agent")):
            with trial.gap(f"with {way} cut", asked):
                cluster.network.cut(sender, receiver)
                time.sleep(cluster.lease_s * 2)
            with trial.gap("after it", before_s=0):
                cluster.network.heal()
                time.sleep(4)
                cluster.wait_ready(40)


def lonely(trial: Trial) -> None:
    """One agent is cut off from the store while the others are not: it gives its partitions up, and comes back."""
    cluster = trial.cluster
    time.sleep(3)
    agent = next(trial.to_hurt())
    began = time.monotonic()
    with trial.gap("until another leads what it led", cluster.lease_s + 2):
        cluster.network.cut_both(cluster.hosts[agent], cluster.store_host)
        while "gave up" not in agent.readiness():
            if time.monotonic() - began > cluster.lease_s * 3:
                raise RuntimeError(f"not given up: {agent.readiness()}")
            time.sleep(0.05)
    figure("from the cut to everything handed over", time.monotonic() - began, cluster.lease_s + 2)
    with trial.gap("in 5 s without it", before_s=0):
        time.sleep(5)
    began = time.monotonic()
    with trial.gap("around its return", before_s=0):
        cluster.network.heal()
        cluster.wait_ready(cluster.lease_s * 4)
        time.sleep(2)
    figure("from the mend to all ready", time.monotonic() - began - 2)
    gave_up = [other for other in cluster.agents if any(series.startswith("streamhouse_gave_up_total") for series in other.metrics())]
    if gave_up != [agent]:
        raise RuntimeError(f"not that one agent alone gave up: {len(gave_up)} did")


def mix(trial: Trial) -> None:
    """Seeded windows, a quarter of them quiet: kill -9, SIGSTOP, cuts between an agent and database, store, clients; either way."""
    cluster, dice = trial.cluster, trial.dice
    faults = _faults(trial)
    gaps, until = [], time.monotonic() + trial.seconds
    while time.monotonic() < until:
        agent, length = dice.choice(cluster.agents), dice.uniform(1.0, 1.5 * cluster.lease_s)
        if dice.random() < 0.25:
            with trial.gap(f"in {length:.1f} s of quiet", before_s=0):
                time.sleep(length)
            continue
        name = dice.choice(sorted(faults))
        with trial.gap(f"in {length:.1f} s of {name}, {agent.folder.name}, and the 2 s after it"):
            heal = faults[name](agent)
            time.sleep(length)
            heal()
            time.sleep(2)
        gaps.append(trial.gaps[-1])
    began = time.monotonic()
    cluster.wait_ready(60)
    figure("all ready after the last window", time.monotonic() - began, 30)
    if gaps:
        print(f"    fault windows: {len(gaps)}; their longest gaps: median {statistics.median(gaps):.2f} s, highest {max(gaps):.2f} s", flush=True)


def _faults(trial: Trial) -> dict[str, Callable[[AgentProcess], Callable[[], None]]]:
    """Each begins a fault of an agent and returns what ends it."""
    cluster, network = trial.cluster, trial.cluster.network

    def kill(agent: AgentProcess) -> Callable[[], None]:
        agent.kill()
        return lambda: agent.start(ready_within_s=60)

    def pause(agent: AgentProcess) -> Callable[[], None]:
        cluster.pause(agent)
        return lambda: cluster.resume(agent)

    def isolate(agent: AgentProcess) -> Callable[[], None]:
        network.isolate(cluster.hosts[agent])
        return network.heal

    def cut(sender: str, receiver: str) -> Callable[[AgentProcess], Callable[[], None]]:
        def begin(agent: AgentProcess) -> Callable[[], None]:
            hosts = {"agent": cluster.hosts[agent], "database": cluster.database_host, "store": cluster.store_host,
                     "clients": network.clients}
            network.cut(hosts[sender], hosts[receiver])
            return network.heal
        return begin

    found = {"kill -9": kill, "SIGSTOP": pause, "a vanished host": isolate}
    for peer in ("database", "store", "clients"):
        found[f"agent to {peer} cut"] = cut("agent", peer)
        found[f"{peer} to agent cut"] = cut(peer, "agent")
    return found
