"""Reads in the zone (KIP-392): every agent in a zone of its own, consumers that name theirs, and how much later they see records.

Two zones have two librdkafka consumers each, the third has a Java one. Records that another zone leads must be read from the
store about once per zone, whatever the number of consumers, and be served there.
"""

import statistics
import time

from confluent_kafka.admin import AdminClient

from cluster import Cluster
from lanes import FollowingConsumer
from scenarios import ZONES
from trial import TOPIC, Trial
from with_clients import java_client

JAVA_ZONE = "c"
CATCH_UP_S, QUIET_S = 3, 8


def give_zones(cluster: Cluster) -> None:
    """Before the start: a zone for each agent."""
    for agent, zone in zip(cluster.agents, ZONES):
        agent.add_settings({"AGENT_ZONE": zone})


def zones(trial: Trial) -> None:
    """Consumers read in their zones, go on when an agent of theirs dies, and cost one read per zone."""
    cluster, load = trial.cluster, trial.load
    led_by = _leaders(trial)
    before = _bytes(cluster)
    consumers = [FollowingConsumer(load.kafka, load.topic, load.partitions, load.recorder, f"zone-{zone}-{number}", zone)
                 for zone in ZONES if zone != JAVA_ZONE for number in range(2)]
    for consumer in consumers:
        consumer.start()
    load.followers += consumers
    with java_client(trial, JAVA_ZONE):
        # What was written before they came is old when it is read.
        time.sleep(CATCH_UP_S)
        for consumer in consumers:
            consumer.ages.clear()
        time.sleep(QUIET_S)
        _print_ages(consumers, led_by)
        put, got, served = (after - earlier for after, earlier in zip(_bytes(cluster), before))
        others = len(ZONES) - 1
        print(f"    written {put / 1e6:.1f} MB, read from the store {got / 1e6:.1f} MB: {got / put / others:.2f} times per other zone; "
              f"served from what was read {served / 1e6:.1f} MB", flush=True)
        if got > put * others * 1.5:
            raise RuntimeError("records were read from the store more than once per zone")
        java_agent = cluster.agents[ZONES.index(JAVA_ZONE)]
        if _served(java_agent) == 0 or served < put * others:
            raise RuntimeError("consumers were not served in their zones")
        agent = next(trial.to_hurt())
        with trial.gap("after kill -9 of an agent that others read from"):
            agent.kill()
            time.sleep(4)
        agent.start()
        cluster.wait_ready(20)
        time.sleep(2)


def _leaders(trial: Trial) -> dict[int, str]:
    """The zone of each partition's leader. Every partition must have a replica in every zone."""
    metadata = AdminClient({"bootstrap.servers": trial.cluster.kafka}).list_topics(TOPIC, timeout=10).topics[TOPIC]
    for partition in metadata.partitions.values():
        if len(set(partition.replicas)) != len(ZONES):
            raise RuntimeError(f"partition {partition.id} has replicas {partition.replicas}")
    rows = trial.cluster.sql("SELECT p.partition, s.zone FROM partitions AS p JOIN sessions AS s USING (session) "
                             f"JOIN topics AS t USING (organization, topic_id) WHERE t.name = '{TOPIC}'")
    return {int(partition): zone for partition, zone in rows}


def _served(agent) -> float:
    return agent.metrics().get('streamhouse_fetch_source_bytes_total{source="store"}', 0)


def _bytes(cluster: Cluster) -> tuple[float, float, float]:
    """Bytes written to the store, read from it, and served from what was read."""
    metrics = [agent.metrics() for agent in cluster.agents]
    total = lambda name: sum(value for m in metrics for series, value in m.items() if series.partition("{")[0] == name)
    return (total("streamhouse_object_put_bytes_total"), total("streamhouse_object_get_bytes_total"),
            sum(_served(agent) for agent in cluster.agents))


def _print_ages(consumers: list[FollowingConsumer], led_by: dict[int, str]) -> None:
    """How old records were when they were read where they are led, and in another zone."""
    for where, own in (("where they are led", True), ("in another zone", False)):
        ages = [age for c in consumers for partition, age in list(c.ages) if (led_by[partition] == c.rack) == own]
        cuts = statistics.quantiles(ages, n=100)
        print(f"    age of records read {where}: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms", flush=True)
