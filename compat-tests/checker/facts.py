"""What a history says, indexed once: every value that was sent, and every place where one was seen.

The rules of checker.py only read this. A transaction's fate is part of its sends' outcome: what was aborted has failed.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from history import FAIL, INFO, OK, Key, Operation


@dataclass(slots=True)
class Written:
    """A value that was sent, with every attempt to send it."""
    value: str
    key: Key
    process: str
    attempts: list[Operation]
    txn: str | None
    outcome: str = INFO
    acked: set[int] = field(default_factory=set)

    @property
    def began(self) -> float:
        """When it was sent first."""
        return self.attempts[0].began


class Highest:
    """The highest number known at a time: evidence is a moment, and a number that something had reached by then."""

    def __init__(self, evidence: Iterable[tuple[float, int]]):
        self._moments: list[float] = []
        self._numbers: list[int] = []
        for moment, number in sorted(evidence):
            if not self._numbers or number > self._numbers[-1]:
                self._moments.append(moment)
                self._numbers.append(number)

    def before(self, moment: float) -> int:
        """What was reached before that moment; -1 if nothing is known."""
        at = bisect.bisect_left(self._moments, moment)
        return self._numbers[at - 1] if at else -1

    def last(self) -> int:
        """What was reached in the end."""
        return self._numbers[-1] if self._numbers else -1


class Facts:
    """Indexes over a history."""

    def __init__(self, history: Iterable[Operation]):
        self.by_op: dict[str, list[Operation]] = defaultdict(list)
        for operation in history:
            self.by_op[operation.op].append(operation)
        self.traits = {o.process: o.fields for o in self.by_op["client"]}
        self.decisions = {o.fields["txn"]: o for o in self.by_op["txn"]}
        self.written = self._written()
        self.transactional = {w.key for w in self.written.values() if w.txn is not None}
        self.read: dict[Key, dict[int, str]] = defaultdict(dict)
        """Key → offset → the first value that was read there."""
        self.places: dict[str, set[int]] = defaultdict(set)
        """Value → the offsets where it was read."""
        self.final: dict[Key, dict[int, str]] = defaultdict(dict)
        """The log as the final readers saw it; without any, as everybody did."""
        self._index_reads()

    def has(self, process: str, trait: str) -> bool:
        """Whether a client says that of itself."""
        return bool(self.traits.get(process, {}).get(trait))

    def reads(self, operation: Operation) -> Iterator[tuple[Key, int, str]]:
        """The records of a poll."""
        topic = operation.fields["topic"]
        for partition, offset, value in operation.fields.get("records", ()):
            yield (topic, partition), offset, value

    def offsets(self, written: Written) -> set[int]:
        """Every place of a value, over acks and reads."""
        return written.acked | self.places.get(written.value, set())

    def must_be_read(self) -> Iterator[Written]:
        """What was acked, or was not acked but proved by a read."""
        for written in self.written.values():
            if written.outcome == OK or (written.outcome == INFO and written.value in self.places):
                yield written

    def ends(self, key: Key) -> Highest:
        """How long a partition was known to be."""
        return self._ends().get(key) or Highest(())

    def log_start(self, key: Key) -> int:
        """The highest log start that anyone was told."""
        return max((o.fields["offset"] for o in self.by_op["start"] if o.type == OK and o.key == key), default=0)

    def _written(self) -> dict[str, Written]:
        written: dict[str, Written] = {}
        for send in self.by_op["send"]:
            value = send.fields["value"]
            if value in written:
                written[value].attempts.append(send)
            else:
                written[value] = Written(value, send.key, send.process, [send], send.fields.get("txn"))
        for one in written.values():
            one.outcome = self._outcome(one)
            one.acked = {a.fields["offset"] for a in one.attempts if a.type == OK and a.fields.get("offset", -1) >= 0}
        return written

    def _outcome(self, written: Written) -> str:
        types = {attempt.type for attempt in written.attempts}
        sent = OK if OK in types else INFO if INFO in types else FAIL
        if written.txn is None or sent == FAIL:
            return sent
        decision = self.decisions.get(written.txn)
        if decision is None:
            return INFO
        if (decision.fields["decision"], decision.type) in (("abort", OK), ("commit", FAIL)):
            return FAIL
        return sent if decision.type == OK else INFO

    def _index_reads(self) -> None:
        finals = any(traits.get("final") for traits in self.traits.values())
        for poll in self.by_op["poll"]:
            in_final = not finals or self.has(poll.process, "final")
            for key, offset, value in self.reads(poll):
                self.read[key].setdefault(offset, value)
                self.places[value].add(offset)
                if in_final:
                    self.final[key].setdefault(offset, value)

    def _ends(self) -> dict[Key, Highest]:
        if not hasattr(self, "_ends_found"):
            evidence: dict[Key, list[tuple[float, int]]] = defaultdict(list)
            for operation in self.by_op["send"]:
                if operation.type == OK and operation.fields.get("offset", -1) >= 0:
                    evidence[operation.key].append((operation.ended, operation.fields["offset"] + 1))
            for operation in self.by_op["end"]:
                if operation.type == OK:
                    evidence[operation.key].append((operation.ended, operation.fields["offset"]))
            for poll in self.by_op["poll"]:
                for key, offset, _ in self.reads(poll):
                    evidence[key].append((poll.ended, offset + 1))
            self._ends_found = {key: Highest(found) for key, found in evidence.items()}
        return self._ends_found
