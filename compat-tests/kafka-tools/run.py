"""Kafka's own command-line tools, each the class that its script in bin/ starts."""

import json
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable

from checks import KAFKA, check, expect, fresh_name, run_checks
from programs import GET_THEM, TOOLS, give_up

JARS = TOOLS / "kafka" / "jars"
TOOL_WITHIN_S = 60
TOOL = "org.apache.kafka.tools"


def words(main: str, *arguments: object) -> list[str]:
    """The command line of a tool."""
    return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp", f"{JARS}/*", f"{TOOL}.{main}", *map(str, arguments)]


def tool(main: str, *arguments: object, given: str = "", fails: bool = False) -> str:
    """What a tool printed; its exit code must be that of success, or with `fails` another."""
    done = subprocess.run(words(main, *arguments), input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=TOOL_WITHIN_S)
    if (done.returncode != 0) != fails:
        raise AssertionError(f"{main}: exit code {done.returncode}: {done.stdout[-400:]}")
    return done.stdout


def asked(main: str, *arguments: object, given: str = "", fails: bool = False) -> str:
    """A tool that takes --bootstrap-server."""
    return tool(main, "--bootstrap-server", KAFKA, *arguments, given=given, fails=fails)


def new_topic(purpose: str, partitions: int, *arguments: object) -> str:
    """Made by kafka-topics."""
    name = fresh_name(purpose)
    asked("TopicCommand", "--create", "--topic", name, "--partitions", partitions, *arguments)
    return name


def needs(text: str, *wanted: str) -> None:
    """Each pattern is in the text."""
    for pattern in wanted:
        if not re.search(pattern, text):
            raise AssertionError(f"no {pattern!r} in {text[-500:]!r}")


def sent_lines(topic: str, count: int, *arguments: object) -> None:
    """Keyed lines through the console producer; every tenth with a header."""
    lines = "".join(f"trace:{i}\tkey-{i % 7}\tvalue-{i}\n" for i in range(count))
    asked("ConsoleProducer", "--topic", topic, "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
          *arguments, given=lines)


def offsets(topic: str, *arguments: object) -> dict[int, int]:
    """kafka-get-offsets: partition → offset."""
    lines = asked("GetOffsetShell", "--topic", topic, *arguments).splitlines()
    return {int(line.split(":")[1]): int(line.split(":")[2] or -1) for line in lines if line.startswith(f"{topic}:")}


@check("kafka-topics creates, lists, describes, adds partitions and deletes")
def topics() -> None:
    name = new_topic("topics", 2, "--config", "retention.ms=86400000")
    needs(asked("TopicCommand", "--list"), f"(?m)^{name}$")
    needs(asked("TopicCommand", "--describe", "--topic", name), "PartitionCount: 2", "retention.ms=86400000", "Partition: 1\tLeader: [0-9]+")
    asked("TopicCommand", "--alter", "--topic", name, "--partitions", "5")
    needs(asked("TopicCommand", "--describe", "--topic", name), "PartitionCount: 5", "Partition: 4\tLeader: [0-9]+")
    needs(asked("TopicCommand", "--create", "--topic", name, fails=True), "already exists")
    asked("TopicCommand", "--delete", "--topic", name)
    needs(asked("TopicCommand", "--describe", "--topic", name, fails=True), "does not exist")


@check("kafka-configs alters, describes and resets a topic's configs, and describes a broker's")
def configs() -> None:
    name = new_topic("configs", 1)
    of_topic = ("--entity-type", "topics", "--entity-name", name)
    asked("ConfigCommand", *of_topic, "--alter", "--add-config", "retention.ms=3600000,cleanup.policy=[compact,delete]")
    needs(asked("ConfigCommand", *of_topic, "--describe"), "retention.ms=3600000", "cleanup.policy=compact,delete")
    asked("ConfigCommand", *of_topic, "--alter", "--delete-config", "retention.ms")
    described = asked("ConfigCommand", *of_topic, "--describe", "--all")
    needs(described, "retention.ms=604800000", "cleanup.policy=compact,delete", "DEFAULT_CONFIG")
    needs(asked("ConfigCommand", *of_topic, "--alter", "--add-config", "retention.ms=soon", fails=True), "soon")
    broker = re.search(r"id: (\d+)", asked("BrokerApiVersionsCommand"))
    needs(asked("ConfigCommand", "--entity-type", "brokers", "--entity-name", broker.group(1), "--describe", "--all"),
          "log.retention", "num.partitions")


@check("kafka-broker-api-versions finds every API known")
def api_versions() -> None:
    needs(asked("BrokerApiVersionsCommand"), r"Produce\(0\): ", r"Fetch\(1\): ", r"JoinGroup\(11\): ", r"CreateTopics\(19\): ")


@check("kafka-features and kafka-cluster answer")
def features() -> None:
    needs(asked("FeatureCommand", "describe"), "group.version")
    needs(tool("ClusterTool", "cluster-id", "--bootstrap-server", KAFKA), "Cluster ID: .+")


@check("kafka-metadata-quorum describes the quorum, or says that there is none")
def metadata_quorum() -> None:
    if "DescribeQuorum(55): UNSUPPORTED" in asked("BrokerApiVersionsCommand"):
        needs(asked("MetadataQuorumCommand", "describe", "--status", fails=True), "does not support DESCRIBE_QUORUM")
    else:
        needs(asked("MetadataQuorumCommand", "describe", "--status"), r"LeaderId: +\d", r"CurrentVoters: +\S")


@check("kafka-client-metrics finds no subscriptions")
def client_metrics() -> None:
    needs(asked("ClientMetricsCommand", "--describe"), r"(?s)^\s*$")


@check("console producer and consumer carry keys, headers and each codec")
def console() -> None:
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = new_topic("console", 1)
        sent_lines(topic, 20, "--compression-codec", codec)
        told = asked("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", 20, "--timeout-ms", 20000,
                     "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
                     "--formatter-property", "print.offset=true")
        lines = [line for line in told.splitlines() if line.startswith("Offset:")]
        expect(lines, [f"Offset:{i}\ttrace:{i}\tkey-{i % 7}\tvalue-{i}" for i in range(20)], codec)


@check("kafka-get-offsets finds ends, starts and times, kafka-delete-records moves the start")
def get_offsets() -> None:
    topic = new_topic("offsets", 1)
    sent_lines(topic, 10)
    between = int(time.time() * 1000) + 1
    time.sleep(0.5)
    sent_lines(topic, 10)
    expect(offsets(topic), {0: 20}, "ends")
    expect(offsets(topic, "--time", "earliest"), {0: 0}, "starts")
    expect(offsets(topic, "--time", between), {0: 10}, "by time")
    expect(offsets(topic, "--time", "max-timestamp")[0] >= 10, True, "the newest")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 5}]}, file)
        file.flush()
        needs(asked("DeleteRecordsCommand", "--offset-json-file", file.name), "low_watermark: 5")
    expect(offsets(topic, "--time", "earliest"), {0: 5}, "starts after records were deleted")


@check("kafka-log-dirs sees the partitions")
def log_dirs() -> None:
    topic = new_topic("dirs", 2)
    sent_lines(topic, 10)
    told = asked("LogDirsCommand", "--describe", "--topic-list", topic)
    brokers = json.loads(told[told.index("{"):told.rindex("}") + 1])["brokers"]
    found = {p["partition"] for broker in brokers for folder in broker["logDirs"] for p in folder["partitions"]}
    expect(found, {f"{topic}-0", f"{topic}-1"}, "partitions")


@check("kafka-consumer-groups lists, describes, resets offsets and deletes")
def consumer_groups() -> None:
    topic, group = new_topic("reset", 2), fresh_name("group")
    sent_lines(topic, 20)
    asked("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", 20, "--timeout-ms", 30000, "--group", group)
    groups = "consumer.group.ConsumerGroupCommand"
    needs(asked(groups, "--list"), f"(?m)^{group}$")
    needs(asked(groups, "--list", "--state"), f"{group} +.*Empty")
    described = asked(groups, "--describe", "--group", group)
    lags = re.findall(rf"(?m)^{group} +{topic} +\d +(\d+) +(\d+) +(\d+)", described)
    expect((len(lags), sum(int(lag[0]) for lag in lags), {lag[2] for lag in lags}), (2, 20, {"0"}), "offsets and lags")
    asked(groups, "--group", group, "--reset-offsets", "--to-earliest", "--topic", topic, "--execute")
    again = asked("consumer.ConsoleConsumer", "--topic", topic, "--max-messages", 20, "--timeout-ms", 30000, "--group", group)
    expect(len(re.findall("(?m)^value-", again)), 20, "read again after the reset")
    needs(asked(groups, "--describe", "--group", group, "--state"), "Empty", "0$")
    asked(groups, "--delete-offsets", "--group", group, "--topic", topic)
    needs(asked(groups, "--delete", "--group", group), "was successful")
    needs(asked(groups, "--describe", "--group", group), "not found")


class Verifiable:
    """A verifiable consumer or producer: its events, one JSON object a line."""

    def __init__(self, main: str, *arguments: object):
        self.process = subprocess.Popen(words(main, "--bootstrap-server", KAFKA, *arguments), stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.events: list[dict] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def named(self, name: str) -> list[dict]:
        """The events of one kind so far."""
        return [event for event in list(self.events) if event["name"] == name]

    def assigned(self) -> int:
        """Partitions that it has now: what was assigned less what was revoked."""
        count = {name: sum(len(event["partitions"]) for event in self.named(name)) for name in ("partitions_assigned", "partitions_revoked")}
        return count["partitions_assigned"] - count["partitions_revoked"]

    def consumed(self) -> int:
        """Records so far."""
        return sum(event["count"] for event in self.named("records_consumed"))

    def end(self) -> None:
        """SIGTERM, on which a consumer leaves its group."""
        self.process.terminate()
        self.process.wait(20)


def until(what: str, condition: Callable[[], bool]) -> None:
    """Waits for it."""
    deadline = time.monotonic() + TOOL_WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.1)


def verifiable_group(*protocol: str) -> None:
    """Two members of a group, one leaves, one resumes: each record is consumed once."""
    topic, group = new_topic("verifiable", 4), fresh_name("verified")
    join = ("VerifiableConsumer", "--topic", topic, "--group-id", group, "--reset-policy", "earliest", *protocol)
    sent = 0

    def produce() -> None:
        nonlocal sent
        told = tool("VerifiableProducer", "--bootstrap-server", KAFKA, "--topic", topic, "--max-messages", 200, "--value-prefix", sent)
        acked = [line for line in told.splitlines() if '"producer_send_success"' in line]
        expect(len(acked), 200, "acked")
        sent += 200

    def total() -> int:
        return sum(member.consumed() for member in members)

    members = [Verifiable(*join)]
    try:
        produce()
        until("the first consumed all", lambda: total() >= sent)
        members.append(Verifiable(*join))
        until("both have two partitions", lambda: [m.assigned() for m in members] == [2, 2])
        produce()
        until("both consumed all", lambda: total() >= sent)
        members[1].end()
        until("the first has all partitions", lambda: members[0].assigned() == 4)
        members[0].end()
        produce()
        members.append(Verifiable(*join))
        until("a third consumed the rest", lambda: total() >= sent)
        time.sleep(1)
        expect(total(), sent, "consumed")
        committed = [event for member in members for event in member.named("offsets_committed")]
        expect([event["error"] for event in committed if not event["success"]], [], "failed commits")
    finally:
        for member in members:
            member.end()


@check("verifiable producer and consumers: two members, one leaves, one resumes, every record once")
def verifiable() -> None:
    verifiable_group("--group-protocol", "classic")


@check("the same with KIP-848")
def verifiable_next_generation() -> None:
    verifiable_group("--group-protocol", "consumer")


@check("perf tests of producer and consumer finish")
def perf_tests() -> None:
    topic = new_topic("perf", 3)
    told = tool("ProducerPerformance", "--topic", topic, "--num-records", 20000, "--record-size", 100, "--throughput", -1,
                "--producer-props", f"bootstrap.servers={KAFKA}", "acks=all", "compression.type=lz4")
    needs(told, "20000 records sent")
    needs(asked("ConsumerPerformance", "--topic", topic, "--num-records", 20000, "--group", fresh_name("perf"), "--timeout", 30000), r"(?m)^\d{4}-.*, 20000, ")


if __name__ == "__main__":
    if not JARS.exists():
        give_up("kafka-tools", f"no jars: {GET_THEM}")
    run_checks()
