"""Kafka's own message definitions, taken out of its client's jar, and an encoder and decoder that follow them.

A body is a dict by the names of the definition (`{"GroupId": "g", "Topics": [{"Name": "t"}]}`). What it leaves out takes the
field's default; what a version does not have is left out, so that one body serves every version of an API. This codec shares
nothing with the agent's.
"""

import json
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

NUMBERS = {"int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "float64": "d"}
NIL = bytes(16)


class Claim(list):
    """An array that claims another length than it has."""

    def __init__(self, items: list, claimed: int):
        super().__init__(items)
        self.claimed = claimed


class Malformed(Exception):
    """An answer that its definition does not describe."""


@dataclass(frozen=True)
class Versions:
    """`3+`, `1-4`, `2` or `none`."""
    low: int
    high: int

    @classmethod
    def parse(cls, text: str | None) -> "Versions":
        """As the definitions write them; nothing is none."""
        if not text or text == "none":
            return cls(1, 0)
        low, plus, high = re.fullmatch(r"(\d+)(\+?)(?:-(\d+))?", text).groups()
        return cls(int(low), 1 << 15 if plus else int(high or low))

    def __contains__(self, version: int) -> bool:
        return self.low <= version <= self.high


class Field:
    """One field of a definition."""

    def __init__(self, spec: dict, structs: dict[str, list], flexible: Versions):
        self.name, self.type = spec["name"][:1].upper() + spec["name"][1:], spec["type"]
        self.versions = Versions.parse(spec["versions"])
        self.nullable = Versions.parse(spec.get("nullableVersions"))
        self.flexible = Versions.parse(spec.get("flexibleVersions", "0+")) if "flexibleVersions" in spec else flexible
        self.tag, self.tagged = spec.get("tag"), Versions.parse(spec.get("taggedVersions"))
        self.default = spec.get("default")
        self.element = self.type.removeprefix("[]")
        inner = spec.get("fields") or structs.get(self.element)
        self.fields = [Field(field, structs, flexible) for field in inner] if inner else None

    def default_value(self) -> object:
        """What Kafka's generated classes begin with."""
        if self.default == "null":
            return None
        if self.type.startswith("[]"):
            return []
        if self.type in NUMBERS:
            return float(self.default or 0) if self.type == "float64" else int(str(self.default or 0), 0)
        if self.type == "bool":
            return str(self.default).lower() == "true"
        return {"string": self.default or "", "uuid": NIL, "bytes": b"", "records": None}.get(self.type, {})


class Message:
    """A request or an answer."""

    def __init__(self, spec: dict):
        structs = {struct_["name"]: struct_["fields"] for struct_ in spec.get("commonStructs", [])}
        self.name, self.key = spec["name"], spec.get("apiKey", -1)
        self.valid = Versions.parse(spec["validVersions"])
        self.flexible = Versions.parse(spec.get("flexibleVersions", "0+"))
        self.fields = [Field(field, structs, self.flexible) for field in spec["fields"]]

    def encode(self, version: int, body: dict) -> bytes:
        """The body in a version."""
        return _write_struct(self.fields, version, body, version in self.flexible, self.name)

    def decode(self, version: int, data: bytes) -> dict:
        """The body of an answer. Raises Malformed unless it is exactly what the definition says."""
        reader = Reader(data)
        body = _read_struct(self.fields, version, reader, version in self.flexible)
        if reader.left():
            raise Malformed(f"{self.name} {version}: {reader.left()} bytes too many")
        return body


class Schemas:
    """All requests and answers by API name (`Fetch`), from the jar."""

    def __init__(self, jar: Path):
        self.requests: dict[str, Message] = {}
        self.answers: dict[str, Message] = {}
        with zipfile.ZipFile(jar) as archive:
            for name in archive.namelist():
                if not name.startswith("common/message/") or not name.endswith(".json"):
                    continue
                text = re.sub(r"^\s*//.*$", "", archive.read(name).decode(), flags=re.MULTILINE)
                spec = json.loads(text)
                if spec["validVersions"] == "none":
                    continue
                if spec["type"] == "request":
                    self.requests[spec["name"].removesuffix("Request")] = Message(spec)
                elif spec["type"] == "response":
                    self.answers[spec["name"].removesuffix("Response")] = Message(spec)
        self.by_key = {message.key: api for api, message in self.requests.items()}


def unsigned(number: int) -> bytes:
    """An unsigned varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _length(size: int | None, compact: bool, layout: str) -> bytes:
    if compact:
        return unsigned(0 if size is None else size + 1)
    return struct.pack(">" + layout, -1 if size is None else size)


def _write(field: Field, type_: str, version: int, value: object, compact: bool, where: str) -> bytes:
    if type_.startswith("[]"):
        if value is None:
            return _length(None, compact, "i")
        items = [_write(field, field.element, version, item, compact, where) for item in value]
        size = value.claimed if isinstance(value, Claim) else len(items)
        return _length(size, compact, "i") + b"".join(items)
    if type_ in NUMBERS:
        return struct.pack(">" + NUMBERS[type_], value)
    if type_ == "bool":
        return struct.pack(">?", value)
    if type_ == "uuid":
        return bytes(value)
    if type_ in ("string", "bytes", "records"):
        raw = value.encode() if isinstance(value, str) else value
        return _length(None if raw is None else len(raw), compact, "h" if type_ == "string" else "i") + (raw or b"")
    present = struct.pack(">b", -1 if value is None else 1) if type_ == field.type and version in field.nullable else b""
    return present if value is None and present else present + _write_struct(field.fields, version, value, compact, where)


def _write_struct(fields: list[Field], version: int, body: dict, flexible: bool, where: str) -> bytes:
    unknown = set(body) - {field.name for field in fields}
    if unknown:
        raise KeyError(f"{where} has no {', '.join(sorted(unknown))}")
    out, tags = bytearray(), {}
    for field in fields:
        if version not in field.versions:
            continue
        value = body.get(field.name, field.default_value())
        compact = version in field.flexible
        if version in field.tagged:
            if field.name in body:
                tags[field.tag] = _write(field, field.type, version, value, compact, f"{where}.{field.name}")
            continue
        if value is None and version not in field.nullable:
            value = [] if field.type.startswith("[]") else {"string": "", "bytes": b""}.get(field.type, value)
        out += _write(field, field.type, version, value, compact, f"{where}.{field.name}")
    if flexible:
        out += unsigned(len(tags))
        for tag in sorted(tags):
            out += unsigned(tag) + unsigned(len(tags[tag])) + tags[tag]
    return bytes(out)


class Reader:
    """Takes bytes apart, front to back."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def left(self) -> int:
        """Bytes not taken."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if not 0 <= size <= self.left():
            raise Malformed(f"{size} bytes of {self.left()}")
        self._at += size
        return self._data[self._at - size:self._at]

    def number(self, layout: str) -> int:
        """One big-endian number."""
        return struct.unpack(">" + layout, self.take(struct.calcsize(">" + layout)))[0]

    def unsigned(self) -> int:
        """An unsigned varint."""
        shift = number = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def length(self, compact: bool, layout: str) -> int | None:
        """Of a string, bytes or array; None is null."""
        size = self.unsigned() - 1 if compact else self.number(layout)
        return None if size < 0 else size


def _read(field: Field, type_: str, version: int, reader: Reader, compact: bool) -> object:
    if type_.startswith("[]"):
        size = reader.length(compact, "i")
        return None if size is None else [_read(field, field.element, version, reader, compact) for _ in range(size)]
    if type_ in NUMBERS:
        return reader.number(NUMBERS[type_])
    if type_ == "bool":
        return reader.number("?")
    if type_ == "uuid":
        return reader.take(16)
    if type_ in ("string", "bytes", "records"):
        size = reader.length(compact, "h" if type_ == "string" else "i")
        raw = None if size is None else reader.take(size)
        return raw.decode() if raw is not None and type_ == "string" else raw
    if type_ == field.type and version in field.nullable and reader.number("b") < 0:
        return None
    return _read_struct(field.fields, version, reader, compact)


def _read_struct(fields: list[Field], version: int, reader: Reader, flexible: bool) -> dict:
    body, tagged = {}, {}
    for field in fields:
        if version not in field.versions:
            continue
        if version in field.tagged:
            tagged[field.tag] = field
        else:
            body[field.name] = _read(field, field.type, version, reader, version in field.flexible)
            if body[field.name] is None and version not in field.nullable and field.type != "records":
                raise Malformed(f"{field.name} is null")
    if flexible:
        last = -1
        for _ in range(reader.unsigned()):
            tag, size = reader.unsigned(), reader.unsigned()
            if tag <= last:
                raise Malformed(f"tag {tag} after {last}")
            last, part = tag, Reader(reader.take(size))
            if tag in tagged:
                field = tagged[tag]
                body[field.name] = _read(field, field.type, version, part, True)
                if part.left():
                    raise Malformed(f"{part.left()} bytes too many in tag {tag}")
    return body
