"""A history: what clients asked, and what they were told, as one JSON object a line. It can be judged later, from the file.

Every event has `at` (seconds of the machine's monotonic clock), `process` (one client), `op`, `type` and `id`; a completion
has the `id` of its `invoke`. Types: `invoke`, then `ok`, `fail` (it definitely did not happen) or `info` (nobody knows). An
operation without a completion is `info`: its process may have crashed.

| op | fields of the invocation | fields of the completion |
| --- | --- | --- |
| `client` | (only a completion) | `idempotent`, `retries` (may send one value again unseen); `committed` (reads only what is committed), `follows` (must see all), `final` (reads everything at the end) |
| `send` | `topic` `partition` `value`, `stream` (sends of one stream land in its order; none: no order), `txn` | `offset` (-1: acked, but its client does not know where), `error` |
| `txn` | `txn` `decision` (`commit`, `abort`) | |
| `assign` | (only a completion) | `topic` `positions` (partition → next offset, null: unknown) |
| `poll` | `topic` | `records` (lists of partition, offset, value); `error` `partition` `offset` |
| `end` `start` | `topic` `partition` (ListOffsets latest, earliest) | `offset` |
| `own` | (only a completion) | `group` `generation` `partitions` (lists of topic, partition) |
| `commit` `committed` | `group` `topic` `partition`, `offset` of `commit` | `offset` of `committed` (-1: none) |
"""

import itertools
import json
import math
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

INVOKE, OK, FAIL, INFO = "invoke", "ok", "fail", "info"
Key = tuple[str, int]
"""A topic and a partition."""


@dataclass(frozen=True)
class Value:
    """A unique value: the `sequence`-th that a process of a run sent to a partition."""
    run: str
    topic: str
    partition: int
    process: str
    sequence: int

    def encode(self) -> str:
        """`run/topic/partition/process/sequence/crc`, padded so that batches are not tiny. ASCII."""
        body = f"{self.run}/{self.topic}/{self.partition}/{self.process}/{self.sequence}"
        return f"{body}/{zlib.crc32(body.encode()):08x}".ljust(80, ".")


def decode(payload: str) -> Value | None:
    """None if the payload is not, character for character, one that `encode` made."""
    try:
        run, topic, partition, process, sequence, _ = payload.split("/")
        value = Value(run, topic, int(partition), process, int(sequence))
    except ValueError:
        return None
    return value if value.encode() == payload else None


@dataclass(slots=True)
class Operation:
    """An invocation and its completion; `ended` is infinite if there is none."""
    process: str
    op: str
    type: str
    began: float
    ended: float
    fields: dict = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Its topic and partition."""
        return self.fields["topic"], self.fields["partition"]


class Recorder:
    """Writes a history while it happens. Any thread may call it; lines are in order of time. `flushed`: each is on the file at
    once, for a process that may be killed."""

    def __init__(self, path: Path, flushed: bool = False):
        self.path = Path(path)
        self._file = self.path.open("w", buffering=1 if flushed else -1)
        self._lock = threading.Lock()
        self._ids = itertools.count()

    def invoke(self, process: str, op: str, **fields: object) -> int:
        """Before anything leaves the process; returns the id of the operation."""
        number = next(self._ids)
        self._write(process, op, INVOKE, number, fields)
        return number

    def complete(self, process: str, op: str, kind: str, number: int | None = None, **fields: object) -> None:
        """Once the outcome is known; without a number the operation is one moment long."""
        self._write(process, op, kind, next(self._ids) if number is None else number, fields)

    def _write(self, process: str, op: str, kind: str, number: int, fields: dict) -> None:
        with self._lock:
            if self._file.closed:  # what ends after the judgement is unknown to it
                return
            event = {"at": time.monotonic(), "process": process, "op": op, "type": kind, "id": number, **fields}
            self._file.write(json.dumps(event, separators=(",", ":")) + "\n")

    def close(self) -> Path:
        """The whole history is on its file."""
        with self._lock:
            self._file.close()
        return self.path


def read(paths: Iterable[Path]) -> list[dict]:
    """The events of histories of one machine, in order of time. A line without an end was being written when its process was
    killed."""
    events = [json.loads(line) for path in paths for line in Path(path).read_text().splitlines(keepends=True) if line.endswith("\n")]
    events.sort(key=lambda event: event["at"])
    return events


def operations(events: Iterable[dict]) -> Iterator[Operation]:
    """Joins invocations with their completions, in order of invocation. Ids are unique within a process."""
    found: list[Operation] = []
    running: dict[tuple[str, int], Operation] = {}
    frame = {"at", "process", "op", "type", "id"}
    for event in events:
        name = (event["process"], event["id"])
        fields = {k: v for k, v in event.items() if k not in frame}
        if event["type"] == INVOKE:
            running[name] = Operation(event["process"], event["op"], INFO, event["at"], math.inf, fields)
            found.append(running[name])
            continue
        operation = running.pop(name, None)
        if operation is None:
            operation = Operation(event["process"], event["op"], INFO, event["at"], event["at"])
            found.append(operation)
        operation.type, operation.ended = event["type"], event["at"]
        operation.fields.update(fields)
    yield from found
