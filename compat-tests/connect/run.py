"""Kafka Connect, distributed: a file source and a file sink on two workers, one of which dies; restarted, it resumes."""

import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from agent_process import free_ports
from checks import KAFKA, check, expect, fresh_name, run_checks
from programs import GET_THEM, TOOLS, give_up

JARS = TOOLS / "connect" / "jars"
WAIT_S = 90


def until(what: str, condition: Callable[[], bool]) -> None:
    """Waits for a condition; an answer that is refused or not there counts as no."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if condition():
                return
        except (OSError, KeyError, urllib.error.URLError):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.2)


class Worker:
    """One process of Connect, with its REST interface."""

    def __init__(self, folder: Path, cluster: str):
        self.rest = f"http://127.0.0.1:{free_ports(1)[0]}"
        self.log = folder / f"{self.rest[-5:]}.log"
        self._properties = folder / f"{self.rest[-5:]}.properties"
        converters = {f"{kind}.converter": "org.apache.kafka.connect.storage.StringConverter" for kind in ("key", "value")}
        topics = {f"{kind}.storage.{what}": value for kind in ("config", "offset", "status")
                  for what, value in (("topic", f"{cluster}-{kind}"), ("replication.factor", 1))}
        settings = {"bootstrap.servers": KAFKA, "group.id": cluster, "listeners": self.rest, **converters, **topics,
                    "plugin.discovery": "service_load", "offset.flush.interval.ms": 500, "scheduled.rebalance.max.delay.ms": 1000,
                    "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000, "consumer.auto.offset.reset": "earliest"}
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.process: subprocess.Popen | None = None

    def start(self) -> "Worker":
        """Returns at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx384m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                 "-cp", f"{JARS}/*", "org.apache.kafka.connect.cli.ConnectDistributed", self._properties],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def end(self, kill: bool = False) -> None:
        """SIGTERM, or SIGKILL."""
        if self.process:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(60)

    def ask(self, method: str, path: str, body: object = None) -> object:
        """One request to the REST interface."""
        request = urllib.request.Request(f"{self.rest}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def workers_of(self, connector: str) -> set[str]:
        """The ids of the workers on which all of the connector runs; empty while some of it does not."""
        status = self.ask("GET", f"/connectors/{connector}/status")
        parts = [status["connector"], *status["tasks"]]
        runs = status["tasks"] and all(part["state"] == "RUNNING" for part in parts)
        return {part["worker_id"] for part in status["tasks"]} if runs else set()

    def put(self, connector: str, config: dict[str, object]) -> None:
        """Creates or alters a connector; again while the workers rebalance."""
        def done() -> bool:
            self.ask("PUT", f"/connectors/{connector}/config", config)
            return True
        until(f"{connector} is accepted", done)


@check("lines go from a file through a topic to a file, over two workers, a death, and a restart of both")
def lines() -> None:
    with tempfile.TemporaryDirectory(prefix="compat-connect-") as name:
        folder, topic, cluster = Path(name), fresh_name("lines"), fresh_name("connect")
        source, sink = folder / "source.txt", folder / "sink.txt"
        workers = [Worker(folder, cluster) for _ in range(2)]
        written = 0

        def write_more(step: str) -> None:
            nonlocal written
            with source.open("a") as file:
                file.writelines(f"line-{i}\n" for i in range(written, written + 100))
            written += 100
            until(f"{step}: all of {written} lines arrived", lambda: len(set(sink.read_text().splitlines())) >= written)

        try:
            for worker in workers:
                worker.start()
            first, second = workers
            until("both answer", lambda: all(worker.ask("GET", "/connectors") == [] for worker in workers))
            plain = "org.apache.kafka.connect.file.FileStream"
            first.put("source", {"connector.class": f"{plain}SourceConnector", "tasks.max": 1, "file": str(source), "topic": topic})
            second.put("sink", {"connector.class": f"{plain}SinkConnector", "tasks.max": 1, "file": str(sink), "topics": topic})
            until("both connectors run", lambda: bool(first.workers_of("source")) and bool(first.workers_of("sink")))
            write_more("two workers")
            expect(len(sink.read_text().splitlines()), written, "lines before the death")
            second.end(kill=True)
            alone = {first.rest.removeprefix("http://")}
            until("the first has all tasks", lambda: first.workers_of("source") == alone and first.workers_of("sink") == alone)
            write_more("one worker")
            first.end()
            expect(sink.read_text().splitlines()[-100:], [f"line-{i}" for i in range(written - 100, written)], "the last lines")
            before = len(sink.read_text().splitlines())
            second.start()
            until("the other has all tasks", lambda: bool(second.workers_of("source")) and bool(second.workers_of("sink")))
            write_more("after a restart")
            expect(len(sink.read_text().splitlines()), before + 100, "lines after the restart")
        except AssertionError as error:
            logs = " ".join(worker.log.read_text()[-300:] for worker in workers if worker.log.exists())
            raise AssertionError(f"{error} {logs}") from None
        finally:
            for worker in workers:
                worker.end(kill=True)


if __name__ == "__main__":
    if not JARS.exists():
        give_up("connect", f"no jars: {GET_THEM}")
    run_checks()
