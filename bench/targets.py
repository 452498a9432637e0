"""The figures that were asked for, judged by what was measured; one that lacks what it is judged by is left out."""

from dataclasses import dataclass

KAFKA, DURABLE, AGENT = "Kafka", "durable Kafka", "agent"


@dataclass
class Row:
    """One figure."""
    figure: str
    asked: str
    measured: str
    reached: bool


def _lacks(*values: float | None) -> bool:
    return any(value is None for value in values)


def _produce(results) -> list[Row]:
    rows = []
    disk = results.limits.get("disk, synced sequential writes, MB/s")
    for partitions in (8, 1000):
        for size, name, share in ((1024, "1 KiB", 0.6), (100, "100 B", 0.85)):
            scenario = f"bulk, {name}, {partitions:,} partitions"
            kafka, durable, agent = (results.figure(scenario, broker, "records/s") for broker in (KAFKA, DURABLE, AGENT))
            client = results.limits.get(f"client into a discarding broker, {name}, {partitions:,} partitions, records/s")
            if not _lacks(agent, durable):
                rows.append(Row(scenario, "≥ 2 × durable Kafka", f"{agent / durable:.2f} ×", agent >= 2 * durable))
            if not _lacks(agent, kafka, client):
                least = min(1.2 * kafka, 0.9 * client)
                rows.append(Row(scenario, f"≥ min(1.2 × Kafka, 0.9 × what the client can send) = {least:,.0f}/s",
                                f"{agent:,.0f}/s ({agent / kafka:.2f} × Kafka)", agent >= least))
            if not _lacks(agent, client, disk):
                of_client, of_disk = share * client, 0.8 * disk * 1e6 / size
                asked = f"{share:.0%} of the client into a discarding broker"
                if of_disk < of_client:
                    asked = "80 % of the disk's synced bandwidth"
                got = f"{agent:,.0f}/s ({agent / client:.0%} of the client, {agent * size / 1e6 / disk:.0%} of the disk)"
                least = min(of_client, of_disk)
                rows.append(Row(scenario, f"≥ {asked} = {least:,.0f}/s", got, agent >= least))
    return rows


def _broker_costs(results) -> list[Row]:
    rows = []
    for scenario in results.measured:
        kafka, agent = (results.figure(scenario, broker, "broker CPU s/GiB") for broker in (KAFKA, AGENT))
        if not _lacks(kafka, agent) and kafka > 0:
            rows.append(Row(f"CPU per GiB: {scenario}", "≤ 1/3 of Kafka's", f"{agent:.2f} s, {agent / kafka:.2f} ×", agent <= kafka / 3))
        kafka, agent = (results.figure(scenario, broker, "memory, highest MB") for broker in (KAFKA, AGENT))
        if not _lacks(kafka, agent):
            rows.append(Row(f"memory: {scenario}", "≤ 1/8 of Kafka's", f"{agent:.0f} MB, 1/{kafka / agent:.1f}", agent <= kafka / 8))
    return rows


def _below(results, scenario: str, figure: str, most: float, strictly: bool = False) -> list[Row]:
    agent = results.figure(scenario, AGENT, figure)
    if agent is None:
        return []
    asked, reached = (f"< {most:g} ms", agent < most) if strictly else (f"≤ {most:g} ms", agent <= most)
    return [Row(f"{scenario}: {figure[:-3]}", asked, f"{agent:.2f} ms", reached)]


def _latency(results) -> list[Row]:
    rows = []
    for scenario in ("10,000/s, linger 0", "10,000/s, linger 0, idempotent", "10,000/s, linger 0, Java"):
        rows += _below(results, scenario, "p50 ms", 2) + _below(results, scenario, "p99 ms", 6)
    scenario = "end to end, 10,000/s, linger 0"
    rows += _below(results, scenario, "p50 ms", 3) + _below(results, scenario, "p99 ms", 8)
    for scenario, most in (("50,000/s, linger 5, idempotent", 10), ("50,000/s, linger 5, Java", 10),
                           ("end to end, 50,000/s, linger 5", 15)):
        rows += _below(results, scenario, "p99 ms", most, strictly=True)
        durable, agent = (results.figure(scenario, broker, "p99 ms") for broker in (DURABLE, AGENT))
        if not _lacks(durable, agent):
            rows.append(Row(f"{scenario}: p99", f"≤ durable Kafka's, {durable:.2f} ms", f"{agent:.2f} ms", agent <= durable))
    agent = results.figure("one in flight", AGENT, "p50 ms")
    sync = results.limits.get("sync, new file of 4 KiB with its name, p50 ms")
    commit = results.limits.get("metadata commit, p50 ms")
    if not _lacks(agent, sync, commit):
        most = 1.5 * (sync + commit)
        asked = f"≤ 1.5 × (file sync {sync:.2f} + commit {commit:.2f}) = {most:.2f} ms"
        rows.append(Row("one in flight: p50", asked, f"{agent:.2f} ms", agent <= most))
    return rows


def _reads(results) -> list[Row]:
    rows = []
    for name in ("1 KiB", "100 B"):
        kafka, agent = (results.figure(f"read tail, {name}, 1 reader", broker, "records/s") for broker in (KAFKA, AGENT))
        client = results.limits.get(f"client from a broker that repeats, {name}, records/s")
        if not _lacks(kafka, agent, client):
            least = min(1.2 * kafka, 0.9 * client)
            rows.append(Row(f"read tail, {name}", f"≥ min(1.2 × Kafka, 0.9 × what the client can take) = {least:,.0f}/s",
                            f"{agent:,.0f}/s ({agent / kafka:.2f} × Kafka)", agent >= least))
    one, four = (results.figure(f"read tail, 1 KiB, {readers}", AGENT, "records/s") for readers in ("1 reader", "4 readers"))
    client = results.limits.get("four clients from a broker that repeats, 1 KiB, records/s")
    if not _lacks(one, four, client):
        least = min(3 * one, 0.9 * client)
        rows.append(Row("read tail, 4 readers", f"≥ 3 × one reader's, or 0.9 × what four clients can take = {least:,.0f}/s",
                        f"{four:,.0f}/s ({four / one:.2f} × one)", four >= least))
    agent = results.figure("read cold, 1 KiB", AGENT, "MB/s")
    disk = results.limits.get("disk, sequential reads past the page cache, MB/s")
    if not _lacks(agent, disk):
        rows.append(Row("read cold", f"≥ 80 % of the disk's reads = {0.8 * disk:,.0f} MB/s", f"{agent:,.0f} MB/s", agent >= 0.8 * disk))
    return rows


def rows(results) -> list[Row]:
    """In the order they were asked for."""
    return _produce(results) + _broker_costs(results) + _latency(results) + _reads(results)
