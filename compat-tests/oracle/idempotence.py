"""The edges of idempotent producers: duplicates, gaps, wrapped sequences, epochs, requests in flight, and a broker that dies."""

import time
from collections.abc import Callable

from batches import idempotent
from conversation import Conversation
from differences import Found
from script import case

SETTLED = 25
LAST = (1 << 31) - 1
"""The greatest sequence; 0 follows it."""


class Producer:
    """One producer id on a partition of its own."""

    def __init__(self, s: Conversation, version: int):
        self._s, self._version, self._topic = s, version, s.topic()
        self._topic_id, self._id = s.topic_id(self._topic), s.producer()

    def body(self, sequence: int, count: int = 1, epoch: int = 0, breaks: Callable[[bytes], bytes] = lambda batch: batch) -> dict:
        """A Produce of one batch."""
        records = breaks(idempotent(*[b"x"] * count, producer=self._id, epoch=epoch, sequence=sequence))
        data = {"PartitionData": [{"Index": 0, "Records": records}]}
        data |= {"TopicId": self._topic_id} if self._version >= 13 else {"Name": self._topic}
        return {"Acks": -1, "TimeoutMs": 10_000, "TopicData": [data]}

    def led(self) -> None:
        """Returns when the partition has had a leader for some seconds: a Kafka that starts gives it up once more."""
        deadline, good = time.monotonic() + 60, 0
        at = {"PartitionIndex": 0, "Timestamp": -1, "CurrentLeaderEpoch": -1}
        body = {"ReplicaId": -1, "Topics": [{"Name": self._topic, "Partitions": [at]}]}
        while good < SETTLED:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._topic} has no leader")
            answer = self._s.prepare("ListOffsets", body)
            good = good + 1 if answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0 else 0
            time.sleep(0.2)

    def ask(self, label: str, sequence: int, count: int = 1, epoch: int = 0) -> None:
        """One at a time."""
        self._s.ask("Produce", self._version, self.body(sequence, count, epoch), label)

    def in_flight(self, label: str, *bodies: dict) -> None:
        """All at once."""
        self._s.ask_at_once("Produce", self._version, {f"{label}: {n + 1} of {len(bodies)}": body for n, body in enumerate(bodies)})


def bad_crc(batch: bytes) -> bytes:
    """As if it was damaged on its way."""
    return batch[:17] + bytes([batch[17] ^ 1]) + batch[18:]


@case("Produce")
def duplicates(s: Conversation, v: int) -> None:
    """Of each of the last five, and of what is older."""
    p = Producer(s, v)
    for sequence in range(0, 14, 2):
        p.ask("in order", sequence, count=2)
    for back in range(1, 8):
        p.ask(f"duplicate of the last but {back - 1}", 14 - 2 * back, count=2)
    p.ask("duplicate with more records", 12, count=3)
    p.ask("duplicate with fewer records", 12, count=1)
    p.ask("second half of the last", 13)
    p.ask("gap of one", 15)
    p.ask("goes on", 14)


@case("Produce")
def wraps(s: Conversation, v: int) -> None:
    """From 2147483647 to 0, between batches and within one."""
    p = Producer(s, v)
    p.ask("near the end", LAST - 1)
    p.ask("the last", LAST)
    p.ask("gap over the end", 1)
    p.ask("0 after the last", 0)
    p.ask("duplicate of the last sequence", LAST)
    p.ask("duplicate of 0", 0)
    p.ask("1 after 0", 1)
    q = Producer(s, v)
    q.ask("over the end", LAST - 1, count=5)
    q.ask("duplicate over the end", LAST - 1, count=5)
    q.ask("gap after the end", 4)
    q.ask("goes on after the end", 3)
    r = Producer(s, v)
    r.ask("from 5 without a history", 5)
    r.ask("0 after 5", 0)


@case("Produce")
def epochs(s: Conversation, v: int) -> None:
    """A new epoch begins at 0, and ends the one before."""
    p = Producer(s, v)
    for sequence in range(3):
        p.ask("first epoch", sequence)
    p.ask("new epoch in the middle", 3, epoch=1)
    p.ask("new epoch", 0, epoch=1)
    p.ask("duplicate in the new epoch", 0, epoch=1)
    p.ask("old epoch goes on", 3)
    p.ask("duplicate of the old epoch", 2)
    p.ask("new epoch goes on", 1, epoch=1)
    p.ask("epochs left out", 0, epoch=7)
    p.ask("the greatest epoch", 0, epoch=32_767)
    p.ask("back to an epoch", 1, epoch=7)


@case("Produce")
def in_flight(s: Conversation, v: int) -> None:
    """Five in flight, of which the second fails; sent again in order."""
    p = Producer(s, v)
    p.in_flight("all good", *[p.body(n) for n in range(5)])
    p.in_flight("the second fails", p.body(5), p.body(6, breaks=bad_crc), p.body(7), p.body(8), p.body(9))
    p.in_flight("sent again", *[p.body(n) for n in range(6, 10)])
    p.in_flight("each twice", p.body(10), p.body(10), p.body(11), p.body(11))
    p.in_flight("out of order", p.body(13), p.body(12), p.body(13))
    p.in_flight("epochs", p.body(14), p.body(0, epoch=1), p.body(15), p.body(1, epoch=1))


def fail_over(sides: list[Conversation], restart: Callable[[], None], found: Found) -> None:
    """The broker dies behind the answers and comes back: what was sent before is known."""
    producers = []
    for side in sides:
        version = side.highest("Produce")
        side.exchanges, side.prefix, side._names = [], "failover", 0
        producers.append(Producer(side, version))
        for sequence in range(7):
            producers[-1].ask("before", sequence)
        side.close()
    restart()
    for p in producers:
        p.led()
    for p in producers:
        for back in range(1, 8):
            p.ask(f"after a fail-over, duplicate of the last but {back - 1}", 7 - back)
        p.ask("after a fail-over, gap", 9)
        p.in_flight("after a fail-over", p.body(7), p.body(8), p.body(8), p.body(10))
        p.ask("after a fail-over, new epoch in the middle", 9, epoch=1)
        p.ask("after a fail-over, new epoch", 0, epoch=1)
        p.ask("after a fail-over, old epoch", 9)
    found.add(sides[0].exchanges, sides[1].exchanges, (sides[0].address, sides[1].address), "failover")
