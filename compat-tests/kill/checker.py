"""What must hold of a log after the agent was killed: the rules, as functions of the recorded history.

A history is every send with its outcome, every record that a consumer saw while the agent was killed and restarted, and
the whole log as it is read at the end. Outcomes: `ok` acked with an offset, `fail` definitely not stored, `info` unknown.
Each broken rule is an `Anomaly`; an empty list means that the log kept its promises.
"""

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

OK, FAIL, INFO = "ok", "fail", "info"
UNORDERED = "single-shot"


@dataclass(frozen=True)
class Value:
    """A unique value: the `sequence`-th send of a producer to a partition."""
    producer: str
    partition: int
    sequence: int

    def encode(self) -> bytes:
        """`producer/partition/sequence/crc`, padded so that batches are not tiny."""
        body = f"{self.producer}/{self.partition}/{self.sequence}"
        return f"{body}/{zlib.crc32(body.encode()):08x}".ljust(64, ".").encode()


def decode(payload: bytes) -> Value | None:
    """None if the payload is not, byte for byte, one that `encode` made."""
    try:
        producer, partition, sequence, _ = payload.decode().split("/")
        value = Value(producer, int(partition), int(sequence))
    except ValueError:
        return None
    return value if value.encode() == payload else None


@dataclass(frozen=True)
class Send:
    """One send and how it ended; offset -1: acked, but its client does not know where."""
    value: Value
    outcome: str
    offset: int = -1


@dataclass(frozen=True)
class Seen:
    """One record as a consumer saw it."""
    partition: int
    offset: int
    payload: bytes


@dataclass(frozen=True)
class Anomaly:
    """A broken rule, and what broke it."""
    kind: str
    what: str


def check(sends: Iterable[Send], log: Iterable[Seen], polled: Iterable[Seen] = ()) -> list[Anomaly]:
    """Every anomaly of a history. `log` is in the order read, `polled` what was seen on the way."""
    sends, log, polled = list(sends), list(log), list(polled)
    places = _places(log)
    return [*_payloads(log + polled), *_log_shape(log), *_one_value_an_offset(sends, log, polled),
            *_acked_is_there(sends, places), *_once(places), *_failed_is_absent(sends, places),
            *_nothing_unsent(sends, places), *_order(log), *_acked_offsets_are_unique(sends)]


def _places(log: list[Seen]) -> dict[Value, list[int]]:
    places: dict[Value, list[int]] = {}
    for record in log:
        value = decode(record.payload)
        if value is not None:
            places.setdefault(value, []).append(record.offset)
    return places


def _payloads(records: list[Seen]) -> Iterable[Anomaly]:
    for record in records:
        value = decode(record.payload)
        if value is None:
            yield Anomaly("corrupt", f"{record}")
        elif value.partition != record.partition:
            yield Anomaly("wrong-key", f"{record} belongs to partition {value.partition}")


def _log_shape(log: list[Seen]) -> Iterable[Anomaly]:
    following: dict[int, int] = {}
    for record in log:
        wanted = following.get(record.partition, 0)
        if record.offset < wanted:
            yield Anomaly("nonmonotonic-poll", f"{record.partition}@{record.offset} after {wanted - 1}")
        elif record.offset > wanted:
            yield Anomaly("density", f"{record.partition}: no record at {wanted}..{record.offset - 1}")
        following[record.partition] = max(wanted, record.offset + 1)


def _one_value_an_offset(sends: list[Send], log: list[Seen], polled: list[Seen]) -> Iterable[Anomaly]:
    holds: dict[tuple[int, int], bytes] = {(r.partition, r.offset): r.payload for r in log}
    for record in polled:
        now = holds.get((record.partition, record.offset))
        if now is None:
            yield Anomaly("lost-write", f"seen by a consumer, then gone: {record}")
        elif now != record.payload:
            yield Anomaly("inconsistent-offsets", f"{record}, at the end {now!r}")
    for send in sends:
        if send.outcome == OK:
            now = holds.get((send.value.partition, send.offset))
            if now is not None and now != send.value.encode():
                yield Anomaly("inconsistent-offsets", f"{send} acked, at the end {now!r}")


def _acked_is_there(sends: list[Send], places: dict[Value, list[int]]) -> Iterable[Anomaly]:
    for send in sends:
        if send.outcome == OK:
            found = places.get(send.value, [])
            if not found:
                yield Anomaly("lost-write", f"{send}")
            elif send.offset >= 0 and send.offset not in found:
                yield Anomaly("wrong-offset", f"{send}, found at {found}")


def _once(places: dict[Value, list[int]]) -> Iterable[Anomaly]:
    for value, offsets in places.items():
        if len(offsets) > 1:
            yield Anomaly("duplicate", f"{value} at {offsets}")


def _failed_is_absent(sends: list[Send], places: dict[Value, list[int]]) -> Iterable[Anomaly]:
    for send in sends:
        if send.outcome == FAIL and send.value in places:
            yield Anomaly("aborted-read", f"{send} at {places[send.value]}")


def _nothing_unsent(sends: list[Send], places: dict[Value, list[int]]) -> Iterable[Anomaly]:
    for value in places.keys() - {send.value for send in sends}:
        yield Anomaly("phantom", f"{value} at {places[value]} was never sent")


def _order(log: list[Seen]) -> Iterable[Anomaly]:
    """Of producers that retry in order. librdkafka sends again after NOT_LEADER even with no retries allowed (it does not
    count those), and without idempotence a later record may have gone first."""
    last: dict[tuple[str, int], int] = {}
    for record in log:
        value = decode(record.payload)
        if value is None or value.producer == UNORDERED:
            continue
        lane = (value.producer, value.partition)
        if value.sequence < last.get(lane, -1):
            yield Anomaly("nonmonotonic-send", f"{value} at {record.offset} after sequence {last[lane]}")
        last[lane] = max(value.sequence, last.get(lane, -1))


def _acked_offsets_are_unique(sends: list[Send]) -> Iterable[Anomaly]:
    acked = Counter((s.value.partition, s.offset) for s in sends if s.outcome == OK and s.offset >= 0)
    for (partition, offset), count in acked.items():
        if count > 1:
            kind = "zero-offset" if offset == 0 else "inconsistent-offsets"
            yield Anomaly(kind, f"{partition}@{offset} acked {count} times")
