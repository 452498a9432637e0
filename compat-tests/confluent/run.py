"""confluent-kafka for Python: producer, assigned consumer, and admin, as applications use them.

Every consumer here assigns its partitions; those in groups are in `in_groups.py`.
"""

import os
import time
from dataclasses import dataclass, field

from confluent_kafka import (OFFSET_BEGINNING, OFFSET_END, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Consumer,
                             ElectionType, IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicCollection,
                             TopicPartition)
from confluent_kafka.admin import (AclBinding, AclOperation, AclPermissionType, AdminClient, AlterConfigOpType,
                                   ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourcePatternType,
                                   ResourceType)

import compaction  # noqa: F401, registers its checks
import in_groups  # noqa: F401, registers its checks
from checks import KAFKA, check, expect, fresh_name, run_checks
from stored_batches import stored_batches

WAIT_S = 20
ADMIN = AdminClient({"bootstrap.servers": KAFKA, "log_level": 3})


@dataclass
class Delivered:
    """Delivery reports in the order they came."""
    offsets: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """librdkafka's delivery callback."""
        if error is None:
            self.offsets.append(message.offset())
            self.messages.append(message)
        else:
            self.errors.append(error.code())


def create_topic(partitions: int = 1, config: dict[str, str] | None = None) -> str:
    """A fresh topic."""
    name = fresh_name("confluent")
    ADMIN.create_topics([NewTopic(name, partitions, 1, config=config or {})],
                        operation_timeout=WAIT_S)[name].result(WAIT_S)
    return name


def producer(**settings: object) -> Producer:
    """Settings with _ for the dot."""
    return Producer({"bootstrap.servers": KAFKA, "log_level": 2, **{k.replace("_", "."): v for k, v in settings.items()}})


def consumer(**settings: object) -> Consumer:
    """A consumer that only assigns."""
    return Consumer({"bootstrap.servers": KAFKA, "log_level": 2, "group.id": fresh_name("no-group"),
                     "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "error",
                     **{k.replace("_", "."): v for k, v in settings.items()}})


def produce(topic: str, values: list[bytes | None], partition: int = 0, **settings: object) -> Delivered:
    """All values to one partition, flushed; every record must be delivered."""
    delivered, sender = Delivered(), producer(**settings)
    for value in values:
        sender.produce(topic, value, partition=partition, on_delivery=delivered)
    expect(sender.flush(WAIT_S), 0, "records left after flush")
    expect(delivered.errors, [], "delivery errors")
    return delivered


def read(reader: Consumer, partitions: int = 1, wait_s: float = WAIT_S) -> list[Message]:
    """Messages until every assigned partition reported its end."""
    messages, ends, deadline = [], 0, time.monotonic() + wait_s
    while ends < partitions:
        message = reader.poll(0.5)
        assert time.monotonic() < deadline, f"no end of partition in {wait_s} s, {len(messages)} messages so far"
        if message is None:
            continue
        if message.error() is None:
            messages.append(message)
        elif message.error().code() == KafkaError._PARTITION_EOF:
            ends += 1
        else:
            raise KafkaException(message.error())
    return messages


def read_all(topic: str, partitions: int = 1, **settings: object) -> list[Message]:
    """Everything of a topic's first `partitions` partitions."""
    reader = consumer(**settings)
    reader.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    messages = read(reader, partitions)
    reader.close()
    return messages


def error_code(of: object) -> int:
    """The Kafka error code that a future fails with."""
    try:
        of.result(WAIT_S)
    except KafkaException as error:
        return error.args[0].code()
    return KafkaError.NO_ERROR


@check("admin describes the cluster, its controller among the brokers")
def describe_cluster() -> None:
    cluster = ADMIN.describe_cluster(request_timeout=WAIT_S).result(WAIT_S)
    assert cluster.cluster_id, "no cluster id"
    assert cluster.controller.id in [node.id for node in cluster.nodes], cluster.controller
    expect(f"{cluster.nodes[0].host}:{cluster.nodes[0].port}", KAFKA, "address of the only broker")


@check("admin lists and describes topics")
def list_and_describe_topics() -> None:
    topic = create_topic(partitions=4)
    listed = ADMIN.list_topics(timeout=WAIT_S)
    assert listed.cluster_id
    expect(sorted(listed.topics[topic].partitions), [0, 1, 2, 3], "partitions")
    described = ADMIN.describe_topics(TopicCollection([topic]), request_timeout=WAIT_S)[topic].result(WAIT_S)
    expect(len(described.partitions), 4, "described partitions")
    assert str(described.topic_id), "no topic id"
    assert all(p.leader is not None and len(p.isr) == 1 for p in described.partitions), described.partitions


@check("creating a topic twice, with a bad name, count or config fails with the exact error")
def create_errors() -> None:
    topic = create_topic()
    bad = {
        topic: (NewTopic(topic, 1, 1), KafkaError.TOPIC_ALREADY_EXISTS),
        "bad name!": (NewTopic("bad name!", 1, 1), KafkaError.TOPIC_EXCEPTION),
        "zero": (NewTopic(fresh_name("zero"), 0, 1), KafkaError.INVALID_PARTITIONS),
        "config": (NewTopic(fresh_name("cfg"), 1, 1, config={"retention.ms": "soon"}), KafkaError.INVALID_CONFIG),
    }
    for what, (new, wanted) in bad.items():
        expect(error_code(ADMIN.create_topics([new], operation_timeout=WAIT_S)[new.topic]), wanted, what)


@check("validate only creates nothing")
def validate_only() -> None:
    name = fresh_name("validated")
    ADMIN.create_topics([NewTopic(name, 1, 1)], validate_only=True)[name].result(WAIT_S)
    assert name not in ADMIN.list_topics(timeout=WAIT_S).topics


@check("admin adds partitions and refuses to remove them")
def create_partitions() -> None:
    topic = create_topic(partitions=2)
    ADMIN.create_partitions([NewPartitions(topic, 5)], operation_timeout=WAIT_S)[topic].result(WAIT_S)
    expect(len(ADMIN.list_topics(topic, timeout=WAIT_S).topics[topic].partitions), 5, "partitions")
    produce(topic, [b"in the new one"], partition=4)
    fewer = ADMIN.create_partitions([NewPartitions(topic, 3)], operation_timeout=WAIT_S)[topic]
    expect(error_code(fewer), KafkaError.INVALID_PARTITIONS)


@check("topic configs are stored and described with their source")
def describe_topic_configs() -> None:
    topic = create_topic(config={"cleanup.policy": "compact", "max.message.bytes": "2000000"})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    configs = ADMIN.describe_configs([resource], request_timeout=WAIT_S)[resource].result(WAIT_S)
    expect(configs["cleanup.policy"].value, "compact")
    expect(configs["max.message.bytes"].value, "2000000")
    assert not configs["cleanup.policy"].is_default and configs["retention.ms"].is_default
    for name in ("retention.bytes", "segment.bytes", "min.insync.replicas", "compression.type",
                 "message.timestamp.type", "delete.retention.ms"):
        assert name in configs, f"{name} is not described"


@check("broker configs are described")
def describe_broker_configs() -> None:
    node = ADMIN.describe_cluster(request_timeout=WAIT_S).result(WAIT_S).controller.id
    resource = ConfigResource(ResourceType.BROKER, str(node))
    assert ADMIN.describe_configs([resource], request_timeout=WAIT_S)[resource].result(WAIT_S)


@check("topic configs are altered one by one, and hold at once")
def alter_topic_configs() -> None:
    topic = create_topic(config={"segment.ms": "12345678"})

    def altered(*changes: tuple[str, AlterConfigOpType, str | None]) -> int:
        entries = [ConfigEntry(name, value, incremental_operation=kind) for name, kind, value in changes]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        return error_code(ADMIN.incremental_alter_configs([resource], request_timeout=WAIT_S)[resource])

    expect(altered(("max.message.bytes", AlterConfigOpType.SET, "1000"), ("segment.ms", AlterConfigOpType.DELETE, None),
                   ("cleanup.policy", AlterConfigOpType.APPEND, "compact")), KafkaError.NO_ERROR)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    configs = ADMIN.describe_configs([resource], request_timeout=WAIT_S)[resource].result(WAIT_S)
    expect([configs[name].value for name in ("max.message.bytes", "cleanup.policy")], ["1000", "delete,compact"])
    assert configs["segment.ms"].is_default, "segment.ms is not the default again"
    delivered, sender = Delivered(), producer(linger_ms=0)
    sender.produce(topic, bytes(2000), key=b"k", partition=0, on_delivery=delivered)
    sender.flush(WAIT_S)
    expect(delivered.errors, [KafkaError.MSG_SIZE_TOO_LARGE])
    expect(altered(("cleanup.policy", AlterConfigOpType.SUBTRACT, "compact")), KafkaError.NO_ERROR)
    for name, kind, value in (("no.such.config", AlterConfigOpType.SET, "1"), ("retention.ms", AlterConfigOpType.SET, "soon"),
                              ("retention.ms", AlterConfigOpType.APPEND, "1")):
        expect(altered((name, kind, value)), KafkaError.INVALID_CONFIG, f"{name} {kind}")


@check("no election is needed, there is no authorizer, and nobody has credentials")
def admin_answers() -> None:
    partition = TopicPartition(create_topic(), 0)
    elected = ADMIN.elect_leaders(ElectionType.PREFERRED, [partition]).result(WAIT_S)
    expect(elected[partition].code(), KafkaError.ELECTION_NOT_NEEDED)
    acl = AclBinding(ResourceType.TOPIC, "t", ResourcePatternType.LITERAL, "User:u", "*", AclOperation.READ,
                     AclPermissionType.ALLOW)
    expect(error_code(ADMIN.create_acls([acl], request_timeout=WAIT_S)[acl]), KafkaError.SECURITY_DISABLED)
    expect(ADMIN.describe_user_scram_credentials(request_timeout=WAIT_S).result(WAIT_S), {})


@check("a deleted topic is gone, and can be created again empty")
def delete_and_create_again() -> None:
    topic = create_topic()
    produce(topic, [b"old"])
    ADMIN.delete_topics([topic], operation_timeout=WAIT_S)[topic].result(WAIT_S)
    deadline = time.monotonic() + 5
    while topic in ADMIN.list_topics(timeout=WAIT_S).topics and time.monotonic() < deadline:
        time.sleep(0.05)
    assert topic not in ADMIN.list_topics(timeout=WAIT_S).topics, "still listed"
    missing = ADMIN.delete_topics([topic], operation_timeout=WAIT_S)[topic]
    expect(error_code(missing), KafkaError.UNKNOWN_TOPIC_OR_PART)
    ADMIN.create_topics([NewTopic(topic, 1, 1)], operation_timeout=WAIT_S)[topic].result(WAIT_S)
    expect(produce(topic, [b"new"]).offsets, [0], "first offset of the new topic")
    expect([m.value() for m in read_all(topic)], [b"new"])


@check("admin lists offsets: earliest, latest, by time, of the largest timestamp")
def list_offsets() -> None:
    topic = create_topic()
    sender = producer(linger_ms=0)
    for value, timestamp in ((b"a", 1000), (b"b", 5000), (b"c", 3000)):
        sender.produce(topic, value, partition=0, timestamp=timestamp)
        expect(sender.flush(WAIT_S), 0)
    partition = TopicPartition(topic, 0)
    for what, spec, wanted in (("earliest", OffsetSpec.earliest(), 0), ("latest", OffsetSpec.latest(), 3),
                               ("largest timestamp", OffsetSpec.max_timestamp(), 1),
                               ("by time", OffsetSpec.for_timestamp(2000), 1),
                               ("later than all", OffsetSpec.for_timestamp(9000), -1)):
        answer = ADMIN.list_offsets({partition: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED,
                                    request_timeout=WAIT_S)[partition].result(WAIT_S)
        expect(answer.offset, wanted, what)


def _codec_check(codec: str) -> None:
    @check(f"an idempotent producer's {codec} batches are stored as sent, with delivery reports in order")
    def stored_codec() -> None:
        topic = create_topic()
        values = [f"{codec} {i:05} ".encode() * 20 for i in range(2000)]
        delivered = produce(topic, values, enable_idempotence=True, compression_type=codec, linger_ms=20)
        expect(delivered.offsets, list(range(2000)), "delivered offsets")
        expect([m.value() for m in read_all(topic)], values, "values")
        batches = stored_batches(KAFKA, topic)
        expect({b.codec for b in batches}, {codec}, "stored codecs")
        assert all(b.crc_ok and b.producer_id >= 0 for b in batches), "CRC or producer id of a stored batch"


for _codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    _codec_check(_codec)


@check("headers keep their order, repeat, and may be null or empty")
def headers() -> None:
    topic = create_topic()
    sent = [("b", b"1"), ("a", b"\x00\xff"), ("b", b"2"), ("none", None), ("empty", b""), ("", b"no name")]
    sender = producer(enable_idempotence=True)
    sender.produce(topic, b"v", partition=0, headers=sent)
    expect(sender.flush(WAIT_S), 0)
    expect(read_all(topic)[0].headers(), sent)


@check("null and empty keys and values are kept apart")
def null_and_empty() -> None:
    topic = create_topic()
    sent = [(None, None), (b"", b""), (b"k", None), (None, b"v"), (b"", None), (None, b"")]
    sender = producer()
    for key, value in sent:
        sender.produce(topic, value, key=key, partition=0)
    expect(sender.flush(WAIT_S), 0)
    expect([(m.key(), m.value()) for m in read_all(topic)], sent)


@check("create time is the producer's; log append time is the broker's")
def timestamps() -> None:
    topic = create_topic()
    sender = producer()
    sender.produce(topic, b"v", partition=0, timestamp=1_234_567_890_123)
    expect(sender.flush(WAIT_S), 0)
    expect(read_all(topic)[0].timestamp(), (TIMESTAMP_CREATE_TIME, 1_234_567_890_123))

    topic = create_topic(config={"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    delivered, sender = Delivered(), producer(compression_type="zstd")
    for i in range(10):
        sender.produce(topic, b"v%d" % i, partition=0, timestamp=1000, on_delivery=delivered)
    expect(sender.flush(WAIT_S), 0)
    messages = read_all(topic)
    expect([m.value() for m in messages], [b"v%d" % i for i in range(10)])
    for message in messages + delivered.messages:
        kind, at = message.timestamp()
        expect(kind, TIMESTAMP_LOG_APPEND_TIME, "timestamp type")
        assert before - 2000 <= at <= time.time() * 1000 + 2000, f"append time {at}, now {before}"
    batches = stored_batches(KAFKA, topic)
    assert all(b.log_append_time and b.crc_ok for b in batches), batches


@check("a record above the topic's limit is refused as too large, and the next one is stored")
def too_large() -> None:
    topic = create_topic(config={"max.message.bytes": "100000"})
    delivered, sender = Delivered(), producer(enable_idempotence=True, linger_ms=0)
    sender.produce(topic, os.urandom(200_000), partition=0, on_delivery=delivered)
    sender.flush(WAIT_S)
    expect(delivered.errors, [KafkaError.MSG_SIZE_TOO_LARGE])
    expect(produce(topic, [b"small"]).offsets, [0])


@check("a 900 KB record and a 5 MB record in a topic that allows it come back whole")
def large() -> None:
    topic = create_topic(config={"max.message.bytes": "8000000"})
    values = [os.urandom(900_000), os.urandom(5_000_000), b"after"]
    produce(topic, values, message_max_bytes=8_000_000)
    assert [m.value() for m in read_all(topic, fetch_message_max_bytes=1000)] == values, "values differ"


@check("a null key in a compacted topic is refused")
def compacted_needs_keys() -> None:
    topic = create_topic(config={"cleanup.policy": "compact"})
    delivered, sender = Delivered(), producer()
    sender.produce(topic, b"v", partition=0, on_delivery=delivered)
    sender.flush(WAIT_S)
    expect(delivered.errors, [KafkaError.INVALID_RECORD])


@check("an unknown topic without auto-creation is an error and is not created")
def unknown_topic() -> None:
    topic = fresh_name("never")
    reader = consumer(allow_auto_create_topics=False)
    found = reader.list_topics(topic, timeout=WAIT_S).topics[topic]
    expect(found.error.code(), KafkaError.UNKNOWN_TOPIC_OR_PART, "metadata error")
    try:
        watermarks = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=5)
        raise AssertionError(f"watermarks of an unknown topic: {watermarks}")
    except KafkaException as error:
        assert error.args[0].code() != KafkaError._TIMED_OUT, error
    reader.close()
    assert topic not in ADMIN.list_topics(timeout=WAIT_S).topics, "was created"


@check("a transactional producer is refused, not stored as plain data")
def transactions_are_refused() -> None:
    topic = create_topic()
    sender = producer(transactional_id=fresh_name("txn"))
    try:
        sender.init_transactions(5)
    except KafkaException:
        expect(len(stored_batches(KAFKA, topic)), 0, "stored batches")
        return
    sender.begin_transaction()  # a broker with transactions: then they must work
    sender.produce(topic, b"v", partition=0)
    sender.commit_transaction(WAIT_S)
    assert all(b.transactional for b in stored_batches(KAFKA, topic)), "stored as plain data"


@check("a consumer seeks, finds offsets by time, and knows the watermarks")
def positions() -> None:
    topic = create_topic()
    sender = producer()
    for i in range(100):
        sender.produce(topic, str(i).encode(), partition=0, timestamp=10_000 + 10 * i)
    expect(sender.flush(WAIT_S), 0)
    reader = consumer()
    partition = TopicPartition(topic, 0)
    expect(reader.get_watermark_offsets(partition, timeout=WAIT_S), (0, 100), "watermarks")
    for at, wanted in ((0, 0), (10_000, 0), (10_495, 50), (10_990, 99)):
        found = reader.offsets_for_times([TopicPartition(topic, 0, at)], timeout=WAIT_S)[0]
        expect(found.offset, wanted, f"offset at {at}")
    reader.assign([TopicPartition(topic, 0, 90)])
    expect([m.value() for m in read(reader)], [str(i).encode() for i in range(90, 100)], "from 90")
    reader.seek(TopicPartition(topic, 0, 42))
    first = reader.poll(WAIT_S)
    expect((first.error(), first.offset(), first.value()), (None, 42, b"42"), "after seek")
    reader.close()


@check("an offset past the end is out of range, at the end waits for data")
def past_the_end() -> None:
    topic = create_topic()
    produce(topic, [b"0", b"1"])
    reader = consumer()
    reader.assign([TopicPartition(topic, 0, 7)])
    message = reader.poll(WAIT_S)
    assert message is not None and message.error() is not None, "no error for an offset past the end"
    assert message.error().code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE), message.error()
    reader.assign([TopicPartition(topic, 0, OFFSET_END)])
    expect(read(reader), [], "at the end")
    produce(topic, [b"2"])
    message = reader.poll(WAIT_S)
    expect((message.error(), message.value()), (None, b"2"), "after new data")
    reader.close()


@check("a waiting consumer is woken by data, not by its time-out")
def long_poll() -> None:
    topic = create_topic()
    reader = consumer(fetch_wait_max_ms=10_000)
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    read(reader)
    sender, waits = producer(linger_ms=0), []
    for i in range(5):
        time.sleep(0.2)
        began = time.monotonic()
        sender.produce(topic, b"%d" % i, partition=0)
        sender.poll(0)
        while (message := reader.poll(5)) is not None and message.error() is not None:
            pass
        assert message is not None, "nothing in 5 s"
        waits.append(time.monotonic() - began)
    sender.flush(WAIT_S)
    reader.close()
    assert max(waits) < 1.0, f"waits {[f'{w:.3f}' for w in waits]} s"


@check("many partitions in one assignment all arrive, each in order")
def many_partitions() -> None:
    topic = create_topic(partitions=32)
    sender = producer(enable_idempotence=True, linger_ms=5)
    for i in range(3200):
        sender.produce(topic, b"%d" % i, partition=i % 32)
    expect(sender.flush(WAIT_S), 0)
    messages = read_all(topic, partitions=32)
    for partition in range(32):
        values = [int(m.value()) for m in messages if m.partition() == partition]
        expect(values, list(range(partition, 3200, 32)), f"partition {partition}")


@check("two idempotent producers on one partition keep their own order")
def two_producers() -> None:
    topic = create_topic()
    senders = [producer(enable_idempotence=True, linger_ms=1) for _ in range(2)]
    for i in range(500):
        for number, sender in enumerate(senders):
            sender.produce(topic, b"%d %d" % (number, i), partition=0)
            sender.poll(0)
    for sender in senders:
        expect(sender.flush(WAIT_S), 0)
    pairs = [tuple(map(int, m.value().split())) for m in read_all(topic)]
    for number in range(2):
        expect([i for n, i in pairs if n == number], list(range(500)), f"producer {number}")


def group_consumer(group: str, topic: str, **settings: object) -> Consumer:
    """A member of a KIP-848 group; a topic that begins with ^ is a regular expression."""
    settings = {"group_protocol": "consumer", "auto_offset_reset": "earliest", "enable_partition_eof": False, **settings}
    member = consumer(group_id=group, **settings)
    member.subscribe([topic])
    return member


def poll_until(members: list[Consumer], done: object, what: str, wait_s: float = 40) -> list[Message]:
    """Polls all members in turn until `done(messages)`."""
    messages, deadline = [], time.monotonic() + wait_s
    while not done(messages):
        assert time.monotonic() < deadline, f"not in {wait_s} s: {what}; {len(messages)} messages"
        for member in members:
            message = member.poll(0.1)
            if message is not None and message.error() is not None:
                raise KafkaException(message.error())
            messages += [message] if message is not None else []
    return messages


@check("a KIP-848 group shares a topic, rebalances, commits and goes on")
def consumer_group() -> None:
    topic, group = create_topic(partitions=4), fresh_name("group")
    for partition in range(4):
        produce(topic, [f"{partition}-{n}".encode() for n in range(5)], partition=partition)
    first = group_consumer(group, topic)
    messages = poll_until([first], lambda messages: len(messages) == 20, "one member reads everything")
    expect(len(first.assignment()), 4, "partitions of a member that is alone")
    second = group_consumer(group, topic)
    poll_until([first, second], lambda _: len(first.assignment()) == 2 == len(second.assignment()), "shared evenly")
    both = [(p.topic, p.partition) for p in first.assignment() + second.assignment()]
    expect(len(set(both)), 4, "partitions of both")
    end = {p: max(m.offset() for m in messages if m.partition() == p) + 1 for p in range(4)}
    for member in (first, second):
        member.commit(offsets=[TopicPartition(topic, p.partition, end[p.partition]) for p in member.assignment()],
                      asynchronous=False)
    first.close()
    poll_until([second], lambda _: len(second.assignment()) == 4, "all partitions come to the one that is left")
    second.close()
    produce(topic, [b"new"], partition=2)
    again = group_consumer(group, topic)
    read_again = poll_until([again], lambda messages: len(messages) == 1, "goes on at what was committed")
    expect([(m.partition(), m.value()) for m in read_again], [(2, b"new")], "what is new")
    again.close()


@check("a KIP-848 group follows a regular expression and new partitions")
def consumer_group_by_expression() -> None:
    topic, group = create_topic(partitions=1), fresh_name("group")
    member = group_consumer(group, f"^{topic}.*")
    poll_until([member], lambda _: len(member.assignment()) == 1, "the topic that is there")
    ADMIN.create_partitions([NewPartitions(topic, 3)], operation_timeout=WAIT_S)[topic].result(WAIT_S)
    ADMIN.create_topics([NewTopic(f"{topic}-2", 2, 1)], operation_timeout=WAIT_S)[f"{topic}-2"].result(WAIT_S)
    poll_until([member], lambda _: len(member.assignment()) == 5, "new partitions and a new topic")
    member.close()


@check("a static member of a KIP-848 group comes back to its partitions, and admin sees the group")
def static_consumer_group() -> None:
    topic, group = create_topic(partitions=4), fresh_name("group")
    members = [group_consumer(group, topic, group_instance_id=f"i{n}") for n in range(2)]
    poll_until(members, lambda _: all(len(member.assignment()) == 2 for member in members), "shared evenly")
    described = ADMIN.describe_consumer_groups([group], request_timeout=WAIT_S)[group].result(WAIT_S)
    expect(sorted(member.group_instance_id for member in described.members), ["i0", "i1"], "instances")
    listed = ADMIN.list_consumer_groups(request_timeout=WAIT_S).result(WAIT_S)
    assert group in [one.group_id for one in listed.valid], "not listed"
    had = sorted(p.partition for p in members[0].assignment())
    members[0].close()
    members[0] = group_consumer(group, topic, group_instance_id="i0")
    poll_until(members, lambda _: len(members[0].assignment()) == 2, "comes back")
    expect(sorted(p.partition for p in members[0].assignment()), had, "partitions after it came back")
    expect(error_code(ADMIN.delete_consumer_groups([group], request_timeout=WAIT_S)[group]),
           KafkaError.NON_EMPTY_GROUP, "deleting a group with members")
    for member in members:
        member.close()


run_checks()
