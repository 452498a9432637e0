"""Writes the seeds of the fuzz target `request` to fuzz/corpus/request: every API in every version that we serve, with a body that
means something to the broker of the target (topic "t" with two partitions), and conversations of several requests.

    STREAMHOUSE_TOOLS=… PYTHONPATH=compat-tests/harness:compat-tests/oracle python fuzz/seeds.py

The bodies are encoded from the definitions in Apache Kafka's jar (scripts/setup.sh --oracle). Findings in the folder are left alone.
"""

import re
import struct
import sys
import zlib
from pathlib import Path

from batches import batch, idempotent
from kafka_process import JARS, ROOT
from schemas import NUMBERS, Field, Schemas, unsigned
from stored_batches import crc32c

FOLDER = ROOT / "fuzz" / "corpus" / "request"
TOPIC_ID = b"the id of topic "
"""Stands for the id of "t", see the target."""
WHEN = 1_700_000_000_000
GOOD = batch(b"a", b"b", timestamp=WHEN)

# What fields are called decides what they hold; the first pattern that fits.
TEXTS = (("Protocol(Type|Name)?$", "consumer"), ("GroupId|GroupsNames|^Groups$|CoordinatorKeys|^Key$", "g"), ("InstanceId", "i"),
         ("MemberId", ""), ("Topic|^Name$|ResourceName", "t"), ("TransactionalId", None), ("RackId", "default"), ("Assignor", "uniform"),
         ("Regex", "t.*"), ("StatesFilter|StateFilters", "Stable"), ("Host", "*"), ("Principal", "User:a"), ("Software", "fuzz"),
         ("Metadata", "m"), ("Value", "1000"), ("ConfigName|ConfigurationKeys", "retention.ms"), ("EntityType", "user"))
BY_API_TEXTS = {("CreateTopics", "Name"): "n", ("IncrementalAlterConfigs", "Name"): "retention.ms", ("AlterConfigs", "Name"): "retention.ms",
                ("FindCoordinator", "Key"): "g", ("JoinGroup", "Name"): "range", ("SyncGroup", "ProtocolName"): "range"}
NUMBER = (("TimeoutMs|MaxWaitMs", 10), ("SessionTimeout|RebalanceTimeout", 10_000), ("MaxBytes|PartitionMaxBytes", 1 << 20),
          ("NumPartitions|^Count$", 3), ("ReplicationFactor|ReplicaId|Epoch|GenerationId", -1), ("Acks", -1), ("^Timestamp$", -1),
          ("ResourceType$", 2), ("ResourceTypes", 2), ("(Resource)?PatternType", 3), ("Operation", 3), ("PermissionType", 3),
          ("Limit", 10), ("BrokerId|Replicas", 1))


def text(api: str, name: str) -> str | None:
    """Of a field."""
    if (api, name) in BY_API_TEXTS:
        return BY_API_TEXTS[api, name]
    return next((value for pattern, value in TEXTS if re.search(pattern, name)), "x")


def value(api: str, field: Field, kind: str, version: int) -> object:
    """Of a field or of an element."""
    if kind.startswith("[]"):
        return [value(api, field, field.element, version)]
    if kind in NUMBERS:
        found = next((number for pattern, number in NUMBER if re.search(pattern, field.name)), 0)
        return float(found) if kind == "float64" else found
    if kind == "uuid":
        return TOPIC_ID
    if kind == "string":
        found = text(api, field.name)
        return found if found is not None or version in field.nullable else ""
    if kind == "records":
        return GOOD
    return {"bool": False, "bytes": b"\0\0\0\0\0\1\0\1t\0\0\0\0"}.get(kind) if kind in ("bool", "bytes") else body(api, field.fields, version)


def body(api: str, fields: list[Field], version: int) -> dict:
    """All that the version has, without tagged fields."""
    return {field.name: value(api, field, field.type, version)
            for field in fields if version in field.versions and version not in field.tagged}


class Frames:
    """Requests as frames."""

    def __init__(self) -> None:
        self.schemas = Schemas(next(JARS.glob("kafka-clients-*.jar")))

    def frame(self, api: str, version: int, encoded: bytes) -> bytes:
        """With length and header."""
        request = self.schemas.requests[api]
        head = struct.pack(">hhih", request.key, version, 0, 4) + b"fuzz" + (unsigned(0) if version in request.flexible else b"")
        return struct.pack(">i", len(head) + len(encoded)) + head + encoded

    def default(self, api: str, version: int) -> bytes:
        """A request with a body as above."""
        request = self.schemas.requests[api]
        return self.frame(api, version, request.encode(version, body(api, request.fields, version)))

    def of(self, api: str, version: int, fields: dict) -> bytes:
        """A request with this body."""
        return self.frame(api, version, self.schemas.requests[api].encode(version, fields))

    def produce(self, records: bytes, acks: int = -1, version: int = 9) -> bytes:
        """Of one batch to partition 0 of "t"."""
        return self.of("Produce", version, {"Acks": acks, "TimeoutMs": 1_000, "TopicData": [
            {"Name": "t", "PartitionData": [{"Index": 0, "Records": records}]}]})


def served() -> list[tuple[str, int, int]]:
    """The version table of the gateway."""
    table = (ROOT / "crates" / "kafka-gateway" / "src" / "api.rs").read_text()
    found = re.findall(r'Api::new\(\s*ApiKey::\w+,\s*"(\w+)",\s*\((\d+), (\d+)\)', table)
    return [(api, int(low), int(high)) for api, low, high in found]


def packed(codec: int, records: bytes) -> bytes:
    """The batch `GOOD` with other record bytes."""
    rest = struct.pack(">h", codec) + GOOD[23:61] + records
    return GOOD[:8] + struct.pack(">i", len(rest) + 9) + GOOD[12:17] + struct.pack(">I", crc32c(rest)) + rest


def gzip(data: bytes) -> bytes:
    """Without a time."""
    made = zlib.compressobj(wbits=31)
    return made.compress(data) + made.flush()


def conversations(f: Frames) -> dict[str, bytes]:
    """Several requests on one connection."""
    member = "AAAAAAAAAAAAAAAAAAAAAA"
    beat = {"GroupId": "g8", "MemberId": member, "RebalanceTimeoutMs": 10_000, "SubscribedTopicNames": ["t"], "TopicPartitions": []}
    beats = [f.of("ConsumerGroupHeartbeat", 1, {**beat, "MemberEpoch": epoch}) for epoch in (0, 1, 1, -1)]
    held = {"TopicPartitions": [{"TopicId": TOPIC_ID, "Partitions": [0, 1]}]}
    join = {"GroupId": "g", "SessionTimeoutMs": 10_000, "RebalanceTimeoutMs": 10_000, "MemberId": "", "ProtocolType": "consumer",
            "Protocols": [{"Name": "range", "Metadata": b"\0\0\0\0\0\1\0\1t\0\0\0\0"}]}
    commit = {"GroupId": "g", "GenerationIdOrMemberEpoch": -1, "MemberId": "", "Topics": [
        {"Name": "t", "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 2, "CommittedMetadata": "m"}]}]}
    fetch = {"ReplicaId": -1, "MaxWaitMs": 10, "MinBytes": 1, "MaxBytes": 1 << 20, "Topics": [
        {"Topic": "t", "Partitions": [{"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20}]}]}
    init = f.of("InitProducerId", 4, {"TransactionalId": None, "TransactionTimeoutMs": 1_000})
    sequence = [f.produce(idempotent(b"x", producer=0, epoch=0, sequence=n, timestamp=WHEN)) for n in (0, 1, 1, 3)]
    topic = {"Name": "n", "NumPartitions": 1, "ReplicationFactor": 1}
    recipe = f.default("ConsumerGroupHeartbeat", 1)
    return {
        "produce-gzip": f.produce(packed(1, gzip(GOOD[61:]))),
        **{f"produce-{name}": f.produce((ROOT / "fuzz" / "corpus" / "record_batch" / name).read_bytes())
           for name in ("none", "snappy", "xerial", "lz4", "zstd")},
        "produce-acks-0": f.produce(GOOD, acks=0) + f.produce(GOOD, acks=0) + f.default("Metadata", 9),
        "produce-idempotent": init + b"".join(sequence),
        "produce-fetch": f.produce(GOOD) + f.of("Fetch", 12, {**fetch, "SessionEpoch": -1}),
        "fetch-session": f.of("Fetch", 12, {**fetch, "SessionEpoch": 0}) + f.of("Fetch", 12, {**fetch, "SessionId": 1, "SessionEpoch": 1}),
        "group-classic": f.of("JoinGroup", 3, join) + f.default("SyncGroup", 3) + f.of("OffsetCommit", 7, commit)
                         + f.default("OffsetFetch", 7) + f.default("DescribeGroups", 5) + f.default("LeaveGroup", 3),
        "group-static": f.of("JoinGroup", 9, {**join, "GroupInstanceId": "i"}) + f.default("LeaveGroup", 5),
        "group-consumer": b"".join(beats),
        "group-consumer-holds": beats[0] + f.of("ConsumerGroupHeartbeat", 1, {**beat, **held, "MemberEpoch": 1})
                                + f.of("OffsetCommit", 9, {**commit, "GroupId": "g8", "MemberId": member, "GenerationIdOrMemberEpoch": 1})
                                + f.default("ConsumerGroupDescribe", 1),
        "group-consumer-regex": f.of("ConsumerGroupHeartbeat", 1, {**beat, "SubscribedTopicNames": None, "SubscribedTopicRegex": "t.*|[a-z]{1,9}",
                                                                   "MemberEpoch": 0}) + recipe,
        "topics": f.of("CreateTopics", 7, {"TimeoutMs": 1_000, "Topics": [topic]}) + f.default("IncrementalAlterConfigs", 1)
                  + f.default("CreatePartitions", 3) + f.default("DescribeConfigs", 4) + f.default("DeleteRecords", 2)
                  + f.of("DeleteTopics", 6, {"TimeoutMs": 1_000, "Topics": [{"Name": "n"}, {"TopicId": TOPIC_ID, "Name": None}]}),
        "pipelined": f.default("Metadata", 1) * 20 + f.produce(GOOD) * 3,
    }


def main() -> int:
    """Writes them."""
    f = Frames()
    seeds = {f"{api}-{version}": f.default(api, version) for api, low, high in served() for version in range(low, high + 1)}
    seeds |= conversations(f)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, seed in seeds.items():
        (FOLDER / name).write_bytes(seed)
    print(f"{len(seeds)} seeds, {sum(map(len, seeds.values()))} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
