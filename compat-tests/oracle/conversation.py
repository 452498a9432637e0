"""One broker's side of the script: requests as they are written, answers as they come, and the record of both."""

import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas import Malformed, Schemas, unsigned

ANSWER_WITHIN_S = 5
CLIENT = "oracle"
CLOSED, SILENT = "closed", "no answer"


@dataclass
class Exchange:
    """One request and what came of it: a body, or CLOSED, SILENT, or what was wrong with the bytes."""
    api: str
    version: int
    label: str
    answer: object


@dataclass
class Conversation:
    """A case in one version. `ask` is recorded and compared, `prepare` is not."""
    address: str
    schemas: Schemas
    versions: dict[str, tuple[int, int]]
    prefix: str
    exchanges: list[Exchange] = field(default_factory=list)
    _connection: socket.socket | None = None
    _names: int = 0

    def name(self, purpose: str = "t") -> str:
        """A name that no other case uses, the same on both brokers."""
        self._names += 1
        return f"{self.prefix}-{purpose}{self._names}"

    def highest(self, api: str) -> int:
        """The highest version that both brokers serve; raises RuntimeError if there is none."""
        if api not in self.versions:
            raise RuntimeError(f"{api} is not served by both")
        return self.versions[api][1]

    def ask(self, api: str, version: int, body: dict, label: str = "") -> dict:
        """A request that is compared; an empty dict stands for no answer."""
        answer = self.send(api, version, self.schemas.requests[api].encode(version, body))
        self.exchanges.append(Exchange(api, version, label, answer))
        return answer if isinstance(answer, dict) else {}

    def ask_bytes(self, api: str, version: int, body: bytes, label: str) -> None:
        """A body that need not be one."""
        self.exchanges.append(Exchange(api, version, label, self.send(api, version, body)))

    def ask_at_once(self, api: str, version: int, bodies: dict[str, dict]) -> None:
        """Several requests of one API, all sent before the first answer is read; by label."""
        request = self.schemas.requests[api]
        frames = [self._request(api, version, request.encode(version, body)) for body in bodies.values()]
        try:
            self._connected().sendall(b"".join(struct.pack(">i", len(frame)) + frame for frame in frames))
        except OSError:
            self.close()
        for label in bodies:
            self.exchanges.append(Exchange(api, version, label, self._answer(api, version, self._next_frame)))

    def ask_raw(self, data: bytes, label: str) -> None:
        """Bytes that need not be a frame, on a connection of their own."""
        self.close()
        try:
            self._connected().sendall(data)
            answer = f"{len(self._next_frame())} bytes"
        except TimeoutError:
            answer = SILENT
        except OSError:
            answer = CLOSED
        self.close()
        self.exchanges.append(Exchange("frames", 0, label, answer))

    def prepare(self, api: str, body: dict) -> dict:
        """A request on the way to what is compared, in the highest version; raises unless it is answered."""
        version = self.highest(api)
        answer = self.send(api, version, self.schemas.requests[api].encode(version, body))
        if not isinstance(answer, dict):
            raise RuntimeError(f"{self.address}: {api} {version}: {answer}")
        return answer

    def send(self, api: str, version: int, body: bytes) -> object:
        """The answer's body, or a sentence."""
        frame = self._request(api, version, body)
        return self._answer(api, version, lambda: self._exchange(frame))

    def _request(self, api: str, version: int, body: bytes) -> bytes:
        request = self.schemas.requests[api]
        tags = unsigned(0) if version in request.flexible else b""
        return struct.pack(">hhih", request.key, version, 7, len(CLIENT)) + CLIENT.encode() + tags + body

    def _answer(self, api: str, version: int, receive: Callable[[], bytes]) -> object:
        flexible = version in self.schemas.requests[api].flexible
        try:
            data = receive()
        except TimeoutError:
            self.close()
            return SILENT
        except OSError:
            self.close()
            return CLOSED
        if api == "ApiVersions" and data[4:6] == struct.pack(">h", 35):
            version, flexible = 0, False
        tagged = flexible and api != "ApiVersions"
        if data[:4] != struct.pack(">i", 7) or (tagged and data[4:5] != b"\0"):
            return f"answer begins with {data[:5].hex()}"
        try:
            return self.schemas.answers[api].decode(version, data[5 if tagged else 4:])
        except (Malformed, UnicodeDecodeError, struct.error) as error:
            return f"undecodable: {error}"

    def _connected(self) -> socket.socket:
        if self._connection is None:
            host, port = self.address.rsplit(":", 1)
            self._connection = socket.create_connection((host, int(port)), ANSWER_WITHIN_S)
        self._connection.settimeout(ANSWER_WITHIN_S)
        return self._connection

    def _exchange(self, request: bytes) -> bytes:
        self._connected().sendall(struct.pack(">i", len(request)) + request)
        return self._next_frame()

    def _next_frame(self) -> bytes:
        if self._connection is None:
            raise ConnectionError(CLOSED)
        return self._exactly(struct.unpack(">i", self._exactly(4))[0])

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._connection.recv(size - len(data))
            if not part:
                raise ConnectionError(CLOSED)
            data += part
        return bytes(data)

    def close(self) -> None:
        """The next request opens another connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    # What most cases need first.

    def topic(self, partitions: int = 1, **configs: str) -> str:
        """A fresh topic, usable."""
        name = self.name()
        settings = [{"Name": key.replace("_", "."), "Value": value} for key, value in configs.items()]
        created = self.prepare("CreateTopics", {"TimeoutMs": 10_000, "Topics": [
            {"Name": name, "NumPartitions": partitions, "ReplicationFactor": 1, "Configs": settings}]})
        if created["Topics"][0]["ErrorCode"] != 0:
            raise RuntimeError(f"{self.address}: {created}")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = self.prepare("Metadata", {"Topics": [{"Name": name}]})["Topics"][0]
            if found["ErrorCode"] == 0 and all(p["ErrorCode"] == 0 for p in found["Partitions"]):
                return name
            time.sleep(0.05)
        raise RuntimeError(f"{self.address}: {name} has no leaders")

    def topic_id(self, name: str) -> bytes:
        """As Metadata has it."""
        return self.prepare("Metadata", {"Topics": [{"Name": name}]})["Topics"][0]["TopicId"]

    def producer(self) -> int:
        """A producer id."""
        for _ in range(50):
            answer = self.prepare("InitProducerId", {"TransactionalId": None, "TransactionTimeoutMs": 60_000})
            if answer["ErrorCode"] == 0:
                return answer["ProducerId"]
            time.sleep(0.1)
        raise RuntimeError(f"{self.address}: no producer ids")

    def produced(self, topic: str, batch: bytes, partition: int = 0) -> dict:
        """What Produce said of one batch, sent in a version with names."""
        version = min(self.highest("Produce"), 12)
        body = {"Acks": -1, "TimeoutMs": 10_000, "TopicData": [
            {"Name": topic, "PartitionData": [{"Index": partition, "Records": batch}]}]}
        answer = self.send("Produce", version, self.schemas.requests["Produce"].encode(version, body))
        return answer["Responses"][0]["PartitionResponses"][0]

    def coordinated(self, group: str) -> None:
        """Returns when somebody coordinates the group."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = self.prepare("FindCoordinator", {"KeyType": 0, "CoordinatorKeys": [group]})["Coordinators"][0]
            listed = self.prepare("DescribeGroups", {"Groups": [group]})["Groups"][0]["ErrorCode"]
            if found["ErrorCode"] == 0 and listed not in (14, 15, 16):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.address}: nobody coordinates {group}")


ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![\w-])[\w-]{21}[AQgw](?![\w-])")

LONG = re.compile(r"-?\d{12,}")


class Normal:
    """Replaces what must differ between two brokers by names: addresses, ids, clocks. The same thing gets the same name."""

    def __init__(self, address: str, prefix: str):
        self._port, self._prefix, self._seen = int(address.rsplit(":", 1)[1]), prefix, {}

    def of(self, value: object, key: str = "") -> object:
        """The value with names."""
        if isinstance(value, dict):
            return {name: self.of(inner, name) for name, inner in value.items() if name != "ThrottleTimeMs"}
        if isinstance(value, list):
            return [self.of(inner, key) for inner in sorted(value, key=_order)] if key != "Records" else value
        if isinstance(value, bytes):
            return value.hex() if len(value) != 16 else self._name(value.hex()) if any(value) else "nil"
        if isinstance(value, str):
            text = LONG.sub("N", ID.sub(lambda found: self._name(found[0]), value.replace(self._prefix, "x")))
            return "cluster" if key == "ClusterId" else text
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        if key == "Port":
            return "port" if value == self._port else value
        if key in ("ProducerId", "SessionId") and value > 0:
            return key
        return "now" if abs(value - time.time() * 1000) < 86_400_000 else value

    def _name(self, text: str) -> str:
        return self._seen.setdefault(text, f"id{len(self._seen) + 1}")


def _order(item: object) -> tuple:
    """Lists whose order means nothing are compared in the order of their names."""
    if not isinstance(item, dict):
        return ()
    names = ("Name", "GroupId", "PartitionIndex", "Partition", "Key", "ApiKey", "ConfigName", "ResourceName", "NodeId", "BrokerId")
    return tuple(str(item[name]).rjust(6) for name in names if name in item)
