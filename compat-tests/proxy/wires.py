"""What goes over a connection, cut into pieces that a proxy may hold back: PostgreSQL's, S3's and Kafka's protocols.

A wire takes bytes as they come and gives pieces, whole messages where that matters, each with the name of the moment it is, if
it is one, and what is known of it. Nothing is changed: the pieces together are the bytes. Both directions of a connection
share one wire, since an answer is known by its request.

| moment | the piece |
| --- | --- |
| `commit` `commit-answer` | the statement that commits a segment (or the COMMIT after several), and the server's answer |
| `renewal` `renewal-answer` | the renewal of a session |
| `put` `put-answer` | the upload of a flush |
| `get` `get-answer` | a read of an object |
| `delete` `delete-answer` | a deletion, of one object or many |
| `produce` `produce-answer`, `fetch` `fetch-answer` | Kafka's requests of these names |
"""

import struct
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Piece:
    """Bytes that go on together."""
    data: bytes
    moment: str | None = None
    details: dict = field(default_factory=dict)


class PostgresWire:
    """The agent's statements, by their text; parsed once under a name, then bound. No TLS (`sslmode=disable`)."""

    def __init__(self):
        self._up, self._down, self._unit, self._answer = b"", b"", b"", b""
        self._started = False
        self._texts: dict[bytes, str] = {}
        self._bound, self._parameters = "", b""
        self._moment: str | None = None
        self._details: dict = {}
        self._transaction: list | None = None
        """Segments that the transaction has committed so far; None outside of one."""
        self._waiting: deque[tuple[str | None, dict]] = deque()

    def up(self, data: bytes) -> list[Piece]:
        """From the agent: a piece ends where the server is to answer (Sync, or a simple query)."""
        self._up += data
        pieces = []
        if not self._started:
            if len(self._up) < 4 or len(self._up) < (size := struct.unpack_from(">i", self._up)[0]):
                return []
            pieces.append(Piece(self._up[:size]))
            self._up, self._started = self._up[size:], True
            self._waiting.append((None, {}))
        while len(self._up) >= 5 and len(self._up) >= (size := 1 + struct.unpack_from(">i", self._up, 1)[0]):
            kind, message, self._up = self._up[:1], self._up[:size], self._up[size:]
            self._unit += message
            self._understand(kind, message[5:])
            if kind in b"SQX":
                pieces.append(Piece(self._unit, self._moment, self._details))
                if kind != b"X":
                    self._waiting.append((self._moment, self._details))
                self._unit, self._moment, self._details = b"", None, {}
        return pieces

    def _understand(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            name, text = body.split(b"\0", 2)[:2]
            self._texts[name] = text.decode(errors="replace")
        elif kind == b"B":
            _, statement, self._parameters = body.split(b"\0", 2)
            self._bound = self._texts.get(statement, "")
        elif kind == b"E":
            self._executed(self._bound)
        elif kind == b"Q":
            self._queried(body.rstrip(b"\0").decode(errors="replace").strip())

    def _executed(self, text: str) -> None:
        if "slot AS (" in text and "INSERT INTO segments" in text:
            segment = first_numbers(self._parameters)
            if self._transaction is None:
                self._moment, self._details = "commit", {"segments": [segment]}
            else:
                self._transaction.append(segment)
        elif "UPDATE session_renewals AS r" in text and self._transaction is None:
            self._moment = "renewal"

    def _queried(self, text: str) -> None:
        if text.startswith("BEGIN"):
            self._transaction = []
        elif text in ("COMMIT", "ROLLBACK"):
            if text == "COMMIT" and self._transaction:
                self._moment, self._details = "commit", {"segments": self._transaction}
            self._transaction = None

    def down(self, data: bytes) -> list[Piece]:
        """From the server: an answer ends with ReadyForQuery. What belongs to no moment goes on message by message."""
        self._down += data
        pieces = []
        while len(self._down) >= 5 and len(self._down) >= (size := 1 + struct.unpack_from(">i", self._down, 1)[0]):
            message, self._down = self._down[:size], self._down[size:]
            moment, details = self._waiting[0] if self._waiting else (None, {})
            is_end = message[:1] == b"Z" and bool(self._waiting)
            if moment is None:
                pieces.append(Piece(message))
            else:
                self._answer += message
            if is_end:
                self._waiting.popleft()
            if is_end and moment is not None:
                pieces.append(Piece(self._answer, f"{moment}-answer", details))
                self._answer = b""
        return pieces

    def rest(self) -> bytes:
        """What the server said before it closed, though it is no whole answer."""
        rest, self._answer, self._down = self._answer + self._down, b"", b""
        return rest


def first_numbers(parameters: bytes) -> list[int]:
    """The first two parameters of a Bind message, big-endian: a segment's session and lane sequence."""
    at = 2 + 2 * struct.unpack_from(">h", parameters)[0] + 2
    numbers = []
    for _ in range(2):
        size = struct.unpack_from(">i", parameters, at)[0]
        numbers.append(int.from_bytes(parameters[at + 4:at + 4 + size], "big", signed=True))
        at += 4 + size
    return numbers


class HttpWire:
    """Requests to an S3 server and their answers, in order, over a connection that is kept open."""

    def __init__(self):
        self._up, self._down = b"", b""
        self._waiting: deque[tuple[str, str | None, dict]] = deque()

    def up(self, data: bytes) -> list[Piece]:
        """From the agent: a piece is a request."""
        self._up += data
        pieces = []
        while (size := _http_size(self._up, answers=None)) is not None:
            request, self._up = self._up[:size], self._up[size:]
            method, target = (word.decode("latin-1") for word in request.split(b" ", 2)[:2])
            moment = _purpose(method, target)
            details = {"key": target.partition("?")[0]} if moment else {}
            self._waiting.append((method, moment, details))
            pieces.append(Piece(request, moment, details))
        return pieces

    def down(self, data: bytes) -> list[Piece]:
        """From the server: a piece is an answer."""
        self._down += data
        pieces = []
        while self._waiting and (size := _http_size(self._down, answers=self._waiting[0][0])) is not None:
            answer, self._down = self._down[:size], self._down[size:]
            _, moment, details = self._waiting.popleft()
            pieces.append(Piece(answer, f"{moment}-answer" if moment else None, details))
        return pieces

    def rest(self) -> bytes:
        """An answer that the server did not finish."""
        rest, self._down = self._down, b""
        return rest


def _purpose(method: str, target: str) -> str | None:
    path, _, query = target.partition("?")
    if method == "PUT" and "/flush/" in path:
        return "put"
    if method == "GET" and "/org-" in path:
        return "get"
    if method == "DELETE" and "/org-" in path or method == "POST" and query.startswith("delete"):
        return "delete"
    return None


def _http_size(data: bytes, answers: str | None) -> int | None:
    """Bytes of the first message, once it is whole; `answers` is the method of the request that it answers."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if answers == "HEAD" or answers is not None and first.split(" ")[1] in ("204", "304"):
        return end + 4
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return _chunked_end(data, end + 4)
    size = end + 4 + int(fields.get("content-length", 0))
    return size if len(data) >= size else None


def _chunked_end(data: bytes, at: int) -> int | None:
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].split(b";")[0], 16)
        at = line + 2 + size + 2
        if size == 0:
            return at if len(data) >= at else None
    return None


class KafkaWire:
    """Requests of Kafka clients; an answer is known by its correlation id."""

    NAMES = {0: "produce", 1: "fetch"}

    def __init__(self):
        self._up, self._down = b"", b""
        self._waiting: dict[int, str] = {}

    def up(self, data: bytes) -> list[Piece]:
        """From a client: a piece is a request."""
        frames, self._up = _frames(self._up + data)
        pieces = []
        for frame in frames:
            api, _, correlation = struct.unpack_from(">hhi", frame, 4)
            moment = self.NAMES.get(api)
            if moment is not None:
                self._waiting[correlation] = moment
            pieces.append(Piece(frame, moment))
        return pieces

    def down(self, data: bytes) -> list[Piece]:
        """From the agent: a piece is an answer."""
        frames, self._down = _frames(self._down + data)
        pieces = []
        for frame in frames:
            moment = self._waiting.pop(struct.unpack_from(">i", frame, 4)[0], None)
            pieces.append(Piece(frame, f"{moment}-answer" if moment else None))
        return pieces

    def rest(self) -> bytes:
        """An answer that the agent did not finish."""
        rest, self._down = self._down, b""
        return rest


def _frames(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames, and what is left."""
    frames = []
    while len(data) >= 4 and len(data) >= (size := 4 + struct.unpack_from(">i", data)[0]):
        frames.append(data[:size])
        data = data[size:]
    return frames, data


WIRES = {"postgres": PostgresWire, "s3": HttpWire, "kafka": KafkaWire}
