"""Record batches, right or wrong as asked (magic 2, uncompressed)."""

import struct
import time

from stored_batches import crc32c


def _varint(number: int) -> bytes:
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _record(value: bytes, delta: int, key: bytes | None) -> bytes:
    named = _varint(-1) if key is None else _varint(len(key)) + key
    body = b"\0" + _varint(0) + _varint(delta) + named + _varint(len(value)) + value + _varint(0)
    return _varint(len(body)) + body


def _batch(values: tuple[bytes, ...], key: bytes | None, attributes: int, timestamp: int, producer: tuple[int, int, int],
           count: int | None) -> bytes:
    when = timestamp or time.time_ns() // 1_000_000
    size = len(values) if count is None else count
    body = struct.pack(">hiqqqhii", attributes, size - 1, when, when, *producer, size)
    body += b"".join(_record(value, delta, key) for delta, value in enumerate(values))
    return struct.pack(">qiibI", 0, 9 + len(body), -1, 2, crc32c(body)) + body


def batch(*values: bytes, key: bytes | None = None, attributes: int = 0, timestamp: int = 0, count: int | None = None) -> bytes:
    """Of no producer."""
    return _batch(values, key, attributes, timestamp, (-1, -1, -1), count)


def idempotent(*values: bytes, producer: int, epoch: int, sequence: int, attributes: int = 0, timestamp: int = 0) -> bytes:
    """Of a producer."""
    return _batch(values, None, attributes, timestamp, (producer, epoch, sequence), None)
