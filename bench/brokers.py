"""The brokers that are measured, each one process on an empty folder: Apache Kafka as it comes, the same with every append
synced, and the agent. What one of them has used is read from /proc, for all three alike."""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from agent_process import ROOT, AgentProcess
from figures import COMMITS, TOPIC, total
from kafka_process import KafkaProcess

JARS = Path(os.environ.get("STREAMHOUSE_TOOLS", ROOT / "target" / "compat")) / "kafka" / "jars"
DURABLE = "log.flush.interval.messages=1"


def java(main: str, *arguments: object, options: tuple[str, ...] = ("-Xmx1G", "-XX:+UseG1GC")) -> list[str]:
    """The command line of one of Kafka's programs."""
    if not JARS.exists():
        raise RuntimeError("Apache Kafka is not here: run scripts/setup.sh --kafka")
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", *options, quiet, "-cp", f"{JARS}/*", main, *map(str, arguments)]


def kafka_version() -> str:
    """From the name of its jar."""
    return next((jar.stem.removeprefix("kafka-clients-") for jar in JARS.glob("kafka-clients-*.jar")), "none")


@dataclass
class Usage:
    """What a broker has used since its start; requests and transactions are the agent's alone."""
    cpu_s: float
    resident_mb: float
    highest_mb: float
    written: int
    requests: float
    transactions: float


class Broker:
    """`start`, `stop` (drained), `kill`; `address` is Kafka's. Subclasses run the process."""

    name = ""
    address = ""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def pid(self) -> int:
        """Of the one process."""
        raise NotImplementedError

    def counters(self) -> tuple[float, float]:
        """Object-store requests and metadata transactions so far."""
        return 0.0, 0.0

    def usage(self) -> Usage:
        """Read from /proc."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        written = dict(line.split(": ") for line in Path(f"/proc/{self.pid}/io").read_text().splitlines())["write_bytes"]
        resident, highest = (int(status[field].split()[0]) * 1024 / 1e6 for field in ("VmRSS", "VmHWM"))
        cpu_s = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        return Usage(cpu_s, resident, highest, int(written), *self.counters())

    def forget_highest(self) -> None:
        """The highest resident memory counts from now on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def create_topic(self, partitions: int, configs: dict[str, str] | None = None) -> None:
        """The topic of all loads."""
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        topic = NewTopic(TOPIC, partitions, 1, config=configs or {})
        admin.create_topics([topic], operation_timeout=60, request_timeout=90)[TOPIC].result(120)
        deadline = time.monotonic() + 60
        while True:  # every partition has a leader
            described = admin.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions
            if len(described) == partitions and all(p.leader >= 0 and p.error is None for p in described.values()):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: {TOPIC} has not got all of its leaders in 60 s")
            time.sleep(0.2)

    def forget_pages(self) -> None:
        """The broker's files leave the page cache."""
        os.sync()
        for path in self.folder.rglob("*"):
            if path.is_file():
                file = os.open(path, os.O_RDONLY)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)

    def forget(self) -> None:
        """Empties every file and leaves it: ext4 creates files slowly for minutes after many were deleted."""
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                os.truncate(path, 0)
        os.sync()


class Agent(Broker):
    """target/release/agent with default settings, a local store and SQLite."""

    name = "agent"

    def __init__(self, folder: Path, settings: dict[str, str] | None = None, binary: Path | None = None):
        super().__init__(folder)
        self.process = AgentProcess(folder, binary, settings=settings)
        self.address = self.process.kafka

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        """Ready when it says so."""
        self.process.start()

    def stop(self) -> None:
        """Drained."""
        self.process.terminate()

    def kill(self) -> None:
        """At once."""
        self.process.kill()

    def counters(self) -> tuple[float, float]:
        metrics = self.process.metrics()
        requests = sum(total(metrics, f"streamhouse_object_{kind}_seconds_count") for kind in ("put", "get", "delete", "list"))
        return requests, total(metrics, COMMITS)


class Kafka(Broker):
    """Apache Kafka as it comes."""

    name = "Kafka"
    settings: tuple[str, ...] = ()

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.process = KafkaProcess(folder, JARS, self.settings)
        self.address = self.process.address

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        """Ready when its log says so and its port answers."""
        self.process.start()

    def stop(self) -> None:
        """Drained, its logs clean."""
        self.process.terminate()

    def kill(self) -> None:
        """At once."""
        self.process.kill()


class DurableKafka(Kafka):
    """Every append is synced before it is acked: what the agent promises."""

    name = "durable Kafka"
    settings = (DURABLE,)


BROKERS: tuple[type, ...] = (Kafka, DurableKafka, Agent)


def new_broker(kind: Callable[[Path], Broker], parent: str) -> Broker:
    """Started, on an empty folder."""
    broker = kind(Path(tempfile.mkdtemp(prefix="broker-", dir=parent)))
    try:
        broker.start()
    except (RuntimeError, OSError, KafkaException):
        broker.kill()
        raise
    return broker


def disk_used(folder: Path) -> int:
    """Bytes that the folder takes on the disk."""
    used = 0
    for path in folder.rglob("*"):
        try:
            used += path.stat().st_blocks * 512
        except FileNotFoundError:  # deleted since it was listed
            continue
    return used


def free_bytes(folder: str) -> int:
    """What the disk has left."""
    return shutil.disk_usage(folder).free
