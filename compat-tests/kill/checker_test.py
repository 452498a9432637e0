"""Histories that the checker must accept, and one for each anomaly that it must find."""

import unittest

from checker import FAIL, INFO, OK, Seen, Send, Value, check


def value(sequence: int, producer: str = "p", partition: int = 0) -> Value:
    return Value(producer, partition, sequence)


def log_of(*values: Value, first: int = 0) -> list[Seen]:
    return [Seen(v.partition, first + i, v.encode()) for i, v in enumerate(values)]


def kinds(*history: object) -> set[str]:
    return {anomaly.kind for anomaly in check(*history)}


A, B, C = value(0), value(1), value(2)
ACKED = [Send(A, OK, 0), Send(B, OK, 1), Send(C, OK, 2)]


class AcceptedHistories(unittest.TestCase):
    def test_every_ack_is_there_once_in_order(self):
        self.assertEqual(kinds(ACKED, log_of(A, B, C), log_of(A, B)), set())

    def test_an_unknown_outcome_may_be_there_or_not(self):
        sends = [Send(A, INFO), Send(B, OK, 0), Send(C, INFO)]
        self.assertEqual(kinds(sends, log_of(B)), set())
        self.assertEqual(kinds(sends, log_of(B, C)), set())

    def test_a_failed_send_that_is_absent_is_fine(self):
        self.assertEqual(kinds([Send(A, OK, 0), Send(B, FAIL)], log_of(A)), set())

    def test_producers_and_partitions_have_orders_of_their_own(self):
        other, elsewhere = value(0, "q"), value(0, "p", 1)
        sends = [*ACKED, Send(other, OK, 3), Send(elsewhere, OK, 0)]
        self.assertEqual(kinds(sends, [*log_of(elsewhere), *log_of(A, B, C, other)]), set())


class FoundAnomalies(unittest.TestCase):
    def test_a_lost_write_is_found(self):
        self.assertIn("lost-write", kinds(ACKED, log_of(A, B)))

    def test_a_record_seen_by_a_consumer_and_then_gone_is_found(self):
        self.assertIn("lost-write", kinds([Send(A, OK, 0), Send(B, INFO)], log_of(A), log_of(A, B)))

    def test_a_duplicate_is_found(self):
        self.assertIn("duplicate", kinds(ACKED, log_of(A, B, C, C)))

    def test_a_duplicate_of_an_unknown_outcome_is_found(self):
        self.assertIn("duplicate", kinds([Send(A, INFO)], log_of(A, A)))

    def test_a_reordering_is_found(self):
        sends = [Send(A, INFO), Send(B, INFO)]
        self.assertEqual(kinds(sends, log_of(B, A)), {"nonmonotonic-send"})

    def test_a_wrong_offset_is_found(self):
        self.assertIn("wrong-offset", kinds([Send(A, OK, 1), Send(B, OK, 0)], log_of(A, B)))

    def test_an_offset_that_changes_its_value_is_found(self):
        sends = [Send(A, INFO), Send(B, OK, 0)]
        self.assertIn("inconsistent-offsets", kinds(sends, log_of(B), log_of(A)))

    def test_an_offset_acked_twice_is_found(self):
        self.assertIn("zero-offset", kinds([Send(A, OK, 0), Send(B, OK, 0)], log_of(A, B)))
        self.assertIn("inconsistent-offsets", kinds([*ACKED, Send(value(3), OK, 2)], log_of(A, B, C, value(3))))

    def test_a_failed_write_that_is_read_is_found(self):
        self.assertIn("aborted-read", kinds([Send(A, FAIL)], log_of(A)))

    def test_a_hole_and_a_step_back_are_found(self):
        self.assertIn("density", kinds([Send(A, OK, 1)], log_of(A, first=1)))
        self.assertIn("nonmonotonic-poll", kinds(ACKED, [*log_of(A, B, C), *log_of(A)]))

    def test_a_corrupt_or_misplaced_payload_is_found(self):
        self.assertIn("corrupt", kinds([Send(A, INFO)], [Seen(0, 0, A.encode().replace(b"/0/0/", b"/0/1/"))]))
        self.assertIn("wrong-key", kinds([Send(A, INFO)], [Seen(3, 0, A.encode())]))

    def test_a_record_that_nobody_sent_is_found(self):
        self.assertIn("phantom", kinds(ACKED, log_of(A, B, C, value(9, "q"))))


if __name__ == "__main__":
    unittest.main()
