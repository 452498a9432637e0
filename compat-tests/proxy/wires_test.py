"""What the proxy sees in recorded shapes of the three protocols, however the bytes are cut up."""

import random
import struct
import unittest

from wires import HttpWire, KafkaWire, PostgresWire

COMMIT = "WITH live AS (SELECT 1), slot AS (\n INSERT INTO segments VALUES (1)) SELECT 2"
RENEW = "UPDATE session_renewals AS r SET counter = counter + 1"


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack(">i", 4 + len(body)) + body


def parse(name: str, text: str) -> bytes:
    return message(b"P", name.encode() + b"\0" + text.encode() + b"\0" + struct.pack(">h", 0)) + message(b"S")


def execute(name: str, *numbers: int) -> bytes:
    parameters = b"".join(struct.pack(">iq", 8, number) for number in numbers)
    bind = b"\0" + name.encode() + b"\0" + struct.pack(">hhh", 1, 1, len(numbers)) + parameters + struct.pack(">hh", 1, 1)
    return message(b"B", bind) + message(b"E", b"\0" + struct.pack(">i", 0)) + message(b"S")


def query(text: str) -> bytes:
    return message(b"Q", text.encode() + b"\0")


STARTUP = struct.pack(">ii", 8, 196_608)
READY = message(b"Z", b"I")


class Wires(unittest.TestCase):
    def seen(self, wire, talk: list[tuple[str, bytes]]) -> list[tuple]:
        """Moments and what is known of them, over bytes that come in pieces of any size; the bytes go on as they came."""
        dice, found = random.Random(1), []
        for way, data in talk:
            given, out = data, b""
            while given:
                size = dice.randint(1, 40)
                for piece in getattr(wire, way)(given[:size]):
                    out += piece.data
                    if piece.moment:
                        found.append((piece.moment, piece.details))
                given = given[size:]
            self.assertEqual(out, data)
        return found

    def test_a_commit_of_one_statement_and_its_answer(self):
        talk = [("up", STARTUP), ("down", message(b"R", bytes(4)) + READY), ("up", parse("s1", COMMIT)), ("down", message(b"1") + READY),
                ("up", execute("s1", 7, 9)), ("down", message(b"2") + message(b"C", b"SELECT 1\0") + READY)]
        segment = {"segments": [[7, 9]]}
        self.assertEqual(self.seen(PostgresWire(), talk), [("commit", segment), ("commit-answer", segment)])

    def test_a_transaction_of_several_is_a_commit_at_its_end(self):
        talk = [("up", STARTUP), ("down", READY), ("up", parse("s1", COMMIT)), ("down", READY), ("up", query("BEGIN")), ("down", READY),
                ("up", execute("s1", 7, 9)), ("down", READY), ("up", execute("s1", 7, 10)), ("down", READY), ("up", query("COMMIT")), ("down", READY)]
        both = {"segments": [[7, 9], [7, 10]]}
        self.assertEqual(self.seen(PostgresWire(), talk), [("commit", both), ("commit-answer", both)])

    def test_other_statements_and_what_is_rolled_back_are_no_moments(self):
        talk = [("up", STARTUP), ("down", READY), ("up", parse("s1", COMMIT) + parse("s2", "SELECT 1")), ("down", READY + READY),
                ("up", query("BEGIN")), ("up", execute("s1", 7, 9)), ("up", query("ROLLBACK")), ("up", query("BEGIN")), ("up", query("COMMIT")),
                ("up", execute("s2", 1, 2)), ("down", READY * 6), ("down", message(b"A", b"unasked"))]
        self.assertEqual(self.seen(PostgresWire(), talk), [])

    def test_a_renewal(self):
        talk = [("up", STARTUP), ("down", READY), ("up", parse("s1", RENEW)), ("down", READY), ("up", execute("s1", 7, 1)), ("down", READY)]
        self.assertEqual([moment for moment, _ in self.seen(PostgresWire(), talk)], ["renewal", "renewal-answer"])

    def test_requests_to_a_store(self):
        put = b"PUT /b/test/org-0/flush/1/2-x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
        get = b"GET /b/test/org-0/flush/1/2-x HTTP/1.1\r\n\r\n"
        delete = b"POST /b?delete HTTP/1.1\r\ncontent-length: 2\r\n\r\n<>"
        head, other = b"HEAD /b/test/org-0/x HTTP/1.1\r\n\r\n", b"GET /b?list-type=2&prefix=test/org-0 HTTP/1.1\r\n\r\n"
        ok, chunked = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n"
        told = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
        talk = [("up", put + get), ("down", ok), ("up", head), ("down", chunked), ("down", told), ("up", delete + other), ("down", ok + ok)]
        self.assertEqual([moment for moment, _ in self.seen(HttpWire(), talk)],
                         ["put", "get", "put-answer", "get-answer", "delete", "delete-answer"])

    def test_what_a_store_broke_off_is_passed_on(self):
        wire = HttpWire()
        wire.up(b"GET /b/test/org-0/x HTTP/1.1\r\n\r\n")
        half = b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nhalf"
        self.assertEqual(wire.down(half), [])
        self.assertEqual(wire.rest(), half)

    def test_requests_of_kafka_clients(self):
        def frame(body: bytes) -> bytes:
            return struct.pack(">i", len(body)) + body
        talk = [("up", frame(struct.pack(">hhi", 0, 8, 5) + b"batch") + frame(struct.pack(">hhi", 3, 8, 6)) + frame(struct.pack(">hhi", 1, 11, 7))),
                ("down", frame(struct.pack(">i", 5)) + frame(struct.pack(">i", 6)) + frame(struct.pack(">i", 7) + b"records"))]
        self.assertEqual([moment for moment, _ in self.seen(KafkaWire(), talk)], ["produce", "fetch", "produce-answer", "fetch-answer"])


if __name__ == "__main__":
    unittest.main()
