"""A real Apache Kafka on loopback: KRaft, one node that is broker and controller, defaults but for what one node needs."""

import os
import socket
import subprocess
import time
from pathlib import Path

from agent_process import ROOT, free_ports

TOOLS = Path(os.environ.get("STREAMHOUSE_TOOLS", ROOT / "target" / "compat"))
JARS = TOOLS / "oracle" / "jars"
"""Of the Kafka whose protocol the agent speaks."""
# What Kafka's own kafka-server-start gives its JVM.
JVM = ("-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
       "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true")
STARTED = "Kafka Server started"
READY_WITHIN_S = 120
CLUSTER_ID = "c3RyZWFtaG91c2Vfa2Fma2"
NODE = ("process.roles=broker,controller", "node.id=1", "controller.listener.names=CONTROLLER", "offsets.topic.replication.factor=1",
        "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
        "share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1")


class KafkaProcess:
    """`start`, `terminate`, `kill`; `address` is where clients find it. Ends only the process it started."""

    def __init__(self, folder: Path, jars: Path = JARS, settings: tuple[str, ...] = ()):
        self.folder, self._jars = folder, jars
        self.process: subprocess.Popen | None = None
        client, controller = free_ports(2)
        self.address = f"127.0.0.1:{client}"
        lines = (*NODE, f"controller.quorum.voters=1@127.0.0.1:{controller}", f"log.dirs={folder / 'data'}",
                 f"listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}", *settings)
        folder.mkdir(parents=True, exist_ok=True)
        self._properties, self._log = folder / "server.properties", folder / "kafka.log"
        self._properties.write_text("\n".join(lines) + "\n")

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self.process is not None
        return self.process.pid

    def _java(self, main: str, *arguments: object, options: tuple[str, ...] = ("-Xmx256M",)) -> list[str]:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", *options, quiet, "-cp", f"{self._jars}/*", main, *map(str, arguments)]

    def start(self) -> None:
        """Ready when its log says so and its port answers."""
        if not (self.folder / "data").exists():
            command = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", self._properties)
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
            if done.returncode != 0:
                raise RuntimeError(f"Kafka's folder could not be formatted: {done.stdout[-2000:]}")
        self._log.write_text("")
        told = "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._java("kafka.Kafka", self._properties, options=(*JVM, told)), cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_WITHIN_S
        while STARTED not in self._log.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"Kafka did not start: {self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        host, port = self.address.split(":")
        socket.create_connection((host, int(port)), timeout=10).close()

    def terminate(self) -> None:
        """SIGTERM, and waits: its logs are clean then."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(120)

    def kill(self) -> None:
        """At once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
