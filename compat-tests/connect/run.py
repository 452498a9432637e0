"""Kafka Connect, distributed: a file source and a file sink on two workers, one of which dies; restarted, it resumes from what
compaction left of its own topics."""

import tempfile
from pathlib import Path

from checks import KAFKA, check, expect, fresh_name, run_checks
from programs import GET_THEM, TOOLS, give_up
from rest_program import COMPACTED_SOON, RestProgram, taken_out, until

JARS = TOOLS / "connect" / "jars"
OWN_TOPICS = ("config", "offset", "status")


class Worker(RestProgram):
    """One process of Connect."""

    def __init__(self, folder: Path, cluster: str):
        super().__init__(folder)
        converters = {f"{kind}.converter": "org.apache.kafka.connect.storage.StringConverter" for kind in ("key", "value")}
        topics = {f"{kind}.storage.{what}": value for kind in OWN_TOPICS
                  for what, value in {"topic": f"{cluster}-{kind}", "replication.factor": 1, **COMPACTED_SOON}.items()}
        settings = {"bootstrap.servers": KAFKA, "group.id": cluster, "listeners": self.rest, **converters, **topics,
                    "plugin.discovery": "service_load", "offset.flush.interval.ms": 500, "scheduled.rebalance.max.delay.ms": 1000,
                    "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000, "consumer.auto.offset.reset": "earliest"}
        self.settings.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def start(self) -> None:
        """Returns at once."""
        self.run(["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx384m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                  "-cp", f"{JARS}/*", "org.apache.kafka.connect.cli.ConnectDistributed", self.settings])

    def parts(self, connector: str) -> tuple[set[str], set[str]]:
        """The states of the connector and its tasks, and the ids of the workers that the tasks are on."""
        status = self.ask("GET", f"/connectors/{connector}/status")
        return {part["state"] for part in [status["connector"], *status["tasks"]]}, {part["worker_id"] for part in status["tasks"]}

    def workers_of(self, connector: str) -> set[str]:
        """The ids of the workers on which all of the connector runs; empty while some of it does not."""
        states, workers = self.parts(connector)
        return workers if states == {"RUNNING"} else set()

    def turn(self, connector: str, how: str, state: str) -> None:
        """Pauses or resumes a connector, and waits until it is so."""
        self.ask("PUT", f"/connectors/{connector}/{how}")
        until(f"{connector} is {state}", lambda: self.parts(connector)[0] == {state})

    def put(self, connector: str, config: dict[str, object]) -> None:
        """Creates or alters a connector; again while the workers rebalance."""
        def done() -> bool:
            self.ask("PUT", f"/connectors/{connector}/config", config)
            return True
        until(f"{connector} is accepted", done)


@check("lines go from a file through a topic to a file, over two workers, a death, and a restart of both; its own topics are compacted meanwhile")
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
            for turn in range(3):
                for connector in ("source", "sink"):
                    first.turn(connector, "pause", "PAUSED")
                    first.turn(connector, "resume", "RUNNING")
                write_more(f"pause {turn}")
            expect(len(sink.read_text().splitlines()), written, "lines before the death")
            second.end(kill=True)
            alone = {first.rest.removeprefix("http://")}
            until("the first has all tasks", lambda: first.workers_of("source") == alone and first.workers_of("sink") == alone)
            write_more("one worker")
            for kind in OWN_TOPICS:
                until(f"{cluster}-{kind} is compacted", lambda: taken_out(f"{cluster}-{kind}") > 0)
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
