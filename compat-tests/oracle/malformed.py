"""The malformed table (crates/kafka-gateway/tests/malformed has the same rows): what Apache Kafka says to each."""

import struct

from batches import batch
from conversation import Conversation
from script import EMPTY_SESSION, NOWHERE, case
from stored_batches import crc32c

NIL = bytes(16)
XERIAL = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"
BAD_NAMES = {"two dots": "..", "one dot": ".", "nothing": "", "250 characters": "x" * 250, "NUL": "a\0b", "a slash": "a/b", "a space": "a b",
             "beyond ASCII": "größe"}


def changed(at: int, data: bytes, sealed: bool = True) -> bytes:
    """A batch of two records with other bytes; its CRC is right if sealed."""
    good = bytearray(batch(b"a", b"b"))
    good[at:at + len(data)] = data
    if sealed:
        good[17:21] = struct.pack(">I", crc32c(bytes(good[21:])))
    return bytes(good)


def packed(codec: int, records: bytes) -> bytes:
    """Other record bytes, with that codec."""
    body = struct.pack(">h", codec) + batch(b"a", b"b")[23:61] + records
    return struct.pack(">qiibI", 0, 9 + len(body), -1, 2, crc32c(body)) + body


def batches() -> dict[str, bytes]:
    """What is wrong with it, and the batch."""
    good = batch(b"a", b"b")
    return {
        "count damaged": changed(57, b"\0\0\0\x09", False), "attributes damaged": changed(21, b"\0\7", False),
        "producer id damaged": changed(43, b"\0\0\0\0\0\0\0\1", False), "magic 0": changed(16, b"\0", False), "magic 3": changed(16, b"\3", False),
        "length past the batch": changed(8, b"\0\1\0\0", False), "length short": changed(8, b"\0\0\0\x31", False),
        "length below a header": changed(8, b"\0\0\0\x30", False), "length 0": changed(8, bytes(4), False),
        "length -1": changed(8, b"\xff" * 4, False), "length i32::MAX": changed(8, b"\x7f\xff\xff\xff", False),
        "base offset -1": changed(0, b"\xff" * 8, False),
        "last offset delta 9 of 2": changed(23, b"\0\0\0\x09"), "last offset delta -1": changed(23, b"\xff" * 4),
        "count 0": changed(57, bytes(4)), "count -1": changed(57, b"\xff" * 4), "count i32::MAX": changed(57, b"\x7f\xff\xff\xff"),
        "delete horizon": changed(21, b"\0\x40"), "reserved bit 7": changed(21, b"\0\x80"), "reserved bit 15": changed(21, b"\x80\0"),
        "compression 5": changed(21, b"\0\5"), "compression 6": changed(21, b"\0\6"),
        "gzip that is none": changed(21, b"\0\1"), "snappy that is none": changed(21, b"\0\2"), "lz4 that is none": changed(21, b"\0\3"),
        "zstd that is none": changed(21, b"\0\4"),
        "gzip cut off": packed(1, bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0, 5, 0, 0xFA, 0xFF, 1, 2])),
        "snappy that claims 4 GiB": packed(2, b"\xff\xff\xff\xff\x0f\0\0"),
        "xerial block of i32::MAX": packed(2, XERIAL + b"\x7f\xff\xff\xff\0"), "xerial block of -1": packed(2, XERIAL + b"\xff\xff\xff\xff\0"),
        "lz4 without its end": packed(3, b"\x04\x22\x4d\x18\x60\x40\x82"),
        "zstd with a window of 2 TiB": packed(4, b"\x28\xb5\x2f\xfd\x00\xf8\1\0\0"),
        "producer id without sequence": changed(43, b"\0\0\0\0\0\0\0\1"),
        "record length past the batch": changed(61, b"\xfe\x7f"), "record length -1": changed(61, b"\1"),
        "record length of ten bytes": changed(61, b"\xff" * 10), "header count huge": changed(68, b"\xfe\xff\xff\xff\x0f"),
        "half a header": good[:30], "one byte": good[:1], "bytes after the batch": good + b"\0",
    }


@case("Produce")
def malformed_batches(s: Conversation, v: int) -> None:
    """Each alone."""
    topic = s.topic()
    topic_id = s.topic_id(topic)
    for label, records in batches().items():
        data = {"PartitionData": [{"Index": 0, "Records": records}], **({"TopicId": topic_id} if v >= 13 else {"Name": topic})}
        s.ask("Produce", v, {"Acks": -1, "TimeoutMs": 10_000, "TopicData": [data]}, label)


@case("Produce")
def produce_names(s: Conversation, v: int) -> None:
    """Topics that cannot be, and the same twice."""
    topic = s.topic()
    topic_id, good = s.topic_id(topic), batch(b"a")

    def data(name: str, id_: bytes, *indexes: int) -> dict:
        return {"PartitionData": [{"Index": index, "Records": good} for index in indexes],
                **({"TopicId": id_} if v >= 13 else {"Name": name})}

    def ask(label: str, *topics: dict) -> None:
        s.ask("Produce", v, {"Acks": -1, "TimeoutMs": 10_000, "TopicData": list(topics)}, label)
    if v >= 13:
        ask("zero topic id", data("", NIL, 0))
        ask("foreign topic id", data("", NOWHERE, 0))
    else:
        for label, name in BAD_NAMES.items():
            ask(f"name: {label}", data(name, NIL, 0))
    ask("a partition twice", data(topic, topic_id, 0, 0))
    ask("a topic twice", data(topic, topic_id, 0), data(topic, topic_id, 0))


@case("Metadata")
def metadata_names(s: Conversation, v: int) -> None:
    """Topics that cannot be."""
    for label, name in BAD_NAMES.items():
        s.ask("Metadata", v, {"Topics": [{"Name": name}], "AllowAutoTopicCreation": False}, f"name: {label}")
    if v >= 12:
        for label, id_ in (("zero", NIL), ("foreign", NOWHERE)):
            s.ask("Metadata", v, {"Topics": [{"Name": None, "TopicId": id_}]}, f"{label} topic id")


@case("CreateTopics")
def create_names(s: Conversation, v: int) -> None:
    """Topics that cannot be."""
    for label, name in BAD_NAMES.items():
        s.ask("CreateTopics", v, {"TimeoutMs": 5_000, "Topics": [{"Name": name, "NumPartitions": 1, "ReplicationFactor": 1}]}, f"name: {label}")
    s.ask("CreateTopics", v, {"TimeoutMs": 5_000, "Topics": [{"Name": s.name(), "NumPartitions": -(1 << 31), "ReplicationFactor": 1}]},
          "i32::MIN partitions")


@case("DeleteTopics")
def delete_twice(s: Conversation, v: int) -> None:
    """The same twice."""
    topic = s.topic()
    named = {"Topics": [{"Name": topic}, {"Name": topic}]} if v >= 6 else {"TopicNames": [topic, topic]}
    s.ask("DeleteTopics", v, {"TimeoutMs": 5_000, **named}, "a topic twice")


@case("Fetch")
def fetch_edges(s: Conversation, v: int) -> None:
    """Offsets, sizes, sessions and topics that cannot be."""
    topic = s.topic()
    s.produced(topic, batch(b"a", b"b", b"c", timestamp=1_700_000_000_000))
    topic_id = s.topic_id(topic)

    def ask(label: str, offset: int = 0, name: str = topic, id_: bytes = topic_id, session: dict | None = None, most: int = 1 << 20,
            partition: int = 0, times: int = 1) -> None:
        at = {"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": most, "CurrentLeaderEpoch": -1}
        data = {"Partitions": [at] * times, **({"TopicId": id_} if v >= 13 else {"Topic": name})}
        s.ask("Fetch", v, {"ReplicaId": -1, "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": most, "Topics": [data], **(session or EMPTY_SESSION)}, label)

    for offset in (-1, -(1 << 63), (1 << 63) - 1):
        ask(f"offset {offset >> 60}", offset)
    for most in (0, -1, -(1 << 31), (1 << 31) - 1):
        ask(f"max_bytes {most}", most=most)
    for partition in (-1, (1 << 31) - 1):
        ask(f"partition {partition}", partition=partition)
    ask("a partition twice", times=2)
    if v >= 7:
        for session, epoch in ((123, 7), (0, 9), (-1, 1), (0, -2)):
            ask(f"session {session}, epoch {epoch}", session={"SessionId": session, "SessionEpoch": epoch})
    if v >= 13:
        ask("zero topic id", id_=NIL)
        ask("foreign topic id", id_=NOWHERE)
    else:
        for label, name in BAD_NAMES.items():
            ask(f"name: {label}", name=name)


@case("ListOffsets")
def list_twice(s: Conversation, v: int) -> None:
    """The same twice, and names that cannot be."""
    topic = s.topic()
    at = {"PartitionIndex": 0, "Timestamp": -1, "CurrentLeaderEpoch": -1}
    s.ask("ListOffsets", v, {"ReplicaId": -1, "Topics": [{"Name": topic, "Partitions": [at, at]}]}, "a partition twice")
    for label, name in BAD_NAMES.items():
        s.ask("ListOffsets", v, {"ReplicaId": -1, "Topics": [{"Name": name, "Partitions": [at]}]}, f"name: {label}")


@case("JoinGroup")
def join_times(s: Conversation, v: int) -> None:
    """Sessions that are too short or too long, and no protocols."""
    group = s.name("g")
    s.coordinated(group)
    protocols = [{"Name": "range", "Metadata": b""}]
    for label, name, session, offered in (("session 0", group, 0, protocols), ("session -1", group, -1, protocols),
                                          ("session i32::MAX", group, (1 << 31) - 1, protocols), ("no group", "", 10_000, protocols),
                                          ("no protocols", group, 10_000, [])):
        s.ask("JoinGroup", v, {"GroupId": name, "SessionTimeoutMs": session, "RebalanceTimeoutMs": 10_000, "MemberId": "",
                               "ProtocolType": "consumer", "Protocols": offered}, label)


@case("OffsetCommit")
def commit_edges(s: Conversation, v: int) -> None:
    """Metadata that is too long, and what cannot be committed to."""
    topic, group = s.topic(), s.name("g")
    topic_id = s.topic_id(topic)
    s.coordinated(group)

    def ask(label: str, metadata: str, of: str = group, name: str = topic, id_: bytes = topic_id) -> None:
        partition = {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": metadata}
        named = {"TopicId": id_} if v >= 10 else {"Name": name}
        s.ask("OffsetCommit", v, {"GroupId": of, "GenerationIdOrMemberEpoch": -1, "MemberId": "", "Topics": [
            {**named, "Partitions": [partition]}]}, label)
    ask("metadata of 4,096 bytes", "m" * 4_096)
    ask("metadata of 4,097 bytes", "m" * 4_097)
    ask("metadata of 4,098 bytes in 2,049 characters", "ö" * 2_049)
    ask("no group", "", of="")
    ask("unknown topic", "", name=s.name("unknown"), id_=NOWHERE)


@case("ApiVersions")
def frames(s: Conversation, v: int) -> None:
    """Bytes that are no frame; once."""
    if v:
        return
    header = struct.pack(">hhih", 3, 1, 1, -1)
    for label, data in (
        ("length -1", b"\xff" * 4), ("length 0", bytes(4)), ("length 3", b"\0\0\0\3\1\2\3"), ("length 7", b"\0\0\0\7\0\x12\0\0\0\0\0"),
        ("length i32::MAX", b"\x7f\xff\xff\xff"), ("length 100 MiB + 1", b"\x06\x40\0\1"), ("TLS", b"\x16\3\1\2\0\1"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n"), ("SSH", b"SSH-2.0-OpenSSH\r\n"), ("unknown key 999", b"\0\0\0\x0a" + struct.pack(">hhih", 999, 0, 1, -1)),
        ("unknown key -1", b"\0\0\0\x0a" + struct.pack(">hhih", -1, 0, 1, -1)), ("no client id", b"\0\0\0\x08" + header[:8]),
        ("client id of -2", b"\0\0\0\x0a" + struct.pack(">hhih", 3, 1, 1, -2)),
        ("topics i32::MAX", b"\0\0\0\x0e" + header + b"\x7f\xff\xff\xff"), ("topics -2", b"\0\0\0\x0e" + header + b"\xff\xff\xff\xfe"),
        ("topic of no UTF-8", b"\0\0\0\x12" + header + b"\0\0\0\1\0\2\xff\xfe"),
        ("Metadata -1", b"\0\0\0\x0e" + struct.pack(">hhih", 3, -1, 1, -1) + bytes(4)),
        ("SaslHandshake", b"\0\0\0\x11" + struct.pack(">hhih", 17, 1, 1, -1) + b"\0\5PLAIN"),
    ):
        s.ask_raw(data, label)
