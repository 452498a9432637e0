"""Histories that the checker must accept, and at least one for each anomaly that it must find."""

import contextlib
import io
import re
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

import checker
from checker import check, main
from history import FAIL, INFO, OK, Recorder, Value, decode, operations, read

T = "t"


def value(sequence: int, process: str = "p", partition: int = 0) -> str:
    return Value("run", T, partition, process, sequence).encode()


A, B, C = value(0), value(1), value(2)


class History:
    """Writes a history, one moment after the other."""

    def __init__(self):
        self.events: list[dict] = []

    def event(self, process: str, op: str, kind: str, number: int, **fields: object) -> int:
        self.events.append({"at": float(len(self.events)), "process": process, "op": op, "type": kind, "id": number, **fields})
        return number

    def now(self, process: str, op: str, kind: str = OK, **fields: object) -> None:
        self.event(process, op, kind, len(self.events), **fields)

    def client(self, process: str, **traits: bool) -> None:
        self.now(process, "client", **traits)

    def begin(self, payload: str, process: str = "p", partition: int = 0, **fields: object) -> Callable[..., None]:
        """Starts a send; what it returns ends it."""
        number = self.event(process, "send", "invoke", len(self.events), topic=T, partition=partition, value=payload, **fields)

        def end(kind: str = OK, offset: int = -1) -> None:
            self.event(process, "send", kind, number, **({"offset": offset} if kind == OK else {"error": "E"}))
        return end

    def send(self, payload: str, kind: str = OK, offset: int = -1, **where: object) -> None:
        self.begin(payload, **where)(kind, offset)

    def acked(self, *payloads: str) -> None:
        for offset, payload in enumerate(payloads):
            self.send(payload, OK, offset)

    def poll(self, *payloads: str, first: int = 0, process: str = "c", partition: int = 0) -> None:
        number = self.event(process, "poll", "invoke", len(self.events), topic=T)
        records = [[partition, first + i, payload] for i, payload in enumerate(payloads)]
        self.event(process, "poll", OK, number, records=records)

    def refuse(self, error: str, offset: int | None) -> None:
        number = self.event("c", "poll", "invoke", len(self.events), topic=T)
        self.event("c", "poll", FAIL, number, error=error, partition=0, offset=offset)

    def ask(self, op: str, offset: int, process: str = "w") -> None:
        number = self.event(process, op, "invoke", len(self.events), topic=T, partition=0)
        self.event(process, op, OK, number, offset=offset)

    def decide(self, txn: str, decision: str, kind: str = OK) -> None:
        number = self.event("p", "txn", "invoke", len(self.events), txn=txn, decision=decision)
        self.event("p", "txn", kind, number)

    def commit(self, offset: int, op: str = "commit", process: str = "m") -> None:
        self.now(process, op, group="g", topic=T, partition=0, offset=offset)

    def own(self, process: str, generation: int, *partitions: int) -> None:
        self.now(process, "own", group="g", generation=generation, partitions=[[T, p] for p in partitions])

    def kinds(self) -> set[str]:
        return {anomaly.kind for anomaly in check(operations(self.events))}


class Case(unittest.TestCase):
    def setUp(self):
        self.h = History()

    def clean(self):
        self.assertEqual(self.h.kinds(), set())

    def found(self, *kinds: str):
        self.assertEqual(self.h.kinds(), set(kinds))


class Values(unittest.TestCase):
    def test_a_value_survives_its_encoding(self):
        made = Value("run", "topic", 7, "process", 12)
        self.assertEqual(decode(made.encode()), made)

    def test_a_changed_character_is_noticed(self):
        for at in range(len(A)):
            changed = A[:at] + ("x" if A[at] != "x" else "y") + A[at + 1:]
            self.assertIsNone(decode(changed), at)


class AcceptedHistories(Case):
    def test_every_ack_is_there_once_in_order(self):
        self.h.acked(A, B, C)
        self.h.poll(A, B, C)
        self.clean()

    def test_an_unknown_outcome_may_be_there_or_not(self):
        self.h.send(A, INFO)
        self.h.send(B, OK, 0)
        self.h.send(C, INFO)
        self.h.poll(B, C)
        self.clean()

    def test_a_send_without_a_completion_is_unknown(self):
        self.h.begin(A)
        self.h.begin(B)
        self.h.poll(B)
        self.clean()

    def test_a_failed_send_that_is_absent_is_fine(self):
        self.h.send(A, OK, 0)
        self.h.send(B, FAIL)
        self.h.poll(A)
        self.clean()

    def test_producers_and_partitions_have_orders_of_their_own(self):
        other, elsewhere = value(0, "q"), value(0, "p", 1)
        self.h.acked(A, B)
        self.h.send(other, OK, 2, process="q", stream="s")
        self.h.send(elsewhere, OK, 0, partition=1, stream="s")
        self.h.poll(elsewhere, partition=1)
        self.h.poll(A, B, other)
        self.clean()

    def test_sends_at_the_same_time_may_land_in_any_order(self):
        first, second = self.h.begin(A), self.h.begin(B)
        second(OK, 0)
        first(OK, 1)
        self.h.poll(B, A)
        self.clean()

    def test_a_retry_after_an_unknown_outcome_may_be_there_twice_without_idempotence(self):
        self.h.send(A, INFO)
        self.h.send(A, OK, 1)
        self.h.poll(A, A)
        self.clean()

    def test_a_client_that_retries_unseen_may_be_there_twice_without_idempotence(self):
        self.h.client("p", retries=True)
        self.h.send(A, OK, 1)
        self.h.poll(A, A)
        self.clean()

    def test_an_assignment_may_go_back_or_forward(self):
        self.h.acked(A, B, C)
        self.h.poll(A, B, C)
        self.h.now("c", "assign", topic=T, positions={"0": 1})
        self.h.poll(B, first=1)
        self.h.now("c", "assign", topic=T, positions={"0": None})
        self.h.poll(A)
        self.clean()

    def test_a_committed_transaction_may_leave_holes(self):
        self.h.client("c", committed=True)
        self.h.send(A, OK, 0, txn="x")
        self.h.send(B, OK, 1, txn="x")
        self.h.decide("x", "commit")
        self.h.send(C, OK, 3)
        self.h.poll(A, B)
        self.h.poll(C, first=3)
        self.clean()

    def test_an_aborted_transaction_may_be_read_uncommitted(self):
        self.h.client("r", committed=True, final=True)
        self.h.send(A, OK, 0, txn="x")
        self.h.poll(A)
        self.h.decide("x", "abort")
        self.h.send(B, OK, 2)
        self.h.poll(B, first=2, process="r")
        self.clean()

    def test_a_transaction_of_unknown_fate_may_be_there_or_not(self):
        self.h.client("c", committed=True)
        self.h.send(A, OK, 0, txn="x")
        self.h.decide("x", "commit", INFO)
        self.h.poll(A)
        self.h.send(B, OK, 2, txn="y")
        self.h.decide("y", "commit", INFO)
        self.clean()

    def test_a_latest_offset_asked_before_an_ack_may_lack_it(self):
        number = self.h.event("w", "end", "invoke", 100, topic=T, partition=0)
        self.h.acked(A)
        self.h.event("w", "end", OK, number, offset=0)
        self.h.poll(A)
        self.clean()

    def test_what_is_out_of_range_may_be_told_so(self):
        self.h.send(A, OK, 0)
        self.h.refuse("OFFSET_OUT_OF_RANGE", 2)
        self.h.refuse("NOT_LEADER_OR_FOLLOWER", 0)
        self.h.poll(A)
        self.clean()

    def test_what_retention_removed_may_be_out_of_range(self):
        self.h.ask("start", 2)
        self.h.refuse("OFFSET_OUT_OF_RANGE", 1)
        self.clean()

    def test_a_partition_may_move_with_the_generation(self):
        self.h.own("m", 1, 0, 1)
        self.h.own("n", 2, 1)
        self.h.own("m", 2, 0)
        self.clean()

    def test_offsets_of_a_group_may_rise_to_the_end(self):
        self.h.acked(A, B)
        self.h.commit(1)
        self.h.commit(2)
        self.h.commit(2, "committed", "n")
        self.h.poll(A, B)
        self.clean()


class FoundAnomalies(Case):
    def test_an_acked_value_that_a_final_reader_passed_is_lost(self):
        self.h.acked(A, B, C)
        self.h.poll(A)
        self.h.poll(C, first=2)
        self.found("lost-write", "density", "poll-skip")

    def test_a_value_seen_by_a_consumer_and_then_gone_is_lost(self):
        self.h.client("f", final=True)
        self.h.send(A, INFO)
        self.h.send(B, OK, 1)
        self.h.poll(A, B)
        self.h.poll(B, first=1, process="f")
        self.found("lost-write", "density")

    def test_an_acked_value_beyond_what_was_read_is_unseen(self):
        self.h.acked(A, B)
        self.h.poll(A)
        self.found("unseen")

    def test_an_acked_value_in_a_partition_that_nobody_could_read_is_unseen(self):
        self.h.send(A, OK)
        self.found("unseen")

    def test_a_follower_that_lacks_a_value_is_found(self):
        self.h.client("f", final=True)
        self.h.client("c", follows=True)
        self.h.now("c", "assign", topic=T, positions={"0": 0})
        self.h.acked(A, B)
        self.h.poll(A, B, process="f")
        self.h.poll(A)
        self.found("unseen")

    def test_an_offset_that_changes_its_value_is_found(self):
        self.h.send(A, INFO)
        self.h.send(B, INFO)
        self.h.poll(A)
        self.h.poll(B, process="d")
        self.assertIn("inconsistent-offsets", self.h.kinds())

    def test_an_offset_that_holds_another_value_than_the_acked_one_is_found(self):
        self.h.send(A, INFO)
        self.h.send(B, OK, 0)
        self.h.poll(A)
        self.assertIn("inconsistent-offsets", self.h.kinds())

    def test_an_offset_acked_for_two_values_is_found(self):
        self.h.acked(A, B)
        self.h.send(C, OK, 1)
        self.h.poll(A, B)
        self.assertIn("inconsistent-offsets", self.h.kinds())
        self.assertNotIn("zero-offset", self.h.kinds())

    def test_offset_0_acked_for_two_values_is_found(self):
        self.h.send(A, OK, 0)
        self.h.send(B, OK, 0)
        self.assertIn("zero-offset", self.h.kinds())

    def test_an_ack_with_a_wrong_offset_is_found(self):
        self.h.send(A, OK, 0)
        self.h.poll(B)
        self.h.poll(A, first=1)
        self.assertIn("wrong-offset", self.h.kinds())

    def test_a_duplicate_is_found(self):
        self.h.send(A, OK, 0)
        self.h.poll(A, A)
        self.found("duplicate")

    def test_a_duplicate_of_an_unknown_outcome_that_was_not_retried_is_found(self):
        self.h.send(A, INFO)
        self.h.poll(A, A)
        self.found("duplicate")

    def test_a_duplicate_of_an_idempotent_producer_is_found_though_it_retried(self):
        self.h.client("p", idempotent=True, retries=True)
        self.h.send(A, INFO)
        self.h.send(A, OK, 1)
        self.h.poll(A, A)
        self.found("duplicate")

    def test_a_failed_write_that_is_read_is_found(self):
        self.h.send(A, FAIL)
        self.h.poll(A)
        self.found("aborted-read")

    def test_an_aborted_transaction_that_is_read_committed_is_found(self):
        self.h.client("c", committed=True)
        self.h.send(A, OK, 0, txn="x")
        self.h.decide("x", "abort")
        self.h.poll(A)
        self.found("aborted-read")

    def test_a_transaction_read_before_its_commit_is_found(self):
        self.h.client("c", committed=True)
        self.h.send(A, OK, 0, txn="x")
        self.h.poll(A)
        self.h.decide("x", "commit")
        self.found("precommitted-read")

    def test_a_transaction_read_though_nobody_decided_is_found(self):
        self.h.client("c", committed=True)
        self.h.send(A, OK, 0, txn="x")
        self.h.poll(A)
        self.found("precommitted-read")

    def test_a_committed_transaction_that_is_not_there_is_found(self):
        self.h.client("c", committed=True)
        self.h.send(A, OK, 0, txn="x")
        self.h.decide("x", "commit")
        self.h.send(B, OK, 2)
        self.h.poll(B, first=2)
        self.found("lost-write")

    def test_a_consumer_that_skips_is_found(self):
        self.h.client("f", final=True)
        self.h.acked(A, B, C)
        self.h.poll(A)
        self.h.poll(C, first=2)
        self.h.poll(A, B, C, process="f")
        self.found("poll-skip")

    def test_a_consumer_that_starts_too_late_is_found(self):
        self.h.client("f", final=True)
        self.h.acked(A, B)
        self.h.now("c", "assign", topic=T, positions={"0": 0})
        self.h.poll(B, first=1)
        self.h.poll(A, B, process="f")
        self.found("poll-skip")

    def test_a_consumer_that_goes_back_is_found(self):
        self.h.acked(A, B)
        self.h.poll(A, B)
        self.h.poll(B, first=1)
        self.found("nonmonotonic-poll")

    def test_a_reordering_in_a_stream_is_found(self):
        self.h.begin(A, stream="s")
        self.h.begin(B, stream="s")
        self.h.poll(B, A)
        self.found("nonmonotonic-send")

    def test_a_send_begun_after_an_ack_that_lies_before_it_is_found(self):
        self.h.send(A, OK, 1)
        self.h.send(B, OK, 0)
        self.h.poll(B, A)
        self.found("nonmonotonic-send")

    def test_a_corrupt_value_is_found(self):
        self.h.send(A, INFO)
        self.h.poll(A.replace("/0/p/0/", "/0/p/1/"))
        self.found("corrupt")

    def test_a_value_of_another_partition_is_found(self):
        self.h.send(A, INFO)
        self.h.poll(A, partition=3)
        self.found("wrong-key")

    def test_a_value_that_nobody_sent_is_found(self):
        self.h.acked(A)
        self.h.poll(A, value(9, "q"))
        self.found("phantom")

    def test_a_latest_offset_that_goes_back_is_found(self):
        self.h.ask("end", 3)
        self.h.ask("end", 2, "x")
        self.found("high-watermark-regress")

    def test_a_latest_offset_that_lacks_an_ack_is_found(self):
        self.h.acked(A)
        self.h.ask("end", 0)
        self.h.poll(A)
        self.found("high-watermark-regress")

    def test_a_latest_offset_that_lacks_what_was_read_is_found(self):
        self.h.send(A, INFO)
        self.h.poll(A)
        self.h.ask("end", 0)
        self.found("high-watermark-regress")

    def test_a_hole_is_found(self):
        self.h.send(A, OK, 1)
        self.h.poll(A, first=1)
        self.found("density")

    def test_a_false_out_of_range_is_found(self):
        self.h.acked(A)
        self.h.refuse("OFFSET_OUT_OF_RANGE", 1)
        self.h.poll(A)
        self.found("false-out-of-range")

    def test_the_end_of_an_empty_partition_is_not_out_of_range(self):
        self.h.refuse("OFFSET_OUT_OF_RANGE", 0)
        self.found("false-out-of-range")

    def test_an_out_of_range_at_an_unknown_position_is_found(self):
        self.h.refuse("OFFSET_OUT_OF_RANGE", None)
        self.found("false-out-of-range")

    def test_two_owners_of_one_generation_are_found(self):
        self.h.own("m", 1, 0, 1)
        self.h.own("n", 1, 1)
        self.found("group-overlap")

    def test_an_owner_that_a_rebalance_did_not_notice_is_found(self):
        self.h.own("m", 1, 0, 1)
        self.h.own("n", 2, 1)
        self.h.own("m", 2, 0, 1)
        self.found("group-overlap")

    def test_a_group_past_the_end_is_found(self):
        self.h.acked(A)
        self.h.commit(2)
        self.h.poll(A)
        self.found("committed-beyond-end")

    def test_a_commit_that_goes_back_is_found(self):
        self.h.acked(A, B)
        self.h.commit(2)
        self.h.commit(1)
        self.h.poll(A, B)
        self.found("committed-regress")

    def test_a_member_told_less_than_another_committed_is_found(self):
        self.h.acked(A, B)
        self.h.commit(2)
        self.h.commit(1, "committed", "n")
        self.h.poll(A, B)
        self.found("committed-regress")

    def test_a_commit_past_the_end_that_nobody_saw_is_found_by_who_is_told(self):
        self.h.commit(1, "committed")
        self.found("committed-beyond-end")

    def test_a_committed_offset_that_is_forgotten_is_found(self):
        self.h.acked(A)
        self.h.commit(1)
        self.h.commit(-1, "committed")
        self.h.poll(A)
        self.found("committed-regress")


class Table(unittest.TestCase):
    def test_every_anomaly_of_the_table_has_a_history_here(self):
        rows = re.findall(r"^\| ([a-z, -]+) \|", checker.__doc__, re.MULTILINE)
        kinds = {kind for row in rows for kind in row.split(", ")} - {"anomaly", "---"}
        self.assertGreaterEqual(len(kinds), 20)
        tests = Path(__file__).read_text()
        self.assertEqual({kind for kind in kinds if f'"{kind}"' not in tests}, set())


class Files(unittest.TestCase):
    def test_what_a_killed_process_was_writing_is_no_event(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "history.jsonl"
            recorder = Recorder(path, flushed=True)
            recorder.complete("m", "own", OK, group="g", generation=1, partitions=[])
            recorder.complete("m", "own", OK, group="g", generation=2, partitions=[])
            recorder.close()
            path.write_text(path.read_text()[:-5])
            self.assertEqual([event["generation"] for event in read([path])], [1])

    def test_a_history_on_its_file_is_judged_as_it_happened(self):
        with tempfile.TemporaryDirectory() as folder:
            recorder = Recorder(Path(folder) / "history.jsonl")
            for offset, payload in enumerate((A, B)):
                number = recorder.invoke("p", "send", topic=T, partition=0, value=payload)
                recorder.complete("p", "send", OK, number, offset=offset)
            number = recorder.invoke("c", "poll", topic=T)
            recorder.complete("c", "poll", OK, number, records=[[0, 0, A]])
            self.assertEqual([a.kind for a in check(operations(read([recorder.close()])))], ["unseen"])
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                self.assertEqual(main([str(recorder.path)]), 1)
            self.assertIn("unseen: 1", printed.getvalue())

    def test_200_000_sends_read_twice_are_judged_in_seconds(self):
        history = History()
        per_partition = 50_000
        for partition in range(4):
            for sequence in range(per_partition):
                history.send(value(sequence, "p", partition), OK, sequence, partition=partition, stream="s")
        for process in ("c", "d"):
            for partition in range(4):
                for first in range(0, per_partition, 500):
                    payloads = (value(s, "p", partition) for s in range(first, first + 500))
                    history.poll(*payloads, first=first, process=process, partition=partition)
        began = time.process_time()
        self.assertEqual(history.kinds(), set())
        self.assertLess(time.process_time() - began, 30)


if __name__ == "__main__":
    unittest.main()
