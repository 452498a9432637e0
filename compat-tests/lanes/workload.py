"""The clients of a torture test, all at once: librdkafka's and the bare wire's producers, two consumers that follow, a watcher.

Everything they do is one history on one file. `judge` reads the log once more with a fresh client, and asks the checker.
"""

import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from checker import check
from history import INFO, OK, Recorder, operations, read
from lanes import IDEMPOTENT, SINGLE_SHOT, FollowingConsumer, ProducerLane, read_log
from raw_lanes import RawFollower, RawProducer, Watcher

DRAIN_S = 90
UNSEEN_S = 30
# A request that an agent never answers (it is stopped, its host is gone) is given up after this, as with any broker.
CLIENT = {"socket.timeout.ms": 1_000}


class Workload:
    """Starts with its construction. `rate` is one idempotent librdkafka producer's, and `ballast` its keys' bytes; all others are
    slower."""

    def __init__(self, folder: Path, kafka: str, topic: str, partitions: int, rate: float, producers: int = 3, ballast: int = 0):
        self.kafka, self.topic, self.partitions = kafka, topic, partitions
        self.recorder = Recorder(folder / "history.jsonl")
        self.run = run = f"{random.SystemRandom().randrange(1 << 32):08x}"
        where = (kafka, topic, partitions)
        self.idempotent = [ProducerLane(f"idempotent{i}", *where, rate, {**IDEMPOTENT, **CLIENT}, self.recorder, run, ballast)
                           for i in range(producers)]
        self.lanes = [*self.idempotent,
                      ProducerLane("single-shot", *where, rate / 4, SINGLE_SHOT, self.recorder, run),
                      RawProducer("raw", *where, rate / 4, self.recorder, run),
                      RawProducer("raw-pipelined", *where, rate / 4, self.recorder, run, in_flight=20),
                      RawProducer("raw-idempotent", *where, rate / 4, self.recorder, run, in_flight=5, idempotent=True)]
        self.followers = [FollowingConsumer(*where, self.recorder), RawFollower(*where, self.recorder)]
        self.watcher = Watcher(*where, self.recorder)
        for thread in (*self.lanes, *self.followers, self.watcher):
            thread.start()

    def add_raw(self, name: str, rate: float, **settings: object) -> None:
        """One more producer on the bare wire."""
        lane = RawProducer(name, self.kafka, self.topic, self.partitions, rate, self.recorder, self.run, **settings)
        lane.start()
        self.lanes.append(lane)

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time between two acks of one partition, between these two moments; of the idempotent producers."""
        longest = 0.0
        acks = [ack for lane in self.idempotent for ack in list(lane.acks) if since <= ack[0] <= until]
        for partition in range(self.partitions):
            moments = [since, *sorted(at for at, p in acks if p == partition), until]
            longest = max(longest, *(b - a for a, b in zip(moments, moments[1:])))
        return longest

    def acked_between(self, since: float, until: float) -> int:
        """Acks of all producers between these two moments."""
        return sum(since <= at <= until for lane in self.lanes for at, _ in list(lane.acks))

    def acks_each_second(self, since: float, until: float) -> list[int]:
        """Acks of all producers in each whole second between these two moments."""
        counts = [0] * int(until - since)
        for lane in self.lanes:
            for at, _ in list(lane.acks):
                if since <= at < since + len(counts):
                    counts[int(at - since)] += 1
        return counts

    def stop_sending(self) -> None:
        """Waits for the answers of what is in flight."""
        for lane in self.lanes:
            lane.finish(DRAIN_S)

    def judge(self, others: Iterable[Path] = ()) -> list[str]:
        """Complaints: every anomaly, every lane that did nothing or that gave up. `others` are histories to judge with it."""
        ends = read_log(self.kafka, self.topic, self.partitions, self.recorder, UNSEEN_S)
        for follower in self.followers:
            follower.finish(ends, UNSEEN_S)
        self.watcher.finish()
        histories = [self.recorder.close(), *others]
        complaints = [f"{a.kind}: {a.what}" for a in check(operations(read(histories)))]
        for lane in self.lanes:
            complaints += lane.fatal
            if lane.counts[OK] == 0:
                complaints.append(f"{lane.name}: nothing was acked")
        for lane in self.idempotent:
            if lane.reported:
                complaints.append(f"{lane.name}: gave up on records: {dict(lane.reported)}")
        if self.watcher.answers == 0:
            complaints.append("watcher: no latest offset was told")
        counts = sum((lane.counts for lane in self.lanes), Counter())
        print("    " + ", ".join(f"{name} {counts[kind]}" for name, kind in (("acked", OK), ("unknown", INFO), ("failed", "fail")))
              + f", read {sum(ends.values())}; not acked: "
              + "; ".join(f"{lane.name} {lane.counts['fail']} failed, {lane.counts[INFO]} unknown" for lane in self.lanes
                          if lane.counts["fail"] or lane.counts[INFO]), flush=True)
        if complaints:
            print(f"    judge it again: compat-tests/checker/checker.py {' '.join(map(str, histories))}")
        return complaints
