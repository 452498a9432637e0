"""Reads in the zone (KIP-392): three agents in three zones, consumers that name theirs, and how much later they see records.

    zones.py [--rate R] [--seconds S] [--put P50/P99] [--get P50/P99] [--kill]

Every zone has two librdkafka consumers of all partitions. Asked at the end: did each see every acked record once, in order; were
records that another zone leads read from the store about once per zone, whatever the number of consumers; did the
followers serve them at all. `--kill` ends one agent in the middle (kill -9) and starts it again.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from checker import OK, check
from cluster import Cluster
from lanes import IDEMPOTENT, RECONNECT, ProducerLane, read_log

TOPIC, PARTITIONS, ZONES = "zones", 9, ("a", "b", "c")
CONSUMERS_A_ZONE = 2


class ZoneConsumer(threading.Thread):
    """Reads all partitions from one zone; keeps what it saw, and how old each record was."""

    def __init__(self, kafka: str, zone: str):
        super().__init__(name=f"consumer in {zone}", daemon=True)
        self.zone, self.errors = zone, []
        self.seen: list[tuple[int, int, float]] = []
        self._stopped = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": "none", "enable.auto.commit": False,
                                   "auto.offset.reset": "error", "client.rack": zone, "fetch.wait.max.ms": 500, **RECONNECT})
        self._consumer.assign([TopicPartition(TOPIC, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])

    def run(self) -> None:
        """Every offset of a partition once, in order."""
        following = dict.fromkeys(range(PARTITIONS), 0)
        while not self._stopped.is_set():
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                if message.error().code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                    self.errors.append(f"{self.name}: false-out-of-range: {message.error()}")
                continue
            partition, offset = message.partition(), message.offset()
            if offset != following[partition]:
                self.errors.append(f"{self.name}: poll-skip: {partition}@{offset}, expected {following[partition]}")
            following[partition] = offset + 1
            self.seen.append((partition, offset, time.time() - message.timestamp()[1] / 1000))

    def finish(self, records: int, within_s: float) -> None:
        """Waits for the rest, then stops."""
        deadline = time.monotonic() + within_s
        while len(self.seen) < records and time.monotonic() < deadline:
            time.sleep(0.05)
        if len(self.seen) != records:
            self.errors.append(f"{self.name}: unseen: {len(self.seen)} of {records} records")
        self._stopped.set()
        self.join()
        self._consumer.close()


def leaders(cluster: Cluster) -> dict[int, str]:
    """The zone of each partition's leader; every partition must have a replica in every zone."""
    rows = cluster.sql(f"SELECT p.partition, s.zone FROM partitions AS p JOIN sessions AS s USING (session) "
                       f"JOIN topics AS t USING (organization, topic_id) WHERE t.name = '{TOPIC}'")
    metadata = AdminClient({"bootstrap.servers": cluster.kafka}).list_topics(TOPIC, timeout=10).topics[TOPIC]
    for partition in metadata.partitions.values():
        if len(set(partition.replicas)) != len(ZONES):
            raise RuntimeError(f"partition {partition.id} has replicas {partition.replicas}")
    return {int(partition): zone for partition, zone in rows}


def total(agent, name: str) -> float:
    """Sum over all series of a metric."""
    return sum(value for series, value in agent.metrics().items() if series.partition("{")[0] == name)


def ages(consumers: list[ZoneConsumer], led_by: dict[int, str], own_zone: bool) -> str:
    """p50 and p99 of the age of records led in the consumer's own zone, or in another one."""
    found = sorted(age for consumer in consumers for partition, _, age in consumer.seen
                   if (led_by[partition] == consumer.zone) == own_zone)
    cuts = statistics.quantiles(found, n=100)
    return f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms of {len(found)} records"


def run(options: argparse.Namespace, cluster: Cluster) -> list[str]:
    """Complaints."""
    for zone in ZONES:
        cluster.add({"AGENT_ZONE": zone})
    cluster.start()
    cluster.store.faults(f"put={options.put}&get={options.get}")
    cluster.wait_ready(20)
    admin = AdminClient({"bootstrap.servers": cluster.kafka, "log_level": 0})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, -1)])[TOPIC].result(20)
    led_by = leaders(cluster)
    lanes = [ProducerLane(f"idempotent{i}", cluster.kafka, TOPIC, PARTITIONS, options.rate / 3, IDEMPOTENT) for i in range(3)]
    consumers = [ZoneConsumer(cluster.kafka, zone) for zone in ZONES for _ in range(CONSUMERS_A_ZONE)]
    for thread in (*consumers, *lanes):
        thread.start()
    if options.kill:
        time.sleep(options.seconds / 3)
        cluster.agents[0].kill()
        time.sleep(options.seconds / 3)
        cluster.agents[0].start()
        time.sleep(options.seconds / 3)
    else:
        time.sleep(options.seconds)
    for lane in lanes:
        lane.finish(60)
    log = read_log(cluster.kafka, TOPIC, PARTITIONS, 60)
    for consumer in consumers:
        consumer.finish(len(log), 30)
    sends = [send for lane in lanes for send in lane.sends.values()]
    complaints = [f"{a.kind}: {a.what}" for a in check(sends, log)]
    complaints += [error for one in (*consumers, *lanes) for error in getattr(one, "errors", None) or getattr(one, "fatal", [])]
    if any(send.outcome != OK for send in sends):
        complaints.append("a producer gave up on a record")
    print(f"    {len(sends)} records, {len(consumers)} consumers; read where they are led: {ages(consumers, led_by, True)}")
    print(f"    read in another zone: {ages(consumers, led_by, False)}")
    if not options.kill:
        put = sum(total(agent, "streamhouse_object_put_bytes_total") for agent in cluster.agents)
        got = sum(total(agent, "streamhouse_object_get_bytes_total") for agent in cluster.agents)
        served = sum(agent.metrics().get('streamhouse_fetch_source_bytes_total{source="store"}', 0) for agent in cluster.agents)
        other = len(ZONES) - 1
        print(f"    written {put / 1e6:.1f} MB; read from the store {got / 1e6:.1f} MB: {got / (put * other):.2f} times "
              f"per other zone; served from what was read {served / 1e6:.1f} MB")
        if served < put * other:
            complaints.append("consumers were not served in their zones")
        if got > put * other * 1.5:
            complaints.append("records were read from the store more than once per zone")
    return complaints


def main() -> int:
    """Exit code 1 with a complaint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=900, help="records a second in all")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--put", default="0/0", help="milliseconds of a PUT, p50/p99")
    parser.add_argument("--get", default="0/0")
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="streamhouse-zones-"))
    print(f"zones: {options.rate:.0f} records/s, PUT {options.put} ms, GET {options.get} ms"
          f"{', one agent killed' if options.kill else ''}", flush=True)
    cluster = Cluster(folder, 0, 30.0, "s3")
    try:
        complaints = run(options, cluster)
    finally:
        cluster.end()
    print("".join(f"  {line}\n" for line in complaints[:15]), end="")
    if complaints:
        print(f"zones: FAIL, {len(complaints)} complaints, data kept in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print("zones: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
