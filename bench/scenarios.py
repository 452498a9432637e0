"""What is measured of a broker: each scenario warms it up with the load that follows, then measures."""

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable

import clients
from brokers import Broker
from figures import IDEMPOTENT

KIB, SMALL = 1024, 100
GIB = 1 << 30
TAIL_BYTES = 24 << 20  # what every broker still has in memory when it was just written
COLD_BYTES = 2 << 30
NOT_IDEMPOTENT = "enable.idempotence=false"
Figures = dict[str, float]


@dataclass
class Scenario:
    """`run` takes a started broker that has the topic, and how long to warm up and to measure."""
    name: str
    partitions: int
    size: int
    run: Callable[[Broker, float, float], Figures]


@contextmanager
def metered(broker: Broker, size: int):
    """Gives a dict; what a client puts into it is completed with what the broker used meanwhile."""
    broker.forget_highest()
    figures: Figures = {}
    before, began = broker.usage(), time.monotonic()
    yield figures
    elapsed, after = time.monotonic() - began, broker.usage()
    taken = figures.pop("records") * size
    figures["MB/s"] = figures["records/s"] * size / 1e6
    figures["broker CPU s/GiB"] = (after.cpu_s - before.cpu_s) / taken * GIB
    figures["broker CPU %"] = (after.cpu_s - before.cpu_s) / elapsed * 100
    figures["memory, highest MB"] = after.highest_mb
    figures["memory, at end MB"] = after.resident_mb
    figures["written per byte"] = (after.written - before.written) / taken
    figures["store requests/s"] = (after.requests - before.requests) / elapsed
    figures["metadata transactions/s"] = (after.transactions - before.transactions) / elapsed


def bulk(partitions: int, size: int) -> Scenario:
    """One librdkafka producer as fast as it goes."""
    def run(broker: Broker, warm: float, seconds: float) -> Figures:
        clients.produce(broker.address, partitions, size, warm)
        with metered(broker, size) as figures:
            figures |= clients.produce(broker.address, partitions, size, seconds)
        return figures
    return Scenario(f"bulk, {named(size)}, {partitions:,} partitions", partitions, size, run)


def java_bulk(partitions: int, size: int) -> Scenario:
    """ProducerPerformance as fast as it goes, batches as large as in `bulk`."""
    settings = ("linger.ms=20", "batch.size=1000000", "buffer.memory=134217728")

    def run(broker: Broker, warm: float, seconds: float) -> Figures:
        clients.produce(broker.address, partitions, size, warm)
        first = clients.java_produce(broker.address, size, -1, 50_000, 50_000, settings)["records/s"]  # of a cold JVM: some half
        with metered(broker, size) as figures:
            figures |= clients.java_produce(broker.address, size, -1, int(2 * first * seconds), int(2 * first * warm), settings)
        return figures
    return Scenario(f"bulk, {named(size)}, {partitions:,} partitions, Java", partitions, size, run)


def at_rate(rate: int, settings: tuple[str, ...], how: str, kind: str = "produce") -> Scenario:
    """1 KiB records at a rate over eight partitions."""
    def run(broker: Broker, warm: float, seconds: float) -> Figures:
        clients.paced(broker.address, 8, KIB, rate, warm, settings, kind)
        with metered(broker, KIB) as figures:
            figures |= clients.paced(broker.address, 8, KIB, rate, seconds, settings, kind)
        return figures
    return Scenario(f"{'end to end, ' if kind == 'e2e' else ''}{rate:,}/s, {how}", 8, KIB, run)


def java_at_rate(rate: int, linger_ms: int) -> Scenario:
    """The same by ProducerPerformance, idempotent as it is by default."""
    def run(broker: Broker, warm: float, seconds: float) -> Figures:
        clients.paced(broker.address, 8, KIB, rate, warm, (f"linger.ms={linger_ms}",))
        with metered(broker, KIB) as figures:
            figures |= clients.java_produce(broker.address, KIB, rate, int(rate * seconds), int(rate * warm), (f"linger.ms={linger_ms}",))
        return figures
    return Scenario(f"{rate:,}/s, linger {linger_ms}, Java", 8, KIB, run)


def sequential(broker: Broker, warm: float, seconds: float) -> Figures:
    """One record in flight."""
    settings = ("linger.ms=0", NOT_IDEMPOTENT)
    clients.one_in_flight(broker.address, KIB, warm, settings)
    with metered(broker, KIB) as figures:
        figures |= clients.one_in_flight(broker.address, KIB, seconds, settings)
    return figures


def java_end_to_end(broker: Broker, warm: float, seconds: float) -> Figures:
    """EndToEndLatency, which commits offsets and cannot leave its own warm-up out."""
    clients.one_in_flight(broker.address, KIB, warm, ("linger.ms=0", NOT_IDEMPOTENT))
    with metered(broker, KIB) as figures:
        figures |= clients.java_end_to_end(broker.address, KIB, int(500 * seconds) + 100)
    return figures


def write(broker: Broker, size: int, wanted: int) -> int:
    """Fills eight partitions; how many records that are."""
    records = wanted // size
    clients.load("produce", broker.address, 8, records, size, 0, *clients.FAST)
    return records


def tail(size: int, readers: int) -> Scenario:
    """The newest records, read over and over."""
    def run(broker: Broker, warm: float, seconds: float) -> Figures:
        records = write(broker, size, TAIL_BYTES)
        clients.read(broker.address, 8, records, warm, readers)
        with metered(broker, size) as figures:
            figures |= clients.read(broker.address, 8, records, seconds, readers)
        return figures
    return Scenario(f"read tail, {named(size)}, {readers} reader{'s' if readers > 1 else ''}", 8, size, run)


def cold(broker: Broker, warm: float, seconds: float) -> Figures:
    """All that was written, once, by a broker that was restarted and whose files have left the page cache. Nothing is warmed
    up."""
    records = write(broker, KIB, min(COLD_BYTES, int(seconds * COLD_BYTES / 5)))
    broker.stop()
    broker.forget_pages()
    broker.start()
    with metered(broker, KIB) as figures:
        figures |= clients.read(broker.address, 8, records, 0)
    return figures


def java_tail(broker: Broker, warm: float, seconds: float) -> Figures:
    """ConsumerPerformance over what was just written, once; of brokers that have consumer groups."""
    records = write(broker, KIB, int(seconds * (256 << 20)))
    with metered(broker, KIB) as figures:
        figures |= clients.java_read(broker.address, records)
    return figures


def named(size: int) -> str:
    """100 B, 1 KiB."""
    return f"{size >> 10} KiB" if size % KIB == 0 else f"{size} B"


SCENARIOS = [
    *(bulk(partitions, size) for partitions in (8, 1000) for size in (KIB, SMALL)),
    *(java_bulk(partitions, size) for partitions in (8, 1000) for size in (KIB, SMALL)),
    at_rate(10_000, ("linger.ms=0", NOT_IDEMPOTENT), "linger 0"),
    at_rate(10_000, ("linger.ms=0", IDEMPOTENT), "linger 0, idempotent"),
    java_at_rate(10_000, 0),
    at_rate(50_000, ("linger.ms=5", IDEMPOTENT), "linger 5, idempotent"),
    java_at_rate(50_000, 5),
    Scenario("one in flight", 1, KIB, sequential),
    at_rate(10_000, ("producer:linger.ms=0", "producer:" + NOT_IDEMPOTENT), "linger 0", "e2e"),
    at_rate(50_000, ("producer:linger.ms=5", "producer:" + IDEMPOTENT), "linger 5", "e2e"),
    at_rate(100, ("producer:linger.ms=0", "producer:" + NOT_IDEMPOTENT), "linger 0", "e2e"),
    Scenario("end to end, one in flight, Java", 1, KIB, java_end_to_end),
    tail(KIB, 1),
    tail(KIB, 4),
    tail(SMALL, 1),
    Scenario("read, just written, Java", 8, KIB, java_tail),
    Scenario("read cold, 1 KiB", 8, KIB, cold),
]
