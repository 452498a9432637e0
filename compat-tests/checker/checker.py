"""Judges a history: one function for each promise of a log that can be broken. An empty list means that all were kept.

    checker.py history.jsonl…       counts, then the anomalies; exit code 1 if there is one

Histories are described in history.py. The functions are pure, and each yields the anomalies of its own kinds:

| anomaly | meaning | allowed |
| --- | --- | --- |
| lost-write | acked, or seen by someone; a later offset was read at the end, this one never | never |
| unseen | acked, and not read by the end (by a final reader, or by one that follows) | never |
| inconsistent-offsets | one offset holds two values, over sends and polls together | never |
| wrong-offset | acked at one offset, read only at others | never |
| duplicate | one value at two offsets | without idempotence, after an unknown outcome that was retried |
| aborted-read | a failed write was read | never |
| precommitted-read | a transaction's data was read at read_committed before its commit was asked for | never |
| poll-skip, nonmonotonic-poll | a consumer skips values that exist, or goes back | across an assignment |
| nonmonotonic-send | a later send of a stream, or one begun after another's ack, lies at a lower offset | never |
| wrong-key, corrupt, phantom | a value of another partition, a wrong checksum, a value that nobody sent | never |
| zero-offset | offset 0 acked for two values | never |
| high-watermark-regress | ListOffsets latest below what was acked, read or told before it was asked | never |
| density | a hole in a partition without transactions | never |
| false-out-of-range | OFFSET_OUT_OF_RANGE for log start ≤ offset ≤ end | never |
| group-overlap | one partition owned by two members of one generation | never |
| committed-beyond-end, committed-regress | a group's offset past the end, or going back | never |

The first bound is the highest offset of a partition that a final reader saw: what lies beyond is `unseen`.
"""

import bisect
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from facts import Facts, Highest, Written
from history import FAIL, INFO, OK, Key, Operation, decode, operations, read


@dataclass(frozen=True)
class Anomaly:
    """A broken rule, and what broke it."""
    kind: str
    what: str


def check(history: Iterable[Operation]) -> list[Anomaly]:
    """Every anomaly of a history."""
    facts = Facts(history)
    return [anomaly for rule in RULES for anomaly in rule(facts)]


def lost_write(facts: Facts) -> Iterator[Anomaly]:
    """Whether each value that must be there is, up to where the final readers came."""
    for written, bound in _absent(facts):
        last = max(facts.offsets(written), default=None)
        if last is not None and last <= bound:
            yield Anomaly("lost-write", f"{_name(written)} at {last}, read to {bound}")


def unseen(facts: Facts) -> Iterator[Anomaly]:
    """Whether the final readers came far enough, and whoever follows saw everything."""
    for written, bound in _absent(facts):
        last = max(facts.offsets(written), default=None)
        if last is None or last > bound:
            yield Anomaly("unseen", f"{_name(written)} at {last}, read to {bound}")
    for process, traits in facts.traits.items():
        if not traits.get("follows"):
            continue
        keys = {(o.fields["topic"], int(p)) for o in facts.by_op["assign"] if o.process == process
                for p in o.fields["positions"]}
        seen = {value for poll in facts.by_op["poll"] if poll.process == process for _, _, value in facts.reads(poll)}
        for written in facts.must_be_read():
            if written.key in keys and written.value not in seen:
                yield Anomaly("unseen", f"{_name(written)} by {process}")


def _absent(facts: Facts) -> Iterator[tuple[Written, int]]:
    """What must be read and was not by any final reader, with the highest offset that one saw."""
    seen = {value for log in facts.final.values() for value in log.values()}
    bounds = {key: max(log) for key, log in facts.final.items()}
    for written in facts.must_be_read():
        if written.value not in seen:
            yield written, bounds.get(written.key, -1)


def inconsistent_offsets(facts: Facts) -> Iterator[Anomaly]:
    """Whether an offset holds one value, whoever says so. Offset 0 acked twice has a name of its own."""
    acked: dict[tuple[Key, int], str] = {}
    for written in facts.written.values():
        for offset in written.acked:
            other = acked.setdefault((written.key, offset), written.value)
            if other != written.value:
                kind = "zero-offset" if offset == 0 else "inconsistent-offsets"
                yield Anomaly(kind, f"{written.key}@{offset} acked for {_short(other)} and {_short(written.value)}")
            now = facts.read[written.key].get(offset)
            if now is not None and now != written.value:
                yield Anomaly("inconsistent-offsets", f"{written.key}@{offset} acked for {_short(written.value)}, read {_short(now)}")
    for poll in facts.by_op["poll"]:
        for key, offset, value in facts.reads(poll):
            first = facts.read[key][offset]
            if first != value:
                yield Anomaly("inconsistent-offsets", f"{key}@{offset} read as {_short(first)} and {_short(value)}")


def wrong_offset(facts: Facts) -> Iterator[Anomaly]:
    """Whether an acked value was read at the place that was acked."""
    for written in facts.written.values():
        found = facts.places.get(written.value)
        if found and written.acked and not written.acked & found:
            yield Anomaly("wrong-offset", f"{_name(written)} acked at {sorted(written.acked)}, read at {sorted(found)}")


def duplicate(facts: Facts) -> Iterator[Anomaly]:
    """Whether a value has one place. Without idempotence, a retry after an unknown outcome may have given it two."""
    for written in facts.written.values():
        found = facts.offsets(written)
        if len(found) > 1 and not _may_be_twice(facts, written):
            yield Anomaly("duplicate", f"{_name(written)} at {sorted(found)}")


def _may_be_twice(facts: Facts, written: Written) -> bool:
    unknown_then_again = any(attempt.type == INFO for attempt in written.attempts[:-1])
    return not facts.has(written.process, "idempotent") and (facts.has(written.process, "retries") or unknown_then_again)


def aborted_read(facts: Facts) -> Iterator[Anomaly]:
    """Whether what failed stayed away: from all readers, or if its transaction failed from those of read_committed."""
    for poll in facts.by_op["poll"]:
        for key, offset, value in facts.reads(poll):
            written = facts.written.get(value)
            if written is None or written.outcome != FAIL:
                continue
            sent = any(attempt.type != FAIL for attempt in written.attempts)
            if not sent or facts.has(poll.process, "committed"):
                yield Anomaly("aborted-read", f"{_name(written)} at {offset} by {poll.process}")


def precommitted_read(facts: Facts) -> Iterator[Anomaly]:
    """Whether read_committed showed nothing before the commit was asked for."""
    for poll in facts.by_op["poll"]:
        if not facts.has(poll.process, "committed"):
            continue
        for key, offset, value in facts.reads(poll):
            written = facts.written.get(value)
            if written is None or written.txn is None:
                continue
            decision = facts.decisions.get(written.txn)
            if decision is None or decision.began > poll.ended:
                yield Anomaly("precommitted-read", f"{_name(written)} of {written.txn} at {offset} by {poll.process}")


def poll_order(facts: Facts) -> Iterator[Anomaly]:
    """Whether each consumer went on from record to record: never back, and over no value that exists."""
    steps: dict[str, list[Operation]] = defaultdict(list)
    for operation in facts.by_op["assign"] + facts.by_op["poll"]:
        steps[operation.process].append(operation)
    existing = _existing(facts)
    for process, consumed in steps.items():
        following: dict[Key, int] = {}
        for operation in sorted(consumed, key=lambda o: o.ended):
            if operation.op == "assign":
                following = {(operation.fields["topic"], int(p)): position
                             for p, position in operation.fields["positions"].items() if position is not None}
                continue
            for key, offset, _ in facts.reads(operation):
                wanted = following.get(key, offset)
                if offset < wanted:
                    yield Anomaly("nonmonotonic-poll", f"{process}: {key}@{offset} after {wanted - 1}")
                elif offset > wanted and _any_between(existing.get(key, []), wanted, offset):
                    yield Anomaly("poll-skip", f"{process}: {key}@{offset}, expected {wanted}")
                following[key] = offset + 1


def _existing(facts: Facts) -> dict[Key, list[int]]:
    """The offsets that hold a value for every reader: those of a transaction only if it has committed."""
    found: dict[Key, set[int]] = defaultdict(set)
    for key, log in facts.read.items():
        for offset, value in log.items():
            written = facts.written.get(value)
            if written is None or written.txn is None or written.outcome == OK:
                found[key].add(offset)
    for written in facts.written.values():
        if written.outcome == OK:
            found[written.key] |= written.acked
    return {key: sorted(offsets) for key, offsets in found.items()}


def _any_between(offsets: list[int], first: int, end: int) -> bool:
    at = bisect.bisect_left(offsets, first)
    return at < len(offsets) and offsets[at] < end


def nonmonotonic_send(facts: Facts) -> Iterator[Anomaly]:
    """Whether later sends lie behind earlier ones: within a stream in its order, among all in real time."""
    placed = [(written, min(written.acked or offsets)) for written in facts.written.values()
              if (offsets := facts.offsets(written))]
    acks: dict[Key, list[tuple[float, int]]] = defaultdict(list)
    for send in facts.by_op["send"]:
        if send.type == OK and send.fields.get("offset", -1) >= 0:
            acks[send.key].append((send.ended, send.fields["offset"]))
    highest_acked = {key: Highest(found) for key, found in acks.items()}
    highest_of_stream: dict[tuple[str, str, Key], int] = {}
    for written, offset in sorted(placed, key=lambda pair: pair[0].began):
        if written.key in highest_acked:
            acked = highest_acked[written.key].before(written.began)
            if offset < acked:
                yield Anomaly("nonmonotonic-send", f"{_name(written)} at {offset}, begun after {acked} was acked")
        stream = written.attempts[0].fields.get("stream")
        if stream is not None:
            name = (written.process, stream, written.key)
            if offset < highest_of_stream.get(name, -1):
                yield Anomaly("nonmonotonic-send", f"{_name(written)} at {offset} after {highest_of_stream[name]}")
            highest_of_stream[name] = max(offset, highest_of_stream.get(name, -1))


def payloads(facts: Facts) -> Iterator[Anomaly]:
    """Whether every value that was read is whole, in its partition, and was sent by someone."""
    for key, log in facts.read.items():
        for offset, payload in log.items():
            written = facts.written.get(payload)
            if written is not None and written.key == key:
                continue
            value = decode(payload)
            if value is None:
                yield Anomaly("corrupt", f"{key}@{offset}: {_short(payload)}")
            elif (value.topic, value.partition) != key:
                yield Anomaly("wrong-key", f"{key}@{offset}: {_short(payload)}")
            else:
                yield Anomaly("phantom", f"{key}@{offset}: {_short(payload)} was never sent")


def high_watermark_regress(facts: Facts) -> Iterator[Anomaly]:
    """Whether the latest offset is at least what was acked, read or told before it was asked for."""
    for asked in facts.by_op["end"]:
        if asked.type == OK and not facts.has(asked.process, "committed"):
            known = facts.ends(asked.key).before(asked.began)
            if asked.fields["offset"] < known:
                yield Anomaly("high-watermark-regress", f"{asked.key}: {asked.fields['offset']} at {asked.began:.3f}, {known} before")


def density(facts: Facts) -> Iterator[Anomaly]:
    """Whether a partition without transactions has a record at every offset that a final reader passed."""
    for key, log in facts.final.items():
        if key in facts.transactional:
            continue
        wanted = facts.log_start(key)
        for offset in sorted(log):
            if offset > wanted:
                yield Anomaly("density", f"{key}: no record at {wanted}..{offset - 1}")
            wanted = max(wanted, offset + 1)


def false_out_of_range(facts: Facts) -> Iterator[Anomaly]:
    """Whether OFFSET_OUT_OF_RANGE was said only of what is out of range. A position that is not known came from the log."""
    for poll in facts.by_op["poll"]:
        if poll.fields.get("error") != "OFFSET_OUT_OF_RANGE":
            continue
        offset = poll.fields.get("offset")
        end = facts.ends(poll.key).before(poll.began)
        if offset is None or facts.log_start(poll.key) <= offset <= max(end, 0):
            yield Anomaly("false-out-of-range", f"{poll.key}@{offset} told {poll.process}, the end was {end}")


def group_overlap(facts: Facts) -> Iterator[Anomaly]:
    """Whether one generation gives each partition to one member."""
    owners: dict[tuple, str] = {}
    for own in facts.by_op["own"]:
        for topic, partition in own.fields["partitions"]:
            place = (own.fields["group"], own.fields["generation"], topic, partition)
            owner = owners.setdefault(place, own.process)
            if owner != own.process:
                yield Anomaly("group-overlap", f"{place} owned by {owner} and {own.process}")


def committed_beyond_end(facts: Facts) -> Iterator[Anomaly]:
    """Whether a group's offsets lie in the log. Markers of transactions have offsets that nobody reads: there only an asked
    end counts."""
    asked = {o.key for o in facts.by_op["end"] if o.type == OK}
    for kind in ("commit", "committed"):
        for operation in facts.by_op[kind]:
            if operation.type != OK or (operation.key in facts.transactional and operation.key not in asked):
                continue
            end = max(facts.ends(operation.key).last(), 0)
            if operation.fields["offset"] > end:
                yield Anomaly("committed-beyond-end", f"{operation.fields['group']} {operation.key}: {operation.fields['offset']}, the end is {end}")


def committed_regress(facts: Facts) -> Iterator[Anomaly]:
    """Whether a group's offsets only rise, in real time: those that are committed, and those that are told."""
    known: dict[tuple, list[tuple[float, int]]] = defaultdict(list)
    both = [o for kind in ("commit", "committed") for o in facts.by_op[kind] if o.type == OK]
    for operation in both:
        known[(operation.fields["group"], operation.key)].append((operation.ended, operation.fields["offset"]))
    highest = {place: Highest(evidence) for place, evidence in known.items()}
    for operation in both:
        place = (operation.fields["group"], operation.key)
        before = highest[place].before(operation.began)
        if operation.fields["offset"] < before:
            yield Anomaly("committed-regress", f"{place}: {operation.fields['offset']} by {operation.process}, {before} before")


RULES = (lost_write, unseen, inconsistent_offsets, wrong_offset, duplicate, aborted_read, precommitted_read, poll_order,
         nonmonotonic_send, payloads, high_watermark_regress, density, false_out_of_range, group_overlap,
         committed_beyond_end, committed_regress)


def _short(value: str) -> str:
    return value.rstrip(".")[:80]


def _name(written: Written) -> str:
    return f"{_short(written.value)} ({written.outcome})"


def main(paths: list[str]) -> int:
    """Exit code 1 if there is an anomaly, 2 without a history."""
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    history = list(operations(read(paths)))
    counts = Counter(f"{o.op} {o.type}" for o in history)
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    found = check(history)
    for kind, count in Counter(anomaly.kind for anomaly in found).most_common():
        print(f"{kind}: {count}")
        for anomaly in [a for a in found if a.kind == kind][:5]:
            print(f"    {anomaly.what}")
    print("anomalies: " + (str(len(found)) if found else "none"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
