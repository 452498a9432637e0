"""The script: what both brokers are asked. A case is run once for each version that both serve of its API, on names of its own."""

from collections.abc import Callable
from dataclasses import dataclass

from batches import batch, idempotent
from conversation import Conversation

NOWHERE = bytes(range(16))
"""A topic id that does not exist."""
EMPTY_SESSION = {"SessionId": 0, "SessionEpoch": -1}


@dataclass(frozen=True)
class Case:
    """One function, for one API."""
    api: str
    run: Callable[[Conversation, int], None]


CASES: list[Case] = []


def case(api: str) -> Callable:
    """Registers a case."""
    def register(function: Callable[[Conversation, int], None]) -> Callable[[Conversation, int], None]:
        CASES.append(Case(api, function))
        return function
    return register


@case("ApiVersions")
def api_versions(s: Conversation, v: int) -> None:
    """All versions, one that does not exist, and bad software names."""
    software = {"ClientSoftwareName": "oracle", "ClientSoftwareVersion": "1"}
    s.ask("ApiVersions", v, software, "all")
    if v >= 3:
        s.ask("ApiVersions", v, {**software, "ClientSoftwareName": "no good!"}, "bad name")
    s.ask_bytes("ApiVersions", 99, b"", "version 99")


@case("Metadata")
def metadata(s: Conversation, v: int) -> None:
    """By name, by id, of everything that is wrong."""
    topic = s.topic(3)
    quiet = {"AllowAutoTopicCreation": False}
    s.ask("Metadata", v, {"Topics": [{"Name": topic}], **quiet}, "one topic")
    s.ask("Metadata", v, {"Topics": [], **quiet} if v else {"Topics": [{"Name": topic}]}, "no topic")
    if v >= 4:
        s.ask("Metadata", v, {"Topics": [{"Name": s.name("unknown")}], **quiet}, "unknown topic")
    for bad in ("", "..", "a b", "x" * 250):
        s.ask("Metadata", v, {"Topics": [{"Name": bad}], **quiet}, f"name {bad[:4]!r}")
    s.ask("Metadata", v, {"Topics": [{"Name": topic}, {"Name": topic}], **quiet}, "the same twice")
    if v >= 8:
        s.ask("Metadata", v, {"Topics": [{"Name": topic}], "IncludeTopicAuthorizedOperations": True,
                              "IncludeClusterAuthorizedOperations": True, **quiet}, "authorized operations")
    if v >= 10:
        s.ask("Metadata", v, {"Topics": [{"TopicId": NOWHERE, "Name": None}], **quiet}, "unknown id")
    if v >= 12:
        s.ask("Metadata", v, {"Topics": [{"TopicId": s.topic_id(topic), "Name": None}], **quiet}, "by id")


@case("CreateTopics")
def create_topics(s: Conversation, v: int) -> None:
    """Good ones and each refusal."""
    def ask(label: str, *topics: dict, **fields: object) -> None:
        s.ask("CreateTopics", v, {"TimeoutMs": 10_000, "Topics": list(topics), **fields}, label)

    def topic(**fields: object) -> dict:
        return {"Name": s.name(), "NumPartitions": 1, "ReplicationFactor": 1, **fields}

    name = s.topic()
    ask("good", topic(NumPartitions=2, Configs=[{"Name": "retention.ms", "Value": "1000"}]))
    ask("exists", topic(Name=name))
    ask("no partitions", topic(NumPartitions=0))
    ask("fewer than none", topic(NumPartitions=-2))
    ask("no replicas", topic(ReplicationFactor=0))
    ask("bad name", topic(Name="a/b"))
    ask("no name", topic(Name=""))
    ask("internal", topic(Name="__cluster_metadata"))
    ask("unknown config", topic(Configs=[{"Name": "no.such.config", "Value": "1"}]))
    ask("bad value", topic(Configs=[{"Name": "retention.ms", "Value": "soon"}]))
    ask("null value", topic(Configs=[{"Name": "retention.ms", "Value": None}]))
    ask("bad policy", topic(Configs=[{"Name": "cleanup.policy", "Value": "burn"}]))
    twice = topic()
    ask("twice", twice, twice)
    ask("assigned", topic(NumPartitions=-1, ReplicationFactor=-1, Assignments=[{"PartitionIndex": 0, "BrokerIds": [1]}]))
    ask("assigned and counted", topic(Assignments=[{"PartitionIndex": 0, "BrokerIds": [1]}]))
    ask("assigned with a hole", topic(NumPartitions=-1, ReplicationFactor=-1,
                                      Assignments=[{"PartitionIndex": 1, "BrokerIds": [1]}]))
    ask("only validated", topic(), ValidateOnly=True)
    if v >= 4:
        ask("defaults", topic(NumPartitions=-1, ReplicationFactor=-1))
    ask("none")


@case("DeleteTopics")
def delete_topics(s: Conversation, v: int) -> None:
    """By name, and by id from 6 on."""
    first, second = s.topic(), s.topic()
    unknown = s.name("unknown")
    if v < 6:
        s.ask("DeleteTopics", v, {"TopicNames": [first, unknown], "TimeoutMs": 10_000}, "one and an unknown one")
        s.ask("DeleteTopics", v, {"TopicNames": [], "TimeoutMs": 10_000}, "none")
    else:
        by_id = s.topic_id(second)
        s.ask("DeleteTopics", v, {"Topics": [{"Name": first}, {"Name": unknown}], "TimeoutMs": 10_000}, "one and an unknown one")
        s.ask("DeleteTopics", v, {"Topics": [{"Name": None, "TopicId": by_id}], "TimeoutMs": 10_000}, "by id")
        s.ask("DeleteTopics", v, {"Topics": [{"Name": None, "TopicId": NOWHERE}], "TimeoutMs": 10_000}, "unknown id")
        s.ask("DeleteTopics", v, {"Topics": [{"Name": first, "TopicId": by_id}], "TimeoutMs": 10_000}, "name and id")


@case("CreatePartitions")
def create_partitions(s: Conversation, v: int) -> None:
    """More, and each refusal."""
    topic = s.topic(2)

    def ask(label: str, name: str, count: int, assignments: list | None = None, only: bool = False) -> None:
        s.ask("CreatePartitions", v, {"TimeoutMs": 10_000, "ValidateOnly": only, "Topics": [
            {"Name": name, "Count": count, "Assignments": assignments}]}, label)
    ask("only validated", topic, 4, only=True)
    ask("more", topic, 3)
    ask("as many", topic, 3)
    ask("fewer", topic, 1)
    ask("unknown topic", s.name("unknown"), 3)
    ask("assignment too short", topic, 6, [{"BrokerIds": [1]}])


@case("DeleteRecords")
def delete_records(s: Conversation, v: int) -> None:
    """In the middle, to the end, beyond."""
    topic = s.topic()
    s.produced(topic, batch(b"a", b"b", b"c"))
    for label, name, partition, offset in (("middle", topic, 0, 2), ("back", topic, 0, 1), ("beyond", topic, 0, 9),
                                           ("to the end", topic, 0, -1), ("below", topic, 0, -2), ("partition", topic, 7, 0),
                                           ("topic", s.name("unknown"), 0, 0)):
        s.ask("DeleteRecords", v, {"TimeoutMs": 5_000, "Topics": [
            {"Name": name, "Partitions": [{"PartitionIndex": partition, "Offset": offset}]}]}, label)


@case("Produce")
def produce(s: Conversation, v: int) -> None:
    """Batches, good and bad; the timestamps are of this run."""
    topic, compacted = s.topic(), s.topic(cleanup_policy="compact")
    ids = {name: s.topic_id(name) for name in (topic, compacted)}

    def ask(label: str, records: bytes | None, name: str = topic, partition: int = 0, acks: int = -1, **fields: object) -> None:
        data = {"PartitionData": [{"Index": partition, "Records": records}]}
        data |= {"TopicId": ids.get(name, NOWHERE)} if v >= 13 else {"Name": name}
        s.ask("Produce", v, {"Acks": acks, "TimeoutMs": 10_000, "TopicData": [data], **fields}, label)

    good = batch(b"a", b"b")
    ask("good", good)
    ask("acks 1", good, acks=1)
    ask("acks 7", good, acks=7)
    ask("unknown topic", good, s.name("unknown"))
    ask("unknown partition", good, partition=9)
    ask("negative partition", good, partition=-1)
    ask("bad crc", good[:-1] + b"\x01")
    ask("cut", good[:-2])
    ask("only a header", good[:61])
    ask("no bytes", b"")
    if v == s.highest("Produce"):
        ask("null", None)
    ask("two batches", good + good)
    ask("magic 1", good[:16] + b"\x01" + good[17:])
    ask("base offset 5", (5).to_bytes(8, "big") + good[8:])
    ask("append time claimed", batch(b"a", attributes=8))
    ask("control", batch(b"a", attributes=0x20))
    ask("codec 7", batch(b"a", attributes=7))
    ask("transactional", idempotent(b"a", producer=1, epoch=0, sequence=0, attributes=0x10))
    ask("transactional without producer", batch(b"a", attributes=0x10))
    ask("count too high", batch(b"a", count=2))
    ask("no records", batch(count=0))
    ask("no key on compacted", good, compacted)
    ask("keys on compacted", batch(b"a", key=b"k"), compacted)
    ask("old timestamp", batch(b"a", timestamp=1))
    ask("far future", batch(b"a", timestamp=1 << 60))
    ask("too large", batch(bytes(1_048_600)))


@case("Produce")
def sequences(s: Conversation, v: int) -> None:
    """Idempotent producers: duplicates, gaps, epochs."""
    topic = s.topic()
    topic_id = s.topic_id(topic)
    producer = s.producer()

    def ask(label: str, sequence: int, epoch: int = 0, count: int = 1, pid: int = producer) -> None:
        records = idempotent(*[b"x"] * count, producer=pid, epoch=epoch, sequence=sequence)
        data = {"PartitionData": [{"Index": 0, "Records": records}]}
        data |= {"TopicId": topic_id} if v >= 13 else {"Name": topic}
        s.ask("Produce", v, {"Acks": -1, "TimeoutMs": 10_000, "TopicData": [data]}, label)

    ask("first", 0, count=3)
    ask("duplicate", 0, count=3)
    ask("next", 3)
    ask("overlap", 0)
    ask("gap", 9)
    ask("duplicate of the first", 0, count=3)
    for sequence in range(4, 10):
        ask("following", sequence)
    ask("beyond five", 3)
    ask("new epoch in the middle", 5, epoch=2)
    ask("new epoch", 0, epoch=1)
    ask("old epoch", 10)
    ask("negative sequence", -1, epoch=1)
    ask("unknown producer in the middle", 7, pid=producer + 7_777)
    ask("epoch without id", 0, pid=-1)


@case("Fetch")
def fetch(s: Conversation, v: int) -> None:
    """Positions, errors, epochs, sessions."""
    topic, empty = s.topic(), s.topic()
    s.produced(topic, batch(b"a", b"b", timestamp=1_700_000_000_000))
    s.produced(topic, batch(b"c", timestamp=1_700_000_000_001))
    ids = {name: s.topic_id(name) for name in (topic, empty)}

    def ask(label: str, offset: int, name: str = topic, partition: int = 0, session: dict | None = None, topics: bool = True,
            **fields: object) -> dict:
        at = {"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20, "CurrentLeaderEpoch": -1, **fields}
        data = {"Partitions": [at], **({"TopicId": ids.get(name, NOWHERE)} if v >= 13 else {"Topic": name})}
        return s.ask("Fetch", v, {"ReplicaId": -1, "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": 1 << 20, "IsolationLevel": 0,
                                  "Topics": [data] if topics else [], **(session or EMPTY_SESSION)}, label)

    ask("from the start", 0)
    ask("in a batch", 1)
    ask("end", 3)
    ask("empty", 0, empty)
    ask("beyond", 4)
    ask("negative", -5)
    ask("unknown topic", 0, s.name("unknown"))
    ask("unknown partition", 0, partition=9)
    ask("small", 0, PartitionMaxBytes=1)
    ask("future epoch", 0, CurrentLeaderEpoch=99)
    ask("no topics", 0, topics=False)
    if v >= 12:
        ask("diverging", 3, LastFetchedEpoch=0)
    if v >= 7:
        made = ask("new session", 0, session={"SessionId": 0, "SessionEpoch": 0})
        known = {"SessionId": made.get("SessionId", 0), "SessionEpoch": 1}
        ask("session goes on", 0, session=known, topics=False)
        ask("session epoch repeated", 0, session=known, topics=False)
        ask("unknown session", 0, session={"SessionId": 123_456, "SessionEpoch": 1})


@case("ListOffsets")
def list_offsets(s: Conversation, v: int) -> None:
    """Every special timestamp."""
    topic, empty = s.topic(), s.topic()
    s.produced(topic, batch(b"a", b"b", timestamp=1_700_000_000_000))
    s.produced(topic, batch(b"c", timestamp=1_700_000_000_500))
    unknown = s.name("unknown")
    for name in (topic, empty, unknown):
        for label, timestamp in (("latest", -1), ("earliest", -2), ("greatest", -3), ("local", -4), ("tiered", -5), ("-9", -9),
                                 ("time", 1_700_000_000_001), ("too late", 1_800_000_000_000), ("0", 0)):
            at = {"PartitionIndex": 0, "Timestamp": timestamp, "CurrentLeaderEpoch": -1}
            s.ask("ListOffsets", v, {"ReplicaId": -1, "IsolationLevel": 0, "TimeoutMs": 5_000, "Topics": [
                {"Name": name, "Partitions": [at]}]}, f"{label} of {'records' if name == topic else 'nothing'}")
    at = {"PartitionIndex": 0, "Timestamp": -1, "CurrentLeaderEpoch": 99}
    s.ask("ListOffsets", v, {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [at]}]}, "future epoch")
    at = {"PartitionIndex": 5, "Timestamp": -1, "CurrentLeaderEpoch": -1}
    s.ask("ListOffsets", v, {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [at]}]}, "unknown partition")


@case("OffsetForLeaderEpoch")
def leader_epochs(s: Conversation, v: int) -> None:
    """Now, past and future."""
    topic = s.topic()
    s.produced(topic, batch(b"a"))
    for name, partition, current, epoch in ((topic, 0, -1, 0), (topic, 0, -1, 5), (topic, 0, 9, 0), (topic, 7, -1, 0),
                                            (s.name("unknown"), 0, -1, 0), (topic, 0, -1, -1)):
        s.ask("OffsetForLeaderEpoch", v, {"ReplicaId": -1, "Topics": [{"Topic": name, "Partitions": [
            {"Partition": partition, "CurrentLeaderEpoch": current, "LeaderEpoch": epoch}]}]}, f"{current} {epoch} of {partition}")


@case("InitProducerId")
def init_producer_id(s: Conversation, v: int) -> None:
    """Without a transactional id."""
    s.ask("InitProducerId", v, {"TransactionalId": None, "TransactionTimeoutMs": 60_000}, "idempotent")
    s.ask("InitProducerId", v, {"TransactionalId": "", "TransactionTimeoutMs": 60_000}, "empty id")
    if v >= 3:
        s.ask("InitProducerId", v, {"TransactionalId": None, "TransactionTimeoutMs": 60_000, "ProducerId": 5,
                                    "ProducerEpoch": -1}, "id without epoch")


@case("DescribeConfigs")
def describe_configs(s: Conversation, v: int) -> None:
    """Single configs, so that the answers can be compared; unknown things."""
    topic = s.topic(retention_ms="1234")

    def ask(label: str, kind: int, name: str, keys: list[str] | None, **fields: object) -> None:
        s.ask("DescribeConfigs", v, {"Resources": [{"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": keys}],
                                     **fields}, label)
    for key in ("retention.ms", "cleanup.policy", "max.message.bytes", "compression.type", "segment.bytes",
                "min.insync.replicas", "message.timestamp.type", "delete.retention.ms"):
        ask(f"topic {key}", 2, topic, [key], IncludeSynonyms=True)
    ask("unknown key", 2, topic, ["no.such.config"])
    ask("no keys", 2, topic, [])
    ask("unknown topic", 2, s.name("unknown"), None)
    ask("bad name", 2, "a/b", None)
    for key in ("num.partitions", "auto.create.topics.enable", "log.retention.ms", "message.max.bytes", "group.max.size"):
        ask(f"broker {key}", 4, "1", [key], IncludeSynonyms=True)
    ask("another broker", 4, "99", None)
    ask("no broker", 4, "one", None)
    ask("unknown kind", 77, "x", None)
    for key in ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"):
        ask(f"group {key}", 32, s.name("group"), [key], IncludeSynonyms=True)
    ask("group unknown key", 32, s.name("group"), ["no.such.config"])
    ask("group without a name", 32, "", None)
    ask("subscription", 16, s.name("metrics"), ["interval.ms"])


@case("IncrementalAlterConfigs")
def incremental_alter_configs(s: Conversation, v: int) -> None:
    """Every operation, and each refusal."""
    topic = s.topic()

    def ask(label: str, *configs: tuple[str, int, str | None], name: str = topic, kind: int = 2, only: bool = False) -> None:
        s.ask("IncrementalAlterConfigs", v, {"ValidateOnly": only, "Resources": [
            {"ResourceType": kind, "ResourceName": name, "Configs": [
                {"Name": config, "ConfigOperation": operation, "Value": value} for config, operation, value in configs]}]}, label)
        if kind == 2 and name == topic:
            s.ask("DescribeConfigs", s.highest("DescribeConfigs"), {"Resources": [
                {"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": ["retention.ms", "cleanup.policy"]}],
                "IncludeSynonyms": True}, f"after {label}")
    ask("set", ("retention.ms", 0, "77"))
    ask("only validated", ("retention.ms", 0, "78"), only=True)
    ask("append", ("cleanup.policy", 2, "compact"))
    ask("subtract", ("cleanup.policy", 3, "delete"))
    ask("delete", ("retention.ms", 1, None))
    ask("null", ("retention.ms", 0, None))
    ask("bad value", ("retention.ms", 0, "soon"))
    ask("unknown config", ("no.such.config", 0, "1"))
    ask("append to a number", ("retention.ms", 2, "1"))
    ask("unknown operation", ("retention.ms", 9, "1"))
    ask("twice", ("retention.ms", 0, "1"), ("retention.ms", 1, None))
    ask("unknown topic", ("retention.ms", 0, "1"), name=s.name("unknown"))
    ask("unknown kind", ("retention.ms", 0, "1"), kind=77)
    ask("read-only of a broker", ("num.partitions", 0, "3"), name="1", kind=4)
    group = s.name("group")
    for label, config, operation, value in (
            ("set", "consumer.session.timeout.ms", 0, "50000"), ("too short", "consumer.session.timeout.ms", 0, "1"),
            ("too long", "consumer.session.timeout.ms", 0, "99999999"), ("bad value", "consumer.session.timeout.ms", 0, "soon"),
            ("longer than the session", "consumer.heartbeat.interval.ms", 0, "60000"), ("append", "consumer.session.timeout.ms", 2, "1"),
            ("unknown config", "no.such.config", 0, "1"), ("delete", "consumer.session.timeout.ms", 1, None)):
        ask(f"group {label}", (config, operation, value), name=group, kind=32)
        s.ask("DescribeConfigs", s.highest("DescribeConfigs"), {"Resources": [{"ResourceType": 32, "ResourceName": group, "ConfigurationKeys": [
            "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"]}], "IncludeSynonyms": True}, f"after group {label}")
    ask("group without a name", ("consumer.session.timeout.ms", 0, "50000"), name="", kind=32)


@case("AlterConfigs")
def alter_configs(s: Conversation, v: int) -> None:
    """Replaces all."""
    topic = s.topic(retention_ms="55")
    for label, name, configs in (("replace", topic, [("max.message.bytes", "5000")]), ("bad value", topic, [("retention.ms", "x")]),
                                 ("unknown topic", s.name("unknown"), []), ("none", topic, [])):
        s.ask("AlterConfigs", v, {"ValidateOnly": False, "Resources": [{"ResourceType": 2, "ResourceName": name, "Configs": [
            {"Name": config, "Value": value} for config, value in configs]}]}, label)
        s.ask("DescribeConfigs", s.highest("DescribeConfigs"), {"Resources": [
            {"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": ["retention.ms", "max.message.bytes"]}]}, f"after {label}")
    group = s.name("group")
    for label, configs in (("group", [("consumer.heartbeat.interval.ms", "6000")]), ("group bad value", [("consumer.session.timeout.ms", "1")]),
                           ("group none", [])):
        s.ask("AlterConfigs", v, {"ValidateOnly": False, "Resources": [{"ResourceType": 32, "ResourceName": group, "Configs": [
            {"Name": config, "Value": value} for config, value in configs]}]}, label)
        s.ask("DescribeConfigs", s.highest("DescribeConfigs"), {"Resources": [
            {"ResourceType": 32, "ResourceName": group, "ConfigurationKeys": ["consumer.heartbeat.interval.ms"]}]}, f"after {label}")


def _plain(api: str, label: str, body: dict) -> None:
    """A case of one request."""
    case(api)(lambda s, v: (s.ask(api, v, body, label), None)[1])


_plain("DescribeCluster", "all", {"IncludeClusterAuthorizedOperations": True})
_plain("DescribeTopicPartitions", "unknown", {"Topics": [{"Name": "nobody"}], "ResponsePartitionLimit": 10})
_plain("DescribeAcls", "any", {"ResourceTypeFilter": 1, "PatternTypeFilter": 1, "Operation": 1, "PermissionType": 1})
_plain("CreateAcls", "one", {"Creations": [{"ResourceType": 2, "ResourceName": "t", "ResourcePatternType": 3, "Principal": "User:a",
                                            "Host": "*", "Operation": 3, "PermissionType": 3}]})
_plain("DeleteAcls", "any", {"Filters": [{"ResourceTypeFilter": 1, "PatternTypeFilter": 1, "Operation": 1, "PermissionType": 1}]})
_plain("DescribeClientQuotas", "any", {"Components": [], "Strict": False})
_plain("DescribeUserScramCredentials", "all", {"Users": None})
_plain("DescribeUserScramCredentials", "one", {"Users": [{"Name": "a"}]})
_plain("ListPartitionReassignments", "all", {"TimeoutMs": 5_000, "Topics": None})
_plain("ElectLeaders", "unknown", {"ElectionType": 0, "TimeoutMs": 5_000, "TopicPartitions": [{"Topic": "nobody", "Partitions": [0]}]})
_plain("ListConfigResources", "metrics", {"ResourceTypes": [16]})
_plain("DescribeProducers", "unknown", {"Topics": [{"Name": "nobody", "PartitionIndexes": [0]}]})
_plain("DescribeTransactions", "unknown", {"TransactionalIds": ["nobody"]})
_plain("ListTransactions", "all", {"StateFilters": [], "ProducerIdFilters": []})
_plain("DescribeLogDirs", "unknown", {"Topics": [{"Topic": "nobody", "Partitions": [0]}]})


@case("ElectLeaders")
def elect_leaders(s: Conversation, v: int) -> None:
    """Nothing to elect."""
    topic = s.topic()
    for kind in (0, 1):
        s.ask("ElectLeaders", v, {"ElectionType": kind, "TimeoutMs": 5_000, "TopicPartitions": [
            {"Topic": topic, "Partitions": [0]}]}, f"kind {kind}")


@case("DescribeTopicPartitions")
def describe_topic_partitions(s: Conversation, v: int) -> None:
    """Pages."""
    topic = s.topic(3)
    s.ask("DescribeTopicPartitions", v, {"Topics": [{"Name": topic}], "ResponsePartitionLimit": 2}, "two of three")
    s.ask("DescribeTopicPartitions", v, {"Topics": [{"Name": topic}], "ResponsePartitionLimit": 2, "Cursor": {
        "TopicName": topic, "PartitionIndex": 2}}, "the third")


@case("DescribeProducers")
def describe_producers(s: Conversation, v: int) -> None:
    """One that wrote."""
    topic = s.topic()
    producer = s.producer()
    s.produced(topic, idempotent(b"x", producer=producer, epoch=0, sequence=0))
    s.ask("DescribeProducers", v, {"Topics": [{"Name": topic, "PartitionIndexes": [0, 5]}]}, "one")
