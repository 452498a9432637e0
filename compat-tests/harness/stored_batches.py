"""Reads the record batches of a partition as the broker stores them, byte for byte.

Clients decompress and show records; only the raw batch says which codec, timestamp type and producer were stored.
Speaks Fetch 11, the newest version without topic ids and flexible fields (schemas: Kafka's FetchRequest.json).
"""

import socket
import struct
from dataclasses import dataclass

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
FETCH, FETCH_VERSION = 1, 11


@dataclass(frozen=True)
class StoredBatch:
    """The header of one record batch, magic 2."""
    base_offset: int
    leader_epoch: int
    crc_ok: bool
    codec: str
    log_append_time: bool
    transactional: bool
    last_offset_delta: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as record batches carry it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _exchange(address: str, request: bytes) -> bytes:
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        stream = connection.makefile("rb")
        size = struct.unpack(">i", stream.read(4))[0]
        return stream.read(size)


def fetch_raw(address: str, topic: str, partition: int, offset: int, max_wait_ms: int = 500) -> tuple[int, int, bytes]:
    """(error code, high watermark, record bytes) of one Fetch."""
    request = struct.pack(">hhi", FETCH, FETCH_VERSION, 7) + _string("stored-batches")
    request += struct.pack(">iiiibii", -1, max_wait_ms, 1, 50 << 20, 0, 0, -1)
    request += struct.pack(">i", 1) + _string(topic)
    request += struct.pack(">iiiqqi", 1, partition, -1, offset, -1, 50 << 20)
    request += struct.pack(">i", 0) + _string("")
    answer = _exchange(address, request)
    at = 4 + 4 + 2 + 4 + 4  # correlation, throttle, error, session, topics
    top_error = struct.unpack_from(">h", answer, 8)[0]
    if top_error != 0:
        return top_error, -1, b""
    at += 2 + struct.unpack_from(">h", answer, at)[0] + 4
    _, error, high_watermark, _, _ = struct.unpack_from(">ihqqq", answer, at)
    at += 30
    aborted = struct.unpack_from(">i", answer, at)[0]
    at += 4 + max(aborted, 0) * 16 + 4
    size = struct.unpack_from(">i", answer, at)[0]
    return error, high_watermark, answer[at + 4: at + 4 + max(size, 0)]


def parse_batches(data: bytes) -> list[StoredBatch]:
    """Every whole batch in `data`, in order."""
    batches, at = [], 0
    while at + 61 <= len(data):
        base, length, epoch, magic, crc, attributes, last_delta, _, max_timestamp, pid, pid_epoch, sequence, count = \
            struct.unpack_from(">qiibIhiqqqhii", data, at)
        assert magic == 2, f"magic {magic} at {at}"
        end = at + 12 + length
        if end > len(data):
            break
        batches.append(StoredBatch(
            base, epoch, crc32c(data[at + 21:end]) == crc, CODECS[attributes & 7], bool(attributes & 8),
            bool(attributes & 16), last_delta, max_timestamp, pid, pid_epoch, sequence, count))
        at = end
    return batches


def stored_batches(address: str, topic: str, partition: int = 0) -> list[StoredBatch]:
    """All batches of a partition from its beginning (offset 0)."""
    batches: list[StoredBatch] = []
    offset = 0
    while True:
        error, end, data = fetch_raw(address, topic, partition, offset)
        assert error == 0, f"Fetch of {topic}-{partition} at {offset}: error {error}"
        batches += parse_batches(data)
        following = batches[-1].base_offset + batches[-1].last_offset_delta + 1 if batches else 0
        if following >= end:
            return batches
        assert following > offset, f"Fetch at {offset} made no progress towards {end}"
        offset = following
