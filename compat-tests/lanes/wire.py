"""Kafka's wire protocol over a socket, without retries: what an agent answers is what the caller gets.

Five APIs, each in its newest version without flexible fields (schemas: Kafka's message definitions): Produce 8, Fetch 11,
ListOffsets 5, Metadata 8, InitProducerId 1; and Produce 13, which names a topic by its id. Requests on a connection may be pipelined; answers come in their order.
"""

import socket
import struct
import time
from collections import deque
from dataclasses import dataclass

from stored_batches import crc32c

PRODUCE, FETCH, LIST_OFFSETS, METADATA, INIT_PRODUCER_ID = 0, 1, 2, 3, 22
PRODUCE_BY_ID = 13
"""Version of a Produce whose fields are flexible, as are its headers."""
VERSIONS = {PRODUCE: 8, FETCH: 11, LIST_OFFSETS: 5, METADATA: 8, INIT_PRODUCER_ID: 1}
LATEST, EARLIEST = -1, -2
BATCH_HEADER = 61
ANSWER_BYTES_MAX = 64 << 20


class Reader:
    """Takes an answer apart, front to back."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, layout: str) -> tuple:
        """Numbers, big-endian."""
        fields = struct.unpack_from(">" + layout, self._data, self._at)
        self._at += struct.calcsize(">" + layout)
        return fields

    def number(self, layout: str) -> int:
        """One number."""
        return self.take(layout)[0]

    def string(self) -> str | None:
        """A nullable string."""
        size = self.number("h")
        return None if size < 0 else self._bytes(size).decode()

    def blob(self) -> bytes:
        """Nullable bytes, null as empty."""
        return self._bytes(max(self.number("i"), 0))

    def count(self) -> int:
        """The length of a nullable array."""
        return max(self.number("i"), 0)

    def _bytes(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size:self._at]


class Connection:
    """One connection to one agent. Every method raises OSError if it is lost or silent; it is of no use then."""

    def __init__(self, address: str, timeout_s: float):
        host, port = address.rsplit(":", 1)
        self.address = address
        self.waiting: deque = deque()
        """What the caller remembers of requests that are not answered yet, in order."""
        self._timeout_s = timeout_s
        self._socket = socket.create_connection((host, int(port)), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sent = self._received = 0

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def send(self, api: int, body: bytes, remember: object = None, version: int | None = None) -> None:
        """Sends a request and does not wait; in another version than usual its body begins with the end of its header."""
        header = struct.pack(">hhi", api, VERSIONS[api] if version is None else version, self._sent) + string("raw")
        self._sent += 1
        self.waiting.append(remember)
        self._socket.settimeout(self._timeout_s)
        self._socket.sendall(struct.pack(">i", len(header) + len(body)) + header + body)

    def receive(self) -> tuple[object, Reader]:
        """The next answer, and what was remembered of its request."""
        deadline = time.monotonic() + self._timeout_s
        size = struct.unpack(">i", self._exactly(4, deadline))[0]
        if not 4 <= size <= ANSWER_BYTES_MAX:
            raise OSError(f"an answer of {size} bytes")
        answer = Reader(self._exactly(size, deadline))
        correlation = answer.number("i")
        if correlation != self._received:
            raise OSError(f"answer {correlation}, expected {self._received}")
        self._received += 1
        return self.waiting.popleft(), answer

    def ask(self, api: int, body: bytes, version: int | None = None) -> Reader:
        """One request and its answer; nothing else may be waiting."""
        self.send(api, body, version=version)
        return self.receive()[1]

    def close(self) -> None:
        """Whatever is waiting stays unanswered."""
        self._socket.close()

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionError("closed by the agent")
            data += part
        return bytes(data)


def string(text: str | None) -> bytes:
    """A nullable string."""
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


@dataclass(frozen=True)
class Leaders:
    """Who leads what, as one agent sees it: addresses by partition, without those that have no leader."""
    addresses: dict[int, str]


def metadata(connection: Connection, topic: str) -> Leaders:
    """The leaders of a topic's partitions."""
    answer = connection.ask(METADATA, struct.pack(">i", 1) + string(topic) + struct.pack(">???", False, False, False))
    answer.number("i")
    nodes = {}
    for _ in range(answer.count()):
        node = answer.number("i")
        host = answer.string()
        nodes[node] = f"{host}:{answer.number('i')}"
        answer.string()
    answer.string()
    answer.number("i")
    leaders = {}
    for _ in range(answer.count()):
        answer.number("h")
        answer.string()
        answer.number("b")
        for _ in range(answer.count()):
            _, partition, leader, _ = answer.take("hiii")
            for _ in range(3):
                answer.take("i" * answer.count())
            if leader in nodes:
                leaders[partition] = nodes[leader]
        answer.number("i")
    return Leaders(leaders)


def init_producer_id(connection: Connection) -> tuple[int, int, int]:
    """(error, producer id, epoch) of a new idempotent producer."""
    answer = connection.ask(INIT_PRODUCER_ID, string(None) + struct.pack(">i", 60_000))
    answer.number("i")
    return answer.take("hqh")


def produce_request(topic: str, partition: int, batch: bytes, timeout_ms: int) -> bytes:
    """One batch for one partition, acks=all."""
    return (string(None) + struct.pack(">hii", -1, timeout_ms, 1) + string(topic)
            + struct.pack(">iii", 1, partition, len(batch)) + batch)


def produce_answer(answer: Reader) -> tuple[int, int]:
    """(error, base offset) of the one partition."""
    answer.count()
    answer.string()
    answer.count()
    _, error, base_offset, _, _ = answer.take("ihqqq")
    return error, base_offset


def produce_by_id_request(topic_id: bytes, partition: int, batch: bytes, timeout_ms: int) -> bytes:
    """The same for the topic with this id, of 16 bytes, as PRODUCE_BY_ID."""
    no_tags, null, one = b"\0", b"\0", b"\2"
    return (no_tags + null + struct.pack(">hi", -1, timeout_ms) + one + topic_id + one + struct.pack(">i", partition)
            + _unsigned(len(batch) + 1) + batch + 3 * no_tags)


def produce_by_id_answer(answer: Reader) -> tuple[int, int]:
    """(error, base offset) of the one partition; whatever else there is, its arrays have one entry."""
    _, topics, _, partitions, _, error, base_offset = answer.take("BB16sBihq")
    if (topics, partitions) != (2, 2):
        raise OSError(f"an answer for {topics - 1} topics and {partitions - 1} partitions")
    return error, base_offset


@dataclass(frozen=True)
class Fetched:
    """What a fetch brought of one partition. Records are (offset, value, timestamp in ms)."""
    partition: int
    error: int
    high_watermark: int
    records: list[tuple[int, bytes, int]]


def fetch(connection: Connection, topic: str, positions: dict[int, int], max_wait_ms: int) -> list[Fetched]:
    """Records from these positions on; control batches are left out, and so are the beginnings of batches before them."""
    body = struct.pack(">iiiibiii", -1, max_wait_ms, 1, 8 << 20, 0, 0, -1, 1) + string(topic) + struct.pack(">i", len(positions))
    for partition, offset in positions.items():
        body += struct.pack(">iiqqi", partition, -1, offset, -1, 1 << 20)
    answer = connection.ask(FETCH, body + struct.pack(">i", 0) + string(""))
    _, error, _ = answer.take("ihi")
    if error != 0:
        raise OSError(f"Fetch: error {error}")
    found = []
    for _ in range(answer.count()):
        answer.string()
        for _ in range(answer.count()):
            partition, error, high_watermark, _, _ = answer.take("ihqqq")
            answer.take("qq" * answer.count())
            answer.number("i")
            records = [r for r in records_of(answer.blob()) if r[0] >= positions.get(partition, 0)]
            found.append(Fetched(partition, error, high_watermark, records))
    return found


def list_offsets(connection: Connection, topic: str, partitions: list[int], timestamp: int) -> dict[int, tuple[int, int]]:
    """Partition → (error, offset)."""
    body = struct.pack(">ibi", -1, 0, 1) + string(topic) + struct.pack(">i", len(partitions))
    body += b"".join(struct.pack(">iiq", partition, -1, timestamp) for partition in partitions)
    answer = connection.ask(LIST_OFFSETS, body)
    answer.number("i")
    found = {}
    for _ in range(answer.count()):
        answer.string()
        for _ in range(answer.count()):
            partition, error, _, offset, _ = answer.take("ihqqi")
            found[partition] = (error, offset)
    return found


def batch_of(value: bytes, producer: tuple[int, int, int] = (-1, -1, -1)) -> bytes:
    """A record batch with one record; the producer is its id, epoch and sequence."""
    record = b"\0" + _varint(0) + _varint(0) + _varint(-1) + _varint(len(value)) + value + _varint(0)
    record = _varint(len(record)) + record
    now = time.time_ns() // 1_000_000
    body = struct.pack(">hiqqqhii", 0, 0, now, now, *producer, 1) + record
    return struct.pack(">qiibI", 0, 9 + len(body), -1, 2, crc32c(body)) + body


def records_of(data: bytes) -> list[tuple[int, bytes, int]]:
    """(offset, value, timestamp in ms) of every record in whole, uncompressed batches. Raises ValueError on anything else."""
    records, at = [], 0
    while at + BATCH_HEADER <= len(data):
        base, length = struct.unpack_from(">qi", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        magic, _, attributes, _, first, last = struct.unpack_from(">bIhiqq", data, at + 16)
        if magic != 2 or attributes & 7:
            raise ValueError(f"batch at {base}: magic {magic}, attributes {attributes}")
        count = struct.unpack_from(">i", data, at + 57)[0]
        if not attributes & 0x20:
            records += _records(data, at + BATCH_HEADER, count, base, first, last if attributes & 8 else None)
        at = end
    return records


def _records(data: bytes, at: int, count: int, base: int, first: int, append_time: int | None) -> list[tuple[int, bytes, int]]:
    records = []
    for _ in range(count):
        size, at = _take_varint(data, at)
        end = at + size
        after, at = _take_varint(data, at + 1)
        delta, at = _take_varint(data, at)
        key, at = _take_varint(data, at)
        length, at = _take_varint(data, at + max(key, 0))
        records.append((base + delta, data[at:at + max(length, 0)], first + after if append_time is None else append_time))
        at = end
    return records


def _varint(number: int) -> bytes:
    return _unsigned((number << 1) ^ (number >> 63))


def _unsigned(rest: int) -> bytes:
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _take_varint(data: bytes, at: int) -> tuple[int, int]:
    shift = rest = 0
    while True:
        byte = data[at]
        at += 1
        rest |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (rest >> 1) ^ -(rest & 1), at
        shift += 7
