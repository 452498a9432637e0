"""Scenarios in which nothing arrives: a host that vanishes, single ways that are cut (network.py)."""

import time

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
