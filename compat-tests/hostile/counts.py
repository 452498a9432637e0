"""Every array of every request in every version, claiming more elements than a frame can hold. Each is a connection of its own."""

import socket
import struct
from collections.abc import Iterator

from schemas import NUMBERS, Claim, Field, Schemas, unsigned

LIES = ((1 << 31) - 1, -2)
ANSWER_WITHIN_S = 10


class _Bodies:
    """Bodies whose arrays have one element each; the array of that number lies."""

    def __init__(self, version: int, liar: int, claimed: int):
        self._version, self._liar, self._claimed, self.arrays = version, liar, claimed, 0

    def of(self, fields: list[Field]) -> dict:
        """A struct."""
        return {field.name: self._value(field, field.type) for field in fields if self._version in field.versions
                and self._version not in field.tagged}

    def _value(self, field: Field, kind: str) -> object:
        if kind.startswith("[]"):
            number = self.arrays
            self.arrays += 1
            items = [self._value(field, field.element)]
            return Claim(items, self._claimed) if number == self._liar else items
        if kind in NUMBERS:
            return 0
        return {"bool": False, "uuid": bytes(16), "string": "a", "bytes": b"", "records": b""}.get(kind) \
            if field.fields is None or kind in ("bool", "uuid", "string", "bytes", "records") else self.of(field.fields)


def requests(schemas: Schemas, served: dict[str, tuple[int, int]]) -> Iterator[tuple[str, bytes]]:
    """(what it is, its frame)."""
    for api, (low, high) in sorted(served.items()):
        request = schemas.requests[api]
        for version in range(max(low, request.valid.low), min(high, request.valid.high) + 1):
            for claimed in LIES:
                liar = 0
                while True:
                    bodies = _Bodies(version, liar, claimed)
                    body = bodies.of(request.fields)
                    if liar >= bodies.arrays:
                        break
                    yield f"{api} {version}, array {liar}: {claimed}", frame(request.key, version, version in request.flexible,
                                                                           _encoded(request, version, body, claimed))
                    liar += 1


def _encoded(request, version: int, body: dict, claimed: int) -> bytes:
    # -2 has no compact form: the nearest is the largest count that a varint of five bytes can say.
    if claimed < 0 and version in request.flexible:
        _replace(body, 0xFFFF_FFFE)
    return request.encode(version, body)


def _replace(value: object, claimed: int) -> None:
    if isinstance(value, Claim):
        value.claimed = claimed
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _replace(inner, claimed)


def frame(key: int, version: int, flexible: bool, body: bytes) -> bytes:
    """With header and length."""
    whole = struct.pack(">hhih", key, version, 1, 1) + b"a" + (unsigned(0) if flexible else b"") + body
    return struct.pack(">i", len(whole)) + whole


def outcome(address: str, bytes_: bytes) -> str:
    """`closed`, or what happened instead."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), ANSWER_WITHIN_S) as connection:
        connection.sendall(bytes_)
        try:
            return "closed" if connection.recv(1) == b"" else "answered"
        except TimeoutError:
            return "open"
        except ConnectionError:
            return "closed"
