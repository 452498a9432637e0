"""The raw producer against a scripted agent: every answer has its outcome. And batches against the other reader of batches."""

import socket
import struct
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from pathlib import Path

from history import FAIL, INFO, OK, Operation, Recorder, Value, operations, read
from raw_lanes import RawProducer
from stored_batches import parse_batches
from wire import METADATA, PRODUCE, batch_of, records_of, string

CLOSE = "close"
Answer = int | str
"""An error code for one produce request, or CLOSE."""


class ScriptedAgent:
    """Leads partition 0 of any topic; answers produce requests as the script says, then with acks."""

    def __init__(self, *script: Answer):
        self.batches: list[bytes] = []
        self._script = list(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while size := stream.read(4):
                request = stream.read(struct.unpack(">i", size)[0])
                api, _, correlation = struct.unpack_from(">hhi", request)
                body = {METADATA: self._metadata, PRODUCE: self._produce}.get(api, self._init_producer_id)(request)
                if body is None:
                    return
                connection.sendall(struct.pack(">ii", 4 + len(body), correlation) + body)

    def _metadata(self, _: bytes) -> bytes:
        host, port = self.address.split(":")
        return (struct.pack(">iii", 0, 1, 1) + string(host) + struct.pack(">i", int(port)) + string(None) + string("c")
                + struct.pack(">iih", 1, 1, 0) + string("t") + struct.pack(">?ihiiiiiii", False, 1, 0, 0, 1, 0, 0, 0, 0, 0)
                + struct.pack(">i", 0))

    def _init_producer_id(self, _: bytes) -> bytes:
        return struct.pack(">ihqh", 0, 0, 7 + len(self.batches), 0)

    def _produce(self, request: bytes) -> bytes | None:
        answer = self._script.pop(0) if self._script else 0
        self.batches.append(request[request.index(b"raw") + 3 + 2 + 2 + 4 + 4 + 3 + 4 + 4 + 4:])
        if answer == CLOSE:
            return None
        return struct.pack(">i", 1) + string("t") + struct.pack(">iihqqqih", 1, 0, answer, len(self.batches) - 1, -1, 0, 0, -1) + bytes(4)

    def close(self) -> None:
        """No connection any more."""
        self._listener.close()


def produce(agent: ScriptedAgent, until: Callable[[RawProducer], bool], **settings: object) -> tuple[list[Operation], RawProducer]:
    """What a producer recorded until then."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder) / "history.jsonl")
        lane = RawProducer("raw", agent.address, "t", 1, 100, recorder, "run", **settings)
        lane.start()
        deadline = time.monotonic() + 10
        while not until(lane) and time.monotonic() < deadline:
            time.sleep(0.01)
        lane.finish(10)
        agent.close()
        return [o for o in operations(read([recorder.close()])) if o.op == "send"], lane


class Outcomes(unittest.TestCase):
    def outcome(self, answer: Answer) -> str:
        sends, lane = produce(ScriptedAgent(answer), lambda lane: sum(lane.counts.values()) >= 3)
        self.assertEqual([send.type for send in sends[1:]], [OK] * (len(sends) - 1))
        self.assertEqual(lane.fatal, [])
        return sends[0].type

    def test_an_ack_is_ok(self):
        self.assertEqual(self.outcome(0), OK)

    def test_refusals_are_failures(self):
        for code in (3, 6, 17):
            self.assertEqual(self.outcome(code), FAIL, code)

    def test_what_may_have_been_written_is_unknown(self):
        for answer in (-1, 7, CLOSE):
            self.assertEqual(self.outcome(answer), INFO, answer)

    def test_an_answer_that_no_producer_should_see_ends_in_a_complaint(self):
        _, lane = produce(ScriptedAgent(1), lambda lane: lane.counts[OK] > 0)
        self.assertIn("error 1 ", lane.fatal[0])

    def test_nothing_is_sent_twice(self):
        agent = ScriptedAgent(6, CLOSE, 7)
        sends, _ = produce(agent, lambda lane: lane.counts[OK] >= 3)
        values = [records_of(batch)[0][1].decode() for batch in agent.batches]
        self.assertEqual(values, [send.fields["value"] for send in sends])
        self.assertEqual(len(set(values)), len(values))

    def test_all_that_is_in_flight_on_a_lost_connection_is_unknown_and_the_next_is_another_stream(self):
        sends, _ = produce(ScriptedAgent(0, CLOSE), lambda lane: lane.counts[OK] >= 5, in_flight=5)
        lost = [send for send in sends if send.type == INFO]
        self.assertGreaterEqual(len(lost), 1)
        self.assertEqual({send.fields["stream"] for send in sends if send.type == OK and send.began > lost[-1].ended}, {"connection-1"})

    def test_an_idempotent_producer_takes_a_new_id_after_a_failure(self):
        agent = ScriptedAgent(0, 0, 6)
        produce(agent, lambda lane: lane.counts[OK] >= 4, idempotent=True)
        stored = [parse_batches(batch)[0] for batch in agent.batches]
        self.assertEqual([batch.base_sequence for batch in stored[:5]], [0, 1, 2, 0, 1])
        self.assertNotEqual(stored[2].producer_id, stored[3].producer_id)


class Batches(unittest.TestCase):
    def test_a_batch_reads_as_it_was_written(self):
        value = Value("run", "t", 0, "p", 1).encode().encode()
        batch = batch_of(value, (5, 1, 9))
        header = parse_batches(batch)[0]
        self.assertEqual((header.crc_ok, header.producer_id, header.producer_epoch, header.base_sequence), (True, 5, 1, 9))
        self.assertEqual([(offset, read) for offset, read, _ in records_of(batch + batch[:20])], [(0, value)])


if __name__ == "__main__":
    unittest.main()
