"""A mix of all faults, one window after the other, a quarter of them quiet, while groups read and a topic is made and unmade.

The seed decides which fault, of which agent, and for how long; what it hits is up to the machine.
"""

import signal
import statistics
import time
from collections.abc import Callable

from agent_process import AgentProcess
from groups import Groups, Member
from recreated import Recreator
from trial import Trial, figure
from zombies import POINTS

QUIET, QUIET_SHARE = "quiet", 0.25
HEALED_S = 2
"""After each window, before the next."""
Heal = Callable[[], None]


def mix(trial: Trial) -> None:
    """Seeded windows, a quarter of them quiet: kill -9, pauses, cuts, lost answers, database and store away; groups, recreated topics."""
    cluster, dice = trial.cluster, trial.dice
    faults = _faults(trial, Groups(trial))
    Recreator(trial)
    until = time.monotonic() + trial.seconds
    while time.monotonic() < until:
        agent, length, name = dice.choice(cluster.agents), dice.uniform(1.0, 1.5 * cluster.lease_s), dice.choice(sorted(faults))
        if dice.random() < QUIET_SHARE:
            name = QUIET
        with trial.gap(f"in {length:.1f} s of {name}, {agent.folder.name}, and the {HEALED_S} s after it"):
            heal = faults[name](agent) if name != QUIET else lambda: None
            time.sleep(length)
            heal()
            cluster.supervise()
            time.sleep(HEALED_S)
        trial.windows[name] += 1
        if name != QUIET:
            trial.fault_gaps.append(trial.gaps[-1])
    began = time.monotonic()
    cluster.wait_ready(60)
    figure("all ready after the last window", time.monotonic() - began, 30)
    by_name = ", ".join(f"{count} {name}" for name, count in trial.windows.most_common())
    print(f"    {len(trial.fault_gaps)} fault windows ({by_name})")
    if trial.fault_gaps:
        print(f"    longest gaps of fault windows: {spread(trial.fault_gaps)}", flush=True)


def spread(gaps: list[float]) -> str:
    """Quantiles of gaps."""
    ordered = sorted(gaps)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"median {statistics.median(ordered):.2f} s, p99 {p99:.2f} s, highest {ordered[-1]:.2f} s"


def _faults(trial: Trial, groups: Groups) -> dict[str, Callable[[AgentProcess], Heal]]:
    """Each begins a fault, most of one agent, and returns what ends it."""
    return _of_processes(trial) | _of_the_network(trial) | _on_the_wire(trial) | _of_the_stores(trial) | {
        "a group's members hurt": lambda _: _hurt_member(trial, groups)}


def _of_processes(trial: Trial) -> dict[str, Callable[[AgentProcess], Heal]]:
    cluster = trial.cluster

    def kill(agent: AgentProcess) -> Heal:
        agent.kill()
        return lambda: agent.start(ready_within_s=60)

    def pause(agent: AgentProcess) -> Heal:
        cluster.pause(agent)
        return lambda: cluster.resume(agent)

    def pause_at(kind: str, moment: str) -> Callable[[AgentProcess], Heal]:
        def begin(agent: AgentProcess) -> Heal:
            proxy = cluster.proxies[kind]
            rule = proxy.rule(moment, "hold", times=1, who=agent.folder.name)
            stopped = proxy.first(rule, cluster.lease_s) is not None
            if stopped:
                cluster.pause(agent)

            def heal() -> None:
                proxy.forget(rule)
                if stopped:
                    cluster.resume(agent)
            return heal
        return begin

    points = {f"SIGSTOP {name}": pause_at(*where) for name, where in POINTS.items() if where[0] in cluster.proxies}
    return {"kill -9": kill, "SIGSTOP": pause} | points


def _of_the_network(trial: Trial) -> dict[str, Callable[[AgentProcess], Heal]]:
    cluster, network = trial.cluster, trial.cluster.network
    peers = {"database": cluster.database_host, "store": cluster.store_host, "clients": network.clients}

    def isolate(agent: AgentProcess) -> Heal:
        network.isolate(cluster.hosts[agent])
        return network.heal

    def cut(name: str, *ways: str) -> Callable[[AgentProcess], Heal]:
        def begin(agent: AgentProcess) -> Heal:
            host, peer = cluster.hosts[agent], peers[name]
            for sender, receiver in [(host, peer)] * ("to" in ways) + [(peer, host)] * ("from" in ways):
                network.cut(sender, receiver)
            return network.heal
        return begin

    found = {"a vanished host": isolate}
    for name in peers:
        found |= {f"agent to {name} cut": cut(name, "to"), f"{name} to agent cut": cut(name, "from"), f"agent and {name} cut": cut(name, "to", "from")}
    return found


def _on_the_wire(trial: Trial) -> dict[str, Callable[[AgentProcess], Heal]]:
    """Answers and requests of all agents, and what one sends or is sent, which arrives when it is over."""
    def late(kind: str, way: str) -> Callable[[AgentProcess], Heal]:
        def begin(agent: AgentProcess) -> Heal:
            trial.cluster.proxies[kind].cut(agent.folder.name, kind, way)
            return trial.cluster.proxies[kind].mend
        return begin

    def rules(kind: str, *wanted: tuple[str, str, float, tuple[float, float]]) -> Callable[[AgentProcess], Heal]:
        def begin(_: AgentProcess) -> Heal:
            proxy = trial.cluster.proxies[kind]
            made = [proxy.rule(moment, do, share=share, seconds=seconds) for moment, do, share, seconds in wanted]
            return lambda: proxy.forget(*made)
        return begin

    late_ways = {f"all {what} late": late(*where) for what, where in {
        "statements": ("postgres", "up"), "the database's answers": ("postgres", "down"), "requests to the store": ("s3", "up"),
        "the store's answers": ("s3", "down")}.items()}
    return late_ways | {"a fifth of COMMITs unanswered": rules("postgres", ("commit-answer", "lose", 0.2, (0, 0)), ("commit", "late", 0.05, (0, 3))),
            "renewals lost": rules("postgres", ("renewal-answer", "lose", 0.5, (0, 0))),
            "PUTs unanswered, or late": rules("s3", ("put-answer", "lose", 0.2, (0, 0)), ("put", "late", 0.1, (0, 6)))}


def _of_the_stores(trial: Trial) -> dict[str, Callable[[AgentProcess], Heal]]:
    cluster = trial.cluster

    def backends(_: AgentProcess) -> Heal:
        cluster.terminate_backends(0.5)
        return lambda: cluster.terminate_backends(1.0)

    def restart(_: AgentProcess) -> Heal:
        cluster.postgres.restart()
        return lambda: None

    def pause(_: AgentProcess) -> Heal:
        cluster.postgres.signal(signal.SIGSTOP)
        return lambda: cluster.postgres.signal(signal.SIGCONT)

    def faults(settings: str) -> Callable[[AgentProcess], Heal]:
        def begin(_: AgentProcess) -> Heal:
            cluster.store.faults(settings)
            return cluster.store.heal
        return begin

    return {"connections to the database terminated": backends, "the database restarted": restart, "the database stopped": pause,
            "the store refuses": faults("outage=refuse"), "the store says nothing": faults("outage=hang"),
            "a bad day of the store": faults("unavailable=0.2&lost=0.1&stall=0.02"),
            "objects read broken": faults("reset=0.2&short=0.2&wrong=0.2")}


def _hurt_member(trial: Trial, groups: Groups) -> Heal:
    members: list[Member] = [trial.dice.choice(groups.members) for _ in range(2)]
    numbers = [trial.dice.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)) for _ in members]
    if members[0] is members[1]:
        members.pop()
    for member, number in zip(members, numbers):
        member.signal(number)

    def heal() -> None:
        for member, number in zip(members, numbers):
            if number == signal.SIGSTOP:
                member.signal(signal.SIGCONT)
            else:
                member.start()
    return heal
