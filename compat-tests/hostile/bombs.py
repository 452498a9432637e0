"""Batches that unpack to far more than they are, or lie about it. Written here byte by byte, so that nothing compresses a GiB."""

import struct
import zlib

from stored_batches import crc32c

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
TOO_LARGE, INVALID, CORRUPT = 10, 87, 2
BOMB_BYTES = 32 << 10
XERIAL = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"
# One record of 2^29 bytes whose value is all zeros: well-formed as far as anybody reads.
RECORD_HEAD = bytes([0xFE, 0xFF, 0xFF, 0xFF, 0x03, 0, 0, 0, 1, 0xC0, 0xFF, 0xFF, 0xFF, 0x03])


def batch(codec: int, records: bytes) -> bytes:
    """One record, it says; the CRC is right."""
    body = struct.pack(">hiqqqhii", codec, 0, 1_700_000_000_000, 1_700_000_000_000, -1, -1, -1, 1) + records
    return struct.pack(">qiibI", 0, 9 + len(body), -1, 2, crc32c(body)) + body


def zstd(size: int) -> bytes:
    """Blocks of one byte that stand for 128 KiB each (RFC 8878): 32 KiB for 1 GiB."""
    head = struct.pack("<IBB", 0xFD2FB528, 0, 10 << 3)  # a window of 1 MiB, no content size, no checksum
    first = struct.pack("<I", len(RECORD_HEAD) << 3)[:3] + RECORD_HEAD
    blocks = max((size - len(head) - len(first)) // 4, 1)
    repeated = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\0"
    return head + first + repeated * (blocks - 1) + struct.pack("<I", (128 << 10) << 3 | 1 << 1 | 1)[:3] + b"\0"


def gzip(size: int) -> bytes:
    """About a thousand to one."""
    packer = zlib.compressobj(9, wbits=31)
    out = bytearray(packer.compress(RECORD_HEAD))
    zeros = bytes(1 << 20)
    while len(out) < size - 1024:
        out += packer.compress(zeros)
    return bytes(out + packer.flush())


def _xxh32(data: bytes) -> int:
    """Of fewer than 16 bytes."""
    prime = (2654435761, 2246822519, 3266489917, 668265263, 374761393)
    total = prime[4] + len(data)
    at = 0
    while at + 4 <= len(data):
        total = (total + int.from_bytes(data[at:at + 4], "little") * prime[2]) & 0xFFFF_FFFF
        total = (total << 17 | total >> 15) & 0xFFFF_FFFF
        total = total * prime[3] & 0xFFFF_FFFF
        at += 4
    for byte in data[at:]:
        total = (total + byte * prime[4]) & 0xFFFF_FFFF
        total = (total << 11 | total >> 21) * prime[0] & 0xFFFF_FFFF
    for shift, factor in ((15, prime[1]), (13, prime[2]), (16, 1)):
        total = (total ^ total >> shift) * factor & 0xFFFF_FFFF
    return total


def lz4(size: int, linked: bool = False) -> bytes:
    """One independent block after the other, each a match that repeats a zero: 255 bytes for each of its own."""
    descriptor = bytes([0x40 if linked else 0x60, 0x70])  # blocks of up to 4 MiB
    out = bytearray(struct.pack("<I", 0x184D2204) + descriptor + bytes([_xxh32(descriptor) >> 8 & 0xFF]))
    first = True
    while len(out) < size - 64:
        literal = RECORD_HEAD if first else b"\0"
        extra = min(16_000, size - len(out) - 64)
        length = bytes([0xFF]) * max(extra, 1) + b"\0"
        token = bytes([min(len(literal), 15) << 4 | 15])
        block = token + literal + b"\x01\0" + length + bytes([5 << 4]) + bytes(5)
        out += struct.pack("<I", len(block)) + block
        first = False
    return bytes(out + bytes(4))


def snappy(size: int) -> bytes:
    """Framed blocks that are each honest: 64 bytes for each three."""
    out = bytearray(XERIAL)
    first = True
    while len(out) < size:
        literal = RECORD_HEAD if first else b"\0"
        copies = 4_000
        claimed = len(literal) + 64 * copies
        length = bytes([claimed & 0x7F | 0x80, claimed >> 7 & 0x7F | 0x80, claimed >> 14])
        block = length + bytes([len(literal) - 1 << 2]) + literal + bytes([63 << 2 | 2, 1, 0]) * copies
        out += struct.pack(">i", len(block)) + block
        first = False
    return bytes(out)


def bombs() -> list[tuple[str, bytes, int]]:
    """(what it is, the batch, the code that refuses it)."""
    most = 1_000_000  # a batch may be 1,048,588 bytes
    return [
        ("zstd, 32 KiB for 1 GiB", batch(ZSTD, zstd(BOMB_BYTES)), TOO_LARGE),
        ("gzip, 32 KiB for 32 MiB", batch(GZIP, gzip(BOMB_BYTES)), TOO_LARGE),
        ("lz4, 32 KiB for 8 MiB", batch(LZ4, lz4(BOMB_BYTES)), TOO_LARGE),
        ("snappy, 48 KiB for 1 MiB", batch(SNAPPY, snappy(48 << 10)), INVALID),
        ("zstd, 1 MB for 32 GiB", batch(ZSTD, zstd(most)), TOO_LARGE),
        ("gzip, 1 MB for 1 GB", batch(GZIP, gzip(most)), TOO_LARGE),
        ("lz4, 1 MB for 255 MB", batch(LZ4, lz4(most)), TOO_LARGE),
        ("lz4 with linked blocks", batch(LZ4, lz4(BOMB_BYTES, linked=True)), INVALID),
        ("snappy that claims 4 GiB", batch(SNAPPY, b"\xff\xff\xff\xff\x0f" + bytes(1000)), INVALID),
        ("xerial block that claims 2 GiB", batch(SNAPPY, XERIAL + b"\x7f\xff\xff\xff" + bytes(1000)), INVALID),
        ("zstd that claims 2^63 bytes", batch(ZSTD, struct.pack("<IBQ", 0xFD2FB528, 0xE0, 1 << 63) + b"\x01\0\0"), INVALID),
        ("zstd with a window of 2 TiB", batch(ZSTD, struct.pack("<IBB", 0xFD2FB528, 0, 0xF8) + b"\x01\0\0"), INVALID),
    ]
