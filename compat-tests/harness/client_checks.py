"""What every Python client must do, written once: a client says only how it does it.

A client has `create_topic(name, partitions)`, `produce(topic, codec, records)`, `read(topic, count)` of partition 0,
`offset_at(topic, ms)` and `join(topic, group, got)`, which gives a member with `assigned()` and `leave()`. A member
calls `got(value)` after it has committed the record's offset.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from checks import check, expect, fresh_name

HEADER = "trace"
WAIT_S = 45
PORTION = 100


@dataclass(frozen=True)
class Record:
    """What is sent and what comes back."""
    key: str
    value: str
    header: str
    timestamp: int | None = None
    offset: int | None = None


class Member(Protocol):
    """A running member of a group."""

    def assigned(self) -> int:
        """How many partitions it has now."""

    def leave(self) -> None:
        """Ends it; it leaves the group."""


Got = Callable[[str], None]
Join = Callable[[str, str, Got], Member]


class Client(Protocol):
    """See the head of this file."""

    def create_topic(self, name: str, partitions: int) -> None: ...
    def produce(self, topic: str, codec: str, records: list[Record]) -> None: ...
    def read(self, topic: str, count: int) -> list[Record]: ...
    def offset_at(self, topic: str, ms: int) -> int: ...
    def join(self, topic: str, group: str, got: Got) -> Member: ...


def numbered(first: int, end: int) -> list[Record]:
    """Records whose values are the numbers from first to end - 1."""
    return [Record(f"key-{i % 17}", str(i), f"header-{i}") for i in range(first, end)]


def until(what: str, condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.02)


def standard(client: Client, codecs: tuple[str, ...]) -> None:
    """Registers the checks of every client."""
    for codec in codecs:
        check(f"keyed {codec} records with headers come back in order")(lambda codec=codec: round_trip(client, codec))
    check("offsets are found by time")(lambda: offsets_by_time(client))
    check("two members share a topic, one leaves, a third resumes: every record once")(lambda: group_of_two(client))


def round_trip(client: Client, codec: str) -> None:
    """Sent is got."""
    topic, sent = fresh_name("codec"), numbered(0, 200)
    client.create_topic(topic, 1)
    client.produce(topic, codec, sent)
    wanted = [replace(record, offset=i) for i, record in enumerate(sent)]
    expect(client.read(topic, len(sent)), wanted, "records")


def offsets_by_time(client: Client) -> None:
    """At, between and before the records' times."""
    topic, began = fresh_name("times"), int(time.time() * 1000) - 3_600_000
    client.create_topic(topic, 1)
    for i in range(3):
        client.produce(topic, "none", [Record("k", str(i), "h", timestamp=began + i * 60_000)])
    for seconds, wanted in ((-5, 0), (0, 0), (1, 1), (60, 1), (61, 2), (120, 2)):
        expect(client.offset_at(topic, began + seconds * 1000), wanted, f"offset at {seconds} s")


def group_of_two(client: Client, join: Join | None = None) -> None:
    """The whole life of a group: one member, a second that joins and leaves, and one that resumes."""
    topic, group = fresh_name("group"), fresh_name("members")
    client.create_topic(topic, 4)
    seen: Counter[str] = Counter()
    lock = threading.Lock()
    sent = 0
    members: list[Member] = []

    def got(value: str) -> None:
        with lock:
            seen[value] += 1

    def once_each() -> None:
        with lock:
            expect([value for value, times in seen.items() if times != 1], [], "came more than once")

    def more_arrives(step: str) -> None:
        nonlocal sent
        client.produce(topic, "none", numbered(sent, sent + PORTION))
        sent += PORTION
        until(f"{step}: all of {sent} records came", lambda: len(seen) == sent)
        once_each()

    def joined() -> Member:
        members.append((join or client.join)(topic, group, got))
        return members[-1]

    try:
        first = joined()
        more_arrives("one member")
        second = joined()
        until("both have two partitions", lambda: (first.assigned(), second.assigned()) == (2, 2))
        more_arrives("two members")
        members.pop().leave()
        until("the first has all partitions again", lambda: first.assigned() == 4)
        more_arrives("one left")
        members.pop().leave()
        joined()
        more_arrives("resumed")
        time.sleep(0.5)  # a record that comes twice would come now
        once_each()
    finally:
        for member in members:
            member.leave()
