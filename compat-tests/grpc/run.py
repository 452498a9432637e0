"""The gRPC service with a stock client: codes, idempotence, streaming, and one log shared with Kafka clients.

The stubs are generated from proto/ into a temporary folder, as any user of the service would do it.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from checks import GRPC, KAFKA, check, expect, fresh_name, run_checks
from stored_batches import stored_batches

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "streamhouse.producer.ProducerService"
WAIT_S = 20

_stubs = tempfile.TemporaryDirectory(prefix="streamhouse-stubs-")
subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={_stubs.name}",
                f"--grpc_python_out={_stubs.name}", "streamhouse/producer/producer.proto"], check=True)
sys.path.insert(0, _stubs.name)
from streamhouse.producer import producer_pb2 as pb  # noqa: E402 (generated just above)
from streamhouse.producer import producer_pb2_grpc as service  # noqa: E402

CHANNEL = grpc.insecure_channel(GRPC, options=[("grpc.max_send_message_length", 64 << 20)])
STUB = service.ProducerServiceStub(CHANNEL)
ADMIN = AdminClient({"bootstrap.servers": KAFKA, "log_level": 3})


def create_topic(partitions: int = 1, **configs: str) -> str:
    """A fresh topic, made through Kafka."""
    name = fresh_name("grpc")
    config = {k.replace("_", "."): v for k, v in configs.items()}
    ADMIN.create_topics([NewTopic(name, partitions, 1, config=config)], operation_timeout=WAIT_S)[name].result(WAIT_S)
    return name


def produce(topic: str, *values: bytes, **fields: object) -> pb.ProduceResponse:
    """One Produce of records that have only values."""
    return STUB.Produce(pb.ProduceRequest(topic=topic, records=[pb.Record(value=v) for v in values], **fields),
                        timeout=WAIT_S)


def expect_status(wanted: grpc.StatusCode, call: object, *arguments: object, **fields: object) -> grpc.RpcError:
    """The error; raises if the call succeeds or ends otherwise, or does not say why."""
    try:
        answer = call(*arguments, **fields)
    except grpc.RpcError as error:
        expect(error.code(), wanted, f"status ({error.details()})")
        assert error.details(), "a status without a message"
        return error
    raise AssertionError(f"succeeded with {answer}, expected {wanted}")


def read_all(topic: str, partition: int = 0) -> list:
    """All messages of a partition through a Kafka client."""
    reader = Consumer({"bootstrap.servers": KAFKA, "group.id": "none", "enable.auto.commit": False,
                       "enable.partition.eof": True, "log_level": 2})
    reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    messages, deadline = [], time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        message = reader.poll(0.5)
        if message is None:
            continue
        if message.error() is not None:
            expect(message.error().code(), KafkaError._PARTITION_EOF, "poll error")
            reader.close()
            return messages
        messages.append(message)
    raise AssertionError(f"no end of partition, {len(messages)} messages")


@check("reflection lists the service and its methods, health is serving")
def reflection_and_health() -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(CHANNEL)
    try:
        answers = list(stub.ServerReflectionInfo(iter([
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)]), timeout=WAIT_S))
    except grpc.RpcError as error:
        expect(error.code(), grpc.StatusCode.UNIMPLEMENTED, "v1alpha reflection")
        answers = list(CHANNEL.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)(iter([
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)]), timeout=WAIT_S))
    names = {s.name for s in answers[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names, names
    assert answers[1].file_descriptor_response.file_descriptor_proto, answers[1]
    health = health_pb2_grpc.HealthStub(CHANNEL)
    for name in ("", SERVICE):
        expect(health.Check(health_pb2.HealthCheckRequest(service=name), timeout=WAIT_S).status,
               health_pb2.HealthCheckResponse.SERVING, f"health of {name!r}")


@check("a durable write has its offset, count and receipt, and a Kafka client reads it")
def produce_and_read() -> None:
    topic = create_topic(partitions=2)
    records = [pb.Record(key=b"k", value=b"v", timestamp=1_234_567_890_123,
                         ordered_headers=[pb.Header(key="b", value=b"1"), pb.Header(key="a"), pb.Header(key="b", value=b"2")]),
               pb.Record(value=b""), pb.Record(key=b"", null_value=True), pb.Record(headers={"h": b"x"}, value=b"w")]
    answer = STUB.Produce(pb.ProduceRequest(topic=topic, partition=1, records=records, ack_mode=pb.ACK_DURABLE), timeout=WAIT_S)
    expect((answer.base_offset, answer.record_count, answer.duplicates_filtered, answer.partition), (0, 4, False, 1))
    assert answer.HasField("receipt") and answer.receipt.segment_object_key, answer
    messages = read_all(topic, 1)
    expect([(m.key(), m.value()) for m in messages], [(b"k", b"v"), (None, b""), (b"", None), (None, b"w")])
    expect(messages[0].headers(), [("b", b"1"), ("a", None), ("b", b"2")])
    expect(messages[0].timestamp()[1], 1_234_567_890_123, "timestamp")
    assert abs(messages[1].timestamp()[1] - time.time() * 1000) < 60_000, "an unset timestamp is the agent's time"
    expect(messages[3].headers(), [("h", b"x")])
    expect(produce(topic, b"next", partition=1).base_offset, 4, "next offset")
    batches = stored_batches(KAFKA, topic, 1)
    assert all(b.crc_ok for b in batches), batches


@check("the receipt's checksum and leader epoch are those of the stored batch")
def receipt() -> None:
    topic = create_topic()
    answer = produce(topic, b"v")
    expect(answer.receipt.leader_epoch, stored_batches(KAFKA, topic)[0].leader_epoch, "leader epoch")
    assert answer.receipt.checksum != 0


@check("a duplicate answers its first offset and says so; a gap is FAILED_PRECONDITION")
def idempotence() -> None:
    topic = create_topic()
    producer = STUB.InitProducer(pb.InitProducerRequest(), timeout=WAIT_S)
    int(producer.producer_id)
    as_producer = {"producer_id": producer.producer_id, "producer_epoch": producer.epoch}
    produce(topic, b"other")
    expect(produce(topic, b"a", b"b", base_sequence=0, **as_producer).base_offset, 1)
    expect(produce(topic, b"c", base_sequence=2, **as_producer).base_offset, 3)
    again = produce(topic, b"a", b"b", base_sequence=0, **as_producer)
    expect((again.base_offset, again.record_count, again.duplicates_filtered), (1, 2, True))
    expect_status(grpc.StatusCode.FAILED_PRECONDITION, produce, topic, b"x", base_sequence=9, **as_producer)
    expect([m.value() for m in read_all(topic)], [b"other", b"a", b"b", b"c"])
    alive = STUB.Heartbeat(pb.HeartbeatRequest(**as_producer), timeout=WAIT_S)
    expect(alive.valid, True, "heartbeat")


@check("a producer id works the same through Kafka and gRPC")
def one_idempotence() -> None:
    topic = create_topic()
    sender = Producer({"bootstrap.servers": KAFKA, "enable.idempotence": True, "linger.ms": 100, "log_level": 2})
    for value in (b"0", b"1", b"2"):
        sender.produce(topic, value, partition=0)
    expect(sender.flush(WAIT_S), 0)
    stored = stored_batches(KAFKA, topic)
    same = {"producer_id": str(stored[0].producer_id), "producer_epoch": stored[0].producer_epoch}
    first = stored[0]
    duplicate = produce(topic, *[b"x"] * first.count, base_sequence=0, **same)
    expect((duplicate.base_offset, duplicate.duplicates_filtered), (0, True), "Kafka's batch, repeated over gRPC")
    expect(produce(topic, b"3", base_sequence=3, **same).base_offset, 3, "Kafka's sequence continued over gRPC")
    expect([m.value() for m in read_all(topic)], [b"0", b"1", b"2", b"3"])


@check("unknown topics and partitions are NOT_FOUND and are not created")
def unknown() -> None:
    name = fresh_name("missing")
    expect_status(grpc.StatusCode.NOT_FOUND, produce, name, b"v")
    expect_status(grpc.StatusCode.NOT_FOUND, produce, create_topic(), b"v", partition=7)
    assert name not in ADMIN.list_topics(timeout=WAIT_S).topics, "was created"


@check("bad arguments are INVALID_ARGUMENT, transactions UNIMPLEMENTED")
def bad_arguments() -> None:
    topic = create_topic()
    expect_status(grpc.StatusCode.INVALID_ARGUMENT, produce, topic)
    expect_status(grpc.StatusCode.INVALID_ARGUMENT, produce, topic, b"v", producer_id="no number", producer_epoch=0,
                  base_sequence=0)
    expect_status(grpc.StatusCode.INVALID_ARGUMENT, produce, topic, b"v", base_sequence=0)
    for call, request in ((STUB.BeginTransaction, pb.BeginTransactionRequest),
                          (STUB.CommitTransaction, pb.CommitTransactionRequest),
                          (STUB.AbortTransaction, pb.AbortTransactionRequest)):
        expect_status(grpc.StatusCode.UNIMPLEMENTED, call, request(producer_id="1"), timeout=WAIT_S)
    expect(read_all(topic), [], "nothing is stored")


@check("a fenced epoch is FAILED_PRECONDITION")
def fenced_epoch() -> None:
    topic = create_topic()
    producer = STUB.InitProducer(pb.InitProducerRequest(), timeout=WAIT_S)
    produce(topic, b"a", producer_id=producer.producer_id, producer_epoch=producer.epoch + 1, base_sequence=0)
    expect_status(grpc.StatusCode.FAILED_PRECONDITION, produce, topic, b"b", producer_id=producer.producer_id,
                  producer_epoch=producer.epoch, base_sequence=0)


@check("a conditional append succeeds once, and else says the current end")
def conditional_append() -> None:
    topic = create_topic()
    expect(produce(topic, b"0", expected_base_offset=0).base_offset, 0)
    error = expect_status(grpc.StatusCode.FAILED_PRECONDITION, produce, topic, b"1", expected_base_offset=0)
    expect(dict(error.trailing_metadata()).get("streamhouse-end-offset"), "1", "end in the trailers")
    outcomes = []

    def append() -> None:
        try:
            outcomes.append(produce(topic, b"race", expected_base_offset=1).base_offset)
        except grpc.RpcError as refused:
            outcomes.append(refused.code())
    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(sorted(map(str, outcomes)), sorted(["1"] + [str(grpc.StatusCode.FAILED_PRECONDITION)] * 7), "eight at once")
    expect(len(read_all(topic)), 2, "records")


@check("a key chooses the same partition as Kafka's default partitioner")
def partition_by_key() -> None:
    topic = create_topic(partitions=8)
    keys = [b"key %d" % i for i in range(40)]
    sender = Producer({"bootstrap.servers": KAFKA, "partitioner": "murmur2", "log_level": 2})
    for key in keys:
        sender.produce(topic, b"kafka", key=key)
    expect(sender.flush(WAIT_S), 0)
    for key in keys:
        keyed = pb.Record(key=key, value=b"grpc")
        STUB.Produce(pb.ProduceRequest(topic=topic, records=[keyed], partition_by_key=True), timeout=WAIT_S)
    place: dict[bytes, set[int]] = {}
    for partition in range(8):
        for message in read_all(topic, partition):
            place.setdefault(message.key(), set()).add(partition)
    expect({key for key, partitions in place.items() if len(partitions) != 1}, set(), "keys in two partitions")
    expect(len(place), 40, "keys")


@check("weaker ack modes answer, and their records arrive")
def ack_modes() -> None:
    topic = create_topic()
    for mode in (pb.ACK_NONE, pb.ACK_BUFFERED, pb.ACK_DEFAULT):
        answer = produce(topic, b"v", ack_mode=mode)
        expect(answer.HasField("receipt"), mode == pb.ACK_DEFAULT, f"receipt with ack mode {mode}")
    expect(len(read_all(topic)), 3, "records once a durable write after them is answered")


@check("a stream answers in order, and a failed request does not end it")
def stream() -> None:
    topic = create_topic()
    requests = [pb.ProduceRequest(topic=topic, records=[pb.Record(value=b"%d" % i)]) for i in range(500)]
    requests[250] = pb.ProduceRequest(topic=fresh_name("missing"), records=[pb.Record(value=b"x")])
    answers = list(STUB.ProduceStream(iter(requests), timeout=60))
    expect([a.sequence for a in answers], list(range(500)), "sequences")
    failures = [(a.sequence, a.failure.code) for a in answers if a.HasField("failure")]
    expect(failures, [(250, grpc.StatusCode.NOT_FOUND.value[0])])
    offsets = [a.response.base_offset for a in answers if a.HasField("response")]
    expect(offsets, list(range(499)), "offsets")
    expect(len(read_all(topic)), 499, "records")


@check("an idempotent producer on a stream writes each record once")
def idempotent_stream() -> None:
    topic = create_topic()
    producer = STUB.InitProducer(pb.InitProducerRequest(), timeout=WAIT_S)
    once = [pb.ProduceRequest(topic=topic, records=[pb.Record(value=b"%d" % i)], producer_id=producer.producer_id,
                              producer_epoch=producer.epoch, base_sequence=i) for i in range(50)]
    answers = list(STUB.ProduceStream(iter([r for request in once for r in (request, request)]), timeout=60))
    expect([a.response.base_offset for a in answers], [i // 2 for i in range(100)], "offsets")
    expect([a.response.duplicates_filtered for a in answers], [i % 2 == 1 for i in range(100)], "duplicates")
    expect([m.value() for m in read_all(topic)], [b"%d" % i for i in range(50)])


@check("log append time and a too large batch are as through Kafka")
def topic_configs() -> None:
    topic = create_topic(message_timestamp_type="LogAppendTime", max_message_bytes="10000")
    answer = produce(topic, b"v")
    assert abs(answer.log_append_time - time.time() * 1000) < 60_000, answer
    expect(read_all(topic)[0].timestamp()[1], answer.log_append_time, "append time")
    expect_status(grpc.StatusCode.INVALID_ARGUMENT, produce, topic, os.urandom(20_000))


@check("an unknown organization is NOT_FOUND")
def organizations() -> None:
    topic = create_topic()
    expect_status(grpc.StatusCode.NOT_FOUND, STUB.Produce, pb.ProduceRequest(topic=topic, records=[pb.Record(value=b"v")]),
                  metadata=(("x-organization-id", "nobody"),), timeout=WAIT_S)


run_checks()
